"""Arguments: the types that untrusted input is made of, and how a refusal of them reads.

Rules of this file: (1) strict: nothing is coerced but what the protocol document says in 2.3; (2) an
unknown field is an error with a hint; (3) no message echoes more than a few characters of the input.

An enum as an argument is written `Annotated[Side, Field(strict=False)]`, because strict pydantic
wants an enum's instance where the wire has its text; `Word[Side]` says the same.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from realtime.model import times
from realtime.model.errors import Code, Refused
from realtime.model.market import ZERO


T = TypeVar("T")

SAFE_INTEGER: Final = 2**53
"""The last ms whose nanoseconds fit 64 bits, in the year 2262: times are ns inside and in the journal."""
DIGITS: Final = 15
LONGEST_WORD: Final = 64
"""Characters of the longest word that can be meant by another."""
MONEY_PATTERN: Final = r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"
_MONEY: Final = re.compile(MONEY_PATTERN.replace("$", r"\Z"))
_AMOUNT_PATTERN: Final = MONEY_PATTERN.replace("-?", "")
_AMOUNT: Final = re.compile(_AMOUNT_PATTERN.replace("$", r"\Z").replace("(", "(?:"))
_HIDDEN_PATTERN: Final = (
    r"[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u180e\u2000-\u200f\u2028-\u202f"
    r"\u205f-\u206f\u3000\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"  # themselves: a schema's pattern knows no such escape
)
"""Control characters, what cannot be seen or turns the text around, and every space but one."""
_HIDDEN: Final = re.compile(_HIDDEN_PATTERN)
_NUL_PATTERN: Final = r"\u0000"
_INSTANT: Final = f"{times.INSTANT}; at most {{last}}"


# --- values ---------------------------------------------------------------------------------------


def money(value: object) -> Decimal:
    """Read money, a price or an amount (protocol document, 2.3).

    Args:
        value: A decimal string, or a JSON number of at most 15 significant digits, which is taken at
            its shortest decimal text.

    Raises:
        PydanticCustomError: With the reason.
    """
    match value:
        case Decimal():
            return value
        case str():
            if not _MONEY.match(value):
                raise PydanticCustomError(
                    "money",
                    'must be a decimal string such as "0.01"; was {was}',
                    {"was": short(value)},
                )
            return Decimal(value) or ZERO  # -0 is 0
        case bool():
            raise PydanticCustomError("money", 'must be a decimal string such as "0.01"')
        case int() | float():
            return _number(value)
        case _:
            raise PydanticCustomError("money", 'must be a decimal string such as "0.01"')


def _number(value: float) -> Decimal:
    text = format(Decimal(repr(value)), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    digits = text.lstrip("-").replace(".", "").strip("0")
    if len(digits) > DIGITS or abs(value) > SAFE_INTEGER or not _MONEY.match(text):
        raise PydanticCustomError(
            "money",
            "a JSON number may have at most 15 significant digits and 18 decimals; send a decimal string",
        )
    return Decimal(text) or ZERO


def _positive(value: object) -> Decimal:
    if type(value) is str and _AMOUNT.match(value) and (usual := Decimal(value)):
        return usual
    if (read := money(value)) <= 0:
        raise PydanticCustomError("money", "must be above 0; was {was}", {"was": str(read)})
    return read


def _not_negative(value: object) -> Decimal:
    if (read := money(value)) < 0:
        raise PydanticCustomError("money", "must not be below 0; was {was}", {"was": str(read)})
    return read


def instant(value: object) -> int:
    """Read a point in time: integer ms since the epoch, or ISO 8601 with a zone [ms].

    Raises:
        PydanticCustomError: With the reason.
    """
    read = times.instant(value)
    if read is None:
        raise PydanticCustomError("instant", _INSTANT, {"last": times.LAST_INSTANT})
    return read


def _boolean_free_integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise PydanticCustomError("int_type", "must be an integer number of ms")
    if abs(value) > times.LAST_INSTANT:
        raise PydanticCustomError(
            "ms", "must be between -{last} and {last}", {"last": times.LAST_INSTANT}
        )
    return value


def _shown(value: str) -> str:
    if _HIDDEN.search(value):
        raise PydanticCustomError("text", "must have no control characters")
    return value


def _written(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("text", "must have no NUL character")
    return value


def _without(pattern: str) -> dict[str, Any]:
    """Say in the schema what a text must not have; a `pattern` of its own would do so, but not for keys."""
    return {"not": {"pattern": pattern}}


_MONEY_SCHEMA: Final = {"type": "string", "pattern": MONEY_PATTERN, "format": "decimal"}
_AMOUNT_SCHEMA: Final = {"type": "string", "pattern": _AMOUNT_PATTERN, "format": "decimal"}
_POSITIVE_SCHEMA: Final = _AMOUNT_SCHEMA | {"not": {"pattern": "^[0.]*$"}}

Money = Annotated[Decimal, PlainValidator(money), WithJsonSchema(_MONEY_SCHEMA)]
"""Any sign."""
Positive = Annotated[Decimal, PlainValidator(_positive), WithJsonSchema(_POSITIVE_SCHEMA)]
"""Money, a price or an amount above zero."""
NotNegative = Annotated[Decimal, PlainValidator(_not_negative), WithJsonSchema(_AMOUNT_SCHEMA)]
"""Money of zero or more."""
Instant = Annotated[
    int,
    PlainValidator(instant),
    WithJsonSchema(
        {
            "type": ["integer", "string"],
            "format": "date-time",
            "minimum": 0,
            "maximum": times.LAST_INSTANT,
        }
    ),
]
"""A time argument: ms or ISO 8601 with zone, read as wire ms."""
Milliseconds = Annotated[
    int, PlainValidator(_boolean_free_integer), WithJsonSchema({"type": "integer"})
]
"""Integer ms."""
Word = Annotated[T, Field(strict=False)]
"""An enum told by its text: `Word[Side]`."""

ClientOrderId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
Name = Annotated[
    str,
    Field(min_length=1, max_length=64, json_schema_extra=_without(_HIDDEN_PATTERN)),
    AfterValidator(_shown),
]
"""An id or a short name; in one line, because logs, tables and keys of the journal have it."""
Text = Annotated[
    str,
    Field(max_length=500, json_schema_extra=_without(_NUL_PATTERN)),
    AfterValidator(_written),
]
"""A reason, for people."""
Why = Annotated[
    str,
    Field(min_length=1, max_length=500, json_schema_extra=_without(_NUL_PATTERN)),
    AfterValidator(_written),
]
"""A reason that has to be given."""
Symbol = Annotated[str, Field(min_length=1, max_length=64, examples=["BTC/USDT"])]
Limit = Annotated[int, Field(ge=1, le=1000)]
RequestId = Name


# --- models ---------------------------------------------------------------------------------------


class Part(BaseModel):
    """An object inside the arguments of an op."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class Params(Part):
    """Arguments of an op. Every op may assert the server's mode."""

    mode: Literal["paper", "live"] | None = None


