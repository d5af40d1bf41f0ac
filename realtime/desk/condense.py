"""A backup of the journal made into its checkpoint, by a process of its own: replay would hold up the loop.

Rules of this file: (1) the process reads a backup, never the journal that the server has open; (2) what goes wrong in it
is logged and tried again after the next backup; (3) it ends with the server that started it, or by its bound.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from realtime.desk.checkpoint import Misfit, Terms, dumps, loads, look, remember, resume, write
from realtime.desk.recovery import Journaled
from realtime.store.chain import Walk, hash_of
from realtime.store.recovery import reading


logger = logging.getLogger("realtime.checkpoint")

BOUND_S: Final = 1_800.0
"""How long one may take: the first one of a long journal replays all of it."""
NICE: Final = 10
"""By how much the process stands back behind the server."""
_PAGE: Final = 2_000


def condense(copy: Path, target: Path, terms: Terms) -> int:
    """Bring a checkpoint up to the end of a backup.

    Args:
        copy: The backup.
        target: The checkpoint; the one that is there is gone on from, where it fits.
        terms: What the engine is made with.

    Returns:
        The row it stands at; 0 for an empty journal, which needs none.

    Raises:
        StoreCorrupt, Broken: The backup cannot be read, or a row was changed or is missing.
        OSError: The checkpoint could not be written.
    """
    with reading(copy) as connection:
        found = look(target)
        held = Journaled() if found is None else found.at(hash_of(connection, found.seq))
        try:
            return _condense(Walk(connection, held.behind), held, target, terms)
        except Misfit:
            return _condense(Walk(connection), Journaled(), target, terms)


def _condense(walk: Walk, held: Journaled, target: Path, terms: Terms) -> int:
    while rows := walk.page(_PAGE):
        held.take(rows)
    engine, found = resume(held, terms)
    if held.seq > held.behind:
        write(target, held, walk.hash, remember(engine, found, terms))
    return held.seq


async def refresh(copy: Path, target: Path, terms: Terms) -> None:
    """Let a process condense a backup; a failure is logged."""
    plain = replace(terms, markets=dict(terms.markets))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "realtime.desk.condense", str(copy), str(target),
        stdin=PIPE, stdout=DEVNULL, stderr=PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(BOUND_S):
            _, said = await process.communicate(dumps(plain, {}))
    except TimeoutError:
        said = b"it took too long"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        why = said.decode(errors="replace").strip().rpartition("\n")[2]
        logger.error("no checkpoint", extra={"why": why})
    else:
        logger.info("checkpoint made", extra={"file": target.name})


def main(arguments: Sequence[str]) -> None:
    """Condense a backup into a checkpoint: `python -m realtime.desk.condense BACKUP CHECKPOINT`, terms on stdin."""
    copy, target = map(Path, arguments)
    os.nice(NICE)
    condense(copy, target, loads(sys.stdin.buffer.read(), {}))


if __name__ == "__main__":
    main(sys.argv[1:])
