"""The public suite for WebSocket servers, where there is a Python that can run it (promise T1, reliability 8.1).

It needs Python 2.7, once:

    virtualenv -p python2.7 .autobahn        # virtualenv 20.21.1 is the last that can
    .autobahn/bin/pip install autobahntestsuite==25.10.1
    PYTHON27=.autobahn/bin/python make prove
"""

import os
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.promises import LONG
from tests.server.served import FAST, process


PYTHON27 = os.environ.get("PYTHON27", "")
QUICK = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)]
FAILS = {"7.1.5"}
"""A close frame between fragments: 1002 is permitted, the suite wants to see 1000."""
KINDS = {"OK", "NON-STRICT", "INFORMATIONAL"}
COMPRESSED = ("12.", "13.")
"""Groups about compression, which we never agree to."""
TIMED = {"6.4.3"}
"""Fails now and then, because it measures time: it may be repeated once."""
LARGE = replace(
    FAST, ping_s=600, stall_s=60, stall_anonymous_s=60, frame_bytes=32 << 20, fragments=1 << 20
)
"""Group 9 sends 16 MiB, and 4 MiB in frames of 64 bytes."""


def verdicts(folder: Path, url: str, cases: list[str]) -> dict[str, str]:
    """Run the suite's cases against a server."""
    spec = {
        "outdir": str(folder / "reports"),
        "servers": [{"agent": "ours", "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "spec.json").write_bytes(orjson.dumps(spec))
    subprocess.run(
        [Path(PYTHON27).with_name("wstest"), "-m", "fuzzingclient", "-s", folder / "spec.json"],
        check=True,
        capture_output=True,
        cwd=folder,
        timeout=1_800,
    )
    found = orjson.loads((folder / "reports" / "index.json").read_bytes())["ours"]
    return {case: row["behavior"] for case, row in found.items()}


@pytest.mark.slow
@pytest.mark.promise("T1")
def test_the_public_suite_finds_nothing_but_what_is_known(tmp_path: Path) -> None:
    if not PYTHON27:
        (pytest.fail if LONG else pytest.skip)(
            "PYTHON27 names no Python 2.7 with autobahntestsuite"
        )
    with process(limits=LARGE) as (_, (host, port)):
        url = f"ws://{host}:{port}/echo"
        found = verdicts(tmp_path, url, ["*"] if LONG else QUICK)
        again = [case for case in TIMED if found.get(case) == "FAILED"]
        if again:
            found |= verdicts(tmp_path, url, again)
    print(f"T1: {len(found)} cases of Autobahn: {dict(Counter(found.values()))}")
    wrong = {
        case: verdict
        for case, verdict in found.items()
        if verdict not in KINDS and not (verdict == "UNIMPLEMENTED" and case.startswith(COMPRESSED))
    }

    assert len(found) == (517 if LONG else 247)
    assert set(wrong) <= FAILS, wrong
