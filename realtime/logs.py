"""The program's own lines on standard error: JSON or text, without secrets."""

import logging

import orjson

from realtime.desk.lines import LEVELS, line_of
from realtime.settings import Settings
from realtime.venues.ccxt.redaction import Redaction


def logs(settings: Settings, redact: Redaction) -> None:
    """Send the program's lines to standard error, one JSON object each, without secrets."""
    handler = logging.StreamHandler()
    json = settings.log.format == "json"
    handler.setFormatter(JsonLines(redact) if json else TextLines(redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("realtime").setLevel(LEVELS[settings.log.level])


class TextLines(logging.Formatter):
    """A line as people read it, tracebacks included, without secrets."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        return self._redact(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object per line, without secrets."""

    def __init__(self, redact: Redaction | None = None) -> None:
        super().__init__()
        self._redact = redact or Redaction()

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        line = line_of(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(self._redact.deep(line)).decode()
