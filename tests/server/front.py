"""A small system in memory: the real hub, registry, auth and front, and clients over ASGI."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import orjson
from starlette.types import ASGIApp

from realtime.commands import connection, help as help_ops, monitoring, system
from realtime.commands.confirm import Policy
from realtime.commands.params import CommandParams, Money, Params, RequestId
from realtime.commands.registry import Answer, Call, Lane, Op, Registry
from realtime.hub.connection import Bounds
from realtime.hub.hub import Hub, Old, Sizes
from realtime.model.principal import ROLES
from realtime.server.asgi import Front, System, build
from realtime.server.auth import Auth, Token, digest
from realtime.server.health import Health
from realtime.server.limits import LaneBuckets, Rate
from tests.replies import check


EPOCH = 1_790_000_000_000
HOST = "127.0.0.1:8000"
PAGE = "http://127.0.0.1:8000"
TOKENS = {"rt_alice": "operator", "rt_vera": "viewer", "rt_tom": "trader", "rt_root": "admin"}
HOUR_MS = 3_600_000
PLENTY: Mapping[Lane, Rate] = {
    lane: Rate(per_s=1e6, burst=1e6) for lane in ("sub", "query", "orders", "safety")
}
SYMBOLS = {"BTC/USDT", "ETH/USDT"}


class ToyParams(CommandParams):
    """Of the toy ops."""

    amount: Money | None = None
    wait: bool = False
    text: str = ""
    count: int = 1
    seconds: float | None = None
    items: list[int] = []  # noqa: RUF012  # pydantic copies defaults


class OnceParams(Params):
    """Of an op that is idempotent by request_id."""

    text: str = ""
    request_id: RequestId | None = None


@dataclass
class Toys:
    """Ops for tests, and what became of them."""

    seen: list[Call[Any]] = field(default_factory=list)
    waiting: list[asyncio.Future[Answer]] = field(default_factory=list)
    effect: Mapping[str, object] | None = field(
        default_factory=lambda: {"orders": 1, "notional": "100"}
    )
    raises: BaseException | None = None
    at: Mapping[str, object] | None = None

    def toy(self, call: Call[ToyParams]) -> Answer | Awaitable[Answer]:
        """Answer at once, or when the test says so."""
        if self.raises is not None:
            raise self.raises
        if call.params.dry_run:
            return Answer(result={"effect": self.effect})
        self.seen.append(call)
        if call.params.wait:
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self.waiting.append(future)
            return future
        return Answer(result={"text": call.params.text, "n": len(self.seen)}, at=self.at)

    async def slow(self, call: Call[OnceParams]) -> Answer:
        """Take a second."""
        await asyncio.sleep(1)
        if self.raises is not None:
            raise self.raises
        self.seen.append(call)
        return Answer(result={"n": len(self.seen)})

    def once(self, call: Call[OnceParams]) -> Answer:
        """Answer at once."""
        if self.raises is not None:
            raise self.raises
        self.seen.append(call)
        return Answer(result={"n": len(self.seen)})

    def ops(self) -> list[Op]:
        """Make the rows."""

        def op(name: str, lane: Lane, scope: str | None, **more: Any) -> Op:
            made: dict[str, Any] = {
                "name": name,
                "params": ToyParams,
                "scope": scope,
                "lane": lane,
                "handler": self.toy,
                "summary": "a toy",
                "command": True,
                "example": {"text": "hello"},
            }
            return Op(**(made | more))

        return [
            op(
                "toy.place",
                "orders",
                "trade",
                http=("POST /api/toys", "GET /api/toys/{text}", "GET /api/toys/literal"),
                aliases=("toy.put",),
                effect=lambda _call: self.effect,
                cost=lambda raw: len(raw.get("items", ())),
            ),
            op("toy.stop", "safety", "trade|bots"),
            op("toy.read", "query", "read", command=False),
            op("toy.admin", "query", "admin", command=False, params=OnceParams, handler=self.once),
            op(
                "toy.once",
                "query",
                "bots",
                params=OnceParams,
                handler=self.once,
                idempotency="request_id",
            ),
            op(
                "toy.slow",
                "query",
                "bots",
                params=OnceParams,
                handler=self.slow,
                idempotency="request_id",
            ),
        ]


@dataclass
class Ears:
    """Presence, written down."""

    heard: list[tuple[object, ...]] = field(default_factory=list)

    def connected(self, subject: str, client: str) -> None:
        self.heard.append(("+", subject, client))

    def disconnected(self, subject: str, client: str, *, bye: bool) -> None:
        self.heard.append(("-", subject, client, bye))


@dataclass
class Stack:
    """Everything of one system."""

    front: Front
    hub: Hub
    registry: Registry
    auth: Auth
    toys: Toys
    ears: Ears
    health: Health
    ready: list[str]
    clock: Callable[[], int]

    def connect(self, path: str = "/ws", **more: Any) -> "Socket":
        """Open a socket; `async with`."""
        return Socket(self.front, path, **more)

    async def request(self, method: str, path: str, body: Any = None, **more: Any) -> "Page":
        """Send one HTTP request."""
        return await request(self.front, method, path, body, **more)


def token(name: str) -> Token:
    """Make a token that tests know by name; alice's ends after an hour."""
    return Token(
        id=f"t-{name}",
        digest=digest(name),
        subject=name.removeprefix("rt_"),
        scopes=ROLES[TOKENS[name]],
        expires_at=EPOCH + HOUR_MS if name == "rt_alice" else None,
    )


