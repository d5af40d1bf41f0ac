"""What a source remembers of its own trades: the newest ones, 24 hours, bars."""

from collections import deque
from collections.abc import Sequence
from decimal import Decimal

from realtime.engine.bars import HOUR, TIMEFRAMES, Bars, Day, DayFold, opening, resample
from realtime.model.market import MONEY, Bar, Level, Market, Ticker, Trade


class Tape:
    """The trades of one symbol."""

    __slots__ = ("_day", "_hours", "_market", "_minutes", "_recent", "day")

    def __init__(self, market: Market, *, trades: int = 1000, bars: int = 1500) -> None:
        self._market = market
        self._recent: deque[Trade] = deque(maxlen=trades)
        self.day = DayFold()
        # The day's figures as strings, until the next trade: tickers are far more frequent.
        self._day: tuple[Day, str, str, str | None] | None = None
        # Two folds, so that no question folds more than `bars` pieces.
        self._minutes = Bars("1m", keep=bars)
        self._hours = Bars("1h", keep=bars)

    def add(self, trade: Trade) -> None:
        """Take in a trade."""
        self._recent.append(trade)
        self.day.add(trade)
        self._day = None
        self._minutes.add(trade)
        self._hours.add(trade)

    def recent(self, limit: int) -> Sequence[Trade]:
        """The newest trades, oldest first."""
        return list(self._recent)[-limit:]

    def kept_from(self, timeframe: str) -> int | None:
        """Opening time [ns] of the oldest piece that `bars` has for a timeframe; None without trades."""
        pieces = self._pieces(timeframe)
        return pieces[0].ts if pieces else None

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

    def _pieces(self, timeframe: str) -> list[Bar]:
        fold = self._minutes if TIMEFRAMES[timeframe] < HOUR else self._hours
        forming = fold.forming
        return [*fold.history(), *([forming] if forming else [])]

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
        day, volume, quote_volume, vwap = self._day or self._figures(ts)
        return Ticker(
            symbol=self._market.symbol,
            bid=None if bid is None else bid[0],
            bid_amount=None if bid is None else bid[1],
            ask=None if ask is None else ask[0],
            ask_amount=None if ask is None else ask[1],
            last=day.last,
            open=day.open,
            high=day.high,
            low=day.low,
            volume=volume,
            quote_volume=quote_volume,
            vwap=vwap,
            mark=mark,
            index=index,
            ts=ts,
            recv_ts=recv_ts,
        )

    def _figures(self, ts: int) -> tuple[Day, str, str, str | None]:
        self.day.drop(ts)
        day = self.day.day()
        vwap = day.vwap
        self._day = (
            day,
            format(day.volume, "f"),
            format(day.quote_volume, "f"),
            None
            if vwap is None
            else format(vwap.quantize(self._market.price_tick, context=MONEY), "f"),
        )
        return self._day


def text(value: float | Decimal, grid: Decimal) -> str:
    """A number on a market's grid, as its string."""
    number = value if isinstance(value, Decimal) else Decimal(repr(value))
    return format(MONEY.multiply(MONEY.divide_int(number, grid), grid).quantize(grid), "f")
