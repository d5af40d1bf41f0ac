"""What goes into the store and what comes out of it.

Rules of this file: (1) plain values only, no SQL; (2) times are integer ns UTC; (3) bodies are JSON bytes that
the store never looks into.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple


Keyed = Literal[
    "orders",
    "days",
    "tokens",
    "equity",
    "acks",
    "bots",
    "bot_counters",
    "signals",
    "backtests",
    "config_versions",
    "plans",
]
Log = Literal["fills", "events", "alerts"]
LOGS: Final[tuple[Log, ...]] = ("fills", "events", "alerts")
Cell = str | int | None

NO_COLUMNS: Final[Mapping[str, Cell]] = {}


class StoreLocked(Exception):
    """Another process holds this journal; `pid` is its process id, or None when it left none."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(
            f"journal {path.name} is in use by process {pid if pid is not None else 'unknown'}; "
            "stop it first, or give this one its own data directory"
        )
        self.pid = pid


class StoreNewer(Exception):
    """The file was written by a newer program; opening it could lose what this one does not know."""

    def __init__(self, path: Path, found: int, known: int) -> None:
        super().__init__(
            f"journal {path.name} has schema {found}, this program knows up to {known}; use the newer program"
        )
        self.found = found
        self.known = known


class StoreCorrupt(Exception):
    """The file fails its own check, or the hash chain of the journal is broken."""

    def __init__(self, path: Path | None, detail: str) -> None:
        name = path.name if path is not None else "in memory"
        super().__init__(
            f"journal {name} is damaged ({detail}); salvage it with `realtime journal recover`, or restore a backup"
        )
        self.detail = detail


class Projection(NamedTuple):
    """One row beside the journal that can be computed again from it.

    A named tuple and not a frozen dataclass: several are made per order on the loop's thread.

    Attributes:
        table: A keyed table (the last row with a key wins) or a log (each is one more entry).
        key: The row's own id.
        ts: Time that pages are ordered and cut by [ns].
        cols: Columns that pages filter by, see `schema.COLUMNS`; missing ones are null.
        body: What readers get; None means the body of the journal row.
    """

    table: Keyed | Log
    key: str
    ts: int
    cols: Mapping[str, Cell] = NO_COLUMNS
    body: bytes | None = None


class Row(NamedTuple):
    """One row of the journal."""

    seq: int
    ts: int
    kind: str
    key: str
    body: bytes


Then = Callable[[int], None]


class Pending(NamedTuple):
    """A row on its way to the disk."""

    seq: int
    ts: int
    kind: str
    key: str
    body: bytes
    then: Then | None
    project: Sequence[Projection]


class Entry(NamedTuple):
    """One row of a projection.

    Attributes:
        n: Number of the entry in its log, counted under the asked filter for `logs`; 0 in keyed tables.
        seq: Row of the journal it came from; 0 in keyed tables.
        key: Its own id.
        ts: Its time [ns].
        body: JSON.
        hash: Hash of the journal row, hexadecimal; empty in keyed tables.
        acked_by: Alerts only: who acknowledged it, or None.
    """

    n: int
    seq: int
    key: str
    ts: int
    body: bytes
    hash: str = ""
    acked_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some rows, and how to ask for those after them (None: there are none)."""

    rows: tuple[Entry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Result of walking the hash chain.

    Attributes:
        ok: Whether every row, every log entry and the head fit.
        rows: Rows that fit, from the first one on.
        head: Hash of the last row that fits, hexadecimal. Noted elsewhere it proves later that no row up to it was
            changed, not even by somebody who computes the whole chain again.
        broken_at: First `seq` that does not fit, or None.
        reason: What is wrong there, or None.
    """

    ok: bool
    rows: int
    head: str
    broken_at: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvage:
    """Result of a recovery.

    Attributes:
        rows: Journal rows written to the new file.
        missing: Ranges of `seq` that could not be read, both ends included.
        altered: Rows whose old hash does not fit the row.
        entries: Rows of projections taken over.
    """

    rows: int
    missing: tuple[tuple[int, int], ...]
    altered: tuple[int, ...]
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Free space at the journal [bytes], and what it means for trading."""

    free: int
    level: Literal["ok", "warn", "reducing"]


class Keep(NamedTuple):
    """How much of a keyed table is kept; the journal itself keeps everything.

    Attributes:
        rows: The newest so many.
        ns: Of these, those that are younger than this, counted from the newest [ns].
    """

    rows: int
    ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bounds of the store.

    Attributes:
        batch: Most rows in one transaction.
        queue: Most rows that wait; then placements are refused with `busy`.
        requests: Most queries that wait; then they are refused with `busy`.
        ballast: Size of the file that is deleted when the disk is full [bytes].
        warn: Free space below which an operator is told [bytes].
        reducing: Free space below which no position may grow [bytes].
        retry_s: Pause between attempts while nothing can be written [s].
        page: Rows per page of a replay.
        backups: Backups kept by `rotate`.
        keep: What is kept of tables that grow without end; others are kept whole.
        prune_every: Rows of the journal between two looks at what may go.
    """

    batch: int = 256
    queue: int = 10_000
    requests: int = 256
    ballast: int = 16 * 1024 * 1024
    warn: int = 200_000_000
    reducing: int = 50_000_000
    retry_s: float = 1.0
    page: int = 2_000
    backups: int = 24
    keep: Mapping[Keyed, Keep] = field(default_factory=dict)
    prune_every: int = 5_000
