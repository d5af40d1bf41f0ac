"""Readers, and cohorts: readers with the same streams, `batch` and `every` at the same position.

Rules of this file:
1 A cursor is the last `seq` handed over; a reader that is behind costs its cursors and nothing else.
2 A reader joins a cohort only where the cohort has nothing left to send: both are at the head then.
3 A blob is handed over whole, so cursors move before anybody knows whether the transport paused.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from realtime.hub import protocol
from realtime.hub.channels import Channel
from realtime.hub.stream import Message, Reason, Source, Stream, pack


class Wire(Protocol):
    """The way to one peer; hashable by identity."""

    def write(self, blob: bytes) -> bool:
        """Take whole frames, as a whole; False means that the transport is paused now, or closing."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Close with a code of the protocol."""
        ...

    def abort(self) -> None:
        """Drop the connection."""
        ...

    def buffered(self) -> int:
        """Bytes that are not sent yet."""
        ...


class Position:
    """How far somebody is: the cursor of each stream, and which of them it believes stale."""

    __slots__ = ("cursors", "told")

    def __init__(self) -> None:
        self.cursors: dict[Stream, int] = {}
        self.told: set[Stream] = set()

    @property
    def informed(self) -> bool:
        """Whether it knows of every stream whether its source is alive."""
        told = self.told
        return all(stream.feed.source.stale == (stream in told) for stream in self.cursors)

    def knows(self, stream: Stream) -> bool:
        """Whether it has had something of a stream, unless there was nothing to have."""
        return not stream.conflates or stream.holds(self.cursors[stream])


Part = tuple[Stream, Message]
"""A message and where it comes from."""


class Need:
    """A snapshot that a reader has not got yet.

    Attributes:
        base: Last `seq` the reader knows of; None when that is of another epoch.
        parts: What it still has to get of it; empty until it is made for its first delivery.
    """

    __slots__ = ("base", "parts", "reason")

    def __init__(self, reason: Reason, base: int | None) -> None:
        self.reason = reason
        self.base = base
        self.parts: Sequence[Message] = ()


Fetch = Callable[[Channel, int, int], None]
"""Fetches entries of a journaled log for a reader, by first and last seq of that channel."""


class Reader(Position):
    """One connection as the hub sees it.

    Attributes:
        batch: Whether every frame is an array.
        every: Pace [ms]; 0 = whenever something is due.
        subscriptions: By canonical name, in the order of subscription.
        stalled: Its transport is paused: nothing is written.
        behind: It was paused and has not come back to the head yet.
        closed: It is gone.
        cohort: None while it is on its own; then `cursors`, `told`, `needs` and `older` are its own.
        older: Of a journaled log that is resumed from before its ring, the entries that are here and still to be sent;
            it is there until the reader has come to the head.
        fetch: Fetches more of them, by first and last seq of a channel, and gives them to `Hub.bring`; it must only
            schedule that. Without it whoever resumes is given them all at once.
        fetching: The log and the position behind which entries are being fetched.
    """

    __slots__ = (
        "_skipped",
        "batch",
        "behind",
        "closed",
        "cohort",
        "every",
        "fetch",
        "fetching",
        "needs",
        "older",
        "stalled",
        "subscriptions",
        "wire",
    )

    def __init__(self, wire: Wire, *, batch: bool, every: int) -> None:
        super().__init__()
        self.wire = wire
        self.batch = batch
        self.every = every
        self.subscriptions: dict[str, Channel] = {}
        self.stalled = False
        self.behind = False
        self.closed = False
        self.cohort: Cohort | None = None
        self.needs: dict[Stream, Need] = {}
        self.older: dict[Stream, Sequence[Message]] = {}
        self.fetch: Fetch | None = None
        self.fetching: tuple[Stream, int] | None = None
        self._skipped = 0

    @property
    def skipped(self) -> int:
        """Values that were passed over because newer ones came before they could be sent."""
        return self._skipped + (self.cohort.skipped if self.cohort else 0)

    def skip(self, count: int) -> None:
        """Count values passed over, or uncount what the cohort joined has counted before."""
        self._skipped += count

    def move(self, moved: Mapping[Stream, int]) -> None:
        """Take note of what was handed over."""
        for stream, seq in moved.items():
            self.cursors[stream] = seq
            need = self.needs.get(stream)
            if need is not None:
                need.parts = [part for part in need.parts if part.seq > seq]
                if not need.parts:
                    del self.needs[stream]
            if stream in self.older:
                self.older[stream] = [entry for entry in self.older[stream] if entry.seq > seq]
                if seq == stream.seq:
                    del self.older[stream]

    @property
    def settled(self) -> bool:
        """Whether it is at the head of everything."""
        if self.needs or self.older or not self.informed:
            return False
        return all(cursor == stream.seq for stream, cursor in self.cursors.items())

    @property
    def served(self) -> bool:
        """Whether it has all that can be had without the journal."""
        if self.needs or not self.informed:
            return False
        return all(at == stream.seq or stream in self.older for stream, at in self.cursors.items())


