"""What a real exchange refuses or changes under a running server: each a coded error or notice, never silence.

Issue "Real exchanges", bad input; the whole server on the emulated Bybit.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.app import RefusedStart, System, open_system
from realtime.commands.registry import Reply
from realtime.emulate.bybit.rest import Rest
from realtime.emulate.faults import Fault, Kind
from realtime.hub.hub import Wanted
from realtime.model.errors import Code
from tests.conftest import virtual_loop
from tests.fakes import until
from tests.flows.storm import SITES, Exchange, LoopbackClock, Real, Storm, exchange_at, virtual_wall
from tests.hub.world import FakeWire


SYMBOL = "BTC/USDT"
BUY: dict[str, Any] = {"symbol": SYMBOL, "side": "buy", "type": "limit", "amount": "0.01"}
FAR = BUY | {"price": "60000"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return monkeypatch


@asynccontextmanager
async def trading(
    site: pytest.MonkeyPatch, *, ready: bool = True
) -> AsyncIterator[tuple[Real, Exchange]]:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange)
        async with world.life(ready=ready):
            await asyncio.sleep(5)
            yield world, exchange


async def alerts(world: Real) -> dict[str, str]:
    """Texts of alerts by code."""
    reply = await world.call("alert.list", limit=500)
    assert reply.result is not None
    rows: Any = reply.result["alerts"]
    return {row["code"]: row["text"] for row in rows}


async def test_wrong_keys_are_told_once_and_nothing_trades(site: pytest.MonkeyPatch) -> None:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        exchange.secret = "not-the-secret-at-all"
        world = Real(exchange)
        async with world.life(ready=False) as system:
            await asyncio.sleep(30)
            told = await alerts(world)
            reply = await world.call("order.place", **FAR)

            assert "does not accept the key" in told["key_denied"]
            assert reply.code is Code.VENUE_UNAVAILABLE
            assert not system.reconciler.ready
            assert system.settings.mode == "live"
            assert exchange.orders() == {}


async def test_a_key_without_permission_to_read_is_told_and_nothing_trades(
    site: pytest.MonkeyPatch,
) -> None:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        denied = Fault(Kind.CODE, code=10005, message="Permission denied, check your API key.")
        exchange.faults.always("GET /v5/order/*", denied)
        world = Real(exchange)
        async with world.life(ready=False) as system:
            await asyncio.sleep(30)
            reply = await world.call("order.place", **FAR)

            assert reply.code is Code.VENUE_UNAVAILABLE
            assert "key_denied" in await alerts(world)
            assert any("key" in why for why in system.status.reasons()), system.status.reasons()
            assert exchange.orders() == {}


@pytest.mark.parametrize(
    ("change", "word"), [({"exchange": "bybitt"}, "bybit"), ({"symbols": ["NO/SUCH"]}, "NO/SUCH")]
)
async def test_an_unknown_exchange_or_symbol_refuses_the_start(
    site: pytest.MonkeyPatch, change: dict[str, Any], word: str
) -> None:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange)
        world.account_settings = change
        with pytest.raises(BaseExceptionGroup) as raised:
            async with open_system(world.settings(), world.outside()):
                pass
        found = raised.value.subgroup(RefusedStart)
        assert found is not None
        assert word in repr(found)


async def test_the_venue_s_refusals_have_codes(site: pytest.MonkeyPatch) -> None:
    """No permission, no money, too many requests, a symbol that is not there."""
    async with trading(site) as (world, exchange):
        create = "POST /v5/order/create"
        cases = (
            (Fault(Kind.CODE, code=10005, message="Permission denied"), Code.VENUE_REJECTED),
            (
                Fault(Kind.CODE, code=170131, message="Insufficient balance."),
                Code.INSUFFICIENT_FUNDS,
            ),
            (Fault(Kind.CODE, code=10006, message="Too many visits"), Code.RATE_LIMITED),
        )
        for number, (fault, code) in enumerate(cases):
            exchange.market.move(SYMBOL, 64_000)
            await asyncio.sleep(0.2)
            exchange.faults.once(create, fault)
            reply = await world.call("order.place", **FAR, client_order_id=f"c-{number}")
            assert reply.code is code, reply
            assert reply.error is not None
            assert str(fault.message) in str(reply.error["message"])
        missing = await world.call("order.place", **(FAR | {"symbol": "NO/SUCH"}))
        assert missing.code in {Code.NOT_FOUND, Code.INVALID}
        assert exchange.orders() == {}


async def test_answers_of_the_wrong_shape_are_no_information(site: pytest.MonkeyPatch) -> None:
    async with trading(site) as (world, exchange):
        exchange.market.move(SYMBOL, 64_000)
        await asyncio.sleep(0.2)
        placed = await world.call("order.place", **FAR, client_order_id="stays")
        assert placed.ok, placed
        for kind in (Kind.HTML, Kind.TRUNCATED):
            exchange.faults.always("GET /v5/order/*", Fault(kind))
            exchange.faults.always("GET /v5/account/*", Fault(kind))
        await asyncio.sleep(40)

        assert world.order("stays").status.value == "open"
        for kind in (Kind.HTML, Kind.TRUNCATED):
            exchange.faults.always("GET /v5/market/*", Fault(kind))
            for op in ("market.ohlcv", "market.trades"):
                asked = await world.call(op, symbol=SYMBOL)
                # What was told by a stream is there; a question that nobody answered is not an empty answer.
                assert asked.code is Code.VENUE_UNAVAILABLE or (asked.result or {})["trades"], asked
            exchange.faults.clear("GET /v5/market/*")
        held = {b.currency: b.total for b in world.system.desk.engine.balances.values()}
        assert held["USDT"] == 5_000_000


async def test_a_wrong_clock_refuses_orders_and_says_what_to_do(site: pytest.MonkeyPatch) -> None:
    virtual_wall(site, virtual_loop())
    storm = Storm("", SITES["bybit"])
    async with exchange_at("bybit", storm) as exchange:
        world = Real(exchange)
        async with world.life():
            await asyncio.sleep(5)
            storm.clock_ms = -30_000
            await world.account.calls.offset.measure()  # type: ignore[union-attr]  # Bybit tells its time
            exchange.market.move(SYMBOL, 64_000)
            await asyncio.sleep(0.2)
            reply = await world.call("order.place", **FAR)

            assert reply.code is Code.VENUE_UNAVAILABLE
            assert reply.error is not None
            assert "set the clock of this machine" in str(reply.error["message"])
            assert "clock_offset" in await alerts(world)


def totals(reply: Reply) -> dict[str, str]:
    """What a balance came to by currency."""
    rows: Any = (reply.result or {})["balances"]
    return {row["currency"]: row["total"] for row in rows}


class Client:
    """A reader of channels."""

    def __init__(self, system: System) -> None:
        self._hub = system.hub
        self._wire = FakeWire()
        self._reader = system.hub.attach(self._wire, batch=False, every=0)
        self._heard: list[dict[str, Any]] = []

    def read(self, *names: str) -> None:
        for name in names:
            self._hub.subscribe(self._reader, [Wanted(channel=self._hub.channel(name))])

    def leave(self) -> None:
        self._hub.unsubscribe(self._reader, None)

    def heard(self) -> list[dict[str, Any]]:
        self._heard += self._wire.take()
        return self._heard

    def market(self, symbol: str) -> dict[str, Any]:
        """The newest row of a market."""
        told = [message for message in self.heard() if message.get("channel") == "markets"]
        rows = [row for message in told for row in message["data"].get("set", ())]
        found: dict[str, Any] = [row for row in rows if row["symbol"] == symbol][-1]
        return found


async def reread(world: Real) -> None:
    """Let the hour pass behind which markets are read again."""
    public: Any = world.account.public
    register = public.register
    read, register._due = register._reading, 0.0
    await until(lambda: register._reading is not read, within=60)


async def placed_at(world: Real, symbol: str = SYMBOL, **args: Any) -> Reply:
    """Place an order at fresh prices."""
    market = world.exchange.market
    for listed in market.markets:
        market.move(listed, 100 if listed == "NEW/USDT" else 64_000)
    await asyncio.sleep(0.2)
    return await world.call("order.place", symbol=symbol, **args)


async def test_markets_come_change_and_go_under_a_running_account(
    site: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """R1: a new grid was refused until a restart, and what was listed later was not there."""
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange, tmp_path / "journal.db")
        world.account_settings = {"symbols": ()}
        market = exchange.market
        old = market.markets[SYMBOL]
        async with world.life() as system:
            await asyncio.sleep(5)
            client = Client(system)
            client.read("markets", f"orderbook:{SYMBOL}")
            order = FAR | {"symbol": "NEW/USDT", "price": "90", "amount": "1"}
            assert (await placed_at(world, **order)).code is Code.NOT_FOUND

            # It comes.
            new = replace(old, symbol="NEW/USDT", id="NEWUSDT", base="NEW")
            market.relist(new, 100)
            await reread(world)
            await asyncio.sleep(1)
            assert client.market("NEW/USDT")["active"] is True
            client.read("orderbook:NEW/USDT")
            await until(lambda: "NEW/USDT" in system.desk.engine.books, within=60)
            placed = await placed_at(world, **order, client_order_id="new")
            assert placed.ok, placed

            # It changes: an order of the old grid is refused there, which has the markets read; then here, with the step.
            market.relist(replace(old, price_tick=Decimal(10)), 64_000)
            await asyncio.sleep(61)
            refused = await placed_at(world, **(FAR | {"price": "60001"}))
            assert refused.code is Code.VENUE_REJECTED, refused
            await until(lambda: system.desk.engine.markets[SYMBOL].price_tick == 10, within=60)
            refused = await placed_at(world, **(FAR | {"price": "60001"}))
            assert refused.code is Code.INVALID
            assert refused.error is not None
            assert "10" in str(refused.error["message"])
            await asyncio.sleep(1)
            assert client.market(SYMBOL)["price_tick"] == "10"
            placed = await placed_at(world, **FAR, client_order_id="coarse")
            assert placed.ok, placed
            assert "precision_changed" not in await alerts(world)

            # It goes, read by somebody.
            assert (await world.call("order.cancel", client_order_id="new")).ok
            market.delist("NEW/USDT")
            await reread(world)
            await asyncio.sleep(1)
            notices = [m for m in client.heard() if m.get("event") == "stale"]
            causes = [m["data"]["cause"] for m in notices if "orderbook:NEW" in m["channels"][0]]
            assert causes[-1] == "delisted"
            assert client.market("NEW/USDT")["active"] is False
            told = await alerts(world)
            assert told["market_delisted"] == "NEW/USDT is not listed any more"
            gone = await placed_at(world, **order)
            assert gone.error is not None
            assert "NEW/USDT" in str(gone.error["message"])
            assert (await placed_at(world, **FAR, client_order_id="on")).ok
            await asyncio.sleep(2)

        # The journal is about it all the same: a server that had traded what was delisted did not start any more.
        async with world.life() as system:
            client = Client(system)
            client.read("markets")
            await asyncio.sleep(1)
            assert client.market("NEW/USDT")["active"] is False
            gone = await world.call("order.get", client_order_id="new")
            assert gone.result is not None, gone
            assert gone.result["status"] == "canceled"
            refused = await placed_at(world, **order)
            assert refused.error is not None
            assert "NEW/USDT" in str(refused.error["message"])


async def test_orders_of_a_market_that_went_while_the_server_was_away_are_asked_about(
    site: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They stayed open for ever, and one that really was kept the account from being ready in any market."""
    virtual_wall(site, virtual_loop())
    listing, gone = Rest._instruments, set[str]()

    def without(rest: Rest, params: Any) -> Any:
        told: Any = listing(rest, params)
        return told | {"list": [row for row in told["list"] if row["symbol"] not in gone]}

    site.setattr(Rest, "_instruments", without)
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange, tmp_path / "journal.db")
        world.account_settings = {"symbols": ()}
        old = exchange.market.markets[SYMBOL]
        new = replace(old, symbol="NEW/USDT", id="NEWUSDT", base="NEW")
        exchange.market.relist(new, 100)
        order = FAR | {"symbol": "NEW/USDT", "price": "90", "amount": "1"}
        async with world.life() as system:
            await asyncio.sleep(5)
            Client(system).read("orderbook:NEW/USDT")
            await until(lambda: "NEW/USDT" in system.desk.engine.books, within=60)
            for name in ("ended", "rests"):
                assert (await placed_at(world, **order, client_order_id=name)).ok
            await asyncio.sleep(1)
            ended = await world.call("order.get", client_order_id="ended")
            assert ended.result is not None
            number = ended.result["exchange_order_id"]

        (name,) = [name for name, ((there, _),) in exchange.orders().items() if there == number]
        ((_, work),) = exchange.orders()[name]
        exchange.floor.exchange.cancel("main", work.id, time.time_ns())
        gone.add("NEWUSDT")
        async with world.life() as system:
            await asyncio.sleep(60)
            assert not system.desk.engine.markets["NEW/USDT"].active
            for name, status in (("ended", "canceled"), ("rests", "open")):
                found = await world.call("order.get", client_order_id=name)
                assert found.result is not None, found
                assert found.result["status"] == status
            assert (await world.call("order.cancel", client_order_id="rests")).ok
            assert exchange.live() == {}


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.UNAVAILABLE),
        Fault(Kind.HTML),
        Fault(Kind.TRUNCATED),
        Fault(Kind.CODE, code=10016, message="Service is restarting."),
    ],
    ids=lambda fault: str(fault.kind.value),
)
async def test_an_exchange_at_work_keeps_its_account_shut_and_what_it_has_is_not_empty(
    site: pytest.MonkeyPatch, fault: Fault
) -> None:
    """Every question has a coded answer that says why; nothing else takes the account's place."""
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        exchange.faults.always("GET /v5/market/instruments-info", fault)
        world = Real(exchange)
        async with world.life(ready=False) as system:
            for op, args in (
                ("order.place", FAR),
                ("market.list", {}),
                ("market.ticker", {"symbol": SYMBOL}),
                ("balance.list", {}),
                ("position.list", {}),
                ("order.list", {}),
            ):
                reply = await world.call(op, **args)
                assert reply.code is Code.VENUE_UNAVAILABLE, (op, reply)
                assert reply.error is not None
                assert "bybit cannot be opened" in str(reply.error["message"])
                assert reply.retry_after is not None
            (row,) = system.status.venues()
            assert (row["status"], row["kind"], row["source"]) == ("down", "live", "bybit")
            assert system.status.row()["mode"] == "live"

            exchange.faults.clear()
            await until(lambda: not system.places[0].shut and system.ready.is_set(), within=120)
            await asyncio.sleep(5)
            exchange.market.move(SYMBOL, 64_000)
            await asyncio.sleep(0.2)
            placed = await world.call("order.place", **FAR)
            assert placed.ok, placed


