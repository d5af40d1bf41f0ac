"""The frozen market of the transcripts: the book of 6.3 and its two steps."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from realtime.engine.orderbook import OrderBook
from realtime.model.events import MarketEvent
from realtime.model.market import Bar, BookDelta, BookSnapshot, Level, Market, Ticker, Trade
from realtime.venues.base import Floor
from tests.venues.frozen import ASKS, BIDS, STEPS, SYMBOL


MARKET = Market(
    symbol=SYMBOL,
    id="BTCUSDT",
    base="BTC",
    quote="USDT",
    price_tick=Decimal("0.01"),
    amount_step=Decimal("0.00001"),
    min_amount=Decimal("0.00001"),
)


class FrozenSource:
    """A source of prices that moves only when a transcript says so.

    Attributes:
        silent: Whether even its proofs of life have stopped.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._floor: Floor | None = None
        self.book = OrderBook(SYMBOL)
        self.silent = False

    @property
    def markets(self) -> Mapping[str, Market]:
        return {SYMBOL: MARKET}

    async def load(self) -> None:
        pass

    def bind(self, floor: Floor) -> None:
        self._floor = floor
        floor.exchange.attach(SYMBOL, self.book)

    def start(self) -> None:
        ts = self._now()
        snapshot = BookSnapshot(symbol=SYMBOL, bids=BIDS, asks=ASKS, ts=ts, recv_ts=ts)
        self.book.apply_snapshot(snapshot)
        self._told(snapshot)

    async def run(self) -> None:
        """Say each second that nothing has changed."""
        while True:
            await asyncio.sleep(1)
            if not self.silent:
                self._change((), (), ticker=False)

    def step(self, number: int) -> None:
        """Play a step."""
        bids, asks = STEPS[number - 1]
        self._change(bids, asks)

    def sweep(self) -> None:
        """Trade through every resting buy of ours."""
        ts = self._now()
        assert self._floor is not None
        trade = Trade(
            id=f"m-{ts}",
            symbol=SYMBOL,
            side="sell",
            price="63990.00",
            amount="50",
            ts=ts,
            recv_ts=ts,
        )
        self._floor.feed(trade)

    def _change(
        self, bids: tuple[Level, ...], asks: tuple[Level, ...], *, ticker: bool = True
    ) -> None:
        ts = self._now()
        delta = BookDelta(symbol=SYMBOL, bids=bids, asks=asks, ts=ts, recv_ts=ts)
        self.book.apply_delta(delta)
        assert self._floor is not None
        if ticker:
            self._told(delta)
        else:
            self._floor.feed(delta)

    def _told(self, event: BookSnapshot | BookDelta) -> None:
        assert self._floor is not None
        self._floor.feed(event)
        self._floor.publish((self._ticker(),))

    def _ticker(self) -> Ticker:
        bid, ask, ts = self.book.best_bid, self.book.best_ask, self._now()
        return Ticker(
            symbol=SYMBOL,
            bid=bid[0] if bid else None,
            bid_amount=bid[1] if bid else None,
            ask=ask[0] if ask else None,
            ask_amount=ask[1] if ask else None,
            ts=ts,
            recv_ts=ts,
        )

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        return list(prints)

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001  # the port
        pass

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        return ()

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        return ()
