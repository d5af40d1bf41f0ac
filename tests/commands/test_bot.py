"""Bots over the registry of a whole system: life, budget, dry run, errors, restart, emergency stop, leases."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.engine.bars import TIMEFRAMES
from realtime.model.bots import BotState
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests.bots.market import BTC, HOLD, QUIET, SELL, BotWorld, result
from tests.fakes import BUY, until


D = Decimal


def skipped(row: Any) -> Any:
    return row["skipped_reason"]


async def status(world: BotWorld, bot_id: str = "b") -> dict[str, Any]:
    return result(await world.call("bot.status", bot_id=bot_id))


async def once(world: BotWorld, bot_id: str = "b") -> dict[str, Any]:
    (row,) = result(await world.call("bot.run_once", bot_id=bot_id))["decisions"]
    assert isinstance(row, dict)
    return row


async def started(world: BotWorld, bot_id: str = "b") -> None:
    result(await world.call("bot.start", bot_id=bot_id))
    await until(lambda: world.system.bots.get(bot_id).state is BotState.RUNNING)


async def test_a_whole_life_buys_on_a_closed_bar_holds_sells_and_stops() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        await started(world)
        assert result(await world.call("bot.start", bot_id="b"))["changed"] is False
        await world.bar(64000)
        await world.bar(64000)
        bought, held = (await status(world))["positions"], await status(world)
        await world.bot(strategies=SELL)
        await asyncio.sleep(1)
        await world.bar(64000)
        sold = await status(world)
        stopped = result(await world.call("bot.stop", bot_id="b"))
        again = result(await world.call("bot.stop", bot_id="b"))
        page = result(await world.call("bot.decisions", bot_id="b", limit=2))
        rest = result(
            await world.call("bot.decisions", bot_id="b", limit=2, cursor=page["next_cursor"])
        )

        assert [p["amount"] for p in bought] == ["0.07109"]
        assert skipped(held["last_decision"]) == "in_position"
        assert sold["positions"] == []
        assert sold["performance"]["trades"] == 1
        assert D(sold["performance"]["realized_pnl"]) == D("-0.007109")
        assert system.house.win_rates() == {"b": (1, 0.0)}
        assert (stopped["state"], stopped["changed"]) == (BotState.STOPPED, True)
        assert (again["state"], again["changed"]) == (BotState.STOPPED, False)
        assert [skipped(row) for row in page["decisions"]] == [None, "in_position"]
        assert [skipped(row) for row in rest["decisions"]] == [None]
        assert rest["next_cursor"] is None
        signals = result(await world.call("signal.list", bot_id="b", strategy="sample"))
        assert len(signals["signals"]) == 3
        kinds = [
            (await world.events(kind))[-1]["bot_id"] for kind in ("bot_started", "bot_stopped")
        ]
        assert kinds == ["b", "b"]
        assert system.bots.get("b").task is None


async def test_main_exists_and_names_are_checked() -> None:
    world = BotWorld()
    async with world.life():
        bots = result(await world.call("bot.list"))["bots"]
        missing = await world.call("bot.status", bot_id="nobody")
        wrong = await world.call("bot.configure", bot_id="Not OK", patch={})
        main = await world.call("bot.delete", bot_id="main")
        symbol = await world.call("bot.configure", bot_id="b", patch={"symbols": ["NO/PE"]})
        strategy = await world.call("bot.configure", bot_id="b", patch={"strategies": {"nope": {}}})
        param = await world.call(
            "bot.configure", bot_id="b", patch={"strategies": {"rsi": {"params": {"x": 1}}}}
        )
        window = await world.call("bot.configure", bot_id="b", patch={"window": {"x": 1}})
        null = await world.call("bot.configure", bot_id="b", patch={"dry_run": None})
        twice = await world.call("bot.configure", bot_id="b", patch={"symbols": [BTC, BTC]})

        assert [bot["id"] for bot in bots] == ["main"]
        for reply, code in (
            (missing, "not_found"),
            (wrong, "invalid"),
            (main, "conflict"),
            (symbol, "not_found"),
            (strategy, "not_found"),
            (param, "invalid"),
            (window, "invalid"),
            (null, "invalid"),
            (twice, "invalid"),
        ):
            assert reply.error is not None
            assert reply.error["code"] == code


async def test_versions_guard_changes_and_a_stopped_bot_can_be_deleted() -> None:
    world = BotWorld()
    async with world.life():
        first = await world.bot()
        second = await world.bot(dry_run=True)
        stale = await world.call("bot.configure", bot_id="b", version=1, patch={"dry_run": False})
        gone = result(await world.call("bot.delete", bot_id="b"))
        after = await world.call("bot.status", bot_id="b")

        assert (first["version"], second["version"], second["dry_run"]) == (1, 2, True)
        assert stale.error is not None
        assert stale.error["code"] == "conflict"
        assert gone["deleted"] is True
        assert after.error is not None


async def test_a_dry_run_decides_and_places_nothing() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(dry_run=True)
        row = await once(world)

        assert skipped(row) == "dry_run"
        assert row["intent"]["side"] == "buy"
        assert row["size"]["amount"] == "0.07109"
        assert world.venue.submitted == []


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        ({"strategies": HOLD}, "hold"),
        ({"strategies": SELL}, "nothing_to_sell"),
        ({"window": {"blackouts": [{"from_ts": 0, "to_ts": 2_000_000_000_000}]}}, "window"),
        ({"strategies": {"sample": {"min_confidence": 0.9}}}, "unclear"),
    ],
    ids=["hold", "nothing_to_sell", "window", "unclear"],
)
async def test_why_a_cycle_does_nothing(patch: dict[str, Any], reason: str) -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(**patch)

        assert skipped(await once(world)) == reason


async def test_without_bars_the_market_is_not_fit() -> None:
    world = BotWorld()
    async with world.life():
        await world.bot()
        row = await once(world)

        assert skipped(row) == "market_check"
        assert "ohlcv_missing" in row["detail"]


async def test_a_trade_limit_a_day_is_kept_over_a_restart(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        world.past(QUIET)
        await world.bot(window={"max_trades_per_day": 1}, pyramiding=True)
        assert skipped(await once(world)) is None
        await until(lambda: world.system.desk.store.waiting == 0)
    async with world.life():
        row = await once(world)
        shown = (await status(world))["trading_window"]

        assert skipped(row) == "window"
        assert row["detail"].startswith("max_trades_per_day")
        assert (shown["trades_today"], shown["remaining_trades"]) == (1, 0)


# -- budget ----------------------------------------------------------------------------------------


async def test_a_budget_sizes_the_bots_entries_and_refuses_what_is_beyond_it() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(budget="1000", pyramiding=True)
        await world.call("risk.params.set", patch={"max_position_size": "1"})
        first = await once(world)
        left = (await status(world))["budget"]

        assert D(first["size"]["notional"]) <= 1000
        assert skipped(first) is None
        assert D(left["limit"]) == 1000
        assert D(left["used"]) + D(left["left"]) == D(left["capital"])
        assert D(left["left"]) < 1000


async def test_an_order_in_a_remote_bots_name_is_refused_beyond_its_budget() -> None:
    world = BotWorld()
    async with world.life():
        await world.call("bot.configure", bot_id="r", patch={"kind": "remote", "budget": "1000"})
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        big = BUY | {"bot_id": "r", "amount": "0.02", "client_order_id": "big"}
        refused = await world.call("order.place", client="prog", **big)
        seen = result(await world.call("order.preview", client="prog", **big))
        small = BUY | {"bot_id": "r", "amount": "0.015", "client_order_id": "small"}
        fine = await world.call("order.place", client="prog", **small)
        resent = await world.call("order.place", client="prog", **small)
        more = await world.call("order.place", client="prog", **(small | {"client_order_id": "x"}))
        raised = await world.call(
            "order.amend", client="prog", client_order_id="small", amount="0.02"
        )
        stolen = await world.call(
            "order.place",
            client="prog",
            symbol=BTC,
            side="sell",
            type="limit",
            amount="0.001",
            price="65000",
            bot_id="r",
        )

        assert refused.error is not None
        assert refused.error["code"] == "risk_rejected"
        assert refused.error["details"]["rule"] == "bot_budget"  # type: ignore[index]
        assert (seen["valid"], seen["failed"][0]) == (False, "bot_budget")
        assert fine.ok
        assert resent.ok
        for reply in (more, raised, stolen):
            assert reply.error is not None
            assert reply.error["code"] == "risk_rejected"
        assert stolen.error is not None
        assert stolen.error["details"]["rule"] == "bot_holding"  # type: ignore[index]
        assert world.venue.submitted == ["small"]


# -- errors ----------------------------------------------------------------------------------------

BAD = """
from typing import ClassVar
from realtime.bots.strategy import Strategy

