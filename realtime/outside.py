"""What a system takes from the world: the clock, chance, waiting, and other venues, pages and journals in tests.

Rules of this file: (1) the only maker of clock, ids and secrets; (2) nothing here knows what a system is.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import ASGIApp

from realtime.branch import EMBEDDED, RECORDING
from realtime.engine.forgotten import SIZES, Sizes
from realtime.makers import MakeVenue, Making, on_recording
from realtime.model.market import MS
from realtime.store import Store
from realtime.venues.base import Venue


class Clock:
    """Wall time that never steps: read once, then carried on by a monotonic clock [ns]."""

    def __init__(self, wall: int, monotonic: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._offset = wall - monotonic()

    def now(self) -> int:
        """Tell the time [ns UTC]."""
        return self._offset + self._monotonic()

    def ms(self) -> int:
        """Tell the time [wire ms]."""
        return (self._offset + self._monotonic()) // MS


class LoopClock(Clock):
    """The same, carried on by the clock of the loop, which tests replace."""

    # An order asks for the time some fifteen times, hence without a call between this one and the loop's.

    def __init__(self, wall: int, loop: asyncio.AbstractEventLoop) -> None:
        self._time = loop.time
        super().__init__(wall, lambda: int(loop.time() * 1e9))

    def now(self) -> int:
        """Tell the time [ns UTC]."""
        return self._offset + int(self._time() * 1e9)

    def ms(self) -> int:
        """Tell the time [wire ms]."""
        return (self._offset + int(self._time() * 1e9)) // MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a system takes from the world; tests give their own.

    Attributes:
        wall: Wall time at the start [ns UTC].
        monotonic: What carries it on [ns]; None is the loop's clock, which tests replace.
        secret: Makes 256 random bits as text.
        sleep: Waits for seconds.
        venue: Makes the venue of the only account; by default the settings say which accounts there are.
        makers: Makers of venues instead of those that the settings name, by the id of the account.
        source: What the prices of `venue` come from, for `status`.
        page: What is served at `/`.
        store: Keeps the journal.
        sizes: How many ended orders are kept in memory, and how long.
    """

    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], int] | None = None
    secret: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    venue: MakeVenue | None = None
    makers: Mapping[str, MakeVenue] = field(default_factory=dict)
    source: str = EMBEDDED
    page: ASGIApp | None = None
    store: type[Store] = Store
    sizes: Sizes = SIZES


def replaying(file: Path, speed: float | None) -> Outside:
    """Take prices from a recorded session instead of the embedded market.

    Args:
        file: The recording.
        speed: Times the pace of the recording; None is as fast as possible.
    """

    def make(making: Making) -> Venue:
        return on_recording(making, file, speed)

    return Outside(venue=make, source=f"{RECORDING}{file.name}")
