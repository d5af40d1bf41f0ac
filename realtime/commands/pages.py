"""How much of a list one reply has."""

from collections.abc import Mapping, Sequence

from realtime.desk.codec import dumps
from realtime.store.queries import MOST_BYTES


Listed = Mapping[str, object]


def fitting(rows: Sequence[Listed]) -> int:
    """Count the rows, from the first on, that fit into one message; one does, however long it is."""
    size = 0
    for count, row in enumerate(rows):
        size += len(dumps(row))
        if count and size > MOST_BYTES:
            return count
    return len(rows)
