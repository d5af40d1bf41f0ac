"""trading:X1, order types, and what makes them rest, wait, shrink or end."""

from decimal import Decimal

import orjson
import pytest

from realtime.engine.matching import Exchange
from realtime.engine.matching.state import adopt, entry_out
from realtime.model.errors import Code, VenueRejected
from realtime.model.events import OrderSeen
from realtime.model.market import SECOND
from realtime.model.orders import OrderType, Side, Status, TriggerBy
from tests.engine.floor import FOK, GTD, IOC, PERP, Floor, order


D = Decimal
BIDS = [("99.00", "1.000"), ("98.00", "2.000")]
ASKS = [("101.00", "1.000"), ("102.00", "2.000")]


def floor() -> Floor:
    return Floor().outside(BIDS, ASKS)


# --- X1.1 types -------------------------------------------------------------------------------


def test_a_market_order_takes_the_book() -> None:
    work = floor().buy("1.5")

    assert (work.status, work.filled, work.cost) == (Status.FILLED, D("1.5"), D("152.00"))


def test_a_market_order_that_finds_nothing_is_canceled() -> None:
    work = Floor().outside([], []).buy("1")

    assert (work.status, work.filled, work.reason) == (Status.CANCELED, D(0), "no_liquidity")


def test_a_limit_order_trades_what_crosses_and_rests_the_remainder() -> None:
    market = floor()
    work = market.buy("1.5", price="101.00")

    assert (work.status, work.filled, work.remaining) == (Status.OPEN, D("1.000"), D("0.5"))
    assert market.exchange.pits["BTC/USDT"].bids.queues[-101.0].amount == D("0.5")


@pytest.mark.parametrize(
    ("kind", "side", "stop", "still", "fires"),
    [
        (OrderType.STOP, Side.SELL, "95.00", "95.01", "95.00"),
        (OrderType.STOP, Side.BUY, "105.00", "104.99", "105.00"),
        (OrderType.TAKE_PROFIT, Side.SELL, "105.00", "104.99", "105.00"),
        (OrderType.TAKE_PROFIT, Side.BUY, "95.00", "95.01", "94.00"),
    ],
    ids=["stop sell", "stop buy", "take profit sell", "take profit buy"],
)
def test_a_trigger_fires_at_its_price_and_not_before(
    kind: OrderType, side: Side, stop: str, still: str, fires: str
) -> None:
    market = floor()
    work = market.place(side, "0.5", type=kind, stop_price=stop)
    market.printed(Side.BUY, still, "0.001")
    assert (work.status, work.live) == (Status.OPEN, False)

    market.printed(Side.BUY, fires, "0.001")

    assert work.status is Status.FILLED


def test_a_triggered_limit_order_rests_at_its_price() -> None:
    market = floor()
    work = market.sell("1", type=OrderType.STOP_LIMIT, stop_price="99.50", price="100.00")
    market.printed(Side.SELL, "99.00", "0.001")

    assert (work.status, work.live, work.resting) == (Status.OPEN, True, True)


def test_a_take_profit_limit_takes_at_its_price_or_better() -> None:
    market = floor()
    work = market.sell("1", type=OrderType.TAKE_PROFIT_LIMIT, stop_price="99.50", price="98.50")
    market.printed(Side.BUY, "99.50", "0.001")

    assert (work.status, work.cost) == (Status.FILLED, D("99.00"))


def test_a_trigger_that_holds_already_fires_at_once() -> None:
    market = floor()
    market.printed(Side.SELL, "94.00", "0.001")
    work = market.sell("1", type=OrderType.STOP, stop_price="95.00")

    assert work.status is Status.FILLED


def test_a_trigger_waits_while_no_price_is_known() -> None:
    market = floor()
    work = market.sell("1", type=OrderType.STOP, stop_price="95.00")

    assert work.status is Status.OPEN
    assert not work.live


