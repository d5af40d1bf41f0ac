"""Bars (OHLCV) and the last 24 hours, both folded from trades.

Rules of this file:
1 Bars are cut at multiples of the timeframe since 1970-01-01 UTC; weeks begin on Monday.
2 A closed bar never changes: a trade older than the forming bar is counted in `late` and nothing else.
3 No bar is invented for a time without trades.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from realtime.model.market import MONEY, SECOND, ZERO, Bar, Trade


MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

TIMEFRAMES: dict[str, int] = {
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "4h": 4 * HOUR,
    "6h": 6 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "1w": 7 * DAY,
}
"""Length of each timeframe [ns]."""

# 1970-01-01 was a Thursday.
_WEEK_SHIFT = 4 * DAY


def opening(ts: int, timeframe: str) -> int:
    """Opening time [ns] of the bar that `ts` [ns] falls into."""
    length = TIMEFRAMES[timeframe]
    shift = _WEEK_SHIFT if timeframe == "1w" else 0
    return (ts - shift) // length * length + shift


@dataclass(slots=True)
class Forming:
    """A bar that still changes; numbers as strings, the float is for comparing only."""

    ts: int
    open: str
    high: str
    low: str
    close: str
    volume: Decimal

    def bar(self) -> Bar:
        """What it is now."""
        return Bar(
            ts=self.ts,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=format(self.volume, "f"),
        )

    def merge(self, *, high: str, low: str, close: str, volume: Decimal) -> None:
        """Take in a later piece of the same bar."""
        if float(high) > float(self.high):
            self.high = high
        if float(low) < float(self.low):
            self.low = low
        self.close = close
        self.volume = MONEY.add(self.volume, volume)


class Bars:
    """The bars of one symbol and timeframe.

    Attributes:
        closed_through: Every bar that opens before this time [ns] is closed; 0 before the first trade.
        late: Trades that came for a closed bar.
    """

    __slots__ = ("_closed", "_forming", "closed_through", "late", "timeframe")

    def __init__(self, timeframe: str, history: Iterable[Bar] = (), *, keep: int = 1500) -> None:
        self.timeframe = timeframe
        self._closed: deque[Bar] = deque(history, maxlen=keep)
        self._forming: Forming | None = None
        self.closed_through = self._closed[-1].ts + TIMEFRAMES[timeframe] if self._closed else 0
        self.late = 0

    def add(self, trade: Trade) -> bool:
        """Take in a trade; True when this closed a bar."""
        return self.merge(
            Bar(
                ts=trade.ts,
                open=trade.price,
                high=trade.price,
                low=trade.price,
                close=trade.price,
                volume=trade.amount,
            )
        )

    def merge(self, piece: Bar) -> bool:
        """Take in a trade or a finer bar, in the order of time; True when this closed a bar."""
        start = opening(piece.ts, self.timeframe)
        if start < self.closed_through:
            self.late += 1
            return False
        closed = self.advance(start)
        if self._forming is None:
            self._forming = Forming(
                start, piece.open, piece.high, piece.low, piece.close, Decimal(piece.volume)
            )
        else:
            self._forming.merge(
                high=piece.high, low=piece.low, close=piece.close, volume=Decimal(piece.volume)
            )
        return closed

    def advance(self, ts: int) -> bool:
        """Let time pass to `ts` [ns] without a trade; True when this closed a bar."""
        start = opening(ts, self.timeframe)
        self.closed_through = max(self.closed_through, start)
        if self._forming is None or self._forming.ts >= start:
            return False
        self._closed.append(self._forming.bar())
        self._forming = None
        return True

    @property
    def forming(self) -> Bar | None:
        """The bar that still changes, None while nothing was traded in it."""
        return None if self._forming is None else self._forming.bar()

    @property
    def closed(self) -> Bar | None:
        """The newest closed bar."""
        return self._closed[-1] if self._closed else None

    def rows(self) -> tuple[Bar, ...]:
        """The last closed and the forming bar, as far as they exist."""
        return tuple(bar for bar in (self.closed, self.forming) if bar is not None)

    def history(self) -> Sequence[Bar]:
        """All closed bars that are kept, oldest first."""
        return tuple(self._closed)


def resample(bars: Iterable[Bar], timeframe: str) -> list[Bar]:
    """Fold finer bars, oldest first, into bars of `timeframe`; the last one may be incomplete."""
    fold = Bars(timeframe, keep=1_000_000)
    for bar in bars:
        fold.merge(bar)
    forming = fold.forming
    return [*fold.history(), *([forming] if forming else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The last 24 hours of a symbol; None where nothing was traded."""

    open: str | None
    high: str | None
    low: str | None
    last: str | None
    volume: Decimal
    quote_volume: Decimal

    @property
    def vwap(self) -> Decimal | None:
        """Volume-weighted average price [quote]."""
        return MONEY.divide(self.quote_volume, self.volume) if self.volume else None


