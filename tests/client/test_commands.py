"""Commands of the command line that are an op under a name that a person types, and how all of them end."""

import asyncio
import errno
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from typer.testing import CliRunner, Result

from realtime.cli import commands, drawing, process, wire
from realtime.cli.exits import Exit
from tests.client.kit import Hub, Row, hub


RUN = CliRunner()
TABLES = {"": wire.TOP, "order": wire.ORDER, "bots": wire.BOTS, "backtest": wire.BACKTEST}


@pytest.fixture
def server() -> Iterator[Hub]:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(hub()) as made,
    ):
        yield made


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def typed(server: Hub, *words: str) -> Result:
    return RUN.invoke(commands.app, [*words, "--url", server.url])


def refusal(code: str, outcome: str = "not_done") -> Row:
    return {
        "ok": False,
        "error": {"code": code, "message": "no", "outcome": outcome, "details": {}},
    }


@pytest.mark.parametrize(
    ("words", "op", "sent"),
    [
        (
            ["order", "place", "BTC/USDT", "buy", "limit", "0.010", "64000", "post_only=true"],
            "order.place",
            {
                "symbol": "BTC/USDT",
                "side": "buy",
                "type": "limit",
                "amount": "0.010",
                "price": "64000",
                "post_only": True,
            },
        ),
        (["order", "get", "o-7"], "order.get", {"order_id": "o-7"}),
        (["order", "cancel", "mine"], "order.cancel", {"client_order_id": "mine"}),
        (["order", "list", "status=all"], "order.list", {"status": "all"}),
        (
            ["order", "amend", "mine", "price=64000.5"],
            "order.amend",
            {"client_order_id": "mine", "price": "64000.5"},
        ),
        (
            ["cancel-all", "BTC/USDT", "--account", "kraken"],
            "order.cancel_all",
            {"symbol": "BTC/USDT", "venue": "kraken"},
        ),
        (
            ["halt", "prices", "look", "wrong", "flatten=true"],
            "trading.halt",
            {"reason": "prices look wrong", "flatten": True},
        ),
        (["resume", "looked"], "trading.resume", {"reason": "looked"}),
        (["bots", "start", "main"], "bot.start", {"bot_id": "main"}),
        (["bots", "list"], "bot.list", {}),
    ],
)
def test_words_become_the_arguments_of_an_op(
    server: Hub, words: list[str], op: str, sent: Row
) -> None:
    result = typed(server, *words)
    (got,) = server.ops(op)

    assert result.exit_code == 0
    assert {name: value for name, value in got.items() if name in sent} == sent
    assert got.keys() - sent.keys() <= {"op", "id", "client_order_id"}


def test_an_orders_id_is_said_before_it_goes_out_and_is_the_one_that_goes_out(server: Hub) -> None:
    server.silent.add("order.place")
    silent = typed(server, "order", "place", "A", "buy", "market", "1", "--timeout", "5")
    (sent,) = server.ops("order.place")
    away = RUN.invoke(
        commands.app,
        ["order", "place", "A", "--url", "ws://127.0.0.1:9/ws", "--timeout", "0.1"],
    )

    assert silent.stderr.splitlines()[0] == f"realtime: client_order_id {sent['client_order_id']}"
    assert silent.exit_code == Exit.UNKNOWN
    assert "may have been done" in silent.stderr
    assert away.stderr.startswith("realtime: client_order_id ")
    assert away.exit_code == Exit.AWAY


def test_an_order_whose_answer_is_lost_goes_out_again_under_its_own_id(server: Hub) -> None:
    server.lost.add("order.place")
    result = typed(server, "order", "place", "A", "buy", "market", "1", "--timeout", "60")
    first, second = server.ops("order.place")

    assert result.exit_code == 0
    assert first["client_order_id"] == second["client_order_id"]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refusal("risk_rejected"), Exit.NO),
        (refusal("halted"), Exit.NO),
        (refusal("venue_rejected"), Exit.REJECTED),
        (refusal("outcome_unknown", "unknown"), Exit.UNKNOWN),
        ({"result": {"id": "o-1", "status": "open"}}, Exit.DONE),
        ({"result": {"id": "o-1", "status": "rejected", "duplicate": True}}, Exit.REJECTED),
        ({"result": {"id": "o-1", "status": "unknown", "duplicate": True}}, Exit.UNKNOWN),
    ],
)
def test_every_end_of_an_order_has_its_code(server: Hub, reply: Row, code: Exit) -> None:
    server.answers["order.place"] = lambda _: reply

    assert typed(server, "order", "place", "A", "buy", "market", "1").exit_code == code


