"""Ops of market data."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Final, Literal, Protocol, runtime_checkable

from pydantic import Field

from realtime.commands import naming, pages
from realtime.commands.order import Fields
from realtime.commands.params import Instant, Name, Params, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.cache import Cache
from realtime.desk.charts import bar_row
from realtime.desk.desk import Desk
from realtime.engine import rows
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.market import plain
from realtime.model.errors import Code, Failure, Refused
from realtime.model.market import MS, Bar, Market
from realtime.model.orders import OrderType
from realtime.venues.base import Venue


Given = Answer | Awaitable[Answer]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]


class SymbolParams(Params):
    """One market."""

    symbol: Symbol


class TickersParams(pages.WholeParams):
    """Which markets; all without arguments."""

    symbols: Annotated[list[Symbol], Field(max_length=256)] | None = None


class BookParams(SymbolParams):
    """How much of the order book."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 20


class TradesParams(SymbolParams):
    """Which public trades."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    since: Instant | None = None


class OhlcvParams(SymbolParams):
    """Which bars."""

    timeframe: Timeframe = "5m"
    since: Instant | None = None
    until: Instant | None = None
    limit: Annotated[int, Field(ge=1, le=1500)] = 100
    cursor: Annotated[str, Field(max_length=32)] | None = None


class ListParams(pages.WholeParams):
    """Which markets."""

    active: bool | None = True
    quote: Name | None = None
    type: Literal["spot", "swap", "future", "option", "margin"] | None = None


class LimitsParams(Params):
    """A market, or the venue."""

    symbol: Symbol | None = None


class StatusParams(Params):
    """Which venue; all without arguments."""

    venue: Name | None = None


@runtime_checkable
class Exchange(Protocol):
    """A venue that is a real exchange and tells some things on request."""

    def capabilities(self) -> Mapping[str, Mapping[str, str]]:
        """How streams and functions are had, by group: `native`, `derived`, `poll`, `unsupported`."""

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        """What the account pays; None when it does not tell."""


class Upstream(Protocol):
    """What comes from an exchange, also where the account itself is on paper."""

    def offered(self) -> Mapping[str, Mapping[str, str]] | None:
        """As `Exchange.capabilities`; None where nothing comes from an exchange."""

    def streams(self) -> Sequence[Mapping[str, object]]:
        """Rows of `monitoring.hybrid`: `channel`, `symbol`, `source` and more."""


class Markets:
    """The handlers."""

    def __init__(
        self,
        desk: Desk,
        source: Venue,
        venues: Callable[[], Sequence[Mapping[str, object]]],
        cache: Cache,
        upstream: Upstream,
    ) -> None:
        self._desk = desk
        self._source = source
        self._venues = venues
        self._cache = cache
        self._upstream = upstream

    def _market(self, name: str) -> Market:
        return naming.market_of(self._desk.engine.markets, name)

    def _ticker(self, market: Market) -> Fields | None:
        ticker = self._desk.engine.tickers.get(market.symbol)
        return None if ticker is None else dict(rows.ticker_row(ticker, market))

    def ticker(self, call: Call[SymbolParams]) -> Answer:
        """Give a ticker."""
        market = self._market(call.params.symbol)
        found = self._ticker(market)
        if found is None:
            raise Refused(
                Code.VENUE_UNAVAILABLE, f"no ticker of {market.symbol} yet", retry_after=1.0
            )
        return Answer(result=found)

    def tickers(self, call: Call[TickersParams]) -> Answer:
        """Give several tickers."""
        params = call.params
        markets = self._desk.engine.markets
        # Once each: behind the second of its name a page would go on where the first one did.
        named = (
            markets
            if params.symbols is None
            else dict.fromkeys(self._market(name).symbol for name in params.symbols)
        )
        wanted = pages.behind(named, params.cursor)
        found = [self._ticker(markets[symbol]) for symbol in wanted]
        return _listed("tickers", [row for row in found if row is not None], params.limit)

    def orderbook(self, call: Call[BookParams]) -> Answer:
        """Give an order book."""
        market = self._market(call.params.symbol)
        book = self._desk.engine.books.get(market.symbol)
        if book is None or book.crossed:
            raise Refused(
                Code.VENUE_UNAVAILABLE, f"no order book of {market.symbol} yet", retry_after=1.0
            )
        bids, asks = book.top(call.params.limit)
        at = self._desk.outlet.named((f"orderbook:{market.symbol}?depth=25&rate=100",))
        position = next(iter(at.values()), None)
        return Answer(
            result={
                "symbol": market.symbol,
                "bids": bids,
                "asks": asks,
                "seq": position["seq"] if isinstance(position, dict) else None,
                "ts": book.asof // MS,
                "source": self._sources(market.symbol)["orderbook"],
            }
        )

    def _sources(self, symbol: str | None) -> Fields:
        """Say by what each stream comes just now; of one symbol, or of all."""
        live = self._upstream.offered() is not None
        exchange = isinstance(self._source, Exchange)
        return sources(
            self._upstream.streams() if live else (),
            symbol,
            paper=() if exchange else OWN if live else (*PRICES, *OWN),
        )

    async def trades(self, call: Call[TradesParams]) -> Answer:
        """Give the newest public trades."""
        params = call.params
        market = self._market(params.symbol)
        found = list(await self._source.trades(market.symbol, params.limit))
        if params.since is not None:
            found = [trade for trade in found if trade.ts >= params.since * MS]
        return Answer(
            result={"symbol": market.symbol, "trades": [rows.trade_row(t, market) for t in found]}
        )

    async def ohlcv(self, call: Call[OhlcvParams]) -> Answer:
        """Give bars, oldest first, and name the holes between them."""
        params = call.params
        market = self._market(params.symbol)
        since = params.since if params.cursor is None else pages.place(params.cursor)
        length = TIMEFRAMES[params.timeframe]
        if params.until is not None and since is None:
            since = max(params.until - params.limit * (length // MS), 0)
        bars = list(
            await self._source.ohlcv(
                market.symbol, params.timeframe, naming.ns(since), params.limit
            )
        )
        full = len(bars) == params.limit
        if params.until is not None:
            bars = [bar for bar in bars if bar.ts < params.until * MS]
        now = self._desk.now()
        closed = [bar.ts + length for bar in bars if bar.ts + length <= now]
        more = full and since is not None and bars and bars[-1].ts + length <= now
        return Answer(
            result={
                "symbol": market.symbol,
                "timeframe": params.timeframe,
                "ohlcv": [bar_row(bar) for bar in bars],
                "gaps": gaps(bars, length),
                "closed_through_ts": closed[-1] // MS if closed else None,
                "next_cursor": str((bars[-1].ts + length) // MS) if more else None,
            }
        )

    def page(self, call: Call[ListParams]) -> Answer:
        """List markets."""
        params = call.params
        markets = self._desk.engine.markets
        # By name: what one market is may change between two pages, but not where it stands.
        found = [
            rows.market_row(market)
            for market in map(markets.__getitem__, pages.behind(markets, params.cursor))
            if (params.active is None or market.active is params.active)
            and (params.quote is None or market.quote == params.quote.upper())
            and (params.type is None or market.type == params.type)
        ]
        return _listed("markets", found, params.limit)

    def get(self, call: Call[SymbolParams]) -> Answer:
        """Give one market."""
        return Answer(result=dict(rows.market_row(self._market(call.params.symbol))))

    async def limits(self, call: Call[LimitsParams]) -> Answer:
        """Tell what can be traded here, and how; of a real exchange with the fees of the account."""
        result: Fields = {
            "mode": self._desk.engine.mode,
            "venue": self._source.id,
            "margin_available": any(m.contract for m in self._desk.engine.markets.values()),
            "order_types": [{"type": kind, "support": "native"} for kind in OrderType],
            "time_in_force": ["GTC", "IOC", "FOK", "PO", "GTD"],
            "limitations": LIMITATIONS,
            "capabilities": CAPABILITIES,
        }
        exchange = self._source if isinstance(self._source, Exchange) else None
        prices = self._upstream.offered()
        if exchange is not None:
            result |= offered(exchange.capabilities())
        elif prices is not None:
            streams = words_of(prices["stream"]) | dict.fromkeys(OWN, "paper")
            result["capabilities"] = {**CAPABILITIES, "stream": streams}
        symbol = None if call.params.symbol is None else self._market(call.params.symbol).symbol
        result["sources"] = self._sources(symbol)
        if symbol is not None:
            market = self._market(symbol)
            result |= limits_row(market)
            if exchange is not None:
                result |= await self._fees(exchange, market.symbol)
        return Answer(result=result)

    async def _fees(self, exchange: Exchange, symbol: str) -> Fields:
        """Give what the account pays, asked for once an hour; what the market lists where nobody tells."""
        with suppress(Failure):
            key = f"{self._source.id}:{symbol}"
            told = await self._cache.get("trading_fees", key, lambda: exchange.fees(symbol))
            if told is not None:
                maker, taker = told
                return {"maker": plain(maker), "taker": plain(taker), "fees": "account"}
        return {"fees": "listed"}

    def status(self, call: Call[StatusParams]) -> Answer:
        """Tell how the venues are."""
        venues = [
            venue
            for venue in self._venues()
            if call.params.venue is None or venue["id"] == call.params.venue
        ]
        if not venues:
            raise Refused(Code.NOT_FOUND, f"no venue {call.params.venue}", {"what": "venue"})
        return Answer(result={"venues": venues})


def _listed(name: str, found: Sequence[pages.Listed], limit: int | None) -> Answer:
    """Give a page of rows that have a `symbol`, which is where the next one goes on."""
    page = pages.page(found, limit)
    cursor = page[-1]["symbol"] if len(page) < len(found) else None
    return Answer(result={name: page, "next_cursor": cursor})


def offered(capabilities: Mapping[str, Mapping[str, str]]) -> Fields:
    """Make what a real exchange offers: types of orders are its own, ours (`emulated`), or nobody's."""
    words = {"native": "native", "derived": "emulated", "unsupported": "unsupported"}
    orders = capabilities["order"]
    kinds = {kind: orders.get(OF_TYPE.get(kind, kind), "unsupported") for kind in OrderType}
    return {
        "order_types": [{"type": kind, "support": words[how]} for kind, how in kinds.items()],
        "limitations": (),
        "capabilities": {
            "stream": words_of(capabilities["stream"]),
            "order": {name: words[how] for name, how in orders.items()},
        },
    }


