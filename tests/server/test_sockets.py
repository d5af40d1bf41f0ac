"""`Edge` on the virtual clock, over a transport that keeps what it is given."""

import asyncio
import os
import resource
import socket
import struct
from collections import Counter
from typing import Any

import pytest

from realtime.server.sockets import (
    Edge,
    TransportLimits,
    bind,
    reset,
    second_door,
    tune,
    weaker_here,
)


LIMITS = TransportLimits()


class Kept(asyncio.Transport):
    """A transport without a peer: `held` bytes are unsent until a test says otherwise."""

    def __init__(self, sock: socket.socket | None = None) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.held = 0
        self.calls: list[str] = []
        self.marks: tuple[int, int] = (0, 0)
        self._sock = sock
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return self.held

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.marks = (low or 0, high or 0)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self.marks

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return True

    def can_write_eof(self) -> bool:
        return True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.calls.append("set_protocol")

    def get_protocol(self) -> asyncio.BaseProtocol:
        return asyncio.Protocol()

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")

    def close(self) -> None:
        self._closing = True
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


def edge_over(kept: Kept) -> tuple[Edge, Counter[str]]:
    causes: Counter[str] = Counter()

    def count(cause: str) -> None:
        causes[cause] += 1

    return Edge(kept, asyncio.get_running_loop(), LIMITS, count), causes


async def test_a_write_to_an_empty_transport_goes_through() -> None:
    kept = Kept()
    edge, _ = edge_over(kept)
    edge.write(b"a")
    edge.write(b"")
    edge.writelines([b"b", b"c"])

    assert kept.writes == [b"a", b"bc"]
    assert kept.marks == (16_384, 65_536)


async def test_small_pieces_become_one_write_when_the_transport_is_empty() -> None:
    kept = Kept()
    kept.held = 1
    edge, _ = edge_over(kept)
    for _ in range(50):
        edge.write(b"ab")
    assert edge.buffered() == edge.get_write_buffer_size() == 101
    kept.held = 0
    await asyncio.sleep(0)

    assert kept.writes == [b"ab" * 50]
    assert edge.buffered() == 0


async def test_while_the_peer_is_slow_it_is_looked_at_ever_less_often() -> None:
    kept = Kept()
    kept.held = 1
    edge, _ = edge_over(kept)
    edge.write(b"ab")
    await asyncio.sleep(1)
    assert kept.writes == []
    kept.held = 0
    await asyncio.sleep(0.1)

    assert kept.writes == [b"ab"]


async def test_four_kib_of_small_pieces_leave_as_one_write() -> None:
    kept = Kept()
    kept.held = 1
    edge, _ = edge_over(kept)
    for _ in range(64):
        edge.write(b"x" * 64)

    assert kept.writes == [b"x" * 4_096]


async def test_a_large_piece_takes_the_small_ones_with_it_in_order() -> None:
    kept = Kept()
    kept.held = 1
    edge, _ = edge_over(kept)
    edge.write(b"small")
    edge.write(b"x" * 5_000)

    assert kept.writes == [b"small", b"x" * 5_000]


async def test_a_close_sends_what_was_gathered_and_nothing_after() -> None:
    kept = Kept()
    kept.held = 1
    edge, _ = edge_over(kept)
    edge.write(b"last")
    edge.close()
    edge.write(b"late")
    await asyncio.sleep(10)

    assert kept.writes == [b"last"]
    assert kept.calls == ["close"]  # no socket, nothing to reset
    assert edge.is_closing()


async def test_a_lingering_close_ends_only_our_side() -> None:
    kept = Kept()
    edge, _ = edge_over(kept)
    edge.lingers = True
    edge.close()

    assert kept.calls == ["write_eof"]


