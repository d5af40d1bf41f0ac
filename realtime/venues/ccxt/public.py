"""The public half of a ccxt venue: markets, prices, trades, bars.

Rules of this file:
1 Data is taken at the tap, in the step that brought it; results of ccxt's watch calls are ignored. A call only keeps
  its subscription alive, one supervisor per wanted stream.
2 A stream that is down is stale, is asked for by REST meanwhile, and is tried again without end. What comes back of a
  book begins with a snapshot; what comes back of trades begins where they broke off.
3 Silence is judged by the rhythm of the stream, the traffic of its socket and a look by REST, not by a fixed time.
4 Nothing is made up: an answer without its shape is no answer (S1), a crossed book is not shown.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Failure
from realtime.model.market import (
    MS,
    SECOND,
    UNTOLD,
    Bar,
    BookSnapshot,
    Funding,
    Level,
    Market,
    Ticker,
    Trade,
)
from realtime.model.orders import TriggerBy
from realtime.venues.base import Listed, Now, Post, Sleep
from realtime.venues.ccxt import markets as listing, rows
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.asking import ANSWER_S, DEPTH, LONGEST, Rest
from realtime.venues.ccxt.books import NATIVE
from realtime.venues.ccxt.capabilities import matrix
from realtime.venues.ccxt.exchange import Hooks, Many, faults, make
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.reading import Aside
from realtime.venues.ccxt.register import Register
from realtime.venues.ccxt.taking import RESNAP_S, Taking, Tap, nowhere
from realtime.venues.ccxt.watch import DEAD_S, Feed, Socket, backoff, differences, unheard_of
from realtime.venues.ccxt.way import Tell
from realtime.venues.chance import Chance
from realtime.venues.rhythm import USUAL, Patience, Rhythm


logger = logging.getLogger("realtime.venues.ccxt")

KINDS: Final = ("ticker", "orderbook", "trades")
METHODS: Final = {
    "ticker": ("watchTicker", "watch_ticker", "unWatchTicker", "un_watch_ticker"),
    "orderbook": ("watchOrderBook", "watch_order_book", "unWatchOrderBook", "un_watch_order_book"),
    "trades": ("watchTrades", "watch_trades", "unWatchTrades", "un_watch_trades"),
}
ASKED: Final = {"ticker": "fetchTicker", "orderbook": "fetchOrderBook", "trades": "fetchTrades"}
EVERY_S: Final = {"ticker": 2.0, "orderbook": 1.0, "trades": 2.0}
"""How often a stream is asked for while there is none (trading document, 6.3)."""
DAILY_S: Final = 30.0
"""How often the day's figures, or a funding rate, are asked for where no stream tells them."""
SETTLED_S: Final = 1.0
"""How long a subscription must stand before the silence of its market counts as quiet."""
NEAR: Final = 5
"""Levels of a side that a look at a silent book compares."""
LOOK_S: Final = 0.5
COMPARE_S: Final = 60.0
"""Time between two comparisons of an unchecked book with REST."""

PING_S: Final = 2.0
"""Silence of a socket after which it is pinged, and the time between pings."""
CATCH_UP_S: Final = 2.0
"""When missed trades are asked for, counted from the new subscription, if none has come before."""
CHECKED: Final = frozenset(
    {"binance", "binanceusdm", "binancecoinm", "binanceus", "okx", "bitfinex"}
)
"""Venues whose books ccxt or we check by sequence or checksum; others are compared with REST."""


def untold(level: str, code: str, text: str, data: Mapping[str, object]) -> None:
    """Log what nobody else wants to know."""
    logger.warning(text, extra={"level_of": level, "code": code, **data})


