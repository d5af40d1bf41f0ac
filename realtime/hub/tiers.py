"""Rate tiers: what has changed since the last tick, so that the last value always leaves."""

from typing import Protocol


class Ticked(Protocol):
    """What waits for a tick."""

    def emit(self) -> None:
        """Publish what has changed."""
        ...


Waiting = dict[Ticked, None]


class Tiers:
    """One set of waiting streams per interval; all streams of a tier share its grid."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[int, Waiting] = {}

    def waiting(self, rate: int) -> Waiting:
        """The set of a tier [ms]; a stream keeps it and puts itself in: one dictionary write per update."""
        return self._waiting.setdefault(rate, {})

    def tick(self, rate: int) -> None:
        """Let everything that waits for this tier publish."""
        waiting = self.waiting(rate)
        if waiting:
            streams = list(waiting)
            waiting.clear()
            for stream in streams:
                stream.emit()
