"""Bars behind a silence of their source: what was folded meanwhile is read again, and told again where it was wrong."""

import asyncio
from typing import Any

import orjson
import pytest

from realtime.desk.charts import Charts
from realtime.engine.studies import begin as begun, ohlcv, study
from realtime.hub.hub import Wanted
from realtime.model.market import MS, Bar
from tests.bots.market import BTC, MINUTE, QUIET, BotWorld, bar_of
from tests.hub.wires import HeldWire


OHLCV = f"ohlcv:{BTC}?timeframe=1m"
RSI = f"indicators:{BTC}?length=5&name=rsi&timeframe=1m"


class Silence:
    """A market whose source goes silent, its chart and what a follower is told of it.

    Attributes:
        truth: Bars of the venue, whatever was heard of them.
        told: Bars that a follower was told.
        shown: What the chart showed last.
    """

    def __init__(self) -> None:
        self.world = BotWorld()
        self.told: list[Bar] = []
        self.shown: dict[str, Any] = {}

    @property
    def charts(self) -> Charts:
        found = self.world.system.feeds._charts
        assert found is not None
        return found

    @property
    def truth(self) -> list[Bar]:
        return self.world.venue.bars[BTC, "1m"]

    @property
    def minute(self) -> int:
        """Opening of the bar that is forming."""
        return self.world.system.clock.now() // MINUTE * MINUTE

    async def begin(self, *names: str) -> None:
        """Read channels whose bars are known; half a minute is left."""
        await self.world.to_the_minute()
        await asyncio.sleep(1)
        self.world.past([price + 10 * (at % 7) for at, price in enumerate(QUIET)])
        publish = self.charts._publish

        def show(name: str, data: dict[str, Any], asof: int) -> None:
            self.shown = data
            publish(name, data, asof)

        self.charts._publish = show
        self.subscribe(*names)
        self.world.system.feeds.follow(BTC, "1m", self.told.append)
        await asyncio.sleep(20)

    def subscribe(self, *names: str) -> None:
        hub = self.world.system.hub
        for name in names:
            reader = hub.attach(HeldWire(), batch=False, every=0)
            hub.subscribe(reader, [Wanted(channel=hub.channel(name))])

    def data(self, name: str) -> dict[str, Any]:
        hub = self.world.system.hub
        found: dict[str, Any] = orjson.loads(hub.snapshot(hub.channel(name)))["data"]
        return found

    def bars(self) -> list[tuple[int, str]]:
        """Opening and close of the bars that the channel shows."""
        return [(row[0] * MS, row[4]) for row in self.shown["ohlcv"]]

    def silent(self) -> None:
        self.charts.silent(BTC, self.world.system.clock.now())

    async def back(self) -> None:
        self.charts.back(BTC)
        await asyncio.sleep(3)


def rsi(bars: list[Bar]) -> object:
    """Compute it in a plain loop."""
    found = study("rsi")
    course = begun(found, found.read({"length": "5"}), length=MINUTE, most=0)
    for one in bars:
        course.update(ohlcv(one))
    return course.shown()["value"]


def opens(bars: list[Bar]) -> list[int]:
    return [one.ts for one in bars]


async def test_bars_of_a_silence_are_read_again_and_followers_are_told_those_that_closed() -> None:
    """Symptom: after a frozen feed of 100 s the channel differed from the history for ever."""
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV, RSI)
        first = silence.minute
        silence.world.venue.trade(BTC, 64100)
        silence.silent()
        silence.silent()
        await asyncio.sleep(150)
        meanwhile, nothing = silence.bars(), list(silence.told)
        lost = [bar_of(first + n * MINUTE, 64500 + 10 * n) for n in range(3)]
        silence.truth.extend(lost)
        await silence.back()

        # The bar whose rest was not heard is not called closed.
        assert (meanwhile[-1], nothing) == ((first, "64100.00"), [])
        assert silence.bars() == [(lost[1].ts, "64510.00"), (lost[2].ts, "64520.00")]
        assert silence.told == lost[:2]
        await silence.world.bar(64600)
        await silence.world.bar(64610)
        assert silence.data(RSI)["value"] == rsi([*silence.truth[:-1], *silence.told[2:]])


async def test_what_was_told_before_the_silence_was_noticed_is_told_again_as_it_is() -> None:
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV, RSI)
        first, now = silence.minute, silence.world.system.clock.now()
        silence.world.venue.trade(BTC, 64100)
        await silence.world.to_the_minute()
        await asyncio.sleep(3)
        wrong, shown = list(silence.told), silence.data(RSI)["value"]
        silence.charts.silent(BTC, now)
        await asyncio.sleep(30)
        right = [bar_of(first, 63000), bar_of(first + MINUTE, 63010)]
        silence.truth.extend(right)
        await silence.back()

        assert opens(wrong) == [first]
        assert silence.told[1:] == right[:1]
        value = silence.data(RSI)["value"]
        assert value == rsi(silence.truth)
        assert value != shown
        # What the venue has as it was told is no news: its numbers count, not how they are written.
        count = len(silence.told)
        silence.charts.silent(BTC, now)
        silence.truth[-2] = Bar(first, "63000", "63000.0", "63000", "63000", "1.0")
        await silence.back()
        assert len(silence.told) == count


