"""From the arguments of a placement to its draft; the engine judges the rest."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final

from realtime.commands import naming
from realtime.commands.order.params import (
    Attached,
    Fields,
    PlaceParams,
    ProbabilitiesParams,
    TriggerParams,
)
from realtime.commands.params import invalid
from realtime.commands.registry import Call
from realtime.desk.trading import Placing, Trading
from realtime.engine.combine import check_probabilities
from realtime.engine.market import plain
from realtime.model.market import Market
from realtime.model.orders import OrderType, Role, Side, TimeInForce, Trigger, TriggerBy
from realtime.model.risk import Backing
from realtime.model.signals import Probabilities


# `PO` is a word of the wire only.
TIFS: Final = {tif.value: tif for tif in TimeInForce} | {"PO": TimeInForce.GTC}
# What a resend may differ in (I1).
NOT_CONTENT: Final = frozenset(
    {"mode", "expires_at", "confirm", "dry_run", "client_order_id", "do", "symbol"}
)


def placing_of(
    call: Call[PlaceParams],
    trading: Trading,
    markets: Mapping[str, Market],
    new_id: Callable[[], str] = str,
) -> Placing:
    """Make the draft of a placement; the engine judges the rest.

    Args:
        call: What was asked.
        trading: Makes the draft.
        markets: By unified symbol.
        new_id: Makes the order's id, where it is going to be placed.

    Raises:
        Refused: `invalid` for what cannot be an order, `not_found` for the symbol.
    """
    params = call.params
    market = naming.market_of(markets, params.symbol)
    check_shape(params, market)
    who = naming.who_of(call, bot_id=params.bot_id, strategy_id=params.strategy_id)
    order = trading.draft(
        who=who,
        client_order_id=params.client_order_id,
        fields=fields_of(params, market),
        order_id=new_id(),
    )
    content = content_of(params, market)
    return Placing(
        order=order,
        who=who,
        content=content,
        allow_duplicate=params.allow_duplicate,
        backing=backing_of(params.probabilities, params.confidence),
    )


def check_shape(params: PlaceParams, market: Market) -> None:
    """Refuse combinations that are not an order (features F3).

    Raises:
        Refused: `invalid`.
    """
    kind = params.type
    if (params.amount is None) == (params.cost is None):
        raise invalid("amount", "or cost is required, and only one of them")
    if params.cost is not None and (kind is not OrderType.MARKET or params.side is not Side.BUY):
        raise invalid("cost", "is for market buys only; use amount")
    if kind.priced and params.price is None:
        raise invalid("price", f"is required for type {kind}")
    if not kind.priced and params.price is not None:
        raise invalid("price", f"does not belong to type {kind}")
    if kind.triggered and kind is not OrderType.TRAILING_STOP and params.stop_price is None:
        raise invalid("stop_price", f"is required for type {kind}")
    if not kind.triggered and params.stop_price is not None:
        raise invalid("stop_price", f"does not belong to type {kind}")
    by_amount, by_rate = params.trailing_amount is not None, rate_of(params) is not None
    if kind is OrderType.TRAILING_STOP and by_amount == by_rate:
        raise invalid("trailing_amount", "or trailing_rate is required, and only one of them")
    if by_amount and by_rate:
        raise invalid("trailing_amount", "and trailing_rate exclude each other")
    if (params.time_in_force == "GTD") != (params.good_till_ts is not None):
        raise invalid("good_till_ts", "is required with time_in_force GTD, and only there")
    expected = "spot" if not market.contract else "swap"
    if params.position_type is not None and params.position_type != expected:
        raise invalid("position_type", f"of {market.symbol} is {expected}")


def rate_of(params: PlaceParams) -> Decimal | None:
    """Read the trailing share under either of its names.

    Raises:
        Refused: `invalid`, when both are given or it is not below 1.
    """
    if params.trailing_rate is not None and params.trailing_fraction is not None:
        raise invalid("trailing_fraction", "and trailing_rate are the same; give one")
    rate = params.trailing_rate or params.trailing_fraction
    if rate is not None and rate >= 1:
        raise invalid("trailing_rate", f"is a share and must be below 1; was {plain(rate)}")
    return rate


def trigger_of(given: Attached | None) -> Trigger | None:
    """Read an attached stop or target."""
    if given is None or isinstance(given, Decimal):
        return None if given is None else Trigger(price=given)
    return Trigger(price=given.price, limit=given.limit)


def backing_of(
    probabilities: ProbabilitiesParams | None, confidence: float | None
) -> Backing | None:
    """Read the signal of an order; without a confidence, that of its likeliest action counts.

    Raises:
        Refused: `invalid`, naming `probabilities` when they do not sum to one.
    """
    if probabilities is None:
        return None
    read = Probabilities(probabilities.buy, probabilities.sell, probabilities.hold)
    check_probabilities(read)
    sure = max(read) if confidence is None else confidence
    return Backing(probabilities=read, confidence=sure)


def fields_of(params: PlaceParams, market: Market) -> Fields:
    """Name the fields of the order that the client decides, of a shape that has been checked."""
    default_trigger = TriggerBy.MARK if market.contract else TriggerBy.LAST
    tif = params.time_in_force
    return {
        "symbol": market.symbol,
        "type": params.type,
        "side": params.side,
        "amount": params.amount or Decimal(0),
        "cost_limit": params.cost,
        "price": params.price,
        "stop_price": params.stop_price,
        "trailing_amount": params.trailing_amount,
        "trailing_rate": params.trailing_rate or params.trailing_fraction,
        "trigger_by": params.trigger_by or default_trigger,
        "time_in_force": TIFS[tif],
        "good_till_ts": naming.ns(params.good_till_ts),
        "post_only": params.post_only or tif == "PO",
        "reduce_only": params.reduce_only,
        "role": Role.EXIT if params.reduce_only else Role.ENTRY,
        "position_type": "swap" if market.contract else "spot",
        "leverage": params.leverage,
        "stop_loss": trigger_of(params.stop_loss),
        "take_profit": trigger_of(params.take_profit),
        "expires_at": naming.ns(params.expires_at),
    }


def content_of(params: PlaceParams, market: Market) -> dict[str, str]:
    """Normalise what was sent, for the comparison of resends: defaults and number formats do not count."""
    content = {"symbol": market.symbol}
    for name in params.model_fields_set:
        value = getattr(params, name)
        if name in NOT_CONTENT or value is None or value is False:
            continue
        if name == "time_in_force" and value == "GTC":
            continue
        content[name] = _text(value)
    return content


def _text(value: object) -> str:
    match value:
        case str():
            return str(value)  # of an enum, its value
        case Decimal():
            return plain(value)
        case TriggerParams(price=price, limit=limit):
            return plain(price) if limit is None else f"{plain(price)}/{plain(limit)}"
        case ProbabilitiesParams(buy=buy, sell=sell, hold=hold):
            return f"{buy:g}/{sell:g}/{hold:g}"
        case bool():
            return "true"
        case _:
            return str(value)
