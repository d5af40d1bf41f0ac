"""Combinations, constraints, windows and rankings."""

import pytest

from realtime.bots import optimize
from realtime.bots.optimize import Range, Sample, Window
from realtime.model.errors import Code, Refused


def test_a_grid_is_its_product_in_order() -> None:
    found = optimize.grid({"a": [1, 2], "b": ["x", "y"]}, 200, 1)

    assert found == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_of_too_large_a_grid_a_part_is_drawn_the_same_every_time() -> None:
    values = {"a": list(range(30)), "b": list(range(30))}

    found = optimize.grid(values, 50, 7)

    assert len(found) == 50
    assert found == optimize.grid(values, 50, 7)
    assert found != optimize.grid(values, 50, 8)
    assert found == sorted(found, key=lambda one: (one["a"], one["b"]))


def test_grids_that_are_none_are_refused() -> None:
    with pytest.raises(Refused, match=r"param_grid\.a: has no values"):
        optimize.grid({"a": []}, 10, 1)
    with pytest.raises(Refused, match="the most is 10000"):
        optimize.grid({"a": list(range(101)), "b": list(range(100))}, 10, 1)


def test_integers_stay_integers_and_steps_are_kept() -> None:
    ranges = {
        "n": Range(low=1, high=3),
        "x": Range(low=0.0, high=1.0),
        "s": Range(low=0, high=1, step=0.25),
    }

    found = optimize.draws(ranges, 100, 3)

    assert len(found) == 100
    assert {one["n"] for one in found} == {1, 2, 3}
    assert all(isinstance(one["n"], int) for one in found)
    assert {one["s"] for one in found} == {0, 0.25, 0.5, 0.75, 1}
    assert len({one["x"] for one in found}) == 100
    assert found == optimize.draws(ranges, 100, 3)


def test_draws_never_repeat_and_end_where_there_are_no_more() -> None:
    found = optimize.draws({"n": Range(low=1, high=4)}, 100, 3)

    assert sorted(one["n"] for one in found) == [1, 2, 3, 4]  # type: ignore[type-var]
    with pytest.raises(Refused, match="is above"):
        optimize.draws({"n": Range(low=4, high=1)}, 10, 3)
    with pytest.raises(Refused, match="too small"):
        optimize.draws({"n": Range(low=0, high=1e10, step=1e-300)}, 10, 3)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("a < b", True),
        ("a<=1", True),
        ("b > a", True),
        ("b >= 3", False),
        ("a == 1", True),
        ("a != 1", False),
        ("c < 1", False),
    ],
)
def test_constraints_compare_parameters_and_numbers(text: str, *, holds: bool) -> None:
    made = optimize.constraint(text, ["a", "b", "c"])

    assert made.holds({"a": 1, "b": 2.5, "c": "word"}) is holds


@pytest.mark.parametrize(
    "text", ["a", "a < ", "a << b", "a < d", "a < inf", "__import__('os') < 1"]
)
def test_what_is_no_constraint_is_named(text: str) -> None:
    with pytest.raises(Refused) as caught:
        optimize.constraint(text, ["a", "b"], 2)

    assert caught.value.code is Code.INVALID
    assert caught.value.message.startswith("constraints.2")


def test_windows_cover_the_bars_and_their_outside_parts_join() -> None:
    assert optimize.windows(100, 0.7, 0) == [Window(0, 70, 100)]
    found = optimize.windows(1000, 0.7, 4)

    assert len(found) == 4
    assert found[0].first == 0
    assert found[-1].end == 1000
    assert [w.end for w in found[:-1]] == [w.split for w in found[1:]]
    for w in found:
        assert (w.split - w.first) / (w.end - w.first) == pytest.approx(0.7, abs=0.01)
    with pytest.raises(Refused):
        optimize.windows(10, 0.9, 5)


def sample(inside: float | None, outside: float | None) -> Sample:
    return Sample({"sharpe": inside}, {"sharpe": outside})


def test_the_ranking_is_by_in_sample_and_names_what_is_overfit() -> None:
    tried = [
        ({"a": 1}, [sample(1.0, 0.6)]),
        ({"a": 2}, [sample(3.0, 1.0)]),
        ({"a": 3}, [sample(None, 9.0)]),
        ({"a": 4}, [sample(-1.0, -5.0)]),
        ({"a": 5}, [sample(0.5, None)]),
    ]

    found = optimize.summarise(tried, "sharpe", 4)

    ranking = found["ranking"]
    assert isinstance(ranking, list)
    assert [(row["parameters"]["a"], row["overfit"]) for row in ranking] == [
        (2, True),
        (1, False),
        (5, True),
        (4, False),
    ]
    assert ranking[0]["in_sample"] == {"sharpe": 3.0}
    assert ranking[0]["out_of_sample"] == {"sharpe": 1.0}
    assert "folds" not in found


def test_trades_that_have_all_won_are_not_called_overfit() -> None:
    """Symptom: a combination that lost nothing out-of-sample was `overfit`, because that has no profit factor."""

    def made(factor: float | None, wins: int) -> dict[str, float | int | None]:
        return {"profit_factor": factor, "winning_trades": wins}

    won, idle, lost = made(None, 4), made(None, 0), made(0.5, 1)
    tried = [
        ({"a": a}, [Sample(made(2.0, 3), one), Sample(made(2.0, 3), two)])
        for a, (one, two) in enumerate([(won, won), (won, idle), (idle, idle), (won, lost)])
    ]

    found = optimize.summarise(tried, "profit_factor", 4)

    ranking, folds = found["ranking"], found["folds"]
    assert isinstance(ranking, list)
    assert isinstance(folds, list)
    assert [row["overfit"] for row in ranking] == [False, False, True, True]
    assert [row["overfit"] for row in folds] == [False, False]


def test_walk_forward_tells_what_each_windows_best_made_behind_it() -> None:
    tried = [
        ({"a": 1}, [sample(1.0, 2.0), sample(0.0, 0.0)]),
        ({"a": 2}, [sample(0.5, 9.0), sample(3.0, -1.0)]),
    ]

    found = optimize.summarise(tried, "sharpe", 10)

    folds, ranking = found["folds"], found["ranking"]
    assert isinstance(folds, list)
    assert isinstance(ranking, list)
    assert [(f["parameters"]["a"], f["out_of_sample_objective"], f["overfit"]) for f in folds] == [
        (1, 2.0, False),
        (2, -1.0, True),
    ]
    assert ranking[0]["in_sample"] == {"sharpe": 1.75}


def test_a_search_without_a_result_is_empty() -> None:
    assert optimize.summarise([], "sharpe", 10) == {"objective": "sharpe", "ranking": []}
