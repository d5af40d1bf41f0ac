"""Orders that there are already: found by their names, shown by their rows, in memory or in the journal alone."""

from collections.abc import Mapping

import orjson

from realtime.commands import naming
from realtime.commands.order.params import Fields
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.model.errors import Code, Refused
from realtime.model.orders import Order


class Known:
    """What the handlers of all ops of orders share."""

    def __init__(self, desk: Desk, trading: Trading) -> None:
        self._desk = desk
        self._trading = trading

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

    def _known(self, order_id: str) -> Order:
        order = self._desk.engine.orders.get(order_id)
        if order is None:
            raise Refused(Code.NOT_FOUND, f"no order {order_id}", {"what": "order"})
        return order

    def _row(self, order: Order) -> Fields:
        return dict(self._desk.outlet.order_row(order))


def details_of(row: Mapping[str, object], code: Code, reason: str) -> Fields:
    """Name the order in a refusal of it."""
    details: Fields = {"client_order_id": row["client_order_id"], "order_id": row["id"]}
    if code is Code.VENUE_REJECTED:
        details["venue"] = reason
    return details
