"""Binance's own market data messages, spot and USD-M, as events.

A book is a snapshot joined by update ids. Spot: each message says which ids it holds, `U` to `u`, without a
hole. USD-M: each says behind which one it belongs, `pu`. A message that does not fit means the book is wrong
from here on, until the next snapshot.

Source of the joining rules: Binance, "How to manage a local order book correctly", spot and USD-M.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

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


class Parser:
    """Messages of one symbol in, events out.

    Args:
        venue: Named in `Stale`.
        symbol: Of the events.
    """

    __slots__ = ("_broken", "_buffer", "_last", "_snapshots", "_symbol", "_venue", "gaps")

    def __init__(self, *, venue: str, symbol: str) -> None:
        self._venue = venue
        self._symbol = symbol
        self._last: int | None = None
        self._buffer: deque[Depth] = deque(maxlen=BUFFER)
        self._broken = False
        self._snapshots = 0
        self.gaps = 0

    @property
    def update(self) -> int | None:
        """Id of the newest update in the book; None while a snapshot is awaited."""
        return self._last

    def parse(self, message: Message, ts: int, recv_ts: int) -> Sequence[Parsed]:
        """Turn one message into events; those nobody knows give none.

        Args:
            message: Combined-stream frame, or a REST depth snapshot.
            ts: Time to give to events [ns].
            recv_ts: Time of receipt [ns].
        """
        data = message.get("data")
        stream = message.get("stream")
        if not isinstance(data, dict) or not isinstance(stream, str):
            return self._snapshot(message, ts, recv_ts) if "lastUpdateId" in message else ()
        symbol, kind = self._symbol, stream.partition("@")[2]
        if kind == "bookTicker":
            return (Quote(data["u"], (data["b"], data["B"]), (data["a"], data["A"]), ts, recv_ts),)
        if kind == "trade":
            price, amount = data["p"], data["q"]
            if not (float(amount) > 0 and float(price) > 0):
                return ()
            side = "sell" if data["m"] else "buy"  # m: the buyer was the maker
            return (Trade(str(data["t"]), symbol, side, price, amount, ts, recv_ts),)
        if kind.startswith("depth"):
            delta = BookDelta(symbol, _levels(data["b"]), _levels(data["a"]), ts, recv_ts)
            return self._depth(Depth(data["U"], data["u"], data.get("pu"), delta))
        return ()

    def _snapshot(self, message: Message, ts: int, recv_ts: int) -> Sequence[Parsed]:
        update = message["lastUpdateId"]
        assert isinstance(update, int)
        events: list[Parsed] = []
        if self._broken:
            events.append(_stale(self._venue, self._symbol, None, ts))
        events.append(
            BookSnapshot(
                symbol=self._symbol,
                bids=_levels(message["bids"]),
                asks=_levels(message["asks"]),
                ts=ts,
                recv_ts=recv_ts,
                repaired=self._snapshots > 0,
            )
        )
        self._snapshots += 1
        self._broken = False
        self._last = update
        waiting, self._buffer = self._buffer, deque(maxlen=BUFFER)
        joined = False
        for depth in waiting:
            if depth.last <= update:
                continue  # the snapshot has it
            if not joined and depth.first <= update + 1:
                # The first one overlaps the snapshot; it replaces levels, so nothing counts twice.
                self._last = depth.last
                events.append(depth.delta)
            else:
                events += self._depth(depth)
            joined = True
        return events

    def _depth(self, depth: Depth) -> Sequence[Parsed]:
        if self._last is None:
            self._buffer.append(depth)
            return ()
        if depth.last <= self._last:
            return ()  # heard before
        if depth.previous is None:
            fits = depth.first <= self._last + 1
        else:
            # The first one behind a snapshot overlaps it; every other one names its predecessor.
            fits = depth.previous == self._last or depth.first <= self._last <= depth.last
        if fits:
            self._last = depth.last
            return (depth.delta,)
        self.gaps += 1
        self._last = None
        self._broken = True
        self._buffer.append(depth)
        return (_stale(self._venue, self._symbol, "desync", depth.delta.ts),)


def _levels(rows: object) -> tuple[Level, ...]:
    assert isinstance(rows, list)
    return tuple(map(tuple, rows))


def _stale(venue: str, symbol: str, cause: str | None, ts: int) -> Stale:
    return Stale(venue=venue, symbol=symbol, stale=cause is not None, cause=cause, asof=ts)
