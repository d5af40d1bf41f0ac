"""What a client knows of one channel, and how messages change it (protocol document, 6.1 to 6.5). Pure.

Rules of this file: (1) a snapshot replaces everything; (2) an update of a table or log has `seq` = last + 1, of a value
`seq` > last; (3) anything else is a gap, and after a gap nothing is believed until the channel was subscribed again.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from realtime.client.book import Book


Message = Mapping[str, object]
State = Mapping[str, object] | Mapping[str, Mapping[str, object]] | Sequence[object] | Book | None
_KEPT: Final = 1_000  # newest entries of a log that a client keeps


class Step(StrEnum):
    """What a message did."""

    APPLIED = "applied"
    IGNORED = "ignored"  # nothing is believed before the snapshot, or it was known already
    GAP = "gap"  # something is missing: subscribe again


class Stream:
    """One channel under its canonical name.

    Attributes:
        channel: The name.
        kind: Class of the channel: `value`, `table` or `log`; empty before the first reply.
        epoch: Which life of the stream the position belongs to; None before the first.
        seq: Last message applied.
        whole: Whether the state is what the server's was at `seq`, so that it is possible to resume from there.
        synced: Whether it is whole and the next messages will follow on it.
        stale: Whether the server says that the source is silent.
        lost: Messages of a log that will not come, as reported by snapshots.
        skipped: Values skipped because we or the network were slow.
        gaps: Times that something was missing without being announced, or a checksum did not fit.
    """

    __slots__ = (
        "_book", "_entries", "_key", "_rows", "_value", "channel", "epoch", "gaps", "kind", "lost",
        "seq", "skipped", "stale", "synced", "whole",
    )  # fmt: skip

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.kind = ""
        self.epoch: str | None = None
        self.seq = 0
        self.whole = False
        self.synced = False
        self.stale = False
        self.lost = 0
        self.skipped = 0
        self.gaps = 0
        self._key = "id"
        self._value: Mapping[str, object] | None = None
        self._rows: dict[str, Mapping[str, object]] = {}
        self._entries: deque[object] = deque(maxlen=_KEPT)
        self._book: Book | None = None

    @property
    def state(self) -> State:
        """What is known: the value, the rows by key, the newest entries (oldest first), or the `Book`."""
        match self.kind:
            case "table":
                return self._book if self._book is not None else self._rows
            case "log":
                return self._entries
            case _:
                return self._value

    @property
    def since(self) -> dict[str, object] | None:
        """The position to resume from, or None when nothing is known."""
        if not self.whole:
            return None
        return {"epoch": self.epoch, "seq": self.seq}

    def begin(self, since: Message) -> None:
        """Take the position up to which an earlier program has read; of a log, whose entries stand for themselves."""
        self.epoch, self.seq, self.whole = str(since["epoch"]), _seq(since), True

    def subscribed(self, entry: Message) -> None:
        """Take the channel's entry of a subscribe reply.

        With `resumed` the missed updates follow; else a snapshot, except for a log subscribed without one, whose
        position in the reply is where it begins.
        """
        self.kind = str(entry["class"])
        self._key = str(entry.get("key", "id"))
        self.stale = entry.get("stale") is True
        if entry.get("resumed") is True:
            self.synced = True
            return
        self.synced = self.whole = False
        if self.kind == "log":
            # A resume point at once: a cut before the snapshot loses nothing that came after it.
            self.epoch, self.seq = str(entry["epoch"]), _seq(entry)
            self._entries.clear()
            self.synced = self.whole = True

    def cut(self) -> None:
        """The connection is gone: what comes next does not follow on what is known."""
        self.synced = False

    def apply(self, message: Message) -> Step:
        """Apply a `snapshot` or an `update` of this channel."""
        seq = _seq(message)
        if message["type"] == "snapshot":
            self._replace(message)
            self.epoch, self.seq, self.synced = str(message["epoch"]), seq, True
            self.whole = True
        else:
            if not self.synced:
                return Step.IGNORED
            if self.kind == "value":
                if seq <= self.seq:
                    return Step.IGNORED
                self.skipped += seq - self.seq - 1
            elif seq != self.seq + 1:
                # What we have is right, only old: the missing ones can be asked for.
                return self._gap()
            self._merge(message["data"])
            self.seq = seq
        if self._book is not None and not self._fits(message.get("checksum")):
            self.whole = False
            return self._gap()
        return Step.APPLIED

    def _gap(self) -> Step:
        self.gaps += 1
        self.synced = False
        return Step.GAP

    def _fits(self, checksum: object) -> bool:
        return checksum is None or self._book is None or self._book.checksum() == checksum

    def _replace(self, message: Message) -> None:
        data = message["data"]
        self._rows = {}
        self._entries = deque(maxlen=_KEPT)
        self._book = Book() if isinstance(data, Mapping) and _is_book(data) else None
        if isinstance(lost := message.get("lost"), int):
            self.lost += lost
        self._merge(data)

    def _merge(self, data: object) -> None:
        if self.kind == "log":
            if isinstance(data, Iterable):
                self._entries.extend(data)
        elif not isinstance(data, Mapping):
            return
        elif self.kind == "value":
            self._value = data
        elif self._book is not None:
            self._book.apply(data)
        else:
            for row in data.get("set", ()):
                self._rows[str(row[self._key])] = row
            for key in data.get("del", ()):
                self._rows.pop(str(key), None)


def _is_book(data: Mapping[str, object]) -> bool:
    return "bids" in data or "asks" in data


def _seq(message: Message) -> int:
    seq = message["seq"]
    assert isinstance(seq, int)
    return seq
