"""Orders, fills and equity as files, page by page: a hundred thousand rows take no more memory than five hundred.

Rules of this file: (1) a number is the text that the server sent, never a float of it; (2) every time stands twice, in wire
ms and in words; (3) a text that a spreadsheet would run as a formula gets an apostrophe before it.
"""

import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from realtime.cli.exits import Exit
from realtime.cli.options import LOCAL, Account, Timeout, Token, Url, answering, counting, refuse
from realtime.cli.wire import connecting, moment, stopped


if TYPE_CHECKING:  # what only signatures name must not slow down `--help`
    from realtime.client import Client


Row = Mapping[str, object]
Rows = AsyncIterator[list[Row]]
Ask = Callable[[str, Mapping[str, object]], Awaitable[Mapping[str, Any]]]

PAGE: Final = 500
WINDOW_MS: Final = 12 * 3_600_000
"""First guess of the time that one answer about equity covers: one sample a minute makes 720."""
FEW: Final = 400
_SAMPLE: Final = ("ts", "equity", "drawdown")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_LAST_MS: Final = 253_402_300_800_000  # the year 10000, which no clock time of Python reaches


class What(StrEnum):
    """What there is to export."""

    ORDERS = "orders"
    FILLS = "fills"
    EQUITY = "equity"


class Form(StrEnum):
    """Of the file."""

    CSV = "csv"
    JSON = "json"


def export(
    what: Annotated[What, typer.Argument(help="What to export.")],
    form: Annotated[Form, typer.Option("--format", help="Output format.")] = Form.CSV,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Output file, replaced when complete; default: standard output."
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="From this time: 2026-01-31, 2026-01-31T12:00:00Z or Unix ms."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time, excluded.")] = None,
    symbol: Annotated[str | None, typer.Option(help="Only this market.")] = None,
    account: Account = None,
    url: Url = LOCAL,
    token: Token = None,
    timeout: Timeout = 60.0,
) -> None:
    """Write orders, fills or equity as CSV or JSON, newest first."""
    import asyncio  # noqa: PLC0415

    given: dict[str, object] = {
        "since": None if since is None else moment(since, "--since"),
        "until": None if until is None else moment(until, "--until"),
        "symbol": symbol,
        "venue": account,
    }
    if symbol is not None and what is What.EQUITY:
        raise typer.BadParameter("equity is of the whole account", param_hint="--symbol")
    wanted = {name: value for name, value in given.items() if value is not None}
    answering(asyncio.run(_export(what, form, output, wanted, url, token, timeout)))


async def _export(
    what: What,
    form: Form,
    output: Path | None,
    wanted: dict[str, object],
    url: str,
    token: str | None,
    patience: float,
) -> int:
    import asyncio  # noqa: PLC0415

    from realtime.client import Closed, CommandError  # noqa: PLC0415

    me = connecting(url, token)
    count = 0
    try:
        async with asyncio.timeout(patience) as waiting, me as client:
            waiting.reschedule(None)
            ask = _asking(client, patience)
            columns = await _columns(ask, what)
            with _target(output) as file, counting() as told:
                write = _csv(file, columns) if form is Form.CSV else _json(file)
                async for page in _PAGES[what](ask, wanted):
                    write(page)
                    count += len(page)
                    told(count)
                write([])
                if form is Form.JSON:
                    file.write("\n]\n" if count else "[]\n")
    except (CommandError, Closed, TimeoutError) as error:
        return stopped(error, me, url, patience)
    except OSError as error:
        if output is None:
            raise  # nobody reads what we write: typer knows
        refuse(f"{output}: {error.strerror}")
    print(f"realtime: {count} rows", file=sys.stderr)
    return Exit.DONE


@contextmanager
def _target(output: Path | None) -> Iterator[IO[str]]:
    """Open what is written to; a file takes its name once it is whole, a pipe or a device keeps its own."""
    if output is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    if output.exists() and not output.is_file():
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file
        return
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


# --- reading --------------------------------------------------------------------------------------


def _asking(client: "Client", patience: float) -> Ask:
    """Make what asks a question, and waits where the server wants us to."""
    import asyncio  # noqa: PLC0415

    from realtime.client import CommandError  # noqa: PLC0415

    async def ask(op: str, args: Mapping[str, object]) -> Mapping[str, Any]:
        async with asyncio.timeout(patience):
            while True:
                try:
                    return (await client.call(op, **args)).result
                except CommandError as error:
                    if error.code not in {"rate_limited", "busy"}:
                        raise
                    await asyncio.sleep(error.retry_after or 1.0)

    return ask


async def _listed(ask: Ask, op: str, name: str, wanted: Mapping[str, object]) -> Rows:
    """Read the pages of a list."""
    cursor: object = None
    while True:
        page = await ask(op, {**wanted, "limit": PAGE, "cursor": cursor})
        yield page[name]
        cursor = page["next_cursor"]
        if cursor is None:
            return


async def _fills(ask: Ask, wanted: Mapping[str, object]) -> Rows:
    async for page in _listed(ask, "fill.list", "fills", wanted):
        yield page


