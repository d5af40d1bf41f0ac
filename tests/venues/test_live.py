"""Paper on a venue's live prices (trading document, 5.3): its book, its tape, its silence; nothing of our own."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import orjson
import pytest

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, Refused, VenueRejected
from realtime.model.events import Filled, OrderSeen, Transferred
from realtime.model.market import (
    SECOND,
    Bar,
    BookDelta,
    BookSnapshot,
    Funding,
    Mark,
    Market,
    Stale,
    Trade,
)
from realtime.model.orders import OrderType, Side, Status, TriggerBy
from realtime.venues.base import Listed, Post
from realtime.venues.ccxt.playback import PlayedData, Player
from realtime.venues.live import LiveSource
from realtime.venues.paper import PaperVenue
from tests.venues.frozen import ASKS, BIDS, MARKET, SYMBOL
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

    def __init__(
        self,
        log: MemoryLog | None = None,
        history: Sequence[bytes] = (),
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or Clock()
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


PERP = replace(
    MARKET,
    symbol="BTC/USDT:USDT",
    type="swap",
    settle="USDT",
    max_leverage=D(20),
    maintenance_margin=D("0.005"),
)
HOUR = 3600 * SECOND


class Paying(Exchange):
    """It has a perpetual, and says of it what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Funding] = []
        self.through = 0
        self.asked: list[int] = []
        self.refusal: Refused | VenueRejected | None = None

    async def open(self) -> None:
        await super().open()
        self.markets = {**self.markets, PERP.symbol: PERP}
        self.books[PERP.symbol] = OrderBook(PERP.symbol)

    async def fundings(self, symbol: str, since: int) -> tuple[Sequence[Funding], int]:
        assert symbol == PERP.symbol
        self.asked.append(since)
        if self.refusal is not None:
            raise self.refusal
        return [each for each in self.told if each.ts > since], self.through


async def paying(log: MemoryLog, exchange: Exchange | None = None) -> Desk:
    """Open an account on it as its log left it."""
    desk = Desk(log, history=list(log.entries))
    desk.exchange = exchange or Paying()
    desk.source._data = desk.exchange
    return await desk.open()


async def held_since(log: MemoryLog) -> tuple[Desk, int]:
    """One that has bought a contract and was killed."""
    desk = await paying(log)
    desk.snapshot(PERP.symbol)
    await desk.venue.submit(approved(wish("m", Side.BUY, "0.01", symbol=PERP.symbol, leverage="5")))
    return desk, desk.clock.now()


def paid(desk: Desk) -> list[tuple[int, Decimal]]:
    events = [event for event in desk.heard.events if isinstance(event, Transferred)]
    return [(event.ts, event.amount) for event in events if event.kind == "funding"]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(3600):
        while not true():  # noqa: ASYNC110 - the venue asked for it has no event to wait for
            await asyncio.sleep(1)


async def test_fundings_of_meanwhile_are_settled_as_the_venue_tells_them() -> None:
    log = MemoryLog()
    _, since = await held_since(log)
    again = await paying(log)
    exchange, clock = again.exchange, again.clock
    assert isinstance(exchange, Paying)
    clock.ns = since + 20 * HOUR
    again.venue.exchange.resume(clock.ns)
    exchange.refusal = VenueRejected(Code.VENUE_UNAVAILABLE, "away")
    running = asyncio.ensure_future(again.venue.run())
    await until(lambda: len(exchange.asked) > 1)
    assert (exchange.asked[0], paid(again)) == (since, [])

    exchange.refusal = None
    told = [Funding(ts=since + n * 8 * HOUR, mark="64000", rate="0.0001") for n in (0, 1, 2)]
    exchange.told, exchange.through = told[:2], since + 9 * HOUR
    await until(lambda: len(paid(again)) == 1)
    # The second is told late, and asked for until then.
    exchange.told, exchange.through = told, clock.ns + HOUR
    await until(lambda: not again.venue.exchange.missed)
    asked = len(exchange.asked)
    assert exchange.asked[-1] == told[1].ts
    assert paid(again) == [(each.ts, D("-0.064")) for each in told[1:]]
    await clock.sleep(600)
    assert len(exchange.asked) == asked
    running.cancel()

    third = await paying(log)
    assert set(paid(third)) <= set(paid(again))
    assert [row.available + row.reserved for row in await third.venue.balances()] == [
        row.available + row.reserved for row in await again.venue.balances()
    ]


