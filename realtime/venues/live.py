"""A real venue's public data as the paper exchange's source of prices (trading document, 5.3).

Rules of this file:
1 Orders are matched against the venue's own book and tape, which they do not change; its fees and grids are the market's.
2 Where the book is not known to be the venue's of now (none came yet, the feed is silent, nobody reads it any more),
  nothing fills and nothing fires. There is no other source to turn to.
3 Fundings that fell due while nobody followed are settled as the venue tells them, later; what it does not tell is not paid.
4 What the paper exchange trades is not printed on the venue's tape: that tape is the venue's.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, Refused, VenueRejected
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import (
    Bar,
    BookDelta,
    BookSnapshot,
    Funding,
    Mark,
    Market,
    Stale,
    Trade,
)
from realtime.model.orders import TriggerBy
from realtime.venues.base import Floor, Fundings, History, Listed, Now, PublicFeed, Relisting, Sleep


BEAT_S: Final = 1.0
"""How often time passes at the exchange: orders expire, funding falls due."""
SETTLE_S: Final = 60.0
"""How often a venue is asked for fundings that nobody followed, while there may be any."""
BOOK: Final = "orderbook"
TRADES: Final = "trades"

logger = logging.getLogger(__name__)


class LiveSource:
    """The prices of one venue, as they come.

    Args:
        data: Its public data.
        venue: Id of the paper account, named when a book is not to be trusted.
        now: The time [ns].
        sleep: Waits between two beats.
    """

    def __init__(self, data: PublicFeed, *, venue: str, now: Now, sleep: Sleep) -> None:
        self._data = data
        self._venue = venue
        self._now = now
        self._sleep = sleep
        self._floor: Floor | None = None
        # Symbols whose book is followed, whose book somebody wants, and those (None: all) that the venue is silent about.
        self._known: set[str] = set()
        self._read: set[str] = set()
        self._silent: set[str | None] = set()
        self._told: Listed = _unheard

    # --- life ---------------------------------------------------------------------------------

    @property
    def data(self) -> PublicFeed:
        """Where the prices come from, to be asked how it does."""
        return self._data

    @property
    def markets(self) -> Mapping[str, Market]:
        """The venue's."""
        return self._data.markets

    async def load(self) -> None:
        """Learn the venue's markets."""
        if isinstance(self._data, Relisting):
            self._data.on_listing(self._relist)
        await self._data.open()

    def on_listing(self, told: Listed) -> None:
        """Say who is told of markets that are new or not what they were."""
        self._told = told

    def _relist(self, changed: Sequence[Market]) -> None:
        floor = self._bound()
        for market in changed:
            new = market.symbol not in floor.exchange.pits
            floor.exchange.relist(market)
            if new:
                floor.exchange.on_stale(market.symbol, stale=True)
        self._told(changed)

    def bind(self, floor: Floor) -> None:
        """Meet the exchange: its orders trade with the venue's books, as soon as they are there."""
        self._floor = floor
        floor.exchange.on_stale(None, stale=True)

    def start(self) -> None:
        """Nothing is known before the venue says it."""

    async def run(self) -> None:
        """Follow the venue until cancelled."""
        async with asyncio.TaskGroup() as group:
            beat = group.create_task(self._beat(), name=f"{self._venue} beat")
            settle = group.create_task(self._settle(), name=f"{self._venue} fundings")
            await self._data.run(self.take)
            beat.cancel()
            settle.cancel()
            # A recording has ended: nothing trades with prices that nobody will move again.
            now = self._now()
            self.take(
                [
                    Stale(
                        venue=self._venue, symbol=symbol, stale=True, cause="disconnected", asof=now
                    )
                    for symbol in sorted(self._known)
                ]
            )

    async def _beat(self) -> None:
        while True:
            await self._sleep(BEAT_S)
            floor = self._bound()
            floor.exchange.advance(self._now())
            floor.tell()

    async def _settle(self) -> None:
        """Have the fundings settled that fell due while nobody followed, as soon as the venue tells them."""
        while True:
            for symbol in list(self._bound().exchange.missed):
                await self._make_up(symbol)
            await self._sleep(SETTLE_S)

    async def _make_up(self, symbol: str) -> None:
        floor, data, now = self._bound(), self._data, self._now()
        told: Sequence[Funding] = ()
        through = now
        if isinstance(data, Fundings) and symbol in data.markets:
            try:
                told, through = await data.fundings(symbol, floor.exchange.unsettled(symbol, now))
            except (Refused, VenueRejected) as error:
                logger.warning("missed fundings", extra={"symbol": symbol, "why": error.message})
                if error.code is not Code.NOT_SUPPORTED:
                    return  # asked again
        floor.exchange.make_up(symbol, told, through, self._now())
        floor.tell()

    # --- events -------------------------------------------------------------------------------

    def take(self, events: Sequence[MarketEvent | VenueEvent]) -> None:
        """Take what the venue tells; nothing at all is a proof of life."""
        floor = self._bound()
        if not events:
            floor.publish(())
        for event in events:
            match event:
                case BookSnapshot(symbol=symbol) | BookDelta(symbol=symbol) if self._unknown(event):
                    self._known.add(symbol)
                    floor.exchange.attach(symbol, self._data.books[symbol])
                    floor.exchange.on_stale(symbol, stale=self._doubtful(symbol))
                    floor.feed(event)
                case Stale():
                    self._judge(floor, event)
                case Mark(ts=ts, next_funding_ts=due):
                    floor.feed(event)
                    if (
                        ts < due <= self._now()
                    ):  # as in a recording that is played as fast as possible
                        floor.exchange.advance(due)
                        floor.tell()
                case _:
                    # A venue's public data has no events of an account.
                    floor.feed(event)  # type: ignore[arg-type]

    def _unknown(self, event: BookSnapshot | BookDelta) -> bool:
        """Whether a whole book is met for the first time; one that went on for the ticker's sake shows by a change."""
        whole = isinstance(event, BookSnapshot) or event.symbol in self._read
        return whole and event.symbol not in self._known

    def _judge(self, floor: Floor, stale: Stale) -> None:
        """Take that feeds went silent or came back; what is still in doubt stays so."""
        (self._silent.add if stale.stale else self._silent.discard)(stale.symbol)
        floor.feed(stale)
        if stale.symbol is not None and stale.symbol not in self._data.books:
            self._let_go(stale.symbol)  # delisted: if it is listed again, it has another book
        if not stale.stale:
            for symbol in self.markets if stale.symbol is None else (stale.symbol,):
                floor.exchange.on_stale(symbol, stale=self._doubtful(symbol))

    def _doubtful(self, symbol: str) -> bool:
        """Whether a book is perhaps not the venue's of now."""
        silent = self._silent
        return symbol not in self._known or symbol in silent or None in silent

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:  # noqa: ARG002 - the port
        """Nothing: see rule 4."""
        return []

    # --- demand -------------------------------------------------------------------------------

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Ask the venue for a stream, or let it go; a book that is let go is not trusted any more."""
        self._data.want(symbol, stream, wanted)
        if stream == BOOK:
            (self._read.add if wanted else self._read.discard)(symbol)
        if stream == BOOK and not wanted:
            self._let_go(symbol)
        if stream == TRADES and not wanted and symbol in self._bound().exchange.pits:
            # What was traded last is not known any more: nothing is triggered by it.
            self._bound().exchange.pits[symbol].last = None

    def _let_go(self, symbol: str) -> None:
        """Trust a book no more that was followed, and do not keep it: nothing trades with a book of before."""
        if symbol in self._known:
            self._known.discard(symbol)
            exchange = self._bound().exchange
            exchange.on_stale(symbol, stale=True)
            exchange.attach(symbol, OrderBook(symbol))

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """The venue's bars."""
        return await self._data.ohlcv(symbol, timeframe, since, limit)

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """The venue's bars of the time when nobody followed it; None of a recording."""
        data = self._data
        return await data.past(symbol, by, since) if isinstance(data, History) else None

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The venue's newest trades."""
        return await self._data.trades(symbol, limit)

    def _bound(self) -> Floor:
        assert self._floor is not None, "bind comes first"
        return self._floor


def _unheard(_markets: Sequence[Market]) -> None:
    """Tell nobody: nobody has asked."""
