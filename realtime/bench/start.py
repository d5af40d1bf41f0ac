"""Starting on a journal with a past: the whole of it, and from its checkpoint."""

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from realtime.bench.fanout import Scale
from realtime.bench.figures import Figure
from realtime.bench.orders import AMOUNTS, ENVIRONMENT, READY_S, Peer, RealServer
from realtime.desk.checkpoint import beside
from realtime.store.chain import Walk
from realtime.store.driver import Sqlite
from realtime.store.journal import Journal, Opening
from realtime.store.recovery import reading
from realtime.store.rows import Pending


ORDERS: Final = 100_000
DAYS: Final = 10.0
"""What they are stretched over: memory lets go of what ended more than an hour ago."""
PAGE: Final = 2_000
TIME: Final = re.compile(rb"\b(?:1[5-9]|2\d)\d{17}\b")
"""A time in ns in a row."""
WINDOW: Final = 64
"""Orders under way while the past is made."""


def seconds(folder: Path) -> float:
    """Start a server on a journal and end it: processor time until its banner, imports included [s].

    Processor time and not that of the clock: other work on the machine is no part of it.
    """
    with RealServer(folder, ENVIRONMENT) as server:
        return server.cpu_s


def fill(port: int, count: int) -> None:
    """Place so many market orders, each as soon as an earlier one is answered.

    Raises:
        RuntimeError: One was refused.
    """
    symbols = list(AMOUNTS)
    sent = answered = 0
    with Peer(port) as peer:
        while answered < count:
            while sent < count and sent - answered < WINDOW:
                symbol = symbols[sent % len(symbols)]
                side = "buy" if sent // len(symbols) % 2 == 0 else "sell"
                order = {
                    "symbol": symbol,
                    "side": side,
                    "type": "market",
                    "amount": AMOUNTS[symbol],
                }
                peer.send(
                    {"op": "order.place", "id": sent, "client_order_id": f"p-{sent}", **order}
                )
                sent += 1
            for message in peer.receive():
                if message["type"] == "reply":
                    answered += 1
                    if not message["ok"]:
                        raise RuntimeError(message["error"]["message"])


def stretch(journal: Path, days: float) -> None:
    """Write a journal anew, as if what is in it had happened over so many days, up to now."""
    made = journal.with_name("stretched.db")
    with reading(journal) as connection:
        walk = Walk(connection)
        first = last = 0
        while rows := walk.page(PAGE):
            first, last = first or rows[0].ts, rows[-1].ts
        factor, end = days * 86_400e9 / (last - first), time.time_ns()

        def moved(found: re.Match[bytes]) -> bytes:
            return b"%d" % (end - int((last - int(found[0])) * factor))

        into = Journal(Opening(path=made, driver=Sqlite(), new_id=lambda: "j-bench"))
        walk = Walk(connection)
        while rows := walk.page(PAGE):
            into.commit(
                [
                    Pending(
                        row.seq,
                        end - int((last - row.ts) * factor),
                        row.kind,
                        row.key,
                        TIME.sub(moved, row.body),
                        None,
                        (),
                    )
                    for row in rows
                ]
            )
        into.close(clean=True)
    for side in ("-wal", "-shm"):
        journal.with_name(journal.name + side).unlink(missing_ok=True)
    made.replace(journal)


def start(scale: Scale) -> Iterator[Figure]:
    """Start on a journal of 100,000 market orders of ten days, with and without its checkpoint."""
    count = ORDERS if scale.full else 3_000
    with tempfile.TemporaryDirectory(prefix="realtime-bench-") as name:
        folder = Path(name)
        empty = min(seconds(folder) for _ in range(2))
        with RealServer(folder, ENVIRONMENT) as server:
            time.sleep(READY_S)
            fill(server.port, count)
        journal = folder / "bench.db"
        stretch(journal, DAYS)
        kept = beside(journal)
        kept.unlink(missing_ok=True)
        whole = seconds(folder)
        size = kept.stat().st_size if kept.exists() else 0
        after = min(seconds(folder) for _ in range(3))
    of = f"{count:,} orders"
    yield Figure(
        workload="start", name=f"processor time after {of}, from the checkpoint", ours=after, unit="s",
        comparators=(("empty journal", empty), ("whole journal", whole)), most=3, full=scale.full,
    )  # fmt: skip
    yield Figure(
        workload="start", name=f"checkpoint of {of}", ours=size / 1e6, unit="MB", full=scale.full
    )
