"""Who may come in, decided on plain numbers; and a server whose table of descriptors is full."""

import asyncio
import contextlib
import logging
import os
import resource
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from realtime.server.access import AccessLog
from realtime.server.admission import Admission, Entry, raise_file_limit
from tests.server.adversary import connect, ended, frame, opened, read_head, upgrade
from tests.server.served import ROOT


def test_cap_lobby_and_beyond() -> None:
    admission = Admission(cap=2, lobby=1)
    entries = [admission.enter(0.0) for _ in range(4)]

    assert entries == [Entry.INSIDE, Entry.INSIDE, Entry.LOBBY, Entry.REFUSED]
    for entry in entries:
        admission.leave(entry)
    assert (admission.inside, admission.waiting) == (0, 0)
    assert admission.ended == {"full": 1, "crowd": 1}


def test_a_crowd_is_sent_away_in_slots_and_finds_room_when_it_comes_back() -> None:
    admission = Admission(cap=10_000, accept_per_s=1_000)
    answers = [admission.upgrade(5.0) for _ in range(3_000)]

    assert answers.count(None) == 1_000
    assert answers.count(1) == 1_000
    assert answers.count(2) == 1_000
    for later in (1, 2):
        assert [admission.upgrade(5.0 + later) for _ in range(1_000)] == [None] * 1_000


def test_nobody_waits_longer_than_half_a_minute() -> None:
    admission = Admission(cap=1, accept_per_s=1)

    assert max(admission.upgrade(0.0) or 0 for _ in range(100)) == 30


def test_a_server_that_stops_lets_nobody_in() -> None:
    admission = Admission(cap=1)
    admission.draining = True

    assert admission.upgrade(0.0) == 5


def test_refusals_are_told_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    admission = Admission(cap=0, lobby=0)
    with caplog.at_level(logging.WARNING, "realtime.server"):
        for n in range(1_000):
            admission.enter(10 + n / 400)

    assert [record.getMessage() for record in caplog.records] == [
        "connections refused: 1 crowd",
        "connections refused: 400 crowd",
        "connections refused: 400 crowd",
    ]


def test_the_limit_of_files_is_raised_and_leaves_room() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] // 2, before[1]))

        assert raise_file_limit() == (before[1] - 128) * 3 // 4
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Told:
    """A loop that notes what it was told."""

    def __init__(self) -> None:
        self.contexts: list[dict[str, Any]] = []

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.contexts.append(context)

    def time(self) -> float:
        return 100.0


def test_with_the_table_full_those_who_wait_are_reset() -> None:
    admission = Admission(cap=10)
    loop: Any = Told()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        peers = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        admission.hold_reserve()
        admission.hold_reserve()
        context = {"message": "socket.accept() out of system resource", "socket": listener}
        admission.on_exception(loop, context)
        admission.on_exception(loop, {"message": "something else"})

        assert [ended(peer, 1) for peer in peers] == ["reset"] * 3
        assert admission.ended == {"files": 3}
        assert loop.contexts == [{"message": "something else"}]
        for peer in peers:
            peer.close()
    admission.close()
    admission.close()


def test_a_reserve_that_cannot_be_had_again_is_none() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    admission = Admission(cap=10)
    loop: Any = Told()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            admission.on_exception(
                loop, {"message": "socket.accept() out of system resource", "socket": listener}
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    admission.close()

    assert admission.ended == {}


FULL_TABLE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from tests.server.served import main
main()
"""


@pytest.mark.promise("T6")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_at_the_cap_strangers_are_refused_fast_and_those_inside_stay(loop: str) -> None:
    told = f'{{"kind":"ours","limits":{{}},"loop":"{loop}","cap":96}}'
    with subprocess.Popen(
        [sys.executable, "-c", FULL_TABLE, told],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as server:
        try:
            assert server.stdout is not None
            address = ("127.0.0.1", int(server.stdout.readline()))
            with contextlib.ExitStack() as stack:
                inside = [stack.enter_context(opened(address)) for _ in range(96)]
                began = time.monotonic()
                refused, resets, slowest = 0, 0, 0.0
                for _ in range(400):
                    at = time.monotonic()
                    try:
                        sock = stack.enter_context(connect(address))
                        sock.sendall(upgrade())
                        refused += b" 503 " in read_head(sock)
                    except OSError:
                        resets += 1
                    slowest = max(slowest, time.monotonic() - at)
                took = time.monotonic() - began
                inside[48].sendall(frame(1, b"still here"))
                heard = inside[48].recv(100)
        finally:
            server.kill()
            lines = server.communicate()[1].splitlines()
    print(
        f"T6 {loop}: {refused} refused, {resets} reset in {took:.2f} s, slowest {slowest * 1000:.0f} ms"
    )

    assert refused >= 64
    assert refused + resets == 400
    assert slowest < 0.5
    assert heard == b"\x81\x0astill here"
    assert len(lines) < 10 * (took + 1)


async def test_a_request_is_logged_without_its_query(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        kind = "http.response.start" if scope["type"] == "http" else "websocket.accept"
        await send({"type": kind, "status": 204})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(message: Any = None) -> Any:
        await asyncio.sleep(0)

    common = {"path": "/ws", "query_string": b"ticket=secret", "client": ("10.0.0.1", 5)}
    with caplog.at_level(logging.INFO, "realtime.access"):
        await AccessLog(app)({**common, "type": "http", "method": "GET"}, nothing, nothing)
        await AccessLog(app)({**common, "type": "websocket", "client": None}, nothing, nothing)
        await AccessLog(app)({"type": "lifespan"}, nothing, nothing)
    assert [record.getMessage() for record in caplog.records] == ["GET /ws 204"]
    with caplog.at_level(logging.DEBUG, "realtime.access"):
        await AccessLog(app)({**common, "type": "websocket", "client": None}, nothing, nothing)

    assert [record.getMessage() for record in caplog.records] == ["GET /ws 204", "WS /ws 101"]
    assert "secret" not in caplog.text
    assert [vars(record)["client"] for record in caplog.records] == ["10.0.0.1:5", None]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a\nCRITICAL a part died\x1b[2J", "'/a\\nCRITICAL a part died\\x1b[2J'"),
        ("/\u202egpj.exe", "'/\\u202egpj.exe'"),
        ("/préface", r"'/pr\xe9face'"),
        ("/" + "\u202e" * 16_000, r"'/" + r"\u202e" * 33),
        ("/" + "x" * 16_000, "/" + "x" * 199),
    ],
)
async def test_a_path_makes_one_short_line(
    caplog: pytest.LogCaptureFixture, path: str, shown: str
) -> None:
    """Found by a drive: `GET /a%0A...` wrote lines of its own into a log of text, and 16 KiB twice into each."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404})

    async def nothing(message: Any = None) -> Any:
        await asyncio.sleep(0)

    with caplog.at_level(logging.INFO, "realtime.access"):
        await AccessLog(app)({"path": path, "type": "http", "method": "GET"}, nothing, nothing)
    assert [record.getMessage() for record in caplog.records] == [f"GET {shown} 404"]
    assert [vars(record)["path"] for record in caplog.records] == [shown]
