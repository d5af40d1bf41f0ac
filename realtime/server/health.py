"""Is it alive, is it ready: derived from what runs, never from "HTTP answers"."""

from collections.abc import Callable, Sequence
from typing import Final


TURN_S: Final = 5.0
"""The event loop counts as stuck when nothing of it has run for this long [s]."""


class Health:
    """What `/healthz` and `/readyz` say.

    Args:
        reasons: Why the system is not ready, for people; empty when it is.
        weaker: Promises that hold less in this set-up (an ASGI server without our transport); told by
            `/readyz` beside the reasons, and no reason themselves.

    Attributes:
        draining: Set when the server stops.
        turned_at: When the loop last ran its slow tick [loop s].
    """

    def __init__(self, reasons: Callable[[], Sequence[str]], *, weaker: Sequence[str] = ()) -> None:
        self._reasons = reasons
        self.weaker = list(weaker)
        self.draining = False
        self.turned_at = 0.0

    def alive(self, now: float) -> bool:
        """Tell whether the loop turned lately; `now` is the loop's time [s]."""
        return now - self.turned_at < TURN_S

    def reasons(self) -> list[str]:
        """Say why it is not ready."""
        stopping = ["the server is stopping"] if self.draining else []
        return [*stopping, *self._reasons()]

    def readiness(self) -> dict[str, object]:
        """Answer `/readyz`."""
        reasons = self.reasons()
        return {"ready": not reasons, "reasons": reasons, "weaker": self.weaker}
