"""Why a cycle enters nothing, what `bot.validate` sees before, and stops that run into their bound."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.model.bots import BotState
from realtime.model.market import Bar
from tests.bots.market import BTC, QUIET, SELL, BarVenue, BotWorld, result
from tests.fakes import MARKETS, PRICES, until


WEAK = """
from typing import ClassVar
from realtime.bots.strategy import Strategy
from realtime.model.signals import Probabilities, Signal

class Weak(Strategy):
    id: ClassVar[str] = "weak"
    summary: ClassVar[str] = "buys, and is none too sure"
    warmup = 0

    def on_ohlcv(self, bar):
        return Signal(probabilities=Probabilities(0.6, 0.2, 0.2))
"""
"""Its risk score is 1 - 0.6 * 0.6 = 0.64."""


@pytest.fixture
def weak(tmp_path: Path) -> BotWorld:
    (tmp_path / "weak.py").write_text(WEAK)
    return BotWorld(strategies={"path": str(tmp_path)})


async def prepare(world: BotWorld, **probability: float) -> None:
    world.past(QUIET)
    told: dict[str, Any] = {"confidence_threshold_buy": 0.5, **probability}
    result(await world.call("config.update", patch={"probability": told}))
    await world.bot(strategies={"weak": {}})


async def once(world: BotWorld) -> dict[str, Any]:
    (row,) = result(await world.call("bot.run_once", bot_id="b"))["decisions"]
    assert isinstance(row, dict)
    return row


async def test_a_signal_riskier_than_the_threshold_is_left_alone(weak: BotWorld) -> None:
    async with weak.life():
        await prepare(weak, risk_score_threshold=0.63)
        row = await once(weak)

        assert row["skipped_reason"] == "risk_score"
        assert row["detail"] == "risk score 0.64 is above 0.63"
        assert row["size"] is None
        assert weak.venue.submitted == []


async def test_a_risky_signal_is_left_alone_while_the_account_is_at_risk(weak: BotWorld) -> None:
    async with weak.life():
        await prepare(weak)
        await weak.bot(strategies={"weak": {}}, dry_run=True)
        calm = await once(weak)
        result(await weak.call("trading.halt", reason="drill"))
        grave = await once(weak)

        assert calm["skipped_reason"] == "dry_run"
        assert grave["skipped_reason"] == "portfolio_risk"
        assert grave["detail"] == "the account's risk is critical, the signal's score 0.64"


async def test_neither_holds_back_what_closes() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        await once(world)
        held = system.desk.engine.shares.of("b", BTC).amount
        told = {"risk_score_threshold": 0.1}
        result(await world.call("config.update", patch={"probability": told}))
        await world.bot(strategies=SELL)
        row = await once(world)

        assert held > 0
        assert row["combined"]["risk_score"] > 0.1
        assert row["skipped_reason"] is None
        assert not system.desk.engine.shares.of("b", BTC).amount


async def test_a_rest_that_the_market_does_not_take_back_is_no_position() -> None:
    """Symptom: after two stops, what fees had left of the coins was 0.65 USDT, and the bot bought no more, for ever."""
    world = BotWorld()
    world.venue.markets = {**MARKETS, BTC: replace(MARKETS[BTC], min_cost=Decimal(5))}
    order: dict[str, Any] = {"symbol": BTC, "type": "market", "bot_id": "b"}
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(window={"max_trades_per_day": 9})
        rows = []
        for left in ("0.00007", "0.00009"):  # 4.48 and 5.76 USDT
            assert (await world.call("order.place", **order, side="buy", amount="0.01")).ok
            amount = system.desk.engine.shares.of("b", BTC).amount - Decimal(left)
            assert (await world.call("order.place", **order, side="sell", amount=str(amount))).ok
            rows.append(await once(world))
            result(await world.call("bot.stop", bot_id="b", close_positions=True))

        assert [row["skipped_reason"] for row in rows] == [None, "in_position"]


# --- validate -------------------------------------------------------------------------------------


def found(told: dict[str, Any], name: str) -> dict[str, Any]:
    (check,) = [check for check in told["checks"] if check["name"] == name]
    assert isinstance(check, dict)
    return check


async def test_validate_counts_the_bars_that_strategies_need_first() -> None:
    world = BotWorld()
    async with world.life():
        uses = {"rsi": {"params": {"rsi_period": 14}}}
        await world.bot(strategies=uses)
        world.past(QUIET[:15])
        enough = result(await world.call("bot.validate", bot_id="b"))
        world.past(QUIET[:14])
        few = result(await world.call("bot.validate", bot_id="b"))
        world.venue.no_bars = True
        world.venue.broken.add("ohlcv")
        none = result(await world.call("bot.validate", bot_id="b"))
        remote = result(await world.call("bot.validate", bot_id="r", config={"kind": "remote"}))

        good = {"name": "warmup", "ok": True, "message": None, "bars": 15}
        assert (enough["status"], found(enough, "warmup")) == ("valid", good)
        assert (few["status"], few["errors"]) == ("warning", [])
        assert few["warnings"] == [
            f"{BTC} has 14 closed bars, 15 are needed before the first decision"
        ]
        assert none["warnings"] == [f"the bars of {BTC} cannot be read: no answer"]
        assert found(remote, "warmup")["ok"] is True


async def test_validate_waits_for_a_venue_only_so_long() -> None:
    world = BotWorld()
    async with world.life():
        await world.bot()
        world.venue = hang(world.venue)
        told = result(await world.call("bot.validate", bot_id="b"))

        assert found(told, "warmup")["ok"] is False


async def test_validate_tells_where_stops_and_targets_can_be_attached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BotWorld()
    inverse = replace(
        MARKETS[BTC], symbol="BTC/USD:BTC", id="BTCUSD", quote="USD", settle="BTC", type="swap"
    )
    world.venue.markets = {**MARKETS, inverse.symbol: inverse}
    monkeypatch.setitem(PRICES, inverse.symbol, PRICES[BTC])
    async with world.life():
        world.past(QUIET)
        await world.bot()
        fine = result(await world.call("bot.validate", bot_id="b"))
        symbols = [BTC, inverse.symbol]
        told = await world.call("bot.validate", bot_id="b", config={"symbols": symbols})

        good = {"name": "bracket", "ok": True, "message": None, "support": "native"}
        assert found(fine, "bracket") == good
        assert result(told)["status"] == "error"
        bad = found(result(told), "bracket")
        assert bad["message"] == "orders in the inverse contracts BTC/USD:BTC are not supported"
        assert bad["support"] is None


# --- stops ----------------------------------------------------------------------------------------


def hang(venue: BarVenue) -> BarVenue:
    """Let an exchange never answer what its bars are."""

    async def ohlcv(*_: object, **__: object) -> Sequence[Bar]:
        await asyncio.Event().wait()
        raise AssertionError

    venue.ohlcv = ohlcv  # type: ignore[method-assign]
    return venue


async def test_a_stop_cuts_a_cycle_that_does_not_end_within_its_bound() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        hang(world.venue)
        asked = world.start("bot.run_once", bot_id="b")
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        stopped = result(await world.call("bot.stop", bot_id="b", timeout_s=7))
        took = loop.time() - began
        reply = await asked

        assert took == pytest.approx(7, abs=0.5)
        assert (stopped["state"], stopped["changed"]) == (BotState.STOPPED, True)
        assert system.bots.get("b").task is None
        assert reply.error is not None
        assert reply.error["code"] == "conflict"
        seen = result(await world.call("system.status"))["components"]["bots"]
        assert (seen["status"], seen["detail"]) == ("ok", "0 of 2 running")


async def test_a_stop_at_its_bound_leaves_an_order_on_its_way_to_the_desk() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot()
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        world.venue.gate = asyncio.Event()
        await world.bar(64000)
        stopped = result(await world.call("bot.stop", bot_id="b", timeout_s=3))
        sent = list(world.venue.submitted)
        world.venue.gate.set()
        await until(lambda: bool(system.desk.engine.shares.of("b", BTC).amount))

        # Nobody waits for it any more, and still it fills, counts as the bot's and has its stop.
        assert stopped["state"] == BotState.STOPPED
        assert sent == []
        (held,) = result(await world.call("bot.status", bot_id="b"))["positions"]
        assert held["amount"] == "0.07109"
        await until(lambda: len(world.venue.live()) == 2)
