"""What ends an unknown outcome: evidence, or the whole proof of absence A1-A6; nothing else (trading 2.3)."""

import asyncio
from pathlib import Path

import orjson
import pytest

from realtime.commands.registry import Reply
from realtime.model.errors import Code
from realtime.model.events import Ack
from realtime.model.orders import Approved, ApprovedAmend, Asked, Status, Trigger
from tests.fakes import BUY, D, ScriptedVenue, World, until


BEATING = {"routine", "monitor", "bots", "venue paper", "alarms", "notices", "feed paper"}
"""Tasks that look at something every few seconds, which only makes a day long."""


async def test_an_order_the_venue_never_had_is_proven_absent_and_not_before_a_minute() -> None:
    world = World()
    async with world.life():
        loop = asyncio.get_running_loop()
        world.venue.script.append("drop")
        await world.call("order.place", **BUY, client_order_id="g-1")
        ended = loop.time()
        await asyncio.sleep(58)

        assert world.order("g-1").status is Status.UNKNOWN

        await until(lambda: world.order("g-1").status is Status.REJECTED, within=20)
        resolved = await world.events("order_resolved")
        again = await world.call("order.place", **BUY, client_order_id="g-1")

        assert loop.time() - ended >= 60
        assert world.order("g-1").code is Code.ABSENT
        assert [event["data"]["evidence"] for event in resolved] == ["absent"]
        assert again.code is Code.VENUE_REJECTED
        assert again.error is not None
        assert '"reason":"absent"' in orjson.dumps(again.error).decode()
        assert world.venue.submitted == ["g-1"]


async def test_the_wait_for_a_turn_is_not_the_venues_silence() -> None:
    """What waits for its turn has not left: the ten seconds of the answer begin when it does."""

    class Slow(ScriptedVenue):
        async def submit(self, approved: Approved) -> Ack:
            await asyncio.sleep(5)
            return await super().submit(approved)

        async def amend(self, approved: ApprovedAmend) -> Ack:
            await asyncio.sleep(5)
            return await super().amend(approved)

    world = World()
    world.venue = Slow()
    async with world.life() as system:
        lanes = system.gate._lanes

        async def behind_others(op: str, **args: str) -> Reply:
            lanes._flying = 1_000
            asked = world.start(op, client_order_id="g-1", **args)
            await asyncio.sleep(9)
            lanes._flying = 0
            lanes._next()
            return await asked

        placed = await behind_others("order.place", **BUY)
        amended = await behind_others("order.amend", price="63000")

        assert placed.ok, placed.error
        assert amended.ok, amended.error
        assert world.venue.submitted == ["g-1"]
        assert world.order("g-1").price == 63_000


@pytest.mark.parametrize(
    "lacking",
    ["A1 no look-up", "A2 not proven", "A3 seen late", "A5 not expired", "A6 not reconciled"],
)
async def test_with_any_part_of_the_proof_missing_it_stays_unknown(lacking: str) -> None:
    world = World()
    async with world.life() as system:
        venue = world.venue
        order = dict(BUY)
        venue.script.append("lose" if "A3" in lacking else "drop")
        if "A2" in lacking:
            venue.lookup_proven = False
        if "A3" in lacking:
            venue.late_s = 65
        if "A5" in lacking:
            order["expires_at"] = system.clock.ms() + 300_000
        started = world.start("order.place", **order, client_order_id="g-1")
        await asyncio.sleep(5)
        if "A1" in lacking:
            venue.reachable = False
        if "A6" in lacking:
            venue.broken.add("positions")
        await started
        await asyncio.sleep(200)

        expected = Status.OPEN if "A3" in lacking else Status.UNKNOWN
        assert world.order("g-1").status is expected


async def test_absence_is_proven_also_when_the_venue_was_away_at_the_first_look_ups() -> None:
    """A3 counts answers: the one at 60 s is the first, the one at 120 s the second."""
    world = World()
    async with world.life():
        loop = asyncio.get_running_loop()
        world.venue.script.append("drop")
        await world.call("order.place", **BUY, client_order_id="g-1")
        ended = loop.time()
        world.venue.reachable = False
        await asyncio.sleep(25)
        world.venue.reachable = True
        await asyncio.sleep(70)

        assert world.order("g-1").status is Status.UNKNOWN

        await until(lambda: world.order("g-1").status is Status.REJECTED, within=60)

        assert world.order("g-1").code is Code.ABSENT
        assert loop.time() - ended >= 115


