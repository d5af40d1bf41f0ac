"""The servers under test: `python -m realtime.bench.servers KIND`, orders on stdin.

Prints its port, then takes one order per line:

    publish CHANNELS RATE BYTES   rounds over so many channels, RATE a second, 0 = without a pause
    stop
    work FOLDER                   backtests and a search beside it, without end (`work.prepare` has filled the folder)
    stats                         answers JSON

`ours` is the whole front over a hub that is fed here; `starlette` is the usual broadcast on uvicorn as it comes.
"""

import asyncio
import gc
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from realtime.bench.work import Work
from realtime.commands import connection
from realtime.commands.registry import Registry
from realtime.hub.hub import Hub
from realtime.server import asgi
from realtime.server.auth import Auth
from realtime.server.health import Health
from realtime.server.transport import Admission, TransportLimits, bind, config, quiet


def symbol(number: int) -> str:
    """Market of a channel."""
    return f"S{number:02d}/USDT"


SYMBOLS = frozenset(symbol(number) for number in range(100))


AROUND = 124
"""An update without its padding [B]."""


def padding(size: int) -> str:
    """Text that brings a message to about `size` bytes."""
    return "x" * max(0, size - AROUND)


class Publisher(Protocol):
    """What publishes one round."""

    def begin(self, channels: int, size: int) -> None:
        """Prepare."""
        ...

    async def round(self) -> None:
        """Publish one message on each channel."""
        ...

    def tell(self, channel: str, row: Mapping[str, object]) -> None:
        """Publish how a job is doing."""
        ...


