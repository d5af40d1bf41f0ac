"""Frozen values, made and copied at a part of the cost of a call of the class or of `dataclasses.replace`.

An order is a value with more than fifty fields, and every fact about it makes a new one.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from decimal import Decimal
from typing import Protocol, TypeVar, cast

from realtime.model.account import Day, Position
from realtime.model.events import Place, Placed, Who
from realtime.model.orders import Fees, Fill, Order, Side, Status
from realtime.model.principal import TokenLimits
from realtime.model.risk import Backing


T = TypeVar("T")


class Evolve(Protocol[T]):
    """A copy with changes; a name that is no field raises AttributeError."""

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
    """Make the copier of a dataclass that is frozen for the type checker, of fields by name."""
    copy = cast("Callable[[T], T]", copier(kind))

    def alter(value: T, changes: Mapping[str, object]) -> T:
        new = copy(value)
        for name, change in changes.items():
            setattr(new, name, change)
        return new

    return alter


def copier(kind: type, *names: str) -> object:
    """Make a function that copies a value with these fields as given, one argument for each.

    One assignment for each slot, written out as `dataclasses` itself writes methods: a loop over the slots takes six
    times as long.
    """
    slots: tuple[str, ...] = vars(kind)["__slots__"]
    assert set(names) <= set(slots), names
    fields = ((name, name if name in names else f"value.{name}") for name in slots)
    body = "".join(f"    new.{name} = {given}\n" for name, given in fields)
    made: dict[str, object] = {}
    exec(  # noqa: S102 - the text is made of the names of our own fields
        f"def copy({', '.join(('value', *names))}):\n    new = make(kind)\n{body}    return new\n",
        {"make": object.__new__, "kind": kind},
        made,
    )
    return made["copy"]


def maker(kind: type, *names: str) -> object:
    """Make a function that makes a value of these fields, one argument for each; the others are at their defaults.

    A class that is called by name has the names put into a dict, and each of them looked for among all its fields: that
    takes three times as long. A field without a default that is not among the names is not set.

    Raises:
        TypeError: A field that a factory makes anew for each value is not among the names.
    """
    left = [field.name for field in fields(kind) if field.default_factory is not MISSING]
    if not set(left) <= set(names):
        raise TypeError(f"{kind.__name__} has fields made by a factory, name them: {left}")
    rest = {field.name: field.default for field in fields(kind) if field.name not in names}
    body = "".join(f"    new.{name} = {name}\n" for name in names)
    body += "".join(
        f"    new.{name} = at_{name}\n" for name, at in rest.items() if at is not MISSING
    )
    made: dict[str, object] = {"make": object.__new__, "kind": kind}
    made |= {f"at_{name}": default for name, default in rest.items()}
    exec(  # noqa: S102 - the text is made of the names of our own fields
        f"def new({', '.join(names)}):\n    new = make(kind)\n{body}    return new\n", made
    )
    return made["new"]


def draft_order(
    names: tuple[str, str, str, str], who: Who, ts: int, rest: Mapping[str, object]
) -> Order:
    """Make an order as it is before it is placed.

    Args:
        names: Its id, the client's, the client's at the venue, and the venue.
        who: Its owner.
        ts: Now [ns].
        rest: What it is, by field.

    Raises:
        AttributeError: `rest` names what is no field.
    """
    new = _new_order(
        *names, who.subject, who.client, who.bot_id, who.strategy_id, who.source, ts, ts
    )
    for name, value in rest.items():
        setattr(new, name, value)
    return new


_new_order = cast(
    "Callable[[str, str, str, str, str, str, str | None, str | None, str, int, int], Order]",
    maker(
        Order, "id", "client_order_id", "venue_client_id", "venue", "subject", "client", "bot_id", "strategy_id",
        "source", "created_ts", "updated_ts",
    ),
)  # fmt: skip
new_who = cast(
    "Callable[[str, str, str | None, str, str | None, str | None, bool, TokenLimits | None], Who]",
    maker(
        Who, "subject", "client", "token_id", "source", "bot_id", "strategy_id", "admin", "limits"
    ),
)
new_place = cast(
    "Callable[[Order, Who, int, Mapping[str, str], bool, Backing | None], Place]",
    maker(Place, "order", "who", "ts", "content", "allow_duplicate", "backing"),
)
new_placed = cast(
    "Callable[[Order, Mapping[str, str], Decimal, int], Placed]",
    maker(Placed, "order", "content", "cost", "ts"),
)
new_fill = cast(
    "Callable[[str, str, str, str, str, Side, Decimal, Decimal, Decimal, Decimal, str, bool, Decimal | None, str | None,"
    " bool, int], Fill]",
    maker(
        Fill, "id", "order_id", "client_order_id", "venue", "symbol", "side", "amount", "price", "cost", "fee",
        "fee_currency", "maker", "realized_pnl", "bot_id", "inferred", "ts",
    ),
)  # fmt: skip
alter_order = alterer(Order)
evolve_order = evolver(Order)
evolve_position = evolver(Position)
evolve_day = evolver(Day)
fill_order = cast(
    "Callable[[Order, Status, Decimal, Decimal, Fees, str | None, int, int], Order]",
    copier(Order, "status", "filled", "cost", "fees", "exchange_order_id", "updated_ts", "version"),
)
trade_position = cast(
    "Callable[[Position, Decimal, Decimal | None, Decimal, Decimal, int, int], Position]",
    copier(Position, "amount", "cost", "realized_pnl", "fees_paid", "opened_ts", "ts"),
)
