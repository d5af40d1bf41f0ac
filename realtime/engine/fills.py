"""Executions: each is booked once, moves order, position and cash, and makes the legs fit (2.5)."""

from decimal import Decimal

from realtime.engine.account import Booked
from realtime.engine.acts import amended
from realtime.engine.content import waits
from realtime.engine.core import IDLE, Core, Out
from realtime.engine.evidence import is_late, overfill, report_stranger, stranger
from realtime.engine.evolve import alter_order, fill_order
from realtime.engine.orders import is_entry, largest
from realtime.engine.rules import EXECUTIONS_IN
from realtime.engine.state import State
from realtime.model.events import (
    Alert,
    Ask,
    FillBooked,
    Filled,
    PositionChanged,
    Record,
    RiskChanged,
    StateSet,
)
from realtime.model.market import ZERO
from realtime.model.orders import (
    Asked,
    Fees,
    Fill,
    Order,
    OrderType,
    Side,
    Status,
)
from realtime.model.risk import Halt, TradingState


NOTHING, OPEN, FILLED = Asked.NONE, Status.OPEN, Status.FILLED
"""Asked for with every fill: a name of the module is read in a tenth of the time that one of a class takes."""


def filled(core: Core, seen: Filled, out: Out) -> None:
    """Take an execution, once."""
    state, orders, symbol = core.state, core.state.orders, seen.symbol
    if orders.seen(symbol, seen.trade_id) or symbol not in state.markets:
        return
    order = orders.find(seen)
    if (order is None or is_late(order)) and orders.forgot_fill(symbol, seen.trade_id):
        return
    account = state.account
    early = account.opened_ts is None or seen.ts < account.opened_ts
    if (order is None or order.external) and early and not state.replaying:
        nothing = account.opened_ts is None and state.ever_ready
        if not nothing or seen.ts <= account.passed:
            account.passed = max(account.passed, seen.ts)
            return  # it is in what the first look at the account finds
    if order is None:
        if seen.venue_client_id is None and waits(orders, symbol, seen.side, seen.ts):
            return  # it may be one of ours whose answer is on its way: it is asked for again
        late = orders.forgot(symbol, seen.exchange_order_id, seen.venue_client_id)
        order = stranger(
            core,
            symbol=symbol,
            exchange_order_id=seen.exchange_order_id,
            venue_client_id=seen.venue_client_id,
            side=seen.side,
            amount=seen.amount,
            ts=seen.ts,
            late=late,
        )
        orders.add(order, {})
        orders.unsized.add(order.id)
        out.append(Record(seen))
        if late:
            report_late(order, seen, out)
        else:
            report_stranger(core, order, out)
            out.append(Ask(order.id))
    else:
        out.append(Record(seen))
        if (early or state.replaying) and order.external and not orders.fills_of(order.id):
            order = as_booked(core, order, seen, early=early)
        if order.external:
            order = grown(core, order, seen, out)
    replaced = ZERO
    if not seen.inferred and orders.fills_of(order.id):
        order, replaced = replace_inferred(core, order, seen.amount, out)
    done = account.book(seen, order)
    fill = done.fill
    state.forget_equity()
    booked = orders.book(fill)
    if order.strategy_id is not None and is_entry(order):
        executed(core, order, fill, out)
    new = filled_order(core, order, seen, booked, out)
    if new.filled > booked or new.id in orders.gaps:
        core.gap(new, seen.ts)
    out.append(FillBooked(fill))
    publish_positions(core, done, out)
    if account.shares and not seen.inferred:
        fit_shares(state, fill)
    if done.closed is not None:
        streak(core, order, out)
    if core.legs.concerns(state, symbol) or new.stop_loss or new.take_profit or attached_to(new):
        core.legs.on_fill(state, new, fill, replaced)
        core.plan(symbol, seen.ts, out)


def fit_shares(state: State, fill: Fill) -> None:
    """Let bots have no more of a coin than there is, once all that is known to have executed is booked.

    Less than nothing there is not: then coins were sold that have come, and nobody has told yet how many.
    """
    symbol, market = fill.symbol, state.markets[fill.symbol]
    if market.contract:
        return
    holding = state.account.positions.get(state.place_of(symbol))
    if holding is None or (
        state.orders.gaps and any(state.unbooked(symbol, side) for side in Side)
    ):
        return
    lot = market.amount_step
    if holding.amount > -lot:
        held = max(holding.amount, ZERO)
        state.account.shares.fit(state.siblings(symbol), held, lot, fill.ts)


def as_booked(core: Core, order: Order, seen: Filled, *, early: bool) -> Order:
    """Let a stranger's order have booked nothing before its first fill of the journal, where that fill shows it.

    An older program booked what had filled before the first look at the account: as it was told, or as the difference.
    """
    orders = core.state.orders
    booked = orders.booked(order.id)
    if booked and (early or (seen.inferred and booked + seen.amount > order.filled)):
        return orders.put(order, ZERO)
    return order


