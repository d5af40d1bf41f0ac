"""Channel `indicators`: computed once, from closed bars, the forming one only looked at."""

import asyncio
import math
from typing import Any

import orjson
import pytest

from realtime.app import System
from realtime.desk.charts import Charts
from realtime.desk.crew import Crew
from realtime.desk.indicators import MOST, ZONES, Indicators, read
from realtime.engine.indicators import Ema, FairValueGaps
from realtime.engine.studies import ohlcv
from realtime.hub.hub import Wanted
from realtime.model.errors import Code, Refused
from realtime.model.market import MS, SECOND, Bar
from tests.charting import MINUTE, ChartVenue, bar
from tests.conftest import virtual_loop
from tests.fakes import BTC, World, until
from tests.hub.wires import HeldWire


CLOSES = [round(100 + 5 * math.sin(place / 3), 2) for place in range(300)]
EMA = f"indicators:{BTC}?name=ema&timeframe=1m"


class Watch:
    """A system on a chart, and what its channels say."""

    def __init__(self, closes: list[float] = CLOSES) -> None:
        self.venue = ChartVenue(closes)
        self.world = World()
        self.world.venue = self.venue

    @property
    def system(self) -> System:
        return self.world.system

    @property
    def now(self) -> int:
        return self.system.clock.now()

    def ready(self, name: str) -> bool:
        try:
            self.data(name)
        except Refused:
            return False
        return True

    async def begun(self, name: str) -> dict[str, Any]:
        """Subscribe to a channel, and wait for its first value."""
        self.subscribe(name)
        await until(lambda: self.ready(name))
        return self.data(name)

    def subscribe(self, name: str) -> None:
        hub = self.system.hub
        reader = hub.attach(HeldWire(), batch=False, every=0)
        hub.subscribe(reader, [Wanted(channel=hub.channel(name))])

    def data(self, name: str) -> dict[str, Any]:
        hub = self.system.hub
        found: dict[str, Any] = orjson.loads(hub.snapshot(hub.channel(name)))["data"]
        return found

    async def next_bar(self) -> None:
        """Let the forming bar end, and the routine see it."""
        await asyncio.sleep((MINUTE - self.now % MINUTE) / SECOND + 1.3)


