"""Prices the engine decides with: books, tickers, marks, their age, and what a currency is worth.

Nothing here is journaled. Prices arrive as the venue's strings and become Decimal when they are used (M6).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from realtime.engine.orderbook import OrderBook
from realtime.model.frozen import frozen
from realtime.model.market import (
    MS,
    ZERO,
    BookDelta,
    BookSnapshot,
    Level,
    Mark,
    Market,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import Side


ONE = Decimal(1)

HOPS = ("USDT", "USD", "BTC")
"""Currencies tried, in this order, where no pair with the valuation currency exists."""


@frozen
class Walk:
    """What a taking order would get from the book now.

    Attributes:
        filled: [base, contracts]; cost: [quote] without contract size.
        best, worst: The first and the last price met, None when there is nothing to take.
        average: Price [quote], None when nothing is filled.
        mid: Middle of the book as it was walked [quote], None unless both sides were there.
    """

    filled: Decimal
    cost: Decimal
    best: Decimal | None
    worst: Decimal | None
    average: Decimal | None
    mid: Decimal | None


Front = tuple[Level, Level, Decimal, Decimal, Decimal]
"""The best level of either side, the two prices as numbers, and their middle [quote]."""

NOTHING = Walk(ZERO, ZERO, None, None, None, None)
"""What there is to take without a book."""


class Quotes:
    """Market data of one venue, and routes from any currency to the valuation currency."""

    __slots__ = (
        "_currency",
        "_fronts",
        "_marks_now",
        "_pairs",
        "_routes",
        "_shared",
        "books",
        "last",
        "markets",
        "marks",
        "stale",
        "tickers",
        "touched",
        "version",
    )

    def __init__(self, markets: Mapping[str, Market], currency: str) -> None:
        self.markets = markets
        self._currency = currency
        self.books: dict[str, OrderBook] = {}
        self._shared: dict[str, OrderBook] = {}
        self.tickers: dict[str, Ticker] = {}
        self.marks: dict[str, Mark] = {}
        self.last: dict[str, str] = {}
        # When the newest price of a symbol came in [ns].
        self.touched: dict[str, int] = {}
        self.stale: dict[str | None, Stale] = {}
        self._fronts: dict[str, Front] = {}
        self._marks_now: dict[str, tuple[Decimal, str] | None] = {}
        self._routes = routes(markets.values(), currency)
        self._pairs = pairs(self._routes)
        # Raised by whatever may change a mark or the worth of a currency.
        self.version = 0

    # -- in ------------------------------------------------------------------------------------

    def share(self, symbol: str, book: OrderBook) -> None:
        """Read a book that its source changes before it tells so, instead of keeping one of our own."""
        self._shared[symbol] = book

    def take_ticker(self, ticker: Ticker) -> None:
        """Keep the newest ticker."""
        symbol = ticker.symbol
        self.tickers[symbol] = ticker
        self.touched[symbol] = ticker.recv_ts
        self._marks_now.pop(symbol, None)
        self.version += 1

    def take_trade(self, trade: Trade) -> None:
        """Keep the newest trade's price."""
        symbol = trade.symbol
        self.last[symbol] = trade.price
        self.touched[symbol] = trade.recv_ts
        self._marks_now.pop(symbol, None)
        self.version += 1

    def take_snapshot(self, snapshot: BookSnapshot) -> OrderBook:
        """Start a book afresh."""
        symbol = snapshot.symbol
        book = self._shared.get(symbol)
        if book is None:
            book = self.books.get(symbol) or OrderBook(symbol)
            book.apply_snapshot(snapshot)
        self.books[symbol] = book
        self.touched[symbol] = snapshot.recv_ts
        self._marks_now.pop(symbol, None)
        self.version += 1
        return book

    def forget_book(self, symbol: str) -> None:
        """Let a book go that is not told any more; prices are those of the ticker and the last trade then."""
        if symbol not in self._shared:
            self.books.pop(symbol, None)
            self._marks_now.pop(symbol, None)
            self.version += 1

    def relist(self) -> None:
        """Find the ways to value currencies anew: `markets` has others now."""
        self._routes = routes(self.markets.values(), self._currency)
        self._pairs = pairs(self._routes)
        self.version += 1

    def take_delta(self, delta: BookDelta) -> OrderBook | None:
        """Change a book; None (and nothing) without the snapshot it belongs to."""
        symbol = delta.symbol
        book = self.books.get(symbol)
        if book is None:
            return None
        if symbol not in self._shared:
            book.apply_delta(delta)
        self.touched[symbol] = delta.recv_ts
        self._marks_now.pop(symbol, None)
        self.version += 1
        return book

    def take_mark(self, mark: Mark) -> None:
        """Keep the newest mark price; its own stamp counts as its age."""
        self.marks[mark.symbol] = mark
        self.touched[mark.symbol] = max(mark.ts, self.touched.get(mark.symbol, 0))
        self._marks_now.pop(mark.symbol, None)
        self.version += 1

    def take_stale(self, stale: Stale) -> None:
        """Remember that a source is silent, or that it is back."""
        if stale.stale:
            self.stale[stale.symbol] = stale
        else:
            self.stale.pop(stale.symbol, None)
            if stale.symbol is None:
                self.stale.clear()

    # -- out -----------------------------------------------------------------------------------

    def mark(self, symbol: str) -> tuple[Decimal, str] | None:
        """The price a position is valued at and its source: venue's mark, else mid, else last."""
        try:
            return self._marks_now[symbol]
        except KeyError:
            found = self._marks_now[symbol] = self._mark(symbol)
            return found

    def _mark(self, symbol: str) -> tuple[Decimal, str] | None:
        mark, ticker = self.marks.get(symbol), self.tickers.get(symbol)
        told = mark.mark if mark else ticker.mark if ticker else None
        if told is not None:
            return Decimal(told), "mark"
        mid = self.mid(symbol)
        if mid is not None:
            return mid, "mid"
        last = self.last.get(symbol) or (ticker.daily.last if ticker else None)
        return (Decimal(last), "last") if last is not None else None

    def mid(self, symbol: str) -> Decimal | None:
        """Middle of best bid and ask [quote]: of the book, else of the ticker; a crossed book counts as none."""
        book = self.books.get(symbol)
        front = None if book is None else self._front(book)
        if front is not None:
            return front[4]
        ticker = self.tickers.get(symbol)
        if ticker is None or ticker.bid is None or ticker.ask is None:
            return None
        return (Decimal(ticker.bid) + Decimal(ticker.ask)) / 2

    def _front(self, book: OrderBook) -> Front | None:
        """Read the touch of a book; None without one. It is read again when one of its rows is another one."""
        rows = book.touch
        if rows is None:
            return None
        front = self._fronts.get(book.symbol)
        if front is None or front[0] is not rows[0] or front[1] is not rows[1]:
            bid, ask = Decimal(rows[0][0]), Decimal(rows[1][0])
            front = self._fronts[book.symbol] = (*rows, bid, ask, (bid + ask) / 2)
        return front

    def trigger_price(self, symbol: str, by: str) -> Decimal | None:
        """The price that fires triggers of kind `last`, `mark` or (as the mid) `bid_ask`."""
        if by == "last" and (last := self.last.get(symbol)) is not None:
            return Decimal(last)
        found = self.mark(symbol)
        return found[0] if found else None

    def age_ms(self, symbol: str, ts: int) -> int | None:
        """Age of the newest price [ms]; None when there is none."""
        touched = self.touched.get(symbol)
        return None if touched is None else max(ts - touched, 0) // MS

    def is_stale(self, symbol: str) -> bool:
        """Whether the source of a symbol, or the whole venue, was told to be silent."""
        return bool(self.stale) and (symbol in self.stale or None in self.stale)

    def walk(
        self,
        symbol: str,
        side: Side,
        *,
        amount: Decimal | None,
        cost: Decimal | None = None,
        limit: Decimal | None = None,
    ) -> Walk:
        """Walk the book as a taking order would.

        Args:
            symbol: Unified symbol.
            side: Of the order: a buy walks the asks.
            amount: Wanted [base, contracts]; None walks for `cost`.
            cost: To spend [quote], without contract size.
            limit: Worst price to take [quote]; None takes any.
        """
        book = self.books.get(symbol)
        front = None if book is None else self._front(book)
        if book is None or (front is None and book.crossed):
            return NOTHING
        buy, mid = side is Side.BUY, None
        if front is not None:
            bid_row, ask_row, bid, ask, mid = front
            price, row = (ask, ask_row) if buy else (bid, bid_row)
            if amount is not None and limit is None and amount <= Decimal(row[1]):
                # Most orders are met by the best level alone.
                average = price if amount else None
                return Walk(amount, amount * price, price, price, average, mid)
        filled = spent = ZERO
        best = worst = None
        for price_text, amount_text in book.asks if buy else book.bids:
            price = Decimal(price_text)
            if limit is not None and (price > limit if buy else price < limit):
                break
            there = Decimal(amount_text)
            if best is None:
                best = price
            worst = price
            if amount is not None:
                there = min(there, amount - filled)
            elif there * price >= (left := (cost or ZERO) - spent):
                # All of it, exactly: `left / price` has been rounded and does not multiply back.
                filled, spent = filled + left / price, cost or ZERO
                break
            filled += there
            spent += there * price
            if filled == amount:
                break
        return Walk(filled, spent, best, worst, spent / filled if filled else None, mid)

    def valued(self, currency: str) -> tuple[Decimal | None, int]:
        """Give `worth` and `newest` of a currency, by one look where one pair tells both."""
        pair = self._pairs.get(currency)
        if pair is not None:
            found, touched = self.mark(pair), self.touched.get(pair, 0)
            if touched and found is not None and found[0]:
                return found[0], touched
        return self.worth(currency), self.newest(currency)

    def routed(self, currency: str) -> bool:
        """Whether there is a way at all to value a currency."""
        return currency in self._routes and bool(self._routes[currency])

    def newest(self, currency: str) -> int:
        """When the oldest price on the best usable way to value a currency came in [ns]."""
        touched = self.touched
        for route in self._routes.get(currency, ()):
            oldest = None
            for symbol, _ in route:
                stamp = touched.get(symbol, 0)
                if oldest is None or stamp < oldest:
                    oldest = stamp
            if oldest:
                return oldest
        return 0

    def worth(self, currency: str) -> Decimal | None:
        """Price of one unit of a currency in the valuation currency; None when there is no route."""
        if currency == self._currency:
            return ONE
        for route in self._routes.get(currency, ()):
            value = ONE
            for symbol, inverse in route:
                found = self.mark(symbol)
                if found is None or not found[0]:
                    break
                value = value / found[0] if inverse else value * found[0]
            else:
                return value
        return None