async def test_what_is_left_of_a_close_is_reset() -> None:
    with socket.socket() as sock:
        kept = Kept(sock)
        edge, _ = edge_over(kept)
        edge.close()
        await asyncio.sleep(2.9)
        assert kept.calls == ["close"]
        await asyncio.sleep(0.2)

        assert kept.calls == ["close", "abort"]
        linger = sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
        assert struct.unpack("ii", linger) == (1, 0)


async def test_a_lost_connection_has_no_timers_left() -> None:
    with socket.socket() as sock:
        kept = Kept(sock)
        kept.held = 70_000
        edge, causes = edge_over(kept)
        edge.watch(lambda: 1.0)
        edge.write(b"x")
        edge.lost()
        await asyncio.sleep(10)

        assert kept.calls == []
        assert causes == {}
        assert edge.buffered() == 70_000


async def test_a_watched_peer_is_reset_when_it_takes_too_little() -> None:
    with socket.socket() as sock:
        kept = Kept(sock)
        kept.held = 70_000
        edge, causes = edge_over(kept)
        edge.watch(lambda: 10.0)
        await asyncio.sleep(9.9)
        kept.held = 60_000
        await asyncio.sleep(10)
        kept.held = 57_000
        assert causes == {}
        await asyncio.sleep(0.2 + 10)

        assert causes == {"stalled": 1}
        assert kept.calls == ["abort"]
        edge.abandon("again")
        assert causes == {"stalled": 1}


async def test_a_peer_that_reads_again_is_watched_no_more() -> None:
    kept = Kept()
    edge, causes = edge_over(kept)
    edge.watch(lambda: 1.0)
    edge.watch(lambda: 1.0)
    edge.unwatch()
    edge.unwatch()
    await asyncio.sleep(5)

    assert causes == {}


async def test_the_rest_of_a_transport_is_handed_on() -> None:
    kept = Kept()
    edge, _ = edge_over(kept)
    edge.set_write_buffer_limits(high=10, low=5)
    edge.set_protocol(asyncio.Protocol())
    edge.pause_reading()
    edge.resume_reading()
    edge.write_eof()
    kept.close()
    edge.pause_reading()
    edge.resume_reading()

    assert edge.get_write_buffer_limits() == (5, 10)
    assert edge.is_reading()
    assert edge.can_write_eof()
    assert isinstance(edge.get_protocol(), asyncio.Protocol)
    assert edge.get_extra_info("peername", "nobody") == "nobody"
    assert kept.calls == ["set_protocol", "pause_reading", "resume_reading", "write_eof", "close"]
    assert edge.is_closing()


async def test_a_socket_that_is_not_tcp_is_judged_by_what_we_hold() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        kept = Kept(ours)
        kept.held = 5
        edge, _ = edge_over(kept)

        assert tune(kept, LIMITS) is None
        assert edge.unread() == 5
        assert edge.acknowledged() == 0
        reset(kept)
        assert kept.calls == ["abort"]


def test_a_closed_socket_is_left_alone() -> None:
    sock = socket.socket()
    kept = Kept(sock)
    sock.close()
    reset(kept)

    assert kept.calls == []
    assert tune(kept, LIMITS) is None


def test_a_listening_socket_hands_its_buffers_to_those_it_accepts() -> None:
    with bind("127.0.0.1", 0, LIMITS) as listener:
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 32_768
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 131_072
        with pytest.raises(OSError, match="in use"):
            bind("127.0.0.1", listener.getsockname()[1], LIMITS)


def test_a_second_door_is_for_tcp_with_descriptors_to_spare() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as sock:
        kept = Kept(sock)
        door = second_door(kept)
        assert door is not None
        door.close()
        taken = [os.dup(sock.fileno()) for _ in range(40)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 10, hard))
            assert second_door(kept) is None
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            assert second_door(kept) is None
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for number in taken:
                os.close(number)
    assert second_door(Kept(sock)) is None
    assert second_door(Secret()) is None


class Secret(Kept):
    """A transport under TLS."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return "context" if name == "sslcontext" else default


def test_linux_lacks_nothing() -> None:
    assert weaker_here() == ()
