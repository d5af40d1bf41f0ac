"""A real exchange account behind the venue port: public data, orders, and what the exchange tells of the account.

Rules of this file:
1 Every private stream has a supervisor that goes on for as long as the venue runs; its rows come through the tap,
  its result is not used (trading document, 6.1).
2 What a stream does not tell, or tells without its fee, is asked for; nothing waits for a stream alone.
3 Whether private data can be trusted is told in turns: in doubt once, there again once. A key that is not accepted is
  said once and tried again rarely, never in a storm (S14).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, Failure, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Ack, Filled, OrderSeen, VenueEvent
from realtime.model.market import MS, SECOND, Bar, Market, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order, TriggerBy
from realtime.venues.base import (
    History,
    Leave,
    Listed,
    Now,
    Post,
    PublicFeed,
    Relisting,
    Sleep,
    Told,
)
from realtime.venues.ccxt import kinds, mended, private
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.errors import classify, denied
from realtime.venues.ccxt.exchange import Hooks, Many, faults, make, sending
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.redaction import Redaction
from realtime.venues.ccxt.trading import Again, Trading
from realtime.venues.ccxt.watch import Socket
from realtime.venues.ccxt.way import LANE, Lane, Tell
from realtime.venues.rhythm import Freshness


logger = logging.getLogger(__name__)

PRIVATE_S: Final = 30.0
"""Private data that is older than this is in doubt (G3) [s]."""
BACKOFF_S: Final = 0.5
"""First pause before a stream is subscribed again [s]; it doubles."""
DENIED_S: Final = 60.0
"""First pause after a key was not accepted [s]; it doubles up to `DENIED_MAX_S`."""
DENIED_MAX_S: Final = 600.0
SOON_S: Final = 0.5
"""How soon fills are asked for that a stream has told without their fee, or not at all [s]."""
PING_S: Final = 2.0
"""Silence of a private socket after which it is pinged, and the time between pings [s]."""
HELD_S: Final = 3.0
"""How soon a balance is asked for where the stream does not say how much of it is in use [s]."""
CONTROL_S: Final = 5.0
"""Pause between positive controls of the look-up (A2) [s]."""
POLLS: Final[Mapping[str, float]] = {
    "orders": 2.0,
    "fills": 5.0,
    "balance": 15.0,
    "positions": 5.0,
}
"""How often is asked what no stream tells [s]."""
WATCHES: Final[Mapping[str, str]] = {
    "orders": "watchOrders",
    "fills": "watchMyTrades",
    "balance": "watchBalance",
    "positions": "watchPositions",
}
SEEN: Final = 10_000
"""Fills remembered so that a poll does not post them again."""
KNOWN: Final = 200
"""Orders remembered for positive controls."""
TRIED: Final = 3
"""Known orders that one control tries."""

MALFORMED: Final = frozenset({"InvalidOrder", "BadSymbol", "BadRequest"})
"""ccxt's classes of a refusal for the form of an order: perhaps the rules of its market are others by now."""

T = TypeVar("T")


@dataclass(slots=True)
class Stream:
    """One private stream.

    Attributes:
        name: `orders`, `fills`, `balance` or `positions`.
        watched: Whether the exchange has it.
        since: When it began [ns].
        lost: Loop time at which it was lost; None while it is there.
        failed: Loop time of its last failure.
        waits: Whether it is subscribed, or being so; not while it pauses before the next attempt.
        failures: In a row.
        messages: Rows that it told.
        reconnects: Of this process.
        fallbacks: Times that asking took its place.
        polls: Questions asked in its place.
        freshness: How much of the time its data could be trusted.
    """

    name: str
    watched: bool
    since: int = 0
    lost: float | None = None
    failed: float = 0.0
    waits: bool = False
    failures: int = 0
    messages: int = 0
    reconnects: int = 0
    fallbacks: int = 0
    polls: int = 0
    freshness: Freshness = field(default_factory=Freshness)

    def stands(self, pulsed: float, now: float) -> bool:
        """Whether a socket has spoken since its last failure, and it has not failed again within a second.

        Args:
            pulsed: When a private socket spoke last; an answer to a question proves nothing of a stream.
            now: Loop time.
        """
        return self.waits and self.failed < pulsed and self.failed + 1.0 < now


