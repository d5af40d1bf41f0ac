"""What stands around the desk in its tests: an exchange in another process, a journal that can die, a system.

The exchange here is small and obedient: it does what its script says, keeps the truth, and outlives any crash of ours.
It passes the same cards as the paper exchange where both can (`tests/desk/test_fakes.py`).
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pytest
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from realtime.app import Making, Outside, System, open_system
from realtime.commands.registry import Pending, Reply
from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Ack, BalanceSeen, Filled, OrderSeen, VenueEvent
from realtime.model.market import SECOND, ZERO, Bar, BookSnapshot, Daily, Market, Ticker, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order, OrderType, Side, Status
from realtime.model.principal import ROLES, Principal
from realtime.settings import Settings
from realtime.store import Projection, Store
from realtime.venues.base import Post
from tests.conftest import virtual_loop
from tests.replies import check


D = Decimal
BTC = "BTC/USDT"
ETH = "ETH/USDT"
START_NS = 1_790_000_000 * SECOND
LOCAL = Principal(subject="local", scopes=ROLES["admin"])
MARKETS: Mapping[str, Market] = {
    symbol: Market(
        symbol=symbol,
        id=symbol.replace("/", ""),
        base=symbol.split("/")[0],
        quote="USDT",
        price_tick=D("0.01"),
        amount_step=D("0.00001"),
        min_amount=D("0.00001"),
        groups=("0.10", "1.00"),
    )
    for symbol in (BTC, ETH)
}
PRICES = {BTC: (D(64000), D("64000.10")), ETH: (D(3200), D("3200.10"))}
BUY: dict[str, Any] = {
    "symbol": BTC,
    "side": "buy",
    "type": "limit",
    "amount": "0.01",
    "price": "63900",
}


@dataclass(slots=True, kw_only=True)
class Held:
    """An order at the exchange."""

    id: str
    order: Order
    status: Status = Status.OPEN
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    amount: Decimal
    price: Decimal | None
    asof: int
    fills: list[Filled] = field(default_factory=list)
    shown: bool = True


class ScriptedVenue:
    """An exchange with one account that does what it is told.

    Attributes:
        script: What becomes of the next placements: `rest` (the default for limit orders), `fill` (the default for
            market orders), `half`, `reject`, `lose` (taken, no answer), `drop` (not taken, no answer), `mute` (an
            answer without a status), `down`.
        cancels, amends: The same for cancels (`ok`, `lose`, `drop`, `reject`) and amends.
        submitted: Client order ids of every placement that reached it, in order.
        canceled: The same of cancels.
        reachable: Whether questions are answered.
        broken: Questions (`positions`, `balances`, `fills` ...) that are not.
        blind: Whether `find` and the list of open orders see nothing.
        late_s: Seconds before an order that was lost can be found.
        gates: Events that calls wait for before they take effect.
    """

    kind = "paper"

    def __init__(self, *, markets: Mapping[str, Market] = MARKETS) -> None:
        self.id = "paper"
        self.markets = markets
        self.books: Mapping[str, OrderBook] = {}
        self.lookup_proven = True
        self.script: deque[str] = deque()
        self.cancels: deque[str] = deque()
        self.amends: deque[str] = deque()
        self.submitted: list[str] = []
        self.canceled: list[str] = []
        self.held: dict[str, Held] = {}
        self.cash = D(100_000)
        self.coins: dict[str, Decimal] = {}
        self.reachable = True
        self.broken: set[str] = set()
        self.blind = False
        self.late_s = 0.0
        self.asked = 0
        self.gate: asyncio.Event | None = None
        self.point: Callable[[str], None] = lambda _name: None
        self._post: Post = _nowhere
        self._now: Callable[[], int] = lambda: START_NS
        self._ids = itertools.count(1)
        self._fills = itertools.count(1)
        self._visible: dict[str, int] = {}

    # -- life --------------------------------------------------------------------------------------

    def bind(self, now: Callable[[], int]) -> None:
        """Take the clock of the system of this life."""
        self._now = now

    async def open(self, post: Post) -> None:
        self._post = post
        self.quote()
        post([BalanceSeen(balance=balance) for balance in self._balances()])

    async def run(self) -> None:
        while True:
            await asyncio.sleep(1)
            if self.reachable:
                self.quote()

    def quote(self) -> None:
        """Say the prices again."""
        ts = self._now()
        for symbol in self.markets:
            bid, ask = PRICES[symbol]
            levels = ((str(bid), "100"),), ((str(ask), "100"),)
            self._post(
                (
                    BookSnapshot(symbol=symbol, bids=levels[0], asks=levels[1], ts=ts, recv_ts=ts),
                    Ticker(
                        symbol=symbol,
                        bid=str(bid),
                        bid_amount="100",
                        ask=str(ask),
                        ask_amount="100",
                        daily=Daily(last=str(bid)),
                        ts=ts,
                        recv_ts=ts,
                    ),
                )
            )

    def deaf(self) -> None:
        """Nobody listens any more: the process on the other side died."""
        self._post = _nowhere

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001  # the port
        pass

    # -- orders ------------------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> Ack:
        order = approved.order
        self.point("submit before")
        if self.gate is not None:
            await self.gate.wait()
        self.submitted.append(order.client_order_id)
        act = self.script.popleft() if self.script else ""
        if act == "drop":
            await _for_ever()
        if act == "down":
            raise VenueRejected(Code.VENUE_UNAVAILABLE, "not connected")
        if act == "reject":
            raise VenueRejected(Code.VENUE_REJECTED, "the exchange said no")
        if order.venue_client_id in self.held:
            raise VenueUnknown("duplicate client id")
        held = self._take(order)
        self.point("submit taken")
        if act == "lose":
            held.shown = False
            self._visible[order.venue_client_id] = self._now() + int(self.late_s * SECOND)
            await _for_ever()
        if act == "mute":
            return Ack(exchange_order_id=held.id, status=None, ts=self._now())
        self._tell(held)
        if act in {"fill", "half"} or (not act and order.type is OrderType.MARKET):
            part = held.amount / 2 if act == "half" else held.amount
            self.fill(order.client_order_id, part)
        self.point("submit answered")
        return Ack(
            exchange_order_id=held.id,
            status=held.status,
            filled=held.filled,
            cost=held.cost,
            ts=self._now(),
        )

    def _take(self, order: Order) -> Held:
        held = Held(
            id=f"x-{next(self._ids)}",
            order=order,
            amount=order.amount,
            price=order.price,
            asof=self._now(),
        )
        self.held[order.venue_client_id] = held
        return held

    async def amend(self, approved: ApprovedAmend) -> Ack:
        held = self.held[approved.order.venue_client_id]
        self.point("amend before")
        act = self.amends.popleft() if self.amends else "ok"
        if act == "drop":
            await _for_ever()
        if act == "reject":
            raise VenueRejected(Code.VENUE_REJECTED, "cannot be changed")
        held.amount = approved.amount or held.amount
        held.price = approved.price or held.price
        self._stamp(held)
        self.point("amend taken")
        if act == "lose":
            await _for_ever()
        self._tell(held)
        self.point("amend answered")
        return Ack(
            exchange_order_id=held.id, status=held.status, filled=held.filled, ts=self._now()
        )

    async def cancel(self, order: Order) -> Ack:
        self.point("cancel before")
        self.canceled.append(order.client_order_id)
        act = self.cancels.popleft() if self.cancels else "ok"
        held = self.held.get(order.venue_client_id)
        if act == "drop":
            await _for_ever()
        if act == "reject" or held is None or held.status.ended:
            raise VenueRejected(Code.NOT_FOUND, "no such working order")
        held.status = Status.CANCELED
        self._stamp(held)
        self.point("cancel taken")
        if act == "lose":
            await _for_ever()
        self._tell(held)
        self._tell_balances()
        self.point("cancel answered")
        return Ack(
            exchange_order_id=held.id,
            status=held.status,
            filled=held.filled,
            cost=held.cost,
            ts=self._now(),
        )

    def fill(self, client_order_id: str, amount: Decimal | None = None) -> None:
        """Let an order trade, and say so."""
        held = self.of(client_order_id)
        amount = held.amount - held.filled if amount is None else amount
        order = held.order
        price = held.price or PRICES[order.symbol][1 if order.side is Side.BUY else 0]
        held.filled += amount
        held.cost += amount * price
        if held.filled == held.amount:
            held.status = Status.FILLED
        self._stamp(held)
        sign = 1 if order.side is Side.BUY else -1
        base = self.markets[order.symbol].base
        self.cash -= sign * amount * price
        self.coins[base] = self.coins.get(base, D(0)) + sign * amount
        fill = Filled(
            venue=self.id,
            symbol=order.symbol,
            trade_id=f"t-{next(self._fills)}",
            exchange_order_id=held.id,
            venue_client_id=order.venue_client_id,
            side=order.side,
            amount=amount,
            price=price,
            fee=D(0),
            fee_currency="USDT",
            maker=False,
            ts=self._now(),
        )
        held.fills.append(fill)
        if held.shown:
            self._post((fill,))
            self._tell(held)
            self._tell_balances()

    def of(self, client_order_id: str) -> Held:
        """Find an order by the client's id."""
        return next(
            held for held in self.held.values() if held.order.client_order_id == client_order_id
        )

    def live(self) -> list[str]:
        """Client order ids of what works here."""
        return [h.order.client_order_id for h in self.held.values() if h.status is Status.OPEN]

    def _stamp(self, held: Held) -> None:
        held.asof = max(self._now(), held.asof + 1)

    def _tell(self, held: Held) -> None:
        self._post((self._row(held, "stream"),))

    def _tell_balances(self) -> None:
        self._post([BalanceSeen(balance=balance) for balance in self._balances()])

    def _row(self, held: Held, evidence: str) -> OrderSeen:
        order = held.order
        return OrderSeen(
            venue=self.id,
            symbol=order.symbol,
            exchange_order_id=held.id,
            venue_client_id=order.venue_client_id,
            side=order.side,
            type=order.type.value,
            status=held.status,
            amount=held.amount,
            price=held.price,
            stop_price=order.stop_price,
            filled=held.filled,
            cost=held.cost,
            reduce_only=order.reduce_only,
            asof=held.asof,
            evidence=evidence,
            ts=self._now(),
        )

    # -- questions ---------------------------------------------------------------------------------

    async def _answer(self, what: str) -> None:
        self.asked += 1
        if not self.reachable or what in self.broken:
            raise VenueUnknown("no answer")

    async def find(self, order: Order) -> OrderSeen | None:
        await self._answer("find")
        held = self.held.get(order.venue_client_id)
        if self.blind or held is None or self._visible.get(order.venue_client_id, 0) > self._now():
            return None
        held.shown = True
        return self._row(held, "found")

    async def open_orders(self) -> Sequence[OrderSeen]:
        await self._answer("open_orders")
        return [
            self._row(held, "found")
            for key, held in self.held.items()
            if not self.blind
            and held.status is Status.OPEN
            and self._visible.get(key, 0) <= self._now()
        ]

    async def fills(self, since: int) -> Sequence[Filled]:
        await self._answer("fills")
        return [
            fill
            for key, held in self.held.items()
            for fill in held.fills
            if fill.ts >= since and self._visible.get(key, 0) <= self._now()
        ]

    async def balances(self) -> Sequence[Balance]:
        await self._answer("balances")
        return self._balances()

    async def positions(self) -> Sequence[Position]:
        await self._answer("positions")
        return ()

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        return ()

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        return ()

    def _balances(self) -> list[Balance]:
        reserved: dict[str, Decimal] = {}
        for held in self.held.values():
            if held.status is not Status.OPEN:
                continue
            market, rest = self.markets[held.order.symbol], held.amount - held.filled
            if held.order.side is Side.BUY:
                reserved["USDT"] = reserved.get("USDT", D(0)) + rest * (held.price or D(0))
            else:
                reserved[market.base] = reserved.get(market.base, D(0)) + rest
        totals = {"USDT": self.cash} | self.coins
        return [
            Balance(
                venue=self.id,
                currency=currency,
                available=total - reserved.get(currency, D(0)),
                reserved=reserved.get(currency, D(0)),
                ts=self._now(),
            )
            for currency, total in totals.items()
        ]


