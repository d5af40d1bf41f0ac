"""A ccxt venue on the emulated Bybit, and what it has posted: the real client over loopback."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from realtime.emulate.bybit import emulated
from realtime.model.orders import Approved, ApprovedAmend, Order, OrderType, Side, venue_client_id
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.public import PublicData
from realtime.venues.ccxt.venue import CcxtVenue


D = Decimal
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


def order(name: str, side: str = "buy", amount: str = "0.01", **fields: Any) -> Order:
    """Make an order as the desk would send it; a price makes it a limit order."""
    fields = {name: D(value) if name.endswith("price") else value for name, value in fields.items()}
    fields.setdefault("type", OrderType.LIMIT if "price" in fields else OrderType.MARKET)
    fields.setdefault("symbol", SPOT)
    now = time.time_ns()
    return Order(
        id=f"o-{name}",
        client_order_id=name,
        venue_client_id=venue_client_id("bybit", name),
        venue="bybit",
        side=Side(side),
        amount=D(amount),
        created_ts=now,
        updated_ts=now,
        **fields,
    )


def approved(asked: Order) -> Approved:
    return Approved(order=asked)


def amend(asked: Order, **targets: str) -> ApprovedAmend:
    made: dict[str, Any] = {"amount": None, "price": None, "stop_price": None}
    made |= {name: D(value) for name, value in targets.items()}
    return ApprovedAmend(order=asked, **made)


async def until(holds: Callable[[], object], seconds: float = 30.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for is another process's, as it were
            await asyncio.sleep(0.005)


class Heard(Hooks):
    """What the account asks, and how many of its subscriptions a Bybit has confirmed."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.confirmed = 0

    def request(self, method: str, url: str) -> None:
        self.asked.append(url)

    def frame(self, url: str, text: str) -> None:
        self.confirmed += '"op":"subscribe"' in text and '"success":true' in text


@dataclass
class Desk:
    """A venue, its exchange, and everything it has said."""

    server: Any
    venue: CcxtVenue
    heard: Heard
    events: list[Any] = field(default_factory=list)
    alerts: list[tuple[str, str]] = field(default_factory=list)
    trust: list[tuple[bool, str]] = field(default_factory=list)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def take(self, events: Sequence[Any]) -> None:
        self.events.extend(events)

    def tell(self, level: str, code: str, _text: str, _data: Mapping[str, object]) -> None:
        self.alerts.append((level, code))


async def subscribed(world: Desk) -> None:
    """Wait until a Bybit has confirmed all private streams."""
    await until(lambda: world.heard.confirmed >= len(world.venue._streams))


@asynccontextmanager
async def desk(
    *,
    types: tuple[str, ...] = ("spot",),
    running: bool = False,
    speed: float = 1.0,
    secret: str | None = None,
    has: Mapping[str, bool] | None = None,
    **options: Any,
) -> AsyncIterator[Desk]:
    """Open a venue on an emulated Bybit.

    Args:
        types: Kinds of markets.
        running: Whether its streams run.
        speed: How many times faster than the clock it sleeps.
        secret: Another one than the customer's.
        has: Capabilities that are taken away or added.
        options: Of `emulated`.
    """
    options.setdefault("balances", {"USDT": 100_000, "BTC": 1})
    loop = asyncio.get_running_loop()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / speed)

    async with emulated(**options) as server:
        account = Account(
            id="bybit",
            exchange="bybit",
            key=Secret(server.key),
            secret=Secret(secret or server.secret),
            types=types,
            endpoint=server.endpoint,
        )
        public = PublicData(account=account, now=time.time_ns, sleep=sleep)
        made: list[Desk] = []
        heard = Heard()
        venue = CcxtVenue(
            account=account,
            public=public,
            calls=heard,
            now=time.time_ns,
            sleep=sleep,
            loop=loop,
            tell=lambda *told: made[0].tell(*told),  # noqa: PLW0108 - it is made later
        )
        found = Desk(server, venue, heard)
        made.append(found)
        venue.attend(lambda trusted, reason: found.trust.append((trusted, reason)))
        await venue.open(found.take)
        for name, value in (has or {}).items():
            venue.exchange.has[name] = value
            for stream in venue._streams.values():
                stream.watched = bool(venue.exchange.has[STREAMS[stream.name]])
        task = loop.create_task(venue.run()) if running else None
        try:
            yield found
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
            await venue.close()
            await public.close()


@asynccontextmanager
async def venue_at(
    exchange: str,
    server: Any,
    key: str,
    secret: str,
    *,
    types: tuple[str, ...] = ("spot",),
    running: bool = False,
    speed: float = 1.0,
) -> AsyncIterator[Desk]:
    """Open a venue on another emulated exchange; nothing limits its requests."""
    loop = asyncio.get_running_loop()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds / speed)

    account = Account(
        id=exchange,
        exchange=exchange,
        key=Secret(key),
        secret=Secret(secret),
        types=types,
        endpoint=server.endpoint,
    )
    made: list[Desk] = []

    def tell(*told: Any) -> None:
        made[0].tell(*told)

    public = PublicData(account=account, now=time.time_ns, sleep=sleep)
    heard = Heard()
    venue = CcxtVenue(
        account=account,
        public=public,
        calls=heard,
        now=time.time_ns,
        sleep=sleep,
        loop=loop,
        tell=tell,
    )
    found = Desk(server, venue, heard)
    made.append(found)
    venue.attend(lambda trusted, reason: found.trust.append((trusted, reason)))
    await venue.open(found.take)
    task = loop.create_task(venue.run()) if running else None
    try:
        yield found
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        await venue.close()
        await public.close()


STREAMS = {
    "orders": "watchOrders",
    "fills": "watchMyTrades",
    "balance": "watchBalance",
    "positions": "watchPositions",
}
