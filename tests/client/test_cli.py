"""The commands that talk to a server, and those that look after a journal file."""

import asyncio
import io
import os
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from rich.console import Console
from typer.testing import CliRunner

from realtime.cli import commands as cli, drawing, wire
from realtime.client import Book, Stream
from tests.client.kit import Hub, hub
from tests.store.kit import Life, facts, opened


RUN = CliRunner()


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


def call(server: Hub, *words: str) -> tuple[int, str, str]:
    result = RUN.invoke(cli.app, ["call", "--url", server.url, *words])
    return result.exit_code, result.stdout, result.stderr


def test_a_command_is_sent_and_its_answer_shown(server: Hub) -> None:
    server.answers["order.list"] = lambda _: {
        "result": {
            "orders": [
                {"id": "o-1", "created_ts": 1_790_000_000_123, "note": "[red]", "fee": None}
            ],
            "next_cursor": None,
        }
    }
    code, out, _ = call(
        server, "order.list", "limit=5", "symbol=BTC/USDT", "amount=0.10", "all=true"
    )
    sent = server.ops("order.list")[0]

    assert code == 0
    assert "o-1" in out
    assert "2026-09-21 14:13:20.123" in out
    assert "[red]" in out
    assert "fee" not in out
    assert {name: sent[name] for name in ("limit", "symbol", "amount", "all")} == {
        "limit": 5,
        "symbol": "BTC/USDT",
        "amount": "0.10",
        "all": True,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1),
        ("a=1.0", "1.0"),
        ('a="7"', "7"),
        ("a=123456789012345678", "123456789012345678"),
        ("a=[1]", [1]),
        ("a=x=y", "x=y"),
        ("a=", ""),
    ],
)
def test_arguments_are_json_where_they_are_json(text: str, value: object) -> None:
    assert wire.argument(text) == ("a", value)


def test_an_argument_without_a_value_is_refused(server: Hub) -> None:
    code, _, err = call(server, "order.list", "limit")

    assert code == 2
    assert "key=value" in err


def test_json_is_the_result_and_where_its_effects_are_seen(server: Hub) -> None:
    code, out, _ = call(server, "ping", "--json")

    assert code == 0
    assert orjson.loads(out).keys() == {"result", "at"}
    assert orjson.loads(out)["at"] == {}


def test_a_refusal_ends_with_its_code(server: Hub) -> None:
    error = {"code": "halted", "message": "no", "outcome": "not_done", "details": {"by": "me"}}
    server.answers["order.place"] = lambda _: {"ok": False, "error": error}
    code, out, err = call(server, "order.place")

    assert (code, out) == (1, "")
    assert err.strip() == 'halted (not_done): no {"by":"me"}'


def test_nobody_there_ends_with_a_line(server: Hub) -> None:
    server.refuse = (401, {})
    refused = call(server, "ping")
    silent = RUN.invoke(
        cli.app, ["call", "--url", "ws://127.0.0.1:9/ws", "--timeout", "0.1", "ping"]
    )

    assert refused[0] == 1
    assert "closed 401" in refused[2]
    assert silent.exit_code == 5
    assert "no answer from ws://127.0.0.1:9/ws in 0.1 s" in silent.stderr


def test_what_is_asked_wrongly_is_said_at_once(server: Hub) -> None:
    hidden = call(server, "order.get", 'id="7"')
    twice = call(server, "order.place", "symbol=A", "symbol=B")
    nowhere = RUN.invoke(cli.app, ["call", "--url", "http://127.0.0.1:9/ws", "ping"])
    nothing = RUN.invoke(cli.app, ["tail", "--url", "nonsense", "orders"])
    below = RUN.invoke(cli.app, ["tail", "--url", server.url, "--count", "-1", "orders"])

    assert hidden[0] == 1
    assert "order_id" in hidden[2]
    assert twice[0] == 2
    assert "symbol is given twice" in twice[2]
    assert nowhere.exit_code == nothing.exit_code == below.exit_code == 2
    assert "--url: 'http://127.0.0.1:9/ws' is not the address of a socket" in nowhere.stderr
    assert server.got == []


