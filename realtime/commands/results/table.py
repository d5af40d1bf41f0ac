"""The table: every op's result, by op."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from realtime.commands.results import bots, server, trading
from realtime.commands.results.shapes import Json, schema_of


RESULTS: Final[Mapping[str, Any]] = {**server.RESULTS, **trading.RESULTS, **bots.RESULTS}
"""Of every op of the server; an op that is not here is of somebody's own table: `OPEN`."""
OPEN: Final[Json] = {
    "type": "object",
    "description": "its fields are not described yet; they may be others in the next version",
}


@cache
def result_of(op: str, template: str) -> tuple[Json, Json]:
    """Make the schema of an op's result once, as `schema_of`: it takes up to 5 ms, and anybody may ask often."""
    return schema_of(RESULTS[op], template) if op in RESULTS else (OPEN, {})
