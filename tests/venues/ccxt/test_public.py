"""The real ccxt client against a Binance on the loopback."""

import asyncio
import gc
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from aiohttp import web

from realtime.model.errors import Code, Refused, VenueRejected
from realtime.model.market import BookDelta, BookSnapshot, Stale, Ticker, Trade
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import rebase
from realtime.venues.ccxt.markets import Read
from realtime.venues.ccxt.public import PublicData
from realtime.venues.rhythm import Patience
from tests.venues.ccxt.spot import Spot, listing, spot, until


S = "BTC/USDT"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Reader:
    """Who hears the events; its clock may run ahead of the real one."""

    venue: Spot
    events: list[Any] = field(default_factory=list)
    ahead: float = 0.0
    notices: list[str] = field(default_factory=list)
    data: Any = None

    def post(self, events: Sequence[Any]) -> None:
        self.events += events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def clock(self) -> float:
        return time.monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """A second of its time is a fiftieth of ours."""
        await asyncio.sleep(seconds / 50)

    def staleness(self) -> list[tuple[bool, str | None]]:
        return [(event.stale, event.cause) for event in self.of(Stale)]


def make(reader: Reader, **more: Any) -> PublicData:
    return PublicData(
        account=Account(id="main", exchange="binance", endpoint=reader.venue.endpoint),
        now=time.time_ns,
        sleep=reader.sleep,
        clock=reader.clock,
        tell=lambda level, code, text, data: reader.notices.append(code),
        **more,
    )


@asynccontextmanager
async def reading(*streams: str, lacks: Sequence[str] = (), **more: Any) -> AsyncIterator[Reader]:
    """Read streams at a venue that lacks some, by their names in ccxt's `has`."""
    async with spot() as venue:
        reader = Reader(venue)
        data = reader.data = make(reader, **more)
        await data.open()
        data.exchange.has.update(dict.fromkeys(lacks, False))
        for stream in streams:
            data.want(S, stream, True)
        task = asyncio.create_task(data.run(reader.post))
        try:
            await asyncio.sleep(0)
            await until(lambda: lacks or len(venue.subscribed) >= len(streams))
            yield reader
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


def tops(reader: Reader) -> Any:
    return reader.data.books[S].top(2)


async def test_markets_are_read_with_their_grid() -> None:
    async with reading() as reader:
        market = reader.data.markets[S]

        assert (str(market.price_tick), str(market.amount_step)) == ("0.01", "0.00001")
        assert str(market.min_cost) == "5.0"
        assert market.active


async def test_a_stream_of_each_kind_is_told_with_the_venues_own_digits() -> None:
    async with reading("ticker", "orderbook", "trades") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.trade(1, "100.50", "0.10", ms()), venue.ticker("100.50"))
        await until(lambda: reader.of(Trade) and reader.of(Ticker))
        await venue.send(venue.depth(bids={"100.50": "0.700"}))
        await until(lambda: len(reader.of(Ticker)) == 2)

        (trade,), (ticker, newer) = reader.of(Trade), reader.of(Ticker)
        assert (trade.id, trade.side, trade.price, trade.amount) == ("1", "buy", "100.50", "0.10")
        assert (ticker.bid, ticker.bid_amount, ticker.ask) == ("100.00", "1.5", "101.00")
        assert ticker.daily.last == "100.50"
        assert (newer.bid, newer.ask, newer.daily) == ("100.50", "101.00", ticker.daily)
        assert tops(reader)[0] == (("100.50", "0.700"), ("100.00", "1.5"))


async def test_a_ticker_without_a_book_has_the_venues_own_top() -> None:
    async with reading("ticker") as reader:
        await reader.venue.send(reader.venue.ticker("100.50"))
        await until(lambda: reader.of(Ticker))

        (ticker,) = reader.of(Ticker)
        assert (ticker.bid, ticker.bid_amount, ticker.ask_amount) == ("100.00", "1.25", "0.75")