def test_a_command_that_went_out_without_an_answer_is_said_to_be_in_doubt(server: Hub) -> None:
    server.silent.add("order.place")
    doubtful = call(server, "--timeout", "5", "order.place", "symbol=A")
    (sent,) = server.ops("order.place")
    away = RUN.invoke(
        cli.app, ["call", "--url", "ws://127.0.0.1:9/ws", "--timeout", "0.1", "order.place"]
    )

    assert doubtful[0] == 4
    assert away.exit_code == 5
    assert f"look: realtime call order.get client_order_id={sent['client_order_id']}" in doubtful[2]
    assert "may have been done" not in away.stderr


async def test_ctrl_c_says_what_is_in_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    async with hub() as made:
        made.silent.add("order.place")
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            args: dict[str, object] = {"client_order_id": "mine"}
            waiting = group.create_task(
                wire._call("order.place", args, made.url, None, 50.0, plain=True)
            )
            await made.until(lambda: made.ops("order.place"))
            waiting.cancel()
    assert "order.get client_order_id=mine" in capsys.readouterr().err


def test_a_backtest_whose_start_had_no_answer_is_in_doubt(server: Hub) -> None:
    server.silent |= {"backtest.run", "backtest.get"}
    lost = RUN.invoke(
        cli.app, ["backtest", "run", "ema_crossover", "--url", server.url, "--timeout", "5"]
    )
    asked = RUN.invoke(cli.app, ["backtest", "get", "b-1", "--url", server.url, "--timeout", "1"])
    away = RUN.invoke(
        cli.app, ["backtest", "run", "x", "--url", "ws://127.0.0.1:9/ws", "--timeout", "0.1"]
    )
    (sent,) = server.ops("backtest.run")

    assert (lost.exit_code, asked.exit_code, away.exit_code) == (4, 5, 5)
    assert f"may have been done; repeat it with request_id={sent['request_id']}" in lost.stderr
    assert "may have been done" not in asked.stderr + away.stderr


async def test_ctrl_c_says_that_a_backtest_is_in_doubt(capsys: pytest.CaptureFixture[str]) -> None:
    async with hub() as made:
        made.silent.add("backtest.run")
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            args: dict[str, object] = {"request_id": "mine"}
            waiting = group.create_task(
                wire._followed("backtest.run", args, made.url, None, 50.0, plain=True)
            )
            await made.until(lambda: made.ops("backtest.run"))
            waiting.cancel()
    assert "repeat it with request_id=mine" in capsys.readouterr().err


def test_an_order_without_an_id_by_its_own_words_has_the_one_that_is_shown(server: Hub) -> None:
    words = ["order", "place", "A", "buy", "market", "1", "client_order_id=null"]
    told = RUN.invoke(cli.app, [*words, "--url", server.url])
    (sent,) = server.ops("order.place")

    assert f"client_order_id {sent['client_order_id']}\n" in told.stderr


def test_what_asks_back_says_what_to_repeat(server: Hub) -> None:
    details = {"confirm": "c-1", "effect": {"orders": 1}}
    error = {"code": "confirm_required", "message": "repeat", "outcome": "not_done"}
    server.answers["order.place"] = lambda _: {"ok": False, "error": error | {"details": details}}
    server.answers["trading.resume"] = server.answers["order.place"]
    _, _, placed = call(server, "order.place", "symbol=A")
    (sent,) = server.ops("order.place")
    _, _, resumed = call(server, "trading.resume")

    assert placed.splitlines()[-1] == (
        f"realtime: to confirm, repeat with client_order_id={sent['client_order_id']} confirm=c-1"
    )
    assert resumed.splitlines()[-1] == "realtime: to confirm, repeat with confirm=c-1"


def test_a_batch_that_asks_back_says_the_ids_that_were_made_for_it(server: Hub) -> None:
    details = {"confirm": "c-1", "effect": {"orders": 1}}
    error = {"code": "confirm_required", "message": "repeat", "outcome": "not_done"}
    server.answers["order.batch"] = lambda _: {"ok": False, "error": error | {"details": details}}
    _, _, said = call(server, "order.batch", 'items=[{"do":"place","symbol":"A"}]')
    more = shlex.split(said.splitlines()[-1].partition("repeat with ")[2])
    call(server, "order.batch", *more)
    asked, confirmed = server.ops("order.batch")

    assert asked["items"][0]["client_order_id"]
    assert confirmed["items"] == asked["items"]
    assert confirmed["confirm"] == "c-1"


