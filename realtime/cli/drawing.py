"""What a terminal shows: tables of rows, values beside their names, an order book."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final


if TYPE_CHECKING:  # what only signatures name must not slow down `--help`
    from typing import TypeGuard

    from rich.console import Console, ConsoleOptions, RenderableType

    from realtime.client import Book, Stream


# What a terminal holds.
_ROWS: Final = 20
_LEVELS: Final = 10
_LAST_MS: Final = 253_402_300_800_000  # the year 10000, which no clock time of Python reaches
_CELL: Final = 40
_LEAST: Final = 6
_NAMES: Final = frozenset({"id", "name"})
_FIRST: Final[Mapping[str, str]] = {
    "orders": "id symbol side type status amount price stop_price filled average fee reason",
    "fills": "id symbol side amount price fee realized_pnl order_id ts",
    "positions": "id symbol side amount unrealized_pnl entry_price mark_price realized_pnl liquidation_price",
    "balances": "id currency total available reserved value",
    "bots": "id state symbols timeframe realized_pnl cycle_count uptime_s error",
    "backtests": "id strategy symbols timeframe status progress created_ts",
}
"""What a person looks for first in rows of which a terminal has no place for all."""
_SILENT: Final[tuple[object, ...]] = (None, "", [], {}, "none", False)


_FRACTIONS: Final = frozenset(
    {
        "win_rate", "total_return", "cagr", "max_drawdown", "volatility", "exposure", "buy_and_hold_return", "var_95",
        "es_95",
    }
)  # fmt: skip
"""Figures of a backtest that a person reads as percentages."""


def show(result: "Mapping[str, object]") -> None:
    """Print a result: a table of each list of rows, and the other values beside their names."""
    console = _console()
    for name, rows in result.items():
        if is_rows(rows):
            console.print(table(name, rows, title=name))
    rest = {
        name: "none" if value == [] else value
        for name, value in result.items()
        if value is not None and not is_rows(value)
    }
    if "client_order_id" in rest:
        first = [name for name in _FIRST["orders"].split() if name in rest]
        rest = {name: rest[name] for name in dict.fromkeys((*first, *rest))}
    console.print(fields(rest))


def backtest(row: "Mapping[str, object]") -> None:
    """Print a backtest: what it was, and its figures or why it has none."""
    from rich.table import Table  # noqa: PLC0415

    console = _console()
    about = ("id", "strategy", "symbols", "timeframe", "start_ts", "end_ts", "status", "error")
    console.print(fields({name: row[name] for name in about if row.get(name) is not None}))
    results = row.get("results")
    if not isinstance(results, Mapping):
        return
    metrics = results.get("metrics")
    if not isinstance(metrics, Mapping):
        show(results)
        return
    drawn = Table(box=None, show_header=False)
    drawn.add_column()
    drawn.add_column(justify="right")
    for name, value in metrics.items():
        drawn.add_row(name, _figure(name, value))
    console.print(drawn)


def _figure(name: str, value: object) -> str:
    """Show a figure of a backtest in a person's unit; the exact one is in --json."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return text(name, value)
    return f"{value:.2%}" if name in _FRACTIONS else f"{value:,.4f}"


def _console() -> "Console":
    from rich.console import Console  # noqa: PLC0415

    return Console(width=None if sys.stdout.isatty() else 200)


