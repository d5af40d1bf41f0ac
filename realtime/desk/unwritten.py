"""What is not on disk: rows that wait for a journal that cannot be written, and rows that found no room in it.

Rules of this file: (1) whoever waits for such a row is answered at once, and told that it is not on disk; (2) nothing leaves
without its row: what may not leave with it any more ends here; (3) what found no room is made up for once all that waits
is on disk. The desk says what became of a row; what follows from that goes back to it, as events and as rows to be shown.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from realtime.desk.answers import Answers, Asked, Outcomes
from realtime.engine.engine import Engine
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    AmendFailed,
    Ask,
    BalanceChanged,
    Effect,
    Event,
    OrderChanged,
    PositionChanged,
    Record,
    Release,
    ReleaseAmend,
    RiskChanged,
    StateSet,
    Submit,
    SubmitAmend,
    Withheld,
)
from realtime.model.orders import ApprovedAmend, Order, Status
from realtime.model.risk import TradingState


UNSENT: Final = "the journal cannot be written; the amend was not sent"


class Unwritten:
    """Rows of one desk that are not on disk.

    Attributes:
        standing: What stands on the commit of each row that waits, oldest first.
        torn: Whether rows have found no room, and are not made up for.
        hole: How many rows there were then; -1 without any that is missing.
        void: Amends that will not leave with their rows.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        answers: Answers,
        post: Callable[[Event], object],
        publish: Callable[[Sequence[Effect]], None],
        now: Callable[[], int],
    ) -> None:
        """Make it.

        Args:
            engine: Says what orders, positions and balances have come to.
            answers: Tells whoever waits.
            post: Takes what ends a wish that will not leave, and a state of trading that is to be written again.
            publish: Shows what no commit does.
            now: Wall clock [ns].
        """
        self._engine = engine
        self._answers = answers
        self._post = post
        self._publish = publish
        self._now = now
        self.standing: deque[tuple[int, Outcomes, Sequence[Effect]]] = deque()
        self.torn = False
        self.hole = -1
        self.void: list[ApprovedAmend] = []
        # Orders whose last change has found no room; and by scope, the last state of trading that has found none.
        self._orders: dict[str, Order] = {}
        self._states: dict[str, StateSet] = {}

    # -- rows without room -------------------------------------------------------------------------

    def last_row(self, seq: int) -> int | None:
        """Give the row with which all that was posted is on disk, the newest of which is `seq`, see `Desk.last_row`."""
        return None if seq == self.hole or self._states else seq

    def no_room(self, seq: int) -> None:
        """Note that a row has found no room behind this one."""
        self.hole, self.torn = seq, True

    def lose(self, shown: Iterable[Effect], seq: int) -> None:
        """Note what would have been shown with a row that has found no room: it is shown later."""
        self.no_room(seq)
        for effect in shown:
            if type(effect) is OrderChanged:
                self._orders[effect.order.id] = effect.order
            elif type(effect) is Record and type(effect.fact) is StateSet:
                self._states[effect.fact.halt.scope] = effect.fact
            elif type(effect) is Ask:
                self._publish([effect])

    def keeps(self, shown: Iterable[Effect], refused: Refused) -> bool:
        """Undo what would leave with the commit of a row that found no room; True when something would have."""
        for effect in shown:
            if type(effect) is Submit or type(effect) is SubmitAmend:
                self._not_sent(effect, refused)
                return True
        return False

    def outdone(self, shown: Iterable[Effect]) -> None:
        """Forget what was lost of an order of which a later row has found room: its commit shows the order."""
        for effect in shown:
            if type(effect) is OrderChanged:
                self._orders.pop(effect.order.id, None)

    def mend(self) -> None:
        """Make up, once all that waits is on disk, for what found no room.

        It would else be shown with its next change, and no venue tells a restart what trading was set to. Fills are not shown:
        their log counts those that the journal has.
        """
        self.torn, self.hole = False, -1
        engine, (lost, self._orders) = self._engine, (self._orders, {})
        states, self._states = self._states, {}
        for scope, fact in states.items():
            stopped = fact.halt.state is not TradingState.ACTIVE
            if engine.halts.get(scope) is (fact.halt if stopped else None):
                self._post(fact)
        self._publish(
            [
                *(OrderChanged(engine.orders.get(name) or order) for name, order in lost.items()),
                *map(PositionChanged, engine.positions.values()),
                *map(BalanceChanged, engine.balances.values()),
                RiskChanged(),
            ]
        )

    # -- rows that cannot be written ---------------------------------------------------------------

    def answer(self, outcomes: Outcomes, shown: Iterable[Effect]) -> None:
        """Answer by what is not on disk: the safety lane does not wait for a journal that cannot be written."""
        for fact, order in outcomes:
            self._answers.settle(fact, order, journaled=False)
        for effect in shown:
            if isinstance(effect, OrderChanged) and effect.order.status.ended:
                self._answers.ended(effect.order, journaled=False)

    def answer_standing(self) -> None:
        """Answer whoever waits for rows that cannot be written, and end what may not leave with them any more (K2)."""
        for _, outcomes, shown in list(self.standing):
            self.answer(outcomes, shown)
            for effect in shown:
                if type(effect) is Submit:
                    self._hold(effect, shown)
                elif type(effect) is SubmitAmend:
                    self._hold_amend(effect)

    def _hold(self, effect: Submit, shown: Iterable[Effect]) -> None:
        """Answer a placement that leaves once it is written down, as an exit does; all others end."""
        order_id = effect.approved.order.id
        try:
            self._post(Release(order_id=order_id, leaves=False, ts=self._now()))
        except Refused as refused:
            self._not_sent(effect, refused)
            return
        order = self._engine.orders.get(order_id)
        assert order is not None
        fact = next(one.fact for one in shown if type(one) is Record)
        self._answers.answer(Asked.PLACE, fact, order, journaled=False)

    def _hold_amend(self, effect: SubmitAmend) -> None:
        """End an amend that somebody waits for, or that may not leave any more; the engine's own leaves once it is written."""
        approved = effect.approved
        try:
            self._post(ReleaseAmend(approved=approved, ts=self._now()))
        except Refused as why:
            refused = why
        else:
            if not self._answers.pending(approved.order.id, Asked.AMEND):
                return
            # A stop that moves hours later, once there is room, is not what was asked.
            refused = Refused(Code.BUSY, UNSENT)
        self.void.append(approved)
        self._not_sent(effect, refused)

    def leaves(self, approved: ApprovedAmend) -> bool:
        """Whether an amend whose row is on disk goes out with it; asked once."""
        if not self.void:
            return True
        void = [one for one in self.void if one is not approved]
        left = len(void) == len(self.void)
        self.void = void
        return left

    def _not_sent(self, effect: Submit | SubmitAmend, refused: Refused) -> None:
        """End a placement or an amend that has not left, and never will."""
        order_id, code, reason = effect.approved.order.id, refused.code, refused.message
        if type(effect) is Submit:
            status = Status.EXPIRED if code is Code.EXPIRED else Status.REJECTED
            self._post(
                Withheld(order_id=order_id, status=status, code=code, reason=reason, ts=self._now())
            )
            return
        self._post(
            AmendFailed(
                order_id=order_id,
                unknown=False,
                command=None,
                reason=reason,
                code=code,
                sent=False,
                ts=self._now(),
            )
        )
