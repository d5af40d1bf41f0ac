"""The emulated Bitfinex, as the real client sees it, and as its frames are; and a recording of the real one."""

import asyncio
import gzip
import itertools
import json  # the only parser that gives the digits of a number
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import ccxt.pro
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from realtime.emulate.faults import LOST, Fault, Kind
from realtime.emulate.quiet import QuietMarket
from realtime.model.orders import Side
from tests.emulated import bitfinex, bitfinex_rows as rows
from tests.emulated.bitfinex import Bitfinex
from tests.emulated.bitfinex_streams import CHECKSUM, SEQUENCE
from tests.emulated.clients import client, until, validate, watching


BTC, PERPETUAL = "BTC/USD", "BTC/USDT:USDT"
RECORDING = Path(__file__).parents[3] / "shared/data/bitfinex-recording.txt.gz"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def pair(**more: Any) -> AsyncIterator[tuple[Bitfinex, Any]]:
    """A server and a client that has a key."""
    async with (
        bitfinex.serve(**more) as server,
        client("bitfinex", server.endpoint, bitfinex.KEY, bitfinex.SECRET) as exchange,
    ):
        yield server, exchange


def quiet(server: Bitfinex) -> QuietMarket:
    assert isinstance(server.floor.source, QuietMarket)
    return server.floor.source