@runtime_checkable
class Sharing(Protocol):
    """Public data that lets another instance at its exchange know the markets it reads."""

    def share(self, exchange: Any) -> None:
        """Now, and after each later reading."""

    def unshare(self, exchange: Any) -> None:
        """No more."""

    def reread(self) -> None:
        """Read them again soon."""


class _Tap(Hooks):
    """Hears the rows of the private streams."""

    def __init__(self, venue: "CcxtVenue") -> None:
        self._venue = venue

    def row(self, kind: str, row: Mapping[str, Any]) -> None:
        """Post what it says."""
        self._venue.told(kind, row)

    def pulse(self, url: str) -> None:
        """Note that the private socket is alive."""
        self._venue.pulsed(url)

    def frame(self, url: str, text: str) -> None:
        """Look for a subscription that was refused."""
        self._venue.framed(url, text)

    def fault(self, url: str, error: BaseException) -> None:  # noqa: ARG002 - the hook's shape
        """Count a frame that ccxt could not read."""
        self._venue.garbled(error)


class CcxtVenue:
    """One account at one exchange.

    Args:
        account: Which one, with its keys.
        public: The exchange's public data, without keys.
        calls: Turns and numbers of this key (`calls.Calls`).
        now: The time [ns].
        sleep: Waits for seconds.
        loop: Its clock measures ages.
        tell: Takes alerts.
        hooks: Hear everything as well: a recorder, a monitor.
        check_clock: Raises where nothing may be signed (`clock.Offset.check`).
        again: Reads, and reads again where a number was refused (`calls.Calls.read`).
    """

    kind = "live"

    def __init__(
        self,
        *,
        account: Account,
        public: PublicFeed,
        calls: Hooks,
        now: Now,
        sleep: Sleep,
        loop: asyncio.AbstractEventLoop,
        tell: Tell = lambda _level, _code, _text, _data: None,
        hooks: Sequence[Hooks] = (),
        check_clock: Callable[[], None] = lambda: None,
        again: Again | None = None,
    ) -> None:
        self.id = account.id
        self.public = public
        self._account = account
        self._hooks = (_Tap(self), calls, *hooks)
        self._now = now
        self._sleep = sleep
        self._loop = loop
        self._tell = tell
        self._check_clock = check_clock
        self._again = again
        self._redact = Redaction(account.secrets)
        self._post: Post = _nowhere
        self._told: Told = _untold
        self._leave: Leave = _unguarded
        self._trading: Trading | None = None
        self._prepared = False
        self._preparing = asyncio.Lock()
        self._streams: dict[str, Stream] = {}
        self._heard = self._pulsed = loop.time()
        self._sockets: dict[str, Socket] = {}
        self._trusted = True
        # Why the key is not accepted; None while it is.
        self._denied: str | None = None
        # When the next question may try a key that was not accepted (loop time), and how often it was not.
        self._key_at = 0.0
        self._denials = 0
        self._fills_wanted = asyncio.Event()
        self._balance_wanted = asyncio.Event()
        # Whether the balance's stream tells totals alone: each order changes what is free of them.
        self._totals_only = False
        self._seen: dict[tuple[str, str], None] = {}
        self._newest_fill = 0
        # Orders of ours that the venue is known to have, by its id: for positive controls and vanished rows.
        self._known: dict[str, Order] = {}
        self._ended: set[str] = set()
        self._listed: dict[str, OrderSeen] = {}
        self._unreadable = 0

    # -- the port: what it is ------------------------------------------------------------------------

    @property
    def trading(self) -> Trading:
        """The account's calls, once `open` was called."""
        assert self._trading is not None, "open comes first"
        return self._trading

    @property
    def exchange(self) -> Any:
        """The ccxt instance with the keys."""
        return self.trading.exchange

    @property
    def lookup_proven(self) -> bool:
        """Whether each part of the look-up by client id has found a known order with this key (A2)."""
        return self.trading.proof.complete

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol."""
        return self.public.markets

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """Books that the public data keeps."""
        return self.public.books

    def attend(self, told: Told) -> None:
        """Say who is told when private data is in doubt, and when it is there again."""
        self._told = told

    def guard(self, leave: Leave) -> None:
        """Say who is asked right before an order leaves."""
        self._leave = leave

    def on_listing(self, told: Listed) -> None:
        """Say who is told of markets that are new or not what they were."""
        if isinstance(self.public, Relisting):
            self.public.on_listing(told)

    def expect(self, orders: Iterable[Order]) -> None:
        """Take in orders of before this process."""
        trading = self.trading
        for order in orders:
            trading.ids.theirs(order.venue_client_id)
            trading.symbols.add(order.symbol)
            self._know(order, order.exchange_order_id)
            if order.status.ended and order.exchange_order_id is not None:
                self._ended.add(order.exchange_order_id)

    # -- the port: life ------------------------------------------------------------------------------

    async def open(self, post: Post) -> None:
        """Learn the markets; the account is read by the reconciliation, and an exchange that is away stops nobody."""
        self._post = post
        await self.public.open()
        account = self._account
        config: dict[str, Any] = {
            "apiKey": account.key.reveal(),
            "secret": account.secret.reveal(),
            "options": dict(account.options),
        }
        if account.password:
            config["password"] = account.password.reveal()
        exchange = make(
            account.exchange,
            hooks=Many(*self._hooks),
            config=config,
            endpoint=account.endpoint,
            sandbox=account.sandbox,
        )
        if isinstance(self.public, Sharing):
            # One reading serves both: an order is written by the grid that it was judged by.
            self.public.share(exchange)
        self._trading = Trading(
            venue=self.id,
            exchange=exchange,
            markets=self.public.markets,
            types=account.types,
            now=self._now,
            tell=self._tell,
            redact=self._redact,
            check_clock=self._check_clock,
            again=self._again,
            leave=lambda approved: self._leave(approved),  # noqa: PLW0108 - it may be told later
        )
        self._streams = {
            name: Stream(
                name,
                watched=bool(exchange.has.get(has)),
                since=self._now(),
                fallbacks=0 if exchange.has.get(has) else 1,
            )
            for name, has in WATCHES.items()
            if name != "positions" or account.types != ("spot",)
        }

    async def run(self) -> None:
        """Deliver events until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.public.run(self._post), name=f"{self.id} public")
                for stream in self._streams.values():
                    if stream.watched:
                        group.create_task(self._watch(stream), name=f"{self.id} {stream.name}")
                    group.create_task(self._poll(stream), name=f"{self.id} poll {stream.name}")
                group.create_task(self._fetch_fills(), name=f"{self.id} fills")
                group.create_task(self._fetch_balance(), name=f"{self.id} balance")
                group.create_task(self._look(), name=f"{self.id} trust")
                group.create_task(self._control(), name=f"{self.id} control")
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the account's connections."""
        if self._trading is not None:
            if isinstance(self.public, Sharing):
                self.public.unshare(self.exchange)
            try:
                async with asyncio.timeout(5):
                    await self.exchange.close()
            except TimeoutError:
                logger.warning("connections were not closed in time", extra={"venue": self.id})

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Tell the public data."""
        self.public.want(symbol, stream, wanted)

    async def _prepare(self) -> None:
        """Learn what the exchange must know before a placement is one request."""
        async with self._preparing:
            if not self._prepared:
                await self._learn()
                self._prepared = True

    async def _learn(self) -> None:
        exchange = self.exchange
        token = LANE.set(Lane.RECONCILE)
        try:
            with sending() as sent:
                try:
                    # Where nobody shares what he reads: see `open`.
                    if not exchange.markets:
                        await exchange.load_markets()
                    await kinds.learn(exchange, sent)
                except Exception as error:
                    self._judge_key(error)
                    if isinstance(error, Failure):
                        raise
                    verdict = classify(exchange.id, error, sent, redact=self._redact)
                    text = getattr(verdict, "message", "")
                    raise VenueUnknown(f"{self.id} could not be prepared: {text}") from error
        finally:
            LANE.reset(token)

    # -- the port: orders ----------------------------------------------------------------------------

    async def submit(self, approved: Approved) -> Ack:
        """Place an order, at most once."""
        if not self._prepared:
            try:
                await self._prepare()
            except VenueUnknown as unknown:
                raise VenueRejected(
                    Code.VENUE_UNAVAILABLE, f"not sent: {unknown.message}", unknown.details
                ) from unknown
        try:
            ack = await self.trading.submit(approved)
        except VenueRejected as rejected:
            if dict(rejected.details or {}).get("class") in MALFORMED:
                self._reread()
            raise
        self._know(approved.order, ack.exchange_order_id)
        if ack.status is not None and ack.status.ended:
            self._ended.add(ack.exchange_order_id)
        if not self._has("fills"):
            self._fills_wanted.set()
        return ack

    def _reread(self) -> None:
        """Have the markets read again: an order that our rules let pass was not to the exchange's liking."""
        if isinstance(self.public, Sharing):
            self.public.reread()

    async def amend(self, approved: ApprovedAmend) -> Ack:
        """Change an order."""
        return await self.trading.amend(approved)

    async def cancel(self, order: Order) -> Ack:
        """Cancel an order."""
        return await self.trading.cancel(order)

    async def dead_mans_switch(self, seconds: float | None) -> bool:
        """Arm or renew the exchange's own switch, or (None) switch it off; whether there is one."""
        if not self._account.native_deadman:
            return False
        return await self.trading.dead_mans_switch(seconds)

    # -- the port: reading ---------------------------------------------------------------------------

    async def find(self, order: Order) -> OrderSeen | None:
        """Look an order up, working or ended."""
        seen = await self._read(lambda: self.trading.find(order))
        if seen is not None:
            self._note(seen)
        return seen

    async def open_orders(self) -> Sequence[OrderSeen]:
        """All working orders."""
        return await self._read(self.trading.open_orders)

    async def fills(self, since: int) -> Sequence[Filled]:
        """Fills, oldest first; a second fee of one is posted beside it."""
        rows = await self._read(lambda: self.trading.fills(since))
        beside = [row for row in rows if not isinstance(row, Filled)]
        if beside:
            self._post(beside)
        return [row for row in rows if isinstance(row, Filled)]

    async def balances(self) -> Sequence[Balance]:
        """All balances."""
        return [row.balance for row in await self._read(self.trading.balances)]

    async def positions(self) -> Sequence[Position]:
        """All derivative positions, those that went flat included."""
        return [row.position for row in await self._read(self.trading.positions)]

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """The public data's bars."""
        return await self.public.ohlcv(symbol, timeframe, since, limit)

    @property
    def slept(self) -> bool:
        """The venue's orders are its own: they go on without us."""
        return False

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """The public data's bars of the time when nobody watched."""
        data = self.public
        return await data.past(symbol, by, since) if isinstance(data, History) else None

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The public data's trades."""
        return await self.public.trades(symbol, limit)

    async def _read(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the account; an answer is a proof that its data is fresh, and that the key is accepted."""
        if self._denied is not None and self._loop.time() < self._key_at:
            raise VenueUnknown(f"{self._denied}; it is tried again later")
        await self._prepare()
        try:
            answer = await ask()
        except VenueRejected as rejected:
            if (rejected.details or {}).get("denied"):
                self._deny(rejected.message)
            raise
        self.heard()
        self._accept()
        return answer

    # -- what streams tell ---------------------------------------------------------------------------

    def heard(self) -> None:
        """Note a proof of life of the private side."""
        self._heard = self._loop.time()

    def pulsed(self, url: str) -> None:
        """Note a proof of life of a private socket; an answer to a question is none of it."""
        self._pulsed = now = self._loop.time()
        socket = self._sockets.setdefault(url, Socket(heard=now))
        socket.pongs = socket.pongs or socket.pinged > socket.heard
        socket.heard = now
        self.heard()

    def told(self, kind: str, row: Mapping[str, Any]) -> None:
        """Take a row of a private stream."""
        rows, now = self.trading.rows, self._now()
        stream = self._streams.get(f"{kind}s")
        if stream is not None:
            stream.messages += 1
        really = mended.told_elsewhere(kin(self._account.exchange), kind, row)
        if really == "fill":
            self._fills_wanted.set()  # as an order it says less, and it is one of an order that is told
        elif really is not None:
            kind = really
        if kind == "order":
            if self._totals_only:
                self._balance_wanted.set()
            seen = rows.order(row, now=now)
            if seen is not None:
                self._note(seen)
                self._post((seen,))
            if seen is None or (seen.filled and not self._has("fills")):
                self._fills_wanted.set()
        elif kind == "fill":
            if private.has_fee(row):
                self._post_fills(rows.fill(row, now=now, streamed=True))
            else:
                self._fills_wanted.set()
        elif kind == "position":
            held = rows.position(row, now=now)
            if held is not None:
                self._post((held,))

    def framed(self, url: str, text: str) -> None:
        """Take a frame before ccxt does: a refused subscription ends its socket, or its streams would wait for ever."""
        why = mended.refusal(kin(self._account.exchange), text)
        if why is not None and self._trading is not None:
            self._loop.call_soon(self._refused, url, why)

    def garbled(self, error: BaseException) -> None:
        """Count and log a frame that ccxt could not read; the reconciliation finds what was in it."""
        from ccxt import BaseError  # noqa: PLC0415 - loaded by whoever made the exchange

        if isinstance(error, BaseError):
            return  # it was read, and says no: whoever waits for it is told
        self._unreadable += 1
        why = self._redact(repr(error))[:300]
        logger.warning("a private frame could not be read", extra={"venue": self.id, "why": why})

    def _refused(self, url: str, why: str) -> None:
        exchange = self.exchange
        for client in exchange.clients.values():
            # A session that was refused is not used again.
            client.subscriptions.pop("authenticated", None)
        client = exchange.clients.get(url)
        if client is not None:
            client.on_error(ConnectionError(f"a subscription was refused: {why}"))

    def _post_fills(self, made: Sequence[VenueEvent]) -> None:
        """Post fills once, and look at the balance where no stream tells it."""
        fresh: list[VenueEvent] = []
        for event in made:
            if isinstance(event, Filled):
                key = (event.symbol, event.trade_id)
                if key in self._seen:
                    continue
                self._seen[key] = None
                if len(self._seen) > SEEN:
                    del self._seen[next(iter(self._seen))]
                self._newest_fill = max(self._newest_fill, event.ts)
            fresh.append(event)
        if any(isinstance(event, Filled) for event in fresh):
            self._post(fresh)
            if not self._has("balance"):
                self._balance_wanted.set()

    def _note(self, seen: OrderSeen) -> None:
        if seen.status.ended and seen.exchange_order_id in self._known:
            self._ended.add(seen.exchange_order_id)

    def _know(self, order: Order, exchange_order_id: str | None) -> None:
        if exchange_order_id:
            self._known[exchange_order_id] = order
            if len(self._known) > KNOWN:
                oldest = next(iter(self._known))
                del self._known[oldest]
                self._ended.discard(oldest)

    def _has(self, name: str) -> bool:
        stream = self._streams.get(name)
        return stream is not None and stream.watched and stream.lost is None

    # -- supervisors ---------------------------------------------------------------------------------

    async def _watch(self, stream: Stream) -> None:
        """Keep one private stream subscribed."""
        LANE.set(Lane.RECONCILE)
        while True:
            try:
                await self._prepare()
                stream.waits = True
                value = await self._subscribed(stream)
            except Exception as error:  # noqa: BLE001 - ccxt may raise anything, and a supervisor goes on
                stream.waits, stream.failed = False, self._loop.time()
                stream.failures += 1
                if stream.lost is None:
                    stream.lost = self._loop.time()
                    stream.fallbacks += 1
                if self._judge_key(error):
                    await self._sleep(max(self._key_at - self._loop.time(), 1.0))
                else:
                    logger.warning(
                        "private stream lost",
                        extra={
                            "venue": self.id,
                            "stream": stream.name,
                            "why": self._redact(f"{type(error).__name__}: {error}")[:300],
                        },
                    )
                    pause = BACKOFF_S * 2 ** min(stream.failures - 1, 16)
                    await self._sleep(min(pause, self._account.backoff_max_s))
                continue
            stream.failures = 0
            self._accept()
            if stream.name == "balance" and isinstance(value, Mapping):
                stream.messages += 1
                rows = self.trading.rows.balances(value, now=self._now(), streamed=True)
                if rows:
                    self._post(rows)
                if private.totals_only(value):
                    self._totals_only = True
                    self._balance_wanted.set()

    async def _subscribed(self, stream: Stream) -> Any:
        """Wait for the stream's next frame."""
        exchange = self.exchange
        match stream.name:
            case "orders":
                return await exchange.watch_orders()
            case "fills":
                return await exchange.watch_my_trades()
            case "balance":
                return await exchange.watch_balance()
            case _:
                return await exchange.watch_positions()

    async def _look(self) -> None:
        """Judge once a second whether the private data can be trusted."""
        while True:
            await self._sleep(1.0)
            self.look()
            await self._ping()

    async def _ping(self) -> None:
        """Ask silent sockets for a sign of life; one that has answered once and does not any more is dead (S8)."""
        now, clients = self._loop.time(), dict(self.exchange.clients or {})
        for url in self._sockets.keys() - clients.keys():
            del self._sockets[url]
        for url, client in clients.items():
            socket = self._sockets.get(url)
            if socket is None or socket.client not in {None, client} or not client.isConnected:
                socket = self._sockets[url] = Socket(heard=now)
            socket.client = client
            if socket.pongs and socket.mute(now):
                client.on_error(ConnectionError("the socket does not answer"))
            elif now - max(socket.heard, socket.pinged) >= PING_S and client.isConnected:
                socket.pinged = now
                try:
                    async with asyncio.timeout(PING_S):
                        await client.connection.ping()
                except faults(TimeoutError) as error:
                    logger.debug("no ping", extra={"why": self._redact(repr(error))[:300]})

    def look(self) -> None:
        """Tell what has changed about the private data."""
        now = self._loop.time()
        back = False
        for stream in self._streams.values():
            if stream.lost is not None and stream.stands(self._pulsed, now) and not self._denied:
                stream.lost = None
                stream.reconnects += 1
                back = back or stream.watched
        for stream in self._streams.values():
            stream.freshness.turn(now, fresh=stream.lost is None and self._denied is None)
        reason = self._denied
        if reason is None and now - self._heard > PRIVATE_S:
            reason = f"private data of {self.id} is older than {PRIVATE_S:g} s"
        if reason is not None:
            if self._trusted:
                self._trusted = False
                self._told(False, reason)
        elif not self._trusted or back:
            if self._trusted:
                self._told(False, f"the private stream of {self.id} was away")
            self._trusted = True
            self._told(True, "")

    def _judge_key(self, error: BaseException) -> bool:
        """Whether an error says that this key may not; then it is said."""
        if not denied(error):
            return False
        self._deny(self._redact(str(error))[:300])
        return True

    def _deny(self, why: str) -> None:
        now = self._loop.time()
        if now >= self._key_at:  # all that is refused at the same time is one refusal
            self._key_at = now + min(DENIED_S * 2 ** min(self._denials, 16), DENIED_MAX_S)
            self._denials += 1
        if self._denied is None:
            self._denied = f"{self.id} does not accept the key"
            self.trading.proof.forget()
            data = {"venue": self.id, "key": self._account.key.masked}
            self._tell("critical", "key_denied", f"{self._denied}: {why}", data)
            self.look()

    def _accept(self) -> None:
        if self._denied is not None:
            self._denied = None
            self._tell(
                "info", "key_accepted", f"{self.id} accepts the key again", {"venue": self.id}
            )

    # -- polls ---------------------------------------------------------------------------------------

    async def _poll(self, stream: Stream) -> None:
        """Ask for what no stream tells."""
        while True:
            await self._sleep(POLLS[stream.name])
            if self._has(stream.name) or self._denied is not None:
                continue
            stream.polls += 1
            match stream.name:
                case "orders":
                    await self._asked(self._poll_orders)
                case "fills":
                    self._fills_wanted.set()
                case "balance":
                    self._balance_wanted.set()
                case _:
                    await self._asked(self._poll_positions)

    async def _poll_orders(self) -> None:
        before = [order_id for order_id in self._known if order_id not in self._ended]
        rows = await self._read(lambda: self.trading.open_orders(Lane.POLL))
        listed = {row.exchange_order_id: row for row in rows}
        for order_id, row in listed.items():
            if _differs(self._listed.get(order_id), row):
                self._post((row,))
        self._listed = listed
        # Of orders that are not ours the reconciliation asks.
        for order_id in [gone for gone in before if gone not in listed][:TRIED]:
            order = self._known.get(order_id)
            if order is not None:
                await self._show(order)

    async def _show(self, order: Order) -> None:
        """Look an order up and post what is found."""
        seen = await self._read(lambda: self.trading.find(order))
        if seen is not None:
            self._note(seen)
            self._post((seen,))

    async def _poll_positions(self) -> None:
        self._post(await self._read(lambda: self.trading.positions(Lane.POLL)))

    async def _fetch_fills(self) -> None:
        """Ask for fills whenever a stream has told too little."""
        while True:
            await self._fills_wanted.wait()
            await self._sleep(SOON_S)
            self._fills_wanted.clear()
            await self._asked(self._read_fills)

    async def _read_fills(self) -> None:
        since = max(self._newest_fill - 60 * SECOND, 0)
        self._post_fills(await self._read(lambda: self.trading.fills(since, Lane.POLL)))

    async def _fetch_balance(self) -> None:
        while True:
            await self._balance_wanted.wait()
            await self._sleep(HELD_S if self._totals_only else SOON_S)
            self._balance_wanted.clear()
            await self._asked(self._read_balance)

    async def _read_balance(self) -> None:
        self._post(await self._read(lambda: self.trading.balances(Lane.POLL)))

    async def _asked(self, ask: Callable[[], Awaitable[None]]) -> bool:
        """Ask; no answer is no information."""
        try:
            await ask()
        except (Refused, VenueRejected, VenueUnknown) as error:
            logger.info("no answer", extra={"venue": self.id, "why": error.message})
            return False
        return True

    async def _control(self) -> None:
        """Prove the look-up by client id on orders that the venue is known to have (A2)."""
        pause = CONTROL_S
        while True:
            await self._sleep(pause)
            asked = self._loop.time()
            await self._asked(self.control)
            # Where turns are waited for, what is needed comes before what may be needed.
            pause = max(CONTROL_S, 2 * (self._loop.time() - asked))

    async def control(self) -> None:
        """Look known orders up for each part of the look-up that is not proven yet."""
        proof = self.trading.proof
        for part in ("one", "working", "ended"):
            if not proof.wants(part):
                continue
            known = list(self._known)
            if part != "one":
                fitting = [each for each in known if (each in self._ended) is (part == "ended")]
                # Ends that no stream has told are found out by looking.
                known = fitting or known
            for order_id in known[:TRIED]:
                order = self._known.get(order_id)
                if order is None:
                    continue  # it was let go of while others were asked for
                if order_id not in self._ended:
                    await self._show(order)
                await self._read(partial(self.trading.prove, order, part))
                if not proof.wants(part):
                    break
                if order_id in self._known:
                    self._known[order_id] = self._known.pop(order_id)  # the next ones next time

    def private_rows(self) -> list[dict[str, object]]:
        """Rows of `monitoring.hybrid` about the private streams, as `watch.Feed.row`; their age is that of their socket."""
        age = self._loop.time() - self._heard
        return [
            {
                "channel": stream.name,
                "symbol": None,
                "source": "ws" if self._has(stream.name) else "poll",
                "since_ts": stream.since // MS,
                "last_msg_age_ms": round(age * 1000),
                "reconnects": stream.reconnects,
                "fallbacks": stream.fallbacks,
                "rest_calls": stream.polls,
                "messages": stream.messages,
                "state": "denied" if self._denied else "ok" if stream.lost is None else "lost",
                "health": stream.freshness.share(self._loop.time()),
            }
            for stream in self._streams.values()
        ]

    def counted(self) -> dict[str, int]:
        """Count what its private streams did since the start, as `taking.Taking.counted`."""
        streams = self._streams.values()
        refused = {} if self._trading is None else self._trading.rows.refused
        return {
            "messages": sum(stream.messages for stream in streams),
            "reconnects": sum(stream.reconnects for stream in streams),
            "fallbacks": sum(stream.fallbacks for stream in streams),
            "rest_calls": sum(stream.polls for stream in streams),
            "unreadable": self._unreadable,
            "refused_rows": sum(refused.values()),
        }


def _differs(old: OrderSeen | None, new: OrderSeen) -> bool:
    return old is None or (old.status, old.filled, old.amount, old.price, old.stop_price) != (
        new.status,
        new.filled,
        new.amount,
        new.price,
        new.stop_price,
    )


def _nowhere(events: Sequence[object]) -> None:
    """Before `open` nobody listens."""


def _unguarded(approved: object) -> None:
    """Nobody guards what leaves."""


def _untold(ready: bool, reason: str) -> None:  # noqa: FBT001 - the port
    """Nobody attends."""
