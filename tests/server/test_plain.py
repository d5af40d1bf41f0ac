"""The wire of any ASGI server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from realtime.hub.frames import array_frame, text_frame
from realtime.server.plain import HIGH, OVERRUN, PlainWire, texts


class Server:
    """An ASGI `send` that a test can hold, or break."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.broken: Exception | None = None
        self.sent: list[Any] = []

    async def send(self, message: Any) -> None:
        await self.open.wait()
        if self.broken is not None:
            raise self.broken
        self.sent.append(message)


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[PlainWire]:
    wire = PlainWire(server.send)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(wire.run())
        yield wire
        wire.abort()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_frames_are_taken_apart_again(size: int) -> None:
    blob = text_frame(b"a" * size) + text_frame("é".encode()) + array_frame([b"1", b"2"])

    assert list(texts(blob)) == ["a" * size, "é", "[1,2]"]


async def test_blobs_are_sent_in_order_as_texts() -> None:
    server = Server()
    async with running(server) as wire:
        assert wire.write(text_frame(b"1") + text_frame(b"2"))
        assert wire.write(text_frame(b"3"))
        await asyncio.sleep(0.1)
        assert [m["text"] for m in server.sent] == ["1", "2", "3"]
        assert wire.buffered() == 0


async def test_it_pauses_above_the_mark_and_resumes_below() -> None:
    server, seen = Server(), []
    async with running(server) as wire:
        wire.on_pause = lambda: seen.append("pause")
        wire.on_resume = lambda: seen.append("resume")
        server.open.clear()
        assert wire.write(text_frame(b"x" * 40_000))
        assert not wire.write(text_frame(b"x" * 40_000))
        assert not wire.write(text_frame(b"x"))
        assert wire.buffered() > HIGH
        server.open.set()
        await asyncio.sleep(0.1)
        assert wire.write(text_frame(b"x"))
    assert seen == ["pause", "resume"]


async def test_a_close_follows_what_was_written_and_nothing_follows_it() -> None:
    server = Server()
    async with running(server) as wire:
        wire.write(text_frame(b"1"))
        wire.close(4503, "shutdown")
        wire.close(1000, "normal")
        assert not wire.write(text_frame(b"2"))
        await asyncio.sleep(0.1)
    assert server.sent == [
        {"type": "websocket.send", "text": "1"},
        {"type": "websocket.close", "code": 4503, "reason": "shutdown"},
    ]


@pytest.mark.parametrize(("known", "patience"), [(False, 3), (True, 10)])
async def test_a_peer_that_takes_nothing_is_given_up(known: bool, patience: float) -> None:  # noqa: FBT001
    server = Server()
    wire = PlainWire(server.send)
    wire.authenticated = known
    server.open.clear()
    wire.write(text_frame(b"1"))
    await wire.run()

    assert asyncio.get_running_loop().time() == pytest.approx(patience + 3)
    assert not wire.write(text_frame(b"2"))


async def test_a_peer_far_behind_is_given_up_at_once() -> None:
    server = Server()
    wire = PlainWire(server.send)
    while wire.write(text_frame(b"x" * 10_000)):
        pass
    for _ in range(OVERRUN // 10_000):
        wire.write(text_frame(b"x" * 10_000))

    assert wire.buffered() == 0
    await wire.run()
    assert [m["type"] for m in server.sent] == ["websocket.close"]


@pytest.mark.parametrize(
    "broken",
    [OSError("gone"), RuntimeError("after close"), AttributeError("transfer_data_task")],
    ids=["gone", "closed", "a library's mistake"],
)
async def test_a_peer_that_is_gone_ends_the_writer(broken: Exception) -> None:
    server = Server()
    server.broken = broken
    wire = PlainWire(server.send)
    if isinstance(broken, OSError):
        wire.write(text_frame(b"1"))
    else:
        wire.close(1000, "normal")
    await wire.run()

    assert server.sent == []


async def test_an_abort_in_the_middle_of_a_send_is_an_end() -> None:
    server = Server()
    async with running(server) as wire:
        server.open.clear()
        wire.write(text_frame(b"1"))
        await asyncio.sleep(0.1)
        wire.abort()
        server.open.set()
        await asyncio.sleep(0.1)
        assert wire.buffered() == 0
