"""Promises T2 and T3: whatever a peer does, it costs little and it is gone. With uvicorn as the control.

The server runs in a process of its own; waits are some twenty times shorter than those of a real server.
"""

import os
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

import httpx
import pytest

from tests.server.adversary import (
    TEXT,
    Address,
    Outcome,
    Sampler,
    connect,
    descriptors,
    frame,
    opened,
    orphans,
    read_head,
    request,
    run,
)
from tests.server.served import FAST, process


MIB = 1 << 20
BOUND = 4 * MIB
"""Growth that eight attackers at once may cause: 320 KiB each, and some noise of the allocator."""
ATTACKERS = 8
BUSY = 3
"""Load per processor beyond which latencies are those of the machine."""
PATIENCE_S = 30.0
"""How long an attack may go on, with a slow machine in mind: each ends long before, at once or after a wait."""
UNTOLD_S = 1.5
"""The same where the attacker may never learn that it is over: longer than any wait of the fast limits."""

GONE = {
    "stall": {"reset"},
    "ping": {"reset"},
    "ping_reading": {"reset"},
    "pong": {"reset"},
    "empty_fragments": {"reset", "closed"},
    "byte_fragments": {"reset", "closed"},
    "empty_messages": {"reset"},
    "tiny_messages": {"reset"},
    "headers": {"reset"},
    "long_header": {"reset"},
    "long_url": {"reset"},
    "pipeline": {"reset"},
    "body": {"reset"},
    "partial": {"reset"},
    "silent": {"reset"},
    "mute": {"reset"},
    "bomb": {"reset", "closed"},
    "giant_length": {"reset", "closed"},
    "rsv_bits": {"reset", "closed"},
    "unmasked": {"reset", "closed"},
    # Who does not read may not learn of it: the kernel gives up its side without a word (TCP_USER_TIMEOUT).
    "half_close": {"reset", "closed", "open"},
}
"""How each attack ends, as the attacker sees it."""
TIMED = {"stall": "stalled", "mute": "mute", "partial": "header", "silent": "header"}
"""The wait that ends an attack, where nothing else is to."""
LIMITS = replace(FAST, header_s=1.0, pong_s=3.0)
"""A header that waits thirty times too long outlives the patience; a stalled peer ends long before it is a mute one."""


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Address]]:
    with process(limits=LIMITS) as (pid, address):
        for name in (
            "tiny_messages",
            "headers",
            "stall",
        ):  # the allocator's first visit to its peaks
            run(name, address, seconds=0.3, attackers=ATTACKERS)
        time.sleep(0.5)
        yield pid, address


def ended_by(address: Address) -> Counter[str]:
    """What the server has ended so far, by cause."""
    return Counter(httpx.get(f"http://{address[0]}:{address[1]}/ended", timeout=30).json())


def answers(address: Address) -> bool:
    with connect(address) as sock:
        sock.sendall(request())
        return b" 200 " in read_head(sock)


@pytest.mark.promise("T2")
@pytest.mark.promise("T3")
@pytest.mark.parametrize("name", GONE)
def test_an_attacker_costs_little_and_is_gone(server: tuple[int, Address], name: str) -> None:
    pid, address = server
    before = ended_by(address)
    files = descriptors(pid)
    with Sampler(pid) as memory:
        patience = UNTOLD_S if "open" in GONE[name] else PATIENCE_S
        outcomes = run(name, address, seconds=patience, attackers=ATTACKERS)
    longest = max(one.seconds for one in outcomes)
    print(
        f"T2 {name}: +{memory.growth / MIB:.2f} MiB of {BOUND / MIB:.0f}, gone after {longest:.2f} s"
    )

    assert memory.growth < BOUND
    assert {one.end for one in outcomes} <= GONE[name], outcomes
    if name in TIMED:
        assert ended_by(address) - before == Counter({TIMED[name]: ATTACKERS})
    assert answers(address)
    settle(pid, files)
    until = time.monotonic() + 30
    while orphans(address[1]) and time.monotonic() < until:
        time.sleep(0.02)
    assert orphans(address[1]) == []


def settle(pid: int, files: int) -> None:
    """Wait until the server has closed what it opened."""
    until = time.monotonic() + 30
    while descriptors(pid) > files and time.monotonic() < until:
        time.sleep(0.02)
    assert descriptors(pid) <= files


@pytest.mark.promise("T2")
def test_a_bomb_is_never_unpacked(server: tuple[int, Address]) -> None:
    _, address = server
    (outcome,) = run("bomb", address, seconds=PATIENCE_S)

    assert b"reserved bits" in outcome.heard  # closed with 1002: nothing was negotiated


