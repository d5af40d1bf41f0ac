"""The kill switch: K1 to K8, and trading states across restarts (conformance 46, 47; promises O7, O8)."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.desk.lanes import Lane
from realtime.model.errors import Code
from realtime.model.events import Amend, AmendNext, Place, PlaceNext, Who
from realtime.model.orders import Status
from realtime.model.principal import ROLES, Principal
from realtime.model.risk import TradingState
from tests.fakes import BTC, BUY, ETH, LOCAL, World, finished, until


MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
SMALL: dict[str, Any] = BUY | {"amount": "0.001"}
TRADER = Principal(subject="tom", scopes=ROLES["trader"])


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


@pytest.mark.promise("O7")
async def test_of_a_thousand_placements_racing_a_halt_none_goes_out_after_its_reply(
    tmp_path: Path,
) -> None:
    """Conformance 47, K1, K2; the halt survives a kill."""
    world = World(tmp_path / "j.db")
    async with world.life():

        async def place(number: int) -> Any:
            for _ in range(number % 7):
                await asyncio.sleep(0)
            return await world.call("order.place", **SMALL, client_order_id=f"g-{number}")

        racing = [asyncio.ensure_future(place(number)) for number in range(1_000)]
        for _ in range(3):
            await asyncio.sleep(0)
        reply = await world.call("trading.halt", reason="drill")
        at_reply = len(world.venue.submitted)
        replies = await asyncio.gather(*racing)
        await asyncio.sleep(30)

        assert result(reply)["state"] == "halted"
        assert len(world.venue.submitted) == at_reply
        assert world.venue.live() == []
        refused = [r for r in replies if not r.ok]
        assert {r.code for r in refused} <= {Code.HALTED}
        assert len(refused) + at_reply == 1_000

    async with world.life() as system:
        assert system.desk.engine.state() is TradingState.HALTED
        again = await world.call("order.place", **BUY, client_order_id="later")
        assert again.code is Code.HALTED
        assert len(world.venue.submitted) == at_reply


async def test_an_order_that_waits_when_the_halt_comes_never_reaches_the_venue() -> None:
    world = World()
    async with world.life() as system:
        system.gate._lanes._flying = 1_000
        waiting = world.start("order.place", **BUY, client_order_id="g-1")
        await asyncio.sleep(1)
        await world.call("trading.halt", reason="drill")
        system.gate._lanes._flying = 0
        system.gate._lanes._next()

        assert (await waiting).code in {Code.HALTED, None}
        assert world.order("g-1").status in {Status.REJECTED, Status.CANCELED}
        assert world.venue.submitted == []


async def test_the_state_changes_in_the_very_step_of_the_command() -> None:
    """K1: nothing is awaited between the frame and the state."""
    world = World()
    async with world.life() as system:
        got = world.ask("trading.halt", reason="drill")

        assert system.desk.engine.state() is TradingState.HALTED
        refused = await finished(world.ask("order.place", **BUY))
        assert refused.code is Code.HALTED
        await finished(got)


async def test_a_halt_names_only_the_streams_it_changed() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", symbol=BTC, side="buy", type="market", amount="0.01")
        empty = await world.call("trading.halt", symbol=BTC)
        await world.call("trading.resume", symbol=BTC, reason="again")
        await world.call("order.place", **BUY)
        full = await world.call("trading.halt", symbol=BTC)

        assert empty.at is not None
        assert full.at is not None
        assert not set(empty.at) & {"orders", "fills", "positions", "balances"}
        assert "orders" in full.at
        assert "fills" not in full.at


async def test_resting_orders_are_cancelled_and_listed() -> None:
    world = World()
    async with world.life():
        for name in ("g-1", "g-2"):
            await world.call("order.place", **BUY, client_order_id=name)
        reply = await world.call("trading.halt", reason="manual")
        again = await world.call("trading.halt", reason="manual")

        assert sorted(result(reply)["canceled"]) == ["g-1", "g-2"]
        assert result(reply)["failed"] == result(reply)["unknown"] == []
        assert result(reply)["journaled"] is True
        assert result(again)["changed"] is False


async def test_an_order_in_flight_is_cancelled_as_soon_as_its_id_can_be_used() -> None:
    """K2, second half."""
    world = World()
    async with world.life():
        world.venue.gate = asyncio.Event()
        placing = world.start("order.place", **BUY, client_order_id="g-1")
        await asyncio.sleep(0.5)
        halting = world.start("trading.halt", reason="drill")
        await asyncio.sleep(0.5)
        world.venue.gate.set()
        await placing
        await halting
        await until(lambda: world.order("g-1").status is Status.CANCELED)

        assert world.venue.live() == []


async def test_a_cancel_that_is_lost_is_repeated_until_the_venue_shows_it() -> None:
    """K5: the channel says so meanwhile, and an alarm repeats."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.cancels.extend(["drop"] * 25)
        halting = world.start("trading.halt", reason="drill")
        await asyncio.sleep(1)

        assert system.desk.outlet.risk_row()["halt"] == "canceling"

        reply = await halting
        await until(lambda: system.desk.outlet.risk_row()["halt"] is None, within=120)
        alerts = result(await world.call("alert.list", limit=100))["alerts"]

        assert result(reply)["unknown"] == ["g-1"]
        assert world.order("g-1").status is Status.CANCELED
        assert "halt_canceling" in {alert["code"] for alert in alerts}


