"""Facts of our own making: placements, calls and their answers, operators (2.1, 2.2)."""

from decimal import Decimal
from typing import Final

from realtime.engine.core import NO_AMEND, Core, Out
from realtime.engine.decide import flatten_rest, stays_open
from realtime.engine.market import plain
from realtime.engine.orders import SELL, step
from realtime.engine.rules import fifth, fingerprint, minute, spend, wait
from realtime.model.errors import Code
from realtime.model.events import (
    Absent,
    Accepted,
    Adopted,
    Alert,
    AmendAsked,
    AmendDone,
    AmendFailed,
    Ask,
    BracketSet,
    CancelAsked,
    CancelFailed,
    Note,
    OrderChanged,
    Placed,
    PlaceNext,
    Record,
    Rejected,
    Resolved,
    Unknown,
    Who,
    Withheld,
)
from realtime.model.market import MS
from realtime.model.orders import (
    OURS,
    Asked,
    Order,
    Role,
    Status,
)


UNANSWERED: Final = frozenset({Status.PENDING, Status.UNKNOWN})
"""Of an order of which the venue has not told anything."""

RECENT_KEPT = 1024
"""Placements remembered for `duplicate_order` before old ones are dropped."""


def placed(core: Core, fact: Placed, out: Out) -> None:
    """Take in an order that passed the gate; what it needs is reserved."""
    state, order = core.state, fact.order
    state.orders.add(order, fact.content)
    market = state.markets[order.symbol]
    sells_coins = not market.contract and order.side is SELL
    state.reservations.hold(order.id, market.base if sells_coins else market.cash, fact.cost)
    pace(core, order, fact.ts)
    if state.stood is not None and not order.exit:
        state.stood.entered.append(order.symbol)
    out += [Record(fact), OrderChanged(order)]
    if order.role.protective:
        core.watched.add(order.symbol)
    core.forget(fact.ts)


def pace(core: Core, order: Order, ts: int) -> None:
    """Spend what the rates allow; legs and flattening are free."""
    state, pace = core.state, core.state.pace
    if order.role.protective or order.source == "flatten":
        return
    if ts < pace.ts:
        pace.refill()
    pace.ts = ts
    limits, owner = state.limits, order.owner
    per_owner, burst = limits.order_rate, limits.order_burst
    rate, size = minute(limits.order_rate_minute)
    # Only an exit gets this far with an empty bucket: it takes from the exits' own fifth.
    if order.exit and max(
        wait(pace.owners.get(owner, 0), per_owner, burst, ts),
        wait(pace.account, rate, size, ts),
    ):
        pace.exits[owner] = spend(pace.exits.get(owner, 0), fifth(per_owner), ts)
        rate, _ = minute(fifth(limits.order_rate_minute))
        pace.account_exits = spend(pace.account_exits, rate, ts)
    else:
        pace.owners[owner] = spend(pace.owners.get(owner, 0), per_owner, ts)
        pace.account = spend(pace.account, rate, ts)
    if limits.duplicate_order_ms is not None:
        if len(pace.recent) >= RECENT_KEPT:
            since = ts - limits.duplicate_order_ms * MS
            pace.recent = {key: at for key, at in pace.recent.items() if at > since}
        pace.recent[fingerprint(order)] = ts


def withheld(core: Core, fact: Withheld, out: Out) -> None:
    """An order did not leave; one that was cancelled before stays cancelled."""
    order = core.order(fact.order_id)
    if order.status is not Status.PENDING:
        return  # cancelled before it was withheld
    out.append(Record(fact))
    core.legs.on_cancel(order, fact.by or "engine")
    core.change(order, out, ts=fact.ts, status=fact.status, code=fact.code, reason=fact.reason)
    if fact.by:
        core.legs.on_asked_end(order)
    if order.source == "flatten" and fact.code is Code.RISK_REJECTED:
        # Others have closed a part of it while it waited, or hold it yet.
        rest = flatten_rest(core.state, order, fact.ts)
        out += rest
        if any(isinstance(step, PlaceNext) for step in rest):
            return  # flat is flat: it is closed before it is protected
    elif order.source == "flatten" and not fact.by:
        out.append(stays_open(order, fact.reason))
    core.plan(order.symbol, fact.ts, out)


def known(core: Core, fact: Accepted) -> bool:
    """Whether rows or fills have told already what an answer to a placement tells: it is no fact then."""
    order = core.order(fact.order_id)
    return order.exchange_order_id is not None and order.status not in UNANSWERED


