"""Executions: each is booked once, moves order, position and cash, and makes the legs fit (2.5)."""

from decimal import Decimal

from realtime.engine.account import Booked
from realtime.engine.acts import amended
from realtime.engine.content import waits
from realtime.engine.core import Core, Out, position_effect
from realtime.engine.evidence import is_late, overfill, report_stranger, stranger
from realtime.engine.orders import is_entry, largest
from realtime.engine.rules import EXECUTIONS_IN
from realtime.model.events import (
    Alert,
    Ask,
    FillBooked,
    Filled,
    Record,
    RiskChanged,
    StateSet,
)
from realtime.model.market import ZERO
from realtime.model.orders import (
    Fill,
    Order,
    OrderType,
    Status,
)
from realtime.model.risk import Halt, TradingState


def filled(core: Core, seen: Filled, out: Out) -> None:
    """Take an execution, once."""
    state, orders = core.state, core.state.orders
    if orders.seen(seen.symbol, seen.trade_id) or seen.symbol not in state.markets:
        return
    order = orders.find(seen)
    if (order is None or is_late(order)) and orders.forgot_fill(seen.symbol, seen.trade_id):
        return
    if order is None:
        opened = state.account.opened_ts
        if opened is not None and seen.ts < opened:
            return  # it is in what the first look at the account found
        if seen.venue_client_id is None and waits(orders, seen.symbol, seen.side, seen.ts):
            return  # it may be one of ours whose answer is on its way: it is asked for again
        late = orders.forgot(seen.symbol, seen.exchange_order_id, seen.venue_client_id)
        order = stranger(
            core,
            symbol=seen.symbol,
            exchange_order_id=seen.exchange_order_id,
            venue_client_id=seen.venue_client_id,
            side=seen.side,
            amount=seen.amount,
            ts=seen.ts,
            late=late,
        )
        orders.add(order, {})
        out.append(Record(seen))
        if late:
            report_late(order, seen, out)
        else:
            report_stranger(core, order, out)
            out.append(Ask(order.id))
    else:
        out.append(Record(seen))
        if order.status is Status.FILLED and is_late(order):
            # As large as what is told of it: nobody knows its amount any more.
            order = orders.put(order, amount=order.amount + seen.amount)
            report_late(order, seen, out)
    replaced = ZERO
    if not seen.inferred:
        order, replaced = replace_inferred(core, order, seen.amount, out)
    market = state.markets[seen.symbol]
    fill = Fill(
        id=seen.trade_id,
        order_id=order.id,
        client_order_id=order.client_order_id,
        venue=seen.venue,
        symbol=seen.symbol,
        side=seen.side,
        amount=seen.amount,
        price=seen.price,
        cost=abs(market.value(seen.price)) * seen.amount,
        fee=seen.fee,
        fee_currency=seen.fee_currency,
        maker=seen.maker,
        bot_id=order.bot_id,
        inferred=seen.inferred,
        ts=seen.ts,
    )
    done = state.account.book(fill, order.owner, keep=seen.inferred)
    state.forget_equity()
    booked = orders.book(done.fill)
    if order.strategy_id is not None and is_entry(order):
        executed(core, order, fill, out)
    new = filled_order(core, order, seen, booked, out)
    core.gap(new, seen.ts)
    out.append(FillBooked(done.fill))
    publish_positions(core, done, out)
    streak(core, order, done, out)
    if core.legs.concerns(seen.symbol) or new.stop_loss or new.take_profit or attached_to(new):
        core.legs.on_fill(state, new, done.fill, replaced)
        core.plan(seen.symbol, seen.ts, out)


def report_late(order: Order, seen: Filled, out: Out) -> None:
    """Tell of an execution that is booked apart from its order, which is forgotten."""
    text = f"order {seen.exchange_order_id} ended long ago and has filled {seen.amount}"
    data = {"order_id": order.id, "trade_id": seen.trade_id}
    out.append(Alert("warning", "late_fill", text, data))


