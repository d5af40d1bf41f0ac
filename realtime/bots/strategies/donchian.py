"""Follow the breakout from the range of the bars before."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import ATR_LENGTH, Atr, Direction, Donchian as Range, share
from realtime.model.signals import Ohlcv


class DonchianParams(StrategyParams):
    """Parameters of `donchian`."""

    length: int = Field(20, ge=2, le=200, description="bars of the range")
    direction: Direction = Field(Direction.BOTH, description="breakouts that count")


class Donchian(Strategy):
    """Close above the highest high or below the lowest low of the bars before; the conviction grows with how far."""

    id: ClassVar[str] = "donchian"
    summary: ClassVar[str] = "Price leaves the range of the last bars"
    Params: ClassVar[type[StrategyParams]] = DonchianParams

    __slots__ = ("_atr", "_direction", "_length", "_lower", "_range", "_upper")

    def __init__(self, params: DonchianParams) -> None:
        super().__init__(params)
        self._length = params.length
        self._direction = params.direction
        self._range = Range(params.length)
        self._atr = Atr(ATR_LENGTH)
        self._upper: float | None = None
        self._lower: float | None = None

    @property
    def warmup(self) -> int:
        """The range and the bar that may leave it, and what the true range needs."""
        return max(self._length, ATR_LENGTH) + 1

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar."""
        _, _, high, low, close, _ = bar
        before = self._range.value
        self._range.update(high, low)
        atr = self._atr.update(high, low, close)
        if before is None:
            return 0.0
        self._upper, _, self._lower = before
        if atr is None:
            return 0.0
        if close > before.upper and self._direction is not Direction.BEARISH:
            return 0.25 + 0.75 * share(close - before.upper, atr)
        if close < before.lower and self._direction is not Direction.BULLISH:
            return -0.25 - 0.75 * share(before.lower - close, atr)
        return 0.0

    def indicators(self) -> Mapping[str, float | None]:
        """Give the range before the last bar, and the true range."""
        return {"upper": self._upper, "lower": self._lower, "atr": self._atr.value}
