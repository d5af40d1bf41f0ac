"""The backtest's rules: golden vectors, other engines, and what may never happen."""

import importlib.util
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings, strategies as st

from realtime.bots import backtest
from realtime.bots.backtest import (
    BarPath,
    Exit,
    Fill,
    Grid,
    Lane,
    Ledger,
    Protections,
    Result,
    Said,
    Terms,
    judge,
    run,
)
from realtime.bots.series import Series
from realtime.bots.strategies.ema_crossover import EmaCrossover, EmaCrossoverParams
from realtime.bots.strategy import Strategy, StrategyParams, signal
from realtime.model.errors import Code, Refused
from realtime.model.signals import Action, Ohlcv, Probabilities, Signal
from tests.bots.reference import (
    CANDLES,
    CAPITAL,
    COMMISSION,
    MINUTE,
    NEAR,
    PEER,
    TURNS,
    WIDE,
    Means,
    Turns,
    candles,
    peer,
    synthetic,
)


class Script(Strategy):
    """Says what it was given, bar by bar; then 0."""

    id: ClassVar[str] = "script"
    summary: ClassVar[str] = "for tests"

    def __init__(self, *told: Any, warmup: int = 1, position_size: float = 1.0) -> None:
        super().__init__(StrategyParams(position_size=position_size))
        self.left = list(told)
        self.seen: list[Ohlcv] = []
        self._warmup = warmup

    @property
    def warmup(self) -> int:
        return self._warmup

    def on_ohlcv(self, bar: Ohlcv) -> float | Signal:
        self.seen.append(bar)
        told = self.left.pop(0) if self.left else 0.0
        if isinstance(told, Exception):
            raise told
        return told  # also nonsense, to see what becomes of it


SURE_BUY = Signal(probabilities=Probabilities(1.0, 0.0, 0.0), conviction=1.0)
SURE_SELL = Signal(probabilities=Probabilities(0.0, 1.0, 0.0), conviction=-1.0)


def series(*rows: tuple[float, float, float, float], ts: Sequence[int] | None = None) -> Series:
    """Bars of open, high, low, close, a minute each."""
    stamps = ts or [i * MINUTE for i in range(len(rows))]
    return Series(MINUTE, stamps, *zip(*((*row, 1.0) for row in rows), strict=True))


def flat(n: int, price: float = 100.0) -> list[tuple[float, float, float, float]]:
    return [(price, price, price, price)] * n


def go(bars: Series, *told: Any, grid: Grid | None = None, **terms: Any) -> Result:
    lane = Lane(symbol="X", series=bars, strategy=Script(*told), grid=grid or Grid())
    return run(Terms(**terms), [lane])


def reference(bars: Series, amount: float, fill: str, **terms: Any) -> Result:
    return run(
        Terms(
            initial_capital=CAPITAL,
            commission=COMMISSION,
            slippage=0,
            amount=amount,
            stop_loss=None,
            take_profit=None,
            allow_short=False,
            fill=Fill(fill),
            **terms,
        ),
        [Lane(symbol="X", series=bars, strategy=Means())],
    )


def ends(found: Result, equity: float, fills: int, drawdown: float) -> None:
    """What another engine made of the same: what is open at the end marked, and its entry a fill."""
    assert found.equity[-1] == pytest.approx(equity, rel=1e-9)
    assert 2 * len(found.trades) + len(found.open) == fills
    assert found.metrics["max_drawdown"] == pytest.approx(drawdown, rel=1e-9)


# --- golden vectors -------------------------------------------------------------------------------


def test_golden_vector_32_a_target_is_a_limit_without_slippage() -> None:
    bars = series(*flat(1), (100, 101, 99, 100), (100, 105, 100, 104), *flat(1, 104))

    found = go(bars, SURE_BUY, stop_loss=0.02, take_profit=0.04)

    trade = found.trades[0]
    assert trade.entry_price == pytest.approx(100.05, rel=1e-12)
    assert trade.amount == pytest.approx(9.995002, abs=5e-7)
    assert trade.exit_price == pytest.approx(104.052, rel=1e-12)
    assert trade.commission == pytest.approx(1.00 + 1.04, abs=1e-6)
    assert trade.pnl == pytest.approx(37.96, abs=1e-6)
    assert trade.exit_reason == "take_profit"
    assert found.equity[-1] == pytest.approx(10_000 + trade.pnl, rel=1e-12)


