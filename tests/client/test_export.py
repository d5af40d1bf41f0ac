"""Exports: every row once, exact numbers, times in words, nothing that a spreadsheet would run."""

import csv
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, strategies as st
from typer.testing import CliRunner

from realtime.cli import commands, export
from realtime.cli.exits import Exit
from tests.client.kit import Hub, Row, hub
from tests.flows.plain import plainly
from tests.flows.process import Process


RUN = CliRunner()
MINUTE = 60_000
T0 = 1_790_000_000_000


@pytest.fixture
def server() -> Iterator[Hub]:
    with (
        start_blocking_portal("asyncio") as portal,
        portal.wrap_async_context_manager(hub()) as made,
    ):
        schema = {"FillRow": FILL, "OrderRow": ORDER}
        defs = {name: {"properties": dict.fromkeys(row)} for name, row in schema.items()}
        made.answers["help"] = lambda _: {"result": {"result": {"$defs": defs}}}
        yield made


def exported(server: Hub, *words: str) -> Any:
    return RUN.invoke(commands.app, ["export", *words, "--url", server.url])


FILL: Row = {
    "id": "t-1",
    "side": "buy",
    "amount": "0.100000000000000001",
    "price": "1.230",
    "fee": {"cost": "-0.00001", "currency": "BTC"},
    "realized_pnl": "-12.50",
    "bot_id": None,
    "inferred": False,
    "ts": T0 + 123,
}
ORDER: Row = {
    "id": "o-1",
    "client_order_id": "c-1",
    "amount": "0.10",
    "fee": None,
    "fees": [],
    "reason": None,
    "status": "filled",
    "stop_loss": None,
    "created_ts": T0,
}


def paged(name: str, rows: list[Row], got: Row) -> Row:
    at, limit = int(got.get("cursor") or 0), got["limit"]
    more = str(at + limit) if at + limit < len(rows) else None
    return {"result": {name: rows[at : at + limit], "next_cursor": more}}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_fills_are_written_as_they_were_sent_with_their_times_in_words(server: Hub) -> None:
    server.answers["fill.list"] = lambda got: paged("fills", [FILL], got)
    result = exported(server, "fills", "--since", "2026-01-31", "--account", "kraken")
    (sent,) = server.ops("fill.list")
    (row,) = rows_of(result.stdout)

    assert result.exit_code == 0
    assert (sent["since"], sent["venue"]) == (1_769_817_600_000, "kraken")
    assert row == {
        "id": "t-1",
        "side": "buy",
        "amount": "0.100000000000000001",
        "price": "1.230",
        "fee_cost": "-0.00001",
        "fee_currency": "BTC",
        "realized_pnl": "-12.50",
        "bot_id": "",
        "inferred": "false",
        "ts": str(T0 + 123),
        "ts_iso": "2026-09-21T14:13:20.123Z",
    }


def test_every_page_is_asked_for_and_none_twice(server: Hub) -> None:
    rows = [FILL | {"id": f"t-{number}"} for number in range(1_201)]
    server.answers["fill.list"] = lambda got: paged("fills", rows, got)
    table = rows_of(exported(server, "fills").stdout)
    made = orjson.loads(exported(server, "fills", "--format", "json").stdout)

    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert [row["id"] for row in made] == [row["id"] for row in rows]
    assert made[0] == FILL | {"id": "t-0", "ts_iso": "2026-09-21T14:13:20.123Z"}
    assert len(server.ops("fill.list")) == 6


def test_nothing_to_export_is_a_head_or_an_empty_list(server: Hub) -> None:
    server.answers["fill.list"] = lambda got: paged("fills", [], got)

    assert exported(server, "fills").stdout.startswith("id,side,amount,")
    assert rows_of(exported(server, "fills").stdout) == []
    assert orjson.loads(exported(server, "fills", "--format", "json").stdout) == []


