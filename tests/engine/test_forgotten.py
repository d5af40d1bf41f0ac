"""What ended long ago leaves memory, and what is left of it still keeps everything right (R14)."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from realtime.engine.decide import Forgotten
from realtime.engine.forgotten import CHUNK, SIZES, Keys, Sizes, content_key, key
from realtime.engine.legs import Kind, Watch
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Accepted,
    Ack,
    Alert,
    Amend,
    AmendDone,
    Duplicate,
    Effect,
    Filled,
    Place,
    Rejected,
    Submit,
)
from realtime.model.market import SECOND
from realtime.model.orders import Order, Status, Trigger
from realtime.model.risk import TradingState
from tests.engine.adversary import Trader
from tests.engine.kit import BTC, OFF, PERP, WHO, D, Kit
from tests.engine.test_legs import LegKit
from tests.engine.test_machine_legs import Brackets


FEW = Sizes(ended=2, age=60 * SECOND, a_call=2)
AGE_S = 61


def few(kit: Kit, sizes: Sizes = FEW) -> None:
    """Let an engine keep little."""
    kit.engine.orders.sizes = sizes


def short() -> Kit:
    """An engine with money and coins that keeps two ended orders."""
    kit = Kit(OFF).open(USDT="100000000", BTC="100")
    few(kit)
    return kit


def ended(kit: Kit, count: int = 1) -> list[Order]:
    """Orders that the venue has canceled."""
    made = [kit.opened(BTC, "buy", "0.01", price="60000") for _ in range(count)]
    for order in made:
        kit.ts += 1
        kit.seen(order, Status.CANCELED)
    return made


def later(kit: Kit, placements: int = 2) -> None:
    """Let time pass and place something: that is when memory is cleared."""
    kit.tick(AGE_S)
    kit.prices()
    for _ in range(placements):
        kit.place(BTC, "buy", "0.001", price="50000")


def there(kit: Kit) -> set[str]:
    return {order.id for order in kit.engine.orders.all() if order.status.ended}


def codes(effects: list[Effect]) -> list[str]:
    """Codes of the alerts among some effects."""
    return [effect.code for effect in effects if isinstance(effect, Alert)]


def same(kit: Kit) -> bool:
    return kit.replayed().digest() == kit.engine.digest()


# --- keys -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5)))
@settings(deadline=None, derandomize=True)
def test_keys_are_a_set_whose_hash_does_not_depend_on_the_order(numbers: list[int]) -> None:
    keys = Keys(numbers)

    assert list(keys) == sorted(set(numbers))
    assert len(keys) == len(set(numbers))
    assert bool(keys) is bool(numbers)
    assert all(number in keys for number in numbers)
    assert 6 not in keys
    assert 2**63 not in keys or 2**63 in numbers
    assert keys.digest() == Keys(reversed(numbers)).digest()
    assert keys.digest() != Keys([*numbers, 7]).digest() or 7 in numbers


def test_many_keys_are_kept_in_arrays_of_bounded_length() -> None:
    numbers = [key("trade", str(number)) for number in range(5_000)]
    keys = Keys(numbers)

    assert list(keys) == sorted(numbers)
    assert all(number in keys for number in numbers)
    assert key("trade", "x") not in keys
    assert max(len(chunk) for chunk in keys._chunks) <= CHUNK
    assert sum(chunk.itemsize * len(chunk) for chunk in keys._chunks) == 8 * 5_000


def test_the_key_of_a_content_knows_what_a_resend_may_change() -> None:
    first = content_key("v", {"amount": "1", "price": "2"})

    assert content_key("v", {"price": "2", "expires_at": "9", "amount": "1"}) == first
    assert content_key("v", {"amount": "1", "price": "3"}) != first
    assert content_key("w", {"amount": "1", "price": "2"}) != first
    assert key("trade", "a", "b") != key("venue", "a", "b")


def test_an_hour_and_ten_thousand_are_kept_and_never_more_than_fifty_thousand() -> None:
    assert (SIZES.ended, SIZES.age, SIZES.a_call) == (10_000, 3600 * SECOND, 4)
    assert SIZES.most == 50_000
    assert Kit().engine.orders.sizes is SIZES


# --- what goes, and when ----------------------------------------------------------------------


def test_orders_go_by_age_and_number_the_oldest_first_and_few_at_a_time() -> None:
    kit = short()
    orders = [order.id for order in ended(kit, 6)]
    kit.place(BTC, "buy", "0.001", price="50000")
    assert there(kit) == set(orders), "beyond the number, but young"

    later(kit, 1)
    assert there(kit) == set(orders[2:]), "two a call"
    kit.place(BTC, "buy", "0.001", price="50000")
    assert there(kit) == set(orders[4:])
    kit.place(BTC, "buy", "0.001", price="50000")

    assert there(kit) == set(orders[4:]), "old, but of the newest"
    assert kit.engine.orders.get(orders[0]) is None
    assert kit.engine.orders.by_client_id("c-1") is None
    assert kit.engine.orders.recent(0) != []
    assert same(kit)


def test_of_too_many_the_oldest_go_however_young() -> None:
    kit = short()
    few(kit, Sizes(ended=2, age=3600 * SECOND, a_call=2, most=4))
    orders = [order.id for order in ended(kit, 4)]
    kit.place(BTC, "buy", "0.001", price="50000")
    assert there(kit) == set(orders), "as many as may be"

    orders += [order.id for order in ended(kit, 3)]
    for _ in range(2):
        kit.place(BTC, "buy", "0.001", price="50000")

    assert there(kit) == set(orders[-4:])
    assert same(kit)


def test_nothing_is_left_of_a_forgotten_order_but_keys() -> None:
    kit = short()
    amended = kit.opened(BTC, "buy", "0.02", price="60000", client_order_id="a")
    # Accepted under one id and amended into others, one of them twice.
    for number, name in enumerate(("v2", "v3", "v2")):
        kit.post(
            Amend(
                order_id=amended.id,
                amount=D("0.03") + number,
                price=None,
                stop_price=None,
                stop_loss=None,
                take_profit=None,
                who=WHO,
                ts=kit.ts,
            )
        )
        kit.post(
            AmendDone(
                order_id=amended.id,
                amount=D("0.03") + number,
                price=None,
                stop_price=None,
                method="replace",
                exchange_order_id=name,
                ts=kit.ts,
            )
        )
    amended = kit.order(amended.id)
    kit.fill(amended, "0.01", trade_id="t-a")
    # A row is ahead of its fills, one is inferred, and the real one comes.
    kit.seen(amended, Status.CANCELED, "0.02")
    for fact in kit.engine.missing_fills(amended.id, kit.ts):
        kit.post(fact)
    kit.fill(amended, "0.01", trade_id="t-b")
    ended(kit, 2)

    later(kit)

    orders = kit.engine.orders
    assert orders.get(amended.id) is None
    assert orders.by_venue_client_id(amended.venue_client_id) is None
    for name in (f"v-{amended.id}", "v2", "v3"):
        assert orders.by_exchange_id(BTC, name) is None
        assert orders.forgot(BTC, name, None)
    assert orders.forgot(BTC, "other", amended.venue_client_id)
    assert not orders.forgot(BTC, "other", "other")
    assert not orders.forgot(BTC, "other", None)
    assert orders.forgot_fill(BTC, "t-a")
    assert orders.forgot_fill(BTC, "t-b")
    assert not orders.seen(BTC, "t-a")
    assert orders._seen == set()
    assert orders.fills_of(amended.id) == ()
    assert orders.content(amended.id) == {}
    assert orders.asof(amended.id) == 0
    assert orders.booked(amended.id) == 0
    assert not orders._former
    assert not orders._unbooked
    assert same(kit)


def test_memory_does_not_grow_with_the_orders_that_were() -> None:
    kit = short()
    for _ in range(40):
        kit.bought(BTC, "buy", "0.01", "64000")
        kit.tick(AGE_S)
        kit.prices()
        kit.place(BTC, "buy", "0.001", price="50000")

    orders = kit.engine.orders
    kept: list[dict[str, Any]] = [
        orders._content,
        orders._by_client_id,
        orders._by_venue_client_id,
        orders._orders,
        orders._booked,
    ]
    assert len(there(kit)) <= FEW.ended + 1
    assert [len(table) <= 40 + FEW.ended + 1 for table in kept] == [True] * len(kept)
    assert len(orders._by_exchange_id) <= FEW.ended + 1
    assert len(orders._fills) <= FEW.ended + 1
    assert len(orders._seen) <= FEW.ended + 1
    assert kit.engine._state.reservations.held.keys() <= orders._orders.keys()
    assert same(kit)


# --- what may not go --------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["gap", "inferred", "owed", "again"])
def test_one_that_may_not_go_moves_back_and_lets_others_go(why: str) -> None:
    kit = short()
    held = kit.opened(BTC, "buy", "0.01", price="60000")
    kit.seen(held, Status.CANCELED, "0.005" if why in {"gap", "inferred"} else "0")
    if why == "inferred":
        for fact in kit.engine.missing_fills(held.id, kit.ts):
            kit.post(fact)
    if why == "owed":
        kit.engine.orders.owed[held.id] = [("m-1", "order.amend")]
    if why == "again":
        kit.ts += 1
        kit.seen(held, Status.OPEN)
        kit.engine._state.halts.clear()
    others = [order.id for order in ended(kit, 4)]

    later(kit, 4)

    left = {order.id for order in kit.engine.orders.all()}
    assert held.id in left
    assert others[0] not in left
    assert others[1] not in left
    assert list(kit.engine.orders._roots).index(held.id) > 0 or len(kit.engine.orders._roots) < 3


def test_what_had_kept_an_order_ends_and_it_goes() -> None:
    kit = short()
    held = kit.opened(BTC, "buy", "0.01", price="60000")
    kit.seen(held, Status.CANCELED, "0.005")
    ended(kit, 4)
    later(kit, 4)
    assert held.id in there(kit)

    kit.fill(held, "0.005")
    ended(kit, 3)
    later(kit, 4)

    assert held.id not in there(kit)
    assert same(kit)


def test_one_that_changed_lately_is_kept_though_it_ended_long_ago() -> None:
    kit = short()
    late = kit.opened(BTC, "buy", "0.01", price="60000")
    kit.seen(late, Status.CANCELED)
    ended(kit, 4)
    kit.tick(AGE_S)
    kit.prices()
    kit.fill(late, "0.004")

    kit.place(BTC, "buy", "0.001", price="50000")

    assert late.id in there(kit)
    assert same(kit)


# --- attached legs ----------------------------------------------------------------------------


def bracketed(kit: LegKit) -> Order:
    parent = kit.opened(
        PERP,
        "buy",
        "10",
        price="64000",
        stop_loss=Trigger(price=D(60000)),
        take_profit=Trigger(price=D(70000)),
    )
    kit.fill(parent, "10")
    return kit.order(parent.id)


def test_a_parent_stays_while_it_protects_and_goes_with_all_its_legs() -> None:
    kit = LegKit(OFF)
    kit.open()
    few(kit)
    parent = bracketed(kit)
    stop, target = kit.engine.orders.legs_of(parent.id)
    ended(kit, 4)
    later(kit, 3)
    assert parent.id in there(kit), "its legs work"

    kit.engine._applier.legs.refused.add(stop.id)
    kit.fill(stop, "10", "60000")
    kit.seen(kit.order(target.id), Status.CANCELED)
    ended(kit, 4)
    later(kit, 4)

    legs = kit.engine._applier.legs
    assert kit.engine.orders.get(parent.id) is None
    assert kit.engine.orders.get(stop.id) is None
    assert kit.engine.orders.get(target.id) is None
    assert kit.engine.orders.legs_of(parent.id) == []
    assert legs.refused == set()
    assert same(kit)


def test_a_parent_stays_while_a_part_of_it_is_held_without_legs() -> None:
    kit = LegKit(OFF)
    kit.open()
    few(kit)
    kit.accepting = False
    parent = bracketed(kit)
    for _ in range(3):
        for leg in kit.engine.orders.working():
            kit.post(Rejected(order_id=leg.id, code=Code.VENUE_REJECTED, reason="no", ts=kit.ts))
        kit.tick(2)
        kit.prices()
    assert kit.engine._applier.legs.watches, "the venue would not, so the process watches"
    ended(kit, 4)

    later(kit, 4)

    assert kit.engine.orders.working_in(PERP) == ()
    assert parent.id in there(kit)
    assert same(kit)


def test_a_replay_that_remembers_more_of_the_legs_forgets_the_same() -> None:
    """A replay keeps zeros and reservations which a process has dropped long before."""
    kit = LegKit(OFF)
    kit.open()
    few(kit)
    parents = [bracketed(kit) for _ in range(2)]
    for parent in parents:
        stop, _ = kit.engine.orders.legs_of(parent.id)
        kit.fill(stop, "10", "60000")
    for leg in kit.engine.orders.working():
        kit.seen(leg, Status.CANCELED)
    before = kit.replayed()
    assert before._applier.legs.protected[PERP]
    assert before._state.reservations.held
    assert not kit.engine._applier.legs.protected
    ended(kit, 4)
    later(kit, 4)
    after = kit.replayed()

    assert not after._applier.legs.protected
    assert parents[0].id not in after._state.reservations.held
    assert after.digest() == kit.engine.digest()


def test_what_a_process_watches_itself_goes_with_its_parent() -> None:
    kit = LegKit(OFF)
    kit.open()
    legs = kit.engine._applier.legs
    one, two = bracketed(kit), bracketed(kit)
    for parent in (one, two):
        for kind in Kind:
            watch = Watch(parent.id, kind, D(1), below=True)
            legs.watches.setdefault(PERP, {})[parent.id, kind] = watch
            legs.dropped.add((parent.id, kind))
            legs.degraded.add((parent.id, kind))
            legs.lost[parent.id, kind] = 1

    legs.forget(one, kit.engine.orders.legs_of(one.id))
    assert {name for name, _ in legs.watches[PERP]} == {two.id}
    assert list(legs.protected[PERP]) == [two.id]
    legs.forget(two, kit.engine.orders.legs_of(two.id))
    legs.forget(two, kit.engine.orders.legs_of(two.id))

    assert (legs.watches, legs.dropped, legs.degraded, legs.lost) == ({}, set(), set(), {})
    assert legs.protected == {}


# --- resends ----------------------------------------------------------------------------------


def resend(kit: Kit, order: Order, content: dict[str, str]) -> list[Any]:
    again = replace(order, id="o-new", status=Status.PENDING)
    return kit.post(Place(order=again, who=WHO, ts=kit.ts, content=content))


def test_the_id_of_a_forgotten_order_places_nothing_for_ever() -> None:
    """trading:I2."""
    kit = short()
    first, *_ = ended(kit, 4)
    content = {"symbol": BTC, "side": "buy", "amount": "0.01"}
    assert isinstance(resend(kit, first, content)[0], Duplicate)
    assert not kit.engine.forgot(first.client_order_id)
    later(kit)
    before = kit.engine.digest()

    with pytest.raises(Forgotten) as same_content:
        resend(kit, first, content | {"expires_at": "1"})
    with pytest.raises(Refused) as other_content:
        resend(kit, first, content | {"amount": "0.02"})

    assert same_content.value.code is Code.CONFLICT
    assert not isinstance(other_content.value, Forgotten)
    assert other_content.value.details == {
        "client_order_id": first.client_order_id,
        "fields": [],
    }
    assert kit.engine.digest() == before
    assert kit.engine.forgot(first.client_order_id)
    assert kit.engine.forgot(first.client_order_id, content)
    assert not kit.engine.forgot("new", content)
    with pytest.raises(Refused):
        kit.engine.forgot(first.client_order_id, {})
    with pytest.raises(Forgotten):
        kit.engine.repeated(Place(order=first, who=WHO, ts=kit.ts, content=content))


def test_a_strangers_ids_are_remembered_under_both_its_names() -> None:
    """trading:I3."""
    kit = short()
    kit.engine._state.ever_ready = False
    mine = kit.draft(BTC, "buy", "0.02", price="60000", client_order_id="mine")
    seen = replace(mine, exchange_order_id="ext", id="x")
    kit.seen(seen, Status.OPEN)
    stranger = kit.order("x-ext")
    kit.ts += 1
    kit.seen(seen, Status.CANCELED)
    ended(kit, 3)
    later(kit)
    assert kit.engine.orders.get("x-ext") is None

    for name in ("mine", stranger.client_order_id):
        draft = kit.draft(BTC, "buy", "0.02", price="60000", client_order_id=name)
        with pytest.raises(Refused, match="was used"):
            kit.post(Place(order=draft, who=WHO, ts=kit.ts, content={"a": "b"}))
    assert same(kit)


def test_a_stranger_that_was_ours_leaves_us_our_id() -> None:
    kit = short()
    order = kit.place(BTC, "buy", "0.01", price="60000")
    kit.release(order)
    anonymous = replace(order, exchange_order_id="ext")
    kit.seen(anonymous, Status.OPEN, venue_client_id=None, evidence="found")
    kit.engine.orders.put(kit.order("x-ext"), status=Status.CANCELED)
    kit.post(
        Accepted(
            order_id=order.id,
            ack=Ack(exchange_order_id="ext", status=Status.OPEN, ts=kit.ts),
            ts=kit.ts,
        )
    )
    kit.engine._state.halts.clear()
    ended(kit, 4)

    later(kit)

    found = kit.engine.orders.by_exchange_id(BTC, "ext")
    assert kit.engine.orders.get("x-ext") is None
    assert found is not None
    assert found.id == order.id


# --- late news --------------------------------------------------------------------------------


def forgotten(kit: Kit, filled: str = "0.004") -> Order:
    """A canceled order with a fill `t-old`, forgotten."""
    order = kit.opened(BTC, "buy", "0.01", price="60000")
    kit.fill(order, filled, "60000", trade_id="t-old")
    kit.seen(order, Status.CANCELED, filled)
    order = kit.order(order.id)
    ended(kit, 3)
    later(kit)
    assert kit.engine.orders.get(order.id) is None
    return order


def coins(kit: Kit) -> Any:
    return kit.engine._state.account.books["BTC"]


def test_a_fill_told_again_of_a_forgotten_order_is_booked_once() -> None:
    kit = short()
    order = forgotten(kit)

    assert kit.fill(order, "0.004", "60000", trade_id="t-old") == []
    assert coins(kit) == D("100.004")


def test_a_late_fill_of_a_forgotten_order_is_booked_apart_with_an_alert() -> None:
    kit = short()
    order = forgotten(kit)

    effects = kit.fill(order, "0.002", "60000", trade_id="t-1")
    alerts = codes(effects)
    stub = kit.order(f"x-{order.exchange_order_id}-late")
    again = kit.fill(order, "0.003", "60000", trade_id="t-2")
    kit.fill(order, "0.003", "60000", trade_id="t-2")
    kit.fill(order, "0.004", "60000", trade_id="t-old")

    now = kit.order(stub.id)
    assert alerts == ["late_fill"]
    assert codes(again) == ["late_fill"]
    assert (stub.status, stub.amount, stub.external) == (Status.FILLED, D("0.002"), True)
    assert (now.status, now.amount, now.filled) == (Status.FILLED, D("0.005"), D("0.005"))
    assert coins(kit) == D("100.009")
    assert kit.engine.state() is TradingState.ACTIVE
    assert not kit.engine.orders.gaps
    assert same(kit)


def test_late_ended_rows_of_a_forgotten_order_change_nothing() -> None:
    kit = short()
    order = forgotten(kit)
    assert kit.seen(order, Status.CANCELED, "0.006", evidence="found") == []

    kit.fill(order, "0.002", "60000", trade_id="t-1")

    assert kit.seen(order, Status.CANCELED, "0.006") == []
    assert kit.seen(order, Status.FILLED, "0.01") == []
    assert not kit.engine.orders.gaps
    assert same(kit)


def test_the_stub_of_late_fills_is_forgotten_in_its_turn() -> None:
    kit = short()
    order = forgotten(kit)
    kit.fill(order, "0.002", "60000", trade_id="t-1")
    ended(kit, 3)
    later(kit, 3)
    assert kit.engine.orders.get(f"x-{order.exchange_order_id}-late") is None
    assert not kit.engine.orders.unsized

    assert kit.fill(order, "0.002", "60000", trade_id="t-1") == []
    kit.fill(order, "0.001", "60000", trade_id="t-3")

    assert coins(kit) == D("100.007")
    assert same(kit)


def test_a_forgotten_order_that_works_again_is_an_alarm_and_counts() -> None:
    kit = short()
    order = forgotten(kit)
    before = kit.engine.orders.stale_rows
    assert kit.seen(order, Status.OPEN, "0.004") == [], "a row of the stream may be an old one"
    assert kit.engine.orders.stale_rows == before + 1

    effects = kit.seen(order, Status.OPEN, "0.004", evidence="found")
    told = codes(effects)
    stub = kit.order(f"x-{order.exchange_order_id}-late")

    assert "order_resurrected" in told
    assert "external_order" not in told
    assert kit.engine.state() is TradingState.REDUCING
    assert (stub.status, stub.amount, stub.filled) == (Status.OPEN, D("0.01"), D("0.004"))
    assert kit.engine.orders.worst_of(stub) == D("0.006")
    assert not kit.engine.orders.gaps, "what had filled was booked"

    kit.fill(order, "0.004", "60000", trade_id="t-old")
    kit.fill(order, "0.006", "60000", trade_id="t-1")
    now = kit.order(stub.id)
    assert (now.status, now.filled, now.amount) == (Status.FILLED, D("0.01"), D("0.01"))
    assert coins(kit) == D("100.01")
    assert same(kit)


def test_one_id_in_two_markets_gives_two_stubs() -> None:
    kit = short()
    ids = []
    for symbol in (BTC, PERP):
        order = kit.opened(symbol, "buy", "1", price="60000", id=f"o-{symbol}")
        order = kit.engine.orders.put(order, exchange_order_id="same")
        kit.ts += 1
        kit.seen(order, Status.CANCELED)
        ids.append(order)
    ended(kit, 3)
    later(kit, 3)

    for order in ids:
        kit.fill(order, "1", "60000")

    late = {order.id for order in kit.engine.orders.all() if order.external}
    assert late == {"x-same-late", f"x-same-{PERP}-late"}


# --- machines ---------------------------------------------------------------------------------


class Crowded(Trader):
    """The adversary of H1, with an engine that forgets all the time."""

    forgotten = 0

    def __init__(self) -> None:
        super().__init__()
        few(self.kit, Sizes(ended=0, age=2 * SECOND, a_call=3, most=6))

    @rule(number=st.integers(0, 30))
    def place(self, number: int) -> None:
        kit = self.kit
        kit.prices()
        used = kit.engine.forgot(f"client-{number}")
        draft = kit.draft(
            BTC,
            "buy" if number % 2 else "sell",
            "0.01",
            price="64000",
            client_order_id=f"client-{number}",
        )
        try:
            wish = Place(order=draft, who=WHO, ts=kit.ts, content={"n": str(number)})
            effects = kit.post(wish)
        except Forgotten:
            assert used
            type(self).forgotten += 1
            return
        except Refused:
            assert kit.engine.state() is not TradingState.ACTIVE
            return
        assert not used
        if any(isinstance(effect, Submit) for effect in effects):
            self.queue.append(draft.id)

    @rule(
        number=st.integers(0, 30),
        mode=st.sampled_from(["ok", "refuse", "lost_before", "lost_after", "late", "crash"]),
    )
    def place_and_call(self, number: int, mode: str) -> None:
        self.place(number)
        self.call(mode)

    @rule(mode=st.sampled_from(["ok", "refuse", "lost_before", "lost_after", "late", "crash"]))
    def call(self, mode: str) -> None:
        self.queue = [name for name in self.queue if self.kit.engine.orders.get(name) is not None]
        super().call(mode)

    @rule(index=st.integers(0, 30))
    def told_again(self, index: int) -> None:
        fills = [fill for fill in self.venue.fills if fill not in self.undelivered]
        if fills:
            self.kit.post(fills[index % len(fills)])

    @rule(index=st.integers(0, 30))
    def fills_late(self, index: int) -> None:
        """What the venue has canceled had filled a little more."""
        over = [taken for taken in self.venue.orders if taken.status is Status.CANCELED]
        if not over:
            return
        taken = over[index % len(over)]
        amount = min(D("0.001"), taken.order.amount - taken.filled)
        if amount <= 0:
            return
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
        self.kit.post(fill)

    @rule(number=st.integers(0, 30), end=st.sampled_from(["refuse", "filled", "canceled"]))
    def life(self, number: int, end: str) -> None:
        """A whole life of an order, and a while after it."""
        before = len(self.venue.orders)
        self.place_and_call(number, "refuse" if end == "refuse" else "ok")
        if len(self.venue.orders) > before and end == "filled":
            self.trade(index=len(self.venue.live()) - 1, whole=True, told=True)
        elif len(self.venue.orders) > before:
            self.cancel(number, "ok")
        self.wait(5)

    @rule(index=st.integers(0, 30))
    def resend(self, index: int) -> None:
        if self.venue.orders:
            taken = self.venue.orders[index % len(self.venue.orders)]
            self.place(int(taken.order.client_order_id.partition("-")[2]))

    @rule(resume=st.sampled_from([True, True, True, False]))
    def kill_switch(self, *, resume: bool) -> None:
        super().kill_switch(resume=resume)

    def teardown(self) -> None:
        """The money is the venue's to the last unit, and a replay has forgotten the same."""
        for _ in range(3):
            self.wait(61)
            self.reconcile()
        orders = self.kit.engine.orders
        for taken in self.venue.orders:
            order = orders.by_client_id(taken.order.client_order_id)
            if order is None:
                assert orders.forgot_client(taken.order.venue_client_id)
            elif not order.external:
                assert (order.status, order.filled) == (taken.status, taken.filled)
        assert not orders.unknown()
        assert self.kit.engine._state.account.books["BTC"] == 100 + self.bought()
        assert same(self.kit)


