"""Bybit's books: `orderbook.N` topics, a snapshot and then deltas whose `u` counts up by one.

ccxt checks nothing here. A topic begins with a snapshot; after a restart of the service comes another one with
`u` 1. The topic of depth 1 is a ticker (each of its messages is a snapshot of one level) and not read as a book.

Source: Bybit, "V5 websocket, public, orderbook".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from re import compile as compile_pattern
from typing import Final

import orjson

from realtime.model.market import BookDelta, BookSnapshot, Market
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


MARK: Final = '"orderbook.'
HEAD: Final = 120
"""Characters in which a message names its topic."""
USUAL: Final = compile_pattern(
    r'{"topic":"(orderbook[.][^"\\.]+[.][^"\\]+)",(?:"ts":([0-9]{1,18}),)?"type":"delta",(?:"ts":([0-9]{1,18}),)?'
    r'"data":{"s":"[^"\\]*","b":(\[[^a]*\]),"a":(\[[^}]*\]),"u":([0-9]{1,18}),"seq":[0-9]+}'
    r'(?:,"cts":[0-9]+)?}'
).fullmatch
"""A delta as the venue writes it."""


@dataclass(slots=True)
class _Chain:
    """Which topic fills a book, and how far it has come; None = a snapshot is awaited."""

    topic: str = ""
    last: int | None = None
    seen: bool = False


class Bybit:
    """Books of one instance.

    Args:
        markets: Of the instance.
    """

    rest = False

    __slots__ = ("_chains", "_contracts", "_spot")

    def __init__(self, markets: Iterable[Market]) -> None:
        self._spot: dict[str, str] = {}
        self._contracts: dict[str, str] = {}
        self.learn(markets)
        self._chains: dict[str, _Chain] = {}

    def learn(self, markets: Iterable[Market]) -> None:
        """As in `Native`."""
        for market in markets:
            (self._contracts if market.contract else self._spot)[market.id] = market.symbol

    def feed(self, text: str | bytes, recv_ts: int, url: str = "") -> Sequence[BookEvent]:
        """As in `Native`."""
        if not isinstance(text, str):
            text = text_of(text)
        usual = USUAL(text)
        if usual is None:
            return self._decoded(text, recv_ts, url) if MARK in text[:HEAD] else ()
        topic, early, late, low, high, update = usual.groups()
        symbol = self._of(topic, url)
        if symbol is None:
            return ()
        try:
            (bids, lows), (asks, highs) = levels(low), levels(high)
        except ValueError:
            return self._decoded(text, recv_ts, url)
        ts = stamp(int(early or late or 0), recv_ts)
        delta = BookDelta(symbol, bids, asks, ts, recv_ts, (lows, highs))
        return self._push(topic, int(update), delta)

    def _decoded(self, text: str, recv_ts: int, url: str) -> Sequence[BookEvent]:
        """Take a message in any form."""
        try:
            message = orjson.loads(text)
            topic = message["topic"]
            symbol = self._of(topic, url)
        except (ValueError, TypeError, KeyError, AttributeError):
            return ()  # nobody knows whose; the next message of that book shows the hole
        if symbol is None:
            return ()
        chain = self._chains.setdefault(symbol, _Chain())
        try:
            data, kind = message["data"], message["type"]
            update = data["u"]
            ts = stamp(message.get("ts"), recv_ts)
            bids, asks = sides(data["b"], data["a"])
            if type(update) is not int:
                raise TypeError("not an update id")  # noqa: TRY301 - one way out
        except (ValueError, TypeError, KeyError):
            chain.last = None
            return (Gap(symbol, MALFORMED, recv_ts),)
        if kind == "snapshot":
            repaired = chain.seen
            chain.topic, chain.last, chain.seen = topic, update, True
            return (BookSnapshot(symbol, bids, asks, ts, recv_ts, repaired),)
        return self._push(topic, update, BookDelta(symbol, bids, asks, ts, recv_ts))

    def _push(self, topic: str, update: int, delta: BookDelta) -> Sequence[BookEvent]:
        chain = self._chains.get(delta.symbol)
        if chain is None or chain.last is None or chain.topic != topic or update <= chain.last:
            return ()  # before the snapshot, of a subscription that was replaced, or heard before
        if update != chain.last + 1:
            chain.last = None
            return (Gap(delta.symbol, SEQUENCE, delta.ts),)
        chain.last = update
        return (delta,)

    def snapshot(self, symbol: str, text: str | bytes, recv_ts: int) -> Sequence[BookEvent]:  # noqa: ARG002 - the port
        """As in `Native`: a subscription brings its own."""
        return ()

    def waits(self, symbol: str) -> bool:
        """As in `Native`."""
        chain = self._chains.get(symbol)
        return chain is None or chain.last is None

    def forget(self, symbol: str) -> None:
        """As in `Native`."""
        chain = self._chains.get(symbol)
        if chain is not None:
            chain.last = None

    def _of(self, topic: str, url: str) -> str | None:
        """Name the symbol of a topic; None where it is no book or nobody's.

        Raises:
            ValueError: It is no topic of a book.
        """
        _, depth, name = topic.split(".", 2)
        if depth == "1" or not depth.isdigit():
            return None
        if "/spot" in url:
            return self._spot.get(name)
        return self._contracts.get(name) or (None if url else self._spot.get(name))
