"""What figures are taken on, and how even its pace is."""

import os
import platform
import statistics
import sysconfig
import time
from collections.abc import Callable
from typing import Final


STEPS: Final = 2_000
"""Additions of one chunk: some 60 us."""
LOOK_S: Final = 4.0
"""A host that halts its guests was seen to do so every 2 s [s]."""


def machine() -> str:
    """Name system, cores, interpreter and load."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return (
        f"{platform.system()} {platform.release()}, {cores} cores, Python {platform.python_version()}{_build()}, "
        f"load {load:.2f} before the run"
    )


def _build() -> str:
    """How the interpreter was configured: built without profiles it is a sixth slower, and Debian's has them all the same."""
    how = sysconfig.get_config_var("CONFIG_ARGS")
    plain = how is not None and "--enable-optimizations" not in how
    return " (configured without --enable-optimizations)" if plain else ""


def pace(seconds: float = LOOK_S, clock: Callable[[], float] = time.perf_counter) -> str:
    """Run one small loop again and again and say how evenly it goes.

    The slow phases of an idle machine are those of its host, and the tails of all latencies below hold them.
    """
    chunks: list[float] = []
    end = clock() + seconds
    while (began := clock()) < end:
        total = 0
        for number in range(STEPS):
            total += number
        chunks.append(clock() - began)
    usual = statistics.median(chunks)
    slow = sum(chunk for chunk in chunks if chunk > 2 * usual) / sum(chunks)
    return (
        f"a million additions take {usual / STEPS * 1e9:.0f} ms; "
        f"{100 * slow:.1f} % of the time at less than half of that pace, with nothing else to do"
    )
