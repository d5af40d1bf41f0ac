"""uvicorn's WebSocket protocol under our limits, and the `Wire` it exposes.

The letters in comments are the items of the reliability document, section 3. The names inside uvicorn and websockets that
this stands on are listed in `transport.NEEDED`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from realtime.hub.protocol import Close
from realtime.server.admission import Admission, Entry
from realtime.server.sockets import NO_WAY, Edge, TransportLimits, second_door


try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - websockets without its compiled part
    from websockets.utils import apply_mask


EXTENSION: Final = "realtime"
"""Key of the `Wire` in `scope["extensions"]`."""
SMALL: Final = 128
"""Blobs from here on are not gathered: 64 KiB of them are at most 512 shared objects."""
LATE_FACTOR: Final = 4
"""Unsent bytes, in high marks, at which a writer that ignores pauses loses the connection."""
REASON_BYTES: Final = 123
NO_HANDSHAKE: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 64\r\n\r\nFailed to open a WebSocket connection: no body can come with it\n"
)
PONG: Final = b"\x8a"
A_TEXT: Final = 0x81
ALONE: Final = frozenset({A_TEXT, 0x89, 0x8A})
"""First bytes of texts, pings and pongs that are one frame (RFC 6455, 5.2)."""
MASKED: Final = 0x80
"""Bit of the second byte; the others are the size, or say that it follows."""

Take = Callable[[str | None], None]
"""Takes a message: its text, or None of a binary one."""


class Named(ServerProtocol):
    """The library's protocol, which says of a code that has a name this name, not words of its own (protocol 9.2)."""

    def fail(self, code: int, reason: str = "") -> None:
        """As the base class."""
        super().fail(code, Close.TOO_BIG.reason if code == Close.TOO_BIG else reason)


def nothing() -> None:
    """Do nothing: the callbacks of a `Wire` before somebody sets them."""


