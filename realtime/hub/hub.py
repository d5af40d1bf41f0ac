"""All streams and all readers: what each connection must be sent, and when.

Rules of this file:
1 Publishing marks and never writes. `flush` hands out one blob per cohort; readers on their own (new, paced
  anew, slow) are written to directly, in pieces, until their wire has had enough.
2 A reader is in a cohort, or waits for its flush, its pace or the journal, or its wire is paused. Nothing is ever kept
  for a reader except cursors, a page of the journaled entries that it resumes from, and what it lacks of a snapshot in parts.
3 No method waits, and none calls back into the caller except through `wake`, `on_demand`, `Reader.fetch` and the
  wires. `wake` must only schedule a flush.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from realtime.hub.books import BookView
from realtime.hub.channels import ALL, Channel, parse
from realtime.hub.cohort import (
    Cohort,
    Key,
    Need,
    Part,
    Reader,
    Wire,
    notices,
    passed,
    pieces,
    weight,
)
from realtime.hub.frames import array_frame, text_frame
from realtime.hub.logs import JournalStream, Old
from realtime.hub.protocol import Close
from realtime.hub.sources import Sources, account_of, permanent
from realtime.hub.stream import Counts, Data, Message, Reason, Sizes, Source, Stream, pack
from realtime.hub.values import ValueFeed


__all__ = [
    "BookView",
    "Counts",
    "Data",
    "Hub",
    "Old",
    "Reader",
    "Reason",
    "Since",
    "Sizes",
    "Wanted",
    "Wire",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Since:
    """The position a client resumes from."""

    epoch: str
    seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One item of a `subscribe`."""

    channel: Channel
    since: Since | None = None
    snapshot: bool = True


