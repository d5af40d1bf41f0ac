"""trading:X6.3 to X6.5, linear perpetuals: position, margin, leverage, liquidation, funding."""

from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.matching import Exchange
from realtime.engine.matching.exchange import FUNDING_EVERY, LATE
from realtime.engine.matching.state import adopt, entry_out
from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, VenueRejected
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import Funding
from realtime.model.orders import OrderType, Side, Status
from tests.engine.floor import ETH_PERP, PERP, SPOT, Floor, picture


D = Decimal
FREE_PERP = replace(PERP, maker=D(0), taker=D(0))


def floor(cash: str = "1000", *, deep: str = "99", fees: bool = False) -> Floor:
    made = Floor(PERP if fees else FREE_PERP, me={"USDT": cash}).outside(
        [("100.0", deep)], [("100.1", deep)]
    )
    made.mark("100")
    made.told()
    return made


def price(made: Floor, bid: str, ask: str, *, deep: str = "99", mark: str = "") -> None:
    """Move the outside book, and the mark to its bid."""
    old = made.book.top(9)
    made.moves(
        [*((level[0], "0") for level in old[0] if level[0] != bid), (bid, deep)],
        [*((level[0], "0") for level in old[1] if level[0] != ask), (ask, deep)],
    )
    made.mark(mark or bid)


# --- X6.3 positions ---------------------------------------------------------------------------


def test_fills_net_into_one_position_with_realised_and_unrealised_profit() -> None:
    made = floor()
    made.buy("2", price="100.1")
    price(made, "110.0", "110.1")
    made.sell("0.5")
    position = made.exchange.positions("me", 9)[0]

    assert (position.amount, position.entry_price) == (D("1.5"), D("100.1"))
    assert position.realized_pnl == D("4.95")
    assert made.total("USDT") == D("1004.95")


def test_a_larger_order_flips_the_position_at_its_price() -> None:
    made = floor()
    made.buy("1")
    price(made, "110.0", "110.1")
    made.sell("3")
    position = made.exchange.positions("me", 9)[0]

    assert (position.amount, position.cost, position.realized_pnl) == (D(-2), D(-220), D("9.9"))


def test_the_trade_that_flattens_removes_all_cost() -> None:
    made = floor()
    made.buy("3")
    price(made, "99.9", "100.3")
    made.sell("1")
    made.sell("1")
    made.sell("1")

    assert made.exchange.positions("me", 9) == []
    assert made.exchange.clearing.accounts["me"].holdings["BTC/USDT:USDT"].cost == 0
    assert made.total("USDT") == D(1000) + 3 * (D("99.9") - D("100.1"))


def test_contracts_count_with_their_size() -> None:
    market = replace(FREE_PERP, contract_size=D("0.01"))
    made = Floor(market, me={"USDT": "100"}).outside([("100.0", "99")], [("100.0", "0")])
    made.sell("10")
    position = made.exchange.positions("me", 9)[0]

    assert (position.cost, position.entry_price, made.used("USDT")) == (D(-10), D(100), D(10))


# --- margin and leverage ----------------------------------------------------------------------


def test_margin_is_value_over_leverage_plus_the_fees_of_orders() -> None:
    made = floor(fees=True)
    made.buy("5", price="90.0", leverage="10")
    assert made.used("USDT") == D(45) + D("0.2475")

    made.buy("1")

    assert made.used("USDT") == D("55.01") + D("0.2475")
    assert made.total("USDT") == D(1000) - D("0.055055")


def test_margin_is_that_of_the_worse_side() -> None:
    made = floor()
    made.buy("2", price="90.0")
    made.sell("3", price="110.0")
    assert made.used("USDT") == D(330)

    made.buy("1")

    assert made.used("USDT") == D("280.1")


def test_closing_orders_need_no_margin_of_their_own() -> None:
    made = floor("101")
    made.buy("1")
    assert made.free("USDT") == D("0.9")

    made.sell("1", price="110.0")
    made.sell("1", type=OrderType.STOP, stop_price="90.0", reduce_only=True)

    assert made.used("USDT") == D("100.1")


@pytest.mark.parametrize("fields", [{}, {"price": "100.1"}], ids=["market", "limit"])
def test_an_order_without_its_margin_is_refused(fields: dict[str, str]) -> None:
    made = floor("100")
    with pytest.raises(VenueRejected) as refused:
        made.buy("1", **fields)

    assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert made.used("USDT") == 0


def test_a_refused_order_does_not_change_the_leverage() -> None:
    made = floor("100")
    with pytest.raises(VenueRejected):
        made.buy("100", leverage="10")
    with pytest.raises(VenueRejected):
        made.buy("100", leverage="1")

    assert made.exchange.clearing.accounts["me"].holdings[PERP.symbol].leverage == 1


@pytest.mark.parametrize("isolated", [False, True])
def test_a_refused_order_leaves_the_leverage_also_where_nobody_could_pay_for_it_now(
    *, isolated: bool
) -> None:
    """A loss has eaten what is free: to go back to where it was is not asked whether it can be paid for."""
    made = floor("100")
    if isolated:
        made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=0)
    made.buy("9", leverage="10")
    made.exchange.transfer("me", "USDT", D("-9"), made.tick())
    made.exchange.clearing.accounts["me"].pay("USDT", D("-5"))
    account = made.exchange.clearing.accounts["me"]
    before = picture((account.wallets, account.holdings, account.orders))
    assert made.free("USDT") == 0

    with pytest.raises(VenueRejected) as refused:
        made.buy("100", price="90.0", leverage="20")

    assert "needs" in str(refused.value)
    assert "leverage" not in str(refused.value)
    assert picture((account.wallets, account.holdings, account.orders)) == before