@pytest.mark.promise("O7")
async def test_a_restart_finishes_the_cancels_of_a_halt(tmp_path: Path) -> None:
    """K6."""
    world = World(tmp_path / "j.db")
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.cancels.extend(["drop"] * 50)
        halting = world.start("trading.halt", reason="drill")
        await asyncio.sleep(0.2)
        halting.cancel()
    world.venue.cancels.clear()

    async with world.life() as system:
        await until(lambda: world.order("g-1").status is Status.CANCELED, within=60)
        await until(lambda: system.desk.outlet.risk_row()["halt"] is None, within=60)

        assert world.venue.live() == []


async def test_attached_stops_stay_unless_they_are_to_go() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, stop_loss="60000", client_order_id="g-1")
        await until(lambda: len(world.venue.live()) == 1)
        stop = world.venue.live()[0]
        kept = await world.call("trading.halt", reason="drill")
        await asyncio.sleep(5)

        assert world.venue.live() == [stop]
        assert result(kept)["canceled"] == []

        gone = await world.call("trading.halt", reason="all of it", protection="cancel")
        await asyncio.sleep(5)

        assert result(gone)["canceled"] == [stop]
        assert world.venue.live() == []


STOP: dict[str, Any] = {
    "symbol": BUY["symbol"],
    "side": "sell",
    "type": "stop",
    "amount": "0.004",
    "stop_price": "60000",
}


