"""Returns, ratios and thinning of samples of equity (feature F18), pure."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from realtime.engine import performance
from realtime.engine.performance import (
    Figure,
    Flow,
    Sample,
    benchmark,
    linked,
    max_drawdown,
    step_for,
    thinned,
    time_weighted,
)
from realtime.model.errors import Code, Refused
from realtime.model.market import SECOND


MINUTE = 60 * SECOND


def curve(*equity: float, step: int = MINUTE) -> list[Sample]:
    return [Sample(at * step, value) for at, value in enumerate(equity)]


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    assert caught.value.code is Code.INVALID
    details = caught.value.details
    assert details is not None
    fields = details["fields"]
    assert isinstance(fields, list)
    return str(fields[0]["field"])


def measured(
    samples: list[Sample], flows: tuple[Flow, ...] = (), *, length: int = 3600, step: int = 60
) -> dict[str, Figure]:
    until = samples[-1].ts if samples else 0
    found = performance.performance(samples, flows, until=until, length_s=length, step_s=step)
    return {figure.name: figure for figure in found}


# --- return ---------------------------------------------------------------------------------------


def test_g31_takes_a_deposit_out_of_the_return() -> None:
    returns = time_weighted(curve(10_000, 10_100, 12_221), [Flow(MINUTE + 1, 2_000.0)])

    assert linked(returns) == pytest.approx(0.0201)


def test_money_outside_of_the_samples_does_not_count() -> None:
    flows = [Flow(-1, 5.0), Flow(0, 7.0), Flow(10 * MINUTE, 9.0)]

    assert time_weighted(curve(100, 110), flows) == pytest.approx([0.1])


@given(
    steps=st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=20),
    gifts=st.lists(st.floats(0, 1000), min_size=20, max_size=20),
)
def test_gifts_never_change_the_return(steps: list[float], gifts: list[float]) -> None:
    samples, flows, equity = [Sample(0, 1000.0)], [], 1000.0
    for at, (step, gift) in enumerate(zip(steps, gifts, strict=False), start=1):
        equity = (equity + gift) * (1 + step)
        samples.append(Sample(at * MINUTE, equity))
        flows.append(Flow(at * MINUTE - 1, gift))

    assert linked(time_weighted(samples, flows)) == pytest.approx(linked(steps), abs=1e-9)


def test_taking_all_out_is_no_loss() -> None:
    assert time_weighted(curve(100, 10), [Flow(MINUTE, -100.0)]) == pytest.approx([0.1])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan], ids=str)
def test_equity_that_is_none_is_named(bad: float) -> None:
    assert refused(lambda: time_weighted(curve(1, bad, 2))) == "samples[1]"


def test_the_deepest_fall_is_from_the_peak() -> None:
    assert max_drawdown([0.1, -0.2, 0.1, -0.3]) == pytest.approx(1 - 0.8 * 1.1 * 0.7)
    assert max_drawdown([]) == 0.0


# --- the window -----------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [[], curve(100)], ids=["none", "one"])
def test_without_two_samples_nothing_is_said(samples: list[Sample]) -> None:
    found = measured(samples)

    assert all(figure.value is None for figure in found.values())
    assert {figure.reason for figure in found.values()} == {"insufficient_samples"}
    assert found["return"].ts == (samples[-1].ts if samples else None)


def test_an_account_without_money_earns_nothing() -> None:
    """Found by a drive: one empty minute refused the figures of thirty days."""
    late = measured(curve(0, 0, 100, 110))
    between = measured(curve(100, 0, 0, 50, 55), (Flow(MINUTE, -100.0), Flow(3 * MINUTE, 50.0)))
    lost = measured(curve(100, 0, 0))
    owed = measured(curve(100, -5, 20))
    empty = measured(curve(0, 0, 0))

    assert late["return"].value == pytest.approx(0.1)
    assert between["return"].value == pytest.approx(0.1)
    assert (lost["return"].value, lost["max_drawdown"].value) == (-1, 1)
    assert {figure.reason for figure in owed.values()} == {"equity_not_above_zero"}
    assert {figure.reason for figure in empty.values()} == {"insufficient_samples"}
    assert empty["return"].ts == 2 * MINUTE


def test_below_thirty_returns_ratios_are_null_with_a_reason() -> None:
    few = measured(curve(*(100.0 + at % 3 for at in range(30))))
    enough = measured(curve(*(100.0 + at % 3 for at in range(31))))

    assert few["return"].value is not None
    assert (few["sharpe"].value, few["sharpe"].reason) == (None, "insufficient_samples")
    assert (few["volatility"].value, few["volatility"].reason) == (None, "insufficient_samples")
    assert enough["volatility"].value is not None
    assert enough["sharpe"].reason is None


def test_ratios_are_those_of_the_formula() -> None:
    samples = curve(*(100.0 * 1.001**at * (1 + 0.001 * (at % 2)) for at in range(61)))
    returns = time_weighted(samples)
    mean = sum(returns) / 60
    deviation = math.sqrt(sum((r - mean) ** 2 for r in returns) / 59)

    found = measured(samples)

    year = math.sqrt(365 * 86_400 / 60)
    assert found["volatility"].value == pytest.approx(deviation * year)
    assert found["sharpe"].value == pytest.approx(mean / deviation * year)
    assert found["max_drawdown"].value == max_drawdown(returns)
    assert [f.unit for f in found.values()] == ["fraction", "fraction", "ratio", "fraction"]


def test_equity_that_stands_still_has_no_sharpe_ratio() -> None:
    found = measured(curve(*[100.0] * 40))

    assert found["volatility"].value == 0
    assert (found["sharpe"].value, found["sharpe"].reason) == (None, "no_deviation")


def test_a_hole_counts_in_the_return_alone() -> None:
    samples = curve(*(100.0 + at % 2 for at in range(35)))
    late = [Sample(s.ts + 10 * MINUTE, s.equity * 2) for s in samples[20:]]

    found = measured(samples[:20] + late)
    whole = measured(samples)

    assert found["return"].value == pytest.approx(1.0)
    assert found["volatility"].value == pytest.approx(whole["volatility"].value, rel=0.05)


def test_the_newest_sample_before_the_window_is_its_start() -> None:
    samples = [Sample(0, 50.0), *curve(100, 110, 121)[1:]]
    near = [Sample(0, 100.0), Sample(MINUTE + 30 * SECOND, 110.0), Sample(61 * MINUTE, 121.0)]

    assert measured(samples)["return"].value == pytest.approx(1.42)
    assert measured(near)["return"].value == pytest.approx(0.21)


def test_a_sample_long_before_the_window_is_left_out() -> None:
    samples = [Sample(0, 50.0), Sample(100 * MINUTE, 100.0), Sample(110 * MINUTE, 110.0)]

    assert measured(samples)["return"].value == pytest.approx(0.1)


# --- thinning -------------------------------------------------------------------------------------


def test_thinning_keeps_the_last_of_a_step_and_the_deepest_drawdown() -> None:
    falls = [0.0, 0.3, 0.1, None, 0.05, None]
    samples = [Sample(at * 20 * SECOND, 100.0 + at, fall) for at, fall in enumerate(falls)]

    found = thinned(samples, MINUTE)

    assert found == [Sample(40 * SECOND, 102.0, 0.3), Sample(100 * SECOND, 105.0, 0.05)]
    assert thinned([Sample(0, 1.0)], MINUTE) == [Sample(0, 1.0, None)]
    assert thinned([], MINUTE) == []


@given(
    gaps=st.lists(st.integers(1, 10_000), min_size=3, max_size=200),
    most=st.integers(2, 50),
)
def test_a_chosen_step_leaves_no_more_than_asked(gaps: list[int], most: int) -> None:
    samples, ts = [], 0
    for gap in gaps:
        ts += gap * SECOND
        samples.append(Sample(ts, 1.0))

    step = step_for(samples, most)

    if step is None:
        assert len(samples) <= most
    else:
        assert len(thinned(samples, step)) <= most
        assert thinned(samples, step)[-1].ts == samples[-1].ts


def test_samples_at_one_time_have_a_step_as_well() -> None:
    assert step_for([Sample(5, 1.0)] * 3, 2) == SECOND


# --- the benchmark --------------------------------------------------------------------------------


def test_a_benchmark_is_what_holding_had_returned() -> None:
    assert benchmark([100.0, 90.0, 105.0], 7).value == pytest.approx(0.05)
    assert benchmark([100.0], 7).reason == "insufficient_samples"
    assert refused(lambda: benchmark([1.0, 0.0], 7)) == "closes[1]"