async def test_a_trade_makes_no_ticker_of_a_book_that_is_not_followed() -> None:
    """R1: without a book a trade broke its frame, and behind one that had ended it told that book's old prices."""
    async with reading("ticker", "trades") as reader:
        venue, data = reader.venue, reader.data
        await venue.send(venue.ticker("100.00"))
        await until(lambda: reader.of(Ticker))
        await venue.send(venue.trade(1, "100.10", "1.0", ms()))
        await until(lambda: len(reader.of(Trade)) == 1)
        assert data.faults == 0

        data.want(S, "orderbook", True)
        await until(lambda: reader.of(BookSnapshot))
        data.want(S, "orderbook", False)
        await venue.send(venue.ticker("100.10", bid="90.00"))
        await until(lambda: reader.of(Ticker)[-1].bid == "90.00")
        await venue.send(venue.trade(2, "250.10", "1.0", ms()))
        await until(lambda: len(reader.of(Trade)) == 2)

        assert reader.of(Ticker)[-1].bid == "90.00"
        assert data.faults == 0


async def test_a_ticker_that_nobody_streams_is_folded_from_book_and_trades() -> None:
    async with reading("ticker", lacks=["watchTicker"]) as reader:
        venue, data = reader.venue, reader.data
        await until(lambda: reader.of(Ticker) and len(venue.subscribed) == 2)
        await venue.send(venue.depth(bids={"100.50": "0.700"}))
        await venue.send(venue.trade(1, "100.70", "1.0", ms()))
        await until(
            lambda: (
                (last := reader.of(Ticker)[-1]).bid == "100.50"
                and last.daily.last == "100.70"
                and last.daily.high is not None
            )
        )

        assert {row["channel"]: row["source"] for row in data.feeds()} == {
            f"ticker:{S}": "fold",
            f"orderbook:{S}": "ws",
            f"trades:{S}": "ws",
        }
        assert reader.of(Ticker)[-1].daily.high == "110.00"  # asked for, because no stream tells it


async def test_streams_that_a_venue_has_not_are_polled() -> None:
    async with spot() as venue:
        reader = Reader(venue)
        data = reader.data = make(reader)
        await data.open()
        for name in ("watchTicker", "watchTrades", "watchOrderBook"):
            data.exchange.has[name] = False
        for stream in ("ticker", "orderbook", "ohlcv:1m"):
            data.want(S, stream, True)
        venue.trade(1, "100.00", "1.0", ms())
        task = asyncio.create_task(data.run(reader.post))
        await until(
            lambda: reader.of(Ticker) and reader.of(BookSnapshot) and "trades" in venue.asked
        )
        venue.trade(2, "100.10", "1.0", ms() + 5)
        reader.ahead += 3.0
        await until(lambda: reader.of(Trade))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert [trade.id for trade in reader.of(Trade)] == ["2"]  # what was before us is history
        assert {row["source"] for row in data.feeds()} == {"poll"}
        assert venue.dials == 0


async def test_a_refused_socket_is_dialled_again_and_asked_for_meanwhile() -> None:
    async with reading("orderbook") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        venue.down = True
        await venue.close(1012)
        venue.bids["100.90"] = "1.0"
        await until(lambda: venue.dials >= 3)
        await until(lambda: tops(reader)[0][0] == ("100.9", "1"))  # by REST
        (row,) = reader.data.feeds()
        assert (row["source"], row["state"]) == ("poll", "disconnected")
        venue.down = False
        await until(lambda: reader.staleness()[-1] == (False, None))

        (row,) = reader.data.feeds()
        assert (row["source"], row["state"]) == ("ws", "ok")


