"""The life of a bot as a table, and what it earned."""

from decimal import Decimal

import pytest

from realtime.model.bots import MOVES, BotState, Counters, Earned, Move, after
from realtime.model.errors import Code, Refused


D = Decimal


def test_every_state_can_be_halted_and_stopped_and_only_rearm_leaves_halted() -> None:
    for state in BotState:
        assert after("b", state, Move.HALT) is BotState.HALTED
        assert after("b", state, Move.STOP) in {
            BotState.STOPPED,
            BotState.STOPPING,
            BotState.HALTED,
        }
    left = {move: to for move, to in MOVES[BotState.HALTED].items() if to is not BotState.HALTED}

    assert left == {Move.REARM: BotState.STOPPED}


@pytest.mark.parametrize(
    ("state", "move", "code"),
    [
        (BotState.HALTED, Move.START, Code.HALTED),
        (BotState.PAUSED, Move.START, Code.CONFLICT),
        (BotState.STOPPED, Move.PAUSE, Code.CONFLICT),
        (BotState.RUNNING, Move.REARM, Code.CONFLICT),
        (BotState.STOPPING, Move.START, Code.CONFLICT),
    ],
    ids=str,
)
def test_what_the_table_does_not_have_is_refused(state: BotState, move: Move, code: Code) -> None:
    with pytest.raises(Refused) as refused:
        after("b", state, move)

    assert refused.value.code is code
    assert str(state) in refused.value.message


def test_alive_are_those_with_a_task() -> None:
    alive = {state for state in BotState if state.alive}

    assert alive == {BotState.STARTING, BotState.RUNNING, BotState.PAUSED, BotState.STOPPING}


def test_rates_are_unknown_without_samples() -> None:
    earned, counters = Earned(), Counters()

    assert (earned.win_rate, earned.profit_factor) == (None, None)
    assert (counters.success_rate, counters.average_ms) == (None, None)


def test_metrics_count_from_their_reset() -> None:
    base = Earned(realized=D(5), trades=1, wins=1, profit=D(5))
    now = Earned(realized=D(3), fees=D(1), trades=3, wins=2, profit=D(7), loss=D(4))
    since = now.since(base)

    assert since == Earned(realized=D(-2), fees=D(1), trades=2, wins=1, profit=D(2), loss=D(4))
    assert (since.win_rate, since.profit_factor) == (0.5, 0.5)
    counters = Counters(cycles=4, succeeded=3, failed=1, cycle_ms=10.0)
    assert (counters.success_rate, counters.average_ms) == (0.75, 2.5)
