"""Buy what fell too far, sell what rose too far, by the relative strength index."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import Rsi as Index, share
from realtime.model.signals import Ohlcv


class RsiParams(StrategyParams):
    """Parameters of `rsi`."""

    rsi_period: int = Field(14, ge=1, le=50, description="length of the RSI, bars")
    overbought: float = Field(70.0, ge=50, le=100, description="sells at or above this RSI")
    oversold: float = Field(
        30.0, ge=0, le=50, validate_default=True, description="buys at or below this RSI"
    )

    @field_validator("oversold")
    @classmethod
    def _ordered(cls, oversold: float, info: ValidationInfo) -> float:
        overbought = info.data.get("overbought", 100.0)
        if oversold >= overbought:
            raise ValueError(f"{oversold:g} must be below overbought {overbought:g}")
        return oversold


class Rsi(Strategy):
    """Relative strength at or beyond a bound; the conviction grows with how far beyond."""

    id: ClassVar[str] = "rsi"
    summary: ClassVar[str] = "Relative strength index is oversold or overbought"
    Params: ClassVar[type[StrategyParams]] = RsiParams

    __slots__ = ("_index", "_overbought", "_oversold")

    def __init__(self, params: RsiParams) -> None:
        super().__init__(params)
        self._index = Index(params.rsi_period)
        self._overbought = params.overbought
        self._oversold = params.oversold

    @property
    def warmup(self) -> int:
        """As many changes as the index is long."""
        return self._index.length + 1

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar."""
        rsi = self._index.update(bar[4])
        if rsi is None:
            return 0.0
        if rsi <= self._oversold:
            return 0.25 + 0.75 * share(self._oversold - rsi, self._oversold)
        if rsi >= self._overbought:
            return -0.25 - 0.75 * share(rsi - self._overbought, 100.0 - self._overbought)
        return 0.0

    def indicators(self) -> Mapping[str, float | None]:
        """Give the index."""
        return {"rsi": self._index.value}
