"""Values that are frozen for the type checker."""

from dataclasses import replace

import pytest

from realtime.model.frozen import frozen


@frozen
class Point:
    x: int
    y: int = 0


def test_a_frozen_value_is_made_by_position_or_name_and_compared_by_its_fields() -> None:
    assert Point(1) == Point(x=1, y=0) != Point(1, 2)
    assert {Point(1): "one"}[Point(1)] == "one"
    assert replace(Point(1), y=5) == Point(1, 5)
    assert repr(Point(1)) == "Point(x=1, y=0)"


def test_a_frozen_value_takes_no_other_fields() -> None:
    with pytest.raises(AttributeError):
        Point(1).z = 3  # type: ignore[attr-defined]  # that is what is tried


def test_a_frozen_value_can_ask_for_names() -> None:
    @frozen(kw_only=True)
    class Named:
        x: int

    assert Named(x=1) == Named(x=1)
    with pytest.raises(TypeError):
        Named(1)  # type: ignore[call-arg]  # that is what is tried
