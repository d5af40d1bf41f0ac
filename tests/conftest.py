"""The virtual clock: every asynchronous test runs on it unless its module says otherwise.

A test that talks over real sockets overrides the fixture in its own module:

    @pytest.fixture
    def anyio_backend() -> str:
        return "asyncio"

A test that uses threads of its own (the store's writer) tells the loop when one of them is at work,
so that the clock does not jump over it: `virtual_loop().outside.append(lambda: store.busy)`.
"""

import asyncio
import concurrent.futures
import gc
import os
import selectors
import shutil
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests import promises


gc.set_threshold(50_000, 20, 100)  # of a hundred objects of a test hardly one is in a cycle
PATIENCE_S = 10.0
"""Real seconds to wait for work outside the loop before a test counts as deadlocked."""


class Deadlock(Exception):
    """Every task waits, and nothing is left that could wake one."""


class JumpSelector(selectors.DefaultSelector):
    """A selector that moves the loop's clock instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.jump: Callable[[float], None] = lambda _seconds: None
        self.outside: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        end = time.monotonic() + PATIENCE_S
        while self.outside() and time.monotonic() < end:
            if ready := super().select(0.05):
                return ready
        if ready := super().select(0):
            return ready
        if timeout is None:
            raise Deadlock("deadlock: every task waits and no timer is set")
        self.jump(timeout)
        return []


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing else can run.

    Attributes:
        outside: Asked before a jump; while one answers True, a thread is at work and time stands.
    """

    def __init__(self) -> None:
        self._virtual = 0.0
        self._executing: set[concurrent.futures.Future[Any] | asyncio.Future[Any]] = set()
        self.outside: list[Callable[[], bool]] = []
        selector = JumpSelector()
        super().__init__(selector)
        selector.jump = self.jump
        selector.outside = self._working_outside

    def time(self) -> float:
        return self._virtual

    def jump(self, seconds: float) -> None:
        self._virtual += seconds

    def run_in_executor(  # type: ignore[override]  # looser, for any work
        self, executor: Any, func: Any, *args: Any
    ) -> asyncio.Future[Any]:
        future = super().run_in_executor(executor, func, *args)
        self._executing.add(future)
        future.add_done_callback(self._executing.discard)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # its signature
        self.outside.append(lambda: True)  # a thread joins the pool's threads
        await super().shutdown_default_executor()
        self.outside.pop()

    def _working_outside(self) -> bool:
        return bool(self._executing) or any(busy() for busy in self.outside)


def virtual_loop() -> VirtualClockLoop:
    """The running loop, which must be the virtual one."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    return loop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": VirtualClockLoop}


LONG = ("tests/flows/", "tests/server/", "tests/desk/", "tests/store/", "tests/venues/")
"""Folders whose files take longest: begun first, so that no worker is left with one of them at the end."""
MEMORY = Path("/dev/shm")
ROOM = 2 << 30
"""Free bytes that folders of tests need in memory; a container's own 64 MiB are too few."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the fast suite keep its files in memory, where a commit does not wait for a disk.

    No test can cut the power: those about power cuts cut at SQLite's calls. Figures are measured on the disk.
    """
    fast = "not slow" in config.getoption("markexpr")
    if fast and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""

    def rank(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG))

    items.sort(key=rank)


def pytest_collection_finish() -> None:
    """Take what was imported out of the sight of the garbage collector, which else goes through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember which promises a test shows."""
    report = yield
    promises.remember(item, report)
    return report


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say promise by promise what was shown: `make prove`."""
    if "promise" in config.getoption("-m"):
        promises.table(terminalreporter)
