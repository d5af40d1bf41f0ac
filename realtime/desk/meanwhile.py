"""What prices did while this process was down: asked of the venue before the account is ready (trading document, B7).

Rules of this file: (1) nobody is asked where nothing hangs on the answer: where all stops and targets were the venue's to
watch, or time stood still with us; (2) what cannot be had is told as not known, and holds nothing up for long;
(3) since when nobody has watched is written down before anything else, so that a start that comes to nothing forgets nothing.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from realtime.desk.desk import Desk
from realtime.desk.recovery import DOWN, OVER
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Gap
from realtime.model.market import SECOND, Bar
from realtime.model.orders import TriggerBy
from realtime.venues.base import Venue, Witness


logger = logging.getLogger(__name__)

BAR: Final = 60 * SECOND
"""Length of a bar that is asked for [ns]."""
LEAD: Final = 10 * BAR
"""So much earlier the bars have to begin, or as late to end, as proof that none is missing: some venues leave out those
in which nothing was traded [ns]."""
MOST: Final = 5000 * BAR
"""The longest gap that is asked about, three days and a half [ns]."""
PATIENCE_S: Final = 15.0
"""For all answers together: so long protection may wait for them [s]."""
TRIES: Final = 3
PAUSE_S: Final = 1.0

Told = tuple[Sequence[Bar], str]
"""Bars, and what was in the way of the others; empty where none is missing."""


class Meanwhile:
    """The gap before this process, at one account."""

    def __init__(self, *, desk: Desk, venue: Venue, since: int, noted: bool) -> None:
        """Make it.

        Args:
            desk: Takes what was told.
            venue: Is asked, if it can be.
            since: The last word of a process that was ready [ns]; 0 where there was none.
            noted: Whether the journal says since when nobody has watched, from an earlier start.
        """
        self._desk = desk
        self._venue = venue
        self._since = since
        self._noted = noted

    def begin(self) -> None:
        """Write down since when nobody watches, if there is anything to watch."""
        if self._since and not self._noted and self._desk.engine.protects:
            self._desk.store.append(DOWN, "", b"%d" % self._since, safety=True)
            self._noted = True

    async def ask(self) -> None:
        """Ask about all that nobody watched, and let the engine judge; asked again, about the time since."""
        since = self._since
        if since:
            self._since = self._desk.now()
            if isinstance(self._venue, Witness):
                await self._ask(self._venue, since)
        if self._noted:
            self._desk.store.append(DOWN, "", OVER, safety=True)
            self._noted = False

    async def _ask(self, witness: Witness, since: int) -> None:
        now, first = self._desk.now(), -(-since // BAR) * BAR
        if first > now:
            return  # less than a minute: no bar proves anything
        slept = witness.slept
        wanted = self._desk.engine.unwatched(slept=slept)
        found: dict[tuple[str, TriggerBy], Told] = {}
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                for symbol, by in wanted:
                    told = await self._past(witness, symbol, by, first)
                    if told is None:
                        return  # time stood still
                    found[symbol, by] = told
        for symbol, by in wanted:
            bars, why = found.get((symbol, by), ((), "no answer in time"))
            gap = Gap(
                symbol=symbol,
                by=by,
                since=since,
                bars=tuple(bars),
                whole=not why,
                why=why,
                slept=slept,
                ts=self._desk.now(),
            )
            self._desk.post(gap)

    async def _past(self, witness: Witness, symbol: str, by: TriggerBy, first: int) -> Told | None:
        """Ask for the bars from `first` [ns] on; None where there was no meanwhile."""
        why = ""
        for number in range(TRIES):
            if number:
                await asyncio.sleep(PAUSE_S)
            try:
                bars = await witness.past(symbol, by, max(first, self._desk.now() - MOST) - LEAD)
            except (Refused, VenueRejected, VenueUnknown) as error:
                why = error.message
                logger.warning("no bars of meanwhile", extra={"symbol": symbol, "why": why})
                if error.code is Code.NOT_SUPPORTED:
                    break
            else:
                return None if bars is None else (bars, _lacking(bars, first, self._desk.now()))
        return (), why


def _lacking(bars: Sequence[Bar], first: int, now: int) -> str:
    """Say what is missing of the bars from `first` to now; empty where nothing is."""
    if not bars:
        return "the venue tells no bars"
    if bars[0].ts > first:
        return "the venue's bars do not reach back so far"
    if bars[-1].ts + LEAD < now:
        return "the venue's bars end too early"
    return ""
