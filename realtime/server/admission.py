"""Who may come in: connection cap, lobby, accept rate, reserve descriptor.

Rules of this file: (1) a refused connection costs no task and no log line of its own; (2) those inside never
notice a crowd outside. Figures: reliability document 4.1.
"""

import asyncio
import logging
import math
import os
import socket
import struct
import sys
from collections import Counter
from enum import StrEnum
from typing import Any


if sys.platform != "win32":
    import resource

logger = logging.getLogger("realtime.server")

SPARE_FILES = 128
"""Descriptors kept for the journal, the venues, the lobby and the page."""
LOBBY = 64
QUEUE_MAX_S = 30.0
"""Longest `Retry-After` of the accept rate [s]."""
FULL_RETRY_S = 5
"""`Retry-After` at the cap [s]."""
RELIEF = 100
"""Connections accepted and reset at once when the table of descriptors is full."""


class Entry(StrEnum):
    """How far a new connection may come."""

    INSIDE = "inside"
    LOBBY = "lobby"
    REFUSED = "refused"


class Admission:
    """Counts connections and paces upgrades. Owned by one event loop.

    Args:
        cap: Connections at once.
        lobby: Connections beyond the cap that are still answered with 503.
        accept_per_s: WebSocket upgrades per second.
    """

    def __init__(self, *, cap: int, lobby: int = LOBBY, accept_per_s: float = 1_000.0) -> None:
        self.cap = cap
        self.lobby = lobby
        self.accept_per_s = accept_per_s
        self.draining = False
        """Set when the server stops: every upgrade is answered 503."""
        self.inside = 0
        self.waiting = 0
        self.ended: Counter[str] = Counter()
        """Connections that we ended, by cause; refusals included. Only grows."""
        self._tokens = max(1.0, accept_per_s)
        self._paced_at: float | None = None
        self._queue_ends = -math.inf
        self._untold: Counter[str] = Counter()
        self._told_at = -math.inf
        self._reserve: int | None = None

    def enter(self, now: float) -> Entry:
        """Decide on a connection that was just accepted; give every answer back to `leave`."""
        if self.inside < self.cap:
            self.inside += 1
            return Entry.INSIDE
        if self.waiting < self.lobby:
            self.waiting += 1
            self.refused("full", now)
            return Entry.LOBBY
        self.refused("crowd", now)
        return Entry.REFUSED

    def leave(self, entry: Entry) -> None:
        """Forget a connection."""
        match entry:
            case Entry.INSIDE:
                self.inside -= 1
            case Entry.LOBBY:
                self.waiting -= 1
            case Entry.REFUSED:
                pass

    def upgrade(self, now: float) -> int | None:
        """Pace WebSocket upgrades.

        Returns:
            None to let it in, else seconds after which to come back: each refused peer gets the next slot of
            a virtual queue, so that the crowd comes back at the accept rate [s].
        """
        if self.draining:
            self.refused("draining", now)
            return FULL_RETRY_S
        if self._paced_at is None:
            self._paced_at = now
        # One second of burst, because `Retry-After` has whole seconds: those sent away come back in lumps.
        grown = self._tokens + (now - self._paced_at) * self.accept_per_s
        self._tokens = min(grown, max(1.0, self.accept_per_s))
        self._paced_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        queue = max(self._queue_ends, now) + 1 / self.accept_per_s
        self._queue_ends = min(queue, now + QUEUE_MAX_S)
        self.refused("rate", now)
        return max(1, math.ceil(round(self._queue_ends - now, 6)))

    def count(self, cause: str) -> None:
        """Note a connection that we ended."""
        self.ended[cause] += 1

    def refused(self, cause: str, now: float) -> None:
        """Note a refusal; at most one line per second tells of them."""
        self.ended[cause] += 1
        self._untold[cause] += 1
        if now - self._told_at >= 1.0:
            self._told_at = now
            told = ", ".join(f"{count} {name}" for name, count in sorted(self._untold.items()))
            self._untold.clear()
            logger.warning("connections refused: %s", told, extra={"inside": self.inside})

    # The table of descriptors

    def hold_reserve(self) -> None:
        """Keep one descriptor for the day the table is full."""
        if self._reserve is None:
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def close(self) -> None:
        """Give the reserve back."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def on_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Loop exception handler: refuse instead of a traceback per turn when descriptors run out.

        asyncio stops listening for a second then, so that peers would wait in the backlog; uvloop has a
        reserve of its own and never calls this.
        """
        listener = context.get("socket")
        if "out of system resource" not in context.get("message", "") or listener is None:
            loop.default_exception_handler(context)
            return
        self._relieve(listener.fileno(), loop.time())

    def _relieve(self, fileno: int, now: float) -> None:
        self.close()
        listener = socket.socket(fileno=fileno)
        try:
            for _ in range(RELIEF):
                peer, _ = listener.accept()
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.close()
                self.refused("files", now)
        except OSError:
            pass  # the backlog is empty, or even the reserve is gone: asyncio tries again in a second
        finally:
            listener.detach()
        try:
            self.hold_reserve()
        except OSError:
            self._reserve = None


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one.

    Returns:
        Connections that fit: the limit less what the process needs itself, and less the second descriptor
        that connections have while half of the limit is free (`sockets.second_door`).
    """
    if sys.platform == "win32":
        return 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            logger.warning("the limit of open files stays at %d", soft)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(1, (soft - SPARE_FILES) * 3 // 4)
