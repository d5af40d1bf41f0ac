"""The pump: one flush per turn, one timer for tiers and paces, one for deadlines."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence
from typing import cast

import pytest

from realtime.hub.hub import Hub, Wire
from realtime.server.pump import CROWD, MANY, Pump
from realtime.server.uring import Uring, UringError
from tests.hub.wires import HeldWire


class Spy(Hub):
    """A hub that notes what time it is told."""

    def __init__(self) -> None:
        super().__init__(boot="b", journal="j", now=lambda: 0)
        self.loop = asyncio.get_running_loop()
        self.ticks: list[tuple[str, int, int]] = []
        self.blobs: list[tuple[bytes, tuple[Wire, ...]]] = []
        self.full: list[Wire] = []
        self.flushes = 0

    def _ms(self) -> int:
        return round(self.loop.time() * 1000)

    def tick(self, rate: int) -> None:
        self.ticks.append(("tick", rate, self._ms()))

    def due(self, every: int) -> None:
        self.ticks.append(("due", every, self._ms()))

    def flush(self) -> Iterator[tuple[bytes, tuple[Wire, ...]]]:
        self.flushes += 1
        blobs, self.blobs = self.blobs, []
        yield from blobs

    def paused(self, wire: Wire) -> None:
        self.full.append(wire)

    def times(self, kind: str, period: int) -> list[int]:
        return [at for k, p, at in self.ticks if (k, p) == (kind, period)]


@pytest.fixture
async def spy() -> Spy:
    return Spy()


@pytest.fixture
async def pump(spy: Spy) -> Pump:
    pump = Pump(spy, asyncio.get_running_loop())
    pump.start()
    return pump


async def test_everything_of_one_turn_leaves_in_one_flush(spy: Spy, pump: Pump) -> None:
    await asyncio.sleep(0.001)
    before = spy.flushes
    for _ in range(10):
        spy.wake()
    await asyncio.sleep(0.001)

    assert spy.flushes == before + 1
    pump.stop()


async def test_a_blob_is_written_once_to_each_wire_and_the_full_ones_leave_afterwards(
    spy: Spy, pump: Pump
) -> None:
    good, full = HeldWire(), HeldWire()
    full.paused = True
    spy.blobs = [(b"\x81\x011", (good, full)), (b"\x81\x012", (good,))]
    pump.flush()

    assert good.texts == ["1", "2"]
    assert full.texts == ["1"]
    assert spy.full == [full]
    pump.stop()


class SwiftWire(HeldWire):
    """A wire over a socket that can be sent to past its transport."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.way = sock.fileno()
        self.rest: list[bytes] = []

    def took(self, blob: bytes, sent: int) -> bool:
        self.rest.append(blob[sent:])
        return not self.paused


async def test_many_wires_are_written_in_one_call_and_the_others_by_themselves(spy: Spy) -> None:
    calls: list[list[int]] = []

    class Counted(Uring):
        def send(self, blob: bytes, numbers: Sequence[int]) -> dict[int, int]:
            calls.append(list(numbers))
            return super().send(blob, numbers)

    pump = Pump(spy, asyncio.get_running_loop(), uring=Counted.open)
    pump.start()
    if pump._uring is None:
        pytest.skip("this kernel offers no io_uring, or forbids it")
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(MANY)]
        for sock in (each for pair in pairs for each in pair):
            stack.enter_context(sock)
        swift = [SwiftWire(ours) for ours, _ in pairs]
        pairs[1][1].close()
        swift[1].paused = True
        swift[2].way = -1
        calls.clear()
        spy.blobs = [(b"\x81\x011", tuple(swift)), (b"\x81\x012", tuple(swift[3:6]))]
        pump.flush()

        assert calls == [[wire.way for wire in swift]]
        assert swift[2].texts == ["1"]
        assert swift[1].rest == [b"\x81\x011"]
        assert spy.full == [swift[1]]
        assert pairs[0][1].recv(100) == b"\x81\x011"
        assert swift[3].texts == ["2"]
    pump.stop()
    assert pump._uring is None


async def test_a_kernel_that_breaks_its_word_later_costs_its_wires_and_no_message_of_others(
    spy: Spy,
) -> None:
    class Broken:
        closed = False

        def send(self, _blob: bytes, _numbers: Sequence[int]) -> dict[int, int]:
            raise UringError(errno.EIO, "a send did not end with its submission")

        def close(self) -> None:
            self.closed = True

    broken = Broken()
    pump = Pump(spy, asyncio.get_running_loop(), uring=lambda: cast("Uring", broken))
    pump.start()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        torn = [SwiftWire(ours) for _ in range(MANY)]
        whole = SwiftWire(ours)
        spy.blobs = [(b"\x81\x011", tuple(torn)), (b"\x81\x012", (whole,) * MANY)]
        pump.flush()

    assert broken.closed
    assert all(wire.aborted for wire in torn)
    assert whole.texts == ["2"] * MANY
    assert not whole.aborted
    pump.stop()


