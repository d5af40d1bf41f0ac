"""Recorded sessions (trading:7): joined without a gap, equal to the venue's own best prices, tradable."""

import asyncio
import gzip
import random
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

import orjson
import pytest

from realtime.engine.engine import Engine
from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, Refused, VenueRejected
from realtime.model.events import Filled, MarketEvent, OrderSeen, Transferred, VenueEvent
from realtime.model.market import (
    SECOND,
    BookDelta,
    BookSnapshot,
    Level,
    Mark,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import Order, Side, Status, TimeInForce
from realtime.model.risk import Limits
from realtime.venues.binance import BUFFER, Message, Parser, Quote
from realtime.venues.listing import Fees
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource, learn, recording
from tests.venues.kit import START, Clock, Listener, Recorded, approved, wish


D = Decimal
SHORT = Path(__file__).parents[1] / "data"
LONG = Path(__file__).parents[3] / "shared" / "data"
SHORT_SPOT, SHORT_USDM = (
    SHORT / "binance-spot-synthetic.jsonl.gz",
    SHORT / "binance-usdm-synthetic.jsonl.gz",
)
SPOT = LONG / "binance-spot-btcusdt-20240808.jsonl.gz"
USDM = LONG / "binance-usdm-ethusdt-20240808.jsonl.gz"
FILES = [
    pytest.param(SHORT_SPOT, 116, id="spot, synthetic"),
    pytest.param(SHORT_USDM, 116, id="usd-m, synthetic"),
    pytest.param(SPOT, 3449, id="spot, recorded"),
    pytest.param(USDM, 6580, id="usd-m, recorded"),
]


@cache
def messages(path: Path) -> list[tuple[int, Message]]:
    """Time and message of each line; skips the test where the recording is not here."""
    if not path.exists():
        pytest.skip(f"{path.name}: the recordings of ../shared/data are not here")
    with gzip.open(path, "rb") as file:
        parts = [line.partition(b" ") for line in file]
    return [(int(stamp), orjson.loads(body)) for stamp, _, body in parts]


def is_depth(message: Message) -> bool:
    return "@depth" in str(message.get("stream", ""))


class Rebuilt:
    """A book rebuilt from messages, and what the venue said beside it."""

    def __init__(self, rows: Iterable[tuple[int, Message]]) -> None:
        self.parser = Parser(venue="x", symbol="S")
        self.book = OrderBook("S")
        self.tops: list[tuple[int, tuple[Level, ...], tuple[Level, ...]]] = []
        self.quotes: list[Quote] = []
        self.stale: list[Stale] = []
        self.trades: list[Trade] = []
        self.snapshots: list[BookSnapshot] = []
        for ts, message in rows:
            self.take(ts, message)

    def take(self, ts: int, message: Message) -> None:
        changed = False
        for event in self.parser.parse(message, ts, ts):
            if isinstance(event, Quote):
                self.quotes.append(event)
            elif isinstance(event, BookDelta):
                self.book.apply_delta(event)
                changed = True
            elif isinstance(event, BookSnapshot):
                self.book.apply_snapshot(event)
                self.snapshots.append(event)
            elif isinstance(event, Stale):
                self.stale.append(event)
            else:
                self.trades.append(event)
        if changed and self.parser.update is not None:
            self.tops.append((self.parser.update, *self.book.top(1)))


@pytest.mark.parametrize(("path", "comparable"), FILES)
def test_the_rebuilt_book_equals_the_venue_s_best_prices_everywhere(
    path: Path, comparable: int
) -> None:
    rebuilt = Rebuilt(messages(path))
    quotes = sorted(rebuilt.quotes, key=lambda quote: quote.update)
    updates = [quote.update for quote in quotes]
    compared = 0
    for update, bids, asks in rebuilt.tops:
        index = bisect_right(updates, update) - 1
        if index >= 0:
            compared += 1
            assert (quotes[index].bid, quotes[index].ask) == (bids[0], asks[0])

    assert (compared, rebuilt.parser.gaps) == (comparable, 0)


@pytest.mark.parametrize(
    "path", [SHORT_SPOT, SHORT_USDM, SPOT, USDM], ids=lambda path: path.name[:16]
)
def test_removing_any_depth_message_is_noticed(path: Path) -> None:
    rows = [message for _, message in messages(path)]
    start = next(n for n, row in enumerate(rows) if "lastUpdateId" in row)
    depths = [row for row in rows[start:] if is_depth(row)]
    for before, after in zip(depths, depths[2:], strict=False):
        parser = Parser(venue="x", symbol="S")
        parser._join.last = before["data"]["u"]  # type: ignore[index]
        (event,) = parser.parse(after, 1, 1)

        assert isinstance(event, Stale)
        assert (event.cause, parser.gaps, parser.update) == ("desync", 1, None)


def test_a_message_heard_twice_changes_nothing() -> None:
    rows = [row for row in messages(SHORT_SPOT) if is_depth(row[1]) or "lastUpdateId" in row[1]]
    doubled = Rebuilt(row for row in rows for _ in range(1 if "lastUpdateId" in row[1] else 2))

    assert doubled.parser.gaps == 0
    assert doubled.book.top(50) == Rebuilt(rows).book.top(50)


def depth(first: int, last: int, previous: int | None = None, price: str = "1.0") -> Message:
    data: dict[str, object] = {"U": first, "u": last, "b": [[price, str(last)]], "a": []}
    if previous is not None:
        data["pu"] = previous
    return {"stream": "s@depth", "data": data}


def whole(update: int) -> Message:
    return {"lastUpdateId": update, "bids": [["1.0", "1"]], "asks": [["2.0", "1"]]}


def told(rows: Sequence[Message]) -> list[tuple[str, object]]:
    """Short words for what a parser makes of these messages."""
    parser = Parser(venue="x", symbol="S")
    out: list[tuple[str, object]] = []
    for number, row in enumerate(rows):
        for event in parser.parse(row, number, number):
            if isinstance(event, BookSnapshot):
                out.append(("snapshot", event.repaired))
            elif isinstance(event, Stale):
                out.append(("stale", event.cause))
            elif isinstance(event, BookDelta):
                out.append(("delta", event.bids[0][1]))
    return out


def test_after_a_gap_nothing_is_believed_until_a_snapshot_repairs_the_book() -> None:
    assert told(
        [whole(10), depth(11, 12), depth(14, 15), depth(16, 17), whole(16), depth(18, 19)]
    ) == [
        ("snapshot", False),
        ("delta", "12"),
        ("stale", "desync"),
        ("stale", None),
        ("snapshot", True),
        ("delta", "17"),
        ("delta", "19"),
    ]


def test_what_came_before_the_snapshot_is_joined_or_dropped() -> None:
    assert told([depth(5, 8), depth(9, 12), depth(13, 14), whole(10)]) == [
        ("snapshot", False),
        ("delta", "12"),
        ("delta", "14"),
    ]


def test_a_hole_between_snapshot_and_buffer_is_a_gap() -> None:
    assert told([depth(13, 14), whole(10)]) == [("snapshot", False), ("stale", "desync")]


def test_usd_m_messages_name_their_predecessor() -> None:
    assert told(
        [whole(10), depth(8, 12, 7), depth(15, 18, 12), depth(20, 22, 19), depth(23, 25, 22)]
    ) == [
        ("snapshot", False),
        ("delta", "12"),
        ("delta", "18"),
        ("stale", "desync"),
    ]


def test_waiting_for_a_snapshot_is_bounded() -> None:
    parser = Parser(venue="x", symbol="S")
    for number in range(BUFFER + 5):
        parser.parse(depth(number, number), 0, 0)

    assert len(parser._join._waiting) == BUFFER


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"result": None, "id": 1},
        {"stream": "s@kline_1m", "data": {}},
        {"stream": 5, "data": {}},
        {"stream": "s@trade", "data": {"t": 1, "p": "0", "q": "1", "m": True}},
        {"stream": "s@trade", "data": {"t": 1, "p": "1", "q": "0.000", "m": True}},
    ],
)
def test_messages_that_are_nothing_to_us_give_no_events(message: Message) -> None:
    assert Parser(venue="x", symbol="S").parse(message, 0, 0) == ()


