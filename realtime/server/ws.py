"""The endpoint `/ws`, and all its connections."""

import asyncio
import heapq
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Protocol

from starlette.types import Receive, Scope, Send

from realtime.commands.connection import identity
from realtime.commands.registry import Peer, Registry
from realtime.hub import protocol
from realtime.hub.connection import Bounds, Connection
from realtime.hub.hub import Hub
from realtime.hub.protocol import Close, Options
from realtime.model.errors import Code, Refused
from realtime.model.principal import Principal
from realtime.server.auth import Auth
from realtime.server.plain import PlainWire
from realtime.server.pump import Pump
from realtime.server.session import Older, ServerWire, Shared, Socket
from realtime.server.upgrade import address_of, header, identify, refuse, until_closed


CLOSE_BATCH: Final = 128
"""Connections closed at a time when the server stops."""
SHOWN: Final = 500
"""Connections that are described at a time: thousands would be too long for a message of 1 MiB."""
POLITE: Final = frozenset({Close.NORMAL, Close.GOING_AWAY, Close.SHUTDOWN})
"""Codes that are no error."""


class Presence(Protocol):
    """Who wants to know which clients are there: the dead man's switch."""

    def connected(self, subject: str, client: str) -> None:
        """Note one more connection of a client."""
        ...

    def disconnected(self, subject: str, client: str, *, bye: bool) -> None:
        """Note that one is gone; `bye` when it said so."""
        ...


class Alone:
    """Presence without a listener."""

    def connected(self, subject: str, client: str) -> None:
        """Ignore it."""

    def disconnected(self, subject: str, client: str, *, bye: bool) -> None:
        """Ignore it."""


