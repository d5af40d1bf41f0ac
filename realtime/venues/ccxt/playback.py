"""A recording played through the same ccxt class that it was made with, without a network.

Rules of this file:
1 What ccxt sees is what it saw: frames go into its clients, answers to its requests, in the order of the recording, and
  so into the same tap. Nothing of the recording is looked at here but its kind, address and time.
2 A request is answered by the recording alone: those of the opening (markets and their like) at any time and again and
  again, any other once the player has come to its answer. What is not there fails like a venue that is not there.
3 Waiting is by turns of the loop, bounded: ccxt asks some turns after the frame that made it ask.

Not possible for the classes that read binary frames themselves (mexc with protobuf): a recording holds text.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, Refused, VenueRejected
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.market import (
    SECOND,
    Bar,
    BookDelta,
    BookSnapshot,
    Funding,
    Mark,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import TriggerBy
from realtime.venues.base import Now, Post, Sleep
from realtime.venues.ccxt import exchange as tap
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.public import PublicData
from realtime.venues.ccxt.recorded import read_meta, rows
from realtime.venues.tape import Tape


TURNS: Final = 50
"""Turns of the loop in which ccxt gets to ask what it asked in the recording."""
SOCKET_S: Final = 2.0
"""How long a frame waits for its socket to be dialled [s]; then it is left out."""
EVERYTHING: Final = 1_000_000
"""Levels of a book."""
TURN: Final = 200
"""Frames played before the loop gets a turn at full speed."""
BEGUN: Final = frozenset({"frame", "want"})
"""Kinds of rows that end the opening."""
VOLATILE: Final = frozenset({"timestamp", "signature", "recvWindow", "nonce", "_", "t"})
"""Names of a query that differ each time."""

Key = tuple[str, str, tuple[tuple[str, str], ...]]


def key_of(method: str, url: str) -> Key:
    """Name a request by what does not change: its method, path and query, whatever the host."""
    split = urlsplit(url)
    query = sorted(pair for pair in parse_qsl(split.query) if pair[0] not in VOLATILE)
    return method.upper(), split.path.rstrip("/"), tuple(query)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a venue answered."""

    status: int
    text: str


