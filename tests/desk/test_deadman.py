"""Dead man's switches by themselves: timers, connections, restarts (conformance 48, promise O11)."""

import asyncio

import pytest

from realtime.desk.deadman import Action, Cause, Deadman, Scope, Switch
from realtime.model.market import SECOND


class Bench:
    """Switches, what they recorded and what fired."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.base = 1_790_000_000 * SECOND
        self.recorded: list[Switch] = []
        self.fired: list[tuple[Switch, Cause, float]] = []
        self.deadman = self.make()
        self.deadman.start()

    def now(self) -> int:
        return self.base + int(self.loop.time() * SECOND)

    def make(self) -> Deadman:
        return Deadman(loop=self.loop, now=self.now, record=self.recorded.append, fire=self.fire)

    def fire(self, switch: Switch, cause: Cause) -> None:
        self.fired.append((switch, cause, self.loop.time()))

    def causes(self) -> list[Cause]:
        return [cause for _, cause, _ in self.fired]

    def restart(self) -> None:
        self.deadman.stop()
        self.deadman = self.make()
        for switch in {switch.key: switch for switch in self.recorded}.values():
            self.deadman.restore(switch)


def switch(**more: object) -> Switch:
    return Switch(subject="alice", client="bot", **more)  # type: ignore[arg-type]


@pytest.mark.promise("O11")
async def test_it_fires_once_when_it_is_not_renewed() -> None:
    bench = Bench()
    bench.deadman.arm(switch(timeout=60))
    await asyncio.sleep(59.9)

    assert bench.fired == []

    await asyncio.sleep(600)

    assert bench.causes() == [Cause.TIMEOUT]
    assert bench.fired[0][2] == pytest.approx(60)
    assert bench.deadman.get("alice", "bot") is None
    assert not bench.recorded[-1].armed


async def test_renewing_in_time_keeps_it_quiet() -> None:
    bench = Bench()
    for _ in range(10):
        bench.deadman.arm(switch(timeout=60))
        await asyncio.sleep(30)

    assert bench.fired == []


async def test_one_that_is_renewed_while_the_server_stops_waits_for_the_next_one() -> None:
    """The stop sends its clients away: who renewed until then could not do so any more."""
    bench = Bench()
    bench.deadman.arm(switch(timeout=60))
    bench.deadman.stop()
    armed = bench.deadman.arm(switch(timeout=5))
    await asyncio.sleep(20)

    assert armed.fires_at is not None
    assert bench.fired == []
    bench.restart()
    bench.deadman.start()
    await asyncio.sleep(1)
    assert bench.causes() == [Cause.TIMEOUT]


async def test_one_that_is_armed_before_the_account_is_ready_fires_in_time() -> None:
    bench = Bench()
    bench.deadman = bench.make()
    bench.deadman.arm(switch(timeout=5))
    await asyncio.sleep(6)

    assert bench.causes() == [Cause.TIMEOUT]


async def test_timeout_zero_disarms() -> None:
    bench = Bench()
    bench.deadman.arm(switch(timeout=60))
    off = bench.deadman.arm(switch())
    await asyncio.sleep(100)

    assert not off.armed
    assert bench.fired == []


@pytest.mark.promise("O11")
async def test_grace_runs_from_the_end_of_the_last_of_two_connections() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5))
    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(60)

    assert bench.fired == []

    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(6)

    assert bench.causes() == [Cause.GRACE]
    assert bench.fired[0][2] == pytest.approx(65)


async def test_who_was_connected_while_an_account_was_shut_is_connected_once_it_opens() -> None:
    bench = Bench()
    bench.deadman.arm(switch(grace=5))
    closed = bench.deadman
    closed.connected("alice", "bot")
    bench.restart()
    bench.deadman.inherit(closed)
    bench.deadman.start()
    await asyncio.sleep(60)

    assert bench.fired == []

    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(6)

    assert bench.causes() == [Cause.GRACE]
    assert closed.connections == {("alice", "bot"): 1}


async def test_coming_back_in_time_stops_the_grace() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5))
    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(4.9)
    bench.deadman.connected("alice", "bot")
    await asyncio.sleep(60)

    assert bench.fired == []
    assert bench.deadman.get("alice", "bot") is not None


@pytest.mark.promise("O11")
async def test_goodbye_does_not_fire_it() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5, timeout=30))
    bench.deadman.disconnected("alice", "bot", bye=True)
    await asyncio.sleep(120)

    assert bench.fired == []


async def test_goodbye_of_one_connection_leaves_the_other_guarded() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5))
    bench.deadman.disconnected("alice", "bot", bye=True)
    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(6)

    assert bench.causes() == [Cause.GRACE]


@pytest.mark.promise("O11")
async def test_a_restart_keeps_the_deadline_of_the_timeout() -> None:
    bench = Bench()
    bench.deadman.arm(switch(timeout=60))
    await asyncio.sleep(20)
    bench.restart()
    await asyncio.sleep(10)
    bench.deadman.start()
    await asyncio.sleep(29)

    assert bench.fired == []

    await asyncio.sleep(2)

    assert bench.causes() == [Cause.TIMEOUT]
    assert bench.fired[0][2] == pytest.approx(60)


@pytest.mark.promise("O11")
async def test_a_deadline_that_passed_while_the_server_was_away_fires_at_readiness() -> None:
    bench = Bench()
    bench.deadman.arm(switch(timeout=60))
    await asyncio.sleep(20)
    bench.restart()
    await asyncio.sleep(600)
    bench.deadman.start()
    await asyncio.sleep(0.01)

    assert bench.causes() == [Cause.TIMEOUT]


@pytest.mark.parametrize("back", [True, False], ids=["client is back", "client is gone"])
async def test_after_a_restart_grace_runs_from_readiness(*, back: bool) -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5))
    bench.restart()
    await asyncio.sleep(30)
    if back:
        bench.deadman.connected("alice", "bot")
    bench.deadman.start()
    await asyncio.sleep(6)

    assert bench.causes() == ([] if back else [Cause.GRACE])


async def test_a_disconnect_before_readiness_waits_for_it() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(grace=5))
    bench.restart()
    bench.deadman.connected("alice", "bot")
    bench.deadman.disconnected("alice", "bot", bye=False)
    await asyncio.sleep(60)

    assert bench.fired == []

    bench.deadman.start()
    await asyncio.sleep(6)

    assert bench.causes() == [Cause.GRACE]


async def test_a_switch_without_grace_ignores_connections() -> None:
    bench = Bench()
    bench.deadman.connected("alice", "bot")
    bench.deadman.arm(switch(timeout=60))
    bench.deadman.disconnected("alice", "bot", bye=False)
    bench.deadman.disconnected("bob", "other", bye=False)
    await asyncio.sleep(59)

    assert bench.fired == []


async def test_clients_have_switches_of_their_own() -> None:
    bench = Bench()
    bench.deadman.arm(switch(timeout=60, scope=Scope.ACCOUNT, action=Action.CANCEL_AND_HALT))
    bench.deadman.arm(Switch(subject="bob", client="bot", timeout=30))
    await asyncio.sleep(31)

    assert [fired.subject for fired, _, _ in bench.fired] == ["bob"]
    assert bench.deadman.get("alice", "bot") is not None


async def test_it_is_recorded_as_off_only_after_it_has_acted() -> None:
    order: list[str] = []
    loop = asyncio.get_running_loop()
    deadman = Deadman(
        loop=loop,
        now=lambda: 0,
        record=lambda made: order.append("armed" if made.armed else "off"),
        fire=lambda *_: order.append("fired"),
    )
    deadman.arm(switch(timeout=1))
    await asyncio.sleep(2)

    assert order == ["armed", "fired", "off"]
