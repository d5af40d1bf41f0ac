"""The document and the golden files are what the registry says (conformance items 55 and 56)."""

import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

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


PARSERS = {
    "asyncapi": """
const { Parser } = require("@asyncapi/parser");
new Parser().parse(text).then(({ document, diagnostics }) =>
  console.log(JSON.stringify([document !== undefined, diagnostics.map((d) => `${d.path.join("/")}: ${d.message}`)])));
""",
    "openapi": """
const { validate } = require("@readme/openapi-parser");
validate(JSON.parse(text)).then(({ valid, errors = [], warnings = [] }) =>
  console.log(JSON.stringify([valid, [...errors, ...warnings].map((e) => e.message)])));
""",
}
READ = 'const text = require("node:fs").readFileSync(process.argv[1], "utf8");'


def judged(name: str, file: Path) -> tuple[bool, list[str]]:
    """Whether the official parser takes a document, and its remarks; skips where the parser is not there."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "@asyncapi").is_dir():
        pytest.skip("no Node.js here" if node is None else "no parsers here: npm ci")
    asked = [node, "-e", READ + PARSERS[name], str(file)]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    passes, remarks = orjson.loads(done.stdout)
    return passes, remarks


@pytest.mark.parametrize("name", PARSERS)
def test_56_the_official_parsers_take_the_documents(name: str) -> None:
    assert judged(name, GOLDEN / f"{name}.json") == (True, [])


@pytest.mark.parametrize("name", PARSERS)
def test_56_the_official_parsers_find_a_planted_fault(name: str, tmp_path: Path) -> None:
    version = orjson.loads((GOLDEN / f"{name}.json").read_bytes())[name]
    file = tmp_path / "document.json"
    file.write_bytes(orjson.dumps({name: version, "info": {"version": "1"}, "paths": {}}))

    passes, remarks = judged(name, file)

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
