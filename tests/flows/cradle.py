"""Servers that begin with their imports done: a process that has imported the command line forks for each.

Rules of this file: (1) what is born is a process like any other: its own pid, pipes and exit code, killed by a signal, with
the environment and folder it was given; it runs `realtime/__main__.py` as `python -m realtime` does; (2) what must see a
process before it imports (a preloaded library, a counter of lines, another seed) is started, not born.

An import of the server takes nine tenths of its start: half a second of a core, forty times in the fast suite.
"""

import atexit
import functools
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import orjson


ROOT: Final = Path(__file__).resolve().parents[2]
SEEN_BEFORE: Final = ("COVERAGE", "LD_", "PYTHONHASHSEED", "PYTHONMALLOC")
"""Beginnings of the names of what acts before the first import."""
ORDER: Final = 1 << 17
"""Most bytes of an order."""


def can_bear(env: Mapping[str, str]) -> bool:
    """Whether a process of this environment may be born instead of started."""
    return sys.platform == "linux" and not any(name.startswith(SEEN_BEFORE) for name in env)


class Born:
    """A process that was born, with what `subprocess.Popen` has of one in text mode."""

    def __init__(self, pid: int, ended: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout: TextIO | None = os.fdopen(stdout)
        self.stderr: TextIO | None = os.fdopen(stderr)
        self._ended = ended

    def poll(self) -> int | None:
        """Tell its exit code if it has ended."""
        self._look(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its exit code."""
        self._look(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("realtime", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, _input: None = None, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; give what it said."""
        assert self.stdout is not None
        assert self.stderr is not None
        said: list[str] = []
        reading = threading.Thread(target=lambda err: said.append(err.read()), args=[self.stderr])
        late = threading.Timer(timeout or threading.TIMEOUT_MAX, self.kill)
        reading.start()
        late.start()
        try:
            out = self.stdout.read()
            reading.join()
        finally:
            late.cancel()
        self.stdout.close()
        self.stderr.close()
        self.wait(timeout)
        return out, said[0]

    def _look(self, timeout: float | None) -> None:
        """Read the exit code that comes through the pipe once."""
        if self.returncode is not None:
            return
        ended = select.poll()  # select() knows no more than 1,024 files, and a storm has more
        ended.register(self._ended, select.POLLIN)
        if not ended.poll(None if timeout is None else timeout * 1_000):
            return
        told = os.read(self._ended, 16)
        self.returncode = int(told) if told else -signal.SIGKILL
        os.close(self._ended)


class Cradle:
    """The process that forks, seen from where births are asked for."""

    def __init__(self) -> None:
        self._ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._one = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.flows.cradle", str(its.fileno())],
            cwd=ROOT,
            pass_fds=[its.fileno()],
        )
        its.close()
        atexit.register(self._end)

    def bear(self, args: tuple[str, ...], env: Mapping[str, str]) -> Born:
        """Run `realtime` with these arguments in this environment, in the folder where we are."""
        (out, its_out), (err, its_err), (ended, its_end) = os.pipe(), os.pipe(), os.pipe()
        order = orjson.dumps({"args": args, "env": dict(env), "folder": str(Path.cwd())})
        with self._one:
            socket.send_fds(self._ours, [order], [its_out, its_err, its_end])
            pid = int(self._ours.recv(16))
        for number in (its_out, its_err, its_end):
            os.close(number)
        return Born(pid, ended, out, err)

    def _end(self) -> None:
        self._ours.close()
        self._process.wait()


@functools.cache
def cradle() -> Cradle:
    """The one of this process."""
    return Cradle()


def births(number: int) -> dict[str, Any] | None:
    """Fork for every order that comes through a socket.

    Returns:
        In a child its order; in the parent None, once nobody can ask any more.
    """
    asked = socket.socket(fileno=number)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ends: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([number, woken], [], [])
        if woken in ready:
            os.read(woken, 512)
            while ends and (found := os.waitpid(-1, os.WNOHANG))[0]:
                told = ends.pop(found[0])
                os.write(told, str(os.waitstatus_to_exitcode(found[1])).encode())
                os.close(told)
        if number not in ready:
            continue
        order, given, _, _ = socket.recv_fds(asked, ORDER, 3)
        if not order:
            return None
        out, err, ended = given
        if pid := os.fork():
            ends[pid] = ended
            os.close(out)
            os.close(err)
            asked.send(str(pid).encode())
            continue
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(out, 1)
        os.dup2(err, 2)
        asked.close()
        for other in (woken, wake, out, err, ended, *ends.values()):
            os.close(other)
        made: dict[str, Any] = orjson.loads(order)
        return made


def main() -> None:
    """Import, and be asked for births."""
    gc.disable()
    for name in ("realtime.serving", "realtime.outside", "realtime.cli.commands", "uvloop"):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()
    order = births(int(sys.argv[1]))
    if order is None:
        return
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = ["realtime", *order["args"]]
    runpy.run_module("realtime", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
