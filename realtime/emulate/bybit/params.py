"""Reading the fields of a request: they come as texts of a query or as JSON of any type."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from realtime.emulate.bybit.codes import wrong


Params = Mapping[str, object]

_NUMBER: Final = re.compile(r"\d{1,20}(\.\d{1,18})?")
LAST_MS: Final = 9_000_000_000_000
"""A time [ms] beyond which there is none here."""
LINK: Final = re.compile(r"[A-Za-z0-9_-]{1,36}")


def text(params: Params, name: str) -> str:
    """A field as text; empty where it is missing."""
    value = params.get(name)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def needed(params: Params, name: str) -> str:
    """A field that has to be there."""
    value = text(params, name)
    if not value:
        raise wrong(f"params error: {name} is required")
    return value


def flag(params: Params, name: str) -> bool:
    """A field that says yes or no."""
    return text(params, name).lower() in {"true", "1"}


def number(params: Params, name: str) -> Decimal | None:
    """A number of zero or more; None where it is missing."""
    value = text(params, name)
    if not value:
        return None
    if not _NUMBER.fullmatch(value):
        raise wrong(f"params error: {name} invalid")
    return Decimal(value)


def whole(value: str) -> int | None:
    """A whole number of at most 19 digits; None for any other text."""
    return int(value) if value.isdecimal() and len(value) <= 19 else None


def count(params: Params, name: str, default: int, most: int) -> int:
    """A whole number from 1 to `most`."""
    value = whole(text(params, name) or str(default))
    if value is None:
        raise wrong(f"params error: {name} invalid")
    return min(max(value, 1), most)


def stamp(params: Params, name: str) -> int | None:
    """A time [ms]; None where it is missing."""
    value = text(params, name)
    if not value:
        return None
    found = whole(value)
    if found is None or found > LAST_MS:
        raise wrong(f"params error: {name} invalid")
    return found


def one_of(
    params: Params, name: str, allowed: Mapping[str, object] | set[str], default: str
) -> str:
    """A word of a list."""
    value = text(params, name) or default
    if value not in allowed:
        raise wrong(f"params error: {name} invalid")
    return value
