"""Where the conformance cards are played: one account at each venue, on the same quiet market (trading:5.4).

Every stand has the same book around 60,000, 100,000 of the quote currency and 2 BTC; what differs is the venue before
it: the paper exchange, chaos without faults, or the real ccxt client on an emulated exchange over loopback.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from realtime.emulate.bybit import emulated
from realtime.emulate.faults import LOST, Fault, Faults, Kind
from realtime.emulate.quiet import QuietMarket
from realtime.model.account import Balance
from realtime.model.market import Market
from realtime.model.orders import Order, OrderType, Side, venue_client_id
from realtime.venues.base import Venue
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.public import PublicData
from realtime.venues.ccxt.venue import CcxtVenue
from realtime.venues.chaos import ChaosVenue
from realtime.venues.paper import PaperVenue
from tests.emulated import bitfinex, kraken
from tests.venues import kit
from tests.venues.kit import Clock, Listener, MemoryLog, approved


D = Decimal
PERP = "BTC/USDT:USDT"
CASH, COINS = D(100_000), D(2)
PATIENCE_S = 30.0

BIDS = [("59990", "1"), ("59980", "5"), ("59000", "10")]
ASKS = [("60010", "1"), ("60020", "5"), ("61000", "10")]


@dataclass(kw_only=True)
class Stand:
    """An account at a venue.

    Attributes:
        name: Of the stand, as in the table of what a venue cannot.
        real: Whether the real ccxt client stands between.
        symbol, perp: Its spot market; its perpetual, where it has one.
        clock: Of the paper exchange; real venues have the real one.
        faults: What goes wrong at an emulated exchange.
    """

    name: str
    venue: Venue
    market: QuietMarket
    symbol: str
    heard: Listener
    perp: str | None = None
    clock: Clock | None = None
    faults: Faults | None = None
    orders: list[Order] = field(default_factory=list)
    _reopen: Callable[[], AbstractAsyncContextManager[Venue]]
    _run: Callable[[], AbstractAsyncContextManager[None]]

    @property
    def real(self) -> bool:
        return self.faults is not None

    @property
    def quote(self) -> str:
        return self.symbol.partition("/")[2]

    @property
    def rules(self) -> Market:
        return self.venue.markets[self.symbol]

    def now(self) -> int:
        return time.time_ns() if self.clock is None else self.clock.now()

    def wish(
        self, client_id: str, side: Side = Side.BUY, amount: str = "0.01", **fields: Any
    ) -> Order:
        """Make an order; a `price` makes it a limit order."""
        values: dict[str, Any] = {
            "symbol": self.symbol,
            "venue": self.venue.id,
            "venue_client_id": venue_client_id(self.name, client_id),
            "created_ts": self.now(),
            "updated_ts": self.now(),
        }
        values |= fields
        if values["symbol"] == self.perp:
            values.setdefault("position_type", "swap")
        return kit.wish(client_id, side, amount, **values)

    async def place(
        self, client_id: str, side: Side = Side.BUY, amount: str = "0.01", **fields: Any
    ) -> Order:
        """Submit an order; returns it with the venue's id."""
        order = self.wish(client_id, side, amount, **fields)
        ack = await self.venue.submit(approved(order))
        made = replace(order, exchange_order_id=ack.exchange_order_id)
        self.orders.append(made)
        return made

    async def balance(self, currency: str) -> Balance:
        """Give one balance, read; nothing of it where the venue does not name it."""
        rows = {row.currency: row for row in await self.venue.balances()}
        return rows.get(currency) or Balance(venue=self.venue.id, currency=currency, ts=0)

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds, half a minute at most, and give what it is."""
        async with asyncio.timeout(PATIENCE_S):
            while not (value := holds()):  # noqa: ASYNC110 - what is waited for is behind a socket
                await asyncio.sleep(0.005)
        return value

    def reopened(self) -> AbstractAsyncContextManager[Venue]:
        """Open the same account as a new process would."""
        return self._reopen()

    def running(self) -> AbstractAsyncContextManager[None]:
        """Listen to its streams while the block runs; the paper exchange tells by itself."""
        return self._run()

    def book(self) -> None:
        """Set the book that all cards know."""
        self.market.set_book(self.symbol, BIDS, ASKS)


# --- the paper exchange -----------------------------------------------------------------------


@asynccontextmanager
async def paper(*, chaotic: bool) -> AsyncIterator[Stand]:
    clock, heard, log = Clock(), Listener(), MemoryLog()
    prices = {"BTC/USDT": 60_000, PERP: 60_000}

    def made() -> tuple[QuietMarket, Venue]:
        source = QuietMarket(now=clock.now, sleep=clock.sleep, symbols=tuple(prices), prices=prices)
        venue: Venue = PaperVenue(
            source=source,
            balances={"USDT": CASH, "BTC": COINS},
            seed=1,
            now=clock.now,
            sleep=clock.sleep,
            log=log,
            history=list(log.entries),
        )
        if chaotic:
            venue = ChaosVenue(venue, seed=1, now=clock.now, sleep=clock.sleep)
        return source, venue

    market, venue = made()

    @asynccontextmanager
    async def reopen() -> AsyncIterator[Venue]:
        _, again = made()
        await again.open(Listener())
        yield again

    @asynccontextmanager
    async def run() -> AsyncIterator[None]:
        yield

    await venue.open(heard)
    stand = Stand(
        name="chaos" if chaotic else "paper",
        venue=venue,
        market=market,
        symbol="BTC/USDT",
        perp=PERP,
        heard=heard,
        clock=clock,
        _reopen=reopen,
        _run=run,
    )
    stand.book()
    yield stand


# --- the real client on emulated exchanges ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An emulated exchange.

    Attributes:
        create, cancel: Targets of faults: a placement, a cancel.
        refusal: A refusal in its own words; `limited`: too many requests.
    """

    symbol: str
    perp: str | None
    create: str
    cancel: str
    refusal: Fault
    types: tuple[str, ...] = ("spot",)


