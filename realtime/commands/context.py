"""Ops that look at one market as a bot does: everything at a time, and whether it is fit to be traded."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from realtime.bots.runner import check_row
from realtime.commands import naming
from realtime.commands.market import SymbolParams, Timeframe
from realtime.commands.order import Fields
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.charts import bar_row
from realtime.desk.desk import Desk
from realtime.engine import rows
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.conditions import Bounds, Check, Seen, examine, volatility, yearly
from realtime.engine.market import text
from realtime.engine.studies import ohlcv
from realtime.model.errors import Code
from realtime.model.market import MONEY, MS, Bar
from realtime.venues.base import Venue


LEVELS = 100
"""Levels a side that are counted."""


class ContextParams(SymbolParams):
    """A market, and how much of its past."""

    timeframe: Timeframe = "5m"
    limit: Annotated[int, Field(ge=1, le=1500)] = 100


class Contexts:
    """The handlers.

    Args:
        bounds: Thresholds in force.
        venue_ok: Whether the venue answers.
    """

    def __init__(
        self,
        desk: Desk,
        source: Venue,
        *,
        bounds: Callable[[], Bounds],
        venue_ok: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._source = source
        self._bounds = bounds
        self._venue_ok = venue_ok

    async def _look(self, params: ContextParams) -> tuple[Seen, list[Bar]]:
        """Gather the parts, all as of one step; bars are those that have closed."""
        engine = self._desk.engine
        market = naming.market_of(engine.markets, params.symbol)
        length = TIMEFRAMES[params.timeframe]
        bars = await self._source.ohlcv(market.symbol, params.timeframe, None, params.limit + 1)
        now = self._desk.now()
        closed = [bar for bar in bars if bar.ts + length <= now][-params.limit :]
        book = engine.books.get(market.symbol)
        seen = Seen(
            market=market,
            ticker=engine.tickers.get(market.symbol),
            book=None if book is None or book.crossed else book,
            bars=[ohlcv(bar) for bar in closed],
            venue_ok=self._venue_ok(),
            ts=now,
        )
        return seen, closed

    async def context(self, call: Call[ContextParams]) -> Answer:
        """Give everything that is known of a market; what is not known is null."""
        params = call.params
        seen, bars = await self._look(params)
        ticker, book, market = seen.ticker, seen.book, seen.market
        row: Fields = {} if ticker is None else dict(rows.ticker_row(ticker, market))
        bids, asks = ([], []) if book is None else book.top(LEVELS)
        bid, ask = (bids[0][0] if bids else None), (asks[0][0] if asks else None)
        gap = None if bid is None or ask is None else MONEY.subtract(Decimal(ask), Decimal(bid))
        length = TIMEFRAMES[params.timeframe]
        moved = volatility(seen.bars)
        complete = all(row.get(name) is not None for name in ("bid", "ask", "last", "volume"))
        return Answer(
            result={
                "symbol": market.symbol,
                "ts": seen.ts // MS,
                "timeframe": params.timeframe,
                "ohlcv": [bar_row(bar) for bar in bars],
                "price": bars[-1].close if bars else None,
                "ticker": row or None,
                "best_bid": bid,
                "best_ask": ask,
                "spread": None if gap is None else text(gap, market.price_tick),
                "spread_fraction": None
                if gap is None or ask is None
                else float(gap / Decimal(ask)),
                "volume_24h": row.get("volume"),
                "quote_volume_24h": row.get("quote_volume"),
                "price_change_24h": row.get("change"),
                "change_pct": row.get("change_pct"),
                "volatility": moved,
                "volatility_annual": None if moved is None else yearly(moved, length),
                "market_cap": None,
                "quality": {
                    "ohlcv_rows": len(bars),
                    "orderbook_levels": len(bids) + len(asks),
                    "ticker_complete": complete,
                    "ohlcv_age_ms": (seen.ts - bars[-1].ts - length) // MS if bars else None,
                    "ticker_age_ms": None if ticker is None else (seen.ts - ticker.recv_ts) // MS,
                    "orderbook_age_ms": None if book is None else (seen.ts - book.asof) // MS,
                },
            }
        )

    async def check(self, call: Call[ContextParams]) -> Answer:
        """Say whether a market is fit to be traded now, by every check that bots make."""
        seen, _ = await self._look(call.params)
        checks = examine(seen, self._bounds())
        return Answer(
            result={
                "symbol": seen.market.symbol,
                "valid": all(check.ok for check in checks),
                "reasons": _names(checks),
                "checks": [check_row(check) for check in checks],
                "ts": seen.ts // MS,
            }
        )


def _names(checks: Sequence[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


def ops(
    desk: Desk, source: Venue, *, bounds: Callable[[], Bounds], venue_ok: Callable[[], bool]
) -> list[Op]:
    """Make the rows of the table."""
    contexts = Contexts(desk, source, bounds=bounds, venue_ok=venue_ok)
    return [
        Op(
            name="market.context",
            params=ContextParams,
            scope="read",
            lane="query",
            handler=contexts.context,
            http=("GET /api/market/context/{symbol}",),
            summary="Show the bars, ticker, spread and volatility of a market and the age of each",
            errors=(Code.NOT_FOUND, Code.VENUE_UNAVAILABLE),
            example={"symbol": "BTC/USDT", "timeframe": "5m", "limit": 100},
        ),
        Op(
            name="market.check",
            params=ContextParams,
            scope="read",
            lane="query",
            handler=contexts.check,
            summary="Check whether a market is fit to trade now",
            errors=(Code.NOT_FOUND, Code.VENUE_UNAVAILABLE),
            example={"symbol": "BTC/USDT"},
        ),
    ]
