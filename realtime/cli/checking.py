"""What `realtime check` judges and names. Nothing here opens, binds, writes or sends."""

import os
from pathlib import Path

from realtime.app import wrong_limits
from realtime.branch import RefusedStart
from realtime.commands.risk import parse_limits
from realtime.desk.config import files
from realtime.desk.config.book import judged
from realtime.model.errors import Refused
from realtime.outside import Outside
from realtime.plans import check, plans_of
from realtime.settings import PREFIX, SECRETS, Settings
from realtime.venues.ccxt import keys


def faults(settings: Settings) -> list[str]:
    """Say of each fault, with its setting's name, what the start would refuse."""
    return [
        *_unsafe(settings),
        *_accounts(settings),
        *wrong_limits(settings),
        *_places(settings),
        *_configuration(settings),
    ]


def _unsafe(settings: Settings) -> list[str]:
    try:
        check(settings)
    except RefusedStart as error:
        return [str(error)]
    return []


def _accounts(settings: Settings) -> list[str]:
    found: list[str] = []
    for venue in settings.venues:
        try:
            keys.account_of(venue)
        except Refused as error:
            found.append(error.message)
    if not found:
        try:
            plans_of(settings, Outside())
        except RefusedStart as error:
            found.append(str(error))
    return found


def _places(settings: Settings) -> list[str]:
    path = settings.store.path
    if path and Path(path).is_dir():
        return [f"store.path: {path} is a folder; name a file in it"]
    return []


def _configuration(settings: Settings) -> list[str]:
    if not settings.config.path:
        return []
    file = Path(settings.config.path)
    try:
        wrong = judged(files.read(file), parse_limits)
    except files.Unreadable as error:
        wrong = [error.fault]
    return [f"{file}: {fault.path}: {fault.message}" for fault in wrong]


def paths(config: Path, settings: Settings | None) -> list[dict[str, object]]:
    """Name every file and folder of the settings, and whether it is there."""
    named = [("--config", str(config), "file")]
    if settings is not None:
        journal = Path(settings.store.path) if settings.store.path else None
        results = settings.backtests.path or (str(journal.parent / "backtests") if journal else "")
        named += [
            ("config.path", settings.config.path, "file"),
            ("store.path", settings.store.path, "file"),
            ("strategies.path", settings.strategies.path, "folder"),
            ("backtests.path", results, "folder"),
            ("backtests.data", settings.backtests.data, "folder"),
            ("record.path", settings.record.path, "folder"),
        ]
        named += [
            (f"venues.{venue.id}.{name}_file", venue.file(name), "file")
            for venue in settings.venues
            for name in SECRETS
        ]
    return [
        {"setting": setting, "path": path, "kind": kind, "state": _state(Path(path))}
        for setting, path, kind in named
        if path
    ]


def _state(path: Path) -> str:
    try:
        return "there" if path.exists() else "not there"
    except OSError as error:
        return error.strerror or "cannot be looked at"


def variables() -> list[str]:
    """Name the variables of the environment that are read as settings; their values may be secret."""
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX))