def words_of(streams: Mapping[str, str]) -> Fields:
    """Make how streams are offered: `ws` is a stream of the exchange's own."""
    return {name: "ws" if how == "native" else how for name, how in streams.items()}


def sources(
    streams: Sequence[Mapping[str, object]], symbol: str | None, *, paper: Sequence[str]
) -> Fields:
    """Say by what each stream comes just now.

    Args:
        streams: Those from an exchange, as `monitoring.hybrid` has them.
        symbol: The only one that counts; None for all.
        paper: What the paper exchange tells.

    Returns:
        By stream `ws`, `poll` (asked for again and again), `fold` (made of other streams), `paper`, `mixed` where symbols
        differ; None where nobody reads it.
    """
    found: dict[str, set[str]] = {}
    for row in streams:
        if symbol is None or row["symbol"] in {None, symbol}:
            kind = str(row["channel"]).partition(":")[0]
            found.setdefault("balances" if kind == "balance" else kind, set()).add(
                str(row["source"])
            )
    # Bars are folded from trades.
    found["ohlcv"] = found.get("trades", set())
    told = {kind: found.get(kind, set()) for kind in (*PRICES, *OWN)}
    return {
        kind: "paper" if kind in paper else "mixed" if len(ways) > 1 else next(iter(ways), None)
        for kind, ways in told.items()
    }


