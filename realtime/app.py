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
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
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
from realtime.branch import (
    EMBEDDED,
    RECORDING,
    Branch,
    House,
    Journaled,
    Plan,
    RefusedStart,
    Telling,
    Unopened,
    check_owner,
    open_branch,
)
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
from realtime.commands.accounts import Account as OpsAccount, Accounts as OpsAccounts
from realtime.commands.confirm import Policy
from realtime.commands.registry import Op, Refusal, Registry
from realtime.commands.risk import parse_limits
from realtime.desk.codec import dumps
from realtime.desk.config.book import ConfigBook
from realtime.desk.crew import Crew
from realtime.desk.deadman import Deadman
from realtime.desk.desk import Desk
from realtime.desk.feeds import Feeds
from realtime.desk.gate import Gate
from realtime.desk.history import older
from realtime.desk.lines import LEVELS, Lines, line_of
from realtime.desk.monitor import Monitor
from realtime.desk.rebalance import Plans
from realtime.desk.reconcile import Reconciler
from realtime.desk.recovery import Recovered, read
from realtime.desk.routine import SYSTEM, Routine, back_up
from realtime.desk.status import About, Shut, Status, Watched
from realtime.desk.trading import Trading
from realtime.engine.bars import DAY
from realtime.engine.conditions import Bounds as Conditions
from realtime.engine.forgotten import SIZES, Sizes
from realtime.engine.studies import canonical
from realtime.hub.channels import Channel
from realtime.hub.connection import Bounds
from realtime.hub.hub import Hub, Old, Sizes as HubSizes
from realtime.makers import (
    MakeVenue,
    Making,
    faults_of,
    on_prices_of,
    on_recording,
    paper,
    trading_at,
)
from realtime.model.errors import Code, Failure, Refused
from realtime.model.market import MS
from realtime.model.principal import ROLES, Principal
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
    Keep,
    Projection,
    Sizes as StoreSizes,
    Store,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
)
from realtime.venues.base import Remote, Venue
from realtime.venues.ccxt import keys
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.calls import Calls, nonce_row
from realtime.venues.ccxt.redaction import Redaction


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


