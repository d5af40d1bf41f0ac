"""Frames as raw bytes, by section of RFC 6455: what the server answers, octet for octet where it matters."""

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.server.adversary import (
    BINARY,
    CLOSE,
    CONT,
    MASK,
    PING,
    PONG,
    TEXT,
    connect,
    frame,
    opened,
    read_head,
    request,
    upgrade,
)
from tests.server.served import FAST, Served, served
from tests.server.test_transport import read_frame


pytestmark = pytest.mark.promise("T1")

Reply = tuple[int, bytes]


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(loop="uvloop", limits=FAST, ping_s=60, header_s=5) as one:
        yield one
        assert one.errors == []


def echo(payload: bytes) -> Reply:
    return TEXT, payload


def failed(code: int) -> Reply:
    return CLOSE, struct.pack("!H", code)


def code(number: int, reason: bytes = b"") -> bytes:
    return struct.pack("!H", number) + reason


TABLE: dict[str, tuple[bytes, list[Reply]]] = {
    # 5.2 base framing: lengths
    **{
        f"5.2 text of {size}": (frame(TEXT, b"x" * size), [echo(b"x" * size)])
        for size in (0, 1, 125, 126, 127, 128, 65_535, 65_536)
    },
    "5.2 text over the limit": (frame(TEXT, b"x" * 65_537), [failed(1009)]),
    "5.2 length of 63 bits": (b"\x81\xff" + struct.pack("!Q", (1 << 63) - 1) + MASK, [failed(1009)]),
    "5.2 length with the highest bit": (b"\x81\xff" + struct.pack("!Q", 1 << 63) + MASK, [failed(1009)]),
    **{
        f"5.2 binary of {size}": (frame(BINARY, bytes(size)), [(BINARY, bytes(size))])
        for size in (0, 1, 125, 126, 65_535)
    },
    # 5.2 reserved bits and opcodes
    **{f"5.2 rsv {rsv}": (frame(TEXT, b"x", rsv=rsv), [failed(1002)]) for rsv in range(1, 8)},
    **{
        f"5.2 opcode {opcode}": (frame(opcode, b"x"), [failed(1002)])
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    },
    "5.2 rsv on a ping": (frame(PING, b"", rsv=1), [failed(1002)]),
    # 5.1, 5.3 masking
    "5.1 unmasked text": (b"\x81\x01x", [failed(1002)]),
    "5.1 unmasked ping": (b"\x89\x00", [failed(1002)]),
    "5.1 unmasked close": (b"\x88\x00", [failed(1002)]),
    "5.3 mask of zeros": (b"\x81\x82\0\0\0\0ok", [echo(b"ok")]),
    # 5.4 fragmentation
    "5.4 two fragments": (frame(TEXT, b"a", fin=False) + frame(CONT, b"b"), [echo(b"ab")]),
    "5.4 three fragments, binary": (
        frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) + frame(CONT, b"c"),
        [(BINARY, b"abc")],
    ),
    "5.4 empty fragments": (
        frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) + frame(CONT, b""),
        [echo(b"")],
    ),
    "5.4 a ping between fragments": (
        frame(TEXT, b"a", fin=False) + frame(PING, b"!") + frame(CONT, b"b"),
        [(PONG, b"!"), echo(b"ab")],
    ),
    "5.4 a character cut in two": (frame(TEXT, b"\xce", fin=False) + frame(CONT, b"\xba"), [echo("κ".encode())]),
    "5.4 continuation of nothing": (frame(CONT, b"x"), [failed(1002)]),
    "5.4 continuation of nothing, not final": (frame(CONT, b"x", fin=False), [failed(1002)]),
    "5.4 a message inside a message": (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), [failed(1002)]),
    "5.4 binary inside text": (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"), [failed(1002)]),
    "5.4 continuation after the end": (frame(TEXT, b"a") + frame(CONT, b"b"), [failed(1002)]),
    "5.4 fragments over the limit together": (
        frame(TEXT, b"x" * 40_000, fin=False) + frame(CONT, b"x" * 40_000),
        [failed(1009)],
    ),
    # 5.5 control frames
    "5.5 a fragmented ping": (frame(PING, b"", fin=False), [failed(1002)]),
    "5.5 a fragmented close": (frame(CLOSE, b"", fin=False), [failed(1002)]),
    "5.5 a ping of 126": (frame(PING, b"x" * 126), [failed(1002)]),
    "5.5 a pong of 126": (frame(PONG, b"x" * 126), [failed(1002)]),
    "5.5 a close of 126": (frame(CLOSE, code(1000) + b"x" * 124), [failed(1002)]),
    "5.5.2 ping": (frame(PING), [(PONG, b"")]),
    "5.5.2 ping with bytes": (frame(PING, b"\x00\xff"), [(PONG, b"\x00\xff")]),
    "5.5.2 ping of 125": (frame(PING, b"x" * 125), [(PONG, b"x" * 125)]),
    "5.5.2 ten pings": (
        b"".join(frame(PING, b"%d" % n) for n in range(10)),
        [(PONG, b"%d" % n) for n in range(10)],
    ),
    "5.5.3 a pong nobody asked for": (frame(PONG, b"x") + frame(TEXT, b"y"), [echo(b"y")]),
    # 5.5.1, 7 closing
    "5.5.1 close without a code": (frame(CLOSE), [(CLOSE, b"")]),
    "5.5.1 a close of one byte": (frame(CLOSE, b"\x03"), [failed(1002)]),
    "5.5.1 a reason that is not UTF-8": (frame(CLOSE, code(1000, b"\xff")), [failed(1007)]),
    "5.5.1 a reason of 123": (frame(CLOSE, code(1000, b"x" * 123)), [(CLOSE, code(1000, b"x" * 123))]),
    "5.5.1 data after a close": (frame(CLOSE, code(1000)) + frame(TEXT, b"late"), [(CLOSE, code(1000))]),
    "5.5.1 ping after a close": (frame(CLOSE, code(1000)) + frame(PING, b"late"), [(CLOSE, code(1000))]),
    "5.5.1 close inside a message": (frame(TEXT, b"a", fin=False) + frame(CLOSE, code(1000)), [failed(1002)]),
    **{
        f"7.4 code {number}": (frame(CLOSE, code(number)), [(CLOSE, code(number))])
        for number in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    },
    **{
        f"7.4 code {number}": (frame(CLOSE, code(number)), [failed(1002)])
        for number in (0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535)
    },
    # 8.1 UTF-8
    **{
        f"8.1 valid {text!r}": (frame(TEXT, text.encode()), [echo(text.encode())])
        for text in ("κόσμε", "€", "𝄞", "\ufffd", "\U0010ffff", "\x00", "e\u0301")
    },
    **{
        f"8.1 invalid {data.hex()}": (frame(TEXT, data), [failed(1007)])
        for data in (
            b"\x80", b"\xc0\xaf", b"\xc1\x81", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xfe", b"\xce",
            b"ok\xff",
        )
    },
    "8.1 invalid over two fragments": (frame(TEXT, b"\xce", fin=False) + frame(CONT, b"x"), [failed(1007)]),
}  # fmt: skip


