"""What an account earned, by samples of its equity (feature F18).

Rules of this file: (1) statistics are floats; (2) a number that cannot be known is None with a reason, never 0;
(3) money that came or went is no return: it is taken out where it falls; (4) a time without samples is a hole: it
counts in the return and in nothing that wants even steps.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile, pairwise
from typing import Final, NamedTuple

from realtime.model.errors import Refused, invalid
from realtime.model.market import SECOND


YEAR_S: Final = 365 * 86_400
LEAST: Final = 30
"""Returns below which ratios say nothing."""
INSUFFICIENT: Final = "insufficient_samples"
FLAT: Final = "no_deviation"
NO_EQUITY: Final = "equity_not_above_zero"

HOUR: Final = 3_600
TIMEFRAMES: Final = {
    "1h": (HOUR, 60),
    "24h": (24 * HOUR, 300),
    "7d": (7 * 24 * HOUR, HOUR),
    "30d": (30 * 24 * HOUR, HOUR),
}
"""Length of a window, and step of the returns in it [s]."""


class Sample(NamedTuple):
    """Equity at a time.

    Attributes:
        ts: [ns].
        equity: [valuation currency].
        drawdown: From the peak, 0..1; None when not known.
    """

    ts: int
    equity: float
    drawdown: float | None = None


class Flow(NamedTuple):
    """Money that came (above zero) or went at a time [valuation currency]."""

    ts: int
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number of a performance.

    Attributes:
        unit: `fraction` or `ratio`.
        reason: Why there is no value; None with one.
        ts: Of the newest sample it is made of [ns]; None without samples.
    """

    name: str
    value: float | None
    unit: str
    ts: int | None
    reason: str | None = None


def time_weighted(samples: Sequence[Sample], flows: Sequence[Flow] = ()) -> list[float]:
    """Make the return of each time between two samples, money that came or went in it taken out.

    A flow counts at the beginning of the time it falls in, and at its end where it leaves nothing to earn on; with a
    sample a minute either is where it falls. Where there is nothing and nothing comes, nothing is earned.

    Args:
        samples: Oldest first; equity not below zero but for the newest, zero only until money comes.
        flows: In any order; those outside the samples are left out.

    Returns:
        Shape (n - 1,) [fraction].

    Raises:
        Refused: `invalid`, naming the sample whose equity is not above zero.

    Source: the true time-weighted return of the GIPS standards.
    """
    stamps = [sample.ts for sample in samples]
    moved = [0.0] * len(samples)
    for flow in flows:
        at = bisect_left(stamps, flow.ts)
        if 0 < at < len(samples):
            moved[at] += flow.amount
    found = []
    for at, (before, now) in enumerate(pairwise(samples)):
        came = moved[at + 1]
        if 0 < before.equity + came < math.inf:
            found.append(now.equity / (before.equity + came) - 1.0)
        elif 0 < before.equity < math.inf:
            found.append((now.equity - came) / before.equity - 1.0)
        elif before.equity == now.equity == came == 0:
            found.append(0.0)
        else:
            raise invalid(f"samples[{at}]", f"has the equity {before.equity:g}, must be above 0")
    return found


def linked(returns: Sequence[float]) -> float:
    """Link returns of adjoining times to that of the whole [fraction]."""
    return math.prod(1.0 + part for part in returns) - 1.0


def max_drawdown(returns: Sequence[float]) -> float:
    """Find the deepest fall from a peak of the index that the returns make [fraction]."""
    index = peak = 1.0
    deepest = 0.0
    for part in returns:
        index *= 1.0 + part
        peak = max(peak, index)
        deepest = max(deepest, 1.0 - index / peak)
    return deepest


def even(samples: Sequence[Sample], step: int) -> list[Sample]:
    """Keep the last sample of each step; the newest is always kept.

    Args:
        samples: Oldest first.
        step: Length [ns]; steps begin at whole multiples of it.
    """
    return [
        now
        for now, after in zip(samples, [*samples[1:], None], strict=False)
        if after is None or now.ts // step != after.ts // step
    ]


def thinned(samples: Sequence[Sample], step: int) -> list[Sample]:
    """Thin samples out for a picture: the last of each step, with the deepest drawdown in it.

    Args:
        samples: Oldest first.
        step: [ns].
    """
    found: list[Sample] = []
    deepest: float | None = None
    for now, after in zip(samples, [*samples[1:], None], strict=False):
        if now.drawdown is not None:
            deepest = now.drawdown if deepest is None else max(deepest, now.drawdown)
        if after is None or now.ts // step != after.ts // step:
            found.append(Sample(now.ts, now.equity, deepest))
            deepest = None
    return found