async def test_a_stop_that_stands_alone_stays_as_an_attached_one_does() -> None:
    """A kill switch that disarms stop losses would raise risk, however they were placed."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        result(await world.call("order.place", **STOP, client_order_id="stop"))
        limit = BUY | {"side": "sell", "price": "65000", "amount": "0.004"}
        result(await world.call("order.place", **limit, client_order_id="limit"))
        kept = await world.call("trading.halt", reason="drill")
        await asyncio.sleep(5)

        assert result(kept)["canceled"] == ["limit"]
        assert world.order("stop").status is Status.OPEN

        gone = await world.call("trading.halt", reason="all of it", protection="cancel")

        assert result(gone)["canceled"] == ["stop"]


async def test_a_stop_that_stands_alone_gives_way_to_a_flattening() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        result(await world.call("order.place", **STOP, client_order_id="stop"))
        reply = await world.call("trading.halt", reason="out", flatten=True)

        assert result(reply)["flat"] is True
        assert world.order("stop").status is Status.CANCELED
        assert world.venue.coins == {"BTC": 0}


async def test_a_stop_that_opens_a_position_goes_with_the_other_entries() -> None:
    world = World()
    async with world.life():
        entry = STOP | {"side": "buy", "stop_price": "70000"}
        result(await world.call("order.place", **entry, client_order_id="entry"))
        told = await world.call("trading.halt", reason="drill")

        assert result(told)["canceled"] == ["entry"]


async def test_a_second_halt_does_not_spare_the_stops_that_the_first_is_cancelling() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **MARKET_BUY, stop_loss="60000", client_order_id="g-1")
        await until(lambda: len(world.venue.live()) == 1)
        world.venue.cancels.extend(["drop"] * 5)
        first = world.start("trading.halt", reason="all of it", protection="cancel")
        await asyncio.sleep(1)
        second = world.start("trading.halt", reason="once more")
        await until(lambda: system.desk.outlet.risk_row()["halt"] is None, within=120)

        assert result(await first)["state"] == "halted"
        assert result(await second)["changed"] is False
        assert world.venue.live() == []


async def test_a_halt_of_what_is_being_cancelled_tells_nothing_again() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.cancels.extend(["drop"] * 3)
        first = world.start("trading.halt", reason="drill")
        await asyncio.sleep(0.1)
        told = [system.hub.position(name) for name in ("risk", "status")]
        again = world.ask("trading.halt", reason="drill")

        assert None not in told
        assert [system.hub.position(name) for name in ("risk", "status")] == told
        assert result(await finished(again))["changed"] is False
        await first
        await until(lambda: system.desk.outlet.risk_row()["halt"] is None)
        status = system.hub.position("status")
        again = world.ask("trading.halt", reason="drill")
        assert system.hub.position("status") == status
        assert result(await finished(again))["changed"] is False


async def test_flatten_closes_every_position_through_the_gate() -> None:
    """K7."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        reply = await world.call("trading.halt", reason="out", flatten=True)

        assert result(reply)["flat"] is True
        assert world.venue.coins == {"BTC": 0}
        closing = world.venue.of(world.venue.submitted[-1]).order
        assert closing.reduce_only
        assert closing.source == "flatten"


@pytest.mark.parametrize(
    ("scope", "left"),
    [
        ({"bot_id": "b"}, {"BTC": "0.01", "ETH": "0.1"}),
        ({"symbol": BTC}, {"BTC": "0", "ETH": "0.1"}),
        ({"venue": "paper"}, {"BTC": "0", "ETH": "0"}),
        ({}, {"BTC": "0", "ETH": "0"}),
    ],
    ids=["bot", "symbol", "venue", "all"],
)
async def test_flatten_closes_what_its_scope_is_about_and_nothing_else(
    scope: dict[str, Any], left: dict[str, str]
) -> None:
    """K7. Positions are the account's: the halt of a bot closes none."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        await world.call("order.place", **MARKET_BUY | {"symbol": ETH, "amount": "0.1"})
        result(await world.call("trading.halt", reason="out", flatten=True, **scope))

        assert world.venue.coins == {name: Decimal(amount) for name, amount in left.items()}


async def test_a_flattening_is_answered_when_its_orders_have_filled() -> None:
    """K4, K7. Found by a run: it was answered as soon as they were taken, as not flat."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        world.venue.script.append("rest")
        halting = world.start("trading.halt", reason="out", flatten=True, cancel=False)
        await until(lambda: len(world.venue.live()) == 1)
        (name,) = world.venue.live()
        await until(lambda: world.order(name).status is Status.OPEN)
        await asyncio.sleep(2)
        assert not halting.done()
        world.venue.fill(name)

        reply = result(await halting)
        assert (reply["flat"], reply["positions"]) == (True, [])
        assert world.venue.coins == {"BTC": Decimal(0)}


async def test_a_flattening_whose_fill_is_told_after_its_end_is_flat_with_the_fill() -> None:
    """K7."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        world.venue.script.append("rest")
        halting = world.start("trading.halt", reason="out", flatten=True, cancel=False)
        await until(lambda: len(world.venue.live()) == 1)
        (name,) = world.venue.live()
        await until(lambda: world.order(name).status is Status.OPEN)
        held = world.venue.of(name)
        held.shown = False  # the stream is silent about it
        world.venue.fill(name)
        world.venue._tell(held)
        await until(lambda: world.order(name).status is Status.FILLED)
        await asyncio.sleep(0.1)
        assert not halting.done()
        world.venue._post(held.fills)

        reply = result(await halting)
        assert (reply["flat"], reply["positions"]) == (True, [])


async def test_a_second_halt_leaves_alone_what_the_first_flattens_with() -> None:
    """Who presses twice wants to be out, and not to stay half way."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        world.venue.script.append("rest")
        halting = world.start("trading.halt", reason="out", flatten=True)
        await until(lambda: len(world.venue.live()) == 1)
        (name,) = world.venue.live()
        again = result(await world.call("trading.halt", reason="out, I said"))
        await asyncio.sleep(2)
        world.venue.fill(name)

        assert again["canceled"] == []
        assert result(await halting)["flat"] is True
        assert world.order(name).status is Status.FILLED


