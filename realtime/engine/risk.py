"""The pre-trade gate: one synchronous call from a wish to permission (trading document, section 3).

Rules of this file:
1 `Approved` and `ApprovedAmend` are made here and nowhere else in the package.
2 Every rule that has something to say is asked; the first failure names the refusal, all of them stand in its
  details (R1).
3 A preview is the same code at the same state: it judges, and nothing is kept.
"""

from dataclasses import replace
from decimal import Decimal

from realtime.engine.case import Case, Verdict, make
from realtime.engine.market import down, figure, nearest, plain, up
from realtime.engine.orders import BUY, MARKET, PENDING, evolve
from realtime.engine.rules import (
    CODES,
    OF_PRICE,
    RULES,
    asked,
    its_symbols,
    kind_of,
    passes_halt,
    rate_wait,
)
from realtime.engine.shape import check_shape
from realtime.engine.sizing import stop_and_target
from realtime.engine.state import State
from realtime.model.errors import Code, Refused
from realtime.model.events import Amend, Place
from realtime.model.frozen import frozen
from realtime.model.market import SECOND, ZERO, Market
from realtime.model.orders import (
    Approved,
    ApprovedAmend,
    Asked,
    Order,
    Role,
)
from realtime.model.risk import Backing, Halt, Preview, RuleResult, TradingState


@frozen
class Permission:
    """What the gate grants.

    Attributes:
        approved: For the venue.
        cost: Reserved at worst: cash, or of the base currency for a spot sell.
        first: Own orders to be cancelled before it goes out (G22, legs and resting exits that give way).
    """

    approved: Approved
    cost: Decimal
    first: tuple[Order, ...]


def market_of(state: State, symbol: str) -> Market:
    """The market of a symbol.

    Raises:
        Refused: `not_found`.
    """
    market = state.markets.get(symbol)
    if market is None:
        raise Refused(
            Code.NOT_FOUND,
            f"{state.venue} has no market {symbol}",
            {"what": "symbol", "symbol": symbol},
        )
    return market


def check(state: State, place: Place) -> Permission:
    """Judge a placement.

    Raises:
        Refused: With the code of the first failing rule; nothing has changed.
    """
    check_shape(place.order, market_of(state, place.order.symbol))
    case, verdict = _judge(state, place, whole=False)
    if verdict.failed:
        raise refusal(state, case, verdict)
    order = case.order
    if case.exit and not order.role.closes:
        order = evolve(order, role=Role.EXIT)
    first = case.met if case.exit else []
    if case.exit and order.type is MARKET:
        first = [*first, *state.giving_way(order)]
        if not case.market.contract:
            first = [*first, *_giving_way(state, order)]
    approved = Approved(order=order, warnings=tuple(verdict.warnings))
    return Permission(approved, case.needs or ZERO, tuple(first))


def _giving_way(state: State, order: Order) -> list[Order]:
    """Legs that hold the coins a market exit needs: cancelled first, replanned when they have ended.

    Only as many as it takes, of the oldest parents first: theirs is the part that the exit closes. Legs being
    cancelled count, because what they free is what earlier exits have reserved.
    """
    if order.role.protective:
        return _other_leg(state, order, order.parent_id)
    groups: dict[str, list[Order]] = {}
    for symbol in state.siblings(order.symbol):
        for leg in state.orders.working_in(symbol):
            if leg.side is order.side and leg.protective:
                groups.setdefault(leg.parent_id or leg.id, []).append(leg)
    free = state.free(state.markets[order.symbol].base) if groups else None
    if free is None:
        return []
    found: list[Order] = []
    for parent_id in sorted(groups, key=lambda parent_id: _age(state, parent_id)):
        if free >= order.amount:
            break
        # The legs of a parent hold the same coins.
        free += max(state.orders.worst_of(leg) for leg in groups[parent_id])
        found += groups[parent_id]
    return found


def _other_leg(state: State, leg: Order, parent_id: str | None) -> list[Order]:
    """To a stop or target that goes out at the market only the other one of its parent gives way."""
    free = state.free(state.markets[leg.symbol].base)
    if free is None or free >= leg.amount:
        return []
    return [other for other in state.orders.legs_of(parent_id or "") if not other.status.ended]


