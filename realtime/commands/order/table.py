"""The rows of the table of ops that are about orders."""

from typing import Final

from realtime.commands.order.amend import Amends
from realtime.commands.order.batch import Batches, count_items
from realtime.commands.order.cancel import Cancels
from realtime.commands.order.decide import Decisions
from realtime.commands.order.params import (
    AdoptParams,
    AmendParams,
    BatchParams,
    CancelAllParams,
    GetParams,
    HistoryParams,
    ListParams,
    NameParams,
    PlaceParams,
    PreviewParams,
    ResolveParams,
)
from realtime.commands.order.place import Orders
from realtime.commands.order.read import Lists
from realtime.commands.registry import Op
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.model.errors import Code


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
    orders, amends, cancels = Orders(desk, trading), Amends(desk, trading), Cancels(desk, trading)
    batches = Batches(desk, orders, amends, cancels)
    lists, decisions = Lists(desk, trading), Decisions(desk, trading)
    return [
        Op(
            name="order.place",
            params=PlaceParams,
            scope="trade",
            lane="orders",
            idempotency="client_order_id",
            handler=orders.place,
            http=("POST /api/orders",),
            summary="Place an order; the reply comes when the venue has answered, or after 10 s",
            errors=(*ORDER_ERRORS, Code.NOT_FOUND),
            example=BUY,
            command=True,
            effect=orders.effect,
            judge=orders.judge,
            repeated=orders.placed_already,
        ),
        Op(
            name="order.preview",
            params=PreviewParams,
            scope="read",
            lane="query",
            handler=orders.preview,
            aliases=("order.validate",),
            summary="Check an order against the rules of the risk gate without placing it",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={k: v for k, v in BUY.items() if k != "client_order_id"},
        ),
        Op(
            name="order.amend",
            params=AmendParams,
            scope="trade",
            lane="orders",
            handler=amends.amend,
            summary="Amend the amount, price, trigger price or attached stops of an order to absolute targets",
            errors=(*ORDER_ERRORS, Code.NOT_FOUND),
            example={"client_order_id": "my-1", "price": "50100"},
            command=True,
            effect=amends.amend_effect,
            judge=amends.judge,
            judged_as="order.place",
            repeated=amends.amended_already,
        ),
        Op(
            name="order.batch",
            params=BatchParams,
            scope="trade",
            lane="orders",
            idempotency="client_order_id",
            handler=batches.batch,
            summary="Place, amend and cancel up to 20 orders, each with a result of its own",
            errors=ORDER_ERRORS,
            example={
                "items": [{"do": "cancel", "client_order_id": "my-1"}, {"do": "place", **BUY}]
            },
            command=True,
            cost=count_items,
            effect=batches.batch_effect,
            judge=batches.judge,
            judged_as="order.place",
            repeated=batches.batch_begun,
        ),
        Op(
            name="order.cancel",
            params=NameParams,
            scope="trade",
            lane="safety",
            handler=cancels.cancel,
            http=("DELETE /api/orders/{order_id}",),
            summary="Cancel an order; one that has ended is answered with its final state",
            errors=(
                Code.NOT_FOUND,
                Code.VENUE_REJECTED,
                Code.VENUE_UNAVAILABLE,
                Code.OUTCOME_UNKNOWN,
            ),
            example={"client_order_id": "my-1"},
            command=True,
            repeated=cancels.canceled_already,
        ),
        Op(
            name="order.cancel_all",
            params=CancelAllParams,
            scope="trade",
            lane="safety",
            handler=cancels.cancel_all,
            summary="Cancel all orders, or those of one symbol, bot or side",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT"},
            command=True,
        ),
        Op(
            name="order.history",
            params=HistoryParams,
            scope="read",
            lane="query",
            handler=lists.history,
            http=("GET /api/orders/history",),
            summary="List ended orders with their fills, newest first",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT", "limit": 20},
        ),
        Op(
            name="order.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=lists.page,
            http=("GET /api/orders",),
            summary="List orders by status; `open` includes pending and unknown orders",
            errors=(Code.NOT_FOUND,),
            example={"status": "open"},
        ),
        Op(
            name="order.get",
            params=GetParams,
            scope="read",
            lane="query",
            handler=lists.get,
            http=("GET /api/orders/{order_id}",),
            summary="Show an order with its fills",
            errors=(Code.NOT_FOUND,),
            example={"client_order_id": "my-1"},
        ),
        Op(
            name="order.resolve",
            params=ResolveParams,
            scope="admin",
            lane="query",
            handler=decisions.resolve,
            summary="Set the outcome of an order whose status is unknown",
            errors=(Code.NOT_FOUND, Code.CONFLICT),
            example={"order_id": "o-1", "status": "canceled", "reason": "seen at the venue"},
            command=True,
            effect=decisions.resolve_effect,
        ),
        Op(
            name="order.adopt",
            params=AdoptParams,
            scope="admin",
            lane="query",
            handler=decisions.adopt,
            summary="Adopt an order that was placed outside this server, optionally for a bot",
            errors=(Code.NOT_FOUND, Code.CONFLICT),
            example={"order_id": "x-1"},
            command=True,
        ),
    ]
