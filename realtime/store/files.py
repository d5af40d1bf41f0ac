"""Files beside the journal: the lock, the ballast, backups; and the free space."""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from realtime.store.rows import Sizes, Space, StoreLocked


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


def rotate(directory: Path, pattern: str, keep: int) -> Sequence[Path]:
    """Delete all but the newest backups, by name; names carry their time.

    Args:
        directory: Where they are.
        pattern: Glob of their names.
        keep: How many stay.

    Returns:
        What was deleted, oldest first.
    """
    old = sorted(directory.glob(pattern))[: -keep or None]
    for path in old:
        path.unlink()
    return old
