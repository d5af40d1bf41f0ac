"""Both reference clients as they are printed in the protocol document, 6.4 (conformance item 26)."""

import asyncio
import functools
import random
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from tests.client.kit import Hub, hub
from tests.flows.process import Process


DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
PATIENCE = 20.0
FLAG = "--experimental-websocket"
BOOK = "orderbook:A?depth=5&rate=100"
NAMES = ("ticker:A", "orders", "fills", BOOK)
REPORT = """
run(process.argv[2], JSON.parse(process.argv[3]), (name, message, state) =>
  console.log(JSON.stringify([name, state instanceof Map ? [...state] : state])));
"""

States = dict[str, Any]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def printed(language: str) -> str:
    """The client in a language, as the document has it."""
    section = DOCUMENT.read_text().partition("### 6.4 ")[2]
    found = re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@functools.cache
def node() -> str | None:
    """Node.js, if there is one that speaks WebSocket (20.10 and later)."""
    found = shutil.which("node")
    if found is None:
        return None
    asked = [found, FLAG, "-p", "typeof WebSocket"]
    said = subprocess.run(asked, check=False, capture_output=True, text=True, timeout=PATIENCE)
    return found if said.stdout == "function\n" else None


def both() -> None:
    """Say it where only one of the two could be shown."""
    if node() is None:
        pytest.skip("the client in Python does; for JavaScript there is no Node.js 20.10 or later")


@asynccontextmanager
async def in_python(url: str, names: list[str]) -> AsyncIterator[States]:
    """Run the client in Python; gives its states, by channel."""
    space: dict[str, Any] = {}
    exec(compile(printed("python"), "protocol.md, 6.4", "exec"), space)
    states: States = {}

    def on(name: str, _message: Mapping[str, Any], state: object) -> None:
        states[name] = state

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(space["run"](url, names, on))
        yield states
        running.cancel()


@asynccontextmanager
async def in_javascript(url: str, names: list[str], folder: Path) -> AsyncIterator[States]:
    """Run the client in JavaScript; gives its states, by channel."""
    states: States = {}
    found = node()
    if found is None:
        yield states
        return
    file = folder / "client.mjs"
    file.write_text(printed("js") + REPORT)
    process = await asyncio.create_subprocess_exec(
        found,
        FLAG,
        "--no-warnings",
        file,
        url,
        orjson.dumps(names).decode(),
        stdout=subprocess.PIPE,
        limit=1 << 24,
    )
    assert process.stdout is not None

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            name, state = orjson.loads(line)
            states[name] = state

    try:
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(read(process.stdout))
            yield states
            reading.cancel()
    finally:
        process.kill()
        await process.wait()


def table(rows: object) -> object:
    """A table of either client: rows by key, levels by side and price."""
    if isinstance(rows, dict):
        return {key if isinstance(key, str) else "".join(key): row for key, row in rows.items()}
    assert isinstance(rows, list)
    return {key: row[-1] if isinstance(row, list) else row for key, row in rows}


def agreed(states: States, truth: States) -> bool:
    if states.keys() != truth.keys():
        return False
    held = {
        name: table(state) if isinstance(truth[name], dict) and name != "ticker:A" else state
        for name, state in states.items()
    }
    return held == truth


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not done():  # noqa: ASYNC110 - another process sets no event
            await asyncio.sleep(0.01)


