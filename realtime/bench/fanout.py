"""W1, W2, W3, W5: what goes out to many sockets, and what an idle one costs."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from realtime.bench.figures import Figure, median
from realtime.bench.processes import (
    Child,
    Load,
    Measured,
    Sender,
    Server,
    spent,
    unpin,
    waited,
)
from realtime.bench.servers import symbol
from realtime.bench.work import prepare


MESSAGE_BYTES = 200
C_LOOP, STARLETTE, DEFLATE = "C send loop", "Starlette", "Starlette, deflate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large a run is."""

    name: str
    clients_w1: int
    clients_w2: int
    channels: int
    rate_w2: float
    """Rounds over all channels per second."""
    idle: int
    window_s: float
    turns: int
    orders: int = 4_000
    bars: int = 500_000
    """Of each backtest that runs beside the server."""
    events: int | None = None
    """Recorded events to replay; None = all."""

    @property
    def full(self) -> bool:
        """Whether the figures mean something."""
        return self.name == "full"


FULL = Scale(
    name="full",
    clients_w1=1_000,
    clients_w2=200,
    channels=20,
    rate_w2=275.0,
    idle=5_000,
    window_s=1.0,
    turns=7,
)
SMALL = Scale(
    name="small",
    clients_w1=20,
    clients_w2=10,
    channels=4,
    rate_w2=50.0,
    idle=50,
    window_s=0.2,
    turns=1,
    orders=50,
    bars=4_000,
    events=2_000,
)


def channels(count: int) -> str:
    """Text that subscribes a client of the bench servers."""
    names = [f"ticker:{symbol(number)}?rate=0" for number in range(count)]
    return orjson.dumps({"op": "subscribe", "id": 1, "channels": names}).decode()


def payload() -> str:
    """A message of `MESSAGE_BYTES` for the send loop, with room for the stamp."""
    head = (
        '{"type":"update","channel":"ticker:S00/USDT?rate=0","seq":1234567,"ts":1790000000000,'
        '"data":{"t":000000000000000,"pad":"'
    )
    return head + "x" * (MESSAGE_BYTES - len(head) - 3) + '"}}'


@dataclass(frozen=True, slots=True)
class Lane:
    """One contestant: how it is set going and stopped, and who listens."""

    name: str
    child: Child
    load: Load
    start: Callable[[], None]
    stop: Callable[[], None]

    def window(self, seconds: float) -> tuple[Measured, float]:
        """One measurement; the second is deliveries per CPU second of the server."""
        self.start()
        self.load.measure(min(0.3, seconds))
        before = self.child.cpu_s
        seen = self.load.measure(seconds)
        spent = self.child.cpu_s - before
        self.stop()
        self.load.measure(0.1)
        return seen, seen.deliveries / spent if spent else float("nan")


def w1(scale: Scale) -> Iterator[Figure]:
    """1,000 subscribers of one ticker: deliveries per second, nobody pausing.

    All contestants stand ready in one run and take turns, so that a busy machine is busy for all of them;
    the figure is the median of the turns.
    """
    with contextlib.ExitStack() as stack:
        lanes = [
            _sender(stack, scale.clients_w1),
            _server(stack, "ours", "ours", scale.clients_w1),
            _server(stack, STARLETTE, "starlette", scale.clients_w1),
            _server(stack, DEFLATE, "starlette", scale.clients_w1, deflate=True),
        ]
        rates: dict[str, list[float]] = {lane.name: [] for lane in lanes}
        costs: dict[str, list[float]] = {lane.name: [] for lane in lanes}
        for _ in range(scale.turns):
            for lane in lanes:
                seen, per_cpu_s = lane.window(scale.window_s)
                if seen.served < scale.clients_w1:
                    raise RuntimeError(f"{lane.name} served {seen.served} of {scale.clients_w1}")
                rates[lane.name].append(seen.per_s)
                costs[lane.name].append(per_cpu_s)
    name = f"{scale.clients_w1:,} subscribers of one ticker"
    for what, of, least in ((name, C_LOOP, 0.80), (name, STARLETTE, 3.0)):
        yield _compared(what, rates, scale, of=of, least=least)
    yield _compared("the same per CPU second of the server", costs, scale)


