"""Types for the page, made from the registry: `static/js/types.d.ts`."""

from collections.abc import Iterable
from typing import Final

from realtime.commands.help import MEANINGS
from realtime.commands.registry import Registry
from realtime.hub.channels import TOPICS
from realtime.hub.protocol import NOTICES, REASONS
from realtime.server.schema import Json, arguments_of, ops_of, server_messages


KINDS: Final = {"integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def types(registry: Registry) -> str:
    """Make `static/js/types.d.ts`: messages and arguments as TypeScript sees them."""
    lines = [
        "// Generated from the registry by realtime/server/typescript.py; a test generates it again.",
        "",
        f"export type Code = {_union(str(code) for code in MEANINGS)};",
        f"export type NoticeEvent = {_union(NOTICES)};",
        f"export type Reason = {_union(REASONS)};",
        f"export type Topic = {_union(TOPICS)};",
        "export type Position = { epoch: string; seq: number };",
        "export type At = Record<string, Position>;",
        (
            "export interface WireError { code: Code; message: string; outcome: 'not_done' | 'unknown';"
            " retry_after?: number; details?: Record<string, unknown> }"
        ),
        "",
    ]
    definitions: dict[str, Json] = {}
    for name, message in server_messages():
        interface = name.capitalize()
        lines.append(f"export interface {interface} {_ts_object(message['payload'])}")
    lines.append("export type Message = Welcome | Reply | Snapshot | Update | Notice | Heartbeat;")
    lines.append("")
    arguments: list[str] = []
    for op in ops_of(registry):
        schema, needed = arguments_of(op)
        definitions |= needed
        arguments.append(f"  '{op.name}': {_ts(schema)};")
    for name, schema in sorted(definitions.items()):
        lines.append(f"export type {name} = {_ts(schema)};")
    lines += ["", "export interface Arguments {", *arguments, "}", ""]
    return "\n".join(lines)


def _union(words: Iterable[str]) -> str:
    return " | ".join(f"'{word}'" for word in words)


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
            name = ref.rpartition("/")[2]
            return {"Error": "WireError"}.get(name, name)
        case {"const": value}:
            return repr(value) if isinstance(value, str) else str(value)
        case {"enum": values}:
            return " | ".join(
                "null" if v is None else repr(v) if isinstance(v, str) else str(v) for v in values
            )
        case {"anyOf": options} | {"oneOf": options}:
            return " | ".join(dict.fromkeys(_ts(option) for option in options))
        case {"type": list() as kinds}:
            return " | ".join(dict.fromkeys(_ts({**schema, "type": kind}) for kind in kinds))
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
