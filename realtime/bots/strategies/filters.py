"""Filters before a strategy: its buys and sells pass only with the trend, or only with volume."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from realtime.bots.strategy import Strategy, signal
from realtime.engine.indicators import Ema, VolumeRatio
from realtime.model.signals import Action, Ohlcv, Signal


VOLUME_LENGTH = 20
"""Bars whose mean volume a bar is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which filters are on (configuration, section `strategy`).

    Attributes:
        trend: Buys only at or above EMA(`ema_length`), sells only at or below.
        volume: Only where a bar's volume is at least `volume_multiplier` times its 20-bar mean.
    """

    trend: bool = False
    ema_length: int = 20
    volume: bool = False
    volume_multiplier: float = 1.5


class Filtered(Strategy):
    """A strategy behind filters: under its id, with its parameters.

    What they hold back becomes a conviction of 0, and the signal says why. An undefined mean holds everything
    back, because then nobody knows.
    """

    __slots__ = ("_ema", "_filters", "_strategy", "_volume")

    def __init__(self, strategy: Strategy, filters: Filters) -> None:
        super().__init__(strategy.params)
        self._strategy = strategy
        self._filters = filters
        self._ema = Ema(filters.ema_length) if filters.trend else None
        self._volume = VolumeRatio(VOLUME_LENGTH) if filters.volume else None

    @property
    def id(self) -> str:  # type: ignore[override]  # that of the one behind it
        """Its name on the wire."""
        return self._strategy.id

    @property
    def summary(self) -> str:  # type: ignore[override]  # that of the one behind it
        """One sentence for people."""
        return self._strategy.summary

    @property
    def warmup(self) -> int:
        """Of the strategy and of what the filters look at."""
        return max(
            self._strategy.warmup,
            0 if self._ema is None else self._ema.length,
            0 if self._volume is None else self._volume.length,
        )

    def on_ohlcv(self, bar: Ohlcv) -> float | Signal:
        """Take the next closed bar."""
        told = self._strategy.on_ohlcv(bar)
        ema = None if self._ema is None else self._ema.update(bar.close)
        ratio = None if self._volume is None else self._volume.update(bar.volume)
        if not isinstance(told, Signal) and told == 0:
            return told
        said = signal(self._strategy, told)
        why = self._why(said.action, bar.close, ema, ratio)
        if why is None:
            return told
        held = signal(self, 0.0)
        return replace(held, position_size=said.position_size, reason=why)

    def _why(
        self, action: Action, close: float, ema: float | None, ratio: float | None
    ) -> str | None:
        """Tell what holds an action back."""
        if action is Action.HOLD:
            return None
        if ema is not None and (close < ema if action is Action.BUY else close > ema):
            side = "below" if action is Action.BUY else "above"
            return (
                f"trend_filter: close {close:g} is {side} EMA({self._filters.ema_length}) {ema:g}"
            )
        if self._volume is not None:
            least = self._filters.volume_multiplier
            if ratio is None:
                return f"volume_filter: fewer than {VOLUME_LENGTH} bars"
            if ratio < least:
                return f"volume_filter: volume is {ratio:.3g} of its mean, below {least:g}"
        return None

    def indicators(self) -> Mapping[str, float | None]:
        """Give what the strategy and the filters looked at."""
        found = dict(self._strategy.indicators())
        if self._ema is not None:
            found["trend_ema"] = self._ema.value
        if self._volume is not None:
            found["volume_ratio"] = self._volume.value
        return found