def test_golden_vector_33_a_stop_pays_slippage() -> None:
    bars = series(*flat(1), (100, 101, 99, 100), (100, 100, 98, 98), *flat(1, 98))

    trade = go(bars, SURE_BUY).trades[0]

    assert trade.exit_price == pytest.approx(97.999975, abs=5e-7)
    assert trade.pnl == pytest.approx(-22.46951, abs=5e-6)
    assert trade.exit_reason == "stop_loss"


# --- other engines --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "fill"), [key for key in PEER if key[0] != "candles"], ids=str)
def test_random_walks_end_where_they_end_in_backtesting_py(name: int, fill: str) -> None:
    found = reference(synthetic(name), 100, fill, close_at_end=False)

    ends(found, *PEER[name, fill])


def test_the_synthetic_series_closed_at_the_end_gives_the_constant_of_the_design() -> None:
    found = reference(synthetic(), 100, "next_open")

    assert found.equity[-1] == pytest.approx(997390.93329, rel=1e-12)
    assert 2 * len(found.trades) == 426
    assert found.trades[-1].exit_reason == "end_of_data"
    assert found.open == []


@pytest.mark.skipif(not CANDLES.exists(), reason=f"no recorded candles at {CANDLES}")
@pytest.mark.parametrize("fill", ["next_open", "close"])
def test_recorded_candles_end_where_they_end_in_backtesting_py(fill: str) -> None:
    found = reference(candles(), 1, fill)

    ends(found, *PEER["candles", fill])
    assert found.open == []
    assert found.gaps["X"] == []


@pytest.mark.parametrize("name", TURNS, ids=str)
def test_stops_targets_and_shorts_end_where_they_end_in_backtesting_py(name: int | str) -> None:
    if name == "candles" and not CANDLES.exists():
        pytest.skip(f"no recorded candles at {CANDLES}")
    real = name == "candles"
    bars, amount = (candles(), 1) if real else (synthetic(int(name)), 100)
    stop, target = WIDE if real else NEAR
    terms = Terms(
        initial_capital=CAPITAL,
        commission=COMMISSION,
        slippage=0,
        amount=amount,
        stop_loss=stop,
        take_profit=target,
        close_at_end=False,
    )

    found = run(terms, [Lane(symbol="X", series=bars, strategy=Turns())])

    ends(found, *TURNS[name])
    reasons = {trade.exit_reason for trade in found.trades}
    assert reasons == {"signal", "stop_loss", "take_profit"}
    assert {trade.side for trade in found.trades} == {"long", "short"}


@pytest.mark.skipif(importlib.util.find_spec("backtesting") is None, reason="no backtesting.py")
@pytest.mark.parametrize("seed", [3, 99])
def test_backtesting_py_itself_agrees_where_it_is_installed(seed: int) -> None:
    bars = synthetic(seed, 5_000)
    theirs = peer(bars, 100, "next_open")

    found = reference(bars, 100, "next_open", close_at_end=False)

    assert found.equity[-1] == pytest.approx(theirs["equity"], rel=1e-6)


# --- the rules ------------------------------------------------------------------------------------


def test_a_decision_fills_at_the_next_open_and_one_point_is_marked_per_bar() -> None:
    bars = series(*flat(2), (110, 110, 110, 110), *flat(1, 120))

    found = go(bars, 0.0, SURE_BUY, commission=0, slippage=0, amount=1, take_profit=None)

    assert list(found.ts) == list(bars.ts)
    assert list(found.equity) == [10_000, 10_000, 10_000, 10_010]
    assert found.trades[0][1:8] == (2 * MINUTE, 3 * MINUTE, "long", 110, 120, 1, 10)
    assert found.trades[0].bars_held == 2


def test_fills_at_the_close_are_there_for_comparison() -> None:
    bars = series(*flat(2), *flat(2, 110))

    found = go(
        bars, 0.0, SURE_BUY, commission=0, slippage=0, amount=1, fill=Fill.CLOSE, take_profit=None
    )

    assert found.trades[0].entry_price == 100
    assert list(found.equity) == [10_000, 10_000, 10_010, 10_010]


