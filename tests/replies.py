"""Every reply of the suite is held against the schema of its op's result: all it has must be described (`check`)."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs
import orjson

from realtime.commands.results import result_of


FIGURE = r"^-?[0-9]+(\.[0-9]+)?$"


def check(reply: Mapping[str, Any], op: str | None = None) -> None:
    """Raise where a reply says what the published schema of its op does not; an alias is named by its op.

    Args:
        reply: As it came.
        op: Its op, where the reply itself does not say it or says another name.
    """
    name = ALIASES.get(op or reply.get("op", ""), op or reply.get("op", ""))
    if reply.get("ok") and not name.startswith("toy."):
        validator(name).validate(orjson.loads(orjson.dumps(reply["result"])))


ALIASES = {
    "order.validate": "order.preview",
    "risk.halt": "trading.halt",
    "risk.resume": "trading.resume",
}


@cache
def validator(op: str) -> jsonschema_rs.Validator:
    """Make the validator of an op's result."""
    return jsonschema_rs.validator_for(closed(*result_of(op, "{model}")))


def closed(schema: Any, named: Mapping[str, Any]) -> Any:
    """Put references in their places, and let no object have what is not named: schemas of results let it pass."""
    match schema:
        case {"$ref": name}:
            return closed(named[name], named)
        case {"allOf": parts}:
            made = [closed(part, named) for part in parts]
            return {
                "type": "object",
                "properties": {k: v for part in made for k, v in part["properties"].items()},
                "required": [name for part in made for name in part.get("required", ())],
                "additionalProperties": False,
            }
        case {"properties": properties}:
            each = {name: closed(part, named) for name, part in properties.items()}
            return {**schema, "properties": each, "additionalProperties": False}
        case {"format": "decimal"}:
            return {**schema, "pattern": FIGURE}
        case dict():
            return {name: closed(part, named) for name, part in schema.items()}
        case list():
            return [closed(part, named) for part in schema]
        case _:
            return schema
