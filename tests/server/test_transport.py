"""Each item of the reliability document, section 3, over real sockets with short waits."""

import contextlib
import gc
import logging
import select
import socket
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from websockets.server import ServerProtocol

from realtime.hub.frames import text_frame
from realtime.server import transport
from realtime.server.pump import write_together
from realtime.server.transport import (
    Admission,
    HttpProtocol,
    Throttle,
    WebSocketProtocol,
    Wire,
    config,
    missing,
    protocols,
    quiet,
)
from realtime.server.uring import Uring
from tests.server.adversary import (
    CLOSE,
    CONT,
    PING,
    PONG,
    TEXT,
    Address,
    connect,
    ended,
    frame,
    opened,
    orphans,
    read_head,
    request,
    upgrade,
)
from tests.server.served import FAST, FLOOD, Served, served


SLOW_S = 2.5
"""What a slow machine may take beside a wait [s]: less than each of the usual waits, which are not to count here."""


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(loop=request.param) as one:
        yield one
        assert one.errors == []


@contextmanager
def only(loop: str, **waits: float) -> Iterator[Served]:
    """A server on which no wait but these ends within the patience of `ended`: what ends a peer is one of them.

    At a second each they are long enough for a test to see one that is thirty times too long.
    """
    names = ("header_s", "body_s", "stall_s", "stall_anonymous_s", "ping_s", "pong_s", "linger_s")
    given: dict[str, Any] = {**dict.fromkeys(names, 60), **waits}
    with served(loop=loop, **given) as one:
        yield one
        assert one.errors == []


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def calm(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A server whose waits do not end before a slow machine has done its part."""
    with only(request.param) as one:
        yield one


both_loops = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """One unmasked server frame: opcode and payload."""
    first, second = exactly(sock, 2)
    assert first & 0x70 == 0, "no extension was negotiated"
    size = second
    if size == 126:
        (size,) = struct.unpack("!H", exactly(sock, 2))
    elif size == 127:
        (size,) = struct.unpack("!Q", exactly(sock, 8))
    return first & 0x0F, exactly(sock, size)


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def answer(sock: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """An HTTP answer with a content length."""
    head = read_head(sock)
    line, *lines = head.rstrip().split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    return int(line.split()[1]), headers, exactly(sock, int(headers.get(b"content-length", 0)))


def pour(sock: socket.socket, piece: bytes) -> None:
    """Send without end, as far as the peer lets us."""
    for _ in range(500):
        sock.sendall(piece)
        time.sleep(0.0005)


def last_wire(server: Served) -> Wire:
    wire: Wire = server.call(lambda: server.app.wires[-1])
    return wire


def stalled(server: Served, *, known: bool = False) -> tuple[socket.socket, Wire]:
    """A peer that reads nothing and whose wire is paused."""
    sock = opened(server.address, "/deaf", receive_buffer=4_096)
    server.until(lambda: bool(server.app.wires))
    wire = last_wire(server)
    wire.authenticated = known

    def fill() -> None:
        while not wire.paused:
            wire.write(FLOOD)

    # uvloop writes, and pauses, at the end of an iteration
    for _ in range(100):
        if server.call(lambda: wire.paused):
            break
        server.call(fill)
    return sock, wire


# 3.1 Both


def test_b1_write_marks_are_16_and_64_kib(server: Served) -> None:
    with opened(server.address):
        edge = last_wire(server)._edge

        assert server.call(edge.get_write_buffer_limits) == (16_384, 65_536)


def test_b2_kernel_buffers_are_small(server: Served) -> None:
    with opened(server.address):
        sock = last_wire(server)._edge.get_extra_info("socket")

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 65_536
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 16_384
        assert sock.getsockopt(socket.IPPROTO_TCP, 25) == 65_536  # TCP_NOTSENT_LOWAT


def test_b2_a_reader_who_does_not_read_holds_about_a_hundred_messages(calm: Served) -> None:
    calm.app.flooded = 0
    sock, wire = stalled(calm)
    with sock:
        held = calm.call(wire._edge.unread)

    assert 64_000 < held < 220_000


def test_b3_a_stuck_peer_is_reset_and_leaves_no_orphan(server: Served) -> None:
    sock, _ = stalled(server)
    with sock:
        assert ended(sock) == "reset"
        assert orphans(server.address[1]) == []


def test_b4_a_close_ends_though_nobody_reads(server: Served) -> None:
    sock, wire = stalled(server)
    with sock:
        kernel = wire._edge.get_extra_info("socket")
        server.call(wire._edge.close)
        server.call(wire._edge.close)
        began = time.monotonic()

        assert kernel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 500
        assert ended(sock) == "reset"
        assert time.monotonic() - began < FAST.linger_s + SLOW_S


def test_b5_an_open_connection_has_no_user_timeout(server: Served) -> None:
    with opened(server.address):
        sock = last_wire(server)._edge.get_extra_info("socket")

        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0


def test_b6_small_writes_behind_unsent_data_are_gathered(calm: Served) -> None:
    sock, wire = stalled(calm)
    edge = wire._edge

    def write_many() -> list[int]:
        sizes = []
        for _ in range(100):
            edge.write(b"\x81\x01x")
            sizes.append(len(edge.gathered))
        return sizes

    with sock:
        assert calm.call(write_many)[-1] == 300
        assert calm.call(edge.buffered) > 300


def test_b6_what_was_gathered_arrives_in_order(server: Served) -> None:
    with opened(server.address) as sock:
        wire = last_wire(server)
        blobs = [text_frame(b"%d" % n + b"-" * (n % 300)) for n in range(200)]

        server.call(lambda: [wire.write(blob) for blob in blobs])

        assert [read_frame(sock)[1] for _ in blobs] == [
            b"%d" % n + b"-" * (n % 300) for n in range(200)
        ]


def test_b7_the_configuration_trusts_no_proxy_and_names_no_software() -> None:
    options = config(FAST, Admission(cap=1))
    made = uvicorn.Config("app", **options)

    assert made.proxy_headers is False
    assert made.server_header is False
    assert made.access_log is False
    assert made.ws_per_message_deflate is False
    assert made.timeout_graceful_shutdown is not None


def test_b7_a_peer_cannot_choose_its_address(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(request("/scope", "X-Forwarded-For: 6.6.6.6\r\n"))
        status, headers, body = answer(sock)

        assert status == 200
        assert orjson.loads(body)["client"] == list(sock.getsockname())
        assert b"server" not in headers


# 3.2 HttpProtocol


@both_loops
def test_h1_a_header_that_does_not_come_ends_the_connection(loop: str) -> None:
    sent = (b"", b"GET / HTTP/1.1\r\nHost: loc", b"\r\n", b"GET")
    with only(loop, header_s=1.0) as server, contextlib.ExitStack() as peers:
        began = time.monotonic()
        socks = []
        for part in sent:
            socks.append(peers.enter_context(connect(server.address)))
            with contextlib.suppress(ConnectionError):  # its second was over before
                socks[-1].sendall(part)

        assert [ended(sock) for sock in socks] == ["reset"] * len(sent)
        assert time.monotonic() - began > 0.5
        assert server.admission.ended == Counter(header=len(sent))


@both_loops
def test_h1_a_second_header_has_the_same_time(loop: str) -> None:
    with only(loop, header_s=3.0) as server, connect(server.address) as sock:
        sock.sendall(request())
        assert answer(sock)[2] == b"ok"
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET / HTTP/1.1\r\n")

        assert ended(sock) == "reset"
        assert server.admission.ended == Counter(header=1)


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Filler: 0123456789\r\n" * 2_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Filler: " + b"x" * 17_000,
        b"GET /" + b"x" * 17_000,
    ],
    ids=["many", "long", "url"],
)
def test_h2_a_header_over_16_kib_is_431(server: Served, head: bytes) -> None:
    with connect(server.address) as sock:
        sock.sendall(head)
        status, _, body = answer(sock)

        assert status == 431
        assert orjson.loads(body)["error"]["code"] == "bad_request"
        assert sock.recv(1) == b""


def test_h2_a_header_just_below_the_limit_is_served(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(request("/", "".join(f"X-{n}: {'x' * 100}\r\n" for n in range(140))))

        assert answer(sock)[0] == 200


def test_h2_a_websocket_header_the_second_parser_refuses_is_answered(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(upgrade("/echo", f"X-Long: {'x' * 9_000}\r\n"))

        assert answer(sock)[0] == 431
        assert ended(sock) is not None


def test_h3_a_request_before_the_last_answer_is_complete_is_400(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(request() + request())

        assert answer(sock)[0] == 400
        assert sock.recv(1) == b""


def test_h3_inside_an_answer_that_has_begun_the_connection_is_reset(calm: Served) -> None:
    with connect(calm.address) as sock:
        sock.sendall(request("/stream"))
        assert b" 200 " in read_head(sock)
        sock.sendall(request())

        assert ended(sock) == "reset"


def test_h3_one_request_after_the_other_is_served(server: Served) -> None:
    with connect(server.address) as sock:
        for _ in range(3):
            sock.sendall(request())

            assert answer(sock)[2] == b"ok"


def test_h4_a_body_up_to_the_limit_is_served(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(
            b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n" + b"x" * 65_536
        )

        assert answer(sock)[2] == b"65536"


@pytest.mark.parametrize("path", [b"/body", b"/"], ids=["wanted", "unwanted"])
def test_h4_a_body_over_the_limit_is_reset(calm: Served, path: bytes) -> None:
    with connect(calm.address) as sock:
        sock.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")

        with pytest.raises(ConnectionError):
            pour(sock, b"x" * 65_536)


def test_h4_an_answer_before_the_body_is_heard(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 9999\r\n\r\nx"
        )

        assert answer(sock)[2] == b"ok"
        assert sock.recv(1) == b""


@both_loops
def test_h4_a_body_that_does_not_come_ends_the_connection(loop: str) -> None:
    with only(loop, body_s=1.0) as server, connect(server.address) as sock:
        sock.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx")

        assert ended(sock) == "reset"
        assert server.admission.ended == Counter(body=1)


def test_h4_chunks_count_too(calm: Served) -> None:
    with connect(calm.address) as sock:
        sock.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")

        with pytest.raises(ConnectionError):
            pour(sock, b"8000\r\n" + b"x" * 0x8000 + b"\r\n")


@pytest.mark.parametrize(
    ("first", "more"),
    [(b"", b"2;" + b"x" * 4_000 + b"\r\n{}\r\n"), (b"0\r\n", b"X: y\r\n" * 1_000)],
    ids=["extensions", "trailers"],
)
def test_h4_what_stands_around_chunks_counts_too(calm: Served, first: bytes, more: bytes) -> None:
    """Found by a drive: 9 MB of trailers, in the two seconds of the body's timer, became 127 MB of memory."""
    with connect(calm.address) as sock:
        head = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + first)

        with pytest.raises(ConnectionError):
            pour(sock, more)


