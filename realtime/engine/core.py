"""What applying facts has in common: an order's change and what it settles, legs, cancels.

`Core` is the one writer of `State`. The facts themselves are taken by `acts.py` (our own calls and their
answers), `evidence.py` (rows of the venue), `fills.py` and `money.py`; `apply.py` knows them all.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from decimal import Decimal

from realtime.engine.evolve import alter_order
from realtime.engine.legs import Drop, Follow, Legs, Step
from realtime.engine.state import ALL, State
from realtime.model.events import (
    Alert,
    CancelAsked,
    CancelAtVenue,
    Effect,
    Fact,
    Note,
    OrderChanged,
    StateSet,
    Withheld,
)
from realtime.model.orders import (
    Asked,
    Order,
    Status,
)
from realtime.model.risk import Halt, TradingState


Out = list[Effect]

NO_AMEND: dict[str, object] = {
    "amend_state": Asked.NONE,
    "amend_amount": None,
    "amend_price": None,
    "amend_stop_price": None,
}
"""No amend is under way."""

IDLE: dict[str, object] = NO_AMEND | {"cancel_state": Asked.NONE}
"""Nothing is under way."""


class Core(ABC):
    """What all facts share: change an order, settle what was asked, fit the legs.

    Attributes:
        legs: Attached stops and targets.
        watched: Symbols whose price matters: positions, and legs we watch ourselves.
        warned: Protections whose `warn_at` was told; of this process.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.legs = Legs()
        self.watched: set[str] = set()
        # Protections are judged at most every quarter of a second.
        self.warned: set[str] = set()
        self.checked_ts = 0
        self.opening: set[str] = set()

    @abstractmethod
    def apply(self, fact: Fact, out: Out) -> None:
        """Take one fact."""

    def change(
        self, old: Order, out: Out, *, ts: int, evidence: str = "found", **changes: object
    ) -> Order:
        """Change an order, publish it, and tell what it settles."""
        return self.alter(old, changes, out, ts=ts, evidence=evidence)

    def alter(
        self,
        old: Order,
        changes: Mapping[str, object],
        out: Out,
        *,
        ts: int,
        evidence: str = "found",
    ) -> Order:
        """Change an order by name, publish it, and tell what it settles."""
        status = changes.get("status", old.status)
        assert isinstance(status, Status)
        if status.ended and not old.status.ended:
            # Nothing is under way on an order that is over.
            changes = {**IDLE, **changes}
        stamps = {"updated_ts": max(ts, old.updated_ts), "version": old.version + 1}
        new = alter_order(old, {**changes, **stamps})
        self.turn(old, new, out, evidence)
        return new

    def turn(
        self, old: Order, new: Order, out: Out, evidence: str, booked: Decimal | None = None
    ) -> None:
        """Let an order be what it has become, publish it, and tell what it settles.

        Args:
            old: As it was.
            new: As it is, one version later.
            out: Takes the effects.
            evidence: What says so.
            booked: The new sum of its fills, where that changes.
        """
        state, orders, order_id, ended = self.state, self.state.orders, new.id, new.status.ended
        orders.replace(old, new, booked)
        out.append(OrderChanged(new))
        if order_id in orders.owed:
            self.settle(old, new, evidence, out)
        if ended or new.exchange_order_id is not None:
            state.reservations.tell(order_id)
        if ended:
            state.released.discard(order_id)
            state.privileged.discard(order_id)
            if not new.filled and new.status is not Status.FILLED:
                state.reservations.release(order_id)
            if new.role.protective and not old.status.ended:
                self.legs.on_end(new, asked=old.cancel_state is not Asked.NONE, ts=new.updated_ts)

    def settle(self, old: Order, new: Order, evidence: str, out: Out) -> None:
        """Tell everybody who was answered `outcome_unknown` what came of it, exactly once (8.5)."""
        settled = {
            op
            for op, before, after in (
                ("order.place", old.status is Status.UNKNOWN, new.status is Status.UNKNOWN),
                (
                    "order.cancel",
                    old.cancel_state is Asked.UNKNOWN,
                    new.cancel_state is Asked.UNKNOWN,
                ),
                (
                    "order.amend",
                    old.amend_state is Asked.UNKNOWN,
                    new.amend_state is Asked.UNKNOWN,
                ),
            )
            if before and not after
        }
        self.tell(new, settled, evidence, out)

    def tell(self, order: Order, ops: set[str], evidence: str, out: Out) -> None:
        """Write down what came of unanswered calls: one entry for each command."""
        owed = self.state.orders.owed.get(order.id, [])
        rest = [(command, op) for command, op in owed if op not in ops]
        for command, op in owed:
            if op in ops:
                data = {
                    "command": command,
                    "op": op,
                    "order_id": order.id,
                    "client_order_id": order.client_order_id,
                    "status": order.status.value,
                    "evidence": evidence,
                }
                out.append(Note("order_resolved", data))
        if rest:
            self.state.orders.owed[order.id] = rest
        else:
            self.state.orders.owed.pop(order.id, None)

    def owe(self, order: Order, command: str, op: str) -> None:
        """Remember that a client was told `outcome_unknown`, and for which command."""
        self.state.orders.owed.setdefault(order.id, []).append((command, op))

    def illegal(self, order: Order, to: Status, word: str, out: Out) -> None:
        """A pair that is not in the table: unchanged, and somebody has to look."""
        out.append(
            Alert(
                "critical",
                "transition",
                f"order {order.client_order_id} is {order.status}; {word} would make it {to}",
                {"order_id": order.id, "from": order.status.value, "to": to.value, "by": word},
            )
        )

    def reduce(self, rule: str, reason: str, ts: int, out: Out) -> None:
        """Let only exits pass from now on, unless it is so already."""
        if ALL in self.state.halts:
            return
        halt = Halt(scope=ALL, state=TradingState.REDUCING, reason=reason, by=rule, ts=ts)
        self.apply(StateSet(halt=halt), out)

    def order(self, order_id: str) -> Order:
        """The order as it is now; it must exist."""
        order = self.state.orders.get(order_id)
        assert order is not None, order_id
        return order

    def forget(self, ts: int) -> None:
        """Let go of orders that ended long ago.

        Part of taking a fact that is journaled, and judged by what facts have made alone, so that a replay forgets
        the same ones at the same places.
        """
        for root, legs in self.state.orders.forget(ts, self._may_go):
            self.legs.forget(root, legs)
            for order in (root, *legs):
                # The venue's balances, which a replay has not heard, have ended it in a process.
                self.state.reservations.release(order.id)

    def _may_go(self, root: Order, _legs: Iterable[Order]) -> bool:
        return not self.legs.protects(root)

    def gap(self, order: Order, ts: int) -> None:
        """Remember that a row shows more than our fills do, or that it does not any more."""
        gaps = self.state.orders.gaps
        if order.filled > self.state.orders.booked(order.id):
            gaps.setdefault(order.id, ts)
        else:
            gaps.pop(order.id, None)

    def plan(self, symbol: str, ts: int, out: Out) -> None:
        """Do what makes the legs of a symbol fit.

        Not before the process has been ready once: a replay must not act, and what the venue has is
        read before anything is decided (B7). `Ready` then plans everything.
        """
        if self.state.ever_ready and self.legs.concerns(self.state, symbol):
            self.carry(self.legs.plan(self.state, symbol, ts), ts, out)

    def carry(self, steps: Iterable[Step], ts: int, out: Out) -> None:
        """Turn what the legs ask for into effects; cancels happen here and now."""
        # All are worked out before one is carried out: a cancel plans the same symbol again.
        for wish in list(steps):
            if isinstance(wish, Drop):
                self.cancel(wish.order, "engine", ts, out)
            elif isinstance(wish, Follow):
                self.apply(wish.fact, out)
            else:
                out.append(wish)

    def cancel(self, order: Order, by: str, ts: int, out: Out, reason: str | None = None) -> None:
        """Cancel an order that works: here if it has not left, else at the venue."""
        if order.status is Status.PENDING and order.id not in self.state.released:
            fact = Withheld(
                order_id=order.id,
                status=Status.CANCELED,
                code=None,
                reason=reason or "canceled before it was sent",
                by=by,
                ts=ts,
            )
            self.apply(fact, out)
            return
        self.apply(CancelAsked(order_id=order.id, by=by, reason=reason, ts=ts), out)
        out.append(CancelAtVenue(self.order(order.id)))
