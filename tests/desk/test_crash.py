"""The process dies at every boundary between engine, journal and venue (promises O3, O5, O6; trading 2.1).

A dry run counts the boundaries of a small day; then the day is lived once for each of them, killed there, and lived on
by a second process on the same journal and the same exchange, whose client repeats what it has no answer for.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from realtime.commands.registry import Reply
from realtime.model.errors import Code
from realtime.model.orders import Status
from tests.fakes import (
    BTC,
    BUY,
    Killed,
    MortalStore,
    PromptVenue,
    ScriptedVenue,
    World,
    until,
)


Step = tuple[str, dict[str, Any]]
DAY: tuple[Step, ...] = (
    ("order.place", {**BUY, "client_order_id": "rest"}),
    (
        "order.place",
        {
            "symbol": BTC,
            "side": "buy",
            "type": "market",
            "amount": "0.01",
            "stop_loss": "60000",
            "client_order_id": "fill",
        },
    ),
    ("order.amend", {"client_order_id": "rest", "price": "63950"}),
    ("order.cancel", {"client_order_id": "rest"}),
)


class Reaper:
    """Kills at the n-th boundary."""

    def __init__(self, at: int | None) -> None:
        self.at = at
        self.passed: list[str] = []
        self.killed = asyncio.Event()
        self.watching = False

    def point(self, name: str) -> None:
        if not self.watching or "Equity" in name or "DayRolled" in name or "PeakSet" in name:
            return
        if self.killed.is_set():
            if not name.startswith(("append", "commit")):
                raise Killed
            return
        if len(self.passed) == self.at:
            self.killed.set()
            MortalStore.dead = True
            if not name.startswith(("append", "commit")):
                raise Killed
            return
        self.passed.append(name)


async def live(world: World, reaper: Reaper) -> dict[str, Reply]:
    """Live the day as far as the reaper lets it; give the answers that came."""
    answers: dict[str, Reply] = {}
    MortalStore.point = staticmethod(reaper.point)
    MortalStore.dead = False
    world.venue.point = reaper.point
    try:
        async with world.life():
            reaper.watching = True
            for op, args in DAY:
                call = world.start(op, **args)
                while not call.done() and not reaper.killed.is_set():  # noqa: ASYNC110  # either
                    await asyncio.sleep(0.01)
                if reaper.killed.is_set():
                    call.cancel()
                    break
                answers[f"{op} {args['client_order_id']}"] = call.result()
            await asyncio.sleep(2)
            reaper.watching = reaper.killed.is_set()
    except* Killed:
        pass
    finally:
        MortalStore.point = staticmethod(lambda _name: None)
        world.venue.point = lambda _name: None
        MortalStore.dead = False
    return answers


async def boundaries(path: Path, venue: type[ScriptedVenue] = ScriptedVenue) -> list[str]:
    world = World(path / "dry.db")
    world.venue = venue()
    world.store = MortalStore
    reaper = Reaper(None)
    await live(world, reaper)
    return reaper.passed


@pytest.mark.promise("O3")
@pytest.mark.promise("O5")
@pytest.mark.promise("O6")
@pytest.mark.parametrize(
    "venue", [ScriptedVenue, pytest.param(PromptVenue, marks=pytest.mark.slow)]
)
async def test_killed_at_every_boundary_nothing_acknowledged_is_lost_and_nothing_doubled(
    tmp_path: Path, venue: type[ScriptedVenue]
) -> None:
    names = await boundaries(tmp_path, venue)
    kinds = {name for name in names if not name.endswith(("BalanceSeen", "StateSet"))}

    assert len(kinds) >= 20
    for number, name in enumerate(names):
        try:
            await die_and_recover(tmp_path / f"{number}.db", number, venue)
        except AssertionError as error:
            error.add_note(f"killed at boundary {number}: {name}")
            raise


async def die_and_recover(path: Path, number: int, venue: type[ScriptedVenue]) -> None:
    world = World(path)
    world.venue = venue()
    world.store = MortalStore
    answers = await live(world, Reaper(number))

    async with world.life() as system:
        # Before `ready` orders, fills and positions were brought to the venue's truth.
        for held in world.venue.held.values():
            order = system.desk.engine.orders.by_venue_client_id(held.order.venue_client_id)
            assert order is not None
            assert not order.external
            assert order.status is held.status
            assert order.filled == held.filled
        for op, args in DAY:
            if f"{op} {args['client_order_id']}" not in answers:
                await repeat(world, op, args)
        await until(lambda: not system.desk.engine.orders.owed, within=300)
        await asyncio.sleep(2)
        check(world, answers)
        await resolved_once(world)
        digest = system.desk.engine.digest()

    if number % 4 == 0:
        async with world.life() as system:
            assert system.desk.engine.digest() == digest


async def repeat(world: World, op: str, args: dict[str, Any]) -> None:
    """Repeat until there is an answer, as the protocol asks of a client."""
    for _ in range(100):
        reply = await world.call(op, **args)
        if reply.code not in {Code.OUTCOME_UNKNOWN, Code.VENUE_UNAVAILABLE}:
            return
        await asyncio.sleep(5)
    raise AssertionError(f"{op} never got an answer")


def check(world: World, answers: dict[str, Reply]) -> None:
    engine, venue = world.system.desk.engine, world.venue
    assert len(set(venue.submitted)) == len(venue.submitted)
    for held in venue.held.values():
        order = engine.orders.by_client_id(held.order.client_order_id)
        assert order is not None
        assert (order.status, order.filled) == (held.status, held.filled)
        assert {fill.id for fill in engine.fills_of(order.id)} == {f.trade_id for f in held.fills}
    for order in engine.orders.working():
        assert order.client_order_id in venue.live()
    bought = venue.coins.get("BTC", 0)
    held_amount = engine.positions[BTC].amount if BTC in engine.positions else 0
    assert held_amount == bought
    filled = answers.get("order.place fill")
    if filled is not None and filled.ok:
        assert world.order("fill").status is Status.FILLED
    canceled = answers.get("order.cancel rest")
    if canceled is not None and canceled.ok:
        assert venue.of("rest").status is Status.CANCELED
    stops = [name for name in venue.live() if name.startswith("leg-")]
    assert len(stops) == (1 if bought else 0)


async def resolved_once(world: World) -> None:
    commands = [event["data"]["command"] for event in await world.events("order_resolved")]
    assert len(commands) == len(set(commands))


@pytest.mark.parametrize("name", ["append Placed", "commit Placed"])
@pytest.mark.promise("O3")
async def test_an_intent_that_is_not_on_disk_has_not_left(tmp_path: Path, name: str) -> None:
    """Journal before venue."""
    names = await boundaries(tmp_path)
    world = World(tmp_path / "j.db")
    world.store = MortalStore
    await live(world, Reaper(names.index(name)))

    assert world.venue.submitted == []
