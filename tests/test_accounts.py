"""Which accounts a server has, and what becomes of one that cannot be opened (trading 5.3, reliability 5.1)."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import ValidationError

from realtime.app import Making, Outside, RefusedStart, open_system
from realtime.branch import MOST_HELD, Branch
from realtime.commands.accounts import MOST_KEPT, Account
from realtime.commands.registry import Call, Reply
from realtime.commands.trading import HaltParams, ResumeParams
from realtime.desk.checkpoint import read
from realtime.hub.hub import Wanted
from realtime.makers import JournalLedger, paper_account
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Who
from realtime.model.risk import TradingState
from realtime.places import older_of
from realtime.serving import facts
from realtime.settings import Settings, only
from realtime.venues.base import Post, Venue
from realtime.venues.live import LiveSource
from realtime.venues.unopened import Unopened
from tests.fakes import (
    BTC,
    BUY,
    ETH,
    FREE,
    LOCAL,
    ScriptedVenue,
    WatchedStore,
    checked,
    no_page,
    until,
)
from tests.hub.world import FakeWire
from tests.venues.kit import amended, approved, wish
from tests.venues.test_live import Exchange


KEYS = {"key": "k" * 16, "secret": "s" * 16}
LIVE: dict[str, Any] = {"mode": "live", "venues": [{"id": "kraken", **KEYS}]}


def settings(**given: Any) -> Settings:
    base: dict[str, Any] = {
        "store": {"path": "", "backup_hours": 0},
        "risk": {"limits": dict(FREE)},
    }
    return Settings(**(base | given))


class Away(ScriptedVenue):
    """A venue that is not there the first times."""

    kind = "live"

    def __init__(self, error: VenueRejected, times: int) -> None:
        super().__init__()
        self.id = "kraken"
        self.error = error
        self.left = times

    async def open(self, post: Post) -> None:
        if self.left:
            self.left -= 1
            raise self.error
        await super().open(post)


def outside(**venues: Venue) -> Outside:
    def maker(venue: Venue) -> Any:
        def make(making: Making) -> Venue:
            if isinstance(venue, ScriptedVenue):
                venue.bind(making.now)
            return venue

        return make

    return Outside(
        makers={name: maker(venue) for name, venue in venues.items()},
        store=WatchedStore,
        page=no_page,
    )


async def call(system: Any, op: str, **args: Any) -> Reply:
    got = system.registry.dispatch(op, args, principal=LOCAL, client="c", source="socket")
    return await checked(op, got)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"mode": "live"}, "venues"),
        ({"mode": "live", "venues": [{"id": "kraken"}]}, "venues.kraken.key"),
        ({"mode": "live", "venues": [{"id": "paper"}]}, "venues.paper.exchange"),
        (LIVE | {"auth": {"required": False}}, "auth.required"),
        (LIVE | {"auth": {"insecure_i_know": True}}, "auth.insecure_i_know"),
        ({"venues": [{"id": "krakn"}]}, "kraken"),
        ({"paper": {"source": "krakn"}}, "kraken"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_what_an_account_lacks_is_named_at_the_start(
    given: dict[str, Any], says: str
) -> None:
    with pytest.raises((RefusedStart, ExceptionGroup)) as caught:
        async with open_system(settings(**given), Outside(store=WatchedStore, page=no_page)):
            pass

    error: BaseException = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, RefusedStart)
    assert says in str(error)


@pytest.mark.parametrize(
    ("error", "word", "first"),
    [
        (VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), "down", False),
        (VenueRejected(Code.UNAUTHORIZED, "the key is not known"), "down", True),
        (
            VenueRejected(Code.VENUE_UNAVAILABLE, "at work", {"cause": "maintenance"}),
            "maintenance",
            True,
        ),
    ],
    ids=["away, the second of two", "wrong key", "maintenance"],
)
async def test_an_account_that_cannot_be_opened_stays_shut_until_it_can(
    error: VenueRejected,
    word: str,
    first: bool,  # noqa: FBT001 - a row of the table
) -> None:
    away, other = Away(error, 2), ScriptedVenue()
    other.id = "other"
    ids = ["kraken", "other"] if first else ["other", "kraken"]
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in ids]}
    async with open_system(settings(**given), outside(kraken=away, other=other)) as system:
        await until(lambda: system.places[ids.index("other")].branch.reconciler.ready)
        place = system.places[ids.index("kraken")]
        reply = await call(system, "order.place", **BUY, venue="kraken")
        elsewhere = await call(system, "order.place", **BUY, venue="other")
        row = next(v for v in system.status.venues() if v["id"] == "kraken")
        told = await call(system, "market.status", venue="kraken")

        assert reply.code is Code.VENUE_UNAVAILABLE
        assert reply.retry_after is not None
        assert elsewhere.ok
        assert (row["status"], row["code"], row["reason"]) == (word, error.code, error.message)
        assert told.result == {"venues": [row]}
        assert any(error.message in reason for reason in system.status.reasons())
        assert system.status.row()["mode"] == "live"
        assert system.status.level() == ("maintenance" if word == "maintenance" else "degraded")
        # What stops trading stops what is open, and what opens later.
        halted = await call(system, "trading.halt", reason="drill")
        assert halted.ok
        # With real money that asks back.
        resumed = await call(system, "trading.resume", reason="over")
        assert resumed.code is Code.CONFIRM_REQUIRED

        await until(lambda: not place.shut and system.ready.is_set(), within=120)

        placed = await call(system, "order.place", **BUY, venue="kraken")
        assert placed.code is Code.HALTED
        assert not system.status.reasons()
        assert system.places[0].branch.plan.id == ids[0]


@pytest.mark.parametrize("alone", [False, True])
async def test_a_halt_reaches_an_account_that_opens_later(
    alone: bool,  # noqa: FBT001 - a row of the table
) -> None:
    """R1: `trading.halt` went to open accounts alone, and one that opened a minute later traded."""
    away, other = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 2), ScriptedVenue()
    other.id = "other"
    names = ["kraken"] if alone else ["other", "kraken"]
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in names]}
    async with open_system(settings(**given), outside(kraken=away, other=other)) as system:
        place = system.places[-1]
        told = await call(system, "trading.halt", reason="drill", flatten=True)
        assert told.ok is not alone
        await call(system, "trading.halt", reason="drill", symbol=BTC)
        assert not alone or "will open halted" in str(told.error)
        said = [v.get("trading_state") for v in system.status.venues()]
        assert system.status.trading_state() is TradingState.HALTED
        assert said == ([None] if alone else ["halted", "halted"])
        await until(lambda: not place.shut and system.ready.is_set(), within=120)

        engine = place.branch.engine
        assert {halt.scope for halt in engine.halts.values()} == {"all", f"symbol:{BTC}"}
        assert (await call(system, "order.place", **BUY)).code is Code.HALTED


async def test_what_is_told_to_all_and_forgotten_by_one_that_is_shut_is_said() -> None:
    """Symptom: the halt of a shut account was lifted without asking back, by a reply that said nothing had changed."""
    away, other = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 1_000), ScriptedVenue()
    other.id = "other"
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in ("other", "kraken")]}
    async with open_system(settings(**given), outside(kraken=away, other=other)) as system:
        await until(lambda: system.places[0].branch.reconciler.ready)
        kept = system.places[1].ops.kept
        for args in ({}, {"venue": "kraken"}):
            await call(system, "trading.halt", reason="drill", **args)
        lifted = []
        for args in ({}, {"venue": "kraken"}):
            asked = await call(system, "trading.resume", reason="over", **args)
            still = len(kept)
            assert asked.error is not None
            token: Any = asked.error["details"]
            done = await call(
                system, "trading.resume", reason="over", confirm=token["confirm"], **args
            )
            lifted.append((asked.code, token["effect"]["forgets"], still - len(kept), done))

        # Everything is another scope than one account: what was halted by itself is resumed by itself.
        assert [found[:3] for found in lifted] == [(Code.CONFIRM_REQUIRED, ["kraken"], 1)] * 2
        assert lifted[0][3].result is not None
        assert lifted[0][3].result["changed"] is True
        assert "will not open halted by this" in str(lifted[1][3].error)
        assert not kept


async def test_an_emergency_stop_of_all_bots_stops_trading_at_every_account() -> None:
    """Symptom: the second account went on trading, and with the first one shut nothing was stopped at all."""
    for first in (False, True):
        away = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 2 if first else 0)
        other = ScriptedVenue()
        other.id = "other"
        given = LIVE | {"venues": [{"id": name, **KEYS} for name in ("kraken", "other")]}
        async with open_system(settings(**given), outside(kraken=away, other=other)) as system:
            await until(lambda: system.places[1].branch.reconciler.ready)
            if not first:
                await until(system.ready.is_set)
            dry = await call(system, "bot.emergency_stop", dry_run=True)
            assert dry.result is not None
            assert set(cast("dict[str, Any]", dry.result["effect"])) == {
                "bots", "state", "orders", "canceled", "positions", "symbols",
            }, first  # fmt: skip
            stopped = await call(system, "bot.emergency_stop", reason="drill")
            halted = system.places[1].branch.engine.halts
            await until(system.ready.is_set, within=120)

            assert stopped.ok, stopped.error
            assert stopped.result is not None
            assert stopped.result.keys() == {
                "state", "bots", "canceled", "failed", "unknown", "closed", "journaled",
            }, first  # fmt: skip
            assert stopped.result["bots"] == ([] if first else ["main"])
            assert [halt.reason for halt in halted.values()] == ["drill"]
            assert {halt.scope for halt in system.desk.engine.halts.values()} == {"all"}
            for name in ("kraken", "other"):
                placed = await call(system, "order.place", **BUY, venue=name)
                assert placed.code is Code.HALTED


async def test_what_only_the_first_account_has_refuses_another_one() -> None:
    """Symptom: `internal`, and of a command that its outcome is unknown."""
    first, other = ScriptedVenue(), ScriptedVenue()
    first.id, other.id = "kraken", "other"
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in ("kraken", "other")]}
    async with open_system(settings(**given), outside(kraken=first, other=other)) as system:
        await until(system.ready.is_set)
        for op, args in (
            ("bot.start", {}),
            ("config.get", {}),
            ("config.rollback", {"version": 1}),
        ):
            told = await call(system, op, **args, venue="other")
            assert told.code is Code.INVALID, (op, told)
            assert "must be kraken" in str(told.error)
        assert (await call(system, "bot.status", venue="kraken")).ok


async def test_an_entry_at_another_account_cannot_be_a_bot_s() -> None:
    """No budget, window or lease judged it: they know the first account's orders and nothing else."""
    first, other = ScriptedVenue(), ScriptedVenue()
    first.id, other.id = "kraken", "other"
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in ("kraken", "other")]}
    async with open_system(settings(**given), outside(kraken=first, other=other)) as system:
        await until(system.ready.is_set)
        await until(lambda: system.places[1].branch.reconciler.ready)
        bot = {"bot_id": "main", "strategy_id": "s"}
        refused = await call(system, "order.place", **BUY, **bot, venue="other")
        shown = await call(system, "order.preview", **BUY, **bot, venue="other")
        market = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
        tagged = await call(system, "order.place", **market, venue="other", bot_id="no-bot")
        rests = BUY | {"client_order_id": "rests"}
        resting = await call(system, "order.place", **rests, venue="other", bot_id="no-bot")
        amended = await call(
            system, "order.amend", client_order_id="rests", price="63950", venue="other"
        )
        exits = market | {"side": "sell", "reduce_only": True}
        sold = await call(system, "order.place", **exits, **bot, venue="other")
        at_home = await call(system, "order.place", **BUY, **bot)

        assert refused.code is Code.CONFLICT
        assert "kraken only" in str(refused.error)
        assert shown.result is not None
        assert (shown.result["valid"], shown.result["code"]) == (False, "conflict")
        for passed in (tagged, resting, amended, sold, at_home):
            assert passed.ok, passed.error


