"""The one way in: an event goes through the engine, its effects go to journal, hub and venue.

Rules of this file: (1) nothing here awaits: between an event and the last of its effects no other event is looked at,
but for a venue's batch, whose facts are journaled one by one and shown together; (2) what a fact publishes leaves
after its commit, together with what shares the commit, and only then is anybody answered; what has no fact leaves behind
what waits; (3) a placement or amend goes to the gate after its commit, a cancel at once; (4) facts are never refused: the
queue of the journal has room for them that wishes may not use.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final, Protocol, assert_never

from realtime.desk import codec
from realtime.desk.about import SYMBOLS, key_of, newest
from realtime.desk.answers import ANSWERS, Answers, Outcome, Outcomes
from realtime.desk.audit import Audit
from realtime.desk.entries import ACK, NOTE, Entries, Entry, alert_projection, event_projection
from realtime.desk.outlet import Outlet
from realtime.desk.tally import Tally
from realtime.desk.unwritten import Unwritten
from realtime.engine.decide import stays_open
from realtime.engine.engine import Engine
from realtime.hub.stream import Data, Written
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import (
    Accepted,
    Ack,
    Alert,
    AmendFailed,
    AmendNext,
    Ask,
    BalanceChanged,
    BookChanged,
    CancelAtVenue,
    CancelFailed,
    Configure,
    Duplicate,
    Effect,
    Event,
    Fact,
    FillBooked,
    Filled,
    Note,
    OrderChanged,
    OrderSeen,
    Placed,
    PlaceNext,
    PositionChanged,
    Record,
    RiskChanged,
    SetState,
    StaleChanged,
    StateSet,
    Submit,
    SubmitAmend,
    TickerChanged,
    Traded,
    Unknown,
    Who,
    Withheld,
)
from realtime.model.orders import Approved, ApprovedAmend, Order, Status
from realtime.model.risk import TradingState
from realtime.store.rows import Projection
from realtime.store.store import Store
from realtime.store.writer import State


logger = logging.getLogger("realtime.desk")

_OK: Final = State.OK
ROOM: Final = 10_000
"""Rows that may wait for the journal before wishes are refused; facts may use more."""

SETTLE_S: Final = 10.0

ACCOUNT: Final = frozenset({Record, OrderChanged, FillBooked, PositionChanged, BalanceChanged})
"""Effects that are written and shown, and ask for nothing else."""

COMMITTED: Final = ACCOUNT | {Submit}
"""Effects of which nothing comes before their commit."""

Entered = tuple[Sequence[Written], Sequence[Written], Sequence[Projection]]
NO_ENTRIES: Final[Entered] = ((), (), ())

Noticed = Callable[[str, str, str, Mapping[str, object]], None]


class WayOut(Protocol):
    """What the desk needs of the gate; `handed` names the placements that are at the venue."""

    handed: set[str]

    def submit(self, approved: Approved) -> None:
        """Send one order whose intent is on disk, at the latest with the next `go`."""
        ...

    def go(self, *, behind: bool) -> None:
        """Send what is due; `behind` the answers that were given in this step."""
        ...

    def amend(self, approved: ApprovedAmend) -> None:
        """Send one amend whose intent is on disk."""
        ...

    def cancel(self, order: Order) -> None:
        """Send one cancel."""
        ...

    def look(self) -> None:
        """End what waits and may not leave any more."""
        ...

    def drop(self, order_id: str) -> None:
        """Let go of what has ended while it waited."""
        ...

    def over(self, order_id: str) -> None:
        """Let those go on who waited for the end of an order."""
        ...


def _deaf(_subject: str, _client: str, _event: str, _data: Mapping[str, object]) -> None:
    """Stand in until the server can reach its connections."""


class Desk:
    """Engine, journal, hub and gate of one account.

    Attributes:
        engine, store, outlet, answers, unwritten, entries, tally, audit: Its parts, to read.
        gate: The way out; set once by the composition root.
        ask: Starts a look-up of an order; set by the composition root.
        notice: Tells all connections of a (subject, client) something; set by the composition root.
        limits_changed: Told who gave the engine new limits, once they are in force; set by the root.
        describe: Told the symbol that a fact is about, before the row of the fact is written; set by the root.
        room: Rows that may wait for the journal before wishes are refused.
        draining: Whether new placements are refused because the server stops.
        acked: Acknowledged alerts, and by whom.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        outlet: Outlet,
        entries: Entries,
        now: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        mark: str = "",
    ) -> None:
        """Make it; `mark` stands in ids of orders and commands, so that no other account has the same."""
        self.engine = engine
        self.store = store
        self.outlet = outlet
        self.entries = entries
        self.answers = Answers(loop)
        self.tally = Tally()
        self.audit = Audit(engine.orders)
        self.gate: WayOut
        self.ask: Callable[[str], None]
        self.notice: Noticed = _deaf
        self.limits_changed: Callable[[Who], None] = lambda _who: None
        self.describe: Callable[[str], None] = lambda _symbol: None
        self.draining = False
        self.room = ROOM
        self.now = now
        self._loop = loop
        self._mark = mark
        self._commands = 0
        self._orders = 0
        self.acked: dict[str, str] = {}
        # Whether the gate has orders to let go, behind these answers.
        self._due = False
        store.on_told = self._show
        self._durable = self._newest = store.seq
        self._on_disk = store.committed
        self.unwritten = Unwritten(
            engine=engine,
            answers=self.answers,
            post=self.post,
            publish=self._publish,
            now=now,
        )
        self._standing = self.unwritten.standing
        self._behind: deque[tuple[int, Callable[[], None]]] = deque()
        self._awaited: deque[tuple[int, asyncio.Future[None]]] = deque()

    # -- the way in ------------------------------------------------------------------------------

    def post(self, event: Event) -> Sequence[Effect]:
        """Let the engine judge an event and carry out what follows.

        Returns:
            What followed, for those who asked.

        Raises:
            Refused: The event was a wish, and is refused; nothing changed.
        """
        effects = self.engine.process(event)
        if len(effects) == 1 and self._shown(effects[0]):
            return effects
        if effects:
            self.audit.asked(event)
            self._carry(effects)
            if type(event) is Configure:
                self.limits_changed(event.who)
        elif type(event) is Accepted:
            self._tell([], known=[event])
        elif type(event) is Unknown or type(event) is AmendFailed:
            self._known_already(event)
        return effects

    def take(self, events: Sequence[Event]) -> None:
        """Let the engine judge what a venue tells at a time.

        What only changes the account is shown once all of it is on disk: of an order, a position or a balance
        the newest row. Whatever asks for more is carried out in its turn.
        """
        told: list[Sequence[Effect]] = []
        known: list[Fact] = []
        for event in self._newest_rows(events):
            effects = self.engine.process(event)
            if not effects:
                if type(event) is Accepted:
                    known.append(event)
                continue
            if len(effects) == 1 and self._shown(effects[0]):
                continue
            if ACCOUNT.issuperset(map(type, effects)):
                told.append(effects)
                continue
            if told:
                self._tell(told)
                told = []
            self._carry(effects)
        if told or known:
            self._tell(told, known=known)

    def _newest_rows(self, events: Sequence[Event]) -> Sequence[Event]:
        """Leave out that an order of ours works where the same message tells what it came to.

        An order that fills at once costs a row of the journal less.
        """
        seen = [event for event in events if type(event) is OrderSeen]
        if len(seen) < 2:
            return events
        rows = {row.exchange_order_id: row for row in seen}
        return [
            event
            for event in events
            if type(event) is not OrderSeen
            or event.status is not Status.OPEN
            or (row := rows[event.exchange_order_id]) is event
            or row.asof < event.asof
            or self.engine.orders.find(event) is None
        ]

    def check_room(self) -> None:
        """Refuse what would need the journal while it cannot take it.

        Raises:
            Refused: `busy`.
        """
        if self.draining:
            raise Refused(Code.BUSY, "the server is stopping", retry_after=5.0)
        if self.store.state is not _OK:
            raise Refused(
                Code.BUSY, "the journal cannot be written; only cancels are taken", retry_after=5.0
            )
        if self.store.waiting >= self.room:
            raise Refused(
                Code.BUSY, f"the journal is {self.store.waiting} rows behind", retry_after=1.0
            )

    def note(self, kind: str, data: Mapping[str, object], who: Who | None = None) -> None:
        """Journal and publish an entry of `events` that no fact brings."""
        self._carry([Note(kind, data, who)])

    def alert(self, level: str, code: str, text: str, data: Mapping[str, object]) -> None:
        """Journal and publish an entry of `alerts` that no fact brings."""
        self._carry([Alert(level, code, text, data)])

    def refused(self, op: str, who: Who, refusal: Refused, args: Mapping[str, object]) -> None:
        """Journal and publish that a command was refused on its way in, if it is not one of too many."""
        note = self.audit.refused(op, who, refusal, args, self.now())
        if note is not None:
            with suppress(
                Refused
            ):  # a journal without room: whoever was refused is told all the same
                self._carry([note])

    def command(self) -> str:
        """Make the id of a command whose outcome is unknown; it names the command across restarts."""
        self._commands += 1
        return f"m-{self._mark}{self._commands}"

    def order_id(self) -> str:
        """Make the id of the next order."""
        self._orders += 1
        return f"o-{self._mark}{self._orders}"

    def resume_numbers(self, *, commands: int, orders: int) -> None:
        """Go on counting where the journal ends."""
        self._commands, self._orders = commands, orders

    def named(self, fact: Fact) -> Fact:
        """Give a fact about an unanswered call the id that its client is told."""
        if isinstance(fact, Unknown | AmendFailed | CancelFailed) and fact.command is not None:
            return replace(fact, command=self.command())
        return fact

    def canceled(self, order: Order, _ack: Ack) -> None:
        """Take a venue's answer to a cancel: its row decides, and is looked up if it does not come."""
        now = self.engine.orders.get(order.id)
        if now is not None and not now.status.ended:
            self.ask(order.id)

    def journal_failed(self, reason: str) -> None:
        """Halt: no intent can be made durable. Cancels still go out."""
        who = Who(subject="system", source="journal", admin=True)
        if self.engine.state() is not TradingState.HALTED:
            self.post(
                SetState(
                    scope="all",
                    state=TradingState.HALTED,
                    reason=f"the journal cannot be written: {reason}",
                    who=who,
                    ts=self.now(),
                )
            )
        self.alert("critical", "journal", f"the journal cannot be written: {reason}", {})
        # Its row waits for the journal like all others; what can be said at once is said at once.
        if self.store.state is State.FAILED:
            self.unwritten.answer_standing()
        self._catch_up(self._newest)
        self._show()
        self.outlet.risk()

    def runaway(self, order: Order) -> None:
        """Halt: something wanted to call the venue for an order more often than was written down (2.7)."""
        counts = self.tally.row()
        text = f"{order.client_order_id} was to be sent without an intent of its own; it was not"
        if self.engine.state() is not TradingState.HALTED:
            who = Who(subject="system", source="tally", admin=True)
            halted = TradingState.HALTED
            self.post(SetState(scope="all", state=halted, reason=text, who=who, ts=self.now()))
        self.alert("critical", "runaway", text, {"order_id": order.id, **counts})

    def day_row(self) -> Entry:
        """Make the row of the trading day."""
        return self.outlet.day_row()

    # -- alerts ----------------------------------------------------------------------------------

    async def find_alert(self, alert_id: str) -> Entry | None:
        """Give an alert as it is now."""
        digits = alert_id.removeprefix("a-")
        if not digits.isdecimal() or len(digits) > 15:
            return None
        found = await self.store.logs("alerts", int(digits), int(digits))
        if not found or found[0][2]["id"] != alert_id:
            return None
        return found[0][2] | {"acked_by": self.acked.get(alert_id)}

    def acknowledge(self, alert: Entry, who: Who) -> Entry:
        """Journal that somebody has seen an alert, and tell those who read the channel."""
        now, alert_id = self.now(), str(alert["id"])
        entry = alert | {"acked_by": who.subject}
        written = Written(entry, codec.dumps(entry))
        project = [
            Projection("acks", alert_id, now, {"acked_by": who.subject}),
            alert_projection(written, now),
        ]
        then = partial(self._committed, (), (), (), [written])
        self.store.append(ACK, alert_id, written.json, then, project, safety=True)
        self.acked[alert_id] = who.subject
        self.entries.alerts += 1
        return entry

    # -- durability --------------------------------------------------------------------------------

    @property
    def last_row(self) -> int | None:
        """The row with which all that was posted is on disk; None when something has found no room since.

        A state of trading that has found none is on disk with no row that is there yet.
        """
        return self.unwritten.last_row(self.store.seq)

    def no_room(self) -> None:
        """Note that a row has found no room: what was posted in this step is not on disk with the newest one."""
        self.unwritten.no_room(self.store.seq)

    async def settled(self) -> None:
        """Wait until all that was journaled so far is on disk.

        Raises:
            Failure: `internal`, when the journal cannot be written: done, but not to last.
        """
        await self.settled_with(self.last_row)

    async def settled_with(self, seq: int | None) -> None:
        """Wait until a row is on disk, as `settled` does: the row of another step, see `last_row`."""
        if not await self.durable(seq, SETTLE_S):
            raise Failure(Code.INTERNAL, "done in memory; the journal could not be written")

    async def durable(self, seq: int | None, timeout_s: float) -> bool:
        """Wait until a row of the journal is on disk, see `last_row`; False when that did not happen in time."""
        if seq is None:
            return False
        if self._on_disk >= seq:
            return True
        # On a full disk rows still go into the ballast's room.
        if self.store.state not in (State.OK, State.FULL):
            return False
        waiting: asyncio.Future[None] = self._loop.create_future()
        self._awaited.append((seq, waiting))
        await asyncio.wait([waiting], timeout=timeout_s)
        return waiting.done()

    # -- effects ---------------------------------------------------------------------------------

    def _carry(self, effects: Sequence[Effect]) -> None:
        """Carry out the effects of one event."""
        if COMMITTED.issuperset(map(type, effects)):
            self._tell([effects])
            return
        later: list[Effect] = []
        nexts: list[PlaceNext | AmendNext] = []
        entries: list[Note | Alert] = []
        for effect in effects:
            match effect:
                case (
                    Record()
                    | OrderChanged()
                    | FillBooked()
                    | PositionChanged()
                    | BalanceChanged()
                    | RiskChanged()
                    | Submit()
                    | SubmitAmend()
                    | Ask()
                ):
                    later.append(effect)
                case Note() | Alert():
                    entries.append(effect)
                case CancelAtVenue(order=order):
                    self.gate.cancel(order)
                case PlaceNext() | AmendNext():
                    nexts.append(effect)
                case StaleChanged(stale=stale):
                    self.outlet.stale(stale)
                case BookChanged() | TickerChanged() | Traded():
                    self._shown(effect)
                case Duplicate():
                    pass  # for the one who asked
                case _:
                    assert_never(effect)
        self._tell([later], noted=entries)
        for step in nexts:
            self._next(step)
        if any(type(effect) is Record and type(effect.fact) is StateSet for effect in later):
            self.gate.look()
        for entry in entries:
            if isinstance(entry, Alert) and entry.code == "external_change":
                self._doubt(entry)

    def _shown(self, effect: Effect) -> bool:
        """Publish market data, most of which has no other effects; False for everything else."""
        # A hundred thousand times a second: a `match` takes twice as long.
        if type(effect) is BookChanged:
            self.outlet.book(effect)
        elif type(effect) is TickerChanged:
            self.outlet.ticker(effect.ticker)
        elif type(effect) is Traded:
            self.outlet.trade(effect.trade)
        else:
            return False
        return True

    def _tell(
        self,
        told: Sequence[Sequence[Effect]],
        *,
        noted: Sequence[Note | Alert] = (),
        known: Sequence[Fact] = (),
    ) -> None:
        """Journal the facts of some events, each with what is committed beside it, and do what waits for their commit.

        Args:
            told: What is published and done, by event, and the facts; of more than one event only what `ACCOUNT` names.
            noted: What is to be said besides.
            known: Answers that say what is known already: no facts, but somebody waits for them.
        """
        shown = told[0] if len(told) == 1 else newest(told)
        rows: list[tuple[Fact, Sequence[Projection]]] = []
        for effects in told:
            own = [(effect.fact, ()) for effect in effects if type(effect) is Record]
            if own:
                last, _ = own.pop()
                rows += [*own, (last, self.outlet.projections(effects))]
        if not (rows or noted or known):
            if shown:
                self._follow(partial(self._publish, shown))
            return
        said = [fact for fact, _ in rows]
        self._before(said)
        said += known
        notes = [*noted, *self.audit.notes(said, shown)] if said else noted
        events, alerts, entered = self._entered(notes) if notes else NO_ENTRIES
        outcomes = [
            (fact, order)
            for fact in said
            if type(fact) in ANSWERS and (order := self._order_of(fact)) is not None
        ]
        then = partial(self._committed, outcomes, shown, events, alerts)
        append = self.store.append
        kind, key, lost = NOTE, "", False
        try:
            if rows:
                *first, (fact, beside) = rows
                for other, project in first:
                    kind, key, body = type(other).__name__, key_of(other), codec.encode(other)
                    append(kind, key, body, None, project, safety=True)
                kind, key = type(fact).__name__, key_of(fact)
                body = codec.encode(fact, events, alerts)
            else:
                beside = self.outlet.projections(shown)
                body = codec.encode_entries(events, alerts)
            project = [*beside, *entered] if entered else beside
            self._newest = append(kind, key, body, then, project, safety=True)
            self._standing.append((self._newest, outcomes, shown))
            if self.unwritten.torn:
                self.unwritten.outdone(shown)
        except Refused as refused:
            # The engine knows it, and no refusal would undo that; after a restart the venue is asked what happened.
            logger.warning("row lost", extra={"fields": {"kind": kind, "reason": refused.message}})
            lost = True
            # The next entries have the numbers of its own.
            self.entries.events -= len(events)
            self.entries.alerts -= len(alerts)
            self.unwritten.lose(shown, self.store.seq)
            if self.unwritten.keeps(shown, refused):
                raise
        if lost or self.store.state is not _OK:
            self.unwritten.answer(outcomes, shown)

    def _entered(self, notes: Iterable[Note | Alert]) -> Entered:
        """Make entries of `events` and of `alerts` of what is to be said, and the rows they are committed as."""
        events: list[Written] = []
        alerts: list[Written] = []
        project: list[Projection] = []
        for note in notes:
            now = self.now()
            if isinstance(note, Note):
                events.append(made := self.entries.event(note, now))
                project.append(event_projection(made, now))
            else:
                alerts.append(made := self.entries.alert(note, now))
                project.append(alert_projection(made, now))
        return events, alerts, project

    def _before(self, facts: Iterable[Fact]) -> None:
        """Do what comes before the rows of facts: say which markets they are about, let go of what will not go out.

        And count what orders in and orders out have to agree on (2.7).
        """
        for fact in facts:
            kind = type(fact)
            if kind in SYMBOLS:
                self.describe(SYMBOLS[kind](fact))
            if type(fact) is Placed:
                self.tally.intend(fact.order.id)
            elif type(fact) is Filled:
                self.tally.fills += 1
            elif type(fact) is Withheld:
                self.gate.drop(fact.order_id)

    def _order_of(self, fact: Fact) -> Order | None:
        order_id = getattr(fact, "order_id", None)
        return None if order_id is None else self.engine.orders.get(order_id)

    def _committed(
        self,
        outcomes: Outcomes,
        later: Sequence[Effect],
        events: Sequence[Written],
        alerts: Sequence[Written],
        seq: int,
    ) -> None:
        """Publish what a commit has made durable."""
        if self._standing and self._standing[0][0] <= seq:
            self._standing.popleft()
        self._publish(later)
        for entry in events:
            self.outlet.event(entry)
            if entry.data["type"] == "order_resolved":
                self._tell_resolved(entry.data)
        for entry in alerts:
            self.outlet.alert(entry)
        for fact, order in outcomes:
            self.answers.settle(fact, order, journaled=True)
        self._durable = seq
        if self._behind:
            self._catch_up(seq)

    def _follow(self, then: Callable[[], None]) -> None:
        """Do something that has no fact of its own behind everything that waits for its commit."""
        if self._newest > self._durable and self.store.state is _OK:
            self._behind.append((self._newest, then))
        else:
            then()
            self._show()

    def _catch_up(self, seq: int) -> None:
        while self._behind and self._behind[0][0] <= seq:
            _, then = self._behind.popleft()
            then()

    def _known_already(self, fact: Unknown | AmendFailed) -> None:
        """Answer one whose call was not answered, but whose order has shown meanwhile what came of it."""
        order = self._order_of(fact)
        if order is not None:
            # What has shown it waits as well where nothing can be written.
            kept = self.store.state is _OK and not self.unwritten.torn
            self._follow(partial(self.answers.settle, fact, order, journaled=kept))

    def _publish(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            # Five times an order: a `match` takes twice as long.
            if type(effect) is OrderChanged:
                order = effect.order
                self.outlet.order(order)
                if order.status.ended:
                    self.gate.over(order.id)
                    self.answers.ended(order, journaled=True)
            elif type(effect) is Record:
                continue  # what waited for it is the rest
            elif type(effect) is FillBooked:
                self.outlet.fill(effect.fill)
            elif type(effect) is PositionChanged:
                self.outlet.position(effect.position)
            elif type(effect) is BalanceChanged:
                self.outlet.balance(effect.balance)
            elif type(effect) is Submit:
                self.gate.submit(effect.approved)
                self._due = True
            elif type(effect) is SubmitAmend:
                if self.unwritten.leaves(effect.approved):
                    self.gate.amend(effect.approved)
            elif type(effect) is RiskChanged:
                self.outlet.risk()
            else:
                assert type(effect) is Ask, f"{effect} does not wait for a commit"
                self.ask(effect.order_id)

    def _tell_resolved(self, entry: Data) -> None:
        data = entry["data"]
        assert isinstance(data, dict)
        order = self.engine.orders.get(str(data.get("order_id")))
        if order is not None:
            self.notice(order.subject, order.client, "order_resolved", data)

    def _show(self) -> None:
        """Show what the last commits came to, answer those who waited for it, then let go what they approved."""
        unwritten, answers = self.unwritten, self.answers
        if (
            unwritten.torn
            and self._newest <= self._durable
            and self.store.committed >= unwritten.hole
        ):
            unwritten.mend()
        answered = bool(answers.due)
        try:
            self.outlet.show()
            if answered:
                outcomes, answers.due = answers.due, []
                at = self.outlet.positions()
                for asked, fact, order in outcomes:
                    outcome = Outcome(fact=fact, order=order, at=at)
                    answers.tell(order.id, asked, outcome)
        finally:
            self._wake()
            if self._due:
                self._due = False
                self.gate.go(behind=answered)

    def _wake(self) -> None:
        """Tell those who wait for rows on disk, behind what these came to; not all rows are the desk's own."""
        self._on_disk = self.store.committed
        while self._awaited and self._awaited[0][0] <= self._on_disk:
            _, waiting = self._awaited.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def _doubt(self, alert: Alert) -> None:
        """What no fill explains, money or position, stops entries (2.6)."""
        if self.engine.state() is TradingState.ACTIVE:
            self.post(
                SetState(
                    scope="all",
                    state=TradingState.REDUCING,
                    reason=alert.text,
                    who=Who(subject="system", source="reconcile", admin=True),
                    ts=self.now(),
                )
            )

    def _next(self, step: PlaceNext | AmendNext) -> None:
        """Post a wish of the engine; one that is refused leaves a position open, or without protection."""
        wish = step.place if isinstance(step, PlaceNext) else step.amend
        try:
            self.post(wish)
        except Refused as refused:
            if isinstance(step, PlaceNext) and step.place.order.parent_id is None:
                self._carry([stays_open(step.place.order, refused.message)])
                return
            leg: Order | None
            if isinstance(step, PlaceNext):
                leg, order_id = step.place.order, step.place.order.parent_id
            else:
                leg, order_id = self.engine.orders.get(step.amend.order_id), step.amend.order_id
            self.alert(
                "critical",
                "protection_degraded",
                f"an attached order was refused: {refused.message}",
                {
                    "order_id": order_id,
                    "symbol": leg.symbol if leg is not None else "",
                    "code": refused.code,
                },
            )