@dataclass(slots=True)
class Minute:
    """What was traded in one minute."""

    ts: int
    open: str
    high: str
    low: str
    close: str
    volume: Decimal
    quote_volume: Decimal


class DayFold:
    """Trades of the last 24 hours, kept by the minute: the oldest minute leaves as a whole."""

    __slots__ = ("_high", "_low", "_minutes", "_quote_volume", "_volume")

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque()
        self._volume = ZERO
        self._quote_volume = ZERO
        # Extremes of all minutes; found anew when the minute that holds one leaves.
        self._high: str | None = None
        self._low: str | None = None

    def add(self, trade: Trade) -> None:
        """Take in a trade."""
        price = trade.price
        quote_volume = MONEY.multiply(Decimal(trade.amount), Decimal(price))
        piece = Bar(
            ts=trade.ts, open=price, high=price, low=price, close=price, volume=trade.amount
        )
        self.merge(piece, quote_volume)

    def merge(self, piece: Bar, quote_volume: Decimal) -> None:
        """Take in a trade or a short bar; a late one counts in the newest minute."""
        start = opening(piece.ts, "1m")
        volume = Decimal(piece.volume)
        newest = self._minutes[-1] if self._minutes else None
        if newest is None or newest.ts < start:
            self._minutes.append(
                Minute(start, piece.open, piece.high, piece.low, piece.close, volume, quote_volume)
            )
            self.drop(start)
        else:
            newest.high = max(newest.high, piece.high, key=float)
            newest.low = min(newest.low, piece.low, key=float)
            newest.close = piece.close
            newest.volume = MONEY.add(newest.volume, volume)
            newest.quote_volume = MONEY.add(newest.quote_volume, quote_volume)
        self._volume = MONEY.add(self._volume, volume)
        self._quote_volume = MONEY.add(self._quote_volume, quote_volume)
        self._high = max(self._high or piece.high, piece.high, key=float)
        self._low = min(self._low or piece.low, piece.low, key=float)

    def drop(self, now: int) -> None:
        """Forget minutes that opened 24 hours before `now` [ns] or earlier."""
        minutes, anew = self._minutes, False
        while minutes and minutes[0].ts <= now - DAY:
            old = minutes.popleft()
            self._volume = MONEY.subtract(self._volume, old.volume)
            self._quote_volume = MONEY.subtract(self._quote_volume, old.quote_volume)
            anew = anew or old.high == self._high or old.low == self._low
        if anew:
            self._high = max((minute.high for minute in minutes), key=float, default=None)
            self._low = min((minute.low for minute in minutes), key=float, default=None)

    def day(self) -> Day:
        """The figures now."""
        minutes = self._minutes
        return Day(
            open=minutes[0].open if minutes else None,
            high=self._high,
            low=self._low,
            last=minutes[-1].close if minutes else None,
            volume=self._volume,
            quote_volume=self._quote_volume,
        )
