"""The byte transport as our protocol classes see it: few queued writes, ends that end.

Rules of this file: (1) every wait on a peer has an end here or in the caller; (2) a peer that does not read
is reset, never politely closed, because a close waits for the very peer that does not read; (3) nothing here
knows HTTP or WebSocket.
"""

import asyncio
import os
import socket
import struct
import sys
from asyncio import TimerHandle
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol


if sys.platform != "win32":
    import fcntl
    import resource
    import termios

Loop = asyncio.AbstractEventLoop

LOOK_MAX_S = 0.08
"""Longest pause between two looks at a transport that holds gathered pieces back."""
NOTSENT_LOWAT: int | None = getattr(
    socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None
)
USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
OUTQ: bool = sys.platform != "win32"
TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None
NO_WAY: Final = -1
"""Stands for a descriptor where only the transport may send."""
BYTES_ACKED = 120
"""Offset of `tcpi_bytes_acked` in `struct tcp_info` (linux/tcp.h, since 4.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """What one peer may cost, and how long it may take. Defaults: reliability document, section 3."""

    high: int = 65_536
    """Unsent bytes at which a connection is paused [B]."""
    low: int = 16_384
    """Unsent bytes at which it goes on [B]."""
    send_buffer: int = 65_536
    """`SO_SNDBUF` [B]; the kernel doubles it."""
    not_sent: int = 65_536
    """`TCP_NOTSENT_LOWAT` [B]."""
    receive_buffer: int = 16_384
    """`SO_RCVBUF` [B]; the kernel doubles it."""
    gather_bytes: int = 4_096
    """Smaller pieces are gathered while something is unsent [B]."""
    gather_s: float = 0.005
    linger_s: float = 3.0
    """From a close to the reset, and how long a peer may take to answer a close frame."""
    user_timeout_s: float = 10.0
    """`TCP_USER_TIMEOUT` of a closing socket: how long the kernel keeps what is unread."""
    header_s: float = 5.0
    header_bytes: int = 16_384
    body_s: float = 10.0
    body_bytes: int = 65_536
    stall_s: float = 10.0
    stall_anonymous_s: float = 3.0
    """As `stall_s`, before authentication."""
    progress_bytes: int = 4_096
    """A paused peer that takes less than this in a stall time is stuck [B]."""
    frame_bytes: int = 65_536
    """Largest message of a client [B]."""
    fragments: int = 128
    """Frames of one message."""
    bite: int = 1_024
    """Bytes fed to the parser at once."""
    raw_bytes: int = 32_768
    """Unparsed bytes at which reading stops; one read may come on top."""
    control_per_s: float = 20.0
    control_burst: int = 100
    """Pings and pongs of a client."""
    ping_s: float = 20.0
    pong_s: float = 20.0


def reset(transport: asyncio.Transport) -> None:
    """Abort with RST, so that the kernel drops what the peer would not read.

    A plain abort frees our memory and leaves the kernel's: the orphan socket keeps its data for minutes.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Door(Protocol):
    """Who writes past the transport."""

    way: int
    """Descriptor to send to while the transport holds nothing, so that what is sent past it cannot overtake
    anything; else `NO_WAY`."""


