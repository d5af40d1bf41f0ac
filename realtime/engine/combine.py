"""From what several strategies say to one action (features F16 and F17): weighting, votes, the risk score.

Rules of this file: (1) probabilities always sum to one and the action is their argmax, a tie being hold; (2) who is
left out is left out with a reason; (3) the same opinions and weights give the same answer wherever they are combined.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum
from typing import Final

from realtime.model.errors import invalid
from realtime.model.signals import TOLERANCE, Action, Probabilities, Signal


NO_PROBABILITIES: Final = Probabilities(0.33, 0.33, 0.34)
"""Of an opinion that gives none."""

NOTHING: Final = Probabilities(0.2, 0.2, 0.6)
"""When no opinion counts; with confidence 0.5."""

EVEN: Final = 0.5

DIGITS: Final = 12
"""Probabilities and scores are rounded to this, so that sums of the same weights in another order still tie."""

CLOSED_TRADES: Final = 20
"""Trades a strategy's performance is measured over."""

FEWEST_TRADES: Final = 5
"""With fewer closed trades performance says nothing yet: 1.0."""

LEAST, MOST = 0.5, 1.5
"""How far one step of the dynamic weights goes."""


class Method(StrEnum):
    """How opinions become one."""

    WEIGHTED_AVERAGE = "weighted_average"
    MAJORITY_VOTE = "majority_vote"


class RiskLevel(StrEnum):
    """The level of a risk score R; the account has levels of its own."""

    VERY_LOW = "very_low"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    VERY_HIGH = "very_high"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What one strategy says about one symbol.

    Attributes:
        confidence: 0..1; of the action, not of all three.
        probabilities: None where the source gives none.
        position_size: Its own ceiling of notional by equity, 0..1.

    Raises:
        Refused: `invalid`, naming the field.
    """

    strategy: str
    confidence: float
    probabilities: Probabilities | None = None
    position_size: float = 1.0

    def __post_init__(self) -> None:
        check_fraction("confidence", self.confidence)
        check_fraction("position_size", self.position_size)
        if self.probabilities is not None:
            check_probabilities(self.probabilities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """How much a strategy counts.

    Attributes:
        weight: The one in force, 0..1.
        min_confidence: Opinions with less are left out, 0..1.

    Raises:
        Refused: `invalid`, naming the field.
    """

    weight: float
    min_confidence: float = 0.5
    enabled: bool = True

    def __post_init__(self) -> None:
        check_fraction("weight", self.weight)
        check_fraction("min_confidence", self.min_confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """One decision out of many opinions.

    Attributes:
        confidence: 0..1.
        risk_score: R, 0 (certain) to 1.
        position_size: Weighted mean of the ceilings of those who agree, 0..1; 0 where nobody does.
        used: Strategies that count, in the order given.
        skipped: Strategies that do not, and why.
        total_weight: Of those that count.
        reason: Why there is nothing to combine; None otherwise.
        warning: That the weights of the enabled strategies are far from one; None otherwise.
    """

    action: Action
    confidence: float
    probabilities: Probabilities
    risk_score: float
    position_size: float
    used: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    total_weight: float
    method: Method
    reason: str | None = None
    warning: str | None = None

    @property
    def risk_level(self) -> RiskLevel:
        """The level of its risk score."""
        return risk_level(self.risk_score)


# --- risk of one signal -----------------------------------------------------------------------


def risk_score(probabilities: Probabilities, confidence: float) -> float:
    """R: 1 - confidence times the likelier of buy and sell, 0..1; without the noise of a float, at a level's bound."""
    score = 1 - confidence * max(probabilities.buy, probabilities.sell)
    return round(min(max(score, 0.0), 1.0), DIGITS)


def risk_level(score: float) -> RiskLevel:
    """Name the level of a risk score 0..1."""
    for below, level in (
        (0.2, RiskLevel.VERY_LOW),
        (0.4, RiskLevel.LOW),
        (0.6, RiskLevel.MODERATE),
        (0.8, RiskLevel.HIGH),
    ):
        if score < below:
            return level
    return RiskLevel.VERY_HIGH


# --- combining --------------------------------------------------------------------------------


def opinion(strategy: str, signal: Signal) -> Opinion:
    """Take a strategy's signal as its opinion."""
    return Opinion(
        strategy=strategy,
        confidence=signal.confidence,
        probabilities=signal.probabilities,
        position_size=signal.position_size,
    )


def combine(
    opinions: Sequence[Opinion],
    weights: Mapping[str, Weight],
    method: Method = Method.WEIGHTED_AVERAGE,
) -> Combined:
    """Make one decision for one symbol.

    Args:
        opinions: One per strategy; unknown and disabled ones and those below their `min_confidence` do not count.
        weights: By strategy; those of the enabled ones should sum to one.
        method: Average of the probabilities, or votes for each one's likeliest action.
    """
    used: list[tuple[Opinion, float]] = []
    skipped: list[tuple[str, str]] = []
    for told in opinions:
        why = _left_out(told, weights.get(told.strategy))
        if why is None:
            used.append((told, weights[told.strategy].weight))
        else:
            skipped.append((told.strategy, why))
    total = fsum(weight for _, weight in used)
    warning = weight_warning(weights)
    if not total:
        return Combined(
            action=NOTHING.action,
            confidence=EVEN,
            probabilities=NOTHING,
            risk_score=risk_score(NOTHING, EVEN),
            position_size=0.0,
            used=(),
            skipped=tuple(skipped),
            total_weight=0.0,
            method=method,
            reason=_nothing(skipped, used),
            warning=warning,
        )
    if method is Method.MAJORITY_VOTE:
        probabilities, confidence = _vote(used, total)
    else:
        probabilities, confidence = _average(used)
    action = probabilities.action
    agreeing = [(told, weight) for told, weight in used if _likeliest(told) is action]
    return Combined(
        action=action,
        confidence=confidence,
        probabilities=probabilities,
        risk_score=risk_score(probabilities, confidence),
        position_size=_mean([(told.position_size, weight) for told, weight in agreeing]),
        used=tuple(told.strategy for told, _ in used),
        skipped=tuple(skipped),
        total_weight=total,
        method=method,
        warning=warning,
    )