@pytest.mark.parametrize(
    ("side", "stop", "asks", "bids"),
    [
        (Side.SELL, "98.50", [], [("99.00", "0")]),
        (Side.BUY, "101.50", [("101.00", "0")], []),
    ],
    ids=["a sell watches the bid", "a buy watches the ask"],
)
def test_a_trigger_by_the_book_fires_when_the_book_moves(
    side: Side, stop: str, asks: list[tuple[str, str]], bids: list[tuple[str, str]]
) -> None:
    market = floor()
    work = market.place(
        side, "0.5", type=OrderType.STOP, stop_price=stop, trigger_by=TriggerBy.BID_ASK
    )
    assert not work.live

    market.moves(bids, asks)

    assert work.status is Status.FILLED


def test_a_trigger_by_mark_watches_the_mark_price() -> None:
    market = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    market.buy("1")
    market.mark("100")
    work = market.sell("1", type=OrderType.STOP, stop_price="95", trigger_by=TriggerBy.MARK)
    market.printed(Side.SELL, "90.0", "0.001")
    assert not work.live

    market.mark("94.9")

    assert work.status is Status.FILLED


@pytest.mark.parametrize(
    ("side", "distance", "path", "stop", "fires"),
    [
        (Side.SELL, {"trailing_amount": "2"}, ["100.00", "105.00", "103.50"], "103.00", "103.00"),
        (Side.SELL, {"trailing_rate": "0.01"}, ["100.00", "110.00", "109.00"], "108.90", "108.90"),
        (Side.BUY, {"trailing_amount": "2"}, ["100.00", "95.00", "96.50"], "97.00", "97.00"),
        (Side.BUY, {"trailing_rate": "0.015"}, ["100.00", "99.99"], "101.48", "101.48"),
        (Side.SELL, {"trailing_rate": "0.015"}, ["99.99"], "98.50", "98.50"),
    ],
    ids=["sell, amount", "sell, rate", "buy, amount", "buy, rounded down", "sell, rounded up"],
)
def test_a_trailing_stop_follows_in_favour_only_and_fires_no_later_than_asked(
    side: Side, distance: dict[str, str], path: list[str], stop: str, fires: str
) -> None:
    market = floor()
    work = market.place(side, "0.5", type=OrderType.TRAILING_STOP, **distance)
    for price in path:
        market.printed(Side.BUY, price, "0.001")
    assert (work.live, work.stop_price) == (False, D(stop))

    market.printed(Side.BUY, fires, "0.001")

    assert work.status is Status.FILLED


def test_a_trailing_stop_is_told_at_most_once_a_second() -> None:
    market = floor()
    market.sell("1", type=OrderType.TRAILING_STOP, trailing_amount="2")
    market.told()
    for price in ("110.00", "111.00", "112.00"):
        market.printed(Side.BUY, price, "0.001")
    assert market.of(OrderSeen) == []

    market.ts += SECOND
    market.printed(Side.BUY, "113.00", "0.001")

    assert [seen.stop_price for seen in market.of(OrderSeen)] == [D("111.00")]
    assert market.exchange.pits[market.symbol].untold == set()


@pytest.mark.parametrize("ends", [False, True])
def test_where_a_trailing_stop_has_come_to_is_told_although_it_moves_no_more(*, ends: bool) -> None:
    """What is not told is not kept: after a restart it would follow from where it was."""
    market = floor()
    work = market.sell("1", type=OrderType.TRAILING_STOP, trailing_amount="2")
    market.printed(Side.BUY, "110.00", "0.001")
    market.told()
    if ends:
        market.cancel(work)
        market.told()

    for _ in range(2):
        market.ts += SECOND
        market.printed(Side.BUY, "109.00", "0.001")

    told = [seen.stop_price for seen in market.of(OrderSeen)]
    assert told == ([] if ends else [D("108.00")])
    assert market.exchange.pits[market.symbol].untold == set()


