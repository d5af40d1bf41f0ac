"""Processes that take orders line by line: the servers under test, the send loop, the load client."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

import realtime
from realtime.bench.build import compiled


PACKAGE_PARENT = str(Path(realtime.__file__).parent.parent)
SERVER_CPU = 0
LOAD_CPU = 1


def pin(pid: int, cpu: int) -> None:
    """Keep a process on one CPU, where the machine has that many."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(usable) > 1:
        os.sched_setaffinity(pid, {usable[cpu % len(usable)]})


class Child:
    """A process with a line-based conversation on its standard streams."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        cpu: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - programs of ours
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": PACKAGE_PARENT, **(environment or {})},
        )
        self._name = " ".join(map(str, command[:4]))
        pin(self._process.pid, cpu)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def cpu_s(self) -> float:
        """CPU time spent so far [s]."""
        return spent(self.pid)

    @property
    def resident(self) -> int:
        """Resident memory [B]."""
        return resident(self.pid)

    def hold(self) -> None:
        """Stop it where it is."""
        self._process.send_signal(signal.SIGSTOP)

    def go(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def say(self, line: str) -> None:
        """Send a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        """Wait for a line.

        Raises:
            RuntimeError: It ended instead.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} ended with {self._process.wait()}")
        return line.decode().strip()

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and read the JSON it answers."""
        self.say(line)
        answer: dict[str, Any] = orjson.loads(self.hear())
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.go()
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Server(Child):
    """A server of `realtime.bench.servers`."""

    def __init__(self, kind: str) -> None:
        super().__init__([sys.executable, "-m", "realtime.bench.servers", kind], cpu=SERVER_CPU)
        self.port = int(self.hear())


class Sender(Child):
    """The bare send loop in C. The payload is sent to all as soon as anything is said."""

    def __init__(self, clients: int, payload: str) -> None:
        super().__init__([compiled("sender"), str(clients)], cpu=SERVER_CPU)
        self.say(payload)
        self.port = int(self.hear())


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the load client saw."""

    seconds: float
    deliveries: int
    bytes: int
    timed: int
    p50_us: int
    p99_us: int
    p999_us: int
    max_us: int
    open: int
    """Clients still connected."""
    served: int
    """Clients that got anything."""
    closed: int
    close_code: int
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Deliveries per second."""
        return self.deliveries / self.seconds


class Load(Child):
    """The load client: all connected when it is made."""

    def __init__(
        self,
        port: int,
        *,
        clients: int,
        text: str = "",
        stalled: int = 0,
        deflate: bool = False,
    ) -> None:
        numbers = [str(clients), str(stalled), str(int(deflate))]
        command = [str(compiled("load")), "127.0.0.1", str(port), "/ws", *numbers]
        super().__init__(command, cpu=LOAD_CPU)
        self.say(text)
        word = self.hear()
        if word != "ready":
            raise RuntimeError(word)

    def measure(self, seconds: float) -> Measured:
        """Count for that long."""
        return Measured(**self.ask(f"measure {seconds}"))

    def count(self) -> Measured:
        """What has come since the last `measure` began."""
        return Measured(**self.ask("count"))


def spent(pid: int) -> float:
    """CPU time that a process has had [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited(pid: int) -> float:
    """Time that a process could have run and had no core [s]; NaN where the kernel does not count it."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return math.nan


def unpin(pid: int) -> None:
    """Let a process run on every CPU that this one may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, os.sched_getaffinity(0))


def resident(pid: int) -> int:
    """Resident memory of a process [B]."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)
