"""trading:X3, how orders meet: depth, priority, queues in an outside book, self-trade prevention."""

from decimal import Decimal

import pytest

from realtime.engine.matching import SelfTrade
from realtime.model.errors import Code, VenueRejected
from realtime.model.events import Filled
from realtime.model.market import BookSnapshot
from realtime.model.orders import OrderType, Side, Status
from tests.engine.floor import PERP, Floor


D = Decimal


def floor(bids: str = "2", asks: str = "2") -> Floor:
    return Floor().outside([("99.00", bids), ("98.00", bids)], [("101.00", asks), ("102.00", asks)])


def fills(made: Floor, account: str = "me") -> list[tuple[Decimal, Decimal]]:
    return [(fill.price, fill.amount) for fill in made.of(Filled, account)]


# --- X3.1 to X3.3 -----------------------------------------------------------------------------


def test_depth_is_walked_level_by_level() -> None:
    made = floor()
    made.buy("3")

    assert fills(made) == [(D("101.00"), D(2)), (D("102.00"), D(1))]


def test_consumed_liquidity_stays_consumed_until_its_level_is_refreshed() -> None:
    made = floor()
    made.buy("1.5")
    made.buy("1")
    assert fills(made)[1:] == [(D("101.00"), D("0.5")), (D("102.00"), D("0.5"))]

    made.moves(asks=[("101.00", "2")])
    made.buy("1")

    assert fills(made) == [(D("101.00"), D(1))]


def test_consumed_bids_come_back_with_their_level_and_all_with_a_snapshot() -> None:
    made = floor()
    made.sell("2")
    made.moves(bids=[("99.00", "1")])
    made.sell("1")
    assert fills(made)[-1] == (D("99.00"), D(1))

    snapshot = BookSnapshot(
        symbol="BTC/USDT", bids=(("99.00", "2"),), asks=(("101.00", "2"),), ts=50, recv_ts=50
    )
    made.book.apply_snapshot(snapshot)
    made.exchange.on_book(snapshot)
    made.sell("2")

    assert fills(made) == [(D("99.00"), D(2))]


def test_inside_the_exchange_the_book_is_what_rests() -> None:
    made = Floor()
    made.quote(Side.SELL, "101.00", "1")
    made.quote(Side.SELL, "100.00", "1")
    work = made.buy("3", price="101.00")

    assert fills(made) == [(D("100.00"), D(1)), (D("101.00"), D(1))]
    assert work.remaining == D(1)
    assert made.exchange.pits["BTC/USDT"].snapshot(1).bids == (("101.00", "1.000"),)


# --- X3.4 priority ----------------------------------------------------------------------------


def test_the_better_price_fills_first_then_the_earlier_order() -> None:
    made = Floor()
    late = made.sell("1", price="100.00", account="you")
    best = made.sell("1", price="99.00", account="you")
    later = made.sell("1", price="100.00", account="you")
    made.buy("2.5")

    assert (best.filled, late.filled, later.filled) == (D(1), D(1), D("0.5"))


def test_at_one_price_the_outside_was_there_first() -> None:
    made = floor()
    made.sell("1", price="101.00", account="you")
    made.buy("2")

    assert fills(made, "you") == []
    made.moves(asks=[("101.00", "0"), ("102.00", "0")])
    made.buy("1")
    assert fills(made, "you") == [(D("101.00"), D(1))]


def test_accounts_inside_can_stand_before_the_outside() -> None:
    made = floor()
    made.sell("1", price="100.50", account="you")
    made.buy("2")

    assert fills(made) == [(D("100.50"), D(1)), (D("101.00"), D(1))]


# --- X3.5 to X3.7 queues ----------------------------------------------------------------------


def test_a_resting_order_waits_behind_what_was_displayed() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.printed(Side.SELL, "99.00", "1.5")
    assert (work.filled, work.ahead) == (D(0), D("0.5"))

    made.printed(Side.SELL, "99.00", "0.7")

    assert (work.filled, work.ahead) == (D("0.2"), D(0))


def test_trades_by_the_wrong_aggressor_do_not_move_the_queue() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.printed(Side.BUY, "99.00", "50")

    assert (work.filled, work.ahead) == (D(0), D(2))


def test_our_orders_at_one_price_share_the_queue_before_them() -> None:
    made = floor()
    first = made.buy("1", price="99.00")
    made.moves(bids=[("99.00", "3")])
    second = made.buy("1", price="99.00", account="you")
    made.printed(Side.SELL, "99.00", "2.5")
    assert (first.filled, second.filled) == (D("0.5"), D(0))
    assert second.ahead == D(1)

    made.printed(Side.SELL, "99.00", "5")

    assert (first.filled, second.filled) == (D(1), D(1))


