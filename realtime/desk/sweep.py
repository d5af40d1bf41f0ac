"""The kill switch carried out: cancels that are repeated until the venue shows that they worked.

Rules of this file: (1) a sweep ends when two valid answers in a row show nothing but kept protection (K5), or when its
scope is resumed; (2) it is journaled when it begins and when it ends, so a restart finishes it (K6); (3) while it runs
the channel `risk` says so and an alarm repeats every ten seconds.
"""

import asyncio
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import Final

from realtime.desk.codec import dumps
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.events import Cancel, Who
from realtime.model.orders import Order, Status
from realtime.model.risk import TradingState
from realtime.venues.base import Venue


KIND: Final = "Sweep"
"""Kind of the journal's rows about sweeps."""
LOOK_S: Final = 0.5
ALARM_S: Final = 10.0
VALID: Final = 2
"""Valid answers in a row that prove it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is to be cancelled.

    Attributes:
        scope: `all`, `venue:ID`, `symbol:S` or `bot:ID`.
        legs: Whether protection goes, too.
        subject: Who asked.
        since: When the halt began [ns]: what was placed later had leave to pass it.
        running: False once it is proven or resumed.
    """

    scope: str
    legs: bool
    subject: str
    since: int
    running: bool = True

    def covers(self, order: Order) -> bool:
        """Whether an order is to be cancelled; what others have placed at the venue is not ours to touch."""
        if order.status.ended or order.external or (order.protective and not self.legs):
            return False
        return (order.created_ts <= self.since or order.protective) and in_scope(self.scope, order)


def in_scope(scope: str, order: Order) -> bool:
    """Whether a scope of a trading state is about an order."""
    kind, _, name = scope.partition(":")
    match kind:
        case "symbol":
            return order.symbol == name
        case "bot":
            return order.bot_id == name
        case "venue":
            return order.venue == name
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
            show: Told whether any sweep is under way.
            timeout_s: Of one question.
        """
        self._desk = desk
        self._venue = venue
        self._crew = crew
        self._show = show
        self._timeout_s = timeout_s
        self._running: dict[str, Sweep] = {}

    def begin(self, sweep: Sweep) -> None:
        """Start a sweep whose first cancels are on their way, or that a restart has to finish."""
        known = self._running.get(sweep.scope)
        self._running[sweep.scope] = sweep
        self._record(sweep)
        self._show(True)
        if known is None:
            self._crew.spawn(self._run(sweep.scope), f"sweep {sweep.scope}")

    def end(self, scope: str) -> None:
        """End a sweep because its scope is resumed; `all` ends them all."""
        for name in list(self._running) if scope == "all" else [scope]:
            if name in self._running:
                self._finish(name)

    def _record(self, sweep: Sweep) -> None:
        self._desk.store.append(KIND, sweep.scope, dumps(sweep), safety=True)

    def _finish(self, scope: str) -> None:
        sweep = self._running.pop(scope)
        self._record(replace(sweep, running=False))
        self._show(bool(self._running))

    async def _run(self, scope: str) -> None:
        loop = asyncio.get_running_loop()
        alarm_at = loop.time() + ALARM_S
        proven = 0
        while (sweep := self._running.get(scope)) is not None:
            left = await self._left(sweep)
            if left is not None:
                proven = 0 if left else proven + 1
                for order in left:
                    if self._handed(order):
                        self._cancel(order, sweep)
            if proven >= VALID:
                if self._running.get(scope) is sweep:
                    self._finish(scope)
                return
            if loop.time() >= alarm_at:
                alarm_at += ALARM_S
                self._alarm(sweep, left)
            await asyncio.sleep(LOOK_S)

    async def _left(self, sweep: Sweep) -> list[Order] | None:
        """List what still works, by the venue's word and ours; None without an answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                rows = await self._venue.open_orders()
        except (VenueUnknown, VenueRejected, Refused, TimeoutError):
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

    def _handed(self, order: Order) -> bool:
        return not stopped_at_the_door(order, self._desk.gate.handed)

    def _cancel(self, order: Order, sweep: Sweep) -> None:
        who = Who(subject=sweep.subject, source="halt", admin=True)
        try:
            self._desk.post(Cancel(order_id=order.id, who=who, ts=self._desk.now()))
        except Refused:
            # Being placed, or its cancel is on the way: the next look decides.
            return

    def _alarm(self, sweep: Sweep, left: Sequence[Order] | None) -> None:
        names = [] if left is None else [order.client_order_id for order in left]
        why = "the venue does not answer" if left is None else f"{len(names)} orders still work"
        state = TradingState.HALTED if sweep.scope == "all" else "halt"
        self._desk.alert(
            "critical",
            "halt_canceling",
            f"{state} of {sweep.scope} is not finished: {why}",
            {"scope": sweep.scope, "orders": names},
        )
