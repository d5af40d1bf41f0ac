"""The strategies of one bot in one symbol: told every closed bar once, asked after the newest one.

The same few lines run live and in the tests that compare them with a plain loop. A strategy is code of somebody: what
it raises, and what it says that is no signal, comes out as `StrategyFailed` with its name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from realtime.bots.strategies.filters import Filters
from realtime.bots.strategy import Strategy, signal
from realtime.desk.config.sections import Config
from realtime.engine.conditions import priced
from realtime.model.errors import Refused
from realtime.model.signals import Ohlcv, Signal


INDICATORS: Final = 256
"""Most that one signal may show."""


class StrategyFailed(Exception):
    """A strategy raised, or said what is no signal."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"strategy {name} {why}")
        self.name = name


def filters_of(config: Config) -> Filters:
    """Read the filters that are configured before all strategies."""
    base = config.strategy
    return Filters(
        trend=base.trend_filter,
        ema_length=base.ema_length,
        volume=base.volume_filter,
        volume_multiplier=base.volume_multiplier,
    )


def _checked(told: Signal) -> Signal:
    """Refuse what cannot be written down: else an order would be placed whose record is lost.

    Raises:
        TypeError: Indicators or reason are of no use to anybody.
    """
    indicators: Mapping[Any, Any] = told.indicators  # of somebody's code: anything
    if len(indicators) > INDICATORS:
        raise TypeError(f"{len(indicators)} indicators, at most {INDICATORS} are kept")
    for key, value in indicators.items():
        if not isinstance(key, str) or not isinstance(value, int | float | None):
            raise TypeError(f"indicator {key!r:.40} is {value!r:.40}, no number")
    if not isinstance(told.reason, str | None):
        raise TypeError(f"the reason {told.reason!r:.40} is no text")
    return told


class Mind:
    """Strategies in one symbol.

    Attributes:
        warmup: Bars needed before what they say means anything.
        seen: Bars told so far.
        last: The newest bar told; None before the first.
    """

    def __init__(self, strategies: Mapping[str, Strategy], *, keep: int) -> None:
        """Make it.

        Args:
            strategies: By name, fresh ones.
            keep: Bars kept for others to look at.
        """
        self._strategies = dict(strategies)
        self._told: dict[str, float | Signal] = {}
        self._keep = keep
        self._bars: list[Ohlcv] = []
        self.warmup = max((one.warmup for one in strategies.values()), default=0)
        self.seen = 0

    @property
    def last(self) -> Ohlcv | None:
        """The newest bar told."""
        return self._bars[-1] if self._bars else None

    @property
    def bars(self) -> Sequence[Ohlcv]:
        """The newest bars, oldest first."""
        return self._bars

    def feed(self, bar: Ohlcv) -> None:
        """Tell the next closed bar; one that is not newer than the last is left out.

        A bar without a price is kept for the checks of the market, which then hold back what would be decided,
        and not told: strategies divide by prices.

        Raises:
            StrategyFailed: One of them raised.
        """
        last = self.last
        if last is not None and bar.ts <= last.ts:
            return
        if priced(bar):
            self._tell(bar)
            self.seen += 1
        self._bars.append(bar)
        if len(self._bars) > 2 * self._keep:
            del self._bars[: -self._keep]

    def _tell(self, bar: Ohlcv) -> None:
        for name, strategy in self._strategies.items():
            try:
                self._told[name] = strategy.on_ohlcv(bar)
            except (Exception, SystemExit) as error:
                raise StrategyFailed(name, f"raised {type(error).__name__}: {error}") from error

    def signals(self) -> dict[str, Signal]:
        """Give what each strategy says after the newest bar; empty before the first.

        Raises:
            StrategyFailed: One of them said what is no signal.
        """
        found: dict[str, Signal] = {}
        for name, told in self._told.items():
            try:
                found[name] = _checked(signal(self._strategies[name], told))
            except Refused as refused:
                raise StrategyFailed(name, f"said what is no signal: {refused.message}") from None
            except Exception as error:
                raise StrategyFailed(
                    name, f"said {told!r:.40}: {type(error).__name__}: {error}"
                ) from error
        return found
