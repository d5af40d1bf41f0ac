"""The embedded market: a living market without a network, the same for the same seed.

Rules of this file:
1 Book, trades, ticker and bars are read from the exchange; only bars before the start come from the path.
2 What a restart continues is the price (a function of seed, symbol and time), not the resting quotes.
3 What an account traded before is in those bars: none of its fills lies outside the bar of its time.
4 The price goes on while nobody follows it, and nothing else does: nothing fills, fires or is liquidated for what was then.
  Funding falls due then as well, without a premium, for nobody traded.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple

from realtime.engine.bars import DAY, HOUR, MINUTE, TIMEFRAMES, Forming, opening
from realtime.engine.matching.exchange import FUNDING_EVERY
from realtime.engine.matching.pit import Pit
from realtime.model.errors import Code, Refused
from realtime.model.events import MarketEvent
from realtime.model.market import MONEY, SECOND, ZERO, Bar, Funding, Level, Mark, Market, Trade
from realtime.model.orders import Side, TriggerBy
from realtime.venues.base import Floor, Now, Sleep
from realtime.venues.chance import Chance
from realtime.venues.flow import MAKERS, TAKERS, Flow
from realtime.venues.listing import SYMBOLS, Fees, listing_of, markets_of
from realtime.venues.paths import Candle, Path, Walk
from realtime.venues.tape import Tape, text


TICK_S = 0.05
AT_ONCE = 50
"""Places of history looked at, or bars made, before the loop gets a turn: a few ms."""
NOTIONAL = 900.0
"""Median value of a simulated order [USDT]."""
COMMON_SIGMA = 0.018
PREMIUM_SMOOTHING = 0.02
"""Weight of a second's premium in the smoothed one."""
INTEREST = 0.0001
MAX_FUNDING = 0.0075


class Own(NamedTuple):
    """What an account traded, or a minute of it whose orders are forgotten."""

    ts: int
    price: Decimal
    amount: Decimal


class Symbol:
    """What the market keeps about one symbol."""

    __slots__ = ("flow", "marked", "market", "path", "pit", "premium", "tape", "top")

    def __init__(self, market: Market, pit: Pit, path: Path, flow: Flow) -> None:
        self.market = market
        self.pit = pit
        self.path = path
        self.flow = flow
        self.tape = Tape(market)
        self.top: tuple[Level | None, Level | None] = (None, None)
        self.premium = 0.0
        self.marked: Mark | None = None


