"""Indicators: incremental, the same numbers live and in a backtest (functional specification, 3.1).

Rules of this file:
1 `update` takes the next closed bar or number once, in order; its cost does not grow with what came before
  (of fair value gaps: with those still open, and they are bounded).
2 None is "not defined yet"; it is never 0, and a number once defined stays defined.
3 Floats only: these are statistics, never money.
4 Sliding sums are made anew once a window, so that what a long run of additions loses never adds up.
5 In quotients x/0 counts as 1 and 0/0 as 0, where a figure says so.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from realtime.model.errors import invalid
from realtime.model.signals import Ohlcv


MOST_ZONES: Final = 1_500
"""Fair value gaps that one indicator remembers; beyond it the oldest is forgotten."""
ATR_LENGTH: Final = 14
"""Length of the average true range that zones and convictions are measured by."""

LOST: Final = 1e-8
"""A variance this small beside the squares that it was made of has lost half its digits."""


def share(part: float, whole: float) -> float:
    """Divide as convictions do: part of whole, at most 1; x/0 counts as 1 and 0/0 as 0."""
    if whole > 0:
        return min(1.0, part / whole)
    return 1.0 if part > 0 else 0.0


class Sma:
    """Mean of the last `length` numbers.

    Raises:
        Refused: `invalid`, a length below 1.
    """

    __slots__ = ("_at", "_ring", "_total", "length", "value")

    def __init__(self, length: int) -> None:
        self.length = _length(length, 1)
        self._ring: list[float] = []
        self._total = 0.0
        self._at = 0
        self.value: float | None = None

    def update(self, x: float) -> float | None:
        """Take the next number; None before there are `length`."""
        ring, length = self._ring, self.length
        if len(ring) < length:
            ring.append(x)
            self._total += x
            if len(ring) < length:
                return None
        else:
            at = self._at
            self._total += x - ring[at]
            ring[at] = x
            self._at = at = at + 1
            if at == length:
                self._at = 0
                self._total = math.fsum(ring)
        self.value = self._total / length
        return self.value


class Stdev:
    """Sample standard deviation of the last `length` numbers.

    Raises:
        Refused: `invalid`, a length below 2.
    """

    __slots__ = (
        "_at",
        "_last",
        "_most",
        "_one",
        "_pivot",
        "_ring",
        "_run",
        "_two",
        "length",
        "value",
    )

    def __init__(self, length: int) -> None:
        self.length = _length(length, 2)
        self._ring: list[float] = []
        self._at = 0
        # Sums of (x - pivot) and of its square: near the mean, so that squares do not swallow differences.
        self._pivot = self._one = self._two = 0.0
        # The largest square among them since they were made anew: it tells what they may have lost.
        self._most = 0.0
        # How many numbers in a row were the same: a window of equals deviates by exactly nothing.
        self._run = 0
        self._last = math.nan
        self.value: float | None = None

    def update(self, x: float) -> float | None:
        """Take the next number; None before there are `length`."""
        ring, length = self._ring, self.length
        self._run = self._run + 1 if x == self._last else 1
        self._last = x
        if len(ring) < length:
            ring.append(x)
            if len(ring) < length:
                return None
            self._renew()
        else:
            at = self._at
            new, old = x - self._pivot, ring[at] - self._pivot
            ring[at] = x
            self._one += new - old
            square = new * new
            self._two += square - old * old
            self._most = max(self._most, square)
            self._at = at = at + 1
            if at == length:
                self._at = 0
                self._renew()
        if self._run >= length:
            self.value = 0.0
            return 0.0
        spread = self._two - self._one * self._one / length
        if spread < LOST * self._most:
            self._renew()
            spread = self._two - self._one * self._one / length
        self.value = math.sqrt(max(spread, 0.0) / (length - 1))
        return self.value

    def _renew(self) -> None:
        self._pivot = pivot = math.fsum(self._ring) / self.length
        self._one = math.fsum(x - pivot for x in self._ring)
        squares = [(x - pivot) ** 2 for x in self._ring]
        self._two = math.fsum(squares)
        self._most = max(squares)


class Ema:
    """Exponential mean: alpha = 2/(length + 1), starts at the first number.

    Raises:
        Refused: `invalid`, a length below 1.
    """

    __slots__ = ("alpha", "length", "value")

    def __init__(self, length: int) -> None:
        self.length = _length(length, 1)
        self.alpha = 2.0 / (length + 1)
        self.value: float | None = None

    def update(self, x: float) -> float:
        """Take the next number; it is defined from the first."""
        value = self.value
        self.value = value = x if value is None else value + self.alpha * (x - value)
        return value


class Rsi:
    """Relative strength, 0..100, of closes; Wilder's smoothing.

    The first averages are the means of the first `length` changes. No loss is 100, neither gain nor loss 50.

    Raises:
        Refused: `invalid`, a length below 1.

    Source: Wilder (1978).
    """

    __slots__ = ("_close", "_count", "_gain", "_loss", "length", "value")

    def __init__(self, length: int = 14) -> None:
        self.length = _length(length, 1)
        self._close: float | None = None
        self._count = 0
        self._gain = self._loss = 0.0
        self.value: float | None = None

    def update(self, close: float) -> float | None:
        """Take the next close; None for the first `length`."""
        before, self._close = self._close, close
        if before is None:
            return None
        change, length = close - before, self.length
        gain, loss = (change, 0.0) if change > 0 else (0.0, -change)
        if self._count < length:
            self._count += 1
            self._gain += gain
            self._loss += loss
            if self._count < length:
                return None
            self._gain /= length
            self._loss /= length
        else:
            self._gain = (self._gain * (length - 1) + gain) / length
            self._loss = (self._loss * (length - 1) + loss) / length
        both = self._gain + self._loss
        self.value = 50.0 if both == 0 else 100.0 * self._gain / both
        return self.value


class MacdPoint(NamedTuple):
    """One point of MACD: the line, its signal, and line minus signal."""

    macd: float
    signal: float
    histogram: float


class Macd:
    """EMA(fast) minus EMA(slow) of closes, its EMA(signal), and their difference.

    Raises:
        Refused: `invalid`, a length below 1, or fast not below slow.

    Source: Appel (1979).
    """

    __slots__ = ("_fast", "_signal", "_slow", "value")

    def __init__(self, fast: int = 12, slow: int = 26, signal: int = 9) -> None:
        if fast >= slow:
            raise invalid("fast", f"{fast} must be below slow {slow}")
        self._fast = Ema(fast)
        self._slow = Ema(slow)
        self._signal = Ema(signal)
        self.value: MacdPoint | None = None

    def update(self, close: float) -> MacdPoint:
        """Take the next close; it is defined from the first."""
        line = self._fast.update(close) - self._slow.update(close)
        signal = self._signal.update(line)
        self.value = MacdPoint(line, signal, line - signal)
        return self.value


class Atr:
    """Average true range; the first true range is at the second bar, the first average the mean of `length`.

    Raises:
        Refused: `invalid`, a length below 1.

    Source: Wilder (1978).
    """

    __slots__ = ("_close", "_count", "_total", "length", "value")

    def __init__(self, length: int = ATR_LENGTH) -> None:
        self.length = _length(length, 1)
        self._close: float | None = None
        self._count = 0
        self._total = 0.0
        self.value: float | None = None

    def update(self, high: float, low: float, close: float) -> float | None:
        """Take the next bar; None for the first `length`."""
        before, self._close = self._close, close
        if before is None:
            return None
        true_range = max(high, before) - min(low, before)
        value, length = self.value, self.length
        if value is not None:
            self.value = (value * (length - 1) + true_range) / length
        else:
            self._count += 1
            self._total += true_range
            if self._count == length:
                self.value = self._total / length
        return self.value


class Change:
    """Return over `length` closes, a fraction: close / close `length` bars ago - 1.

    Raises:
        Refused: `invalid`, a length below 1.
    """

    __slots__ = ("_closes", "length", "value")

    def __init__(self, length: int = 1) -> None:
        self.length = _length(length, 1)
        self._closes: deque[float] = deque(maxlen=length + 1)
        self.value: float | None = None

    def update(self, close: float) -> float | None:
        """Take the next close, above 0; None for the first `length`."""
        closes = self._closes
        closes.append(close)
        if len(closes) > self.length:
            self.value = close / closes[0] - 1.0
        return self.value


class Volatility:
    """Sample deviation of the last `length` close-to-close returns.

    Raises:
        Refused: `invalid`, a length below 2.
    """

    __slots__ = ("_close", "_stdev", "length")

    def __init__(self, length: int = 20) -> None:
        self.length = _length(length, 2)
        self._stdev = Stdev(length)
        self._close: float | None = None

    @property
    def value(self) -> float | None:
        """The newest figure."""
        return self._stdev.value

    def update(self, close: float) -> float | None:
        """Take the next close, above 0; None for the first `length`."""
        before, self._close = self._close, close
        return None if before is None else self._stdev.update(close / before - 1.0)


class VolumeRatio:
    """Volume of a bar by the mean of the last `length`, its own among them; 0/0 is 0.

    Raises:
        Refused: `invalid`, a length below 1.
    """

    __slots__ = ("_mean", "length", "value")

    def __init__(self, length: int = 20) -> None:
        self.length = _length(length, 1)
        self._mean = Sma(length)
        self.value: float | None = None

    def update(self, volume: float) -> float | None:
        """Take the next bar's volume; None before there are `length`."""
        mean = self._mean.update(volume)
        if mean is not None:
            self.value = volume / mean if mean > 0 else 0.0
        return self.value


