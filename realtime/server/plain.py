"""The wire of any ASGI server: a bounded queue and one task that writes it.

It keeps every promise of the protocol document but those that need the transport itself: a stalled
peer is found when `send` does not return, and what uvicorn or the kernel hold is not counted.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from starlette.types import Send

from realtime.hub.protocol import Close
from realtime.server.sockets import NO_WAY


HIGH: Final = 65_536
LOW: Final = 16_384
STALL_S: Final = 10.0
STALL_UNKNOWN_S: Final = 3.0
OVERRUN: Final = 4 * HIGH
"""Bytes waiting at which a peer is given up whatever its timer says."""


class PlainWire:
    """Frames to an ASGI `send`; the seam of `server/websocket.py` for servers without it.

    Attributes:
        way: To send past the queue there is none.
        paused: Whether what is written only waits.
        on_resume: Called when the queue has drained to the low mark.
        on_pause: Called when it has reached the high one.
        authenticated: Whether the peer is known, which gives it more patience.
    """

    way: Final = NO_WAY

    def __init__(self, send: Send) -> None:
        self._send = send
        self._queue: deque[bytes] = deque()
        self._bytes = 0
        self._closing: tuple[int, str] | None = None
        self._ended = False
        self._news = asyncio.Event()
        self.paused = False
        self.authenticated = False
        self.rtt_s: float | None = None
        self.on_resume: Callable[[], None] = _nothing
        self.on_pause: Callable[[], None] = _nothing

    def write(self, blob: bytes) -> bool:
        """Take whole text frames."""
        if self._ended or self._closing is not None:
            return False
        self._queue.append(blob)
        self._bytes += len(blob)
        self._news.set()
        if self._bytes > OVERRUN:
            self.abort()
        elif self._bytes > HIGH and not self.paused:
            self.paused = True
            self.on_pause()
        return not self.paused

    write_soon = write
    """Whether it leaves with others is the server's affair."""

    def buffered(self) -> int:
        """Bytes that have not been given to the server [B]."""
        return self._bytes

    def close(self, code: int, reason: str) -> None:
        """Close behind what is queued."""
        if self._closing is None:
            self._closing = (code, reason)
            self.paused = True
            self._news.set()

    def listen(self, take: Callable[[str | None], None]) -> None:
        """Nothing: all that comes is given to the endpoint."""

    def abort(self) -> None:
        """Give the peer up, and let go of who listens, who has this wire: no cycle keeps it."""
        self.on_pause = self.on_resume = _nothing
        self._ended = True
        self.paused = True
        self._queue.clear()
        self._bytes = 0
        self._news.set()

    async def run(self) -> None:
        """Write the queue until the end; the endpoint's only other task."""
        while not self._ended:
            while self._queue and not self._ended:
                await self._deliver(self._queue[0])
            if self._closing is not None or self._ended:
                break
            self._news.clear()
            await self._news.wait()
        code, reason = self._closing or (Close.SLOW_CONSUMER, Close.SLOW_CONSUMER.reason)
        # It may be gone already, as `receive` of the endpoint says, and each library has another error for that.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(STALL_UNKNOWN_S):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})

    async def _deliver(self, blob: bytes) -> None:
        patience = STALL_S if self.authenticated else STALL_UNKNOWN_S
        try:
            for text in texts(blob):
                async with asyncio.timeout(patience):
                    await self._send({"type": "websocket.send", "text": text})
        except (OSError, TimeoutError):
            self.abort()
            return
        if not self._queue:
            return  # aborted meanwhile
        self._queue.popleft()
        self._bytes -= len(blob)
        if self.paused and self._closing is None and not self._ended and self._bytes <= LOW:
            self.paused = False
            self.on_resume()


def texts(blob: bytes) -> Iterator[str]:
    """Take whole unmasked text frames apart again (RFC 6455, 5.2)."""
    at = 0
    while at < len(blob):
        size = blob[at + 1]
        at += 2
        if size == 126:
            size = int.from_bytes(blob[at : at + 2], "big")
            at += 2
        elif size == 127:
            size = int.from_bytes(blob[at : at + 8], "big")
            at += 8
        yield blob[at : at + size].decode()
        at += size


def _nothing() -> None:
    """Stand for a listener that is not there."""