async def test_tiers_tick_on_one_grid_only_while_somebody_listens(spy: Spy, pump: Pump) -> None:
    await asyncio.sleep(0.333)
    assert spy.ticks == []
    pump.joined(0)
    await asyncio.sleep(1)
    assert spy.times("tick", 50)[:3] == [350, 400, 450]
    assert spy.times("tick", 100)[:3] == [400, 500, 600]
    assert spy.times("tick", 250)[:2] == [500, 750]
    assert spy.times("tick", 1000) == [1000]
    pump.left(0)
    spy.ticks.clear()
    await asyncio.sleep(2)

    assert {rate for _, rate, _ in spy.ticks} == {1000}
    pump.stop()


async def test_paces_are_on_the_same_grid_behind_the_tiers(spy: Spy, pump: Pump) -> None:
    await asyncio.sleep(0.003)
    pump.joined(100)
    pump.joined(100)
    pump.joined(10)
    await asyncio.sleep(0.3)
    assert spy.times("due", 100) == [100, 200, 300]
    assert len(spy.times("due", 10)) == 30
    at_100 = [(kind, period) for kind, period, at in spy.ticks if at == 100]
    assert at_100 == [("tick", 50), ("tick", 100), ("due", 10), ("due", 100)]
    pump.left(100)
    pump.left(10)
    spy.ticks.clear()
    await asyncio.sleep(0.2)
    assert spy.times("due", 100) == [400, 500]
    assert spy.times("due", 10) == []
    pump.left(100)
    pump.stop()


async def test_a_pace_that_is_a_tier_is_both(spy: Spy, pump: Pump) -> None:
    pump.joined(50)
    await asyncio.sleep(0.05)
    assert spy.ticks == [("tick", 50, 50), ("due", 50, 50)]
    pump.left(50)
    pump.stop()


async def test_the_slow_tick_tells_that_the_loop_turns(spy: Spy) -> None:
    turns: list[float] = []
    loop = asyncio.get_running_loop()
    pump = Pump(spy, loop, turned=lambda: turns.append(loop.time()))
    pump.start()
    await asyncio.sleep(3.5)
    pump.stop()
    await asyncio.sleep(3)

    assert turns == [1, 2, 3]


async def test_a_pump_that_is_stopped_does_nothing_more(spy: Spy, pump: Pump) -> None:
    pump.joined(0)
    spy.wake()
    pump.stop()
    flushes = spy.flushes
    spy.wake()
    pump.joined(10)
    await asyncio.sleep(1)

    assert spy.flushes == flushes
    assert spy.ticks == []


class Alarm:
    """Something with deadlines."""

    def __init__(self, pump: Pump, due: float, again: float | None = None) -> None:
        self.pump = pump
        self.due = due
        self.again = again
        self.rang: list[float] = []

    def tick(self, now: float) -> None:
        self.rang.append(now)
        if self.again is not None:
            self.due += self.again
            self.pump.watch(self)


async def test_deadlines_ring_when_due_and_again(spy: Spy, pump: Pump) -> None:
    late, soon, often = Alarm(pump, 5), Alarm(pump, 1), Alarm(pump, 2, 2)
    for alarm in (late, soon, often):
        pump.watch(alarm)
    await asyncio.sleep(7)

    assert (soon.rang, late.rang, often.rang) == ([1], [5], [2, 4, 6])
    pump.stop()
    assert spy.ticks


async def test_a_deadline_that_moved_rings_only_at_the_new_time(pump: Pump) -> None:
    alarm = Alarm(pump, 3)
    pump.watch(alarm)
    pump.watch(alarm)
    alarm.due = 1
    pump.watch(alarm)
    alarm.due = 2
    pump.watch(alarm)
    await asyncio.sleep(5)

    assert alarm.rang == [2]
    pump.stop()


async def test_what_is_forgotten_does_not_ring(pump: Pump) -> None:
    alarm = Alarm(pump, 3)
    pump.watch(alarm)
    pump.forget(alarm)
    pump.forget(alarm)
    await asyncio.sleep(5)

    assert alarm.rang == []
    pump.stop()


async def test_in_a_crowd_neighbours_ring_together(pump: Pump) -> None:
    alarms = [Alarm(pump, 1 + n / 1_000_000) for n in range(CROWD + 1)]
    for alarm in alarms:
        pump.watch(alarm)
    await asyncio.sleep(1)

    assert {tuple(alarm.rang) for alarm in alarms} == {(1.005,)}
    pump.stop()
