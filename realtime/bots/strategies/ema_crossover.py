"""Buy when the fast mean of closes crosses above the slow one, sell when it crosses below."""

from collections.abc import Callable, Generator, Mapping
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from realtime.bots.series import Row
from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import ATR_LENGTH, Atr, Direction, Ema, share
from realtime.model.signals import Ohlcv


class EmaCrossoverParams(StrategyParams):
    """Parameters of `ema_crossover`."""

    fast_period: int = Field(12, ge=1, le=50, description="length of the fast average, bars")
    slow_period: int = Field(
        26, ge=1, le=100, validate_default=True, description="length of the slow average, bars"
    )
    min_gap: float = Field(
        0.0, ge=0, description="minimum distance of the averages, quote currency"
    )
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

    Its arithmetic stands in one generator, without calls, its numbers in local variables: a backtest runs it a
    million times a second. They are those of `Ema` and `Atr`, which also bring it through the first bars.
    """

    id: ClassVar[str] = "ema_crossover"
    summary: ClassVar[str] = "Fast and slow exponential mean cross"
    Params: ClassVar[type[StrategyParams]] = EmaCrossoverParams

    __slots__ = (
        "_atr",
        "_close",
        "_cold",
        "_fast",
        "_left",
        "_means",
        "_side",
        "_sign",
        "_slow",
        "_tell",
    )

    params: EmaCrossoverParams

    def __init__(self, params: EmaCrossoverParams) -> None:
        super().__init__(params)
        self._means = (Ema(params.fast_period), Ema(params.slow_period), Atr(ATR_LENGTH))
        self._cold = max(params.slow_period + 2, ATR_LENGTH + 1)
        self._fast = self._slow = self._atr = self._close = 0.0
        # On which side the fast mean is: 1, 0, -1; bars in which the last crossing still counts; its sign.
        self._side = 0
        self._left = 0
        self._sign = 0.0
        course = self._course()
        next(course)
        self._tell = course.send

    @property
    def warmup(self) -> int:
        """The slow mean and two bars, and what the true range needs."""
        return max(self.params.slow_period + 2, ATR_LENGTH + 1)

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar; nothing is said before `warmup` bars."""
        return self._tell(bar)

    def teller(self) -> Callable[[Row], float] | None:
        """Give the generator itself, but not of a class made of this one that answers in its own way."""
        return self._tell if type(self).on_ohlcv is EmaCrossover.on_ohlcv else None

    def _course(self) -> Generator[float, Row, None]:
        """Answer bars without end; what `indicators` shows is kept in the strategy as well."""
        params = self.params
        up = 0.0 if params.direction is Direction.BEARISH else 1.0
        down = 0.0 if params.direction is Direction.BULLISH else -1.0
        lookback, min_gap = params.lookback, params.min_gap
        alpha_fast, alpha_slow = self._means[0].alpha, self._means[1].alpha
        told = 0.0
        while self._cold:
            bar = yield told
            told = self._begin(bar, up, down)
        fast, slow, atr, before = self._fast, self._slow, self._atr, self._close
        side, left, sign = self._side, self._left, self._sign
        while True:
            _, _, high, low, close, _ = yield told
            self._fast = fast = fast + alpha_fast * (close - fast)
            self._slow = slow = slow + alpha_slow * (close - slow)
            self._atr = atr = (
                atr * (ATR_LENGTH - 1)
                + ((before if before > high else high) - (before if before < low else low))  # noqa: FURB136 - calls
            ) / ATR_LENGTH
            before = close
            if fast > slow:
                if side <= 0:
                    side, sign, left = 1, up, lookback
                gap = fast - slow
            elif fast < slow:
                if side >= 0:
                    side, sign, left = -1, down, lookback
                gap = slow - fast
            else:
                side = 0
                gap = 0.0
            told = 0.0
            if left:
                left -= 1
                if gap >= min_gap:
                    # As `share`: x/0 counts as 1 and 0/0 as 0.
                    told = sign * (0.25 + 0.75 * (gap / atr if gap < atr else 1.0 if gap else 0.0))

    def _begin(self, bar: Row, up: float, down: float) -> float:
        """Take one of the first bars, with the indicators themselves."""
        self._cold -= 1
        _, _, high, low, close, _ = bar
        ema_fast, ema_slow, true_range = self._means
        self._fast = fast = ema_fast.update(close)
        self._slow = slow = ema_slow.update(close)
        self._atr = atr = true_range.update(high, low, close) or 0.0
        self._close = close
        side = (fast > slow) - (fast < slow)
        if side and side != self._side:
            self._sign = up if side > 0 else down
            self._left = self.params.lookback
        self._side = side
        counts, self._left = self._left > 0, max(self._left - 1, 0)
        gap = abs(fast - slow)
        if self._cold or not counts or gap < self.params.min_gap:
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
