"""The rules of the gate, G1 to G27 and G29, one function each, in the order in which a refusal names them.

Rules of this file: (1) a rule reads the case and the state and changes neither; (2) it says what it found
to the verdict, and nothing else happens; (3) `X` of the table is `exempt=case.exit`; (4) a leg is an exit
whose distance, pace and owner were judged with its parent, so G11 and G20 to G23 leave it alone.
"""

from collections.abc import Callable, Sequence
from decimal import ROUND_FLOOR, Decimal
from functools import cache
from typing import Final

from realtime.engine.account import STREAK_ENDS
from realtime.engine.case import Case, Verdict
from realtime.engine.combine import risk_score
from realtime.engine.market import brief, down, nearest, on_grid, plain
from realtime.engine.orders import BUY, SELL
from realtime.engine.shape import NONE, further
from realtime.engine.sizing import exact
from realtime.engine.state import State
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import MS, SECOND, ZERO
from realtime.model.orders import Order, OrderType
from realtime.model.risk import TradingState


Rule = Callable[[Case, State, Verdict], None]

PRIVATE_AGE_MS = 30_000
"""Private data older than this leaves the account not ready [ms]."""

AWAY: Final = {"maintenance": "it is under maintenance", "disconnected": "its connection is lost"}
"""Causes by which a whole venue is away, at once and by its own word; a silence has to last first."""

EXECUTIONS_IN = 600 * SECOND
"""Window of `repeated_execution` [ns]."""

LARGE = Decimal("0.7")
"""Share of `max_position_size` above which a size is large for a risky signal."""

RESERVE = 5
"""Exits have a fifth of every rate for themselves."""

CODES = {
    "halted": Code.HALTED,
    "not_ready": Code.VENUE_UNAVAILABLE,
    "tick_size": Code.INVALID,
    "lot_size": Code.INVALID,
    "min_amount": Code.INVALID,
    "max_amount": Code.INVALID,
    "max_market_amount": Code.INVALID,
    "min_cost": Code.INVALID,
    "not_supported": Code.NOT_SUPPORTED,
    "token_symbols": Code.FORBIDDEN,
    "insufficient_funds": Code.INSUFFICIENT_FUNDS,
    "order_rate": Code.RATE_LIMITED,
}
"""Wire codes; every other rule is `risk_rejected`."""

OF_PRICE: Final = frozenset({"min_amount", "min_cost", "insufficient_funds"})
"""Rules of other codes that miss their data where there is no price."""


def trading_state(case: Case, state: State, verdict: Verdict) -> None:
    """G1 and G2."""
    order = case.order
    halt = state.halt_of(order.symbol, order.bot_id)
    if halt is None:
        verdict.judge("halted", ok=True)
        verdict.judge("trading_reducing", ok=True)
        return
    halted = halt.state is TradingState.HALTED
    verdict.judge(
        "halted",
        not halted or passes_halt(case, order),
        message=f"trading was halted by {halt.by}: {halt.reason}; trading.resume needs scope admin",
    )
    verdict.judge(
        "trading_reducing",
        halted or case.exit,
        message=f"only exits, trading was set to reducing by {halt.by}: {halt.reason}",
    )


def passes_halt(case: Case, order: Order) -> bool:
    """What a halt lets through: protective legs, flattening, and an admin's position.close."""
    return (
        order.protective
        or (order.source == "flatten" and case.exit)
        or (case.wish.closing and case.wish.who.admin and case.exit)
    )


def token_symbols(case: Case, state: State, verdict: Verdict) -> None:  # noqa: ARG001 - one shape for all rules
    """Whether the token of the one who asks may trade this symbol: exits, too, for what stops trading asks no gate."""
    limits = case.wish.who.limits
    if limits is None:
        return
    symbol = case.order.symbol
    verdict.judge("token_symbols", limits.allow(symbol), message=_not_its(symbol))


def check_symbol(who: Who, symbol: str) -> None:
    """Let a symbol be changed only by who may trade it: where no order stands before the gate, as for attached stops.

    Raises:
        Refused: `forbidden`.
    """
    if who.limits is not None and not who.limits.allow(symbol):
        details = {"rule": "token_symbols", **its_symbols(who, symbol)}
        raise Refused(Code.FORBIDDEN, _not_its(symbol), details)


