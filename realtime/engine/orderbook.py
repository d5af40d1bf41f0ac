"""An order book as the venue tells it: snapshot and deltas, the venue's own strings kept.

Rules of this file:
1 A level keeps the strings it came with; the float is a sort key and nothing else (M6). Two prices of one
  side are the same level when their floats are equal, so a price may have at most 15 significant digits.
  An amount is written without an exponent, as on the wire: nothing but zeros and a point deletes a level.
2 Reading never changes anything that a reader can see: `top` is cached until a change reaches its depth.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from decimal import Decimal, localcontext
from math import inf

from realtime.model.market import MONEY, ZERO, BookDelta, BookSnapshot, Level
from realtime.model.orders import Side


class Ladder:
    """One side of a book. Keys grow away from the touch: asks by price, bids by minus price."""

    __slots__ = ("_horizon", "_sign", "_tops", "keys", "levels")

    def __init__(self, sign: float) -> None:
        self.keys: list[float] = []
        self.levels: dict[float, Level] = {}
        self._sign = sign
        self._tops: dict[int, tuple[Level, ...]] = {}
        # The deepest key that a cached top depends on: a change beyond it leaves the cache valid.
        self._horizon = -inf

    def load(self, rows: Iterable[Level]) -> None:
        """Replace everything."""
        sign = self._sign
        self.levels = {sign * float(row[0]): row for row in rows if row[1].strip("0.")}
        self.keys = sorted(self.levels)
        self._tops.clear()
        self._horizon = -inf

    def apply(self, rows: Iterable[Level]) -> None:
        """Set levels; amount zero deletes one, known or not."""
        sign, levels, keys, horizon = self._sign, self.levels, self.keys, self._horizon
        for row in rows:
            key = sign * float(row[0])
            if row[1].strip("0."):
                if key not in levels:
                    insort(keys, key)
                levels[key] = row
            elif key in levels:
                del levels[key], keys[bisect_left(keys, key)]
            else:
                continue
            if key <= horizon:
                self._tops.clear()
                self._horizon = horizon = -inf

    def top(self, depth: int) -> tuple[Level, ...]:
        """The best `depth` levels, best first; all of them when there are fewer."""
        held = self._tops.get(depth)
        if held is None:
            keys = self.keys[:depth]
            held = self._tops[depth] = tuple([self.levels[key] for key in keys])
            # A short side grows at its end, so any change reaches it.
            self._horizon = max(self._horizon, keys[-1] if len(keys) == depth else inf)
        return held

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first; the ladder must not change meanwhile."""
        return (self.levels[key] for key in self.keys)


class OrderBook:
    """Both sides of one symbol."""

    __slots__ = ("asks", "asof", "bids", "repaired", "symbol")

    def __init__(self, symbol: str = "") -> None:
        self.symbol = symbol
        self.bids = Ladder(-1.0)
        self.asks = Ladder(1.0)
        self.asof = 0
        # Whether the newest snapshot mended a gap upstream; readers start afresh then.
        self.repaired = False

    def apply_snapshot(self, snapshot: BookSnapshot) -> None:
        """Start from a whole book."""
        self.bids.load(snapshot.bids)
        self.asks.load(snapshot.asks)
        self.asof = snapshot.ts
        self.repaired = snapshot.repaired

    def apply_delta(self, delta: BookDelta) -> None:
        """Change single levels."""
        if delta.bids:
            self.bids.apply(delta.bids)
        if delta.asks:
            self.asks.apply(delta.asks)
        self.asof = delta.ts
        self.repaired = False

    def clear(self) -> None:
        """Forget all levels."""
        self.bids.load(())
        self.asks.load(())

    def top(self, depth: int) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
        """Bids and asks, best first, at most `depth` levels each."""
        return self.bids.top(depth), self.asks.top(depth)

    @property
    def best_bid(self) -> Level | None:
        """The highest bid (price [quote], amount [base]), None without bids."""
        bids = self.bids
        return bids.levels[bids.keys[0]] if bids.keys else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask (price [quote], amount [base]), None without asks."""
        asks = self.asks
        return asks.levels[asks.keys[0]] if asks.keys else None

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: such a book is wrong and not shown."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids and asks) and -bids[0] >= asks[0]

    @property
    def mid(self) -> Decimal | None:
        """Middle of the best two prices [quote]; None unless both sides are there."""
        bid, ask = self.best_bid, self.best_ask
        if bid is None or ask is None:
            return None
        with localcontext(MONEY):
            return (Decimal(bid[0]) + Decimal(ask[0])) / 2

    def amount_at(self, side: Side, price: str) -> str | None:
        """Displayed amount [base] of a level, None where there is no such level.

        Args:
            side: `buy` looks among the bids.
            price: [quote per base]
        """
        ladder = self.bids if side is Side.BUY else self.asks
        level = ladder.levels.get(ladder._sign * float(price))  # noqa: SLF001 - same file, same law
        return None if level is None else level[1]

    def walk(
        self,
        side: Side,
        amount: Decimal | None = None,
        *,
        cost: Decimal | None = None,
    ) -> tuple[Decimal | None, Decimal]:
        """Walk the levels that a market order of `side` would take.

        Args:
            side: Of the order: a buy walks the asks.
            amount: [base] wanted; None walks for `cost`.
            cost: [quote] to spend instead.

        Returns:
            Average price [quote], None when there is nothing to take, and the amount [base] there is.
        """
        filled = spent = ZERO
        with localcontext(MONEY):
            for level_price, level_amount in self.asks if side is Side.BUY else self.bids:
                price, there = Decimal(level_price), Decimal(level_amount)
                if amount is not None:
                    there = min(there, amount - filled)
                if cost is not None:
                    there = min(there, (cost - spent) / price)
                if there <= 0:
                    break
                filled += there
                spent += there * price
            return (spent / filled if filled else None), filled
