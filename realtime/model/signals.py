"""What strategies see and what they say.

Rules of this file: (1) prices and volumes of bars are floats, statistics never money: an order's price and amount
are made from the market's own decimals; (2) values are checked where they are made.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from realtime.model.errors import invalid


TOLERANCE: Final = 1e-6
"""How far from one a sum of probabilities may be."""


class Action(StrEnum):
    """What a strategy would do."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


class Ohlcv(NamedTuple):
    """One bar.

    Attributes:
        ts: Time at which it opens [ns UTC].
        open, high, low, close: Prices in the quote currency.
        volume: In the base currency.
    """

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Probabilities(NamedTuple):
    """Of the three actions; each in 0..1, together one."""

    buy: float
    sell: float
    hold: float

    @property
    def action(self) -> Action:
        """The likeliest; a tie is hold."""
        if self.buy > self.sell and self.buy > self.hold:
            return Action.BUY
        if self.sell > self.buy and self.sell > self.hold:
            return Action.SELL
        return Action.HOLD

    def of(self, action: Action) -> float:
        """Give the probability of one action."""
        return {Action.BUY: self.buy, Action.SELL: self.sell, Action.HOLD: self.hold}[action]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What one strategy says about one bar.

    Attributes:
        probabilities: Of the three actions; the action and its confidence follow from them.
        position_size: The strategy's own ceiling of notional by equity, 0..1.
        conviction: -1 (sell) to 1 (buy); 0 where the strategy makes its probabilities itself.
        indicators: What it looked at; None where a value is not there yet.
        reason: Why nothing is done, e.g. a filter; None where nothing is to be said.

    Raises:
        Refused: `invalid`, naming the field.
    """

    probabilities: Probabilities
    position_size: float = 1.0
    conviction: float = 0.0
    indicators: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None

    def __post_init__(self) -> None:
        for name, value in self.probabilities._asdict().items():
            if not 0 <= value <= 1:
                raise invalid(f"probability_{name}", f"{value} is not between 0 and 1")
        if not math.isclose(sum(self.probabilities), 1, rel_tol=0, abs_tol=TOLERANCE):
            raise invalid("probabilities", f"they sum to {sum(self.probabilities):g}, not to 1")
        if not 0 <= self.position_size <= 1:
            raise invalid("position_size", f"{self.position_size} is not between 0 and 1")
        if not -1 <= self.conviction <= 1:
            raise invalid("conviction", f"{self.conviction} is not between -1 and 1")

    @property
    def action(self) -> Action:
        """The likeliest action."""
        return self.probabilities.action

    @property
    def confidence(self) -> float:
        """Its probability."""
        return self.probabilities.of(self.action)