class PromptVenue(ScriptedVenue):
    """Answers in the very step and tells all of it with the answer, but for what its script lets wait."""

    @property
    def prompt(self) -> bool:
        return self.gate is None and not {"drop", "lose"} & set(self.script)

    def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
        told: list[Any] = []
        post, self._post = self._post, told.extend
        try:
            self.submit(approved).send(None)
        except StopIteration as done:
            ack: Ack = done.value
            return told, ack
        finally:
            self._post = post
        raise AssertionError("it waits")


def _nowhere(_events: Sequence[object]) -> None:
    """Nobody listens."""


async def _for_ever() -> None:
    await asyncio.Event().wait()


# --- a journal that can die -----------------------------------------------------------------------


class WatchedStore(Store):
    """A store whose thread the virtual clock waits for."""

    @classmethod
    async def open(cls, path: Path | None, **options: Any) -> Self:
        store = await super().open(path, **options)
        virtual_loop().outside.append(store._at_work)
        return store

    def _at_work(self) -> bool:
        return self.busy

    async def close(self) -> int:
        lost = await super().close()
        virtual_loop().outside.remove(self._at_work)
        return lost


class MortalStore(WatchedStore):
    """A store that loses everything not yet on disk at the moment its process dies.

    Attributes:
        point: Told the name of each boundary; may kill.
        dead: Whether the process has died: nothing reaches the disk any more.
    """

    point: Callable[[str], None] = staticmethod(lambda _name: None)
    dead = False

    def append(
        self,
        kind: str,
        key: str,
        body: bytes | Callable[[], bytes],
        then: Callable[[int], None] | None = None,
        project: Sequence[Projection] = (),
        *,
        safety: bool = False,
    ) -> int:
        self.point(f"append {kind}")
        if self.dead:
            return self.seq + 1

        def committed(seq: int) -> None:
            self.point(f"commit {kind}")
            if not self.dead and then is not None:
                then(seq)

        return super().append(kind, key, body, committed, project, safety=safety)