def test_what_would_have_a_cross_position_liquidated_is_refused() -> None:
    """It was taken, and the position closed with the next price, far from where its liquidation had been shown."""
    made = Floor(FREE_PERP, SPOT, me={"USDT": "1000"}).outside([("90.5", "99")], [("100.1", "99")])
    made.mark("100.1")
    made.quote(Side.SELL, "100.00", "9", SPOT.symbol)
    made.buy("50", leverage="10")
    made.mark("90.5")
    resting = made.buy("4.9", price="90.00", symbol=SPOT.symbol)
    account = made.exchange.clearing.accounts["me"]
    before = picture((account.wallets, account.holdings, account.orders))
    assert made.free("USDT") == D("58.5")

    # 79 stand behind it besides, less the 22.625 that it needs at least; the resting order has 441 of them.
    for take in (
        lambda: made.buy("0.57", price="99.00", symbol=SPOT.symbol),
        lambda: made.buy("0.57", symbol=SPOT.symbol),
        lambda: made.buy("0", cost_limit="57", symbol=SPOT.symbol),
        lambda: made.amend(resting, price="101.60"),
        lambda: made.exchange.transfer("me", "USDT", D(-57), made.tick()),
    ):
        with pytest.raises(VenueRejected) as refused:
            take()
        assert "would be liquidated" in str(refused.value)
        assert refused.value.code is Code.INSUFFICIENT_FUNDS
    assert picture((account.wallets, account.holdings, account.orders)) == before

    made.amend(resting, price="101.10")
    made.mark("90.5")
    assert made.position() == 50


def test_an_oco_group_takes_from_behind_a_cross_position_once() -> None:
    coined = replace(FREE_PERP, settle="BTC")
    made = Floor(coined, SPOT, me={"BTC": "1000"}).outside([("90.5", "99")], [("100.1", "99")])
    made.mark("100.1")
    made.buy("50", leverage="10")
    made.mark("90.5")
    for price in ("110.00", "111.00"):
        made.sell("490", price=price, symbol=SPOT.symbol, oco_group="g")
    with pytest.raises(VenueRejected):
        made.sell("498", price="112.00", symbol=SPOT.symbol, oco_group="g")

    assert made.free("BTC") == D("9.5")


def test_the_margin_of_orders_follows_the_fees_of_their_market() -> None:
    made = floor(fees=True)
    made.buy("1", price="90.0")
    assert made.used("USDT") == D("90.0495")
    made.exchange.relist(replace(PERP, taker=D("0.001")))

    assert made.used("USDT") == D("90.09")


def test_a_market_order_into_nothing_needs_margin_at_the_mark() -> None:
    made = floor()
    made.moves([("100.0", "0")], [("100.1", "0")])

    assert made.buy("1").reason == "no_liquidity"
    assert made.used("USDT") == 0


def test_leverage_changes_the_margin_of_a_position() -> None:
    made = floor()
    made.buy("5", leverage="10")
    assert made.used("USDT") == D("50.05")

    made.exchange.set_leverage("me", PERP.symbol, D(5), 9)
    assert made.used("USDT") == D("100.10")
    assert [seen.position.leverage for seen in made.of(PositionSeen)][-1] == D(5)


@pytest.mark.parametrize(
    ("leverage", "code"),
    [("0.5", Code.VENUE_REJECTED), ("51", Code.VENUE_REJECTED), ("1", Code.INSUFFICIENT_FUNDS)],
)
def test_leverage_out_of_range_or_beyond_the_funds_is_refused(leverage: str, code: Code) -> None:
    made = floor("100")
    made.buy("5", leverage="10")
    with pytest.raises(VenueRejected) as refused:
        made.exchange.set_leverage("me", PERP.symbol, D(leverage), 9)

    assert refused.value.code is code
    assert made.used("USDT") == D("50.05")


def test_isolated_collateral_is_set_apart_and_returned_with_the_position() -> None:
    made = floor()
    made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=9)
    made.buy("4", leverage="10")
    position = made.exchange.positions("me", 9)[0]
    assert (position.margin_mode, position.collateral) == ("isolated", D("40.04"))

    made.buy("1", price="90.0")
    assert made.used("USDT") == D("40.04") + D(9)

    made.sell("1")
    assert made.exchange.positions("me", 9)[0].collateral == D("30.03")
    made.exchange.set_leverage("me", PERP.symbol, D(20), 9)
    assert made.exchange.positions("me", 9)[0].collateral == D("15.015")
    made.sell("3")
    assert made.used("USDT") == D("4.5")


def test_the_margin_mode_changes_only_while_flat_and_without_orders() -> None:
    made = floor()
    work = made.buy("1", price="90.0")
    with pytest.raises(VenueRejected, match="position or working orders"):
        made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=9)
    made.cancel(work)
    made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=9)
    made.buy("1")
    with pytest.raises(VenueRejected):
        made.exchange.set_isolated("me", PERP.symbol, isolated=False, ts=9)


def test_spot_has_no_leverage() -> None:
    with pytest.raises(VenueRejected):
        Floor(SPOT).exchange.set_leverage("me", SPOT.symbol, D(2), 9)
    with pytest.raises(VenueRejected):
        Floor(SPOT).exchange.set_isolated("me", SPOT.symbol, isolated=True, ts=9)


# --- X6.4 liquidation -------------------------------------------------------------------------


def leveraged(*, isolated: bool = False, side: Side = Side.BUY, cash: str = "100") -> Floor:
    """Nine contracts of 100 on 100 of cash, in a book without a spread."""
    made = Floor(FREE_PERP, me={"USDT": cash}).outside([("100.0", "9")], [("100.1", "9")])
    if side is Side.BUY:
        made.moves([], [("100.1", "0"), ("100.0", "0")])
        made.moves([("100.0", "0"), ("99.9", "9")], [("100.0", "9")])
    made.mark("100")
    if isolated:
        made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=1)
    made.place(side, "9", leverage="10")
    made.told()
    return made


