"""How much each strategy counts: as configured, and as it earned (feature F17).

The configured weights stay as they are. The effective ones are made of them and of closed trades whenever they are
asked for, so that they can never be older than the last trade; bots, who must not wait, take what `Earned` keeps.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import orjson

from realtime.desk.config.book import ConfigBook
from realtime.desk.crew import Crew
from realtime.desk.desk import SETTLE_S, Desk
from realtime.desk.history import stands
from realtime.engine.combine import CLOSED_TRADES, Weight, dynamic_weights, profit_factor
from realtime.model.errors import Refused


Row = dict[str, Any]

PAGE: Final = 500
MOST_FILLS: Final = 20_000
"""Fills that are looked through for what is not known yet, after a start."""
KEPT: Final = 100
"""Trades of a strategy that are kept: more than count, for the fills of one closing order may come late."""
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
    known = _KNOWN.setdefault(desk, _Trades())
    await known.read(desk, strategies)
    return known.earned(desk, strategies)


class _Trades:
    """The newest closed trades of strategies: fills that were read once are not asked for again."""

    def __init__(self) -> None:
        # Number of the newest fill that was read, and for which strategies older ones were looked for.
        self._last = 0
        self._sought: set[str] = set()
        # By strategy and closing order, oldest first.
        self._fills: dict[str, dict[str, list[Row]]] = {}

    async def read(self, desk: Desk, strategies: set[str]) -> None:
        """Read what was filled since, or as far back as it counts."""
        while True:
            was, anew = self._last, not strategies <= self._sought
            # All that were ever asked for: what is passed over here is not looked at again.
            sought = self._sought | strategies
            newest, found = await _found(desk, sought, 0 if anew else was)
            if self._last == was:
                break  # else somebody else was faster, and little is left to be read
        if anew:
            self._fills = {}
        for name, trades in found.items():
            known = self._fills.setdefault(name, {})
            for order_id in reversed(trades):
                known[order_id] = [*known.pop(order_id, ()), *reversed(trades[order_id])]
            for order_id in list(known)[:-KEPT]:
                del known[order_id]
        self._last = max(was, newest)
        self._sought = sought

    def earned(self, desk: Desk, strategies: set[str]) -> dict[str, list[float]]:
        """Add up the fills that stand."""
        found: dict[str, list[float]] = {}
        for name in strategies & self._fills.keys():
            trades = [
                [float(row["realized_pnl"]) for row in rows if stands(desk.engine, row)]
                for rows in self._fills[name].values()
            ]
            found[name] = [sum(pnls) for pnls in trades if pnls]
        return found


_KNOWN: Final["WeakKeyDictionary[Desk, _Trades]"] = WeakKeyDictionary()
"""What was read for each desk: bots and commands ask for the same."""


async def _found(
    desk: Desk, strategies: set[str], last: int
) -> tuple[int, dict[str, dict[str, list[Row]]]]:
    """Look through fills, newest first, down to number `last` or as many as count.

    Returns:
        The number of the newest, and fills by strategy and closing order, newest first.
    """
    names: dict[str, str | None] = {}
    found: dict[str, dict[str, list[Row]]] = {}
    seen, newest, cursor = 0, 0, None
    while True:
        page = await desk.store.fills(limit=PAGE, cursor=cursor)
        fresh = [entry for entry in page.rows if entry.n > last]
        for entry in fresh:
            newest = max(newest, entry.n)
            row = orjson.loads(entry.body)
            if row["realized_pnl"] is None:
                continue
            order_id = str(row["order_id"])
            if order_id not in names:
                names[order_id] = await _strategy(desk, order_id)
            name = names[order_id]
            if name is not None:
                found.setdefault(name, {}).setdefault(order_id, []).append(row)
        seen, cursor = seen + len(fresh), page.next_cursor
        # Of the oldest that was found there may be more.
        enough = all(len(found.get(name, ())) > CLOSED_TRADES for name in strategies)
        if enough or cursor is None or len(fresh) < len(page.rows) or seen >= MOST_FILLS:
            return newest, found


async def _strategy(desk: Desk, order_id: str) -> str | None:
    """Name the strategy whose trade an order closes; None where it closes none."""
    order = await _named(desk, order_id)
    if order.role not in CLOSING:
        return None
    if order.strategy is None and order.parent is not None:
        return (await _named(desk, order.parent)).strategy
    return order.strategy


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
