"""The rules by which transcripts are read and compared: what must be equal, and what may differ."""

import asyncio
from typing import Any

import pytest

from tests.protocol.transcripts import (
    Block,
    Json,
    Line,
    Mismatch,
    Names,
    Player,
    Received,
    blocks,
    matches,
    sent,
)


DOCUMENT = """\
# Something

```transcript locked
! connect /ws
> {"op":"ping"}
< {"type":"reply","ok":true}
```

```json
> not ours
```

```transcript
! http GET /api/x
< 200 {"a":1}
```
"""


def test_blocks_are_found_with_their_fixture_and_lines() -> None:
    found = blocks(DOCUMENT)

    assert [(b.fixture, b.name, len(b.lines)) for b in found] == [
        ("locked", "line-3", 3),
        ("desk", "line-13", 2),
    ]
    assert found[0].lines[1] == Line(">", '{"op":"ping"}', 5)


@pytest.mark.parametrize(
    "line", ["hello", ">{}", "! dance", "> {", "< {", "< 200 {", "? x", ""], ids=repr
)
def test_a_line_that_is_none_of_the_kinds_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        blocks(f"```transcript\n{line}\n```")


def differ(expected: Json, got: Json, names: Names | None = None) -> bool:
    return bool(matches(expected, got, names or Names()))


@pytest.mark.parametrize(
    ("expected", "got", "different"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1}, {}, True),
        ({"a": 1}, {"a": True}, True),
        ({"a": 1}, {"a": "1"}, True),
        ({"a": None}, {"a": None}, False),
        ({"a": None}, {"a": 0}, True),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}, False),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": []}, {"a": [1]}, True),
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [1]}, {"a": {"0": 1}}, True),
        ({"a": {}}, {"a": []}, True),
        ({"ts": 1}, {"ts": 2}, False),
        ({"ts": 1}, {}, True),
        ({"asof": 1, "message": "x"}, {"asof": 2, "message": "y"}, False),
        ({"fires_at": 1, "created_ts": 1}, {"fires_at": 2, "created_ts": 2}, False),
        ({"id": 1}, {"id": 2}, True),
        ({"id": "r"}, {"id": "s"}, True),
    ],
)
def test_shown_fields_must_be_equal_and_further_ones_may_be_there(
    expected: Json,
    got: Json,
    different: bool,  # noqa: FBT001
) -> None:
    assert differ(expected, got) is different


def test_rows_of_a_set_come_in_any_order() -> None:
    shown = {"data": {"set": [{"id": "o-1", "n": 1}, {"id": "o-2", "n": 2}]}}

    assert not differ(shown, {"data": {"set": [{"id": "b", "n": 2}, {"id": "a", "n": 1}]}})
    assert differ(shown, {"data": {"set": [{"id": "b", "n": 2}, {"id": "a", "n": 2}]}})
    assert differ(shown, {"data": {"set": [{"id": "b", "n": 2}]}})


def test_a_text_stands_for_one_value_in_the_whole_block() -> None:
    names = Names()

    assert not differ({"result": {"id": "o-1"}}, {"result": {"id": "x"}}, names)
    assert not differ({"data": {"order_id": "o-1"}}, {"data": {"order_id": "x"}}, names)
    assert differ({"data": {"order_id": "o-1"}}, {"data": {"order_id": "y"}}, names)
    assert differ({"epoch": "o-2"}, {"epoch": "x"}, names)
    assert differ({"epoch": "k"}, {"epoch": 5}, names)


def test_what_did_not_match_binds_nothing() -> None:
    names = Names()

    assert differ({"epoch": "k", "a": 1}, {"epoch": "x", "a": 2}, names)
    assert names == Names()


def test_seq_is_compared_by_its_distance_to_the_first_of_the_channel() -> None:
    names = Names()

    assert not differ({"channel": "a", "seq": 10}, {"channel": "a", "seq": 3}, names)
    assert not differ({"channel": "a", "seq": 12}, {"channel": "a", "seq": 5}, names)
    assert differ({"channel": "a", "seq": 12}, {"channel": "a", "seq": 6}, names)
    assert not differ({"channel": "b", "seq": 10}, {"channel": "b", "seq": 99}, names)
    assert not differ({"at": {"a": {"seq": 11}}}, {"at": {"a": {"seq": 4}}}, names)
    assert differ({"at": {"a": {"seq": 11}}}, {"at": {"a": {"seq": 5}}}, names)
    assert differ({"at": {"a": {"seq": 11}}}, {"at": {"b": {"seq": 4}}}, names)
    assert differ({"channel": "a", "seq": 10}, {"channel": "a", "seq": None}, names)


def test_names_and_numbers_are_put_into_what_is_sent() -> None:
    names = Names(values={"k": "real", "c-1": "token"}, seqs={"a": (10, 3)})
    frame = {
        "op": "subscribe",
        "id": 1,
        "confirm": "c-1",
        "channels": ["a", {"channel": "a", "since": {"epoch": "k", "seq": 12}}],
        "client_order_id": "k",
    }

    assert sent(frame, names) == {
        "op": "subscribe",
        "id": 1,
        "confirm": "token",
        "channels": ["a", {"channel": "a", "since": {"epoch": "real", "seq": 5}}],
        "client_order_id": "k",
    }


