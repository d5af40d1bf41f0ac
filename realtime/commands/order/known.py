"""Orders that there are already: found by their names, shown by their rows, in memory or in the journal alone."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Final

import orjson

from realtime.commands import naming
from realtime.commands.order.params import Fields
from realtime.commands.registry import Answer, Failed
from realtime.desk.answers import Outcome
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.engine import rows
from realtime.model.errors import Code, Refused
from realtime.model.market import MONEY
from realtime.model.orders import Order


PASSING: Final = frozenset({Code.RATE_LIMITED, Code.BUSY, Code.VENUE_UNAVAILABLE})
"""Refusals that pass by themselves: their answers say when to come back."""
AGAIN_S: Final = 1.0
"""When that is, where the venue has named no time [s]."""


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

    def valued(self, symbol: str, amount: object) -> str | None:
        """Value money of a market [valuation currency], for an effect: thresholds are in it; None when unknown."""
        engine = self._desk.engine
        worth = engine.worth(engine.markets[symbol].cash)
        if amount is None or worth is None:
            return None
        with localcontext(MONEY):
            return rows.money(Decimal(str(amount)) * worth)

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


def refused(
    row: Mapping[str, object],
    code: Code,
    reason: str,
    retry_after: float | None = None,
    *,
    at: Mapping[str, object] | None = None,
    placing: bool = False,
) -> Failed:
    """Make the answer that an order was refused something, on its way to the venue or there.

    Args:
        row: Of the order.
        code: Of the refusal.
        reason: In words.
        retry_after: What the venue has said of it [s].
        at: Where the streams stand.
        placing: It was its placement: coming back takes another id, since its own is used up.
    """
    details: Fields = {"client_order_id": row["client_order_id"], "order_id": row["id"]}
    if code is Code.VENUE_REJECTED:
        details["venue"] = reason
    elif code is Code.ABSENT:
        # A word of order rows, not of the wire: the venue never took it, and that is proven.
        details["reason"], code = code.value, Code.VENUE_REJECTED
    elif code is Code.RATE_LIMITED:
        details["lane"] = "venue"  # our own lanes refuse before there is an order
    if code in PASSING:
        retry_after = AGAIN_S if retry_after is None else retry_after
        reason += "; a new order needs a new client_order_id" if placing else ""
    return Failed(code, reason, details, retry_after=retry_after, at=at)


def kept(outcome: Outcome, answer: Answer) -> Answer:
    """Say in an answer where the outcome is not on disk."""
    if outcome.journaled:
        return answer
    return replace(answer, result={**answer.result, "journaled": False})
