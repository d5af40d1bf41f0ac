"""Ops of the portfolio that tell: its value now and before, what it earned, how diversified it is."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Annotated, Final, Literal

import orjson
from pydantic import Field

from realtime.commands import naming
from realtime.commands.market import Timeframe
from realtime.commands.order import Orders
from realtime.commands.params import Instant, Params, Positive, Symbol
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.config.book import ConfigBook
from realtime.desk.desk import Desk
from realtime.desk.trading import Trading
from realtime.desk.weights import effective
from realtime.engine import allocation, performance
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.market import down, plain, text
from realtime.engine.performance import Figure, Flow, Sample
from realtime.engine.rows import portfolio_row, profit_row
from realtime.engine.rules import CODES
from realtime.model.errors import Code, Refused, invalid
from realtime.model.events import Place
from realtime.model.market import MONEY, MS, SECOND, ZERO, Bar, Market
from realtime.model.orders import OrderType, Role, Side
from realtime.store.rows import Entry
from realtime.venues.base import Venue


Fields = dict[str, object]
Read = tuple[Sample, str]
"""A sample of equity, and the equity as it was written."""

MOST: Final = 1_000
"""Samples in one answer; more are thinned out."""
READ: Final = 50_000
"""Samples read at once: more than a month of one a minute. There are more where fills left theirs as well."""
TRANSFERS: Final = 500
NO_FLOWS: Final = frozenset({"fee", "opening", "funding", "insurance", "position"})
"""Kinds of transfers that are no deposit and no withdrawal."""
BARS: Final = 1_000
"""Bars of one symbol that statistics are made of."""
UNPRICED: Final = "unpriced_transfer"
INSUFFICIENT: Final = performance.INSUFFICIENT


class SnapshotParams(Params):
    """Which positions; all without arguments."""

    symbols: Annotated[list[Symbol], Field(max_length=256)] | None = None


class HistoryParams(Params):
    """Which samples of equity; `step` thins them out [s]: the last of each step, and its deepest drawdown."""

    since: Instant | None = Field(None, alias="from")
    until: Instant | None = Field(None, alias="to")
    step: Annotated[int, Field(ge=1, le=31_536_000)] | None = None


class PerformanceParams(Params):
    """Which window, up to now; `benchmark` is a symbol to hold against it."""

    timeframe: Literal["1h", "24h", "7d", "30d"]
    benchmark: Symbol | None = None


class DiversificationParams(Params):
    """How far back correlations look, and of which bars they are made."""

    days: Annotated[int, Field(ge=1, le=365)] = 30
    timeframe: Timeframe = "1h"


class TradeParams(Params):
    """A trade at the market that is only looked at."""

    symbol: Symbol
    amount: Positive
    trade_type: Literal["buy", "sell"]


# --- bars -----------------------------------------------------------------------------------------


async def closes_of(
    source: Venue, symbols: Iterable[str], *, timeframe: str, days: int, now: int
) -> dict[str, dict[int, float]]:
    """Read closing prices by opening time; of closed bars, at most the newest `BARS`.

    Args:
        source: Gives the bars.
        symbols: Unified.
        timeframe: Of the bars.
        days: How far back.
        now: [ns].
    """
    length = TIMEFRAMES[timeframe]
    count = min(days * 86_400 * SECOND // length, BARS - 1)
    found: dict[str, dict[int, float]] = {}
    for symbol in symbols:
        bars: Sequence[Bar] = await source.ohlcv(symbol, timeframe, None, count + 2)
        closed = [bar for bar in bars if bar.ts + length <= now][-(count + 1) :]
        found[symbol] = {bar.ts: float(bar.close) for bar in closed}
    return found


def common_returns(closes: Mapping[str, Mapping[int, float]]) -> list[list[float]]:
    """Make returns of the times at which every symbol has a bar, one row per symbol.

    Raises:
        Refused: `invalid`, naming symbol and place of a price that is not above zero.
    """
    shared = sorted(set.intersection(*(set(known) for known in closes.values())))
    return [
        allocation.returns_of([known[ts] for ts in shared], f"closes.{symbol}")
        for symbol, known in closes.items()
    ]


def related(returns: Sequence[Sequence[float]], symbols: Sequence[str]) -> list[list[float]]:
    """Correlate returns.

    Raises:
        Refused: `invalid`, naming the symbol that did not move.
    """
    return allocation.correlation(allocation.covariance(returns), symbols)


# --- samples --------------------------------------------------------------------------------------


def sample_of(entry: Entry) -> Read:
    """Read a sample of equity, and the equity as it was written."""
    _, equity, drawdown = orjson.loads(entry.body)["sample"]
    return Sample(entry.ts, float(equity), drawdown), str(equity)


def read_back(entries: Sequence[Entry]) -> list[Read]:
    """Read samples of the table `equity`, oldest first."""
    return [sample_of(entry) for entry in entries]


def pared(read: Sequence[Read], step: int | None) -> tuple[list[Read], int | None]:
    """Thin samples out to at most `MOST`.

    Args:
        read: Oldest first.
        step: Wanted [ns]; None keeps all.

    Returns:
        The samples, and the step that was used [ns].
    """
    # Money does not pass through a float.
    written = {sample.ts: equity for sample, equity in read}
    samples = [sample for sample, _ in read]
    if step is not None:
        samples = performance.thinned(samples, step)
    coarser = performance.step_for(samples, MOST)
    if coarser is not None:
        step = coarser
        samples = performance.thinned(samples, step)
    return [(sample, written[sample.ts]) for sample in samples], step


def by_minute(read: Sequence[Read]) -> list[Read]:
    """Keep the last sample of each minute."""
    kept = {sample.ts for sample in performance.even([sample for sample, _ in read], 60 * SECOND)}
    return [one for one in read if one[0].ts in kept]


# --- one trade ------------------------------------------------------------------------------------


def required(levels: Iterable[tuple[str, str]], amount: Decimal, taker: Decimal) -> Decimal | None:
    """Walk a book for an amount: its cost with the taker's fee [quote]; None where the book is too thin."""
    with localcontext(MONEY):
        cost, left = ZERO, amount
        for price, there in levels:
            part = min(left, Decimal(there))
            cost += part * Decimal(price)
            left -= part
            if not left:
                return cost * (1 + max(taker, ZERO))
    return None


