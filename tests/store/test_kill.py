"""Kill -9 of a process that writes: promise O1, the store's part. It proves nothing about power loss."""

# ruff: noqa: ASYNC220 - small files and one process of the test's own

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.store import proof
from tests.store.kit import opened, project


# Writes as fast as it can and says what was acknowledged, one line per commit.
WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from realtime.store import Row, Store
from tests.store.kit import facts, project

async def main():
    store = await Store.open(Path(sys.argv[1]), now=itertools.count(1).__next__, new_id=lambda: "j1")
    first = store.seq
    acked = first
    def then(seq):
        nonlocal acked
        assert seq == acked + 1, (seq, acked)
        acked = seq
    print(store.seq, flush=True)
    for number, (kind, key, body) in enumerate(facts(10**9)):
        store.append(kind, f"{key}-{first}", body, then, project(Row(store.seq + 1, 0, kind, f"{key}-{first}", body)))
        if number % 7 == 0:
            before = acked
            await asyncio.sleep(0.0005)
            if acked != before:
                print(acked, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def kill_and_look(path: Path, chance: random.Random) -> tuple[int, int]:
    """Run the writer, kill it at a random moment, open the journal: (acknowledged, found)."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        told = [process.stdout.readline()]
        lines = chance.randint(1, 40)
        for _ in range(lines):
            told.append(process.stdout.readline())
        process.kill()
        told += process.stdout.readlines()
    acknowledged = max(int(line) for line in told if line.endswith(b"\n"))
    store = await opened(path)
    found = store.seq
    verdict = await proof.verified(store)
    assert (verdict.ok, verdict.rows) == (True, found)
    assert await proof.difference(store, project) is None
    await store.close()
    return acknowledged, found


@pytest.mark.promise("O1")
@pytest.mark.parametrize(
    "kills", [4, pytest.param(60, marks=pytest.mark.slow)], ids=["some", "many"]
)
async def test_no_acknowledged_row_is_lost_to_a_kill(tmp_path: Path, kills: int) -> None:
    chance = random.Random(1)
    path = tmp_path / "j.db"
    seen = 0
    for number in range(kills):
        # A journal of its own every few kills, so that replaying stays quick.
        if number % 4 == 0:
            path, seen = tmp_path / f"j{number}.db", 0
        acknowledged, found = await kill_and_look(path, chance)

        assert found >= acknowledged >= seen
        seen = found
