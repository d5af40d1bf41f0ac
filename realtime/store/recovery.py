"""Proof and salvage of a journal: what an operator runs when something looks wrong.

Rules of this file: (1) salvage reads a copy, the damaged file stays as it is; (2) what could not be read is named,
never filled in; (3) a salvaged file is a new journal with a new id: positions of the old one mean nothing in it.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, cast

from realtime.store.chain import Broken, Walk, encode, link
from realtime.store.driver import BUSY, LOCKED, Connection, Driver, Sqlite, Value
from realtime.store.files import FileLock, publish
from realtime.store.journal import Journal, Opening
from realtime.store.rows import (
    LOGS,
    Cell,
    Keyed,
    Pending,
    Projection,
    Row,
    Salvage,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
    Verdict,
)
from realtime.store.schema import COLUMNS, KEYED, MIGRATIONS, version


_PAGE: Final = 2_000
_BATCH: Final = 256
# Numbers tried one by one around a damaged page, and misses in a line after which a table is given up.
_WINDOW: Final = 200
_GIVE_UP: Final = 20_000
_NOT_A_DATABASE: Final = 26


def step(walk: Walk, page: int) -> Verdict | None:
    """Prove one page; the verdict at the end or at the first break, None between."""
    try:
        if walk.page(page):
            return None
    except Broken as broken:
        return Verdict(
            ok=False,
            rows=walk.seq,
            head=walk.hash.hex(),
            broken_at=broken.seq,
            reason=broken.reason,
        )
    return Verdict(ok=True, rows=walk.seq, head=walk.hash.hex())


def verify(
    path: Path,
    driver: Driver | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> Verdict:
    """Prove the chain of a journal that no process has open, or of a backup.

    Args:
        path: The file.
        driver: Another SQLite, for tests.
        progress: Told the number of rows proven, now and then.

    Raises:
        StoreLocked: A process has it open; ask that one.
        StoreNewer: It was written by a newer program.
        StoreCorrupt: SQLite cannot read it.
        FileNotFoundError: There is no such file.
    """
    driver = driver or Sqlite()
    with _borrowed(path, driver) as connection:
        walk = Walk(connection)
        while True:
            verdict = step(walk, _PAGE)
            progress(walk.seq)
            if verdict is not None:
                return verdict


def backup(path: Path, target: Path, driver: Driver | None = None) -> None:
    """Copy a journal that no process has open.

    Raises:
        StoreLocked, StoreNewer, StoreCorrupt, FileNotFoundError: As `verify`.
        OSError: The copy could not be written, or would take the place of the journal itself.
    """
    driver = driver or Sqlite()
    with _borrowed(path, driver):
        pass
    own = {path.name + end for end in ("", "-wal", "-shm", ".lock", ".ballast")}
    beside = target.name in own and target.parent.resolve() == path.parent.resolve()
    if beside or (target.exists() and target.samefile(path)):
        raise OSError(f"{target} is the journal itself; name another file")
    lock = FileLock(path)
    try:
        with _writing(target, driver):
            journal = Journal(Opening(path=path, driver=driver, new_id=_no_id))
            try:
                journal.backup(target)
            finally:
                journal.close(clean=True)
    finally:
        lock.release()


@contextmanager
def _writing(target: Path, driver: Driver) -> Iterator[None]:
    """Tell what SQLite says of a new file as what it is, such as a disk that is full."""
    try:
        yield
    except driver.errors as error:
        raise OSError(f"{target} cannot be written: {error}") from error


def _no_id() -> str:
    # Reached only for a file that is itself a backup: copying it must not give it an id that
    # nobody else knows, and the copy is marked again anyway.
    return "copy"


@contextmanager
def reading(path: Path, driver: Driver | None = None) -> Iterator[Connection]:
    """Open a backup to be read; no lock, for nobody writes one.

    Raises:
        StoreCorrupt: SQLite cannot read it, or it is of another version of the program.
    """
    driver = driver or Sqlite()
    connection = driver.connect(str(path))
    try:
        connection.execute("PRAGMA query_only = 1")
        if version(connection) != len(MIGRATIONS):
            raise StoreCorrupt(path, "its schema is not this program's")
        yield connection
    except driver.errors as error:
        raise StoreCorrupt(path, str(error)) from error
    finally:
        connection.close()


@contextmanager
def _borrowed(path: Path, driver: Driver) -> Iterator[Connection]:
    """Open a file that must exist, under the lock, and translate what SQLite says of it."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no journal at {path}")
    lock = FileLock(path)
    try:
        connection = driver.connect(str(path))
        try:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            found = version(connection)
            if found > len(MIGRATIONS):
                raise StoreNewer(path, found, len(MIGRATIONS))
            if found == 0:
                raise StoreCorrupt(path, "no schema: this is not a journal")
            yield connection
        except driver.errors as error:
            if driver.code(error) in {BUSY, LOCKED}:
                raise StoreLocked(path, None) from error
            raise StoreCorrupt(path, str(error)) from error
        finally:
            connection.close()
    finally:
        lock.release()


