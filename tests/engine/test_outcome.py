"""How a trade may end: vectors G24 and G25, the limits of the model, calibration."""

import math

import pytest
from hypothesis import given, strategies as st

from realtime.engine.outcome import Drift, calibration, drift, outcome, p_up, target_before_stop
from realtime.model.errors import Code, Refused


MOVES = Drift(mu=0.0005, sigma=0.02, samples=200)


def test_g24_target_before_stop_with_and_without_drift() -> None:
    assert target_before_stop(0.10, 0.05, 0.0, 0.02) == pytest.approx(0.333333, abs=1e-6)
    assert target_before_stop(0.10, 0.05, 0.0005, 0.02) == pytest.approx(0.3758, abs=5e-5)


def test_g25_the_probability_of_a_higher_price_after_a_day() -> None:
    assert p_up(0.0005, 0.02, 24) == pytest.approx(0.54874, abs=5e-6)


@pytest.mark.parametrize(
    ("mu", "expected"), [(10.0, 1.0), (-10.0, 0.0), (1e-20, 1 / 3)], ids=["up", "down", "none"]
)
def test_no_drift_is_too_strong_for_the_formula(mu: float, expected: float) -> None:
    assert target_before_stop(0.10, 0.05, mu, 0.001) == pytest.approx(expected)


@given(st.floats(1e-4, 2), st.floats(1e-4, 2), st.floats(-0.1, 0.1), st.floats(1e-3, 0.5))
def test_target_and_stop_together_are_certain(a: float, b: float, mu: float, sigma: float) -> None:
    won, lost = target_before_stop(a, b, mu, sigma), target_before_stop(b, a, -mu, sigma)

    assert won is not None
    assert lost is not None
    assert won + lost == pytest.approx(1)
    assert 0 <= won <= 1


@pytest.mark.parametrize(("a", "b", "sigma"), [(0.1, 0.1, 0.0), (0.0, 0.1, 0.1), (0.1, 0.0, 0.1)])
def test_outside_the_model_there_is_no_number(a: float, b: float, sigma: float) -> None:
    assert target_before_stop(a, b, 0.0, sigma) is None


def test_a_price_that_does_not_move_has_no_direction() -> None:
    assert p_up(0.0, 0.0, 1) is None


# --- drift ------------------------------------------------------------------------------------


def test_drift_is_of_the_last_two_hundred_returns() -> None:
    old = [1.0, 1000.0]
    closes = old + [100.0 * math.exp(0.01 * n) for n in range(201)]

    moves = drift(closes)

    assert moves.samples == 200
    assert moves.mu == pytest.approx(0.01)
    assert moves.sigma == pytest.approx(0, abs=1e-12)
    assert moves.reason is None


def test_too_few_returns_are_no_statistic() -> None:
    moves = drift([100.0, 101.0] * 15)

    assert (moves.mu, moves.sigma, moves.samples) == (None, None, 29)
    assert moves.reason == "insufficient_samples: 29 returns, 30 needed"
    assert drift([]).samples == 0


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_price_that_is_none_is_refused_by_its_index(bad: float) -> None:
    with pytest.raises(Refused) as caught:
        drift([100.0, 101.0, bad])

    assert caught.value.code is Code.INVALID
    assert caught.value.details == {
        "fields": [{"field": "closes[2]", "message": f"was {bad:g}, must be above 0"}]
    }


# --- a trade ----------------------------------------------------------------------------------


def test_a_long_knows_its_chances_and_what_it_is_worth() -> None:
    made = outcome(entry=100, stop=98, target=104, moves=MOVES, taker=0.001, horizon=24)

    won = made.target_before_stop
    assert won == target_before_stop(math.log(1.04), math.log(100 / 98), 0.0005, 0.02)
    assert won is not None
    assert made.p_up == pytest.approx(0.54874, abs=5e-6)
    assert made.gain == pytest.approx(0.04)
    assert made.loss == pytest.approx(0.02)
    assert made.expected_value == pytest.approx(won * 0.04 - (1 - won) * 0.02 - 0.002)
    assert made.reason is None


def test_a_rising_market_is_against_a_short() -> None:
    made = outcome(entry=100, stop=102, target=96, moves=MOVES, taker=0.0)

    reached = target_before_stop(math.log(100 / 96), math.log(1.02), -0.0005, 0.02)
    assert made.target_before_stop == pytest.approx(reached)
    assert made.p_up == p_up(0.0005, 0.02, 1)


def test_without_samples_there_is_a_reason_instead_of_numbers() -> None:
    made = outcome(entry=100, stop=98, target=104, moves=drift([1.0]), taker=0.0)

    assert (made.target_before_stop, made.p_up, made.expected_value) == (None, None, None)
    assert made.reason == "insufficient_samples: 0 returns, 30 needed"


def test_a_market_that_stands_still_gives_a_reason() -> None:
    made = outcome(entry=100, stop=98, target=104, moves=drift([5.0] * 40), taker=0.0)

    assert (made.target_before_stop, made.p_up, made.expected_value) == (None, None, None)
    assert made.reason == "no_movement: the price did not move over the samples"


@pytest.mark.parametrize(
    ("entry", "stop", "target", "field"),
    [
        (100, 101, 104, "stop_loss"),
        (100, 100, 104, "stop_loss"),
        (100, 98, 100, "stop_loss"),
        (100, 98, 96, "stop_loss"),
        (0, 98, 104, "entry"),
        (100, -1, 104, "stop_loss"),
        (100, 98, math.nan, "take_profit"),
    ],
)
def test_prices_that_do_not_enclose_the_entry_are_refused(
    entry: float, stop: float, target: float, field: str
) -> None:
    with pytest.raises(Refused) as caught:
        outcome(entry=entry, stop=stop, target=target, moves=MOVES, taker=0.0)

    assert caught.value.code is Code.INVALID
    assert caught.value.details is not None
    fields = caught.value.details["fields"]
    assert isinstance(fields, list)
    assert fields[0]["field"] == field


# --- calibration ------------------------------------------------------------------------------


def test_calibration_counts_by_tenths_and_is_silent_below_thirty() -> None:
    judged = [(0.3, True)] * 20 + [(0.39, False)] * 10 + [(1.0, True)] * 29

    buckets = calibration(judged)

    assert len(buckets) == 10
    assert (buckets[3].low, buckets[3].high) == (0.3, 0.4)
    assert buckets[3].samples == 30
    assert buckets[3].hit_rate == pytest.approx(2 / 3)
    assert (buckets[9].samples, buckets[9].hit_rate) == (29, None)
    assert buckets[0].samples == 0