class ChangeParams(Params):
    """Arguments of an op that changes state and is not of the lanes `orders` and `safety`."""

    expires_at: Milliseconds | None = None
    confirm: Name | None = None


class CommandParams(ChangeParams):
    """Arguments of a command of the lanes `orders` and `safety`, which all know `dry_run`."""

    dry_run: bool = False


class ListParams(Params):
    """Arguments of a list."""

    limit: Limit = 100
    cursor: Annotated[str, Field(max_length=200)] | None = None


def invalid(field: str, message: str, **details: object) -> Refused:
    """Refuse one field.

    Example: `raise invalid("price", "is off the tick 0.01", nearest=["63900.00", "63900.01"])`.
    """
    fields = [{"field": field, "message": message}]
    return Refused(Code.INVALID, f"{field} {message}", {"fields": fields, **details})


# --- validation -----------------------------------------------------------------------------------


def short(value: object) -> str:
    """Show the first characters of a value in a message."""
    text = value if isinstance(value, str) else repr(value)
    return repr(text if len(text) <= 32 else text[:32] + "…")


def counted(number: int, word: str) -> str:
    """Write a number of things."""
    return f"{number} {word}" + ("s" if number != 1 else "")


def suggest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that `word` was most likely meant to be; None when there is none."""
    if len(word) > LONGEST_WORD:
        return None  # to look takes a millisecond for every 2,000 characters
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def read(model: type[BaseModel], raw: Mapping[str, object]) -> BaseModel:
    """Validate arguments.

    Raises:
        Refused: `invalid`, with `details.fields [{field, message}]`.
    """
    try:
        # As `model_validate`, which only looks for options first that are not given here.
        made: BaseModel = model.__pydantic_validator__.validate_python(raw)
    except ValidationError as error:
        raise refusal(model, raw, error) from None
    return made


def refusal(model: type[BaseModel], raw: Mapping[str, object], error: ValidationError) -> Refused:
    """Translate pydantic's errors into the protocol's."""
    fields: list[dict[str, str]] = []
    sentences: list[str] = []
    for found in error.errors(include_url=False)[:20]:
        path = _path(raw, found["loc"], missing=found["type"] == "missing")
        message = _message(found)
        fields.append({"field": path, "message": message})
        sentences.append(_sentence(model, found, path, message))
    return Refused(Code.INVALID, "; ".join(sentences[:3]), {"fields": fields})


def _path(raw: object, location: tuple[int | str, ...], *, missing: bool) -> str:
    """Name a place in the input, or what is missing there; tags of unions, which are not in it, are left out."""
    parts: list[str] = []
    at: object = raw
    for index, part in enumerate(location):
        last = missing and index == len(location) - 1
        match at:
            case Mapping() if isinstance(part, str) and (part in at or last):
                at = at.get(part)
            case list() if isinstance(part, int) and part < len(at):
                at = at[part]
            case _:
                continue
        name = str(part)
        parts.append(name if len(name) <= LONGEST_WORD else f"{name[:32]}…")
    return ".".join(parts)


_MESSAGES: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown field",
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "none_required": "must be null",
}


_SHOULD: Final = re.compile(r"^[A-Z][a-z]* should ")
"""How pydantic begins what it says."""


def _message(error: ErrorDetails) -> str:
    context: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case known if known in _MESSAGES:
            return _MESSAGES[known]
        case "enum" | "literal_error":
            return f"must be one of {context['expected']}"
        case "union_tag_invalid":
            return f"{context['discriminator']} must be one of {context['expected_tags']}"
        case "union_tag_not_found":
            return f"needs {context['discriminator']}"
        case "string_pattern_mismatch":
            return f"must match {context['pattern']}"
        case "string_too_short":
            return f"must have at least {counted(context['min_length'], 'character')}"
        case "string_too_long":
            return f"must have at most {counted(context['max_length'], 'character')}"
        case "too_short":
            return f"must have at least {counted(context['min_length'], 'item')}"
        case "too_long":
            return f"must have at most {counted(context['max_length'], 'item')}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "greater_than":
            return f"must be above {context['gt']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "less_than":
            return f"must be below {context['lt']}"
        case "multiple_of":
            return f"must be a multiple of {context['multiple_of']}"
        case "value_error":
            return str(context["error"])
        case _:
            return _SHOULD.sub("must ", error["msg"])


def _sentence(model: type[BaseModel], error: ErrorDetails, path: str, message: str) -> str:
    if error["type"] != "extra_forbidden":
        return f"{path} {message}".strip()
    top = len(error["loc"]) == 1
    known = set(_names(model)) if top else set(_nested(model))
    meant = suggest(str(error["loc"][-1]), known)
    return f"unknown field {path}" + (f"; did you mean {meant}?" if meant else "")


def _names(model: type[BaseModel]) -> Iterator[str]:
    """The fields of a model as the wire calls them."""
    for name, field in model.model_fields.items():
        yield field.alias or name


@cache
def _nested(model: type[BaseModel]) -> frozenset[str]:
    """Every field name of the models inside a model; its schema takes milliseconds to make."""
    definitions = model.model_json_schema().get("$defs", {}).values()
    return frozenset(
        name for definition in definitions for name in definition.get("properties", {})
    )
