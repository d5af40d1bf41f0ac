"""Kraken's books (v2): a snapshot and updates, each with a CRC-32 over the ten best levels of both sides.

The checksum is made of the digits as they were sent, trailing zeros included: JSON numbers are kept as text. Through
floats none of 4,269 recorded checksums comes out. A book is cut at the depth that was subscribed, because the venue
says nothing of levels that fall out of it; what is cut is told as deleted.

Source: Kraken, "Book checksum (WebSocket v2)".
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from json import JSONDecoder
from math import inf
from re import compile as compile_pattern
from typing import Any, Final, NoReturn
from zlib import crc32

from realtime.model.market import SECOND, BookDelta, BookSnapshot, Level, Market, Numbers
from realtime.venues.ccxt.books.feed import (
    CHECKSUM,
    MALFORMED,
    BookEvent,
    Gap,
    sides,
    text_of,
)


MARK: Final = '"book"'
HEAD: Final = 96
"""Characters in which a message names its channel."""
CHECKED: Final = 10
"""Levels of each side under the checksum."""
DEPTHS: Final = (10, 25, 100, 500, 1000)
"""Depths that can be subscribed."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"not a number: {text}")


DECODER: Final = JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse)
"""Numbers stay the text that they were sent as, which orjson cannot."""


NOTHING: Final[Numbers] = ()
_NUMBER: Final = "([0-9]++(?:[.][0-9]++)?+)"
_LEVEL: Final = rf'(?:{{"price":{_NUMBER},"qty":{_NUMBER}}})?+'
USUAL: Final = compile_pattern(
    rf'{{"channel":"book","type":"(update)","data":\[{{"symbol":"([^"\\]++)","bids":\[{_LEVEL}\],'
    rf'"asks":\[{_LEVEL}\],"checksum":([0-9]++),"timestamp":"([^"\\]++)"}}\]}}'
).fullmatch
"""Nearly every update: one level, as the venue writes it. The decoder takes all others, in three times the time."""


def digits(level: Level) -> str:
    """A level as it goes into the checksum: no point, no leading zeros, price before amount."""
    return level[0].replace(".", "").lstrip("0") + level[1].replace(".", "").lstrip("0")


def checksum(asks: Iterable[Level], bids: Iterable[Level]) -> int:
    """CRC-32 of levels, best first; the caller gives the ten best of each side. The same in v1 and v2."""
    return crc32("".join([*map(digits, asks), *map(digits, bids)]).encode())


class _Side:
    """One side: levels in order from the touch outwards, and what each puts into the checksum."""

    __slots__ = ("_said", "_sign", "_top", "keys", "prices")

    def __init__(self, sign: float) -> None:
        self.keys: list[float] = []
        self.prices: dict[float, str] = {}
        self._sign = sign
        self._said: dict[float, str] = {}
        # Digits of the best; None = one of them has changed.
        self._top: bytes | None = None

    def load(self, rows: tuple[Level, ...], depth: int) -> tuple[Level, ...]:
        """Replace everything; give what stays, best first."""
        sign = self._sign
        levels = {sign * float(row[0]): row for row in rows if row[1].strip("0.")}
        self.keys = keys = sorted(levels)[:depth]
        kept = tuple([levels[key] for key in keys])
        self.prices = {key: row[0] for key, row in zip(keys, kept, strict=True)}
        self._said = dict(zip(keys, map(digits, kept), strict=True))
        self._top = None
        return kept

    def apply(self, changed: tuple[Level, ...], depth: int) -> tuple[tuple[Level, ...], Numbers]:
        """Change levels and cut at `depth`; give the changes, deletions of what was cut included, as text and floats."""
        keys, said, sign = self.keys, self._said, self._sign
        edge = keys[CHECKED - 1] if len(keys) >= CHECKED else inf
        numbers: list[float] = []
        for level in changed:
            price, amount = float(level[0]), float(level[1])
            numbers += (price, amount)
            key = sign * price
            if key <= edge:
                self._top = None
            if amount:
                if key not in said:
                    insort(keys, key)
                    self.prices[key] = level[0]
                said[key] = digits(level)
            elif key in said:
                del said[key], self.prices[key], keys[bisect_left(keys, key)]
        if len(keys) > depth:
            for key in keys[depth:]:
                del said[key]
                changed += ((self.prices.pop(key), "0"),)
                numbers += (sign * key, 0.0)
            del keys[depth:]
        return changed, numbers

    def top(self) -> bytes:
        """Digits of the best levels."""
        if self._top is None:
            best = map(self._said.__getitem__, self.keys[:CHECKED])
            self._top = "".join(best).encode()
        return self._top


class _Book:
    """One symbol."""

    __slots__ = ("asks", "bids", "depth", "live", "seen")

    def __init__(self) -> None:
        self.bids = _Side(-1.0)
        self.asks = _Side(1.0)
        self.depth = 0
        self.live = False
        self.seen = False

    def clear(self) -> None:
        """Await a snapshot."""
        self.bids, self.asks, self.live = _Side(-1.0), _Side(1.0), False