class Raw:
    """A bare socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, message: Any) -> None:
        await self.socket.send(orjson.dumps(message).decode())

    async def next(self) -> Any:
        async with asyncio.timeout(30):
            return orjson.loads(await self.socket.recv())

    async def event(self, name: str) -> dict[str, Any]:
        """The next object of an event."""
        while True:
            message = await self.next()
            if isinstance(message, dict) and message["event"] == name:
                return message

    async def row(self, channel: int) -> list[Any]:
        """The next array of a channel."""
        while True:
            message = await self.next()
            if isinstance(message, list) and message[0] == channel:
                return message

    async def log_in(self, nonce: int, secret: str = bitfinex.SECRET) -> dict[str, Any]:
        payload = f"AUTH{nonce}"
        await self.send(
            {
                "event": "auth",
                "apiKey": bitfinex.KEY,
                "authSig": rows.sign(secret, payload),
                "authNonce": nonce,
                "authPayload": payload,
            }
        )
        return await self.event("auth")


@asynccontextmanager
async def raw(server: Bitfinex) -> AsyncIterator[Raw]:
    async with connect(server.endpoint.replace("http", "ws") + "/ws/2", proxy=None) as socket:
        yield Raw(socket)


# --- pure -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("60000", "60000"),
        ("0.10", "0.1"),
        ("-0.00", "0"),
        ("0.00000001", "0.00000001"),
        ("5E+3", "5000"),
    ],
)
def test_numbers_have_no_trailing_zeros(value: str, text: str) -> None:
    assert rows.plain(Decimal(value)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("64123.4", "64123"),
        ("1234.567", "1234.5"),
        ("0.00012345678", "0.00012345"),
        ("0.012345678", "0.012345"),
    ],
)
def test_prices_are_cut_to_five_digits(value: str, text: str) -> None:
    assert rows.plain(rows.cut(Decimal(value))) == text


def test_the_checksum_takes_bids_and_asks_by_turns() -> None:
    bids, asks = [("60000", "1.5"), ("59999", "2")], [("60001", "0.25")]

    value = zlib.crc32(b"60000:1.5:60001:-0.25:59999:2")
    assert rows.crc(bids, asks) % 2**32 == value
    assert -(2**31) <= rows.crc(bids, asks) < 2**31


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("BTC/USD", "tBTCUSD"),
        ("BTC/USDT", "tBTCUST"),
        ("DOGE/USD", "tDOGE:USD"),
        ("ETH/BTC", "tETHBTC"),
    ],
)
def test_pairs_have_bitfinexs_names(symbol: str, name: str) -> None:
    assert rows.symbol_id(bitfinex.market(symbol, "1", "1")) == name


def test_derivatives_end_in_f0() -> None:
    assert rows.symbol_id(bitfinex.derivative("BTC", "1", "1")) == "tBTCF0:USTF0"


# --- REST -----------------------------------------------------------------------------------------


async def test_market_data_over_rest() -> None:
    async with pair() as (server, exchange):
        quiet(server).trade(BTC, Side.BUY, "0.5")
        quiet(server).trade(BTC, Side.SELL, "0.25")
        now = exchange.milliseconds() + 1_000
        markets = await exchange.load_markets()
        ticker = await exchange.fetch_ticker(BTC)
        tickers = await exchange.fetch_tickers()
        book = await exchange.fetch_order_book(BTC, 25)
        levels = await exchange.fetch_order_book(BTC, 25, {"precision": "P0"})
        coarse = await exchange.fetch_order_book(BTC, 25, {"precision": "P1"})
        trades = await exchange.fetch_trades(BTC)
        newest = await exchange.fetch_trades(BTC, None, 1)
        bars = await exchange.fetch_ohlcv(BTC, "5m", None, 20)

        assert set(markets) == {BTC, PERPETUAL}
        assert (markets[BTC]["id"], markets[PERPETUAL]["id"]) == ("tBTCUSD", "tBTCF0:USTF0")
        assert markets[BTC]["limits"]["amount"] == {"min": 0.00006, "max": 2_000.0}
        assert (ticker["bid"], ticker["ask"], ticker["last"]) == (59_994.0, 60_006.0, 59_994.0)
        assert set(tickers) == {BTC, PERPETUAL}
        assert [level[0] for level in book["bids"][:3]] == [59_994, 59_988, 59_982]
        assert levels["asks"][:2] == [[60_006.0, 16.16666666], [60_012.0, 16.66666666]]
        # Coarser levels are no better than what is there: bids go down, asks up.
        assert (coarse["bids"][0][0], coarse["asks"][0][0]) == (59_990.0, 60_010.0)
        assert [(t["side"], t["amount"]) for t in trades[-2:]] == [("buy", 0.5), ("sell", 0.25)]
        assert newest[0]["id"] == trades[-1]["id"]
        assert len(bars) == 20
        assert bars[-1][1:] == [60_000.0, 60_006.0, 59_994.0, 59_994.0, 0.75000001]
        assert (await exchange.fetch_status())["status"] == "ok"
        for market in markets.values():
            validate("market", exchange, market, skipped=("currencyIdAndCode", "marginModes"))
        validate("ticker", exchange, ticker, BTC)
        validate("order_book", exchange, book, BTC)
        validate("trade", exchange, trades[-1], BTC, now, True)
        validate("ohlcv", exchange, bars[-1], BTC, now)


async def test_an_order_from_its_placing_to_its_end() -> None:
    async with pair() as (_, exchange):
        named = {"clientOrderId": 77}
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000, named)
        found = await exchange.fetch_order(made["id"])
        held = await exchange.fetch_balance()
        amended = await exchange.edit_order(made["id"], BTC, "limit", "buy", 0.2, 58_500)
        (open_one,) = await exchange.fetch_open_orders(BTC)
        await exchange.cancel_order(made["id"])
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.cancel_order(made["id"])
        (closed,) = await exchange.fetch_closed_orders(BTC)

        assert (found["status"], found["amount"], found["clientOrderId"]) == ("open", 0.1, "77")
        assert held["USD"] == {"free": 94_100.0, "used": 5_900.0, "total": 100_000.0}
        assert (amended["id"], amended["amount"], amended["price"]) == (made["id"], 0.2, 58_500.0)
        assert open_one["price"] == 58_500.0
        assert (closed["status"], closed["filled"]) == ("canceled", 0.0)
        now = exchange.milliseconds() + 1_000
        for order in (made, found, amended, open_one, closed):
            validate("order", exchange, order, BTC, now)
        validate("balance", exchange, held)


async def test_a_buyer_pays_in_what_he_gets() -> None:
    async with pair() as (_, exchange):
        buy = await exchange.create_order(BTC, "market", "buy", 0.1)
        done = (await exchange.fetch_closed_orders(BTC))[0]
        await exchange.create_order(BTC, "market", "sell", 0.1)
        trades = await exchange.fetch_my_trades(BTC)
        (own,) = await exchange.fetch_order_trades(buy["id"], BTC)
        balance = await exchange.fetch_balance()
        fees = await exchange.fetch_trading_fees()

        # The answer to a request comes before the matching: nothing has filled in it.
        assert (buy["status"], buy["filled"]) == ("open", 0.0)
        assert (done["status"], done["filled"], done["average"]) == ("closed", 0.1, 60_006.0)
        assert [t["fee"] for t in trades] == [
            {"currency": "BTC", "cost": 0.0002},
            {"currency": "USD", "cost": 11.9988},
        ]
        assert own["id"] == trades[0]["id"]
        assert balance["BTC"]["total"] == pytest.approx(1.9998)
        assert balance["USD"]["total"] == pytest.approx(100_000 - 6_000.6 + 5_999.4 - 11.9988)
        assert (fees[BTC]["maker"], fees[BTC]["taker"]) == (0.001, 0.002)
        now = exchange.milliseconds() + 1_000
        for trade in trades:
            validate("trade", exchange, trade, BTC, now, False)


async def test_types_of_orders() -> None:
    async with pair() as (server, exchange):
        await exchange.create_order(BTC, "limit", "sell", 1, 61_000, {"timeInForce": "IOC"})
        await exchange.create_order(BTC, "limit", "sell", 1, 61_000, {"timeInForce": "FOK"})
        await exchange.create_order(BTC, "limit", "sell", 1, 59_000, {"postOnly": True})
        rested = await exchange.create_order(BTC, "limit", "sell", 0.5, 61_000, {"postOnly": True})
        stop = await exchange.create_order(
            BTC, "market", "sell", 0.1, None, {"triggerPrice": 59_000}
        )
        states = [order["info"][13] for order in await exchange.fetch_closed_orders(BTC)]
        waiting = {order["id"]: order for order in await exchange.fetch_open_orders(BTC)}
        quiet(server).move(BTC, 58_900)
        (fired,) = (o for o in await exchange.fetch_closed_orders(BTC) if o["id"] == stop["id"])

        assert sorted(states) == ["FILLORKILL CANCELED", "IOC CANCELED", "POSTONLY CANCELED"]
        assert waiting[rested["id"]]["postOnly"]
        assert waiting[stop["id"]]["triggerPrice"] == 59_000.0
        assert fired["status"] == "closed"


REFUSED: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    (
        (BTC, "limit", "buy", 2, 59_000, {}),
        ccxt.InsufficientFunds,
        "not enough exchange balance",
    ),
    (
        (BTC, "limit", "sell", 3, 61_000, {}),
        ccxt.InsufficientFunds,
        "not enough exchange balance",
    ),
    # 10001 is what Bitfinex says to most things, and what the client takes for a lack of rights.
    (
        (BTC, "limit", "buy", 0.00001, 59_000, {}),
        ccxt.PermissionDenied,
        "minimum size for BTC/USD",
    ),
    (
        (BTC, "limit", "buy", 0.1, 59_000, {"clientOrderId": "abc"}),
        ccxt.BadRequest,
        "cid: invalid",
    ),
    ((BTC, "limit", "buy", 0.1, 59_000, {"flags": 64}), ccxt.BadRequest, "flags: invalid"),
    (
        (BTC, "limit", "buy", 0.1, 59_000, {"marginMode": "cross"}),
        ccxt.PermissionDenied,
        "LIMIT is not",
    ),
]


async def test_refusals_come_as_error_rows() -> None:
    async with pair() as (_, exchange):
        for order, error, text in REFUSED:
            with pytest.raises(error, match=text):
                await exchange.create_order(*order)

        assert await exchange.fetch_open_orders() == []


async def test_unknown_symbols_are_refused() -> None:
    async with pair() as (_, exchange):
        await exchange.load_markets()
        for ask in (exchange.public_get_ticker_symbol, exchange.public_get_trades_symbol_hist):
            with pytest.raises(ccxt.BadSymbol, match="symbol: invalid"):
                await ask({"symbol": "tXXXYYY"})


async def test_bad_parameters_are_refused() -> None:
    async with pair() as (_, exchange):
        await exchange.load_markets()
        for ask, values in (
            (exchange.public_get_trades_symbol_hist, {"symbol": "tBTCUSD", "limit": "many"}),
            (exchange.public_get_book_symbol_precision, {"symbol": "tBTCUSD", "precision": "P9"}),
            (exchange.private_post_auth_r_orders, {"id": 5}),
            (exchange.private_post_auth_w_token, {}),
        ):
            with pytest.raises(ccxt.BadRequest, match="invalid"):
                await ask(values)


async def test_orders_are_cancelled_by_the_clients_id_and_its_day() -> None:
    async with pair() as (_, exchange):
        day = exchange.iso8601(exchange.milliseconds())[:10]
        named = {"clientOrderId": 4711}
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000, named)
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.cancel_order(
                "", BTC, {**named, "cidDate": "2001-01-01", "cid_date": "2001-01-01"}
            )
        gone = await exchange.cancel_order("", BTC, {**named, "cidDate": day})
        first = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000, named)
        # Two orders may have one client id: it is not checked.
        second = await exchange.create_order(BTC, "limit", "buy", 0.1, 58_000, named)
        batch = await exchange.cancel_orders([first["id"]])
        every = await exchange.cancel_all_orders()

        assert gone["id"] == made["id"]
        assert [order["id"] for order in batch] == [first["id"]]
        assert [order["id"] for order in every] == [second["id"]]
        assert await exchange.fetch_open_orders() == []


async def test_derivatives_trade_in_the_margin_wallet() -> None:
    async with pair() as (_, exchange):
        await exchange.create_order(PERPETUAL, "market", "buy", 0.1, None, {"lev": 10})
        await exchange.create_order(PERPETUAL, "limit", "sell", 0.2, 61_000, {"reduceOnly": True})
        (position,) = await exchange.fetch_positions()
        (order,) = await exchange.fetch_open_orders(PERPETUAL)
        (trade,) = await exchange.fetch_my_trades(PERPETUAL)
        wallets = await exchange.fetch_balance({"type": "derivatives"})
        spot = await exchange.fetch_balance()

        assert (position["symbol"], position["side"]) == (PERPETUAL, "long")
        assert (position["entryPrice"], position["leverage"]) == (60_006.0, 10.0)
        assert order["amount"] == 0.1  # cut to the position
        assert trade["fee"] == {"currency": "USDT", "cost": pytest.approx(3.90039)}
        assert wallets["USDT"]["total"] == pytest.approx(50_000 - 3.90039)
        assert wallets["USDT"]["used"] == pytest.approx(600.06, rel=0.02)
        assert "USDT" not in spot


async def test_keys_signatures_and_nonces_are_checked() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        await exchange.load_markets()
        exchange.incrementing_nonce = lambda: 10**15
        await exchange.fetch_balance()
        with pytest.raises(ccxt.InvalidNonce, match="nonce: small"):
            await exchange.fetch_balance()
        # The socket counts with REST.
        refused = await socket.log_in(10**15)
        assert (refused["status"], refused["code"], refused["msg"]) == (
            "FAILED",
            10114,
            "nonce: small",
        )
        assert (await socket.log_in(10**15 + 1, "wrong"))["msg"] == "apikey: digest invalid"
        assert (await socket.log_in(10**15 + 1))["status"] == "OK"
        assert (await socket.log_in(10**15 + 2))["msg"] == "auth: dup"
        exchange.incrementing_nonce = lambda: 10**15 + 2
        exchange.secret = "other"
        with pytest.raises(ccxt.AuthenticationError, match="digest invalid"):
            await exchange.fetch_balance()
        exchange.secret = bitfinex.SECRET
        assert ["orders", 1, 1] in await exchange.private_post_auth_r_permissions()
        server.faults.expired.add(bitfinex.KEY)
        exchange.incrementing_nonce = lambda: 10**15 + 3
        with pytest.raises(ccxt.AuthenticationError, match="apikey: invalid"):
            await exchange.fetch_balance()


async def test_scripted_faults_of_requests() -> None:
    async with pair() as (server, exchange):
        await exchange.load_markets()
        server.faults.once("*order/submit", LOST)
        with pytest.raises(ccxt.NetworkError):
            await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        assert len(await exchange.fetch_open_orders()) == 1
        server.faults.once("*r/wallets", Fault(Kind.RATE_LIMITED))
        with pytest.raises(ccxt.RateLimitExceeded):
            await exchange.fetch_balance()
        server.faults.once("*order/submit", Fault(Kind.CODE, code=20060, message="maintenance"))
        with pytest.raises(ccxt.OnMaintenance):
            await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        server.faults.once("order", Fault(Kind.LATE, seconds=0.05))
        await exchange.create_order(BTC, "limit", "buy", 0.1, 58_000)
        assert len(await exchange.fetch_open_orders()) == 1
        await until(lambda: len(server.floor.orders("main")) == 2)
        assert len(await exchange.fetch_open_orders()) == 2
        server.streams.announce(20_060)
        assert (await exchange.fetch_status())["status"] == "maintenance"


# --- public streams -------------------------------------------------------------------------------


async def test_public_streams_of_the_real_client() -> None:
    async with pair() as (server, exchange):
        async with asyncio.timeout(30):
            book = await exchange.watch_order_book(BTC)
            ticker = await exchange.watch_ticker(BTC)
            trades = await exchange.watch_trades(BTC)
            bars = await exchange.watch_ohlcv(BTC, "1m")
        assert book["asks"][0] == [60_006.0, 16.66666666, 1.0]
        assert ticker["last"] == trades[-1]["price"] == bars[-1][4] == 60_000.0

        async with (
            watching(lambda: exchange.watch_order_book(BTC)) as books,
            watching(lambda: exchange.watch_ticker(BTC)) as tickers,
            watching(lambda: exchange.watch_trades(BTC)) as traded,
            watching(lambda: exchange.watch_ohlcv(BTC, "1m")) as barred,
        ):
            # The client asks for checksums behind its subscription, and looks at each.
            await until(lambda: server.streams.clients[0].flags == CHECKSUM)
            quiet(server).trade(BTC, Side.BUY, "20")
            await until(lambda: books and tickers and traded and barred)
            quiet(server).move(BTC, 59_000)
            quiet(server).move(BTC, 61_000)
            best = await until(lambda: books[-1] if books[-1]["asks"][0][0] == 61_006.0 else None)

            now = exchange.milliseconds() + 1_000
            assert len(best["bids"]) == len(best["asks"]) == 25
            assert [row["side"] for row in traded[-1]][-1] == "buy"
            assert await until(lambda: [each for each in barred if each[-1][4] == 61_000.0])
            validate("order_book", exchange, best, BTC, skipped=("timestamp", "datetime"))
            validate("ticker", exchange, tickers[-1], BTC)
            validate("trade", exchange, traded[-1][-1], BTC, now, True)
            validate("ohlcv", exchange, barred[-1][-1], BTC, now)


async def test_a_wrong_checksum_is_noticed() -> None:
    async with pair() as (server, exchange):
        await exchange.watch_order_book(BTC)
        await until(lambda: server.streams.clients[0].flags == CHECKSUM)
        server.faults.once("*:cs", Fault(Kind.GAP))
        waiting = asyncio.create_task(exchange.watch_order_book(BTC))
        await asyncio.sleep(0)
        quiet(server).trade(BTC, Side.BUY, "1")
        await waiting
        # The checksum comes behind the change it is of, so the next one who asks hears of it.
        with pytest.raises(ccxt.ChecksumError):
            await exchange.watch_order_book(BTC)


async def test_raw_books_name_orders() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        await socket.send({"event": "conf", "flags": CHECKSUM | SEQUENCE})
        await socket.send(
            {
                "event": "subscribe",
                "channel": "book",
                "symbol": "tBTCUSD",
                "prec": "R0",
                "len": "25",
            }
        )
        channel = (await socket.event("subscribed"))["chanId"]
        snapshot = await socket.row(channel)
        checksum = await socket.row(channel)
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 60_000)
        told = [await socket.row(channel) for _ in range(3)]
        await exchange.cancel_order(made["id"])
        gone = [await socket.row(channel) for _ in range(3)]

        assert (len(snapshot[1]), snapshot[2]) == (50, 1)
        assert (checksum[1], checksum[3]) == ("cs", 2)
        # It came in at the top, so the last of 25 left the view.
        assert [int(made["id"]), 60_000, 0.1] in [row[1] for row in told]
        assert [int(made["id"]), 0, 1] in [row[1] for row in gone]
        assert [row[-1] for row in (*told, *gone)] == [3, 4, 5, 6, 7, 8]


async def test_subscriptions_that_cannot_be() -> None:
    async with bitfinex.serve(heartbeat_s=0.02) as server, raw(server) as socket:
        assert (await socket.event("info"))["platform"] == {"status": 1}
        for message, code, text in (
            ({"channel": "ticker", "symbol": "tNONONO"}, 10300, "symbol: invalid"),
            ({"channel": "book", "symbol": "tBTCUSD", "prec": "P9"}, 10300, "prec: invalid"),
            ({"channel": "book", "symbol": "tBTCUSD", "len": "3"}, 10300, "len: invalid"),
            ({"channel": "candles", "key": "trade:9m:tBTCUSD"}, 10300, "key: invalid"),
            ({"channel": "news"}, 10302, "channel: unknown"),
        ):
            await socket.send({"event": "subscribe", **message})
            error = await socket.event("error")
            assert (error["code"], error["msg"]) == (code, text)
        await socket.send({"event": "subscribe", "channel": "ticker", "symbol": "tBTCUSD"})
        done = await socket.event("subscribed")
        assert done["pair"] == "BTCUSD"
        await socket.send({"event": "subscribe", "channel": "ticker", "symbol": "tBTCUSD"})
        assert (await socket.event("error"))["code"] == 10301
        while (await socket.row(done["chanId"]))[1] != "hb":
            pass
        await socket.send({"event": "unsubscribe", "chanId": done["chanId"]})
        assert (await socket.event("unsubscribed"))["status"] == "OK"
        await socket.send({"event": "unsubscribe", "chanId": done["chanId"]})
        assert (await socket.event("error"))["code"] == 10400
        await socket.send({"event": "ping", "cid": 5})
        assert (await socket.event("pong"))["cid"] == 5
        await socket.send([0, "on", None, {}])
        assert (await socket.event("error"))["msg"] == "auth: required"
        server.streams.announce(20_051, "Stopping")
        assert (await socket.event("info"))["code"] == 20_051


# --- the private channel --------------------------------------------------------------------------


async def test_private_streams_of_the_real_client() -> None:
    async with (
        pair() as (_, exchange),
        watching(lambda: exchange.watch_orders(BTC)) as orders,
        watching(lambda: exchange.watch_my_trades(BTC)) as fills,
        watching(exchange.watch_balance) as balances,
    ):
        await until(lambda: balances)  # the snapshot of wallets: the login is through
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        await until(lambda: orders)
        await exchange.cancel_order(made["id"])
        await until(lambda: orders[-1][-1]["status"] == "canceled")
        market = await exchange.create_order(BTC, "market", "buy", 0.3)
        await until(lambda: fills and orders[-1][-1]["id"] == market["id"])
        await until(lambda: balances[-1].get("BTC", {}).get("total") == 2.2994)

        assert orders[-1][-1]["status"] == "closed"
        assert fills[0][-1]["order"] == market["id"]
        # The socket's fee keeps the sign of the wallet: a charge is below zero.
        assert fills[0][-1]["fee"] == {"currency": "BTC", "cost": pytest.approx(-0.0006)}
        now = exchange.milliseconds() + 1_000
        validate("order", exchange, orders[-1][-1], BTC, now)
        validate("trade", exchange, fills[0][-1], BTC, now, False)


async def test_a_login_that_fails_is_raised() -> None:
    async with pair() as (_, exchange):
        await exchange.load_markets()
        exchange.secret = "wrong"
        with pytest.raises(ccxt.AuthenticationError, match="digest invalid"):
            await exchange.watch_orders()


async def test_the_private_channel_tells_in_bitfinexs_order() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        rests = await exchange.create_order(BTC, "limit", "buy", 0.2, 59_000)
        await socket.send({"event": "conf", "flags": SEQUENCE})
        await socket.log_in(10**15)
        snapshots = [await socket.row(0) for _ in range(4)]
        exchange.incrementing_nonce = iter(range(10**15 + 1, 10**15 + 100)).__next__
        await exchange.create_order(BTC, "market", "buy", 0.1)
        bought = [await socket.row(0) for _ in range(6)]
        quiet(server).trade(BTC, Side.SELL, "0.05", "59000")
        quiet(server).set_book(BTC, [], [(59_100, 1)])
        quiet(server).trade(BTC, Side.SELL, "0.05")
        partly: list[Any] = []
        while not partly or partly[-1][1] != "bu":
            partly.append(await socket.row(0))
        await exchange.cancel_order(rests["id"])
        over = [await socket.row(0) for _ in range(3)]

        assert [row[1] for row in snapshots] == ["ps", "ws", "os", "bu"]
        assert [row[0] for row in snapshots[2][2]] == [int(rests["id"])]
        # No "on" for what ended at once; "te" without a fee first, "tu" with it last.
        assert [row[1] for row in bought] == ["te", "oc", "wu", "wu", "tu", "bu"]
        assert bought[0][2][9:11] == [None, None]
        assert bought[4][2][9:11] == [-0.0002, "BTC"]
        assert bought[1][2][13] == "EXECUTED @ 60006(0.1)"
        kinds = [row[1] for row in partly]
        assert (kinds.index("te"), kinds.index("ou")) == (0, 1)
        assert partly[1][2][13].startswith("PARTIALLY FILLED @ 59000(0.05)")
        assert (over[0][1], over[0][2][13]) == (
            "oc",
            "CANCELED was: PARTIALLY FILLED @ 59000(0.05)",
        )
        every = [*snapshots, *bought, *partly, *over]
        assert [row[-1] for row in every] == list(range(1, len(every) + 1))
        assert [row[-2] for row in every] == [row[-1] for row in every]


async def test_orders_over_the_socket() -> None:
    async with bitfinex.serve() as server, raw(server) as socket:
        await socket.log_in(10**15)
        for _ in range(4):
            await socket.row(0)
        order = {
            "type": "EXCHANGE LIMIT",
            "symbol": "tBTCUSD",
            "amount": "0.1",
            "price": "59000",
            "cid": 9,
        }
        await socket.send([0, "on", None, order])
        note, made = await socket.row(0), await socket.row(0)
        number = made[2][0]
        rest = [await socket.row(0) for _ in range(2)]
        await socket.send([0, "ou", None, {"id": number, "delta": "0.1", "price": "59100"}])
        change, changed = await socket.row(0), await socket.row(0)
        for _ in range(2):
            await socket.row(0)
        await socket.send([0, "on", None, {**order, "amount": "50"}])
        refused = await socket.row(0)
        await socket.send([0, "ox_multi", None, [["oc", {"id": number}], ["oc", {"id": 1}]]])
        cancelled = [await socket.row(0) for _ in range(5)]
        await socket.send([0, "on", None, {**order, "flags": "x"}])
        unread = await socket.row(0)
        await socket.send([0, "calc", None, [["balance"]]])
        worth = await socket.row(0)

        assert note[1:2] == ["n"]
        assert note[2][1:2] + note[2][6:] == [
            "on-req", "SUCCESS", "Submitting exchange limit buy order for 0.1 BTC.",
        ]  # fmt: skip
        assert (made[1], made[2][2], made[2][13]) == ("on", 9, "ACTIVE")
        assert [row[1] for row in rest] == ["wu", "bu"]
        assert (change[2][1], changed[1], changed[2][7], changed[2][16]) == (
            "ou-req",
            "ou",
            0.2,
            59_100,
        )
        assert (refused[2][6], refused[2][4][2]) == ("ERROR", 9)
        assert "not enough exchange balance" in refused[2][7]
        assert [row[1] for row in cancelled] == ["n", "oc", "wu", "bu", "n"]
        assert cancelled[-1][2][7] == "Order not found."
        assert (unread[2][1], unread[2][7]) == ("on-req", "parameters: invalid")
        assert worth[1] == "bu"
        assert server.floor.orders("main") == []


async def test_positions_are_told() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        await exchange.load_markets()
        await socket.log_in(10**15)
        exchange.incrementing_nonce = iter(range(10**15 + 1, 10**15 + 100)).__next__
        for side in ("buy", "buy", "sell"):
            amount = 0.2 if side == "sell" else 0.1
            await exchange.create_order(PERPETUAL, "market", side, amount)
        told: list[Any] = []
        while not told or told[-1][1] != "pc":
            row = await socket.row(0)
            if row[1] in {"pn", "pu", "pc"}:
                told.append(row)

        assert [row[1] for row in told] == ["pn", "pu", "pc"]
        assert [row[2][1:3] for row in told] == [["ACTIVE", 0.1], ["ACTIVE", 0.2], ["CLOSED", 0]]


# --- the real one, recorded -----------------------------------------------------------------------


def gaps(sequence: list[int]) -> list[int]:
    """Where a sequence does not go on by one."""
    return [after for before, after in itertools.pairwise(sequence) if after != before + 1]


@pytest.mark.skipif(not RECORDING.exists(), reason=f"needs {RECORDING.name}, which lies outside")
async def test_the_recorded_books_are_read_as_ours_are() -> None:
    channels: dict[int, dict[str, Any]] = {}
    books: dict[str, dict[tuple[str, bool], tuple[str, str]]] = {}
    sequence: list[int] = []
    deleted = 0
    exchange = ccxt.pro.bitfinex({"timeout_on_exit": 0})
    exchange.options["checksum"] = False
    socket = exchange.client("ws://127.0.0.1:9/ws/2")
    with gzip.open(RECORDING, "rt") as file:
        for line in file:
            _, _, text = line.strip().partition(": ")
            if line.startswith("wss") or not text:
                continue  # what was sent
            message = json.loads(text, parse_float=str)
            if isinstance(message, dict):
                if message["event"] == "subscribed":
                    channels[message["chanId"]] = message
                    exchange.handle_subscription_status(socket, json.loads(text))
                continue
            sequence.append(message[-1])
            channel = channels.get(message[0], {})
            if channel.get("channel") != "book" or message[1] == "hb":
                continue
            exchange.handle_message(socket, json.loads(text)[:-1])
            data = message[1]
            book = books.setdefault(channel["symbol"], {})
            for price, count, amount in data if isinstance(data[0], list) else [data]:
                place = (str(price), not str(amount).startswith("-"))
                if count:
                    book[place] = (str(count), str(amount))
                else:
                    # A deletion names a level that is there, and its amount only tells the side.
                    assert str(amount) in {"1", "-1"}
                    del book[place]
                    deleted += 1
            assert max(sum(bid for _, bid in book), sum(not bid for _, bid in book)) <= 100

    assert (len(sequence), gaps(sequence)) == (1_670, [])
    assert gaps([*sequence[:800], *sequence[801:]]) == [sequence[801]]
    assert deleted > 300
    assert len(books) == 7
    for symbol, book in books.items():
        parsed = exchange.orderbooks[exchange.safe_symbol(symbol)]
        for name, bid in (("bids", True), ("asks", False)):
            mine = {
                float(price): abs(float(row[1]))
                for (price, side), row in book.items()
                if side is bid
            }
            assert {level[0]: level[1] for level in parsed[name]} == mine
    await exchange.close()
