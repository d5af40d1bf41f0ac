"""The gate is changed one thing at a time, and its tests must notice (promise O9, see `tests/mutate.py`).

Of a minute's run one change in twelve is tried, with `SCALE=long` every one.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.mutate import mutants
from tests.promises import LONG


ROOT = Path(__file__).parents[2]
EVERY = 1 if LONG else 12
PATIENCE_S = 3_600
GATE = "tests/engine/test_gate_table.py"
SIGNALS = "tests/engine/test_signal_rules.py"
RISK = "tests/engine/test_risk.py"
TOKENS = "tests/engine/test_token_limits.py"
TESTS: Final[Mapping[str, tuple[str, ...]]] = {
    "realtime/engine/rules.py": (GATE, SIGNALS, RISK, TOKENS),
    "realtime/engine/risk.py": (
        RISK,
        GATE,
        "tests/engine/test_legs.py",
        "tests/engine/test_engine.py",
        TOKENS,
    ),
}
"""The tests of each module, those first that notice most."""
SAME: Final[Mapping[str, str]] = {
    name: why
    for why, names in {
        "rows of rules that pass are made, and nobody asks for them": (
            "check: whole=False -> whole=True",
            "check_amend: whole=False -> whole=True",
            "refusing: whole=False -> whole=True",
            "failures: whole=False -> whole=True",
            "counts: known or exempt -> known and exempt",
        ),
        "only what is older than 30 s matters": (
            "readiness: (case.wish.ts - stale.asof) // MS if stale is not None else 0 -> (case.wish.ts - stale.asof) // MS if stale is not None else 1",
            "readiness: (case.wish.ts - stale.asof) // MS if stale is not None else 0 -> (case.wish.ts - stale.asof) // MS if stale is not None else -1",
        ),
        "as long ago as 1970: a bucket is full, a streak over, a pause at its end": (
            "rate_wait: pace.owners.get(owner, 0) -> pace.owners.get(owner, 1)",
            "rate_wait: pace.owners.get(owner, 0) -> pace.owners.get(owner, -1)",
            "rate_wait: pace.exits.get(owner, 0) -> pace.exits.get(owner, 1)",
            "rate_wait: pace.exits.get(owner, 0) -> pace.exits.get(owner, -1)",
            "streaks: (0, 0) -> (1, 0)",
            "streaks: (0, 0) -> (-1, 0)",
            "streaks: (0, 0) -> (0, 1)",
            "streaks: (0, 0) -> (0, -1)",
            "streaks: -cool -> +cool",
            "_age: order.created_ts if order is not None else 0 -> order.created_ts if order is not None else 1",
            "_age: order.created_ts if order is not None else 0 -> order.created_ts if order is not None else -1",
        ),
        "without a rate the burst is not read": (
            "minute: (None, 1) -> (None, 2)",
            "minute: (None, 1) -> (None, 0)",
        ),
        "at the limit both give 0, or the word that nobody is told": (
            "wait: full_at <= ts -> full_at < ts",
            "spent: max(full_at - ts, 0) -> max(full_at - ts, -1)",
            "band: away >= 0 -> away > 0 (2)",
        ),
        "no price is 0 or below": (
            "recommended: price <= 0 -> price < 0",
            "recommended: price <= 0 -> price <= -1",
        ),
        "an amend that changes nothing was answered before": (
            "_gives_back: new.amount <= old.amount -> new.amount < old.amount",
        ),
        "the end is found from anywhere": (
            "max_allowed: least * 2 -> least * 3",
            "max_allowed: least * 2 -> least * 1",
            "max_allowed: high * 2 -> high * 3",
        ),
        "no rule leaves so much room": (
            "max_allowed: high > 1 << 80 -> high >= 1 << 80",
            "max_allowed: 1 << 80 -> 2 << 80",
            "max_allowed: 1 << 80 -> 1 << 81",
            "max_allowed: 1 << 80 -> 1 << 79",
        ),
        "a walk has the middle of its book": (
            "slippage: walk.mid is not None -> walk.mid is None",
        ),
    }.items()
    for name in names
}
"""Changes that change nothing, and why."""


@pytest.mark.slow
@pytest.mark.promise("O9")
@pytest.mark.parametrize("module", TESTS)
def test_whatever_is_changed_in_the_gate_a_test_notices(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutate", module, *TESTS[module], f"--every={EVERY}"],
        capture_output=True,
        check=False,
        cwd=ROOT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *survivors, count = done.stdout.splitlines()
    names = [re.sub(r"^\S+:\d+: ", "", line) for line in survivors]
    missing = [line for line, name in zip(survivors, names, strict=True) if name not in SAME]
    print(f"O9: {module}: {count}, {len(names) - len(missing)} of them without a difference")

    assert missing == []


def test_one_thing_is_changed_at_a_time(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        """
LEAST = Decimal("0.7")
def fine(a: int, b: bool = True) -> bool:
    return not b and a + 2 >= LEAST, f"{a + 1}"
7
7
"""
    )

    assert [mutant.name for mutant in mutants(module)] == [
        "module: Decimal('0.7') -> Decimal('0.8')",
        "fine: a: int, b: bool=True -> a: int, b: bool=False",
        "fine: not b and a + 2 >= LEAST -> not b or a + 2 >= LEAST",
        "fine: not b -> not not b",
        "fine: a + 2 >= LEAST -> a + 2 > LEAST",
        "fine: a + 2 >= LEAST -> a + 2 < LEAST",
        "fine: a + 2 -> a - 2",
        "fine: a + 2 -> a + 3",
        "fine: a + 2 -> a + 1",
        "module: 7 -> 8",
        "module: 7 -> 6",
        "module: 7 -> 8 (2)",
        "module: 7 -> 6 (2)",
    ]
