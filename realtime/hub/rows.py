"""Class `table`: rows with a key; an update has the rows that changed and the keys that went."""

from collections.abc import Sequence

import orjson

from realtime.hub.channels import Channel, Topic
from realtime.hub.stream import (
    Board,
    Data,
    Filter,
    Reason,
    RingStream,
    Tags,
    Viewed,
    tail,
)
from realtime.model.frozen import frozen


@frozen
class Row:
    """A row as everybody gets it."""

    tags: Tags
    data: bytes


@frozen
class Change:
    """What happened to a key; None = there was, or is, no such row."""

    key: str
    old: Row | None
    new: Row | None


class RowFeed(Viewed["RowStream"]):
    """All rows of one table."""

    __slots__ = ("key", "rows")

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self.key = topic.row_key or "id"
        self.rows: dict[str, Row] = {}

    def _row(self, row: Data) -> Row:
        return Row(self.tags(row), self.board.encode(row))

    def put(self, rows: Sequence[Data], gone: Sequence[str], asof: int | None) -> None:
        """Set rows and delete keys; a key in both is deleted, an unknown one is left out."""
        self.asof = asof if asof is not None else self.asof
        changes = []
        for key, row in {str(row[self.key]): row for row in rows}.items():
            if key not in gone:
                new = self._row(row)
                changes.append(Change(key, self.rows.get(key), new))
                self.rows[key] = new
        changes += [Change(key, self.rows.pop(key), None) for key in gone if key in self.rows]
        if changes:
            for stream in self.streams:
                stream.take(changes)

    def replace(self, rows: Sequence[Data], asof: int | None, reason: Reason) -> None:
        """Start afresh from all rows: every stream publishes a snapshot."""
        self.asof = asof if asof is not None else self.asof
        self.rows = {str(row[self.key]): self._row(row) for row in rows}
        for stream in self.streams:
            stream.restart(reason)

    def view(self, channel: Channel, epoch: str) -> "RowStream":
        """Make a stream of all rows, or of those that its options select."""
        stream = RowStream(channel, self, epoch)
        self.streams.append(stream)
        return stream


class RowStream(RingStream):
    """A table, or a part of it."""

    __slots__ = ("_filter", "_table")

    def __init__(self, channel: Channel, feed: RowFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch, feed.board.sizes.table)
        self._table = feed
        self._filter = Filter(channel)

    def take(self, changes: Sequence[Change]) -> None:
        """Publish those changes that concern this stream."""
        wanted = self._filter
        rows = []
        gone = []
        for change in changes:
            if change.new is not None and wanted(change.new.tags):
                rows.append(change.new.data)
            elif change.old is not None and wanted(change.old.tags):
                gone.append(change.key)
        if rows or gone:
            data = b'{"set":[%b]' % b",".join(rows)
            data += b',"del":%b}' % orjson.dumps(gone) if gone else b"}"
            self.push(tail(self.board.now(), self.feed.asof, data))

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""
        wanted = self._filter
        rows = [row.data for row in self._table.rows.values() if wanted(row.tags)]
        return b'{"set":[%b]}' % b",".join(rows)