PAPER: Final = "paper"
"""The exchange that is ours."""
WHOLE: Final = frozenset({"system.health", "system.status"})
"""Ops of the whole server among those that accounts make."""
GRAVE: Final = frozenset(
    {
        "trading.resume",
        "order.resolve",
        "bot.rearm",
        "risk.params.set",
        "config.rollback",
        "position.close_all",
        "portfolio.rebalance",
    }
)
"""Ops that ask back where money is real (protocol document, 8.7)."""
HOPELESS: Final = frozenset({Code.INVALID, Code.NOT_FOUND, Code.NOT_SUPPORTED, Code.CONFLICT})
"""What no time mends: the settings name something that is not there, or a key that another process uses."""
RETRY_S: Final = 5.0
"""Wait before a shut account is tried again [s]; doubled up to `RETRY_MOST_S`."""
RETRY_MOST_S: Final = 60.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a system takes from the world; tests give their own.

    Attributes:
        wall: Wall time at the start [ns UTC].
        monotonic: What carries it on [ns]; None is the loop's clock, which tests replace.
        secret: Makes 256 random bits as text.
        sleep: Waits for seconds.
        venue: Makes the venue of the only account; by default the settings say which accounts there are.
        makers: Makers of venues instead of those that the settings name, by the id of the account.
        source: What the prices of `venue` come from, for `status`.
        page: What is served at `/`.
        store: Keeps the journal.
        sizes: How many ended orders are kept in memory, and how long.
    """

    wall: Callable[[], int] = time.time_ns
    monotonic: Callable[[], int] | None = None
    secret: Callable[[], str] = lambda: secrets.token_urlsafe(32)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    venue: MakeVenue | None = None
    makers: Mapping[str, MakeVenue] = field(default_factory=dict)
    source: str = EMBEDDED
    page: ASGIApp | None = None
    store: type[Store] = Store
    sizes: Sizes = SIZES


@dataclass(slots=True, kw_only=True)
class Brain:
    """What thinks, for the first account: configuration, strategies, backtests, bots."""

    strategies: Strategies
    book: ConfigBook
    jobs: Jobs
    bots: Supervisor


@dataclass(slots=True, kw_only=True)
class Place:
    """An account from the start of the server to its end.

    Attributes:
        plan: Which one.
        store: Its journal.
        read: What that held at the start.
        watched: It, as `status` sees it.
        ops: It, as the ops see it.
        branch: It, composed; while it is shut, one on a venue that has no markets and a journal that is forgotten.
    """

    plan: Plan
    store: Store
    read: Journaled
    watched: Watched
    ops: OpsAccount
    branch: Branch

    @property
    def shut(self) -> bool:
        """Whether its venue could not be opened yet."""
        return self.watched.shut is not None


@dataclass(slots=True, kw_only=True)
class System:
    """A running system.

    Attributes:
        house: What all accounts share.
        places: The accounts, the first one first.
        front: The ASGI application.
        admission: Counts connections.
        ready: Set once all accounts are reconciled.
        stop: Set to end it.
        token: The admin token made at this start, to be printed once; None when there was one.
    """

    settings: Settings
    clock: Clock
    house: House
    places: list[Place]
    brain: Brain
    hub: Hub
    registry: Registry
    auth: Auth
    front: asgi.Front
    status: Status
    lines: Lines
    admission: Admission
    ready: asyncio.Event
    stop: asyncio.Event
    token: str | None
    tasks: asyncio.TaskGroup

    # -- the first account -------------------------------------------------------------------------

    @property
    def branch(self) -> Branch:
        """The first account."""
        return self.places[0].branch

    @property
    def store(self) -> Store:
        """The journal of the first account."""
        return self.branch.store

    @property
    def venue(self) -> Venue:
        """The venue of the first account."""
        return self.branch.venue

    @property
    def desk(self) -> Desk:
        """The desk of the first account."""
        return self.branch.desk

    @property
    def trading(self) -> Trading:
        """What the first account's orders go through."""
        return self.branch.trading

    @property
    def plans(self) -> Plans:
        """Plans of the first account's portfolio."""
        return self.branch.plans

    @property
    def deadman(self) -> Deadman:
        """Switches over the first account's orders."""
        return self.branch.deadman

    @property
    def feeds(self) -> Feeds:
        """Streams of the first account."""
        return self.branch.feeds

    @property
    def reconciler(self) -> Reconciler:
        """Compares the first account with its venue."""
        return self.branch.reconciler

    @property
    def gate(self) -> Gate:
        """The first account's way out."""
        return self.branch.gate

    @property
    def monitor(self) -> Monitor:
        """Figures of the first account and the server."""
        return self.branch.monitor

    @property
    def routine(self) -> Routine:
        """The beat of the first account."""
        return self.branch.routine

    @property
    def recovered(self) -> Recovered:
        """What the first journal said."""
        return self.branch.recovered

    @property
    def book(self) -> ConfigBook:
        """The configuration."""
        return self.brain.book

    @property
    def jobs(self) -> Jobs:
        """The backtests."""
        return self.brain.jobs

    @property
    def bots(self) -> Supervisor:
        """The bots."""
        return self.brain.bots

    # -- the end -----------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop in order: no new orders, calls in flight end, clients are sent away (9.7)."""
        self.status.stopping = True
        branches = [place.branch for place in self.places]
        for branch in branches:
            branch.desk.draining = True
            branch.deadman.stop()
        self.bots.drain()
        self.front.refuse_new()
        self.desk.outlet.state()
        await self._until_quiet(branches, self.settings.reconcile.order_timeout_s)
        if self.settings.on_stop == "cancel":
            await asyncio.gather(*[cancel_resting(branch.trading) for branch in branches])
        await self.front.drain()

    async def _until_quiet(self, branches: Sequence[Branch], bound_s: float) -> None:
        """Wait for venue calls in flight and for the commits of what they led to."""
        loop = asyncio.get_running_loop()
        end = loop.time() + bound_s
        # Nobody tells when the last of many parts falls quiet.
        while loop.time() < end and not all(  # noqa: ASYNC110
            branch.gate.quiet and not branch.store.busy for branch in branches
        ):
            await asyncio.sleep(0.01)