def filled_order(core: Core, order: Order, seen: Filled, booked: Decimal, out: Out) -> Order:
    """What a fill does to its order."""
    changes: dict[str, object] = {}
    late = order.status.ended and booked > order.filled
    if booked >= order.filled:
        cost = ZERO
        for fill in core.state.orders.fills_of(order.id):
            cost += fill.cost
        changes["filled"], changes["cost"] = booked, cost
    if seen.fee and not order.fees:
        changes["fees"] = ((seen.fee_currency, ZERO + seen.fee),)
    elif seen.fee:
        fees = dict(order.fees)
        fees[seen.fee_currency] = fees.get(seen.fee_currency, ZERO) + seen.fee
        changes["fees"] = tuple(sorted(fees.items()))
    if order.exchange_order_id is None and seen.exchange_order_id:
        changes["exchange_order_id"] = seen.exchange_order_id
    most = largest(order)
    if order.amount < booked <= most:
        # More than the old version had: the amend was carried out, whatever became of its answer.
        changes |= amended(order, order.amend_amount, order.amend_price, order.amend_stop_price)
    if order.cost_limit is None and booked >= most:
        # While it may be larger by an amend without an answer, the rest of that may still work. A buy by cost ends by
        # its row.
        changes["status"] = Status.FILLED
    elif not order.status.ended:
        changes["status"] = Status.OPEN
    new = core.alter(order, changes, out, ts=seen.ts, evidence="fill", booked=booked)
    if late and order.status is not Status.FILLED:
        text = f"order {order.client_order_id} was {order.status} and has filled {seen.amount}"
        data = {"order_id": order.id, "trade_id": seen.trade_id}
        out.append(Alert("warning", "late_fill", text, data))
    if order.cost_limit is None and booked > most and booked > order.filled:
        overfill(core, new, seen.ts, out)
    return new


def replace_inferred(core: Core, order: Order, amount: Decimal, out: Out) -> tuple[Order, Decimal]:
    """A real fill takes the place of an inferred one; what is left of that is inferred again.

    Returns:
        The order, and how much of the real fill had been inferred [base, contracts].
    """
    state, replaced = core.state, ZERO
    for fill in state.orders.fills_of(order.id):
        if not fill.inferred or amount <= 0:
            continue
        old, new = state.account.unbook(fill)
        order = state.orders.put(order, state.orders.unbook(fill))
        out.append(position_effect(old, new))
        rest = fill.amount - amount
        replaced += min(fill.amount, amount)
        amount -= fill.amount
        if rest > 0:
            each = abs(state.markets[fill.symbol].value(fill.price))
            left = replace_fill(fill, rest, rest * each)
            done = state.account.book(left, order.owner, keep=True)
            order = state.orders.put(order, state.orders.book(done.fill))
            publish_positions(core, done, out)
    return order, replaced


def publish_positions(core: Core, done: Booked, out: Out) -> None:
    """Publish the positions a fill changed."""
    for old, new in done.positions:
        out.append(position_effect(old, new))
        if new.amount:
            core.watched.add(new.symbol)


def streak(core: Core, order: Order, done: Booked, out: Out) -> None:
    """Tell when a losing streak has reached its limit."""
    limit = core.state.limits.loss_streak
    if done.closed is None or limit is None:
        return
    count, _ = core.state.account.streaks.get(order.owner, (0, 0))
    if count == limit:
        text = f"{count} losing trades in a row of {order.owner}: entries wait 60 min"
        data = {"owner": order.owner, "bot_id": order.bot_id}
        out.append(Alert("warning", "loss_streak", text, data))
        out.append(RiskChanged())


def executed(core: Core, order: Order, fill: Fill, out: Out) -> None:
    """G24: a strategy that enters again and again is stopped, and the account with it."""
    state, strategy = core.state, order.strategy_id
    assert strategy is not None
    since = fill.ts - EXECUTIONS_IN
    stamps = [ts for ts in state.pace.executions.get(strategy, []) if ts > since]
    stamps.append(fill.ts)
    state.pace.executions[strategy] = stamps
    limit = state.limits.repeated_execution
    if limit is None or len(stamps) <= limit:
        return
    text = f"strategy {strategy} had {len(stamps)} entry fills in 10 min, limit {limit}"
    if order.bot_id is not None and f"bot:{order.bot_id}" not in state.halts:
        halt = Halt(
            scope=f"bot:{order.bot_id}",
            state=TradingState.REDUCING,
            reason=text,
            by="repeated_execution",
            ts=fill.ts,
        )
        core.apply(StateSet(halt=halt), out)
    core.reduce("repeated_execution", text, fill.ts, out)


def replace_fill(fill: Fill, amount: Decimal, cost: Decimal) -> Fill:
    """The rest of an inferred fill, under a name of its own."""
    return Fill(
        id=f"{fill.id}~",
        order_id=fill.order_id,
        client_order_id=fill.client_order_id,
        venue=fill.venue,
        symbol=fill.symbol,
        side=fill.side,
        amount=amount,
        price=fill.price,
        cost=cost,
        fee=ZERO,
        fee_currency=fill.fee_currency,
        maker=fill.maker,
        bot_id=fill.bot_id,
        inferred=True,
        ts=fill.ts,
    )


def attached_to(order: Order) -> bool:
    """Whether a trailing stop belongs to it."""
    return order.trailing_stop is not None or (
        (order.trailing_amount is not None or order.trailing_rate is not None)
        and order.type is not OrderType.TRAILING_STOP
    )