def is_rows(value: object) -> "TypeGuard[list[object]]":
    """Tell whether a value is drawn as a table."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def panel(name: str, stream: "Stream | None") -> "RenderableType":
    """Show what is known of a channel."""
    from rich.panel import Panel  # noqa: PLC0415

    from realtime.client import Book  # noqa: PLC0415

    if stream is None:
        return Panel("ended", title=name)
    state = stream.state
    kind = name.partition("?")[0]
    body: RenderableType
    if isinstance(state, Book):
        body = book(state)
    elif stream.kind == "table" and isinstance(state, Mapping):
        body = table(kind, list(state.values())[-_ROWS:])
    elif isinstance(state, Mapping):
        body = fields(state)
    elif isinstance(state, Sequence) and state:
        body = table(kind, list(state)[-_ROWS:][::-1])
    else:
        body = "nothing yet"
    marks = [
        word for word, shown in (("stale", stream.stale), ("behind", not stream.synced)) if shown
    ]
    return Panel(body, title=" ".join([name, *marks]), title_align="left")


def book(levels: "Book") -> "RenderableType":
    """Show the best levels of both sides."""
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(box=None)
    bids, asks = levels.top(_LEVELS)
    for heading in ("amount", "bid", "ask", "amount"):
        # On a narrow terminal rather the amounts are cut than the prices.
        drawn.add_column(heading, justify="right", no_wrap=heading != "amount")
    for place in range(max(len(bids), len(asks))):
        bid = bids[place] if place < len(bids) else ("", "")
        ask = asks[place] if place < len(asks) else ("", "")
        drawn.add_row(bid[1], f"[green]{bid[0]}[/]", f"[red]{ask[0]}[/]", ask[1])
    return drawn


def table(kind: str, rows: "Sequence[object]", *, title: str = "") -> "RenderableType":
    """Show rows with the columns that say something; the first ones where there are too many."""
    return _Rows(kind, [row for row in rows if isinstance(row, Mapping)], title)


class _Rows:
    """A table that leaves out columns which have no place, instead of cutting all of them short."""

    def __init__(self, kind: str, rows: "Sequence[Mapping[str, object]]", title: str) -> None:
        self._first = _FIRST.get(kind, "").split()
        self._rows = rows
        self._title = title

    def __rich_console__(
        self, console: "Console", options: "ConsoleOptions"
    ) -> "Iterator[RenderableType]":
        from rich.table import Table  # noqa: PLC0415

        drawn = Table(box=None, title=self._title or None, title_justify="left")
        room = options.max_width
        names: list[str] = []
        for name in self._names():
            wanted = max(len(name), *(len(text(name, row.get(name))) for row in self._rows))
            whole = name in _NAMES or name.endswith("_id")
            width = min(wanted if whole else min(wanted, _CELL), max(room - 2, 0))
            # A part of a name cannot be typed, two characters of a time say nothing.
            if names and width < (wanted if whole else min(_LEAST, wanted)):
                continue
            names.append(name)
            drawn.add_column(name, overflow="ellipsis", no_wrap=True, width=width)
            room -= width + 2
        for row in self._rows:
            drawn.add_row(*(text(name, row.get(name)) for name in names))
        yield drawn

    def _names(self) -> list[str]:
        """Put first what a person looks for, then names, which one types next; what has parts of its own last."""
        found = dict.fromkeys(
            name for row in self._rows for name, value in row.items() if value not in _SILENT
        )
        nested = {
            name
            for row in self._rows
            for name, value in row.items()
            if isinstance(value, dict | list)
        }
        first = [name for name in self._first if name in found]
        rest = sorted(found, key=lambda name: (name in nested, name not in _NAMES))
        return list(dict.fromkeys((*first, *rest)))


def fields(values: "Mapping[str, object]") -> "RenderableType":
    """Show values beside their names."""
    from rich.table import Table  # noqa: PLC0415

    drawn = Table(box=None, show_header=False)
    drawn.add_column()
    drawn.add_column(overflow="fold")
    for name, value in values.items():
        drawn.add_row(name, text(name, value))
    return drawn


def text(name: str, value: object) -> str:
    """Show a value as a person reads it: times as clock times, the rest as it was sent."""
    from datetime import UTC, datetime  # noqa: PLC0415

    import orjson  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    if value is None:
        return ""
    if name == "fee" and isinstance(value, Mapping) and value.keys() == {"cost", "currency"}:
        return escape(f"{value['cost']} {value['currency']}")
    if name == "uptime_s" and isinstance(value, int | float):
        minutes = int(value) // 60
        return (
            f"{minutes // 1440} d {minutes // 60 % 24} h {minutes % 60} min"
            if minutes
            else f"{int(value)} s"
        )
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return escape(", ".join(value))
    is_time = name in {"ts", "asof"} or name.endswith(("_ts", "_at"))
    if is_time and isinstance(value, int) and 0 <= value < _LAST_MS:
        stamp = datetime.fromtimestamp(value / 1_000, UTC)
        return stamp.strftime("%Y-%m-%d %H:%M:%S.") + f"{value % 1_000:03d}"
    return escape(value if isinstance(value, str) else orjson.dumps(value).decode())
