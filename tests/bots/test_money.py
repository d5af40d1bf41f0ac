"""What must never happen with a bot's money: an order twice, a budget or a window gone round, a bot that does not end."""

import asyncio
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.bots.minds import Mind, StrategyFailed
from realtime.bots.runner import Runner
from realtime.bots.strategy import Strategy, StrategyParams
from realtime.bots.supervisor import KIND, SIGNAL, SYSTEM
from realtime.desk.entries import NOTE
from realtime.engine.shares import Shares
from realtime.model.account import Position
from realtime.model.bots import BotState, Share
from realtime.model.errors import Code, Refused
from realtime.model.market import SECOND, Bar
from realtime.model.signals import Ohlcv, Probabilities, Signal
from realtime.store.store import Store
from tests.bots.market import BTC, FREE_BOTS, HOLD, QUIET, SELL, BotWorld, bar_of, result
from tests.fakes import BUY, ETH, MARKETS, PRICES, WatchedStore, finished, until


def details(reply: Any) -> Any:
    assert reply.error is not None
    return reply.error["details"]


# --- an order twice ---------------------------------------------------------------------------------


async def test_an_entry_that_has_not_filled_yet_is_not_entered_again() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot()
        world.venue.script.append("rest")  # taken, and its fill comes later, as at most exchanges
        first = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        again = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]

        assert first["order_id"] is not None
        assert again["skipped_reason"] == "in_position"
        assert "on its way" in again["detail"]
        assert len(world.venue.submitted) == 1


async def test_a_bot_that_pyramids_enters_again_all_the_same() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(pyramiding=True)
        world.venue.script.append("rest")
        result(await world.call("bot.run_once", bot_id="b"))
        again = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]

        assert again["order_id"] is not None


async def test_entries_on_their_way_count_for_the_trades_of_the_day() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        world.past([3000.0] * 40, ETH)
        await world.bot(symbols=[BTC, ETH], window={"max_trades_per_day": 1})
        world.venue.script.extend(["rest", "rest"])
        rows = result(await world.call("bot.run_once", bot_id="b"))["decisions"]

        assert rows[0]["order_id"] is not None
        assert rows[1]["skipped_reason"] == "window"
        assert "max_trades_per_day" in rows[1]["detail"]


async def test_an_exit_that_has_not_filled_yet_does_not_sell_what_is_anothers() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        result(await world.call("risk.params.set", patch={"max_position_size": "1"}))
        small = {"indicator_value": 1, "position_size": 0.1}
        await world.bot(strategies={"sample": {"params": small}})
        others: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "1"}
        assert (await world.call("order.place", **others)).ok
        result(await world.call("bot.run_once", bot_id="b"))
        held = system.desk.engine.shares.of("b", BTC).amount
        await world.bot(strategies=SELL)
        world.venue.script.append("rest")
        first = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        again = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        closed = result(
            await world.call("bot.stop", bot_id="b", close_positions=True, cancel_orders=False)
        )
        world.venue.fill(first["client_order_id"])
        await asyncio.sleep(1)

        assert held > 0
        assert first["order_id"] is not None
        assert (again["skipped_reason"], again["order_id"]) == ("in_position", None)
        assert closed["closed"] == []
        assert system.desk.engine.shares.of("b", BTC).amount == 0
        assert system.desk.engine.positions[BTC].amount == 1


async def test_a_bot_has_what_it_bought_of_the_currency_that_everything_is_valued_in() -> None:
    """No position shows that: it held nothing, entered again with every signal, and sold and closed nothing."""
    world = BotWorld(risk={"limits": FREE_BOTS, "valuation_currency": "BTC"})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.run_once", bot_id="b"))
        again = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]
        held = system.desk.engine.shares.of("b", BTC).amount
        # It could not sell them by hand either.
        placed = await world.call(
            "order.place", symbol=BTC, side="sell", type="market", amount="0.01", bot_id="b"
        )
        closed = result(await world.call("bot.stop", bot_id="b", close_positions=True))

        assert held > 0
        assert not system.desk.engine.positions
        assert again["skipped_reason"] == "in_position"
        assert placed.ok, placed.error
        assert [row["symbol"] for row in closed["closed"]] == [BTC]
        assert system.desk.engine.shares.of("b", BTC).amount == 0


# --- a budget or a window gone round ------------------------------------------------------------------


