"""What would fail, said before it does: the command, on this machine and against the emulated Bybit."""

import socket
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner

from realtime.cli import commands as cli
from realtime.doctor import WHAT_TO_DO, remedy, verdict_of
from realtime.emulate.bybit import Emulated, emulated
from realtime.emulate.floor import Customer
from realtime.model.errors import VenueUnknown
from realtime.store.files import FileLock
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.keys import Lock


RUN = CliRunner()
AHEAD_S = 3


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings and no locks but those of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("REALTIME_SERVER__PORT", "0")


@pytest.fixture(scope="module")
def bybit() -> Iterator[Emulated]:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(emulated(symbols=("BTC/USDT", "ETH/USDT"))) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Emulated]:
    """The same with a clock that is ahead."""

    def now() -> int:
        return time.time_ns() + AHEAD_S * 1_000_000_000

    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(emulated(symbols=("BTC/USDT",), now=now)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def rich() -> Iterator[Emulated]:
    """The same with a key that can withdraw."""
    customer = Customer(balances={"USDT": Decimal(1)}, withdraws=True)
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(
            emulated(symbols=("BTC/USDT",), customers=(customer,))
        ) as server,
    ):
        yield server


def doctor(*words: str) -> tuple[int, dict[tuple[str, str], dict[str, str]], str]:
    """Exit code, findings by subject and check, and all that was said."""
    result = RUN.invoke(cli.app, ["doctor", "--json", *words])
    rows = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, {(row["about"], row["check"]): row for row in rows}, result.output


def account(tmp_path: Path, server: Emulated, **more: object) -> Path:
    fields: dict[str, object] = {
        "id": "bybit",
        "endpoint": server.endpoint,
        "key": server.key,
        "secret": server.secret,
        **more,
    }
    lines = [f"{name} = {orjson.dumps(value).decode()}" for name, value in fields.items()]
    file = tmp_path / "realtime.toml"
    file.write_text("\n".join(["[[venues]]", *lines]) + "\n")
    file.chmod(0o600)
    return file


def test_a_paper_server_needs_nothing(tmp_path: Path) -> None:
    code, found, _ = doctor()

    assert code == 0
    assert {row["verdict"] for row in found.values()} == {"good"}
    assert {check for _, check in found} == {"settings", "port", "journal", "disk", "venues"}
    assert not (tmp_path / "data").exists()


def test_sections_of_the_file_that_are_wrong_are_named_and_a_secret_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "realtime.toml"
    file.write_text('[alerts]\nmax_drawdown = 0.2\n[risk]\nmax_leverage = "2"\n')
    well, fine, _ = doctor()
    file.write_text(
        "bots = [{ id = 'a' }]\n[alerts]\nmax_drawdown = 10\n[risk]\nmax_leverage = \"0.5\"\n"
        "[risk.profiles.bold]\n[notifications]\nwebhooks = [{ url = 'ftp://secret' }]\n"
    )
    code, found, output = doctor()
    (tmp_path / "sections.json").write_text('{"risk": 3')
    monkeypatch.setenv("REALTIME_CONFIG__PATH", "sections.json")
    broken, unread, _ = doctor()
    (tmp_path / "sections.json").write_text('{"risk": 3}')
    _, flat, _ = doctor()

    assert well == 0
    assert fine["server", "configuration"]["verdict"] == "good"
    assert code == 1
    said = found["server", "configuration"]["says"]
    for place in (
        "bots are changed by bot.configure",
        "risk.max_leverage must be at least 1",
        "alerts.max_drawdown must be at most 1",
        "risk.profiles.bold",
        "notifications.webhooks.0.url",
    ):
        assert place in said
    assert "ftp://secret" not in output
    assert broken == 1
    assert "sections.json is broken" in unread["server", "configuration"]["says"]
    assert "risk must be an object" in flat["server", "configuration"]["says"]


