"""What several commands share: their options, and the way they end."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    tell(f"realtime: {reason}")
    raise SystemExit(Exit.USAGE)


def tell(text: str) -> None:
    """Say something to the person; where nobody can hear it, the exit code still says what became of the command."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def written(show: Callable[[], None]) -> bool:
    """Write a result to standard output; False, and said, where there is no room for it.

    A reader who has left has what it wanted.
    """
    try:
        show()
        sys.stdout.flush()
    except OSError as error:
        mute()
        if error.errno != errno.EPIPE:
            tell(f"realtime: standard output: {error.strerror}")
            return False
    except SystemExit:  # rich leaves where nobody reads
        mute()
    return True


def mute() -> None:
    """Let go of what could not be written: tried once more at the end, it would decide the exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
