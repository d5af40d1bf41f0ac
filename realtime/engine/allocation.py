"""How to spread money over symbols, and what has to be traded to get there (feature F17).

Rules of this file: (1) statistics are floats, amounts and notionals of a plan are Decimal; (2) matrices are small
and dense, rows of rows, at most `MOST` symbols; (3) shares are not below zero and sum to one, whatever the method;
(4) bad input is refused naming the field or the place in it, never mended.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal, localcontext
from enum import StrEnum
from itertools import pairwise
from operator import mul
from typing import Final

from realtime.engine.market import amount_down, limit_price, plain
from realtime.model.errors import invalid
from realtime.model.market import MONEY, ZERO, Market
from realtime.model.orders import Side
from realtime.model.signals import TOLERANCE


MOST: Final = 50
"""Symbols at most."""
LEAST: Final = 30
"""Returns below which statistics say nothing."""
RIDGE: Final = 1e-9
"""Added to the diagonal of a correlation matrix, so that symbols that move as one leave one answer."""
NEAR: Final = 0.25
"""Newton decrement below which whole steps converge."""
CLOSE: Final = 1e-12
WISHED: Final = 1e-10
"""Gradients up to this are rounding; it lies below what the ridge makes of two symbols that move as one."""

Vector = Sequence[float]
Matrix = Sequence[Sequence[float]]
"""Shape (n, n), symmetric."""


class Method(StrEnum):
    """How shares are made."""

    CONFIDENCE = "confidence"
    EQUAL = "equal"
    INVERSE_VOLATILITY = "inverse_volatility"
    MIN_VARIANCE = "min_variance"
    RISK_PARITY = "risk_parity"
    HRP = "hrp"


class Profile(StrEnum):
    """How much of the allowed allocation is used."""

    CONSERVATIVE = "conservative"
    MODERATE = "moderate"
    AGGRESSIVE = "aggressive"

    @property
    def factor(self) -> float:
        """Share of `max_allocation`, 0..1."""
        return {"conservative": 0.5, "moderate": 0.75, "aggressive": 1.0}[self.value]


CONVENTIONS: Final[Mapping[Method, str]] = {
    Method.CONFIDENCE: "confidence over the sum of confidences",
    Method.EQUAL: "one over the number of symbols",
    Method.INVERSE_VOLATILITY: "one over the sample deviation of simple returns, normalised",
    Method.MIN_VARIANCE: "long-only minimum of w'Sw, sample covariance S of simple returns",
    Method.RISK_PARITY: "equal risk contributions w_i(Sw)_i, long-only, sample covariance S of simple returns",
    Method.HRP: (
        "Lopez de Prado (2016): distance sqrt((1 - rho) / 2), Euclidean distance of its columns, "
        "single linkage, bisection into halves of the leaf order, inverse-variance clusters"
    ),
}
"""What each method means exactly; several conventions of HRP give other weights."""


# --- returns --------------------------------------------------------------------------------------


def returns_of(closes: Sequence[float], name: str = "closes") -> list[float]:
    """Make simple returns.

    Args:
        closes: Prices, oldest first [quote].
        name: What to call them in a refusal.

    Returns:
        Shape (n - 1,) [fraction]; empty for fewer than two prices.

    Raises:
        Refused: `invalid`, naming the price that is not above zero.
    """
    for at, close in enumerate(closes):
        if not 0 < close < math.inf:
            raise invalid(f"{name}[{at}]", f"was {close:g}, must be above 0")
    return [now / before - 1.0 for before, now in pairwise(closes)]


def covariance(returns: Sequence[Vector]) -> list[list[float]]:
    """Make the sample covariance (n - 1).

    Args:
        returns: One row per symbol, all of one length of at least two, oldest first [fraction].
    """
    count = len(returns[0])
    means = [math.fsum(row) / count for row in returns]
    apart = [[x - mean for x in row] for row, mean in zip(returns, means, strict=True)]
    size = len(apart)
    found = [[0.0] * size for _ in range(size)]
    for i, one in enumerate(apart):
        for j in range(i, size):
            both = math.fsum(map(mul, one, apart[j])) / (count - 1)
            found[i][j] = found[j][i] = both
    return found


def deviations(matrix: Matrix, names: Sequence[str]) -> list[float]:
    """Take deviations from a covariance.

    Raises:
        Refused: `invalid`, naming the symbol that never moved: no method can weigh it.
    """
    found = []
    for at, name in enumerate(names):
        variance = matrix[at][at]
        if not variance > 0:
            raise invalid(f"symbols[{at}]", f"{name} did not move: it has no volatility")
        found.append(math.sqrt(variance))
    return found


def correlation(matrix: Matrix, names: Sequence[str]) -> list[list[float]]:
    """Make correlations of a covariance, each -1..1, the diagonal 1.

    Raises:
        Refused: As `deviations`.
    """
    spread = deviations(matrix, names)
    size = range(len(spread))
    return [
        [
            1.0 if i == j else min(max(matrix[i][j] / (spread[i] * spread[j]), -1.0), 1.0)
            for j in size
        ]
        for i in size
    ]


# --- shares ---------------------------------------------------------------------------------------


def shares_of_confidence(confidences: Sequence[float]) -> list[float]:
    """Share by confidence; `equal` is that of equal confidences.

    Args:
        confidences: Each 0..1; at least one above zero.

    Raises:
        Refused: `invalid`, naming the place.
    """
    for at, confidence in enumerate(confidences):
        if not 0 <= confidence <= 1:
            raise invalid(f"confidence[{at}]", f"was {confidence:g}, must be between 0 and 1")
    total = math.fsum(confidences)
    if not total:
        raise invalid("confidence", "is zero for every symbol: nothing can be shared out by it")
    return [confidence / total for confidence in confidences]


def shares(method: Method, matrix: Matrix, names: Sequence[str]) -> list[float]:
    """Share by a statistical method.

    Args:
        method: Neither `confidence` nor `equal`.
        matrix: Covariance of returns, shape (n, n).
        names: Symbols, shape (n,); for refusals.

    Returns:
        Shape (n,), each of 0..1, together one.

    Raises:
        Refused: `invalid`: more than `MOST` symbols, or one that did not move.
    """
    if len(names) > MOST:
        raise invalid("symbols", f"are {len(names)}, at most {MOST} can be weighed")
    spread = deviations(matrix, names)
    # Weights of correlations, then of covariances: small and large volatilities stay well-conditioned.
    match method:
        case Method.MIN_VARIANCE:
            found = min_variance(matrix, spread)
        case Method.RISK_PARITY:
            found = risk_parity(correlation(matrix, names), spread)
        case Method.HRP:
            found = hrp(matrix, correlation(matrix, names))
        case _:
            found = [1 / deviation for deviation in spread]
    return normalised(found)


def normalised(values: Vector) -> list[float]:
    """Scale values of which at least one is above zero to a sum of one."""
    total = math.fsum(values)
    return [value / total for value in values]


def min_variance(matrix: Matrix, spread: Vector) -> list[float]:
    """Find the long-only weights of least variance, not normalised.

    Minimises x'Sx / 2 - sum(x) over x >= 0, whose solution has the direction of the weights, by active sets: it
    ends after finitely many exact steps.

    Args:
        matrix: Covariance, shape (n, n).
        spread: Its deviations, shape (n,).

    Source: Lawson and Hanson (1974), chapter 23, on the normal equations.
    """
    size = len(spread)
    # In y = x * deviation the matrix is the correlation, and the linear term 1 / deviation.
    scaled = [[matrix[i][j] / (spread[i] * spread[j]) for j in range(size)] for i in range(size)]
    for i in range(size):
        scaled[i][i] += RIDGE
    least = min(spread)
    wish = [least / deviation for deviation in spread]
    y = [0.0] * size
    active: list[int] = []
    # In exact numbers no set comes twice; the bound ends what rounding could keep going.
    entered = [0] * size
    while True:
        gradient = [w - math.fsum(map(mul, row, y)) for w, row in zip(wish, scaled, strict=True)]
        wanting = [
            i for i in range(size) if i not in active and gradient[i] > WISHED and entered[i] < size
        ]
        if not wanting:
            return [value / deviation for value, deviation in zip(y, spread, strict=True)]
        best = max(wanting, key=gradient.__getitem__)
        entered[best] += 1
        active.append(best)
        while True:
            part = [[scaled[i][j] for j in active] for i in active]
            solved = solve(part, [wish[i] for i in active])
            if min(solved) > 0:
                break
            # Go toward the solution until the first weight is zero, and leave that one out.
            step = min(
                y[i] / (y[i] - new) if y[i] > new else 0.0
                for i, new in zip(active, solved, strict=True)
                if new <= 0
            )
            for i, new in zip(active, solved, strict=True):
                y[i] += step * (new - y[i])
            kept = [i for i in active if y[i] > CLOSE * CLOSE]
            for i in active:
                if i not in kept:
                    y[i] = 0.0
            active = kept
        for i, new in zip(active, solved, strict=True):
            y[i] = new


def solve(matrix: Matrix, right: Vector) -> list[float]:
    """Solve a symmetric positive definite system by Cholesky.

    Args:
        matrix: Shape (n, n).
        right: Shape (n,).
    """
    size = len(right)
    lower = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(i + 1):
            rest = matrix[i][j] - math.fsum(map(mul, lower[i][:j], lower[j][:j]))
            # Rounding may leave a tiny negative under the root where two symbols move as one.
            lower[i][j] = math.sqrt(max(rest, RIDGE * RIDGE)) if i == j else rest / lower[j][j]
    half: list[float] = []
    for i in range(size):
        half.append((right[i] - math.fsum(map(mul, lower[i][:i], half))) / lower[i][i])
    found = [0.0] * size
    for i in reversed(range(size)):
        above = math.fsum(lower[k][i] * found[k] for k in range(i + 1, size))
        found[i] = (half[i] - above) / lower[i][i]
    return found


def risk_parity(related: Matrix, spread: Vector) -> list[float]:
    """Find the weights whose risk contributions are equal, not normalised.

    Minimises f = n y'Ry / 2 - sum(ln y) by damped Newton steps; x = y / deviation. It ends when f falls no further,
    also for symbols that nearly hedge each other, where one coordinate after the other takes thousands of rounds.

    Args:
        related: Correlation R, shape (n, n).
        spread: Deviations, shape (n,).

    Source: Spinu (2013); the length of a step is Nesterov's for self-concordant functions: no y leaves what is
    above zero, and each step lowers f.
    """
    size = len(spread)
    y = [1 / math.sqrt(size)] * size
    least = math.inf
    while True:
        # Everything below is in u = dy / y.
        bent = [
            [size * y[i] * y[j] * (row[j] + RIDGE * (i == j)) + (i == j) for j in range(size)]
            for i, row in enumerate(related)
        ]
        slope = [math.fsum(row) - 2 for row in bent]
        value = math.fsum(slope) / 2 - math.fsum(map(math.log, y))
        if not value < least:
            return [one / deviation for one, deviation in zip(y, spread, strict=True)]
        least = value
        step = solve(bent, slope)
        reach = math.sqrt(max(math.fsum(map(mul, slope, step)), 0.0))
        share = 1 / (1 + reach) if reach > NEAR else 1.0
        y = [one * (1 - share * part) for one, part in zip(y, step, strict=True)]


def risk_contributions(weights: Vector, matrix: Matrix) -> list[float]:
    """Give each weight's share of the variance, together one; zeros where there is no variance.

    Args:
        weights: Shape (n,).
        matrix: Covariance, shape (n, n).
    """
    parts = [
        weight * math.fsum(map(mul, row, weights))
        for weight, row in zip(weights, matrix, strict=True)
    ]
    total = math.fsum(parts)
    return [part / total for part in parts] if total else [0.0] * len(parts)


def variance(weights: Vector, matrix: Matrix) -> float:
    """Give the variance w'Sw of a portfolio."""
    return math.fsum(
        weight * math.fsum(map(mul, row, weights))
        for weight, row in zip(weights, matrix, strict=True)
    )