def test_cancels_before_us_count_in_proportion() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.moves(bids=[("99.00", "6")])
    assert work.ahead == D(2)

    made.moves(bids=[("99.00", "3")])

    assert work.ahead == D(1)


def test_what_was_printed_is_not_taken_for_a_cancel() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.moves(bids=[("99.00", "4")])
    made.printed(Side.SELL, "99.00", "1")
    made.moves(bids=[("99.00", "3")])

    assert work.ahead == D(1)


def test_a_place_in_the_queue_is_rounded_up_to_the_step() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.moves(bids=[("99.00", "3")])
    made.moves(bids=[("99.00", "2.999")])

    assert work.ahead == D("2.000")


def test_a_deleted_level_clears_the_queue() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.moves(bids=[("99.00", "0")])
    made.printed(Side.SELL, "99.00", "0.4")

    assert (work.ahead, work.filled) == (D(0), D("0.4"))


def test_fills_never_exceed_what_was_printed() -> None:
    made = floor()
    works = [
        made.buy("1", price="99.50"),
        made.buy("1", price="99.25"),
        made.buy("1", price="99.50"),
    ]
    made.printed(Side.SELL, "99.00", "2.5")

    assert [work.filled for work in works] == [D(1), D("0.5"), D(1)]
    assert [price for price, _ in fills(made)] == [D("99.50"), D("99.50"), D("99.25")]


def test_a_trade_through_fills_at_the_limit_price_and_past_the_queue() -> None:
    made = floor()
    work = made.buy("1", price="99.00")
    made.printed(Side.SELL, "98.99", "1")

    assert (work.status, fills(made)) == (Status.FILLED, [(D("99.00"), D(1))])


def test_a_trade_above_our_bid_fills_nothing() -> None:
    made = floor()
    work = made.buy("1", price="98.00")
    made.printed(Side.SELL, "99.00", "50")

    assert work.filled == 0


def test_sells_rest_and_fill_like_buys() -> None:
    made = floor()
    work = made.sell("1", price="101.00")
    made.printed(Side.BUY, "101.00", "2.5")

    assert work.filled == D("0.5")


@pytest.mark.parametrize("side", list(Side))
def test_a_book_that_comes_through_our_price_hits_us_at_our_price(side: Side) -> None:
    made = floor()
    price = "100.00"
    work = made.place(side, "1", price=price)
    if side is Side.BUY:
        made.moves(asks=[("99.50", "0.3"), ("100.00", "0.4")])
    else:
        made.moves(bids=[("100.50", "0.3"), ("100.00", "0.4")])

    assert (work.filled, work.status) == (D("0.7"), Status.OPEN)
    assert {price for price, _ in fills(made)} == {D("100.00")}


def test_a_book_that_stays_through_our_price_hits_us_once() -> None:
    made = floor()
    work = made.buy("1", price="100.00")
    made.moves(asks=[("99.50", "0.3")])
    made.moves(asks=[("105.00", "1")])
    made.moves(asks=[("99.50", "0.2")])

    assert work.filled == D("0.5")


def test_a_whole_order_is_filled_by_a_book_that_comes_through() -> None:
    made = floor()
    work = made.buy("1", price="100.00")
    second = made.buy("1", price="99.00")
    made.moves(asks=[("98.50", "5")], bids=[("99.00", "0"), ("98.00", "0")])

    assert (work.status, second.status) == (Status.FILLED, Status.FILLED)


def test_a_fill_of_one_order_can_end_another_before_its_turn() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    made.buy("1")
    first = made.sell("1", price="105.0", reduce_only=True)
    second = made.sell("1", price="106.0", reduce_only=True)
    made.printed(Side.BUY, "107.0", "50")
    assert (first.filled, second.filled) == (D(1), D(0))

    made.buy("1")
    first = made.sell("1", price="105.0", reduce_only=True)
    second = made.sell("1", price="105.0", reduce_only=True)
    made.moves(bids=[("106.0", "50")], asks=[("101.0", "0"), ("107.0", "1")])

    assert (first.filled, second.filled, made.position()) == (D(1), D(0), D(0))


# --- X3.8 blindness ---------------------------------------------------------------------------