def test_people_get_a_table_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALTIME_SERVER__HOST", "0.0.0.0")
    monkeypatch.setenv("REALTIME_AUTH__REQUIRED", "false")
    result = RUN.invoke(cli.app, ["doctor"])

    assert result.exit_code == 1
    assert "→ change that setting" in result.stdout
    assert "something would fail" in result.stdout


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        monkeypatch.setenv("REALTIME_SERVER__PORT", str(other.getsockname()[1]))
        code, found, _ = doctor()

    assert code == 1
    assert found["server", "port"]["verdict"] == "bad"
    assert "server.port" in found["server", "port"]["do"]


def test_a_journal_in_use_is_named_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data/realtime.db"
    path.write_bytes(b"")
    free = doctor()[1]["server", "journal"]
    lock = FileLock(path)
    code, found, _ = doctor()
    lock.release()

    assert free["verdict"] == "good"
    assert code == 1
    assert "in use by process" in found["server", "journal"]["says"]


@pytest.mark.parametrize(
    ("name", "megabytes", "verdict"),
    [("WARN_FREE_MB", 10**9, "mind"), ("REDUCING_FREE_MB", 10**9, "bad")],
)
def test_a_disk_that_fills_up_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, megabytes: int, verdict: str
) -> None:
    monkeypatch.setenv(f"REALTIME_STORE__{name}", str(megabytes))
    code, found, _ = doctor()

    assert found["server", "disk"]["verdict"] == verdict
    assert "only exits" in found["server", "disk"]["do"]
    assert code == (verdict == "bad")


@pytest.mark.parametrize(
    ("path", "says"),
    [(".", "is a folder"), ("words.txt", "is not a journal"), ("words.txt/sub/j.db", "is missing")],
)
def test_a_journal_that_cannot_be_one_is_bad(tmp_path: Path, path: str, says: str) -> None:
    (tmp_path / "words.txt").write_text("no journal at all")
    code, found, _ = doctor("--data", str(tmp_path / path))

    assert code == 1
    assert found["server", "journal"]["verdict"] == "bad"
    assert says in found["server", "journal"]["says"]


def test_a_journal_that_can_be_locked_and_not_read_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "j.db"
    path.touch()
    really = Path.open

    def opened(self: Path, *args: Any, **more: Any) -> Any:
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return really(self, *args, **more)

    monkeypatch.setattr(Path, "open", opened)
    code, found, _ = doctor("--data", str(path))

    assert (code, found["server", "journal"]["verdict"]) == (1, "bad")
    assert "cannot be read: Permission denied" in found["server", "journal"]["says"]


def test_a_journal_in_memory_is_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALTIME_STORE__PATH", "")
    code, found, _ = doctor()

    assert (code, found["server", "journal"]["verdict"]) == (0, "mind")


def test_an_account_is_looked_at_from_its_keys_to_a_signed_question(
    tmp_path: Path, bybit: Emulated
) -> None:
    account(tmp_path, bybit)
    code, found, output = doctor()
    mine = {check: row for (about, check), row in found.items() if about == "bybit"}

    assert code == 0
    assert [
        mine[check]["verdict"] for check in ("keys", "markets", "precision", "latency", "clock")
    ] == ["good"] * 5
    assert mine["keys"]["says"].startswith(f"the key {Secret(bybit.key)} is there")
    assert "USDT" in mine["signed request"]["says"]
    assert mine["streams"]["verdict"] == "good"
    assert mine["orders"]["verdict"] == "good"
    assert mine["permissions"]["says"] == "the key can trade and cannot withdraw"
    assert bybit.secret not in output
    assert bybit.key not in output


@pytest.mark.parametrize(("allowed", "verdict"), [("", "bad"), ("-key", "mind")])
def test_a_key_that_can_withdraw_would_not_start_live_unless_it_is_named(
    tmp_path: Path, rich: Emulated, allowed: str, verdict: str
) -> None:
    account(tmp_path, rich, allow_withdrawal_key=allowed)
    code, found, _ = doctor("--mode", "live", "--data", str(tmp_path / "live.db"))
    row = found["bybit", "permissions"]

    assert (code == 1, row["verdict"]) == (verdict == "bad", verdict)
    assert "can withdraw" in row["says"]
    assert ("allow_withdrawal_key" in row["do"]) == (verdict == "bad")
    assert found["server", "settings"]["says"].startswith("mode live")


