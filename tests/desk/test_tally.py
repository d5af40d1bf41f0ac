"""Orders in equal orders out (trading 2.7): counted, shown, and a runaway is stopped before it calls."""

import asyncio

import pytest

from realtime.model.errors import Code
from realtime.model.events import Ack
from realtime.model.orders import Approved, Status
from realtime.model.risk import TradingState
from realtime.venues.base import Prompt
from tests.fakes import BTC, BUY, ScriptedVenue, World


class PromptVenue(ScriptedVenue):
    """Answers in the very step, as the paper exchange without latency does, but for what its script lets wait."""

    @property
    def prompt(self) -> bool:
        return "drop" not in self.script

    def submit_now(self, approved: Approved) -> Ack:
        try:
            self.submit(approved).send(None)
        except StopIteration as done:
            ack: Ack = done.value
            return ack
        raise AssertionError("it waits")


@pytest.mark.parametrize("venue", [ScriptedVenue, PromptVenue])
async def test_intents_calls_answers_and_fills_are_counted_and_shown(
    venue: type[ScriptedVenue],
) -> None:
    world = World()
    world.venue = venue()
    async with world.life():
        await world.call("order.place", **BUY)
        await world.call("order.place", symbol=BTC, side="buy", type="market", amount="0.01")
        world.venue.script.append("reject")
        await world.call("order.place", **BUY)
        world.venue.script.append("drop")
        await world.call("order.place", **BUY)
        status = await world.call("system.status")

        assert status.result is not None
        assert status.result["orders"] == {"intents": 4, "calls": 4, "answers": 3, "fills": 1}


async def test_a_halt_at_the_door_of_a_prompt_venue_keeps_an_order_from_leaving() -> None:
    world = World()
    world.venue = PromptVenue()
    assert isinstance(world.venue, Prompt)
    async with world.life() as system:
        placing = world.start("order.place", **BUY)
        await world.call("trading.halt", reason="drill")
        answer = await placing
        await world.call("trading.resume", reason="over")

        assert answer.code is Code.HALTED
        assert world.venue.submitted == []
        assert system.desk.gate.handed == set()
        assert (await world.call("order.place", **BUY)).ok


async def test_an_order_withheld_at_the_door_leaves_no_intent_behind() -> None:
    world = World()
    async with world.life() as system:
        world.venue.gate = asyncio.Event()
        placing = world.start("order.place", **BUY, expires_at=system.clock.ms() + 1)
        await asyncio.sleep(1)
        world.venue.gate.set()
        await placing
        counts = system.desk.tally.row()

        assert counts["calls"] <= counts["intents"]
        assert system.desk.engine.state() is TradingState.ACTIVE


async def test_more_calls_than_intents_halt_trading_and_the_call_is_not_made() -> None:
    """trading:2.7 trading:3.4."""
    world = World()
    async with world.life() as system:
        world.venue.gate = asyncio.Event()
        placing = world.start("order.place", **BUY, client_order_id="g-1")
        await asyncio.sleep(1)
        order = world.order("g-1")
        assert order.status is Status.PENDING

        approved = Approved(order=order, reference_price=order.price, limits_version=0)
        system.desk.gate.submit(approved)
        await asyncio.sleep(1)

        assert system.desk.engine.state() is TradingState.HALTED
        assert order.id in system.desk.gate.handed

        world.venue.gate.set()
        first = await placing
        alerts = await world.call("alert.list")
        refused = await world.call("order.place", **BUY)

        assert first.ok
        assert world.venue.submitted == ["g-1"]
        assert refused.code is Code.HALTED
        assert alerts.result is not None
        found = alerts.result["alerts"]
        assert isinstance(found, list)
        assert [alert["level"] for alert in found if alert["code"] == "runaway"] == ["critical"]