async def test_a_halt_told_to_a_shut_account_outlives_restarts_until_it_is_resumed(
    tmp_path: Path,
) -> None:
    """R1: it was kept in memory, so a restart before the venue opened let the account trade."""
    given = LIVE | {"store": {"path": str(tmp_path / "j.db"), "backup_hours": 0}}

    def away(times: int) -> Outside:
        return outside(kraken=Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), times))

    async with open_system(settings(**given), away(1_000)) as system:
        for args in ({}, {"symbol": BTC, "flatten": True}, {"symbol": ETH}):
            told = await call(system, "trading.halt", reason="drill", **args)
            assert "will open halted" in str(told.error)
        over = system.places[0].ops.keep("trading.resume", resumed(ETH))
        assert over is not None
        await over
    async with open_system(settings(**given), away(1_000)) as system:
        assert len(system.places[0].ops.kept) == 2  # still shut, still kept
    async with open_system(settings(**given), away(0)) as system:
        await until(system.ready.is_set, within=60)
        halts = system.desk.engine.halts
        assert {(halt.scope, halt.reason, halt.by) for halt in halts.values()} == {
            ("all", "drill", LOCAL.subject),
            (f"symbol:{BTC}", "drill", LOCAL.subject),
        }
        assert (await call(system, "order.place", **BUY)).code is Code.HALTED
        await until(lambda: not system.store.busy, within=60)
    async with open_system(settings(**given), away(0)) as system:
        assert not system.places[0].ops.kept  # carried out, and the engine's own since
        assert set(system.desk.engine.halts) == {"all", f"symbol:{BTC}"}


