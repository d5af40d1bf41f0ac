"""The way out: the only place that calls a venue to place, amend or cancel.

Rules of this file: (1) a placement is called at most once and never repeated; (2) the door check stands behind every
queue, limiter and disk write, right before the call, with no await between them; (3) whatever is not proven *not done*
is unknown: a time-out, a broken connection, a cancelled task; (4) each call has one finite task in the desk's group, and
those that wait for nothing share one; (5) what waits for its turn, here or at the limits of an exchange, has certainly
not left: a halt or a cancel ends it here.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from realtime.desk.crew import Crew
from realtime.desk.lanes import Lane, Lanes
from realtime.desk.tally import Tally
from realtime.model.errors import Code, Failure, Refused, VenueRejected, VenueUnknown
from realtime.model.events import (
    Accepted,
    Ack,
    AmendDone,
    AmendFailed,
    CancelFailed,
    Event,
    Fact,
    Rejected,
    Release,
    ReleaseAmend,
    Told,
    Unknown,
    Withheld,
)
from realtime.model.orders import Approved, ApprovedAmend, Order, Status
from realtime.venues.base import Prompt, Remote, Venue


def _replaced(order: Order, ack: Ack) -> str | None:
    """Give the venue's id of an order that took the place of another; None where it kept its own."""
    same = not ack.exchange_order_id or ack.exchange_order_id == order.exchange_order_id
    return None if same else ack.exchange_order_id


def lane_of(order: Order) -> Lane:
    """Name the lane of a placement: protective legs before exits before entries."""
    if order.protective:
        return Lane.PROTECT
    return Lane.EXIT if order.exit else Lane.ENTRY


FREED_WITHIN_S: Final = 2.0
"""So long an exit waits for the end of what is cancelled for it; then it tries its luck [s]."""


