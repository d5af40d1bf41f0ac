"""How much each strategy counts: as configured, and as it earned (feature F17).

The configured weights stay as they are. The effective ones are made of them and of closed trades whenever they are
asked for, so that they can never be older than the last trade.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from realtime.desk.config.book import ConfigBook
from realtime.desk.desk import Desk
from realtime.engine.combine import Weight, dynamic_weights, profit_factor


PAGE: Final = 500
CLOSING: Final = frozenset({"exit", "stop_loss", "take_profit"})
"""Roles of orders that close what another one opened."""


def weights(book: ConfigBook, effective: Mapping[str, float]) -> dict[str, Weight]:
    """Give all configured strategies with the weights to combine by."""
    return {
        name: Weight(
            weight=effective.get(name, use.weight),
            min_confidence=use.min_confidence,
            enabled=use.enabled,
        )
        for name, use in book.current.strategies.items()
    }


async def effective(desk: Desk, book: ConfigBook) -> dict[str, float]:
    """Weigh the strategies in use by what their closed trades earned, together 1.

    As configured while `enable_dynamic_weights` is off.
    """
    configured = book.current.weights()
    if not book.current.probability.enable_dynamic_weights:
        return configured
    closed = await closed_trades(desk, set(configured))
    return dynamic_weights(configured, {name: profit_factor(pnl) for name, pnl in closed.items()})


async def closed_trades(desk: Desk, strategies: set[str]) -> dict[str, list[float]]:
    """Read what the newest closed trades of strategies earned, oldest first [cash currency], net of fees.

    A trade is all fills of one closing order; an attached stop or target counts for the strategy of its parent.
    """
    page = await desk.store.fills(limit=PAGE)
    earned: dict[str, float] = {}
    for entry in reversed(page.rows):
        row = orjson.loads(entry.body)
        if row["realized_pnl"] is not None:
            order_id = str(row["order_id"])
            earned[order_id] = earned.get(order_id, 0.0) + float(row["realized_pnl"])
    found: dict[str, list[float]] = {}
    for order_id, pnl in earned.items():
        order = await _named(desk, order_id)
        if order.role not in CLOSING:
            continue
        name = order.strategy
        if name is None and order.parent is not None:
            name = (await _named(desk, order.parent)).strategy
        if name in strategies:
            found.setdefault(str(name), []).append(pnl)
    return found


class _Named(NamedTuple):
    """What an order was for, and whose idea it was."""

    role: str | None
    strategy: str | None
    parent: str | None


async def _named(desk: Desk, order_id: str) -> _Named:
    """Look an order up: in memory, else in the journal; nothing where neither has it."""
    order = desk.engine.orders.get(order_id)
    if order is not None:
        return _Named(order.role.value, order.strategy_id, order.parent_id)
    entry = await desk.store.order(key=order_id)
    row = {} if entry is None else orjson.loads(entry.body)
    return _Named(row.get("role"), row.get("strategy_id"), row.get("parent_id"))
