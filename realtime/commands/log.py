"""Ops of the server's log."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

from pydantic import Field

from realtime.commands.pages import fitting
from realtime.commands.params import Name, Params
from realtime.commands.registry import Answer, Call, Op


class Lines(Protocol):
    """The newest lines."""

    def tail(
        self, *, level: str, component: str | None, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Give the newest lines of a level and above, oldest first."""
        ...


class TailParams(Params):
    """Which lines."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    component: Name | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def ops(lines: Lines) -> list[Op]:
    """Make the rows of the table."""

    def tail(call: Call[TailParams]) -> Answer:
        params = call.params
        found = lines.tail(level=params.level, component=params.component, limit=params.limit)
        newest = found[::-1]
        return Answer(result={"lines": newest[: fitting(newest)][::-1]})

    return [
        Op(
            name="log.tail",
            params=TailParams,
            scope="admin",
            lane="query",
            handler=tail,
            summary="Show the newest lines of the server's log, oldest first",
            example={"level": "warning"},
        )
    ]
