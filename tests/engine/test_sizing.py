"""How much to trade and where it ends: vectors G11 to G17, caps, floors, what is missing."""

from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.sizing import (
    Account,
    Cap,
    Trade,
    exact,
    fixed_fractional,
    kelly,
    room_factor,
    size,
    stop_and_target,
)
from realtime.model.errors import Code, Refused
from realtime.model.orders import Side
from realtime.model.risk import Limits
from realtime.model.signals import Probabilities
from tests.engine.kit import BTC, MARKETS, PERP


D = Decimal
ZERO = D(0)
MARKET = MARKETS[BTC]
LIMITS = Limits(max_position_size=D("0.2"), max_daily_loss=D("0.1"))
CALM = Account(equity=D(10000), equity_start=D(10000), daily_pnl=D(0), positions=0)
CLEAR = Probabilities(0.8, 0.1, 0.1)
TRADE = Trade(side=Side.BUY, confidence=0.9, entry=D(100), probabilities=CLEAR)


def notional(account: Account, trade: Trade = TRADE, limits: Limits = LIMITS) -> Decimal:
    return size(trade, account, limits, MARKET).notional


def field_of(refusal: Refused) -> object:
    assert refusal.code is Code.INVALID
    assert refusal.details is not None
    fields = refusal.details["fields"]
    assert isinstance(fields, list)
    return fields[0]["field"]


# --- vectors ----------------------------------------------------------------------------------


def test_g11_size_by_confidence_and_clarity() -> None:
    made = size(TRADE, CALM, LIMITS, MARKET)

    assert made.notional == 1440
    assert made.amount == D("14.4")
    assert made.method == "confidence"
    assert made.factors == {
        "max_position_size": D("0.2"),
        "confidence": D("0.9"),
        "probability": D("0.80"),
        "loss": 1,
        "room": 1,
    }
    assert made.caps == ()
    assert made.reason is None


def test_g12_size_after_a_loss_and_with_positions_open() -> None:
    assert notional(replace(CALM, positions=2, daily_pnl=D(-300))) == D("806.4")


def test_g13_size_without_probabilities() -> None:
    assert notional(CALM, replace(TRADE, confidence=0.7, probabilities=None)) == 1400


@pytest.mark.parametrize(("pnl", "expected"), [(-700, 720), (-1000, 0), (5000, 1440)])
def test_g14_size_by_the_profit_of_the_day(pnl: int, expected: int) -> None:
    assert notional(replace(CALM, daily_pnl=D(pnl))) == expected


def test_g15_no_size_when_all_positions_are_taken() -> None:
    made = size(TRADE, replace(CALM, positions=5), LIMITS, MARKET)

    assert (made.notional, made.amount) == (ZERO, ZERO)
    assert made.reason == "max_open_positions is reached"


def test_g16_fixed_fractional_loses_its_share_at_the_stop() -> None:
    assert fixed_fractional(D(10000), D(95), D(100), D("0.02")) == 40

    made = size(
        replace(TRADE, stop=D(95)),
        CALM,
        replace(LIMITS, max_position_size=None),
        MARKET,
        method="fixed_fractional",
    )

    assert (made.amount, made.notional) == (D(40), D(4000))
    assert made.factors == {"risk_per_trade": D("0.02"), "stop_distance": D("0.05")}


def test_g17_stop_and_target_follow_the_probabilities() -> None:
    limits = Limits(stop_loss_fraction=D("0.05"), take_profit_fraction=D("0.10"))

    stop, target = stop_and_target(
        limits, MARKET, Side.BUY, D(100), probabilities=CLEAR, confidence=0.9
    )

    assert stop.price == D("95.42")
    assert (stop.base, stop.adjusted) == (D("0.05"), D("0.0458"))
    assert stop.inputs == {
        "entry": 100,
        "risk_score": D("0.28"),
        "stop_loss_fraction": D("0.05"),
    }
    assert target.price == D("114.5")
    assert (target.base, target.adjusted) == (D("0.10"), D("0.145"))


# --- size -------------------------------------------------------------------------------------


def test_the_day_at_its_limit_says_so() -> None:
    made = size(TRADE, replace(CALM, daily_pnl=D(-1000)), LIMITS, MARKET)

    assert made.reason == "max_daily_loss is reached"


def test_limits_that_are_off_do_not_hold_a_size_down() -> None:
    limits = Limits(max_position_size=None, max_daily_loss=None, max_open_positions=None)

    made = size(TRADE, replace(CALM, positions=50, daily_pnl=D(-5000)), limits, MARKET)

    assert made.notional == 7200


@pytest.mark.parametrize(("pnl", "expected"), [(-1, 0), (0, 0), (1, 1440)])
def test_a_loss_limit_of_nothing_leaves_room_for_profit_only(pnl: int, expected: int) -> None:
    limits = replace(LIMITS, max_daily_loss=D(0))

    assert notional(replace(CALM, daily_pnl=D(pnl)), limits=limits) == expected


