"""Worker processes: as many as there are cores, started when needed, ended when idle, killed when they must be.

Rules of this file: (1) a worker runs one task at a time; (2) who stops waiting for a task kills its worker, for
nothing else ends a strategy that never returns; (3) a worker that dies fails its task with a code, and nothing else.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.model.errors import Code, Refused


LAST_WORDS_S: Final = 1.0
LINE: Final = 1 << 24
"""Longest message of a worker [bytes]."""
Message = Mapping[str, Any]
Told = Callable[[Message], None]


def cores() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - macOS, Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How long things may take.

    Attributes:
        stall_s: Without a sign of life; workers give one every 8,192 bars.
        run_s: A task as a whole.
        idle_s: How long a worker without work is kept.
    """

    stall_s: float = 60.0
    run_s: float = 3_600.0
    idle_s: float = 30.0


class Pool:
    """The workers.

    Args:
        size: How many at once.
        strategies: Folder of the operator's strategies.
        bounds: Times.
    """

    def __init__(self, size: int, strategies: Path | None, bounds: Bounds) -> None:
        self.size = size
        self._strategies = strategies
        self._bounds = bounds
        self._room = asyncio.Semaphore(size)
        self._idle: dict[Process, asyncio.TimerHandle] = {}
        self._alive: set[Process] = set()
        self._leaving: set[Process] = set()
        self._at_work = 0

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return sorted(process.pid for process in self._alive - self._leaving)

    @property
    def busy(self) -> bool:
        """Whether something outside the loop is at work; for virtual clocks."""
        return self._at_work > 0

    async def run(self, task: Message, told: Told) -> Message:
        """Let a worker run a task; waits for a free one.

        Args:
            task: What `worker.Worker.do` takes.
            told: Gets each report of progress.

        Raises:
            Refused: What the worker refused; `invalid` with `details.reason` `timeout`; `internal` with `crash`.
        """
        async with self._room:
            with self._working():
                process = self._take() or await self._start()
                answer: Message | None = None
                try:
                    answer = await self._ask(process, task, told)
                finally:
                    if answer is None:
                        await self._kill(process)
                self._keep(process)
        if "error" in answer:
            error = answer["error"]
            raise Refused(Code(error["code"]), error["message"], error["details"])
        done: Message = answer["done"]
        return done

    async def _start(self) -> Process:
        folder = [] if self._strategies is None else [str(self._strategies)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "realtime.bots.back", *folder, stdin=PIPE, stdout=PIPE,
            stderr=DEVNULL, limit=LINE,
        )  # fmt: skip
        self._alive.add(process)
        return process

    async def _ask(self, process: Process, task: Message, told: Told) -> Message:
        assert process.stdin is not None
        assert process.stdout is not None
        bounds = self._bounds
        try:
            async with asyncio.timeout(bounds.run_s):
                with contextlib.suppress(ConnectionError):  # it died: reading tells
                    process.stdin.write(orjson.dumps(task) + b"\n")
                    await process.stdin.drain()
                while True:
                    async with asyncio.timeout(bounds.stall_s):
                        line = await process.stdout.readline()
                    if not line.endswith(b"\n"):
                        break
                    message: Message = orjson.loads(line)
                    if "progress" not in message:
                        return message
                    told(message)
        except TimeoutError:
            raise Refused(
                Code.INVALID,
                f"the strategy took too long: no sign of life for {bounds.stall_s:g} s, or more than "
                f"{bounds.run_s:g} s in all",
                {"what": "strategy", "reason": "timeout"},
            ) from None
        code = await process.wait()
        raise Refused(
            Code.INTERNAL,
            f"the worker process ended with {code} before it was done",
            {"what": "worker", "reason": "crash", "exit": code},
        )

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1

    # -- workers -----------------------------------------------------------------------------------

    def _take(self) -> Process | None:
        gone = {process for process in self._leaving if process.returncode is not None}
        self._leaving -= gone
        self._alive -= gone
        while self._idle:
            process, timer = self._idle.popitem()
            timer.cancel()
            if process.returncode is None:
                return process
            self._alive.discard(process)
        return None

    def _keep(self, process: Process) -> None:
        loop = asyncio.get_running_loop()
        self._idle[process] = loop.call_later(self._bounds.idle_s, self._retire, process)

    def _retire(self, process: Process) -> None:
        """Let an idle worker end by itself: its input is over. It is waited for by `close` at the latest."""
        self._idle.pop(process, None)
        self._leaving.add(process)
        assert process.stdin is not None
        process.stdin.close()

    async def _kill(self, process: Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Its last words are read, because only then its pipes count as closed; a process that it left behind may
        # hold them open for ever.
        assert process.stdout is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await process.stdout.read()
        await process.wait()
        self._alive.discard(process)
        self._leaving.discard(process)

    async def close(self) -> None:
        """Kill all that live and wait for their end."""
        for timer in self._idle.values():
            timer.cancel()
        self._idle.clear()
        with self._working():
            for process in list(self._alive):
                await self._kill(process)
