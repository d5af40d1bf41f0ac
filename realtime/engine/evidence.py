"""Rows of the venue: evidence about orders, and orders that are not ours (2.2, 2.3, 2.7).

A row that is older than what is known changes nothing, but for an end that was looked up: an end cannot be older
than a sign of life, whatever the two clocks say. A pair that the table of transitions does not list changes nothing and
raises a critical alert.
"""

from decimal import Decimal
from hashlib import sha256

from realtime.engine.acts import follow
from realtime.engine.content import BY_CONTENT, waits
from realtime.engine.core import NO_AMEND, Core, Out
from realtime.engine.orders import STRANGE, evolve, step
from realtime.model.events import (
    Alert,
    OrderChanged,
    OrderSeen,
    Record,
)
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import (
    VENUE,
    Asked,
    Order,
    OrderType,
    Role,
    Side,
    Status,
)


TRAIL_EVERY = SECOND
"""A trailing stop's own trigger is written down at most this often [ns] (B6)."""

LATE = "-late"
"""Ends the id of an order that stands for one that is forgotten."""

SETTLED = 5 * SECOND
"""A looked-up row this long after an unanswered amend or cancel settles it [ns]."""


def seen(core: Core, row: OrderSeen, out: Out) -> None:
    """Take a venue's row."""
    orders = core.state.orders
    order = orders.find(row)
    if order is None:
        external(core, row, out)
        return
    if row.status.ended and order.status.ended and is_late(order):
        return  # it speaks of all that ever filled, and most of that is forgotten
    known = orders.asof(order.id)
    # One that an amend has put another in the place of has ended, too, and has another id.
    same = row.exchange_order_id == order.exchange_order_id
    end = same and row.status.ended and row.evidence == "found"
    if (row.asof < known and not end) or (row.status is Status.OPEN and row.filled < order.filled):
        orders.stale_rows += 1
        return
    changes = row_changes(core, order, row, known, out)
    if changes is None:
        orders.stale_rows += 1
        return
    if not changes:
        return
    out.insert(0, Record(row))
    evidence = row.evidence if row.evidence in {"answer", BY_CONTENT} else "found"
    new = core.alter(order, changes, out, ts=row.ts, evidence=evidence)
    orders.set_asof(order.id, max(known, row.asof))
    if row.amount or fills_all(row):
        orders.unsized.discard(order.id)
    core.gap(new, row.ts)
    if new.cost_limit is None and new.filled > new.amount:
        overfill(core, new, row.ts, out)
    follow(core, new, row.ts, out)
    core.plan(new.symbol, row.ts, out)


def row_changes(
    core: Core, order: Order, row: OrderSeen, known: int, out: Out
) -> dict[str, object] | None:
    """What a row that is not older changes; None when it says nothing that can be believed."""
    unsized = order.id in core.state.orders.unsized and order.external and not is_late(order)
    changes = told(core, order, row, known) if unsized else {}
    if row.status is not order.status:
        # Of such a one that may say no more than that it has filled as far as anybody knew.
        so_far = unsized and order.status is Status.FILLED
        late_end = order.status is Status.FILLED and row.status.ended and not so_far
        if late_end and row.filled <= order.filled:
            return None  # fills were faster than the row of an earlier end
        back = order.status.ended and row.status is Status.OPEN
        if back and known and row.asof == known:
            return None  # the same moment: the end came last
        if not (so_far or step(order, VENUE, row.status)):
            out.insert(0, Record(row))
            core.illegal(order, row.status, "a row of the venue", out)
            core.state.orders.set_asof(order.id, row.asof)
            return {}
        changes["status"] = row.status
        if back and not so_far:
            resurrected(core, order, row, out)
        if row.status.ended:
            # Where the cancel that is under way has a reason, it is the better one.
            ours = row.status is Status.CANCELED and order.cancel_state is not Asked.NONE
            why = (order.reason if ours else None) or row.reason
            changes["code"], changes["reason"] = row.code, why
    if order.exchange_order_id is None:
        changes["exchange_order_id"] = row.exchange_order_id
    if row.filled > order.filled:
        changes["filled"] = row.filled
        changes["cost"] = row.cost
    underway = order.amend_state is not Asked.NONE
    # An end that was looked up has the terms that an amend without an answer has left it with.
    asked = row.evidence == "found" and row.amount >= order.filled
    # What was asked for before an amend was answered may have been read before it was carried out.
    overtaken = row.evidence != "stream" and row.ts < order.updated_ts and not row.status.ended
    if overtaken:
        return changes
    if row.status is Status.OPEN or order.cost_limit is not None or underway or asked:
        changes = row_terms(order, row) | changes
    elif row.price is not None and row.price != order.price and order.type.priced:
        # Of an amend whose answer was lost, and which the end overtook.
        changes["price"] = row.price
    settled = row.evidence != "stream" and row.ts - order.updated_ts >= SETTLED
    if row.status is Status.OPEN and settled:
        if order.cancel_state is Asked.UNKNOWN:
            changes["cancel_state"], changes["reason"] = Asked.NONE, None
        if order.amend_state is Asked.UNKNOWN and "amend_state" not in changes:
            changes |= NO_AMEND
    return changes


