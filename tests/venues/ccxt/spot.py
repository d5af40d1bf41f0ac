"""A small Binance spot on the loopback: REST and one kind of socket, with switches for what goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import WSMsgType, web


def listing(
    name: str, base: str, quote: str, *, tick: str = "0.01", status: str = "TRADING"
) -> dict[str, Any]:
    return {
        "symbol": name,
        "status": status,
        "baseAsset": base,
        "quoteAsset": quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": ["SPOT"],
        "permissionSets": [["SPOT"]],
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000",
                "tickSize": tick,
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": "0.00001",
                "maxQty": "9000",
                "stepSize": "0.00001",
            },
            {"filterType": "NOTIONAL", "minNotional": "5.0", "maxNotional": "9000000"},
        ],
    }


@dataclass
class Spot:
    """What the venue holds and does.

    Attributes:
        html: Paths that answer HTML with status 200.
        mute: Neither pongs nor reads; what is sent to it is swallowed.
        down: New sockets are refused.
    """

    endpoint: str = ""
    listings: list[dict[str, Any]] = field(
        default_factory=lambda: [
            listing("BTCUSDT", "BTC", "USDT"),
            listing("ETHUSDT", "ETH", "USDT"),
        ]
    )
    update: int = 100
    bids: dict[str, str] = field(default_factory=lambda: {"100.00": "1.5", "99.00": "2.0"})
    asks: dict[str, str] = field(default_factory=lambda: {"101.00": "0.5", "102.00": "3.0"})
    tape: list[dict[str, Any]] = field(default_factory=list)
    html: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)
    mute: bool = False
    down: bool = False
    sockets: dict[web.WebSocketResponse, list[str]] = field(default_factory=dict)
    subscribed: list[str] = field(default_factory=list)
    dials: int = 0
    asked: list[str] = field(default_factory=list)

    # --- REST ---------------------------------------------------------------------------------

    async def rest(self, request: web.Request) -> web.Response:
        name = request.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        if name in self.html:
            return web.Response(text="<html><body>busy</body></html>", content_type="text/html")
        if name in self.status:
            return web.Response(status=self.status[name], text="{}")
        answers: dict[str, Any] = {
            "exchangeInfo": lambda: {"symbols": self.listings},
            "depth": lambda: {
                "lastUpdateId": self.update,
                "bids": list(map(list, self.bids.items())),
                "asks": list(map(list, self.asks.items())),
            },
            "trades": lambda: self.tape[-int(request.query.get("limit", 500)) :],
            "24hr": self.day,
            "klines": lambda: KLINES,
        }
        body = answers[name]() if name in answers else {}
        return web.Response(body=orjson.dumps(body), content_type="application/json")

    def day(self) -> dict[str, Any]:
        last = self.tape[-1]["price"] if self.tape else "100.00"
        return {
            "symbol": "BTCUSDT",
            "lastPrice": last,
            "bidPrice": next(iter(self.bids)),
            "bidQty": "1",
            "askPrice": next(iter(self.asks)),
            "askQty": "1",
            "openPrice": "90.00",
            "highPrice": "110.00",
            "lowPrice": "89.00",
            "volume": "1000.0",
            "quoteVolume": "100000.0",
            "closeTime": 1_700_000_000_000,
        }

    # --- sockets ------------------------------------------------------------------------------

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        self.dials += 1
        if self.down:
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.sockets[socket] = []
        try:
            async for message in socket:
                if self.mute:
                    continue
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.TEXT:
                    told = orjson.loads(message.data)
                    names = told.get("params", [])
                    if told["method"] == "SUBSCRIBE":
                        self.subscribed += names
                        self.sockets[socket] += names
                    else:
                        self.subscribed = [one for one in self.subscribed if one not in names]
                    await socket.send_str(f'{{"result":null,"id":{told["id"]}}}')
        finally:
            del self.sockets[socket]
        return socket

    async def send(self, *messages: dict[str, Any]) -> None:
        """Send frames on the sockets that have subscribed to their kind."""
        for socket, names in tuple(self.sockets.items()):
            for message in messages:
                kind = {"depthUpdate": "depth", "24hrTicker": "ticker"}.get(
                    message["e"], message["e"]
                )
                if not any(name.split("@")[1] == kind for name in names):
                    continue
                await socket.send_str(orjson.dumps(message).decode())

    async def close(self, code: int) -> None:
        for socket in tuple(self.sockets):
            await socket.close(code=code)

    # --- frames -------------------------------------------------------------------------------

    def trade(
        self, number: int, price: str, amount: str, ms: int, *, buy: bool = True
    ) -> dict[str, Any]:
        """Print a trade on the tape, and give its frame."""
        self.tape.append(
            {
                "id": number,
                "price": price,
                "qty": amount,
                "quoteQty": "0",
                "time": ms,
                "isBuyerMaker": not buy,
                "isBestMatch": True,
            }
        )
        return {
            "e": "trade",
            "E": ms,
            "s": "BTCUSDT",
            "t": number,
            "p": price,
            "q": amount,
            "T": ms,
            "m": not buy,
            "M": True,
        }

    def depth(
        self,
        bids: dict[str, str] | None = None,
        asks: dict[str, str] | None = None,
        *,
        skip: int = 0,
    ) -> dict[str, Any]:
        """Change the book, and give the frame; `skip` leaves out so many updates before it."""
        for side, changes in ((self.bids, bids or {}), (self.asks, asks or {})):
            for price, amount in changes.items():
                side[price] = amount
                if not float(amount):
                    del side[price]
        first = self.update + 1 + skip
        self.update = first
        return {
            "e": "depthUpdate",
            "E": 1_700_000_000_000,
            "s": "BTCUSDT",
            "U": first,
            "u": first,
            "b": list(map(list, (bids or {}).items())),
            "a": list(map(list, (asks or {}).items())),
        }

    def ticker(
        self, last: str, bid: str = "100.00", ask: str = "101.00", ms: int = 0
    ) -> dict[str, Any]:
        return {
            "e": "24hrTicker",
            "E": ms or 1_700_000_000_000,
            "s": "BTCUSDT",
            "p": "1",
            "P": "1",
            "w": "99",
            "x": "99",
            "c": last,
            "Q": "1",
            "b": bid,
            "B": "1.25",
            "a": ask,
            "A": "0.75",
            "o": "90.00",
            "h": "110.00",
            "l": "89.00",
            "v": "1000.0",
            "q": "100000.0",
            "O": 1,
            "C": ms or 1_700_000_000_000,
            "F": 1,
            "L": 2,
            "n": 2,
        }


KLINES = [
    [1_700_000_000_000 + i * 60_000, "1.0", "2.0", "0.5", "1.5", "10.0", 0, "0", 0, "0", "0", "0"]
    for i in range(3)
]


@asynccontextmanager
async def spot() -> AsyncIterator[Spot]:
    """Serve it on a free port of the loopback."""
    venue = Spot()
    app = web.Application()
    app.router.add_get("/api/{tail:.*}", venue.rest)
    app.router.add_get("/ws/{tail:.*}", venue.socket)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    venue.endpoint = f"http://127.0.0.1:{port}"
    try:
        yield venue
    finally:
        for socket in tuple(venue.sockets):
            await socket.close()
        await runner.cleanup()


async def until(true: Any, seconds: float = 30.0) -> None:
    """Wait until something holds; fail when it does not in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not true():
        assert loop.time() < end, "it did not come about in time"
        await asyncio.sleep(0.005)
