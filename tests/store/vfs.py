"""A disk in memory that loses what was not synced, fills up, fails and flips bytes; for SQLite through apsw.

Per file it keeps the image as of the last sync and the writes since. At a cut every unsynced write survives by one of
three rules: none, a prefix, or a random half of its 512-byte sectors. Not modelled: lost directory entries, disks that
lie about a sync.
"""

# ruff: noqa: N802, FBT001 - apsw's names and signatures

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw

from realtime.store.driver import Connection, Rows, Value


SECTOR = 512
NAMES = itertools.count()


class Image:
    """One file: what the operating system shows, what the disk surely holds, and the writes between."""

    def __init__(self) -> None:
        self.live = bytearray()
        self.durable = b""
        self.pending: list[tuple[int, bytes | int]] = []  # (offset, bytes) or (-1, new length)

    @classmethod
    def holding(cls, content: bytes) -> Image:
        """A file as a disk gives it after a cut."""
        image = cls()
        image.live = bytearray(content)
        image.sync()
        return image

    def sync(self) -> None:
        self.durable = bytes(self.live)
        self.pending.clear()

    def after_cut(self, chance: random.Random) -> bytes:
        """What a power cut now would leave."""
        image = bytearray(self.durable)
        rule = chance.choice(("none", "prefix", "sectors"))
        keep = chance.randint(0, len(self.pending))
        for place, (offset, data) in enumerate(self.pending):
            if rule == "none" or (rule == "prefix" and place >= keep):
                break
            if isinstance(data, int):
                if rule == "prefix" or chance.random() < 0.5:
                    _resize(image, data)
                continue
            for at in range(0, len(data), SECTOR):
                if rule == "prefix" or chance.random() < 0.5:
                    piece = data[at : at + SECTOR]
                    if len(image) < offset + at + len(piece):
                        _resize(image, offset + at + len(piece))
                    image[offset + at : offset + at + len(piece)] = piece
        return bytes(image)


def _resize(image: bytearray, length: int) -> None:
    if length < len(image):
        del image[length:]
    else:
        image.extend(bytes(length - len(image)))


class Disk(apsw.VFS):
    """The disk, and what is to go wrong on it.

    Attributes:
        files: Images by path.
        operations: Writes, syncs and truncations so far.
        before: Called before each of them, in the writer's thread; may raise an apsw error.
    """

    def __init__(self) -> None:
        self.label = f"disk{next(NAMES)}"
        self.files: dict[str, Image] = {}
        self.operations = 0
        self.before: Callable[[str], None] = lambda _: None
        super().__init__(self.label, "")

    def xOpen(
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> Any:  # a VFSFile by shape
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        flags[1] = flags[0]
        return File(self, self.files.setdefault(path, Image()))

    def xAccess(self, pathname: str, flags: int) -> bool:
        return pathname in self.files

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.files.pop(filename, None)

    def xFullPathname(self, name: str) -> str:
        return name

    def operation(self, kind: str) -> None:
        self.operations += 1
        self.before(kind)

    def cut(self, chance: random.Random, directory: Path, name: str) -> Path:
        """Write what a cut at this moment would leave into real files."""
        target = directory / "cut.db"
        for suffix in ("", "-wal", "-journal"):
            real = directory / f"cut.db{suffix}"
            real.unlink(missing_ok=True)
            image = self.files.get(name + suffix)
            if image is not None:
                real.write_bytes(image.after_cut(chance))
        return target


class File:
    """An open file of the disk. Only one process uses it, so locks are granted."""

    def __init__(self, disk: Disk, image: Image) -> None:
        self._disk = disk
        self._image = image

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._image.live[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.operation("write")
        live, end = self._image.live, offset + len(data)
        if len(live) < end:
            _resize(live, end)
        live[offset:end] = data
        self._image.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.operation("truncate")
        _resize(self._image.live, newsize)
        self._image.pending.append((-1, newsize))

    def xSync(self, flags: int) -> None:
        self._disk.operation("sync")
        self._image.sync()

    def xFileSize(self) -> int:
        return len(self._image.live)

    def xLock(self, level: int) -> None: ...
    def xUnlock(self, level: int) -> None: ...
    def xClose(self) -> None: ...

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return SECTOR

    def xDeviceCharacteristics(self) -> int:
        return 0


class Lying:
    """A connection that claims `synchronous=FULL` and runs with less: the control of the power-loss test."""

    def __init__(self, connection: apsw.Connection, synchronous: str, disk: Disk) -> None:
        self._connection = connection
        self._disk = disk
        self._synchronous = synchronous

    def execute(self, sql: str, params: Sequence[Value] = (), /) -> Rows:
        if sql == "PRAGMA synchronous = FULL":
            # Checkpoints often, so that cuts fall into them too.
            self._connection.execute("PRAGMA wal_autocheckpoint = 20")
            return self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        if sql == "PRAGMA synchronous":
            return iter([(2,)])
        return self._connection.execute(sql, params)

    def close(self) -> None:
        # What fails inside a close, apsw can only print.
        self._disk.before = lambda _: None
        self._connection.close()


class Apsw:
    """The other SQLite, on a disk of ours."""

    errors: tuple[type[Exception], ...] = (apsw.Error,)

    def __init__(self, disk: Disk, synchronous: str = "FULL") -> None:
        self._disk = disk
        self._synchronous = synchronous

    def connect(self, path: str) -> Connection:
        if path == ":memory:":
            return apsw.Connection(path)
        connection = apsw.Connection(path, vfs=self._disk.label)
        return Lying(connection, self._synchronous, self._disk)

    def code(self, error: Exception) -> int:
        # An error that the disk raised comes back as it was made, without a result code.
        if isinstance(error, apsw.FullError):
            return apsw.SQLITE_FULL
        found = getattr(error, "result", 0)
        return found if isinstance(found, int) else 0

    def backup(
        self, source: Connection, target: str, pages: int, between: Callable[[], None]
    ) -> None:
        assert isinstance(source, Lying)
        into = apsw.Connection(target, vfs=self._disk.label)
        with into.backup("main", source._connection, "main") as copying:
            while not copying.done:
                copying.step(pages)
                between()
        into.close()


class Renamed(Apsw):
    """Lock and ballast are real files in the test's directory, the journal is on the disk in memory."""

    def connect(self, path: str) -> Connection:
        return super().connect(path if path == ":memory:" else "j.db")
