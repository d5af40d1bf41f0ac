"""Answers without Nagle's wait: headers and body are two writes, and the second would wait 40 ms for an ACK."""

import socket

from starlette.types import ASGIApp, Receive, Scope, Send

from realtime.emulate.serving import EXTENSION


class Prompt:
    """An application on lines that send at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = scope["extensions"][EXTENSION]._transport.get_extra_info("socket")
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._app(scope, receive, send)