def test_a_wrong_secret_is_told_with_what_to_do_and_not_shown(
    tmp_path: Path, bybit: Emulated
) -> None:
    account(tmp_path, bybit, secret="canary-wrong-secret-0123")
    code, found, output = doctor()
    row = found["bybit", "signed request"]

    assert code == 1
    assert "AuthenticationError" in row["says"]
    assert row["do"] == WHAT_TO_DO["AuthenticationError"]
    assert "canary-wrong" not in output
    assert bybit.key not in output


def test_a_wrong_clock_is_told_before_orders_are_refused(tmp_path: Path, hasty: Emulated) -> None:
    account(tmp_path, hasty)
    code, found, _ = doctor()
    row = found["bybit", "clock"]

    assert code == 1
    assert row["verdict"] == "bad"
    assert row["says"].startswith("our clock is 3.0 s behind that of bybit")


def test_an_exchange_that_cannot_be_reached_is_told(tmp_path: Path, bybit: Emulated) -> None:
    account(tmp_path, bybit, endpoint="http://127.0.0.1:1")
    code, found, _ = doctor()
    row = found["bybit", "reachable"]

    assert code == 1
    assert row["do"] == WHAT_TO_DO["NetworkError"]


def test_markets_that_are_not_there_are_told(tmp_path: Path, bybit: Emulated) -> None:
    account(tmp_path, bybit, symbols=["BTC/USDT", "NOPE/USDT"])
    code, found, _ = doctor()

    assert code == 1
    assert found["bybit", "markets"]["says"] == "there is no NOPE/USDT"
    account(tmp_path, bybit, types=["future"])
    assert "none of type future" in doctor()[1]["bybit", "markets"]["says"]


def test_an_unknown_exchange_is_told_with_what_is_near(tmp_path: Path, bybit: Emulated) -> None:
    account(tmp_path, bybit, exchange="bibyt")
    code, found, _ = doctor()

    assert code == 1
    assert "bybit" in found["bybit", "exchange"]["says"]


def test_a_key_that_others_can_read_is_told(tmp_path: Path, bybit: Emulated) -> None:
    (tmp_path / "key").write_text(bybit.key)
    (tmp_path / "key").chmod(0o644)
    account(tmp_path, bybit, key="", key_file=str(tmp_path / "key"))
    code, found, _ = doctor()

    assert code == 1
    assert "chmod 600" in found["bybit", "keys"]["says"]


def test_a_key_that_a_server_uses_is_left_to_it(tmp_path: Path, bybit: Emulated) -> None:
    account(tmp_path, bybit)
    lock = Lock.take(Account(id="x", exchange="bybit", key=Secret(bybit.key)))
    _, found, _ = doctor()
    lock.release()

    assert found["bybit", "key in use"]["verdict"] == "mind"
    assert ("bybit", "signed request") not in found
    assert found["bybit", "latency"]["verdict"] == "good"


def test_mode_live_needs_a_key(
    tmp_path: Path, bybit: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REALTIME_MODE", "live")
    account(tmp_path, bybit, key="", secret="")
    code, found, _ = doctor()

    assert code == 1
    assert found["bybit", "keys"]["says"] == "mode live, and there is no key"


def test_the_worst_finding_is_the_verdict() -> None:
    assert verdict_of([]) == "good"


def test_an_error_without_a_remedy_is_worth_another_try() -> None:
    assert remedy(VenueUnknown("?")) == "try again"
    assert (
        remedy(VenueUnknown("?", {"classes": ["A", "NetworkError"]})) == WHAT_TO_DO["NetworkError"]
    )