async def cancel_resting(trading: Trading) -> None:
    """Cancel what rests at a venue and protects nothing."""
    doomed = [order for order in trading.working() if not order.protective]
    await trading.cancel_many(doomed, SYSTEM)


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
    planned = plans_of(settings, outside)
    stores: list[Store] = []
    try:
        for plan in planned:
            store = await open_store(settings, outside, clock, plan)
            stores.append(store)
        async with asyncio.TaskGroup() as tasks:
            system = await compose(settings, outside, clock, planned, stores, tasks)
            fatal = loop.create_future()
            loop.set_exception_handler(partial(_broken, fatal, system.admission))
            begin(system, tasks)
            tasks.create_task(_die_with(fatal), name="callbacks")
            try:
                yield system
            finally:
                for place in system.places:
                    place.branch.deadman.stop()
                system.bots.drain()
                system.front.stop()
                system.lines.detach()
                await system.jobs.close()
                for store in system.house.forgotten:
                    await store.close()
            # The group cancels whoever is left: feeds, look-ups, connections.
            raise Ended  # noqa: TRY301 - the only way out that a group of tasks has
    except* Ended:
        pass
    finally:
        loop.set_exception_handler(None)
        for store in stores:
            lost = await store.close()
            if lost:
                logger.error("rows lost", extra={"rows": lost})


async def open_store(settings: Settings, outside: Outside, clock: Clock, plan: Plan) -> Store:
    """Open the journal of an account: the first one's is `store.path`, others lie beside it and have its id."""
    path = Path(settings.store.path) if settings.store.path else None
    if path is not None:
        path = path if plan.first else path.with_stem(f"{path.stem}-{plan.id}")
        path.parent.mkdir(parents=True, exist_ok=True)
    return await outside.store.open(
        path,
        now=clock.now,
        new_id=lambda: f"j-{outside.secret()[:10]}",
        sizes=StoreSizes(
            queue=FACTS_QUEUE,
            warn=settings.store.warn_free_mb * 1_000_000,
            reducing=settings.store.reducing_free_mb * 1_000_000,
            keep={
                "signals": Keep(settings.store.decisions, settings.store.decision_days * DAY),
                "equity": Keep(settings.store.equity_samples, settings.store.equity_days * DAY),
            },
        ),
    )


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
        if settings.auth.insecure_i_know:
            raise RefusedStart(
                "auth.insecure_i_know: mode live is not for everybody who comes by; remove it"
            )
        if not settings.auth_required:
            raise RefusedStart(
                "auth.required: mode live asks everybody for a token, on loopback, too; remove it"
            )
    if not settings.loopback and not settings.auth_required:
        if not settings.auth.insecure_i_know:
            raise RefusedStart(
                f"server.host {settings.server.host} is not loopback and auth.required is false: "
                "anyone could trade; remove auth.required, or bind 127.0.0.1"
            )
        logger.warning("everybody who reaches this server may trade: auth.insecure_i_know is set")


def accounts(settings: Settings) -> tuple[Account, ...]:
    """Make the accounts at exchanges that the settings name, with their keys read.

    Raises:
        RefusedStart: With the setting to change.
    """
    try:
        return tuple(keys.account_of(venue) for venue in settings.venues)
    except Refused as error:
        raise RefusedStart(error.message) from error


def redaction(settings: Settings) -> Redaction:
    """Make what takes the secrets of the settings out of texts.

    Raises:
        RefusedStart: With the setting to change.
    """
    return Redaction(secret for account in accounts(settings) for secret in account.secrets)


def plans_of(settings: Settings, outside: Outside) -> list[Plan]:
    """Say which accounts there are to be, the first one first.

    Raises:
        RefusedStart: With the setting to change.
    """
    live = settings.mode == "live"
    found = [plan_of(account, live=live) for account in accounts(settings)]
    if not found and live:
        raise RefusedStart(
            "venues: mode live trades at a real exchange, and none is named; "
            "give one with its keys, as in [[venues]] id = 'kraken' key_file = '...' secret_file = '...'"
        )
    if outside.venue is not None:
        return [Plan(make=outside.venue, source=outside.source, live=live)]
    if not found:
        source = settings.paper.source
        on_prices = partial(on_prices_of, Account(id="paper", exchange=source))
        found = [
            Plan(make=paper) if source == EMBEDDED else Plan(make=on_prices, source=source),
        ]
    return [
        replace(plan, make=outside.makers.get(plan.id, plan.make), first=number == 0)
        for number, plan in enumerate(found)
    ]


