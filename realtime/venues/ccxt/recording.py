"""What a venue sent, written down: frames and REST answers with their times, as compressed lines of JSON.

Rules of this file:
1 A recording never holds up what it records: hooks only append to a list, one thread compresses and writes; what does
  not fit into the list is counted and left out, and a disk that fails ends the recording and nothing else.
2 Every block that was written is a whole gzip member: whatever happens afterwards, it can be read.
3 Words that look like keys, tokens and signatures are masked before they reach the list; headers are not recorded.

A line is an object with `t` [ns UTC] and `kind`: `meta` (first line of each part), `want`, `ask` (a REST request was
sent), `rest` (its answer), `frame` (a socket's text), `gap` (lines that did not fit).
"""

import asyncio
import gzip
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from realtime.model.errors import Code, Refused, VenueRejected, invalid
from realtime.model.market import SECOND
from realtime.venues.base import Now, Post, Sleep
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.public import KINDS, PublicData
from realtime.venues.ccxt.recorded import FORMAT, VERSION, part


logger = logging.getLogger("realtime.venues.ccxt")

FLUSH_S: Final = 1.0
"""How much of a recording a crash may cost [s]."""
LOOK_S: Final = 0.25
LEVEL: Final = 6
_OPENING: Final = 64
_HIDDEN: Final = "***"
_WORDS: Final = (
    "token|listen_?key|api_?key|api_?secret|private_?key|mnemonic|secret|sign|signature|pass_?phrase|password|access_?key|auth"
    "|authorization"
)
# Shorter values are names of coins, or nobody's secret.
_IN_JSON: Final = re.compile(rf'("(?:{_WORDS})"\s*:\s*)"[^"]{{16,}}"', re.IGNORECASE)
_LONG: Final = re.compile(r'"[^"]{16,}"')
_IN_URL: Final = re.compile(rf"([?&](?:{_WORDS})=)[^&#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a recording may become.

    Attributes:
        part_bytes: Size at which the next part begins, compressed.
        part_s: Age at which the next part begins [s].
        keep: Newest parts that are kept; None keeps all.
        waiting: Most that may wait for the disk [bytes].
    """

    part_bytes: int = 256_000_000
    part_s: float = 86_400.0
    keep: int | None = None
    waiting: int = 64_000_000


LIMITS: Final = Limits()


class Recorder(Hooks):
    """Writes down what one exchange sends.

    Attributes:
        path: The first part; the second one is `name.part0002.jsonl.gz`.
        lines: Lines taken so far, without those left out.
        dropped: Lines left out because the disk was behind.
        size: Bytes written, compressed.
        part: Number of the part that is written.
        failed: Why the recording has ended; None while it goes on.
    """

    def __init__(
        self,
        path: Path,
        *,
        now: Now,
        meta: Mapping[str, object],
        limits: Limits = LIMITS,
        hidden: Sequence[str] = (),
    ) -> None:
        """Begin the first part.

        Args:
            path: Where; must not exist.
            now: The time [ns UTC].
            meta: What is recorded: `exchange` and whatever makes the same client again.
            limits: Bounds.
            hidden: Texts that are masked wherever they stand.

        Raises:
            Refused: `invalid`, when the file exists or cannot be made.
        """
        self.path = path
        self.lines = self.dropped = self.size = 0
        self.part = 0
        self.failed: str | None = None
        self._now = now
        self._hidden = [text for text in hidden if text]
        # Options of a client may hold keys, too.
        self._meta: Mapping[str, object] = orjson.loads(
            self._clean(orjson.dumps(dict(meta)).decode())
        )
        self._limits = limits
        self._waiting: list[bytes] = []
        self._bytes = 0
        self._left_out = 0
        # What every part begins with, so that each can be played alone: what is wanted, and the answers from before
        # the first wish and frame, markets and their like.
        self._wants: dict[tuple[str, str], None] = {}
        self._opening: list[bytes] = []
        self._opened = False
        self._parts: list[Path] = []
        self._file: BinaryIO
        self._began = self._written = 0
        # One thread, so that blocks reach the disk in their order.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="recording")
        try:
            self._begin([])
        except OSError as error:
            if self._parts:
                self.discard()
            self._thread.shutdown()
            message = f"{path} cannot be made: {error.strerror}"
            raise Refused(Code.INVALID, message, {"file": str(path)}) from error

    # -- what is heard ---------------------------------------------------------------------------

    def frame(self, url: str, text: str) -> None:
        """Take a socket's frame."""
        self._opened = True
        self._add({"kind": "frame", "t": self._now(), "url": bare(url), "text": self._clean(text)})

    def request(self, method: str, url: str) -> None:
        """Take that a request leaves."""
        self._add({"kind": "ask", "t": self._now(), "method": method, "url": bare(url)})

    def response(
        self,
        method: str,
        url: str,
        status: int,
        headers: Mapping[str, str],  # noqa: ARG002 - rule 3
        text: str,
    ) -> None:
        """Take an answer, without its headers."""
        row = {"kind": "rest", "t": self._now(), "method": method, "url": bare(url)}
        line = self._add(row | {"status": status, "text": self._clean(text)})
        if not self._opened and len(self._opening) < _OPENING:
            self._opening.append(line)

    def want(self, symbol: str, stream: str, *, wanted: bool) -> None:
        """Take that somebody wants a stream, or no longer: whoever plays the recording wants the same."""
        self._opened = True
        self._wants.pop((symbol, stream), None)
        if wanted:
            self._wants[symbol, stream] = None
        row = {"kind": "want", "t": self._now(), "symbol": symbol, "stream": stream}
        self._add(row | {"wanted": wanted})

    def _add(self, row: Mapping[str, object]) -> bytes:
        line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        if self.failed is None and not self._file.closed:
            if self._bytes + len(line) > self._limits.waiting:
                self.dropped += 1
                self._left_out += 1
                return line
            if self._left_out:
                gap = {"kind": "gap", "t": self._now(), "lines": self._left_out}
                self._waiting.append(orjson.dumps(gap, option=orjson.OPT_APPEND_NEWLINE))
                self._left_out = 0
            self._waiting.append(line)
            self._bytes += len(line)
            self.lines += 1
        return line

    def _clean(self, text: str) -> str:
        # The pattern takes 50 us for a frame of an order book, looking for a long value 3 us.
        if _LONG.search(text) is not None:
            text = _IN_JSON.sub(rf'\1"{_HIDDEN}"', text)
        for secret in self._hidden:
            text = text.replace(secret, _HIDDEN)
        return text

    # -- to the disk -----------------------------------------------------------------------------

    async def run(self, sleep: Sleep) -> None:
        """Write what was taken, once a second, until cancelled; the rest is written then."""
        loop = asyncio.get_running_loop()
        try:
            while self.failed is None:
                await sleep(FLUSH_S)
                await loop.run_in_executor(self._thread, self._write, *self._take())
        finally:
            self.close()

    def close(self) -> None:
        """Write what is left and close the file; may be called again."""
        if self._file.closed:
            return
        self._thread.submit(self._write, *self._take())
        self._thread.shutdown()
        try:
            self._file.close()
        except OSError as error:  # what a full disk did not take is tried once more
            self._ended(error)

    def discard(self) -> None:
        """Close the file and take it away again."""
        self.close()
        for path in self._parts:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _take(self) -> tuple[list[bytes], int]:
        """Give what waits, and the time."""
        lines, self._waiting, self._bytes = self._waiting, [], 0
        return lines, self._now()

    # In the thread: file, parts and sizes are its own after the first part has begun.

    def _write(self, lines: Sequence[bytes], now: int) -> None:
        """Write a block, in a new part where the old one is full; whatever fails ends the recording."""
        if not lines or self.failed is not None:
            return
        limits = self._limits
        try:
            if self._written >= limits.part_bytes or now - self._began >= limits.part_s * SECOND:
                self._file.close()
                self._begin(self._opening)
            self._put(lines)
        except OSError as error:
            self._ended(error)

    def _ended(self, error: OSError) -> None:
        """Say once that the disk has ended the recording."""
        if self.failed is None:
            self.failed = f"{self._parts[-1].name}: {error.strerror}"
            logger.error("recording ended", extra={"reason": self.failed})

    def _begin(self, opening: Sequence[bytes]) -> None:
        """Begin the next part."""
        self.part += 1
        path = part(self.path, self.part)
        self._file = path.open("xb")
        self._parts.append(path)
        self._began, self._written = self._now(), 0
        meta = {"kind": "meta", "t": self._began, "format": FORMAT, "version": VERSION}
        rows: list[Mapping[str, object]] = [meta | {"part": self.part} | dict(self._meta)]
        rows += [
            {"kind": "want", "t": self._began, "symbol": symbol, "stream": stream, "wanted": True}
            for symbol, stream in list(self._wants)
        ]
        self._put([*(orjson.dumps(r, option=orjson.OPT_APPEND_NEWLINE) for r in rows), *opening])
        keep = self._limits.keep
        while keep is not None and len(self._parts) > keep:
            self._parts.pop(0).unlink(missing_ok=True)

    def _put(self, lines: Sequence[bytes]) -> None:
        """Write lines as one gzip member, and hand it to the operating system."""
        packed = gzip.compress(b"".join(lines), LEVEL, mtime=0)
        self._file.write(packed)
        self._file.flush()
        self._written += len(packed)
        self.size += len(packed)


class RecordedData(PublicData):
    """Public data of a venue that is written down as it comes.

    Args:
        path: Where to; must not exist.
        limits: Bounds of the recording.

    The rest is as in `PublicData`.
    """

    def __init__(
        self,
        path: Path,
        *,
        account: Account,
        now: Now,
        sleep: Sleep,
        hooks: Sequence[Hooks] = (),
        limits: Limits = LIMITS,
        **more: Any,
    ) -> None:
        self.recorder = Recorder(
            path,
            now=now,
            meta=meta_of(account),
            limits=limits,
            hidden=[secret.reveal() for secret in account.secrets],
        )
        self._pause = sleep
        super().__init__(
            account=account, now=now, sleep=sleep, hooks=(*hooks, self.recorder), **more
        )

    def counted(self) -> dict[str, int]:
        """As in `PublicData`, and the lines that the disk was too slow for."""
        return {**super().counted(), "unrecorded": self.recorder.dropped}

    async def open(self) -> None:
        """Make the exchange and read its markets; without them there is nothing to record.

        Raises:
            Refused, VenueRejected: As `PublicData.open`.
        """
        with ExitStack() as undo:
            undo.callback(self.recorder.close)
            await super().open()
            undo.pop_all()

    async def run(self, post: Post) -> None:
        """Deliver events and write down what they came from, until cancelled."""
        follow = super().run
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run(self._pause), name="recorder")
            await follow(post)

    async def close(self) -> None:
        """Close the venue and the file."""
        try:
            await super().close()
        finally:
            self.recorder.close()

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Say whether anybody reads a stream, and write that down."""
        if symbol in self.markets:
            self.recorder.want(symbol, stream, wanted=wanted)
        super().want(symbol, stream, wanted)


def meta_of(account: Account) -> dict[str, object]:
    """Say what makes the same client again; keys, and where it was, are nobody's business."""
    return {
        "venue": account.id,
        "exchange": account.exchange,
        "types": list(account.types),
        "symbols": list(account.symbols),
        "sandbox": account.sandbox,
        "options": dict(account.options),
    }


