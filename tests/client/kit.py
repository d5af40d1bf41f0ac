"""A small server that speaks the protocol over a real socket and misbehaves when told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from realtime.client import Client


KINDS = {
    "ticker": "value",
    "backtest": "value",
    "orders": "table",
    "orderbook": "table",
    "fills": "log",
}
Row = dict[str, Any]


class Feed:
    """One stream of the server: its messages since the beginning, and its state."""

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.kind = KINDS[name.partition(":")[0].partition("?")[0]]
        self.key = "price" if name.startswith("orderbook") else "id"
        self.epoch = epoch
        self.seq = 100
        self.held: list[Row] = []  # updates, oldest first
        self.snapshot: Any = {"value": {}, "log": []}.get(self.kind, {"set": []})

    def update(self, data: Any, **more: object) -> Row:
        self.seq += 1
        message = {"type": "update", "channel": self.name, "seq": self.seq, "ts": 1, "data": data}
        self.held.append(message | more)
        return self.held[-1]

    def full(self, reason: str, **more: object) -> Row:
        return {
            "type": "snapshot",
            "channel": self.name,
            "epoch": self.epoch,
            "seq": self.seq,
            "ts": 1,
            "reason": reason,
            "data": self.snapshot,
        } | more

    def resume(self, since: Mapping[str, Any]) -> list[Row] | None:
        missing = self.seq - since["seq"]
        if since["epoch"] != self.epoch or not 0 <= missing <= len(self.held):
            return None
        if self.kind == "value":
            return self.held[-1:] if missing else []
        return self.held[len(self.held) - missing :]


class Hub:
    """The server.

    Attributes:
        feeds: Streams by canonical name.
        got: Every frame received, over all connections.
        answers: What `order.place` and other ops answer, by op.
        denied: Errors that the next subscriptions and their ends get.
        silent: Ops that get no answer.
        shut: Channels of an account that is not open.
        names: Canonical names of channels, by those that clients use.
        lost: Ops whose next answer is lost together with the connection.
        welcome: Fields to change in the welcome.
        refuse: HTTP status and headers for upgrades, or None.
        words: What a refused upgrade says, as JSON; None: nothing.
    """

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = {}
        self.got: list[Row] = []
        self.answers: dict[str, Callable[[Row], Row]] = {}
        self.silent: set[str] = set()
        self.names: dict[str, str] = {}
        self.shut: set[str] = set()
        self.lost: set[str] = set()
        self.denied: list[Row] = []
        self.welcome: Row = {}
        self.refuse: tuple[int, dict[str, str]] | None = None
        self.words: Row | None = None
        self.sockets: list[ServerConnection] = []
        self.readers: dict[ServerConnection, set[str]] = {}
        self.batch = False
        self.hellos: list[Request] = []
        self.url = ""
        self.changed = asyncio.Event()

    def feed(self, name: str, snapshot: Any = None, epoch: str = "k1") -> Feed:
        made = self.feeds[name] = Feed(name, epoch)
        if snapshot is not None:
            made.snapshot = snapshot
        return made

    # -- what a test does ------------------------------------------------------------------------

    async def publish(self, name: str, data: Any, **more: object) -> None:
        feed = self.feeds[name]
        feed.snapshot = feed.snapshot if feed.kind != "value" else data
        await self.send(feed.update(data, **more))

    async def send(self, message: Row) -> None:
        """Send to the readers of the message's channel, or to all."""
        for socket in list(self.sockets):
            if "channel" not in message or message["channel"] in self.readers[socket]:
                await self.write(socket, message)

    async def write(self, socket: ServerConnection, *messages: Row) -> None:
        frames = [list(messages)] if self.batch else messages
        with suppress(ConnectionClosed):
            for frame in frames:
                await socket.send(orjson.dumps(frame), text=True)

    def cut(self) -> None:
        """Lose all connections without a word."""
        for socket in self.sockets:
            socket.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        for socket in list(self.sockets):
            await socket.close(code, reason)

    async def until(self, done: Callable[[], object]) -> None:
        while not done():
            self.changed.clear()
            await self.changed.wait()

    def ops(self, *names: str) -> list[Row]:
        return [frame for frame in self.got if frame["op"] in names]

    # -- the server ------------------------------------------------------------------------------

    def upgrade(self, _: ServerConnection, request: Request) -> Response | None:
        self.hellos.append(request)
        self.changed.set()
        if self.refuse is None:
            return None
        status, headers = self.refuse
        body = b"" if self.words is None else orjson.dumps(self.words)
        told = {"Content-Length": str(len(body)), **headers}
        response = Response(status, HTTPStatus(status).phrase, _headers(told), body)
        if status in {429, 503}:
            self.refuse = None
        return response

    async def talk(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        self.readers[socket] = set()
        try:
            welcome = {"type": "welcome", "v": 1, "ts": 1_790_000_000_000, "auth": "ok"}
            figures = {"reconnect": {"first": 0.001, "max": 0.002}, "heartbeat": 5}
            await self.write(socket, welcome | figures | self.welcome)
            async for frame in socket:
                got = orjson.loads(frame)
                self.got.append(got)
                await self.serve(socket, got)
                self.changed.set()
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(socket)
            del self.readers[socket]
            self.changed.set()

    async def serve(self, socket: ServerConnection, got: Row) -> None:
        op = got["op"]
        if op in self.lost:
            self.lost.discard(op)
            socket.transport.abort()
            return
        if op in self.silent:
            return
        reply: Row = {"type": "reply", "id": got.get("id"), "op": op, "ok": True, "ts": 2}
        later: list[Row] = []
        if op in {"subscribe", "unsubscribe"} and self.denied:
            reply |= {"ok": False} | self.denied.pop()
        elif op == "subscribe":
            reply["result"] = self.subscribe(socket, got["channels"], later)
        elif op == "unsubscribe":
            self.readers[socket] -= set(got["channels"])
            reply["result"] = {"channels": got["channels"]}
        elif op in self.answers:
            reply |= self.answers[op](got)
        else:
            reply["result"] = {"echo": got}
        await self.write(socket, reply)
        for message in later:
            await self.write(socket, message)
        if op == "bye":
            await socket.close(1000, "normal")

    def subscribe(self, socket: ServerConnection, asked: list[Any], later: list[Row]) -> Row:
        channels, failed = [], []
        for item in asked:
            name = item if isinstance(item, str) else item["channel"]
            name = self.names.get(name, name)
            since = None if isinstance(item, str) else item.get("since")
            if name.startswith("ticker:*"):
                channels.append({"channel": name, "class": "value", "epoch": "k1", "seq": 0})
                self.readers[socket].add(name)
                later += [feed.full("subscribe") for feed in self.feeds.values()]
                self.readers[socket] |= set(self.feeds)
                continue
            feed = self.feeds.get(name)
            if name in self.shut:
                error = {"code": "venue_unavailable", "message": "not open", "retry_after": 0.01}
                failed.append({"channel": name} | error)
                continue
            if feed is None:
                failed.append({"channel": name, "code": "unknown_channel", "message": "no"})
                continue
            missed = feed.resume(since) if since is not None else None
            if missed is not None:
                later += missed
            else:
                later.append(feed.full("subscribe" if since is None else "resume_failed"))
            self.readers[socket].add(name)
            entry = {"channel": name, "class": feed.kind, "epoch": feed.epoch, "seq": feed.seq}
            extra = {"key": feed.key} if feed.kind == "table" else {}
            channels.append(entry | extra | {"resumed": missed is not None, "stale": False})
        return {"channels": channels, "failed": failed}


def _headers(values: Mapping[str, str]) -> Any:
    from websockets.datastructures import Headers  # noqa: PLC0415 - one use

    return Headers(values)


@asynccontextmanager
async def hub() -> AsyncIterator[Hub]:
    made = Hub()
    async with serve(
        made.talk, "127.0.0.1", 0, process_request=made.upgrade, compression=None, close_timeout=0.1
    ) as server:
        made.url = _address(server)
        yield made


def _address(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://{host}:{port}/ws"


def counted(prefix: str = "id") -> Callable[[], str]:
    def names() -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"{prefix}-{number}"

    return names().__next__


def client(server: Hub, **options: Any) -> Client:
    options.setdefault("new_id", counted())
    return Client(server.url, **options)
