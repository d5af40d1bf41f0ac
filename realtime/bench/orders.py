"""W4: from `order.place` to its acknowledgement and to its fill, on the real server with the journal on."""

import math
import os
import re
import select
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Self

import orjson

from realtime.bench.build import NoCompilerError, compiled
from realtime.bench.fanout import Scale
from realtime.bench.figures import Figure, median
from realtime.bench.processes import LOAD_CPU, SERVER_CPU, Child, Load, pin


RATE: Final = 2_000
"""Orders per second offered."""
EASY: Final = 500
"""Orders per second of a busy hour, well within what it can do."""
CONNECTIONS: Final = 4
AMOUNTS: Final = {
    "BTC/USDT": "0.0002",
    "ETH/USDT": "0.005",
    "LTC/USDT": "0.2",
    "XRP/USDT": "20",
    "ADA/USDT": "30",
    "SOL/USDT": "0.2",
}
"""Ten to thirty dollars each, above the least an order may cost at any date: the path is measured, not the depth of the book."""
LIMITS: Final = {
    # The gate judges every order by all its rules; only those that a person's pace trips are wider.
    "order_rate": 1_000_000,
    "order_burst": 1_000_000,
    "order_rate_minute": 10_000_000,
    "duplicate_order_ms": None,
    "max_position_size": "1",
    "max_open_positions": 100,
    "max_open_orders": 100_000,
    "max_open_orders_symbol": 100_000,
    "repeated_execution": None,
    "loss_streak": None,
}
ENVIRONMENT: Final = {
    "REALTIME_PAPER__LATENCY_MS": "0",
    "REALTIME_LIMITS__ORDERS_PER_S": "1000000",
    "REALTIME_LIMITS__COMMANDS_PER_S": "1000000",
    "REALTIME_SERVER__MAX_CONNECTIONS": "20000",
    "REALTIME_SERVER__ACCEPT_PER_S": "100000",
    "REALTIME_RISK__LIMITS": orjson.dumps(LIMITS).decode(),
    "REALTIME_PAPER__BALANCES": orjson.dumps(
        {"USDT": "100000000"}
        | {
            symbol.partition("/")[0]: str(1_000 * Decimal(amount))
            for symbol, amount in AMOUNTS.items()
        }
    ).decode(),
}
COSTS_US: Final = {"C, bare": 0, "C, 200 us": 200}
"""What the same orders take of a server in C that writes and fdatasyncs them and does nothing else, or computes for so long
for each [us]: what this machine allows whoever keeps a journal."""
READY_S: Final = 2.5
"""Until the first portfolio of the day is there, without which the gate cannot judge a loss."""


