"""Ops of indicators, and the bars that they and the strategies are asked about."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final, Literal

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from realtime.commands import naming
from realtime.commands.market import Timeframe, gaps
from realtime.commands.order import Fields
from realtime.commands.params import Instant, Name, Params, Part, Symbol, invalid
from realtime.commands.registry import Answer, Call, Op
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.studies import FVG, STUDIES, Course, begin, check, ohlcv, study
from realtime.model.errors import Code
from realtime.model.market import MS, Market
from realtime.model.signals import Ohlcv
from realtime.venues.base import Venue


MOST_BARS: Final = 5_000
"""Bars that a caller may bring along."""
DEFAULT: Final = "5m"
_DECIMAL_PATTERN: Final = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$"
_DECIMAL: Final = re.compile(_DECIMAL_PATTERN.strip("^$"), re.ASCII)


def _number(value: object) -> float:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise PydanticCustomError("number", "must be a number or a decimal string")


Number = Annotated[
    float,
    PlainValidator(_number),
    WithJsonSchema(
        {"type": ["number", "string"], "format": "decimal", "pattern": _DECIMAL_PATTERN}
    ),
]
"""A price or a volume of a bar: statistics, never money."""


class BarPart(Part):
    """One bar; `ts` is when it opens."""

    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number = 0.0
    ts: Instant | None = None


Data = Annotated[list[BarPart], Field(max_length=MOST_BARS)]


class BarsParams(Params):
    """Closed bars: the newest of a market, or the caller's own, oldest first.

    Own bars have `ts` all or none; with a `timeframe` none may be missing between them.
    """

    symbol: Symbol | None = None
    timeframe: Timeframe | None = None
    limit: Annotated[int, Field(ge=1, le=1500)] = 200
    data: Data | None = None


class ComputeParams(BarsParams):
    """Which indicator, of what."""

    name: Name
    params: Annotated[dict[str, object], Field(max_length=16)] = Field(default_factory=dict)


class GapParams(BarsParams):
    """Which fair value gaps, of what."""

    min_gap_size: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_gap_atr: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 0.0
    direction: Literal["both", "bullish", "bearish"] = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The bars that are asked about.

    Attributes:
        market: None for own bars without a symbol.
        timed: Whether `ts` are times; places otherwise.
        length: Of a bar [ns]; 0 where it is not known.
        own: Whether the caller brought them.
        gaps: Times between a market's bars in which there is none [ms]; nothing is filled in.
    """

    bars: Sequence[Ohlcv]
    market: Market | None
    timeframe: str | None
    timed: bool
    length: int
    own: bool = False
    gaps: Sequence[Fields] = ()


class Bars:
    """Where bars come from."""

    def __init__(
        self, markets: Callable[[], Mapping[str, Market]], source: Venue, now: Callable[[], int]
    ) -> None:
        """Make it.

        Args:
            markets: Known markets.
            source: Has their history.
            now: Wall clock [ns].
        """
        self._markets = markets
        self._source = source
        self._now = now

    async def told(self, params: BarsParams) -> Told:
        """Give the bars that arguments name: closed ones only.

        Raises:
            Refused: `invalid`, naming the field or the index; `not_found` for a market.
        """
        symbol = params.symbol
        market = None if symbol is None else naming.market_of(self._markets(), symbol)
        if params.data is not None:
            return own(params.data, market, params.timeframe)
        if market is None:
            raise invalid("symbol", "is required where no data is given")
        timeframe = params.timeframe or DEFAULT
        length = TIMEFRAMES[timeframe]
        # One more, for the newest may still change.
        found = await self._source.ohlcv(market.symbol, timeframe, None, params.limit + 1)
        now = self._now()
        closed = [bar for bar in found if bar.ts + length <= now][-params.limit :]
        return Told(
            bars=[ohlcv(bar) for bar in closed],
            market=market,
            timeframe=timeframe,
            timed=True,
            length=length,
            gaps=gaps(closed, length),
        )


