"""What goes wrong, on demand: faults of endpoints and sockets that a test (or a curious person) scripts.

A target is a name: `POST /v5/order/create` for a request, `private:order` (socket and topic) for a frame, `order` for
the acceptance of an order on the floor. Patterns are those of `fnmatch`: `*order/create`, `public/*:orderbook*`.

    faults.once("*order/create", Fault(Kind.DROP, executed=True))     # accepted, answer lost
    faults.script("*order/create", [OK, OK, Fault(Kind.HTML)])        # the third one
    faults.always("GET *", Fault(Kind.SLOW, seconds=0.2))
    faults.strike("private", Fault(Kind.CLOSE, code=1012))            # sockets that are open now

Rules of this file: (1) a request or a frame meets one fault at most, the oldest script first; (2) what was done is
kept in `done`, so that a test can tell a fault that happened from one that never did.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from realtime.emulate.serving import EXTENSION


class Kind(StrEnum):
    """What happens.

    Requests: `OK` nothing (a place in a script), `ERROR` status 500, `UNAVAILABLE` 503, `RATE_LIMITED` 429, `CODE`
    the venue's own code, `HTML` a page with status 200, `TRUNCATED` half of the body, `HANG` no answer, `DROP` the
    connection is reset, `SLOW` the answer comes late.
    Floor (target `order`): `LATE` the order is accepted and shown to nobody for `seconds`.
    Frames to the client: `SWALLOW` it is lost, `DUPLICATE` sent twice, `REORDER` sent behind the next one, `SLOW`,
    `GAP` (order books) the book is wrong behind it, by what the venue has for that: a number that does not follow, a
    checksum that is not its own.
    Sockets: `CLOSE` with a code, `ABORT` a reset, `HALF_CLOSE` our side says end of stream, `HALF_OPEN` nothing goes
    in or out and nobody says so, `FROZEN` no data, but pongs, `MUTED` data, but no pongs, `THAW` ends the last three.
    """

    OK = "ok"
    ERROR = "error"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    CODE = "code"
    HTML = "html"
    TRUNCATED = "truncated"
    HANG = "hang"
    DROP = "drop"
    SLOW = "slow"
    LATE = "late"
    SWALLOW = "swallow"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    GAP = "gap"
    CLOSE = "close"
    ABORT = "abort"
    HALF_CLOSE = "half_close"
    HALF_OPEN = "half_open"
    FROZEN = "frozen"
    MUTED = "muted"
    THAW = "thaw"


STRIKES: Final = frozenset(
    {
        Kind.CLOSE, Kind.ABORT, Kind.HALF_CLOSE, Kind.HALF_OPEN, Kind.FROZEN, Kind.MUTED, Kind.THAW,
    }
)  # fmt: skip
"""What can be done to an open socket."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: What happens.
        executed: Whether the request is carried out before it goes wrong: `HANG` or `DROP` with this is "accepted,
            answer lost". A truncated answer always is.
        seconds: Of `SLOW` and `LATE`.
        code: Of `CODE` (the venue's number) and `CLOSE` (the socket's).
        message: Of `CODE`.
    """

    kind: Kind
    executed: bool = False
    seconds: float = 0.0
    code: int | str = 0
    message: str = ""


OK: Final = Fault(Kind.OK)
LOST: Final = Fault(Kind.DROP, executed=True)
"""Accepted, and the connection is gone before the answer."""


class Struck(Protocol):
    """An open socket, as `strike` sees it."""

    @property
    def name(self) -> str:
        """Such as `private` or `public/spot`."""

    def strike(self, fault: Fault) -> None:
        """Let a fault of `STRIKES` happen now."""


class Faults:
    """The scripts of one emulation.

    Attributes:
        clock_ms: How far the emulated exchange's clock is ahead [ms].
        expired: Keys that were valid once.
        sockets: Open sockets.
        done: (target, fault) that happened, newest last.
    """

    def __init__(self) -> None:
        self.clock_ms = 0
        self.expired: set[str] = set()
        self.sockets: list[Struck] = []
        self.done: deque[tuple[str, Fault]] = deque(maxlen=10_000)
        self._scripts: list[tuple[str, deque[Fault]]] = []
        self._standing: list[tuple[str, Fault]] = []

    def once(self, target: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` matches meet a fault."""
        self.script(target, [fault] * times)

    def script(self, target: str, faults: Iterable[Fault]) -> None:
        """Let the next matches meet these, one each; `OK` lets one pass."""
        self._scripts.append((target, deque(faults)))

    def always(self, target: str, fault: Fault) -> None:
        """Let every match meet a fault, until `clear`."""
        self._standing.append((target, fault))

    def clear(self, target: str | None = None) -> None:
        """Forget all scripts, or those given for one target; clock and keys are right again without one."""
        self._scripts = [each for each in self._scripts if target not in {None, each[0]}]
        self._standing = [each for each in self._standing if target not in {None, each[0]}]
        if target is None:
            self.clock_ms = 0
            self.expired.clear()

    def strike(self, target: str, fault: Fault) -> int:
        """Let a fault happen to the open sockets of that name; returns to how many."""
        if fault.kind not in STRIKES:
            raise ValueError(f"{fault.kind} is not a fault of open sockets")
        struck = [socket for socket in self.sockets if fnmatchcase(socket.name, target)]
        for socket in struck:
            self.done.append((socket.name, fault))
            socket.strike(fault)
        return len(struck)

    def take(self, target: str, *kinds: Kind) -> Fault | None:
        """The fault that `target` meets now; None for none.

        Args:
            target: A name, not a pattern.
            kinds: Only of these; scripts whose turn is another kind are left alone.
        """
        if not (self._scripts or self._standing):
            return None
        for place, (pattern, script) in enumerate(self._scripts):
            if not fnmatchcase(target, pattern):
                continue
            if kinds and script[0].kind not in kinds and script[0].kind is not Kind.OK:
                continue
            fault = script.popleft()
            if not script:
                del self._scripts[place]
            return self._happened(target, fault)
        for pattern, fault in self._standing:
            if fnmatchcase(target, pattern) and (not kinds or fault.kind in kinds):
                return self._happened(target, fault)
        return None

    def count(self, kind: Kind) -> int:
        """How often a kind has happened."""
        return sum(fault.kind is kind for _, fault in self.done)

    def _happened(self, target: str, fault: Fault) -> Fault | None:
        if fault.kind is Kind.OK:
            return None
        self.done.append((target, fault))
        return fault