# --- a system -------------------------------------------------------------------------------------


class Killed(Exception):
    """The process was killed."""


class Given(Settings):
    """Settings of a test: what it says, and nothing of the environment or of a file that happens to lie here."""

    model_config = SettingsConfigDict(toml_file=None)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **_others: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given alone."""
        return (init_settings,)


class World:
    """An exchange and a journal, and one life of a system after the other on them.

    Attributes:
        system: The one that lives now.
    """

    def __init__(self, path: Path | None = None, **settings: Any) -> None:
        self.venue = ScriptedVenue()
        self.path = path
        self.system: System
        self.wall = START_NS
        self.store: type[Store] = WatchedStore
        self._settings = settings
        self._secrets = itertools.count(1)

    def settings(self) -> Settings:
        given: dict[str, Any] = {
            "store": {"path": str(self.path) if self.path is not None else "", "backup_hours": 0},
            "limits": {"orders_per_s": 100_000, "commands_per_s": 100_000, "safety_per_s": 100_000},
            "risk": {"limits": dict(FREE)},
        }
        return Given(**(given | self._settings))

    def outside(self) -> Outside:
        loop = asyncio.get_running_loop()

        def make(making: Making) -> ScriptedVenue:
            self.venue.bind(making.now)
            return self.venue

        wall = self.wall + int(loop.time() * SECOND)
        return Outside(
            wall=lambda: wall,
            secret=lambda: f"secret{next(self._secrets):010d}",
            venue=make,
            store=self.store,
            page=no_page,
        )

    @asynccontextmanager
    async def life(self, *, ready: bool = True) -> AsyncIterator[System]:
        """Let a system live; it ends without a drain, as if the lights went out."""
        async with open_system(self.settings(), self.outside()) as system:
            self.system = system
            try:
                if ready:
                    await until(lambda: system.reconciler.ready)
                yield system
            finally:
                self.venue.deaf()

    def ask(self, op: str, *, client: str = "desk", who: Principal = LOCAL, **args: Any) -> Any:
        """Dispatch an op in this very step; gives a reply or something to await."""
        return self.system.registry.dispatch(
            op, args, principal=who, client=client, source="socket"
        )

    async def call(
        self, op: str, *, client: str = "desk", who: Principal = LOCAL, **args: Any
    ) -> Reply:
        """Call an op and wait for its reply."""
        return await checked(op, self.ask(op, client=client, who=who, **args))

    def start(self, op: str, **args: Any) -> "asyncio.Future[Reply]":
        """Call an op now, and give its reply to come."""
        return asyncio.ensure_future(checked(op, self.ask(op, **args)))

    def order(self, client_order_id: str) -> Order:
        """The engine's order."""
        order = self.system.desk.engine.orders.by_client_id(client_order_id)
        assert order is not None
        return order

    async def events(self, event_type: str) -> list[dict[str, Any]]:
        """Entries of the audit of a type, oldest first."""
        reply = await self.call("event.list", type=event_type, limit=500)
        assert reply.result is not None
        found = reply.result["events"]
        assert isinstance(found, list)
        return found[::-1]


