"""The client against the real server as a process, which is killed and started again under it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from realtime.client import Book, Client, CommandError


PATIENCE = 40.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextmanager
def server(data: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `realtime serve` and give the process and its address; kill -9 at the end."""
    command = [sys.executable, "-m", "realtime", "serve", "--port", str(port), "--data", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=data.parent
    ) as process:
        try:
            assert process.stdout is not None
            lines = (line.split() for line in process.stdout)
            yield process, next(words[1] for words in lines if words[:1] == ["socket"])
        finally:
            process.kill()


async def ready(me: Client) -> None:
    """Wait until the server would take an order."""
    async with await me.subscribe("ticker:BTC/USDT") as ticks:
        async for _ in ticks:
            seen = await me.preview("BTC/USDT", "buy", type="market", amount="0.001")
            if seen["valid"]:
                return


async def test_a_trading_client_lives_on_over_a_kill_of_the_server(tmp_path: Path) -> None:
    data = tmp_path / "journal.db"
    with server(data) as (process, url):
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        async with asyncio.timeout(PATIENCE), Client(url, client="bot-1") as me:
            events = await me.subscribe("orders", "fills", "orderbook:BTC/USDT?depth=5")
            await ready(me)
            bought = await me.place("BTC/USDT", "buy", type="market", amount="0.001")
            await me.until(bought.at)
            async for event in events:
                if event.channel == "fills" and event.kind == "update":
                    break
            fills = me.state("fills")
            book = me.state(events.channels[2])
            assert isinstance(book, Book)
            below = (Decimal(book.top(1)[0][0][0]) * Decimal("0.98")).quantize(Decimal("0.01"))
            rests = await me.place("BTC/USDT", "buy", amount="0.001", price=below)
            before = me.stream("fills")
            assert before is not None
            position = before.since
            process.kill()
            with server(data, port):
                again = await me.place(
                    "BTC/USDT",
                    "buy",
                    amount="0.001",
                    price=below,
                    client_order_id=str(rests["client_order_id"]),
                )
                await me.call("ping")
                async for event in events:
                    if event.kind == "snapshot" and event.channel == "orders" and event.state:
                        break
                resting = me.state("orders")
                found = await me.get(str(bought["client_order_id"]))
                canceled = await me.cancel(str(rests["client_order_id"]))
                with pytest.raises(CommandError) as error:
                    await me.place("NO/SUCH", "buy", amount="1", price="1")
                connections, after = me.connections, me.stream("fills")

    assert len(fills) >= 1  # type: ignore[arg-type]  # a log's state is a sequence
    assert again["duplicate"] is True
    assert again["id"] == rests["id"]
    assert rests["id"] in resting  # type: ignore[operator]  # rows by id
    assert found["status"] == "filled"
    assert canceled["status"] == "canceled"
    assert error.value.outcome == "not_done"
    assert connections == 2
    assert after is not None
    assert position is not None
    assert after.since == position  # the journal's log went on where it was