@pytest.mark.parametrize("fill", list(Fill))
def test_an_entry_decided_on_the_last_bar_is_not_filled(fill: Fill) -> None:
    found = go(series(*flat(3)), 0.0, 0.0, SURE_BUY, fill=fill)

    assert found.trades == []
    assert found.metrics["total_trades"] == 0
    assert found.metrics["fees_paid"] == 0


def test_what_a_strategy_says_before_it_is_warm_is_not_heard() -> None:
    lane = Lane(symbol="X", series=series(*flat(6)), strategy=Script(*[SURE_BUY] * 6, warmup=4))

    found = run(Terms(), [lane])

    assert found.trades[0].entry_ts == 4 * MINUTE


def test_an_opposite_signal_turns_only_where_shorts_are_allowed() -> None:
    bars = series(*flat(6))

    turned = go(bars, SURE_BUY, 0.0, SURE_SELL)
    ended = go(bars, SURE_BUY, 0.0, SURE_SELL, allow_short=False)

    assert [t.side for t in turned.trades] == ["long", "short"]
    assert [t.exit_reason for t in turned.trades] == ["signal", "end_of_data"]
    assert [t.side for t in ended.trades] == ["long"]
    assert turned.trades[0].exit_ts == turned.trades[1].entry_ts == 3 * MINUTE


def test_the_same_decision_again_changes_nothing() -> None:
    bars = series(*flat(6))

    for side in (SURE_BUY, SURE_SELL, 1.0, -1.0):
        assert len(go(bars, *[side] * 5).trades) == 1


STOPS: list[tuple[str, Signal, tuple[float, float, float, float], BarPath, float, str]] = [
    ("long both", SURE_BUY, (100, 105, 95, 100), BarPath.STOP_FIRST, 98, "stop_loss"),
    ("short both", SURE_SELL, (100, 105, 95, 100), BarPath.STOP_FIRST, 102, "stop_loss"),
    ("long gap stop", SURE_BUY, (90, 91, 89, 90), BarPath.STOP_FIRST, 90, "stop_loss"),
    ("short gap stop", SURE_SELL, (110, 111, 109, 110), BarPath.STOP_FIRST, 110, "stop_loss"),
    ("long gap target", SURE_BUY, (110, 111, 90, 100), BarPath.STOP_FIRST, 110, "take_profit"),
    ("short gap target", SURE_SELL, (90, 110, 89, 95), BarPath.STOP_FIRST, 90, "take_profit"),
    ("long target", SURE_BUY, (100, 105, 99, 104), BarPath.STOP_FIRST, 104, "take_profit"),
    ("short target", SURE_SELL, (100, 101, 95, 97), BarPath.STOP_FIRST, 96, "take_profit"),
    ("high is nearer", SURE_BUY, (100, 104.5, 95, 96), BarPath.FOUR_TICKS, 104, "take_profit"),
    ("low is nearer", SURE_BUY, (100, 106, 97.5, 96), BarPath.FOUR_TICKS, 98, "stop_loss"),
    (
        "short, low is nearer",
        SURE_SELL,
        (100, 105, 95.5, 101),
        BarPath.FOUR_TICKS,
        96,
        "take_profit",
    ),
    ("as near, rising", SURE_BUY, (100, 105, 95, 104), BarPath.FOUR_TICKS, 98, "stop_loss"),
    ("as near, falling", SURE_BUY, (100, 105, 95, 96), BarPath.FOUR_TICKS, 104, "take_profit"),
    ("four ticks, gap", SURE_BUY, (90, 105, 89, 100), BarPath.FOUR_TICKS, 90, "stop_loss"),
]


@pytest.mark.parametrize(
    ("side", "bar", "path", "price", "reason"), [s[1:] for s in STOPS], ids=[s[0] for s in STOPS]
)
def test_stops_and_targets_act_inside_a_bar(
    side: Signal, bar: tuple[float, float, float, float], path: BarPath, price: float, reason: str
) -> None:
    bars = series(*flat(2), bar, *flat(1))

    trade = go(bars, side, slippage=0, path=path).trades[0]

    assert trade.exit_price == pytest.approx(price, rel=1e-12)
    assert trade.exit_reason == reason
    assert trade.exit_ts == 2 * MINUTE


