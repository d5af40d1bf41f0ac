"""Documents made from a registry: their form; what they say of the whole system stands in the golden files."""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from realtime.commands.registry import BOUND, HTTP_ONLY, Registry
from realtime.server import manual, schema
from realtime.server.typescript import types
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
    assert "channels: '*' | Array<string>" in text
