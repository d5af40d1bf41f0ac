"""Paper on a venue's live prices (trading document, 5.3): its book, its tape, its silence; nothing of our own."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import VenueRejected
from realtime.model.events import Filled, OrderSeen
from realtime.model.market import SECOND, Bar, BookDelta, BookSnapshot, Market, Stale, Trade
from realtime.model.orders import OrderType, Side, Status, TriggerBy
from realtime.venues.base import Listed, Post
from realtime.venues.frozen import ASKS, BIDS, MARKET, SYMBOL
from realtime.venues.live import LiveSource
from realtime.venues.paper import PaperVenue
from tests.venues.kit import START, Clock, Listener, MemoryLog, approved, wish


D = Decimal
OTHER = "ETH/USDT"


class Exchange:
    """The public data of a venue that says what a test lets it say."""

    def __init__(self) -> None:
        self.books: dict[str, OrderBook] = {}
        self.markets: Mapping[str, Market] = {}
        self.wanted: list[tuple[str, str, bool]] = []
        self.tell: Post = lambda _events: None
        self.listed: Listed = lambda _markets: None
        self.bars: list[Bar] | None = None
        self.over = asyncio.Event()

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        return self.bars

    async def open(self) -> None:
        self.markets = {SYMBOL: MARKET, OTHER: replace(MARKET, symbol=OTHER, base="ETH")}
        self.books = {symbol: OrderBook(symbol) for symbol in self.markets}

    async def run(self, post: Post) -> None:
        self.tell = post
        await self.over.wait()

    def on_listing(self, told: Listed) -> None:
        self.listed = told

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        self.wanted.append((symbol, stream, wanted))

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        return ()

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        return (print_of("1", Side.BUY, "64000", "1"),)


class Desk:
    """A paper account on it, opened and running."""

    def __init__(self, log: MemoryLog | None = None, history: Sequence[bytes] = ()) -> None:
        self.clock = Clock()
        self.exchange = Exchange()
        self.heard = Listener()
        self.source = LiveSource(
            self.exchange, venue="kraken", now=self.clock.now, sleep=self.clock.sleep
        )
        self.venue = PaperVenue(
            id="kraken",
            source=self.source,
            balances={"USDT": D(100_000)},
            seed=1,
            now=self.clock.now,
            sleep=self.clock.sleep,
            log=log,
            history=history,
        )

    async def open(self) -> "Desk":
        await self.venue.open(self.heard)
        self.exchange.tell = self.source.take
        return self

    def snapshot(self, symbol: str = SYMBOL, *, repaired: bool = False) -> None:
        ts = self.clock.now()
        told = BookSnapshot(
            symbol=symbol, bids=BIDS, asks=ASKS, ts=ts, recv_ts=ts, repaired=repaired
        )
        self.exchange.books[symbol].apply_snapshot(told)
        self.exchange.tell((told,))

    def delta(self, asks: Sequence[tuple[str, str]]) -> None:
        ts = self.clock.now()
        told = BookDelta(symbol=SYMBOL, bids=(), asks=tuple(asks), ts=ts, recv_ts=ts)
        self.exchange.books[SYMBOL].apply_delta(told)
        self.exchange.tell((told,))

    def silence(self, symbol: str | None, *, silent: bool) -> None:
        cause = "silent" if silent else None
        self.exchange.tell(
            (
                Stale(
                    venue="kraken", symbol=symbol, stale=silent, cause=cause, asof=self.clock.now()
                ),
            )
        )

    def print(self, side: Side, price: str, amount: str) -> None:
        self.exchange.tell((print_of(str(len(self.heard.events)), side, price, amount),))

    async def place(
        self, name: str, side: Side, amount: str, price: str | None = None
    ) -> Status | None:
        fields = {} if price is None else {"price": price}
        ack = await self.venue.submit(approved(wish(name, side, amount, **fields)))
        return ack.status

    def doubtful(self) -> list[str]:
        return [symbol for symbol, pit in self.venue.exchange.pits.items() if pit.stale]

    def filled(self) -> list[tuple[str, str]]:
        return [(str(f.price), str(f.amount)) for f in self.heard.of(Filled)]


def print_of(trade_id: str, side: Side, price: str, amount: str) -> Trade:
    return Trade(
        id=trade_id,
        symbol=SYMBOL,
        side=side.value,
        price=price,
        amount=amount,
        ts=START,
        recv_ts=START,
    )


async def test_a_market_order_takes_the_venue_s_book_at_the_venue_s_fee() -> None:
    desk = await Desk().open()
    desk.snapshot()
    best = ASKS[0][0]

    status = await desk.place("m", Side.BUY, "0.01")

    assert status is Status.FILLED
    (fill,) = desk.heard.of(Filled)
    assert (str(fill.price), fill.venue) == (best, "kraken")
    assert fill.fee == D("0.01") * MARKET.taker  # paid in what was bought


async def test_an_own_order_does_not_change_the_venue_s_book_and_takes_no_level_twice() -> None:
    """X3.2."""
    desk = await Desk().open()
    desk.snapshot()
    before = desk.exchange.books[SYMBOL].top(10)
    first = D(ASKS[0][1])

    await desk.place("a", Side.BUY, str(first))
    await desk.place("b", Side.BUY, "0.01")

    assert desk.exchange.books[SYMBOL].top(10) == before
    assert desk.filled()[-1] == (ASKS[1][0], "0.01")
    assert not desk.heard.of(Trade)  # nothing of ours on the venue's tape


async def test_a_resting_order_fills_by_what_is_printed_and_never_by_more() -> None:
    """X3.5, X3.6."""
    desk = await Desk().open()
    desk.snapshot()
    beyond = str(D(BIDS[0][0]) + D("0.01"))

    await desk.place("r", Side.BUY, "0.5", beyond)
    desk.print(Side.SELL, BIDS[0][0], "0.2")

    assert desk.filled() == [(beyond, "0.2")]


async def test_the_venue_s_book_moving_through_a_resting_order_fills_it() -> None:
    desk = await Desk().open()
    desk.snapshot()
    price = str(D(ASKS[0][0]) - D("0.01"))

    await desk.place("r", Side.BUY, "0.1", price)
    desk.delta([(price, "5")])

    assert desk.filled() == [(price, "0.1")]


async def go_silent(desk: Desk) -> None:
    desk.silence(SYMBOL, silent=True)


async def all_silent(desk: Desk) -> None:
    desk.silence(None, silent=True)


async def let_go(desk: Desk) -> None:
    desk.venue.want(SYMBOL, "orderbook", False)


@pytest.mark.parametrize("lose", [go_silent, all_silent, let_go])
async def test_nothing_fills_on_a_book_that_is_not_the_venue_s_of_now(
    lose: Callable[[Desk], Awaitable[None]],
) -> None:
    desk = await Desk().open()
    desk.snapshot()
    price = str(D(ASKS[0][0]) - D("0.01"))
    await desk.place("r", Side.BUY, "0.1", price)

    await lose(desk)
    with pytest.raises(VenueRejected, match="no fresh prices"):
        await desk.place("m", Side.BUY, "0.1")
    desk.print(Side.SELL, price, "1")

    assert desk.filled() == []


async def test_a_book_that_went_on_for_the_ticker_is_trusted_again_once_it_is_wanted() -> None:
    """R1: without a new snapshot it was never trusted again, and nothing filled any more."""
    desk = await Desk().open()
    desk.venue.want(SYMBOL, "orderbook", True)
    desk.snapshot()
    desk.venue.want(SYMBOL, "orderbook", False)
    desk.delta([ASKS[0]])
    assert not desk.filled()
    desk.venue.want(SYMBOL, "orderbook", True)
    desk.delta([ASKS[0]])
    await desk.place("m", Side.BUY, "0.1")

    assert desk.filled()


async def test_a_market_of_later_is_traded_and_a_new_grid_is_that_of_the_next_order() -> None:
    """R1: the floor had a place for the markets of the start alone, and kept their grids."""
    desk = await Desk().open()
    heard: list[Market] = []
    desk.venue.on_listing(heard.extend)
    desk.snapshot()
    new = replace(MARKET, symbol="NEW/USDT", base="NEW")
    coarse = replace(MARKET, price_tick=D(10))
    desk.exchange.markets = {**desk.exchange.markets, new.symbol: new, SYMBOL: coarse}
    desk.exchange.books = {**desk.exchange.books, new.symbol: OrderBook(new.symbol)}
    desk.exchange.listed([new, coarse])

    assert heard == [new, coarse]
    assert new.symbol in desk.doubtful()
    assert SYMBOL not in desk.doubtful()
    with pytest.raises(VenueRejected):
        await desk.place("fine", Side.BUY, "0.1", "60001")
    assert await desk.place("coarse", Side.BUY, "0.1", "60000") is Status.OPEN
    desk.snapshot(new.symbol)
    ack = await desk.venue.submit(
        approved(replace(wish("n", Side.BUY, "0.1", price="60000"), symbol=new.symbol))
    )
    assert ack.status is Status.OPEN


async def test_a_market_that_is_listed_again_has_another_book_and_orders_follow_that_one() -> None:
    """They were matched against the book of before, which stood still."""
    desk = await Desk().open()
    desk.snapshot()
    price = str(D(ASKS[0][0]) - D("0.01"))
    del desk.exchange.books[SYMBOL]
    desk.silence(SYMBOL, silent=True)
    desk.exchange.books[SYMBOL] = OrderBook(SYMBOL)
    desk.silence(SYMBOL, silent=False)
    assert SYMBOL in desk.doubtful()

    desk.snapshot()
    assert SYMBOL not in desk.doubtful()
    await desk.place("r", Side.BUY, "0.1", price)
    desk.delta([(price, "5")])

    assert desk.filled() == [(price, "0.1")]


async def test_before_the_first_book_nothing_fills() -> None:
    desk = await Desk().open()

    with pytest.raises(VenueRejected, match="no fresh prices"):
        await desk.place("m", Side.BUY, "0.1")
    desk.print(Side.SELL, "1", "1")

    assert desk.filled() == []


async def test_one_feed_that_comes_back_does_not_vouch_for_another() -> None:
    desk = await Desk().open()
    desk.snapshot()
    desk.silence(SYMBOL, silent=True)
    desk.silence(None, silent=True)
    desk.silence(None, silent=False)

    assert desk.doubtful() == [SYMBOL, OTHER]  # silent still, and never seen
    desk.silence(SYMBOL, silent=False)
    assert desk.doubtful() == [OTHER]
    desk.snapshot(OTHER)
    assert desk.doubtful() == []


async def test_time_passes_at_the_exchange_while_the_venue_is_quiet() -> None:
    desk = await Desk().open()
    desk.snapshot()
    until = desk.clock.now() + 3_000_000_000
    order = wish("g", Side.BUY, "0.1", price="1", time_in_force="GTD", good_till_ts=until)
    await desk.venue.submit(approved(order))

    running = asyncio.ensure_future(desk.venue.run())
    await asyncio.sleep(5)
    running.cancel()

    assert desk.heard.of(OrderSeen)[-1].status is Status.EXPIRED


async def test_nothing_trades_with_the_books_of_a_recording_that_has_ended() -> None:
    desk = await Desk().open()
    desk.snapshot()
    assert await desk.place("a", Side.BUY, "0.1") is Status.FILLED
    running = asyncio.ensure_future(desk.venue.run())
    desk.exchange.over.set()
    await asyncio.sleep(5)

    assert [told.cause for told in desk.heard.of(Stale)] == ["disconnected"]
    assert desk.doubtful() == [SYMBOL, OTHER]
    assert await desk.place("b", Side.SELL, "0.05") is Status.CANCELED
    with pytest.raises(VenueRejected, match="no fresh prices"):
        await desk.place("c", Side.BUY, "0.1")
    running.cancel()


async def test_what_is_wanted_and_asked_goes_to_the_venue() -> None:
    desk = await Desk().open()
    desk.venue.want(SYMBOL, "ticker", True)

    assert desk.exchange.wanted == [(SYMBOL, "ticker", True)]
    assert await desk.venue.trades(SYMBOL, 10)
    assert not await desk.venue.ohlcv(SYMBOL, "1m", None, 10)
    assert not desk.venue.books
    desk.snapshot()
    assert desk.venue.books == {SYMBOL: desk.exchange.books[SYMBOL]}
    assert desk.source.data is desk.exchange
    batches = desk.heard.batches
    desk.exchange.tell(())
    assert desk.heard.batches == batches + 1  # a proof of life


@pytest.mark.parametrize(("side", "stop"), [(Side.SELL, "65000"), (Side.BUY, "63000")])
async def test_a_trailing_stop_follows_what_the_venue_did_while_nobody_matched(
    side: Side, stop: str
) -> None:
    """trading:B7. Neither bars of before it was placed, nor those of another price."""
    log = MemoryLog()
    desk = await Desk(log).open()
    desk.snapshot()
    desk.print(Side.BUY, "64000", "1")
    await desk.place("m", Side.BUY, "0.03")
    placed = desk.clock.now()
    for name, more in (("t", {}), ("b", {"trigger_by": TriggerBy.BID_ASK})):
        fields = {"type": OrderType.TRAILING_STOP, "trailing_amount": "1000"}
        await desk.venue.submit(approved(wish(name, side, "0.01", **fields, **more)))
    await desk.venue.submit(approved(wish("l", Side.BUY, "0.01", price="60000")))

    again = await Desk(log, history=list(log.entries)).open()
    minute = 60 * SECOND
    top, low = ("66000", "64500") if side is Side.SELL else ("63500", "62000")
    again.exchange.bars = [
        Bar(placed - minute, "64000", "70000", "50000", "64000", "1"),
        Bar(placed + minute, "64000", top, low, "64000", "1"),
    ]
    assert again.venue.slept
    told = await again.venue.past(SYMBOL, TriggerBy.LAST, placed)
    assert told == again.exchange.bars
    await again.venue.past(SYMBOL, TriggerBy.LAST, placed)  # no news

    rows = [row for row in again.heard.events if isinstance(row, OrderSeen)]
    assert (rows[-1].venue_client_id, rows[-1].stop_price) == ("vt", D(stop))
    # It is kept: what comes next goes on from there.
    third = await Desk(history=list(log.entries)).open()
    work = next(w for w in await third.venue.open_orders() if w.venue_client_id == "vt")
    assert work.stop_price == D(stop)


async def test_a_recording_stands_still_while_nobody_plays_it() -> None:
    desk = await Desk().open()
    assert await desk.venue.past(SYMBOL, TriggerBy.LAST, 0) is None


async def test_a_restart_keeps_the_account_and_waits_for_the_venue_s_book() -> None:
    log = MemoryLog()
    desk = await Desk(log).open()
    desk.snapshot()
    await desk.place("m", Side.BUY, "0.01")

    again = await Desk(history=list(log.entries)).open()
    with pytest.raises(VenueRejected, match="no fresh prices"):
        await again.place("n", Side.BUY, "0.01")

    assert [b.currency for b in await again.venue.balances()] == ["USDT", "BTC"]
    assert again.filled() == []