@pytest.mark.parametrize(
    ("side", "isolated", "expected"),
    [
        (Side.BUY, False, "89.3"),  # (9 * 100 - 100) / (9 * 0.995) = 89.34
        (Side.BUY, True, "90.4"),  # (9 * 100 - 90) / (9 * 0.995) = 90.45
        (Side.SELL, False, "110.6"),  # (100 + 900) / (9 * 1.005) = 110.56
        (Side.SELL, True, "109.5"),  # (90 + 900) / (9 * 1.005) = 109.45
    ],
)
def test_the_liquidation_price_is_told_beforehand_and_is_exactly_the_condition(
    *, side: Side, isolated: bool, expected: str
) -> None:
    made = leveraged(side=side, isolated=isolated)
    position = made.exchange.positions("me", 9)[0]
    assert position.liquidation_price == D(expected)

    step = D("0.1") if side is Side.BUY else D("-0.1")
    made.mark(str(D(expected) + step))
    assert made.position() == position.amount
    made.mark(expected)

    assert made.position() != position.amount


def test_a_position_that_no_price_can_liquidate_has_none() -> None:
    made = floor("1000")
    made.buy("1")

    assert made.exchange.positions("me", 9)[0].liquidation_price is None


def test_a_cross_position_is_told_again_when_the_money_behind_it_moves() -> None:
    """Found by an audit: its liquidation price stayed that of its last fill until the next reconciliation."""
    made = Floor(FREE_PERP, SPOT, me={"USDT": "1000"}, you={"USDT": "1000"})
    made.mark("100")
    made.quote(Side.SELL, "100.0", "99")
    made.quote(Side.SELL, "100.00", "99", SPOT.symbol)
    made.buy("9", leverage="10")
    made.told()

    def told() -> list[Decimal | None]:
        assert made.of(PositionSeen) == []  # to tell all of them at each step would cost too much
        made.exchange.advance(9)
        return [row.position.liquidation_price for row in made.of(PositionSeen)]

    def now() -> list[Decimal | None]:
        return [made.exchange.positions("me", 9)[0].liquidation_price]

    made.buy("7", symbol=SPOT.symbol)
    assert told() == now() == [D("67.0")]  # (9 * 100 - 300) / (9 * 0.995) = 67.002
    resting = made.buy("1", symbol=SPOT.symbol, price="50.00")
    assert told() == now() == [D("72.5")]
    made.cancel(resting)
    assert told() == now() == [D("67.0")]
    made.buy("1", price="50.0", leverage="10")  # holds margin, which stands behind it all the same
    assert told() == []
    made.buy("1", symbol=SPOT.symbol, account="you")
    assert made.of(PositionSeen, "you") == []


def test_a_liquidation_is_told_before_the_pieces_in_which_it_fills() -> None:
    """trading:X7.1; else whoever hears of its fills alone does not know how much of it there is."""
    made = floor("30")
    made.buy("2", leverage="20")
    made.moves([("100.0", "1"), ("99.9", "0.5"), ("99.8", "9")], [])
    made.told()
    made.mark("85")
    told = made.told()

    rows = [event for event in told if isinstance(event, OrderSeen)]
    first, last = told.index(rows[0]), told.index(rows[-1])
    assert (rows[0].status, rows[0].amount, rows[0].filled) == (Status.OPEN, D(1), D(0))
    assert first < min(told.index(one) for one in told if isinstance(one, Filled)) < last


def test_liquidation_cancels_orders_then_halves_and_may_stop_there() -> None:
    made = leveraged()
    resting = made.buy("0.5", price="50.0", leverage="10")
    price(made, "89.3", "89.4")

    assert (resting.status, resting.reason) == (Status.CANCELED, "liquidation")
    assert made.position() == D(4) + D("0.5")
    told = made.told()
    forced = [event for event in told if isinstance(event, OrderSeen) and event.reason is None]
    assert [(event.venue_client_id, event.status) for event in forced][-1] == (None, Status.FILLED)


def test_liquidation_closes_everything_when_half_is_not_enough() -> None:
    made = leveraged()
    price(made, "88.95", "89.4", mark="88.9")

    assert made.position() == 0
    assert made.total("USDT") == D(100) - 9 * (D(100) - D("88.95"))


@pytest.mark.parametrize("isolated", [False, True])
def test_the_insurance_pays_what_the_account_cannot(*, isolated: bool) -> None:
    made = leveraged(isolated=isolated)
    worth = made.exchange.clearing.worth()
    price(made, "80.0", "80.1")
    told = made.told()
    paid = [event for event in told if isinstance(event, Transferred)]

    assert made.position() == 0
    assert [(event.kind, event.amount) for event in paid] == [
        ("insurance", D(90) if isolated else D(80))
    ]
    assert made.total("USDT") == (D(10) if isolated else 0)
    assert made.exchange.clearing.insurance == {"USDT": -paid[0].amount}
    assert made.exchange.clearing.worth() == worth


def test_what_the_book_does_not_take_is_taken_at_the_mark() -> None:
    made = leveraged()
    price(made, "80.0", "80.1", deep="1")
    fills = made.of(Filled)

    assert made.position() == 0
    assert sum(fill.amount for fill in fills) == D(9)
    assert {fill.price for fill in fills} == {D("80.0")}


def test_an_isolated_position_leaves_the_rest_of_the_account_alone() -> None:
    made = Floor(FREE_PERP, replace(ETH_PERP, taker=D(0)), SPOT, me={"USDT": "1000"}).outside(
        [("99.9", "9")], [("100.0", "9")]
    )
    made.mark("100")
    for symbol, bid, ask in ((ETH_PERP.symbol, "99.0", "100.0"), (SPOT.symbol, "99.00", "100.00")):
        made.quote(Side.SELL, ask, "9", symbol)
        made.quote(Side.BUY, bid, "9", symbol)
    made.mark("100", symbol=ETH_PERP.symbol)
    made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=1)
    made.buy("9", leverage="10")
    made.buy("1", symbol=ETH_PERP.symbol)
    spot = made.buy("1", symbol=SPOT.symbol, price="90.00")
    other = made.buy("1", symbol=ETH_PERP.symbol, price="90.0")
    price(made, "90.0", "90.1")

    assert made.position() == 0
    assert made.position(symbol=ETH_PERP.symbol) == D(1)
    assert (spot.status, other.status) == (Status.OPEN, Status.OPEN)


