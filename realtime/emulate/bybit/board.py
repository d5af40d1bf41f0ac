"""What everybody sees: tickers, order books with sequence numbers, trades and bars, and who has asked for them.

Rules of this file:
1 A book of depth N shows the N best levels; what leaves them is deleted in the delta, what enters is in it.
2 `u` of one book rises by one with each frame; a snapshot goes to who subscribes, at the `u` of then.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from realtime.emulate.bybit import rows
from realtime.emulate.bybit.codes import Refusal
from realtime.emulate.bybit.rows import INTERVALS, Row
from realtime.emulate.floor import Floor
from realtime.emulate.sockets import Socket
from realtime.model.events import MarketEvent
from realtime.model.market import MS, BookDelta, BookSnapshot, Level, Mark, Market, Ticker, Trade
from realtime.model.orders import Side


DEPTHS: Final = {"1", "50", "200", "1000"}
KLINE_S: Final = 0.1
"""Time between two looks at the bars [s]."""

Find = Callable[[str, str], Market]
"""Category and Bybit's name to a market; raises `Refusal`."""


class Book:
    """One order book as one depth shows it.

    Attributes:
        u: Number of the last frame.
    """

    __slots__ = ("_floor", "asks", "bids", "depth", "market", "u")

    def __init__(self, floor: Floor, market: Market, depth: int) -> None:
        self._floor = floor
        self.market = market
        self.depth = depth
        self.u = 1
        self.bids = self._levels(Side.BUY)
        self.asks = self._levels(Side.SELL)

    def _levels(self, side: Side) -> dict[str, str]:
        return dict(self._floor.levels(self.market.symbol, side, self.depth))

    def step(self) -> tuple[list[Level], list[Level]] | None:
        """Look at the floor again: changed bids and asks, None where nothing changed here."""
        bids, asks = self._levels(Side.BUY), self._levels(Side.SELL)
        changes = _changes(self.bids, bids), _changes(self.asks, asks)
        if not (changes[0] or changes[1]):
            return None
        self.bids, self.asks = bids, asks
        self.u += 1
        return changes

    def data(self, bids: Sequence[Level], asks: Sequence[Level], seq: int) -> Row:
        """As the data of a frame."""
        return {"s": rows.id_of(self.market), "b": bids, "a": asks, "u": self.u, "seq": seq}


def _changes(before: dict[str, str], after: dict[str, str]) -> list[Level]:
    if before == after:
        return []
    found = [(price, amount) for price, amount in after.items() if before.get(price) != amount]
    found += [(price, "0") for price in before if price not in after]
    return found


