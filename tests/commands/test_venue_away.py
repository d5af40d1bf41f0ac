"""What a client is told while the venue asks to slow down, is under maintenance, or cannot be reached."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from realtime.app import Making, Outside
from realtime.commands.registry import Reply
from realtime.model.errors import Code, VenueRejected
from realtime.model.events import Ack
from realtime.model.orders import Approved, ApprovedAmend, Order, Status
from realtime.venues.chaos import ChaosVenue, Fault, Kind
from tests.fakes import BUY, ScriptedVenue, World, until


LIMIT = Fault(kind=Kind.RATE_LIMIT, times=1)
SELL = BUY | {"side": "sell", "price": "65000"}


class Faulty(World):
    """A world whose venue can be away."""

    chaos: ChaosVenue

    def outside(self) -> Outside:
        def make(making: Making) -> ChaosVenue:
            self.venue.bind(making.now)
            self.chaos = ChaosVenue(self.venue, seed=1, now=making.now, sleep=making.sleep)
            return self.chaos

        return replace(super().outside(), venue=make)


def error_of(reply: Reply) -> dict[str, Any]:
    assert reply.error is not None, reply.result
    return dict(reply.error)


def told(reply: Reply) -> tuple[Any, ...]:
    error = error_of(reply)
    details = error.get("details")
    assert isinstance(details, Mapping)
    return error["code"], error["outcome"], error.get("retry_after"), details.get("lane")


async def test_a_venue_that_asks_to_slow_down_is_told_with_its_lane_and_when_to_come_back() -> None:
    """Protocol 9.1 and 10. Found by a run: `rate_limited` came with neither, and a refused cancel as `venue_rejected`."""
    world = Faulty()
    slow = ("rate_limited", "not_done", 1.0, "venue")
    async with world.life():
        world.chaos.set_faults([LIMIT])
        placed = await world.call("order.place", **BUY, client_order_id="g-1")
        again = await world.call("order.place", **BUY, client_order_id="g-1")
        fresh = await world.call("order.place", **BUY, client_order_id="g-2")

        assert told(placed) == told(again) == slow
        assert error_of(again) == error_of(placed)
        assert "a new order needs a new client_order_id" in error_of(placed)["message"]
        assert world.order("g-1").status is Status.REJECTED
        assert "client_order_id" not in (world.order("g-1").reason or "")
        assert fresh.ok, fresh.error

        changes: list[tuple[str, dict[str, Any]]] = [
            ("order.amend", {"price": "63800"}),
            ("order.cancel", {}),
        ]
        for op, args in changes:
            world.chaos.set_faults([LIMIT])
            refused = await world.call(op, client_order_id="g-2", **args)
            assert told(refused) == slow
            assert "new client_order_id" not in error_of(refused)["message"]
            repeated = await world.call(op, client_order_id="g-2", **args)
            assert repeated.ok, repeated.error
        noted = await world.events("exchange_error")

        assert [entry["data"]["code"] for entry in noted] == ["rate_limited"] * 3


async def test_items_of_a_batch_are_told_the_same() -> None:
    world = Faulty()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.chaos.set_faults([replace(LIMIT, times=2)])
        items = [
            {"do": "place", **BUY, "client_order_id": "g-2"},
            {"do": "cancel", "client_order_id": "g-1"},
        ]
        reply = await world.call("order.batch", items=items)

        assert reply.result is not None
        rows: Any = reply.result["items"]
        errors = [row["error"] for row in rows]
        assert [(e["code"], e["retry_after"], e["details"]["lane"]) for e in errors] == [
            ("rate_limited", 1.0, "venue")
        ] * 2


async def test_the_time_that_the_venue_names_is_passed_on_and_a_second_where_it_names_none() -> (
    None
):
    class Busy(ScriptedVenue):
        async def submit(self, approved: Approved) -> Ack:
            if self.script:
                return await super().submit(approved)
            raise VenueRejected(Code.RATE_LIMITED, "slower", retry_after=7.5)

        async def amend(self, approved: ApprovedAmend) -> Ack:
            raise VenueRejected(Code.RATE_LIMITED, "slower", retry_after=7.5)

        async def cancel(self, order: Order) -> Ack:
            raise VenueRejected(Code.RATE_LIMITED, "slower", retry_after=7.5)

    world = World()
    world.venue = Busy()
    async with world.life():
        world.venue.script += ["down", "rest"]
        down = await world.call("order.place", **BUY, client_order_id="g-1")
        await world.call("order.place", **BUY, client_order_id="g-2")
        placed = await world.call("order.place", **BUY, client_order_id="g-3")
        again = await world.call("order.place", **BUY, client_order_id="g-3")
        amend = await world.call("order.amend", client_order_id="g-2", price="63800")
        cancel = await world.call("order.cancel", client_order_id="g-2")

        assert told(down) == ("venue_unavailable", "not_done", 1.0, None)
        for reply in (placed, amend, cancel):
            assert told(reply) == ("rate_limited", "not_done", 7.5, "venue")
        assert told(again) == ("rate_limited", "not_done", 1.0, "venue")


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.INVALID])
async def test_a_venues_word_on_its_own_call_is_not_about_the_clients_arguments(code: Code) -> None:
    class Strict(ScriptedVenue):
        async def cancel(self, order: Order) -> Ack:
            raise VenueRejected(code, "what is that")

    world = World()
    world.venue = Strict()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
        cancel = await world.call("order.cancel", client_order_id="g-1")

        assert told(cancel) == ("venue_rejected", "not_done", None, None)
        assert error_of(cancel)["details"]["venue"] == "what is that"


@pytest.mark.parametrize(
    ("kind", "word"),
    [(Kind.MAINTENANCE, "under maintenance"), (Kind.DISCONNECT, "its connection is lost")],
)
async def test_entries_are_told_to_come_back_while_the_venue_is_away(kind: Kind, word: str) -> None:
    """Found by a run: `risk_rejected` for a price of 24 ms, above a limit of 5000 ms."""
    world = Faulty()
    async with world.life():
        world.venue.script.append("fill")
        await world.call("order.place", **BUY, client_order_id="held")
        await world.call("order.place", **BUY, client_order_id="g-1")
        sent = list(world.venue.submitted)
        world.chaos.set_faults([Fault(kind=kind)])
        await until(lambda: world.system.feeds.silent)
        placed = await world.call("order.place", **BUY, client_order_id="g-2")
        amended = await world.call("order.amend", client_order_id="g-1", amount="0.02")
        shown = await world.call("order.preview", **BUY)
        exits = await world.call("order.preview", **SELL)

        for reply in (placed, amended):
            error = error_of(reply)
            assert told(reply) == ("venue_unavailable", "not_done", 1.0, None)
            assert error["details"]["rule"] == "not_ready"
            assert word in error["message"]
        assert shown.result is not None
        assert shown.result["code"] == "venue_unavailable"
        assert exits.result is not None
        assert exits.result["valid"] is True, exits.result
        assert world.venue.submitted == sent

        world.chaos.set_faults([])
        back = await world.call("order.place", **BUY, client_order_id="g-2")

        assert back.ok, back.error  # its id was not used up


async def test_what_goes_out_to_a_venue_under_maintenance_is_told_to_come_back() -> None:
    """Exits and cancels are not held back: it is the venue that refuses them."""
    world = Faulty()
    async with world.life():
        world.venue.script.append("fill")
        await world.call("order.place", **BUY, client_order_id="held")
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.chaos.set_faults([Fault(kind=Kind.MAINTENANCE)])
        await until(lambda: world.system.feeds.silent)
        left = await world.call("order.place", **SELL, client_order_id="out")
        cancel = await world.call("order.cancel", client_order_id="g-1")

        away = ("venue_unavailable", "not_done", 1.0, None)
        assert told(left) == told(cancel) == away
        assert "a new order needs a new client_order_id" in error_of(left)["message"]
        assert world.order("g-1").status is Status.OPEN
        world.chaos.set_faults([])
        canceled = await world.call("order.cancel", client_order_id="g-1")

        assert canceled.ok, canceled.error


async def test_a_repeat_after_a_restart_is_told_the_same(tmp_path: Path) -> None:
    world = Faulty(tmp_path / "j.db")
    async with world.life():
        world.chaos.set_faults([LIMIT])
        first = await world.call("order.place", **BUY, client_order_id="g-1")
    async with world.life():
        again = await world.call("order.place", **BUY, client_order_id="g-1")

        assert error_of(again) == error_of(first)
