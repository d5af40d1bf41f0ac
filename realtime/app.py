"""The composition root: builds, wires and owns everything. The only maker of clock, ids, seeds and secrets.

Rules of this file: (1) every part gets what it needs as an argument; (2) the system owns the server, not the reverse:
a part that dies ends the process, and the next start recovers; (3) the store is opened first and closed last.
"""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypedDict
from urllib.parse import quote

import orjson
import uvicorn
from starlette.types import ASGIApp

import realtime
from realtime.bots.history import History
from realtime.bots.jobs import Jobs
from realtime.bots.loading import Strategies
from realtime.bots.pool import Bounds as WorkerBounds, Pool, cores
from realtime.bots.supervisor import Supervisor
from realtime.commands import (
    alert,
    allocation,
    backtest,
    balance,
    bot,
    config as config_ops,
    connection,
    context,
    event,
    fill,
    help as help_ops,
    indicator,
    log,
    market,
    monitoring,
    naming,
    odds,
    order,
    portfolio,
    position,
    risk,
    signal as signal_ops,
    strategy,
    system as system_ops,
    trading as trading_ops,
    trading_window,
)
from realtime.commands.confirm import Policy
from realtime.commands.registry import Op, Refusal, Registry
from realtime.commands.risk import parse_limits
from realtime.desk.cache import Cache
from realtime.desk.charts import Charts
from realtime.desk.codec import dumps
from realtime.desk.config.book import ConfigBook
from realtime.desk.crew import Crew
from realtime.desk.days import Days
from realtime.desk.deadman import Deadman
from realtime.desk.desk import Desk
from realtime.desk.entries import Entries
from realtime.desk.feeds import Feeds
from realtime.desk.gate import Gate
from realtime.desk.history import older, seed, seed_scores
from realtime.desk.indicators import Indicators
from realtime.desk.lanes import Budget, Lanes
from realtime.desk.lines import LEVELS, Lines, line_of
from realtime.desk.monitor import Monitor, lanes_row
from realtime.desk.outlet import Outlet
from realtime.desk.rebalance import Plans
from realtime.desk.reconcile import AGES, Pace, Reconciler
from realtime.desk.recovery import VENUE, Recovered, read, recover
from realtime.desk.routine import SYSTEM, Routine, back_up
from realtime.desk.status import About, Status
from realtime.desk.sweep import Sweeps
from realtime.desk.switches import Switches
from realtime.desk.trading import Trading
from realtime.engine.conditions import Bounds as Conditions
from realtime.engine.engine import Engine
from realtime.engine.forgotten import SIZES, Sizes
from realtime.engine.studies import canonical
from realtime.hub.connection import Bounds
from realtime.hub.hub import Hub, Sizes as HubSizes
from realtime.model.errors import Refused
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import MS, Market
from realtime.model.principal import ROLES, Principal
from realtime.model.risk import Limits
from realtime.server import asgi, telemetry
from realtime.server.access import AccessLog
from realtime.server.admission import Admission, raise_file_limit
from realtime.server.auth import Auth, Sites, Token, digest
from realtime.server.health import Health
from realtime.server.limits import LaneBuckets, Rate
from realtime.server.page import Page
from realtime.server.sockets import bind
from realtime.server.transport import TransportLimits, config, quiet
from realtime.settings import Settings
from realtime.store import (
    Projection,
    Sizes as StoreSizes,
    Store,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
)
from realtime.venues.base import MarketSource, Venue
from realtime.venues.chaos import ChaosVenue, Fault, Kind
from realtime.venues.listing import Fees
from realtime.venues.market import EmbeddedMarket
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource, recording


try:
    import uvloop
except ImportError:  # pragma: no cover - Windows
    uvloop = None  # type: ignore[assignment]  # the loop of asyncio will do

logger = logging.getLogger("realtime.app")

READY_S: Final = 5.0
"""How long the banner waits for the account."""
GC_THRESHOLD: Final = (20_000, 20, 50)
SWITCH_S: Final = 0.000_2
"""How long a busy event loop may keep the journal's thread from the interpreter: with the default of 5 ms
a loop at full load let the queue of the journal fill up at 2,000 orders/s [s]."""
SPARE_FILES: Final = 128
"""Descriptors kept for everything that is not a connection."""
FACTS_QUEUE: Final = 1_000_000
"""Rows the store may hold: the desk refuses wishes long before, facts are never refused."""


class RefusedStart(Exception):
    """The server must not start like this; the text names the setting to change."""


class Ended(Exception):
    """The way a system's group is told that it is over."""


