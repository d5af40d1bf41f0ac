"""What the document of the client says, carried out: every block, against one real server."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime import client
from realtime.client import Client
from tests.client.kit import client as client_of, hub
from tests.flows.process import Process


DOCUMENT = Path(__file__).parents[2] / "docs" / "client.md"
PATIENCE = 120.0
MINE = "ws://127.0.0.1:8000/ws"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with Process.serve("") as made:
        yield made


@pytest.fixture(scope="module")
def said(server: Process) -> dict[str, Any]:
    """All that the blocks define, one after the other, for this server."""
    names: dict[str, Any] = {"__name__": "docs"}
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert any(MINE in block for block in blocks)
    for block in blocks:
        # The document is ours, and this is what its readers do with it.
        exec(block.replace(MINE, server.socket), names)
    return names


@asynccontextmanager
async def trading(server: Process) -> AsyncIterator[Client]:
    """A client of the server, from when it would take an order."""
    async with asyncio.timeout(PATIENCE), Client(server.socket, client="docs") as me:
        async with await me.subscribe("ticker:BTC/USDT") as ticks:
            async for _ in ticks:
                seen = await me.preview("BTC/USDT", "buy", type="market", amount="0.001")
                if seen["valid"]:
                    break
        yield me


async def test_a_connection_says_where_it_is(
    said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.timeout(PATIENCE):
        await said["main"]()

    assert capsys.readouterr().out == "paper active\n"


async def test_channels_and_the_book_are_read(
    server: Process, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with trading(server) as me:
        await said["watch"](me)
        await said["spread"](me)
        left = [me.stream(name) for name in ("ticker:BTC/USDT", "orderbook:BTC/USDT?depth=25")]
    *_, first, second = capsys.readouterr().out.splitlines()
    bid, ask, resyncs = second.split()

    assert re.fullmatch(r"(snapshot|update) [\d.]+", first)
    assert float(bid) < float(ask)
    assert resyncs == "0"
    assert left == [None, None]


async def test_orders_are_placed_and_fills_go_on(
    server: Process, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with trading(server) as me:
        await said["trade"](me)
        rested, canceled, refused = capsys.readouterr().out.splitlines()
        wish = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}
        row = await said["surely"](me, "docs-1", **wish)
        await said["keep_fills"](me)

    assert (rested, canceled) == ("open", "canceled")
    assert re.match(r"[a-z_]+ .*1000000", refused)
    assert row["status"] == "filled"
    assert capsys.readouterr().out == "True 0\n"


async def test_a_deadman_is_armed_and_switched_off(
    server: Process, said: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with trading(server) as me:
        await said["guarded"](me)

    assert 0 < float(capsys.readouterr().out) <= 61_000


async def test_an_outcome_that_is_unknown_is_looked_up(said: dict[str, Any]) -> None:
    """What no healthy server says: the order is out, and the venue does not answer."""
    rows = iter(["unknown", "unknown", "open"])
    refusal = {"code": "outcome_unknown", "message": "no answer", "outcome": "unknown"}
    async with hub() as server:
        server.feed("orders", {"set": []})
        server.answers["order.place"] = lambda _: {"ok": False, "error": refusal}
        server.answers["order.get"] = lambda _: {"result": {"status": next(rows)}}
        async with client_of(server) as me, asyncio.timeout(PATIENCE):
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(said["surely"](me, "docs-2", symbol="S", side="buy"))
                await server.until(lambda: len(server.ops("order.get")) == 2)
                await server.publish("orders", {"set": [{"id": "o-1", "status": "open"}]})
            refusal["outcome"] = "not_done"
            with pytest.raises(client.CommandError, match="outcome_unknown"):
                await said["surely"](me, "docs-3", symbol="S", side="buy")

    assert looking.result() == {"status": "open"}
    assert server.ops("order.place")[0]["client_order_id"] == "docs-2"


def test_it_is_short_enough_to_be_read() -> None:
    assert len(DOCUMENT.read_text().splitlines()) <= 150
