"""kill -9 under load: nothing acknowledged is lost, nothing is doubled (promise O1, reliability 8.4).

Three clients place, amend nothing, cancel some, and repeat whatever they have no answer for. The server dies at random
moments and comes back on the same journal. It says nothing about fsync: the power cuts of `tests/store` do.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from realtime.desk.checkpoint import beside, look
from realtime.store import verify
from tests.flows.process import Process, Talk, talk
from tests.prices import price
from tests.promises import LONG


CLIENTS = 3
FIRST = {"fast": 3, "whole": 200 if LONG else 20}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Ledger:
    """What the clients were told.

    Attributes:
        far: A price at which an order to buy rests, over all deaths the same.
    """

    def __init__(self) -> None:
        self.address = ""
        self.far = ""
        self.up = asyncio.Event()
        self.ending = False
        self.acked: dict[str, dict[str, Any]] = {}
        self.canceled: set[str] = set()
        self.repeats = 0


async def trade(number: int, ledger: Ledger, chance: random.Random) -> None:
    """Trade through every death."""
    todo: list[tuple[str, dict[str, Any]]] = []
    count = 0
    while not ledger.ending or todo:
        await ledger.up.wait()
        with suppress(ConnectionClosed, OSError, TimeoutError):
            async with talk(f"{ledger.address}?client=c{number}") as line:
                if not ledger.far:
                    ledger.far = price(await line.result("market.ticker", symbol="BTC/USDT"))
                while not ledger.ending or todo:
                    if not todo:
                        count += 1
                        todo.append(next_command(f"k{number}-{count}", chance, ledger.far))
                    else:
                        ledger.repeats += 1
                    if await told(line, ledger, *todo[0]):
                        todo.pop(0)


def next_command(name: str, chance: random.Random, far: str) -> tuple[str, dict[str, Any]]:
    """A market order that trades, or a limit order far away that rests."""
    order: dict[str, Any] = {
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "market",
        "amount": "0.00020",
        "client_order_id": name,
    }
    if chance.random() < 0.5:
        order |= {"type": "limit", "price": far}
    return "order.place", order


async def told(line: Talk, ledger: Ledger, op: str, args: dict[str, Any]) -> bool:
    """Send a command; whether it is answered for good."""
    reply = await line.call(op, **args)
    name = args["client_order_id"]
    if reply["ok"]:
        ledger.acked[name] = reply["result"]
        if reply["result"]["status"] == "open" and hash(name) % 3 == 0:
            canceled = await line.call("order.cancel", client_order_id=name)
            if canceled["ok"]:
                ledger.canceled.add(name)
        return True
    code = reply["error"]["code"]
    if code in {"outcome_unknown", "venue_unavailable", "busy", "internal"}:
        await asyncio.sleep(0.2)
        return False
    # Orders that are refused for themselves, at the prices of the day, would prove nothing.
    refused = {code, *reply["error"].get("details", {}).get("failed", ())}
    assert not refused & {"invalid", "price_band"}, reply
    ledger.acked[name] = {"refused": code}
    return True


async def deaths(
    data: Path,
    count: int,
    check: Callable[[Ledger, Talk], Awaitable[None]],
    *,
    lives: tuple[float, float] = (0.2, 0.6),
    **more: str,
) -> None:
    """Kill a server so many times, after lives of so many seconds, then look at what is left."""
    chance = random.Random(f"kill {count}")
    ledger = Ledger()
    env = {
        "REALTIME_PAPER__BALANCES": '{"USDT": 100000000}',
        "REALTIME_RECONCILE__ABSENT_S": "1.0",
        **more,
    }
    async with asyncio.timeout(30 + 10 * count), asyncio.TaskGroup() as group:
        clients = [
            group.create_task(trade(number, ledger, chance), name=f"client {number}")
            for number in range(CLIENTS)
        ]
        for _ in range(count):
            server = await asyncio.to_thread(Process.serve, data, **env)
            with server:
                ledger.address = server.socket
                ledger.up.set()
                await asyncio.sleep(chance.uniform(*lives))
                ledger.up.clear()
                server.kill()
        server = await asyncio.to_thread(Process.serve, data, **env)
        with server:
            ledger.address = server.socket
            ledger.ending = True
            ledger.up.set()
            async with talk(server.socket) as line:
                await asyncio.wait(clients)
                await check(ledger, line)
            assert server.terminate() == 0
    assert verify(data).ok
    print(
        f"O1: {count} kill -9, {len(ledger.acked)} commands acknowledged, {ledger.repeats} sent again: 0 lost, 0 doubled"
    )


async def everything_is_there(ledger: Ledger, line: Talk) -> None:
    bought = Decimal(0)
    ids: set[str] = set()
    for name, result in ledger.acked.items():
        if "refused" in result:
            continue
        row = await line.result("order.get", client_order_id=name)
        assert row["id"] == result["id"]
        assert Decimal(row["filled"]) >= Decimal(result["filled"])
        assert name not in ledger.canceled or row["status"] == "canceled"
        assert not row["external"]
        for fill in row["fills"]:
            assert fill["id"] not in ids
            ids.add(fill["id"])
            bought += Decimal(fill["amount"]) - Decimal(fill["fee"]["cost"])
    held = (await line.result("position.list"))["positions"]
    assert sum(Decimal(p["amount"]) for p in held) == bought
    strangers = [o for o in (await line.result("order.list", limit=500))["orders"] if o["external"]]
    assert strangers == []
    resolved = await line.result("event.list", type="order_resolved", limit=500)
    commands = [event["data"]["command"] for event in resolved["events"]]
    assert len(commands) == len(set(commands))


async def test_a_few_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    """Promise O1, a taste of it."""
    await deaths(tmp_path / "j.db", FIRST["fast"], everything_is_there)


@pytest.mark.slow
@pytest.mark.promise("O1")
async def test_many_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    await deaths(tmp_path / "j.db", FIRST["whole"], everything_is_there)


@pytest.mark.slow
@pytest.mark.promise("O1")
async def test_kills_between_and_within_checkpoints_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each life makes backups without a pause and a process that condenses them; some outlive their server."""
    data = tmp_path / "j.db"
    # Nobody reads what it says, and a full pipe would stop it.
    more = {"REALTIME_STORE__BACKUP_HOURS": "0.0002", "REALTIME_LOG__LEVEL": "critical"}

    await deaths(data, 5, everything_is_there, lives=(1.0, 3.0), **more)

    found = look(beside(data))
    assert found is not None
    assert found.seq > 100
