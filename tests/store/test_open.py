"""Opening: locks, schemas, checks; and the files beside the journal."""

# ruff: noqa: ASYNC220, ASYNC240 - small files and one process of the test's own

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from realtime.store import (
    Sizes,
    Space,
    Sqlite,
    Store,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
    files,
)
from realtime.store.driver import Connection
from realtime.store.files import Ballast, FileLock, rotate, space
from realtime.store.journal import configure
from realtime.store.schema import MIGRATIONS
from tests.store import proof
from tests.store.kit import Life, facts, ids, opened, project, settled, ticking


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def filled(path: Path, count: int = 40, **options: object) -> None:
    store = await opened(path, **options)
    life = Life()
    life.store = store
    for kind, key, body in facts(count):
        life.add(kind, key, body)
    assert await store.close() == 0


@pytest.mark.promise("O14")
async def test_a_second_store_in_one_process_is_refused_with_the_owners_pid(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    with pytest.raises(StoreLocked) as refused:
        await opened(tmp_path / "j.db")
    await store.close()
    again = await opened(tmp_path / "j.db")
    await again.close()

    assert refused.value.pid == os.getpid()
    assert str(os.getpid()) in str(refused.value)


HOLD = """
import asyncio, sys
from pathlib import Path
from realtime.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]), now=lambda: 1, new_id=lambda: "j1")
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await store.close()

asyncio.run(main())
"""


@pytest.mark.promise("O14")
async def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(StoreLocked) as refused:
            await opened(path)
        process.kill()
    store = await opened(path)
    await store.close()

    assert refused.value.pid == process.pid


async def test_sqlites_own_lock_refuses_where_the_side_file_was_deleted(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    (tmp_path / "j.db.lock").unlink()
    with pytest.raises(StoreLocked) as refused:
        await opened(tmp_path / "j.db")
    await store.close()

    assert refused.value.pid is None


def test_a_lock_file_with_rubbish_in_it_names_nobody(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "j.db")
    (tmp_path / "j.db.lock").write_text("rubbish")
    with pytest.raises(StoreLocked, match="unknown") as refused:
        FileLock(tmp_path / "j.db")
    lock.release()

    assert refused.value.pid is None


async def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path, migrations=(*MIGRATIONS, "CREATE TABLE later(x)"))
    with pytest.raises(StoreNewer) as refused:
        await opened(path)
    again = await opened(path, migrations=(*MIGRATIONS, "CREATE TABLE later(x)"))
    await again.close()

    assert (refused.value.found, refused.value.known) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
    assert again.seq == 40


async def test_a_migration_keeps_the_rows_and_a_copy_of_before(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path)
    newer = (*MIGRATIONS, "ALTER TABLE days ADD COLUMN tz TEXT; CREATE TABLE later(x)")
    store = await opened(path, migrations=newer)
    whole = await proof.difference(store, project)
    await store.close()
    old = sqlite3.connect(tmp_path / f"j.db.v{len(MIGRATIONS)}")

    assert whole is None
    assert store.journal_id == "j1"
    assert old.execute("SELECT count(*) FROM journal").fetchone() == (40,)
    assert old.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    old.close()


async def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path)
    broken = (*MIGRATIONS, "CREATE TABLE later(x); SELECT no_such_function()")
    with pytest.raises(StoreCorrupt):
        await opened(path, migrations=broken)
    store = await opened(path)
    await store.close()

    assert store.seq == 40


async def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"this is not a database, it is a letter to a friend" * 100)
    with pytest.raises(StoreCorrupt, match="journal recover"):
        await opened(path)

    assert path.read_bytes().startswith(b"this is not")


async def test_a_cut_tail_is_noticed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path)
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("DELETE FROM journal WHERE seq > 35")
    raw.close()
    with pytest.raises(StoreCorrupt, match="35"):
        await opened(path)


class Shy(Sqlite):
    """Notes which check was made."""

    def __init__(self) -> None:
        self.checks: list[str] = []

    def connect(self, path: str) -> Connection:
        connection = super().connect(path)
        raw = connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_trace_callback(self.look)
        return connection

    def look(self, sql: str) -> None:
        if "check" in sql:
            self.checks.append(sql)


