"""Orders: the table of transitions, evidence, unknown outcomes, fills, strangers (trading 2)."""

from dataclasses import replace
from typing import Any

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Absent,
    Accepted,
    Ack,
    Adopt,
    Alert,
    Amend,
    AmendDone,
    AmendFailed,
    Ask,
    Cancel,
    CancelAsked,
    CancelAtVenue,
    CancelFailed,
    Duplicate,
    FillBooked,
    Filled,
    Note,
    OrderChanged,
    OrderSeen,
    Place,
    Ready,
    Record,
    Rejected,
    Release,
    Resolve,
    Resolved,
    SetState,
    SubmitAmend,
    Unknown,
    Withheld,
)
from realtime.model.market import SECOND
from realtime.model.orders import (
    OURS,
    TRANSITIONS,
    VENUE,
    Asked,
    Order,
    OrderType,
    Role,
    Side,
    Status,
    venue_client_id,
)
from realtime.model.risk import TradingState
from tests.engine.kit import ADMIN, BTC, PERP, WHO, D, Kit, of


def alerts(kit: Kit) -> list[str]:
    return [effect.code for effect in kit.effects if isinstance(effect, Alert)]


def resolutions(kit: Kit) -> list[tuple[object, object, object]]:
    return [
        (effect.data["command"], effect.data["op"], effect.data["evidence"])
        for effect in kit.effects
        if isinstance(effect, Note) and effect.type == "order_resolved"
    ]


def buy(kit: Kit, amount: str = "0.01", **fields: object) -> Order:
    return kit.opened(BTC, "buy", amount, price="64000", **fields)


def lost(kit: Kit, command: str = "m-1") -> Order:
    """An order nobody answered."""
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.release(order)
    kit.post(Unknown(order_id=order.id, command=command, ts=kit.ts))
    return kit.order(order.id)


def cancel(kit: Kit, order: Order, who: object = WHO) -> None:
    kit.post(Cancel(order_id=order.id, who=who, ts=kit.ts))  # type: ignore[arg-type]


# --- placing ----------------------------------------------------------------------------------


def test_a_placement_is_recorded_then_shown_then_sent() -> None:
    kit = Kit().open()

    kit.place(BTC, "buy", "0.01", price="64000")

    assert [type(effect).__name__ for effect in kit.effects] == ["Record", "OrderChanged", "Submit"]


def test_an_acceptance_opens_an_order_and_raises_its_version() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")

    after = kit.accept(order)

    assert (after.status, after.version) == (Status.OPEN, order.version + 1)
    assert after.exchange_order_id == f"v-{order.id}"
    assert kit.engine.orders.by_exchange_id(BTC, f"v-{order.id}") == after
    assert kit.engine.orders.by_venue_client_id(order.venue_client_id) == after
    assert kit.engine.orders.by_client_id(order.client_order_id) == after


def test_an_acceptance_without_a_status_leaves_the_row_to_decide() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = kit.accept(kit.place(BTC, "buy", "0.01", price="64000"), None)

    assert order.status is Status.PENDING
    assert of(kit.effects, Ask)
    kit.seen(order, Status.OPEN)
    assert kit.order(order.id).status is Status.OPEN


def test_an_answer_after_the_fill_changes_nothing() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.01")
    before = kit.order(order.id)

    kit.accept(order)

    assert kit.order(order.id) == before
    assert kit.effects == []


def test_an_answer_may_tell_what_has_filled() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    ack = Ack(exchange_order_id="v", status=Status.OPEN, filled=D("0.004"), cost=D(256))
    kit.post(Accepted(order_id=order.id, ack=ack, ts=kit.ts))

    assert (kit.order(order.id).filled, kit.order(order.id).cost) == (D("0.004"), D(256))
    assert kit.engine.orders.gaps == {order.id: kit.ts}
    other = kit.place(BTC, "buy", "0.01", price="63000")
    bare = Ack(exchange_order_id="w", status=Status.OPEN, filled=D("0.004"))
    kit.post(Accepted(order_id=other.id, ack=bare, ts=kit.ts))
    assert kit.order(other.id).cost == 0


def test_an_answer_that_comes_twice_leaves_an_order_to_its_rows_until_it_tells_a_status() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.accept(order, status=None)
    named = kit.order(order.id)

    kit.accept(order, status=None)

    assert [type(effect) for effect in kit.effects] == [Record, Ask]
    assert kit.order(order.id) == named
    assert kit.accept(order).status is Status.OPEN


def test_an_answer_after_an_operator_s_decision_only_gives_the_order_its_name() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.post(Unknown(order_id=order.id, command="m-1", ts=kit.ts))
    resolve(kit, order, Status.CANCELED)

    late = kit.accept(order)

    assert (late.exchange_order_id, late.status) == (f"v-{order.id}", Status.CANCELED)


def test_a_refusal_of_the_venue_ends_an_order_with_its_code() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")

    kit.post(Rejected(order_id=order.id, code=Code.VENUE_REJECTED, reason="no", ts=kit.ts))

    ended = kit.order(order.id)
    assert (ended.status, ended.code, ended.reason) == (Status.REJECTED, Code.VENUE_REJECTED, "no")


def test_a_refusal_of_an_order_that_works_is_reported_and_not_believed() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)

    kit.post(Rejected(order_id=order.id, code=Code.VENUE_REJECTED, reason="no", ts=kit.ts))

    assert kit.order(order.id).status is Status.OPEN
    assert alerts(kit) == ["transition"]


# --- the door ---------------------------------------------------------------------------------


def test_a_cancel_before_the_door_is_a_local_fact() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")

    cancel(kit, order)

    assert kit.order(order.id).status is Status.CANCELED
    assert not of(kit.effects, CancelAtVenue)
    with pytest.raises(Refused) as caught:
        kit.release(order)
    assert caught.value.code is Code.CONFLICT
    # What the desk says then changes nothing.
    effects = kit.post(
        Withheld(order_id=order.id, status=Status.REJECTED, code=Code.HALTED, reason="", ts=kit.ts)
    )
    assert effects == []


def test_a_cancel_after_the_door_goes_to_the_venue() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.release(order)

    cancel(kit, order)

    assert kit.order(order.id).cancel_state is Asked.REQUESTED
    assert of(kit.effects, CancelAtVenue)


