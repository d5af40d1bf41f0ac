"""Trade the return of the price into a fair value gap."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from realtime.bots.strategy import Strategy, StrategyParams
from realtime.engine.indicators import ATR_LENGTH, Direction, FairValueGaps, Zone, share
from realtime.model.signals import Ohlcv


class FvgParams(StrategyParams):
    """Parameters of `fvg`."""

    min_gap_size: float = Field(0.0, ge=0, description="minimum height of a gap, quote currency")
    min_gap_atr: float = Field(0.0, ge=0, le=100, description="minimum height of a gap, in ATR(14)")
    direction: Direction = Field(Direction.BOTH, description="gaps that count")
    lookback: int = Field(3, ge=1, le=10, description="bars for which a gap counts")
    position_size: float = Field(
        default=0.1, ge=0, le=1, description="limit of notional, as a fraction of equity"
    )


class Fvg(Strategy):
    """Close inside a young gap that is not filled; the newest wins, and the conviction fades with its age."""

    id: ClassVar[str] = "fvg"
    summary: ClassVar[str] = "Price comes back into a fair value gap"
    Params: ClassVar[type[StrategyParams]] = FvgParams

    __slots__ = ("_gaps", "_lookback", "_zone")

    def __init__(self, params: FvgParams) -> None:
        super().__init__(params)
        self._lookback = params.lookback
        # A bar confirms one gap at most: these are all that can be young enough.
        self._gaps = FairValueGaps(
            params.min_gap_size, params.min_gap_atr, params.direction, most=params.lookback + 1
        )
        self._zone: Zone | None = None

    @property
    def warmup(self) -> int:
        """What the true range needs."""
        return ATR_LENGTH + 1

    def on_ohlcv(self, bar: Ohlcv) -> float:
        """Take the next closed bar."""
        gaps, close = self._gaps, bar.close
        gaps.update(bar)
        self._zone = None
        if gaps.atr is None:
            return 0.0
        for zone in reversed(gaps.zones):
            age = gaps.age(zone)
            if age > self._lookback:
                break
            if zone.filled_ts is None and zone.gap_low <= close <= zone.gap_high:
                self._zone = zone
                strength = 0.25 + 0.75 * share(zone.size, gaps.atr)
                faded = strength * (1.0 - age / self._lookback / 2)
                return faded if zone.direction is Direction.BULLISH else -faded
        return 0.0

    def indicators(self) -> Mapping[str, float | None]:
        """Give the gap that the last bar closed in, if any, and the true range."""
        zone, gaps = self._zone, self._gaps
        return {
            "gap_low": None if zone is None else zone.gap_low,
            "gap_high": None if zone is None else zone.gap_high,
            "gap_age": None if zone is None else float(gaps.age(zone)),
            "filled_fraction": None if zone is None else zone.filled_fraction,
            "atr": gaps.atr,
        }