class Channel(NamedTuple):
    """Highest high, middle and lowest low of a window."""

    upper: float
    middle: float
    lower: float


class Donchian:
    """Highest high and lowest low of the last `length` bars, the newest among them.

    Raises:
        Refused: `invalid`, a length below 1.

    Source: Donchian (1960).
    """

    __slots__ = ("_count", "_highs", "_lows", "length", "value")

    def __init__(self, length: int = 20) -> None:
        self.length = _length(length, 1)
        self._count = 0
        # Place and number; only those that no later one surpasses, so the first is the extreme.
        self._highs: deque[tuple[int, float]] = deque()
        self._lows: deque[tuple[int, float]] = deque()
        self.value: Channel | None = None

    def update(self, high: float, low: float) -> Channel | None:
        """Take the next bar; None before there are `length`."""
        count, highs, lows = self._count, self._highs, self._lows
        while highs and highs[-1][1] <= high:
            highs.pop()
        highs.append((count, high))
        while lows and lows[-1][1] >= low:
            lows.pop()
        lows.append((count, low))
        self._count = count = count + 1
        out = count - self.length
        if highs[0][0] < out:
            highs.popleft()
        if lows[0][0] < out:
            lows.popleft()
        if out >= 0:
            upper, lower = highs[0][1], lows[0][1]
            self.value = Channel(upper, (upper + lower) / 2, lower)
        return self.value


