"""Bars of one symbol as columns: made from arrays, files and venues, checked once, kept on disk.

Rules of this file: (1) what a `Series` holds has been checked: times rise by at least a bar, prices are finite and
above zero, the high is the highest; a fault is named by field and index; (2) holes are reported, never filled;
(3) columns, because 500,000 bars as objects take ten times the memory.
"""

import gzip
import math
import os
import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice, pairwise, repeat
from operator import ge, le, sub
from pathlib import Path
from typing import Final

from realtime.model.errors import Code, Refused, invalid
from realtime.model.market import MS, SECOND
from realtime.model.signals import Ohlcv


MOST: Final = 500_000
"""Bars in one backtest."""
PRICES: Final = ("open", "high", "low", "close")
COLUMNS: Final = (*PRICES, "volume")
Row = tuple[int, float, float, float, float, float]
"""The numbers of an `Ohlcv` in their order; plain, they are made and taken apart in half the time."""
LAST: Final = 2**63 - 1
"""Behind every time [ns]."""
FILE_BYTES: Final = 128_000_000
"""Of a file of bars, unpacked."""
GAPS: Final = 1_000
"""Holes named one by one; all are counted."""
_HEAD: Final = struct.Struct("<8sqq")
_MAGIC: Final = b"RTBARS01"

_DRAFTS: Final = count(1)
"""Two threads may write the same file at once; each has its own draft."""