@pytest.mark.promise("T2")
def test_peers_that_come_and_go_leave_nothing(server: tuple[int, Address]) -> None:
    pid, address = server
    files = descriptors(pid)
    run("reconnect_loop", address, seconds=0.3, attackers=4)
    with Sampler(pid) as memory:
        outcomes = run("reconnect_loop", address, seconds=0.7, attackers=4)

    assert sum(one.sent for one in outcomes) > 50
    assert memory.growth < BOUND
    settle(pid, files)


class Clients:
    """Well-behaved clients: each echoes a message every 50 ms and notes how long it took."""

    def __init__(self, address: Address, count: int) -> None:
        self.latencies: list[float] = []
        self._sockets = [opened(address) for _ in range(count)]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def p99(self, seconds: float) -> float:
        """Of the next so many seconds [s]."""
        self.latencies.clear()
        time.sleep(seconds)
        taken = sorted(self.latencies)
        return taken[int(len(taken) * 0.99)]

    def _run(self) -> None:
        text = frame(TEXT, b"hello")
        selector = selectors.DefaultSelector()
        sent: dict[socket.socket, float] = {}
        for sock in self._sockets:
            selector.register(sock, selectors.EVENT_READ)
        turn = 0
        while not self._ended.is_set():
            began = time.monotonic()
            sock = self._sockets[turn % len(self._sockets)]
            turn += 1
            if sock not in sent:
                sent[sock] = began
                sock.sendall(text)
            until = began + 0.05 / len(self._sockets)
            while (left := until - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    one = key.fileobj
                    assert isinstance(one, socket.socket)
                    if one.recv(4_096)[:1] == b"\x81" and one in sent:
                        self.latencies.append(time.monotonic() - sent.pop(one))
        selector.close()


@pytest.mark.slow
@pytest.mark.promise("T2")
@pytest.mark.promise("T4")
def test_good_clients_hardly_notice_attackers() -> None:
    """Beside attackers of another server: they share our interpreter and the machine, whomever they attack."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    if load > BUSY * processors:
        pytest.skip(
            f"a load of {load:.0f} on {processors} processors: it would be measured instead"
        )
    limits = replace(FAST, ping_s=60)
    with (
        process(limits=limits) as (_, address),
        process(limits=limits) as (_, other),
        Clients(address, 100) as clients,
    ):

        def while_attacked(target: Address) -> float:
            names = ("stall", "ping", "headers")
            crowd = threading.Thread(
                target=lambda: [run(name, target, seconds=0.5, attackers=8) for name in names]
            )
            crowd.start()
            p99 = clients.p99(1.5)
            crowd.join()
            return p99

        pairs = [(while_attacked(other), while_attacked(address)) for _ in range(4)]
    calm, pressed = (min(column) for column in zip(*pairs, strict=True))
    print(
        f"T4 p99 of 100 good clients: {pressed * 1000:.1f} ms while attackers attack their server, "
        f"{calm * 1000:.1f} ms while they attack another"
    )

    assert pressed < max(2 * calm, 0.010)


# Control: a kit that finds nothing in uvicorn's own classes is broken


@pytest.fixture(scope="module")
def stock() -> Iterator[tuple[int, Address]]:
    with process("uvicorn") as one:
        yield one


@pytest.mark.parametrize("name", ["headers", "ping", "partial"])
def test_control_uvicorn_fails(stock: tuple[int, Address], name: str) -> None:
    assert_failed(*attack_stock(stock, name, 0.7))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "long_header",
        "long_url",
        "pipeline",
        "empty_fragments",
        "tiny_messages",
        "silent",
        "body",
        "stall",
    ],
)
def test_control_uvicorn_fails_the_rest(stock: tuple[int, Address], name: str) -> None:
    assert_failed(*attack_stock(stock, name, 3.0))


def assert_failed(growth: int, outcomes: list[Outcome]) -> None:
    """It grew, or held on to the attackers, or was too busy to answer (`refused`: no handshake in 10 s)."""
    assert growth > BOUND or {one.end for one in outcomes} <= {"open", "refused"}


def attack_stock(
    stock: tuple[int, Address], name: str, seconds: float
) -> tuple[int, list[Outcome]]:
    pid, address = stock
    with Sampler(pid) as memory:
        outcomes = run(name, address, seconds=seconds, attackers=ATTACKERS)
    print(f"control {name}: +{memory.growth / MIB:.1f} MiB, {outcomes[0].end}")
    return memory.growth, outcomes
