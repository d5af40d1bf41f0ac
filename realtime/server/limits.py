"""Token buckets: per principal and lane, and for wrong tokens per address (protocol document, 10; 3.2).

Rules of this file: (1) nothing here grows without a bound: a bucket that is full again is forgotten;
(2) lanes never borrow from each other.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from realtime.commands.registry import Lane


OWNERS: Final = 10_000
"""Buckets kept before the full ones are swept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Tokens per second, and how many may be saved up."""

    per_s: float
    burst: float


RATES: Final[Mapping[Lane, Rate]] = {
    "sub": Rate(per_s=20, burst=100),
    "query": Rate(per_s=20, burst=100),
    "orders": Rate(per_s=10, burst=20),
    "safety": Rate(per_s=50, burst=200),
}


class Bucket:
    """Tokens of one owner; full at first."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now

    def take(self, now: float, cost: float = 1.0) -> float:
        """Take tokens.

        Returns:
            0 when they were there; else nothing was taken, and this many seconds are to wait [s].
        """
        rate = self._rate
        tokens = min(rate.burst, self._tokens + (now - self._at) * rate.per_s)
        self._at = now
        if tokens < cost:
            self._tokens = tokens
            return self._missing(cost)
        self._tokens = tokens - cost
        return 0.0

    def wait(self, now: float, cost: float = 1.0) -> float:
        """Tell how long to wait for tokens, without taking any [s]."""
        self._grow(now)
        return self._missing(cost) if self._tokens < cost else 0.0

    def full(self, now: float) -> bool:
        """Tell whether forgetting this bucket would change nothing."""
        self._grow(now)
        return self._tokens >= self._rate.burst

    def _missing(self, cost: float) -> float:
        # Rounded up to 10 ms, so that who waits exactly this long is let in.
        return math.ceil((cost - self._tokens) / self._rate.per_s * 100 + 1e-6) / 100

    def _grow(self, now: float) -> None:
        self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_s)
        self._at = now


class LaneBuckets:
    """The lanes of every principal.

    Args:
        clock: Monotonic [s].
        rates: Of each lane.
    """

    def __init__(self, clock: Callable[[], float], rates: Mapping[Lane, Rate] = RATES) -> None:
        self._clock = clock
        self._rates = rates
        self._buckets: dict[tuple[str, Lane], Bucket] = {}

    def take(self, owner: str, lane: Lane, cost: int) -> float:
        """Take tokens: 0 when they were there, else the seconds after which they will be.

        What costs more than a bucket holds takes a full one, or waiting would never help.
        """
        now = self._clock()
        bucket = self._buckets.get((owner, lane))
        if bucket is None:
            if len(self._buckets) >= OWNERS:
                self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now)}
            bucket = self._buckets[owner, lane] = Bucket(self._rates[lane], now)
        return bucket.take(now, min(cost, self._rates[lane].burst))


class Failures:
    """Wrong tokens: five a minute per address are looked at, then one a minute; and a bucket for all.

    Args:
        clock: Monotonic [s].
    """

    PER_ADDRESS: Final = Rate(per_s=1 / 60, burst=5)
    TOGETHER: Final = Rate(per_s=10, burst=100)

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._together = Bucket(self.TOGETHER, clock())

    def wait(self, address: str) -> float:
        """Tell how long an address has to wait before a token of its is looked at [s]; 0 = not at all."""
        now = self._clock()
        mine = self._buckets.get(address)
        return max(mine.wait(now) if mine is not None else 0.0, self._together.wait(now))

    def note(self, address: str) -> None:
        """Count a wrong token."""
        now = self._clock()
        if len(self._buckets) >= OWNERS:
            self._buckets = {k: b for k, b in self._buckets.items() if not b.full(now)}
        self._buckets.setdefault(address, Bucket(self.PER_ADDRESS, now)).take(now)
        self._together.take(now)
