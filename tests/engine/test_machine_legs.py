"""H5: legs under partial fills, races, refusals, unknowns and restarts."""

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from realtime.model.errors import Code, Refused
from realtime.model.events import Alert, AmendDone, Gap, Ready, Rejected, Unknown
from realtime.model.market import SECOND, ZERO, Bar
from realtime.model.orders import Asked, Order, OrderType, Role, Side, Status, Trigger, TriggerBy
from tests.engine.kit import PERP, D
from tests.engine.test_legs import LegKit


MINUTE = 60 * SECOND


class Brackets(RuleBasedStateMachine):
    """Parents of both sides in one contract, other orders beside them, and a venue with moods."""

    def __init__(self) -> None:
        super().__init__()
        self.kit = LegKit()
        # More than it can spend: a refusal for want of money would end it.
        self.kit.open(USDT="100000000")
        self.kit.tolerant = True

    def legs(self, role: Role | None = None) -> list[Order]:
        return [
            order
            for order in self.kit.engine.orders.working()
            if order.protective and role in {None, order.role}
        ]

    def parents(self) -> list[Order]:
        return [order for order in self.kit.engine.orders.all() if order.stop_loss is not None]

    @rule(side=st.sampled_from(["buy", "sell"]), amount=st.integers(2, 10), now=st.booleans())
    def open(self, *, side: str, amount: int, now: bool) -> None:
        self.kit.prices()
        prices = (60000, 70000) if side == "buy" else (70000, 60000)
        order = self.kit.opened(
            PERP,
            side,
            str(amount),
            price="64000",
            stop_loss=Trigger(price=D(prices[0])),
            take_profit=Trigger(price=D(prices[1])),
        )
        if now:
            self.kit.fill(order, str(amount))

    @rule(index=st.integers(0, 20), amount=st.integers(1, 5))
    def fill_parent(self, index: int, amount: int) -> None:
        parents = [order for order in self.parents() if not order.status.ended]
        if parents:
            order = parents[index % len(parents)]
            self.kit.fill(order, str(min(D(amount), order.remaining)))

    @rule(index=st.integers(0, 20), amount=st.integers(1, 10))
    def fill_leg(self, index: int, amount: int) -> None:
        legs = [leg for leg in self.legs() if leg.remaining > 0]
        if legs:
            leg = legs[index % len(legs)]
            held = abs(self.kit.engine._state.account.amount(PERP))
            part = min(D(amount), leg.remaining, held)
            if part:
                self.kit.fill(leg, str(part), str(leg.price or leg.stop_price or 64000))

    @rule(amount=st.integers(1, 10))
    def close_by_hand(self, amount: int) -> None:
        self.kit.prices()
        held = self.kit.engine._state.account.amount(PERP)
        side = "sell" if held > 0 else "buy"
        try:
            order = self.kit.opened(PERP, side, str(amount), reduce_only=True)
        except Refused:
            return
        self.kit.fill(order, str(amount))

    @rule(index=st.integers(0, 20))
    def venue_ends_a_leg(self, index: int) -> None:
        legs = self.legs()
        if legs:
            leg = legs[index % len(legs)]
            self.kit.ts += 1
            self.kit.seen(leg, Status.CANCELED, str(leg.filled))

    @rule(mood=st.sampled_from(["refuse", "silent"]), amount=st.integers(2, 5))
    def bad_start(self, mood: str, amount: int) -> None:
        """The venue refuses or does not answer the legs of a new parent."""
        self.kit.accepting = False
        try:
            self.open(side="buy", amount=amount, now=True)
            for leg in self.legs():
                if leg.status is not Status.PENDING:
                    continue
                if mood == "refuse":
                    self.kit.post(
                        Rejected(
                            order_id=leg.id, code=Code.VENUE_REJECTED, reason="", ts=self.kit.ts
                        )
                    )
                else:
                    self.kit.post(Unknown(order_id=leg.id, command="m", ts=self.kit.ts))
        finally:
            self.kit.accepting = True

    @rule()
    def look(self) -> None:
        """Look-ups answer: unknown and pending legs turn out to live, amends to be done."""
        for leg in self.legs():
            if leg.amend_state is not Asked.NONE:
                self.kit.post(
                    AmendDone(
                        order_id=leg.id,
                        amount=leg.amend_amount,
                        price=leg.amend_price,
                        stop_price=leg.amend_stop_price,
                        method="native",
                        ts=self.kit.ts,
                    )
                )
            if leg.status in {Status.UNKNOWN, Status.PENDING}:
                self.kit.ts += 1
                self.kit.seen(leg, Status.OPEN, str(leg.filled), evidence="found")

    @rule()
    def confirm_cancels(self) -> None:
        for leg in self.legs():
            if leg.cancel_state is Asked.REQUESTED:
                self.kit.ts += 1
                self.kit.seen(leg, Status.CANCELED, str(leg.filled))

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds: float) -> None:
        self.kit.tick(seconds)

    @rule()
    def restart(self) -> None:
        assert self.kit.replayed().digest() == self.kit.engine.digest()

    @rule(
        low=st.sampled_from([59_000, 63_000]),
        high=st.sampled_from([65_000, 71_000]),
        now=st.sampled_from([59_000, 64_000, 71_000]),
        slept=st.booleans(),
    )
    def die(self, *, low: int, high: int, now: int, slept: bool) -> None:
        """The process ends, and another one goes on after some minutes."""
        kit, since = self.kit, self.kit.ts
        kit.engine = kit.replayed()
        kit.ts += 3 * MINUTE
        kit.prices(btc=str(now))
        kit.balance("USDT", "100000")
        first = -(-since // MINUTE) * MINUTE
        bar = Bar(first, "64000", str(high), str(low), str(now), "1")
        gap = Gap(symbol=PERP, by=TriggerBy.LAST, since=since, bars=(bar,), slept=slept, ts=kit.ts)
        assert all(isinstance(effect, Alert) for effect in kit.post(gap))
        kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
        kit.tick(1)

    @invariant()
    def never_two_live_stops_or_targets(self) -> None:
        seen = [(leg.parent_id, leg.role) for leg in self.legs()]
        assert len(seen) == len(set(seen))

    @invariant()
    def legs_fit_the_position(self) -> None:
        """What we can still change is never more than what is held; a flat position has none."""
        state = self.kit.engine._state
        held = state.account.amount(PERP)
        for role in (Role.STOP_LOSS, Role.TAKE_PROFIT):
            for side in Side:
                settled = [
                    leg
                    for leg in self.legs(role)
                    if leg.side is side
                    and leg.status is Status.OPEN
                    and leg.cancel_state is Asked.NONE
                    and leg.amend_state is Asked.NONE
                ]
                there = max(held if side is Side.SELL else -held, ZERO)
                total = sum((state.orders.worst_of(leg) for leg in settled), ZERO)
                assert total <= there

    @invariant()
    def what_is_protected_is_held(self) -> None:
        state = self.kit.engine._state
        protected = self.kit.engine._applier.legs.protected.get(PERP, {})
        assert sum(protected.values(), ZERO) <= abs(state.account.amount(PERP))
        assert all(amount >= 0 for amount in protected.values())

    @invariant()
    def protection_is_told_truthfully(self) -> None:
        position = self.kit.engine.positions.get(PERP)
        if position is not None and position.amount:
            marked = self.kit.engine.mark_position(position)
            prices = {leg.stop_price for leg in self.legs(Role.STOP_LOSS)}
            assert marked.stop_loss in prices or (marked.stop_loss is None and prices <= {None})

    def teardown(self) -> None:
        """At rest every held part has its legs."""
        for _ in range(4):
            self.kit.prices()
            self.look()
            self.confirm_cancels()
            self.wait(2)
        legs = self.kit.engine._applier.legs
        for parent_id, amount in legs.protected.get(PERP, {}).items():
            if not amount or any(key[0] == parent_id for key in legs.degraded):
                continue
            if any(
                leg.parent_id == parent_id and leg.type is OrderType.MARKET for leg in self.legs()
            ):
                continue  # on its way out: the other one stays away
            for role in (Role.STOP_LOSS, Role.TAKE_PROFIT):
                mine = [leg for leg in self.legs(role) if leg.parent_id == parent_id]
                rest = [self.kit.engine._state.orders.worst_of(leg) for leg in mine]
                assert rest == [amount], (role, parent_id)


def test_legs_always_fit() -> None:
    """trading:H5."""
    run_state_machine_as_test(
        Brackets,
        settings=settings(
            max_examples=60, stateful_step_count=25, deadline=None, derandomize=True, database=None
        ),
    )