def test_nothing_fills_and_nothing_fires_on_a_stale_book() -> None:
    made = floor()
    resting = made.buy("1", price="99.50")
    waiting = made.sell("1", type=OrderType.STOP, stop_price="98.00")
    made.exchange.on_stale("BTC/USDT", stale=True)
    made.printed(Side.SELL, "90.00", "50")
    assert (resting.filled, waiting.live) == (D(0), False)
    assert made.sell("1").status is Status.CANCELED
    with pytest.raises(VenueRejected) as refused:
        made.buy("1", price="99.00")
    assert refused.value.code is Code.VENUE_UNAVAILABLE

    made.exchange.on_stale(None, stale=False)
    made.printed(Side.SELL, "90.00", "50")

    assert (resting.status, waiting.status) == (Status.FILLED, Status.FILLED)


def test_nothing_fills_on_a_crossed_book() -> None:
    made = floor()
    work = made.buy("1", price="99.50")
    made.moves(bids=[("103.00", "1")])
    made.printed(Side.SELL, "90.00", "50")
    taker = made.buy("1", price="103.00")
    assert (work.filled, taker.filled) == (D(0), D(0))

    made.moves(bids=[("103.00", "0")])
    made.printed(Side.SELL, "90.00", "50")

    assert work.status is Status.FILLED


# --- X3.9 self-trade prevention ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "resting", "taking"),
    [
        (SelfTrade.CANCEL_NEWEST, Status.OPEN, Status.CANCELED),
        (SelfTrade.CANCEL_OLDEST, Status.CANCELED, Status.FILLED),
        (SelfTrade.CANCEL_BOTH, Status.CANCELED, Status.CANCELED),
    ],
)
def test_an_account_never_trades_with_itself(
    mode: SelfTrade, resting: Status, taking: Status
) -> None:
    made = Floor(self_trade=mode)
    made.quote(Side.SELL, "100.00", "1")
    own = made.sell("1", price="101.00")
    made.quote(Side.SELL, "102.00", "5")
    taker = made.buy("2")

    assert (own.status, taker.status) == (resting, taking)
    assert taker.filled == (D(2) if taking is Status.FILLED else D(1))
    assert own.filled == 0


def test_fill_or_kill_does_not_count_what_lies_behind_an_own_order() -> None:
    made = Floor()
    made.sell("1", price="101.00")
    made.quote(Side.SELL, "102.00", "5")
    work = made.buy("1", price="102.00")

    assert (work.status, work.reason, work.filled) == (Status.CANCELED, "self_trade", D(0))


# --- what the world sees ----------------------------------------------------------------------


def test_the_public_book_follows_orders_level_by_level() -> None:
    made = Floor()
    pit = made.exchange.pits["BTC/USDT"]
    assert pit.changes(1) is None
    made.quote(Side.BUY, "99.00", "1")
    work = made.buy("0.5", price="99.00")
    made.sell("1", price="101")
    delta = pit.changes(2)
    assert delta is not None
    assert (delta.bids, delta.asks) == ((("99.00", "1.500"),), (("101.00", "1.000"),))
    assert delta.numbers == ([99.0, 1.5], [101.0, 1.0])

    made.cancel(work)
    made.quote(Side.SELL, None, "1")
    delta = pit.changes(3)

    assert delta is not None
    assert (delta.bids, delta.asks) == ((("99.00", "0"),), ())
    assert delta.numbers == ([99.0, 0.0], ())


def test_a_liquidity_order_can_be_taken_back_once() -> None:
    made = Floor()
    work = made.quote(Side.BUY, "99.00", "1")
    assert work is not None
    made.exchange.pull(work)
    made.exchange.pull(work)

    assert (work.status, made.exchange.pits["BTC/USDT"].bids.keys) == (Status.CANCELED, [])


def test_a_liquidity_order_that_trades_whole_does_not_rest() -> None:
    made = Floor()
    made.quote(Side.BUY, "99.00", "1")
    made.exchange.quote("crowd", "BTC/USDT", Side.SELL, D("99.00"), D(1), 9)

    assert made.exchange.quote("crowd", "BTC/USDT", Side.SELL, D("99.00"), D(1), 9) is not None


def test_liquidity_accounts_do_not_look_at_the_outside_book() -> None:
    made = floor()

    assert made.quote(Side.BUY, "105.00", "1") is not None


def test_a_book_that_is_all_through_our_price_is_used_up() -> None:
    made = floor()
    work = made.buy("1", price="100.00")
    made.moves(asks=[("101.00", "0"), ("102.00", "0"), ("99.50", "0.3")])

    assert work.filled == D("0.3")
