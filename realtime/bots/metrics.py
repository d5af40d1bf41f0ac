"""What a curve of equity and a list of trades are worth (trading document, 8.2).

Rules of this file: (1) statistics are floats, of sequences, without numpy; (2) a number that cannot be known is None,
never 0 and never infinite; (3) the formulas are raw: only `of_equity` hides ratios of fewer than `LEAST` returns.

Shapes: `equity` (n + 1,) begins with the capital and has then one value per bar [quote]; `returns` (n,) are per bar
[fraction]; `periods` is the number of bars in a year of 365 days.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from realtime.engine.bars import DAY


YEAR: Final = 365 * DAY
"""[ns]."""
LEAST: Final = 30
"""Returns below which ratios say nothing."""
TAIL: Final = 0.05
"""The share of returns that `var_95` and `es_95` look at."""
LARGEST: Final = 700.0
"""Exponents beyond it have no float."""
RATIOS: Final = ("sharpe", "sortino", "calmar", "volatility", "var_95", "es_95", "cagr")
"""Statistics of returns, null below `LEAST`."""

Value = float | int | None


def periods_of(length: int) -> float:
    """Count the bars of a length [ns] in a year of 365 days."""
    return YEAR / length


def returns_of(equity: Sequence[float]) -> list[float]:
    """Make per-bar returns; after ruin (equity of 0 or less) there are none, they count as 0."""
    if min(equity) > 0:
        return [now / before - 1.0 for before, now in pairwise(equity)]
    return [now / before - 1.0 if before > 0 else 0.0 for before, now in pairwise(equity)]


def mean(values: Sequence[float]) -> float:
    """Average of at least one value."""
    return math.fsum(values) / len(values)


def deviation(values: Sequence[float]) -> float | None:
    """Sample standard deviation (n - 1); None for fewer than two."""
    if len(values) < 2:
        return None
    middle = mean(values)
    return math.dist(values, [middle] * len(values)) / math.sqrt(len(values) - 1)


def _ratio(above: float, below: float | None) -> float | None:
    return above / below if below else None


def volatility(returns: Sequence[float], periods: float) -> float | None:
    """Sample standard deviation of returns, per year."""
    spread = deviation(returns)
    return None if spread is None else spread * math.sqrt(periods)


def sortino(returns: Sequence[float], periods: float) -> float | None:
    """Mean by the root of the mean squared loss, per year; None without a loss. Source: Sortino and Price (1994)."""
    if not returns:
        return None
    losses = [r for r in returns if r < 0]
    down = math.hypot(*losses) / math.sqrt(len(returns))
    ratio = _ratio(mean(returns), down)
    return None if ratio is None else ratio * math.sqrt(periods)


def total_return(equity: Sequence[float]) -> float:
    """Growth over the whole time [fraction]."""
    return equity[-1] / equity[0] - 1.0


def cagr(equity: Sequence[float], periods: float) -> float | None:
    """Growth per year; -1 after ruin, None without a bar or where it is too large for a float."""
    bars = len(equity) - 1
    if bars < 1:
        return None
    growth = equity[-1] / equity[0]
    if growth <= 0:
        return -1.0
    exponent = math.log(growth) * periods / bars
    return math.expm1(exponent) if exponent < LARGEST else None


def deepest(equity: Sequence[float]) -> tuple[float, int]:
    """Give the largest share lost since the highest value before, and the longest time below a peak [bars]."""
    peak, share = -math.inf, 1.0
    run = longest = 0
    for value in equity:
        if value >= peak:
            peak = value
            run = 0
        else:
            run += 1
            if run > longest:  # noqa: PLR1730 - half a million times
                longest = run
            if value < share * peak:
                share = value / peak
    return 1.0 - share, longest


def value_at_risk(returns: Sequence[float]) -> tuple[float, float] | None:
    """Give `var_95` and `es_95`: the loss not exceeded in 95 of 100 bars, and the mean of those beyond it."""
    if not returns:
        return None
    place = (len(returns) - 1) * TAIL
    below = math.floor(place)
    # Most bars of most runs lose nothing: sorting the losses alone is enough where the quantile is one.
    losses = [r for r in returns if r < 0]
    ordered = sorted(losses if below + 1 < len(losses) else returns)
    above = min(below + 1, len(ordered) - 1)
    limit = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
    return -limit, -mean(ordered[: bisect_right(ordered, limit)])


def profit_factor(pnls: Iterable[float]) -> float | None:
    """Sum of wins by sum of losses; None without a loss."""
    known = list(pnls)
    return _ratio(math.fsum(p for p in known if p > 0), -math.fsum(p for p in known if p < 0))


def expectancy(pnls: Sequence[float]) -> float | None:
    """Mean net profit of a trade [quote]; None without trades."""
    return mean(pnls) if pnls else None


def of_trades(pnls: Sequence[float]) -> dict[str, Value]:
    """Measure trades by their profits net of fees [quote]."""
    wins = [p for p in pnls if p > 0]
    losses = [p for p in pnls if p < 0]
    return {
        "total_trades": len(pnls),
        "winning_trades": len(wins),
        "losing_trades": len(losses),
        "win_rate": len(wins) / len(pnls) if pnls else None,
        "profit_factor": profit_factor(pnls),
        "expectancy": expectancy(pnls),
        "avg_win": expectancy(wins),
        "avg_loss": expectancy(losses),
    }


def of_equity(equity: Sequence[float], periods: float) -> dict[str, Value]:
    """Measure a curve; ratios of fewer than `LEAST` returns are None.

    `sharpe` is the mean of the returns by their deviation, per year (Sharpe, 1994); `calmar` is `cagr` by `max_drawdown`.
    """
    returns = returns_of(equity)
    fall, below = deepest(equity)
    growth = cagr(equity, periods)
    tail = value_at_risk(returns) or (None, None)
    spread = volatility(returns, periods)
    found: dict[str, Value] = {
        "net_profit": equity[-1] - equity[0],
        "total_return": total_return(equity),
        "cagr": growth,
        "max_drawdown": fall,
        "max_drawdown_bars": below,
        "sharpe": _ratio(mean(returns) * periods, spread) if returns else None,
        "sortino": sortino(returns, periods),
        "calmar": None if growth is None else _ratio(growth, fall),
        "volatility": spread,
        "var_95": tail[0],
        "es_95": tail[1],
    }
    if len(returns) < LEAST:
        found |= dict.fromkeys(RATIOS)
    return found


def measure(
    equity: Sequence[float],
    periods: float,
    pnls: Sequence[float],
    *,
    exposed: float,
    cost: float,
    fees: float,
    hold: float | None,
) -> Mapping[str, Value]:
    """Measure a run.

    Args:
        equity: Capital, then equity at each close.
        periods: Bars in a year.
        pnls: Profits of the ended trades, net of fees [quote].
        exposed: Bars at whose close something was held; of several symbols their mean.
        cost: Sum of what was bought and sold [quote].
        fees: Sum of what was paid for it [quote].
        hold: Return of holding over the same time [fraction]; None where it is not known.

    Returns:
        The metrics by name (functional specification, 3.3); None where one says nothing.
    """
    bars = len(equity) - 1
    average = mean(equity)
    return {
        **of_trades(pnls),
        **of_equity(equity, periods),
        "exposure": exposed / bars if bars else 0.0,
        "turnover": cost / average if average > 0 else None,
        "fees_paid": fees,
        "buy_and_hold_return": hold,
        "bars": bars,
    }
