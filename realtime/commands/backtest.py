"""Ops of backtests: run, search for parameters, look, compare."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from realtime.bots import optimize, series
from realtime.bots.backtest import BarPath
from realtime.bots.jobs import Bars, Jobs, Row, Search, Spec, allowed
from realtime.bots.loading import Strategies, placed
from realtime.bots.optimize import Range
from realtime.bots.strategies.filters import Filters
from realtime.commands import naming
from realtime.commands.market import Timeframe
from realtime.commands.pages import fitting, place
from realtime.commands.params import (
    ChangeParams,
    Instant,
    ListParams as PageParams,
    Name,
    Params,
    Part,
    Positive,
    RequestId,
    Symbol,
    invalid,
)
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.desk import Desk
from realtime.engine.bars import TIMEFRAMES
from realtime.model.errors import Code, Refused
from realtime.model.market import Market


SYMBOLS: Final = 20
"""Symbols of one backtest."""
Fraction = Annotated[float, Field(gt=0, lt=1)]
Rate = Annotated[float, Field(ge=-0.01, le=0.1)]
Column = Annotated[list[float], Field(max_length=series.MOST)]
Parameters = Annotated[dict[Name, Any], Field(max_length=64)]


class Data(Part):
    """Bars that are not the venue's: arrays of equal length, or a file of the server's folder of bars."""

    ts: Annotated[list[int], Field(max_length=series.MOST)] | None = None
    open: Column | None = None
    high: Column | None = None
    low: Column | None = None
    close: Column | None = None
    volume: Column | None = None
    file: Annotated[str, Field(min_length=1, max_length=128)] | None = None


class Risk(Part):
    """Size and stops; null switches a stop off."""

    max_position_size: Annotated[float, Field(gt=0, le=1)] = 0.1
    amount: Positive | None = None
    stop_loss_fraction: Fraction | None = 0.02
    take_profit_fraction: Annotated[float, Field(gt=0, le=10)] | None = 0.04
    trailing_stop_fraction: Fraction | None = None


class Before(Part):
    """Filters before the strategy, as in section `strategy` of the configuration; off where they are not said."""

    trend_filter: bool = False
    ema_length: Annotated[int, Field(ge=1, le=1000)] = 20
    volume_filter: bool = False
    volume_multiplier: Annotated[float, Field(ge=0, le=100)] = 1.5

    def read(self) -> Filters:
        """Give them as strategies take them."""
        return Filters(
            trend=self.trend_filter,
            ema_length=self.ema_length,
            volume=self.volume_filter,
            volume_multiplier=self.volume_multiplier,
        )


class RunParams(ChangeParams):
    """A strategy, its bars, the conditions.

    The bars are `data`, or of several symbols `series`; else the venue's from `start` to `end` (now).
    """

    strategy: Name
    symbol: Symbol | None = None
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=SYMBOLS)] | None = None
    timeframe: Timeframe
    start: Instant | None = None
    end: Instant | None = None
    data: Data | None = None
    series: Annotated[dict[Symbol, Data], Field(min_length=1, max_length=SYMBOLS)] | None = None
    parameters: Parameters = Field(default_factory=dict)
    filters: Before = Before()
    initial_capital: Positive = Field(default=10_000, validate_default=True)
    commission: Rate = 0.001
    maker: Rate | None = None
    taker: Rate | None = None
    slippage: Annotated[float, Field(ge=0, le=0.1)] = 0.0005
    funding_rate: Annotated[float, Field(ge=-0.1, le=0.1)] | None = None
    risk: Risk = Risk()
    allow_short: bool = True
    fill: Literal["next_open", "close"] = "next_open"
    intrabar: Literal["stop_first", "four_ticks"] = "stop_first"
    close_open_positions_at_end: bool = True
    protections: bool = False
    request_id: RequestId | None = None


class Span(Part):
    """From `min` to `max`, both included; integers stay integers."""

    min: float | int
    max: float | int
    step: Annotated[float | int, Field(gt=0)] | None = None


class OptimizeParams(RunParams):
    """As `backtest.run`, and which parameters to try: all of a grid, or some drawn from ranges."""

    param_grid: (
        Annotated[
            dict[Name, Annotated[list[Any], Field(max_length=optimize.MOST)]],
            Field(min_length=1, max_length=16),
        ]
        | None
    ) = None
    ranges: Annotated[dict[Name, Span], Field(min_length=1, max_length=16)] | None = None
    max_evals: Annotated[int, Field(ge=1, le=optimize.MOST)] = 200
    objective: Literal["sharpe", "sortino", "calmar", "profit_factor", "net_profit"] = "sharpe"
    train_fraction: Annotated[float, Field(ge=0.1, le=0.9)] = 0.7
    folds: Annotated[int, Field(ge=0, le=50)] = 0
    constraints: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=32)] = (
        Field(default_factory=list)
    )
    top: Annotated[int, Field(ge=1, le=100)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 1


class IdParams(Params):
    """Which backtest."""

    backtest_id: Name


class ChangeOneParams(ChangeParams):
    """Which backtest."""

    backtest_id: Name


class TradesParams(PageParams):
    """Which backtest, and which page of its trades."""

    backtest_id: Name


class EquityParams(IdParams):
    """Which backtest; `step` [bars] gives pages of the curve, without it is thinned out to 2,000 points."""

    step: Annotated[int, Field(ge=1, le=series.MOST)] | None = None
    limit: Annotated[int, Field(ge=1, le=5_000)] = 2_000
    cursor: Annotated[str, Field(max_length=32)] | None = None


class CompareParams(Params):
    """Which backtests."""

    ids: Annotated[list[Name], Field(min_length=1, max_length=20)]


class Backtests:
    """The handlers."""

    def __init__(self, desk: Desk, jobs: Jobs, strategies: Strategies) -> None:
        self._desk = desk
        self._jobs = jobs
        self._strategies = strategies

    def strategies(self, _call: Call[Params]) -> Answer:
        """List what can be tested, with the schemas of its parameters."""
        known = [self._strategies.get(name) for name in self._strategies.names()]
        return Answer(
            result={
                "strategies": [
                    {
                        "id": one.id,
                        "description": one.made.summary,
                        "source": one.source,
                        "parameters": one.schema,
                        "defaults": one.defaults,
                        "warmup": one.warmup,
                    }
                    for one in known
                ],
                "failed": [
                    {"file": file, "error": error}
                    for file, error in self._strategies.failed().items()
                ],
            }
        )

    # -- starting ----------------------------------------------------------------------------------

    async def run(self, call: Call[RunParams]) -> Answer:
        """Queue a backtest."""
        params = call.params
        try:
            read = self._strategies.parameters(params.strategy, params.parameters)
        except Refused as refused:
            if refused.code is Code.NOT_FOUND:
                raise
            raise placed(refused, "parameters") from None
        return await self._start(call, self._spec(params, read.model_dump(mode="json"), None))

    async def optimize(self, call: Call[OptimizeParams]) -> Answer:
        """Queue a search for parameters."""
        params = call.params
        search = self._search(params)
        spec = self._spec(params, params.parameters, search)
        if len(spec.bars) > 1:
            raise invalid("symbols", "must be one: a search runs on the bars of one symbol")
        return await self._start(call, spec)

    async def _start(self, call: Call[Any], spec: Spec) -> Answer:
        row = self._jobs.start(spec, naming.who_of(call))
        await self._desk.settled()
        return self._answer(row)

    def _answer(self, row: Row) -> Answer:
        return Answer(result=row, at=self._desk.outlet.named((f"backtest:{row['id']}",)))

    def _spec(
        self, params: RunParams, parameters: Mapping[str, object], search: Search | None
    ) -> Spec:
        start, end = naming.ns(params.start), naming.ns(params.end)
        if start is not None and end is not None and start >= end:
            raise invalid("end", "must be after start")
        bars = self._bars(params)
        if any(one.given is None and one.file is None for one in bars):
            if start is None:
                raise invalid("start", "is required where the venue gives the bars")
            now = self._desk.now()
            end = now if end is None else min(end, now)
            if start >= end:
                raise invalid("start", "must be before now")
            count = (end - start) // TIMEFRAMES[params.timeframe]
            if not 2 <= count <= series.MOST:
                raise invalid("start", f"gives {count} bars; there must be 2 to {series.MOST}")
        return Spec(
            strategy=params.strategy,
            parameters=parameters,
            bars=bars,
            timeframe=params.timeframe,
            start=start,
            end=end,
            terms=self._terms(params),
            filters=params.filters.read(),
            search=search,
        )

    def _bars(self, params: RunParams) -> list[Bars]:
        """Find out where the bars of each symbol come from."""
        ways = [params.data is not None, params.series is not None, params.symbols is not None]
        if sum(ways) > 1:
            raise invalid(
                "data", "cannot be combined with series or symbols, nor those with each other"
            )
        if params.series is not None:
            return [
                self._given(name, data, f"series.{name}", params)
                for name, data in params.series.items()
            ]
        if params.symbols is not None:
            markets = [naming.market_of(self._desk.engine.markets, name) for name in params.symbols]
            if len({market.symbol for market in markets}) < len(markets):
                raise invalid("symbols", "names a market twice")
            return [Bars(symbol=market.symbol, grid=grid_of(market)) for market in markets]
        if params.symbol is None:
            raise invalid("symbol", "is required, or symbols, or series")
        if params.data is not None:
            return [self._given(params.symbol, params.data, "data", params)]
        market = naming.market_of(self._desk.engine.markets, params.symbol)
        return [Bars(symbol=market.symbol, grid=grid_of(market))]

    def _given(self, symbol: str, data: Data, name: str, params: RunParams) -> Bars:
        """Read bars that came with the request; a symbol that is no market here has no grid."""
        market = self._desk.engine.markets.get(symbol)
        grid = {} if market is None else grid_of(market)
        arrays = {column: getattr(data, column) for column in ("ts", *series.COLUMNS)}
        if data.file is not None:
            if any(values is not None for values in arrays.values()):
                raise invalid(f"{name}.file", "excludes arrays")
            return Bars(symbol=symbol, file=data.file, grid=grid)
        for column in series.PRICES:
            if arrays[column] is None:
                raise invalid(f"{name}.{column}", "is required, or file")
        length = TIMEFRAMES[params.timeframe]
        return Bars(symbol=symbol, given=series.of_arrays(length, arrays, name), grid=grid)

    def _terms(self, params: RunParams) -> dict[str, Any]:
        risk = params.risk
        limits = self._desk.engine.limits
        protections = {
            "max_daily_loss": _number(limits.max_daily_loss),
            "max_drawdown": _number(limits.max_drawdown),
            "loss_streak": limits.loss_streak,
        }
        return {
            "initial_capital": float(params.initial_capital),
            "commission": params.commission,
            "maker": params.maker,
            "taker": params.taker,
            "slippage": params.slippage,
            "max_position_size": risk.max_position_size,
            "amount": _number(risk.amount),
            "stop_loss": risk.stop_loss_fraction,
            "take_profit": risk.take_profit_fraction,
            "trailing_stop": risk.trailing_stop_fraction,
            "allow_short": params.allow_short,
            "fill": params.fill,
            "path": BarPath(params.intrabar).value,
            "close_at_end": params.close_open_positions_at_end,
            "funding_rate": params.funding_rate,
            "protections": protections if params.protections else None,
        }

    def _search(self, params: OptimizeParams) -> Search:
        known = self._strategies.get(params.strategy).made.Params.model_fields
        if (params.param_grid is None) == (params.ranges is None):
            raise invalid("param_grid", "or ranges is required, and only one of them")
        for field, names in (
            ("parameters", params.parameters),
            ("param_grid", params.param_grid or {}),
            ("ranges", params.ranges or {}),
        ):
            for name in names:
                if name not in known:
                    raise invalid(f"{field}.{name}", f"is no parameter of {params.strategy}")
        if params.param_grid is not None:
            made = optimize.grid(params.param_grid, params.max_evals, params.seed)
        else:
            ranges = {
                name: Range(low=span.min, high=span.max, step=span.step)
                for name, span in (params.ranges or {}).items()
            }
            made = optimize.draws(ranges, params.max_evals, params.seed)
        constraints = [
            optimize.constraint(text, known, at) for at, text in enumerate(params.constraints)
        ]
        defaults = self._strategies.get(params.strategy).defaults
        whole: Sequence[Mapping[str, object]] = [
            {**defaults, **params.parameters, **one} for one in made
        ]
        kept = allowed(whole, constraints)
        if not kept:
            raise invalid("constraints", f"refuse all {len(whole)} combinations")
        return Search(
            combinations=kept,
            refused=len(whole) - len(kept),
            objective=params.objective,
            train_fraction=params.train_fraction,
            folds=params.folds,
            top=params.top,
        )

    # -- looking -----------------------------------------------------------------------------------

    def get(self, call: Call[IdParams]) -> Answer:
        """Give a backtest."""
        return Answer(result=self._jobs.get(call.params.backtest_id))

    def page(self, call: Call[PageParams]) -> Answer:
        """List backtests, newest first."""
        rows, cursor = self._jobs.page(call.params.limit, call.params.cursor)
        # The table of a search is up to 250 kB.
        if (count := fitting(rows)) < len(rows):
            rows = rows[:count]
            cursor = rows[-1]["id"]
        return Answer(result={"backtests": rows, "next_cursor": cursor})

    async def trades(self, call: Call[TradesParams]) -> Answer:
        """Give a page of trades, oldest first."""
        params = call.params
        at = place(params.cursor)
        rows, more = await self._jobs.trades(params.backtest_id, at, params.limit)
        return Answer(result={"trades": rows, "next_cursor": None if more is None else str(more)})

    async def equity(self, call: Call[EquityParams]) -> Answer:
        """Give the curve: `[ts, equity, drawdown]`."""
        params = call.params
        if params.cursor is not None and params.step is None:
            raise invalid("cursor", "needs step: without it the whole curve is one answer")
        points, more = await self._jobs.equity(
            params.backtest_id, params.step, place(params.cursor), params.limit
        )
        return Answer(result={"equity": points, "next_cursor": None if more is None else str(more)})

    def compare(self, call: Call[CompareParams]) -> Answer:
        """Put metrics side by side."""
        rows = [self._jobs.get(one) for one in dict.fromkeys(call.params.ids)]
        for row in rows:
            if row["kind"] != "run" or row["status"] != "done":
                raise Refused(
                    Code.CONFLICT,
                    f"backtest {row['id']} has no metrics: it is {row['status']}, its kind is {row['kind']}",
                    {"backtest_id": row["id"], "status": row["status"]},
                )
        names = dict.fromkeys(name for row in rows for name in row["results"]["metrics"])
        about = ("id", "strategy", "symbols", "timeframe", "parameters", "start_ts", "end_ts")
        return Answer(
            result={
                "backtests": [{name: row[name] for name in about} for row in rows],
                "metrics": {
                    name: {row["id"]: row["results"]["metrics"].get(name) for row in rows}
                    for name in names
                },
            }
        )

    # -- ending ------------------------------------------------------------------------------------

    async def cancel(self, call: Call[ChangeOneParams]) -> Answer:
        """End a backtest; one that is over stays as it is."""
        row = await self._jobs.cancel(call.params.backtest_id)
        await self._desk.settled()
        return self._answer(row)

    async def delete(self, call: Call[ChangeOneParams]) -> Answer:
        """Forget a backtest."""
        return Answer(result=await self._jobs.delete(call.params.backtest_id))


def grid_of(market: Market) -> dict[str, float]:
    """Make the grid of a market, of derivatives in base units."""
    size = market.contract_size
    found = {
        "amount_step": market.amount_step * size,
        "min_amount": None if market.min_amount is None else market.min_amount * size,
        "min_cost": market.min_cost,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


EXAMPLE: Final[Mapping[str, object]] = {
    "strategy": "ema_crossover",
    "symbol": "BTC/USDT",
    "timeframe": "1m",
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-02T00:00:00Z",
}


def ops(desk: Desk, jobs: Jobs, strategies: Strategies) -> list[Op]:
    """Make the rows of the table."""
    backtests = Backtests(desk, jobs, strategies)
    found = (Code.NOT_FOUND,)
    ended = (Code.NOT_FOUND, Code.CONFLICT)
    one = {"backtest_id": "bt-1"}
    return [
        Op(
            name="backtest.strategies",
            params=Params,
            scope="read",
            lane="query",
            handler=backtests.strategies,
            http=("GET /api/backtest/strategies",),
            summary="List the strategies that can be backtested, with the schemas of their parameters",
            example={},
        ),
        Op(
            name="backtest.run",
            params=RunParams,
            scope="bots",
            lane="query",
            idempotency="request_id",
            handler=backtests.run,
            http=("POST /api/backtest/run",),
            summary="Backtest a strategy on historical bars, in a separate process",
            errors=(Code.NOT_FOUND, Code.BUSY),
            example=EXAMPLE,
            command=True,
        ),
        Op(
            name="backtest.optimize",
            params=OptimizeParams,
            scope="bots",
            lane="query",
            idempotency="request_id",
            handler=backtests.optimize,
            http=("POST /api/backtest/optimize",),
            summary="Search for the best strategy parameters and compare in-sample with out-of-sample results",
            errors=(Code.NOT_FOUND, Code.BUSY),
            example={
                **EXAMPLE,
                "param_grid": {"fast_period": [8, 12], "slow_period": [21, 26]},
                "constraints": ["fast_period < slow_period"],
            },
            command=True,
        ),
        Op(
            name="backtest.get",
            params=IdParams,
            scope="read",
            lane="query",
            handler=backtests.get,
            http=(
                "GET /api/backtest/{backtest_id}",
                "GET /api/backtest/results/{backtest_id}",
            ),
            summary="Show a backtest with its status and results",
            errors=found,
            example=one,
        ),
        Op(
            name="backtest.list",
            params=PageParams,
            scope="read",
            lane="query",
            handler=backtests.page,
            summary="List backtests, newest first",
            example={"limit": 20},
        ),
        Op(
            name="backtest.trades",
            params=TradesParams,
            scope="read",
            lane="query",
            handler=backtests.trades,
            summary="List the trades of a backtest, oldest first",
            errors=ended,
            example={**one, "limit": 100},
        ),
        Op(
            name="backtest.equity",
            params=EquityParams,
            scope="read",
            lane="query",
            handler=backtests.equity,
            summary="Return the equity and drawdown curve of a backtest, in full pages or downsampled",
            errors=ended,
            example=one,
        ),
        Op(
            name="backtest.compare",
            params=CompareParams,
            scope="read",
            lane="query",
            handler=backtests.compare,
            summary="Compare the metrics of several backtests side by side",
            errors=ended,
            example={"ids": ["bt-1", "bt-2"]},
        ),
        Op(
            name="backtest.cancel",
            params=ChangeOneParams,
            scope="bots",
            lane="query",
            handler=backtests.cancel,
            summary="Cancel a backtest that has not finished",
            errors=found,
            example=one,
            command=True,
        ),
        Op(
            name="backtest.delete",
            params=ChangeOneParams,
            scope="bots",
            lane="query",
            handler=backtests.delete,
            summary="Delete a backtest and its files",
            errors=found,
            example=one,
            command=True,
        ),
    ]