def plan_of(account: Account, *, live: bool) -> Plan:
    """Say what is to become of an account of the settings: paper on its prices, or real trading.

    Raises:
        RefusedStart: It cannot be what the mode says.
    """
    setting = f"venues.{account.id}"
    if account.exchange == PAPER:
        if live:
            raise RefusedStart(f"{setting}.exchange: paper is no real exchange; mode is live")
        return Plan(id=account.id, make=paper)
    if not live:
        make = partial(on_prices_of, account)
        return Plan(id=account.id, make=make, source=account.exchange, keys=account.has_keys)
    if not account.has_keys:
        raise RefusedStart(
            f"{setting}.key: mode live needs the keys of {account.exchange}, and there are none"
        )
    return Plan(
        id=account.id, make=partial(trading_at, account), source=account.exchange, live=True
    )


async def compose(
    settings: Settings,
    outside: Outside,
    clock: Clock,
    planned: Sequence[Plan],
    stores: Sequence[Store],
    tasks: asyncio.TaskGroup,
) -> System:
    """Make all parts, recover, and join them; nothing runs yet."""
    loop = asyncio.get_running_loop()
    crew = Crew(tasks)
    # The journals are read before the first append, and opening a paper account is one.
    journaled = [await read(store) for store in stores]
    for plan, store, held in zip(planned, stores, journaled, strict=True):
        check_owner(plan, store, held)
    hub = Hub(
        boot=f"b-{outside.secret()[:8]}",
        journal=stores[0].journal_id,
        now=clock.ms,
        sizes=HubSizes(
            table=settings.hub.ring_table,
            log=settings.hub.ring_public,
            journaled=settings.hub.ring_private,
        ),
    )
    hub.studies = canonical
    if len(planned) > 1:
        hub.first = planned[0].id
        for plan, store in zip(planned[1:], stores[1:], strict=True):
            hub.add_account(plan.id, store.journal_id)
    house = House(
        settings=settings,
        now=clock.now,
        ms=clock.ms,
        sleep=outside.sleep,
        secret=outside.secret,
        sizes=outside.sizes,
        store=outside.store,
        hub=hub,
        crew=crew,
        loop=loop,
        started_ts=clock.ms(),
    )
    places = [
        await place_of(house, plan, store, held)
        for plan, store, held in zip(planned, stores, journaled, strict=True)
    ]
    first = places[0]
    hub.on_demand = partial(demand, {place.plan.id: place for place in places}, first)
    status = Status(
        about=About(
            version=realtime.__version__,
            environment=settings.environment,
            mode=settings.mode,
            started_ts=house.started_ts,
            max_age_s=settings.health.max_upstream_age_s,
        ),
        accounts=[place.watched for place in places],
        now=clock.now,
    )
    brain = await think(house, first)
    for place in places[1:]:
        await place.branch.plans.open()
    auth, made = await identities(settings, outside, clock, first.store)
    lines = Lines(
        keep=settings.hub.log_lines,
        loop=loop,
        publish=lambda line: hub.append("logs", line),
        redact=redaction(settings).deep,
    )
    lines.attach(settings.log.level)
    for place in places:
        place.branch.listen(clock.now())
    admission = Admission(
        cap=min(settings.server.max_connections, raise_file_limit() - SPARE_FILES),
        accept_per_s=settings.server.accept_per_s,
    )
    await brain.bots.restore()
    equip(places, brain, status)
    registry = table(settings, outside, clock, places, auth=auth, status=status, lines=lines)
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
            trading_state=status.trading_state,
            asof=status.asof,
            older=partial(older_of, {place.plan.id: place for place in places}, first),
            presence=Everywhere(places),
            sites=Sites(
                origins=frozenset(settings.server.origins), hosts=frozenset(settings.server.hosts)
            ),
            admission=admission,
            page=outside.page or Page(),
            metrics=lambda: telemetry.text(
                first.branch.monitor.metrics(), first.branch.monitor.latency()
            ),
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
    auth.on_failure = lambda address: note(first, "auth_failed", {"address": address})
    system = System(
        settings=settings,
        clock=clock,
        house=house,
        places=places,
        brain=brain,
        hub=hub,
        registry=registry,
        auth=auth,
        front=front,
        status=status,
        lines=lines,
        admission=admission,
        ready=asyncio.Event(),
        stop=asyncio.Event(),
        token=made,
        tasks=tasks,
    )
    for place in places:
        join(system, place.branch)
    return system


