"""Whose rows and fills without a client id are (trading 2.3)."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime.engine.content import match, waits
from realtime.model.events import Alert, Filled, Note, OrderSeen, Unknown
from realtime.model.market import SECOND
from realtime.model.orders import Order, Side, Status
from tests.engine.kit import BTC, ETH, D, Kit, of


def unknown(kit: Kit, amount: str = "0.01", price: str | None = "60000") -> Order:
    order = kit.place(BTC, "buy", amount, price=price)
    kit.release(order)
    kit.post(Unknown(order_id=order.id, command=f"m-{order.id}", ts=kit.ts))
    return kit.order(order.id)


def row(kit: Kit, order: Order, name: str = "v-1", **fields: object) -> OrderSeen:
    made = OrderSeen(
        venue="paper",
        symbol=order.symbol,
        exchange_order_id=name,
        venue_client_id=None,
        side=order.side,
        type=order.type.value,
        status=Status.OPEN,
        amount=order.amount,
        price=order.price,
        stop_price=order.stop_price,
        filled=D(0),
        cost=D(0),
        reduce_only=False,
        asof=kit.ts,
        evidence="found",
        ts=kit.ts,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def fill(kit: Kit, order: Order, size: str, name: str = "v-1", **fields: object) -> Filled:
    made = Filled(
        venue="paper",
        symbol=order.symbol,
        trade_id=f"t-{name}-{size}",
        exchange_order_id=name,
        venue_client_id=None,
        side=order.side,
        amount=D(size),
        price=order.price or D(64000),
        fee=D(0),
        fee_currency="USDT",
        maker=False,
        ts=kit.ts,
    )
    return replace(made, **fields)  # type: ignore[arg-type]


def matched(
    kit: Kit, rows: Sequence[OrderSeen], fills: Sequence[Filled] = (), *, later: float = 0
) -> tuple[list[str | None], list[str | None]]:
    now = kit.ts + int(later * SECOND)
    seen, booked = match(kit.engine.orders, rows, fills, now)
    return [one.venue_client_id for one in seen], [one.venue_client_id for one in booked]


def test_the_one_row_with_the_content_of_the_one_unknown_order_is_it() -> None:
    kit = Kit().open()
    order = unknown(kit)
    rows, _ = match(kit.engine.orders, [row(kit, order)], [], kit.ts)

    effects = kit.post(rows[0])

    found = kit.order(order.id)
    assert (found.status, found.exchange_order_id) == (Status.OPEN, "v-1")
    assert [note.data["evidence"] for note in effects if isinstance(note, Note)] == ["content"]
    assert not of(effects, Alert)


def test_the_fills_of_an_order_that_has_ended_already_are_a_match_too() -> None:
    kit = Kit().open()
    order = unknown(kit)
    fills = [fill(kit, order, "0.004"), fill(kit, order, "0.006")]
    _, booked = match(kit.engine.orders, [], fills, kit.ts)
    for one in booked:
        kit.post(one)

    assert kit.order(order.id).status is Status.FILLED


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": ETH},
        {"side": Side.SELL},
        {"type": "market"},
        {"amount": D("0.02")},
        {"price": D(60001)},
        {"stop_price": D(1)},
        {"asof": 0},
    ],
    ids=str,
)
def test_a_row_with_anything_else_is_not_it(fields: dict[str, Any]) -> None:
    kit = Kit().open()
    order = unknown(kit)

    rows, _ = matched(kit, [row(kit, order, **fields)])

    assert rows in ([None], [])


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": ETH},
        {"side": Side.SELL},
        {"amount": D("0.009")},
        {"price": D(60001)},
        {"ts": 0},
    ],
    ids=str,
)
def test_fills_with_anything_else_are_not_it(fields: dict[str, Any]) -> None:
    kit = Kit().open()
    order = unknown(kit)

    _, fills = matched(kit, [], [fill(kit, order, "0.01", **fields)])

    assert fills in ([""], [])


def test_a_sell_is_not_filled_below_its_price_and_a_market_order_at_any() -> None:
    kit = Kit().open(USDT="100000", BTC="1")
    sell = kit.place(BTC, "sell", "0.01", price="66000")
    kit.release(sell)
    kit.post(Unknown(order_id=sell.id, command="m-1", ts=kit.ts))
    sell = kit.order(sell.id)

    assert matched(kit, [], [fill(kit, sell, "0.01", price=D(65999))])[1] == []
    assert matched(kit, [], [fill(kit, sell, "0.01")])[1] == [sell.venue_client_id]

    market = unknown(kit, "0.02", None)

    assert matched(kit, [], [fill(kit, market, "0.02", price=Decimal(1))])[1] == [
        market.venue_client_id
    ]


def test_two_candidates_on_either_side_decide_nothing() -> None:
    kit = Kit().open()
    order = unknown(kit)
    two = [row(kit, order, "v-1"), row(kit, order, "v-2")]

    assert matched(kit, two)[0] == []
    assert matched(kit, two, later=61)[0] == [None, None]


def test_two_unknown_orders_of_one_content_decide_nothing() -> None:
    kit = Kit().open()
    order = unknown(kit)
    unknown(kit)

    assert matched(kit, [row(kit, order)])[0] == []


def test_what_is_early_is_waited_for_and_what_is_late_is_a_strangers() -> None:
    kit = Kit().open()
    order = unknown(kit)
    other = [row(kit, order, amount=D(1))]
    traded = [fill(kit, order, "0.5")]

    assert matched(kit, other, traded) == ([], [])
    assert matched(kit, other, traded, later=61) == ([None], [""])


def test_without_an_order_in_doubt_everything_is_taken_as_it_is() -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="60000")
    mine = row(kit, order, order.exchange_order_id or "")
    other = row(kit, order, "v-9", venue_client_id="web")

    assert matched(kit, [mine, other], [fill(kit, order, "0.01", "v-9")]) == ([None, "web"], [""])


def test_a_stream_names_no_stranger_while_an_answer_is_on_its_way() -> None:
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="60000")
    kit.release(order)

    assert waits(kit.engine.orders, BTC, Side.BUY, kit.ts)
    assert not waits(kit.engine.orders, BTC, Side.SELL, kit.ts)
    assert kit.post(row(kit, order, evidence="stream")) == []
    assert kit.post(fill(kit, order, "0.01")) == []
    assert of(kit.post(row(kit, order, evidence="found")), Alert)
    assert of(kit.post(fill(kit, order, "0.02", "v-7", venue_client_id="")), Alert)


def test_a_fill_that_has_a_name_needs_no_match() -> None:
    kit = Kit().open()
    order = unknown(kit)

    assert matched(kit, [], [fill(kit, order, "0.01", venue_client_id="web")])[1] == ["web"]