async def test_amends_under_way_count_at_their_worst_in_the_budget() -> None:
    world = BotWorld()
    async with world.life() as system:
        await world.bot(budget="1000")
        buy = BUY | {"bot_id": "b", "amount": "0.006"}
        for name in ("one", "two"):
            placed = await world.call("order.place", **buy | {"client_order_id": name})
            assert placed.ok, placed.error
        world.venue.amends.extend(["drop", "drop"])
        flying = world.start("order.amend", client_order_id="one", amount="0.009")
        await asyncio.sleep(0.1)
        other = await world.call("order.amend", client_order_id="two", amount="0.009")
        more = await world.call("order.place", **buy | {"client_order_id": "3", "amount": "0.003"})
        room = system.bots.budgets.room("b")

        assert not flying.done()
        assert details(other)["rule"] == "bot_budget"
        assert details(more)["rule"] == "bot_budget"
        assert room.used is not None
        assert 950 < room.used < 1000
        flying.cancel()


async def test_a_remote_bot_is_held_by_its_trading_window() -> None:
    world = BotWorld()
    async with world.life():
        window = {"max_trades_per_day": 1}
        patch = {"kind": "remote", "window": window}
        result(await world.call("bot.configure", bot_id="r", patch=patch))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        buy: dict[str, Any] = {
            "symbol": BTC,
            "side": "buy",
            "type": "market",
            "amount": "0.01",
            "bot_id": "r",
        }
        first = await world.call("order.place", client="prog", **buy)
        second = await world.call("order.place", client="prog", **buy)
        out = buy | {"side": "sell", "reduce_only": True}
        exits = await world.call("order.place", client="prog", **out)

        assert first.ok
        refused = details(second)
        assert refused["rule"] == "max_trades_per_day"
        assert (refused["limit"], refused["value"]) == ("1", "2")
        assert exits.ok, exits.error


async def test_an_amend_is_an_entry_to_a_window_unless_it_only_makes_the_order_smaller() -> None:
    world = BotWorld()
    async with world.life() as system:
        await world.bot(window={"max_trades_per_day": 1})
        order = BUY | {"bot_id": "b", "client_order_id": "one", "amount": "0.01"}
        assert (await world.call("order.place", **order)).ok
        counted = await world.call("order.amend", client_order_id="one", amount="0.011")
        other = await world.call("order.place", **order | {"client_order_id": "two"})
        now = system.clock.now() // 1_000_000
        black = {"from_ts": now - 1000, "to_ts": now + 3_600_000}
        await world.bot(window={"blackouts": [black]})
        larger = await world.call("order.amend", client_order_id="one", amount="0.02")
        dearer = await world.call("order.amend", client_order_id="one", price="59500")
        smaller = await world.call("order.amend", client_order_id="one", amount="0.005")

        assert counted.ok, counted.error
        assert details(other)["rule"] == "max_trades_per_day"
        assert details(larger)["rule"] == details(dearer)["rule"] == "trading_window"
        assert smaller.ok, smaller.error


async def test_a_stop_can_be_attached_to_an_order_while_the_window_of_its_bot_is_shut() -> None:
    world = BotWorld()
    async with world.life() as system:
        await world.bot()
        order = BUY | {"bot_id": "b", "client_order_id": "one"}
        assert (await world.call("order.place", **order)).ok
        now = system.clock.now() // 1_000_000
        await world.bot(window={"blackouts": [{"from_ts": now - 1000, "to_ts": now + 3_600_000}]})
        safer = await world.call(
            "order.amend", client_order_id="one", amount=BUY["amount"], stop_loss="60000"
        )
        entry = await world.call("order.place", **order | {"client_order_id": "two"})

        assert safer.ok, safer.error
        assert details(entry)["rule"] == "trading_window"


async def test_a_size_at_the_largest_position_is_cut_to_what_the_gate_lets_pass() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        # Twice the stop's distance by equity: capped at the largest position.
        result(await world.call("risk.params.set", patch={"sizing_method": "fixed_fractional"}))
        await world.bot()
        (row,) = result(await world.call("bot.run_once", bot_id="b"))["decisions"]
        order = world.order(row["client_order_id"])

        assert row["skipped_reason"] is None
        assert row["intent"]["amount"] == row["size"]["amount"] == f"{order.amount:f}"
        assert [cap["name"] for cap in row["size"]["caps"]][-1] == "max_position_size"
        assert 9_900 < float(row["size"]["notional"]) < 10_000


