"""Follow the trend where the price moved farther than chance would have moved it."""

import math
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import Change, Direction, Volatility, share
from realtime.model.signals import Ohlcv


class MomentumParams(StrategyParams):
    """Parameters of `momentum`."""

    length: int = Field(20, ge=1, le=200, description="bars over which the return is measured")
    volatility_length: int = Field(20, ge=2, le=200, description="bars of the volatility")
    threshold: float = Field(
        1.0,
        gt=0,
        le=10,
        description="minimum return, in standard deviations of the return over that many bars",
    )
    direction: Direction = Field(Direction.BOTH, description="trends that count")


class Momentum(Strategy):
    """Return over some bars by what chance would give in as many: volatility times the root of their number.

    Source: Moskowitz, Ooi, Pedersen (2012), time series momentum: returns are scaled by volatility.
    """

    id: ClassVar[str] = "momentum"
    summary: ClassVar[str] = "Return over some bars stands out of the volatility"
    Params: ClassVar[type[StrategyParams]] = MomentumParams

    __slots__ = ("_change", "_direction", "_root", "_threshold", "_volatility")

    def __init__(self, params: MomentumParams) -> None:
        super().__init__(params)
        self._change = Change(params.length)
        self._volatility = Volatility(params.volatility_length)
        self._root = math.sqrt(params.length)
        self._threshold = params.threshold
        self._direction = params.direction

    @property
    def warmup(self) -> int:
        """The longer of both windows of returns."""
        return max(self._change.length, self._volatility.length) + 1

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar."""
        close = bar[4]
        change = self._change.update(close)
        volatility = self._volatility.update(close)
        if change is None or volatility is None or change == 0:
            return 0.0
        bound = self._threshold * volatility * self._root
        size = abs(change)
        if size < bound:
            return 0.0
        if self._direction is (Direction.BEARISH if change > 0 else Direction.BULLISH):
            return 0.0
        strength = 0.25 + 0.75 * share(size - bound, bound)
        return strength if change > 0 else -strength

    def indicators(self) -> Mapping[str, float | None]:
        """Give the return and the volatility of one bar."""
        return {"change": self._change.value, "volatility": self._volatility.value}
