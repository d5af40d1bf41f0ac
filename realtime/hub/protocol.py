"""The wire format `realtime.v1`: bytes to requests, facts to bytes (protocol document, sections 2 to 4).

No other file knows the field names of `welcome`, `reply`, `notice` and `heartbeat`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeGuard
from urllib.parse import parse_qsl

import orjson

from realtime.model.errors import Code, Failure, Refused, invalid
from realtime.model.frozen import frozen


VERSION: Final = 1
SUBPROTOCOL: Final = "realtime.v1"
FEATURES: Final = ("batch", "resume", "deadman", "preview", "confirm")
FRAME_BYTES: Final = 65_536
DEPTH: Final = 16
"""Nesting of a frame at most; the deepest op needs four."""
NAME: Final = 64
"""Characters of an op's name at most: it is echoed."""
SAFE_INTEGER: Final = 2**53
HELP: Final = 'try {"op":"help"}'


class Close(IntEnum):
    """Close codes; 44xx: change something first, 45xx: come back and resume."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TOO_BIG = 1009
    PROTOCOL_ERROR = 4400
    UNAUTHORIZED = 4401
    FORBIDDEN = 4403
    FLOODING = 4429
    INTERNAL = 4500
    SHUTDOWN = 4503
    SLOW_CONSUMER = 4508

    @property
    def reason(self) -> str:
        """The name that stands in the close frame."""
        names = {Close.GOING_AWAY: "going away", Close.TOO_BIG: "too big"}
        return names.get(self, self.name.lower())


CLOSES: Final[Mapping[Close, str]] = {
    Close.NORMAL: "`bye`",
    Close.GOING_AWAY: "the browser left",
    Close.TOO_BIG: "client frame over 64 KiB",
    Close.PROTOCOL_ERROR: "binary frame, or 20 unreadable frames in a minute",
    Close.UNAUTHORIZED: "no `auth` in 10 s, expired, revoked, bad ticket",
    Close.FORBIDDEN: "this principal may not connect",
    Close.FLOODING: "`retry_after` ignored three times",
    Close.INTERNAL: "our fault",
    Close.SHUTDOWN: "after the notice `shutdown`",
    Close.SLOW_CONSUMER: "replies beyond 64 KiB and a longer one unread, or a journaled log beyond its ring",
}

NOTICES: Final[Mapping[str, str]] = {
    "stale": "a source went silent or came back",
    "shutdown": "the server stops; `in`, and `reconnect_after`, a slot of this connection's own, in s",
    "auth_expiring": "60 s before expiry",
    "unsubscribed": "the server ended subscriptions: `channels`, `data.code`",
    "deadman_fired": "a dead man's timer of this (subject, client) fired",
    "order_resolved": "an unknown outcome of this (subject, client) was resolved",
}

REASONS: Final[Mapping[str, str]] = {
    "subscribe": "asked for",
    "resume_failed": "`since` is not held any more",
    "lag": "the reader was too slow; `lost` says how much of a log will not come",
    "upstream": "the source was repaired; takes the next `seq`",
    "reset": "reserved, never sent so far",
}


# --- options of the address ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the query of `/ws` asks for.

    Attributes:
        client: None when the server is to make one up.
        every: Data frames at most each so many ms; 0 = whenever something is due.
        heartbeat: Interval [s].
    """

    client: str | None = None
    batch: bool = False
    every: int = 0
    heartbeat: int = 5
    ticket: str | None = None


_CLIENT: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)
_TICKET: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,3}", re.ASCII)


def options(query: bytes, *, heartbeat: int = 5) -> Options:
    """Read the query string of `/ws`.

    Args:
        query: As it came, percent-encoded, without `?`.
        heartbeat: The interval when none is asked for [s].

    Raises:
        Refused: `bad_request`, for an unknown or malformed option.
    """
    given: dict[str, str] = {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(query),
            max_num_fields=16,
        )
    except ValueError:
        raise Refused(Code.BAD_REQUEST, "malformed query; use /ws?option=value&...") from None
    for name, value in pairs:
        if name not in {"client", "batch", "every", "heartbeat", "ticket"}:
            raise Refused(Code.BAD_REQUEST, f"unknown option '{name[:40]}'")
        if name in given:
            raise Refused(Code.BAD_REQUEST, f"option {name} given twice")
        given[name] = value
    every = pace(_number(given, "every", 0))
    if (batch := given.get("batch", "1" if every else "0")) not in {"0", "1"}:
        raise Refused(Code.BAD_REQUEST, "batch is 0 or 1")
    if every and batch == "0":
        raise Refused(Code.BAD_REQUEST, "every implies batch=1")
    seconds = _number(given, "heartbeat", heartbeat)
    if not 1 <= seconds <= 30:
        raise Refused(Code.BAD_REQUEST, "heartbeat is 1 to 30 s")
    for name, form in (("client", _CLIENT), ("ticket", _TICKET)):
        if name in given and not form.fullmatch(given[name]):
            raise Refused(Code.BAD_REQUEST, f"{name} must match ^{form.pattern}$")
    return Options(
        client=given.get("client"),
        batch=batch == "1",
        every=every,
        heartbeat=seconds,
        ticket=given.get("ticket"),
    )


