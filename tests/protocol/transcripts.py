"""Transcripts of the protocol document: parsed, played, and compared by the rules of its section 1."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson


Json = dict[str, Any]

FENCE: Final = re.compile(r"^```transcript(?: (\w+))?$")
BOUND: Final = frozenset({"session", "epoch", "command", "confirm", "order_id"})
"""Fields whose texts stand for values; `id` too, inside `result` and `data`."""
LOOSE: Final = frozenset({"ts", "asof", "recv_ts", "server", "message"})
"""Fields that must be there, with any value; those ending in `_at` or `_ts` too."""
STEPS: Final = frozenset(
    {
        "connect",
        "cut",
        "restart",
        "clock",
        "market",
        "fill",
        "feed",
        "venue",
        "raw",
        "http",
        "closed",
    }
)
PATIENCE_S: Final = 3.0
"""Virtual time an expected message may take."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its sign, its text, and where it stands."""

    sign: str
    text: str
    number: int


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    fixture: str
    number: int
    lines: tuple[Line, ...]

    @property
    def name(self) -> str:
        """Where it begins."""
        return f"line-{self.number}"


def blocks(document: str) -> list[Block]:
    """Find all transcripts of a document.

    Raises:
        ValueError: A line that is none of `> < !`, or an unknown step.
    """
    found: list[Block] = []
    fixture: str | None = None
    begin, lines = 0, list[Line]()
    for number, text in enumerate(document.splitlines(), 1):
        fence = FENCE.match(text)
        if fixture is None and fence:
            fixture, begin, lines = fence[1] or "desk", number, []
        elif fixture is not None and text == "```":
            found.append(Block(fixture, begin, tuple(lines)))
            fixture = None
        elif fixture is not None:
            lines.append(_line(text, number))
    return found


def _line(text: str, number: int) -> Line:
    sign, space, rest = text[:1], text[1:2], text[2:]
    if sign not in {">", "<", "!"} or space != " ":
        raise ValueError(f"line {number} is none of > < !: {text[:60]}")
    if sign == "!" and rest.split(" ")[0] not in STEPS:
        raise ValueError(f"line {number}: no step '{rest}'")
    if sign == ">":
        orjson.loads(rest)
    if sign == "<":
        orjson.loads(rest[4:] if re.match(r"\d{3} ", rest) else rest)
    return Line(sign, rest, number)


# --- comparing ------------------------------------------------------------------------------------


@dataclass
class Names:
    """What the texts of a block stand for.

    Attributes:
        values: By shown text, the received value.
        seqs: By channel, the first shown and the first received `seq`.
    """

    values: dict[str, object] = field(default_factory=dict)
    seqs: dict[str, tuple[int, int]] = field(default_factory=dict)

    def bind(self, key: str, shown: str, got: object) -> str | None:
        """Let a text stand for a value, for ever; gives the difference."""
        if shown in self.values:
            if self.values[shown] != got:
                return f"{key} {shown} stood for {self.values[shown]!r}, now {got!r}"
            return None
        if not isinstance(got, str):
            return f"{key} is no text: {got!r}"
        if got in self.values.values():
            return f"{key} {shown} is {got!r}, which another text stands for"
        self.values[shown] = got
        return None

    def number(self, channel: str, shown: int, got: object) -> str | None:
        """Compare a `seq` by its distance to the first of its channel."""
        if not isinstance(got, int):
            return f"seq is no number: {got!r}"
        first_shown, first_got = self.seqs.setdefault(channel, (shown, got))
        if got - first_got != shown - first_shown:
            return f"seq of {channel} is {got}, not {first_got + shown - first_shown}"
        return None


def differences(expected: Json, got: Json, names: Names) -> Iterator[str]:
    """Name everything that differs; binds names on the way."""
    yield from _object(expected, got, names, "", inside=False, channel=None)


def matches(expected: Json, got: Json, names: Names) -> list[str]:
    """Compare, and keep what was bound only if there is no difference."""
    trial = deepcopy(names)
    found = list(differences(expected, got, trial))
    if not found:
        names.values, names.seqs = trial.values, trial.seqs
    return found


