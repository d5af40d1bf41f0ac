"""A peer that is gone without a word, and what others notice of it (promise T3, reliability 8.7)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest


ROOT = Path(__file__).parent.parent.parent
MUTE_S = 40.0
STALL_S = 2.0
"""No round trip of a good client may take this long: a loop that waits for the lost one would hold it for longer."""
TOOLS = ("unshare", "nsenter", "ip")


@pytest.mark.slow
@pytest.mark.promise("T3")
def test_a_half_open_subscriber_is_gone_in_time_and_costs_others_nothing(tmp_path: Path) -> None:
    """With the waits of a real server: nothing is scaled down."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"namespaces need root and {', '.join(missing or TOOLS)}")
    probe = "unshare -n ip link add a0 type veth peer name b0"
    if subprocess.run(probe.split(), check=False, capture_output=True, timeout=10).returncode:
        pytest.skip("this kernel gives no network namespaces with veth pairs")
    run = subprocess.run(
        ["unshare", "-n", sys.executable, "-m", "tests.flows.half_open", str(tmp_path / "j.db")],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=200,
    )
    assert run.returncode == 0, run.stderr
    seen = orjson.loads(run.stdout)
    print(
        f"T3: a half-open peer was gone after {seen['gone_s']:.1f} s of {MUTE_S:.0f}; another one's round trip was "
        f"{seen['calm_s'] * 1e3:.1f} ms before, {seen['while_s'] * 1e3:.1f} ms while,"
        f" {seen['longest_s'] * 1e3:.0f} ms at most"
    )

    assert seen["heard"] > 0
    assert seen["heard_after"] == 0
    assert seen["gone_s"] < MUTE_S + 2.0
    assert seen["while_s"] < 1.2 * seen["calm_s"] + 0.002
    assert seen["longest_s"] < STALL_S
