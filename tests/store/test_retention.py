"""What grows without end is kept in part; the journal has it all."""

from pathlib import Path

import orjson
import pytest

from realtime.store import Keep, Projection, Row, Sizes, verify
from tests.store import proof
from tests.store.kit import opened, settled, ticking


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def project(row: Row) -> list[Projection]:
    return [Projection("equity", row.key, orjson.loads(row.body)["ts"])]


async def kept(path: Path, keep: Keep, rows: int, every: int = 1) -> tuple[list[str], str | None]:
    """Write samples a microsecond apart; give the keys that are left, and what the check says."""
    sizes = Sizes(ballast=4096, keep={"equity": keep}, prune_every=every)
    store = await opened(path, sizes=sizes, now=ticking())
    for number in range(rows):
        row = Row(0, 0, "Equity", str(number), orjson.dumps({"ts": number * 1_000}))
        store.append(row.kind, row.key, row.body, None, project(row))
    await settled(store)
    left = [entry.key for entry in await store.rows("equity")]
    whole = await proof.difference(store, project)
    await store.close()
    return left, whole


async def test_the_newest_rows_are_kept_and_the_journal_keeps_all(tmp_path: Path) -> None:
    left, whole = await kept(tmp_path / "j.db", Keep(10, 10**18), 1_000)
    verdict = verify(tmp_path / "j.db")

    assert left == [str(number) for number in range(990, 1_000)]
    assert whole is None
    assert (verdict.ok, verdict.rows) == (True, 1_000)


async def test_rows_are_let_go_by_their_age(tmp_path: Path) -> None:
    left, whole = await kept(tmp_path / "j.db", Keep(1_000, 4_000), 50)

    assert left == ["45", "46", "47", "48", "49"]
    assert whole is None


async def test_nothing_is_looked_at_before_there_are_enough_new_rows(tmp_path: Path) -> None:
    few = await kept(tmp_path / "a.db", Keep(1, 10**18), 600, every=10**9)
    again = await kept(tmp_path / "a.db", Keep(1, 10**18), 1, every=10**9)

    assert len(few[0]) > 300
    assert len(again[0]) <= 2
    assert few[1] is None