class World:
    """A server that says what happened, or fails to, and what its streams come to."""

    def __init__(self, server: Hub, seed: int) -> None:
        self.server = server
        self.chance = random.Random(seed)
        self.truth: States = {"ticker:A": {"bid": "0"}, "orders": {}, "fills": [], BOOK: {}}
        server.feed("ticker:A", {"bid": "0"})
        server.feed("orders", {"set": []})
        server.feed("fills", [])
        server.feed(BOOK, {"bids": [], "asks": []})

    def change(self, name: str, step: int) -> Any:
        """Change the truth of a stream; gives what an update says about it."""
        chance, truth = self.chance, self.truth[name]
        if name == "ticker:A":
            data: Any = {"bid": str(step)}
            self.truth[name] = data
        elif name == "fills":
            data = [{"id": f"t-{step}"}]
            truth.extend(data)
        elif name == "orders":
            row = {"id": f"o-{chance.randrange(5)}", "step": step}
            gone = f"o-{chance.randrange(5)}"
            truth[row["id"]] = row
            data = {"set": [row]}
            if gone != row["id"]:
                truth.pop(gone, None)
                data["del"] = [gone]
        else:
            side, price = chance.choice(("bids", "asks")), str(chance.randrange(5))
            amount = str(chance.randrange(3))
            truth[side + price] = amount
            if amount == "0":
                del truth[side + price]
            data = {"bids": [], "asks": [], side: [[price, amount]]}
        self.server.feeds[name].snapshot = self.whole(name)
        return data

    def whole(self, name: str) -> Any:
        """What a snapshot says about a stream."""
        truth = self.truth[name]
        if name == "orders":
            return {"set": list(truth.values())}
        if name == BOOK:
            return {
                side: [[key[4:], amount] for key, amount in truth.items() if key[:4] == side]
                for side in ("bids", "asks")
            }
        return list(truth) if name == "fills" else truth

    async def step(self, step: int) -> None:
        """Let something happen: mostly an update, now and then trouble."""
        name = self.chance.choice(NAMES)
        data, luck = self.change(name, step), self.chance.random()
        if luck < 0.1:  # lost on its way: a gap
            self.server.feeds[name].update(data)
        elif luck < 0.2 and name != "ticker:A":  # fell behind
            feed = self.server.feeds[name]
            feed.update(data)
            await self.server.send(feed.full("lag"))
        else:
            await self.server.publish(name, data)
        if step % 40 == 10:
            self.server.cut()
        elif step % 40 == 30:  # killed and started again: only the journal's log goes on
            for other in NAMES:
                feed = self.server.feeds[other]
                if other != "fills":
                    feed.epoch, feed.seq, feed.held = f"k{step}", self.chance.randrange(9), []
            self.server.cut()


async def test_26_the_printed_clients_converge_after_cuts_restarts_lag_and_gaps(
    tmp_path: Path,
) -> None:
    async with hub() as server:
        world = World(server, seed=1)
        names = list(NAMES)
        async with (
            in_python(server.url, names) as first,
            in_javascript(server.url, names, tmp_path) as second,
        ):
            clients = [first, second] if node() else [first]
            await until(lambda: len(server.sockets) == len(clients))
            for step in range(100):
                await world.step(step)
                if step % 20 == 9:
                    await until(lambda: len(server.sockets) == len(clients))
                await asyncio.sleep(0)
            await until(lambda: len(server.sockets) == len(clients))
            for name in NAMES:  # what is lost is noticed with the next
                await server.publish(name, world.change(name, 100))
            await until(lambda: all(agreed(states, world.truth) for states in clients))

    assert len(server.hellos) == 6 * len(clients)
    both()


def order(number: int, price: str) -> dict[str, str]:
    fixed = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.001"}
    return {**fixed, "price": price, "client_order_id": f"r-{number}"}


@pytest.mark.slow
async def test_26_the_printed_clients_follow_a_server_over_a_kill(tmp_path: Path) -> None:
    names = ["orders", "fills", "balances", "orderbook:BTC/USDT?depth=5&rate=100"]

    async def place(http: httpx.AsyncClient, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while True:
                book = (await http.get("/api/orderbook/BTC-USDT?limit=1")).json()
                if book["ok"] and book["result"]["bids"]:
                    bid = book["result"]["bids"][0][0]
                    answer = await http.post("/api/order.place", json=order(number, bid))
                    if answer.status_code == 200:
                        return
                await asyncio.sleep(0.05)

    async def told(http: httpx.AsyncClient) -> States:
        made = {}
        for name in names[:3]:
            data = (await http.get("/api/snapshot", params={"channel": name})).json()["data"]
            made[name] = data if isinstance(data, list) else {r["id"]: r for r in data["set"]}
        return made

    def same(states: States, truth: States) -> bool:
        shown = {name: state for name, state in states.items() if name in truth}
        return names[3] in states and agreed(shown, truth)

    server = Process.serve(tmp_path / "j.db")
    url, base = server.socket, server.http
    try:
        async with (
            httpx.AsyncClient(base_url=base, timeout=PATIENCE) as http,
            in_python(url, names) as first,
            in_javascript(url, names, tmp_path) as second,
        ):
            clients = [first, second] if node() else [first]
            await place(http, 1)
            await until(lambda: all("r-1" in str(states.get("orders")) for states in clients))
            await asyncio.to_thread(server.kill)
            port = base.rpartition(":")[2]
            server = await asyncio.to_thread(Process.serve, tmp_path / "j.db", "--port", port)
            await place(http, 2)
            await http.post("/api/order.cancel_all", json={})
            await until(lambda: all("r-2" in str(states.get("orders")) for states in clients))
            async with asyncio.timeout(PATIENCE):
                while True:
                    truth = await told(http)
                    if all(same(states, truth) for states in clients):
                        break
                    await asyncio.sleep(0.05)
    finally:
        server.kill()

    assert {row["client_order_id"] for row in truth["orders"].values()} >= {"r-2"}
    both()
