"""Ops of orders: place, amend, cancel, look up."""

from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Annotated, Final, Literal, TypeVar

import orjson
from pydantic import Field

from realtime.commands import naming
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
    invalid,
)
from realtime.commands.registry import (
    Answer,
    Call,
    Failed,
    Op,
    check_mode,
    check_time,
    error_of,
)
from realtime.desk.answers import Outcome
from realtime.desk.desk import Desk
from realtime.desk.trading import Canceled, Placing, Trading
from realtime.engine import rows
from realtime.engine.combine import check_probabilities
from realtime.engine.decide import Forgotten
from realtime.engine.market import plain
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import (
    Adopt,
    Amend,
    AmendDone,
    AmendFailed,
    CancelFailed,
    Place,
    Rejected,
    Resolve,
    Unknown,
    Withheld,
)
from realtime.model.market import MS, Market
from realtime.model.orders import (
    Asked,
    Order,
    OrderType,
    Role,
    Side,
    Status,
    TimeInForce,
    Trigger,
    TriggerBy,
    venue_client_id,
)
from realtime.model.risk import Backing
from realtime.model.signals import Probabilities


Tif = Literal["GTC", "IOC", "FOK", "PO", "GTD"]
Fields = dict[str, object]
Given = Answer | Awaitable[Answer]

PAGES: Final = 10
SCANNED: Final = 500
"""Orders looked at per page of the journal, when those of one end are wanted; so many pages per answer."""
SUMMARY: Final = ("id", "client_order_id", "status", "filled", "average", "mode")
"""Fields of an order's row that answer a placement."""
BATCH: Final = 20
"""Items of a batch at most."""
# What a resend may differ in (I1).
NOT_CONTENT: Final = frozenset(
    {"mode", "expires_at", "confirm", "dry_run", "client_order_id", "do", "symbol"}
)


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


P = TypeVar("P", PlaceParams, AmendParams, NameParams)
Item = Annotated[PlaceItem | AmendItem | CancelItem, Field(discriminator="do")]
ITEM_OPS: Final[Mapping[type, str]] = {
    PlaceItem: "order.place",
    AmendItem: "order.amend",
    CancelItem: "order.cancel",
}


class BatchParams(CommandParams):
    """Up to twenty items, done in order, none depending on another."""

    items: Annotated[list[Item], Field(min_length=1, max_length=BATCH)]


class GetParams(Params):
    """An order by either of its ids."""

    order_id: Name | None = None
    client_order_id: ClientOrderId | None = None


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


# --- reading arguments ----------------------------------------------------------------------------


