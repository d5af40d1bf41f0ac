"""What is kept of bots reads back as it was; budgets of contracts; a stop that does not wait."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.bots.bot import spec_of, spec_row
from realtime.desk.codec import dumps
from realtime.model.bots import BotSpec, BotState, Kind, OnError, Trigger, Use
from tests.bots.market import BTC, HOLD, QUIET, BotWorld, result
from tests.fakes import BUY, until


def test_what_a_bot_is_told_reads_back_as_it_was() -> None:
    spec = BotSpec(
        id="b",
        kind=Kind.REMOTE,
        symbols=(BTC,),
        timeframe="5m",
        strategies={"rsi": Use(weight=0.5, min_confidence=0.6, params={"rsi_period": 7})},
        trigger=Trigger.INTERVAL,
        on_error=OnError.FLATTEN,
        budget=Decimal("1000.5"),
        window={"start_hour": 8},
        version=7,
    )
    plain = BotSpec(id="main")

    assert spec_of(orjson.loads(dumps(spec_row(spec)))) == spec
    assert spec_of(orjson.loads(dumps(spec_row(plain)))) == plain


async def test_an_immediate_stop_waits_for_an_order_on_its_way() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        world.venue.gate = asyncio.Event()
        await world.bar(64000)
        stopping = world.start("bot.stop", bot_id="b", immediate=True)
        await asyncio.sleep(1)
        waiting = not stopping.done()
        world.venue.gate.set()
        stopped = result(await stopping)

        assert waiting
        assert stopped["state"] == BotState.STOPPED
        assert stopped["last_decision"]["order_id"] is not None
        assert len(stopped["positions"]) == 1


async def test_on_error_cancels_entries_and_keeps_attached_exits() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(max_retries=1)
        result(await world.call("bot.run_once", bot_id="b"))
        resting = BUY | {"bot_id": "b", "client_order_id": "resting"}
        assert (await world.call("order.place", **resting)).ok
        world.venue.broken.add("ohlcv")
        world.venue.no_bars = True
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.ERROR)
        await until(lambda: "resting" not in world.venue.live())

        assert [name[:4] for name in world.venue.live()] == ["leg-", "leg-"]


async def test_on_error_can_flatten_what_is_the_bots() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(max_retries=1, on_error="flatten")
        result(await world.call("bot.run_once", bot_id="b"))
        world.venue.broken.add("ohlcv")
        world.venue.no_bars = True
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.ERROR)
        await until(lambda: not system.desk.engine.shares.of("b", BTC).amount)

        assert system.desk.engine.positions[BTC].amount == 0


async def test_configuration_changes_reach_a_running_bot() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        patch: dict[str, Any] = {"market_checks": {"max_spread": 0.0}}
        result(await world.call("config.update", patch=patch))
        await world.bar(64000)
        row = result(await world.call("bot.status", bot_id="b"))

        assert row["last_decision"]["skipped_reason"] == "market_check"
        config = result(await world.call("config.get"))["config"]
        assert [bot["id"] for bot in config["bots"]] == ["main", "b"]


async def test_a_market_buy_by_cost_counts_its_cost_in_the_budget() -> None:
    world = BotWorld()
    async with world.life() as system:
        await world.bot(budget="1000")
        buy: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "bot_id": "b"}
        beyond = await world.call("order.place", **buy, cost="1100")
        fine = await world.call("order.place", **buy, cost="900")
        room = system.bots.budgets.room("b")

        assert beyond.error is not None
        assert beyond.error["details"]["rule"] == "bot_budget"  # type: ignore[index]
        assert fine.ok
        assert room.left is not None
        assert 90 < room.left < 110


async def test_a_refused_order_is_the_reason_of_its_cycle() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot()
        world.venue.script.append("reject")
        (venue,) = result(await world.call("bot.run_once", bot_id="b"))["decisions"]
        await world.call("trading.halt", bot_id="b", reason="drill")
        (gate,) = result(await world.call("bot.run_once", bot_id="b"))["decisions"]

        assert (venue["skipped_reason"], venue["code"]) == ("order_refused", "venue_rejected")
        assert (gate["skipped_reason"], gate["code"]) == ("order_refused", "halted")
        assert gate["rule"] == "halted"


@pytest.mark.parametrize(
    ("on_error", "resting", "held"),
    [("leave", 1, True), ("cancel_entries", 0, True), ("flatten", 0, False)],
)
async def test_a_lapse_does_with_orders_and_positions_what_on_error_says(
    *, on_error: str, resting: int, held: bool
) -> None:
    world = BotWorld()
    async with world.life() as system:
        patch = {"kind": "remote", "lease_s": 5, "on_error": on_error}
        result(await world.call("bot.configure", bot_id="r", patch=patch))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        market: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "bot_id": "r"}
        result(await world.call("order.place", client="prog", **market, amount="0.001"))
        rests = BUY | {"bot_id": "r", "client_order_id": "rests"}
        result(await world.call("order.place", client="prog", **rests))
        await asyncio.sleep(6)
        await until(lambda: bool(system.desk.engine.shares.of("r", BTC).amount) is held)

        assert system.bots.get("r").state is BotState.ERROR
        assert len(world.venue.live()) == resting


async def test_a_new_bot_does_not_count_what_a_deleted_one_of_its_name_did(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "journal.db")
    async with world.life():
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.run_once", bot_id="b"))
        result(await world.call("bot.stop", bot_id="b", close_positions=True))
        before = result(await world.call("bot.status", bot_id="b"))
        result(await world.call("bot.delete", bot_id="b"))
        await world.bot()
        new = result(await world.call("bot.status", bot_id="b"))
    async with world.life():
        after = result(await world.call("bot.status", bot_id="b"))

        assert before["cycle_count"] == 1
        assert new["cycle_count"] == after["cycle_count"] == 0
        assert after["performance"] == new["performance"]
