"""Kill switch and dead man's switches carried out: cancels that are repeated until the venue shows that they worked.

Rules of this file: (1) a sweep ends when two valid answers in a row show nothing but kept protection (K5), or when its
scope is resumed; (2) it is journaled when it begins and when it ends, so a restart finishes it (K6); (3) while that of a
halt runs the channel `risk` says so, and while any runs an alarm repeats every ten seconds; (4) it is one task that
looks, whatever begins or is resumed meanwhile; (5) after the first alarm it cancels at the pace of the alarms.
"""

import asyncio
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from realtime.desk.codec import dumps
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.events import Cancel, OrderSeen, Who
from realtime.model.orders import Order, Status
from realtime.model.risk import TradingState
from realtime.venues.base import Venue


KIND: Final = "Sweep"
"""Kind of the journal's rows about sweeps of halts."""
FIRED: Final = "DeadmanSweep"
"""The same of dead man's switches: an older program knows none, and would take their scope for everything."""
LOOK_S: Final = 0.5
ALARM_S: Final = 10.0
ACCOUNT: Final = "account"
CLIENT: Final = "client:"
VALID: Final = 2
"""Valid answers in a row that prove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is to be cancelled.

    Attributes:
        scope: Of a halt `all`, `venue:ID`, `symbol:S` or `bot:ID`; of a dead man's switch `account` or
            `client:SUBJECT/CLIENT`.
        legs: Whether protection goes, too.
        subject: Who asked.
        since: When it began [ns]: what was placed later had leave to pass a halt, or is of one who is back.
        running: False once it is proven or resumed.
    """

    scope: str
    legs: bool
    subject: str
    since: int
    running: bool = True

    @property
    def halt(self) -> bool:
        """Whether it is a halt's; else a dead man's switch has fired."""
        return self.scope != ACCOUNT and not self.scope.startswith(CLIENT)

    @property
    def name(self) -> str:
        """Its own among those under way.

        The next switch of a client may keep the protection that the one before did not: both are carried out.
        """
        return f"{self.scope} with protection" if self.legs and not self.halt else self.scope

    def ended_by(self, scope: str) -> bool:
        """Whether it ends when a scope is resumed; `all` ends those of all halts."""
        return self.halt and scope in {"all", self.scope}

    def covers(self, order: Order) -> bool:
        """Whether an order is to be cancelled; what others have placed at the venue is not ours to touch."""
        if order.status.ended or order.external or (order.guards and not self.legs):
            return False
        if self.halt and order.source == "flatten":
            return False  # it is what the halt before is closing with
        old = order.created_ts <= self.since or (order.protective and self.halt)
        return old and in_scope(self.scope, order)


def in_scope(scope: str, order: Order) -> bool:
    """Whether the scope of a trading state, or of a sweep, is about an order."""
    kind, _, name = scope.partition(":")
    match kind:
        case "symbol":
            return order.symbol == name
        case "bot":
            return order.bot_id == name
        case "venue":
            return order.venue == name
        case "client":
            return f"{order.subject}/{order.client}" == name
        case _:
            return True


def stopped_at_the_door(order: Order, handed: Container[str]) -> bool:
    """Whether the door check will refuse an order, which then ends as `rejected`, code `halted` (K2)."""
    waits = order.status is Status.PENDING and order.id not in handed
    return waits and not order.protective