def test_a_trailing_buy_holds_what_it_costs_where_it_stands() -> None:
    market = floor()
    market.printed(Side.BUY, "100.00", "0.001")
    work = market.buy("2", type=OrderType.TRAILING_STOP, trailing_amount="5")
    assert (work.stop_price, market.used("USDT")) == (D("105.00"), D(210))

    market.ts += SECOND
    market.printed(Side.SELL, "90.00", "0.001")
    assert (work.stop_price, market.used("USDT")) == (D("95.00"), D(190))

    market.cancel(work)
    assert market.used("USDT") == 0


def test_a_trailing_buy_whose_price_comes_late_has_to_be_paid_for_then() -> None:
    market = Floor(me={"USDT": "300"}).outside(BIDS, ASKS)
    first = market.buy("2", type=OrderType.TRAILING_STOP, trailing_amount="5")
    second = market.buy("2", type=OrderType.TRAILING_STOP, trailing_amount="5")
    market.ts += SECOND
    market.printed(Side.BUY, "100.00", "0.001")

    assert (first.status, first.held) == (Status.OPEN, D(210))
    assert (second.status, second.reason) == (Status.CANCELED, "insufficient_funds")
    assert market.used("USDT") == D(210)


def test_a_trailing_sell_that_would_stand_below_nothing_frees_no_margin() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    made.printed(Side.BUY, "100.0", "0.001")
    made.sell("1", price="110.0")
    before = made.used("USDT")
    made.sell("1", type=OrderType.TRAILING_STOP, trailing_amount="150")

    assert made.used("USDT") == before


def test_a_trailing_sell_of_a_derivative_holds_no_more_than_there_is() -> None:
    made = Floor(PERP, me={"USDT": "1000"}).outside([("99.0", "9")], [("101.0", "9")])
    made.printed(Side.BUY, "100.0", "0.001")
    work = made.sell("9", type=OrderType.TRAILING_STOP, trailing_amount="1", leverage="1")
    held = work.exposure
    made.ts += SECOND
    made.moves([("99.0", "0"), ("149.0", "9")], [("101.0", "0"), ("151.0", "9")])
    made.printed(Side.BUY, "150.0", "0.001")
    wallet = made.exchange.clearing.accounts["me"].wallet("USDT")
    assert (work.stop_price, work.status, work.exposure) == (D("149.0"), Status.OPEN, held)
    assert wallet.margin <= wallet.total

    raw = orjson.dumps(entry_out(made.exchange, "me", made.exchange.take_told()))
    again = Exchange(venue="paper", markets={PERP.symbol: PERP})
    adopt(again, "me", [orjson.loads(raw)])
    restored = again.clearing.accounts["me"]
    assert restored.orders[work.id].exposure == held
    assert restored.wallet("USDT").margin == wallet.margin

    made.printed(Side.SELL, "149.0", "0.001")
    assert (work.status, work.reason, made.position()) == (
        Status.CANCELED,
        "insufficient_funds",
        D(0),
    )


def test_two_triggers_of_one_price_fire_in_the_order_they_came() -> None:
    market = floor()
    first = market.sell("1", type=OrderType.STOP, stop_price="99.00")
    second = market.sell("1", type=OrderType.STOP, stop_price="99.50")
    market.printed(Side.SELL, "98.00", "0.001")

    assert (first.cost, second.cost) == (D("99.00"), D("98.00"))


def test_one_trigger_can_set_off_the_next() -> None:
    market = Floor()
    market.quote(Side.BUY, "99.00", "1")
    market.quote(Side.BUY, "95.00", "5")
    market.quote(Side.SELL, "101.00", "1")
    second = market.sell("1", type=OrderType.STOP, stop_price="96.00")
    first = market.sell("2", type=OrderType.STOP, stop_price="99.00")
    market.quote(Side.SELL, None, "0.001")

    assert (first.status, second.status) == (Status.FILLED, Status.FILLED)


# --- X1.2 groups ------------------------------------------------------------------------------


