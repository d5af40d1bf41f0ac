"""What is kept of bots reads back as it was; budgets of contracts; a stop that does not wait."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.bots.bot import spec_of, spec_row
from realtime.bots.supervisor import KIND
from realtime.desk.codec import dumps
from realtime.model.bots import BotSpec, BotState, Kind, Move, OnError, Trigger, Use
from realtime.model.errors import Code, Refused
from realtime.model.events import Filled
from tests import fakes
from tests.bots.market import BTC, HOLD, QUIET, SAMPLE, BotWorld, result, sample
from tests.fakes import BUY, no_room, until
from tests.server.front import Socket


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


async def test_a_new_bot_has_earned_nothing_whatever_one_of_its_name_has() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.run_once", bot_id="b"))
        result(await world.call("bot.stop", bot_id="b", close_positions=True))
        old = result(await world.call("bot.status", bot_id="b"))["performance"]
        result(await world.call("bot.delete", bot_id="b"))
        await world.bot()
        await world.bot("never")
        new = result(await world.call("bot.status", bot_id="b"))["performance"]
        never = result(await world.call("bot.status", bot_id="never"))["performance"]

        assert old["trades"] == 1
        assert new == never
        assert (new["trades"], new["fees"]) == (0, "0")


async def test_the_stream_of_a_deleted_bot_says_so_and_one_made_anew_does_not() -> None:
    """Found by a run: whoever followed `bot:ID` heard nothing more, for ever."""
    world = BotWorld()
    async with world.life() as system:

        def shown() -> dict[str, Any]:
            row: dict[str, Any] = orjson.loads(system.hub.snapshot(channel))["data"]
            return row

        await world.bot()
        channel = system.hub.channel("bot:b")
        before, since = shown(), system.hub.position("bot:b")
        reply = await world.call("bot.delete", bot_id="b")
        result(reply)
        gone = shown()
        assert reply.at is not None
        at = reply.at["bot:b"]
        await asyncio.sleep(12)
        still = shown()
        await world.bot()
        anew = shown()

        assert "deleted" not in before
        assert (gone["deleted"], gone["id"], gone["state"]) == (True, "b", BotState.STOPPED)
        assert at != since
        assert still == gone
        assert "deleted" not in anew


async def test_a_bot_that_was_stopped_after_a_restart_does_not_resume_by_itself(
    tmp_path: Path,
) -> None:
    """Found by a run: the stop of one that a restart had stopped was not written down, and the next one started it."""
    world = BotWorld(tmp_path / "j.db")
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        result(await world.call("bot.pause", bot_id="b"))
    async with world.life() as system:
        await world.bot(strategies=HOLD, auto_resume=True)
        was = result(await world.call("bot.status", bot_id="b"))
        stopped = result(await world.call("bot.stop", bot_id="b"))
        again = result(await world.call("bot.stop", bot_id="b"))
        await until(lambda: system.store.waiting == 0)
    async with world.life() as system:
        now = result(await world.call("bot.status", bot_id="b"))

        assert (was["state"], was["was_running"]) == (BotState.STOPPED, True)
        assert (stopped["changed"], stopped["was_running"]) == (True, False)
        assert again["changed"] is False
        assert (now["state"], now["was_running"]) == (BotState.STOPPED, False)
        assert not system.bots.get("b").was_paused


async def test_a_pause_of_a_remote_bot_that_is_over_does_not_come_back(tmp_path: Path) -> None:
    """Symptom: paused over one restart and resumed, its entries were refused after the next one."""
    world = BotWorld(tmp_path / "j.db")
    states: list[BotState] = []
    async with world.life() as system:
        patch: dict[str, Any] = {"kind": "remote", "lease_s": 3600}
        result(await world.call("bot.configure", bot_id="r", patch=patch))
        result(await world.call("bot.attach", bot_id="r"))
        result(await world.call("bot.pause", bot_id="r"))
    async with world.life() as system:
        states.append(system.bots.get("r").state)
        result(await world.call("bot.resume", bot_id="r"))
    async with world.life() as system:
        states.append(system.bots.get("r").state)

    assert states == [BotState.PAUSED, BotState.RUNNING]


async def test_what_a_halt_has_flattened_is_not_held_by_its_bot() -> None:
    """Symptom: after `trading.halt` with `flatten` a bot was in position for ever: it bought no more, and sold nothing."""
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(budget="2000")
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        await world.bar(64000)
        held = result(await world.call("bot.status", bot_id="b"))
        result(await world.call("trading.halt", flatten=True, reason="drill"))
        flat = result(await world.call("bot.status", bot_id="b"))
        result(await world.call("trading.resume", reason="over"))
        await world.bar(64000)
        again = result(await world.call("bot.status", bot_id="b"))
        amount = Decimal(again["positions"][0]["amount"])
        closed = result(await world.call("bot.stop", bot_id="b", close_positions=True))["closed"]

        assert len(held["positions"]) == 1
        assert (flat["positions"], flat["budget"]["used"]) == ([], "0")
        assert again["last_decision"]["skipped_reason"] is None
        assert amount == Decimal(held["positions"][0]["amount"])
        assert [row["status"] for row in closed] == ["filled"]
        assert system.desk.engine.positions[BTC].amount == 0


async def test_coins_are_closed_in_the_market_in_which_the_bot_has_bought_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symptom: `close_positions` closed nothing and said nothing, for coins are shown under one of their markets."""
    symbol = "BTC/USDC"
    other = replace(fakes.MARKETS[BTC], symbol=symbol, id="BTCUSDC", quote="USDC")
    dollars = replace(fakes.MARKETS[BTC], symbol="USDC/USDT", id="USDCUSDT", base="USDC")
    monkeypatch.setitem(fakes.PRICES, symbol, fakes.PRICES[BTC])
    monkeypatch.setitem(fakes.PRICES, "USDC/USDT", (Decimal("0.99"), Decimal("1.00")))
    world = BotWorld()
    world.venue.markets = {**fakes.MARKETS, symbol: other, "USDC/USDT": dollars}
    world.venue.coins["USDC"] = Decimal(10_000)
    async with world.life() as system:
        await world.bot(symbols=[symbol])
        buy: dict[str, Any] = {"symbol": symbol, "side": "buy", "type": "market", "amount": "0.01"}
        bought = await world.call("order.place", **buy, bot_id="b")
        held = result(await world.call("bot.status", bot_id="b"))["positions"]
        closed = result(await world.call("bot.stop", bot_id="b", close_positions=True))["closed"]

        assert bought.ok, bought.error
        assert [(row["symbol"], row["amount"]) for row in held] == [(symbol, "0.01")]
        assert [(row["symbol"], row["status"]) for row in closed] == [(symbol, "filled")]
        assert not system.desk.engine.shares.of("b", symbol).amount


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_what_has_filled_is_not_done_again_before_its_fill_is_told(
    side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symptom: a row said that the exit had filled, the fill came a second later, and the bot sold somebody's coins."""
    world = BotWorld()
    world.venue.coins["BTC"] = Decimal("0.1")
    late: list[Any] = []
    async with world.life() as system:
        world.past(QUIET)
        patch: dict[str, Any] = {"budget": "100", "window": {"max_trades_per_day": 9}}
        await world.bot(strategies=SAMPLE if side == "buy" else HOLD, **patch)
        if side == "sell":
            buy: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market"}
            assert (await world.call("order.place", **buy, amount="0.001", bot_id="b")).ok
            await world.bot(strategies=sample(-1), **patch)
        post = world.venue._post

        def rows_first(events: Any) -> None:
            late.extend(event for event in events if isinstance(event, Filled))
            post([event for event in events if not isinstance(event, Filled)])

        monkeypatch.setattr(world.venue, "_post", rows_first)
        first = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        gaps = dict(system.desk.engine.orders.gaps)
        again = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        used = system.bots.budgets.room("b").used
        post(late)
        held = system.desk.engine.shares.of("b", BTC).amount

        assert first["skipped_reason"] is None
        assert len(gaps) == len(late) == 1
        assert again["skipped_reason"] == ("in_position" if side == "buy" else "nothing_to_sell")
        assert (held > 0) is (used != 0) is (side == "buy")


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("op", ["bot.stop", "bot.delete"])
async def test_what_found_no_room_in_the_journal_is_kept_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op: str, rows: int
) -> None:
    """Symptom: stopped or deleted behind a slow disk, the bot was back after the next restart, and traded."""
    world = BotWorld(tmp_path / "j.db")
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD, auto_resume=True)
        if op == "bot.stop":
            result(await world.call("bot.start", bot_id="b"))
            await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        append, lost = system.store.append, list[str]()

        def narrow(kind: str, *args: Any, **options: Any) -> int:
            if kind == KIND and len(lost) < rows:
                lost.append(kind)
                raise Refused(Code.BUSY, "full")
            return append(kind, *args, **options)

        monkeypatch.setattr(system.store, "append", narrow)
        reply = await world.call(op, bot_id="b")
        await asyncio.sleep(30)

        # The answer writes it once more; what has found no room then either is not said to be kept.
        assert reply.code is (None if (op, rows) != ("bot.delete", 2) else Code.INTERNAL)
        assert len(lost) == rows
    async with world.life() as system:
        states = [bot.state for bot in system.bots.all() if bot.id == "b"]

        assert states == ([] if op == "bot.delete" else [BotState.STOPPED])