ADMIN = Who(subject="local", admin=True)


async def test_an_account_that_was_halted_before_it_could_not_be_opened_is_shown_as_halted(
    tmp_path: Path,
) -> None:
    """Symptom: `active` after a restart without the exchange, of an account that its journal opens halted."""
    given = LIVE | {"store": {"path": str(tmp_path / "j.db"), "backup_hours": 0}}

    def away(times: int) -> Outside:
        return outside(kraken=Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), times))

    async def shown(system: Any) -> tuple[object, list[object]]:
        row: Any = (await call(system, "system.status")).result
        return row["trading_state"], [(halt["scope"], halt["reason"]) for halt in row["halts"]]

    async with open_system(settings(**given), away(0)) as system:
        await until(system.ready.is_set, within=60)
        for scope in ({}, {"symbol": BTC}, {"symbol": ETH}):
            await call(system, "trading.halt", state="reducing", reason="drill", **scope)
        assert system.branch.trading.resume(f"symbol:{ETH}", "over", ADMIN, force=True)
        await until(lambda: not system.store.busy, within=60)
        open_as = await shown(system)
    async with open_system(settings(**given), away(1_000)) as system:
        assert system.places[0].shut
        assert (
            await shown(system)
            == open_as
            == (
                "reducing",
                [("all", "drill"), (f"symbol:{BTC}", "drill")],
            )
        )
        # The stricter of what the journal says and of what it was told since.
        await call(system, "trading.halt", reason="more")
        assert (await shown(system))[0] == "halted"
    async with open_system(settings(**given), away(2)) as system:
        place = system.places[0]
        await until(lambda: not place.shut and system.ready.is_set(), within=120)
        assert (await shown(system))[0] == "halted"
        assert system.branch.trading.resume("all", "over", ADMIN, force=True)
        await until(lambda: not system.store.busy, within=60)
    async with open_system(settings(**given), away(1_000)) as system:
        assert await shown(system) == ("active", [(f"symbol:{BTC}", "drill")])


