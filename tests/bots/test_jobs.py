"""Workers on the real clock: time bounds, crashes, idle ends; and what a worker makes of its tasks."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.bots import series, worker
from realtime.bots.history import PIECE, History
from realtime.bots.pool import Bounds, Pool, cores
from realtime.bots.series import Series
from realtime.model.errors import Code, Refused
from realtime.model.market import MS, Bar
from tests.bots.reference import MINUTE, synthetic
from tests.fakes import until


ODD = """
from typing import ClassVar
from realtime.bots.strategy import Strategy

class Odd(Strategy):
    id: ClassVar[str] = "odd"
    summary: ClassVar[str] = "for tests"
    warmup = 1
    def on_ohlcv(self, bar):
        {body}
"""
TERMS: dict[str, Any] = {"initial_capital": 10_000.0, "fill": "next_open", "protections": None}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def workers(
    tmp_path: Path, body: str = "return 0.0", *, size: int = 1, **bounds: float
) -> AsyncIterator[tuple[Pool, dict[str, Any]]]:
    (tmp_path / "odd.py").write_text(ODD.format(body=body))
    path = tmp_path / "x.bars"
    series.write(path, synthetic(1, 100))
    pool = Pool(size, tmp_path, Bounds(**bounds))
    lane = {"symbol": "X", "length": MINUTE, "files": [str(path)]}
    task = {
        "kind": "run",
        "lanes": [lane],
        "strategy": "odd",
        "parameters": {},
        "terms": TERMS,
        "out": str(tmp_path / "result"),
    }
    try:
        yield pool, task
    finally:
        await pool.close()


def nobody(_message: Mapping[str, Any]) -> None:
    """Hear nothing."""


# --- the pool -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("stall_s", "run_s"), [(0.5, 60.0), (60.0, 0.5)], ids=["stall", "run"])
async def test_a_strategy_that_loops_for_ever_is_ended_by_a_time_bound(
    tmp_path: Path, stall_s: float, run_s: float
) -> None:
    async with workers(tmp_path, "while True: pass", stall_s=stall_s, run_s=run_s) as (pool, task):
        with pytest.raises(Refused) as caught:
            await pool.run(task, nobody)

        assert caught.value.code is Code.INVALID
        assert caught.value.details == {"what": "strategy", "reason": "timeout"}
        assert pool.pids == []


async def test_a_worker_that_dies_is_a_coded_failure_and_the_next_one_works(tmp_path: Path) -> None:
    async with workers(tmp_path, "import os; os.kill(os.getpid(), 9)") as (pool, task):
        with pytest.raises(Refused) as caught:
            await pool.run(task, nobody)
        (tmp_path / "odd.py").write_text(ODD.format(body="return 0.0"))
        found = await pool.run(task, nobody)

        assert caught.value.code is Code.INTERNAL
        assert caught.value.details == {"what": "worker", "reason": "crash", "exit": -9}
        assert found["metrics"]["bars"] == 100


async def test_workers_are_as_many_as_asked_for_used_again_and_end_when_idle(
    tmp_path: Path,
) -> None:
    heard: list[Mapping[str, Any]] = []
    niceness: dict[int, int] = {}
    idle: dict[int, bool] = {}

    def hear(said: Mapping[str, Any]) -> None:
        heard.append(said)
        # Looked at while they work: on a slow machine the first is idle long enough to end before the other is done. What
        # is seen last counts: the second may be looked at before it has stepped back, but not when it says something.
        niceness.update({pid: os.getpriority(os.PRIO_PROCESS, pid) for pid in pool.pids})
        if sys.platform == "linux":
            idle.update({p: os.sched_getscheduler(p) == os.SCHED_IDLE for p in pool.pids})

    async with workers(tmp_path, size=2, idle_s=0.2) as (pool, task):
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(pool.run(task, hear))
        await until(lambda: not pool.pids, within=30)

        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert list(niceness.values()) == [min(ours + 10, 19)] * 2
        assert all(idle.values())
        assert len(heard) == 5
        assert heard[0]["progress"] == 1.0
        assert not pool.busy
    assert cores() >= 1


async def test_an_edited_strategy_is_read_anew(tmp_path: Path) -> None:
    async with workers(tmp_path) as (pool, task):
        before = await pool.run(task, nobody)
        (tmp_path / "odd.py").write_text(ODD.format(body="return 1.0"))
        after = await pool.run(task, nobody)

        assert before["metrics"]["total_trades"] == 0
        assert after["metrics"]["total_trades"] > 0


# --- a worker -------------------------------------------------------------------------------------


def told(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Let a worker do a task, here in this process; gives all that it says."""
    said: list[bytes] = []

    class Out:
        def write(self, line: bytes) -> None:
            said.append(line)

        def flush(self) -> None:
            """Nothing waits."""

    worker.serve(iter([orjson.dumps(task)]), Out(), None)  # type: ignore[arg-type]  # a stream's part
    return [orjson.loads(line) for line in said]