class Board:
    """The public side of the emulated exchange.

    Args:
        floor: What happens.
        find: Looks markets up.
        on_trade: Told every public trade.
    """

    def __init__(self, floor: Floor, find: Find, on_trade: Callable[[Trade], None]) -> None:
        self._floor = floor
        self._find = find
        self._on_trade = on_trade
        self._tickers: dict[str, Ticker] = {}
        self._marks: dict[str, Mark] = {}
        self._books: dict[tuple[str, int], Book] = {}
        self._readers: dict[tuple[str, str], list[Socket]] = {}
        self._sent: dict[str, Row] = {}
        self._ticks: dict[str, tuple[str, str]] = {}
        self._seq = 0
        self._bars: dict[tuple[str, str], str] = {}
        self._barred: set[tuple[str, str]] = set()
        self._starts: dict[tuple[str, str], int] = {}
        self._wake = asyncio.Event()
        floor.on_public.append(self._on_public)

    # --- asked ----------------------------------------------------------------------------------

    def ticker(self, market: Market) -> Row | None:
        """A row of `market/tickers`; None before there is one."""
        seen = self._tickers.get(market.symbol)
        if seen is None:
            return None
        return rows.ticker(market, seen, self._marks.get(market.symbol), rest=True)

    def book(self, market: Market, limit: int) -> Row:
        """The answer of `market/orderbook`."""
        now = self._floor.now() // MS
        return {
            "s": rows.id_of(market),
            "b": self._floor.levels(market.symbol, Side.BUY, limit),
            "a": self._floor.levels(market.symbol, Side.SELL, limit),
            "ts": now,
            "u": self._seq,
            "seq": self._seq,
            "cts": now,
        }

    # --- subscribed -------------------------------------------------------------------------------

    def subscribe(self, socket: Socket, category: str, topic: str) -> Callable[[], None] | None:
        """Send a topic to a socket from now on.

        Returns:
            What sends the first frame, to be called behind the answer; None for a topic that is none.

        Raises:
            Refusal: No such market.
        """
        name, _, rest = topic.partition(".")
        detail, _, symbol = rest.rpartition(".")
        if name == "orderbook" and detail in DEPTHS:
            market = self._find(category, symbol)
            first = self._first_book(socket, market, topic, int(detail))
        elif name == "kline" and detail in INTERVALS:
            market = self._find(category, symbol)
            first = self._first_bar(market, detail, topic)
        elif name == "tickers" and not detail:
            market = self._find(category, symbol)
            first = self._first_ticker(socket, market, topic)
        elif name in {"publicTrade", "allLiquidation"} and not detail:
            self._find(category, symbol)
            first = _nothing
        else:
            return None
        readers = self._readers.setdefault((category, topic), [])
        if socket not in readers:
            readers.append(socket)
        return first

    def unsubscribe(self, socket: Socket, category: str, topic: str) -> None:
        """Send it no longer."""
        readers = self._readers.get((category, topic))
        if readers is None:
            return
        if socket in readers:
            readers.remove(socket)
        if readers:
            return
        del self._readers[category, topic]
        name, _, rest = topic.partition(".")
        detail, _, symbol = rest.rpartition(".")
        try:
            market = self._find(category, symbol)
        except Refusal:
            return  # delisted meanwhile
        if name == "orderbook":
            self._books.pop((market.symbol, int(detail)), None)
        elif name == "kline":
            self._bars.pop((market.symbol, detail), None)
        elif name == "tickers":
            self._sent.pop(market.symbol, None)

    def gone(self, socket: Socket) -> None:
        """A socket is closed."""
        for category, topic in [key for key, readers in self._readers.items() if socket in readers]:
            self.unsubscribe(socket, category, topic)

    def _first_book(
        self, socket: Socket, market: Market, topic: str, depth: int
    ) -> Callable[[], None]:
        key = (market.symbol, depth)
        if key not in self._books:
            self._floor.tell()
            self._books[key] = Book(self._floor, market, depth)

        def send() -> None:
            book = self._books[key]
            bids, asks = list(book.bids.items()), list(book.asks.items())
            socket.data(topic, self._frame(topic, "snapshot", book.data(bids, asks, self._seq)))

        return send

    def _first_ticker(self, socket: Socket, market: Market, topic: str) -> Callable[[], None]:
        def send() -> None:
            seen = self._tickers.get(market.symbol)
            if seen is None:
                return
            row = rows.ticker(market, seen, self._marks.get(market.symbol), rest=False)
            self._sent.setdefault(market.symbol, row)
            socket.data(topic, self._frame(topic, "snapshot", row))

        return send

    def _first_bar(self, market: Market, interval: str, topic: str) -> Callable[[], None]:
        def send() -> None:
            key = (market.symbol, interval)
            self._bars[key] = topic
            self._barred.add(key)
            self._wake.set()

        return send

    # --- happening --------------------------------------------------------------------------------

    def _on_public(self, events: Sequence[MarketEvent]) -> None:
        trades: dict[str, list[Trade]] = {}
        changed: dict[str, None] = {}
        told: dict[str, None] = {}
        for event in events:
            match event:
                case Trade():
                    trades.setdefault(event.symbol, []).append(event)
                    self._on_trade(event)
                case BookDelta() | BookSnapshot():
                    changed[event.symbol] = None
                case Ticker():
                    self._tickers[event.symbol] = event
                    told[event.symbol] = None
                case Mark():
                    self._marks[event.symbol] = event
                    told[event.symbol] = None
                case _:
                    pass
        for symbol, printed in trades.items():
            self._tell_trades(self._floor.markets[symbol], printed)
        if changed:
            self._seq += 1
            for (symbol, depth), book in self._books.items():
                if symbol in changed:
                    self._tell_book(book, depth)
        for symbol in told:
            self._tell_ticker(self._floor.markets[symbol])

    def _tell_trades(self, market: Market, printed: list[Trade]) -> None:
        symbol = market.symbol
        category = rows.category_of(market)
        for interval in [detail for name, detail in self._bars if name == symbol]:
            self._barred.add((symbol, interval))
            self._wake.set()
        topic = f"publicTrade.{rows.id_of(market)}"
        readers = self._readers.get((category, topic))
        if not readers:
            return
        data: list[Row] = []
        for trade in printed:
            before, tick = self._ticks.get(symbol, (trade.price, "PlusTick"))
            if before != trade.price:
                tick = "PlusTick" if float(trade.price) > float(before) else "MinusTick"
            elif data or symbol in self._ticks:
                tick = f"Zero{tick.removeprefix('Zero')}"
            self._ticks[symbol] = (trade.price, tick)
            data.append(rows.public_trade(trade, category, market, tick))
        frame = self._frame(topic, "snapshot", data)
        for socket in readers:
            socket.data(topic, frame)

    def _tell_book(self, book: Book, depth: int) -> None:
        changes = book.step()
        if changes is None:
            return
        topic = f"orderbook.{depth}.{rows.id_of(book.market)}"
        bids, asks = changes
        kind = "delta"
        if depth == 1:
            # The best level alone always comes whole.
            kind, bids, asks = "snapshot", list(book.bids.items()), list(book.asks.items())
        frame = self._frame(topic, kind, book.data(bids, asks, self._seq))
        for socket in self._readers.get((rows.category_of(book.market), topic), ()):
            socket.data(topic, frame)

    def _tell_ticker(self, market: Market) -> None:
        topic = f"tickers.{rows.id_of(market)}"
        readers = self._readers.get((rows.category_of(market), topic))
        seen = self._tickers.get(market.symbol)
        if not readers or seen is None:
            return
        row = rows.ticker(market, seen, self._marks.get(market.symbol), rest=False)
        before = self._sent.get(market.symbol, {})
        self._sent[market.symbol] = row
        if not market.contract:
            # Spot tickers always come whole.
            frame = self._frame(topic, "snapshot", row)
        else:
            changed = {name: value for name, value in row.items() if before.get(name) != value}
            if not changed:
                return
            frame = self._frame(topic, "delta", {"symbol": row["symbol"], **changed})
        for socket in readers:
            socket.data(topic, frame)

    async def run(self) -> None:
        """Send bars that changed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            dirty, self._barred = self._barred, set()
            for key in dirty:
                await self._tell_bar(*key)
            await asyncio.sleep(KLINE_S)

    async def _tell_bar(self, symbol: str, interval: str) -> None:
        topic = self._bars.get((symbol, interval))
        if topic is None:
            return
        market = self._floor.markets[symbol]
        bars = await self._floor.bars(symbol, INTERVALS[interval], None, 2)
        if not bars:
            return
        now = self._floor.now()
        # The one before is told once more when it has closed since.
        since = self._starts.get((symbol, interval), bars[-1].ts)
        self._starts[symbol, interval] = bars[-1].ts
        for bar in bars:
            if bar.ts < since:
                continue
            frame = self._frame(topic, "snapshot", [rows.kline_frame(bar, interval, now)])
            for socket in self._readers.get((rows.category_of(market), topic), ()):
                socket.data(topic, frame)

    def _frame(self, topic: str, kind: str, data: object) -> Row:
        now = self._floor.now() // MS + self._floor.faults.clock_ms
        frame: Row = {"topic": topic, "type": kind, "ts": now, "data": data}
        if topic.startswith("orderbook"):
            frame["cts"] = now
        elif topic.startswith("tickers"):
            frame["cs"] = self._seq
        return frame


def _nothing() -> None:
    """Nothing is sent before something happens."""
