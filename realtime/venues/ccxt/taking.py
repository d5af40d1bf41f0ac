"""What a frame brings, as events: tickers, books, trades, and whether they can be trusted.

Rules of this file:
1 Nothing here waits: data becomes events in the step that brought it, one batch per frame. What has to be asked for is
  left to a subclass (`_wrong`, `_holed`, `_settle`).
2 Nothing is made up: a row without its shape is no row (S1), a crossed book is not shown.
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from realtime.engine.orderbook import OrderBook
from realtime.model.events import MarketEvent
from realtime.model.market import (
    UNTOLD,
    BookDelta,
    BookSnapshot,
    Level,
    Mark,
    Market,
    Stale,
    Ticker,
    Trade,
)
from realtime.venues.base import Now, Post
from realtime.venues.ccxt import rows
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.asking import DEPTH, LONGEST, OURS
from realtime.venues.ccxt.books import Gap, Native
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.watch import COUNTED, Feed, Socket
from realtime.venues.ccxt.way import Tell


logger = logging.getLogger("realtime.venues.ccxt")

LARGE: Final = 2000
"""Levels of a side at which a native book is cut back to half; readers see at most 1,000."""
RESNAP_S: Final = 5.0
"""Time between two attempts to get a fresh book."""


class Tap(Hooks):
    """Hands on what happens in the exchange."""

    def __init__(self, data: "Taking") -> None:
        self._data = data

    def pulse(self, url: str) -> None:
        """Note a sign of life."""
        self._data.on_pulse(url)

    def frame(self, url: str, text: str) -> None:
        """Take books out of it."""
        self._data.on_frame(url, text)

    def done(self, url: str) -> None:  # noqa: ARG002 - the hook's shape
        """Post what the frame has brought."""
        self._data.flush()

    def fault(self, url: str, error: BaseException) -> None:
        """Count and log it."""
        self._data.on_fault()
        logger.warning(
            "a frame could not be read", extra={"url": url, "why": repr(error)[:LONGEST]}
        )

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Take public trades."""
        if kind == "trade":
            self._data.on_trade(row)
            self._data.settle()

    def value(self, message_hash: str, value: Any) -> None:  # noqa: ARG002 - the hook's shape
        """Take tickers and books."""
        self._data.on_value(value)
        self._data.settle()

    def response(
        self,
        method: str,  # noqa: ARG002 - the hook's shape
        url: str,
        status: int,
        headers: Mapping[str, str],  # noqa: ARG002 - the hook's shape
        text: str,
    ) -> None:
        """Take the snapshots that ccxt itself has asked for."""
        if status == 200 and not OURS.get():
            self._data.on_answer(url, text)


