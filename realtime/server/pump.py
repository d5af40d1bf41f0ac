"""The pump: what the hub has to say goes to the wires, and time comes to hub and connections.

Rules of this file: (1) it is the only writer of data; (2) one write per wire and blob, for many wires in one
system call where the kernel offers that, and a wire that has had enough is detached after the loop, because
`pause_writing` may be called inside `write`; (3) one timer for all tiers and paces, on one grid, and one for the
deadlines of all connections: no connection has a timer or a task of its own here.
"""

import asyncio
import heapq
import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Protocol, cast

from realtime.hub.hub import Hub, Wire
from realtime.hub.sources import SECOND_TIER
from realtime.server.uring import Uring, UringError


logger = logging.getLogger(__name__)

TIERS: Final = (50, 100, 250)
"""Tiers that tick while anybody listens [ms]."""
CROWD: Final = 500
"""Connections from which on deadlines within 5 ms are handled together."""
TOGETHER_S: Final = 0.005
MANY: Final = 8
"""Wires from which on one system call for all is cheaper than one for each."""


class Timed(Protocol):
    """Something with deadlines."""

    @property
    def due(self) -> float:
        """When it wants `tick` [loop s]."""
        ...

    def tick(self, now: float) -> None:
        """Do what is due."""
        ...


class Swift(Wire, Protocol):
    """A wire whose socket can be sent to past its transport."""

    way: int
    """Descriptor of the socket; negative while only `write` may be used."""

    def took(self, blob: bytes, sent: int) -> bool:
        """Go on where the socket took only so many bytes of a blob; returns as `write`."""
        ...


