"""What the account is worth and what it risks, read from the state (features F2, F4, F16, F18)."""

from collections.abc import Iterator
from decimal import Decimal

from realtime.engine.case import reference_price
from realtime.engine.market import plain
from realtime.engine.orders import is_entry
from realtime.engine.rules import loss_and_fall
from realtime.engine.state import ALL, State
from realtime.model.account import Balance, Marked, Portfolio, Position, Valued
from realtime.model.market import MS, ZERO
from realtime.model.orders import Role
from realtime.model.risk import (
    Recommendation,
    RiskView,
    RuleResult,
    SymbolRisk,
    TradingState,
)


ONE = Decimal(1)
HUNDRED = Decimal(100)
NO_SIGNAL = Decimal("0.5")
"""Risk score of a position without a signal (F16)."""

FRESH_MS, USABLE_MS = 5_000, 60_000
"""Ages that make market data `high` and `medium` [ms]."""


# --- value ------------------------------------------------------------------------------------


def mark_position(state: State, position: Position) -> Marked:
    """Value a position at the mark, else the mid, else the last price."""
    symbol = position.symbol
    found = state.quotes.mark(symbol)
    mark = source = notional = profit = share = None
    if found is not None:
        mark, source = found
        worth_at_mark = position.amount * mark * position.contract_size
        notional = abs(worth_at_mark)
        if position.cost is not None:
            profit = worth_at_mark - position.cost
        entry = position.entry_price
        if entry:
            share = (mark / entry - 1) * HUNDRED
            if position.amount < 0:
                share = -share
    ticker = state.quotes.tickers.get(symbol)
    return Marked(
        position=position,
        mark_price=mark,
        mark_source=source,
        notional=notional,
        unrealized_pnl=profit,
        unrealized_pnl_pct=share,
        stop_loss=state.leg_price(symbol, Role.STOP_LOSS),
        take_profit=state.leg_price(symbol, Role.TAKE_PROFIT),
        suspended=False,
        bot_ids=tuple(sorted(state.account.bots.get(symbol, ()))),
        price_ts=state.quotes.touched.get(symbol, 0),
        price_source=ticker.source if ticker is not None else None,
        stale=state.quotes.is_stale(symbol),
    )


def value_balance(state: State, balance: Balance) -> Valued:
    """Value a balance; its allocation is its share of the account's total value."""
    price = state.quotes.worth(balance.currency)
    value = None if price is None else balance.total * price
    total = state.equity(balance.ts).value if value is not None else None
    return Valued(
        balance=balance,
        price=price,
        value=value,
        allocation=value / total if value is not None and total else None,
        stale=None in state.quotes.stale,
    )


def value(state: State, ts: int) -> Portfolio:
    """Value everything."""
    equity = state.equity_now(ts)
    valued = []
    for balance in sorted(state.account.balances.values(), key=lambda held: held.id):
        price = state.quotes.worth(balance.currency)
        worth = None if price is None else balance.total * price
        valued.append(
            Valued(
                balance=balance,
                price=price,
                value=worth,
                allocation=worth / equity.value if worth is not None and equity.value else None,
                stale=None in state.quotes.stale,
            )
        )
    marked = [mark_position(state, held) for held in held_positions(state)]
    profits = [
        profit
        for profit in (_in_valuation(state, held, held.unrealized_pnl) for held in marked)
        if profit is not None
    ]
    profit = sum(profits, ZERO) if profits or not marked else None
    share = None
    if profit is not None and equity.value is not None and equity.value != profit:
        share = profit / (equity.value - profit) * HUNDRED
    return Portfolio(
        total_value=equity.value,
        reason=equity.reason,
        currency=state.currency,
        cash=state.account.books.get(state.currency, ZERO),
        available_balance=state.free(state.currency),
        balances=tuple(valued),
        positions=tuple(marked),
        total_unrealized_pnl=profit,
        total_unrealized_pnl_pct=share,
        unpriced=tuple(
            sorted(
                {
                    held.balance.currency
                    for held in valued
                    if held.value is None and held.balance.total
                }
            )
        ),
        quality=_quality(state, marked, ts),
        ages=tuple(
            (held.position.symbol, max(ts - held.price_ts, 0)) for held in marked if held.price_ts
        ),
        ts=ts,
    )


def held_positions(state: State) -> list[Position]:
    """Positions that are not flat, by symbol."""
    return [position for _, position in sorted(state.account.positions.items()) if position.amount]


def _in_valuation(state: State, held: Marked, amount: Decimal | None) -> Decimal | None:
    worth = state.quotes.worth(state.markets[held.position.symbol].cash)
    return None if amount is None or worth is None else amount * worth


