"""The connection that comes back by itself, and what hangs on it: streams, readers, commands without an answer.

Rules of this file: (1) everything happens on one loop; one task reads, one writes, neither waits for the program;
(2) a command is answered, refused or declared unknown exactly once; (3) 44xx ends the client, anything else is waited
out; (4) streams resume where they are whole, and start anew where they are not.
"""

import asyncio
import random
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, urlencode

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.uri import parse_uri

from realtime.client.book import Book
from realtime.client.errors import Closed, CommandError
from realtime.client.reader import At, Event, Kind, Reply, Subscription
from realtime.client.state import State, Step, Stream


T = TypeVar("T")

_FRAME: Final = 65_536
_TOKEN: Final = re.compile(r"[!-~]+")
_CHANNELS_PER_FRAME: Final = 64
BOUND: Final = 10_000
_MOST_MESSAGE: Final = 16 * 1024 * 1024
_SAMPLES: Final = 10
_FAREWELL: Final = 1.0  # seconds that a `bye` may take
_CLOSED: Final = "venue_unavailable"  # of a channel that will be there once its account is open
_ANY: Final = "ticker:*"
# Change something first: HTTP refusals that stay, our own oversize, and the band 44xx.
_ELSEWHERE: Final = 404  # from our server itself: the socket is at another path
_FINAL: Final = frozenset({400, 401, 403, _ELSEWHERE, 1009, *range(4400, 4500)})


@dataclass(slots=True, eq=False)
class _Call:
    """A command without an answer yet.

    Attributes:
        frame: As it goes out.
        again: Whether it may go out twice.
        brief: Whether only the server that had it knows it again: after a restart it may not go out twice.
        answer: Set once.
        reader: For `subscribe`: who reads the channels.
        channels: For what this client sends by itself: the channels; nobody waits for the answer.
        sent: Whether it may have left this process.
        boot: Which start of the server it was sent to.
    """

    frame: bytes
    again: bool
    answer: asyncio.Future[Reply]
    reader: Subscription | None = None
    channels: Sequence[str] | None = None
    brief: bool = False
    sent: bool = False
    boot: object = None


