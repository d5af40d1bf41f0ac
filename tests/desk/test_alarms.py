"""Thresholds of section `alerts`: told when crossed, once, over restarts, on the channel."""

import asyncio
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.app import Outside, open_system
from realtime.desk.alarms import CODES, Alarms, Figure, Window
from realtime.desk.config.sections import Alerts
from realtime.model.durations import Durations
from realtime.model.errors import Code
from realtime.model.market import SECOND, Stale
from realtime.settings import Settings
from tests import fakes
from tests.fakes import (
    BTC,
    BUY,
    ETH,
    LOCAL,
    WatchedStore,
    World,
    finished,
    no_page,
    until,
)
from tests.server.front import Socket


MINUTE = 60
LOOKED = 6
"""Time within which everything that is there to be told has been told [s]."""
Move = Callable[[str], None]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Let the price of BTC be so many times what it was; the exchange says so within a second."""

    bid, ask = fakes.PRICES[BTC]

    def move(factor: str) -> None:
        price = bid * Decimal(factor)
        monkeypatch.setitem(fakes.PRICES, BTC, (price, price + ask - bid))

    return move


def quiet(**thresholds: Any) -> dict[str, Any]:
    """A patch that leaves nothing to be told but for these thresholds."""
    off = {
        "max_drawdown": 1.0,
        "min_win_rate": 0.0,
        "min_pnl": "-1000000000",
        "feed_failures": 1_000_000,
        "max_latency_ms": 1e9,
        "max_error_rate": 1.0,
        "max_reconnects": 1_000_000,
        "min_feed_health": 0.0,
    }
    return {"alerts": {**off, **thresholds}}


async def settle(seconds: float = LOOKED) -> None:
    await asyncio.sleep(seconds)


async def entries(world: World) -> list[Any]:
    """What the alarms told so far, oldest first."""
    reply: Any = await world.call("alert.list", limit=500)
    return [alert for alert in reversed(reply.result["alerts"]) if alert["code"] in CODES]


async def told(world: World) -> list[tuple[str, str, float]]:
    """The same, as code, level, value."""
    return [
        (alert["code"], alert["level"], round(alert["data"]["value"], 3))
        for alert in await entries(world)
    ]


async def holding(world: World, patch: dict[str, Any]) -> None:
    """Hold 1 BTC of 100,000 USDT of equity, under these thresholds."""
    bought = await world.call(
        "order.place", symbol=BTC, side="buy", type="market", amount="1", client_order_id="b"
    )
    assert bought.ok, bought
    changed = await world.call("config.update", patch=patch)
    assert changed.ok, changed
    await settle()


# --- a figure and its threshold -------------------------------------------------------------------


def figure(value: float, limit: float, *, below: bool = False, reached: bool = False) -> Figure:
    return Figure(
        code="c",
        threshold="t",
        value=value,
        limit=limit,
        below=below,
        reached=reached,
        said="it",
        more={},
    )


@pytest.mark.parametrize(
    ("one", "beyond", "back"),
    [
        (figure(0.11, 0.1), True, False),
        (figure(0.1, 0.1), False, False),
        (figure(0.0901, 0.1), False, False),
        (figure(0.09, 0.1), False, True),
        (figure(0, 0), False, True),
        (figure(1, 0), True, False),
        (figure(0.39, 0.4, below=True), True, False),
        (figure(0.4, 0.4, below=True), False, False),
        (figure(0.44, 0.4, below=True), False, True),
        (figure(0.99, 1, below=True), True, False),
        (figure(1, 1, below=True), False, True),
        (figure(-1000.01, -1000, below=True), True, False),
        (figure(-950, -1000, below=True), False, False),
        (figure(-900, -1000, below=True), False, True),
        (figure(100, 500, below=True), True, False),
        (figure(549, 500, below=True), False, False),
        (figure(550, 500, below=True), False, True),
        (figure(1, 1, reached=True), True, False),
        (figure(0, 1, reached=True), False, True),
        (figure(2, 3, reached=True), False, True),
    ],
    ids=lambda one: f"{one.value:g} of {one.limit:g}" if isinstance(one, Figure) else None,
)
def test_a_figure_is_beyond_its_threshold_back_from_it_or_in_between(
    one: Figure, *, beyond: bool, back: bool
) -> None:
    assert (one.beyond(), one.back()) == (beyond, back)


def test_a_window_tells_the_growth_within_its_length_and_remembers_little() -> None:
    window = Window(0)
    length = 300 * SECOND
    grown = [window.grown({"n": n}, n * SECOND, length)["n"] for n in range(2_000)]

    # In steps of a sixtieth.
    assert grown[:300] == list(range(300))
    assert all(300 <= n <= 305 for n in grown[300:])
    assert len(window._kept) <= 62
    # A source that begins anew has not shrunk.
    assert window.grown({"n": 3}, 2_000 * SECOND, length) == {"n": 0}


# --- money ----------------------------------------------------------------------------------------


async def test_a_drawdown_is_told_once_and_so_is_its_end_over_restarts(
    moved: Move, tmp_path: Path
) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await holding(world, quiet(max_drawdown=0.1, cooldown_minutes=0))
        moved("0.8")
        await settle()
        # It trembles at the threshold, and is neither told again nor said to be over.
        for factor in ("0.85", "0.8", "0.85"):
            moved(factor)
            await settle()
        once = await told(world)
    async with world.life():
        await settle(MINUTE)
        moved("0.8")
        await settle()
        after = await told(world)
        moved("1")
        await settle()
        over = await told(world)
        first = (await entries(world))[0]
        await world.call("alert.ack", alert_id=first["id"])
    async with world.life():
        await settle()
        again = await told(world)
        moved("0.8")
        await settle()
        second = await told(world)

    assert once == [("drawdown", "warning", 0.128)]
    assert after == once
    assert over == [*once, ("drawdown", "info", 0.0)]
    assert again == over
    assert second == [*over, ("drawdown", "warning", 0.128)]
    assert first["text"] == "drawdown: 0.128, above max_drawdown 0.1"
    assert first["data"] == {
        "threshold": "max_drawdown",
        "limit": 0.1,
        "value": 0.128,
        "subject": "",
        "crossed": True,
    }


async def test_the_days_loss_is_told_in_money_and_not_sooner_again_than_the_cooldown(
    moved: Move,
) -> None:
    world = World()
    async with world.life():
        await holding(world, quiet(min_pnl="-1000", cooldown_minutes=4))
        for factor in ("0.98", "1", "0.97"):
            moved(factor)
            await settle()
        within = await told(world)
        await settle(3 * MINUTE)
        nearly = await told(world)
        await settle(MINUTE)
        behind = await told(world)

    assert within == [("pnl", "warning", -1280.05), ("pnl", "info", -0.05)]
    assert nearly == within
    assert behind == [*within, ("pnl", "warning", -1920.05)]


async def test_a_threshold_that_is_moved_is_judged_at_once(moved: Move) -> None:
    world = World()
    async with world.life():
        await holding(world, quiet())
        moved("0.9")
        await settle()
        before = await told(world)
        await world.call("config.update", patch={"alerts": {"max_drawdown": 0.05}})
        await settle()
        lower = await told(world)
        await world.call("config.update", patch={"alerts": {"max_drawdown": 0.5}})
        await settle()
        higher = await told(world)

    assert before == []
    assert lower == [("drawdown", "warning", 0.064)]
    assert higher == [*lower, ("drawdown", "info", 0.064)]


# --- the channel ----------------------------------------------------------------------------------


async def test_a_crossing_comes_on_the_channel_with_its_level(moved: Move) -> None:
    world = World()
    async with world.life() as system:
        await holding(world, quiet(max_drawdown=0.1))
        async with Socket(system.front, "/ws") as socket:
            await socket.call("subscribe", channels=["alerts?level=warning"])
            moved("0.8")
            message = await socket.until("update", channel="alerts?level=warning")

    (entry,) = message["data"]
    assert (entry["level"], entry["code"], entry["acked_by"]) == ("warning", "drawdown", None)


# --- feeds, orders, delays ------------------------------------------------------------------------


def stale(system: Any, symbol: str, *, now: bool, cause: str = "disconnected") -> None:
    word = cause if now else None
    system.feeds.take(
        [Stale(venue="paper", symbol=symbol, stale=now, cause=word, asof=system.clock.now())]
    )


async def test_a_feed_that_fails_is_told_and_is_over_when_it_has_run_for_the_window() -> None:
    world = World()
    async with world.life() as system:
        times = {"window_minutes": 1, "cooldown_minutes": 5}
        await world.call("config.update", patch=quiet(feed_failures=1, **times))
        stale(system, BTC, now=True, cause="delisted")
        await settle()
        off_the_list = await told(world)
        stale(system, ETH, now=True)
        stale(system, ETH, now=True)
        await settle(2 * MINUTE)
        lasting = await told(world)
        stale(system, ETH, now=False)
        await settle()
        over = await told(world)
        stale(system, ETH, now=True)
        stale(system, ETH, now=False)
        await settle(5 * MINUTE)
        again = await told(world)

    assert off_the_list == []
    assert lasting == [("feed_failures", "warning", 1)]
    assert over == [*lasting, ("feed_failures", "info", 0)]
    # It would be told behind the cooldown, and by then it is over.
    assert again == over


async def test_after_a_restart_a_count_is_not_over_before_it_has_been_counted_for_the_window(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await world.call("config.update", patch=quiet(feed_failures=1, window_minutes=2))
        stale(system, ETH, now=True)
        stale(system, ETH, now=False)
        await settle()
        before = await told(world)
    async with world.life():
        await settle(MINUTE)
        soon = await told(world)
        await settle(MINUTE)
        later = await told(world)

    assert before == soon == [("feed_failures", "warning", 1)]
    assert later == [*before, ("feed_failures", "info", 0)]


async def test_orders_that_the_venue_does_not_take_are_a_rate_of_errors() -> None:
    world = World()

    async def place(script: str, name: str) -> None:
        world.venue.script.append(script)
        await world.call("order.place", **BUY, client_order_id=name)

    async with world.life():
        await world.call("config.update", patch=quiet(max_error_rate=0.2, window_minutes=1))
        for number in range(4):
            await place("reject", f"r{number}")
        await settle()
        few = await told(world)
        for number in range(12):
            await place("rest", f"a{number}")
        await settle()
        many = await told(world)
        await settle(2 * MINUTE)
        forgotten = await told(world)

    assert few == []
    assert many == [("error_rate", "warning", 0.25)]
    # What was refused came first, and has left the window first.
    assert forgotten == [*many, ("error_rate", "info", 0.0)]


async def test_a_slow_leg_is_told_as_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with world.life() as system:
        await world.call("config.update", patch=quiet(max_latency_ms=1000, window_minutes=1))
        slow = Durations()
        monkeypatch.setattr(system.branch.alarms, "_answers", lambda: {"a request": slow})
        for _ in range(4):
            slow.add(3.0)
        await settle()
        few = await told(world)
        slow.add(0.5)
        await settle()
        many = await told(world)
        await settle(MINUTE)
        for _ in range(100):
            slow.add(0.1)
        await settle()
        over = await told(world)

    assert few == []
    assert many == [("latency", "warning", 2500.0)]
    assert [(code, level) for code, level, _ in over[1:]] == [("latency", "info")]


async def test_streams_that_reconnect_or_are_rarely_fresh_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    async with world.life() as system:
        limits = {"max_reconnects": 3, "min_feed_health": 0.5, "window_minutes": 2}
        await world.call("config.update", patch=quiet(**limits))
        alarms, since = system.branch.alarms, system.clock.ms()
        rows: list[dict[str, Any]] = [
            {"channel": "ticker:A", "since_ts": since, "health": 0.4},
            {"channel": "trades:B", "since_ts": since, "health": 0.2},
            {"channel": "trades:C", "since_ts": since, "health": None},
        ]
        count = 3
        monkeypatch.setattr(alarms, "_streams", lambda: rows)
        monkeypatch.setattr(alarms, "_reconnects", lambda: count)
        await settle()
        young = await told(world)
        count = 4
        await settle(MINUTE)
        old = await told(world)
        rows[:] = [{"channel": "ticker:A", "since_ts": since, "health": 1.0}]
        await settle(2 * MINUTE)
        over = await told(world)
        texts = [alert["text"] for alert in await entries(world)]

    assert young == []
    assert old == [("reconnects", "warning", 4), ("feed_health", "warning", 0.2)]
    assert over[2:] == [("feed_health", "info", 1.0), ("reconnects", "info", 1)]
    assert "health of feed trades:B: 0.2, below min_feed_health 0.5" in texts


async def test_each_bot_has_a_win_rate_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    async with world.life() as system:
        await world.call("config.update", patch=quiet(min_win_rate=0.4))
        rates = {"a": (4, 0.0), "b": (10, 0.3), "c": (10, 0.4)}
        monkeypatch.setattr(system.branch.alarms, "_win_rates", lambda: rates)
        await settle()
        one = await told(world)
        rates |= {"a": (5, 0.2)}
        await settle()
        two = await told(world)
        bots = [alert["data"]["bot_id"] for alert in await entries(world)]

    assert one == [("win_rate", "warning", 0.3)]
    assert two == [*one, ("win_rate", "warning", 0.2)]
    assert bots == ["b", "a"]


async def test_every_account_is_watched_by_itself() -> None:
    names = ("main", "side")
    made = Settings(
        store={"path": "", "backup_hours": 0},
        venues=[{"id": name, "exchange": "paper"} for name in names],
        paper={"latency_ms": 0, "flow_per_s": 0.01, "symbols": (BTC,)},
    )
    async with open_system(made, Outside(store=WatchedStore, page=no_page)) as system:

        async def call(op: str, **args: Any) -> Any:
            reply = await finished(
                system.registry.dispatch(op, args, principal=LOCAL, client="c", source="socket")
            )
            assert reply.ok, reply
            return reply.result

        await until(system.ready.is_set)
        await call("config.update", patch=quiet(feed_failures=1))
        side = system.places[1].branch.feeds
        side.take([Stale(venue="side", symbol=BTC, stale=True, cause="silent", asof=0)])
        await settle()
        alerts = {name: (await call("alert.list", venue=name))["alerts"] for name in names}

    assert [alert["code"] for alert in alerts["main"]] == []
    assert [alert["code"] for alert in alerts["side"]] == ["feed_failures"]


# --- as it comes ----------------------------------------------------------------------------------


async def test_a_server_that_is_well_tells_nothing_and_every_threshold_is_used() -> None:
    world = World()
    async with world.life() as system:
        await settle(2 * MINUTE)
        figures = list(system.branch.alarms._figures(Alerts(), system.clock.now()))
        nothing = await told(world)
        # A bot without a trade has no rate.
        bare = {figure.threshold for figure in figures} | {"min_win_rate"}
        refused = await world.call("config.update", patch={"alerts": {"max_drawdown": 10}})

    assert nothing == []
    assert bare | {"window_minutes", "cooldown_minutes"} == set(Alerts.model_fields)
    assert refused.code is Code.INVALID


async def test_what_was_told_is_read_again_where_it_could_not_be_and_nothing_ends() -> None:
    faults: list[Exception] = [sqlite3.OperationalError("disk I/O error")]

    async def tail(*_: object) -> tuple[int, list[object]]:
        if faults:
            raise faults.pop()
        return 0, []

    desk: Any = SimpleNamespace(store=SimpleNamespace(tail=tail), now=lambda: 1)
    more: Any = dict.fromkeys(
        ("monitor", "feeds", "bounds", "streams", "reconnects", "answers", "win_rates")
    )
    made = Alarms(desk=desk, **more)

    assert [await made._open(), await made._open()] == [False, True]
