"""One canonical channel: its epoch, its numbers, its messages, its snapshots.

Rules of this file:
1 `advance` is the only place that adds to `seq`.
2 A message is encoded once, for all readers; nothing in it depends on one.
3 A snapshot is made when first asked for and kept until the next `seq`.
4 Tables and logs keep every message in a ring without gaps, so `seq` and the ring's length say what is held.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import orjson

from realtime.hub.channels import LEVELS, Channel, Form, Topic
from realtime.hub.frames import array_frame, text_frame
from realtime.hub.tiers import Tiers, Waiting


Data = Mapping[str, object]
Tags = tuple[str, ...]
"""The fields of a row or entry by which filters choose, in the order of `Topic.filters`."""


def fitted(text: bytes) -> bytes:
    """Copy what orjson wrote into an object of its own size.

    orjson leaves every text the room it was written in, since 3.12 at least 4 KiB and 16 for one of a kilobyte, which nothing
    shows but the memory of the process: a kept row cost ten times its size, and to touch so much memory more time than this.
    """
    return b"".join((text, b""))


class Written(NamedTuple):
    """A row or an entry, and its JSON: what the journal has holds the very bytes that readers get."""

    data: Data
    json: bytes


class Reason(StrEnum):
    """Why a snapshot is sent."""

    SUBSCRIBE = "subscribe"
    RESUME_FAILED = "resume_failed"
    LAG = "lag"
    UPSTREAM = "upstream"
    RESET = "reset"  # of the protocol since its first version, and never sent so far


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bounds of the hub.

    Attributes:
        table, log, journaled: Messages held per stream.
        log_bytes: Held by all public logs together [bytes].
        history: Entries of a public log kept for those who come later.
        piece: Largest blob handed to a transport, unless one message is larger [bytes].
        message: Bytes of a message that any client takes; the default of many. A table whose snapshot is longer comes
            in parts.
        told: Rows of a table, or entries of a public log, that one update, or one part of a snapshot, tells at most: a row
            has a kilobyte.
        older: Entries of the journal that a reader who resumes is fetched at once.
        linger: Ticks of the 1000 ms tier that a stream without readers lives on.
        idle: Streams without readers at most; beyond it the one that has been so longest is dropped.
    """

    table: int = 256
    log: int = 1000
    journaled: int = 10_000
    log_bytes: int = 32 * 1024 * 1024
    history: int = 1000
    piece: int = 65_536
    message: int = 1_048_576
    told: int = 256
    older: int = 250
    linger: int = 30
    idle: int = 512


class Counts:
    """What the hub has done: encodings of data, blobs joined, blobs handed to a wire, messages made."""

    __slots__ = ("encodings", "joins", "messages", "writes")

    def __init__(self) -> None:
        self.encodings = 0
        self.joins = 0
        self.messages = 0
        self.writes = 0


def nothing() -> None:
    """Wake nobody: until the pump is there."""


