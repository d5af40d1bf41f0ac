"""Figures, bounds and the table."""

import math

import pytest

from realtime.bench.figures import Figure, median, number, table


def figure(ours: float, **kept: object) -> Figure:
    return Figure(workload="W1", name="what", ours=ours, unit="/s", **kept)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "holds", "bound"),
    [
        (figure(80, comparators=(("C", 100.0),), of="C", least=0.8), True, ">= 0.8 x C"),
        (figure(79, comparators=(("C", 100.0),), of="C", least=0.8), False, ">= 0.8 x C"),
        (figure(25, most=25), True, "<= 25 /s"),
        (figure(26, most=25), False, "<= 25 /s"),
        (figure(math.nan, most=25), False, "<= 25 /s"),
        (figure(1), True, ""),
    ],
)
def test_a_bound_is_held_or_missed(made: Figure, *, holds: bool, bound: str) -> None:
    assert (made.holds, made.bound) == (holds, bound)
    assert made.verdict == ("" if not bound else "holds" if holds else "MISSED")


def test_ratios_measured_in_pairs_count() -> None:
    made = figure(80, comparators=(("C", 100.0),), ratios=(("C", 0.9),), of="C", least=0.85)

    assert made.holds
    assert "0.90" in table([made])


def test_a_small_run_has_no_verdict() -> None:
    assert figure(99, most=1, full=False).verdict == "small run"


def test_the_table_has_a_ratio_for_each_comparator() -> None:
    text = table([figure(150, comparators=(("C", 100.0), ("D", 300.0))), figure(3, most=4)])

    assert text.splitlines()[0].split() == [
        "figure",
        "ours",
        "C",
        "D",
        "/",
        "C",
        "/",
        "D",
        "bound",
        "verdict",
    ]
    assert "1.50" in text
    assert "0.50" in text
    assert text.splitlines()[3].endswith("holds")


def test_numbers_are_short() -> None:
    assert [number(value) for value in (1_234_567.8, 12.345, 0.01234, math.nan)] == [
        "1,234,568",
        "12.3",
        "0.0123",
        "-",
    ]
    assert median([3, 1, 2]) == 2