def types_of(symbols: Sequence[str]) -> tuple[str, ...]:
    """Tell the kinds of markets by their symbols: `BTC/USDT`, `BTC/USDT:USDT`, `BTC/USDT:USDT-261225`."""
    kinds = {"future" if "-" in s else "swap" if ":" in s else "spot" for s in symbols}
    return tuple(sorted(kinds))


async def record(
    data: RecordedData,
    symbols: Sequence[str],
    streams: Sequence[str],
    *,
    seconds: float | None,
    sleep: Sleep,
    told: Callable[[Recorder], None],
) -> None:
    """Record some streams of some markets until the time is over, cancelled, or the disk fails.

    Args:
        data: What is recorded; opened here.
        symbols: Markets.
        streams: `ticker`, `orderbook` or `trades`.
        seconds: How long; None: until cancelled.
        sleep: Waits for seconds.
        told: Told four times a second how it goes.

    Raises:
        Refused: `invalid`, for a symbol that the venue does not list, or a stream that is none; no file is left.
        VenueRejected: The markets could not be read; no file is left.
    """
    try:
        strange = [stream for stream in streams if stream not in KINDS]
        if strange:
            raise invalid("streams", f"no stream {strange[0]}; there are {', '.join(KINDS)}")
        await data.open()
        unknown = [symbol for symbol in symbols if symbol not in data.markets]
        if unknown:
            near = ", ".join(get_close_matches(unknown[0], data.markets, n=3))
            raise invalid("symbols", f"no market {unknown[0]}" + (f"; near: {near}" * bool(near)))
        async with asyncio.TaskGroup() as group:
            following = group.create_task(data.run(lambda _events: None), name="recording")
            for symbol in symbols:
                for stream in streams:
                    data.want(symbol, stream, True)
            left = seconds
            while data.recorder.failed is None and (left is None or left > 0):
                await sleep(LOOK_S if left is None else min(LOOK_S, left))
                left = None if left is None else left - LOOK_S
                told(data.recorder)
            following.cancel()
    except (Refused, VenueRejected):
        data.recorder.discard()
        raise
    finally:
        await data.close()


def bare(url: str) -> str:
    """Mask what looks like a key, a token or a signature in an address."""
    return _IN_URL.sub(rf"\1{_HIDDEN}", url)


def fresh(folder: Path, name: str, now: int, keep: int) -> Path:
    """Name the next recording in a folder, which is made, and let the oldest files of that name go.

    Args:
        folder: Of recordings.
        name: What they begin with: the account.
        now: The time [ns], which the name ends with [s].
        keep: Newest files that stay.

    Raises:
        Refused: `invalid`, when the folder cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob(f"{name}-{'[0-9]' * 10}*.jsonl.gz"))
        for path in old[: max(0, len(old) - keep + 1)]:
            path.unlink(missing_ok=True)
    except OSError as error:
        message = f"record.path: {folder}: {error.strerror}"
        raise Refused(Code.INVALID, message, {"file": str(folder)}) from error
    return folder / f"{name}-{now // SECOND:010d}.jsonl.gz"