def placing_of(call: Call[PlaceParams], trading: Trading, markets: Mapping[str, Market]) -> Placing:
    """Make the draft of a placement; the engine judges the rest.

    Raises:
        Refused: `invalid` for what cannot be an order, `not_found` for the symbol.
    """
    params = call.params
    market = naming.market_of(markets, params.symbol)
    check_shape(params, market)
    who = naming.who_of(call, bot_id=params.bot_id, strategy_id=params.strategy_id)
    order = trading.draft(
        who=who, client_order_id=params.client_order_id, fields=fields_of(params, market)
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
    trailing = [params.trailing_amount, rate_of(params)]
    if kind is OrderType.TRAILING_STOP and trailing.count(None) != 1:
        raise invalid("trailing_amount", "or trailing_rate is required, and only one of them")
    if trailing.count(None) == 0:
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
    """Name the fields of the order that the client decides."""
    default_trigger = TriggerBy.MARK if market.contract else TriggerBy.LAST
    post_only = params.post_only or params.time_in_force == "PO"
    tif = TimeInForce.GTC if params.time_in_force == "PO" else TimeInForce(params.time_in_force)
    return {
        "symbol": market.symbol,
        "type": params.type,
        "side": params.side,
        "amount": params.amount or Decimal(0),
        "cost_limit": params.cost,
        "price": params.price,
        "stop_price": params.stop_price,
        "trailing_amount": params.trailing_amount,
        "trailing_rate": rate_of(params),
        "trigger_by": params.trigger_by or default_trigger,
        "time_in_force": tif,
        "good_till_ts": naming.ns(params.good_till_ts),
        "post_only": post_only,
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


# --- answers --------------------------------------------------------------------------------------


class Orders:
    """The handlers."""

    def __init__(self, desk: Desk, trading: Trading) -> None:
        self._desk = desk
        self._trading = trading

    # -- place ---------------------------------------------------------------------------------

    def place(self, call: Call[PlaceParams]) -> Given:
        """Place an order; answered when the venue has answered."""
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        if call.params.dry_run:
            shown = self.judged(placing)
            would = bool(shown["valid"]) and "duplicate" not in shown
            effect = effect_of(placing.order, shown) | {"orders": int(would)}
            return Answer(result=shown | {"dry_run": True, "effect": effect})
        return self.send(placing)

    def send(self, placing: Placing) -> Given:
        """Place a draft and make its answer."""
        before = self._desk.outlet.positions()
        try:
            return self._trading.place(placing, partial(self._placed, before), self._placed_before)
        except Forgotten:
            return self.placed_long_ago(placing.order.client_order_id)

    async def placed_long_ago(self, client_order_id: str) -> Answer:
        """Answer a repeated placement whose order only the journal knows any more.

        Raises:
            Failure: As the order had failed; `busy`, when the journal cannot tell.
        """
        found = await self._desk.store.order(client_order_id=client_order_id)
        if found is None:
            raise Refused(
                Code.BUSY,
                f"{client_order_id} was placed long ago, and the journal cannot tell what it came to",
                {"client_order_id": client_order_id},
                retry_after=1.0,
            )
        answer = self._as_told(orjson.loads(found.body))
        return replace(answer, result={**answer.result, "duplicate": True})

    def _placed(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order, at = outcome.order, naming.changed(before, outcome.at)
        match outcome.fact:
            case Unknown(command=command) if order.status is Status.UNKNOWN:
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue}; the order may be live. "
                    "Do not resend under a new id.",
                    {"command": command, "client_order_id": order.client_order_id},
                    at=at,
                )
            case Rejected(code=code, reason=reason):
                raise Failed(code, reason, details_of(self._row(order), code, reason), at=at)
            case Withheld(code=Code() as code, reason=reason) if (
                order.status is not Status.CANCELED
            ):
                raise Failed(code, reason, details_of(self._row(order), code, reason), at=at)
            case Unknown():
                # Evidence came before the time-out: what it shows is the answer.
                return replace(self._as_it_is(order), at=at)
            case _:
                return Answer(result=self._summary(order), at=at)

    def _placed_before(self, order: Order) -> Answer:
        """Answer a repeated placement by what the order has come to."""
        if order.status is Status.UNKNOWN:
            owed = self._desk.engine.orders.owed.get(order.id, [])
            details: Fields = {"client_order_id": order.client_order_id}
            if owed:
                details["command"] = owed[-1][0]
            raise Failed(Code.OUTCOME_UNKNOWN, "still unknown; being looked up", details)
        answer = self._as_it_is(order)
        return replace(answer, result={**answer.result, "duplicate": True})

    def _as_it_is(self, order: Order) -> Answer:
        return self._as_told(self._row(order))

    def _as_told(self, row: Fields) -> Answer:
        """Answer a placement by the row of its order."""
        failed = row["status"] in {Status.REJECTED, Status.EXPIRED}
        if failed and row["code"] is not None and not Decimal(str(row["filled"])):
            code = Code(str(row["code"]))
            reason = str(row["reason"] or code)
            details = details_of(row, code, reason)
            if code is Code.ABSENT:
                # A word of order rows, not of the wire: the venue never took it, and that is proven.
                raise Failed(Code.VENUE_REJECTED, reason, {**details, "reason": code.value})
            raise Failed(code, reason, details)
        return Answer(result={name: row[name] for name in SUMMARY})

    def _summary(self, order: Order) -> Fields:
        market = self._desk.engine.markets[order.symbol]
        return dict(rows.summary(order, market, self._desk.engine.mode))

    def _row(self, order: Order) -> Fields:
        return dict(self._desk.outlet.order_row(order))

    # -- preview -------------------------------------------------------------------------------

    def preview(self, call: Call[PlaceParams]) -> Answer:
        """Judge a placement by the gate's own code, without placing it."""
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        return Answer(result=self.judged(placing))

    def judged(self, placing: Placing) -> Fields:
        """Show what the gate says about a draft."""
        engine = self._desk.engine
        place = Place(
            order=placing.order,
            who=placing.who,
            ts=self._desk.now(),
            content=placing.content,
            allow_duplicate=placing.allow_duplicate,
            closing=placing.closing,
            backing=placing.backing,
        )
        market = engine.markets[placing.order.symbol]
        shown = dict(rows.preview_row(engine.preview(place), market))
        shown["basis"] = self._desk.outlet.positions()
        try:
            duplicate = engine.repeated(place) is not None
        except Forgotten:
            duplicate = True
        except Refused as refused:
            rules = shown["failed"]
            assert isinstance(rules, list)
            told = {"valid": False, "code": refused.code, "message": refused.message}
            return shown | told | {"failed": [refused.code, *rules]}
        if duplicate:
            fine: Fields = {"valid": True, "code": None, "message": None, "failed": []}
            return shown | fine | {"duplicate": True}
        try:
            self._trading.guard(placing.order, placing.who)
        except Refused as refused:
            rule = (refused.details or {}).get("rule", refused.code)
            rules = shown["failed"]
            assert isinstance(rules, list)
            told = {"valid": False, "code": refused.code, "message": refused.message}
            return shown | told | {"failed": [rule, *rules]}
        return shown

    def placed_already(self, call: Call[PlaceParams]) -> bool:
        """Tell whether this id was used: whatever comes of this call, nothing is placed."""
        return self.used(call.params.client_order_id)

    def used(self, client_order_id: str | None) -> bool:
        """Tell whether an order has this id, here or at the venue (I3)."""
        if client_order_id is None:
            return False
        orders = self._desk.engine.orders
        at_venue = venue_client_id(self._trading.venue, client_order_id)
        known = orders.by_client_id(client_order_id) or orders.by_venue_client_id(at_venue)
        return known is not None or self.forgot(client_order_id)

    def forgot(self, client_order_id: str, content: Mapping[str, str] | None = None) -> bool:
        """Tell whether an order had this id that only the journal knows any more.

        Raises:
            Refused: `conflict`: it was placed with other content than `content`.
        """
        return self._desk.engine.forgot(client_order_id, content)

    def _find(self, params: naming.NamesOrder) -> Order | None:
        """Find an order by either of its ids; None where only the journal may know it.

        Raises:
            Refused: `invalid` without exactly one name, `not_found`.
        """
        try:
            return naming.order_of(self._desk, params)
        except Refused as refused:
            name = params.client_order_id
            if refused.code is Code.NOT_FOUND and (name is None or self.forgot(name)):
                return None
            raise

    async def _gone(self, params: naming.NamesOrder) -> Fields:
        """Read the row of an order that memory has let go.

        Raises:
            Refused: `not_found`.
        """
        found = await self._desk.store.order(
            key=params.order_id, client_order_id=params.client_order_id
        )
        if found is None:
            raise naming.no_order(params)
        row: Fields = orjson.loads(found.body)
        return row

    def effect(self, call: Call[PlaceParams]) -> Fields | None:
        """What a placement would change, for policies with a threshold; None for a resend."""
        if self.placed_already(call):
            return None
        placing = placing_of(call, self._trading, self._desk.engine.markets)
        return effect_of(placing.order, self.judged(placing))

    # -- amend -----------------------------------------------------------------------------------

    def amend(self, call: Call[AmendParams]) -> Given:
        """Change an order to absolute targets."""
        params = call.params
        order = self._find(params)
        if order is None:
            return self._amended_long_ago(params)
        wish = Amend(
            order_id=order.id,
            amount=params.amount,
            price=params.price,
            stop_price=params.stop_price,
            stop_loss=trigger_of(params.stop_loss),
            take_profit=trigger_of(params.take_profit),
            expires_at=naming.ns(params.expires_at),
            who=naming.who_of(call),
            ts=self._desk.now(),
        )
        if params.dry_run:
            changes = self._trading.judge_amend(wish)
            effect = {"orders": int(changes), "symbols": [order.symbol]}
            told = {"changed": changes, "method": "native", "dry_run": True, "effect": effect}
            return Answer(result=self._row(order) | told)
        before = self._desk.outlet.positions()

        def same() -> Answer:
            row = self._row(self._known(order.id))
            return Answer(result=row | {"changed": False, "method": "native"})

        return self._trading.amend(wish, partial(self._amended, before), same)

    def amended_already(self, call: Call[AmendParams]) -> bool:
        """Tell whether an order has all these targets, or is about to get them.

        One that only the journal may know has ended, so that this call changes nothing.
        """
        order = self._find(call.params)
        return order is None or not self._targets(call.params, order)

    def _targets(self, params: AmendParams, order: Order) -> set[str]:
        """Name the targets that differ from the order and from an amend of it under way."""
        under_way = {
            "amount": order.amend_amount,
            "price": order.amend_price,
            "stop_price": order.amend_stop_price,
        }
        return {
            name
            for name, target in targets_of(params).items()
            if target not in {getattr(order, name), under_way.get(name)}
        }

    async def _amended_long_ago(self, params: AmendParams) -> Answer:
        """Answer for an order that only the journal may know: it has what it has."""
        row = await self._gone(params)
        if any(target != target_in(row, name) for name, target in targets_of(params).items()):
            raise Refused(
                Code.CONFLICT,
                f"order {row['client_order_id']} is {row['status']}; "
                "only an open order can be amended",
                {"status": row["status"]},
            )
        told: Fields = {"changed": False, "method": "native"}
        if params.dry_run:
            told |= {"dry_run": True, "effect": {"orders": 0, "symbols": [row["symbol"]]}}
        return Answer(result=row | told)

    def amend_effect(self, call: Call[AmendParams]) -> Fields | None:
        """What an amend would place, judged as the replacement it is (R5).

        None where nothing is placed: for a resend, for attached stops alone, and for less of the same,
        which is as good as a cancel.
        """
        params = call.params
        order = self._find(params)
        if order is None:
            return None  # it has ended long ago, or never was
        replaced = self._targets(params, order) & {"amount", "price", "stop_price"}
        amount = params.amount or order.amount
        if not replaced or (replaced == {"amount"} and amount < order.amount):
            return None
        market = self._desk.engine.markets[order.symbol]
        price = params.price or order.price or params.stop_price or order.stop_price
        if price is None:
            mark = self._desk.engine.mark(order.symbol)
            price = None if mark is None else mark[0]
        notional = None if price is None else plain(amount * market.contract_size * price)
        return {"symbol": order.symbol, "orders": 1, "notional": notional}

    def _amended(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order, at = outcome.order, naming.changed(before, outcome.at)
        match outcome.fact:
            case AmendFailed(unknown=True, command=command) if (
                order.status.ended or order.amend_state is not Asked.NONE
            ):
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue} to the amend; both versions count",
                    {"command": command, "client_order_id": order.client_order_id},
                    at=at,
                )
            case AmendFailed(unknown=False, code=code, reason=reason):
                code = code or Code.VENUE_REJECTED
                raise Failed(code, reason, details_of(self._row(order), code, reason), at=at)
            case AmendDone(method=method):
                return Answer(result=self._row(order) | {"changed": True, "method": method}, at=at)
            case _:
                return Answer(
                    result=self._row(order) | {"changed": True, "method": "native"}, at=at
                )

    # -- cancel ----------------------------------------------------------------------------------

    def cancel(self, call: Call[NameParams]) -> Given:
        """Cancel an order; one that has ended answers with its final state."""
        order = self._find(call.params)
        if order is None:
            return self._canceled_long_ago(call.params)
        if call.params.dry_run:
            effect = {"orders": 0 if order.status.ended else 1}
            return Answer(result=self._row(order) | {"dry_run": True, "effect": effect})
        before = self._desk.outlet.positions()
        waiting = self._trading.cancel(order, naming.who_of(call), partial(self._canceled, before))
        if waiting is None:
            return Answer(result=self._row(order) | {"changed": False})
        return waiting

    def canceled_already(self, call: Call[NameParams]) -> bool:
        """Tell whether an order has ended, or is being canceled."""
        order = self._find(call.params)
        return order is None or order.status.ended or order.cancel_state is not Asked.NONE

    async def _canceled_long_ago(self, params: NameParams) -> Answer:
        """Answer for an order that only the journal may know: with its final state."""
        row = await self._gone(params)
        told: Fields = {"changed": False}
        if params.dry_run:
            told = {"dry_run": True, "effect": {"orders": 0}}
        return Answer(result=row | told)

    def _canceled(self, before: Mapping[str, object], outcome: Outcome) -> Answer:
        order, at = outcome.order, naming.changed(before, outcome.at)
        details: Fields = {"client_order_id": order.client_order_id}
        match outcome.fact:
            case CancelFailed(unknown=True, command=command) if not order.status.ended:
                raise Failed(
                    Code.OUTCOME_UNKNOWN,
                    f"no answer from {order.venue} to the cancel; being looked up",
                    details | {"command": command},
                    at=at,
                )
            case CancelFailed(reason=reason) if not order.status.ended:
                raise Failed(Code.VENUE_REJECTED, reason, details | {"venue": reason}, at=at)
            case _:
                changed = order.status is Status.CANCELED
                result = self._row(order) | {"changed": changed}
                if not outcome.journaled:
                    result["journaled"] = False
                return Answer(result=result, at=at)

    def cancel_all(self, call: Call[CancelAllParams]) -> Given:
        """Cancel all orders that match."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        if params.venue is not None and params.venue != self._trading.venue:
            raise Refused(Code.NOT_FOUND, f"no venue {params.venue}", {"what": "venue"})
        doomed = self._trading.working(symbol=symbol, bot_id=params.bot_id, side=params.side)
        if params.dry_run:
            names = [order.client_order_id for order in doomed]
            return Answer(
                result={"dry_run": True, "effect": {"orders": len(names), "canceled": names}}
            )
        before = self._desk.outlet.positions()
        return self._all_canceled(self._trading.cancel_many(doomed, naming.who_of(call)), before)

    async def _all_canceled(
        self, waiting: Awaitable[Canceled], before: Mapping[str, object]
    ) -> Answer:
        done = await waiting
        at = naming.changed(before, self._desk.outlet.positions())
        return Answer(result=canceled_row(done), at=at)

    # -- batch -----------------------------------------------------------------------------------

    def batch(self, call: Call[BatchParams]) -> Given:
        """Do up to twenty items in order; each gets its own answer."""
        before = self._desk.outlet.positions()
        answers: list[tuple[Item, Given | Failure]] = []
        for item in call.params.items:
            try:
                given = self._item(call, item)
            except Failure as failure:
                answers.append((item, failure))
            else:
                answers.append((item, given))
        return self._batched(call, answers, before)

    def _item(self, call: Call[BatchParams], item: Item) -> Given:
        item = self._as_said(call.params, item)
        check_mode(item, self._desk.engine.mode)
        check_time(item, self._desk.now() // MS, lambda: self._done(call, item))
        match item:
            case PlaceItem():
                return self.place(_with(call, item))
            case AmendItem():
                return self.amend(_with(call, item))
            case CancelItem():
                return self.cancel(_with(call, item))

    def _as_said(self, params: BatchParams, item: Item) -> Item:
        """Let an item inherit what is said of the whole batch."""
        times = [t for t in (params.expires_at, item.expires_at) if t is not None]
        said = {"dry_run": params.dry_run or item.dry_run, "expires_at": min(times, default=None)}
        return item.model_copy(update=said)

    def _done(self, call: Call[BatchParams], item: Item) -> bool:
        match item:
            case PlaceItem():
                return self.placed_already(_with(call, item))
            case AmendItem():
                return self.amended_already(_with(call, item))
            case CancelItem():
                return self.canceled_already(_with(call, item))

    def batch_begun(self, call: Call[BatchParams]) -> bool:
        """Tell whether items were carried out already; the others are judged by themselves."""
        for item in call.params.items:
            try:
                if self._done(call, item):
                    return True
            except Refused:  # names no order: its own answer will say so
                continue
        return False

    def batch_effect(self, call: Call[BatchParams]) -> Fields | None:
        """What the items of a batch would place, together; None when they place nothing."""
        effects: list[Fields] = []
        fresh: set[str | None] = set()
        for item in call.params.items:
            try:
                effect = self._item_effect(call, item)
            except Refused:
                # It will be refused alike; but not the amend of an order that this batch places first.
                known = isinstance(item, AmendItem) and item.client_order_id in fresh
                effect = {"symbol": "", "notional": None} if known else None
            if effect is not None:
                effects.append(effect)
                fresh.add(item.client_order_id)
        if not effects:
            return None
        notionals = [effect["notional"] for effect in effects]
        known_all = all(notional is not None for notional in notionals)
        return {
            "symbols": sorted({str(effect["symbol"]) for effect in effects} - {""}),
            "orders": len(effects),
            "notional": plain(sum((Decimal(str(n)) for n in notionals), Decimal(0)))
            if known_all
            else None,
        }

    def _item_effect(self, call: Call[BatchParams], item: Item) -> Fields | None:
        match item:
            case PlaceItem():
                return self.effect(_with(call, item))
            case AmendItem():
                return self.amend_effect(_with(call, item))
            case CancelItem():
                return None

    async def _batched(
        self,
        call: Call[BatchParams],
        answers: "list[tuple[Item, Given | Failure]]",
        before: Mapping[str, object],
    ) -> Answer:
        items: list[Fields] = []
        try:
            for at, (item, given) in enumerate(answers):
                try:
                    answer = await answer_of(given)
                except Failure as failure:
                    failed: Fields = {"ok": False}
                    if item.client_order_id is not None:
                        failed["client_order_id"] = item.client_order_id
                    items.append(failed | {"error": error_of(failure)})
                    self._note_refused(call, at, failure)
                else:
                    items.append({"ok": True, **answer.result})
        finally:
            for _, given in answers:
                if isinstance(given, Coroutine):
                    given.close()  # a question that nobody waits for any more
        changed = naming.changed(before, self._desk.outlet.positions())
        return Answer(result={"items": items}, at=changed or None)

    def _note_refused(self, call: Call[BatchParams], at: int, failure: Failure) -> None:
        """Write down a refused item as if it had come alone; the whole batch is answered, so nobody else does."""
        item, said = call.params.items[at], call.raw["items"]
        if isinstance(failure, Refused) and not (call.params.dry_run or item.dry_run):
            assert isinstance(said, list)  # it was read
            self._desk.refused(ITEM_OPS[type(item)], naming.who_of(call), failure, said[at])

    # -- look up ---------------------------------------------------------------------------------

    def get(self, call: Call[GetParams]) -> Given:
        """Give one order with its fills."""
        naming.check_named(call.params)
        try:
            order = naming.order_of(self._desk, call.params)
        except Refused:
            return self._stored(call.params)
        market = self._desk.engine.markets[order.symbol]
        mode = self._desk.engine.mode
        fills = [rows.fill_row(fill, market, mode) for fill in self._desk.engine.fills_of(order.id)]
        return Answer(result=self._row(order) | {"fills": fills})

    async def _stored(self, params: GetParams) -> Answer:
        (row,) = await self._with_fills([await self._gone(params)])
        return Answer(result=row)

    def page(self, call: Call[ListParams]) -> Given:
        """List orders: working (and just ended) ones oldest first, or those of one end newest first."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        if params.status not in {"open", "pending", "unknown", "all"}:
            return self._ended(params.status, symbol, params)
        wanted = [
            order
            for order in self._trading.working(symbol=symbol, bot_id=params.bot_id)
            if params.status in {"open", "all"} or order.status.value == params.status
        ]
        if params.status == "all":
            wanted += self._recently_ended(symbol, params.bot_id)
        wanted.sort(key=_rank)
        if params.cursor is not None:
            last = _rank_in(params.cursor)
            wanted = [order for order in wanted if _rank(order) > last]
        page = wanted[: params.limit]
        cursor = "{}.{}".format(*_rank(page[-1])) if len(wanted) > len(page) else None
        return Answer(
            result={"orders": [self._row(order) for order in page], "next_cursor": cursor}
        )

    def _recently_ended(self, symbol: str | None, bot_id: str | None) -> list[Order]:
        return [
            order
            for order in self._desk.engine.orders.recent(self._desk.now())
            if order.status.ended
            and (symbol is None or order.symbol == symbol)
            and (bot_id is None or order.bot_id == bot_id)
        ]

    async def _ended(self, status: str, symbol: str | None, params: ListParams) -> Answer:
        """Give a page of orders with one end; of a rare one the page may be short and still go on."""
        kept: list[Fields] = []
        cursor = params.cursor
        for _ in range(PAGES):
            page = await self._desk.store.orders(symbol=symbol, limit=SCANNED, cursor=cursor)
            for entry in page.rows:
                row = orjson.loads(entry.body)
                if row["status"] == status and params.bot_id in {None, row["bot_id"]}:
                    kept.append(row)
                if len(kept) == params.limit:
                    last = entry is page.rows[-1] and page.next_cursor is None
                    at = None if last else f"{entry.ts}.{entry.key}"
                    return Answer(result={"orders": kept, "next_cursor": at})
            cursor = page.next_cursor
            if cursor is None:
                break
        return Answer(result={"orders": kept, "next_cursor": cursor})

    async def history(self, call: Call[HistoryParams]) -> Answer:
        """List ended orders with their fills, newest first."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        page = await self._desk.store.orders(
            symbol=symbol,
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=params.limit,
            cursor=params.cursor,
        )
        orders = await self._with_fills([orjson.loads(entry.body) for entry in page.rows])
        return Answer(result={"orders": orders, "next_cursor": page.next_cursor})

    async def _with_fills(self, found: Sequence[Fields]) -> list[Fields]:
        """Add the fills of orders, oldest first: of those in memory from there, of all others in one question."""
        engine = self._desk.engine
        gone = [str(row["id"]) for row in found if engine.orders.get(str(row["id"])) is None]
        fills: dict[str, list[Fields]] = {}
        for entry in await self._desk.store.fills_of(gone) if gone else ():
            fill: Fields = orjson.loads(entry.body)
            # The real one has taken its place: an order that lacks it is not forgotten.
            if not fill["inferred"]:
                fills.setdefault(str(fill["order_id"]), []).append(fill)
        for row in found:
            order_id = str(row["id"])
            for booked in engine.fills_of(order_id):
                shown = rows.fill_row(booked, engine.markets[booked.symbol], engine.mode)
                fills.setdefault(order_id, []).append(dict(shown))
        return [row | {"fills": fills.get(str(row["id"]), [])} for row in found]

    # -- an operator's decisions -----------------------------------------------------------------

    async def resolve(self, call: Call[ResolveParams]) -> Answer:
        """Decide an order whose outcome nobody knows; later evidence overrules it."""
        params = call.params
        return await self._decide(
            Resolve(
                order_id=await self._decidable(params.order_id),
                status=Status(params.status),
                filled=params.filled,
                reason=params.reason,
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )

    async def adopt(self, call: Call[AdoptParams]) -> Answer:
        """Give an external order an owner."""
        params = call.params
        return await self._decide(
            Adopt(
                order_id=await self._decidable(params.order_id),
                bot_id=params.bot_id,
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )

    def resolve_effect(self, call: Call[ResolveParams]) -> Fields | None:
        """What a resolution would change."""
        order = self._desk.engine.orders.get(call.params.order_id)
        if order is None or order.status is not Status.UNKNOWN:
            return None
        return {"orders": 1, "symbols": [order.symbol], "status": call.params.status}

    def _known(self, order_id: str) -> Order:
        order = self._desk.engine.orders.get(order_id)
        if order is None:
            raise Refused(Code.NOT_FOUND, f"no order {order_id}", {"what": "order"})
        return order

    async def _decidable(self, order_id: str) -> str:
        """Demand that an operator can still say something about an order.

        Raises:
            Refused: `not_found`; `conflict`, when it ended long ago.
        """
        if self._desk.engine.orders.get(order_id) is None:
            row = await self._gone(GetParams(order_id=order_id))
            raise Refused(
                Code.CONFLICT,
                f"order {row['client_order_id']} is {row['status']} and ended long ago",
                {"status": row["status"]},
            )
        return order_id

    async def _decide(self, wish: Resolve | Adopt) -> Answer:
        before = self._desk.outlet.positions()
        effects = self._desk.post(wish)
        await self._desk.settled()
        at = naming.changed(before, self._desk.outlet.positions())
        result = self._row(self._known(wish.order_id)) | {"changed": bool(effects)}
        return Answer(result=result, at=at or None)


def _rank(order: Order) -> tuple[int, str]:
    """Place of an order in a list: it never moves, so what comes or goes between pages shifts nothing."""
    return order.created_ts, order.id


def _rank_in(cursor: str) -> tuple[int, str]:
    """Read the place of the last order of the page before.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    created, dot, order_id = cursor.partition(".")
    if not dot or not order_id or not (created.isascii() and created.isdecimal()):
        raise invalid("cursor", "came from no page; use next_cursor as it came")
    return int(created), order_id