class Ours:
    """The whole front over a hub that this process feeds: everything but exchange and journal."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        def now() -> int:
            return time.time_ns() // 1_000_000

        def facts() -> Mapping[str, object]:
            return {"trading_state": "active", "venues": []}

        loop = asyncio.get_running_loop()
        self.hub = Hub(boot="bench", journal="bench", now=now)
        self.hub.symbols = SYMBOLS
        auth = Auth(now=now, clock=loop.time, secret=secret)
        self.app = asgi.build(
            asgi.System(
                hub=self.hub,
                registry=Registry(connection.ops(auth, facts), mode="paper", now=now, token=secret),
                auth=auth,
                health=Health(list),
                mode="paper",
                version="bench",
                now=now,
                secret=secret,
                spawn=tasks.create_task,
                venues=list,
                trading_state=lambda: "active",
                asof=dict,
                per_principal=1_000_000,
            )
        )
        self.app.start()
        self._names: list[str] = []
        self._pad = ""

    def begin(self, channels: int, size: int) -> None:
        """Choose the channels and the padding."""
        self._names = [f"ticker:{symbol(number)}" for number in range(channels)]
        self._pad = padding(size)

    async def round(self) -> None:
        """Publish; the pump writes at the end of the turn."""
        hub, pad = self.hub, self._pad
        for name in self._names:
            hub.value(name, {"t": time.monotonic_ns(), "pad": pad})

    def tell(self, channel: str, row: Mapping[str, object]) -> None:
        """Publish how a job is doing."""
        self.hub.value(channel, row)


def secret() -> str:
    """Random text, as the front wants it."""
    return secrets.token_urlsafe(32)


class Broadcast:
    """The usual way: a set of sockets and a loop that awaits each."""

    def __init__(self) -> None:
        self.app = Starlette(routes=[WebSocketRoute("/ws", self.endpoint)])
        self.clients: set[WebSocket] = set()
        self._channels = 0
        self._pad = ""

    async def endpoint(self, ws: WebSocket) -> None:
        """Keep the socket until it ends."""
        await ws.accept()
        self.clients.add(ws)
        try:
            while True:
                await ws.receive_text()
        except WebSocketDisconnect:
            pass
        finally:
            self.clients.discard(ws)

    def begin(self, channels: int, size: int) -> None:
        """Choose the channels and the padding."""
        self._channels = channels
        self._pad = padding(size)

    async def round(self) -> None:
        """Await every client for every message."""
        for number in range(self._channels):
            message = {
                "type": "update",
                "channel": f"ticker:{symbol(number)}?rate=0",
                "epoch": "bench",
                "seq": 1,
                "ts": time.time_ns() // 1_000_000,
                "data": {"t": time.monotonic_ns(), "pad": self._pad},
            }
            text = orjson.dumps(message).decode()
            for client in list(self.clients):
                try:
                    await client.send_text(text)
                except (WebSocketDisconnect, RuntimeError):
                    self.clients.discard(client)

    def tell(self, channel: str, row: Mapping[str, object]) -> None:
        """Keep silent: it is no server of jobs."""


class Control:
    """Orders from stdin, and the rounds."""

    def __init__(self, publisher: Publisher, tasks: asyncio.TaskGroup) -> None:
        self._publisher = publisher
        self._tasks = tasks
        self._work: Work | None = None
        self._rounds = 0
        self._late = 0
        self._running: asyncio.Event = asyncio.Event()
        self._rate = 0.0
        self.ended = asyncio.Event()

    def order(self, line: str) -> None:
        """Do what a line says."""
        match line.split():
            case ["publish", channels, rate, size]:
                self._publisher.begin(int(channels), int(size))
                self._rate = float(rate)
                self._running.set()
            case ["stop"]:
                self._running.clear()
            case ["work", folder]:
                self._work = Work(self._publisher.tell)
                self._tasks.create_task(self._work.run(Path(folder)))
            case ["stats"]:
                times = os.times()
                told = {
                    "rounds": self._rounds,
                    "late": self._late,
                    "cpu_s": times.user + times.system,
                    "workers": self._work.pool.pids if self._work else [],
                    "done": self._work.done if self._work else {},
                }
                print(orjson.dumps(told).decode(), flush=True)
            case _:
                self.ended.set()

    async def publish(self) -> None:
        """Publish rounds while told to."""
        loop = asyncio.get_running_loop()
        while True:
            await self._running.wait()
            due = loop.time()
            while self._running.is_set():
                await self._publisher.round()
                self._rounds += 1
                if not self._rate:
                    await asyncio.sleep(0)
                    continue
                due += 1 / self._rate
                wait = due - loop.time()
                if wait < -1.0:  # overrun: a backlog would be published in one lump later
                    self._late += 1
                    due = loop.time()
                await asyncio.sleep(max(0.0, wait))


async def run(kind: str) -> None:
    """Serve until stdin ends."""
    loop = asyncio.get_running_loop()
    pending = b""

    def readable() -> None:
        nonlocal pending
        data = os.read(0, 4096)
        if not data:
            control.ended.set()
            loop.remove_reader(0)
            return
        *lines, pending = (pending + data).split(b"\n")
        for each in lines:
            control.order(each.decode())

    async with asyncio.TaskGroup() as tasks:
        app: ASGIApp
        publisher: Publisher
        if kind == "ours":
            quiet()
            limits = TransportLimits()
            ours = Ours(tasks)
            app, publisher = ours.app, ours
            options = config(limits, Admission(cap=20_000, accept_per_s=100_000))
            sock = bind("127.0.0.1", 0, limits)
        else:
            broadcast = Broadcast()
            app, publisher = broadcast.app, broadcast
            options = {"log_level": "error", "lifespan": "off"}
            sock = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        control = Control(publisher, tasks)
        loop.add_reader(0, readable)
        server = uvicorn.Server(uvicorn.Config(app, **options))
        gc.collect()
        gc.freeze()
        tasks.create_task(server.serve(sockets=[sock]))
        tasks.create_task(control.publish())
        print(sock.getsockname()[1], flush=True)
        await control.ended.wait()
        os._exit(0)  # thousands of sockets need no goodbye


def main(kind: str) -> None:
    """Run one kind of server on the loop uvicorn would take."""
    factory = uvicorn.Config(lambda: None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run(kind))


if __name__ == "__main__":
    main(sys.argv[1])