def _age(state: State, order_id: str) -> tuple[int, int, str]:
    """What sorts orders by their age."""
    order = state.orders.get(order_id)
    return (order.created_ts if order is not None else 0, len(order_id), order_id)


def _judge(
    state: State, place: Place, old: Order | None = None, *, whole: bool
) -> tuple[Case, Verdict]:
    case, verdict = make(state, place, old), Verdict(whole=whole)
    for rule in RULES if whole else asked(kind_of(case, state), state.off):
        rule(case, state, verdict)
    return case, verdict


def check_amend(state: State, old: Order, amend: Amend) -> tuple[ApprovedAmend, Decimal]:
    """Judge an amend as the replacement it is (R5).

    Returns:
        Permission, and how much more the new version reserves.

    Raises:
        Refused: `invalid` below what has filled, else as for a placement.
    """
    new = _amended(old, amend)
    market = market_of(state, old.symbol)
    check_shape(new, market)
    if new.amount <= old.filled:
        text = f"amount {plain(new.amount)} {market.base} is not above what has filled, {plain(old.filled)}"
        raise Refused(Code.INVALID, text, {"fields": [{"field": "amount", "message": text}]})
    place = Place(order=new, who=amend.who, ts=amend.ts)
    case, verdict = _judge(state, place, old, whole=False)
    if verdict.failed and not _gives_back(old, new):
        raise refusal(state, case, verdict)
    if verdict.failed and (
        hard := [
            r for r in verdict.failed if CODES.get(r.rule) is Code.INVALID and r.value is not None
        ]
    ):
        verdict.failed = hard
        raise refusal(state, case, verdict)
    approved = ApprovedAmend(
        order=old,
        amount=amend.amount,
        price=amend.price,
        stop_price=amend.stop_price,
        expires_at=amend.expires_at,
    )
    return approved, case.needs or ZERO


def _amended(old: Order, to: Amend | ApprovedAmend) -> Order:
    return evolve(
        old,
        amount=old.amount if to.amount is None else to.amount,
        price=old.price if to.price is None else to.price,
        stop_price=old.stop_price if to.stop_price is None else to.stop_price,
    )


def _gives_back(old: Order, new: Order) -> bool:
    """Whether an amend only makes an order smaller: that is as good as a cancel and always allowed."""
    return new.amount <= old.amount and new.price == old.price and new.stop_price == old.stop_price


def door(state: State, order: Order, ts: int) -> None:
    """The door check, behind every queue and disk write (2.1, step 6).

    Raises:
        Refused: `conflict` when it has ended meanwhile, `expired`, `halted`, `venue_unavailable`.
    """
    if order.status is not PENDING:
        raise Refused(
            Code.CONFLICT,
            f"order {order.client_order_id} is {order.status} already; nothing was sent",
        )
    in_time(order.expires_at, ts)
    halt = state.halt_of(order.symbol, order.bot_id)
    if halt is not None and not _door_open(state, order, halt.state):
        raise _shut(halt)
    if not state.ready and not (order.exit and state.ever_ready):
        raise _not_ready(state)


def still_held(state: State, order: Order) -> None:
    """Let an exit that has waited for others leave only whole: they may have sold what it was to sell.

    It is neither made smaller nor sent in vain. Executions that rows have shown and nobody has told yet count as well.

    Raises:
        Refused: `risk_rejected`.
    """
    left, base = state.capacity(order, order, waited=True), state.markets[order.symbol].base
    for order_id in state.orders.gaps:
        other = state.orders.get(order_id)
        assert other is not None
        if other.symbol in state.siblings(order.symbol) and not _counted(order, other):
            left -= other.filled - state.orders.booked(order_id)
    if left >= order.amount:
        return
    left = max(left, ZERO)
    there = f"only {plain(left)} {base} are left of them" if left else "nothing is left of them"
    raise Refused(
        Code.RISK_REJECTED,
        f"while it waited, other orders closed or still hold what it was to {order.side}, "
        f"{plain(order.amount)} {base}: {there}; nothing was sent",
        {
            "rule": "reduce_only_violation",
            "limit": figure(left),
            "value": figure(order.amount),
            "unit": base,
        },
    )


def _counted(order: Order, other: Order) -> bool:
    """Whether `State.capacity` of an order knows already what another one has sold, or that one sells nothing of it."""
    if other.side is not order.side:
        return True
    if not other.protective:
        return other.exit
    return other.oco_group != order.oco_group if order.protective else order.type != "market"


