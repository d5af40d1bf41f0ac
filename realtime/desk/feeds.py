"""What comes in from a venue, and for whom it is asked.

Rules of this file: (1) the first reader of a market channel starts its upstream stream, the last one ends it after a
time of grace; (2) a venue that says nothing at all for too long is stale, whatever its channels; a quiet market is
not; (3) events go through the desk in order, in the step that brought them.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from realtime.desk.charts import Charts, Closed
from realtime.model.events import BalanceSeen, PositionSeen, Told
from realtime.model.market import Stale
from realtime.venues.base import Venue


Taken = Callable[[Sequence[Told]], None]
SILENT: Final = "silent"
HELD: Final = ("ticker", "orderbook", "trades")
"""Streams that an order needs to be judged and, on paper, to be filled."""


class Feeds:
    """The streams of one venue.

    Attributes:
        asof: Time of the venue's last proof of life [ns].
        silent: Whether the venue counts as stale.
        unread: Told the symbol of a book that nobody reads any more, and that is not told from then on.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        take: Taken,
        charts: Charts,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
        stale_after_s: float,
        grace_s: float,
    ) -> None:
        """Make the feeds.

        Args:
            venue: Whose streams they are.
            take: The desk.
            charts: Fold of trades into bars.
            loop: Its clock measures silence and grace.
            now: Wall clock [ns].
            stale_after_s: Silence of the whole venue that makes it stale.
            grace_s: How long a stream goes on without a reader.
        """
        self._venue = venue
        self._take = take
        self._charts = charts
        self._loop = loop
        self._now = now
        self._stale_after_s = stale_after_s
        self._grace_s = grace_s
        self._heard = loop.time()
        self._wanted: set[str] = set()
        self._ending: dict[str, asyncio.TimerHandle] = {}
        # Sources that parts of the server hold besides the hub's readers, and how many do.
        self._held: dict[str, int] = {}
        self._read: set[str] = set()
        self._sums = False
        self.asof = now()
        self.silent = False
        self.unread: Callable[[str], None] = _kept

    # -- in --------------------------------------------------------------------------------------

    def take(self, events: Sequence[Told]) -> None:
        """Take a batch of a venue's events."""
        self._heard = self._loop.time()
        if self.silent:
            self._turn(silent=False)
        if not self._sums:
            events = [
                event for event in events if not isinstance(event, BalanceSeen | PositionSeen)
            ]
        self._take(events)

    def trust_sums(self) -> None:
        """Let the venue's sums pass, now that all executions behind them are known.

        Before that a balance would look as if it came from nowhere. None is missed: they are asked for next.
        """
        self._sums = True

    def alive(self) -> None:
        """Note a proof of life without data: a pong, a heartbeat."""
        self._heard = self._loop.time()
        if self.silent:
            self._turn(silent=False)

    def look(self) -> None:
        """Judge the silence; called about once a second."""
        quiet = self._loop.time() - self._heard
        if quiet < 1.0:
            self.asof = self._now()
        if quiet >= self._stale_after_s and not self.silent:
            self._turn(silent=True)

    @property
    def age_s(self) -> float:
        """Seconds since the last proof of life."""
        return self._loop.time() - self._heard

    def _turn(self, *, silent: bool) -> None:
        self.silent = silent
        if not silent:
            self.asof = self._now()
        cause = SILENT if silent else None
        stale = Stale(venue=self._venue.id, symbol=None, stale=silent, cause=cause, asof=self.asof)
        self._take([stale])

    # -- demand ----------------------------------------------------------------------------------

    def want(self, base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
        """Start the source of a channel, or end it after the time of grace, unless a bot still holds it."""
        (self._read.add if wanted else self._read.discard)(base)
        self._demand(base, wanted=wanted or base in self._held)

    def follow(self, symbol: str, timeframe: str, told: Closed) -> Callable[[], None]:
        """Keep the bars of a symbol coming and tell each one as it closes.

        Returns:
            Ends it.
        """
        base = f"ohlcv:{symbol}?timeframe={timeframe}"
        self._held[base] = self._held.get(base, 0) + 1
        self._demand(base, wanted=True)
        ended = self._charts.follow(symbol, timeframe, told)

        def release() -> None:
            ended()
            self._held[base] -= 1
            if not self._held[base]:
                del self._held[base]
                self._demand(base, wanted=base in self._read)

        return release

    def hold(self, symbol: str) -> Callable[[], None]:
        """Keep the market of a symbol coming for the server itself: what is held, works or was asked for needs prices.

        Returns:
            Ends it.
        """
        bases = [f"{stream}:{symbol}" for stream in HELD]
        for base in bases:
            self._held[base] = self._held.get(base, 0) + 1
            self._demand(base, wanted=True)

        def release() -> None:
            for base in bases:
                self._held[base] -= 1
                if not self._held[base]:
                    del self._held[base]
                    self._demand(base, wanted=base in self._read)

        return release

    def _demand(self, base: str, *, wanted: bool) -> None:
        ending = self._ending.pop(base, None)
        if ending is not None:
            ending.cancel()
        if wanted:
            if base not in self._wanted:
                self._wanted.add(base)
                self._ask(base, wanted=True)
        elif base in self._wanted:
            self._ending[base] = self._loop.call_later(self._grace_s, self._end, base)

    def _end(self, base: str) -> None:
        self._ending.pop(base, None)
        self._wanted.discard(base)
        self._ask(base, wanted=False)
        topic, _, symbol = base.partition(":")
        if topic == "orderbook":
            self.unread(symbol)

    def _ask(self, base: str, *, wanted: bool) -> None:
        topic, _, rest = base.partition(":")
        symbol, _, options = rest.partition("?")
        stream = topic
        if topic == "ohlcv":
            timeframe = options.removeprefix("timeframe=")
            stream = f"ohlcv:{timeframe}"
            self._charts.want(symbol, timeframe, wanted=wanted)
        self._venue.want(symbol, stream, wanted)


def _kept(_symbol: str) -> None:
    """Keep a book that goes on whoever reads: that of a market of our own."""
