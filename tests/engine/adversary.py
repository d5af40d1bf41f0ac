"""A venue that loses answers, shows orders late and fills behind our back, and a desk around the engine.

The desk follows the rules (journal before the call, absence only by proof) unless a fault is planted:
`timeout_is_rejected`, `not_found_is_gone`, `no_deduplication`, `no_write_ahead`.
"""

from dataclasses import dataclass
from decimal import Decimal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Absent,
    Accepted,
    Ack,
    Cancel,
    CancelAtVenue,
    CancelFailed,
    Filled,
    OrderSeen,
    Place,
    Ready,
    Rejected,
    Release,
    SetState,
    Submit,
    Unknown,
    Withheld,
)
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import Asked, Order, Status
from realtime.model.risk import TradingState
from tests.engine.kit import ADMIN, BTC, OFF, WHO, D, Kit


VISIBLE_AFTER = 50 * SECOND
CLIENT_IDS = 4


@dataclass
class VenueOrder:
    """An order as the venue has it."""

    order: Order
    exchange_order_id: str
    visible_ts: int
    status: Status = Status.OPEN
    filled: Decimal = ZERO
    asof: int = 0


class Venue:
    """Knows every order it ever took; deduplicates by client id unless told not to."""

    def __init__(self, *, deduplicates: bool) -> None:
        self.deduplicates = deduplicates
        self.orders: list[VenueOrder] = []
        self.fills: list[Filled] = []

    def take(self, order: Order, ts: int, visible_ts: int) -> VenueOrder:
        for known in self.orders:
            if self.deduplicates and known.order.venue_client_id == order.venue_client_id:
                return known
        made = VenueOrder(order, f"v{len(self.orders)}", visible_ts, asof=ts)
        self.orders.append(made)
        return made

    def live(self) -> list[VenueOrder]:
        return [known for known in self.orders if known.status is Status.OPEN]