def door_amend(state: State, order: Order, approved: ApprovedAmend, ts: int) -> None:
    """The same for an amend; one that only makes an order smaller passes like a cancel.

    Raises:
        Refused: As `door`, and `conflict` when the order is being cancelled.
    """
    asked = order.amend_state is Asked.REQUESTED and order.cancel_state is Asked.NONE
    if order.status.ended or not asked:
        now = order.status.value if order.status.ended else "being changed or canceled"
        raise Refused(Code.CONFLICT, f"order {order.client_order_id} is {now}; nothing was sent")
    in_time(approved.expires_at, ts)
    if _gives_back(order, _amended(order, approved)):
        return
    halt = state.halt_of(order.symbol, order.bot_id)
    if halt is not None and not _door_open(state, order, halt.state):
        raise _shut(halt)
    if not state.ready and not (order.exit and state.ever_ready):
        raise _not_ready(state)


def in_time(expires_at: int | None, ts: int) -> None:
    """Let nothing pass later than it was meant for.

    Raises:
        Refused: `expired`.
    """
    if expires_at is not None and ts >= expires_at:
        raise Refused(Code.EXPIRED, "expires_at passed before sending; nothing was sent")


def _shut(halt: Halt) -> Refused:
    return Refused(
        Code.HALTED,
        f"trading was set to {halt.state} by {halt.by}: {halt.reason}; nothing was sent",
    )


def _not_ready(state: State) -> Refused:
    return Refused(
        Code.VENUE_UNAVAILABLE,
        f"{state.venue} is not ready: {state.ready_reason}; nothing was sent",
        retry_after=1.0,
    )


def _door_open(state: State, order: Order, trading: TradingState) -> bool:
    if trading is TradingState.REDUCING:
        return order.exit
    return (
        order.protective
        or (order.source == "flatten" and order.exit)
        or order.id in state.privileged
    )


def privileged(state: State, place: Place, order: Order) -> bool:
    """Whether an order may pass a halt because an admin closes a position with it."""
    return passes_halt(make(state, replace(place, order=order)), order)


def refusal(state: State, case: Case, verdict: Verdict) -> Refused:
    """The error of the first failing rule, with all of them in its details.

    Rules that want a price where there is none leave it to that of the price: nothing is wrong with the arguments.
    """
    first = verdict.failed[0]
    if case.mark is None and first.value is None and first.rule in OF_PRICE:
        first = next(result for result in verdict.failed if result.rule == "stale_market_data")
    code = CODES.get(first.rule, Code.RISK_REJECTED)
    details: dict[str, object] = {
        "rule": first.rule,
        "limit": figure(first.limit),
        "value": figure(first.value),
        "unit": first.unit,
        "failed": [result.rule for result in verdict.failed],
        "rules": [rule_row(result) for result in verdict.failed],
    }
    if first.rule == "token_symbols":
        details |= its_symbols(case.wish.who, case.order.symbol)
    if code is Code.INVALID:
        details["fields"] = [{"field": first.field, "message": first.message, "reason": first.rule}]
        if first.rule in {"tick_size", "lot_size"} and first.value is not None and first.limit:
            details["nearest"] = list(nearest(first.value, first.limit))
    retry_after = None
    if code is Code.RATE_LIMITED:
        details["lane"] = "orders"
        retry_after = rate_wait(case, state) / SECOND
    elif code is Code.VENUE_UNAVAILABLE:
        retry_after = 1.0
    if verdict.warnings:
        details["warning"] = "; ".join(verdict.warnings)
    return Refused(code, first.message, details, retry_after=retry_after)


def rule_row(result: RuleResult) -> dict[str, object]:
    """A failed rule in the details of a refusal."""
    return {
        "rule": result.rule,
        "limit": figure(result.limit),
        "value": figure(result.value),
        "headroom": figure(result.headroom),
        "unit": result.unit,
        "ok": result.ok,
        "message": result.message,
    }


# --- preview ----------------------------------------------------------------------------------