class Player:
    """Plays one recording through the exchange that it makes.

    Attributes:
        meta: The first line of the recording: `exchange`, and what the client was made with.
        played: Rows played.
        left_out: Frames whose socket nobody dialled.
        unanswered: Requests that the recording has no answer to.
        ended: Whether it has come to the end.
        at: Time of the row that is played [ns, of the recording].
        wanted: Told symbol, stream and whether it was wanted at this time of the recording.
    """

    def __init__(self, path: Path, *, now: Now, sleep: Sleep, speed: float | None = 1.0) -> None:
        """Read the opening.

        Args:
            path: A part of a recording; those behind it follow.
            now: The time [ns].
            sleep: Waits between rows.
            speed: 1 is as recorded; None is as fast as possible.

        Raises:
            Refused: `invalid`, for a file that is no recording.
        """
        self.meta = read_meta(path)
        self.played = self.left_out = self.unanswered = 0
        self.ended = self._begun = False
        self.wanted: Callable[[str, str, bool], None] = _nobody
        self._path = path
        self._now = now
        self._sleep = sleep
        self._speed = speed
        self._exchange: Any = None
        self._sockets: dict[str, Any] = {}
        self._opening: dict[Key, Answer] = {}
        self._passed: dict[Key, Answer] = {}
        self._waiting: dict[Key, deque[asyncio.Future[Answer]]] = {}
        self.at = int(self.meta["t"])
        # When playing began, and the time of the first row then [ns].
        self._started = self._first = 0
        for row in rows(path):
            if row["kind"] in BEGUN:
                break
            if row["kind"] == "rest":
                self._opening[key_of(row["method"], row["url"])] = _answer(row)

    # -- what plays ------------------------------------------------------------------------------

    def make(
        self,
        exchange_id: str,
        *,
        hooks: Hooks,
        config: Mapping[str, Any],
        endpoint: str | None = None,
        sandbox: bool = False,
    ) -> Any:
        """Make the exchange as `exchange.make` does, cut off from the network."""
        made = tap.make(exchange_id, hooks=hooks, config=config, endpoint=endpoint, sandbox=sandbox)
        self.cut_off(made)
        return made

    def cut_off(self, exchange: Any) -> None:
        """Cut an exchange of `exchange.make` off from the network: from now on it lives on the recording."""
        if not isinstance(exchange, _Played):
            exchange.__class__ = type(exchange.id, (_Played, type(exchange)), {"player": self})
            exchange.timeout_on_exit = 0
        self._exchange = exchange

    async def answer(self, method: str, url: str) -> Answer | None:
        """Give the answer to a request, once the recording has come to it; None where it has none."""
        key = key_of(method, url)
        passed = self._passed.pop(key, None) or self._opening.get(key)
        if passed is not None:
            return passed
        if self.ended or not self._begun:
            self.unanswered += 1
            return None
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(waiter)
        try:
            return await waiter
        except _NotThereError:
            self.unanswered += 1
            return None

    async def run(self) -> None:
        """Play to the end; requests that still wait then fail."""
        self._started, frames = self._now(), 0
        self._begun = True
        try:
            for row in self._rows():
                self._first = self._first or row["t"]
                self.at = max(self.at, row["t"])
                due = self.when(row["t"])
                if due is not None:
                    ahead = (due - self._now()) / SECOND
                    if ahead > 0.001:
                        await self._sleep(ahead)
                match row["kind"]:
                    case "frame":
                        frames += 1
                        if frames % TURN == 0:
                            await asyncio.sleep(0)
                        await self._frame(row)
                    case "ask":
                        await self._until_asked(key_of(row["method"], row["url"]))
                    case "rest":
                        await self._rest(key_of(row["method"], row["url"]), _answer(row))
                    case "want":
                        self.wanted(row["symbol"], row["stream"], row["wanted"])
                    case _:
                        continue
                self.played += 1
        finally:
            self.ended = True
            for waiters in self._waiting.values():
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_exception(_NotThereError())

    def when(self, recorded: int) -> int | None:
        """Give the time at which what has a time of the recording is played [ns]; None where that is as soon as possible."""
        if self._speed is None:
            return None
        return self._started + int((recorded - self._first) / self._speed)

    def _rows(self) -> Iterator[dict[str, Any]]:
        """Give what is to be played: all but the answers of the opening, which are there from the beginning."""
        opening = True
        for row in rows(self._path):
            opening = opening and row["kind"] not in BEGUN
            if not (opening and row["kind"] in {"ask", "rest"}):
                yield row

    # -- frames ----------------------------------------------------------------------------------

    async def _frame(self, row: Mapping[str, Any]) -> None:
        client = self._sockets.get(row["url"])
        if client is None or client.url not in self._exchange.clients:
            client = await self._socket(row["url"])
            if client is None:
                self.left_out += 1
                return
            self._sockets[row["url"]] = client
        client.handle_message(_Message(row["text"]))

    async def _socket(self, url: str) -> Any:
        """Find the socket of an address: the same, else one with the same path, dialled by now."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SOCKET_S
        while True:
            clients = self._exchange.clients or {}
            dialled = [client for client in clients.values() if client.isConnected]
            for same in (_whole, _path):
                for client in dialled:
                    if same(client.url) == same(url):
                        return client
            if loop.time() > end:
                return None
            await asyncio.sleep(0.001)

    # -- requests --------------------------------------------------------------------------------

    async def _until_asked(self, key: Key) -> None:
        """Let ccxt get to ask what it asked here."""
        for _ in range(TURNS):
            if key in self._waiting or key in self._opening:
                return
            await asyncio.sleep(0)

    async def _rest(self, key: Key, answer: Answer) -> None:
        """Give an answer to whoever waits for it, and let it be taken in before the next frame."""
        waiters = self._waiting.get(key)
        while waiters:
            waiter = waiters.popleft()
            if not waiters:
                del self._waiting[key]
            if not waiter.done():
                waiter.set_result(answer)
                for _ in range(5):
                    await asyncio.sleep(0)
                return
        self._passed[key] = answer


def _nobody(_symbol: str, _stream: str, _wanted: bool) -> None:  # noqa: FBT001 - a callback's shape
    """Want nothing: whoever plays has its own mind."""


class _NotThereError(Exception):
    """The recording has no answer."""


def _answer(row: Mapping[str, Any]) -> Answer:
    return Answer(row["status"], row["text"])


def _whole(url: str) -> str:
    split = urlsplit(url)
    return f"{split.netloc}{split.path}"


def _path(url: str) -> str:
    return urlsplit(url).path


# -- a source of prices ----------------------------------------------------------------------------


class PlayedData(PublicData):
    """A recording as the public data of a venue.

    The streams are those that were recorded, whatever readers want; bars and newest trades are made of what was played
    so far. Time inside is the recording's, events bear the time they are played at.

    Args:
        player: Plays it.
        now: The time [ns].
        sleep: Waits for seconds.
        restamp: Give events the time they are played at; False keeps the recorded times.
    """

    def __init__(self, player: Player, *, now: Now, sleep: Sleep, restamp: bool = True) -> None:
        self._player = player
        super().__init__(
            account=account_of(player.meta),
            now=lambda: player.at,
            sleep=sleep,
            clock=lambda: player.at / SECOND,
            # Markets and prices are read when the recording was made, and not again.
            reload_s=inf,
        )
        self._wall = now
        self._restamp = restamp
        self._tapes: dict[str, Tape] = {}
        self._told: Post = _nowhere
        # The newest of each perpetual, as recorded.
        self._marks: dict[str, Mark] = {}
        # Symbols whose book is the venue's of that time.
        self._intact: set[str] = set()
        player.wanted = super().want

    @property
    def exchange(self) -> Any:
        """ccxt's, cut off from the network."""
        return self._made

    @exchange.setter
    def exchange(self, made: Any) -> None:
        # Between making and the first request: nothing has left yet.
        if made is not None:
            self._player.cut_off(made)
        self._made = made

    async def open(self) -> None:
        """Learn the markets from the recording.

        Raises:
            Refused: `invalid`, when its markets are not in it.
        """
        try:
            await super().open()
        except VenueRejected as error:
            raise Refused(
                Code.INVALID, f"the recording has no markets: {error}", {"what": "recording"}
            ) from error
        for symbol, market in self.markets.items():
            self.books.setdefault(symbol, OrderBook(symbol))
            self._tapes[symbol] = Tape(market)

    async def run(self, post: Post) -> None:
        """Play to the end."""
        follow = super().run
        async with asyncio.TaskGroup() as group:
            self._told = post
            following = group.create_task(follow(lambda events: post(self._taken(events))))
            await asyncio.sleep(0)
            await self._player.run()
            # What the last frames led to has its turn.
            await asyncio.sleep(0)
            following.cancel()
            self._intact.clear()

    def _taken(
        self, events: Sequence[MarketEvent | VenueEvent]
    ) -> Sequence[MarketEvent | VenueEvent]:
        """Fold what is played, and give it the time of now."""
        taken: list[MarketEvent | VenueEvent] = []
        now = self._wall()
        for event in events:
            if self._restamp:
                match event:
                    case Ticker() | BookSnapshot() | BookDelta() | Trade():
                        event = replace(event, ts=now, recv_ts=now)  # noqa: PLW2901 - the same, now
                    case Mark():
                        taken.extend(self._marked(event, now))
                        continue
                    case Stale():
                        event = replace(event, asof=now)  # noqa: PLW2901 - the same, now
                    case _:
                        pass  # public data has no others
            match event:
                case Trade(symbol=symbol):
                    self._tapes[symbol].add(event)
                case BookSnapshot(symbol=symbol):
                    self._intact.add(symbol)
                case Stale(symbol=str() as symbol, stale=True):
                    self._intact.discard(symbol)
                case _:
                    pass
            taken.append(event)
        return taken

    def _marked(self, mark: Mark, now: int) -> list[MarketEvent]:
        """Have funding fall due when the recording comes to it, and not at a time of another year."""
        due = self._player.when(mark.next_funding_ts)
        if due is not None:
            return [replace(mark, ts=now, next_funding_ts=due)]
        before, self._marks[mark.symbol] = self._marks.get(mark.symbol), mark
        told: list[MarketEvent] = [replace(mark, ts=now, next_funding_ts=0)]
        if before is not None and before.next_funding_ts < mark.next_funding_ts:
            # It has come to it: what is paid is what was told until then.
            told.insert(0, replace(before, ts=now - 1, next_funding_ts=now))
        return told

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Give a new reader of a book the whole of it; a recording plays what was recorded, wanted or not."""
        if stream == "orderbook" and wanted and symbol in self._intact:
            asyncio.get_running_loop().call_soon(self._again, symbol)

    def _free(self, symbol: str) -> None:
        """Keep every book: a recording has few, and goes on whoever reads."""

    def _again(self, symbol: str) -> None:
        """Post a book as it is: whoever let it go trusts it only from a snapshot on."""
        bids, asks = self.books[symbol].top(EVERYTHING)
        now = self._wall()
        self._told((BookSnapshot(symbol, tuple(bids), tuple(asks), now, now, repaired=True),))

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:  # noqa: ARG002 - the port
        """Nothing: a recording stands still while nobody plays it."""
        return None

    async def fundings(self, symbol: str, since: int) -> tuple[Sequence[Funding], int]:  # noqa: ARG002 - the port
        """None: nothing falls due while nobody plays a recording."""
        return (), self._wall()

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars of what was played so far."""
        tape = self._tapes.get(symbol)
        return () if tape is None else tape.bars(timeframe, since, limit)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The newest trades played."""
        tape = self._tapes.get(symbol)
        return () if tape is None else tape.recent(limit)


def _nowhere(_events: Sequence[MarketEvent | VenueEvent]) -> None:
    """Tell nobody: it does not run yet."""


def account_of(meta: Mapping[str, Any]) -> Account:
    """Make the account that a recording was made with, without its keys and its address."""
    return Account(
        id=str(meta.get("venue", meta["exchange"])),
        exchange=meta["exchange"],
        types=tuple(meta.get("types", ("spot",))),
        symbols=tuple(meta.get("symbols", ())),
        sandbox=bool(meta.get("sandbox", False)),
        options=meta.get("options", {}),
    )


# -- put before ccxt's own ------------------------------------------------------------------------


class _Message:
    """A text frame, as aiohttp gives it."""

    def __init__(self, data: str) -> None:
        from aiohttp import WSMsgType  # noqa: PLC0415 - only who plays needs it

        self.type = WSMsgType.TEXT
        self.data = data


class _Wire:
    """A connection that leads nowhere."""

    closed = False

    async def ping(self, message: bytes = b"") -> None:
        pass

    async def pong(self, message: bytes = b"") -> None:
        pass

    async def close(self, **_options: object) -> None:
        self.closed = True


class _Socket:
    """Put before a client: it is connected as soon as it is wanted, and what it sends is heard by nobody."""

    url: str
    hooks: Hooks
    connected: Any
    connection: Any

    def connect(self, _session: object, _backoff_delay: float = 0) -> Any:
        client: Any = self
        if client.connection is None:
            client.connection = _Wire()
            client.isConnected = True
            client.connecting = False
            client.connected.resolve(client.url)
            client.on_connected_callback(client)
        return client.connected

    async def send(self, message: Any) -> None:
        self.hooks.frame_out(self.url, message)


class _Played:
    """Put before the class of an exchange."""

    hooks: Hooks
    player: Player

    def client(self, url: str) -> Any:
        parent: Any = super()
        client = parent.client(url)
        if not isinstance(client, _Socket):
            client.__class__ = type(type(client).__name__, (_Socket, type(client)), {})
        return client

    async def throttle(self, _cost: float | None = None) -> None:
        """Wait for nobody: there is no limit to keep to."""

    async def fetch(
        self, url: str, method: str = "GET", headers: Any = None, body: Any = None
    ) -> Any:
        from ccxt import ExchangeNotAvailable  # noqa: PLC0415 - it is imported already where this runs

        exchange: Any = self
        self.hooks.request(method, url)
        answer = await self.player.answer(method, url)
        if answer is None:
            raise ExchangeNotAvailable(f"{method} {url}: not in the recording")
        told: dict[str, str] = {}
        text = exchange.on_rest_response(
            answer.status, "", url, method, told, answer.text, headers, body
        )
        parsed = exchange.parse_json(text)
        exchange.handle_errors(answer.status, "", url, method, told, text, parsed, headers, body)
        exchange.handle_http_status_code(answer.status, "", url, method, text)
        return text if parsed is None else parsed