def told(core: Core, order: Order, row: OrderSeen, known: int) -> dict[str, object]:
    """What a row tells of an order whose amount nobody knows.

    The first one, the first with an amount and the one that it has filled by count even if they change nothing: they are what
    was not known.
    """
    amount = max(row.amount or order.amount, row.filled, order.filled)
    if row.amount or not known:
        return shape(core, row) | {"amount": amount}
    return {} if amount == order.amount and not fills_all(row) else {"amount": amount}


def fills_all(row: OrderSeen) -> bool:
    """Whether it says that what has filled was all there was to fill."""
    return row.status is Status.FILLED and row.filled > 0


def row_terms(order: Order, row: OrderSeen) -> dict[str, object]:
    """Amount and prices as the venue shows them, where they differ; an amend shows itself so."""
    changes: dict[str, object] = {}
    if row.amount and row.amount != order.amount:
        changes["amount"] = row.amount
    if row.price is not None and row.price != order.price and order.type.priced:
        changes["price"] = row.price
    if row.stop_price is not None and row.stop_price != order.stop_price:
        trailing = order.type is OrderType.TRAILING_STOP
        if not trailing or row.ts - order.updated_ts >= TRAIL_EVERY:
            changes["stop_price"] = row.stop_price
    if order.amend_state is not Asked.NONE and all(
        target is None or target == there
        for target, there in (
            (order.amend_amount, row.amount),
            (order.amend_price, row.price),
            (order.amend_stop_price, row.stop_price),
        )
    ):
        changes |= NO_AMEND
    return changes


def resurrected(core: Core, order: Order, row: OrderSeen, out: Out) -> None:
    """An order thought dead works: alarm, and only exits from now on."""
    text = f"order {order.client_order_id} was {order.status}; the venue shows it working"
    revive(core, order, text, row, out)


def revive(core: Core, order: Order, text: str, row: OrderSeen, out: Out) -> None:
    """Alarm about an order that works again."""
    data = {"order_id": order.id, "exchange_order_id": row.exchange_order_id}
    out.append(Alert("critical", "order_resurrected", text, data))
    core.reduce("order_resurrected", text, row.ts, out)


def overfill(core: Core, order: Order, ts: int, out: Out) -> None:
    """More was filled than asked for: alarm, and only exits from now on."""
    text = f"order {order.client_order_id} filled {order.filled} of {order.amount}"
    out.append(Alert("critical", "overfill", text, {"order_id": order.id}))
    core.reduce("overfill", text, ts, out)


