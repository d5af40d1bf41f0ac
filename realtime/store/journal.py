"""The open file: commits, pages, backups. Synchronous; lives in the writer's thread and never leaves it.

Rules of this file: (1) a batch is one transaction: journal rows, their projections and the head; (2) state in memory
(hash, numbers) moves only after COMMIT has returned; (3) foreign errors pass through, the writer judges them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from realtime.store.chain import ORDER, Walk, encode, genesis, link, note
from realtime.store.driver import BUSY, LOCKED, Connection, Driver, Value, number, one
from realtime.store.files import discard, publish
from realtime.store.rows import (
    LOGS,
    Cell,
    Keep,
    Keyed,
    Log,
    Pending,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
)
from realtime.store.schema import COLUMNS, COMMIT, MIGRATIONS, SOURCES, migrate, prepare, version


_BACKUP_PAGES: Final = 256
_PRUNED: Final = 500
"""Rows deleted at a time: a commit waits for one such step at most."""
_NUL: Final = "\\u0000"
"""As JSON has it."""
_DAMAGE: Final = frozenset({1, 11, 26})  # ERROR (a table is missing), CORRUPT, NOTADB


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How to open a journal.

    Attributes:
        path: The file, or None for one in memory.
        driver: Which SQLite.
        new_id: Makes the journal's id when the file is new or comes from a backup.
        migrations: The schema's steps.
    """

    path: Path | None
    driver: Driver
    new_id: Callable[[], str]
    migrations: Sequence[str] = MIGRATIONS