def protected() -> Floor:
    market = floor()
    market.printed(Side.BUY, "100.00", "0.001")
    return market


def legs(market: Floor, amount: str = "1") -> tuple[object, object]:
    stop = market.sell(
        amount, type=OrderType.STOP, stop_price="95.00", oco_group="g", reduce_only=True
    )
    target = market.sell(amount, price="105.00", oco_group="g", reduce_only=True)
    return stop, target


def test_legs_of_a_group_share_one_reservation() -> None:
    market = protected()
    legs(market, "60")

    assert (market.free("BTC"), market.used("BTC")) == (D(40), D(60))


def test_a_partial_fill_of_one_leg_shrinks_the_other() -> None:
    market = protected()
    stop, target = legs(market)
    market.printed(Side.BUY, "106.00", "0.4")

    assert (target.filled, stop.amount) == (D("0.4"), D("0.6"))  # type: ignore[attr-defined]
    assert market.used("BTC") == D("0.6")


def test_a_filled_leg_ends_the_other_and_releases_everything() -> None:
    market = protected()
    stop, target = legs(market)
    market.printed(Side.BUY, "106.00", "5")

    assert (target.status, stop.status) == (Status.FILLED, Status.CANCELED)  # type: ignore[attr-defined]
    assert stop.reason == "oco"  # type: ignore[attr-defined]
    assert market.used("BTC") == 0


def test_a_fired_stop_shrinks_and_ends_the_resting_target() -> None:
    market = protected()
    stop, target = legs(market, "1.5")
    market.printed(Side.SELL, "94.00", "0.001")

    assert (stop.status, target.status) == (Status.FILLED, Status.CANCELED)  # type: ignore[attr-defined]
    assert (market.used("BTC"), market.total("BTC")) == (D(0), D("98.5"))


def test_a_stop_that_fills_in_part_shrinks_a_resting_target_and_keeps_its_place() -> None:
    market = Floor().outside([("99.00", "0.4")], ASKS)
    market.printed(Side.BUY, "100.00", "0.001")
    stop, target = legs(market)
    market.printed(Side.SELL, "94.00", "0.001")

    assert (stop.status, stop.filled) == (Status.CANCELED, D("0.4"))  # type: ignore[attr-defined]
    assert (target.status, target.amount) == (Status.OPEN, D("0.6"))  # type: ignore[attr-defined]
    assert market.used("BTC") == D("0.6")


def test_cancelling_one_leg_leaves_the_other_and_its_reservation() -> None:
    market = protected()
    stop, target = legs(market)
    market.cancel(target)  # type: ignore[arg-type]

    assert stop.status is Status.OPEN  # type: ignore[attr-defined]
    assert market.used("BTC") == D(1)


def test_legs_of_a_group_have_one_symbol_and_one_side() -> None:
    market = protected()
    market.sell("1", price="107.00")
    legs(market)
    with pytest.raises(VenueRejected, match="differ in symbol or side"):
        market.buy("1", price="90.00", oco_group="g")


# --- X1.3 time in force -----------------------------------------------------------------------


def test_of_a_group_only_one_leg_can_be_taken_so_all_or_nothing_is_nothing() -> None:
    """Found by a property: two legs of one were counted, one was taken, and the order was half filled."""
    made = Floor(me={"BTC": "2"}, you={"USDT": "1000"})
    rest = [made.sell("1", price=price, oco_group="g") for price in ("95.00", "96.00")]
    two = made.buy("2", price="96.00", account="you", time_in_force=FOK)
    one = made.buy("1", price="96.00", account="you", time_in_force=FOK)

    assert (two.status, two.filled) == (Status.CANCELED, D(0))
    assert (one.status, one.cost) == (Status.FILLED, D("95.00"))
    assert [work.status for work in rest] == [Status.FILLED, Status.CANCELED]


def test_immediate_or_cancel_takes_what_is_there() -> None:
    work = floor().buy("5", price="101.00", time_in_force=IOC)

    assert (work.status, work.filled, work.reason) == (
        Status.CANCELED,
        D("1.000"),
        "immediate_or_cancel",
    )