def test_the_door_is_closed_after_expires_at_and_for_unknown_ids() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000", expires_at=kit.ts + 5)
    kit.ts += 5

    with pytest.raises(Refused) as caught:
        kit.release(order)
    assert caught.value.code is Code.EXPIRED
    with pytest.raises(Refused) as caught:
        kit.post(Release(order_id="nope", ts=kit.ts))
    assert caught.value.code is Code.NOT_FOUND


def test_the_door_withholds_what_waits_when_the_halt_comes() -> None:
    """trading:K1 trading:K2."""
    kit = Kit().open(USDT="100000", BTC="1")
    entry = kit.place(BTC, "buy", "0.01", price="64000")
    exit_order = kit.place(BTC, "sell", "0.01", price="65000")
    kit.post(SetState(scope="all", state=TradingState.REDUCING, reason="drill", who=WHO, ts=kit.ts))
    with pytest.raises(Refused) as caught:
        kit.release(entry)
    assert caught.value.code is Code.HALTED
    kit.release(exit_order)
    kit.post(SetState(scope="all", state=TradingState.HALTED, reason="drill", who=WHO, ts=kit.ts))
    with pytest.raises(Refused):
        kit.release(exit_order)
    kit.post(SetState(scope="all", state=TradingState.ACTIVE, reason="x", who=ADMIN, ts=kit.ts))
    kit.post(Ready(venue="paper", ready=False, reason="lost", ts=kit.ts))
    with pytest.raises(Refused) as caught:
        kit.release(entry)
    assert caught.value.code is Code.VENUE_UNAVAILABLE
    kit.release(exit_order)
    kit.post(
        Withheld(order_id=entry.id, status=Status.REJECTED, code=Code.HALTED, reason="h", ts=kit.ts)
    )
    assert kit.order(entry.id).code is Code.HALTED


# --- the venue's rows -------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.CANCELED, Status.EXPIRED, Status.REJECTED])
def test_a_row_ends_an_order_and_keeps_what_has_filled(status: Status) -> None:
    kit = Kit().open()
    order = buy(kit)
    kit.fill(order, "0.004")

    kit.seen(order, status, "0.004", code=Code.VENUE_REJECTED, reason="why")

    ended = kit.order(order.id)
    assert (ended.status, ended.filled, ended.reason) == (status, D("0.004"), "why")


def test_a_row_with_more_filled_than_our_fills_keeps_the_exposure_until_they_are_here() -> None:
    """trading:2.5."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.CANCELED, "0.004")
    assert kit.engine.orders.loads[BTC].buys == D("0.004")
    assert not of(kit.tick(1), Ask)
    assert of(kit.tick(1), Ask) == [Ask(order.id)]

    kit.fill(order, "0.004")

    assert kit.engine.orders.loads[BTC].buys == 0
    assert alerts(kit) == []
    assert not of(kit.tick(4), Ask)


def test_an_older_row_changes_nothing_and_is_counted() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    kit.ts += SECOND
    kit.seen(order, Status.CANCELED)
    before = kit.order(order.id)

    assert kit.seen(order, Status.OPEN, asof=kit.ts - 1) == []
    assert kit.seen(order, Status.OPEN, asof=kit.ts) == []

    assert kit.order(order.id) == before
    assert kit.engine.orders.stale_rows == 2


def test_an_end_that_is_looked_up_counts_whatever_the_clocks_say() -> None:
    """An end cannot be older than a sign of life: the times of answers and of rows are not one clock's."""
    kit = Kit().open()
    order = buy(kit)
    kit.ts += SECOND
    kit.seen(order, Status.OPEN, asof=kit.ts + 5 * SECOND, price=D(63999))
    known = kit.engine.orders.asof(order.id)

    assert kit.seen(order, Status.CANCELED) == []
    # What an amend has put another order in the place of has ended as well.
    replaced = replace(order, exchange_order_id="v-before")
    assert kit.seen(replaced, Status.CANCELED, evidence="found") == []
    kit.seen(order, Status.CANCELED, evidence="found")

    assert kit.order(order.id).status is Status.CANCELED
    assert kit.engine.orders.asof(order.id) == known
    assert kit.seen(order, Status.OPEN) == []


def test_a_row_from_before_the_fill_changes_nothing() -> None:
    kit = Kit().open()
    order = buy(kit)
    kit.fill(order, "0.01")

    assert kit.seen(order, Status.OPEN, "0.004") == []
    assert kit.seen(order, Status.CANCELED, "0.004") == []
    assert kit.order(order.id).status is Status.FILLED


def test_a_pair_outside_the_table_is_reported_and_changes_nothing() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.CANCELED)
    kit.ts += 1

    kit.seen(order, Status.EXPIRED)

    assert kit.order(order.id).status is Status.CANCELED
    assert alerts(kit) == ["transition"]


def test_every_listed_pair_is_taken_and_no_other() -> None:
    """trading:H3."""
    for start, words in TRANSITIONS.items():
        for end in Status:
            kit = Kit().open()
            order = kit.place(BTC, "buy", "0.01", price="64000")
            kit.release(order)
            if start is Status.UNKNOWN:
                kit.post(Unknown(order_id=order.id, command="m", ts=kit.ts))
            elif start is Status.FILLED:
                kit.fill(order, "0.01")
            elif start is not Status.PENDING:
                kit.seen(order, start)
            kit.ts += SECOND
            filled = "0.01" if Status.FILLED in {start, end} else "0"
            kit.seen(order, end, filled, amount=D("0.01"))
            allowed = end in words[VENUE] or end is start
            now = kit.order(order.id).status
            assert now is (end if allowed else start), (start, end)
            late = start is Status.FILLED and end.ended
            assert ("transition" in alerts(kit)) is (
                not allowed and not late and end is not start
            ), (
                start,
                end,
            )


def test_an_order_thought_dead_that_works_is_a_critical_alarm() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.CANCELED)
    kit.ts += 1

    kit.seen(order, Status.OPEN)

    assert kit.order(order.id).status is Status.OPEN
    assert "order_resurrected" in alerts(kit)
    assert kit.engine.halts["all"].by == "order_resurrected"
    assert kit.engine.orders.loads[BTC].buys == D("0.01")


def test_a_row_takes_over_amount_and_prices_the_venue_shows() -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="65000", type="stop_limit", stop_price="64500")
    kit.ts += 1

    kit.seen(order, Status.OPEN, amount=D("0.02"), price=D("65001"), stop_price=D("64501"))

    now = kit.order(order.id)
    assert (now.amount, now.price, now.stop_price) == (D("0.02"), D(65001), D(64501))


