"""Ops of positions."""

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Final, Literal

from pydantic import Field

from realtime.commands import naming
from realtime.commands.order import ORDER_ERRORS, Fields, Orders, answer_of
from realtime.commands.params import (
    ChangeParams,
    ClientOrderId,
    CommandParams,
    Name,
    Params,
    Positive,
    RequestId,
    Symbol,
    invalid,
)
from realtime.commands.registry import Answer, Call, Op, error_of
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.engine.market import amount_down, down, plain, text
from realtime.model.account import Position
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import Place, SetCostBasis
from realtime.model.market import MS
from realtime.model.orders import Order, OrderType


Given = Answer | Awaitable[Answer]


class ListParams(Params):
    """Which positions."""

    symbols: Annotated[list[Symbol], Field(max_length=256)] | None = None
    position_type: Literal["spot", "margin", "swap"] | None = None


class GetParams(Params):
    """One position."""

    position_id: Name


class CloseParams(CommandParams):
    """How much of a position to close, and how."""

    position_id: Name
    amount: Positive | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    type: Literal["market", "limit"] = "market"
    price: Positive | None = None
    client_order_id: ClientOrderId | None = None


class CloseAllParams(CommandParams):
    """Which positions to close; all without arguments."""

    symbol: Symbol | None = None
    bot_id: Name | None = None
    request_id: RequestId | None = None


class ValueParams(Params):
    """What an amount is worth now."""

    symbol: Symbol
    amount: Positive


class CostBasisParams(ChangeParams):
    """What a holding older than the journal had cost [quote per base]."""

    position_id: Name
    entry_price: Positive