# --- fair value gaps ------------------------------------------------------------------------------


class Direction(StrEnum):
    """Which way: of a gap, or those that are looked for."""

    BOTH = "both"
    BULLISH = "bullish"
    BEARISH = "bearish"


class ZoneStatus(StrEnum):
    """How much of a gap was traded since."""

    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"


@dataclass(slots=True, kw_only=True)
class Zone:
    """One fair value gap: between the bars around bar `index` nothing was traded twice.

    Changed by `FairValueGaps` alone, as later bars trade into it.

    Attributes:
        index: Place of the middle bar, counted from the first bar told.
        gap_low, gap_high: Its bounds.
        start_ts: Opening of the middle bar [ns].
        confirmed_ts: Close of the bar after it [ns].
        reached: How far later bars traded into it: the lowest low (bullish) or the highest high; starts
            at the bound where nothing is filled.
        filled_ts: Close of the bar that filled it [ns].
    """

    index: int
    direction: Direction
    gap_low: float
    gap_high: float
    start_ts: int
    confirmed_ts: int
    reached: float
    filled_ts: int | None = None

    @property
    def size(self) -> float:
        """Height in quote currency."""
        return self.gap_high - self.gap_low

    @property
    def mid(self) -> float:
        """Its middle."""
        return (self.gap_high + self.gap_low) / 2

    @property
    def size_fraction(self) -> float:
        """Height by middle."""
        return self.size / self.mid

    @property
    def filled_fraction(self) -> float:
        """How much of it was traded since, 0..1."""
        bullish = self.direction is Direction.BULLISH
        depth = self.gap_high - self.reached if bullish else self.reached - self.gap_low
        return min(max(depth / self.size, 0.0), 1.0)

    @property
    def status(self) -> ZoneStatus:
        """What that means."""
        if self.filled_ts is not None:
            return ZoneStatus.FILLED
        return ZoneStatus.PARTIALLY_FILLED if self.filled_fraction > 0 else ZoneStatus.OPEN


