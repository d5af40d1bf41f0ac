"""OpenAPI against a real server: schemathesis sends what the document allows and what it forbids.

Whatever comes back must be documented: its status, its content type, its form; and never be a fault of ours.
"""

import os
import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.process import Process
from tests.promises import LONG


CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
CONFIG = """
[checks.not_a_server_error]
# 501 to 504 are answers (not_supported, venue_unavailable, busy, outcome_unknown) wherever the document has them,
# which another check sees to; a fault of ours is 500.
expected-statuses = ["2xx", "3xx", "4xx", "501", "502", "503", "504"]
"""
LIMITS = {
    # Else most of what is asked would be `rate_limited`, and prove little.
    "REALTIME_LIMITS__SAFETY_PER_S": "100000",
    "REALTIME_LIMITS__SUBSCRIBES_PER_S": "100000",
    # A line per request would fill the pipe that nobody reads meanwhile.
    "REALTIME_LOG__LEVEL": "critical",
}


def ask(folder: Path, *phases: str, examples: int, seconds: int, seed: int = 1) -> str:
    """Run schemathesis for so long at most, and give what it said."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    with Process.serve("", **LIMITS) as server:
        done = subprocess.run(
            [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"{server.http}/openapi.json",
                f"--checks={','.join(CHECKS)}",
                f"--phases={','.join(phases)}",
                f"--max-examples={examples}",
                f"--max-time={seconds}",
                f"--seed={seed}",
                "--generation-database=none",
                "--warnings=off",
                "--no-color",
            ],
            capture_output=True,
            text=True,
            cwd=folder,
            env={name: value for name, value in os.environ.items() if "COVERAGE" not in name},
            timeout=3 * seconds + 60,
            check=False,
        )
        assert server.process.poll() is None, "the server died of it"
    said = done.stdout + done.stderr
    assert done.returncode == 0, said.partition(" FAILURES ")[2] or said
    assert "Operations: " in said
    return said


def test_the_examples_of_the_document_are_answered_as_it_says(tmp_path: Path) -> None:
    said = ask(tmp_path, "examples", examples=1, seconds=15)

    assert "Examples" in said


@pytest.mark.slow
@pytest.mark.promise("T5")
@pytest.mark.promise("S10")
def test_whatever_the_document_allows_or_forbids_is_answered_as_it_says(tmp_path: Path) -> None:
    phases = ("examples", "coverage", "fuzzing")
    seconds = int(os.environ.get("FUZZ_S") or (1_800 if LONG else 400))
    seed = secrets.randbelow(1 << 32) if LONG else 1
    said = ask(tmp_path, *phases, examples=20, seconds=seconds, seed=seed)

    assert "Fuzzing" in said
    cases = re.search(r"\d+ generated.*", said)
    for promise in ("T5", "S10"):
        print(f"{promise}: over HTTP {cases[0] if cases else said[-200:]}, seed {seed}")
