"""The port of strategies: one object, the same in backtest, paper and live.

A strategy is told every closed bar once, in order, and answers with a conviction. It is plain synchronous code:
it has no clock, no network and no chance, so the same bars give the same answers wherever it runs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from realtime.bots.series import Row
from realtime.model.signals import Ohlcv, Probabilities, Signal


SHARPNESS: Final = 4.0
"""κ of the softmax (functional specification, 3.2)."""
DOUBT: Final = 0.25
"""θ: below half of it a conviction is a hold."""


class StrategyParams(BaseModel):
    """Parameters of a strategy; the fields' ranges make the form of the page.

    Every strategy has `position_size`, its own limit of notional, as a fraction of equity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    position_size: float = Field(
        default=1.0, ge=0, le=1, description="limit of notional, as a fraction of equity"
    )


class Strategy(ABC):
    """One strategy with its parameters and what it remembers of the bars so far.

    Class attributes:
        id: Its name on the wire.
        summary: One sentence for people.
        Params: Its parameters.
    """

    id: ClassVar[str]
    summary: ClassVar[str]
    Params: ClassVar[type[StrategyParams]] = StrategyParams

    def __init__(self, params: StrategyParams) -> None:
        self.params = params

    @property
    @abstractmethod
    def warmup(self) -> int:
        """Closed bars it needs before its answers mean anything."""

    @abstractmethod
    def on_ohlcv(self, bar: Ohlcv) -> float | Signal:
        """Take the next closed bar; give the conviction -1..1 (0: nothing), or a whole signal of its own."""

    def teller(self) -> Callable[[Row], float | Signal] | None:
        """Give what a backtest tells the rows of bars from now on, quicker than `on_ohlcv` and the same; None: nothing is."""
        return None

    def indicators(self) -> Mapping[str, float | None]:
        """Give what it looked at, for people; asked only when a signal is shown."""
        return {}


def probabilities(conviction: float) -> Probabilities:
    """Turn a conviction -1..1 into probabilities: softmax of (κs, -κs, κ(θ - |s|)).

    Raises:
        Refused: `invalid` where the conviction is not a number in that range (through `Signal`).
    """
    buy = math.exp(SHARPNESS * conviction)
    sell = math.exp(-SHARPNESS * conviction)
    hold = math.exp(SHARPNESS * (DOUBT - abs(conviction)))
    total = buy + sell + hold
    return Probabilities(buy / total, sell / total, hold / total)


def signal(strategy: Strategy, told: float | Signal) -> Signal:
    """Make the whole signal of what `on_ohlcv` gave.

    Raises:
        Refused: `invalid` where the conviction is not a number from -1 to 1.
    """
    if isinstance(told, Signal):
        return told
    conviction = told if -1 <= told <= 1 else math.nan
    return Signal(
        probabilities=probabilities(conviction),
        conviction=told,
        position_size=strategy.params.position_size,
        indicators=strategy.indicators(),
    )