def test_a_cross_liquidation_takes_the_orders_of_all_cross_positions_but_spot() -> None:
    eth = replace(ETH_PERP, taker=D(0))
    made = Floor(FREE_PERP, eth, SPOT, me={"USDT": "290"}).outside(
        [("99.9", "9")], [("100.0", "9")]
    )
    made.mark("100")
    for symbol, bid, ask in ((eth.symbol, "99.9", "100.0"), (SPOT.symbol, "99.00", "100.00")):
        made.quote(Side.SELL, ask, "9", symbol)
        made.quote(Side.BUY, bid, "9", symbol)
    made.mark("100", symbol=eth.symbol)
    made.buy("9", leverage="10")
    made.buy("1", symbol=eth.symbol, leverage="10")
    spot = made.buy("1", symbol=SPOT.symbol, price="90.00")
    other = made.sell("1", symbol=eth.symbol, price="120.0")
    assert made.exchange.positions("me", 9)[0].liquidation_price is not None

    price(made, "78.0", "78.1")

    assert (spot.status, other.status) == (Status.OPEN, Status.CANCELED)
    assert made.position() < D(9)


def test_what_a_liquidation_has_lost_is_paid_with_all_there_is_before_the_insurance() -> None:
    made = Floor(FREE_PERP, SPOT, me={"USDT": "190"}).outside([("99.9", "9")], [("100.0", "9")])
    made.mark("100")
    made.buy("9", leverage="10")
    made.quote(Side.SELL, "100.00", "9", SPOT.symbol)
    spot = made.buy("1", symbol=SPOT.symbol, price="90.00")
    price(made, "70.0", "70.1")

    assert (spot.status, spot.reason) == (Status.CANCELED, "insufficient_funds")
    assert (made.total("USDT"), made.free("USDT")) == (D(0), D(0))
    assert made.exchange.clearing.insurance == {"USDT": D(-80)}


def test_a_position_of_unknown_worth_is_not_judged() -> None:
    made = Floor(FREE_PERP, replace(ETH_PERP, taker=D(0)), me={"USDT": "100"}).outside(
        [("100.0", "9")], [("100.0", "0")]
    )
    made.sell("1", leverage="10")
    made.moves([("100.0", "0")])
    pit = made.exchange.pits[PERP.symbol]
    pit.last = None
    made.moves([], [("500.0", "9")])

    assert made.position() == D(-1)
    assert made.exchange.positions("me", 9)[0].maintenance_margin is None


# --- X6.5 funding -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "rate", "paid"),
    [
        (Side.BUY, "0.000100001", "-0.02000020"),
        (Side.SELL, "0.000100001", "0.02000020"),
        (Side.BUY, "-0.0000000000123", "0"),
        (Side.SELL, "-0.0000000000123", "-1E-8"),
    ],
    ids=["a long pays", "a short receives", "received is rounded down", "paid is rounded up"],
)
def test_funding_falls_due_on_schedule(side: Side, rate: str, paid: str) -> None:
    made = Floor(FREE_PERP).outside([("100.0", "9")], [("100.1", "9")])
    made.mark("100", rate=rate, due=FUNDING_EVERY)
    made.place(side, "2")
    made.told()
    made.exchange.advance(FUNDING_EVERY - 1)
    assert made.told() == []

    made.exchange.advance(FUNDING_EVERY)
    told = made.told()

    transfers = [event for event in told if isinstance(event, Transferred)]
    assert [(event.kind, event.symbol) for event in transfers] == [("funding", PERP.symbol)]
    assert transfers[0].amount == D(paid)
    assert any(isinstance(event, BalanceSeen) for event in told)
    made.exchange.advance(FUNDING_EVERY + 5)
    assert made.of(Transferred) == []


def paid(made: Floor, account: str = "me") -> list[tuple[Decimal, int]]:
    """Fundings told since the last call, and the times that they fell due at."""
    return [(moved.amount, moved.ts) for moved in made.of(Transferred, account)]


def fundings(*times: int, mark: str = "100", rate: str = "0.0001") -> list[Funding]:
    return [Funding(ts=ts, mark=mark, rate=rate) for ts in times]


def test_fundings_missed_by_a_long_sleep_are_paid_once_each_as_they_were() -> None:
    made, day, now = floor(), 3 * FUNDING_EVERY, 3 * FUNDING_EVERY + LATE + 7
    made.mark("100", due=FUNDING_EVERY)
    made.buy("1")
    made.told()
    made.exchange.advance(now)
    assert (made.of(Transferred), made.exchange.missed) == ([], {PERP.symbol: FUNDING_EVERY})

    since = made.exchange.unsettled(PERP.symbol, now)
    assert 0 < since < FUNDING_EVERY
    told = fundings(since, FUNDING_EVERY, 2 * FUNDING_EVERY) + fundings(day, mark="200")
    made.exchange.make_up(PERP.symbol, told, now, now)
    made.exchange.make_up(PERP.symbol, told, now, now)

    assert made.exchange.missed == {}
    assert paid(made) == [
        (D("-0.01"), FUNDING_EVERY),
        (D("-0.01"), 2 * FUNDING_EVERY),
        (D("-0.02"), day),
    ]
    made.exchange.advance(4 * FUNDING_EVERY)
    assert paid(made) == [(D("-0.01"), 4 * FUNDING_EVERY)]


def test_what_was_held_when_a_missed_funding_fell_due_pays_it() -> None:
    """Whoever was told late has traded since: he has sold some, all, and bought again."""
    for traded, left in ((["1"], 2), (["3"], 0), (["3", "-1"], 1), (["-2", "4"], 1)):
        made = Floor(FREE_PERP, me={"USDT": "10000"}, you={"USDT": "9"})
        made.outside([("100.0", "99")], [("100.1", "99")])
        made.mark("100")
        made.ts = 5
        made.buy("3")
        made.exchange.resume(FUNDING_EVERY + 9)
        made.ts = FUNDING_EVERY + 9
        for amount in traded:
            made.place(Side.SELL if D(amount) > 0 else Side.BUY, str(abs(D(amount))))
        assert made.position() == D(left)
        made.told()
        made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), 0, made.ts)
        assert PERP.symbol in made.exchange.missed
        assert (paid(made), paid(made, "you")) == ([(D("-0.03"), FUNDING_EVERY)], [])


