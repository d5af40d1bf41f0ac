"""The rhythm of one stream: how it is, when its silence means something, and when to try again.

Nothing here waits or sends; times are those of the caller's monotonic clock [s] unless a name says otherwise.
"""

from collections import deque
from dataclasses import dataclass, field
from math import isclose
from typing import Any, Final

from realtime.model.market import MS, Trade
from realtime.venues.ccxt.rows import Side
from realtime.venues.chance import Chance
from realtime.venues.rhythm import Freshness, Rhythm, per_second


DEAD_S: Final = 5.0
"""Silence of a pinged socket that means that it is dead."""
ROUNDED: Final = 1e-3
"""Amounts that differ by no more than this share are the same: some venues round them in REST."""
SEEN: Final = 10_000
"""Ids of trades remembered to tell the second coming of one."""
COUNTED: Final = ("messages", "reconnects", "fallbacks", "rest_calls", "gaps")
"""What is counted of every stream: messages with news, lost connections, times it was asked for instead, requests of
its own, and holes that were found."""
HELD: Final = 20_000
"""Trades held back while the hole before them is filled."""


def backoff(tries: int, longest: float, chance: Chance) -> float:
    """How long to wait before trying again: 1, 2, 4 … seconds, at most `longest`, give or take half.

    Args:
        tries: Failures in a row, from 1 on.
        longest: Bound before the jitter [s].
        chance: Of the jitter.
    """
    return min(2.0 ** min(tries - 1, 16), longest) * (0.5 + chance.random())


@dataclass(slots=True, kw_only=True)
class Socket:
    """What is known of one socket.

    Attributes:
        heard: When anything came last.
        pinged: When it was pinged last.
        pongs: Whether it ever answered a ping of ours.
        client: ccxt's end of it.
    """

    heard: float
    pinged: float = 0.0
    pongs: bool = False
    client: Any = None

    def mute(self, now: float) -> bool:
        """Whether a ping has waited too long for its answer."""
        return self.pinged > self.heard and now - self.heard > DEAD_S