class Sweeps:
    """Sweeps under way."""

    def __init__(
        self,
        *,
        desk: Desk,
        venue: Venue,
        crew: Crew,
        show: Callable[[bool], None],
        timeout_s: float,
    ) -> None:
        """Make them.

        Args:
            desk: Takes the cancels.
            venue: Says what still works.
            crew: Owner of the sweeps.
            show: Told whether any sweep of a halt is under way.
            timeout_s: Of one question.
        """
        self._desk = desk
        self._venue = venue
        self._crew = crew
        self._show = show
        self._timeout_s = timeout_s
        self._running: dict[str, Sweep] = {}
        # Of those whose task is there, by name: set when another begins.
        self._looking: dict[str, asyncio.Event] = {}
        # Who wants the answer to the next question, and whether somebody asks.
        self._wanted: list[asyncio.Future[Sequence[OrderSeen] | None]] = []
        self._asking = False

    def begin(self, sweep: Sweep) -> None:
        """Start a sweep whose first cancels are on their way, or that a restart has to finish."""
        name = sweep.name
        known = self._running.get(name)
        if known is not None:
            # It never loosens: protection that is being cancelled is not kept by a second halt that names it not, and
            # one that a restart brings back is older than what has begun since.
            sweep = replace(
                sweep, legs=sweep.legs or known.legs, since=max(sweep.since, known.since)
            )
        self._running[name] = sweep
        self._record(sweep)
        self._tell()
        looking = self._looking.get(name)
        if looking is not None:
            looking.set()
        else:
            self._looking[name] = asyncio.Event()
            self._crew.spawn(self._run(name), f"sweep {name}")

    def end(self, scope: str) -> None:
        """End the sweeps of halts because their scope is resumed."""
        for name, sweep in list(self._running.items()):
            if sweep.ended_by(scope):
                self._finish(name)

    def _tell(self) -> None:
        self._show(any(sweep.halt for sweep in self._running.values()))

    def _record(self, sweep: Sweep) -> None:
        kind = KIND if sweep.halt else FIRED
        # Stopping asks nobody: where the journal has no room only a restart would not know of it.
        try:
            self._desk.store.append(kind, sweep.name, dumps(sweep), safety=True)
        except Refused:
            self._desk.no_room()

    def _finish(self, name: str) -> None:
        sweep = self._running.pop(name)
        self._record(replace(sweep, running=False))
        self._tell()

    async def _run(self, name: str) -> None:
        try:
            await self._look(name)
        finally:
            del self._looking[name]

    async def _look(self, name: str) -> None:
        loop, begun = asyncio.get_running_loop(), self._looking[name]
        alarm_at = loop.time() + ALARM_S
        proven, alarmed = 0, False
        before: Sweep | None = None
        while (sweep := self._running.get(name)) is not None:
            if sweep is not before:
                # Another has begun: an answer to the one before proves nothing of it.
                before, proven, alarmed = sweep, 0, False
                begun.clear()
            left = await self._left(sweep)
            if self._running.get(name) is not sweep:
                continue
            if left is not None:
                proven = 0 if left else proven + 1
                for order in left:
                    if self._handed(order):
                        self._cancel(order, sweep)
            if proven >= VALID:
                self._finish(name)
                return
            if loop.time() >= alarm_at:
                alarm_at += ALARM_S
                alarmed = True
                self._alarm(sweep, left)
            if not (alarmed and left):
                await asyncio.sleep(LOOK_S)
                continue
            # A venue that refuses for hours is not to be stormed, nor the journal filled.
            with suppress(TimeoutError):
                async with asyncio.timeout(ALARM_S):
                    await begun.wait()

    async def _left(self, sweep: Sweep) -> list[Order] | None:
        """List what still works, by the venue's word and ours; None without an answer."""
        rows = await self._rows()
        if rows is None:
            return None
        orders = self._desk.engine.orders
        found: dict[str, Order] = {}
        for row in rows:
            order = orders.find(row)
            if order is None:
                self._desk.post(row)
                order = orders.find(row)
            if order is not None:
                found[order.id] = order
        for order in orders.working():
            found[order.id] = order
        return [order for order in found.values() if sweep.covers(order)]

    async def _rows(self) -> Sequence[OrderSeen] | None:
        """Ask what works, together with all who ask meanwhile; None without an answer.

        A network that breaks fires the switches of all clients at once, and a venue has few questions to give.
        """
        answer: asyncio.Future[Sequence[OrderSeen] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._wanted.append(answer)
        if not self._asking:
            self._asking = True
            self._crew.spawn(self._ask(), "sweeps ask")
        return await answer

    async def _ask(self) -> None:
        while self._wanted:
            # Who comes while the venue thinks gets the next answer: this one may be older than its sweep.
            wanted, self._wanted = self._wanted, []
            rows: Sequence[OrderSeen] | None = None
            with suppress(VenueUnknown, VenueRejected, Refused, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    rows = await self._venue.open_orders()
            for answer in wanted:
                if not answer.done():
                    answer.set_result(rows)
        self._asking = False

    def _handed(self, order: Order) -> bool:
        return not stopped_at_the_door(order, self._desk.gate.handed)

    def _cancel(self, order: Order, sweep: Sweep) -> None:
        source = "halt" if sweep.halt else "deadman"
        who = Who(subject=sweep.subject, source=source, admin=True)
        try:
            self._desk.post(Cancel(order_id=order.id, who=who, ts=self._desk.now()))
        except Refused:
            # Being placed, or its cancel is on the way: the next look decides.
            return

    def _alarm(self, sweep: Sweep, left: Sequence[Order] | None) -> None:
        names = [] if left is None else [order.client_order_id for order in left]
        why = "the venue does not answer" if left is None else f"{len(names)} orders still work"
        what = "halt" if sweep.halt else "dead man's switch"
        with suppress(Refused):  # a journal without room
            self._desk.alert(
                "critical",
                "halt_canceling" if sweep.halt else "deadman_canceling",
                f"{TradingState.HALTED if sweep.scope == 'all' else what} of {sweep.scope} is not finished: {why}",
                {"scope": sweep.scope, "orders": names},
            )