def test_while_flat_nothing_is_paid_and_forgotten_orders_change_nothing() -> None:
    made = floor()
    made.buy("2")
    made.exchange.resume(9)
    made.exchange.clearing.fills["me"].clear()  # as with orders that ended long ago
    made.ts = FUNDING_EVERY + 5
    made.sell("2")
    made.ts = 2 * FUNDING_EVERY + 5
    made.buy("1")
    made.told()
    told = fundings(FUNDING_EVERY, 2 * FUNDING_EVERY, 3 * FUNDING_EVERY)
    made.exchange.make_up(PERP.symbol, told, 3 * FUNDING_EVERY, 3 * FUNDING_EVERY)

    assert paid(made) == [(D("-0.02"), FUNDING_EVERY), (D("-0.01"), 3 * FUNDING_EVERY)]


def test_nothing_is_missed_where_nobody_holds_anything_and_nothing_is_owed_from_before() -> None:
    made = Floor(FREE_PERP, SPOT, me={"USDT": "1000"})
    made.outside([("100.0", "99")], [("100.1", "99")])
    made.mark("100")
    made.exchange.resume(3)
    assert (made.exchange.missed, made.exchange.unsettled(PERP.symbol, 7)) == ({}, 7)

    made.ts = FUNDING_EVERY + 5
    made.buy("1")
    made.buy("0.1", symbol=SPOT.symbol, price="1.00")
    made.told()
    made.exchange.resume(made.ts)
    made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), made.ts, made.ts)
    assert (made.of(Transferred), made.exchange.missed) == ([], {})


def test_a_position_of_an_older_log_pays_what_falls_due_from_the_next_start_on() -> None:
    """Nobody knows what it paid before; what is known from then on is in the log."""
    made = floor()
    made.buy("1")
    made.exchange.clearing.accounts["me"].holding(PERP.symbol).funded_ts = 0
    made.told()
    made.exchange.resume(FUNDING_EVERY + 9)
    told = fundings(FUNDING_EVERY, 2 * FUNDING_EVERY)
    made.exchange.make_up(PERP.symbol, told[:1], FUNDING_EVERY + 9, FUNDING_EVERY + 9)
    assert [type(event) for event in made.told()] == [PositionSeen]

    made.exchange.resume(2 * FUNDING_EVERY + 9)
    assert made.exchange.unsettled(PERP.symbol, 2 * FUNDING_EVERY + 9) == FUNDING_EVERY + 9
    made.exchange.make_up(PERP.symbol, told, 2 * FUNDING_EVERY + 9, 2 * FUNDING_EVERY + 9)
    assert paid(made) == [(D("-0.01"), 2 * FUNDING_EVERY)]


def test_another_symbol_s_fills_do_not_change_what_was_held() -> None:
    made = Floor(FREE_PERP, ETH_PERP, me={"USDT": "10000"})
    made.outside([("100.0", "99")], [("100.1", "99")])
    made.mark("100")
    made.mark("100", symbol=ETH_PERP.symbol)
    made.quote(Side.SELL, "100.0", "9", ETH_PERP.symbol)
    made.buy("1")
    made.exchange.resume(FUNDING_EVERY)
    made.ts = FUNDING_EVERY + 1
    made.buy("2", symbol=ETH_PERP.symbol)
    made.told()
    made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), made.ts, made.ts)
    assert paid(made) == [(D("-0.01"), FUNDING_EVERY)]


def test_a_funding_that_falls_due_while_older_ones_are_not_known_waits_for_them() -> None:
    made = floor()
    made.mark("100", due=FUNDING_EVERY)
    made.buy("1")
    made.exchange.resume(9)
    made.told()
    made.exchange.advance(FUNDING_EVERY)
    assert (made.of(Transferred), made.exchange.missed) == ([], {PERP.symbol: FUNDING_EVERY})

    made.exchange.end()  # there is nobody any more who could say
    assert made.exchange.missed == {}


def test_missed_funding_that_leaves_too_little_is_followed_by_liquidation() -> None:
    made = floor("10")
    made.exchange.set_leverage("me", PERP.symbol, D(50), 1)
    made.buy("4")
    made.exchange.resume(2 * FUNDING_EVERY)
    made.told()
    made.exchange.make_up(
        PERP.symbol, fundings(FUNDING_EVERY, rate="0.02"), 2 * FUNDING_EVERY, 2 * FUNDING_EVERY
    )
    told = made.told()

    assert any(isinstance(event, Transferred) and event.kind == "funding" for event in told)
    assert made.position() == 2  # half of it is enough


def test_funding_that_fell_due_before_the_market_was_seen_is_not_paid() -> None:
    made = floor()
    made.buy("1")
    made.ts = 3 * FUNDING_EVERY + 7
    made.mark("100", due=FUNDING_EVERY)
    made.told()
    made.exchange.advance(4 * FUNDING_EVERY - 1)
    assert made.of(Transferred) == []

    made.exchange.advance(4 * FUNDING_EVERY)
    assert len(made.of(Transferred)) == 1


def test_a_market_that_pays_every_hour_is_followed_and_pays_each_once() -> None:
    made, hour = floor(), FUNDING_EVERY // 8
    made.buy("1")
    made.mark("100", due=hour)
    made.told()
    for number in range(1, 25):
        made.exchange.advance(number * hour + 5)
        # What came late says what has been paid, or is no time that is still to come.
        made.ts = number * hour - 9
        made.mark("100", due=number * hour)
        made.ts = number * hour + 9
        made.mark("100", due=number * hour)
        made.exchange.advance(number * hour + 11)
        assert len(made.of(Transferred)) == 1
        made.mark("100", due=(number + 1) * hour)
        assert made.of(Transferred) == []


