"""Patches and what they change: plain JSON values in, plain JSON values out."""

import difflib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import cache
from typing import Any, Final, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from realtime.desk.masking import MASK, masked
from realtime.model.errors import Code, Refused


Plain = dict[str, Any]
SHOWN: Final = 20
"""Mistakes told at a time."""
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


def readable(whole: Mapping[str, Any], now: Mapping[str, Any], error: ValidationError) -> Plain:
    """Leave out what cannot be read: unknown keys, and sections with a wrong value, which are as they are now."""
    made, wrong = deepcopy(dict(whole)), set()
    for found in error.errors(include_url=False):
        section, *inside = found["loc"] or ("",)
        if found["type"] != "extra_forbidden":
            wrong.add(str(section))
            continue
        # What stands in a list may be named by its kind as well: then there is no such way.
        with suppress(KeyError, IndexError, TypeError):
            *way, key = section, *inside
            under: Any = made
            for part in way:
                under = under[part]
            del under[key]
    return made | {section: now[section] for section in wrong if section in now}


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


class Unclear(Exception):
    """A webhook stands there by its host only, and it cannot be told which one is meant."""

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def unmasked(shown: Sequence[Any], known: Sequence[Plain]) -> list[Any]:
    """Put the addresses of webhooks back where a client sent back what it was shown.

    Two of the same host look alike: then a row is the one that it equals, or that stood in its place in a list as long.

    Raises:
        Unclear: It may be one or another, or none.
    """
    looks = [masked(hook) for hook in known]
    free = set(range(len(known)))
    meant: dict[int, int] = {}
    rows = {place: row for place, row in enumerate(shown) if _is_masked(row)}

    def take(place: int, number: int) -> None:
        meant[place] = number
        free.discard(number)

    for place, row in rows.items():
        if place in free and looks[place] == row:
            take(place, place)
    for place, row in rows.items():
        like = [number for number in sorted(free) if looks[number] == row]
        if place not in meant and like:
            take(place, like[0])
    for place, row in rows.items():
        if place in meant:
            continue
        like = [number for number in sorted(free) if looks[number]["url"] == row["url"]]
        if place in like and len(shown) == len(known):
            take(place, place)
        elif len(like) == 1:
            take(place, like[0])
        else:
            which = "is the address of several here" if like else "is no whole address"
            raise Unclear(place, f"{which}; give it in full")
    for place, number in meant.items():
        # Of two that look alike one was left out: nobody can tell which.
        if any(looks[other] == looks[number] for other in free):
            raise Unclear(place, "is the address of several here; give it in full")
    return [
        row | {"url": known[meant[place]]["url"]} if place in meant else row
        for place, row in enumerate(shown)
    ]


def _is_masked(row: object) -> bool:
    url = row.get("url") if isinstance(row, Mapping) else None
    return isinstance(url, str) and url.endswith(f"/{MASK}")