# --- requests ---------------------------------------------------------------------------------


PAGE: Final = b"<html><head><title>Please wait</title></head><body>One moment.</body></html>"

Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers, body."""

InCode = Callable[[Scope, Fault], Answer]
"""How a venue says a code of its own."""


class FaultyRequests:
    """An ASGI application whose requests go wrong as scripted; sockets pass through.

    Args:
        app: What answers when nothing goes wrong.
        faults: The scripts; the target is method and path, e.g. `POST /v5/order/create`.
        in_code: How the venue puts a code (`Kind.CODE`, `Kind.RATE_LIMITED`) into an answer.
    """

    def __init__(self, app: ASGIApp, faults: Faults, in_code: InCode) -> None:
        self._app = app
        self._faults = faults
        self._in_code = in_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        fault = self._faults.take(f"{scope['method']} {scope['path']}")
        if fault is None:
            await self._app(scope, receive, send)
            return
        await self._faulty(fault, scope, receive, send)

    async def _faulty(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        kind = fault.kind
        if kind is Kind.SLOW:
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)
            return
        answer = None
        if fault.executed or kind is Kind.TRUNCATED:
            answer = await answer_of(self._app, scope, receive)
        match kind:
            case Kind.HANG:
                while (await receive())["type"] != "http.disconnect":
                    pass
            case Kind.DROP:
                await _end(scope, receive)
            case Kind.TRUNCATED:
                assert answer is not None
                status, headers, body = answer
                await send({"type": "http.response.start", "status": status, "headers": headers})
                half = body[: len(body) // 2]
                await send({"type": "http.response.body", "body": half, "more_body": True})
                await _end(scope, receive, politely=True)
            case Kind.ERROR | Kind.UNAVAILABLE:
                status = 500 if kind is Kind.ERROR else 503
                await reply(send, (status, _headed(b"text/html", PAGE), PAGE))
            case Kind.HTML:
                await reply(send, (200, _headed(b"text/html", PAGE), PAGE))
            case Kind.RATE_LIMITED | Kind.CODE:
                await reply(send, self._in_code(scope, fault))
            case _:
                raise ValueError(f"{kind} is not a fault of requests")


async def answer_of(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """Let an application answer into memory."""
    status, headers, parts = 500, [], []

    async def keep(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        else:
            parts.append(message.get("body", b""))

    await app(scope, receive, keep)
    return status, headers, b"".join(parts)


async def reply(send: Send, answer: Answer) -> None:
    """Send a whole answer."""
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headed(kind: bytes, body: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", kind), (b"content-length", b"%d" % len(body))]


async def _end(scope: Scope, receive: Receive, *, politely: bool = False) -> None:
    """End the connection: by a reset, or politely by the end of the stream after what was written."""
    line = scope["extensions"][EXTENSION]
    if politely:
        line.close()
    else:
        line.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