def grown(core: Core, order: Order, seen: Filled, out: Out) -> Order:
    """Let an order that is not ours be as large as what is told of it, where nobody knows its amount, or does any more."""
    orders = core.state.orders
    more = orders.booked(order.id) + seen.amount - order.amount
    late = order.status is FILLED and is_late(order)
    if more > 0 and (late or order.id in orders.unsized):
        order = orders.put(order, amount=order.amount + more)
        if late:
            report_late(order, seen, out)
    return order


def report_late(order: Order, seen: Filled, out: Out) -> None:
    """Tell of an execution that is booked apart from its order, which is forgotten."""
    text = f"order {seen.exchange_order_id} ended long ago and has filled {seen.amount}"
    data = {"order_id": order.id, "trade_id": seen.trade_id}
    out.append(Alert("warning", "late_fill", text, data))


def filled_order(core: Core, order: Order, seen: Filled, booked: Decimal, out: Out) -> Order:
    """What a fill does to its order; `booked` is the sum of its fills with this one."""
    filled, cost, fees, status = order.filled, order.cost, order.fees, order.status
    late = status.ended and booked > filled
    if booked >= filled:
        filled, cost = booked, ZERO
        for fill in core.state.orders.fills_of(order.id):
            cost += fill.cost
    if seen.fee:
        fees = with_fee(fees, seen.fee_currency, seen.fee)
    most = largest(order)
    if booked >= most and order.cost_limit is None:
        # While it may be larger by an amend without an answer, the rest of that may still work. A buy by cost ends by
        # its row.
        status = FILLED
    elif not status.ended:
        status = OPEN
    name = order.exchange_order_id or seen.exchange_order_id or None
    ts = max(seen.ts, order.updated_ts)
    new = fill_order(order, status, filled, cost, fees, name, ts, order.version + 1)
    if not (order.amend_state is NOTHING and order.cancel_state is NOTHING):
        new = alter_order(new, overtaken(order, new, booked, most))
    core.turn(order, new, out, "fill", booked)
    if late and order.status is not FILLED:
        text = f"order {order.client_order_id} was {order.status} and has filled {seen.amount}"
        data = {"order_id": order.id, "trade_id": seen.trade_id}
        out.append(Alert("warning", "late_fill", text, data))
    if booked > most and order.cost_limit is None and booked > order.filled:
        overfill(core, new, seen.ts, out)
    return new


def with_fee(fees: Fees, currency: str, fee: Decimal) -> Fees:
    """Fees by currency with one more."""
    if not fees:
        return ((currency, ZERO + fee),)
    sums = dict(fees)
    sums[currency] = sums.get(currency, ZERO) + fee
    return tuple(sorted(sums.items()))


def overtaken(order: Order, new: Order, booked: Decimal, most: Decimal) -> dict[str, object]:
    """What a fill says of an amend or a cancel that is under way."""
    changes: dict[str, object] = {}
    if new.status.ended and not order.status.ended:
        # Nothing is under way on an order that is over, and it was not canceled.
        changes |= IDLE | {"reason": None}
    if order.amount < booked <= most:
        # More than the old version had: the amend was carried out, whatever became of its answer.
        changes |= amended(order, order.amend_amount, order.amend_price, order.amend_stop_price)
    return changes | {"status": new.status}


def replace_inferred(core: Core, order: Order, amount: Decimal, out: Out) -> tuple[Order, Decimal]:
    """A real fill takes the place of an inferred one; what is left of that is inferred again.

    Returns:
        The order, and how much of the real fill had been inferred [base, contracts].
    """
    state, replaced = core.state, ZERO
    for fill in state.orders.fills_of(order.id):
        if not fill.inferred or amount <= 0:
            continue
        out += [PositionChanged(new) for _, new in state.account.unbook(fill)]
        order = state.orders.put(order, state.orders.unbook(fill))
        rest = fill.amount - amount
        replaced += min(fill.amount, amount)
        amount -= fill.amount
        if rest > 0:
            done = state.account.book(rest_of(fill, rest), order)
            order = state.orders.put(order, state.orders.book(done.fill))
            publish_positions(core, done, out)
    return order, replaced


def publish_positions(core: Core, done: Booked, out: Out) -> None:
    """Publish the positions a fill changed."""
    for _, new in done.positions:
        out.append(PositionChanged(new))
        if new.amount:
            core.watched.add(new.symbol)


def streak(core: Core, order: Order, out: Out) -> None:
    """Tell when a losing streak has reached its limit, after a trade that was closed."""
    limit = core.state.limits.loss_streak
    if limit is None:
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


def rest_of(fill: Fill, amount: Decimal) -> Filled:
    """What is left of an inferred execution, under a name of its own."""
    return Filled(
        venue=fill.venue,
        symbol=fill.symbol,
        trade_id=f"{fill.id}~",
        exchange_order_id="",
        venue_client_id=None,
        side=fill.side,
        amount=amount,
        price=fill.price,
        fee=ZERO,
        fee_currency=fill.fee_currency,
        maker=fill.maker,
        inferred=True,
        ts=fill.ts,
    )


def attached_to(order: Order) -> bool:
    """Whether a trailing stop belongs to it."""
    return order.trailing_stop is not None or (
        (order.trailing_amount is not None or order.trailing_rate is not None)
        and order.type is not OrderType.TRAILING_STOP
    )