async def answer_of(given: Given | Failure) -> Answer:
    """Wait for an answer, where it is not there yet.

    Raises:
        Failure: There is none.
    """
    if isinstance(given, Failure):
        raise given
    return given if isinstance(given, Answer) else await given


def details_of(row: Mapping[str, object], code: Code, reason: str) -> Fields:
    """Name the order in a refusal of it."""
    details: Fields = {"client_order_id": row["client_order_id"], "order_id": row["id"]}
    if code is Code.VENUE_REJECTED:
        details["venue"] = reason
    return details


def targets_of(params: AmendParams) -> Fields:
    """Name what an amend asks for."""
    wanted: Fields = {
        "amount": params.amount,
        "price": params.price,
        "stop_price": params.stop_price,
        "stop_loss": trigger_of(params.stop_loss),
        "take_profit": trigger_of(params.take_profit),
    }
    return {name: target for name, target in wanted.items() if target is not None}


def target_in(row: Mapping[str, object], name: str) -> object:
    """Read from a row what an amend of `name` would have to ask for to change nothing."""
    match row[name]:
        case {"price": price, "limit": limit}:
            return Trigger(price=Decimal(str(price)), limit=Decimal(str(limit)))
        case str() as text if name in {"stop_loss", "take_profit"}:
            return Trigger(price=Decimal(text))
        case str() as text:
            return Decimal(text)
        case _:
            return None


