"""What clients ask of the account, and the kill switch: wishes in, outcomes out.

Rules of this file: (1) what a request does to state happens in the call, before the first await; (2) waiting ends with
the committed outcome, or after the venue's time-out; (3) stopping asks nobody: cancels need neither the journal nor
room in it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, TypeVar

from realtime.desk.answers import Asked, Outcome
from realtime.desk.desk import Desk
from realtime.desk.sweep import Sweep, Sweeps, in_scope, stopped_at_the_door
from realtime.engine.market import down
from realtime.engine.orders import evolve
from realtime.model.account import Position
from realtime.model.errors import Code, Failure, Refused
from realtime.model.events import (
    Amend,
    Cancel,
    CancelFailed,
    Duplicate,
    Place,
    SetState,
    Submit,
    Who,
    Withheld,
)
from realtime.model.orders import Order, OrderType, Role, Side, Status, venue_client_id
from realtime.model.risk import TradingState


T = TypeVar("T")

ALL: Final = "all"
PLACE: Final = Asked.PLACE
BOOKED_S: Final = 0.01
"""How often is looked whether a flattening is booked [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canceled:
    """What many cancels led to; client order ids.

    Attributes:
        ended: What ended otherwise before its cancel was there: filled, rejected or expired.
    """

    canceled: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A `trading.halt`.

    Attributes:
        scope: `all`, `venue:ID`, `symbol:S` or `bot:ID`.
        protection: Whether attached stops go, too.
    """

    scope: str = ALL
    state: TradingState = TradingState.HALTED
    cancel: bool = True
    flatten: bool = False
    protection: bool = False
    reason: str
    who: Who


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What became of the order that closes a position: the order as it is, or why there is none."""

    symbol: str
    order: Order | None = None
    error: Refused | None = None

    def row(self) -> dict[str, object]:
        """Make its row of `closed`."""
        if self.order is not None:
            return {"symbol": self.symbol, "order_id": self.order.id, "status": self.order.status}
        assert self.error is not None
        return {"symbol": self.symbol, "code": self.error.code, "error": self.error.message}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What a `trading.halt` led to.

    Attributes:
        state: In force in its scope: a halt that asks for less than there is changes nothing.
        closed: What became of each order that flattens.
        positions: What is held yet, as far as it could be closed.
    """

    state: TradingState
    changed: bool
    journaled: bool
    canceled: Canceled
    closed: Sequence[Closed]
    positions: Sequence[Position]


class Trading:
    """Wishes of clients at one account.

    Attributes:
        venue: Id of the account's venue.
        guard: Judges what bots wish before the gate does: raises where a budget or a lease forbids it. Set by the
            composition root.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        sweeps: Sweeps,
        venue: str,
        new_client_order_id: Callable[[], str],
        timeout_s: float,
    ) -> None:
        self.venue = venue
        self._desk = desk
        self._sweeps = sweeps
        self._new_client_order_id = new_client_order_id
        self._timeout_s = timeout_s
        # What waits for its turn at an order, by the order's id.
        self._turns: dict[str, deque[Callable[[], None]]] = {}
        self.guard: Callable[[Order, Who], None] = _open

    # -- one order -------------------------------------------------------------------------------

    def draft(
        self,
        *,
        who: Who,
        client_order_id: str | None,
        fields: Mapping[str, object],
        order_id: str = "",
    ) -> Order:
        """Make an order as it would be placed now.

        Args:
            who: Its owner.
            client_order_id: The client's; None makes one.
            fields: Everything else of `Order`.
            order_id: Ours, see `Desk.order_id`; without one it is given when the order is placed.
        """
        now = self._desk.now()
        coid = client_order_id or self._new_client_order_id()
        made: dict[str, object] = {
            "id": order_id,
            "client_order_id": coid,
            "venue_client_id": venue_client_id(self.venue, coid),
            "venue": self.venue,
            "subject": who.subject,
            "client": who.client,
            "bot_id": who.bot_id,
            "strategy_id": who.strategy_id,
            "source": who.source,
            "created_ts": now,
            "updated_ts": now,
        }
        made.update(fields)
        return Order(**made)  # type: ignore[arg-type]  # named and typed by its maker

    def place(
        self,
        placing: Place,
        answer: Callable[[Outcome], T],
        again: Callable[[Order], T],
    ) -> "asyncio.Future[T] | T":
        """Place a draft; the gate has judged it when this returns.

        Args:
            placing: The draft and who wants it; with an id it was made in this step, else it gets one and the time.
            answer: Makes the answer of the committed outcome.
            again: Makes the answer to a repetition, of the order as it is now.

        Raises:
            Refused: As the gate says, or `busy`.
        """
        self._desk.check_room()
        order = placing.order
        try:
            self.guard(order, placing.who)
        except Refused:
            # A resend is answered by what was sent, whatever the budget says by now.
            engine, name = self._desk.engine, order.client_order_id
            if engine.orders.by_client_id(name) is None and not engine.forgot(name):
                raise
        return self.place_always(placing, answer, again)

    def place_always(
        self,
        placing: Place,
        answer: Callable[[Outcome], T],
        again: Callable[[Order], T],
    ) -> "asyncio.Future[T] | T":
        """Place as `place` does, also while stopping: for flattening."""
        desk = self._desk
        order = placing.order
        if not order.id:
            order = evolve(order, id=desk.order_id())
            placing = replace(placing, order=order, ts=desk.now())
        # What a placement comes to stands last.
        end = desk.post(placing)[-1]
        if isinstance(end, Duplicate):
            return self._again(end.order, answer, again)
        if isinstance(end, Submit) and end.approved.warnings:
            answer = partial(_warned, answer, end.approved.warnings)
        return desk.answers.wait(order.id, PLACE, answer)

    def _again(
        self, order: Order, answer: Callable[[Outcome], T], again: Callable[[Order], T]
    ) -> "asyncio.Future[T] | T":
        """Answer a repetition: with the reply in flight, or by the order as it is."""
        answers = self._desk.answers
        flying = order.status is Status.PENDING and order.exchange_order_id is None
        if flying or answers.pending(order.id, Asked.PLACE):
            return answers.wait(order.id, Asked.PLACE, answer)
        return again(order)

    def judge(self, placing: Place) -> None:
        """Say what `place` would refuse now; nothing is done or written down, and a placement is judged again.

        Raises:
            Refused: As `place` would.
        """
        self._desk.check_room()
        self.guard(placing.order, placing.who)
        self._desk.engine.permit(placing)

    def amend(
        self, wish: Amend, answer: Callable[[Outcome], T], same: Callable[[], T]
    ) -> "asyncio.Future[T] | T":
        """Change an order, behind what was asked of it before (I4).

        Args:
            wish: Targets.
            answer: Makes the answer of the committed outcome.
            same: Makes the answer when nothing has to change.

        Raises:
            Refused: As the gate says, or `busy`.
        """
        self._desk.check_room()
        order_id = wish.order_id
        before = self._turns.get(order_id)
        asked = self._under_way(order_id)
        if not self.waits(order_id):
            return self._amend(wish, answer, same)
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def go() -> None:
            try:
                given = self._amend(replace(wish, ts=self._desk.now()), answer, same)
            except Failure as failure:
                if not result.done():
                    result.set_exception(failure)
            else:
                _hand_on(given, result)

        if before is None:
            before = self._turns[order_id] = deque()
        before.append(go)
        if asked is not None and len(before) == 1:
            self._wait_for(order_id, asked)
        return result

    def waits(self, order_id: str) -> bool:
        """Whether an amend would wait for what was asked of the order before, so that nobody can judge it yet."""
        return order_id in self._turns or self._under_way(order_id) is not None

    def judge_amend(self, wish: Amend) -> bool:
        """Whether an amend would change anything; nothing is changed now.

        Raises:
            Refused: As `amend`.
        """
        self._desk.check_room()
        self._guard_amend(wish)
        return self._desk.engine.preview_amend(wish)

    def _amend(
        self, wish: Amend, answer: Callable[[Outcome], T], same: Callable[[], T]
    ) -> "asyncio.Future[T] | T":
        self._desk.check_room()
        self._guard_amend(wish)
        if not self._desk.post(wish):
            return same()
        return self._desk.answers.wait(wish.order_id, Asked.AMEND, answer)

    def _guard_amend(self, wish: Amend) -> None:
        """Judge what a bot's order would become."""
        order = self._desk.engine.orders.get(wish.order_id)
        if order is not None and order.bot_id is not None:
            self.guard(
                evolve(
                    order,
                    amount=wish.amount or order.amount,
                    price=wish.price or order.price,
                    stop_price=wish.stop_price or order.stop_price,
                ),
                wish.who,
            )

    def _under_way(self, order_id: str) -> Asked | None:
        """Name what somebody has asked of an order and is not answered."""
        pending = self._desk.answers.pending
        return next((asked for asked in Asked if pending(order_id, asked)), None)

    def _wait_for(self, order_id: str, asked: Asked) -> None:
        waiting = self._desk.answers.wait(order_id, asked, _same)
        waiting.add_done_callback(lambda _: self._next(order_id))

    def _next(self, order_id: str) -> None:
        """Let those who wait go on, one by one."""
        turns = self._turns[order_id]
        while turns:
            asked = self._under_way(order_id)
            if asked is not None:
                self._wait_for(order_id, asked)
                return
            turns.popleft()()
        del self._turns[order_id]

    def cancel(
        self, order: Order, who: Who, answer: Callable[[Outcome], T]
    ) -> "asyncio.Future[T] | None":
        """Cancel an order; None when it has ended already.

        Raises:
            Refused: The engine cannot cancel it.
        """
        if order.status.ended:
            return None
        # Waited for first: what ends at once, and is not on disk at once, is answered in this step.
        waiting = self._desk.answers.wait(order.id, Asked.CANCEL, answer)
        try:
            self._desk.post(Cancel(order_id=order.id, who=who, ts=self._desk.now()))
        except Refused:
            waiting.cancel()
            raise
        return waiting

    # -- many orders -----------------------------------------------------------------------------

    def cancel_many(self, orders: Iterable[Order], who: Who) -> Awaitable[Canceled]:
        """Cancel orders; every cancel is on its way when this returns."""
        waiting: dict[str, asyncio.Future[Outcome]] = {}
        result = Canceled()
        for order in orders:
            try:
                asked = self.cancel(order, who, _same)
            except Refused:
                result.failed.append(order.client_order_id)
            else:
                if asked is not None:
                    waiting[order.client_order_id] = asked
        return self._canceled(waiting, result)

    async def _canceled(
        self, waiting: Mapping[str, "asyncio.Future[Outcome]"], result: Canceled
    ) -> Canceled:
        if waiting:
            await asyncio.wait(waiting.values(), timeout=self._timeout_s)
        for coid, future in waiting.items():
            if not future.done():
                future.cancel()
                result.unknown.append(coid)
                continue
            outcome = future.result()
            fact = outcome.fact
            if isinstance(fact, CancelFailed):
                # A refusal proves nothing about an order that nobody has seen at the venue (K4).
                unseen = outcome.order.status in {Status.PENDING, Status.UNKNOWN}
                (result.unknown if fact.unknown or unseen else result.failed).append(coid)
            else:
                was = outcome.order.status
                (result.canceled if was is Status.CANCELED else result.ended).append(coid)
        return result

    def sweep(self, sweep: Sweep) -> None:
        """See to it that orders whose cancels are on their way do end; a restart goes on with it."""
        self._sweeps.begin(sweep)

    def working(
        self,
        *,
        symbol: str | None = None,
        bot_id: str | None = None,
        side: Side | None = None,
    ) -> list[Order]:
        """List orders that have not ended."""
        return [
            order
            for order in self._desk.engine.orders.working()
            if (symbol is None or order.symbol == symbol)
            and (bot_id is None or order.bot_id == bot_id)
            and (side is None or order.side is side)
        ]

    # -- the kill switch ---------------------------------------------------------------------------

    def halt(self, stop: Stop) -> Awaitable[Stopped]:
        """Halt or reduce; the state has changed and the cancels are on their way when this returns."""
        desk = self._desk
        effects = desk.post(
            SetState(
                scope=stop.scope,
                state=stop.state,
                reason=stop.reason,
                who=stop.who,
                ts=desk.now(),
            )
        )
        seq = desk.last_row
        canceling: Awaitable[Canceled] | None = None
        if stop.cancel:
            sweep = Sweep(
                scope=stop.scope,
                legs=stop.protection,
                subject=stop.who.subject,
                since=desk.now(),
            )
            doomed = [
                order
                for order in desk.engine.orders.working()
                if sweep.covers(order) and not stopped_at_the_door(order, desk.gate.handed)
            ]
            if stop.state is TradingState.REDUCING:
                doomed = [order for order in doomed if not order.exit]
            canceling = self.cancel_many(doomed, stop.who)
            if stop.state is TradingState.HALTED:
                self._sweeps.begin(sweep)
        stop = replace(stop, state=desk.engine.halts[stop.scope].state)
        return self._halted(stop, canceling, changed=bool(effects), seq=seq and desk.last_row)

    async def _halted(
        self, stop: Stop, canceling: Awaitable[Canceled] | None, *, changed: bool, seq: int | None
    ) -> Stopped:
        canceled = await canceling if canceling is not None else Canceled()
        closed = await self.flatten(stop.scope, stop.who) if stop.flatten else []
        journaled = await self._desk.durable(seq, self._timeout_s)
        left = [
            position for position in self._held() if scope_has(stop.scope, position, self.venue)
        ]
        return Stopped(
            state=stop.state,
            changed=changed,
            journaled=journaled,
            canceled=canceled,
            closed=closed,
            positions=left,
        )

    def _held(self) -> list[Position]:
        return [p for p in self._desk.engine.positions.values() if self.closable(p)]

    def closable(self, position: Position) -> bool:
        """Whether there is at least a lot to close: fees in base leave less now and then, which stays."""
        step = self._desk.engine.markets[position.symbol].amount_step
        return abs(position.amount) >= step

    async def flatten(self, scope: str, who: Who) -> list[Closed]:
        """Send one reduce-only market order per position of a scope, and wait for what becomes of them."""
        waiting: list[tuple[Place, asyncio.Future[Order]]] = []
        results: list[Closed] = []
        engine = self._desk.engine
        who = replace(who, limits=None)  # whoever may stop trading may stop all of it
        for wish in engine.flatten(self._desk.now(), scope):
            position = engine.positions[wish.order.symbol]
            if not scope_has(scope, position, self.venue):
                continue
            placing = self.closing(
                position, who, source="flatten", fields={"amount": wish.order.amount}
            )
            try:
                placed = self.place_always(placing, _order_of, _unchanged)
            except Refused as refused:
                results.append(Closed(symbol=position.symbol, error=refused))
                self._desk.alert(
                    "critical",
                    "flatten_refused",
                    f"{position.symbol} stays open: {refused.message}",
                    {"symbol": position.symbol},
                )
            else:
                assert isinstance(placed, asyncio.Future), "its id is new"
                waiting.append((placing, placed))
        end = asyncio.get_running_loop().time() + self._timeout_s
        if waiting:
            await asyncio.wait([placed for _, placed in waiting], timeout=self._timeout_s)
        await self._flattened({placing.order.symbol for placing, _ in waiting}, end)
        for placing, _ in waiting:
            self._take_back(placing)
        return results + [self._closed(placing, placed) for placing, placed in waiting]

    def _take_back(self, placing: Place) -> None:
        """End an order that flattens and has not left in time, as on a broken disk.

        Nobody would expect it any more when it left hours later (K2).
        """
        desk = self._desk
        order = desk.engine.orders.by_client_id(placing.order.client_order_id)
        if order is not None and stopped_at_the_door(order, desk.gate.handed):
            desk.post(
                Withheld(
                    order_id=order.id,
                    status=Status.REJECTED,
                    code=Code.BUSY,
                    reason="it could not leave in time; it was not sent",
                    ts=desk.now(),
                )
            )

    def _closed(self, placing: Place, placed: "asyncio.Future[Order]") -> Closed:
        """Say what has become of an order that closes a position, however far it is."""
        order = self._desk.engine.orders.by_client_id(placing.order.client_order_id)
        return Closed(symbol=placing.order.symbol, order=order or placed.result())

    async def _flattened(self, symbols: Collection[str], end: float) -> None:
        """Wait until what flattens these symbols has ended and all of it is booked, but no longer than to `end`.

        One that is taken has sold nothing yet, and what is left of one that came too late is sent anew.
        """
        loop, orders = asyncio.get_running_loop(), self._desk.engine.orders
        # Nobody tells of the last execution that it is the last.
        while loop.time() < end and any(  # noqa: ASYNC110
            order is not None and order.source == "flatten" and order.symbol in symbols
            for order in (*orders.working(), *map(orders.get, orders.gaps))
        ):
            await asyncio.sleep(BOOKED_S)

    def closing(
        self,
        position: Position,
        who: Who,
        *,
        client_order_id: str | None = None,
        source: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> Place:
        """Make the order that closes a position, all of it at the market unless `fields` say else."""
        side = Side.SELL if position.amount > 0 else Side.BUY
        market = self._desk.engine.markets[position.symbol]
        given: dict[str, object] = {
            "symbol": position.symbol,
            "side": side,
            "type": OrderType.MARKET,
            "amount": down(abs(position.amount), market.amount_step),
            "reduce_only": True,
            "role": Role.EXIT,
            "position_type": position.position_type,
            "source": source or who.source,
        }
        order = self.draft(
            who=who, client_order_id=client_order_id, fields=given | dict(fields or {})
        )
        return Place(order=order, who=who, ts=order.created_ts, closing=True, allow_duplicate=True)

    def resume(self, scope: str, reason: str, who: Who, *, force: bool) -> bool:
        """Let a scope trade again; False when it did already.

        Raises:
            Refused: Not reconciled, or an unknown order without `force`.
        """
        effects = self._desk.post(
            SetState(
                scope=scope,
                state=TradingState.ACTIVE,
                reason=reason,
                force=force,
                who=who,
                ts=self._desk.now(),
            )
        )
        if effects:
            self._sweeps.end(scope)
        return bool(effects)


def scope_has(scope: str, position: Position, venue: str) -> bool:
    """Whether a scope is about a position; positions are the account's, not a bot's."""
    kind, _, name = scope.partition(":")
    match kind:
        case "symbol":
            return position.symbol == name
        case "venue":
            return venue == name
        case "bot":
            return False
        case _:
            return True


def _hand_on(given: "asyncio.Future[T] | T", result: "asyncio.Future[T]") -> None:
    """Let a future become what another one becomes."""
    if not isinstance(given, asyncio.Future):
        if not result.done():
            result.set_result(given)
        return

    def done(future: "asyncio.Future[T]") -> None:
        if result.done():
            future.exception()  # nobody is left to hear of it
        elif (error := future.exception()) is not None:
            result.set_exception(error)
        else:
            result.set_result(future.result())

    given.add_done_callback(done)


def _open(_order: Order, _who: Who) -> None:
    """Let everything pass to the gate: until bots are there."""


def _warned(answer: Callable[[Outcome], T], warnings: Sequence[str], outcome: Outcome) -> T:
    return answer(replace(outcome, warnings=warnings))


def _same(outcome: Outcome) -> Outcome:
    return outcome


def _order_of(outcome: Outcome) -> Order:
    return outcome.order


def _unchanged(order: Order) -> Order:
    return order


__all__ = ["ALL", "Canceled", "Stop", "Stopped", "Trading", "in_scope", "scope_has"]
