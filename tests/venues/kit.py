"""What venue tests share: a clock moved by hand, a listener, a log in memory, orders in short words."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar, overload

from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import SECOND
from realtime.model.orders import Approved, ApprovedAmend, Order, OrderType, Side
from realtime.venues.base import Venue
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource
from tests.venues.frozen import SYMBOL, FrozenMarket


D = Decimal
E = TypeVar("E")
F = TypeVar("F")
START = 1_790_000_000 * SECOND


class Clock:
    """Time in ns; sleeping moves it by the seconds asked for, at once."""

    def __init__(self, start: int = START) -> None:
        self.ns = start
        self.slept: list[float] = []

    def now(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)

    async def sleep(self, seconds: float) -> None:
        """A sleep of the event loop's clock, which the tests' loop jumps over."""
        self.slept.append(seconds)
        before = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        self.advance(asyncio.get_running_loop().time() - before)


class Listener:
    """Takes a venue's events and remembers them."""

    def __init__(self) -> None:
        self.events: list[MarketEvent | VenueEvent] = []
        self.batches = 0

    def __call__(self, events: Sequence[MarketEvent | VenueEvent]) -> None:
        self.batches += 1
        self.events.extend(events)

    @overload
    def of(self, kind: type[E], /) -> list[E]: ...
    @overload
    def of(self, kind: type[E], other: type[F], /) -> list[E | F]: ...
    @overload
    def of(self, *kinds: type[object]) -> list[Any]: ...
    def of(self, *kinds: type[object]) -> list[Any]:
        """Events of these kinds so far."""
        return [event for event in self.events if isinstance(event, kinds)]

    def clear(self) -> None:
        self.events.clear()


class MemoryLog:
    """A log whose entries are durable as soon as somebody waits, or when the test says so."""

    def __init__(self, *, slow: bool = False, leads: bool = False) -> None:
        self.entries: list[bytes] = []
        self.slow = slow
        self.leads = leads
        self.waiting: list[asyncio.Future[None]] = []
        self._late: list[Callable[[], bytes]] = []

    def append(self, body: bytes) -> Awaitable[None]:
        self._make()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.entries.append(body)
        if self.slow:
            self.waiting.append(future)
        else:
            future.set_result(None)
        return future

    def lead(self, body: Callable[[], bytes]) -> None:
        self._late.append(body)
        asyncio.get_running_loop().call_soon(self._make)

    def _make(self) -> None:
        late, self._late = self._late, []
        self.entries += [body() for body in late]

    def sync(self) -> None:
        """Everything is on disk now."""
        for future in self.waiting:
            future.set_result(None)
        self.waiting.clear()


def wish(client_id: str, side: Side = Side.BUY, amount: str = "0.01", **fields: Any) -> Order:
    """An order as the desk approves it; a `price` makes it a limit order."""
    for name in (
        "price",
        "stop_price",
        "trailing_amount",
        "trailing_rate",
        "cost_limit",
        "leverage",
    ):
        if fields.get(name) is not None:
            fields[name] = D(str(fields[name]))
    values: dict[str, Any] = {
        "id": f"o-{client_id}",
        "client_order_id": client_id,
        "venue_client_id": f"v{client_id}",
        "venue": "paper",
        "symbol": SYMBOL,
        "type": OrderType.LIMIT if "price" in fields else OrderType.MARKET,
        "side": side,
        "amount": D(amount),
        "created_ts": START,
        "updated_ts": START,
    }
    return Order(**{**values, **fields})


def approved(order: Order) -> Approved:
    return Approved(order=order)


def amended(order: Order, **fields: str) -> ApprovedAmend:
    values = {name: D(value) for name, value in fields.items()}
    return ApprovedAmend(
        order=order,
        amount=values.get("amount"),
        price=values.get("price"),
        stop_price=values.get("stop_price"),
    )


class Recorded(ReplaySource):
    """A recording whose end can be waited for: its venue outlives it."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self.ended = asyncio.Event()

    async def run(self) -> None:
        await super().run()
        self.ended.set()

    async def played_by(self, venue: Venue) -> None:
        """Let a venue run until the recording has ended."""
        async with asyncio.TaskGroup() as group:
            running = group.create_task(venue.run())
            await self.ended.wait()
            running.cancel()


class Shop:
    """A paper venue on a frozen market, opened, with a listener."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        balances: dict[str, str] | None = None,
        log: MemoryLog | None = None,
        history: Iterable[bytes] = (),
        latency_s: float = 0.0,
    ) -> None:
        self.clock = clock or Clock()
        self.source = FrozenMarket(now=self.clock.now, sleep=self.clock.sleep)
        self.log = log
        self.heard = Listener()
        self.paper = PaperVenue(
            source=self.source,
            balances={c: D(a) for c, a in (balances or {"USDT": "100000"}).items()},
            seed=1,
            now=self.clock.now,
            sleep=self.clock.sleep,
            latency_s=latency_s,
            log=log,
            history=history,
        )
        self.venue: Venue = self.paper

    async def open(self) -> "Shop":
        await self.venue.open(self.heard)
        return self

    async def place(
        self, client_id: str, side: Side = Side.BUY, amount: str = "0.01", **fields: Any
    ) -> Order:
        """Submit; returns the order with the venue's id."""
        order = wish(client_id, side, amount, **fields)
        ack = await self.venue.submit(approved(order))
        return replace(order, exchange_order_id=ack.exchange_order_id)

    async def reopened(self) -> "Shop":
        """The same account after a kill: only the log is left."""
        assert self.log is not None
        again = Shop(self.clock, log=self.log, history=list(self.log.entries))
        return await again.open()

    async def free(self, currency: str) -> Decimal:
        return next(
            row.available for row in await self.venue.balances() if row.currency == currency
        )
