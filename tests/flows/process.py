"""A real server in a process of its own, and a client that keeps to the protocol with as little as it needs."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.flows.cradle import Born, can_bear, cradle
from tests.replies import check


QUICK: Mapping[str, str] = {
    "REALTIME_PAPER__LATENCY_MS": "0",
    "REALTIME_PAPER__SYMBOLS": '["BTC/USDT", "ETH/USDT"]',
    "REALTIME_PAPER__FLOW_PER_S": "5",
    "REALTIME_LIMITS__ORDERS_PER_S": "100000",
    "REALTIME_LIMITS__COMMANDS_PER_S": "100000",
    "REALTIME_STORE__BACKUP_HOURS": "0",
    "REALTIME_RISK__LIMITS": orjson.dumps(
        {
            "order_rate": None,
            "order_rate_minute": None,
            "duplicate_order_ms": None,
            "max_open_orders": None,
            "max_open_orders_symbol": None,
            "repeated_execution": None,
        }
    ).decode(),
}
START_S = 90.0  # of a machine that is busy with much else


def within_one_hour(seconds: float) -> None:
    """Wait until so many seconds are left of the hour: at its end bars close, bots decide, and once a day the day rolls."""
    left = 3_600 - time.time() % 3_600
    if left < seconds:
        time.sleep(left)


@contextmanager
def apart(kind: str, prepare: str = "true") -> Iterator[str]:
    """A namespace of the kernel's (`-n`: network, `-m`: mounts), with what a shell does in it first.

    It lives as long as the block. Gives the process that holds it: `nsenter -t PID KIND` runs things in it.
    """
    with subprocess.Popen(
        ["unshare", kind, "sh", "-ec", f"{prepare}; echo made; exec sleep 3600"],
        stdout=subprocess.PIPE,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"made\n"
            yield str(holder.pid)
        finally:
            holder.kill()


class Process:
    """A server process."""

    before: tuple[str, ...] = ()
    """Words in front of the command."""

    def __init__(self, *args: str, **env: str) -> None:
        whole = os.environ | dict(QUICK) | env
        self.process: subprocess.Popen[str] | Born
        if not self.before and can_bear(whole):
            self.process = cradle().bear(args, whole)
        else:
            self.process = subprocess.Popen(
                [*self.before, sys.executable, "-m", "realtime", *args],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=whole,
            )
        self.facts: dict[str, str] = {}

    @classmethod
    def serve(cls, data: Path | str, *args: str, **env: str) -> Self:
        """Start a server on a free port and read its banner."""
        made = cls("serve", "--port", "0", "--data", str(data), *args, **env)
        made.read_banner()
        return made

    def read_banner(self) -> None:
        assert self.process.stdout is not None
        late = threading.Timer(START_S, self.process.kill)
        late.start()
        try:
            for line in self.process.stdout:
                words = line.split(maxsplit=1)
                if len(words) == 2:
                    self.facts[words[0]] = words[1].strip()
                elif self.facts:
                    return
        finally:
            late.cancel()
        raise AssertionError(f"it did not start: {self.end()}")

    @property
    def socket(self) -> str:
        return self.facts["socket"]

    @property
    def http(self) -> str:
        return self.facts["page"].split("#")[0].rstrip("/")

    def kill(self) -> None:
        """Kill -9, and nothing else."""
        self.process.kill()
        self.process.wait(timeout=10)
        self._close()

    def terminate(self) -> int:
        """Ask it to stop, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        code = self.process.wait(timeout=40)
        self._close()
        return code

    def end(self) -> tuple[int, str]:
        """Wait for its end; give exit code and what it said."""
        _, said = self.process.communicate(timeout=START_S)
        return self.process.wait(), said

    def _close(self) -> None:
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        else:
            self._close()


class Talk:
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.welcome: dict[str, Any] = {}
        self.messages: list[dict[str, Any]] = []

    async def read(self) -> dict[str, Any]:
        """Read one message and keep it."""
        message: dict[str, Any] = orjson.loads(await self._socket.recv())
        self.messages.append(message)
        return message

    async def call(self, op: str, **args: Any) -> dict[str, Any]:
        """Call an op; other messages are kept."""
        number = next(self._ids)
        await self._socket.send(orjson.dumps({"op": op, "id": number, **args}).decode())
        while True:
            message = await self.read()
            if message["type"] == "reply" and message.get("id") == number:
                check(message)
                return message

    async def result(self, op: str, **args: Any) -> dict[str, Any]:
        """Call an op that must succeed."""
        reply = await self.call(op, **args)
        assert reply["ok"], reply
        found: dict[str, Any] = reply["result"]
        return found

    async def subscribe(self, *channels: object) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.result("subscribe", channels=list(channels)))[
            "channels"
        ]
        return found

    async def until(self, channel: str, seq: int) -> dict[str, Any]:
        """Read until a channel has reached a position; give that message."""
        for message in self.messages:
            if message.get("channel") == channel and message["seq"] >= seq:
                return message
        while True:
            message = await self.read()
            if message.get("channel") == channel and message["seq"] >= seq:
                return message

    async def notice(self, event: str) -> dict[str, Any]:
        """Read until a notice comes."""
        while True:
            message = await self.read()
            if message["type"] == "notice" and message["event"] == event:
                return message

    async def closed(self) -> int:
        """Read until the end; give the close code."""
        try:
            while True:
                await self.read()
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006

    async def close(self) -> None:
        await self._socket.close()


@asynccontextmanager
async def talk(address: str, **headers: str) -> AsyncIterator[Talk]:
    """Connect, and read `welcome`."""
    async with asyncio.timeout(60):
        async with connect(address, additional_headers=headers, compression=None) as socket:
            made = Talk(socket)
            made.welcome = await made.read()
            yield made