class Link:
    """A connection to the server, to be used with `async with`; see `Client`.

    Attributes:
        welcome: The server's last `welcome`; empty before the first.
        connected: Whether commands go out right now.
        connections: Times a connection was made.
        resyncs: Times a channel was subscribed again because something was missing.
        trouble: Why there is no connection just now, as far as that is known; empty while there is one.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None,
        client: str | None,
        batch: bool,
        every: int,
        heartbeat: int,
        bye: bool,
        bound: int,
        chance: random.Random,
        clock: Callable[[], float],
    ) -> None:
        """Make a link; arguments as for `Client`."""
        options: dict[str, object] = {"heartbeat": heartbeat}
        if client is not None:
            options["client"] = client
        if batch or every:
            options["batch"] = 1
        if every:
            options["every"] = every
        # What the address says goes before our own words: no option may be said twice.
        said = parse_qs(url.partition("?")[2], keep_blank_values=True)
        ours = urlencode({name: value for name, value in options.items() if name not in said})
        self._url = f"{url}{'&' if '?' in url else '?'}{ours}" if ours else url
        try:
            parse_uri(self._url)
        except (InvalidURI, ValueError) as error:
            why = error.msg if isinstance(error, InvalidURI) else error
            raise ValueError(
                f"{url!r} is not the address of a socket, such as ws://127.0.0.1:8000/ws: {why}"
            ) from None
        if token is not None and not _TOKEN.fullmatch(token):
            # Here and without showing it: as a header it would be refused for ever, and printed.
            raise ValueError("the token is empty or has characters in it that no token has")
        self._headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        self._patience = 2.5 * heartbeat
        self._bye = bye
        self._bound = bound
        self._chance = chance
        self._clock = clock
        self._numbers = 0
        self._calls: dict[int, _Call] = {}
        self._streams: dict[str, Stream] = {}
        self._readers: dict[str, list[Subscription]] = {}
        # Canonical names by those that the program used.
        self._names: dict[str, str] = {}
        # Nobody reads them any more, and the server has not been told.
        self._unread: set[str] = set()
        self._waiters: list[tuple[At, asyncio.Future[None]]] = []
        # What goes out, taken by the connection's second task. Its bound is the calls that wait for an answer.
        self._out: asyncio.Queue[_Call] = asyncio.Queue()
        self._stack = AsyncExitStack()
        self._ready = asyncio.Event()
        self._begun = False
        self._ended: Closed | None = None
        self._leaving = False
        self._wait: float | None = None  # the slot that `shutdown` or `Retry-After` gave us [s]
        self._attempts = 0
        self._met = 0.0  # when the connection's `welcome` came [loop s]
        self._offsets: deque[tuple[float, float]] = deque(
            maxlen=_SAMPLES
        )  # (round trip, offset) [ms]
        self.welcome: Mapping[str, Any] = {}
        self.connected = False
        self.connections = 0
        self.resyncs = 0
        self.trouble = ""
        self.on_notice: Callable[[Mapping[str, object]], None] = _ignore

    async def __aenter__(self) -> Self:
        """Connect and wait for the first `welcome`.

        Raises:
            Closed: The server refuses this client.
        """
        self._begun = True
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            task = group.create_task(self._run(), name=f"realtime client {self._url}")
            stack.callback(task.cancel)
            await self._ready.wait()
            if self._ended is None:
                self._stack = stack.pop_all()
        self._alive()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave. `bye` is said only by a program that ends well: a deadman is there for the others."""
        try:
            if kind is None and self._bye and self.connected:
                self._leaving = True
                with suppress(TimeoutError, CommandError, Closed):
                    async with asyncio.timeout(_FAREWELL):
                        await self._request("bye", {}, again=False)
        finally:
            self._leaving = True
            await self._stack.aclose()
            self._finish(Closed(1000, "this client was closed"))

    # -- channels --------------------------------------------------------------------------------

    def stream(self, channel: str) -> Stream | None:
        """Give what is known of a channel; None when nobody subscribed to it.

        Args:
            channel: Its name, as it was subscribed to or as the server wrote it.
        """
        return self._streams.get(self._names.get(channel, channel))

    def state(self, channel: str) -> State:
        """Give the state of a channel, named as for `stream`; None when nothing is known."""
        stream = self.stream(channel)
        return stream.state if stream is not None else None

    def book(self, channel: str) -> Book:
        """Give the order book of a channel, named as for `stream`.

        Raises:
            LookupError: There is none: not subscribed, no snapshot yet, or a channel without one.
        """
        return self._known(channel, "table", Book)

    def rows(self, channel: str) -> Mapping[str, Mapping[str, Any]]:
        """Give the rows of a table by their keys; otherwise as `book`."""
        return self._known(channel, "table", dict)

    def value(self, channel: str) -> Mapping[str, Any]:
        """Give the newest value of a channel of class `value`; otherwise as `book`."""
        return self._known(channel, "value", dict)

    def entries(self, channel: str) -> Sequence[Any]:
        """Give the newest entries of a log, oldest first; otherwise as `book`."""
        return self._known(channel, "log", deque)

    def _known(self, channel: str, kind: str, form: type[T]) -> T:
        stream = self.stream(channel)
        if (
            stream is not None
            and stream.kind == kind
            and stream.epoch is not None  # else no snapshot has come
            and isinstance(state := stream.state, form)
        ):
            return state
        raise LookupError(f"nothing of the kind is known of {channel}")

    async def until(self, at: At) -> None:
        """Wait until the effect of a command is visible in every stream it names that is subscribed here.

        Args:
            at: `Reply.at` or `CommandError.at`.

        Raises:
            Closed: The client ended before.
        """
        if self._reached(at):
            return
        self._alive()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((at, future))
        await future

    def _reached(self, at: At) -> bool:
        for channel, position in at.items():
            stream = self._streams.get(channel)
            if stream is None or not isinstance(position, Mapping):
                continue
            if not stream.synced:
                return False
            # Another epoch that is in step came with a later snapshot, which has the effect in it.
            if stream.epoch == position["epoch"] and stream.seq < position["seq"]:
                return False
        return True

    def leave(self, reader: Subscription) -> None:
        """Forget a reader; the server is told of channels that nobody reads any more."""
        for channel, readers in list(self._readers.items()):
            if reader in readers:
                readers.remove(reader)
                if not readers:
                    self._unread.add(channel)
                    self._forget(channel)
        self._unsubscribe()

    def _unsubscribe(self) -> None:
        """Tell the server what nobody reads any more.

        Not while a subscription is on its way: it may be to the same channel, and would be ended with it.
        """
        if not self.connected:
            self._unread.clear()  # the next connection does not ask for them
        if any(call.reader is not None for call in self._calls.values()):
            return
        unread = [channel for channel in self._unread if channel not in self._readers]
        self._unread.clear()
        for at in range(0, len(unread), _CHANNELS_PER_FRAME):
            part = unread[at : at + _CHANNELS_PER_FRAME]
            self._send("unsubscribe", {"channels": part}, again=False, channels=part)

    def _forget(self, channel: str) -> None:
        self._readers.pop(channel, None)
        for name in [name for name in self._streams if channel in {name, _all_of(name)}]:
            if not self._read_by(name):
                del self._streams[name]
        self._wake()  # nobody can wait for what is not read

    # -- sending ---------------------------------------------------------------------------------

    def _alive(self) -> None:
        if not self._begun:
            raise RuntimeError("this client is not connected: use it with `async with`")
        if self._ended is not None:
            raise self._ended

    def _send(
        self,
        op: str,
        args: Mapping[str, object],
        *,
        again: bool,
        brief: bool = False,
        reader: Subscription | None = None,
        channels: Sequence[str] | None = None,
    ) -> tuple[int, _Call]:
        self._alive()
        self._numbers += 1
        frame = orjson.dumps({"op": op, "id": self._numbers, **args})
        if len(frame) > _FRAME:
            raise CommandError("invalid", f"the frame has {len(frame)} bytes, the most is {_FRAME}")
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        call = _Call(frame, again, answer, reader, channels, brief)
        self._calls[self._numbers] = call
        if self.connected:
            self._out.put_nowait(call)
        return self._numbers, call

    async def _request(
        self,
        op: str,
        args: Mapping[str, object],
        *,
        again: bool,
        brief: bool = False,
        reader: Subscription | None = None,
    ) -> Reply:
        number, call = self._send(op, args, again=again, brief=brief, reader=reader)
        try:
            return await call.answer
        finally:
            # The reply to a subscription that was given up says what there is to unsubscribe from.
            if reader is None or not self.connected:
                self._calls.pop(number, None)

    # -- the connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                end = await self._live()
                self._cut()
                if self._leaving or (end is not None and end.code in _FINAL):
                    self._finish(end or Closed(1000, "left"))
                    return
                self.trouble = str(end) if end is not None else self.trouble
                await asyncio.sleep(self._pause())
        except Exception as error:
            # Such as one raised by `on_notice`: whoever waits in another task must hear of it, too.
            first: BaseException = error
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            self._finish(Closed(1011, f"a fault in this program: {first!r}"))
            raise

    def _pause(self) -> float:
        """How long to stay away [s]: the slot we were given, else full jitter, doubling."""
        if self._wait is not None:
            wait, self._wait = self._wait, None
            return wait
        figures = self.welcome.get("reconnect")
        first, most = 0.25, 30.0
        if isinstance(figures, Mapping):
            first, most = float(figures["first"]), float(figures["max"])
        limit = min(most, first * 2.0 ** min(self._attempts, 16))
        self._attempts += 1
        return self._chance.uniform(0, limit)

    async def _live(self) -> Closed | None:
        """Live through one connection; give how it ended, None when it was never made."""
        try:
            async with (
                connect(
                    self._url,
                    additional_headers=self._headers,
                    compression=None,
                    max_size=_MOST_MESSAGE,
                    proxy=None,
                    open_timeout=10,
                    close_timeout=1,
                ) as socket,
                asyncio.TaskGroup() as group,
            ):
                writer = group.create_task(self._write(socket), name="realtime client out")
                end = await self._read(socket)
                writer.cancel()
                return end
        except InvalidStatus as refused:
            status = refused.response.status_code
            after = refused.response.headers.get("Retry-After", "")
            self._wait = float(after) if after.isdecimal() else None
            told = _told(refused)
            reason = told or refused.response.reason_phrase
            if status == _ELSEWHERE and told is None:
                self.trouble = f"HTTP {status} {reason}"  # a proxy says so for a moment, too
                return None
            return Closed(status, reason)
        except (OSError, TimeoutError, WebSocketException) as error:
            self.trouble = str(error) or type(error).__name__
            return None

    async def _write(self, socket: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                call = await self._out.get()
                call.sent, call.boot = True, self.welcome.get("boot")
                await socket.send(call.frame, text=True)

    async def _read(self, socket: ClientConnection) -> Closed:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience) as guard:
                while True:
                    got = orjson.loads(await socket.recv(decode=False))
                    for message in got if isinstance(got, list) else (got,):
                        self._take(message)
                        if self._ended is not None:
                            return self._ended
                    guard.reschedule(loop.time() + self._patience)
        except TimeoutError:
            return Closed(1006, "no frame for 2.5 heartbeats")
        except ConnectionClosed as closed:
            received = closed.rcvd
            return Closed(received.code, received.reason) if received else Closed(1006, "cut")

    def _cut(self) -> None:
        """The connection is gone: streams wait, commands that must not go out twice are declared unknown."""
        self.connected = False
        self._unread.clear()
        while not self._out.empty():
            self._out.get_nowait()
        for stream in self._streams.values():
            stream.cut()
        for number, call in list(self._calls.items()):
            if call.answer.done() or (call.channels is not None and not call.sent):
                # Given up; or ours, and the next connection asks with newer positions.
                del self._calls[number]
            elif call.sent and not call.again:
                self._lose(number, "the connection took the answer with it")

    def _lose(self, number: int, why: str) -> None:
        """Nobody will say what became of a command."""
        call = self._calls.pop(number)
        if call.channels is not None:
            call.answer.cancel()
        elif not call.answer.done():
            call.answer.set_exception(CommandError("outcome_unknown", why, "unknown"))

    def _finish(self, end: Closed) -> None:
        """End for good: everybody who waits is told."""
        if self._ended is None:
            self._ended = end
        self.connected = False
        self._ready.set()
        for call in self._calls.values():
            if call.channels is not None:
                call.answer.cancel()
            elif not call.answer.done():
                code, reason = self._ended.code, self._ended.reason
                call.answer.set_exception(
                    Closed(code, reason, "unknown") if call.sent else self._ended
                )
        self._calls.clear()
        for _, future in self._waiters:
            if not future.done():
                future.set_exception(self._ended)
        self._waiters.clear()
        error = None if self._ended.code == 1000 else self._ended
        for readers in self._readers.values():
            for reader in readers:
                reader.finish(error)

    # -- receiving -------------------------------------------------------------------------------

    def _take(self, message: Mapping[str, object]) -> None:
        kind = message["type"]
        if kind in {"update", "snapshot"}:
            self._attempts = 0
            self._data(message)
        elif kind == "reply":
            self._attempts = 0
            self._reply(message)
        elif kind == "notice":
            self._notice(message)
        elif kind == "welcome":
            self._welcome(message)
        elif kind == "heartbeat" and self._lasts():
            # Also a client that only waits has come to rest: what ends now is a new loss.
            self._attempts = 0
        # Types we do not know are later versions' business.

    def _lasts(self) -> bool:
        """Tell whether this connection is half a heartbeat old: one right behind `welcome` proves no rest."""
        return asyncio.get_running_loop().time() - self._met >= self._patience / 5

    def _welcome(self, message: Mapping[str, object]) -> None:
        self.welcome = message
        if isinstance(heartbeat := message.get("heartbeat"), int):
            self._patience = 2.5 * heartbeat
        if message.get("auth") == "required":
            self._finish(Closed(4401, "unauthorized: this server wants a token"))
            return
        if isinstance(ts := message.get("ts"), int) and not self._offsets:
            self._offsets.append((float("inf"), ts - self._clock() * 1_000))
        self._met = asyncio.get_running_loop().time()
        self.connected = True
        self.trouble = ""
        self.connections += 1
        for number, call in list(self._calls.items()):
            if call.brief and call.sent and call.boot != message.get("boot"):
                self._lose(number, "the server was restarted and no longer knows the request_id")
        waiting = list(self._calls.values())  # before ours come in
        self._resubscribe([name for name in self._streams if name in self._readers])
        for call in waiting:
            self._out.put_nowait(call)
        self._ready.set()

    def _resubscribe(self, channels: Sequence[str]) -> None:
        for at in range(0, len(channels), _CHANNELS_PER_FRAME):
            part = channels[at : at + _CHANNELS_PER_FRAME]
            wanted: list[object] = []
            for channel in part:
                since = self._streams[channel].since
                wanted.append(channel if since is None else {"channel": channel, "since": since})
            # Not repeated by itself after a cut: the next connection asks with newer positions.
            self._send("subscribe", {"channels": wanted}, again=False, channels=part)

    def _later(self, connection: int, channels: Sequence[str]) -> None:
        """Subscribe once more to what the server had no time for; a later connection has asked for all by itself."""
        if self.connected and connection == self.connections:
            self._resubscribe([name for name in channels if name in self._readers])

    def _refused(self, op: object, channels: Sequence[str], error: Mapping[str, object]) -> None:
        """Do once more what the server had no time for."""
        after, loop = error.get("retry_after"), asyncio.get_running_loop()
        if op != "unsubscribe":
            wait = after if isinstance(after, int | float) else 1.0
            loop.call_later(wait, self._later, self.connections, channels)
        elif isinstance(after, int | float):
            self._unread.update(channels)
            loop.call_later(after, self._unsubscribe)

    def _reply(self, message: Mapping[str, object]) -> None:
        number = message.get("id")
        call = self._calls.pop(number, None) if isinstance(number, int) else None
        if call is None:
            return
        result = message.get("result")
        if message.get("op") == "subscribe" and isinstance(result, Mapping):
            self._subscribed(result, call.reader)
        if call.reader is not None:
            self._unsubscribe()
        if call.answer.done():
            return
        at, error = message.get("at"), message.get("error")
        positions: At = at if isinstance(at, Mapping) else {}
        if call.channels is not None:
            call.answer.cancel()
            if isinstance(error, Mapping):
                self._refused(message.get("op"), call.channels, error)
        elif isinstance(error, Mapping):
            retry = error.get("retry_after")
            call.answer.set_exception(
                CommandError(
                    str(error.get("code")),
                    str(error.get("message")),
                    str(error.get("outcome")),
                    error.get("details"),
                    retry_after=retry if isinstance(retry, int | float) else None,
                    at=positions,
                )
            )
        else:
            ts = message.get("ts")
            call.answer.set_result(
                Reply(
                    result=result if isinstance(result, Mapping) else {},
                    at=positions,
                    ts=ts if isinstance(ts, int) else 0,
                )
            )

    def _subscribed(self, result: Mapping[str, object], reader: Subscription | None) -> None:
        entries, failed = result.get("channels"), result.get("failed")
        if reader is not None:
            self._meant(reader, entries, failed)
        for entry in entries if isinstance(entries, list) else ():
            channel = entry["channel"]
            if reader is not None and reader.over:
                self._unread.add(channel)  # given up while the reply was on its way
            elif reader is not None and channel not in reader.channels:
                self._readers.setdefault(channel, []).append(reader)
                reader.channels.append(channel)
            if channel not in self._readers:
                # Unsubscribed while the reply was on its way.
                continue
            stream = self._streams.setdefault(channel, Stream(channel))
            believed = stream.stale
            stream.subscribed(entry)
            self._heard(stream, reader, believed=believed)
            if stream.synced and not stream.whole:
                # Resumed from a position of another program, whose state we do not have.
                stream.cut()
                self._resubscribe([channel])
        if reader is None:
            closed = []
            for entry in failed if isinstance(failed, list) else ():
                if entry["code"] == _CLOSED:
                    closed.append(entry)
                else:
                    self._gone(entry["channel"], {"data": entry})
            if closed:
                self._refused("subscribe", [entry["channel"] for entry in closed], closed[0])
        self._wake()

    def _meant(self, reader: Subscription, entries: object, failed: object) -> None:
        """Learn what the server calls the channels that were asked for; its entries stand in the same order."""
        found = entries if isinstance(entries, list) else []
        refused = [entry["channel"] for entry in failed] if isinstance(failed, list) else []
        names = [name for name in reader.asked if name not in refused]
        if reader.over or len(names) != len(found):
            return
        for name, entry in zip(names, found, strict=True):
            channel = entry["channel"]
            self._names[name] = channel
            if name in reader.since and channel not in self._streams and entry["class"] == "log":
                stream = self._streams[channel] = Stream(channel)
                stream.begin(reader.since[name])

    def _heard(self, stream: Stream, begun: Subscription | None, *, believed: bool) -> None:
        """Tell the readers of a channel, but who has just begun, what its source did that no notice will say."""
        channel = stream.channel
        changed = [stream] if stream.stale != believed else []
        if channel.startswith(_ANY):
            # Of the symbols that it brings the server names the silent ones anew, behind their snapshots.
            for held in self._streams.values():
                name = held.channel
                if held.stale and name not in self._readers and _all_of(name) == channel:
                    held.stale = False
                    changed.append(held)
        for held in changed:
            event = Event(held.channel, "stale", {"data": {"stale": held.stale}}, held.state)
            for reader in self._read_by(held.channel):
                if reader is not begun:
                    reader.offer(event)

    def _gone(self, channel: str, message: Mapping[str, object]) -> None:
        """The server no longer gives a channel."""
        for reader in self._readers.get(channel, ()):
            reader.offer(Event(channel, "ended", message, self.state(channel)))
        self._forget(channel)

    def _notice(self, message: Mapping[str, object]) -> None:
        data, channels = message.get("data"), message.get("channels")
        told: Mapping[str, object] = data if isinstance(data, Mapping) else {}
        match message.get("event"):
            case "shutdown":
                if isinstance(after := told.get("reconnect_after"), int | float):
                    self._wait = float(after)
            case "stale":
                for channel in channels if isinstance(channels, list) else ():
                    if (stream := self._streams.get(channel)) is not None:
                        stream.stale = told.get("stale") is True
                        for reader in self._read_by(channel):
                            reader.offer(Event(channel, "stale", message, stream.state))
            case "unsubscribed":
                for channel in channels if isinstance(channels, list) else ():
                    self._gone(channel, message)
            case _:
                pass  # for the program
        self.on_notice(message)

    def _read_by(self, channel: str) -> Sequence[Subscription]:
        """Give the readers of a channel, and of the `ticker:*` that brings it; who reads both is told once."""
        readers = self._readers.get(channel, ())
        others = self._readers.get(_all_of(channel), ())
        return tuple(dict.fromkeys((*readers, *others))) if others else readers

    def _data(self, message: Mapping[str, object]) -> None:
        channel = str(message["channel"])
        stream = self._streams.get(channel) or self._adopt(channel)
        if stream is None:
            return  # unsubscribed while it was on its way
        step = stream.apply(message)
        if step is Step.GAP:
            self.resyncs += 1
            self._resubscribe([channel])
        elif step is Step.APPLIED:
            kind: Kind = "snapshot" if message["type"] == "snapshot" else "update"
            event = Event(channel, kind, message, stream.state)
            for reader in self._read_by(channel):
                reader.offer(event)
            if self._waiters:
                self._wake()

    def _adopt(self, channel: str) -> Stream | None:
        """Make the stream of a symbol that `ticker:*` brings."""
        if _all_of(channel) not in self._readers:
            return None
        stream = self._streams[channel] = Stream(channel)
        stream.kind = "value"
        return stream

    def _wake(self) -> None:
        still: list[tuple[At, asyncio.Future[None]]] = []
        for at, future in self._waiters:
            if future.done():
                continue
            if self._reached(at):
                future.set_result(None)
            else:
                still.append((at, future))
        self._waiters = still


def _told(refused: InvalidStatus) -> str | None:
    """Give our server's own words for a refused upgrade; None where somebody else refused it."""
    try:
        answer = orjson.loads(refused.response.body or b"")
        error = answer["error"]
        # Gateways have errors with a message, too, and a number for a code.
        ours = answer["ok"] is False and isinstance(error["code"], str)
        return str(error["message"]) if ours else None
    except (ValueError, LookupError, TypeError):
        return None


def _all_of(channel: str) -> str:
    """Name the `ticker:*` that brings a ticker, with its account and options; empty for all other channels."""
    if not channel.startswith("ticker:"):
        return ""
    base, mark, options = channel.partition("?")
    _, at, account = base.partition("@")
    return f"{_ANY}{at}{account}{mark}{options}"


def _ignore(_: Mapping[str, object]) -> None:
    """Stand in until somebody wants to hear of notices."""
