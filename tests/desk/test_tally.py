"""Orders in equal orders out (trading 2.7): counted, shown, and a runaway is stopped before it calls."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from realtime.model.errors import Code
from realtime.model.events import Ack, VenueEvent
from realtime.model.orders import Approved, Order, Status
from realtime.model.principal import READ, TRADE, Principal
from realtime.model.risk import TradingState
from realtime.venues.base import Prompt
from tests.fakes import BTC, BUY, PromptVenue, ScriptedVenue, World, until


ALICE = Principal(subject="alice", scopes=frozenset({READ, TRADE}), token_id="t-7")


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


async def test_an_order_that_fills_at_once_is_one_row_behind_its_intent() -> None:
    """What the venue tells and its answer are one; the answer is given once they are on disk."""
    world = World()
    world.venue = PromptVenue()
    async with world.life() as system:
        before = system.store.seq
        reply = await world.call(
            "order.place", who=ALICE, symbol=BTC, side="buy", type="market", amount="0.01"
        )
        durable = system.store.seq - system.store.waiting
        rows = [row.kind async for page in system.store.replay(before) for row in page]
        (entry,) = await world.events("trade_placed")

        assert reply.result is not None
        assert (reply.result["status"], reply.result["filled"]) == ("filled", "0.01000")
        assert [kind for kind in rows if kind != "Market"] == ["Placed", "Filled"]
        assert durable >= before + len(rows)
        assert (entry["subject"], entry["token_id"]) == ("alice", "t-7")
        assert entry["data"]["outcome"] == "accepted"


async def test_an_answer_without_news_is_told_though_it_is_no_fact() -> None:
    world = World()
    world.venue = ScriptedVenue()  # tells the row before it answers
    async with world.life() as system:
        before = system.store.seq
        reply = await world.call("order.place", **BUY)
        rows = [row.kind async for page in system.store.replay(before) for row in page]

        assert reply.ok
        assert [kind for kind in rows if kind != "Market"] == ["Placed", "OrderSeen", "note"]
        assert len(await world.events("order_created")) == 1


class Slow(PromptVenue):
    """Notes what was placed in the very step, and takes cancels only when it may, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = asyncio.Semaphore(0)
        self.at_once: list[str] = []

    def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
        self.at_once.append(approved.order.client_order_id)
        return super().submit_now(approved)

    async def cancel(self, order: Order) -> Ack:
        await self.turns.acquire()
        return await super().cancel(order)


async def test_a_reply_is_on_its_way_before_the_next_order_is_placed() -> None:
    """Of two that share a commit, one with its outcome and one with its intent."""
    done: list[str] = []

    class Watched(PromptVenue):
        def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
            done.append("placed")
            return super().submit_now(approved)

    def replied(_reply: object) -> None:
        # As a session does: the pump writes it in the next step.
        asyncio.get_running_loop().call_soon(done.append, "written")

    world = World()
    world.venue = Watched()
    async with world.life():
        first = world.ask("order.place", **BUY)
        first.awaitable.add_done_callback(replied)
        while not done:  # noqa: ASYNC110 - its outcome is put in this very step
            await asyncio.sleep(0)
        second = world.ask("order.place", **BUY)
        second.awaitable.add_done_callback(replied)
        await second.wait()
        await asyncio.sleep(0)

        assert done == ["placed", "written", "placed", "written"]


@pytest.mark.parametrize("fails", [1, 2])
async def test_an_order_is_placed_and_answered_though_a_commit_of_its_cannot_be_shown(
    monkeypatch: pytest.MonkeyPatch, fails: int
) -> None:
    """Its intent's, or its outcome's: then it is answered with what is shown next."""
    world = World()
    venue = world.venue = PromptVenue()
    async with world.life() as system:
        loop, outlet = asyncio.get_running_loop(), system.desk.outlet
        show, shown, failed = outlet.show, itertools.count(1), list[object]()
        loop.set_exception_handler(lambda _, context: failed.append(context["exception"]))

        def once() -> None:
            if next(shown) == fails:
                raise RuntimeError("a row that cannot be made")
            show()

        monkeypatch.setattr(outlet, "show", once)
        first = world.start("order.place", **BUY)
        await until(lambda: len(venue.submitted) == 1, within=1)
        second = world.start("order.place", **BUY)
        await until(lambda: first.done() and second.done(), within=5)

        assert first.result().ok
        assert second.result().ok
        assert [str(error) for error in failed] == ["a row that cannot be made"]


@pytest.mark.parametrize("sold", [False, True])
async def test_an_exit_behind_legs_is_placed_at_once_when_they_have_ended(*, sold: bool) -> None:
    """trading:4. It was there before the orders that came while it waited; what a leg has sold is not sold again."""
    world = World()
    venue = world.venue = Slow()
    async with world.life() as system:
        legs = {"stop_loss": "60000", "take_profit": "70000"}
        await world.call("order.place", **BUY | legs, client_order_id="g-1")
        venue.fill("g-1")
        await until(lambda: len(venue.submitted) == 3)

        closing = world.start("position.close_all")
        await asyncio.sleep(0.5)
        if sold:
            venue.fill(venue.submitted[-1])
        for _ in range(2):
            venue.turns.release()
        closed = await closing

        assert closed.result is not None
        failed = closed.result["failed"]
        assert isinstance(failed, list)
        assert [one["error"]["code"] for one in failed] == ["risk_rejected"] * sold
        assert venue.at_once == venue.submitted
        assert len(venue.submitted) == 4 - sold
        await until(lambda: system.places[0].branch.gate.quiet)


@pytest.mark.parametrize("op", ["order.cancel", "trading.halt"])
async def test_what_is_due_at_a_prompt_venue_has_not_left(op: str) -> None:
    world = World()
    world.venue = PromptVenue()
    async with world.life() as system:
        gate = system.places[0].branch.gate
        placing = world.start("order.place", **BUY, client_order_id="g-1")
        while gate.quiet:  # noqa: ASYNC110 - it leaves in the very next step
            await asyncio.sleep(0)
        stops = {"order.cancel": {"client_order_id": "g-1"}, "trading.halt": {"reason": "drill"}}
        stopped = world.start(op, **stops[op])
        await placing

        assert (await stopped).ok
        assert world.order("g-1").status.ended
        assert world.venue.submitted == []
        assert system.desk.tally.row()["calls"] == 0
        assert gate.quiet


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

        approved = Approved(order=order)
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