class Clock:
    """Wall time that never steps: read once, then carried on by a monotonic clock [ns]."""

    def __init__(self, wall: int, monotonic: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._offset = wall - monotonic()

    def now(self) -> int:
        """Tell the time [ns UTC]."""
        return self._offset + self._monotonic()

    def ms(self) -> int:
        """Tell the time [wire ms]."""
        return self.now() // MS


class JournalLog:
    """The paper exchange's own books, kept in the journal."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop

    def append(self, body: bytes) -> Awaitable[None]:
        """Queue one entry; the future is done once it is on disk."""
        written: asyncio.Future[None] = self._loop.create_future()

        def then(_seq: int) -> None:
            if not written.done():
                written.set_result(None)

        self._store.append(VENUE, "", body, then, safety=True)
        return written


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a maker of a venue may use."""

    settings: Settings
    now: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    log: JournalLog
    history: Iterable[bytes]


MakeVenue = Callable[[Making], Venue]


def paper(making: Making) -> Venue:
    """Make the paper exchange on the embedded market."""
    settings = making.settings.paper
    fees = Fees(**settings.fees.model_dump())
    source = EmbeddedMarket(
        seed=settings.seed,
        now=making.now,
        sleep=making.sleep,
        symbols=settings.symbols,
        fees=fees,
        flow_per_s=settings.flow_per_s,
    )
    return account(making, source, settings.latency_ms / 1000)


def account(making: Making, source: MarketSource, latency_s: float, kind: str = "paper") -> Venue:
    """Make a paper account on a source of prices, with switches for faults."""
    settings = making.settings.paper
    exchange = PaperVenue(
        source=source,
        balances=settings.balances,
        seed=settings.seed,
        now=making.now,
        sleep=making.sleep,
        latency_s=latency_s,
        log=making.log,
        history=making.history,
        kind=kind,
    )
    return ChaosVenue(exchange, seed=settings.seed, now=making.now, sleep=making.sleep)


class Faults:
    """The switches of `system.fault`, on the venue that has them."""

    def __init__(self, venue: ChaosVenue) -> None:
        self._venue = venue

    @property
    def kinds(self) -> Sequence[str]:
        """What can go wrong on request."""
        return [kind.value for kind in Kind]

    @property
    def markets(self) -> Mapping[str, Market]:
        """Where it can go wrong."""
        return self._venue.markets

    def switched(self) -> Sequence[Mapping[str, object]]:
        """Give the faults that are on."""
        return [asdict(fault) for fault in self._venue.faults]

    def switch(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Switch these on and all others off."""
        self._venue.set_faults([Fault(**{**raw, "kind": Kind(raw["kind"])}) for raw in faults])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a system takes from the world; tests give their own.

    Attributes:
        wall: Wall time at the start [ns UTC].
        monotonic: What carries it on [ns]; None is the loop's clock, which tests replace.
        secret: Makes 256 random bits as text.
        sleep: Waits for seconds.
        venue: Makes the venue.
        source: What its prices come from, for `status`.
        page: What is served at `/`.
        store: Keeps the journal.
        sizes: How many ended orders are kept in memory, and how long.
    """

    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], int] | None = None
    secret: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    venue: MakeVenue = paper
    source: str = "embedded"
    page: ASGIApp | None = None
    store: type[Store] = Store
    sizes: Sizes = SIZES


@dataclass(slots=True, kw_only=True)
class System:
    """A running system.

    Attributes:
        front: The ASGI application.
        admission: Counts connections.
        ready: Set once the account is reconciled.
        stop: Set to end it.
        token: The admin token made at this start, to be printed once; None when there was one.
        ended: Whether the venue's recording has ended.
    """

    settings: Settings
    clock: Clock
    store: Store
    venue: Venue
    desk: Desk
    trading: Trading
    plans: Plans
    deadman: Deadman
    feeds: Feeds
    reconciler: Reconciler
    sweeps: Sweeps
    gate: Gate
    hub: Hub
    registry: Registry
    auth: Auth
    front: asgi.Front
    status: Status
    book: ConfigBook
    monitor: Monitor
    lines: Lines
    routine: Routine
    admission: Admission
    recovered: Recovered
    jobs: Jobs
    bots: Supervisor
    ready: asyncio.Event
    stop: asyncio.Event
    token: str | None
    tasks: asyncio.TaskGroup

    async def drain(self) -> None:
        """Stop in order: no new orders, calls in flight end, clients are sent away (9.7)."""
        self.status.stopping = True
        self.desk.draining = True
        self.deadman.stop()
        self.bots.drain()
        self.front.refuse_new()
        self.desk.outlet.state()
        await self._until_quiet(self.settings.reconcile.order_timeout_s)
        if self.settings.on_stop == "cancel":
            doomed = [o for o in self.trading.working() if not o.protective]
            await self.trading.cancel_many(doomed, SYSTEM)
        await self.front.drain()

    async def _until_quiet(self, bound_s: float) -> None:
        """Wait for venue calls in flight and for the commits of what they led to."""
        loop = asyncio.get_running_loop()
        end = loop.time() + bound_s
        # Nobody tells when the last of many parts falls quiet.
        while loop.time() < end and not (self.gate.quiet and not self.store.busy):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