def _object(
    expected: Json, got: Json, names: Names, path: str, *, inside: bool, channel: str | None
) -> Iterator[str]:
    channel = expected.get("channel", channel)
    for key, shown in expected.items():
        where = f"{path}.{key}" if path else key
        if key not in got:
            yield f"{where} is missing"
        elif key in LOOSE or key.endswith(("_at", "_ts")):
            continue
        elif key == "seq" and channel is not None:
            yield from _told(where, names.number(channel, shown, got[key]))
        elif isinstance(shown, str) and (key in BOUND or (key == "id" and inside)):
            yield from _told(where, names.bind(key, shown, got[key]))
        elif key == "at":
            for name, position in shown.items():
                if name not in got[key]:
                    yield f"{where}.{name} is missing"
                else:
                    yield from _object(
                        position,
                        got[key][name],
                        names,
                        f"{where}.{name}",
                        inside=inside,
                        channel=name,
                    )
        else:
            within = inside or key in {"result", "data"}
            yield from _value(shown, got[key], names, where, inside=within, channel=channel)


def _told(where: str, difference: str | None) -> Iterator[str]:
    if difference is not None:
        yield f"{where}: {difference}"


def _value(
    shown: Any, got: Any, names: Names, path: str, *, inside: bool, channel: str | None
) -> Iterator[str]:
    match shown:
        case dict() if isinstance(got, dict):
            yield from _object(shown, got, names, path, inside=inside, channel=channel)
        case list() if isinstance(got, list):
            if len(shown) != len(got):
                yield f"{path} has {len(got)} items, not {len(shown)}: {got!r}"
            elif path.endswith(".set"):
                yield from _rows(shown, got, names, path, inside=inside, channel=channel)
            else:
                for index, (one, other) in enumerate(zip(shown, got, strict=True)):
                    where = f"{path}[{index}]"
                    yield from _value(one, other, names, where, inside=inside, channel=channel)
        case _:
            same = shown == got and isinstance(shown, bool) == isinstance(got, bool)
            if not same:
                yield f"{path} is {got!r}, not {shown!r}"


def _rows(
    shown: list[Any], got: list[Any], names: Names, path: str, *, inside: bool, channel: str | None
) -> Iterator[str]:
    """Compare rows in any order."""
    rest = list(got)
    for index, row in enumerate(shown):
        where = f"{path}[{index}]"
        first: list[str] | None = None
        for candidate in rest:
            trial = deepcopy(names)
            found = list(_value(row, candidate, trial, where, inside=inside, channel=channel))
            if not found:
                names.values, names.seqs = trial.values, trial.seqs
                rest.remove(candidate)
                break
            first = first or found
        else:
            yield from first or [f"{where} is missing"]


def sent(frame: Json, names: Names) -> Json:
    """Put values for names into a frame to be sent."""
    return _translate(frame, names, None)


def _translate(frame: Mapping[str, Any], names: Names, channel: str | None) -> Json:
    channel = frame.get("channel", channel)
    made: Json = {}
    for key, value in frame.items():
        match value:
            case str() if key in BOUND:
                made[key] = names.values.get(value, value)
            case int() if key == "seq" and channel in names.seqs:
                first_shown, first_got = names.seqs[channel]
                made[key] = first_got + value - first_shown
            case dict():
                made[key] = _translate(value, names, channel)
            case list():
                made[key] = [
                    _translate(item, names, channel) if isinstance(item, dict) else item
                    for item in value
                ]
            case _:
                made[key] = value
    return made


# --- what has been received -----------------------------------------------------------------------


def lane(message: Mapping[str, Any]) -> str:
    """Name the order that a message is in: its channel, or replies and notices together."""
    match message["type"]:
        case "snapshot" | "update":
            return f"channel {message['channel']}"
        case "reply" | "notice":
            return "replies"
        case other:
            return str(other)


class Mismatch(AssertionError):
    """What was received is not what the document shows."""


class Received:
    """The messages of one connection, and how far each lane has been read."""

    def __init__(self) -> None:
        self._lanes: dict[str, list[Json]] = {}
        self._at: dict[str, int] = {}

    def add(self, message: Json) -> None:
        """Take a message."""
        self._lanes.setdefault(lane(message), []).append(message)

    def find(self, expected: Json, names: Names) -> list[str] | None:
        """Look for the next message that fits; those before it in its lane are not shown, hence skipped.

        Returns:
            None when it was found; else the differences of the nearest one, none when there was none.

        Raises:
            Mismatch: The reply to this very request is another.
        """
        name = lane(expected)
        messages = self._lanes.get(name, [])
        nearest: list[str] = []
        for index in range(self._at.get(name, 0), len(messages)):
            found = matches(expected, messages[index], names)
            if not found:
                self._at[name] = index + 1
                return None
            if expected["type"] == "reply" and messages[index].get("id") == expected.get("id"):
                raise Mismatch("; ".join(found) + f"\nreceived {messages[index]}")
            if not nearest or len(found) < len(nearest):
                nearest = found
        return nearest

    def unread(self) -> list[Json]:
        """Give what no line has shown yet, for the report."""
        return [m for name, all_ in self._lanes.items() for m in all_[self._at.get(name, 0) :]]


