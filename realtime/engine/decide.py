"""Wishes to facts: what is refused, and what a wish that is granted means.

Rules of this file: (1) a refusal leaves the state as it was; (2) a wish that would change nothing gives no
effect at all, so that repeating it is harmless; (3) every order the engine sends passes `risk.check`.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from hashlib import sha256
from typing import assert_never

from realtime.engine.core import Core, Out
from realtime.engine.forgotten import IGNORED
from realtime.engine.market import down, figure, plain
from realtime.engine.orders import evolve
from realtime.engine.risk import (
    Permission,
    check,
    check_amend,
    door,
    door_amend,
    in_time,
    privileged,
    still_held,
)
from realtime.engine.rules import check_symbol
from realtime.engine.shape import check_shape
from realtime.engine.state import ALL, State
from realtime.model.account import Position
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Adopt,
    Adopted,
    Alert,
    Amend,
    AmendAsked,
    AmendFailed,
    BracketSet,
    Cancel,
    CancelAtVenue,
    CancelFailed,
    Configure,
    Configured,
    CostBasisSet,
    DayRolled,
    Duplicate,
    Fact,
    Filled,
    PeakSet,
    Place,
    Placed,
    PlaceNext,
    Release,
    ReleaseAmend,
    ResetDaily,
    Resolve,
    Resolved,
    SetCostBasis,
    SetState,
    StateSet,
    Submit,
    SubmitAmend,
    Unknown,
    Who,
    Wish,
)
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import (
    OURS,
    TRANSITIONS,
    Approved,
    ApprovedAmend,
    Asked,
    Order,
    OrderType,
    Role,
    Side,
    Status,
    venue_client_id,
)
from realtime.model.risk import Halt, TradingState


PATIENCE = SECOND
"""After this long a repeated cancel goes to the venue again [ns]."""

PEAK_STEP = Decimal("1E-12")
"""A peak that is carried over is rounded down to this: a fall that stood at its limit must not pass it by the rounding."""

FREED_BY_RESET = frozenset({"max_daily_loss"})


def decide(state: State, applier: Core, wish: Wish, out: Out) -> None:
    """Decide a wish and apply its facts.

    Raises:
        Refused: Nothing has changed.
    """
    match wish:
        case Place():
            _place(state, applier, wish, out)
        case Release():
            release(state, wish)
        case ReleaseAmend(approved=approved, ts=ts):
            door_amend(state, _known(state, approved.order.id), approved, ts)
        case Cancel():
            _cancel(state, applier, wish, out)
        case Amend():
            _amend(state, applier, wish, out)
        case SetState():
            _set_state(state, applier, wish, out)
        case Configure():
            _configure(state, applier, wish, out)
        case Resolve():
            _resolve(state, applier, wish, out)
        case Adopt():
            _adopt(state, applier, wish, out)
        case SetCostBasis():
            _set_cost_basis(state, applier, wish, out)
        case ResetDaily():
            _reset_daily(state, applier, wish, out)
        case _:
            assert_never(wish)


# --- orders -----------------------------------------------------------------------------------


def _place(state: State, applier: Core, wish: Place, out: Out) -> None:
    order = wish.order
    known = repeated(state, wish)
    if known is not None:
        if known.external and known.client_order_id != order.client_order_id:
            # The journal came from a backup and the client resends what the venue has already (I3).
            known = _adopt_resent(applier, known, wish, out)
        out.append(Duplicate(known))
        return
    permission = check(state, wish)
    approved = permission.approved
    if wish.closing and approved.order.exit and privileged(state, wish, approved.order):
        state.privileged.add(order.id)
    placed = Placed(order=approved.order, content=wish.content, cost=permission.cost, ts=wish.ts)
    applier.apply(placed, out)
    if permission.first:
        approved = _make_way(applier, permission, wish.ts, out)
    out.append(Submit(approved))


def _make_way(applier: Core, permission: Permission, ts: int, out: Out) -> Approved:
    """Cancel what an order must not meet; it waits for those that are at the venue already."""
    order = permission.approved.order
    meets = f"self-trade prevention: {order.client_order_id} would trade with it"
    for other in permission.first:
        if other.cancel_state is Asked.NONE:
            why = meets if other.side is not order.side else None
            applier.cancel(other, "engine", ts, out, why)
    # What had not left was cancelled here and now.
    after = tuple(
        other.id for other in permission.first if not applier.order(other.id).status.ended
    )
    return replace(permission.approved, after=after)


def repeated(state: State, wish: Place) -> Order | None:
    """The order that this placement has made before; None when its id is new.

    Raises:
        Refused: `conflict`: it was made with other content.
        Forgotten: It has made one that is forgotten.
    """
    order, orders = wish.order, state.orders
    if orders.is_new(order.client_order_id, order.venue_client_id):
        return None
    known = orders.by_client_id(order.client_order_id)
    if known is not None:
        differing = _differing(state.orders.content(known.id), wish.content)
    elif _forgot(state, order.client_order_id, order.venue_client_id, wish.content):
        raise Forgotten(order.client_order_id)
    else:
        known = orders.by_venue_client_id(order.venue_client_id)
        assert known is not None
        differing = [
            name
            for name, there, here in (
                ("amount", known.amount, order.amount),
                ("price", known.price, order.price),
                ("side", known.side, order.side),
                ("symbol", known.symbol, order.symbol),
            )
            if there != here
        ]
    if differing:
        raise _conflict(order.client_order_id, differing)
    return known


class Forgotten(Refused):
    """An order of this id and content ended so long ago that the journal alone knows it; nothing is placed."""

    def __init__(self, client_order_id: str) -> None:
        text = f"client_order_id {client_order_id} was used by an order that ended long ago"
        super().__init__(Code.CONFLICT, text, {"client_order_id": client_order_id})


def forgot(state: State, client_order_id: str, content: Mapping[str, str] | None) -> bool:
    """Whether a forgotten order had this id.

    Raises:
        Refused: `conflict`: it was placed with other content; not without any.
    """
    if state.orders.by_client_id(client_order_id) is not None:
        return False
    at_venue = venue_client_id(state.venue, client_order_id)
    return _forgot(state, client_order_id, at_venue, content)


def _forgot(
    state: State, client_order_id: str, at_venue: str, content: Mapping[str, str] | None
) -> bool:
    if not state.orders.forgot_client(at_venue):
        return False
    if content is not None and not state.orders.forgot_content(at_venue, content):
        # Its content is known by its hash alone, hence not which fields differ.
        raise _conflict(client_order_id, [])
    return True


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    if before == now:
        return []
    names = (set(before) | set(now)) - IGNORED
    return sorted(name for name in names if before.get(name) != now.get(name))


def _conflict(client_order_id: str, fields: list[str]) -> Refused:
    return Refused(
        Code.CONFLICT,
        f"client_order_id {client_order_id} was used with other content",
        {"client_order_id": client_order_id, "fields": fields},
    )


def _adopt_resent(applier: Core, stranger: Order, wish: Place, out: Out) -> Order:
    order = wish.order
    adopted = Adopted(
        order_id=stranger.id,
        bot_id=order.bot_id,
        subject=order.subject,
        client=order.client,
        client_order_id=order.client_order_id,
        content=wish.content,
        ts=wish.ts,
    )
    applier.apply(adopted, out)
    return applier.order(stranger.id)


def release(state: State, wish: Release) -> None:
    """Let an order through the door, or refuse it; without one that has waited nothing is worked out."""
    order = _known(state, wish.order_id)
    door(state, order, wish.ts)
    if wish.waited:
        still_held(state, order)
    if wish.leaves:
        state.released.add(order.id)


def _known(state: State, order_id: str) -> Order:
    order = state.orders.get(order_id)
    if order is None:
        raise Refused(
            Code.NOT_FOUND, f"no order {order_id}", {"what": "order", "order_id": order_id}
        )
    return order


def _cancel(state: State, applier: Core, wish: Cancel, out: Out) -> None:
    order = _known(state, wish.order_id)
    if order.status.ended:
        return
    if order.cancel_state is Asked.REQUESTED:
        if wish.ts - order.updated_ts >= PATIENCE:
            out.append(CancelAtVenue(order))
        return
    applier.cancel(order, wish.who.subject or "local", wish.ts, out)


def _amend(state: State, applier: Core, wish: Amend, out: Out) -> None:
    asked, approved, bracket = judge_amend(state, wish)
    if asked is not None and approved is not None:
        applier.apply(asked, out)
        out.append(SubmitAmend(approved))
    if bracket is not None:
        applier.apply(bracket, out)


def judge_amend(
    state: State, wish: Amend
) -> tuple[AmendAsked | None, ApprovedAmend | None, BracketSet | None]:
    """What an amend would do: at the venue, and to the attached legs; None for what stays.

    Raises:
        Refused: As for a placement, `conflict` for an order that cannot be changed now, `expired`.
    """
    order = _known(state, wish.order_id)
    bracket = _bracket(state, order, wish)
    changes = any(
        target is not None and target != now
        for target, now in (
            (wish.amount, order.amount),
            (wish.price, order.price),
            (wish.stop_price, order.stop_price),
        )
    )
    if changes or bracket is not None:
        in_time(wish.expires_at, wish.ts)
    if not changes:
        return None, None, bracket
    if order.status is not Status.OPEN:
        raise Refused(
            Code.CONFLICT,
            f"order {order.client_order_id} is {order.status}; only an open order can be amended",
            {"status": order.status.value},
        )
    if order.amend_state is not Asked.NONE or order.cancel_state is Asked.REQUESTED:
        raise Refused(
            Code.CONFLICT,
            f"an amend or cancel of {order.client_order_id} is under way",
            {"amend_state": order.amend_state.value, "cancel_state": order.cancel_state.value},
        )
    approved, cost = check_amend(state, order, wish)
    asked = AmendAsked(
        order_id=order.id,
        amount=wish.amount,
        price=wish.price,
        stop_price=wish.stop_price,
        cost=cost,
        ts=wish.ts,
    )
    return asked, approved, bracket


def _bracket(state: State, order: Order, wish: Amend) -> BracketSet | None:
    """The change of attached legs in an amend; it is judged like the legs of a placement."""
    stop = order.stop_loss if wish.stop_loss is None else wish.stop_loss
    target = order.take_profit if wish.take_profit is None else wish.take_profit
    if (stop, target) == (order.stop_loss, order.take_profit):
        return None
    check_symbol(wish.who, order.symbol)
    held = order.filled and state.holding(order.symbol, order.side.opposite)
    if order.exit or (order.status.ended and not held):
        raise Refused(
            Code.CONFLICT,
            f"order {order.client_order_id} holds nothing that a stop could protect",
            {"status": order.status.value},
        )
    check_shape(evolve(order, stop_loss=stop, take_profit=target), state.markets[order.symbol])
    return BracketSet(order_id=order.id, stop_loss=stop, take_profit=target, ts=wish.ts)


# --- trading state ----------------------------------------------------------------------------


_STRICTNESS = {TradingState.ACTIVE: 0, TradingState.REDUCING: 1, TradingState.HALTED: 2}


def _set_state(state: State, applier: Core, wish: SetState, out: Out) -> None:
    _check_scope(state, wish.scope)
    now = state.halts.get(wish.scope)
    current = now.state if now is not None else TradingState.ACTIVE
    resumes = wish.state is TradingState.ACTIVE
    if current is wish.state or (not resumes and _STRICTNESS[wish.state] < _STRICTNESS[current]):
        return  # a halt never loosens: only resuming does
    if resumes and now is not None:
        _check_resume(state, wish, now)
    halt = Halt(
        scope=wish.scope,
        state=wish.state,
        reason=wish.reason,
        by=wish.who.subject or "local",
        ts=wish.ts,
    )
    applier.apply(StateSet(halt=halt), out)
    if resumes and now is not None and now.by == "max_drawdown":
        # The peak starts anew at the equity of this moment (3.5).
        equity = state.equity_now(wish.ts).value
        pnl = None if equity is None else state.daily_pnl(equity)
        start = state.account.day_info.equity_start
        if pnl is not None and start is not None:
            applier.apply(PeakSet(peak_equity=start + pnl, reset=True, ts=wish.ts), out)


def _check_scope(state: State, scope: str) -> None:
    kind, _, name = scope.partition(":")
    fine = (
        scope == ALL
        or (kind == "venue" and name == state.venue)
        or (kind == "symbol" and name in state.markets)
        or (kind == "bot" and name)
    )
    if not fine:
        raise Refused(
            Code.NOT_FOUND, f"there is no scope {scope}", {"what": kind or "scope", "scope": scope}
        )


def _check_resume(state: State, wish: SetState, now: Halt) -> None:
    """What has to hold before trading is let loose again (3.4)."""
    _check_admin(wish.who, "trading.resume")
    if not state.ready:
        raise Refused(
            Code.VENUE_UNAVAILABLE,
            f"{state.venue} is not ready: {state.ready_reason}",
            retry_after=1.0,
        )
    unknown = [order.client_order_id for order in state.orders.unknown()]
    if unknown and not wish.force:
        raise Refused(
            Code.CONFLICT,
            f"{len(unknown)} orders have an unknown outcome; force resumes nevertheless",
            {"unknown": unknown},
        )
    if now.by in FREED_BY_RESET:
        loss, _ = state.loss_and_fall(state.equity(wish.ts).value)
        limit = state.limits.max_daily_loss
        if loss is not None and limit is not None and loss > limit:
            raise Refused(
                Code.CONFLICT,
                f"daily loss {plain(round(loss, 6))} exceeds max_daily_loss {plain(limit)}; "
                "risk.reset_daily restarts the count",
                {"rule": "max_daily_loss", "limit": figure(limit), "value": figure(loss)},
            )


def _configure(state: State, applier: Core, wish: Configure, out: Out) -> None:
    current = state.limits.version
    if wish.limits.version != current + 1:
        raise Refused(
            Code.CONFLICT,
            f"the limits are at version {current}; the new ones must be version {current + 1}",
            {"version": current},
        )
    applier.apply(Configured(limits=wish.limits, by=wish.who.subject, ts=wish.ts), out)


def _reset_daily(state: State, applier: Core, wish: ResetDaily, out: Out) -> None:
    _check_admin(wish.who, "risk.reset_daily")
    # By the prices of this moment: who resets right after a trade has lost nothing since.
    equity = state.equity_now(wish.ts)
    if equity.value is None:
        raise Refused(
            Code.VENUE_UNAVAILABLE, f"equity is not known: {equity.reason}", retry_after=1.0
        )
    rolled = roll_day(state, state.account.day_info.day, equity.value, wish.ts, wish.reason)
    applier.apply(rolled, out)
    lift(state, applier, wish.who.subject, wish.reason, wish.ts, out)


def roll_day(state: State, day: str, equity: Decimal, ts: int, reset: str | None) -> DayRolled:
    """The fact that begins a day: its equity is now's, and as far below the peak as it was."""
    pnl = state.daily_pnl(equity)
    info = state.account.day_info
    peak = info.peak_equity
    if peak is not None and pnl is not None and info.equity_start is not None:
        # The peak was counted without the day's transfers, which are part of the start from now on: who has taken
        # most of an account out has not lost more of it.
        reached = info.equity_start + pnl
        if equity != reached and reached > 0:
            peak = down(peak * equity / reached, PEAK_STEP)
    return DayRolled(
        day=day,
        equity_start=equity,
        peak_equity=equity if peak is None or peak < equity else peak,
        reset=reset,
        ts=ts,
    )