def join(system: System, branch: Branch) -> None:
    """Let an account and the front know each other."""
    status, front = system.status, system.front
    branch.outlet.status = status.row
    branch.monitor.connections = front.connections
    branch.desk.notice = front.notify
    if branch is system.branch:
        front.pump.flushed = branch.monitor.flushed
    branch.beat(status, system.house)


# --- accounts -------------------------------------------------------------------------------------


async def place_of(house: House, plan: Plan, store: Store, held: Journaled) -> Place:
    """Open an account; one whose venue cannot be opened stays shut, and is tried again later.

    Raises:
        RefusedStart: The settings name something that is not there.
    """
    shut: Shut | None = None
    try:
        branch = await open_branch(house, plan, store, held)
    except Failure as error:
        if error.code in HOPELESS:
            raise RefusedStart(f"venues.{plan.id}: {error.message}") from error
        shut = shut_by(plan, error, RETRY_S, house.ms())
        forgotten = await house.store.open(None, now=house.now, new_id=lambda: "j-none")
        house.forgotten.append(forgotten)
        closed = replace(plan, make=partial(Unopened, plan.id, plan.mode))
        branch = await open_branch(house, closed, forgotten, ([], []))
    watched = Watched(
        venue=plan.id if plan.signs else branch.venue.id,
        kind=branch.venue.kind,
        source=plan.source,
        desk=branch.desk,
        feeds=branch.feeds,
        reconciler=branch.reconciler,
        shut=shut,
    )
    place = Place(
        plan=plan,
        store=store,
        read=held,
        watched=watched,
        ops=OpsAccount(watched.venue),
        branch=branch,
    )
    place.ops.shut = partial(why_shut, watched)
    # Of the branch of now: see `_reopen`.
    watched.more = lambda: place.branch.said()  # noqa: PLW0108
    return place


def shut_by(plan: Plan, error: Failure, retry_s: float, ts: int) -> Shut:
    """Say why an account stays shut."""
    logger.error(
        "account not open",
        extra={"venue": plan.id, "code": error.code, "why": error.message, "retry_s": retry_s},
    )
    maintenance = (error.details or {}).get("cause") == "maintenance"
    return Shut(
        code=error.code, reason=error.message, maintenance=maintenance, retry_s=retry_s, ts=ts
    )


def why_shut(watched: Watched) -> Refused | None:
    """Refuse what a shut account is asked; None when it is open."""
    shut = watched.shut
    if shut is None:
        return None
    return Refused(
        Code.VENUE_UNAVAILABLE,
        f"{watched.venue} cannot be opened: {shut.reason}",
        {"venue": watched.venue, "code": shut.code},
        retry_after=shut.retry_s,
    )


def note(place: Place, kind: str, data: Mapping[str, object]) -> None:
    """Write into the audit of an account; one that is shut has no place to write yet."""
    if place.shut:
        logger.warning(kind, extra={"data": dict(data)})
    else:
        place.branch.desk.note(kind, data)