async def test_a_flattening_that_does_not_fill_is_answered_in_time_with_what_is_left() -> None:
    """K4, K7."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        world.venue.script.append("half")
        loop = asyncio.get_running_loop()
        since = loop.time()
        reply = result(await world.call("trading.halt", reason="out", flatten=True, cancel=False))

        assert 9 < loop.time() - since < 11
        assert reply["flat"] is False
        assert [row["amount"] for row in reply["positions"]] == ["0.00500"]


@pytest.mark.parametrize(
    ("op", "why"), [("order.cancel_all", {}), ("trading.halt", {"reason": "x"})]
)
async def test_what_fills_before_its_cancel_is_there_is_not_told_as_canceled(
    op: str, why: dict[str, Any]
) -> None:
    """Found by a run: what was still open stood in `canceled`, and had filled."""
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="full")
        await world.call("order.place", **BUY, client_order_id="part")
        asked = world.start(op, **why)
        world.venue.fill("full")
        world.venue.fill("part", Decimal("0.001"))
        told = result(await asked)

        assert (told["canceled"], told["failed"], told["ended"]) == (["part"], [], ["full"])
        assert world.order("full").status is Status.FILLED
        again = result(await world.call(op, **why))
        assert again["canceled"] == []
        assert "ended" not in again


@pytest.mark.parametrize(
    "how", [{"state": "reducing"}, {"cancel": False}], ids=["reducing", "without cancels"]
)
async def test_exits_that_a_halt_keeps_give_way_to_its_flattening(how: dict[str, Any]) -> None:
    """K7. Found in review: with an exit resting nothing was closed at all."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        exits = BUY | {"side": "sell", "price": "65000", "amount": "0.004"}
        await world.call("order.place", **exits, client_order_id="out")
        reply = await world.call("trading.halt", reason="out", flatten=True, **how)

        assert result(reply)["flat"] is True
        assert world.venue.live() == []
        assert world.venue.coins == {"BTC": 0}


async def test_what_is_less_than_a_lot_does_not_keep_an_account_from_being_flat() -> None:
    """Fees in base leave it. Found in review: each halt raised a critical alert, and nothing was ever flat."""
    world = World()
    world.venue.coins["BTC"] = Decimal("0.000007")
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        reply = await world.call("trading.halt", reason="out", flatten=True)
        again = await world.call("trading.halt", reason="out", flatten=True)

        for told in (result(reply), result(again)):
            assert (told["flat"], told["positions"]) == (True, [])
        assert world.venue.coins == {"BTC": Decimal("0.000007")}
        alerts = result(await world.call("alert.list"))["alerts"]
        assert {alert["code"] for alert in alerts} == {"trading_state"}


