"""Whether an order makes sense by itself: judged before every rule, wire code `invalid`."""

from decimal import Decimal
from operator import attrgetter
from typing import Final

from realtime.model.errors import Code, Refused
from realtime.model.market import Market
from realtime.model.orders import Order, OrderType, Role, Side, TimeInForce, Trigger


Fault = tuple[str, str]
"""Field and sentence."""

FURTHER: Final = (
    "price", "stop_price", "trailing_amount", "leverage", "stop_loss", "take_profit", "trailing_rate", "trailing_stop",
)  # fmt: skip
"""Fields with numbers that most orders have none of."""
further = attrgetter(*FURTHER)
NONE: Final = (None,) * len(FURTHER)


def check_shape(order: Order, market: Market) -> None:
    """Refuse an order that contradicts itself or its market.

    Raises:
        Refused: `invalid`, with every fault in `details.fields`.
    """
    faults: list[Fault] = []
    _numbers(order, faults)
    _needed(order, faults)
    _kinds(order, market, faults)
    _bracket(order, faults)
    if faults:
        raise invalid(faults)


def invalid(faults: list[Fault]) -> Refused:
    """The refusal that names every faulty field."""
    return Refused(
        Code.INVALID,
        "; ".join(f"{name}: {text}" for name, text in faults),
        {"fields": [{"field": name, "message": text} for name, text in faults]},
    )


def _numbers(order: Order, faults: list[Fault]) -> None:
    """M8: not a number, infinite, zero and negative are refused at the door."""
    if order.cost_limit is None:
        if not (order.amount.is_finite() and order.amount > 0):
            faults.append(("amount", f"must be above 0, was {order.amount}"))
    elif not (order.cost_limit.is_finite() and order.cost_limit > 0):
        faults.append(("cost", f"must be above 0, was {order.cost_limit}"))
    if further(order) == NONE:
        return
    for name, value in (
        ("price", order.price),
        ("stop_price", order.stop_price),
        ("trailing_amount", order.trailing_amount),
        ("leverage", order.leverage),
        ("stop_loss", order.stop_loss.price if order.stop_loss else None),
        ("stop_loss.limit", order.stop_loss.limit if order.stop_loss else None),
        ("take_profit", order.take_profit.price if order.take_profit else None),
        ("take_profit.limit", order.take_profit.limit if order.take_profit else None),
    ):
        if value is not None and not (value.is_finite() and value > 0):
            faults.append((name, f"must be above 0, was {value}"))
    for name, rate in (
        ("trailing_rate", order.trailing_rate),
        ("trailing_stop", order.trailing_stop),
    ):
        if rate is not None and not (rate.is_finite() and 0 < rate < 1):
            faults.append((name, f"is a fraction between 0 and 1, was {rate}"))


def _needed(order: Order, faults: list[Fault]) -> None:
    kind = order.type
    if kind.priced and order.price is None:
        faults.append(("price", f"is required for {kind}"))
    if not kind.priced and order.price is not None:
        faults.append(("price", f"has no meaning for {kind}"))
    trailing = kind is OrderType.TRAILING_STOP
    if kind.triggered and not trailing and order.stop_price is None:
        faults.append(("stop_price", f"is required for {kind}"))
    if not kind.triggered and order.stop_price is not None:
        faults.append(("stop_price", f"has no meaning for {kind}"))
    both = order.trailing_amount is not None and order.trailing_rate is not None
    if both:
        faults.append(("trailing_amount", "excludes trailing_rate"))
    if trailing and order.trailing_amount is None and order.trailing_rate is None:
        faults.append(("trailing_amount", "or trailing_rate is required for trailing_stop"))
    if order.cost_limit is not None and (
        kind is not OrderType.MARKET or order.side is not Side.BUY
    ):
        faults.append(("cost", "is for market buys only"))
    good_till = order.good_till_ts is not None
    if (order.time_in_force is TimeInForce.GTD) is not good_till:
        faults.append(("good_till_ts", "belongs to time_in_force GTD, and GTD needs it"))


def _kinds(order: Order, market: Market, faults: list[Fault]) -> None:
    if (order.position_type == "spot") is market.contract:
        faults.append(("position_type", f"{order.position_type} does not fit {market.symbol}"))
    if order.leverage is not None and not 1 <= order.leverage <= market.max_leverage:
        faults.append(("leverage", f"must be 1 to {market.max_leverage}, was {order.leverage}"))
    if order.post_only and (
        not order.type.priced or order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}
    ):
        faults.append(("post_only", "needs an order that can rest"))
    if order.reduce_only and attached(order) and order.role is Role.ENTRY:
        faults.append(("stop_loss", "cannot be attached to an order that only reduces"))


def attached(order: Order) -> bool:
    """Whether protective legs belong to it."""
    return (
        order.stop_loss is not None
        or order.take_profit is not None
        or attached_trailing(order) is not None
    )


def attached_trailing(order: Order) -> tuple[Decimal | None, Decimal | None] | None:
    """Distance and rate of an attached trailing stop; None where there is none."""
    if order.type is OrderType.TRAILING_STOP or order.parent_id is not None:
        return None
    if order.trailing_stop is not None:
        return None, order.trailing_stop
    if order.trailing_amount is not None or order.trailing_rate is not None:
        return order.trailing_amount, order.trailing_rate
    return None


def _bracket(order: Order, faults: list[Fault]) -> None:
    """Long: stop < entry < target; short mirrored (section 4)."""
    stop, target = order.stop_loss, order.take_profit
    if stop is None and target is None:
        return
    entry = order.price if order.price is not None else order.stop_price
    if stop is not None and attached_trailing(order) is not None:
        faults.append(("stop_loss", "excludes an attached trailing stop"))
    long = order.side is Side.BUY
    for name, trigger, below in (("stop_loss", stop, long), ("take_profit", target, not long)):
        if trigger is None or entry is None:
            continue
        if trigger.price >= entry if below else trigger.price <= entry:
            where = "below" if below else "above"
            faults.append((name, f"must be {where} the entry {entry}, was {trigger.price}"))
    if (
        stop is not None
        and target is not None
        and entry is None
        and not _apart(stop, target, long=long)
    ):
        faults.append(("take_profit", "must be on the other side of the entry than stop_loss"))


def _apart(stop: Trigger, target: Trigger, *, long: bool) -> bool:
    return stop.price < target.price if long else stop.price > target.price
