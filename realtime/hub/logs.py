"""Class `log`: append only. Public logs live in memory and may batch; journaled ones count for ever.

Rules of this file:
1 Every journaled entry is one message, so the `seq` of a journaled log is the number of its entries ever,
  and that of a filtered one the number of entries that its filter ever let through.
2 The entries in a snapshot are those up to its `seq`: what waits for a tick is not among them.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

from realtime.hub.channels import Channel, Topic
from realtime.hub.stream import (
    Board,
    Data,
    Filter,
    Message,
    RingStream,
    Tags,
    Viewed,
    Written,
    tail,
)


SHOWN_BYTES: Final = 786_432
"""Bytes of journaled entries that a snapshot has at most, the newest: clients take messages of 1 MiB."""
Old = tuple[int, int, Data]
"""A journaled entry: its seq in the log, when it was published [ms], the entry."""


class Item:
    """An entry of a public log, encoded when first needed."""

    __slots__ = ("_bytes", "_entry", "tags")

    def __init__(self, entry: Data | Callable[[], Data], tags: Tags) -> None:
        self._entry = entry
        self._bytes = b""
        self.tags = tags

    def data(self, board: Board) -> bytes:
        """The entry as everybody gets it."""
        if not self._bytes:
            entry = self._entry
            self._bytes = board.encode(entry() if callable(entry) else entry)
        return self._bytes


class LogFeed(Viewed["LogStream"]):
    """A public log: its newest entries, for those who come later."""

    __slots__ = ("history",)

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        size = board.sizes.history if topic.filters else topic.newest
        self.history: deque[Item] = deque(maxlen=size)

    def put(self, entry: Data | Callable[[], Data], asof: int | None) -> None:
        """Append an entry; a function is called when somebody reads it, or at once to see its fields."""
        tags: Tags = ()
        if self.fields:
            entry = entry() if callable(entry) else entry
            tags = self.tags(entry)
        item = Item(entry, tags)
        self.history.append(item)
        if asof is not None:
            self.asof = asof
        for stream in self.streams:
            stream.take(item)

    def view(self, channel: Channel, epoch: str) -> "LogStream":
        """Make a stream; it starts with the newest entries."""
        stream = LogStream(channel, self, epoch)
        self.streams.append(stream)
        return stream


class LogStream(RingStream):
    """A public log, or those entries that its options select."""

    __slots__ = ("_filter", "_pending", "_recent")
    logs = True

    def __init__(self, channel: Channel, feed: LogFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch, feed.board.sizes.log)
        self._filter = Filter(channel)
        self._pending: list[Item] = []
        self._recent: deque[Item] = deque(
            (item for item in feed.history if self._filter(item.tags)), channel.spec.newest
        )

    def take(self, item: Item) -> None:
        """Publish an entry at the next tick, if it belongs here."""
        if self._filter(item.tags):
            self._pending.append(item)
            self.touch()

    def emit(self) -> None:
        """Publish what waits, in one message; in several where it is very much."""
        board, most = self.board, self.board.sizes.told
        pending, self._pending = self._pending, []
        for start in range(0, len(pending), most):
            part = pending[start : start + most]
            self._recent.extend(part)
            data = b",".join([item.data(board) for item in part])
            rest = tail(board.now(), self.feed.asof, b"[%b]" % data)
            self._make_room(len(rest))
            self.push(rest)

    def _make_room(self, size: int) -> None:
        """Keep all public logs together below their cap: who publishes gives up its own oldest."""
        board, ring = self.board, self.ring
        board.log_bytes += size
        while ring and (board.log_bytes > board.sizes.log_bytes or len(ring) == ring.maxlen):
            oldest = ring.popleft()
            board.log_bytes -= len(oldest.body) - oldest.cut

    def close(self) -> None:
        """Free what it shares with others."""
        super().close()
        self.board.log_bytes -= sum([len(message.body) - message.cut for message in self.ring])

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""
        return b"[%b]" % b",".join([item.data(self.board) for item in self._recent])


class JournalFeed(Viewed["JournalStream"]):
    """A journaled log: how many entries there ever were, by what filters choose by, and the newest of them."""

    __slots__ = ("_counts", "_open", "_open_bytes")

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self._counts: Counter[Tags] = Counter()
        self._open: dict[str, tuple[Tags, bytes]] = {}
        self._open_bytes = 0

    def put(self, entry: Written, asof: int | None) -> None:
        """Publish an entry; it has been committed."""
        tags = self.tags(entry.data)
        self._reflect(asof)
        rest = tail(self.board.now(), asof, b"[%b]" % entry.json)
        self._counts[tags] += 1
        if self.topic.open_field is not None:
            self._note(self.topic.open_field, entry, tags)
        for stream in self.streams:
            stream.take(rest, tags)

    def count(self, entries: Iterable[Data]) -> None:
        """Count entries older than those that are seeded, for the filtered streams."""
        self._counts.update(map(self.tags, entries))

    def seed(self, count: int, entries: Sequence[Old]) -> None:
        """Start with a log that has `count` entries, of which these are the newest."""
        whole = self.streams[0]
        assert not whole.seq, "a log is seeded once, before anything is appended"
        self.count(entry for _, _, entry in entries)
        whole.seq = count
        for seq, ts, entry in entries:
            tags = self.tags(entry)
            data = self.board.encode(entry)
            if self.topic.open_field is not None:
                self._note(self.topic.open_field, Written(entry, data), tags)
            asof = self.dated(entry)
            self._reflect(asof)
            whole.ring.append(whole.update(seq, tail(ts, asof, b"[%b]" % data), tags))

    def dated(self, entry: Data) -> int | None:
        """The `asof` that an entry of the journal was published with; None where no source told it."""
        field = self.topic.dated
        asof = entry.get(field) if field is not None else None
        return asof if isinstance(asof, int) else None

    def _reflect(self, asof: int | None) -> None:
        """Move on to a later time at the source; a fill that was found late is an earlier one."""
        if asof is not None:
            self.asof = asof if self.asof is None else max(asof, self.asof)

    def _note(self, field: str, entry: Written, tags: Tags) -> None:
        """Remember entries that are still open, where the topic has a field that tells which (alerts)."""
        key = str(entry.data["id"])
        if key in self._open:
            self._close(key)
        if not entry.data.get(field):
            self._open[key] = (tags, entry.json)
            self._open_bytes += len(entry.json)
            while len(self._open) > self.topic.newest or self._open_bytes > SHOWN_BYTES:
                self._close(next(iter(self._open)))

    def _close(self, key: str) -> None:
        _, json = self._open.pop(key)
        self._open_bytes -= len(json)

    def newest(self, stream: "JournalStream") -> list[bytes]:
        """Entries of a snapshot, oldest first."""
        if self.topic.open_field is not None:
            return [data for tags, data in self._open.values() if stream.wanted(tags)]
        found: list[bytes] = []
        room = SHOWN_BYTES
        for message in islice(reversed(stream.ring), self.topic.newest):
            entry = _entry(message)
            room -= len(entry)
            if room < 0:
                break
            found.append(entry)
        return found[::-1]

    def view(self, channel: Channel, epoch: str) -> "JournalStream":
        """Make a stream, with the count it would have if it had always been there."""
        stream = JournalStream(channel, self, epoch)
        # There are few kinds of entries and many entries, and clients choose the names: 256 in one frame.
        counts = {tags: n for tags, n in self._counts.items() if stream.wanted(tags)}
        stream.seq = seq = sum(counts.values())
        if self.streams:
            for message in reversed(self.streams[0].ring):
                if not seq:
                    break
                if message.tags in counts:
                    rest = message.body[message.cut :]
                    stream.ring.appendleft(stream.update(seq, rest, message.tags))
                    seq -= 1
        self.streams.append(stream)
        return stream


_DATA = b'"data":['


def _entry(message: Message) -> bytes:
    """Cut the one entry out of a message: numbers only stand before its `data`."""
    start = message.body.index(_DATA, message.cut) + len(_DATA)
    return message.body[start:-2]


class JournalStream(RingStream):
    """A journaled log, or those entries that its options select."""

    __slots__ = ("_log", "wanted")
    logs = True

    def __init__(self, channel: Channel, feed: JournalFeed, epoch: str) -> None:
        super().__init__(channel, feed, epoch, feed.board.sizes.journaled)
        self._log = feed
        self.wanted = Filter(channel)

    def take(self, rest: bytes, tags: Tags) -> None:
        """Publish an entry, if it belongs here."""
        if self.wanted.whole or self.wanted(tags):
            self.push(rest, tags)

    def older(self, seq: int, ts: int, entry: Data) -> Message:
        """Make the update that an entry was, long ago."""
        data = self.board.encode(entry)
        return self.update(seq, tail(ts, self._log.dated(entry), b"[%b]" % data))

    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""
        return b"[%b]" % b",".join(self._log.newest(self))