async def test_a_book_without_a_sequence_is_compared_with_rest() -> None:
    async with spot() as venue:
        reader = Reader(venue)
        data = reader.data = make(reader)
        await data.open()
        data._native = None
        data.want(S, "orderbook", True)
        task = asyncio.create_task(data.run(reader.post))
        await until(lambda: reader.of(BookSnapshot))  # not with the next frame: there is none
        (feed,) = data._feeds.values()
        feed.compare = data._clock()
        venue.bids["99.50"] = "7.0"  # and no frame tells it
        await until(lambda: feed.doubts)
        feed.compare = data._clock()  # not five seconds later
        await until(lambda: (True, "desync") in reader.staleness())
        await until(lambda: reader.staleness()[-1] == (False, None))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ("99.5", "7") in tops(reader)[0]


async def test_a_burst_of_trades_arrives_whole_and_in_order() -> None:
    """S5: ccxt's own watch call returns 3,001 of 5,000."""
    async with reading("trades") as reader:
        venue = reader.venue
        await venue.send(*(venue.trade(i, "100.00", "1.0", ms()) for i in range(5000)))
        await until(lambda: len(reader.of(Trade)) >= 5000)

        assert [int(trade.id) for trade in reader.of(Trade)] == list(range(5000))


async def test_a_price_of_eighteen_digits_stays_exact() -> None:
    """S13."""
    async with reading("trades") as reader:
        await reader.venue.send(
            reader.venue.trade(1, "100000.000000000001", "0.123456789012345678", ms())
        )
        await until(lambda: reader.of(Trade))

        (trade,) = reader.of(Trade)
        assert (trade.price, trade.amount) == ("100000.000000000001", "0.123456789012345678")


async def test_a_closed_socket_is_dialled_again_and_no_trade_between_is_lost() -> None:
    """S9."""
    async with reading("trades", "orderbook") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.trade(1, "100.00", "1.0", ms()))
        await until(lambda: reader.of(Trade))
        await venue.close(1012)
        venue.trade(2, "100.10", "1.0", ms())
        venue.trade(3, "100.20", "1.0", ms() + 1)
        await until(lambda: len(reader.of(BookSnapshot)) >= 2 and len(venue.sockets) > 0)
        await until(lambda: len(venue.subscribed) >= 4)
        await venue.send(venue.trade(4, "100.30", "1.0", ms() + 2))
        await until(lambda: len(reader.of(Trade)) >= 4)

        assert [trade.id for trade in reader.of(Trade)] == ["1", "2", "3", "4"]
        assert reader.of(BookSnapshot)[-1].repaired
        assert (True, "disconnected") in reader.staleness()
        await until(lambda: reader.staleness()[-1] == (False, None))


async def test_a_muted_socket_is_stale_within_ten_seconds_and_dialled_again() -> None:
    """S8, on a clock of its own."""
    async with reading("trades", "orderbook") as reader:
        venue, data = reader.venue, reader.data
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.trade(1, "100.00", "1.0", ms()))
        await until(lambda: reader.of(Trade))
        reader.ahead += 2.5
        await until(lambda: any(socket.pongs for socket in data._sockets.values()))
        dials, venue.mute = venue.dials, True
        for _ in range(8):
            reader.ahead += 1.0
            await asyncio.sleep(0.03)

        assert (True, "silent") in reader.staleness()
        venue.mute = False
        await until(lambda: venue.dials > dials)
        await until(lambda: reader.staleness()[-1] == (False, None))


async def test_a_quiet_market_is_not_stale() -> None:
    async with reading("trades") as reader:
        venue = reader.venue
        await venue.send(venue.trade(1, "100.00", "1.0", ms()))
        await until(lambda: reader.of(Trade))
        for _ in range(30):
            reader.ahead += 1.0
            await asyncio.sleep(0.02)

        assert reader.staleness() == []
        assert "trades" in venue.asked  # it was looked at


async def test_a_quiet_ticker_is_not_stale_for_other_zeros_in_the_answer() -> None:
    async with reading("ticker") as reader:
        venue = reader.venue
        await venue.send(venue.ticker("100", bid="100", ask="101.000"))
        await until(lambda: reader.of(Ticker))
        for _ in range(12):
            reader.ahead += 1.0
            await asyncio.sleep(0.02)

        assert "24hr" in venue.asked
        assert reader.staleness() == []