async def test_an_exchange_that_goes_to_work_is_told_and_never_shown_empty(
    site: pytest.MonkeyPatch,
) -> None:
    async with trading(site) as (world, exchange):
        exchange.market.move(SYMBOL, 64_000)
        await asyncio.sleep(0.2)
        assert (await world.call("order.place", **FAR, client_order_id="stays")).ok
        held = totals(await world.call("balance.list"))
        exchange.faults.always("*/v5/*", Fault(Kind.UNAVAILABLE))
        exchange.faults.strike("*", Fault(Kind.ABORT))
        await asyncio.sleep(60)

        refused = await world.call("order.place", **FAR, client_order_id="no")
        assert refused.code in {Code.VENUE_UNAVAILABLE, Code.RISK_REJECTED}, refused
        canceled = await world.call("order.cancel", client_order_id="stays")
        assert canceled.code in {Code.VENUE_UNAVAILABLE, Code.OUTCOME_UNKNOWN}, canceled
        for op in ("market.ohlcv", "market.trades"):
            asked = await world.call(op, symbol=SYMBOL)
            assert asked.code is Code.VENUE_UNAVAILABLE or (asked.result or {}).get("trades"), asked
        assert world.order("stays").status.value in {"open", "canceling"}
        assert totals(await world.call("balance.list")) == held
        (row,) = world.system.status.venues()
        assert row["status"] in {"degraded", "down"}
        exchange.faults.clear()
        await until(lambda: world.system.reconciler.ready, within=180)
        assert (await world.call("order.list")).ok


