"""What a source remembers of its own trades: the newest ones, 24 hours, bars."""

from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from realtime.engine.bars import HOUR, TIMEFRAMES, Bars, DayFold, opening, resample
from realtime.model.market import MONEY, Bar, Daily, Level, Market, Ticker, Trade


NOBODY: Final = (None, None)


class Tape:
    """The trades of one symbol."""

    __slots__ = ("_daily", "_hours", "_market", "_minutes", "_recent", "day")

    def __init__(self, market: Market, *, trades: int = 1000, bars: int = 1500) -> None:
        self._market = market
        self._recent: deque[Trade] = deque(maxlen=trades)
        self.day = DayFold(market)
        # The day's figures, until the next trade: tickers are far more frequent.
        self._daily: Daily | None = None
        # Two folds, so that no question folds more than `bars` pieces; an hour takes in closed minutes.
        self._minutes = Bars("1m", keep=bars)
        self._hours = Bars("1h", keep=bars)

    def add(self, trade: Trade) -> None:
        """Take in a trade."""
        self._recent.append(trade)
        self.day.add(trade)
        self._daily = None
        if self._minutes.add(trade):
            minute = self._minutes.closed
            assert minute is not None, "it was closed just now"
            self._hours.merge(minute)

    def recent(self, limit: int) -> Sequence[Trade]:
        """The newest trades, oldest first."""
        return list(self._recent)[-limit:]

    def kept_from(self, timeframe: str) -> int | None:
        """Opening time [ns] of the oldest piece that `bars` has for a timeframe; None without trades."""
        pieces = self._pieces(timeframe)
        return opening(pieces[0].ts, self._fold(timeframe).timeframe) if pieces else None

    def bars(
        self, timeframe: str, since: int | None, limit: int, before: Sequence[Bar] = ()
    ) -> list[Bar]:
        """Bars of `before` and of the trades since.

        Args:
            timeframe: Of the answer.
            since: Oldest opening time [ns], None for the newest bars.
            limit: At most this many.
            before: History, finer or equal, oldest first, that ends where the trades begin.
        """
        pieces = [*before, *self._pieces(timeframe)]
        if not pieces:
            return []
        first = opening(pieces[-1].ts, timeframe) - (limit - 1) * TIMEFRAMES[timeframe]
        if since is not None:
            first = since
        bars = resample((piece for piece in pieces if piece.ts >= first), timeframe)
        return bars[-limit:] if since is None else bars[:limit]

    def _fold(self, timeframe: str) -> Bars:
        return self._minutes if TIMEFRAMES[timeframe] < HOUR else self._hours

    def _pieces(self, timeframe: str) -> list[Bar]:
        fold = self._fold(timeframe)
        folds = (fold,) if fold is self._minutes else (fold, self._minutes)
        forming = [one.forming for one in folds]
        return [*fold.history(), *[bar for bar in forming if bar is not None]]

    def ticker(
        self,
        bid: Level | None,
        ask: Level | None,
        ts: int,
        recv_ts: int,
        *,
        mark: str | None = None,
        index: str | None = None,
    ) -> Ticker:
        """The ticker of this top of book."""
        bid_price, bid_amount = bid or NOBODY
        ask_price, ask_amount = ask or NOBODY
        return Ticker(
            self._market.symbol,
            bid_price,
            bid_amount,
            ask_price,
            ask_amount,
            ts,
            recv_ts,
            self._daily or self._figures(ts),
            mark,
            index,
        )

    def _figures(self, ts: int) -> Daily:
        self.day.drop(ts)
        self._daily = daily = self.day.daily()
        return daily


def text(value: float | Decimal, grid: Decimal) -> str:
    """A number on a market's grid, as its string."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    return format(MONEY.multiply(MONEY.divide_int(number, grid), grid).quantize(grid), "f")