def test_a_stop_acts_on_the_bar_of_its_entry() -> None:
    bars = series(*flat(1), (100, 100, 97, 99), *flat(1))

    trade = go(bars, SURE_BUY).trades[0]

    assert trade.exit_reason == "stop_loss"
    assert trade.bars_held == 0


@pytest.mark.parametrize(("side", "way"), [(SURE_BUY, 1), (SURE_SELL, -1)], ids=["long", "short"])
def test_a_trailing_stop_follows_the_bars_that_are_over(side: Signal, way: int) -> None:
    steps = [0.0, 0.0, 5.0, 10.0]
    rows = [(100 + way * s,) * 4 for s in steps]
    last = (100 + way * 10, *((110, 104) if way > 0 else (96, 90)), 100 + way * 5)
    bars = series(*rows, last, *flat(1))

    trade = go(bars, side, slippage=0, trailing_stop=0.05, stop_loss=0.2, take_profit=None).trades[
        0
    ]

    best = 110.0 if way > 0 else 90.0
    assert trade.exit_reason == "trailing_stop"
    assert trade.exit_price == pytest.approx(best * (1 - way * 0.05))


def test_funding_is_paid_by_longs_and_received_by_shorts() -> None:
    hours = [i * 60 * MINUTE for i in range(12)]
    bars = Series(60 * MINUTE, hours, *[[100.0] * 12] * 4, [1.0] * 12)
    free: dict[str, Any] = {"commission": 0, "slippage": 0, "amount": 10, "funding_rate": 0.001}

    long = run(Terms(**free), [Lane(symbol="X", series=bars, strategy=Script(SURE_BUY))])
    short = run(Terms(**free), [Lane(symbol="X", series=bars, strategy=Script(SURE_SELL))])

    # Entered at 01:00, paid once, at 08:00.
    assert long.equity[-1] == pytest.approx(10_000 - 1)
    assert short.equity[-1] == pytest.approx(10_000 + 1)
    assert long.trades[0].pnl == pytest.approx(-1)


def test_amounts_stand_on_the_grid_and_below_the_minimum_nothing_is_traded() -> None:
    bars = series(*flat(4))

    on_grid = go(bars, SURE_BUY, slippage=0, grid=Grid(amount_step=0.3))
    small = go(bars, SURE_BUY, grid=Grid(min_amount=100))
    cheap = go(bars, SURE_BUY, grid=Grid(min_cost=5000))

    assert on_grid.trades[0].amount == pytest.approx(9.9)
    assert small.skipped == cheap.skipped == {"below_minimum": 1}


def test_nothing_is_bought_that_cannot_be_paid() -> None:
    bars = series(*flat(4))

    fixed = go(bars, SURE_BUY, amount=200)
    whole = go(bars, SURE_BUY, max_position_size=1)

    assert fixed.skipped == {"insufficient_funds": 1}
    assert whole.trades[0].amount * whole.trades[0].entry_price * 1.001 == pytest.approx(10_000)


def test_a_strategy_has_its_own_ceiling() -> None:
    lane = Lane(symbol="X", series=series(*flat(4)), strategy=Script(1.0, position_size=0.01))

    trade = run(Terms(), [lane]).trades[0]

    assert trade.amount * trade.entry_price == pytest.approx(100)


def test_maker_and_taker_rates_stand_for_the_commission() -> None:
    bars = series(*flat(1), (100, 105, 100, 104), *flat(1, 104))

    trade = go(bars, SURE_BUY, slippage=0, maker=0.0, taker=0.01).trades[0]

    assert trade.commission == pytest.approx(10)


def test_ruin_ends_a_short_and_every_trade_after_it() -> None:
    bars = series(*flat(2), *flat(4, 250))

    found = go(
        bars,
        *[SURE_SELL] * 5,
        slippage=0,
        commission=0,
        max_position_size=1,
        stop_loss=None,
        take_profit=None,
    )

    assert [t.exit_reason for t in found.trades] == ["liquidation"]
    assert found.equity[-1] == -5_000
    assert found.skipped == {"below_minimum": 3}
    assert found.metrics["cagr"] is None


