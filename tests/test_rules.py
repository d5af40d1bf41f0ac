"""Rules that neither an import graph nor a type can see."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from realtime.model.errors import HTTP_STATUS, Code
from realtime.model.orders import TRANSITIONS, Status


ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "realtime").rglob("*.py"))
AT_THE_MARKET = re.compile(
    r"flows\.process import .*\bProcess\b|flows\.plain import|web\.serving import|real: Desk|open_system\(|RealServer"
)
"""In a file with orders at the embedded market, whose price is another one on another day."""
STANDS_STILL = re.compile(r"\bemulated\(|exchange_at\(|ScriptedVenue")
"""In a file whose market has the price that the test gives it."""
A_PRICE = re.compile(r"(price|stop_loss|take_profit)\]?$")


def calls(path: Path, *names: str) -> Iterator[str]:
    """Every call of one of these names in a file, dotted where it is an attribute."""
    text = path.read_text()
    if any(name in text for name in names):  # reading the syntax of all files takes seconds
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in names:
                    yield ast.unparse(node.func)


def modules_calling(*names: str) -> set[str]:
    words = [name.rpartition(".")[2] for name in names]
    return {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if any(call.endswith(names) for call in calls(path, *words))
    }


def test_permission_is_made_only_by_the_gate() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if {"Approved", "ApprovedAmend"} & set(calls(path, "Approved", "ApprovedAmend"))
    }

    assert makers == {"realtime/engine/risk.py"}


def test_a_venue_is_called_only_at_the_way_out() -> None:
    callers = {
        path
        for path in modules_calling("venue.submit", "venue.amend", "venue.cancel")
        if not path.startswith("realtime/venues/")
    }

    assert callers == {"realtime/desk/gate.py"}


def test_unexpected_exceptions_are_caught_only_where_they_are_logged_with_a_trace() -> None:
    # The journal's thread logs nothing: it carries what a question raises to its asker, whole.
    catchers = {
        path.relative_to(ROOT).as_posix()
        for path in SOURCES
        if "Exception" in (text := path.read_text()) or "except:" in text
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and ast.unparse(node.body[-1]) != "raise"  # looked at on its way, not caught
    }

    # Authors' strategies may raise anything: the backtest refuses it, naming the bar; loading lists file and error.
    # So may ccxt: what it raises is classified (6.6), and a supervisor of a stream goes on. A mail server may answer what
    # no library expects: that is a notice not sent.
    assert catchers == {
        "realtime/bots/backtest.py",
        "realtime/bots/jobs.py",
        "realtime/bots/loading.py",
        "realtime/bots/minds.py",
        "realtime/bots/runner.py",
        "realtime/bots/strangers.py",
        "realtime/commands/registry.py",
        "realtime/desk/alarms.py",
        "realtime/desk/notices.py",
        "realtime/store/writer.py",
        "realtime/venues/ccxt/trading.py",
        "realtime/venues/ccxt/venue.py",
    }


def test_importing_the_vocabulary_loads_nothing_heavy() -> None:
    heavy = ["ccxt", "starlette", "uvicorn", "pydantic", "asyncio", "sqlite3"]
    script = f"import sys, realtime; print([m for m in {heavy!r} if m in sys.modules])"

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


def test_every_code_has_an_http_status() -> None:
    assert set(HTTP_STATUS) == set(Code)


@pytest.mark.parametrize("status", list(Status))
def test_the_table_of_transitions_covers_every_status(status: Status) -> None:
    assert set(TRANSITIONS[status]) == {"ours", "venue"}


def test_no_timer_of_ours_can_end_an_order_the_venue_works_on() -> None:
    assert TRANSITIONS[Status.OPEN]["ours"] == {Status.OPEN}


def test_no_file_is_named_for_what_it_is_not() -> None:
    names = {path.stem for path in SOURCES}

    assert not names & {"utils", "util", "common", "misc", "manager", "service", "helpers"}


def named(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What has a name in a file: keywords, variables, values of dicts, and what follows on a text in a call."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg=str(name), value=value):
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name.lower(), value
            case ast.Dict(keys=names, values=values):
                yield from texts(names, values)
            case ast.Call(args=[_, *values]):
                yield from texts(node.args, values)
            case _:
                pass


def texts(
    names: Sequence[ast.expr | None], values: Sequence[ast.expr]
) -> Iterator[tuple[str, ast.expr]]:
    """Those of these pairs whose name is a text."""
    for name, value in zip(names, values, strict=False):
        if isinstance(name, ast.Constant):
            yield str(name.value), value


def numbers(value: ast.expr) -> Iterator[float]:
    """Numbers in an expression, those in texts as well."""
    for node in ast.walk(value):
        if isinstance(node, ast.Constant):
            with suppress(ValueError):
                yield float(str(node.value))


def test_no_test_names_a_price_at_a_market_whose_price_is_another_one_on_another_day() -> None:
    asking = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "realtime" / "bench").glob("*.py")]
    named_prices = {
        f"{path.relative_to(ROOT).as_posix()}:{value.lineno}"
        for path in asking
        if AT_THE_MARKET.search(text := path.read_text()) and not STANDS_STILL.search(text)
        for name, value in named(ast.parse(text))
        if A_PRICE.search(name) and any(number >= 2 for number in numbers(value))
    }

    # A factor is less, and so is the price of what is nowhere listed.
    assert named_prices == set()