def test_a_trailing_trigger_is_written_down_once_a_second() -> None:
    """trading:B6."""
    kit = Kit().open(USDT="1000", BTC="1")
    order = kit.opened(BTC, "sell", "0.01", type="trailing_stop", trailing_rate="0.01")
    kit.ts += SECOND
    kit.seen(order, Status.OPEN, stop_price=D(63000))
    kit.ts += SECOND - 1
    assert kit.seen(order, Status.OPEN, stop_price=D(63001)) == []
    kit.ts += 1
    kit.seen(order, Status.OPEN, stop_price=D(63002))

    assert kit.order(order.id).stop_price == D(63002)


def test_a_buy_by_cost_ends_by_its_row_and_gets_its_amount_from_it() -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0", cost_limit="640")
    kit.fill(order, "0.00999", "64000.01")
    assert kit.order(order.id).status is Status.OPEN

    kit.seen(order, Status.FILLED, "0.00999", amount=D("0.00999"))

    done = kit.order(order.id)
    assert (done.status, done.amount, done.remaining) == (Status.FILLED, D("0.00999"), D(0))


# --- unknown ----------------------------------------------------------------------------------


def test_no_answer_makes_an_order_unknown_and_starts_look_ups() -> None:
    """trading:2.3."""
    kit = Kit().open()
    order = lost(kit)

    assert order.status is Status.UNKNOWN
    assert of(kit.effects, Ask) == [Ask(order.id)]
    assert kit.engine.orders.unknown() == [order]
    assert kit.engine.orders.loads[BTC].buys == D("0.01")
    for _ in range(100):
        kit.tick(3600)
    assert kit.order(order.id).status is Status.UNKNOWN


@pytest.mark.parametrize("status", [s for s in Status if s not in {Status.PENDING, Status.UNKNOWN}])
def test_a_row_settles_an_unknown_order_and_is_told_once(status: Status) -> None:
    """trading:2.3 protocol:8.5."""
    kit = Kit().open()
    order = lost(kit)

    kit.seen(order, status, "0.01" if status is Status.FILLED else "0", evidence="found")

    assert resolutions(kit) == [("m-1", "order.place", "found")]
    kit.ts += 1
    kit.seen(order, status, "0.01" if status is Status.FILLED else "0")
    assert resolutions(kit) == []
    assert kit.engine.orders.owed == {}


def test_a_fill_a_late_answer_and_an_absence_settle_an_unknown_order() -> None:
    """trading:2.3 protocol:8.5."""
    kit = Kit().open()
    kit.fill(lost(kit, "m-1"), "0.004")
    assert resolutions(kit) == [("m-1", "order.place", "fill")]
    kit.accept(lost(kit, "m-2"))
    assert resolutions(kit) == [("m-2", "order.place", "answer")]
    order = lost(kit, "m-3")
    kit.post(Absent(order_id=order.id, ts=kit.ts))
    assert resolutions(kit) == [("m-3", "order.place", "absent")]
    assert (kit.order(order.id).status, kit.order(order.id).code) == (Status.REJECTED, Code.ABSENT)
    refusal = lost(kit, "m-4")
    kit.post(Rejected(order_id=refusal.id, code=Code.VENUE_REJECTED, reason="", ts=kit.ts))
    assert resolutions(kit) == [("m-4", "order.place", "answer")]


def test_an_absence_is_no_news_about_an_order_that_lives() -> None:
    kit = Kit().open()
    order = buy(kit)

    assert kit.post(Absent(order_id=order.id, ts=kit.ts)) == []


def test_a_time_out_after_the_row_is_no_news() -> None:
    """protocol:8.5. Found in review (R23): it was announced as resolved, and nobody had been told unknown."""
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.seen(order, Status.OPEN)

    before = kit.engine.digest()

    assert kit.post(Unknown(order_id=order.id, command="m-9", ts=kit.ts)) == []
    assert kit.order(order.id).status is Status.OPEN
    assert kit.engine.digest() == before


def test_an_order_told_unknown_twice_owes_two_answers() -> None:
    kit = Kit().open()
    order = lost(kit, "m-1")
    kit.post(Unknown(order_id=order.id, command="m-2", ts=kit.ts))

    kit.seen(order, Status.OPEN)

    assert [command for command, _, _ in resolutions(kit)] == ["m-1", "m-2"]


def test_an_operator_decides_and_is_overruled_by_later_evidence() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = lost(kit)
    resolve(kit, order, Status.CANCELED)
    assert kit.order(order.id).status is Status.CANCELED
    assert resolutions(kit) == [("m-1", "order.place", "operator")]
    kit.ts += 1

    kit.seen(order, Status.OPEN)

    assert kit.order(order.id).status is Status.OPEN


def resolve(
    kit: Kit, order: Order, status: Status, filled: str | None = None, who: object = ADMIN
) -> None:
    kit.post(
        Resolve(
            order_id=order.id,
            status=status,
            filled=None if filled is None else D(filled),
            reason="asked",
            who=who,  # type: ignore[arg-type]
            ts=kit.ts,
        )
    )


def test_what_an_operator_says_has_filled_moves_the_position_until_the_real_fill_comes() -> None:
    kit = Kit().open()
    order = lost(kit)

    resolve(kit, order, Status.CANCELED, "0.004")

    assert kit.engine.positions[BTC].amount == D("0.004")
    assert kit.order(order.id).status is Status.CANCELED
    kit.fill(order, "0.004", "63000")
    assert kit.engine.positions[BTC].amount == D("0.004")
    assert kit.engine.positions[BTC].cost == D(252)
    assert kit.replayed().digest() == kit.engine.digest()


def test_an_operator_may_say_that_all_has_filled() -> None:
    kit = Kit().open()
    order = lost(kit)

    resolve(kit, order, Status.FILLED)

    assert kit.order(order.id).status is Status.FILLED
    assert kit.engine.positions[BTC].amount == D("0.01")
    assert resolutions(kit) == [("m-1", "order.place", "operator")]


@pytest.mark.parametrize(
    ("status", "filled", "who", "code"),
    [
        (Status.CANCELED, None, WHO, Code.FORBIDDEN),
        (Status.PENDING, None, ADMIN, Code.INVALID),
        (Status.CANCELED, "0.02", ADMIN, Code.INVALID),
        (Status.FILLED, "0.001", ADMIN, Code.INVALID),
    ],
)
def test_an_operator_cannot_say_what_cannot_be(
    status: Status, filled: str | None, who: object, code: Code
) -> None:
    kit = Kit().open()
    order = lost(kit)

    with pytest.raises(Refused) as caught:
        resolve(kit, order, status, filled, who)
    assert caught.value.code is code
    with pytest.raises(Refused) as caught:
        resolve(kit, buy(kit), Status.CANCELED)
    assert caught.value.code is Code.CONFLICT


