"""A worker process: reads tasks from its standard input, runs them, writes what came of them; ends with its parent.

Rules of this file: (1) one line of JSON per message, both ways; what a strategy prints goes nowhere near them; (2) it
begins in `back`, nice to the server beside it and bounded in memory; (3) big results go into files, never through the
pipe; (4) it has no clock but the one that paces its progress, and no chance.
"""

import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from realtime.bots import series
from realtime.bots.backtest import (
    BarPath,
    Fill,
    Grid,
    Lane,
    Ledger,
    Protections,
    Result,
    Terms,
    run,
)
from realtime.bots.loading import Strategies
from realtime.bots.series import Series
from realtime.bots.strategies.filters import Filters
from realtime.bots.strategy import Strategy
from realtime.model.errors import Code, Refused
from realtime.model.market import MS


PACE_S: Final = 0.5
"""Least time between two reports of progress."""
GAPS: Final = 100
"""Holes that are told one by one."""
Task = Mapping[str, Any]
Say = Callable[[Mapping[str, object]], None]


# --- tasks to values ------------------------------------------------------------------------------


def terms_of(raw: Task) -> Terms:
    """Read terms as `jobs` wrote them."""
    read = dict(raw)
    protections = read.pop("protections", None)
    return replace(
        Terms(**read),
        fill=Fill(read.get("fill", Fill.NEXT_OPEN)),
        path=BarPath(read.get("path", BarPath.STOP_FIRST)),
        protections=None if protections is None else Protections(**protections),
    )


def bars_of(raw: Task) -> Series:
    """Read the bars of one symbol: files of ours that follow one another, or one of the operator's.

    Raises:
        Refused: `invalid` or `not_found`, naming field and index or line.
    """
    length, start, end = raw["length"], raw.get("start"), raw.get("end")
    if "csv" in raw:
        return series.of_csv(Path(raw["csv"]), length, start, end)
    try:
        parts = [series.read(Path(name)) for name in raw["files"]]
    except (OSError, ValueError) as error:
        raise Refused(Code.INTERNAL, f"kept bars cannot be read: {error}") from error
    whole = parts[0] if len(parts) == 1 else series.join(parts, 0, series.LAST)
    if start is not None or end is not None:
        whole = series.join([whole], start or 0, series.LAST if end is None else end)
    return series.check(whole, raw["symbol"])


class Worker:
    """Runs tasks one after the other; keeps the bars of the last one, because a search asks for them again."""

    def __init__(self, strategies: Path | None, say: Say) -> None:
        self._path = strategies
        self._seen = _files(strategies)
        self._strategies = Strategies(strategies)
        self._say = say
        self._kept: tuple[bytes, list[Series]] = (b"", [])

    def do(self, task: Task) -> Mapping[str, object]:
        """Run one task.

        Raises:
            Refused: What is wrong with it.
        """
        seen = _files(self._path)
        if seen != self._seen:
            self._strategies.reload()
            self._seen = seen
        match task["kind"]:
            case "bars":
                return self._look(task)
            case "run":
                return self._run(task)
            case _:
                return self._try(task)

    def _bars(self, task: Task) -> list[Series]:
        key = orjson.dumps(task["lanes"])
        if self._kept[0] != key:
            self._kept = (b"", [])  # the old ones are gone before the new ones come
            self._kept = (key, [bars_of(lane) for lane in task["lanes"]])
        return self._kept[1]

    def _make(self, task: Task) -> Strategy:
        filters = Filters(**task.get("filters", {}))
        return self._strategies.make(task["strategy"], task["parameters"], filters)

    def _lanes(self, task: Task) -> list[Lane]:
        return [
            Lane(
                symbol=raw["symbol"],
                series=bars,
                strategy=self._make(task),
                grid=Grid(**raw.get("grid", {})),
            )
            for raw, bars in zip(task["lanes"], self._bars(task), strict=True)
        ]

    def _look(self, task: Task) -> Mapping[str, object]:
        """Only read and check the bars."""
        bars = self._bars(task)
        return {"bars": [len(one) for one in bars], **_span(bars)}

    def _run(self, task: Task) -> Mapping[str, object]:
        """One backtest; equity and trades go to files."""
        lanes = self._lanes(task)
        found = run(terms_of(task["terms"]), lanes, tell=self._tell(task["terms"]))
        write(Path(task["out"]), found)
        return {
            "metrics": found.metrics,
            "open": found.open,
            "skipped": found.skipped,
            "gaps": _gaps(found),
            **_span(self._bars(task)),
        }

    def _try(self, task: Task) -> Mapping[str, object]:
        """Metrics of one combination on every window: `[[inside, outside], ...]`; None where it cannot be made."""
        bars = self._bars(task)[0]
        raw, terms = task["lanes"][0], terms_of(task["terms"])
        samples = []
        for first, split, end in task["windows"]:
            pair = []
            for begin, stop in ((first, split), (split, end)):
                try:
                    strategy = self._make(task)
                except Refused as error:
                    if error.code is Code.INVALID:
                        return {"samples": None, "why": error.message}
                    raise
                lead = max(0, begin - strategy.warmup)
                lane = Lane(
                    symbol=raw["symbol"],
                    series=bars.part(lead, stop),
                    strategy=strategy,
                    grid=Grid(**raw.get("grid", {})),
                )
                # Its end is its progress: it is short, and a search has thousands. Only a long one shows that it lives.
                tell = self._tell(task["terms"], since=time.monotonic())
                pair.append(run(terms, [lane], first=begin - lead, tell=tell).metrics)
            samples.append(pair)
        return {"samples": samples}

    def _tell(self, terms: Task, *, since: float = -PACE_S) -> Callable[[float, Ledger], None]:
        """Make what reports progress: at most twice a second, and the first time at once unless the time of it is given."""
        capital: float = terms["initial_capital"]
        last = since

        def tell(share: float, ledger: Ledger) -> None:
            nonlocal last
            now = time.monotonic()  # paces what is said, decides nothing
            if now - last >= PACE_S:
                last = now
                equity = ledger.value()
                partial = {
                    "equity": equity,
                    "total_return": equity / capital - 1,
                    "total_trades": len(ledger.trades),
                }
                self._say({"progress": share, "partial": partial})

        return tell


