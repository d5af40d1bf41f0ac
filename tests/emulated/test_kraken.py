"""The emulated Kraken, as the real client sees it, and as its frames are."""

import asyncio
import json  # the only parser that gives the digits of a number
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import ccxt
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from realtime.emulate.faults import LOST, Fault, Kind
from realtime.emulate.quiet import QuietMarket
from realtime.model.market import BookDelta, BookSnapshot
from realtime.model.orders import Side
from realtime.venues.ccxt.books import NATIVE, Gap
from tests.emulated import kraken, kraken_rows as rows, kraken_streams
from tests.emulated.clients import client, until, validate, watching
from tests.emulated.kraken import Kraken


BTC = "BTC/USD"
HEX = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def pair(**more: Any) -> AsyncIterator[tuple[Kraken, Any]]:
    """A server and a client that has a key."""
    async with (
        kraken.serve(**more) as server,
        client("kraken", server.endpoint, kraken.KEY, kraken.SECRET) as exchange,
    ):
        yield server, exchange


def quiet(server: Kraken) -> QuietMarket:
    assert isinstance(server.floor.source, QuietMarket)
    return server.floor.source


class Raw:
    """A bare socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, method: str, **params: Any) -> None:
        message = {"method": method, "params": params, "req_id": 7}
        await self.socket.send(orjson.dumps(message).decode())

    async def frame(self, **wanted: Any) -> tuple[dict[str, Any], str]:
        """The next frame with these fields, parsed and as text."""
        async with asyncio.timeout(30):
            while True:
                text = str(await self.socket.recv())
                message = orjson.loads(text)
                if all(message.get(name) == value for name, value in wanted.items()):
                    return message, text

    async def get(self, **wanted: Any) -> dict[str, Any]:
        return (await self.frame(**wanted))[0]


@asynccontextmanager
async def raw(server: Kraken) -> AsyncIterator[Raw]:
    async with connect(server.endpoint.replace("http", "ws") + "/v2", proxy=None) as socket:
        yield Raw(socket)


def levels(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Bids and asks of a book frame with their digits as they came."""
    row = json.loads(text, parse_float=str, parse_int=str)["data"][0]
    bids, asks = (
        [(level["price"], level["qty"]) for level in row[side]] for side in ("bids", "asks")
    )
    return bids, asks


def folded(
    sides: tuple[dict[str, str], dict[str, str]], text: str, depth: int = 10
) -> tuple[dict[str, str], dict[str, str]]:
    """A client's book after a frame: deletions, changes, then cut to its depth."""
    result = []
    for held, changes, high in zip(sides, levels(text), (True, False), strict=True):
        book = dict(held)
        for price, amount in changes:
            if Decimal(amount):
                book[price] = amount
            else:
                book.pop(price, None)
        best = sorted(book, key=Decimal, reverse=high)[:depth]
        result.append({price: book[price] for price in best})
    return result[0], result[1]


# --- pure -----------------------------------------------------------------------------------------


def test_the_checksum_is_the_one_of_krakens_own_example() -> None:
    asks = [
        ("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109"),
        ("45289.6", "1.54560911"), ("45290.2", "0.15890660"), ("45291.8", "1.54553491"),
        ("45294.7", "0.04454749"), ("45296.1", "0.35380000"), ("45297.5", "0.09945542"),
        ("45299.5", "0.18772827"),
    ]  # fmt: skip
    bids = [
        ("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000"),
        ("45281.0", "0.10000000"), ("45280.3", "1.54592586"), ("45279.0", "0.07990000"),
        ("45277.6", "0.03310103"), ("45277.5", "0.30000000"), ("45277.3", "1.54602737"),
        ("45276.6", "0.15445238"),
    ]  # fmt: skip

    assert rows.checksum(bids, asks) == 3310070434
    assert rows.checksum([*bids, ("45270.0", "1.0")], asks) == 3310070434