async def test_books_that_nobody_reads_are_freed_and_those_of_orders_stay(
    site: pytest.MonkeyPatch,
) -> None:
    """R1: memory grew with every symbol that was ever looked at, and who came back saw the book of then."""
    swap = "BTC/USDT:USDT"
    async with trading(site) as (world, exchange):
        system = world.system
        assert (await placed_at(world, **(FAR | {"client_order_id": "rests"}))).ok
        client = Client(system)
        client.read(f"orderbook:{swap}")
        await until(lambda: swap in system.desk.engine.books, within=60)
        client.leave()
        await until(lambda: swap not in system.desk.engine.books, within=200)

        assert set(system.desk.engine.books) == set(world.account.books) == {SYMBOL}
        exchange.market.move(swap, 70_000)
        client = Client(system)
        client.read(f"orderbook:{swap}")
        await until(lambda: swap in system.desk.engine.books, within=60)
        await asyncio.sleep(1)
        books = [m["data"] for m in client.heard() if m.get("channel", "").startswith("orderbook")]
        assert Decimal(books[0]["bids"][0][0]) > 69_000


async def test_a_bot_is_told_the_prices_of_a_symbol_that_nobody_reads(
    site: pytest.MonkeyPatch,
) -> None:
    """Symptom: `ticker_missing` at every look, for ever: an exchange tells only what is asked for."""
    patch: dict[str, Any] = {
        "symbols": [f"{SYMBOL}:USDT"],
        "timeframe": "1m",
        "strategies": {"sample": {"params": {"indicator_value": 1}}},
        "trigger": "interval",
        "cycle_interval_s": 3,
        "dry_run": True,
    }
    async with trading(site) as (world, _exchange):
        await world.call("bot.configure", bot_id="b", patch=patch)
        once = await world.call("bot.run_once", bot_id="b")
        await world.call("bot.start", bot_id="b")
        await asyncio.sleep(20)
        told = await world.call("bot.decisions", bot_id="b")

        assert once.result is not None
        assert told.result is not None
        first: Any = once.result["decisions"]
        later: Any = told.result["decisions"]
        assert len(later) > 3
        details = [row["detail"] for row in (*first, *later)]
        assert not [why for why in details if "missing" in why], details
