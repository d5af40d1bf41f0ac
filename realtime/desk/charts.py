"""Bars for readers: the venue's history joined with a live fold of its trades.

Rules of this file: (1) trades that were made while their source was silent never come: once it is back, what was folded
since is read again; (2) until then bars go on for readers, who are told that they are stale, and followers are told
none that closes; (3) a follower is told each closed bar in order, and what it was told that differs is told again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
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
MOST: Final = 1_000
"""Bars asked for after a silence."""
EARLY: Final = 10_000
"""Trades kept for a history that is asked for; those made before its answer are in it."""
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
        self._early: dict[tuple[str, str], deque[Trade]] = {}
        self._followers: dict[tuple[str, str], list[Closed]] = {}
        self._corrected: list[Callable[[str, str], None]] = []
        # Open of the newest bar that followers were told, or that was there before them; 0 without one [ns].
        self._told: dict[tuple[str, str], int] = {}
        # Since when nothing is known of a symbol, while its source is silent; and from when on bars are read again [ns].
        self._silent: dict[str, int] = {}
        self._doubt: dict[tuple[str, str], int] = {}
        # Of those, the ones that were in doubt once more after their history was asked for.
        self._anew: set[tuple[str, str]] = set()

    def follow(self, symbol: str, timeframe: str, told: Closed) -> Callable[[], None]:
        """Tell somebody every bar that closes from now on, once it is folded; `Feeds.follow` makes it so.

        Returns:
            Ends it.
        """
        followers = self._followers.setdefault((symbol, timeframe), [])
        followers.append(told)
        return lambda: followers.remove(told)

    def on_corrected(self, told: Callable[[str, str], None]) -> None:
        """Tell somebody symbol and timeframe where closed bars were not what followers had been told; they come next."""
        self._corrected.append(told)

    def forming(self, symbol: str, timeframe: str) -> Bar | None:
        """Give the bar that still changes; None without one."""
        fold = self._folds.get(symbol, {}).get(timeframe)
        return None if fold is None else fold.forming

    def _closed(self, symbol: str, timeframe: str, fold: Bars) -> None:
        newest = fold.closed
        assert newest is not None  # one has just closed
        if symbol not in self._silent and (symbol, timeframe) not in self._doubt:
            self._tell(symbol, timeframe, newest)

    def _tell(self, symbol: str, timeframe: str, closed: Bar) -> None:
        key = (symbol, timeframe)
        self._told[key] = closed.ts
        for told in tuple(self._followers.get(key, ())):
            told(closed)

    def silent(self, symbol: str, asof: int) -> None:
        """Note that the trades of a symbol may be missing from a time on [ns]; saying it twice changes nothing."""
        self._silent.setdefault(symbol, asof)

    def back(self, symbol: str) -> None:
        """Read the bars of a symbol again that were folded while its source was silent."""
        since = self._silent.pop(symbol, None)
        if since is None:
            return
        held = {(symbol, timeframe) for timeframe in self._folds.get(symbol, ())}
        for key in held | {key for key in self._early if key[0] == symbol}:
            self._doubt[key] = min(since, self._doubt.get(key, since))
            if key in self._early:
                self._anew.add(key)
            else:
                self._ask(*key)

    def _ask(self, symbol: str, timeframe: str) -> None:
        self._early[symbol, timeframe] = deque(maxlen=EARLY)
        self._crew.spawn(self._begin(symbol, timeframe), f"bars of {symbol}")

    def want(self, symbol: str, timeframe: str, *, wanted: bool) -> None:
        """Begin or end to fold a symbol's trades into bars of a timeframe."""
        key = (symbol, timeframe)
        if not wanted:
            self._early.pop(key, None)
            self._doubt.pop(key, None)
            self._told.pop(key, None)
            folds = self._folds.get(symbol, {})
            folds.pop(timeframe, None)
            if not folds:
                self._folds.pop(symbol, None)
        elif key not in self._early and timeframe not in self._folds.get(symbol, {}):
            self._ask(symbol, timeframe)

    async def _begin(self, symbol: str, timeframe: str) -> None:
        """Join history and the trades that came meanwhile."""
        key, length = (symbol, timeframe), TIMEFRAMES[timeframe]
        bars: Sequence[Bar] | None = None
        while bars is None:
            self._anew.discard(key)
            try:
                bars = await self._history.ohlcv(symbol, timeframe, None, self._limit(key))
            except (VenueUnknown, VenueRejected, Refused) as error:
                logger.warning("no history", extra={"symbol": symbol, "why": str(error)})
                await asyncio.sleep(RETRY_S)
            if key not in self._early:
                return
            if key in self._anew:
                bars = None
        before = self._folds.get(symbol, {}).get(timeframe)
        if before is not None and symbol in self._silent:
            # Silent once more: what is in doubt stays so, and is asked for when it is back.
            del self._early[key]
            return
        fold = self._joined(timeframe, bars)
        newest = bars[-1].ts if bars else 0
        for trade in self._early.pop(key):
            if trade.ts >= newest + length:
                fold.add(trade)
            else:
                # The venue's forming bar holds the trades before its answer: their volume is not counted twice. One
                # behind it may have come before it did, and its price counts.
                price = trade.price
                fold.merge(Bar(trade.ts, price, price, price, price, "0"))
        since = self._doubt.pop(key, 0)
        self._folds.setdefault(symbol, {})[timeframe] = fold
        self._show(symbol, timeframe, fold, self._now())
        if before is None:
            self._told[key] = 0 if fold.closed is None else fold.closed.ts
        else:
            self._make_up(key, before, fold, since)

    def _limit(self, key: tuple[str, str]) -> int:
        """Tell how many bars are asked for: after a silence also those that were folded in it."""
        since = self._doubt.get(key)
        if since is None:
            return HISTORY
        first = min(since, self._told.get(key) or since)
        return min((self._now() - first) // TIMEFRAMES[key[1]] + HISTORY, MOST)

    def _make_up(self, key: tuple[str, str], before: Bars, fold: Bars, since: int) -> None:
        """Tell followers the bars that closed in a silence, and before those what was told and is wrong [ns]."""
        last, closed = self._told[key], fold.history()
        wrong = _wrong(before.history(), closed, since - TIMEFRAMES[key[1]], last)
        if wrong is not None:
            for told in self._corrected:
                told(*key)
        first = last + 1 if wrong is None else wrong
        for bar in closed:
            if bar.ts >= first:
                self._tell(*key, bar)

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
            if symbol in self._silent:
                continue  # the rest of the bar was not heard
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


def _wrong(before: Sequence[Bar], after: Sequence[Bar], since: int, last: int) -> int | None:
    """Find the first bar behind `since`, up to the last one that was told, that is not what it was [ns]."""
    if not (before and after and last):
        return None
    if after[0].ts > last:
        return last  # bars are missing between
    old, new = ({bar.ts: _numbers(bar) for bar in bars} for bars in (before, after))
    found = [ts for ts in old | new if max(since + 1, before[0].ts) <= ts <= last]
    return min([ts for ts in found if old.get(ts) != new.get(ts)], default=None)


def _numbers(bar: Bar) -> tuple[Decimal, ...]:
    """Read a bar, which venues write in more than one way."""
    return tuple(map(Decimal, (bar.open, bar.high, bar.low, bar.close, bar.volume)))


def bar_row(bar: Bar) -> Row:
    """Make the wire row of a bar: `[ts, open, high, low, close, volume]`."""
    return [bar.ts // MS, bar.open, bar.high, bar.low, bar.close, bar.volume]