async def test_only_the_holder_of_a_lease_makes_its_orders_larger() -> None:
    world = BotWorld()
    async with world.life():
        result(await world.call("bot.configure", bot_id="r", patch={"kind": "remote"}))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        order = BUY | {"bot_id": "r", "client_order_id": "one"}
        assert (await world.call("order.place", client="prog", **order)).ok
        larger = await world.call(
            "order.amend", client="other", client_order_id="one", amount="0.02"
        )
        smaller = await world.call(
            "order.amend", client="other", client_order_id="one", amount="0.005"
        )

        assert details(larger)["what"] == "lease"
        assert smaller.ok


async def test_a_window_that_makes_no_sense_is_refused_of_a_remote_bot_too() -> None:
    world = BotWorld()
    async with world.life():
        patch = {"kind": "remote", "window": {"start_hour": 99}}
        reply = await world.call("bot.configure", bot_id="r", patch=patch)
        black = {"kind": "remote", "window": {"blackouts": [{"from_ts": 5, "to_ts": 5}]}}
        backwards = await world.call("bot.configure", bot_id="r", patch=black)

        assert details(reply)["fields"] == [
            {"field": "window.start_hour", "message": "must be at most 23"}
        ]
        assert details(backwards)["fields"][0]["field"] == "window.blackouts.0.to_ts"


async def test_the_largest_number_there_is_is_a_budget_too() -> None:
    world = BotWorld()
    async with world.life():
        most = "999999999999999999.999999999999999999"
        made = await world.bot(budget=most)
        row = result(await world.call("bot.status", bot_id="b"))
        stopped = await world.call("bot.stop", bot_id="b")

        assert made["budget"] == most
        assert row["budget"]["used"] == "0"
        assert stopped.ok, stopped.error


async def test_a_bot_that_is_not_there_is_not_valid_and_a_wrong_parameter_has_its_place() -> None:
    world = BotWorld()
    async with world.life():
        nobody = await world.call("bot.validate", bot_id="nobody")
        new = await world.call("bot.validate", bot_id="nobody", config={})
        uses = {"rsi": {"params": {"rsi_period": 0}}}
        wrong = await world.call("bot.configure", bot_id="b", patch={"strategies": uses})

        assert nobody.code is Code.NOT_FOUND
        assert new.ok
        assert details(wrong)["fields"][0]["field"] == "strategies.rsi.params.rsi_period"


async def test_an_order_on_its_way_while_the_lease_lapses_is_canceled_when_it_rests() -> None:
    world = BotWorld()
    async with world.life() as system:
        patch = {"kind": "remote", "lease_s": 5}
        result(await world.call("bot.configure", bot_id="r", patch=patch))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        world.venue.gate = asyncio.Event()
        flying = world.start(
            "order.place", client="prog", **BUY | {"bot_id": "r", "client_order_id": "fly"}
        )
        await asyncio.sleep(6)
        lapsed = system.bots.get("r").state
        world.venue.gate.set()
        await flying
        await asyncio.sleep(20)

        assert lapsed is BotState.ERROR
        assert world.venue.live() == []


async def test_a_halted_remote_bot_is_not_started() -> None:
    """Found by a random drive: of one that was stopped before it was halted, `bot.start` said `changed: true`."""
    world = BotWorld()
    async with world.life():
        result(await world.call("bot.configure", bot_id="r", patch={"kind": "remote"}))
        result(await world.call("bot.stop", bot_id="r"))
        result(await world.call("bot.emergency_stop", bot_id="r"))
        halted = await world.call("bot.start", bot_id="r")
        result(await world.call("bot.rearm", bot_id="r"))
        barred = await world.call("bot.attach", client="prog", bot_id="r")
        started = result(await world.call("bot.start", bot_id="r"))

        assert halted.error is not None
        assert halted.error["code"] == "halted"
        assert barred.error is not None
        assert barred.error["code"] == "conflict"
        assert (started["changed"], started["state"]) == (True, "stopped")
        assert (await world.call("bot.attach", client="prog", bot_id="r")).ok


async def test_a_remote_bot_that_was_stopped_is_not_revived_by_its_program(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "journal.db")
    async with world.life():
        result(await world.call("bot.configure", bot_id="r", patch={"kind": "remote"}))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        result(await world.call("bot.stop", bot_id="r"))
        beat = await world.call("bot.attach", client="prog", bot_id="r")
    async with world.life():
        after = await world.call("bot.attach", client="prog", bot_id="r")
        result(await world.call("bot.start", bot_id="r"))
        fine = await world.call("bot.attach", client="prog", bot_id="r")
        result(await world.call("bot.detach", client="prog", bot_id="r"))
        again = await world.call("bot.attach", client="prog", bot_id="r")

        for reply in (beat, after):
            assert reply.error is not None
            assert reply.error["code"] == "conflict"
        assert fine.ok
        assert again.ok


