"""How a result is written, and the JSON Schema of it.

A dict is an object (`"name?"` may be missing; under `str` stands what every name has), a list an array, a tuple an
array of just these, `Either` one of several, `More` a row and more fields, `free` an object whose fields somebody else
names; else it is a type, and a class is a schema by its name, which means one thing among arguments, too. Published
schemas let pass what they do not name, for clients ignore what they do not know; the tests (`tests/replies.py`) do
not. A schema is made when somebody asks for it.
"""

from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from inspect import getdoc
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from realtime.model.errors import Code, Outcome
from realtime.model.orders import Status
from realtime.model.rows import Figure


Json = dict[str, Any]


class Either(tuple[Any, ...]):
    """One of these."""

    __slots__ = ()


class More(tuple[Any, Any]):
    """A row, and fields that it has besides."""

    __slots__ = ()


class Position(TypedDict):
    """Where a stream stands."""

    epoch: str
    seq: Annotated[int, ("minimum", 0)]


class Error(TypedDict):
    """Why it was not done."""

    code: Code
    message: str
    outcome: Outcome
    retry_after: NotRequired[Annotated[float, ("description", "s")]]
    details: NotRequired[dict[str, object]]


class BotEffect(TypedDict):
    """What a dry run would change of one bot."""

    state: str
    orders: int
    positions: int


class Effect(TypedDict, total=False):
    """What a dry run would change."""

    symbol: str
    symbols: list[str]
    sides: dict[str, str]
    bots: dict[str, BotEffect]
    orders: int
    canceled: list[str]
    positions: int
    closes: list[str]
    amount: Figure
    notional: Figure | None
    state: str
    armed: bool
    fires_at: int | None
    grace: float | None


def free(text: str) -> Any:
    """Describe an object whose fields are not ours to name.

    Args:
        text: What they are, for people.
    """
    return Annotated[dict[str, object], ("description", text)]


SCHEMA: Final = free("a JSON Schema")
CLOSED: Final = Either(
    (
        {"symbol": str, "order_id": str, "status": Status},
        {"symbol": str, "code": Code, "error": str},
    )
)
"""What became of the order that closes a position."""
DRY: Final = {"dry_run?": Literal[True], "effect?": Effect}
DRY_RUN: Final = {"dry_run": Literal[True], "effect": Effect}
PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def schema_of(shape: object, template: str) -> tuple[Json, Json]:
    """Make the JSON Schema of a result, and those that it refers to by name.

    Args:
        shape: As this file writes it.
        template: Of a reference, with `{model}` for the name.
    """
    named: Json = {}
    return _schema(shape, template, named), named


def _schema(kind: Any, template: str, named: Json) -> Json:
    def of(part: Any) -> Json:
        return _schema(part, template, named)

    parts: tuple[Any, ...] = kind if isinstance(kind, tuple) else get_args(kind)
    origin = type(kind) if isinstance(kind, tuple) else get_origin(kind)
    if origin in {Annotated, NotRequired}:
        return of(parts[0]) | dict(parts[1:])
    if origin in {Either, Union, UnionType}:
        first, *others = made = [of(part) for part in parts]
        if (
            others == [{"type": "null"}]
            and isinstance(first.get("type"), str)
            and "enum" not in first
        ):
            return first | {"type": [first["type"], "null"]}
        return {"anyOf": made}
    if origin is More:
        return {"allOf": [of(part) for part in parts]}
    if origin is Literal:
        return {"enum": list(parts)} if len(parts) > 1 else {"const": parts[0]}
    if origin is list or isinstance(kind, list) or parts[1:] == (...,):
        return {"type": "array", "items": of((parts or kind)[0])}
    if origin is tuple:
        # Not `prefixItems`: schemathesis 4.32 puts it into draft 7 and then calls that wrong.
        made = [of(part) for part in parts]
        kinds = [kind for place, kind in enumerate(made) if kind not in made[:place]]
        items = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return {"type": "array", "items": items, "minItems": len(made), "maxItems": len(made)}
    if origin is dict or (isinstance(kind, dict) and str in kind):
        return {"type": "object", "additionalProperties": of(parts[1] if parts else kind[str])}
    if isinstance(kind, dict):
        return _object({name.rstrip("?"): of(part) for name, part in kind.items()}, kind)
    if kind is object:
        return {}
    if kind is Decimal:
        return of(Figure)
    if kind is None or kind in PLAIN:
        return {"type": PLAIN[kind or NoneType]}
    name = kind.__name__
    if name not in named:
        named[name] = _words(kind) if issubclass(kind, Enum) else _named(kind, of)
    return {"$ref": template.format(model=name)}


def _words(kind: type[Enum]) -> Json:
    """As pydantic describes it among arguments; one code is a word of order rows alone, which show it as text."""
    words = [one.value for one in kind if one is not Code.ABSENT]
    return {"description": getdoc(kind), "enum": words, "title": kind.__name__, "type": "string"}


def _named(kind: Any, of: Callable[[Any], Json]) -> Json:
    hints = get_type_hints(kind, include_extras=True)
    needed = kind.__required_keys__ if is_typeddict(kind) else hints
    return _object({field: of(hint) for field, hint in hints.items()}, needed)


def _object(properties: Json, needed: Any) -> Json:
    made: Json = {"type": "object", "properties": properties}
    required = [name for name in properties if name in needed]
    return made | ({"required": required} if required else {})
