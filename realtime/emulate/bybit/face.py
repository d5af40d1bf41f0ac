"""The whole of the emulated Bybit, and how it is served.

async with emulated(balances={"USDT": "10000"}) as server:
    client = ccxt.pro.bybit({"apiKey": server.key, "secret": server.secret})
    client.urls["api"] = urls(server.endpoint)
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal

from starlette.routing import Router, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from realtime.emulate.bybit.board import Board
from realtime.emulate.bybit.rest import Meter, Rest
from realtime.emulate.bybit.streams import Streams
from realtime.emulate.bybit.trading import Trading
from realtime.emulate.faults import Faults, FaultyRequests
from realtime.emulate.floor import Customer, Floor
from realtime.emulate.quiet import QuietMarket
from realtime.emulate.serving import serving
from realtime.venues.base import MarketSource, Now


class Bybit:
    """The exchange's face on a floor, an ASGI application; made before the floor is opened.

    Args:
        floor: Its matching, customers and market.
        enforce_limits: Whether too many requests a second are refused.

    Attributes:
        trading: The accounts' side.
        board: The public side.
    """

    def __init__(self, floor: Floor, *, enforce_limits: bool = False) -> None:
        meter = Meter(enforced=enforce_limits)
        self.trading = Trading(floor)
        self.board = Board(floor, self.trading.statements.market, self.trading.on_trade)
        rest = Rest(floor, self.trading, self.board, meter)
        self._streams = Streams(floor, self.board, meter, rest.now_ms)
        self.trading.on_row = self._streams.on_row
        self._requests = FaultyRequests(rest, floor.faults, rest.in_code)
        self._sockets = Router(
            [
                WebSocketRoute("/v5/public/{category}", self._streams.public),
                WebSocketRoute("/v5/private", self._streams.private),
                WebSocketRoute("/v5/trade", self._trade),
            ]
        )

    async def _trade(self, websocket: WebSocket) -> None:
        await self._streams.trade(websocket, self.trading)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] == "http":
            await self._requests(scope, receive, send)
        else:
            await self._sockets(scope, receive, send)

    async def run(self) -> None:
        """What the face does by itself, until cancelled."""
        await self.board.run()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulated:
    """A running emulation.

    Attributes:
        endpoint: Such as `http://127.0.0.1:43210`.
        key, secret: Of the first customer.
        floor: To look at, and to act on.
        quiet: The market, where it is one that does what it is told.
        faults: What goes wrong.
        tasks: What runs by itself; none of them ends before the emulation does, unless it failed.
    """

    endpoint: str
    key: str
    secret: str
    floor: Floor
    quiet: QuietMarket | None
    faults: Faults
    tasks: tuple[asyncio.Task[None], ...]

    @property
    def market(self) -> QuietMarket:
        """The quiet market; only of an emulation that has one."""
        assert self.quiet is not None, "this market lives by itself"
        return self.quiet


@asynccontextmanager
async def emulated(
    *,
    source: MarketSource | None = None,
    symbols: Iterable[str] = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"),
    prices: Mapping[str, Decimal | str | int] | None = None,
    balances: Mapping[str, Decimal | str | int] | None = None,
    customers: Iterable[Customer] = (),
    now: Now = time.time_ns,
    faults: Faults | None = None,
    enforce_limits: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Emulated]:
    """Serve an emulated Bybit while the block runs.

    Args:
        source: Of prices; a quiet market with `symbols` and `prices` by default.
        symbols: Of the quiet market.
        prices: Where each begins.
        balances: Of the only customer; 10,000 USDT by default.
        customers: Instead, when there are several.
        now: The time [ns].
        faults: What goes wrong.
        enforce_limits: Whether too many requests a second are refused.
        host: Address to bind.
        port: 0 takes a free one.
    """
    moving = source or QuietMarket(now=now, symbols=symbols, prices=prices)
    given = {"USDT": 10_000} if balances is None else balances
    deposits = {coin: Decimal(amount) for coin, amount in given.items()}
    people = tuple(customers) or (Customer(balances=deposits),)
    wrong = faults or Faults()
    floor = Floor(venue="bybit", source=moving, customers=people, now=now, faults=wrong)
    face = Bybit(floor, enforce_limits=enforce_limits)
    await floor.open()
    loop = asyncio.get_running_loop()
    # Not a group: what the block raises is to reach its caller as it is.
    tasks = (
        loop.create_task(floor.run(), name="floor"),
        loop.create_task(face.run(), name="face"),
    )
    try:
        async with serving(face, host=host, port=port) as endpoint:
            yield Emulated(
                endpoint=endpoint,
                key=people[0].key,
                secret=people[0].secret,
                floor=floor,
                quiet=moving if isinstance(moving, QuietMarket) else None,
                faults=wrong,
                tasks=tasks,
            )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def urls(endpoint: str) -> dict[str, object]:
    """What `exchange.urls["api"]` of ccxt's bybit becomes, so that it talks to `endpoint`."""
    socket = endpoint.replace("http", "ws", 1)
    private = f"{socket}/v5/private"
    return {
        **dict.fromkeys(("spot", "futures", "v2", "public", "private"), endpoint),
        "ws": {
            "public": {
                name: f"{socket}/v5/public/{name}"
                for name in ("spot", "linear", "inverse", "option")
            },
            "private": {
                "spot": {"unified": private, "nonUnified": private},
                "contract": private,
                "usdc": private,
                "trade": f"{socket}/v5/trade",
            },
        },
    }
