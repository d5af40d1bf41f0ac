"""How often something is told, and how long its silence may last before it means something.

Times are those of the caller's clock [s].
"""

from collections import deque
from dataclasses import dataclass
from typing import Final


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
