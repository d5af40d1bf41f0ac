"""How a trade may end: probability of the target before the stop, drift, calibration (features F16).

The model is a Brownian motion with drift in log prices, no more: where it does not hold there is no number but None
and a reason.
Source: first passage of a Brownian motion between two barriers, Karatzas and Shreve (1991), 3.5.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import erf, exp, expm1, fsum, inf, log, sqrt
from typing import Final

from realtime.model.errors import invalid


BARS: Final = 200
"""Log returns that drift and deviation are measured over."""

FEWEST: Final = 30
"""With fewer samples there is no statistic."""

BUCKETS: Final = 10
"""Of the calibration, each 0.1 wide."""

NO_DRIFT: Final = 1e-9
"""Below this exponent the formula is 0/0 and its limit is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How the price moves per bar.

    Attributes:
        mu, sigma: Mean and sample deviation of log returns per bar; None when too few.
        samples: Returns used.
        reason: Why there is none; None otherwise.
    """

    mu: float | None
    sigma: float | None
    samples: int
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How often signals of one range of probability were right.

    Attributes:
        low, high: Probability of the action, low <= p < high; the last includes 1.
        hit_rate: 0..1; None below 30 signals.
    """

    low: float
    high: float
    samples: int
    hit_rate: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a trade may end; every figure is None where `reason` says why.

    Attributes:
        target_before_stop: 0..1.
        p_up: Probability that the price is higher after the horizon, 0..1.
        expected_value: Of the trade [fraction of entry], both fees paid.
        gain, loss: Distances to target and stop [fraction of entry].
    """

    target_before_stop: float | None
    p_up: float | None
    expected_value: float | None
    gain: float
    loss: float
    reason: str | None = None


def drift(closes: Sequence[float]) -> Drift:
    """Measure mean and sample deviation of the last 200 log returns.

    Args:
        closes: Closing prices, shape (n,), oldest first.

    Raises:
        Refused: `invalid`, naming the index of a price that is not above zero.
    """
    last = closes[-(BARS + 1) :]
    for place, close in enumerate(last, start=len(closes) - len(last)):
        if not 0 < close < inf:
            raise invalid(f"closes[{place}]", f"was {close:g}, must be above 0")
    returns = [log(now / before) for before, now in pairwise(last)]
    count = len(returns)
    if count < FEWEST:
        why = f"insufficient_samples: {count} returns, {FEWEST} needed"
        return Drift(mu=None, sigma=None, samples=count, reason=why)
    mean = fsum(returns) / count
    sigma = sqrt(fsum((value - mean) ** 2 for value in returns) / (count - 1))
    return Drift(mu=mean, sigma=sigma, samples=count)


def target_before_stop(target: float, stop: float, mu: float, sigma: float) -> float | None:
    """Give the probability that the price reaches the target before the stop.

    Args:
        target: Log distance to the target, above zero.
        stop: Log distance to the stop, above zero.
        mu: Drift per bar toward the target [log]; of a short, negated.
        sigma: Deviation per bar [log].

    Returns:
        0..1; None where the price does not move, or a distance is not above zero.
    """
    if sigma <= 0 or target <= 0 or stop <= 0:
        return None
    k = 2 * mu / (sigma * sigma)
    if abs(k) * (target + stop) < NO_DRIFT:
        return stop / (target + stop)
    # (1 - e^kb)/(e^-ka - e^kb), multiplied out so that no exponent is above zero and nothing overflows.
    if k > 0:
        return expm1(-k * stop) / expm1(-k * (target + stop))
    return exp(k * target) * expm1(k * stop) / expm1(k * (target + stop))


def p_up(mu: float, sigma: float, horizon: int) -> float | None:
    """Give the probability of a higher price after `horizon` bars; None where the price does not move."""
    if sigma <= 0:
        return None
    return 0.5 * (1 + erf(mu * sqrt(horizon) / sigma / sqrt(2)))


def outcome(
    *,
    entry: float,
    stop: float,
    target: float,
    moves: Drift,
    taker: float,
    horizon: int = 1,
) -> Outcome:
    """Work out how a trade may end. Its side is where the target lies.

    Args:
        entry: Price [quote per base], above zero.
        stop: Price on the other side of entry than target, above zero.
        target: Price, above zero.
        moves: Drift and deviation per bar.
        taker: Fee rate paid at both ends, 0..1.
        horizon: Bars that `p_up` looks ahead.

    Raises:
        Refused: `invalid`, naming the field whose price lies on the wrong side.
    """
    for name, price in (("entry", entry), ("stop_loss", stop), ("take_profit", target)):
        if not 0 < price < inf:
            raise invalid(name, f"was {price:g}, must be above 0")
    long = target > entry
    if stop == entry or (stop < entry) is not long or target == entry:
        raise invalid("stop_loss", f"{stop:g} and take_profit {target:g} must enclose {entry:g}")
    gain, loss = abs(target - entry) / entry, abs(entry - stop) / entry
    if moves.mu is None or moves.sigma is None:
        return Outcome(
            target_before_stop=None,
            p_up=None,
            expected_value=None,
            gain=gain,
            loss=loss,
            reason=moves.reason,
        )
    toward = moves.mu if long else -moves.mu
    reached = target_before_stop(
        abs(log(target / entry)), abs(log(entry / stop)), toward, moves.sigma
    )
    return Outcome(
        target_before_stop=reached,
        p_up=p_up(moves.mu, moves.sigma, horizon),
        expected_value=None if reached is None else expected_value(reached, gain, loss, taker),
        gain=gain,
        loss=loss,
        reason="no_movement: the price did not move over the samples" if reached is None else None,
    )


def expected_value(reached: float, gain: float, loss: float, taker: float) -> float:
    """Expected profit of a trade [fraction of entry], both fees paid."""
    return reached * gain - (1 - reached) * loss - 2 * taker


def calibration(judged: Iterable[tuple[float, bool]]) -> tuple[Bucket, ...]:
    """Compare what signals promised with what came.

    Args:
        judged: Probability of the action 0..1, and whether the price went that way.

    Returns:
        Ten buckets of 0.1, lowest first. It is the seam at which a learned model could be judged or corrected.
    """
    counts = [[0, 0] for _ in range(BUCKETS)]
    for probability, hit in judged:
        # 0.3 / 0.1 is 2.999...: the digits of the bucket are what people see.
        place = min(int(round(probability * BUCKETS, 9)), BUCKETS - 1)
        counts[place][0] += 1
        counts[place][1] += hit
    return tuple(
        Bucket(
            low=place / BUCKETS,
            high=(place + 1) / BUCKETS,
            samples=samples,
            hit_rate=hits / samples if samples >= FEWEST else None,
        )
        for place, (samples, hits) in enumerate(counts)
    )