class FairValueGaps:
    """Gaps between a bar's predecessor and its successor, and how later bars fill them.

    Attributes:
        zones: All of them, oldest first, at most `most`.
        atr: ATR(14) of the bars so far; None before there is one. While it is, `min_gap_atr` above 0
            keeps nothing.

    Raises:
        Refused: `invalid`, a number below 0.
    """

    __slots__ = (
        "_atr",
        "_before",
        "_count",
        "_direction",
        "_length",
        "_live",
        "_middle",
        "_min_atr",
        "_min_size",
        "zones",
    )

    def __init__(
        self,
        min_gap_size: float = 0.0,
        min_gap_atr: float = 0.0,
        direction: Direction = Direction.BOTH,
        *,
        length: int = 0,
        most: int = MOST_ZONES,
    ) -> None:
        """Begin.

        Args:
            min_gap_size: Least height [quote].
            min_gap_atr: Least height by ATR(14) at the bar that confirms it.
            direction: Which are looked for.
            length: Of a bar [ns], so that closes can be told; 0 tells openings.
            most: Zones kept.
        """
        for name, value in (("min_gap_size", min_gap_size), ("min_gap_atr", min_gap_atr)):
            if not value >= 0:
                raise invalid(name, f"{value} must not be below 0")
        self._min_size = min_gap_size
        self._min_atr = min_gap_atr
        self._direction = direction
        self._length = length
        self._count = 0
        self._before: Ohlcv | None = None
        self._middle: Ohlcv | None = None
        self._atr = Atr(ATR_LENGTH)
        self.zones: deque[Zone] = deque(maxlen=most)
        # Those that can still be filled further, oldest first.
        self._live: deque[Zone] = deque(maxlen=most)

    @property
    def atr(self) -> float | None:
        """ATR(14) now."""
        return self._atr.value

    def age(self, zone: Zone) -> int:
        """Bars since a gap was confirmed: 0 at the bar that did."""
        return self._count - zone.index - 2

    def update(self, bar: Ohlcv) -> Zone | None:
        """Take the next bar; give the gap that it confirms, if there is one."""
        atr = self._atr.update(bar.high, bar.low, bar.close)
        if self._live:
            self._fill(bar)
        before, middle = self._before, self._middle
        self._before, self._middle = middle, bar
        self._count += 1
        if before is None or middle is None:
            return None
        zone = self._zone(before, middle, bar)
        if zone is None or not self._wanted(zone, atr):
            return None
        self.zones.append(zone)
        self._live.append(zone)
        return zone

    def _fill(self, bar: Ohlcv) -> None:
        filled = False
        for zone in self._live:
            if zone.direction is Direction.BULLISH:
                zone.reached = min(zone.reached, bar.low)
                full = zone.reached <= zone.gap_low
            else:
                zone.reached = max(zone.reached, bar.high)
                full = zone.reached >= zone.gap_high
            if full:
                zone.filled_ts = bar.ts + self._length
                filled = True
        if filled:
            rest = [zone for zone in self._live if zone.filled_ts is None]
            self._live = deque(rest, maxlen=self._live.maxlen)

    def _zone(self, before: Ohlcv, middle: Ohlcv, bar: Ohlcv) -> Zone | None:
        if before.high < bar.low:
            direction, low, high, reached = Direction.BULLISH, before.high, bar.low, bar.low
        elif before.low > bar.high:
            direction, low, high, reached = Direction.BEARISH, bar.high, before.low, bar.high
        else:
            return None
        return Zone(
            index=self._count - 2,
            direction=direction,
            gap_low=low,
            gap_high=high,
            start_ts=middle.ts,
            confirmed_ts=bar.ts + self._length,
            reached=reached,
        )

    def _wanted(self, zone: Zone, atr: float | None) -> bool:
        if self._direction not in {Direction.BOTH, zone.direction} or zone.size < self._min_size:
            return False
        return self._min_atr == 0 or (atr is not None and zone.size >= self._min_atr * atr)


def _length(length: int, least: int) -> int:
    if length < least:
        raise invalid("length", f"{length} must be at least {least}")
    return length
