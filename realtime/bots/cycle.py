"""One decision of a bot: from signals to a wish, or to the reason for none (functional specification, F6).

Rules of this file: (1) nothing here waits, asks or remembers: the same look gives the same decision; (2) every way out
names its reason; (3) what closes the bot's own position is held back by nothing but an unfit market, a doubtful signal
and `dry_run`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import log

from realtime.engine.combine import Combined, Method, Weight, combine, opinion
from realtime.engine.conditions import Check
from realtime.engine.market import amount_down
from realtime.engine.outcome import Drift, target_before_stop
from realtime.engine.sizing import Account, Level, Size, Trade, exact, size, stop_and_target
from realtime.model.bots import BotSpec, Skip
from realtime.model.market import ZERO, Market
from realtime.model.orders import Side
from realtime.model.risk import Limits
from realtime.model.signals import Action, Signal


GRAVE = ("high", "critical")
"""Levels of the account at which a risky signal is left alone."""
RISKY = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a combined signal must reach (configuration, `probability`)."""

    buy: float = 0.7
    sell: float = 0.7
    hold: float = 0.6
    risk_score: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """All that one decision depends on.

    Attributes:
        signals: Of the strategies, by name, after the newest bar.
        weights: Of the same, those in force.
        warm: Whether the strategies have seen their bars.
        closed: Why the trading window forbids entries; None while it is open.
        held: The bot's own position [base, contracts], signed.
        leaving: What exits on their way may still close of it [base, contracts], unsigned.
        entering: Whether an entry of the bot is on its way or rests in this symbol.
        level: The account's risk level.
        account: Of the size; None, with a reason, while equity is not known.
        price: Expected price of an entry [quote]; None without a market.
        worth: Of one unit of the market's cash [valuation currency]; None without a price.
        atr, swing: For stops that need them.
        volatility: Yearly deviation of returns, for sizes that need it.
        moves: Drift and deviation per bar, likewise; None where a price makes none.
    """

    spec: BotSpec
    market: Market
    signals: Mapping[str, Signal]
    weights: Mapping[str, Weight]
    method: Method = Method.WEIGHTED_AVERAGE
    thresholds: Thresholds
    checks: Sequence[Check]
    warm: bool
    closed: str | None
    paused: bool
    held: Decimal
    level: str
    limits: Limits
    account: Account | None
    price: Decimal | None
    worth: Decimal | None
    atr: float | None = None
    swing: tuple[float, float] | None = None
    volatility: float | None = None
    moves: Drift | None = None
    leaving: Decimal = ZERO
    entering: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """An order that is wished for.

    Attributes:
        exit: Whether it closes the bot's own position.
        stop, target: Attached; None where there is none.
    """

    side: Side
    amount: Decimal
    exit: bool
    stop: Decimal | None = None
    target: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What came of a look.

    Attributes:
        intent: What is wished; also of a dry run, which has `skip`.
        skip: Why nothing is placed.
        detail: The same for people.
    """

    combined: Combined
    intent: Intent | None = None
    skip: Skip | None = None
    detail: str | None = None
    size: Size | None = None
    levels: tuple[Level, Level] | None = None


def decide(look: Look) -> Decision:
    """Decide about one symbol."""
    said = combine(
        [opinion(name, told) for name, told in look.signals.items()], look.weights, look.method
    )
    bad = [check.name for check in look.checks if not check.ok]
    if bad:
        return Decision(combined=said, skip=Skip.MARKET_CHECK, detail=", ".join(bad))
    if not look.warm:
        return Decision(
            combined=said, skip=Skip.WARMUP, detail="the strategies have not seen their bars"
        )
    side = _side(said.action)
    own, _ = amount_down(abs(look.held), look.market)
    free, _ = amount_down(max(abs(look.held) - look.leaving, ZERO), look.market)
    closing = bool(own) and side is (Side.SELL if look.held > 0 else Side.BUY)
    if not closing:
        if look.closed is not None:
            return Decision(combined=said, skip=Skip.WINDOW, detail=look.closed)
        if look.paused:
            return Decision(combined=said, skip=Skip.PAUSED, detail="no entries while paused")
    if side is None:
        sure = said.confidence >= look.thresholds.hold
        return Decision(combined=said, skip=Skip.HOLD if sure else Skip.UNCLEAR, detail=said.reason)
    least = look.thresholds.buy if side is Side.BUY else look.thresholds.sell
    if said.confidence < least:
        why = f"confidence {said.confidence:.4g} is below {least:g}"
        return Decision(combined=said, skip=Skip.LOW_CONFIDENCE, detail=why)
    if closing and not free:
        # What it would sell a second time would be another's.
        why = "an exit is on its way"
        return Decision(combined=said, skip=Skip.IN_POSITION, detail=why)
    if closing:
        return _dry(look, Decision(combined=said, intent=Intent(side=side, amount=free, exit=True)))
    return _entry(look, said, side, own)


def _side(action: Action) -> Side | None:
    return {Action.BUY: Side.BUY, Action.SELL: Side.SELL, Action.HOLD: None}[action]


def _entry(look: Look, said: Combined, side: Side, own: Decimal) -> Decision:
    """Judge and size an entry; `own` is what is held already, on the other side of nothing."""
    if side is Side.SELL and not (look.spec.allow_short and look.market.contract):
        why = "nothing to sell" if not look.market.contract else "allow_short is off"
        return Decision(combined=said, skip=Skip.NOTHING_TO_SELL, detail=why)
    score = said.risk_score
    if score > look.thresholds.risk_score:
        why = f"risk score {score:.4g} is above {look.thresholds.risk_score:g}"
        return Decision(combined=said, skip=Skip.RISK_SCORE, detail=why)
    if look.level in GRAVE and score > RISKY:
        why = f"the account's risk is {look.level}, the signal's score {score:.4g}"
        return Decision(combined=said, skip=Skip.PORTFOLIO_RISK, detail=why)
    if _position(look, own) and not look.spec.pyramiding:
        why = "in position, and pyramiding is off"
        return Decision(combined=said, skip=Skip.IN_POSITION, detail=why)
    if look.entering and not look.spec.pyramiding:
        # Exchanges confirm first and fill later: until then the position does not show it.
        why = "an entry is on its way, and pyramiding is off"
        return Decision(combined=said, skip=Skip.IN_POSITION, detail=why)
    if look.account is None or look.price is None or look.worth is None:
        what = "equity" if look.account is None else "the price"
        return Decision(combined=said, skip=Skip.SIZE_ZERO, detail=f"{what} is not known")
    swing = None if look.swing is None else look.swing[0 if side is Side.BUY else 1]
    levels = stop_and_target(
        look.limits,
        look.market,
        side,
        look.price,
        probabilities=said.probabilities,
        confidence=said.confidence,
        atr=look.atr,
        swing=swing,
    )
    stop, target = levels
    sized = size(
        Trade(
            side=side,
            confidence=said.confidence,
            entry=look.price,
            probabilities=said.probabilities,
            stop=stop.price,
            target=target.price,
            position_size=exact(said.position_size),
            volatility=look.volatility,
            win=_win(look, side, stop, target),
        ),
        look.account,
        look.limits,
        look.market,
        worth=look.worth,
    )
    made = Decision(combined=said, size=sized, levels=levels)
    if not sized.amount:
        return _because(made, Skip.SIZE_ZERO, sized.reason)
    intent = Intent(
        side=side, amount=sized.amount, exit=False, stop=stop.price, target=target.price
    )
    return _dry(look, Decision(combined=said, size=sized, levels=levels, intent=intent))


def _position(look: Look, own: Decimal) -> bool:
    """Tell whether what is held is a position: fees in coins leave rests behind that the market does not take back."""
    least = look.market.min_cost
    if look.market.contract or least is None or look.price is None:
        return bool(own)
    return own * look.price >= least


def _win(look: Look, side: Side, stop: Level, target: Level) -> float | None:
    """Give the probability of the target before the stop; None where it is not known."""
    moves = look.moves
    if moves is None or moves.mu is None or moves.sigma is None:
        return None
    if look.price is None or stop.price is None or target.price is None:
        return None
    entry = float(look.price)
    toward = moves.mu if side is Side.BUY else -moves.mu
    to_target = abs(log(float(target.price) / entry))
    to_stop = abs(log(float(stop.price) / entry))
    return target_before_stop(to_target, to_stop, toward, moves.sigma)


def _dry(look: Look, made: Decision) -> Decision:
    return _because(made, Skip.DRY_RUN, "dry_run is on") if look.spec.dry_run else made


def _because(made: Decision, skip: Skip, detail: str | None) -> Decision:
    return Decision(
        combined=made.combined,
        intent=made.intent,
        size=made.size,
        levels=made.levels,
        skip=skip,
        detail=detail,
    )
