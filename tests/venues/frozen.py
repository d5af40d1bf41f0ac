"""A market that stands still until it is told to move.

Its book and its steps are those of the protocol document, section 6.3.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from realtime.engine.orderbook import OrderBook
from realtime.model.events import MarketEvent
from realtime.model.market import Bar, BookDelta, BookSnapshot, Level, Market, Trade
from realtime.model.orders import Side
from realtime.venues.base import Floor, Now, Sleep
from realtime.venues.tape import Tape


SYMBOL: Final = "BTC/USDT"
BIDS: tuple[Level, ...] = (
    ("64012.00", "0.51230"),
    ("64011.50", "1.00000"),
    ("64010.00", "0.25000"),
    ("64009.90", "2.00000"),
    ("64008.00", "0.10000"),
)
ASKS: tuple[Level, ...] = (
    ("64012.10", "1.20410"),
    ("64013.00", "0.25000"),
    ("64013.50", "0.40000"),
    ("64014.00", "3.00000"),
    ("64015.20", "0.05000"),
)
STEPS: tuple[tuple[tuple[Level, ...], tuple[Level, ...]], ...] = (
    ((("64012.00", "0.40000"),), (("64012.10", "0"), ("64016.00", "0.75000"))),
    ((("64012.05", "0.30000"),), ()),
)
MARKET = Market(
    symbol=SYMBOL,
    id="BTCUSDT",
    base="BTC",
    quote="USDT",
    price_tick=Decimal("0.01"),
    amount_step=Decimal("0.00001"),
    maker=Decimal("0.001"),
    taker=Decimal("0.001"),
    groups=("0.10", "1.00", "10.00"),
)


class FrozenMarket:
    """One symbol, moved by hand.

    Args:
        now: The time [ns].
        sleep: Waits between proofs of life.
        alive_s: Seconds between them.
    """

    def __init__(self, *, now: Now, sleep: Sleep, alive_s: float = 0.5) -> None:
        self._now = now
        self._sleep = sleep
        self._alive_s = alive_s
        self._floor: Floor | None = None
        self._book = OrderBook(SYMBOL)
        self._tape = Tape(MARKET)
        self.silent = False

    @property
    def markets(self) -> Mapping[str, Market]:
        """The one."""
        return {SYMBOL: MARKET}

    async def load(self) -> None:
        """Nothing to learn."""

    def bind(self, floor: Floor) -> None:
        """Meet the exchange."""
        self._floor = floor
        floor.exchange.attach(SYMBOL, self._book)

    def start(self) -> None:
        """Publish the book and the ticker."""
        ts = self._now()
        self._apply(BookSnapshot(symbol=SYMBOL, bids=BIDS, asks=ASKS, ts=ts, recv_ts=ts))

    async def run(self) -> None:
        """Give proofs of life, unless silenced."""
        while True:
            await self._sleep(self._alive_s)
            if not self.silent:
                self._bound().publish(())

    def step(self, number: int) -> None:
        """Play step 1 or 2."""
        ts = self._now()
        bids, asks = STEPS[number - 1]
        self._apply(BookDelta(symbol=SYMBOL, bids=bids, asks=asks, ts=ts, recv_ts=ts))

    def trade(self, side: Side, price: Decimal, amount: Decimal) -> None:
        """Print a trade whose taker was on `side`."""
        ts = self._now()
        trade = Trade(
            id=f"f-{ts // 1_000_000}-{len(self._tape.recent(1000))}",
            symbol=SYMBOL,
            side=side.value,
            price=format(price, "f"),
            amount=format(amount, "f"),
            ts=ts,
            recv_ts=ts,
        )
        self._tape.add(trade)
        self._bound().feed(trade)

    def fill(self) -> None:
        """Trade through every resting order, each at its price, best first."""
        pit = self._bound().exchange.pits[SYMBOL]
        for side, rest in ((Side.SELL, pit.bids), (Side.BUY, pit.asks)):
            for work in list(rest):
                assert work.price is not None
                beyond = MARKET.price_tick * (-1 if side is Side.SELL else 1)
                self.trade(side, work.price + beyond, work.remaining)

    def silence(self, *, silent: bool) -> None:
        """Stop saying anything (nothing fills meanwhile), or come back."""
        self.silent = silent
        floor = self._bound()
        floor.exchange.on_stale(SYMBOL, stale=silent)
        if not silent:
            ts = self._now()
            bids, asks = self._book.top(1000)
            self._apply(
                BookSnapshot(symbol=SYMBOL, bids=bids, asks=asks, ts=ts, recv_ts=ts, repaired=True)
            )

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """Our own trades, and the ticker that they change."""
        for trade in prints:
            self._tape.add(trade)
        return [*prints, self._ticker(ts)] if prints else []

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Everything is always there."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars of what was traded."""
        assert symbol == SYMBOL
        return self._tape.bars(timeframe, since, limit)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """What was traded."""
        assert symbol == SYMBOL
        return self._tape.recent(limit)

    def _bound(self) -> Floor:
        assert self._floor is not None, "bind comes first"
        return self._floor

    def _ticker(self, ts: int) -> MarketEvent:
        return self._tape.ticker(self._book.best_bid, self._book.best_ask, ts, ts)

    def _apply(self, change: BookSnapshot | BookDelta) -> None:
        if isinstance(change, BookSnapshot):
            self._book.apply_snapshot(change)
        else:
            self._book.apply_delta(change)
        floor = self._bound()
        floor.feed(change)
        floor.publish([self._ticker(change.ts)])
