"""The hash chain: every row's hash covers the row, its log entries and the hash before it.

Rules of this file: (1) every field has its length before it, so no two contents have one encoding; (2) log entries
are covered, because readers of the audit see them and not the journal's row; (3) keyed tables are not: their rows
follow from the journal's.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from realtime.store.driver import Connection, Value, number, one
from realtime.store.rows import LOGS, Cell, Pending, Row
from realtime.store.schema import COLUMNS


ORDER: Final = {table: place for place, table in enumerate(LOGS)}


class Broken(Exception):
    """The chain does not hold at `seq`."""

    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(f"row {seq}: {reason}")
        self.seq = seq
        self.reason = reason


def genesis(origin: str) -> bytes:
    """Make the hash that stands before the first row of the file whose first journal id was `origin`."""
    return sha256(b"realtime journal 1 " + origin.encode()).digest()


def link(before: bytes, row: Row | Pending, entries: Sequence[bytes] = ()) -> bytes:
    """Compute the hash of a row.

    Args:
        before: Hash of the row before it, or the genesis hash.
        row: The row.
        entries: Its log entries as `encode` gives them, ordered by table (as in `LOGS`) and number.
    """
    seq, ts, kind, key, body = row[:5]
    head = f"{seq} {ts} {len(kind)} {len(key)} {len(body)} {len(entries)} {kind}{key}".encode()
    return sha256(b"".join((before, head, body, *entries))).digest()


def encode(table: str, n: Value, key: Value, ts: Value, cols: Sequence[Cell], body: Value) -> bytes:
    """Encode one log entry; a null body stands for the journal row's own."""
    text = repr((table, n, key, ts, *cols)).encode()
    blob = body if isinstance(body, bytes) else b""
    return b"%d %d " % (len(text), -1 if body is None else len(blob)) + text + blob


def note(connection: Connection, name: str) -> str | None:
    """Read a note of the file, or None."""
    row = one(connection, "SELECT value FROM meta WHERE name = ?", (name,))
    return str(row[0]) if row else None


def hash_of(connection: Connection, seq: int) -> bytes | None:
    """Read the hash of a row as it is stored; None when there is no such row."""
    row = one(connection, "SELECT hash FROM journal WHERE seq = ?", (seq,))
    return row[0] if row and isinstance(row[0], bytes) else None


class Walk:
    """Reads the journal row by row and proves every one on the way.

    Attributes:
        seq: The last row proven; at the beginning the one before the first to be read.
        hash: Its hash.

    Args:
        connection: The file.
        after: Row to begin behind, taken for proven; 0 begins with the first.

    Raises:
        Broken: There is no row `after`.
    """

    def __init__(self, connection: Connection, after: int = 0) -> None:
        self._connection = connection
        self._numbers = dict.fromkeys(LOGS, 0)
        self.seq = after
        self.hash = genesis(note(connection, "origin") or "")
        if after:
            self._begin_behind(after)

    def _begin_behind(self, after: int) -> None:
        found = hash_of(self._connection, after)
        if found is None:
            raise Broken(after, "missing")
        self.hash = found
        for table in LOGS:
            # From the newest entry back: n and seq rise together, and there is no index on seq.
            self._numbers[table] = number(
                self._connection,
                f"SELECT n FROM {table} WHERE seq <= ? ORDER BY n DESC LIMIT 1",  # noqa: S608 - our names
                (after,),
            )

    def page(self, limit: int) -> list[Row]:
        """Read and prove the next rows.

        Args:
            limit: Most rows.

        Returns:
            The rows, oldest first; empty at the end, after the head was compared.

        Raises:
            Broken: At the first row that does not fit; the rows before it are proven.
        """
        found = list(
            self._connection.execute(
                "SELECT seq, ts, kind, key, body, hash FROM journal WHERE seq > ? ORDER BY seq LIMIT ?",
                (self.seq, limit),
            )
        )
        if not found:
            self._finish()
            return []
        last = found[-1][0]
        assert isinstance(last, int)
        entries = self._entries(last)
        rows: list[Row] = []
        for seq, ts, kind, key, body, stored in found:
            expected = self.seq + 1
            if seq != expected:
                raise Broken(expected, f"missing, the next one is {seq!r}")
            if not (
                isinstance(ts, int)
                and isinstance(kind, str)
                and isinstance(key, str)
                and isinstance(body, bytes)
            ):
                raise Broken(expected, "a field has the wrong type")
            row = Row(seq, ts, kind, key, body)
            computed = link(self.hash, row, entries.pop(seq, ()))
            if computed != stored:
                raise Broken(seq, "its hash does not fit its content")
            self.seq, self.hash = seq, computed
            rows.append(row)
        if entries:
            raise Broken(min(entries), "a log entry names a row that is not there")
        return rows

    def _entries(self, last: int) -> dict[int, list[bytes]]:
        """Read the log entries up to the journal's row `last`, by row."""
        found: dict[int, list[bytes]] = {}
        for table in LOGS:
            names = ",".join(COLUMNS[table])
            rows = self._connection.execute(
                f"SELECT n, seq, key, ts, body, {names} FROM {table} WHERE n > ? ORDER BY n",  # noqa: S608 - our names
                (self._numbers[table],),
            )
            # Read lazily and left at the first later entry: n and seq rise together, and an index
            # on seq would be paid on every commit for the sake of this walk.
            for n, seq, key, ts, body, *cols in rows:
                if not isinstance(seq, int) or seq > last:
                    break
                if n != self._numbers[table] + 1:
                    raise Broken(seq, f"entry {self._numbers[table] + 1} of {table} is missing")
                self._numbers[table] += 1
                cells = [cell if not isinstance(cell, bytes) else repr(cell) for cell in cols]
                found.setdefault(seq, []).append(encode(table, n, key, ts, cells, body))
        return found

    def _finish(self) -> None:
        for table in LOGS:
            row = one(
                self._connection,
                f"SELECT n FROM {table} WHERE n > ? LIMIT 1",  # noqa: S608 - our names
                (self._numbers[table],),
            )
            if row is not None:
                raise Broken(
                    self.seq + 1, f"entry {row[0]!r} of {table} names a row that is not there"
                )
        head = (
            note(self._connection, "head")
            or f"0 {genesis(note(self._connection, 'origin') or '').hex()}"
        )
        if head != f"{self.seq} {self.hash.hex()}":
            raise Broken(
                self.seq + 1,
                f"the file's head is row {head.split(' ')[0]}: its end was cut off or changed",
            )
