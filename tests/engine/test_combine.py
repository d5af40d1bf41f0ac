"""Many opinions, one decision: weighting, votes, ties, weights; vectors G10, G18, G19, G26."""

import math

import pytest
from hypothesis import given, strategies as st

from realtime.engine.combine import (
    Combined,
    Method,
    Opinion,
    RiskLevel,
    Weight,
    check_probabilities,
    combine,
    dynamic_weights,
    opinion,
    profit_factor,
    risk_level,
    risk_score,
    weight_warning,
)
from realtime.model.errors import Code, Refused
from realtime.model.signals import Action, Probabilities, Signal


EMA = Opinion(strategy="ema", confidence=0.8, probabilities=Probabilities(0.7, 0.1, 0.2))
RSI = Opinion(strategy="rsi", confidence=0.6, probabilities=Probabilities(0.3, 0.4, 0.3))
FVG = Opinion(strategy="fvg", confidence=0.4, probabilities=Probabilities(0.1, 0.8, 0.1))
WEIGHTS = {
    "ema": Weight(weight=0.45, min_confidence=0.6),
    "rsi": Weight(weight=0.35),
    "fvg": Weight(weight=0.20),
}


def field_of(refusal: Refused) -> str:
    assert refusal.code is Code.INVALID
    assert refusal.details is not None
    fields = refusal.details["fields"]
    assert isinstance(fields, list)
    return str(fields[0]["field"])


def vote(name: str, p: tuple[float, float, float], confidence: float = 0.8) -> Opinion:
    return Opinion(strategy=name, confidence=confidence, probabilities=Probabilities(*p))


# --- one signal -------------------------------------------------------------------------------


def test_g10_the_risk_score_of_a_clear_signal_is_low() -> None:
    score = risk_score(Probabilities(0.8, 0.1, 0.1), 0.9)

    assert score == 0.28
    assert risk_level(score) is RiskLevel.LOW


@pytest.mark.parametrize("confidence", [1.0, 0.8])
def test_a_score_at_the_bound_of_a_level_is_the_bound(confidence: float) -> None:
    """1 - 0.8 is a little less than 0.2 in floats: the level below."""
    score = risk_score(Probabilities(0.8 / confidence, 0.0, 0.0), confidence)

    assert (score, risk_level(score)) == (0.2, RiskLevel.LOW)


@pytest.mark.parametrize(
    ("score", "level"),
    [
        (0.0, "very_low"),
        (0.1999, "very_low"),
        (0.2, "low"),
        (0.4, "moderate"),
        (0.6, "high"),
        (0.8, "very_high"),
        (1.0, "very_high"),
    ],
)
def test_a_level_begins_at_its_bound(score: float, level: str) -> None:
    assert risk_level(score) == level


# --- average ----------------------------------------------------------------------------------


def test_g18_the_weighted_average_leaves_out_who_is_not_sure_enough() -> None:
    said = combine([EMA, RSI, FVG], WEIGHTS)

    assert said.probabilities == pytest.approx((0.525, 0.23125, 0.24375))
    assert said.confidence == pytest.approx(0.7125)
    assert said.risk_score == pytest.approx(0.6259375)
    assert said.risk_level is RiskLevel.HIGH
    assert said.action is Action.BUY
    assert said.used == ("ema", "rsi")
    assert said.skipped == (("fvg", "confidence 0.4 is below min_confidence 0.5"),)
    assert said.total_weight == pytest.approx(0.8)
    assert said.reason is None
    assert said.warning is None


def test_g19_a_majority_votes_with_its_weights() -> None:
    said = combine([EMA, RSI, FVG], WEIGHTS, Method.MAJORITY_VOTE)

    assert said.action is Action.BUY
    assert said.probabilities == pytest.approx((0.5625, 0.4375, 0))
    assert said.confidence == pytest.approx(0.8)


def test_an_opinion_without_probabilities_counts_as_a_third_each() -> None:
    said = combine([Opinion(strategy="ema", confidence=0.9)], WEIGHTS)

    assert said.probabilities == pytest.approx((0.33, 0.33, 0.34))
    assert said.action is Action.HOLD


