"""Power cuts: promise O2, and its controls that must lose rows."""

# ruff: noqa: ASYNC240 - small files and one process of the test's own

import random
import shutil
from pathlib import Path

import pytest

from realtime.store import StoreCorrupt
from tests.store import proof
from tests.store.kit import Life, facts, ids, opened, project
from tests.store.vfs import Disk, Renamed


RUN_CUTS = 15
MOMENTS = 1_000  # operations of the disk in one run, its creation included


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Cutter:
    """Cuts the power at chosen operations of one run, and remembers what was acknowledged by then."""

    def __init__(
        self, disk: Disk, life: Life, moments: set[int], seed: int, directory: Path
    ) -> None:
        self._disk = disk
        self._life = life
        self._moments = moments
        self._chance = random.Random(seed)
        self._directory = directory
        self.cuts: list[tuple[Path, int]] = []
        disk.before = self.look

    def look(self, _: str) -> None:
        if self._disk.operations in self._moments:
            # Rows acknowledged before this instant must be on the disk that the cut leaves.
            acked = len(self._life.acked)
            place = self._directory / f"cut{len(self.cuts)}"
            place.mkdir()
            self.cuts.append((self._disk.cut(self._chance, place, "j.db"), acked))


async def run(seed: int, synchronous: str, directory: Path) -> tuple[Life, list[tuple[Path, int]]]:
    """One life of a journal with its cuts."""
    chance = random.Random(seed)
    disk = Disk()
    directory.mkdir()
    moments = set(chance.sample(range(1, MOMENTS), RUN_CUTS))
    life = Life()
    cutter = Cutter(disk, life, moments, seed, directory)
    life.store = await opened(directory / "real.db", driver=Renamed(disk, synchronous))
    for kind, key, body in facts(10_000):
        life.add(kind, key, body)
        if chance.random() < 0.5:
            await life.store.count("fills")  # lets the thread commit what waits
        if len(cutter.cuts) == RUN_CUTS:
            break
    disk.before = lambda _: None
    await life.store.close()
    disk.unregister()
    return life, cutter.cuts


async def lost(life: Life, path: Path, acked: int) -> tuple[int, bool]:
    """How many acknowledged rows the cut took, and whether the journal opened and is whole."""
    try:
        store = await opened(path, new_id=ids("new1", "new2"))
    except StoreCorrupt:
        return acked, False
    found: dict[int, bytes] = {}
    try:
        async for page in store.replay():
            found |= {row.seq: row.body for row in page}
        whole = await proof.difference(store, project) is None
    except StoreCorrupt:
        whole = False
    finally:
        await store.close()
    missing = [seq for seq in life.acked[:acked] if found.get(seq) != life.bodies[seq]]
    return len(missing), whole


async def cuts(count: int, synchronous: str, directory: Path) -> tuple[int, int, int, int]:
    """Run lives until there were `count` cuts: (cuts, acknowledged rows, lost rows, damaged journals)."""
    done = acknowledged = gone = damaged = 0
    seed = 0
    while done < count:
        seed += 1
        life, made = await run(seed, synchronous, directory / f"{synchronous}{seed}")
        for path, acked in made[: count - done]:
            missing, whole = await lost(life, path, acked)
            acknowledged += acked
            gone += missing
            damaged += not whole
            done += 1
        shutil.rmtree(directory / f"{synchronous}{seed}")
    return done, acknowledged, gone, damaged


@pytest.mark.promise("O2")
@pytest.mark.parametrize(
    "count", [300, pytest.param(5_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
async def test_no_acknowledged_row_is_lost_to_a_power_cut(tmp_path: Path, count: int) -> None:
    done, acknowledged, gone, damaged = await cuts(count, "FULL", tmp_path)
    print(
        f"O2: {done} power cuts, {acknowledged} acknowledged rows, {gone} lost, {damaged} damaged"
    )

    assert acknowledged > 10 * count
    assert (gone, damaged) == (0, 0)


@pytest.mark.promise("O2")
@pytest.mark.parametrize("synchronous", ["NORMAL", "OFF"])
async def test_the_power_cut_test_sees_rows_lost_where_syncs_are_left_out(
    tmp_path: Path, synchronous: str
) -> None:
    done, acknowledged, gone, damaged = await cuts(15, synchronous, tmp_path)
    print(
        f"O2 control {synchronous}: {done} cuts, {acknowledged} rows, {gone} lost, {damaged} damaged"
    )

    assert gone > 0