def lift(state: State, applier: Core, by: str, reason: str, ts: int, out: Out) -> None:
    """End what `max_daily_loss` had set."""
    now = state.halts.get(ALL)
    if now is not None and now.by in FREED_BY_RESET:
        halt = Halt(scope=ALL, state=TradingState.ACTIVE, reason=reason, by=by, ts=ts)
        applier.apply(StateSet(halt=halt), out)


# --- operators --------------------------------------------------------------------------------


def _check_admin(who: Who, op: str) -> None:
    if not who.admin:
        raise Refused(Code.FORBIDDEN, f"{op} needs scope admin", {"scope": "admin"})


def _resolve(state: State, applier: Core, wish: Resolve, out: Out) -> None:
    _check_admin(wish.who, "order.resolve")
    order = _known(state, wish.order_id)
    if order.status is not Status.UNKNOWN:
        raise Refused(
            Code.CONFLICT,
            f"order {order.client_order_id} is {order.status}; only an unknown one can be resolved",
            {"status": order.status.value},
        )
    if wish.status not in TRANSITIONS[Status.UNKNOWN][OURS]:
        text = f"an unknown order cannot become {wish.status}"
        raise Refused(Code.INVALID, text, {"fields": [{"field": "status", "message": text}]})
    booked = state.orders.booked(order.id)
    filled = wish.filled
    if filled is None:
        filled = order.amount if wish.status is Status.FILLED else order.filled
    if not order.filled <= filled <= max(order.amount, order.filled) or (
        wish.status is Status.FILLED and filled != order.amount
    ):
        text = f"filled must be {plain(order.filled)} to {plain(order.amount)}, was {plain(filled)}"
        raise Refused(Code.INVALID, text, {"fields": [{"field": "filled", "message": text}]})
    resolved = Resolved(
        order_id=order.id,
        status=wish.status,
        filled=filled,
        reason=wish.reason,
        by=wish.who.subject,
        ts=wish.ts,
    )
    applier.apply(resolved, out)
    if filled > booked:
        # The operator's word moves the position, too; a real fill replaces this one.
        applier.apply(_inferred(state, order, filled - booked, None, wish.ts), out)


