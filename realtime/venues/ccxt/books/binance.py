"""Binance's books, spot and contracts: `depth` messages joined to a REST snapshot.

The join is the one of recorded sessions (`realtime.venues.binance`).

Source: Binance, "How to manage a local order book correctly", spot and USD-M.
"""

from collections.abc import Iterable, Sequence
from re import compile as compile_pattern
from typing import Any, Final

import orjson

from realtime.model.market import BookDelta, BookSnapshot, Market
from realtime.venues.binance import Depth, Join
from realtime.venues.ccxt.books.feed import (
    MALFORMED,
    SEQUENCE,
    BookEvent,
    Gap,
    levels,
    sides,
    stamp,
    text_of,
)


MARK: Final = '"depthUpdate"'
HEAD: Final = 160
"""Characters in which a depth message says what it is: the name of its stream may stand before."""
USUAL: Final = compile_pattern(
    r'({"stream":"[^"\\]*","data":)?{"e":"depthUpdate","E":([0-9]{1,18}),(?:"T":[0-9]+,)?"s":"([^"\\]*)",'
    r'"U":([0-9]{1,18}),"u":([0-9]{1,18}),(?:"pu":([0-9]{1,18}),)?"b":(\[[^a]*\]),"a":(\[[^}]*\])}(?(1)})'
).fullmatch
"""A depth message as the venue writes it."""


class Binance:
    """Books of one instance.

    A message of contracts carries `pu`, one of spot does not: that tells apart markets of one id.

    Args:
        markets: Of the instance.
    """

    rest = True

    __slots__ = ("_contracts", "_joins", "_seen", "_spot")

    def __init__(self, markets: Iterable[Market]) -> None:
        self._spot: dict[str, str] = {}
        self._contracts: dict[str, str] = {}
        self.learn(markets)
        self._joins: dict[str, Join] = {}
        self._seen: set[str] = set()

    def learn(self, markets: Iterable[Market]) -> None:
        """As in `Native`."""
        for market in markets:
            (self._contracts if market.contract else self._spot)[market.id] = market.symbol

    def feed(self, text: str | bytes, recv_ts: int, url: str = "") -> Sequence[BookEvent]:  # noqa: ARG002 - the port
        """As in `Native`."""
        if not isinstance(text, str):
            text = text_of(text)
        usual = USUAL(text)
        if usual is None:
            return self._decoded(text, recv_ts) if MARK in text[:HEAD] else ()
        _, told, name, first, last, previous, bids, asks = usual.groups()
        symbol = (self._spot if previous is None else self._contracts).get(name)
        if symbol is None:
            return ()
        try:
            (bids, low), (asks, high) = levels(bids), levels(asks)
        except ValueError:
            return self._decoded(text, recv_ts)
        before = None if previous is None else int(previous)
        ts = stamp(int(told), recv_ts)
        delta = BookDelta(symbol, bids, asks, ts, recv_ts, (low, high))
        return self._push(symbol, Depth(int(first), int(last), before, delta))

    def _decoded(self, text: str, recv_ts: int) -> Sequence[BookEvent]:
        """Take a depth message in any form."""
        try:
            message = orjson.loads(text)
            data = message.get("data", message)
            ids = self._contracts if "pu" in data else self._spot
            symbol = ids.get(data["s"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return ()  # nobody knows whose; the next message of that book shows the hole
        if symbol is None:
            return ()
        try:
            depth = _depth(symbol, data, recv_ts)
        except (ValueError, TypeError, KeyError):
            self._join(symbol).clear()
            return (Gap(symbol, MALFORMED, recv_ts),)
        return self._push(symbol, depth)

    def _push(self, symbol: str, depth: Depth) -> Sequence[BookEvent]:
        fits = self._join(symbol).push(depth)
        if fits:
            return (depth.delta,)
        return () if fits is None else (Gap(symbol, SEQUENCE, depth.delta.ts),)

    def snapshot(self, symbol: str, text: str | bytes, recv_ts: int) -> Sequence[BookEvent]:
        """As in `Native`."""
        try:
            data = orjson.loads(text)
            update = _number(data["lastUpdateId"])
            ts = stamp(data.get("E"), recv_ts)
            bids, asks = sides(data["bids"], data["asks"])
        except (ValueError, TypeError, KeyError, AttributeError):
            return (Gap(symbol, MALFORMED, recv_ts),)
        join = self._join(symbol)
        if join.last is not None and update <= join.last:
            return ()  # two were asked for, and the book is beyond this one
        repaired = symbol in self._seen
        self._seen.add(symbol)
        events: list[BookEvent] = [BookSnapshot(symbol, bids, asks, ts, recv_ts, repaired)]
        deltas, hole = join.start(update)
        events += deltas
        if hole is not None:
            events.append(Gap(symbol, SEQUENCE, hole.ts))
        return events

    def waits(self, symbol: str) -> bool:
        """As in `Native`."""
        join = self._joins.get(symbol)
        return join is None or join.last is None

    def forget(self, symbol: str) -> None:
        """As in `Native`."""
        self._join(symbol).clear()

    def _join(self, symbol: str) -> Join:
        join = self._joins.get(symbol)
        if join is None:
            join = self._joins[symbol] = Join()
        return join


def _depth(symbol: str, data: dict[str, Any], recv_ts: int) -> Depth:
    previous = data.get("pu")
    bids, asks = sides(data["b"], data["a"])
    delta = BookDelta(symbol, bids, asks, stamp(data.get("E"), recv_ts), recv_ts)
    return Depth(
        _number(data["U"]),
        _number(data["u"]),
        None if previous is None else _number(previous),
        delta,
    )


def _number(told: object) -> int:
    if type(told) is not int:
        raise TypeError("not an update id")
    return told
