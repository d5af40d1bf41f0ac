"""Backtests: bars per second on one core, memory, and a search over all cores; beside every other engine that is there.

`REALTIME_PEER` names a Python that has backtesting.py, backtrader or vectorbt, where this one has not. An engine that is
in neither is named with that reason.
"""

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from realtime.bench import peer
from realtime.bench.fanout import FULL, Scale
from realtime.bench.figures import Figure
from realtime.bench.work import SEED, bars
from realtime.bots import series
from realtime.bots.backtest import Grid, Hold, Lane, Ledger, Terms, run, run_one, silent
from realtime.bots.pool import Bounds, Pool, cores
from realtime.bots.series import Series
from realtime.bots.strategies.ema_crossover import EmaCrossover, EmaCrossoverParams
from realtime.engine.bars import MINUTE


ROUNDS = 3
"""Ours and theirs take turns; the best of each counts."""
PEER = "backtesting.py"
BARS: Final[Mapping[str, int]] = {PEER: 100_000, "backtrader": 20_000, "vectorbt": 500_000}
"""Bars that each engine gets in a full run: enough for its own pace, seconds and not minutes."""
FEW = 2_000
"""Of a small run."""


def lane(made: Series) -> Lane:
    """One symbol with a built-in strategy."""
    strategy = EmaCrossover(EmaCrossoverParams())
    return Lane(symbol="X", series=made, strategy=strategy, grid=Grid(amount_step=1e-5))


def once(made: Series) -> tuple[float, float]:
    """Give the seconds of the engine alone, and of a run with its statistics."""
    one = lane(made)
    ledger = Ledger(Terms(), [Hold("X", one.grid)], made.ts)
    before = time.perf_counter()
    run_one(ledger, one, 0, silent)
    between = time.perf_counter()
    run(Terms(), [lane(made)])
    return between - before, time.perf_counter() - between


def their_python(module: str) -> str | None:
    """Find a Python with the module of a comparator."""
    if find_spec(module) is not None:
        return sys.executable
    python = os.environ.get("REALTIME_PEER")
    if python is None:
        return None
    command = [
        python,
        "-c",
        f"from importlib.util import find_spec as f; print(f({module!r}) is None)",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - named by who runs it
    return None if done.stdout.split() == ["True"] else python


def installed(say: Callable[[str], None] = print) -> dict[str, str]:
    """Give the Python of each comparator that is there, and say which are not compared."""
    found: dict[str, str] = {}
    for name, (module, _) in peer.ENGINES.items():
        python = their_python(module)
        if python is not None:
            found[name] = python
            continue
        named = (
            "nor that of REALTIME_PEER"
            if "REALTIME_PEER" in os.environ
            else "and REALTIME_PEER names none"
        )
        say(f"{name} is not compared: this Python does not have it, {named}")
    return found


def theirs(name: str, python: str, count: int) -> float:
    """Seconds of one run of a comparator."""
    command = [python, "-W", "ignore", peer.__file__, name, str(count), str(SEED)]
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
    count = 500_000 if full else 20_000
    made, pythons = bars(count), installed()
    sizes = {name: BARS[name] if full else FEW for name in pythons}
    engine = whole = float("inf")
    others = dict.fromkeys(pythons, float("inf"))
    for _ in range(ROUNDS if full else 1):
        one, two = once(made)
        engine, whole = min(engine, one), min(whole, two)
        for name, python in pythons.items():
            others[name] = min(others[name], theirs(name, python, sizes[name]))
    beside = tuple((name, sizes[name] / taken) for name, taken in others.items())
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
        least=4 if PEER in pythons else None,
        of=PEER if PEER in pythons else None,
        full=full,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.bars"
        series.write(path, made)
        yield Figure(
            workload="bt", name=f"memory of {count:,} bars", ours=memory(path), unit="MiB",
            most=300, full=full,
        )  # fmt: skip
        part, combinations = (50_000, 200) if full else (FEW, 8)
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
    # A combination is one run over the same bars; each of theirs is given all cores as well, and their start for nothing.
    paced = {name: cores() / theirs(name, python, part) for name, python in pythons.items()}
    if paced:
        best = max(paced, key=lambda name: paced[name])
        yield Figure(
            workload="bt",
            name="the same search beside theirs",
            ours=combinations / together,
            unit="1/s",
            comparators=tuple(paced.items()),
            least=1,
            of=best,
            full=full,
        )


def peak() -> float:
    """The most this process has had in memory [MiB]; `ru_maxrss` also counts that of its parent before the exec."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024


if __name__ == "__main__":
    run(Terms(), [lane(series.read(Path(sys.argv[1])))])
    print(peak())