def external(core: Core, row: OrderSeen, out: Out) -> None:
    """An order without an intent: shown and counted, never touched by itself (2.7)."""
    if row.status.ended or row.symbol not in core.state.markets:
        return  # what it did is in the balances
    orders = core.state.orders
    streamed = row.evidence == "stream" and row.venue_client_id is None
    if streamed and waits(orders, row.symbol, row.side, row.asof):
        return  # it may be one of ours whose answer is on its way: a list will tell
    back = orders.forgot(row.symbol, row.exchange_order_id, row.venue_client_id)
    if back and row.evidence == "stream":
        # Rows of a stream may come late, and with what they were compared with it is gone: a list will tell.
        orders.stale_rows += 1
        return
    out.append(Record(row))
    order = stranger(
        core,
        symbol=row.symbol,
        exchange_order_id=row.exchange_order_id,
        venue_client_id=row.venue_client_id,
        side=row.side,
        amount=row.amount,
        ts=row.ts,
        late=back,
    )
    order = evolve(
        order,
        **shape(core, row),
        status=row.status,
        filled=row.filled,
        cost=row.cost,
    )
    # What filled before it was forgotten has been booked: an order that lacks fills is not forgotten.
    # So it is with what filled before the first look at the account: that found it in the sums.
    before = back or core.state.account.opened_ts is None
    orders.add(order, {}, order.filled if before else ZERO)
    orders.set_asof(order.id, row.asof)
    if not row.amount:
        orders.unsized.add(order.id)  # a market buy by cost may have none
    core.gap(order, row.ts)
    out.append(OrderChanged(order))
    if back:
        text = f"order {row.exchange_order_id} ended long ago; the venue shows it working"
        revive(core, order, text, row, out)
    else:
        report_stranger(core, order, out)


def shape(core: Core, row: OrderSeen) -> dict[str, object]:
    """What the row of an order that is not ours says it is."""
    exits = row.reduce_only or (
        not core.state.markets[row.symbol].contract and row.side is Side.SELL
    )
    return {
        "type": OrderType(row.type) if row.type in set(OrderType) else OrderType.LIMIT,
        "price": row.price,
        "stop_price": row.stop_price,
        "reduce_only": row.reduce_only,
        "role": Role.EXIT if exits else Role.ENTRY,
    }


def stranger(
    core: Core,
    *,
    symbol: str,
    exchange_order_id: str,
    venue_client_id: str | None,
    side: Side,
    amount: Decimal,
    ts: int,
    late: bool = False,
) -> Order:
    """Make the order that a row or fill without an intent speaks of; `late` where its order is forgotten."""
    state = core.state
    end = LATE if late else ""
    order_id = f"x-{exchange_order_id}{end}"
    if state.orders.get(order_id) is not None:
        order_id = f"x-{exchange_order_id}-{symbol}{end}"
    secret = sha256(order_id.encode()).hexdigest()
    market = state.markets[symbol]
    return Order(
        id=order_id,
        client_order_id=f"{STRANGE}{secret[:24]}",
        venue_client_id=venue_client_id or f"{STRANGE}{secret}",
        exchange_order_id=exchange_order_id,
        venue=state.venue,
        symbol=symbol,
        type=OrderType.MARKET,
        side=side,
        amount=amount,
        position_type="swap" if market.contract else "spot",
        status=Status.OPEN,
        external=True,
        source="external",
        created_ts=ts,
        updated_ts=ts,
    )


def is_late(order: Order) -> bool:
    """Whether it stands for an order that is forgotten."""
    return order.external and order.id.endswith(LATE)


def report_stranger(core: Core, order: Order, out: Out) -> None:
    """Alarm about an order that is not ours; twice as loud when its id has the form of ours."""
    data = {"order_id": order.id, "symbol": order.symbol, "side": order.side.value}
    text = f"the venue has order {order.exchange_order_id} in {order.symbol}, which is not ours"
    out.append(Alert("warning", "external_order", text, data))
    if core.state.ever_ready and ours_by_form(order.venue_client_id):
        text = f"order {order.exchange_order_id} has a client id like ours: who uses this key?"
        out.append(Alert("critical", "foreign_process", text, data))
        core.reduce("foreign_process", text, order.created_ts, out)


def ours_by_form(venue_client_id: str) -> bool:
    """Whether a client id has the form of ours: 32 lower-case hex digits (I3)."""
    return len(venue_client_id) == 32 and set(venue_client_id) <= set("0123456789abcdef")
