"""What the account risks: vectors G22, G23 and G27, tails, hints; nothing of it decides."""

from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.assessment import (
    FEWEST,
    herfindahl,
    level_of,
    points,
    returns_of_holdings,
    tails,
    total_score,
)
from realtime.model.market import SECOND
from realtime.model.risk import Limits, RiskView
from tests.engine.kit import BTC, ETH, OFF, PERP, D, Kit


DAY = 86_400 * SECOND


def codes(view: RiskView) -> list[str]:
    return [hint.code for hint in view.recommendations]


# --- formulas ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("concentration", "count", "x", "expected", "level"),
    [
        ("0.25", 1, "0", 0, "low"),
        ("0.4", 3, "0.03", 3, "high"),
        ("0.6", 5, "0.08", 7, "critical"),
        ("0.31", 0, "0", 1, "moderate"),
        ("0", 0, "0.05", 2, "moderate"),
    ],
    ids=["G22 a", "G22 b", "G22 c", "concentration", "loss"],
)
def test_g22_points_make_the_level(
    concentration: str, count: int, x: str, expected: int, level: str
) -> None:
    found = points(D(concentration), count, 5, D(x) / D("0.1"))

    assert found == expected
    assert level_of(found) == level


def test_what_is_not_known_or_switched_off_counts_no_points() -> None:
    assert points(None, 50, None, None) == 0


def test_g23_the_total_score_is_half_the_worst_and_half_the_mean() -> None:
    assert total_score([D("0.8"), D("0.2"), D("0.4"), D("0.3")]) == D("0.6125")
    assert total_score([D("0.8"), None]) is None


def test_g27_concentration_by_herfindahl() -> None:
    found = herfindahl([D("0.5"), D("0.3"), D("0.2")])

    assert found == D("0.38")
    assert float(1 / found) == pytest.approx(2.631579, abs=1e-6)
    assert herfindahl([]) is None


# --- tails ------------------------------------------------------------------------------------


def test_a_bad_day_is_measured_by_what_days_were_like() -> None:
    # 1 % to 100 % lost: the worst five of a hundred begin between 95 and 96.
    found = tails([-n / 100 for n in range(1, 101)])

    assert found.var_95 == pytest.approx(0.9505)
    assert found.var_99 == pytest.approx(0.9901)
    assert found.es_95 == pytest.approx((0.96 + 0.97 + 0.98 + 0.99 + 1.0) / 5)
    assert (found.samples, found.reason) == (100, None)


def test_too_few_days_make_no_tail() -> None:
    found = tails([0.01] * (FEWEST - 1))

    assert (found.var_95, found.var_99, found.es_95) == (None, None, None)
    assert found.reason == "insufficient_samples: 29 daily returns, 30 needed"


def test_a_day_that_always_gains_has_a_loss_below_zero() -> None:
    assert tails([0.01] * FEWEST).var_95 == pytest.approx(-0.01)


def test_holdings_return_together_on_the_days_that_all_of_them_have() -> None:
    history = {BTC: {1: 0.1, 2: -0.1, 3: 0.2}, PERP: {2: 0.05, 3: 0.1, 4: 0.5}}

    found = returns_of_holdings({BTC: 0.5, PERP: -0.2}, history)

    assert found == pytest.approx([-0.05 - 0.01, 0.1 - 0.02])
    assert returns_of_holdings({}, history) == []
    assert returns_of_holdings({BTC: 0.5, ETH: 0.1}, history) == []


def test_only_the_newest_days_count() -> None:
    assert len(returns_of_holdings({BTC: 1.0}, {BTC: dict.fromkeys(range(400), 0.1)})) == 250


def test_the_account_shows_the_tail_of_what_it_holds() -> None:
    kit = Kit().open(USDT="36000", BTC="1")
    before = kit.engine.risk_view(kit.ts)
    digest = kit.engine.digest()

    kit.engine.daily(BTC, {n * DAY: (-0.1 if n % 20 == 0 else 0.0) for n in range(100)})
    view = kit.engine.risk_view(kit.ts)

    assert before.var_95 is None
    assert before.var_reason == "insufficient_samples: 0 daily returns, 30 needed"
    # 64,000 of 100,000 fell by a tenth on 5 days of 100.
    assert view.var_99 == pytest.approx(0.064)
    assert view.es_95 == pytest.approx(0.064)
    assert view.var_reason is None
    assert kit.engine.digest() == digest


def test_a_short_loses_when_the_price_rises() -> None:
    kit = Kit().open(USDT="100000")
    kit.bought(PERP, "sell", "100", "64000")
    kit.price(PERP, "64000")
    kit.engine.daily(PERP, dict.fromkeys(range(30), 0.1))

    view = kit.engine.risk_view(kit.ts)

    # 100 contracts of 0.01 BTC are 64,000 of 100,000.
    assert view.var_95 == pytest.approx(0.064)


def test_without_holdings_or_prices_there_is_no_tail() -> None:
    empty = Kit().open(USDT="100000")
    blind = Kit().open(USDT="36000", BTC="1")
    blind.ts += 120 * SECOND

    assert empty.engine.risk_view(empty.ts).var_reason == "nothing is held"
    reason = blind.engine.risk_view(blind.ts).var_reason
    assert reason == "equity, or the price of a holding, is not known"


# --- positions and hints ----------------------------------------------------------------------


def held(limits: Limits = OFF, **scores: float) -> RiskView:
    kit = Kit(limits).open(USDT="20000", BTC="1", ETH="5")
    for symbol, score in scores.items():
        kit.engine.score({"btc": BTC, "eth": ETH}[symbol], score)
    return kit.engine.risk_view(kit.ts)


def test_a_position_has_the_risk_of_its_last_signal_or_a_half() -> None:
    view = held(btc=0.28)

    assert {one.symbol: one.risk_score for one in view.positions} == {
        BTC: D("0.28"),
        ETH: D("0.5"),
    }


def test_hints_say_what_to_do() -> None:
    assert codes(held()) == ["concentrated"]
    assert codes(held(btc=0.81)) == ["close_high_risk", "reduce_sizes", "concentrated"]
    assert codes(held(btc=0.8, eth=0.41)) == ["reduce_sizes", "concentrated"]
    assert codes(held(replace(OFF, max_open_positions=2))) == [
        "near_position_limit",
        "concentrated",
    ]


@pytest.mark.parametrize(
    ("price", "level", "hinted"),
    [("64000", "low", False), ("63000", "moderate", False), ("62400", "high", True)],
)
def test_the_days_loss_makes_the_level_and_the_hint(
    *, price: str, level: str, hinted: bool
) -> None:
    kit = Kit(replace(OFF, max_daily_loss=D("0.002"))).open(USDT="936000", BTC="1")
    kit.price(BTC, price)

    view = kit.engine.risk_view(kit.ts)

    assert view.risk_level == kit.engine.risk_level(kit.ts) == level
    assert ("near_daily_loss" in codes(view)) is hinted
    assert view.loss_risk == pytest.approx(Decimal(64000 - int(price)) / 2000)