@pytest.mark.parametrize(("amount", "filled"), [("3", "3"), ("3.001", "0")], ids=["all", "nothing"])
def test_fill_or_kill_is_checked_before_anything_fills(amount: str, filled: str) -> None:
    market = floor()
    work = market.buy(amount, price="102.00", time_in_force=FOK)

    assert work.filled == D(filled)
    assert work.status is (Status.FILLED if filled != "0" else Status.CANCELED)


@pytest.mark.parametrize(
    ("cost", "spent"),
    [("305", "305"), ("200", "199.94"), ("306", "0"), ("0.05", "0")],
    ids=["all there is", "what it pays for", "more than there is", "less than a step"],
)
def test_fill_or_kill_by_cost_spends_it_or_nothing(cost: str, spent: str) -> None:
    work = floor().buy(cost_limit=cost, time_in_force=FOK)

    assert work.cost == D(spent)
    assert work.status is (Status.FILLED if work.cost else Status.CANCELED)


def test_an_order_good_till_a_date_expires_also_when_partly_filled() -> None:
    market = floor()
    work = market.buy("1.5", price="101.00", time_in_force=GTD, good_till_ts=100)
    market.exchange.advance(99)
    assert work.status is Status.OPEN

    market.exchange.advance(100)

    assert (work.status, work.filled, work.reason) == (Status.EXPIRED, D("1.000"), "good_till_date")
    assert market.used("USDT") == 0


def test_no_stop_fires_while_the_source_fills_its_books() -> None:
    """After a restart it would sell into the first two quotes, and its rest would be cancelled."""
    market = Floor()
    stop = market.sell("2", type=OrderType.STOP, stop_price="100.00", trigger_by=TriggerBy.MARK)
    market.exchange.opening = True
    for price in ("89.00", "88.00"):
        market.quote(Side.BUY, price, "1")
        market.quote(Side.SELL, "91.00", "1")
    assert stop.status is Status.OPEN

    market.exchange.opening = False
    market.quote(Side.SELL, "92.00", "1")
    assert (stop.status, stop.filled) == (Status.FILLED, D("2"))


@pytest.mark.parametrize(("filled", "ended"), [(0, 100), (150, 150)])
def test_an_order_ends_at_its_date_also_where_nobody_was_there_then(
    filled: int, ended: int
) -> None:
    """But not before what it has filled since by the venue's clock, or its last row would be older than that."""
    market = floor()
    work = market.buy("1.5", price="90.00", time_in_force=GTD, good_till_ts=100)
    if filled:
        market.printed(Side.SELL, "89.00", "1", ts=filled, recv_ts=99)
        assert work.filled
    market.exchange.advance(5_000)

    assert (work.status, work.updated_ts) == (Status.EXPIRED, ended)


@pytest.mark.parametrize("ts", [100, 101])
@pytest.mark.parametrize("what", ["printed", "moved", "met", "amended"])
def test_an_order_does_not_trade_at_its_date_before_time_was_told(what: str, ts: int) -> None:
    """Time is told once a second at some venues, and what trades meanwhile is later than the date all the same."""
    market = floor()
    work = market.buy("1.5", price="90.00", time_in_force=GTD, good_till_ts=100)
    market.ts = ts - 1
    if what == "printed":
        market.printed(Side.SELL, "90.00", "9")
    elif what == "moved":
        market.moves([], [("89.00", "9")])
    elif what == "met":
        market.sell("1", price="90.00", account="you")
    else:
        with pytest.raises(VenueRejected) as refused:
            market.amend(work, price="200.00")
        assert refused.value.code is Code.NOT_FOUND

    assert (work.status, work.filled, work.updated_ts) == (Status.EXPIRED, D(0), 100)