class Journal:
    """One journal file, open.

    Attributes:
        id: The journal's id, the epoch of its logs.
        seq: Last committed row.
        ts: Its time [ns] when the file was opened.
        counts: Entries per log.
    """

    def __init__(self, opening: Opening) -> None:
        """Open, check, migrate.

        Raises:
            StoreLocked: Another process has the file.
            StoreNewer: The file is newer than the program.
            StoreCorrupt: The file fails its check.
        """
        self._opening = opening
        self._driver = opening.driver
        with ExitStack() as undo:
            self.connection = self._connect()
            undo.callback(self.connection.close)
            self._start()
            undo.pop_all()

    # -- opening -------------------------------------------------------------------------------

    def _connect(self) -> Connection:
        path = self._opening.path
        if path is None:
            return self._driver.connect(":memory:")
        with self._translated(), ExitStack() as undo:
            connection = self._driver.connect(str(path))
            undo.callback(connection.close)
            configure(connection)
            undo.pop_all()
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn SQLite's errors at opening into ours."""
        path = self._opening.path
        try:
            yield
        except self._driver.errors as error:
            code = self._driver.code(error)
            if path is not None and code in {BUSY, LOCKED}:
                raise StoreLocked(path, None) from error
            if code in _DAMAGE:
                raise StoreCorrupt(path, str(error)) from error
            raise

    def _start(self) -> None:
        path, migrations = self._opening.path, self._opening.migrations
        with self._translated():
            found = version(self.connection)
            if found > len(migrations):
                assert path is not None
                raise StoreNewer(path, found, len(migrations))
            if found:
                self._check()
            if found < len(migrations):
                if found and path is not None:
                    self.backup(path.with_name(f"{path.name}.v{found}"))
                with self._transaction():
                    migrate(self.connection, migrations, found)
            with self._transaction():
                self.id = self._identify()
                self._note("open", "1")
            head = note(self.connection, "head")
            self.hash = (
                bytes.fromhex(head.split(" ")[1])
                if head
                else genesis(note(self.connection, "origin") or "")
            )
            prepare(self.connection)
            self.seq = number(self.connection, "SELECT max(seq) FROM journal")
            self.ts = number(self.connection, "SELECT ts FROM journal ORDER BY seq DESC LIMIT 1")
            if self.seq != (int(head.split(" ")[0]) if head else 0):
                raise StoreCorrupt(path, f"last row is {self.seq}, the head says {head}")
            self.counts: dict[Log, int] = {
                log: number(self.connection, f"SELECT max(n) FROM {log}")  # noqa: S608 - our names
                for log in LOGS
            }

    def _check(self) -> None:
        """Quick after a clean stop, full after any other."""
        clean = note(self.connection, "open") is None
        sql = "PRAGMA quick_check(1)" if clean else "PRAGMA integrity_check(1)"
        row = one(self.connection, sql)
        if row is None or row[0] != "ok":
            raise StoreCorrupt(self._opening.path, str(row[0]) if row else "no answer")

    def _identify(self) -> str:
        """Read the journal's id; a new file and a restored backup get a new one.

        A backup may hold fewer entries than clients have seen. Under the old id their positions would be taken for
        valid and the next entries, numbered again, would look like those they have.
        """
        known = note(self.connection, "journal_id")
        if known is not None and note(self.connection, "copy") is None:
            return known
        made = self._opening.new_id()
        if known is None:
            self._note("origin", made)
        self._note("journal_id", made)
        self.connection.execute("DELETE FROM meta WHERE name = 'copy'")
        return made

    def _note(self, name: str, value: str) -> None:
        self.connection.execute(
            "INSERT INTO meta(name, value) VALUES (?, ?) ON CONFLICT(name) DO UPDATE SET value = excluded.value",
            (name, value),
        )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with ExitStack() as undo:
            self.connection.execute("BEGIN IMMEDIATE")
            undo.callback(self._rollback)
            yield
            self.connection.execute("COMMIT")
            undo.pop_all()

    def _rollback(self) -> None:
        # SQLite may have rolled back itself; "no transaction is active" is exactly what is wanted.
        with suppress(*self._driver.errors):
            self.connection.execute("ROLLBACK")

    # -- writing -------------------------------------------------------------------------------

    def commit(self, batch: Sequence[Pending]) -> None:
        """Write rows and their projections in one transaction, durable on return.

        Args:
            batch: Rows in order, the first one right after `seq`.
        """
        params, before, counts = self._made(batch)
        if any(isinstance(text, str) and _NUL in text for text in params):
            # SQLite ends a text of a JSON at its first NUL: the row would not be the one that its hash is of.
            params, before, counts = self._made([_without_nul(row) for row in batch])
        # One statement outside a transaction is a transaction.
        self.connection.execute(COMMIT, params)
        self.hash, self.counts, self.seq = before, counts, batch[-1].seq

    def _made(self, batch: Sequence[Pending]) -> tuple[Sequence[Value], bytes, dict[Log, int]]:
        """Make the parameters of `COMMIT`, the last hash and the new counts."""
        before, counts = self.hash, dict(self.counts)
        content = _Content()
        for row in batch:
            entries: Sequence[bytes] = ()
            if row.project:
                entries = content.project(row, counts)
            before = link(before, row, entries)
            content.journal(row, before)
        return content.params(f"{batch[-1].seq} {before.hex()}"), before, counts

    def adopt(self, table: Keyed, rows: Sequence[tuple[str, int, Sequence[Cell], bytes]]) -> int:
        """Write salvaged rows of a keyed table as they were: (key, ts, columns, body). Gives their number."""
        content = _Content()
        for key, ts, cols, body in rows:
            content.keyed(table, key, ts, cols, body)
        self.connection.execute(COMMIT, content.params(None))
        return len(rows)

    def prune(self, table: Keyed, keep: Keep) -> bool:
        """Delete some of the oldest rows of a table, at most `_PRUNED`; whether there may be more.

        The time up to which rows are gone is noted, so that a comparison with the journal can leave them out.
        """
        connection = self.connection
        kept = f"SELECT ts FROM {table} ORDER BY ts DESC LIMIT 1 OFFSET ?"  # noqa: S608 - our names
        oldest = number(connection, kept, (keep.rows - 1,))
        since = max(number(connection, f"SELECT max(ts) FROM {table}") - keep.ns, oldest)  # noqa: S608 - our names
        sql = f"SELECT key, ts FROM {table} WHERE ts < ? ORDER BY ts LIMIT ?"  # noqa: S608 - our names
        old = list(connection.execute(sql, (since, _PRUNED)))
        if not old:
            return False
        with self._transaction():
            keys = orjson.dumps([key for key, _ in old]).decode()
            doomed = f"DELETE FROM {table} WHERE key IN (SELECT value FROM json_each(?))"  # noqa: S608 - our names
            connection.execute(doomed, (keys,))
            self._note(f"pruned {table}", str(old[-1][1]))
        return len(old) == _PRUNED

    # -- reading and keeping ---------------------------------------------------------------------

    def walk(self, after: int = 0) -> Walk:
        """Begin to read the journal behind a row, 0 for all of it, proving the chain from there on.

        Raises:
            Broken: There is no such row.
        """
        return Walk(self.connection, after)

    def backup(self, target: Path, between: Callable[[], None] = lambda: None) -> None:
        """Copy the file while it is in use, and put the copy in place at once.

        Args:
            target: The copy; an older one is replaced.
            between: Called after each step of about 1 MiB; may commit rows and read, and ends the copy by raising.
        """
        part = target.with_name(target.name + ".part")
        discard(part)
        with ExitStack() as undo:
            # Half a copy that stays would keep a full disk full.
            undo.callback(discard, part)
            self._driver.backup(self.connection, str(part), _BACKUP_PAGES, between)
            with closing(self._driver.connect(str(part))) as copy:
                # One file, without a log beside it that a person would forget to copy.
                copy.execute("PRAGMA journal_mode = DELETE")
                copy.execute("INSERT OR REPLACE INTO meta(name, value) VALUES ('copy', '1')")
                copy.execute("DELETE FROM meta WHERE name = 'open'")
            publish(part, target)
            undo.pop_all()

    def close(self, *, clean: bool) -> None:
        """Close the file; `clean` spares the next start the full check."""
        with closing(self.connection):
            if clean:
                with self._transaction():
                    self.connection.execute("DELETE FROM meta WHERE name = 'open'")