async def test_a_bot_that_stopped_by_itself_without_room_is_kept_by_the_next_beat(
    tmp_path: Path,
) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD, auto_resume=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        with no_room(system.store, kind=KIND, safety=True):
            system.bots.moved(system.bots.get("b"), Move.FAIL)
            await asyncio.sleep(10)
        await asyncio.sleep(10)
    async with world.life() as system:
        assert system.bots.get("b").state is BotState.ERROR


async def test_a_decision_that_found_no_room_is_in_no_list_and_none_is_asked_for_then() -> None:
    """Symptom: on a full disk decisions were told that nobody found again, all under one id."""
    world = BotWorld()
    async with world.life() as system, Socket(system.front) as socket:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        await socket.call("subscribe", channels=["signals"])
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        with no_room(system.store):
            await world.bar(64000)
            await world.bar(64000)
        await world.bar(64000)
        counted = result(await world.call("bot.status", bot_id="b"))["cycle_count"]
        listed = result(await world.call("bot.decisions", bot_id="b"))["decisions"]
        await socket.call("ping")
        socket.waiting()
        told = [
            row["id"]
            for message in socket.read
            if message.get("channel") == "signals"
            for row in message["data"]
        ]
        system.desk.room = 0
        refused = await world.call("bot.run_once", bot_id="b", request_id="r")

        assert counted == 3
        assert told == [row["id"] for row in listed]
        assert len(told) == 1
        assert refused.code is Code.BUSY