# -- salvage -----------------------------------------------------------------------------------------


def recover(
    path: Path,
    target: Path,
    *,
    new_id: Callable[[], str],
    driver: Driver | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Salvage:
    """Read what can be read of a damaged journal into a new file.

    Rows keep their order and are numbered anew; so are log entries. Whoever opens the new file has to reconcile
    everything with the venues, because facts may be missing.

    Args:
        path: The damaged file; it is not changed.
        target: The new file; must not exist.
        new_id: Makes the new journal's id.
        driver: Another SQLite, for tests.
        progress: Told the number of rows written, now and then.

    Raises:
        FileExistsError: The new file exists.
        FileNotFoundError: The damaged one does not.
        StoreLocked: A process has it open.
        StoreCorrupt: Not one row could be read.
        OSError: The new file could not be written.
    """
    driver = driver or Sqlite()
    if target.exists():
        raise FileExistsError(f"{target} exists already; name a new file")
    if not path.is_file():
        raise FileNotFoundError(f"there is no journal at {path}")
    lock = FileLock(path)
    try:
        with TemporaryDirectory(dir=target.parent, prefix="recover-") as folder:
            copy = Path(folder) / "damaged.db"
            shutil.copyfile(path, copy)
            log = path.with_name(path.name + "-wal")
            if log.is_file():
                shutil.copyfile(log, copy.with_name("damaged.db-wal"))
            ready = Path(folder) / "ready.db"
            with _writing(target, driver):
                result = _salvage(_Damaged(copy, driver), ready, new_id, driver, progress)
            if not result.rows:
                raise StoreCorrupt(path, "not one row of its journal can be read")
            publish(ready, target)
    finally:
        lock.release()
    return result


class _Damaged:
    """A file of which any read may fail."""

    def __init__(self, path: Path, driver: Driver) -> None:
        self._driver = driver
        self._hopeless = False
        self._connection = driver.connect(str(path))
        # Without shared memory, so that a log beside the file is read as well.
        self._try(lambda: list(self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")))

    def close(self) -> None:
        self._connection.close()

    def _try(self, read: Callable[[], list[tuple[Value, ...]]]) -> list[tuple[Value, ...]] | None:
        try:
            return read()
        except self._driver.errors as error:
            self._hopeless = self._driver.code(error) == _NOT_A_DATABASE
            return None

    def _select(self, sql: str, *params: Value) -> list[tuple[Value, ...]] | None:
        return self._try(lambda: [tuple(row) for row in self._connection.execute(sql, params)])

    def rows(
        self, table: str, number_column: str, columns: Sequence[str]
    ) -> Iterator[tuple[Value, ...]]:
        """Read a table by its integer key, a window at a time, row by row where a window fails."""
        names = ",".join((number_column, *columns))
        between = f"SELECT {names} FROM {table} WHERE {number_column} BETWEEN ? AND ? ORDER BY 1"  # noqa: S608 - our names
        top = self._select(f"SELECT max({number_column}) FROM {table}")  # noqa: S608 - our names
        last = top[0][0] if top else None
        if top and last is None:
            return
        at = misses = 0
        while not self._hopeless and misses < _GIVE_UP and (not isinstance(last, int) or at < last):
            found = self._select(between, at + 1, at + _WINDOW)
            if found is None:
                found = []
                for place in range(at + 1, at + _WINDOW + 1):
                    found += self._select(between, place, place) or []
            misses = 0 if found else misses + _WINDOW
            at += _WINDOW
            yield from found


def _salvage(
    damaged: _Damaged,
    target: Path,
    new_id: Callable[[], str],
    driver: Driver,
    progress: Callable[[int], None],
) -> Salvage:
    try:
        entries = _read_entries(damaged)
        journal = Journal(Opening(path=target, driver=driver, new_id=new_id))
        try:
            missing, altered, written = _copy(damaged, entries, journal, progress)
            for table in KEYED:
                written += journal.adopt(table, _read_keyed(damaged, table))
            result = Salvage(
                rows=journal.seq,
                missing=tuple(missing),
                altered=tuple(altered),
                entries=written,
            )
        finally:
            journal.close(clean=True)
    finally:
        damaged.close()
    return result


Entries = dict[int, list[tuple[Projection, bytes]]]


def _read_entries(damaged: _Damaged) -> Entries:
    """Read the log entries with their encodings for the old chain, by journal row."""
    found: Entries = {}
    for log in LOGS:
        names = COLUMNS[log]
        for n, seq, key, ts, body, *cols in damaged.rows(
            log, "n", ("seq", "key", "ts", "body", *names)
        ):
            if not (isinstance(seq, int) and isinstance(key, str) and isinstance(ts, int)):
                continue
            if not (body is None or isinstance(body, bytes)):
                continue
            cells = cast("list[Cell]", cols)
            projection = Projection(log, key, ts, dict(zip(names, cells, strict=True)), body)
            found.setdefault(seq, []).append((projection, encode(log, n, key, ts, cells, body)))
    return found


def _read_keyed(damaged: _Damaged, table: Keyed) -> list[tuple[str, int, list[Cell], bytes]]:
    return [
        (key, ts, cast("list[Cell]", cols), body)
        for _, key, ts, body, *cols in damaged.rows(
            table, "rowid", ("key", "ts", "body", *COLUMNS[table])
        )
        if isinstance(key, str) and isinstance(ts, int) and isinstance(body, bytes)
    ]


def _copy(
    damaged: _Damaged, entries: Entries, journal: Journal, progress: Callable[[int], None]
) -> tuple[list[tuple[int, int]], list[int], int]:
    missing: list[tuple[int, int]] = []
    altered: list[int] = []
    written = 0
    batch: list[Pending] = []
    last, before = 0, b""
    for seq, ts, kind, key, body, stored in damaged.rows(
        "journal", "seq", ("ts", "kind", "key", "body", "hash")
    ):
        assert isinstance(seq, int)
        if seq > last + 1:
            missing.append((last + 1, seq - 1))
        fits = isinstance(ts, int) and isinstance(kind, str) and isinstance(key, str)
        if not (fits and isinstance(body, bytes) and isinstance(stored, bytes)):
            missing.append((seq, seq))
            last, before = seq, b""
            continue
        row = Row(seq, cast("int", ts), cast("str", kind), cast("str", key), body)
        own = entries.get(seq, [])
        # Without the row before it there is no hash to judge this one by.
        if before and seq == last + 1 and link(before, row, [text for _, text in own]) != stored:
            altered.append(seq)
        last, before = seq, stored
        number_now = journal.seq + len(batch) + 1
        batch.append(
            Pending(
                number_now, row.ts, row.kind, row.key, row.body, None, [entry for entry, _ in own]
            )
        )
        written += len(own)
        if len(batch) == _BATCH:
            journal.commit(batch)
            batch = []
            progress(journal.seq)
    if batch:
        journal.commit(batch)
        progress(journal.seq)
    return missing, altered, written