async def test_the_patience_that_is_set_decides_when_a_silence_is_looked_into() -> None:
    """Found in an audit: nobody read `market_data.stale_min_s` and its like."""
    async with reading("trades", patience=Patience(min_s=30.0, max_s=90.0)) as reader:
        assert reader.data._feeds[S, "trades"].rhythm.limit == 30.0


async def test_a_feed_that_froze_behind_a_living_socket_is_stale() -> None:
    async with reading("trades") as reader:
        venue = reader.venue
        await venue.send(venue.trade(1, "100.00", "1.0", ms()))
        await until(lambda: reader.of(Trade))
        venue.trade(2, "100.10", "1.0", ms())  # on the tape, not on the socket
        real = reader.data._now
        reader.data._now = lambda: real() + int(reader.ahead * 1e9)
        for _ in range(10):
            reader.ahead += 1.0
            await asyncio.sleep(0.03)

        assert (True, "silent") in reader.staleness()
        await until(lambda: [trade.id for trade in reader.of(Trade)] == ["1", "2"])


async def test_a_lost_update_withholds_the_book_until_a_fresh_one() -> None:
    async with reading("orderbook") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.depth(bids={"100.50": "1.0"}))
        await until(lambda: reader.of(BookDelta))
        await venue.send(venue.depth(bids={"100.60": "1.0"}, skip=3))
        await until(lambda: len(reader.of(BookSnapshot)) >= 2)

        assert reader.of(BookSnapshot)[-1].repaired
        assert reader.staleness()[0] == (True, "desync")
        await until(lambda: reader.staleness()[-1] == (False, None))
        assert tops(reader)[0][0] == ("100.60", "1.0")


async def test_a_crossed_book_is_not_shown() -> None:
    async with reading("orderbook") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.depth(bids={"101.50": "1.0"}))
        await until(lambda: reader.staleness() == [(True, "desync")])

        assert reader.of(BookDelta) == []
        assert tops(reader)[0][0] == ("100.00", "1.5")
        await venue.send(venue.depth(bids={"101.50": "0"}))
        reader.ahead += 6.0
        await until(lambda: reader.staleness()[-1] == (False, None))


async def test_an_order_book_that_nobody_trims_stays_bounded() -> None:
    """S15."""
    async with reading("orderbook") as reader:
        venue = reader.venue
        await until(lambda: reader.of(BookSnapshot))
        for base in range(0, 6000, 500):
            await venue.send(
                venue.depth(bids={f"{50 + (base + i) / 1000:.3f}": "1.0" for i in range(500)})
            )
        await until(lambda: len(reader.of(BookDelta)) >= 12)
        await asyncio.sleep(0.05)
        book = reader.data.books[S]

        assert len(book.bids.keys) <= 2000
        assert len(reader.data.exchange.orderbooks[S]["bids"]) <= 2000
        assert book.best_bid == ("100.00", "1.5")


async def test_html_in_place_of_a_ticker_is_no_ticker() -> None:
    """S1: ccxt gives a ticker of Nones."""
    async with reading("ticker") as reader:
        venue = reader.venue
        await venue.send(venue.ticker("100.00"))
        await until(lambda: reader.of(Ticker))
        venue.html = {"24hr", "klines", "trades"}
        asks: list[Callable[[], Awaitable[Any]]] = [
            lambda: reader.data.rest.ticker(S),
            lambda: reader.data.ohlcv(S, "1m", None, 10),
            lambda: reader.data.trades(S, 10),
        ]
        for ask in asks:
            with pytest.raises(VenueRejected) as caught:
                await ask()
            assert caught.value.code is Code.VENUE_UNAVAILABLE

        assert len(reader.of(Ticker)) == 1


