"""Times as clients and files write them."""

from datetime import UTC, datetime, timedelta
from typing import Final


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST_INSTANT: Final = (2**63 - 1) // 1_000_000
"""Last time that has nanoseconds in 64 bits [wire ms]."""
INSTANT: Final = "must be integer ms since the epoch, or ISO 8601 with a zone"
"""What is said of anything else."""


def instant(value: object) -> int | None:
    """Read a time: integer ms, or ISO 8601 with a zone; None for anything else, also for `true`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if 0 <= value <= LAST_INSTANT else None
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return None
        if read.tzinfo is not None:
            # Integers, because a float second loses the last millisecond of some times.
            ms = (read - EPOCH) // timedelta(milliseconds=1)
            return ms if 0 <= ms <= LAST_INSTANT else None
    return None
