"""Bitfinex on loopback: REST and WebSocket v2, public and private, over the emulated floor.

    async with bitfinex.serve() as server:
        ...                           # server.endpoint, server.floor, server.faults

What a client sees is what Bitfinex sends: arrays without names, and errors with status 500 as `["error", code, text]`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal, localcontext
from time import time_ns
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Scope

from realtime.emulate.faults import Answer, Fault, Faults, FaultyRequests, Kind
from realtime.emulate.floor import Customer, Floor, number_of
from realtime.emulate.quiet import QuietMarket
from realtime.emulate.serving import serving
from realtime.model.market import MONEY, MS, Market
from realtime.venues.base import MarketSource
from tests.emulated import bitfinex_rows as rows
from tests.emulated.bitfinex_desk import ASIDE, PRECISIONS, Desk
from tests.emulated.bitfinex_rows import Array, Refusal
from tests.emulated.bitfinex_streams import CAPS, LENGTHS, Streams, candle_row


KEY = "bitfinex-emulated-key"
SECRET = "bitfinex-emulated-secret"
BALANCES = {"USD": Decimal(100_000), "BTC": Decimal(2)}
MARGIN = {"USDT": Decimal(50_000)}


def market(symbol: str, tick: str, least: str) -> Market:
    """A spot market."""
    base, _, quote = symbol.partition("/")
    return Market(
        symbol=symbol,
        id=base + quote,
        base=base,
        quote=quote,
        price_tick=Decimal(tick),
        amount_step=Decimal("0.00000001"),
        min_amount=Decimal(least),
        max_amount=Decimal(2_000),
        maker=Decimal("0.001"),
        taker=Decimal("0.002"),
    )


def derivative(base: str, tick: str, least: str) -> Market:
    """A perpetual settled in USDT."""
    return Market(
        symbol=f"{base}/USDT:USDT",
        id=f"{base}F0:USTF0",
        base=base,
        quote="USDT",
        settle="USDT",
        type="swap",
        price_tick=Decimal(tick),
        amount_step=Decimal("0.00000001"),
        min_amount=Decimal(least),
        max_amount=Decimal(100),
        max_leverage=Decimal(100),
        maker=Decimal("0.0002"),
        taker=Decimal("0.00065"),
    )


MARKETS = {
    row.symbol: row
    for row in (market("BTC/USD", "1", "0.00006"), derivative("BTC", "1", "0.00006"))
}


class Bitfinex:
    """The emulation.

    Args:
        floor: Not open yet. The account of a key has another beside it, whose name ends in `ASIDE`.
        heartbeat_s: Between heartbeats of a channel.

    Attributes:
        endpoint: Where it is served.
        desk: Its orders.
        streams: Its sockets.
    """

    def __init__(self, floor: Floor, *, heartbeat_s: float = 15.0) -> None:
        self.floor = floor
        self.faults = floor.faults
        self.desk = Desk(floor)
        self.streams = Streams(self.desk, heartbeat_s=heartbeat_s)
        self.endpoint = ""
        app = Starlette(
            routes=[
                Route("/v2/auth/{path:path}", self._serve_private, methods=["POST"]),
                Route("/v2/{path:path}", self._serve_public, methods=["GET"]),
                WebSocketRoute("/ws/2", self.streams.serve),
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
        try:
            return answer(
                await self._look(request.path_params["path"].split("/"), dict(request.query_params))
            )
        except Refusal as refusal:
            return failed(refusal)
        except (ValueError, ArithmeticError):
            return failed(Refusal(10_020, "parameters: invalid"))

    async def _look(self, parts: list[str], query: dict[str, str]) -> Array:
        match parts:
            case ["platform", "status"]:
                return [int(self.desk.operative)]
            case ["conf", config]:
                return [self._conf(label) for label in config.split(",")]
            case ["tickers"]:
                return self._ticker_rows(query.get("symbols", "ALL"))
            case ["ticker", symbol]:
                return rows.ticker_row(self.streams.tickers[self.desk.market(symbol).symbol])
            case ["book", symbol, precision]:
                return self._book(symbol, precision, query.get("len", "25"))
            case ["trades", symbol, "hist"]:
                return await self._trades(symbol, query)
            case ["candles", key, section]:
                return await self._candles(key, section, query)
            case _:
                raise Refusal(10_020, "path: invalid")

    async def _serve_private(self, request: Request) -> Response:
        body = await request.body()
        try:
            account = self.desk.admit(
                request.headers.get("bfx-apikey", ""),
                request.headers.get("bfx-nonce", ""),
                f"/api{request.url.path}{request.headers.get('bfx-nonce', '')}{body.decode()}",
                request.headers.get("bfx-signature", ""),
            )
            values = orjson.loads(body or b"{}")
            with localcontext(MONEY):
                return answer(self._do(account, request.path_params["path"].split("/"), values))
        except Refusal as refusal:
            return failed(refusal)
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            return failed(Refusal(10_020, "parameters: invalid"))

    def _conf(self, label: str) -> Array:
        spot = [each for each in self.desk.by_id.values() if not each.contract]
        contracts = [each for each in self.desk.by_id.values() if each.contract]
        codes = sorted(
            {rows.currency(code) for each in spot for code in (each.base, each.quote)}
            | {
                rows.currency(code, derivative=True)
                for each in contracts
                for code in (each.base, each.quote)
            }
        )
        match label:
            case "pub:info:pair":
                return [rows.pair_info(each) for each in spot]
            case "pub:info:pair:futures":
                return [rows.pair_info(each) for each in contracts]
            case "pub:list:pair:exchange":
                return [rows.pair_id(each) for each in spot]
            case "pub:list:pair:futures":
                return [rows.pair_id(each) for each in contracts]
            case "pub:list:currency":
                return codes
            case "pub:map:currency:undl":
                return [[code, code[:-2]] for code in codes if code.endswith("F0")]
            case _:
                return []

    def _ticker_rows(self, names: str) -> Array:
        wanted = list(self.desk.by_id) if names == "ALL" else names.split(",")
        return [
            [name, *rows.ticker_row(self.streams.tickers[self.desk.by_id[name].symbol])]
            for name in wanted
            if name in self.desk.by_id
        ]

    def _book(self, symbol: str, precision: str, length: str) -> Array:
        if precision not in {*PRECISIONS, "R0"} or length not in LENGTHS:
            raise Refusal(10_020, "len: invalid" if length not in LENGTHS else "prec: invalid")
        return list(self.desk.book_rows(self.desk.market(symbol), precision, int(length)).values())

    async def _trades(self, symbol: str, query: Mapping[str, str]) -> Array:
        held = self.desk.market(symbol)
        found = [
            each
            for each in await self.floor.trades(held.symbol, 1_000)
            if int(query.get("start", "0")) * MS <= each.ts <= int(query.get("end", 10**13)) * MS
        ]
        limit = min(int(query.get("limit", "120")), 10_000)
        if query.get("sort", "-1") == "1":
            return [rows.trade_row(each) for each in found[:limit]]
        return [rows.trade_row(each) for each in reversed(found[-limit:])]

    async def _candles(self, key: str, section: str, query: Mapping[str, str]) -> Array:
        held, timeframe = self.desk.candle_key(key)
        limit = 1 if section == "last" else min(int(query.get("limit", "100")), 10_000)
        start = int(query["start"]) * MS if "start" in query else None
        with localcontext(MONEY):
            bars = await self.floor.bars(held.symbol, timeframe, start, limit)
        found = [candle_row(each) for each in bars]
        if section == "last":
            return found[-1]
        return found if query.get("sort") == "1" else found[::-1]

    def _closed_rows(self, account: str, values: Mapping[str, Any], symbol: str | None) -> Array:
        start, end = values.get("start") or 0, values.get("end") or 10**13
        found = [
            each
            for each in self.desk.chosen(account, values, symbol, ended=True)
            if start <= each.work.updated_ts // MS <= end
        ]
        found.sort(key=lambda each: each.work.updated_ts, reverse=True)
        return [self.desk.row(each) for each in found[: min(values.get("limit") or 25, 2_500)]]

    def _fill_rows(
        self,
        account: str,
        values: Mapping[str, Any],
        symbol: str | None,
        order: int | None = None,
    ) -> Array:
        if symbol is not None:
            self.desk.market(symbol)
        start, end = values.get("start") or 0, values.get("end") or 10**13
        found = []
        for _, name in self.desk.accounts(account):
            if name not in self.floor.exchange.clearing.accounts:
                continue
            for fill in self.floor.fills(name):
                ticket = self.desk.tickets[number_of(fill.exchange_order_id)]
                if (
                    start <= fill.ts // MS <= end
                    and (symbol is None or rows.symbol_id(ticket.market) == symbol)
                    and order in {None, ticket.id}
                ):
                    found.append((fill.ts, number_of(fill.trade_id), fill, ticket))
        found.sort(key=lambda each: each[:2], reverse=True)
        limit = min(values.get("limit") or 25, 2_500)
        return [rows.fill_row(fill, ticket) for _, _, fill, ticket in found[:limit]]

    def _summary(self) -> Array:
        spot = next(each for each in self.desk.by_id.values() if not each.contract)
        contract = next((each for each in self.desk.by_id.values() if each.contract), spot)
        maker, taker = float(spot.maker), float(spot.taker)
        fees = [
            [maker, maker, maker, None, None, float(contract.maker)],
            [taker, taker, taker, None, None, float(contract.taker)],
        ]
        return [None, None, None, None, fees, None, None, None, None, {"leo_lev": 0}]

    def _do(self, account: str, path: list[str], values: Mapping[str, Any]) -> Array:
        match path:
            case ["r", "wallets"]:
                return self.desk.wallets(account)
            case ["r", "orders"]:
                return self.desk.open_rows(account, values, None)
            case ["r", "orders", "hist"]:
                return self._closed_rows(account, values, None)
            case ["r", "orders", symbol, "hist"]:
                return self._closed_rows(account, values, symbol)
            case ["r", "orders", symbol]:
                return self.desk.open_rows(account, values, symbol)
            case ["r", "order", name, "trades"]:
                symbol, _, number = name.rpartition(":")
                return self._fill_rows(account, {"limit": 2_500}, symbol, int(number))
            case ["r", "trades", "hist"]:
                return self._fill_rows(account, values, None)
            case ["r", "trades", symbol, "hist"]:
                return self._fill_rows(account, values, symbol)
            case ["r", "positions"]:
                return self.desk.position_rows(account)
            case ["r", "permissions"]:
                return [[name, cap["read"], cap["write"]] for name, cap in CAPS.items()]
            case ["r", "summary"]:
                return self._summary()
            case ["w", "order", "submit"]:
                note = self.desk.order(account, "on", values)
                note[4] = [note[4]]  # here, one of several that could have been made
                return note
            case ["w", "order", "update"]:
                return self.desk.order(account, "ou", values)
            case ["w", "order", "cancel"]:
                return self.desk.order(account, "oc", values)
            case ["w", "order", "cancel", "multi"]:
                return self.desk.order(account, "oc_multi", values)
            case _:
                raise Refusal(10_020, "path: invalid")


def answer(body: object) -> Response:
    """An answer."""
    return Response(orjson.dumps(body), media_type="application/json")


def failed(refusal: Refusal) -> Response:
    """An error: status 500 and an array."""
    body = orjson.dumps(["error", refusal.code, refusal.text])
    return Response(body, status_code=500, media_type="application/json")


def in_code(_: Scope, fault: Fault) -> Answer:
    """A scripted error."""
    limited = fault.kind is Kind.RATE_LIMITED
    code, text = (11_010, "ratelimit: error") if limited else (fault.code, fault.message)
    body = orjson.dumps(["error", code, text])
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return 429 if limited else 500, headers, body


@asynccontextmanager
async def serve(
    *,
    source: Callable[[Callable[[], int]], MarketSource] | None = None,
    customers: Sequence[Customer] = (),
    faults: Faults | None = None,
    **more: Any,
) -> AsyncIterator[Bitfinex]:
    """Serve an emulated Bitfinex on loopback while the block runs.

    Args:
        source: Makes the market from a clock; a quiet one with `MARKETS` by default.
        customers: Who trades; one with `KEY`, `SECRET`, `BALANCES` and `MARGIN` by default.
        faults: What goes wrong.
        more: Of `Bitfinex`.
    """
    market_source = (
        QuietMarket(now=time_ns, markets=MARKETS, prices=dict.fromkeys(MARKETS, 60_000), depth=30)
        if source is None
        else source(time_ns)
    )
    main = Customer(key=KEY, secret=SECRET, balances=BALANCES)
    aside = Customer(account=f"main{ASIDE}", key=KEY + ASIDE, secret=SECRET, balances=MARGIN)
    floor = Floor(
        venue="bitfinex",
        source=market_source,
        customers=customers or (main, aside),
        faults=faults,
    )
    server = Bitfinex(floor, **more)
    await server.open()
    async with serving(server.app) as endpoint:
        server.endpoint = endpoint
        running = asyncio.create_task(server.run())
        try:
            yield server
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled() and (error := running.exception()) is not None:
                raise error