def accepted(core: Core, fact: Accepted, out: Out) -> None:
    """The venue answered a placement, and not all of it is `known`; later rows and fills outrank the answer."""
    order, ack = core.order(fact.order_id), fact.ack
    out.append(Record(fact))
    changes: dict[str, object] = {}
    if order.exchange_order_id is None:
        changes["exchange_order_id"] = ack.exchange_order_id
    if order.status in UNANSWERED:
        # Later rows and fills have outranked an answer to any other order.
        if ack.status is None:
            out.append(Ask(order.id))
        elif ack.status is not order.status:
            changes["status"] = ack.status
        if ack.filled is not None and ack.filled > order.filled:
            changes["filled"] = ack.filled
            if ack.cost is not None:
                changes["cost"] = ack.cost
    if not changes:
        return
    new = core.alter(order, changes, out, ts=fact.ts, evidence="answer")
    core.gap(new, fact.ts)
    core.plan(new.symbol, fact.ts, out)


def rejected(core: Core, fact: Rejected, out: Out) -> None:
    """The venue refused a placement."""
    order = core.order(fact.order_id)
    out.append(Record(fact))
    if not step(order, OURS, Status.REJECTED):
        core.illegal(order, Status.REJECTED, "the venue's refusal", out)
        return
    new = core.change(
        order,
        out,
        ts=fact.ts,
        evidence="answer",
        status=Status.REJECTED,
        code=fact.code,
        reason=fact.reason,
    )
    if order.source == "flatten":
        out.append(stays_open(order, fact.reason))
    core.plan(new.symbol, fact.ts, out)


def unknown(core: Core, fact: Unknown, out: Out) -> None:
    """Nobody answered a placement. Where a row or a fill came before the time-out, that is no news."""
    order = core.order(fact.order_id)
    if order.status not in {Status.PENDING, Status.UNKNOWN}:
        return
    out.append(Record(fact))
    core.owe(order, fact.command, "order.place")
    if order.status is Status.UNKNOWN:
        return
    core.change(order, out, ts=fact.ts, status=Status.UNKNOWN)
    out.append(Ask(order.id))
    if order.protective:
        text = f"whether the {order.role} of {order.parent_id} is in place is not known"
        out.append(Alert("critical", "protection_uncertain", text, {"order_id": order.id}))


def absent(core: Core, fact: Absent, out: Out) -> None:
    """It is proven that the venue never had an order."""
    order = core.order(fact.order_id)
    if order.status is not Status.UNKNOWN:
        return  # evidence of its life has come meanwhile
    out.append(Record(fact))
    new = core.change(
        order,
        out,
        ts=fact.ts,
        evidence="absent",
        status=Status.REJECTED,
        code=Code.ABSENT,
        reason="the venue never had it",
    )
    core.plan(new.symbol, fact.ts, out)


def cancel_asked(core: Core, fact: CancelAsked, out: Out) -> None:
    """A cancel is on its way."""
    order = core.order(fact.order_id)
    if order.status.ended or order.cancel_state is Asked.REQUESTED:
        return
    out.append(Record(fact))
    core.legs.on_cancel(order, fact.by)
    # Of a working order it is why it is being canceled; it stays when that has worked.
    core.change(order, out, ts=fact.ts, cancel_state=Asked.REQUESTED, reason=fact.reason)


def cancel_failed(core: Core, fact: CancelFailed, out: Out) -> None:
    """A cancel was refused or not answered: look-ups decide, the order stays what it is."""
    order = core.order(fact.order_id)
    if order.status.ended:
        return  # its end has answered the cancel
    out.append(Record(fact))
    if fact.command is not None:
        core.owe(order, fact.command, "order.cancel")
    to, why = (Asked.UNKNOWN, order.reason) if fact.unknown else (Asked.NONE, None)
    core.change(order, out, ts=fact.ts, cancel_state=to, reason=why)
    out.append(Ask(order.id))


def amend_asked(core: Core, fact: AmendAsked, out: Out) -> None:
    """An amend is on its way: both versions count."""
    order = core.order(fact.order_id)
    out.append(Record(fact))
    market = core.state.markets[order.symbol]
    sells_coins = not market.contract and order.side is SELL
    currency = market.base if sells_coins else market.cash
    core.state.reservations.hold(order.id, currency, fact.cost)
    core.change(
        order,
        out,
        ts=fact.ts,
        amend_state=Asked.REQUESTED,
        amend_amount=fact.amount,
        amend_price=fact.price,
        amend_stop_price=fact.stop_price,
    )


def amend_done(core: Core, fact: AmendDone, out: Out) -> None:
    """An amend was carried out."""
    order = core.order(fact.order_id)
    out.append(Record(fact))
    changes = amended(order, fact.amount, fact.price, fact.stop_price)
    if fact.exchange_order_id is not None:
        changes["exchange_order_id"] = fact.exchange_order_id
    if order.status.ended:
        # A fill or a cancel came first; only what it had become is still news.
        changes.pop("amount", None)
    new = core.alter(order, changes, out, ts=fact.ts, evidence="answer")
    follow(core, new, fact.ts, out)
    core.plan(new.symbol, fact.ts, out)