class Sockets:
    """All connections, and the ASGI endpoint that makes them.

    Args:
        hub, registry, auth, pump: The parts it joins.
        now: Wire ms.
        loop: Its clock measures deadlines.
        secret: Makes random text: session ids, client names, trace ids.
        bounds: Of each connection.
        heartbeat_s: Interval when none is asked for [s].
        about: `mode`, `reconnect`, `limits` and `server` of `welcome`.
        facts: `trading_state` and `venues`, for whoever is authenticated.
        asof: Per venue, time of its last proof of life [ms].
        older: Pages of journaled logs.
        presence: Told who comes and goes.
        spawn: Starts a task in a group that outlives the connection.
        frame_bytes: Of a text at most; our transport lets none through that is longer, others may.
        per_principal: Connections of one token at most.
        accept_per_s: Used for `reconnect.first` and the slots of `shutdown`.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        registry: Registry,
        auth: Auth,
        pump: Pump,
        now: Callable[[], int],
        loop: asyncio.AbstractEventLoop,
        secret: Callable[[], str],
        bounds: Bounds,
        heartbeat_s: int,
        about: Mapping[str, object],
        facts: Callable[[], Mapping[str, object]],
        asof: Callable[[], Mapping[str, int | None]],
        older: Older,
        presence: Presence,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        frame_bytes: int,
        per_principal: int,
        accept_per_s: float,
    ) -> None:
        self.hub = hub
        self.auth = auth
        self.pump = pump
        self.now = now
        self.loop = loop
        self.secret = secret
        self.draining = False
        self.opened = 0
        self.closed: Counter[Close] = Counter()
        self.last_error: Mapping[str, object] | None = None
        self._shared = Shared(
            hub=hub,
            registry=registry,
            pump=pump,
            now=now,
            loop=loop,
            secret=secret,
            older=older,
            spawn=spawn,
            heartbeat=self.heartbeat,
            admit=self.admit,
        )
        self._bounds = bounds
        self._heartbeat_s = heartbeat_s
        self._about = about
        self._facts = facts
        self._asof = asof
        self._presence = presence
        self._frame_bytes = frame_bytes
        self._per_principal = per_principal
        self._accept_per_s = accept_per_s
        self._all: dict[Socket, None] = {}
        self._of: dict[tuple[str, str], dict[Socket, None]] = {}
        self._by_token: dict[str, int] = {}
        self._beat: tuple[int, bytes] = (-1, b"")
        self._said = 0
        self._empty = asyncio.Event()
        auth.on_end = self.end

    def __len__(self) -> int:
        return len(self._all)

    # --- the endpoint ------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        try:
            options, subprotocol = self._options(scope)
            principal, credential = self._identify(scope)
        except Refused as refused:
            await refuse(scope, send, refused)
            return
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        wire = scope.get("extensions", {}).get("realtime")
        if wire is not None:
            await self._serve(scope, receive, wire, options, principal, credential)
            return
        plain = PlainWire(send)
        async with asyncio.TaskGroup() as tasks:
            writer = tasks.create_task(plain.run(), name="plain wire")
            try:
                await self._serve(scope, receive, plain, options, principal, credential)
            finally:
                plain.abort()
                writer.cancel()

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        wire: ServerWire,
        options: Options,
        principal: Principal | None,
        credential: str | None,
    ) -> None:
        peer = Peer(address=address_of(scope), origin=header(scope, b"origin"))
        connection = Connection(
            session=f"s-{self.secret()[:12]}",
            client=options.client or f"c-{self.secret()[:8]}",
            options=options,
            wire=wire,
            bounds=self._bounds,
            now=self.loop.time(),
            stamp=self.now,
        )
        if options.ticket is not None:
            principal = self.auth.redeem(options.ticket, peer.origin)
            if principal is None:
                connection.close(Close.UNAUTHORIZED)
                await until_closed(receive)
                return
        socket = Socket(self._shared, connection, wire, peer, credential)
        self._all[socket] = None
        self.opened += 1
        ended = False
        try:
            if principal is None or self._let_in(socket, principal):
                self._welcome(socket)
                self.pump.watch(socket)
            wire.listen(socket.take)
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                # A character has four bytes at most: what is short in any case is not encoded for its length.
                if text is not None and len(text) * 4 > self._frame_bytes < len(text.encode()):
                    connection.close(Close.TOO_BIG)
                socket.take(text)
            ended = True
        finally:
            if not ended:  # a mistake of ours, on its way to the log
                connection.close(Close.INTERNAL)
            self._leave(socket)

    def _options(self, scope: Scope) -> tuple[Options, str | None]:
        """Judge the upgrade.

        Raises:
            Refused: `bad_request`, `busy`.
        """
        if self.draining:
            raise Refused(Code.BUSY, "the server is stopping", retry_after=5)
        offered = scope.get("subprotocols") or []
        if offered and protocol.SUBPROTOCOL not in offered:
            raise Refused(Code.BAD_REQUEST, f"the only subprotocol is {protocol.SUBPROTOCOL}")
        options = protocol.options(scope.get("query_string", b""), heartbeat=self._heartbeat_s)
        return options, protocol.SUBPROTOCOL if offered else None

    def _identify(self, scope: Scope) -> tuple[Principal | None, str | None]:
        """Find out who asks, as far as the upgrade tells.

        Raises:
            Refused: `unauthorized` or `rate_limited`, for a bad bearer token.
        """
        principal, credential = identify(self.auth, scope)
        if principal is not None and self._crowded(principal):
            raise Refused(
                Code.RATE_LIMITED,
                f"{self._per_principal} connections of this token are open already",
                retry_after=5,
            )
        return principal, credential

    def _crowded(self, principal: Principal) -> bool:
        if principal.token_id is None:
            return False  # `local` is everybody on this machine; the transport has its own cap
        return self._by_token.get(principal.token_id, 0) >= self._per_principal

    def admit(self, socket: Socket, principal: Principal) -> None:
        """Let a connection be a principal, from now on.

        Raises:
            Refused: `forbidden`, for another subject; `rate_limited`, for too many connections.
        """
        known = socket.connection.principal
        if known is None and self._crowded(principal):
            raise Refused(
                Code.RATE_LIMITED,
                f"{self._per_principal} connections of this token are open already",
                {"lane": "auth"},
                retry_after=5,
            )
        socket.connection.authenticate(principal, now=self.loop.time())
        if known is not None:
            self._count_token(known, -1)
        self._count_token(principal, 1)
        if known is None:
            key = (principal.subject, socket.connection.client)
            self._of.setdefault(key, {})[socket] = None
            self._presence.connected(*key)
            socket.wire.authenticated = True
        elif lost := socket.end_forbidden(principal):
            socket.notify("unsubscribed", {"code": Code.FORBIDDEN}, lost)
        self.pump.watch(socket)

    def _let_in(self, socket: Socket, principal: Principal) -> bool:
        """Admit whoever was identified; it is closed if others of its token came first."""
        try:
            self.admit(socket, principal)
        except Refused:
            socket.connection.close(Close.FORBIDDEN)
            return False
        return True

    def _count_token(self, principal: Principal, by: int) -> None:
        token = principal.token_id
        if token is not None:
            self._by_token[token] = self._by_token.get(token, 0) + by
            if not self._by_token[token]:
                del self._by_token[token]

    def _leave(self, socket: Socket) -> None:
        socket.gone()
        self._said += socket.connection.sent
        code = socket.connection.closed
        if code is not None:
            self.closed[code] += 1
            if code not in POLITE:
                self.last_error = {"code": code, "reason": code.reason, "ts": self.now()}
        del self._all[socket]
        if not self._all:
            self._empty.set()
        connection = socket.connection
        principal = connection.principal
        if principal is not None:
            self._count_token(principal, -1)
            key = (principal.subject, connection.client)
            mine = self._of[key]
            del mine[socket]
            if not mine:
                del self._of[key]
            self._presence.disconnected(*key, bye=connection.said_bye)

    def _welcome(self, socket: Socket) -> None:
        connection = socket.connection
        options, principal = connection.options, connection.principal
        who: Mapping[str, object]
        if principal is None:
            who = {"subject": None, "role": None, "scopes": None}
            facts: Mapping[str, object] = {"trading_state": None, "venues": []}
        else:
            who, facts = identity(principal), self._facts()
        first = max(0.25, len(self._all) / self._accept_per_s)
        sent = connection.send(
            protocol.welcome(
                {
                    "session": connection.session,
                    "ts": self.now(),
                    **self._about,
                    **facts,
                    "auth": "required" if principal is None else "ok",
                    **who,
                    "client": connection.client,
                    "batch": options.batch,
                    "every": options.every,
                    "heartbeat": options.heartbeat,
                    "reconnect": {"first": round(first, 2), "max": 30},
                    "features": protocol.FEATURES,
                }
            )
        )
        if not sent:
            self.hub.paused(socket.wire)

    # --- for all connections -----------------------------------------------------------------------

    def heartbeat(self) -> bytes:
        """Encode the heartbeat of this millisecond, once for all."""
        ts = self.now()
        if self._beat[0] != ts:
            self._beat = (ts, protocol.heartbeat(ts=ts, asof=self._asof()))
        return self._beat[1]

    def notify(self, subject: str, client: str, event: str, data: Mapping[str, object]) -> None:
        """Send a notice to all connections of a (subject, client)."""
        for socket in list(self._of.get((subject, client), ())):
            socket.notify(event, data)

    def end(self, credential: str) -> None:
        """Close every connection that came with this credential (`token:ID`, `cookie:ID`)."""
        for socket in list(self._all):
            principal = socket.connection.principal
            token = None if principal is None else f"token:{principal.token_id}"
            if credential in {token, socket.credential}:
                socket.expel()

    @property
    def said(self) -> int:
        """Replies, notices and heartbeats to all connections there were."""
        return self._said + sum(socket.connection.sent for socket in self._all)

    def rows(self) -> list[dict[str, object]]:
        """Describe the connections; of more than `SHOWN` those that are furthest behind."""
        if len(self._all) <= SHOWN:
            return [socket.row() for socket in self._all]
        return [socket.row() for socket in heapq.nlargest(SHOWN, self._all, key=_lag)]

    async def drain(self, *, within: float, stops_in: float = 0.0) -> None:
        """Send everybody away: a notice with a slot of its own for each, then 4503 in batches.

        Args:
            within: After this long, whoever is left is reset [s].
            stops_in: Told as `in` [s].
        """
        self.draining = True
        end = self.loop.time() + within
        everybody = list(self._all)
        for index, socket in enumerate(everybody):
            slot = round(1.0 + index / self._accept_per_s, 3)
            socket.notify("shutdown", {"in": stops_in, "reconnect_after": slot})
        for first in range(0, len(everybody), CLOSE_BATCH):
            for socket in everybody[first : first + CLOSE_BATCH]:
                socket.connection.close(Close.SHUTDOWN)
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout_at(end):
                while self._all:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            pass
        for socket in list(self._all):
            socket.wire.abort()


def _lag(socket: Socket) -> tuple[bool, int, int]:
    """Rank a connection by how far behind it is."""
    return socket.reader.behind, socket.wire.buffered(), socket.reader.skipped