async def test_a_flattening_says_so_where_the_cancel_of_an_exit_is_not_answered() -> None:
    """K7. Found in review: all of it was asked for, which a spot exchange refuses, and no alert told of it."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        exits = BUY | {"side": "sell", "price": "65000", "amount": "0.004"}
        await world.call("order.place", **exits, client_order_id="out")
        world.venue.cancels.extend(["drop"] * 40)
        reply = await world.call("trading.halt", reason="out", flatten=True, state="reducing")
        await until(lambda: world.venue.coins == {"BTC": Decimal("0.004")}, within=10)

        assert result(reply)["flat"] is False
        assert world.venue.live() == ["out"]
        alerts = result(await world.call("alert.list"))["alerts"]
        told = [alert["text"] for alert in alerts if alert["code"] == "flatten_refused"]
        assert told == [
            f"{BTC} stays open: other orders that still work hold 0.004 of it",
        ]


async def test_a_flattening_that_the_venue_refuses_is_told() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        world.venue.script.append("reject")
        reply = await world.call("trading.halt", reason="out", flatten=True)

        assert result(reply)["flat"] is False
        alerts = result(await world.call("alert.list"))["alerts"]
        assert [alert["code"] for alert in alerts].count("flatten_refused") == 1


async def test_a_flattening_after_a_breach_that_is_refused_says_that_the_position_stays_open() -> (
    None
):
    """Found in review: the alert told of an attached order, which there was none of."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        (wish,) = system.desk.engine.flatten(system.desk.now())
        too_much = replace(wish.order, amount=wish.order.amount + 1)
        system.desk._carry([PlaceNext(replace(wish, order=too_much))])

        (alert,) = result(await world.call("alert.list"))["alerts"]
        assert (alert["level"], alert["code"]) == ("critical", "flatten_refused")
        assert alert["text"].startswith(f"{BTC} stays open: ")
        assert alert["data"]["symbol"] == BTC


async def test_a_refused_change_of_an_attached_order_names_it() -> None:
    """Found by a run: the alert had an empty symbol and no order."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **MARKET_BUY, stop_loss="60000", client_order_id="g-1")
        desk = system.desk
        await until(lambda: any(order.protective for order in desk.engine.orders.working()))
        (stop,) = [order for order in desk.engine.orders.working() if order.protective]
        wish = Amend(
            order_id=stop.id,
            amount=stop.amount + 1,
            price=None,
            stop_price=None,
            stop_loss=None,
            take_profit=None,
            who=Who(subject="engine"),
            ts=desk.now(),
        )
        desk._carry([AmendNext(wish)])
        leg = replace(
            stop, id="o-9", client_order_id="leg", venue_client_id="leg", status=Status.PENDING
        )
        leg = replace(leg, amount=stop.amount + 1)
        desk._carry([PlaceNext(Place(order=leg, who=wish.who, ts=wish.ts))])

        alerts = result(await world.call("alert.list"))["alerts"]
        told = [alert["data"] for alert in alerts if alert["code"] == "protection_degraded"]
        assert {data["order_id"] for data in told} == {stop.id, stop.parent_id}
        assert [data["symbol"] for data in told] == [BTC, BTC]
        assert {data["code"] for data in told} == {"insufficient_funds"}


async def test_less_than_a_lot_beside_an_exit_of_which_nobody_knows_does_not_silence_a_flattening() -> (
    None
):
    world = World()
    world.venue.coins["BTC"] = Decimal("0.000007")
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **MARKET_BUY | {"side": "sell"}, client_order_id="mine")
        reply = await world.call("trading.halt", reason="out", flatten=True, state="reducing")

        assert result(reply)["flat"] is False
        alerts = result(await world.call("alert.list"))["alerts"]
        assert "flatten_refused" in {alert["code"] for alert in alerts}


async def test_reducing_lets_exits_pass_and_keeps_them_resting() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        exits = BUY | {"side": "sell", "price": "65000", "reduce_only": True}
        await world.call("order.place", **exits, client_order_id="out")
        await world.call("order.place", **BUY, client_order_id="in")
        reply = await world.call("trading.halt", state="reducing", reason="careful")
        entry = await world.call("order.place", **BUY, client_order_id="more")

        assert result(reply)["canceled"] == ["in"]
        assert entry.code is Code.RISK_REJECTED
        assert world.venue.live() == ["out"]


async def test_a_halt_does_not_loosen_what_is_halted_and_says_what_is_in_force() -> None:
    """Trading 3.4. Found in review (R6): `reducing` replaced `halted`, past the policy of `trading.resume`."""
    world = World()
    async with world.life() as system:
        await world.call("trading.halt", reason="drill")
        for who in (TRADER, LOCAL):
            softer = await world.call("trading.halt", who=who, state="reducing", reason="softer")

            assert (result(softer)["changed"], result(softer)["state"]) == (False, "halted")
        assert system.desk.engine.state() is TradingState.HALTED


async def test_an_order_nobody_knows_about_is_listed_as_unknown_by_a_halt() -> None:
    """Trading K4. Found in review (R8): the venue's refusal of its cancel counted as known."""
    world = World()
    async with world.life():
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        world.venue.cancels.append("reject")
        reply = await world.call("trading.halt", reason="drill")

        assert (result(reply)["failed"], result(reply)["unknown"]) == ([], ["g-1"])