def _inferred(
    state: State, order: Order, amount: Decimal, price: Decimal | None, ts: int
) -> Filled:
    if price is None:
        found = state.quotes.mark(order.symbol)
        price = order.price or order.stop_price or (found[0] if found is not None else ZERO)
    count = len(state.orders.fills_of(order.id))
    return Filled(
        venue=state.venue,
        symbol=order.symbol,
        trade_id=f"inferred:{order.id}:{count}",
        exchange_order_id=order.exchange_order_id or "",
        venue_client_id=order.venue_client_id,
        side=order.side,
        amount=amount,
        price=price,
        fee=ZERO,
        fee_currency=state.markets[order.symbol].cash,
        maker=False,
        inferred=True,
        ts=ts,
    )


def missing_fills(state: State, order_id: str, ts: int) -> list[Fact]:
    """The fill that an order's row implies and nobody has (2.5)."""
    order = _known(state, order_id)
    booked = state.orders.booked(order_id)
    rest = order.filled - booked
    if rest <= 0:
        return []
    known = sum((fill.cost for fill in state.orders.fills_of(order_id)), ZERO)
    cost = order.cost - known
    average = state.markets[order.symbol].average(cost, rest) if cost > 0 else None
    return [_inferred(state, order, rest, average, ts)]


def _adopt(state: State, applier: Core, wish: Adopt, out: Out) -> None:
    _check_admin(wish.who, "order.adopt")
    order = _known(state, wish.order_id)
    if not order.external:
        raise Refused(
            Code.CONFLICT,
            f"order {order.client_order_id} already has an owner",
            {"order_id": order.id},
        )
    adopted = Adopted(
        order_id=order.id,
        bot_id=wish.bot_id,
        subject=wish.who.subject,
        client=wish.who.client,
        ts=wish.ts,
    )
    applier.apply(adopted, out)


