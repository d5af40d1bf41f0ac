"""A server for the transport tests: an ASGI application that does what the path says, on a loop of its own.

Runs in a thread (`Served`) or as a process (`python -m tests.server.served ...`), over our protocol classes or
uvicorn's own.
"""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import orjson
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from realtime.hub.frames import text_frame
from realtime.server.transport import Admission, TransportLimits, Wire, bind, config, quiet


ROOT = Path(__file__).parent.parent.parent
FAST = TransportLimits(
    linger_s=0.3,
    user_timeout_s=0.5,
    header_s=0.3,
    body_s=0.4,
    stall_s=0.4,
    stall_anonymous_s=0.2,
    ping_s=0.25,
    pong_s=0.25,
)
"""All waits of one peer, some twenty times shorter."""
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
FLOOD = b"\x81\x7e\x03\xe8" + b"x" * 1_000


class App:
    """The application. `wires` and `bodies` are what a test wants to look at."""

    def __init__(self) -> None:
        self.wires: deque[Wire] = deque(maxlen=64)
        self.closed: deque[dict[str, Any]] = deque(maxlen=64)
        self.received: deque[str] = deque(maxlen=1_000)
        self.hold = asyncio.Event()
        self.flooded = 0
        self.ended: Mapping[str, int] = {}
        """`Admission.ended`, where it is told to another process."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self.socket(scope, receive, send)
        else:
            await self.http(scope, receive, send)

    async def socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        path = scope["path"]
        if path == "/refuse":
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            return
        if path == "/late":
            await self.hold.wait()
        wire: Wire | None = scope["extensions"].get("realtime")
        if wire is not None:
            self.wires.append(wire)
        await send({"type": "websocket.accept"})
        match path:
            case "/flood":
                async with asyncio.TaskGroup() as group:
                    flood = group.create_task(self.flood(wire, send))
                    await self.drain(receive)
                    flood.cancel()
            case "/deaf":
                await self.hold.wait()
                await self.drain(receive)
            case "/told" if wire is not None:
                wire.listen(partial(self.told, wire))
                await self.drain(receive)
            case _:
                await self.echo(receive, send)

    def told(self, wire: Wire, text: str | None) -> None:
        if text == "mistake":
            try:
                raise AssertionError(text)
            finally:
                wire.close(4500, "internal")
        if text is None:
            wire.close(4400, "binary")
        else:
            wire.write_soon(text_frame(text.encode()))

    async def echo(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.closed.append(dict(message))
                return
            text = message.get("text")
            self.received.append(text if text is not None else repr(message.get("bytes")))
            if text == "close":
                await send({"type": "websocket.close", "code": 4503, "reason": "shutdown"})
            elif text is None:
                await send({"type": "websocket.send", "bytes": message.get("bytes")})
            else:
                await send({"type": "websocket.send", "text": text})

    async def drain(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            pass
        self.closed.append(dict(message))

    async def flood(self, wire: Wire | None, send: Send) -> None:
        while True:
            if wire is None:
                await send({"type": "websocket.send", "text": "x" * 1_000})
            else:
                for _ in range(4):
                    if not wire.paused:
                        wire.write(FLOOD)
                        self.flooded += 1
            await asyncio.sleep(0.001)

    async def http(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["path"]:
            case "/hold":
                await self.hold.wait()
                body = b"held"
            case "/big":
                body = b"x" * 2_000_000
            case "/ended":
                body = orjson.dumps(self.ended)
            case "/scope":
                names = [name.decode() for name, _ in scope["headers"]]
                body = orjson.dumps(
                    {"path": scope["path"], "client": scope["client"], "headers": names}
                )
            case "/body":
                body = b""
                while True:
                    message = await receive()
                    body += message.get("body", b"")
                    if not message.get("more_body"):
                        break
                body = b"%d" % len(body)
            case "/stream":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"begun", "more_body": True})
                await self.hold.wait()
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
            case _:
                body = b"ok"
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


class Served:
    """The application behind our classes, on an event loop in a thread of its own."""

    def __init__(self, *, limits: TransportLimits, admission: Admission, loop: str) -> None:
        self.app = App()
        self.admission = admission
        self.state = ServerState()
        self.errors: list[dict[str, Any]] = []
        self.loop = LOOPS[loop]()
        self._config = uvicorn.Config(self.app, **config(limits, admission))
        self._config.load()
        self._limits = limits
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self.address = ("127.0.0.1", 0)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        try:
            self.loop.run_until_complete(self._serve())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    async def _serve(self) -> None:
        def protocol() -> asyncio.Protocol:
            return self._config.http_protocol_class(  # type: ignore[call-arg]
                config=self._config, server_state=self.state, app_state={}
            )

        listener = bind("127.0.0.1", 0, self._limits)
        server = await self.loop.create_server(protocol, sock=listener)
        self.address = listener.getsockname()
        self._ready.set()
        await self._stop.wait()
        server.close()
        self.app.hold.set()
        for connection in list(self.state.connections):
            connection.transport.abort()
        if self.state.tasks:
            await asyncio.wait(self.state.tasks)
        await asyncio.sleep(0.01)

    def call(self, function: Any, *args: Any) -> Any:
        """Run a function on the server's loop and give its result."""
        done = threading.Event()
        result: list[Any] = []

        def run() -> None:
            try:
                result.append(function(*args))
            finally:
                done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(30)
        return result[0]

    def until(self, holds: Any, *, timeout_s: float = 30.0) -> None:
        """Wait until something holds on the server."""
        began = time.monotonic()
        while not self.call(holds):
            assert time.monotonic() - began < timeout_s, "never held"
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *exc: object) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@contextmanager
def served(
    *,
    limits: TransportLimits = FAST,
    admission: Admission | None = None,
    loop: str = "asyncio",
    **changed: Any,
) -> Iterator[Served]:
    """Our transport with short waits; `changed` are fields of the limits."""
    given = admission if admission is not None else Admission(cap=1_000)
    with Served(limits=replace(limits, **changed), admission=given, loop=loop) as server:
        yield server


@contextmanager
def process(
    kind: str = "ours", *, limits: TransportLimits = FAST, loop: str = "uvloop", cap: int = 10_000
) -> Iterator[tuple[int, tuple[str, int]]]:
    """The same in a process of its own: pid and address. `kind` is `ours` or `uvicorn`."""
    arguments = orjson.dumps({"kind": kind, "limits": asdict(limits), "loop": loop, "cap": cap})
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.server.served", arguments.decode()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        assert line, child.stderr.read().decode() if child.stderr else ""
        yield child.pid, ("127.0.0.1", int(line))
    finally:
        child.kill()
        child.communicate()


def main() -> None:
    told = orjson.loads(sys.argv[1])
    limits = TransportLimits(**told["limits"])
    app = App()
    quiet()
    if told["kind"] == "ours":
        sock = bind("127.0.0.1", 0, limits)
        admission = Admission(cap=told["cap"], accept_per_s=10_000)
        app.ended = admission.ended
        options = config(limits, admission)
    else:
        sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
        options = {
            "ws": "websockets-sansio",
            "http": "httptools",
            "ws_max_size": 65_536,
            "ws_ping_interval": limits.ping_s,
            "ws_ping_timeout": limits.pong_s,
            "log_level": "error",
            "lifespan": "off",
        }
    server = uvicorn.Server(uvicorn.Config(app, loop=told["loop"], **options))
    print(sock.getsockname()[1], flush=True)
    server.run(sockets=[sock])


if __name__ == "__main__":
    main()