@pytest.mark.parametrize(
    ("words", "result", "code"),
    [
        (["cancel-all"], {"canceled": ["a"], "failed": []}, Exit.DONE),
        (["cancel-all"], {"canceled": ["a"], "failed": ["b"]}, Exit.PARTLY),
        (["cancel-all"], {"canceled": [], "failed": ["b"], "unknown": ["c"]}, Exit.UNKNOWN),
        (["halt"], {"canceled": [], "failed": [], "unknown": [], "flat": False}, Exit.DONE),
        (["halt", "flatten=true"], {"failed": [], "unknown": [], "flat": False}, Exit.PARTLY),
        (["halt", "flatten=true"], {"failed": [], "unknown": [], "flat": True}, Exit.DONE),
        (["call", "order.cancel_all"], {"canceled": [], "failed": ["b"]}, Exit.PARTLY),
        (["bots", "stop"], {"failed": ["b"], "unknown": ["c"]}, Exit.UNKNOWN),
        # Not what was asked for, but what is there.
        (["backtest", "strategies"], {"strategies": [], "failed": [{"file": "f"}]}, Exit.DONE),
    ],
)
def test_what_was_done_in_part_is_not_called_done(
    server: Hub, words: list[str], result: Row, code: Exit
) -> None:
    for op in ("order.cancel_all", "trading.halt", "backtest.strategies", "bot.stop"):
        server.answers[op] = lambda _: {"result": result}

    assert typed(server, *words).exit_code == code


@pytest.mark.parametrize(
    "words",
    [
        ["order", "list", "A", "B"],
        ["order", "list", "A", "symbol=B"],
        ["backtest", "run", "ema_crossover", "A", "1h", "yesterday"],
        ["export", "trades"],
        ["export", "fills", "--since", "yesterday"],
        ["export", "equity", "--symbol", "A"],
    ],
)
def test_wrong_usage_is_said_before_anything_is_sent(server: Hub, words: list[str]) -> None:
    result = typed(server, *words)

    assert result.exit_code == Exit.USAGE
    assert server.got == []


def test_json_has_the_result_and_nothing_else_on_standard_output(server: Hub) -> None:
    server.answers["order.place"] = lambda _: {"result": {"id": "o-1", "status": "open"}}
    result = typed(server, "order", "place", "A", "buy", "market", "1", "--json")

    assert orjson.loads(result.stdout)["result"] == {"id": "o-1", "status": "open"}


def test_a_list_without_rows_says_so_and_an_order_leaves_out_what_it_has_not(server: Hub) -> None:
    row = {"client_order_id": "c", "id": "o-1", "price": None, "status": "open", "symbol": "A"}
    server.answers["order.list"] = lambda _: {"result": {"orders": [], "next_cursor": None}}
    server.answers["order.get"] = lambda _: {"result": row}

    assert typed(server, "order", "list").stdout.split() == ["orders", "none"]
    assert typed(server, "order", "get", "c").stdout.split() == [
        *("id", "o-1"),
        *("symbol", "A"),
        *("status", "open"),
        *("client_order_id", "c"),
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 s"), (59, "59 s"), (60, "0 d 0 h 1 min"), (90_061, "1 d 1 h 1 min")]
)
def test_a_person_reads_how_long_a_bot_runs(value: int, shown: str) -> None:
    assert drawing.text("uptime_s", value) == shown


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-31", 1_769_817_600_000),
        ("2026-01-31T12:00:00.250Z", 1_769_860_800_250),
        ("2026-01-31T13:00:00+01:00", 1_769_860_800_000),
        ("1769817600000", 1_769_817_600_000),
    ],
)
def test_a_time_is_a_date_a_time_or_wire_ms(text: str, ms: int) -> None:
    assert wire.moment(text, "--since") == ms


def test_every_command_of_the_table_has_its_help() -> None:
    for group, table in TABLES.items():
        for name, short in table.items():
            shown = RUN.invoke(commands.app, [*group.split(), name, "--help"], terminal_width=200)

            assert shown.exit_code == 0
            assert short.summary in " ".join(shown.stdout.split())


# --- backtests ------------------------------------------------------------------------------------


def backtest(status: str, **more: object) -> Row:
    return {"id": "bt-1", "strategy": "s", "symbols": ["A"], "status": status, **more}