async def test_a_halt_of_what_its_account_does_not_have_keeps_it_neither_shut_nor_the_server_down(
    tmp_path: Path,
) -> None:
    """It ended the server as the account opened, and every later start: it was in the journal."""
    given = LIVE | {"store": {"path": str(tmp_path / "j.db"), "backup_hours": 0}}
    away = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 2)
    async with open_system(settings(**given), outside(kraken=away)) as system:
        for args, code in (
            ({"symbol": BTC, "bot_id": "b"}, Code.INVALID),
            ({"venue": "krakn"}, Code.NOT_FOUND),
            ({"symbol": "NONE/USDT"}, Code.VENUE_UNAVAILABLE),
            ({"symbol": BTC}, Code.VENUE_UNAVAILABLE),
        ):
            assert (await call(system, "trading.halt", reason="drill", **args)).code is code
        await until(system.ready.is_set, within=120)
        assert set(system.desk.engine.halts) == {f"symbol:{BTC}"}
    async with open_system(settings(**given), outside(kraken=away)) as system:
        await until(system.ready.is_set, within=60)
        assert not system.places[0].ops.kept


def resumed(symbol: str) -> Call[Any]:
    return told(ResumeParams(reason="over", symbol=symbol))


def told(params: Any) -> Call[Any]:
    return Call(
        params=params,
        principal=LOCAL,
        client="c",
        source="socket",
        session=None,
        received=0,
    )