def test_what_stays_open_is_marked_and_told() -> None:
    found = go(series(*flat(4)), SURE_BUY, close_at_end=False, slippage=0, commission=0)

    assert found.trades == []
    assert found.open == [
        {
            "symbol": "X",
            "side": "long",
            "amount": 10,
            "entry_price": 100,
            "entry_ts": 60_000,
            "value": 1000,
        }
    ]
    assert found.metrics["exposure"] == 0.75


# --- protections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protections", "reason"),
    [
        (Protections(max_drawdown=0.01), "max_drawdown"),
        (Protections(max_daily_loss=0.01), "max_daily_loss"),
        (Protections(loss_streak=1), "loss_streak"),
    ],
    ids=["drawdown", "day", "streak"],
)
def test_protections_forbid_entries_as_they_do_live(protections: Protections, reason: str) -> None:
    rows = [*flat(2), (100, 100, 80, 80), *flat(4, 80)]
    free: dict[str, Any] = {"max_position_size": 0.9, "stop_loss": 0.1}

    held = go(series(*rows), *[SURE_BUY] * 6, protections=protections, **free)
    unheld = go(series(*rows), *[SURE_BUY] * 6, **free)

    assert len(held.trades) == 1
    assert held.skipped == {reason: 4}
    assert len(unheld.trades) == 2


def test_a_lost_day_ends_with_the_day_and_a_streak_after_an_hour() -> None:
    day = 86_400_000_000_000
    rows = [*flat(2), (100, 100, 80, 80), *flat(4, 80)]
    later = [0, MINUTE, 2 * MINUTE, day, day + MINUTE, day + 2 * MINUTE, day + 3 * MINUTE]
    free: dict[str, Any] = {"max_position_size": 0.9, "stop_loss": 0.1}

    for protections in (Protections(max_daily_loss=0.05), Protections(loss_streak=1)):
        found = go(series(*rows, ts=later), *[SURE_BUY] * 6, protections=protections, **free)

        assert [t.entry_ts for t in found.trades] == [MINUTE, day], protections


# --- bad strategies, bad input --------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [ValueError("boom"), None, "buy", float("nan"), 1.5, -2, MemoryError(), object()],
    ids=lambda told: repr(told).partition(" at ")[0],
)
def test_what_a_strategy_may_not_say_names_the_bar(told: object) -> None:
    for symbols in (["X"], ["X", "Y"]):
        lanes = [
            Lane(symbol=name, series=series(*flat(6)), strategy=Script(0.0, 0.0, told))
            for name in symbols
        ]
        with pytest.raises(Refused) as caught:
            run(Terms(), lanes)

        assert caught.value.code is Code.INVALID
        assert caught.value.details is not None
        assert caught.value.details["index"] == 2
        assert caught.value.details["strategy"] == "script"


def test_a_strategy_that_raises_while_it_warms_up_is_named_too() -> None:
    lane = Lane(symbol="X", series=series(*flat(9)), strategy=Script(ValueError("x"), warmup=3))

    with pytest.raises(Refused, match="at bar 2"):
        run(Terms(), [lane], first=5)


def test_runs_that_make_no_sense_are_refused() -> None:
    one = Lane(symbol="X", series=series(*flat(3)), strategy=Script())
    hours = Series(60 * MINUTE, [0, 60 * MINUTE], *[[1.0, 1.0]] * 5)
    other = Lane(symbol="Y", series=hours, strategy=Script())
    twin = Lane(symbol="Y", series=series(*flat(3)), strategy=Script())

    for lanes, first in (([], 0), ([one, one], 0), ([one, other], 0), ([one], 2), ([one, twin], 1)):
        with pytest.raises(Refused):
            run(Terms(), lanes, first=first)


def test_the_end_of_progress_may_end_the_run() -> None:
    shares: list[float] = []

    def tell(share: float, ledger: Ledger) -> None:
        shares.append(share)
        if len(shares) == 2:
            raise KeyboardInterrupt

    bars = Series(MINUTE, [i * MINUTE for i in range(30_000)], *[[1.0] * 30_000] * 5)
    with pytest.raises(KeyboardInterrupt):
        run(Terms(), [Lane(symbol="X", series=bars, strategy=Script())], tell=tell)

    assert shares == [8192 / 30_000, 16384 / 30_000]