def test_after_a_restart_what_was_under_way_is_unknown() -> None:
    """trading:2.1."""
    kit = Kit().open()
    placed = kit.place(BTC, "buy", "0.01", price="64000")
    working = buy(kit)
    cancel(kit, working)
    moving = buy(kit)
    amend(kit, moving, price="63000")
    fresh = kit.replayed()

    facts = fresh.unfinished(kit.ts)
    for fact in facts:
        fresh.process(fact)

    assert fresh.orders.get(placed.id).status is Status.UNKNOWN  # type: ignore[union-attr]
    assert fresh.orders.get(working.id).cancel_state is Asked.UNKNOWN  # type: ignore[union-attr]
    assert fresh.orders.get(moving.id).amend_state is Asked.UNKNOWN  # type: ignore[union-attr]
    assert set(fresh.orders.owed) == {placed.id, working.id, moving.id}


# --- cancels ----------------------------------------------------------------------------------


def test_a_cancel_of_an_ended_order_changes_nothing() -> None:
    """trading:I5."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.CANCELED)

    cancel(kit, order)

    assert kit.effects == []
    assert kit.post(CancelAsked(order_id=order.id, ts=kit.ts)) == []
    with pytest.raises(Refused):
        kit.post(Cancel(order_id="nope", who=WHO, ts=kit.ts))


def test_a_repeated_cancel_goes_out_again_after_a_second() -> None:
    kit = Kit().open()
    order = buy(kit)
    cancel(kit, order)
    kit.ts += SECOND - 1
    cancel(kit, order)
    assert kit.effects == []
    kit.ts += 1

    cancel(kit, order)

    assert [type(effect) for effect in kit.effects] == [CancelAtVenue]


def test_a_cancel_answered_not_found_keeps_the_order_and_asks() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    cancel(kit, order)

    kit.post(CancelFailed(order_id=order.id, unknown=False, command=None, reason="?", ts=kit.ts))

    assert (kit.order(order.id).status, kit.order(order.id).cancel_state) == (
        Status.OPEN,
        Asked.NONE,
    )
    assert of(kit.effects, Ask)


def test_a_cancel_without_an_answer_is_settled_by_the_end_or_by_a_later_look() -> None:
    """trading:2.2 protocol:8.5."""
    kit = Kit().open()
    for end in (Status.CANCELED, Status.OPEN):
        order = buy(kit)
        cancel(kit, order)
        kit.post(CancelFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts))
        assert kit.order(order.id).cancel_state is Asked.UNKNOWN
        kit.ts += SECOND
        kit.seen(order, Status.OPEN, evidence="found")
        assert kit.order(order.id).cancel_state is Asked.UNKNOWN
        kit.ts += 4 * SECOND
        kit.seen(order, end, evidence="found")
        assert kit.order(order.id).cancel_state is Asked.NONE
        assert resolutions(kit) == [("m", "order.cancel", "found")]


def test_a_cancel_that_fails_after_the_end_is_no_news() -> None:
    kit = Kit().open()
    order = buy(kit)
    cancel(kit, order)
    kit.fill(order, "0.01")

    for command in ("m", None):
        late = CancelFailed(
            order_id=order.id, unknown=bool(command), command=command, reason="", ts=kit.ts
        )
        assert kit.post(late) == []


# --- amends -----------------------------------------------------------------------------------


def amend(kit: Kit, order: Order, **fields: str) -> None:
    full = {"amount": None, "price": None, "stop_price": None} | {
        name: D(value) for name, value in fields.items()
    }
    kit.post(
        Amend(
            order_id=order.id,
            stop_loss=None,
            take_profit=None,
            expires_at=None,
            who=WHO,
            ts=kit.ts,
            **full,
        )
    )


def done(kit: Kit, order: Order, **fields: object) -> None:
    full: dict[str, object] = {"amount": None, "price": None, "stop_price": None} | fields
    kit.post(AmendDone(order_id=order.id, method="native", ts=kit.ts, **full))  # type: ignore[arg-type]


def test_both_versions_count_until_the_amend_is_answered() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02")
    assert kit.engine.orders.loads[BTC].buys == D("0.02")
    assert of(kit.effects, SubmitAmend)

    done(kit, order, amount=D("0.02"))

    now = kit.order(order.id)
    assert (now.amount, now.amend_state, now.amend_amount) == (D("0.02"), Asked.NONE, None)


def test_an_answer_that_an_amend_has_overtaken_does_not_take_it_back() -> None:
    kit = Kit().open()
    order = buy(kit)
    asked = kit.ts
    kit.ts += SECOND
    amend(kit, order, amount="0.02", price="63000")
    done(kit, order, amount=D("0.02"), price=D(63000))

    kit.seen(order, Status.OPEN, evidence="found", ts=asked)
    assert (kit.order(order.id).amount, kit.order(order.id).price) == (D("0.02"), D(63000))

    kit.ts += SECOND
    kit.seen(order, Status.OPEN, evidence="found")  # somebody has changed it elsewhere
    assert kit.order(order.id).amount == order.amount


def test_a_refused_amend_leaves_the_old_version() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02")

    kit.post(AmendFailed(order_id=order.id, unknown=False, command=None, reason="", ts=kit.ts))

    assert kit.order(order.id).amend_state is Asked.NONE
    assert kit.engine.orders.loads[BTC].buys == D("0.01")


def test_an_unanswered_amend_is_settled_by_a_row_of_the_new_version_or_later_of_the_old() -> None:
    """trading:2.2 protocol:8.5."""
    for shown, price in ((64000, "63000"), (63000, "63000")):
        kit = Kit().open()
        order = buy(kit)
        amend(kit, order, price=price)
        kit.post(AmendFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts))
        assert kit.order(order.id).amend_state is Asked.UNKNOWN
        kit.ts += 5 * SECOND
        kit.seen(order, Status.OPEN, price=D(shown), evidence="found")
        now = kit.order(order.id)
        assert (now.amend_state, now.price) == (Asked.NONE, D(shown))
        assert resolutions(kit) == [("m", "order.amend", "found")]


def test_an_unanswered_amend_that_a_row_has_shown_is_no_news() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, price="63000")
    kit.seen(order, Status.OPEN, price=D(63000))

    late = AmendFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts)
    assert kit.post(late) == []
    assert kit.order(order.id).price == 63000


def test_an_amend_answered_after_the_end_settles_only_its_command() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02")
    kit.seen(order, Status.CANCELED)
    out = kit.post(AmendFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts))
    assert resolutions(kit) == [("m", "order.amend", "found")]
    assert Ask(order.id) in out  # which of its two terms it had in the end

    done(kit, order, amount=D("0.02"))

    assert kit.order(order.id).amount == D("0.01")


def test_an_amend_refused_after_the_end_leaves_nothing_to_ask() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, price="63000")
    kit.seen(order, Status.CANCELED)

    out = kit.post(
        AmendFailed(order_id=order.id, unknown=False, command=None, reason="", ts=kit.ts)
    )

    assert not of(out, Ask)


def test_an_end_that_is_looked_up_has_the_terms_of_an_amend_without_an_answer() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02", price="63000")
    kit.seen(order, Status.CANCELED, amount=order.amount, price=order.price)

    kit.seen(order, Status.CANCELED, amount=D("0.02"), price=D(63000), evidence="found")

    assert (kit.order(order.id).amount, kit.order(order.id).price) == (D("0.02"), D(63000))


def test_an_amend_down_to_what_has_filled_meanwhile_ends_the_order() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.005")
    kit.fill(order, "0.005")

    done(kit, order, amount=D("0.005"), exchange_order_id="v-new")

    now = kit.order(order.id)
    assert (now.status, now.exchange_order_id) == (Status.FILLED, "v-new")


def test_an_order_that_may_have_become_larger_is_not_filled_by_what_it_was() -> None:
    """trading:2.2: the rest of an amend without an answer may work at the venue."""
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02", price="63000")
    kit.post(AmendFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts))
    kit.fill(order, "0.01")
    assert kit.order(order.id).status is Status.OPEN

    out = kit.fill(order, "0.004")

    now = kit.order(order.id)
    assert (now.status, now.amount, now.price) == (Status.OPEN, D("0.02"), D(63000))
    assert now.amend_state is Asked.NONE
    assert not [effect for effect in out if isinstance(effect, Alert)]
    kit.fill(order, "0.006")
    assert kit.order(order.id).status is Status.FILLED


def test_an_order_that_did_not_become_larger_was_filled() -> None:
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, amount="0.02")
    kit.fill(order, "0.01")
    assert kit.order(order.id).status is Status.OPEN

    kit.post(AmendFailed(order_id=order.id, unknown=False, command=None, reason="no", ts=kit.ts))

    assert kit.order(order.id).status is Status.FILLED


def test_an_end_shows_the_terms_of_an_amend_whose_answer_was_lost() -> None:
    kit = Kit().open()
    order, other = buy(kit), buy(kit)
    amend(kit, order, amount="0.02")
    kit.seen(order, Status.FILLED, amount=D("0.02"), filled="0.02", cost=D(1280))
    kit.fill(other, "0.01")
    kit.seen(other, Status.FILLED, price=D(63990), filled="0.01", cost=D(640))

    assert kit.order(order.id).amount == D("0.02")
    assert kit.order(other.id).price == D(63990)
    assert kit.engine.state() is TradingState.ACTIVE


def test_an_amend_to_the_same_or_of_an_order_not_open_or_twice_at_once() -> None:
    """trading:I5."""
    kit = Kit().open()
    order = buy(kit)
    amend(kit, order, price="64000")
    assert kit.effects == []
    amend(kit, order, price="63000")
    with pytest.raises(Refused) as caught:
        amend(kit, order, price="62000")
    assert caught.value.code is Code.CONFLICT
    pending = kit.place(BTC, "buy", "0.01", price="60000")
    with pytest.raises(Refused) as caught:
        amend(kit, pending, price="62000")
    assert caught.value.code is Code.CONFLICT


# --- fills ------------------------------------------------------------------------------------


def test_fills_count_once_however_often_they_arrive() -> None:
    """trading:2.5."""
    kit = Kit().open()
    order = buy(kit)
    kit.fill(order, "0.004", trade_id="t")

    assert kit.fill(order, "0.004", trade_id="t") == []

    assert kit.order(order.id).filled == D("0.004")
    assert len(kit.engine.fills_of(order.id)) == 1
    assert kit.engine.last_fill_ts == kit.ts


def test_a_fill_makes_a_pending_order_open_or_filled() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.004", fee="0.00001", fee_currency="BTC")
    assert kit.order(order.id).status is Status.OPEN
    kit.fill(order, "0.006", fee="0.00001", fee_currency="BTC")

    now = kit.order(order.id)
    assert (now.status, now.cost, now.fees) == (
        Status.FILLED,
        D(640),
        (("BTC", D("0.00002")),),
    )


def test_a_late_fill_is_booked_and_told() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.CANCELED)

    kit.fill(order, "0.004")

    assert (kit.order(order.id).status, kit.order(order.id).filled) == (Status.CANCELED, D("0.004"))
    assert alerts(kit) == ["late_fill"]
    kit.fill(order, "0.006")
    assert kit.order(order.id).status is Status.FILLED


def test_more_filled_than_asked_for_is_booked_and_alarmed() -> None:
    """trading:2.2."""
    kit = Kit().open()
    order = buy(kit)
    kit.fill(order, "0.01")

    kit.fill(order, "0.002")

    assert (kit.order(order.id).status, kit.order(order.id).filled) == (Status.FILLED, D("0.012"))
    assert alerts(kit)[0] == "overfill"
    assert kit.engine.halts["all"].by == "overfill"
    assert kit.engine.positions[BTC].amount == D("0.012")


def test_a_row_may_show_an_overfill_first() -> None:
    kit = Kit().open()
    order = buy(kit)

    kit.seen(order, Status.FILLED, "0.012")

    assert "overfill" in alerts(kit)


def test_an_inferred_fill_gives_way_to_the_real_one_even_when_that_is_smaller() -> None:
    """trading:2.5."""
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.OPEN, "0.006", cost=D(384))
    [missing] = kit.engine.missing_fills(order.id, kit.ts)
    assert isinstance(missing, Filled)
    assert (missing.amount, missing.price) == (D("0.006"), D(64000))
    kit.post(missing)
    assert kit.engine.positions[BTC].amount == D("0.006")
    assert kit.engine.missing_fills(order.id, kit.ts) == []

    kit.fill(order, "0.002", "63000")

    assert kit.engine.positions[BTC].amount == D("0.006")
    assert kit.engine.positions[BTC].cost == D("0.002") * 63000 + D("0.004") * 64000
    assert kit.engine.orders.booked(order.id) == D("0.006")
    kit.fill(order, "0.004", "62000")
    assert kit.engine.positions[BTC].cost == D("0.002") * 63000 + D("0.004") * 62000
    assert [fill.inferred for fill in kit.engine.fills_of(order.id)] == [False, False]
    assert kit.replayed().digest() == kit.engine.digest()


def test_an_inferred_fill_without_a_cost_takes_the_orders_price_or_the_mark() -> None:
    kit = Kit().open()
    order = buy(kit)
    kit.seen(order, Status.OPEN, "0.006", cost=D(0))
    [missing] = kit.engine.missing_fills(order.id, kit.ts)
    assert isinstance(missing, Filled)
    assert missing.price == D(64000)
    market = kit.opened(BTC, "buy", "0.01")
    kit.seen(market, Status.OPEN, "0.006", cost=D(0))
    [missing] = kit.engine.missing_fills(market.id, kit.ts)
    assert isinstance(missing, Filled)
    assert missing.price == D(64000)


def test_an_exchange_id_is_learned_from_a_fill() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="64000")

    kit.fill(order, "0.001")

    assert kit.order(order.id).exchange_order_id == f"v-{order.id}"
    assert of(kit.effects, FillBooked)


# --- strangers --------------------------------------------------------------------------------


def stranger(kit: Kit, **fields: object) -> OrderSeen:
    row = OrderSeen(
        venue="paper",
        symbol=BTC,
        exchange_order_id="ext-1",
        venue_client_id=None,
        side=Side.BUY,
        type="limit",
        status=Status.OPEN,
        amount=D("0.02"),
        price=D(60000),
        stop_price=None,
        filled=D(0),
        cost=D(0),
        reduce_only=False,
        asof=kit.ts,
        ts=kit.ts,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def test_an_order_without_an_intent_is_shown_counted_alarmed_and_left_alone() -> None:
    """trading:2.7."""
    kit = Kit().open()

    kit.post(stranger(kit))

    order = kit.order("x-ext-1")
    assert order.external
    assert (order.type, order.role, order.price) == (OrderType.LIMIT, Role.ENTRY, D(60000))
    assert kit.engine.orders.loads[BTC].buys == D("0.02")
    assert alerts(kit) == ["external_order"]
    assert not of(kit.effects, CancelAtVenue)
    cancel(kit, order)
    assert of(kit.effects, CancelAtVenue)


def test_strangers_of_unknown_kinds_are_taken_as_they_are() -> None:
    kit = Kit().open()
    kit.post(stranger(kit, type="iceberg"))
    kit.post(stranger(kit, symbol=PERP, side=Side.SELL, reduce_only=True))
    kit.post(stranger(kit, exchange_order_id="ext-2", side=Side.SELL))

    assert kit.order("x-ext-1").type is OrderType.LIMIT
    assert kit.order(f"x-ext-1-{PERP}").role is Role.EXIT
    assert kit.order("x-ext-2").role is Role.EXIT


def test_what_has_ended_or_is_in_no_market_of_ours_is_no_news() -> None:
    kit = Kit().open()

    assert kit.post(stranger(kit, status=Status.CANCELED)) == []
    assert kit.post(stranger(kit, symbol="XYZ/USDT")) == []


def test_a_stranger_with_an_id_like_ours_means_another_process() -> None:
    """trading:2.7."""
    kit = Kit().open()

    kit.post(stranger(kit, venue_client_id="0" * 32))

    assert alerts(kit)[:2] == ["external_order", "foreign_process"]
    assert kit.engine.halts["all"].by == "foreign_process"


def test_before_the_first_reconciliation_such_an_order_is_merely_external() -> None:
    kit = Kit()

    kit.post(stranger(kit, venue_client_id="0" * 32))

    assert alerts(kit) == ["external_order"]


def test_a_fill_of_a_stranger_is_booked_and_its_order_asked_for() -> None:
    """trading:2.7."""
    kit = Kit().open()

    kit.fill(kit.draft(BTC, "buy", "0.5", exchange_order_id="ext-9", venue_client_id=""), "0.5")

    order = kit.order("x-ext-9")
    assert order.external
    assert kit.engine.positions[BTC].amount == D("0.5")
    assert of(kit.effects, Ask) == [Ask("x-ext-9")]


OPEN, FILLED, CANCELED = Status.OPEN, Status.FILLED, Status.CANCELED


@pytest.mark.parametrize(
    ("told", "status", "amount"),
    [
        (["0.2", "0.1", (FILLED, "0.3", "0.3")], FILLED, "0.3"),
        (["0.2", (OPEN, "0.2", "0.3"), "0.1", (FILLED, "0.3", "0.3")], FILLED, "0.3"),
        (["0.2", "0.1", (OPEN, "0.2", "0.5"), (OPEN, "0.3", "0.5")], OPEN, "0.5"),
        (["0.2", (CANCELED, "0.2", "0.5")], CANCELED, "0.5"),
        (["0.2", (FILLED, "0.3", "0.3"), "0.1"], FILLED, "0.3"),
        (
            [(OPEN, "0", "0"), "0.2", (OPEN, "0.2", "0"), "0.1", (FILLED, "0.3", "0.3")],
            FILLED,
            "0.3",
        ),
    ],
    ids=["fills", "a row", "an older row", "its end", "its end before a fill", "a buy by cost"],
)
def test_an_order_that_is_not_ours_may_be_told_by_its_fills_before_its_rows(
    told: list[str | tuple[Status, str, str]], status: Status, amount: str
) -> None:
    """trading:2.7: a market order given by hand fills in pieces, and nobody knows how large it is."""
    kit = Kit().open()
    codes: list[str] = []
    for one in told:
        kit.ts += SECOND
        if isinstance(one, str):
            draft = kit.draft(BTC, "buy", "9", exchange_order_id="ext-1", venue_client_id="hand")
            kit.fill(draft, one)
        else:
            known, filled, whole = one
            row = stranger(kit, status=known, filled=D(filled), amount=D(whole), cost=D(1))
            kit.post(replace(row, venue_client_id="hand"))
        codes += alerts(kit)

    order = kit.order("x-ext-1")
    assert (order.status, order.amount) == (status, D(amount))
    assert (order.type, order.price) == (OrderType.LIMIT, D(60000))
    assert order.filled == kit.engine.positions[BTC].amount
    assert codes == ["external_order"]
    assert kit.engine.halts == {}
    assert kit.engine.orders.gaps == {}
    assert kit.replayed().digest() == kit.engine.digest()


def test_a_row_that_never_tells_the_amount_is_old_or_no_news_all_the_same() -> None:
    """trading:2.7: a market buy by cost, given by hand, at a venue that tells no amount."""
    kit = Kit().open()

    def tell(status: Status, ago: int = 0, **fields: object) -> list[str]:
        kit.ts += 30 * SECOND
        row = stranger(kit, status=status, amount=D(0), asof=kit.ts - ago * SECOND, **fields)
        kit.post(row)
        assert kit.replayed().digest() == kit.engine.digest()
        return alerts(kit)

    tell(OPEN)
    for _ in range(3):
        assert tell(OPEN) == []
        assert kit.effects == []
    assert kit.order("x-ext-1").version == 1

    tell(OPEN, filled=D("0.2"), cost=D(12000), price=D(59000))
    order = kit.order("x-ext-1")
    assert (order.amount, order.filled, order.price) == (D("0.2"), D("0.2"), D(59000))

    tell(CANCELED, filled=D("0.2"), cost=D(12000))
    stale = kit.engine.orders.stale_rows
    assert tell(OPEN, 60, filled=D("0.2"), cost=D(12000)) == []
    assert kit.order("x-ext-1").status is CANCELED
    assert kit.engine.orders.stale_rows == stale + 1

    assert "order_resurrected" in tell(OPEN, filled=D("0.2"), cost=D(12000))
    assert kit.order("x-ext-1").status is OPEN

    tell(OPEN, filled=D("0.2"), cost=D(12000))
    assert kit.effects == []


@pytest.mark.parametrize("by", ["row", "fill and row", "fill"])
def test_an_order_without_an_amount_that_has_filled_by_its_row_does_not_open_again_in_silence(
    by: str,
) -> None:
    """Its fills alone say no more than what it has filled so far; its row says that this was all."""
    kit = Kit().open()
    draft = kit.draft(BTC, "buy", "9", exchange_order_id="ext-1", venue_client_id="hand")
    kit.post(stranger(kit, amount=D(0)))
    fields: dict[str, Any] = {"amount": D(0), "filled": D("0.2"), "cost": D(12000)}
    if by != "row":
        kit.fill(draft, "0.2")
        assert kit.order("x-ext-1").status is FILLED
    kit.ts += SECOND
    if by != "fill":
        kit.post(stranger(kit, status=FILLED, asof=kit.ts, **fields))
    kit.ts += SECOND
    kit.post(stranger(kit, status=OPEN, asof=kit.ts, **fields))

    assert kit.order("x-ext-1").status is (OPEN if by == "fill" else FILLED)
    assert alerts(kit) == ([] if by == "fill" else ["transition"])
    assert kit.replayed().digest() == kit.engine.digest()


def test_the_first_row_of_an_order_that_a_fill_told_of_counts_even_if_it_says_the_same() -> None:
    kit = Kit().open()
    draft = kit.draft(BTC, "buy", "9", exchange_order_id="ext-1", venue_client_id="hand")
    kit.fill(draft, "0.2")
    same = stranger(kit, type="market", price=None, filled=D("0.2"), cost=kit.order("x-ext-1").cost)
    kit.ts += SECOND
    kit.post(replace(same, status=FILLED, amount=D(0), asof=kit.ts))

    kit.post(replace(same, amount=D(0)))  # an older one

    assert kit.order("x-ext-1").status is FILLED
    kit.post(replace(same, status=FILLED, amount=D("0.2"), asof=kit.ts + 1))
    kit.fill(draft, "0.1")
    assert "overfill" in alerts(kit)
    assert kit.replayed().digest() == kit.engine.digest()


def test_a_cancel_without_an_answer_is_settled_by_a_row_that_tells_no_amount() -> None:
    kit = Kit().open()
    row = stranger(kit, amount=D(0), evidence="found")
    kit.post(row)
    order = kit.order("x-ext-1")
    cancel(kit, order)
    kit.post(CancelFailed(order_id=order.id, unknown=True, command="m", reason="", ts=kit.ts))
    assert kit.order(order.id).cancel_state is Asked.UNKNOWN
    kit.ts += 5 * SECOND

    kit.post(replace(row, asof=kit.ts, ts=kit.ts))

    assert kit.order(order.id).cancel_state is Asked.NONE


def test_an_order_that_is_not_ours_and_is_known_may_be_overfilled() -> None:
    kit = Kit().open()
    kit.post(stranger(kit))
    for _ in range(2):
        kit.fill(kit.draft(BTC, "buy", "9", exchange_order_id="ext-1"), "0.015")

    assert alerts(kit)[0] == "overfill"


def test_a_strangers_fill_from_before_the_first_look_is_in_it_already() -> None:
    kit = Kit().open()
    kit.ts -= 1

    effects = kit.fill(kit.draft(BTC, "buy", "0.5", exchange_order_id="ext-9"), "0.5")

    assert effects == []
    other = Filled(
        venue="paper",
        symbol="XYZ/USDT",
        trade_id="t",
        exchange_order_id="v",
        venue_client_id=None,
        side=Side.BUY,
        amount=D(1),
        price=D(1),
        fee=D(0),
        fee_currency="USDT",
        maker=False,
        ts=kit.ts,
    )
    assert kit.post(other) == []


@pytest.mark.parametrize(("told", "amounts"), [(False, ["2"]), (True, ["1", "1"])])
def test_what_an_older_program_booked_before_the_first_look_stays_booked(
    *, told: bool, amounts: list[str]
) -> None:
    """It had no such rule: its journal has the fills, and whatever it made of the difference later."""
    kit = Kit()
    order = kit.draft(BTC, "buy", "2", price="64000", exchange_order_id="e", venue_client_id="")
    if told:
        kit.seen(order, Status.OPEN, "2", amount=D(3))
    assert kit.fill(order, "1") == [], "not by a process of now"
    for number, amount in enumerate(amounts):
        kit.journal.append(
            Filled(
                venue="paper",
                symbol=BTC,
                trade_id=f"old-{number}",
                exchange_order_id="e",
                venue_client_id=None,
                side=Side.BUY,
                amount=D(amount),
                price=D(64000),
                fee=D(0),
                fee_currency="USDT",
                maker=False,
                ts=kit.ts,
            )
        )

    engine = kit.replayed()

    position, found = engine.positions[BTC], engine.orders.get("x-e")
    assert (position.amount, position.cost) == (D(2), D(128000))
    assert found is not None
    assert (found.filled, engine.orders.booked("x-e")) == (D(2), D(2))


@pytest.mark.parametrize(("amount", "booked"), [("2", "2"), ("1", "3")])
def test_a_difference_that_an_older_program_booked_is_not_booked_twice(
    amount: str, booked: str
) -> None:
    """The same row of a journal says less by this program: then its difference is what came later."""
    kit = Kit()
    order = kit.draft(BTC, "buy", "5", price="64000", exchange_order_id="e", venue_client_id="")
    kit.seen(order, Status.OPEN, "2")
    kit.open()
    if amount == "1":
        kit.ts += SECOND
        kit.seen(order, Status.OPEN, "3")
    kit.fill(order, amount, inferred=True)

    found = kit.replayed().orders.get("x-e")

    assert found is not None
    assert (found.status, found.filled) == (Status.OPEN, D(booked))


def test_a_stranger_may_be_adopted_by_an_admin() -> None:
    kit = Kit().open()
    kit.post(stranger(kit))

    with pytest.raises(Refused) as caught:
        kit.post(Adopt(order_id="x-ext-1", bot_id="b", who=WHO, ts=kit.ts))
    assert caught.value.code is Code.FORBIDDEN
    kit.post(Adopt(order_id="x-ext-1", bot_id="b", who=ADMIN, ts=kit.ts))
    order = kit.order("x-ext-1")
    assert (order.external, order.bot_id, order.subject) == (False, "b", "root")
    with pytest.raises(Refused) as caught:
        kit.post(Adopt(order_id="x-ext-1", bot_id="b", who=ADMIN, ts=kit.ts))
    assert caught.value.code is Code.CONFLICT


def test_a_resend_after_a_restored_backup_finds_the_order_the_venue_has() -> None:
    """trading:I3."""
    kit = Kit().open()
    mine = venue_client_id("paper", "mine")
    kit.engine._state.ever_ready = False
    kit.post(stranger(kit, venue_client_id=mine))
    draft = kit.draft(BTC, "buy", "0.02", price="60000", client_order_id="mine")

    effects = kit.post(Place(order=draft, who=WHO, ts=kit.ts, content={"a": "b"}))

    duplicate = effects[-1]
    assert isinstance(duplicate, Duplicate)
    assert (duplicate.order.id, duplicate.order.external) == ("x-ext-1", False)
    assert kit.engine.orders.by_client_id("mine") == duplicate.order
    again = kit.post(Place(order=draft, who=WHO, ts=kit.ts, content={"a": "b"}))
    assert again == [Duplicate(duplicate.order)]


def test_a_resend_with_other_content_than_the_venues_order_is_a_conflict() -> None:
    """trading:I3."""
    kit = Kit().open()
    mine = venue_client_id("paper", "mine")
    kit.engine._state.ever_ready = False
    kit.post(stranger(kit, venue_client_id=mine))
    draft = kit.draft(BTC, "buy", "0.03", price="60000", client_order_id="mine")

    with pytest.raises(Refused) as caught:
        kit.post(Place(order=draft, who=WHO, ts=kit.ts))
    assert caught.value.code is Code.CONFLICT


# --- look-ups ---------------------------------------------------------------------------------


def test_recent_orders_are_the_working_ones_and_those_of_five_minutes() -> None:
    kit = Kit().open()
    old = buy(kit)
    kit.seen(old, Status.CANCELED)
    kit.ts += 200 * SECOND
    kit.prices()
    young = buy(kit)
    kit.seen(young, Status.CANCELED)
    working = buy(kit)
    revived = buy(kit)
    kit.seen(revived, Status.CANCELED)
    kit.ts += 101 * SECOND
    kit.seen(revived, Status.OPEN)

    recent = {order.id for order in kit.engine.orders.recent(kit.ts)}

    assert recent == {young.id, working.id, revived.id}
    assert next(order.id for order in kit.engine.orders.all()) == old.id
    assert list(kit.engine.orders.symbols()) == [BTC]
    few = Kit().open()
    ended = buy(few)
    few.seen(ended, Status.CANCELED)
    assert [order.id for order in few.engine.orders.recent(few.ts)] == [ended.id]


def test_an_answer_that_says_what_is_known_changes_no_status() -> None:
    kit = Kit().open()

    order = kit.accept(kit.place(BTC, "buy", "0.01", price="64000"), Status.PENDING)

    assert (order.status, order.exchange_order_id) == (Status.PENDING, f"v-{order.id}")


def test_an_operators_decision_about_an_order_that_is_known_changes_nothing() -> None:
    kit = Kit().open()
    order = buy(kit)
    decided = Resolved(
        order_id=order.id, status=Status.CANCELED, filled=None, reason="", by="root", ts=kit.ts
    )

    assert kit.post(decided) == []


def test_an_id_the_venue_knows_already_is_not_placed_again() -> None:
    """trading:I3."""
    kit = Kit().open()
    order = buy(kit)
    draft = kit.draft(BTC, "buy", "0.01", price="64000", venue_client_id=order.venue_client_id)

    assert kit.post(Place(order=draft, who=WHO, ts=kit.ts)) == [Duplicate(order)]


def test_an_inferred_fill_of_unknown_cost_gives_way_too() -> None:
    kit = Kit().open(USDT="100000", BTC="1")
    order = kit.opened(BTC, "sell", "0.01", price="65000")
    kit.seen(order, Status.OPEN, "0.01")
    kit.post(kit.engine.missing_fills(order.id, kit.ts)[0])

    kit.fill(order, "0.01", "65000")

    assert (kit.engine.positions[BTC].amount, kit.engine.positions[BTC].cost) == (D("0.99"), None)


def test_every_change_is_published_with_the_row_as_it_is() -> None:
    kit = Kit().open()
    order = buy(kit)
    kit.fill(order, "0.01")

    [changed] = of(kit.effects, OrderChanged)

    assert isinstance(changed, OrderChanged)
    assert changed.order == kit.order(order.id)
    assert OURS != VENUE
