"""What several commands share: their options, and the way they end."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from realtime.cli.exits import Exit


ConfigFile = Annotated[Path, typer.Option("--config", help="Settings file.", show_default=True)]
Host = Annotated[str | None, typer.Option(help="Address to bind.")]
Port = Annotated[int | None, typer.Option(help="Port to bind; 0 picks a free one.")]
Data = Annotated[
    str | None, typer.Option(help="Journal file; an empty string keeps the journal in memory.")
]
Mode = Annotated[
    str | None,
    typer.Option(help="paper: simulated money, also on live prices. live: real orders."),
]
Url = Annotated[str, typer.Option(envvar="REALTIME_URL", help="WebSocket address of the server.")]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="REALTIME_TOKEN",
        help="Access token; prefer the variable, other users can see arguments.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON lines with every field instead of tables."),
]
Timeout = Annotated[float, typer.Option(min=0.01, help="Seconds to wait for the reply.")]
Account = Annotated[
    str | None,
    typer.Option(help="Account; default: the first one (cancel-all, halt, resume: all)."),
]
LOCAL: Final = "ws://127.0.0.1:8000/ws"


def refuse(reason: str) -> NoReturn:
    """Say what is wrong with what was asked for, and leave."""
    print(f"realtime: {reason}", file=sys.stderr)
    raise SystemExit(Exit.USAGE)


def answering(code: int) -> None:
    """Leave with a code, unless all is done."""
    if code:
        raise SystemExit(code)


@contextmanager
def counting() -> Iterator[Callable[[int], None]]:
    """Show a person how many rows are done, as far as the caller tells."""
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.completed} rows"))
    console = Console(stderr=True)
    disable = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=disable) as shown:
        task = shown.add_task("", total=None)
        yield lambda rows: shown.update(task, completed=rows)