def preview(state: State, place: Place) -> Preview:
    """What `check` would say, with everything it had computed (protocol 8.4).

    Raises:
        Refused: `invalid` or `not_found` for an order that makes no sense at all.
    """
    market = market_of(state, place.order.symbol)
    check_shape(place.order, market)
    case, verdict = _judge(state, place, whole=True)
    order = case.order
    refused = refusal(state, case, verdict) if verdict.failed else None
    taken = case.walk or state.quotes.walk(
        order.symbol,
        order.side,
        amount=ZERO if order.type.triggered else order.amount,
        limit=order.price,
    )
    if order.post_only:
        taken = state.quotes.walk(order.symbol, order.side, amount=ZERO)
    average = taken.average
    price = average if order.price is None else order.price
    if price is None:
        price = case.reference
    cost = order.cost_limit
    if cost is None and price is not None:
        cost = case.adds * price * market.contract_size
    fee = fee_currency = None
    if cost is not None:
        rate = market.maker if order.post_only else market.taker
        fee = cost * rate
        in_base = not market.contract and order.side is BUY and price
        if in_base:
            fee = fee / price if price else fee
        fee_currency = market.base if in_base else market.cash
    margin = None
    if cost is not None and not case.exit:
        margin = cost / state.leverage(order) if market.contract else cost
    elif case.exit:
        margin = ZERO
    slippage = None
    if average is not None and taken.best:
        slippage = abs(average / taken.best - 1)
    equity = case.standing.equity.value
    stop, target = recommended(state, order, price, place.backing)
    return Preview(
        valid=refused is None,
        code=refused.code if refused is not None else None,
        message=refused.message if refused is not None else None,
        failed=tuple(result.rule for result in verdict.failed),
        rules=tuple(verdict.results),
        warnings=tuple(verdict.warnings),
        reference_price=case.reference,
        average=average,
        slippage=slippage,
        expected_fill=down(taken.filled, market.amount_step),
        cost=cost,
        fee=fee,
        fee_currency=fee_currency or market.cash,
        margin=None if margin is None else up(margin, market.price_tick * market.amount_step),
        notional_after=case.exposure,
        exposure_after=case.total,
        leverage_after=case.total / equity if case.total is not None and equity else None,
        max_allowed_amount=max_allowed(state, place, market),
        recommended_stop_loss=stop,
        recommended_take_profit=target,
    )


def recommended(
    state: State, order: Order, price: Decimal | None, backing: Backing | None
) -> tuple[Decimal | None, Decimal | None]:
    """Stop and target around the entry (features F16); None where they cannot be.

    By `fraction` whatever `stop_method` says: the gate has no bars, and it does not wait for any.
    """
    if price is None or price <= 0:
        return None, None
    stop, target = stop_and_target(
        state.limits,
        state.markets[order.symbol],
        order.side,
        price,
        probabilities=None if backing is None else backing.probabilities,
        confidence=0.0 if backing is None else backing.confidence,
        method="fraction",
    )
    return stop.price, target.price


def refusing(state: State, place: Place) -> tuple[str, ...]:
    """Names of the rules by which `check` would refuse, in its order; none when it would pass."""
    _, verdict = _judge(state, place, whole=False)
    return tuple(result.rule for result in verdict.failed)


def max_allowed(state: State, place: Place, market: Market) -> Decimal:
    """The largest amount on the grid that the gate would pass; zero when it would pass none.

    Every rule that depends on the amount is a lower bound (minima) or an upper bound (everything else),
    so the amounts that pass are one stretch of the grid, and bisecting finds its end.
    """
    lot = market.amount_step
    least = int(up(market.min_amount or lot, lot) / lot)

    def failures(lots: int) -> set[str]:
        order = evolve(place.order, amount=lots * lot, cost_limit=None)
        _, verdict = _judge(state, replace(place, order=order), whole=False)
        return {result.rule for result in verdict.failed}

    # Below `min_cost` more helps, and `duplicate_order` speaks of one amount alone; whatever else fails
    # at the smallest size fails at every size.
    minima = {"min_cost", "duplicate_order"}
    if failures(least) - minima:
        return ZERO
    low, high = least, least * 2
    while not failures(high) - minima:
        low, high = high, high * 2
        if high > 1 << 80:
            break
    while high - low > 1:
        middle = (low + high) // 2
        if failures(middle) - minima:
            high = middle
        else:
            low = middle
    return ZERO if failures(low) else low * lot
