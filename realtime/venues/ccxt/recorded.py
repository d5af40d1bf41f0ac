"""Files of recordings, read: which parts there are, and what stands in them.

A part that was cut (a crash, a full disk, a copy that broke off) is read up to the cut; what is there is never guessed on.
"""

import gzip
import logging
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.model.errors import Code, Refused


logger = logging.getLogger("realtime.venues.ccxt")

FORMAT: Final = "realtime-recording"
VERSION: Final = 1
_NUMBER: Final = re.compile(r"^([^.]*)\.part(\d{4,})(\..*)?$")


def part(path: Path, number: int) -> Path:
    """Name a part: the first as the recording itself, the second with `.part0002` before the suffixes."""
    if number == 1:
        return path
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.part{number:04d}{dot}{suffixes}")


def is_recording(path: Path) -> bool:
    """Tell whether a file is one of ours, by its first line."""
    try:
        with gzip.open(path) as file:
            head = orjson.loads(file.readline(65_536))
    except (OSError, EOFError, zlib.error, ValueError):
        return False
    return isinstance(head, dict) and head.get("format") == FORMAT


def read_meta(path: Path) -> dict[str, Any]:
    """Read what a recording is of.

    Raises:
        Refused: `invalid`, for another kind of file, or a version that this program does not know.
    """
    if not is_recording(path):
        raise Refused(Code.INVALID, f"{path.name} is no recording of ours", {"file": path.name})
    first: dict[str, Any] = next(rows(path))
    if first["version"] > VERSION:
        message = f"{path.name} has version {first['version']}, this program knows up to {VERSION}"
        raise Refused(Code.INVALID, message, {"file": path.name})
    return first


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """Give the rows of a recording and of the parts that follow it, as far as they can be read.

    A part that was cut ends at the cut: its last whole line is given, and then the next part.
    """
    number = read_number(path)
    while True:
        yield from _rows_of(path)
        number += 1
        path = part(first_part(path), number)
        if not path.exists():
            return


def _rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as file:
        try:
            for line in file:
                yield orjson.loads(line)
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
            logger.warning("recording is cut", extra={"file": path.name})


def read_number(path: Path) -> int:
    """Number of a part, by its name."""
    found = _NUMBER.match(path.name)
    return 1 if found is None else int(found[2])


def first_part(path: Path) -> Path:
    """Name of the first part of the recording that a part belongs to."""
    found = _NUMBER.match(path.name)
    return path if found is None else path.with_name(f"{found[1]}{found[3] or ''}")
