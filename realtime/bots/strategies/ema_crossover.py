"""Buy when the fast mean of closes crosses above the slow one, sell when it crosses below."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import ATR_LENGTH, Atr, Direction, Ema, share
from realtime.model.signals import Ohlcv


class EmaCrossoverParams(StrategyParams):
    """Parameters of `ema_crossover`."""

    fast_period: int = Field(12, ge=1, le=50, description="length of the fast mean, bars")
    slow_period: int = Field(
        26, ge=1, le=100, validate_default=True, description="length of the slow mean, bars"
    )
    min_gap: float = Field(0.0, ge=0, description="least distance of the means, quote currency")
    direction: Direction = Field(Direction.BOTH, description="crossings that count")
    lookback: int = Field(3, ge=1, le=1000, description="bars for which a crossing counts")

    @field_validator("slow_period")
    @classmethod
    def _ordered(cls, slow: int, info: ValidationInfo) -> int:
        fast = info.data.get("fast_period", 0)
        if fast >= slow:
            raise ValueError(f"{slow} must be above fast_period {fast}")
        return slow


class EmaCrossover(Strategy):
    """Crossing of two exponential means; the conviction grows with their distance in ATR(14).

    Its arithmetic stands in one method, without calls: a backtest runs it a million times a second. The
    numbers are those of `Ema` and `Atr`, which also bring it through the first bars.
    """

    id: ClassVar[str] = "ema_crossover"
    summary: ClassVar[str] = "Fast and slow exponential mean cross"
    Params: ClassVar[type[StrategyParams]] = EmaCrossoverParams

    __slots__ = (
        "_alpha_fast",
        "_alpha_slow",
        "_atr",
        "_close",
        "_cold",
        "_down",
        "_fast",
        "_left",
        "_lookback",
        "_means",
        "_min_gap",
        "_side",
        "_sign",
        "_slow",
        "_up",
    )

    def __init__(self, params: EmaCrossoverParams) -> None:
        super().__init__(params)
        self._means = (Ema(params.fast_period), Ema(params.slow_period), Atr(ATR_LENGTH))
        self._alpha_fast = self._means[0].alpha
        self._alpha_slow = self._means[1].alpha
        self._lookback = params.lookback
        self._min_gap = params.min_gap
        self._up = 0.0 if params.direction is Direction.BEARISH else 1.0
        self._down = 0.0 if params.direction is Direction.BULLISH else -1.0
        self._cold = max(params.slow_period + 2, ATR_LENGTH + 1)
        self._fast = self._slow = self._atr = self._close = 0.0
        # On which side the fast mean is: 1, 0, -1; bars in which the last crossing still counts; its sign.
        self._side = 0
        self._left = 0
        self._sign = 0.0

    @property
    def warmup(self) -> int:
        """The slow mean and two bars, and what the true range needs."""
        params = self.params
        assert isinstance(params, EmaCrossoverParams)
        return max(params.slow_period + 2, ATR_LENGTH + 1)

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar; nothing is said before `warmup` bars."""
        if self._cold:
            return self._begin(bar)
        _, _, high, low, close, _ = bar
        before = self._close
        self._close = close
        fast = self._fast
        self._fast = fast = fast + self._alpha_fast * (close - fast)
        slow = self._slow
        self._slow = slow = slow + self._alpha_slow * (close - slow)
        self._atr = atr = (
            self._atr * (ATR_LENGTH - 1)
            + ((before if before > high else high) - (before if before < low else low))  # noqa: FURB136 - calls
        ) / ATR_LENGTH
        left = self._left
        if fast > slow:
            if self._side <= 0:
                self._side = 1
                self._sign = self._up
                left = self._lookback
            gap = fast - slow
        elif fast < slow:
            if self._side >= 0:
                self._side = -1
                self._sign = self._down
                left = self._lookback
            gap = slow - fast
        else:
            self._side = 0
            gap = 0.0
        if not left:
            return 0.0
        self._left = left - 1
        if gap < self._min_gap:
            return 0.0
        # As `share`: x/0 counts as 1 and 0/0 as 0.
        return self._sign * (0.25 + 0.75 * (gap / atr if gap < atr else 1.0 if gap else 0.0))

    def _begin(self, bar: Ohlcv) -> float:
        """Take one of the first bars, with the indicators themselves."""
        self._cold -= 1
        ema_fast, ema_slow, true_range = self._means
        self._fast = fast = ema_fast.update(bar.close)
        self._slow = slow = ema_slow.update(bar.close)
        self._atr = atr = true_range.update(bar.high, bar.low, bar.close) or 0.0
        self._close = bar.close
        side = (fast > slow) - (fast < slow)
        if side and side != self._side:
            self._sign = self._up if side > 0 else self._down
            self._left = self._lookback
        self._side = side
        counts, self._left = self._left > 0, max(self._left - 1, 0)
        gap = abs(fast - slow)
        if self._cold or not counts or gap < self._min_gap:
            return 0.0
        return self._sign * (0.25 + 0.75 * share(gap, atr))

    def indicators(self) -> Mapping[str, float | None]:
        """Give the means, their distance and the true range; None before they mean anything."""
        if self._cold:
            return {"ema_fast": None, "ema_slow": None, "gap": None, "atr": None}
        return {
            "ema_fast": self._fast,
            "ema_slow": self._slow,
            "gap": self._fast - self._slow,
            "atr": self._atr,
        }
