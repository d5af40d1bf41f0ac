"""W6: a recorded session through book, engine and hub, as fast as it goes."""

import asyncio
import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import realtime
from realtime.bench.fanout import Scale
from realtime.bench.figures import Figure, median
from realtime.bench.processes import SERVER_CPU, pin
from realtime.desk.desk import Desk
from realtime.desk.entries import Entries
from realtime.desk.outlet import Outlet
from realtime.engine.engine import Engine
from realtime.hub.channels import parse
from realtime.hub.hub import Hub, Wanted
from realtime.model.events import MarketEvent, VenueEvent
from realtime.model.risk import Limits
from realtime.server.heap import look_less
from realtime.server.pump import Pump
from realtime.store import Store
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource, recording


RECORDING: Final = "binance-spot-btcusdt-20240808.jsonl.gz"
PLACES: Final = (
    Path(realtime.__file__).parent.parent.parent / "shared" / "data",
    Path(realtime.__file__).parent.parent / "tests" / "data",
)


class NoRecordingError(RuntimeError):
    """The recorded session is not on this machine."""


def recorded(file: Path | None = None) -> Path:
    """Find the recording: the one given, `REALTIME_RECORDING`, or beside the repository.

    Raises:
        NoRecordingError: With where it was looked for.
    """
    named = os.environ.get("REALTIME_RECORDING")
    places = [file] if file is not None else [Path(named)] if named else []
    places = places or [place / RECORDING for place in PLACES]
    for place in places:
        if place.is_file():
            return place
    raise NoRecordingError(f"no recording at {', '.join(map(str, places))}; set REALTIME_RECORDING")


class Counting:
    """A wire that only counts."""

    def __init__(self) -> None:
        self.blobs = 0
        self.bytes = 0

    def write(self, blob: bytes) -> bool:
        """Count."""
        self.blobs += 1
        self.bytes += len(blob)
        return True

    def close(self, code: int, reason: str) -> None:
        """Nothing ends here."""

    def abort(self) -> None:
        """Nothing ends here."""

    def buffered(self) -> int:
        """Nothing waits."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One pass over a recording."""

    lines: int
    events: int
    """Events that reached the engine."""
    seconds: float
    blobs: int
    """Writes to the one reader of book, trades and ticker."""


async def play(lines: Sequence[bytes]) -> Played:
    """Play lines into exchange, desk, engine and hub, with one reader; the journal is in memory."""
    loop = asyncio.get_running_loop()
    failed: list[object] = []
    loop.set_exception_handler(lambda _, context: failed.append(context))
    now = time.time_ns
    events = 0
    source = ReplaySource(lambda: iter(lines), now=now, sleep=asyncio.sleep, speed=None)
    venue = PaperVenue(
        source=source,
        balances={"USDT": Decimal(10_000)},
        seed=1,
        now=now,
        sleep=asyncio.sleep,
        latency_s=0.0,
    )
    early: list[MarketEvent | VenueEvent] = []
    sink: Callable[[Sequence[MarketEvent | VenueEvent]], None] = early.extend
    await venue.open(lambda batch: sink(batch))  # noqa: PLW0108 - the sink changes
    store = await Store.open(None, now=now, new_id=lambda: "bench")
    try:
        hub = Hub(boot="bench", journal=store.journal_id, now=lambda: now() // 1_000_000)
        hub.symbols = venue.markets
        engine = Engine(venue=venue.id, mode="paper", markets=venue.markets, limits=Limits())
        for name, book in venue.books.items():
            engine.share_book(name, book)
        outlet = Outlet(engine=engine, hub=hub, mode="paper", zone=lambda: "UTC", now=now)
        entries = Entries(events=0, alerts=0)
        desk = Desk(engine=engine, store=store, outlet=outlet, entries=entries, now=now, loop=loop)

        def want(base: str, wanted: bool) -> None:  # noqa: FBT001 - the hub's callback
            topic, _, symbol = base.partition(":")
            venue.want(symbol, topic, wanted)

        hub.on_demand = want
        pump = Pump(hub, loop)
        pump.start()
        wire = Counting()
        reader = hub.attach(wire, batch=False, every=0)
        pump.joined(0)

        def take(batch: Sequence[MarketEvent | VenueEvent]) -> None:
            nonlocal events
            events += len(batch)
            for event in batch:
                desk.post(event)

        take(early)
        sink = take
        (symbol,) = venue.markets
        names = (f"orderbook:{symbol}", f"trades:{symbol}", f"ticker:{symbol}")
        hub.subscribe(reader, [Wanted(channel=parse(name, venue.markets)) for name in names])
        began = time.perf_counter()
        await source.run()
        pump.flush()
        seconds = time.perf_counter() - began
        pump.stop()
    finally:
        await store.close()
    if failed:
        raise RuntimeError(f"the hub could not say everything: {failed[0]}")
    return Played(lines=source.played, events=events, seconds=seconds, blobs=wire.blobs)


def w6(scale: Scale, file: Path | None = None) -> Iterator[Figure]:
    """Recorded events per second; the lines are in memory, everything else is as in `realtime replay`."""
    path = recorded(file)
    lines = list(recording(path)())[: scale.events]
    before, looks = os.sched_getaffinity(0), gc.get_threshold()
    pin(0, SERVER_CPU)
    look_less()
    try:
        passes = [_pass(lines) for _ in range(scale.turns)]
    finally:
        gc.unfreeze()
        gc.set_threshold(*looks)
        os.sched_setaffinity(0, before)
    if any(one.lines != len(lines) or not one.blobs for one in passes):
        raise RuntimeError(f"not everything was played: {passes}")
    yield Figure(
        workload="W6", name=f"{len(lines):,} recorded events through book, engine and hub",
        ours=median([one.lines / one.seconds for one in passes]), unit="/s", least=100_000,
        full=scale.full,
    )  # fmt: skip


def _pass(lines: Sequence[bytes]) -> Played:
    with asyncio.Runner(loop_factory=_loop()) as runner:
        return runner.run(play(lines))


def _loop() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return None
    return uvloop.Loop
