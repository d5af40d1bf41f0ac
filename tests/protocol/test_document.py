"""The document and the golden files are what the registry says (conformance items 55 and 56)."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Collection, Sequence
from functools import cache, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.commands.help import MEANINGS
from realtime.commands.params import read
from realtime.commands.registry import Registry
from realtime.hub.hub import Reason
from realtime.hub.protocol import NOTICES, REASONS, Close
from realtime.model.errors import Code, Refused
from realtime.server.schema import kinds_of
from tests.protocol.document import AGAIN, DOCUMENT, GOLDEN, ROOT, files, filled, removed
from tests.protocol.world import AppWorld


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    async with AppWorld(tmp_path, locked=False) as world:
        yield world.system.registry


async def test_55_56_document_and_golden_files_are_what_the_registry_says(
    registry: Registry,
) -> None:
    for path, body in files(registry).items():
        assert path.read_bytes() == body, f"{path.name}: {AGAIN}"


@pytest.mark.parametrize("name", ["asyncapi", "openapi"])
async def test_56_nothing_was_taken_away(name: str, registry: Registry) -> None:
    golden = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    now = orjson.loads(files(registry)[GOLDEN / f"{name}.json"])

    assert list(removed(golden, now)) == []


# Each gives, of a text, whether its parser takes it, and the remarks. Resolved, every operation of AsyncAPI holds the
# whole channel, twice: three million nodes. Where they are frozen, nimma walks through them all; else only where a rule
# looks. That takes a third off the time and nothing off the rules. The schema of AsyncAPI itself is compiled once, not
# for each text.
PARSERS = {
    "asyncapi": """
require("immer").setAutoFreeze(false);
const ajv = require("@stoplight/spectral-functions/dist/schema/ajv");
const instances = ajv.createAjvInstances();
ajv.createAjvInstances = () => instances;
const { Parser } = require("@asyncapi/parser");
const judge = async (text) => {
  const { document, diagnostics } = await new Parser().parse(text);
  return [document !== undefined, diagnostics.map((d) => `${d.path.join("/")}: ${d.message}`)];
};
""",
    "openapi": """
const { validate } = require("@readme/openapi-parser");
const judge = async (text) => {
  const { valid, errors = [], warnings = [] } = await validate(JSON.parse(text));
  return [valid, [...errors, ...warnings].map((e) => e.message)];
};
""",
}
JUDGE = """
(async () => {
  const made = [];
  for (const text of JSON.parse(require("node:fs").readFileSync(0, "utf8"))) made.push(await judge(text));
  console.log(JSON.stringify(made));
})();
"""


PARTS = 4
"""Of the document for AsyncAPI's parser, whose work grows with the square of the operations; the whole is `slow`."""
Way = tuple[str, ...]


def led_to(node: object) -> set[Way]:
    """Where the references of a node lead."""
    found = re.findall(r'"\$ref":"#/([^"]*)"', orjson.dumps(node).decode())
    paths = {tuple(text.split("/")) for text in found}
    return {path[:3] if path[0] == "components" else path for path in paths}


