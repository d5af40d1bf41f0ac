"""Facts as bytes and back: what the journal holds.

Rules of this file: (1) the name of a fact's class is its kind, for ever; (2) decimals are strings, times integer ns;
(3) a field added later has a default, so that older rows still read; (4) of a placed order nothing is written that is
at its default, so that a default of `Order` and `Placed` stays for ever.

Encoding is on the path of every order: orjson's own walk over the fields of a fact takes twice as long as over a dict of
them, and of the fifty fields of an order fifteen are left, which take a third to read again. Decoders are made once per class from its
type hints, so that no field is named twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import orjson

from realtime.hub.stream import Written, fitted
from realtime.model.events import Fact, Placed
from realtime.model.market import Market
from realtime.model.orders import Order


Decoder = Callable[[Any], Any]
Writer = Callable[[Any], dict[str, object]]

KINDS: Final[Mapping[str, type[Fact]]] = {made.__name__: made for made in get_args(Fact)}


def text(value: object) -> str:
    """Give orjson the text of what it does not know: decimals."""
    if isinstance(value, Decimal):
        # `str` takes a third of the time of `format`, and differs in exponents only.
        written = str(value)
        return written if "E" not in written else format(value, "f")
    raise TypeError(f"cannot journal {type(value).__name__}")


def dumps(value: object) -> bytes:
    """Encode plain values, dataclasses and decimals."""
    return fitted(orjson.dumps(value, default=text))


def encode(fact: Fact, events: Sequence[Written] = (), alerts: Sequence[Written] = ()) -> bytes:
    """Encode a fact with the entries of `events` and `alerts` that are committed together with it."""
    body: dict[str, object] = {"fact": _WRITERS[type(fact)](fact)}
    if events:
        body["events"] = _copied(events)
    if alerts:
        body["alerts"] = _copied(alerts)
    return fitted(orjson.dumps(body, default=text))


def encode_entries(events: Sequence[Written], alerts: Sequence[Written]) -> bytes:
    """Encode the entries of `events` and `alerts` that are committed without a fact."""
    return orjson.dumps({"events": _copied(events), "alerts": _copied(alerts)})


def _copied(entries: Sequence[Written]) -> list[orjson.Fragment]:
    return [orjson.Fragment(entry.json) for entry in entries]


def _writer(kind: type, *, whole: bool = False) -> Writer:
    """Make the function that gives the fields of a dataclass, all of them or those that are not at their default.

    Written out as `dataclasses` itself writes methods: a loop over the fields takes three times as long. What is equal to
    its default and not the same is written: a zero keeps its digits.
    """
    always = [field.name for field in fields(kind) if whole or field.default is MISSING]
    rest = {field.name: field.default for field in fields(kind) if field.name not in always}
    given = ", ".join(f'"{name}": value.{name}' for name in always)
    body = "".join(
        f"    if value.{name} is not {'None' if default is None else f'at_{name}'}:\n"
        f'        made["{name}"] = value.{name}\n'
        for name, default in rest.items()
    )
    made: dict[str, Writer] = {}
    exec(  # noqa: S102 - the text is made of the names of our own fields
        f"def write(value):\n    made = {{{given}}}\n{body}    return made\n",
        {f"at_{name}": default for name, default in rest.items()},
        made,
    )
    return made["write"]


_write_placed = _writer(Placed)
_write_order = _writer(Order)


def _placed(fact: Placed) -> dict[str, object]:
    made = _write_placed(fact)
    made["order"] = _write_order(fact.order)
    return made


_WRITERS: Final[Mapping[type, Writer]] = {
    kind: _placed if kind is Placed else _writer(kind, whole=True) for kind in KINDS.values()
}
"""By kind of facts, what of one is written."""


def decode(kind: str, raw: Mapping[str, object]) -> Fact:
    """Make the fact again from its kind and the object `fact` of its body."""
    hint: Any = KINDS[kind]
    made: Fact = _decoder(hint)(raw)
    return made


def market(body: bytes) -> Market:
    """Make the rules of a market again that `dumps` wrote."""
    made: Market = _decoder(Market)(orjson.loads(body))
    return made


@cache
def _decoder(hint: Any) -> Decoder:
    origin = get_origin(hint)
    if origin in {Union, UnionType}:
        (inner,) = [part for part in get_args(hint) if part is not NoneType]
        plain = _decoder(inner)
        return lambda value: None if value is None else plain(value)
    if origin is tuple:
        return _tuple(get_args(hint))
    if hint is Decimal or (isinstance(hint, type) and issubclass(hint, Enum)):
        made: Decoder = hint
        return made
    if is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    return _same


def _tuple(parts: tuple[Any, ...]) -> Decoder:
    if len(parts) == 2 and parts[1] is Ellipsis:
        each = _decoder(parts[0])
        return lambda value: tuple(each(item) for item in value)
    decoders = tuple(_decoder(part) for part in parts)
    return lambda value: tuple(decoder(item) for decoder, item in zip(decoders, value, strict=True))


def _record(made: type) -> Decoder:
    hints = get_type_hints(made)
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(made) if field.init}

    def decode_record(value: Mapping[str, object]) -> object:
        return made(
            **{name: decoders[name](item) for name, item in value.items() if name in decoders}
        )

    return decode_record


def _same(value: object) -> object:
    return value
