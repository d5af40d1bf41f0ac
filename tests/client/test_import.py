"""`realtime config import`: the original's configuration, printed or sent."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from realtime.cli.commands import app
from realtime.desk.config.original import read
from tests.client.kit import Hub, hub
from tests.desk.test_original import ORIGINAL


RUN = CliRunner()


@pytest.fixture
def server() -> Iterator[Hub]:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(hub()) as made,
    ):
        yield made


def test_sections_are_printed_and_what_has_no_place_is_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(orjson.dumps(ORIGINAL))
    done = RUN.invoke(app, ["config", "import", str(file)])

    assert done.exit_code == 0
    assert orjson.loads(done.stdout) == read(ORIGINAL).patch
    assert "risk.bogus has no place here" in done.stderr
    assert "hush" not in done.output


@pytest.mark.parametrize("text", ["{", "[]"])
def test_what_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)

    assert RUN.invoke(app, ["config", "import", str(file)]).exit_code == 2


def test_it_is_sent_where_that_is_asked(tmp_path: Path, server: Hub) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(orjson.dumps(ORIGINAL))
    server.answers["config.update"] = lambda _: {"result": {"version": 2, "changed": True}}
    done = RUN.invoke(app, ["config", "import", str(file), "--apply", "--url", server.url])
    (sent,) = server.ops("config.update")

    assert done.exit_code == 0
    assert sent["patch"] == read(ORIGINAL).patch
    server.answers["config.update"] = lambda _: {
        "ok": False,
        "error": {"code": "invalid", "message": "no", "outcome": "not_done"},
    }
    refused = RUN.invoke(app, ["config", "import", str(file), "--apply", "--url", server.url])
    assert refused.exit_code == 1