async def test_a_change_of_very_many_markets_is_one_alert() -> None:
    """R1: a new fee for 3,000 markets was 3,000 alerts in one step, each of them journaled."""
    async with spot() as venue:
        venue.listings = [listing(f"C{n}USDT", f"C{n}", "USDT") for n in range(30)]
        reader = Reader(venue)
        data = make(reader)
        await data.open()
        reading = await data.rest.read(data.aside)
        found = reading.read.markets
        for symbol, market in found.items():
            found[symbol] = replace(market, taker=Decimal("0.002"))
        data.register.take(reading)
        few = {name: m for name, m in found.items() if name not in {"C1/USDT", "C2/USDT"}}
        data.register.take(replace(reading, read=Read(few)))
        await data.close()

        assert {market.taker for market in data.markets.values()} == {Decimal("0.002")}
        assert reader.notices == ["market_changed", "market_delisted", "market_delisted"]


async def test_html_to_one_of_several_questions_is_no_table_of_markets() -> None:
    """R1: the contracts' host answered a page, ccxt made it an empty list, and the account opened without contracts."""
    listed = orjson.dumps({"symbols": [listing("BTCUSDT", "BTC", "USDT")]})

    async def answer(request: web.Request) -> web.Response:
        if "fapi" in request.path:
            return web.Response(text="<html>")
        await asyncio.sleep(0.05)  # the good answer is the last one
        return web.Response(body=listed)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    account = Account(
        id="main",
        exchange="binance",
        types=("spot", "swap"),
        endpoint=f"http://127.0.0.1:{port}",
        options={"fetchMarkets": {"types": ["spot", "linear"]}},
    )
    data = PublicData(account=account, now=time.time_ns, sleep=asyncio.sleep)
    try:
        with pytest.raises(VenueRejected, match="not JSON"):
            await data.open()
    finally:
        await data.close()
        await runner.cleanup()

    gc.collect()  # the question beside it is not left behind in its thread
    assert not data.markets


async def test_a_socket_that_is_being_dialled_is_no_proof_of_life() -> None:
    """R1: while a dial hung, the venue was called alive twice a second."""
    hole = socket.create_server(("127.0.0.1", 0))  # connects, and says nothing
    port = hole.getsockname()[1]
    async with spot() as venue:
        reader = Reader(venue)
        data = reader.data = make(reader)
        await data.open()
        data.exchange.urls = rebase(data.exchange.urls, f"http://127.0.0.1:{port}")
        posts: list[Sequence[Any]] = []
        data.want(S, "trades", True)
        task = asyncio.create_task(data.run(posts.append))
        await until(lambda: data.exchange.clients)
        for _ in range(4):
            data.look()
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    hole.close()

    assert () not in posts


async def test_a_stream_ends_with_its_last_reader_and_so_does_its_socket() -> None:
    async with reading("trades", "ticker") as reader:
        venue, data = reader.venue, reader.data
        data.want(S, "trades", False)
        await until(lambda: not any("trade" in name for name in venue.subscribed))
        assert [row["channel"] for row in data.feeds()] == [f"ticker:{S}"]
        data.want(S, "ticker", False)
        await until(lambda: not data.feeds())


async def test_rows_of_monitoring_tell_each_stream() -> None:
    async with reading("trades") as reader:
        await reader.venue.send(reader.venue.trade(1, "100.00", "1.0", ms()))
        await until(lambda: reader.of(Trade))
        (row,) = reader.data.feeds()

        assert set(row) == {
            "channel", "symbol", "source", "since_ts", "last_msg_age_ms", "reconnects", "fallbacks",
            "rest_calls", "messages", "messages_per_s", "gaps", "state", "health",
        }  # fmt: skip
        assert (row["source"], row["state"], row["messages"]) == ("ws", "ok", 1)

        # A row without its shape is counted, and what was counted outlives the stream.
        await reader.venue.send(reader.venue.trade(2, "0", "1.0", ms()))
        await until(lambda: reader.data.counted()["refused_rows"])
        reader.data.want(S, "trades", False)
        await until(lambda: not reader.data.feeds())

        counted = reader.data.counted()
        assert (counted["messages"], counted["refused_rows"], counted["unreadable"]) == (1, 1, 0)


