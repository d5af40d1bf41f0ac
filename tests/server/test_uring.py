"""io_uring over real sockets: what was sent, and what was not."""

import errno
import socket
from collections.abc import Iterator, Sequence

import pytest

from realtime.server.uring import Uring, UringError


Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def uring() -> Iterator[Uring]:
    one = Uring.open(8)
    if one is None:
        pytest.skip("this kernel offers no io_uring, or forbids it")
    yield one
    one.close()


@pytest.fixture
def pairs() -> Iterator[Pairs]:
    made = [socket.socketpair() for _ in range(21)]
    for ours, _ in made:
        ours.setblocking(False)
    yield made
    for pair in made:
        for one in pair:
            one.close()


def numbers(pairs: Pairs) -> list[int]:
    return [ours.fileno() for ours, _ in pairs]


def test_every_socket_gets_every_blob_in_order_however_often_the_rings_go_round(
    uring: Uring, pairs: Pairs
) -> None:
    for count in (21, 3, 8, 0, 1, 21, 7):
        assert uring.send(b"%d." % count, numbers(pairs)[:count]) == {}

    assert pairs[0][1].recv(100) == b"21.3.8.1.21.7."
    assert [theirs.recv(100) for _, theirs in pairs[1:3]] == [b"21.3.8.21.7."] * 2
    assert [theirs.recv(100) for _, theirs in pairs[8:]] == [b"21.21."] * 13


def test_a_full_socket_takes_what_there_is_room_for_and_stops_nobody(
    uring: Uring, pairs: Pairs
) -> None:
    large = bytes(1 << 20)
    (_, taken), *none = uring.send(large, numbers(pairs)[9:10]).items()
    assert none == []
    assert 0 < taken < len(large)

    assert uring.send(b"next", numbers(pairs)) == {9: 0}
    assert pairs[20][1].recv(100) == b"next"


def test_a_peer_that_is_gone_and_a_number_that_is_none_take_nothing(
    uring: Uring, pairs: Pairs
) -> None:
    pairs[2][1].close()
    wanted = numbers(pairs)[:12]
    wanted[10] = -1

    assert uring.send(b"still", wanted) == {2: 0, 10: 0}
    assert pairs[11][1].recv(100) == b"still"


def test_what_the_kernel_does_not_look_at_was_not_sent(uring: Uring, pairs: Pairs) -> None:
    uring.close()

    assert uring.send(b"late", numbers(pairs)[:3]) == {0: 0, 1: 0, 2: 0}
    with pytest.raises(BlockingIOError):
        pairs[0][1].recv(1, socket.MSG_DONTWAIT)


def test_a_completion_nobody_waits_for_is_an_error(uring: Uring, pairs: Pairs) -> None:
    uring._words[uring._read] -= 1
    with pytest.raises(UringError, match="did not end"):
        uring.send(b"what", numbers(pairs)[:1])


@pytest.mark.parametrize("flaw", ["kernel", "full", "descriptors"])
def test_a_kernel_that_does_otherwise_is_left_alone(
    uring: Uring, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    class Other(Uring):
        def send(self, blob: bytes, numbers: Sequence[int]) -> dict[int, int]:
            if flaw == "descriptors":
                raise OSError(errno.EMFILE, "too many")
            partly = super().send(blob, numbers)
            return dict.fromkeys(partly, 1) if flaw == "full" else partly

    if flaw == "kernel":
        monkeypatch.setattr("realtime.server.uring.CQE_SKIP", 1 << 31)

    assert Other.open(8) is None


@pytest.mark.parametrize("entries", [0, 1 << 20])
def test_where_the_kernel_refuses_there_is_none(entries: int) -> None:
    assert Uring.open(entries) is None