# --- a bot that does not end ------------------------------------------------------------------------


async def test_commands_about_bots_keep_their_order_of_arrival() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        started = world.ask("bot.start", bot_id="b")
        stopped = world.ask("bot.stop", bot_id="b")
        assert (await finished(started)).ok
        assert (await finished(stopped)).ok
        state = system.bots.get("b").state
        once = world.ask("bot.run_once", bot_id="b")
        halted = world.ask("bot.emergency_stop")
        placed = world.ask("order.place", **BUY)
        decided = await finished(once)
        assert (await finished(halted)).ok
        refused = await finished(placed)

        assert state is BotState.STOPPED
        assert not decided.ok
        assert refused.error is not None
        assert refused.error["code"] == "halted"
        assert world.venue.submitted == []


async def test_a_pause_that_ends_after_an_emergency_stop_harms_nobody() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        ends = system.clock.now() // 1_000_000 + 20_000
        result(await world.call("bot.pause", bot_id="b", until_ts=ends))
        result(await world.call("bot.emergency_stop", bot_id="b"))
        await asyncio.sleep(60)

        row = result(await world.call("bot.status", bot_id="b"))
        assert row["state"] == BotState.HALTED
        assert row["paused_until_ts"] is None


async def test_a_paused_bot_that_resumes_by_itself_after_a_restart_stays_paused(
    tmp_path: Path,
) -> None:
    world = BotWorld(tmp_path / "journal.db")
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(auto_resume=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        result(await world.call("bot.pause", bot_id="b"))
    async with world.life() as system:
        await until(lambda: system.bots.rows.alive(system.bots.get("b")))
        await world.bar(64000)
        row = result(await world.call("bot.status", bot_id="b"))

        assert row["state"] == BotState.PAUSED
        assert row["last_decision"]["skipped_reason"] == "paused"
        assert world.venue.submitted == []


async def test_a_pause_that_ended_while_the_server_was_away_harms_nobody(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "journal.db")
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        ends = system.clock.now() // 1_000_000 + 20_000
        result(await world.call("bot.pause", bot_id="b", until_ts=ends))
    await asyncio.sleep(30)
    async with world.life() as system:
        await asyncio.sleep(30)

        assert system.bots.get("b").state is BotState.STOPPED


async def test_a_bot_that_cannot_be_resumed_says_so_and_hinders_nobody() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(auto_resume=True)
        bot = system.bots.get("b")
        bot.was_running = True
        system.desk.draining = True
        system.bots.resume()
        system.desk.draining = False

        assert bot.state is BotState.STOPPED
        assert bot.error == "not resumed: the server is stopping"


async def test_a_paused_remote_bot_stays_paused_over_a_restart(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "journal.db")
    async with world.life():
        result(await world.call("bot.configure", bot_id="r", patch={"kind": "remote"}))
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        result(await world.call("bot.pause", bot_id="r"))
    async with world.life() as system:
        await until(lambda: system.bots.get("r").state.alive)
        row = result(await world.call("bot.status", bot_id="r"))

        assert row["state"] == BotState.PAUSED


class SlowVenue:
    """Lets the bars of a world come when they are let."""

    def __init__(self, world: BotWorld) -> None:
        self.let = asyncio.Event()
        self.asked = asyncio.Event()
        self._ohlcv = world.venue.ohlcv
        world.venue.ohlcv = self.ohlcv  # type: ignore[method-assign]  # this one venue's

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        self.asked.set()
        await self.let.wait()
        return await self._ohlcv(symbol, timeframe, since, limit)


async def test_a_single_cycle_places_nothing_after_a_stop() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot()
        slow = SlowVenue(world)
        once = world.start("bot.run_once", bot_id="b")
        await slow.asked.wait()
        stopping = world.start("bot.stop", bot_id="b", immediate=True)
        await asyncio.sleep(1)
        slow.let.set()
        stopped = result(await stopping)
        reply = await once

        assert stopped["state"] == BotState.STOPPED
        assert reply.error is not None
        assert reply.error["code"] == "conflict"
        assert world.venue.submitted == []
        assert (await world.call("bot.start", bot_id="b")).ok


async def test_a_single_cycle_ends_at_an_emergency_stop() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        slow = SlowVenue(world)
        once = world.start("bot.run_once", bot_id="b")
        await slow.asked.wait()
        result(await world.call("bot.emergency_stop", bot_id="b"))
        ended = not system.bots.get("b").once
        slow.let.set()

        assert ended
        assert not (await once).ok


async def test_a_bot_started_again_while_its_old_task_ends_can_be_stopped() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        world.venue.gate = asyncio.Event()
        await world.bar(64000)  # its order is on its way
        stopping = world.start("bot.emergency_stop", bot_id="b")
        await asyncio.sleep(0.1)
        result(await world.call("bot.rearm", bot_id="b"))
        result(await world.call("bot.start", bot_id="b"))
        world.venue.gate.set()
        await stopping
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        bot = system.bots.get("b")
        task = bot.task

        assert task is not None
        assert not task.done()
        result(await world.call("bot.stop", bot_id="b"))
        assert task.done()


FOREVER = """
import threading
from typing import ClassVar

from realtime.bots.strategy import Strategy

LET = threading.Event()

class Forever(Strategy):
    id: ClassVar[str] = "forever"
    summary: ClassVar[str] = "does not come back by itself"
    warmup = 0

    def on_ohlcv(self, bar):
        LET.wait(30)
        return 0.0
"""


class Nothing(set[Any]):
    """Holds nothing."""

    def add(self, _item: Any) -> None:
        pass


async def test_strategies_that_do_not_come_back_keep_no_thread_of_others(tmp_path: Path) -> None:
    (tmp_path / "forever.py").write_text(FOREVER)
    world = BotWorld(strategies={"path": str(tmp_path)})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies={"forever": {}}, max_retries=1)
        system.bots._tools = replace(system.bots._tools, think_s=0.02)
        # The virtual clock waits for threads; here it must not.
        loop: Any = asyncio.get_running_loop()
        loop._executing = Nothing()
        before = set(threading.enumerate())
        for _ in range(3):
            result(await world.call("bot.start", bot_id="b"))
            await until(lambda: system.bots.get("b").state is BotState.ERROR)
        kept = [one for one in set(threading.enumerate()) - before if one.is_alive()]
        sys.modules["realtime_strategy_forever"].LET.set()

        # Of the pool that everybody shares none is taken, and none keeps the process from ending.
        assert kept
        assert all(one.daemon for one in kept)
        assert not any(one.name.startswith("asyncio") for one in kept)


