"""What a bot has: its share, what its orders have executed and no fill has told yet, and no more than is there.

Rules of this file: (1) an exchange may say that an order has filled before it tells the fills: what is bought or sold then
must not be bought or sold again; (2) shares add up the bot's own fills, and people close positions without asking bots:
coins that the account has not are not the bot's; (3) of contracts a share is taken at its word, for bots that stand
against each other are one smaller position, or none; (4) so is one of the currency that everything is valued in, which is
cash also where it is bought like a coin, and no position.
"""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

from realtime.engine import window
from realtime.engine.engine import Engine
from realtime.engine.window import Schedule, Usage
from realtime.model.account import Position
from realtime.model.market import ZERO, Market
from realtime.model.orders import Order, Side


def position_of(engine: Engine, symbol: str) -> Position | None:
    """Give the position that orders of a symbol act on: coins are shown under one of their markets."""
    markets = engine.markets
    found, market = engine.positions.get(symbol), markets.get(symbol)
    if found is not None or market is None or market.contract:
        return found
    for name, position in engine.positions.items():
        other = markets.get(name)
        if other is not None and not other.contract and other.base == market.base:
            return position
    return None


def is_cash(engine: Engine, market: Market) -> bool:
    """Tell whether what a market trades is shown as no position."""
    return not market.contract and market.base == engine.valuation_currency


def unbooked(engine: Engine) -> Iterator[tuple[Order, Decimal]]:
    """Give orders, ended ones too, that have executed more than their fills have told, and how much, signed."""
    orders = engine.orders
    for order_id in orders.gaps:
        order = orders.get(order_id)
        if order is not None:
            amount = order.filled - orders.booked(order_id)
            yield order, amount if order.side is Side.BUY else -amount


def held(engine: Engine, bot_id: str, symbol: str) -> Decimal:
    """Give what a bot has of a symbol, signed [base, contracts]."""
    amount, market = engine.shares.of(bot_id, symbol).amount, engine.markets.get(symbol)
    more = ZERO
    for order, change in unbooked(engine):
        if order.bot_id == bot_id and order.symbol == symbol:
            amount += change
        if market is not None and order.symbol in engine.markets:
            other = engine.markets[order.symbol]
            more += change if not other.contract and other.base == market.base else ZERO
    if amount <= 0 or market is None or market.contract or is_cash(engine, market):
        return amount
    position = position_of(engine, symbol)
    return min(amount, max((ZERO if position is None else position.amount) + more, ZERO))


# --- what is on its way ----------------------------------------------------------------------------


def usage(engine: Engine, bot_id: str, schedule: Schedule, now: int) -> Usage:
    """Tell what a bot has used of a trading window: a fold over its fills, so it survives everything."""
    shares = engine.shares
    today = window.local(now, schedule.zone).date()
    begun = window.instant(today, 0, schedule.zone)
    last = shares.last_entry(bot_id)
    return Usage(
        day=schedule.day(now),
        trades=shares.entries(bot_id, begun),
        exits={s: share.exit_ts for s, share in shares.by_symbol(bot_id).items() if share.exit_ts},
        last_trade=None if last is None else schedule.day(last),
    )


def claimed(engine: Engine, bot_id: str, schedule: Schedule, now: int) -> Usage:
    """Tell what a bot may have used of a trading window once all that is on its way has filled."""
    used = usage(engine, bot_id, schedule, now)
    booked = engine.orders.booked
    waiting = sum(not booked(order.id) for order in entering(engine, bot_id))
    return replace(used, trades=used.trades + waiting)


def entering(engine: Engine, bot_id: str) -> list[Order]:
    """List entries of a bot that work, or whose fills are still to come."""
    orders = {order.id: order for order in engine.orders.working()}
    orders |= {order.id: order for order, _ in unbooked(engine)}
    return [order for order in orders.values() if order.bot_id == bot_id and not order.exit]


def leaving(engine: Engine, bot_id: str, symbol: str) -> Decimal:
    """Sum up what working exits of a bot, but the attached ones, may still close [base, contracts]."""
    return sum(
        (
            order.remaining
            for order in engine.orders.working()
            if order.bot_id == bot_id
            and order.symbol == symbol
            and order.exit
            and not order.protective
        ),
        ZERO,
    )
