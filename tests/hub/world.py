"""What stands around the hub in its tests: a wire, a pump, a client by the book, a book to look at."""

from collections.abc import Iterator, Sequence
from typing import Any
from zlib import crc32

import orjson

from realtime.hub.hub import Hub, Reader, Since, Sizes, Wanted


T0 = 1_790_000_000_000
BTC, ETH = "BTC/USDT", "ETH/USDT"
Json = dict[str, Any]


def frames(blob: bytes) -> Iterator[bytes]:
    """The payloads of whole text frames; anything else is an error."""
    at = 0
    while at < len(blob):
        assert blob[at] == 0x81, "FIN, text"
        size, at = blob[at + 1], at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(blob[at : at + width]), at + width
        assert at + size <= len(blob), "a frame is cut"
        yield blob[at : at + size]
        at += size


def bodies(blob: bytes, *, batch: bool) -> Iterator[bytes]:
    """The messages of a blob, each as the bytes that everybody gets."""
    for payload in frames(blob):
        if batch:
            assert payload[:1] + payload[-1:] == b"[]"
            # Messages never hold `}` followed by `,{"type"` inside, so this cut is exact.
            for index, part in enumerate(payload[1:-1].split(b',{"type"')):
                yield part if not index else b'{"type"' + part
        else:
            yield payload


