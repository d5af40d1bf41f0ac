"""The durable journal: append, group commit, pages, backups, proof and salvage."""

from realtime.store.driver import Driver, Sqlite
from realtime.store.recovery import backup, recover, verify
from realtime.store.rows import (
    Entry,
    Keep,
    Page,
    Projection,
    Row,
    Salvage,
    Sizes,
    Space,
    StoreCorrupt,
    StoreLocked,
    StoreNewer,
    Verdict,
)
from realtime.store.store import Store
from realtime.store.writer import State


__all__ = [
    "Driver",
    "Entry",
    "Keep",
    "Page",
    "Projection",
    "Row",
    "Salvage",
    "Sizes",
    "Space",
    "Sqlite",
    "State",
    "Store",
    "StoreCorrupt",
    "StoreLocked",
    "StoreNewer",
    "Verdict",
    "backup",
    "recover",
    "verify",
]
