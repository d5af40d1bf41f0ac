"""Durations that were measured, and what is told of them."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Final


SAMPLES: Final = 1024
"""Newest samples that percentiles are taken of."""


class Durations:
    """The newest samples of a duration, and the sum of all."""

    __slots__ = ("_samples", "count", "sum")

    def __init__(self) -> None:
        self.count = 0
        self.sum = 0.0
        self._samples: deque[float] = deque(maxlen=SAMPLES)

    def add(self, seconds: float) -> None:
        """Take a sample [s]."""
        self.count += 1
        self.sum += seconds
        self._samples.append(seconds)

    def row(self) -> dict[str, object]:
        """Give nearest-rank percentiles and the largest of the newest samples, and the sum of all [ms]."""
        ordered = sorted(self._samples)
        return {
            "p50_ms": _rank(ordered, 0.50),
            "p99_ms": _rank(ordered, 0.99),
            "max_ms": _rank(ordered, 1.0),
            "sum_ms": round(self.sum * 1000, 3),
            "samples": self.count,
        }


def _rank(values: Sequence[float], share: float) -> float | None:
    if not values:
        return None
    return round(values[max(0, math.ceil(share * len(values)) - 1)] * 1000, 3)
