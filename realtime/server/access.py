"""One line per request and socket, without query string: tickets stand in queries."""

import logging
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send


logger = logging.getLogger("realtime.access")


LEVELS: Final = {"http": logging.INFO, "websocket": logging.DEBUG}
"""A request is worth a line; a socket is not, where ten thousand come back after a restart."""
LONGEST: Final = 200
"""Characters of a path that a line has: anybody may ask for one of 16 KiB, and readers of `logs` get messages of 1 MiB."""


class AccessLog:
    """Logs method, path, status and duration of each HTTP request and each WebSocket handshake.

    Source: uvicorn's own lines carry the query (reliability document 2.4), hence are switched off.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on, watch for the status."""
        level = LEVELS.get(scope["type"])
        if level is None or not logger.isEnabledFor(level):
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        method = scope.get("method", "WS")
        path = scope["path"][:LONGEST]
        if not (path.isascii() and path.isprintable()):  # or anybody could write lines of his own
            path = ascii(path)[:LONGEST]

        async def watched(message: Message) -> None:
            match message["type"]:
                case "http.response.start" | "websocket.http.response.start":
                    status = message["status"]
                case "websocket.accept":
                    status = 101
                case _:
                    status = None
            if status is not None:
                client = scope.get("client")
                logger.log(
                    level,
                    "%s %s %d",
                    method,
                    path,
                    status,
                    extra={
                        "method": method,
                        "path": path,
                        "status": status,
                        "ms": round((time.monotonic() - began) * 1000, 1),
                        "client": f"{client[0]}:{client[1]}" if client else None,
                    },
                )
            await send(message)

        await self._app(scope, receive, watched)
