"""The front over real sockets: behind our transport, and behind uvicorn's own classes as any server would be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from realtime.server.admission import Admission
from realtime.server.transport import TransportLimits, bind, config
from tests.server.front import Stack, stack


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


LIMITS = TransportLimits()
KINDS = ("ours", "plain")


def classes(kind: str) -> dict[str, Any]:
    """Give the arguments of uvicorn's configuration."""
    if kind == "ours":
        return config(LIMITS, Admission(cap=100))
    return {"ws": "websockets-sansio", "lifespan": "off", "log_config": None}


@asynccontextmanager
async def served(kind: str, **more: Any) -> AsyncIterator[tuple[Stack, str]]:
    """Serve a stack on a free port; gives it and `127.0.0.1:port`."""
    loop = asyncio.get_running_loop()
    async with stack(**more) as s:
        settings = uvicorn.Config(s.front, **classes(kind))
        settings.load()
        state = ServerState()

        def protocol() -> asyncio.Protocol:
            return settings.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn's server does
                config=settings, server_state=state, app_state={}
            )

        listener = bind("127.0.0.1", 0, LIMITS)
        server = await loop.create_server(protocol, sock=listener)
        host, port = listener.getsockname()[:2]
        try:
            yield s, f"{host}:{port}"
        finally:
            server.close()
            for one in list(state.connections):
                one.transport.abort()
            while state.tasks:
                await asyncio.wait(state.tasks)
            await asyncio.sleep(0)


async def read(ws: ClientConnection) -> Any:
    async with asyncio.timeout(5):
        return orjson.loads(await ws.recv())


async def reply(ws: ClientConnection, op: str, **args: Any) -> Any:
    await ws.send(orjson.dumps({"op": op, **args}).decode())
    while (message := await read(ws))["type"] != "reply":
        pass
    return message


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_connects_subscribes_and_says_bye(kind: str) -> None:
    async with served(kind) as (s, address), connect(f"ws://{address}/ws?client=bot") as ws:
        assert (await read(ws))["client"] == "bot"
        assert (await reply(ws, "subscribe", channels=["orders"]))["ok"]
        assert (await read(ws))["reason"] == "subscribe"
        s.hub.table("orders", rows=[{"id": "o-1"}])
        assert (await read(ws))["data"] == {"set": [{"id": "o-1"}]}
        assert (await reply(ws, "bye"))["ok"]
        with pytest.raises(ConnectionClosed) as closed:
            await read(ws)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "normal")


@pytest.mark.parametrize("kind", KINDS)
async def test_upgrades_are_refused_with_their_status(kind: str) -> None:
    async with served(kind, locked=True) as (_, address):
        for path, headers, status in (
            ("/ws?depth=5", {}, 400),
            ("/ws", {"Authorization": "Bearer wrong"}, 401),
            ("/ws", {"Origin": "http://evil.com"}, 403),
            ("/other", {}, 404),
        ):
            with pytest.raises(InvalidStatus) as caught:
                await connect(f"ws://{address}{path}", additional_headers=headers)
            assert caught.value.response.status_code == status
            assert caught.value.response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bad_ticket_opens_and_closes_4401(kind: str) -> None:
    async with (
        served(kind, locked=True) as (_, address),
        connect(f"ws://{address}/ws?ticket=x") as ws,
    ):
        with pytest.raises(ConnectionClosed) as closed:
            await read(ws)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


@pytest.mark.parametrize("kind", KINDS)
async def test_hostile_frames_get_their_closes(kind: str) -> None:
    async with served(kind) as (_, address):
        async with connect(f"ws://{address}/ws") as ws:
            await read(ws)
            await ws.send(b"binary")
            with pytest.raises(ConnectionClosed) as closed:
                await read(ws)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4400
        if kind == "ours":  # the size is the transport's to judge
            async with connect(f"ws://{address}/ws") as ws:
                await read(ws)
                await ws.send("x" * 70_000)
                with pytest.raises(ConnectionClosed) as closed:
                    await read(ws)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_op_over_http(kind: str) -> None:
    async with served(kind) as (_, address), httpx.AsyncClient() as client:
        page = await client.post(f"http://{address}/api/toy.place", json={"text": "hi"})
        assert page.json()["result"] == {"text": "hi", "n": 1}
        alias = await client.get(f"http://{address}/api/toys/BTC%2FUSDT")
        assert alias.json()["result"]["text"] == "BTC/USDT"
        if kind == "plain":  # our transport resets who goes on sending
            big = await client.post(f"http://{address}/api/ping", json={"text": "x" * 70_000})
            assert big.status_code == 413
        foreign = await client.get(f"http://{address}/healthz", headers={"host": "evil.com"})
        assert foreign.status_code == 403


@pytest.mark.parametrize("kind", KINDS)
async def test_draining_says_goodbye(kind: str) -> None:
    async with served(kind) as (s, address), connect(f"ws://{address}/ws") as ws:
        await read(ws)
        await s.front.drain()
        assert (await read(ws))["event"] == "shutdown"
        with pytest.raises(ConnectionClosed) as closed:
            await read(ws)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4503