class Trader(RuleBasedStateMachine):
    """Clients, desk and venue; what must hold stands in the invariants."""

    fault = ""

    def __init__(self) -> None:
        super().__init__()
        self.kit = Kit(OFF).open(USDT="100000000", BTC="100")
        self.venue = Venue(deduplicates=self.fault != "no_deduplication")
        self.queue: list[str] = []
        self.undelivered: list[Filled] = []
        self.missing: dict[str, list[int]] = {}
        self.unknown_since: dict[str, int] = {}

    @initialize()
    def start(self) -> None:
        self.kit.ts += SECOND

    # -- what may happen -----------------------------------------------------------------------

    @rule(number=st.integers(0, CLIENT_IDS - 1))
    def place(self, number: int) -> None:
        """Place, or send the same again."""
        kit = self.kit
        kit.prices()
        coid = f"client-{number}"
        if self.fault == "no_deduplication":
            kit.engine.orders._by_client_id.pop(coid, None)
            kit.engine.orders._by_venue_client_id.clear()
        draft = kit.draft(
            BTC, "buy" if number % 2 else "sell", "0.01", price="64000", client_order_id=coid
        )
        try:
            effects = kit.post(Place(order=draft, who=WHO, ts=kit.ts, content={"n": str(number)}))
        except Refused as refused:
            if refused.code is not Code.HALTED:
                raise
            return
        if any(isinstance(effect, Submit) for effect in effects):
            self.queue.append(draft.id)

    @rule(mode=st.sampled_from(["ok", "refuse", "lost_before", "lost_after", "late", "crash"]))
    def call(self, mode: str) -> None:
        """One venue call, with one of the ways it can end."""
        if not self.queue:
            return
        kit, order_id = self.kit, self.queue.pop(0)
        try:
            kit.post(Release(order_id=order_id, ts=kit.ts))
        except Refused as refused:
            kit.post(
                Withheld(
                    order_id=order_id,
                    status=Status.REJECTED,
                    code=refused.code,
                    reason="",
                    ts=kit.ts,
                )
            )
            return
        order = kit.order(order_id)
        # K1: after a halt nothing that enters is handed over.
        assert kit.engine.state() is TradingState.ACTIVE or order.protective
        if mode == "refuse":
            kit.post(Rejected(order_id=order_id, code=Code.VENUE_REJECTED, reason="", ts=kit.ts))
        elif mode == "lost_before":
            self.time_out(order)
        elif mode == "lost_after":
            self.venue.take(order, kit.ts, kit.ts)
            self.time_out(order)
        elif mode == "late":
            self.venue.take(order, kit.ts, kit.ts + VISIBLE_AFTER)
            self.time_out(order)
        elif mode == "crash":
            self.venue.take(order, kit.ts, kit.ts)
            self.crash()
        else:
            taken = self.venue.take(order, kit.ts, kit.ts)
            ack = Ack(exchange_order_id=taken.exchange_order_id, status=Status.OPEN, ts=kit.ts)
            kit.post(Accepted(order_id=order_id, ack=ack, ts=kit.ts))

    @rule(
        number=st.integers(0, CLIENT_IDS - 1),
        mode=st.sampled_from(["ok", "refuse", "lost_before", "lost_after", "late", "crash"]),
    )
    def place_and_call(self, number: int, mode: str) -> None:
        self.place(number)
        self.call(mode)

    def time_out(self, order: Order) -> None:
        kit = self.kit
        if self.fault == "timeout_is_rejected":
            kit.post(Rejected(order_id=order.id, code=Code.VENUE_UNAVAILABLE, reason="", ts=kit.ts))
        else:
            kit.post(Unknown(order_id=order.id, command=f"m-{order.id}", ts=kit.ts))
            self.unknown_since[order.id] = kit.ts

    @rule()
    def crash(self) -> None:
        """The process dies and comes back from its journal."""
        kit = self.kit
        if self.fault == "no_write_ahead":
            kit.journal = [
                fact
                for fact in kit.journal
                if not (type(fact).__name__ == "Placed" and self.pending(fact.order.id))  # type: ignore[union-attr]
            ]
        halts = dict(kit.engine.halts)
        before = kit.engine.digest()
        kit.engine = kit.replayed()
        if not self.fault:
            assert kit.engine.digest() == before
        # K6: what was halted is halted.
        assert kit.engine.halts == halts
        self.queue.clear()
        for fact in kit.engine.unfinished(kit.ts):
            kit.post(fact)
            if isinstance(fact, Unknown):
                self.unknown_since[fact.order_id] = kit.ts
        # A new process reconciles before it is ready.
        self.reconcile()
        kit.balance("USDT", str(100_000_000 - self.bought() * 64000))
        kit.balance("BTC", str(100 + self.bought()))
        kit.prices()
        kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    def bought(self) -> Decimal:
        """What all fills of the venue come to [BTC]."""
        return sum(
            (fill.amount if fill.side == "buy" else -fill.amount for fill in self.venue.fills), D(0)
        )

    def pending(self, order_id: str) -> bool:
        order = self.kit.engine.orders.get(order_id)
        return order is not None and order.status is Status.PENDING

    @rule(index=st.integers(0, 9), whole=st.booleans(), told=st.booleans())
    def trade(self, *, index: int, whole: bool, told: bool) -> None:
        """The venue fills an order; we hear of it now or at the next reconciliation."""
        live = self.venue.live()
        if not live:
            return
        taken = live[index % len(live)]
        amount = taken.order.amount - taken.filled
        if not whole:
            amount = min(amount, D("0.004"))
        taken.filled += amount
        taken.asof = self.kit.ts
        if taken.filled == taken.order.amount:
            taken.status = Status.FILLED
        fill = Filled(
            venue="paper",
            symbol=BTC,
            trade_id=f"t{len(self.venue.fills)}",
            exchange_order_id=taken.exchange_order_id,
            venue_client_id=taken.order.venue_client_id,
            side=taken.order.side,
            amount=amount,
            price=D(64000),
            fee=D(0),
            fee_currency="USDT",
            maker=True,
            ts=self.kit.ts,
        )
        self.venue.fills.append(fill)
        if told:
            self.kit.post(fill)
        else:
            self.undelivered.append(fill)

    @rule(number=st.integers(0, CLIENT_IDS - 1), mode=st.sampled_from(["ok", "lost", "lost_after"]))
    def cancel(self, number: int, mode: str) -> None:
        kit = self.kit
        order = kit.engine.orders.by_client_id(f"client-{number}")
        if order is None:
            return
        effects = kit.post(Cancel(order_id=order.id, who=WHO, ts=kit.ts))
        if not any(isinstance(effect, CancelAtVenue) for effect in effects):
            return
        taken = next(
            (
                known
                for known in self.venue.orders
                if known.order.venue_client_id == order.venue_client_id
            ),
            None,
        )
        if taken is not None and taken.status is Status.OPEN and mode != "lost":
            taken.status, taken.asof = Status.CANCELED, kit.ts
        if mode == "ok" and taken is not None:
            self.show(taken, "stream")
        else:
            kit.post(
                CancelFailed(order_id=order.id, unknown=True, command="m-c", reason="", ts=kit.ts)
            )

    @rule(resume=st.booleans())
    def kill_switch(self, *, resume: bool) -> None:
        state = TradingState.ACTIVE if resume else TradingState.HALTED
        self.kit.post(
            SetState(scope="all", state=state, reason="x", force=True, who=ADMIN, ts=self.kit.ts)
        )

    @rule(seconds=st.sampled_from([1, 5, 30, 61]))
    def wait(self, seconds: int) -> None:
        self.kit.tick(seconds)
        self.kit.prices()

    @rule()
    def reconcile(self) -> None:
        """Read what the venue shows now; look unknown orders up by their client id."""
        kit = self.kit
        for fill in self.undelivered:
            kit.post(fill)
        self.undelivered.clear()
        for taken in self.venue.orders:
            if taken.visible_ts <= kit.ts:
                self.show(taken, "found")
        for order in kit.engine.orders.unknown():
            shown = any(
                taken.order.venue_client_id == order.venue_client_id and taken.visible_ts <= kit.ts
                for taken in self.venue.orders
            )
            if not shown:
                self.not_found(order)

    def not_found(self, order: Order) -> None:
        """Absence is proven by two looks, 5 s and 60 s after the call (A1 to A6)."""
        kit = self.kit
        since = self.unknown_since[order.id]
        looks = self.missing.setdefault(order.id, [])
        looks.append(kit.ts)
        proven = (
            any(ts - since >= 5 * SECOND for ts in looks[:-1]) and kit.ts - since >= 60 * SECOND
        )
        if proven or self.fault == "not_found_is_gone":
            kit.post(Absent(order_id=order.id, ts=kit.ts))

    def show(self, taken: VenueOrder, evidence: str) -> None:
        order = taken.order
        self.kit.post(
            OrderSeen(
                venue="paper",
                symbol=order.symbol,
                exchange_order_id=taken.exchange_order_id,
                venue_client_id=order.venue_client_id,
                side=order.side,
                type=order.type,
                status=taken.status,
                amount=order.amount,
                price=order.price,
                stop_price=None,
                filled=taken.filled,
                cost=taken.filled * 64000,
                reduce_only=False,
                asof=taken.asof,
                evidence=evidence,
                ts=self.kit.ts,
            )
        )

    # -- what must hold ------------------------------------------------------------------------

    @invariant()
    def one_venue_order_per_client_id(self) -> None:
        ids = [taken.order.venue_client_id for taken in self.venue.orders]
        assert len(ids) == len(set(ids)), "an order was placed twice"

    @invariant()
    def no_live_order_is_believed_dead(self) -> None:
        for taken in self.venue.live():
            order = self.kit.engine.orders.by_client_id(taken.order.client_order_id)
            assert order is not None, "a live order is not known"
            assert not order.status.ended, "a live order is believed dead"

    def teardown(self) -> None:
        """At rest everything the venue has is tracked, fill by fill."""
        for _ in range(3):
            self.wait(61)
            self.reconcile()
        for taken in self.venue.orders:
            order = self.kit.engine.orders.by_client_id(taken.order.client_order_id)
            assert order is not None, "a live order is not known"
            if not order.external:
                there = (taken.status, taken.filled)
                assert (order.status, order.filled) == there, "it is not what the venue has"
                assert order.cancel_state is not Asked.REQUESTED or order.status is Status.OPEN
        assert not self.kit.engine.orders.unknown()
        assert self.kit.engine._state.account.books["BTC"] == 100 + self.bought()
        assert self.fault or self.kit.replayed().digest() == self.kit.engine.digest()