def done(task: dict[str, Any]) -> dict[str, Any]:
    """The same; gives its last word."""
    return told(task)[-1]


def task_of(*files: Path, **change: Any) -> dict[str, Any]:
    lane = {"symbol": "X", "length": MINUTE, "files": [str(f) for f in files]} | change
    return {"kind": "bars", "lanes": [lane], "strategy": "rsi", "parameters": {}, "terms": TERMS}


def test_pieces_of_bars_are_joined_and_cut(tmp_path: Path) -> None:
    whole = synthetic(1, 300)
    for n in range(3):
        series.write(tmp_path / f"{n}.bars", whole.part(100 * n, 100 * (n + 1)))
    files = [tmp_path / f"{n}.bars" for n in range(3)]

    assert done(task_of(*files))["done"]["bars"] == [300]
    cut = done(task_of(*files, start=50 * MINUTE, end=250 * MINUTE))["done"]
    assert cut == {"bars": [200], "start_ts": 50 * 60_000, "end_ts": 250 * 60_000}
    assert list(series.join([series.read(f) for f in files], 0, series.LAST).close) == list(
        whole.close
    )


def test_files_that_are_none_fail_with_a_code(tmp_path: Path) -> None:
    (tmp_path / "cut.bars").write_bytes(b"RTBARS01")
    (tmp_path / "other.bars").write_bytes(b"x" * 100)

    for name in ("cut.bars", "other.bars", "missing.bars"):
        assert done(task_of(tmp_path / name))["error"]["code"] == Code.INTERNAL
    assert done(task_of(csv=str(tmp_path / "no.csv")))["error"]["code"] == Code.NOT_FOUND


def test_a_combination_is_tried_on_both_sides_of_every_window(tmp_path: Path) -> None:
    path = tmp_path / "x.bars"
    series.write(path, synthetic(1, 300))
    task = task_of(path) | {"kind": "try", "windows": [[0, 200, 300], [100, 200, 300]]}

    found = done(task)["done"]["samples"]
    refused = done(task | {"parameters": {"rsi_period": 0}})["done"]
    unknown = done(task | {"strategy": "none"})

    # A search has thousands of them: what each says beside its result would wake the server for nothing.
    assert len(told(task)) == 1
    assert [[m["bars"] for m in pair] for pair in found] == [[200, 100], [100, 100]]
    assert refused["samples"] is None
    assert "rsi_period" in refused["why"]
    assert unknown["error"]["code"] == Code.NOT_FOUND


# --- history --------------------------------------------------------------------------------------


class Past:
    """A venue with a bar a minute up to a time."""

    def __init__(self, until: Callable[[], int], page: int = 400) -> None:
        self.until = until
        self.page = page
        self.asked: list[int | None] = []

    async def ohlcv(self, symbol: str, timeframe: str, since: int | None, limit: int) -> list[Bar]:
        self.asked.append(since)
        assert since is not None
        end = min(self.until(), since + min(limit, self.page) * MINUTE)
        return [Bar(t, "1", "2", "0.5", "1", "3") for t in range(since, end, MINUTE)]


