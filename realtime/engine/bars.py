"""Bars (OHLCV) and the last 24 hours, both folded from trades.

Rules of this file:
1 Bars are cut at multiples of the timeframe since 1970-01-01 UTC; weeks begin on Monday.
2 A closed bar never changes: a trade older than the forming bar is counted in `late` and nothing else.
3 No bar is invented for a time without trades.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import attrgetter

from realtime.engine.market import plain
from realtime.model.market import MONEY, SECOND, ZERO, Bar, Daily, Market, Trade


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

    __slots__ = ("bottom", "close", "end", "high", "low", "open", "top", "ts", "volume")

    def __init__(self, ts: int, end: int, piece: Bar) -> None:
        self.ts = ts
        self.end = end
        self.open, self.high, self.low, self.close = piece.open, piece.high, piece.low, piece.close
        self.volume = Decimal(piece.volume)
        self.top, self.bottom = float(piece.high), float(piece.low)

    def bar(self) -> Bar:
        """What it is now."""
        return Bar(self.ts, self.open, self.high, self.low, self.close, format(self.volume, "f"))

    def add(self, price: str, volume: Decimal) -> None:
        """Take in a later trade of the same bar."""
        if price != self.close:
            number = float(price)
            if number > self.top:
                self.top, self.high = number, price
            elif number < self.bottom:
                self.bottom, self.low = number, price
            self.close = price
        self.volume = MONEY.add(self.volume, volume)

    def merge(self, piece: Bar) -> None:
        """Take in a later piece of the same bar."""
        volume = Decimal(piece.volume)
        self.add(piece.high, ZERO)
        self.add(piece.low, ZERO)
        self.add(piece.close, volume)

    def spread(self, pieces: Sequence["Forming"]) -> None:
        """Find the extremes anew: of these pieces, and no others."""
        highest = max(pieces, key=attrgetter("top"))
        lowest = min(pieces, key=attrgetter("bottom"))
        self.top, self.high = highest.top, highest.high
        self.bottom, self.low = lowest.bottom, lowest.low


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


class Minute(Forming):
    """What was traded in one minute."""

    __slots__ = ("quote_volume",)

    def __init__(self, ts: int, piece: Bar, quote_volume: Decimal) -> None:
        super().__init__(ts, ts + MINUTE, piece)
        self.quote_volume = quote_volume


class DayFold:
    """Trades of a market's last 24 hours, kept by the minute: the oldest minute leaves as a whole."""

    __slots__ = ("_before", "_market", "_minutes", "_newest", "_quote_volume")

    def __init__(self, market: Market) -> None:
        self._market = market
        self._newest: Minute | None = None
        # All minutes before the newest, one by one and as one bar.
        self._minutes: deque[Minute] = deque()
        self._before: Forming | None = None
        self._quote_volume = ZERO

    def add(self, trade: Trade) -> None:
        """Take in a trade; a late one counts in the newest minute."""
        price, volume, newest = trade.price, Decimal(trade.amount), self._newest
        quote_volume = MONEY.multiply(volume, self._market.quoted(Decimal(price)))
        if newest is not None and trade.ts < newest.end:
            newest.add(price, volume)
            newest.quote_volume = MONEY.add(newest.quote_volume, quote_volume)
        else:
            self.merge(_piece(trade), quote_volume)

    def merge(self, piece: Bar, quote_volume: Decimal) -> None:
        """Take in a trade or a short bar that begins a minute, in the order of time."""
        self._settle()
        start = opening(piece.ts, "1m")
        self.drop(start)
        self._newest = Minute(start, piece, quote_volume)

    def _settle(self) -> None:
        """Let the newest minute be one of those before."""
        newest, self._newest = self._newest, None
        if newest is not None:
            self._minutes.append(newest)
            bar = newest.bar()
            if self._before is None:
                self._before = Forming(bar.ts, bar.ts + DAY, bar)
            else:
                self._before.merge(bar)
            self._quote_volume = MONEY.add(self._quote_volume, newest.quote_volume)

    def drop(self, now: int) -> None:
        """Forget minutes that opened 24 hours before `now` [ns] or earlier."""
        if self._newest is not None and self._newest.ts <= now - DAY:
            self._settle()
        minutes = self._minutes
        while self._before is not None and minutes[0].ts <= now - DAY:
            old, before = minutes.popleft(), self._before
            before.volume = MONEY.subtract(before.volume, old.volume)
            self._quote_volume = MONEY.subtract(self._quote_volume, old.quote_volume)
            if not minutes:
                self._before = None
            elif old.top == before.top or old.bottom == before.bottom:
                before.spread(minutes)

    def daily(self) -> Daily:
        """The figures now."""
        newest, before = self._newest, self._before
        if newest is None:
            return Daily(volume="0", quote_volume="0")
        first, high, low = newest.open, newest.high, newest.low
        volume, quote_volume = newest.volume, newest.quote_volume
        if before is not None:
            first = self._minutes[0].open
            high = high if newest.top > before.top else before.high
            low = low if newest.bottom < before.bottom else before.low
            volume = MONEY.add(before.volume, volume)
            quote_volume = MONEY.add(self._quote_volume, quote_volume)
        return Daily(first, high, low, newest.close, format(volume, "f"), plain(quote_volume))