# --- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [-1.0, -0.5, -0.126, -0.125, 0.0, 0.1, 0.125, 0.126, 1, True])
def test_a_decision_is_what_the_signal_of_a_bot_says(told: float) -> None:
    strategy, terms = Script(), Terms(max_position_size=0.2)
    said = signal(strategy, told)

    wish = judge(strategy, told, terms)

    if said.action is Action.HOLD:
        assert wish is None
    else:
        assert wish == (1 if said.action is Action.BUY else -1, 0.2 * said.confidence)


# --- properties -----------------------------------------------------------------------------------


class Drawn(Strategy):
    """Decides by the bar's own numbers, so that the same bars give the same answers."""

    id: ClassVar[str] = "drawn"
    summary: ClassVar[str] = "for tests"

    def __init__(self) -> None:
        super().__init__(StrategyParams())
        self.told: list[float] = []

    @property
    def warmup(self) -> int:
        return 3

    def on_ohlcv(self, bar: Ohlcv) -> float:
        said = random.Random(repr(bar)).choice([0.0, 0.0, 0.5, -0.5, 1.0, -1.0])
        self.told.append(said)
        return said


TERMS: dict[str, Callable[[], Terms]] = {
    "plain": Terms,
    "close": lambda: Terms(fill=Fill.CLOSE, stop_loss=0.001, take_profit=0.001),
    "trailing": lambda: Terms(trailing_stop=0.001, max_position_size=1.0, funding_rate=0.001),
    "long": lambda: Terms(
        allow_short=False, path=BarPath.FOUR_TICKS, stop_loss=0.001, close_at_end=False
    ),
    "protected": lambda: Terms(
        stop_loss=0.0005,
        max_position_size=1.0,
        protections=Protections(max_daily_loss=0.02, max_drawdown=0.05, loss_streak=3),
    ),
}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(TERMS)))
def test_one_symbol_of_several_is_one_symbol(seed: int, name: str) -> None:
    bars, terms = synthetic(seed, 300), TERMS[name]()
    lane = Lane(symbol="X", series=bars, strategy=Drawn(), grid=Grid(amount_step=0.001))
    ledger = Ledger(terms, [backtest.Hold("X", lane.grid)], bars.ts)
    backtest._several(ledger, [lane], len(bars), backtest.silent)
    slow = backtest._result(ledger, [lane], bars.ts, 0)

    quick = run(terms, [Lane(symbol="X", series=bars, strategy=Drawn(), grid=lane.grid)])

    assert list(quick.trades) == list(slow.trades)
    assert list(quick.equity) == pytest.approx(list(slow.equity), rel=1e-12)
    assert quick.skipped == slow.skipped


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(10, 290), name=st.sampled_from(sorted(TERMS)))
def test_changing_the_future_changes_no_past_decision(seed: int, cut: int, name: str) -> None:
    bars, other = synthetic(seed, 300), synthetic(seed + 1, 300)
    mixed = Series(
        MINUTE,
        bars.ts,
        *(one[:cut] + two[cut:] for one, two in zip(bars.columns, other.columns, strict=True)),
    )
    minds = Drawn(), Drawn()
    results = [
        run(TERMS[name](), [Lane(symbol="X", series=s, strategy=m)])
        for s, m in zip((bars, mixed), minds, strict=True)
    ]

    known = [[t for t in r.trades if t.exit_ts < bars.ts[cut]] for r in results]
    assert minds[0].told[:cut] == minds[1].told[:cut]
    assert results[0].equity[: cut - 1] == results[1].equity[: cut - 1]
    assert known[0] == known[1]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), name=st.sampled_from(sorted(TERMS)))
def test_profits_of_trades_are_the_growth_of_equity(seed: int, name: str) -> None:
    lane = Lane(symbol="X", series=synthetic(seed, 300), strategy=Drawn())

    found = run(TERMS[name](), [lane])

    if not found.open:
        total = sum(t.pnl for t in found.trades)
        assert found.equity[-1] - 10_000 == pytest.approx(total, abs=1e-6)
    assert found.metrics["fees_paid"] == pytest.approx(
        sum(t.commission for t in found.trades), rel=0.2
    )
    assert len(found.equity) == 300


class Buys(EmaCrossover):
    """A strategy of somebody made of ours."""

    id: ClassVar[str] = "buys"

    def on_ohlcv(self, bar: Ohlcv) -> float:
        return max(super().on_ohlcv(bar), 0.0) if bar.close else 0.0