async def test_history_is_asked_for_once_and_only_closed_pieces_are_kept(tmp_path: Path) -> None:
    now = [(2 * PIECE + 10) * MINUTE]
    past = Past(lambda: now[0])
    history = History(past, tmp_path / "bars", lambda: now[0])

    files = await history.files("A/B:C", "1m", 0, series.LAST, tmp_path / "work")
    first = len(past.asked)
    again = await history.files("A/B:C", "1m", 0, series.LAST, tmp_path / "work")
    bars = series.join([series.read(f) for f in again], 0, series.LAST)

    assert [len(series.read(f)) for f in files] == [PIECE, PIECE, 10]
    assert first == 3 + 3 + 1
    assert len(past.asked) == first + 1
    assert files[2].is_relative_to(tmp_path / "work")
    assert (len(bars), bars.gaps()) == (2 * PIECE + 10, [])


async def test_a_venue_without_bars_is_told_and_asked_again(tmp_path: Path) -> None:
    past = Past(lambda: 0)
    history = History(past, tmp_path, lambda: 10**6 * MINUTE)

    for count in (1, 2):
        with pytest.raises(Refused) as caught:
            await history.files("A/B", "1m", 0, 10 * MINUTE, tmp_path)

        assert caught.value.code is Code.NOT_FOUND
        assert len(past.asked) == count


# --- files of people ------------------------------------------------------------------------------

HEAD = "Date,Open,High,Low,Close,Volume"


def csv(tmp_path: Path, *lines: str) -> Series:
    path = tmp_path / "bars.csv"
    path.write_text("\n".join(lines))
    return series.of_csv(path, MINUTE)


@pytest.mark.parametrize(
    "time",
    ["2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "1704067200", "1704067200000", "1704067200000000", "1704067200000000000"],
)  # fmt: skip
def test_times_are_read_in_every_usual_form(time: str) -> None:
    assert series.instant(time) == 1_704_067_200_000 * MS


def test_a_file_without_volume_and_with_empty_lines_is_read(tmp_path: Path) -> None:
    found = csv(tmp_path, "ts,open,high,low,close", "60,1,2,0.5,1", "", "120,1,2,0.5,1")

    assert list(found.volume) == [0.0, 0.0]
    assert list(found.ts) == [60 * 10**9, 120 * 10**9]


@pytest.mark.parametrize(
    ("lines", "names"),
    [
        ([], "bars.csv.timestamp"),
        (["Open,High,Low,Close"], "bars.csv.timestamp"),
        (["Date,Open,High,Low"], "bars.csv.close"),
        ([HEAD, "60,1,1,1,1,1"], "bars.csv"),
        ([HEAD, "x,1,1,1,1,1"], "bars.csv line 2"),
        ([HEAD, "60,1,1,1,1,1", "120,1,1"], "bars.csv line 3"),
        ([HEAD, "60,1,1,1,1,1", "120,1,nan,1,1,1"], "bars.csv.high[1]"),
        ([HEAD, "60,1,1,1,1,1", "61,1,1,1,1,1"], "bars.csv.ts[1]"),
    ],
    ids=str,
)
def test_faults_of_a_file_name_line_or_index(tmp_path: Path, lines: list[str], names: str) -> None:
    with pytest.raises(Refused) as caught:
        csv(tmp_path, *lines)

    assert caught.value.code is Code.INVALID
    assert caught.value.details is not None
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0]["field"] == names


def test_a_file_that_cannot_be_unpacked_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "y.csv").write_bytes(b"\xff\xfe")

    for name in ("x.csv.gz", "y.csv"):
        with pytest.raises(Refused, match="cannot be read"):
            series.of_csv(tmp_path / name, MINUTE)


def test_no_more_bars_than_the_most() -> None:
    many = series.MOST + 1
    with pytest.raises(Refused, match="the most is 500000"):
        series.check(Series(1, range(many), *[[1.0] * many] * 5))
