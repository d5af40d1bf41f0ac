"""H1, H2, H3, H12: the order path against a venue that lies by silence."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from hypothesis.stateful import run_state_machine_as_test

from realtime.model.events import Filled, OrderSeen
from realtime.model.market import SECOND
from realtime.model.orders import Order, Status
from tests.engine.adversary import Trader
from tests.engine.kit import BTC, D, Kit


@pytest.mark.promise("O3")
@pytest.mark.promise("O4")
def test_no_order_is_doubled_lost_or_believed_dead() -> None:
    """trading:H1 trading:H12."""
    run_state_machine_as_test(
        Trader,
        settings=settings(
            max_examples=200, stateful_step_count=30, deadline=None, derandomize=True, database=None
        ),
    )


@pytest.mark.parametrize(
    "fault", ["timeout_is_rejected", "not_found_is_gone", "no_deduplication", "no_write_ahead"]
)
def test_a_planted_fault_is_found(fault: str) -> None:
    """trading:H2."""

    class Faulty(Trader):
        pass

    Faulty.fault = fault
    with pytest.raises(AssertionError, match=r"live order|placed twice|not what the venue has"):
        run_state_machine_as_test(
            Faulty,
            settings=settings(
                max_examples=500,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


# --- H3 ---------------------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[int, str, Decimal]], Status, list[int]]:
    """What happened at the venue, how it ended, and the order in which we hear of it."""
    parts = draw(st.lists(st.integers(1, 4), max_size=4))
    story: list[tuple[int, str, Decimal]] = [(0, "row", D(0))]
    filled = 0
    for at, part in enumerate(parts, 1):
        amount = min(part, 10 - filled)
        if not amount:
            break
        filled += amount
        story.append((at, "fill", D(amount) / 1000))
        story.append((at, "row", D(filled) / 1000))
    end = (
        Status.FILLED
        if filled == 10
        else draw(st.sampled_from([Status.OPEN, Status.CANCELED, Status.EXPIRED]))
    )
    if end not in {Status.OPEN, Status.FILLED}:
        story.append((len(parts) + 1, "end", D(filled) / 1000))
    heard = draw(st.permutations(range(len(story))))
    again = draw(st.lists(st.integers(0, len(story) - 1), max_size=6))
    return story, end, [*again, *heard, *again]


def hear(
    kit: Kit, order: Order, story: list[tuple[int, str, Decimal]], end: Status, index: int
) -> None:
    at, kind, amount = story[index]
    if kind == "fill":
        kit.post(
            Filled(
                venue="paper",
                symbol=BTC,
                trade_id=f"t{index}",
                exchange_order_id=f"v-{order.id}",
                venue_client_id=order.venue_client_id,
                side=order.side,
                amount=amount,
                price=D(64000),
                fee=D(0),
                fee_currency="USDT",
                maker=False,
                ts=order.created_ts + at * SECOND,
            )
        )
        return
    status = end if kind == "end" else Status.FILLED if amount == D("0.01") else Status.OPEN
    kit.post(
        OrderSeen(
            venue="paper",
            symbol=BTC,
            exchange_order_id=f"v-{order.id}",
            venue_client_id=order.venue_client_id,
            side=order.side,
            type="limit",
            status=status,
            amount=order.amount,
            price=order.price,
            stop_price=None,
            filled=amount,
            cost=amount * 64000,
            reduce_only=False,
            asof=order.created_ts + at * SECOND,
            ts=order.created_ts + at * SECOND,
        )
    )


@given(histories())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_rows_and_fills_in_any_order_lead_to_the_same_order(
    history: tuple[list[tuple[int, str, Decimal]], Status, list[int]],
) -> None:
    """trading:H3: duplicated, reordered, at last all delivered; filled never falls."""
    story, end, heard = history
    ends = []
    for order_of_news in (range(len(story)), heard):
        kit = Kit().open()
        order = kit.place(BTC, "buy", "0.01", price="64000")
        kit.release(order)
        filled = D(0)
        for index in order_of_news:
            hear(kit, order, story, end, index)
            now = kit.order(order.id)
            assert now.filled >= filled
            filled = now.filled
        assert "all" not in kit.engine.halts
        now = kit.order(order.id)
        held = kit.engine.positions.get(BTC)
        ends.append((now.status, now.filled, now.cost, held and (held.amount, held.cost)))
        assert kit.replayed().digest() == kit.engine.digest()

    assert ends[0] == ends[1]
    assert ends[0][0] is end
