"""A market in which nothing happens unless somebody says so: for tests, and for whoever wants to see one thing at a time.

Rules of this file:
1 The book is what was set, less what was taken; the last price is what was traded.
2 Everything goes through the matching: a book that is set through resting orders fills them.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from typing import Final

from realtime.engine.bars import TIMEFRAMES, opening
from realtime.engine.matching import Working
from realtime.engine.matching.exchange import FUNDING_EVERY
from realtime.model.errors import Refused
from realtime.model.events import MarketEvent
from realtime.model.market import MONEY, Bar, Funding, Level, Mark, Market, Trade
from realtime.model.orders import Side
from realtime.venues.base import Floor, Now, Sleep
from realtime.venues.listing import Fees, listing_of, markets_of
from realtime.venues.tape import Tape, text


MAKER: Final = "quiet-maker"
TAKER: Final = "quiet-taker"
TICK_S: Final = 0.05
FUNDING_RATE: Final = "0.0001"

Price = Decimal | str | int


class QuietMarket:
    """A source of prices that does what it is told.

    Args:
        now: The time [ns].
        sleep: Waits; between looks at the clock for orders good till a date and funding.
        symbols: Of `listing.SYMBOLS`; ignored with `markets`.
        markets: Rows of markets that are not listed there.
        prices: Where each begins; the listing's price, or 100, by default.
        depth: Levels a side.
        worth: Amount of each level [quote].
        fees: Of listed markets.
    """

    def __init__(
        self,
        *,
        now: Now,
        sleep: Sleep = asyncio.sleep,
        symbols: Iterable[str] = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"),
        markets: Mapping[str, Market] | None = None,
        prices: Mapping[str, Price] | None = None,
        depth: int = 20,
        worth: int = 1_000_000,
        fees: Fees | None = None,
    ) -> None:
        self._now = now
        self._sleep = sleep
        self.markets: Mapping[str, Market] = (
            markets_of(symbols, fees or Fees()) if markets is None else dict(markets)
        )
        given = prices or {}
        self._first = {
            symbol: Decimal(given[symbol]) if symbol in given else _listed(symbol)
            for symbol in self.markets
        }
        self._depth = depth
        self._worth = worth
        self._floor: Floor | None = None
        self._quotes: dict[str, dict[tuple[Side, Decimal], Working]] = {
            symbol: {} for symbol in self.markets
        }
        self._tapes = {symbol: Tape(market) for symbol, market in self.markets.items()}
        self._marks: dict[str, Mark] = {}
        self._tops: dict[str, tuple[Level | None, Level | None]] = {}
        self._started = 0

    # --- what one can do ------------------------------------------------------------------------

    def set_book(
        self,
        symbol: str,
        bids: Sequence[tuple[Price, Price]],
        asks: Sequence[tuple[Price, Price]],
    ) -> None:
        """Make the market's own quotes these (price, amount); orders in their way fill."""
        self._set(symbol, bids, asks)
        self._bound.tell()

    def relist(self, market: Market, price: Price) -> None:
        """List a market, or change the rules of one that is listed, and set a book around `price`."""
        if market.symbol not in self.markets:
            self._quotes[market.symbol] = {}
            self._tapes[market.symbol] = Tape(market)
        self.markets = {**self.markets, market.symbol: market}
        self._bound.exchange.relist(market)
        self.move(market.symbol, price)

    def delist(self, symbol: str) -> None:
        """Take a market off the list; nobody may have an order or a position in it any more."""
        self.markets = {name: market for name, market in self.markets.items() if name != symbol}

    def move(self, symbol: str, price: Price) -> None:
        """Set a book around `price`, the mark to it, and print one trade at it."""
        market, middle = self.markets[symbol], Decimal(price)
        with localcontext(MONEY):
            self._around(symbol, middle)
            self._print(symbol, middle, market.amount_step)
            if market.contract:
                self._mark(symbol, middle)
        self._bound.tell()

    def trade(self, symbol: str, side: Side, amount: Price, price: Price | None = None) -> None:
        """Let somebody take: `amount` of what is offered, no worse than `price`; the rest is given up."""
        limit = None if price is None else Decimal(price)
        exchange = self._bound.exchange
        left = exchange.quote(TAKER, symbol, side, limit, Decimal(amount), self._now())
        if left is not None:
            exchange.pull(left)
        self._bound.tell()

    def print(self, symbol: str, price: Price, amount: Price | None = None) -> None:
        """Print a trade at `price` between two others.

        The market's own book moves there where it is in the way; orders of customers that rest at better prices
        fill first.
        """
        market = self.markets[symbol]
        with localcontext(MONEY):
            self._print(symbol, Decimal(price), Decimal(amount or market.amount_step))
        self._bound.tell()

    def mark(self, symbol: str, price: Price, funding_rate: str = FUNDING_RATE) -> None:
        """Move the mark and index price of a derivative."""
        with localcontext(MONEY):
            self._mark(symbol, Decimal(price), funding_rate)
        self._bound.tell()

    def step(self) -> None:
        """Let time pass: orders good till a date, funding."""
        exchange, ts = self._bound.exchange, self._now()
        exchange.advance(ts)
        for symbol in list(exchange.missed):
            # The mark has stood still meanwhile.
            first = exchange.unsettled(symbol, ts) // FUNDING_EVERY + 1
            pit = exchange.pits[symbol]
            mark, rate = str(pit.reference or 0), str(pit.funding_rate or 0)
            told = [
                Funding(ts=at, mark=mark, rate=rate)
                for at in range(first * FUNDING_EVERY, ts + 1, FUNDING_EVERY)
            ]
            exchange.make_up(symbol, told, ts, ts)
        self._bound.tell()

    # --- a source -------------------------------------------------------------------------------

    async def load(self) -> None:
        """Nothing to learn."""

    def bind(self, floor: Floor) -> None:
        """Open the accounts of makers and takers."""
        self._floor = floor
        for account in (MAKER, TAKER):
            floor.exchange.open_account(account, {}, credit=True)

    def start(self) -> None:
        """Fill the books and print one trade of each market."""
        self._started = self._now()
        for symbol in self.markets:
            self.move(symbol, self._first[symbol])

    async def run(self) -> None:
        """Look at the clock until cancelled."""
        while True:
            await self._sleep(TICK_S)
            self.step()

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """Trades, then book changes, then tickers of what moved."""
        events: list[MarketEvent] = list(prints)
        moved = set()
        for trade in prints:
            moved.add(trade.symbol)
            self._tapes[trade.symbol].add(trade)
        for symbol, tape in self._tapes.items():
            pit = self._bound.exchange.pits[symbol]
            delta = pit.changes(ts)
            if delta is not None:
                events.append(delta)
            if symbol in moved or delta is not None:
                bid, ask = self._best(symbol, Side.BUY), self._best(symbol, Side.SELL)
                mark = self._marks.get(symbol)
                if symbol not in moved and (bid, ask) == self._tops.get(symbol):
                    continue
                self._tops[symbol] = (bid, ask)
                events.append(
                    tape.ticker(
                        bid,
                        ask,
                        ts,
                        ts,
                        mark=None if mark is None else mark.mark,
                        index=None if mark is None else mark.index,
                    )
                )
        return events

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """All streams always flow."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Flat bars until the start, bars of the trades after it."""
        length = TIMEFRAMES[timeframe]
        now = self._now()
        first = opening(now, timeframe) - (limit - 1) * length if since is None else since
        at = opening(first, timeframe)
        at += 0 if at >= first else length
        flat = text(self._first[symbol], self.markets[symbol].price_tick)
        before = [
            Bar(start, flat, flat, flat, flat, "0")
            for start in range(max(at, 0), min(self._started, at + limit * length), length)
        ]
        return self._tapes[symbol].bars(timeframe, at, limit, before)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The newest of the tape."""
        return self._tapes[symbol].recent(limit)

    # --- inside -------------------------------------------------------------------------------

    @property
    def _bound(self) -> Floor:
        assert self._floor is not None, "bind comes first"
        return self._floor

    def _around(self, symbol: str, middle: Decimal) -> None:
        market = self.markets[symbol]
        tick, step = market.price_tick, market.amount_step
        # One level at every 1/10,000 of the price, at least a tick apart.
        gap = max(tick, (middle / 10_000).quantize(tick))
        amount = max((self._worth / middle) // step * step, step)
        bids = [(middle - gap * place, amount) for place in range(1, self._depth + 1)]
        asks = [(middle + gap * place, amount) for place in range(1, self._depth + 1)]
        self._set(symbol, [each for each in bids if each[0] > 0], asks)

    def _set(
        self,
        symbol: str,
        bids: Sequence[tuple[Price, Price]],
        asks: Sequence[tuple[Price, Price]],
    ) -> None:
        exchange, quotes, ts = self._bound.exchange, self._quotes[symbol], self._now()
        wanted = {(Side.BUY, Decimal(price)): Decimal(amount) for price, amount in bids}
        wanted |= {(Side.SELL, Decimal(price)): Decimal(amount) for price, amount in asks}
        for place, work in list(quotes.items()):
            if not work.resting or work.remaining != wanted.get(place):
                exchange.pull(work)
                del quotes[place]
        for (side, price), amount in wanted.items():
            if (side, price) not in quotes:
                made = exchange.quote(MAKER, symbol, side, price, amount, ts)
                if made is not None:
                    quotes[side, price] = made

    def _print(self, symbol: str, price: Decimal, amount: Decimal) -> None:
        exchange, ts = self._bound.exchange, self._now()
        if any(
            at < price if side is Side.SELL else at > price for side, at in self._quotes[symbol]
        ):
            self._around(symbol, price)
        made = exchange.quote(MAKER, symbol, Side.SELL, price, amount, ts)
        left = exchange.quote(TAKER, symbol, Side.BUY, price, amount, ts)
        for work in (made, left):
            if work is not None:
                exchange.pull(work)

    def _mark(self, symbol: str, price: Decimal, funding_rate: str = FUNDING_RATE) -> None:
        ts = self._now()
        shown = text(price, self.markets[symbol].price_tick)
        mark = self._marks[symbol] = Mark(
            symbol=symbol,
            mark=shown,
            index=shown,
            funding_rate=funding_rate,
            next_funding_ts=(ts // FUNDING_EVERY + 1) * FUNDING_EVERY,
            ts=ts,
        )
        self._bound.exchange.on_mark(mark)
        self._bound.publish((mark,))

    def _best(self, symbol: str, side: Side) -> Level | None:
        rest = self._bound.exchange.pits[symbol].own(side)
        if not rest.keys:
            return None
        queue = rest.queues[rest.keys[0]]
        return format(queue.price, "f"), format(queue.amount, "f")


def _listed(symbol: str) -> Decimal:
    try:
        return Decimal(repr(listing_of(symbol).price))
    except Refused:
        return Decimal(100)