async def test_a_study_that_waits_for_its_history_forgets_what_was_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV)
        first, at_once = silence.minute, silence.world.venue.ohlcv
        now = silence.world.system.clock.now()

        async def slow(symbol: str, timeframe: str, since: int | None, limit: int) -> Any:
            found = await at_once(symbol, timeframe, since, limit)
            await asyncio.sleep(60 if limit > 100 else 0)
            return found

        monkeypatch.setattr(silence.world.venue, "ohlcv", slow)
        silence.subscribe(RSI, RSI.replace("1m", "5m"))
        silence.world.venue.trade(BTC, 64100)
        await silence.world.to_the_minute()
        await asyncio.sleep(3)
        silence.charts.silent(BTC, now)
        silence.truth.extend([bar_of(first, 63000), bar_of(first + MINUTE, 63010)])
        await silence.back()
        await asyncio.sleep(40)

        assert silence.data(RSI)["value"] == rsi(silence.truth)


async def test_a_history_that_is_down_delays_what_closed_and_loses_nothing() -> None:
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV)
        first = silence.minute
        silence.silent()
        silence.world.venue.broken.add("ohlcv")
        silence.world.venue.no_bars = True
        await silence.back()
        silence.world.venue.trade(BTC, 64200)
        await silence.world.to_the_minute()
        await asyncio.sleep(10)
        nothing = list(silence.told)
        # It is silent once more before it was made up for, and back.
        silence.silent()
        await silence.back()
        silence.truth.extend([bar_of(first, 64300), bar_of(first + MINUTE, 64310)])
        silence.world.venue.broken.clear()
        silence.world.venue.no_bars = False
        await asyncio.sleep(30)

        assert nothing == []
        assert silence.told == silence.truth[-2:-1]
        assert silence.bars()[-1] == (first + MINUTE, "64310.00")


async def test_however_often_a_source_comes_and_goes_one_question_is_asked_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV)
        first, at_once, asked = silence.minute, silence.world.venue.ohlcv, 0

        async def slow(*args: Any) -> Any:
            nonlocal asked
            asked += 1
            found = await at_once(*args)
            await asyncio.sleep(4)
            return found

        monkeypatch.setattr(silence.world.venue, "ohlcv", slow)
        silence.silent()
        await silence.back()
        # Silent once more before the answer, which is of no use then.
        silence.silent()
        await asyncio.sleep(5)
        unknown, one = silence.charts.forming(BTC, "1m"), asked
        for _ in range(5):
            silence.charts.back(BTC)
            silence.silent()
        silence.charts.back(BTC)
        await asyncio.sleep(1)
        silence.truth.append(bar_of(first, 64300))
        for _ in range(5):
            silence.silent()
            silence.charts.back(BTC)
        await asyncio.sleep(10)

        assert (unknown, one, asked) == (None, 1, 3)
        assert silence.charts.forming(BTC, "1m") == bar_of(first, 64300)
        assert silence.told == []


async def test_a_price_that_comes_before_the_answer_and_is_not_in_it_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV)
        first, at_once = silence.minute, silence.world.venue.ohlcv
        silence.silent()
        silence.truth.append(bar_of(first, 64300))

        async def slow(*args: Any) -> Any:
            found = await at_once(*args)
            silence.world.venue.trade(BTC, 64900)
            await asyncio.sleep(1)
            return found

        monkeypatch.setattr(silence.world.venue, "ohlcv", slow)
        await silence.back()

        expected = Bar(first, "64300.00", "64900.00", "64300.00", "64900.00", "1")
        assert silence.charts.forming(BTC, "1m") == expected


async def test_of_a_silence_that_is_longer_than_a_page_followers_begin_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.desk.charts.MOST", 4)
    silence = Silence()
    async with silence.world.life():
        await silence.begin(OHLCV, RSI)
        first = silence.minute
        silence.silent()
        await asyncio.sleep(8 * 60)
        lost = [bar_of(first + n * MINUTE, 64000 + 10 * (n % 5)) for n in range(9)]
        silence.truth.extend(lost)
        await silence.back()

        assert silence.told == lost[5:8]
        assert silence.data(RSI)["value"] == rsi(silence.truth)


async def test_a_silence_of_what_nobody_reads_costs_no_question() -> None:
    silence = Silence()
    async with silence.world.life():
        charts = silence.charts
        charts.back(BTC)
        charts.silent(BTC, 0)
        charts.back(BTC)

        assert charts.idle
