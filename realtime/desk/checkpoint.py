"""Where a replay may begin: what a journal had come to at one of its rows, in a file beside it.

Rules of this file:
1 A checkpoint is made by replaying a journal into a fresh engine, never from an engine that has lived: that one knows
  prices and what is true of its process alone.
2 Whatever does not fit (the file, the row it names, this program, markets, limits) means that the whole journal is
  replayed. That is logged, and never a reason not to start.
3 The file is trusted as the journal beside it is: who can write one can write the other. Nevertheless its reader makes
  values of our model and engine only, and calls nothing else.
"""

import gc
import logging
import pickle
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import orjson

import realtime
from realtime.desk.recovery import Journaled, Recovered, recover
from realtime.engine.engine import Engine
from realtime.engine.forgotten import Sizes
from realtime.engine.matching.state import compact
from realtime.model.market import Market
from realtime.model.risk import Limits
from realtime.store.files import publish
from realtime.store.store import Store


logger = logging.getLogger("realtime.checkpoint")

SUFFIX: Final = ".checkpoint"
MANY: Final = 10_000
"""Rows replayed at a start that are worth a new checkpoint: about half a second."""

_CODE: Final = ("model", "engine", "desk")
"""Packages that say what a row comes to."""
_OURS: Final = ("realtime.model.", "realtime.engine.")
_DESK: Final = frozenset(
    {
        ("realtime.desk.checkpoint", "Terms"),
        ("realtime.desk.recovery", "Recovered"),
        ("realtime.desk.deadman", "Switch"),
        ("realtime.desk.deadman", "Scope"),
        ("realtime.desk.deadman", "Action"),
        ("realtime.desk.sweep", "Sweep"),
    }
)
_PLAIN: Final = frozenset(
    {
        ("decimal", "Decimal"),
        ("array", "array"),
        ("array", "_array_reconstructor"),
        *((kind.__module__, kind.__name__) for kind in (OrderedDict, deque)),
    }
)
_UNREADABLE: Final = (
    pickle.PickleError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What the decoder raises over bytes that it did not write."""


class Misfit(Exception):
    """A checkpoint cannot be used; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an engine is made with; the same facts come to something else under others.

    Attributes:
        venue, mode: Shown in rows.
        markets: By unified symbol.
        limits: In force until a fact changes them.
        currency: In which equity and limits are counted.
        sizes: How many ended orders are kept in memory.
    """

    venue: str
    mode: str
    markets: Mapping[str, Market]
    limits: Limits
    currency: str
    sizes: Sizes

    def engine(self) -> Engine:
        """Make a fresh engine."""
        return Engine(
            venue=self.venue,
            mode=self.mode,
            markets=self.markets,
            limits=self.limits,
            valuation_currency=self.currency,
            sizes=self.sizes,
        )

    def digest(self) -> str:
        """Hash them: equal for terms under which the same facts come to the same."""
        sums = sha256(repr((self.venue, self.mode, self.currency, self.sizes)).encode())
        sums.update(repr(self.limits).encode())
        for symbol in sorted(self.markets):
            sums.update(repr(self.markets[symbol]).encode())
        return sums.hexdigest()


def beside(journal: Path) -> Path:
    """Name the checkpoint of a journal."""
    return journal.with_name(journal.name + SUFFIX)


def code(root: Path) -> str:
    """Hash a program, as far as it says what rows come to; empty where its source cannot be read.

    Args:
        root: Folder of the package.
    """
    sums, files = sha256(sys.version.encode()), 0
    for package in _CODE:
        for path in sorted((root / package).rglob("*.py")):
            sums.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
            files += 1
    return sums.hexdigest() if files else ""


CODE: Final = code(Path(realtime.__file__).parent)
"""Of this program, as it was when it was read: files may be replaced under a process that runs."""


# --- the file -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A whole checkpoint of this program.

    Attributes:
        path: The file.
        seq: The row it was made at.
        hash: Of that row, hexadecimal.
        journaled: What it says the journal holds up to there.
    """

    path: Path
    seq: int
    hash: str
    journaled: Journaled

    def at(self, row_hash: bytes | None) -> Journaled:
        """Give what a journal holds up to row `seq`, which has this hash there; nothing where it is another journal."""
        if row_hash is not None and row_hash.hex() == self.hash:
            return self.journaled
        why = "it is of another journal" if row_hash is not None else "the journal ends before it"
        passed_over(self.path, why)
        return Journaled()


def write(target: Path, held: Journaled, row_hash: bytes, memory: bytes) -> None:
    """Put a checkpoint in place at once: readers see the old one or the whole new one.

    Args:
        target: The file.
        held: What the journal holds.
        row_hash: Hash of row `held.seq`.
        memory: What `remember` gave of the engine that has taken all of it.

    Raises:
        OSError: It could not be written.
    """
    if not CODE:
        return
    paper = orjson.dumps(compact(map(orjson.loads, held.venue))) if held.venue else b""
    head = {
        "seq": held.seq,
        "hash": row_hash.hex(),
        "code": CODE,
        "begun": held.begun,
        "owner": held.owner,
        "numbers": held.numbers,
        "word": held.word,
        "down": held.down,
        "told": held.told,
        "kept": {scope: body.decode() for scope, body in held.kept.items()},
        "halts": {scope: body.decode() for scope, body in held.halts.items()},
        "markets": {symbol: body.decode() for symbol, body in held.markets.items()},
        "paper": len(paper),
    }
    body = b"".join((orjson.dumps(head, option=orjson.OPT_SORT_KEYS), b"\n", paper, memory))
    part = target.with_name(target.name + ".part")
    part.write_bytes(sha256(body).hexdigest().encode() + b"\n" + body)
    publish(part, target)


def find(path: Path) -> Found:
    """Read a checkpoint.

    Raises:
        Misfit: It is not whole, or of another program.
        OSError: It cannot be read.
    """
    total, _, body = path.read_bytes().partition(b"\n")
    if sha256(body).hexdigest().encode() != total:
        raise Misfit("the file is damaged")
    first, _, rest = body.partition(b"\n")
    try:
        head: Mapping[str, Any] = orjson.loads(first)
        if not CODE or head["code"] != CODE:
            raise Misfit("another version of the program wrote it")
        return _found(path, head, rest)
    except _UNREADABLE as error:
        raise Misfit(f"its head cannot be read: {error}") from error


def _found(path: Path, head: Mapping[str, Any], rest: bytes) -> Found:
    seq, paper = head["seq"], head["paper"]
    held = Journaled(
        seq=seq,
        begun=head["begun"],
        owner=head["owner"],
        numbers=dict(head["numbers"]),
        word=head["word"],
        down=head["down"],
        told=dict(head["told"]),
        kept={scope: body.encode() for scope, body in head["kept"].items()},
        halts={scope: body.encode() for scope, body in head["halts"].items()},
        markets={symbol: body.encode() for symbol, body in head["markets"].items()},
        venue=[rest[:paper]] if paper else [],
        behind=seq,
        memory=rest[paper:],
    )
    return Found(path=path, seq=seq, hash=head["hash"], journaled=held)


def look(path: Path) -> Found | None:
    """Read a checkpoint; None where there is none that can be used."""
    try:
        return find(path)
    except FileNotFoundError:
        return None
    except (Misfit, OSError) as error:
        passed_over(path, error)
        return None


def passed_over(path: Path, why: Exception | str) -> None:
    """Log that the whole journal is replayed."""
    logger.warning("checkpoint not used", extra={"file": path.name, "why": str(why)})


# --- what an engine remembers ---------------------------------------------------------------------


class _Writer(pickle.Pickler):
    """Writes an engine without what it is given anew."""

    def __init__(self, into: BytesIO, given: Mapping[str, object]) -> None:
        super().__init__(into, protocol=5)
        self._given = {id(value): name for name, value in given.items()}

    def persistent_id(self, obj: object) -> str | None:
        """Name what is given; everything else is written."""
        return self._given.get(id(obj))


def _member(kind: object, name: str) -> Enum:
    """Give a member of an enumeration of ours, and nothing else that `getattr` would."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[name]
    raise pickle.UnpicklingError(f"{name} is no member of an enumeration")


class _Reader(pickle.Unpickler):
    """Reads what `_Writer` wrote; see rule 3."""

    def __init__(self, data: bytes, given: Mapping[str, object]) -> None:
        super().__init__(BytesIO(data))
        self._given = given

    def persistent_load(self, pid: Any) -> object:
        """Give what is given."""
        return self._given[pid]

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Find a class of ours, or one of a few others."""
        name = (module_name, global_name)
        if name == ("builtins", "getattr"):
            return _member  # how Python 3.11.0 to 3.11.3 write the member of an enumeration
        if name in _PLAIN or name in _DESK:
            return super().find_class(module_name, global_name)
        if module_name.startswith(_OURS) and "." not in global_name:
            found = super().find_class(module_name, global_name)
            if isinstance(found, type) and found.__module__ == module_name:
                return found
        raise pickle.UnpicklingError(f"{module_name}.{global_name} has no place in a checkpoint")


def dumps(value: object, given: Mapping[str, object]) -> bytes:
    """Write a value without what is given by name."""
    into = BytesIO()
    _Writer(into, given).dump(value)
    return into.getvalue()


def loads(data: bytes, given: Mapping[str, object]) -> Any:
    """Read what `dumps` wrote, with what is given now in its place.

    Raises:
        Misfit: These bytes cannot be read, or name something that is not ours.
    """
    try:
        return _Reader(data, given).load()
    except _UNREADABLE as error:
        raise Misfit(f"it cannot be read: {error}") from error


def remember(engine: Engine, found: Recovered, terms: Terms) -> bytes:
    """Write down an engine that has taken facts of a journal and nothing else, and what else that said."""
    return dumps((terms.digest(), engine, found), engine.given)


def resume(held: Journaled, terms: Terms) -> tuple[Engine, Recovered]:
    """Make the engine that a journal comes to: from its memory, or from the first row.

    Raises:
        Misfit: The memory does not fit these terms; the whole journal has to be read.
    """
    engine, found = terms.engine(), Recovered()
    with _nothing_collected():
        if held.memory:
            match loads(held.memory, engine.given):
                case (str() as digest, Engine() as engine, Recovered() as found):
                    if digest != terms.digest():
                        raise Misfit("markets or limits are not what they were")
                case _:
                    raise Misfit("it is no memory of an engine")
        return engine, recover(held.rows, engine, found)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Let the collector of garbage rest: nearly all that is made stays, and looking at it took a third of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


# --- reading the journal --------------------------------------------------------------------------


async def read(store: Store, *, whole: bool = False) -> Journaled:
    """Read what a journal holds, behind its checkpoint where that fits.

    Args:
        store: The journal.
        whole: Read all of it, whatever stands beside it.

    Raises:
        StoreCorrupt: A row was changed or is missing.
    """
    held = Journaled()
    if store.path is not None and not whole:
        found = look(beside(store.path))
        if found is not None:
            held = found.at(await store.hash_of(found.seq))
    async for page in store.replay(held.behind):
        held.take(page)
    return held


async def restore(store: Store, held: Journaled, terms: Terms) -> tuple[Engine, Recovered]:
    """Make the engine that a journal comes to; a long replay is written down for the next start.

    Args:
        store: The journal.
        held: What `read` gave of it.
        terms: What the engine is made with.

    Raises:
        StoreCorrupt: The whole journal had to be read, and a row was changed or is missing.
    """
    try:
        engine, found = resume(held, terms)
    except Misfit as error:
        assert store.path is not None
        passed_over(beside(store.path), error)
        # What was appended since is of the venue and its keys, never of the engine.
        held = await read(store, whole=True)
        engine, found = resume(held, terms)
    if store.path is not None and held.seq - held.behind >= MANY:
        await _keep(store, store.path, held, remember(engine, found, terms))
    return engine, found


async def _keep(store: Store, path: Path, held: Journaled, memory: bytes) -> None:
    row_hash = await store.hash_of(held.seq)
    assert row_hash is not None
    try:
        write(beside(path), held, row_hash, memory)
    except OSError as error:
        logger.error("no checkpoint", extra={"why": str(error)})  # noqa: TRY400 - a full disk, no mystery
    else:
        logger.info("checkpoint made", extra={"seq": held.seq})