def own(data: Sequence[BarPart], market: Market | None, timeframe: str | None) -> Told:
    """Check the bars of a caller.

    Raises:
        Refused: `invalid`, naming field and index.
    """
    timed = bool(data) and data[0].ts is not None
    for index, row in enumerate(data):
        if (row.ts is not None) is not timed:
            raise invalid(f"data.{index}.ts", "must be given for all bars or for none")
    bars = [
        Ohlcv(index if r.ts is None else r.ts * MS, r.open, r.high, r.low, r.close, r.volume)
        for index, r in enumerate(data)
    ]
    length = TIMEFRAMES[timeframe] if timeframe is not None and timed else 0
    check(bars, timed=timed, length=length)
    if timed and not length:
        length = min((two.ts - one.ts for one, two in pairwise(bars)), default=0)
    return Told(bars=bars, market=market, timeframe=timeframe, timed=timed, length=length, own=True)


class Computing:
    """The handlers."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def names(self, _call: Call[Params]) -> Answer:
        """List indicators."""
        rows = [
            {
                "name": one.name,
                "description": one.about,
                "parameters": one.schema(),
                "outputs": list(one.outputs) or ["zones"],
                "warmup": one.warmup(one.read({})),
            }
            for one in STUDIES.values()
        ]
        return Answer(result={"indicators": rows})

    async def compute(self, call: Call[ComputeParams]) -> Answer:
        """Give the numbers of an indicator, bar by bar."""
        params = call.params
        found = study(params.name)
        chosen = found.read(params.params)
        told = await self._bars.told(params)
        course = begin(found, chosen, length=told.length)
        values = [[bar.ts // MS if told.timed else None, *course.update(bar)] for bar in told.bars]
        result: Fields = {
            "name": found.name,
            "params": chosen,
            **_origin(told),
            "outputs": list(found.outputs) or ["zones"],
            "values": values if found.outputs else [],
        }
        if found.name == FVG:
            result["zones"] = _zones(course, told)
        return Answer(result=result)

    async def fvg(self, call: Call[GapParams]) -> Answer:
        """Give fair value gaps and how far they are filled."""
        params = call.params
        found = study(FVG)
        names = ("min_gap_size", "min_gap_atr", "direction")
        chosen = found.read({name: getattr(params, name) for name in names})
        told = await self._bars.told(params)
        course = begin(found, chosen, length=told.length)
        for bar in told.bars:
            course.update(bar)
        return Answer(result={**_origin(told), "params": chosen, "zones": _zones(course, told)})


def _origin(told: Told) -> Fields:
    return {
        "symbol": None if told.market is None else told.market.symbol,
        "timeframe": told.timeframe,
        "bars": len(told.bars),
        "gaps": list(told.gaps),
    }


def _zones(course: Course, told: Told) -> list[Fields]:
    """Make the rows; bars without times have none."""
    rows = course.zones()
    if not told.timed:
        for row in rows:
            row.update(start_ts=None, confirmed_ts=None, filled_ts=None)
    return rows


EXAMPLE: Final = [
    {"high": 2, "low": 1, "open": 1, "close": 2},
    {"high": 5, "low": 3, "open": 3, "close": 5},
    {"high": 7, "low": 6, "open": 6, "close": 7},
]


def ops(bars: Bars) -> list[Op]:
    """Make the rows of the table."""
    computing = Computing(bars)
    errors = (Code.INVALID, Code.NOT_FOUND, Code.VENUE_UNAVAILABLE)
    return [
        Op(
            name="indicator.list",
            params=Params,
            scope="read",
            lane="query",
            handler=computing.names,
            summary="List the indicators with their parameters and the number of bars they need",
            example={},
        ),
        Op(
            name="indicator.compute",
            params=ComputeParams,
            scope="read",
            lane="query",
            handler=computing.compute,
            summary="Compute an indicator on closed bars of a market or on given bars; undefined values are null",
            errors=errors,
            example={"name": "rsi", "params": {"length": 14}, "symbol": "BTC/USDT"},
        ),
        Op(
            name="indicator.fvg",
            params=GapParams,
            scope="read",
            lane="query",
            handler=computing.fvg,
            http=("POST /api/indicators/fvg",),
            summary="Find fair value gaps and how far they have been filled",
            errors=errors,
            example={"data": EXAMPLE},
        ),
    ]