@pytest.mark.parametrize("silent", [False, True])
async def test_what_no_venue_tells_is_not_paid_and_what_comes_later_is(
    silent: bool,  # noqa: FBT001 - a case
) -> None:
    """The one says so; the other has no such question."""
    log = MemoryLog()
    _, since = await held_since(log)
    exchange = Paying()
    exchange.refusal = Refused(Code.NOT_SUPPORTED, "it tells no past fundings")
    again = await paying(log, exchange)
    if silent:
        exchange.fundings = None  # type: ignore[assignment, method-assign]
        exchange.markets = {}
    again.clock.ns = since + 20 * HOUR
    running = asyncio.ensure_future(again.venue.run())
    await until(lambda: not again.venue.exchange.missed)
    assert paid(again) == []

    now = again.clock.ns
    due = now + 100 * SECOND
    mark = Mark(
        symbol=PERP.symbol,
        mark="64000",
        index="64000",
        funding_rate="0.0001",
        next_funding_ts=due,
        ts=now,
    )
    again.exchange.tell((mark,))
    await until(lambda: bool(paid(again)))
    assert paid(again) == [(due, D("-0.064"))]
    running.cancel()


@pytest.mark.parametrize("silent", [False, True])
async def test_a_mark_of_before_a_silence_liquidates_nobody(
    silent: bool,  # noqa: FBT001 - a case
) -> None:
    """Neither after one of the venue, nor after a time in which nobody wanted its book."""
    desk = await paying(MemoryLog())
    desk.snapshot(PERP.symbol)
    ts = desk.clock.now()
    old = Mark(
        symbol=PERP.symbol,
        mark="54000",
        index="54000",
        funding_rate="0.0001",
        next_funding_ts=ts + 8 * HOUR,
        ts=ts,
    )
    desk.exchange.tell((old,))
    for wanted in (True, False):
        if silent:
            desk.silence(PERP.symbol, silent=wanted)
        else:
            desk.venue.want(PERP.symbol, "orderbook", wanted)
    desk.clock.advance(3 * 3600)
    desk.venue.want(PERP.symbol, "orderbook", True)
    desk.snapshot(PERP.symbol)
    buy = wish("m", Side.BUY, "4", symbol=PERP.symbol, leverage="20")
    await desk.venue.transfer("USDT", D(-80_000))
    await desk.venue.submit(approved(buy))

    assert [row.amount for row in await desk.venue.positions()] == [D(4)]
    desk.exchange.tell((replace(old, mark="54000", ts=desk.clock.now()),))
    assert not any(row.amount for row in await desk.venue.positions())


@pytest.mark.parametrize("unread", ["orderbook", "trades", None])
async def test_a_price_that_was_traded_long_ago_triggers_nothing(unread: str | None) -> None:
    """A stop to buy a rise, and a trailing one, begin with the price of now."""
    desk = await Desk(MemoryLog()).open()
    desk.snapshot()
    desk.print(Side.BUY, "70000", "1")
    for wanted in (True, False):
        if unread is None:
            desk.silence(SYMBOL, silent=wanted)
        else:
            desk.venue.want(SYMBOL, unread, wanted)
    desk.clock.advance(3 * 3600)
    desk.snapshot()
    fields = {"type": OrderType.STOP, "stop_price": "65000.00"}
    await desk.venue.submit(approved(wish("s", Side.BUY, "0.02", **fields)))
    trailing = {"type": OrderType.TRAILING_STOP, "trailing_amount": "500.00"}
    await desk.venue.submit(approved(wish("t", Side.BUY, "0.01", **trailing)))
    assert [row.filled for row in await desk.venue.open_orders()] == [0, 0]

    desk.print(Side.BUY, "64012", "1")
    stops = [row.stop_price for row in await desk.venue.open_orders()]
    assert stops == [D("65000.00"), D("64512.00")]
    for _ in range(2):  # what the first one fills is traded last, too
        desk.print(Side.BUY, "65001", "1")
    assert await desk.venue.open_orders() == []


