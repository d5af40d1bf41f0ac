"""Bars for readers: the venue's history joined with a live fold of its trades."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from realtime.desk.crew import Crew
from realtime.engine.bars import TIMEFRAMES, Bars
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.market import MS, Bar, Trade
from realtime.venues.base import Venue


logger = logging.getLogger(__name__)

Row = list[object]
Closed = Callable[[Bar], None]
"""Told a bar in the step that closes it; must not wait and must not trade."""
HISTORY: Final = 2
"""Bars asked for at the start: the last closed and the forming one."""
RETRY_S: Final = 5.0


class Charts:
    """Folds trades into the bars that somebody reads."""

    def __init__(
        self,
        *,
        history: Venue,
        publish: Callable[[str, dict[str, object], int], None],
        crew: Crew,
        now: Callable[[], int],
    ) -> None:
        """Make them.

        Args:
            history: Gives the bars before the first trade we saw.
            publish: Takes channel name, data and the time of the newest trade [ns].
            crew: Owner of the requests for history.
            now: Wall clock [ns].
        """
        self._history = history
        self._publish = publish
        self._crew = crew
        self._now = now
        self._folds: dict[str, dict[str, Bars]] = {}
        self._early: dict[tuple[str, str], list[Trade]] = {}
        self._followers: dict[tuple[str, str], list[Closed]] = {}

    def follow(self, symbol: str, timeframe: str, told: Closed) -> Callable[[], None]:
        """Tell somebody every bar that closes from now on, once it is folded; `Feeds.follow` makes it so.

        Returns:
            Ends it.
        """
        followers = self._followers.setdefault((symbol, timeframe), [])
        followers.append(told)
        return lambda: followers.remove(told)

    def forming(self, symbol: str, timeframe: str) -> Bar | None:
        """Give the bar that still changes; None without one."""
        fold = self._folds.get(symbol, {}).get(timeframe)
        return None if fold is None else fold.forming

    def _closed(self, symbol: str, timeframe: str, fold: Bars) -> None:
        newest = fold.closed
        assert newest is not None  # one has just closed
        for told in tuple(self._followers.get((symbol, timeframe), ())):
            told(newest)

    def want(self, symbol: str, timeframe: str, *, wanted: bool) -> None:
        """Begin or end to fold a symbol's trades into bars of a timeframe."""
        key = (symbol, timeframe)
        if not wanted:
            self._early.pop(key, None)
            folds = self._folds.get(symbol, {})
            folds.pop(timeframe, None)
            if not folds:
                self._folds.pop(symbol, None)
        elif key not in self._early and timeframe not in self._folds.get(symbol, {}):
            self._early[key] = []
            self._crew.spawn(self._begin(symbol, timeframe), f"bars of {symbol}")

    async def _begin(self, symbol: str, timeframe: str) -> None:
        """Join history and the trades that came meanwhile."""
        key = (symbol, timeframe)
        bars: Sequence[Bar] | None = None
        while bars is None:
            try:
                bars = await self._history.ohlcv(symbol, timeframe, None, HISTORY)
            except (VenueUnknown, VenueRejected, Refused) as error:
                logger.warning("no history", extra={"symbol": symbol, "why": str(error)})
                await asyncio.sleep(RETRY_S)
            if key not in self._early:
                return
        fold = self._joined(timeframe, bars)
        newest = bars[-1].ts if bars else 0
        for trade in self._early.pop(key):
            # The venue's forming bar holds the trades before its answer; those are not told twice.
            if trade.ts >= newest + TIMEFRAMES[timeframe]:
                fold.add(trade)
        self._folds.setdefault(symbol, {})[timeframe] = fold
        self._show(symbol, timeframe, fold, self._now())

    def _joined(self, timeframe: str, bars: Sequence[Bar]) -> Bars:
        now, length = self._now(), TIMEFRAMES[timeframe]
        closed = [bar for bar in bars if bar.ts + length <= now]
        fold = Bars(timeframe, closed)
        for bar in bars[len(closed) :]:
            fold.merge(bar)
        return fold

    def add(self, trade: Trade) -> None:
        """Take a trade into every fold of its symbol."""
        symbol = trade.symbol
        for (of, _), early in self._early.items():
            if of == symbol:
                early.append(trade)
        folds = self._folds.get(symbol)
        if folds:
            for timeframe, fold in folds.items():
                closed = fold.add(trade)
                self._show(symbol, timeframe, fold, trade.ts)
                if closed:
                    self._closed(symbol, timeframe, fold)

    def advance(self, now: int) -> None:
        """Close bars whose time is over though nothing was traded since [ns]."""
        for symbol, folds in self._folds.items():
            for timeframe, fold in folds.items():
                if fold.advance(now):
                    self._show(symbol, timeframe, fold, now)
                    self._closed(symbol, timeframe, fold)

    @property
    def idle(self) -> bool:
        """Whether nobody reads bars."""
        return not self._folds and not self._early

    def _show(self, symbol: str, timeframe: str, fold: Bars, asof: int) -> None:
        data: dict[str, object] = {
            "symbol": symbol,
            "timeframe": timeframe,
            "ohlcv": [bar_row(bar) for bar in fold.rows()],
            "closed_through_ts": fold.closed_through // MS,
        }
        self._publish(f"ohlcv:{symbol}?timeframe={timeframe}", data, asof)


def bar_row(bar: Bar) -> Row:
    """Make the wire row of a bar: `[ts, open, high, low, close, volume]`."""
    return [bar.ts // MS, bar.open, bar.high, bar.low, bar.close, bar.volume]
