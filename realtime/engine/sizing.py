"""How much to trade, and where its stop and target lie (features F16).

Rules of this file: (1) money is Decimal, a probability becomes one through its shortest text; (2) a size is capped
before it is floored, and what is too small is nothing, with a reason; (3) what is missing makes no number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Final

from realtime.engine.combine import risk_score
from realtime.engine.market import amount_down, limit_price, plain, stop_price
from realtime.model.errors import invalid
from realtime.model.market import MONEY, ZERO, Market
from realtime.model.orders import Side
from realtime.model.risk import Limits
from realtime.model.signals import Probabilities


ONE: Final = Decimal(1)
HALF: Final = Decimal("0.5")
CAUTION: Final = Decimal("0.3")
"""Share of the stop's distance that the highest risk takes away."""
FARTHEST: Final = Decimal("0.30")
"""Most distant target [fraction of entry]."""
SIZING: Final = ("confidence", "fixed_fractional", "min", "volatility_target", "kelly")
STOPS: Final = ("fraction", "atr", "swing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a size depends on of the account [valuation currency].

    Attributes:
        equity_start: At the day's start.
        positions: Open ones.
        available: What could be spent on this trade now; None sets no cap.
    """

    equity: Decimal
    equity_start: Decimal
    daily_pnl: Decimal
    positions: int
    available: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What is to be sized.

    Attributes:
        confidence: 0..1.
        entry: Expected price [quote].
        stop: Price of the stop; needed by `fixed_fractional`, `min` and `kelly`.
        target: Price of the target; needed by `kelly`.
        position_size: The strategy's own ceiling of notional by equity, 0..1.
        volatility: Yearly deviation of returns [fraction]; needed by `volatility_target`.
        win: Probability of the target before the stop, 0..1; needed by `kelly`.
    """

    side: Side
    confidence: float
    entry: Decimal
    probabilities: Probabilities | None = None
    stop: Decimal | None = None
    target: Decimal | None = None
    position_size: Decimal = ONE
    volatility: float | None = None
    win: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """What held a size down: its name and the most it allows [valuation currency]."""

    name: str
    notional: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much to trade.

    Attributes:
        notional: [valuation currency], after the caps.
        amount: [base, contracts], floored to the step.
        factors: What the method multiplied or divided, by name.
        caps: Those that bound, the tightest last.
        reason: Why it is nothing; None otherwise.
    """

    notional: Decimal
    amount: Decimal
    price: Decimal
    method: str
    factors: Mapping[str, Decimal] = field(default_factory=dict)
    caps: tuple[Cap, ...] = ()
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A stop or a target.

    Attributes:
        price: On the market's grid [quote]; None with a reason.
        base, adjusted: Distances before and after probabilities [fraction of entry]; None where there is no price.
        inputs: What it was made of, by name.
    """

    price: Decimal | None
    base: Decimal | None
    adjusted: Decimal | None
    method: str
    inputs: Mapping[str, Decimal]
    reason: str | None = None


def exact(value: float) -> Decimal:
    """Take a statistic into the world of money by its shortest text: 0.9 is nine tenths."""
    return Decimal(repr(value))


# --- size -------------------------------------------------------------------------------------


def size(
    trade: Trade,
    account: Account,
    limits: Limits,
    market: Market,
    *,
    method: str | None = None,
    worth: Decimal = ONE,
) -> Size:
    """Size an entry.

    Args:
        trade: What is to be entered; confidence and probabilities already checked.
        account: Equity, the day's profit, what is open.
        limits: Parameters in force.
        market: Whose grid the amount lies on.
        method: One of `SIZING`; the one in force without.
        worth: Of one unit of the market's cash [valuation currency].

    Raises:
        Refused: `invalid`, naming `entry`, `stop` or `method`.
    """
    chosen = method if method is not None else limits.sizing_method
    if chosen not in SIZING:
        raise invalid("method", f"must be one of {', '.join(SIZING)}")
    if trade.entry <= 0:
        raise invalid("entry", f"was {plain(trade.entry)}, must be above 0")
    with localcontext(MONEY):
        wanted, factors, missing = _wanted(trade, account, limits, market, chosen)
        if missing is not None:
            return Size(
                notional=ZERO,
                amount=ZERO,
                price=trade.entry,
                method=chosen,
                factors=factors,
                reason=missing,
            )
        notional, caps = _capped(wanted, trade, account, limits)
        amount = ZERO
        reason: str | None = "equity is not above 0"
        if account.equity > 0:
            reason = _why_nothing(factors, caps)
        if notional > 0:
            per_unit = abs(market.value(trade.entry)) * worth
            amount, reason = amount_down(notional / per_unit, market)
            cost = amount * trade.entry * market.contract_size
            if amount and market.min_cost is not None and cost < market.min_cost:
                reason = f"cost {plain(cost)} is below the minimum cost {plain(market.min_cost)}"
                amount = ZERO
        return Size(
            notional=notional if amount else ZERO,
            amount=amount,
            price=trade.entry,
            method=chosen,
            factors=factors,
            caps=caps,
            reason=None if amount else reason,
        )


Wanted = tuple[Decimal, dict[str, Decimal], str | None]
"""Notional before the caps [valuation currency], its factors, and what is missing."""


def _wanted(trade: Trade, account: Account, limits: Limits, market: Market, method: str) -> Wanted:
    match method:
        case "confidence":
            notional, factors = by_confidence(trade, account, limits)
            return notional, factors, None
        case "fixed_fractional":
            return _fixed(trade, account, limits)
        case "volatility_target":
            return _to_volatility(trade, account, limits)
        case "kelly":
            return _kelly(trade, account, limits, market)
        case _:
            notional, factors = by_confidence(trade, account, limits)
            fixed, others, missing = _fixed(trade, account, limits)
            return min(notional, fixed), factors | others, missing


def by_confidence(
    trade: Trade, account: Account, limits: Limits
) -> tuple[Decimal, dict[str, Decimal]]:
    """Size by confidence, and by the clarity of the probabilities where there are any.

    Returns:
        Notional before the caps [valuation currency], and what it was multiplied from.
    """
    confidence = exact(trade.confidence)
    most = ONE if limits.max_position_size is None else limits.max_position_size
    share = most * confidence
    factors = {"max_position_size": most, "confidence": confidence}
    if trade.probabilities is not None:
        weight = limits.probability_weight
        clarity = abs(exact(trade.probabilities.buy) - exact(trade.probabilities.sell))
        factors["probability"] = confidence * (1 - weight) + clarity * weight
        share *= factors["probability"]
    factors["loss"] = loss_factor(account, limits)
    factors["room"] = room_factor(account.positions, limits)
    return max(account.equity, ZERO) * share * factors["loss"] * factors["room"], factors


def loss_factor(account: Account, limits: Limits) -> Decimal:
    """Trade less after losses: 1 without any, 0.5 from half the day's limit on, 0 at the limit."""
    if limits.max_daily_loss is None:
        return ONE
    most = limits.max_daily_loss * account.equity_start
    if account.daily_pnl <= -most:
        return ZERO
    return min(max(1 + account.daily_pnl / most, HALF), ONE) if most > 0 else ONE


def room_factor(positions: int, limits: Limits) -> Decimal:
    """Trade less the more is open: 1 to 0.5, and 0 at `max_open_positions`."""
    most = limits.max_open_positions
    if most is None:
        return ONE
    if positions >= most:
        return ZERO
    return max(HALF, 1 - HALF * positions / most)


def fixed_fractional(equity: Decimal, stop: Decimal, price: Decimal, risk: Decimal) -> Decimal:
    """Size a trade so that hitting the stop loses a fixed share of equity.

    Args:
        equity: Account value [quote].
        stop: Stop price [quote per base]; must differ from price.
        price: Expected entry [quote per base].
        risk: Share of equity to lose at the stop, 0..1.

    Returns:
        Amount [base], not rounded to the lot. Zero when equity is zero or negative.

    Raises:
        Refused: `invalid`, when stop equals price.

    Source: Vince (1990), fixed fractional.
    """
    if stop == price:
        raise invalid("stop", f"must differ from the entry {plain(price)}")
    with localcontext(MONEY):
        return max(equity, ZERO) * risk / abs(price - stop)


def _fixed(trade: Trade, account: Account, limits: Limits) -> Wanted:
    if trade.stop is None:
        return ZERO, {}, "fixed_fractional needs a stop"
    amount = fixed_fractional(account.equity, trade.stop, trade.entry, limits.risk_per_trade)
    distance = abs(trade.entry - trade.stop) / trade.entry
    factors = {"risk_per_trade": limits.risk_per_trade, "stop_distance": distance}
    # Equity is in the valuation currency, so is this: base units at the entry, whatever one unit of cash is worth.
    return amount * trade.entry, factors, None


def _to_volatility(trade: Trade, account: Account, limits: Limits) -> Wanted:
    """Give the notional whose yearly deviation is the wanted share of equity."""
    if trade.volatility is None:
        return ZERO, {}, "volatility_target needs 30 returns"
    if trade.volatility <= 0:
        return ZERO, {}, "volatility_target needs a price that moves"
    sigma = exact(trade.volatility)
    factors = {"volatility_target": limits.volatility_target, "volatility": sigma}
    return max(account.equity, ZERO) * limits.volatility_target / sigma, factors, None


def kelly(win: Decimal, gain: Decimal, loss: Decimal) -> Decimal:
    """Give the share of equity that grows it fastest.

    Args:
        win: Probability of the gain, 0..1.
        gain: Profit when it comes [fraction of the notional], above zero.
        loss: Loss when it does not [fraction of the notional], above zero.

    Returns:
        Notional by equity; zero when the trade loses on average. It is above one where the stop is near.

    Source: Kelly (1956); for bets that lose a part of the stake, Thorp (2006), p/loss - q/gain.
    """
    return max(win / loss - (1 - win) / gain, ZERO)


def _kelly(trade: Trade, account: Account, limits: Limits, market: Market) -> Wanted:
    if trade.stop is None or trade.target is None:
        return ZERO, {}, "kelly needs a stop and a target"
    if trade.win is None:
        return ZERO, {}, "kelly needs the probability of the target before the stop"
    fees = 2 * market.taker
    gain = abs(trade.target - trade.entry) / trade.entry - fees
    loss = abs(trade.entry - trade.stop) / trade.entry + fees
    win = exact(trade.win)
    full = kelly(win, gain, loss) if gain > 0 and loss > 0 else ZERO
    factors = {
        "win": win,
        "gain": gain,
        "loss_at_stop": loss,
        "kelly": full,
        "kelly_fraction": limits.kelly_fraction,
    }
    return max(account.equity, ZERO) * full * limits.kelly_fraction, factors, None


def _capped(
    wanted: Decimal, trade: Trade, account: Account, limits: Limits
) -> tuple[Decimal, tuple[Cap, ...]]:
    equity = max(account.equity, ZERO)
    bounds = [("position_size", trade.position_size * equity)]
    if limits.max_position_size is not None:
        bounds.append(("max_position_size", limits.max_position_size * equity))
    if account.available is not None:
        bounds.append(("available", max(account.available, ZERO)))
    bound = [Cap(name=name, notional=most) for name, most in bounds if most < wanted]
    caps = tuple(sorted(bound, key=lambda cap: cap.notional, reverse=True))
    return (caps[-1].notional if caps else wanted), caps


def _why_nothing(factors: Mapping[str, Decimal], caps: tuple[Cap, ...]) -> str:
    """Name what made a size zero before any rounding."""
    if caps:
        return f"{caps[-1].name} leaves nothing"
    for name, why in (
        ("loss", "max_daily_loss is reached"),
        ("room", "max_open_positions is reached"),
        ("kelly", "the trade loses on average"),
    ):
        if name in factors and not factors[name]:
            return why
    return "the size is zero"


# --- stop and target --------------------------------------------------------------------------


def stop_and_target(
    limits: Limits,
    market: Market,
    side: Side,
    entry: Decimal,
    *,
    probabilities: Probabilities | None = None,
    confidence: float = 0.0,
    method: str | None = None,
    atr: float | None = None,
    swing: float | None = None,
) -> tuple[Level, Level]:
    """Give stop and target of an entry: nearer where the risk is high, farther where the confidence is.

    Args:
        limits: Parameters in force.
        market: Whose tick the prices lie on: the stop rounded toward the entry, the target away.
        side: Of the entry.
        entry: Expected price [quote], above zero.
        probabilities: Without them neither distance changes.
        confidence: 0..1; counts with probabilities only.
        method: One of `STOPS` for the stop; the one in force without.
        atr: ATR(14) [quote]; needed by `atr`.
        swing: Lowest low (of a buy) or highest high of `lookback` bars [quote]; needed by `swing`.

    Raises:
        Refused: `invalid`, naming `entry` or `method`.
    """
    chosen = method if method is not None else limits.stop_method
    if chosen not in STOPS:
        raise invalid("method", f"must be one of {', '.join(STOPS)}")
    if entry <= 0:
        raise invalid("entry", f"was {plain(entry)}, must be above 0")
    with localcontext(MONEY):
        risk = sure = ZERO
        if probabilities is not None:
            sure = exact(confidence)
            risk = exact(risk_score(probabilities, confidence))
        stop = _stop(limits, market, side, entry, risk, chosen, atr, swing)
        base = limits.take_profit_fraction
        adjusted = min(FARTHEST, base * (1 + HALF * sure))
        above = side is Side.BUY
        price = limit_price(
            entry * (1 + adjusted if above else 1 - adjusted), side.opposite, market
        )
        inputs = {"entry": entry, "confidence": sure, "take_profit_fraction": base}
        target = Level(price=price, base=base, adjusted=adjusted, method="fraction", inputs=inputs)
        return stop, _usable(target, side, entry, stop=False)


def _stop(
    limits: Limits,
    market: Market,
    side: Side,
    entry: Decimal,
    risk: Decimal,
    method: str,
    atr: float | None,
    swing: float | None,
) -> Level:
    below = side is Side.BUY
    inputs = {"entry": entry, "risk_score": risk}
    if method == "fraction":
        base = limits.stop_loss_fraction
        adjusted = base * (1 - CAUTION * risk)
        inputs["stop_loss_fraction"] = base
    elif method == "atr":
        if atr is None:
            return _none("atr", inputs, "atr needs 15 bars")
        inputs |= {"atr": exact(atr), "atr_multiplier": limits.atr_multiplier}
        base = adjusted = limits.atr_multiplier * exact(atr) / entry
    else:
        inputs["lookback"] = Decimal(limits.lookback)
        if swing is None:
            return _none("swing", inputs, f"swing needs {limits.lookback} bars")
        inputs["swing"] = exact(swing)
        base = adjusted = (entry - exact(swing) if below else exact(swing) - entry) / entry
    price = stop_price(entry * (1 - adjusted if below else 1 + adjusted), side.opposite, market)
    level = Level(price=price, base=base, adjusted=adjusted, method=method, inputs=inputs)
    return _usable(level, side, entry, stop=True)


def _usable(level: Level, side: Side, entry: Decimal, *, stop: bool) -> Level:
    """Give no price where it would lie at the entry, beyond it, or below zero."""
    price = level.price
    assert price is not None
    above = (side is Side.BUY) is not stop
    if price > 0 and (price > entry if above else price < entry):
        return level
    where = "above" if above else "below"
    why = f"{plain(price)} is not {where} the entry {plain(entry)}" if price > 0 else "below zero"
    return _none(level.method, level.inputs, why)


def _none(method: str, inputs: Mapping[str, Decimal], reason: str) -> Level:
    return Level(price=None, base=None, adjusted=None, method=method, inputs=inputs, reason=reason)