class Board:
    """What all streams share: time, bounds, counters, tiers, and what has changed since the last flush."""

    __slots__ = ("awake", "counts", "dirty", "log_bytes", "now", "sizes", "tiers", "wake")

    def __init__(self, now: Callable[[], int], sizes: Sizes) -> None:
        self.now = now
        self.sizes = sizes
        self.counts = Counts()
        self.tiers = Tiers()
        self.dirty: dict[Stream, None] = {}
        self.wake: Callable[[], None] = nothing
        self.awake = False
        self.log_bytes = 0

    def encode(self, data: object) -> bytes:
        """Encode once what everybody gets."""
        self.counts.encodings += 1
        return fitted(orjson.dumps(data))

    def rouse(self) -> None:
        """Ask for a flush, once until it comes."""
        if not self.awake:
            self.awake = True
            self.wake()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Whether the source of a feed is alive; `cause` and `asof` as in the notice `stale`."""

    stale: bool = False
    cause: str | None = None
    venue: str = ""
    asof: int | None = None


FRESH = Source()


class Message:
    """One message as everybody gets it.

    Attributes:
        cut: Where the bytes that any stream of the same feed may share begin (`,"ts":...`).
        frame: For readers without `batch`; made when first needed, see `framed`.
    """

    __slots__ = ("body", "cut", "frame", "seq", "tags")

    def __init__(self, seq: int, body: bytes, cut: int = 0, tags: Tags = ()) -> None:
        self.seq = seq
        self.body = body
        self.cut = cut
        self.tags = tags
        self.frame = b""

    def made(self) -> "Message":
        """Give what is sent."""
        return self

    def framed(self) -> bytes:
        """Make the frame and keep it."""
        frame = self.frame = text_frame(self.body)
        return frame


def pack(messages: Sequence[Message], *, batch: bool) -> bytes:
    """Join messages into one blob of whole frames."""
    if batch:
        return array_frame([message.body for message in messages])
    if len(messages) == 1:
        message = messages[0]
        return message.frame or message.framed()
    return b"".join([message.frame or message.framed() for message in messages])


def tail(ts: int, asof: int | None, data: bytes, checksum: int | None = None) -> bytes:
    """Make the part of an update behind its `seq`."""
    if asof is None:
        return b',"ts":%d,"data":%b}' % (ts, data)
    if checksum is None:
        return b',"ts":%d,"asof":%d,"data":%b}' % (ts, asof, data)
    return b',"ts":%d,"asof":%d,"checksum":%d,"data":%b}' % (ts, asof, checksum, data)


class Feed:
    """The newest state of one source, of which streams are views."""

    __slots__ = ("asof", "board", "fields", "name", "source", "topic")

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        self.name = name
        self.topic = topic
        self.fields = topic.filters
        self.board = board
        self.asof: int | None = None
        self.source = FRESH

    def tags(self, row: Data) -> Tags:
        """Read the fields by which filters choose; empty where a field is missing."""
        return tuple([str(row.get(field) or "") for field in self.fields]) if self.fields else ()


S = TypeVar("S", bound="Stream")


class Viewed(Feed, Generic[S]):
    """A feed with its streams."""

    __slots__ = ("streams",)

    def __init__(self, name: str, topic: Topic, board: Board) -> None:
        super().__init__(name, topic, board)
        self.streams: list[S] = []

    def forget(self, stream: "Stream") -> None:
        """Let a stream go."""
        self.streams = [held for held in self.streams if held is not stream]


class Filter:
    """Which rows or entries belong to a filtered stream.

    Attributes:
        whole: Whether everything belongs.
    """

    __slots__ = ("_allowed", "whole")

    def __init__(self, channel: Channel) -> None:
        topic = channel.spec
        given = dict(channel.options)
        allowed: list[tuple[int, frozenset[str]]] = []
        for option in topic.options:
            # A journaled log without options is all of it: its seq is the number of entries ever.
            value = given.get(option.name, None if topic.journaled else option.default)
            if option.filters and value is not None:
                values = LEVELS[LEVELS.index(value) :] if option.form is Form.LEVEL else (value,)
                allowed.append((topic.filters.index(option.name), frozenset(values)))
        self._allowed = allowed
        self.whole = not allowed

    def __call__(self, tags: Tags) -> bool:
        """Tell whether a row or entry with these tags belongs."""
        # For every row of a table and every entry of a log that a stream begins with: `all` takes three times as long.
        belongs = True
        for index, values in self._allowed:
            belongs = belongs and tags[index] in values
        return belongs


class Stream(ABC):
    """What all classes share.

    Attributes:
        seq: Of the newest message; 0 = nothing was ever published.
        readers: How many subscribe to it, wherever they are; the hub counts.
        conflates: Whether only the newest message counts.
        logs: Whether what does not come as an update is counted in `lost`.
        parted: Whether its snapshot may come in parts, see `parts`.
    """

    __slots__ = (
        "_data",
        "_made",
        "_snapshot_head",
        "_snapshots",
        "_update_head",
        "_waiting",
        "board",
        "channel",
        "epoch",
        "feed",
        "journaled",
        "name",
        "readers",
        "seq",
    )
    conflates = False
    logs = False
    parted = False

    def __init__(self, channel: Channel, feed: Feed, epoch: str) -> None:
        self.board = feed.board
        self.feed = feed
        self.channel = channel
        self.name = channel.name
        self.journaled = channel.journaled
        self.epoch = epoch
        self.seq = 0
        self.readers = 0
        rate = channel.rate
        self._waiting: Waiting | None = feed.board.tiers.waiting(rate) if rate else None
        text = orjson.dumps(channel.name)
        self._update_head = b'{"type":"update","channel":%b,"seq":' % text
        self._snapshot_head = b'{"type":"snapshot","channel":%b,"epoch":%b,"seq":' % (
            text,
            orjson.dumps(epoch),
        )
        self._snapshots: dict[Reason, Message] = {}
        self._data = b""
        self._made = -1

    @property
    def ready(self) -> bool:
        """Whether there is something to take a snapshot of."""
        return True

    def emit(self) -> None:  # noqa: B027 - rows and journaled entries never wait
        """Publish what has changed; called at once or by the tier's tick."""

    @abstractmethod
    def holds(self, cursor: int) -> bool:
        """Tell whether every message after `cursor`, at most `seq`, is still held."""

    def resumes(self, cursor: int) -> bool:
        """Tell whether a client that comes back with `cursor`, at most `seq`, can go on from there."""
        return self.holds(cursor)

    @abstractmethod
    def owed(self, cursor: int, *, slow: bool) -> Sequence[Message]:
        """Give what a reader at `cursor` must be sent to be at the head.

        Args:
            cursor: The last `seq` handed over, at most `seq`.
            slow: Whether a smaller snapshot may stand for missed updates.
        """

    @abstractmethod
    def state(self) -> bytes:
        """Encode the `data` of a snapshot at `seq`."""

    def checksum(self) -> int | None:
        """The checksum of the state at `seq`; None where there is none."""
        return None

    def close(self) -> None:
        """Free what it shares with others."""
        if self._waiting is not None:
            self._waiting.pop(self, None)

    def touch(self) -> None:
        """Publish now, or at the next tick of the tier."""
        if self._waiting is None:
            self.emit()
        else:
            self._waiting[self] = None

    def advance(self) -> None:
        """Count a message and ask for a flush if anybody reads."""
        self.seq += 1
        if self.readers:
            board = self.board
            board.dirty[self] = None
            if not board.awake:
                board.rouse()

    def update(self, seq: int, rest: bytes, tags: Tags = ()) -> Message:
        """Make an update from the part behind its `seq`."""
        self.board.counts.messages += 1
        head = b"%b%d" % (self._update_head, seq)
        return Message(seq, head + rest, len(head), tags)

    def snapshot(self, reason: Reason, base: int | None = None) -> Message:
        """Give the state at `seq` to all who get it for the same reason.

        Args:
            reason: Why it is sent.
            base: Last `seq` that the reader got, or was told: what lies between is `lost` (logs); None
                when unknown.
        """
        seq = self.seq
        if self._made != seq:
            self._snapshots.clear()
            self._data = self.state()
            self._made = seq
        lost = seq - base if self.logs and base is not None else 0
        held = self._snapshots.get(reason)
        if held is not None and not lost:
            return held
        more = b',"lost":%d' % lost if lost else b""
        checksum = self.checksum()
        if checksum is not None:
            more += b',"checksum":%d' % checksum
        message = self.head(seq, reason, more, self._data)
        if not lost:
            self._snapshots[reason] = message
        return message

    def _let_go(self) -> None:
        """Keep no snapshot until the next is asked for."""
        self._snapshots.clear()
        self._data = b""
        self._made = -1

    def parts(self, reason: Reason, base: int | None = None) -> Sequence[Message]:
        """As `snapshot`, in as many messages as it takes: it, and updates that complete it."""
        return (self.snapshot(reason, base),)

    def head(self, seq: int, reason: Reason, more: bytes, data: bytes) -> Message:
        """Make the message that is called `snapshot`."""
        self.board.counts.messages += 1
        asof = b"" if self.feed.asof is None else b',"asof":%d' % self.feed.asof
        parts = (
            b'%b%d,"ts":%d%b' % (self._snapshot_head, seq, self.board.now(), asof),
            b',"reason":"%b"%b,"data":%b}' % (reason.encode(), more, data),
        )
        return Message(seq, b"".join(parts))