def test_an_engine_that_forgets_is_right_against_a_venue_that_lies() -> None:
    """trading:H1 trading:H11: the replay has forgotten the same, and no order is doubled or lost."""
    Crowded.forgotten = 0
    run_state_machine_as_test(
        Crowded,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, database=None
        ),
    )
    assert Crowded.forgotten > 5


class CrowdedBrackets(Brackets):
    """The legs of H5, with an engine that forgets all the time."""

    forgotten = 0

    def __init__(self) -> None:
        super().__init__()
        few(self.kit, Sizes(ended=0, age=2 * SECOND, a_call=3, most=6))

    @rule(seconds=st.sampled_from([1, 7]))
    def age(self, seconds: int) -> None:
        self.kit.tick(seconds)
        self.kit.prices()

    def teardown(self) -> None:
        super().teardown()
        assert same(self.kit)
        type(self).forgotten += bool(self.kit.engine.orders._forgotten)


def test_legs_fit_in_an_engine_that_forgets() -> None:
    """trading:H5."""
    CrowdedBrackets.forgotten = 0
    run_state_machine_as_test(
        CrowdedBrackets,
        settings=settings(
            max_examples=50, stateful_step_count=30, deadline=None, derandomize=True, database=None
        ),
    )
    assert CrowdedBrackets.forgotten > 5
