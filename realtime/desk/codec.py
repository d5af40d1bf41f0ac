"""Facts as bytes and back: what the journal holds.

Rules of this file: (1) the name of a fact's class is its kind, for ever; (2) decimals are strings, times integer ns;
(3) a field added later has a default, so that older rows still read.

Encoding is on the path of every order and uses orjson's own walk over dataclasses; decoders are made once per class
from its type hints, so that no field is named twice.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

import orjson

from realtime.model.events import Fact
from realtime.model.market import Market


Decoder = Callable[[Any], Any]

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
    return orjson.dumps(value, default=text)


def encode(
    fact: Fact,
    events: Sequence[Mapping[str, object]] = (),
    alerts: Sequence[Mapping[str, object]] = (),
) -> bytes:
    """Encode a fact with the entries of `events` and `alerts` that are committed together with it."""
    if not events and not alerts:
        return orjson.dumps({"fact": fact}, default=text)
    body: dict[str, object] = {"fact": fact}
    if events:
        body["events"] = events
    if alerts:
        body["alerts"] = alerts
    return orjson.dumps(body, default=text)


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
