"""The two uvicorn protocol classes through which every byte comes and goes: HTTP here, WebSockets in `websocket.py`.

Item by item the list of the reliability document, section 3; the letters in comments are its items. They
depend on names inside uvicorn: the range is pinned, `missing` says what is gone, the adversary tests decide
about a new version. An ASGI server without these classes still works; `server/ws.py` then makes do.
"""

import asyncio
import logging
from asyncio import TimerHandle
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.server import ServerProtocol

from realtime.server.admission import FULL_RETRY_S, Admission, Entry
from realtime.server.sockets import Edge, TransportLimits, bind
from realtime.server.websocket import WebSocketProtocol, Wire


__all__ = (
    "Admission",
    "HttpProtocol",
    "TransportLimits",
    "WebSocketProtocol",
    "Wire",
    "bind",
    "config",
    "missing",
    "protocols",
    "quiet",
)

LINES_PER_S: Final = 10
FRAMING: Final = 8
"""Bytes on the wire for each byte that a body may have; a chunk of one byte has six."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP with an end to headers, bodies, pipelines and stalled readers."""

    limits: ClassVar[TransportLimits] = TransportLimits()
    admission: ClassVar[Admission] = Admission(cap=1 << 20)

    transport: Edge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entry = Entry.INSIDE
        self._head = 0
        self._body = 0
        self._framed = 0
        self._in_body = False
        self._dropped = 0
        self._refusal: tuple[int, str, int | None] | None = None
        self._timer: TimerHandle | None = None
        """Ends a header, then a body, that takes too long."""

    # Life

    def connection_made(  # type: ignore[override]  # as the base class
        self, transport: asyncio.Transport
    ) -> None:
        """Ask for admission, start the header timer [H1, H6]."""
        edge = Edge(transport, self.loop, self.limits, self.admission.count)
        super().connection_made(edge)
        self.entry = self.admission.enter(self.loop.time())
        if self.entry is Entry.REFUSED:
            edge.abort()
            return
        self._await_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._stop_timer()
        self.transport.lost()
        self._unset_keepalive_if_required()
        self.admission.leave(self.entry)
        super().connection_lost(exc)

    def eof_received(self) -> None:
        """End, bounded."""
        self.transport.lingers = False
        self.transport.close()

    def _await_header(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.header_s, self._too_slow, "header")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self, cause: str) -> None:
        self._timer = None
        self.transport.abandon(cause)

    # Writing

    def pause_writing(self) -> None:
        """Start the stall timer [H5]."""
        super().pause_writing()
        self.transport.watch(self._stall_s)

    def resume_writing(self) -> None:
        """Stop the stall timer."""
        super().resume_writing()
        self.transport.unwatch()
        self.transport.release()

    def _stall_s(self) -> float:
        return self.limits.stall_s

    def refuse(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        """Answer with an error of ours and end within `linger_s`, read or not [H7]."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abandon("pipeline")  # an answer inside an answer would be worse
            return
        error: dict[str, object] = {
            "code": CODES[status],
            "message": message,
            "outcome": "not_done",
        }
        headers = [
            (b"content-type", b"application/json"),
            (b"connection", b"close"),
            (b"x-content-type-options", b"nosniff"),
            *self.server_state.default_headers,
        ]
        if retry_after is not None:
            error["retry_after"] = retry_after
            headers.append((b"retry-after", b"%d" % retry_after))
        body = orjson.dumps({"ok": False, "error": error})
        headers.append((b"content-length", b"%d" % len(body)))
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        self._stop_timer()
        self.admission.count(f"http {status}")
        self.transport.lingers = True
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP."""
        self.refuse(400, msg)

    # Reading

    def data_received(self, data: bytes) -> None:
        """Feed the parser no more than a header may be long, while one is being read [H2]."""
        self._unset_keepalive_if_required()
        while data and self.parser is not None:
            if self.transport.is_closing():
                self._drop(len(data))
                return
            if self._in_body:
                piece, data = data, b""
                self._framed += len(piece)
                if self._framed > FRAMING * self.limits.body_bytes:
                    self.transport.abandon("body")
                    return
            else:
                self._await_header()
                room = self.limits.header_bytes - self._head
                piece, data = data[:room], data[room:]
                self._head += len(piece)
            self._parse(piece, data)
            if (
                self._head >= self.limits.header_bytes
                and not self._in_body
                and self._refusal is None
            ):
                self._refusal = (431, f"header was over {self.limits.header_bytes} bytes", None)
            if self._refusal is not None and not self.transport.is_closing():
                status, message, retry_after = self._refusal
                self.refuse(status, message, retry_after=retry_after)

    def _parse(self, piece: bytes, rest: bytes) -> None:
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as exc:
            if self._refusal is not None:
                return
            if self._should_upgrade():
                self._upgrade(piece[exc.args[0] :] + rest)
            else:
                self._refusal = (400, "the only upgrade is to websocket", None)
        except httptools.HttpParserError:
            if self._refusal is None:
                self._refusal = (400, "not an HTTP request", None)

    def _drop(self, count: int) -> None:
        self._dropped += count
        if self._dropped > self.limits.body_bytes:
            self.transport.abandon("body")

    def on_message_begin(self) -> None:
        """Refuse a request that begins before the last answer is complete [H3]."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._refusal = (400, "a request began before the last answer was complete", None)
            raise httptools.HttpParserError("pipelined")
        self._await_header()
        self._body = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; a trailer is none, and would be kept for as long as the body may take [H4]."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request, unless the connection is one too many [H6]."""
        self._stop_timer()
        self._head = self._framed = 0
        self._in_body = True
        self.transport.lingers = True
        if self.entry is Entry.LOBBY:
            self._refusal = (503, "the server is full", FULL_RETRY_S)
            return
        self._timer = self.loop.call_later(self.limits.body_s, self._too_slow, "body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Bound the body, wanted or not [H4]."""
        if self._refusal is not None:
            return
        self._body += len(body)
        if self._body > self.limits.body_bytes:
            self.transport.abandon("body")
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here whole."""
        self._stop_timer()
        self._in_body = False
        self.transport.lingers = False
        if self._refusal is None:
            super().on_message_complete()

    def _upgrade(self, rest: bytes) -> None:
        retry_after = self.admission.upgrade(self.loop.time())
        if retry_after is not None:
            self._refusal = (503, "too many at once", retry_after)
            return
        self._stop_timer()
        self.transport.lingers = False
        self.handle_websocket_upgrade()
        after = self.transport.get_protocol()
        if isinstance(after, WebSocketProtocol):
            after.entry, self.entry = self.entry, Entry.REFUSED
            after.early(rest)
        # The parser holds our callbacks, we hold the parser: nothing of it need wait for the collector.
        self.parser = None  # type: ignore[assignment]
        self.transport = None  # type: ignore[assignment]
        self.flow = None  # type: ignore[assignment]


CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    431: "bad_request",
    503: "busy",
}


# Wiring


def protocols(
    limits: TransportLimits, admission: Admission
) -> tuple[type[HttpProtocol], type[WebSocketProtocol]]:
    """Make the two classes for one server: `uvicorn.Config(http=..., ws=...)`."""
    http = type("HttpProtocol", (HttpProtocol,), {"limits": limits, "admission": admission})
    ws = type("WebSocketProtocol", (WebSocketProtocol,), {"limits": limits, "admission": admission})
    return http, ws


def config(limits: TransportLimits, admission: Admission) -> dict[str, Any]:
    """Keyword arguments for `uvicorn.Config` under which the promises hold [B7].

    A reverse proxy in front adds `proxy_headers=True` and `forwarded_allow_ips`.
    """
    http, ws = protocols(limits, admission)
    return {
        "http": http,
        "ws": ws,
        "ws_max_size": limits.frame_bytes,
        "ws_per_message_deflate": False,
        "ws_ping_interval": limits.ping_s,
        "ws_ping_timeout": limits.pong_s,
        "proxy_headers": False,
        "server_header": False,
        "access_log": False,
        "log_config": None,
        "lifespan": "off",
        "timeout_graceful_shutdown": max(1, round(limits.linger_s)),
    }


class Throttle(logging.Filter):
    """At most `LINES_PER_S` lines per cause and second."""

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._lines: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._lines.clear()
        cause = f"{record.name}:{record.msg}"
        self._lines[cause] += 1
        return self._lines[cause] <= LINES_PER_S


def quiet() -> None:
    """Make uvicorn, websockets and asyncio speak only of trouble, and not too often [B7, W11]."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        if not any(isinstance(each, Throttle) for each in logger.filters):
            logger.addFilter(Throttle())


# The names we stand on

NEEDED: Final[Mapping[type, tuple[str, ...]]] = {
    WebSocketsSansIOProtocol: (
        "connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing", "shutdown",
        "data_received", "handle_connect", "handle_cont", "handle_ping", "handle_pong", "handle_close",
        "handle_parser_exception", "send_receive_event_to_app", "send_keepalive_ping", "keepalive_timeout",
        "stop_keepalive", "send", "receive",
        "queue", "conn", "writable", "read_paused", "handshake_initiated", "handshake_complete", "close_sent", "initial_response",
        "close_timer", "close_timeout", "pong_timer", "ping_interval", "ping_timeout", "frames",
        "curr_msg_data_type", "loop", "transport",
    ),
    HttpToolsProtocol: (
        "connection_made", "connection_lost", "eof_received", "pause_writing", "resume_writing",
        "data_received", "on_message_begin", "on_header", "on_headers_complete", "on_body", "on_message_complete",
        "send_400_response", "handle_websocket_upgrade", "_should_upgrade", "_unset_keepalive_if_required",
        "parser", "cycle", "flow", "loop", "transport", "server_state",
    ),
    RequestResponseCycle: ("response_started", "response_complete"),
    ServerProtocol: ("data_to_send", "send_close", "fail", "state", "parser", "max_message_size", "available_extensions"),
}  # fmt: skip


def missing(needed: Mapping[type, tuple[str, ...]] = NEEDED) -> list[str]:
    """Names we use that a class no longer has, neither as methods nor set by its constructor."""
    absent = []
    for owner, names in needed.items():
        born: set[str] = set()
        for ancestor in owner.__mro__:
            code = getattr(vars(ancestor).get("__init__"), "__code__", None)
            born.update(code.co_names if code is not None else ())
        absent += [
            f"{owner.__module__}.{owner.__name__}.{name}"
            for name in names
            if name not in born and not hasattr(owner, name)
        ]
    return absent


if _absent := missing():
    raise ImportError(
        f"this uvicorn or websockets is not the one realtime.server.transport is made for; missing: {', '.join(_absent)}"
    )
