"""The real server, in a process of its own, that a test may kill, and the browser that looks at it."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from playwright.sync_api import Browser, sync_playwright


T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
HINT = "no chromium; apt-get install --no-install-recommends chromium brings it"
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FREE = {"REALTIME_PAPER__FEES__SPOT_MAKER": "0", "REALTIME_PAPER__FEES__SPOT_TAKER": "0"}
"""A fee in the base leaves dust that nothing can close."""
STRATEGY = """
from realtime.bots.strategy import Strategy, StrategyParams


class One(Strategy):
    id = "{name}"
    summary = "Does one thing"
    Params = StrategyParams
    warmup = 1

    def on_ohlcv(self, bar):
        {does}
"""


def installed(*names: str) -> str | None:
    """Where the first of these browsers is that the machine has."""
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def chromium(*names: str) -> Iterator[Browser]:
    """The system's browser, without a window: the first of these that it has, else `chromium`."""
    path = installed(*names, "chromium")
    if path is None:
        sys.exit(HINT)
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*QUIET, *root])
        yield browser
        browser.close()


class Server:
    """`realtime serve` on a journal in a folder of the test."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data = folder / "realtime.db"
        self.settings = settings
        self.said = ""
        self.folder = folder
        self.port = 0
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        """The page's."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        """Returns once it listens; on the same port as before after a restart."""
        command = [sys.executable, "-m", "realtime", "serve"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--data", str(self.data)],
            cwd=self.folder,
            env={
                "PYTHONPATH": str(ROOT),
                "PATH": "/usr/bin:/bin",
                "NO_COLOR": "1",
                **self.settings,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout
        self.said = ""
        for line in self.process.stdout:
            self.said += line
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
            if line.strip() == "" and self.port and "page" in self.said:
                return
        raise RuntimeError("the server ended before it listened")

    def kill(self) -> None:
        """As `kill -9`."""
        if self.process:
            self.process.kill()
            self.process.wait(10)
            assert self.process.stdout
            self.process.stdout.close()

    def call(self, op: str, **arguments: object) -> dict[str, Any]:
        """Another client's op, over HTTP; its result."""
        # As long as the browser may take (PATIENCE_MS).
        answer = httpx.post(f"{self.address}api/{op}", json=arguments, timeout=30).json()
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    def value(self, channel: str) -> dict[str, Any]:
        """The value of a channel, as a snapshot over HTTP has it."""
        answer = httpx.get(f"{self.address}api/snapshot", params={"channel": channel})
        found: dict[str, Any] = answer.json()["data"]
        return found

    def rows(self, channel: str) -> dict[str, dict[str, Any]]:
        """Rows of a table, by id."""
        return {row["id"]: row for row in self.value(channel)["set"]}

    def working(self) -> list[dict[str, Any]]:
        """Orders that are open."""
        return [row for row in self.rows("orders").values() if row["status"] == "open"]


class Gate:
    """Between the page and a server: what goes by HTTP passes; sockets pass, are refused, or are left hanging.

    The server has to know it as `REALTIME_SERVER__HOSTS` and `REALTIME_SERVER__ORIGINS` (`known`).
    """

    def __init__(self) -> None:
        self.to = 0
        self.refused = False
        self.opened = 0
        """Sockets that were asked for."""
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._free = asyncio.Event()
        self._flows.set()
        self._free.set()
        self._sockets: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._come, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def known(self) -> dict[str, str]:
        """Settings of a server behind it."""
        host = f"127.0.0.1:{self.port}"
        return {
            "REALTIME_SERVER__HOSTS": json.dumps([host]),
            "REALTIME_SERVER__ORIGINS": json.dumps([f"http://{host}"]),
        }

    @property
    def address(self) -> str:
        """The page's."""
        return f"http://127.0.0.1:{self.port}/"

    def cut(self) -> None:
        """Ends all sockets, and refuses new ones until `open`."""
        self.refused = True
        self._do(self._end())

    def hang(self) -> None:
        """Sockets stay, and nothing comes through them any more, either way."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def open(self) -> None:
        """All passes again."""
        self.refused = False
        self._loop.call_soon_threadsafe(self._flows.set)

    def close(self) -> None:
        """Ends it."""
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _end(self) -> None:
        for writer in self._sockets:
            writer.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.wait(others) if others else None

    async def _come(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = {writer}
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            socket = b"upgrade: websocket" in head.lower()
            self.opened += socket
            if socket and self.refused:
                return
            behind, out = await asyncio.open_connection("127.0.0.1", self.to)
            ends.add(out)
            if socket:
                self._sockets |= ends
            out.write(head)
            flows = self._flows if socket else self._free
            await asyncio.gather(self._pass(reader, out, flows), self._pass(behind, writer, flows))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._sockets -= ends
            for end in ends:
                end.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: asyncio.Event
    ) -> None:
        while data := await reader.read(65_536):
            await flows.wait()
            writer.write(data)
        writer.close()


@contextmanager
def rich(folder: Path, name: str, does: str, **settings: str) -> Iterator[Server]:
    """A server with a rich account that may lose again and again, and a strategy of this name that does one thing."""
    (folder / "strategies").mkdir()
    (folder / "strategies" / f"{name}.py").write_text(STRATEGY.format(name=name, does=does))
    server = Server(folder, REALTIME_PAPER__BALANCES='{"USDT":"1000000"}', **settings)
    server.start()
    try:
        # A round trip costs the spread: the fifth story would be refused for losing too often in a row.
        server.call("risk.params.set", patch={"loss_streak": None})
        yield server
    finally:
        server.kill()