class Positions:
    """The handlers."""

    def __init__(self, desk: Desk, trading: Trading) -> None:
        self._desk = desk
        self._trading = trading
        self._orders = Orders(desk, trading)

    def _held(self) -> list[Position]:
        return [p for p in self._desk.engine.positions.values() if p.amount]

    def _find(self, position_id: str) -> Position:
        for position in self._held():
            if position.id == position_id:
                return position
        raise Refused(Code.NOT_FOUND, f"no position {position_id}", {"what": "position"})

    def _row(self, position: Position) -> Fields:
        return dict(self._desk.outlet.position_row(position))

    def page(self, call: Call[ListParams]) -> Answer:
        """List positions."""
        params, held = call.params, self._held()
        if params.symbols is not None:
            markets = self._desk.engine.markets
            wanted = {naming.market_of(markets, text).symbol for text in params.symbols}
            held = [p for p in held if p.symbol in wanted]
        if params.position_type is not None:
            held = [p for p in held if p.position_type == params.position_type]
        return Answer(result={"positions": [self._row(position) for position in held]})

    def get(self, call: Call[GetParams]) -> Answer:
        """Give one position."""
        return Answer(result=self._row(self._find(call.params.position_id)))

    def value(self, call: Call[ValueParams]) -> Answer:
        """Value an amount at the market's price now."""
        engine = self._desk.engine
        market = naming.market_of(engine.markets, call.params.symbol)
        found = engine.mark(market.symbol)
        if found is None:
            raise Refused(
                Code.VENUE_UNAVAILABLE, f"no price of {market.symbol} yet", retry_after=1.0
            )
        price, source = found
        worth = call.params.amount * market.contract_size * price
        return Answer(
            result={
                "symbol": market.symbol,
                "amount": text(call.params.amount, market.amount_step),
                "value": plain(worth),
                "price": text(price, market.price_tick),
                "mark_source": source,
                "ts": self._desk.now() // MS,
            }
        )

    # -- closing ---------------------------------------------------------------------------------

    def close(self, call: Call[CloseParams]) -> Given:
        """Close a position or a part of it with a reduce-only order."""
        name = call.params.client_order_id
        if name is not None and self._orders.forgot(name, content_of(call.params)):
            # Of a dry run, too, there is nothing to say but what it came to.
            return self._orders.placed_long_ago(name)
        placing = self._closing(call)
        if call.params.dry_run:
            self._desk.check_room()
            shown = self._orders.judged(placing)
            would = bool(shown["valid"]) and "duplicate" not in shown
            effect = self._effect_of_close(placing.order, shown) | {"orders": int(would)}
            return Answer(result=shown | {"dry_run": True, "effect": effect})
        return self._orders.send(placing)

    def _closing(self, call: Call[CloseParams]) -> Place:
        params = call.params
        repeated = self._repeated(params)
        position = repeated or self._find(params.position_id)
        if (params.type == "limit") != (params.price is not None):
            raise invalid("price", "is required for type limit, and only there")
        if params.amount is not None and params.fraction is not None:
            raise invalid("fraction", "and amount exclude each other")
        market = self._desk.engine.markets[position.symbol]
        amount = params.amount
        if amount is None and repeated is not None:
            amount = abs(repeated.amount)  # the part that it was
        elif amount is None:
            part = abs(position.amount) * Decimal(repr(params.fraction or 1))
            amount, reason = amount_down(part, market)
            if reason is not None:
                raise invalid("fraction", f"is too small: {reason}")
        fields: Fields = {"amount": amount, "expires_at": naming.ns(params.expires_at)}
        if params.type == "limit":
            fields |= {"type": OrderType.LIMIT, "price": params.price}
        placing = self._trading.closing(
            position,
            naming.who_of(call),
            client_order_id=params.client_order_id,
            fields=fields,
        )
        return replace(placing, content=content_of(params))

    def _repeated(self, params: CloseParams) -> Position | None:
        """A resend comes when the position may be gone: then its order says what was meant."""
        if params.client_order_id is None:
            return None
        order = self._desk.engine.orders.by_client_id(params.client_order_id)
        if order is None:
            return None
        sign = 1 if order.side.opposite == "buy" else -1
        return Position(
            venue=order.venue,
            symbol=order.symbol,
            position_type=order.position_type,
            amount=sign * order.amount,
        )

    def closed_already(self, call: Call[CloseParams]) -> bool:
        """Tell whether this id was used: whatever comes of this call, nothing is sent."""
        return self._orders.used(call.params.client_order_id)

    def close_effect(self, call: Call[CloseParams]) -> Fields | None:
        """What closing would send; None for a resend."""
        if self.closed_already(call):
            return None
        placing = self._closing(call)
        return self._effect_of_close(placing.order, self._orders.judged(placing))

    def judge_close(self, call: Call[CloseParams]) -> None:
        """Refuse what `close` would refuse now, and do nothing.

        Raises:
            Refused: As the gate says.
        """
        self._trading.judge(self._closing(call))

    def _effect_of_close(self, order: Order, shown: Fields) -> Fields:
        """Say what closing would send, from its preview."""
        market = self._desk.engine.markets[order.symbol]
        return {
            "orders": 1,
            "symbols": [order.symbol],
            "amount": text(order.amount, market.amount_step),
            "notional": self._orders.valued(order.symbol, shown["cost"]),
        }

    def close_all(self, call: Call[CloseAllParams]) -> Given:
        """Close all positions, or the one of a symbol."""
        before = self._desk.outlet.positions()
        sent: list[tuple[Position, Failure | Given]] = []
        held = self._matching(call.params)
        if call.params.dry_run:
            return Answer(result={"dry_run": True, "effect": self._effect_of(held)})
        who = naming.who_of(call)
        fields = {"expires_at": naming.ns(call.params.expires_at)}
        for position in held:
            try:
                given = self._orders.send(self._trading.closing(position, who, fields=fields))
            except Failure as failure:
                sent.append((position, failure))
            else:
                sent.append((position, given))
        return self._closed(sent, before)

    def _matching(self, params: CloseAllParams) -> list[Position]:
        held = [position for position in self._held() if self._trading.closable(position)]
        if params.symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, params.symbol).symbol
            held = [p for p in held if p.symbol == symbol]
        if params.bot_id is not None:
            held = [p for p in held if params.bot_id in self._desk.engine.mark_position(p).bot_ids]
        return held

    def _effect_of(self, held: list[Position]) -> Fields:
        marked = [self._desk.engine.mark_position(position) for position in held]
        values = [self._orders.valued(m.position.symbol, m.notional) for m in marked]
        known = [Decimal(value) for value in values if value is not None]
        return {
            "orders": len(held),
            "positions": len(held),
            "symbols": [position.symbol for position in held],
            "closes": [self._said(position) for position in held],
            "notional": plain(sum(known, Decimal(0))) if len(known) == len(held) else None,
        }

    def _said(self, position: Position) -> str:
        """Name what is closed, for the eye and for the comparison with what was confirmed."""
        step = self._desk.engine.markets[position.symbol].amount_step
        sent = down(abs(position.amount), step)  # what is less than a lot stays
        return f"{position.venue}: {text(sent, step)} of {position.id}"

    def close_all_effect(self, call: Call[CloseAllParams]) -> Fields | None:
        """What closing all would send; None when nothing is held."""
        held = self._matching(call.params)
        return self._effect_of(held) if held else None

    async def _closed(
        self,
        sent: "list[tuple[Position, Failure | Given]]",
        before: Mapping[str, object],
    ) -> Answer:
        closed: list[Fields] = []
        failed: list[Fields] = []
        for position, given in sent:
            try:
                answer = await answer_of(given)
            except Failure as failure:
                failed.append({"position_id": position.id, "error": error_of(failure)})
            else:
                closed.append({"position_id": position.id, **answer.result})
        at = naming.changed(before, self._desk.outlet.positions())
        return Answer(result={"closed": closed, "failed": failed}, at=at or None)

    # -- cost basis --------------------------------------------------------------------------------

    async def set_cost_basis(self, call: Call[CostBasisParams]) -> Answer:
        """Tell what a holding had cost."""
        params = call.params
        position = self._find(params.position_id)
        before = self._desk.outlet.positions()
        effects = self._desk.post(
            SetCostBasis(
                position_id=position.id,
                entry_price=params.entry_price,
                who=naming.who_of(call),
                ts=self._desk.now(),
            )
        )
        await self._desk.settled()
        at = naming.changed(before, self._desk.outlet.positions())
        row = self._row(self._find(params.position_id)) | {"changed": bool(effects)}
        return Answer(result=row, at=at or None)


