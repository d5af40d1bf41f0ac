"""Backtests: bars per second on one core, memory, and a search over all cores; beside backtesting.py where it is there.

`REALTIME_PEER` names a Python that has backtesting.py, if this one has not.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from realtime.bench import peer
from realtime.bench.fanout import FULL, Scale
from realtime.bench.figures import Figure
from realtime.bench.work import MINUTE, SEED, bars
from realtime.bots import series
from realtime.bots.backtest import Grid, Hold, Lane, Ledger, Terms, _one, run, silent
from realtime.bots.pool import Bounds, Pool, cores
from realtime.bots.series import Series
from realtime.bots.strategies.ema_crossover import EmaCrossover, EmaCrossoverParams


ROUNDS = 3
"""Ours and theirs take turns; the best of each counts."""
PEER = "backtesting.py"


def lane(made: Series) -> Lane:
    """One symbol with a built-in strategy."""
    strategy = EmaCrossover(EmaCrossoverParams())
    return Lane(symbol="X", series=made, strategy=strategy, grid=Grid(amount_step=1e-5))


def once(made: Series) -> tuple[float, float]:
    """Give the seconds of the engine alone, and of a run with its statistics."""
    one = lane(made)
    ledger = Ledger(Terms(), [Hold("X", one.grid)], made.ts)
    before = time.perf_counter()
    _one(ledger, one, 0, silent)
    between = time.perf_counter()
    run(Terms(), [lane(made)])
    return between - before, time.perf_counter() - between


def their_python() -> str | None:
    """Find a Python with the comparator."""
    if find_spec("backtesting") is not None:
        return sys.executable
    return os.environ.get("REALTIME_PEER")


def theirs(python: str, count: int) -> float:
    """Seconds of one run of the comparator."""
    command = [python, "-W", "ignore", peer.__file__, str(count), str(SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)  # noqa: S603 - ours
    return float(done.stdout.split()[-1])


def memory(path: Path) -> float:
    """Peak of a process that reads bars and runs them [MiB]."""
    command = [sys.executable, "-m", "realtime.bench.backtest", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)  # noqa: S603 - ours
    return float(done.stdout)


async def search(path: Path, combinations: int, workers: int) -> float:
    """Seconds for a grid with so many workers, their start not counted."""
    pool = Pool(workers, None, Bounds())
    half = series.read(path).ts
    task = {
        "kind": "try",
        "lanes": [{"symbol": "X", "length": MINUTE, "files": [str(path)]}],
        "strategy": "ema_crossover",
        "terms": {"initial_capital": 10_000.0},
        "windows": [[0, len(half) * 7 // 10, len(half)]],
    }

    async def one(fast: int, slow: int) -> None:
        await pool.run(task | {"parameters": {"fast_period": fast, "slow_period": slow}}, _nobody)

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(workers):
                group.create_task(one(5 + n, 50))
        before = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for n in range(combinations):
                group.create_task(one(2 + n % 20, 30 + n // 20))
        return time.perf_counter() - before
    finally:
        await pool.close()


def _nobody(_message: object) -> None:
    """Hear nothing."""


def backtest(scale: Scale) -> Iterator[Figure]:
    """Measure the engine on one core, its memory, and a search on all cores."""
    full = scale is FULL
    count, few = (500_000, 100_000) if full else (20_000, 2_000)
    made, python = bars(count), their_python()
    if python is None:
        print(f"{PEER} is not installed; REALTIME_PEER may name a Python that has it")
    engine = whole = other = float("inf")
    for _ in range(ROUNDS if full else 1):
        one, two = once(made)
        engine, whole = min(engine, one), min(whole, two)
        if python is not None:
            other = min(other, theirs(python, few))
    beside = ((PEER, few / other),) if python is not None else ()
    yield Figure(
        workload="bt",
        name="engine: bars, ledger, stops, strategy",
        ours=count / engine,
        unit="bars/s",
        least=1_000_000,
        full=full,
    )
    yield Figure(
        workload="bt",
        name="whole run with statistics",
        ours=count / whole,
        unit="bars/s",
        comparators=beside,
        least=4 if beside else None,
        of=PEER if beside else None,
        full=full,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.bars"
        series.write(path, made)
        yield Figure(
            workload="bt", name=f"memory of {count:,} bars", ours=memory(path), unit="MiB",
            most=300, full=full,
        )  # fmt: skip
        part, combinations = (50_000, 200) if full else (2_000, 8)
        series.write(path, made.part(0, min(part, count)))
        alone = asyncio.run(search(path, combinations, 1))
        together = asyncio.run(search(path, combinations, cores()))
    yield Figure(
        workload="bt",
        name=f"search of {combinations} combinations on {cores()} cores",
        ours=combinations / together,
        unit="1/s",
        comparators=(("one core", combinations / alone),),
        least=0.8 * cores(),
        of="one core",
        full=full and cores() > 1,
    )


if __name__ == "__main__":
    run(Terms(), [lane(series.read(Path(sys.argv[1])))])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