async def test_a_symbol_can_be_halted_by_itself() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="btc")
        eth = BUY | {"symbol": ETH, "price": "3100"}
        await world.call("order.place", **eth, client_order_id="eth")
        await world.call("trading.halt", symbol="btcusdt", reason="listing")
        refused = await world.call("order.place", **BUY)
        passed = await world.call("order.place", **eth, client_order_id="eth-2")

        assert refused.code is Code.HALTED
        assert passed.ok
        assert sorted(world.venue.live()) == ["eth", "eth-2"]
        assert system.desk.engine.state() is TradingState.ACTIVE

        back = await world.call("trading.resume", symbol=BTC, reason="fine")
        assert result(back)["changed"] is True
        assert (await world.call("order.place", **BUY)).ok


async def test_resuming_needs_an_admin_a_reason_and_no_unknown_order() -> None:
    world = World()
    async with world.life() as system:
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        await world.call("trading.halt", reason="drill", cancel=False)
        without_scope = await world.call("trading.resume", who=TRADER, reason="please")
        without_reason = await world.call("trading.resume", reason="")
        with_unknown = await world.call("trading.resume", reason="checked")
        forced = await world.call("trading.resume", reason="checked", force=True)
        again = await world.call("trading.resume", reason="checked")

        assert without_scope.code is Code.FORBIDDEN
        assert without_reason.code is Code.INVALID
        assert with_unknown.code is Code.CONFLICT
        assert result(forced) == {"state": "active", "scope": "all", "changed": True}
        assert result(again)["changed"] is False
        assert system.desk.engine.state() is TradingState.ACTIVE


async def test_a_trader_may_halt_and_close_by_an_admin_passes_a_halt() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY, client_order_id="g-1")
        halted = await world.call("trading.halt", who=TRADER, reason="drill")
        close: dict[str, Any] = {"position_id": "BTC/USDT|long"}
        by_trader = await world.call("position.close", who=TRADER, **close)
        by_admin = await world.call("position.close", **close)

        assert result(halted)["state"] == "halted"
        assert by_trader.code is Code.HALTED
        assert result(by_admin)["status"] == "filled"


@pytest.mark.promise("O8")
async def test_a_cancel_leaves_within_100_ms_while_orders_crowd_the_limiter() -> None:
    """Conformance 46, promise O8."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="first")
        world.venue.gate = asyncio.Event()
        crowd = [world.start("order.place", **BUY, client_order_id=f"g-{n}") for n in range(200)]
        await asyncio.sleep(0.5)
        assert system.gate._lanes.waiting(Lane.ENTRY) > 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        reply = await world.call("order.cancel", client_order_id="first")

        assert result(reply)["status"] == "canceled"
        assert loop.time() - began < 0.1
        world.venue.gate.set()
        await asyncio.gather(*crowd)


@pytest.mark.promise("O7")
async def test_a_hundred_cancels_are_handed_over_in_the_step_of_the_halt() -> None:
    """K3: 250 ms is the promise; nothing of ours stands between."""
    world = World()
    async with world.life():
        for number in range(100):
            await world.call("order.place", **BUY, client_order_id=f"g-{number}")
        loop = asyncio.get_running_loop()
        began = loop.time()
        halting = world.start("trading.halt", reason="drill")
        await until(lambda: len(world.venue.canceled) == 100)

        assert loop.time() - began < 0.25
        assert len(result(await halting)["canceled"]) == 100


@pytest.mark.parametrize("scope", [{"symbol": BTC, "bot_id": "b"}, {"venue": "other"}], ids=str)
async def test_a_scope_that_is_none_is_refused_and_nothing_changes(scope: dict[str, Any]) -> None:
    world = World()
    async with world.life() as system:
        reply = await world.call("trading.halt", **scope)

        assert reply.code in {Code.INVALID, Code.NOT_FOUND}
        assert system.desk.engine.halts == {}