@dataclass(slots=True, kw_only=True)
class Feed:
    """One stream of one symbol.

    Attributes:
        symbol, kind: Whose, and `ticker`, `orderbook` or `trades`.
        source: `ws`, `poll` or `fold`.
        since: When it was first wanted [ns].
        heard: When its last message came, or it was subscribed.
        subscribed: When it was subscribed last.
        told: When its last message came [ns]; 0 before the first.
        url: Of its socket, once a message has come.
        client: ccxt's end of that socket.
        cause: Why it is stale; None when it is not.
        suspected: Times in a row that its silence turned out to be a loss.
        due: When it may be looked after next: polled, or probed.
        busy: Whether a request of its own is under way.
        compare: When its book is compared with REST next; None never.
        doubts: Levels that differed at the last comparison.
        needs_book: Whether a ticker has to be completed from the book.
    """

    symbol: str
    kind: str
    source: str
    since: int
    heard: float
    told: int = 0
    url: str | None = None
    client: Any = None
    cause: str | None = None
    rhythm: Rhythm = field(default_factory=Rhythm)
    freshness: Freshness = field(default_factory=Freshness)
    suspected: int = 0
    due: float = 0.0
    busy: bool = False
    messages: int = 0
    counted: deque[tuple[float, int]] = field(default_factory=deque)
    reconnects: int = 0
    fallbacks: int = 0
    rest_calls: int = 0
    gaps: int = 0
    expected: bool = False
    # books
    native: bool = False
    bids: Side = field(default_factory=dict)
    asks: Side = field(default_factory=dict)
    begun: bool = False
    repair: bool = False
    waiting_since: float | None = None
    resnap: float = -1e9
    subscribed: float = 0.0
    compare: float | None = None
    doubts: frozenset[tuple[str, float, float]] = frozenset()
    # tickers
    needs_book: bool = False
    last: Any = None
    value: Any = None
    value_ts: int = 0
    # trades
    seen: dict[str, None] = field(default_factory=dict)
    newest: int = 0
    hole: bool = False
    held: list[Trade] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin without news."""
        self.freshness.turn(self.heard, fresh=False)

    @property
    def polled(self) -> bool:
        """Whether it is asked for, for want of a stream or while that is down."""
        return self.source == "poll" or self.cause is not None

    def beat(self, now: float, ns: int) -> None:
        """Note a message of its own."""
        self.heard = now
        if not self.told and self.cause is None:
            self.freshness.turn(now, fresh=True)
        self.told = ns
        self.messages += 1
        self.rhythm.beat(now)

    def rate(self, now: float) -> float:
        """Messages per second, of the last ten seconds."""
        return per_second(self.counted, now, self.messages)

    def state(self, now: float) -> str:
        """`ok`, `starting`, or why it is stale; a market may have nothing to say from the start."""
        begun = self.told or now - self.subscribed > self.rhythm.patience.min_s
        return self.cause or ("ok" if begun else "starting")

    def health(self, now: float) -> float | None:
        """Give the share of the last five minutes in which it was fresh, 0..1; None where it has just begun."""
        if not self.told and self.state(now) == "ok":
            self.freshness.turn(self.subscribed + self.rhythm.patience.min_s, fresh=True)
        return self.freshness.share(now)

    def row(self, now: float, ns: int) -> dict[str, object]:
        """Make its row of `monitoring.hybrid`."""
        return {
            "channel": f"{self.kind}:{self.symbol}",
            "symbol": self.symbol,
            "source": "poll" if self.polled else self.source,
            "since_ts": self.since // MS,
            "last_msg_age_ms": (ns - self.told) // MS if self.told else None,
            "reconnects": self.reconnects,
            "fallbacks": self.fallbacks,
            "rest_calls": self.rest_calls,
            "messages": self.messages,
            "messages_per_s": round(self.rate(now), 2),
            "gaps": self.gaps,
            "state": self.state(now),
            "health": self.health(now),
        }

    def counts(self) -> dict[str, int]:
        """Give what is counted of it, by `COUNTED`."""
        return {name: getattr(self, name) for name in COUNTED}

    def unheard(self, trade: Trade) -> bool:
        """Whether a trade is new; it is not, after this."""
        if trade.id in self.seen:
            return False
        self.seen[trade.id] = None
        if len(self.seen) > SEEN:
            del self.seen[next(iter(self.seen))]
        self.newest = max(self.newest, trade.ts)
        return True


def unheard_of(feed: Feed, answer: list[Trade]) -> list[Trade]:
    """Choose the trades of a REST answer that a stream has missed.

    Ids decide. Where a venue numbers the two differently (some serve merged trades), time, price, amount and side do.

    Args:
        feed: Of the stream; the trades it holds back count as heard.
        answer: Oldest first.

    Returns:
        Oldest first, none older than the newest one heard before the loss.
    """
    ids = {*feed.seen, *(trade.id for trade in feed.held)}
    late = [trade for trade in answer if trade.ts >= feed.newest]
    if any(trade.id in ids for trade in answer) or not ids:
        return [trade for trade in late if trade.id not in ids]
    bodies = {_body(trade) for trade in feed.held}
    return [trade for trade in late if trade.ts > feed.newest and _body(trade) not in bodies]


def _body(trade: Trade) -> tuple[int, float, float, str]:
    return trade.ts // MS, float(trade.price), float(trade.amount), trade.side


def differences(
    ours: tuple[Side, Side], theirs: tuple[Side, Side]
) -> frozenset[tuple[str, float, float]]:
    """Name the levels on which two looks at one book differ, as `(side, price, our amount)`.

    One comparison proves nothing, because the looks are not of the same moment. What differs in the same way at two
    comparisons in a row is a level that our book has missed, or has never lost.

    Args:
        ours: Bids and asks.
        theirs: Bids and asks of the venue; compared is what lies within their depth and ours.
    """
    found: set[tuple[str, float, float]] = set()
    for name, mine, true in zip(("bids", "asks"), ours, theirs, strict=True):
        if not mine or not true:
            found.update((name, price, float(amount)) for price, amount in mine.items())
            continue
        if name == "bids":
            edge = max(min(mine), min(true))
            inside = {price for price in {*mine, *true} if price >= edge}
        else:
            edge = min(max(mine), max(true))
            inside = {price for price in {*mine, *true} if price <= edge}
        found.update(
            (name, price, float(mine.get(price, 0.0)))
            for price in inside
            if not isclose(mine.get(price, 0.0), true.get(price, 0.0), rel_tol=ROUNDED)
        )
    return frozenset(found)
