"""Ops of the portfolio: its value now and before."""

from typing import Annotated

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.params import Instant, Params, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.model.errors import Code
from realtime.model.market import MS


MOST: int = 5_000
"""Samples in one answer."""


class SnapshotParams(Params):
    """Which positions; all without arguments."""

    symbols: Annotated[list[Symbol], Field(max_length=256)] | None = None


class HistoryParams(Params):
    """Which samples of equity; `step` thins them out [s]."""

    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")
    step: Annotated[int, Field(ge=1, le=86_400)] | None = None


class Portfolios:
    """The handlers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def snapshot(self, call: Call[SnapshotParams]) -> Answer:
        """Value everything the account holds."""
        row = dict(self._desk.outlet.portfolio_row())
        if call.params.symbols is not None:
            markets = self._desk.engine.markets
            wanted = {naming.market_of(markets, text).symbol for text in call.params.symbols}
            held = row["positions"]
            assert isinstance(held, list)
            row["positions"] = [position for position in held if position["symbol"] in wanted]
        return Answer(result=row)

    async def history(self, call: Call[HistoryParams]) -> Answer:
        """Give samples of equity: `[ts, equity, drawdown]`, oldest first."""
        params = call.params
        entries = await self._desk.store.rows(
            "equity",
            since=naming.ns(params.since),
            until=naming.ns(params.until),
            limit=10 * MOST,
        )
        samples: list[list[object]] = []
        next_ts = 0
        for entry in entries:
            ts = entry.ts // MS
            if ts < next_ts:
                continue
            samples.append(orjson.loads(entry.body)["sample"])
            if params.step is not None:
                next_ts = ts + params.step * 1000
        return Answer(result={"equity": samples[-MOST:]})


def ops(desk: Desk) -> list[Op]:
    """Make the rows of the table."""
    portfolios = Portfolios(desk)
    return [
        Op(
            name="portfolio.snapshot",
            params=SnapshotParams,
            scope="read",
            lane="query",
            handler=portfolios.snapshot,
            http=("GET /api/portfolio/live/snapshot", "GET /portfolio/live/snapshot"),
            summary="What the account is worth, and what it is made of",
            errors=(Code.NOT_FOUND,),
            example={},
        ),
        Op(
            name="portfolio.equity_history",
            params=HistoryParams,
            scope="read",
            lane="query",
            handler=portfolios.history,
            summary="Equity and drawdown over time",
            example={"step": 3600},
        ),
    ]