# --- hierarchical risk parity ---------------------------------------------------------------------


def hrp(matrix: Matrix, related: Matrix) -> list[float]:
    """Share by hierarchical risk parity; the convention is that of `CONVENTIONS`.

    Args:
        matrix: Covariance, shape (n, n).
        related: Its correlation, shape (n, n).

    Returns:
        Shape (n,), summing to one.

    Source: Lopez de Prado (2016), Building diversified portfolios that outperform out of sample.
    """
    found = [1.0] * len(matrix)
    clusters = [leaf_order(related)]
    while clusters:
        cluster = clusters.pop()
        if len(cluster) < 2:
            continue
        halves = cluster[: len(cluster) // 2], cluster[len(cluster) // 2 :]
        left, right = (_cluster_variance(matrix, half) for half in halves)
        # Clusters that hedge themselves wholly have no variance to tell them apart.
        share = 1 - left / (left + right) if left + right else 0.5
        for half, factor in zip(halves, (share, 1 - share), strict=True):
            for i in half:
                found[i] *= factor
            clusters.append(half)
    return found


def leaf_order(related: Matrix) -> list[int]:
    """Order symbols so that like stands beside like: the leaves of the tree of single linkage.

    The nearest two clusters merge first, the earlier made one to the left; of equal distances those with the lowest
    numbers.
    """
    size = len(related)
    apart = [
        [math.sqrt(max((1 - related[i][j]) / 2, 0.0)) for j in range(size)] for i in range(size)
    ]
    far = [[math.dist(apart[i], apart[j]) for j in range(size)] for i in range(size)]
    clusters = [[i] for i in range(size)]
    while len(clusters) > 1:
        _, i, j = min(
            (min(far[a][b] for a in one for b in clusters[j]), i, j)
            for i, one in enumerate(clusters)
            for j in range(i + 1, len(clusters))
        )
        merged = clusters[i] + clusters[j]
        clusters = [c for at, c in enumerate(clusters) if at not in {i, j}] + [merged]
    return clusters[0]


def _cluster_variance(matrix: Matrix, members: Sequence[int]) -> float:
    weights = normalised([1 / matrix[i][i] for i in members])
    return max(variance(weights, [[matrix[i][j] for j in members] for i in members]), 0.0)


# --- weights --------------------------------------------------------------------------------------


def allocate(
    parts: Vector, *, max_allocation: float, profile: Profile, cap: float | None
) -> list[float]:
    """Make weights of shares; what the cap cuts off stays cash.

    Args:
        parts: Shares that sum to one, shape (n,).
        max_allocation: Of the portfolio's value that may be held at all, 0..1.
        profile: How much of it is used.
        cap: `max_position_size`, 0..1; None is none.

    Raises:
        Refused: `invalid`, naming the field.
    """
    if not 0 <= max_allocation <= 1:
        raise invalid("max_allocation", f"was {max_allocation:g}, must be between 0 and 1")
    whole = max_allocation * profile.factor
    return [share * whole if cap is None else min(share * whole, cap) for share in parts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How diversified a portfolio is.

    Attributes:
        hhi: Sum of squared weights, 1/n..1. effective_positions: Its inverse.
        diversification: 0 (one position) to 1 (equal weights).
    """

    hhi: float
    effective_positions: float
    max_weight: float
    diversification: float


def spread_of(weights: Vector) -> Spread | None:
    """Measure weights, which are normalised first; None without any above zero.

    Raises:
        Refused: `invalid`, naming the weight below zero.
    """
    for at, weight in enumerate(weights):
        if not 0 <= weight < math.inf:
            raise invalid(f"weights[{at}]", f"was {weight:g}, must not be below 0")
    if not math.fsum(weights):
        return None
    known = normalised([weight for weight in weights if weight])
    hhi = math.fsum(weight * weight for weight in known)
    count = len(known)
    return Spread(
        hhi=hhi,
        effective_positions=1 / hhi,
        max_weight=max(known),
        diversification=0.0 if count == 1 else max((1 - hhi) / (1 - 1 / count), 0.0),
    )


def average_correlation(related: Matrix) -> float | None:
    """Average the correlations of all pairs; None for fewer than two symbols."""
    pairs = [related[i][j] for i in range(len(related)) for j in range(i)]
    return math.fsum(pairs) / len(pairs) if pairs else None


# --- rebalancing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What is held of one market, and how it is valued.

    Attributes:
        amount: Signed [base, contracts].
        price: [quote], above zero.
        worth: Of one unit of the market's cash currency [valuation currency].
    """

    market: Market
    amount: Decimal
    price: Decimal
    worth: Decimal

    @property
    def unit(self) -> Decimal:
        """Value of one base unit or contract [valuation currency]."""
        return self.at(self.price)

    def at(self, price: Decimal) -> Decimal:
        """Give that value at another price [quote]."""
        return abs(self.market.value(price)) * self.worth

    @property
    def value(self) -> Decimal:
        """Signed [valuation currency]."""
        return self.amount * self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of a plan; money and weights are Decimal.

    Attributes:
        current_weight, target_weight, difference: Of the portfolio's value.
        action: `buy`, `sell` or `hold`.
        amount: Signed [base, contracts], on the market's grid; zero to hold.
        price: Expected; of a limit order its limit [quote].
        value: Signed [valuation currency]: what the difference is worth. fee: What it costs [valuation currency].
        reason: Why nothing is done; None otherwise.
        reduce: Whether a derivative only comes nearer to flat.
        contract_size: Base units per contract; 1 on spot.
    """

    symbol: str
    current_weight: Decimal
    target_weight: Decimal
    difference: Decimal
    action: str
    amount: Decimal
    price: Decimal
    value: Decimal
    fee: Decimal
    reason: str | None = None
    reduce: bool = False
    contract_size: Decimal = Decimal(1)

    def as_dict(self) -> dict[str, object]:
        """Give its fields by name."""
        return asdict(self)


def check_targets(targets: Sequence[tuple[str, Decimal]]) -> None:
    """Refuse targets that are below zero, named twice, or together above one.

    Args:
        targets: Symbol and weight.

    Raises:
        Refused: `invalid`, naming the place.
    """
    if len(targets) > MOST:
        raise invalid("targets", f"are {len(targets)}, at most {MOST} can be planned")
    seen: set[str] = set()
    for at, (symbol, weight) in enumerate(targets):
        if not 0 <= weight <= 1:
            raise invalid(f"targets.{at}.weight", f"was {plain(weight)}, must be between 0 and 1")
        if symbol in seen:
            raise invalid(f"targets.{at}.symbol", f"names {symbol} twice")
        seen.add(symbol)
    total = sum((weight for _, weight in targets), ZERO)
    # Weights that came as thirds of floats may be off one in the last digit.
    if total > 1 + Decimal(repr(TOLERANCE)):
        raise invalid("targets", f"sum to {plain(total)}, must be at most 1; the rest stays cash")


def plan(
    holdings: Mapping[str, Holding],
    targets: Mapping[str, Decimal],
    *,
    value: Decimal,
    threshold: Decimal,
    min_notional: Decimal = ZERO,
    limit: bool = False,
    close_unlisted: bool = False,
) -> list[Change]:
    """Say what has to be traded to get to the targets, sells before buys, holds last.

    Args:
        holdings: By symbol: all that is held and all that has a target.
        targets: Weight by symbol, checked by `check_targets`.
        value: Of the portfolio, above zero [valuation currency].
        threshold: Differences below it are held.
        min_notional: Values below it are held [valuation currency].
        limit: Whether by limit orders at the price, which pay the maker's fee.
        close_unlisted: Whether holdings without a target are sold.

    Raises:
        Refused: `invalid`, naming the symbol whose price or the `value` that is not above zero.
    """
    if value <= 0:
        raise invalid("portfolio_value", f"was {plain(value)}, must be above 0")
    with localcontext(MONEY):
        rows = []
        for symbol, holding in holdings.items():
            if holding.price <= 0 or holding.worth <= 0:
                raise invalid(symbol, f"has the price {plain(holding.price)}, must be above 0")
            listed = symbol in targets
            if not listed and not close_unlisted:
                current = holding.value / value
                rows.append(_held(symbol, holding, current, current, "is not listed"))
                continue
            target = targets.get(symbol, ZERO)
            rows.append(
                _change(symbol, holding, target, value, threshold, min_notional, limit=limit)
            )
    order = ("sell", "buy", "hold")
    return sorted(rows, key=lambda row: order.index(row.action))


def _held(
    symbol: str, holding: Holding, current: Decimal, target: Decimal, reason: str | None
) -> Change:
    return Change(
        symbol=symbol,
        current_weight=current,
        target_weight=target,
        difference=target - current,
        action="hold",
        amount=ZERO,
        price=holding.price,
        value=ZERO,
        fee=ZERO,
        reason=reason,
        contract_size=holding.market.contract_size,
    )


def _change(
    symbol: str,
    holding: Holding,
    target: Decimal,
    value: Decimal,
    threshold: Decimal,
    min_notional: Decimal,
    *,
    limit: bool,
) -> Change:
    market = holding.market
    current = holding.value / value
    difference = target - current
    moved = difference * value
    side = Side.BUY if difference > 0 else Side.SELL
    price = limit_price(holding.price, side, market) if limit else holding.price
    rate = max(market.maker if limit else market.taker, ZERO)
    closing = not target and bool(holding.amount)
    if not difference:
        return _held(symbol, holding, current, target, None)
    if abs(difference) < threshold:
        text = f"the difference {plain(round(abs(difference), 6))} is below the threshold {plain(threshold)}"
        return _held(symbol, holding, current, target, text)
    unit = holding.at(price)
    # A buy pays its fee out of what it is worth, so that all buys together do not cost more than there is.
    wanted = abs(moved) / (unit * (1 + rate) if side is Side.BUY else unit)
    if closing:
        wanted = abs(holding.amount)
    amount, reason = amount_down(wanted, market)
    notional = amount * unit
    least = max(min_notional, (market.min_cost or ZERO) * holding.worth)
    if reason is None and notional < least:
        reason = f"{plain(round(notional, 8))} is below the minimum value {plain(least)}"
    if reason is not None:
        return _held(symbol, holding, current, target, reason)
    sign = 1 if side is Side.BUY else -1
    return Change(
        symbol=symbol,
        current_weight=current,
        target_weight=target,
        difference=difference,
        action=side.value,
        amount=sign * amount,
        price=price,
        value=moved,
        fee=notional * rate,
        reduce=market.contract and holding.amount * sign < 0 and abs(holding.amount) >= amount,
        contract_size=market.contract_size,
    )


__all__ = [
    "CONVENTIONS",
    "LEAST",
    "MOST",
    "Change",
    "Holding",
    "Method",
    "Profile",
    "Spread",
    "allocate",
    "average_correlation",
    "check_targets",
    "correlation",
    "covariance",
    "deviations",
    "hrp",
    "leaf_order",
    "min_variance",
    "plan",
    "returns_of",
    "risk_contributions",
    "risk_parity",
    "shares",
    "shares_of_confidence",
    "solve",
    "spread_of",
    "variance",
]