def its_symbols(who: Who, symbol: str) -> dict[str, object]:
    """Which symbol was asked for, and which ones the token of who asks may trade."""
    allowed = who.limits.symbols if who.limits is not None else None
    return {"symbol": symbol, "symbols": list(allowed or ())}


def _not_its(symbol: str) -> str:
    return f"this token may not trade {symbol}"


def readiness(case: Case, state: State, verdict: Verdict) -> None:
    """G3."""
    stale = state.quotes.stale.get(None)
    age_ms = (case.wish.ts - stale.asof) // MS if stale is not None else 0
    away = AWAY.get(stale.cause or "") if stale is not None else None
    ready = state.ready and away is None and age_ms <= PRIVATE_AGE_MS
    if ready and not verdict.whole:
        return
    why = away or f"private data is {age_ms} ms old"
    if not state.ready:
        why = state.ready_reason
    verdict.judge(
        "not_ready",
        ready or (case.exit and state.ever_ready),
        message=f"{state.venue} is not ready: {why}; nothing was sent",
    )


def symbols(case: Case, state: State, verdict: Verdict) -> None:
    """G4."""
    allowed, symbol, active = state.limits.allowed_symbols, case.order.symbol, case.market.active
    fine = allowed is None or symbol in allowed
    if fine and active and not verdict.whole:
        return
    verdict.judge("symbol_not_allowed", fine, message=f"{symbol} is not in allowed_symbols")
    verdict.judge("market_inactive", active, message=f"{symbol} is not trading now")


def grid(case: Case, state: State, verdict: Verdict) -> None:  # noqa: ARG001 - one shape for all rules
    """G5."""
    order, market = case.order, case.market
    tick, lot = market.price_tick, market.amount_step
    for name, price in _prices(order):
        if price is not None and not on_grid(price, tick):
            near = " or ".join(nearest(price, tick))
            verdict.judge(
                "tick_size",
                ok=False,
                limit=tick,
                value=price,
                unit=market.quote,
                message=f"{name} {plain(price)} {market.quote} is off the tick {plain(tick)}; nearest: {near}",
                field=name,
                grid=True,
            )
            return
    ok = order.cost_limit is not None or on_grid(order.amount, lot)
    if ok and not verdict.whole:
        return
    verdict.judge("tick_size", ok=True, limit=tick, unit=market.quote)
    verdict.judge(
        "lot_size",
        ok,
        lot,
        order.amount,
        market.base,
        None
        if ok
        else f"amount {plain(order.amount)} {market.base} is off the step {plain(lot)}; "
        f"nearest: {' or '.join(nearest(order.amount, lot))}",
        "amount",
        grid=True,
    )


def _prices(order: Order) -> Sequence[tuple[str, Decimal | None]]:
    """Name the prices that an order may have; a plain market order has none."""
    if further(order) == NONE:
        return ()
    stop, target = order.stop_loss, order.take_profit
    return (
        ("price", order.price),
        ("stop_price", order.stop_price),
        ("trailing_amount", order.trailing_amount),
        ("stop_loss", stop.price if stop else None),
        ("stop_loss.limit", stop.limit if stop else None),
        ("take_profit", target.price if target else None),
        ("take_profit.limit", target.limit if target else None),
    )


def sizes(case: Case, state: State, verdict: Verdict) -> None:  # noqa: ARG001 - one shape for all rules
    """G6."""
    order, market = case.order, case.market
    amount, unit = order.amount, market.base
    least = market.min_amount
    if least is not None:
        ok = amount >= least
        if not amount and case.reference is None:
            # Of a buy by cost.
            verdict.missing("min_amount", least, unit, "there is no price", exempt=case.exit)
        elif not ok or verdict.whole:
            message = f"amount {plain(amount)} {unit} is below min_amount {plain(least)} {unit}"
            verdict.judge("min_amount", ok, least, amount, unit, message, "amount", floor=True)
    if market.max_amount is not None:
        verdict.most(
            "max_amount", market.max_amount, amount, unit, "amount", exempt=False, field="amount"
        )
    if market.max_market_amount is not None and not order.type.priced:
        most = market.max_market_amount
        verdict.most(
            "max_market_amount", most, amount, unit, "amount", exempt=False, field="amount"
        )
    floor = market.min_cost
    if floor is None:
        return
    price = order.price or order.stop_price or case.mark
    if price is None:
        verdict.missing("min_cost", floor, market.quote, "there is no price", exempt=case.exit)
        return
    cost = order.cost_limit or amount * price * market.contract_size
    ok = cost >= floor or (case.exit and amount >= down(case.capacity, market.amount_step))
    if ok and not verdict.whole:
        return
    field = "amount" if order.cost_limit is None else "cost"
    message = f"cost {plain(cost)} {market.quote} is below min_cost {plain(floor)} {market.quote}"
    verdict.judge("min_cost", ok, floor, cost, market.quote, message, field, floor=True)