# --- playing --------------------------------------------------------------------------------------


class Link(Protocol):
    """A connection of a world."""

    async def receive(self, seconds: float) -> Json | None:
        """Give the next message; None when there is none within virtual `seconds`, or it is closed."""

    def text(self, text: str) -> None:
        """Send a text frame."""

    async def closed(self, seconds: float) -> int | None:
        """Wait for the close, and give its code."""

    async def cut(self) -> None:
        """Go away without a close frame."""


class World(Protocol):
    """A server for one block, on a virtual clock."""

    async def connect(self, path: str) -> Link:
        """Open a socket."""

    async def restart(self) -> None:
        """Kill the server and start it on the same journal."""

    async def clock(self, seconds: float) -> None:
        """Let time pass."""

    async def market(self, step: int) -> None:
        """Play a step of 6.3 and let a second pass."""

    async def fill(self) -> None:
        """Let both resting orders fill."""

    async def feed(self, state: str) -> None:
        """Make the feed `silent`, or bring it `back`."""

    async def venue(self, what: str) -> None:
        """`lose`: accept the next order, and lose the answer."""

    async def http(self, method: str, path: str, body: str) -> tuple[int, Json]:
        """Send a request."""


class Player:
    """Plays one block in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = Names()
        self._link: Link | None = None
        self._received = Received()
        self._page: tuple[int, Json] | None = None

    async def play(self, block: Block) -> None:
        """Play it.

        Raises:
            Mismatch: With the line and the difference.
        """
        first = block.lines[0]
        if not (first.sign == "!" and first.text.startswith("connect ")):
            await self._connect("/ws")
            await self._expect({"type": "welcome"}, first)
        for line in block.lines:
            match line.sign:
                case ">":
                    frame = sent(orjson.loads(line.text), self._names)
                    self._socket(line).text(orjson.dumps(frame).decode())
                case "<" if re.match(r"\d{3} ", line.text):
                    self._expect_page(int(line.text[:3]), orjson.loads(line.text[4:]), line)
                case "<":
                    await self._expect(orjson.loads(line.text), line)
                case _:
                    await self._step(line)

    def _socket(self, line: Line) -> Link:
        if self._link is None:
            raise Mismatch(f"line {line.number}: there is no connection")
        return self._link

    async def _connect(self, path: str) -> None:
        self._link = await self._world.connect(path)
        self._received = Received()

    async def _step(self, line: Line) -> None:
        word, _, rest = line.text.partition(" ")
        world = self._world
        match word:
            case "connect":
                await self._connect(rest)
            case "cut":
                await self._socket(line).cut()
                self._link = None
            case "restart":
                self._link = None
                await world.restart()
            case "clock":
                await world.clock(float(rest))
            case "market":
                await world.market(int(rest))
            case "fill":
                await world.fill()
            case "feed":
                await world.feed(rest)
            case "venue":
                await world.venue(rest)
            case "raw":
                self._socket(line).text(rest)
            case "http":
                method, path, *body = rest.split(" ", 2)
                self._page = await world.http(method, path, body[0] if body else "")
            case _:
                code = await self._socket(line).closed(PATIENCE_S)
                if code != int(rest):
                    raise Mismatch(f"line {line.number}: closed with {code}, not {rest}")

    def _expect_page(self, status: int, expected: Json, line: Line) -> None:
        page, self._page = self._page, None
        if page is None:
            raise Mismatch(f"line {line.number}: no request was sent")
        found = matches(expected, page[1], self._names)
        if page[0] != status:
            found.insert(0, f"status is {page[0]}, not {status}")
        if found:
            raise Mismatch(f"line {line.number}: {'; '.join(found)}\nreceived {page[1]}")

    async def _expect(self, expected: Json, line: Line) -> None:
        link = self._socket(line)
        try:
            while (nearest := self._received.find(expected, self._names)) is not None:
                message = await link.receive(PATIENCE_S)
                if message is None:
                    break
                self._received.add(message)
        except Mismatch as mismatch:
            raise Mismatch(f"line {line.number}: {mismatch}") from None
        if nearest is not None:
            told = "; ".join(nearest) or f"no {lane(expected)} came"
            unread = "\n".join(orjson.dumps(m).decode()[:400] for m in self._received.unread())
            raise Mismatch(f"line {line.number}: {told}\nnot shown so far:\n{unread}")