def client_name(text: str) -> str:
    """Check the name of a client, as `?client=` of HTTP gives it.

    Raises:
        Refused: `bad_request`.
    """
    if not _CLIENT.fullmatch(text):
        raise Refused(Code.BAD_REQUEST, f"client must match ^{_CLIENT.pattern}$")
    return text


def pace(every: int) -> int:
    """Check a pace [ms].

    Raises:
        Refused: `bad_request`, unless it is 0, or 10 to 1000 in steps of 10.
    """
    if every and not (10 <= every <= 1000 and every % 10 == 0):
        raise Refused(Code.BAD_REQUEST, "every is 0, or 10 to 1000 ms in steps of 10")
    return every


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    if name not in given:
        return default
    if not _NUMBER.fullmatch(given[name]):
        raise Refused(Code.BAD_REQUEST, f"{name} must be a number")
    return int(given[name])


# --- frames from the client ----------------------------------------------------------------------


Id = int | str | None


@frozen(kw_only=True)
class Request:
    """A readable frame.

    Attributes:
        id: As sent, None when there was none.
        args: Without `op` and `id`.
        problem: Set when the frame can be answered but must not be carried out.
    """

    id: Id
    op: str
    args: dict[str, object]
    problem: Refused | None = None


MOST_SAID: Final = 1_000
"""Characters of a text of an error at most."""
_LONG_NUMBER: Final = re.compile(r"[0-9]{16}|[0-9][eE]", re.ASCII)
_SIMPLE: Final = frozenset({str, bool, type(None)})
"""Types of values that are neither numbers nor have others in them."""


def load(text: str | bytes) -> dict[str, object]:
    """Read one JSON object.

    Raises:
        Refused: `bad_request`: not JSON, not an object, nested too deep.
    """
    frame = _object(text)
    if not _is_simple(frame):
        _check_depth(text, frame)
    return frame


def inexact(args: Mapping[str, object]) -> Refused | None:
    """Refuse the first number that JSON does not carry exactly; None when all are fine."""
    field = beyond(args)
    if field is None:
        return None
    message = "numbers beyond 2^53 are not exact in JSON; send a decimal string"
    return invalid(field, message)


def decode(text: str) -> Request:
    """Read one frame.

    Raises:
        Refused: `bad_request`, for what is not an object with a usable `op` and `id`.
    """
    frame = _object(text)
    simple = _is_simple(frame)
    if not simple:
        _check_depth(text, frame)
    mark = frame.pop("id", None)
    if not _is_id(mark):
        raise Refused(
            Code.BAD_REQUEST, "id must be an integer or a string of at most 64 characters"
        )
    op = frame.pop("op", None)
    if not isinstance(op, str):
        raise Refused(Code.BAD_REQUEST, f"op must be a string; {HELP}" if op else f"no op; {HELP}")
    if len(op) > NAME:
        raise Refused(Code.BAD_REQUEST, f"op is longer than {NAME} characters; {HELP}")
    # Most frames have texts alone; looking for long numbers in the text first spares most others the walk.
    if simple or _is_simple(frame) or _LONG_NUMBER.search(text) is None:
        return Request(id=mark, op=op, args=frame)
    return Request(id=mark, op=op, args=frame, problem=inexact(frame))


def _object(text: str | bytes) -> dict[str, object]:
    try:
        frame: object = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refused(Code.BAD_REQUEST, _not_json(error)) from None
    if not isinstance(frame, dict):
        raise Refused(Code.BAD_REQUEST, f"not an object; {HELP}")
    return frame


def _check_depth(text: str | bytes, frame: dict[str, object]) -> None:
    if _many(text) and _too_deep(frame):
        raise Refused(Code.BAD_REQUEST, f"nested deeper than {DEPTH}")


