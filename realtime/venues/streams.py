"""How the streams of a paper exchange come, as a client of it sees them: behind its faults.

They all flow, whether anybody reads them or not, so a stream begins with its first message. Rows are those of a feed of
an exchange; nothing falls back here and nothing is asked for.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import MS, SECOND, BookDelta, BookSnapshot, Stale, Ticker, Trade
from realtime.venues.rhythm import Freshness, per_second


PRICES: Final = (Ticker, BookSnapshot, BookDelta, Trade)


@dataclass(slots=True, kw_only=True)
class Stream:
    """One stream of a symbol.

    Attributes:
        since, told: When its first and its newest message came [ns].
        reconnects: How often the connection was lost and came back.
        gaps: How often its symbol alone was silent and came back.
    """

    since: int
    told: int = 0
    messages: int = 0
    reconnects: int = 0
    gaps: int = 0
    counted: deque[tuple[float, int]] = field(default_factory=deque)
    freshness: Freshness = field(default_factory=Freshness)


class Streams:
    """Counts what is told.

    Attributes:
        reconnects: How often the connection was lost and came back.
    """

    def __init__(self) -> None:
        self.reconnects = 0
        self._books: dict[str, Stream] = {}
        self._kinds: Final[Mapping[type, dict[str, Stream]]] = {
            Ticker: {},
            BookSnapshot: self._books,
            BookDelta: self._books,
            Trade: {},
        }
        # Why a symbol is stale, or (None) all of them.
        self._causes: dict[str | None, str] = {}
        self._lost = False

    def take(self, events: Sequence[MarketEvent | VenueEvent], now: int) -> None:
        """Count a batch [ns]."""
        for event in events:
            if isinstance(event, PRICES):
                streams = self._kinds[type(event)]
                stream = streams.get(event.symbol) or self._begun(streams, event.symbol, now)
                stream.messages += 1
                stream.told = now
            elif isinstance(event, Stale):
                self._turn(event, now)

    def _begun(self, streams: dict[str, Stream], symbol: str, now: int) -> Stream:
        stream = streams[symbol] = Stream(since=now)
        stream.counted.append((now / SECOND, 0))
        stream.freshness.turn(now / SECOND, fresh=self._cause(symbol) is None)
        return stream

    def _cause(self, symbol: str) -> str | None:
        return self._causes.get(None) or self._causes.get(symbol)

    def _turn(self, stale: Stale, now: int) -> None:
        """Note that something is stale or back."""
        back = lost = False
        if stale.stale:
            self._causes[stale.symbol] = stale.cause or "silent"
            self._lost |= stale.symbol is None and stale.cause == "disconnected"
        else:
            back = self._causes.pop(stale.symbol, None) is not None
            lost = self._lost and stale.symbol is None
        if lost:
            self._lost = False
            self.reconnects += 1
        for streams in (self._kinds[Ticker], self._books, self._kinds[Trade]):
            for symbol, stream in streams.items():
                if stale.symbol in {None, symbol}:
                    stream.freshness.turn(now / SECOND, fresh=self._cause(symbol) is None)
                    stream.reconnects += lost
                    stream.gaps += back and stale.symbol is not None

    def rows(self, now: int) -> list[dict[str, object]]:
        """Make the rows of `monitoring.hybrid`, by channel [ns]."""
        named = {
            "orderbook": self._books,
            "ticker": self._kinds[Ticker],
            "trades": self._kinds[Trade],
        }
        return [
            {
                "channel": f"{kind}:{symbol}",
                "symbol": symbol,
                "source": "paper",
                "since_ts": stream.since // MS,
                "last_msg_age_ms": (now - stream.told) // MS,
                "reconnects": stream.reconnects,
                "fallbacks": 0,
                "rest_calls": 0,
                "messages": stream.messages,
                "messages_per_s": round(
                    per_second(stream.counted, now / SECOND, stream.messages), 2
                ),
                "gaps": stream.gaps,
                "state": self._cause(symbol) or "ok",
                "health": stream.freshness.share(now / SECOND),
            }
            for kind, streams in named.items()
            for symbol, stream in sorted(streams.items())
        ]
