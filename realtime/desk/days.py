"""Daily returns of what is held, for value at risk: read from the venue when something is held, and once an hour."""

import asyncio
import logging
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from realtime.desk.crew import Crew
from realtime.engine.assessment import DAYS
from realtime.engine.bars import DAY
from realtime.engine.engine import Engine
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.market import SECOND
from realtime.venues.base import Venue


logger = logging.getLogger(__name__)

EVERY: Final = 3600 * SECOND
"""How long an answer serves [ns]: a day has closed since, at most."""
AGAIN: Final = 60 * SECOND
"""How soon a venue that gave none is asked again [ns]."""
PATIENCE_S: Final = 30.0


class Days:
    """Keeps the engine told."""

    def __init__(
        self, *, engine: Engine, history: Venue, crew: Crew, now: Callable[[], int]
    ) -> None:
        """Make it.

        Args:
            engine: Whose positions they are.
            history: Gives the daily bars.
            crew: Owner of the requests.
            now: Wall clock [ns].
        """
        self._engine = engine
        self._history = history
        self._crew = crew
        self._now = now
        # When each symbol is to be read next [ns].
        self._due: dict[str, int] = {}

    def look(self) -> None:
        """Read what is due; called once a second."""
        now = self._now()
        for symbol, position in self._engine.positions.items():
            if position.amount and now >= self._due.get(symbol, 0):
                self._due[symbol] = now + EVERY
                self._crew.spawn(self._read(symbol), f"days of {symbol}")

    async def _read(self, symbol: str) -> None:
        """Read the closed days of a symbol and tell the engine their returns."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                # One more for the first return, one for the day that is not over.
                bars = await self._history.ohlcv(symbol, "1d", None, DAYS + 2)
        except (VenueUnknown, VenueRejected, Refused, TimeoutError) as error:
            logger.warning("no daily bars", extra={"symbol": symbol, "why": str(error)})
            self._due[symbol] = self._now() + AGAIN
            return
        now = self._now()
        closed = [bar for bar in bars if bar.ts + DAY <= now]
        self._engine.daily(
            symbol,
            {
                two.ts: float(two.close) / float(one.close) - 1
                for one, two in pairwise(closed)
                # A hole between days would make one return of several days.
                if two.ts - one.ts == DAY and float(one.close) > 0
            },
        )