def support(case: Case, state: State, verdict: Verdict) -> None:
    """G7."""
    market, order = case.market, case.order
    inverse = market.inverse
    margin = order.position_type == "margin"
    if not inverse and not margin and not verdict.whole:
        return
    what = "inverse contracts are" if inverse else "margin trading is"
    verdict.judge(
        "not_supported",
        not inverse and not margin,
        message=f"{what} not supported by {state.venue}",
    )


def funds(case: Case, state: State, verdict: Verdict) -> None:
    """G8."""
    order, market = case.order, case.market
    if market.contract and case.exit:
        # Its margin is there already, and its fee comes out of what it frees.
        verdict.judge("insufficient_funds", ok=True, unit=market.cash)
        return
    currency, need = case.currency, case.needs
    free = state.free(currency)
    if free is not None and not market.contract and order.side is SELL:
        # Our books know a fill before the venue's balance does, and a market exit frees what legs hold.
        free = max(free, case.capacity)
    if free is None or need is None:
        why = "there is no price" if need is None else f"the balance of {currency} is not known"
        verdict.missing("insufficient_funds", free, currency, why, exempt=case.exit)
        return
    ok = need <= free
    if ok and not verdict.whole:
        return
    there = brief(max(free, ZERO), ROUND_FLOOR)
    message = f"needs {brief(need)} {currency}, available {there} {currency}"
    verdict.judge("insufficient_funds", ok, free, need, currency, message)


def reduces(case: Case, state: State, verdict: Verdict) -> None:  # noqa: ARG001 - one shape for all rules
    """G9."""
    order, unit = case.order, case.market.base
    if not case.exit:
        verdict.judge("reduce_only_violation", ok=True, unit=unit)
        return
    adds, capacity = case.adds, case.capacity
    ok = adds <= capacity
    if ok and not verdict.whole:
        return
    message = (
        f"{plain(adds)} {unit} to {order.side} exceeds the {plain(capacity)} {unit} "
        "that can still be closed"
    )
    verdict.judge("reduce_only_violation", ok, capacity, adds, unit, message)


def freshness(case: Case, state: State, verdict: Verdict) -> None:
    """G10."""
    limit, symbol = Decimal(state.limits.max_price_age_ms), case.order.symbol
    age_ms = state.quotes.age_ms(symbol, case.wish.ts)
    if case.mark is None or age_ms is None:
        verdict.missing("stale_market_data", limit, "ms", "there is no price", exempt=case.exit)
    elif case.fresh:
        verdict.judge("stale_market_data", True, limit, Decimal(age_ms), "ms")
    elif age_ms <= limit:
        # Its age says nothing while nobody would tell a newer one.
        stale = state.quotes.stale.get(symbol) or state.quotes.stale[None]
        why = f"the source of {symbol} tells nothing new ({stale.cause})"
        verdict.missing("stale_market_data", limit, "ms", why, exempt=case.exit)
    elif case.exit:
        why = f"the price is {age_ms} ms old"
        verdict.missing("stale_market_data", limit, "ms", why, exempt=True)
    else:
        verdict.judge(
            "stale_market_data",
            ok=False,
            limit=limit,
            value=Decimal(age_ms),
            unit="ms",
            message=f"price of {symbol} is {age_ms} ms old, above max_price_age_ms {plain(limit)} ms",
        )