def _is_simple(frame: Mapping[str, object]) -> bool:
    """Tell whether no value is a number or has others in it."""
    return _SIMPLE.issuperset(map(type, frame.values()))


def _many(text: str | bytes) -> bool:
    """Tell whether there are brackets enough to nest too deep, which costs less than to look."""
    if isinstance(text, str):
        return text.count("{") + text.count("[") > DEPTH
    return text.count(b"{") + text.count(b"[") > DEPTH


def _not_json(error: orjson.JSONDecodeError) -> str:
    if "depth" in error.msg:
        return f"nested deeper than {DEPTH}"
    return f"not JSON at character {error.pos + 1}; {HELP}"


def _is_id(mark: object) -> TypeGuard[Id]:
    match mark:
        case None:
            return True
        case bool():
            return False
        case int():
            return abs(mark) <= SAFE_INTEGER
        case str():
            return len(mark) <= 64
        case _:
            return False


def _too_deep(value: dict[str, object]) -> bool:
    """Whether a decoded value nests beyond `DEPTH`; level by level, because a stack of our own has no limit."""
    level: list[dict[str, object] | list[object]] = [value]
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def beyond(value: object, path: str = "") -> str | None:
    """Name the first number of a decoded object that JSON cannot carry exactly; None when all are fine."""
    match value:
        case dict():
            places = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        case list():
            places = [(f"{path}.{index}", item) for index, item in enumerate(value)]
        case bool():
            return None
        case int() | float():
            return path if abs(value) > SAFE_INTEGER else None
        case _:
            return None
    return next((found for where, item in places if (found := beyond(item, where))), None)


# --- messages to the client ----------------------------------------------------------------------


def welcome(fields: Mapping[str, object]) -> bytes:
    """Encode `welcome`; the caller gives every field of 2.2 but `type` and `v`."""
    return orjson.dumps({"type": "welcome", "v": VERSION, **fields})


def reply(
    *,
    mark: Id,
    op: str | None,
    ts: int,
    result: Mapping[str, object] | None = None,
    error: Mapping[str, object] | None = None,
    at: Mapping[str, object] | None = None,
) -> bytes:
    """Encode a reply.

    Args:
        mark: The request's `id`; None leaves it out.
        op: None leaves it out (an unreadable frame).
        ts: Wire ms.
        result: Of success.
        error: Of failure; decides `ok`.
        at: Where the effect is visible.

    Raises:
        TypeError: The result holds something JSON has no form for.
    """
    made: dict[str, object] = {"type": "reply"}
    if mark is not None:
        made["id"] = mark
    if op is not None:
        made["op"] = op
    return orjson.dumps(outcome(made, ts=ts, result=result, error=error, at=at))


def outcome(
    made: dict[str, object],
    *,
    ts: int,
    result: Mapping[str, object] | None,
    error: Mapping[str, object] | None,
    at: Mapping[str, object] | None,
) -> dict[str, object]:
    """Add to a reply what those over a socket and over HTTP have in common."""
    made["ok"] = error is None
    made["ts"] = ts
    if error is None:
        made["result"] = {} if result is None else result
    else:
        made["error"] = error
    if at:
        made["at"] = at
    return made


def notice(
    event: str, *, ts: int, data: Mapping[str, object], channels: Sequence[str] = ()
) -> bytes:
    """Encode a notice."""
    made: dict[str, object] = {"type": "notice", "event": event, "ts": ts}
    if channels:
        made["channels"] = channels
    made["data"] = data
    return orjson.dumps(made)


def heartbeat(*, ts: int, asof: Mapping[str, int | None]) -> bytes:
    """Encode a heartbeat: per venue, the time of its last proof of life [ms]."""
    return orjson.dumps({"type": "heartbeat", "ts": ts, "asof": asof})


def refusal(error: Failure) -> dict[str, object]:
    """Make the `error` object of a reply."""
    made: dict[str, object] = {
        "code": error.code,
        "message": _cut(error.message),
        "outcome": error.code.outcome,
    }
    if error.retry_after is not None:
        made["retry_after"] = error.retry_after
    if error.details:
        made["details"] = error.details
        if error.code is Code.INVALID and isinstance(fields := error.details.get("fields"), list):
            short = [{name: _cut(said) for name, said in field.items()} for field in fields]
            made["details"] = {**error.details, "fields": short}
    return made


def _cut(said: object) -> object:
    """Leave out what only repeats a frame to its sender, such as a name of 60,000 characters."""
    if isinstance(said, str) and len(said) > MOST_SAID:
        return f"{said[:MOST_SAID]}…"
    return said