Route = tuple[tuple[str, bool], ...]


def routes(markets: Iterable[Market], currency: str) -> dict[str, tuple[Route, ...]]:
    """For every currency the ways to the valuation currency, best first: itself, one pair, one hop.

    A step is (symbol, inverse): inverse divides by the pair's price.
    """
    told: dict[tuple[str, str], tuple[str, bool]] = {}
    for market in markets:
        if not market.contract:
            told.setdefault((market.base, market.quote), (market.symbol, False))
            told.setdefault((market.quote, market.base), (market.symbol, True))
    found: dict[str, tuple[Route, ...]] = {currency: ((),)}
    for held in sorted({base for base, _ in told} - {currency}):
        ways: list[Route] = []
        if (direct := told.get((held, currency))) is not None:
            ways.append((direct,))
        ways.extend(_hops(told, held, currency))
        found[held] = tuple(ways)
    return found


def pairs(ways: Mapping[str, Sequence[Route]]) -> dict[str, str]:
    """The symbol that tells a currency's price by itself, where that is the best way."""
    found: dict[str, str] = {}
    for currency, routes_of in ways.items():
        if routes_of and len(routes_of[0]) == 1 and not routes_of[0][0][1]:
            found[currency] = routes_of[0][0][0]
    return found


def _hops(
    pairs: Mapping[tuple[str, str], tuple[str, bool]], held: str, currency: str
) -> Iterator[Route]:
    """Ways of two pairs."""
    for hop in HOPS:
        first, second = pairs.get((held, hop)), pairs.get((hop, currency))
        if first is not None and second is not None:
            yield first, second
