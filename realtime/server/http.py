"""The HTTP twin: `POST /api/{op}` and its aliases, snapshots, health, documents.

Rules of this file: (1) an op over HTTP is the same op: same validation, scope, lane and code; (2) a
literal path goes before one with parameters; (3) whatever is wrong gets a JSON error, never a page.
"""

import asyncio
import functools
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import orjson
from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from realtime.commands.registry import (
    BOUND_ARGUMENTS,
    Op,
    Peer,
    Pending,
    Registry,
    Reply,
    may,
)
from realtime.hub import protocol
from realtime.hub.hub import Hub
from realtime.model.errors import Code, Refused
from realtime.model.principal import ADMIN, Principal
from realtime.server import telemetry
from realtime.server.auth import Auth, cookie_header
from realtime.server.health import Health
from realtime.server.schema import JSON, kinds_of
from realtime.server.upgrade import address_of, cookie_of, header, identify


BODY_BYTES: Final = 65_536
CLIENT: Final = "http"
"""Name of a client that gives none."""
DOCS_CSP: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A path that is an op.

    Attributes:
        parts: Segments; those with parameters are `{name}`.
    """

    method: str
    parts: tuple[str, ...]
    op: Op

    def match(self, parts: tuple[str, ...]) -> dict[str, str] | None:
        """Give the parameters of a path; None when it is another one."""
        if len(parts) != len(self.parts):
            return None
        found: dict[str, str] = {}
        for mine, theirs in zip(self.parts, parts, strict=True):
            if mine.startswith("{"):
                found[mine[1:-1]] = theirs
            elif mine != theirs:
                return None
        return found


def aliases(registry: Registry) -> list[Alias]:
    """Give all paths of all ops, literal segments before parameters."""
    made = [
        Alias(method=method, parts=tuple(path.strip("/").split("/")), op=op)
        for op in registry.ops.values()
        for method, _, path in (alias.partition(" ") for alias in op.http)
    ]
    return sorted(made, key=lambda a: ([part.startswith("{") for part in a.parts], a.parts))


class Http:
    """The ASGI application for everything that is not a socket.

    Args:
        registry, hub, auth, health: The parts it shows.
        now: Wire ms.
        clock: The loop's time [s].
        documents: By path, the content type and what makes the document.
        metrics: Makes the text of `/metrics`; None = JSON 404.
        page: Serves what nothing else here does; None = JSON 404.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        hub: Hub,
        auth: Auth,
        health: Health,
        now: Callable[[], int],
        clock: Callable[[], float],
        documents: Mapping[str, tuple[str, Callable[[], bytes]]],
        metrics: Callable[[], bytes] | None,
        page: ASGIApp | None,
    ) -> None:
        self._registry = registry
        self._hub = hub
        self._auth = auth
        self._health = health
        self._now = now
        self._clock = clock
        self._documents = documents
        self._made: dict[str, asyncio.Future[bytes]] = {}
        self._metrics = metrics
        self._page = page
        self._aliases = aliases(registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._route(request, scope)
        except Refused as refused:
            response = self._refusal(refused)
        except ClientDisconnect:  # left before its body was whole: nobody is there to answer
            return
        if response is None:
            assert self._page is not None
            await self._page(scope, receive, send)
            return
        await response(scope, receive, send)

    # --- routes ------------------------------------------------------------------------------------

    async def _route(self, request: Request, scope: Scope) -> Response | None:
        path, method = scope["path"], request.method
        reading = method in {"GET", "HEAD"}
        match path:
            case "/healthz" if reading:
                alive = self._health.alive(self._clock())
                return _json({"alive": alive}, 200 if alive else 503)
            case "/readyz" if reading:
                said = self._health.readiness()
                return _json(said, 200 if said["ready"] else 503)
            case "/api/snapshot" if reading:
                return self._snapshot(scope)
            case "/api/snapshot" if method != "POST":  # that would be an op
                return self._not_allowed(method, ["GET"])
            case "/metrics" if reading and self._metrics is not None:
                return self._scrape(scope, self._metrics)
            case _ if path in self._documents and reading:
                kind, _ = self._documents[path]
                csp = {"content-security-policy": DOCS_CSP} if kind.startswith("text/html") else {}
                return Response(await self._document(path), media_type=kind, headers=csp)
            case _:
                pass
        parts = _parts(scope)
        allowed: list[str] = []
        for alias in self._aliases:
            found = alias.match(parts)
            if found is not None and alias.method == ("GET" if method == "HEAD" else method):
                return await self._alias(request, scope, alias, found)
            if found is not None:
                allowed.append(alias.method)
        if (
            len(parts) == 2
            and parts[0] == "api"
            and (method == "POST" or parts[1] in self._registry.names)
        ):
            if method == "POST":
                args = await _body(request)
                query = _query(scope)
                client = _client(query)
                if query:
                    raise Refused(
                        Code.BAD_REQUEST, f"unknown query argument '{next(iter(query))[:40]}'"
                    )
                return await self._op(scope, parts[1], args, client)
            allowed.append("POST")
        if allowed:
            return self._not_allowed(method, allowed)
        if self._page is not None and parts[0] not in {"api", "ws"}:
            return None
        raise Refused(Code.NOT_FOUND, f"nothing at {path[:100]}; see /docs", {"what": "path"})

    async def _document(self, path: str) -> bytes:
        """Give a document, made once and beside the loop: that takes a fifth of a second, and anybody may ask."""
        made = self._made.get(path)
        if made is None:
            _, make = self._documents[path]
            made = self._made[path] = asyncio.get_running_loop().run_in_executor(None, make)
            made.add_done_callback(lambda done: self._forget(path, done))
        # Not the future itself: whoever is cancelled would take it from the others.
        await asyncio.wait([made])
        return made.result()

    def _forget(self, path: str, done: asyncio.Future[bytes]) -> None:
        """Have a document made again by the next who asks, where that failed."""
        if done.cancelled() or done.exception() is not None:
            del self._made[path]

    async def _alias(
        self, request: Request, scope: Scope, alias: Alias, found: dict[str, str]
    ) -> Response:
        query = _query(scope)
        client = _client(query)
        args: dict[str, object] = {}
        if alias.method in {"POST", "PUT"}:
            args = await _body(request)
        for name, text in {**query, **found}.items():
            if name in args:
                raise Refused(Code.BAD_REQUEST, f"argument '{name[:40]}' given twice")
            args[name] = typed(alias.op, name, text)
        return await self._op(scope, alias.op.name, args, client)

    async def _op(self, scope: Scope, name: str, args: dict[str, object], client: str) -> Response:
        received = self._now()
        principal, _ = identify(self._auth, scope)
        op = self._registry.names.get(name)
        bound = sorted(BOUND_ARGUMENTS.get(op.name, frozenset()) & args.keys()) if op else []
        problem = protocol.inexact(args)
        if bound:
            problem = Refused(
                Code.NOT_SUPPORTED,
                f"{bound[0]} is about connections and not possible over HTTP",
                {"what": bound[0]},
            )
        got = self._registry.dispatch(
            name,
            args,
            problem=problem,
            principal=principal,
            client=client,
            source="http",
            received=received,
            peer=Peer(
                address=address_of(scope),
                origin=header(scope, b"origin"),
                cookie=cookie_of(scope),
            ),
        )
        reply = await got.wait() if isinstance(got, Pending) else got
        return self._reply(name, reply, secure=scope.get("scheme") == "https")

    def _snapshot(self, scope: Scope) -> Response:
        query = _query(scope)
        name = query.pop("channel", "")
        who = self._reader(scope, query)
        channel = self._hub.channel(name)
        if not may(who, channel.scope):
            raise Refused(
                Code.FORBIDDEN,
                f"{channel.topic} needs scope {channel.scope}",
                {"scope": channel.scope},
            )
        if channel.star:
            raise Refused(Code.INVALID, f"{channel.name} is many channels; ask for one symbol")
        return Response(self._hub.snapshot(channel), media_type=JSON)

    def _scrape(self, scope: Scope, make: Callable[[], bytes]) -> Response:
        """Answer `/metrics`, which tells what `monitoring.metrics` does and asks for the same scope."""
        who = self._reader(scope, _query(scope))
        if not may(who, ADMIN):
            raise Refused(Code.FORBIDDEN, f"/metrics needs scope {ADMIN}", {"scope": ADMIN})
        return Response(make(), media_type=telemetry.KIND)

    def _reader(self, scope: Scope, query: dict[str, str]) -> Principal:
        """Find out who reads something that is no op, and count it as a query.

        Raises:
            Refused: `bad_request` for what is left of the query, `unauthorized`, `rate_limited`.
        """
        _client(query)
        if query:
            raise Refused(Code.BAD_REQUEST, f"unknown query argument '{next(iter(query))[:40]}'")
        principal, _ = identify(self._auth, scope)
        self._registry.take("query", principal, address_of(scope))
        if principal is None:
            raise Refused(
                Code.UNAUTHORIZED, "no token; send the header Authorization: Bearer TOKEN"
            )
        return principal

    # --- answers -----------------------------------------------------------------------------------

    def _reply(self, op: str, reply: Reply, *, secure: bool) -> Response:
        made = protocol.outcome(
            {"op": op},
            ts=self._now(),
            result=reply.result,
            error=reply.error,
            at=reply.at,
        )
        headers = _retry(reply.retry_after)
        if reply.cookie is not None:
            headers["set-cookie"] = cookie_header(reply.cookie, secure=secure)
        return _json(made, 200 if reply.code is None else reply.code.http, headers)

    def _refusal(self, refused: Refused) -> Response:
        made = protocol.outcome(
            {}, ts=self._now(), result=None, error=protocol.refusal(refused), at=None
        )
        too_big = (refused.details or {}).get("what") == "body"
        return _json(made, 413 if too_big else refused.code.http, _retry(refused.retry_after))

    def _not_allowed(self, method: str, allowed: list[str]) -> Response:
        heads = ["HEAD"] if "GET" in allowed else []
        methods = ", ".join(sorted({*allowed, *heads}))
        error = protocol.refusal(
            Refused(Code.BAD_REQUEST, f"{method} is not possible here; use {methods}")
        )
        made = protocol.outcome({}, ts=self._now(), result=None, error=error, at=None)
        return _json(made, 405, {"allow": methods})


def _json(
    made: Mapping[str, object], status: int, headers: dict[str, str] | None = None
) -> Response:
    return Response(orjson.dumps(made), status_code=status, headers=headers, media_type=JSON)


def _retry(seconds: float | None) -> dict[str, str]:
    return {} if seconds is None else {"retry-after": str(max(1, math.ceil(seconds)))}


# --- what a request holds -------------------------------------------------------------------------


def _parts(scope: Scope) -> tuple[str, ...]:
    """Split the path as it came, so that `%2F` in a symbol is no separator."""
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    return tuple(unquote(part) for part in path.strip("/").split("/"))


def _query(scope: Scope) -> dict[str, str]:
    """Read the query; an argument given twice is refused."""
    try:
        pairs = parse_qsl(
            scope.get("query_string", b"").decode("ascii"),
            keep_blank_values=True,
            max_num_fields=64,
        )
    except ValueError:
        raise Refused(Code.BAD_REQUEST, "malformed query") from None
    made: dict[str, str] = {}
    for name, value in pairs:
        if name in made:
            raise Refused(Code.BAD_REQUEST, f"argument '{name[:40]}' given twice")
        made[name] = value
    return made


def _client(query: dict[str, str]) -> str:
    return protocol.client_name(query.pop("client", CLIENT))


async def _body(request: Request) -> dict[str, object]:
    """Read a JSON object of at most 64 KiB.

    Raises:
        Refused: `bad_request`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise Refused(Code.BAD_REQUEST, f"send Content-Type: {JSON}")
    too_big = Refused(Code.BAD_REQUEST, f"the body is over {BODY_BYTES} bytes", {"what": "body"})
    length = request.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and int(length) > BODY_BYTES:
        raise too_big
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise too_big
    return protocol.load(bytes(body)) if body else {}


_INTEGER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})", re.ASCII)
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})(\.[0-9]{1,17})?", re.ASCII)


@functools.cache
def _kinds(params: type[BaseModel]) -> Mapping[str, frozenset[str]]:
    """Name the JSON types of each argument of an op; its schema takes milliseconds to make."""
    properties: Mapping[str, Any] = params.model_json_schema().get("properties", {})
    return {name: frozenset(kinds_of(schema)) for name, schema in properties.items()}


def typed(op: Op, name: str, text: str) -> object:
    """Read an argument of a path or query, which is always text, as its op wants it.

    Raises:
        Refused: `bad_request` for an object that is no JSON.
    """
    kinds = _kinds(op.params).get(name, frozenset())
    if "integer" in kinds and _INTEGER.fullmatch(text):
        return int(text)
    if "number" in kinds and _NUMBER.fullmatch(text):
        return float(text)
    if "boolean" in kinds and text in {"true", "false"}:
        return text == "true"
    if "array" in kinds:
        return [part for part in text.split(",") if part]
    if "object" in kinds and text.startswith("{"):
        return protocol.load(text.encode())
    return text
