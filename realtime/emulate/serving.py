"""Serving an emulated exchange: uvicorn's protocols on a socket of our own, with a hand on the line.

An application finds a `Line` in `scope["extensions"]["realtime.emulate"]`, through which it can do what no polite
server does: reset a connection, fall silent, say only its own goodbye.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState


EXTENSION: Final = "realtime.emulate"
FRAME: Final = 1_048_576
"""Bytes of a frame from a client at most."""
PARTING_S: Final = 0.5
"""Time for handlers to notice that their connection is gone."""


class Line:
    """One TCP connection.

    Attributes:
        silent: Nothing that comes in is looked at, and the peer's pings get no answer.
        muted: Pings get no answer.
    """

    __slots__ = ("_transport", "muted", "silent")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.silent = False
        self.muted = False

    def abort(self) -> None:
        """Reset the connection."""
        self._transport.abort()

    def close(self) -> None:
        """End the connection behind what was written."""
        self._transport.close()

    def half_close(self) -> None:
        """Say that nothing more comes, and go on listening."""
        if self._transport.can_write_eof():
            self._transport.write_eof()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP, with the line in the scope."""

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = {EXTENSION: Line(self.transport)}  # type: ignore[dict-item]


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, with the line in the scope and pongs that can be withheld."""

    line: Line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Meet the transport."""
        # uvloop's is no subclass of asyncio's.
        self.line = Line(cast("asyncio.Transport", transport))
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes in, or leave them."""
        if not self.line.silent:
            super().data_received(data)

    def handle_connect(self, event: object) -> None:
        """Begin, with the line in the scope."""
        super().handle_connect(event)  # type: ignore[arg-type]
        if hasattr(self, "scope"):
            self.scope["extensions"][EXTENSION] = self.line  # type: ignore[assignment]

    def handle_ping(self) -> None:
        """Answer a ping, or not."""
        if self.line.muted or self.line.silent:
            self.conn.data_to_send()
        else:
            super().handle_ping()


@asynccontextmanager
async def serving(app: ASGIApp, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve an application while the block runs, in this event loop.

    Args:
        app: Of HTTP and WebSockets.
        host: Address to bind.
        port: 0 takes a free one.

    Yields:
        The endpoint, e.g. `http://127.0.0.1:43210`.
    """
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With its protocol named, or asyncio would leave Nagle's algorithm on: 40 ms for headers and body.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    config = uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=FRAME,
        ws_ping_interval=None,
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        timeout_keep_alive=60,
        server_header=False,
        access_log=False,
        lifespan="off",
        log_config=None,
    )
    config.load()
    state = ServerState()
    server = await loop.create_server(
        lambda: HttpProtocol(config=config, server_state=state, app_state={}, _loop=loop),
        sock=listener,
    )
    shown = f"[{host}]" if family is socket.AF_INET6 else host
    try:
        yield f"http://{shown}:{listener.getsockname()[1]}"
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=PARTING_S)
            for task in late:
                task.cancel()