class Taking:
    """Streams of one exchange, from the tap to the post.

    Attributes:
        markets: By symbol.
        books: By symbol, each changed right before the change is posted.
        faults: Frames that ccxt could not read.
        refused: Rows that lacked what makes them one, by stream: nothing was made of them.
        exchange: ccxt's.
    """

    def __init__(
        self, *, account: Account, now: Now, clock: Callable[[], float], tell: Tell
    ) -> None:
        """Make it.

        Args:
            account: Named in events.
            now: The time [ns].
            clock: Monotonic time [s].
            tell: Told what an operator should know.
        """
        self._account = account
        self._now = now
        self._clock = clock
        self._alert = tell
        self._post: Post = nowhere
        self.markets: dict[str, Market] = {}
        self.books: dict[str, OrderBook] = {}
        self.faults = 0
        self.refused: dict[str, int] = {}
        # Of streams that have ended: what is counted since the start does not go back.
        self._ended: Counter[str] = Counter()
        self.exchange: Any = None
        self._native: Native | None = None
        self._feeds: dict[tuple[str, str], Feed] = {}
        self._sockets: dict[str, Socket] = {}
        # When anything at all came on a socket last; 0 before.
        self._pulsed = 0.0
        self._out: list[MarketEvent] = []
        # Of the frame that is being read; None between frames.
        self._url: str | None = None
        self._stale: dict[str, set[str]] = {}
        self._funding: dict[str, tuple[str, int]] = {}
        self._digits = {kind: rows.Digits() for kind in ("ticker", "trades", "funding")}

    # --- what a subclass does about it ------------------------------------------------------------

    def _settle(self, symbol: str) -> None:
        """Begin and end the streams of a symbol as they are needed."""
        raise NotImplementedError

    def _wrong(self, feed: Feed) -> None:
        """Have a book begun anew."""
        raise NotImplementedError

    def _holed(self, feed: Feed) -> None:
        """Have missed trades asked for, now that the first one behind them is here."""
        raise NotImplementedError

    # --- what is counted ------------------------------------------------------------------------

    def counted(self) -> dict[str, int]:
        """Count since the start, streams that have ended included; see `watch.COUNTED`."""
        found = Counter(self._ended)
        for feed in self._feeds.values():
            found.update(feed.counts())
        return {
            **{name: found[name] for name in COUNTED},
            "unreadable": self.faults,
            "refused_rows": sum(self.refused.values()),
        }

    def _refuse(self, kind: str) -> None:
        self.refused[kind] = self.refused.get(kind, 0) + 1

    # --- stale and fresh ------------------------------------------------------------------------

    def _mark(self, feed: Feed, cause: str) -> None:
        """Call a stream stale; its symbol is, as long as one of its streams is."""
        if (feed.symbol, feed.kind) not in self._feeds or feed.cause == cause:
            return
        first = feed.cause is None
        feed.cause = cause
        feed.due = self._clock()
        feed.freshness.turn(feed.due, fresh=False)
        kinds = self._stale.setdefault(feed.symbol, set())
        kinds.add(feed.kind)
        if first:
            feed.fallbacks += 1
            if len(kinds) == 1:
                self._emit(self._staleness(feed.symbol, cause, feed.told))

    def _unmark(self, feed: Feed) -> None:
        """Call a stream fresh again."""
        feed.cause = None
        feed.freshness.turn(self._clock(), fresh=True)
        feed.suspected = 0
        kinds = self._stale.get(feed.symbol, set())
        kinds.discard(feed.kind)
        if not kinds:
            self._stale.pop(feed.symbol, None)
            self._emit(self._staleness(feed.symbol, None, self._now()))

    def _emit(self, event: MarketEvent) -> None:
        """Post an event in its place: behind what the same frame has brought."""
        self._out.append(event)
        self.settle()

    def _staleness(self, symbol: str, cause: str | None, asof: int) -> Stale:
        return Stale(
            venue=self._account.id,
            symbol=symbol,
            stale=cause is not None,
            cause=cause,
            asof=asof or self._now(),
        )

    # --- the tap ----------------------------------------------------------------------------------

    def on_pulse(self, url: str) -> None:
        """Note that something came on a socket."""
        socket = self._sockets.get(url)
        now = self._pulsed = self._clock()
        if socket is None:
            self._sockets[url] = Socket(heard=now)
        else:
            if socket.pinged > socket.heard:
                socket.pongs = True
            socket.heard = now
        self._url = url

    def on_fault(self) -> None:
        """Count a frame that could not be read; a book without a sequence is compared soon, it may have been its."""
        self.faults += 1
        for feed in self._feeds.values():
            if feed.compare is not None:
                feed.compare = self._clock()

    def on_frame(self, url: str, text: str) -> None:
        """Take order books out of a raw frame."""
        if self._native is not None:
            for event in self._native.feed(text, self._now(), url):
                self._native_event(event, url)

    def on_answer(self, url: str, text: str) -> None:
        """Take the snapshot of an order book out of an answer that ccxt has asked for."""
        native = self._native
        if native is None or not native.rest:
            return
        parts = urlsplit(url)
        names = parse_qs(parts.query).get("symbol", ())
        if not parts.path.endswith("/depth") or not names:
            return
        contract = "api/v3" not in parts.path
        for (symbol, kind), feed in self._feeds.items():
            market = self.markets[symbol]
            fits = market.id == names[0] and market.contract == contract
            if fits and kind == "orderbook" and feed.native:
                for event in native.snapshot(symbol, text, self._now()):
                    self._native_event(event, feed.url)
        self.flush()

    def on_trade(self, row: Mapping[str, Any]) -> None:
        """Take a public trade on its way into ccxt's cache."""
        feed = self._feeds.get((str(row.get("symbol")), "trades"))
        if feed is None:
            return
        ns = self._now()
        trade = rows.trade(row, ns, self._digits["trades"])
        if trade is None:
            self._refuse("trades")
            return
        self._heard(feed, ns)
        if not feed.seen and trade.ts < feed.newest:
            return
        if row.get("id") is None:
            # Two equal trades in a millisecond are two, as long as nothing says otherwise.
            name, twin = trade.id, 1
            while trade.id in feed.seen:
                twin += 1
                trade = replace(trade, id=f"{name}-{twin}")
        if feed.hole:
            feed.held.append(trade)
            if len(feed.held) == 1:
                self._holed(feed)
        else:
            self._tell(feed, trade)
            if feed.cause is not None:
                self._unmark(feed)

    def on_value(self, value: Any) -> None:
        """Take the value of a finished frame: a ticker or a book."""
        if not isinstance(value, dict):
            return
        if "bids" in value and "asks" in value:
            feed = self._feeds.get((str(value.get("symbol")), "orderbook"))
            if feed is not None:
                self._ccxt_book(feed, value)
        elif "quoteVolume" in value and "bidVolume" in value:
            feed = self._feeds.get((str(value.get("symbol")), "ticker"))
            if feed is not None and feed.source == "ws":
                self._ccxt_ticker(feed, value)

    def settle(self) -> None:
        """Post at once what came outside a frame: ccxt finishes some books when a REST answer is there."""
        if self._url is None:
            self.flush()

    def flush(self) -> None:
        """Post what one frame has brought, in one batch."""
        self._url = None
        if self._out:
            out, self._out = self._out, []
            self._post(out)

    def _on(self, feed: Feed, url: str) -> None:
        """Note on which socket a stream is."""
        if feed.client is None or feed.url != url:
            feed.url = url
            feed.client = self.exchange.clients.get(url)

    def _heard(self, feed: Feed, ns: int) -> None:
        if self._url is not None:
            self._on(feed, self._url)
        feed.suspected = 0
        feed.beat(self._clock(), ns)

    # --- tickers ----------------------------------------------------------------------------------

    def _ccxt_ticker(self, feed: Feed, value: Mapping[str, Any]) -> None:
        ns = self._now()
        ticker = rows.ticker(value, feed.symbol, ns, self._digits["ticker"])
        if ticker is None:
            self._refuse("ticker")
            return
        self._heard(feed, ns)
        if value is feed.value and ticker.ts == feed.value_ts:
            return  # the same frame again, under another name
        feed.value, feed.value_ts = value, ticker.ts
        if (ticker.bid is None or ticker.ask is None) and not feed.needs_book:
            feed.needs_book = True
            self._settle(feed.symbol)
        feed.last = self._completed(feed, ticker)
        self._out.append(feed.last)
        self._mark_price(ticker)
        if feed.cause is not None:
            self._unmark(feed)

    def _completed(self, feed: Feed, ticker: Ticker) -> Ticker:
        """Put the top of the book into a ticker: it is newer, and some tickers have none of their own."""
        live = self._feeds.get((feed.symbol, "orderbook"))
        if live is None or not live.begun:
            return ticker
        book = self.books[feed.symbol]
        bid, ask = book.best_bid, book.best_ask
        if bid is None or ask is None:
            return ticker
        return replace(ticker, bid=bid[0], bid_amount=bid[1], ask=ask[0], ask_amount=ask[1])

    def _fold(self, symbol: str, ns: int, last: str | None = None, *, fresh: bool = False) -> None:
        """Make a ticker of what the book, or a trade, has just said; `fresh` is a book that was asked for just now."""
        feed = self._feeds.get((symbol, "ticker"))
        if feed is None or feed.source == "poll" or feed.cause is not None:
            return
        live = self._feeds.get((symbol, "orderbook"))
        if live is None or not (live.begun or live.source == "poll" or fresh):
            return  # a book that nobody follows any more, or that is in doubt, has no prices of now
        book = self.books[symbol]
        bid, ask = book.best_bid, book.best_ask
        if bid is None or ask is None:
            return
        before = feed.last
        daily = UNTOLD if before is None else before.daily
        if last is not None and feed.source == "fold":
            daily = replace(daily, last=last)
        if before is None and feed.source != "fold":
            return  # the day's figures come first
        ticker = Ticker(
            symbol,
            *bid,
            *ask,
            ns,
            ns,
            daily,
            None if before is None else before.mark,
            None if before is None else before.index,
            feed.source,
        )
        if before is not None and (
            (before.bid, before.bid_amount, before.ask, before.ask_amount, before.daily)
            == (ticker.bid, ticker.bid_amount, ticker.ask, ticker.ask_amount, daily)
        ):
            return
        feed.last = ticker
        if feed.source == "fold":
            feed.beat(self._clock(), ns)
        self._out.append(ticker)

    def _mark_price(self, ticker: Ticker) -> None:
        """Post a derivative's mark, once its funding is known."""
        funding = self._funding.get(ticker.symbol)
        if funding is not None and ticker.mark is not None and ticker.index is not None:
            self._out.append(
                Mark(
                    symbol=ticker.symbol,
                    mark=ticker.mark,
                    index=ticker.index,
                    funding_rate=funding[0],
                    next_funding_ts=funding[1],
                    ts=ticker.ts,
                )
            )

    # --- trades -----------------------------------------------------------------------------------

    def _tell(self, feed: Feed, trade: Trade) -> None:
        if feed.unheard(trade):
            self._out.append(trade)
            self._fold(feed.symbol, trade.recv_ts, trade.price)

    # --- books ------------------------------------------------------------------------------------

    def _native_event(self, event: BookSnapshot | BookDelta | Gap, url: str | None) -> None:
        feed = self._feeds.get((event.symbol, "orderbook"))
        if feed is None or not feed.native:
            return
        if url is not None:
            self._on(feed, url)
        if isinstance(event, Gap):
            feed.gaps += 1
            self._desync(feed)
            return
        feed.suspected = 0
        feed.beat(self._clock(), event.recv_ts)
        feed.waiting_since = None
        book = self.books[feed.symbol]
        if isinstance(event, BookSnapshot):
            self._whole(feed, replace(event, repaired=event.repaired or feed.repair))
        elif feed.begun:
            before = _before(book, event)
            book.apply_delta(event)
            if book.crossed:
                book.apply_delta(before)
                self._desync(feed)
                return
            self._out.append(event)
            self._cut(book, event)
            self._fold(feed.symbol, event.recv_ts)

    def _cut(self, book: OrderBook, event: BookDelta) -> None:
        """Keep a book bounded: the venue never says that a far level is gone (S15)."""
        if max(len(book.bids.levels), len(book.asks.levels)) <= LARGE:
            return
        gone = [
            tuple((ladder.levels[key][0], "0") for key in ladder.keys[LARGE // 2 :])
            for ladder in (book.bids, book.asks)
        ]
        delta = BookDelta(book.symbol, gone[0], gone[1], event.ts, event.recv_ts)
        book.apply_delta(delta)
        self._out.append(delta)

    def _ccxt_book(self, feed: Feed, value: Mapping[str, Any]) -> None:
        """Take the top of ccxt's own book, and post how it differs from what was posted last."""
        ns, now = self._now(), self._clock()
        if feed.native:
            assert self._native is not None
            if not self._native.waits(feed.symbol):
                return
            # ccxt has a book and our parser has none: it may be a kind of frame that the parser does not read.
            feed.waiting_since = feed.waiting_since or now
            if now - feed.waiting_since < 2 * RESNAP_S:
                return
            feed.native, feed.begun, feed.repair = False, False, feed.told > 0
            feed.fallbacks += 1
            self._alert(
                "warning",
                "book_not_native",
                f"{feed.symbol}: the native parser has no book, ccxt's is used",
                {"symbol": feed.symbol, "venue": self._account.id},
            )
        bids, asks = rows.side(value["bids"], DEPTH), rows.side(value["asks"], DEPTH)
        if not bids and not asks:
            return
        self._heard(feed, ns)
        self._slices(feed, bids, asks, rows.stamp(value, ns), ns)

    def _slices(self, feed: Feed, bids: rows.Side, asks: rows.Side, ts: int, ns: int) -> None:
        if rows.crossed(bids, asks):
            self._desync(feed)
            return
        if not feed.begun:
            snapshot = rows.snapshot(feed.symbol, bids, asks, ts, ns, repaired=feed.repair)
            feed.bids, feed.asks = bids, asks
            self._whole(feed, snapshot)
            return
        delta = BookDelta(
            feed.symbol, rows.changed(feed.bids, bids), rows.changed(feed.asks, asks), ts, ns
        )
        feed.bids, feed.asks = bids, asks
        if delta.bids or delta.asks:
            self.books[feed.symbol].apply_delta(delta)
            self._out.append(delta)
            self._fold(feed.symbol, ns)
        if feed.cause is not None:
            self._unmark(feed)

    def _whole(self, feed: Feed, snapshot: BookSnapshot) -> None:
        book = OrderBook()
        book.apply_snapshot(snapshot)
        if book.crossed:
            self._desync(feed)
            return
        self.books[feed.symbol].apply_snapshot(snapshot)
        feed.begun, feed.repair = True, True
        if feed.cause is not None:
            self._unmark(feed)
        self._out.append(snapshot)
        self._fold(feed.symbol, snapshot.recv_ts)

    def _desync(self, feed: Feed) -> None:
        """Withhold a book that is wrong, and have it begun anew."""
        feed.begun, feed.repair = False, True
        self._mark(feed, "desync")
        now = self._clock()
        if now - feed.resnap >= RESNAP_S:
            feed.resnap = now
            self._wrong(feed)


def _before(book: OrderBook, delta: BookDelta) -> BookDelta:
    """The delta that takes another one back."""
    bids = tuple((row[0], _amount(book.bids.levels, -float(row[0]))) for row in delta.bids)
    asks = tuple((row[0], _amount(book.asks.levels, float(row[0]))) for row in delta.asks)
    return BookDelta(book.symbol, bids, asks, book.asof, book.asof)


def _amount(levels: Mapping[float, Level], key: float) -> str:
    level = levels.get(key)
    return "0" if level is None else level[1]


def nowhere(events: Sequence[object]) -> None:
    """Before it runs nobody listens."""