@pytest.mark.parametrize("name", sorted(TERMS))
@pytest.mark.parametrize("made", [EmaCrossover, Buys])
def test_what_is_told_the_quicker_way_is_what_a_bot_is_told(
    name: str, made: type[EmaCrossover]
) -> None:
    """Symptom: what a class made of `ema_crossover` answers counted for bots and not for backtests."""
    bars, heard = synthetic(5, 2_000), list[Said]()
    params = EmaCrossoverParams(fast_period=3, slow_period=8)

    quick = run(TERMS[name](), [Lane(symbol="X", series=bars, strategy=made(params))])
    whole = Lane(symbol="X", series=bars, strategy=made(params), record=heard)

    assert run(TERMS[name](), [whole]) == quick
    assert len(heard) == 2_000
    assert len(quick.trades) > 2
    assert any(trade.side == "short" for trade in quick.trades) is (
        made is EmaCrossover and name != "long"
    )


def test_the_same_input_gives_the_same_bytes() -> None:
    runs = [
        run(Terms(), [Lane(symbol="X", series=synthetic(5, 2_000), strategy=Drawn())])
        for _ in range(2)
    ]

    assert bytes(memoryview(runs[0].equity)) == bytes(memoryview(runs[1].equity))  # type: ignore[arg-type]
    assert repr((runs[0].trades, runs[0].metrics)) == repr((runs[1].trades, runs[1].metrics))


# --- several symbols ------------------------------------------------------------------------------


def test_several_symbols_share_one_account() -> None:
    lanes = [
        Lane(symbol="A", series=series(*flat(5, 10)), strategy=Script(SURE_BUY)),
        Lane(symbol="B", series=series(*flat(5, 20)), strategy=Script(SURE_BUY)),
    ]

    found = run(Terms(max_position_size=0.8, slippage=0, commission=0), lanes)

    costs = {t.symbol: t.amount * t.entry_price for t in found.trades}
    assert costs == {"A": pytest.approx(8_000), "B": pytest.approx(2_000)}
    assert list(found.equity) == pytest.approx([10_000] * 5)


def test_bars_of_several_symbols_need_not_be_at_the_same_times() -> None:
    odd = series(*flat(3, 20), ts=[MINUTE, 3 * MINUTE, 7 * MINUTE])
    lanes = [
        Lane(symbol="A", series=series(*flat(5, 10)), strategy=Script(SURE_BUY)),
        Lane(symbol="B", series=odd, strategy=Script(SURE_SELL)),
    ]

    found = run(Terms(), lanes)

    assert [t // MINUTE for t in found.ts] == [0, 1, 2, 3, 4, 7]
    assert {t.symbol: t.entry_ts // MINUTE for t in found.trades} == {"A": 1, "B": 3}
    assert [(g.index, g.bars) for g in found.gaps["B"]] == [(1, 1), (2, 3)]


def test_ruin_ends_all_symbols() -> None:
    bars = series(*flat(2), *flat(4, 250))
    lanes = [Lane(symbol=name, series=bars, strategy=Script(SURE_SELL, SURE_SELL)) for name in "AB"]

    found = run(Terms(max_position_size=0.5, stop_loss=None, take_profit=None), lanes)

    assert {t.exit_reason for t in found.trades} == {Exit.LIQUIDATION.value}
    assert len(found.trades) == 2


# --- a part of the bars ---------------------------------------------------------------------------


def test_bars_before_the_first_only_warm_the_strategy_up() -> None:
    strategy = Script(*[SURE_BUY] * 10, warmup=3)
    lane = Lane(symbol="X", series=series(*flat(10)), strategy=strategy)

    found = run(Terms(), [lane], first=5)

    assert [bar.ts // MINUTE for bar in strategy.seen] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert len(found.equity) == len(found.ts) == 5
    assert found.trades[0].entry_ts == 6 * MINUTE


def test_pairs_of_bars_are_what_the_series_says() -> None:
    bars = synthetic(1, 50)

    assert [b.ts for b in bars.bars(3, 7)] == list(bars.ts[3:7])
    assert all(b.ts - a.ts == MINUTE for a, b in itertools.pairwise(bars.bars()))
