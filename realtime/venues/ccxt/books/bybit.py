"""Bybit's books: `orderbook.N` topics, a snapshot and then deltas whose `u` counts up by one.

ccxt checks nothing here. A topic begins with a snapshot; after a restart of the service comes another one with
`u` 1. The topic of depth 1 is a ticker (each of its messages is a snapshot of one level) and not read as a book.

Source: Bybit, "V5 websocket, public, orderbook".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from realtime.model.market import BookDelta, BookSnapshot, Market
from realtime.venues.ccxt.books.feed import (
    MALFORMED,
    SEQUENCE,
    BookEvent,
    Gap,
    sides,
    stamp,
    text_of,
)


MARK: Final = '"orderbook.'
HEAD: Final = 120
"""Characters in which a message names its topic."""


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
        for market in markets:
            (self._contracts if market.contract else self._spot)[market.id] = market.symbol
        self._chains: dict[str, _Chain] = {}

    def feed(self, text: str | bytes, recv_ts: int, url: str = "") -> Sequence[BookEvent]:
        """As in `Native`."""
        text = text_of(text)
        if MARK not in text[:HEAD]:
            return ()
        try:
            message = orjson.loads(text)
            topic = message["topic"]
            _, depth, name = topic.split(".", 2)
        except (ValueError, TypeError, KeyError, AttributeError):
            return ()  # nobody knows whose; the next message of that book shows the hole
        symbol = self._symbol(name, url)
        if symbol is None or depth == "1" or not depth.isdigit():
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
        if chain.last is None or chain.topic != topic or update <= chain.last:
            return ()  # before the snapshot, of a subscription that was replaced, or heard before
        if update != chain.last + 1:
            chain.last = None
            return (Gap(symbol, SEQUENCE, ts),)
        chain.last = update
        return (BookDelta(symbol, bids, asks, ts, recv_ts),)

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

    def _symbol(self, name: str, url: str) -> str | None:
        if "/spot" in url:
            return self._spot.get(name)
        return self._contracts.get(name) or (None if url else self._spot.get(name))
