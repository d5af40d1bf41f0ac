"""What the built-in strategies say: against their definitions, on hand-made bars and on chance."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from realtime.bots.loading import BUILT_IN, Strategies
from realtime.bots.strategies.filters import Filtered, Filters
from realtime.bots.strategy import Strategy, StrategyParams, probabilities, signal
from realtime.engine.indicators import Atr, Change, Ema, FairValueGaps, Rsi, Volatility, share
from realtime.model.errors import Code, Refused
from realtime.model.signals import Action, Ohlcv, Probabilities, Signal


TABLE = Strategies()
STEPS = st.lists(
    st.tuples(st.integers(-4, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=80
)


def walk(steps: Sequence[tuple[int, int, int]]) -> list[Ohlcv]:
    """Bars of whole numbers, where equal means and flat ranges happen."""
    close, rows = 1000.0, []
    for ts, (move, up, down) in enumerate(steps):
        start, close = close, close + move
        rows.append(
            Ohlcv(ts, start, max(start, close) + up, min(start, close) - down, close, 1.0 + up)
        )
    return rows


def flat(closes: Sequence[float], height: float = 0.0) -> list[Ohlcv]:
    return [Ohlcv(ts, c, c + height, c - height, c, 1.0) for ts, c in enumerate(closes)]


def said(name: str, bars: Sequence[Ohlcv], **params: Any) -> list[float]:
    strategy = TABLE.make(name, params)
    found = [strategy.on_ohlcv(bar) for bar in bars]
    assert all(isinstance(one, float) for one in found)
    return found  # type: ignore[return-value]


# --- golden vectors (functional specification, 5) -------------------------------------------------


@pytest.mark.parametrize(
    ("conviction", "expected"),
    [
        (0.0, (0.2119, 0.2119, 0.5761)),
        (0.25, (0.6652, 0.0900, 0.2447)),
        (0.5, (0.9362, 0.0171, 0.0466)),
        (1.0, (0.9988, 0.0003, 0.0009)),
    ],
)
def test_g8_softmax_of_a_conviction(
    conviction: float, expected: tuple[float, float, float]
) -> None:
    assert probabilities(conviction) == pytest.approx(expected, abs=6e-5)


def test_g9_a_tie_is_hold() -> None:
    found = probabilities(0.125)

    assert found == pytest.approx((0.4223, 0.1554, 0.4223), abs=5e-5)
    assert found.action is Action.HOLD


# --- every strategy -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BUILT_IN))
@given(steps=STEPS)
@settings(deadline=None, max_examples=15)
def test_what_is_said_is_a_signal_whose_action_is_the_likeliest(
    name: str, steps: list[tuple[int, int, int]]
) -> None:
    strategy = TABLE.make(name)

    for bar in walk(steps):
        found = signal(strategy, strategy.on_ohlcv(bar))
        assert math.isclose(sum(found.probabilities), 1, abs_tol=1e-9)
        assert found.confidence == max(found.probabilities)
        assert found.position_size == strategy.params.position_size


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "sample"])
def test_nothing_is_said_before_the_warmup(name: str) -> None:
    strategy = TABLE.make(name)
    bars = walk([((place * 7) % 9 - 4, 0, 0) for place in range(strategy.warmup - 1)])

    assert [strategy.on_ohlcv(bar) for bar in bars] == [0.0] * len(bars)


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_equal_bars_give_equal_answers_and_later_bars_change_no_earlier_one(name: str) -> None:
    bars = walk([((place * 7) % 9 - 4, place % 2, place % 3) for place in range(120)])
    one, other = TABLE.make(name), TABLE.make(name)

    whole = [one.on_ohlcv(bar) for bar in bars]

    assert [other.on_ohlcv(bar) for bar in bars[:60]] == whole[:60]


@pytest.mark.parametrize("name", list(BUILT_IN))
def test_what_it_looked_at_is_numbers_once_it_is_warm(name: str) -> None:
    strategy = TABLE.make(name)
    assert None in strategy.indicators().values() or name == "sample"
    for bar in walk([((place * 7) % 9 - 4, 1, 1) for place in range(strategy.warmup + 5)]):
        strategy.on_ohlcv(bar)

    zone = {"gap_low", "gap_high", "gap_age", "filled_fraction"}
    assert all(v is not None for k, v in strategy.indicators().items() if k not in zone)


# --- ema_crossover --------------------------------------------------------------------------------


def crossing(
    bars: Sequence[Ohlcv], fast: int, slow: int, lookback: int, least: float
) -> list[float]:
    """The definition of `ema_crossover`, without a thought of speed."""
    one, other, atr = Ema(fast), Ema(slow), Atr(14)
    gaps: list[float] = []
    found = []
    for place, bar in enumerate(bars):
        gaps.append(one.update(bar.close) - other.update(bar.close))
        measure = atr.update(bar.high, bar.low, bar.close)
        sign = 0
        for at in range(max(place - lookback + 1, 1), place + 1):
            if gaps[at - 1] <= 0 < gaps[at]:
                sign = 1
            elif gaps[at - 1] >= 0 > gaps[at]:
                sign = -1
        gap = abs(gaps[-1])
        if place + 1 < slow + 2 or measure is None or gap < least:
            sign = 0
        found.append(sign * (0.25 + 0.75 * share(gap, measure or 0.0)))
    return found


@given(STEPS, st.integers(1, 8), st.integers(1, 20), st.integers(1, 5), st.sampled_from([0.0, 1.5]))
@settings(deadline=None, max_examples=100)
def test_ema_crossover_is_what_its_definition_says(
    steps: list[tuple[int, int, int]], fast: int, more: int, lookback: int, least: float
) -> None:
    bars = walk(steps)
    params = {
        "fast_period": fast,
        "slow_period": fast + more,
        "lookback": lookback,
        "min_gap": least,
    }

    assert said("ema_crossover", bars, **params) == pytest.approx(
        crossing(bars, fast, fast + more, lookback, least), abs=1e-12
    )


def test_ema_crossover_counts_a_crossing_for_three_bars() -> None:
    closes = [100.0] * 40 + [110.0] * 6
    found = said("ema_crossover", flat(closes, 1))

    assert [s > 0.25 for s in found[40:]] == [True, True, True, False, False, False]
    assert found[:40] == [0] * 40


def test_ema_crossover_says_only_what_its_direction_allows() -> None:
    closes = [100.0] * 40 + [110.0] * 3 + [60.0] * 3
    up = said("ema_crossover", flat(closes, 1), direction="bullish")
    down = said("ema_crossover", flat(closes, 1), direction="bearish")

    assert min(up) == 0 < max(up)
    assert min(down) < 0 == max(down)


def test_ema_crossover_is_warm_with_the_bar_after_next_of_its_slow_mean() -> None:
    closes = [100.0] * 13 + [110.0] * 8
    found = said("ema_crossover", flat(closes, 1), fast_period=2, slow_period=3, lookback=5)
    wide = said("ema_crossover", flat(closes, 1), fast_period=2, slow_period=3, min_gap=9.0)

    # The true range needs 15 bars; the crossing is at the 14th.
    assert [s > 0 for s in found[13:]] == [False, True, True, True, True, False, False, False]
    assert wide == [0] * len(closes)


def test_ema_crossover_says_nothing_while_the_means_are_one_or_nearly() -> None:
    assert said("ema_crossover", flat([100.0] * 40)) == [0] * 40
    near = flat([100.0] * 40 + [110.0] * 3, 1)
    assert max(said("ema_crossover", near, min_gap=5.0)) == 0
    assert max(said("ema_crossover", near, min_gap=1.0)) > 0


# --- rsi ------------------------------------------------------------------------------------------


@given(STEPS, st.integers(1, 8))
@settings(deadline=None, max_examples=40)
def test_rsi_is_what_its_definition_says(steps: list[tuple[int, int, int]], period: int) -> None:
    bars, index = walk(steps), Rsi(period)
    expected = []
    for bar in bars:
        rsi = index.update(bar.close)
        if rsi is not None and rsi <= 30:
            expected.append(0.25 + 0.75 * (30 - rsi) / 30)
        elif rsi is not None and rsi >= 70:
            expected.append(-(0.25 + 0.75 * (rsi - 70) / 30))
        else:
            expected.append(0.0)

    assert said("rsi", bars, rsi_period=period) == pytest.approx(expected, abs=1e-12)


def test_rsi_at_bounds_that_leave_no_room_counts_nothing_of_nothing_as_nothing() -> None:
    rising = flat([float(x) for x in range(100, 120)])
    falling = flat([float(x) for x in range(120, 100, -1)])

    assert said("rsi", rising, overbought=100.0)[-1] == -0.25
    assert said("rsi", falling, oversold=0.0)[-1] == 0.25


# --- fvg ------------------------------------------------------------------------------------------


def gap_bars(*closes_inside: float) -> list[Ohlcv]:
    """Bars of height 2 that are still for twenty, jump from 101 over 3 to 104, and go on inside the gap."""
    bars = flat([100.0] * 20, 1)
    bars.append(Ohlcv(20, 100, 106, 100, 106, 1))
    bars.append(Ohlcv(21, 106, 107, 104, 106, 1))
    for ts, close in enumerate(closes_inside, 22):
        bars.append(Ohlcv(ts, close, close + 0.5, close, close, 1))
    return bars


def test_fvg_buys_inside_a_bullish_gap_and_fades_with_age() -> None:
    bars = gap_bars(103, 103, 103, 103)
    found = said("fvg", bars)
    atr = Atr(14)
    ranges = [atr.update(bar.high, bar.low, bar.close) or 0 for bar in bars]

    strengths = [0.25 + 0.75 * share(3, ranges[place]) for place in (22, 23, 24)]
    ages = [1 - age / 3 / 2 for age in (1, 2, 3)]
    assert found[:22] == [0] * 22
    assert found[22:25] == pytest.approx([s * a for s, a in zip(strengths, ages, strict=True)])
    assert found[25] == 0


def test_fvg_sells_inside_a_bearish_gap() -> None:
    bars = [
        Ohlcv(b.ts, 200 - b.open, 200 - b.low, 200 - b.high, 200 - b.close, 1)
        for b in gap_bars(103)
    ]

    assert said("fvg", bars)[-1] < -0.5


def test_fvg_leaves_a_filled_gap_alone() -> None:
    bars = gap_bars(103)
    deep = bars[-1]._replace(low=100.5)

    assert said("fvg", [*bars[:-1], deep])[-1] == 0


def test_fvg_tells_the_gap_it_closed_in() -> None:
    strategy = TABLE.make("fvg")
    for bar in gap_bars(103):
        strategy.on_ohlcv(bar)

    found = strategy.indicators()
    assert (found["gap_low"], found["gap_high"], found["gap_age"]) == (101, 104, 1)
    assert found["filled_fraction"] == pytest.approx(1 / 3)


@given(STEPS, st.integers(1, 6))
@settings(deadline=None, max_examples=40)
def test_fvg_is_what_its_definition_says(steps: list[tuple[int, int, int]], lookback: int) -> None:
    bars, gaps, atr, expected = walk(steps), FairValueGaps(), Atr(14), []
    for bar in bars:
        gaps.update(bar)
        measure = atr.update(bar.high, bar.low, bar.close)
        fitting = [
            zone
            for zone in gaps.zones
            if gaps.age(zone) <= lookback
            and zone.status != "filled"
            and zone.gap_low <= bar.close <= zone.gap_high
        ]
        if measure is None or not fitting:
            expected.append(0.0)
            continue
        zone = fitting[-1]
        strength = (0.25 + 0.75 * share(zone.size, measure)) * (1 - gaps.age(zone) / lookback / 2)
        expected.append(strength if zone.direction == "bullish" else -strength)

    assert said("fvg", bars, lookback=lookback) == pytest.approx(expected, abs=1e-12)


# --- sample, donchian, momentum -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, (0.7, 0.1, 0.2)),
        (5.0, (0.7, 0.1, 0.2)),
        (-1.0, (0.1, 0.7, 0.2)),
        (0.0, (0.2, 0.2, 0.6)),
    ],
)
def test_sample_compares_a_number_with_two_thresholds(
    value: float, expected: tuple[float, float, float]
) -> None:
    strategy = TABLE.make("sample", {"indicator_value": value})
    found = strategy.on_ohlcv(flat([1.0])[0])

    assert isinstance(found, Signal)
    assert found.probabilities == expected
    assert found.indicators == {"indicator_value": value}


def test_donchian_follows_a_close_outside_the_range_of_the_bars_before() -> None:
    bars = flat([100.0] * 20, 1)
    up, inside, down = (flat([close], 1)[0] for close in (102.0, 101.0, 98.0))

    assert said("donchian", [*bars, up])[-1] > 0.25
    assert said("donchian", [*bars, inside])[-1] == 0
    assert said("donchian", [*bars, down])[-1] < -0.25
    assert said("donchian", [*bars, up], direction="bearish")[-1] == 0
    assert said("donchian", [*bars, down], direction="bullish")[-1] == 0
    assert said("donchian", [*bars[:10], up], length=5)[-1] == 0  # no true range yet


@given(STEPS, st.integers(1, 6), st.integers(2, 6))
@settings(deadline=None, max_examples=40)
def test_momentum_measures_the_return_by_chance(
    steps: list[tuple[int, int, int]], length: int, window: int
) -> None:
    bars, change, volatility, expected = walk(steps), Change(length), Volatility(window), []
    for bar in bars:
        moved, chance = change.update(bar.close), volatility.update(bar.close)
        if moved is None or chance is None or not moved:
            expected.append(0.0)
            continue
        bound = chance * math.sqrt(length)
        strength = 0.25 + 0.75 * share(abs(moved) - bound, bound)
        expected.append(0.0 if abs(moved) < bound else math.copysign(strength, moved))

    found = said("momentum", bars, length=length, volatility_length=window)
    assert found == pytest.approx(expected, abs=1e-12)


def test_momentum_says_only_what_its_direction_allows() -> None:
    rising = flat([100 * 1.01**x + x % 2 for x in range(30)])

    assert said("momentum", rising)[-1] > 0
    assert said("momentum", rising, direction="bearish")[-1] == 0
    assert said("momentum", rising[::-1], direction="bullish")[-1] == 0


# --- filters --------------------------------------------------------------------------------------


class Fixed(Strategy):
    """Says the same of every bar."""

    id = "fixed"
    summary = "The same of every bar"
    warmup = 3

    def __init__(self, told: float | Signal) -> None:
        super().__init__(StrategyParams(position_size=0.5))
        self._told = told

    def on_ohlcv(self, bar: Ohlcv) -> float | Signal:
        return self._told


def filtered(told: float | Signal, bars: Sequence[Ohlcv], **filters: Any) -> Signal:
    strategy = Filtered(Fixed(told), Filters(**filters))
    found: float | Signal = 0.0
    for bar in bars:
        found = strategy.on_ohlcv(bar)
    return signal(strategy, found)


def trend(step: float) -> list[Ohlcv]:
    return flat([100 + step * x for x in range(30)])


@pytest.mark.parametrize(
    ("told", "step", "action"),
    [
        (1.0, 1, Action.BUY),
        (1.0, -1, Action.HOLD),
        (-1.0, -1, Action.SELL),
        (-1.0, 1, Action.HOLD),
        (1.0, 0, Action.BUY),
        (-1.0, 0, Action.SELL),
        (0.0, -1, Action.HOLD),
        (0.1, -1, Action.HOLD),
    ],
)
def test_the_trend_filter_lets_pass_what_goes_with_the_mean(
    told: float, step: float, action: Action
) -> None:
    found = filtered(told, trend(step), trend=True)

    assert found.action is action
    assert found.position_size == 0.5
    held = action is Action.HOLD and abs(told) == 1
    assert (found.conviction == 0 and "trend_filter" in (found.reason or "")) is held


def test_a_whole_signal_is_held_back_as_well() -> None:
    whole = Signal(probabilities=Probabilities(0.9, 0.05, 0.05), position_size=0.3)

    held = filtered(whole, trend(-1), trend=True)
    passed = filtered(whole, trend(1), trend=True)

    assert (held.action, held.position_size) == (Action.HOLD, 0.3)
    assert held.reason == "trend_filter: close 71 is below EMA(20) 79.9785"
    assert passed is whole


def test_the_volume_filter_wants_more_than_the_usual() -> None:
    bars = flat([100.0] * 30)
    many = [*bars[:-1], bars[-1]._replace(volume=4.0)]

    assert (
        filtered(1.0, bars, volume=True).reason
        == "volume_filter: volume is 1 of its mean, below 1.5"
    )
    assert filtered(1.0, many, volume=True).action is Action.BUY
    assert filtered(1.0, many[:10], volume=True).reason == "volume_filter: fewer than 20 bars"


def test_a_filtered_strategy_is_known_by_the_name_behind_it() -> None:
    strategy = Filtered(Fixed(1.0), Filters(trend=True, ema_length=7, volume=True))

    assert (strategy.id, strategy.summary, strategy.warmup) == ("fixed", Fixed.summary, 20)
    assert Filtered(Fixed(1.0), Filters(trend=True, ema_length=2)).warmup == 3
    assert set(strategy.indicators()) == {"trend_ema", "volume_ratio"}
    assert Filtered(Fixed(1.0), Filters()).indicators() == {}


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "field", "message"),
    [
        ("ema_crossover", {"fast_period": 26}, "slow_period", "26 must be above fast_period 26"),
        ("ema_crossover", {"slow_period": 101}, "slow_period", "must be at most 100"),
        ("ema_crossover", {"fast_period": 0}, "fast_period", "must be at least 1"),
        ("ema_crossover", {"min_gap": -1}, "min_gap", "must be at least 0"),
        ("ema_crossover", {"lookback": "3"}, "lookback", "must be an integer"),
        ("ema_crossover", {"direction": "up"}, "direction", "must be 'both', 'bullish' or 'bearish'"),
        ("rsi", {"overbought": 49}, "overbought", "must be at least 50"),
        ("rsi", {"oversold": 50, "overbought": 50}, "oversold", "50 must be below overbought 50"),
        ("rsi", {"rsi_periods": 3}, "rsi_periods", "is no parameter of it; did you mean rsi_period?"),
        ("rsi", {"q": 3}, "q", "is no parameter of it"),
        ("rsi", {"position_size": 1.1}, "position_size", "must be at most 1"),
        ("fvg", {"lookback": 11}, "lookback", "must be at most 10"),
        ("sample", {"sell_threshold": 1}, "sell_threshold", "1 must be below buy_threshold 1"),
        ("momentum", {"threshold": 0}, "threshold", "must be above 0"),
        ("donchian", {"length": 1}, "length", "must be at least 2"),
        ("donchian", {"length": math.nan}, "length", "must be an integer"),
        ("donchian", {"length": {1}}, "parameters", "Type is not JSON serializable: set"),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_a_wrong_parameter_is_refused_by_its_name(
    name: str, params: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(Refused) as caught:
        TABLE.make(name, params)

    assert caught.value.code is Code.INVALID
    assert caught.value.details == {"fields": [{"field": field, "message": message}]}


def test_filters_that_are_on_stand_before_the_strategy() -> None:
    make: Callable[[Filters], Strategy] = lambda filters: TABLE.make("rsi", {}, filters)  # noqa: E731

    assert isinstance(make(Filters(trend=True)), Filtered)
    assert isinstance(make(Filters(volume=True)), Filtered)
    assert not isinstance(make(Filters()), Filtered)


@given(STEPS, st.integers(1, 4), st.integers(5, 9), st.integers(1, 3))
def test_a_backtest_hears_of_crossings_what_a_bot_hears(
    steps: list[tuple[int, int, int]], fast: int, slow: int, lookback: int
) -> None:
    params = {"fast_period": fast, "slow_period": slow, "lookback": lookback}
    bars = walk(steps)
    strategy = TABLE.make("ema_crossover", params)
    tell = strategy.teller()

    assert tell is not None
    assert [tell((*bar,)) for bar in bars] == said("ema_crossover", bars, **params)
    shown = strategy.indicators()
    assert (shown["atr"] is None) is (len(bars) < strategy.warmup)
    assert TABLE.make("rsi", {}).teller() is None
