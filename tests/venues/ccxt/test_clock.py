"""How far our clock is off, and what an exchange with a receive window is not sent then (V5)."""

import asyncio
from collections.abc import Mapping

import pytest

from realtime.model.errors import Code, Refused, VenueUnknown
from realtime.venues.ccxt.clock import AGAIN_S, EVERY_S, Offset
from realtime.venues.ccxt.way import LANE, Lane


MS = 1_000_000


class Exchange:
    """An exchange whose clock is ahead of ours by so much, at the end of a way of so much."""

    def __init__(
        self, ahead_ms: float, way_ms: float = 20, *, ways: tuple[float, ...] = ()
    ) -> None:
        self.ahead_ms = ahead_ms
        self.ways = list(ways) or [way_ms]
        self.asked: list[float] = []
        self.lanes: set[Lane] = set()
        self.silent = 0
        self.knows = True

    @property
    def wall(self) -> int:
        return int((asyncio.get_running_loop().time() + 1_700_000_000) * 1e9)

    async def fetch_time(self) -> int | None:
        self.asked.append(asyncio.get_running_loop().time())
        self.lanes.add(LANE.get())
        if self.silent:
            self.silent -= 1
            raise VenueUnknown("no answer")
        out_ms = self.ways[(len(self.asked) - 1) % len(self.ways)]
        # All of the delay on the way out: the worst that half of the way can be wrong.
        await asyncio.sleep(out_ms / 1000)
        return round(self.wall / MS + self.ahead_ms) if self.knows else None


class Told:
    """Takes alerts."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, str]] = []
        self.text = ""

    def __call__(self, level: str, code: str, text: str, _data: Mapping[str, object]) -> None:
        self.alerts.append((level, code))
        self.text = text


def offset(exchange: Exchange, told: Told | None = None, *, window: bool = True) -> Offset:
    return Offset(
        "bybit",
        fetch_time=exchange.fetch_time,
        now=lambda: exchange.wall,
        window=window,
        tell=told or Told(),
    )


async def test_the_sample_with_the_shortest_way_counts() -> None:
    clock = offset(Exchange(100, ways=(800, 10, 400)))
    measured = await clock.measure()

    assert measured == pytest.approx(105, abs=1)
    assert clock.error_ms == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(
    ("ahead_ms", "alerts", "refuses"),
    [
        (0, [], False),
        (480, [], False),
        (-480, [], False),
        (600, [("warning", "clock_offset")], False),
        (-1900, [("warning", "clock_offset")], False),
        (2100, [("error", "clock_offset")], True),
        (-2100, [("error", "clock_offset")], True),
    ],
)
async def test_half_a_second_warns_and_two_refuse(
    *, ahead_ms: float, alerts: list[tuple[str, str]], refuses: bool
) -> None:
    told = Told()
    clock = offset(Exchange(ahead_ms), told)
    await clock.measure()

    assert told.alerts == alerts
    assert clock.refuses is refuses
    if refuses:
        with pytest.raises(Refused) as refusal:
            clock.check()

        assert refusal.value.code is Code.VENUE_UNAVAILABLE
        assert ("behind" if ahead_ms > 0 else "ahead of") in refusal.value.message
        assert "set the clock" in refusal.value.message
    else:
        clock.check()


async def test_an_answer_that_was_long_on_its_way_is_no_wrong_clock() -> None:
    told = Told()
    measured = offset(Exchange(0, 5_000), told)
    await measured.measure()

    assert measured.ms is not None
    assert abs(measured.ms) > 2_000
    assert not measured.refuses
    assert told.alerts == []


async def test_an_exchange_without_a_window_takes_what_it_is_sent() -> None:
    clock = offset(Exchange(10_000), window=False)
    await clock.measure()

    assert not clock.refuses
    clock.check()


async def test_what_is_not_known_refuses_nothing() -> None:
    exchange = Exchange(0)
    exchange.knows = False
    clock = offset(exchange)

    assert await clock.measure() is None
    assert clock.ms is None
    assert "not known" in clock.says
    clock.check()


async def test_it_is_measured_every_ten_minutes_and_sooner_while_it_is_wrong() -> None:
    told, exchange = Told(), Exchange(0, 0)
    exchange.silent = 1
    clock = offset(exchange, told)
    running = asyncio.create_task(clock.run(asyncio.sleep))
    await asyncio.sleep(AGAIN_S + 1)

    assert len(exchange.asked) == 4
    exchange.ahead_ms = 700
    await asyncio.sleep(EVERY_S)
    exchange.ahead_ms = 0
    await asyncio.sleep(AGAIN_S)
    assert exchange.asked[1::3] == [AGAIN_S, AGAIN_S + EVERY_S, 2 * AGAIN_S + EVERY_S]
    running.cancel()
    assert told.alerts == [("warning", "clock_offset"), ("info", "clock_right")]
    assert exchange.lanes == {Lane.RECONCILE}
