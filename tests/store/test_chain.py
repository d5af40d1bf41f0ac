"""The hash chain: promise S8, any change of a row is found."""

# ruff: noqa: ASYNC240 - small files and one process of the test's own

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from realtime.store import StoreCorrupt, StoreLocked, StoreNewer, verify
from realtime.store.chain import encode, genesis, link
from realtime.store.rows import Row
from realtime.store.schema import MIGRATIONS
from tests.store import proof
from tests.store.kit import Life, facts, ids, opened


ROWS = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed journal with rows of every kind."""
    import asyncio  # noqa: PLC0415 - only this fixture runs a loop of its own

    path = tmp_path_factory.mktemp("chain") / "j.db"

    async def fill() -> None:
        life = Life()
        life.store = await opened(path)
        for kind, key, body in facts(ROWS):
            life.add(kind, key, body)
        await life.store.close()

    asyncio.run(fill())
    return path


Change = Callable[[sqlite3.Connection, int, int], None]


def _cells(table: str, column: str, value: str) -> Change:
    def change(raw: sqlite3.Connection, at: int, _: int) -> None:
        number = "seq" if table == "journal" else "n"
        most = raw.execute(f"SELECT max({number}) FROM {table}").fetchone()[0]
        raw.execute(f"UPDATE {table} SET {column} = {value} WHERE {number} = ?", (1 + at % most,))

    return change


def _delete(raw: sqlite3.Connection, at: int, _: int) -> None:
    raw.execute("DELETE FROM journal WHERE seq = ?", (at,))


def _delete_and_close_the_gap(raw: sqlite3.Connection, at: int, _: int) -> None:
    raw.execute("DELETE FROM journal WHERE seq = ?", (at,))
    raw.execute("UPDATE journal SET seq = seq - 1 WHERE seq > ?", (at,))


def _delete_entry(raw: sqlite3.Connection, at: int, _: int) -> None:
    raw.execute("DELETE FROM events WHERE n = ?", (1 + at % (ROWS // 5),))


def _swap(raw: sqlite3.Connection, at: int, other: int) -> None:
    other = other if other != at else 1 + at % ROWS
    for column in ("ts", "kind", "key", "body", "hash"):
        raw.execute(
            f"UPDATE journal SET {column} = (SELECT {column} FROM journal WHERE seq = ? + ? - journal.seq)"
            " WHERE seq IN (?, ?) AND 0",
            (at, other, at, other),
        )
    raw.execute("UPDATE journal SET seq = -1 WHERE seq = ?", (at,))
    raw.execute("UPDATE journal SET seq = ? WHERE seq = ?", (at, other))
    raw.execute("UPDATE journal SET seq = ? WHERE seq = -1", (other,))


def _insert(raw: sqlite3.Connection, at: int, _: int) -> None:
    raw.execute("INSERT INTO journal SELECT max(seq) + 1, ts, kind, key, body, hash FROM journal")


def _insert_entry(raw: sqlite3.Connection, at: int, _: int) -> None:
    raw.execute(
        "INSERT INTO events SELECT max(n) + 1, ?, key, ts, type, bot_id, body FROM events", (at,)
    )


def _cut_the_tail(raw: sqlite3.Connection, at: int, _: int) -> None:
    for table in ("journal", "fills", "events", "alerts"):
        raw.execute(f"DELETE FROM {table} WHERE seq >= ?", (at,))


CHANGES: dict[str, Change] = {
    "ts": _cells("journal", "ts", "ts + 1"),
    "kind": _cells("journal", "kind", "kind || 'x'"),
    "key": _cells("journal", "key", "'o-none'"),
    "body": _cells("journal", "body", "CAST(replace(body, 'number', 'nimber') AS BLOB)"),
    "body as text": _cells("journal", "body", "CAST(body AS TEXT)"),
    "border between kind and key": _cells(
        "journal", "kind = substr(kind, 1, 2), key", "substr(kind, 3) || key"
    ),
    "hash": _cells("journal", "hash", "zeroblob(32)"),
    "event body": _cells("events", "body", "CAST(replace(body, 'trade', 'trick') AS BLOB)"),
    "event type": _cells("events", "type", "'halt'"),
    "event time": _cells("events", "ts", "ts + 1"),
    "event row": _cells("events", "seq", "seq + 1"),
    "event type as bytes": _cells("events", "type", "CAST(type AS BLOB)"),
    "fill symbol": _cells("fills", "symbol", "'XRP/USDT'"),
    "fill body": _cells("fills", "body", "CAST('{}' AS BLOB)"),
    "alert key": _cells("alerts", "key", "'a-none'"),
    "delete": _delete,
    "delete and close the gap": _delete_and_close_the_gap,
    "delete an entry": _delete_entry,
    "swap": _swap,
    "insert": _insert,
    "insert an entry": _insert_entry,
    "cut the tail": _cut_the_tail,
}


def mutated(journal: Path, change: Change, at: int, other: int) -> Path:
    path = journal.with_name(f"mutant{os.getpid()}.db")
    shutil.copyfile(journal, path)
    raw = sqlite3.connect(path)
    with raw:
        change(raw, at, other)
    raw.close()
    return path


def test_an_untouched_journal_is_whole(journal: Path) -> None:
    verdict = verify(journal)

    assert (verdict.ok, verdict.rows, verdict.broken_at, verdict.reason) == (True, ROWS, None, None)
    assert len(verdict.head) == 64


@pytest.mark.promise("S8")
@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(sorted(CHANGES)),
    at=st.integers(1, ROWS),
    other=st.integers(1, ROWS),
)
def test_any_change_of_one_row_is_found(journal: Path, name: str, at: int, other: int) -> None:
    verdict = verify(mutated(journal, CHANGES[name], at, other))

    assert not verdict.ok, name
    assert verdict.reason
    assert verdict.broken_at is not None
    assert verdict.rows < verdict.broken_at <= ROWS + 1


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_each_kind_of_change_is_found(journal: Path, name: str) -> None:
    assert not verify(mutated(journal, CHANGES[name], 31, 8)).ok


async def test_replay_stops_at_the_first_row_that_does_not_fit(journal: Path) -> None:
    path = mutated(journal, CHANGES["body"], 30, 30)
    store = await opened(path)
    verdict = await proof.verified(store)
    with pytest.raises(StoreCorrupt, match="row 31"):
        async for _ in store.replay():
            pass
    compared = await proof.difference(store, lambda _: [])
    await store.close()

    assert (verdict.ok, verdict.rows, verdict.broken_at) == (False, 30, 31)
    assert "row 31" in str(compared)


async def test_flipped_bytes_are_found_or_change_nothing(journal: Path, tmp_path: Path) -> None:
    """Bytes all over the file, one at a time."""
    whole = journal.read_bytes()
    told: list[int] = []
    sound = verify(journal, progress=told.append)
    assert told[-1] == sound.rows
    silent = 0
    for at in range(0, len(whole), 1_709):
        path = tmp_path / "flipped.db"
        image = bytearray(whole)
        image[at] ^= 0x41
        path.write_bytes(image)
        try:
            store = await opened(path, new_id=ids("x"))
        except (StoreCorrupt, StoreNewer):
            continue
        try:
            async for _ in store.replay():
                pass
            verdict = await proof.verified(store)
        except StoreCorrupt:
            continue
        finally:
            await store.close()
        silent += verdict.ok
        assert not verdict.ok or verdict.head == sound.head

    # Free pages, unused ends of pages and indexes carry no row of the journal.
    assert silent < len(range(0, len(whole), 1_709))


def test_no_two_contents_have_one_encoding() -> None:
    before = genesis("j1")
    shifted = [
        link(before, Row(1, 2, "ab", "c", b"d")),
        link(before, Row(1, 2, "a", "bc", b"d")),
        link(before, Row(1, 2, "ab", "c", b""), [b"d"]),
        link(before, Row(1, 2, "ab", "", b"cd")),
        link(genesis("j2"), Row(1, 2, "ab", "c", b"d")),
    ]
    entries = {
        encode("fills", 1, "k", 2, ["a", None], None),
        encode("fills", 1, "k", 2, ["a", None], b""),
        encode("fills", 1, "k", 2, ["a", "None"], b""),
        encode("fills", 1, "k", 2, [None, "a"], b""),
    }

    assert len(set(shifted)) == len(shifted)
    assert len(entries) == 4


async def test_a_journal_in_use_cannot_be_verified_from_outside(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    with pytest.raises(StoreLocked):
        verify(tmp_path / "j.db")
    (tmp_path / "j.db.lock").unlink()
    with pytest.raises(StoreLocked):
        verify(tmp_path / "j.db")
    await store.close()

    assert verify(tmp_path / "j.db").ok


async def test_what_is_no_journal_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "none.db")
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreCorrupt, match="not a journal"):
        verify(tmp_path / "empty.db")
    (tmp_path / "text.db").write_bytes(b"not a database at all" * 50)
    with pytest.raises(StoreCorrupt):
        verify(tmp_path / "text.db")
    store = await opened(tmp_path / "new.db", migrations=(*MIGRATIONS, "CREATE TABLE x(y)"))
    await store.close()
    with pytest.raises(StoreNewer):
        verify(tmp_path / "new.db")
