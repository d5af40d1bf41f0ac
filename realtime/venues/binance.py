"""Binance's own market data messages, spot and USD-M, as events.

A book is a snapshot joined by update ids. Spot: each message says which ids it holds, `U` to `u`, without a
hole. USD-M: each says behind which one it belongs, `pu`. A message that does not fit means the book is wrong
from here on, until the next snapshot. So does one from within the ids of the newest: those were not what it held.

Source of the joining rules: Binance, "How to manage a local order book correctly", spot and USD-M.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeAlias

from realtime.engine.orderbook import numbers_of
from realtime.model.frozen import frozen
from realtime.model.market import BookDelta, BookSnapshot, Level, Stale, Trade


Message: TypeAlias = Mapping[str, object]
BUFFER: Final = 10_000
"""Depth messages kept while a snapshot is awaited."""


@frozen
class Quote:
    """Best bid and ask, as the venue tells them beside the book."""

    update: int
    bid: Level
    ask: Level
    ts: int
    recv_ts: int


Parsed: TypeAlias = BookSnapshot | BookDelta | Trade | Quote | Stale


@dataclass(slots=True)
class Depth:
    """One depth message."""

    first: int
    last: int
    previous: int | None
    delta: BookDelta


class Join:
    """The chain of update ids of one book.

    Attributes:
        last: Newest update in the book; None while a snapshot is awaited.
        gaps: Holes found so far.
    """

    __slots__ = ("_first", "_waiting", "gaps", "last")

    def __init__(self) -> None:
        self.last: int | None = None
        self.gaps = 0
        # Where the newest message begins; behind `last` while the snapshot is the newest.
        self._first = 0
        self._waiting: deque[Depth] = deque(maxlen=BUFFER)

    def push(self, depth: Depth) -> bool | None:
        """Take a message.

        Returns:
            True: it belongs into the book now. False: it shows a hole, the book is wrong until the next snapshot.
            None: it waits for a snapshot, or was heard before.
        """
        if self.last is None:
            self._waiting.append(depth)
            return None
        if depth.last < self._first or (depth.first, depth.last) == (self._first, self.last):
            return None  # heard before
        if self._first > self.last and depth.first <= self._first:
            fits = True  # the first one behind a snapshot overlaps it; it replaces levels, so nothing counts twice
        elif depth.previous is None:
            fits = depth.first == self.last + 1
        else:
            fits = depth.previous == self.last
        if fits:
            self._first, self.last = depth.first, depth.last
            return True
        self.gaps += 1
        self.last = None
        self._waiting.append(depth)
        return False

    def start(self, update: int) -> tuple[list[BookDelta], BookDelta | None]:
        """Start from a snapshot that holds everything up to `update`.

        Returns:
            What waited and belongs behind it, and what shows a hole if there is one.
        """
        self._first, self.last = update + 1, update
        waiting, self._waiting = self._waiting, deque(maxlen=BUFFER)
        deltas: list[BookDelta] = []
        hole: BookDelta | None = None
        for depth in waiting:
            fits = self.push(depth)
            if fits:
                deltas.append(depth.delta)
            elif fits is False:
                hole = depth.delta
        return deltas, hole

    def clear(self) -> None:
        """Forget everything and await a snapshot."""
        self.last = None
        self._waiting.clear()


class Parser:
    """Messages of one symbol in, events out.

    Args:
        venue: Named in `Stale`.
        symbol: Of the events.
    """

    __slots__ = ("_ask", "_bid", "_broken", "_join", "_snapshots", "_symbol", "_venue")

    def __init__(self, *, venue: str, symbol: str) -> None:
        self._venue = venue
        self._symbol = symbol
        self._join = Join()
        self._broken = False
        self._snapshots = 0
        # Of the newest quote: the next one mostly differs in one of them, and only that one is read.
        self._bid: Level | None = None
        self._ask: Level | None = None

    @property
    def update(self) -> int | None:
        """Id of the newest update in the book; None while a snapshot is awaited."""
        return self._join.last

    @property
    def gaps(self) -> int:
        """Holes found so far."""
        return self._join.gaps

    def parse(self, message: Message, ts: int, recv_ts: int) -> Sequence[Parsed]:
        """Turn one message into events; those nobody knows give none.

        Args:
            message: Combined-stream frame, or a REST depth snapshot.
            ts: Time to give to events [ns].
            recv_ts: Time of receipt [ns].

        Raises:
            ValueError, TypeError, KeyError, AttributeError, AssertionError: It is no such message; nothing has changed.
        """
        data = message.get("data")
        stream = message.get("stream")
        if not isinstance(data, dict) or not isinstance(stream, str):
            return self._snapshot(message, ts, recv_ts) if "lastUpdateId" in message else ()
        symbol, kind = self._symbol, stream.partition("@")[2]
        if kind == "bookTicker":
            bid, ask = (data["b"], data["B"]), (data["a"], data["A"])
            if bid != self._bid:
                _check(*bid)
                self._bid = bid
            if ask != self._ask:
                _check(*ask)
                self._ask = ask
            return (Quote(data["u"], bid, ask, ts, recv_ts),)
        if kind == "trade":
            price, amount = data["p"], data["q"]
            traded = float(amount)
            if not (traded > 0 and (level := float(price)) > 0):
                return ()
            if inf in (traded, level):
                raise ValueError("a trade without bound")
            side = "sell" if data["m"] else "buy"  # m: the buyer was the maker
            return (Trade(str(data["t"]), symbol, side, price, amount, ts, recv_ts),)
        if kind.startswith("depth"):
            bids, asks = _levels(data["b"]), _levels(data["a"])
            # Read before anything is changed: one that is no number spoils this message, not the book.
            numbers = (_numbers(bids), _numbers(asks))
            delta = BookDelta(symbol, bids, asks, ts, recv_ts, numbers)
            first, last, previous = data["U"], data["u"], data.get("pu")
            assert isinstance(first, int)
            assert isinstance(last, int)
            assert first <= last
            assert previous is None or isinstance(previous, int)
            return self._depth(Depth(first, last, previous, delta))
        return ()

    def _snapshot(self, message: Message, ts: int, recv_ts: int) -> Sequence[Parsed]:
        update = message["lastUpdateId"]
        assert isinstance(update, int)
        bids, asks = _levels(message["bids"]), _levels(message["asks"])
        _numbers((*bids, *asks))
        events: list[Parsed] = []
        if self._broken:
            events.append(_stale(self._venue, self._symbol, None, ts))
        events.append(
            BookSnapshot(
                symbol=self._symbol,
                bids=bids,
                asks=asks,
                ts=ts,
                recv_ts=recv_ts,
                repaired=self._snapshots > 0,
            )
        )
        self._snapshots += 1
        self._broken = False
        deltas, hole = self._join.start(update)
        events += deltas
        if hole is not None:
            events.append(self._lost(hole))
        return events

    def _depth(self, depth: Depth) -> Sequence[Parsed]:
        fits = self._join.push(depth)
        if fits:
            return (depth.delta,)
        return () if fits is None else (self._lost(depth.delta),)

    def _lost(self, delta: BookDelta) -> Stale:
        self._broken = True
        return _stale(self._venue, self._symbol, "desync", delta.ts)


def _check(price: object, amount: object) -> None:
    """Judge one level as `numbers_in` judges many: for so few `float` is the faster.

    Raises:
        ValueError: It has something that is no number, below zero or without bound.
    """
    assert isinstance(price, str)
    assert isinstance(amount, str)
    if not (0 <= float(price) < inf and 0 <= float(amount) < inf):
        raise ValueError("a level below zero or without bound")


def _levels(rows: object) -> tuple[Level, ...]:
    assert isinstance(rows, list)
    return tuple(map(tuple, rows))


def _numbers(rows: Sequence[Level]) -> Sequence[float]:
    """Read levels as `numbers_of` does, each a price and an amount.

    Raises:
        ValueError: They are not.
    """
    numbers = numbers_of(rows)
    if len(numbers) != 2 * len(rows):
        raise ValueError("a level is not a price and an amount")
    return numbers


def _stale(venue: str, symbol: str, cause: str | None, ts: int) -> Stale:
    return Stale(venue=venue, symbol=symbol, stale=cause is not None, cause=cause, asof=ts)