def _files(path: Path | None) -> list[tuple[str, int, int]]:
    """What tells that a strategy was edited."""
    if path is None or not path.is_dir():
        return []
    found = [(file.name, file.stat()) for file in path.glob("*.py")]
    return sorted((name, stat.st_mtime_ns, stat.st_size) for name, stat in found)


def _span(bars: Sequence[Series]) -> dict[str, object]:
    return {
        "start_ts": min(one.ts[0] for one in bars) // MS,
        "end_ts": max(one.ts[-1] + one.length for one in bars) // MS,
    }


def _gaps(found: Result) -> dict[str, object]:
    """Tell holes: how many, how many bars miss, and the first of them."""
    rows = [
        {
            "symbol": symbol,
            "index": gap.index,
            "from_ts": gap.start // MS,
            "to_ts": gap.end // MS,
            "bars": gap.bars,
        }
        for symbol, gaps in found.gaps.items()
        for gap in gaps
    ]
    missing = sum(gap.bars for gaps in found.gaps.values() for gap in gaps)
    return {"count": len(rows), "missing_bars": missing, "first": rows[:GAPS]}


# --- files of a result ----------------------------------------------------------------------------


def write(base: Path, found: Result) -> None:
    """Keep equity (`.equity`: times, then values, 8 bytes each) and trades (`.trades`: a JSON object per line)."""
    times = array("q", found.ts)
    body = times.tobytes() + array("d", found.equity).tobytes()
    series.replace_file(base.with_suffix(".equity"), body)
    lines = b"".join(
        orjson.dumps(trade_row(number, trade)) + b"\n"
        for number, trade in enumerate(found.trades, 1)
    )
    series.replace_file(base.with_suffix(".trades"), lines)


def trade_row(number: int, trade: Any) -> dict[str, object]:
    """Make the wire row of a trade."""
    row = trade._asdict()
    return {
        "id": number,
        "symbol": row["symbol"],
        "entry_ts": row["entry_ts"] // MS,
        "exit_ts": row["exit_ts"] // MS,
        "side": row["side"],
        "entry_price": row["entry_price"],
        "exit_price": row["exit_price"],
        "amount": row["amount"],
        "pnl": row["pnl"],
        "return": row["gain"],
        "commission": row["commission"],
        "slippage": row["slippage"],
        "exit_reason": row["exit_reason"],
        "bars_held": row["bars_held"],
    }


def read_equity(
    base: Path, capital: float, step: int | None, first: int, most: int
) -> tuple[list[tuple[int, float, float]], int | None]:
    """Read points of a curve.

    Args:
        base: Name without suffix.
        capital: Equity before the first bar [quote].
        step: Bars between points; None thins out to `most`, keeping the last.
        first: Number of the first bar wanted.
        most: Points at most.

    Returns:
        (time [wire ms], equity [quote], drawdown [fraction]), and the number of the next bar, None at the end.
    """
    raw = base.with_suffix(".equity").read_bytes()
    half = len(raw) // 2
    times, values = array("q"), array("d")
    times.frombytes(raw[:half])
    values.frombytes(raw[half:])
    count = len(times)
    stride = step or -(-count // most)
    # Thinned out, each point is the last bar of its stretch, so that the end of the run is one.
    wanted = range(count - 1, -1, -stride)[::-1] if step is None else range(first, count, step)
    chosen = wanted[:most]
    peak, at, points = capital, 0, []
    for place in chosen:
        highest = max(values[at : place + 1])
        peak = max(peak, highest)
        at = place + 1
        points.append((times[place] // MS, values[place], 1 - values[place] / peak))
    more = step is not None and len(wanted) > most
    return points, wanted[most] if more else None


def read_trades(base: Path, at: int, most: int) -> tuple[list[Mapping[str, object]], int | None]:
    """Read trades from a place in the file on, and give the place behind them, None at the end."""
    with base.with_suffix(".trades").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(min(at, size))
        rows: list[Mapping[str, object]] = []
        while len(rows) < most and (line := file.readline()):
            rows.append(orjson.loads(line))
        place = file.tell()
    return rows, place if place < size else None


# --- the process ----------------------------------------------------------------------------------


def serve(tasks: Iterator[bytes], out: BinaryIO, strategies: Path | None) -> None:
    """Run tasks until there are no more."""

    def say(message: Mapping[str, object]) -> None:
        out.write(orjson.dumps(message) + b"\n")
        out.flush()

    worker = Worker(strategies, say)
    for line in tasks:
        try:
            say({"done": worker.do(orjson.loads(line))})
        except Refused as error:
            say({"error": {"code": error.code, "message": error.message, "details": error.details}})
        except MemoryError:
            refusal = {"code": Code.INVALID, "message": "it needs too much memory", "details": None}
            say({"error": refusal})


def main() -> None:
    """Take the standard streams before a strategy can, and serve."""
    out = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    tasks = os.fdopen(os.dup(0), "rb")
    os.dup2(null, 0)
    os.dup2(null, 1)
    serve(iter(tasks.readline, b""), out, Path(sys.argv[1]) if len(sys.argv) > 1 else None)