# fmt: off
STATUS: dict[str, object] = {
    "status": "ok", "ready": True, "reasons": [], "version": "1.0.0", "protocol": 1, "environment": "test",
    "mode": "paper", "trading_state": "active", "halts": [], "venues": [], "components": {}, "orders": {},
    "uptime_s": 0, "started_ts": EPOCH,
}
# fmt: on


@asynccontextmanager
async def stack(
    *,
    locked: bool = False,
    policies: Sequence[Policy] = (),
    rates: Mapping[Lane, Rate] = PLENTY,
    bounds: Bounds | None = None,
    older: Mapping[str, Sequence[Old]] | None = None,
    sizes: Sizes | None = None,
    page: ASGIApp | None = None,
    **more: Any,
) -> AsyncIterator[Stack]:
    """Build and start a system on the running loop."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    numbers = itertools.count(1)

    def now() -> int:
        return EPOCH + round((loop.time() - start) * 1000)

    def secret() -> str:
        return f"{next(numbers):032d}"[::-1]

    tokens = [token(name) for name in TOKENS]
    hub = Hub(boot="k1", journal="j1", now=now, sizes=sizes)
    hub.symbols = SYMBOLS
    auth = Auth(tokens=tokens if locked else (), now=now, clock=loop.time, secret=secret)
    ready: list[str] = []
    health = Health(lambda: ready)
    toys, ears = Toys(), Ears()
    late: list[Front] = []
    facts: dict[str, object] = {
        "trading_state": "active",
        "venues": [{"id": "paper", "status": "ok"}],
    }
    registry = Registry(
        [
            *connection.ops(auth, lambda: facts),
            *system.ops(
                health=lambda: {"status": "ok", "ready": not health.reasons()},
                status=lambda: STATUS,
                faults=None,
            ),
            # The others show what is not here.
            *monitoring.ops(
                connections=lambda: {**late[0].connections(), "uptime_s": 0},
                latency=dict,
                metrics=dict,
                cache=dict,
                nonce=dict,
                hybrid=lambda: ({}, ()),
            )[:1],
            *toys.ops(),
        ],
        mode="paper",
        now=now,
        token=secret,
        lanes=LaneBuckets(loop.time, rates),
        policies=policies,
    )
    for op in help_ops.ops(registry):
        registry.add(op)
    kept = older or {}

    async def fetch(channel: Any, first: int, last: int) -> Sequence[Old]:
        await asyncio.sleep(0.01)
        return [old for old in kept.get(channel.name, ()) if first <= old[0] <= last]

    tasks: set[asyncio.Task[None]] = set()

    def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
        task = loop.create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    made = System(
        hub=hub,
        registry=registry,
        auth=auth,
        health=health,
        mode="paper",
        version="1.0.0",
        now=now,
        secret=secret,
        spawn=spawn,
        venues=lambda: facts["venues"],  # type: ignore[arg-type,return-value]  # as above
        trading_state=lambda: "active",
        asof=lambda: {"paper": now()},
        older=fetch,
        presence=ears,
        page=page,
    )
    made = replace(made, **more) if bounds is None else replace(made, bounds=bounds, **more)
    front = build(made)
    late.append(front)
    front.start()
    try:
        yield Stack(front, hub, registry, auth, toys, ears, health, ready, now)
    finally:
        front.stop()
        while tasks:
            await asyncio.wait(tasks)


# --- clients --------------------------------------------------------------------------------------


class Closed(Exception):
    """The server closed."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class Rejected(Exception):
    """The upgrade was refused."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status} {body!r}")
        self.status = status
        self.headers = headers
        self.body = body


class Socket:
    """A client in memory. It takes everything at once unless `hold` is called."""

    def __init__(
        self,
        app: ASGIApp,
        path: str = "/ws",
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        address: str = "10.0.0.9",
        origin: str | None = None,
    ) -> None:
        self.app = app
        plain, _, query = path.partition("?")
        given = {"host": HOST, **(headers or {})} | ({"origin": origin} if origin else {})
        self.scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "scheme": "ws",
            "path": plain,
            "raw_path": plain.encode(),
            "query_string": query.encode(),
            "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
            "client": (address, 1234),
            "server": ("127.0.0.1", 8000),
            "subprotocols": list(subprotocols),
            "extensions": {"websocket.http.response": {}},
        }
        self.frames: list[str] = []
        self.read: list[dict[str, Any]] = []
        self.subprotocol: str | None = None
        self.closed: tuple[int, str] | None = None
        self._inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._news = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        self._accepted: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusal: tuple[int, dict[str, str]] | None = None
        self._pending: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._accepted = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait({"type": "websocket.connect"})
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._accepted
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def _run(self) -> None:
        await self.app(self.scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        return await self._inbox.get()

    async def _send(self, message: Any) -> None:
        assert self._accepted is not None
        match message["type"]:
            case "websocket.accept":
                self.subprotocol = message.get("subprotocol")
                self._accepted.set_result(None)
            case "websocket.send":
                await self._open.wait()
                self.frames.append(message["text"])
                got = orjson.loads(message["text"])
                self._pending += got if isinstance(got, list) else [got]
            case "websocket.close":
                self.closed = (message.get("code", 1000), message.get("reason", ""))
                self._inbox.put_nowait({"type": "websocket.disconnect", "code": self.closed[0]})
            case "websocket.http.response.start":
                headers = {k.decode(): v.decode() for k, v in message["headers"]}
                self._refusal = (message["status"], headers)
            case "websocket.http.response.body":
                assert self._refusal is not None
                self._accepted.set_exception(Rejected(*self._refusal, message["body"]))
            case other:
                raise AssertionError(other)
        self._news.set()

    def hold(self) -> None:
        """Read nothing any more."""
        self._open.clear()

    def go_on(self) -> None:
        """Read again."""
        self._open.set()

    def text(self, text: str) -> None:
        """Send a text frame as it is."""
        self._inbox.put_nowait({"type": "websocket.receive", "text": text})

    def binary(self, body: bytes) -> None:
        """Send a binary frame."""
        self._inbox.put_nowait({"type": "websocket.receive", "bytes": body})

    def send(self, op: str, **args: Any) -> None:
        """Send a request."""
        self.text(orjson.dumps({"op": op, **args}).decode())

    async def next(self, seconds: float = 60) -> dict[str, Any]:
        """Read the next message, or raise `Closed`."""
        async with asyncio.timeout(seconds):
            while not self._pending:
                if self.closed is not None:
                    raise Closed(*self.closed)
                self._news.clear()
                await self._news.wait()
        message = self._pending.pop(0)
        if message["type"] == "reply":
            check(message)
        self.read.append(message)
        return message

    async def until(self, kind: str, seconds: float = 60, **fields: Any) -> dict[str, Any]:
        """Skip to the next message of this type with these fields."""
        end = asyncio.get_running_loop().time() + seconds
        while True:
            message = await self.next(max(0, end - asyncio.get_running_loop().time()))
            if message["type"] == kind and fields.items() <= message.items():
                return message

    async def call(self, op: str, **args: Any) -> dict[str, Any]:
        """Send a request and read its reply."""
        self.send(op, **args)
        return await self.until("reply", op=op)

    async def end(self, seconds: float = 60) -> tuple[int, str]:
        """Wait for the close."""
        async with asyncio.timeout(seconds):
            while self.closed is None:
                self._news.clear()
                await self._news.wait()
        return self.closed

    def waiting(self) -> list[dict[str, Any]]:
        """Take everything that has come."""
        got, self._pending = self._pending, []
        self.read += got
        return got

    async def cut(self) -> None:
        """Go away without a close frame."""
        self._open.set()
        self._inbox.put_nowait({"type": "websocket.disconnect", "code": 1006})
        if self._task is not None:
            await self._task


@dataclass
class Page:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def request(
    app: ASGIApp,
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    address: str = "10.0.0.9",
    scheme: str = "http",
) -> Page:
    """Send one HTTP request to an ASGI application."""
    plain, _, query = path.partition("?")
    given = {"host": HOST, **(headers or {})}
    payload = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    if body is not None and "content-type" not in given:
        given["content-type"] = "application/json"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": plain.replace("%2F", "/"),
        "raw_path": plain.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in given.items()],
        "client": (address, 1234),
        "server": ("127.0.0.1", 8000),
    }
    chunks = [payload[i : i + 30_000] for i in range(0, len(payload), 30_000)] or [b""]
    inbox = [
        {"type": "http.request", "body": chunk, "more_body": chunk is not chunks[-1]}
        for chunk in chunks
    ]
    page = Page(0, {}, b"")

    async def receive() -> dict[str, Any]:
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            page.status = message["status"]
            page.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            page.body += message.get("body", b"")

    await app(scope, receive, send)
    return page