def _left_out(told: Opinion, weight: Weight | None) -> str | None:
    if weight is None:
        return "is not known"
    if not weight.enabled:
        return "is disabled"
    if told.confidence < weight.min_confidence:
        return (
            f"confidence {told.confidence:.4g} is below min_confidence {weight.min_confidence:.4g}"
        )
    return None


def _nothing(skipped: list[tuple[str, str]], used: list[tuple[Opinion, float]]) -> str:
    if used:
        return f"no weight: {', '.join(told.strategy for told, _ in used)}"
    if skipped:
        return "; ".join(f"{strategy} {why}" for strategy, why in skipped)
    return "no signals"


def _likeliest(told: Opinion) -> Action:
    return (told.probabilities or NO_PROBABILITIES).action


def _mean(pairs: Sequence[tuple[float, float]]) -> float:
    """Weighted mean of values 0..1; 0 without weight."""
    total = fsum(weight for _, weight in pairs)
    # The last digit of a quotient of sums may lie above one.
    return min(fsum(value * weight for value, weight in pairs) / total, 1.0) if total else 0.0


def _average(used: Sequence[tuple[Opinion, float]]) -> tuple[Probabilities, float]:
    sums = [
        fsum(weight * (told.probabilities or NO_PROBABILITIES)[place] for told, weight in used)
        for place in range(3)
    ]
    confidence = _mean([(told.confidence, weight) for told, weight in used])
    # Opinions may each be off one by the tolerance; what leaves here is not.
    return _rounded(sums), confidence


def _vote(used: Sequence[tuple[Opinion, float]], total: float) -> tuple[Probabilities, float]:
    votes = [
        fsum(weight for told, weight in used if _likeliest(told) is action)
        for action in (Action.BUY, Action.SELL, Action.HOLD)
    ]
    shares = [round(vote / total, DIGITS) for vote in votes]
    most = max(shares)
    winners = [
        action
        for action, share in zip((Action.BUY, Action.SELL, Action.HOLD), shares, strict=True)
        if share == most
    ]
    confidence = _mean(
        [(told.confidence, weight) for told, weight in used if _likeliest(told) in winners]
    )
    return _rounded(votes), confidence


def _rounded(parts: Sequence[float]) -> Probabilities:
    total = fsum(parts)
    return Probabilities(*(round(part / total, DIGITS) for part in parts))


# --- weights ----------------------------------------------------------------------------------


def weight_warning(weights: Mapping[str, Weight]) -> str | None:
    """Say that the weights of the enabled strategies are outside 0.9..1.1; None when they are not."""
    total = fsum(weight.weight for weight in weights.values() if weight.enabled)
    # The bounds themselves are fine, whatever the last digit of a sum of floats says.
    if 0.9 - TOLERANCE <= total <= 1.1 + TOLERANCE:
        return None
    return f"the weights of the enabled strategies sum to {total:g}, not to 1"


def profit_factor(pnls: Sequence[float]) -> float:
    """Performance of a strategy for its weight: profit factor of its last 20 closed trades.

    Args:
        pnls: Net profits, oldest first [any one currency].

    Returns:
        Wins over losses; 1.0 below 5 trades, and where nothing was won or lost; infinite without a loss.
    """
    last = pnls[-CLOSED_TRADES:]
    if len(last) < FEWEST_TRADES:
        return 1.0
    won = fsum(pnl for pnl in last if pnl > 0)
    lost = -fsum(pnl for pnl in last if pnl < 0)
    if not lost:
        return float("inf") if won else 1.0
    return won / lost


def dynamic_weights(
    weights: Mapping[str, float], performance: Mapping[str, float]
) -> dict[str, float]:
    """Weigh by performance: each times its performance held to 0.5..1.5, then normalised to one.

    Args:
        weights: The configured ones of the enabled strategies, 0..1.
        performance: Profit factors; a strategy without one counts 1.0.

    Returns:
        Effective weights; as configured where they are all zero.
    """
    moved = {
        name: weight * min(max(performance.get(name, 1.0), LEAST), MOST)
        for name, weight in weights.items()
    }
    total = fsum(moved.values())
    return {name: weight / total for name, weight in moved.items()} if total else dict(weights)


# --- checks -----------------------------------------------------------------------------------


def check_fraction(name: str, value: float) -> None:
    """Refuse what is not 0..1, NaN included.

    Raises:
        Refused: `invalid`, naming the field.
    """
    if not 0 <= value <= 1:
        raise invalid(name, f"was {value:g}, must be between 0 and 1")


def check_probabilities(probabilities: Probabilities, name: str = "probabilities") -> None:
    """Refuse probabilities out of range or off one.

    Raises:
        Refused: `invalid`, naming the field: `NAME.buy`, `NAME.sell`, `NAME.hold`, or `NAME` for the sum.
    """
    for part, value in probabilities._asdict().items():
        check_fraction(f"{name}.{part}", value)
    total = fsum(probabilities)
    if abs(total - 1) > TOLERANCE:
        raise invalid(name, f"sum to {total:.9g}, must be 1 within {TOLERANCE:g}")
