"""From the arguments of a placement to its draft; the engine judges the rest."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

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
from realtime.desk.trading import Trading
from realtime.engine.combine import check_probabilities
from realtime.engine.market import plain
from realtime.engine.orders import BUY, MARKET
from realtime.model.events import Place
from realtime.model.market import ZERO, Market
from realtime.model.orders import OrderType, Role, TimeInForce, Trigger, TriggerBy
from realtime.model.risk import Backing
from realtime.model.signals import Probabilities


LAST: Final = TriggerBy.LAST
# What a resend may differ in (I1); the position type and the protection have one value that a market takes.
NOT_CONTENT: Final = frozenset(
    {
        "mode", "expires_at", "confirm", "dry_run", "client_order_id", "do", "symbol",
        "position_type", "protection",
    }
)  # fmt: skip
# What makes a market order of an amount something that `check_shape` has to look at.
SHAPING: Final = frozenset(
    {
        "cost", "price", "stop_price", "trailing_amount", "trailing_rate", "trailing_fraction",
        "time_in_force", "good_till_ts", "position_type",
    }
)  # fmt: skip


def placing_of(
    call: Call[PlaceParams],
    trading: Trading,
    markets: Mapping[str, Market],
    new_id: Callable[[], str] = str,
) -> Place:
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
    fields, content = given_of(params, market)
    order = trading.draft(
        who=who, client_order_id=params.client_order_id, fields=fields, order_id=new_id()
    )
    return Place(
        order=order,
        who=who,
        ts=order.created_ts,
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
    plain_one = kind is MARKET and params.amount is not None
    if plain_one and SHAPING.isdisjoint(params.__pydantic_fields_set__):
        return  # most orders: nothing is said that could not be combined
    if (params.amount is None) == (params.cost is None):
        raise invalid("amount", "or cost is required, and only one of them")
    if params.cost is not None and (kind is not MARKET or params.side is not BUY):
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


def given_of(params: PlaceParams, market: Market) -> tuple[Fields, dict[str, str]]:
    """Read what was sent, of a shape that has been checked; what was left out is not looked at.

    Returns:
        The fields of the order that the client decides, but those that are as on every order; and what was said,
        normalised for the comparison of resends: defaults and number formats do not count.
    """
    fields: Fields = {"symbol": market.symbol, "amount": ZERO}
    content = {"symbol": market.symbol}
    watched = LAST
    if market.contract:
        watched = TriggerBy.MARK
        fields["trigger_by"], fields["position_type"] = watched, "swap"
    for name in params.__pydantic_fields_set__:  # `model_fields_set`, which is a call
        value = getattr(params, name)
        if value is None or value is False or value is watched:
            continue
        if name in SAME:
            fields[name] = value
            content[name] = _text(value)
            continue
        if name in READ:
            fields.update(READ[name](value))
        if name == "time_in_force" and value in TIMES:
            content |= TIMES[value]
        elif name not in NOT_CONTENT:
            content[SPELLED.get(name, name)] = _text(value)
    return fields, content


def _time_in_force(word: str) -> Fields:
    """Read how long it rests; `PO` is a word of the wire only."""
    if word == "PO":
        return {"post_only": True}
    return {"time_in_force": TimeInForce(word)}


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


# Arguments that are fields of the order as they are, and how the others are read.
SAME: Final = frozenset(
    {
        "type", "side", "amount", "price", "stop_price", "trailing_amount", "trailing_rate",
        "trigger_by", "post_only", "leverage",
    }
)  # fmt: skip
# Two spellings of one thing are one content.
SPELLED: Final[Mapping[str, str]] = {"trailing_fraction": "trailing_rate"}
TIMES: Final[Mapping[str, Mapping[str, str]]] = {"GTC": {}, "PO": {"post_only": "true"}}
READ: Final[Mapping[str, Callable[[Any], Fields]]] = {
    "cost": lambda value: {"cost_limit": value},
    "trailing_fraction": lambda value: {"trailing_rate": value},
    "time_in_force": _time_in_force,
    "good_till_ts": lambda value: {"good_till_ts": naming.ns(value)},
    "expires_at": lambda value: {"expires_at": naming.ns(value)},
    "reduce_only": lambda value: {"reduce_only": value, "role": Role.EXIT},
    "stop_loss": lambda value: {"stop_loss": trigger_of(value)},
    "take_profit": lambda value: {"take_profit": trigger_of(value)},
}
