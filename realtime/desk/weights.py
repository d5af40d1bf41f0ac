"""How much each strategy counts: as configured, and as it earned (feature F17).

The configured weights stay as they are. The effective ones are made of them and of closed trades whenever they are
asked for, so that they can never be older than the last trade; bots, who must not wait, take what `Earned` keeps.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from realtime.desk.config.book import ConfigBook
from realtime.desk.crew import Crew
from realtime.desk.desk import SETTLE_S, Desk
from realtime.desk.history import stands
from realtime.engine.combine import Weight, dynamic_weights, profit_factor
from realtime.model.errors import Refused


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


class Earned:
    """The effective weights, kept for those who must not wait for the journal."""

    def __init__(self, desk: Desk, book: ConfigBook, crew: Crew) -> None:
        self._desk = desk
        self._book = book
        self._crew = crew
        self._configured: dict[str, float] = {}
        self._effective: dict[str, float] = {}
        self._fills = -1
        self._reading = False

    def now(self) -> dict[str, float]:
        """Give the newest that are known; as configured where the configuration has changed since."""
        configured = self._book.current.weights()
        if not self._book.current.probability.enable_dynamic_weights:
            return configured
        return self._effective if self._configured == configured else configured

    def look(self) -> None:
        """Begin to read them anew where something was filled or configured since; waits for nothing."""
        if not self._reading and not self._fresh():
            self._reading = True
            self._crew.spawn(self._look(), "effective weights")

    async def _look(self) -> None:
        try:
            await self.read()
        finally:
            self._reading = False

    async def read(self) -> None:
        """Read them anew, if need be; they stay as they are where the journal cannot be asked now."""
        while not self._fresh():
            # The journal has the fills that are counted.
            fills = self._desk.tally.fills
            if not await self._desk.durable(self._desk.store.seq, SETTLE_S):
                return
            configured = self._book.current.weights()
            try:
                found = await effective(self._desk, self._book)
            except Refused:
                return  # busy or closing; who looks next tries again
            self._configured, self._effective, self._fills = configured, found, fills

    def _fresh(self) -> bool:
        if not self._book.current.probability.enable_dynamic_weights:
            return True
        same = self._configured == self._book.current.weights()
        return same and self._fills == self._desk.tally.fills


async def closed_trades(desk: Desk, strategies: set[str]) -> dict[str, list[float]]:
    """Read what the newest closed trades of strategies earned, oldest first [cash currency], net of fees.

    A trade is all fills of one closing order; an attached stop or target counts for the strategy of its parent.
    """
    page = await desk.store.fills(limit=PAGE)
    earned: dict[str, float] = {}
    for entry in reversed(page.rows):
        row = orjson.loads(entry.body)
        if row["realized_pnl"] is not None and stands(desk.engine, row):
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
