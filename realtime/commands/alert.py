"""Ops of alerts."""

from typing import Annotated, Final, Literal

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.pages import fitting
from realtime.commands.params import ChangeParams, Instant, Name, Params
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.desk.entries import Entry
from realtime.model.errors import Code, Refused


AT_ONCE: Final = 50
"""Entries that are read of the journal at least."""


class ListParams(Params):
    """Which alerts."""

    level: Literal["info", "warning", "error", "critical"] | None = None
    acked: bool | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class AckParams(ChangeParams):
    """Which alert was seen."""

    alert_id: Name


class Alerts:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, call: Call[ListParams]) -> Answer:
        """List alerts, newest first."""
        params = call.params
        found: list[Entry] = []
        places: list[int] = []
        cursor = params.cursor
        while True:
            page = await self._desk.store.alerts(
                level=params.level,
                acked=params.acked,
                since=naming.ns(params.since),
                until=naming.ns(params.until),
                limit=max(params.limit, AT_ONCE),
                cursor=cursor,
            )
            told = [(entry, orjson.loads(entry.body)) for entry in page.rows]
            # An acknowledged alert stands in the log a second time, for the channel; here once.
            rows = [(entry, row) for entry, row in told if row["acked_by"] is None]
            room = params.limit - len(found)
            found += [row | {"acked_by": entry.acked_by} for entry, row in rows[:room]]
            places += [entry.n for entry, _ in rows[:room]]
            cursor = str(rows[room - 1][0].n) if len(rows) > room else page.next_cursor
            if cursor is None or len(found) == params.limit:
                break
        if (count := fitting(found)) < len(found):
            found, cursor = found[:count], str(places[count - 1])
        return Answer(result={"alerts": found, "next_cursor": cursor})

    async def ack(self, call: Call[AckParams]) -> Answer:
        """Note that somebody has seen an alert."""
        alert_id = call.params.alert_id
        found = await self._desk.find_alert(alert_id)
        if found is None:
            raise Refused(Code.NOT_FOUND, f"no alert {alert_id}", {"what": "alert"})
        if found["acked_by"] is not None:
            # Whoever asks again what was done in memory alone is told that as well.
            await self._desk.settled()
            return Answer(result=found | {"changed": False})
        acked = self._desk.acknowledge(found, naming.who_of(call))
        await self._desk.settled()
        return Answer(
            result=acked | {"changed": True}, at=self._desk.outlet.named(("alerts",)) or None
        )


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    alerts = Alerts(desk)
    return [
        Op(
            name="alert.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=alerts.page,
            summary="List alerts, newest first",
            example={"acked": False},
        ),
        Op(
            name="alert.ack",
            params=AckParams,
            scope="trade|bots",
            lane="query",
            handler=alerts.ack,
            summary="Acknowledge an alert",
            errors=(Code.NOT_FOUND,),
            example={"alert_id": "a-1"},
            command=True,
        ),
    ]
