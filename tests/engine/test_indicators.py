"""Indicators: the golden vectors, equality with plain definitions and with TA-Lib, fair value gaps."""

import importlib
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.indicators import (
    Atr,
    Change,
    Direction,
    Donchian,
    Ema,
    FairValueGaps,
    Macd,
    Rsi,
    Sma,
    Stdev,
    Volatility,
    VolumeRatio,
    Zone,
    ZoneStatus,
    share,
)
from realtime.model.errors import Code, Refused
from realtime.model.signals import Ohlcv


G2 = [
    44.34, 44.09, 44.15, 43.61, 44.33, 44.83, 45.10, 45.42, 45.84, 46.08,
    45.89, 46.03, 45.61, 46.28, 46.28, 46.00, 46.03, 46.41, 46.22, 45.64,
]  # fmt: skip
PRICES = st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60)


def bar(high: float, low: float, ts: int = 0, close: float | None = None) -> Ohlcv:
    middle = (high + low) / 2 if close is None else close
    return Ohlcv(ts, middle, high, low, middle, 1.0)


def close_to(value: float | None, expected: float | None, tolerance: float = 1e-9) -> bool:
    if value is None or expected is None:
        return value is expected
    return math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)


# --- golden vectors (functional specification, 5) -------------------------------------------------


def test_g1_ema_starts_at_the_first_value() -> None:
    ema = Ema(3)

    assert [ema.update(float(x)) for x in range(1, 11)] == [
        1, 1.5, 2.25, 3.125, 4.0625, 5.03125, 6.015625, 7.0078125, 8.00390625, 9.001953125,
    ]  # fmt: skip


def test_g2_rsi_of_wilder() -> None:
    rsi = Rsi(14)

    found = [rsi.update(close) for close in G2]

    assert found[:14] == [None] * 14
    assert [round(x or 0, 2) for x in found[14:]] == [70.46, 66.25, 66.48, 69.35, 66.29, 57.92]


def test_g3_rsi_without_any_change_is_50_and_without_loss_100() -> None:
    flat, rising = Rsi(14), Rsi(14)

    equal = [flat.update(10.0) for _ in range(16)]
    up = [rising.update(10.0 + step) for step in range(16)]

    assert equal == [None] * 14 + [50, 50]
    assert up == [None] * 14 + [100, 100]


def test_g4_macd() -> None:
    macd = Macd(12, 26, 9)

    last = [macd.update(close) for close in G2][-1]

    assert last == pytest.approx((0.438293, 0.426806, 0.011487), abs=1e-6)


def test_g5_atr_begins_with_the_second_bar() -> None:
    atr = Atr(3)
    rows = [(10, 9, 9.5), (11, 10, 10.5), (12, 10.5, 11.5), (11, 9.5, 10), (13, 11, 12.5)]

    found = [atr.update(*row) for row in rows]

    assert found[:3] == [None] * 3
    assert found[3:] == [pytest.approx(1.666667, abs=1e-6), pytest.approx(2.111111, abs=1e-6)]


def g6() -> FairValueGaps:
    gaps = FairValueGaps()
    for ts, (high, low) in enumerate([(2, 1), (5, 3), (7, 6)]):
        gaps.update(bar(high, low, ts))
    return gaps


def test_g6_three_bars_make_one_bullish_gap() -> None:
    (zone,) = g6().zones

    assert (zone.index, zone.direction) == (1, Direction.BULLISH)
    assert (zone.gap_low, zone.gap_high, zone.size, zone.mid) == (2, 6, 4, 4)
    assert zone.size_fraction == 1
    assert (zone.status, zone.filled_fraction) == (ZoneStatus.OPEN, 0)
    assert (zone.start_ts, zone.confirmed_ts) == (1, 2)


def test_g7_lower_lows_fill_the_gap() -> None:
    gaps = g6()
    (zone,) = gaps.zones

    seen = []
    for ts, low in enumerate([5, 3, 1], 3):
        gaps.update(bar(7, low, ts))
        seen.append((zone.filled_fraction, zone.status))

    assert seen == [
        (0.25, ZoneStatus.PARTIALLY_FILLED),
        (0.75, ZoneStatus.PARTIALLY_FILLED),
        (1, ZoneStatus.FILLED),
    ]
    assert zone.filled_ts == 5
    assert gaps.age(zone) == 3