def _set_cost_basis(state: State, applier: Core, wish: SetCostBasis, out: Out) -> None:
    _check_admin(wish.who, "position.set_cost_basis")
    for position in state.account.positions.values():
        if position.id == wish.position_id and position.amount:
            break
    else:
        raise Refused(
            Code.NOT_FOUND,
            f"no position {wish.position_id}",
            {"what": "position", "position_id": wish.position_id},
        )
    if not (wish.entry_price.is_finite() and wish.entry_price > 0):
        text = f"must be above 0, was {wish.entry_price}"
        raise Refused(Code.INVALID, text, {"fields": [{"field": "entry_price", "message": text}]})
    if position.entry_price == wish.entry_price:
        return
    if state.markets[position.symbol].contract and position.cost is not None:
        # Its profit is paid in money by that price: another one would be money that nobody earned. Who has told it is
        # not remembered, so what was said here is final, too.
        raise Refused(
            Code.CONFLICT,
            f"the entry price of {position.id} is known",
            {"position_id": position.id},
        )
    told = CostBasisSet(
        position_id=wish.position_id,
        entry_price=wish.entry_price,
        by=wish.who.subject,
        ts=wish.ts,
    )
    applier.apply(told, out)


# --- what the engine and the desk wish for themselves -------------------------------------------


