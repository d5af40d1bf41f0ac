"""The seam to SQLite: the standard library's, or another one that a test brings with its own file system."""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol, cast


Value = str | int | bytes | None
FULL: Final = 13  # SQLITE_FULL; extended codes keep the family in their low byte
BUSY: Final = 5
LOCKED: Final = 6


class Rows(Protocol):
    """A running statement."""

    def __iter__(self) -> Iterator[tuple[Value, ...]]: ...


class Connection(Protocol):
    """What both `sqlite3` and `apsw` offer; transactions are begun and ended by SQL alone."""

    def execute(self, sql: str, params: Sequence[Value] = (), /) -> Rows:
        """Run one statement."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Driver(Protocol):
    """Makes connections and explains their errors."""

    errors: tuple[type[Exception], ...]

    def connect(self, path: str) -> Connection:
        """Open a file, or `:memory:`."""
        ...

    def code(self, error: Exception) -> int:
        """Give the family of SQLite's result code, 0 when there is none."""
        ...

    def backup(
        self, source: Connection, target: str, pages: int, between: Callable[[], None]
    ) -> None:
        """Copy `source` into a new file, `pages` at a time, calling `between` after each step."""
        ...


class Sqlite:
    """The standard library's SQLite."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def connect(self, path: str) -> Connection:
        """Open a file in autocommit mode: BEGIN and COMMIT are ours."""
        # timeout 0: a busy file means another process, and waiting would only hide it.
        raw = sqlite3.connect(path, timeout=0, isolation_level=None, cached_statements=256)
        return cast("Connection", raw)

    def code(self, error: Exception) -> int:
        """Give the family of the result code."""
        found = getattr(error, "sqlite_errorcode", 0)
        return found & 0xFF if isinstance(found, int) else 0

    def backup(
        self, source: Connection, target: str, pages: int, between: Callable[[], None]
    ) -> None:
        """Copy through the online backup API."""
        into = sqlite3.connect(target, isolation_level=None)
        file = os.open(target, os.O_RDONLY | os.O_CLOEXEC)

        def stepped(*_: int) -> None:
            # SQLite would bring all of it to the disk with the last step, while rows of orders wait.
            os.fsync(file)
            between()

        try:
            # Nothing of what does not come to its end is used.
            into.execute("PRAGMA journal_mode = OFF")
            into.execute("PRAGMA synchronous = OFF")
            raw = cast("sqlite3.Connection", source)
            raw.backup(into, pages=pages, progress=stepped, sleep=0)
        finally:
            into.close()
            os.close(file)


def one(connection: Connection, sql: str, params: Sequence[Value] = ()) -> tuple[Value, ...] | None:
    """Run a statement that gives at most one row."""
    found = list(connection.execute(sql, params))
    return found[0] if found else None


def number(connection: Connection, sql: str, params: Sequence[Value] = ()) -> int:
    """Run a statement that gives one integer; null is 0."""
    row = one(connection, sql, params)
    value = row[0] if row else 0
    return value if isinstance(value, int) else 0