class Hub(Sources):
    """All streams and all readers; arguments and attributes as in `Sources`."""

    def __init__(
        self, *, boot: str, journal: str, now: Callable[[], int], sizes: Sizes | None = None
    ) -> None:
        super().__init__(boot=boot, journal=journal, now=now, sizes=sizes)
        self._readers: dict[Wire, Reader] = {}
        # By what readers have in common; the one that may be joined if it is clean.
        self._cohorts: dict[Key, Cohort] = {}
        self._cohorts_of: dict[Stream, dict[Cohort, None]] = {}
        # Whose turn it is at the next flush, and at the tick of their pace.
        self._due: dict[Cohort, None] = {}
        self._late: dict[int, dict[Cohort, None]] = {}
        self._waiting: dict[Reader, None] = {}
        self._waiting_for: dict[int, dict[Reader, None]] = {}
        # Those who lack nothing but what they are being fetched from the journal.
        self._reading: dict[Reader, None] = {}
        # Cohorts that must be told about a source.
        self._news: dict[Cohort, None] = {}
        # By the canonical name of `ticker:*` at a rate: those who want all symbols.
        self._stars: dict[str, dict[Reader, None]] = {}

    @property
    def readers(self) -> Collection[Reader]:
        """All readers."""
        return self._readers.values()

    def set_stale(
        self,
        base: str,
        stale: bool,  # noqa: FBT001 - a fact about `base`, always written out by its one caller
        *,
        cause: str | None,
        venue: str,
        asof: int,
    ) -> None:
        """Tell all readers of a source that it went silent or came back; saying it twice changes nothing.

        Args:
            base: Base name.
            stale: Whether it is silent now.
            cause: `silent`, `disconnected`, `desync`, `maintenance` or `delisted`; None when it is back.
            venue: Its id.
            asof: Last proof of life [wire ms].
        """
        feed = self._feed(base)
        if feed.source.stale != stale:
            feed.source = Source(stale=stale, cause=cause, venue=venue, asof=asof)
            for stream in feed.streams:
                for cohort in self._cohorts_of.get(stream, ()):
                    cohort.news[stream] = None
                    self._news[cohort] = None
            for reader in self._reading:
                self._wait(reader)
            self._reading.clear()
            self._board.rouse()

    # --- readers ----------------------------------------------------------------------------------

    def attach(self, wire: Wire, *, batch: bool, every: int) -> Reader:
        """Take in a connection, which has no subscriptions yet."""
        reader = self._readers[wire] = Reader(wire, batch=batch, every=every)
        return reader

    def remove(self, reader: Reader) -> None:
        """Forget a connection that is gone; doing it twice changes nothing."""
        if not reader.closed:
            self._leave(reader)
            reader.closed = True
            reader.fetch = None  # it leads back to whoever has this reader: a cycle, and hardly anybody looks for those
            del self._readers[reader.wire]
            self._unwant(reader, list(reader.subscriptions))

    def pace(self, reader: Reader, every: int) -> None:
        """Change how often a reader is due [ms]; 0 = whenever something is due."""
        if not reader.closed:
            self._leave(reader)
            reader.every = every
            self._place(reader)

    def missing(self, channel: Channel, since: Since) -> tuple[int, int] | None:
        """Tell which entries of a journaled log only the journal has, for a reader that resumes.

        The first of them at least goes to `subscribe` as `older`: it proves that there is something to resume from. The
        others are asked for with `Reader.fetch`, a page at a time as the reader takes them. Without that they all go to
        `subscribe`, and whoever has too few is sent those and closed with 4508, and resumes from there.

        Returns:
            First and last seq in the numbers of this channel, at most `Sizes.older` of them; None when
            nothing is missing, or nothing can be resumed.
        """
        if not channel.journaled:
            return None
        stream = self._stream(channel)
        assert isinstance(stream, JournalStream)
        if not _within(stream, since) or stream.holds(since.seq):
            return None
        last = stream.seq - len(stream.ring)
        return since.seq + 1, min(last, since.seq + self.sizes.older)

    def subscribe(
        self,
        reader: Reader,
        wanted: Sequence[Wanted],
        *,
        older: Mapping[str, Sequence[Old]] | None = None,
    ) -> list[dict[str, object]]:
        """Subscribe, or subscribe again, which restarts delivery. Nothing is written before the next flush.

        Args:
            reader: Who.
            wanted: Channels with the positions to resume from.
            older: By canonical name, entries of journaled logs from `since.seq` + 1 on, see `missing`.

        Returns:
            Entries of `result.channels`, in the order asked; none if the reader is gone.
        """
        if reader.closed:
            return []
        self._leave(reader)
        entries = []
        resuming: set[Stream] = set()
        for item in wanted:
            channel = item.channel
            reader.subscriptions[channel.name] = channel
            if channel.star:
                entries.append(self._begin_all(reader, item, resuming))
            else:
                old = older.get(channel.name, ()) if older else ()
                stream = self._stream(channel)
                entries.append(self._begin(reader, stream, item, old))
                if item.since is not None:
                    resuming.add(stream)
        self._place(reader)
        return entries

    def unsubscribe(self, reader: Reader, names: Sequence[str] | None) -> list[str]:
        """End subscriptions, all of them for None.

        Returns:
            Canonical names that were subscribed and are no more, in the order asked.
        """
        held = reader.subscriptions
        ended = list(held) if names is None else [n for n in dict.fromkeys(names) if n in held]
        if ended:
            self._leave(reader)
            self._unwant(reader, ended)
            self._place(reader)
        return ended

    def _begin_all(
        self, reader: Reader, item: Wanted, resuming: Collection[Stream]
    ) -> dict[str, object]:
        """Subscribe to all symbols, present and future, but for those that the same request resumes by their names."""
        channel = item.channel
        if not self._starred(channel.base):
            self.on_demand(channel.base, True)
        self._stars.setdefault(channel.name, {})[reader] = None
        for feed in list(self._values.values()):
            if feed.topic.name == channel.topic and _is_of(channel, feed):
                stream = self._one_of(channel, feed)
                if stream not in resuming:
                    self._begin_one(reader, item, stream)
        return {"channel": channel.name, "class": channel.kind, "resumed": False, "stale": False}

    def _begin_one(self, reader: Reader, item: Wanted, stream: Stream) -> None:
        """Start the delivery of one symbol among all; if its source is stale a notice says so, for no reply names it."""
        named = stream.name in reader.subscriptions
        owed = stream in reader.needs or reader.cursors.get(stream) != stream.seq
        if named and (owed or not item.snapshot):
            return  # also asked for by its own name, and what that was promised has not, or may not, have come yet
        told = reader.told & {stream} if named else ()
        self._begin(reader, stream, item, ())
        reader.told.discard(stream)
        reader.told.update(told)

    def _one_of(self, star: Channel, feed: ValueFeed) -> Stream:
        """The stream of one symbol among all."""
        symbol = feed.name.partition(":")[2].partition("@")[0]
        venues = () if star.venue is None else (star.venue,)
        return self._stream(parse(star.name.replace(ALL, symbol, 1), (symbol,), venues=venues))

    def _starred(self, base: str) -> bool:
        """Whether anybody reads all symbols of an account."""
        return any(name.partition("?")[0] == base for name in self._stars)

    def _begin(
        self, reader: Reader, stream: Stream, item: Wanted, old: Sequence[Old]
    ) -> dict[str, object]:
        """Start the delivery of one stream afresh."""
        self._forget(reader, stream)
        stream.readers += 1
        self._idle.pop(stream, None)
        since = item.since
        resumed = since is not None and self._resumable(stream, since, old)
        if since is not None and resumed:
            reader.cursors[stream] = since.seq
            if isinstance(stream, JournalStream) and not stream.holds(since.seq):
                reader.older[stream] = _messages(stream, old)
        else:
            reader.cursors[stream] = stream.seq
            if item.snapshot and stream.ready:
                reader.needs[stream] = _need(stream, since)
        source = stream.feed.source
        if source.stale:
            reader.told.add(stream)
        channel = stream.channel
        entry: dict[str, object] = {"channel": stream.name, "class": channel.kind}
        if channel.row_key is not None:
            entry["key"] = channel.row_key
        entry |= {
            "epoch": stream.epoch,
            "seq": stream.seq,
            "resumed": resumed,
            "stale": source.stale,
        }
        asof = source.asof if source.stale else stream.feed.asof
        if asof is not None:
            entry["asof"] = asof
        return entry

    def _resumable(self, stream: Stream, since: Since, old: Sequence[Old]) -> bool:
        """Tell whether every message after a position can still be sent."""
        if not _within(stream, since):
            return False
        return stream.resumes(since.seq) or (stream.journaled and _follows(old, since.seq))

    def _forget(self, reader: Reader, stream: Stream) -> None:
        """End the delivery of one stream to a reader that is on its own."""
        if reader.cursors.pop(stream, None) is not None:
            reader.needs.pop(stream, None)
            reader.older.pop(stream, None)
            reader.told.discard(stream)
            stream.readers -= 1
            if not stream.readers and not permanent(stream.channel):
                self._rest(stream)

    def _unwant(self, reader: Reader, names: Sequence[str]) -> None:
        """End subscriptions of a reader that is on its own."""
        for name in names:
            channel = reader.subscriptions.pop(name)
            if channel.star:
                del self._stars[name][reader]
                if not self._stars[name]:
                    del self._stars[name]
                if not self._starred(channel.base):
                    self.on_demand(channel.base, False)
        for stream in list(reader.cursors):
            channel = stream.channel
            wide = channel.name.replace(f":{channel.key}", f":{ALL}", 1)
            if channel.name not in reader.subscriptions and wide not in reader.subscriptions:
                self._forget(reader, stream)

    # --- where readers are ------------------------------------------------------------------------

    def _leave(self, reader: Reader) -> None:
        """Put a reader on its own, with its position."""
        self._spread()
        cohort = reader.cohort
        if cohort is None:
            self._waiting.pop(reader, None)
            self._reading.pop(reader, None)
            if reader.every:
                self._waiting_for.get(reader.every, {}).pop(reader, None)
        else:
            cohort.leave(reader)
            if not cohort.readers:
                self._disband(cohort)

    def _disband(self, cohort: Cohort) -> None:
        """Forget a cohort without readers."""
        if self._cohorts.get(cohort.key) is cohort:
            del self._cohorts[cohort.key]
        for stream in cohort.cursors:
            cohorts = self._cohorts_of[stream]
            del cohorts[cohort]
            if not cohorts:
                del self._cohorts_of[stream]
        self._due.pop(cohort, None)
        self._news.pop(cohort, None)
        if cohort.every:
            self._late.get(cohort.every, {}).pop(cohort, None)

    def _place(self, reader: Reader) -> None:
        """Let a reader that is on its own join a cohort, if it is at the head, or wait for its turn."""
        if reader.closed or reader.stalled:
            return
        if reader.settled:
            reader.behind = False
            if reader.cursors:
                self._join(reader)
        elif reader.fetching is not None and reader.served:
            self._reading[reader] = None
        else:
            self._wait(reader)

    def _wait(self, reader: Reader) -> None:
        """Let a reader that is on its own wait for its turn."""
        if reader.every:
            self._waiting_for.setdefault(reader.every, {})[reader] = None
        else:
            self._waiting[reader] = None
            self._board.rouse()

    def _join(self, reader: Reader) -> None:
        self._spread()
        key = (frozenset(reader.cursors), reader.batch, reader.every)
        cohort = self._cohorts.get(key)
        if cohort is None or not cohort.clean:
            cohort = self._cohorts[key] = Cohort(key, reader)
            for stream in reader.cursors:
                self._cohorts_of.setdefault(stream, {})[cohort] = None
        cohort.join(reader)

    def _merge(self, cohort: Cohort) -> None:
        """Move the readers of a cohort that has caught up to the one that took its place meanwhile."""
        if cohort.readers:
            other = self._cohorts.setdefault(cohort.key, cohort)
            if other is not cohort and other.clean and cohort.clean:
                for reader in list(cohort.readers):
                    cohort.leave(reader)
                    other.join(reader)
                self._disband(cohort)

    def _spread(self) -> None:
        """Tell cohorts which of their streams have something new."""
        dirty = self._board.dirty
        if not dirty:
            return
        for stream in dirty:
            for cohort in self._cohorts_of.get(stream, ()):
                if not cohort.dirty:
                    self._enlist(cohort)
                cohort.dirty[stream] = None
        for reader in [held for held in self._reading if not dirty.keys().isdisjoint(held.cursors)]:
            del self._reading[reader]
            self._wait(reader)
        dirty.clear()

    def _enlist(self, cohort: Cohort) -> None:
        """Let a cohort that is about to have something to send wait for its turn."""
        if cohort.every:
            self._late.setdefault(cohort.every, {})[cohort] = None
        else:
            self._due[cohort] = None

    # --- time -------------------------------------------------------------------------------------

    def due(self, every: int) -> None:
        """Let readers with this pace [ms] be served by the next flush, which is asked for if need be."""
        self._spread()
        cohorts = self._late.pop(every, None)
        readers = self._waiting_for.pop(every, None)
        if cohorts:
            self._due |= cohorts
        if readers:
            self._waiting |= readers
        if cohorts or readers:
            self._board.rouse()

    # --- delivery ---------------------------------------------------------------------------------

    def flush(self) -> Iterator[tuple[bytes, tuple[Wire, ...]]]:
        """Hand out what is due: one blob per cohort, to be written to each of its wires.

        Readers on their own are written to directly. Whoever writes calls `paused`, after the loop, for
        every wire whose `write` said False. Wires may pause, close and be removed during the loop.
        """
        board = self._board
        board.awake = False
        self._widen()
        self._spread()
        if self._news:
            for cohort in list(self._news):
                yield from self._tell(cohort, stale=True)
        due = self._due
        replaced: list[Cohort] = []
        while due:
            cohort = next(iter(due))
            del due[cohort]
            blob = self._take(cohort)
            if blob is not None:
                board.counts.writes += len(cohort.readers)
                yield blob, cohort.wires
            for stale in (True, False):
                if cohort in self._news:
                    yield from self._tell(cohort, stale=stale)
            if self._cohorts.get(cohort.key) is not cohort:
                replaced.append(cohort)
        if self._news:
            for cohort in list(self._news):
                # A paced cohort hears that a source is back when it has what the source sent.
                if not cohort.dirty:
                    yield from self._tell(cohort, stale=False)
        for cohort in replaced:
            self._merge(cohort)
        waiting = self._waiting
        while waiting:
            reader = next(iter(waiting))
            del waiting[reader]
            self._deliver(reader)

    def paused(self, wire: Wire) -> None:
        """Take note that a wire takes no more: its reader leaves its cohort and costs its cursors."""
        reader = self._readers.get(wire)
        if reader is not None and not reader.stalled:
            self._leave(reader)
            reader.stalled = reader.behind = True

    def resume(self, wire: Wire) -> None:
        """Bring the reader of a wire that has drained to the head, now or when its pace says so.

        What is written: the newest values, missed updates or smaller snapshots, entries or snapshots with
        `lost`; 4508 to whoever owes more of a journaled log than is held.
        """
        reader = self._readers.get(wire)
        if reader is not None and reader.stalled:
            self._spread()
            reader.stalled = False
            if reader.every:
                self._place(reader)
            else:
                self._deliver(reader)

    def _take(self, cohort: Cohort) -> bytes | None:
        """Make the blob of a cohort; None when its readers have been written to already."""
        parts = cohort.collect()
        if parts is None:
            # Within one pace a journaled log ran away, and each of them is closed with 4508; or a table did, of which
            # each of them gets the snapshot, part by part as it can take it.
            for reader in list(cohort.readers):
                self._leave(reader)
                self._deliver(reader)
            return None
        messages = [message for _, message in parts]
        if len(messages) > 1 and weight(messages) > self.sizes.piece:
            self._spill(cohort, parts)
            return None
        cohort.settle()
        self._board.counts.joins += 1
        return pack(messages, batch=cohort.batch)

    def _spill(self, cohort: Cohort, parts: Sequence[Part]) -> None:
        """Write a large blob in pieces that all readers share; who has had enough leaves between two."""
        counts = self._board.counts
        cohort.dirty.clear()
        for blob, moved in list(pieces(parts, batch=cohort.batch, limit=self.sizes.piece)):
            counts.joins += 1
            cohort.skipped += passed(cohort.cursors, moved)
            cohort.cursors |= moved
            for reader in list(cohort.readers):
                if not self._hand_over(reader, blob):
                    self.paused(reader.wire)

    def _tell(self, cohort: Cohort, *, stale: bool) -> Iterator[tuple[bytes, tuple[Wire, ...]]]:
        """Hand out the notices about sources of a cohort that went silent, or that came back."""
        # Of a symbol that it has nothing of yet it hears behind the snapshot, which may be what names it (`ticker:*`).
        known = [stream for stream in cohort.news if cohort.knows(stream)]
        told = notices(cohort.told, known, self._board.now(), stale=stale)
        cohort.news = {s: None for s in cohort.news if s.feed.source.stale != (s in cohort.told)}
        if not cohort.news:
            del self._news[cohort]
        if told:
            self._board.counts.writes += len(cohort.readers)
            yield _frames(told, batch=cohort.batch), cohort.wires

    def _widen(self) -> None:
        """Give new symbols to those who want all."""
        arrived = self._arrived
        if not arrived:
            return
        self._arrived = []
        self._spread()
        for name, readers in self._stars.items():
            star = next(iter(readers)).subscriptions[name]
            new = []
            for feed in arrived:
                if _is_of(star, feed):
                    new.append(self._one_of(star, feed))
                    # It is about to be read, and only so many may be idle.
                    self._idle.pop(new[-1], None)
            if not new:
                continue
            # A cohort takes them as one: to let its readers go and join again costs each of them all symbols it has.
            for cohort in {reader.cohort: None for reader in readers}:
                if cohort is not None and readers.keys() >= cohort.readers.keys():
                    self._extend(cohort, [s for s in new if s not in cohort.cursors])
            for reader in readers:
                held = reader.cursors if reader.cohort is None else reader.cohort.cursors
                lacks = [stream for stream in new if stream not in held]
                if lacks:
                    self._leave(reader)
                    for stream in lacks:
                        self._begin_one(reader, Wanted(channel=star), stream)
                    self._place(reader)

    def _extend(self, cohort: Cohort, streams: Sequence[Stream]) -> None:
        """Let all readers of a cohort begin streams of values, each with its snapshot."""
        for stream in streams:
            stream.readers += len(cohort.readers)
            self._cohorts_of.setdefault(stream, {})[cohort] = None
            if stream.feed.source.stale:
                cohort.news[stream] = None
                self._news[cohort] = None
        if self._cohorts.get(cohort.key) is cohort:
            del self._cohorts[cohort.key]
        fresh = cohort.extend(streams)
        self._cohorts.setdefault(cohort.key, cohort)
        if fresh:
            if not cohort.dirty:
                self._enlist(cohort)
            cohort.dirty |= fresh

    def _deliver(self, reader: Reader) -> None:
        """Write to a reader on its own what it is owed, until it has it or its wire has had enough."""
        board = self._board
        # Of a stream that it has nothing of yet it hears behind the snapshot, which may be what names it (`ticker:*`).
        known = [s for s in reader.cursors if s not in reader.needs and reader.knows(s)]
        told = notices(reader.told, known, board.now(), stale=True)
        if told and not self._write(reader, _frames(told, batch=reader.batch)):
            return
        behind: list[tuple[JournalStream, int]] = []
        parts = self._owed(reader, behind)
        for blob, moved in pieces(parts, batch=reader.batch, limit=self.sizes.piece):
            board.counts.joins += 1
            reader.skip(passed(reader.cursors, moved))
            reader.move(moved)
            if not self._write(reader, blob):
                return
        if not all(reader.fetch and stream in reader.older for stream, _ in behind):
            self._end(reader)
            return
        for stale in (True, False):
            told = notices(reader.told, reader.cursors, board.now(), stale=stale)
            if told and not self._write(reader, _frames(told, batch=reader.batch)):
                return
        if behind:
            self._fetch(reader, *behind[0])
        self._place(reader)

    def _fetch(self, reader: Reader, stream: JournalStream, at: int) -> None:
        """Have the next entries fetched that only the journal has; of one log at a time."""
        if reader.fetch is not None and reader.fetching is None:
            reader.fetching = (stream, at)
            last = min(stream.seq - len(stream.ring), at + self.sizes.older)
            reader.fetch(stream.channel, at + 1, last)

    def bring(self, reader: Reader, page: Sequence[Old]) -> None:
        """Give a reader what it was fetched; nothing, or what does not follow, ends it with 4508."""
        asked, reader.fetching = reader.fetching, None
        assert asked is not None, "nothing was asked for"
        stream, at = asked
        if reader.closed:
            return
        # Else it has begun anew meanwhile, or ended it.
        if reader.cursors.get(stream) == at and not reader.older.get(stream, (None,)):
            if not _follows(page, at):
                self._end(reader)
                return
            assert isinstance(stream, JournalStream)
            reader.older[stream] = _messages(stream, page)
        self._place(reader)

    def _end(self, reader: Reader) -> None:
        """Close the connection of a reader that owes more of a journaled log than can be had."""
        self.remove(reader)
        reader.wire.close(Close.SLOW_CONSUMER, Close.SLOW_CONSUMER.reason)

    def _owed(self, reader: Reader, behind: list[tuple[JournalStream, int]]) -> Iterator[Part]:
        """Make what a reader is owed, one message after the other, as it takes them.

        Args:
            reader: Who.
            behind: Gets the journaled logs that are not held far enough back, and from where on.
        """
        for stream, cursor in list(reader.cursors.items()):
            need = reader.needs.get(stream)
            if need is None and stream.parted and not stream.holds(cursor):
                need = reader.needs[stream] = Need(Reason.LAG, cursor)
            if need is not None:
                need.parts = need.parts or stream.parts(need.reason, need.base)
                for part in need.parts:
                    yield stream, part.made()
                continue
            at = cursor
            if isinstance(stream, JournalStream):
                for message in reader.older.get(stream, ()):
                    yield stream, message
                    at = message.seq
                if not stream.holds(at):
                    behind.append((stream, at))
                    continue
            if at != stream.seq:
                for message in stream.owed(at, slow=reader.behind):
                    yield stream, message

    def _write(self, reader: Reader, blob: bytes) -> bool:
        """Write to a reader on its own; False when it takes no more."""
        more = self._hand_over(reader, blob)
        if not more:
            self.paused(reader.wire)
        return more

    def _hand_over(self, reader: Reader, blob: bytes) -> bool:
        """Write, unless it was removed meanwhile; False when it takes no more."""
        if reader.closed:
            return False
        self._board.counts.writes += 1
        return reader.wire.write(blob) and not reader.closed