def part(document: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    """An AsyncAPI document with these operations alone, and no more of the rest than they lead to."""
    operations = {name: document["operations"][name] for name in names}
    channels, components = document["channels"], document["components"]
    led: set[Way] = set()
    new = led_to(operations) | {
        ("channels", "ws", "messages", "reply")
    }  # what no operation of its own has
    while new:
        led |= new
        # Each operation leads to the channel of all messages, and not by that to the messages of the others.
        new = led_to([reduce(getitem, path, document) for path in new - {("channels", "ws")}]) - led
    kept = {
        n: m
        for n, m in channels["ws"]["messages"].items()
        if ("channels", "ws", "messages", n) in led
    }
    return document | {
        "operations": operations,
        "channels": {n: row for n, row in channels.items() if ("channels", n) in led}
        | {"ws": channels["ws"] | {"messages": kept}},
        "components": {
            kind: {n: row for n, row in rows.items() if ("components", kind, n) in led}
            for kind, rows in components.items()
        },
    }


def parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    """An AsyncAPI document in parts."""
    names = list(document["operations"])
    return [part(document, names[first::PARTS]) for first in range(PARTS)]


def joined(one: Any, other: Any) -> Any:
    """Two parts as one."""
    if not isinstance(one, dict):
        assert one == other
        return one
    return (
        one | other | {name: joined(one[name], other[name]) for name in one.keys() & other.keys()}
    )


def test_56_the_parts_are_the_whole_document() -> None:
    golden = orjson.loads((GOLDEN / "asyncapi.json").read_bytes())

    assert reduce(joined, parts(golden)) == golden


def judged(name: str, texts: Sequence[str]) -> list[tuple[bool, list[str]]]:
    """What the official parser says of documents; skips where it is not there."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "@asyncapi").is_dir():
        pytest.skip("no Node.js here" if node is None else "no parsers here: npm ci")
    done = subprocess.run(
        [node, "-e", PARSERS[name] + JUDGE],
        input=orjson.dumps(texts),
        capture_output=True,
        cwd=ROOT,
        timeout=300,
        check=True,
    )
    return [(passes, remarks) for passes, remarks in orjson.loads(done.stdout)]


@cache
def sentences(name: str) -> list[tuple[bool, list[str]]]:
    """What it says of the golden document, last of one with a fault."""
    golden = orjson.loads((GOLDEN / f"{name}.json").read_bytes())
    planted = {name: golden[name], "info": {"version": "1"}, "paths": {}}
    whole = parts(golden) if name == "asyncapi" else [golden]
    return judged(name, [orjson.dumps(one).decode() for one in (*whole, planted)])


@pytest.mark.parametrize("name", PARSERS)
def test_56_the_official_parsers_take_the_documents(name: str) -> None:
    *good, _ = sentences(name)

    assert good == [(True, [])] * len(good)


@pytest.mark.slow
def test_56_the_official_parser_takes_the_whole_document_at_once() -> None:
    assert judged("asyncapi", [(GOLDEN / "asyncapi.json").read_text()]) == [(True, [])]


@pytest.mark.parametrize("name", PARSERS)
def test_56_the_official_parsers_find_a_planted_fault(name: str) -> None:
    passes, remarks = sentences(name)[-1]

    assert not passes
    assert remarks


def test_55_codes_notices_reasons_and_closes_are_those_of_the_document() -> None:
    text = DOCUMENT.read_text()
    reasons = re.search(r"^`reason` of a snapshot: (.*?)\. `lost`", text, re.MULTILINE)
    assert reasons is not None

    assert set(MEANINGS) == set(Code) - {Code.ABSENT}
    assert set(re.findall(r"`([a-z_]+)`(?= ?[(,.]|$)", reasons[1] + ".")) == set(REASONS)
    assert {str(reason) for reason in Reason} == set(REASONS)
    for name in (*MEANINGS, *NOTICES):
        assert f"`{name}`" in text
    for code in Close:
        assert f"| {int(code)} | {code.reason} |" in text


@pytest.mark.parametrize(
    ("old", "new", "gone"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {}, ["/a"]),
        ({"a": {"b": 1}}, {"a": 1}, ["/a/b"]),
        ({"a": 1}, {"a": 2}, ["/a: 1 became 2"]),
        ({"a": [1, 2]}, {"a": [2, 1, 3]}, []),
        ({"a": [1, 2]}, {"a": [2]}, ["/a[1]"]),
        ({"a": [1]}, {"a": {}}, ["/a[1]"]),
        ({"summary": "x"}, {"summary": "y"}, []),
    ],
)
def test_taking_away_is_noticed(old: object, new: object, gone: list[str]) -> None:
    assert list(removed(old, new)) == gone


def test_tables_are_put_into_their_places() -> None:
    text = "a\n<!-- table: x -->\nold\n<!-- end -->\nb"

    assert filled(text, {"x": "| new |\n"}) == "a\n<!-- table: x -->\n| new |\n<!-- end -->\nb"


async def test_an_op_that_names_a_symbol_says_that_it_may_not_be_found(registry: Registry) -> None:
    silent = [
        op.name
        for op in registry.ops.values()
        if {"symbol", "symbols"} & set(op.params.model_fields) and Code.NOT_FOUND not in op.errors
    ]
    assert silent == []


async def test_a_text_of_digits_is_no_number_whatever_the_op(registry: Registry) -> None:
    for op in registry.ops.values():
        for name, schema in op.params.model_json_schema()["properties"].items():
            if not kinds_of(schema) & {"number", "integer"} or "string" in kinds_of(schema):
                continue
            with pytest.raises(Refused) as caught:
                read(op.params, {**op.example, name: "1"})
            assert caught.value.details is not None
            wrong = [field["field"] for field in caught.value.details["fields"]]  # type: ignore[attr-defined]
            assert name in wrong, f"{op.name} {name}"


TEXTS = (
    *("", "a", "BTC/USDT", "a b", "é", "日本", "0", "0.00", "0.5", "-0.5", "1e3", "\u0663", "2026-01-01"),
    *("a\nb", "\n", "a\n", "\0", "\x7f", "\x85", "\xa0", "\u200b", "\u2028", "\u202e", "\ufeff", "\u3000"),
    *("\u0662\u0660\u0662\u0666-01-01", "x" * 65, "x" * 501, "9" * 19),
)  # fmt: skip


def allows(schema: Any, text: str, parts: Any) -> bool:
    """Whether a schema takes a text, as far as ours go; patterns are ECMA's, whose `$` is the very end."""
    if "$ref" in schema:
        return allows(parts[schema["$ref"].rpartition("/")[2]], text, parts)
    if kinds := schema.get("anyOf") or schema.get("oneOf"):
        return any(allows(one, text, parts) for one in kinds)
    if "not" in schema and allows(schema["not"], text, parts):
        return False
    kinds = schema.get("type", "string")
    return (
        "string" in ([kinds] if isinstance(kinds, str) else kinds)
        and text in schema.get("enum", [schema.get("const", text)])
        and schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 1_000)
        and re.search(schema.get("pattern", "").replace("$", r"\Z"), text) is not None
    )


async def test_every_text_that_the_schema_of_an_argument_allows_is_taken_and_no_other(
    registry: Registry,
) -> None:
    taken = 0
    for op in registry.ops.values():
        schema = op.params.model_json_schema(ref_template="#/{model}")
        for name, argument in schema["properties"].items():
            if "date-time" in str(argument):
                continue  # it takes more than its format says: every form of ISO 8601 with a zone
            for text in TEXTS:
                refused = False
                try:
                    read(op.params, {**op.example, name: text})
                except Refused as why:
                    fields = (why.details or {})["fields"]
                    refused = any(field["field"] == name for field in fields)  # type: ignore[attr-defined]
                allowed = allows(argument, text, schema.get("$defs"))
                assert refused is not allowed, (op.name, name, text, argument)
                taken += allowed
    assert taken > 1_000