class LoopClock(Clock):
    """The event loop's own time, however many sleep at once, and so much more with each look [ns]."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self.look = look

    def now(self) -> int:
        self.ns += self.look
        return self.ns + int(asyncio.get_running_loop().time() * SECOND)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Replayed(Paying):
    """A perpetual's marks of a day, recorded long ago, one every ten minutes."""

    def __init__(self, path: Path, clock: Clock, speed: float | None) -> None:
        super().__init__()
        began = 1_500_000_000 * SECOND // (8 * HOUR) * 8 * HOUR + HOUR
        times = [began + n * 600 * SECOND for n in range(6 * 24)]
        head = {"format": "realtime-recording", "version": 1, "exchange": "kraken", "t": began}
        row = {"kind": "want", "symbol": "X", "stream": "ticker", "wanted": True}
        rows = [head | {"kind": "meta"}, *(row | {"t": ts} for ts in times)]
        path.write_bytes(gzip.compress(b"".join(orjson.dumps(row) + b"\n" for row in rows)))
        self.player = Player(path, now=clock.now, sleep=clock.sleep, speed=speed)
        self.data = PlayedData(self.player, now=clock.now, sleep=clock.sleep)
        self.due = [began // (8 * HOUR) * 8 * HOUR + n * 8 * HOUR for n in (1, 2, 3)]
        self.began = began

    async def run(self, post: Post) -> None:
        self.tell = post
        self.player.wanted = lambda *_: post(self.data._taken([self.mark(self.player.at)]))
        await self.player.run()

    def mark(self, at: int) -> Mark:
        due = at // (8 * HOUR) * 8 * HOUR + 8 * HOUR
        passed = sum(ts <= at for ts in self.due)
        return Mark(
            symbol=PERP.symbol,
            mark="64000",
            index="64000",
            funding_rate=f"0.000{passed + 1}",
            next_funding_ts=due,
            ts=at,
        )


@pytest.mark.parametrize("speed", [1.0, 100.0, None])
async def test_a_recording_pays_funding_when_it_comes_to_it(
    tmp_path: Path, speed: float | None
) -> None:
    """Not at the times of the year in which it was made, and each once at the rate that was told of it."""
    clock = LoopClock(0 if speed else 1)
    desk = Desk(MemoryLog(), clock=clock)
    exchange = Replayed(tmp_path / "x.jsonl.gz", desk.clock, speed)
    desk.exchange = exchange
    desk.source._data = exchange
    await desk.open()
    desk.snapshot(PERP.symbol)
    await desk.venue.submit(approved(wish("m", Side.BUY, "1", symbol=PERP.symbol, leverage="5")))
    began = desk.clock.now()
    running = asyncio.ensure_future(desk.venue.run())
    async with asyncio.timeout(72 * 3600):
        while not exchange.player.ended:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(60)
    running.cancel()

    told = paid(desk)
    assert [amount for _, amount in told] == [D("-6.4"), D("-12.8"), D("-19.2")]
    if speed is not None:
        assert [ts for ts, _ in told] == [
            began + int((ts - exchange.began) / speed) for ts in exchange.due
        ]
    assert await exchange.data.fundings(PERP.symbol, 0) == ((), clock.now() - clock.look)


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
