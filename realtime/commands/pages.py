"""How much of a list one reply has, and where the next one goes on."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile
from typing import Annotated, Final

from pydantic import Field

from realtime.commands.params import Limit, Params, invalid
from realtime.desk.codec import dumps
from realtime.store.queries import MOST_BYTES


Listed = Mapping[str, object]
NO_CURSOR: Final = "is not a next_cursor of an earlier reply"


def fitting(rows: Sequence[Listed]) -> int:
    """Count the rows, from the first on, that fit into one message; one does, however long it is."""
    size = 0
    for count, row in enumerate(rows):
        size += len(dumps(row))
        if count and size > MOST_BYTES:
            return count
    return len(rows)


class WholeParams(Params):
    """Arguments of a list that comes whole where it fits into one message, unless fewer are asked for."""

    limit: Limit | None = None
    cursor: Annotated[str, Field(max_length=200)] | None = None


def page(rows: Sequence[Listed], limit: int | None) -> Sequence[Listed]:
    """Take as many rows as were asked for and fit into one message."""
    asked = rows[:limit]
    return asked[: fitting(asked)]


def behind(names: Iterable[str], cursor: str | None) -> list[str]:
    """Take the names behind the last one of the page before; all of them for the first page.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    if cursor is None:
        return list(names)
    found = list(dropwhile(lambda name: name != cursor, names))
    if not found:
        raise invalid("cursor", NO_CURSOR)
    return found[1:]


def place(cursor: str | None) -> int:
    """Read the number that a cursor is: how many rows the pages before had, or where they ended.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    if cursor is None:
        return 0
    if not _digits(cursor) or len(cursor) > 15:
        raise invalid("cursor", NO_CURSOR)
    return int(cursor)


def rank(cursor: str) -> tuple[int, str]:
    """Read the time and id of the last row of the page before.

    Raises:
        Refused: `invalid`, for a cursor that no page gave.
    """
    made, dot, row_id = cursor.partition(".")
    if not dot or not row_id or not _digits(made):
        raise invalid("cursor", NO_CURSOR)
    return int(made), row_id


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal()
