"""Ops of the audit."""

from typing import Annotated

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.params import Instant, Name, Params, invalid
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.desk.entries import TYPES


class ListParams(Params):
    """Which entries."""

    type: Name | None = None
    bot_id: Name | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class Events:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, call: Call[ListParams]) -> Answer:
        """List entries, newest first, each with the hash of its row in the journal's chain.

        What a command was and what came of it stand in `data`, and beside it for those who read all types alike.

        Raises:
            Refused: `invalid`: there are no entries of such a type.
        """
        params = call.params
        if params.type not in {None, *TYPES}:
            raise invalid("type", f"must be one of {', '.join(TYPES)}")
        page = await self._desk.store.events(
            event_type=params.type,
            bot_id=params.bot_id,
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=params.limit,
            cursor=params.cursor,
        )
        found = []
        for row in page.rows:
            entry = orjson.loads(row.body)
            told = {name: entry["data"].get(name) for name in ("op", "outcome")}
            found.append(entry | told | {"hash": row.hash})
        return Answer(result={"events": found, "next_cursor": page.next_cursor})


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    return [
        Op(
            name="event.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=Events(desk).page,
            summary="List audit events, newest first: who did what, with the outcome",
            example={"type": "halt"},
        )
    ]