# --- composing ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def open_system(settings: Settings, outside: Outside | None = None) -> AsyncIterator[System]:
    """Build, recover and run a system; at the end everything it owns has ended.

    Raises:
        RefusedStart: The settings are not safe.
        StoreLocked, StoreNewer, StoreCorrupt: The journal cannot be used.
    """
    check(settings)
    outside = outside or Outside()
    loop = asyncio.get_running_loop()
    clock = Clock(outside.wall(), outside.monotonic or (lambda: int(loop.time() * 1e9)))
    path = Path(settings.store.path) if settings.store.path else None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    store = await outside.store.open(
        path,
        now=clock.now,
        new_id=lambda: f"j-{outside.secret()[:10]}",
        sizes=StoreSizes(
            queue=FACTS_QUEUE,
            warn=settings.store.warn_free_mb * 1_000_000,
            reducing=settings.store.reducing_free_mb * 1_000_000,
        ),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            system = await compose(settings, outside, clock, store, tasks)
            fatal = loop.create_future()
            loop.set_exception_handler(partial(_broken, fatal, system.admission))
            begin(system, tasks)
            tasks.create_task(_die_with(fatal), name="callbacks")
            try:
                yield system
            finally:
                system.deadman.stop()
                system.bots.drain()
                system.front.stop()
                system.lines.detach()
                await system.jobs.close()
            # The group cancels whoever is left: feeds, look-ups, connections.
            raise Ended  # noqa: TRY301 - the only way out that a group of tasks has
    except* Ended:
        pass
    finally:
        loop.set_exception_handler(None)
        lost = await store.close()
        if lost:
            logger.error("rows lost", extra={"rows": lost})


def _broken(
    fatal: asyncio.Future[None],
    admission: Admission,
    loop: asyncio.AbstractEventLoop,
    context: dict[str, Any],
) -> None:
    """A callback of ours that raises is as bad as a task that does: half a server is worse than none."""
    error = context.get("exception")
    ours = "handle" in context or "source_traceback" in context
    if ours and isinstance(error, Exception) and not isinstance(error, OSError):
        if not fatal.done():
            fatal.set_exception(error)
        return
    admission.on_exception(loop, context)


async def _die_with(fatal: asyncio.Future[None]) -> None:
    await fatal


def check(settings: Settings) -> None:
    """Refuse what is not safe (reliability document, 5.1).

    Raises:
        RefusedStart: With the setting to change.
    """
    if settings.mode == "live":
        raise RefusedStart("mode: live needs a real venue, and this version has none; use paper")
    if not settings.loopback and not settings.auth_required:
        if not settings.auth.insecure_i_know:
            raise RefusedStart(
                f"server.host {settings.server.host} is not loopback and auth.required is false: "
                "anyone could trade; remove auth.required, or bind 127.0.0.1"
            )
        logger.warning("everybody who reaches this server may trade: auth.insecure_i_know is set")


async def compose(
    settings: Settings,
    outside: Outside,
    clock: Clock,
    store: Store,
    tasks: asyncio.TaskGroup,
) -> System:
    """Make all parts, recover, and join them; nothing runs yet."""
    loop = asyncio.get_running_loop()
    crew = Crew(tasks)
    early: list[MarketEvent | VenueEvent] = []
    sink: list[Callable[[Sequence[MarketEvent | VenueEvent]], None]] = [early.extend]
    # The journal is read before the first append, and opening a paper account is one.
    kept, rest = await read(store)
    venue = outside.venue(
        Making(
            settings=settings,
            now=clock.now,
            sleep=outside.sleep,
            log=JournalLog(store, loop),
            history=kept,
        )
    )
    await venue.open(lambda events: sink[0](events))  # noqa: PLW0108 - the sink changes
    engine = Engine(
        venue=venue.id,
        mode=settings.mode,
        markets=venue.markets,
        limits=Limits(**parse_limits(settings.risk.limits)),
        valuation_currency=settings.risk.valuation_currency,
        sizes=outside.sizes,
    )
    for symbol, book in venue.books.items():
        engine.share_book(symbol, book)
    recovered = recover(rest, engine)
    del rest
    hub = Hub(
        boot=f"b-{outside.secret()[:8]}",
        journal=store.journal_id,
        now=clock.ms,
        sizes=HubSizes(
            table=settings.hub.ring_table,
            log=settings.hub.ring_public,
            journaled=settings.hub.ring_private,
        ),
    )
    hub.symbols = venue.markets
    await seed(store, hub)
    await seed_scores(store, engine)
    entries = Entries(events=store.opened["events"], alerts=store.opened["alerts"])
    outlet = Outlet(
        engine=engine,
        hub=hub,
        mode=settings.mode,
        zone=lambda: config_book.current.timezone,
        now=clock.now,
    )
    desk = Desk(
        engine=engine, store=store, outlet=outlet, entries=entries, now=clock.now, loop=loop
    )
    desk.resume_numbers(commands=recovered.commands, orders=recovered.orders)
    desk.acked.update(recovered.acked)
    store.on_failure = desk.journal_failed
    timeout_s = settings.reconcile.order_timeout_s
    monitor = Monitor(
        desk=desk,
        hub=hub,
        cache=Cache(loop=loop, now=clock.now),
        loop=loop,
        now=clock.now,
        started_ts=clock.ms(),
    )
    lanes = Lanes(Budget(), loop)
    monitor.lanes = lambda: lanes_row(lanes.flying, lanes.waiting)
    gate = Gate(
        venue=venue,
        lanes=lanes,
        crew=crew,
        post=monitor.posting(desk.post),
        canceled=desk.canceled,
        command=desk.command,
        tally=desk.tally,
        runaway=desk.runaway,
        now=clock.now,
        timeout_s=timeout_s,
    )
    desk.gate = gate
    charts = Charts(history=venue, publish=outlet.bars, crew=crew, now=clock.now)
    outlet.charts = charts
    feeds = Feeds(
        venue=venue,
        take=monitor.taking(desk.take),
        charts=charts,
        loop=loop,
        now=clock.now,
        stale_after_s=settings.market_data.stale_after_s,
        grace_s=settings.market_data.grace_close_s,
    )
    indicators = Indicators(
        feeds=feeds,
        charts=charts,
        history=venue,
        publish=outlet.bars,
        crew=crew,
        loop=loop,
        now=clock.now,
    )
    hub.studies = canonical
    hub.on_demand = lambda base, wanted: (
        indicators.want if base.startswith("indicators:") else feeds.want
    )(base, wanted)
    reconciler = Reconciler(
        desk=desk,
        venue=venue,
        crew=crew,
        loop=loop,
        pace=Pace(
            orders=settings.reconcile.orders_s,
            positions=settings.reconcile.positions_s,
            balances=settings.reconcile.balances_s,
            timeout=timeout_s,
            **look_ups(settings.reconcile.absent_s),
        ),
    )
    desk.ask = reconciler.ask
    reconciler.executions_known = feeds.trust_sums
    status = Status(
        about=About(
            version=realtime.__version__,
            environment=settings.environment,
            mode=settings.mode,
            venue=venue.id,
            kind=venue.kind,
            source=outside.source,
            started_ts=clock.ms(),
            max_age_s=settings.health.max_upstream_age_s,
        ),
        desk=desk,
        feeds=feeds,
        reconciler=reconciler,
        now=clock.now,
    )
    outlet.status = status.row
    strategies = Strategies(Path(settings.strategies.path) if settings.strategies.path else None)
    config_book = ConfigBook(
        desk=desk,
        strategies=strategies,
        limits_of=parse_limits,
        publish=lambda row: hub.value("config", row),
        file=Path(settings.config.path) if settings.config.path else None,
    )
    desk.limits_changed = config_book.limits_changed
    await configure(settings, config_book, venue)
    sweeps = Sweeps(desk=desk, venue=venue, crew=crew, show=outlet.canceling, timeout_s=timeout_s)
    trading = Trading(
        desk=desk,
        sweeps=sweeps,
        venue=venue.id,
        new_client_order_id=lambda: f"s-{outside.secret()[:20]}",
        timeout_s=timeout_s,
    )
    plans = Plans(
        desk=desk, trading=trading, crew=crew, new_id=lambda: f"p-{outside.secret()[:12]}"
    )
    await plans.open()
    jobs = await backtests(settings, outside, clock, desk, crew, hub, venue)
    deadman = Switches(desk=desk, trading=trading, crew=crew).make(loop=loop, now=clock.now)
    for switch in recovered.switches.values():
        deadman.restore(switch)
    auth, made = await identities(settings, outside, clock, store)
    lines = Lines(
        keep=settings.hub.log_lines, loop=loop, publish=lambda line: hub.append("logs", line)
    )
    lines.attach(settings.log.level)
    # What the venue told while it opened comes behind what the journal remembers.
    sink[0] = feeds.take
    for fact in engine.unfinished(clock.now()):
        desk.post(desk.named(fact))
    feeds.take(early)
    admission = Admission(
        cap=min(settings.server.max_connections, raise_file_limit() - SPARE_FILES),
        accept_per_s=settings.server.accept_per_s,
    )

    def venue_ok() -> bool:
        return not feeds.silent

    bots = Supervisor(
        desk=desk,
        trading=trading,
        history=venue,
        feeds=feeds,
        hub=hub,
        book=config_book,
        strategies=strategies,
        crew=crew,
        loop=loop,
        venue_ok=venue_ok,
    )
    await bots.restore()
    trading.guard = bots.guard
    status.bots = bots.health
    parts = Parts(
        desk=desk,
        trading=trading,
        deadman=deadman,
        venue=venue,
        status=status,
        lines=lines,
        auth=auth,
        book=config_book,
        plans=plans,
        strategies=strategies,
        monitor=monitor,
        jobs=jobs,
        bots=bots,
        venue_ok=venue_ok,
    )
    registry = table(settings, outside, clock, parts)
    front = asgi.build(
        asgi.System(
            hub=hub,
            registry=registry,
            auth=auth,
            health=Health(status.reasons),
            mode=settings.mode,
            version=realtime.__version__,
            now=clock.ms,
            secret=outside.secret,
            spawn=lambda work: crew.spawn(work, "reply"),
            venues=lambda: [{"id": v["id"], "status": v["status"]} for v in status.venues()],
            trading_state=engine.state,
            asof=status.asof,
            older=lambda channel, first, last: older(store, channel, first, last),
            presence=deadman,
            sites=Sites(
                origins=frozenset(settings.server.origins), hosts=frozenset(settings.server.hosts)
            ),
            admission=admission,
            page=outside.page or Page(),
            metrics=lambda: telemetry.text(monitor.metrics(), monitor.latency()),
            bounds=Bounds(auth_s=settings.server.auth_timeout_s, channels=settings.limits.channels),
            figures=asgi.Figures(
                subscribes_per_s=settings.limits.subscribes_per_s,
                commands_per_s=settings.limits.commands_per_s,
                orders_per_s=settings.limits.orders_per_s,
                safety_per_s=settings.limits.safety_per_s,
                frame_bytes=settings.server.frame_bytes,
            ),
            heartbeat_s=settings.server.heartbeat_s,
            accept_per_s=settings.server.accept_per_s,
        )
    )
    monitor.connections = front.connections
    front.pump.flushed = monitor.flushed
    desk.notice = front.notify
    auth.on_failure = lambda address: desk.note("auth_failed", {"address": address})
    routine = Routine(
        desk=desk,
        outlet=outlet,
        feeds=feeds,
        reconciler=reconciler,
        status=status,
        days=Days(engine=engine, history=venue, crew=crew, now=clock.now),
        timezone=lambda: config_book.current.timezone,
    )
    return System(
        settings=settings,
        clock=clock,
        store=store,
        venue=venue,
        desk=desk,
        trading=trading,
        plans=plans,
        deadman=deadman,
        feeds=feeds,
        reconciler=reconciler,
        sweeps=sweeps,
        gate=gate,
        hub=hub,
        registry=registry,
        auth=auth,
        front=front,
        status=status,
        book=config_book,
        monitor=monitor,
        lines=lines,
        routine=routine,
        admission=admission,
        recovered=recovered,
        jobs=jobs,
        bots=bots,
        ready=asyncio.Event(),
        stop=asyncio.Event(),
        token=made,
        tasks=tasks,
    )


async def backtests(
    settings: Settings,
    outside: Outside,
    clock: Clock,
    desk: Desk,
    crew: Crew,
    hub: Hub,
    venue: Venue,
) -> Jobs:
    """Make the backtests and read those of earlier lives; a journal in memory keeps none of their files."""
    knobs = settings.backtests
    directory = Path(knobs.path) if knobs.path else None
    if directory is None and settings.store.path:
        directory = Path(settings.store.path).parent / "backtests"
    # The embedded market's past depends on its seed.
    source = f"{venue.id}-{outside.source}-{settings.paper.seed}"
    jobs = Jobs(
        desk=desk,
        crew=crew,
        pool=Pool(
            knobs.workers or cores(),
            Path(settings.strategies.path) if settings.strategies.path else None,
            WorkerBounds(stall_s=knobs.stall_s, run_s=knobs.run_s),
        ),
        history=lambda bars: History(venue, bars / quote(source, safe=""), clock.now),
        publish=lambda key, row: hub.value(f"backtest:{key}", row),
        new_id=lambda: f"bt-{outside.secret()[:20]}",
        directory=directory,
        data=Path(knobs.data) if knobs.data else None,
        version=realtime.__version__,
    )
    hub.ids["backtest_id"] = jobs
    await jobs.open()
    return jobs


async def configure(settings: Settings, book: ConfigBook, venue: Venue) -> None:
    """Read the runtime configuration; start-up settings say what its first version says of them.

    Raises:
        RefusedStart: The file is broken, and there is no earlier version, or money is real.
    """
    first: dict[str, Any] = {
        "timezone": settings.risk.timezone,
        "portfolio": {"valuation_currency": settings.risk.valuation_currency},
    }
    if book.current.strategy.symbol not in venue.markets and venue.markets:
        first["strategy"] = {"symbol": next(iter(venue.markets))}
    try:
        await book.open(first)
    except Refused as error:
        raise RefusedStart(f"{book.file or 'configuration'}: {error.message}") from error
    if settings.mode == "live" and book.file_faults:  # pragma: no cover - no real venue yet
        path, message = book.file_faults[0]
        raise RefusedStart(f"{book.file}: {path} {message}")


class LookUps(TypedDict):
    """The part of `Pace` that proves absence."""

    look_ups: tuple[float, ...]
    early: float
    late: float


def look_ups(absent_s: float) -> LookUps:
    """Spread look-ups of unknown orders up to the age at which absence may be proven."""
    scale = absent_s / 60.0
    return {
        "look_ups": tuple(age * scale for age in AGES),
        "early": 5.0 * scale,
        "late": 60.0 * scale,
    }


@dataclass(slots=True, kw_only=True)
class Parts:
    """What the ops are made of."""

    desk: Desk
    trading: Trading
    deadman: Deadman
    venue: Venue
    status: Status
    lines: Lines
    auth: Auth
    book: ConfigBook
    plans: Plans
    strategies: Strategies
    monitor: Monitor
    jobs: Jobs
    bots: Supervisor
    venue_ok: Callable[[], bool]


def table(settings: Settings, outside: Outside, clock: Clock, parts: Parts) -> Registry:
    """Make the table of ops.

    Raises:
        RefusedStart: A confirmation policy is wrong.
    """
    desk, trading = parts.desk, parts.trading
    limits = settings.limits
    faults = Faults(parts.venue) if isinstance(parts.venue, ChaosVenue) else None
    bars = indicator.Bars(lambda: desk.engine.markets, parts.venue, desk.now)
    ops: list[Op] = [
        *connection.ops(parts.auth, parts.status.facts),
        *system_ops.ops(
            health=parts.status.health,
            status=parts.status.row,
            faults=faults,
        ),
        *monitoring.ops(
            connections=parts.monitor.connected,
            latency=parts.monitor.latency,
            metrics=parts.monitor.metrics,
            cache=parts.monitor.cache.row,
        ),
        *order.ops(desk, trading),
        *fill.ops(desk),
        *position.ops(desk, trading),
        *balance.ops(desk),
        *market.ops(desk, parts.venue, parts.status.venues),
        *context.ops(
            desk,
            parts.venue,
            bounds=lambda: Conditions(**parts.book.current.market_checks.model_dump()),
            venue_ok=parts.venue_ok,
        ),
        *risk.ops(desk, trading),
        *indicator.ops(bars),
        *strategy.ops(desk, parts.book, parts.strategies, bars),
        *config_ops.ops(desk, parts.book),
        *trading_window.ops(desk, parts.book, parts.bots),
        *odds.ops(desk, trading, parts.venue),
        *trading_ops.ops(desk, trading, parts.deadman),
        *portfolio.ops(desk, parts.venue, parts.book),
        *allocation.ops(desk, trading, parts.venue, parts.book, parts.plans),
        *backtest.ops(desk, parts.jobs, parts.strategies),
        *bot.ops(desk, parts.bots),
        *signal_ops.ops(desk),
        *event.ops(desk),
        *alert.ops(desk),
        *log.ops(parts.lines),
    ]
    try:
        registry = Registry(
            ops,
            mode=settings.mode,
            now=clock.ms,
            token=outside.secret,
            lanes=LaneBuckets(
                asyncio.get_running_loop().time,
                {
                    "sub": Rate(per_s=limits.subscribes_per_s, burst=5 * limits.subscribes_per_s),
                    "query": Rate(per_s=limits.commands_per_s, burst=5 * limits.commands_per_s),
                    "orders": Rate(per_s=limits.orders_per_s, burst=2 * limits.orders_per_s),
                    "safety": Rate(per_s=limits.safety_per_s, burst=4 * limits.safety_per_s),
                },
            ),
            policies=[Policy(op=p.op, above=p.above_notional) for p in settings.confirm],
        )
    except ValueError as error:
        raise RefusedStart(f"confirm: {error}") from error
    for row in help_ops.ops(registry):
        registry.add(row)

    def refused(refusal: Refusal) -> None:
        who = naming.who_of(refusal)
        desk.refused(refusal.op, who, refusal.error, refusal.raw)

    registry.on_refused = refused
    return registry


async def identities(
    settings: Settings, outside: Outside, clock: Clock, store: Store
) -> tuple[Auth, str | None]:
    """Read the tokens; where one is needed and there is none, make the first."""
    loop = asyncio.get_running_loop()
    tokens: list[Token] = []
    made: str | None = None
    if settings.auth_required:
        tokens = [token_of(entry.body) for entry in await store.rows("tokens")]
        if not tokens:
            made = f"rt_{outside.secret()}"
            token = Token(
                id=f"t-{outside.secret()[:8]}",
                digest=digest(made),
                subject="admin",
                scopes=ROLES["admin"],
                expires_at=clock.ms() + settings.auth.token_days * 86_400_000,
            )
            keep(store, token, clock.now())
            tokens = [token]
    auth = Auth(tokens=tokens, now=clock.ms, clock=loop.time, secret=outside.secret)
    return auth, made


def keep(store: Store, token: Token, now: int) -> None:
    """Journal a token: its hash, never itself."""
    body = dumps(
        {
            "id": token.id,
            "digest": token.digest.hex(),
            "subject": token.subject,
            "scopes": sorted(token.scopes),
            "expires_at": token.expires_at,
        }
    )
    store.append("Token", token.id, body, None, [Projection("tokens", token.id, now, body=body)])


def token_of(body: bytes) -> Token:
    """Read a journaled token."""
    raw = orjson.loads(body)
    return Token(
        id=raw["id"],
        digest=bytes.fromhex(raw["digest"]),
        subject=raw["subject"],
        scopes=frozenset(raw["scopes"]),
        expires_at=raw["expires_at"],
    )


def begin(system: System, tasks: asyncio.TaskGroup) -> None:
    """Start what runs without end."""
    desk, settings = system.desk, system.settings
    desk.outlet.begin()
    system.book.show()
    system.front.start()
    tasks.create_task(system.venue.run(), name=f"venue {system.venue.id}")
    tasks.create_task(system.routine.run(), name="routine")
    tasks.create_task(system.monitor.run(), name="monitor")
    tasks.create_task(system.bots.run(), name="bots")
    tasks.create_task(_reconcile(system), name="reconcile")
    if settings.store.path and settings.store.backup_hours:
        directory = Path(settings.store.path).parent / "backups"
        hours = settings.store.backup_hours
        tasks.create_task(back_up(system.store, directory, hours), name="backups")


async def _reconcile(system: System) -> None:
    """Get ready, then what a restart owes, then go on comparing."""
    await system.reconciler.until_ready()
    # The day begins with the account: without it the rules of the day would refuse.
    system.routine.tick(system.clock.now())
    system.ready.set()
    for sweep in system.recovered.sweeps.values():
        system.sweeps.begin(sweep)
    system.deadman.start()
    system.plans.resume()
    system.bots.resume()
    system.desk.outlet.state()
    await system.reconciler.run()


# --- serving --------------------------------------------------------------------------------------


class Server(uvicorn.Server):
    """uvicorn, with signals left to us: it would raise SIGTERM again on its way out."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


async def serve(
    settings: Settings,
    outside: Outside | None = None,
    started: Callable[[System, str], None] = lambda _system, _address: None,
) -> None:
    """Run a server until a signal ends it.

    Args:
        settings: All of them.
        outside: The world.
        started: Told the system and its address once it listens.
    """
    quiet()
    limits = TransportLimits(
        high=settings.server.write_buffer_bytes,
        header_s=settings.server.header_timeout_s,
        stall_s=settings.server.stall_s,
        frame_bytes=settings.server.frame_bytes,
    )
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listening(settings, limits))
        system = await stack.enter_async_context(open_system(settings, outside))
        server = Server(
            uvicorn.Config(
                AccessLog(system.front),
                host=settings.server.host,
                port=settings.server.port,
                **config(limits, system.admission),
            )
        )
        loop = asyncio.get_running_loop()
        hurry = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, _signaled, system.stop, hurry)
        serving = system.tasks.create_task(server.serve([listener]), name="server")
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event
            await asyncio.sleep(0.005)
        # A failing account stays not ready and the server runs; a good one is worth a moment.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                await system.ready.wait()
        # What lives as long as the process is looked at no more, and what dies young is collected in
        # larger lots: an order makes some hundred objects and hardly a cycle.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        sys.setswitchinterval(SWITCH_S)
        try:
            started(system, address(listener, settings.server.host))
            await system.stop.wait()
            await _stop(system, server, hurry)
            await serving
        finally:
            # A part that dies cancels uvicorn before it has closed what it listens on.
            for accepting in server.servers:
                accepting.close()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _signaled(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """Stop at the first signal, skip the politeness at the second."""
    if stop.is_set():
        hurry.set()
    stop.set()


async def _stop(system: System, server: Server, hurry: asyncio.Event) -> None:
    """Drain within the bound, then let go of everything."""
    for accepting in server.servers:
        accepting.close()
    draining = system.tasks.create_task(system.drain(), name="drain")
    hurried = system.tasks.create_task(hurry.wait(), name="second signal")
    await asyncio.wait(
        [draining, hurried],
        timeout=system.settings.shutdown_s - 5,
        return_when=asyncio.FIRST_COMPLETED,
    )
    draining.cancel()
    hurried.cancel()
    server.should_exit = True


@contextlib.contextmanager
def listening(settings: Settings, limits: TransportLimits) -> Iterator[socket.socket]:
    """Listen before anything else is done: a port that is taken should cost nothing.

    Raises:
        RefusedStart: The address cannot be had.
    """
    where = settings.server
    try:
        listener = bind(where.host, where.port, limits)
    except OSError as error:
        raise RefusedStart(f"server.port: {where.host}:{where.port}: {error.strerror}") from error
    with listener:
        yield listener


def address(listener: socket.socket, host: str) -> str:
    """Name where a server listens, with the port it was given."""
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{listener.getsockname()[1]}"


def run(
    settings: Settings,
    outside: Outside,
    show: Callable[[dict[str, str]], None],
) -> tuple[int, str]:
    """Run a server in a loop of its own.

    Args:
        settings: All of them.
        outside: The world.
        show: Told name and value of what a person wants to know, once it listens.

    Returns:
        Exit code (0 drained, 2 refused, 70 a part died) and the reason.
    """
    logs(settings)
    if outside.monotonic is None:
        # The same clock as the loop's, at a tenth of the cost: an order asks for the time twenty times.
        outside = replace(outside, monotonic=time.monotonic_ns)

    def started(system: System, where: str) -> None:
        show(facts(system, where))

    refusals = (RefusedStart, StoreLocked, StoreNewer, StoreCorrupt, OSError)
    try:
        drive(serve(settings, outside, started))
    except BaseExceptionGroup as group:
        refused, other = group.split(refusals)
        if refused is not None and other is None:
            return REFUSED, str(_first(refused))
        logger.critical("a part died", exc_info=group)
        return DIED, f"a part died: {_first(group)!r}"
    except refusals as error:
        return REFUSED, str(error)
    return 0, ""


REFUSED: Final = 2
DIED: Final = 70
CLOSE_S: Final = 5.0
"""How long a loop may take to close: uvloop was seen to wait for ever for a handle nobody held [s]."""


def drive(main: Coroutine[object, object, None], leave: Callable[[int], object] = os._exit) -> None:
    """Run to the end in a loop of its own, and leave the process when that loop does not close.

    The journal is closed by then, so nothing is lost by leaving.
    """
    code = DIED
    watch: threading.Timer | None = None
    try:
        with asyncio.Runner(loop_factory=new_loop()) as runner:
            try:
                runner.run(main)
                code = 0
            finally:
                watch = threading.Timer(CLOSE_S, leave, (code,))
                watch.daemon = True
                watch.start()
    finally:
        if watch is not None:
            watch.cancel()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Take uvloop where there is one."""
    return getattr(uvloop, "new_event_loop", None)


def logs(settings: Settings) -> None:
    """Send the program's lines to standard error, one JSON object each."""
    handler = logging.StreamHandler()
    if settings.log.format == "json":
        handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("realtime").setLevel(LEVELS[settings.log.level])


class JsonLines(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line = line_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line).decode()


def facts(system: System, where: str) -> dict[str, str]:
    """Say what a person wants to know."""
    settings = system.settings
    page = f"http://{where}/"
    found = {
        "socket": f"ws://{where}/ws",
        "page": page,
        "mode": f"{settings.mode} ({system.status.source})",
        "data": settings.store.path or "in memory",
    }
    if system.auth.required:
        local = Principal(subject="admin", scopes=ROLES["admin"])
        ticket = system.auth.ticket(local, None, bound=False)
        found["page"] = f"{page}#ticket={ticket} (once, within 30 s)"
    if system.token is not None:
        found["token"] = f"{system.token} (shown this once)"
    return found


def replaying(file: Path, speed: float | None) -> Outside:
    """Take prices from a recorded session instead of the embedded market.

    Args:
        file: The recording.
        speed: Times the pace of the recording; None is as fast as possible.
    """

    def make(making: Making) -> Venue:
        settings = making.settings.paper
        source = ReplaySource(
            recording(file),
            now=making.now,
            sleep=making.sleep,
            speed=speed,
            fees=Fees(**settings.fees.model_dump()),
        )
        return account(making, source, settings.latency_ms / 1000 / (speed or 1000), "replay")

    return Outside(venue=make, source=f"recording {file.name}")


__all__ = ["Outside", "RefusedStart", "System", "open_system", "run", "serve"]
