"""`realtime check`: what is read is named, every fault has its setting's name, and nothing else happens."""

import os
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from realtime.cli import commands
from realtime.cli.exits import Exit


RUN = CliRunner()


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("REALTIME_"):
            monkeypatch.delenv(name)
    return tmp_path


def checked(*words: str) -> Result:
    return RUN.invoke(commands.app, ["check", *words])


def test_what_is_read_is_named_and_nothing_is_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_SERVER__PORT", "9000")
    monkeypatch.setenv("REALTIME_VENUES__KRAKEN__KEY_FILE", "kraken.key")
    monkeypatch.setenv("REALTIME_VENUES__KRAKEN__SECRET_FILE", "kraken.secret")
    for name in ("kraken.key", "kraken.secret"):
        (place / name).write_text("hidden")
        (place / name).chmod(0o600)
    before = sorted(place.iterdir())
    found = orjson.loads(checked("--json", "--data", "there/j.db").stdout)
    shown = checked("--data", "there/j.db")

    assert (found["ok"], found["faults"], shown.exit_code) == (True, [], 0)
    assert {row["setting"]: (row["path"], row["state"]) for row in found["paths"]} == {
        "--config": ("realtime.toml", "not there"),
        "store.path": ("there/j.db", "not there"),
        "strategies.path": ("./strategies", "not there"),
        "backtests.path": ("there/backtests", "not there"),
        "backtests.data": ("./data/bars", "not there"),
        "venues.kraken.key_file": ("kraken.key", "there"),
        "venues.kraken.secret_file": ("kraken.secret", "there"),
    }
    assert "REALTIME_SERVER__PORT" in found["environment"]
    assert "configuration is valid" in shown.stdout
    assert "hidden" not in shown.stdout
    assert sorted(place.iterdir()) == before


def test_every_mistake_of_the_settings_is_named_at_once(place: Path) -> None:
    (place / "realtime.toml").write_text("zz = 1\n[server]\nport = 99999\n[paper]\nspeed = 2\n")
    result = checked()
    told = [line.split(": ")[1] for line in result.stderr.splitlines()]

    assert result.exit_code == Exit.USAGE
    assert sorted(told) == ["paper.speed", "server.port", "zz"]


def test_what_only_the_start_would_refuse_is_named_too(place: Path) -> None:
    (place / "realtime.toml").write_text(
        """
        [server]
        host = "0.0.0.0"
        [auth]
        required = false
        [store]
        path = "."
        [risk.limits]
        nosuch = 1
        [alerts]
        min_pnl = "x"
        [strategy]
        symbol = 7
        [[venues]]
        id = "kraken"
        key = "abc"
        [[venues]]
        id = "bybit"
        secret = "abc"
        """
    )
    (place / "realtime.toml").chmod(0o600)
    found = orjson.loads(checked("--json").stdout)
    said = "\n".join(found["faults"])

    assert not found["ok"]
    assert len(found["faults"]) == 7
    for name in (
        "server.host 0.0.0.0",
        "venues.kraken.secret: ",
        "venues.bybit.key: ",
        "risk.limits.nosuch: ",
        "store.path: . is a folder",
        "realtime.toml: alerts.min_pnl: ",
        "realtime.toml: strategy.symbol: ",
    ):
        assert name in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "nowhere.toml"], "--config: there is no file nowhere.toml"),
        (["--config", "x" * 300], "cannot be read: "),
        (["--mode", "live"], "venues: mode live trades at a real exchange"),
        (["--venue", "Not An Id"], "--venue: "),
        (["--mode", "both"], "mode: "),
    ],
)
def test_flags_are_judged_as_those_of_serve(words: list[str], said: str) -> None:
    result = checked(*words)

    assert result.exit_code == Exit.USAGE
    assert said in result.stderr


def test_a_name_of_the_environment_that_is_no_setting_is_a_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REALTIME_SERVER_PORT", "9000")
    result = checked()

    assert result.exit_code == Exit.USAGE
    assert "REALTIME_SERVER_PORT" in result.stderr


def test_a_broken_file_of_the_configuration_is_named(place: Path) -> None:
    (place / "sections.json").write_text("{")
    (place / "realtime.toml").write_text('[config]\npath = "sections.json"\n')
    result = checked()

    assert result.exit_code == Exit.USAGE
    assert "sections.json" in result.stderr