def _compared(
    name: str,
    seen: Mapping[str, Sequence[float]],
    scale: Scale,
    *,
    of: str | None = None,
    least: float | None = None,
) -> Figure:
    """A figure of turns: each ratio is the median of those within a turn."""
    others = [other for other in seen if other != "ours"]
    return Figure(
        workload="W1",
        name=name,
        ours=median(seen["ours"]),
        unit="/s",
        comparators=tuple((other, median(seen[other])) for other in others),
        ratios=tuple(
            (other, median([a / b for a, b in zip(seen["ours"], seen[other], strict=True)]))
            for other in others
        ),
        of=of,
        least=least,
        full=scale.full,
    )


def _sender(stack: contextlib.ExitStack, clients: int) -> Lane:
    sender = stack.enter_context(Sender(clients, payload()))
    load = stack.enter_context(Load(sender.port, clients=clients))
    begun = False

    def start() -> None:
        nonlocal begun
        if begun:
            sender.go()
        else:
            sender.say("go")
            begun = True

    return Lane(C_LOOP, sender, load, start, sender.hold)


def _server(
    stack: contextlib.ExitStack, name: str, kind: str, clients: int, *, deflate: bool = False
) -> Lane:
    server = stack.enter_context(Server(kind))
    load = stack.enter_context(
        Load(server.port, clients=clients, text=channels(1), deflate=deflate)
    )
    return Lane(
        name,
        server,
        load,
        lambda: server.say(f"publish 1 0 {MESSAGE_BYTES}"),
        lambda: server.say("stop"),
    )