class Wire:
    """One WebSocket as the pump sees it: whole frames in, no waiting."""

    __slots__ = (
        "_closed",
        "_door",
        "_edge",
        "_limit",
        "_protocol",
        "_send",
        "authenticated",
        "on_pause",
        "on_resume",
        "paused",
        "way",
    )

    def __init__(self, protocol: "WebSocketProtocol", edge: Edge, limits: TransportLimits) -> None:
        self._protocol: WebSocketProtocol | None = protocol
        self._edge = edge
        self._door = second_door(edge.raw)
        self._send: Callable[[bytes], int] | None = None if self._door is None else self._door.send
        self._limit = LATE_FACTOR * limits.high
        self._closed = False
        edge.door = self
        self.way = NO_WAY
        """See `Door`."""
        self.paused = False
        """Whether the peer is behind by the high mark; stays True once the connection ends."""
        self.authenticated = False
        """Set by the endpoint: a known peer may stall longer."""
        self.on_pause: Callable[[], None] = nothing
        """May be called inside `write`."""
        self.on_resume: Callable[[], None] = nothing
        """The peer has read down to the low mark; never called after a close."""

    @property
    def rtt_s(self) -> float | None:
        """From our last ping to its pong [s]; None before the first."""
        return None if self._protocol is None else self._protocol.rtt_s

    def write(self, blob: bytes) -> bool:
        """Send whole text frames, taken whole.

        Sound because server frames are unmasked, unfragmented and without extensions (RFC 6455, 5.1).

        Returns:
            False when the transport is paused now, or takes nothing because the connection ends.
        """
        if self.way < 0:
            return self._write_behind(blob)
        # 200,000 times a second, hence so bare: there is no way whenever anything is not as usual.
        try:
            sent = self._send(blob)  # type: ignore[misc]  # there is one where there is a way
        except OSError:
            sent = 0  # full, or gone: the transport waits for it, or finds out
        return sent == len(blob) or self.took(blob, sent)

    def took(self, blob: bytes, sent: int) -> bool:
        """Go on where the socket took only so many bytes of a blob; returns as `write`."""
        self._edge.hand_over(memoryview(blob)[sent:])
        return not self.paused

    def _write_behind(self, blob: bytes) -> bool:
        edge = self._edge
        usual = not self.paused and not edge.buffered() and not edge.is_closing()
        if usual and self._door is not None:
            self.way = self._door.fileno()
            return self.write(blob)
        return self.write_soon(blob)

    def write_soon(self, blob: bytes) -> bool:
        """As `write`, for what is likely to be followed by more: uvloop sends it at the end of this turn of the loop.

        A commit answers a dozen orders, and a system call costs as much as all else that is done for an answer.
        """
        if self.paused:
            self._write_late(blob)
            return False
        edge = self._edge
        if edge.gathered or len(blob) < SMALL:
            edge.write(blob)
        else:
            edge.hand_over(blob)
        return not self.paused

    def _write_late(self, blob: bytes) -> None:
        # Dropping the blob would be a silent gap, keeping all of them a leak.
        if self._closed:
            return
        self._edge.write(blob)
        if self._edge.buffered() > self._limit:
            self._edge.abandon("overrun")

    def buffered(self) -> int:
        """Bytes that have not left the process [B]."""
        return self._edge.buffered()

    def abort(self) -> None:
        """Reset the connection; the peer sees 1006."""
        if self._protocol is not None:
            self._protocol.abort("aborted")

    def close(self, code: int, reason: str) -> None:
        """Send a close frame and end within seconds; a peer who does not read is reset instead."""
        if self._protocol is not None:
            self._protocol.end(code, reason)

    def shut(self) -> None:
        """Take nothing any more. Called by the protocol."""
        self._closed = True
        self.paused = True
        self.way = NO_WAY
        if self._door is not None:
            # The connection ends with its last descriptor, so ours goes first.
            self._door.close()
            self._door = self._send = None

    def listen(self, take: Take) -> None:
        """Have messages taken in the step in which they are read, those that wait at once; no other gets any."""
        if self._protocol is not None:
            self._protocol.listen(take)

    def lost(self) -> None:
        """Let go of the protocol, so that no cycle keeps a dead connection. Called by the protocol."""
        self.shut()
        self._protocol = None
        self.on_pause = self.on_resume = nothing


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's sans-I/O WebSocket with bounds on everything a peer may do."""

    limits: ClassVar[TransportLimits] = TransportLimits()
    admission: ClassVar[Admission] = Admission(cap=1 << 20)

    transport: Edge

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limits = self.limits
        self.close_timeout = limits.linger_s
        self.ping_interval = limits.ping_s
        self.ping_timeout = limits.pong_s
        # Not negotiated whatever the configuration says: 61 kB inflate to 60 MiB (2.3).
        self.conn.available_extensions = []
        # Made by uvicorn; a second one would leave the parser of the first to the collector.
        self.conn.__class__ = Named
        self.conn.max_message_size = limits.frame_bytes
        self.entry = Entry.INSIDE
        self.wire: Wire = None  # type: ignore[assignment]  # made with the connection
        self._raw = bytearray()
        self._dropped = 0
        self._pong = b""
        self._goodbye = b""
        """The answer to a close that came in one bite with a ping: it is written when the close has its turn."""
        self._tokens = float(limits.control_burst)
        self._token_at = self.loop.time()
        self._acknowledged = 0
        self._pinged = 0.0
        self.rtt_s: float | None = None
        self._take: Take | None = None
        self._own = True
        """Whether the library's parser has been given no frame but whole ones."""
        self._part = b""
        """The beginning of a frame of which more is to come."""

    # Life

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over from the HTTP class, or from another HTTP class with a bare transport."""
        if isinstance(transport, Edge):
            edge = transport
        else:
            assert isinstance(transport, asyncio.Transport)
            edge = Edge(transport, self.loop, self.limits, self.admission.count)
            self.entry = self.admission.enter(self.loop.time())
        super().connection_made(edge)
        self.wire = Wire(self, edge, self.limits)
        if self.entry is not Entry.INSIDE:
            edge.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self.transport.lost()
        self.wire.lost()
        self._raw.clear()
        self._part = b""
        self._take = None
        self.admission.leave(self.entry)
        super().connection_lost(exc)
        # The parser is a generator that refers to its owner: a cycle of 14 KiB that only the collector would
        # find, 34 MiB in a second of reconnecting peers.
        self.conn.parser.close()
        # So does what a bad frame has raised, by its traceback.
        self.conn.parser_exc = None

    def eof_received(self) -> None:
        """End: a peer that sends no more cannot answer a ping; its reading is bounded by the close."""
        self.wire.shut()
        self.transport.close()

    def abort(self, cause: str) -> None:
        """Reset the connection and count the cause [B3]."""
        if self.wire is not None:
            self.wire.shut()
        self.stop_keepalive()
        self.transport.abandon(cause)

    def end(self, code: int, reason: str) -> None:
        """Close with a code; reset a peer who would not see it [W4]."""
        if self.close_sent or self.transport.is_closing():
            return
        if self.wire.paused or not self.handshake_complete or self.conn.state is not OPEN:
            self.abort("slow" if self.wire.paused else "early")
            return
        reason = reason.encode()[:REASON_BYTES].decode(errors="ignore")
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        # After a mistake of ours in `data_received` the transport is given up, and what was gathered with it: the
        # replies of this turn and the close itself.
        self.wire.write(b"".join(self.conn.data_to_send()))
        self.transport.release()
        self.close_sent = True
        self.wire.shut()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
        self._read_on()

    def shutdown(self) -> None:
        """Close for the end of the server; a stalled reader costs a reset [W10]."""
        if self.transport.is_closing():
            return
        if self.wire.paused and not self.close_sent:
            self.abort("shutdown")
            return
        super().shutdown()
        self.wire.shut()

    # Writing

    def pause_writing(self) -> None:
        """Tell the pump, and start the stall timer [W2, W3]."""
        super().pause_writing()
        if not self.wire.paused:
            self.wire.paused = True
            self.transport.watch(self._stall_s)
            self.wire.on_pause()

    def resume_writing(self) -> None:
        """Send what waited, then let the pump go on."""
        super().resume_writing()
        self.transport.unwatch()
        if self._pong:
            pong, self._pong = self._pong, b""
            self.transport.write(pong)
        self.transport.release()
        if not (self.close_sent or self.transport.is_closing()):
            self.wire.paused = False
            self.wire.on_resume()

    def _stall_s(self) -> float:
        limits = self.limits
        return limits.stall_s if self.wire.authenticated else limits.stall_anonymous_s

    async def send(self, message: ASGISendEvent) -> None:
        """As the base class, but a close never waits for the peer."""
        if message["type"] == "websocket.close" and self.handshake_complete and not self.close_sent:
            self.end(message.get("code", 1000), message.get("reason") or "")
            return
        opening = not self.handshake_complete
        await super().send(message)
        if opening and self.handshake_complete:
            self._read_on()
        elif self.initial_response is not None and self.close_sent:
            # A refusal is complete, too; uvicorn would log an error for each that the handshake is not.
            self.handshake_complete = True

    # Reading

    def data_received(self, data: bytes) -> None:
        """Feed the parser, in bites and only while no message waits [W8]."""
        if self._take is not None and self._own and not self._raw:
            data = self._read(self._part + data, self._take)
            if not data:
                return
        if self.transport.is_closing():
            self._dropped += len(data)
            if self._dropped > self.limits.frame_bytes:
                self.abort("deaf")
        elif not self.handshake_initiated:
            self._open(data)
        elif (
            self._raw
            or self.read_paused
            or not self.handshake_complete
            or len(data) > self.limits.bite
        ):
            self._raw += data
            self._feed()
            if len(self._raw) > self.limits.raw_bytes:
                self.transport.pause_reading()
        else:
            self._own = False
            super().data_received(data)

    def _read(self, data: bytes, take: Take) -> bytes:
        """Take texts that are one whole frame: all that most clients send, and the library takes 6 us for each.

        Pings and pongs go to the library one by one.

        Returns:
            What begins with anything else (a fragment, a close, a violation): the library reads all from there on.
        """
        self._part = b""
        at, end = 0, len(data)
        while at < end and not self.transport.is_closing():
            first, second = data[at], data[at + 1] if end - at > 1 else MASKED
            size, start = second - MASKED, at + 6
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 8
                usual = first == A_TEXT and size <= self.limits.frame_bytes
            else:
                usual = 0 <= size < 126 and first in ALONE
            if not usual:
                break
            if start + size > end:
                self._part = data[at:]
                return b""
            if first != A_TEXT:
                super().data_received(data[at : start + size])
            elif not self.close_sent:
                self._hand_on(apply_mask(data[start : start + size], data[start - 4 : start]), take)
            at = start + size
        return data[at:]

    def _hand_on(self, whole: bytes, take: Take) -> None:
        try:
            text = whole.decode()
        except UnicodeDecodeError:
            self._fail(1007, "text is not UTF-8")
        else:
            take(text)

    def listen(self, take: Take) -> None:
        """See `Wire.listen`."""
        for message in [self.queue.get_nowait() for _ in range(self.queue.qsize())]:
            if message["type"] == "websocket.receive":
                take(message.get("text"))
            else:
                self.queue.put_nowait(message)
        self._take = take
        self._read_on()

    def early(self, data: bytes) -> None:
        """Keep what a peer sent behind its upgrade, before it saw the answer."""
        self._raw += data

    def _open(self, request: bytes) -> None:
        super().data_received(request)
        if not self.handshake_initiated:
            # A header that the WebSocket parser refuses and the HTTP parser let pass (over 8 KiB in one
            # line, over 128 of them): the base class would leave the answer unsent and the socket open. Of a body
            # it says nothing at all.
            self.transport.write(b"".join(self.conn.data_to_send()) or NO_HANDSHAKE)
            self.close_sent = True
            self.transport.lingers = True
            self.transport.close()

    def _feed(self) -> None:
        while (
            self._raw
            and self.handshake_complete
            and not self.read_paused
            and not self.transport.is_closing()
        ):
            bite = bytes(self._raw[: self.limits.bite])
            del self._raw[: self.limits.bite]
            self._own = False
            super().data_received(bite)

    def _read_on(self) -> None:
        self.read_paused = False
        self._feed()
        if not self.read_paused and len(self._raw) <= self.limits.raw_bytes:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """Take the next message; read on when none waits."""
        message = await self.queue.get()
        if self.read_paused and self.queue.empty():
            self._read_on()
        return message

    def send_receive_event_to_app(self) -> None:
        """Hand a message on; text that is not UTF-8 ends the connection without a traceback [W11]."""
        if self._take is not None and not self.close_sent:
            whole, self.frames = b"".join(self.frames), []
            if self.curr_msg_data_type == "text":
                self._hand_on(whole, self._take)
            else:
                self._take(None)
            return
        if self.curr_msg_data_type == "text" and not self.close_sent:
            whole = b"".join(self.frames)
            try:
                whole.decode()
            except UnicodeDecodeError:
                self.frames = []
                self._fail(1007, "text is not UTF-8")
                return
            self.frames = [whole]
        super().send_receive_event_to_app()

    def _fail(self, code: int, reason: str) -> None:
        if self.close_sent:
            return
        if self.wire.paused:
            self.abort("slow")
            return
        self.admission.count(f"closed {code}")
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def handle_parser_exception(self) -> None:
        """Answer a violation with its close code."""
        if self.close_sent or self.transport.is_closing():
            return
        self.wire.shut()
        # What is still on its way to us would turn our close into a reset, and the code would be lost.
        self.transport.lingers = True
        self.transport.write(self._goodbye)
        super().handle_parser_exception()

    def handle_cont(self, event: Frame) -> None:
        """Bound the number of fragments: bytes alone do not [W7]."""
        if self.close_sent:
            return
        if len(self.frames) >= self.limits.fragments:
            self._fail(Close.TOO_BIG, Close.TOO_BIG.reason)
            return
        super().handle_cont(event)

    # Control frames

    def _control(self) -> bool:
        """Take one from the budget of control frames [W6]."""
        now = self.loop.time()
        limits = self.limits
        grown = self._tokens + (now - self._token_at) * limits.control_per_s
        self._tokens = min(grown, float(limits.control_burst))
        self._token_at = now
        if self._tokens < 1:
            self.abort("control")
            return False
        self._tokens -= 1
        return True

    def handle_ping(self) -> None:
        """Answer, or keep only the latest answer for a peer who does not read [W5]."""
        if not self._control():
            self.conn.data_to_send()
            return
        answers = self.conn.data_to_send()  # to all pings in this bite, and to a close behind them
        pongs = [answer for answer in answers if answer[:1] == PONG]
        self._goodbye += b"".join(answers[len(pongs) :])
        if not pongs:
            return
        if self.conn.state is not OPEN or self.transport.buffered() <= self.limits.low:
            self.transport.write(b"".join(pongs))
        else:
            self._pong = pongs[-1]
            if not self.wire.paused:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        # Between the marks nobody is told when the buffer empties.
        if self.transport.is_closing() or not self._pong or self.wire.paused:
            return
        if self.transport.buffered() <= self.limits.low:
            pong, self._pong = self._pong, b""
            self.transport.write(pong)
            return
        self.loop.call_later(self.limits.gather_s * 10, self._wait_for_room)

    def handle_pong(self, event: Frame) -> None:
        """Count it, then as the base class."""
        if self._control():
            waited = self.pong_timer is not None
            super().handle_pong(event)
            if waited and self.pong_timer is None:  # it is the one that was waited for
                self.rtt_s = time.monotonic() - self._pinged

    def handle_close(self, event: Frame) -> None:
        """As the base class; nothing is written to a peer who said goodbye."""
        if not self.close_sent:
            self.wire.shut()
        self.transport.write(self._goodbye)
        super().handle_close(event)

    # Keepalive

    def send_keepalive_ping(self) -> None:
        """As the base class; remember how far the peer has come."""
        super().send_keepalive_ping()
        self._pinged = time.monotonic()  # the clock of uvloop has milliseconds only
        self._acknowledged = self.transport.acknowledged()

    def keepalive_timeout(self) -> None:
        """Reset a mute peer, unless our ping still waits behind data that it keeps reading [W9]."""
        edge = self.transport
        behind = edge.unread() >= self.limits.progress_bytes
        taken = edge.acknowledged()
        if behind and taken - self._acknowledged >= self.limits.progress_bytes:
            self._acknowledged = taken
            self.pong_timer = self.loop.call_later(self.limits.pong_s, self.keepalive_timeout)
            return
        self.pong_timer = None
        self.abort("mute")

    # The seam

    def handle_connect(self, event: Any) -> None:
        """Put the wire where the endpoint finds it, before its task runs [W2]."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"]
            extensions[EXTENSION] = self.wire
        # The library keeps what a bad handshake has raised, with the frames it came through, which refer to us.
        raised: BaseException | None = self.conn.handshake_exc
        while raised is not None:
            raised.__traceback__, raised = None, raised.__context__