async def test_a_closed_bar_gives_the_number_that_a_plain_loop_gives() -> None:
    watch = Watch()
    async with watch.world.life():
        first = await watch.begun(EMA)

        ema = Ema(20)
        expected = [ema.update(close) for close in CLOSES[-200:]]
        assert first == {
            "name": "ema",
            "symbol": BTC,
            "timeframe": "1m",
            "params": {"length": 20},
            "ts": (watch.now // MINUTE * MINUTE - MINUTE) // MS,
            "value": expected[-1],
            "closed": True,
        }


async def test_the_forming_bar_is_shown_once_a_second_and_forgotten() -> None:
    watch = Watch()
    async with watch.world.life():
        first = await watch.begun(EMA)
        await asyncio.sleep(1)
        start = watch.now // MINUTE * MINUTE
        values = []
        for price in ("110", "130"):
            watch.venue.trade(price, watch.now)
            await asyncio.sleep(1.1)
            values.append(watch.data(EMA))
        await watch.next_bar()
        closed = watch.data(EMA)

        alpha = 2 / 21
        assert [row["closed"] for row in values] == [False, False]
        assert [row["ts"] for row in values] == [start // MS] * 2
        assert values[0]["value"] == first["value"] + alpha * (110 - first["value"])
        assert values[1]["value"] == first["value"] + alpha * (130 - first["value"])
        assert (closed["closed"], closed["ts"]) == (True, start // MS)
        assert closed["value"] == values[1]["value"]


async def test_equal_subscriptions_share_one_computation_and_its_end_is_its_end() -> None:
    watch = Watch()
    async with watch.world.life() as system:
        names = (EMA, f"indicators:{BTC}?timeframe=1m&name=ema&length=020", f"indicators:{BTC}")
        wires = [HeldWire() for _ in names]
        readers = [system.hub.attach(wire, batch=False, every=0) for wire in wires]
        for reader, name in zip(readers, names, strict=True):
            (entry,) = system.hub.subscribe(reader, [Wanted(channel=system.hub.channel(name))])
            assert entry["channel"] == EMA
        await until(lambda: watch.ready(EMA))
        asked = [one for one in watch.venue.asked_bars if one[2] == 201]
        for reader in readers:
            system.hub.remove(reader)
        await asyncio.sleep(120)
        assert EMA not in system.hub.streams

        assert len(asked) == 1
        await asyncio.sleep(2)
        watch.venue.trade("500", watch.now)
        await watch.next_bar()
        # Begun anew it sees the history again.
        await watch.begun(EMA)
        await asyncio.sleep(1)
        assert len([one for one in watch.venue.asked_bars if one[2] == 201]) == 2


async def test_several_numbers_have_names_and_gaps_are_zones() -> None:
    watch = Watch()
    async with watch.world.life():
        macd = await watch.begun(f"indicators:{BTC}?name=macd&timeframe=1m&fast=5")
        gaps = await watch.begun(f"indicators:{BTC}?name=fvg&timeframe=5m&min_gap_size=0.5")

        assert set(macd["value"]) == {"macd", "signal", "histogram"}
        assert macd["params"] == {"fast": 5, "slow": 26, "signal": 9}
        assert "value" not in gaps
        assert len(gaps["zones"]) <= ZONES
        assert gaps["params"] == {"min_gap_size": 0.5, "min_gap_atr": 0, "direction": "both"}


async def test_zones_are_those_of_a_plain_loop_and_a_look_fills_none() -> None:
    closes = [100.0] * 20 + [100.0, 104.0, 108.0, 112.0, 112.0]
    watch = Watch(closes)
    name = f"indicators:{BTC}?name=fvg&timeframe=1m"
    async with watch.world.life():
        first = await watch.begun(name)
        watch.venue.trade("101", watch.now)
        await asyncio.sleep(1.1)
        looked = watch.data(name)

        gaps, before = FairValueGaps(), closes[0]
        for close in closes:
            gaps.update(ohlcv(bar(0, before, close)))
            before = close
        assert [z["size"] for z in first["zones"]] == [zone.size for zone in gaps.zones]
        assert first["zones"]
        assert {z["status"] for z in looked["zones"]} != {z["status"] for z in first["zones"]}


async def test_long_windows_begin_with_more_history_up_to_a_bound() -> None:
    watch = Watch()
    async with watch.world.life():
        await watch.begun(f"indicators:{BTC}?name=sma&timeframe=1m&length=50")
        await watch.begun(f"indicators:{BTC}?name=sma&timeframe=1m&length=900")

        limits = [limit for _, _, limit in watch.venue.asked_bars if limit > 2]
        assert limits == [501, MOST]


async def test_a_history_that_fails_is_asked_for_again() -> None:
    watch = Watch()
    watch.venue.down = 4
    async with watch.world.life():
        found = await watch.begun(EMA)

        assert found["closed"] is True


async def test_without_any_bar_there_is_nothing_to_show_until_one_closes() -> None:
    watch = Watch([])
    async with watch.world.life():
        with pytest.raises(AssertionError, match="did not come true"):
            await watch.begun(EMA)
        watch.venue.trade("100", watch.now)
        await watch.next_bar()

        assert watch.data(EMA)["closed"] is True


async def test_bars_that_close_before_the_history_is_there_are_not_lost() -> None:
    watch = Watch()
    async with watch.world.life():
        await watch.begun(f"ohlcv:{BTC}?timeframe=1m")
        watch.venue.down = 9
        watch.subscribe(EMA)
        await asyncio.sleep(20)
        start = watch.now // MINUTE * MINUTE
        watch.venue.trade("300", watch.now)
        await watch.next_bar()
        watch.venue.closes.append(1.0)
        await until(lambda: watch.ready(EMA))
        found = watch.data(EMA)

        # Of the bar that is in both the history is right.
        ema = Ema(20)
        assert found["ts"] == start // MS
        assert found["value"] == [ema.update(close) for close in [*CLOSES, 1.0][-200:]][-1]


async def test_a_bar_that_the_history_did_not_have_yet_is_fetched_once_it_is_missed() -> None:
    watch = Watch()
    watch.venue.lost = {1}
    async with watch.world.life():
        short = await watch.begun(EMA)
        await asyncio.sleep(2)
        start = watch.now // MINUTE * MINUTE
        watch.venue.trade("300", watch.now)
        watch.venue.lost = set()
        watch.venue.closes.append(300.0)
        await watch.next_bar()
        await asyncio.sleep(1)
        whole = watch.data(EMA)
        asked = len(watch.venue.asked_bars)
        watch.venue.lost = {1}
        for _ in range(3):
            watch.venue.trade("300", watch.now)
            await watch.next_bar()
            await watch.next_bar()

        ema = Ema(20)
        assert short["ts"] == (start - 2 * MINUTE) // MS
        assert whole["ts"] == start // MS
        assert whole["value"] == [ema.update(close) for close in [*CLOSES, 300.0][-200:]][-1]
        # Times without a trade are no reason to ask for ever.
        assert len(watch.venue.asked_bars) == asked


async def test_forming_bars_take_turns_where_there_is_no_time_for_all() -> None:
    watch = Watch()
    names = [f"indicators:{BTC}?length={n}&name=ema&timeframe=1m" for n in (5, 6, 7)]
    async with watch.world.life() as system:
        for name in names:
            await watch.begun(name)
        loop = asyncio.get_running_loop()
        slow = Indicators(
            feeds=system.feeds,
            charts=SlowCharts(loop),
            history=watch.venue,
            publish=lambda base, row, _: shown.append((base, row["closed"])),
            crew=Crew(system.tasks),
            loop=loop,
            now=system.clock.now,
        )
        shown: list[tuple[str, object]] = []
        for name in names:
            slow.want(name, wanted=True)
        await until(lambda: len(shown) == 3)
        shown.clear()
        for _ in range(4):
            slow.turn()

        assert shown == [(name, False) for name in (*names, names[0])]
        for name in names:
            slow.want(name, wanted=False)
        slow.want(names[0], wanted=False)


class SlowCharts(Charts):
    """Every look at a forming bar takes longer than a whole turn may."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._corrected = []
        self._count = 0

    def forming(self, symbol: str, timeframe: str) -> Bar | None:
        virtual_loop().jump(1)
        self._count += 1
        return bar(2**62, 1.0, float(self._count))


async def test_it_is_pushed_over_a_real_connection_of_the_hub() -> None:
    watch = Watch()
    wire = HeldWire()
    async with watch.world.life() as system:
        hub = system.hub
        reader = hub.attach(wire, batch=False, every=0)
        hub.subscribe(reader, [Wanted(channel=hub.channel(EMA))])
        await until(lambda: bool(wire.texts))
        watch.venue.trade("120", watch.now)
        await asyncio.sleep(1.2)
        await watch.next_bar()

        messages = [orjson.loads(text) for text in wire.texts]
        told = [message["data"]["closed"] for message in messages if "data" in message]
        assert messages[0]["type"] == "snapshot"
        assert told == [True, False, True]


@pytest.mark.parametrize("name", ["nonsense", "rsi&length=0", "rsi&fast=1"])
async def test_a_wrong_name_is_refused_before_anything_begins(name: str) -> None:
    watch = Watch()
    async with watch.world.life():
        with pytest.raises(Refused) as caught:
            watch.data(f"indicators:{BTC}?timeframe=1m&name={name}")

        assert caught.value.code is Code.INVALID
        assert watch.venue.asked_bars == []


def test_a_base_name_is_split() -> None:
    assert read("indicators:BTC/USDT:USDT?fast=3&name=macd&timeframe=1m") == (
        "BTC/USDT:USDT",
        "1m",
        {"fast": "3", "name": "macd"},
    )
