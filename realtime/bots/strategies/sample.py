"""A template to copy: it compares one number with two thresholds and makes its probabilities itself.

Copy it into the folder of `strategies.path`, give it another `id`, and call `strategy.reload`.
"""

import math
from collections.abc import Mapping
from typing import ClassVar, Final

from pydantic import Field, ValidationInfo, field_validator

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.model.signals import Ohlcv, Probabilities, Signal


BUY: Final = Probabilities(buy=0.7, sell=0.1, hold=0.2)
SELL: Final = Probabilities(buy=0.1, sell=0.7, hold=0.2)
HOLD: Final = Probabilities(buy=0.2, sell=0.2, hold=0.6)


class SampleParams(StrategyParams):
    """Parameters of `sample`."""

    indicator_value: float = Field(0.0, description="the value to compare")
    buy_threshold: float = Field(1.0, description="buys at or above this value")
    sell_threshold: float = Field(
        -1.0, validate_default=True, description="sells at or below this value"
    )

    @field_validator("sell_threshold")
    @classmethod
    def _ordered(cls, sell: float, info: ValidationInfo) -> float:
        buy = info.data.get("buy_threshold", math.inf)
        if sell >= buy:
            raise ValueError(f"{sell:g} must be below buy_threshold {buy:g}")
        return sell


class Sample(Strategy):
    """The same answer to every bar."""

    id: ClassVar[str] = "sample"
    summary: ClassVar[str] = "Template: a fixed number against two thresholds"
    Params: ClassVar[type[StrategyParams]] = SampleParams

    __slots__ = ("_signal", "_value")

    def __init__(self, params: SampleParams) -> None:
        super().__init__(params)
        self._value = value = params.indicator_value
        if value >= params.buy_threshold:
            said = BUY
        elif value <= params.sell_threshold:
            said = SELL
        else:
            said = HOLD
        self._signal = Signal(
            probabilities=said,
            position_size=params.position_size,
            indicators={"indicator_value": value},
        )

    @property
    def warmup(self) -> int:
        """Nothing."""
        return 0

    def on_ohlcv(self, bar: Ohlcv) -> Signal:  # noqa: ARG002 - a template looks at nothing
        """Take the next closed bar."""
        return self._signal

    def indicators(self) -> Mapping[str, float | None]:
        """Give the number."""
        return {"indicator_value": self._value}
