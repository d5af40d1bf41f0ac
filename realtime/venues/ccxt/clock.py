"""How far our clock is from an exchange's, and what follows from it.

Rules of this file: (1) the offset is measured, never assumed: without a measurement it is None and nothing is refused;
(2) of several samples the one with the shortest way counts, because half of the way is the error; (3) the clock is not
bent to fit: an exchange that refuses late requests gets none while the clock is wrong.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from realtime.model.errors import Code, Failure, Refused
from realtime.model.market import MS
from realtime.venues.ccxt.way import Lane, Tell, lane


EVERY_S: Final = 600.0
"""Pause between measurements [s]."""
AGAIN_S: Final = 30.0
"""Pause after one that failed, or that was bad [s]."""
SAMPLES: Final = 3
WARN_MS: Final = 500
REFUSE_MS: Final = 2_000


class Offset:
    """The exchange's time less ours.

    Args:
        name: The account, for people.
        fetch_time: Asks the exchange for its time [ms].
        now: Our time [ns UTC].
        window: Whether the exchange refuses what was signed too long ago (a receive window).
        tell: Takes alerts.
    """

    def __init__(
        self,
        name: str,
        *,
        fetch_time: Callable[[], Awaitable[int | None]],
        now: Callable[[], int],
        window: bool,
        tell: Tell = lambda _level, _code, _text, _data: None,
    ) -> None:
        self.name = name
        self._fetch_time = fetch_time
        self._now = now
        self._window = window
        self._tell = tell
        self._warned = False
        self.ms: float | None = None
        """The offset, positive when the exchange is ahead of us; None before the first measurement [ms]."""
        self.error_ms: float | None = None
        """Half of the way of the sample it is from: how wrong it can be [ms]."""

    async def measure(self) -> float | None:
        """Measure it, with the lane of a reconciliation.

        Returns:
            The offset [ms]; None when the exchange does not tell its time.

        Raises:
            Failure: What the exchange's answer was translated to.
        """
        best: tuple[float, float] | None = None
        with lane(Lane.RECONCILE):
            for _ in range(SAMPLES):
                sent = self._now()
                theirs = await self._fetch_time()
                got = self._now()
                if theirs is None:
                    return None
                sample = ((got - sent) / 2 / MS, theirs - (sent + got) / 2 / MS)
                best = sample if best is None else min(best, sample)
        assert best is not None
        self.error_ms, self.ms = best
        self._judge()
        return self.ms

    async def run(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Measure without end: at once, then every ten minutes, sooner while it is wrong or unknown.

        Args:
            sleep: Waits for seconds.
        """
        while True:
            try:
                measured = await self.measure()
            except Failure:
                await sleep(AGAIN_S)  # the way counts failures, and says so
                continue
            right = measured is not None and abs(measured) + (self.error_ms or 0.0) <= WARN_MS
            await sleep(EVERY_S if right else AGAIN_S)

    @property
    def refuses(self) -> bool:
        """Whether placements must not be signed now."""
        return self._window and self._least_ms > REFUSE_MS

    def check(self) -> None:
        """Refuse a placement that the exchange would refuse as too old, or take as one from the future.

        Raises:
            Refused: `venue_unavailable`, with what to do.
        """
        if self.refuses:
            raise Refused(
                Code.VENUE_UNAVAILABLE,
                f"{self.says}; {self.name} refuses orders signed more than {REFUSE_MS / 1000:g} s off: set the "
                "clock of this machine (for example with chrony or systemd-timesyncd)",
                {"venue": self.name, "offset_ms": round(self.ms or 0.0), "limit_ms": REFUSE_MS},
                retry_after=AGAIN_S,
            )

    @property
    def _least_ms(self) -> float:
        """How wrong our clock is for certain [ms]: an answer that was long on its way does not tell much."""
        return max(0.0, abs(self.ms or 0.0) - (self.error_ms or 0.0))

    @property
    def says(self) -> str:
        """The offset in words."""
        if self.ms is None:
            return f"the time of {self.name} is not known"
        behind = "behind" if self.ms > 0 else "ahead of"
        return f"our clock is {abs(self.ms) / 1000:.1f} s {behind} that of {self.name}"

    def _judge(self) -> None:
        wrong = self._least_ms > WARN_MS
        if wrong and not self._warned:
            level = "error" if self.refuses else "warning"
            data = {"venue": self.name, "offset_ms": round(self.ms or 0.0)}
            self._tell(level, "clock_offset", f"{self.says}; set the clock of this machine", data)
        elif self._warned and not wrong:
            self._tell("info", "clock_right", f"{self.says} again", {"venue": self.name})
        self._warned = wrong


def has_window(exchange: Any) -> bool:
    """Tell whether an exchange of ccxt refuses requests by their age.

    Args:
        exchange: An instance; ccxt keeps the window in its options.
    """
    options = exchange.options or {}
    return any(
        options.get(name) is not None for name in ("recvWindow", "recv_window", "receiveWindow")
    )
