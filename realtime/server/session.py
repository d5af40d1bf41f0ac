"""One connection of the endpoint `/ws`: what it says, and what is said to it.

Rules of this file: (1) a frame is decoded, dispatched and, where the op answers at once, replied to in
one step; (2) a reply is written in the step in which its answer is made, so that no data gets between a
subscription and its reply; (3) nothing here waits for a peer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from realtime.commands.registry import (
    Answer,
    Asked,
    ErrorReply,
    Peer,
    Pending,
    Registry,
    Reply,
    failure,
    may,
)
from realtime.hub import protocol
from realtime.hub.channels import Channel
from realtime.hub.connection import Connection, Line
from realtime.hub.hub import Hub, Old, Wanted
from realtime.hub.protocol import Close, Request
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal
from realtime.server.pump import Pump


BUSY_RETRY_S: Final = 0.5
IN_ORDER: Final = frozenset({"subscribe", "unsubscribe"})
"""Ops that wait for a `subscribe` before them which still reads the journal: the last word on a channel holds."""


class ServerWire(Line, Protocol):
    """The seam to the transport: `Wire` of `server/websocket.py`, or `PlainWire`."""

    authenticated: bool
    on_resume: Callable[[], None]

    @property
    def rtt_s(self) -> float | None:
        """From our last ping to its pong [s]; None before the first, or where the transport does not say."""
        ...

    def listen(self, take: Callable[[str | None], None]) -> None:
        """Have messages (None: a binary one) taken as they are read, where the transport can."""
        ...


Older = Callable[[Channel, int, int], Awaitable[Sequence[Old]]]
"""Fetches entries of a journaled log by first and last seq of that channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all connections have in common.

    Attributes:
        now: Wire ms.
        loop: Its clock measures deadlines.
        secret: Makes random text.
        older: Pages of journaled logs.
        spawn: Starts a task in a group that outlives the connection.
        heartbeat: Encodes the heartbeat of this moment.
        admit: Lets a connection be a principal, or refuses.
    """

    hub: Hub
    registry: Registry
    pump: Pump
    now: Callable[[], int]
    loop: asyncio.AbstractEventLoop
    secret: Callable[[], str]
    older: Older
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    heartbeat: Callable[[], bytes]
    admit: "Callable[[Socket, Principal], None]"


class Socket:
    """One connection: what it says, and what is said to it."""

    __slots__ = (
        "_all",
        "_every",
        "_fetching",
        "_gone",
        "_held",
        "_hub",
        "_loop",
        "_registry",
        "connection",
        "credential",
        "peer",
        "reader",
        "since",
        "wire",
    )

    def __init__(
        self,
        shared: Shared,
        connection: Connection,
        wire: ServerWire,
        peer: Peer,
        credential: str | None,
    ) -> None:
        self._all = shared
        self._loop = shared.loop
        self._hub = shared.hub
        self._registry = shared.registry
        self.connection = connection
        self.wire = wire
        self.peer = peer
        self.credential = credential
        self.since = shared.now()
        self.reader = shared.hub.attach(
            wire, batch=connection.options.batch, every=connection.options.every
        )
        self.reader.fetch = self._fetch
        self._every = connection.options.every
        self._gone = False
        self._fetching = False
        self._held: deque[tuple[Request, int]] = deque()
        wire.on_resume = self.resumed
        shared.pump.joined(self._every)

    # --- frames ------------------------------------------------------------------------------------

    def take(self, text: str | None) -> None:
        """Take one message; None is a binary one."""
        connection = self.connection
        if connection.closed is not None or connection.expelled:
            return
        if text is None:
            connection.close(Close.PROTOCOL_ERROR)
            return
        received = self._all.now()
        fine = False
        try:
            request = connection.receive(text, self._loop.time())
            if request is not None:
                self._dispatch(request, received)
            elif self.wire.paused:  # the reply about it may have filled the wire
                self._note_full()
            fine = True
        finally:
            if not fine:  # a mistake of ours, on its way to the log
                connection.close(Close.INTERNAL)

    def _dispatch(self, request: Request, received: int) -> None:
        connection = self.connection
        op = self._registry.names.get(request.op)
        lane = op.lane if op is not None else "query"
        if connection.full(lane):
            limit = connection.bounds.in_flight
            busy = Refused(
                Code.BUSY, f"{limit} commands are in flight already", retry_after=BUSY_RETRY_S
            )
            self._answer(request, ErrorReply(error=protocol.refusal(busy), code=busy.code))
            return
        if self._fetching and request.op in IN_ORDER:
            connection.in_flight += 1
            self._held.append((request, received))
            return
        got = self._registry.dispatch(
            request.op,
            request.args,
            problem=request.problem,
            principal=connection.principal,
            client=connection.client,
            source="socket",
            session=self,
            received=received,
            peer=self.peer,
        )
        if not isinstance(got, Pending):
            self._answer(request, got)
            if got.code is not Code.RATE_LIMITED:
                connection.waited(lane, self._loop.time())
            elif _lane_of(got) == lane:
                connection.limited(lane, self._loop.time(), got.retry_after or 0.0)
            return
        if connection.floods:
            connection.waited(lane, self._loop.time())
        connection.count(lane, 1)
        if isinstance(got.awaitable, asyncio.Future):
            got.awaitable.add_done_callback(partial(self._settled, request, lane, got))
        else:
            self._all.spawn(self._later(request, lane, got))

    def _settled(
        self, request: Request, lane: str, pending: Pending, future: asyncio.Future[Answer]
    ) -> None:
        self.connection.count(lane, -1)
        self._answer(request, pending.reply(future))

    async def _later(self, request: Request, lane: str, pending: Pending) -> None:
        reply = await pending.wait()
        # No await from here on: a subscription that was just made must be answered before its data.
        self.connection.count(lane, -1)
        self._answer(request, reply)
        if request.op in IN_ORDER:
            self._go_on()

    def _go_on(self) -> None:
        """Take what was held behind a `subscribe`, up to the next that reads the journal."""
        self._fetching = False
        while self._held and not self._fetching and self.connection.closed is None:
            request, received = self._held.popleft()
            self.connection.in_flight -= 1
            self._dispatch(request, received)

    def _answer(self, request: Request, reply: Reply) -> None:
        connection = self.connection
        at = reply.at
        if at and self.reader.subscriptions:
            at = self._at(at)
        try:
            takes = connection.reply(request, result=reply.result, error=reply.error, at=at)
        except TypeError as error:  # a result that JSON has no form for is our mistake
            broken = failure(
                request.op, self._registry.names.get(request.op), error, self._all.secret
            )
            takes = connection.reply(request, error=broken.error)
        if not takes:
            self._note_full()
        if connection.said_bye:
            connection.close(Close.NORMAL)
        elif connection.expelled:
            connection.expel(self._loop.time())

    def _at(self, at: Mapping[str, object]) -> Mapping[str, object]:
        """Name the filtered streams of this connection beside the unfiltered ones (8.1)."""
        named = dict(at)
        for name in self.reader.subscriptions:
            base, mark, _ = name.partition("?")
            if mark and base in at and (position := self._hub.position(name)) is not None:
                named[name] = position
        return named

    def notify(self, event: str, data: Mapping[str, object], channels: Sequence[str] = ()) -> None:
        """Send a notice; none to whom nobody knows any more."""
        if not self.connection.expelled and not self.connection.notify(event, data, channels):
            self._note_full()

    def _note_full(self) -> None:
        if self.connection.closed is None:
            self._hub.paused(self.wire)

    # --- time and transport ------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When `tick` has something to do [loop s]."""
        return self.connection.due

    def tick(self, now: float) -> None:
        """Send what is due: heartbeat, warning, end."""
        if self._gone:
            return
        if not self.connection.tick(now, self._all.heartbeat):
            self._note_full()
        if self.connection.closed is None:
            self._all.pump.watch(self)

    def resumed(self) -> None:
        """Go on: the peer has read. What waits here comes first, then what the hub owes."""
        if not self._gone and self.connection.drain():
            self._all.pump.flush()
            self._hub.resume(self.wire)

    def expel(self) -> None:
        """End it, because its credential has ended: it takes nothing more, and hears only the replies under way."""
        self.connection.in_flight -= len(self._held)
        self._held.clear()
        self.connection.expel(self._loop.time())
        if self.connection.closed is None:
            self._hub.unsubscribe(self.reader, None)
            self._all.pump.watch(self)

    def gone(self) -> None:
        """Forget everything about it."""
        self._gone = True
        self._held.clear()
        self._all.pump.forget(self)
        self._all.pump.left(self._every)
        self._hub.remove(self.reader)

    # --- the port `Session` of the registry -------------------------------------------------------

    @property
    def id(self) -> str:
        """The `session` of its welcome."""
        return self.connection.session

    def authenticate(self, principal: Principal) -> None:
        """Become this principal, before the next frame is looked at."""
        self._all.admit(self, principal)

    def subscribe(self, asked: Sequence[Asked]) -> Answer | Awaitable[Answer]:
        """Subscribe; the caller writes the reply in this very step."""
        wanted: list[Wanted] = []
        failed: list[dict[str, object]] = []
        names = set(self.reader.subscriptions)
        for item in asked:
            try:
                one = self._wanted(item, names)
            except Refused as refused:
                failed.append(_failed(item.name, refused))
            else:
                names.add(one.channel.name)
                wanted.append(one)
        if any(self._missing(one) for one in wanted):
            self._fetching = True
            return self._subscribe_older(wanted, failed)
        return self._join(wanted, failed, {})

    def _wanted(self, item: Asked, names: set[str]) -> Wanted:
        channel = self._hub.channel(item.name)
        self._check_scope(channel)
        if channel.star and item.since is not None:
            raise Refused(Code.INVALID, f"{channel.name} has no position of its own to resume from")
        limit = self.connection.bounds.channels
        if channel.name not in names and len(names) >= limit:
            raise Refused(Code.INVALID, f"a connection may have at most {limit} channels")
        return Wanted(channel=channel, since=item.since, snapshot=item.snapshot)

    def _check_scope(self, channel: Channel) -> None:
        principal = self.connection.principal
        if principal is None or not may(principal, channel.scope):
            raise Refused(Code.FORBIDDEN, f"{channel.topic} needs scope {channel.scope}")

    def _missing(self, wanted: Wanted) -> tuple[int, int] | None:
        return None if wanted.since is None else self._hub.missing(wanted.channel, wanted.since)

    async def _subscribe_older(
        self, wanted: Sequence[Wanted], failed: Sequence[Mapping[str, object]]
    ) -> Answer:
        """See whether the journal has what only it can have; then subscribe in one step."""
        older: dict[str, Sequence[Old]] = {}
        for one in wanted:
            if (gap := self._missing(one)) is not None:
                first, _ = gap
                older[one.channel.name] = await self._all.older(one.channel, first, first)
        if self._gone:
            return Answer(result={"channels": [], "failed": failed})
        if self.connection.expelled:
            raise Refused(Code.UNAUTHORIZED, "the token ended")
        allowed, refusals = [], list(failed)
        for one in wanted:
            try:
                self._check_scope(one.channel)  # `auth` did not wait, and may have taken it away
            except Refused as refused:
                refusals.append(_failed(one.channel.name, refused))
            else:
                allowed.append(one)
        return self._join(allowed, refusals, older)

    def _fetch(self, channel: Channel, first: int, last: int) -> None:
        """Fetch what the hub lacks of a log that is resumed; it asks for the next when the peer has taken this."""
        self._all.spawn(self._bring(channel, first, last))

    async def _bring(self, channel: Channel, first: int, last: int) -> None:
        page: Sequence[Old] = ()
        try:
            page = await self._all.older(channel, first, last)
        finally:
            self._hub.bring(self.reader, page)

    def _join(
        self,
        wanted: Sequence[Wanted],
        failed: Sequence[Mapping[str, object]],
        older: Mapping[str, Sequence[Old]],
    ) -> Answer:
        self._all.pump.flush()
        entries = self._hub.subscribe(self.reader, wanted, older=older)
        return Answer(result={"channels": entries, "failed": failed})

    def unsubscribe(self, names: Sequence[str] | None) -> list[str]:
        """End subscriptions; a name that is not subscribed is left out."""
        canonical: list[str] | None = None
        if names is not None:
            canonical = []
            for name in names:
                # Also of what there is no more, such as a deleted bot.
                if name in self.reader.subscriptions:
                    canonical.append(name)
                    continue
                try:
                    canonical.append(self._hub.channel(name).name)
                except Refused:
                    continue
        self._all.pump.flush()
        return self._hub.unsubscribe(self.reader, canonical)

    def end_forbidden(self, principal: Principal) -> list[str]:
        """End the subscriptions that a principal may not have, and name them."""
        lost = [
            name
            for name, channel in self.reader.subscriptions.items()
            if not may(principal, channel.scope)
        ]
        return self.unsubscribe(lost) if lost else []

    def pace(self, every: int) -> None:
        """Change the pace [ms]."""
        if not self.connection.batch:
            raise Refused(Code.CONFLICT, "pace needs a connection with batch=1")
        self._all.pump.flush()
        pump, before = self._all.pump, self._every
        self._every = every
        pump.joined(every)
        pump.left(before)
        self._hub.pace(self.reader, every)

    def bye(self) -> None:
        """Close with 1000 behind the reply."""
        self.connection.bye()

    def figures(self) -> tuple[int, int]:
        """Bytes waiting to be sent, and values skipped."""
        return self.wire.buffered(), self.reader.skipped

    def row(self) -> dict[str, object]:
        """Describe it for `monitoring.connections`."""
        principal = self.connection.principal
        rtt_s = self.wire.rtt_s
        return {
            "session": self.id,
            "client": self.connection.client,
            "address": self.peer.address,
            "subject": principal.subject if principal else None,
            "scopes": sorted(principal.scopes) if principal else [],
            "since_ts": self.since,
            "subscriptions": len(self.reader.subscriptions),
            "buffered_bytes": self.wire.buffered(),
            "skipped": self.reader.skipped,
            "behind": self.reader.behind,
            "in_flight": self.connection.in_flight,
            "rtt_ms": None if rtt_s is None else round(rtt_s * 1000, 3),
            "every": self._every,
        }


def _failed(name: str, refused: Refused) -> dict[str, object]:
    entry: dict[str, object] = {
        "channel": name,
        "code": refused.code,
        "message": refused.message,
    }
    if refused.retry_after is not None:
        entry["retry_after"] = refused.retry_after
    return entry


def _lane_of(reply: Reply) -> object:
    details = (reply.error or {}).get("details")
    return details.get("lane") if isinstance(details, Mapping) else None