async def test_more_halts_than_can_be_kept_halt_all_of_the_account() -> None:
    """It was told that it would open halted, and that one was not kept."""
    account = Account("kraken", shut=lambda: Refused(Code.VENUE_UNAVAILABLE, "away"))
    for n in range(MOST_KEPT + 2):
        params = HaltParams(symbol=f"C{n}/USDT", flatten=True)
        account.keep("trading.halt", told(params))

    assert len(account.kept) == MOST_KEPT + 1
    assert not account.kept[None, None].params.flatten


async def test_a_halt_that_is_over_before_its_account_opens_is_forgotten() -> None:
    account = Account("kraken", shut=lambda: Refused(Code.VENUE_UNAVAILABLE, "away"))
    for name, params in (
        ("trading.halt", HaltParams(reason="a")),
        ("trading.halt", HaltParams(reason="b", symbol=BTC)),
        ("trading.halt", HaltParams(reason="c", symbol=ETH, dry_run=True)),
        ("trading.resume", ResumeParams(reason="over")),
    ):
        account.keep(name, told(params))

    assert [kept.params.reason for kept in account.kept.values()] == ["b"]


async def test_a_halt_of_one_account_that_is_shut_is_not_left_by_resuming_everything(
    tmp_path: Path,
) -> None:
    """An open account keeps it (its scope is `venue:kraken`), so one that is not open has to."""
    given = LIVE | {"store": {"path": str(tmp_path / "j.db"), "backup_hours": 0}}
    away = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 1_000)
    async with open_system(settings(**given), outside(kraken=away)) as system:
        place = system.places[0].ops
        for params in (HaltParams(reason="all"), HaltParams(reason="one", venue="kraken")):
            writing = place.keep("trading.halt", told(params))
            assert writing is not None
            await writing
        assert place.keep("trading.resume", told(ResumeParams(reason="over"))) is not None
        assert [kept.params.reason for kept in place.kept.values()] == ["one"]
        await until(lambda: not system.store.busy, within=60)
    away.left = 0
    async with open_system(settings(**given), outside(kraken=away)) as system:
        await until(system.ready.is_set, within=60)
        assert set(system.desk.engine.halts) == {"venue:kraken"}
        assert (await call(system, "order.place", **BUY)).code is Code.HALTED
        await until(lambda: not system.store.busy, within=60)
    async with open_system(settings(**given), outside(kraken=away)) as system:
        assert not system.places[0].ops.kept


def test_what_is_about_to_be_traded_is_read_before_what_a_wallet_has_gathered() -> None:
    """R1: fifty small balances kept every other symbol without prices, so its orders were refused as stale."""
    symbols = [f"C{number}/USDT" for number in range(200)]
    held = {name: SimpleNamespace(currency=name.split("/")[0], total=1) for name in symbols[:60]}
    engine = SimpleNamespace(
        markets=dict.fromkeys(symbols),
        orders=SimpleNamespace(working=list),
        positions={name: SimpleNamespace(amount=1) for name in symbols[:60]},
        balances=held,
        valuation_currency="USDT",
    )
    branch: Any = SimpleNamespace(
        engine=engine,
        plan=SimpleNamespace(pulse=""),
        house=SimpleNamespace(loop=SimpleNamespace(time=lambda: 10.0)),
        touched=dict.fromkeys(symbols[100:180], 70.0) | {"C199/USDT": 71.0, "C198/USDT": 9.0},
    )
    needed = Branch.needed(branch)

    assert needed[:3] == ["C0/USDT", "C199/USDT", "C179/USDT"]
    assert len(needed) == MOST_HELD
    assert "C198/USDT" not in needed
    assert "C10/USDT" in needed


