"""Files of recordings, read: which parts there are, and what stands in them.

A part that was cut (a crash, a full disk, a copy that broke off) is read up to the cut; what is there is never guessed on.
A line that is none of ours is passed over, as if it had not come, and told in the log.
"""

import gzip
import logging
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, cast

import orjson

from realtime.model.errors import Code, Refused


logger = logging.getLogger("realtime.venues.ccxt")

FORMAT: Final = "realtime-recording"
VERSION: Final = 1
_FIELDS: Final[Mapping[str, Mapping[str, type]]] = {
    "meta": {"exchange": str},
    "frame": {"url": str, "text": str},
    "ask": {"method": str, "url": str},
    "rest": {"method": str, "url": str, "status": int, "text": str},
    "want": {"symbol": str, "stream": str, "wanted": bool},
}
"""What a row of a kind has beside `t`."""
_NUMBER: Final = re.compile(r"^([^.]*)\.part(\d{4,})(\..*)?$")


def part(path: Path, number: int) -> Path:
    """Name a part: the first as the recording itself, the second with `.part0002` before the suffixes."""
    if number == 1:
        return path
    stem, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}.part{number:04d}{dot}{suffixes}")


def is_recording(path: Path) -> bool:
    """Tell whether a file is one of ours, by its first line."""
    return _head(path).get("format") == FORMAT


def _opened(path: Path) -> IO[bytes]:
    """Open a part, compressed or unpacked: by what it holds, whatever its name."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path)) if packed else path.open("rb")


def _head(path: Path) -> dict[str, Any]:
    """Read the first line; empty for what has none that is an object."""
    try:
        with _opened(path) as file:
            head = orjson.loads(file.readline(65_536))
    except (OSError, EOFError, zlib.error, ValueError):
        return {}
    return head if isinstance(head, dict) else {}


def read_meta(path: Path) -> dict[str, Any]:
    """Read what a recording is of.

    Raises:
        Refused: `invalid`, for another kind of file, or a version that this program does not know.
    """
    first = _head(path)
    version = first.get("version")
    if first.get("format") != FORMAT:
        message = f"{path.name} is no recording of ours"
    elif isinstance(version, int) and version > VERSION:
        message = f"{path.name} has version {version}, this program knows up to {VERSION}"
    elif not (type(version) is int and version >= 1 and _fits(first) and _described(first)):
        message = f"{path.name}: the first line of the recording is damaged"
    else:
        return first
    raise Refused(Code.INVALID, message, {"file": path.name})


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
    with _opened(path) as file:
        try:
            for number, line in enumerate(file, 1):
                row = orjson.loads(line)
                if _fits(row):
                    yield row
                else:
                    logger.warning("no row of ours", extra={"file": path.name, "line": number})
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError):
            logger.warning("recording is cut", extra={"file": path.name})


def _fits(row: object) -> bool:
    """Whether a row has what whoever plays it takes from it."""
    if not isinstance(row, dict) or type(row.get("t")) is not int:
        return False
    kind = row.get("kind")
    return isinstance(kind, str) and all(
        isinstance(row.get(name), wanted) for name, wanted in _FIELDS.get(kind, {}).items()
    )


def _described(meta: Mapping[str, Any]) -> bool:
    """Whether what the first line may have is of its type."""
    lists = all(isinstance(meta.get(name, []), list) for name in ("types", "symbols"))
    return lists and isinstance(meta.get("options", {}), dict)


def read_number(path: Path) -> int:
    """Number of a part, by its name."""
    found = _NUMBER.match(path.name)
    return 1 if found is None else int(found[2])


def first_part(path: Path) -> Path:
    """Name of the first part of the recording that a part belongs to."""
    found = _NUMBER.match(path.name)
    return path if found is None else path.with_name(f"{found[1]}{found[3] or ''}")