async def test_the_check_is_quick_after_a_clean_stop_and_full_after_any_other(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.db"
    await filled(path)
    clean = Shy()
    store = await opened(path, driver=clean)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "j.db"
    await settled(store)
    for suffix in ("", "-wal"):
        copy.with_name(f"j.db{suffix}").write_bytes(path.with_name(f"j.db{suffix}").read_bytes())
    await store.close()
    unclean = Shy()
    crashed = await opened(copy, driver=unclean)
    await crashed.close()

    assert clean.checks == ["PRAGMA quick_check(1)"]
    assert unclean.checks == ["PRAGMA integrity_check(1)"]


def test_a_disk_without_a_write_ahead_log_is_refused() -> None:
    connection = Sqlite().connect(":memory:")
    with pytest.raises(RuntimeError, match="needed wal"):
        configure(connection)
    connection.close()


# -- backups ---------------------------------------------------------------------------------------


async def test_a_backup_holds_the_rows_and_gets_its_own_id_when_it_is_used(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    life = Life()
    life.store = store
    for kind, key, body in facts(60):
        life.add(kind, key, body)
    await settled(store)
    await store.backup(tmp_path / "copy.db")
    life.add("state", "", b"{}")
    await store.close()
    restored = await opened(tmp_path / "copy.db", new_id=ids("j9"))
    whole = await proof.difference(restored, project)
    again_id = restored.journal_id
    await restored.close()
    later = await opened(tmp_path / "copy.db", new_id=ids("never"))
    await later.close()

    assert (restored.seq, whole) == (60, None)
    assert (again_id, later.journal_id) == ("j9", "j9")
    assert sorted(path.name for path in tmp_path.glob("copy*")) == [
        "copy.db",
        "copy.db.ballast",
        "copy.db.lock",
    ]


class Stepwise(Sqlite):
    """A backup that goes on when the test says so."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def backup(
        self, source: Connection, target: str, pages: int, between: Callable[[], None]
    ) -> None:
        def step() -> None:
            assert self.go.wait(10)
            between()

        super().backup(source, target, pages, step)


async def test_rows_are_committed_while_a_backup_runs(tmp_path: Path) -> None:
    driver = Stepwise()
    store = await opened(tmp_path / "j.db", driver=driver)
    for _ in range(3_000):
        store.append("state", "", b"x" * 1_000)
    await settled(store)
    told: list[bool] = []
    async with asyncio.TaskGroup() as group:
        copying = group.create_task(store.backup(tmp_path / "copy.db"))
        await asyncio.sleep(0)
        at = store.append("state", "", b"{}", lambda _: told.append(copying.done()))
        driver.go.set()
    await store.close()
    copy = sqlite3.connect(tmp_path / "copy.db")
    rows = copy.execute("SELECT max(seq) FROM journal").fetchone()
    copy.close()

    assert told == [False]
    assert rows == (at,)


async def test_questions_are_answered_while_a_backup_runs(tmp_path: Path) -> None:
    """Found with 60,000 orders: one who asked for an old order waited two seconds, until all was copied."""
    driver = Stepwise()
    store = await opened(tmp_path / "j.db", driver=driver)
    for _ in range(3_000):
        store.append("state", "", b"x" * 1_000)
    await settled(store)
    async with asyncio.TaskGroup() as group:
        copying = group.create_task(store.backup(tmp_path / "copy.db"))
        await asyncio.sleep(0)
        at = store.append("state", "", b"{}")
        asking = group.create_task(store.hash_of(at))
        asking.add_done_callback(lambda _: told.append(copying.done()))
        told: list[bool] = []
        await asyncio.sleep(0)
        driver.go.set()
    await store.close()

    assert told == [False]
    assert asking.result() is not None, "the answer knows the rows put before the question"


async def test_a_stop_does_not_wait_for_a_backup(tmp_path: Path) -> None:
    driver = Stepwise()
    store = await opened(tmp_path / "j.db", driver=driver)
    for _ in range(3_000):
        store.append("state", "", b"x" * 1_000)
    await settled(store)
    copying = asyncio.create_task(store.backup(tmp_path / "copy.db"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0)
    driver.go.set()
    with pytest.raises(OSError, match="the server is stopping"):
        await copying

    assert await closing == 0
    assert list(tmp_path.glob("copy*")) == []


async def test_a_backup_reaches_the_disk_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found with 60,000 orders: SQLite flushed 330 MB in its last step, and orders waited 350 ms for that."""
    synced: list[int] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        real(handle)

    store = await opened(tmp_path / "j.db")
    for _ in range(5_000):
        store.append("state", "", b"x" * 1_000)
    await settled(store)
    monkeypatch.setattr(os, "fsync", fsync)
    await store.backup(tmp_path / "copy.db")
    await store.close()

    copied = [size for size in synced if size]
    assert max(two - one for one, two in pairwise([0, *copied])) <= 4 * 1024 * 1024


async def test_a_backup_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    target = tmp_path / "copy.db"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        await store.backup(target)
    store.append("state", "", b"{}")
    assert await store.close() == 0
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]


class Full(Sqlite):
    """No room for a copy."""

    def backup(self, source: Connection, target: str, *_: object) -> None:
        Path(target).write_bytes(b"half of it")
        Path(target + "-journal").touch()
        raise sqlite3.OperationalError("database or disk is full")


async def test_what_sqlite_says_of_a_backup_is_told_as_what_it_is(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db", driver=Full())
    with pytest.raises(OSError, match=r"copy\.db: database or disk is full"):
        await store.backup(tmp_path / "missing" / "copy.db")
    store.append("state", "", b"{}")
    assert await store.close() == 0
    assert list((tmp_path / "missing").iterdir()) == [], "half a copy would keep the disk full"


async def test_only_the_newest_backups_are_kept(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db", sizes=Sizes(backups=2))
    made = [await store.backup_into(tmp_path / "backups") for _ in range(4)]
    await store.close()

    assert sorted((tmp_path / "backups").iterdir()) == made[2:]


async def test_backups_of_another_account_in_the_same_folder_are_left(tmp_path: Path) -> None:
    """Found here: with 24 backups of `j-kraken.db` there, each new one of `j.db` was deleted as the oldest."""
    sizes = Sizes(backups=2, ballast=0)
    first = await opened(tmp_path / "j.db", sizes=sizes)
    other = await opened(tmp_path / "j-kraken.db", sizes=sizes)
    others = [await other.backup_into(tmp_path / "backups") for _ in range(2)]
    made = [await first.backup_into(tmp_path / "backups") for _ in range(3)]
    await first.close()
    await other.close()

    assert sorted((tmp_path / "backups").iterdir()) == [*made[1:], *others]


async def test_a_name_with_signs_of_a_pattern_is_a_name(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j[1]*.db", sizes=Sizes(backups=1))
    made = [await store.backup_into(tmp_path / "backups") for _ in range(2)]
    await store.close()

    assert list((tmp_path / "backups").iterdir()) == made[1:]


async def test_a_backup_is_the_newest_whatever_the_clock_says(tmp_path: Path) -> None:
    """Found here: with the clock set back each new backup was the oldest by name, and deleted at once."""
    ahead = await opened(tmp_path / "j.db", sizes=Sizes(backups=2))
    made = [await ahead.backup_into(tmp_path / "backups") for _ in range(2)]
    await ahead.close()
    behind = await opened(tmp_path / "j.db", sizes=Sizes(backups=2), now=ticking(1_700 * 10**15))
    made += [await behind.backup_into(tmp_path / "backups") for _ in range(2)]
    await behind.close()

    assert sorted((tmp_path / "backups").iterdir()) == made[2:]


async def test_what_a_kill_left_of_a_backup_is_deleted(tmp_path: Path) -> None:
    """Found here: such a file has a name that comes once, and nobody ever deleted it."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in ("j-001700000000000.db.part", "j-001700000000000.db.part-journal"):
        (folder / name).touch()
    store = await opened(tmp_path / "j.db")
    made = await store.backup_into(folder)
    await store.close()

    assert list(folder.iterdir()) == [made]


async def test_no_backup_takes_the_room_that_trading_needs(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db", sizes=Sizes(ballast=0, reducing=2**62))
    with pytest.raises(OSError, match=r"MB free, .* MB are needed"):
        await store.backup_into(tmp_path / "backups")
    await store.close()

    assert list((tmp_path / "backups").iterdir()) == []


def small_disk(monkeypatch: pytest.MonkeyPatch, folder: Path, room: int) -> None:
    """Let the files in a folder be all that takes from the room."""

    def left(_path: Path, _sizes: Sizes) -> Space:
        taken = sum(path.stat().st_blocks * 512 for path in folder.glob("*"))
        return Space(free=room - taken, level="ok")

    monkeypatch.setattr(files, "space", left)


async def with_backup(path: Path, folder: Path) -> tuple[Store, Path, int]:
    """Make a journal and one backup; gives the size of that, too."""
    await filled(path, 2_000)
    store = await opened(path, sizes=Sizes(ballast=0, backups=3, reducing=0))
    made = await store.backup_into(folder)
    return store, made, made.stat().st_blocks * 512


async def test_two_accounts_do_not_both_take_the_last_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found on a disk of 128 MB: each saw the room that only one of them could have."""
    folder = tmp_path / "backups"
    one, first, size = await with_backup(tmp_path / "j.db", folder)
    two, second, _ = await with_backup(tmp_path / "j-kraken.db", folder)
    small_disk(monkeypatch, folder, size * 7 // 2)
    made = await asyncio.gather(
        one.backup_into(folder), two.backup_into(folder), return_exceptions=True
    )
    await one.close()
    await two.close()

    assert [type(what) for what in made].count(OSError) == 1
    assert {first, second} < set(folder.iterdir())
    assert len(list(folder.iterdir())) == 3


async def test_half_a_backup_is_deleted_before_its_room_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    store, first, size = await with_backup(tmp_path / "j.db", folder)
    half = folder / "j-001700000000000.db.part"
    half.write_bytes(b"x" * size)
    small_disk(monkeypatch, folder, size * 5 // 2)
    made = await store.backup_into(folder)
    await store.close()

    assert sorted(folder.iterdir()) == [first, made]


async def test_the_oldest_backups_make_way_and_the_last_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    store, first, size = await with_backup(tmp_path / "j.db", folder)
    small_disk(monkeypatch, folder, size * 5 // 2)
    made = [first] + [await store.backup_into(folder) for _ in range(4)]
    assert sorted(folder.iterdir()) == made[-2:]

    small_disk(monkeypatch, folder, size * 3 // 2)
    with pytest.raises(OSError, match="MB are needed"):
        await store.backup_into(folder)
    await store.close()
    assert sorted(folder.iterdir()) == made[-2:], "nothing is deleted where it does not help"


def test_rotation_without_anything_to_keep_deletes_all(tmp_path: Path) -> None:
    names = [f"{stem}-{number:015d}.db" for stem in ("a", "b") for number in (1, 2)]
    for name in names:
        (tmp_path / name).touch()

    assert [path.name for path in rotate(tmp_path, "a", 0)] == names[:2]
    assert sorted(path.name for path in tmp_path.iterdir()) == names[2:]


# -- space -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("warn", "reducing", "level"),
    [(0, 0, "ok"), (2**62, 0, "warn"), (2**62, 2**62, "reducing")],
    ids=["ok", "warn", "reducing"],
)
def test_free_space_says_what_it_means(
    tmp_path: Path, warn: int, reducing: int, level: str
) -> None:
    found = space(tmp_path / "j.db", Sizes(warn=warn, reducing=reducing))

    assert found.level == level
    assert found.free > 0


@pytest.mark.parametrize(
    ("free", "level"), [(50, "reducing"), (51, "warn"), (200, "warn"), (201, "ok")]
)
def test_free_space_is_judged_by_the_bounds_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    class Disk:
        f_bavail = free
        f_frsize = 4096

    monkeypatch.setattr(os, "statvfs", lambda _path: Disk)
    found = space(tmp_path / "j.db", Sizes(warn=200 * 4096 + 1, reducing=50 * 4096 + 1))

    assert (found.free, found.level) == (free * 4096, level)


def test_a_finished_file_is_on_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, target = tmp_path / "ready", tmp_path / "target"
    ready.write_text("new")
    target.write_text("old")
    synced: list[tuple[Path, str]] = []
    monkeypatch.setattr(files, "sync", lambda path: synced.append((path, target.read_text())))
    files.publish(ready, target)

    assert synced == [(ready, "old"), (tmp_path, "new")]


async def test_a_store_reports_its_space(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db", sizes=Sizes(warn=2**62))
    found = store.space()
    await store.close()

    assert found is not None
    assert found.level == "warn"


def test_ballast_takes_real_room_and_is_made_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "j.db", 100_000)

    assert ballast.make()
    assert ballast.make()
    assert (tmp_path / "j.db.ballast").stat().st_blocks * 512 >= 100_000
    assert ballast.held
    assert ballast.drop()
    assert not ballast.drop()
    assert not ballast.held


def test_ballast_without_room_is_not_there(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "j.db", 2**62)

    assert not ballast.make()
    assert not ballast.held
