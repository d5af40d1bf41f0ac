"""What the tests of the store share."""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from realtime.store import Projection, Row, Sizes, Store


def ticking(start: int = 1_790_000_000_000_000_000, step: int = 1_000_000) -> Callable[[], int]:
    """A wall clock that moves one step [ns] with each look."""
    return itertools.count(start, step).__next__


def ids(*names: str) -> Callable[[], str]:
    """An id factory that gives the names in turn."""
    return iter(names or ("j1",)).__next__


async def opened(path: Path | None, **options: Any) -> Store:
    options.setdefault("now", ticking())
    options.setdefault("new_id", ids("j1", "j2", "j3"))
    # Sixteen megabytes of ballast beside each of thousands of journals would fill a disk.
    options.setdefault("sizes", Sizes(ballast=4096))
    return await Store.open(path, **options)


async def until(done: Callable[[], object]) -> None:
    """Wait for something that the writer's thread does."""
    while not done():  # noqa: ASYNC110 - a thread sets no event of asyncio
        await asyncio.sleep(0.0005)


async def settled(store: Store) -> None:
    """Wait until all rows are durable, or nothing can be written."""
    await until(lambda: not store.busy)


def fact(number: int, **more: object) -> bytes:
    return orjson.dumps({"number": number, **more})


def project(row: Row) -> Sequence[Projection]:
    """Projections of the facts that `facts` makes, from the row alone."""
    body = orjson.loads(row.body)
    symbol = body.get("symbol")
    match row.kind:
        case "intent" | "outcome":
            ended = int(row.kind == "outcome")
            cols = {"symbol": symbol, "client_order_id": f"c-{row.key}", "ended": ended}
            return [Projection("orders", row.key, body["ts"], cols, row.body)]
        case "fill":
            cols = {"symbol": symbol, "order_id": row.key}
            event = orjson.dumps({"type": "trade_placed", "order": row.key})
            return [
                Projection("events", f"e-{row.seq}", body["ts"], {"type": "trade_placed"}, event),
                Projection("fills", f"t-{row.seq}", body["ts"], cols),
            ]
        case "alert":
            return [Projection("alerts", row.key, body["ts"], {"level": body["level"]})]
        case "ack":
            return [Projection("acks", row.key, body["ts"], {"acked_by": "alice"}, b"{}")]
        case "day":
            return [Projection("days", row.key, body["ts"])]
        case _:
            return []


def facts(count: int) -> Iterator[tuple[str, str, bytes]]:
    """A small life of many orders, as (kind, key, body)."""
    for number in range(count):
        symbol = ("BTC/USDT", "ETH/USDT", "SOL/USDT")[number % 3]
        body = fact(number, symbol=symbol, ts=number, level=("info", "error")[number % 2])
        order = number // 5
        match number % 5:
            case 0:
                yield "intent", f"o-{order}", body
            case 1:
                yield "fill", f"o-{order}", body
            case 2:
                yield "outcome", f"o-{order}", body
            case 3:
                yield "alert", f"a-{order}", body
            case _:
                yield ("ack" if order % 2 else "day"), f"{'a' if order % 2 else 'd'}-{order}", body


class Life:
    """Appends facts to a store and keeps what was acknowledged."""

    store: Store

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.bodies: dict[int, bytes] = {}

    def add(self, kind: str, key: str, body: bytes, *, safety: bool = False) -> int:
        row = Row(self.store.seq + 1, 0, kind, key, body)
        seq = self.store.append(kind, key, body, self.acked.append, project(row), safety=safety)
        assert seq == row.seq
        self.bodies[seq] = body
        return seq