FREE: Mapping[str, Any] = {
    "max_order_notional": None,
    "max_position_size": None,
    "max_leverage": None,
    "max_open_orders": None,
    "max_open_orders_symbol": None,
    "max_daily_loss": None,
    "max_drawdown": None,
    "loss_streak": None,
    "order_rate": None,
    "order_rate_minute": None,
    "duplicate_order_ms": None,
    "self_trade": False,
    "repeated_execution": None,
    "max_unknown": None,
}
"""Every limit that can be switched off, off."""


async def finished(got: Reply | Pending) -> Reply:
    """Wait for the reply of a dispatch."""
    return got if isinstance(got, Reply) else await got.wait()


async def checked(op: str, got: Reply | Pending) -> Reply:
    """Wait for the reply of a dispatch, and hold it against the schema of its op."""
    reply = await finished(got)
    check({"ok": reply.ok, "result": reply.result}, op)
    return reply


async def until(true: Callable[[], bool], *, within: float = 30.0) -> None:
    """Wait in virtual time until something holds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while not true():
        assert loop.time() < end, "it did not come true in time"
        await asyncio.sleep(0.05)


async def no_page(scope: Scope, receive: Receive, send: Send) -> None:
    """The page, which no test of the desk looks at."""
    await Response(status_code=404)(scope, receive, send)


__all__ = [
    "BTC",
    "BUY",
    "ETH",
    "FREE",
    "LOCAL",
    "Killed",
    "MortalStore",
    "ScriptedVenue",
    "World",
    "replace",
]


@contextmanager
def no_room(store: Store, *, kind: str | None = None, safety: bool = False) -> Iterator[None]:
    """Let rows find no room in a journal, of one kind or of all; those of the safety lane only with `safety`."""
    append = store.append

    def full(of: str, *args: Any, **options: Any) -> int:
        if kind not in {None, of} or (options.get("safety") and not safety):
            return append(of, *args, **options)
        raise Refused(Code.BUSY, "the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "append", full)
        yield