class Bad(Strategy):
    id: ClassVar[str] = "bad"
    summary: ClassVar[str] = "fails"
    warmup = 0

    def on_ohlcv(self, bar):
        {what}
"""


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("return 1 / 0", "strategy bad raised ZeroDivisionError"),
        ("return 17.0", "strategy bad said what is no signal"),
        ("return 'buy'", "strategy bad said"),
    ],
    ids=["raises", "out_of_range", "no_number"],
)
async def test_a_strategy_that_fails_ends_its_bot_and_no_other(
    tmp_path: Path, what: str, why: str
) -> None:
    (tmp_path / "bad.py").write_text(BAD.format(what=what))
    world = BotWorld(strategies={"path": str(tmp_path)})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot("bad", strategies={"bad": {}}, max_retries=2, retry_delay_s=10)
        await world.bot("good", dry_run=True)
        result(await world.call("bot.start", bot_id="bad"))
        await started(world, "good")
        await until(lambda: system.bots.get("bad").state is BotState.ERROR)
        row = await status(world, "bad")
        health = result(await world.call("bot.health", bot_id="bad"))
        await world.bar(64000)

        assert row["error"].startswith(f"stopped after 2 consecutive failures: {why}")
        assert row["performance"]["failed_cycles"] == 2
        assert health["status"] == "error"
        assert skipped((await status(world, "good"))["last_decision"]) == "dry_run"
        alerts = result(await world.call("alert.list", level="error"))["alerts"]
        assert alerts[0]["code"] == "bot_error"
        seen = result(await world.call("system.status"))
        parts = {name: part["status"] for name, part in seen["components"].items()}
        assert (seen["status"], seen["ready"]) == ("degraded", True)
        assert [name for name, level in parts.items() if level != "ok"] == ["bots"]
        assert seen["components"]["bots"]["detail"].startswith("bad: stopped after 2")
        result(await world.call("bot.stop", bot_id="bad"))
        healed = result(await world.call("system.status"))
        assert (healed["status"], healed["components"]["bots"]["detail"]) == (
            "ok",
            "1 of 3 running",
        )


async def test_a_failed_cycle_is_tried_again_and_missed_bars_are_told() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.venue.broken.add("ohlcv")
        world.venue.no_bars = True
        await world.bot(strategies=HOLD, max_retries=5, retry_delay_s=10)
        result(await world.call("bot.start", bot_id="b"))
        await asyncio.sleep(15)
        failing = await status(world)
        world.venue.broken.clear()
        world.past(QUIET)
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        await world.bar(64000)
        row = await status(world)

        assert failing["state"] == BotState.STARTING
        assert failing["performance"]["failed_cycles"] == 2
        assert skipped(row["last_decision"]) == "hold"


# -- pause, restart, emergency ---------------------------------------------------------------------


async def test_paused_it_enters_nothing_and_still_closes() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(pyramiding=True)
        await started(world)
        await world.bar(64000)
        until_ts = system.clock.ms() + 200_000
        paused = result(await world.call("bot.pause", bot_id="b", until_ts=until_ts))
        same = result(await world.call("bot.pause", bot_id="b", until_ts=until_ts))
        await world.bar(64000)
        held = await status(world)
        await world.bot(strategies=SELL)
        await world.bar(64000)
        sold = await status(world)
        await asyncio.sleep(120)
        past = await world.call("bot.pause", bot_id="b", until_ts=1)

        assert (paused["state"], paused["changed"], same["changed"]) == ("paused", True, False)
        assert skipped(held["last_decision"]) == "paused"
        assert sold["positions"] == []
        assert (await status(world))["state"] == BotState.RUNNING
        assert past.error is not None


async def test_after_a_restart_a_bot_that_ran_is_stopped_unless_it_resumes(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        world.past(QUIET)
        await world.bot("a", strategies=HOLD)
        await world.bot("c", strategies=HOLD, auto_resume=True)
        await started(world, "a")
        await started(world, "c")
        await world.bar(64000)
        await until(lambda: world.system.desk.store.waiting == 0)
    async with world.life() as system:
        await until(lambda: system.bots.get("c").state is BotState.RUNNING)
        stopped, resumed = await status(world, "a"), await status(world, "c")

        assert (stopped["state"], stopped["was_running"]) == (BotState.STOPPED, True)
        assert stopped["cycle_count"] == 1
        assert skipped(stopped["last_decision"]) == "hold"
        assert (resumed["state"], resumed["was_running"]) == (BotState.RUNNING, False)


@pytest.mark.parametrize("op", ["bot.stop", "bot.emergency_stop"])
async def test_what_was_stopped_since_it_ran_does_not_resume(tmp_path: Path, op: str) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        await started(world)
        await until(lambda: world.system.desk.store.waiting == 0)
    async with world.life():
        ran = await status(world)
        result(await world.call(op, bot_id="b"))
        result(await world.call("bot.rearm", bot_id="b"))
        await world.bot(strategies=HOLD, auto_resume=True)
        await until(lambda: world.system.desk.store.waiting == 0)
    async with world.life() as system:
        await until(system.ready.is_set)
        await asyncio.sleep(5)
        now = await status(world)

    assert ran["was_running"] is True
    assert (now["state"], now["was_running"]) == (BotState.STOPPED, False)


async def test_an_emergency_stop_halts_one_bot_over_a_restart_until_rearmed(
    tmp_path: Path,
) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        world.past(QUIET)
        await world.bot()
        await started(world)
        await world.bar(64000)
        done = result(
            await world.call("bot.emergency_stop", bot_id="b", flatten=True, reason="drill")
        )
        flat = await status(world)
        start = await world.call("bot.start", bot_id="b")
        run = await world.call("bot.run_once", bot_id="b")
        await until(lambda: world.system.desk.store.waiting == 0)

        assert done["bots"] == ["b"]
        assert [row["status"] for row in done["closed"]] == ["filled"]
        assert flat["positions"] == []
        assert flat["trading_state"] == "halted"
        for reply in (start, run):
            assert reply.error is not None
            assert reply.error["code"] == "halted"
    async with world.life():
        operator = Principal(subject="o", scopes=ROLES["operator"])
        forbidden = await world.call("bot.rearm", bot_id="b", who=operator)
        again = await status(world)
        rearmed = result(await world.call("bot.rearm", bot_id="b"))
        twice = result(await world.call("bot.rearm", bot_id="b"))
        await world.call("trading.halt", bot_id="b")
        held = await world.call("bot.rearm", bot_id="b")

        assert again["state"] == BotState.HALTED
        assert forbidden.error is not None
        assert (rearmed["state"], rearmed["trading_state"]) == (BotState.STOPPED, "active")
        assert (rearmed["changed"], twice["changed"], twice["state"]) == (True, False, "stopped")
        assert held.code is Code.CONFLICT, "trading.resume is what ends that"
        assert world.order("s-secret0000000003").bot_id == "b"


async def test_an_emergency_stop_of_all_halts_trading() -> None:
    world = BotWorld()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="mine")
        shown = result(await world.call("bot.emergency_stop", dry_run=True))
        done = result(await world.call("bot.emergency_stop", reason="drill"))

        assert shown["dry_run"] is True
        assert done["canceled"] == ["mine"]
        assert system.desk.engine.state() == "halted"
        assert (await status(world, "main"))["state"] == BotState.HALTED


@pytest.mark.parametrize("op", ["bot.emergency_stop", "trading.halt"])
@pytest.mark.parametrize("script", ["fill", "reject", "lose"])
async def test_a_stop_of_all_says_what_became_of_each_position(op: str, script: str) -> None:
    """Found by a drive: all that was held was closed, and the answer said `closed: []`."""
    world = BotWorld()
    async with world.life():
        await world.call("order.place", symbol=BTC, side="buy", type="market", amount="0.05")
        world.venue.script.append(script)
        (row,) = result(await world.call(op, flatten=True))["closed"]
        order = result(await world.call("order.get", order_id=row["order_id"]))

        assert row["symbol"] == order["symbol"] == BTC
        assert (order["side"], order["amount"], order["reduce_only"]) == ("sell", "0.05000", True)
        fate = {"fill": {"filled"}, "reject": {"rejected"}, "lose": {"unknown", "open"}}[script]
        assert row["status"] in fate


async def test_an_emergency_stop_tells_apart_what_filled_before_its_cancel() -> None:
    world = BotWorld()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="mine")
        stopping = world.start("bot.emergency_stop", reason="drill")
        world.venue.fill("mine")
        done = result(await stopping)

        assert (done["canceled"], done["ended"]) == ([], ["mine"])


async def test_stopping_can_close_what_the_bot_holds_and_nothing_else() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.call("order.place", symbol=BTC, side="buy", type="market", amount="0.05")
        await world.bot()
        await started(world)
        await world.bar(64000)
        shown = result(await world.call("bot.stop", bot_id="b", close_positions=True, dry_run=True))
        done = result(await world.call("bot.stop", bot_id="b", close_positions=True))

        assert shown["effect"]["positions"] == 1
        assert [row["status"] for row in done["closed"]] == ["filled"]
        assert system.desk.engine.positions[BTC].amount == D("0.05")
        assert done["positions"] == []


async def test_metrics_are_reset_and_health_is_told() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        await once(world)
        healthy = result(await world.call("bot.health", bot_id="b"))
        reset = result(await world.call("bot.reset_metrics", bot_id="b"))
        valid = result(await world.call("bot.validate", bot_id="b"))
        wrong = result(
            await world.call(
                "bot.validate", bot_id="new", config={"strategies": {"rsi": {"params": {"x": 1}}}}
            )
        )

        assert healthy["status"] == "healthy"
        assert reset["cycle_count"] == 0
        assert valid["status"] == "valid", valid
        assert wrong["status"] == "error"


async def test_a_bot_that_waits_for_bars_says_when_the_next_one_closes() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(strategies=HOLD)
        await started(world)
        running = await status(world)
        now = world.system.clock.now() // 1_000_000
        result(await world.call("bot.stop", bot_id="b"))
        await until(lambda: world.system.bots.get("b").state is BotState.STOPPED)
        stopped = await status(world)

    length = TIMEFRAMES[running["timeframe"]] // 1_000_000
    assert running["next_cycle_ts"] % length == 0
    assert 0 < running["next_cycle_ts"] - now <= length
    assert stopped["next_cycle_ts"] is None


async def test_an_interval_looks_without_a_bar() -> None:
    world = BotWorld()
    async with world.life():
        world.past(QUIET)
        await world.bot(strategies=HOLD, trigger="interval", cycle_interval_s=100)
        await started(world)
        first = await status(world)
        await asyncio.sleep(201)
        row = await status(world)

        assert first["next_cycle_ts"] is not None
        assert row["cycle_count"] == 2


# -- leases ----------------------------------------------------------------------------------------


async def remote(world: BotWorld, **patch: Any) -> None:
    given = {"kind": "remote", "lease_s": 30} | patch
    result(await world.call("bot.configure", bot_id="r", patch=given))


async def test_a_lease_that_lapses_cancels_its_orders_and_says_so() -> None:
    world = BotWorld()
    async with world.life() as system:
        told: list[tuple[str, str, str, Any]] = []
        system.desk.notice = lambda *notice: told.append(notice)
        await remote(world)
        early = await world.call("order.place", client="prog", **BUY, bot_id="r")
        lease = result(await world.call("bot.attach", client="prog", bot_id="r"))
        other = await world.call("bot.attach", client="other", bot_id="r")
        placed = await world.call(
            "order.place", client="prog", **BUY, bot_id="r", client_order_id="mine"
        )
        await asyncio.sleep(20)
        renewed = result(await world.call("bot.attach", client="prog", bot_id="r"))
        await asyncio.sleep(20)
        alive = await status(world, "r")
        await asyncio.sleep(11)
        lapsed = await status(world, "r")

        assert early.error is not None
        assert early.error["details"]["what"] == "lease"  # type: ignore[index]
        assert (lease["attached"], renewed["attached"]) == (True, False)
        assert other.error is not None
        assert other.error["code"] == "conflict"
        assert placed.ok
        assert (alive["state"], len(alive["open_orders"])) == (BotState.RUNNING, 1)
        assert lapsed["state"] == BotState.ERROR
        assert "silent for 30 s" in lapsed["error"]
        assert world.venue.live() == []
        assert told[-1][:3] == ("local", "prog", "bot_lapsed")
        (entry,) = await world.events("bot_lapsed")
        assert entry["bot_id"] == "r"


async def test_a_remote_bot_is_paused_halted_and_stopped_like_any_other() -> None:
    world = BotWorld()
    async with world.life() as system:
        told: list[tuple[str, str, str, Any]] = []
        system.desk.notice = lambda *notice: told.append(notice)
        await remote(world)
        start = await world.call("bot.start", bot_id="r")
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        await world.call("bot.pause", bot_id="r")
        paused = await world.call("order.place", client="prog", **BUY, bot_id="r")
        await world.call("bot.resume", bot_id="r")
        fine = await world.call("order.place", client="prog", **BUY, bot_id="r")
        await world.call("bot.emergency_stop", bot_id="r", reason="drill")
        halted = await world.call("bot.attach", client="prog", bot_id="r")
        await world.call("bot.rearm", bot_id="r")
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        gone = result(await world.call("bot.detach", client="prog", bot_id="r"))

        for reply in (start, paused):
            assert reply.error is not None
            assert reply.error["code"] == "conflict"
        assert fine.ok
        assert world.venue.live() == []
        assert halted.error is not None
        assert halted.error["code"] == "halted"
        assert gone["state"] == BotState.STOPPED
        assert told[0][2] == "bot_halted"


async def test_cancels_that_nobody_could_send_are_not_answered_as_done() -> None:
    world = BotWorld()
    async with world.life():
        await remote(world)
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        result(await world.call("order.place", client="prog", **BUY, bot_id="r"))
        detach: dict[str, Any] = {"bot_id": "r", "cancel_orders": False}
        result(await world.call("bot.detach", client="prog", **detach))
        late = await world.call("bot.detach", client="prog", **detach | {"cancel_orders": True})
        again = await world.call("bot.detach", client="prog", **detach)

        assert late.code is Code.CONFLICT
        assert result(again)["changed"] is False
        assert len(world.venue.live()) == 1


async def test_what_is_said_of_a_lease_may_be_said_again(tmp_path: Path) -> None:
    """An answer that a cut took: the same once more is done, and no conflict; also after a restart."""
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        await remote(world)
        attached = [await world.call("bot.attach", client="prog", bot_id="r") for _ in range(2)]
        paused = [await world.call("bot.pause", client="prog", bot_id="r") for _ in range(2)]
        other = await world.call("bot.detach", client="other", bot_id="r")
        detached = [await world.call("bot.detach", client="prog", bot_id="r") for _ in range(2)]
        await world.bot()
        not_remote = await world.call("bot.detach", client="prog", bot_id="b")
        nobody = await world.call("bot.detach", client="prog", bot_id="x")
    async with world.life():
        again = await world.call("bot.detach", client="prog", bot_id="r")

    for replies in (attached, paused, detached):
        assert [result(reply)["changed"] for reply in replies] == [True, False]
    assert result(detached[1]).keys() == result(detached[0]).keys()
    assert (result(again)["changed"], result(again)["state"]) == (False, BotState.STOPPED)
    assert other.code is Code.CONFLICT, "it is another's"
    assert not_remote.code is Code.CONFLICT, "nobody can hold it"
    assert nobody.code is Code.NOT_FOUND


async def test_after_a_restart_a_lease_has_its_whole_time_and_lapses(tmp_path: Path) -> None:
    world = BotWorld(tmp_path / "j.db")
    async with world.life():
        await remote(world)
        result(await world.call("bot.attach", client="prog", bot_id="r"))
        placing = world.call("order.place", client="prog", **BUY, bot_id="r", client_order_id="m")
        assert (await placing).ok
    async with world.life():
        await asyncio.sleep(20)
        alive = await status(world, "r")
        await asyncio.sleep(20)

        assert alive["state"] == BotState.RUNNING
        assert (await status(world, "r"))["state"] == BotState.ERROR
        assert world.venue.live() == []


async def test_an_order_given_to_a_bot_counts_in_its_budget() -> None:
    world = BotWorld()
    async with world.life():
        await world.bot(budget="1000")
        fine = await world.call("order.place", **BUY, bot_id="b")
        beyond = await world.call("order.place", **BUY, bot_id="b")
        tagged = await world.call("order.place", **BUY, bot_id="not-a-bot")
        attached = await world.call("bot.attach", bot_id="b")

        assert fine.ok
        assert beyond.error is not None
        assert beyond.error["details"]["rule"] == "bot_budget"  # type: ignore[index]
        assert tagged.ok
        assert attached.error is not None