class RingStream(Stream):
    """A stream that keeps its newest messages, without gaps."""

    __slots__ = ("ring",)

    def __init__(self, channel: Channel, feed: Feed, epoch: str, size: int) -> None:
        super().__init__(channel, feed, epoch)
        self.ring: deque[Message] = deque(maxlen=size)

    def holds(self, cursor: int) -> bool:
        """Tell whether every message after `cursor`, at most `seq`, is still held."""
        return self.seq - cursor <= len(self.ring)

    def owed(self, cursor: int, *, slow: bool) -> Sequence[Message]:
        """Give the missed updates, or one snapshot if they are not held or if it is smaller."""
        missed = self.seq - cursor
        if missed == 1 and self.ring:
            return (self.ring[-1],)
        if not self.holds(cursor):
            return (self.snapshot(Reason.LAG, cursor),)
        # From the end: to walk there from the beginning takes 0.1 ms with a journaled log.
        messages = tuple(islice(reversed(self.ring), missed))[::-1]
        if slow and not self.logs and missed > 1:
            snapshot = self.snapshot(Reason.LAG)
            size = len(snapshot.body)
            # The whole of a table that is too long for a message is sent to nobody who can do without it.
            if size < self.board.sizes.message and size < sum([len(m.body) for m in messages]):
                return (snapshot,)
        return messages

    def push(self, rest: bytes, tags: Tags = ()) -> None:
        """Publish an update."""
        self.ring.append(self.update(self.seq + 1, rest, tags))
        self.advance()

    def restart(self, reason: Reason) -> None:
        """Publish a snapshot to all: it takes the next `seq`."""
        self.advance()
        self.ring.append(self.snapshot(reason))