def test_the_signature_is_the_one_of_krakens_own_example() -> None:
    secret = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    )
    body = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"

    signed = rows.sign(secret, "/0/private/AddOrder", "1616492376594", body)

    assert signed == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


@pytest.mark.parametrize(
    ("symbol", "names"),
    [
        ("BTC/USD", ("XXBTZUSD", "XBTUSD", "XBT/USD")),
        ("ETH/BTC", ("XETHXXBT", "ETHXBT", "ETH/XBT")),
        ("BTC/USDT", ("XBTUSDT", "XBTUSDT", "XBT/USDT")),
        ("SOL/USD", ("SOLUSD", "SOLUSD", "SOL/USD")),
        ("DOGE/USD", ("XDGUSD", "XDGUSD", "XDG/USD")),
    ],
)
def test_pairs_have_krakens_names(symbol: str, names: tuple[str, str, str]) -> None:
    pair = rows.pair_of(kraken.market(symbol, "0.1", "0.00000001", "0.0001"))

    assert (pair.id, pair.altname, pair.wsname, pair.name) == (*names, symbol)


@pytest.mark.parametrize("text", ["abc123", HEX, "6d1b345e-2821-40e2-ad83-4ecb18a06876", "a" * 18])
def test_a_client_id_is_short_or_hexadecimal(text: str) -> None:
    assert rows.check_cl_ord_id(text) == text


@pytest.mark.parametrize("text", ["", "Abc", "a" * 19, "a-b", HEX[:-1] + "g", HEX + "-"])
def test_other_client_ids_are_refused(text: str) -> None:
    with pytest.raises(rows.Refusal, match="cl_ord_id"):
        rows.check_cl_ord_id(text)


def test_what_only_left_the_view_is_not_deleted() -> None:
    before = [("5", "1"), ("4", "1"), ("3", "1")]
    pushed = kraken_streams.changed(
        before, [("6", "2"), ("5", "1"), ("4", "1")], 3, best_is_high=True
    )
    deleted = kraken_streams.changed(
        before, [("5", "1"), ("3", "2"), ("2", "1")], 3, best_is_high=True
    )

    assert pushed == [("6", "2")]
    assert deleted == [("4", "0"), ("3", "2"), ("2", "1")]


# --- REST -----------------------------------------------------------------------------------------


async def test_market_data_over_rest() -> None:
    async with pair() as (server, exchange):
        quiet(server).trade(BTC, Side.BUY, "0.5")
        now = exchange.milliseconds() + 1_000
        markets = await exchange.load_markets()
        ticker = await exchange.fetch_ticker(BTC)
        book = await exchange.fetch_order_book(BTC, 5)
        trades = await exchange.fetch_trades(BTC)
        bars = await exchange.fetch_ohlcv(BTC, "5m", None, 20)

        assert set(markets) == {"BTC/USD", "ETH/USD"}
        assert markets[BTC]["id"] == "XXBTZUSD"
        assert markets[BTC]["precision"] == {"amount": 1e-08, "price": 0.1}
        assert (markets[BTC]["maker"], markets[BTC]["taker"]) == (0.0016, 0.0026)
        assert exchange.currencies["BTC"]["id"] == "XXBT"
        assert (ticker["bid"], ticker["ask"], ticker["last"]) == (59_994.0, 60_006.0, 60_006.0)
        assert [level[0] for level in book["bids"]] == [59994, 59988, 59982, 59976, 59970]
        assert (trades[-1]["price"], trades[-1]["amount"], trades[-1]["side"]) == (
            60006,
            0.5,
            "buy",
        )
        assert len(bars) == 20
        assert bars[-1][4] == 60_006.0
        assert await exchange.fetch_status() is not None
        assert abs(await exchange.fetch_time() - now) < 3_000
        for market in markets.values():
            validate("market", exchange, market, skipped=("currencyIdAndCode",))
        validate("ticker", exchange, ticker, BTC)
        validate("order_book", exchange, book, BTC, skipped=("timestamp", "datetime"))
        validate("trade", exchange, trades[-1], BTC, now, True)
        validate("ohlcv", exchange, bars[-1], BTC, now)