def _is_of(star: Channel, feed: ValueFeed) -> bool:
    """Whether a source is of the account whose symbols are all read."""
    return account_of(feed.name) == (star.venue or "")


def _within(stream: Stream, since: Since) -> bool:
    """Whether a position is one that this stream had."""
    return since.epoch == stream.epoch and 0 <= since.seq <= stream.seq


def _follows(old: Sequence[Old], seq: int) -> bool:
    """Whether entries are there and begin right after `seq`, without a gap."""
    return bool(old) and [entry[0] for entry in old] == list(range(seq + 1, seq + 1 + len(old)))


def _messages(stream: JournalStream, old: Sequence[Old]) -> Sequence[Message]:
    """Entries as they are sent: their bytes take a fifth of what they take as objects."""
    return [stream.older(seq, ts, entry) for seq, ts, entry in old]


def _need(stream: Stream, since: Since | None) -> Need:
    """The snapshot that begins a subscription."""
    if since is None:
        return Need(Reason.SUBSCRIBE, stream.seq)
    return Need(Reason.RESUME_FAILED, since.seq if _within(stream, since) else None)


def _frames(bodies: Sequence[bytes], *, batch: bool) -> bytes:
    return array_frame(bodies) if batch else b"".join([text_frame(body) for body in bodies])