def test_a_funding_time_that_has_passed_waits_for_the_next_that_the_market_names() -> None:
    made, hour = floor(), FUNDING_EVERY // 8
    made.buy("1")
    made.ts = hour + 7
    made.mark("100", due=hour)
    made.mark("100", due=2 * hour)
    made.told()
    made.exchange.advance(2 * hour)

    assert len(made.of(Transferred)) == 1


def test_funding_is_paid_at_the_rate_that_was_told_of_it_and_not_at_the_next_one() -> None:
    """A venue tells the next rate in the moment in which the one before has fallen due."""
    made = floor()
    made.mark("100", rate="0.0001", due=FUNDING_EVERY)
    made.buy("1")
    made.told()
    made.ts = FUNDING_EVERY + 5
    made.mark("110", rate="0.0009", due=2 * FUNDING_EVERY)
    assert paid(made) == [(D("-0.01"), FUNDING_EVERY)]

    made.exchange.advance(FUNDING_EVERY + 9)
    made.exchange.advance(2 * FUNDING_EVERY)
    assert paid(made) == [(D("-0.099"), 2 * FUNDING_EVERY)]


def test_nobody_pays_funding_behind_the_end_of_a_market() -> None:
    made = floor()
    made.mark("100", due=FUNDING_EVERY)
    made.buy("1")
    made.told()
    made.exchange.end()
    made.exchange.advance(3 * FUNDING_EVERY)

    assert made.of(Transferred) == []


def test_funding_without_a_price_or_a_rate_is_missed_and_settled_later() -> None:
    made = Floor(FREE_PERP).outside([("100.0", "9")], [("100.1", "9")])
    made.buy("1")
    made.exchange.pits[PERP.symbol].next_funding_ts = FUNDING_EVERY
    made.told()
    made.exchange.advance(FUNDING_EVERY)
    assert (made.of(Transferred), made.exchange.missed) == ([], {PERP.symbol: FUNDING_EVERY})

    made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), FUNDING_EVERY, FUNDING_EVERY + 9)
    assert (paid(made), made.exchange.missed) == ([(D("-0.01"), FUNDING_EVERY)], {})


def test_what_is_silent_keeps_its_last_mark_and_what_comes_back_has_none_of_before() -> None:
    """Else nobody could say whether those are healthy that it shares its money with."""
    made = floor()
    made.buy("1")
    pit = made.exchange.pits[PERP.symbol]
    made.exchange.on_stale(PERP.symbol, stale=True)
    made.exchange.attach(PERP.symbol, OrderBook(PERP.symbol))
    assert (pit.reference, made.exchange.positions("me", 9)[0].maintenance_margin) == (
        D(100),
        D("0.5"),
    )

    made.exchange.on_stale(PERP.symbol, stale=False)
    assert (pit.last, pit.mark, pit.index) == (None, None, None)
    made.mark("101")
    made.exchange.on_stale(PERP.symbol, stale=False)
    assert pit.mark == 101


def test_without_a_price_no_funding_is_paid() -> None:
    made = Floor(FREE_PERP)
    made.exchange.pits[PERP.symbol].next_funding_ts = 5
    made.exchange.advance(9)

    assert made.told() == []


@pytest.mark.parametrize("late", [0, 1, LATE + 1])
@pytest.mark.parametrize("how", ["market", "printed", "moved", "amended", "liquidated"])
def test_whoever_trades_when_funding_falls_due_has_held_until_then(how: str, late: int) -> None:
    """Time is told once a second at some venues: what is closed or opened meanwhile is later than the funding."""
    now = FUNDING_EVERY + late
    made = Floor(FREE_PERP, me={"USDT": "25"}).outside([("100.0", "99")], [("100.1", "99")])
    made.mark("100", due=FUNDING_EVERY)
    made.buy("2", leverage="20")
    rests = made.sell("1", price="101.0", reduce_only=True)
    made.told()
    made.ts = now - 1
    match how:
        case "market":
            made.sell("1", reduce_only=True)
        case "printed":
            made.printed(Side.BUY, "101.0", "1")
        case "moved":
            made.moves([("101.0", "1")], [("100.1", "0"), ("102.0", "99")])
        case "amended":
            made.amend(rests, price="100.0")
        case _:
            made.exchange.transfer("me", "USDT", D("-4"), 5)
            # Another market's price may bring an end to all that shares the money.
            made.exchange.pits[PERP.symbol].mark = D(80)
            made.exchange.moved[PERP.symbol] = None
            made.exchange.transfer("you", "USDT", D("1"), now)
    assert made.position() < 2

    if late > LATE:
        assert made.exchange.missed == {PERP.symbol: FUNDING_EVERY}
        made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), now, now)
    else:
        made.exchange.advance(now)
    told = [moved for moved in made.of(Transferred) if moved.kind == "funding"]
    mark = D(80) if how == "liquidated" and late <= LATE else D(100)
    assert [(moved.amount, moved.ts) for moved in told] == [(-2 * mark / 10000, FUNDING_EVERY)]


def test_a_position_closed_before_its_missed_funding_is_told_owes_it_after_a_restart() -> None:
    made = floor()
    made.ts = 5
    made.buy("2")
    entries = [entry_out(made.exchange, "me", made.everything()[0])]
    made.exchange.resume(FUNDING_EVERY + 9)
    made.ts = FUNDING_EVERY + 9
    made.sell("2")
    entries.append(entry_out(made.exchange, "me", made.everything()[0]))

    def again() -> Floor:
        """Whoever was told nothing was killed, and starts anew."""
        new = Floor(FREE_PERP)
        new.exchange = Exchange(venue="paper", markets={PERP.symbol: FREE_PERP})
        adopt(new.exchange, "me", entries)
        new.ts = FUNDING_EVERY + 99
        new.exchange.resume(new.ts)
        return new

    made = again()
    assert PERP.symbol in made.exchange.missed
    assert made.exchange.unsettled(PERP.symbol, made.ts) == 6
    made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), made.ts, made.ts)
    entries.append(entry_out(made.exchange, "me", made.exchange.take_told()))
    assert [row["amount"] for row in entries[-1]["moved"]] == ["-0.02000000"]  # type: ignore[attr-defined]

    made = again()
    assert made.exchange.missed == {}
    made.exchange.make_up(PERP.symbol, fundings(FUNDING_EVERY), made.ts, made.ts)
    assert paid(made) == []


