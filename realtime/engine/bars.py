"""Bars (OHLCV) and the last 24 hours, both folded from trades.

Rules of this file:
1 Bars are cut at multiples of the timeframe since 1970-01-01 UTC; weeks begin on Monday.
2 A closed bar never changes: a trade older than the forming bar is counted in `late` and nothing else.
3 No bar is invented for a time without trades.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal

from realtime.model.frozen import frozen
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


class Forming:
    """A bar that still changes; numbers as strings, floats are for comparing only."""

    __slots__ = ("_bottom", "_top", "close", "end", "high", "low", "open", "ts", "volume")

    def __init__(self, ts: int, end: int, piece: Bar) -> None:
        self.ts = ts
        self.end = end
        self.open, self.high, self.low, self.close = piece.open, piece.high, piece.low, piece.close
        self.volume = Decimal(piece.volume)
        self._top, self._bottom = float(piece.high), float(piece.low)

    def bar(self) -> Bar:
        """What it is now."""
        return Bar(self.ts, self.open, self.high, self.low, self.close, format(self.volume, "f"))

    def add(self, price: str, volume: Decimal) -> None:
        """Take in a later trade of the same bar."""
        number = float(price)
        if number > self._top:
            self._top, self.high = number, price
        elif number < self._bottom:
            self._bottom, self.low = number, price
        self.close = price
        self.volume = MONEY.add(self.volume, volume)

    def merge(self, piece: Bar) -> None:
        """Take in a later piece of the same bar."""
        volume = Decimal(piece.volume)
        self.add(piece.high, ZERO)
        self.add(piece.low, ZERO)
        self.add(piece.close, volume)


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
        forming = self._forming
        if forming is not None and forming.ts <= trade.ts < forming.end:
            forming.add(trade.price, Decimal(trade.amount))
            return False
        return self.merge(_piece(trade))

    def merge(self, piece: Bar) -> bool:
        """Take in a trade or a finer bar, in the order of time; True when this closed a bar."""
        start = opening(piece.ts, self.timeframe)
        if start < self.closed_through:
            self.late += 1
            return False
        closed = self.advance(start)
        if self._forming is None:
            self._forming = Forming(start, start + TIMEFRAMES[self.timeframe], piece)
        else:
            self._forming.merge(piece)
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


def _piece(trade: Trade) -> Bar:
    """A trade as the smallest bar."""
    price = trade.price
    return Bar(trade.ts, price, price, price, price, trade.amount)


def resample(bars: Iterable[Bar], timeframe: str) -> list[Bar]:
    """Fold finer bars, oldest first, into bars of `timeframe`; the last one may be incomplete."""
    fold = Bars(timeframe, keep=1_000_000)
    for bar in bars:
        fold.merge(bar)
    forming = fold.forming
    return [*fold.history(), *([forming] if forming else [])]


@frozen
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


class Minute(Forming):
    """What was traded in one minute."""

    __slots__ = ("quote_volume",)

    def __init__(self, ts: int, piece: Bar, quote_volume: Decimal) -> None:
        super().__init__(ts, ts + MINUTE, piece)
        self.quote_volume = quote_volume


class DayFold:
    """Trades of the last 24 hours, kept by the minute: the oldest minute leaves as a whole."""

    __slots__ = ("_extremes", "_minutes", "_quote_volume", "_volume")

    def __init__(self) -> None:
        self._minutes: deque[Minute] = deque()
        self._volume = ZERO
        self._quote_volume = ZERO
        # Highest and lowest price; later trades of the newest minute may pass them, see `day`.
        self._extremes: tuple[str, str] | None = None

    def add(self, trade: Trade) -> None:
        """Take in a trade; a late one counts in the newest minute."""
        price, volume = trade.price, Decimal(trade.amount)
        quote_volume = MONEY.multiply(volume, Decimal(price))
        if self._minutes and trade.ts < self._minutes[-1].end:
            newest = self._minutes[-1]
            newest.add(price, volume)
            newest.quote_volume = MONEY.add(newest.quote_volume, quote_volume)
            self._count(volume, quote_volume)
        else:
            self.merge(_piece(trade), quote_volume)

    def merge(self, piece: Bar, quote_volume: Decimal) -> None:
        """Take in a short bar; a late one counts in the newest minute."""
        minutes = self._minutes
        if minutes and piece.ts < minutes[-1].end:
            minutes[-1].merge(piece)
            minutes[-1].quote_volume = MONEY.add(minutes[-1].quote_volume, quote_volume)
        else:
            start = opening(piece.ts, "1m")
            minutes.append(Minute(start, piece, quote_volume))
            self._extremes = None
            self.drop(start)
        self._count(Decimal(piece.volume), quote_volume)

    def _count(self, volume: Decimal, quote_volume: Decimal) -> None:
        self._volume = MONEY.add(self._volume, volume)
        self._quote_volume = MONEY.add(self._quote_volume, quote_volume)

    def drop(self, now: int) -> None:
        """Forget minutes that opened 24 hours before `now` [ns] or earlier."""
        minutes = self._minutes
        while minutes and minutes[0].ts <= now - DAY:
            old = minutes.popleft()
            self._count(MONEY.minus(old.volume), MONEY.minus(old.quote_volume))
            self._extremes = None

    def day(self) -> Day:
        """The figures now."""
        minutes = self._minutes
        if not minutes:
            return Day(None, None, None, None, self._volume, self._quote_volume)
        newest = minutes[-1]
        if self._extremes is None:
            self._extremes = (
                max([minute.high for minute in minutes], key=float),
                min([minute.low for minute in minutes], key=float),
            )
        high, low = self._extremes
        return Day(
            minutes[0].open,
            max(high, newest.high, key=float),
            min(low, newest.low, key=float),
            newest.close,
            self._volume,
            self._quote_volume,
        )