async def test_an_order_from_its_placing_to_its_end() -> None:
    async with pair() as (_, exchange):
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        found = await exchange.fetch_order(made["id"])
        await exchange.edit_order(made["id"], BTC, "limit", "buy", 0.2, 58_500)
        (amended,) = await exchange.fetch_open_orders(BTC)
        held = await exchange.fetch_balance()
        await exchange.cancel_order(made["id"])
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.cancel_order(made["id"])
        (closed,) = await exchange.fetch_closed_orders(BTC)

        assert (found["status"], found["amount"], found["price"]) == ("open", 0.1, 59_000.0)
        assert (amended["id"], amended["amount"], amended["price"]) == (made["id"], 0.2, 58_500.0)
        assert held["USD"] == {"free": 88_300.0, "used": 11_700.0, "total": 100_000.0}
        assert (closed["status"], closed["filled"]) == ("canceled", 0.0)
        now = exchange.milliseconds() + 1_000
        for order in (found, amended, closed):
            # `fee` is left as text by the parser, `fees` is not.
            validate("order", exchange, {**order, "fee": order["fees"][0]}, BTC, now)
        validate("balance", exchange, held)


async def test_both_sides_of_a_trade_pay_in_quote_currency() -> None:
    async with pair() as (_, exchange):
        await exchange.create_order(BTC, "market", "buy", 0.1)
        await exchange.create_order(BTC, "market", "sell", 0.1)
        await exchange.create_market_buy_order_with_cost(BTC, 6_000.6)
        trades = await exchange.fetch_my_trades(BTC)
        balance = await exchange.fetch_balance()
        orders = await exchange.fetch_closed_orders(BTC)

        assert sorted(trade["side"] for trade in trades) == ["buy", "buy", "sell"]
        assert {trade["fee"]["currency"] for trade in trades} == {"USD"}
        buy = next(trade for trade in trades if trade["side"] == "buy")
        assert buy["fee"]["cost"] == pytest.approx(6_000.6 * 0.0026)
        assert balance["BTC"]["total"] == pytest.approx(2.1)
        spent = sum(
            (1 if t["side"] == "buy" else -1) * t["cost"] + t["fee"]["cost"] for t in trades
        )
        assert balance["USD"]["total"] == pytest.approx(100_000 - spent)
        assert [order["status"] for order in orders] == ["closed"] * 3
        now = exchange.milliseconds() + 1_000
        for trade in trades:
            validate("trade", exchange, trade, BTC, now, False)
        whole = await exchange.fetch_order(orders[0]["id"])
        (found,) = await exchange.fetch_order_trades(
            whole["id"], BTC, params={"trades": whole["info"]["trades"]}
        )
        assert found["order"] == whole["id"]


async def test_triggers_wait_and_fire() -> None:
    async with pair() as (server, exchange):
        made = await exchange.create_order(
            BTC, "market", "sell", 0.1, None, {"stopLossPrice": 59_000}
        )
        trailing = await exchange.create_order(
            BTC, "market", "sell", 0.1, None, {"trailingPercent": "2"}
        )
        waiting = {order["id"]: order for order in await exchange.fetch_open_orders(BTC)}
        quiet(server).move(BTC, 58_900)
        done = await exchange.fetch_order(made["id"])

        assert waiting[made["id"]]["stopLossPrice"] == 59_000.0
        assert waiting[trailing["id"]]["info"]["descr"]["price"] == "+2.0000%"
        assert done["status"] == "closed"


