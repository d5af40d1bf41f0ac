"""Copies of frozen values with other fields, at a tenth of the cost of `dataclasses.replace`.

An order is a value with more than fifty fields, and every fact about it makes a new one.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from realtime.model.account import Day, Position
from realtime.model.orders import Fill, Order


T = TypeVar("T")


class Evolve(Protocol[T]):
    """A copy with changes; a name that is no field raises KeyError."""

    def __call__(self, value: T, /, **changes: object) -> T:
        """Copy `value` with other fields."""
        ...


Altered = Callable[[T, Mapping[str, object]], T]
"""The same, of changes that are in a mapping already."""


def evolver(kind: type[T]) -> Evolve[T]:
    """Make a copier that takes the changes by name."""
    alter = alterer(kind)

    def evolve(value: T, /, **changes: object) -> T:
        return alter(value, changes)

    return evolve


def alterer(kind: type[T]) -> Altered[T]:
    """Make the copier of a dataclass that is frozen for the type checker.

    One assignment for each slot, written out as `dataclasses` itself writes methods: a loop over the slots takes six
    times as long.
    """
    names: tuple[str, ...] = vars(kind)["__slots__"]
    body = "".join(f"    new.{name} = value.{name}\n" for name in names)
    made: dict[str, Callable[[T], T]] = {}
    exec(  # noqa: S102 - the text is made of the names of our own fields
        f"def copy(value):\n    new = make(kind)\n{body}    return new\n",
        {"make": object.__new__, "kind": kind},
        made,
    )
    copy = made["copy"]
    writer = {name: vars(kind)[name].__set__ for name in names}

    def alter(value: T, changes: Mapping[str, object]) -> T:
        new = copy(value)
        for name, change in changes.items():
            writer[name](new, change)
        return new

    return alter


alter_order = alterer(Order)
evolve_order = evolver(Order)
evolve_fill = evolver(Fill)
evolve_position = evolver(Position)
evolve_day = evolver(Day)