async def _orders(ask: Ask, wanted: Mapping[str, object]) -> Rows:
    """Read ended orders, then those that work: asked for first, so that one that ends meanwhile is not lost."""
    since, until = (wanted.get(name) for name in ("since", "until"))
    where = {name: wanted[name] for name in ("symbol", "venue") if name in wanted}
    working: dict[object, Row] = {}
    async for page in _listed(ask, "order.list", "orders", where):
        working |= {row["id"]: row for row in page}
    async for page in _listed(ask, "order.history", "orders", wanted):
        for row in page:
            working.pop(row["id"], None)
        yield page
    yield [
        row
        for row in reversed(working.values())
        if isinstance(made := row["created_ts"], int)
        and (not isinstance(since, int) or since <= made)
        and (not isinstance(until, int) or made < until)
    ]


async def _equity(ask: Ask, wanted: Mapping[str, object]) -> Rows:
    """Read samples by windows of time, because an answer thins out what is more than a thousand."""
    where = {"venue": wanted["venue"]} if "venue" in wanted else {}
    first, last = wanted.get("since"), wanted.get("until")
    begin = first if isinstance(first, int) else 0

    async def between(start: int, end: object) -> tuple[list[Row], bool]:
        page = await ask("portfolio.equity_history", {**where, "from": start, "to": end})
        rows: list[Row] = [
            dict(zip(_SAMPLE, sample, strict=True)) for sample in reversed(page["equity"])
        ]
        return rows, page["step"] is None

    rows, whole = await between(begin, last)
    if whole:
        yield rows
        return
    end, width = _after(rows), WINDOW_MS
    while end > begin:
        start = max(begin, end - width)
        rows, whole = await between(start, end)
        if not whole:
            width = (end - start) // 2
            continue
        yield rows
        if len(rows) < FEW:
            width *= 2
        end = start
        if not rows and end > begin:
            # A time without samples: on to the newest before it.
            older, _ = await between(begin, end)
            if not older:
                return
            end = _after(older)


def _after(rows: list[Row]) -> int:
    newest = rows[0]["ts"]
    assert isinstance(newest, int)
    return newest + 1


_PAGES: Final = {What.FILLS: _fills, What.ORDERS: _orders, What.EQUITY: _equity}


# --- writing --------------------------------------------------------------------------------------


async def _columns(ask: Ask, what: What) -> list[str]:
    """Name what a row has, by the server's own schema: known before the first row, and also where there is none."""
    if what is What.EQUITY:
        return list(_SAMPLE)
    op, row = ("fill.list", "FillRow") if what is What.FILLS else ("order.list", "OrderRow")
    told = await ask("help", {"about": op})
    return list(told["result"]["$defs"][row]["properties"])


def _csv(file: IO[str], names: list[str]) -> Callable[[list[Row]], None]:
    """Make what writes pages, the head before the first: a question that is refused leaves nothing written."""
    import csv  # noqa: PLC0415

    writer = csv.writer(file, lineterminator="\n")
    heads = [head for name in names for head in _heads(name)]
    begun = False

    def write(page: list[Row]) -> None:
        nonlocal begun
        if not begun:
            writer.writerow(heads)
            begun = True
        for row in page:
            flat = _timed(row)
            if isinstance(fee := flat.pop("fee", None), Mapping):
                flat |= {"fee_cost": fee["cost"], "fee_currency": fee["currency"]}
            writer.writerow([cell(flat.get(head)) for head in heads])

    return write


def _heads(name: str) -> list[str]:
    if name == "fee":
        return ["fee_cost", "fee_currency"]
    return [name, f"{name}_iso"] if _is_time(name) else [name]


def _json(file: IO[str]) -> Callable[[list[Row]], None]:
    import orjson  # noqa: PLC0415

    before = "[\n"

    def write(page: list[Row]) -> None:
        nonlocal before
        for row in page:
            file.write(before + orjson.dumps(_timed(row)).decode())
            before = ",\n"

    return write


def _is_time(name: str) -> bool:
    return name == "ts" or name.endswith("_ts")


def _timed(row: Row) -> dict[str, object]:
    """Put beside every time how a person writes it."""
    found: dict[str, object] = {}
    for name, value in row.items():
        found[name] = value
        if _is_time(name):
            found[f"{name}_iso"] = iso(value)
    return found


def iso(value: object) -> str | None:
    """Write wire ms as ISO 8601 in UTC; None where there is no time."""
    from datetime import UTC, datetime  # noqa: PLC0415

    if not isinstance(value, int) or not 0 <= value < _LAST_MS:
        return None
    stamp = datetime.fromtimestamp(value // 1_000, UTC)
    return f"{stamp:%Y-%m-%dT%H:%M:%S}.{value % 1_000:03d}Z"


def cell(value: object) -> str:
    """Write a value for a spreadsheet: numbers as they were sent, and no text that it would run."""
    from decimal import Decimal  # noqa: PLC0415

    import orjson  # noqa: PLC0415

    if value is None:
        return ""
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    if not isinstance(value, str):
        return orjson.dumps(value).decode()
    if value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value
