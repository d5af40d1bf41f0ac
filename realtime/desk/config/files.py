"""The file that the first version comes from, and that `config.reload` reads again.

It may be `realtime.toml` itself: the start-up settings that stand beside the sections are passed over. It is read and
never written: what is changed at run time lives in the store.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.desk.config.changes import Fault, Plain
from realtime.desk.config.sections import Config


SECTIONS: Final = (*(set(Config.model_fields) - {"profiles"}), "risk", "bots")
"""Keys of the file that are runtime configuration."""
START_UP: Final[Mapping[str, frozenset[str]]] = {
    "risk": frozenset({"valuation_currency", "timezone", "limits"}),
    "strategies": frozenset({"path"}),
}
"""Keys of sections of the same name that are start-up settings."""
LARGEST: Final = 1_000_000
"""Bytes; a larger file is no configuration."""


class Unreadable(Exception):
    """The file is not there, or is no TOML or JSON; `fault` tells."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def read(file: Path) -> Plain:
    """Read the runtime sections of a file, TOML or (by its suffix) JSON; not yet judged. Blocks.

    Raises:
        Unreadable: With the reason.
    """
    try:
        if file.stat().st_size > LARGEST:
            raise Unreadable(Fault(file.name, f"is larger than {LARGEST} bytes"))
        text = file.read_bytes()
    except OSError as error:
        raise Unreadable(Fault(file.name, f"cannot be read: {error.strerror}")) from None
    try:
        found = orjson.loads(text) if file.suffix == ".json" else tomllib.loads(text.decode())
    except ValueError as error:
        raise Unreadable(Fault(file.name, f"is broken: {error}")) from None
    if not isinstance(found, dict):
        raise Unreadable(Fault(file.name, "must be an object of sections"))
    return sections(found)


def sections(found: Mapping[str, Any]) -> Plain:
    """Keep what is runtime configuration."""
    kept: Plain = {}
    for name, value in found.items():
        if name not in SECTIONS:
            continue
        if name in START_UP and isinstance(value, Mapping):
            own = {k: v for k, v in value.items() if not _start_up(name, k, v)}
            if own or not value:
                kept[name] = own
        else:
            kept[name] = value
    return kept


def _start_up(section: str, key: str, value: object) -> bool:
    # A strategy may be called `path`: then it is a section.
    if key not in START_UP[section]:
        return False
    return section != "strategies" or not isinstance(value, Mapping)