def test_an_order_whose_date_comes_on_its_way_to_matching_expires() -> None:
    market = floor()
    asked = order("late", Side.BUY, price="200.00", time_in_force=GTD, good_till_ts=100)
    work = market.exchange.place("me", asked, 99, live=False)
    market.told()
    market.exchange.release("me", work.id, 100)

    assert (work.status, work.filled) == (Status.EXPIRED, D(0))
    assert [row.status for row in market.of(OrderSeen)] == [Status.EXPIRED]
    assert market.used("USDT") == 0


def test_a_date_passes_over_an_order_that_has_ended() -> None:
    market = floor()
    work = market.cancel(market.buy("1", price="90.00", time_in_force=GTD, good_till_ts=100))
    market.exchange.advance(200)

    assert work.status is Status.CANCELED


@pytest.mark.parametrize("how", ["placed", "canceled", "amended", "ended by an amend"])
def test_a_trigger_of_bid_and_ask_sees_the_orders_of_owners_come_and_go(how: str) -> None:
    market = Floor()
    market.quote(Side.BUY, "99.00", "3")
    market.quote(Side.SELL, "101.00", "3")
    comes = how == "placed"
    mine = market.sell("2", price="100.00", account="you")
    market.buy("0.5")
    stop = market.buy(
        "1",
        type=OrderType.TAKE_PROFIT if comes else OrderType.STOP,
        stop_price="99.50" if comes else "101.00",
        trigger_by=TriggerBy.BID_ASK,
    )
    assert stop.status is Status.OPEN
    match how:
        case "placed":
            market.sell("1", price="99.50", account="you")
        case "canceled":
            market.cancel(mine)
        case "amended":
            market.amend(mine, price="102.00")
        case _:
            market.amend(mine, amount="0.5", price="102.00")

    assert stop.status.value == "filled"
    assert stop.filled == 1


# --- X1.4 post-only ---------------------------------------------------------------------------


def test_post_only_is_refused_when_it_would_take() -> None:
    market = floor()
    with pytest.raises(VenueRejected) as refused:
        market.buy("1", price="101.00", post_only=True)

    assert refused.value.details is not None
    assert refused.value.details["class"] == "OrderImmediatelyFillable"
    assert market.used("USDT") == 0


def test_post_only_rests_when_it_does_not_take() -> None:
    assert floor().buy("1", price="100.99", post_only=True).resting


def test_post_only_ends_rejected_when_its_trigger_would_make_it_take() -> None:
    market = floor()
    work = market.sell(
        "1", type=OrderType.STOP_LIMIT, stop_price="99.50", price="99.00", post_only=True
    )
    market.printed(Side.SELL, "99.00", "0.001")

    assert (work.status, work.code, work.reason) == (
        Status.REJECTED,
        Code.VENUE_REJECTED,
        "post_only",
    )


# --- X1.5 reduce-only -------------------------------------------------------------------------


def long_position() -> Floor:
    market = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    market.buy("2")
    return market


def test_reduce_only_is_refused_without_a_position_to_reduce() -> None:
    market = long_position()
    for side in (Side.BUY, Side.SELL):
        if side is Side.SELL:
            market.sell("2")
        with pytest.raises(VenueRejected, match="no position"):
            market.place(side, "1", reduce_only=True)


def test_reduce_only_is_capped_to_the_position_when_placed() -> None:
    assert long_position().sell("5", price="110.0", reduce_only=True).amount == D(2)


def test_reduce_only_shrinks_with_the_position_and_ends_when_it_is_flat() -> None:
    market = long_position()
    resting = market.sell("2", price="110.0", reduce_only=True)
    waiting = market.sell("1", type=OrderType.STOP, stop_price="90.0", reduce_only=True)
    market.sell("1.5")
    assert (resting.amount, waiting.amount) == (D("0.5"), D("0.5"))

    market.sell("0.5")

    assert (resting.status, waiting.status) == (Status.CANCELED, Status.CANCELED)
    assert resting.reason == "reduce_only"


