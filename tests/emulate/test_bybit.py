"""The emulated Bybit under the real, unpatched ccxt client: only its `urls` are replaced."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any

import ccxt
import ccxt.pro
import pytest
from ccxt.test.exchange.base import (
    test_balance as check_balances,
    test_currency as check_currencies,
    test_market as check_markets,
    test_ohlcv as check_bars,
    test_order as check_orders,
    test_order_book as check_books,
    test_position as check_positions,
    test_ticker as check_tickers,
    test_trade as check_trades,
)

from realtime.emulate.bybit import Emulated, emulated, urls
from realtime.emulate.faults import LOST, OK, Fault, Kind
from realtime.emulate.floor import Customer
from realtime.model.orders import Side


SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
BOTH = pytest.mark.parametrize("symbol", [SPOT, SWAP])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Client(ccxt.pro.bybit):  # type: ignore[misc]  # untyped
    """Counts the subscriptions that the exchange has confirmed."""

    confirmed = 0

    def handle_subscription_status(self, client: Any, message: Any) -> Any:
        self.confirmed += 1
        return super().handle_subscription_status(client, message)


@asynccontextmanager
async def client_of(server: Emulated, **options: Any) -> AsyncIterator[Any]:
    config = {
        "apiKey": server.key,
        "secret": server.secret,
        "enableRateLimit": False,
        "timeout_on_exit": 0,  # else each goodbye takes a quarter of a second
        **options,
    }
    client = Client(config)
    client.urls["api"] = urls(server.endpoint)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def trading(**options: Any) -> AsyncIterator[tuple[Emulated, Any]]:
    options.setdefault("balances", {"USDT": 100_000, "BTC": 1})
    async with emulated(**options) as server, client_of(server) as client:
        yield server, client


async def within(work: Awaitable[Any], seconds: float = 30.0) -> Any:
    async with asyncio.timeout(seconds):
        return await work


async def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - many things it waits for have no event
            await asyncio.sleep(0.005)


@asynccontextmanager
async def watching(method: Callable[..., Awaitable[Any]], *args: Any) -> AsyncIterator[list[Any]]:
    """Rows of a watch loop, as they come."""
    seen: list[Any] = []

    async def watch() -> None:
        while True:
            found = await method(*args)
            # A cache changes under the reader.
            seen.extend(list(found) if isinstance(found, list) else [found])

    task = asyncio.get_running_loop().create_task(watch())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()


async def subscribed(client: Client, count: int = 1) -> None:
    """Wait until the exchange has confirmed so many subscriptions."""
    await until(lambda: client.confirmed >= count)


# --- market data ------------------------------------------------------------------------------


async def test_what_ccxt_reads_passes_its_own_validators() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        assert set(client.markets) == {SPOT, "ETH/USDT", SWAP}
        for symbol in client.symbols:
            check_markets(client, {}, "fetchMarkets", client.markets[symbol])
        for code in ("BTC", "USDT"):
            check_currencies(client, {}, "fetchCurrencies", client.currencies[code])
        await client.create_order(SPOT, "market", "buy", 0.01)
        await client.create_order(SPOT, "limit", "buy", 0.01, 60_000)
        await client.create_order(SWAP, "market", "sell", 0.01)
        balance = await client.fetch_balance()
        check_balances(client, {}, "fetchBalance", balance)
        now = client.milliseconds()
        for symbol in (SPOT, SWAP):
            check_tickers(client, {}, "fetchTicker", await client.fetch_ticker(symbol), symbol)
            book = await client.fetch_order_book(symbol, 10)
            check_books(client, {}, "fetchOrderBook", book, symbol)
            for bar in await client.fetch_ohlcv(symbol, "1m", None, 5):
                check_bars(client, {}, "fetchOHLCV", bar, symbol, now)
            for trade in await client.fetch_trades(symbol):
                check_trades(client, {}, "fetchTrades", trade, symbol, now, False)
            for trade in await client.fetch_my_trades(symbol):
                check_trades(client, {}, "fetchMyTrades", trade, symbol, now, True)
            for order in [
                *await client.fetch_open_orders(symbol),
                *await client.fetch_canceled_and_closed_orders(symbol),
            ]:
                check_orders(client, {}, "fetchOrders", order, symbol, now)
        (held,) = await client.fetch_positions()
        unknown = {"marginMode": "ccxt leaves it empty: the exchange deprecated tradeMode"}
        check_positions(client, unknown, "fetchPositions", held, SWAP, now + 1000)


async def test_rules_of_the_markets() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        spot, swap = client.market(SPOT), client.market(SWAP)
        assert (spot["precision"]["price"], spot["precision"]["amount"]) == (0.01, 0.00001)
        assert spot["limits"]["cost"]["min"] == swap["limits"]["cost"]["min"] == 5
        assert swap["limits"]["leverage"]["max"] == 50
        assert (swap["linear"], swap["settle"], swap["contractSize"]) == (True, "USDT", 1)
        fee = await client.fetch_trading_fee(SWAP)
        assert (fee["maker"], fee["taker"]) == (0.0002, 0.00055)
        (tier,) = (await client.fetch_leverage_tiers([SWAP]))[SWAP]
        assert tier["maxLeverage"] == 50
        assert abs(await client.fetch_time() - client.milliseconds()) < 1000
        assert (await client.fetch_funding_rate(SWAP))["fundingRate"] == 0.0001


@BOTH
async def test_books_trades_tickers_and_bars_live(symbol: str) -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with (
            watching(client.watch_order_book, symbol) as books_seen,
            watching(client.watch_trades, symbol) as trades_seen,
            watching(client.watch_ticker, symbol) as tickers_seen,
            watching(client.watch_ohlcv, symbol) as bars_seen,
        ):
            await until(lambda: bool(books_seen and tickers_seen and bars_seen))
            server.market.move(symbol, 64_100)
            server.market.trade(symbol, Side.BUY, "0.5")
            await until(lambda: len(trades_seen) >= 2 and bars_seen[-1][2] > 64_100)
            await until(lambda: tickers_seen[-1]["last"] == trades_seen[-1]["price"])
            book = client.orderbooks[symbol]
            expected = server.floor.levels(symbol, Side.SELL, 50)
            assert [tuple(map(float, level)) for level in expected] == [
                tuple(level) for level in book["asks"]
            ]
            assert trades_seen[-1]["side"] == "buy"
            assert book["bids"][0][0] < 64_100 < book["asks"][0][0]
        fetched = await client.fetch_order_book(symbol, 5)
        assert fetched["asks"] == [list(level) for level in book["asks"][:5]]
        assert (await client.fetch_ohlcv(symbol, "5m", None, 3))[-1][4] == trades_seen[-1]["price"]


async def test_a_book_of_a_certain_depth_is_exact_through_what_enters_and_leaves_it() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        price = Decimal(64_000)
        async with watching(client.watch_order_book, SWAP, 50) as seen:
            await until(lambda: bool(seen))
            for place in range(30):
                asks = [(price + step + place, 1 + step) for step in range(1, 80)]
                bids = [(price - step + place, 1 + step) for step in range(1, 80)]
                server.market.set_book(SWAP, bids, asks)
            last = float(price + 30)
            await until(lambda: client.orderbooks[SWAP]["asks"][0][0] == last)
            book = client.orderbooks[SWAP]
            assert len(book["asks"]) == len(book["bids"]) == 50
            assert [level[0] for level in book["asks"]] == [last + step for step in range(50)]


async def test_unwatching_ends_a_subscription() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with watching(client.watch_trades, SPOT) as seen:
            await subscribed(client)
            server.market.print(SPOT, 64_000)
            await until(lambda: bool(seen))
        await within(client.un_watch_trades(SPOT))
        server.market.print(SPOT, 64_000)
        await asyncio.sleep(0.02)
        assert len(seen) == 1


# --- orders -----------------------------------------------------------------------------------


@BOTH
async def test_an_order_from_birth_to_fill(symbol: str) -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with (
            watching(client.watch_orders) as orders_seen,
            watching(client.watch_my_trades) as fills_seen,
            watching(client.watch_balance) as balances_seen,
        ):
            await subscribed(client, 3)
            params = {"clientOrderId": "mine-1"}
            made = await client.create_order(symbol, "limit", "buy", 0.02, 63_500, params)
            (shown,) = await client.fetch_open_orders(symbol)
            assert (shown["id"], shown["clientOrderId"]) == (made["id"], "mine-1")
            assert (shown["status"], shown["amount"], shown["price"]) == ("open", 0.02, 63_500)
            await client.edit_order(made["id"], symbol, "limit", "buy", 0.03, 63_600)
            server.market.set_book(symbol, [(63_000, 1)], [("63590", "0.01"), (64_500, 1)])
            partly = await client.fetch_order(made["id"], symbol, {"acknowledged": True})
            assert (partly["status"], partly["filled"]) == ("open", 0.01)
            server.market.move(symbol, 63_000)
            done = await client.fetch_closed_order(made["id"], symbol)
            assert (done["status"], done["filled"], done["average"]) == ("closed", 0.03, 63_600)
            await until(lambda: len(fills_seen) >= 2 and orders_seen[-1]["status"] == "closed")
            assert sum(fill["amount"] for fill in fills_seen) == pytest.approx(0.03)
            assert {fill["takerOrMaker"] for fill in fills_seen} == {"maker"}
            fee = done["fee"]
            if symbol == SPOT:
                assert (fee["currency"], fee["cost"]) == ("BTC", pytest.approx(0.03 * 0.001))
            else:
                assert fee["currency"] == "USDT"
                assert fee["cost"] == pytest.approx(0.03 * 63_600 * 0.0002)
            fills = await client.fetch_my_trades(symbol)
            assert {fill["id"] for fill in fills} == {fill["id"] for fill in fills_seen}
            await until(lambda: len(balances_seen) >= 3)
        fetched = await client.fetch_balance()
        cash = 100_000 - (0.03 * 63_600 if symbol == SPOT else fee["cost"])
        assert fetched["USDT"]["total"] == pytest.approx(cash)
        if symbol == SPOT:
            assert fetched["BTC"]["free"] == pytest.approx(1 + 0.03 * 0.999)
            assert fetched["USDT"]["used"] == 0


async def test_rows_of_one_order_come_in_the_order_of_their_happening() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        frames: list[dict[str, Any]] = []
        plain = client.handle_message

        def handle(socket: Any, message: Any) -> None:
            frames.append(message)
            plain(socket, message)

        client.handle_message = handle
        async with (
            watching(client.watch_orders),
            watching(client.watch_my_trades),
            watching(client.watch_balance),
            watching(client.watch_positions),
        ):
            await subscribed(client, 4)
            frames.clear()
            await client.create_order(SWAP, "market", "buy", 0.01)
            await until(lambda: any(each.get("topic") == "position" for each in frames))
        told = [
            (frame["topic"], [row.get("orderStatus") for row in frame["data"]])
            for frame in frames
            if frame.get("topic")
        ]
        assert told == [
            ("order", ["New"]),
            ("execution", [None]),
            ("order", ["Filled"]),
            ("wallet", [None]),
            ("position", [None]),
        ]


async def test_spot_market_orders_by_amount_and_by_cost() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        buy = await client.create_order(SPOT, "market", "buy", 0.01)
        order = await client.fetch_order(buy["id"], SPOT, {"acknowledged": True})
        assert (order["filled"], order["amount"], order["type"]) == (0.01, 0.01, "market")
        by_cost = await client.create_market_buy_order_with_cost(SPOT, 1000)
        order = await client.fetch_order(by_cost["id"], SPOT, {"acknowledged": True})
        assert order["status"] == "closed"
        assert 999 < order["cost"] <= 1000
        sell = await client.create_market_sell_order_with_cost(SPOT, 500)
        order = await client.fetch_order(sell["id"], SPOT, {"acknowledged": True})
        assert order["status"] == "closed"
        assert 499 < order["cost"] <= 501


async def test_a_trailing_and_a_trigger_order_on_spot() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        stop = await client.create_order(
            SPOT, "market", "sell", 0.1, None, {"triggerPrice": 63_000}
        )
        limit = await client.create_order(
            SPOT, "limit", "buy", 0.1, 65_200, {"triggerPrice": 65_000}
        )
        (first, second) = sorted(
            await client.fetch_open_orders(SPOT, None, None, {"trigger": True}),
            key=lambda order: order["triggerPrice"],
        )
        assert (first["id"], first["info"]["orderStatus"]) == (stop["id"], "Untriggered")
        assert (second["id"], second["type"], second["price"]) == (limit["id"], "limit", 65_200)
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order(limit["id"], SPOT)
        await client.cancel_order(limit["id"], SPOT, {"trigger": True})
        server.market.move(SPOT, 62_900)
        done = await client.fetch_closed_order(stop["id"], SPOT)
        assert (done["status"], done["filled"]) == ("closed", 0.1)


async def test_trigger_orders_on_linear_name_their_direction() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        for direction, price in (("ascending", 63_000), ("descending", 65_000)):
            with pytest.raises(ccxt.InvalidOrder, match="expect"):
                await client.create_order(
                    SWAP,
                    "market",
                    "buy",
                    0.01,
                    None,
                    {"triggerPrice": price, "triggerDirection": direction},
                )
        made = await client.create_order(
            SWAP,
            "market",
            "buy",
            0.01,
            None,
            {"triggerPrice": 65_000, "triggerDirection": "ascending", "triggerBy": "MarkPrice"},
        )
        await client.edit_order(
            made["id"], SWAP, "market", "buy", 0.02, None, {"triggerPrice": 65_500}
        )
        server.market.print(SWAP, 66_000)
        assert (await client.fetch_positions()) == []
        server.market.mark(SWAP, 66_000)
        (held,) = await client.fetch_positions()
        assert held["contracts"] == 0.02


@BOTH
async def test_what_the_exchange_refuses(symbol: str) -> None:
    async with trading() as (_, client):
        await client.load_markets()
        linear = symbol == SWAP
        params = {"clientOrderId": "once"}
        await client.create_order(symbol, "limit", "buy", 0.01, 63_000, params)
        refused: list[tuple[type[Exception], str, dict[str, Any]]] = [
            (ccxt.InsufficientFunds, "110007" if linear else "170131", {"qty": "90"}),
            (ccxt.InvalidOrder, "110072" if linear else "170141", {"orderLinkId": "once"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170134", {"price": "63000.001"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170137", {"qty": "0.0000001"}),
            (ccxt.InvalidOrder, "110094" if linear else "170140", {"qty": "0.00001"}),
            (ccxt.InvalidOrder, "110003" if linear else "170193", {"price": "1000", "qty": "1"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170121", {"symbol": "NOPEUSDT"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170117", {"side": "Up"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170116", {"orderType": "Iceberg"}),
            (ccxt.BadRequest if linear else ccxt.InvalidOrder, "10001" if linear else "170115", {"timeInForce": "GTX"}),
            (ccxt.BadRequest, "10001", {"orderLinkId": "no spaces"}),
            (ccxt.BadRequest, "10001", {"qty": "-1"}),
            (ccxt.BadRequest, "10001", {"positionIdx": "1"}),
            (ccxt.BadRequest, "10001", {"qty": None}),
        ]  # fmt: skip
        if linear:
            refused.append((ccxt.InvalidOrder, "110017", {"reduceOnly": True, "side": "Sell"}))
        base = {
            "category": "linear" if linear else "spot",
            "symbol": "BTCUSDT",
            "side": "Buy",
            "orderType": "Limit",
            "qty": "0.01",
            "price": "63000",
        }
        for error, code, change in refused:
            with pytest.raises(error, match=f'"retCode":{code}'):
                await client.privatePostV5OrderCreate({**base, **change})
        assert len(await client.fetch_open_orders(symbol)) == 1
        with pytest.raises(ccxt.OrderNotFound):
            await client.cancel_order("1600001000000000001", symbol)
        with pytest.raises(ccxt.OrderNotFound):
            await client.edit_order("nonsense", symbol, "limit", "buy", 0.02, 63_000)
        with pytest.raises(ccxt.BadRequest, match="unchanged"):
            await client.edit_order(
                "", symbol, "limit", "buy", 0.01, 63_000, {"clientOrderId": "once"}
            )


async def test_post_only_and_times_in_force() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        with pytest.raises(ccxt.InvalidOrder, match="170218"):
            await client.create_order(SPOT, "limit", "buy", 0.01, 64_100, {"postOnly": True})
        # On linear the exchange takes it in and cancels it.
        made = await client.create_order(SWAP, "limit", "buy", 0.01, 64_100, {"postOnly": True})
        (order,) = await client.fetch_canceled_orders(SWAP)
        assert (order["id"], order["status"], order["timeInForce"]) == (
            made["id"],
            "canceled",
            "PO",
        )
        assert order["info"]["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"
        for tif in ("IOC", "FOK"):
            made = await client.create_order(
                SWAP, "limit", "buy", 0.01, 63_000, {"timeInForce": tif}
            )
            order = await client.fetch_order(made["id"], SWAP, {"acknowledged": True})
            assert (order["status"], order["filled"], order["timeInForce"]) == ("canceled", 0, tif)
        resting = await client.create_order(SWAP, "limit", "buy", 0.01, 63_000, {"postOnly": True})
        (order,) = await client.fetch_open_orders(SWAP)
        assert (order["id"], order["timeInForce"]) == (resting["id"], "PO")


async def test_canceling_all_leaves_conditional_orders_of_spot_alone() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        for price in (60_000, 61_000, 62_000):
            await client.create_order(SPOT, "limit", "buy", 0.01, price)
            await client.create_order(SWAP, "limit", "buy", 0.01, price)
        await client.create_order(SPOT, "market", "sell", 0.1, None, {"triggerPrice": 63_000})
        assert len(await client.cancel_all_orders(SPOT)) == 3
        assert len(await client.fetch_open_orders(SPOT)) == 1
        assert len(await client.fetch_open_orders(SWAP)) == 3
        assert len(await client.cancel_all_orders(None, {"type": "swap"})) == 3
        assert len(await client.cancel_all_orders(SPOT, {"trigger": True})) == 1
        assert (await client.fetch_balance())["USDT"]["used"] == 0


async def test_pages_of_orders() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        for place in range(7):
            await client.create_order(SPOT, "limit", "buy", 0.01, 60_000 + place)
        first = await client.fetch_open_orders(SPOT, None, 5)
        cursor = (await client.privateGetV5OrderRealtime(
            {"category": "spot", "limit": 5}
        ))["result"]["nextPageCursor"]  # fmt: skip
        second = await client.fetch_open_orders(SPOT, None, 5, {"cursor": cursor})
        assert len({order["id"] for order in [*first, *second]}) == 7


async def test_without_a_symbol_both_kinds_of_rows_are_told_apart() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        for symbol in (SPOT, SWAP):
            await client.create_order(symbol, "limit", "buy", 0.01, 60_000)
            await client.create_order(symbol, "market", "buy", 0.01)
        for kind, symbol in (("spot", SPOT), ("swap", SWAP)):
            params = {"type": kind}
            (order,) = await client.fetch_open_orders(None, None, None, params)
            (fill,) = await client.fetch_my_trades(None, None, None, params)
            (done,) = await client.fetch_closed_orders(None, None, None, params)
            assert {order["symbol"], fill["symbol"], done["symbol"]} == {symbol}


async def test_order_entry_by_socket() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        made = await within(client.create_order_ws(SPOT, "limit", "buy", 0.01, 63_000))
        await within(client.edit_order_ws(made["id"], SPOT, "limit", "buy", 0.02, 63_100))
        (order,) = await client.fetch_open_orders(SPOT)
        assert (order["id"], order["amount"], order["price"]) == (made["id"], 0.02, 63_100)
        with pytest.raises(ccxt.InsufficientFunds):
            await within(client.create_order_ws(SPOT, "limit", "buy", 9, 63_000))
        await within(client.cancel_order_ws(made["id"], SPOT))
        with pytest.raises(ccxt.OrderNotFound):
            await within(client.cancel_order_ws(made["id"], SPOT))
        server.faults.once("trade:order.create", Fault(Kind.CODE, code=10016, message="busy"))
        with pytest.raises(ccxt.ExchangeError, match="10016"):
            await within(client.create_order_ws(SPOT, "limit", "buy", 0.01, 63_000))
        server.faults.once("trade:order.create", Fault(Kind.ABORT, executed=True))
        with pytest.raises(ccxt.NetworkError):
            await within(client.create_order_ws(SPOT, "limit", "buy", 0.01, 63_000))
        assert len(await client.fetch_open_orders(SPOT)) == 1


# --- positions --------------------------------------------------------------------------------


async def test_a_position_is_opened_flipped_and_closed() -> None:
    async with trading(balances={"USDT": 10_000}) as (server, client):
        await client.load_markets()
        await client.set_leverage(10, SWAP)
        with pytest.raises(ccxt.BadRequest, match="110043"):
            await client.set_leverage(10, SWAP)
        with pytest.raises(ccxt.BadRequest, match="110013"):
            await client.set_leverage(500, SWAP)
        flat = await client.fetch_position(SWAP)
        assert (flat["contracts"], flat["leverage"], flat["side"]) == (0, 10, None)
        async with watching(client.watch_positions) as seen:
            await subscribed(client)
            await client.create_order(SWAP, "market", "buy", 0.05)
            (held,) = await client.fetch_positions()
            assert (held["side"], held["contracts"], held["hedged"]) == ("long", 0.05, False)
            server.market.move(SWAP, 66_000)
            (held,) = await client.fetch_positions([SWAP])
            assert held["unrealizedPnl"] == pytest.approx((66_000 - held["entryPrice"]) * 0.05)
            assert held["liquidationPrice"] is None or held["liquidationPrice"] < 64_000
            assert held["initialMargin"] == pytest.approx(held["notional"] / 10)
            balance = await client.fetch_balance()
            assert balance["USDT"]["used"] == pytest.approx(held["initialMargin"])
            await client.create_order(SWAP, "market", "sell", 0.08)
            (held,) = await client.fetch_positions()
            assert (held["side"], held["contracts"]) == ("short", 0.03)
            await client.create_order(SWAP, "market", "buy", 9, None, {"reduceOnly": True})
            assert (await client.fetch_positions()) == []
            await until(lambda: any(row["contracts"] == 0 for row in seen))
            assert {row["side"] for row in seen} >= {"long", "short"}
        balance = await client.fetch_balance()
        assert balance["USDT"]["used"] == 0
        assert balance["USDT"]["total"] > 10_000


async def test_take_profit_and_stop_loss_of_a_position() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        attached = {"takeProfit": {"triggerPrice": 66_000}, "stopLoss": {"triggerPrice": 62_000}}
        await client.create_order(SWAP, "market", "buy", 0.01, None, attached)
        (held,) = await client.fetch_positions()
        assert (held["takeProfitPrice"], held["stopLossPrice"]) == (66_000, 62_000)
        await client.create_order(SWAP, "market", "buy", 0.02)
        legs = await client.fetch_open_orders(SWAP)
        assert {leg["info"]["stopOrderType"] for leg in legs} == {"TakeProfit", "StopLoss"}
        assert {leg["amount"] for leg in legs} == {0.03}
        assert all(leg["reduceOnly"] for leg in legs)
        server.market.move(SWAP, 61_900)
        assert (await client.fetch_positions()) == []
        assert (await client.fetch_open_orders(SWAP)) == []
        with pytest.raises(ccxt.BadRequest, match="zero position"):
            await client.create_order(SWAP, "market", "sell", 0, None, {"trailingAmount": "100"})
        with pytest.raises(ccxt.BadRequest, match="lower than base_price"):
            await client.create_order(
                SWAP, "market", "buy", 0.01, None, {"stopLoss": {"triggerPrice": 65_000}}
            )


async def test_a_partial_pair_grows_with_its_parent_and_excludes_itself() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        attached = {
            "takeProfit": {"triggerPrice": 66_000, "price": 66_100},
            "stopLoss": {"triggerPrice": 62_000, "price": 61_900},
        }
        await client.create_order(SWAP, "limit", "buy", 0.02, 63_900, attached)
        assert len(await client.fetch_open_orders(SWAP)) == 1
        server.market.set_book(SWAP, [(63_000, 1)], [(63_890, "0.01"), (64_500, 1)])
        legs = await client.fetch_open_orders(SWAP, None, None, {"trigger": True})
        assert [leg["amount"] for leg in legs] == [0.01, 0.01]
        server.market.move(SWAP, 63_700)
        legs = await client.fetch_open_orders(SWAP, None, None, {"trigger": True})
        assert [leg["amount"] for leg in legs] == [0.02, 0.02]
        server.market.move(SWAP, 66_200)
        assert (await client.fetch_positions()) == []
        assert (await client.fetch_open_orders(SWAP)) == []


async def test_a_spot_order_brings_a_pair_for_what_it_bought() -> None:
    async with trading(balances={"USDT": 10_000}) as (server, client):
        await client.load_markets()
        attached = {"takeProfit": {"triggerPrice": 66_000}, "stopLoss": {"triggerPrice": 62_000}}
        made = await client.create_order(SPOT, "limit", "buy", 0.1, 64_100, attached)
        parent = await client.fetch_order(made["id"], SPOT, {"acknowledged": True})
        assert (parent["status"], parent["stopLossPrice"]) == ("closed", 62_000)
        legs = await client.fetch_open_orders(SPOT)
        assert [leg["amount"] for leg in legs] == [0.0999, 0.0999]
        balance = await client.fetch_balance()
        assert balance["BTC"]["used"] == 0.0999
        server.market.move(SPOT, 66_100)
        assert (await client.fetch_open_orders(SPOT)) == []
        assert (await client.fetch_balance())["BTC"]["total"] == 0


async def test_a_trailing_stop_begins_at_its_price_and_follows() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        await client.create_order(SWAP, "market", "buy", 0.01)
        params = {"trailingAmount": "500", "trailingTriggerPrice": "65000"}
        await client.create_order(SWAP, "market", "sell", 0.01, None, params)
        assert (await client.fetch_open_orders(SWAP)) == []
        assert (await client.fetch_position(SWAP))["info"]["trailingStop"] == "500"
        server.market.move(SWAP, 65_100)
        (leg,) = await client.fetch_open_orders(SWAP)
        assert leg["info"]["stopOrderType"] == "TrailingStop"
        assert leg["triggerPrice"] == 64_600
        server.market.move(SWAP, 65_600)
        (leg,) = await client.fetch_open_orders(SWAP)
        assert leg["triggerPrice"] == 65_100
        server.market.move(SWAP, 65_000)
        assert (await client.fetch_positions()) == []


async def test_a_position_that_is_liquidated() -> None:
    async with trading(balances={"USDT": 1_000}) as (server, client):
        await client.load_markets()
        await client.set_leverage(50, SWAP)
        async with watching(client.watch_my_trades) as seen:
            await subscribed(client)
            await client.create_order(SWAP, "market", "buy", 0.5)
            (held,) = await client.fetch_positions()
            assert 0 < held["liquidationPrice"] < 64_000
            server.market.move(SWAP, 61_000)
            await until(lambda: bool(seen) and seen[-1]["side"] == "sell")
        assert (await client.fetch_positions()) == []
        assert seen[-1]["info"]["execType"] == "BustTrade"
        order = (await client.fetch_closed_orders(SWAP))[-1]
        assert order["info"]["createType"] == "CreateByLiq"
        assert (await client.fetch_balance())["USDT"]["total"] >= 0


async def test_margin_and_position_modes() -> None:
    async with trading() as (_, client):
        await client.load_markets()
        await client.set_position_mode(hedged=False)
        with pytest.raises(ccxt.NoChange):
            await client.set_position_mode(hedged=False, symbol=SWAP)
        with pytest.raises(ccxt.BadRequest):
            await client.set_position_mode(hedged=True)
        await client.set_margin_mode("isolated")
        assert (await client.fetch_margin_mode(SWAP))["marginMode"] == "isolated"
        await client.create_order(SWAP, "limit", "buy", 0.01, 60_000)
        with pytest.raises(ccxt.ExchangeError, match="3400045"):
            await client.set_margin_mode("cross")


# --- who asks ---------------------------------------------------------------------------------


async def test_keys_signatures_and_clocks() -> None:
    async with trading() as (server, client):
        async with client_of(server, secret="wrong") as other:
            with pytest.raises(ccxt.AuthenticationError, match="10004"):
                await other.fetch_balance()
        async with client_of(server, apiKey="nobody") as other:
            with pytest.raises(ccxt.AuthenticationError, match="10003"):
                await other.fetch_balance()
        await client.load_markets()
        server.faults.clock_ms = 60_000
        with pytest.raises(ccxt.InvalidNonce, match="10002"):
            await client.fetch_balance()
        server.faults.clock_ms = -60_000
        with pytest.raises(ccxt.InvalidNonce, match="10002"):
            await client.fetch_balance()
        client.options["timeDifference"] = 60_000
        await client.fetch_balance()
        server.faults.clear()
        client.options["timeDifference"] = 0
        server.faults.expired.add(server.key)
        with pytest.raises(ccxt.AuthenticationError, match="33004"):
            await client.fetch_balance()
        with pytest.raises(ccxt.AuthenticationError, match="expired"):
            await within(client.watch_orders())
        with pytest.raises(ccxt.AuthenticationError):
            await within(client.create_order_ws(SPOT, "limit", "buy", 0.01, 63_000))
        server.faults.clear()
        with pytest.raises(ccxt.BadRequest, match="10017"):
            await client.privateGetV5AccountCollateralInfo()


async def test_accounts_are_apart() -> None:
    people = [
        Customer(account="a", key="key-a", secret="sa", balances={"USDT": Decimal(10_000)}),
        Customer(account="b", key="key-b", secret="sb", balances={"BTC": Decimal(1)}),
    ]
    async with (
        trading(customers=people) as (server, first),
        client_of(server, apiKey="key-b", secret="sb") as second,
    ):
        await first.load_markets()
        await second.load_markets()
        server.market.set_book(SPOT, [(60_000, 1)], [(70_000, 1)])
        made = await second.create_order(SPOT, "limit", "sell", 0.1, 64_000)
        assert (await first.fetch_open_orders(SPOT)) == []
        with pytest.raises(ccxt.OrderNotFound):
            await first.cancel_order(made["id"], SPOT)
        async with watching(second.watch_orders) as seen:
            await subscribed(second)
            await first.create_order(SPOT, "limit", "buy", 0.1, 64_000)
            await until(lambda: bool(seen) and seen[-1]["status"] == "closed")
        assert (await second.fetch_balance())["USDT"]["total"] == pytest.approx(6400 * 0.999)
        assert (await first.fetch_balance())["BTC"]["total"] == pytest.approx(0.0999)


async def test_the_limit_is_told_and_kept() -> None:
    async with trading(enforce_limits=True) as (_, client):
        await client.load_markets()
        client.enableLastResponseHeaders = True
        refused = 0
        for place in range(45):
            try:
                await client.create_order(SPOT, "limit", "buy", 0.001, 60_000 + place)
            except ccxt.RateLimitExceeded:
                refused += 1
        headers = {name.lower(): value for name, value in client.last_response_headers.items()}
        assert refused
        assert "timenow" in headers


# --- what goes wrong --------------------------------------------------------------------------

CREATE = "POST /v5/order/create"


async def test_faults_of_requests_and_what_the_client_makes_of_them() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        client.timeout = 300
        faults = server.faults

        async def create() -> Any:
            return await client.create_order(SPOT, "limit", "buy", 0.01, 63_000)

        async def count() -> int:
            return len(await client.fetch_open_orders(SPOT))

        for kind, error in (
            (Fault(Kind.ERROR), ccxt.ExchangeNotAvailable),
            (Fault(Kind.UNAVAILABLE), ccxt.ExchangeNotAvailable),
            (Fault(Kind.RATE_LIMITED), ccxt.RateLimitExceeded),
            (Fault(Kind.RATE_LIMITED, code=10006), ccxt.RateLimitExceeded),
            (Fault(Kind.CODE, code=10016, message="System error."), ccxt.ExchangeError),
            (Fault(Kind.CODE, code=170146, message="Order creation timeout."), ccxt.InvalidOrder),
            (Fault(Kind.DROP), ccxt.NetworkError),
            (Fault(Kind.HANG), ccxt.RequestTimeout),
        ):
            faults.once(CREATE, kind)
            with pytest.raises(error):
                await create()
        assert await count() == 0

        # Executed, and nobody says so.
        faults.script(CREATE, [OK, LOST, Fault(Kind.HANG, executed=True), Fault(Kind.TRUNCATED)])
        await create()
        for error in (ccxt.NetworkError, ccxt.RequestTimeout, ccxt.ExchangeError):
            with pytest.raises(error):
                await create()
        assert await count() == 4

        # No error at all (S1, S2, S3).
        faults.once(CREATE, Fault(Kind.HTML))
        assert (await create())["id"] is None
        faults.once("GET /v5/order/realtime", Fault(Kind.HTML))
        assert await count() == 0
        faults.once("GET /v5/market/tickers", Fault(Kind.HTML))
        assert (await client.fetch_ticker(SPOT))["last"] is None
        assert await count() == 4

        faults.always("GET *", Fault(Kind.SLOW, seconds=0.05))
        started = asyncio.get_running_loop().time()
        assert await count() == 4
        assert asyncio.get_running_loop().time() - started > 0.04
        assert faults.count(Kind.SLOW) == 1


async def test_an_order_that_is_visible_late() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with watching(client.watch_orders) as seen:
            await subscribed(client)
            server.faults.once("order", Fault(Kind.LATE, seconds=0.5))
            made = await client.create_order(SPOT, "limit", "buy", 0.01, 63_000)
            with pytest.raises(ccxt.OrderNotFound):
                await client.fetch_order(made["id"], SPOT, {"acknowledged": True})
            assert (await client.fetch_open_orders(SPOT)) == []
            assert seen == []
            await until(lambda: bool(seen))
        assert len(await client.fetch_open_orders(SPOT)) == 1


async def test_faults_of_private_rows() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with watching(client.watch_orders) as seen:
            await subscribed(client)
            server.faults.script(
                "private:order",
                [Fault(Kind.DUPLICATE), Fault(Kind.SWALLOW), Fault(Kind.REORDER), OK],
            )
            first = await client.create_order(SPOT, "limit", "buy", 0.01, 63_000)
            await until(lambda: len(seen) >= 1)
            await client.cancel_order(first["id"], SPOT)
            second = await client.create_order(SPOT, "limit", "buy", 0.01, 63_000)
            await client.cancel_order(second["id"], SPOT)
            await until(lambda: seen[-1]["id"] == second["id"] and seen[-1]["status"] == "open")
            assert client.orders[0]["status"] == "open"
            happened = [fault.kind for _, fault in server.faults.done]
            assert happened == [Kind.DUPLICATE, Kind.SWALLOW, Kind.REORDER]


async def test_a_lost_delta_leaves_a_wrong_book() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with watching(client.watch_order_book, SPOT) as seen:
            await until(lambda: bool(seen))
            server.faults.once("public/spot:orderbook*", Fault(Kind.GAP))
            server.market.set_book(SPOT, [(63_000, 1)], [(64_000, 1)])
            server.market.set_book(SPOT, [(63_100, 1)], [(64_000, 1)])
            await until(
                lambda: any(level[0] == 63_100 for level in client.orderbooks[SPOT]["bids"])
            )
            assert client.orderbooks[SPOT]["bids"][0][0] > 63_100


@pytest.mark.parametrize(
    "fault", [Fault(Kind.CLOSE, code=1012), Fault(Kind.ABORT), Fault(Kind.HALF_CLOSE)]
)
async def test_a_socket_that_ends_is_dialed_again(fault: Fault) -> None:
    async with trading() as (server, client):
        await client.load_markets()
        watch = asyncio.get_running_loop().create_task(client.watch_trades(SPOT))
        await subscribed(client)
        assert server.faults.strike("public/spot", fault) == 1
        with pytest.raises(ccxt.NetworkError):
            await within(watch)
        watch = asyncio.get_running_loop().create_task(client.watch_trades(SPOT))
        await subscribed(client, 2)
        server.market.print(SPOT, 64_000)
        assert (await within(watch))[-1]["price"] == 64_000


async def test_silence_in_its_three_kinds() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        async with watching(client.watch_trades, SPOT) as seen:
            await subscribed(client)
            (socket,) = client.clients.values()

            async def pinged(seconds: float = 30.0) -> bool:
                socket.lastPong = 0
                await socket.send(client.ping(socket))
                with suppress(TimeoutError):
                    await until(lambda: bool(socket.lastPong), seconds)
                return bool(socket.lastPong)

            assert await pinged()
            server.faults.strike("public/spot", Fault(Kind.FROZEN))
            server.market.print(SPOT, 64_000)
            assert await pinged()
            assert seen == []
            server.faults.strike("public/spot", Fault(Kind.THAW))
            server.faults.strike("public/spot", Fault(Kind.MUTED))
            server.market.print(SPOT, 64_000)
            assert not await pinged(0.03)
            assert len(seen) == 1
            server.faults.strike("public/spot", Fault(Kind.HALF_OPEN))
            server.market.print(SPOT, 64_000)
            assert not await pinged(0.03)
            assert len(seen) == 1
            # Or the client would wait ten seconds for a goodbye.
            server.faults.strike("public/spot", Fault(Kind.ABORT))


async def test_nonsense_is_answered_and_harms_nobody() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        session = client.session
        headers = {
            "X-BAPI-API-KEY": server.key,
            "X-BAPI-TIMESTAMP": "9" * 5000,
            "X-BAPI-SIGN": "\xe9",
            "X-BAPI-RECV-WINDOW": "\xb2",
        }
        async with session.get(f"{server.endpoint}/v5/order/realtime", headers=headers) as answer:
            assert (answer.status, (await answer.json())["retCode"]) == (200, 10001)
        headers |= {"X-BAPI-TIMESTAMP": str(client.milliseconds()), "X-BAPI-RECV-WINDOW": "5000"}
        async with session.get(f"{server.endpoint}/v5/order/realtime", headers=headers) as answer:
            assert (await answer.json())["retCode"] == 10004
        for name in ("public/spot", "public/nothing", "private", "trade"):
            async with session.ws_connect(f"{server.endpoint}/v5/{name}") as socket:
                for text in (
                    "", "[]", "{", "1", '{"op":[]}', '{"op":"subscribe"}', '{"op":"subscribe","args":[1,"x"]}',
                    '{"op":"subscribe","args":["orderbook.50.NOPE"]}', '{"op":"unsubscribe","args":["kline.1.NOPE"]}',
                    '{"op":"unsubscribe","args":["orderbook.x.BTCUSDT"]}', '{"op":"auth","args":["a","\u0669","\xe9"]}',
                    '{"op":"order.create","args":[],"header":[]}', '{"op":"order.create","args":[{}],"reqId":{}}',
                ):  # fmt: skip
                    await socket.send_str(text)
                    reply = await within(socket.receive())
                    assert reply.data
                    assert "retCode" in reply.data or "success" in reply.data
        assert (await client.fetch_balance())["USDT"]["free"] == 100_000


async def test_three_rows_of_one_order_may_share_a_frame() -> None:
    async with trading() as (server, client):
        await client.load_markets()
        frames: list[list[str]] = []
        plain = client.handle_order

        def handle(socket: Any, message: Any) -> None:
            frames.append([row["orderStatus"] for row in message["data"]])
            plain(socket, message)

        client.handle_order = handle
        async with watching(client.watch_orders):
            await subscribed(client)
            await client.create_order(SPOT, "limit", "buy", 0.01, 63_000)
            await until(lambda: bool(frames))
            work = server.floor.orders("main")[0]
            server.floor.amend("main", work.id, amount=Decimal("0.02"))
            server.floor.amend("main", work.id, amount=Decimal("0.03"))
            server.floor.cancel("main", work.id)
            await until(lambda: len(frames) == 2)
        assert frames == [["New"], ["New", "New", "Cancelled"]]
