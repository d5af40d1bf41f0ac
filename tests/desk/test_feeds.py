"""What a venue tells in one batch: journaled fact by fact, shown together; and what it says of its sources."""

import asyncio
from decimal import Decimal

import orjson
import pytest

from realtime.hub.hub import Wanted
from realtime.model.market import Stale
from tests.fakes import BTC, BUY, ETH, START_NS, World, until
from tests.hub.wires import HeldWire


async def test_of_a_batch_every_fill_is_shown_and_the_last_row_of_its_order() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        held = world.venue.of("g-1")
        held.shown = False
        world.venue.fill("g-1", Decimal("0.004"))
        world.venue.fill("g-1")
        rows = system.store.seq
        before = {name: system.hub.position(name) or {} for name in ("orders", "fills")}
        system.feeds.take(held.fills)
        facts = system.store.seq - rows
        await system.desk.settled()

        after = {name: system.hub.position(name) or {} for name in before}
        moved = {name: (before[name].get("seq"), after[name].get("seq")) for name in before}
        assert moved == {"orders": (2, 3), "fills": (0, 2)}
        assert facts == 2
        assert world.order("g-1").filled == Decimal("0.01")


def word(symbol: str | None, cause: str | None) -> Stale:
    return Stale(venue="paper", symbol=symbol, stale=cause is not None, cause=cause, asof=START_NS)


def stale(world: World, *names: str) -> list[object]:
    """Whether a new reader is told that channels are stale."""
    hub = world.system.hub
    reader = hub.attach(HeldWire(), batch=False, every=0)
    entries = hub.subscribe(reader, [Wanted(channel=hub.channel(name)) for name in names])
    return [entry["stale"] for entry in entries]


@pytest.mark.parametrize(
    ("cause", "said"), [("maintenance", "maintenance"), ("disconnected", "degraded")]
)
async def test_what_a_venue_says_of_itself_is_in_the_status_in_the_same_step(
    cause: str, said: str
) -> None:
    """features F1. Found in an audit: `ok` during a maintenance of 8 s."""
    world = World()
    async with world.life() as system:
        system.feeds.take([word(None, cause)])
        row = system.status.row()
        venue = system.status.venues()[0]["status"]
        parts = system.status.components()

        assert (row["status"], venue, system.feeds.silent) == (said, said, True)
        assert parts["feeds"] == parts["venue:paper"] == ("degraded", cause)
        # Acknowledgements that come all the same do not end it.
        system.feeds.take([])
        assert (system.status.row()["status"], stale(world, f"ticker:{BTC}")) == (said, [True])

        system.feeds.take([word(None, None)])
        assert (system.status.row()["status"], system.feeds.cause) == ("ok", None)
        assert stale(world, f"ticker:{BTC}") == [False]


async def test_a_symbol_stays_stale_when_its_venue_is_back() -> None:
    """Conformance 34: what came back is not fresh while something else says that it is stale."""
    world = World()
    names = (f"ticker:{BTC}", f"ticker:{ETH}")
    async with world.life() as system:
        feeds = system.feeds
        feeds.take([word(BTC, "silent")])
        assert stale(world, *names) == [True, False]
        feeds.take([word(None, "disconnected")])
        assert stale(world, *names) == [True, True]
        feeds.take([word(None, None)])
        assert stale(world, *names) == [True, False]

        feeds.take([word(ETH, "desync")])
        feeds.take([word(None, "disconnected")])
        feeds.take([word(ETH, None)])  # too early: the venue is not back
        assert stale(world, *names) == [True, True]
        feeds.take([word(None, None)])
        assert stale(world, *names) == [True, False]
        feeds.take([word(BTC, None)])
        assert stale(world, *names) == [False, False]


async def test_a_symbol_stays_stale_through_a_silence_that_ends() -> None:
    world = World()
    names = (f"ticker:{BTC}", f"ticker:{ETH}")
    async with world.life() as system:
        system.feeds.take([word(BTC, "desync")])
        world.venue.reachable = False
        await until(lambda: system.feeds.silent, within=15)
        assert (system.feeds.cause, stale(world, *names)) == ("silent", [True, True])
        # That one more is silent proves no life; what is said of one while nothing comes waits.
        system.feeds.take([word(ETH, "desync"), word(ETH, None)])
        assert system.feeds.silent
        assert stale(world, *names) == [True, True]
        system.feeds.alive()

        assert stale(world, *names) == [True, False]


async def test_a_silence_during_maintenance_changes_nothing() -> None:
    world = World()
    async with world.life() as system:
        system.feeds.take([word(None, "maintenance")])
        world.venue.reachable = False
        await asyncio.sleep(15)
        assert (system.feeds.cause, system.feeds.age_s > 10) == ("maintenance", True)
        system.feeds.alive()
        assert (system.feeds.cause, stale(world, f"ticker:{BTC}")) == ("maintenance", [True])
        system.feeds.take([word(None, None)])

        assert (system.feeds.cause, stale(world, f"ticker:{BTC}")) == (None, [False])


@pytest.mark.parametrize("symbol", [BTC, None], ids=["symbol", "venue"])
async def test_what_is_made_of_trades_is_as_stale_as_they_are(symbol: str | None) -> None:
    """Protocol 7.2. Found in an audit: charts and indicators never said it."""
    world = World()
    before = (f"ohlcv:{BTC}?timeframe=1m", f"indicators:{BTC}?name=ema&timeframe=1m")
    later = (f"ohlcv:{BTC}?timeframe=5m", f"indicators:{BTC}?name=sma&timeframe=15m")
    async with world.life() as system:
        assert stale(world, *before) == [False, False]
        system.feeds.take([word(symbol, "disconnected")])
        assert stale(world, *before, *later) == [True] * 4
        other = stale(world, f"ohlcv:{ETH}?timeframe=1m")
        system.feeds.take([word(symbol, None)])

        assert other == [symbol is None]
        assert stale(world, *before, *later, f"ohlcv:{ETH}?timeframe=1m") == [False] * 5


async def test_a_chart_that_begins_during_a_silence_says_so() -> None:
    world = World()
    async with world.life() as system:
        world.venue.reachable = False
        await until(lambda: system.feeds.silent, within=15)
        assert stale(world, f"ohlcv:{BTC}?timeframe=1m") == [True]
        system.feeds.alive()

        assert stale(world, f"ohlcv:{BTC}?timeframe=1m") == [False]


@pytest.mark.parametrize("symbol", [BTC, None], ids=["symbol", "venue"])
async def test_a_book_is_told_anew_before_it_counts_as_fresh(symbol: str | None) -> None:
    """Protocol 7.2: for tables after a snapshot `upstream`."""
    world = World()
    async with world.life() as system:
        hub, wire = system.hub, HeldWire()
        reader = hub.attach(wire, batch=False, every=0)
        hub.subscribe(reader, [Wanted(channel=hub.channel(f"orderbook:{BTC}?depth=5&rate=0"))])
        await asyncio.sleep(1)
        system.feeds.take([word(symbol, "disconnected")])
        await asyncio.sleep(1)
        wire.texts.clear()
        system.feeds.take([word(symbol, None)])
        system.feeds.take([word(symbol, None)])  # saying it twice changes nothing
        await asyncio.sleep(1)

        told = [orjson.loads(text) for text in wire.texts]
        assert [(one["type"], one.get("reason")) for one in told] == [
            ("snapshot", "upstream"),
            ("notice", None),
        ]
        assert told[1]["data"]["stale"] is False
