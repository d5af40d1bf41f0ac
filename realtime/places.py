"""The accounts of a server and what thinks for the first of them, opened and joined; nothing runs here.

Rules of this file: (1) an account whose venue cannot be opened stays shut, says why, and nothing takes its place;
(2) who wants "the account" asks its place, because a shut one becomes another branch when it opens.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import realtime
from realtime.bots.history import History
from realtime.bots.jobs import Jobs
from realtime.bots.loading import Strategies
from realtime.bots.pool import Bounds as WorkerBounds, Pool, cores
from realtime.bots.supervisor import Supervisor
from realtime.branch import RECORDING, Branch, House, Plan, RefusedStart, open_branch
from realtime.commands.accounts import Account as OpsAccount
from realtime.commands.risk import parse_limits
from realtime.desk.config.book import ConfigBook
from realtime.desk.history import older
from realtime.desk.recovery import KEPT, Journaled
from realtime.desk.status import Shut, Watched
from realtime.engine.bars import DAY
from realtime.hub.channels import Channel
from realtime.hub.hub import Old
from realtime.makers import write_down
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import Who
from realtime.outside import Clock, Outside
from realtime.settings import Settings
from realtime.store import Keep, Sizes as StoreSizes, Store
from realtime.venues.base import Venue
from realtime.venues.unopened import Unopened


logger = logging.getLogger("realtime.app")

HOPELESS: Final = frozenset({Code.INVALID, Code.NOT_FOUND, Code.NOT_SUPPORTED, Code.CONFLICT})
"""What no time mends: the settings name something that is not there, or a key that another process uses."""
RETRY_S: Final = 5.0
"""Wait before a shut account is tried again [s]; doubled up to `RETRY_MOST_S`."""
FACTS_QUEUE: Final = 1_000_000
"""Rows the store may hold: the desk refuses wishes long before, facts are never refused."""


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
        read: What that held at the start; nothing of one that is open.
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


def _asked_by(house: House, plan: Plan) -> str:
    """Name what a person would change for another venue: a file, or a part of the settings."""
    if plan.source.startswith(RECORDING):
        return plan.source.removeprefix(RECORDING)
    configured = any(venue.id == plan.id for venue in house.settings.venues)
    return f"venues.{plan.id}" if configured else "paper"


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
            raise RefusedStart(f"{_asked_by(house, plan)}: {error.message}") from error
        shut = shut_by(plan, error, RETRY_S, house.ms())
        forgotten = await house.store.open(None, now=house.now, new_id=lambda: "j-none")
        house.forgotten.append(forgotten)
        closed = replace(plan, make=lambda _making: Unopened(plan.id, plan.mode))
        branch = await open_branch(house, closed, forgotten, held.stopped())
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
        # Only who has to open it again has to know it any longer.
        read=held if shut is not None else Journaled(),
        watched=watched,
        ops=OpsAccount(watched.venue),
        branch=branch,
    )
    place.ops.shut = partial(why_shut, watched)
    place.ops.journal = partial(write_down, store, house.loop, KEPT)
    place.ops.remember(held.kept)
    # Of the branch of now: see `_reopen`.
    watched.more = lambda: place.branch.said()  # noqa: PLW0108
    watched.told = place.ops.state
    watched.notices = lambda: place.branch.notices.condition()  # noqa: PLW0108
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


def note(place: Place, kind: str, data: Mapping[str, object], who: Who | None = None) -> None:
    """Write into the audit of an account; one that is shut has no place to write yet."""
    if place.shut:
        logger.warning(kind, extra={"data": dict(data)})
    else:
        place.branch.desk.note(kind, data, who)


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
    house.thresholds = lambda: book.current.alerts
    # Of an account that is shut nobody knows what its journal says.
    house.notifications = lambda: None if place.shut else book.current.notifications
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
    house.win_rates = bots.win_rates
    return Brain(strategies=strategies, book=book, jobs=jobs, bots=bots)


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
