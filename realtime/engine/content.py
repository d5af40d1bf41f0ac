"""Rows and fills that carry no client id: whose they could be, and when that is certain enough (2.3).

Rules of this file: (1) a match is exactly one order of ours and exactly one thing at the venue; anything else stays
undecided; (2) only an order whose outcome nobody knows is matched; one whose answer is still on its way is waited for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final

from realtime.engine.orders import Ledger
from realtime.model.events import Filled, OrderSeen
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import Order, Side


WITHIN: Final = 60 * SECOND
"""How far apart in time an order and what could be it may lie [ns]."""

BY_CONTENT: Final = "content"
"""The evidence of a row that was matched so."""


def waits(ledger: Ledger, symbol: str, side: Side, ts: int) -> bool:
    """Whether an order of ours that the venue's id is not known of could be meant."""
    return any(
        order.exchange_order_id is None
        and order.side is side
        and abs(ts - order.created_ts) <= WITHIN
        for order in ledger.working_in(symbol)
    )


def match(
    ledger: Ledger, rows: Sequence[OrderSeen], fills: Sequence[Filled], now: int
) -> tuple[list[OrderSeen], list[Filled]]:
    """Name the orders of rows and fills without a client id, as far as that can be told.

    Args:
        ledger: Ours.
        rows: All working orders of the venue.
        fills: Its executions.
        now: The time [ns].

    Returns:
        Rows and fills to be taken in: with the client id of a matched order; those that may still turn out to be ours
        are left out until a minute has passed, then a fill has the empty id, which says that it is a stranger's.
    """
    names = _names(ledger, rows, fills)
    seen: list[OrderSeen] = []
    for row in rows:
        name = names.get((row.symbol, row.exchange_order_id))
        if name is not None:
            seen.append(replace(row, venue_client_id=name, evidence=BY_CONTENT))
        elif not _held(ledger, row, row.asof, now):
            seen.append(row)
    booked: list[Filled] = []
    for fill in fills:
        name = names.get((fill.symbol, fill.exchange_order_id))
        if name is not None:
            booked.append(replace(fill, venue_client_id=name))
        elif not _nameless(ledger, fill):
            booked.append(fill)
        elif not _held(ledger, fill, fill.ts, now):
            booked.append(replace(fill, venue_client_id=""))
    return seen, booked


def _nameless(ledger: Ledger, seen: OrderSeen | Filled) -> bool:
    return seen.venue_client_id is None and ledger.find(seen) is None


def _held(ledger: Ledger, seen: OrderSeen | Filled, ts: int, now: int) -> bool:
    """Whether it is too early to call it a stranger's."""
    return (
        _nameless(ledger, seen) and now - ts <= WITHIN and waits(ledger, seen.symbol, seen.side, ts)
    )


def _names(
    ledger: Ledger, rows: Sequence[OrderSeen], fills: Sequence[Filled]
) -> dict[tuple[str, str], str]:
    """Client ids by symbol and the venue's id, where exactly one order and one thing are the same."""
    unknown = [order for order in ledger.unknown() if order.exchange_order_id is None]
    if not unknown:
        return {}
    working = {(row.symbol, row.exchange_order_id): row for row in rows if _nameless(ledger, row)}
    traded: dict[tuple[str, str], list[Filled]] = {}
    for fill in fills:
        if _nameless(ledger, fill):
            traded.setdefault((fill.symbol, fill.exchange_order_id), []).append(fill)
    found: dict[tuple[str, str], list[Order]] = {}
    alone: set[str] = set()
    for order in unknown:
        same = [key for key, row in working.items() if _is_row(order, row)]
        same += [
            key for key, held in traded.items() if key not in working and _is_trade(order, held)
        ]
        for key in same:
            found.setdefault(key, []).append(order)
        if len(same) == 1:
            alone.add(order.id)
    return {
        key: orders[0].venue_client_id
        for key, orders in found.items()
        if len(orders) == 1 and orders[0].id in alone
    }


def _is_row(order: Order, row: OrderSeen) -> bool:
    return (
        row.symbol == order.symbol
        and row.side is order.side
        and row.type == order.type
        and row.amount == order.amount
        and row.price == (order.price if order.type.priced else None)
        and row.stop_price == order.stop_price
        and abs(row.asof - order.created_ts) <= WITHIN
    )


def _is_trade(order: Order, fills: Iterable[Filled]) -> bool:
    """Whether fills of one order of the venue are all of this order."""
    amount: Decimal = ZERO
    for fill in fills:
        amount += fill.amount
        if (
            fill.symbol != order.symbol
            or fill.side is not order.side
            or abs(fill.ts - order.created_ts) > WITHIN
            or not _allowed(order, fill.price)
        ):
            return False
    return amount == order.amount


def _allowed(order: Order, price: Decimal) -> bool:
    if order.price is None:
        return True
    return price <= order.price if order.side is Side.BUY else price >= order.price