_NEW: Final = tuple.__new__


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A hole.

    Attributes:
        index: Of the bar behind it.
        start, end: Opening times of the first missing bar and of the bar behind it [ns].
        bars: How many are missing.
    """

    index: int
    start: int
    end: int
    bars: int


class Series:
    """Bars of one symbol, oldest first.

    Attributes:
        length: Time of a bar [ns].
        ts: Opening times [ns].
        open, high, low, close: Prices [quote].
        volume: [base].
    """

    __slots__ = ("close", "high", "length", "low", "open", "ts", "volume")

    def __init__(self, length: int, ts: Sequence[int], *columns: Sequence[float]) -> None:
        """Take columns as `check` left them: `ts`, then the five of `COLUMNS`."""
        self.length = length
        self.ts = ts if isinstance(ts, array) else array("q", ts)
        made = [c if isinstance(c, array) else array("d", c) for c in columns]
        self.open, self.high, self.low, self.close, self.volume = made

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def columns(self) -> tuple["array[float]", ...]:
        """The five columns of floats, in the order of `COLUMNS`."""
        return self.open, self.high, self.low, self.close, self.volume

    def rows(self, first: int = 0, end: int | None = None) -> Iterator[Row]:
        """Make the bars from `first` up to `end` as plain tuples, one at a time."""
        return islice(zip(self.ts, *self.columns, strict=True), first, end)

    def bars(self, first: int = 0, end: int | None = None) -> Iterator[Ohlcv]:
        """Make the bars from `first` up to `end`, one at a time."""
        return map(_NEW, repeat(Ohlcv), self.rows(first, end))

    def part(self, first: int, end: int) -> "Series":
        """Cut out bars from `first` up to `end`."""
        return Series(self.length, self.ts[first:end], *(c[first:end] for c in self.columns))

    def gaps(self) -> list[Gap]:
        """Name the holes, oldest first."""
        length = self.length
        if self.ts[-1] - self.ts[0] < len(self) * length:
            return []
        return [
            Gap(index=i, start=one + length, end=two, bars=(two - one) // length - 1)
            for i, (one, two) in enumerate(pairwise(self.ts), 1)
            if two - one >= 2 * length
        ]


# --- making and checking --------------------------------------------------------------------------


def check(series: Series, name: str = "data") -> Series:
    """Check every rule of a series.

    Args:
        series: What was read.
        name: What messages call it.

    Raises:
        Refused: `invalid`, naming the first wrong field and its index, e.g. `data.low[17]`.
    """
    n = len(series)
    if n < 2:
        raise invalid(name, f"has {n} bars, a backtest needs at least 2", bars=n)
    if n > MOST:
        raise invalid(name, f"has {n} bars, the most is {MOST}", bars=n)
    for column, values in zip(COLUMNS, series.columns, strict=True):
        if len(values) != n:
            raise invalid(
                f"{name}.{column}", f"has {len(values)} values where ts has {n}", length=n
            )
        if not all(map(math.isfinite, values)):
            at = next(i for i, value in enumerate(values) if not math.isfinite(value))
            raise invalid(f"{name}.{column}[{at}]", "is not a finite number", index=at)
    steps = list(map(sub, series.ts[1:], series.ts))
    if min(steps) < series.length:
        at = next(i for i, step in enumerate(steps, 1) if step < series.length)
        raise invalid(
            f"{name}.ts[{at}]",
            f"is {steps[at - 1] // MS} ms after the bar before, a bar has {series.length // MS} ms: "
            "times must rise by a bar or more",
            index=at,
        )
    _check_prices(series, name)
    return series


def _check_prices(series: Series, name: str) -> None:
    for column in PRICES:
        values = getattr(series, column)
        if min(values) <= 0:
            at = next(i for i, value in enumerate(values) if value <= 0)
            raise invalid(f"{name}.{column}[{at}]", f"must be above 0; was {values[at]}", index=at)
    if min(series.volume) < 0:
        at = next(i for i, value in enumerate(series.volume) if value < 0)
        raise invalid(f"{name}.volume[{at}]", "must not be below 0", index=at)
    high, low = series.high, series.low
    bounds: tuple[tuple[str, Callable[..., bool], Sequence[float]], ...] = (
        ("high", ge, high),
        ("low", le, low),
    )
    for column, holds, values in bounds:
        for other in (series.open, series.close):
            if not all(map(holds, values, other)):
                at = next(i for i in range(len(other)) if not holds(values[i], other[i]))
                word = "below" if column == "high" else "above"
                raise invalid(
                    f"{name}.{column}[{at}]", f"is {word} the open or the close", index=at
                )


def of_arrays(
    length: int, arrays: Mapping[str, Sequence[float] | None], name: str = "data"
) -> Series:
    """Make a series of a client's arrays of equal length: ts [ms], open, high, low, close, volume.

    Volume may be missing and is then 0; without ts the bars stand from 1970 on.

    Raises:
        Refused: `invalid`, naming field and index.
    """
    closes = arrays.get("close") or ()
    n = len(closes)
    times = arrays.get("ts")
    stamps = [i * length for i in range(n)] if times is None else [int(t) * MS for t in times]
    beyond = next((i for i, t in enumerate(stamps) if abs(t) > LAST), None)
    if beyond is not None:
        raise invalid(f"{name}.ts[{beyond}]", "is beyond all times: must be ms", index=beyond)
    if len(stamps) != n:
        raise invalid(f"{name}.ts", f"has {len(stamps)} values where close has {n}", length=n)
    volume = arrays.get("volume")
    columns = [arrays.get(column) or () for column in PRICES]
    return check(Series(length, stamps, *columns, [0.0] * n if volume is None else volume), name)


# --- files of people ------------------------------------------------------------------------------

_TIMES: Final = ("ts", "timestamp", "time", "date", "datetime")
_SCALES: Final = ((10**17, 1), (10**14, 1_000), (10**11, MS))


def instant(text: str) -> int:
    """Read a time of a file: ISO 8601 (UTC where no zone is given), or s, ms, us or ns since the epoch [ns].

    Raises:
        ValueError: It is none of these.
    """
    if text.isdecimal():
        number = int(text)
        return next(
            (number * scale for least, scale in _SCALES if number >= least), number * SECOND
        )
    read = datetime.fromisoformat(text)
    read = read if read.tzinfo is not None else read.replace(tzinfo=UTC)
    return round((read - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000) * MS


def of_csv(path: Path, length: int, start: int | None = None, end: int | None = None) -> Series:
    """Read a CSV file with a header, plain or `.gz`: a time, open, high, low, close and perhaps volume.

    Args:
        path: The file.
        length: Time of a bar [ns].
        start: Leave out bars that open before [ns].
        end: Leave out bars that open at it or later [ns].

    Raises:
        Refused: `not_found`, or `invalid` naming field and line or index.
    """
    name = path.name
    if not path.is_file():
        raise Refused(Code.NOT_FOUND, f"no file {name}", {"what": "file"})
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as packed:
                raw = packed.read(FILE_BYTES + 1)
        else:
            raw = (
                path.read_bytes() if path.stat().st_size <= FILE_BYTES else b" " * (FILE_BYTES + 1)
            )
        if len(raw) > FILE_BYTES:
            raise invalid("file", f"{name} has more than {FILE_BYTES} bytes")
        lines = raw.decode().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise invalid("file", f"{name} cannot be read: {type(error).__name__}") from error
    return check(_rows(lines, name, length, start, end), name)


def _rows(
    lines: Sequence[str], name: str, length: int, start: int | None, end: int | None
) -> Series:
    head = [word.strip().strip('"').lower() for word in lines[0].split(",")] if lines else []
    places = [next((head.index(word) for word in _TIMES if word in head), -1)]
    places += [head.index(column) if column in head else -1 for column in COLUMNS]
    for title, place in zip(("timestamp", *PRICES), places[:5], strict=True):
        if place < 0:
            raise invalid(f"{name}.{title}", "has no column in the header", header=head)
    times, *rest = places
    ts, columns = array("q"), [array("d") for _ in COLUMNS]
    for number, line in enumerate(islice(lines, 1, None), 2):
        if not line:
            continue
        cells = line.split(",")
        try:
            at = instant(cells[times].strip().strip('"'))
            if (start is not None and at < start) or (end is not None and at >= end):
                continue
            ts.append(at)
            for place, column in zip(rest, columns, strict=True):
                column.append(float(cells[place]) if place >= 0 else 0.0)
        except (ValueError, IndexError, OverflowError) as error:
            raise invalid(
                f"{name} line {number}", f"cannot be read: {error}", line=number
            ) from error
    return Series(length, ts, *columns)


# --- our own files --------------------------------------------------------------------------------


def write(path: Path, series: Series) -> None:
    """Keep a series; the file appears whole or not at all."""
    parts = [_HEAD.pack(_MAGIC, series.length, len(series)), series.ts.tobytes()]
    replace_file(path, b"".join([*parts, *(c.tobytes() for c in series.columns)]))


def read(path: Path) -> Series:
    """Read what `write` kept; it was checked before.

    Raises:
        ValueError: The file is cut, or none of ours.
        OSError: It cannot be read.
    """
    raw = memoryview(path.read_bytes())
    if len(raw) < _HEAD.size:
        raise ValueError(f"{path.name} is truncated")
    magic, length, n = _HEAD.unpack_from(raw)
    if magic != _MAGIC or len(raw) != _HEAD.size + 48 * n:
        raise ValueError(f"{path.name} is truncated or not a file of bars")
    cuts = [_HEAD.size + 8 * n * i for i in range(7)]
    ts = array("q")
    ts.frombytes(raw[cuts[0] : cuts[1]])
    columns = [array("d") for _ in COLUMNS]
    for column, (one, two) in zip(columns, pairwise(cuts[1:]), strict=True):
        column.frombytes(raw[one:two])
    return Series(length, ts, *columns)


def replace_file(path: Path, body: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}-{next(_DRAFTS)}.part")
    draft.write_bytes(body)
    draft.replace(path)


def join(parts: Sequence[Series], start: int, end: int) -> Series:
    """Put pieces that follow one another together, and cut to bars that open in [start, end) [ns]."""
    length = parts[0].length
    ts = array("q")
    columns = [array("d") for _ in COLUMNS]
    for part in parts:
        first = next((i for i, t in enumerate(part.ts) if t >= start), len(part))
        last = next((i for i in range(len(part), 0, -1) if part.ts[i - 1] < end), 0)
        ts.extend(part.ts[first:last])
        for column, piece in zip(columns, part.columns, strict=True):
            column.extend(piece[first:last])
    return Series(length, ts, *columns)
