"""Arguments of the ops of orders."""

from collections.abc import Awaitable
from typing import Annotated, Final, Literal

from pydantic import Field

from realtime.commands.params import (
    ChangeParams,
    ClientOrderId,
    CommandParams,
    Instant,
    Money,
    Name,
    Params,
    Part,
    Positive,
    Symbol,
    Text,
    Word,
)
from realtime.commands.registry import Answer
from realtime.model.orders import OrderType, Side, TriggerBy
from realtime.store.queries import MOST_FILLS


Tif = Literal["GTC", "IOC", "FOK", "PO", "GTD"]
Fields = dict[str, object]
Given = Answer | Awaitable[Answer]

BATCH: Final = 20
"""Items of a batch at most."""


class TriggerParams(Part):
    """A stop or target with a limit."""

    price: Positive
    limit: Positive | None = None


Attached = Positive | TriggerParams
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ProbabilitiesParams(Part):
    """Of the three actions; together one."""

    buy: Fraction
    sell: Fraction
    hold: Fraction


class PlaceParams(CommandParams):
    """What is to be placed."""

    symbol: Symbol
    side: Word[Side]
    type: Word[OrderType]
    amount: Positive | None = None
    cost: Positive | None = None
    price: Positive | None = None
    stop_price: Positive | None = None
    trailing_amount: Positive | None = None
    trailing_rate: Positive | None = None
    trailing_fraction: Positive | None = None
    trigger_by: Word[TriggerBy] | None = None
    time_in_force: Tif = "GTC"
    good_till_ts: Instant | None = None
    post_only: bool = False
    reduce_only: bool = False
    position_type: Literal["spot", "margin", "swap"] | None = None
    leverage: Positive | None = None
    stop_loss: Attached | None = None
    take_profit: Attached | None = None
    protection: Literal["native"] | None = None
    client_order_id: ClientOrderId | None = None
    allow_duplicate: bool = False
    bot_id: Name | None = None
    strategy_id: Name | None = None
    probabilities: ProbabilitiesParams | None = None
    confidence: Fraction | None = None


class NameParams(CommandParams):
    """An order by either of its ids."""

    order_id: Name | None = None
    client_order_id: ClientOrderId | None = None


class AmendParams(NameParams):
    """Absolute targets; what is left out stays."""

    amount: Positive | None = None
    price: Positive | None = None
    stop_price: Positive | None = None
    stop_loss: Attached | None = None
    take_profit: Attached | None = None


class CancelAllParams(CommandParams):
    """Which orders to cancel; all without arguments."""

    symbol: Symbol | None = None
    bot_id: Name | None = None
    side: Word[Side] | None = None
    venue: Name | None = None


class PlaceItem(PlaceParams):
    """A placement in a batch."""

    do: Literal["place"]


class AmendItem(AmendParams):
    """An amend in a batch."""

    do: Literal["amend"]


class CancelItem(NameParams):
    """A cancel in a batch."""

    do: Literal["cancel"]


Item = Annotated[PlaceItem | AmendItem | CancelItem, Field(discriminator="do")]


class BatchParams(CommandParams):
    """Up to twenty items, done in order, none depending on another."""

    items: Annotated[list[Item], Field(min_length=1, max_length=BATCH)]


class GetParams(Params):
    """An order by either of its ids; its fills, oldest first, come in pages where they are many."""

    order_id: Name | None = None
    client_order_id: ClientOrderId | None = None
    limit: Annotated[int, Field(ge=1, le=MOST_FILLS)] = MOST_FILLS
    cursor: Annotated[str, Field(max_length=32)] | None = None


class ListParams(Params):
    """Which orders to list."""

    status: Literal[
        "open", "pending", "unknown", "filled", "canceled", "rejected", "expired", "all"
    ] = "open"
    symbol: Symbol | None = None
    bot_id: Name | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class HistoryParams(Params):
    """Which ended orders to list."""

    symbol: Symbol | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class ResolveParams(ChangeParams):
    """What an unknown order came to, by an operator's word."""

    order_id: Name
    status: Literal["open", "filled", "canceled", "rejected", "expired"]
    filled: Money | None = None
    reason: Text


class AdoptParams(ChangeParams):
    """Who owns an external order from now on."""

    order_id: Name
    bot_id: Name | None = None


class PreviewParams(PlaceParams):
    """As `order.place`; nothing is sent."""
