"""Salvage of damaged journals, and copies made without a server."""

# ruff: noqa: ASYNC240 - small files and one process of the test's own

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from realtime.store import StoreCorrupt, StoreLocked, backup, recover, verify
from realtime.store.driver import Connection, Sqlite
from tests.store import proof
from tests.store.kit import Life, facts, ids, opened, project


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def filled(path: Path, count: int) -> dict[int, bytes]:
    life = Life()
    life.store = await opened(path)
    for kind, key, body in facts(count):
        life.add(kind, key, body)
    await life.store.close()
    return life.bodies


async def rows_of(path: Path) -> tuple[str, list[bytes], str | None]:
    store = await opened(path, new_id=ids("never"))
    found = [row.body async for page in store.replay() for row in page]
    whole = await proof.difference(store, project)
    await store.close()
    return store.journal_id, found, whole


async def test_a_whole_journal_is_taken_over_whole_under_a_new_id(tmp_path: Path) -> None:
    bodies = await filled(tmp_path / "j.db", 700)
    told: list[int] = []
    result = recover(tmp_path / "j.db", tmp_path / "new.db", new_id=ids("j7"), progress=told.append)
    journal_id, found, whole = await rows_of(tmp_path / "new.db")

    assert (result.rows, result.missing, result.altered) == (700, (), ())
    assert result.entries == 3 * 140 + 140 + 70 + 70
    assert found == list(bodies.values())
    assert (journal_id, whole) == ("j7", None)
    assert told == [256, 512, 700]
    assert sorted(path.name for path in tmp_path.glob("new*")) == [
        "new.db",
        "new.db.ballast",
        "new.db.lock",
    ]


async def test_what_a_broken_page_held_is_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    bodies = await filled(path, 2_000)
    before = path.read_bytes()
    image = bytearray(before)
    at = image.index(bodies[1_000])
    page = at // 4096 * 4096
    image[page : page + 4096] = b"\xff" * 4096
    path.write_bytes(image)
    with pytest.raises(StoreCorrupt):
        await opened(path)
    damaged = path.read_bytes()
    result = recover(path, tmp_path / "new.db", new_id=ids("j7"))
    _, found, _ = await rows_of(tmp_path / "new.db")
    gone = {seq for first, last in result.missing for seq in range(first, last + 1)}

    assert 1_000 in gone
    assert len(gone) < 60
    assert found == [body for seq, body in bodies.items() if seq not in gone]
    assert path.read_bytes() == damaged
    assert verify(tmp_path / "new.db").ok


async def test_a_row_behind_a_missing_one_is_not_called_altered(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    bodies = await filled(path, 40)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM journal WHERE seq IN (10, 11, 30)")
    result = recover(path, tmp_path / "new.db", new_id=ids("j7"))

    assert (result.missing, result.altered) == (((10, 11), (30, 30)), ())
    assert result.rows == len(bodies) - 3


async def test_an_altered_row_is_kept_and_named(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path, 60)
    raw = sqlite3.connect(path)
    with raw:
        raw.execute("UPDATE journal SET key = 'o-x' WHERE seq = 20")
        raw.execute("UPDATE journal SET ts = 'x' WHERE seq = 40")
        raw.execute("UPDATE events SET seq = 'x' WHERE n = 2")
        raw.execute("UPDATE events SET body = 'text' WHERE n = 3")
        raw.execute("UPDATE days SET ts = 'x' WHERE key = (SELECT min(key) FROM days)")
        raw.execute("DELETE FROM orders")
    raw.close()
    result = recover(path, tmp_path / "new.db", new_id=ids("j7"))

    assert result.altered == (7, 12, 20)
    assert result.missing == ((40, 40),)
    assert result.rows == 59


async def test_rows_of_the_log_beside_the_file_are_salvaged_too(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    life = Life()
    life.store = await opened(path)
    for kind, key, body in facts(40):
        life.add(kind, key, body)
    while life.store.waiting:
        await life.store.count("fills")
    (tmp_path / "crash").mkdir()
    for name in ("j.db", "j.db-wal"):
        (tmp_path / "crash" / name).write_bytes((tmp_path / name).read_bytes())
    await life.store.close()
    result = recover(tmp_path / "crash" / "j.db", tmp_path / "new.db", new_id=ids("j7"))

    assert result.rows == 40


async def test_recovery_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path, 5)
    (tmp_path / "there.db").touch()
    with pytest.raises(FileExistsError):
        recover(path, tmp_path / "there.db", new_id=ids("j7"))
    with pytest.raises(FileNotFoundError):
        recover(tmp_path / "none.db", tmp_path / "new.db", new_id=ids("j7"))
    store = await opened(path)
    with pytest.raises(StoreLocked):
        recover(path, tmp_path / "new.db", new_id=ids("j7"))
    await store.close()
    (tmp_path / "text.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StoreCorrupt, match="not one row"):
        recover(tmp_path / "text.db", tmp_path / "new.db", new_id=ids("j7"))

    assert not (tmp_path / "new.db").exists()
    assert not list(tmp_path.glob("recover-*"))


async def test_a_stopped_journal_can_be_copied(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    await filled(path, 30)
    backup(path, tmp_path / "copy.db")
    backup(tmp_path / "copy.db", tmp_path / "second.db")
    store = await opened(tmp_path / "second.db", new_id=ids("j8"))
    await store.close()

    assert verify(path) == verify(tmp_path / "copy.db")
    assert (store.journal_id, store.seq) == ("j8", 30)


class Full(Sqlite):
    """A disk that has no room for what is salvaged."""

    def connect(self, path: str) -> Connection:
        connection = super().connect(path)
        if path.endswith("ready.db"):
            connection.execute("PRAGMA max_page_count = 2")
        return connection


async def test_a_copy_that_cannot_be_written_is_told_as_what_it_is(tmp_path: Path) -> None:
    """Found by a run: a folder that is not there, or a full disk, ended the command in a traceback."""
    path = tmp_path / "j.db"
    await filled(path, 5)

    with pytest.raises(OSError, match=r"copy\.db cannot be written: unable to open"):
        backup(path, tmp_path / "missing" / "copy.db")
    (tmp_path / "link.db").symlink_to(path)
    for own in ("link.db", "j.db.lock", "j.db.ballast", "j.db-wal"):
        with pytest.raises(OSError, match="is the journal itself"):
            backup(path, tmp_path / own)
    with pytest.raises(OSError, match=r"new\.db cannot be written: database or disk is full"):
        recover(path, tmp_path / "new.db", new_id=ids("j7"), driver=Full())
    left = sorted(found.name for found in tmp_path.iterdir())
    assert left == ["j.db", "j.db.ballast", "j.db.lock", "link.db"]
    assert verify(path).rows == 5