class Edge(asyncio.Transport):
    """A transport whose `close` ends and whose small writes do not queue one by one.

    Stands between uvicorn's classes and the loop's transport, because uvicorn calls `transport.close()` in
    a dozen places: all of them become bounded.
    """

    __slots__ = (
        "_closing",
        "_count",
        "_end",
        "_left",
        "_limits",
        "_look",
        "_loop",
        "_stall",
        "_tcp",
        "door",
        "gathered",
        "lingers",
        "raw",
    )

    def __init__(
        self,
        raw: asyncio.Transport,
        loop: Loop,
        limits: TransportLimits,
        count: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.raw = raw
        self.gathered = bytearray()
        self.door: Door | None = None
        """Told when the transport is given something to hold."""
        self.lingers = False
        """Set while the peer still sends what nobody wants: close then ends our side only, because closing
        a socket with unread input resets it, and the answer is lost on its way."""
        self._loop = loop
        self._limits = limits
        self._count = count
        self._closing = False
        self._look: asyncio.Handle | None = None
        self._end: TimerHandle | None = None
        self._stall: TimerHandle | None = None
        self._left = 0
        self._tcp = tune(raw, limits)

    # What the kernel and we still hold

    def buffered(self) -> int:
        """Bytes that have not left the process [B]."""
        return self.raw.get_write_buffer_size() + len(self.gathered)

    def unread(self) -> int:
        """Bytes the peer has not acknowledged: ours and the kernel's [B].

        By `buffered()` alone a reader at 4 kB/s is cut though it reads: the kernel frees space in lumps of
        about 64 KiB.
        """
        held = self.buffered()
        if self._tcp is None or self._tcp.fileno() < 0 or sys.platform == "win32":
            return held
        queued = fcntl.ioctl(self._tcp.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        return held + int.from_bytes(queued, sys.byteorder)

    def acknowledged(self) -> int:
        """Bytes the peer's kernel has taken since the start [B]; 0 where the platform does not tell."""
        if self._tcp is None or TCP_INFO is None or self._tcp.fileno() < 0:
            return 0
        info = self._tcp.getsockopt(socket.IPPROTO_TCP, TCP_INFO, BYTES_ACKED + 8)
        return int.from_bytes(info[BYTES_ACKED:], sys.byteorder) if len(info) > BYTES_ACKED else 0

    # Stalled peers

    def watch(self, stall_s: Callable[[], float]) -> None:
        """Reset the peer unless it takes `progress_bytes` in each `stall_s()` seconds, until `unwatch`."""
        self.unwatch()
        self._left = self.unread()
        self._stall = self._loop.call_later(stall_s(), self._judge, stall_s)

    def unwatch(self) -> None:
        """End the watch: the peer reads."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _judge(self, stall_s: Callable[[], float]) -> None:
        left = self.unread()
        if left + self._limits.progress_bytes > self._left:
            self.abandon("stalled")
            return
        self._left = left
        self._stall = self._loop.call_later(stall_s(), self._judge, stall_s)

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or gather while something else is unsent: a byte bound does not bound objects."""
        if self._closing or not data:
            return
        if len(data) >= self._limits.gather_bytes or not (
            self.gathered or self.raw.get_write_buffer_size()
        ):
            self.release()
            self.hand_over(data)
            return
        self.gathered += data
        if len(self.gathered) >= self._limits.gather_bytes:
            self.release()
        elif self._look is None:
            # uvloop writes at the end of the iteration, so that even a healthy peer has "something unsent"
            # until then. The first look is therefore the next iteration, not 5 ms away.
            self._look = self._loop.call_soon(self._again, 0.0)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send the pieces as one."""
        self.write(b"".join(list_of_data))

    def release(self) -> None:
        """Hand the gathered pieces over, as one write."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self.gathered:
            whole = bytes(self.gathered)
            self.gathered.clear()
            self.hand_over(whole)

    def hand_over(self, data: bytes | bytearray | memoryview) -> None:
        """Give bytes to the transport."""
        if self.door is not None:
            self.door.way = NO_WAY
        self.raw.write(data)

    def _again(self, waited: float) -> None:
        self._look = None
        if self._closing:
            return
        if not self.raw.get_write_buffer_size():
            self.release()
            return
        after = min(max(waited * 2, self._limits.gather_s), LOOK_MAX_S)
        self._look = self._loop.call_later(after, self._again, after)

    # Ending

    def close(self) -> None:
        """Close politely, and reset what is left of it after `linger_s`."""
        if self._closing:
            return
        self.release()
        self._end_writing()
        if self._tcp is not None and USER_TIMEOUT is not None and self._tcp.fileno() >= 0:
            # Only now. On an open connection it kills readers that progress at 8 kB/s.
            ms = int(self._limits.user_timeout_s * 1000)
            self._tcp.setsockopt(socket.IPPROTO_TCP, USER_TIMEOUT, ms)
        if self.lingers and self.raw.can_write_eof() and not self.raw.is_closing():
            self.raw.write_eof()
        else:
            self.raw.close()
        self._end = self._loop.call_later(self._limits.linger_s, reset, self.raw)

    def abort(self) -> None:
        """Reset the connection now."""
        self._end_writing()
        self.gathered.clear()
        reset(self.raw)

    def _end_writing(self) -> None:
        self._closing = True
        if self.door is not None:
            self.door.way = NO_WAY

    def abandon(self, cause: str) -> None:
        """Reset the connection now and count the cause."""
        if not self._closing:
            self._count(cause)
        self.abort()

    def lost(self) -> None:
        """Forget everything: the connection is gone."""
        self._end_writing()
        self.door = None
        self.gathered.clear()
        self.unwatch()
        for handle in (self._look, self._end):
            if handle is not None:
                handle.cancel()
        self._look = self._end = None

    def is_closing(self) -> bool:
        """Whether nothing more will be sent."""
        return self._closing or self.raw.is_closing()

    # The rest of a transport, handed on

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self.raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See `asyncio.BaseTransport`."""
        self.raw.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See `asyncio.BaseTransport`."""
        return self.raw.get_protocol()

    def is_reading(self) -> bool:
        """See `asyncio.ReadTransport`."""
        return self.raw.is_reading()

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`; a no-op on a connection that ends."""
        if not self.raw.is_closing():
            self.raw.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`; a no-op on a connection that ends."""
        if not self.raw.is_closing():
            self.raw.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See `asyncio.WriteTransport`."""
        self.raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`; gathered pieces count."""
        return self.buffered()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """See `asyncio.WriteTransport`."""
        return self.raw.get_write_buffer_limits()

    def can_write_eof(self) -> bool:
        """See `asyncio.WriteTransport`."""
        return self.raw.can_write_eof()

    def write_eof(self) -> None:
        """See `asyncio.WriteTransport`."""
        self.release()
        self.raw.write_eof()


def second_door(transport: asyncio.Transport) -> socket.socket | None:
    """Make a descriptor of our own for the same connection, to send without the transport.

    uvloop takes 0.5 us of CPU more per write than `socket.send`, a tenth of the whole. Its own descriptor
    cannot be used for that: it may be closed, and its number be another connection's, before we hear of it.

    Returns:
        None under TLS, where there is no TCP, and when more than half of the descriptors are taken; the
        transport does it then.
    """
    if sys.platform == "win32" or transport.get_extra_info("sslcontext") is not None:
        return None
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    try:
        number = os.dup(sock.fileno())
    except OSError:
        return None
    if 2 * number > resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0:
        os.close(number)
        return None
    door = socket.socket(sock.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, fileno=number)
    door.setblocking(False)
    return door


def bind(host: str, port: int, limits: TransportLimits, *, backlog: int = 2_048) -> socket.socket:
    """Listen, with the kernel buffers that accepted sockets inherit; for `Server.serve(sockets=[...])`.

    A receive buffer made smaller after accept is smaller than the window the peer was told: the kernel then
    drops what does not fit, and a body of 64 KiB waits for a retransmission (0.2 s and more, one in ten on
    loopback). On the listening socket it is in time.

    Raises:
        OSError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
        listener.bind((host, port))
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def tune(transport: asyncio.Transport, limits: TransportLimits) -> socket.socket | None:
    """Set write marks and kernel buffers; the socket when it is TCP, else None.

    Without the two send options 2,800 messages of 1 kB leave the process before a reader who does not read
    blocks it; with them 100.
    """
    transport.set_write_buffer_limits(high=limits.high, low=limits.low)
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return None
    if sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return None
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer)
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) != 2 * limits.receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, limits.receive_buffer)
    if NOTSENT_LOWAT is not None:
        sock.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, limits.not_sent)
    return sock


def weaker_here() -> tuple[str, ...]:
    """Names of what this platform lacks of the above; empty on Linux."""
    absent = {
        "TCP_NOTSENT_LOWAT": NOTSENT_LOWAT is None,
        "TCP_USER_TIMEOUT": USER_TIMEOUT is None,
        "TIOCOUTQ": not OUTQ,
        "TCP_INFO": TCP_INFO is None,
    }
    return tuple(name for name, missing in absent.items() if missing)