def test_h4_a_trailer_is_no_header(server: Served) -> None:
    with connect(server.address) as sock:
        head = b"POST /scope HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head + b"2\r\n{}\r\n0\r\nOrigin: http://evil\r\n\r\n")

        assert orjson.loads(answer(sock)[2])["headers"] == ["host", "transfer-encoding"]


@both_loops
def test_h5_an_answer_nobody_reads_is_reset(loop: str) -> None:
    with only(loop, stall_s=1.0) as server, connect(server.address, receive_buffer=4_096) as sock:
        sock.sendall(request("/big"))

        assert ended(sock) == "reset"
        assert server.admission.ended == Counter(stalled=1)


def test_h5_an_answer_read_slowly_arrives(server: Served) -> None:
    with connect(server.address, receive_buffer=65_536) as sock:
        sock.sendall(request("/big"))
        read_head(sock)
        got = 0
        while got < 2_000_000:
            got += len(sock.recv(50_000))
            time.sleep(0.005)

        assert got == 2_000_000


def test_h6_over_the_cap_there_is_a_lobby_and_beyond_it_nothing() -> None:
    admission = Admission(cap=2, lobby=1)
    with served(admission=admission) as server:
        inside = [opened(server.address) for _ in range(2)]
        lobby = connect(server.address)
        server.until(lambda: admission.waiting == 1)

        assert turned_away(server.address)
        lobby.sendall(upgrade())
        status, headers, body = answer(lobby)
        assert (status, headers[b"retry-after"]) == (503, b"5")
        assert orjson.loads(body)["error"]["code"] == "busy"
        inside[0].sendall(frame(TEXT, b"still here"))
        assert read_frame(inside[0]) == (TEXT, b"still here")
        inside[1].close()
        server.until(lambda: admission.inside == 1)
        with opened(server.address):
            assert admission.inside == 2
        for sock in (*inside, lobby):
            sock.close()
        server.until(lambda: admission.inside == admission.waiting == 0)


