"""Frames made of the protocol's own schemas, and what damage does to them (promises T5 and S10).

Every frame gets a coded reply or a documented close, never a fault of ours. A seed that found something is printed.
"""

import asyncio
import copy
import json
import os
import random
import secrets
import string
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime.hub.protocol import CLOSES
from realtime.model.errors import Code
from tests.flows.process import Process
from tests.promises import LONG
from tests.protocol.document import GOLDEN


SECONDS: Final = int(os.environ.get("FUZZ_S") or (1_800 if LONG else 20))
TOGETHER: Final = 50
"""Frames that are sent before their replies are waited for; then one alone, which is timed."""
PATIENCE_S: Final = 60.0
HANG_MS: Final = 100.0
IDLE: Final = 0.1
"""Share of a processor that the market and the beats of the server take meanwhile, and some more."""
LIMITS: Final = {
    # Else most would be `rate_limited`, and prove little.
    "REALTIME_LIMITS__SAFETY_PER_S": "100000",
    "REALTIME_LIMITS__SUBSCRIBES_PER_S": "100000",
    "REALTIME_LOG__LEVEL": "critical",
}
DOCUMENT: Final[dict[str, Any]] = orjson.loads((GOLDEN / "asyncapi.json").read_bytes())
SCHEMAS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
OPS: Final[tuple[dict[str, Any], ...]] = tuple(
    message["payload"]
    for message in DOCUMENT["components"]["messages"].values()
    if "op" in message["payload"].get("properties", {}) and message["name"] != "bye"
)
SYMBOLS: Final = ("BTC/USDT", "ETH/USDT")
ODD: Final[tuple[object, ...]] = (
    None,
    True,
    0,
    -1,
    2**53 - 1,
    2**53 + 1,
    10**30,
    1e308,
    -0.0,
    5e-324,
    "",
    " ",
    "0",
    "-0",
    "1e5",
    "NaN",
    "Infinity",
    "9" * 40,
    "0." + "0" * 30 + "1",
    "\x00",
    "\u202e\ufeff",
    "../../etc/passwd",
    "'; DROP TABLE orders; --",
    "__proto__",
    "x" * 300,
    "x" * 5_000,
    [],
    {},
    [[[[[[[[]]]]]]]],
    {"$ref": "#"},
    [None] * 300,
    {str(number): number for number in range(300)},
)


