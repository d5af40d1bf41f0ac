"""Formulas of the metrics, against golden vectors and against themselves written plainly."""

import itertools
import math
import random
import statistics

import pytest

from realtime.bots import metrics


G34 = [10000.0, 10100.0, 10050.0, 10200.0, 10150.0, 10300.0]
G35 = [37.96, -22.47, 10.0, -5.0]


def walk(seed: int, n: int = 500) -> list[float]:
    rng = random.Random(seed)
    equity = [10_000.0]
    for _ in range(n):
        equity.append(equity[-1] * (1 + rng.gauss(0.0001, 0.01)))
    return equity


def grown(value: float, share: float) -> float:
    return value * (1 + share)


def measured(equity: list[float], pnls: list[float] | None = None) -> dict[str, metrics.Value]:
    return dict(
        metrics.measure(equity, 365, pnls or [], exposed=2, cost=3000.0, fees=3.0, hold=0.5)
    )


def test_golden_vector_34() -> None:
    # Six times over: ratios of fewer than thirty returns are hidden. Of these the deviation has another divisor.
    equity = list(itertools.accumulate(metrics.returns_of(G34) * 6, grown, initial=10_000.0))

    found = metrics.of_equity(equity, 365)

    assert metrics.total_return(G34) == pytest.approx(0.03, rel=1e-12)
    assert metrics.deepest(G34)[0] == found["max_drawdown"] == pytest.approx(0.0049505, abs=5e-8)
    assert found["sharpe"] == pytest.approx(11.245866 * math.sqrt(29 / 24), abs=5e-7)


def test_golden_vector_34_is_hidden_because_five_returns_say_nothing() -> None:
    found = measured(G34)

    assert [name for name in metrics.RATIOS if found[name] is not None] == []
    assert found["total_return"] == pytest.approx(0.03)
    assert found["max_drawdown"] == pytest.approx(0.0049505, abs=5e-8)


def test_golden_vector_35() -> None:
    assert metrics.profit_factor(G35) == pytest.approx(1.745905, abs=5e-7)
    assert metrics.expectancy(G35) == pytest.approx(5.1225, rel=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ratios_are_their_definitions_written_plainly(seed: int) -> None:
    equity, periods = walk(seed), 525_600.0
    r = [b / a - 1 for a, b in itertools.pairwise(equity)]
    spread, root = statistics.stdev(r), math.sqrt(periods)
    down = math.sqrt(sum(min(x, 0) ** 2 for x in r) / len(r))
    limit = statistics.quantiles(r, n=20, method="inclusive")[0]
    tail = [x for x in r if x <= limit]
    peaks = [max(equity[: i + 1]) for i in range(len(equity))]
    deepest = max(1 - e / p for e, p in zip(equity, peaks, strict=True))
    growth = (equity[-1] / equity[0]) ** (periods / len(r)) - 1

    found = metrics.of_equity(equity, periods)

    assert found["sharpe"] == pytest.approx(statistics.mean(r) / spread * root, rel=1e-9)
    assert found["sortino"] == pytest.approx(statistics.mean(r) / down * root, rel=1e-9)
    assert found["volatility"] == pytest.approx(spread * root, rel=1e-12)
    assert found["max_drawdown"] == pytest.approx(deepest, rel=1e-12)
    assert found["cagr"] == pytest.approx(growth, rel=1e-9)
    assert found["calmar"] == pytest.approx(growth / deepest, rel=1e-9)
    assert found["var_95"] == pytest.approx(-limit, rel=1e-12)
    assert found["es_95"] == pytest.approx(-statistics.mean(tail), rel=1e-12)


def test_the_longest_time_below_a_peak_is_counted_in_bars() -> None:
    equity = [10.0, 9.0, 10.0, 9.0, 8.0, 9.5, 11.0, 10.0]

    assert metrics.deepest(equity)[1] == 3
    assert metrics.deepest([1.0, 2.0])[1] == 0


def test_what_cannot_be_known_is_none() -> None:
    flat = [100.0] * 40

    found = measured(flat)

    assert found["sharpe"] is None
    assert found["sortino"] is None
    assert found["calmar"] is None
    assert found["win_rate"] is None
    assert found["profit_factor"] is None
    assert metrics.sortino([], 365) is None
    assert metrics.value_at_risk([]) is None
    assert metrics.deviation([1.0]) is None
    assert metrics.volatility([1.0], 365) is None
    assert metrics.cagr([1.0], 365) is None
    assert metrics.of_equity([1.0], 365)["sharpe"] is None
    assert metrics.cagr([1e-300, 1e300], 525_600) is None
    assert metrics.profit_factor([1.0]) is None
    assert metrics.expectancy([]) is None


def test_ruin_is_a_loss_of_everything_and_no_error() -> None:
    equity = [100.0, 50.0, -10.0, -10.0]

    assert metrics.returns_of(equity) == [-0.5, -1.2, 0.0]
    assert metrics.cagr(equity, 365) == -1.0
    assert (
        metrics.measure([100.0, -200.0], 365, [], exposed=0, cost=0, fees=0, hold=None)["turnover"]
        is None
    )


def test_bars_without_a_move_belong_to_the_tail_when_they_are_the_quantile() -> None:
    returns = [-0.1] + [0.0] * 99

    assert metrics.value_at_risk(returns) == pytest.approx((0.0, 0.001))


def test_trades_are_counted_by_what_is_left_of_them() -> None:
    found = measured(G34, [*G35, 0.0])

    assert found["total_trades"] == 5
    assert (found["winning_trades"], found["losing_trades"]) == (2, 2)
    assert found["win_rate"] == 0.4
    assert found["avg_win"] == pytest.approx(23.98)
    assert found["avg_loss"] == pytest.approx(-13.735)
    assert found["exposure"] == 0.4
    assert found["turnover"] == pytest.approx(3000 / statistics.mean(G34))
    assert (found["fees_paid"], found["buy_and_hold_return"], found["bars"]) == (3.0, 0.5, 5)


def test_the_length_of_a_bar_gives_the_bars_of_a_year() -> None:
    assert metrics.periods_of(60_000_000_000) == 525_600
    assert metrics.periods_of(3_600_000_000_000) == 8_760
    assert metrics.periods_of(86_400_000_000_000) == 365