def test_a_maker_whose_position_closed_within_one_order_cannot_fill_again() -> None:
    market = Floor(PERP)
    market.quote(Side.SELL, "100.0", "2")
    market.buy("2", account="you")
    first = market.sell("2", price="101.0", reduce_only=True, account="you")
    second = market.sell("2", price="102.0", reduce_only=True, account="you")
    market.buy("5", price="103.0")

    assert (first.status, second.status) == (Status.FILLED, Status.CANCELED)
    assert market.position("you") == 0
    assert market.position() == D(2)


# --- X1.6 client ids --------------------------------------------------------------------------


def test_a_client_id_is_used_once_also_after_its_order_ended() -> None:
    market = floor()
    work = market.buy("1", client="mine")
    with pytest.raises(VenueRejected) as refused:
        market.buy("1", client="mine")

    assert (refused.value.code, refused.value.details) == (
        Code.CONFLICT,
        {"class": "DuplicateOrderId", "rule": "duplicate_client_id", "order_id": work.id},
    )


def test_a_refused_order_does_not_use_up_its_client_id() -> None:
    market = floor()
    with pytest.raises(VenueRejected):
        market.buy("0.0001", client="mine")

    assert market.buy("1", client="mine").status is Status.FILLED


# --- X1.7 amending ----------------------------------------------------------------------------


def two_in_line() -> tuple[Floor, list[object]]:
    market = Floor()
    return market, [market.buy("1", price="90.00"), market.buy("1", price="90.00")]


@pytest.mark.parametrize(
    ("change", "first_first"),
    [({"amount": "0.5"}, True), ({"amount": "1.5"}, False), ({"price": "90.01"}, True)],
    ids=["smaller keeps its place", "larger loses it", "a better price is ahead anyway"],
)
def test_amending_and_priority(*, change: dict[str, str], first_first: bool) -> None:
    market, (first, second) = two_in_line()
    market.amend(first, **change)  # type: ignore[arg-type]
    market.quote(Side.SELL, None, "0.5")

    assert (first.filled > 0) is first_first  # type: ignore[attr-defined]
    assert (second.filled > 0) is not first_first  # type: ignore[attr-defined]


def test_amending_to_a_price_that_crosses_trades() -> None:
    market = floor()
    work = market.amend(market.buy("1", price="90.00"), price="101.00")

    assert (work.status, work.cost) == (Status.FILLED, D("101.00"))


def test_amending_below_the_filled_amount_is_refused_and_to_it_fills_the_order() -> None:
    market = floor()
    work = market.buy("1.5", price="101.00")
    with pytest.raises(VenueRejected, match="below the filled"):
        market.amend(work, amount="0.9")
    assert (work.amount, work.status) == (D("1.5"), Status.OPEN)

    market.amend(work, amount="1")

    assert (work.status, market.used("USDT")) == (Status.FILLED, D(0))


def test_what_an_amend_to_the_filled_amount_takes_out_is_out_of_the_book() -> None:
    market = Floor()
    work = market.buy("3", price="99.00")
    market.buy("2", price="99.00", account="you")
    market.quote(Side.SELL, "99.00", "1")
    market.amend(work, amount="1", price="98.00")

    assert work.status is Status.FILLED
    assert market.exchange.pits[market.symbol].bids.best == ("99.00", "2.000")


def test_amending_nothing_changes_nothing() -> None:
    market = floor()
    work = market.buy("1", price="90.00")
    market.told()
    market.amend(work, price="90.00", amount="1")

    assert market.told() == []


def test_an_amend_without_the_funds_leaves_the_order_as_it_was() -> None:
    market = Floor(me={"USDT": "100"})
    work = market.buy("1", price="90.00")
    with pytest.raises(VenueRejected) as refused:
        market.amend(work, amount="2")

    assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert (work.amount, market.free("USDT")) == (D(1), D(10))
    assert market.amend(work, price="95.00").resting


