"""Rules of the paper exchange's markets: what it refuses, what it charges, how it rounds."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal

from realtime.model.errors import Code, VenueRejected
from realtime.model.market import MONEY, ZERO, Market
from realtime.model.orders import Side


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_BUY = Side.BUY

QUANTUM = Decimal("1E-8")
"""Smallest unit of every currency here."""

FREE = ZERO.quantize(QUANTUM)
"""The fee of an account with credit."""

CODES: dict[str, Code] = {
    "BadSymbol": Code.VENUE_REJECTED,
    "DuplicateOrderId": Code.CONFLICT,
    "InsufficientFunds": Code.INSUFFICIENT_FUNDS,
    "InvalidOrder": Code.VENUE_REJECTED,
    "MarketClosed": Code.VENUE_REJECTED,
    "NotSupported": Code.NOT_SUPPORTED,
    "OrderImmediatelyFillable": Code.VENUE_REJECTED,
    "OrderNotFound": Code.NOT_FOUND,
    "ExchangeNotAvailable": Code.VENUE_UNAVAILABLE,
}
"""ccxt's exception class for each refusal, and our code for it."""


def refusal(kind: str, rule: str, message: str, **details: object) -> VenueRejected:
    """Make the refusal that ccxt's class `kind` would be."""
    return VenueRejected(CODES[kind], message, {"class": kind, "rule": rule, **details})


def unit_up(value: Decimal) -> Decimal:
    """Round towards more: what we charge or hold; a rebate becomes smaller."""
    return value.quantize(QUANTUM, ROUND_CEILING, MONEY)


def unit_down(value: Decimal) -> Decimal:
    """Round towards zero: a share that leaves."""
    return value.quantize(QUANTUM, ROUND_DOWN, MONEY)


def steps(value: Decimal, step: Decimal) -> Decimal:
    """Round down to whole steps; not for values below zero, which `//` cuts towards zero."""
    return value // step * step


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """From a traded `volume` [quote] on, an account pays `share` of the market's fees."""

    volume: Decimal
    share: Decimal


def tiered(base: Decimal, tiers: tuple[Tier, ...], volume: Decimal) -> Decimal:
    """Fee rate of a fill; negative is a rebate and not reduced.

    Args:
        base: The market's rate.
        tiers: Ascending by volume.
        volume: What the account has traded so far [quote].
    """
    if base <= 0:
        return base
    share = Decimal(1)
    for tier in tiers:
        if volume >= tier.volume:
            share = tier.share
    return base * share


def check_price(market: Market, price: Decimal) -> None:
    """Refuse a price that is off the tick or not above zero."""
    if price <= 0 or price % market.price_tick:
        raise refusal(
            "InvalidOrder", "tick_size", f"price {price} is not a multiple of {market.price_tick}"
        )


def check_amount(market: Market, amount: Decimal, *, is_market: bool) -> None:
    """Refuse an amount that is off the step or outside the market's bounds."""
    if amount <= 0 or amount % market.amount_step:
        raise refusal(
            "InvalidOrder", "lot_size", f"amount {amount} is not a multiple of {market.amount_step}"
        )
    if market.min_amount is not None and amount < market.min_amount:
        raise refusal("InvalidOrder", "min_amount", f"amount {amount} is below {market.min_amount}")
    if market.max_amount is not None and amount > market.max_amount:
        raise refusal("InvalidOrder", "max_amount", f"amount {amount} is above {market.max_amount}")
    if is_market and market.max_market_amount is not None and amount > market.max_market_amount:
        raise refusal(
            "InvalidOrder",
            "max_market_amount",
            f"amount {amount} is above {market.max_market_amount} for a market order",
        )


def check_cost(market: Market, cost: Decimal) -> None:
    """Refuse an order worth less than the market's minimum [quote]."""
    if market.min_cost is not None and cost < market.min_cost:
        raise refusal("InvalidOrder", "min_cost", f"cost {cost} is below {market.min_cost}")


def check_band(market: Market, price: Decimal, reference: Decimal | None) -> None:
    """Refuse a limit price further from the reference than the market's band."""
    if market.price_band is None or reference is None:
        return
    low, high = reference * (1 - market.price_band), reference * (1 + market.price_band)
    if not low <= price <= high:
        raise refusal("InvalidOrder", "price_band", f"price {price} is outside {low:f} to {high:f}")


def bound(market: Market, side: Side, reference: Decimal | None) -> Decimal | None:
    """The worst price a market order may trade at; None where the market has no band."""
    if market.price_band is None or reference is None:
        return None
    band = market.price_band if side is _BUY else -market.price_band
    return reference * (1 + band)


def fee_of(
    market: Market, side: Side, price: Decimal, amount: Decimal, fee_rate: Decimal
) -> tuple[Decimal, str]:
    """Fee and its currency: base on a spot buy, quote on a spot sell, settle on derivatives."""
    if market.contract:
        return unit_up(price * amount * market.contract_size * fee_rate), market.cash
    if side is _BUY:
        return unit_up(amount * fee_rate), market.base
    return unit_up(price * amount * fee_rate), market.quote


def signed(side: Side, amount: Decimal) -> Decimal:
    """An amount as it changes a position."""
    return amount if side is _BUY else ZERO - amount
