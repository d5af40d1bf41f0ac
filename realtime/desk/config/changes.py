"""Patches and what they change: plain JSON values in, plain JSON values out."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from realtime.model.errors import Code, Refused


Plain = dict[str, Any]
MASK: Final = "***"
SHOWN: Final = 20
"""Mistakes told at a time."""
_URL: Final = re.compile(r"^(https?://[^/?#]+)[/?#].*$", re.DOTALL)
_SHOULD: Final = re.compile(r"^[A-Z][a-z]* should ")
_MESSAGES: Final[Mapping[str, str]] = {
    "missing": "is required",
    "extra_forbidden": "is no key of the configuration",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}


class Fault(NamedTuple):
    """A mistake in a configuration: where, as a dotted path, and what."""

    path: str
    message: str

    def row(self) -> dict[str, str]:
        """Make the row of the wire."""
        return {"path": self.path, "message": self.message}


class Change(NamedTuple):
    """One key that differs; None where it is not there."""

    path: str
    old: object
    new: object


def merge(whole: Mapping[str, Any], patch: Mapping[str, Any]) -> Plain:
    """Apply a JSON merge patch (RFC 7396): objects are merged, null removes, everything else replaces."""
    made = dict(whole)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, Mapping):
            under = made.get(key)
            made[key] = merge(under if isinstance(under, Mapping) else {}, value)
        else:
            made[key] = value
    return made


def changes(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> list[Change]:
    """List the keys that differ, lists as a whole, in the order of the paths."""
    found: list[Change] = []
    for key in sorted({*old, *new}):
        path = f"{at}{key}"
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += changes(before, after, f"{path}.")
        elif before != after:
            found.append(Change(path, before, after))
    return found


def faults_of(model: type[BaseModel], error: ValidationError) -> list[Fault]:
    """Translate pydantic's errors."""
    return [_fault(model, found) for found in error.errors(include_url=False)[:SHOWN]]


def _fault(model: type[BaseModel], error: ErrorDetails) -> Fault:
    path = ".".join(str(part) for part in error["loc"] if part != "[key]")
    context: Mapping[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(str(error["loc"][-1]), _keys(model), 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return Fault(path, f"{_MESSAGES['extra_forbidden']}{hint}")
        case known if known in _MESSAGES:
            message = _MESSAGES[known]
        case "value_error":
            message = str(context["error"])
        case "greater_than_equal":
            message = f"must be at least {context['ge']}"
        case "greater_than":
            message = f"must be above {context['gt']}"
        case "less_than_equal":
            message = f"must be at most {context['le']}"
        case "literal_error":
            message = f"must be one of {context['expected']}"
        case "string_pattern_mismatch":
            message = f"must match {context['pattern']}"
        case "too_long" | "string_too_long":
            message = f"must have at most {context['max_length']}"
        case "too_short" | "string_too_short":
            message = f"must have at least {context['min_length']}"
        case _:
            message = _SHOULD.sub("must ", error["msg"])
    return Fault(path, message)


@cache
def _keys(model: type[BaseModel]) -> tuple[str, ...]:
    """Every key of a model and of those inside it; its schema takes milliseconds to make."""
    schema = model.model_json_schema()
    inside = [definition.get("properties", {}) for definition in schema.get("$defs", {}).values()]
    return tuple(name for names in (schema["properties"], *inside) for name in names)


def refusal(faults: Sequence[Fault]) -> Refused:
    """Make the refusal of a configuration with mistakes."""
    text = "; ".join(f"{path} {message}" for path, message in faults[:3])
    fields = [{"field": path, "message": message} for path, message in faults[:SHOWN]]
    return Refused(Code.INVALID, text, {"fields": fields})


# --- secrets --------------------------------------------------------------------------------------


def masked(value: Any) -> Any:
    """Hide what a webhook's address gives away behind its host: such addresses are keys."""
    match value:
        case dict():
            return {k: _address(v) if k == "url" else masked(v) for k, v in value.items()}
        case list() | tuple():
            return [masked(item) for item in value]
        case _:
            return value


def _address(value: object) -> object:
    return _URL.sub(rf"\1/{MASK}", value) if isinstance(value, str) else value


def unmasked(value: Any, known: Iterable[str]) -> Any:
    """Put addresses back where a client sent back what it was shown."""
    addresses = {_address(address): address for address in known}
    return _unmasked(value, addresses)


def _unmasked(value: Any, known: Mapping[object, str]) -> Any:
    match value:
        case dict():
            return {
                k: known.get(v, v) if k == "url" and isinstance(v, str) else _unmasked(v, known)
                for k, v in value.items()
            }
        case list():
            return [_unmasked(item, known) for item in value]
        case _:
            return value