# --- against plain definitions --------------------------------------------------------------------


def windows(numbers: Sequence[float], length: int) -> Iterator[Sequence[float] | None]:
    for end in range(1, len(numbers) + 1):
        yield numbers[end - length : end] if end >= length else None


@given(PRICES, st.integers(1, 12))
@settings(deadline=None, max_examples=50)
def test_sma_is_the_mean_of_its_window(closes: list[float], length: int) -> None:
    sma = Sma(length)

    for close, window in zip(closes, windows(closes, length), strict=True):
        expected = None if window is None else statistics.fmean(window)
        assert close_to(sma.update(close), expected)


@given(PRICES, st.integers(2, 12))
@settings(deadline=None, max_examples=50)
def test_stdev_is_the_sample_deviation_of_its_window(closes: list[float], length: int) -> None:
    stdev = Stdev(length)

    for close, window in zip(closes, windows(closes, length), strict=True):
        found = stdev.update(close)
        if window is None:
            assert found is None
        else:
            assert found is not None
            assert found == pytest.approx(
                statistics.stdev(window), rel=1e-6, abs=1e-7 * max(closes)
            )


def test_stdev_of_equal_numbers_is_nothing_after_any_jump() -> None:
    stdev = Stdev(5)
    for x in (1.1, 7e5, 60_000.1, 60_000.1, 60_000.1, 60_000.1):
        stdev.update(x)

    assert stdev.update(60_000.1) == 0


def test_sliding_sums_lose_nothing_in_a_long_run() -> None:
    sma, stdev = Sma(7), Stdev(7)
    for step in range(20_001):
        x = 1e9 if step % 1000 < 500 else 0.1
        sma.update(x)
        stdev.update(x)
    for x in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7):
        sma.update(x)
        stdev.update(x)

    assert sma.value == pytest.approx(0.4, abs=1e-6)
    assert stdev.value == pytest.approx(statistics.stdev([x / 10 for x in range(1, 8)]), abs=1e-4)


@given(PRICES, st.integers(2, 8))
@settings(deadline=None, max_examples=50)
def test_volatility_and_change_are_those_of_returns(closes: list[float], length: int) -> None:
    volatility, change = Volatility(length), Change(length)

    for close in closes:
        volatility.update(close)
        change.update(close)

    returns = [two / one - 1 for one, two in pairwise(closes)]
    if len(returns) < length:
        assert volatility.value is None
        assert change.value is None
    else:
        last = returns[-length:]
        assert volatility.value == pytest.approx(
            statistics.stdev(last), rel=1e-6, abs=1e-7 * max(map(abs, returns), default=1)
        )
        assert change.value == closes[-1] / closes[-1 - length] - 1


def test_volume_ratio_counts_the_bars_own_volume() -> None:
    ratio = VolumeRatio(2)

    assert [ratio.update(x) for x in (1.0, 3.0, 0.0, 0.0)] == [None, 1.5, 0, 0]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8)), min_size=1), st.integers(1, 6))
@settings(deadline=None, max_examples=50)
def test_donchian_is_the_range_of_its_window(rows: list[tuple[int, int]], length: int) -> None:
    donchian = Donchian(length)
    highs = [float(low + height) for height, low in rows]
    lows = [float(low) for _, low in rows]

    for end in range(1, len(rows) + 1):
        found = donchian.update(highs[end - 1], lows[end - 1])
        if end < length:
            assert found is None
        else:
            upper, lower = max(highs[end - length : end]), min(lows[end - length : end])
            assert found == (upper, (upper + lower) / 2, lower)