async def test_a_journal_without_room_neither_ends_the_hub_nor_holds_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        lanes: dict[str, bool] = {}

        append = WatchedStore.append

        def full(store: Store, kind: str, *args: Any, safety: bool = False) -> int:
            if kind not in {KIND, SIGNAL, NOTE}:
                return append(store, kind, *args, safety=safety)
            lanes[kind] = safety
            raise Refused(Code.BUSY, "the journal is 20000 rows behind")

        with monkeypatch.context() as patch:
            patch.setattr(WatchedStore, "append", full)
            await world.bar(64000)
            decided = system.bots.get("b").last
            system.bots.cycle_failed(system.bots.get("b"), "for the test", 1.0)
            await system.bots.stop("b", SYSTEM)

        assert decided is not None
        assert decided["skipped_reason"] is not None
        assert system.bots.get("b").state is BotState.STOPPED
        assert lanes[SIGNAL] is False  # records leave the room of cancels alone
        assert result(await world.call("bot.status", bot_id="b"))["state"] == BotState.STOPPED


@pytest.mark.parametrize(
    "shown",
    [
        {"indicators": {"ema": object()}},
        {"indicators": {1: 2.0}},
        {"indicators": {str(place): 1.0 for place in range(300)}},
        {"reason": object()},
    ],
)
def test_a_signal_that_cannot_be_written_down_fails_before_any_order(shown: Any) -> None:
    class Odd(Strategy):
        id = "odd"
        summary = "shows what nobody can write down"
        warmup = 0

        def on_ohlcv(self, _bar: Ohlcv) -> Signal:
            return Signal(probabilities=Probabilities(0.8, 0.1, 0.1), **shown)

    mind = Mind({"odd": Odd(StrategyParams())}, keep=3)
    mind.feed(Ohlcv(0, 1, 1, 1, 1, 1))

    with pytest.raises(StrategyFailed, match="odd"):
        mind.signals()


# --- what else may not break ------------------------------------------------------------------------