def test_a_waiting_order_can_get_another_trigger() -> None:
    market = floor()
    market.printed(Side.BUY, "100.00", "0.001")
    work = market.sell("1", type=OrderType.STOP, stop_price="95.00")
    market.amend(work, stop_price="100.00")

    assert work.status is Status.FILLED


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"price": "90.005"}, "tick_size"),
        ({"amount": "1.0001"}, "lot_size"),
        ({"stop_price": "95.00"}, "stop_price"),
    ],
)
def test_an_amend_obeys_the_rules_of_an_order(change: dict[str, str], rule: str) -> None:
    market = floor()
    work = market.buy("1", price="90.00")
    with pytest.raises(VenueRejected) as refused:
        market.amend(work, **change)

    assert refused.value.details is not None
    assert refused.value.details["rule"] == rule


def test_a_market_stop_has_no_price_to_amend() -> None:
    market = floor()
    work = market.sell("1", type=OrderType.STOP, stop_price="90.00")
    with pytest.raises(VenueRejected, match="has no price"):
        market.amend(work, price="91.00")


@pytest.mark.parametrize(("price", "takes"), [("100.99", False), ("101.00", True)])
def test_a_post_only_order_is_not_amended_into_taking(*, price: str, takes: bool) -> None:
    market = floor()
    work = market.buy("1", price="90.00", post_only=True)
    if takes:
        with pytest.raises(VenueRejected, match="would take"):
            market.amend(work, price=price)
        assert work.price == D("90.00")
    else:
        assert market.amend(work, price=price).price == D(price)


def test_a_reduce_only_order_is_capped_before_its_amend_trades() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    made.buy("1")
    work = made.sell("1", price="110.0", reduce_only=True)
    made.amend(work, amount="5", price="99.0")

    assert (made.position(), work.filled, work.amount) == (D(0), D(1), D(1))
    assert work.status is Status.FILLED


def test_a_reduce_only_order_is_not_amended_beyond_the_position() -> None:
    market = long_position()
    work = market.sell("1", price="110.0", reduce_only=True)
    market.amend(work, amount="9")

    assert work.amount == D(2)


# --- cancelling -------------------------------------------------------------------------------


def test_a_cancelled_order_is_gone_and_its_funds_are_free() -> None:
    market = floor()
    work = market.cancel(market.buy("1", price="90.00"))

    assert (work.status, market.used("USDT")) == (Status.CANCELED, D(0))
    assert market.exchange.pits["BTC/USDT"].bids.keys == []


@pytest.mark.parametrize("known", [True, False])
def test_an_order_that_ended_or_never_was_cannot_be_cancelled(*, known: bool) -> None:
    market = floor()
    ended = market.buy("1")
    order_id = ended.id if known else "x-999"
    with pytest.raises(VenueRejected) as refused:
        market.exchange.cancel("me", order_id, 9)

    assert refused.value.code is Code.NOT_FOUND
    assert refused.value.details is not None
    assert refused.value.details["status"] == ("filled" if known else None)


# --- latency ----------------------------------------------------------------------------------


def test_an_accepted_order_trades_only_when_it_is_released() -> None:
    market = floor()
    wish = market.buy("0.001", price="1.00")
    work = market.exchange.place("me", order("late", Side.BUY, "1"), 5, live=False)
    assert (work.status, work.filled, wish.resting) == (Status.OPEN, D(0), True)
    with pytest.raises(VenueRejected, match="not in the book yet"):
        market.amend(work, amount="2")

    market.exchange.release("me", work.id, 6)
    market.exchange.release("me", work.id, 7)

    assert (work.status, work.updated_ts) == (Status.FILLED, 6)


def test_an_order_cancelled_before_its_release_never_trades() -> None:
    market = floor()
    work = market.exchange.place("me", order("late", Side.BUY, "1"), 5, live=False)
    market.cancel(work)
    market.exchange.release("me", work.id, 6)

    assert (work.status, work.filled) == (Status.CANCELED, D(0))
