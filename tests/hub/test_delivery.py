"""The delivery machine (reliability document 8.6): whatever happens, clients hold what the server holds.

It also runs with faults planted into the hub, and must find each of them.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from realtime.hub.channels import Channel
from realtime.hub.cohort import Cohort, Part, Reader, Wire
from realtime.hub.hub import Hub, Old, Since, Wanted
from realtime.hub.logs import JournalStream
from realtime.hub.rows import Make
from realtime.hub.stream import Stream
from tests.hub.world import (
    BTC,
    ETH,
    FakeBook,
    FakeWire,
    Follower,
    Json,
    ProtocolBroken,
    Rig,
    bodies,
    must,
)


SIZES = {
    "table": 4, "log": 4, "journaled": 6, "history": 8, "piece": 300, "older": 3, "linger": 1, "told": 2,
    "message": 230,
}  # fmt: skip
RATES = (50, 100, 250, 1000)
PACES = (50, 100)
CHANNELS = (
    f"ticker:{BTC}",
    f"ticker:{BTC}?rate=0",
    f"ticker:{ETH}?rate=250",
    f"orderbook:{BTC}?depth=5&rate=0",
    f"orderbook:{BTC}?depth=5&rate=100",
    "orders",
    f"orders?symbol={BTC}",
    "fills",
    f"fills?symbol={BTC}",
    f"trades:{BTC}",
)


INDEX = st.integers(0, 2)
NAMES = st.lists(st.integers(0, len(CHANNELS) - 1), min_size=1, max_size=5)
"""Numbers of channels, of those that a machine looks at."""


class Peer:
    """One client program, with or without a connection."""

    def __init__(self) -> None:
        self.follower = Follower(SIZES["table"])
        self.wire = FakeWire()
        self.reader: Reader | None = None
        self.unsent = 0
        # What it was to be fetched from the journal, a page at a time.
        self.asked: list[tuple[Channel, int, int]] = []
        # Positions it had earlier: a program may come back with any of them.
        self.saved: dict[str, tuple[str, int, Any]] = {}


class Delivery(RuleBasedStateMachine):
    """Publishing, stalls, cuts, resumes, restarts, repairs, ticks."""

    hub_class: type[Hub] = Hub
    channels: Sequence[str] = CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.boots = 0
        self.count = 0
        self.tickers: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.fills: list[Old] = []
        self.trades: list[Json] = []
        self.book = FakeBook()
        self.stale: set[str] = set()
        self.sent: dict[tuple[str, str, int], bytes] = {}
        self.peers = [Peer() for _ in range(3)]
        self.boot()

    # --- the server -------------------------------------------------------------------------------

    def boot(self) -> None:
        self.boots += 1
        self.rig = Rig(self.hub_class, f"b{self.boots}", **SIZES)
        self.hub = self.rig.hub
        self.stale.clear()
        self.trades.clear()
        newest = self.fills[-SIZES["journaled"] :]
        self.hub.count_filtered(
            "fills", [entry for _, _, entry in self.fills[: -len(newest) or None]]
        )
        self.hub.seed("fills", len(self.fills), newest)
        self.hub.table("orders", rows=list(self.orders.values()))
        for symbol, data in self.tickers.items():
            self.hub.value(f"ticker:{symbol}", data)
        if self.book.bids or self.book.asks:
            self.hub.book(f"orderbook:{BTC}", self.book, asof=1)

    @initialize()
    def begin(self) -> None:
        self.connect_all()

    def connect_all(self) -> None:
        for index, peer in enumerate(self.peers):
            self.connect(peer, batch=index == 2, every=50 if index == 2 else 0)

    def connect(self, peer: Peer, *, batch: bool, every: int) -> None:
        peer.wire = FakeWire()
        peer.reader = self.hub.attach(peer.wire, batch=batch, every=every)
        peer.asked.clear()
        if peer is not self.peers[0]:
            peer.reader.fetch = lambda *asked: peer.asked.append(asked)

    def flush(self) -> None:
        self.rig.flush()
        self.receive()

    def receive(self) -> None:
        for peer in self.peers:
            reader = peer.reader
            if reader is not None:
                blobs, peer.wire.blobs = peer.wire.blobs, []
                if peer.wire.full and blobs:
                    peer.unsent += len(blobs)
                    # One flush at most: silent sources, data, sources that are back.
                    must(peer.unsent <= 3, "written to although it is full", blobs)
                for blob in blobs:
                    self.read(peer, reader, blob)
                if peer.wire.closed:
                    # With a ring this small, also whoever resumes while entries pour in.
                    journaled = any(name.startswith("fills") for name in peer.follower.info)
                    must(peer.wire.closed[0] == 4508 and journaled, peer.wire.closed)
                    self.drop(peer)
                elif not (reader.behind or peer.wire.full):
                    peer.follower.lagged = False

    def read(self, peer: Peer, reader: Reader, blob: bytes) -> None:
        follower = peer.follower
        messages = list(bodies(blob, batch=reader.batch))
        data = [body for body in messages if b'"type":"notice"' not in body]
        must(len(data) <= 1 or len(blob) <= SIZES["piece"], "a piece too large", len(blob))
        for body in messages:
            message = orjson.loads(body)
            part = follower.parts.get(message.get("channel"), 0)
            follower.take(message)
            if message["type"] == "update" and not part:
                key = (
                    message["channel"],
                    follower.info[message["channel"]]["epoch"],
                    message["seq"],
                )
                must(self.sent.setdefault(key, body) == body, "bytes depend on the reader", body)

    def drop(self, peer: Peer) -> None:
        assert peer.reader is not None
        self.hub.remove(peer.reader)
        peer.reader = None
        peer.unsent = 0
        peer.asked.clear()
        peer.follower.cut()

    def next(self) -> str:
        self.count += 1
        return str(self.count)

    # --- publishing -------------------------------------------------------------------------------

    @rule(symbol=st.sampled_from((BTC, ETH)), lazy=st.booleans())
    def publish_value(self, symbol: str, *, lazy: bool) -> None:
        data = self.tickers[symbol] = {"symbol": symbol, "last": self.next()}
        self.hub.value(f"ticker:{symbol}", (lambda: data) if lazy else data, asof=self.count)

    @rule(
        ids=st.lists(st.sampled_from("abcdef"), max_size=3),
        gone=st.lists(st.sampled_from("abcdef"), max_size=2),
        symbol=st.sampled_from((BTC, ETH)),
        times=st.sampled_from((1, 1, 6)),
    )
    def publish_rows(self, ids: list[str], gone: list[str], symbol: str, times: int) -> None:
        for _ in range(times):
            rows = [{"id": key, "symbol": symbol, "n": self.next()} for key in ids]
            self.orders |= {str(row["id"]): row for row in rows}
            for key in gone:
                self.orders.pop(key, None)
            if self.count % 2:
                later: dict[str, Make] = {str(row["id"]): partial(dict, row) for row in rows}
                self.hub.table("orders", later=later, gone=gone)
            else:
                self.hub.table("orders", rows=rows, gone=gone)

    @rule(symbol=st.sampled_from((BTC, ETH)), times=st.integers(1, 5))
    def publish_fills(self, symbol: str, times: int) -> None:
        for _ in range(times):
            entry = {"id": self.next(), "symbol": symbol}
            self.fills.append((len(self.fills) + 1, self.rig.clock.ms, entry))
            self.hub.append("fills", entry)

    @rule(times=st.sampled_from((1, 2, 6)), ticking=st.booleans())
    def publish_trades(self, times: int, *, ticking: bool) -> None:
        for _ in range(times):
            self.trades.append({"id": self.next(), "symbol": BTC})
            self.hub.append(f"trades:{BTC}", self.trades[-1])
            if ticking:
                self.hub.tick(50)

    @rule(
        bids=st.dictionaries(st.integers(90, 101), st.integers(0, 3), max_size=4),
        asks=st.dictionaries(st.integers(100, 110), st.integers(0, 3), max_size=4),
        repaired=st.booleans(),
    )
    def publish_book(self, bids: dict[int, int], asks: dict[int, int], *, repaired: bool) -> None:
        for side, changed in ((self.book.bids, bids), (self.book.asks, asks)):
            for price, amount in changed.items():
                side.pop(str(price), None)
                if amount:
                    side[str(price)] = str(amount)
        if repaired:
            self.uncross()
        self.rig.clock.ms += 400
        self.flush()
        watchers = [p for p in self.peers if repaired and self.attentive(p)]
        self.hub.book(f"orderbook:{BTC}", self.book, asof=self.count, repaired=repaired)
        if watchers:
            self.rig.flush()
            for peer in watchers:
                got = b"".join(peer.wire.blobs)
                must(b'"reason":"upstream"' in got, "no snapshot after a repair", got)
            self.receive()

    def uncross(self) -> None:
        for price in [p for p in self.book.bids if int(p) >= 100]:
            del self.book.bids[price]
        self.book.asks.pop("100", None)

    def attentive(self, peer: Peer) -> bool:
        """Whether a peer holds a book, is at the head, and is sent at once what comes."""
        reader = peer.reader
        return (
            reader is not None
            and not reader.every
            and not peer.wire.full
            and any(
                name in peer.follower.info and peer.follower.have.get(name, ("", 0))[1] > 0
                for name in CHANNELS[3:5]
            )
        )

    @rule(base=st.sampled_from((f"ticker:{BTC}", f"orderbook:{BTC}", "fills")), stale=st.booleans())
    def feed_silent_or_back(self, base: str, *, stale: bool) -> None:
        (self.stale.add if stale else self.stale.discard)(base)
        cause = "silent" if stale else None
        self.hub.set_stale(base, stale, cause=cause, venue="paper", asof=self.count)

    # --- time -------------------------------------------------------------------------------------

    @rule(rates=st.sets(st.sampled_from(RATES)), paces=st.sets(st.sampled_from(PACES)))
    def time_passes(self, rates: set[int], paces: set[int]) -> None:
        for rate in sorted(rates):
            self.rig.clock.ms += rate
            self.hub.tick(rate)
        for every in sorted(paces):
            self.hub.due(every)
        self.flush()

    # --- clients ----------------------------------------------------------------------------------

    def named(self, numbers: Sequence[int]) -> list[str]:
        return list(dict.fromkeys(self.channels[n % len(self.channels)] for n in numbers))

    def subscribe(self, index: int, numbers: list[int], how: str) -> None:
        peer = self.peers[index]
        names = self.named(numbers)
        if peer.reader is None:
            self.connect(peer, batch=index == 1, every=0)
        assert peer.reader is not None
        self.receive()
        follower = peer.follower
        wanted = []
        older: dict[str, Sequence[Old]] = {}
        olds: dict[str, tuple[str, int, Any] | None] = {}
        for name in names:
            old = (peer.saved if how == "old" else follower.have).get(name)
            if how not in {"resume", "old"} or name in follower.partial:
                old = None
            olds[name] = old
            since = None if old is None else Since(epoch=old[0], seq=old[1])
            channel = self.hub.channel(name)
            wanted.append(Wanted(channel=channel, since=since, snapshot=how != "bare"))
            if since is not None:
                pages = list(self.fetch(wanted[-1], since))
                older[name] = pages[:1] if peer.reader.fetch else pages
        entries = self.hub.subscribe(peer.reader, wanted, older=older)
        must(not peer.wire.blobs, "data before the reply")
        for name in names:
            # Kept for a program that comes back with an old position.
            if how == "fresh" and name in follower.have and name not in follower.partial:
                peer.saved[name] = follower.have[name]
        must([e["channel"] for e in entries] == names, "entries in the order asked")
        for entry in entries:
            follower.reply(entry, olds[str(entry["channel"])], snapshot=how != "bare")

    subscribe_anew = rule(index=INDEX, numbers=NAMES, how=st.sampled_from(("old", "bare")))(
        subscribe
    )
    subscribe_more = rule(index=INDEX, numbers=NAMES, how=st.just("fresh"))(subscribe)
    subscribe_again = rule(index=INDEX, numbers=NAMES, how=st.just("resume"))(subscribe)

    def journal(self, channel: Channel) -> list[Old]:
        """What the journal has of a channel."""
        symbol = dict(channel.options).get("symbol")
        return [row for row in self.fills if symbol in {None, row[2]["symbol"]}]

    def fetch(self, wanted: Wanted, since: Since) -> Iterator[Old]:
        """Read the journal until it meets the ring."""
        mine = self.journal(wanted.channel)
        while (gap := self.hub.missing(wanted.channel, since)) is not None:
            first, last = gap
            must(first == since.seq + 1 and last - first < SIZES["older"], "a strange gap", gap)
            for seq in range(first, last + 1):
                _, ts, entry = mine[seq - 1]
                yield seq, ts, entry
            since = Since(epoch=since.epoch, seq=last)

    @rule(index=INDEX)
    def bring(self, index: int) -> None:
        """The journal answers; a connection that asked may be gone by then."""
        peer = self.peers[index]
        if peer.asked:
            (channel, first, last), *rest = peer.asked
            must(not rest, "more than one page at a time", peer.asked)
            must(last - first < SIZES["older"], "a strange gap", first, last)
            peer.asked.clear()
            assert peer.reader is not None
            rows = self.journal(channel)[first - 1 : last]
            self.hub.bring(peer.reader, [(first + n, ts, e) for n, (_, ts, e) in enumerate(rows)])
            self.receive()

    @rule(index=INDEX, numbers=st.none() | NAMES)
    def unsubscribe(self, index: int, numbers: list[int] | None) -> None:
        peer = self.peers[index]
        if peer.reader is not None:
            names = None if numbers is None else self.named(numbers)
            ended = self.hub.unsubscribe(peer.reader, names)
            for name in ended:
                peer.follower.forget(name)

    @rule(index=INDEX, every=st.sampled_from((0, 50, 100)))
    def pace(self, index: int, every: int) -> None:
        reader = self.peers[index].reader
        if reader is not None and (reader.batch or not every):
            self.hub.pace(reader, every)

    @rule(index=INDEX)
    def stall(self, index: int) -> None:
        peer = self.peers[index]
        if peer.reader is not None:
            peer.wire.full = True
            peer.follower.lagged = True

    @rule(index=INDEX)
    def drain(self, index: int) -> None:
        peer = self.peers[index]
        if peer.reader is not None and peer.wire.full:
            self.receive()
            peer.wire.full = False
            peer.unsent = 0
            self.hub.resume(peer.wire)
            self.receive()

    @rule(index=INDEX)
    def cut(self, index: int) -> None:
        peer = self.peers[index]
        if peer.reader is not None:
            self.drop(peer)

    def cut_short(self, index: int, numbers: list[int]) -> None:
        """A peer that takes little at a time begins, is cut off, and comes back."""
        self.stall(index)
        self.subscribe(index, numbers, "fresh")
        self.flush()
        self.cut(index)
        self.subscribe(index, numbers, "resume")

    @rule(killed=st.booleans())
    def cut_all(self, *, killed: bool) -> None:
        """The server is killed and starts again, or nobody reads for so long that streams are dropped."""
        for index in range(len(self.peers)):
            self.cut(index)
        if killed:
            self.boot()
        else:
            self.hub.tick(1000)
            self.hub.tick(1000)

    # --- what must hold ---------------------------------------------------------------------------

    @invariant()
    def readers_are_where_they_belong(self) -> None:
        for peer in self.peers:
            reader = peer.reader
            if reader is None:
                continue
            if reader.cohort is not None:
                must(not (reader.stalled or reader.needs or reader.older), "in a cohort, but owed")
                must(not any(peer.follower.parts.values()), "in a cohort with a part of a table")
                must(set(reader.cohort.cursors) == reader.cohort.key[0], "cursors of a cohort")
            for older in reader.older.values():
                most = SIZES["older"] if reader.fetch else len(self.fills)
                must(len(older) <= most, "more than a page of the journal")

    @rule()
    def settle(self) -> None:
        """Everybody drains and everything is due: at rest each client holds what the server holds."""
        self.uncross()
        if self.book.bids or self.book.asks:
            self.hub.book(f"orderbook:{BTC}", self.book, asof=self.count)
        for index in range(len(self.peers)):
            self.drain(index)
        for _ in range(2):
            self.time_passes(set(RATES[:3]), set(PACES))
        while any(peer.asked for peer in self.peers):
            for index in range(len(self.peers)):
                self.bring(index)
            self.time_passes(set(RATES[:3]), set(PACES))
        for peer in self.peers:
            if peer.reader is not None:
                must(not peer.reader.behind, "behind at rest")
                for name in peer.follower.info:
                    self.compare(peer.follower, name)

    def compare(self, follower: Follower, name: str) -> None:
        must((name in follower.stale) == (name.partition("?")[0] in self.stale), "stale", name)
        truth = self.truth(name)
        if truth is None:
            return
        must(name in follower.have, "nothing came", name)
        _, seq, state = follower.have[name]
        position = self.hub.position(name)
        must(
            position is not None and position["seq"] == seq, "not at the head", name, seq, position
        )
        if name in follower.partial:
            return
        if isinstance(truth, list):
            must(truth[len(truth) - len(state) :] == state, "another log", name, state, truth)
            if "?" not in name:
                must(len(state) >= min(len(truth), SIZES["log"]), "a short log", name, state)
        else:
            must(state == truth, "another state", name, state, truth)

    def truth(self, name: str) -> Any:
        """What a client of this channel must hold; None where nothing was ever published."""
        symbol = ETH if ETH in name else BTC
        match name.partition("?")[0].partition(":")[0]:
            case "ticker":
                return self.tickers.get(symbol)
            case "orders":
                rows = self.orders.items()
                return {k: r for k, r in rows if name == "orders" or r["symbol"] == symbol}
            case "fills":
                rows_ = [entry for _, _, entry in self.fills]
                return [r for r in rows_ if name == "fills" or r["symbol"] == symbol]
            case "trades":
                return list(self.trades)
            case _:
                bids, asks = self.book.top(5)
                levels = {("bids", p): a for p, a in bids} | {("asks", p): a for p, a in asks}
                return levels or None

    def teardown(self) -> None:
        self.settle()


LIMITS = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.promise("T9")
def test_at_rest_every_client_holds_what_the_server_holds_whatever_happened() -> None:
    run_state_machine_as_test(Delivery, settings=LIMITS)


# --- planted faults -------------------------------------------------------------------------------


class NoEpochCheck(Hub):
    """Resumes positions of an earlier life."""

    def _resumable(self, stream: Stream, since: Since, old: Sequence[Old]) -> bool:
        return 0 <= since.seq <= stream.seq and stream.holds(since.seq)


class NoRingCheck(Hub):
    """Promises to resume what is not held any more."""

    def _resumable(self, stream: Stream, since: Since, old: Sequence[Old]) -> bool:
        if stream.journaled:
            return super()._resumable(stream, since, old)
        return since.epoch == stream.epoch


class ResumesParts(Hub):
    """Resumes who was cut off among the parts of a snapshot, as if it had the whole."""

    def _resumable(self, stream: Stream, since: Since, old: Sequence[Old]) -> bool:
        return super()._resumable(stream, since, old) or (
            since.epoch == stream.epoch and since.seq <= stream.seq and stream.holds(since.seq)
        )


class ForgetsParts(Hub):
    """Takes the first part of a snapshot for the whole."""

    def _owed(self, reader: Reader, behind: list[tuple[JournalStream, int]]) -> Iterator[Part]:
        for stream, message in super()._owed(reader, behind):
            yield stream, message
            if stream in reader.needs:
                reader.needs[stream].parts = (message,)


class EarlyData(Hub):
    """Delivers before the reply."""

    def subscribe(self, reader: Reader, wanted: Sequence[Wanted], **more: Any) -> list[Json]:
        entries = super().subscribe(reader, wanted, **more)
        for blob, wires in self.flush():
            for wire in wires:
                wire.write(blob)
        return entries


class NoTrailingEdge(Hub):
    """Forgets what waited for a tick."""

    def tick(self, rate: int) -> None:
        if rate == 250:
            self._board.tiers.waiting(rate).clear()
        super().tick(rate)


class NoPause(Hub):
    """Goes on writing to a full wire."""

    def paused(self, wire: Wire) -> None:
        pass


class JoinsAnywhere(Hub):
    """Lets readers join cohorts that still have something to send."""

    def _join(self, reader: Reader) -> None:
        key = (frozenset(reader.cursors), reader.batch, reader.every)
        cohort = self._cohorts.get(key)
        if cohort is None:
            super()._join(reader)
        else:
            cohort.join(reader)


class NoRepair(Hub):
    """Publishes a repaired book as if nothing had happened."""

    def book(self, name: str, book: Any, *, asof: int, repaired: bool = False) -> None:
        super().book(name, book, asof=asof)


class SameEpochAgain(Hub):
    """Makes dropped streams again with the epoch they had."""

    def _drop(self, stream: Stream) -> None:
        super()._drop(stream)
        self._dropped = 0


class NoFilteredCounts(Hub):
    """Numbers filtered journaled streams from the ring only."""

    def count_filtered(self, name: str, entries: Any) -> None:
        pass


class NoNews(Hub):
    """Does not tell anybody that a source went silent."""

    def set_stale(self, base: str, stale: bool, **more: Any) -> None:  # noqa: FBT001 - the hub's
        super().set_stale(base, stale, **more)
        self._news.clear()


class LeavesWithoutCursors(Hub):
    """Lets a reader leave its cohort as if it were at the head."""

    def _leave(self, reader: Reader) -> None:
        super()._leave(reader)
        reader.cursors = {stream: stream.seq for stream in reader.cursors}


class NoMerge(Hub):
    """Leaves a cohort without its due streams after it was taken once."""

    def _take(self, cohort: Cohort) -> bytes | None:
        if cohort.every:
            cohort.dirty.clear()
            return None
        return super()._take(cohort)


FAULTS: list[type[Hub]] = [
    NoEpochCheck,
    NoRingCheck,
    ResumesParts,
    ForgetsParts,
    EarlyData,
    NoTrailingEdge,
    NoPause,
    JoinsAnywhere,
    NoRepair,
    SameEpochAgain,
    NoFilteredCounts,
    NoNews,
    LeavesWithoutCursors,
    NoMerge,
]


def walk(machine: Delivery, dice: Random, steps: int) -> None:
    """Drive the machine without Hypothesis: a hundred times as many steps a second, none shrunk.

    A walk looks at few channels and has favourite steps, which is how it comes to rare states soon.
    """
    machine.channels = dice.sample(CHANNELS, dice.randint(1, 4))

    def some(things: Sequence[Any], most: int) -> list[Any]:
        return [dice.choice(things) for _ in range(dice.randint(0, most))]

    def symbol() -> str:
        return dice.choice((BTC, ETH))

    def side(low: int, high: int) -> dict[int, int]:
        return {dice.randint(low, high): dice.randint(0, 3) for _ in range(dice.randint(0, 3))}

    def yes() -> bool:
        return dice.random() < 0.3

    index = partial(dice.randrange, 3)
    numbers = partial(some, range(len(CHANNELS)), 5)
    moves: dict[Callable[[], None], float] = {
        lambda: machine.publish_value(symbol=symbol(), lazy=yes()): 2,
        lambda: machine.publish_rows(
            ids=some("abcdef", 3),
            gone=some("abcdef", 2),
            symbol=symbol(),
            times=dice.choice((1, 6)),
        ): 2,
        lambda: machine.publish_fills(symbol=symbol(), times=dice.randint(1, 5)): 1,
        lambda: machine.publish_trades(times=dice.choice((1, 6)), ticking=yes()): 1,
        lambda: machine.publish_book(bids=side(90, 101), asks=side(100, 110), repaired=yes()): 2,
        lambda: machine.feed_silent_or_back(
            base=dice.choice((f"ticker:{BTC}", f"orderbook:{BTC}", "fills")), stale=yes()
        ): 1,
        lambda: machine.time_passes(rates=set(some(RATES, 4)), paces=set(some(PACES, 2))): 3,
        lambda: machine.subscribe_more(index=index(), numbers=numbers(), how="fresh"): 2,
        lambda: machine.subscribe_again(index=index(), numbers=numbers(), how="resume"): 1,
        lambda: machine.subscribe_anew(
            index=index(), numbers=numbers(), how=dice.choice(("old", "bare"))
        ): 1,
        lambda: machine.unsubscribe(index=index(), numbers=numbers() if yes() else None): 0.3,
        lambda: machine.pace(index=index(), every=dice.choice((0, *PACES))): 0.5,
        lambda: machine.stall(index=index()): 0.7,
        lambda: machine.drain(index=index()): 0.7,
        lambda: machine.bring(index=index()): 0.7,
        lambda: machine.cut(index=index()): 0.5,
        lambda: machine.cut_short(index=index(), numbers=numbers()): 1,
        lambda: machine.cut_all(killed=yes()): 0.3,
        machine.settle: 0.3,
    }
    weights = [weight * dice.choice((0.2, 1, 3)) for weight in moves.values()]
    machine.connect_all()
    for move in dice.choices(list(moves), weights, k=steps):
        move()
        machine.readers_are_where_they_belong()
    machine.settle()


WALKS = 500
STEPS = 60


def walk_all(machine: type[Delivery]) -> None:
    for seed in range(WALKS):
        walk(machine(), Random(seed), STEPS)


@pytest.mark.promise("T9")
def test_long_walks_find_nothing() -> None:
    walk_all(Delivery)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_the_planted_fault(fault: type[Hub]) -> None:
    class Faulty(Delivery):
        hub_class = fault

    with pytest.raises(ProtocolBroken):
        walk_all(Faulty)
