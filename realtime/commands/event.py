"""Ops of the audit."""

from typing import Annotated

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.params import Instant, Name, Params
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk


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
        """List entries, newest first, each with the hash of its row in the journal's chain."""
        params = call.params
        page = await self._desk.store.events(
            event_type=params.type,
            bot_id=params.bot_id,
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=params.limit,
            cursor=params.cursor,
        )
        found = [orjson.loads(entry.body) | {"hash": entry.hash} for entry in page.rows]
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
            summary="Who did what, with the outcome, newest first",
            example={"type": "halt"},
        )
    ]