def band(case: Case, state: State, verdict: Verdict) -> None:
    """G11."""
    order, mark = case.order, case.mark
    if order.protective or mark is None or (case.exit and not case.fresh):
        if verdict.whole:
            verdict.judge("price_band", ok=True, unit="fraction")
        return
    if order.stop_price is not None:
        above = (order.side is BUY) is (order.type in {OrderType.STOP, OrderType.STOP_LIMIT})
        if order.stop_price <= mark if above else order.stop_price >= mark:
            where = "above" if above else "below"
            verdict.judge(
                "price_band",
                ok=False,
                limit=mark,
                value=order.stop_price,
                unit=case.market.quote,
                message=f"stop_price {plain(order.stop_price)} of a {order.type} {order.side} must be "
                f"{where} the market {plain(mark)}",
            )
            return
    if order.price is None:
        if verdict.whole:
            verdict.judge("price_band", ok=True, unit="fraction")
        return
    # A stop-limit acts once its trigger is the market.
    base = order.stop_price or mark
    away = order.price / base - 1
    if order.side is SELL:
        away = -away
    if away >= 0:
        limit = _narrow(state.limits.price_band, case.market.price_band)
    else:
        limit = state.limits.price_band_passive
    side = "beyond" if away >= 0 else "short of"
    what = f"price {plain(order.price)} {side} {plain(base)} by"
    verdict.most("price_band", limit, abs(away), "fraction", what, exempt=False)


def _narrow(ours: Decimal | None, theirs: Decimal | None) -> Decimal | None:
    known = [limit for limit in (ours, theirs) if limit is not None]
    return min(known, default=None)


def slippage(case: Case, state: State, verdict: Verdict) -> None:
    """G12."""
    limit, walk, order = state.limits.max_slippage, case.walk, case.order
    if walk is None or limit is None:
        verdict.judge("max_slippage", ok=True, limit=limit, unit="fraction")
        return
    enough = (
        walk.filled >= order.amount
        if order.cost_limit is None
        else walk.cost >= order.cost_limit / case.market.contract_size
    )
    average = walk.average
    mid = walk.mid if walk.mid is not None else state.quotes.mid(order.symbol)
    if not enough or average is None or mid is None:
        why = f"the book holds {plain(walk.filled)} {case.market.base} of what the order takes"
        verdict.missing("max_slippage", limit, "fraction", why, exempt=case.exit)
        return
    away = average / mid - 1
    verdict.most(
        "max_slippage",
        limit,
        away if order.side is BUY else -away,
        "fraction",
        "slippage",
        exempt=case.exit,
    )


def order_sizes(case: Case, state: State, verdict: Verdict) -> None:
    """G13 and G14."""
    limits, exempt = state.limits, case.exit
    verdict.most(
        "max_order_amount",
        limits.max_order_amount,
        case.order.amount,
        case.market.base,
        "amount",
        exempt=exempt,
    )
    verdict.most(
        "max_order_notional",
        limits.max_order_notional,
        case.notional,
        state.currency,
        "notional",
        exempt=exempt,
        why="there is no price",
    )


def token_notional(case: Case, state: State, verdict: Verdict) -> None:
    """Whether the token of the one who asks may place an order of this worth."""
    limits = case.wish.who.limits
    if limits is None:
        return
    verdict.most(
        "token_notional",
        limits.max_order_notional,
        case.notional,
        state.currency,
        "notional",
        exempt=case.exit,
        why="there is no price",
    )


def positions(case: Case, state: State, verdict: Verdict) -> None:
    """G15 and G16."""
    limits, equity, exempt = state.limits, case.standing.equity, case.exit
    value = None
    if case.exposure is not None and equity.value is not None and equity.value > 0:
        value = case.exposure / equity.value
    verdict.most(
        "max_position_size",
        limits.max_position_size,
        value,
        "fraction",
        "exposure / equity",
        exempt=exempt,
        why=equity.reason or "there is no price, or equity is not above 0",
    )
    verdict.most(
        "max_position_notional",
        limits.max_position_notional,
        case.exposure,
        state.currency,
        "exposure",
        exempt=exempt,
        why="there is no price",
    )


def leverage(case: Case, state: State, verdict: Verdict) -> None:
    """G17."""
    limit, equity = state.limits.max_leverage, case.standing.equity
    value = None
    if case.total is not None and equity.value is not None and equity.value > 0:
        value = max(case.total / equity.value, case.order.leverage or ZERO)
    verdict.most(
        "max_leverage",
        limit,
        value,
        "x",
        "leverage",
        exempt=case.exit,
        why=equity.reason or "there is no price, or equity is not above 0",
    )


