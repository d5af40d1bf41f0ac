"""How much of a list one reply has, and where the next one goes on."""

from collections.abc import Mapping, Sequence

from realtime.commands.params import invalid
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


def place(cursor: str | None) -> int:
    """Read how many rows the pages before had.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 15:
        raise invalid("cursor", "is not a next_cursor of an earlier reply")
    return int(cursor)


def rank(cursor: str) -> tuple[int, str]:
    """Read the time and id of the last row of the page before.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    made, dot, row_id = cursor.partition(".")
    if not dot or not row_id or not (made.isascii() and made.isdecimal()):
        raise invalid("cursor", "came from no page; use next_cursor as it came")
    return int(made), row_id
