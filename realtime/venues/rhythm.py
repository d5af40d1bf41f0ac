"""How often something is told, and how long its silence may last before it means something.

Times are those of the caller's clock [s].
"""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Final


RATE_S: Final = 10.0
"""What the rate of messages is measured over."""
SPAN_S: Final = 300.0
"""Time over which is told how much of it a stream was fresh (functional specification, F15) [s]."""
GAPS: Final = 64
"""Gaps between messages that the median is taken of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When silence means something: after so many median gaps, between two bounds (features F8).

    Attributes:
        min_s: Never sooner.
        factor: Median gaps.
        max_s: Never later, unless `min_s` is longer.
    """

    min_s: float = 5.0
    factor: float = 20.0
    max_s: float = 60.0


USUAL: Final = Patience()


class Rhythm:
    """Gaps between the messages of a stream.

    Attributes:
        patience: When its silence means something.
    """

    __slots__ = ("_gaps", "_last", "_limit", "_since", "patience")

    def __init__(self, patience: Patience = USUAL) -> None:
        self.patience = patience
        self._gaps: deque[float] = deque(maxlen=GAPS)
        self._last: float | None = None
        self._limit = patience.min_s
        self._since = 0

    def beat(self, now: float) -> None:
        """Note a message."""
        if self._last is not None:
            self._gaps.append(now - self._last)
            self._since += 1
        self._last = now

    def rest(self) -> None:
        """Forget the last message: the time until the next one is no gap of the stream's."""
        self._last = None

    @property
    def limit(self) -> float:
        """Silence [s] that calls for a look."""
        if self._since:
            gaps, patience = sorted(self._gaps), self.patience
            median = gaps[len(gaps) // 2]
            most = max(patience.min_s, patience.max_s)
            self._limit = min(max(patience.min_s, patience.factor * median), most)
            self._since = 0
        return self._limit


class Freshness:
    """How much of the last five minutes a stream was fresh; of less where it is younger."""

    __slots__ = ("_turns",)

    def __init__(self) -> None:
        # When it became fresh or stale, the oldest from before the span.
        self._turns: deque[tuple[float, bool]] = deque()

    def turn(self, now: float, *, fresh: bool) -> None:
        """Note how it is from now on."""
        turns = self._turns
        if not turns or turns[-1][1] is not fresh:
            turns.append((max(now, turns[-1][0]) if turns else now, fresh))
        while len(turns) > 1 and turns[1][0] <= now - SPAN_S:
            turns.popleft()

    def share(self, now: float) -> float | None:
        """Give the share of time in which it was fresh, 0..1; None before any time has passed."""
        since = now - SPAN_S
        whole = good = 0.0
        for (at, fresh), (end, _) in pairwise([*self._turns, (now, False)]):
            length = max(0.0, end - max(at, since))
            whole += length
            good += length if fresh else 0.0
        return round(good / whole, 4) if whole else None


def per_second(counted: deque[tuple[float, int]], now: float, messages: int) -> float:
    """Tell the messages per second, of the last ten seconds.

    Args:
        counted: When it was told before, and how many there were; this time is noted in it.
        now: [s].
        messages: How many there are.
    """
    counted.append((now, messages))
    while len(counted) > 1 and counted[1][0] <= now - RATE_S:
        counted.popleft()
    then, before = counted[0]
    return (messages - before) / (now - then) if now > then else 0.0
