"""Ops of signals: what bots decided, and why."""

import orjson

from realtime.commands import naming
from realtime.commands.params import Instant, ListParams, Name, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.model.errors import Code


class PageParams(ListParams):
    """Which decisions; newest first."""

    symbol: Symbol | None = None
    strategy: Name | None = None
    bot_id: Name | None = None
    since: Instant | None = None


class Signals:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, call: Call[PageParams]) -> Answer:
        """List decisions."""
        params = call.params
        symbol = params.symbol
        if symbol is not None:
            symbol = naming.market_of(self._desk.engine.markets, symbol).symbol
        page = await self._desk.store.signals(
            symbol=symbol,
            bot_id=params.bot_id,
            strategy=params.strategy,
            since=naming.ns(params.since),
            limit=params.limit,
            cursor=params.cursor,
        )
        rows = [orjson.loads(entry.body) for entry in page.rows]
        return Answer(result={"signals": rows, "next_cursor": page.next_cursor})


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    return [
        Op(
            name="signal.list",
            params=PageParams,
            scope="read",
            lane="query",
            handler=Signals(desk).page,
            summary="List the decisions of bots with the signals behind them, newest first",
            errors=(Code.NOT_FOUND,),
            example={"symbol": "BTC/USDT"},
        ),
    ]
