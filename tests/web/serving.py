"""The real server, in a process of its own, that a test may kill, and the browser that looks at it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, sync_playwright


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


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's browser, without a window."""
    path = shutil.which("chromium")
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
        answer = httpx.post(f"{self.address}api/{op}", json=arguments, timeout=15).json()
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
