"""What the project promises, and the table that `make prove` ends with.

A test that shows a promise carries `@pytest.mark.promise("T3")`; whatever it prints in lines that begin with that name
is a figure of the promise.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import pytest


LONG: Final = os.environ.get("SCALE") == "long"
"""`make prove SCALE=long`: ten times as much of what has no end."""
PROMISES: Final[Mapping[str, str]] = {
    "T1": "the WebSocket standard is kept, frame by frame",
    "T2": "one connection never costs more than 320 KiB and one longer reply, whatever it sends or does not read",
    "T3": "who is stuck, mute, silent or slow with a header is gone in time; a slow reader is not",
    "T4": "no client delays another",
    "T5": "any input gets a coded answer or a documented close",
    "T6": "at the cap: 503 at once, and those inside notice nothing",
    "T7": "SIGTERM ends in time, says goodbye and loses nothing",
    "T8": "a storm of clients comes back in time and misses nothing",
    "T9": "a client at rest holds what the server holds, whatever the network did",
    "T10": "churn leaves memory and descriptors where they were",
    "O1": "no acknowledged command is lost and none doubled over kill -9",
    "O2": "no acknowledged command is lost over a power cut, and the journal opens",
    "O3": "at most one venue order per client_order_id, over resends, crashes and lost answers",
    "O4": "no live order is shown dead, and no timer ends `unknown`",
    "O5": "after any crash orders, fills and positions are the venue's before `ready`",
    "O6": "replay gives the same state, byte for byte",
    "O7": "a halt hands over its cancels at once and survives a restart",
    "O8": "a cancel never waits behind data or placements",
    "O9": "each rule of the gate passes at its limit and refuses one unit beyond",
    "O10": "without a fresh price nothing enters, and exits pass",
    "O11": "a deadman fires in time, and never on `bye`",
    "O12": "on a full or failing disk entries stop and cancels go out; the restart is clean",
    "O13": "a step of the wall clock ends nothing and doubles nothing",
    "O14": "a second engine on a journal or key is refused",
    "O15": "money is exact: the sum of the fills is the position, fees included",
    "S1": "what is not safe does not start",
    "S2": "foreign origins and hosts are refused on socket and HTTP",
    "S3": "every op judges every scope alike on socket and HTTP",
    "S4": "a secret appears nowhere",
    "S5": "a revoked or expired token ends its connections at once",
    "S6": "guessing tokens is slowed down, and harms nobody else",
    "S7": "the page works under its strict policy and asks nobody else",
    "S8": "any change of one row of the audit is found",
    "S9": "what is installed is locked by hashes",
    "S10": "an hour of fuzzing finds no crash and no hang",
}
UNSHOWN: Final[Mapping[str, str]] = {}
"""Why a promise has no test that carries its name."""


def remember(item: pytest.Item, report: pytest.TestReport) -> None:
    """Note in a report which promises its test shows."""
    for mark in item.iter_markers("promise"):
        assert mark.args[0] in PROMISES, f"{item.nodeid}: no promise {mark.args[0]}"
        report.user_properties.append(("promise", mark.args[0]))


def table(reporter: pytest.TerminalReporter) -> None:
    """Say promise by promise what was shown, with the figures that its tests printed."""
    shown: dict[str, dict[str, list[pytest.TestReport]]] = defaultdict(lambda: defaultdict(list))
    for kind in ("passed", "failed", "error", "skipped"):
        for report in reporter.getreports(kind):
            if isinstance(report, pytest.TestReport) and (
                kind != "passed" or report.when == "call"
            ):
                for name, promise in report.user_properties:
                    if name == "promise":
                        shown[str(promise)][kind].append(report)
    if not shown:
        return
    reporter.section("promises")
    for promise, words in PROMISES.items():
        if promise in shown:
            _row(reporter, promise, words, shown[promise])
        elif promise in UNSHOWN and 2 * len(shown) > len(PROMISES):
            reporter.write_line(f"{promise:4}no test  {words}: {UNSHOWN[promise]}")
    if others := [name for name in PROMISES if name not in shown and name not in UNSHOWN]:
        reporter.write_line(f"not among the tests of this run: {' '.join(others)}")


def _row(
    reporter: pytest.TerminalReporter,
    promise: str,
    words: str,
    found: Mapping[str, list[pytest.TestReport]],
) -> None:
    broken = [*found.get("failed", ()), *found.get("error", ())]
    verdict = "BROKEN" if broken else "holds" if found.get("passed") else "skipped"
    counts = ", ".join(f"{len(reports)} {kind}" for kind, reports in found.items())
    seconds = sum(report.duration for reports in found.values() for report in reports)
    reporter.write_line(f"{promise:4}{verdict:9}{words} ({counts}; {seconds:.1f} s)")
    for report in broken:
        reporter.write_line(f"{'':13}broken: {report.nodeid}")
    for reason in sorted({_reason(report) for report in found.get("skipped", ())}):
        reporter.write_line(f"{'':13}skipped: {reason}")
    for line in _figures(promise, [report for reports in found.values() for report in reports]):
        reporter.write_line(f"{'':13}{line}")


def _reason(report: pytest.TestReport) -> str:
    why = report.longrepr
    return why[2].removeprefix("Skipped: ") if isinstance(why, tuple) else str(why)


def _figures(promise: str, reports: Iterable[pytest.TestReport]) -> Iterable[str]:
    for report in reports:
        for line in report.capstdout.splitlines():
            name, _, figures = line.partition(" ")
            if name.rstrip(":") == promise:
                yield figures
