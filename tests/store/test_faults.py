"""A full disk and a failing one: promise O12, the store's part."""

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from realtime.model.errors import Code, Refused
from realtime.store import Sizes, Sqlite, State, Store, StoreLocked
from realtime.store.driver import Connection
from tests.store import proof
from tests.store.kit import Life, fact, opened, settled, until
from tests.store.vfs import Apsw, Disk, Renamed


TRANSACTION = 22  # SQLITE_TRANSACTION of the authorizer
QUICK = Sizes(ballast=1_000, retry_s=0.01, warn=0, reducing=0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Patient:
    """A store on a disk whose faults a test switches, and what was told of them in which order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.disk = Disk()
        self.told: list[object] = []

    async def start(self, sizes: Sizes = QUICK) -> Store:
        store = await opened(self.path, driver=Renamed(self.disk), sizes=sizes)
        store.on_failure = self.told.append
        return store

    def fail(self, error: Callable[[], Exception | None]) -> None:
        def before(kind: str) -> None:
            if kind == "write" and (found := error()) is not None:
                raise found

        self.disk.before = before

    @property
    def ballast(self) -> Path:
        return self.path.with_name(self.path.name + ".ballast")


async def test_a_full_disk_is_told_first_and_loses_nothing_that_the_ballast_can_hold(
    tmp_path: Path,
) -> None:
    patient = Patient(tmp_path / "j.db")
    # Room for nothing until the ballast is gone, and then no room to make it again.
    store = await patient.start(Sizes(ballast=1_000, retry_s=0.01, warn=2**62, reducing=2**62))
    patient.fail(lambda: apsw.FullError("disk full") if patient.ballast.exists() else None)
    placed = store.append("intent", "o-1", b"{}", patient.told.append)
    await settled(store)
    with pytest.raises(Refused) as refused:
        store.append("intent", "o-2", b"{}")
    canceled = store.append("cancel", "o-1", b"{}", patient.told.append, safety=True)
    await settled(store)

    assert [str(entry)[:9] for entry in patient.told] == ["disk full", str(placed), str(canceled)]
    assert (refused.value.code, refused.value.retry_after) == (Code.BUSY, 5.0)
    assert "only cancels" in refused.value.message
    assert store.state is State.FULL
    assert await store.close() == 0


async def test_with_room_again_the_ballast_returns_and_placements_are_taken(
    tmp_path: Path,
) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start()
    full = True
    patient.fail(lambda: apsw.FullError("disk full") if full and patient.ballast.exists() else None)
    store.append("intent", "o-1", b"{}")
    await settled(store)
    # The free space of the real disk is large, so the first commit into the ballast's room ends it.
    full = False
    placed = store.append("intent", "o-2", b"{}", patient.told.append)
    await settled(store)

    assert store.state is State.OK
    assert patient.ballast.exists()
    assert patient.told[-1] == placed
    await store.close()


async def test_when_the_ballast_is_used_up_rows_wait_in_memory_and_are_written_later(
    tmp_path: Path,
) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start()
    full = True
    patient.fail(lambda: apsw.FullError("disk full") if full else None)
    seqs = [
        store.append("cancel", f"o-{n}", fact(n), patient.told.append, safety=True)
        for n in range(3)
    ]
    await settled(store)
    before = list(patient.told)
    state = store.state
    with pytest.raises(Refused, match="cannot be written"):
        store.append("intent", "o-9", b"{}")
    full = False
    await until(lambda: len(patient.told) == len(before) + 3)

    assert [type(entry) for entry in before] == [str, str]  # full, then nothing can be written
    assert state is State.FAILED
    assert patient.told[2:] == seqs
    assert store.state is State.OK
    assert await store.close() == 0


async def test_an_io_error_fails_and_the_same_rows_are_tried_again(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start()
    life = Life()
    life.store = store
    life.add("state", "", fact(0))
    await settled(store)
    failing = True
    patient.fail(lambda: apsw.IOError("bad sector") if failing else None)
    life.add("intent", "o-1", fact(1, ts=1))
    await settled(store)
    assert store.state is State.FAILED
    life.add("cancel", "o-1", fact(2), safety=True)
    assert not store.busy  # nothing will call before the disk is well
    failing = False
    await until(lambda: len(life.acked) == 3)
    walked = await proof.verified(store)
    found = {row.seq: row.body async for page in store.replay() for row in page}
    await store.close()

    assert patient.told == ["bad sector"]
    assert life.acked == [1, 2, 3]
    assert found == life.bodies
    assert (walked.ok, walked.rows) == (True, 3)


async def test_a_row_that_comes_behind_a_failed_commit_has_it_tried_at_once(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start(Sizes(ballast=1_000, retry_s=600, warn=0, reducing=0))
    faults = [apsw.IOError("bad sector")]
    patient.fail(lambda: faults.pop() if faults else None)
    store.append("intent", "o-1", fact(1))
    await until(lambda: store.state is State.FAILED)
    store.append("cancel", "o-1", fact(2), safety=True)
    async with asyncio.timeout(10):
        await until(lambda: store.state is State.OK and not store.waiting)

    assert await store.close() == 0


async def test_close_tells_how_many_rows_could_not_be_written(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start()
    store.append("state", "", b"{}")
    await settled(store)
    patient.fail(lambda: apsw.IOError("gone"))
    for number in range(3):
        store.append("cancel", "", fact(number), safety=True)
    lost = await store.close()
    patient.disk.before = lambda _: None
    again = await opened(tmp_path / "j.db", driver=Renamed(patient.disk))
    await again.close()

    assert lost == 3
    assert again.seq == 1
    assert patient.told[0] == "gone"


async def test_a_disk_that_fails_while_closing_loses_no_row(tmp_path: Path) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start()
    told: list[int] = []
    store.append("state", "", b"{}", told.append)
    await settled(store)
    patient.fail(lambda: apsw.IOError("gone"))

    assert await store.close() == 0
    await asyncio.sleep(0)
    assert told == [1]
    assert str(patient.told[0]).startswith("close:")


class Unwell(Sqlite):
    """A disk that cannot take the first transaction."""

    def connect(self, path: str) -> Connection:
        raw = super().connect(path)
        assert isinstance(raw, sqlite3.Connection)
        raw.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_DENY if action == TRANSACTION else sqlite3.SQLITE_OK
        )
        return raw


class Full(Renamed):
    """A disk on which nothing can be written while there is this file; a close of the journal frees nothing."""

    def __init__(self, disk: Disk, unless: Path) -> None:
        super().__init__(disk)
        self.unless = unless

    def connect(self, path: str) -> Connection:
        connection = super().connect(path)
        self._disk.before = self._write
        return connection

    def _write(self, kind: str) -> None:
        if kind == "write" and self.unless.exists():
            raise apsw.FullError("disk full")


async def test_a_start_on_a_full_disk_takes_the_room_of_the_ballast(tmp_path: Path) -> None:
    """Found by a drive: a server that was killed on a full disk did not come back, whatever stood in the ballast."""
    patient = Patient(tmp_path / "j.db")
    life = Life()
    life.store = await patient.start()
    life.add("state", "", fact(0))
    await life.store.close()
    full = Full(patient.disk, patient.ballast)
    life.store = await opened(patient.path, driver=full, sizes=QUICK)
    life.add("cancel", "", fact(1), safety=True)
    await life.store.close()
    assert life.acked == [1, 2]

    full.unless = tmp_path
    with pytest.raises(OSError, match=r"journal j\.db cannot be opened: disk full"):
        await opened(patient.path, driver=full, sizes=QUICK)


async def test_an_error_at_opening_that_is_no_damage_is_not_called_damage(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not authorized"):
        await opened(tmp_path / "j.db", driver=Unwell())
    store = await opened(tmp_path / "j.db")
    await store.close()

    assert store.seq == 0


@pytest.mark.promise("O12")
@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError], ids=["full", "io"])
@pytest.mark.parametrize("skip", range(0, 24, 3))
async def test_a_fault_at_any_operation_keeps_what_was_acknowledged(
    tmp_path: Path, error: type[apsw.Error], skip: int
) -> None:
    patient = Patient(tmp_path / "j.db")
    store = await patient.start(Sizes(ballast=0, retry_s=0.005, warn=0, reducing=0))
    life = Life()
    life.store = store
    life.add("state", "", fact(0))
    await settled(store)
    left = skip
    faults = 2

    def before(_: str) -> None:
        nonlocal left, faults
        left -= 1
        if left < 0 and faults > 0:
            faults -= 1
            raise error("injected")

    patient.disk.before = before
    for number in range(12):
        life.add("cancel", "", fact(number), safety=True)
        await settled(store)
    await until(lambda: len(life.acked) == 13)
    patient.disk.before = lambda _: None
    await store.close()
    again = await opened(tmp_path / "j.db", driver=Renamed(patient.disk))
    found = {row.seq: row.body async for page in again.replay() for row in page}
    await again.close()

    assert life.acked == list(range(1, 14))
    assert found == life.bodies


CRASH = """
import asyncio, sys
from pathlib import Path
from realtime.store import Store

async def main():
    store = await Store.open(Path(sys.argv[1]), now=lambda: 1, new_id=lambda: "j1")
    store.append("state", "", b"{}")
    await store.count("fills")
    raise RuntimeError("a fault of the program")

asyncio.run(main())
"""


async def test_a_program_that_crashes_with_the_store_open_ends(tmp_path: Path) -> None:
    """A thread that waits for work once kept such a process alive for ever."""
    path = tmp_path / "j.db"
    crashed = subprocess.run(  # noqa: ASYNC221 - the process is what is tested
        [sys.executable, "-c", CRASH, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    store = await opened(path)
    await store.close()

    assert crashed.returncode == 1
    assert "a fault of the program" in crashed.stderr
    assert store.seq == 1


async def test_an_opening_given_up_leaves_the_journal_free(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await opened(tmp_path / "j.db")
    free: Store | None = None
    for _ in range(2_000):  # the thread closes what it opened, in its own time
        with suppress(StoreLocked):
            free = await opened(tmp_path / "j.db")
            break
        await asyncio.sleep(0.001)
    assert free is not None

    assert await free.close() == 0


async def test_a_loop_that_ends_first_leaves_nobody_to_tell(tmp_path: Path) -> None:
    def run() -> Store:
        async def begin() -> Store:
            store = await opened(tmp_path / "j.db")
            store.append("state", "", b"{}", lambda _: None)
            return store

        return asyncio.run(begin())

    store = await asyncio.to_thread(run)
    store._writer.stop()
    await until(lambda: store.state is State.CLOSED)

    assert store.waiting == 0


def test_apsw_codes_are_read() -> None:
    assert Apsw(Disk()).code(ValueError()) == 0
