"""An order book as the venue tells it: snapshot and deltas, the venue's own strings kept.

Rules of this file:
1 A level keeps the strings it came with; floats are sort keys and tell nothing from zero, no more (M6). Two prices
  of one side are the same level when their floats are equal, so a price may have at most 15 significant digits.
2 Reading never changes anything that a reader can see: `top` is cached until a change reaches its depth.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from decimal import Decimal, localcontext
from itertools import chain, islice
from math import inf, isfinite
from typing import Final

import orjson

from realtime.model.market import MONEY, BookDelta, BookSnapshot, Level, Numbers


NEAR: Final = 25
"""Levels that are kept sorted at least."""
NUMBERS: Final = frozenset({int, float})
"""What JSON makes of numbers; of other things that may stand between commas it makes others."""


def numbers_of(rows: Sequence[Level]) -> Numbers:
    """Read levels: price, amount, price, amount ... as floats.

    Raises:
        ValueError: One of them is no number, below zero or without bound.
    """
    return numbers_in(list(chain.from_iterable(rows)))


def numbers_in(strings: Sequence[str]) -> Numbers:
    """Read strings, each a number, as floats.

    Raises:
        ValueError: One of them is no number, below zero or without bound.
    """
    text = ",".join(strings)
    # At once, because `float` takes eight times as long for each; it knows more ways to write a number.
    try:
        numbers: list[float] = orjson.loads(f"[{text}]")
    except orjson.JSONDecodeError:
        numbers = [float(number) for number in strings]
        if not all(map(isfinite, numbers)):
            raise ValueError("a level without bound") from None
    # What cannot be added is none, nor is `true`, which can: it has the letter that is rare, as it begins an exponent.
    try:
        sum(numbers)
    except TypeError:
        raise ValueError("a level that is no number") from None
    if len(numbers) != len(strings) or ("e" in text and not NUMBERS.issuperset(map(type, numbers))):
        raise ValueError("a level that is no number")
    if "-" in text and min(numbers) < 0:
        raise ValueError("a level below zero")
    return numbers


class Ladder:
    """One side of a book. Keys grow away from the touch: asks by price, bids by minus price.

    Only the levels near the touch are kept sorted, the rest when somebody reads that far: of a message of 36
    levels two thirds lie where nobody looks.

    Attributes:
        near: Sorted keys of the best levels; empty only where there is no level at all.
        levels: All of them, by key.
    """

    __slots__ = ("_edge", "_horizon", "_sign", "_tops", "_want", "levels", "near")

    def __init__(self, sign: float) -> None:
        self.near: list[float] = []
        self.levels: dict[float, Level] = {}
        self._sign = sign
        self._tops: dict[int, tuple[Level, ...]] = {}
        # The deepest key that a cached top depends on: a change beyond it leaves the cache valid.
        self._horizon = -inf
        # Keys up to here are in `near`, the others in `levels` alone; without end when all are sorted.
        self._edge = inf
        # How many levels the deepest reader wants; sorting is worth while for them.
        self._want = NEAR

    def load(self, rows: Sequence[Level]) -> None:
        """Replace everything."""
        sign, number = self._sign, iter(numbers_of(rows))
        levels = zip(rows, number, number, strict=True)
        self.levels = {sign * price: row for row, price, amount in levels if amount}
        self._tops.clear()
        self._horizon = -inf
        self._want = NEAR
        self._sort()
        self._cut()

    def apply(self, rows: Sequence[Level], numbers: Numbers | None = None) -> None:
        """Set levels; amount zero deletes one, known or not.

        Args:
            rows: In order: of two at one price the last one counts.
            numbers: The same as floats, where somebody has read them.
        """
        sign, levels, near = self._sign, self.levels, self.near
        edge, horizon = self._edge, self._horizon
        number = iter(numbers_of(rows) if numbers is None else numbers)
        for row, price, amount in zip(rows, number, number, strict=True):
            key = sign * price
            if key > edge:  # and beyond the horizon
                if amount:
                    levels[key] = row
                else:
                    levels.pop(key, None)
                continue
            if amount:
                if key not in levels:
                    insort(near, key)
                levels[key] = row
            elif levels.pop(key, None) is not None:
                del near[bisect_left(near, key)]
            else:
                continue
            if key <= horizon:
                self._tops.clear()
                self._horizon = horizon = -inf
        if not near:
            self._sort()
            self._cut()
        elif len(near) > 4 * self._want:
            self._cut()

    def top(self, depth: int) -> tuple[Level, ...]:
        """The best `depth` levels, best first; all of them when there are fewer."""
        held = self._tops.get(depth)
        if held is None:
            if len(self.near) < depth and self._edge < inf:
                self._want = max(self._want, depth)
                self._sort()
            keys = self.near[:depth]
            held = self._tops[depth] = tuple([self.levels[key] for key in keys])
            # A short side grows at its end, so any change reaches it.
            self._horizon = max(self._horizon, keys[-1] if len(keys) == depth else inf)
        return held

    @property
    def keys(self) -> list[float]:
        """All keys, sorted; to be read at once."""
        if self._edge < inf:
            self._sort()
        return self.near

    def walk(self) -> Iterator[float]:
        """Keys, best first, sorted as far as it gets; the ladder must not change meanwhile."""
        near = self.near
        yield from near
        if len(near) < len(self.levels):
            yield from islice(self.keys, len(near), None)

    def __iter__(self) -> Iterator[Level]:
        """Levels, best first; the ladder must not change meanwhile."""
        return map(self.levels.__getitem__, self.walk())

    def _sort(self) -> None:
        """Sort everything; whoever walks `near` meanwhile stays where it is."""
        self.near = sorted(self.levels)
        self._edge = inf

    def _cut(self) -> None:
        """Keep what readers want sorted, and what a cached top depends on."""
        keep = 2 * self._want
        if len(self.near) > keep and self._horizon <= self.near[keep - 1]:
            del self.near[keep:]
            self._edge = self.near[-1]


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
        bids, asks = delta.numbers or (None, None)
        if delta.bids:
            self.bids.apply(delta.bids, bids)
        if delta.asks:
            self.asks.apply(delta.asks, asks)
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
        return bids.levels[bids.near[0]] if bids.near else None

    @property
    def best_ask(self) -> Level | None:
        """The lowest ask (price [quote], amount [base]), None without asks."""
        asks = self.asks
        return asks.levels[asks.near[0]] if asks.near else None

    @property
    def touch(self) -> tuple[Level, Level] | None:
        """Best bid and best ask; None unless both are there and the book is not crossed."""
        bids, asks = self.bids.near, self.asks.near
        if not (bids and asks) or -bids[0] >= asks[0]:
            return None
        return self.bids.levels[bids[0]], self.asks.levels[asks[0]]

    @property
    def crossed(self) -> bool:
        """Whether the best bid is at or above the best ask: such a book is wrong and not shown."""
        bids, asks = self.bids.near, self.asks.near
        return bool(bids and asks) and -bids[0] >= asks[0]

    @property
    def mid(self) -> Decimal | None:
        """Middle of the best two prices [quote]; None unless both sides are there."""
        bid, ask = self.best_bid, self.best_ask
        if bid is None or ask is None:
            return None
        with localcontext(MONEY):
            return (Decimal(bid[0]) + Decimal(ask[0])) / 2