async def test_a_journal_serves_one_account_and_one_source(tmp_path: Path) -> None:
    store = {"path": str(tmp_path / "j.db"), "backup_hours": 0}
    venue = Away(VenueRejected(Code.VENUE_UNAVAILABLE, ""), 0)
    async with open_system(settings(store=store, **LIVE), outside(kraken=venue)):
        pass
    paper = {"venues": [{"id": "kraken"}]}
    for given in ({}, paper):
        with pytest.raises((RefusedStart, ExceptionGroup)) as caught:
            async with open_system(settings(store=store, **given), outside(kraken=venue)):
                pass
        assert "kraken (live, prices: kraken)" in str(caught.value.exceptions[0])  # type: ignore[attr-defined]
    async with open_system(settings(store=store, **LIVE), outside(kraken=venue)) as system:
        assert system.places[0].plan.live


async def test_each_stream_is_asked_for_once_however_many_read_it() -> None:
    """One upstream subscription per stream, let go some time after its last reader."""
    exchange = Exchange()

    def make(making: Making) -> Venue:
        source = LiveSource(exchange, venue=making.id, now=making.now, sleep=making.sleep)
        return paper_account(making, source, 0.0)

    given = settings(venues=[{"id": "kraken"}], market_data={"grace_close_s": 5})
    async with open_system(
        given, Outside(makers={"kraken": make}, store=WatchedStore, page=no_page)
    ) as system:
        await until(lambda: system.reconciler.ready)
        exchange.wanted.clear()
        eth = system.hub.channel("ticker:ETH/USDT")
        readers = [system.hub.attach(FakeWire(), batch=False, every=0) for _ in range(10)]
        for reader in readers:
            system.hub.subscribe(reader, [Wanted(channel=eth)])
        assert exchange.wanted == [("ETH/USDT", "ticker", True)]

        for reader in readers:
            system.hub.remove(reader)
        await until(lambda: len(exchange.wanted) > 1, within=120)
        assert exchange.wanted == [("ETH/USDT", "ticker", True), ("ETH/USDT", "ticker", False)]

        # Somebody is about to trade it: book and tape come, too, for a while.
        refused = await call(system, "order.place", **BUY | {"symbol": "ETH/USDT"})
        assert not refused.ok  # there is no price yet
        assert exchange.wanted[2:] == [
            ("ETH/USDT", stream, True) for stream in ("ticker", "orderbook", "trades")
        ]
        await until(lambda: len(exchange.wanted) > 5, within=200)
        assert {stream for _, stream, wanted in exchange.wanted[5:] if not wanted}


def test_a_paper_server_never_loads_ccxt(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from realtime.app import open_system\n"
        "from realtime.settings import Settings\n"
        "async def main():\n"
        "    async with open_system(Settings(store={'path': ''})) as system:\n"
        "        await system.ready.wait()\n"
        "asyncio.run(main())\n"
        "assert not [m for m in sys.modules if m.split('.')[0] in {'ccxt', 'aiohttp'}]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


async def test_a_venue_that_is_not_open_knows_nothing_and_takes_nothing() -> None:
    venue: Venue = Unopened("kraken", "live")
    order = wish("a")
    heard: list[object] = []
    await venue.open(heard.extend)
    await venue.run()
    venue.want(BTC, "ticker", True)

    for refused in (venue.submit(approved(order)), venue.cancel(order)):
        with pytest.raises(VenueRejected, match="kraken is not open"):
            await refused
    with pytest.raises(VenueRejected):
        await venue.amend(amended(order))
    for unknown in (
        venue.find(order),
        venue.open_orders(),
        venue.fills(0),
        venue.balances(),
        venue.positions(),
        venue.ohlcv(BTC, "1m", None, 1),
        venue.trades(BTC, 1),
    ):
        with pytest.raises(VenueUnknown, match="kraken is not open"):
            await unknown
    assert (heard, venue.markets, venue.books) == ([], {}, {})


async def test_numbers_of_a_key_are_on_disk_before_they_are_used() -> None:
    store = await WatchedStore.open(None, now=lambda: 1, new_id=lambda: "j")
    ledger = JournalLedger(store, asyncio.get_running_loop(), {"f": 7})

    assert (ledger.last("f"), ledger.last("other")) == (7, None)
    await ledger.reserve("f", 1007)
    assert ledger.last("f") == 1007
    assert (await read(store)).numbers == {"f": 1007}
    await store.close()


@pytest.mark.parametrize(
    ("venue", "ids", "source"),
    [
        ("paper", [], "embedded"),
        ("bybit", ["bybit"], "kraken"),
        ("mine", ["mine"], "kraken"),
    ],
)
def test_a_flag_leaves_one_account(venue: str, ids: list[str], source: str) -> None:
    given = settings(venues=[{"id": "mine"}, {"id": "other"}], paper={"source": "kraken"})
    left = only(given, venue)

    assert [account.id for account in left.venues] == ids
    assert left.paper.source == source


def test_a_flag_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValidationError):
        only(settings(), "No Such")


