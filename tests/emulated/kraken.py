"""Kraken on loopback: REST and WebSocket v2, public and private, over the emulated floor.

    async with kraken.serve() as server:
        ...                           # server.endpoint, server.floor, server.faults

Rules of this file:
1 What a client sees is what Kraken sends: error arrays with status 200, numbers as texts with all digits.
2 A call is admitted by key, then signature, then nonce; only an admitted one uses its nonce up.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal, localcontext
from time import time_ns
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Scope

from realtime.emulate.faults import Answer, Fault, Faults, FaultyRequests, Kind
from realtime.emulate.floor import Customer, Floor
from realtime.emulate.quiet import QuietMarket
from realtime.emulate.serving import serving
from realtime.model.errors import VenueRejected
from realtime.model.market import MONEY, SECOND, ZERO, Market, Trade
from realtime.model.orders import OrderType, Side
from realtime.venues.base import MarketSource
from tests.emulated import kraken_rows as rows
from tests.emulated.kraken_desk import Desk, Draft, truth
from tests.emulated.kraken_rows import Pair, Refusal, Row, Ticket
from tests.emulated.kraken_streams import TIMEFRAMES, Streams, refused, trade_number


KEY = "kraken-emulated-key"
SECRET = "a3Jha2VuLWVtdWxhdGVkLXNlY3JldA=="
"""Base 64, as every secret there."""
BALANCES = {"USD": Decimal(100_000), "BTC": Decimal(2), "ETH": Decimal(20)}
PAGE = 50
"""Rows of one answer of the histories."""


def market(symbol: str, tick: str, step: str, least: str) -> Market:
    """A market that charges nothing itself (rule 3)."""
    base, _, quote = symbol.partition("/")
    return Market(
        symbol=symbol,
        id=base + quote,
        base=base,
        quote=quote,
        price_tick=Decimal(tick),
        amount_step=Decimal(step),
        min_amount=Decimal(least),
        min_cost=Decimal("0.5"),
        maker=ZERO,
        taker=ZERO,
    )


MARKETS = {
    row.symbol: row
    for row in (
        market("BTC/USD", "0.1", "0.00000001", "0.00005"),
        market("ETH/USD", "0.01", "0.00000001", "0.002"),
    )
}


class Kraken:
    """The emulation.

    Args:
        floor: Not open yet; its markets charge no fees, which are taken here.
        maker, taker: Fee rates, 0..1.
        heartbeat_s: Between heartbeats of a socket.

    Attributes:
        endpoint: Where it is served.
        desk: Its orders.
        streams: Its sockets.
        calls: Private methods that were asked, in order.
    """

    def __init__(
        self,
        floor: Floor,
        *,
        maker: Decimal = Decimal("0.0016"),
        taker: Decimal = Decimal("0.0026"),
        heartbeat_s: float = 1.0,
    ) -> None:
        self.floor = floor
        self.faults = floor.faults
        self.desk = desk = Desk(floor, maker=maker, taker=taker)
        self.streams = Streams(desk, heartbeat_s=heartbeat_s)
        self.endpoint = ""
        self.calls: list[str] = []
        self._nonces: dict[str, int] = {}
        self._public: dict[str, Callable[[Mapping[str, str]], Awaitable[Row]]] = {
            "Time": self._time,
            "SystemStatus": self._system_status,
            "Assets": self._assets,
            "AssetPairs": self._asset_pairs,
            "Ticker": self._ticker,
            "Depth": self._depth,
            "Trades": self._trades,
            "OHLC": self._ohlc,
        }
        self._private: dict[str, Callable[[str, dict[str, Any]], Row]] = {
            "Balance": self._balance,
            "BalanceEx": self._balance_ex,
            "TradeVolume": self._trade_volume,
            "OpenOrders": self._open_orders,
            "ClosedOrders": self._closed_orders,
            "QueryOrders": self._query_orders,
            "TradesHistory": self._trades_history,
            "QueryTrades": self._query_trades,
            "AddOrder": self._add_order,
            "AmendOrder": desk.amend,
            "EditOrder": desk.edit,
            "CancelOrder": desk.cancel,
            "CancelOrderBatch": self._cancel_batch,
            "CancelAll": desk.cancel_all,
            "CancelAllOrdersAfter": desk.cancel_after,
            "GetWebSocketsToken": lambda account, _: self.streams.token(account),
        }
        app = Starlette(
            routes=[
                Route("/0/public/{method}", self._serve_public, methods=["GET", "POST"]),
                Route("/0/private/{method}", self._serve_private, methods=["POST"]),
                WebSocketRoute("/v2", self.streams.serve),
            ]
        )
        self.app = FaultyRequests(app, self.faults, in_code)

    async def open(self) -> None:
        """Open the floor and learn its markets."""
        await self.floor.open()
        self.desk.open()

    async def run(self) -> None:
        """Let the market live until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.floor.run())
            group.create_task(self.streams.run())

    async def _serve_public(self, request: Request) -> Response:
        method = self._public.get(request.path_params["method"], _nothing)
        try:
            result = await method(dict(request.query_params))
        except Refusal as refusal:
            return answer({"error": [str(refusal)]})
        except (ValueError, ArithmeticError):
            return answer({"error": ["EGeneral:Invalid arguments"]})
        return answer({"error": [], "result": result})

    async def _serve_private(self, request: Request) -> Response:
        name = request.path_params["method"]
        body = await request.body()
        try:
            values = self._form(request, body)
            account = self._admit(request, body, values)
            self.calls.append(name)
            with localcontext(MONEY):
                result = self._private.get(name, _unknown)(account, values)
        except Refusal as refusal:
            return answer({"error": [str(refusal)]})
        except VenueRejected as error:
            return answer({"error": [refused(error)]})
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            return answer({"error": ["EGeneral:Invalid arguments"]})
        return answer({"error": [], "result": result})

    def _form(self, request: Request, body: bytes) -> dict[str, Any]:
        if request.headers.get("content-type", "").startswith("application/json"):
            values = orjson.loads(body)
            return values if isinstance(values, dict) else {}
        return dict(parse_qsl(body.decode(), keep_blank_values=True))

    def _admit(self, request: Request, body: bytes, values: Mapping[str, Any]) -> str:
        """Whose key signed this, with a nonce above all before."""
        key = request.headers.get("api-key", "")
        customer = self.floor.customers.get(key)
        if customer is None or key in self.faults.expired:
            raise Refusal("EAPI:Invalid key")
        nonce = str(values.get("nonce", ""))
        signed = rows.sign(customer.secret, request.url.path, nonce, body)
        if request.headers.get("api-sign") != signed:
            raise Refusal("EAPI:Invalid signature")
        if not nonce.isdecimal() or int(nonce) <= self._nonces.get(key, 0):
            raise Refusal("EAPI:Invalid nonce")
        self._nonces[key] = int(nonce)
        return customer.account

    async def _time(self, _: Mapping[str, str]) -> Row:
        now = self.desk.now()
        return {"unixtime": now // SECOND, "rfc1123": rows.iso(now)}

    async def _system_status(self, _: Mapping[str, str]) -> Row:
        return {"status": "online", "timestamp": rows.iso(self.desk.now())[:19] + "Z"}

    async def _assets(self, _: Mapping[str, str]) -> Row:
        currencies = {
            name for pair in self.desk.pairs for name in (pair.market.base, pair.market.quote)
        }
        return {rows.asset(name): rows.asset_row(name) for name in sorted(currencies)}

    async def _asset_pairs(self, _: Mapping[str, str]) -> Row:
        return {pair.id: pair.row(self.desk.maker, self.desk.taker) for pair in self.desk.pairs}

    async def _ticker(self, query: Mapping[str, str]) -> Row:
        names = query.get("pair", "")
        pairs = [self.desk.pair(name) for name in names.split(",")] if names else self.desk.pairs
        return {pair.id: self._ticker_row(pair) for pair in pairs}

    def _ticker_row(self, pair: Pair) -> Row:
        ticker = self.streams.tickers[pair.name]
        daily = ticker.daily
        volume = rows.fixed(daily.volume or ZERO, rows.LOT_DECIMALS)
        ask = rows.fixed(ticker.ask_amount or ZERO, 3)
        bid = rows.fixed(ticker.bid_amount or ZERO, 3)
        low, high, vwap = map(pair.price, (daily.low, daily.high, daily.vwap or daily.last))
        return {
            "a": [pair.price(ticker.ask), ask.partition(".")[0], ask],
            "b": [pair.price(ticker.bid), bid.partition(".")[0], bid],
            "c": [pair.price(daily.last), rows.fixed(pair.market.amount_step, 8)],
            "v": [volume, volume],
            "p": [vwap, vwap],
            "t": [1, 1],
            "l": [low, low],
            "h": [high, high],
            "o": pair.price(daily.open),
        }

    async def _depth(self, query: Mapping[str, str]) -> Row:
        pair = self.desk.pair(query.get("pair"))
        count = min(int(query.get("count", "100")), 500)
        now = self.desk.now() // SECOND
        sides = {"asks": Side.SELL, "bids": Side.BUY}
        return {
            pair.id: {
                name: [
                    [price, amount[:-5], now]
                    for price, amount in self.desk.levels(pair, side, count)
                ]
                for name, side in sides.items()
            }
        }

    async def _trades(self, query: Mapping[str, str]) -> Row:
        pair = self.desk.pair(query.get("pair"))
        count = min(int(query.get("count", "1000")), 1000)
        since = int(query.get("since", "0"))
        # Seconds or nanoseconds, as one likes.
        since = since if since > 10**14 else since * SECOND
        trades = [each for each in await self.floor.trades(pair.name, 1000) if each.ts > since]
        trades = trades[:count] if since else trades[-count:]
        last = trades[-1].ts if trades else since
        return {pair.id: [self._public_trade(pair, each) for each in trades], "last": str(last)}

    def _public_trade(self, pair: Pair, trade: Trade) -> list[Any]:
        return [
            pair.price(trade.price),
            rows.fixed(trade.amount, rows.LOT_DECIMALS),
            rows.seconds(trade.ts),
            trade.side[0],
            "l",
            "",
            trade_number(trade),
        ]

    async def _ohlc(self, query: Mapping[str, str]) -> Row:
        pair = self.desk.pair(query.get("pair"))
        timeframe = TIMEFRAMES.get(int(query.get("interval", "1")))
        if timeframe is None:
            raise Refusal("EGeneral:Invalid arguments")
        since = int(query.get("since", "0")) * SECOND
        bars = await self.floor.bars(pair.name, timeframe, None, 720)
        # Always the newest 720, whatever `since` asks for.
        found = [bar for bar in bars if bar.ts > since]
        last = found[-2].ts // SECOND if len(found) > 1 else since // SECOND
        return {
            pair.id: [
                [
                    bar.ts // SECOND,
                    *map(pair.price, (bar.open, bar.high, bar.low, bar.close, bar.close)),
                    rows.fixed(bar.volume, rows.LOT_DECIMALS),
                    1 if Decimal(bar.volume) else 0,
                ]
                for bar in found
            ],
            "last": last,
        }

    def _balance(self, account: str, _: Mapping[str, Any]) -> Row:
        wallets = self.floor.exchange.clearing.accounts[account].wallets
        return {rows.asset(name): rows.fixed(held.total, 10) for name, held in wallets.items()}

    def _balance_ex(self, account: str, _: Mapping[str, Any]) -> Row:
        wallets = self.floor.exchange.clearing.accounts[account].wallets
        return {
            rows.asset(name): {
                "balance": rows.fixed(held.total, 10),
                "hold_trade": rows.fixed(held.held, 10),
            }
            for name, held in wallets.items()
        }

    def _trade_volume(self, account: str, values: Mapping[str, Any]) -> Row:
        pairs = [self.desk.pair(name) for name in str(values.get("pair", "")).split(",") if name]
        traded = self.floor.exchange.clearing.accounts[account].volume

        def fees(rate: Decimal) -> Row:
            percent = rows.fixed(rate * 100, 4)
            row = {"fee": percent, "minfee": percent, "maxfee": percent, "tiervolume": "0.0000"}
            return {pair.id: row for pair in pairs}

        return {
            "currency": "ZUSD",
            "volume": rows.fixed(traded, 4),
            "fees": fees(self.desk.taker),
            "fees_maker": fees(self.desk.maker),
        }

    def _matching(self, tickets: list[Ticket], values: Mapping[str, Any]) -> list[Ticket]:
        userref, cl_ord_id = values.get("userref"), values.get("cl_ord_id")
        if userref is not None:
            tickets = [each for each in tickets if str(each.userref) == str(userref)]
        if cl_ord_id is not None:
            tickets = [each for each in tickets if each.cl_ord_id == cl_ord_id]
        return tickets

    def _open_orders(self, account: str, values: Mapping[str, Any]) -> Row:
        open_ones = [each for each in self.desk.visible(account) if not each.work.status.ended]
        trades = truth(values.get("trades"))
        return {
            "open": {
                each.txid: rows.order_row(each, trades=trades)
                for each in self._matching(open_ones, values)
            }
        }

    def _closed_orders(self, account: str, values: Mapping[str, Any]) -> Row:
        closed = [each for each in self.desk.visible(account) if each.work.status.ended]
        found = self._matching(closed, values)
        start, end = span(values)
        found = [each for each in found if start < each.work.updated_ts <= end]
        found.sort(key=lambda each: each.work.updated_ts, reverse=True)
        offset, trades = int(values.get("ofs") or 0), truth(values.get("trades"))
        page = found[offset : offset + PAGE]
        return {
            "closed": {each.txid: rows.order_row(each, trades=trades) for each in page},
            "count": len(found),
        }

    def _query_orders(self, account: str, values: Mapping[str, Any]) -> Row:
        """By txid, further narrowed by userref; a client id is not a way to ask here."""
        names = [name for name in str(values.get("txid", "")).split(",") if name]
        if not names and values.get("userref") is None:
            raise Refusal("EGeneral:Invalid arguments")
        visible = self.desk.visible(account)
        found = [each for each in visible if not names or each.txid in names]
        narrowed = {"userref": values.get("userref")}
        trades = truth(values.get("trades"))
        return {
            each.txid: rows.order_row(each, trades=trades)
            for each in self._matching(found, narrowed)
        }

    def _trades_history(self, account: str, values: Mapping[str, Any]) -> Row:
        start, end = span(values)
        found = [each for each in self.desk.executions_of(account) if start < each.fill.ts <= end]
        found.sort(key=lambda each: (each.fill.ts, each.trade_id), reverse=True)
        offset = int(values.get("ofs") or 0)
        page = found[offset : offset + PAGE]
        return {"trades": {each.exec_id: rows.fill_row(each) for each in page}, "count": len(found)}

    def _query_trades(self, account: str, values: Mapping[str, Any]) -> Row:
        names = [name for name in str(values.get("txid", "")).split(",") if name]
        known = {each.exec_id: each for each in self.desk.executions_of(account)}
        if not names or any(name not in known for name in names):
            raise Refusal("EQuery:Unknown trade")
        return {name: rows.fill_row(known[name]) for name in names}

    def _add_order(self, account: str, values: Mapping[str, Any]) -> Row:
        self.desk.check_deadline(values)
        draft = self._draft(values)
        ticket = self.desk.place(account, draft)
        described = rows.sentence(ticket)
        if draft.validate:
            return {"descr": {"order": described}}
        return {"descr": {"order": described}, "txid": [ticket.txid]}

    def _draft(self, values: Mapping[str, Any]) -> Draft:
        """An order of a REST form."""
        word = str(values.get("ordertype", ""))
        if word not in rows.TYPES:
            raise Refusal("EGeneral:Invalid arguments:ordertype")
        volume = rows.decimal_of(values, "volume")
        if not volume:
            raise Refusal("EGeneral:Invalid arguments:volume")
        draft = Draft(
            pair=self.desk.pair(values.get("pair")),
            side=rows.side_of(values.get("type")),
            word=word,
            volume=volume,
            time_in_force=rows.time_in_force(str(values.get("timeinforce") or "")),
            reduce_only=truth(values.get("reduce_only")),
            validate=truth(values.get("validate")),
        )
        flags = str(values.get("oflags") or "").split(",")
        draft.viqc, draft.post_only = "viqc" in flags, "post" in flags
        if rows.TYPES[word] is OrderType.TRAILING_STOP:
            raw = str(values.get("price", "")).lstrip("+")
            if raw.endswith("%"):
                draft.trailing_rate = Decimal(raw[:-1]) / 100
            else:
                draft.trailing_amount = rows.decimal_of({"price": raw}, "price")
        elif rows.TYPES[word].triggered:
            draft.stop_price = rows.decimal_of(values, "price")
            draft.price = rows.decimal_of(values, "price2")
        else:
            draft.price = rows.decimal_of(values, "price")
        self.desk.name(draft, values)
        raw = str(values.get("expiretm") or "0")
        if raw not in {"0", ""}:
            now = self.floor.now()
            draft.expire_ts = now + int(raw[1:]) * SECOND if raw[0] == "+" else int(raw) * SECOND
        return draft

    def _cancel_batch(self, account: str, values: Mapping[str, Any]) -> Row:
        count = 0
        for name in values.get("orders", []):
            with contextlib.suppress(Refusal):
                count += self.desk.cancel(account, {"txid": name})["count"]
        return {"count": count}


async def _nothing(_: Mapping[str, str]) -> Row:
    raise Refusal("EGeneral:Unknown method")


def _unknown(_: str, __: Mapping[str, Any]) -> Row:
    raise Refusal("EGeneral:Unknown method")


def answer(body: object) -> Response:
    """Everything comes with status 200, errors too."""
    return Response(orjson.dumps(body), media_type="application/json")


def in_code(_: Scope, fault: Fault) -> Answer:
    """A scripted error in an error array."""
    text = fault.message or str(fault.code or "EGeneral:Internal error")
    if fault.kind is Kind.RATE_LIMITED:
        text = fault.message or "EAPI:Rate limit exceeded"
    body = orjson.dumps({"error": [text]})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return 200, headers, body


def span(values: Mapping[str, Any]) -> tuple[int, int]:
    """`start` (exclusive) and `end` (inclusive) of a history [ns]."""
    start, end = values.get("start"), values.get("end")
    begin = -1 if not start else int(Decimal(str(start)) * SECOND) - 1
    return begin, 10**19 if not end else int(Decimal(str(end)) * SECOND)


@asynccontextmanager
async def serve(
    *,
    source: Callable[[Callable[[], int]], MarketSource] | None = None,
    customers: Sequence[Customer] = (),
    faults: Faults | None = None,
    **more: Any,
) -> AsyncIterator[Kraken]:
    """Serve an emulated Kraken on loopback while the block runs.

    Args:
        source: Makes the market from a clock; a quiet one with `MARKETS` by default. Its markets charge no fees.
        customers: Who trades; one with `KEY`, `SECRET` and `BALANCES` by default.
        faults: What goes wrong.
        more: Of `Kraken`.
    """
    market_source = (
        QuietMarket(now=time_ns, markets=MARKETS, prices={"BTC/USD": 60_000, "ETH/USD": 3_000})
        if source is None
        else source(time_ns)
    )
    floor = Floor(
        venue="kraken",
        source=market_source,
        customers=customers or (Customer(key=KEY, secret=SECRET, balances=BALANCES),),
        faults=faults,
    )
    server = Kraken(floor, **more)
    await server.open()
    async with serving(server.app) as endpoint:
        server.endpoint = endpoint
        running = asyncio.create_task(server.run())
        try:
            yield server
        finally:
            server.desk.close()
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error