class Fuzzer:
    """Makes frames of a seed."""

    def __init__(self, seed: str) -> None:
        self.chance = random.Random(seed)
        self._known: list[str] = []

    def frame(self, number: int) -> str:
        """One frame: as the document says, or with something wrong."""
        chance = self.chance
        made: dict[str, Any] = self.value(chance.choice(OPS))
        made["id"] = f"f-{number}"
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2))):
            self.twist(made)
        text = json.dumps(made)  # orjson has no larger integers
        return self.damage(text) if chance.random() < 0.01 else text

    def value(self, schema: Mapping[str, Any], name: str = "") -> Any:
        """Something that a schema allows, as far as it is known here."""
        chance = self.chance
        if "$ref" in schema:
            return self.value(SCHEMAS[schema["$ref"].rpartition("/")[2]], name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return chance.choice(schema["enum"])
        for kind in ("anyOf", "oneOf"):
            if kind in schema:
                return self.value(chance.choice(schema[kind]), name)
        kind = schema.get("type", "null")
        if isinstance(kind, list):
            kind = chance.choice(kind)
        if name in {"symbol", "symbols"} and kind == "string" and chance.random() < 0.9:
            return chance.choice(SYMBOLS)
        match kind:
            case "object":
                return self.fields(schema)
            case "array":
                least = schema.get("minItems", 0)
                count = chance.randint(least, max(least, min(schema.get("maxItems", 3), 3)))
                return [self.value(schema.get("items", {}), name) for _ in range(count)]
            case "integer":
                low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
                high = schema.get("maximum", schema.get("exclusiveMaximum", low + 1_000))
                return chance.randint(int(low), int(high))
            case "number":
                low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
                return chance.uniform(low, schema.get("maximum", low + 10))
            case "boolean":
                return chance.random() < 0.5
            case "string":
                return self.text(schema)
            case _:
                return None

    def fields(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """An object: what it must have and some of what it may."""
        chance = self.chance
        needed = schema.get("required", ())
        found = {
            name: self.value(inner, name)
            for name, inner in schema.get("properties", {}).items()
            if name in needed or chance.random() < 0.2
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict) and "properties" not in schema:
            for name in chance.sample(SYMBOLS, chance.randint(0, 2)):
                found[name] = self.value(more, name)
        return found

    def text(self, schema: Mapping[str, Any]) -> str:
        chance = self.chance
        if schema.get("format") == "decimal":
            return str(chance.choice(("0", "0.001", "0.01", "1", "64000", "63000.5", "0.1", "250")))
        if "examples" in schema and chance.random() < 0.5:
            return str(chance.choice(schema["examples"]))
        if self._known and chance.random() < 0.5:
            return chance.choice(self._known)
        size = min(schema.get("maxLength", 12), 12)
        made = "".join(chance.choices(string.ascii_lowercase, k=max(size, 1)))
        self._known = [*self._known[-30:], made]
        return made

    def twist(self, made: dict[str, Any]) -> None:
        """Take a field away, put another one in, or something else in its place."""
        chance = self.chance
        where: Any = made
        while True:
            inner = [item for item in _items(where) if isinstance(item, dict | list) and item]
            if not inner or chance.random() < 0.5:
                break
            where = chance.choice(inner)
        odd = copy.deepcopy(chance.choice(ODD))
        if isinstance(where, list):
            where[chance.randrange(len(where))] = odd
            return
        name = chance.choice(list(where))
        match chance.randrange(4):
            case 0:
                del where[name]
            case 1:
                where[str(chance.choice(("x", "__proto__", "op", "reason", "")))] = odd
            case _:
                where[name] = odd

    def damage(self, text: str) -> str:
        """Break the text of a frame."""
        chance = self.chance
        at = chance.randrange(len(text))
        match chance.randrange(4):
            case 0:
                return text[:at]
            case 1:
                return text[:at] + chance.choice('{}[]",:\\\x000NaN') + text[at:]
            case 2:
                return text[:at] + text[at + 1 :]
            case _:
                return text * 2


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def processor_s(pid: int) -> float:
    """Time on a processor of a process's first thread, which is that of the loop [s]; waiting for one is no hang."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


PING: Final = '{"op":"ping","id":1}'


class Answers:
    """What came back."""

    def __init__(self) -> None:
        self.sent = 0
        self.held_ms, self.held_by = 0.0, ""
        self.codes: Counter[str] = Counter()
        self.closes: Counter[int | None] = Counter()

    async def alone(
        self, socket: ClientConnection, other: ClientConnection, frame: str, pid: int
    ) -> None:
        """Send one frame; remember the one during which the loop worked longest without a look at another client."""
        asked = asyncio.ensure_future(self.batch(socket, [frame]))
        began, spent = time.monotonic(), processor_s(pid)
        while not asked.done():
            await other.send(PING)
            while orjson.loads(await other.recv())["type"] != "reply":
                pass
            now, used = time.monotonic(), processor_s(pid)
            held = used - spent - IDLE * (now - began)
            began, spent = now, used
            if held * 1_000 > self.held_ms:
                self.held_ms, self.held_by = held * 1_000, frame
            await asyncio.wait({asked}, timeout=0.002)
        await asked

    async def batch(self, socket: ClientConnection, frames: list[str]) -> None:
        """Send frames and wait for as many replies, or for the close."""
        waiting = len(frames)
        self.sent += waiting
        for frame in frames:
            await socket.send(frame)
        async with asyncio.timeout(PATIENCE_S):
            while waiting:
                message = orjson.loads(await socket.recv())
                if message["type"] == "reply":
                    waiting -= 1
                    code = "ok" if message["ok"] else message["error"]["code"]
                    self.codes[code] += 1
                    assert code == "ok" or code in set(Code), message
                    assert code != "internal", (message, frames)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.slow
@pytest.mark.promise("T5")
@pytest.mark.promise("S10")
async def test_whatever_frames_are_sent_get_a_coded_reply_or_a_documented_close(
    tmp_path: Path,
) -> None:
    seed = os.environ.get("FUZZ_SEED") or secrets.token_hex(4)
    print(f"seed {seed}: FUZZ_SEED={seed} makes the same frames again")
    fuzzer, answers = Fuzzer(seed), Answers()
    env = LIMITS | {"XDG_STATE_HOME": str(tmp_path)}
    server = await asyncio.to_thread(Process.serve, tmp_path / "j.db", **env)
    frames: list[str] = []
    end = time.monotonic() + SECONDS
    with server:
        while time.monotonic() < end:
            async with (
                connect(server.socket, compression=None, max_size=None) as socket,
                connect(server.socket, compression=None, max_size=None) as other,
            ):
                try:
                    while time.monotonic() < end:
                        frames = [fuzzer.frame(answers.sent + n) for n in range(TOGETHER)]
                        await answers.batch(socket, frames)
                        frames = [fuzzer.frame(answers.sent)]
                        await answers.alone(socket, other, frames[0], server.process.pid)
                except ConnectionClosed:
                    answers.closes[socket.close_code] += 1
                    assert socket.close_code in set(CLOSES), frames
        assert server.process.poll() is None, "the server died of it"
    for promise in ("T5", "S10"):
        print(
            f"{promise}: {answers.sent} frames in {SECONDS} s: {dict(answers.codes.most_common())}, "
            f"closes {dict(answers.closes)}; none held the loop longer than {answers.held_ms:.1f} ms"
        )
    assert answers.held_ms <= HANG_MS, answers.held_by