def test_a_missing_token_is_asked_for(server: Hub) -> None:
    wrong = call(server, "--token", "a b", "ping")
    server.welcome = {"auth": "required"}
    missing = call(server, "ping")

    assert wrong[0] == 2
    assert wrong[2].startswith("realtime: --token: the token")
    assert missing[0] == 1
    assert missing[2].strip().endswith("give one by --token or REALTIME_TOKEN")


def test_why_there_is_no_answer_is_told(server: Hub) -> None:
    server.refuse = (404, {})
    silent = call(server, "--timeout", "0.5", "ping")

    assert silent[2].strip().endswith("in 0.5 s: HTTP 404 Not Found")


async def test_a_tail_says_that_its_server_is_away_and_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wire, "_LOOK_S", 0.0)
    async with hub() as server, asyncio.timeout(10):
        server.feed("ticker:A", {"bid": "1"})
        tail = asyncio.create_task(wire._tail(["ticker:A"], server.url, None, 2, plain=True))
        await server.until(lambda: server.ops("subscribe"))
        server.refuse = (503, {})  # for one attempt
        server.cut()
        await server.until(lambda: len(server.ops("subscribe")) > 1)
        await server.publish("ticker:A", {"bid": "2"})
        assert await tail == 0
    said = capsys.readouterr().err.splitlines()

    assert said[-2].startswith(f"realtime: no connection to {server.url}, trying again: ")
    assert said[-1] == "realtime: connected"


def test_tail_prints_lines_into_a_pipe(server: Hub) -> None:
    server.feed("ticker:A", {"bid": "1"})
    server.feed("orders", {"set": []})
    result = RUN.invoke(
        cli.app, ["tail", "--url", server.url, "--count", "2", "ticker:A", "orders"]
    )
    lines = [orjson.loads(line) for line in result.stdout.splitlines()]

    assert result.exit_code == 0
    assert [(line["kind"], line["channel"]) for line in lines] == [
        ("snapshot", "ticker:A"),
        ("snapshot", "orders"),
    ]