def configure(connection: Connection) -> None:
    """Make a connection ours alone and every commit durable, and read back that it is so."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    mode = one(connection, "PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -8000")
    full = number(connection, "PRAGMA synchronous")
    if mode is None or mode[0] != "wal" or full != 2:
        raise RuntimeError(
            f"SQLite gave journal_mode {mode} and synchronous {full}, needed wal and 2"
        )


def _without_nul(row: Pending) -> Pending:
    """Put the sign for what cannot be shown in place of each NUL in a key or a column; bodies keep theirs."""

    def shown(cell: Cell) -> Cell:
        return cell.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(cell, str) else cell

    return row._replace(
        key=str(shown(row.key)),
        project=[
            made._replace(
                key=str(shown(made.key)),
                cols={name: shown(cell) for name, cell in made.cols.items()},
            )
            for made in row.project
        ],
    )


class _Content:
    """Gathers a batch in the form that `COMMIT` takes."""

    def __init__(self) -> None:
        self._rows: dict[str, list[list[Cell]]] = {}
        self._keyed: dict[str, dict[str, list[Cell]]] = {}
        self._bodies: list[bytes] = []
        self._end = 1  # SQL counts bytes from 1
        self._hashes: list[bytes] = []

    def _place(self, body: bytes) -> tuple[int, int]:
        at, size = self._end, len(body)
        self._bodies.append(body)
        self._end += size
        return at, size

    def journal(self, row: Pending, digest: bytes) -> None:
        """Add a row of the journal."""
        cells: list[Cell] = [row.seq, row.ts, row.kind, row.key, *self._place(row.body)]
        self._rows.setdefault("journal", []).append(cells)
        self._hashes.append(digest)

    def keyed(self, table: str, key: str, ts: int, cols: Sequence[Cell], body: bytes) -> None:
        """Add a row of a keyed table; the last one with a key wins."""
        self._keyed.setdefault(table, {})[key] = [key, ts, *cols, *self._place(body)]

    def project(self, row: Pending, counts: dict[Log, int]) -> Sequence[bytes]:
        """Add the projections of a row; give its log entries as the chain wants them."""
        encoded: list[tuple[int, int, bytes]] = []
        for table, key, ts, given, body in row.project:
            cols: list[Cell] = [given.get(name) for name in COLUMNS[table]]
            if table in ORDER:
                n = counts[table] = counts[table] + 1
                place = (None, None) if body is None else self._place(body)
                self._rows.setdefault(table, []).append([n, row.seq, key, ts, *cols, *place])
                encoded.append((ORDER[table], n, encode(table, n, key, ts, cols, body)))
            else:
                self.keyed(table, key, ts, cols, row.body if body is None else body)
        if len(encoded) > 1:
            encoded.sort()
        return [entry for _, _, entry in encoded]

    def params(self, head: str | None) -> Sequence[Value]:
        """Give the parameters of `COMMIT`."""
        tables: dict[str, list[list[Cell]]] = dict(self._rows)
        for table, latest in self._keyed.items():
            tables[table] = list(latest.values())
        return (
            *(orjson.dumps(tables[name]).decode() if name in tables else None for name in SOURCES),
            b"".join(self._bodies),
            b"".join(self._hashes),
            head,
        )
