"""H4 and H13: limits under interleaving, protections over paths of equity; sums against brute force."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from realtime.engine.orders import worst
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Amend,
    AmendDone,
    AmendFailed,
    Cancel,
    CancelAtVenue,
    Place,
    Ready,
    Rejected,
    ResetDaily,
    Submit,
    Transferred,
    Unknown,
)
from realtime.model.market import MONEY, SECOND, ZERO
from realtime.model.orders import Asked, Order, Side, Status
from tests.engine.kit import ADMIN, BTC, OFF, PERP, WHO, D, Kit


LIMIT = D(20000)
SETTINGS = settings(
    max_examples=25, stateful_step_count=30, deadline=None, derandomize=True, database=None
)


def _alike(told: Refused | None, refused: Refused) -> bool:
    """Whether a dry judgement said what the placement was told."""
    return told is not None and (told.message, told.details) == (refused.message, refused.details)


class Gate(RuleBasedStateMachine):
    """Many owners at one gate. The price stays: exposure is amount times one number."""

    def __init__(self) -> None:
        super().__init__()
        limits = replace(OFF, max_position_notional=LIMIT, max_unknown=None)
        self.kit = Kit(limits).open(USDT="10000000", BTC="0.05")
        self.orders: list[str] = []

    def pick(self, index: int) -> Order | None:
        working = self.kit.engine.orders.working()
        return working[index % len(working)] if working else None

    @rule(
        symbol=st.sampled_from([BTC, PERP]),
        side=st.sampled_from(["buy", "sell"]),
        lots=st.integers(1, 20),
        owner=st.sampled_from([None, "a", "b"]),
        reduce_only=st.booleans(),
    )
    def place(
        self, *, symbol: str, side: str, lots: int, owner: str | None, reduce_only: bool
    ) -> None:
        """A placement passes exactly when preview says so, and is refused as it was told without being placed."""
        kit = self.kit
        kit.prices()
        amount = str(lots) if symbol == PERP else str(lots * D("0.01"))
        order = kit.draft(
            symbol, side, amount, price="64000", reduce_only=reduce_only, bot_id=owner
        )
        wish = Place(order=order, who=WHO, ts=kit.ts)
        shown, before = kit.engine.preview(wish), kit.engine.digest()
        told: Refused | None = None
        try:
            kit.engine.permit(wish)
        except Refused as refused:
            told = refused
        assert kit.engine.digest() == before
        try:
            effects = kit.post(wish)
        except Refused as refused:
            if not _alike(told, refused):
                raise
            if shown.valid or refused.code not in {Code.RISK_REJECTED, Code.INSUFFICIENT_FUNDS}:
                raise
            return
        assert shown.valid
        assert told is None
        assert any(isinstance(effect, Submit) for effect in effects)
        kit.release(kit.order(order.id))

    @rule(index=st.integers(0, 50))
    def accept(self, index: int) -> None:
        order = self.pick(index)
        if order is not None and order.status is Status.PENDING:
            self.kit.accept(order)

    @rule(index=st.integers(0, 50), unknown=st.booleans())
    def fail(self, *, index: int, unknown: bool) -> None:
        order = self.pick(index)
        if order is None or order.status is not Status.PENDING:
            return
        ts = self.kit.ts
        if unknown:
            self.kit.post(Unknown(order_id=order.id, command="m", ts=ts))
        else:
            self.kit.post(Rejected(order_id=order.id, code=Code.VENUE_REJECTED, reason="", ts=ts))

    @rule(index=st.integers(0, 50), whole=st.booleans())
    def fill(self, *, index: int, whole: bool) -> None:
        order = self.pick(index)
        if order is None or order.remaining <= 0:
            return
        part = order.remaining if whole or order.symbol == BTC else min(order.remaining, D(1))
        self.kit.fill(order, str(part))

    @rule(
        index=st.integers(0, 50),
        lots=st.integers(1, 30),
        answer=st.sampled_from(["done", "no", "lost"]),
    )
    def amend(self, index: int, lots: int, answer: str) -> None:
        kit, order = self.kit, self.pick(index)
        if order is None or order.status is not Status.OPEN:
            return
        amount = D(lots) if order.symbol == PERP else lots * D("0.01")
        try:
            effects = kit.post(
                Amend(
                    order_id=order.id,
                    amount=amount,
                    price=None,
                    stop_price=None,
                    stop_loss=None,
                    take_profit=None,
                    who=WHO,
                    ts=kit.ts,
                )
            )
        except Refused:
            return
        if not effects:
            return
        if answer == "done":
            kit.post(
                AmendDone(
                    order_id=order.id,
                    amount=amount,
                    price=None,
                    stop_price=None,
                    method="native",
                    ts=kit.ts,
                )
            )
        else:
            kit.post(
                AmendFailed(
                    order_id=order.id, unknown=answer == "lost", command=None, reason="", ts=kit.ts
                )
            )

    @rule(index=st.integers(0, 50), confirmed=st.booleans())
    def cancel(self, *, index: int, confirmed: bool) -> None:
        kit, order = self.kit, self.pick(index)
        if order is None:
            return
        effects = kit.post(Cancel(order_id=order.id, who=WHO, ts=kit.ts))
        sent = any(isinstance(effect, CancelAtVenue) for effect in effects)
        if sent and confirmed:
            kit.ts += 1
            kit.seen(kit.order(order.id), Status.CANCELED, str(kit.order(order.id).filled))

    @rule()
    def restart(self) -> None:
        fresh = self.kit.replayed()
        assert fresh.digest() == self.kit.engine.digest()

    @invariant()
    def sums_equal_brute_force(self) -> None:
        """The incremental sums are what a walk over all orders gives."""
        ledger = self.kit.engine.orders
        for symbol in (BTC, PERP):
            load = ledger.load(symbol)
            buys = sells = ZERO
            exits = {Side.BUY: ZERO, Side.SELL: ZERO}
            working = 0
            for order in ledger.all():
                if order.symbol != symbol:
                    continue
                working += not order.status.ended
                rest = worst(order, ledger.booked(order.id))
                if order.exit:
                    exits[order.side] += rest
                elif order.side is Side.BUY:
                    buys += rest
                else:
                    sells += rest
            assert (load.buys, load.sells, load.orders) == (buys, sells, working)
            assert {side: load.exits(side) for side in Side} == exits
        assert ledger.count == len(ledger.working())
        assert len(ledger.unknown()) == sum(
            ledger.unknown_of(owner, symbol)
            for owner in ("alice", "a", "b")
            for symbol in (BTC, PERP)
        )

    @invariant()
    def as_kept_is_as_worked_out_anew(self) -> None:
        """What is kept for the next order of how the account stands; named to be asked before the one that prices."""
        state, ts = self.kit.engine._state, self.kit.ts
        with localcontext(MONEY):
            kept = state.standing(ts)
            state.stood = None
            assert kept == state.standing(ts)

    @invariant()
    def exposure_stays_within_the_limit(self) -> None:
        """R2: for any interleaving, reserved exposure stays within the limits."""
        state = self.kit.engine._state
        for symbol, size in ((BTC, D(1)), (PERP, D("0.01"))):
            assert state.exposure(symbol) * size * 64000 <= LIMIT

    @invariant()
    def exits_within_capacity_always_pass(self) -> None:
        kit = self.kit
        kit.prices()
        draft = kit.draft(
            PERP, "sell" if kit.engine._state.account.amount(PERP) > 0 else "buy", "1"
        )
        draft = replace(draft, reduce_only=True)
        room = kit.engine._state.capacity(draft)
        shown = kit.engine.preview(Place(order=draft, who=WHO, ts=kit.ts))
        assert shown.valid is (room >= 1)

    def teardown(self) -> None:
        assert all(
            order.amend_state is Asked.NONE or not order.status.ended
            for order in self.kit.engine.orders.all()
        )


@pytest.mark.promise("O9")
def test_limits_hold_for_every_interleaving() -> None:
    """trading:H4 trading:R2."""
    run_state_machine_as_test(Gate, settings=SETTINGS)


class Protections(RuleBasedStateMachine):
    """Prices, transfers, days, restarts and clocks set back, against a plain sum kept here."""

    def __init__(self) -> None:
        super().__init__()
        limits = replace(OFF, max_daily_loss=D("0.05"), daily_loss_reset="next_day")
        self.kit = Kit(limits).open(USDT="50000", BTC="1")
        self.price, self.day = 64000, 21
        self.cash = D(50000)
        self.begin()

    @initialize()
    def begin(self) -> None:
        self.start = self.equity()
        self.moved = ZERO
        self.was_broken = False

    def equity(self) -> Decimal:
        return self.cash + self.price

    def observe(self) -> None:
        self.kit.ts += SECOND
        self.kit.prices(btc=str(self.price))
        self.kit.tick(0, day=f"2026-09-{self.day:02}")
        if self.broken():
            self.was_broken = True

    def broken(self) -> bool:
        return -(self.equity() - self.start - self.moved) / self.start > D("0.05")

    @rule(price=st.integers(40000, 90000))
    def move(self, price: int) -> None:
        self.price = price
        self.observe()

    @rule(amount=st.integers(-10000, 10000).filter(bool))
    def transfer(self, amount: int) -> None:
        kit = self.kit
        kit.post(
            Transferred(
                venue="paper",
                currency="USDT",
                amount=D(amount),
                kind="deposit",
                id=f"d{len(kit.journal)}",
                ts=kit.ts,
            )
        )
        self.cash += amount
        self.moved += amount
        kit.balance("USDT", str(self.cash))
        self.observe()

    @rule()
    def next_day(self) -> None:
        if self.day < 30:
            self.day += 1
            self.observe()
            self.begin()

    @rule(hours=st.sampled_from([-1, 1]))
    def clock_step(self, hours: int) -> None:
        """M12: a wall clock that jumps resets nothing."""
        self.kit.ts += hours * 3600 * SECOND
        yesterday = f"2026-09-{self.day - 1:02}"
        self.kit.prices(btc=str(self.price))
        self.kit.tick(0, day=yesterday)
        self.observe()

    @rule()
    def reset(self) -> None:
        kit = self.kit
        kit.prices(btc=str(self.price))
        kit.ts += SECOND
        kit.post(ResetDaily(reason="x", who=ADMIN, ts=kit.ts))
        self.begin()
        self.observe()

    @rule()
    def restart(self) -> None:
        kit = self.kit
        before, halts = kit.engine.digest(), dict(kit.engine.halts)
        kit.engine = kit.replayed()
        assert kit.engine.digest() == before
        assert kit.engine.halts == halts
        kit.balance("USDT", str(self.cash))
        kit.balance("BTC", "1")
        kit.prices(btc=str(self.price))
        kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    @invariant()
    def a_breach_stops_entries_and_never_exits(self) -> None:
        kit = self.kit
        kit.prices(btc=str(self.price))
        entry = Place(order=kit.draft(BTC, "buy", "0.001"), who=WHO, ts=kit.ts)
        exit_wish = Place(order=kit.draft(BTC, "sell", "0.001"), who=WHO, ts=kit.ts)
        shown = kit.engine.preview(entry)
        assert shown.valid is not (self.was_broken or self.broken()), shown.failed
        assert kit.engine.preview(exit_wish).valid
        assert ("all" in kit.engine.halts) is self.was_broken


def test_a_breach_means_no_entry_and_exits_pass() -> None:
    """trading:H13."""
    run_state_machine_as_test(Protections, settings=SETTINGS)