def flatten(state: State, scope: str, ts: int) -> list[Place]:
    """One reduce-only market order for every position of a scope (K7), less what others close.

    They do so for certain, as rows show, or as far as anybody knows: exits that do not give way count as if filled.
    """
    # Where others have all of it, the gate says so to those who want to be flat.
    return [
        replace(wish, order=evolve(wish.order, amount=_closable(state, wish.order) or whole))
        for wish in _closing(state, scope, ts)
        if (whole := wish.order.amount)
    ]


def flatten_rest(state: State, order: Order, ts: int) -> list[PlaceNext | Alert]:
    """Close what is left of what an order was to flatten when it had waited; of a bot its share, and nobody else's.

    What others hold is told, and not asked for again: the rest is less each time, so this ends.
    """
    steps: list[PlaceNext | Alert] = []
    for wish in _closing(state, f"symbol:{order.symbol}", ts):
        rest = wish.order
        if order.bot_id is not None:
            share = state.account.shares.of(order.bot_id, order.symbol).amount
            held = share if order.side is Side.SELL else -share
            most = down(max(held, ZERO), state.markets[order.symbol].amount_step)
            owner = {"bot_id": order.bot_id, "subject": order.subject, "client": order.client}
            rest = evolve(rest, amount=min(rest.amount, most), **owner)
        amount = _closable(state, rest, waited=True)
        if amount:
            steps.append(PlaceNext(replace(wish, order=evolve(rest, amount=amount))))
        if amount < rest.amount:
            kept = plain(rest.amount - amount)
            steps.append(stays_open(order, f"other orders that still work hold {kept} of it"))
    return steps