def test_room_shrinks_to_half() -> None:
    assert [room_factor(count, LIMITS) for count in range(6)] == [
        1,
        D("0.9"),
        D("0.8"),
        D("0.7"),
        D("0.6"),
        0,
    ]


def test_caps_bind_and_the_tightest_counts() -> None:
    trade = replace(TRADE, confidence=1.0, probabilities=None, position_size=D("0.15"))

    made = size(trade, replace(CALM, available=D(500)), LIMITS, MARKET)

    assert made.caps == (
        Cap(name="position_size", notional=D("1500.00")),
        Cap(name="available", notional=D(500)),
    )
    assert (made.notional, made.amount) == (D(500), D(5))


def test_no_money_is_no_size() -> None:
    made = size(TRADE, replace(CALM, available=D(-5)), LIMITS, MARKET)

    assert (made.notional, made.amount, made.reason) == (ZERO, ZERO, "available leaves nothing")


def test_no_confidence_is_no_size() -> None:
    made = size(replace(TRADE, confidence=0.0), CALM, LIMITS, MARKET)

    assert (made.amount, made.reason) == (ZERO, "the size is zero")


def test_an_amount_is_floored_to_the_step() -> None:
    made = size(replace(TRADE, entry=D(30000)), CALM, LIMITS, MARKET)

    assert made.amount == D("0.048")
    assert size(replace(TRADE, entry=D(36001)), CALM, LIMITS, MARKET).amount == D("0.03999")


def test_below_the_minimum_there_is_nothing_and_a_reason() -> None:
    small = size(TRADE, CALM, LIMITS, replace(MARKET, min_amount=D(20)))
    cheap = size(TRADE, CALM, LIMITS, replace(MARKET, min_cost=D(2000)))

    assert (small.amount, small.notional) == (ZERO, ZERO)
    assert small.reason == "14.4 is below the minimum amount 20"
    assert (cheap.amount, cheap.notional) == (ZERO, ZERO)
    assert cheap.reason == "cost 1440 is below the minimum cost 2000"


def test_contracts_count_by_their_size_and_money_by_its_worth() -> None:
    perp = size(TRADE, CALM, LIMITS, MARKETS[PERP])
    euros = size(TRADE, CALM, LIMITS, MARKET, worth=D(2))

    assert perp.amount == 1440
    assert euros.amount == D("7.2")


def test_the_smaller_of_two_methods() -> None:
    near = size(replace(TRADE, stop=D(99)), CALM, LIMITS, MARKET, method="min")
    far = size(replace(TRADE, stop=D(50)), CALM, LIMITS, MARKET, method="min")

    assert near.notional == 1440
    assert far.notional == 400
    assert far.factors["stop_distance"] == D("0.5")
    assert far.factors["confidence"] == D("0.9")


def test_volatility_target_holds_the_deviation_of_equity() -> None:
    limits = replace(LIMITS, max_position_size=None, volatility_target=D("0.2"))

    made = size(replace(TRADE, volatility=0.8), CALM, limits, MARKET, method="volatility_target")

    assert made.notional == 2500
    assert made.factors == {"volatility_target": D("0.2"), "volatility": D("0.8")}


def test_kelly_is_the_share_that_grows_fastest() -> None:
    # An even bet of the whole stake won 6 times in 10: the textbook's fifth.
    assert kelly(D("0.6"), D(1), D(1)) == D("0.2")
    assert kelly(D("0.4"), D(1), D(1)) == 0


def test_kelly_is_taken_in_part_and_capped() -> None:
    market = replace(MARKET, taker=D(0))
    trade = replace(TRADE, stop=D(96), target=D(104), win=0.6)
    limits = replace(LIMITS, max_position_size=D(1), kelly_fraction=D("0.1"))

    part = size(trade, CALM, limits, market, method="kelly")
    capped = size(trade, CALM, LIMITS, market, method="kelly")

    assert part.factors["kelly"] == 5
    assert part.notional == 5000
    assert [cap.name for cap in capped.caps] == ["position_size", "max_position_size"]
    assert capped.notional == 2000


@pytest.mark.parametrize(
    ("win", "target"), [(0.4, D(104)), (0.99, D("100.1"))], ids=["loses", "fees eat the gain"]
)
def test_kelly_stays_away_from_a_trade_that_loses(win: float, target: Decimal) -> None:
    trade = replace(TRADE, stop=D(96), target=target, win=win)

    made = size(trade, CALM, LIMITS, MARKET, method="kelly")

    assert (made.amount, made.reason) == (ZERO, "the trade loses on average")


