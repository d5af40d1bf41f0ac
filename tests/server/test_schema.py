"""Documents made from a registry: their form; what they say of the whole system stands in the golden files."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from realtime.commands.params import read
from realtime.commands.registry import BOUND, HTTP_ONLY, Registry
from realtime.commands.results import OPEN
from realtime.hub import protocol
from realtime.model.errors import Refused
from realtime.server import manual, schema
from realtime.server.http import typed
from realtime.server.typescript import types
from tests.fakes import World
from tests.server.front import stack


def references(node: Any) -> Iterator[str]:
    """Every `$ref` of a document."""
    match node:
        case dict():
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        case list():
            for value in node:
                yield from references(value)
        case _:
            pass


def shown_in_url(parameters: Any) -> Iterator[tuple[str, str]]:
    """Examples of path and query by name, written as they say."""
    for parameter in parameters:
        whole = parameter.get("content", {}).get("application/json")
        if whole is not None and "example" in whole:
            yield parameter["name"], orjson.dumps(whole["example"]).decode()
        elif "example" in parameter:
            shown = parameter["example"]
            if isinstance(shown, list):
                assert parameter["explode"] is False
                shown = ",".join(map(str, shown))
            yield parameter["name"], str(shown)


def resolves(document: Any, reference: str) -> bool:
    at = document
    for part in reference.removeprefix("#/").split("/"):
        if part not in at:
            return False
        at = at[part]
    return True


async def registry() -> Registry:
    async with stack() as s:
        return s.registry


async def test_every_reference_leads_somewhere() -> None:
    table = await registry()
    for document in (schema.openapi(table, "1"), schema.asyncapi(table, "1")):
        found = list(references(document))
        assert found
        assert [ref for ref in found if not resolves(document, ref)] == []
        orjson.dumps(document)


async def test_openapi_has_every_op_that_http_has_and_every_alias() -> None:
    table = await registry()
    document = schema.openapi(table, "1")

    for name, op in table.ops.items():
        assert (f"/api/{name}" in document["paths"]) is (name not in BOUND)
        for alias in op.http:
            method, _, path = alias.partition(" ")
            assert method.lower() in document["paths"][path]
    alias = document["paths"]["/api/toys/{text}"]["get"]
    places = {p["name"]: (p["in"], p["required"]) for p in alias["parameters"]}
    assert places["text"] == ("path", True)
    assert places["amount"] == ("query", False)
    body = document["paths"]["/api/toys"]["post"]["requestBody"]
    assert "text" in body["content"]["application/json"]["schema"]["properties"]


async def test_every_alias_shows_the_example_of_its_op_as_it_would_be_sent() -> None:
    async with World().life() as system:
        table = system.registry
        document = schema.openapi(table, "1")

        for op in table.ops.values():
            for method, _, path in (alias.partition(" ") for alias in op.http):
                shown = document["paths"][path][method.lower()]
                body = shown.get("requestBody", {}).get("content", {}).get("application/json", {})
                parameters = shown["parameters"]
                assert {p["name"] for p in parameters if p["required"]} <= {
                    name for name, _ in shown_in_url(parameters)
                }, (method, path)
                assert ("example" in body) is ("requestBody" in shown)
                args = dict(body.get("example", {}))
                for name, value in shown_in_url(parameters):
                    args[name] = typed(op, name, value)
                read(op.params, args)
                if all(f"{{{name}}}" not in path or name in op.example for name in args):
                    assert args.keys() == op.example.keys()


async def test_both_documents_say_what_is_answered_and_where_that_is_not_described_yet() -> None:
    table = await registry()
    over_http, over_socket = schema.openapi(table, "1"), schema.asyncapi(table, "1")

    def answered(op: str) -> Any:
        done = over_http["paths"][f"/api/{op}"]["post"]["responses"]["200"]
        reply, made = done["content"]["application/json"]["schema"]["allOf"]
        assert reply == {"$ref": "#/components/schemas/Reply"}
        assert over_socket["channels"][op.replace(".", "_")]["messages"]["done"]["payload"] == {
            "allOf": [{"$ref": "#/components/messages/reply/payload"}, schema.draft7(made)]
        }
        return made["properties"]["result"]

    assert answered("ping")["properties"].keys() == {"recv_ts", "buffered", "skipped"}
    assert answered("toy.read") == OPEN
    operation = over_socket["operations"]["ping"]["reply"]
    assert [resolves(over_socket, one["$ref"]) for one in operation["messages"]] == [True, True]


async def test_openapi_says_how_a_request_names_its_client() -> None:
    async with stack() as s:
        document = schema.openapi(s.registry, "1")
        shown = {"$ref": "#/components/parameters/client"}
        described = document["components"]["parameters"]["client"]

        for path in ("/api/toy.place", "/api/toys/{text}"):
            assert document["paths"][path]["parameters"] == [shown]
        assert (described["name"], described["in"]) == ("client", "query")
        for name in ("bot-7", "a" * 32, "", "a%20b", "a" * 33):
            page = await s.request("POST", f"/api/ping?client={name}", {})
            allowed = re.search(described["schema"]["pattern"], name) is not None
            assert (page.status == 200) is allowed, name


async def test_asyncapi_says_what_the_options_of_a_connection_may_be() -> None:
    document = schema.asyncapi(await registry(), "1")
    options = document["channels"]["ws"]["bindings"]["ws"]["query"]["properties"]

    for name, described in options.items():
        for number in range(-1, 1_020):
            try:
                protocol.options(f"{name}={number}&batch=1".encode())
            except Refused:
                taken = False
            else:
                taken = True
            if name != "batch":  # which would be there twice
                assert (re.search(described["pattern"], str(number)) is not None) is taken


async def test_what_is_about_a_connection_is_not_described_for_http() -> None:
    async with World().life() as system:
        document = schema.openapi(system.registry, "1")
        shown = document["paths"]["/api/deadman"]["post"]
        body = shown["requestBody"]["content"]["application/json"]

        assert body["example"] == {"timeout": 60}
        assert "grace" not in body["schema"]["properties"]
        assert "501" in shown["responses"]


async def test_asyncapi_has_an_operation_with_reply_per_op_and_a_message_per_type() -> None:
    table = await registry()
    document = schema.asyncapi(table, "1")

    for name in table.ops:
        key = name.replace(".", "_")
        assert (key in document["operations"]) is (name not in HTTP_ONLY)
    for kind in ("welcome", "reply", "snapshot", "update", "notice", "heartbeat"):
        assert kind in document["components"]["messages"]
    assert document["operations"]["toy_place"]["action"] == "receive"
    assert document["operations"]["send_update"]["action"] == "send"
    subscribe = document["components"]["messages"]["subscribe"]["payload"]
    assert subscribe["required"] == ["op", "channels"]
    assert subscribe["additionalProperties"] is False


def test_schemas_are_put_into_draft_07() -> None:
    made = schema.draft7(
        {
            "discriminator": {"propertyName": "do", "mapping": {}},
            "prefixItems": [{"type": "string"}],
            "properties": {"discriminator": {"type": "string"}},
        }
    )

    assert made == {
        "discriminator": "do",
        "items": [{"type": "string"}],
        "properties": {"discriminator": {"type": "string"}},
    }


async def test_tables_have_a_row_for_everything() -> None:
    table = await registry()
    made = manual.tables(table)

    assert set(made) == {"ops", "channels", "errors", "notices", "reasons", "closes", "lanes"}
    for name in table.ops:
        assert f"`{name}`" in made["ops"]
    assert "`toy.place`, `toy.put`" in made["ops"]
    for text in made.values():
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()}
        assert len(widths) == 1


async def test_the_page_is_whole_and_has_nothing_a_strict_policy_forbids() -> None:
    page = manual.page(await registry(), "<1>")

    assert "&lt;1&gt;" in page
    assert "<code>toy.place</code>" in page
    assert not re.search(r"<script|<style|style=|https?:|<[^>]* on[a-z]+=", page)


async def test_types_name_every_message_and_op() -> None:
    table = await registry()
    text = types(table)

    for name in table.ops:
        assert f"  '{name}': " in text
    for kind in ("Welcome", "Reply", "Snapshot", "Update", "Notice", "Heartbeat"):
        assert f"export interface {kind} " in text
    assert (
        "export type ChannelParams = { channel: string; since?: SinceParams | null; snapshot?: boolean };"
        in text
    )
    assert "'toy.place': { mode?: 'paper' | 'live' | null;" in text
    assert "items?: Array<number>" in text
    assert "  'ping': { recv_ts: number; buffered: number; skipped: number };" in text
    assert "  'toy.read': Record<string, unknown>;" in text
    assert "channels: '*' | Array<string>" in text
