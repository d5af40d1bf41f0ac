"""The dead man's switch at a desk: whose orders go, and who is told (conformance 48)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from realtime.model.errors import Code
from realtime.model.market import MS
from realtime.model.risk import TradingState
from tests.fakes import BTC, BUY, World, until


MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def test_it_cancels_the_clients_orders_and_nobody_elses_nor_attached_stops() -> None:
    world = World()
    async with world.life() as system:
        told: list[tuple[str, str, str, Any]] = []
        system.desk.notice = lambda *notice: told.append(notice)
        await world.call("order.place", client="bot", **BUY, client_order_id="mine")
        await world.call("order.place", client="other", **BUY, client_order_id="theirs")
        bracket = MARKET_BUY | {"stop_loss": "60000"}
        await world.call("order.place", client="bot", **bracket, client_order_id="held")
        await until(lambda: len(world.venue.live()) == 3)
        armed = result(await world.call("deadman", client="bot", timeout=60))
        await asyncio.sleep(62)

        left = world.venue.live()
        assert armed["armed"] is True
        assert armed["native"] is False
        assert "mine" not in left
        assert "theirs" in left
        assert len([name for name in left if name.startswith("leg-")]) == 1
        ((subject, client, event, data),) = told
        assert (subject, client, event) == ("local", "bot", "deadman_fired")
        assert (data["cause"], data["canceled"]) == ("timeout", ["mine"])
        (entry,) = await world.events("deadman_fired")
        assert entry["client"] == "bot"


async def test_what_fills_before_its_cancel_is_there_is_told_as_ended() -> None:
    world = World()
    async with world.life() as system:
        told: list[dict[str, Any]] = []
        system.desk.notice = lambda *notice: told.append(notice[-1])
        await world.call("order.place", client="bot", **BUY, client_order_id="mine")
        world.venue.point = lambda name: (
            world.venue.fill("mine") if name == "cancel before" else None
        )
        await world.call("deadman", client="bot", timeout=60)
        await asyncio.sleep(62)

        (data,) = told
        assert (data["canceled"], data["failed"], data["unknown"]) == ([], [], [])
        assert data["ended"] == ["mine"]


async def test_of_the_account_it_cancels_everything_and_can_halt() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", client="other", **BUY, client_order_id="theirs")
        bracket = MARKET_BUY | {"stop_loss": "60000"}
        await world.call("order.place", client="other", **bracket, client_order_id="held")
        await until(lambda: len(world.venue.live()) == 2)
        await world.call(
            "deadman",
            client="bot",
            timeout=10,
            scope="account",
            action="cancel_and_halt",
            include_protection=True,
        )
        await asyncio.sleep(20)

        assert world.venue.live() == []
        assert system.desk.engine.state() is TradingState.HALTED


@pytest.mark.parametrize("scope", ["client", "account"])
async def test_a_cancel_that_is_lost_is_repeated_until_the_venue_shows_it_also_after_a_kill(
    tmp_path: Path, scope: str
) -> None:
    """Found by an audit: the orders of a client that had died stood for ever, where the one cancel was lost."""
    world = World(tmp_path / "j.db")
    theirs = ["theirs"] if scope == "client" else []
    async with world.life() as system:
        await world.call("order.place", client="other", **BUY, client_order_id="theirs")
        await world.call("order.place", client="bot", **BUY, client_order_id="mine")
        await world.call("deadman", client="bot", timeout=10, scope=scope)
        world.venue.cancels.extend(["drop"] * 500)
        await asyncio.sleep(25)
        alerts = result(await world.call("alert.list", limit=100))["alerts"]

        assert "mine" in world.venue.live()
        assert system.desk.engine.state() is TradingState.ACTIVE
        assert system.desk.outlet.risk_row()["halt"] is None
        assert "deadman_canceling" in {alert["code"] for alert in alerts}
    world.venue.cancels.clear()

    async with world.life() as system:
        await until(lambda: world.venue.live() == theirs, within=60)
        await until(lambda: not system.branch.sweeps._running, within=60)
        later = await world.call("order.place", client="bot", **BUY, client_order_id="later")
        await asyncio.sleep(5)

        assert later.ok
        assert world.venue.live() == [*theirs, "later"]


@pytest.mark.parametrize("first", ["order", "switch"])
@pytest.mark.parametrize("resting", [0, 1])
async def test_what_is_placed_in_the_instant_in_which_it_fires_is_swept_whatever_came_first(
    first: str, resting: int
) -> None:
    """Found by a random walk: it stood for ever where nothing else of the client's had worked."""
    world = World()
    async with world.life():
        loop = asyncio.get_running_loop()
        for number in range(resting):
            await world.call("order.place", client="bot", **BUY, client_order_id=f"g-{number}")
        placed: list[asyncio.Future[Any]] = []

        def place() -> None:
            wish = BUY | {"price": "63800", "client_order_id": "tie"}
            placed.append(world.start("order.place", client="bot", **wish))

        at = loop.time() + 10
        if first == "order":
            loop.call_at(at, place)
        armed = result(await world.call("deadman", client="bot", timeout=10))
        if first == "switch":
            loop.call_at(at, loop.call_soon, place)
        await asyncio.sleep(15)
        tie = world.order("tie")
        later = await world.call("order.place", client="bot", **BUY, client_order_id="later")
        await asyncio.sleep(5)

        assert tie.created_ts // MS == armed["fires_at"]
        assert placed[0].done()
        assert later.ok
        assert world.venue.live() == ["later"]


async def test_it_survives_a_kill_with_its_deadline(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await world.call("order.place", client="bot", **BUY, client_order_id="mine")
        await world.call("deadman", client="bot", timeout=60)
        await asyncio.sleep(20)

    async with world.life():
        await asyncio.sleep(30)
        assert world.venue.live() == ["mine"]
        await asyncio.sleep(15)
        assert world.venue.live() == []

    async with world.life() as system:
        assert system.deadman.get("local", "bot") is None


async def test_what_makes_no_sense_is_refused() -> None:
    world = World()
    async with world.life() as system:
        neither = await world.call("deadman")
        short = await world.call("deadman", timeout=0.5)
        over_http = system.registry.dispatch(
            "deadman", {"grace": 5}, principal=None, client="x", source="http"
        )
        off = result(await world.call("deadman", timeout=0))

        assert neither.code is short.code is Code.INVALID
        assert getattr(over_http, "code", None) in {Code.UNAUTHORIZED, Code.NOT_SUPPORTED}
        assert off["armed"] is False
        assert off["fires_at"] is None


@pytest.mark.promise("O13")
async def test_a_step_of_the_wall_clock_fires_nothing() -> None:
    """Promise O13: what runs in the process measures with the loop's clock."""
    world = World()
    async with world.life():
        await world.call("order.place", client="bot", **BUY, client_order_id="mine")
        await world.call("deadman", client="bot", timeout=60)
        world.wall += 3_600_000_000_000
        await asyncio.sleep(30)

        assert world.venue.live() == ["mine"]