def content_of(params: CloseParams) -> dict[str, str]:
    """Normalise what was sent, for the comparison of resends; a fraction of 1 is all, as without one."""
    return {
        "position_id": params.position_id,
        "type": params.type,
        "amount": plain(params.amount) if params.amount is not None else "",
        "fraction": "" if params.fraction in {None, 1} else str(params.fraction),
        "price": plain(params.price) if params.price is not None else "",
    }


ERRORS: Final = (*ORDER_ERRORS, Code.NOT_FOUND)


def ops(desk: Desk, trading: Trading) -> list[Op]:
    """Make the rows of the table."""
    positions = Positions(desk, trading)
    return [
        Op(
            name="position.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=positions.page,
            http=("GET /api/positions",),
            summary="List all positions, spot holdings included, at market prices",
            example={},
            errors=(Code.NOT_FOUND,),
        ),
        Op(
            name="position.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=positions.get,
            summary="Show a position",
            errors=(Code.NOT_FOUND,),
            example={"position_id": "BTC/USDT|long"},
        ),
        Op(
            name="position.value",
            params=ValueParams,
            scope="read",
            lane="query",
            handler=positions.value,
            summary="Value an amount at the present price",
            errors=(Code.NOT_FOUND, Code.VENUE_UNAVAILABLE),
            example={"symbol": "BTC/USDT", "amount": "0.5"},
        ),
        Op(
            name="position.close",
            params=CloseParams,
            scope="trade",
            lane="orders",
            idempotency="client_order_id",
            handler=positions.close,
            summary="Close a position, or part of it, with a reduce-only order",
            errors=ERRORS,
            example={"position_id": "BTC/USDT|long", "fraction": 0.5},
            command=True,
            effect=positions.close_effect,
            judge=positions.judge_close,
            repeated=positions.closed_already,
        ),
        Op(
            name="position.close_all",
            params=CloseAllParams,
            scope="trade",
            lane="orders",
            idempotency="request_id",
            handler=positions.close_all,
            summary="Close all positions with reduce-only market orders",
            errors=ERRORS,
            example={},
            command=True,
            effect=positions.close_all_effect,
        ),
        Op(
            name="position.set_cost_basis",
            params=CostBasisParams,
            scope="admin",
            lane="query",
            handler=positions.set_cost_basis,
            summary="Set the cost basis of a holding older than the journal; for a contract this is final",
            errors=(Code.NOT_FOUND, Code.CONFLICT),
            example={"position_id": "BTC/USDT|long", "entry_price": "60000"},
            command=True,
        ),
    ]
