"""What facts and effects are about: the names their rows are journaled under, and the newest of several."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

from realtime.desk import codec
from realtime.model.events import (
    BalanceChanged,
    Effect,
    Fact,
    FillBooked,
    Filled,
    OrderChanged,
    OrderSeen,
    Placed,
    PositionChanged,
    PositionSeen,
    Transferred,
)


NAMING: Final = ("order_id", "exchange_order_id", "position_id", "venue")


def _naming(kind: type) -> Callable[[Any], str]:
    """Find what names the thing that facts of a kind are about."""
    names = {field.name for field in fields(kind)}
    for name in NAMING:
        if name in names:
            return attrgetter(name)
    return attrgetter("order.id") if "order" in names else lambda _fact: ""


KEYS: Final = {kind: _naming(kind) for kind in codec.KINDS.values()}
"""By kind of facts, see `key_of`."""

SYMBOLS: Final[Mapping[type, Callable[[Any], str]]] = {
    Placed: attrgetter("order.symbol"),
    OrderSeen: attrgetter("symbol"),
    Filled: attrgetter("symbol"),
    Transferred: attrgetter("symbol"),
    PositionSeen: attrgetter("position.symbol"),
}
"""By kind of facts, see `symbol_of`."""

ABOUT: Final[Mapping[type, Callable[[object], object]]] = {
    OrderChanged: attrgetter("order.id"),
    PositionChanged: attrgetter("position.symbol"),
    BalanceChanged: attrgetter("balance.id"),
    FillBooked: attrgetter("fill.symbol", "fill.id"),
}
"""What an effect tells the newest of."""


def key_of(fact: Fact) -> str:
    """Name what a fact is about: its order, else its position or venue."""
    return KEYS[type(fact)](fact)


def symbol_of(fact: Fact) -> str | None:
    """Name the market that a fact is the first to be about; None for those about an order that is known."""
    find = SYMBOLS.get(type(fact))
    return None if find is None else find(fact)


def newest(told: Iterable[Sequence[Effect]]) -> list[Effect]:
    """Keep every fill, and of each order, position and balance the last word."""
    shown: list[Effect] = []
    orders = 0
    for effects in told:
        for effect in effects:
            if type(effect) in ABOUT:
                shown.append(effect)
                orders += type(effect) is OrderChanged
    if orders < 2:
        # A row that is shown is the newest anyway; what an order came to is told by the last word on it.
        return shown
    kept: dict[tuple[type, object], Effect] = {}
    for effect in shown:
        key = type(effect), ABOUT[type(effect)](effect)
        kept.pop(key, None)
        kept[key] = effect
    return list(kept.values())