def counts(case: Case, state: State, verdict: Verdict) -> None:
    """G18 and G19."""
    limits, exempt = state.limits, case.exit
    if limits.max_open_positions is not None:
        engaged = case.standing.engaged
        known = case.place in engaged
        if verdict.whole or not (known or exempt):
            verdict.most(
                "max_open_positions",
                Decimal(limits.max_open_positions),
                Decimal(len(engaged) + (not known and not exempt)),
                "positions",
                "this would make",
                exempt=exempt or known,
            )
    if case.old is not None:
        return
    load = state.orders.loads.get(case.order.symbol)
    for limit, open_now, unit in (
        (
            limits.max_open_orders_symbol,
            load.orders if load else 0,
            f"orders in {case.order.symbol}",
        ),
        (limits.max_open_orders, state.orders.count, "orders"),
    ):
        if limit is not None and (verdict.whole or open_now >= limit):
            verdict.most(
                "max_open_orders",
                Decimal(limit),
                Decimal(open_now + 1),
                unit,
                "this would make",
                exempt=exempt,
            )


def rate(case: Case, state: State, verdict: Verdict) -> None:
    """G20. A bucket of `burst` tokens per owner, one of a minute's orders per account."""
    limit = state.limits.order_rate
    blocked = rate_wait(case, state)
    if not blocked and not verdict.whole:
        return
    verdict.judge(
        "order_rate",
        not blocked,
        Decimal(limit) if limit is not None else None,
        None,
        "orders/s",
        f"too many orders: next one in {blocked / SECOND:.3f} s",
    )


def rate_wait(case: Case, state: State) -> int:
    """How long the owner has to wait for a token [ns]."""
    limits, pace, ts = state.limits, state.pace, case.wish.ts
    order = case.order
    if case.old is not None or order.role.protective or order.source == "flatten":
        return 0
    if ts < pace.ts:
        return 0  # the clock was set back: what was spent at a time to come says nothing
    owner = order.owner
    rate, size = minute(limits.order_rate_minute)
    blocked = max(
        wait(pace.owners.get(owner, 0), limits.order_rate, limits.order_burst, ts),
        wait(pace.account, rate, size, ts),
    )
    if blocked and case.exit:
        # The reserve: an exit that finds the bucket empty takes from a fifth kept for exits.
        burst = limits.order_burst // RESERVE or 1
        blocked = max(
            wait(pace.exits.get(owner, 0), fifth(limits.order_rate), burst, ts),
            wait(pace.account_exits, *minute(fifth(limits.order_rate_minute)), ts),
        )
    return blocked


def minute(limit: int | None) -> tuple[float | None, int]:
    """Rate per second and burst of a limit per minute."""
    return (None, 1) if limit is None else (limit / 60, limit)


def fifth(limit: int | None) -> int | None:
    """A fifth of a rate, at least one."""
    return None if limit is None else limit // RESERVE or 1


def wait(full_at: int, per_second: float | None, burst: int, ts: int) -> int:
    """How long until a token is there [ns]; `full_at` is when the bucket is full again."""
    if per_second is None or full_at <= ts:
        return 0
    interval = int(SECOND / per_second)
    return max(full_at - ts - (burst - 1) * interval, 0)


