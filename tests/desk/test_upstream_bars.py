"""From a venue's word to right bars: what a silence took from bars comes to charts, indicators and bots."""

import asyncio
from typing import Any

import pytest

from realtime.engine.studies import ohlcv
from realtime.model.bots import BotState
from realtime.model.market import MS, Stale
from tests.bots.market import BTC, MINUTE, QUIET, BotWorld, bar_of, result
from tests.fakes import until


def word(world: BotWorld, symbol: str | None, *, stale: bool, asof: int) -> None:
    cause = "silent" if stale else None
    told = Stale(venue="paper", symbol=symbol, stale=stale, cause=cause, asof=asof)
    world.system.feeds.take([told])


async def decisions(world: BotWorld) -> list[int]:
    rows = result(await world.call("signal.list", limit=50))["signals"]
    return [row["ohlcv_ts"] * MS for row in reversed(rows)]


@pytest.mark.parametrize("symbol", [BTC, None], ids=["symbol", "venue"])
async def test_a_bot_decides_on_the_bars_of_the_venue_and_not_on_what_was_heard(
    symbol: str | None,
) -> None:
    world = BotWorld()
    async with world.life() as system:
        world.past(QUIET)
        await world.bot(dry_run=True)
        result(await world.call("bot.start", bot_id="b"))
        await until(lambda: system.bots.get("b").state is BotState.RUNNING)
        truth: list[Any] = world.venue.bars[BTC, "1m"]
        await world.to_the_minute()
        await asyncio.sleep(30)
        first, asof = system.clock.now() // MINUTE * MINUTE, system.clock.now()
        world.venue.trade(BTC, 64100)
        # It is noticed when a bar has closed already that lacks the half.
        await asyncio.sleep(40)
        word(world, symbol, stale=True, asof=asof)
        await asyncio.sleep(100)
        during = await decisions(world)
        truth += [bar_of(first + n * MINUTE, 64000 + 100 * n) for n in range(3)]
        truth[:] = [*truth[:-3], bar_of(first, 63000), *truth[-2:]]
        word(world, symbol, stale=False, asof=system.clock.now())
        await asyncio.sleep(5)
        behind = await decisions(world)
        runner = system.bots.get("b").runner
        assert runner is not None
        mind = runner._minds[BTC]

        assert during == [first]
        assert behind == [first, first + MINUTE]
        assert mind.bars[-2:] == [ohlcv(bar) for bar in truth[-3:-1]]
        await world.bar(64700)
        assert (await decisions(world))[-1] > first + MINUTE
        assert system.bots.get("b").counters.failed == 0
