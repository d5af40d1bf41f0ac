"""History of a venue for backtests: asked for page by page, kept on disk in pieces.

Rules of this file: (1) only what is closed for good is kept; (2) no bars is no information: it is asked again; (3) a
hole stays a hole.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from realtime.bots import series
from realtime.bots.series import Series
from realtime.engine.bars import TIMEFRAMES
from realtime.model.errors import Code, Refused
from realtime.model.market import Bar


PIECE: Final = 1_000
"""Bars in a piece, which is also what a venue is asked for at once."""


class Source(Protocol):
    """The part of a venue that gives history."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars that open at `since` [ns] or later, oldest first, at most `limit`."""
        ...


class History:
    """One venue's bars.

    Args:
        source: Is asked for what is not kept.
        directory: Where pieces are kept, of this venue alone.
        now: Wall clock [ns].
    """

    def __init__(self, source: Source, directory: Path, now: Callable[[], int]) -> None:
        self._source = source
        self._directory = directory
        self._now = now
        self.asked = 0

    async def files(
        self, symbol: str, timeframe: str, start: int, end: int, work: Path
    ) -> list[Path]:
        """Give files that together hold the closed bars of a time, oldest first; some hold more than that.

        Args:
            symbol: ccxt unified.
            timeframe: One of `TIMEFRAMES`.
            start: First opening time wanted [ns].
            end: Time behind the last one [ns].
            work: Folder for what may not be kept.

        Raises:
            Refused: `not_found`, where the venue has no bars of that time.
            VenueRejected, VenueUnknown: It gives none.
        """
        span = PIECE * TIMEFRAMES[timeframe]
        folder = self._directory / quote(symbol, safe="") / timeframe
        found: list[Path] = []
        for number in range(start // span, -(-min(end, self._now()) // span)):
            kept = folder / f"{number}.bars"
            if await asyncio.to_thread(kept.exists):
                found.append(kept)
                continue
            piece = await self._piece(symbol, timeframe, number * span, (number + 1) * span)
            if not len(piece):
                continue
            whole = (number + 1) * span <= self._now()
            path = kept if whole else work / f"{quote(symbol, safe='')}-{number}.bars"
            await asyncio.to_thread(series.write, path, piece)
            found.append(path)
        if not found:
            raise Refused(
                Code.NOT_FOUND, f"the venue has no bars of {symbol} in that time", {"what": "bars"}
            )
        return found

    async def _piece(self, symbol: str, timeframe: str, start: int, end: int) -> Series:
        """Ask for the closed bars that open in [start, end)."""
        length = TIMEFRAMES[timeframe]
        bars: list[Bar] = []
        at = start
        while at < min(end, self._now()):
            self.asked += 1
            page = await self._source.ohlcv(symbol, timeframe, at, PIECE)
            fresh = [bar for bar in page if at <= bar.ts < end and bar.ts + length <= self._now()]
            if not fresh:
                break
            bars += fresh
            at = fresh[-1].ts + length
        rows = [(b.ts, *map(float, (b.open, b.high, b.low, b.close, b.volume))) for b in bars]
        if not rows:
            return Series(length, [], *[[]] * 5)
        ts, *columns = zip(*rows, strict=True)
        return Series(length, ts, *columns)
