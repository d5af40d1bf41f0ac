"""Order books: levels that changed between two looks at the best of a book, checksums, price groups.

Rules of this file:
1 A level is identified by side and price string; when it leaves the depth its deletion is sent.
2 A crossed or locked book is never published. The next whole one is, as a snapshot `upstream`.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext
from typing import Protocol
from zlib import crc32

from realtime.hub.channels import Channel, Topic
from realtime.hub.stream import Board, Message, Reason, RingStream, Viewed, tail
from realtime.model.market import MONEY, ZERO, Level


Side = Sequence[Level]
"""Levels, best first."""

CHECKED = 10
"""Levels a side that the checksum covers."""
CHECK_EVERY_MS = 1000
"""Updates carry a checksum at most this often [ms]."""
WHOLE = 1_000_000_000
"""A depth beyond every book."""


class BookView(Protocol):
    """An order book as the hub reads it."""

    def top(self, depth: int) -> tuple[Side, Side]:
        """Give the best levels, bids and asks, best first, as the venue wrote them."""
        ...


def checksum(bids: Side, asks: Side) -> int:
    """Compute CRC-32 over `bids;asks`, the best 10 levels of each as `price:amount` joined by `,`.

    Source: protocol document, section 6.3.
    """
    sides = [
        ",".join([f"{price}:{amount}" for price, amount in side[:CHECKED]]) for side in (bids, asks)
    ]
    return crc32(";".join(sides).encode("ascii"))


def crossed(bids: Side, asks: Side) -> bool:
    """Tell whether the best bid is at or above the best ask."""
    if not bids or not asks:
        return False
    bid, ask = bids[0][0], asks[0][0]
    # Floats keep the order of decimals but may make two of them equal.
    if float(bid) < float(ask):
        return False
    return Decimal(bid) >= Decimal(ask)


def changes(old: dict[str, str], new: dict[str, str], *, falling: bool) -> list[Level]:
    """List what turns the levels of one side into others, best first; amount `0` deletes."""
    changed = [(price, amount) for price, amount in new.items() if old.get(price) != amount]
    changed += [(price, "0") for price in old if price not in new]
    if len(changed) > 1:
        changed.sort(key=_price, reverse=falling)
    return changed


def _price(level: Level) -> float:
    return float(level[0])


def grouped(side: Iterable[Level], step: Decimal, *, falling: bool) -> list[Level]:
    """Sum the levels of one side into price steps: bids round down, asks up.

    Args:
        side: Levels, best first.
        step: Width of a group [quote].
        falling: Whether these are bids.

    Returns:
        Levels, best first; prices with as many decimals as the finest of price and step.
    """
    sums: dict[Decimal, Decimal] = {}
    decimals = _decimals(f"{step:f}")
    with localcontext(MONEY):
        for price, amount in side:
            decimals = max(decimals, _decimals(price))
            steps, over = divmod(Decimal(price), step)
            key = (steps if falling or not over else steps + 1) * step
            sums[key] = sums.get(key, ZERO) + Decimal(amount)
        unit = Decimal(1).scaleb(-decimals)
        return [(f"{key.quantize(unit):f}", f"{total:f}") for key, total in sums.items()]


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


class BookFeed(Viewed["BookStream"]):
    """The live book of one symbol; read when a stream publishes."""

    __slots__ = ("book",)

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self.book: BookView | None = None

    def put(self, book: BookView, asof: int, *, repaired: bool) -> None:
        """Take note that the book has changed; one that was repaired is published at once."""
        self.book = book
        self.asof = asof
        for stream in self.streams:
            if repaired:
                stream.repair()
            else:
                stream.touch()

    def view(self, channel: Channel, epoch: str) -> "BookStream":
        """Make a stream; it starts with the book as it is, unless that is crossed."""
        stream = BookStream(channel, self, epoch)
        self.streams.append(stream)
        return stream


class BookStream(RingStream):
    """The best levels of a book at one depth, rate and price step."""

    __slots__ = (
        "_ask_side",
        "_asks",
        "_bid_side",
        "_bids",
        "_book",
        "_checked",
        "_depth",
        "_group",
        "_whole",
    )

    def __init__(self, channel: Channel, feed: BookFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch, feed.board.sizes.table)
        self._book = feed
        self._depth = channel.depth
        self._group = channel.group
        self._bid_side: Side = ()
        self._ask_side: Side = ()
        self._bids: dict[str, str] = {}
        self._asks: dict[str, str] = {}
        self._checked: int | None = None
        # False: what was published is no longer a base for updates.
        self._whole = False
        if self._look():
            self._whole = True
            self._bids, self._asks = dict(self._bid_side), dict(self._ask_side)
            self.seq = 1

    @property
    def ready(self) -> bool:
        """Whether there ever was a book."""
        return self.seq > 0

    def _look(self) -> bool:
        """Take the book as it is; False when there is none fit to be shown."""
        book = self._book.book
        if book is None:
            return False
        bids, asks = book.top(WHOLE if self._group is not None else self._depth)
        if crossed(bids, asks):
            return False
        if self._group is not None:
            bids = grouped(bids, self._group, falling=True)[: self._depth]
            asks = grouped(asks, self._group, falling=False)[: self._depth]
        # Tuples: a caller may go on changing its lists, and the same tuple means that nothing changed.
        self._bid_side, self._ask_side = tuple(bids), tuple(asks)
        return True

    def owed(self, cursor: int, *, slow: bool) -> Sequence[Message]:
        """Give the missed updates or a smaller snapshot; the state to those who have none yet."""
        if not cursor:
            return (self.snapshot(Reason.SUBSCRIBE),)
        return super().owed(cursor, slow=slow)

    def repair(self) -> None:
        """Start afresh: the source was repaired."""
        self.close()
        self._whole = False
        self.emit()

    def emit(self) -> None:
        """Publish what has changed since the last look."""
        old_bids, old_asks = self._bid_side, self._ask_side
        if not self._look():
            self._whole = False
            return
        bids = self._bids if self._bid_side is old_bids else dict(self._bid_side)
        asks = self._asks if self._ask_side is old_asks else dict(self._ask_side)
        was_bids, was_asks = self._bids, self._asks
        self._bids, self._asks = bids, asks
        if not self._whole:
            self._whole = True
            self.restart(Reason.UPSTREAM if self.seq else Reason.SUBSCRIBE)
            return
        bid_changes = changes(was_bids, bids, falling=True)
        ask_changes = changes(was_asks, asks, falling=False)
        if bid_changes or ask_changes:
            board = self.board
            now = board.now()
            data = board.encode({"bids": bid_changes, "asks": ask_changes})
            check = None
            if self._checked is None or not 0 <= now - self._checked < CHECK_EVERY_MS:
                self._checked = now
                check = self.checksum()
            self.push(tail(now, self.feed.asof, data, check))

    def checksum(self) -> int:
        """The checksum of the levels at `seq`."""
        return checksum(self._bid_side, self._ask_side)

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""
        return self.board.encode({"bids": self._bid_side, "asks": self._ask_side})
