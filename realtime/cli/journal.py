"""Commands that look after a journal file of a stopped server."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from realtime.cli.exits import Exit
from realtime.cli.options import counting


Journal = Annotated[Path, typer.Argument(help="The journal file.", show_default=False)]


def verify(path: Journal) -> None:
    """Verify the hash chain and print the first break; exit code 1 if there is one."""
    from realtime import store  # noqa: PLC0415

    with _store_errors():
        with counting() as progress:
            verdict = store.verify(path, progress=progress)
        if verdict.ok:
            print(f"whole: {verdict.rows} rows, head {verdict.head}")
            return
        print(
            f"broken at row {verdict.broken_at}: {verdict.reason}; {verdict.rows} rows before it are whole"
        )
    raise SystemExit(Exit.NO)


def backup(
    path: Journal,
    target: Annotated[Path, typer.Argument(help="Copy to write; replaced if it exists.")],
) -> None:
    """Copy the journal of a stopped server (a running one makes its own backups)."""
    from realtime import store  # noqa: PLC0415

    with _store_errors():
        store.backup(path, target)
        print(f"copied to {target}")


def recover(
    path: Journal, target: Annotated[Path, typer.Argument(help="File to create; must not exist.")]
) -> None:
    """Recover what is readable in a damaged journal into a new file."""
    from uuid import uuid4  # noqa: PLC0415

    from realtime import store  # noqa: PLC0415

    with _store_errors():
        with counting() as progress:
            found = store.recover(
                path, target, new_id=lambda: f"j-{uuid4().hex[:12]}", progress=progress
            )
        print(f"{found.rows} rows and {found.entries} entries of projections are in {target}")
        for first, last in found.missing:
            print(f"missing: rows {first} to {last}")
        for seq in found.altered:
            print(f"altered: row {seq}")
        print("start the server with it: it first reconciles everything with the venues")


@contextmanager
def _store_errors() -> Iterator[None]:
    """Turn what the store says into a line and an exit code."""
    from realtime import store  # noqa: PLC0415

    try:
        yield
    except (store.StoreCorrupt, store.StoreLocked, store.StoreNewer, OSError) as error:
        print(f"realtime: {str(error) or type(error).__name__}", file=sys.stderr)
        raise SystemExit(Exit.NO) from None