# --- order ----------------------------------------------------------------------------------------


def update(channel: str, n: int) -> Json:
    return {"type": "update", "channel": channel, "data": n}


def test_order_counts_within_a_channel_and_not_across() -> None:
    received = Received()
    for message in (update("a", 1), update("b", 1), update("a", 2), update("a", 3)):
        received.add(message)

    assert received.find(update("a", 2), Names()) is None
    assert received.find(update("b", 1), Names()) is None
    assert received.find(update("a", 1), Names()) == ["data is 3, not 1"]
    assert received.find(update("a", 3), Names()) is None
    assert received.find(update("c", 1), Names()) == []
    assert received.unread() == []


def test_the_reply_to_a_request_must_be_the_one_shown() -> None:
    received = Received()
    received.add({"type": "reply", "id": 1, "ok": True})

    with pytest.raises(Mismatch, match="ok is True, not False"):
        received.find({"type": "reply", "id": 1, "ok": False}, Names())


def test_replies_and_notices_share_one_order() -> None:
    received = Received()
    received.add({"type": "reply", "id": 1, "ok": True})
    received.add({"type": "notice", "event": "stale"})

    assert received.find({"type": "notice", "event": "stale"}, Names()) is None
    assert received.find({"type": "reply", "id": 1, "ok": True}, Names()) == []


# --- playing --------------------------------------------------------------------------------------


class Echo:
    """A connection that answers every frame as its script says."""

    def __init__(self, script: list[Json]) -> None:
        self.script = script
        self.sent: list[str] = []
        self.code: int | None = None
        self.was_cut = False

    async def receive(self, seconds: float) -> Json | None:
        if not self.script:
            await asyncio.sleep(seconds)
            return None
        return self.script.pop(0)

    def text(self, text: str) -> None:
        self.sent.append(text)

    async def closed(self, seconds: float) -> int | None:
        await asyncio.sleep(seconds)
        return self.code

    async def cut(self) -> None:
        self.was_cut = True


class Stage:
    """A world that notes what it is told."""

    def __init__(self, *script: Json) -> None:
        self.link = Echo([{"type": "welcome"}, *script])
        self.done: list[Any] = []

    async def connect(self, path: str) -> Echo:
        self.done.append(path)
        return self.link

    async def restart(self) -> None:
        self.done.append("restart")

    async def clock(self, seconds: float) -> None:
        self.done.append(seconds)

    async def market(self, step: int) -> None:
        self.done.append(step)

    async def fill(self) -> None:
        self.done.append("fill")

    async def feed(self, state: str) -> None:
        self.done.append(state)

    async def venue(self, what: str) -> None:
        self.done.append(what)

    async def http(self, method: str, path: str, body: str) -> tuple[int, Json]:
        self.done.append((method, path, body))
        return 200, {"a": 1}


def block(*lines: str) -> Block:
    return blocks("\n".join(["```transcript", *lines, "```"]))[0]


async def test_every_step_reaches_the_world() -> None:
    stage = Stage({"type": "reply", "id": 1, "ok": True})
    stage.link.code = 1000
    await Player(stage).play(
        block(
            '> {"op":"ping","id":1}',
            '< {"type":"reply","id":1}',
            "! clock 1.5",
            "! market 2",
            "! fill",
            "! feed silent",
            "! venue lose",
            "! raw hello there",
            '! http POST /api/x {"a":1}',
            '< 200 {"a":1}',
            "! http GET /api/y",
            '< 200 {"a":1}',
            "! closed 1000",
            "! cut",
            "! restart",
            "! connect /ws?x=1",
        )
    )

    assert stage.done == [
        "/ws",
        1.5,
        2,
        "fill",
        "silent",
        "lose",
        ("POST", "/api/x", '{"a":1}'),
        ("GET", "/api/y", ""),
        "restart",
        "/ws?x=1",
    ]
    assert stage.link.sent == ['{"op":"ping","id":1}', "hello there"]
    assert stage.link.was_cut


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['< {"type":"update","channel":"a"}'], "line 2: no channel a came"),
        (['< {"type":"reply","id":1,"ok":false}'], "line 2: ok is True, not False"),
        (["! closed 4401"], "line 2: closed with None, not 4401"),
        (["! http GET /x", '< 404 {"a":1}'], "line 3: status is 200, not 404"),
        (["! http GET /x", '< 200 {"a":2}'], "line 3: a is 1, not 2"),
        (['< 200 {"a":1}'], "line 2: no request was sent"),
        (["! cut", '> {"op":"ping"}'], "line 3: there is no connection"),
    ],
    ids=["nothing came", "other reply", "not closed", "status", "body", "no request", "no link"],
)
async def test_a_difference_fails_with_its_line(lines: list[str], message: str) -> None:
    stage = Stage({"type": "reply", "id": 1, "ok": True}, {"type": "heartbeat"})

    with pytest.raises(Mismatch, match=message):
        await Player(stage).play(block(*lines))
