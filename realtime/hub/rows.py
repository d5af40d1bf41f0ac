"""Class `table`: rows with a key; an update has the rows that changed and the keys that went.

Rules of this file:
1 A row that is to be made later is made when somebody first reads it, and once; superseded unread it is never made.
2 An update tells so many rows at most, however many changed at once: what is more is told by the next.
3 A message that nobody reads is counted and kept as what it tells; it is made for whoever resumes from before it.
4 A snapshot that is too long for a message comes in parts: the last has the `seq` at which it was taken, those before it
  count up to there. Who is cut off among them cannot be told from somebody who was there when those numbers were new, so
  nobody resumes from before the newest snapshot in parts.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import orjson

from realtime.hub.channels import Channel, Topic
from realtime.hub.stream import (
    Board,
    Data,
    Filter,
    Message,
    Reason,
    RingStream,
    Tags,
    Viewed,
    Written,
    tail,
)


Make = Callable[[], Data]
"""Makes a row when somebody reads it."""
Told = Data | Make | Written
"""A row, what makes it, or what the journal has of it."""
NO_ROWS: Final[Mapping[str, Make | Written]] = MappingProxyType({})


class Row:
    """A row as everybody gets it."""

    __slots__ = ("_data", "_feed", "_make", "_tags")

    def __init__(self, feed: "RowFeed", row: Told) -> None:
        self._feed = feed
        self._make: Make | None = None
        if isinstance(row, Written):
            self._tags: Tags = feed.tags(row.data)
            self._data = row.json
        elif callable(row):
            self._make = row
        else:
            self._take(row)

    @property
    def tags(self) -> Tags:
        """The fields by which filters choose."""
        if self._make is not None:
            self._take(self._make())
        return self._tags

    @property
    def data(self) -> bytes:
        """The row, encoded."""
        if self._make is not None:
            self._take(self._make())
        return self._data

    def _take(self, row: Data) -> None:
        self._tags = self._feed.tags(row)
        self._data = self._feed.board.encode(row)
        self._make = None


Change = tuple[str, Row | None, Row | None]
"""A key, the row it had and the row it has; None = there was, or is, no such row."""


class Unread(Message):
    """An update that nobody reads yet: what it tells, and its times [wire ms]; it has no body until it is made."""

    __slots__ = ("asof", "changes", "ts")

    def __init__(self, seq: int, changes: Sequence[Change], ts: int, asof: int | None) -> None:
        # Without the call of the one above: most updates of rows are one of these.
        self.seq = seq
        self.body = self.frame = b""
        self.cut = 0
        self.tags = ()
        self.changes = changes
        self.ts = ts
        self.asof = asof


class Slice(Message):
    """A message of a snapshot in parts, put together when somebody is written to.

    Whoever is slow keeps the parts that he lacks: they are the rows of the table, which cost nothing more until they change.
    """

    __slots__ = ("_rows",)

    def __init__(self, head: Message, rows: Sequence[bytes]) -> None:
        """Take a message without data, and the rows that it is to have."""
        super().__init__(head.seq, head.body)
        self._rows = rows

    def made(self) -> Message:
        """Make what is sent."""
        return Message(self.seq, b"%b%b}" % (self.body[:-1], _set(self._rows)))


class RowFeed(Viewed["RowStream"]):
    """All rows of one table."""

    __slots__ = ("key", "rows")

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self.key = topic.row_key or "id"
        self.rows: dict[str, Row] = {}

    def keyed(self, rows: Sequence[Data]) -> dict[str, Told]:
        """Give rows by key; of several with one key the last."""
        return {str(row[self.key]): row for row in rows}

    def put(self, told: Mapping[str, Told], gone: Sequence[str], asof: int | None) -> None:
        """Set rows by key, and delete keys.

        A key that is set and deleted is deleted, an unknown one is left out.
        """
        if asof is not None:
            self.asof = asof if self.asof is None else max(asof, self.asof)
        held = self.rows
        changes: list[Change] = []
        for key, row in told.items():
            if key not in gone:
                new = Row(self, row)
                changes.append((key, held.get(key), new))
                held[key] = new
        changes += [(key, held.pop(key), None) for key in gone if key in held]
        most = self.board.sizes.told
        for start in range(0, len(changes), most):
            part = changes[start : start + most]
            for stream in self.streams:
                stream.take(part)

    def view(self, channel: Channel, epoch: str) -> "RowStream":
        """Make a stream of all rows, or of those that its options select."""
        stream = RowStream(channel, self, epoch)
        self.streams.append(stream)
        return stream


class RowStream(RingStream):
    """A table, or a part of it."""

    __slots__ = ("_filter", "_parted", "_parts", "_parts_at", "_table", "_unread")
    parted = True

    def __init__(self, channel: Channel, feed: RowFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch, feed.board.sizes.table)
        self._table = feed
        self._filter = Filter(channel)
        # Messages later than this are made; of those up to here some may not be.
        self._unread = 0
        # The newest `seq` at which a snapshot came in parts; and the parts by their reason, of one `seq`.
        self._parted = 0
        self._parts: dict[Reason, Sequence[Message]] = {}
        self._parts_at = 0
        # As if they had been told by updates: there are as many numbers as a snapshot may have parts.
        self.seq = len(feed.rows) // feed.board.sizes.told

    def take(self, changes: Sequence[Change]) -> None:
        """Publish those changes that concern this stream."""
        ts, asof = self.board.now(), self.feed.asof
        if not self.readers and self._filter.whole:
            self.advance()
            self.ring.append(Unread(self.seq, changes, ts, asof))
            self._unread = self.seq
        elif told := self._told(changes):
            self.push(tail(ts, asof, told))

    def resumes(self, cursor: int) -> bool:
        """Tell whether a client that comes back with `cursor`, at most `seq`, can go on from there."""
        return cursor >= self._parted and self.holds(cursor)

    def parts(self, reason: Reason, base: int | None = None) -> Sequence[Message]:
        """Give the state at `seq` in as many messages as it takes, to all who get it for the same reason."""
        seq, most = self.seq, self.board.sizes.told
        if self._parts_at != seq:
            self._parts.clear()
            self._parts_at = seq
        held = self._parts.get(reason)
        if held is None:
            whole = self.snapshot(reason, base)
            rows = self._rows() if len(whole.body) > self.board.sizes.message else ()
            if len(rows) <= most:
                return (whole,)
            self._let_go()
            self._parted = seq
            slices = [rows[at : at + most] for at in range(0, len(rows), most)]
            first = seq + 1 - len(slices)
            heads = [self.head(first, reason, b',"parts":%d' % len(slices), b"")]
            empty = tail(self.board.now(), self.feed.asof, b"")
            heads += [self.update(n, empty) for n in range(first + 1, seq + 1)]
            held = [Slice(head, some) for head, some in zip(heads, slices, strict=True)]
            self._parts[reason] = held
        return held

    def owed(self, cursor: int, *, slow: bool) -> Sequence[Message]:
        """Give the missed updates, or one snapshot if they are not held or if it is smaller."""
        if cursor < self._unread and self.holds(cursor):
            for message in self.ring:
                if isinstance(message, Unread) and message.seq > cursor and not message.body:
                    self._make(message)
        return super().owed(cursor, slow=slow)

    def _make(self, message: Unread) -> None:
        rest = tail(message.ts, message.asof, self._told(message.changes))
        made = self.update(message.seq, rest)
        message.body, message.cut, message.changes = made.body, made.cut, ()

    def _told(self, changes: Sequence[Change]) -> bytes:
        """Encode what changes mean to this stream; empty where they mean nothing."""
        wanted = self._filter
        rows = []
        gone = []
        for key, old, new in changes:
            if new is not None and wanted(new.tags):
                rows.append(new.data)
            elif old is not None and wanted(old.tags):
                gone.append(key)
        if not rows and not gone:
            return b""
        data = b'{"set":[%b]' % b",".join(rows)
        return data + (b',"del":%b}' % orjson.dumps(gone) if gone else b"}")

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""
        return _set(self._rows())

    def _rows(self) -> list[bytes]:
        wanted = self._filter
        return [row.data for row in self._table.rows.values() if wanted(row.tags)]


def _set(rows: Sequence[bytes]) -> bytes:
    return b'{"set":[%b]}' % b",".join(rows)
