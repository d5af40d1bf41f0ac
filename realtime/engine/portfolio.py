"""What the account is worth, read from the state (features F2, F4, F18)."""

from decimal import Decimal

from realtime.engine.state import State
from realtime.model.account import Balance, Marked, Portfolio, Position, Valued
from realtime.model.market import MS, ZERO
from realtime.model.orders import Role


ONE, HUNDRED = Decimal(1), Decimal(100)

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
        worth_at_mark = position.amount * state.markets[symbol].value(mark)
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
        bot_ids=tuple(sorted(state.account.bots.get(symbol, ()))),
        price_ts=state.quotes.touched.get(symbol, 0),
        price_source=ticker.source if ticker is not None else None,
        stale=state.quotes.is_stale(symbol),
    )


def value_balance(state: State, balance: Balance) -> Valued:
    """Value a balance; its allocation is its share of what all balances are worth."""
    price = state.quotes.worth(balance.currency)
    value = None if price is None else balance.total * price
    total = state.equity(balance.ts).assets if value is not None else None
    return Valued(
        balance=balance,
        price=price,
        value=value,
        # The sum may be a quarter of a second older than the price here.
        allocation=min(value / total, ONE) if value is not None and total else None,
        stale=None in state.quotes.stale or not state.ready,
    )


def value(state: State, ts: int) -> Portfolio:
    """Value everything."""
    equity = state.equity_now(ts)
    priced = []
    for balance in sorted(state.account.balances.values(), key=lambda held: held.id):
        price = state.quotes.worth(balance.currency)
        priced.append((balance, price, None if price is None else balance.total * price))
    # Not the equity: the profit of derivatives is no balance.
    total = sum((worth for _, _, worth in priced if worth is not None), ZERO)
    valued = [
        Valued(
            balance=balance,
            price=price,
            value=worth,
            allocation=worth / total if worth is not None and equity.value and total else None,
            stale=None in state.quotes.stale or not state.ready,
        )
        for balance, price, worth in priced
    ]
    marked = [mark_position(state, held) for held in held_positions(state)]
    profits = [
        profit
        for profit in (in_valuation(state, held, held.unrealized_pnl) for held in marked)
        if profit is not None
    ]
    profit = sum(profits, ZERO) if profits or not marked else None
    realized = _realized(state)
    whole = None if profit is None or realized is None else profit + realized
    return Portfolio(
        total_value=equity.value,
        reason=equity.reason,
        currency=state.currency,
        cash=state.account.books.get(state.currency, ZERO),
        available_balance=state.free(state.currency),
        balances=tuple(valued),
        positions=tuple(marked),
        total_unrealized_pnl=profit,
        total_unrealized_pnl_pct=_share(profit, equity.value),
        total_pnl=whole,
        total_pnl_pct=_share(whole, equity.value),
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


def in_valuation(state: State, held: Marked, amount: Decimal | None) -> Decimal | None:
    """Value an amount of a position's cash [valuation currency]; None where one of both is not known."""
    worth = state.quotes.worth(state.markets[held.position.symbol].cash)
    return None if amount is None or worth is None else amount * worth


def _realized(state: State) -> Decimal | None:
    """Sum up what positions have realized, flat ones included; None where that has no price."""
    total = ZERO
    for position in state.account.positions.values():
        if position.realized_pnl:
            worth = state.quotes.worth(state.markets[position.symbol].cash)
            if worth is None:
                return None
            total += position.realized_pnl * worth
    return total


def _share(profit: Decimal | None, value: Decimal | None) -> Decimal | None:
    """Profit by the value without it [percent]; None where one of both is not known."""
    if profit is None or value is None or value == profit:
        return None
    return profit / (value - profit) * HUNDRED


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