def effect_of(order: Order, shown: Fields) -> Fields:
    """Say what a placement would change, from its preview."""
    notional = shown.get("cost") or shown.get("notional_after")
    return {"symbol": order.symbol, "orders": 1, "notional": notional}


def _with(call: Call[BatchParams], params: P) -> Call[P]:
    """Make the call of one item."""
    return Call(
        params=params,
        principal=call.principal,
        client=call.client,
        source=call.source,
        session=call.session,
        received=call.received,
        peer=call.peer,
    )


def count_items(raw: Mapping[str, object]) -> int:
    """Count the items of a batch as sent; more than it may have are refused and cost no more."""
    items = raw.get("items")
    return min(len(items), BATCH) if isinstance(items, list) else 1


def canceled_row(done: Canceled) -> Fields:
    """Make the answer of many cancels."""
    row: Fields = {"canceled": done.canceled, "failed": done.failed}
    if done.unknown:
        row["unknown"] = done.unknown
    return row


# --- the table ------------------------------------------------------------------------------------

ORDER_ERRORS: Final = (
    Code.INVALID,
    Code.CONFLICT,
    Code.HALTED,
    Code.RISK_REJECTED,
    Code.INSUFFICIENT_FUNDS,
    Code.VENUE_REJECTED,
    Code.NOT_SUPPORTED,
    Code.VENUE_UNAVAILABLE,
    Code.OUTCOME_UNKNOWN,
)
BUY: Final = {
    "symbol": "BTC/USDT",
    "side": "buy",
    "type": "limit",
    "amount": "0.001",
    "price": "50000",
    "client_order_id": "my-1",
}