class Gate:
    """Carries approved orders, amends and cancels to one venue.

    Attributes:
        handed: Orders whose placement is at the venue and not answered.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        lanes: Lanes,
        crew: Crew,
        post: Callable[[Event], object],
        take: Callable[[Sequence[Told]], None],
        canceled: Callable[[Order, Ack], None],
        command: Callable[[], str],
        tally: Tally,
        runaway: Callable[[Order], None],
        now: Callable[[], int],
        timeout_s: float,
    ) -> None:
        """Make the way out.

        Args:
            venue: Where orders go.
            lanes: Turns at it.
            crew: Owner of the calls.
            post: Takes what became of a call.
            take: Takes what a prompt venue told of a placement, its answer last.
            canceled: Takes the answer to a cancel.
            command: Makes the id that a client is told with `outcome_unknown`.
            tally: Counts calls against intents.
            runaway: Told of a call that no intent is left for; it was not made.
            now: Wall clock [ns].
            timeout_s: After this a call without answer is unknown.
        """
        self._venue = venue
        self._lanes = lanes
        self._crew = crew
        self._post = post
        self._take = take
        self._canceled = canceled
        self._command = command
        self._tally = tally
        self._runaway = runaway
        self._now = now
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self.handed: set[str] = set()
        # Placements that have not left, and who carries them.
        self._waiting: dict[str, tuple[Order, asyncio.Task[None]]] = {}
        # Placements at a prompt venue, which all leave in one step of the loop, and whether that is scheduled.
        self._due: deque[Approved] = deque()
        self._going = False
        # Of placements behind others: what has to end, and what is set then.
        self._behind: dict[str, tuple[set[str], asyncio.Event]] = {}
        # A venue with limits of its own says when an order really leaves.
        self._guarded = isinstance(venue, Remote)
        self._prompt = venue if isinstance(venue, Prompt) else None
        if isinstance(venue, Remote):
            venue.guard(self._leave)

    @property
    def quiet(self) -> bool:
        """Whether no call flies or waits, for its turn or for others to end."""
        return self._lanes.quiet and not self._behind and not self._due

    def submit(self, approved: Approved) -> None:
        """Send one order whose intent is on disk; where the venue is prompt, with the next `go`."""
        if self._prompt is not None and not approved.after:
            self._due.append(approved)
        else:
            self._start(approved)

    def go(self, *, behind: bool) -> None:
        """Place what is due in the next step of the loop, or behind the answers that the next one brings."""
        if self._due and not self._going:
            self._going = self._crew.spawn(self._submit_due(behind=behind), "submit") is not None
            if not self._going:
                self._due.clear()

    def _start(self, approved: Approved) -> None:
        """Let a task carry an order, which may wait for its turn and for the answer."""
        order = approved.order
        task = self._crew.spawn(self._submit(approved), f"submit {order.id}")
        if task is None:
            return
        if order.id not in self.handed:
            self._waiting[order.id] = (order, task)
        if approved.after:
            # Noted before the task begins: the ends may be told in this very step.
            self._behind[order.id] = (set(approved.after), asyncio.Event())

    def look(self) -> None:
        """End what waits and may not leave any more, as after a halt (K2)."""
        waiting = [order for order, _ in self._waiting.values()]
        for order in [*waiting, *(approved.order for approved in self._due)]:
            try:
                self._post(Release(order_id=order.id, leaves=False, ts=self._now()))
            except Refused as refused:
                self._post(self._withheld(order, refused.code, refused.message))

    def drop(self, order_id: str) -> None:
        """Let go of a placement that has ended while it waited; one that has left stays."""
        _, task = self._waiting.pop(order_id, (None, None))
        if task is not None:
            task.cancel()
            self._behind.pop(order_id, None)
            self._tally.withhold(order_id)
        for approved in [due for due in self._due if due.order.id == order_id]:
            self._due.remove(approved)
            self._tally.withhold(order_id)

    def over(self, order_id: str) -> None:
        """Let those go on who waited for the end of this order; it is on disk."""
        for rest, freed in self._behind.values():
            rest.discard(order_id)
            if not rest:
                freed.set()

    def amend(self, approved: ApprovedAmend) -> None:
        """Send one amend whose intent is on disk."""
        self._crew.spawn(self._amend(approved), f"amend {approved.order.id}")

    def cancel(self, order: Order) -> None:
        """Send one cancel; it waits for nothing but its turn."""
        self._crew.spawn(self._cancel(order), f"cancel {order.id}")

    async def _submit_due(self, *, behind: bool) -> None:
        """Place what is due, each order for itself; one after whose answer the venue is not prompt any more gets a task."""
        if behind:
            await asyncio.sleep(0)
        self._going = False
        due = self._due
        while due:
            approved = due.popleft()
            if not self._at_once(approved):
                self._start(approved)

    def _at_once(self, approved: Approved) -> bool:
        """Place an order in this very step, where the venue is prompt now and a turn is free."""
        prompt = self._prompt
        if prompt is None or not prompt.prompt or not self._lanes.take(lane_of(approved.order)):
            return False
        self._submit_now(approved, prompt)
        return True

    def _submit_now(self, approved: Approved, prompt: Prompt) -> None:
        """Place an order in a turn that is taken: nothing waits, and what the venue tells and its answer are one."""
        order, called = approved.order, False
        told: Sequence[Told] = ()
        fact: Fact
        try:
            called = self._through(approved, leaves=True)
            if not called:
                return
            events, ack = prompt.submit_now(approved)
        except (Refused, VenueRejected, VenueUnknown) as failure:
            fact = self._failed(order, failure)
        else:
            self._tally.answers += 1
            answer = Accepted(order_id=order.id, ack=ack, ts=self._now())
            told = [*events, answer]
        finally:
            self._lanes.leave()
            self._waiting.pop(order.id, None)
            if called:
                self.handed.discard(order.id)
            else:
                self._tally.withhold(order.id)
        if told:
            self._take(told)
        else:
            self._post(fact)

    async def _submit(self, approved: Approved) -> None:
        order, called = approved.order, False
        fact: Fact
        try:
            if order.id in self._behind:
                await self._freed(order.id)
            if self._at_once(approved):
                return
            async with asyncio.timeout(self._timeout_s) as deadline:
                async with self._lanes.turn(lane_of(order)) as waited:
                    called = self._through(approved, leaves=not self._guarded)
                    if not called:
                        return
                    if waited:
                        deadline.reschedule(self._loop.time() + self._timeout_s)
                    ack = await self._venue.submit(approved)
        except (Refused, VenueRejected, VenueUnknown, TimeoutError) as failure:
            fact = self._failed(order, failure)
        except asyncio.CancelledError:
            self._waiting.pop(order.id, None)
            self._post(self._no_answer(order, "the server stopped"))
            raise
        else:
            self._tally.answers += 1
            fact = Accepted(order_id=order.id, ack=ack, ts=self._now())
        finally:
            self._waiting.pop(order.id, None)
            if called:
                self.handed.discard(order.id)
            self._tally.withhold(order.id)
        self._post(fact)

    def _failed(self, order: Order, failure: Failure | TimeoutError) -> Fact:
        """Say what became of a placement that has no answer, or not the one that was hoped for."""
        if isinstance(failure, Refused):
            return self._withheld(order, failure.code, failure.message)
        if isinstance(failure, VenueRejected):
            self._tally.answers += 1
            return Rejected(
                order_id=order.id,
                code=failure.code,
                reason=failure.message,
                retry_after=failure.retry_after,
                ts=self._now(),
            )
        return self._no_answer(order, "its turn did not come in time")

    def _through(self, approved: Approved, *, leaves: bool) -> bool:
        """Look at the door and use up the intent; False when there was none left, and then nothing may be called."""
        order, waited = approved.order, bool(approved.after)
        self._post(Release(order_id=order.id, leaves=leaves, waited=waited, ts=self._now()))
        if not self._tally.call(order.id):
            self._runaway(order)
            return False
        if leaves:
            self._hand(order)
        return True

    async def _freed(self, order_id: str) -> None:
        """Wait for the end of orders that hold what an exit needs; not for ever, since a cancel may be unanswered."""
        _, freed = self._behind[order_id]
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(FREED_WITHIN_S):
                    await freed.wait()
        finally:
            self._behind.pop(order_id, None)

    def _leave(self, approved: Approved | ApprovedAmend) -> None:
        """Look at the door again: an exchange's own limits let an order wait behind it.

        Raises:
            Refused: It may not leave any more.
        """
        if isinstance(approved, ApprovedAmend):
            self._post(ReleaseAmend(approved=approved, ts=self._now()))
        else:
            waited = bool(approved.after)
            self._post(Release(order_id=approved.order.id, waited=waited, ts=self._now()))
            self._hand(approved.order)

    def _hand(self, order: Order) -> None:
        self._waiting.pop(order.id, None)
        self.handed.add(order.id)

    def _no_answer(self, order: Order, why: str) -> Fact:
        """Once it has left nobody knows; before, nothing was sent."""
        if order.id in self.handed:
            return Unknown(order_id=order.id, command=self._command(), ts=self._now())
        return self._withheld(order, Code.BUSY, f"{why}; it was not sent")

    def _withheld(self, order: Order, code: Code, reason: str) -> Withheld:
        status = Status.EXPIRED if code is Code.EXPIRED else Status.REJECTED
        return Withheld(order_id=order.id, status=status, code=code, reason=reason, ts=self._now())

    async def _amend(self, approved: ApprovedAmend) -> None:
        order, released = approved.order, False
        fact: Fact
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                async with self._lanes.turn(lane_of(order)) as waited:
                    self._post(ReleaseAmend(approved=approved, ts=self._now()))
                    released = True
                    if waited:
                        deadline.reschedule(self._loop.time() + self._timeout_s)
                    ack = await self._venue.amend(approved)
        except (Refused, VenueRejected) as refused:
            fact = self._amend_refused(order, refused, sent=released)
        except (VenueUnknown, TimeoutError):
            fact = self._amend_unanswered(order, "its turn did not come in time", released=released)
        except asyncio.CancelledError:
            self._post(self._amend_unanswered(order, "the server stopped", released=released))
            raise
        else:
            fact = AmendDone(
                order_id=order.id,
                amount=approved.amount,
                price=approved.price,
                stop_price=approved.stop_price,
                method=ack.method,
                exchange_order_id=_replaced(order, ack),
                ts=self._now(),
            )
        self._post(fact)

    def _amend_unanswered(self, order: Order, why: str, *, released: bool) -> AmendFailed:
        """Once released nobody knows; before, nothing was sent."""
        if not released:
            busy = Refused(Code.BUSY, f"{why}; it was not sent")
            return self._amend_refused(order, busy, sent=False)
        return AmendFailed(
            order_id=order.id,
            unknown=True,
            command=self._command(),
            reason="no answer",
            ts=self._now(),
        )

    def _amend_refused(self, order: Order, refused: Failure, *, sent: bool) -> AmendFailed:
        return AmendFailed(
            order_id=order.id,
            unknown=False,
            command=None,
            reason=refused.message,
            code=refused.code,
            sent=sent,
            retry_after=refused.retry_after,
            ts=self._now(),
        )

    async def _cancel(self, order: Order) -> None:
        try:
            async with self._lanes.turn(Lane.CANCEL):
                async with asyncio.timeout(self._timeout_s):
                    ack = await self._venue.cancel(order)
        except (Refused, VenueRejected) as refused:
            self._post(
                CancelFailed(
                    order_id=order.id,
                    unknown=False,
                    command=None,
                    reason=refused.message,
                    code=refused.code,
                    retry_after=refused.retry_after,
                    ts=self._now(),
                )
            )
        except (VenueUnknown, TimeoutError):
            self._post(self._cancel_unanswered(order, "no answer"))
        except asyncio.CancelledError:
            self._post(self._cancel_unanswered(order, "stopped"))
            raise
        else:
            self._canceled(order, ack)

    def _cancel_unanswered(self, order: Order, reason: str) -> CancelFailed:
        return CancelFailed(
            order_id=order.id,
            unknown=True,
            command=self._command(),
            reason=reason,
            ts=self._now(),
        )
