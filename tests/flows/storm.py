"""A whole server on an emulated exchange in which everything goes wrong that goes wrong at real ones.

The real client talks to a real server over loopback, but time is the virtual clock's: it moves only when nothing is on
its way, so an outage of a minute costs milliseconds, and a busy machine loses no test. What the processes of both sides
take from the machine's clock (`time.time`) is moved with it; nothing of ccxt is touched.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from realtime.app import Outside, System, open_system
from realtime.emulate.bybit import emulated
from realtime.emulate.bybit.rows import order_id
from realtime.emulate.faults import Fault, Faults, Kind
from realtime.emulate.floor import Floor
from realtime.emulate.quiet import QuietMarket
from realtime.engine.matching import Working
from realtime.model.orders import Order
from realtime.settings import Settings
from realtime.venues.ccxt.opening import TradingVenue
from realtime.venues.ccxt.private import ClientIds
from tests.conftest import VirtualClockLoop
from tests.emulated import bitfinex, kraken
from tests.fakes import FREE, START_NS, WatchedStore, World, no_page, until


D = Decimal
SETTLE_S = 0.0003
"""Real seconds in which bytes on loopback arrive before the clock jumps."""


class LoopbackClock(VirtualClockLoop):
    """The virtual clock for real sockets of this very process."""

    def __init__(self) -> None:
        super().__init__()
        self.outside.append(_settle)


def _settle() -> bool:
    time.sleep(SETTLE_S)
    return False


def virtual_wall(monkeypatch: pytest.MonkeyPatch, loop: asyncio.AbstractEventLoop) -> None:
    """Let the machine's wall clock be the loop's, for both sides of the sockets."""

    def wall_ns() -> int:
        return START_NS + int(loop.time() * 1e9)

    monkeypatch.setattr(time, "time_ns", wall_ns)
    monkeypatch.setattr(time, "time", lambda: wall_ns() / 1e9)


# --- exchanges ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """An exchange as the tests need it.

    Attributes:
        spot, swap: Symbols; `swap` is None where no derivative is traded.
        words: Which requests place, amend and cancel; what else is signed is a question.
        doubtful: A code that says that the exchange does not know either.
        types: Kinds of market of the account.
        step: Amounts are multiples of it.
        tick: So are prices.
        middle: Where the price begins.
    """

    name: str
    spot: str
    swap: str | None
    words: Mapping[str, str]
    doubtful: Fault
    types: tuple[str, ...]
    tick: Decimal
    middle: Decimal


SITES: Mapping[str, Site] = {
    "bybit": Site(
        name="bybit",
        spot="BTC/USDT",
        swap="BTC/USDT:USDT",
        words={
            "POST /v5/order/create": "place",
            "POST /v5/order/amend": "amend",
            "POST /v5/order/cancel": "cancel",
        },
        doubtful=Fault(Kind.CODE, executed=True, code=10016, message="Internal system error."),
        types=("spot", "swap"),
        tick=D("0.01"),
        middle=D(64_000),
    ),
    "kraken": Site(
        name="kraken",
        spot="BTC/USD",
        swap=None,
        words={
            "POST /0/private/AddOrder": "place",
            "POST /0/private/AmendOrder": "amend",
            "POST /0/private/EditOrder": "amend",
            "POST /0/private/CancelOrder": "cancel",
        },
        doubtful=Fault(Kind.CODE, executed=True, message="EService:Timeout"),
        types=("spot",),
        tick=D("0.1"),
        middle=D(60_000),
    ),
    "bitfinex": Site(
        name="bitfinex",
        spot="BTC/USD",
        swap=None,
        words={
            "POST /v2/auth/w/order/submit": "place",
            "POST /v2/auth/w/order/update": "amend",
            "POST /v2/auth/w/order/cancel": "cancel",
        },
        doubtful=Fault(Kind.CODE, executed=True, code=10_000, message="error: unknown"),
        types=("spot",),
        tick=D(1),
        middle=D(60_000),
    ),
}


@dataclass(slots=True, kw_only=True)
class Exchange:
    """A running emulation, the same for all of them."""

    site: Site
    endpoint: str
    key: str
    secret: str
    floor: Floor
    faults: "Storm"
    named: Callable[[], list[tuple[str, str, Working]]]

    @property
    def market(self) -> QuietMarket:
        assert isinstance(self.floor.source, QuietMarket)
        return self.floor.source

    def orders(self) -> dict[str, list[tuple[str, Working]]]:
        """(venue's id, order) of everything it ever took, by the client's id there."""
        found: dict[str, list[tuple[str, Working]]] = {}
        for name, number, work in self.named():
            found.setdefault(name, []).append((number, work))
        return found

    def name_of(self, order: Order) -> str:
        """The client id of an order of ours there."""
        return str(ClientIds.of(self.site.name).theirs(order.venue_client_id))

    def live(self) -> dict[str, Working]:
        """What works there, by client id, shown or not."""
        return {name: work for name, _, work in self.named() if not work.status.ended}


BALANCES = {
    "bybit": {"USDT": D(5_000_000), "BTC": D(50)},
    "kraken": {"USD": D(5_000_000), "BTC": D(50)},
    "bitfinex": {"USD": D(5_000_000), "BTC": D(50)},
}


def category(work: Working) -> str:
    return "linear" if ":" in work.symbol else "spot"


async def lazily(seconds: float) -> None:
    """Sleep for the quiet market, whose looks at the clock would be most of what the loop does."""
    await asyncio.sleep(max(seconds, 0.5))


@asynccontextmanager
async def exchange_at(name: str, storm: "Storm") -> AsyncIterator[Exchange]:
    """Run an emulation on the virtual clock."""
    from realtime.emulate.floor import Customer  # noqa: PLC0415

    site = SITES[name]
    if name == "bybit":
        prices = {site.spot: site.middle, "BTC/USDT:USDT": site.middle}
        source = QuietMarket(now=_now, sleep=lazily, symbols=tuple(prices), prices=prices)
        async with emulated(
            source=source, balances=BALANCES[name], now=_now, faults=storm
        ) as server:
            floor = server.floor

            def named() -> list[tuple[str, str, Working]]:
                held = floor.exchange.clearing.accounts["main"]
                works = [*held.ended.values(), *held.orders.values()]
                return [
                    (str(work.client_id), order_id(work.id, category(work)), work) for work in works
                ]

            yield Exchange(
                site=site,
                endpoint=server.endpoint,
                key=server.key,
                secret=server.secret,
                floor=floor,
                faults=storm,
                named=named,
            )
        return
    module: Any = {"kraken": kraken, "bitfinex": bitfinex}[name]

    def quiet(_now_ns: Callable[[], int]) -> QuietMarket:
        return QuietMarket(
            now=_now,
            sleep=lazily,
            markets=module.MARKETS,
            prices=dict.fromkeys(module.MARKETS, site.middle),
            depth=20,
        )

    customer = Customer(key=module.KEY, secret=module.SECRET, balances=BALANCES[name])
    async with module.serve(source=quiet, customers=(customer,), faults=storm) as server:
        server.floor.now = _now

        def tickets() -> list[tuple[str, str, Working]]:
            if name == "kraken":
                held = server.desk.tickets.get("main", {})
                return [(str(t.cl_ord_id), t.txid, t.work) for t in held.values()]
            return [(str(t.cid), str(t.id), t.work) for t in server.desk.tickets.values()]

        yield Exchange(
            site=site,
            endpoint=server.endpoint,
            key=module.KEY,
            secret=module.SECRET,
            floor=server.floor,
            faults=storm,
            named=tickets,
        )


def _now() -> int:
    return time.time_ns()


# --- the storm ------------------------------------------------------------------------------------


class Storm(Faults):
    """Faults by chance: seeded, and different for what places, changes, cancels, asks and tells.

    Attributes:
        blowing: Whether anything goes wrong.
        met: What happened how often, by (what, fault).
    """

    def __init__(self, seed: str, site: Site) -> None:
        super().__init__()
        self.blowing = False
        self.met: Counter[str] = Counter()
        self._chance = random.Random(seed)
        self._site = site
        lost = [
            Fault(Kind.DROP, executed=True),
            Fault(Kind.DROP, executed=True),
            Fault(Kind.HANG, executed=True),
            Fault(Kind.ERROR, executed=True),
            Fault(Kind.HTML, executed=True),
            Fault(Kind.TRUNCATED, executed=True),
            site.doubtful,
        ]
        nothing = [
            Fault(Kind.DROP),
            Fault(Kind.HANG),
            Fault(Kind.ERROR),
            Fault(Kind.UNAVAILABLE),
            Fault(Kind.HTML),
            Fault(Kind.RATE_LIMITED),
            Fault(Kind.SLOW, seconds=2.0),
        ]
        self._acting = [*lost, *nothing]
        self._asking = [*nothing, Fault(Kind.TRUNCATED, executed=True)]

    def take(self, target: str, *kinds: Kind) -> Fault | None:
        """Meet what was scripted, or else chance."""
        scripted = super().take(target, *kinds)
        if scripted is not None or not self.blowing:
            return scripted
        fault = self._drawn(target, kinds)
        return None if fault is None else self._happened(target, fault)

    def _drawn(self, target: str, kinds: tuple[Kind, ...]) -> Fault | None:
        chance = self._chance
        if kinds:
            if target == "order" and chance.random() < 0.06:
                seconds = chance.choice((0.2, 1.0, 4.0, 20.0, 45.0))
                return self._noted("order", Fault(Kind.LATE, seconds=seconds))
            return None
        method, _, path = target.partition(" ")
        if path:
            what = self._site.words.get(target, "ask" if self._signed(path) else "look")
            share = {"place": 0.20, "amend": 0.20, "cancel": 0.15, "ask": 0.05, "look": 0.02}[what]
            if chance.random() >= share:
                return None
            faults = self._asking if what in {"ask", "look"} else self._acting
            return self._noted(what, chance.choice(faults))
        if ":" in method and chance.random() < 0.08:
            kind = chance.choice(
                (Kind.DUPLICATE, Kind.DUPLICATE, Kind.REORDER, Kind.REORDER, Kind.SWALLOW)
            )
            return self._noted("frame", Fault(kind))
        return None

    @staticmethod
    def _signed(path: str) -> bool:
        return not fnmatchcase(path, "*/market/*") and not fnmatchcase(path, "*/public/*")

    def _noted(self, what: str, fault: Fault) -> Fault:
        done = "+" if fault.executed else ""
        self.met[f"{what} {fault.kind.value}{done}"] += 1
        return fault

    def blow(self) -> Fault | None:
        """Do something to one of the open sockets."""
        if not self.sockets:
            return None
        chance = self._chance
        socket = chance.choice(self.sockets)
        fault = Fault(
            chance.choice((Kind.ABORT, Kind.CLOSE, Kind.HALF_CLOSE, Kind.FROZEN, Kind.HALF_OPEN))
        )
        self._noted("socket", fault)
        self.done.append((socket.name, fault))
        socket.strike(fault)
        return fault

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.blowing = False
        self.clear()
        self.strike("*", Fault(Kind.THAW))


# --- the system -----------------------------------------------------------------------------------


class Real(World):
    """A world whose exchange is an emulation behind sockets, as the settings name it."""

    def __init__(self, exchange: Exchange, path: Path | None = None, **settings: Any) -> None:
        super().__init__(path, **settings)
        self.exchange = exchange
        self.store = WatchedStore
        self.account_settings: dict[str, Any] = {}

    def settings(self) -> Settings:
        site = self.exchange.site
        given: dict[str, Any] = {
            "mode": "live",
            "store": {"path": str(self.path) if self.path is not None else "", "backup_hours": 0},
            "limits": {"orders_per_s": 100_000, "commands_per_s": 100_000, "safety_per_s": 100_000},
            "risk": {"limits": dict(FREE)},
            "venues": [
                {
                    "id": site.name,
                    "key": self.exchange.key,
                    "secret": self.exchange.secret,
                    "endpoint": self.exchange.endpoint,
                    "types": site.types,
                    "symbols": [symbol for symbol in (site.spot, site.swap) if symbol],
                    **self.account_settings,
                }
            ],
        }
        return Settings(**(given | self._settings))

    def outside(self) -> Outside:
        return Outside(
            wall=_now,
            secret=lambda: f"secret{next(self._secrets):010d}",
            store=self.store,
            page=no_page,
        )

    @property
    def account(self) -> TradingVenue:
        """The account of the system of now."""
        venue = self.system.venue
        assert isinstance(venue, TradingVenue)
        return venue

    @asynccontextmanager
    async def life(self, *, ready: bool = True) -> AsyncIterator[System]:
        """Let a system live; it ends without a drain, as if the lights went out."""
        async with open_system(self.settings(), self.outside()) as system:
            self.system = system
            if ready:
                await self.ready(within=120)
            yield system

    async def ready(self, within: float) -> None:
        """Wait until the account is ready, or fail with what the venue says instead [virtual s]."""
        try:
            await until(lambda: self.system.reconciler.ready, within=within)
        except AssertionError as error:
            raise AssertionError(self.system.reconciler.why) from error
