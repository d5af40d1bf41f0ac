"""Decisions on bars: those of the runner are those of a plain loop over the same bars; missed bars are told."""

import asyncio
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from realtime.bots.minds import Mind, StrategyFailed
from realtime.bots.strategies.rsi import Rsi, RsiParams
from realtime.bots.strategy import Strategy, signal
from realtime.engine.studies import ohlcv
from realtime.model.bots import BotState
from realtime.model.market import MS, SECOND
from realtime.model.signals import Ohlcv
from tests.bots.market import BTC, MINUTE, QUIET, BotWorld, bar_of, result
from tests.fakes import ETH, until


CLOSES = [64000 + 40 * ((place * 7919) % 13 - 6) for place in range(12)]
RSI: dict[str, Any] = {"rsi": {"params": {"rsi_period": 3}}}


def plain(bars: list[Ohlcv]) -> list[tuple[int, str, float]]:
    """Say what the strategy says in the plainest of loops."""
    strategy = Rsi(RsiParams(rsi_period=3))
    found = []
    for bar in bars:
        said = signal(strategy, strategy.on_ohlcv(bar))
        found.append((bar.ts // MS, str(said.action), said.confidence))
    return found


async def decided(world: BotWorld) -> list[tuple[int, str, float]]:
    rows = result(await world.call("bot.decisions", bot_id="b", limit=100))["decisions"]
    return [
        (row["ohlcv_ts"], row["individual"][0]["action"], row["individual"][0]["confidence"])
        for row in rows[::-1]
    ]


async def test_decisions_equal_those_of_a_plain_loop_bar_by_bar() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=RSI, dry_run=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        for close in CLOSES:
            await world.bar(close)
        live = await decided(world)

    bars = [ohlcv(bar) for bar in world.venue.bars[BTC, "1m"]]
    bars += [ohlcv(bar_of(ts * MS, c)) for (ts, _, _), c in zip(live, CLOSES, strict=True)]
    assert live == plain(bars)[-len(CLOSES) :]
    assert len({action for _, action, _ in live}) == 3


async def test_missed_bars_are_told_and_only_the_newest_is_traded() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies=RSI, dry_run=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        told = world.venue.bars[BTC, "1m"]
        missed = [bar_of(told[-1].ts + n * 60_000 * MS, 64000 + 50 * n) for n in range(1, 4)]
        await asyncio.sleep(180)
        told += missed
        await world.bar(64300)
        (live,) = await decided(world)

    bars = [ohlcv(bar) for bar in told]
    assert live == plain([*bars, ohlcv(bar_of(live[0] * MS, 64300))])[-1]


async def failing(world: BotWorld, **patch: Any) -> None:
    """Run a bot for three minutes in which its venue tells no bars, and let its cycle fail when one closes."""
    world.past(QUIET)
    await world.bot(dry_run=True, max_retries=9, retry_delay_s=5, **patch)
    result(await world.call("bot.start", bot_id="b"))
    await until(lambda: world.system.bots.get("b").state is BotState.RUNNING)
    await asyncio.sleep(180)
    told = world.venue.bars[BTC, "1m"]
    told += [bar_of(told[-1].ts + n * 60_000 * MS, 64000) for n in range(1, 4)]
    world.venue.broken.add("ohlcv")
    world.venue.no_bars = True
    await world.bar(64100)


async def test_a_failed_cycle_is_made_up_for_and_not_left_to_the_next_bar() -> None:
    """Symptom: a bot of daily bars did nothing for a day, because its venue had not answered for a second."""
    world = BotWorld()
    async with world.life() as system:
        await failing(world)
        (bars, failed) = world.venue.bars[BTC, "1m"], system.bots.get("b").counters
        bars.append(bar_of(bars[-1].ts + 60_000 * MS, 64100))
        world.venue.broken.clear()
        world.venue.no_bars = False
        await asyncio.sleep(10)
        live = await decided(world)

        assert live == [(bars[-1].ts // MS, "buy", live[0][2])]
        assert (failed.cycles, failed.failed) == (1, 1)
        # How long it took, not how long nothing was to be done before.
        assert failed.last_cycle_ms < 1_000
        assert (await world.events("bot_error")) == []


async def test_a_failed_cycle_of_an_interval_is_made_up_for() -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        told: dict[str, Any] = {"trigger": "interval", "cycle_interval_s": 600}
        await world.bot(dry_run=True, max_retries=9, retry_delay_s=5, **told)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        world.venue.broken.add("ohlcv")
        world.venue.no_bars = True
        await until(lambda: system.bots.get("b").counters.failed > 0, within=700)
        world.venue.broken.clear()
        world.venue.no_bars = False
        await asyncio.sleep(10)

        assert len(await decided(world)) == 1


async def test_a_bar_that_closes_while_a_change_is_taken_is_decided_about() -> None:
    """Symptom: changed in the second of a close, a bot of two symbols let one of them pass until the next bar."""
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        world.past(QUIET, ETH)
        await world.bot(symbols=[ETH, BTC], dry_run=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        await world.bar(64000)
        told = world.venue.bars[BTC, "1m"]
        at_once = world.venue.ohlcv

        async def slow(symbol: str, timeframe: str, since: int | None, limit: int) -> Any:
            await asyncio.sleep(1)
            while told[-1].ts + 120_000 * MS <= system.clock.now():
                told.append(bar_of(told[-1].ts + 60_000 * MS, 64010))
            return await at_once(symbol, timeframe, since, limit)

        world.venue.ohlcv = slow  # type: ignore[method-assign]  # the scripted exchange answers at once
        world.venue.trade(BTC, 64010)
        await asyncio.sleep(60 - system.clock.now() % MINUTE / SECOND - 0.3)
        patch: dict[str, Any] = {"market_checks": {"max_spread": 0.5}}
        result(await world.call("config.update", patch=patch))
        await asyncio.sleep(20)
        live = await decided(world)

        assert [ts for ts, _, _ in live] == [told[-2].ts // MS, told[-1].ts // MS]


class Odd(Rsi):
    """Counts the bars it was told."""

    def __init__(self) -> None:
        super().__init__(RsiParams())
        self.told: list[int] = []

    def on_ohlcv(self, bar: Ohlcv) -> float:
        self.told.append(bar.ts)
        return 0.0


def test_a_mind_tells_every_bar_once_and_keeps_what_is_asked() -> None:
    odd = Odd()
    mind = Mind({"odd": odd}, keep=2)
    assert (mind.last, mind.signals()) == (None, {})
    for ts in (1, 2, 2, 1, 3, 4, 5):
        mind.feed(Ohlcv(ts, 1, 1, 1, 1, 1))

    assert odd.told == [1, 2, 3, 4, 5]
    assert [bar.ts for bar in mind.bars] == [4, 5]
    assert (mind.seen, mind.warmup) == (5, odd.warmup)


def test_what_a_strategy_cannot_show_is_its_failure() -> None:
    class Shy(Odd):
        def indicators(self) -> dict[str, float | None]:
            raise KeyError("x")

    shy: Strategy = Shy()
    mind = Mind({"shy": shy}, keep=1)
    mind.feed(Ohlcv(1, 1, 1, 1, 1, 1))

    with pytest.raises(StrategyFailed, match="KeyError"):
        mind.signals()


LOOP = """
import threading
from typing import ClassVar
from realtime.bots.strategy import Strategy

LET = threading.Event()

class Loop(Strategy):
    id: ClassVar[str] = "loop"
    summary: ClassVar[str] = "does not come back by itself"
    warmup = 0

    def on_ohlcv(self, bar):
        LET.wait(30)
        return 0.0
"""


async def test_one_that_does_not_come_back_ends_its_bot_and_not_the_hub(
    tmp_path: Path,
) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    world = BotWorld(strategies={"path": str(tmp_path)})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies={"loop": {}})
        system.bots._tools = replace(system.bots._tools, think_s=0.05)
        # The virtual clock waits for threads; here it must not.
        loop: Any = asyncio.get_running_loop()
        loop._executing = _Nothing()
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.ERROR)
        row = result(await world.call("bot.status", bot_id="b"))
        sys.modules["realtime_strategy_loop"].LET.set()

        assert row["error"] == "strategies loop did not answer within 0.05 s"
        assert result(await world.call("system.health"))["status"] == "ok"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("sys.exit(3)", "strategy quits raised SystemExit: 3"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
    ],
)
async def test_one_that_wants_to_end_the_process_ends_its_bot_and_not_the_hub(
    tmp_path: Path, said: str, error: str
) -> None:
    """Symptom: `sys.exit` in a strategy was the end of the server, with all its bots and streams."""
    text = LOOP.replace('"loop"', '"quits"').replace("LET.wait(30)", f"import sys; {said}")
    (tmp_path / "quits.py").write_text(text)
    world = BotWorld(strategies={"path": str(tmp_path)})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies={"quits": {}}, max_retries=1)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.ERROR)
        row = result(await world.call("bot.status", bot_id="b"))

        assert row["error"] == f"stopped after 1 failure: {error}"
        assert result(await world.call("system.health"))["status"] == "ok"


@pytest.mark.parametrize("text", [None, "no python"])
async def test_a_bot_whose_file_is_gone_or_broken_since_runs_on(
    tmp_path: Path, text: str | None
) -> None:
    """Symptom: after `strategy.reload` a bot in position ended in `error`; the manual says that it keeps its object."""
    file = tmp_path / "mine.py"
    file.write_text(
        LOOP.replace('"loop"', '"mine"').replace(
            "LET.wait(30)", "self.threads = {*getattr(self, 'threads', ()), threading.get_ident()}"
        )
    )
    world = BotWorld(strategies={"path": str(tmp_path)})
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(strategies={"mine": {}}, max_retries=1)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        runner = system.bots.get("b").runner
        assert runner is not None
        mind = runner._minds[BTC]._strategies["mine"]
        file.write_text(text) if text else file.unlink()
        result(await world.call("strategy.reload"))
        await world.bar(64000)
        await world.bar(64000)
        row = result(await world.call("bot.status", bot_id="b"))

        assert (row["state"], row["error"], row["cycle_count"]) == (BotState.RUNNING, None, 2)
        # Still on threads of their own, so that it cannot hold the hub.
        assert threading.get_ident() not in vars(mind)["threads"]


class _Nothing(set[Any]):
    def add(self, _item: Any) -> None:
        """Forget it."""


async def test_a_bar_without_a_price_is_a_decision_with_a_reason_and_no_failure() -> None:
    """Symptom: ZeroDivisionError in a cycle, and after some of them a bot in state error."""
    world = BotWorld()
    async with world.life() as system:
        world.past([*QUIET, 0.0])
        await world.bot()
        (row,) = result(await world.call("bot.run_once", bot_id="b"))["decisions"]

        assert row["skipped_reason"] == "market_check"
        assert "ohlcv_invalid" in row["detail"]
        assert system.bots.get("b").counters.failed == 0