async def test_a_client_id_is_found_where_kraken_looks_for_it() -> None:
    async with pair() as (_, exchange):
        named = {"clientOrderId": HEX}
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000, named)
        (found,) = await exchange.fetch_open_orders(BTC, None, None, named)
        # S11: this look-up asks for another field, so its "not found" is true of every order.
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.fetch_order("", BTC, named)
        with pytest.raises(ccxt.ExchangeError, match="cl_ord_id not unique"):
            await exchange.create_order(BTC, "limit", "buy", 0.1, 58_000, named)
        await exchange.cancel_order("", BTC, named)
        again = await exchange.create_order(BTC, "limit", "buy", 0.1, 58_000, named)
        (closed,) = await exchange.fetch_closed_orders(BTC, None, None, named)

        assert found["id"] == made["id"]
        assert found["clientOrderId"] == HEX
        assert again["id"] != made["id"]
        assert closed["id"] == made["id"]


REFUSED: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    (("limit", "buy", 2.0, 59_000, {}), ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
    (("limit", "sell", 2.1, 61_000, {}), ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
    (("market", "buy", 1.7, None, {}), ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
    (("limit", "buy", 0.00001, 59_000, {}), ccxt.InvalidOrder, "EOrder:Order minimum not met"),
    (("limit", "buy", 0.1, 61_000, {"postOnly": True}), ccxt.ExchangeError, "Post only order"),
    (
        ("limit", "buy", 0.1, 59_000, {"clientOrderId": "Not Valid"}),
        ccxt.ExchangeError,
        "EGeneral:Invalid arguments:cl_ord_id",
    ),
    (
        ("limit", "buy", 0.1, 59_000, {"deadline": "2020-01-01T00:00:00Z"}),
        ccxt.ExchangeError,
        "EService:Deadline elapsed",
    ),
    (("limit", "buy", 0.1, 59_000, {"timeInForce": "DAY"}), ccxt.ExchangeError, "timeinforce"),
    (
        ("limit", "buy", 0.1, 59_000, {"userref": 1, "clientOrderId": "a"}),
        ccxt.ExchangeError,
        "exclusive",
    ),
]


async def test_refusals_come_as_error_arrays() -> None:
    async with pair() as (_, exchange):
        for order, error, text in REFUSED:
            with pytest.raises(error, match=text):
                await exchange.create_order(BTC, *order)

        assert await exchange.fetch_open_orders() == []
        assert (await exchange.fetch_balance())["USD"]["used"] == 0


async def test_the_fees_of_all_buys_together_must_be_there() -> None:
    async with pair() as (_, exchange):
        await exchange.create_order(BTC, "limit", "buy", 1.0, 50_000)
        # 50,000 are free, but 130 of them are the first order's fee.
        with pytest.raises(ccxt.InsufficientFunds):
            await exchange.create_order(BTC, "limit", "buy", 1.0, 49_800)
        await exchange.create_order(BTC, "limit", "buy", 1.0, 49_700)


async def test_keys_signatures_and_nonces_are_checked() -> None:
    async with pair() as (server, exchange):
        await exchange.load_markets()
        exchange.nonce = lambda: 10**15
        await exchange.fetch_balance()
        exchange.lastNonce = 0
        exchange.incrementing_nonce = lambda: 10**15
        with pytest.raises(ccxt.InvalidNonce, match="EAPI:Invalid nonce"):
            await exchange.fetch_balance()
        exchange.incrementing_nonce = lambda: 10**15 + 1
        exchange.secret = "bm90IHRoaXMgb25l"
        with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
            await exchange.fetch_balance()
        exchange.secret = kraken.SECRET
        # A call with a wrong signature used no nonce up.
        await exchange.fetch_balance()
        exchange.incrementing_nonce = lambda: 10**15 + 2
        server.faults.expired.add(kraken.KEY)
        with pytest.raises(ccxt.AuthenticationError, match="EAPI:Invalid key"):
            await exchange.fetch_balance()


async def test_bad_parameters_are_refused() -> None:
    async with pair() as (_, exchange):
        await exchange.load_markets()
        for ask, values in (
            (exchange.public_get_depth, {"pair": "XBTUSD", "count": "many"}),
            (exchange.public_get_ohlc, {"pair": "XBTUSD", "interval": 2}),
            (exchange.private_post_closedorders, {"ofs": "x"}),
            (exchange.private_post_queryorders, {}),
        ):
            with pytest.raises(ccxt.BadRequest, match="EGeneral:Invalid arguments"):
                await ask(values)
        for ask in (exchange.public_get_depth, exchange.public_get_ticker):
            with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
                await ask({"pair": "NONE"})
        with pytest.raises(ccxt.ExchangeError, match="EGeneral:Unknown method"):
            await exchange.private_post_withdraw({})
        with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown trade"):
            await exchange.private_post_querytrades({"txid": "TNO"})


async def test_cancelling_all_now_and_after_a_while() -> None:
    async with pair() as (server, exchange):
        first = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        await exchange.create_order("ETH/USD", "limit", "sell", 1, 3_100)
        await exchange.cancel_orders([first["id"]])
        (left,) = await exchange.fetch_open_orders()
        (answer,) = await exchange.cancel_all_orders()
        waits = await exchange.cancel_all_orders_after(60_000)
        stands = await exchange.cancel_all_orders_after(0)

        assert left["symbol"] == "ETH/USD"
        assert answer["info"]["result"]["count"] == 1
        assert waits["result"]["triggerTime"] > waits["result"]["currentTime"]
        assert stands["result"]["triggerTime"] == "0"
        assert server.calls[-3:] == ["CancelAll", "CancelAllOrdersAfter", "CancelAllOrdersAfter"]


async def test_scripted_faults_of_requests() -> None:
    async with pair() as (server, exchange):
        await exchange.load_markets()
        server.faults.once("*AddOrder", LOST)
        with pytest.raises(ccxt.NetworkError):
            await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        assert len(await exchange.fetch_open_orders()) == 1
        server.faults.once("*OpenOrders", Fault(Kind.HTML))
        assert await exchange.fetch_open_orders() == []  # S2: the client takes a page for nothing
        server.faults.once("*Balance*", Fault(Kind.RATE_LIMITED))
        with pytest.raises(ccxt.DDoSProtection):
            await exchange.fetch_balance()
        server.faults.once("*AddOrder", Fault(Kind.CODE, code="EService:Unavailable"))
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        server.faults.once("*Balance*", Fault(Kind.ERROR))
        with pytest.raises(ccxt.ExchangeNotAvailable):
            await exchange.fetch_balance()
        server.faults.once("order", Fault(Kind.LATE, seconds=0.1))
        late = await exchange.create_order(BTC, "limit", "buy", 0.1, 58_000)
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.fetch_order(late["id"])
        await until(
            lambda: server.floor.work("main", server.desk.tickets["main"][late["id"]].work.id)
        )
        assert (await exchange.fetch_order(late["id"]))["status"] == "open"
        server.faults.clock_ms = 5_000
        assert await exchange.fetch_time() - exchange.milliseconds() > 3_500


# --- public streams -------------------------------------------------------------------------------


async def test_every_book_frame_has_the_checksum_of_what_a_client_holds() -> None:
    async with kraken.serve() as server, raw(server) as socket:
        status = await socket.get(channel="status")
        await socket.send("subscribe", channel="book", symbol=[BTC], depth=10)
        ack = await socket.get(method="subscribe")
        message, text = await socket.frame(channel="book")
        assert status["data"][0]["system"] == "online"
        assert ack["result"] == {
            "channel": "book", "symbol": BTC, "snapshot": True, "depth": 10,
        }  # fmt: skip
        assert message["type"] == "snapshot"
        book = folded(({}, {}), text)
        market = quiet(server)

        changes: list[Callable[[], None]] = [
            lambda: market.trade(BTC, Side.BUY, "40"),
            lambda: market.move(BTC, 60_010),
            lambda: market.trade(BTC, Side.SELL, "0.12345678"),
            lambda: market.move(BTC, 59_000),
        ]
        for change in changes:
            change()
            message, text = await socket.frame(channel="book")
            while True:
                book = folded(book, text)
                digits = "".join(
                    part.replace(".", "").lstrip("0")
                    for side in (book[1], book[0])
                    for level in side.items()
                    for part in level
                )
                assert zlib.crc32(digits.encode()) == message["data"][0]["checksum"]
                expected = server.floor.levels(BTC, Side.BUY, 10)
                if [Decimal(p) for p in book[0]] == [Decimal(p) for p, _ in expected]:
                    break
                message, text = await socket.frame(channel="book")

        assert max(len(side) for side in book) == 10
        server.faults.once("*:book", Fault(Kind.GAP))
        market.trade(BTC, Side.BUY, "1")
        message, text = await socket.frame(channel="book")
        bids, asks = (list(side.items()) for side in folded(book, text))
        assert rows.checksum(bids, asks) != message["data"][0]["checksum"]


async def test_the_products_own_parser_reads_the_frames() -> None:
    async with kraken.serve() as server, raw(server) as socket:
        parser = NATIVE["kraken"](server.floor.markets.values())
        market = quiet(server)
        await socket.send("subscribe", channel="book", symbol=[BTC], depth=10)
        seen: list[Any] = []

        async def more(kind: type) -> Any:
            """Read on until an event of this kind."""
            while not any(isinstance(each, kind) for each in seen):
                _, text = await socket.frame()
                seen.extend(parser.feed(text, 0))
            found = [each for each in seen if isinstance(each, kind)]
            seen.clear()
            return found[-1]

        snapshot = await more(BookSnapshot)
        market.trade(BTC, Side.BUY, "20")
        delta = await more(BookDelta)
        server.faults.once("*:book", Fault(Kind.GAP))
        market.trade(BTC, Side.BUY, "1")
        gap = await more(Gap)

        assert snapshot.bids[0] == ("59994.0", "16.66666666")
        assert delta.asks[0][0] == "60006.0"
        assert (gap.symbol, gap.cause) == (BTC, "checksum")


async def test_public_streams_of_the_real_client() -> None:
    async with pair() as (server, exchange):
        async with asyncio.timeout(30):
            book = await exchange.watch_order_book(BTC, 10)
            ticker = await exchange.watch_ticker(BTC)
            trades = await exchange.watch_trades(BTC)
            bars = await exchange.watch_ohlcv(BTC, "1m")
        assert (book["bids"][0], book["asks"][0][0]) == ([59_994.0, 16.66666666], 60_006.0)
        assert ticker["last"] == trades[-1]["price"] == bars[-1][4] == 60_000.0

        async with (
            watching(lambda: exchange.watch_order_book(BTC, 10)) as books,
            watching(lambda: exchange.watch_ticker(BTC)) as tickers,
            watching(lambda: exchange.watch_trades(BTC)) as traded,
            watching(lambda: exchange.watch_ohlcv(BTC, "1m")) as barred,
        ):
            await asyncio.sleep(0.05)
            quiet(server).trade(BTC, Side.BUY, "20")
            await until(lambda: books and tickers and traded and barred)

            now = exchange.milliseconds() + 1_000
            assert books[-1]["asks"][0][0] == 60_012.0
            assert tickers[-1]["last"] == 60_012.0
            assert [row["amount"] for row in traded[-1][-2:]] == [16.66666666, 3.33333334]
            assert await until(lambda: [each for each in barred if each[-1][4] == 60_012.0])
            validate("order_book", exchange, books[-1], BTC, skipped=("timestamp", "datetime"))
            validate("ticker", exchange, tickers[-1], BTC)
            validate("trade", exchange, traded[-1][-1], BTC, now, True)
            validate("ohlcv", exchange, barred[-1][-1], BTC, now)


async def test_subscriptions_that_cannot_be() -> None:
    async with kraken.serve(heartbeat_s=0.02) as server, raw(server) as socket:
        for params, text in (
            ({"channel": "news", "symbol": [BTC]}, "Subscription name invalid"),
            ({"channel": "book", "symbol": [BTC], "depth": 11}, "Subscription depth not supported"),
            ({"channel": "book", "symbol": BTC}, "Pair field must be an array"),
            ({"channel": "ohlc", "symbol": [BTC], "interval": 2}, "interval not supported"),
            ({"channel": "book", "symbol": ["X/Y"]}, "Currency pair not supported X/Y"),
            ({"channel": "executions", "token": "no"}, "ESession:Invalid session"),
        ):
            await socket.send("subscribe", **params)
            reply = await socket.get(method="subscribe")
            assert (reply["success"], reply["req_id"]) == (False, 7)
            assert text in reply["error"]
        await socket.send("subscribe", channel="trade", symbol=[BTC])
        assert (await socket.get(method="subscribe"))["success"]
        assert await socket.get(channel="heartbeat") == {"channel": "heartbeat"}
        await socket.send("ping")
        assert {"time_in", "time_out", "req_id"} <= set(await socket.get(method="pong"))
        await socket.send("unsubscribe", channel="trade", symbol=[BTC])
        assert (await socket.get(method="unsubscribe"))["success"]
        await socket.send("cancel_all_orders_after", token="no", timeout="soon")
        assert (await socket.get(success=False))["error"] == "ESession:Invalid session"
        await socket.send("subscribe", channel="ohlc", symbol=[BTC], interval=[])
        assert (await socket.get(success=False))["error"] == "EGeneral:Invalid arguments"
        await socket.send("dance")
        assert (await socket.get(method="dance"))["error"] == "Unsupported method: dance"
        await socket.socket.send("nonsense")
        assert (await socket.get(success=False))["error"] == "Malformed request"


# --- the private stream ---------------------------------------------------------------------------


async def test_private_streams_of_the_real_client() -> None:
    async with pair() as (server, exchange):
        balance = await exchange.watch_balance()
        assert balance["USD"]["total"] == 100_000.0
        async with (
            watching(lambda: exchange.watch_orders(BTC)) as orders,
            watching(lambda: exchange.watch_my_trades(BTC)) as fills,
            watching(exchange.watch_balance) as balances,
        ):
            await until(
                lambda: server.streams.clients and "executions" in server.streams.clients[0].private
            )
            made = await exchange.create_order(BTC, "limit", "buy", 0.3, 60_006)
            await until(lambda: orders and fills and balances)

            assert orders[0][-1]["id"] == fills[0][-1]["order"] == made["id"]
            assert (fills[0][-1]["price"], fills[0][-1]["amount"]) == (60_006.0, 0.3)
            assert fills[0][-1]["fee"]["currency"] == "USD"
            await until(lambda: balances[-1]["BTC"]["total"] == 2.3)
            now = exchange.milliseconds() + 1_000
            validate("trade", exchange, fills[0][-1], BTC, now, False, skipped=("fees",))


async def test_a_refused_private_subscription_leaves_the_real_client_waiting() -> None:
    async with pair() as (server, exchange):
        await exchange.load_markets()
        await exchange.authenticate()
        server.streams.forget_tokens()
        # S14: the refusal is given to the request's number, which nobody waits for.
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await exchange.watch_orders()
        assert server.streams.clients[0].private == set()


async def test_executions_are_told_as_kraken_tells_them() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        waits = await exchange.create_order(
            BTC, "limit", "buy", 0.2, 59_000, {"clientOrderId": "mine1"}
        )
        token = (await exchange.private_post_getwebsocketstoken())["result"]["token"]
        await socket.send("subscribe", channel="executions", token=token, snap_trades=True)
        ack = await socket.get(method="subscribe")
        trades = await socket.get(channel="executions")
        snapshot = await socket.get(channel="executions")
        made = await exchange.create_order(BTC, "market", "buy", 0.5)
        told = [(await socket.get(channel="executions"))["data"][0] for _ in range(4)]
        await exchange.edit_order(waits["id"], BTC, "limit", "buy", 0.2, 59_100)
        amended = (await socket.get(channel="executions"))["data"][0]
        await exchange.cancel_order(waits["id"])
        last = await socket.get(channel="executions")
        canceled = last["data"][0]

        assert ack["result"]["maxratecount"] == 180
        assert (trades["type"], trades["data"]) == ("snapshot", [])
        assert [row["cl_ord_id"] for row in snapshot["data"]] == ["mine1"]
        kinds = [row["exec_type"] for row in told]
        assert kinds == ["pending_new", "new", "trade", "filled"]
        assert {row["order_id"] for row in told} == {made["id"]}
        # Only the first word and fills say what is traded: the rest names the order.
        assert ["symbol" in row for row in told] == [True, False, True, False]
        assert told[2]["fees"] == [{"asset": "USD", "qty": 78.0078}]
        assert (told[2]["order_status"], told[3]["cum_qty"]) == ("filled", 0.5)
        assert (amended["exec_type"], amended["limit_price"]) == ("amended", 59_100.0)
        assert (canceled["exec_type"], canceled["reason"]) == ("canceled", "User requested")
        assert "symbol" not in canceled
        assert "order_qty" not in canceled
        assert last["sequence"] == 8


async def test_orders_over_the_socket() -> None:
    async with pair() as (server, exchange):
        made = await exchange.create_order_ws(
            BTC, "limit", "buy", 0.1, 59_000, {"clientOrderId": "mine2"}
        )
        other = await exchange.create_order_ws(BTC, "limit", "buy", 0.1, 58_000)
        await exchange.edit_order_ws(made["id"], BTC, "limit", "buy", 0.2, 59_500)
        amended = await exchange.fetch_order(made["id"])
        done = await exchange.cancel_order_ws(made["id"])
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.cancel_order_ws(made["id"])
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Insufficient funds"):
            await exchange.create_order_ws(BTC, "limit", "buy", 3, 59_000)
        every = await exchange.cancel_all_orders_ws()

        assert (amended["amount"], amended["price"]) == (0.2, 59_500.0)
        assert done["result"] == {"order_id": made["id"], "cl_ord_id": "mine2"}
        assert every["result"] == {"count": 1}
        assert (await exchange.fetch_order(other["id"]))["status"] == "canceled"
        assert server.floor.orders("main") == []


async def test_an_edit_gives_a_new_order() -> None:
    async with pair() as (server, exchange), raw(server) as socket:
        made = await exchange.create_order(BTC, "limit", "buy", 0.1, 59_000)
        token = (await exchange.private_post_getwebsocketstoken())["result"]["token"]
        await socket.send(
            "edit_order", order_id=made["id"], symbol=BTC, limit_price=58_000.0, token=token
        )
        reply = await socket.get(method="edit_order")
        (left,) = await exchange.fetch_open_orders()

        assert reply["result"] == {
            "order_id": left["id"],
            "original_order_id": made["id"],
        }
        assert left["price"] == 58_000.0
        assert left["id"] != made["id"]


async def test_a_socket_that_is_struck() -> None:
    async with pair() as (server, exchange):
        await exchange.watch_ticker(BTC)
        server.faults.strike("*", Fault(Kind.CLOSE, code=1012))
        async with asyncio.timeout(30):
            with pytest.raises(ccxt.NetworkError):
                await exchange.watch_ticker(BTC)
        async with asyncio.timeout(30):
            assert (await exchange.watch_ticker(BTC))["bid"] == 59_994.0
