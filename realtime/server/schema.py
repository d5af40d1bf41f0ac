"""Documents for machines, made from the registry: OpenAPI for the HTTP twin, AsyncAPI for the socket."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from realtime.commands.help import MEANINGS, codes_of
from realtime.commands.registry import BOUND, BOUND_ARGUMENTS, HTTP_ONLY, Op, Registry
from realtime.commands.results import Error, Json, Position, result_of, schema_of
from realtime.hub.channels import LONGEST
from realtime.hub.protocol import NOTICES, REASONS, SUBPROTOCOL
from realtime.model.errors import Code


TITLE: Final = "Nexus Realtime"
COMMON: Final = (
    Code.BAD_REQUEST,
    Code.INVALID,
    Code.UNAUTHORIZED,
    Code.FORBIDDEN,
    Code.RATE_LIMITED,
    Code.MODE_MISMATCH,
    Code.EXPIRED,
    Code.INTERNAL,
)
"""Codes that every op may answer."""
TOO_LARGE: Final = (413, 431)
"""Statuses of requests whose body or header is too long to be looked at."""
NAMED: Final[Mapping[str, object]] = {"order_id": "o-1"}
"""Examples of what stands in a path and not in its op's example."""
JSON: Final = "application/json"
_CONTENT: Final[Json] = {JSON: {"schema": {"$ref": "#/components/schemas/Reply"}}}
CLIENT: Final[Json] = {"$ref": "#/components/parameters/client"}
NAME_PATTERN: Final = "^[A-Za-z0-9._-]{1,32}$"
REFERENCE: Final = "#/components/schemas/{model}"


# --- schemas --------------------------------------------------------------------------------------


def arguments_of(op: Op) -> tuple[Json, dict[str, Json]]:
    """Give the schema of an op's arguments, and the definitions it needs."""
    made = op.params.model_json_schema(ref_template=REFERENCE)
    definitions = made.pop("$defs", {})
    made.pop("description", None)
    return made, definitions


def draft7(node: Any) -> Any:
    """Put a schema into draft-07, as AsyncAPI reads it.

    Two corrections: `discriminator` is a property's name there (asyncapi/spec#1073), and a tuple's
    items stand under `items`.
    """
    match node:
        case dict():
            made = {key: draft7(value) for key, value in node.items()}
            match made.get("discriminator"):
                case {"propertyName": name}:
                    made["discriminator"] = name
                case _:
                    pass
            if "prefixItems" in made:
                made["items"] = made.pop("prefixItems")
            return made
        case list():
            return [draft7(value) for value in node]
        case _:
            return node


def shared() -> dict[str, Json]:
    """Give the definitions that every reply may need."""
    return schema_of(Error, REFERENCE)[1] | schema_of(Position, REFERENCE)[1]


def answer_of(op: Op) -> tuple[Json, dict[str, Json]]:
    """Give what a reply says when the op was done, and the definitions it needs."""
    result, definitions = result_of(op.name, REFERENCE)
    properties = {"ok": {"const": True}, "result": result}
    return {"type": "object", "required": ["ts", "result"], "properties": properties}, definitions


def _at_schema() -> Json:
    return {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/Position"}}


# --- OpenAPI --------------------------------------------------------------------------------------


def openapi(registry: Registry, version: str) -> Json:
    """Describe the HTTP twin (OpenAPI 3.1)."""
    schemas: dict[str, Json] = {**shared(), "Reply": _reply_schema()}
    paths: dict[str, Json] = {}
    for op in ops_of(registry):
        if op.name in BOUND:
            continue
        arguments, definitions = arguments_of(op)
        answer, named = answer_of(op)
        schemas |= definitions | named
        arguments, example = _over_http(op, arguments)
        operation = {
            "operationId": op.name,
            "summary": op.summary,
            "tags": [op.name.partition(".")[0]],
            "requestBody": {
                "required": bool(arguments.get("required")),
                "content": {JSON: {"schema": arguments, "example": example}},
            },
            "responses": _responses(op, answer),
            **_notes(op),
        }
        paths.setdefault(f"/api/{op.name}", {})["post"] = operation
        for alias in op.http:
            method, _, path = alias.partition(" ")
            paths.setdefault(path, {})[method.lower()] = _alias(
                op, method, path, arguments, example, operation["responses"]
            )
    for item in paths.values():
        item["parameters"] = [CLIENT]
    paths |= _fixed_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "license": {"name": "Apache-2.0"}},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "parameters": {
                "client": {
                    "name": "client",
                    "in": "query",
                    "description": "who of the subject asks: orders are tagged with both",
                    "schema": {"type": "string", "pattern": NAME_PATTERN, "default": "http"},
                }
            },
            "responses": _error_responses(),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": "realtime"},
            },
        },
        "security": [{"bearer": []}, {"cookie": []}, {}],
    }