def affordable(
    levels: Iterable[tuple[str, str]], available: Decimal, taker: Decimal, step: Decimal
) -> Decimal:
    """Walk a book with all that is available: the amount it buys, fee included, floored to the step [base]."""
    with localcontext(MONEY):
        left, amount = available / (1 + max(taker, ZERO)), ZERO
        for price_text, there_text in levels:
            price, there = Decimal(price_text), Decimal(there_text)
            if there * price >= left:
                amount += left / price
                break
            amount += there
            left -= there * price
        return down(amount, step)


# --- the handlers ---------------------------------------------------------------------------------


class Portfolios:
    """The handlers."""

    def __init__(self, desk: Desk, trading: Trading, source: Venue, book: ConfigBook) -> None:
        self._desk = desk
        self._trading = trading
        self._orders = Orders(desk, trading)
        self._source = source
        self._book = book

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

    async def status(self, _call: Call[Params]) -> Answer:
        """Give value, profit, risk and spread in one."""
        desk = self._desk
        counted = await effective(desk, self._book)
        now = desk.now()
        value = desk.engine.value(now)
        row = portfolio_row(value)
        used = self._book.current.enabled
        return Answer(
            result={
                "total_value": row["total_value"],
                "valuation_currency": row["valuation_currency"],
                "reason": row["reason"],
                "cash": row["cash"],
                "positions": row["positions"],
                "position_count": row["position_count"],
                **profit_row(value),
                "risk_summary": desk.outlet.risk_summary(),
                "diversification": desk.outlet.spread(value.positions),
                "active_strategies": {
                    name: {"weight": counted.get(name, 0.0), "min_confidence": use.min_confidence}
                    for name, use in used.items()
                },
                "ts": now // MS,
            }
        )

    # -- before ----------------------------------------------------------------------------------

    async def history(self, call: Call[HistoryParams]) -> Answer:
        """Give samples of equity: `[ts, equity, drawdown]`, oldest first."""
        params = call.params
        if params.since is not None and params.until is not None and params.until <= params.since:
            raise invalid("to", "must be after from")
        read = await self._read(
            naming.ns(params.since), naming.ns(params.until), lambda part: pared(part, None)[0]
        )
        step = None if params.step is None else params.step * SECOND
        read, step = await asyncio.to_thread(pared, read, step)
        rows = [[sample.ts // MS, equity, sample.drawdown] for sample, equity in read]
        return Answer(result={"equity": rows, "step": None if step is None else step // SECOND})

    async def _read(
        self, since: int | None, until: int | None, pare: Callable[[list[Read]], list[Read]]
    ) -> list[Read]:
        """Read the samples of a time, oldest first; of more than `READ` the older ones pared, as they are read."""
        found: list[Read] = []
        while True:
            entries = await self._desk.store.rows("equity", since=since, until=until, limit=READ)
            # A month of samples is some ten milliseconds of reading.
            read = await asyncio.to_thread(read_back, entries)
            found = (await asyncio.to_thread(pare, read) if found else read) + found
            if len(entries) < READ:
                return found
            until = entries[0].ts

    async def performance(self, call: Call[PerformanceParams]) -> Answer:
        """Measure a window up to now."""
        params = call.params
        length, step = performance.TIMEFRAMES[params.timeframe]
        market = None
        if params.benchmark is not None:
            market = naming.market_of(self._desk.engine.markets, params.benchmark)
        now = self._desk.now()
        since = now - (length + step) * SECOND
        read = await self._read(since, now + 1, by_minute)
        flows = await self._flows(since, now + 1)

        def measured() -> list[Figure]:
            return performance.performance(
                [sample for sample, _ in read],
                flows or (),
                until=now,
                length_s=length,
                step_s=step,
            )

        figures = await asyncio.to_thread(measured)
        if flows is None:
            figures = [
                Figure(name=f.name, value=None, unit=f.unit, ts=f.ts, reason=UNPRICED)
                for f in figures
            ]
        if market is not None:
            figures.append(await self._benchmark(market, length, now))
        return Answer(
            result={
                "timeframe": params.timeframe,
                "performance": [figure_row(figure) for figure in figures],
            }
        )

    async def _flows(self, since: int, until: int) -> list[Flow] | None:
        """Read deposits and withdrawals at the price of their minute; None where one has no price."""
        found: list[Flow] = []
        cursor: str | None = None
        while True:
            page = await self._desk.store.events(
                event_type="transfer", since=since, until=until, limit=TRANSFERS, cursor=cursor
            )
            for entry in page.rows:
                data = orjson.loads(entry.body)["data"]
                if data["kind"] in NO_FLOWS:
                    continue
                price = await self._price(str(data["currency"]), entry.ts)
                if price is None:
                    return None
                found.append(Flow(entry.ts, float(data["amount"]) * price))
            cursor = page.next_cursor
            if cursor is None:
                return found

    async def _price(self, currency: str, ts: int) -> float | None:
        """Give what a unit of a currency was worth at a time, else what it is worth now."""
        engine = self._desk.engine
        if currency == engine.valuation_currency:
            return 1.0
        symbol = f"{currency}/{engine.valuation_currency}"
        if symbol in engine.markets:
            minute = ts - ts % TIMEFRAMES["1m"]
            bars = await self._source.ohlcv(symbol, "1m", minute, 1)
            if bars and bars[0].ts == minute:
                return float(bars[0].close)
        worth = engine.worth(currency)
        return None if worth is None else float(worth)

    async def _benchmark(self, market: Market, length: int, now: int) -> Figure:
        """Say what holding a symbol had returned; up to its price now."""
        timeframe = "1m" if length <= 3_600 else "5m" if length <= 86_400 else "1h"
        days = max(length // 86_400, 1)
        known = await closes_of(
            self._source, [market.symbol], timeframe=timeframe, days=days, now=now
        )
        start = now - length * SECOND
        span = TIMEFRAMES[timeframe]
        within = {ts: close for ts, close in known[market.symbol].items() if ts + span >= start}
        closes = list(within.values())
        mark = self._desk.engine.mark(market.symbol)
        # A history that begins inside of the window says nothing about its start.
        if mark is None or not within or next(iter(within)) >= start:
            return performance.benchmark([], now)
        closes.append(float(mark[0]))
        return performance.benchmark(closes, now)

    # -- spread ----------------------------------------------------------------------------------

    async def diversification(self, call: Call[DiversificationParams]) -> Answer:
        """Say how the value is spread, and how much positions move as one."""
        desk, params = self._desk, call.params
        held = desk.engine.value(desk.now()).positions
        row = desk.outlet.spread(held)
        symbols = [marked.position.symbol for marked in held]
        matrix: list[list[float]] | None = None
        samples = 0
        reason: str | None = "nothing is held" if not symbols else None
        if symbols:
            closes = await closes_of(
                self._source,
                symbols,
                timeframe=params.timeframe,
                days=params.days,
                now=desk.now(),
            )
            returns = common_returns(closes)
            samples = len(returns[0])
            if samples < allocation.LEAST:
                reason = INSUFFICIENT
            else:
                # Fifty symbols are some ten milliseconds of arithmetic.
                try:
                    matrix = await asyncio.to_thread(related, returns, symbols)
                except Refused:
                    # Nobody asked about the one that stands still; the shares are known all the same.
                    reason = performance.FLAT
        return Answer(
            result={
                **row,
                "average_correlation": None
                if matrix is None
                else allocation.average_correlation(matrix),
                "correlation": {
                    "symbols": symbols,
                    "matrix": matrix,
                    "samples": samples,
                    "reason": reason,
                },
            }
        )

    # -- one trade -------------------------------------------------------------------------------

    def validate_trade(self, call: Call[TradeParams]) -> Answer:
        """Say whether balances and book allow a trade at the market; of a derivative, whether the gate does."""
        params, engine = call.params, self._desk.engine
        market = naming.market_of(engine.markets, params.symbol)
        if market.contract:
            return Answer(result=self._validate_contract(call, market))
        buying = params.trade_type == "buy"
        currency = market.quote if buying else market.base
        available = engine.free(currency) or ZERO
        book = engine.books.get(market.symbol)
        if buying and (book is None or book.crossed):
            raise Refused(
                Code.VENUE_UNAVAILABLE, f"no order book of {market.symbol} yet", retry_after=1.0
            )
        needed: Decimal | None = params.amount
        most = down(available, market.amount_step)
        if buying and book is not None:
            needed = required(book.asks, params.amount, market.taker)
            most = affordable(book.asks, available, market.taker, market.amount_step)
        off = self._off_the_market(call, market)
        valid = needed is not None and needed <= available and off is None
        if needed is None:
            message = f"the order book has less than {plain(params.amount)} {market.base}"
        elif needed > available:
            message = (
                f"needs {plain(needed)} {currency}, {plain(available)} {currency} are available"
            )
        else:
            message = off or "the balance allows it"
        return Answer(
            result={
                "is_valid": valid,
                "message": message,
                "available_balance": plain(available),
                "required_balance": None if needed is None else plain(needed),
                "currency": currency,
                "max_trade_size": text(most, market.amount_step),
                "reduce_only": False,
                "ts": self._desk.now() // MS,
            }
        )

    def _off_the_market(self, call: Call[TradeParams], market: Market) -> str | None:
        """Say by which of the market's own rules, its grid and its bounds, the gate would refuse; None when by none."""
        draft = self._draft(call, market, Side(call.params.trade_type), closing=False)
        rules = self._orders.judged(draft)["rules"]
        assert isinstance(rules, list)
        broken = (
            r["message"] for r in rules if not r["ok"] and CODES.get(r["rule"]) is Code.INVALID
        )
        return next(broken, None)

    def _validate_contract(self, call: Call[TradeParams], market: Market) -> Fields:
        """Ask the gate about a trade in a derivative: an exit where it fits into the position, else an entry."""
        params, engine, now = call.params, self._desk.engine, self._desk.now()
        side = Side(params.trade_type)
        position = engine.positions.get(market.symbol)
        held = ZERO if position is None else position.amount
        opposite = max(held if side is Side.SELL else -held, ZERO)
        entry = self._draft(call, market, side, closing=False)
        leave = self._draft(call, market, side, closing=True)
        closing = params.amount <= opposite
        shown = self._orders.judged(leave if closing else entry)
        most = engine.largest(entry)
        if opposite:
            most = max(most, engine.largest(leave))
        rules = shown["rules"]
        assert isinstance(rules, list)
        needed = next(rule["value"] for rule in rules if rule["rule"] == "insufficient_funds")
        return {
            "is_valid": shown["valid"],
            "message": shown["message"] or "the gate passes it",
            "available_balance": plain(engine.free(market.cash) or ZERO),
            "required_balance": "0" if closing else needed,
            "currency": market.cash,
            "max_trade_size": text(most, market.amount_step),
            "reduce_only": closing,
            "ts": now // MS,
        }

    def _draft(
        self, call: Call[TradeParams], market: Market, side: Side, *, closing: bool
    ) -> Place:
        """Draft the trade as an order at the market."""
        who = naming.who_of(call)
        fields: Fields = {
            "symbol": market.symbol,
            "type": OrderType.MARKET,
            "side": side,
            "amount": call.params.amount,
            "reduce_only": closing,
            "role": Role.EXIT if closing else Role.ENTRY,
            "position_type": "swap" if market.contract else "spot",
        }
        order = self._trading.draft(who=who, client_order_id=None, fields=fields)
        return Place(order=order, who=who, ts=order.created_ts)


def figure_row(figure: Figure) -> Fields:
    """Make the row of a figure; `reason` only where there is no value."""
    row: Fields = {
        "name": figure.name,
        "value": figure.value,
        "unit": figure.unit,
        "ts": None if figure.ts is None else figure.ts // MS,
    }
    return row if figure.reason is None else row | {"reason": figure.reason}


def ops(desk: Desk, trading: Trading, source: Venue, book: ConfigBook) -> list[Op]:
    """Make the rows of the table."""
    portfolios = Portfolios(desk, trading, source, book)
    return [
        Op(
            name="portfolio.status",
            params=Params,
            scope="read",
            lane="query",
            handler=portfolios.status,
            http=("GET /api/portfolio/status",),
            summary="Show the value, profit and loss, risk, diversification and strategy weights of the portfolio",
            example={},
        ),
        Op(
            name="portfolio.snapshot",
            params=SnapshotParams,
            scope="read",
            lane="query",
            handler=portfolios.snapshot,
            http=("GET /api/portfolio/live/snapshot", "GET /portfolio/live/snapshot"),
            summary="Show the value of the account and what it consists of",
            errors=(Code.NOT_FOUND,),
            example={},
        ),
        Op(
            name="portfolio.performance",
            params=PerformanceParams,
            scope="read",
            lane="query",
            handler=portfolios.performance,
            http=("GET /api/portfolio/live/performance",),
            summary="Compute time-weighted return, volatility, Sharpe ratio and drawdown; a null value has a reason",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={"timeframe": "24h", "benchmark": "BTC/USDT"},
        ),
        Op(
            name="portfolio.equity_history",
            params=HistoryParams,
            scope="read",
            lane="query",
            handler=portfolios.history,
            summary="List equity and drawdown over time, at most 1,000 samples",
            errors=(Code.INVALID,),
            example={"step": 3600},
        ),
        Op(
            name="portfolio.diversification",
            params=DiversificationParams,
            scope="read",
            lane="query",
            handler=portfolios.diversification,
            summary="Measure how concentrated the portfolio is and how correlated its positions are",
            errors=(Code.INVALID,),
            example={"days": 30, "timeframe": "1h"},
        ),
        Op(
            name="portfolio.validate_trade",
            params=TradeParams,
            scope="read",
            lane="query",
            handler=portfolios.validate_trade,
            http=("POST /api/portfolio/live/validate-trade",),
            summary="Check whether balances and order book allow a market trade, and find the largest one",
            errors=(Code.INVALID, Code.NOT_FOUND, Code.VENUE_UNAVAILABLE, Code.NOT_SUPPORTED),
            example={"symbol": "BTC/USDT", "amount": "0.01", "trade_type": "buy"},
        ),
    ]