def demand(places: Mapping[str, Place], first: Place, base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
    """Start or end the source of a channel, at the account that it is of."""
    front, query, options = base.partition("?")
    front, _, account = front.partition("@")
    places.get(account, first).branch.demand(f"{front}{query}{options}", wanted)


async def older_of(
    places: Mapping[str, Place], first: Place, channel: Channel, begin: int, end: int
) -> Sequence[Old]:
    """Read old entries of a journaled log from the journal that it is of."""
    return await older(places.get(channel.venue or "", first).branch.store, channel, begin, end)


class Everywhere:
    """Tells the switches of all accounts which clients are there."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places = places

    def connected(self, subject: str, client: str) -> None:
        """Count a connection that is there now."""
        for place in self._places:
            place.branch.deadman.connected(subject, client)

    def disconnected(self, subject: str, client: str, *, bye: bool) -> None:
        """Count a connection that is gone."""
        for place in self._places:
            place.branch.deadman.disconnected(subject, client, bye=bye)


async def think(house: House, place: Place) -> Brain:
    """Read the configuration and make what thinks for an account."""
    settings, branch, hub = house.settings, place.branch, house.hub
    desk, venue = branch.desk, branch.venue
    folder = Path(settings.strategies.path) if settings.strategies.path else None
    strategies = Strategies(folder)
    book = ConfigBook(
        desk=desk,
        strategies=strategies,
        limits_of=parse_limits,
        publish=lambda row: hub.value("config", row),
        file=Path(settings.config.path) if settings.config.path else None,
    )
    house.zone = lambda: book.current.timezone
    desk.limits_changed = book.limits_changed
    await configure(settings, book, venue)
    await branch.plans.open()
    jobs = await backtests(house, place.plan, branch)
    bots = Supervisor(
        desk=desk,
        trading=branch.trading,
        history=venue,
        feeds=branch.feeds,
        hub=hub,
        book=book,
        strategies=strategies,
        crew=house.crew,
        loop=house.loop,
        venue_ok=branch.venue_ok,
    )
    return Brain(strategies=strategies, book=book, jobs=jobs, bots=bots)


def equip(places: Sequence[Place], brain: Brain, status: Status) -> None:
    """Make the ops of every account as it is now."""
    first = places[0].branch
    first.trading.guard = brain.bots.guard
    status.bots = brain.bots.health
    for place in places:
        rows = account_ops(place.branch, brain, status)
        if place is places[0]:
            rows += brain_ops(place.branch, brain)
        place.ops.ops = {row.name: row for row in rows}
        place.ops.touch = place.branch.touch


async def backtests(house: House, plan: Plan, branch: Branch) -> Jobs:
    """Make the backtests and read those of earlier lives; a journal in memory keeps none of their files."""
    settings, hub, venue = house.settings, house.hub, branch.venue
    knobs = settings.backtests
    directory = Path(knobs.path) if knobs.path else None
    if directory is None and settings.store.path:
        directory = Path(settings.store.path).parent / "backtests"
    # The embedded market's past depends on its seed.
    source = f"{venue.id}-{plan.source}-{settings.paper.seed}"
    jobs = Jobs(
        desk=branch.desk,
        crew=house.crew,
        pool=Pool(
            knobs.workers or cores(),
            Path(settings.strategies.path) if settings.strategies.path else None,
            WorkerBounds(stall_s=knobs.stall_s, run_s=knobs.run_s),
        ),
        history=lambda bars: History(venue, bars / quote(source, safe=""), house.now),
        publish=lambda key, row: hub.value(f"backtest:{key}", row),
        new_id=lambda: f"bt-{house.secret()[:20]}",
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
    if settings.mode == "live" and book.file_faults:
        path, message = book.file_faults[0]
        raise RefusedStart(f"{book.file}: {path} {message}")


def account_ops(branch: Branch, brain: Brain, status: Status) -> list[Op]:
    """Make the ops that every account has."""
    desk, trading, venue, book = branch.desk, branch.trading, branch.venue, brain.book
    bars = indicator.Bars(lambda: desk.engine.markets, venue, desk.now)
    return [
        *system_ops.ops(health=status.health, status=status.row, faults=faults_of(venue)),
        *order.ops(desk, trading),
        *fill.ops(desk),
        *position.ops(desk, trading),
        *balance.ops(desk),
        *market.ops(desk, venue, status.venues, branch.monitor.cache),
        *context.ops(
            desk,
            venue,
            bounds=lambda: Conditions(**book.current.market_checks.model_dump()),
            venue_ok=branch.venue_ok,
        ),
        *risk.ops(desk, trading),
        *indicator.ops(bars),
        *odds.ops(desk, trading, venue),
        *trading_ops.ops(desk, trading, branch.deadman, dead_mans_switch_of(venue)),
        *portfolio.ops(desk, venue, book),
        *allocation.ops(desk, trading, venue, book, branch.plans),
        *event.ops(desk),
        *alert.ops(desk),
    ]


def dead_mans_switch_of(venue: Venue) -> trading_ops.Native | None:
    """Give the venue's own dead man's switch; None where it has none."""
    return venue.dead_mans_switch if isinstance(venue, Remote) else None


def ways(places: Sequence[Place]) -> list[Calls]:
    """Give the ways of accounts to their exchanges."""
    found = [getattr(place.branch.venue, "calls", None) for place in places]
    return [calls for calls in found if isinstance(calls, Calls) and calls.ready]


def signing(places: Sequence[Place]) -> Mapping[str, object]:
    """Show the keys of exchanges that accounts sign with."""
    return nonce_row(ways(places))


def counted(monitor: Monitor, places: Sequence[Place]) -> Mapping[str, object]:
    """Make the result of `monitoring.metrics`: all counters, those of the ways to exchanges included."""
    return {**monitor.metrics(), "exchanges": [calls.way.row() for calls in ways(places)]}


def brain_ops(branch: Branch, brain: Brain) -> list[Op]:
    """Make the ops of what thinks."""
    desk, book, bots = branch.desk, brain.book, brain.bots
    bars = indicator.Bars(lambda: desk.engine.markets, branch.venue, desk.now)
    return [
        *strategy.ops(desk, book, brain.strategies, bars),
        *config_ops.ops(desk, book),
        *trading_window.ops(desk, book, bots),
        *backtest.ops(desk, brain.jobs, brain.strategies),
        *bot.ops(desk, bots),
        *signal_ops.ops(desk),
    ]


def streaming(places: Sequence[Place]) -> Mapping[str, object]:
    """Make the result of `monitoring.hybrid`: the streams of all accounts, and how they come."""
    feeds = [row | {"venue": p.plan.id} for p in places for row in map(dict, p.branch.streams())]
    sockets = sum(1 for row in feeds if row["source"] != "poll")
    saved = sum(int(str(p.branch.monitor.cache.row()["requests_saved"])) for p in places)
    share = sockets / len(feeds) if feeds else None
    return {
        "feeds": feeds,
        "summary": {
            "ws_share": share,
            "poll_share": None if share is None else 1 - share,
            "rest_calls_saved": saved,
        },
    }


def table(
    settings: Settings,
    outside: Outside,
    clock: Clock,
    places: Sequence[Place],
    *,
    auth: Auth,
    status: Status,
    lines: Lines,
) -> Registry:
    """Make the table of ops.

    Raises:
        RefusedStart: A confirmation policy is wrong.
    """
    limits = settings.limits
    first = places[0]
    accounts = OpsAccounts(*[place.ops for place in places])

    def monitor() -> Monitor:
        # The one of now: an account that opens late has another than while it was shut.
        return first.branch.monitor

    whole = [
        *connection.ops(auth, status.facts),
        *[row for row in first.ops.ops.values() if row.name in WHOLE],
        *monitoring.ops(
            connections=lambda: monitor().connected(),
            latency=lambda: monitor().latency(),
            metrics=lambda: counted(monitor(), places),
            cache=lambda: monitor().cache.row(),  # noqa: PLW0108 - see above
            nonce=lambda: monitor().nonce(signing(places)),
            hybrid=lambda: streaming(places),
        ),
        *log.ops(lines),
    ]
    own = [accounts.routed(row) for row in first.ops.ops.values() if row.name not in WHOLE]
    try:
        registry = Registry(
            [*whole, *own],
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
            policies=policies(settings, [*whole, *own]),
        )
    except ValueError as error:
        raise RefusedStart(f"confirm: {error}") from error
    for row in help_ops.ops(registry):
        registry.add(row)

    def refused(refusal: Refusal) -> None:
        if not first.shut:
            who = naming.who_of(refusal)
            first.branch.desk.refused(refusal.op, who, refusal.error, refusal.raw)

    registry.on_refused = refused
    return registry


def policies(settings: Settings, ops: Sequence[Op]) -> list[Policy]:
    """Say which ops ask back: those of the settings; without any, none on paper and the grave ones on live."""
    if settings.confirm or settings.mode != "live":
        return [Policy(op=p.op, above=p.above_notional) for p in settings.confirm]
    return [Policy(op=op.name) for op in ops if op.name in GRAVE and op.effect is not None]


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
    for place in system.places:
        place.branch.outlet.begin()
        if place is system.places[0]:
            system.book.show()
            system.front.start()
        if place.shut:
            tasks.create_task(_reopen(system, place, tasks), name=f"open {place.plan.id}")
        else:
            begin_branch(system, place, tasks)


def begin_branch(system: System, place: Place, tasks: asyncio.TaskGroup) -> None:
    """Start what an open account does without end."""
    settings, branch = system.settings, place.branch
    tasks.create_task(branch.venue.run(), name=f"venue {branch.venue.id}")
    tasks.create_task(branch.routine.run(), name="routine")
    if place is system.places[0]:
        tasks.create_task(branch.monitor.run(), name="monitor")
        tasks.create_task(system.bots.run(), name="bots")
    if isinstance(branch.venue, Telling):
        tasks.create_task(branch.ask_condition(), name=f"condition {place.plan.id}")
    if place.plan.streams:
        tasks.create_task(branch.keep_fed(), name=f"feed {place.plan.id}")
    tasks.create_task(_reconcile(system, branch), name="reconcile")
    if settings.store.path and settings.store.backup_hours:
        directory = Path(settings.store.path).parent / "backups"
        hours = settings.store.backup_hours
        tasks.create_task(back_up(branch.store, directory, hours), name="backups")


async def _reconcile(system: System, branch: Branch) -> None:
    """Get ready, then what a restart owes, then go on comparing."""
    await branch.reconciler.until_ready()
    # The day begins with the account: without it the rules of the day would refuse.
    branch.routine.tick(system.clock.now())
    branch.ready.set()
    if all(place.branch.ready.is_set() for place in system.places):
        system.ready.set()
    for sweep in branch.recovered.sweeps.values():
        branch.sweeps.begin(sweep)
    branch.deadman.start()
    branch.plans.resume()
    if branch is system.branch:
        system.bots.resume()
    branch.outlet.state()
    await branch.reconciler.run()


async def _reopen(system: System, place: Place, tasks: asyncio.TaskGroup) -> None:
    """Try a shut account again until its venue opens; nothing takes its place meanwhile."""
    house, retry_s = system.house, RETRY_S
    branch: Branch | None = None
    while branch is None:
        await house.sleep(retry_s)
        try:
            branch = await open_branch(house, place.plan, place.store, place.read)
        except Failure as error:
            retry_s = min(2 * retry_s, RETRY_MOST_S)
            place.watched.shut = shut_by(place.plan, error, retry_s, house.ms())
            place.branch.outlet.state()
    closed, place.branch = place.branch, branch
    # Who is connected now was connected while it was shut.
    branch.deadman.inherit(closed.deadman)
    watched = place.watched
    watched.desk, watched.feeds, watched.reconciler = (
        branch.desk,
        branch.feeds,
        branch.reconciler,
    )
    watched.kind, watched.shut = branch.venue.kind, None
    if place is system.places[0]:
        await system.jobs.close()
        system.brain = await think(house, place)
    else:
        await branch.plans.open()
    branch.listen(house.now())
    if place is system.places[0]:
        await system.bots.restore()
    equip(system.places, system.brain, system.status)
    join(system, branch)
    branch.outlet.begin()
    if place is system.places[0]:
        system.book.show()
    begin_branch(system, place, tasks)
    house.forgotten.remove(closed.store)
    await closed.store.close()


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
    try:
        redact = redaction(settings)
    except RefusedStart as error:
        return REFUSED, str(error)
    logs(settings, redact)
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
            return REFUSED, redact(str(_first(refused)))
        logger.critical("a part died", exc_info=group)
        return DIED, redact(f"a part died: {_first(group)!r}")
    except refusals as error:
        return REFUSED, redact(str(error))
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


def logs(settings: Settings, redact: Redaction) -> None:
    """Send the program's lines to standard error, one JSON object each, without secrets."""
    handler = logging.StreamHandler()
    json = settings.log.format == "json"
    handler.setFormatter(JsonLines(redact) if json else TextLines(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("realtime").setLevel(LEVELS[settings.log.level])


class TextLines(logging.Formatter):
    """A line as people read it, tracebacks included, without secrets."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        return self._redact(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object per line, without secrets."""

    def __init__(self, redact: Redaction | None = None) -> None:
        super().__init__()
        self._redact = redact or Redaction()

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line = line_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(self._redact.deep(line)).decode()


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
    unused = [place.plan.id for place in system.places if place.plan.keys]
    if unused:
        found["keys"] = f"of {', '.join(unused)}: not used in mode paper"
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
        return on_recording(making, file, speed)

    return Outside(venue=make, source=f"{RECORDING}{file.name}")


__all__ = ["Making", "Outside", "RefusedStart", "System", "open_system", "run", "serve"]