def test_the_unknown_and_the_disabled_do_not_count_and_it_is_said_why() -> None:
    weights = {"ema": Weight(weight=1.0, enabled=False)}
    said = combine([EMA, RSI], weights)

    assert said.action is Action.HOLD
    assert said.probabilities == (0.2, 0.2, 0.6)
    assert said.confidence == 0.5
    assert said.position_size == 0
    assert said.used == ()
    assert said.reason == "ema is disabled; rsi is not known"


def test_no_opinion_at_all_is_a_hold_with_a_reason() -> None:
    said = combine([], WEIGHTS)

    assert (said.action, said.reason) == (Action.HOLD, "no signals")
    assert said.risk_score == pytest.approx(0.9)


def test_opinions_without_weight_decide_nothing() -> None:
    said = combine([EMA], {"ema": Weight(weight=0.0)})

    assert said.action is Action.HOLD
    assert said.reason == "no weight: ema"


def test_a_tie_is_a_hold_whatever_the_last_digit_of_the_sums_says() -> None:
    # 0.1 + 0.2 is a hair above 0.3: without rounding the buyers would win by it.
    opinions = [
        vote("a", (1.0, 0.0, 0.0), 0.9),
        vote("b", (1.0, 0.0, 0.0), 0.7),
        vote("c", (0.0, 1.0, 0.0), 0.5),
    ]
    weights = {"a": Weight(weight=0.1), "b": Weight(weight=0.2), "c": Weight(weight=0.3)}

    averaged = combine(opinions, weights)
    voted = combine(opinions, weights, Method.MAJORITY_VOTE)

    assert averaged.action is Action.HOLD
    assert voted.action is Action.HOLD
    assert voted.probabilities == pytest.approx((0.5, 0.5, 0))
    # Of a tie all who tie are winners.
    assert voted.confidence == pytest.approx((0.09 + 0.14 + 0.15) / 0.6)


def test_the_size_is_the_mean_ceiling_of_those_who_agree() -> None:
    opinions = [
        Opinion(
            strategy="ema",
            confidence=0.8,
            probabilities=Probabilities(0.8, 0.1, 0.1),
            position_size=0.5,
        ),
        Opinion(
            strategy="rsi",
            confidence=0.8,
            probabilities=Probabilities(0.6, 0.2, 0.2),
            position_size=0.1,
        ),
        Opinion(strategy="fvg", confidence=0.8, probabilities=Probabilities(0.1, 0.6, 0.3)),
    ]

    said = combine(opinions, WEIGHTS)

    assert said.action is Action.BUY
    assert said.position_size == pytest.approx((0.45 * 0.5 + 0.35 * 0.1) / 0.8)


def test_an_action_that_nobody_names_has_no_size() -> None:
    said = combine(
        [vote("a", (0.45, 0.0, 0.55)), vote("b", (0.45, 0.55, 0.0))],
        {"a": Weight(weight=0.5), "b": Weight(weight=0.5)},
    )

    assert said.action is Action.BUY
    assert said.position_size == 0


def test_a_signal_of_a_strategy_is_an_opinion() -> None:
    signal = Signal(probabilities=Probabilities(0.7, 0.1, 0.2), position_size=0.3)

    said = opinion("ema", signal)

    assert said == Opinion(
        strategy="ema",
        confidence=0.7,
        probabilities=Probabilities(0.7, 0.1, 0.2),
        position_size=0.3,
    )


parts = st.integers(0, 1000)


@st.composite
def opinions(draw: st.DrawFn) -> tuple[list[Opinion], dict[str, Weight]]:
    said: list[Opinion] = []
    weights: dict[str, Weight] = {}
    for number in range(draw(st.integers(0, 5))):
        told = draw(st.tuples(parts, parts, parts).filter(any))
        p = [part / sum(told) for part in told]
        name = f"s{number}"
        said.append(
            Opinion(
                strategy=name,
                confidence=draw(parts) / 1000,
                probabilities=Probabilities(p[0], p[1], p[2]),
                position_size=draw(parts) / 1000,
            )
        )
        weights[name] = Weight(weight=draw(parts) / 1000, min_confidence=draw(parts) / 1000)
    return said, weights