def test_an_order_that_ends_while_we_read_is_there_once(server: Hub) -> None:
    working = [ORDER | {"id": f"o-{n}", "status": "open", "created_ts": T0 + n} for n in (1, 2, 3)]
    ended = [ORDER | {"id": "o-2", "status": "filled", "created_ts": T0 + 2}]
    server.answers["order.list"] = lambda got: paged("orders", working, got)
    server.answers["order.history"] = lambda got: paged("orders", ended, got)
    whole = rows_of(exported(server, "orders").stdout)
    part = rows_of(exported(server, "orders", "--since", str(T0 + 2)).stdout)
    before = rows_of(exported(server, "orders", "--until", str(T0 + 3)).stdout)

    assert [(row["id"], row["status"]) for row in whole] == [
        ("o-2", "filled"),
        ("o-3", "open"),
        ("o-1", "open"),
    ]
    assert [row["id"] for row in part] == ["o-2", "o-3"]
    assert [row["id"] for row in before] == ["o-2", "o-1"]
    assert server.ops("order.list", "order.history")[0]["op"] == "order.list"


def samples(server: Hub, stamps: list[int]) -> Callable[[], int]:
    """Let the server answer about equity as the real one does: thinned out from a thousand samples on."""
    asked = 0

    def answer(got: Row) -> Row:
        nonlocal asked
        asked += 1
        since, until = got.get("from") or 0, got.get("to") or 2**60
        assert since < until
        found = [[ts, f"{ts}.50", 0.0000024] for ts in stamps if since <= ts < until]
        thin = len(found) > 1_000
        kept = [*found[:-1][:: len(found) // 500], found[-1]] if thin else found
        return {"result": {"equity": kept, "step": 120 if thin else None}}

    server.answers["portfolio.equity_history"] = answer
    return lambda: asked


@pytest.mark.parametrize(
    "stamps",
    [
        [],
        [T0],
        [T0 + n * MINUTE for n in range(900)],
        [T0 + n * MINUTE for n in range(5_000)],
        # A burst of fills, a time without a server, and the beginning.
        [
            *(T0 - 400 * 86_400_000 + n * MINUTE for n in range(30)),
            *(T0 + n * MINUTE for n in range(3_000)),
            *(T0 + 3_000 * MINUTE + n * 7 for n in range(4_000)),
        ],
    ],
    ids=["none", "one", "few", "many", "uneven"],
)
def test_equity_has_every_sample_once_although_answers_are_thinned_out(
    server: Hub, stamps: list[int]
) -> None:
    asked = samples(server, stamps)
    rows = rows_of(exported(server, "equity").stdout)

    assert [int(row["ts"]) for row in rows] == stamps[::-1]
    assert all(row["equity"] == f"{row['ts']}.50" for row in rows)
    assert {row["drawdown"] for row in rows} <= {"0.0000024"}
    assert asked() < 60


def test_equity_of_a_time_is_of_that_time(server: Hub) -> None:
    stamps = [T0 + n * MINUTE for n in range(5_000)]
    samples(server, stamps)
    since, until = T0 + 100 * MINUTE, T0 + 4_000 * MINUTE
    rows = rows_of(exported(server, "equity", "--since", str(since), "--until", str(until)).stdout)

    assert [int(row["ts"]) for row in rows] == stamps[100:4_000][::-1]


def test_a_server_that_is_asked_too_often_is_waited_for(server: Hub) -> None:
    busy = [1, 2]

    def answer(got: Row) -> Row:
        if busy:
            busy.pop()
            error = {"code": "rate_limited", "message": "no", "outcome": "not_done"}
            return {"ok": False, "error": error | {"retry_after": 0.01}}
        return paged("fills", [FILL], got)

    server.answers["fill.list"] = answer

    assert len(rows_of(exported(server, "fills").stdout)) == 1


def test_a_file_takes_its_name_once_it_is_whole(server: Hub, tmp_path: Path) -> None:
    file = tmp_path / "fills.csv"
    file.write_text("the last one")
    error = {"code": "not_found", "message": "no", "outcome": "not_done"}
    server.answers["fill.list"] = lambda _: {"ok": False, "error": error}
    refused = exported(server, "fills", "-o", str(file))
    kept = file.read_text()
    server.answers["fill.list"] = lambda got: paged("fills", [FILL], got)
    done = exported(server, "fills", "-o", str(file))
    nowhere = exported(server, "fills", "-o", str(tmp_path / "no" / "fills.csv"))

    assert (refused.exit_code, done.exit_code) == (Exit.NO, Exit.DONE)
    assert kept == "the last one"
    assert len(rows_of(file.read_text())) == 1
    assert nowhere.exit_code == Exit.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["fills.csv"]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_what_is_refused_leaves_standard_output_empty(server: Hub, form: str) -> None:
    error = {"code": "not_found", "message": "no market X", "outcome": "not_done"}
    server.answers["fill.list"] = lambda _: {"ok": False, "error": error}
    refused = exported(server, "fills", "--symbol", "X", "--format", form)

    assert (refused.exit_code, refused.stdout) == (Exit.NO, "")
    assert "no market X" in refused.stderr


def test_a_pipe_is_written_to_and_not_replaced(server: Hub, tmp_path: Path) -> None:
    """As root, `-o /dev/null` made a file of it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    server.answers["fill.list"] = lambda got: paged("fills", [FILL], got)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        done = exported(server, "fills", "-o", str(pipe))
        text = os.read(reader, 65_536).decode()
    finally:
        os.close(reader)

    assert done.exit_code == Exit.DONE
    assert len(rows_of(text)) == 1
    assert pipe.is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1+1", "'+1+1"),
        ("-1-1", "'-1-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-0.5", "-0.5"),
        ("+7", "+7"),
        ("-", "'-"),
        ('plain, with "quotes"', 'plain, with "quotes"'),
        (None, ""),
        (True, "true"),
        (-3, "-3"),
        (2.4e-06, "0.0000024"),
        ({"price": "1"}, '{"price":"1"}'),
    ],
)
def test_a_cell_is_exact_and_no_formula(value: object, written: str) -> None:
    assert export.cell(value) == written


@given(st.text())
def test_no_text_begins_as_a_formula_begins(text: str) -> None:
    shown = export.cell(text)

    assert shown.removeprefix("'") == text.removeprefix("'")
    assert not shown.startswith(("=", "@", "\t", "\r"))
    if shown.startswith(("+", "-")):
        float(shown)


def test_a_text_of_a_client_reaches_a_spreadsheet_as_text(server: Hub) -> None:
    order = ORDER | {
        "client_order_id": "-1-cmd",
        "reason": '=cmd|" /C calc"!A0\n',
        "status": "filled",
    }
    server.answers["order.list"] = lambda got: paged("orders", [], got)
    server.answers["order.history"] = lambda got: paged("orders", [order], got)
    (row,) = rows_of(exported(server, "orders").stdout)
    (exact,) = orjson.loads(exported(server, "orders", "--format", "json").stdout)

    assert row["client_order_id"] == "'-1-cmd"
    assert row["reason"] == '\'=cmd|" /C calc"!A0\n'
    assert exact["reason"] == order["reason"]


def test_what_a_real_server_has_traded_comes_out_of_it() -> None:
    with Process.serve("") as server, plainly(server.socket) as plain:
        plain.subscribe("fills")
        words = ["order", "place", "BTC/USDT", "buy", "market", "0.001", "client_order_id=-1-mine"]
        placed = RUN.invoke(commands.app, [*words, "--url", server.socket])
        plain.until("fills", lambda rows: any(row["client_order_id"] == "-1-mine" for row in rows))
        (fill,) = plain.ask("fill.list")["fills"]
        files = {
            what: RUN.invoke(commands.app, ["export", what, "--url", server.socket])
            for what in export.What
        }

    assert placed.exit_code == 0
    assert [file.exit_code for file in files.values()] == [0, 0, 0]
    (order,) = rows_of(files[export.What.ORDERS].stdout)
    (row,) = rows_of(files[export.What.FILLS].stdout)
    assert order["client_order_id"] == row["client_order_id"] == "'-1-mine"
    assert (row["price"], row["amount"]) == (fill["price"], fill["amount"])
    assert row["fee_cost"] == fill["fee"]["cost"]
    assert row["ts_iso"].startswith("20")
    assert rows_of(files[export.What.EQUITY].stdout)
