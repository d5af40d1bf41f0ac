"""Files beside the journal: the lock, the ballast, backups; and the free space."""

import fcntl
import os
from collections.abc import Sequence
from contextlib import suppress
from errno import ENOSPC
from glob import escape
from pathlib import Path
from typing import Final, Literal

from realtime.store.rows import Sizes, Space, StoreLocked


_STAMP: Final = 15 * "[0-9]"
"""The time in the name of a backup, as a pattern."""


class FileLock:
    """A lock on a side file that holds the owner's process id.

    SQLite's own exclusive lock keeps writers apart too, but cannot say who the other one is. The kernel drops this
    lock with the process, so a kill leaves nothing behind.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock of the journal at `path`.

        Raises:
            StoreLocked: Another process has it.
        """
        side = path.with_name(path.name + ".lock")
        self._file = os.open(side, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreLocked(path, int(text) if text.isdecimal() else None) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back. The file stays: deleting it would race with the next owner."""
        os.close(self._file)


class Ballast:
    """A file that exists to be deleted when the disk is full, so that cancels can still be journaled."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path.with_name(path.name + ".ballast")
        self._size = size

    @property
    def held(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def make(self) -> bool:
        """Reserve the space for real (not a sparse file); False when there is no room for it."""
        if self._size == 0 or (self.held and self._path.stat().st_size == self._size):
            return True
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(handle)
        return True

    def drop(self) -> bool:
        """Delete the file; False when it was gone already."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def space(path: Path, sizes: Sizes) -> Space:
    """Measure the free space where the journal lives."""
    figures = os.statvfs(path.parent)
    free = figures.f_bavail * figures.f_frsize
    level: Literal["ok", "warn", "reducing"] = "ok"
    if free < sizes.reducing:
        level = "reducing"
    elif free < sizes.warn:
        level = "warn"
    return Space(free=free, level=level)


def make_room(target: Path, size: int, sizes: Sizes, old: Sequence[Path]) -> None:
    """Refuse a copy that would fill the disk: then no position could grow, and soon no order be journaled.

    Old copies make way where that is enough: with a full disk backups would end for good otherwise.

    Args:
        target: The copy.
        size: What it takes [bytes].
        sizes: How much has to stay free.
        old: Copies that may be deleted, oldest first.

    Raises:
        OSError: There is not enough room; then no copy was deleted.
    """
    free = space(target, sizes).free
    needed = size + sizes.reducing
    doomed: list[Path] = []
    won = 0
    for path in old:
        if free + won >= needed:
            break
        won += path.stat().st_blocks * 512
        doomed.append(path)
    if free + won < needed:
        says = f"{free // 1_000_000} MB free, {needed // 1_000_000} MB are needed"
        raise OSError(ENOSPC, says, target.name)
    for path in doomed:
        path.unlink()


def sync(path: Path) -> None:
    """Flush a file, or the entries of a directory, to the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(ready: Path, target: Path) -> None:
    """Put a finished file in its place at once: readers see the old one or the whole new one."""
    sync(ready)
    ready.replace(target)
    sync(target.parent)


def backups(directory: Path, name: str) -> Sequence[Path]:
    """Find the backups of a journal, oldest first.

    Args:
        directory: Where they are, with those of other journals.
        name: Of the journal's file, without its ending; others may begin with it.
    """
    return sorted(directory.glob(f"{escape(name)}-{_STAMP}.db"))


def next_backup(directory: Path, name: str, ts: int) -> Path:
    """Name a backup of now [ms], behind those that are there: the clock may have been set back. Makes the folder."""
    directory.mkdir(parents=True, exist_ok=True)
    there = backups(directory, name)
    newest = int(there[-1].stem.rpartition("-")[2]) if there else -1
    return directory / f"{name}-{max(ts, newest + 1):015d}.db"


def rotate(directory: Path, name: str, keep: int) -> Sequence[Path]:
    """Delete all but the newest backups of a journal.

    Args:
        directory: Where they are, with those of other journals.
        name: As for `backups`.
        keep: How many stay.

    Returns:
        The backups that were deleted, oldest first.
    """
    old = backups(directory, name)[: -keep or None]
    for path in old:
        path.unlink()
    return old


def discard_parts(directory: Path, name: str) -> None:
    """Delete what a kill has left of unfinished backups of a journal; arguments as for `backups`."""
    for path in directory.glob(f"{escape(name)}-{_STAMP}.db.part*"):
        path.unlink()


def discard(part: Path) -> None:
    """Delete an unfinished copy and what SQLite has put beside it, as far as it is there."""
    for side in ("", "-journal", "-wal", "-shm"):
        with suppress(OSError):
            part.with_name(part.name + side).unlink()