def _over_http(op: Op, arguments: Json) -> tuple[Json, Json]:
    """Leave out of arguments and example what is about a connection."""
    bound = BOUND_ARGUMENTS.get(op.name, frozenset())
    example = {name: value for name, value in op.example.items() if name not in bound}
    if not bound:
        return arguments, example
    properties = {
        name: schema for name, schema in arguments["properties"].items() if name not in bound
    }
    return arguments | {"properties": properties}, example


def _notes(op: Op) -> Json:
    return {"x-scope": op.scope, "x-lane": op.lane, "x-idempotency": op.idempotency}


def _responses(op: Op, answer: Json) -> Json:
    schema = {"allOf": [_CONTENT[JSON]["schema"], answer]}
    made: Json = {"200": {"description": "done", "content": {JSON: {"schema": schema}}}}
    bound = (Code.NOT_SUPPORTED,) if op.name in BOUND_ARGUMENTS else ()
    codes = (*COMMON, *codes_of(op), *bound)
    for status in sorted({*TOO_LARGE, *(code.http for code in codes)}):
        made[str(status)] = {"$ref": f"#/components/responses/Status{status}"}
    return made


def _error_responses() -> Json:
    by_status: dict[int, list[str]] = {}
    for code in MEANINGS:
        by_status.setdefault(code.http, []).append(code.value)
    for status in TOO_LARGE:
        by_status[status] = [Code.BAD_REQUEST.value]
    return {
        f"Status{status}": {"description": ", ".join(names), "content": _CONTENT}
        for status, names in sorted(by_status.items())
    }


def _reply_schema() -> Json:
    return {
        "type": "object",
        "required": ["ok"],
        "properties": {
            "op": {"type": "string", "description": "missing where no op was reached"},
            "ok": {"type": "boolean"},
            "ts": {"type": "integer"},
            "result": {"type": "object"},
            "error": {"$ref": "#/components/schemas/Error"},
            "at": _at_schema(),
        },
    }


def _alias(op: Op, method: str, path: str, arguments: Json, example: Json, responses: Json) -> Json:
    """Describe a path of an op's own, with the op's example told in path and query or body."""
    properties: Mapping[str, Json] = arguments.get("properties", {})
    required: Sequence[str] = arguments.get("required", ())
    in_path = [name for name in properties if f"{{{name}}}" in path]
    if not example.keys() >= set(in_path):
        # The op's example names the thing in another way, which would contradict the path.
        example = {name: NAMED[name] for name in in_path}

    def parameter(name: str, place: str, *, needed: bool) -> Json:
        made: Json = {"schema": properties[name]}
        if name in example:
            made["example"] = example[name]
        kinds = kinds_of(properties[name])
        if "array" in kinds:
            made["explode"] = False  # its parts with commas between them, in one argument
        if "object" in kinds:
            made = {"content": {JSON: made}}
        return {"name": name, "in": place, "required": needed, **made}

    made: Json = {
        "operationId": f"{op.name}:{method.lower()}:{path}",
        "summary": op.summary,
        "tags": [op.name.partition(".")[0]],
        "parameters": [parameter(name, "path", needed=True) for name in in_path],
        "responses": responses,
        **_notes(op),
    }
    others = {name: schema for name, schema in properties.items() if name not in in_path}
    if method in {"GET", "DELETE"}:
        made["parameters"] += [parameter(name, "query", needed=name in required) for name in others]
    elif others:
        needed = [name for name in required if name in others]
        schema = {"type": "object", "properties": others, "additionalProperties": False}
        body = {name: value for name, value in example.items() if name in others}
        made["requestBody"] = {
            "required": bool(needed),
            "content": {
                JSON: {
                    "schema": schema | ({"required": needed} if needed else {}),
                    "example": body,
                }
            },
        }
    return made