def step_for(samples: Sequence[Sample], most: int) -> int | None:
    """Choose the step that leaves at most so many samples [ns]; None when they are not more than that.

    Args:
        samples: Oldest first.
        most: Samples wanted at most, above one.
    """
    if len(samples) <= most:
        return None
    length = samples[-1].ts - samples[0].ts
    # One step more than there are whole ones may be touched: the ends lie inside of one.
    seconds = math.ceil(length / (most - 1) / SECOND)
    return max(seconds, 1) * SECOND


def performance(
    samples: Sequence[Sample],
    flows: Sequence[Flow],
    *,
    until: int,
    length_s: int,
    step_s: int,
) -> list[Figure]:
    """Measure a window: return, volatility, Sharpe ratio and deepest fall.

    Args:
        samples: Oldest first; the newest before the window is its start where there is one.
        flows: Money that came or went.
        until: End of the window [ns]; `length_s` back is its start.
        length_s: [s].
        step_s: Of the returns that volatility and Sharpe are made of [s].

    Returns:
        The figures; None with `insufficient_samples`: no return for fewer than two samples, no ratio for fewer than
        `LEAST` even returns. What was there before the first equity above zero does not count; where there was less
        than nothing later on, no figure does, with `equity_not_above_zero`.
    """
    start = until - length_s * SECOND
    stamps = [sample.ts for sample in samples]
    first = max(bisect_right(stamps, start) - 1, 0)
    # A sample long before the window says nothing about its start.
    if stamps and stamps[first] < start - step_s * SECOND:
        first += 1
    window = samples[first : bisect_right(stamps, until)]
    ts = window[-1].ts if window else None
    # An account that is not funded yet earns nothing.
    window = list(dropwhile(lambda sample: sample.equity <= 0, window))
    if len(window) < 2:
        return _unknown(ts, INSUFFICIENT)
    parts = even(window, step_s * SECOND)
    try:
        whole, steps = time_weighted(window, flows), time_weighted(parts, flows)
    except Refused:
        return _unknown(ts, NO_EQUITY)
    returns = [
        part
        for part, (before, now) in zip(steps, pairwise(parts), strict=True)
        if now.ts - before.ts < 2 * step_s * SECOND
    ]
    spread = deviation(returns) if len(returns) >= LEAST else None
    year = math.sqrt(YEAR_S / step_s)
    reason = INSUFFICIENT if spread is None else None
    volatility = None if spread is None else spread * year
    sharpe = None
    if spread:
        sharpe = math.fsum(returns) / len(returns) / spread * year
    return [
        Figure(name="return", value=linked(whole), unit="fraction", ts=ts),
        Figure(name="volatility", value=volatility, unit="fraction", ts=ts, reason=reason),
        Figure(
            name="sharpe",
            value=sharpe,
            unit="ratio",
            ts=ts,
            reason=None if sharpe is not None else reason or FLAT,
        ),
        Figure(name="max_drawdown", value=max_drawdown(whole), unit="fraction", ts=ts),
    ]


def _unknown(ts: int | None, reason: str) -> list[Figure]:
    return [
        Figure(name=name, value=None, unit=unit, ts=ts, reason=reason)
        for name, unit in (
            ("return", "fraction"),
            ("volatility", "fraction"),
            ("sharpe", "ratio"),
            ("max_drawdown", "fraction"),
        )
    ]


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation (n - 1) of at least two values; annualised as in 3.3 by the caller."""
    mean = math.fsum(values) / len(values)
    return math.dist(values, [mean] * len(values)) / math.sqrt(len(values) - 1)


def benchmark(closes: Sequence[float], ts: int | None) -> Figure:
    """Say what holding a symbol would have returned.

    Args:
        closes: Prices over the window, oldest first [quote].
        ts: Of the newest [ns].

    Raises:
        Refused: `invalid`, naming the price that is not above zero.
    """
    for at, close in enumerate(closes):
        if not 0 < close < math.inf:
            raise invalid(f"closes[{at}]", f"was {close:g}, must be above 0")
    value = closes[-1] / closes[0] - 1.0 if len(closes) > 1 else None
    reason = INSUFFICIENT if value is None else None
    return Figure(name="benchmark_return", value=value, unit="fraction", ts=ts, reason=reason)