def spent(full_at: int, per_second: float | None, ts: int) -> int:
    """How many tokens a bucket lacks."""
    if per_second is None:
        return 0
    return -(-max(full_at - ts, 0) // int(SECOND / per_second))


def spend(full_at: int, per_second: float | None, ts: int) -> int:
    """Take a token: when the bucket will be full again."""
    if per_second is None:
        return full_at
    return max(full_at, ts) + int(SECOND / per_second)


def duplicates(case: Case, state: State, verdict: Verdict) -> None:
    """G21."""
    window = state.limits.duplicate_order_ms
    if case.old is not None or case.order.protective or case.wish.allow_duplicate or window is None:
        if verdict.whole:
            verdict.judge("duplicate_order", ok=True, unit="ms")
        return
    last = state.pace.recent.get(fingerprint(case.order))
    # Both ways: the clock may have been set back since.
    age_ms = None if last is None else abs(case.wish.ts - last) // MS
    fine = age_ms is None or age_ms >= window
    if fine and not verdict.whole:
        return
    verdict.judge(
        "duplicate_order",
        fine,
        Decimal(window),
        None if age_ms is None else Decimal(age_ms),
        "ms",
        f"the same order was placed {age_ms} ms ago under another id, within duplicate_order "
        f"{window} ms; allow_duplicate lifts this",
        floor=True,
    )


def fingerprint(order: Order) -> tuple[object, ...]:
    """What makes two orders of one owner the same (G21)."""
    return (
        order.owner,
        order.symbol,
        order.side.value,
        order.type.value,
        order.price,
        order.stop_price,
        order.trailing_amount,
        order.trailing_rate,
        order.cost_limit if order.cost_limit is not None else order.amount,
    )


def self_trade(case: Case, state: State, verdict: Verdict) -> None:
    """G22. An exit cancels the entries that it meets first (see `check`), an entry is refused."""
    if not state.limits.self_trade:
        verdict.judge("self_trade", ok=True, unit="orders")
        return
    if not case.met and not verdict.whole:
        return
    stopped = [order for order in case.met if not case.exit or order.exit]
    verdict.judge(
        "self_trade",
        not stopped,
        None,
        Decimal(len(stopped)) if stopped else None,
        "orders",
        f"would trade with own order {stopped[0].client_order_id}" if stopped else None,
    )


def unknowns(case: Case, state: State, verdict: Verdict) -> None:
    """G23."""
    limit = state.limits.max_unknown
    order = case.order
    if limit is None:
        verdict.judge("max_unknown", ok=True, unit="orders")
        return
    there = state.orders.unknown_of(order.owner, order.symbol)
    ok = case.exit or there < limit
    if ok and not verdict.whole:
        return
    verdict.judge(
        "max_unknown",
        ok,
        Decimal(limit),
        Decimal(there),
        "orders",
        f"{there} orders of {order.owner} in {order.symbol} have an unknown outcome, max_unknown {limit}",
    )


def losses(case: Case, state: State, verdict: Verdict) -> None:
    """G25 and G26."""
    limits, standing = state.limits, case.standing
    why, exempt = standing.equity.reason or "the day has not begun", case.exit
    verdict.most(
        "max_daily_loss",
        limits.max_daily_loss,
        standing.loss,
        "fraction",
        "daily_loss",
        exempt=exempt,
        why=why,
    )
    verdict.most(
        "max_drawdown",
        limits.max_drawdown,
        standing.fall,
        "fraction",
        "drawdown",
        exempt=exempt,
        why=why,
    )


def streaks(case: Case, state: State, verdict: Verdict) -> None:
    """G27."""
    limits, ts, exempt = state.limits, case.wish.ts, case.exit
    if exempt and not verdict.whole:
        return
    count, last = state.account.streaks.get(case.order.owner, (0, 0))
    if ts - last >= STREAK_ENDS:
        count = 0
    stopped = limits.loss_streak is not None and count >= limits.loss_streak
    if limits.loss_streak is not None and (verdict.whole or stopped):
        # At the limit the pause begins, hence one less is the most that may enter.
        verdict.judge(
            "loss_streak",
            exempt or not stopped,
            Decimal(limits.loss_streak),
            Decimal(count),
            "trades",
            f"{count} losing trades in a row, loss_streak {limits.loss_streak}; entries wait 60 min",
        )
    cool = limits.cooldown_minutes * 60 * SECOND
    if not cool:
        return
    left = state.account.exits.get(case.place, -cool) + cool - ts
    verdict.judge(
        "cooldown",
        exempt or left <= 0,
        Decimal(limits.cooldown_minutes),
        None,
        "min",
        f"{case.order.symbol} cools down for another {max(left, 0) / SECOND:.0f} s",
    )


def executions(case: Case, state: State, verdict: Verdict) -> None:
    """G24, for orders that name their strategy."""
    limit, strategy = state.limits.repeated_execution, case.order.strategy_id
    if limit is None or strategy is None:
        return
    since = case.wish.ts - EXECUTIONS_IN
    count = sum(1 for ts in state.pace.executions.get(strategy, ()) if ts > since)
    verdict.most(
        "repeated_execution",
        Decimal(limit),
        Decimal(count),
        "fills in 10 min",
        f"{strategy} had",
        exempt=case.exit,
    )


def signals(case: Case, state: State, verdict: Verdict) -> None:
    """G29, for entries that are placed on a signal; the last two for bots."""
    backing, limits, exempt = case.wish.backing, state.limits, case.exit
    if backing is None:
        return
    side = case.order.side
    score = exact(risk_score(backing.probabilities, backing.confidence))
    sure = exact(backing.confidence)
    likely = exact(backing.probabilities.buy if side is BUY else backing.probabilities.sell)
    _least(verdict, "low_confidence", limits.min_signal_confidence, sure, "confidence", exempt)
    _least(verdict, "low_action_probability", limits.low_action_probability, likely, side, exempt)
    risky = limits.high_risk_size is not None and score > limits.high_risk_size
    most = None
    if risky and limits.max_position_size is not None:
        most = LARGE * limits.max_position_size
    value, equity = None, case.standing.equity
    if case.notional is not None and equity.value is not None and equity.value > 0:
        value = case.notional / equity.value
    verdict.most(
        "high_risk_size",
        most,
        value,
        "fraction",
        f"at risk score {plain(score)} notional / equity",
        exempt=exempt,
        why=equity.reason or "there is no price, or equity is not above 0",
    )
    if case.order.bot_id is None:
        return
    verdict.most(
        "risk_score_threshold",
        limits.risk_score_threshold,
        score,
        "score",
        "risk score",
        exempt=exempt,
    )
    _least(
        verdict,
        "confidence_threshold",
        limits.confidence_threshold,
        sure,
        "combined confidence",
        exempt,
    )


def _least(
    verdict: Verdict,
    rule: str,
    limit: Decimal | None,
    value: Decimal,
    what: str,
    exempt: bool,  # noqa: FBT001 - as every rule has it
) -> None:
    """Judge a rule of the shape "at least"."""
    if limit is None:
        verdict.judge(rule, ok=True, unit="probability")
        return
    message = f"{what} {brief(value, ROUND_FLOOR)} is below {rule} {plain(limit)}"
    verdict.judge(
        rule,
        exempt or value >= limit,
        limit,
        value,
        "probability",
        message,
        floor=True,
    )


RULES: tuple[Rule, ...] = (
    token_symbols,
    trading_state,
    readiness,
    symbols,
    grid,
    sizes,
    support,
    funds,
    reduces,
    freshness,
    band,
    slippage,
    order_sizes,
    token_notional,
    positions,
    leverage,
    counts,
    rate,
    duplicates,
    self_trade,
    unknowns,
    executions,
    losses,
    streaks,
    signals,
)
"""In the order of the table: the first failure names the refusal."""

EXEMPTING: Final[frozenset[Rule]] = frozenset(
    {
        order_sizes,
        token_notional,
        positions,
        leverage,
        counts,
        unknowns,
        executions,
        losses,
        streaks,
        signals,
    }
)
"""Those that say nothing to an exit but what data they miss (X of the table, R4)."""


Kind = tuple[bool, bool, bool, bool, bool, bool, bool, bool, bool]
"""What decides which rules may have something to say to an order, see `kind_of`."""


def kind_of(case: Case, state: State) -> Kind:
    """Tell the kind of an order, as the gate meets it now."""
    order = case.order
    return (
        not state.halts and state.ready and None not in state.quotes.stale,
        case.exit,
        case.total is not None and case.standing.sound,
        case.fresh,
        case.walk is not None,
        order.price is not None or order.stop_price is not None,
        order.strategy_id is not None,
        case.wish.backing is not None,
        case.wish.who.limits is not None,
    )


@cache
def asked(kind: Kind, off: frozenset[str]) -> tuple[Rule, ...]:
    """The rules that may have something to say to orders of a kind, in their order.

    Args:
        kind: See `kind_of`.
        off: Names of the limits that are switched off.
    """
    calm, exits, known, fresh, walked, priced, named, backed, limited = kind
    says_nothing: dict[Rule, bool] = {
        token_symbols: not limited,
        trading_state: calm,
        readiness: calm,
        reduces: not exits,
        freshness: fresh,
        band: not priced,
        slippage: not walked,
        order_sizes: off.issuperset(("max_order_amount", "max_order_notional")),
        token_notional: not limited,
        positions: off.issuperset(("max_position_size", "max_position_notional")),
        leverage: "max_leverage" in off,
        duplicates: "duplicate_order_ms" in off,
        self_trade: "self_trade" in off,
        unknowns: "max_unknown" in off,
        executions: not named,
        losses: off.issuperset(("max_daily_loss", "max_drawdown")),
        streaks: off.issuperset(("loss_streak", "cooldown_minutes")),
        signals: not backed,
    }
    silent = {rule for rule, nothing in says_nothing.items() if nothing}
    if exits and known:
        silent |= EXEMPTING
    return tuple(rule for rule in RULES if rule not in silent)
