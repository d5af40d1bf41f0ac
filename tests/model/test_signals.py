"""What a strategy says is checked where it is made."""

import math

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.signals import Action, Probabilities, Signal


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"probabilities": Probabilities(1.1, -0.1, 0)}, "probability_buy"),
        ({"probabilities": Probabilities(0.5, math.nan, 0.5)}, "probability_sell"),
        ({"probabilities": Probabilities(0.5, 0.2, 0.2)}, "probabilities"),
        ({"position_size": 1.1}, "position_size"),
        ({"position_size": math.nan}, "position_size"),
        ({"conviction": -1.1}, "conviction"),
        ({"conviction": math.nan}, "conviction"),
    ],
    ids=str,
)
def test_a_value_out_of_range_is_named(fields: dict[str, object], field: str) -> None:
    given = {"probabilities": Probabilities(0.2, 0.2, 0.6)} | fields
    with pytest.raises(Refused) as refused:
        Signal(**given)  # type: ignore[arg-type]  # any fields

    assert refused.value.code is Code.INVALID
    assert refused.value.details["fields"][0]["field"] == field  # type: ignore[index]  # a list


@pytest.mark.parametrize(
    ("probabilities", "action", "confidence"),
    [
        (Probabilities(0.7, 0.1, 0.2), Action.BUY, 0.7),
        (Probabilities(0.1, 0.7, 0.2), Action.SELL, 0.7),
        (Probabilities(0.4, 0.4, 0.2), Action.HOLD, 0.2),
        (Probabilities(0.4, 0.2, 0.4), Action.HOLD, 0.4),
        (Probabilities(0.2, 0.4, 0.4), Action.HOLD, 0.4),
    ],
    ids=str,
)
def test_the_likeliest_action_wins_and_a_tie_is_hold(
    probabilities: Probabilities, action: Action, confidence: float
) -> None:
    signal = Signal(probabilities=probabilities)

    assert (signal.action, signal.confidence) == (action, confidence)
