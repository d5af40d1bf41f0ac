"""Whether a market is fit to be traded now (functional specification, F9).

Rules of this file: (1) every check is made and told with its value and threshold; (2) a missing part is a failed check
and never a substitute; (3) ages are counted from when we received, because clocks of venues differ from ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from realtime.engine.bars import DAY
from realtime.engine.orderbook import OrderBook
from realtime.model.market import MS, Market, Ticker
from realtime.model.signals import Ohlcv


NEAR = 0.005
"""Share of the mid within which depth is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Thresholds; zero switches the two least ones off.

    Attributes:
        max_spread: (ask - bid) / ask.
        max_volatility: Sample deviation of returns per bar.
        min_depth_quote: On either side within 0.005 of mid [quote].
        min_volume_24h_quote: [quote].
        max_staleness_ms: Age of ticker and order book.
    """

    max_spread: float = 0.01
    max_volatility: float = 0.10
    min_depth_quote: float = 0.0
    min_volume_24h_quote: float = 0.0
    max_staleness_ms: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check; `value` is None where the part it looks at is missing, 1 or 0 for a yes or no without a threshold."""

    name: str
    value: float | None
    threshold: float | None
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of one market.

    Attributes:
        bars: Closed bars, oldest first.
        venue_ok: Whether the venue answers and is not in maintenance.
        ts: Now [ns].
    """

    market: Market
    ticker: Ticker | None
    book: OrderBook | None
    bars: Sequence[Ohlcv]
    venue_ok: bool
    ts: int


def examine(seen: Seen, bounds: Bounds) -> list[Check]:
    """Make all checks, in the order of the specification."""
    checks: list[Check] = []

    def add(name: str, value: float | None, threshold: float, *, ok: bool) -> None:
        checks.append(Check(name=name, value=value, threshold=threshold, ok=ok))

    bid, ask = _sides(seen.ticker)
    spread = (ask - bid) / ask if bid and ask else None
    add(
        "max_spread",
        spread,
        bounds.max_spread,
        ok=spread is not None and spread <= bounds.max_spread,
    )
    moved = volatility(seen.bars)
    add(
        "max_volatility",
        moved,
        bounds.max_volatility,
        ok=moved is not None and moved <= bounds.max_volatility,
    )
    depth, least = _depth(seen.market, seen.book), bounds.min_depth_quote
    add("min_depth_quote", depth, least, ok=not least or (depth is not None and depth >= least))
    told = None if seen.ticker is None else seen.ticker.daily.quote_volume
    volume, least = None if told is None else float(told), bounds.min_volume_24h_quote
    add(
        "min_volume_24h_quote",
        volume,
        least,
        ok=not least or (volume is not None and volume >= least),
    )
    age = _age_ms(seen)
    most = bounds.max_staleness_ms
    add("max_staleness_ms", age, most, ok=age is not None and age <= most)
    checks += [
        Check(name=name, value=float(holds), threshold=None, ok=holds)
        for name, holds in (
            ("market_active", seen.market.active),
            ("exchange_status", seen.venue_ok),
        )
    ]
    parts = (("orderbook", seen.book), ("ohlcv", seen.bars or None), ("ticker", seen.ticker))
    checks += [
        Check(name=f"{name}_missing", value=None, threshold=None, ok=False)
        for name, part in parts
        if part is None
    ]
    if not all(map(priced, seen.bars)):
        checks.append(Check(name="ohlcv_invalid", value=None, threshold=None, ok=False))
    return checks


def priced(bar: Ohlcv) -> bool:
    """Tell whether all prices of a bar are prices: venues were seen to send bars of zeros."""
    return bar.open > 0 and bar.high > 0 and bar.low > 0 and bar.close > 0


def volatility(bars: Sequence[Ohlcv]) -> float | None:
    """Sample standard deviation of close-to-close returns [fraction per bar].

    None below three bars, and where one of them has no price.
    """
    if not all(map(priced, bars)):
        return None
    returns = [two.close / one.close - 1 for one, two in pairwise(bars)]
    if len(returns) < 2:
        return None
    mean = math.fsum(returns) / len(returns)
    return math.sqrt(math.fsum((r - mean) ** 2 for r in returns) / (len(returns) - 1))


def yearly(deviation: float, length: int) -> float:
    """Scale a deviation per bar to a year of 365 days [length of a bar: ns]."""
    return deviation * math.sqrt(365 * DAY / length)


def _sides(ticker: Ticker | None) -> tuple[float | None, float | None]:
    if ticker is None:
        return None, None
    return (
        None if ticker.bid is None else float(ticker.bid),
        None if ticker.ask is None else float(ticker.ask),
    )


def _depth(market: Market, book: OrderBook | None) -> float | None:
    """Quote value near the mid, of the thinner side."""
    if book is None or book.crossed:
        return None
    bids, asks = book.top(1000)
    if not bids or not asks:
        return 0.0
    mid = (float(bids[0][0]) + float(asks[0][0])) / 2
    sums = [
        math.fsum(
            float(market.quoted(Decimal(price)) * Decimal(amount))
            for price, amount in side
            if abs(float(price) / mid - 1) <= NEAR
        )
        for side in (bids, asks)
    ]
    return min(sums)


def _age_ms(seen: Seen) -> float | None:
    """Age of the oldest part; bars may be as old as their timeframe and are judged by their gap elsewhere."""
    if seen.ticker is None or seen.book is None:
        return None
    return max(seen.ts - seen.ticker.recv_ts, seen.ts - seen.book.asof) / MS
