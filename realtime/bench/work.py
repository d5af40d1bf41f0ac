"""Backtests that run while a server is measured: the same pool of workers, tasks and reports as those of its jobs."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from realtime.bench import peer
from realtime.bots import series
from realtime.bots.jobs import RUNNING
from realtime.bots.pool import Bounds, Pool
from realtime.bots.series import Series
from realtime.engine.bars import MINUTE


SEED: Final = 11
TERMS: Final = {"initial_capital": 10_000.0}
GRID: Final = [{"fast_period": fast, "slow_period": 50} for fast in range(2, 22)]
"""Combinations of the search, over and over."""


def bars(count: int) -> Series:
    """The walk of `peer` as a series."""
    columns = zip(*((*row, 1.0) for row in peer.walk(count, SEED)), strict=True)
    return series.check(Series(MINUTE, range(0, count * MINUTE, MINUTE), *columns))


def prepare(folder: Path, *, long: int, short: int) -> None:
    """Write the bars of the backtests and of the search."""
    made = bars(long)
    series.write(folder / "long.bars", made)
    series.write(folder / "short.bars", made.part(0, short))


class Work:
    """Two backtests and an optimisation, each begun again as soon as it has ended.

    Args:
        publish: Takes the name of a channel and a row: each report of progress goes to the readers, as that of a job.
    """

    def __init__(self, publish: Callable[[str, Mapping[str, object]], None]) -> None:
        self._publish = publish
        self.pool = Pool(RUNNING, None, Bounds())
        self.done = {"run": 0, "try": 0}

    async def run(self, folder: Path) -> None:
        """Work without end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._backtest(folder, 1))
            tasks.create_task(self._backtest(folder, 2))
            tasks.create_task(self._search(folder))

    async def _backtest(self, folder: Path, number: int) -> None:
        task = self._task("run", folder / "long.bars") | {
            "parameters": {"fast_period": 8, "slow_period": 21},
            "out": str(folder / f"out{number}"),
        }
        while True:
            await self._do(task, f"bt-{number}")

    async def _search(self, folder: Path) -> None:
        path = folder / "short.bars"
        count = len(series.read(path).ts)
        task = self._task("try", path) | {"windows": [[0, count * 7 // 10, count]]}
        while True:
            for parameters in GRID:
                await self._do(task | {"parameters": parameters}, "bt-3")

    def _task(self, kind: str, path: Path) -> dict[str, Any]:
        lane = {"symbol": "X", "length": MINUTE, "files": [str(path)]}
        return {"kind": kind, "lanes": [lane], "strategy": "ema_crossover", "terms": TERMS}

    async def _do(self, task: Mapping[str, Any], name: str) -> None:
        await self.pool.run(task, lambda told: self._publish(f"backtest:{name}", told))
        self.done[task["kind"]] += 1
