"""The front of the system as one ASGI application, and what its owner can do with it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from realtime.commands.registry import Registry
from realtime.hub import protocol
from realtime.hub.channels import Channel
from realtime.hub.connection import Bounds
from realtime.hub.hub import Hub, Old
from realtime.hub.protocol import Close
from realtime.model.errors import Code, Refused
from realtime.server import manual, schema
from realtime.server.admission import Admission
from realtime.server.auth import Auth, Sites
from realtime.server.health import Health
from realtime.server.http import Http
from realtime.server.page import SecurityHeaders
from realtime.server.pump import Pump
from realtime.server.upgrade import header, refuse
from realtime.server.uring import Uring
from realtime.server.ws import POLITE, Alone, Presence, Sockets


async def no_older(_channel: Channel, _first: int, _last: int) -> Sequence[Old]:
    """Stand for a journal that is not there."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What `welcome` tells of the lanes (protocol document, section 10); only told, not enforced here."""

    subscribes_per_s: int = 20
    commands_per_s: int = 20
    orders_per_s: int = 10
    safety_per_s: int = 50
    frame_bytes: int = protocol.FRAME_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What the front needs of everybody else; made by the composition root.

    Attributes:
        mode: `paper` or `live`.
        version: Of the software.
        now: Wire ms, never going back.
        secret: Makes at least 128 random bits as text of letters, digits, `-` and `_`.
        spawn: Starts a task in a group that outlives every connection.
        venues: `[{"id", "status"}]`, for `welcome`.
        trading_state: The strictest that holds for everything.
        asof: Per venue, time of its last proof of life [ms].
        older: Entries of a journaled log by first and last seq of that channel.
        presence: Told which clients come and go (the dead man's switch).
        admission: Paces upgrades; None = no limit.
        page: Serves the page; None = 404.
        metrics: Makes the text of `/metrics`; None = 404.
        per_principal: Connections of one token at most.
        accept_per_s: For `reconnect.first`, and the slots of `shutdown`.
    """

    hub: Hub
    registry: Registry
    auth: Auth
    health: Health
    mode: str
    version: str
    now: Callable[[], int]
    secret: Callable[[], str]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    venues: Callable[[], Sequence[Mapping[str, object]]]
    trading_state: Callable[[], str]
    asof: Callable[[], Mapping[str, int | None]]
    older: Callable[[Channel, int, int], Awaitable[Sequence[Old]]] = no_older
    presence: Presence = field(default_factory=Alone)
    sites: Sites = field(default_factory=Sites)
    admission: Admission | None = None
    page: ASGIApp | None = None
    metrics: Callable[[], bytes] | None = None
    bounds: Bounds = field(default_factory=Bounds)
    figures: Figures = field(default_factory=Figures)
    heartbeat_s: int = 5
    per_principal: int = 100
    accept_per_s: float = 1_000.0

    def facts(self) -> dict[str, object]:
        """Tell what only an authenticated client may know at once."""
        return {"trading_state": self.trading_state(), "venues": list(self.venues())}


class Front:
    """The ASGI application. Made inside a running loop; `start` before the first request.

    Attributes:
        sockets: All connections.
        pump: Moves data and time.
    """

    def __init__(self, system: System) -> None:
        loop = asyncio.get_running_loop()
        figures = system.figures
        self._system = system
        self._loop = loop
        self.pump = Pump(system.hub, loop, turned=self._turned, uring=Uring.open)
        self.sockets = Sockets(
            hub=system.hub,
            registry=system.registry,
            auth=system.auth,
            pump=self.pump,
            now=system.now,
            loop=loop,
            secret=system.secret,
            bounds=system.bounds,
            heartbeat_s=system.heartbeat_s,
            about={
                "server": f"realtime/{system.version}",
                "boot": system.hub.boot,
                "mode": system.mode,
                "limits": {
                    "channels": system.bounds.channels,
                    "frame_bytes": figures.frame_bytes,
                    "in_flight": system.bounds.in_flight,
                    "subscribes_per_s": figures.subscribes_per_s,
                    "commands_per_s": figures.commands_per_s,
                    "orders_per_s": figures.orders_per_s,
                    "safety_per_s": figures.safety_per_s,
                },
            },
            facts=system.facts,
            asof=system.asof,
            older=system.older,
            presence=system.presence,
            spawn=system.spawn,
            frame_bytes=figures.frame_bytes,
            per_principal=system.per_principal,
            accept_per_s=system.accept_per_s,
        )
        self._secured = SecurityHeaders(self._serve)
        registry, version = system.registry, system.version
        self._http = Http(
            registry=registry,
            hub=system.hub,
            auth=system.auth,
            health=system.health,
            now=system.now,
            clock=loop.time,
            documents={
                "/openapi.json": (
                    "application/json",
                    lambda: orjson.dumps(schema.openapi(registry, version)),
                ),
                "/asyncapi.json": (
                    "application/json",
                    lambda: orjson.dumps(schema.asyncapi(registry, version)),
                ),
                "/docs": (
                    "text/html; charset=utf-8",
                    lambda: manual.page(registry, version).encode(),
                ),
            },
            metrics=system.metrics,
            page=system.page,
        )

    # --- for the owner -----------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to move data."""
        self._turned()
        self.pump.start()

    def stop(self) -> None:
        """End every timer."""
        self.pump.stop()

    def notify(self, subject: str, client: str, event: str, data: Mapping[str, object]) -> None:
        """Send a notice to all connections of a (subject, client)."""
        self.sockets.notify(subject, client, event, data)

    def connections(self) -> dict[str, object]:
        """Answer `monitoring.connections`."""
        rows = self.sockets.rows()
        sent = self._system.hub.counts.writes + self.sockets.said
        closed = self.sockets.closed
        # Whoever is too slow is closed over the one message that had no room any more.
        failed = closed[Close.SLOW_CONSUMER]
        return {
            "total_connections": self.sockets.opened,
            "active_connections": len(self.sockets),
            "messages_sent": sent,
            "messages_failed": failed,
            "errors": sum(count for code, count in closed.items() if code not in POLITE),
            "last_error": self.sockets.last_error,
            "success_rate": sent / (sent + failed) if sent + failed else None,
            "clients": rows,
        }

    def refuse_new(self) -> None:
        """Stop admitting: readiness is gone, upgrades and new placements are refused."""
        self._system.health.draining = True
        self._system.registry.draining = True
        self.sockets.draining = True
        if self._system.admission is not None:
            self._system.admission.draining = True

    async def drain(self, *, within: float = 5.0) -> None:
        """Send every connection away: `shutdown` with a slot of its own, then 4503 [s]."""
        self.refuse_new()
        await self.sockets.drain(within=within)

    def _turned(self) -> None:
        self._system.health.turned_at = self._loop.time()

    # --- the application ---------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        await self._secured(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["type"]:
            case "http":
                await self._serve_http(scope, receive, send)
            case "websocket":
                await self._serve_socket(scope, receive, send)
            case "lifespan":
                await _lifespan(receive, send)
            case other:
                raise NotImplementedError(f"ASGI scope {other}")

    async def _serve_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._judge_sender(scope)
        if refused is None:
            await self._http(scope, receive, send)
            return
        body = _body(refused)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        status = refused.code.http
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._judge_sender(scope)
        admission = self._system.admission
        if refused is None and scope["path"] != "/ws":
            refused = Refused(Code.NOT_FOUND, "the socket is at /ws", {"what": "path"})
        # Our transport has judged the rate of upgrades already, before a request was made of them.
        ours = "realtime" in (scope.get("extensions") or {})
        if refused is None and admission is not None and not ours:
            wait = admission.upgrade(self._loop.time())
            if wait is not None:
                refused = Refused(
                    Code.BUSY, f"too many connections at once; retry in {wait} s", retry_after=wait
                )
        if refused is not None:
            await receive()
            await refuse(scope, send, refused)
            return
        await self.sockets(scope, receive, send)

    def _judge_sender(self, scope: Scope) -> Refused | None:
        """Compare Host and Origin with what is allowed, whole."""
        scheme = str(scope["scheme"]).replace("ws", "http", 1)  # ws, wss: http, https
        server = scope.get("server") or ("", None)
        reached = (server[0], server[1] or 0)
        sites = self._system.sites
        if [name for name, _ in scope["headers"]].count(b"host") > 1:
            # Who is in front of us may have gone by the other one (RFC 9112, 3.2).
            return Refused(Code.BAD_REQUEST, "more than one Host")
        if not sites.host_allowed(header(scope, b"host"), scheme=scheme, server=reached):
            return Refused(Code.FORBIDDEN, "this Host is not allowed; see server.hosts")
        origin = header(scope, b"origin")
        if origin is not None and not sites.origin_allowed(origin, scheme=scheme, server=reached):
            return Refused(Code.FORBIDDEN, "this Origin is not allowed; see server.origins")
        return None


def build(system: System) -> Front:
    """Make the front."""
    return Front(system)


def _body(refused: Refused) -> bytes:
    return orjson.dumps({"ok": False, "error": protocol.refusal(refused)})


async def _lifespan(receive: Receive, send: Send) -> None:
    """Answer a server that insists; the system owns the server, not the reverse."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