async def test_a_fill_found_while_proving_absence_proves_its_life() -> None:
    """A4."""
    world = World()
    async with world.life():
        world.venue.script.append("lose")
        world.venue.blind = True
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.fill("g-1")
        await until(lambda: world.order("g-1").status is Status.FILLED, within=120)
        resolved = await world.events("order_resolved")

        assert [event["data"]["evidence"] for event in resolved] == ["fill"]


async def test_a_day_of_silence_leaves_unknown_as_it_is() -> None:
    """Conformance 40."""
    world = World(reconcile={"orders_s": 600, "positions_s": 600, "balances_s": 600})
    async with world.life() as system:
        world.venue.script.append("lose")
        started = world.start("order.place", **BUY, client_order_id="g-1")
        await asyncio.sleep(1)
        world.venue.reachable = False
        await started
        for task in asyncio.all_tasks():
            if task.get_name() in BEATING:
                task.cancel()
        system.front.stop()
        await asyncio.sleep(86_400)

        assert world.order("g-1").status is Status.UNKNOWN

        world.venue.reachable = True
        await until(lambda: world.order("g-1").status is Status.OPEN, within=120)

        assert world.venue.submitted == ["g-1"]


async def test_an_operator_decides_and_later_evidence_overrules() -> None:
    world = World()
    async with world.life():
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        order_id = world.order("g-1").id
        reply = await world.call(
            "order.resolve", order_id=order_id, status="canceled", reason="the venue's page"
        )
        resolved = await world.events("order_resolved")

        assert reply.ok
        assert world.order("g-1").status is Status.CANCELED
        assert [event["data"]["evidence"] for event in resolved] == ["operator"]

        again = await world.call(
            "order.resolve", order_id=order_id, status="canceled", reason="again"
        )

        assert again.code is Code.CONFLICT

        await asyncio.sleep(1_100)

        assert world.order("g-1").status is Status.OPEN
        assert len(await world.events("order_resolved")) == 1


async def test_a_restart_in_between_resolves_every_command_exactly_once(tmp_path: Path) -> None:
    """Conformance 39: also when the server is killed in between."""
    world = World(tmp_path / "j.db")
    async with world.life():
        world.venue.script.append("lose")
        world.venue.late_s = 100
        reply = await world.call("order.place", **BUY, client_order_id="g-1")
        assert reply.error is not None
        details = reply.error["details"]
        assert isinstance(details, dict)

    async with world.life():
        assert world.order("g-1").status is Status.UNKNOWN

        again = await world.call("order.place", **BUY, client_order_id="g-1")
        assert again.error is not None
        again_details = again.error["details"]
        assert isinstance(again_details, dict)
        await until(lambda: world.order("g-1").status is Status.OPEN, within=200)
        resolved = await world.events("order_resolved")

        assert again_details["command"] == details["command"]
        assert [event["data"]["command"] for event in resolved] == [details["command"]]

    async with world.life():
        assert len(await world.events("order_resolved")) == 1


async def test_an_amend_of_attached_prices_behind_one_without_answer_is_answered() -> None:
    """Symptom: it was done, and nobody said so: it was taken for a part of the amend that was being looked up."""
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.amends.append("lose")
        world.venue.reachable = False
        moved = world.start("order.amend", client_order_id="g-1", price="63800")
        stopped = world.start("order.amend", client_order_id="g-1", stop_loss="60000")
        await until(lambda: moved.done() and stopped.done(), within=60)

        assert (await moved).code is Code.OUTCOME_UNKNOWN
        reply = await stopped
        assert reply.ok, reply.error
        world.venue.reachable = True
        await until(lambda: world.order("g-1").amend_state is Asked.NONE, within=300)
        assert world.order("g-1").price == D(63800)
        assert world.order("g-1").stop_loss == Trigger(price=D(60000))