def turned_away(address: Address) -> bool:
    """Whether a connection is reset at once: seen in its first read, or in `connect` itself."""
    try:
        with connect(address) as sock:
            return ended(sock) == "reset"
    except ConnectionResetError:
        return True


def test_h6_a_plain_request_in_the_lobby_never_reaches_the_application() -> None:
    with served(admission=Admission(cap=0, lobby=1)) as server, connect(server.address) as sock:
        sock.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")

        assert answer(sock)[0] == 503


def test_h6_upgrades_over_the_accept_rate_are_503_with_a_time() -> None:
    with (
        served(admission=Admission(cap=9, accept_per_s=1)) as server,
        opened(server.address),
        connect(server.address) as late,
    ):
        late.sendall(upgrade())
        status, headers, _ = answer(late)

        assert (status, headers[b"retry-after"]) == (503, b"1")


def test_h7_after_a_refusal_the_connection_ends_read_or_not(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert answer(sock)[0] == 400
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 30:
                sock.sendall(b"x")
                time.sleep(0.02)

        assert time.monotonic() - began < FAST.linger_s + SLOW_S


@pytest.mark.parametrize("kind", ["h2c", "websocket2"])
def test_another_upgrade_is_400(server: Served, kind: str) -> None:
    with connect(server.address) as sock:
        sock.sendall(request("/hold", f"Connection: Upgrade\r\nUpgrade: {kind}\r\n"))

        assert answer(sock)[0] == 400


# 3.3 WebSocketProtocol


def test_w1_frames_are_written_as_they_are(server: Served) -> None:
    with opened(server.address) as sock:
        wire = last_wire(server)
        blob = text_frame(b"one") + text_frame(b"x" * 300) + text_frame(b"three")

        assert server.call(wire.write, blob) is True
        assert [read_frame(sock) for _ in range(3)] == [
            (TEXT, b"one"),
            (TEXT, b"x" * 300),
            (TEXT, b"three"),
        ]


def test_w1_a_blob_that_fits_only_in_part_arrives_whole_and_in_order(calm: Served) -> None:
    blobs = [text_frame(b"%06d" % n + b"-" * (n * 37 % 9_000)) for n in range(300)]
    with opened(calm.address, "/deaf", receive_buffer=4_096) as sock:
        calm.until(lambda: bool(calm.app.wires))
        wire = last_wire(calm)
        wire.authenticated = True
        waiting = list(blobs)

        def fill() -> None:
            while waiting and not wire.paused:
                wire.write(waiting.pop(0))

        wire.on_resume = fill
        calm.call(fill)

        assert [read_frame(sock)[1] for _ in blobs] == [
            b"%06d" % n + b"-" * (n * 37 % 9_000) for n in range(300)
        ]


def test_w1_what_is_written_soon_keeps_its_place(calm: Served) -> None:
    frames = [text_frame(b"%d" % n * size) for n, size in enumerate([1, 200, 1, 200, 1, 1, 200, 9])]
    with opened(calm.address, "/deaf") as sock:
        calm.until(lambda: bool(calm.app.wires))
        wire = last_wire(calm)

        def write() -> None:
            for number, blob in enumerate(frames):
                assert (wire.write if number % 3 == 0 else wire.write_soon)(blob)

        calm.call(write)
        calm.call(write)

        assert exactly(sock, 2 * len(b"".join(frames))) == b"".join(frames) * 2


def test_w1_many_wires_written_together_get_the_same_whole_and_in_order(calm: Served) -> None:
    texts = [b"%06d" % n + b"-" * (n * 37 % 9_000) for n in range(200)]
    uring = Uring.open(4)
    if uring is None:
        pytest.skip("this kernel offers no io_uring, or forbids it")
    with contextlib.ExitStack() as stack:
        stack.callback(uring.close)
        slow = stack.enter_context(opened(calm.address, "/deaf", receive_buffer=4_096))
        stuck = last_wire(calm)
        stuck.authenticated = True
        socks, wires = [], [stuck]
        for _ in range(6):
            socks.append(stack.enter_context(opened(calm.address, "/deaf")))
            wires.append(last_wire(calm))
        taken = len(texts)
        for n, text in enumerate(texts, 1):
            full = calm.call(write_together, uring, text_frame(text), wires)
            assert full in ([], [stuck])
            assert [read_frame(sock)[1] for sock in socks] == [text] * 6
            if full:
                wires.remove(stuck)
                taken = n

        assert 0 < taken < len(texts)
        assert [read_frame(slow)[1] for _ in range(taken)] == texts[:taken]


def test_w1_without_a_second_descriptor_the_transport_writes(server: Served) -> None:
    with opened(server.address) as sock:
        wire = last_wire(server)

        def write_without() -> None:
            assert wire._door is not None
            wire._door.close()
            wire._door = wire._send = None
            wire.write(text_frame(b"small"))
            wire.write(text_frame(b"x" * 500))

        server.call(write_without)

        assert [read_frame(sock)[1] for _ in range(2)] == [b"small", b"x" * 500]


def test_w1_nothing_follows_a_close_frame(server: Served) -> None:
    with opened(server.address) as sock:
        wire = last_wire(server)

        def close_and_write() -> bool:
            wire.close(4503, "shutdown")
            return wire.write(text_frame(b"late"))

        assert server.call(close_and_write) is False
        assert read_frame(sock) == (CLOSE, struct.pack("!H", 4503) + b"shutdown")
        sock.sendall(frame(CLOSE, struct.pack("!H", 4503)))
        assert sock.recv(1) == b""


def test_w2_the_pump_hears_of_pause_and_resume(calm: Served) -> None:
    with opened(calm.address, "/deaf", receive_buffer=4_096) as sock:
        calm.until(lambda: bool(calm.app.wires))
        wire = last_wire(calm)
        heard: list[str] = []
        wire.on_pause = lambda: heard.append("pause")
        wire.on_resume = lambda: heard.append("resume")
        wire.authenticated = True
        written = 0
        while not calm.call(lambda: wire.paused):
            calm.call(wire.write, FLOOD)
            written += 1
        assert calm.call(wire.buffered) >= 60_000
        for _ in range(written):
            assert read_frame(sock) == (TEXT, b"x" * 1_000)
        calm.until(lambda: not wire.paused)

        assert heard == ["pause", "resume"]


def test_w2_a_blob_written_while_paused_is_not_lost_silently(calm: Served) -> None:
    sock, wire = stalled(calm)
    with sock:
        before = calm.call(wire.buffered)

        assert calm.call(wire.write, FLOOD) is False
        assert calm.call(wire.buffered) == before + len(FLOOD)

        calm.call(lambda: [wire.write(FLOOD) for _ in range(300)])
        assert ended(sock) == "reset"


def test_w2_abort_resets(calm: Served) -> None:
    with opened(calm.address) as sock:
        wire = last_wire(calm)
        calm.call(wire.abort)

        assert ended(sock) == "reset"
        calm.until(lambda: wire._protocol is None)
        calm.call(wire.abort)
        calm.call(wire.close, 1000, "")
        assert calm.call(wire.write, FLOOD) is False


@both_loops
@pytest.mark.parametrize(
    ("known", "wait"),
    [(False, "stall_anonymous_s"), (True, "stall_s")],
    ids=["unknown", "authenticated"],
)
@pytest.mark.promise("T3")
def test_w3_a_peer_that_does_not_read_is_reset(loop: str, *, known: bool, wait: str) -> None:
    with only(loop, **{wait: 1.0}) as server:
        sock, _ = stalled(server, known=known)
        with sock:
            assert ended(sock) == "reset"
            assert server.admission.ended == Counter(stalled=1)


@pytest.mark.promise("T3")
def test_w3_a_slow_reader_is_never_cut() -> None:
    # 8 kB/s against 10 s, ten times faster: 80 kB/s against 1 s
    with (
        served(stall_s=1.0, stall_anonymous_s=1.0, ping_s=60) as server,
        opened(server.address, "/flood", receive_buffer=16_384) as sock,
    ):
        got = 0
        for _ in range(24):
            got += len(sock.recv(8_000))
            time.sleep(0.1)

        assert got > 120_000
        assert server.admission.ended["stalled"] == 0


def test_w4_closing_a_paused_peer_resets_it(calm: Served) -> None:
    """At once: after none of the waits."""
    sock, wire = stalled(calm)
    with sock:
        calm.call(wire.close, 4508, "slow_consumer")

        assert ended(sock) == "reset"


def test_w4_a_close_asked_by_the_application_never_waits(server: Served) -> None:
    with opened(server.address) as sock:
        sock.sendall(frame(TEXT, b"close"))

        assert read_frame(sock) == (CLOSE, struct.pack("!H", 4503) + b"shutdown")
        began = time.monotonic()
        assert ended(sock) is not None
        assert time.monotonic() - began < 2 * FAST.linger_s + SLOW_S


def test_w4_a_long_reason_is_cut_to_fit(server: Served) -> None:
    with opened(server.address) as sock:
        server.call(last_wire(server).close, 4500, "é" * 100)
        opcode, payload = read_frame(sock)

        assert (opcode, payload[2:].decode()) == (CLOSE, "é" * 61)


def test_w5_a_reading_peer_gets_every_pong(server: Served) -> None:
    with opened(server.address) as sock:
        for n in range(20):
            sock.sendall(frame(PING, b"%d" % n))

        assert [read_frame(sock) for _ in range(20)] == [(PONG, b"%d" % n) for n in range(20)]


def test_w5_a_peer_who_does_not_read_has_one_pong_waiting(calm: Served) -> None:
    sock, wire = stalled(calm)
    with sock:
        before = calm.call(wire.buffered)
        for n in range(50):
            sock.sendall(frame(PING, b"%d" % n))
        protocol = wire._protocol
        assert protocol is not None
        calm.until(lambda: protocol._pong == b"\x8a\x0249")

        assert calm.call(wire.buffered) == before
        while (got := read_frame(sock))[0] != PONG:
            pass
        assert got == (PONG, b"49")


def test_w5_between_the_marks_the_latest_pong_comes_when_there_is_room(calm: Served) -> None:
    with opened(calm.address, "/deaf", receive_buffer=4_096) as sock:
        calm.until(lambda: bool(calm.app.wires))
        wire = last_wire(calm)
        written = 0
        while calm.call(wire.buffered) < 20_000:
            calm.call(wire.write, FLOOD)
            written += 1
        assert not wire.paused
        sock.sendall(frame(PING, b"first") + frame(PING, b"last"))
        protocol = wire._protocol
        assert protocol is not None
        calm.until(lambda: protocol._pong == b"\x8a\x04last")
        for _ in range(written):
            assert read_frame(sock)[0] == TEXT

        assert read_frame(sock) == (PONG, b"last")


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_w6_a_flood_of_control_frames_is_reset(calm: Served, opcode: int) -> None:
    with opened(calm.address) as sock:
        sock.sendall(frame(opcode, b"") * 100)
        assert ended(sock, 0.05) is None
        # more than the whole of it, however much has come back meanwhile
        sock.sendall(frame(opcode, b"") * 200)

        assert ended(sock) == "reset"


def test_w7_too_many_fragments_are_1009(server: Served) -> None:
    with opened(server.address) as sock:
        sock.sendall(frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 300)
        opcode, payload = read_frame(sock)

        assert (opcode, payload) == (CLOSE, struct.pack("!H", 1009) + b"too big")


def test_a_frame_that_is_too_long_is_told_by_the_name_of_its_code(server: Served) -> None:
    with opened(server.address) as sock:
        sock.sendall(frame(TEXT, b"x" * 65_537))

        assert read_frame(sock) == (CLOSE, struct.pack("!H", 1009) + b"too big")


def test_w7_as_many_fragments_as_allowed_are_one_message(server: Served) -> None:
    with opened(server.address) as sock:
        sock.sendall(
            frame(TEXT, b"a", fin=False) + frame(CONT, b"b", fin=False) * 126 + frame(CONT, b"c")
        )

        assert read_frame(sock) == (TEXT, b"a" + b"b" * 126 + b"c")


def test_w8_few_messages_wait_however_many_come_at_once(server: Served) -> None:
    with opened(server.address, "/deaf") as sock:
        server.until(lambda: bool(server.app.wires))
        protocol = last_wire(server)._protocol
        assert protocol is not None
        sock.setblocking(False)
        blob = memoryview(frame(TEXT) * 40_000)
        sent, until = 0, time.monotonic() + 0.2
        while sent < len(blob) and time.monotonic() < until:
            try:
                sent += sock.send(blob[sent:])
            except BlockingIOError:
                select.select([], [sock], [], 0.02)

        assert server.call(protocol.queue.qsize) <= 172
        assert server.call(lambda: len(protocol._raw)) <= 3 * 32_768


def test_w8_all_messages_arrive_in_the_end(calm: Served) -> None:
    with opened(calm.address) as sock:
        sock.sendall(b"".join(frame(TEXT, b"%d" % n) for n in range(2_000)))

        assert [read_frame(sock)[1] for _ in range(2_000)] == [b"%d" % n for n in range(2_000)]


def test_w8_messages_behind_the_upgrade_wait_for_the_answer(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(upgrade("/late") + frame(TEXT, b"hasty") + frame(PING, b"!"))
        time.sleep(0.02)
        sock.sendall(frame(TEXT, b"hasty too"))
        time.sleep(0.02)
        server.call(server.app.hold.set)

        assert b" 101 " in read_head(sock)
        assert read_frame(sock) == (PONG, b"!")
        assert [read_frame(sock)[1] for _ in range(2)] == [b"hasty", b"hasty too"]
        server.call(server.app.hold.clear)


@pytest.mark.promise("T3")
def test_w8_a_listener_hears_all_in_order_also_what_came_before_it_listened(calm: Served) -> None:
    count = 2_000
    with connect(calm.address) as sock:
        sock.sendall(upgrade("/told") + b"".join(frame(TEXT, b"%d" % n) for n in range(count)))

        assert b" 101 " in read_head(sock)
        assert [read_frame(sock)[1] for _ in range(count)] == [b"%d" % n for n in range(count)]


@both_loops
def test_w8_a_mistake_of_the_listener_is_logged_and_told(loop: str) -> None:
    with served(loop=loop) as server:
        with opened(server.address, "/told") as sock:
            texts = [b"1", b"2", b"3", b"mistake", b"later"]
            sock.sendall(b"".join(frame(TEXT, text) for text in texts))

            assert [read_frame(sock)[1] for _ in range(3)] == texts[:3]
            assert read_frame(sock) == (CLOSE, struct.pack("!H", 4500) + b"internal")
            assert ended(sock) is not None
        server.until(lambda: bool(server.app.closed))

        assert [str(error["exception"]) for error in server.errors] == ["mistake"]


@both_loops
def test_w9_a_mute_peer_is_reset(loop: str) -> None:
    with only(loop, ping_s=0.25, pong_s=1.0) as server, opened(server.address) as sock:
        assert read_frame(sock)[0] == PING

        assert ended(sock) == "reset"
        assert server.admission.ended == Counter(mute=1)


def test_w9_a_peer_that_answers_pings_stays(server: Served) -> None:
    with opened(server.address) as sock:
        for _ in range(4):
            opcode, payload = read_frame(sock)
            assert opcode == PING
            sock.sendall(frame(PONG, payload))

        sock.sendall(frame(TEXT, b"alive"))
        assert read_frame(sock) == (TEXT, b"alive")
        rtt_s = server.call(lambda: server.app.wires[-1].rtt_s)
        assert rtt_s is not None
        assert rtt_s > 0


@pytest.mark.promise("T3")
def test_w9_a_ping_behind_data_that_is_read_slowly_does_not_kill_the_reader() -> None:
    with (
        served(ping_s=0.2, pong_s=0.3, stall_s=2, stall_anonymous_s=2) as server,
        opened(server.address, "/flood", receive_buffer=16_384) as sock,
    ):
        got = 0
        for _ in range(75):
            got += len(sock.recv(4_000))
            time.sleep(0.02)

        assert got > 50_000
        assert server.admission.ended["mute"] == 0


def test_w10_shutdown_closes_readers_and_resets_the_stalled(calm: Served) -> None:
    stuck, wire = stalled(calm)
    stuck_protocol = wire._protocol
    reader = opened(calm.address)
    protocol = last_wire(calm)._protocol
    assert protocol is not None
    assert stuck_protocol is not None

    def shut_down() -> None:
        for one in (protocol, stuck_protocol):
            one.shutdown()
            one.shutdown()

    with stuck, reader:
        calm.call(shut_down)

        assert ended(stuck) == "reset"
        assert read_frame(reader) == (CLOSE, struct.pack("!H", 1012))


def test_w11_bad_utf8_is_1007_without_a_traceback(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(server.address) as sock:
        sock.sendall(frame(TEXT, b"\xff\xfe"))
        opcode, payload = read_frame(sock)

        assert (opcode, payload[:2]) == (CLOSE, struct.pack("!H", 1007))
        assert not [record for record in caplog.records if record.exc_info]


def test_w11_a_cause_is_logged_ten_times_a_second() -> None:
    throttle = Throttle()
    record = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "bad thing %d", (1,), None)
    other = logging.LogRecord("uvicorn.error", logging.WARNING, "", 0, "other thing", (), None)
    record.created = other.created = 1_000.5

    assert [throttle.filter(record) for _ in range(12)] == [True] * 10 + [False] * 2
    assert throttle.filter(other) is True
    record.created = 1_001.1
    assert throttle.filter(record) is True


def test_w11_uvicorn_speaks_only_of_trouble() -> None:
    quiet()
    quiet()
    logger = logging.getLogger("uvicorn.error")

    assert logger.level == logging.WARNING
    assert sum(isinstance(one, Throttle) for one in logger.filters) == 1


def test_w12_the_application_can_refuse_an_upgrade_with_a_status(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    with connect(server.address) as sock:
        sock.sendall(upgrade("/refuse"))
        status, _, body = answer(sock)

        assert (status, body) == (403, b"no")
        assert sock.recv(1) == b""
        time.sleep(0.05)
        assert "handshake" not in caplog.text


# Manners


def test_a_peer_that_says_goodbye_is_answered(server: Served) -> None:
    with opened(server.address) as sock:
        sock.sendall(frame(CLOSE, struct.pack("!H", 1000) + b"bye"))

        assert read_frame(sock) == (CLOSE, struct.pack("!H", 1000) + b"bye")
        assert sock.recv(1) == b""


def test_a_half_closed_peer_is_let_go(server: Served) -> None:
    with opened(server.address) as sock:
        sock.shutdown(socket.SHUT_WR)

        assert sock.recv(1) == b""


def test_what_comes_after_a_violation_is_bounded(calm: Served) -> None:
    with opened(calm.address) as sock:
        sock.sendall(b"\x81\x01x")

        with pytest.raises(ConnectionError):
            pour(sock, b"x" * 65_536)


def test_a_violation_of_a_paused_peer_resets_it(calm: Served) -> None:
    sock, _ = stalled(calm)
    with sock:
        sock.sendall(frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 200)

        assert ended(sock) == "reset"


ENDS = {
    "a close": frame(CLOSE, struct.pack("!H", 1000)),
    "a reset": b"",
    "half a frame": frame(TEXT, b"{}")[:-1],
    "no frame": b"\xff\xff\xff",
    "no utf-8": frame(TEXT, b"\xff\xfe"),
    "too long": b"\x81\xff" + bytes(4) + b"\x7f" + bytes(7),
}
BAD_KEYS = {
    "no key": "",
    "a short key": "Sec-WebSocket-Key: MDE\r\n",
    "no base64": "Sec-WebSocket-Key: ???\r\n",
}
UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"


@contextmanager
def nothing_left() -> Iterator[None]:
    """What is a connection's is freed without the collector, which hardly ever looks at what is a second old."""

    kinds = (HttpProtocol, WebSocketProtocol, ServerProtocol, Wire)
    gc.freeze()  # what is there is not listed
    gc.disable()
    try:
        yield
        end = time.monotonic() + 30
        while any(isinstance(one, kinds) for one in gc.get_objects()):
            assert time.monotonic() < end, "something refers to itself"
            time.sleep(0.02)
    finally:
        gc.enable()
        gc.unfreeze()


@pytest.mark.parametrize("last", ENDS.values(), ids=ENDS)
def test_a_connection_leaves_nothing_to_the_collector(server: Served, last: bytes) -> None:
    with nothing_left():
        with opened(server.address) as sock:
            sock.sendall(last)
            sock.shutdown(socket.SHUT_WR)
            ended(sock)
        server.app.wires.clear()


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_handshake_leaves_nothing_to_the_collector(server: Served, key: str) -> None:
    with nothing_left(), connect(server.address) as sock:
        sock.sendall(request("/echo", UPGRADE + key))

        assert answer(sock)[0] == 400


def test_a_handshake_without_a_key_is_refused(server: Served) -> None:
    with connect(server.address) as sock:
        sock.sendall(request("/echo", "Upgrade: websocket\r\nConnection: Upgrade\r\n"))

        assert answer(sock)[0] == 400


def test_the_classes_work_behind_another_http_class() -> None:
    http, ws = protocols(FAST, Admission(cap=1))
    assert (http.limits, ws.limits) == (FAST, FAST)
    assert issubclass(http, HttpProtocol)
    with served() as server:

        def stock() -> Any:
            made = uvicorn.Config(
                server.app, **{**config(FAST, Admission(cap=1)), "http": HttpToolsProtocol}
            )
            made.load()
            return server.loop.create_task(
                server.loop.create_server(
                    lambda: HttpToolsProtocol(made, ServerState(), {}), "127.0.0.1", 0
                )
            )

        task = server.call(stock)
        server.until(task.done)
        listening = task.result()
        with opened(listening.sockets[0].getsockname()) as sock:
            sock.sendall(frame(TEXT, b"hello"))
            assert read_frame(sock) == (TEXT, b"hello")
            with pytest.raises(ConnectionError):
                opened(listening.sockets[0].getsockname())
        server.call(listening.close)


def test_what_uvicorn_no_longer_has_is_named() -> None:
    absent = missing({WebSocketProtocol: ("queue", "shutdown", "gone_method", "gone_attribute")})

    assert [name.rsplit(".", 1)[1] for name in absent] == ["gone_method", "gone_attribute"]
    assert missing() == []
    assert set(transport.__all__) <= set(vars(transport))