def _quality(state: State, marked: list[Marked], ts: int) -> str:
    ages = [(ts - held.price_ts) // MS if held.price_ts else None for held in marked]
    known = [age for age in ages if age is not None]
    if len(known) < len(ages) or any(age > USABLE_MS for age in known):
        return "low"
    polled = any(held.price_source in {"poll", "cache"} for held in marked)
    stale = any(held.stale for held in marked) or None in state.quotes.stale
    if polled or stale or any(age > FRESH_MS for age in known):
        return "medium"
    return "high"


# --- risk -------------------------------------------------------------------------------------


def risk_view(state: State, ts: int) -> RiskView:
    """Assess the account (F16)."""
    limits, equity = state.limits, state.equity_now(ts)
    e = equity.value if equity.value is not None and equity.value > 0 else None
    marked = [
        mark_position(state, held)
        for held in held_positions(state)
        if state.account.held(held.symbol)
    ]
    notionals = [_in_valuation(state, held, held.notional) for held in marked]
    known = [notional for notional in notionals if notional is not None]
    whole = len(known) == len(notionals)
    gross = sum(known, ZERO) if whole else None
    net = None
    if whole:
        net = sum(
            (
                -notional if held.position.amount < 0 else notional
                for held, notional in zip(marked, known, strict=True)
            ),
            ZERO,
        )
    resting = _resting(state)
    open_exposure = None if resting is None else sum(resting.values(), ZERO)
    total = None if gross is None or open_exposure is None else gross + open_exposure
    largest = max(known, default=ZERO) if whole else None
    shares = [notional / gross for notional in known] if gross else []
    hhi = sum((share * share for share in shares), ZERO) if shares else None
    loss, fall = loss_and_fall(state, equity.value)
    info = state.account.day_info
    pnl = None if equity.value is None else state.daily_pnl(equity.value)
    leverage = None if total is None or e is None else total / e
    concentration = None if largest is None or e is None else largest / e
    count = len(marked)
    n_limit = limits.max_open_positions
    parts = (
        _part(concentration, limits.max_position_size),
        _part(
            None if resting is None or e is None else max(resting.values(), default=ZERO) / e,
            limits.max_position_size,
        ),
        _part(leverage, limits.max_leverage),
        _part(None if loss is None else max(loss, ZERO), limits.max_daily_loss),
    )
    scores = [part for part in parts if part is not None]
    score = None
    if len(scores) == len(parts):
        score = (max(scores) + sum(scores, ZERO) / len(scores)) / 2
    halt = state.halts.get(ALL)
    return RiskView(
        trading_state=halt.state if halt is not None else TradingState.ACTIVE,
        halts=tuple(halt for _, halt in sorted(state.halts.items())),
        halt=None,
        breach=halt.by if halt is not None and halt.by.startswith("max_") else None,
        ready=state.ready,
        ready_reason=state.ready_reason,
        equity=equity.value,
        equity_reason=equity.reason,
        gross_exposure=gross,
        net_exposure=net,
        total_exposure=total,
        open_order_exposure=open_exposure,
        leverage=leverage,
        margin_used=_margin(state, marked),
        position_count=count,
        symbol_count=len(state.engaged()),
        positions_vs_max=None if n_limit is None else Decimal(count) / max(n_limit, 1),
        concentration_risk=concentration,
        hhi=hhi,
        effective_positions=None if not hhi else 1 / hhi,
        day=info.day,
        equity_start=info.equity_start,
        daily_pnl=pnl,
        daily_pnl_fraction=None if loss is None else -loss,
        peak_equity=info.peak_equity,
        drawdown=None if fall is None else max(fall, ZERO),
        positions_risk=parts[0],
        orders_risk=parts[1],
        exposure_risk=parts[2],
        loss_risk=parts[3],
        total_risk_score=score,
        risk_level=_level(state, concentration, count, loss),
        positions=tuple(
            SymbolRisk(
                symbol=held.position.symbol,
                notional=notional,
                share=None if notional is None or e is None else notional / e,
                risk_score=NO_SIGNAL,
            )
            for held, notional in zip(marked, notionals, strict=True)
        ),
        headroom=tuple(_headroom(state, concentration, largest, leverage, loss, fall)),
        recommendations=tuple(_recommend(state, concentration, count, loss)),
        unknown_orders=len(state.orders.unknown()),
        ts=ts,
    )


def _resting(state: State) -> dict[str, Decimal] | None:
    """Notional of working entries by symbol [valuation currency]; None when one has no price."""
    found: dict[str, Decimal] = {}
    for order in state.orders.working():
        if not is_entry(order):
            continue
        mark = state.quotes.mark(order.symbol)
        price = reference_price(order, mark[0] if mark is not None else None, None)
        value = (
            None
            if price is None
            else state.notional(order.symbol, state.orders.worst_of(order), price)
        )
        if value is None:
            return None
        found[order.symbol] = found.get(order.symbol, ZERO) + value
    return found


def _margin(state: State, marked: list[Marked]) -> Decimal | None:
    """Initial margin of open derivatives [valuation currency]; the venue's word where it has one."""
    total = ZERO
    for held in marked:
        position = held.position
        if position.position_type == "spot":
            continue
        own = position.collateral
        if own is None and held.notional is not None:
            own = held.notional / (position.leverage or ONE)
        value = _in_valuation(state, held, own)
        if value is None:
            return None
        total += value
    return total


def _part(used: Decimal | None, limit: Decimal | None) -> Decimal | None:
    """Used share of a limit, 0..1; zero where the limit is off, None where the figure is missing."""
    if limit is None:
        return ZERO
    if used is None:
        return None
    if not limit:
        return ONE if used else ZERO
    return min(used / limit, ONE)


def _level(state: State, concentration: Decimal | None, count: int, loss: Decimal | None) -> str:
    """Points of F16, made a word; critical when halted or at the loss limit."""
    limits = state.limits
    halt = state.halts.get(ALL)
    if halt is not None and halt.state is TradingState.HALTED:
        return "critical"
    points = 0
    if concentration is not None:
        points += 2 if concentration > Decimal("0.5") else concentration > Decimal("0.3")
    if limits.max_open_positions is not None:
        share = Decimal(count) / max(limits.max_open_positions, 1)
        points += 2 if share > Decimal("0.8") else share > Decimal("0.5")
    if limits.max_daily_loss and loss is not None:
        used = loss / limits.max_daily_loss
        if used >= 1:
            return "critical"
        for above, more in ((Decimal("0.7"), 3), (Decimal("0.4"), 2), (Decimal("0.2"), 1)):
            if used > above:
                points += more
                break
    for least, word in ((5, "critical"), (3, "high"), (1, "moderate")):
        if points >= least:
            return word
    return "low"


def _headroom(
    state: State,
    concentration: Decimal | None,
    largest: Decimal | None,
    leverage: Decimal | None,
    loss: Decimal | None,
    fall: Decimal | None,
) -> Iterator[RuleResult]:
    """How far each limit is used; rules that are off are left out."""
    limits, money = state.limits, state.currency
    loads = state.orders.loads.values()
    fullest = max((load.orders for load in loads), default=0)
    streak = max((count for count, _ in state.account.streaks.values()), default=0)
    for rule, limit, used, unit in (
        ("max_position_size", limits.max_position_size, concentration, "fraction"),
        ("max_position_notional", limits.max_position_notional, largest, money),
        ("max_leverage", limits.max_leverage, leverage, "x"),
        (
            "max_open_positions",
            _number(limits.max_open_positions),
            Decimal(len(state.engaged())),
            "positions",
        ),
        (
            "max_open_orders",
            _number(limits.max_open_orders_symbol),
            Decimal(fullest),
            "orders per symbol",
        ),
        ("max_open_orders", _number(limits.max_open_orders), Decimal(state.orders.count), "orders"),
        (
            "max_unknown",
            _number(limits.max_unknown),
            Decimal(len(state.orders.unknown())),
            "orders",
        ),
        ("max_daily_loss", limits.max_daily_loss, loss, "fraction"),
        ("max_drawdown", limits.max_drawdown, fall, "fraction"),
        ("loss_streak", _number(limits.loss_streak), Decimal(streak), "trades"),
    ):
        if limit is not None:
            room = None if used is None else limit - max(used, ZERO)
            yield RuleResult(
                rule=rule,
                limit=limit,
                value=None if used is None else max(used, ZERO),
                headroom=room,
                unit=unit,
                ok=room is None or room >= 0,
            )


def _number(limit: int | None) -> Decimal | None:
    return None if limit is None else Decimal(limit)


def _recommend(
    state: State, concentration: Decimal | None, count: int, loss: Decimal | None
) -> Iterator[Recommendation]:
    limits = state.limits
    most = limits.max_open_positions
    if most is not None and Decimal(count) > Decimal("0.8") * most:
        yield Recommendation(
            code="near_position_limit",
            text=f"{count} of {most} positions are open",
            severity="warning",
        )
    limit = limits.max_daily_loss
    if limit is not None and loss is not None and loss >= limits.warn_at * limit:
        yield Recommendation(
            code="near_daily_loss",
            text=f"daily loss {plain(round(loss, 4))} of max_daily_loss {plain(limit)}",
            severity="critical",
        )
    if concentration is not None and concentration > Decimal("0.5"):
        yield Recommendation(
            code="concentrated",
            text=f"one position is {plain(round(concentration, 4))} of equity",
            severity="warning",
        )