@pytest.mark.parametrize("side", ["bid", "ask"])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("wrong", ["x", "1,5", "-1", "nan", "1e400", "", 5, True, None, ["1"]])
def test_a_quote_that_cannot_be_is_refused_each_time(side: str, place: int, wrong: object) -> None:
    def quote(bid: Sequence[object], ask: Sequence[object]) -> Message:
        data = {"u": 1, "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}
        return {"stream": "s@bookTicker", "data": data}

    parser = Parser(venue="x", symbol="S")
    good: dict[str, list[object]] = {"bid": ["1.0", "2"], "ask": ["1.5", "0.00"]}
    bad = good | {side: [wrong if at == place else text for at, text in enumerate(good[side])]}
    told = Quote(1, ("1.0", "2"), ("1.5", "0.00"), 7, 8)

    assert parser.parse(quote(**good), 7, 8) == (told,)
    for _ in range(2):
        with pytest.raises((ValueError, AssertionError)):
            parser.parse(quote(**bad), 7, 8)
        assert parser.parse(quote(**good), 7, 8) == (told,)


def test_a_trade_s_side_is_the_taker_s() -> None:
    sides = [
        Rebuilt([(1, {"stream": "s@trade", "data": {"t": 1, "p": "1", "q": "2", "m": maker}})])
        .trades[0]
        .side
        for maker in (True, False)
    ]

    assert sides == ["sell", "buy"]


# --- playing ----------------------------------------------------------------------------------


class Played:
    """A paper account on a recording."""

    def __init__(
        self,
        path: Path,
        *,
        speed: float | None = None,
        restamp: bool = False,
        of: Path | None = None,
    ) -> None:
        messages(path)  # skips where it is not here
        self.clock = Clock()
        self.source = Recorded(
            recording(of or path),
            now=self.clock.now,
            sleep=self.clock.sleep,
            speed=speed,
            restamp=restamp,
        )
        self.heard = Listener()
        self.venue = PaperVenue(
            source=self.source,
            balances={"USDT": D(1_000_000), "BTC": D(10)},
            seed=1,
            now=self.clock.now,
            sleep=self.clock.sleep,
            kind="replay",
        )

    async def open(self) -> "Played":
        await self.venue.open(self.heard)
        return self

    async def run(self) -> None:
        """Play to the end."""
        await self.source.played_by(self.venue)

    async def ended(self, order: Order) -> OrderSeen:
        """Run for as long as it takes an order to end, an hour at most."""
        async with asyncio.timeout(3600), asyncio.TaskGroup() as group:
            running = group.create_task(self.venue.run())
            while True:
                await self.clock.sleep(0.1)
                found = await self.venue.find(order)
                if found is not None and found.status.ended:
                    break
            running.cancel()
        return found


async def test_symbol_and_grid_are_learnt_from_the_recording() -> None:
    spot, usdm = await Played(SHORT_SPOT).open(), await Played(SHORT_USDM).open()
    first, second = spot.source.market, usdm.source.market

    assert (first.symbol, first.type, first.price_tick) == ("BTC/USDT", "spot", D("0.01"))
    assert first.amount_step == D("0.00001")
    assert (second.symbol, second.settle, second.amount_step) == (
        "ETH/USDT:USDT",
        "USDT",
        D("0.001"),
    )
    assert (spot.venue.kind, second.taker) == ("replay", D("0.00055"))


NO_MESSAGE = "line 1 is not a time [ns] and a message of Binance"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"# words\n", NO_MESSAGE),
        (b"1 [1]\n", NO_MESSAGE),
        (b"1 {}\n1 {}\n", "none of its first 2 lines names a symbol"),
        (b'1 {"data":{"s":"XUSDT","bids":[5]}}\n', NO_MESSAGE),
        (b'1 {}\n1 {"data":{"s":5}}\n', NO_MESSAGE.replace("1", "2")),
        (
            b'1 {}\n1 {"data":{"s":"BTCEUR"}}\n',
            "line 2: BTCEUR is quoted in none of USDT, USDC, FDUSD, BTC, ETH",
        ),
        (
            b'1 {"data":{"s":"AUSDT"}}\n1 {"data":{"s":"BUSDT"}}\n' * 2,
            "line 2 is of BUSDT, most are of AUSDT; a recording is of one market",
        ),
    ],
)
@pytest.mark.parametrize("name", ["words.jsonl", "words.jsonl.gz"])
async def test_a_file_that_is_no_recording_is_refused_before_anything_starts(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    source = ReplaySource(recording(file), now=Clock().now, sleep=Clock().sleep)

    with pytest.raises(Refused) as caught:
        await source.load()
    assert caught.value.message == f"the file is not a recording: {says}"
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"words\n", "after line 0: Not a gzipped file"),
        (b"\x1f\x8b\x08", "after line 0: Compressed file ended"),
        (gzip.compress(b"1 {}\n2 {}\n", mtime=0)[:-9], "after line 2: Compressed file ended"),
    ],
)
async def test_a_compressed_file_that_cannot_be_read_is_refused_with_the_line(
    content: bytes, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "words.jsonl.gz"
    file.write_bytes(content)
    source = ReplaySource(recording(file), now=Clock().now, sleep=Clock().sleep)

    with pytest.raises(Refused) as caught:
        await source.load()
    assert caught.value.message.startswith(f"the file is not a recording: {says}")


def test_a_damaged_symbol_is_no_second_market() -> None:
    depth = b'1 {"data":{"e":"depthUpdate","s":"%s","b":[["1.10","2"]],"a":[]}}'

    market = learn([depth % name for name in (b"BTCUSDU", b"BTCUSDT", b"BTCUSDT")], Fees())

    assert market.id == "BTCUSDT"


def test_a_recorded_market_has_the_fees_and_the_leverage_of_its_kind() -> None:
    fees = Fees(spot_maker=D(1), spot_taker=D(2), perpetual_maker=D(3), perpetual_taker=D(4))
    depth = b'1 {"data":{"e":"depthUpdate","s":"BTCUSDT","b":[["1.10","2"]],"a":[]%s}}'
    spot, perpetual = learn([depth % b""], fees), learn([depth % b',"pu":1'], fees)

    assert (spot.maker, spot.taker, spot.max_leverage) == (D(1), D(2), D(1))
    assert (perpetual.maker, perpetual.taker, perpetual.max_leverage) == (D(3), D(4), D(50))


@pytest.mark.parametrize("path", [SHORT_SPOT, SHORT_USDM, SPOT], ids=lambda path: path.name[:16])
async def test_all_trades_and_quotes_are_published_in_order(path: Path) -> None:
    played = await Played(path).open()
    await played.run()
    rows = [message for _, message in messages(path)]
    trades = [row["data"] for row in rows if "@trade" in str(row.get("stream"))]
    quotes = [row for row in rows if "@bookTicker" in str(row.get("stream"))]

    assert [trade.id for trade in played.heard.of(Trade)] == [str(row["t"]) for row in trades]  # type: ignore[index]
    assert [each.source for each in played.heard.of(Ticker)] == ["paper"] * len(quotes)
    assert [each.cause for each in played.heard.of(Stale)] == ["disconnected"]  # its end


@pytest.mark.parametrize("path", [SHORT_SPOT, SHORT_USDM, SPOT], ids=lambda path: path.name[:16])
async def test_an_engine_sees_the_same_in_the_exchange_s_book_as_in_its_own(path: Path) -> None:
    played, engines = Played(path), list[Engine]()
    compared = 0

    def take(events: Sequence[MarketEvent | VenueEvent]) -> None:
        nonlocal compared
        for event in events if engines else ():
            shared, own = engines
            assert shared.process(event) == own.process(event)
            if isinstance(event, BookDelta):
                compared += 1
                assert shared.books[symbol].top(10) == own.books[symbol].top(10)
                assert shared.mark(symbol) == own.mark(symbol)

    await played.venue.open(take)
    symbol, markets = played.source.market.symbol, played.venue.markets
    engines += [
        Engine(venue="paper", mode="paper", markets=markets, limits=Limits()) for _ in range(2)
    ]
    shared, own = engines
    shared.share_book(symbol, played.venue.books[symbol])
    await played.run()

    assert compared > 100
    assert shared.books[symbol] is played.source.book
    assert shared.books[symbol].top(10_000) == own.books[symbol].top(10_000)
    assert shared.digest() == own.digest()


async def test_orders_fill_against_the_recorded_book_and_tape() -> None:
    played = await Played(SHORT_SPOT).open()
    rows = messages(SHORT_SPOT)
    for ts, message in rows[:60]:
        played.source.play(message, ts)
    bid = played.source.book.best_bid
    assert bid is not None
    taken = await played.venue.submit(approved(wish("t", Side.BUY, "0.01")))
    await played.venue.submit(approved(wish("m", Side.BUY, "0.01", price=bid[0])))
    await played.venue.submit(
        approved(wish("s", Side.SELL, "0.01", price=f"{float(bid[0]) + 0.05:.2f}"))
    )
    for ts, message in rows[60:]:
        played.source.play(message, ts)
    fills = played.heard.of(Filled)

    assert taken.status is Status.FILLED
    assert [fill.maker for fill in fills] == [False, True, True]
    assert (await played.venue.trades("BTC/USDT", 1000))[-1].symbol == "BTC/USDT"


@pytest.mark.parametrize("path", [SPOT, USDM], ids=lambda path: path.name[:16])
async def test_orders_fill_in_a_real_recording(path: Path) -> None:
    played = await Played(path).open()
    symbol = played.source.market.symbol
    rows = messages(path)
    for ts, message in rows[:3000]:
        played.source.play(message, ts)
    bid = played.source.book.best_bid
    assert bid is not None
    price = str(D(bid[0]).normalize())
    taker = await played.venue.submit(
        approved(wish("t", Side.SELL if path is SPOT else Side.BUY, "0.01", symbol=symbol))
    )
    await played.venue.submit(approved(wish("m", Side.BUY, "0.01", price=price, symbol=symbol)))
    queued = played.venue.exchange.clearing.accounts["main"].orders["x-2"].ahead
    for ts, message in rows[3000:16000]:
        played.source.play(message, ts)

    assert taker.status is Status.FILLED
    assert queued > 0
    made = [fill.amount for fill in played.heard.of(Filled) if fill.maker]
    assert sum(made) == D("0.01")


async def test_a_recording_plays_at_its_own_pace_times_the_speed() -> None:
    rows = messages(SHORT_SPOT)
    recorded = (rows[-1][0] - rows[0][0]) / SECOND
    for speed in (1.0, 10.0):
        played = await Played(SHORT_SPOT, speed=speed, restamp=True).open()
        await played.run()

        assert (played.clock.ns - START) / SECOND == pytest.approx(recorded / speed, abs=0.3)
        stamps = [event.ts for event in played.heard.of(Trade)]
        assert START <= stamps[0] <= stamps[-1] <= played.clock.ns


@pytest.mark.parametrize("seconds", [1, 600], ids=["while it plays", "after its end"])
async def test_orders_good_till_a_date_expire_on_a_recording_too(seconds: int) -> None:
    played = await Played(SHORT_SPOT, speed=1.0, restamp=True).open()
    till = START + seconds * SECOND
    order = wish(
        "m", amount="0.01", price="100.00", time_in_force=TimeInForce.GTD, good_till_ts=till
    )
    await played.venue.submit(approved(order))

    found = await played.ended(order)
    assert found.status is Status.EXPIRED
    assert till <= found.asof <= till + 2 * SECOND


@pytest.mark.parametrize("other", [None, 600], ids=["alone", "before one that was there"])
async def test_an_order_that_comes_behind_the_end_of_a_recording_expires(other: int | None) -> None:
    played = await Played(SHORT_SPOT, restamp=True).open()
    fields = {"amount": "0.01", "price": "99999.00", "time_in_force": TimeInForce.GTD}
    if other:
        first = wish("first", Side.SELL, **fields, good_till_ts=START + other * SECOND)
        await played.venue.submit(approved(first))
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        running = group.create_task(played.venue.run())
        await played.clock.sleep(5)
        assert played.heard.of(Stale)[-1].cause == "disconnected"
        till = played.clock.now() + 10 * SECOND
        late = wish("late", Side.SELL, **fields, good_till_ts=till)
        await played.venue.submit(approved(late))
        await played.clock.sleep(12)
        running.cancel()

    found = await played.venue.find(late)
    assert found is not None
    assert found.status is Status.EXPIRED
    assert till <= found.asof <= till + 2 * SECOND


async def test_nothing_trades_with_the_book_of_a_recording_that_has_ended() -> None:
    played = await Played(SHORT_SPOT).open()
    await played.run()
    with pytest.raises(VenueRejected, match="no fresh prices"):
        await played.venue.submit(approved(wish("b")))
    sold = wish("s", Side.SELL)
    await played.venue.submit(approved(sold))

    found = await played.venue.find(sold)
    assert found is not None
    assert (found.status, found.filled) == (Status.CANCELED, D(0))


async def test_as_fast_as_possible_still_gives_the_loop_its_turns() -> None:
    played = await Played(SHORT_SPOT).open()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with asyncio.TaskGroup() as group:
        task = group.create_task(other())
        await played.run()
        task.cancel()

    assert turns > 1


async def test_bars_and_trades_of_other_symbols_are_not_there() -> None:
    played = await Played(SHORT_SPOT).open()
    await played.run()

    assert await played.venue.ohlcv("ETH/USDT", "1m", None, 5) == ()
    assert await played.venue.trades("ETH/USDT", 5) == ()
    assert len(await played.venue.ohlcv("BTC/USDT", "1m", None, 5)) >= 1
    played.venue.want("BTC/USDT", "trades", True)


async def test_a_gap_makes_the_book_stale_and_nothing_fills_until_it_is_repaired() -> None:
    played = await Played(SHORT_SPOT).open()
    rows = messages(SHORT_SPOT)
    for ts, message in rows[:60]:
        played.source.play(message, ts)
    await played.venue.submit(approved(wish("m", Side.BUY, "0.01", price="61000.00")))
    played.source.play(depth(10**9, 10**9 + 1), 1)
    assert played.heard.of(Stale)[-1].cause == "desync"
    trade = {"t": 1, "p": "60000.00", "q": "5", "m": True}
    played.source.play({"stream": "s@trade", "data": trade}, 1)
    assert played.heard.of(Filled) == []

    played.source.play(
        {**whole(10**9 + 1), "bids": [["60900.00", "1"]], "asks": [["62000.00", "1"]]}, 1
    )
    played.source.play({"stream": "s@trade", "data": trade}, 1)

    assert played.heard.of(BookSnapshot)[-1].repaired
    assert len(played.heard.of(Filled)) == 1


async def test_an_own_trade_before_the_first_quote_takes_the_book_for_its_ticker() -> None:
    played = await Played(SHORT_SPOT).open()
    played.source.play({**whole(1), "asks": [["2.00", "5"]]}, 1)
    await played.venue.submit(approved(wish("t", Side.BUY, "1")))

    assert played.heard.of(Ticker)[-1].ask == "2.00"


async def test_marks_of_an_outside_market_reach_the_exchange() -> None:
    played = await Played(SHORT_USDM).open()
    symbol = played.source.market.symbol
    played.venue.feed(
        Mark(symbol=symbol, mark="2600", index="2600", funding_rate="0", next_funding_ts=0, ts=1)
    )
    played.venue.feed(
        Ticker(symbol=symbol, bid=None, bid_amount=None, ask=None, ask_amount=None, ts=1, recv_ts=1)
    )

    assert played.venue.exchange.pits[symbol].mark == D(2600)


async def test_behind_the_end_of_a_recording_no_funding_falls_due() -> None:
    played = await Played(SHORT_USDM, restamp=True).open()
    market, exchange = played.source.market, played.venue.exchange
    exchange.open_account("house", {}, credit=True)
    exchange.quote("house", market.symbol, Side.SELL, D(2600), D(1), START)
    due = START + 600 * SECOND
    played.venue.feed(
        Mark(
            symbol=market.symbol,
            mark="2600",
            index="2600",
            funding_rate="0.001",
            next_funding_ts=due,
            ts=START,
        )
    )
    await played.venue.submit(approved(wish("p", amount="1", symbol=market.symbol)))
    async with asyncio.timeout(7200), asyncio.TaskGroup() as group:
        running = group.create_task(played.venue.run())
        await played.source.ended.wait()
        assert played.clock.now() < due
        await played.clock.sleep(3600)
        running.cancel()

    assert [row.amount for row in await played.venue.positions()] == [D(1)]
    assert "funding" not in [moved.kind for moved in played.heard.of(Transferred)]


def damaged(path: Path, target: Path, chance: random.Random) -> Path:
    """A copy with bytes changed and cut out behind its beginning."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for _ in range(chance.choice((1, 5, 50))):
        at = chance.randrange(3000, len(content))
        if chance.randrange(2):
            content[at] ^= 1 << chance.randrange(8)
        else:
            del content[at : at + chance.randrange(1, 40)]
    target.write_bytes(content)
    return target


async def test_lines_that_cannot_be_read_are_passed_over_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = gzip.decompress(SHORT_SPOT.read_bytes()).splitlines(keepends=True)
    wrong = [
        b"x {}\n",
        b"\xff\xfe\n",
        b"1 [1]\n",
        b'1 {"lastUpdateId":7,"bids":[["1"]],"asks":[]}\n',
        b'1 {"stream":"s@bookTicker","data":{"u":1,"b":"x","B":"1","a":"2","A":"1"}}\n',
        b'1 {"stream":"s@bookTicker","data":{"u":1,"b":"1,5","B":"1","a":"2","A":"1"}}\n',
        b'1 {"stream":"s@depth","data":{"U":1,"u":2,"b":[["61x","1"]],"a":[]}}\n',
        b'1 {"stream":"s@depth","data":{"U":1,"u":2,"b":[["062,5"]],"a":[["62,5"]]}}\n',
        b'1 {"stream":"s@depth","data":{"U":1,"u":2,"b":[],"a":[["61","nan"]]}}\n',
        b'1 {"stream":"s@depth","data":{"U":1,"u":2,"b":[["61","-5"]],"a":[]}}\n',
        b'1 {"lastUpdateId":7,"bids":[["inf","1"]],"asks":[]}\n',
        b'1 {"stream":"s@trade","data":{"t":1}}\n',
        b'1 {"stream":"s@trade","data":{"t":1,"p":"61","q":"inf","m":true}}\n',
    ]
    file = tmp_path / "session.jsonl"
    file.write_bytes(b"".join([*lines[:60], *wrong, *lines[60:]]))
    played, whole = Played(SHORT_SPOT, of=file), Played(SHORT_SPOT)
    for each in (played, whole):
        await each.open()
        await each.run()

    assert played.source.unreadable == len(wrong)
    assert f"{len(wrong)} lines of the recording could not be read" in caplog.messages
    assert played.heard.of(BookDelta) == whole.heard.of(BookDelta)
    assert played.heard.of(Stale) == whole.heard.of(Stale)


async def test_a_damaged_stamp_is_not_waited_for(tmp_path: Path) -> None:
    lines = gzip.decompress(SHORT_SPOT.read_bytes()).splitlines(keepends=True)[:80]
    file, took = tmp_path / "session.jsonl", []
    for begins in (b"1", b"9", b""):
        file.write_bytes(b"".join([*lines[:40], begins + lines[40][1:], *lines[41:]]))
        played = await Played(SHORT_SPOT, of=file, speed=1.0).open()
        began = played.clock.now()
        await played.run()
        took.append(played.clock.now() - began)

    assert took[1] <= took[0]
    assert took[2] <= took[0]


async def test_a_stamp_that_the_next_one_is_before_is_not_waited_for(tmp_path: Path) -> None:
    lines = gzip.decompress(SHORT_SPOT.read_bytes()).splitlines(keepends=True)[:80]
    at, _, rest = lines[40].partition(b" ")
    lines[40] = b"%d %s" % (int(at) + 3600 * SECOND, rest)
    file = tmp_path / "session.jsonl"
    file.write_bytes(b"".join(lines))
    played = await Played(SHORT_SPOT, of=file, speed=1.0).open()
    began = played.clock.now()
    await played.run()

    assert played.clock.now() - began < 60 * SECOND


@pytest.mark.parametrize("previous", [None, 12], ids=["spot", "usd-m"])
def test_ids_that_a_message_did_not_hold_are_a_gap(previous: int | None) -> None:
    damaged = depth(13, 999, previous)
    behind = depth(15, 16, None if previous is None else 14)

    assert told([whole(10), depth(11, 12, previous and 10), damaged, damaged, behind]) == [
        ("snapshot", False),
        ("delta", "12"),
        ("delta", "999"),
        ("stale", "desync"),
    ]


@pytest.mark.parametrize("wrong", [{"u": "14"}, {"U": 13.5}, {"u": 12}, {"pu": "12"}], ids=str)
def test_a_message_whose_ids_are_none_spoils_no_snapshot(wrong: dict[str, object]) -> None:
    parser = Parser(venue="x", symbol="S")
    row = depth(13, 14)
    with pytest.raises(AssertionError):
        parser.parse({**row, "data": {**row["data"], **wrong}}, 1, 1)  # type: ignore[dict-item]

    (event,) = parser.parse(whole(10), 2, 2)
    assert isinstance(event, BookSnapshot)


async def test_a_lost_depth_message_makes_the_book_stale(tmp_path: Path) -> None:
    lines = gzip.decompress(SHORT_SPOT.read_bytes()).splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if number > 60 and b"@depth" in line)
    lines[at] = lines[at].replace(b'"U"', b'"?"')
    file = tmp_path / "session.jsonl"
    file.write_bytes(b"".join(lines))
    played = await Played(SHORT_SPOT, of=file).open()
    await played.run()

    assert [each.cause for each in played.heard.of(Stale)][:1] == ["desync"]


async def test_whatever_is_damaged_is_played_to_its_end(tmp_path: Path) -> None:
    for seed in range(40):
        file = damaged(SHORT_SPOT, tmp_path / f"{seed}.jsonl", random.Random(seed))
        played = await Played(SHORT_SPOT, of=file).open()
        await played.run()

        assert played.source.played + played.source.unreadable > 0


async def test_a_file_that_breaks_off_leaves_its_market_stale(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = SHORT_SPOT.read_bytes()
    file = tmp_path / "session.jsonl.gz"
    file.write_bytes(content[: len(content) // 2])
    played = await Played(SHORT_SPOT, of=file).open()
    await played.run()

    assert played.source.played > 10
    assert played.heard.of(Stale)[-1].cause == "disconnected"
    assert any("breaks off" in message for message in caplog.messages)


def test_plain_files_are_recordings_too(tmp_path: Path) -> None:
    path = tmp_path / "session.jsonl"
    path.write_bytes(b"1 {}\n2 {}\n")

    assert list(recording(path)()) == [b"1 {}\n", b"2 {}\n"]