def test_a_funding_that_falls_due_before_a_refused_order_is_told_whole() -> None:
    made = floor()
    made.mark("100", due=FUNDING_EVERY)
    made.buy("1")
    made.told()
    made.ts = FUNDING_EVERY
    with pytest.raises(VenueRejected):
        made.buy("1", price="0.05")

    assert [type(event) for event in made.told()] == [Transferred, BalanceSeen, PositionSeen]


def test_what_was_closed_with_nothing_owed_is_not_asked_for_again() -> None:
    made = floor()
    made.mark("100", due=FUNDING_EVERY)
    made.buy("2")
    made.exchange.advance(FUNDING_EVERY)
    made.ts = FUNDING_EVERY + 5
    made.sell("2")
    made.told()
    made.exchange.resume(2 * FUNDING_EVERY)

    assert made.exchange.missed == {}
    assert made.exchange.unsettled(PERP.symbol, 7) == 7


def test_funding_conserves_cash() -> None:
    made = floor()
    made.mark("100", due=FUNDING_EVERY)
    made.buy("1")
    made.sell("2", account="you")
    worth = made.exchange.clearing.worth()
    made.exchange.advance(FUNDING_EVERY)

    assert made.exchange.clearing.worth() == worth


def test_leverage_that_would_liquidate_at_once_is_refused() -> None:
    made = leveraged(isolated=True)
    made.mark("97")
    with pytest.raises(VenueRejected):
        made.exchange.set_leverage("me", PERP.symbol, D(40), 9)

    assert made.exchange.positions("me", 9)[0].leverage == D(10)


def test_a_position_of_one_step_is_closed_by_the_first_stage() -> None:
    whole = replace(FREE_PERP, amount_step=D(1))
    other = replace(ETH_PERP, taker=D(0), amount_step=D(1))
    made = Floor(whole, other, me={"USDT": "30"}).outside([("99.9", "9")], [("100.0", "9")])
    made.mark("100")
    made.quote(Side.SELL, "50.0", "9", other.symbol)
    made.quote(Side.BUY, "10.0", "9", other.symbol)
    made.mark("50", symbol=other.symbol)
    made.buy("1", leverage="10")
    made.buy("1", symbol=other.symbol, leverage="10")
    made.exchange.pits[other.symbol].mark = D(11)
    price(made, "90.0", "90.1")

    assert (made.position(), made.position(symbol=other.symbol)) == (D(0), D(0))
    assert made.total("USDT") == 0


def test_a_stop_that_fires_after_another_closed_the_position_is_gone() -> None:
    made = floor()
    made.buy("1")
    stops = [
        made.sell("1", type=OrderType.STOP, stop_price="95.0", reduce_only=True) for _ in range(2)
    ]
    made.printed(Side.SELL, "94.0", "0.001")

    assert [work.status for work in stops] == [Status.FILLED, Status.CANCELED]
    assert made.position() == 0


# --- what closed positions leave behind ---------------------------------------------------------


def two(cash: str) -> Floor:
    """Two perpetuals without fees and their books, the first one isolated, both at a leverage of 10."""
    eth = replace(ETH_PERP, maker=D(0), taker=D(0))
    made = Floor(FREE_PERP, eth, me={"USDT": cash})
    for symbol in (FREE_PERP.symbol, eth.symbol):
        made.quote(Side.SELL, "100.0", "99", symbol)
        made.mark("100", symbol=symbol)
    made.exchange.set_isolated("me", FREE_PERP.symbol, isolated=True, ts=1)
    made.buy("5", leverage="10")
    made.buy("4", symbol=eth.symbol, leverage="10")
    return made


def test_a_cross_loss_beyond_its_backing_spares_isolated_collateral() -> None:
    made = two("100")
    made.quote(Side.BUY, "70.0", "99", ETH_PERP.symbol)
    made.mark("70", symbol=ETH_PERP.symbol)

    assert (made.position(symbol=ETH_PERP.symbol), made.position()) == (D(0), D(5))
    assert made.total("USDT") == D(50)
    assert made.exchange.clearing.insurance == {"USDT": D(-70)}

    made.quote(Side.BUY, "85.0", "99")
    made.mark("85")
    assert (made.position(), made.total("USDT")) == (D(0), D(0))


def test_funding_that_is_not_free_comes_out_of_the_isolated_collateral() -> None:
    made = two("92")
    made.exchange.pits[FREE_PERP.symbol].next_funding_ts = 9
    made.mark("100", rate="0.0075")
    made.exchange.advance(8)
    made.told()
    made.exchange.advance(10)
    assert [row.position.collateral for row in made.of(PositionSeen)] == [D("48.25")]
    held = made.exchange.clearing.accounts["me"].holdings[FREE_PERP.symbol]
    assert (made.total("USDT"), held.collateral) == (D("88.25"), D("48.25"))
    assert made.exchange.balances("me", 11)[0].reserved == D("88.25")

    made.quote(Side.BUY, "80.0", "99")
    made.mark("80")
    assert (made.position(), made.total("USDT")) == (D(0), D(40))


def test_a_position_closed_far_from_its_mark_leaves_no_debt() -> None:
    made = floor("50")
    made.buy("20", leverage="49")
    price(made, "95.0", "100.1", mark="100")
    worth = made.exchange.clearing.worth()
    made.sell("20")

    assert (made.position(), made.total("USDT")) == (D(0), D(0))
    assert [(row.kind, row.amount) for row in made.of(Transferred)] == [("insurance", D(52))]
    assert made.exchange.clearing.worth() == worth


