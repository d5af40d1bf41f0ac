"""One open socket of an emulated exchange: frames out in order, frames in, and what goes wrong with both."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from starlette.websockets import WebSocket, WebSocketDisconnect

from realtime.emulate.faults import Fault, Faults, Kind
from realtime.emulate.serving import EXTENSION, Line


WAITING: Final = 20_000
"""Frames that may wait for a slow reader; with more it is cut off, as exchanges do."""

OnFrame = Callable[[str], Awaitable[None] | None]


class Socket:
    """One connection.

    Args:
        websocket: Not accepted yet.
        name: What scripts call it, e.g. `private` or `public/spot`.
        faults: What goes wrong.

    Attributes:
        frozen: Data is lost; replies and pongs go out.
        muted: Pongs are lost, ours (`pong`) and those of the protocol.
    """

    def __init__(self, websocket: WebSocket, name: str, faults: Faults) -> None:
        self.name = name
        self.frozen = False
        self.muted = False
        self._websocket = websocket
        self._faults = faults
        self._line: Line = websocket.scope["extensions"][EXTENSION]
        self._waiting: deque[tuple[str | bytes, Fault | None]] = deque()
        self._wake = asyncio.Event()
        self._behind: str | bytes | None = None
        self._closing: tuple[int, str] | None = None

    # --- out ----------------------------------------------------------------------------------

    def data(self, topic: str, message: object) -> None:
        """Send a frame of a stream; `message` is text, or becomes JSON."""
        fault = self._faults.take(f"{self.name}:{topic}")
        if self.frozen:
            return
        text = message if isinstance(message, str | bytes) else orjson.dumps(message).decode()
        if fault is not None:
            if fault.kind in {Kind.SWALLOW, Kind.GAP}:
                return
            if fault.kind is Kind.DUPLICATE:
                self._put(text)
            elif fault.kind is Kind.REORDER and self._behind is None:
                self._behind = text
                return
            elif fault.kind is Kind.SLOW:
                self._put(text, fault)
                return
            elif fault.kind is not Kind.REORDER:
                self.strike(fault)
        self._put(text)
        if self._behind is not None:
            behind, self._behind = self._behind, None
            self._put(behind)

    def reply(self, message: object) -> None:
        """Send an answer to a request of the client."""
        self._put(message if isinstance(message, str | bytes) else orjson.dumps(message).decode())

    def pong(self, message: object) -> None:
        """Answer a ping of the client, or send a heartbeat."""
        if not self.muted:
            self.reply(message)

    def _put(self, text: str | bytes, fault: Fault | None = None) -> None:
        if self._line.silent:
            return
        if len(self._waiting) >= WAITING:
            self._line.abort()
            return
        self._waiting.append((text, fault))
        self._wake.set()

    # --- what goes wrong ------------------------------------------------------------------------

    def strike(self, fault: Fault) -> None:
        """Let a fault happen now."""
        line = self._line
        match fault.kind:
            case Kind.CLOSE:
                self.close(int(fault.code or 1012), fault.message)
            case Kind.ABORT | Kind.DROP:
                line.abort()
            case Kind.HALF_CLOSE:
                line.half_close()
            case Kind.HALF_OPEN | Kind.HANG:
                line.silent = True
                self._waiting.clear()
            case Kind.FROZEN:
                self.frozen = True
            case Kind.MUTED:
                self.muted = line.muted = True
            case Kind.THAW:
                self.frozen = self.muted = line.muted = line.silent = False
            case _:
                raise ValueError(f"{fault.kind} is not a fault of open sockets")

    def close(self, code: int, reason: str = "") -> None:
        """Close behind what waits."""
        self._closing = (code, reason)
        self._wake.set()

    # --- life ---------------------------------------------------------------------------------

    async def run(self, on_frame: OnFrame) -> None:
        """Accept, then serve until the connection ends; `on_frame` is called with each text that comes."""
        await self._websocket.accept()
        self._faults.sockets.append(self)
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(), name=f"{self.name} writer")
                await self._read(on_frame)
                writer.cancel()
        finally:
            self._faults.sockets.remove(self)

    async def _read(self, on_frame: OnFrame) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                text = message["bytes"].decode("utf-8", "replace")
            answered = on_frame(text)
            if answered is not None:
                await answered

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._waiting:
                    text, fault = self._waiting.popleft()
                    if fault is not None:
                        await asyncio.sleep(fault.seconds)
                    if isinstance(text, bytes):
                        await self._websocket.send_bytes(text)
                    else:
                        await self._websocket.send_text(text)
                if self._closing is not None:
                    code, reason = self._closing
                    await self._websocket.close(code, reason)
                    return
            except (WebSocketDisconnect, RuntimeError):
                return  # it is gone: the reader learns that as well
