"""The composition root: all accounts and the server's parts, built, joined, begun and ended.

Rules of this file: (1) every part gets what it needs as an argument; (2) a part that dies ends the process, and the next
start recovers; (3) the store is opened first and closed last.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import realtime
from realtime.bots.jobs import Jobs
from realtime.bots.supervisor import Supervisor
from realtime.branch import Branch, House, Plan, RefusedStart, Telling, check_owner, open_branch
from realtime.commands.registry import Registry
from realtime.commands.risk import parse_limits
from realtime.desk.checkpoint import beside, read
from realtime.desk.condense import refresh
from realtime.desk.config.book import ConfigBook
from realtime.desk.crew import Crew
from realtime.desk.deadman import Deadman
from realtime.desk.desk import Desk
from realtime.desk.feeds import Feeds
from realtime.desk.gate import Gate
from realtime.desk.lines import Lines
from realtime.desk.monitor import Monitor
from realtime.desk.rebalance import Plans
from realtime.desk.reconcile import Reconciler
from realtime.desk.routine import SYSTEM, Routine, back_up
from realtime.desk.status import About, Status
from realtime.desk.trading import Trading
from realtime.engine.studies import canonical
from realtime.hub.connection import Bounds
from realtime.hub.hub import Hub, Sizes as HubSizes
from realtime.makers import Making
from realtime.model.errors import Failure, Refused
from realtime.outside import Clock, LoopClock, Outside
from realtime.places import (
    RETRY_S,
    Brain,
    Everywhere,
    Place,
    demand,
    note,
    older_of,
    open_store,
    place_of,
    shut_by,
    think,
)
from realtime.plans import check, login_of, plans_of, redaction
from realtime.server import asgi, telemetry
from realtime.server.admission import Admission, raise_file_limit
from realtime.server.auth import Auth, Sites
from realtime.server.health import Health
from realtime.server.page import Page
from realtime.server.sockets import weaker_here
from realtime.settings import Settings
from realtime.store import Store
from realtime.table import counted, delays, equip, table
from realtime.tokens import Tokens, identities
from realtime.venues.base import Venue


logger = logging.getLogger("realtime.app")

RETRY_MOST_S: Final = 60.0


class Ended(Exception):
    """The way a system's group is told that it is over."""


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


@contextlib.asynccontextmanager
async def open_system(settings: Settings, outside: Outside | None = None) -> AsyncIterator[System]:
    """Build, recover and run a system; at the end everything it owns has ended.

    Raises:
        RefusedStart: The settings are not safe.
        StoreLocked, StoreNewer, StoreCorrupt: The journal cannot be used.
    """
    check(settings)
    if not settings.loopback and not settings.auth_required:
        logger.warning("everybody who reaches this server may trade: auth.insecure_i_know is set")
    if wrong := wrong_limits(settings):
        raise RefusedStart(wrong[0])
    _journal_is_a_file(settings)
    outside = outside or Outside()
    loop = asyncio.get_running_loop()
    clock = (
        LoopClock(outside.wall(), loop)
        if outside.monotonic is None
        else Clock(outside.wall(), outside.monotonic)
    )
    planned = plans_of(settings, outside)
    stores: list[Store] = []
    try:
        for plan in planned:
            try:
                stores.append(await open_store(settings, outside, clock, plan))
            except OSError as error:
                raise RefusedStart(f"store.path: {settings.store.path}: {error}") from error
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


def wrong_limits(settings: Settings) -> list[str]:
    """Say of each limit of the settings that cannot be used why not, with its setting's name."""
    found: list[str] = []
    for name, value in settings.risk.limits.items():
        try:
            parse_limits({name: value})
        except Refused as error:
            found.append(f"risk.limits.{name}: {error.message.removeprefix(f'{name}: ')}")
    return found


def _journal_is_a_file(settings: Settings) -> None:
    path = settings.store.path
    if path and Path(path).is_dir():
        raise RefusedStart(f"store.path: {path} is a folder; name a file in it")


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
        login=login_of(settings),
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
        cap=min(settings.server.max_connections, raise_file_limit()),
        accept_per_s=settings.server.accept_per_s,
    )
    await brain.bots.restore()
    equip(places, brain, status)
    tokens = Tokens(
        auth=auth,
        store=first.store,
        clock=clock,
        secret=outside.secret,
        note=partial(note, first),
    )
    registry = table(
        settings, outside, clock, places, auth=auth, tokens=tokens, status=status, lines=lines
    )
    front = asgi.build(
        asgi.System(
            hub=hub,
            registry=registry,
            auth=auth,
            health=Health(status.reasons, weaker=weaker_here()),
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
                counted(first.branch.monitor, places), delays(first.branch.monitor, places)
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
    # The brain of now: it is made anew when the first account opens late.
    branch.outlet.strategies = lambda: system.bots.active_strategies()  # noqa: PLW0108
    branch.monitor.connections = front.connections
    branch.desk.notice = front.notify
    if branch is system.branch:
        front.pump.flushed = branch.monitor.flushed
    branch.beat(status)


def begin(system: System, tasks: asyncio.TaskGroup) -> None:
    """Start what runs without end."""
    for place in system.places:
        place.branch.outlet.begin()
        if place is system.places[0]:
            system.book.show()
            system.front.start()
        if place.shut:
            tasks.create_task(_reopen(system, place, tasks), name=f"open {place.plan.id}")
            continue
        # Told in an earlier life, while it was shut.
        stopped = place.ops.stop(place.branch.ready.wait)
        begin_branch(system, place, tasks)
        system.house.crew.spawn(stopped, f"halt {place.plan.id}")


def begin_branch(system: System, place: Place, tasks: asyncio.TaskGroup) -> None:
    """Start what an open account does without end."""
    settings, branch = system.settings, place.branch
    tasks.create_task(branch.venue.run(), name=f"venue {branch.venue.id}")
    tasks.create_task(branch.routine.run(), name="routine")
    tasks.create_task(branch.alarms.run(), name="alarms")
    tasks.create_task(branch.notices.run(), name="notices")
    if place is system.places[0]:
        tasks.create_task(branch.monitor.run(), name="monitor")
        tasks.create_task(system.bots.run(), name="bots")
    if isinstance(branch.venue, Telling):
        tasks.create_task(branch.ask_condition(), name=f"condition {place.plan.id}")
    tasks.create_task(branch.keep_fed(), name=f"feed {place.plan.id}")
    tasks.create_task(_reconcile(system, branch), name="reconcile")
    path, hours = branch.store.path, settings.store.backup_hours
    if path is not None and hours:
        directory = path.parent / "backups"
        then = partial(refresh, target=beside(path), terms=branch.terms)
        tasks.create_task(back_up(branch.store, directory, hours, then), name="backups")


async def _reconcile(system: System, branch: Branch) -> None:
    """Get ready, then what a restart owes, then go on comparing."""
    await branch.reconciler.until_ready()
    # The day begins with the account: without it the rules of the day would refuse.
    branch.routine.begin()
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
    # Before anything of it runs: it opens as it was told to be.
    stopped = place.ops.stop(branch.ready.wait)
    begin_branch(system, place, tasks)
    house.crew.spawn(stopped, f"halt {place.plan.id}")
    house.forgotten.remove(closed.store)
    await closed.store.close()


__all__ = ["Making", "Outside", "RefusedStart", "System", "open_system"]