def follow(core: Core, leg: Order, ts: int, out: Out) -> None:
    """A leg that was moved by itself moves what its parent asks for, too."""
    if not leg.protective or leg.parent_id is None or leg.status.ended:
        return
    parent = core.order(leg.parent_id)
    if leg.role is Role.STOP_LOSS and parent.stop_loss is not None:
        if leg.stop_price is None or parent.stop_loss.price == leg.stop_price:
            return
        moved = type(parent.stop_loss)(price=leg.stop_price, limit=leg.price)
        core.change(parent, out, ts=ts, stop_loss=moved)
    elif leg.role is Role.TAKE_PROFIT and parent.take_profit is not None:
        if leg.price is None or parent.take_profit.price == leg.price:
            return
        moved = type(parent.take_profit)(price=leg.price, limit=parent.take_profit.limit)
        core.change(parent, out, ts=ts, take_profit=moved)


def amend_failed(core: Core, fact: AmendFailed, out: Out) -> None:
    """An amend was refused or not answered."""
    order = core.order(fact.order_id)
    if fact.unknown and order.amend_state is Asked.NONE and not order.status.ended:
        return  # a row has shown it carried out
    if fact.command is not None:
        core.owe(order, fact.command, "order.amend")
    out.append(Record(fact))
    if order.status.ended or order.amend_state is Asked.NONE:
        core.tell(order, {"order.amend"}, "found", out)
        if fact.unknown and order.status.ended:
            out.append(Ask(order.id))  # which of two terms it ended with
        return
    if fact.unknown:
        core.change(order, out, ts=fact.ts, amend_state=Asked.UNKNOWN)
        out.append(Ask(order.id))
        return
    if order.protective and fact.sent:
        core.legs.refused.add(order.id)
    changes: dict[str, object] = dict(NO_AMEND)
    if order.cost_limit is None and order.filled >= order.amount:
        changes["status"] = Status.FILLED  # there was no larger version to wait for
    core.alter(order, changes, out, ts=fact.ts, evidence="answer")
    core.plan(order.symbol, fact.ts, out)


def bracket_set(core: Core, fact: BracketSet, out: Out) -> None:
    """Attached prices were changed."""
    order = core.order(fact.order_id)
    out.append(Record(fact))
    core.legs.on_bracket(core.state, order)
    core.change(order, out, ts=fact.ts, stop_loss=fact.stop_loss, take_profit=fact.take_profit)
    core.plan(order.symbol, fact.ts, out)


def resolved(core: Core, fact: Resolved, out: Out) -> None:
    """An operator decided; later evidence overrules the operator."""
    order = core.order(fact.order_id)
    if order.status is not Status.UNKNOWN:
        return  # later evidence overrules the operator
    out.append(Record(fact))
    changes: dict[str, object] = {
        "status": fact.status,
        "reason": f"resolved by {fact.by}: {fact.reason}",
    }
    if fact.filled is not None and fact.filled > order.filled:
        changes["filled"] = fact.filled
    new = core.alter(order, changes, out, ts=fact.ts, evidence="operator")
    data = {
        "order_id": order.id,
        "status": fact.status.value,
        "filled": None if fact.filled is None else plain(fact.filled),
        "reason": fact.reason,
    }
    out.append(Note("order_resolved_by_operator", data, Who(subject=fact.by)))
    core.plan(new.symbol, fact.ts, out)


def adopted(core: Core, fact: Adopted, out: Out) -> None:
    """A stranger has an owner."""
    order = core.order(fact.order_id)
    out.append(Record(fact))
    changes: dict[str, object] = {"external": False, "bot_id": fact.bot_id}
    changes |= {"subject": fact.subject, "client": fact.client}
    if fact.client_order_id is not None:
        core.state.orders.rename(order, fact.client_order_id, dict(fact.content))
        changes["client_order_id"] = fact.client_order_id
    core.alter(order, changes, out, ts=fact.ts, evidence="found")
    data = {"order_id": order.id, "bot_id": fact.bot_id}
    who = Who(subject=fact.subject, client=fact.client)
    out.append(Note("order_adopted", data, who))


def amended(
    order: Order, amount: Decimal | None, price: Decimal | None, stop_price: Decimal | None
) -> dict[str, object]:
    """The fields a carried out amend changes."""
    targets = {"amount": amount, "price": price, "stop_price": stop_price}
    changes = NO_AMEND | {name: value for name, value in targets.items() if value is not None}
    if amount is not None and not order.status.ended and order.filled >= amount:
        changes["status"] = Status.FILLED
    return changes
