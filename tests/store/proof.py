"""What must hold of every journal: its chain is whole, and its projections are those that its rows make."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from itertools import zip_longest
from typing import cast

from realtime.store import Driver, Projection, Row, Store, Verdict
from realtime.store.chain import Broken, note
from realtime.store.driver import Connection
from realtime.store.journal import Journal, Opening
from realtime.store.recovery import step
from realtime.store.rows import LOGS, Pending
from realtime.store.schema import COLUMNS, KEYED


TABLES = (
    {"journal": "SELECT seq, ts, kind, key, body, hash FROM journal ORDER BY seq"}
    | {
        log: f"SELECT n, seq, key, ts, {','.join(COLUMNS[log])}, body FROM {log} ORDER BY n"
        for log in LOGS
    }
    | {
        table: f"SELECT {','.join(('key', 'ts', *COLUMNS[table], 'body'))} FROM {table} ORDER BY key"
        for table in KEYED
    }
)


async def verified(store: Store) -> Verdict:
    """Prove the chain of an open journal, a page at a time between commits."""
    walk = await store._ask(lambda journal: journal.walk())
    while True:
        verdict = await store._ask(lambda _: step(walk, store._sizes.page))
        if verdict is not None:
            return verdict


async def difference(store: Store, project: Callable[[Row], Sequence[Projection]]) -> str | None:
    """The first difference between the projections on disk and those that the rows make; None without one."""
    return await store._ask(lambda journal: _compared(journal, store._driver, project))


async def digest(store: Store) -> str:
    """Two journals with equal digests hold equal rows."""
    return await store._ask(lambda journal: _hashed(journal.connection))


def _hashed(connection: Connection) -> str:
    total = sha256()
    for table, sql in TABLES.items():
        total.update(table.encode())
        for row in connection.execute(sql):
            total.update(repr(tuple(row)).encode())
    return total.hexdigest()


def _compared(
    journal: Journal, driver: Driver, project: Callable[[Row], Sequence[Projection]]
) -> str | None:
    """Replay a journal into a second one in memory and compare the two, row by row."""
    origin = note(journal.connection, "origin") or ""
    made = Journal(Opening(path=None, driver=driver, new_id=lambda: origin))
    try:
        walk = journal.walk()
        try:
            while rows := walk.page(256):
                made.commit([Pending(*row, None, project(row)) for row in rows])
        except Broken as broken:
            return f"journal: {broken}"
        return _first_difference(journal.connection, made.connection)
    finally:
        made.close(clean=False)


def _first_difference(live: Connection, made: Connection) -> str | None:
    # Projections first: a differing log entry also changes the hash of its journal row.
    for table in (*LOGS, *KEYED, "journal"):
        sql = TABLES[table]
        pruned = int(note(live, f"pruned {table}") or 0) if table in KEYED else 0
        sides = [
            (row for row in side.execute(sql) if not pruned or cast("int", row[1]) > pruned)
            for side in (live, made)
        ]
        for have, want in zip_longest(*sides):
            if have is None or want is None or tuple(have) != tuple(want):
                return f"{table}: has {have!r:.200}, replay gives {want!r:.200}"
    return None
