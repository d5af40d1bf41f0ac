"""Indicators for readers: each distinct one is computed once, on the server, from the same bars as the charts.

Rules of this file: (1) a closed bar is taken once, in order, and shown at once; (2) the forming bar is only looked at,
by a copy, at most once a second, and never remembered; (3) copies have a budget of time: where there are too many
studies they take turns, and closed bars lose nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from realtime.desk.charts import Charts
from realtime.desk.crew import Crew
from realtime.desk.feeds import Feeds
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.studies import FVG, Course, Study, begin, ohlcv, study
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
from realtime.model.market import MS, Bar
from realtime.venues.base import Venue


logger = logging.getLogger(__name__)

FEWEST: Final = 200
MOST: Final = 1_500
"""Bars that a study begins with: ten times what it needs, between these."""
ZONES: Final = 50
"""Gaps in one message."""
TURN_S: Final = 1.0
BUDGET_S: Final = 0.02
"""Time that looks at forming bars may take, a turn [s]."""
RETRY_S: Final = 5.0


class Running:
    """One indicator that somebody reads.

    Attributes:
        early: Bars that closed before the history was there; None once it is.
        fresh: Whether no bar closed since the history was there.
        looked: The forming bar that was shown last.
    """

    __slots__ = (
        "base", "chosen", "course", "early", "fresh", "last", "looked", "name", "release", "symbol",
        "timeframe",
    )  # fmt: skip

    def __init__(self, base: str, found: Study, chosen: Mapping[str, int | float | str]) -> None:
        self.base = base
        self.name = found.name
        self.chosen = chosen
        self.symbol, self.timeframe, _ = read(base)
        self.course = self.begun()
        self.early: list[Bar] | None = []
        self.fresh = True
        self.last = 0
        self.looked: Bar | None = None
        self.release: Callable[[], None] = lambda: None

    def begun(self) -> Course:
        """Give its study at the beginning."""
        length = TIMEFRAMES[self.timeframe]
        most = ZONES if self.name == FVG else 0
        return begin(study(self.name), self.chosen, length=length, most=most)

    def row(self, course: Course, ts: int, *, closed: bool) -> dict[str, object]:
        """Make the channel's value of a bar that opened at `ts` [ns]."""
        return {
            "name": self.name,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "params": self.chosen,
            "ts": ts // MS,
            **course.shown(),
            "closed": closed,
        }


class Indicators:
    """The indicators of one venue's bars that somebody reads."""

    def __init__(
        self,
        *,
        feeds: Feeds,
        charts: Charts,
        history: Venue,
        publish: Callable[[str, dict[str, object], int], None],
        crew: Crew,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
    ) -> None:
        """Make them.

        Args:
            feeds: Keep bars coming.
            charts: Have the forming ones.
            history: Gives the bars before.
            publish: Takes channel name, data and their time [ns].
            crew: Owner of the requests for history.
            loop: Its clock gives turns.
            now: Wall clock [ns].
        """
        self._feeds = feeds
        self._charts = charts
        self._history = history
        self._publish = publish
        self._crew = crew
        self._loop = loop
        self._now = now
        # In the order in which they have their turn.
        self._running: dict[str, Running] = {}
        self._turn: asyncio.TimerHandle | None = None
        charts.on_corrected(self._again)

    def want(self, base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
        """Begin or end one, named as its channel."""
        if not wanted:
            ended = self._running.pop(base, None)
            if ended is not None:
                ended.release()
        elif base not in self._running:
            symbol, timeframe, options = read(base)
            found = study(options.pop("name"))
            running = self._running[base] = Running(base, found, found.read(options))
            running.release = self._feeds.follow(
                symbol, timeframe, lambda bar: self._closed(running, bar)
            )
            self._crew.spawn(self._begin(running), f"bars for {base}")
            if self._turn is None:
                self._turn = self._loop.call_later(TURN_S, self.turn)

    async def _begin(self, running: Running) -> None:
        """Let a study see the bars that closed before, then those that closed meanwhile."""
        found, length = study(running.name), TIMEFRAMES[running.timeframe]
        # One more, for the newest may still change.
        limit = min(max(10 * found.warmup(running.chosen), FEWEST) + 1, MOST)
        while self._running.get(running.base) is running:
            try:
                bars = await self._history.ohlcv(running.symbol, running.timeframe, None, limit)
            except (VenueUnknown, VenueRejected, Refused) as error:
                logger.warning("no history", extra={"channel": running.base, "why": str(error)})
                await asyncio.sleep(RETRY_S)
                continue
            now = self._now()
            closed = [bar for bar in bars if bar.ts + length <= now]
            running.course, running.last, running.looked = running.begun(), 0, None
            early, running.early = running.early or [], None
            for bar in (*closed, *early):
                self._take(running, bar)
            if running.last:
                self._show(running)
            return

    def _take(self, running: Running, bar: Bar) -> bool:
        """Take a closed bar that is newer than the last."""
        if bar.ts <= running.last:
            return False
        running.course.update(ohlcv(bar))
        running.last = bar.ts
        return True

    def _closed(self, running: Running, bar: Bar) -> None:
        if running.early is not None:
            running.early.append(bar)
            return
        missed = bar.ts > running.last + TIMEFRAMES[running.timeframe]
        if running.fresh and missed and running.last:
            # One closed between the history and the charts' first: it is asked for again, once.
            running.fresh = False
            self._anew(running)
            running.early = [bar]
            return
        running.fresh = False
        if self._take(running, bar):
            self._show(running)

    def _again(self, symbol: str, timeframe: str) -> None:
        """Let the studies begin anew that were told bars which were wrong; the right ones come next."""
        for running in self._running.values():
            if (running.symbol, running.timeframe) != (symbol, timeframe):
                continue
            if running.early is None:
                self._anew(running)
            else:
                running.early.clear()

    def _anew(self, running: Running) -> None:
        running.early = []
        self._crew.spawn(self._begin(running), f"bars for {running.base}")

    def _show(self, running: Running) -> None:
        row = running.row(running.course, running.last, closed=True)
        self._publish(running.base, row, self._now())

    def turn(self) -> None:
        """Look at forming bars, those first that waited longest, as long as the budget lasts."""
        if not self._running:
            self._turn = None
            return
        self._turn = self._loop.call_later(TURN_S, self.turn)
        end = self._loop.time() + BUDGET_S
        for base in list(self._running):
            running = self._running.pop(base)
            self._running[base] = running
            self._look(running)
            if self._loop.time() > end:
                break

    def _look(self, running: Running) -> None:
        bar = self._charts.forming(running.symbol, running.timeframe)
        if running.early is not None or bar is None or bar == running.looked:
            return
        if bar.ts > running.last:
            running.looked = bar
            course = running.course.peek(ohlcv(bar))
            self._publish(running.base, running.row(course, bar.ts, closed=False), self._now())


def read(base: str) -> tuple[str, str, dict[str, str]]:
    """Split the name of a channel into symbol, timeframe and the other options."""
    _, _, rest = base.partition(":")
    symbol, _, query = rest.partition("?")
    options = dict(pair.split("=", 1) for pair in query.split("&"))
    return symbol, options.pop("timeframe"), options
