"""The real server, in a process of its own, that a test may kill."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx


ROOT = Path(__file__).resolve().parents[2]


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

    def rows(self, channel: str) -> dict[str, dict[str, Any]]:
        """Rows of a table, by id, as a snapshot over HTTP has them."""
        answer = httpx.get(
            f"http://127.0.0.1:{self.port}/api/snapshot", params={"channel": channel}
        )
        return {row["id"]: row for row in answer.json()["data"]["set"]}