def test_a_backtest_is_followed_to_its_end_and_its_figures_are_shown(server: Hub) -> None:
    metrics = {"total_trades": 3, "win_rate": 0.25, "sharpe": None, "net_profit": -1234.5}
    done = backtest("done", results={"metrics": metrics})
    server.feed("backtest:bt-1", {"status": "done", "progress": 1.0})
    server.answers["backtest.run"] = lambda _: {"result": backtest("queued", results=None)}
    server.answers["backtest.get"] = lambda _: {"result": done}
    result = typed(server, "backtest", "run", "s", "A", "1h", "2026-01-31", "commission=0.002")
    (sent,) = server.ops("backtest.run")
    exact = typed(server, "backtest", "get", "bt-1", "--json")

    assert result.exit_code == 0
    assert "realtime: backtest bt-1" in result.stderr
    assert sent["start"] == 1_769_817_600_000
    assert sent["request_id"]
    assert result.stdout.split()[-8:] == [
        *("total_trades", "3"),
        *("win_rate", "25.00%"),
        *("sharpe", "-"),
        *("net_profit", "-1,234.5000"),
    ]
    assert orjson.loads(exact.stdout)["result"]["results"]["metrics"] == metrics


def test_a_backtest_that_failed_is_not_done(server: Hub) -> None:
    failed = backtest("failed", error={"code": "not_found", "message": "no bars"})
    server.answers["backtest.get"] = lambda _: {"result": failed}
    result = typed(server, "backtest", "get", "bt-1")
    server.answers["backtest.get"] = lambda _: refusal("not_found")
    gone = typed(server, "backtest", "get", "bt-1")

    assert result.exit_code == gone.exit_code == Exit.NO
    assert "no bars" in result.stdout


async def test_ctrl_c_leaves_a_backtest_and_says_how_to_come_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with hub() as made:
        made.feed("backtest:bt-1", {"status": "running", "progress": 0.1})
        made.answers["backtest.run"] = lambda _: {"result": backtest("queued")}
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            waiting = group.create_task(
                wire._followed("backtest.run", {}, made.url, None, 50.0, plain=True)
            )
            await made.until(lambda: made.ops("subscribe"))
            waiting.cancel()

    assert "realtime backtest get bt-1" in capsys.readouterr().err


# --- output that nobody gets ----------------------------------------------------------------------


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["table", "json"])
@pytest.mark.parametrize("output", ["unread", "full", "closed"])
def test_the_code_says_what_became_of_an_order_whose_answer_cannot_be_written(
    server: Hub, output: str, json: list[str]
) -> None:
    """They ended with 1, which promises that nothing was done."""
    ended = outputting(server, output, "order", "place", "A", "buy", "market", "1", *json)

    assert len(server.ops("order.place")) == 1
    assert ended.returncode == Exit.DONE
    id_, *said = ended.stderr.splitlines()
    assert id_.startswith("realtime: client_order_id ")
    assert said == (["realtime: standard output: No space left on device"] * (output == "full"))


def test_a_question_whose_answer_has_no_room_is_not_done(server: Hub) -> None:
    server.feed("ticker:A", {"last": "1"})
    asked = outputting(server, "full", "order", "list")
    watched = outputting(server, "full", "tail", "ticker:A")

    assert (asked.returncode, watched.returncode) == (Exit.USAGE, Exit.USAGE)
    assert asked.stderr == "realtime: standard output: No space left on device\n"
    assert watched.stderr == "realtime: [Errno 28] No space left on device\n"


def test_a_server_tells_its_address_where_standard_output_has_no_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It ended, and the token that it had made was told to nobody."""

    class Full(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    process._banner({"page": "http://x/", "token": "rt_1"})

    assert capsys.readouterr().err.split() == ["page", "http://x/", "token", "rt_1"]


def outputting(server: Hub, output: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose standard output nobody reads, has no room, or is closed."""
    server.answers["order.place"] = lambda _: {"result": {"id": "o-1", "status": "open"}}
    server.answers["order.list"] = lambda _: {"result": {"orders": []}}
    command = [sys.executable, "-c", "from realtime.cli import main; main()", *words]
    command += ["--url", server.url]
    if output == "closed":
        command = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    if output == "full":
        if not Path("/dev/full").exists():
            pytest.skip("there is no /dev/full")
        writer = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, writer = os.pipe()
        os.close(reader)
    try:
        return subprocess.run(
            command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=120
        )
    finally:
        os.close(writer)


# --- Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["typer", "realtime.cli.wire"])
def test_ctrl_c_while_the_program_is_read_leaves_without_a_traceback(module: str) -> None:
    script = f"""
import os, signal, sys

class Pressed:
    def find_spec(self, name, *_):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

from realtime.cli import main
sys.meta_path.insert(0, Pressed())
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")