def test_what_is_open_elsewhere_may_still_pay_for_a_loss() -> None:
    made = two("100")
    made.exchange.clearing.accounts["me"].holdings[FREE_PERP.symbol].isolated = False
    made.mark("130")
    made.quote(Side.BUY, "70.0", "99", ETH_PERP.symbol)
    made.sell("4", symbol=ETH_PERP.symbol)

    assert made.position() == D(5)
    assert made.exchange.clearing.insurance == {}


@pytest.mark.parametrize("stale", [False, True])
def test_nothing_is_liquidated_by_a_book_that_cannot_be_right(*, stale: bool) -> None:
    made = Floor(FREE_PERP, me={"USDT": "100"}).outside([("99.9", "9")], [("100.0", "9")])
    made.sell("9", leverage="10")
    if stale:
        made.exchange.on_stale(None, stale=True)
    made.moves([("199.9", "9")], [("200.0", "9")] if stale else [])
    assert made.position() == D(-9)

    made.exchange.on_stale(None, stale=False)
    made.moves([("199.9", "0"), ("120.0", "9")], [("100.0", "0"), ("120.1", "9"), ("200.0", "0")])
    assert made.position() == 0


def test_collateral_has_no_more_decimals_than_its_currency() -> None:
    made = floor()
    made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=9)
    made.buy("1")
    made.exchange.set_leverage("me", PERP.symbol, D(3), 9)

    assert made.used("USDT") == D("33.36666667")
    assert made.free("USDT") + made.used("USDT") == made.total("USDT") == D(1000)


def test_a_leverage_that_came_with_an_order_is_told() -> None:
    made = floor()
    made.buy("1", price="90.0", leverage="10")

    assert [row.position.leverage for row in made.of(PositionSeen)] == [D(10)]


def test_a_loss_that_the_account_can_pay_is_not_insured() -> None:
    made = Floor(FREE_PERP, SPOT, me={"USDT": "1000"})
    made.quote(Side.SELL, "100.0", "99")
    made.mark("100")
    made.quote(Side.SELL, "100.00", "99", SPOT.symbol)
    made.buy("40", leverage="50")
    kept = made.buy("3", symbol=SPOT.symbol, price="99.00")
    ended = made.buy("6", symbol=SPOT.symbol, price="99.00")
    leg = made.buy("0.1", price="50.0", oco_group="g")
    stop = made.buy("1", symbol=SPOT.symbol, type=OrderType.TRAILING_STOP, trailing_amount="500")
    made.quote(Side.BUY, "90.0", "99")
    made.sell("40", reduce_only=True)

    assert made.exchange.clearing.insurance == {}
    assert [work.status for work in (kept, ended, leg, stop)] == [
        Status.OPEN,
        Status.CANCELED,
        Status.OPEN,
        Status.OPEN,
    ]
    assert (ended.reason, made.total("USDT"), made.free("USDT")) == (
        "insufficient_funds",
        D(600),
        D(303) - made.exchange.clearing.accounts["me"].wallet("USDT").margin,
    )


@pytest.mark.parametrize("isolated", [False, True])
def test_a_position_that_its_owner_closes_loses_no_more_than_stood_behind_it(
    *, isolated: bool
) -> None:
    made = floor("1000")
    made.exchange.set_isolated("me", PERP.symbol, isolated=isolated, ts=9)
    made.buy("20", leverage="20")
    price(made, "90.0", "100.1", mark="100")
    worth = made.exchange.clearing.worth()
    made.sell("20")

    assert (made.position(), made.total("USDT")) == (
        D(0),
        D("899.9") if isolated else D(798),
    )
    assert made.exchange.clearing.insurance == ({"USDT": D("-101.9")} if isolated else {})
    assert made.exchange.clearing.worth() == worth


@pytest.mark.parametrize(
    ("bid", "mark", "closed", "left", "collateral", "insured"),
    [
        ("97.0", "100", "4", "16", "80.08", None),  # its share pays for it
        ("95.0", "100", "10", "10", "49.1", None),
        ("85.0", "100", "6", "14", "9.5", None),
        ("80.0", "100", "6", "0", "0", "301.9"),  # what is left has nothing behind it
        ("80.0", "110", "6", "14", "0", "20.5"),  # but by its mark it lives on
    ],
)
def test_a_part_that_loses_more_than_its_share_takes_it_out_of_the_collateral(
    bid: str, mark: str, closed: str, left: str, collateral: str, insured: str | None
) -> None:
    """trading:X6.3. The wallet paid, with what stands behind other positions, and the rest kept its whole collateral."""
    made = floor("1000")
    made.exchange.set_isolated("me", PERP.symbol, isolated=True, ts=9)
    made.buy("20", leverage="20")
    apart = made.free("USDT")
    price(made, bid, "100.1", mark=mark)
    worth = made.exchange.clearing.worth()
    made.sell(closed)

    held = made.exchange.clearing.accounts["me"].holdings[PERP.symbol]
    gained = max(D(closed) * (D(bid) - D("100.1")) + D(closed) * D("5.005"), D(0))
    assert (held.amount, held.collateral) == (D(left), D(collateral))
    assert made.free("USDT") == apart + gained
    assert made.exchange.clearing.insurance == ({"USDT": -D(insured)} if insured else {})
    assert made.exchange.clearing.worth() == worth


def test_a_market_that_nobody_sees_keeps_no_other_from_liquidation() -> None:
    made = two("200")
    made.exchange.clearing.accounts["me"].holdings[FREE_PERP.symbol].isolated = False
    made.exchange.on_stale(FREE_PERP.symbol, stale=True)
    made.mark("60")
    assert made.position() == D(5)

    made.mark("100")
    made.quote(Side.BUY, "50.0", "99", ETH_PERP.symbol)
    made.mark("50", symbol=ETH_PERP.symbol)
    assert (made.position(symbol=ETH_PERP.symbol), made.position()) == (D(0), D(5))
    assert made.exchange.clearing.insurance == {}
