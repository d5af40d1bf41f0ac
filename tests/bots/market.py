"""A market whose bars a test writes, around the scripted exchange."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from realtime.engine.bars import TIMEFRAMES
from realtime.model.market import MS, SECOND, Bar, Trade
from tests.fakes import BTC, FREE, PRICES, START_NS, ScriptedVenue, World


MINUTE = 60 * SECOND


class BarVenue(ScriptedVenue):
    """The scripted exchange, with bars: those of the script, then what was traded since."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: dict[tuple[str, str], list[Bar]] = {}
        self.trades_told = 0
        self.no_bars = False

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        if self.no_bars:
            await self._answer("ohlcv")
        found = self.bars.get((symbol, timeframe), [])
        if since is not None:
            return [bar for bar in found if bar.ts >= since][:limit]
        return found[-limit:]

    def trade(self, symbol: str, price: float, amount: str = "1") -> None:
        """Let something be traded now."""
        self.trades_told += 1
        ts = self._now()
        name = f"p-{self.trades_told}"
        text = f"{price:.2f}"
        self._post((Trade(name, symbol, "buy", text, amount, ts, ts),))


class BotWorld(World):
    """A world with bars."""

    def __init__(self, path: Path | None = None, **settings: Any) -> None:
        given: dict[str, Any] = {"risk": {"limits": FREE_BOTS}}
        super().__init__(path, **(given | settings))
        self.venue: BarVenue = BarVenue()

    def past(self, closes: Sequence[float], symbol: str = BTC, timeframe: str = "1m") -> None:
        """Write the bars before now, the last one closed a moment ago."""
        length = TIMEFRAMES[timeframe]
        now = self.wall + int(asyncio.get_running_loop().time() * SECOND)
        end = now // length * length
        first = end - len(closes) * length
        self.venue.bars[symbol, timeframe] = [
            bar_of(first + place * length, close) for place, close in enumerate(closes)
        ]

    async def bar(self, close: float, symbol: str = BTC) -> None:
        """Let one minute pass in which a price was traded, and its bar close."""
        await self.to_the_minute()
        await asyncio.sleep(1)
        self.venue.trade(symbol, close)
        await self.to_the_minute()
        await asyncio.sleep(2)

    async def to_the_minute(self) -> None:
        now = self.system.clock.now()
        await asyncio.sleep((MINUTE - now % MINUTE) / SECOND)

    async def bot(self, bot_id: str = "b", **patch: Any) -> Any:
        """Make a bot on one minute bars of `push`, a strategy the test controls by prices."""
        given: dict[str, Any] = {"symbols": [BTC], "timeframe": "1m", "strategies": SAMPLE}
        return result(await self.call("bot.configure", bot_id=bot_id, patch=given | patch))


def bar_of(ts: int, close: float) -> Bar:
    text = f"{close:.2f}"
    return Bar(ts, text, text, text, text, "1")


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def sample(value: float) -> dict[str, Any]:
    """Use the sample strategy: 1 buys, -1 sells, 0 holds."""
    return {"sample": {"params": {"indicator_value": value}}}


SAMPLE = sample(1)
SELL = sample(-1)
HOLD = sample(0)
FREE_BOTS: dict[str, Any] = {**FREE, "max_position_size": "0.1", "max_slippage": None}
QUIET = [float(PRICES[BTC][0])] * 40

__all__ = ["BTC", "MS", "QUIET", "START_NS", "BotWorld", "Decimal", "result"]
