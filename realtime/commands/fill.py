"""Ops of fills."""

from typing import Annotated

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.params import Instant, Name, Params, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.desk.history import stands
from realtime.model.errors import Code


class ListParams(Params):
    """Which fills."""

    symbol: Symbol | None = None
    order_id: Name | None = None
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(max_length=200)] | None = None


class Fills:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, call: Call[ListParams]) -> Answer:
        """List fills, newest first."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        page = await self._desk.store.fills(
            symbol=symbol,
            order_id=params.order_id,
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=params.limit,
            cursor=params.cursor,
        )
        found = [orjson.loads(entry.body) for entry in page.rows]
        fills = [fill for fill in found if stands(self._desk.engine, fill)]
        return Answer(result={"fills": fills, "next_cursor": page.next_cursor})


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    return [
        Op(
            name="fill.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=Fills(desk).page,
            summary="List fills, newest first",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT", "limit": 50},
        )
    ]