@pytest.mark.parametrize(
    ("part", "whole", "expected"), [(1, 2, 0.5), (3, 2, 1), (1, 0, 1), (0, 0, 0), (0, 3, 0)]
)
def test_a_share_of_nothing_is_one_and_nothing_of_nothing_none(
    part: float, whole: float, expected: float
) -> None:
    assert share(part, whole) == expected


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "sma": (lambda: Sma(0), "length"),
    "stdev": (lambda: Stdev(1), "length"),
    "ema": (lambda: Ema(0), "length"),
    "rsi": (lambda: Rsi(0), "length"),
    "atr": (lambda: Atr(0), "length"),
    "change": (lambda: Change(0), "length"),
    "volatility": (lambda: Volatility(1), "length"),
    "volume_ratio": (lambda: VolumeRatio(0), "length"),
    "donchian": (lambda: Donchian(0), "length"),
    "macd": (lambda: Macd(26, 12), "fast"),
    "fvg size": (lambda: FairValueGaps(-1), "min_gap_size"),
    "fvg atr": (lambda: FairValueGaps(0, math.nan), "min_gap_atr"),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_parameter_is_refused_by_name(name: str) -> None:
    make, field = WRONG[name]
    with pytest.raises(Refused) as caught:
        make()

    assert caught.value.code is Code.INVALID
    assert caught.value.details is not None
    assert caught.value.details["fields"][0]["field"] == field  # type: ignore[index]


# --- fair value gaps ------------------------------------------------------------------------------


def test_a_bearish_gap_is_filled_by_higher_highs() -> None:
    gaps = FairValueGaps(length=10)
    for ts, (high, low) in enumerate([(10, 9), (8, 6), (5, 4)]):
        gaps.update(bar(high, low, 10 * ts))
    (zone,) = gaps.zones
    gaps.update(bar(7, 4, 30))
    half = zone.filled_fraction
    gaps.update(bar(9, 4, 40))

    assert (zone.direction, zone.gap_low, zone.gap_high) == (Direction.BEARISH, 5, 9)
    assert (zone.start_ts, zone.confirmed_ts, zone.filled_ts) == (10, 30, 50)
    assert (half, zone.filled_fraction) == (0.5, 1)


def test_what_it_measures_by_is_the_average_true_range() -> None:
    gaps, atr = FairValueGaps(), Atr(14)
    for row in made_up(20):
        gaps.update(row)
        atr.update(row.high, row.low, row.close)

    assert gaps.atr == atr.value
    assert gaps.atr is not None


def test_two_bars_make_no_gap() -> None:
    gaps = FairValueGaps()

    assert [gaps.update(bar(2, 1)), gaps.update(bar(9, 8))] == [None, None]


@pytest.mark.parametrize(("direction", "found"), [("both", 1), ("bullish", 1), ("bearish", 0)])
def test_only_the_wanted_direction_is_kept(direction: str, found: int) -> None:
    gaps = FairValueGaps(direction=Direction(direction))
    for high, low in [(2, 1), (5, 3), (7, 6)]:
        gaps.update(bar(high, low))

    assert len(gaps.zones) == found


def test_small_gaps_are_left_out() -> None:
    sizes = [FairValueGaps(least) for least in (4, 4.01)]
    for gaps in sizes:
        for high, low in [(2, 1), (5, 3), (7, 6)]:
            gaps.update(bar(high, low))

    assert [len(gaps.zones) for gaps in sizes] == [1, 0]


def test_a_least_height_in_atr_keeps_nothing_before_there_is_an_atr() -> None:
    gaps = FairValueGaps(min_gap_atr=0.5)
    found: list[Zone | None] = []
    for step in range(20):
        found.append(gaps.update(bar(4 * step + 3, 4 * step + 1, step)))

    # Bars of height 2 that rise by 4: the true range is 4, and every gap 6 high.
    assert found[:14] == [None] * 14
    assert all(zone is not None and zone.size == 6 for zone in found[14:])


def test_the_oldest_gap_is_forgotten_beyond_the_bound() -> None:
    gaps = FairValueGaps(most=2)
    for step in range(6):
        gaps.update(bar(4 * step + 3, 4 * step + 1, step))

    assert [zone.index for zone in gaps.zones] == [3, 4]


def test_a_gap_that_is_full_is_looked_at_no_more() -> None:
    gaps = g6()
    gaps.update(bar(7, 1, 3))
    (zone,) = gaps.zones
    gaps.update(bar(7, 0.5, 4))

    assert (zone.filled_ts, zone.reached) == (3, 1)


# --- TA-Lib ---------------------------------------------------------------------------------------


