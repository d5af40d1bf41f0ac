"""Turns at a venue: order, reserve, and what becomes of a turn nobody takes."""

import asyncio

import pytest

from realtime.desk.gate import lane_of
from realtime.desk.lanes import Budget, Lane, Lanes
from realtime.model.orders import Role
from tests.engine.kit import BTC, Kit


class Calls:
    """Calls that end when they are told to."""

    def __init__(self, lanes: Lanes, tasks: asyncio.TaskGroup) -> None:
        self.lanes = lanes
        self.tasks = tasks
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, lane: Lane) -> None:
        self.ends[name] = asyncio.Event()
        self.running[name] = self.tasks.create_task(self._call(name, lane))

    async def _call(self, name: str, lane: Lane) -> None:
        async with self.lanes.turn(lane):
            self.began.append(name)
            await self.ends[name].wait()

    def end_all(self) -> None:
        for end in self.ends.values():
            end.set()


async def steps(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_stops_and_targets_go_before_exits_and_those_before_entries() -> None:
    draft = Kit().draft

    assert lane_of(draft(BTC, "sell", "1", role=Role.STOP_LOSS)) is Lane.PROTECT
    assert lane_of(draft(BTC, "sell", "1", role=Role.TAKE_PROFIT)) is Lane.PROTECT
    assert lane_of(draft(BTC, "sell", "1", role=Role.EXIT)) is Lane.EXIT
    assert lane_of(draft(BTC, "sell", "1", reduce_only=True)) is Lane.EXIT
    assert lane_of(draft(BTC, "sell", "1")) is Lane.ENTRY


async def test_who_waits_is_served_by_urgency_and_then_by_arrival() -> None:
    lanes = Lanes(Budget(calls=1), asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        calls = Calls(lanes, tasks)
        calls.start("first", Lane.ENTRY)
        await steps()
        for name, lane in (
            ("entry 1", Lane.ENTRY),
            ("entry 2", Lane.ENTRY),
            ("exit", Lane.EXIT),
            ("stop", Lane.PROTECT),
            ("cancel", Lane.CANCEL),
        ):
            calls.start(name, lane)
        await steps()
        calls.end_all()

    assert calls.began == ["first", "cancel", "stop", "exit", "entry 1", "entry 2"]


async def test_a_fifth_of_the_rate_is_kept_from_exits_and_entries_alike() -> None:
    for plain in (Lane.EXIT, Lane.ENTRY):
        lanes = Lanes(Budget(per_s=1, burst=10), asyncio.get_running_loop())

        assert sum(lanes.take(plain) for _ in range(20)) == 8
        assert sum(lanes.take(Lane.PROTECT) for _ in range(20)) == 2


async def test_a_fifth_of_the_calls_is_kept_for_stopping() -> None:
    lanes = Lanes(Budget(calls=10), asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        calls = Calls(lanes, tasks)
        for number in range(12):
            calls.start(f"entry {number}", Lane.ENTRY)
        await steps()

        assert len(calls.began) == 8
        assert lanes.waiting(Lane.ENTRY) == 4

        calls.start("cancel", Lane.CANCEL)
        calls.start("stop", Lane.PROTECT)
        await steps()

        assert calls.began[8:] == ["cancel", "stop"]
        calls.end_all()

    assert lanes.quiet


async def test_a_cancel_passes_a_limiter_that_entries_have_exhausted() -> None:
    loop = asyncio.get_running_loop()
    lanes = Lanes(Budget(per_s=10, burst=10), loop)
    async with asyncio.TaskGroup() as tasks:
        calls = Calls(lanes, tasks)
        for number in range(30):
            calls.start(f"entry {number}", Lane.ENTRY)
        await steps()
        before = loop.time()
        calls.start("cancel", Lane.CANCEL)
        await steps()

        assert "cancel" in calls.began
        assert loop.time() - before < 0.1
        calls.end_all()


async def test_the_rate_is_never_exceeded_and_everybody_is_served_in_the_end() -> None:
    loop = asyncio.get_running_loop()
    lanes = Lanes(Budget(per_s=10, burst=5), loop)
    times: list[float] = []

    async def call() -> None:
        async with lanes.turn(Lane.ENTRY):
            times.append(loop.time())

    async with asyncio.TaskGroup() as tasks:
        for number in range(25):
            tasks.create_task(call(), name=f"call {number}")

    assert len(times) == 25
    for start in range(len(times) - 10):
        assert times[start + 9] - times[start] >= 0.4


async def test_a_turn_given_to_one_who_has_left_goes_to_the_next() -> None:
    lanes = Lanes(Budget(calls=1), asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        calls = Calls(lanes, tasks)
        calls.start("first", Lane.ENTRY)
        await steps()
        calls.start("leaving", Lane.ENTRY)
        calls.start("next", Lane.ENTRY)
        await steps()
        calls.ends["first"].set()
        await asyncio.sleep(0)
        calls.running["leaving"].cancel()
        await steps()
        calls.end_all()

    assert calls.began in (["first", "next"], ["first", "leaving", "next"])
    assert lanes.quiet


async def test_leaving_a_queue_leaves_no_trace() -> None:
    lanes = Lanes(Budget(calls=1), asyncio.get_running_loop())
    async with asyncio.TaskGroup() as tasks:
        calls = Calls(lanes, tasks)
        calls.start("first", Lane.ENTRY)
        await steps()
        calls.start("leaving", Lane.ENTRY)
        await steps()
        calls.running["leaving"].cancel()
        await steps()

        assert lanes.waiting(Lane.ENTRY) == 0
        calls.end_all()

    assert lanes.quiet
    assert lanes.flying == 0


async def test_a_call_that_fails_gives_its_turn_back() -> None:
    lanes = Lanes(Budget(calls=1), asyncio.get_running_loop())

    with pytest.raises(ZeroDivisionError):
        async with lanes.turn(Lane.ENTRY):
            raise ZeroDivisionError

    assert lanes.quiet
