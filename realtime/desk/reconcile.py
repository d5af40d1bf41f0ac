"""Compares what we believe with what the venue says: at start, on reconnect, and all the time.

Rules of this file: (1) the schedule asks, it never decides: only evidence or the whole proof of absence A1-A6 ends an
unknown order; (2) a failed or malformed answer is "no information", never "none"; (3) an absence from a list starts
look-ups and ends nothing; (4) whether a difference counts is the engine's to judge, from its books.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.engine.content import match
from realtime.model.account import Position
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.events import (
    Absent,
    BalanceSeen,
    Filled,
    OrderSeen,
    PositionSeen,
    Ready,
)
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import Asked, Order, Status
from realtime.venues.base import Remote, Venue


T = TypeVar("T")

logger = logging.getLogger(__name__)


AT_ONCE: Final = 2
"""Orders that are looked up at the same time."""
LEISURE: Final = 2.0
"""A comparison waits at least so many times as long as it took: a slow venue is asked less often."""
AGES: Final = (1.0, 2.0, 5.0, 15.0, 60.0)
"""When an order in doubt is looked up (trading document 2.3) [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When what is asked [s].

    Attributes:
        look_ups: Ages of an order's doubt at which it is looked up; the last one repeats.
        early, late: A3: a "not found" counts from `early` on, and one after it from `late` on.
        retry: Between two attempts to get ready.
        timeout: Of one question, its wait for a turn included.
    """

    orders: float = 10.0
    positions: float = 30.0
    balances: float = 60.0
    look_ups: tuple[float, ...] = AGES
    early: float = 5.0
    late: float = 60.0
    retry: float = 5.0
    timeout: float = 10.0


OVERLAP: Final = 3600 * SECOND
"""Fills are read from an hour before the last known one."""
GAP: Final = 2 * SECOND
"""A row may be ahead of its fills for so long."""
INTENT: Final = 60 * SECOND
"""A4: fills of an order are looked for from a minute before its intent."""


class Reconciler:
    """The comparison of one account.

    Attributes:
        ready: Whether the account is reconciled.
        executions_known: Called when orders and fills have been compared; set by the composition root.
        before_ready: Called once the account is reconciled for the first time, before it is said; set likewise.
        complete_at: Loop time at which the last complete comparison began; None before the first.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        venue: Venue,
        crew: Crew,
        loop: asyncio.AbstractEventLoop,
        pace: Pace,
    ) -> None:
        self._desk = desk
        self._venue = venue
        self._crew = crew
        self._loop = loop
        self._pace = pace
        self._asked: set[str] = set()
        self._looking = asyncio.Semaphore(AT_ONCE)
        self._missing: set[str] = set()
        # Orders of whose amend nobody knows: even after their end they are asked which of two terms they had.
        self._amended: set[str] = set()
        self._wanted = asyncio.Event()
        self.executions_known: Callable[[], None] = _nothing
        self.before_ready: Callable[[], Awaitable[None]] = _at_once
        self._fetching = False
        self._rechecking = False
        self._recheck_at = 0.0
        # Whether what the venue tells of the account can be trusted.
        self._trusted = True
        self.ready = False
        # What the venue said last instead of an answer, for people.
        self.why = ""
        self.complete_at: float | None = None
        self._remote = venue if isinstance(venue, Remote) else None
        if self._remote is not None:
            self._remote.attend(self.trust)

    # -- look-ups --------------------------------------------------------------------------------

    def ask(self, order_id: str) -> None:
        """Look an order up until nothing about it is in doubt; one that has ended, until it is found as it ended."""
        orders = self._desk.engine.orders
        order = orders.get(order_id)
        if order is not None and (
            order.amend_state is Asked.UNKNOWN
            or (order.status.ended and order_id not in orders.gaps)
        ):
            self._amended.add(order_id)
        if order_id not in self._asked:
            self._asked.add(order_id)
            self._crew.spawn(self._look_up(order_id), f"look up {order_id}")

    async def _look_up(self, order_id: str) -> None:
        began = self._loop.time()
        early = late = told = False
        due = self._pace.look_ups[0]
        try:
            while True:
                await asyncio.sleep(max(began + due - self._loop.time(), 0))
                # One after the other: many at once would wait for each other's turns until none comes in time.
                async with self._looking:
                    order = self._desk.engine.orders.get(order_id)
                    if order is None or not self._doubtful(order):
                        return
                    # A difference of two times may fall short of what was waited for.
                    age = max(due, self._loop.time() - began)
                    seen = await self._find(order)
                due = self._next_look(max(due, self._loop.time() - began))
                if age >= self._pace.late and not told:
                    told = self._tell_undecided(order_id)
                if isinstance(seen, Nothing):
                    continue
                if seen is not None:
                    self._found(seen)
                    continue
                # Valid answers count, whenever they come: the venue may have been away at 5 and 15 s.
                if early and age >= self._pace.late:
                    late = True
                early = early or age >= self._pace.early
                if late and order.status.ended:
                    self._amended.discard(order_id)  # the venue does not tell of it any more
                if late and await self._absent(order, began):
                    self._desk.post(Absent(order_id=order_id, ts=self._desk.now()))
        finally:
            self._asked.discard(order_id)
            self._amended.discard(order_id)

    def _next_look(self, age: float) -> float:
        """Give the age at which a doubt that is so old is looked at again [s]; what was missed is not made up for."""
        ages = self._pace.look_ups
        return next((each for each in ages if each > age), (age // ages[-1] + 1) * ages[-1])

    def _doubtful(self, order: Order) -> bool:
        if order.status.ended:
            self._missing.discard(order.id)
            return order.id in self._amended
        return (
            order.status is not Status.OPEN
            or order.id in self._missing
            or order.cancel_state is not Asked.NONE
            or order.amend_state is not Asked.NONE
        )

    def _found(self, seen: OrderSeen) -> None:
        order = self._desk.engine.orders.find(seen)
        if order is not None:
            self._missing.discard(order.id)
            if seen.status.ended:
                self._amended.discard(order.id)
        self._desk.post(seen)

    def _tell_undecided(self, order_id: str) -> bool:
        """Alarm about an unknown order that no look-up here can decide (2.3): somebody has to."""
        order = self._desk.engine.orders.get(order_id)
        if order is None or order.status is not Status.UNKNOWN or self._venue.lookup_proven:
            return False
        self._desk.alert(
            "error",
            "order_undecided",
            f"nobody knows what came of {order.client_order_id}, and {self._venue.id} cannot be asked for it by "
            "its client id: order.resolve decides",
            {"order_id": order.id, "symbol": order.symbol},
        )
        return True

    async def _find(self, order: Order) -> "OrderSeen | Nothing | None":
        return await self._asking(self._venue.find(order), f"look-up of {order.id}")

    async def _absent(self, order: Order, since: float) -> bool:
        """Check the rest of the proof: A2, A4, A5, A6."""
        if order.status is not Status.UNKNOWN or not self._venue.lookup_proven:
            return False
        if order.expires_at is not None and self._desk.now() < order.expires_at:
            return False
        if (self.complete_at is None or self.complete_at < since) and not await self.compare():
            return False
        fills = await self._asking(self._venue.fills(order.created_ts - INTENT), "fills")
        if isinstance(fills, Nothing):
            return False
        ours = [fill for fill in fills if fill.venue_client_id == order.venue_client_id]
        for fill in ours:
            self._desk.post(fill)
        return not ours

    async def _asking(self, question: Awaitable[T], what: str) -> "T | Nothing":
        try:
            async with asyncio.timeout(self._pace.timeout):
                return await question
        except (VenueUnknown, VenueRejected, Refused, TimeoutError) as error:
            self.why = str(error) or f"no answer within {self._pace.timeout:g} s"
            logger.warning("no information from the venue", extra={"what": what, "why": self.why})
            return NOTHING

    def fetch_missing(self) -> None:
        """Fetch fills that rows have shown and nobody has told for two seconds (2.5)."""
        self._recheck()
        gaps, now = self._desk.engine.orders.gaps, self._desk.now()
        due = [order_id for order_id, since in gaps.items() if now - since >= GAP]
        if due and not self._fetching:
            self._fetching = True
            self._crew.spawn(self._fetch(due), "missing fills")

    async def _fetch(self, due: Sequence[str]) -> None:
        try:
            oldest = min(self._order(order_id).created_ts for order_id in due)
            fills = await self._asking(self._venue.fills(oldest - INTENT), "missing fills")
            if isinstance(fills, Nothing):
                return
            for fill in self._unbooked(fills):
                self._desk.post(fill)
            for order_id in due:
                if order_id in self._desk.engine.orders.gaps:
                    for fact in self._desk.engine.missing_fills(order_id, self._desk.now()):
                        self._desk.post(fact)
        finally:
            self._fetching = False

    def _recheck(self) -> None:
        """Ask again for balances and positions that have differed for five seconds (2.6)."""
        if self._rechecking or not self._desk.engine.doubts:
            return
        if self._loop.time() >= self._recheck_at:
            self._rechecking = True
            self._crew.spawn(self._ask_again(), "recheck")

    async def _ask_again(self) -> None:
        try:
            if await self._orders():  # what explains the difference comes first
                await self._positions(asked=True)
                await self._balances(asked=True)
        finally:
            self._rechecking = False
            self._recheck_at = self._loop.time() + self._pace.retry

    def _order(self, order_id: str) -> Order:
        order = self._desk.engine.orders.get(order_id)
        assert order is not None, order_id
        return order

    # -- comparisons -----------------------------------------------------------------------------

    async def start(self) -> bool:
        """Compare everything once after recovery; ready when the venue has answered.

        Returns:
            Whether the account is ready.
        """
        if self._remote is not None:
            # What has ended lately as well: on it the look-up of ended orders is proven (A2), and not by trading alone.
            # Those that work come last: a venue that remembers so many forgets the first.
            self._remote.expect(reversed(self._desk.engine.orders.recent(self._desk.now())))
        if not await self.compare() or not self._trusted:
            self._desk.post(self._readiness(ready=False, reason="the venue did not answer"))
            return False
        for order in list(self._desk.engine.orders.working()):
            if self._doubtful(order):
                seen = await self._find(order)
                if isinstance(seen, OrderSeen):
                    self._found(seen)
                self.ask(order.id)
        if not await self._caught_up():
            self._desk.post(self._readiness(ready=False, reason="its private data is in doubt"))
            return False
        self.ready = True
        self._desk.post(self._readiness(ready=True, reason="reconciled"))
        return True

    async def _caught_up(self) -> bool:
        """Do what comes before being ready; whether private data can still be trusted then."""
        await self.before_ready()
        return self._trusted

    async def until_ready(self) -> None:
        """Try until the venue has answered."""
        while not await self.start():  # noqa: ASYNC110 - it asks the venue each time
            await asyncio.sleep(self._pace.retry)

    def _readiness(self, *, ready: bool, reason: str) -> Ready:
        return Ready(venue=self._venue.id, ready=ready, reason=reason, ts=self._desk.now())

    def reconnected(self) -> None:
        """Compare everything soon: the private stream was away."""
        self._wanted.set()

    def trust(self, trusted: bool, reason: str) -> None:  # noqa: FBT001 - the port
        """Take whether private data can be trusted; after a doubt everything is compared before entries pass."""
        self._trusted = trusted
        if trusted:
            self.reconnected()
        elif self.ready:
            self.ready = False
            self.why = reason
            self._desk.post(self._readiness(ready=False, reason=reason))

    async def _ready_again(self) -> None:
        """Compare everything, and let entries pass again once that is done."""
        complete = await self.compare()
        if not complete and not self.ready:
            self._loop.call_later(self._pace.retry, self._wanted.set)
        elif complete and self._trusted and not self.ready:
            self.ready = True
            self._desk.post(self._readiness(ready=True, reason="reconciled"))

    async def run(self) -> None:
        """Go on comparing without end."""
        pace = self._pace
        due = {
            self._orders: self._loop.time() + pace.orders,
            self._positions: self._loop.time() + pace.positions,
            self._balances: self._loop.time() + pace.balances,
        }
        every = {
            self._orders: pace.orders,
            self._positions: pace.positions,
            self._balances: pace.balances,
        }
        while True:
            next_one = min(due, key=lambda what: due[what])
            try:
                async with asyncio.timeout_at(due[next_one]):
                    await self._wanted.wait()
            except TimeoutError:
                asked = self._loop.time()
                await next_one()
                now = self._loop.time()
                due[next_one] = now + max(every[next_one], LEISURE * (now - asked))
            else:
                self._wanted.clear()
                await self._ready_again()

    async def compare(self) -> bool:
        """Compare orders, fills, positions and balances; False when an answer is missing."""
        began = self._loop.time()
        complete = False
        if await self._orders():
            self.executions_known()
            complete = await self._positions(asked=True) and await self._balances(asked=True)
        if complete:
            self.complete_at = began
        return complete

    async def _orders(self) -> bool:
        """Open orders and fills: fills first, so that an order that ended has its executions."""
        fills = await self._asking(self._venue.fills(self._known_until() - OVERLAP), "fills")
        rows = await self._asking(self._venue.open_orders(), "open orders")
        if isinstance(fills, Nothing) or isinstance(rows, Nothing):
            return False
        engine = self._desk.engine
        rows, fills = match(engine.orders, rows, self._unbooked(fills), self._desk.now())
        for fill in fills:
            self._desk.post(fill)
        listed: set[str] = set()
        for row in rows:
            order = engine.orders.find(row)
            if order is not None:
                listed.add(order.id)
                self._missing.discard(order.id)
            if order is None or _differs(order, row):
                self._desk.post(row)
        for order in list(engine.orders.working()):
            if order.status is Status.OPEN and order.id not in listed:
                self._missing.add(order.id)
                self.ask(order.id)
            elif self._doubtful(order) and order.exchange_order_id is None:
                continue  # its own look-ups decide
        return True

    def _unbooked(self, fills: Iterable[Filled]) -> list[Filled]:
        """Leave out what is booked already: of the fills of an hour nearly all, and no order waits while they are read."""
        seen = self._desk.engine.orders.seen
        return [fill for fill in fills if not seen(fill.symbol, fill.trade_id)]

    def _known_until(self) -> int:
        return max(self._desk.engine.last_fill_ts, OVERLAP)

    async def _balances(self, *, asked: bool = False) -> bool:
        """Compare balances; `asked` where all fills have been read right before."""
        return self._posted(await self._differing_balances(asked=asked))

    async def _positions(self, *, asked: bool = False) -> bool:
        return self._posted(await self._differing_positions(asked=asked))

    def _posted(self, seen: "Sequence[BalanceSeen] | Sequence[PositionSeen] | Nothing") -> bool:
        """Take the venue's word over; the engine alarms when its books stay different from it."""
        if isinstance(seen, Nothing):
            return False
        for fact in seen:
            self._desk.post(fact)
        return True

    async def _differing_balances(self, *, asked: bool) -> "Sequence[BalanceSeen] | Nothing":
        found = await self._asking(self._venue.balances(), "balances")
        if isinstance(found, Nothing):
            return NOTHING
        known, doubts = self._desk.engine.balances, self._desk.engine.doubts
        return [
            BalanceSeen(balance=balance, asked=asked)
            for balance in found
            if (mine := known.get(balance.id)) is None
            or balance.currency in doubts
            or (mine.available, mine.reserved) != (balance.available, balance.reserved)
        ]

    async def _differing_positions(self, *, asked: bool) -> "Sequence[PositionSeen] | Nothing":
        found = await self._asking(self._venue.positions(), "positions")
        if isinstance(found, Nothing):
            return NOTHING
        known = self._desk.engine.positions
        listed = {position.symbol for position in found}
        # A derivative that we hold and that a whole answer does not list is flat there.
        gone = [
            replace(mine, amount=ZERO, cost=ZERO, ts=self._desk.now())
            for symbol, mine in known.items()
            if mine.position_type != "spot" and mine.amount and symbol not in listed
        ]
        return [
            PositionSeen(position=position, asked=asked)
            for position in (*found, *gone)
            if (mine := known.get(position.symbol)) is None
            or mine.amount != position.amount
            or _other_terms(mine, position)
        ]


def _nothing() -> None:
    """Tell nobody."""


async def _at_once() -> None:
    """Have nothing to do."""


class Nothing:
    """No information: a question that was not answered."""


NOTHING: Final = Nothing()


def _other_terms(mine: Position, told: Position) -> bool:
    """Whether a venue tells of a position what fills do not: no fill brings it back after a restart."""
    return (
        (told.leverage, told.margin_mode) != (mine.leverage, mine.margin_mode)
        or told.collateral not in {None, mine.collateral}
        or told.liquidation_price not in {None, mine.liquidation_price}
    )


def _differs(order: Order, row: OrderSeen) -> bool:
    return (
        order.status is not row.status
        or order.filled != row.filled
        or order.amount != row.amount
        or order.price != row.price
        or Asked.UNKNOWN in {order.cancel_state, order.amend_state}
    )