def made_up(count: int) -> list[Ohlcv]:
    """A series that anybody can make again: draws of x = (1103515245 x + 12345) mod 2^31 from 12345."""
    state, close, rows = 12345, 100.0, []
    for ts in range(count):
        draws = []
        for _ in range(4):
            state = (1103515245 * state + 12345) % 2**31
            draws.append(state / 2**31)
        start, close = close, round(close * (1 + (draws[0] - 0.5) * 0.04), 2)
        high = round(max(start, close) * (1 + draws[1] * 0.01), 2)
        low = round(min(start, close) * (1 - draws[2] * 0.01), 2)
        rows.append(Ohlcv(ts, start, high, low, close, round(draws[3] * 10, 3)))
    return rows


def ours(name: str) -> Callable[[Ohlcv], float | None]:
    rsi, atr, sma, stdev, change = Rsi(14), Atr(14), Sma(20), Stdev(20), Change(5)
    donchian, ema = Donchian(20), Ema(10)
    updates: dict[str, Callable[[Ohlcv], float | None]] = {
        "rsi": lambda b: rsi.update(b.close),
        "atr": lambda b: atr.update(b.high, b.low, b.close),
        "sma": lambda b: sma.update(b.close),
        "stdev": lambda b: stdev.update(b.close),
        "rocp": lambda b: change.update(b.close),
        "max": lambda b: (donchian.update(b.high, b.low) or (None, None, None))[0],
        "min": lambda b: (donchian.update(b.high, b.low) or (None, None, None))[2],
        "ema": lambda b: ema.update(b.close),
    }
    return updates[name]


# Computed with TA-Lib 0.8.1 (Python package 0.8.2) over `made_up(60)`. Its EMA begins with a mean: told the first
# close nine times before, it begins with that close, as ours. Its deviation is of a population: times sqrt(20/19) it
# is of a sample. Bar: value.
TA_LIB: dict[str, dict[int, float]] = {
    "rsi": {14: 39.776195320447556, 30: 39.0348960824854, 59: 49.97043102359795},
    "atr": {14: 1.721428571428572, 30: 1.9034768638206023, 59: 2.0852118448186174},
    "sma": {19: 98.199, 40: 95.99750000000003, 59: 96.29550000000002},
    "stdev": {19: 1.3314570570382065, 40: 0.9887891319024684, 59: 1.2672534536506446},
    "rocp": {5: -0.0152057245080501, 40: 0.014630038943269134, 59: 0.002284764773081305},
    "max": {19: 101.18, 40: 99.49, 59: 99.41},
    "min": {19: 95.54, 40: 93.6, 59: 93.46},
    "ema": {1: 100.63272727272728, 40: 95.81138336018228, 59: 96.61934573217434},
}


@pytest.mark.parametrize("name", list(TA_LIB))
def test_indicators_are_what_ta_lib_says(name: str) -> None:
    update = ours(name)

    found = [update(row) for row in made_up(60)]

    for place, value in TA_LIB[name].items():
        assert found[place] == pytest.approx(value, rel=1e-10)
    if name != "ema":
        assert found[min(TA_LIB[name]) - 1] is None


def test_a_long_series_is_what_ta_lib_says_where_it_is_installed() -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is not installed: pip install ta-lib")
    array = importlib.import_module("numpy").array
    rows = made_up(5_000)
    _, _, high, low, close, _ = (array(column, dtype=float) for column in zip(*rows, strict=True))
    ema = talib.EMA(array([close[0]] * 9 + list(close)), 10)[9:]
    expected = {
        "rsi": talib.RSI(close, 14),
        "atr": talib.ATR(high, low, close, 14),
        "sma": talib.SMA(close, 20),
        "stdev": talib.STDDEV(close, 20) * math.sqrt(20 / 19),
        "rocp": talib.ROCP(close, 5),
        "max": talib.MAX(high, 20),
        "min": talib.MIN(low, 20),
        "ema": ema,
    }

    for name, values in expected.items():
        update = ours(name)
        for row, value in zip(rows, values, strict=True):
            found = update(row)
            if not math.isnan(value):
                assert found == pytest.approx(value, rel=1e-8, abs=1e-9), name