OF_TYPE: Final[Mapping[OrderType, str]] = {
    OrderType.TAKE_PROFIT_LIMIT: "take_profit",
}
"""Where an order type is had by the function of another name."""
PRICES: Final = ("ticker", "orderbook", "trades", "ohlcv")
OWN: Final = ("orders", "fills", "balances", "positions")
CAPABILITIES: Final = {
    "stream": dict.fromkeys((*PRICES, "orders", "fills", "balances"), "ws"),
    "order": dict.fromkeys(("amend", "cancel_all", "bracket", "oco"), "native"),
}
"""Of the paper exchange."""
LIMITS: Final = {
    "symbol",
    "price_tick",
    "amount_step",
    "min_amount",
    "max_amount",
    "max_market_amount",
    "min_cost",
    "contract_size",
    "max_leverage",
    "maker",
    "taker",
}
LIMITATIONS: Final = (
    "own orders do not move a recorded market",
    "the place in the queue of a price level is an estimate",
    "there are no hidden orders",
)


def limits_row(market: Market) -> Fields:
    """Make the figures of one market, written as `market.get` does."""
    return {name: value for name, value in rows.market_row(market).items() if name in LIMITS}


def gaps(bars: Sequence[Bar], length: int) -> list[Fields]:
    """Name the times between bars in which there is none [ms]."""
    return [
        {"from_ts": (one.ts + length) // MS, "to_ts": two.ts // MS}
        for one, two in pairwise(bars)
        if two.ts - one.ts > length
    ]


def ops(
    desk: Desk,
    source: Venue,
    venues: Callable[[], Sequence[Mapping[str, object]]],
    cache: Cache,
    upstream: Upstream,
) -> list[Op]:
    """Make the rows of the table; `cache` keeps what a venue tells on request, `upstream` knows what streams from one."""
    markets = Markets(desk, source, venues, cache, upstream)
    found = (Code.NOT_FOUND,)
    fed = (Code.NOT_FOUND, Code.VENUE_UNAVAILABLE)
    return [
        Op(
            name="market.ticker",
            params=SymbolParams,
            scope="read",
            lane="query",
            handler=markets.ticker,
            http=("GET /api/market/ticker/{symbol}",),
            summary="Show the best bid and ask and the 24-hour statistics of a market",
            errors=fed,
            example={"symbol": "BTC/USDT"},
        ),
        Op(
            name="market.tickers",
            params=TickersParams,
            scope="read",
            lane="query",
            handler=markets.tickers,
            summary="Show the tickers of several markets",
            errors=found,
            example={},
        ),
        Op(
            name="market.orderbook",
            params=BookParams,
            scope="read",
            lane="query",
            handler=markets.orderbook,
            http=("GET /api/market/orderbook/{symbol}", "GET /api/orderbook/{symbol}"),
            summary="Show the order book of a market, best prices first",
            errors=fed,
            example={"symbol": "BTC/USDT", "limit": 20},
        ),
        Op(
            name="market.trades",
            params=TradesParams,
            scope="read",
            lane="query",
            handler=markets.trades,
            http=("GET /api/market/trades/{symbol}",),
            summary="List the newest public trades of a market, oldest first",
            errors=found,
            example={"symbol": "BTC/USDT", "limit": 50},
        ),
        Op(
            name="market.ohlcv",
            params=OhlcvParams,
            scope="read",
            lane="query",
            handler=markets.ohlcv,
            http=("GET /api/market/ohlcv/{symbol}",),
            summary="List OHLCV bars, oldest first; gaps without trades are reported, never filled",
            errors=found,
            example={"symbol": "BTC/USDT", "timeframe": "5m", "limit": 100},
        ),
        Op(
            name="market.list",
            params=ListParams,
            scope="read",
            lane="query",
            handler=markets.page,
            http=("GET /api/market/markets",),
            summary="List markets with their tick and step sizes, minimums and fees",
            example={},
        ),
        Op(
            name="market.get",
            params=SymbolParams,
            scope="read",
            lane="query",
            handler=markets.get,
            summary="Show a market",
            errors=found,
            example={"symbol": "BTC/USDT"},
        ),
        Op(
            name="market.limits",
            params=LimitsParams,
            scope="read",
            lane="query",
            handler=markets.limits,
            http=("GET /api/trading-limitations",),
            summary="Show the order types, times in force and streams the venue supports, and the limits of a market",
            errors=found,
            example={"symbol": "BTC/USDT"},
        ),
        Op(
            name="market.status",
            params=StatusParams,
            scope="read",
            lane="query",
            handler=markets.status,
            summary="Show the status of the venues",
            errors=found,
            example={},
        ),
    ]