def kinds_of(schema: Mapping[str, Any]) -> set[str]:
    """Name the JSON types that an argument may have."""
    kinds: set[str] = set()
    for option in (schema, *schema.get("anyOf", ())):
        kind = option.get("type", ())
        kinds.update([kind] if isinstance(kind, str) else kind)
    return kinds


def _fixed_paths() -> dict[str, Json]:
    text = {"type": "string", "minLength": 1, "maxLength": LONGEST}
    channel = {"name": "channel", "in": "query", "required": True, "schema": text}

    def get(summary: str, kind: str, *others: str, parameters: Sequence[Json] = ()) -> Json:
        responses: Json = {"200": {"description": "done", "content": {kind: {}}}}
        for status in others:
            responses[status] = {"description": "see the body"}
        made: Json = {"summary": summary, "tags": ["server"], "responses": responses}
        if parameters:
            made["parameters"] = list(parameters)
        return {"get": made}

    page = "text/html"
    return {
        "/api/snapshot": get(
            "one snapshot message of a channel",
            JSON,
            "400",
            "401",
            "403",
            "404",
            "422",
            "429",
            "502",
            parameters=[channel],
        ),
        "/metrics": get(
            "the figures of monitoring.metrics and monitoring.latency, in the text format 0.0.4 of Prometheus",
            "text/plain",
            "400",
            "401",
            "403",
            "429",
        ),
        "/healthz": get("the process is alive", JSON, "503"),
        "/readyz": get("it can be used; else the reasons", JSON, "503"),
        "/openapi.json": get("this document", JSON),
        "/asyncapi.json": get("the socket's document", JSON),
        "/docs": get("the protocol for people", page),
    }


# --- AsyncAPI -------------------------------------------------------------------------------------


def asyncapi(registry: Registry, version: str) -> Json:
    """Describe the socket (AsyncAPI 3.1.0)."""
    schemas = {name: draft7(schema) for name, schema in shared().items()}
    messages: dict[str, Json] = dict(server_messages())
    operations: dict[str, Json] = {}
    replies: dict[str, Json] = {}
    for op in ops_of(registry):
        if op.name in HTTP_ONLY:
            continue
        arguments, definitions = arguments_of(op)
        answer, named = answer_of(op)
        schemas |= {name: draft7(schema) for name, schema in (definitions | named).items()}
        name = _key(op.name)
        messages[name] = _request_message(op, draft7(arguments))
        # A channel of its own at the same address: a reader of these files resolves for each op all of its channels.
        replies[name] = {
            "address": "/ws",
            "messages": {
                "done": {
                    "name": "reply",
                    "summary": f"{op.name} was done",
                    "payload": {
                        "allOf": [{"$ref": "#/components/messages/reply/payload"}, draft7(answer)]
                    },
                },
                "reply": {"$ref": "#/components/messages/reply"},
            },
        }
        operations[name] = {
            "action": "receive",
            "channel": {"$ref": "#/channels/ws"},
            "summary": op.summary,
            "messages": [{"$ref": f"#/channels/ws/messages/{name}"}],
            "reply": {
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [
                    {"$ref": f"#/channels/{name}/messages/{kind}"}
                    for kind in replies[name]["messages"]
                ],
            },
            **_notes(op),
        }
    for name, _ in server_messages():
        if name != "reply":
            operations[f"send_{name}"] = {
                "action": "send",
                "channel": {"$ref": "#/channels/ws"},
                "messages": [{"$ref": f"#/channels/ws/messages/{name}"}],
            }
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": version,
            "license": {"name": "Apache-2.0"},
            "description": f"Subprotocol {SUBPROTOCOL}: one JSON object per text frame.",
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:8000", "protocol": "ws"}},
        "channels": {
            "ws": {
                "address": "/ws",
                "messages": {
                    name: {"$ref": f"#/components/messages/{name}"} for name in sorted(messages)
                },
                "bindings": {"ws": {"query": _query_schema(), "bindingVersion": "0.1.0"}},
            },
            **dict(sorted(replies.items())),
        },
        "operations": dict(sorted(operations.items())),
        "components": {
            "messages": dict(sorted(messages.items())),
            "schemas": {name: draft7(schema) for name, schema in sorted(schemas.items())},
        },
    }


def _key(name: str) -> str:
    """Name an op where dots are not allowed."""
    return name.replace(".", "_")