@given(opinions(), st.sampled_from(Method))
def test_probabilities_sum_to_one_and_their_argmax_is_the_action(
    given_: tuple[list[Opinion], dict[str, Weight]], method: Method
) -> None:
    said: Combined = combine(*given_, method)

    assert math.fsum(said.probabilities) == pytest.approx(1, abs=1e-6)
    assert all(0 <= p <= 1 for p in said.probabilities)
    assert said.action is said.probabilities.action
    assert 0 <= said.confidence <= 1
    assert 0 <= said.risk_score <= 1
    assert 0 <= said.position_size <= 1
    assert len(said.used) + len(said.skipped) == len(given_[0]) or said.reason is not None


# --- weights ----------------------------------------------------------------------------------


def test_g26_weights_follow_performance_and_stay_one() -> None:
    moved = dynamic_weights(
        {"ema": 0.45, "rsi": 0.35, "fvg": 0.20}, {"ema": 1.2, "rsi": 0.4, "fvg": 2.0}
    )

    assert moved == pytest.approx({"ema": 0.5320, "rsi": 0.1724, "fvg": 0.2956}, abs=5e-5)
    assert math.fsum(moved.values()) == pytest.approx(1)


def test_a_strategy_without_performance_keeps_its_weight_and_no_weight_stays_none() -> None:
    assert dynamic_weights({"a": 0.5, "b": 0.5}, {"a": 1.0}) == {"a": 0.5, "b": 0.5}
    assert dynamic_weights({"a": 0.0}, {}) == {"a": 0.0}


@pytest.mark.parametrize(
    ("pnls", "factor"),
    [
        ([5.0, 5.0, 5.0, 5.0], 1.0),
        ([0.0] * 5, 1.0),
        ([1.0] * 5, math.inf),
        ([6.0, -2.0, 3.0, -1.0, 0.0], 3.0),
        ([-100.0] + [1.0] * 20, math.inf),
    ],
    ids=["too few", "nothing moved", "no loss", "wins by losses", "only the last twenty"],
)
def test_performance_is_the_profit_factor_of_the_last_trades(
    pnls: list[float], factor: float
) -> None:
    assert profit_factor(pnls) == factor


@pytest.mark.parametrize(("total", "warnings"), [(0.9, 0), (1.1, 0), (0.89, 1), (1.11, 1)])
def test_weights_far_from_one_are_warned_of(total: float, warnings: int) -> None:
    weights = {
        "a": Weight(weight=total / 2),
        "b": Weight(weight=total / 2),
        "off": Weight(weight=1.0, enabled=False),
    }

    said = [weight_warning(weights), combine([], weights).warning]

    assert len([text for text in said if text is not None]) == 2 * warnings


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "name"),
    [
        ((0.5, 0.5, 0.1), "probabilities"),
        ((0.5, 0.5, -0.1), "probabilities.hold"),
        ((1.1, -0.1, 0.0), "probabilities.buy"),
        ((0.5, math.nan, 0.5), "probabilities.sell"),
        ((0.333, 0.333, 0.333), "probabilities"),
    ],
)
def test_probabilities_off_one_or_out_of_range_are_refused_by_name(
    p: tuple[float, float, float], name: str
) -> None:
    with pytest.raises(Refused) as caught:
        Opinion(strategy="a", confidence=0.5, probabilities=Probabilities(*p))

    assert field_of(caught.value) == name


def test_probabilities_within_the_tolerance_pass() -> None:
    check_probabilities(Probabilities(0.3333333, 0.3333333, 0.3333333))


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan])
def test_a_confidence_out_of_range_is_refused(confidence: float) -> None:
    with pytest.raises(Refused) as caught:
        Opinion(strategy="a", confidence=confidence)

    assert field_of(caught.value) == "confidence"


def test_a_weight_out_of_range_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        Weight(weight=1.5)

    assert field_of(caught.value) == "weight"