@pytest.mark.parametrize(
    ("method", "fields", "reason"),
    [
        ("fixed_fractional", {}, "fixed_fractional needs a stop"),
        ("min", {}, "fixed_fractional needs a stop"),
        ("volatility_target", {}, "volatility_target needs 30 returns"),
        ("volatility_target", {"volatility": 0.0}, "volatility_target needs a price that moves"),
        ("kelly", {"stop": D(95)}, "kelly needs a stop and a target"),
        (
            "kelly",
            {"stop": D(95), "target": D(110)},
            "kelly needs the probability of the target before the stop",
        ),
    ],
)
def test_what_is_missing_makes_no_size(method: str, fields: dict[str, object], reason: str) -> None:
    made = size(replace(TRADE, **fields), CALM, LIMITS, MARKET, method=method)  # type: ignore[arg-type]

    assert (made.notional, made.amount, made.reason) == (ZERO, ZERO, reason)


@pytest.mark.parametrize("method", ["confidence", "fixed_fractional", "volatility_target"])
def test_an_account_in_debt_trades_nothing(method: str) -> None:
    trade = replace(TRADE, stop=D(95), volatility=0.5)

    for equity in (D(-5), ZERO):
        poor = replace(CALM, equity=equity, equity_start=ZERO)
        made = size(trade, poor, LIMITS, MARKET, method=method)
        assert (made.amount, made.reason) == (ZERO, "equity is not above 0")


def test_bad_arguments_are_refused_by_name() -> None:
    for trade, method, name in (
        (TRADE, "martingale", "method"),
        (replace(TRADE, entry=D(0)), None, "entry"),
        (replace(TRADE, stop=D(100)), "fixed_fractional", "stop"),
    ):
        with pytest.raises(Refused) as caught:
            size(trade, CALM, LIMITS, MARKET, method=method)

        assert field_of(caught.value) == name


def test_a_statistic_becomes_money_by_its_shortest_text() -> None:
    assert exact(0.1) == D("0.1")


# --- stop and target --------------------------------------------------------------------------


def prices(side: Side, entry: str, limits: Limits = LIMITS, **options: object) -> list[object]:
    stop, target = stop_and_target(limits, MARKET, side, D(entry), **options)  # type: ignore[arg-type]
    return [stop.price, target.price]


def test_without_probabilities_the_base_distances_hold() -> None:
    assert prices(Side.BUY, "100") == [D(98), D(104)]
    assert prices(Side.SELL, "100", confidence=0.9) == [D(102), D(96)]


def test_stops_are_rounded_toward_the_entry_and_targets_away() -> None:
    assert prices(Side.BUY, "33.33") == [D("32.67"), D("34.67")]
    assert prices(Side.SELL, "33.33") == [D("33.99"), D("31.99")]


def test_a_target_is_never_farther_than_thirty_percent() -> None:
    limits = replace(LIMITS, take_profit_fraction=D("0.25"))

    assert prices(Side.BUY, "100", limits, probabilities=CLEAR, confidence=0.9)[1] == 130


def test_an_atr_stop_is_so_many_true_ranges_away() -> None:
    assert prices(Side.BUY, "100", method="atr", atr=1.5)[0] == 97
    assert prices(Side.SELL, "100", method="atr", atr=1.5)[0] == 103

    stop, _ = stop_and_target(LIMITS, MARKET, Side.BUY, D(100), method="atr", atr=1.5)
    assert (stop.base, stop.adjusted) == (D("0.03"), D("0.03"))
    assert stop.inputs["atr"] == D("1.5")


def test_a_swing_stop_lies_at_the_last_extreme() -> None:
    assert prices(Side.BUY, "100", method="swing", swing=97.5)[0] == D("97.5")
    assert prices(Side.SELL, "100", method="swing", swing=101.25)[0] == D("101.25")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"method": "atr"}, "atr needs 15 bars"),
        ({"method": "swing"}, "swing needs 5 bars"),
        ({"method": "swing", "swing": 100.5}, "100.5 is not below the entry 100"),
        ({"method": "atr", "atr": 60.0}, "below zero"),
    ],
)
def test_a_stop_that_cannot_be_has_a_reason(options: dict[str, object], reason: str) -> None:
    stop, target = stop_and_target(LIMITS, MARKET, Side.BUY, D(100), **options)  # type: ignore[arg-type]

    assert (stop.price, stop.base, stop.adjusted) == (None, None, None)
    assert stop.reason == reason
    assert target.price == 104


def test_a_distance_of_nothing_is_no_target() -> None:
    limits = replace(LIMITS, take_profit_fraction=D(0))

    _, target = stop_and_target(limits, MARKET, Side.BUY, D(100))

    assert (target.price, target.reason) == (None, "100 is not above the entry 100")


def test_bad_arguments_of_stops_are_refused_by_name() -> None:
    for entry, method, name in ((D(100), "hope", "method"), (D(-1), None, "entry")):
        with pytest.raises(Refused) as caught:
            stop_and_target(LIMITS, MARKET, Side.BUY, entry, method=method)

        assert field_of(caught.value) == name