async def test_tail_ends_when_nobody_reads_it_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind `| head -1`, on a channel that has no more to say."""
    monkeypatch.setattr(wire, "_LOOK_S", 0.01)
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        async with hub() as server, asyncio.timeout(60):
            server.feed("orders", {"set": []})
            tail = asyncio.create_task(wire._tail(["orders"], server.url, None, 0, plain=True))
            first = await asyncio.to_thread(os.read, read, 65_536)
            assert not tail.done()
            os.close(read)

            assert await tail == 1
    assert b'"kind":"snapshot"' in first


def test_tail_paints_tables_for_a_person(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    server.feed("ticker:A", {"bid": "1.50"})
    result = RUN.invoke(cli.app, ["tail", "--url", server.url, "--count", "1", "ticker:A"])

    assert result.exit_code == 0
    assert "ticker:A" in result.stdout
    assert "1.50" in result.stdout


def test_tail_of_what_is_not_there_ends_with_a_line(server: Hub) -> None:
    result = RUN.invoke(cli.app, ["tail", "--url", server.url, "nope:X"])
    server.refuse = (403, {})
    refused = RUN.invoke(cli.app, ["tail", "--url", server.url, "orders"])

    assert (result.exit_code, result.stderr.strip()) == (1, "unknown_channel: no")
    assert (refused.exit_code, refused.stderr.strip()) == (1, "realtime: closed 403 Forbidden")


def painted(stream: Stream | None, name: str = "c") -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(drawing.panel(name, stream))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [30, 60, 200])
def test_a_table_shows_names_whole_and_leaves_out_what_has_no_place(width: int) -> None:
    rows = [
        {"about": {"a": "x" * 300}, "text": "y" * 300, "seen": 1, "id": f"bt-{'z' * 18}-{number}"}
        for number in (1, 2)
    ]
    console = Console(file=io.StringIO(), width=width)
    console.print(drawing.table("rows", rows, title="rows"))
    console.print(drawing.fields({"ops": ["o" * 150, "end"], "until_ts": 2**53 - 1}))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()

    assert f"bt-{'z' * 18}-1" in shown
    assert shown.splitlines()[1].split()[0] == "id"
    assert "end" in shown.replace("\n", "").replace(" ", "")
    assert str(2**53 - 1) in shown.replace("\n", "").replace(" ", "")


# In the order in which they are sent, and as many of the wanted as 80 columns take.
SENT_AND_WANTED = {
    "orders": (
        "id client_order_id exchange_order_id venue mode symbol type side amount price average filled cost fee status",
        "id symbol side type status amount price filled",
    ),
    "fills": (
        "id order_id client_order_id venue mode symbol side amount price cost fee taker_or_maker realized_pnl ts",
        "id symbol side amount price fee realized_pnl",
    ),
    "positions": (
        "id venue mode symbol side amount contract_size entry_price mark_price mark_source notional unrealized_pnl ts",
        "id symbol side amount unrealized_pnl entry_price",
    ),
    "balances": (
        "id venue mode currency wallet available reserved total price value allocation ts source",
        "id currency total available reserved value",
    ),
}


def row_of(kind: str) -> dict[str, object]:
    sent, _ = SENT_AND_WANTED[kind]
    row: dict[str, object] = dict.fromkeys(sent.split(), "63724.86")
    return row | ({"fee": {"cost": "0.35", "currency": "USDT"}} if "fee" in row else {})


@pytest.mark.parametrize("kind", SENT_AND_WANTED)
def test_a_table_begins_with_what_a_person_looks_for(kind: str) -> None:
    sent, wanted = SENT_AND_WANTED[kind]

    def heads(width: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width)
        console.print(drawing.table(kind, [row_of(kind)]))
        assert isinstance(console.file, io.StringIO)
        return console.file.getvalue().splitlines()[0].split()

    assert heads(80)[: len(wanted.split())] == wanted.split()
    assert sorted(heads(400)) == sorted(sent.split())


def test_a_table_shows_no_part_of_a_name_and_no_two_characters_of_a_time() -> None:
    row = {"id": "o-1", "client_order_id": "c" * 32, "side": "buy", "created_ts": 1_790_000_000_123}
    console = Console(file=io.StringIO(), width=18)
    console.print(drawing.table("orders", [row]))
    assert isinstance(console.file, io.StringIO)

    assert console.file.getvalue().split() == ["id", "side", "o-1", "buy"]


def test_a_table_of_a_command_and_one_of_a_channel_have_the_same_columns(server: Hub) -> None:
    row, wanted = row_of("orders"), SENT_AND_WANTED["orders"][1].split()
    server.answers["order.list"] = lambda _: {"result": {"orders": [row], "next_cursor": None}}
    _, out, _ = call(server, "order.list")
    stream = Stream("orders?symbol=BTC/USDT:USDT")
    stream.subscribed({"class": "table", "key": "id", "epoch": "k", "seq": 1})
    stream.apply({"type": "snapshot", "epoch": "k", "seq": 1, "data": {"set": [row]}})
    tailed = painted(stream, "orders?symbol=BTC/USDT:USDT")

    assert out.splitlines()[1].split()[: len(wanted)] == wanted
    assert tailed.splitlines()[1].strip("│ ").split()[: len(wanted)] == wanted
    assert "0.35 USDT" in out


def test_a_book_keeps_its_prices_whole_on_a_narrow_terminal() -> None:
    book = Book()
    book.apply({"bids": [["63938.12", "0.00480"]], "asks": [["63946.99", "0.01289"]]})
    console = Console(file=io.StringIO(), width=36)
    console.print(drawing.book(book))
    assert isinstance(console.file, io.StringIO)

    assert "63938.12" in console.file.getvalue()
    assert "63946.99" in console.file.getvalue()


def test_every_class_of_channel_has_its_picture() -> None:
    def stream(kind: str, data: object) -> Stream:
        made = Stream("c")
        made.subscribed({"class": kind, "key": "id", "epoch": "k", "seq": 1})
        made.apply({"type": "snapshot", "epoch": "k", "seq": 1, "data": data})
        return made

    book = painted(stream("table", {"bids": [["1", "2"], ["0.5", "3"]], "asks": [["1.5", "4"]]}))
    rows = painted(stream("table", {"set": [{"id": "o-1", "status": "open"}]}))
    log = painted(stream("log", [{"id": "t-1"}, {"id": "t-2"}]))
    value = stream("value", {"bid": "1"})
    value.stale = True
    value.cut()

    assert re.search(r"2\s+1\s+1\.5\s+4", book)
    assert "status" in rows
    assert log.index("t-2") < log.index("t-1")
    assert "c stale behind" in painted(value)
    assert "nothing yet" in painted(stream("log", []))
    assert "ended" in painted(None)


# -- journal -----------------------------------------------------------------------------------------


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    async def fill() -> None:
        life = Life()
        life.store = await opened(tmp_path / "j.db")
        for kind, key, body in facts(40):
            life.add(kind, key, body)
        await life.store.close()

    asyncio.run(fill())
    return tmp_path / "j.db"


def test_a_whole_journal_is_verified_copied_and_salvaged(journal: Path) -> None:
    whole = RUN.invoke(cli.app, ["journal", "verify", str(journal)])
    copied = RUN.invoke(cli.app, ["journal", "backup", str(journal), str(journal) + ".copy"])
    saved = RUN.invoke(cli.app, ["journal", "recover", str(journal), str(journal) + ".new"])
    again = RUN.invoke(cli.app, ["journal", "verify", str(journal) + ".new"])

    assert whole.stdout.startswith("whole: 40 rows, head ")
    assert [run.exit_code for run in (whole, copied, saved, again)] == [0, 0, 0, 0]
    assert "40 rows and 40 entries" in saved.stdout


@pytest.mark.parametrize("words", [["verify"], ["recover", "new.db"]])
def test_a_person_sees_how_far_the_look_at_a_journal_is(
    journal: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.chdir(journal.parent)
    result = RUN.invoke(cli.app, ["journal", words[0], str(journal), *words[1:]])

    assert result.exit_code == 0
    assert "40 rows" in result.stderr


def test_the_first_break_of_a_journal_is_named(journal: Path) -> None:
    raw = sqlite3.connect(journal)
    with raw:
        raw.execute("UPDATE journal SET key = 'o-x' WHERE seq = 20")
        raw.execute("UPDATE journal SET ts = 'x' WHERE seq = 30")
    raw.close()
    broken = RUN.invoke(cli.app, ["journal", "verify", str(journal)])
    saved = RUN.invoke(cli.app, ["journal", "recover", str(journal), str(journal) + ".new"])

    assert broken.exit_code == 1
    assert "broken at row 20" in broken.stdout
    assert "altered: row 20" in saved.stdout
    assert "missing: rows 30 to 30" in saved.stdout


def test_what_is_no_journal_ends_with_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database " * 100)
    for words in (
        ["verify", str(tmp_path / "text.db")],
        ["verify", str(tmp_path / "none.db")],
        ["recover", str(tmp_path / "text.db"), str(tmp_path / "text.db")],
    ):
        result = RUN.invoke(cli.app, ["journal", *words])

        assert result.exit_code == 1
        assert result.stderr.strip().startswith("realtime: ")


def test_help_is_quick_because_it_loads_little() -> None:
    heavy = ["asyncio", "websockets", "pydantic", "starlette", "uvicorn", "sqlite3"]
    script = f"import sys, realtime.cli.commands; print([name for name in {heavy!r} if name in sys.modules])"
    # Measuring coverage would load a database of its own.
    bare = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=bare,
    )

    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["w9"], "no workload w9"), (["w1", "--scale", "huge"], "no scale 'huge'")],
    ids=["workload", "scale"],
)
def test_a_benchmark_that_is_not_there_is_refused(arguments: list[str], said: str) -> None:
    result = RUN.invoke(cli.app, ["bench", *arguments])

    assert result.exit_code == 2
    assert said in result.output