class RealServer(Child):
    """`realtime serve` on a free port, with a journal in `folder`."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        command = ["serve", "--port", "0", "--data", str(folder / "bench.db")]
        # Nobody's settings: an empty file, so that one which lies in the folder of whoever measures is not read.
        config = folder / "bench.toml"
        config.touch()
        command += ["--config", str(config)]
        super().__init__(
            [sys.executable, "-m", "realtime", *command], cpu=SERVER_CPU, environment=environment
        )
        while (found := re.search(r"ws://[^/]*:(\d+)/", self.hear())) is None:
            pass
        self.port = int(found.group(1))


class Taker(Child):
    """The bare order taker in C; see `taker.c`."""

    def __init__(self, file: Path, cost_us: int) -> None:
        super().__init__([compiled("taker"), file, str(cost_us)], cpu=SERVER_CPU)
        self.port = int(self.hear())


class Peer:
    """A WebSocket client of a few lines; reads only when told to."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n".encode()
        )
        self._held = b""
        while b"\r\n\r\n" not in self._held:
            self._held += self.sock.recv(65_536)
        head, _, self._held = self._held.partition(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(head.decode())

    def send(self, message: Mapping[str, object]) -> None:
        """Send one message."""
        self._frame(0x81, orjson.dumps(message))

    def _frame(self, first: int, body: bytes) -> None:
        size = len(body)
        head = (
            bytes([first, 0x80 | size]) if size < 126 else bytes([first, 0xFE]) + size.to_bytes(2)
        )
        self.sock.sendall(head + b"\0\0\0\0" + body)

    def receive(self) -> Iterator[dict[str, Any]]:
        """What one read brings."""
        self._held += self.sock.recv(1 << 18)
        data, at = self._held, 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if len(data) < start + size:
                break
            body = data[start : start + size]
            match data[at] & 15:
                case 1:
                    yield orjson.loads(body)
                case 9:
                    self._frame(0x8A, body)
                case 8:
                    raise RuntimeError(f"closed: {body!r}")
                case _:
                    pass
            at = start + size
        self._held = data[at:]

    def ask(self, message: Mapping[str, object]) -> dict[str, Any]:
        """Send a message with an id and wait for its reply."""
        self.send(message)
        while True:
            for got in self.receive():
                if got.get("type") == "reply" and got.get("id") == message["id"]:
                    return got

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Latencies of one run [s], each from the moment an order was due to be sent."""

    acks: Sequence[float]
    fills: Sequence[float]
    refused: Counter[str]
    sent: int
    seconds: float


def place(port: int, count: int, rate: float) -> Run:
    """Send market orders at a steady rate, whatever the server does, and note when answers come.

    Latency counts from when an order was due, not from when this client got round to it.
    """
    with ExitStack() as stack:
        watcher = stack.enter_context(Peer(port))
        if not watcher.ask({"op": "subscribe", "id": 1, "channels": ["fills"]})["ok"]:
            raise RuntimeError("no fills")
        peers = [stack.enter_context(Peer(port)) for _ in range(CONNECTIONS)]
        everyone = {peer.sock: peer for peer in (*peers, watcher)}
        symbols = list(AMOUNTS)
        tag = f"b{os.getpid()}-{time.monotonic_ns() % 10**9}-"
        due: dict[str, float] = {}
        acks: list[float] = []
        fills: dict[str, float] = {}
        refused: Counter[str] = Counter()
        began = time.monotonic()
        sent = answered = 0
        deadline = began + count / rate + 5
        while (answered < count or len(fills) < len(acks)) and time.monotonic() < deadline:
            now = time.monotonic()
            while sent < count and began + sent / rate <= now:
                symbol = symbols[sent % len(symbols)]
                name = f"{tag}{sent}"
                due[name] = began + sent / rate
                peers[sent % CONNECTIONS].send(
                    {
                        "op": "order.place",
                        "id": name,
                        "client_order_id": name,
                        "symbol": symbol,
                        "side": "buy" if sent // len(symbols) % 2 == 0 else "sell",
                        "type": "market",
                        "amount": AMOUNTS[symbol],
                    }
                )
                sent += 1
            wait = began + sent / rate - time.monotonic() if sent < count else 0.05
            for sock in select.select(list(everyone), [], [], max(0.0, wait))[0]:
                for message in everyone[sock].receive():
                    at = time.monotonic()
                    if message.get("type") == "reply" and message.get("id") in due:
                        answered += 1
                        if message["ok"]:
                            acks.append(at - due[message["id"]])
                        else:
                            refused[message["error"]["code"]] += 1
                    elif message.get("channel") == "fills" and message["type"] == "update":
                        for entry in message["data"]:
                            name = entry["client_order_id"]
                            if name in due:
                                fills.setdefault(name, at - due[name])
        return Run(
            acks=acks,
            fills=list(fills.values()),
            refused=refused,
            sent=sent,
            seconds=time.monotonic() - began,
        )


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile; nan of nothing."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@contextmanager
def real_server() -> Iterator[RealServer]:
    """`realtime serve` with a journal in a folder that is thrown away."""
    with (
        tempfile.TemporaryDirectory(prefix="realtime-bench-") as folder,
        RealServer(Path(folder), ENVIRONMENT) as server,
    ):
        yield server


@contextmanager
def takers() -> Iterator[dict[str, Taker]]:
    """The order takers in C, by name; none where there is no compiler."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="realtime-bench-")))
        found: dict[str, Taker] = {}
        with suppress(NoCompilerError):
            for name, cost_us in COSTS_US.items():
                found[name] = stack.enter_context(Taker(folder / f"{cost_us}", cost_us))
        yield found


def w4(scale: Scale) -> Iterator[Figure]:
    """Orders at a rate that leaves the server time, and at 2,000 a second; each acknowledged and filled.

    All take turns, those in C at the higher rate, as the contestants of W1 do, and a figure is the median of the turns: a
    neighbour of a virtual machine slows a core down by half for seconds. What was refused or not filled is counted over all.
    """
    rate = RATE if scale.full else 200
    easy: list[Run] = []
    hard: list[Run] = []
    with takers() as others, real_server() as server:
        bare: dict[str, list[Run]] = {name: [] for name in others}
        before = os.sched_getaffinity(0)
        pin(0, LOAD_CPU)
        try:
            time.sleep(READY_S)
            place(server.port, min(200, scale.orders), min(200, EASY))
            for _ in range(scale.turns):
                easy.append(place(server.port, scale.orders * EASY // RATE, EASY))
                hard.append(place(server.port, scale.orders, rate))
                for name, taker in others.items():
                    bare[name].append(place(taker.port, scale.orders, rate))
        finally:
            os.sched_setaffinity(0, before)
    yield from _times(easy, f"order.place at {EASY:,}/s", scale)
    what = f"order.place at {rate:,}/s"
    yield Figure(
        workload="W4", name=f"{what}, acknowledged", ours=median([len(run.acks) / run.seconds for run in hard]),
        unit="/s", least=0.98 * rate * (scale.orders / rate) / (scale.orders / rate + 0.05), full=scale.full,
    )  # fmt: skip
    yield from _times(hard, what, scale, bounds=(2.0, 15.0), bare=bare)
    sent, acked = sum(run.sent for run in hard), sum(len(run.acks) for run in hard)
    yield Figure(
        workload="W4", name="orders refused, of those sent", ours=100 * (sent - acked) / sent, unit="%", most=0,
        full=scale.full,
    )  # fmt: skip
    for code, count in sum((run.refused for run in hard), Counter[str]()).most_common():
        yield Figure(
            workload="W4", name=f"orders refused with {code}, of those sent", ours=100 * count / sent, unit="%",
            full=scale.full,
        )  # fmt: skip
    yield Figure(
        workload="W4", name="orders filled", ours=100 * sum(len(run.fills) for run in hard) / max(1, acked), unit="%",
        least=100, full=scale.full,
    )  # fmt: skip


def _times(
    runs: Sequence[Run],
    what: str,
    scale: Scale,
    bounds: tuple[float | None, float | None] = (None, None),
    bare: Mapping[str, Sequence[Run]] | None = None,
) -> Iterator[Figure]:
    """How long acknowledgements and fills took, p50 and p99 with their bounds [ms]; medians of the runs."""
    for name, times in (("ack", attrgetter("acks")), ("fill event", attrgetter("fills"))):
        for share, most in zip((0.50, 0.99), bounds, strict=True):
            yield Figure(
                workload="W4", name=f"{what} to {name}, p{share * 100:.0f}", ours=_middle(map(times, runs), share), unit="ms",
                comparators=tuple(
                    (other, _middle(map(times, own), share)) for other, own in (bare or {}).items()
                ),
                most=most, full=scale.full,
            )  # fmt: skip


def _middle(turns: Iterable[Sequence[float]], share: float) -> float:
    return median([percentile(times, share) * 1000 for times in turns])


def w5_whole(scale: Scale) -> Iterator[Figure]:
    """Resident memory of an idle connection on `realtime serve`, subscribed to one quiet channel."""
    text = orjson.dumps({"op": "subscribe", "id": 1, "channels": ["status"]}).decode()
    with real_server() as server:
        with Load(server.port, clients=10, text=text):
            time.sleep(0.2)
        before = server.resident
        with Load(server.port, clients=scale.idle, text=text) as load:
            seen = load.measure(0.5)
            if seen.open != scale.idle:
                raise RuntimeError(f"{seen.open} of {scale.idle} connections are open")
            each = (server.resident - before) / scale.idle / 1024
    yield Figure(
        workload="W5", name=f"{scale.idle:,} idle connections of `realtime serve`, each", ours=each,
        unit="KiB", most=40, full=scale.full,
    )  # fmt: skip
