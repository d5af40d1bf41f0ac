"""What comes in from a venue, and for whom it is asked.

Rules of this file: (1) the first reader of a market channel starts its upstream stream, the last one ends it after a
time of grace; (2) a venue that says nothing at all for too long is stale, whatever its channels; a quiet market is
not, and of a single symbol only its venue can tell the one from the other; (3) events go through the desk in order, in
the step that brought them; (4) what came back is not fresh while something else says that it is stale.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from realtime.desk.charts import Charts, Closed
from realtime.model.events import BalanceSeen, PositionSeen, Told
from realtime.model.market import Stale
from realtime.venues.base import Venue


Taken = Callable[[Sequence[Told]], None]
SILENT: Final = "silent"
DELISTED: Final = "delisted"
HELD: Final = ("ticker", "orderbook", "trades")
"""Streams that an order needs to be judged and, on paper, to be filled."""


class Feeds:
    """The streams of one venue.

    Attributes:
        asof: Time of the venue's last proof of life [ns].
        failures: How often one became stale, or all of them at once; a market taken off the list is none.
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
        # Nothing comes from the venue; and what it calls stale itself, None being all of it.
        self._mute = False
        self._told: dict[str | None, Stale] = {}
        self.asof = now()
        self.failures = 0
        self.unread: Callable[[str], None] = _kept

    # -- in --------------------------------------------------------------------------------------

    def take(self, events: Sequence[Told]) -> None:
        """Take a batch of a venue's events."""
        first = events[0] if events else None
        # That something is silent proves no life.
        if type(first) is not Stale or not first.stale:
            self.alive()
        if not self._sums:
            events = [
                event for event in events if not isinstance(event, BalanceSeen | PositionSeen)
            ]
        for event in events:
            if type(event) is Stale:
                events = self._judged(events)
                break
        self._take(events)

    def _judged(self, events: Sequence[Told]) -> Sequence[Told]:
        """Note what the venue calls stale, and let nothing count as fresh that something else makes stale."""
        found: list[Told] = []
        for event in events:
            if not isinstance(event, Stale):
                found.append(event)
            elif event.stale:
                if event.symbol not in self._told and event.cause != DELISTED:
                    self.failures += 1
                self._told[event.symbol] = event
                found.append(event)
            else:
                self._told.pop(event.symbol, None)
                if not self.silent:
                    found.append(event)
                    if event.symbol is None:
                        found += self._told.values()
        return found

    def trust_sums(self) -> None:
        """Let the venue's sums pass, now that all executions behind them are known.

        Before that a balance would look as if it came from nowhere. None is missed: they are asked for next.
        """
        self._sums = True

    def alive(self) -> None:
        """Note a proof of life without data: a pong, a heartbeat."""
        self._heard = self._loop.time()
        if self._mute:
            self._turn(mute=False)

    def look(self) -> None:
        """Judge the silence; called about once a second."""
        quiet = self._loop.time() - self._heard
        if quiet < 1.0:
            self.asof = self._now()
        if quiet >= self._stale_after_s and not self._mute:
            self._turn(mute=True)

    @property
    def age_s(self) -> float:
        """Seconds since the last proof of life."""
        return self._loop.time() - self._heard

    @property
    def silent(self) -> bool:
        """Whether the venue as a whole counts as stale."""
        return self._mute or None in self._told

    @property
    def failed(self) -> int:
        """How many are stale now, all at once counting as one."""
        return self._mute + sum(stale.cause != DELISTED for stale in self._told.values())

    @property
    def cause(self) -> str | None:
        """Why it does: what it said itself, else that nothing comes; None when it does not."""
        told = self._told.get(None)
        return told.cause if told is not None else SILENT if self._mute else None

    def _turn(self, *, mute: bool) -> None:
        self._mute = mute
        if mute:
            self.failures += 1
        else:
            self.asof = self._now()
        if None in self._told:
            return  # that it is stale was said, and is not over
        if mute:
            self._take([self._silence(None)])
        else:
            back = Stale(venue=self._venue.id, symbol=None, stale=False, cause=None, asof=self.asof)
            self._take([back, *self._told.values()])

    # -- demand ----------------------------------------------------------------------------------

    def want(self, base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
        """Start the source of a channel, or end it after the time of grace, unless a bot still holds it."""
        (self._read.add if wanted else self._read.discard)(base)
        self._demand(base, wanted=wanted or base in self._held)
        if wanted and base.startswith("ohlcv:"):
            self._remind(base.partition("?")[0].partition(":")[2])

    def _remind(self, symbol: str) -> None:
        """Say again that a symbol is stale, of which a channel has begun that was not there when it was said."""
        told = self._told.get(symbol) or self._told.get(None)
        if told is not None:
            self._take([replace(told, symbol=symbol)])
        elif self._mute:
            self._take([self._silence(symbol)])

    def _silence(self, symbol: str | None) -> Stale:
        return Stale(venue=self._venue.id, symbol=symbol, stale=True, cause=SILENT, asof=self.asof)

    def follow(self, symbol: str, timeframe: str, told: Closed) -> Callable[[], None]:
        """Keep the bars of a symbol coming and tell each one as it closes.

        Returns:
            Ends it.
        """
        base = f"ohlcv:{symbol}?timeframe={timeframe}"
        self._held[base] = self._held.get(base, 0) + 1
        self._demand(base, wanted=True)
        ended = self._charts.follow(symbol, timeframe, told)
        self._remind(symbol)

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
