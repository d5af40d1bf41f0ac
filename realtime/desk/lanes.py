"""Who goes next to the venue: turns by priority, with a part kept back for stopping.

Rules of this file: (1) a turn is given in the order cancels, protective exits, exits, entries, and in order of arrival
within a lane; (2) a fifth of the calls at a time and of the rate is kept for the first two; (3) a turn not taken
(its owner was cancelled) goes to the next.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


RESERVED: Final = 0.2
"""Share of every budget that entries and plain exits may not use (trading document, V2)."""


class Lane(IntEnum):
    """Priorities, the most urgent first."""

    CANCEL = 0
    PROTECT = 1
    EXIT = 2
    ENTRY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What the venue stands.

    Attributes:
        calls: Calls in flight at a time.
        per_s: Calls per second, None where the venue has no limit.
        burst: Calls that may go at once after a rest.
    """

    calls: int = 128
    per_s: float | None = None
    burst: float = 1.0


class Turn:
    """A turn at the venue, held inside an `async with`; a class, because a generator costs twice as much."""

    __slots__ = ("_lane", "_lanes")

    def __init__(self, lanes: "Lanes", lane: Lane) -> None:
        self._lanes = lanes
        self._lane = lane

    async def __aenter__(self) -> bool:
        """Wait for it; tells whether that took any time."""
        return await self._lanes.enter(self._lane)

    async def __aexit__(self, *_: object) -> None:
        """Give it back."""
        self._lanes.leave()


class Lanes:
    """Turns at one venue."""

    def __init__(self, budget: Budget, loop: asyncio.AbstractEventLoop) -> None:
        self._budget = budget
        self._loop = loop
        # So many may fly when one of a lane begins.
        kept = int(budget.calls * RESERVED)
        self._most = [budget.calls - (kept if lane > Lane.PROTECT else 0) for lane in Lane]
        self._flying = 0
        self._queued = 0
        self._tokens = budget.burst
        self._filled_at = loop.time()
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in Lane)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def flying(self) -> int:
        """Calls in flight."""
        return self._flying

    def waiting(self, lane: Lane) -> int:
        """How many wait in a lane."""
        return len(self._waiting[lane])

    def turn(self, lane: Lane) -> "Turn":
        """Wait for a turn and hold it: `async with lanes.turn(lane)`."""
        return Turn(self, lane)

    async def enter(self, lane: Lane) -> bool:
        """Wait for a turn; `leave` must follow. Tells whether it did not come at once."""
        if self.take(lane):
            return False
        await self._queue(lane)
        return True

    def take(self, lane: Lane) -> bool:
        """Take a turn if there is one at once; then `leave` must follow."""
        if not self._free(lane) or (self._queued and any(self._waiting[: lane + 1])):
            return False
        self._take()
        return True

    def leave(self) -> None:
        """Give a turn back."""
        self._flying -= 1
        if self._queued:
            self._next()

    @property
    def quiet(self) -> bool:
        """Whether nothing flies and nothing waits."""
        return not self._flying and not any(self._waiting)

    async def _queue(self, lane: Lane) -> None:
        turn = self._loop.create_future()
        self._waiting[lane].append(turn)
        self._queued += 1
        self._next()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting[lane].remove(turn)
                self._queued -= 1
            else:
                self._flying -= 1  # it was given to one who left in the same moment
            self._next()
            raise

    def _next(self) -> None:
        for lane, waiting in enumerate(self._waiting):
            ready = [turn for turn in waiting if not turn.done()]
            for turn in ready:
                if not self._free(lane):
                    break
                self._take()
                waiting.remove(turn)
                self._queued -= 1
                turn.set_result(None)
            if waiting and lane >= Lane.EXIT:
                break  # plain lanes share one allowance: a later one cannot pass an earlier one
        self._wake_when_filled()

    def _free(self, lane: int) -> bool:
        if self._flying >= self._most[lane]:
            return False
        if self._budget.per_s is None:
            return True
        kept = 0.0 if lane <= Lane.PROTECT else RESERVED
        self._fill(self._budget.per_s)
        return self._tokens >= min(1 + self._budget.burst * kept, self._budget.burst)

    def _take(self) -> None:
        self._flying += 1
        if self._budget.per_s is not None:
            self._tokens -= 1

    def _fill(self, per_s: float) -> None:
        now = self._loop.time()
        self._tokens = min(self._budget.burst, self._tokens + (now - self._filled_at) * per_s)
        self._filled_at = now

    def _wake_when_filled(self) -> None:
        if self._budget.per_s is None or self._timer is not None or not any(self._waiting):
            return
        self._timer = self._loop.call_later(1 / self._budget.per_s, self._filled)

    def _filled(self) -> None:
        self._timer = None
        self._next()