PLACES = {
    "bybit": Place(
        symbol="BTC/USDT",
        perp=PERP,
        create="*order/create",
        cancel="*order/cancel",
        refusal=Fault(Kind.CODE, code=170131, message="Insufficient balance."),
        types=("spot", "swap"),
    ),
    "kraken": Place(
        symbol="BTC/USD",
        perp=None,
        create="*AddOrder",
        cancel="*CancelOrder",
        refusal=Fault(Kind.CODE, code=0, message="EOrder:Insufficient funds"),
    ),
    "bitfinex": Place(
        symbol="BTC/USD",
        perp=None,
        create="*order/submit",
        cancel="*order/cancel",
        refusal=Fault(Kind.CODE, code=10001, message="Invalid order: not enough exchange balance"),
    ),
}


@asynccontextmanager
async def served(name: str) -> AsyncIterator[Any]:
    """Serve an exchange; gives what has `endpoint`, `floor` and `faults`."""
    if name == "bybit":
        prices = {"BTC/USDT": 60_000, PERP: 60_000}
        balances = {"USDT": CASH, "BTC": COINS}
        async with emulated(symbols=tuple(prices), prices=prices, balances=balances) as server:
            yield server
    else:
        async with {"kraken": kraken, "bitfinex": bitfinex}[name].serve() as other:
            yield other


def account_of(name: str, endpoint: str) -> Account:
    """Give the account of the exchange's first customer."""
    keys = {
        "bybit": ("emulated-key", "emulated-secret"),
        "kraken": (kraken.KEY, kraken.SECRET),
        "bitfinex": (bitfinex.KEY, bitfinex.SECRET),
    }
    key, secret = keys[name]
    return Account(
        id=name,
        exchange=name,
        key=Secret(key),
        secret=Secret(secret),
        types=PLACES[name].types,
        endpoint=endpoint,
    )


@asynccontextmanager
async def client(account: Account, heard: Listener) -> AsyncIterator[CcxtVenue]:
    """Open an account with the real client; nothing limits its requests."""
    public = PublicData(account=account, now=time.time_ns, sleep=asyncio.sleep)
    venue = CcxtVenue(
        account=account,
        public=public,
        calls=Hooks(),
        now=time.time_ns,
        sleep=asyncio.sleep,
        loop=asyncio.get_running_loop(),
    )
    await venue.open(heard)
    try:
        yield venue
    finally:
        await venue.close()
        await public.close()


@asynccontextmanager
async def ccxt(name: str) -> AsyncIterator[Stand]:
    place, heard = PLACES[name], Listener()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(name))
        account = account_of(name, server.endpoint)
        venue = await stack.enter_async_context(client(account, heard))

        @asynccontextmanager
        async def reopen() -> AsyncIterator[Venue]:
            async with client(account, Listener()) as again:
                again.expect(stand.orders)
                yield again

        @asynccontextmanager
        async def run() -> AsyncIterator[None]:
            task = asyncio.create_task(venue.run())

            def listening() -> bool:
                sockets = [socket.name for socket in server.faults.sockets]
                clients = venue.exchange.clients.values()
                return "private" in sockets and any(
                    len(one.subscriptions) >= 2 and one.isConnected for one in clients
                )

            try:
                await stand.until(listening)
                await asyncio.sleep(0.1)  # the last answer to a subscription is on its way
                yield
            finally:
                task.cancel()
                await asyncio.wait([task])

        stand = Stand(
            name=name,
            venue=venue,
            market=server.floor.source,
            symbol=place.symbol,
            perp=place.perp,
            heard=heard,
            faults=server.faults,
            _reopen=reopen,
            _run=run,
        )
        stand.book()
        yield stand


STANDS: dict[str, Callable[[], AbstractAsyncContextManager[Stand]]] = {
    "paper": lambda: paper(chaotic=False),
    "chaos": lambda: paper(chaotic=True),
    "bybit": lambda: ccxt("bybit"),
    "kraken": lambda: ccxt("kraken"),
    "bitfinex": lambda: ccxt("bitfinex"),
}

__all__ = [
    "ASKS",
    "BIDS",
    "CASH",
    "COINS",
    "LOST",
    "PERP",
    "PLACES",
    "STANDS",
    "OrderType",
    "Stand",
]