async def test_what_a_venue_says_of_itself_is_in_status() -> None:
    class Speaking(ScriptedVenue):
        kind = "live"

        def __init__(self) -> None:
            super().__init__()
            self.id = "kraken"
            self.answers: list[dict[str, object] | VenueUnknown | None] = [
                {"status": "maintenance", "eta": 5, "url": "https://status.example"},
                VenueUnknown("no answer"),
                None,
            ]

        async def condition(self) -> dict[str, object] | None:
            answer = self.answers.pop(0) if self.answers else None
            if isinstance(answer, VenueUnknown):
                raise answer
            return answer

    venue = Speaking()
    async with open_system(settings(**LIVE), outside(kraken=venue)) as system:
        await until(system.ready.is_set)
        await until(lambda: len(venue.answers) == 2)
        (row,) = system.status.venues()
        assert (row["status"], row["eta"], row["url"]) == (
            "maintenance",
            5,
            "https://status.example",
        )
        assert system.status.level() == "maintenance"
        await until(lambda: not venue.answers, within=120)
        await asyncio.sleep(1)
        assert system.status.level() == "ok"


async def test_keys_that_are_not_used_are_told() -> None:
    venue = ScriptedVenue()
    venue.id = "kraken"
    given = settings(venues=[{"id": "kraken", **KEYS}])
    async with open_system(given, outside(kraken=venue)) as system:
        told = facts(system, "127.0.0.1:1")

    assert told["mode"] == "paper (kraken)"
    assert told["keys"] == "of kraken: not used in mode paper"
    assert "k" * 16 not in str(told)


class Wanting(ScriptedVenue):
    """A venue that remembers what it is asked for."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.id = name
        self.wanted: list[tuple[str, str, bool]] = []

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        self.wanted.append((symbol, stream, wanted))


async def test_streams_logs_and_the_end_are_each_account_s_own() -> None:
    one, two = Wanting("one"), Wanting("two")
    given = settings(venues=[{"id": "one"}, {"id": "two"}], on_stop="cancel")
    async with open_system(given, outside(one=one, two=two)) as system:
        await until(system.ready.is_set)
        one.wanted.clear()
        two.wanted.clear()
        for venue in ("one", "two"):
            assert (await call(system, "order.place", **BUY, venue=venue)).ok
        reader = system.hub.attach(FakeWire(), batch=False, every=0)
        system.hub.subscribe(reader, [Wanted(channel=system.hub.channel(f"ticker:{ETH}@two"))])

        assert (ETH, "ticker", True) in two.wanted
        assert (ETH, "ticker", True) not in one.wanted
        for name, place in (("events", 0), ("events@two", 1)):
            found = await entries(system, name)
            ids = {str(entry["data"].get("order_id")) for _, _, entry in found}
            assert system.places[place].branch.desk.engine.orders.get("o-two-1" if place else "o-1")
            assert ids & {"o-1", "o-two-1"} <= {"o-two-1" if place else "o-1"}
        assert (len(one.live()), len(two.live())) == (1, 1)
        await system.drain()
        assert (one.live(), two.live()) == ([], [])


async def entries(system: Any, name: str) -> Any:
    """What the journal of a channel has, as a reader that resumes gets it."""
    places = {place.plan.id: place for place in system.places}
    return await older_of(places, system.places[0], system.hub.channel(name), 1, 100)


async def test_a_failed_login_is_written_down_where_it_can_be() -> None:
    away = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 1)
    async with open_system(settings(**LIVE), outside(kraken=away)) as system:
        system.auth.on_failure("127.0.0.1")  # into the log: there is no account yet
        await until(system.ready.is_set, within=60)
        system.auth.on_failure("127.0.0.1")
        await system.desk.settled()
        found = await call(system, "event.list", type="auth_failed")

    assert found.result is not None
    assert len(found.result["events"]) == 1  # type: ignore[arg-type]