class Kraken:
    """Books of one instance; the names of v2 are the unified symbols.

    Args:
        markets: Of the instance.
    """

    rest = False

    __slots__ = ("_books", "_symbols")

    def __init__(self, markets: Iterable[Market]) -> None:
        self._symbols: set[str] = set()
        self._books: dict[str, _Book] = {}
        self.learn(markets)

    def learn(self, markets: Iterable[Market]) -> None:
        """As in `Native`."""
        self._symbols.update(market.symbol for market in markets)

    def feed(self, text: str | bytes, recv_ts: int, url: str = "") -> Sequence[BookEvent]:  # noqa: ARG002 - the port
        """As in `Native`."""
        if not isinstance(text, str):
            text = text_of(text)
        usual = USUAL(text)
        if usual is None:
            return self._decoded(text, recv_ts) if MARK in text[:HEAD] else ()
        kind, symbol, bid, bid_amount, ask, ask_amount, check, time = usual.groups()
        bids = () if bid is None else ((bid, bid_amount),)
        asks = () if ask is None else ((ask, ask_amount),)
        return self._take(symbol, kind, bids, asks, check, time, recv_ts)

    def snapshot(self, symbol: str, text: str | bytes, recv_ts: int) -> Sequence[BookEvent]:  # noqa: ARG002 - the port
        """As in `Native`: a subscription brings its own."""
        return ()

    def waits(self, symbol: str) -> bool:
        """As in `Native`."""
        book = self._books.get(symbol)
        return book is None or not book.live

    def forget(self, symbol: str) -> None:
        """As in `Native`."""
        book = self._books.get(symbol)
        if book is not None:
            book.clear()

    def _decoded(self, text: str, recv_ts: int) -> Sequence[BookEvent]:
        """Take a message in any form."""
        try:
            message = DECODER.decode(text)
            if message.get("channel") != "book":
                self._subscribed(message)
                return ()
            kind, rows = message["type"], [(str(row["symbol"]), row) for row in message["data"]]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return ()  # nobody knows whose; the next checksum of that book shows it
        events: list[BookEvent] = []
        for symbol, row in rows:
            try:
                bids, asks = sides(_rows(row.get("bids", ())), _rows(row.get("asks", ())))
                told = (row.get("checksum"), row.get("timestamp"))
            except (ValueError, TypeError, KeyError, AttributeError):
                events += self._lost(symbol, MALFORMED, recv_ts)
            else:
                events += self._take(symbol, kind, bids, asks, *told, recv_ts)
        return events

    def _subscribed(self, message: Mapping[str, Any]) -> None:
        """Learn the depth from the answer to a subscription."""
        told = message.get("result")
        if message.get("method") != "subscribe" or not isinstance(told, dict):
            return
        symbol, depth = told.get("symbol"), told.get("depth")
        if symbol in self._symbols and isinstance(depth, str) and int(depth) in DEPTHS:
            self._books.setdefault(str(symbol), _Book()).depth = int(depth)

    def _take(
        self,
        symbol: str,
        kind: str,
        bids: tuple[Level, ...],
        asks: tuple[Level, ...],
        check: str | None,
        time: str | None,
        recv_ts: int,
    ) -> Sequence[BookEvent]:
        book = self._books.get(symbol)
        if book is None:
            if symbol not in self._symbols:
                return ()
            book = self._books[symbol] = _Book()
        whole = kind == "snapshot"
        low = high = NOTHING
        if not (whole or book.live):
            return ()
        try:
            expected = None if check is None else int(check)
            ts = _time(time, recv_ts)
        except (ValueError, TypeError):
            return self._lost(symbol, MALFORMED, recv_ts)
        if whole:
            # Without the answer to the subscription: the smallest depth that can have brought so many levels.
            held = max(len(bids), len(asks))
            if held > book.depth:
                book.depth = next((depth for depth in DEPTHS if depth >= held), held)
            bids, asks = book.bids.load(bids, book.depth), book.asks.load(asks, book.depth)
        else:
            if bids:
                bids, low = book.bids.apply(bids, book.depth)
            if asks:
                asks, high = book.asks.apply(asks, book.depth)
        if expected is not None and expected != crc32(book.asks.top() + book.bids.top()):
            return self._lost(symbol, CHECKSUM, ts)
        if not whole:
            return (BookDelta(symbol, bids, asks, ts, recv_ts, (low, high)),)
        repaired, book.seen, book.live = book.seen, True, True
        return (BookSnapshot(symbol, bids, asks, ts, recv_ts, repaired),)

    def _lost(self, symbol: str, cause: str, ts: int) -> Sequence[BookEvent]:
        """Await a snapshot; nothing to tell of a book that nobody has."""
        book = self._books.get(symbol)
        if book is None:
            return ()
        book.clear()
        return (Gap(symbol, cause, ts),)


def _rows(rows: Iterable[Mapping[str, str]]) -> list[Level]:
    return [(row["price"], row["qty"]) for row in rows]


def _time(told: str | None, recv_ts: int) -> int:
    """RFC 3339 as [ns]; `recv_ts` where nothing is told.

    Raises:
        ValueError, TypeError: It is not a time with a zone.
    """
    if told is None:
        return recv_ts
    since = datetime.fromisoformat(told) - EPOCH
    return (since.days * 86400 + since.seconds) * SECOND + since.microseconds * 1000
