"""One account with everything that is its own: venue, journal, engine, desk, and all between them.

Rules of this file: (1) nothing here is shared by two accounts but what `House` holds; (2) a journal belongs to one
account and one source of prices, for ever: another one is refused before anything is written to it; (3) a venue that
cannot be opened leaves its account shut, and nothing takes its place.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol, runtime_checkable

from realtime.commands.risk import parse_limits
from realtime.desk import codec
from realtime.desk.alarms import Alarms
from realtime.desk.cache import Cache
from realtime.desk.charts import Charts
from realtime.desk.checkpoint import Terms, restore
from realtime.desk.config.sections import Alerts as Thresholds, Notifications
from realtime.desk.crew import Crew
from realtime.desk.days import Days
from realtime.desk.deadman import Deadman
from realtime.desk.desk import Desk
from realtime.desk.entries import Entries
from realtime.desk.feeds import Feeds
from realtime.desk.gate import Gate
from realtime.desk.history import seed, seed_scores
from realtime.desk.indicators import Indicators
from realtime.desk.lanes import Budget, Lanes
from realtime.desk.meanwhile import Meanwhile
from realtime.desk.monitor import Monitor, lanes_row
from realtime.desk.notices import NOBODY, Login, Notices
from realtime.desk.outlet import Outlet
from realtime.desk.rebalance import Plans
from realtime.desk.reconcile import AGES, Pace, Reconciler
from realtime.desk.recovery import MARKET, OWNER, Journaled, Recovered
from realtime.desk.routine import Routine
from realtime.desk.status import Status
from realtime.desk.sweep import Sweeps
from realtime.desk.switches import Switches
from realtime.desk.trading import Trading
from realtime.engine.engine import Engine
from realtime.engine.forgotten import Sizes
from realtime.hub.hub import Hub
from realtime.makers import JournalLog, MakeVenue, Making, Upstream
from realtime.model.durations import Durations
from realtime.model.errors import Failure, Refused
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import Market
from realtime.model.risk import Limits
from realtime.settings import ReconcileSettings, Settings
from realtime.store import Store
from realtime.venues.base import Post, Relisting, Venue


logger = logging.getLogger("realtime.app")

EMBEDDED: Final = "embedded"
RECORDING: Final = "recording "
TOUCHED_S: Final = 60.0
"""How long the prices of a symbol come that somebody was about to trade [s]."""
QUESTION_S: Final = 60.0
"""Patience with a question of the reconciliation: at a slow venue it waits for its turn [s]."""
CONDITION_S: Final = 30.0
"""How often a venue is asked how it is, and how long the answer may take [s]."""
MOST_HELD: Final = 50
"""Symbols whose streams an account reads for itself at most."""
MOST_URGENT: Final = 10
"""Of these, so many that somebody was about to trade come before what is held."""


class RefusedStart(Exception):
    """The server must not start like this; the text names the setting to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An account that is to be.

    Attributes:
        id: Its name in rows, channels and orders.
        make: Makes its venue.
        source: What its prices come from, for `status`.
        live: Whether its money is real.
        keys: Whether it has keys that it does not use.
        first: Whether it is meant where none is named.
        pulse: Symbol that is read for a proof of life.
    """

    id: str = "paper"
    make: MakeVenue
    source: str = EMBEDDED
    live: bool = False
    keys: bool = False
    first: bool = True
    pulse: str = ""

    @property
    def streams(self) -> bool:
        """Whether its venue tells only what it is asked for."""
        return self.live or not (self.source == EMBEDDED or self.source.startswith(RECORDING))

    @property
    def mode(self) -> str:
        """`paper` or `live`."""
        return "live" if self.live else "paper"

    @property
    def mark(self) -> str:
        """What stands behind the names of its channels."""
        return "" if self.first else f"@{self.id}"

    @property
    def signs(self) -> bool:
        """Whether its journal has to say whose it is; one that does not is of the embedded paper exchange."""
        return self.streams or self.id != "paper"

    @property
    def owner(self) -> Mapping[str, str]:
        """What a journal must say of whose it is."""
        return {"account": self.id, "mode": self.mode, "source": self.source}


@dataclass(slots=True, kw_only=True)
class House:
    """What all accounts share.

    Attributes:
        now: Wall clock [ns].
        ms: Wall clock [wire ms].
        secret: Makes 256 random bits as text.
        store: Keeps journals.
        zone: Time zone of trading days; set once the configuration is read.
        thresholds: Section `alerts`, likewise.
        notifications: The section of that name; None while nobody knows it.
        login: Who sends mail.
        win_rates: Closed trades of each bot, and which part of them won; set once there are bots.
        forgotten: Journals in memory of accounts that are shut.
    """

    settings: Settings
    now: Callable[[], int]
    ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    secret: Callable[[], str]
    sizes: Sizes
    store: type[Store]
    hub: Hub
    crew: Crew
    loop: asyncio.AbstractEventLoop
    started_ts: int
    zone: Callable[[], str] = lambda: "UTC"
    thresholds: Callable[[], Thresholds] = Thresholds
    notifications: Callable[[], Notifications | None] = lambda: None
    login: Login = NOBODY
    win_rates: Callable[[], Mapping[str, tuple[int, float]]] = dict
    forgotten: list[Store] = field(default_factory=list)


@runtime_checkable
class Telling(Protocol):
    """A venue that says how it is."""

    async def condition(self) -> Mapping[str, object] | None:
        """Ask: `{status, eta, url}`; None when it does not tell."""


@runtime_checkable
class Counting(Protocol):
    """A venue that counts its streams itself: one without an exchange behind it has no client that could."""

    @property
    def reconnects(self) -> int:
        """How often its connection was lost and came back."""

    def streams(self) -> Sequence[Mapping[str, object]]:
        """Make the rows of `monitoring.hybrid`."""


class Inlet:
    """Where the events of a venue go: kept while it opens, then to whoever takes them."""

    def __init__(self) -> None:
        self._early: list[MarketEvent | VenueEvent] = []
        self._to: Post = self._early.extend

    def take(self, events: Sequence[MarketEvent | VenueEvent]) -> None:
        """Take what the venue tells."""
        self._to(events)

    def lead(self, to: Post) -> Sequence[MarketEvent | VenueEvent]:
        """Give events to whoever takes them from now on; returns those that came before."""
        self._to = to
        return self._early


@dataclass(slots=True, kw_only=True)
class Branch:
    """One account, composed; nothing of it runs before `begin` of the composition root.

    Attributes:
        terms: What its engine is made with.
        inlet: Where the events of its venue come in.
        condition: What the venue said last of how it is, and how long the answer took [ms].
        upstreams: The clients of an exchange that it has; none on the embedded market.
        touched: Symbols that somebody was about to trade, and until when that counts [s of the loop].
        held: Symbols whose streams the account itself reads, and what ends that.
        known: Rules of markets as the journal has them.
        ready: Set once it is reconciled.
    """

    plan: Plan
    store: Store
    venue: Venue
    terms: Terms
    engine: Engine
    desk: Desk
    outlet: Outlet
    monitor: Monitor
    gate: Gate
    charts: Charts
    feeds: Feeds
    indicators: Indicators
    reconciler: Reconciler
    sweeps: Sweeps
    trading: Trading
    plans: Plans
    deadman: Deadman
    days: Days
    notices: Notices
    recovered: Recovered
    house: House
    upstreams: list[Upstream]
    condition: Mapping[str, object] = field(default_factory=dict)
    latency_ms: int | None = None
    touched: dict[str, float] = field(default_factory=dict)
    held: dict[str, Callable[[], None]] = field(default_factory=dict)
    known: dict[str, Market] = field(default_factory=dict)
    inlet: Inlet
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    routine: Routine = field(init=False)
    alarms: Alarms = field(init=False)

    def venue_ok(self) -> bool:
        """Whether the venue speaks."""
        return not self.feeds.silent

    def listen(self, now: int) -> None:
        """Take what the venue told while it opened, behind what the journal remembers [ns]."""
        early = self.inlet.lead(self.feeds.take)
        for fact in self.engine.unfinished(now):
            self.desk.post(self.desk.named(fact))
        self.feeds.take(early)

    def beat(self, status: Status) -> None:
        """Make what happens by the clock."""
        house = self.house
        self.routine = Routine(
            desk=self.desk,
            outlet=self.outlet,
            feeds=self.feeds,
            reconciler=self.reconciler,
            status=status,
            days=self.days,
            timezone=lambda: house.zone(),  # noqa: PLW0108 - it changes
        )
        first = self.plan.first
        self.alarms = Alarms(
            desk=self.desk,
            monitor=self.monitor,
            feeds=self.feeds,
            bounds=lambda: house.thresholds(),  # noqa: PLW0108 - it changes
            streams=self.streams,
            reconnects=self.reconnects,
            answers=self.answers,
            # Bots trade at the first account alone.
            win_rates=lambda: house.win_rates() if first else {},
        )

    def answers(self) -> Mapping[str, Durations]:
        """Tell how long exchanges took to answer, by exchange and use."""
        return {
            f"{upstream.calls.way.name} {upstream.use} request": upstream.calls.answers
            for upstream in self.upstreams
            if upstream.calls.ready
        }

    def reconnects(self) -> int:
        """Count the reconnects of its streams, also those of faults that were asked for."""
        own = self.venue.reconnects if isinstance(self.venue, Counting) else 0
        return own + sum(upstream.counted()["reconnects"] for upstream in self.upstreams)

    def shown(self) -> Sequence[Mapping[str, object]]:
        """Show the streams of its prices: from an exchange, else from the paper exchange itself."""
        if self.upstreams or not isinstance(self.venue, Counting):
            return self.streams()
        return self.venue.streams()

    def streams(self) -> list[Mapping[str, object]]:
        """Show the streams from an exchange, where there is one."""
        return [row for upstream in self.upstreams for row in upstream.streams()]

    def offered(self) -> Mapping[str, Mapping[str, str]] | None:
        """Say what the exchange offers that prices come from; None on the embedded market."""
        makers = [u.offered for u in self.upstreams if u.offered is not None and u.calls.ready]
        return makers[0]() if makers else None

    def answered_ms(self) -> float | None:
        """Tell how long the exchange takes to answer: the median of the newest requests [ms]; None before the first."""
        medians = [upstream.calls.answers.row()["p50_ms"] for upstream in self.upstreams]
        return next((median for median in medians if isinstance(median, float)), None)

    def said(self) -> Mapping[str, object]:
        """Tell of the venue what its streams tell."""
        latency_ms = self.latency_ms
        if latency_ms is None and (median := self.answered_ms()) is not None:
            latency_ms = round(median)
        return {**self.condition, "reconnects": self.reconnects(), "latency_ms": latency_ms}

    async def ask_condition(self) -> None:
        """Ask the venue how it is, now and then, without end; a question that fails says nothing."""
        venue, loop = self.venue, self.house.loop
        assert isinstance(venue, Telling)
        while True:
            asked = loop.time()
            try:
                async with asyncio.timeout(CONDITION_S):
                    self.condition = await venue.condition() or {}
            except (Failure, TimeoutError) as error:
                logger.info("the status of the venue could not be read", extra={"why": str(error)})
                self.latency_ms = None
            else:
                self.latency_ms = round((loop.time() - asked) * 1000) if self.condition else None
            await asyncio.sleep(CONDITION_S)

    # -- what the account itself reads ---------------------------------------------------------------

    def touch(self, symbol: str) -> None:
        """Note that somebody is about to trade a symbol: its prices come for a while, readers or not."""
        if symbol in self.engine.markets:
            self.touched.pop(symbol, None)
            self.touched[symbol] = self.house.loop.time() + TOUCHED_S
            self.hold()

    def needed(self) -> list[str]:
        """Symbols whose prices the account needs now: of what it holds, of orders, of what was asked for lately."""
        engine, now = self.engine, self.house.loop.time()
        # A venue that nobody asks for anything gives no proof of life.
        symbols = dict.fromkeys([self.plan.pulse or next(iter(engine.markets), "")])
        # The newest first, and some of them before all else: without its prices an order is refused.
        lately = [s for s, until in reversed(self.touched.items()) if until > now]
        symbols |= dict.fromkeys(lately[:MOST_URGENT])
        symbols |= dict.fromkeys(order.symbol for order in engine.orders.working())
        symbols |= dict.fromkeys(s for s, position in engine.positions.items() if position.amount)
        symbols |= dict.fromkeys(lately)
        currency = engine.valuation_currency
        symbols |= dict.fromkeys(
            f"{balance.currency}/{currency}"
            for balance in engine.balances.values()
            if balance.total
        )
        return [symbol for symbol in symbols if symbol in engine.markets][:MOST_HELD]

    def hold(self) -> None:
        """Hold the streams of these symbols, and no others."""
        needed = self.needed()
        for symbol in [symbol for symbol in self.held if symbol not in needed]:
            self.held.pop(symbol)()
        for symbol in needed:
            if symbol not in self.held:
                self.held[symbol] = self.feeds.hold(symbol)

    async def keep_fed(self) -> None:
        """Hold what is needed and tell of changed markets, looked at once a second, without end."""
        while True:
            if self.plan.streams:
                self.hold()
            for symbol in sorted({*self.recovered.symbols, *self.known, *self.engine.positions}):
                self.describe(symbol)
            await asyncio.sleep(1.0)

    def describe(self, symbol: str) -> None:
        """Keep the rules of what the account trades: the journal is about it even when it is delisted."""
        market, was = self.engine.markets.get(symbol), self.known.get(symbol)
        if market is None or market is was:
            return
        if market != was:
            try:
                self.store.append(MARKET, symbol, codec.dumps(market), safety=True)
            except Refused:
                return  # the journal is full, or closed; in a second again
        self.known[symbol] = market

    def demand(self, base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
        """Start or end the source of a channel of this account."""
        (self.indicators.want if base.startswith("indicators:") else self.feeds.want)(base, wanted)


def check_owner(plan: Plan, store: Store, held: Journaled) -> None:
    """Refuse a journal of another account or of other prices; sign one that is new.

    A journal without a signature is of the account `paper` on the embedded market or a recording.

    Raises:
        RefusedStart: With what to do.
    """
    owner = held.owner
    if owner is None and not held.begun:
        if plan.signs:
            store.append(OWNER, plan.id, codec.dumps(plan.owner), safety=True)
        return
    if owner == (plan.owner if plan.signs else None):
        return
    whose = owner or {"account": "paper", "mode": "paper", "source": EMBEDDED}
    raise RefusedStart(
        f"store.path: this journal is of account {whose['account']} ({whose['mode']}, prices: {whose['source']}), "
        f"and account {plan.id} ({plan.mode}, prices: {plan.source}) must not be mixed with it; "
        f"give this one another file, such as --data ./data/{plan.id}-{plan.mode}.db"
    )


async def open_branch(house: House, plan: Plan, store: Store, held: Journaled) -> Branch:
    """Open the venue, replay the journal, and join the parts of an account; nothing runs yet.

    Args:
        house: What it shares with others.
        plan: Which account.
        store: Its journal.
        held: What the journal holds, as `checkpoint.read` gives it.

    Raises:
        Refused, VenueRejected, VenueUnknown: The venue cannot be opened; trying again makes sense.
    """
    settings, hub, loop, crew = house.settings, house.hub, house.loop, house.crew
    inlet = Inlet()
    alerts = Alerts()
    upstreams: list[Upstream] = []
    known = {symbol: codec.market(body) for symbol, body in held.markets.items()}
    venue = plan.make(
        Making(
            settings=settings,
            now=house.now,
            sleep=house.sleep,
            log=JournalLog(store, loop),
            history=held.venue,
            loop=loop,
            id=plan.id,
            numbers=held.numbers,
            known=known,
            tell=alerts.tell,
            show=upstreams.append,
        )
    )
    await venue.open(inlet.take)
    terms = Terms(
        venue=venue.id,
        mode=settings.mode,
        markets=venue.markets,
        limits=Limits(**parse_limits(settings.risk.limits)),
        currency=settings.risk.valuation_currency,
        sizes=house.sizes,
    )
    engine, recovered = await restore(store, held, terms)
    for symbol, book in venue.books.items():
        engine.share_book(symbol, book)
    hub.name_symbols(engine.markets, "" if plan.first else plan.id)
    await seed(store, hub, plan.mark)
    await seed_scores(store, engine)
    outlet = Outlet(
        engine=engine,
        hub=hub,
        mode=settings.mode,
        zone=lambda: house.zone(),  # noqa: PLW0108 - it is set later
        now=house.now,
        mark=plan.mark,
    )
    desk = Desk(
        engine=engine,
        store=store,
        outlet=outlet,
        entries=Entries(events=store.opened["events"], alerts=store.opened["alerts"]),
        now=house.now,
        loop=loop,
        mark="" if plan.first else f"{plan.id}-",
    )
    desk.resume_numbers(commands=recovered.commands, orders=recovered.orders)
    desk.acked.update(recovered.acked)
    alerts.to = desk.alert
    store.on_failure = desk.journal_failed
    timeout_s = settings.reconcile.order_timeout_s
    monitor = Monitor(
        desk=desk,
        hub=hub,
        cache=Cache(loop=loop, now=house.now),
        loop=loop,
        now=house.now,
        started_ts=house.started_ts,
    )
    lanes = Lanes(Budget(), loop)
    monitor.lanes = lambda: lanes_row(lanes.flying, lanes.waiting)
    charts = Charts(history=venue, publish=outlet.bars, crew=crew, now=house.now)
    outlet.charts = charts
    feeds = Feeds(
        venue=venue,
        take=monitor.taking(desk.take),
        charts=charts,
        loop=loop,
        now=house.now,
        stale_after_s=settings.market_data.stale_after_s,
        grace_s=settings.market_data.grace_close_s,
    )
    gate = Gate(
        venue=venue,
        lanes=lanes,
        crew=crew,
        post=monitor.posting(desk.post),
        take=feeds.take,
        canceled=desk.canceled,
        command=desk.command,
        tally=desk.tally,
        runaway=desk.runaway,
        now=house.now,
        timeout_s=timeout_s,
    )
    desk.gate = gate
    if plan.streams:
        feeds.unread = outlet.unread
    if isinstance(venue, Relisting):
        venue.on_listing(partial(relist, engine, outlet))
    indicators = Indicators(
        feeds=feeds,
        charts=charts,
        history=venue,
        publish=outlet.bars,
        crew=crew,
        loop=loop,
        now=house.now,
    )
    reconciler = Reconciler(
        desk=desk,
        venue=venue,
        crew=crew,
        loop=loop,
        pace=pace_of(settings.reconcile),
    )
    desk.ask = reconciler.ask
    meanwhile = Meanwhile(
        desk=desk, venue=venue, since=held.down or held.word, noted=bool(held.down)
    )
    meanwhile.begin()
    reconciler.before_ready = meanwhile.ask
    reconciler.executions_known = feeds.trust_sums
    sweeps = Sweeps(desk=desk, venue=venue, crew=crew, show=outlet.canceling, timeout_s=timeout_s)
    trading = Trading(
        desk=desk,
        sweeps=sweeps,
        venue=venue.id,
        new_client_order_id=lambda: f"s-{house.secret()[:20]}",
        timeout_s=timeout_s,
    )
    deadman = Switches(desk=desk, trading=trading, crew=crew).make(loop=loop, now=house.now)
    for switch in recovered.switches.values():
        deadman.restore(switch)
    branch = Branch(
        plan=plan,
        store=store,
        venue=venue,
        terms=terms,
        engine=engine,
        desk=desk,
        outlet=outlet,
        monitor=monitor,
        gate=gate,
        charts=charts,
        feeds=feeds,
        indicators=indicators,
        reconciler=reconciler,
        sweeps=sweeps,
        trading=trading,
        plans=Plans(
            desk=desk, trading=trading, crew=crew, new_id=lambda: f"p-{house.secret()[:12]}"
        ),
        deadman=deadman,
        days=Days(engine=engine, history=venue, crew=crew, now=house.now),
        notices=Notices(
            desk=desk,
            venue=plan.id,
            mode=plan.mode,
            section=lambda: house.notifications(),  # noqa: PLW0108 - it changes
            login=house.login,
            told=held.told,
        ),
        recovered=recovered,
        house=house,
        upstreams=upstreams,
        known=dict(known),
        inlet=inlet,
    )
    desk.describe = branch.describe
    return branch


def relist(engine: Engine, outlet: Outlet, changed: Sequence[Market]) -> None:
    """Take in markets that are new or not what they were: prices are routed over them, and everybody sees them."""
    engine.relist()
    outlet.markets(changed)


class Alerts:
    """Where the alerts of a venue go: to the desk, which is made behind it; before that into the log."""

    def __init__(self) -> None:
        self.to: Callable[[str, str, str, Mapping[str, object]], None] = self._log

    def tell(self, level: str, code: str, text: str, data: Mapping[str, object]) -> None:
        """Take an alert."""
        self.to(level, code, text, data)

    def _log(self, level: str, code: str, text: str, data: Mapping[str, object]) -> None:
        more = {"severity": level, "code": code, "text": text, "data": dict(data)}
        logger.warning("alert", extra=more)


def pace_of(settings: ReconcileSettings) -> Pace:
    """Say when the venue is asked; look-ups of unknown orders end at the age at which absence may be proven."""
    scale = settings.absent_s / 60.0
    return Pace(
        orders=settings.orders_s,
        positions=settings.positions_s,
        balances=settings.balances_s,
        timeout=max(settings.order_timeout_s, QUESTION_S),
        look_ups=tuple(age * scale for age in AGES),
        early=5.0 * scale,
        late=60.0 * scale,
    )