class PublicData(Taking):
    """Market data of one exchange.

    Attributes:
        markets: By symbol; filled by `open`, changed by `register`.
        books: By symbol, each changed right before the change is posted.
        faults: Frames that ccxt could not read.
        exchange: ccxt's, once `open` was called.
        rest: Questions to it, likewise.
        aside: Reads its markets, likewise.
        register: Keeps them, and tells of those that are not what they were.
    """

    def __init__(
        self,
        *,
        account: Account,
        now: Now,
        sleep: Sleep,
        hooks: Sequence[Hooks] = (),
        clock: Callable[[], float] | None = None,
        seed: int = 0,
        tell: Tell = untold,
        reload_s: float = 3600.0,
        options: Mapping[str, object] | None = None,
        known: Mapping[str, Market] | None = None,
        patience: Patience = USUAL,
    ) -> None:
        """Make it; nothing is asked before `open`.

        Args:
            account: Names exchange, types, symbols and endpoint; its keys are not used.
            now: The time [ns].
            sleep: Waits for seconds.
            hooks: Told besides: the way that limits requests, a recorder.
            clock: Monotonic time [s]; None is the event loop's.
            seed: Of the jitter.
            tell: Told what an operator should know.
            reload_s: Time between two readings of the markets [s].
            options: ccxt's configuration besides.
            known: Markets of before; those that are listed no more are delisted ones.
            patience: When the silence of a stream means something.
        """
        super().__init__(account=account, now=now, clock=clock or _loop_time, tell=tell)
        self._sleep = sleep
        self._hooks = Many(Tap(self), *hooks)
        self._chance = Chance(seed, account.id, "backoff")
        self._options = dict(options or {})
        self._known = dict(known or {})
        self._patience = patience
        self.rest: Rest
        self._group: asyncio.TaskGroup | None = None
        self._wanted: dict[str, set[str]] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        # Streams that were left and still come, by socket: ccxt cannot unsubscribe everywhere.
        self._left: dict[str, set[tuple[str, str]]] = {}
        self.aside: Aside
        self.register = Register(
            account=account,
            markets=self.markets,
            read=lambda: self.rest.read(self.aside, gentle=True),
            every_s=reload_s,
            clock=self._clock,
            alert=tell,
            left=self._delist,
            back=self._revive,
        )
        self._due: dict[tuple[str, str], float] = {}
        # When a proof of life was given last.
        self._alive = 0.0

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the exchange and read its markets.

        Raises:
            Refused: `invalid`, ccxt knows no such exchange, or none of the markets wanted is there.
            VenueRejected: `venue_unavailable`; `details.cause` is `maintenance`, `unreachable` or `malformed`.
        """
        account = self._account
        options = {**listing.load_options(account.exchange, account.types), **account.options}
        config = {"options": options, **self._options}
        self.exchange = make(
            account.exchange,
            hooks=self._hooks,
            config=config,
            endpoint=account.endpoint,
            sandbox=account.sandbox,
        )
        self.aside = Aside(self.exchange, account, config)
        self.rest = Rest(self.exchange, account, self.markets, self._now)
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self.exchange.close)
            reading = await self.rest.read(self.aside)
            undo.pop_all()
        self.register.share(self.exchange)
        self.register.begin(reading, self._known)
        maker = NATIVE.get(kin(account.exchange))
        if maker is not None:
            self._native = maker(self.markets.values())
            self.register.learn = self._native.learn

    async def run(self, post: Post) -> None:
        """Deliver events until cancelled; then close every socket."""
        self._post = post
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for symbol in sorted(self.register.gone):
                    self._emit(self._staleness(symbol, "delisted", 0))
                for symbol in tuple(self._wanted):
                    self._settle(symbol)
                try:
                    while True:
                        await self._sleep(LOOK_S)
                        self.look()
                finally:
                    self._group = None  # before its end: what still comes in starts nothing
        finally:
            self._tasks.clear()
            self._post = nowhere
            await self.close()

    async def close(self) -> None:
        """Close what `open` has opened; `run` does it at its end."""
        if self.exchange is not None:
            self.register.unshare(self.exchange)
            await self.exchange.close()

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Say whether anybody reads a stream; bars are folded from trades elsewhere."""
        if symbol not in self.markets:
            return
        streams = self._wanted.setdefault(symbol, set())
        again = wanted and stream == "orderbook" and stream not in streams
        (streams.add if wanted else streams.discard)(stream)
        self._settle(symbol)
        if again:
            self._retell(symbol)

    def _retell(self, symbol: str) -> None:
        """Give a new reader the whole of a book that was followed for the ticker's sake: nobody else has kept it."""
        feed = self._feeds.get((symbol, "orderbook"))
        if feed is not None and feed.begun:
            book, now = self.books[symbol], self._now()
            # Not by `top`: the book would keep all of it sorted from then on.
            whole = tuple(book.bids), tuple(book.asks)
            self._emit(BookSnapshot(symbol, *whole, now, now, repaired=True))

    def share(self, exchange: Any) -> None:
        """Let another instance at this exchange know the markets, now and after each later reading.

        Args:
            exchange: ccxt's, of the same id; until it is closed.
        """
        self.register.share(exchange)

    def unshare(self, exchange: Any) -> None:
        """Let an instance go that is closed."""
        self.register.unshare(exchange)

    def reread(self) -> None:
        """Read the markets again soon: something suggests that they are not what they were."""
        self.register.soon()

    def on_listing(self, told: Listed) -> None:
        """Say who is told of markets that are new or not what they were; `markets` has them by then."""
        self.register.told = told

    def capabilities(self) -> dict[str, dict[str, str]]:
        """Say what this exchange offers; see `capabilities.matrix`."""
        return matrix(self.exchange.has)

    def feeds(self) -> list[dict[str, object]]:
        """Make the rows of `monitoring.hybrid`, by channel."""
        now, ns = self._clock(), self._now()
        return [feed.row(now, ns) for _, feed in sorted(self._feeds.items())]

    @property
    def asof(self) -> int:
        """When anything came from this venue last [ns]; 0 before."""
        return max((feed.told for feed in self._feeds.values()), default=0)

    # --- which streams --------------------------------------------------------------------------

    def _settle(self, symbol: str) -> None:
        """Begin and end the streams of a symbol as they are wanted."""
        if self._group is None:
            return
        wanted = {stream.partition(":")[0] for stream in self._wanted.get(symbol, ())}
        kinds = {"trades" if kind == "ohlcv" else kind for kind in wanted} & set(KINDS)
        if "ticker" in kinds:
            feed = self._feeds.get((symbol, "ticker"))
            if self._source("ticker") == "fold" or (feed is not None and feed.needs_book):
                kinds |= (
                    {"orderbook", "trades"} if self._source("ticker") == "fold" else {"orderbook"}
                )
        for kind in KINDS:
            key = (symbol, kind)
            if kind in kinds and key not in self._feeds and symbol not in self.register.gone:
                self._begin(symbol, kind)
            elif kind not in kinds and key in self._feeds:
                self._end(key)
        if not kinds:
            self._wanted.pop(symbol, None)

    def _source(self, kind: str) -> str:
        has = self.exchange.has
        if has.get(METHODS[kind][0]) is True:
            return "ws"
        if kind == "ticker" and has.get("watchOrderBook") is True:
            return "fold"
        return "poll"

    def _begin(self, symbol: str, kind: str) -> None:
        assert self._group is not None
        source, now = self._source(kind), self._clock()
        feed = Feed(
            symbol=symbol,
            kind=kind,
            source=source,
            since=self._now(),
            heard=now,
            rhythm=Rhythm(self._patience),
        )
        if source == "poll" and not self.rest.can(ASKED[kind]):
            return  # nobody has it; `capabilities` says so
        if source == "poll":
            feed.fallbacks = 1
        if kind == "orderbook":
            feed.native = self._native is not None and source == "ws"
            self.books.setdefault(symbol, OrderBook(symbol))
            name = kin(self._account.exchange)
            checked = name in CHECKED or (feed.native and name == "kraken")
            if not checked and source == "ws" and self.rest.can("fetchOrderBook"):
                feed.compare = now + COMPARE_S
        if kind == "trades":
            # Some venues tell old trades at the start of a subscription: those are history, not news.
            feed.newest = feed.since - 10 * SECOND
        self._feeds[symbol, kind] = feed
        if source == "ws":
            task = self._group.create_task(self._supervise(feed), name=f"{kind}:{symbol}")
            self._tasks[symbol, kind] = task

    def _end(self, key: tuple[str, str]) -> None:
        feed = self._feeds.pop(key)
        self._ended.update(feed.counts())
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()
        if feed.cause is not None:
            self._unmark(feed)
        if feed.kind == "orderbook":
            if self._native is not None:
                self._native.forget(feed.symbol)
            self._free(feed.symbol)
        self._spawn(self._leave(feed), f"leave {feed.kind}:{feed.symbol}")

    def _free(self, symbol: str) -> None:
        """Let a book go that nobody follows: it would be wrong by now, and there are thousands of symbols."""
        self.books.pop(symbol, None)

    def _drop(self, symbol: str, kind: str) -> None:
        """Let go what ccxt keeps of a stream whose frames come no more."""
        exchange = self.exchange
        kept = {"orderbook": exchange.orderbooks, "trades": exchange.trades}.get(kind)
        if kept is not None and (symbol, kind) not in self._feeds:
            kept.pop(symbol, None)

    async def _leave(self, feed: Feed) -> None:
        """Unsubscribe, or close the socket once nothing else is on it."""
        known, _, has, method = METHODS[feed.kind]
        gone = False
        if feed.source == "ws" and self.exchange.has.get(known) and self.exchange.has.get(has):
            try:
                async with asyncio.timeout(DEAD_S):
                    await getattr(self.exchange, method)(feed.symbol)
                gone = True
            except faults(TimeoutError, asyncio.CancelledError) as error:
                _raise_own(error)
        if (feed.symbol, feed.kind) in self._feeds:
            return  # wanted again meanwhile
        url = feed.url
        if gone or url is None:
            self._drop(feed.symbol, feed.kind)
        else:
            # Its frames come for as long as the socket is open, and ccxt wants to know what they change.
            self._left.setdefault(url, set()).add((feed.symbol, feed.kind))
        if url is not None and all(other.url != url for other in self._feeds.values()):
            await self._hang_up(url, "nobody reads it")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        if self._group is None:
            work.close()
        else:
            self._group.create_task(work, name=name)

    # --- supervisors ----------------------------------------------------------------------------

    async def _supervise(self, feed: Feed) -> None:
        """Keep a subscription alive."""
        watch = getattr(self.exchange, METHODS[feed.kind][1])
        tries = 0
        expected, again, cause = False, False, "disconnected"
        while True:
            feed.heard = feed.subscribed = self._clock()
            feed.rhythm.rest()
            feed.client = None
            try:
                while True:
                    await watch(feed.symbol)
                    tries = 0
            except faults(asyncio.CancelledError) as error:
                _raise_own(error)
                if type(error).__name__ == "NotSupported":
                    self._fall_back(feed)
                    return
                expected, feed.expected = feed.expected, False
                again = not expected and self._stands(feed) and not _ended(error)
                cause = self._lost(feed, error)
            feed.reconnects += 1
            tries += 1
            if not expected:
                self._mark(feed, cause)
            logger.info(
                "stream lost",
                extra={"channel": f"{feed.kind}:{feed.symbol}", "cause": cause, "tries": tries},
            )
            longest = min(self._account.backoff_max_s, 30.0)
            await self._sleep(
                0.0 if expected and tries == 1 else backoff(tries, longest, self._chance)
            )
            if again:
                # The socket stands, but what became of the subscription nobody knows.
                await self._resubscribe(feed)
                feed.expected = False

    def _stands(self, feed: Feed) -> bool:
        """Whether the socket of a stream is still open."""
        clients = self.exchange.clients or {}
        return feed.client is not None and clients.get(feed.url) is feed.client

    def _lost(self, feed: Feed, error: BaseException) -> str:
        """Forget what a loss makes worthless, and name the loss."""
        name = type(error).__name__
        if feed.kind == "orderbook":
            if self._native is not None:
                self._native.forget(feed.symbol)
            # A book that ccxt keeps over a lost socket takes the next snapshot for a change (Bitfinex).
            if not self._stands(feed):
                self.exchange.orderbooks.pop(feed.symbol, None)
            feed.begun, feed.repair = False, feed.told > 0
        elif feed.kind == "trades" and feed.told:
            feed.hole = True
            self._spawn(self._catch_up_later(feed), f"catch up {feed.symbol}")
        if name == "OnMaintenance":
            return "maintenance"
        return "desync" if name == "ChecksumError" else "disconnected"

    def _fall_back(self, feed: Feed) -> None:
        feed.source = "poll"
        feed.fallbacks += 1
        self._tasks.pop((feed.symbol, feed.kind), None)

    async def _hang_up(self, url: str, why: str) -> None:
        """Close a socket without waiting for the other side, so that its watchers dial again."""
        client = self.exchange.clients.pop(url, None)
        self._sockets.pop(url, None)
        for symbol, kind in self._left.pop(url, ()):
            self._drop(symbol, kind)
        if client is None:
            return
        from ccxt.base.errors import NetworkError  # noqa: PLC0415 - it is loaded by now

        client.error = NetworkError(f"closed by us: {why}")
        client.reject(client.error)
        try:
            async with asyncio.timeout(DEAD_S):
                await client.aiohttp_close()
        except faults(TimeoutError) as error:
            logger.debug("a socket would not close", extra={"why": repr(error)[:LONGEST]})

    # --- mending ----------------------------------------------------------------------------------

    def _wrong(self, feed: Feed) -> None:
        """As in `Taking`."""
        self._spawn(self._resnap(feed), f"snapshot of {feed.symbol}")

    def _holed(self, feed: Feed) -> None:
        """As in `Taking`."""
        self._spawn(self._catch_up(feed), f"catch up {feed.symbol}")

    async def _resnap(self, feed: Feed) -> None:
        """Get a fresh book: by REST where the chain begins there, else by subscribing anew."""
        native = self._native
        if feed.native and native is not None and native.rest:
            native.forget(feed.symbol)
            feed.rest_calls += 1
            try:
                async with asyncio.timeout(ANSWER_S):
                    # Its raw answer comes by way of the tap; the ids of the parser fit it.
                    await self.exchange.fetch_order_book(feed.symbol, 1000)
            except faults(TimeoutError) as error:
                logger.info("no snapshot", extra={"why": repr(error)[:LONGEST]})
            return
        await self._resubscribe(feed)

    async def _resubscribe(self, feed: Feed) -> None:
        _, _, has, method = METHODS[feed.kind]
        if native := (feed.kind == "orderbook" and self._native):
            native.forget(feed.symbol)
        feed.expected = True
        if self.exchange.has.get(has) is True:
            try:
                async with asyncio.timeout(DEAD_S):
                    await getattr(self.exchange, method)(feed.symbol)
            except faults(TimeoutError, asyncio.CancelledError) as error:
                _raise_own(error)
            else:
                return
        await self._redial(feed, "subscribed anew")

    async def _redial(self, feed: Feed, why: str) -> None:
        """Close the socket of a feed; all of them where it is not known which one is its."""
        for url in [feed.url] if feed.url is not None else list(self.exchange.clients or ()):
            await self._hang_up(url, why)

    # --- trades -----------------------------------------------------------------------------------

    async def _catch_up_later(self, feed: Feed) -> None:
        await self._sleep(CATCH_UP_S)
        filled = feed.hole and not feed.busy and await self._missed(feed)
        if filled and feed.cause is not None and self._quiet(feed):
            self._unmark(feed)

    async def _catch_up(self, feed: Feed) -> None:
        """Fill the hole before the first trade of a new subscription, then let the stream go on."""
        while feed.busy:
            await self._sleep(0.05)
        if not await self._missed(feed):
            feed.gaps += 1
            self._alert(
                "warning",
                "trades_missed",
                f"{feed.symbol}: trades between two connections could not be asked for",
                {"symbol": feed.symbol, "venue": self._account.id},
            )
        held, feed.held, feed.hole = feed.held, [], False
        for trade in held:
            self._tell(feed, trade)
        if feed.cause is not None:
            self._unmark(feed)
        self.flush()

    async def _missed(self, feed: Feed) -> bool:
        """Ask for the newest trades and post those that were not heard; False without an answer."""
        if not self.rest.can("fetchTrades"):
            return False
        feed.busy = True
        feed.rest_calls += 1
        try:
            answer = await self.rest.recent(feed.symbol, 1000)
        except Failure as error:
            logger.info("no trades", extra={"symbol": feed.symbol, "why": str(error)[:LONGEST]})
            return False
        finally:
            feed.busy = False
        if answer and answer[0].ts > feed.newest and feed.told:
            feed.gaps += 1  # the answer does not reach back to what was heard last
        for trade in unheard_of(feed, answer):
            self._tell(feed, trade)
        self.flush()
        return True

    # --- the look ---------------------------------------------------------------------------------

    def look(self) -> None:
        """Judge silences, ask for what has no stream, compare books; called twice a second."""
        now = self._clock()
        for url, client in tuple((self.exchange.clients or {}).items()):
            socket = self._sockets.get(url)
            if socket is None or socket.client not in {None, client}:
                socket = self._sockets[url] = Socket(heard=now)
            socket.client = client
            if not client.isConnected:
                socket.heard = now  # still dialling
            elif now - max(socket.heard, socket.pinged) >= PING_S:
                socket.pinged = now
                self._spawn(_ping(client), "ping")
        for feed in tuple(self._feeds.values()):
            self._look_at(feed, now)
        if self._pulsed > self._alive:
            # A quiet market: pings are answered and nothing happens. A socket that is being dialled proves nothing.
            self._alive = now
            self._post(())
        if self.register.due(now):
            self._spawn(self.register.again(), "markets")

    def _look_at(self, feed: Feed, now: float) -> None:
        if feed.kind == "ticker":
            self._look_at_day(feed, now)
        if feed.polled:
            if now >= feed.due and not feed.busy:
                feed.due = now + EVERY_S[feed.kind]
                self._spawn(self._poll(feed), f"poll {feed.kind}:{feed.symbol}")
            if feed.cause == "desync" and now - feed.resnap >= RESNAP_S:
                self._desync(feed)
        if feed.source != "ws" or feed.cause not in {None, "silent"}:
            return
        silent = now - feed.heard
        socket = self._sockets.get(feed.url or "")
        # A socket that never answered a ping is not dead for leaving one unanswered: the market may be quiet.
        dead = socket is not None and (socket.pongs or feed.cause == "silent") and socket.mute(now)
        if dead and silent > DEAD_S:
            self._mark(feed, "silent")
            self._spawn(self._redial(feed, "silent"), "hang up")
        elif silent > feed.rhythm.limit and feed.cause is None and not feed.busy:
            if now >= feed.due:
                feed.due = now + feed.rhythm.limit
                self._spawn(self._probe(feed), f"probe {feed.kind}:{feed.symbol}")
        elif feed.compare is not None and now >= feed.compare and feed.begun and not feed.busy:
            feed.compare = now + COMPARE_S
            self._spawn(self._compare(feed), f"compare {feed.symbol}")

    def _look_at_day(self, feed: Feed, now: float) -> None:
        """Ask for the day's figures, and for a derivative's funding, where no stream tells them."""
        symbol = feed.symbol
        wanted = [("day", feed.source == "fold" and self.rest.can("fetchTicker"))]
        funded = self.markets[symbol].contract and self.rest.can("fetchFundingRate")
        wanted.append(("funding", funded))
        for what, wish in wanted:
            if wish and now >= self._due.get((symbol, what), 0.0):
                self._due[symbol, what] = now + DAILY_S
                feed.rest_calls += 1
                work = self._day(feed) if what == "day" else self._fund(feed)
                self._spawn(work, f"{what} of {symbol}")

    async def _day(self, feed: Feed) -> None:
        try:
            ticker = await self.rest.ticker(feed.symbol)
        except Failure as error:
            logger.info("no day's figures", extra={"why": str(error)[:LONGEST]})
            return
        feed.last = ticker if feed.last is None else replace(feed.last, daily=ticker.daily)
        self._emit(feed.last)

    async def _fund(self, feed: Feed) -> None:
        symbol = feed.symbol
        try:
            row = await self.rest.ask(self.exchange.fetch_funding_rate(symbol))
        except Failure as error:
            logger.info("no funding rate", extra={"why": str(error)[:LONGEST]})
            return
        if not isinstance(row, Mapping):
            return
        digits = self._digits["funding"]
        rate = row.get("fundingRate")
        when = row.get("fundingTimestamp") or row.get("nextFundingTimestamp")
        if not isinstance(rate, float | int) or not isinstance(when, int | float):
            return
        self._funding[symbol] = (rows.text(rate), int(when) * MS)
        mark = rows.positive(digits.text(row, "markPrice"))
        index = rows.positive(digits.text(row, "indexPrice"))
        if mark is not None and index is not None:
            ts = self._now()
            self._mark_price(Ticker(symbol, None, None, None, None, ts, ts, UNTOLD, mark, index))
            self.flush()

    async def _poll(self, feed: Feed) -> None:
        """Ask for one stream by REST and post what is new."""
        feed.busy = True
        feed.rest_calls += 1
        try:
            await self._polled(feed)
        except Failure as error:
            if feed.source == "poll":
                self._mark(feed, "disconnected")
            logger.info(
                "no answer to a poll",
                extra={
                    "channel": f"{feed.kind}:{feed.symbol}",
                    "why": str(error)[:LONGEST],
                },
            )
        finally:
            feed.busy = False
        self.flush()

    async def _polled(self, feed: Feed) -> None:
        ns = self._now()
        if feed.kind == "ticker":
            ticker = await self.rest.ticker(feed.symbol)
            feed.last = self._completed(feed, ticker)
            self._out.append(feed.last)
            self._mark_price(ticker)
        elif feed.kind == "orderbook":
            bids, asks = await self.rest.book(feed.symbol)
            if self._feeds.get((feed.symbol, feed.kind)) is not feed:
                return  # nobody wants it any more
            if feed.cause is None and feed.source == "ws":
                return  # the stream was faster
            ns = self._now()
            if rows.crossed(bids, asks):
                return
            snapshot = rows.snapshot(feed.symbol, bids, asks, ns, ns, repaired=feed.told > 0)
            self.books[feed.symbol].apply_snapshot(snapshot)
            self._out.append(snapshot)
            self._fold(feed.symbol, ns, fresh=True)
        else:
            answer = await self.rest.recent(feed.symbol, 1000)
            if not feed.told and feed.source == "poll":
                for trade in answer:  # history, not news
                    feed.unheard(trade)
            for trade in unheard_of(feed, answer):
                self._tell(feed, trade)
        if feed.source == "poll":
            feed.beat(self._clock(), self._now())
        if feed.cause is not None and (feed.source == "poll" or self._quiet(feed)):
            self._unmark(feed)

    def _quiet(self, feed: Feed) -> bool:
        """Whether a stream that was lost stands again, and only its market says nothing."""
        if feed.kind == "orderbook" or self._clock() - feed.subscribed < SETTLED_S:
            return False
        own = self._sockets.get(feed.url or "")
        sockets = self._sockets.values() if own is None else (own,)
        return any(socket.heard > feed.subscribed for socket in sockets)

    async def _probe(self, feed: Feed) -> None:
        """Look by REST whether a silent stream has missed something."""
        heard = feed.heard
        feed.busy = True
        feed.rest_calls += 1
        try:
            moved = await self._moved(feed)
        except Failure as error:
            logger.info("no answer to a probe", extra={"why": str(error)[:LONGEST]})
            moved = True  # neither the stream nor the venue answers
        finally:
            feed.busy = False
        if not moved or feed.heard != heard or (feed.symbol, feed.kind) not in self._feeds:
            return
        feed.suspected += 1
        self._mark(feed, "silent")
        if feed.suspected == 1:
            await self._resubscribe(feed)
        else:
            await self._redial(feed, "silent")

    async def _moved(self, feed: Feed) -> bool:
        if feed.kind == "trades":
            if not self.rest.can("fetchTrades"):
                return False
            # What is younger than the silence's length could still be on its way.
            old = self._now() - 2 * SECOND
            newest = await self.rest.recent(feed.symbol, 100)
            first = 0 if feed.told else feed.since + SECOND
            return any(first < trade.ts < old for trade in unheard_of(feed, newest))
        if feed.kind == "orderbook":
            if not self.rest.can("fetchOrderBook"):
                return False
            bids, asks = await self.rest.book(feed.symbol)
            book = self.books.get(feed.symbol)
            if book is None:
                return False  # nobody wants it any more
            # Prices only: some venues round the amounts of their REST books (Kraken: to three decimals).
            ours = [_prices(ladder.top(NEAR)) for ladder in (book.bids, book.asks)]
            return ours != [list(side)[:NEAR] for side in (bids, asks)]
        if not self.rest.can("fetchTicker"):
            return False
        ticker = await self.rest.ticker(feed.symbol)
        last = feed.last
        return last is None or _figures(ticker) != _figures(last)

    async def _compare(self, feed: Feed) -> None:
        """Compare an unchecked book with REST; what differs twice in the same way is an error of ours."""
        feed.busy = True
        feed.rest_calls += 1
        try:
            theirs = await self.rest.book(feed.symbol)
        except Failure as error:
            logger.info("no book to compare", extra={"why": str(error)[:LONGEST]})
            return
        finally:
            feed.busy = False
        if self._feeds.get((feed.symbol, feed.kind)) is not feed:
            return  # nobody wants it any more
        book = self.books[feed.symbol]
        ours = _top(book.bids.top(DEPTH)), _top(book.asks.top(DEPTH))
        found = differences(ours, theirs)
        certain, feed.doubts = found & feed.doubts, found
        if certain:
            feed.gaps += 1
            feed.doubts = frozenset()
            self._desync(feed)
            self.flush()
        elif found:
            feed.compare = self._clock() + RESNAP_S

    # --- markets ------------------------------------------------------------------------------------

    def _delist(self, symbol: str) -> None:
        """Close the streams of a market that is gone; its last values stay, marked."""
        told = 0
        for kind in KINDS:
            feed = self._feeds.get((symbol, kind))
            if feed is not None:
                told = max(told, feed.told)
                feed.cause = None
                self._end((symbol, kind))
        self._stale.pop(symbol, None)
        self._emit(self._staleness(symbol, "delisted", told))

    def _revive(self, symbol: str) -> None:
        """Follow a market that is listed again; it is fresh at once where nobody reads it, else when its streams tell."""
        self._settle(symbol)
        feeds = [self._feeds[symbol, kind] for kind in KINDS if (symbol, kind) in self._feeds]
        for feed in feeds:
            self._mark(feed, "disconnected")
        if not feeds:
            self._emit(self._staleness(symbol, None, 0))

    # --- asking -------------------------------------------------------------------------------------

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Give bars, as in `Venue`; see `asking.Rest.ohlcv`."""
        return await self.rest.ohlcv(symbol, timeframe, since, limit)

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """Give the bars of a trigger price, as in `Witness`; see `asking.Rest.past`."""
        return await self.rest.past(symbol, by, since)

    async def fundings(self, symbol: str, since: int) -> tuple[Sequence[Funding], int]:
        """Give what a perpetual has paid, as in `Fundings`; see `asking.Rest.fundings`."""
        return await self.rest.fundings(symbol, since)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """Give the newest public trades, as in `Venue`; see `asking.Rest.trades`."""
        return await self.rest.trades(symbol, limit)


def _top(levels: Sequence[Level]) -> rows.Side:
    return {float(price): float(amount) for price, amount in levels}


def _prices(levels: Sequence[Level]) -> list[float]:
    return [float(price) for price, _ in levels]


def _figures(ticker: Ticker) -> list[float | None]:
    """What of a ticker shows that it moved; as numbers, because REST may write them with other zeros."""
    texts = (ticker.daily.last, ticker.bid, ticker.ask)
    return [None if text is None else float(text) for text in texts]


async def _ping(client: Any) -> None:
    """Ask a socket for a sign of life; that it cannot be asked shows soon enough."""
    try:
        async with asyncio.timeout(PING_S):
            await client.connection.ping()
    except faults(TimeoutError) as error:
        logger.debug("no ping", extra={"why": repr(error)[:LONGEST]})


def _ended(error: BaseException) -> bool:
    """Whether ccxt itself has ended the subscription, so that the next call makes a new one."""
    return type(error).__name__ in {"ChecksumError", "UnsubscribeError"}


def _raise_own(error: BaseException) -> None:
    """Let our own cancellation pass; ccxt cancels the futures of a socket that it closes."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        raise error


def _loop_time() -> float:
    return asyncio.get_running_loop().time()