def w2_w3(scale: Scale) -> Iterator[Figure]:
    """200 clients of 20 channels at a given rate; then a tenth of them stops reading.

    The pair is measured in one run, in turns, so that the second figure compares like with like.
    """
    stalled = max(1, scale.clients_w2 // 10)
    calm: list[Measured] = []
    stuck: list[Measured] = []
    cpu: list[float] = []
    for _ in range(scale.turns):
        for into, number in ((calm, 0), (stuck, stalled)):
            with Server("ours") as server:
                text = channels(scale.channels)
                with Load(server.port, clients=scale.clients_w2, text=text, stalled=number) as load:
                    server.say(f"publish {scale.channels} {scale.rate_w2} {MESSAGE_BYTES}")
                    load.measure(min(0.5, scale.window_s))
                    before = server.cpu_s
                    into.append(load.measure(2 * scale.window_s))
                    if not number:
                        cpu.append((server.cpu_s - before) / into[-1].seconds)
    what = f"{scale.clients_w2} clients x {scale.channels} channels"
    yield Figure(
        workload="W2", name=f"{what}, deliveries", ours=median([one.per_s for one in calm]), unit="/s",
        comparators=((STARLETTE, _starlette_limit(scale)),), least=1_000_000, full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name=f"{what}, p99", ours=median([one.p99_us for one in calm]) / 1000, unit="ms",
        most=25, full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name=f"{what}, p50", ours=median([one.p50_us for one in calm]) / 1000, unit="ms",
        full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name="CPU of the server", ours=100 * median(cpu), unit="%", full=scale.full
    )
    healthy = scale.clients_w2 - stalled
    yield Figure(
        workload="W3", name=f"{stalled} of {scale.clients_w2} stalled, p99 of the others",
        ours=median([one.p99_us for one in stuck]) / 1000, unit="ms",
        comparators=(("W2", median([one.p99_us for one in calm]) / 1000),), of="W2", most=1.2,
        full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W3", name="deliveries to each of the others",
        ours=median([one.per_s for one in stuck]) / healthy, unit="/s",
        comparators=(("W2", median([one.per_s for one in calm]) / scale.clients_w2),), full=scale.full,
    )  # fmt: skip


def w2_jobs(scale: Scale) -> Iterator[Figure]:
    """W2 beside two backtests and an optimisation of the same server, in turns with W2 alone.

    The server keeps one core and the load client the other; the workers, which are the server's children and stand
    back behind it, may run on both, as they do on a machine of two cores. So the load client, which takes the times,
    has to share its core as well, and what it waits for it counts as ours. The last figures prove that they worked, and
    show how long the two stood ready without a core: other work on the machine makes them wait, too, and longer beside
    jobs, because a core that a worker keeps busy takes nothing over from the other one.
    """
    text = channels(scale.channels)
    alone: list[Measured] = []
    beside: list[Measured] = []
    busy: list[float] = []
    queued: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name), long=scale.bars, short=scale.bars // 10)
        for _ in range(scale.turns):
            for into, working in ((alone, False), (beside, True)):
                with (
                    Server("ours") as server,
                    Load(server.port, clients=scale.clients_w2, text=text) as load,
                ):
                    workers = _begin(server, name) if working else []
                    server.say(f"publish {scale.channels} {scale.rate_w2} {MESSAGE_BYTES}")
                    load.measure(min(0.5, scale.window_s))
                    before = sum(map(spent, workers))
                    ready = waited(server.pid) + waited(load.pid)
                    into.append(load.measure(2 * scale.window_s))
                    ready = waited(server.pid) + waited(load.pid) - ready
                    queued[working].append(1000 * ready / into[-1].seconds)
                    if working:
                        busy.append((sum(map(spent, workers)) - before) / into[-1].seconds)
    what = f"{scale.clients_w2} clients x {scale.channels} channels beside 3 jobs"
    yield Figure(
        workload="W2", name=f"{what}, p99", ours=median([one.p99_us for one in beside]) / 1000, unit="ms",
        comparators=(("W2", median([one.p99_us for one in alone]) / 1000),), of="W2", most=1.25,
        full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name=f"{what}, p50", ours=median([one.p50_us for one in beside]) / 1000, unit="ms",
        comparators=(("W2", median([one.p50_us for one in alone]) / 1000),), full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name=f"{what}, deliveries", ours=median([one.per_s for one in beside]), unit="/s",
        comparators=(("W2", median([one.per_s for one in alone])),), full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="W2", name="CPU of the workers of these jobs", ours=100 * median(busy), unit="%",
        full=scale.full,
    )  # fmt: skip
    if not math.isnan(queued[True][0]):
        yield Figure(
            workload="W2", name="server and load client ready, without a core", ours=median(queued[True]), unit="ms/s",
            comparators=(("W2", median(queued[False])),), full=scale.full,
        )  # fmt: skip


def _begin(server: Server, folder: str) -> list[int]:
    """Set the jobs going, and give the workers once each has ended something."""
    server.say(f"work {folder}")
    loosened: list[int] = []
    while True:
        told = server.ask("stats")
        for pid in told["workers"]:
            if pid not in loosened:
                unpin(pid)
                loosened.append(pid)
        if all(told["done"].values()):
            return loosened
        time.sleep(0.02)


def _starlette_limit(scale: Scale) -> float:
    """What the usual broadcast delivers to the same clients, without a pause."""
    with (
        Server("starlette") as server,
        Load(server.port, clients=scale.clients_w2) as load,
    ):
        server.say(f"publish {scale.channels} 0 {MESSAGE_BYTES}")
        load.measure(min(0.5, scale.window_s))
        return load.measure(scale.window_s).per_s


def w5(scale: Scale) -> Iterator[Figure]:
    """Resident memory of a connection that does nothing."""
    with Server("ours") as server:
        with Load(server.port, clients=10, text=channels(1)):
            time.sleep(0.2)
        before = server.resident
        with Load(server.port, clients=scale.idle, text=channels(1)) as load:
            seen = load.measure(0.5)
            if seen.open != scale.idle:
                raise RuntimeError(f"{seen.open} of {scale.idle} connections are open")
            each = (server.resident - before) / scale.idle / 1024
    yield Figure(
        workload="W5", name=f"{scale.idle:,} idle connections, each", ours=each, unit="KiB", most=40,
        full=scale.full,
    )  # fmt: skip
