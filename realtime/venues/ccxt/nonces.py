"""Numbers that must rise with every signed request of a key, and who signs next.

Rules of this file: (1) one signed request of a key is under way at a time, because two that overtake each other are one
too many; (2) the number is the clock in the exchange's unit, or one more than the last, whichever is larger, and the
journal knows a larger one before it is used, so that no restart and no clock set back repeats one; (3) a refused number
skips ahead, and only a read is sent again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from realtime.model.durations import Durations
from realtime.model.market import MS
from realtime.venues.ccxt.account import Secret
from realtime.venues.ccxt.way import LANE, Lane


BLOCK: Final = 1_000
"""The journal keeps a number so many milliseconds ahead of the one used."""
SKIP_MS: Final = 10_000
"""How far a refused number skips ahead [ms]."""
RECENT: Final = 10
TRIES: Final = 3
T = TypeVar("T")


class Ledger(Protocol):
    """Where the largest number of each key is kept; the composition root has it in the journal."""

    def last(self, key: str) -> int | None:
        """Give the largest number kept for a key (by its fingerprint); None for a new one."""

    def reserve(self, key: str, upto: int) -> Awaitable[object]:
        """Keep a number; queued at once, and done when it is on disk."""
        ...


class Forgetful:
    """A ledger for a journal in memory, and for whoever only looks."""

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}

    def last(self, key: str) -> int | None:
        """Give the largest number."""
        return self._kept.get(key)

    async def reserve(self, key: str, upto: int) -> None:
        """Keep a number."""
        self._kept[key] = upto


class Nonces:
    """The numbers of one key.

    Args:
        key: The key, shown masked.
        fingerprint: Its name in the ledger.
        unit: Of the exchange's numbers: how many are in a second (1, 1,000, 1,000,000 …).
        rising: Whether the exchange wants them to rise; otherwise requests are only counted, and sent at once.
        now: Our time [ns UTC].
        ledger: Keeps the largest.
        loop: Its clock measures waits.
        offset_ms: Gives the exchange's time less ours; None while it is not measured [ms].
        resync: Measures the offset again.
    """

    def __init__(
        self,
        key: Secret,
        fingerprint: str,
        *,
        unit: int,
        rising: bool,
        now: Callable[[], int],
        ledger: Ledger,
        loop: asyncio.AbstractEventLoop,
        offset_ms: Callable[[], float | None] = lambda: None,
        resync: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.key = key
        self.rising = rising
        self._fingerprint = fingerprint
        self._unit = unit
        self._now = now
        self._ledger = ledger
        self._loop = loop
        self._offset_ms = offset_ms
        self._resync = resync
        self._last = self._kept = ledger.last(fingerprint) or 0
        self._busy = False
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(deque() for _ in Lane)
        self._keeping: set[asyncio.Future[object]] = set()
        self._waits = Durations()
        self._callers: Counter[str] = Counter()
        self._recent: deque[Mapping[str, object]] = deque(maxlen=RECENT)
        self._waited_s = 0.0
        self._requested_ts: int | None = None
        self._issued_last: int | None = None
        self.issued = 0
        self.rejected = 0
        self.retried = 0

    # -- turns to sign -----------------------------------------------------------------------------

    async def enter(self) -> None:
        """Wait for the right to sign, the most urgent lane first; `leave` must follow.

        Raises:
            Refused: The journal takes no number; nothing is signed.
        """
        lane, since = LANE.get(), self._loop.time()
        self._callers[lane.name.lower()] += 1
        self._requested_ts = self._now() // MS
        if not self.rising:
            return
        if self._busy:
            await self._queue(lane)
        self._busy = True
        self._waited_s = self._loop.time() - since
        self._waits.add(self._waited_s)
        kept = False
        try:
            await self._reserve()
            kept = True
        finally:
            if not kept:
                self.leave()

    def leave(self) -> None:
        """Give the right to sign to the next."""
        if not self.rising:
            return
        for waiting in self._waiting:
            while waiting:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return  # it stays busy: the right has gone over
        self._busy = False

    def next(self) -> int | None:
        """Give the next number; None where ccxt's own will do."""
        if not self.rising:
            return None
        clock = self._clock()
        self._last = max(self._last + 1, min(clock, max(self._kept, self._last + 1)))
        self.issued += 1
        self._issued_last = self._last
        if self._last >= self._kept:
            # A socket signs without a turn: the number is on its way to the journal, if not there yet.
            self._kept = self._last + self._block
            keeping = asyncio.ensure_future(self._ledger.reserve(self._fingerprint, self._kept))
            self._keeping.add(keeping)
            keeping.add_done_callback(self._keeping.discard)
        self._recent.append(
            {
                "ts": self._now() // MS,
                "key": self.key.masked,
                "nonce": self._last,
                "caller": LANE.get().name.lower(),
                "wait_ms": round(self._waited_s * 1000, 3),
            }
        )
        return self._last

    async def _queue(self, lane: Lane) -> None:
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting[lane].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                if turn in self._waiting[lane]:
                    self._waiting[lane].remove(turn)
            else:
                self.leave()  # it was given to one who left in the same moment
            raise

    async def _reserve(self) -> None:
        wanted = max(self._clock(), self._last + 1)
        if wanted >= self._kept:
            upto = wanted + self._block
            await self._ledger.reserve(self._fingerprint, upto)
            self._kept = max(self._kept, upto)

    def _clock(self) -> int:
        return self._now() * self._unit // 1_000_000_000

    @property
    def _block(self) -> int:
        return max(1, BLOCK * self._unit // 1_000)

    # -- refused numbers ---------------------------------------------------------------------------

    async def resync(self) -> None:
        """Measure the clock anew and skip ahead, after a number was refused."""
        if self._resync is not None:
            await self._resync()
        self._skip()

    def refused(self) -> None:
        """Take that the exchange refused a number: go ahead of whatever it can have seen."""
        self.rejected += 1
        self._skip()

    def _skip(self) -> None:
        offset = self._offset_ms() or 0.0
        theirs = self._clock() + int(offset * self._unit / 1_000)
        self._last = max(self._last, theirs) + SKIP_MS * self._unit // 1_000

    async def reading(
        self,
        ask: Callable[[], Awaitable[T]],
        refusal: type[Exception] | tuple[type[Exception], ...],
    ) -> T:
        """Read something, and again where the exchange refused the number; never for anything that acts.

        Args:
            ask: Asks the exchange.
            refusal: What is raised when the number was refused, such as ccxt's `InvalidNonce`.
        """
        for _ in range(TRIES - 1 if self.rising else 0):
            try:
                return await ask()
            except refusal:
                await self.resync()
                self.retried += 1
        return await ask()

    # -- rows --------------------------------------------------------------------------------------

    @property
    def recent(self) -> list[Mapping[str, object]]:
        """The newest numbers, oldest first."""
        return list(self._recent)

    def row(self) -> dict[str, object]:
        """Show the key's counts (functional specification, F15)."""
        offset = self._offset_ms()
        waits = self._waits.row()
        return {
            "key": self.key.masked,
            "last_nonce": self._issued_last,
            "issued": self.issued,
            "rejected": self.rejected,
            "retried": self.retried,
            "last_request_ts": self._requested_ts,
            "callers": dict(self._callers),
            "queue_depth": sum(len(waiting) for waiting in self._waiting),
            "wait_p50_ms": waits["p50_ms"],
            "wait_p99_ms": waits["p99_ms"],
            "clock_offset_ms": None if offset is None else round(offset, 3),
        }


def wants_rising(exchange: Any) -> bool:
    """Tell whether an exchange of ccxt wants numbers that rise: its signing asks ccxt for such a one."""
    sign = type(exchange).sign
    return "incrementing_nonce" in sign.__code__.co_names


def unit_of(nonce: float) -> int:
    """Tell the unit of an exchange's numbers from one of them: how many are in a second.

    Args:
        nonce: ccxt's, which is a time in that unit.
    """
    unit = 1
    # Seconds since 1970 have ten digits from 2001 to 2286.
    while nonce / unit >= 10_000_000_000:
        unit *= 1_000
    return unit