def stays_open(order: Order, why: str) -> Alert:
    """The alarm about a position, or a part of one, that was to be flat and is not."""
    data = {"symbol": order.symbol, "order_id": order.id}
    return Alert("critical", "flatten_refused", f"{order.symbol} stays open: {why}", data)


def _closable(state: State, order: Order, *, waited: bool = False) -> Decimal:
    """How much of an order that flattens the gate lets pass, in lots."""
    capacity = state.capacity(order, waited=waited)
    return down(min(order.amount, capacity), state.markets[order.symbol].amount_step)


def _closing(state: State, scope: str, ts: int) -> list[Place]:
    """For every position of a scope a wish to close all of it that no row shows as closed, in lots; none of nothing."""
    kind, _, name = scope.partition(":")
    tradable = state.account.tradable()
    return [
        _closing_one(state, position, ts)
        for symbol, position in sorted(state.account.positions.items())
        if symbol in tradable and (kind != "symbol" or symbol == name)
    ]


def _closing_one(state: State, position: Position, ts: int) -> Place:
    market = state.markets[position.symbol]
    side = Side.SELL if position.amount > 0 else Side.BUY
    left = abs(position.amount) - state.unbooked(position.symbol, side)
    secret = sha256(f"{position.symbol}|{position.amount}|{ts}".encode()).hexdigest()[:24]
    client_order_id = f"flat-{secret}"
    order = Order(
        id=f"f-{secret}",
        client_order_id=client_order_id,
        venue_client_id=venue_client_id(state.venue, client_order_id),
        venue=state.venue,
        symbol=position.symbol,
        type=OrderType.MARKET,
        side=side,
        amount=down(max(left, ZERO), market.amount_step),
        reduce_only=True,
        position_type="swap" if market.contract else "spot",
        role=Role.EXIT,
        subject="engine",
        source="flatten",
        created_ts=ts,
        updated_ts=ts,
    )
    return Place(order=order, who=Who(subject="engine", source="flatten"), ts=ts)


def unfinished(state: State, ts: int) -> list[Fact]:
    """Calls that were under way when the process ended: their outcome is unknown."""
    facts: list[Fact] = []
    for order in state.orders.working():
        command = f"restart:{order.id}"
        if order.status is Status.PENDING:
            facts.append(Unknown(order_id=order.id, command=command, ts=ts))
        if order.amend_state is Asked.REQUESTED:
            facts.append(
                AmendFailed(
                    order_id=order.id, unknown=True, command=command, reason="restart", ts=ts
                )
            )
        if order.cancel_state is Asked.REQUESTED:
            facts.append(
                CancelFailed(
                    order_id=order.id, unknown=True, command=command, reason="restart", ts=ts
                )
            )
    return facts