class FakeWire:
    """Remembers what was written; says that it is full when told to."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []
        self.full = False
        self.closed: tuple[int, str] | None = None

    def write(self, blob: bytes) -> bool:
        self.blobs.append(blob)
        return not self.full

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def abort(self) -> None:
        self.closed = (1006, "")

    def buffered(self) -> int:
        return 0

    def take(self, *, batch: bool = False) -> list[Json]:
        """What was written since the last time, as messages."""
        got = [orjson.loads(body) for blob in self.blobs for body in bodies(blob, batch=batch)]
        self.blobs.clear()
        return got


class Clock:
    """Server time."""

    def __init__(self) -> None:
        self.ms = T0

    def __call__(self) -> int:
        return self.ms


class FakeBook:
    """Both sides as dictionaries of price to amount."""

    def __init__(self, bids: Json | None = None, asks: Json | None = None) -> None:
        self.bids: dict[str, str] = bids or {}
        self.asks: dict[str, str] = asks or {}

    def top(self, depth: int) -> tuple[Sequence[tuple[str, str]], Sequence[tuple[str, str]]]:
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))
        return bids[:depth], asks[:depth]


def crc(bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> int:
    """The checksum as a client computes it (protocol document, 6.3)."""
    text = ";".join(",".join(f"{p}:{a}" for p, a in side[:10]) for side in (bids, asks))
    return crc32(text.encode())


class Rig:
    """A hub with its pump."""

    def __init__(self, hub: type[Hub] = Hub, boot: str = "b1", **sizes: int) -> None:
        self.clock = Clock()
        self.woken = 0
        self.demand: list[tuple[str, bool]] = []
        self.hub = hub(boot=boot, journal="j1", now=self.clock, sizes=Sizes(**sizes))
        self.hub.symbols = {BTC, ETH}
        self.hub.wake = self._wake
        self.hub.on_demand = lambda name, wanted: self.demand.append((name, wanted))

    def _wake(self) -> None:
        self.woken += 1

    def flush(self) -> None:
        full = []
        for blob, wires in self.hub.flush():
            for wire in wires:
                if not wire.write(blob):
                    full.append(wire)
        for wire in full:
            self.hub.paused(wire)

    def tick(self, *rates: int) -> None:
        for rate in rates or (50, 100, 250, 1000):
            self.hub.tick(rate)
        self.flush()

    def reader(self, *names: str, batch: bool = False, every: int = 0) -> tuple[FakeWire, Reader]:
        """A connection that has its snapshots already."""
        wire = FakeWire()
        reader = self.hub.attach(wire, batch=batch, every=every)
        self.subscribe(reader, *names)
        self.flush()
        if every:
            self.hub.due(every)
            self.flush()
        wire.blobs.clear()
        return wire, reader

    def subscribe(
        self,
        reader: Reader,
        *names: str,
        since: tuple[str, int] | None = None,
        snapshot: bool = True,
    ) -> list[Json]:
        at = None if since is None else Since(epoch=since[0], seq=since[1])
        return self.hub.subscribe(
            reader,
            [Wanted(channel=self.hub.channel(n), since=at, snapshot=snapshot) for n in names],
        )


class ProtocolBroken(AssertionError):
    """A client saw what it must never see."""


def must(condition: object, *what: object) -> None:
    """Fail loudly: the planted faults have to be found by this and nothing else."""
    if not condition:
        raise ProtocolBroken(*what)


class Follower:
    """A client by the client rule (protocol document, 6.4) that also checks what a client may assume.

    Attributes:
        have: Channel to (epoch, seq, state): what survives a cut.
        info: Channel to its entry of the subscribe reply, on this connection.
        partial: Channels begun without a snapshot, whose state is not the whole.
        stale: Channels it believes stale.
        ring: Messages that the server holds of a table.
        lagged: Whether it was too slow since it was last at the head.
    """

    def __init__(self, ring: int) -> None:
        self.ring = ring
        self.have: dict[str, tuple[str, int, Any]] = {}
        self.info: dict[str, Json] = {}
        self.partial: set[str] = set()
        self.stale: set[str] = set()
        self.lagged = False
        self._expect: dict[str, str] = {}
        # Parts of a snapshot that are still to come.
        self.parts: dict[str, int] = {}
        # Logs: the position up to which everything is received or known to be lost.
        self._counted: dict[str, tuple[str, int]] = {}
        # Journaled entries that came as updates, by channel and seq: never two of one seq.
        self._entries: dict[tuple[str, int], Any] = {}

    def cut(self) -> None:
        self.info.clear()
        self.stale.clear()
        self._expect.clear()
        self.parts.clear()
        self.lagged = False

    def forget(self, name: str) -> None:
        """Unsubscribed: nothing of it may come."""
        del self.info[name]
        self.stale.discard(name)
        self._expect.pop(name, None)
        self.parts.pop(name, None)

    def reply(
        self, entry: Json, old: tuple[str, int, Any] | None, *, snapshot: bool = True
    ) -> None:
        """Read an entry of a subscribe reply; `old` is the position it was asked to resume from."""
        name, here = entry["channel"], (entry["epoch"], entry["seq"])
        self.info[name] = entry
        self.parts.pop(name, None)
        self.stale.discard(name)
        if entry["stale"]:
            self.stale.add(name)
        self._counted[name] = here
        if entry["resumed"]:
            assert old is not None
            must(old[0] == entry["epoch"], "resumed another epoch", old, entry)
            must(old[1] <= entry["seq"], "resumed from the future", old, entry)
            if entry["class"] != "value" and entry["epoch"] != "j1":
                must(entry["seq"] - old[1] <= self.ring, "resumed what is not held", old, entry)
            self.have[name] = old
            self._counted[name] = old[:2]
            self._expect[name] = "resume"
            return
        self.have.pop(name, None)
        self._expect[name] = "snapshot" if snapshot else "update"
        if not snapshot:
            self.partial.add(name)
            self.have[name] = (*here, None)
        elif old is not None:
            self._counted[name] = old[:2]

    def take(self, message: Json) -> None:
        match message["type"]:
            case "notice":
                self._notice(message)
            case "snapshot":
                self._snapshot(message)
            case _:
                self._update(message)

    def _notice(self, message: Json) -> None:
        for name in message["channels"]:
            must(name in self.info, "a notice about a channel not subscribed", name)
            must((name in self.stale) is not message["data"]["stale"], "told twice", message)
            if message["data"]["stale"]:
                self.stale.add(name)
            else:
                self.stale.discard(name)

    def _snapshot(self, message: Json) -> None:
        name, epoch, seq, reason = (message[k] for k in ("channel", "epoch", "seq", "reason"))
        must(name in self.info, "a message of a channel not subscribed", message)
        info = self.info[name]
        must(epoch == info["epoch"], "an epoch that the reply did not name", message)
        must(seq >= 0, "a position that nobody can resume from", message)
        must(not self.parts.get(name), "a snapshot before the last one was whole", message)
        self.parts[name] = message.get("parts", 1) - 1
        expect = self._expect.pop(name, "")
        if expect == "resume" and reason not in {"upstream", "subscribe"}:
            # Only if the ring went on between the reply and the flush.
            behind = seq - self.have[name][1]
            must(self.lagged or behind > self.ring, "resumed, then a snapshot", message)
        if reason == "resume_failed":
            must(expect == "snapshot", "resume_failed out of the blue", message)
        if reason == "lag":
            must(expect != "snapshot", "lag before the first snapshot", message)
        if reason == "upstream" and name in self.have and not self.lagged:
            must(seq == self.have[name][1] + 1, "upstream takes the next seq", message)
        if info["class"] == "log":
            was_epoch, was = self._counted[name]
            lost = seq - was if was_epoch == epoch else 0
            must(message.get("lost", 0) == lost, "lost is wrong", was, message)
            self._counted[name] = (epoch, seq)
            must(not name.startswith("fills") or reason != "lag", "journaled, but lagged", message)
        self.partial.discard(name)
        self._keep(name, epoch, seq, merge(info, None, message["data"]), message)

    def _update(self, message: Json) -> None:
        name, seq = message["channel"], message["seq"]
        must(name in self.info, "a message of a channel not subscribed", message)
        info = self.info[name]
        must(self._expect.pop(name, "") != "snapshot", "an update before the snapshot", message)
        must(name in self.have, "an update without a state", message)
        self.parts[name] = max(self.parts.get(name, 0) - 1, 0)
        epoch, last, state = self.have[name]
        if info["class"] == "value":
            must(seq > last, "an old value", last, message)
        else:
            must(seq == last + 1, "a gap", last, message)
        if info["class"] == "log":
            self._counted[name] = (epoch, seq)
        if info["epoch"] == "j1":
            first = self._entries.setdefault((name, seq), message["data"])
            must(first == message["data"], "one seq, two entries", first, message)
        self._keep(name, epoch, seq, merge(info, state, message["data"]), message)

    def _keep(self, name: str, epoch: str, seq: int, state: Any, message: Json) -> None:
        self.have[name] = (epoch, seq, state)
        if name.startswith("orderbook") and name not in self.partial:
            bids, asks = sides(state)
            must(not bids or not asks or float(bids[0][0]) < float(asks[0][0]), "crossed", message)
            must(max(len(bids), len(asks)) <= 5, "more levels than the depth", message)
            if "checksum" in message:
                must(crc(bids, asks) == message["checksum"], "checksum", message)


def merge(info: Json, state: Any, data: Any) -> Any:
    """Apply data to a state, as printed in the protocol document, 6.4."""
    match info["class"]:
        case "value":
            return data
        case "log":
            return (state or []) + data
        case _:
            new = {(x, p): a for x in ("bids", "asks") for p, a in data.get(x, ())}
            new |= {r[info["key"]]: r for r in data.get("set", ())}
            merged = {**(state or {}), **new}
            return {k: v for k, v in merged.items() if v != "0" and k not in data.get("del", ())}


def sides(state: dict[tuple[str, str], str]) -> tuple[list[list[str]], list[list[str]]]:
    """A client's book, best first."""
    found: Json = {"bids": [], "asks": []}
    for (side, price), amount in state.items():
        found[side].append([price, amount])
    found["bids"].sort(key=lambda level: -float(level[0]))
    found["asks"].sort(key=lambda level: float(level[0]))
    return found["bids"], found["asks"]