def ops(desk: Desk, trading: Trading) -> list[Op]:
    """Make the rows of the table."""
    orders = Orders(desk, trading)
    return [
        Op(
            name="order.place",
            params=PlaceParams,
            scope="trade",
            lane="orders",
            idempotency="client_order_id",
            handler=orders.place,
            http=("POST /api/orders",),
            summary="Place an order; answered when the venue has answered, or after 10 s",
            errors=(*ORDER_ERRORS, Code.NOT_FOUND),
            example=BUY,
            command=True,
            effect=orders.effect,
            repeated=orders.placed_already,
        ),
        Op(
            name="order.preview",
            params=PreviewParams,
            scope="read",
            lane="query",
            handler=orders.preview,
            aliases=("order.validate",),
            summary="Judge an order by the gate's own rules without placing it",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={k: v for k, v in BUY.items() if k != "client_order_id"},
        ),
        Op(
            name="order.amend",
            params=AmendParams,
            scope="trade",
            lane="orders",
            handler=orders.amend,
            summary="Change amount, price, trigger or attached stops to absolute targets",
            errors=(*ORDER_ERRORS, Code.NOT_FOUND),
            example={"client_order_id": "my-1", "price": "50100"},
            command=True,
            effect=orders.amend_effect,
            judged_as="order.place",
            repeated=orders.amended_already,
        ),
        Op(
            name="order.batch",
            params=BatchParams,
            scope="trade",
            lane="orders",
            idempotency="client_order_id",
            handler=orders.batch,
            summary="Place, amend and cancel up to twenty orders, each answered by itself",
            errors=ORDER_ERRORS,
            example={
                "items": [{"do": "cancel", "client_order_id": "my-1"}, {"do": "place", **BUY}]
            },
            command=True,
            cost=count_items,
            effect=orders.batch_effect,
            judged_as="order.place",
            repeated=orders.batch_begun,
        ),
        Op(
            name="order.cancel",
            params=NameParams,
            scope="trade",
            lane="safety",
            handler=orders.cancel,
            http=("DELETE /api/orders/{order_id}",),
            summary="Cancel an order; one that has ended answers with its final state",
            errors=(Code.NOT_FOUND, Code.OUTCOME_UNKNOWN),
            example={"client_order_id": "my-1"},
            command=True,
            repeated=orders.canceled_already,
        ),
        Op(
            name="order.cancel_all",
            params=CancelAllParams,
            scope="trade",
            lane="safety",
            handler=orders.cancel_all,
            summary="Cancel all orders, or those of a symbol, bot or side",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT"},
            command=True,
        ),
        Op(
            name="order.history",
            params=HistoryParams,
            scope="read",
            lane="query",
            handler=orders.history,
            http=("GET /api/orders/history",),
            summary="Ended orders with their fills, newest first",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT", "limit": 20},
        ),
        Op(
            name="order.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=orders.page,
            http=("GET /api/orders",),
            summary="Orders by status; open includes pending and unknown",
            errors=(Code.NOT_FOUND,),
            example={"status": "open"},
        ),
        Op(
            name="order.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=orders.get,
            http=("GET /api/orders/{order_id}",),
            summary="One order with its fills",
            errors=(Code.NOT_FOUND,),
            example={"client_order_id": "my-1"},
        ),
        Op(
            name="order.resolve",
            params=ResolveParams,
            scope="admin",
            lane="query",
            handler=orders.resolve,
            summary="Decide an order whose outcome nobody knows",
            errors=(Code.NOT_FOUND, Code.CONFLICT),
            example={"order_id": "o-1", "status": "canceled", "reason": "seen at the venue"},
            command=True,
            effect=orders.resolve_effect,
        ),
        Op(
            name="order.adopt",
            params=AdoptParams,
            scope="admin",
            lane="query",
            handler=orders.adopt,
            summary="Give an order placed elsewhere an owner",
            errors=(Code.NOT_FOUND, Code.CONFLICT),
            example={"order_id": "x-1"},
            command=True,
        ),
    ]