def _query_schema() -> Json:
    text: Json = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "client": {**text, "pattern": NAME_PATTERN},
            "batch": {**text, "enum": ["0", "1"]},
            "every": {**text, "pattern": "^(0|[1-9][0-9]?0|1000)$"},
            "heartbeat": {**text, "pattern": "^([1-9]|[12][0-9]|30)$"},
            "ticket": {**text, "pattern": "^[A-Za-z0-9._-]{1,128}$"},
        },
    }


def _request_message(op: Op, arguments: Json) -> Json:
    properties = {
        "op": {"const": op.name},
        "id": {"type": ["integer", "string"], "maxLength": 64},
        **arguments.get("properties", {}),
    }
    payload: Json = {
        "type": "object",
        "required": ["op", *arguments.get("required", [])],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "name": op.name,
        "summary": op.summary,
        "payload": payload,
        "examples": [{"payload": {"op": op.name, "id": 1, **op.example}}],
    }


def server_messages() -> Iterable[tuple[str, Json]]:
    """Describe the six messages of the server."""
    integer, text = {"type": "integer"}, {"type": "string"}
    mark: Json = {"type": ["integer", "string"]}
    numbered: dict[str, Json] = {
        "channel": text,
        "seq": integer,
        "ts": integer,
        "asof": integer,
        "checksum": {**integer, "description": "CRC-32 of an order book"},
        "data": {},
    }
    table: dict[str, tuple[str, Sequence[str], dict[str, Json]]] = {
        "welcome": (
            "first message of every connection",
            ["v", "server", "session", "ts", "mode", "trading_state", "venues", "auth", "client"],
            {
                "v": {"const": 1},
                "server": text,
                "session": text,
                "boot": text,
                "ts": integer,
                "mode": {"enum": ["paper", "live"]},
                "trading_state": {"enum": ["active", "reducing", "halted", None]},
                "venues": {"type": "array", "items": {"type": "object"}},
                "auth": {"enum": ["ok", "optional", "required"]},
                "subject": {"type": ["string", "null"]},
                "role": {"type": ["string", "null"]},
                "scopes": {"type": ["array", "null"], "items": text},
                "symbols": {
                    "type": "array",
                    "items": text,
                    "description": "the only ones this token may trade, where it is limited",
                },
                "max_order_notional": {
                    **text,
                    "description": "most that an order of this token may be worth, where it is limited",
                },
                "client": text,
                "batch": {"type": "boolean"},
                "every": integer,
                "heartbeat": integer,
                "reconnect": {"type": "object"},
                "features": {"type": "array", "items": text},
                "limits": {"type": "object"},
            },
        ),
        "reply": (
            "answer to one request",
            ["ok", "ts"],
            {
                "id": mark,
                "op": text,
                "ok": {"type": "boolean"},
                "ts": integer,
                "result": {"type": "object"},
                "error": {"$ref": "#/components/schemas/Error"},
                "at": _at_schema(),
            },
        ),
        "snapshot": (
            "replaces all that is known about its channel",
            ["channel", "epoch", "seq", "ts", "reason", "data"],
            {
                **numbered,
                "epoch": text,
                "reason": {"enum": list(REASONS)},
                "lost": {**integer, "minimum": 0},
                "parts": {
                    **integer,
                    "minimum": 2,
                    "description": "messages of a snapshot too long for one: the next `parts` - 1 updates complete it",
                },
            },
        ),
        "update": ("what changed", ["channel", "seq", "ts", "data"], numbered),
        "notice": (
            "something about the connection or its sources",
            ["event", "ts", "data"],
            {
                "event": {"enum": list(NOTICES)},
                "ts": integer,
                "channels": {"type": "array", "items": text},
                "data": {"type": "object"},
            },
        ),
        "heartbeat": (
            "the server lives; `asof` tells of its venues",
            ["ts", "asof"],
            {
                "ts": integer,
                "asof": {"type": "object", "additionalProperties": {"type": ["integer", "null"]}},
            },
        ),
    }
    for name, (summary, required, properties) in table.items():
        payload: Json = {
            "type": "object",
            "required": ["type", *required],
            "properties": {"type": {"const": name}, **properties},
        }
        yield name, {"name": name, "summary": summary, "payload": payload}


def ops_of(registry: Registry) -> list[Op]:
    """Give all ops by name."""
    return [op for _, op in sorted(registry.ops.items())]