def heard(sock: socket.socket, expected: list[Reply]) -> list[Reply]:
    """As many frames as expected, close reasons of ours left out."""
    replies = []
    for wanted in expected:
        opcode, payload = read_frame(sock)
        ours = opcode == CLOSE and len(wanted[1]) == 2
        replies.append((opcode, payload[:2] if ours else payload))
    return replies


@pytest.mark.parametrize("name", TABLE)
def test_frames_are_answered_as_the_standard_says(server: Served, name: str) -> None:
    sent, expected = TABLE[name]
    with opened(server.address) as sock:
        sock.sendall(sent)

        assert heard(sock, expected) == expected
        if expected[-1][0] == CLOSE:
            assert sock.recv(1) == b""


TEXTS = [name for name, (_, replies) in TABLE.items() if BINARY not in dict(replies)]
BEFORE: dict[str, list[Reply]] = {"5.4 continuation after the end": [echo(b"a")]}
"""A listener has answered what came before a violation; who is asked later has not."""


@pytest.mark.parametrize("name", TEXTS)
def test_a_listener_hears_what_the_standard_says(server: Served, name: str) -> None:
    sent, replies = TABLE[name]
    expected = BEFORE.get(name, []) + replies
    with opened(server.address, "/told") as sock:
        sock.sendall(sent)

        assert heard(sock, expected) == expected
        if expected[-1][0] == CLOSE:
            assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("last", "replies"),
    [(frame(CONT, b"b"), [echo(b"ab"), (CLOSE, code(1000))]), (frame(CONT, b"\xff"), [(CLOSE, code(1000))])],
    ids=["good", "bad"],
)  # fmt: skip
def test_nothing_follows_the_answer_to_a_close(
    server: Served, last: bytes, replies: list[Reply]
) -> None:
    """Found by a drive: behind a ping the answer left first, and the reply to what came before the close behind it."""
    with opened(server.address, "/told") as sock:
        sock.sendall(
            frame(TEXT, b"a", fin=False) + frame(PING, b"!") + last + frame(CLOSE, code(1000))
        )

        expected = [(PONG, b"!"), *replies]
        assert heard(sock, expected) == expected
        assert sock.recv(1) == b""


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_a_listener_hears_frames_that_arrive_in_any_bits(server: Served, size: int) -> None:
    texts = ["κόσμε", "x" * 125, "", "x" * 126, "last"]
    pieces = [frame(TEXT, text.encode()) for text in texts]
    with opened(server.address, "/told") as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = b"".join([*pieces[:2], frame(PING, b"!"), *pieces[2:], frame(BINARY, b"")])
        for start in range(0, len(data), size):
            sock.sendall(data[start : start + size])

        replies = [read_frame(sock) for _ in range(7)]
        assert [reply for reply in replies if reply[0] == TEXT] == [echo(t.encode()) for t in texts]
        assert (PONG, b"!") in replies
        assert replies[-1] == (CLOSE, code(4400, b"binary"))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_frames_may_arrive_in_any_bits(server: Served, size: int) -> None:
    with opened(server.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = frame(TEXT, "κόσμε".encode()) + frame(PING, b"!") + frame(BINARY, bytes(200))
        for start in range(0, len(data), size):
            sock.sendall(data[start : start + size])

        replies = sorted(read_frame(sock) for _ in range(3))
        assert replies == sorted([echo("κόσμε".encode()), (PONG, b"!"), (BINARY, bytes(200))])


HANDSHAKES: dict[str, tuple[bytes, int]] = {
    "4.2.1 version 8": (upgrade().replace(b"Version: 13", b"Version: 8"), 400),
    "4.2.1 no version": (upgrade().replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400),
    "4.2.1 no key": (upgrade().replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "4.2.1 a short key": (upgrade().replace(b"MDEyMzQ1Njc4OWFiY2RlZg==", b"AAAA"), 400),
    "4.2.1 two keys": (upgrade("/echo", "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"), 400),
    "4.2.1 post": (upgrade().replace(b"GET", b"POST"), 405),
    "4.2.1 get with a body": (upgrade("/echo", "Content-Length: 2\r\n") + b"{}", 400),
    "4.2.1 post with a body": (upgrade("/echo", "Content-Length: 2\r\n").replace(b"GET", b"POST") + b"{}", 400),
    "4.2.1 chunks": (upgrade("/echo", "Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n", 400),
    "4.2.1 no upgrade": (request("/echo", "Sec-WebSocket-Version: 13\r\n"), 200),
    "9.1 deflate offered": (
        upgrade("/echo", "Sec-WebSocket-Extensions: permessage-deflate\r\n"),
        101,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HANDSHAKES)
def test_handshakes_are_answered_as_the_standard_says(server: Served, name: str) -> None:
    sent, status = HANDSHAKES[name]
    with connect(server.address) as sock:
        sock.sendall(sent)
        head = read_head(sock)

        assert int(head.split()[1]) == status
        assert b"sec-websocket-extensions" not in head.lower()