async def test_a_share_in_a_market_that_is_gone_breaks_no_row() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        shares: Shares = system.desk.engine.shares
        shares._shares["b", "GONE/USDT"] = Share(amount=Decimal(1), cost=Decimal(5))
        row = result(await world.call("bot.status", bot_id="b"))
        stopped = result(await world.call("bot.stop", bot_id="b", close_positions=True))

        assert [held["symbol"] for held in row["positions"]] == ["GONE/USDT"]
        assert row["positions"][0]["mark_price"] is None
        assert stopped["closed"][0]["code"] == "not_found"


@pytest.mark.parametrize(("own", "net"), [("-1", "0"), ("1", "0"), ("1", "-2")])
async def test_contracts_that_others_stand_against_are_named_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, own: str, net: str
) -> None:
    """Symptom: of a short that a long of another bot had evened out, `amount: must be above 0`; of the long, nothing."""
    symbol = "BTC/USDT:USDT"
    world = BotWorld()
    swap = replace(MARKETS[BTC], symbol=symbol, id="BTCSWAP", settle="USDT", type="swap")
    world.venue.markets = {**MARKETS, symbol: swap}
    monkeypatch.setitem(PRICES, symbol, PRICES[BTC])
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        engine = system.desk.engine
        engine.shares._shares["b", symbol] = Share(amount=Decimal(own), cost=Decimal(own))
        net_position = Position(
            venue="test", symbol=symbol, position_type="swap", amount=Decimal(net)
        )
        engine._state.account.positions[symbol] = net_position
        would = result(await world.call("bot.stop", bot_id="b", close_positions=True, dry_run=True))
        stopped = result(await world.call("bot.stop", bot_id="b", close_positions=True))

        assert would["effect"]["positions"] == 0
        assert [(row["symbol"], row["code"]) for row in stopped["closed"]] == [
            (symbol, Code.CONFLICT)
        ]
        assert world.venue.submitted == []


class Stubborn:
    """A venue that gives the same page whatever it is asked for."""

    def __init__(self, page: Sequence[Bar]) -> None:
        self.page = page
        self.asked = 0

    async def ohlcv(
        self, _symbol: str, _timeframe: str, _since: int | None, _limit: int
    ) -> Sequence[Bar]:
        self.asked += 1
        assert self.asked < 5, "it asks for ever"
        await asyncio.sleep(0)
        return self.page


async def test_a_venue_that_ignores_since_is_not_asked_for_ever() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        supervisor = system.bots
        minute = 60 * SECOND
        first = system.clock.now() // minute * minute - 2000 * minute
        page = [bar_of(first + place * minute, 50000) for place in range(1000)]
        tools = replace(supervisor._tools, history=Stubborn(page))
        bot = supervisor.get("b")
        runner = Runner(bot.spec, tools, object(), 0)  # type: ignore[arg-type]  # tells nobody
        runner._rules = supervisor.rules(bot.spec)
        bars = await runner._fetch(BTC, first, 1000)

        assert len(bars) == 1000


async def test_symbols_of_one_cycle_let_others_have_their_turn() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        world.past([3000.0] * 40, ETH)
        await world.bot(symbols=[BTC, ETH], strategies=HOLD)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        bot = system.bots.get("b")
        turns: list[int] = []

        async def others() -> None:
            while len(turns) < 50:
                turns.append(bot.counters.cycles)
                await asyncio.sleep(0)

        once = world.start("bot.run_once", bot_id="b")
        await others()
        result(await once)

        assert 1 in turns


async def test_a_size_by_kelly_has_its_probability() -> None:
    limits = {"sizing_method": "kelly", "take_profit_fraction": "0.2", "stop_loss_fraction": "0.1"}
    world = BotWorld()
    async with world.life():
        rising = [40000 * 1.002**place * (1.001 if place % 2 else 0.999) for place in range(120)]
        world.past(rising)
        result(await world.call("risk.params.set", patch=limits))
        await world.bot(dry_run=True)
        row = result(await world.call("bot.run_once", bot_id="b"))["decisions"][0]

        assert row["skipped_reason"] == "dry_run", row["detail"]
        size = row["size"]
        # As risk.position_size says it: statistics are numbers, and money is without the noise of a division.
        assert 0 < size["factors"]["win"] <= 1
        told = [size["notional"], *(cap["notional"] for cap in size["caps"])]
        assert all(len(figure.partition(".")[2]) <= 8 for figure in told)