class Pump:
    """Moves what the hub has to say; started and stopped by its owner.

    Args:
        hub: Its `wake` is taken over.
        loop: Gives time and timers.
        turned: Called about once a second, for `/healthz`.
        uring: Makes what sends to many sockets at once, or tells that there is no such thing; the wires are
            `Swift` then.

    Attributes:
        flushed: Told how long what was published waited until it was written [s].
    """

    def __init__(
        self,
        hub: Hub,
        loop: asyncio.AbstractEventLoop,
        *,
        turned: Callable[[], None] | None = None,
        uring: Callable[[], Uring | None] | None = None,
    ) -> None:
        self._hub = hub
        self._loop = loop
        self._turned = turned or _ignore
        self._open = uring
        self._uring: Uring | None = None
        self._doubtful = b""
        self._scheduled = False
        self._woken = 0.0
        self.flushed: Callable[[float], None] = _unmeasured
        self._readers = 0
        self._paces: Counter[int] = Counter()
        self._next: dict[int, int] = {}
        self._grid: asyncio.TimerHandle | None = None
        self._deadlines: list[tuple[float, int, Timed]] = []
        self._wanted: dict[Timed, float] = {}
        self._number = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._running = False

    def start(self) -> None:
        """Begin; until now the hub may have collected, but nothing leaves."""
        self._running = True
        self._uring = self._open() if self._open is not None else None
        self._hub.wake = self.wake
        self._want(SECOND_TIER)
        self.wake()

    def stop(self) -> None:
        """End: no timer is left."""
        self._running = False
        if self._uring is not None:
            self._uring.close()
            self._uring = None
        self._hub.wake = _ignore
        for handle in (self._grid, self._alarm):
            if handle is not None:
                handle.cancel()
        self._grid = self._alarm = None
        self._next.clear()
        self._deadlines.clear()
        self._wanted.clear()

    # --- data --------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Flush at the end of this turn of the loop."""
        if not self._scheduled:
            self._scheduled = True
            self._woken = self._loop.time()
            self._loop.call_soon(self._flush_scheduled)

    def _flush_scheduled(self) -> None:
        self._scheduled = False
        if self._running:
            self.flush()
            self.flushed(self._loop.time() - self._woken)

    def flush(self) -> None:
        """Write everything that is due."""
        full: list[Wire] = []
        for blob, wires in self._hub.flush():
            if self._uring is None or len(wires) < MANY:
                full += [wire for wire in wires if not wire.write(blob)]
            else:
                try:
                    full += write_together(self._uring, blob, cast("Sequence[Swift]", wires))
                except UringError:
                    self._doubt(blob, wires)
        for wire in full:
            self._hub.paused(wire)

    def _doubt(self, blob: bytes, wires: Sequence[Wire]) -> None:
        """Go on without the kernel's rings; whoever may have got a blob in part begins anew, and never with a gap."""
        logger.error("io_uring is not what it was at the start; one send for each from now on")
        if self._uring is not None:
            self._uring.close()
        self._uring = None
        self._doubtful = blob  # the kernel may still read it
        for wire in wires:
            wire.abort()

    # --- tiers and paces ---------------------------------------------------------------------------

    def joined(self, every: int) -> None:
        """Note a reader with this pace [ms]."""
        self._readers += 1
        if self._readers == 1:
            for rate in TIERS:
                self._want(rate)
        if every:
            self._paces[every] += 1
            self._want(every)

    def left(self, every: int) -> None:
        """Note that such a reader is gone."""
        self._readers -= 1
        if every:
            self._paces[every] -= 1
            if not self._paces[every]:
                del self._paces[every]
        for period in list(self._next):
            if not self._needed(period):
                del self._next[period]

    def _needed(self, period: int) -> bool:
        if period == SECOND_TIER:
            return True
        return (self._readers > 0 and period in TIERS) or period in self._paces

    def _want(self, period: int) -> None:
        if self._running and period not in self._next:
            self._next[period] = _after(period, self._millis())
            self._arm()

    def _millis(self) -> int:
        return round(self._loop.time() * 1000)

    def _arm(self) -> None:
        if self._grid is not None:
            self._grid.cancel()
        self._grid = self._loop.call_at(min(self._next.values()) / 1000, self._on_grid)

    def _on_grid(self) -> None:
        self._grid = None
        now = self._millis()
        due = sorted(period for period, at in self._next.items() if at <= now)
        for period in due:
            self._next[period] = _after(period, now)
            if period in TIERS or period == SECOND_TIER:
                self._hub.tick(period)
            if period == SECOND_TIER:
                self._turned()
        # Behind the tiers: what a tier has just published belongs to the paces of the same moment.
        for period in due:
            if period in self._paces:
                self._hub.due(period)
        self._arm()

    # --- deadlines ---------------------------------------------------------------------------------

    def watch(self, timed: Timed) -> None:
        """Call `tick` when it is due; again after every change of its `due`."""
        due = timed.due
        if self._wanted.get(timed) == due:
            return
        self._wanted[timed] = due
        self._number += 1
        heapq.heappush(self._deadlines, (due, self._number, timed))
        self._set_alarm()

    def forget(self, timed: Timed) -> None:
        """Watch it no more."""
        self._wanted.pop(timed, None)

    def _set_alarm(self) -> None:
        if not self._deadlines or (
            self._alarm is not None and self._alarm_at <= self._deadlines[0][0]
        ):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadlines[0][0]
        self._alarm = self._loop.call_at(self._alarm_at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        now = self._loop.time()
        if len(self._wanted) > CROWD:
            now += TOGETHER_S
        while self._deadlines and self._deadlines[0][0] <= now:
            due, _, timed = heapq.heappop(self._deadlines)
            if self._wanted.get(timed) == due:
                del self._wanted[timed]
                timed.tick(now)
        self._set_alarm()


def write_together(uring: Uring, blob: bytes, wires: Sequence[Swift]) -> list[Wire]:
    """Write a blob to many wires: in one system call to all whose sockets can be sent to, then to the rest.

    Returns:
        Those that have had enough.
    """
    # No callback between here and the call: a wire that ends closes its descriptor.
    ways = [wire.way for wire in wires]
    full: list[Wire] = []
    for at, sent in uring.send(blob, ways).items():
        wire = wires[at]
        more = wire.write(blob) if ways[at] < 0 else wire.took(blob, sent)
        if not more:
            full.append(wire)
    return full


def _after(period: int, now: int) -> int:
    """Give the next point of the grid of a period, later than now [ms]."""
    return (now // period + 1) * period


def _ignore() -> None:
    """Stand for somebody who is not there."""


def _unmeasured(_seconds: float) -> None:
    """Measure nothing."""
