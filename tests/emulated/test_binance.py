"""The emulated Binance, as the real client sees it, and what our tap makes of its bursts (trading:6.8, trading:S5)."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect

from realtime.emulate.faults import Fault, Kind
from realtime.model.market import BookDelta, BookSnapshot, Level, Stale, Trade
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.public import PublicData
from tests.emulated import binance
from tests.emulated.binance import Binance
from tests.emulated.clients import client, until, watching


SHORT = Path(__file__).parents[1] / "data"
LONG = Path(__file__).parents[3] / "shared" / "data"
SPOT = SHORT / "binance-spot-synthetic.jsonl.gz"
USDM = SHORT / "binance-usdm-synthetic.jsonl.gz"
BOTH = pytest.mark.parametrize(
    ("path", "exchange_id"),
    [pytest.param(SPOT, "binance", id="spot"), pytest.param(USDM, "binanceusdm", id="usd-m")],
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@cache
def lines(path: Path) -> list[bytes]:
    if not path.exists():
        pytest.skip(f"{path.name}: the recordings of ../shared/data are not here")
    return binance.lines_of(path)


@asynccontextmanager
async def pair(path: Path, exchange_id: str) -> AsyncIterator[tuple[Binance, Any, str]]:
    """A server, the real client, and the symbol."""
    async with (
        binance.serve(lines(path)) as server,
        client(exchange_id, server.endpoint) as exchange,
    ):
        if exchange_id == "binance":
            exchange.options["fetchMarkets"] = {"types": ["spot"]}
        yield server, exchange, server.market.symbol


# --- the real client --------------------------------------------------------------------------


@BOTH
async def test_the_real_client_reads_the_market_and_its_past(path: Path, exchange_id: str) -> None:
    async with pair(path, exchange_id) as (server, exchange, symbol):
        await server.play()
        market = (await exchange.load_markets())[symbol]
        book = await exchange.fetch_order_book(symbol, 20)
        ticker = await exchange.fetch_ticker(symbol)
        trades = await exchange.fetch_trades(symbol, limit=10)
        bars = await exchange.fetch_ohlcv(symbol, "1m")
        now = await exchange.fetch_time()

        assert (market["active"], market["id"]) == (True, server.market.id)
        assert market["precision"]["price"] == float(server.market.price_tick)
        assert (book["nonce"], len(book["bids"])) == (server.update, 20)
        assert [[float(p), float(a)] for p, a in server.book.top(20)[1]] == book["asks"]
        newest = server.tape.recent(10)
        assert [row["price"] for row in trades] == [float(trade.price) for trade in newest]
        assert ticker["last"] == float(newest[-1].price)
        assert bars[-1][4] == ticker["last"]
        assert now == server.now // 1_000_000


@BOTH
async def test_the_real_client_follows_every_stream(path: Path, exchange_id: str) -> None:
    async with pair(path, exchange_id) as (server, exchange, symbol):
        await exchange.load_markets()
        async with (
            watching(lambda: exchange.watch_order_book(symbol)) as books,
            watching(lambda: exchange.watch_trades(symbol)) as trades,
            watching(lambda: exchange.watch_bids_asks([symbol])) as tops,
            watching(lambda: exchange.watch_ticker(symbol)) as tickers,
            watching(lambda: exchange.watch_ohlcv(symbol, "1m")) as bars,
        ):
            await until(lambda: sum(len(one.streams) for one in server.clients) == 5)
            await until(lambda: server.requests["depth"])
            await server.play()
            await until(lambda: tops and tickers and bars and trades)
            book = exchange.orderbooks[symbol]
            await until(lambda: book["nonce"] == server.update)

            best = server.book.best_bid, server.book.best_ask
            assert best[0] is not None
            assert best[1] is not None
            assert books
            assert book["bids"][0] == [float(best[0][0]), float(best[0][1])]
            assert book["asks"][0] == [float(best[1][0]), float(best[1][1])]
            last = float(server.tape.recent(1)[0].price)
            await until(lambda: exchange.trades[symbol][-1]["price"] == last)
            assert tickers[-1]["last"] is not None


async def test_the_real_client_notices_a_lost_delta() -> None:
    async with pair(SPOT, "binance") as (server, exchange, symbol):
        server.faults.script("ws:*depth*", [Fault(Kind.OK)] * 3 + [Fault(Kind.SWALLOW)])

        async def follow() -> None:
            while True:
                await exchange.watch_order_book(symbol)

        task = asyncio.create_task(follow())
        await until(lambda: symbol in exchange.orderbooks)
        await until(lambda: exchange.orderbooks[symbol]["nonce"])
        await server.play()
        await asyncio.wait([task], timeout=3)

        assert type(task.exception()).__name__ == "ChecksumError"
        assert server.faults.count(Kind.SWALLOW) == 1


async def test_both_kinds_of_socket_speak_as_the_venue_does() -> None:
    async with binance.serve(lines(SPOT)) as server:
        host = server.endpoint.replace("http", "ws")
        stream = f"{server.name}@trade"
        async with connect(f"{host}/ws") as raw, connect(f"{host}/stream?streams={stream}") as both:
            await raw.send(orjson.dumps({"method": "SUBSCRIBE", "params": [stream], "id": 7}))
            assert orjson.loads(await raw.recv()) == {"result": None, "id": 7}
            await raw.send('{"method":"LIST_SUBSCRIPTIONS","id":8}')
            assert orjson.loads(await raw.recv()) == {"result": [stream], "id": 8}
            await server.play(until=lambda: server.sent["trade"] == 1)
            plain = orjson.loads(await raw.recv())
            assert orjson.loads(await both.recv()) == {"stream": stream, "data": plain}
            await raw.send(orjson.dumps({"method": "UNSUBSCRIBE", "params": [stream], "id": 9}))
            assert orjson.loads(await raw.recv()) == {"result": None, "id": 9}
            for bad in ("x", "[]", '{"method":"JUMP","id":1}'):
                await raw.send(bad)
                assert "error" in orjson.loads(await raw.recv())


async def test_a_wrong_symbol_is_refused_in_the_venue_s_words() -> None:
    async with pair(SPOT, "binance") as (_, exchange, symbol):
        await exchange.load_markets()
        exchange.markets[symbol]["id"] = "NOSUCH"
        with pytest.raises(Exception, match="-1121"):
            await exchange.fetch_order_book(symbol)


async def test_sockets_are_closed_and_requests_limited_on_demand() -> None:
    async with pair(SPOT, "binance") as (server, exchange, symbol):
        server.faults.once("GET /api/v3/depth", Fault(Kind.RATE_LIMITED))
        await exchange.load_markets()
        with pytest.raises(Exception, match="429"):
            await exchange.fetch_order_book(symbol)
        async with connect(server.endpoint.replace("http", "ws") + "/ws") as raw:
            await until(lambda: server.clients)
            server.faults.strike("ws", Fault(Kind.CLOSE, code=1012))
            await raw.wait_closed()

            assert raw.close_code == 1012


async def test_a_socket_can_freeze_and_its_pongs_can_be_muted() -> None:
    async with (
        binance.serve(lines(SPOT)) as server,
        connect(f"{server.endpoint.replace('http', 'ws')}/ws/{server.name}") as raw,
    ):
        await raw.send('{"method":"SUBSCRIBE","params":["btcusdt@bookTicker"],"id":1}')
        await raw.recv()
        server.faults.strike("ws", Fault(Kind.FROZEN))
        server.faults.strike("ws", Fault(Kind.MUTED))
        await server.play(until=lambda: server.sent["bookTicker"] == 3)
        pong = await raw.ping()
        await raw.send('{"method":"LIST_SUBSCRIPTIONS","id":2}')

        assert orjson.loads(await raw.recv()) == {"result": ["btcusdt@bookTicker"], "id": 2}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await pong
        server.faults.strike("ws", Fault(Kind.THAW))
        await server.play(until=lambda: server.sent["bookTicker"] == 4)
        assert orjson.loads(await raw.recv())["u"] == server.quotes[-1][0]


# --- the tap ----------------------------------------------------------------------------------


@dataclass
class Reader:
    """Who hears what `PublicData` posts; its clock stands still unless moved."""

    server: Binance
    events: list[Any] = field(default_factory=list)
    ahead: float = 0.0
    data: Any = None

    def post(self, events: Sequence[Any]) -> None:
        self.events += events

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 20)

    @property
    def last(self) -> int:
        """Newest update in the book of the parser."""
        return int(self.data._native._joins[self.server.market.symbol].last or 0)


@asynccontextmanager
async def reading(path: Path, exchange_id: str, *streams: str) -> AsyncIterator[Reader]:
    async with binance.serve(lines(path)) as server:
        reader = Reader(server)
        types = ("swap",) if server.contract else ("spot",)
        loop = asyncio.get_running_loop()
        reader.data = data = PublicData(
            account=Account(id="main", exchange=exchange_id, types=types, endpoint=server.endpoint),
            now=lambda: server.now,
            sleep=reader.sleep,
            clock=lambda: loop.time() + reader.ahead,
        )
        await data.open()
        for stream in streams:
            data.want(server.market.symbol, stream, True)
        task = asyncio.create_task(data.run(reader.post))
        try:
            await until(
                lambda: (
                    sum(len(one.streams) for one in server.clients) >= len(streams)
                    and reader.of(BookSnapshot)
                )
            )
            yield reader
        finally:
            task.cancel()
            await asyncio.wait([task])


def amounts(delta: BookDelta) -> set[str]:
    return {amount for _, amount in (*delta.bids, *delta.asks)}


def shown(reader: Reader) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    top: tuple[tuple[Level, ...], tuple[Level, ...]] = reader.data.books[
        reader.server.market.symbol
    ].top(20)
    return top


@BOTH
async def test_every_trade_and_delta_of_a_short_burst_arrives(path: Path, exchange_id: str) -> None:
    async with reading(path, exchange_id, "orderbook", "trades") as reader:
        server = reader.server
        await server.play()
        await until(
            lambda: len(reader.of(Trade)) == server.sent["trade"] and reader.last == server.update
        )

        assert len(reader.of(BookDelta)) == server.sent["depth"]
        assert shown(reader) == server.book.top(20)
        assert reader.of(Stale) == []


@pytest.mark.parametrize(
    ("name", "exchange_id"),
    [
        pytest.param("binance-spot-btcusdt-20240808.jsonl.gz", "binance", id="spot"),
        pytest.param(
            "binance-usdm-ethusdt-20240808.jsonl.gz",
            "binanceusdm",
            id="usd-m",
            marks=pytest.mark.slow,
        ),
    ],
)
async def test_no_update_is_lost_in_a_recorded_burst(name: str, exchange_id: str) -> None:
    async with reading(LONG / name, exchange_id, "orderbook", "trades") as reader:
        server = reader.server
        await server.play(
            until=lambda: server.sent["trade"] >= 5_000 and server.sent["depth"] >= 3_449
        )
        await until(
            lambda: len(reader.of(Trade)) == server.sent["trade"] and reader.last == server.update
        )

        ids = [trade.id for trade in reader.of(Trade)]
        assert len(ids) == len(set(ids)) >= 5_000
        # What a book forgets of its far levels is told as a change as well, with amounts of our own.
        told = [delta for delta in reader.of(BookDelta) if {"0"} != amounts(delta)]
        assert len(told) == server.sent["depth"] == 3_449
        assert reader.of(Stale) == []
        quotes = sorted(server.quotes, key=lambda quote: quote[0])
        index = bisect_right([update for update, _, _ in quotes], server.update) - 1
        (bid, *_), (ask, *_) = shown(reader)
        assert (bid, ask) == quotes[index][1:]


@BOTH
async def test_a_lost_delta_makes_a_fresh_book_that_says_repaired(
    path: Path, exchange_id: str
) -> None:
    async with reading(path, exchange_id, "orderbook") as reader:
        server = reader.server
        server.faults.script("ws:*depth*", [Fault(Kind.OK)] * 3 + [Fault(Kind.SWALLOW)])
        await server.play(until=lambda: server.sent["depth"] == 8)
        await until(lambda: len(reader.of(BookSnapshot)) >= 2)
        await server.play()
        await until(lambda: reader.last == server.update)

        # ccxt notices too, and subscribes anew: a second fresh book may follow the first, and a second gap before it.
        first, *fresh = [event.repaired for event in reader.of(BookSnapshot)]
        assert not first
        assert all(fresh)
        gaps = [event for event in reader.of(Stale) if event.stale]
        assert {event.cause for event in gaps} == {"desync"}
        assert [event.stale for event in reader.of(Stale)] == [True, False] * len(gaps)
        assert len(gaps) <= len(fresh)
        assert shown(reader) == server.book.top(20)


async def test_after_a_close_with_1012_the_book_is_begun_anew() -> None:
    async with reading(SPOT, "binance", "orderbook") as reader:
        server = reader.server
        await server.play(frames=60)
        await until(lambda: reader.last == server.update)
        server.faults.strike("ws", Fault(Kind.CLOSE, code=1012))
        await until(lambda: len(reader.of(BookSnapshot)) == 2)
        await server.play()
        await until(lambda: reader.last == server.update)

        assert [event.cause for event in reader.of(Stale)] == ["disconnected", None]
        assert reader.of(BookSnapshot)[1].repaired
        assert shown(reader) == server.book.top(20)
