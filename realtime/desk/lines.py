"""The server's log as readers see it: a ring of structured lines, and the channel `logs`."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from realtime.desk.entries import Entry


LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
# What every record has: everything else came in `extra`.
_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Lines(logging.Handler):
    """Keeps the newest lines and publishes them."""

    def __init__(
        self,
        *,
        keep: int,
        loop: asyncio.AbstractEventLoop,
        publish: Callable[[Entry], None],
        redact: Callable[[Entry], Entry] = dict,
    ) -> None:
        """Make the handler.

        Args:
            keep: Lines kept.
            loop: Where `publish` is called.
            publish: Takes each line.
            redact: Takes secrets out of a line.
        """
        super().__init__()
        self._ring: deque[Entry] = deque(maxlen=keep)
        self._loop = loop
        self._publish = publish
        self._redact = redact
        self._thread = threading.get_ident()
        self._count = 0
        self._level = logging.NOTSET

    def attach(self, level: str) -> None:
        """Begin to take what the program says."""
        root = logging.getLogger("realtime")
        self._level = root.level
        root.setLevel(LEVELS[level])
        root.addHandler(self)

    def detach(self) -> None:
        """End it, and leave the level as it was."""
        root = logging.getLogger("realtime")
        root.setLevel(self._level)
        root.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, from whatever thread."""
        line = self._redact(line_of(record))
        if threading.get_ident() == self._thread:
            self._take(line)
            return
        try:
            self._loop.call_soon_threadsafe(self._take, line)
        except RuntimeError:
            return  # the loop has ended: nobody reads any more

    def _take(self, line: Entry) -> None:
        self._count += 1
        line = {"id": f"l-{self._count}", **line}
        self._ring.append(line)
        self._publish(line)

    def tail(self, *, level: str, component: str | None, limit: int) -> Sequence[Entry]:
        """Give the newest lines of a level and above, oldest first."""
        least = LEVELS[level]
        found = [
            line
            for line in self._ring
            if LEVELS[str(line["level"])] >= least
            and (component is None or line["component"] == component)
        ]
        return found[-limit:]


def line_of(record: logging.LogRecord) -> Entry:
    """Make the structured line of a record; values that JSON lacks become text."""
    fields = {
        name: value if isinstance(value, str | int | float | bool | None) else str(value)
        for name, value in vars(record).items()
        if name not in _PLAIN
    }
    if record.exc_info and record.exc_info[1] is not None:
        fields["error"] = repr(record.exc_info[1])
    level = record.levelname.lower()
    return {
        "ts": int(record.created * 1000),
        "level": level if level in LEVELS else "info",
        "component": record.name.removeprefix("realtime.").partition(".")[0],
        "message": record.getMessage(),
        "fields": fields,
    }