Key = tuple[frozenset[Stream], bool, int]
"""What readers of a cohort have in common, beside the position."""


class Cohort(Position):
    """Readers who are sent the same bytes.

    Attributes:
        dirty: Streams with something to send.
        news: Streams whose source went stale or came back.
        skipped: Values passed over since the cohort was made.
    """

    __slots__ = ("_wires", "batch", "dirty", "every", "key", "news", "readers", "skipped")

    def __init__(self, key: Key, at: Position) -> None:
        super().__init__()
        self.key = key
        self.cursors = dict(at.cursors)
        self.told = set(at.told)
        _, self.batch, self.every = key
        self.readers: dict[Reader, None] = {}
        self.dirty: dict[Stream, None] = {}
        self.news: dict[Stream, None] = {}
        self.skipped = 0
        self._wires: tuple[Wire, ...] | None = None

    @property
    def clean(self) -> bool:
        """Whether there is nothing to send: it may be joined."""
        return not self.dirty and not self.news

    @property
    def wires(self) -> tuple[Wire, ...]:
        """Where to write what the cohort is sent."""
        if self._wires is None:
            self._wires = tuple([reader.wire for reader in self.readers])
        return self._wires

    def join(self, reader: Reader) -> None:
        """Take in a reader that is where the cohort is."""
        self.readers[reader] = None
        self._wires = None
        reader.cohort = self
        reader.cursors = {}
        reader.told = set()
        reader.skip(-self.skipped)

    def leave(self, reader: Reader) -> None:
        """Let a reader go, with a copy of the cursors."""
        del self.readers[reader]
        self._wires = None
        reader.skip(self.skipped)
        reader.cohort = None
        reader.cursors = dict(self.cursors)
        reader.told = set(self.told)

    def extend(self, streams: Iterable[Stream]) -> dict[Stream, None]:
        """Begin streams of values; returns those of which there is a snapshot to send."""
        self.cursors |= dict.fromkeys(streams, 0)
        self.key = (frozenset(self.cursors), self.batch, self.every)
        return {stream: None for stream in streams if stream.ready}

    def collect(self) -> list[Part] | None:
        """Collect what is due; None when a journaled log or a table has gone on beyond what is held."""
        cursors = self.cursors
        parts: list[Part] = []
        for stream in self.dirty:
            cursor = cursors[stream]
            if (stream.journaled or stream.parted) and not stream.holds(cursor):
                return None
            owed = stream.owed(cursor, slow=False)
            if len(owed) == 1:
                parts.append((stream, owed[0]))
            else:
                parts += [(stream, message) for message in owed]
        return parts

    def settle(self) -> None:
        """Move to the head: what was due has been handed over."""
        cursors = self.cursors
        for stream in self.dirty:
            cursor, seq = cursors[stream], stream.seq
            if stream.conflates and cursor:
                self.skipped += seq - cursor - 1
            cursors[stream] = seq
        self.dirty.clear()


def passed(cursors: Mapping[Stream, int], moved: Mapping[Stream, int]) -> int:
    """Count the values that are skipped when cursors move like this."""
    return sum(
        max(0, seq - cursors[stream] - 1)
        for stream, seq in moved.items()
        if stream.conflates and cursors[stream]
    )


OVERHEAD = 10
"""Most bytes that a message has beside its body, as a frame or in an array."""


def weight(messages: Sequence[Message]) -> int:
    """Bound the size of the blob that these messages make [bytes]."""
    return sum([len(message.body) for message in messages]) + OVERHEAD * len(messages)


def pieces(
    parts: Iterable[Part], *, batch: bool, limit: int
) -> Iterator[tuple[bytes, dict[Stream, int]]]:
    """Cut messages into blobs of whole frames, none above the limit unless one message is.

    Returns:
        Each blob with the cursors that its reader has then.
    """
    held: list[Message] = []
    moved: dict[Stream, int] = {}
    size = 0
    for stream, message in parts:
        room = weight((message,))
        if held and size + room > limit:
            yield pack(held, batch=batch), moved
            held, moved, size = [], {}, 0
        held.append(message)
        moved[stream] = message.seq
        size += room
    if held:
        yield pack(held, batch=batch), moved


def notices(told: set[Stream], streams: Iterable[Stream], ts: int, *, stale: bool) -> list[bytes]:
    """Make the notices `stale` for streams of which something else was told, and tell it.

    Args:
        told: Streams that the reader believes stale; changed.
        streams: Those to look at.
        ts: Server time [ms].
        stale: Whether to tell of sources that went silent, or of those that came back.
    """
    groups: dict[Source, list[str]] = {}
    for stream in streams:
        source = stream.feed.source
        if source.stale is stale and (stream in told) is not stale:
            groups.setdefault(source, []).append(stream.name)
            if stale:
                told.add(stream)
            else:
                told.discard(stream)
    made = []
    for source, names in groups.items():
        data: dict[str, object] = {"stale": stale}
        if source.cause is not None:
            data["cause"] = source.cause
        data["venue"] = source.venue
        data["asof"] = source.asof
        made.append(protocol.notice("stale", ts=ts, channels=names, data=data))
    return made
