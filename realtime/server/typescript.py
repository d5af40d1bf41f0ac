"""Types for the page, made from the registry: `static/js/types.d.ts`."""

from collections.abc import Iterable
from typing import Final

from realtime.commands.registry import Registry
from realtime.commands.results import Json, result_of
from realtime.hub.channels import TOPICS
from realtime.hub.protocol import NOTICES, REASONS
from realtime.server.schema import REFERENCE, arguments_of, ops_of, server_messages, shared


KINDS: Final = {"integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def types(registry: Registry) -> str:
    """Make `static/js/types.d.ts`: messages, arguments and results as TypeScript sees them."""
    lines = [
        "// Generated from the registry by realtime/server/typescript.py; a test generates it again.",
        "",
        f"export type NoticeEvent = {_union(NOTICES)};",
        f"export type Reason = {_union(REASONS)};",
        f"export type Topic = {_union(TOPICS)};",
        "export type At = Record<string, Position>;",
        "",
    ]
    definitions = shared()
    for name, message in server_messages():
        interface = name.capitalize()
        lines.append(f"export interface {interface} {_ts_object(message['payload'])}")
    lines.append("export type Message = Welcome | Reply | Snapshot | Update | Notice | Heartbeat;")
    lines.append("")
    arguments: list[str] = []
    results: list[str] = []
    for op in ops_of(registry):
        schema, needed = arguments_of(op)
        result, named = result_of(op.name, REFERENCE)
        definitions |= needed | named
        arguments.append(f"  '{op.name}': {_ts(schema)};")
        results.append(f"  '{op.name}': {_ts(result)};")
    for name, schema in sorted(definitions.items()):
        lines.append(f"export type {_named(name)} = {_ts(schema)};")
    lines += ["", "export interface Arguments {", *arguments, "}", ""]
    lines += ["export interface Results {", *results, "}", ""]
    return "\n".join(lines)


def _union(words: Iterable[str]) -> str:
    return " | ".join(f"'{word}'" for word in words)


def _named(name: str) -> str:
    return {"Error": "WireError"}.get(name, name)


def _ts_object(schema: Json) -> str:
    required = set(schema.get("required", ()))
    fields = "; ".join(
        f"{name}{'' if name in required else '?'}: {_ts(field)}"
        for name, field in schema.get("properties", {}).items()
    )
    return "{ " + fields + " }" if fields else "Record<string, never>"


def _ts(schema: Json) -> str:
    """Write one schema as a TypeScript type."""
    match schema:
        case {"$ref": str(ref)}:
            return _named(ref.rpartition("/")[2])
        case {"const": value}:
            return repr(value) if isinstance(value, str) else str(value).lower()
        case {"enum": values}:
            return " | ".join(
                "null" if v is None else repr(v) if isinstance(v, str) else str(v) for v in values
            )
        case {"anyOf": options} | {"oneOf": options}:
            return " | ".join(dict.fromkeys(_ts(option) for option in options))
        case {"allOf": parts}:
            return " & ".join(map(_ts, parts))
        case {"type": list() as kinds}:
            return " | ".join(dict.fromkeys(_ts({**schema, "type": kind}) for kind in kinds))
        case {"type": "array", "items": items, "minItems": size, "maxItems": int(most)} if (
            size == most
        ):
            return f"[{', '.join([_ts(items)] * most)}]"
        case {"type": "array", "items": items}:
            return f"Array<{_ts(items)}>"
        case {"type": "object", "properties": _}:
            return _ts_object(schema)
        case {"type": "object", "additionalProperties": dict() as values}:
            return f"Record<string, {_ts(values)}>"
        case {"type": "object"}:
            return "Record<string, unknown>"
        case {"type": kind}:
            return KINDS.get(kind, "string")
        case _:
            return "unknown"