class EmbeddedMarket:
    """The price source of the paper exchange that needs nothing from outside.

    Args:
        seed: Of everything.
        now: The time [ns].
        sleep: Waits between ticks.
        symbols: Of `listing.SYMBOLS`.
        fees: Of its markets.
        flow_per_s: Order events a second and symbol, in calm times.
    """

    def __init__(
        self,
        *,
        seed: int,
        now: Now,
        sleep: Sleep,
        symbols: Iterable[str] = SYMBOLS,
        fees: Fees | None = None,
        flow_per_s: float = 50.0,
    ) -> None:
        self._seed = seed
        self._now = now
        self._sleep = sleep
        self._rate = flow_per_s
        self._markets = markets_of(symbols, fees or Fees())
        self._symbols: dict[str, Symbol] = {}
        self._floor: Floor | None = None
        self._started = 0
        self._marks_due = 0

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol."""
        return self._markets

    async def load(self) -> None:
        """Nothing to learn: the markets are built in."""

    def bind(self, floor: Floor) -> None:
        """Open the simulated accounts and make the flows."""
        self._floor = floor
        for account in (*MAKERS, *TAKERS):
            floor.exchange.open_account(account, {}, credit=True)
        common = Walk(COMMON_SIGMA, self._seed, "common")
        paths: dict[str, Path] = {}
        for symbol, market in self._markets.items():
            listing = listing_of(symbol)
            # The perpetual follows its spot market: same path, its own flow.
            base = symbol.partition(":")[0]
            path = paths.get(base)
            if path is None:
                path = paths[base] = Path(
                    base=listing.price,
                    beta=listing.beta,
                    sigma=listing.sigma,
                    turnover=self._rate * 0.2 * NOTIONAL * 1.8 / listing.price,
                    common=common,
                    names=(self._seed, base),
                )
            flow = Flow(
                floor.exchange,
                market,
                Chance(self._seed, symbol, "flow", self._now()),
                price=path.price,
                wild=path.wild,
                rate=self._rate,
                notional=NOTIONAL,
            )
            self._symbols[symbol] = Symbol(market, floor.exchange.pits[symbol], path, flow)

    def start(self) -> None:
        """Fill the books, the last 24 hours from history, and publish both."""
        floor = self._bound()
        ts = self._started = self._now()
        events: list[MarketEvent] = []
        self._settle(ts)  # before the first price, which may end what was held
        floor.exchange.opening = True
        for symbol in self._symbols.values():
            start = opening(ts - DAY, "1m") + MINUTE
            own = self._own(symbol, start, ts)
            while start < ts:
                end = min(opening(start, "15m") + HOUR // 4, ts)
                bar = self._bar(symbol, start, end, own)
                value = MONEY.multiply(Decimal(bar.volume), Decimal(bar.close))
                symbol.tape.day.merge(bar, value)
                start = end
            symbol.flow.start(ts)
        floor.exchange.opening = False
        events.extend(self._mark(ts))
        for symbol in self._symbols.values():
            symbol.top = _top(symbol.pit)
            events.append(symbol.pit.snapshot(ts))
            events.append(_ticker(symbol, ts))
        floor.publish(events)
        floor.tell()

    async def run(self) -> None:
        """Let the accounts act, twenty times a second."""
        while True:
            await self._sleep(TICK_S)
            self.step()

    def step(self) -> None:
        """Everything until now."""
        floor = self._bound()
        ts = self._now()
        floor.exchange.advance(ts)
        self._settle(ts)
        for symbol in self._symbols.values():
            symbol.flow.step(ts)
        if ts >= self._marks_due:
            marks = self._mark(ts)
            if marks:
                floor.publish(marks)
        floor.tell()

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """Trades, then book changes, then tickers of what moved."""
        events: list[MarketEvent] = list(prints)
        symbols, moved = self._symbols, set()
        for trade in prints:
            moved.add(trade.symbol)
            symbols[trade.symbol].tape.add(trade)
        for name, symbol in symbols.items():
            pit = symbol.pit
            if not (pit.bids.changed or pit.asks.changed or name in moved):
                continue  # most of them: an order moves one
            delta, top = pit.changes(ts), _top(pit)
            if delta is not None:
                events.append(delta)
            if name in moved or top != symbol.top:
                symbol.top = top
                events.append(_ticker(symbol, ts))
        return events

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """All streams always flow: the market has to live anyway."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars of the path and of own fills until the start, of the trades after it; of a market that was let go none."""
        if symbol not in self._symbols:
            return ()
        state, length = self._symbols[symbol], TIMEFRAMES[timeframe]
        now = self._now()
        kept = state.tape.kept_from(timeframe)
        cut = now if kept is None else max(kept, self._started)
        first = opening(now, timeframe) - (limit - 1) * length if since is None else since
        first = max(first, 0)
        start = opening(first, timeframe)
        start += 0 if start >= first else length
        before, told, own = [], state.path.looked, self._own(state, start, cut)
        for at in range(start, min(cut, start + limit * length), length):
            before.append(self._bar(state, at, min(at + length, cut), own))
            if state.path.looked - told > AT_ONCE or len(before) % AT_ONCE == 0:
                told = state.path.looked
                await self._sleep(0)
        return state.tape.bars(timeframe, start, limit, before)

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar]:
        """Bars of the path, which is the last and the mark price of the time when nobody followed.

        Raises:
            Refused: `not_supported`, nobody bid or asked then.
        """
        if by is TriggerBy.BID_ASK:
            raise Refused(Code.NOT_SUPPORTED, f"there are no bars of bids and asks of {symbol}")
        return await self.ohlcv(symbol, "1m", since, (self._now() - since) // MINUTE + 2)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The newest of the tape."""
        return self._symbols[symbol].tape.recent(limit) if symbol in self._symbols else ()

    # --- inside -------------------------------------------------------------------------------

    def _bound(self) -> Floor:
        assert self._floor is not None, "bind comes first"
        return self._floor

    def _own(self, symbol: Symbol, start: int, end: int) -> deque[Own]:
        """What accounts have traded from `start` [ns] on and before `end` [ns], oldest first."""
        if start >= end:
            return deque()
        name, clearing = symbol.market.symbol, self._bound().exchange.clearing
        own = [
            Own(fill.ts, fill.price, fill.amount)
            for fills in clearing.fills.values()
            for fill in fills
            if start <= fill.ts < end and fill.symbol == name
        ]
        for ts, (high, low, volume) in clearing.traded.get(name, {}).items():
            if start <= ts < end:
                own += (Own(ts, high, volume), Own(ts, low, ZERO))
        return deque(sorted(own, key=attrgetter("ts")))

    def _bar(self, symbol: Symbol, start: int, end: int, own: deque[Own]) -> Bar:
        """A bar of the path, widened by the `own` fills until its end, which are taken from them.

        Their extremes and their volume add up, so bars of all lengths still agree; open and close stay those of the path,
        where the bar before and the bar behind are.
        """
        bar = _bar(symbol.path.candle(start, end), symbol.market, start)
        prices, volume = [], ZERO
        while own and own[0].ts < end:
            fill = own.popleft()
            prices.append(fill.price)
            volume = MONEY.add(volume, fill.amount)
        if not prices:
            return bar
        # A day may hold 100,000 of them: texts are made of the two that matter.
        wide, tick = Forming(start, end, bar), symbol.market.price_tick
        wide.add(text(max(prices), tick), volume)
        wide.add(text(min(prices), tick), ZERO)
        wide.add(bar.close, ZERO)
        return wide.bar()

    def _settle(self, ts: int) -> None:
        """Tell the fundings that were missed."""
        exchange = self._bound().exchange
        for name in list(exchange.missed):
            first = exchange.unsettled(name, ts) // FUNDING_EVERY + 1
            due = range(first * FUNDING_EVERY, ts + 1, FUNDING_EVERY)
            # What is not listed here any more has no price, and pays nothing.
            symbol = self._symbols.get(name)
            told = () if symbol is None else (_funding(symbol, at) for at in due)
            exchange.make_up(name, told, ts, ts)

    def _mark(self, ts: int) -> list[Mark]:
        """Mark, index and funding of the perpetuals: index is the spot's middle."""
        floor = self._bound()
        self._marks_due = ts + SECOND
        marks = []
        for name, symbol in self._symbols.items():
            if not symbol.market.contract:
                continue
            spot = floor.exchange.pits.get(name.partition(":")[0])
            index = _middle(spot) or symbol.path.price(ts)
            own = _middle(floor.exchange.pits[name]) or index
            symbol.premium += PREMIUM_SMOOTHING * ((own - index) / index - symbol.premium)
            rate = max(min(symbol.premium + INTEREST, MAX_FUNDING), -MAX_FUNDING)
            tick = symbol.market.price_tick
            mark = Mark(
                symbol=name,
                mark=text(index * (1 + symbol.premium), tick),
                index=text(index, tick),
                funding_rate=text(rate, Decimal("0.000001")),
                next_funding_ts=(ts // FUNDING_EVERY + 1) * FUNDING_EVERY,
                ts=ts,
            )
            symbol.marked = mark
            floor.exchange.on_mark(mark)
            marks.append(mark)
        return marks


def _funding(symbol: Symbol, ts: int) -> Funding:
    mark = text(symbol.path.price(ts), symbol.market.price_tick)
    return Funding(ts=ts, mark=mark, rate=repr(INTEREST))


def _ticker(symbol: Symbol, ts: int) -> MarketEvent:
    bid, ask = symbol.top
    mark = symbol.marked
    if mark is None:
        return symbol.tape.ticker(bid, ask, ts, ts)
    return symbol.tape.ticker(bid, ask, ts, ts, mark=mark.mark, index=mark.index)


def _top(pit: Pit) -> tuple[Level | None, Level | None]:
    return pit.bids.best, pit.asks.best


def _middle(pit: Pit | None) -> float | None:
    if pit is None:
        return None
    bid, ask = pit.best(Side.BUY), pit.best(Side.SELL)
    return None if bid is None or ask is None else float(bid + ask) / 2


def _bar(candle: Candle, market: Market, ts: int) -> Bar:
    tick, step = market.price_tick, market.amount_step
    before, until = (Decimal(text(traded, step)) for traded in (candle.before, candle.until))
    return Bar(
        ts=ts,
        open=text(candle.open, tick),
        high=text(candle.high, tick),
        low=text(candle.low, tick),
        close=text(candle.close, tick),
        volume=format(until - before, "f"),
    )
