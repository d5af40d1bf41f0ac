"""trading:X6.1, X6.2 and X6.6, spot accounts: what is free, what is held, what moves."""

from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.model.errors import Code, VenueRejected
from realtime.model.events import BalanceSeen, Transferred
from realtime.model.orders import OrderType, Side, Status
from tests.engine.floor import IOC, PERP, SPOT, Floor


D = Decimal


def floor() -> Floor:
    return Floor(me={"USDT": "1000", "BTC": "2"}).outside([("99.00", "9")], [("101.00", "9")])


def test_a_resting_buy_holds_its_cost_and_a_sell_its_amount() -> None:
    made = floor()
    made.buy("2", price="90.00")
    made.sell("0.5", price="110.00")

    assert (made.free("USDT"), made.used("USDT")) == (D(820), D(180))
    assert (made.free("BTC"), made.used("BTC")) == (D("1.5"), D("0.5"))


def test_a_market_that_comes_later_is_traded_and_a_changed_one_keeps_its_orders() -> None:
    made = floor()
    resting = made.buy("2", price="90.00")
    for market in (
        replace(SPOT, price_tick=D(1)),
        PERP,
        replace(SPOT, symbol="BTC/EUR", quote="EUR"),
    ):
        made.exchange.relist(market)

    assert set(made.exchange.pits) == set(made.exchange.clearing.markets)
    assert PERP.symbol in made.exchange.clearing.accounts["me"].holdings
    assert "BTC/EUR" not in made.exchange.clearing.accounts["me"].holdings
    with pytest.raises(VenueRejected):
        made.buy("1", price="90.50")
    assert made.used("USDT") == D(180)
    made.exchange.cancel("me", resting.id, made.tick())
    assert made.used("USDT") == D(0)


def test_waiting_orders_hold_too() -> None:
    made = floor()
    made.buy("2", type=OrderType.STOP, stop_price="110.00")
    made.buy("1", type=OrderType.STOP_LIMIT, stop_price="110.00", price="111.00")
    made.buy("1", type=OrderType.TRAILING_STOP, trailing_amount="5")

    assert made.used("USDT") == D(220) + D(111)


def test_a_partial_fill_at_a_better_price_gives_back_the_difference() -> None:
    made = Floor(me={"USDT": "1000"}).outside([], [("101.00", "1")])
    made.buy("2", price="105.00")

    assert made.total("USDT") == D(899)
    assert made.used("USDT") == D(105)


@pytest.mark.parametrize(
    ("side", "amount", "fields", "needed"),
    [
        (Side.BUY, "10", {"price": "100.01"}, "1000.10"),
        (Side.BUY, "9.901", {}, None),
        (Side.BUY, "1", {"cost_limit": "1000.01"}, "1000.01"),
        (Side.SELL, "2.001", {"price": "110.00"}, "2.001"),
        (Side.SELL, "2.001", {}, "2.001"),
    ],
    ids=["limit buy", "market buy", "buy by cost", "limit sell", "market sell"],
)
def test_more_than_is_free_is_refused_and_nothing_is_held(
    side: Side, amount: str, fields: dict[str, str], needed: str | None
) -> None:
    made = Floor(me={"USDT": "1000", "BTC": "2"}).outside(
        [("99.00", "99")], [("101.00", "9"), ("102.00", "99")]
    )
    with pytest.raises(VenueRejected) as refused:
        made.place(side, amount, **fields)

    assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert refused.value.details is not None
    assert refused.value.details["class"] == "InsufficientFunds"
    if needed:
        assert f"needs {needed} " in refused.value.message
    assert (made.used("USDT"), made.used("BTC")) == (D(0), D(0))


def test_all_of_a_balance_can_be_used() -> None:
    made = floor()
    made.buy("10", price="100.00")
    made.sell("2", price="110.00")

    assert (made.free("USDT"), made.free("BTC")) == (D(0), D(0))


def test_a_fired_stop_that_cannot_be_paid_is_canceled() -> None:
    made = Floor(me={"USDT": "1000"}).outside([("99.00", "9")], [("101.00", "9")])
    work = made.buy("9", type=OrderType.STOP, stop_price="105.00")
    made.moves(asks=[("101.00", "0"), ("120.00", "99")])
    made.printed(Side.BUY, "105.00", "1")

    assert (work.status, work.code) == (Status.CANCELED, Code.INSUFFICIENT_FUNDS)
    assert (made.free("USDT"), made.used("USDT")) == (D(1000), D(0))


def test_everything_is_released_to_the_last_unit() -> None:
    made = floor()
    works = [
        made.buy("1.234", price="12.34"),
        made.sell("0.777", price="123.45"),
        made.buy("1", type=OrderType.STOP, stop_price="120.00"),
    ]
    for work in works:
        made.cancel(work)
    made.buy("3", price="101.00", time_in_force=IOC)

    assert (made.used("USDT"), made.used("BTC")) == (D(0), D(0))
    assert made.free("USDT") == D(697)


def test_deposits_and_withdrawals_are_told_as_transfers() -> None:
    made = floor()
    made.told()
    made.exchange.transfer("me", "USDT", D(50), 5)
    made.exchange.transfer("me", "USDT", D(-1050), 6)
    told = made.told()

    assert [
        (event.kind, event.amount, event.id) for event in told if isinstance(event, Transferred)
    ] == [("deposit", D(50), "deposit-5"), ("withdrawal", D(-1050), "withdrawal-6")]
    assert [event.balance.total for event in told if isinstance(event, BalanceSeen)] == [D(1050), 0]


def test_what_is_held_cannot_be_withdrawn() -> None:
    made = floor()
    made.buy("1", price="90.00")
    with pytest.raises(VenueRejected) as refused:
        made.exchange.transfer("me", "USDT", D("-910.01"), 5)

    assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert made.total("USDT") == D(1000)


def test_one_account_does_not_feel_another_but_through_the_book() -> None:
    made, alone = floor(), floor()
    for market in (made, alone):
        market.buy("1", price="90.00")
    made.buy("3", price="80.00", account="you")
    made.exchange.transfer("you", "USDT", D(-5), 9)

    assert (made.free("USDT"), made.free("BTC")) == (alone.free("USDT"), alone.free("BTC"))


def test_balances_and_positions_can_be_read() -> None:
    made = floor()
    made.buy("1", price="90.00")

    assert [
        (row.currency, row.available, row.reserved) for row in made.exchange.balances("me", 9)
    ] == [
        ("USDT", D(910), D(90)),
        ("BTC", D(2), 0),
    ]
    assert made.exchange.positions("me", 9) == []
