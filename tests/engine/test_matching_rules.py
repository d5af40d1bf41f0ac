"""trading:X2, market rules and the class of every refusal; trading:X4, fees."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime.engine.matching import Tier
from realtime.model.errors import Code, VenueRejected
from realtime.model.events import Filled
from realtime.model.market import Market
from realtime.model.orders import OrderType, Side, Status
from tests.engine.floor import FOK, GTD, IOC, PERP, SPOT, Floor


D = Decimal
RULED = replace(
    SPOT,
    min_amount=D("0.01"),
    max_amount=D(50),
    max_market_amount=D(5),
    min_cost=D(10),
    price_band=D("0.1"),
)


def floor(market: Market = RULED) -> Floor:
    made = Floor(market).outside([("99.00", "10")], [("101.00", "10"), ("115.00", "10")])
    made.told()
    return made


def refused(made: Floor, side: Side, amount: str, **fields: Any) -> VenueRejected:
    before = (made.used("USDT"), made.used("BTC"))
    with pytest.raises(VenueRejected) as error:
        made.place(side, amount, **fields)
    assert (made.used("USDT"), made.used("BTC"), made.told()) == (*before, [])
    return error.value


@pytest.mark.parametrize(
    ("amount", "fields", "kind", "rule"),
    [
        ("1", {"price": "100.005"}, "InvalidOrder", "tick_size"),
        ("1", {"price": "0"}, "InvalidOrder", "tick_size"),
        ("1.0005", {"price": "100"}, "InvalidOrder", "lot_size"),
        ("0", {}, "InvalidOrder", "lot_size"),
        ("0.009", {"price": "100"}, "InvalidOrder", "min_amount"),
        ("50.001", {"price": "100"}, "InvalidOrder", "max_amount"),
        ("5.001", {}, "InvalidOrder", "max_market_amount"),
        ("0.099", {"price": "100"}, "InvalidOrder", "min_cost"),
        ("0.099", {}, "InvalidOrder", "min_cost"),
        ("1", {"price": "110.01"}, "InvalidOrder", "price_band"),
        ("1", {"price": "89.99"}, "InvalidOrder", "price_band"),
        ("1", {"type": OrderType.STOP, "stop_price": "99.005"}, "InvalidOrder", "tick_size"),
        ("1", {"type": OrderType.STOP}, "InvalidOrder", "price"),
        ("1", {"type": OrderType.LIMIT}, "InvalidOrder", "price"),
        ("1", {"type": OrderType.TRAILING_STOP}, "InvalidOrder", "price"),
        ("1", {"type": OrderType.TRAILING_STOP, "trailing_rate": "0"}, "InvalidOrder", "price"),
        ("1", {"post_only": True}, "InvalidOrder", "post_only"),
        ("1", {"price": "100", "post_only": True, "time_in_force": IOC}, "InvalidOrder", "post_only"),
        ("1", {"price": "100", "time_in_force": GTD}, "InvalidOrder", "good_till_ts"),
        ("1", {"price": "100", "time_in_force": GTD, "good_till_ts": 1}, "InvalidOrder", "good_till_ts"),
        ("1", {"leverage": "2"}, "InvalidOrder", "max_leverage"),
        ("1", {"reduce_only": True}, "InvalidOrder", "reduce_only"),
        ("1", {"cost_limit": "9.99"}, "InvalidOrder", "min_cost"),
        ("1", {"price": "100", "cost_limit": "50"}, "InvalidOrder", "cost"),
        ("1", {"symbol": "NO/USDT"}, "BadSymbol", "symbol"),
    ],
)  # fmt: skip
def test_an_order_outside_the_rules_is_refused_with_the_class_ccxt_would_raise(
    amount: str, fields: dict[str, Any], kind: str, rule: str
) -> None:
    error = refused(floor(), Side.BUY, amount, **fields)

    assert error.details is not None
    assert (error.details["class"], error.details["rule"]) == (kind, rule)
    assert error.code is Code.VENUE_REJECTED


@pytest.mark.parametrize(
    ("amount", "fields"),
    [
        ("0.1", {"price": "100"}),
        ("50", {"price": "100"}),
        ("5", {}),
        ("1", {"price": "110"}),
        ("1", {"price": "90"}),
        ("1", {"leverage": "1"}),
    ],
)
def test_an_order_at_the_edge_of_the_rules_is_taken(amount: str, fields: dict[str, Any]) -> None:
    assert floor().buy(amount, **fields).status in {Status.OPEN, Status.FILLED}


def test_a_sell_by_cost_is_refused() -> None:
    error = refused(floor(), Side.SELL, "1", cost_limit="50")

    assert error.message == "only a spot market buy can be given by cost"


def test_an_inactive_market_takes_nothing() -> None:
    error = refused(floor(replace(RULED, active=False)), Side.BUY, "1")

    assert error.details is not None
    assert error.details["class"] == "MarketClosed"


def test_without_any_price_the_band_and_the_least_cost_cannot_be_judged() -> None:
    made = Floor(RULED)

    assert made.buy("1", price="500.00").resting
    assert Floor(RULED).sell("0.01").reason == "no_liquidity"


def test_a_derivative_has_a_largest_leverage() -> None:
    made = Floor(PERP).outside([("99.0", "9")], [("101.0", "9")])
    error = refused(made, Side.BUY, "1", leverage="51")

    assert error.details is not None
    assert error.details["rule"] == "max_leverage"


# --- X2.2 and X2.3 ----------------------------------------------------------------------------


def test_a_buy_by_cost_spends_at_most_that() -> None:
    work = floor().buy("1", cost_limit="250")

    assert (work.status, work.filled, work.amount) == (Status.FILLED, D("2.475"), D("2.475"))
    assert work.cost == D("249.975")


def test_a_buy_by_cost_gets_whole_lots_where_the_price_does_not_divide_it() -> None:
    """trading:M9."""
    work = Floor().outside([], [("101.30", "10")]).buy("1", cost_limit="100")

    assert (work.status, work.filled, work.amount) == (Status.FILLED, D("0.987"), D("0.987"))
    assert work.cost == D("99.9831")


def test_a_buy_by_cost_walks_on_to_the_next_level() -> None:
    made = Floor().outside([], [("10.00", "1"), ("20.00", "5")])
    work = made.buy("1", cost_limit="30")

    assert (work.filled, work.cost) == (D(2), D(30))


def test_a_buy_by_cost_that_buys_nothing_is_canceled() -> None:
    work = Floor().outside([], [("101.00", "10")]).buy("1", cost_limit="0.05")

    assert (work.status, work.filled) == (Status.CANCELED, D(0))


def test_what_a_market_order_finds_beyond_the_band_is_left_and_the_remainder_canceled() -> None:
    made = Floor(replace(RULED, max_market_amount=None)).outside(
        [("99.00", "10")], [("101.00", "3"), ("115.00", "10")]
    )
    work = made.buy("5")

    assert (work.status, work.filled, work.cost) == (Status.CANCELED, D(3), D("303.00"))


# --- X4 fees ----------------------------------------------------------------------------------


def fee_of(made: Floor) -> tuple[Decimal, str]:
    fill = made.of(Filled)[-1]
    return fill.fee, fill.fee_currency


def test_a_spot_buy_pays_in_base_and_a_sell_in_quote() -> None:
    made = floor(SPOT)
    made.buy("1")
    assert fee_of(made) == (D("0.001"), "BTC")
    assert made.total("BTC") == D("100.999")

    made.sell("1")

    assert fee_of(made) == (D("0.099"), "USDT")


def test_a_derivative_pays_in_its_settle_currency_on_entry_and_exit() -> None:
    made = Floor(PERP).outside([("100.0", "9")], [("100.0", "9")])
    made.moves([("100.0", "0"), ("99.9", "9")])
    made.buy("1")
    entry = fee_of(made)
    made.sell("1")

    assert (entry, fee_of(made)) == ((D("0.055"), "USDT"), (D("0.054945"), "USDT"))


def test_a_resting_order_pays_the_makers_rate() -> None:
    made = floor(replace(SPOT, maker=D("0.0005")))
    made.buy("1", price="98.00")
    made.printed(Side.SELL, "97.00", "1")

    assert fee_of(made) == (D("0.0005"), "BTC")


def test_a_fee_is_rounded_up_to_the_last_unit() -> None:
    made = floor(replace(SPOT, taker=D("0.00000123")))
    made.buy("0.001")

    assert fee_of(made) == (D("0.00000001"), "BTC")


def test_a_rebate_is_paid_out_and_rounded_down() -> None:
    made = floor(replace(SPOT, maker=D("-0.00012345678")))
    made.buy("1", price="98.00")
    made.printed(Side.SELL, "97.00", "1")

    assert fee_of(made) == (D("-0.00012345"), "BTC")
    assert made.total("BTC") == D("101.00012345")


def test_fees_fall_with_the_traded_volume() -> None:
    tiers = (Tier(volume=D(0), share=D(1)), Tier(volume=D(150), share=D("0.5")))
    made = Floor(SPOT, tiers=tiers).outside([], [("100.00", "10")])
    shares = []
    for _ in range(3):
        made.buy("1")
        shares.append(fee_of(made)[0])

    assert shares == [D("0.001"), D("0.001"), D("0.0005")]


def test_a_rebate_is_whole_whatever_was_traded() -> None:
    tiers = (Tier(volume=D(0), share=D("0.5")),)
    made = Floor(replace(SPOT, taker=D("-0.001")), tiers=tiers).outside([], [("100.00", "10")])
    made.buy("1")

    assert fee_of(made) == (D("-0.001"), "BTC")


def test_a_market_without_a_fee_charges_none() -> None:
    made = floor(replace(SPOT, taker=D(0)))
    made.buy("1")

    assert fee_of(made) == (D(0), "BTC")


def test_fill_or_kill_at_the_market_takes_all_or_nothing() -> None:
    made = floor(SPOT)

    assert made.buy("21", time_in_force=FOK).filled == 0
    assert made.buy("20", time_in_force=FOK).filled == D(20)
