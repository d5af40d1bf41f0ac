"""The protocol explains itself."""

from typing import Any

import orjson
import pytest
from pydantic import BaseModel

from realtime.commands import connection, help as help_ops
from realtime.commands.help import MEANINGS, TRY, codes_of
from realtime.commands.registry import ANONYMOUS
from realtime.hub.channels import TOPICS
from realtime.model.errors import Code
from tests.commands.kit import Desk
from tests.commands.test_connection import Guard
from tests.fakes import BUY, World


@pytest.fixture
def desk() -> Desk:
    desk = Desk(*connection.ops(Guard(), dict))
    for op in help_ops.ops(desk.registry):
        desk.registry.add(op)
    return desk


def about(desk: Desk, word: str | None = None) -> Any:
    args: dict[str, Any] = {} if word is None else {"about": word}
    reply = desk.call("help", principal=ANONYMOUS, **args)
    assert reply.ok, reply.error
    return orjson.loads(orjson.dumps(reply.result))


def test_without_arguments_it_lists_what_there_is(desk: Desk) -> None:
    result = about(desk)

    assert set(result["ops"]) == set(desk.registry.ops)
    assert len(result["channels"]) == len(TOPICS)
    assert result["try"] == list(TRY)
    for line in TRY:
        assert "op" in orjson.loads(line)


def test_an_op_is_explained_with_schema_and_example(desk: Desk) -> None:
    result = about(desk, "subscribe")

    assert result["op"] == "subscribe"
    assert (result["scope"], result["lane"], result["idempotency"]) == ("read", "sub", "absolute")
    assert result["confirm"] is False
    assert result["http"] == ["POST /api/subscribe"]
    assert result["schema"]["required"] == ["channels"]
    assert result["example"]["op"] == "subscribe"
    assert result["result"]["required"] == ["channels", "failed"]
    assert "Code" in result["result"]["$defs"]


def test_what_takes_long_is_made_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in review: 95 of these, asked for before `auth`, held up everybody for over a second."""
    first = about(desk, "subscribe")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(BaseModel, "model_json_schema", never)

    assert about(desk, "subscribe") == first


@pytest.mark.parametrize("word", ["ops", "channels", "errors"])
def test_the_lists_are_complete(desk: Desk, word: str) -> None:
    rows = about(desk, word)[word]
    sizes = {"ops": len(desk.registry.ops), "channels": len(TOPICS), "errors": len(MEANINGS)}

    assert len(rows) == sizes[word]


@pytest.mark.parametrize("word", ["ticker", "ticker:BTC/USDT", "ticker?rate=100"])
def test_a_channel_is_explained_by_its_topic(desk: Desk, word: str) -> None:
    result = about(desk, word)

    assert result["topic"] == "ticker"
    assert result["class"] == "value"
    assert result["options"][0]["name"] == "rate"


@pytest.mark.parametrize("code", list(MEANINGS))
def test_every_error_code_is_explained(desk: Desk, code: Code) -> None:
    result = about(desk, code.value)

    assert result["http"] == code.http
    assert result["meaning"]


def test_codes_of_rows_are_not_errors_of_the_wire() -> None:
    assert set(MEANINGS) == set(Code) - {Code.ABSENT}


@pytest.mark.parametrize(
    ("word", "hint"), [("subscrib", "subscribe"), ("tiker", "ticker"), ("zzz", "help")]
)
def test_an_unknown_word_comes_with_a_hint(desk: Desk, word: str, hint: str) -> None:
    reply = desk.call("help", about=word)

    assert reply.code is Code.NOT_FOUND
    assert reply.error is not None
    assert hint in str(reply.error["message"])


async def test_an_op_names_the_codes_that_stand_before_it() -> None:
    """Found by an audit: a stopping server answers `busy`, a policy may ask back, and neither was named."""
    world = World()
    async with world.life() as system:
        ops = system.registry.ops
        told = await world.call("help", about="order.place")
        system.registry.draining = True
        refused = await world.call("order.place", **BUY)

        assert told.result is not None
        assert {refused.code, Code.CONFIRM_REQUIRED} <= set(codes_of(ops["order.place"]))
        assert told.result["errors"] == codes_of(ops["order.place"])
        for op in ops.values():
            codes = codes_of(op)
            assert sorted(set(codes)) == sorted(codes)
            assert set(op.errors) <= set(codes)
            assert (Code.BUSY in codes) >= (op.command and op.lane != "safety")
            assert (Code.CONFIRM_REQUIRED in codes) >= (op.effect is not None)
        assert Code.BUSY not in codes_of(ops["order.cancel"])
        assert not {Code.BUSY, Code.CONFIRM_REQUIRED} & set(codes_of(ops["order.list"]))


async def test_every_list_gives_as_many_rows_as_its_schema_allows() -> None:
    """Symptom: decisions and signals said 1,000, and refused more than 500."""
    world = World()
    async with world.life() as system:
        for op in system.registry.ops.values():
            of = op.params.model_json_schema()["properties"].get("limit", {})
            if "maximum" in of:
                reply = await world.call(op.name, **{**op.example, "limit": of["maximum"]})
                assert reply.code is not Code.INVALID, (op.name, reply)