async def test_bars_fold_nothing_and_come_oldest_first() -> None:
    async with reading() as reader:
        bars = await reader.data.ohlcv(S, "1m", 1_700_000_000_000_000_000, 10)

        assert [bar.ts // 1_000_000 for bar in bars] == [
            1_700_000_000_000 + i * 60_000 for i in range(3)
        ]
        assert (bars[0].open, bars[0].volume) == ("1", "10")


async def test_a_delisted_market_is_told_and_not_silently_gone() -> None:
    """And one that was listed again stayed stale until the next start."""
    async with reading("orderbook") as reader:
        venue, data = reader.venue, reader.data
        listed = list(venue.listings)
        venue.listings = [listing("ETHUSDT", "ETH", "USDT", tick="0.1")]
        await data.register.again()

        assert (True, "delisted") in reader.staleness()
        assert set(reader.notices) == {"market_delisted", "market_changed"}
        assert not data.markets[S].active
        assert str(data.markets["ETH/USDT"].price_tick) == "0.1"

        venue.listings = listed
        await data.register.again()
        assert data.markets[S].active
        assert reader.staleness()[-1] == (True, "disconnected")
        await until(lambda: reader.staleness()[-1] == (False, None))
        assert data.books[S].best_bid == ("100.00", "1.5")

        data.want(S, "orderbook", False)
        for venue.listings in ([listing("ETHUSDT", "ETH", "USDT")], listed):
            await data.register.again()
        assert reader.staleness()[-2:] == [(True, "delisted"), (False, None)]


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda venue: venue.status.update(exchangeInfo=503), "unreachable"),
        (lambda venue: venue.html.add("exchangeInfo"), "malformed"),
        (lambda venue: setattr(venue, "endpoint", "http://127.0.0.1:1"), "unreachable"),
    ],
    ids=["503", "html", "nobody there"],
)
async def test_opening_names_what_is_wrong(change: Callable[[Spot], Any], cause: str) -> None:
    async with spot() as venue:
        change(venue)
        with pytest.raises(VenueRejected) as caught:
            await make(Reader(venue)).open()

        assert caught.value.code is Code.VENUE_UNAVAILABLE
        assert caught.value.details is not None
        assert caught.value.details["cause"] == cause


async def test_an_unknown_exchange_is_refused_with_its_likes() -> None:
    data = PublicData(
        account=Account(id="main", exchange="binanse"), now=time.time_ns, sleep=asyncio.sleep
    )
    with pytest.raises(Refused, match="near: binance"):
        await data.open()


async def test_a_book_that_nobody_reads_is_freed_here_and_in_ccxt_and_begins_anew() -> None:
    """R1: every symbol that was ever looked at kept its books and its last thousand trades for good."""
    async with reading("orderbook", "trades") as reader:
        venue, data = reader.venue, reader.data
        await until(lambda: reader.of(BookSnapshot))
        await venue.send(venue.trade(1, "100.50", "0.10", ms()))
        await until(lambda: reader.of(Trade))
        assert S in data.exchange.trades
        for stream in ("orderbook", "trades"):
            data.want(S, stream, False)

        assert data.books == {}
        await until(lambda: not data.exchange.orderbooks and not data.exchange.trades)
        venue.depth(bids={"100.70": "0.2"})
        data.want(S, "orderbook", True)
        await until(lambda: len(reader.of(BookSnapshot)) == 2)
        assert tops(reader)[0][0] == ("100.70", "0.2")


async def test_a_book_that_was_followed_for_a_ticker_is_told_whole_to_its_first_reader() -> None:
    async with reading("ticker", lacks=["watchTicker"]) as reader:
        data = reader.data
        await until(lambda: reader.of(BookSnapshot) and reader.of(Ticker))
        reader.events.clear()
        data.want(S, "orderbook", True)

        (told,) = reader.of(BookSnapshot)
        assert (told.bids[0], told.repaired) == (("100.00", "1.5"), True)
        data.want(S, "orderbook", False)
        assert S in data.books  # the ticker's, still
