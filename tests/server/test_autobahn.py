"""The public suite for WebSocket servers, where there is a Python that can run it (promise T1, reliability 8.1).

It needs Python 2.7 (pyenv builds one), once, in the folder of the repository:

    pip install virtualenv==20.21.1          # the last that can make environments of 2.7
    virtualenv -p PYTHON27 .autobahn         # PYTHON27: where the 2.7 is
    .autobahn/bin/pip install autobahntestsuite==25.10.1

Another place is found when `PYTHON27` names its Python, or when its `wstest` is on the PATH.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import orjson
import pytest

from tests.promises import LONG
from tests.server.served import FAST, ROOT, process


CASES = 517
PATIENCE_S = 600
"""It takes half a minute; on a busy machine some more."""
COMPRESSED = ("12.", "13.")
"""Groups about compression, which we never agree to: UNIMPLEMENTED."""
AT_ONCE = "a mistake ends the connection before what came with it in one piece is echoed (7.1.7)"
WHOLE = "a text is judged when its message is whole, and not octet by octet (8.1 asks for no more)"
CLOSED = (
    "a data frame between fragments and behind a close: 1002 is permitted, the suite wants 1000"
)
UNDEFINED = "the standard leaves it open"
KNOWN: Final[Mapping[str, tuple[str, str]]] = {
    **dict.fromkeys(("6.4.1", "6.4.2", "6.4.3", "6.4.4"), ("NON-STRICT", WHOLE)),
    **dict.fromkeys(("7.1.6", "7.13.1", "7.13.2"), ("INFORMATIONAL", UNDEFINED)),
    "7.1.5": ("FAILED", CLOSED),
}
"""Cases that are not OK, and why."""
RACES: Final[Mapping[str, tuple[str, str]]] = dict.fromkeys(
    ("3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"),
    ("NON-STRICT", AT_ONCE),
)
"""Cases that are OK where the machine lets the echo leave before the mistake comes."""
WRITTEN: Final[Mapping[str, tuple[str, str]]] = {**KNOWN, **RACES}
TIMED = {"6.4.3"}
"""Fails now and then, because it measures time: it may be repeated once."""
LARGE = replace(
    FAST, ping_s=600, stall_s=60, stall_anonymous_s=60, frame_bytes=32 << 20, fragments=1 << 20
)
"""Group 9 sends 16 MiB, and 4 MiB in frames of 64 bytes."""


def wstest() -> str | None:
    """The program of the suite; None where there is none."""
    if python := os.environ.get("PYTHON27"):
        return str(Path(python).with_name("wstest"))
    return shutil.which("wstest", path=ROOT / ".autobahn" / "bin") or shutil.which("wstest")


def verdicts(program: str, folder: Path, url: str, *cases: str) -> dict[str, str]:
    """Run the suite's cases against a server."""
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": "ours", "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_bytes(orjson.dumps(spec))
    done = subprocess.run(
        [program, "-m", "fuzzingclient", "-s", folder / "spec.json"],
        check=False,
        capture_output=True,
        cwd=folder,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = orjson.loads((folder / "reports" / "index.json").read_bytes())["ours"]
    return {case: row["behavior"] for case, row in found.items()}


def as_known(case: str, verdict: str) -> bool:
    """Whether a verdict is the one that is written down; a better one is not, until it is."""
    if case in RACES:
        return verdict in {"OK", "NON-STRICT"}
    usual = "UNIMPLEMENTED" if case.startswith(COMPRESSED) else "OK"
    return verdict == KNOWN.get(case, (usual, ""))[0]


@pytest.mark.slow
@pytest.mark.promise("T1")
def test_the_public_suite_finds_nothing_but_what_is_known(tmp_path: Path) -> None:
    program = wstest()
    if program is None:
        why = "no wstest: neither .autobahn, nor PYTHON27, nor the PATH has one (see the head of the test)"
        (pytest.fail if LONG else pytest.skip)(why)
    with process(limits=LARGE) as (_, (host, port)):
        url = f"ws://{host}:{port}/echo"
        found = verdicts(program, tmp_path, url, "*")
        again = [case for case in TIMED if found.get(case) == "FAILED"]
        if again:
            found |= verdicts(program, tmp_path, url, *again)
    print(f"T1: {len(found)} cases of Autobahn: {dict(Counter(found.values()))}")
    for what in sorted(set(WRITTEN.values())):
        named = [c for c, verdict in found.items() if WRITTEN.get(c) == what and verdict == what[0]]
        print(f"T1: {what[0]} {' '.join(sorted(named))}: {what[1]}")
    print(
        f"T1: UNIMPLEMENTED {' '.join(f'{group}*' for group in COMPRESSED)}: compression is never agreed to"
    )

    assert len(found) == CASES
    assert {case: verdict for case, verdict in found.items() if not as_known(case, verdict)} == {}
