"""Clients come back: storms of them, and each through a network that breaks (promises T8, T9).

Our own client against a real server. It counts every message that does not follow on the one before without the
server having said so (`Stream.gaps`): these are the silent gaps, of which there may be none.
"""

# ruff: noqa: ASYNC110 - nobody tells when clients are back

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException

from realtime.client import Client
from realtime.client.state import Stream
from tests.faultproxy import Proxy, proxy
from tests.flows.process import Process, Talk, talk
from tests.promises import LONG
from tests.server.adversary import TEXT, descriptors, frame, opened, resident


ACCOUNT = ("orders", "fills", "positions", "balances")
MARKET = ("ticker:BTC/USDT", "orderbook:BTC/USDT?depth=20", "trades:BTC/USDT")
ACCEPTS_PER_S = 1_000
AT_ONCE = 100
AWAY_S = 3.0
ENV = {
    "REALTIME_PAPER__BALANCES": '{"USDT": 100000000}',
    "REALTIME_LIMITS__SUBSCRIBES_PER_S": "100000",  # here they are all one principal's
    "REALTIME_LOG__LEVEL": "critical",  # a line per connection would fill the pipe that nobody reads
}
LONGEST_S = 30.0
"""Where a machine is too busy to start a server in `AWAY_S`, some clients wait for as long as clients ever wait."""
READERS = 200
GUESTS = 40
MIB = 1 << 20
GROWTH_MIB = 4.0
"""Over 8,000 clients and more the allocator's fragments come to some 8 MiB and then stay; a leak of 2 KiB each is found."""
RELAYS = 20
SEEDS = 200


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def port(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])


async def trade(address: str, ended: asyncio.Event) -> None:
    """Buy a little, again and again, over every death."""
    for number in itertools.count(1):
        if ended.is_set():
            return
        with suppress(OSError, TimeoutError, WebSocketException):
            async with talk(f"{address}?client=trader") as line:
                while not ended.is_set():
                    await buy(line, f"s-{number}-{time.monotonic_ns()}")
                    await asyncio.sleep(0.1)


async def buy(line: Talk, name: str) -> dict[str, Any]:
    return await line.call(
        "order.place",
        symbol="BTC/USDT",
        side="buy",
        type="market",
        amount="0.0002",
        client_order_id=name,
    )


async def last(address: str) -> dict[str, Any]:
    """An order after which nothing happens any more; its reply."""
    end = time.monotonic() + 30
    while True:
        async with talk(address) as line:
            reply = await buy(line, f"last-{time.monotonic_ns()}")
        if reply["ok"]:
            return reply
        assert time.monotonic() < end, reply["error"]
        await asyncio.sleep(0.2)


class Crowd:
    """Clients that hold what they are told."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self._ended = asyncio.Event()
        self._gate = asyncio.Semaphore(AT_ONCE)

    @property
    def gaps(self) -> int:
        return sum(stream.gaps for me in self.clients for stream in streams(me))

    async def live(self, me: Client, channels: Sequence[str]) -> None:
        """Let one client live until the end."""
        async with AsyncExitStack() as stack:
            async with self._gate:
                await stack.enter_async_context(me)
                await me.subscribe(*channels)
            self.clients.append(me)
            await self._ended.wait()

    async def back(self, connections: int, share: float = 1.0) -> None:
        """Wait until that share of them is connected for so many times, and in step."""
        wanted = share * len(self.clients)
        while sum(in_step(me, connections) for me in self.clients) < wanted:
            await asyncio.sleep(0.05)

    async def at_rest(self, reply: dict[str, Any]) -> None:
        """Wait until everybody has seen the last effect."""
        await asyncio.gather(*(me.until(reply["at"]) for me in self.clients))

    def end(self) -> None:
        self._ended.set()


def streams(me: Client) -> list[Stream]:
    return [found for name in (*ACCOUNT, *MARKET) if (found := me.stream(name)) is not None]


def in_step(me: Client, connections: int) -> bool:
    return (
        me.connected
        and me.connections >= connections
        and all(stream.synced for stream in streams(me))
    )


@asynccontextmanager
async def crowd(count: int, url: str, *channels: str, bye: bool = False) -> AsyncIterator[Crowd]:
    """So many clients on one address, all of them there."""
    chance = random.Random(count)
    made = Crowd()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            me = Client(url, client=f"n{number}", bye=bye, bound=1, chance=chance)
            group.create_task(made.live(me, channels))
        while len(made.clients) < count:
            await asyncio.sleep(0.05)
        yield made
        made.end()


# --- a stop ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.promise("T7")
async def test_a_stop_with_one_stuck_and_many_good_clients_ends_in_time(tmp_path: Path) -> None:
    """What was acknowledged on the way out is there when it is back."""
    data = tmp_path / "j.db"
    env = ENV | {"REALTIME_PAPER__FLOW_PER_S": "50"}
    acked: list[str] = []

    async def trading() -> None:
        with suppress(ConnectionClosed):
            async with talk(first.socket) as line:
                while (reply := await buy(line, f"t-{len(acked)}"))["ok"]:
                    acked.append(str(reply["result"]["client_order_id"]))

    with await asyncio.to_thread(Process.serve, data, **env) as first:
        async with AsyncExitStack() as stack:
            good = [await stack.enter_async_context(talk(first.socket)) for _ in range(READERS)]
            for one in good:
                await one.subscribe(*ACCOUNT, "ticker:BTC/USDT")
            place = ("127.0.0.1", port(first.socket))
            stuck = stack.enter_context(opened(place, "/ws", receive_buffer=4_096))
            wanted = '"orderbook:BTC/USDT","orderbook:ETH/USDT","trades:BTC/USDT","ticker:*"'
            stuck.sendall(
                frame(TEXT, f'{{"op":"subscribe","id":1,"channels":[{wanted}]}}'.encode())
            )
            async with asyncio.TaskGroup() as group:
                group.create_task(trading())
                readers = [group.create_task(one.closed()) for one in good]
                await asyncio.sleep(3.0)
                began = time.monotonic()
                ended = group.create_task(asyncio.to_thread(first.terminate))
                codes = await asyncio.gather(*readers)
                left = time.monotonic() - began
            stopped = time.monotonic() - began
    told = sum(any(m.get("event") == "shutdown" for m in one.messages) for one in good)
    with await asyncio.to_thread(Process.serve, data, **env) as second:
        async with talk(second.socket) as line:
            missing = [
                name
                for name in acked
                if not (await line.call("order.get", client_order_id=name))["ok"]
            ]
    print(
        f"T7: {READERS} good clients and a stuck one: {told} told, all closed after {left:.1f} s, ended after "
        f"{stopped:.1f} s of 30; {len(acked)} commands acknowledged, {len(missing)} lost"
    )

    assert ended.result() == 0
    assert set(codes) == {4503}
    assert told == READERS
    assert stopped < 30.0
    assert acked
    assert missing == []


# --- storms ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.promise("T8")
@pytest.mark.parametrize("planned", [True, False], ids=["planned", "killed"])
async def test_a_storm_of_clients_comes_back_and_misses_nothing(
    tmp_path: Path, *, planned: bool
) -> None:
    """All at once lose their server, while somebody trades."""
    count = 5_000 if LONG else 500
    env = ENV | {"REALTIME_SERVER__ACCEPT_PER_S": str(ACCEPTS_PER_S)}
    data = tmp_path / "j.db"
    traded = asyncio.Event()
    first = await asyncio.to_thread(Process.serve, data, **env)
    address = first.socket
    async with (
        asyncio.timeout(240),
        asyncio.TaskGroup() as group,
        crowd(count, address, "orders", "fills", "ticker:BTC/USDT") as clients,
    ):
        with first:
            group.create_task(trade(address, traded))
            await asyncio.sleep(1.0)
            died = time.monotonic()
            if planned:
                assert await asyncio.to_thread(first.terminate) == 0
            else:
                await asyncio.to_thread(first.kill)
            dead = time.monotonic()
        with await asyncio.to_thread(
            Process.serve, data, "--port", str(port(address)), **env
        ) as second:
            ready = time.monotonic()
            late = LONGEST_S if ready - died > AWAY_S else 0.0
            await clients.back(2, 0.99)
            most = time.monotonic()
            await clients.back(2)
            whole = time.monotonic()
            traded.set()
            await clients.at_rest(await last(second.socket))
            ends = Counter(str(me.state("fills")) for me in clients.clients)
            async with talk(second.socket) as line:
                fills = (await line.result("fill.list", limit=500))["fills"]
            clients.end()
            print(
                f"T8: {count} clients, {'planned stop' if planned else 'kill -9'} in {dead - died:.1f} s, ready after "
                f"{ready - died:.1f} s, 99 % back {most - ready:.1f} s and all {whole - ready:.1f} s after that; "
                f"{clients.gaps} silent gaps, {len(fills)} fills on every one"
            )

            assert clients.gaps == 0
            if planned:
                assert whole - ready < 10.0 + late
            else:
                assert most - died < 20.0 + late
                assert whole - died < 40.0 + late
            assert {me.connections for me in clients.clients} == {2}
            assert len(ends) == 1


# --- churn ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.promise("T10")
async def test_clients_that_come_and_go_leave_nothing_behind(tmp_path: Path) -> None:
    """A minute of what a day brings: half of them leave without a word, and somebody trades at first."""
    rounds = 1_200 if LONG else 120
    traded = asyncio.Event()
    held: list[tuple[int, int]] = []
    with await asyncio.to_thread(
        Process.serve,
        tmp_path / "j.db",
        **ENV,
    ) as server:
        pid = server.process.pid
        async with asyncio.timeout(1_800), asyncio.TaskGroup() as group:
            group.create_task(trade(server.socket, traded))
            for number in range(rounds):
                depth = (5, 10, 20, 50)[number % 4]
                async with crowd(
                    GUESTS,
                    server.socket,
                    *ACCOUNT,
                    "ticker:*",
                    "events",
                    "logs",
                    f"orderbook:BTC/USDT?depth={depth}",
                    bye=bool(number % 2),
                ):
                    pass
                async with talk(server.socket) as line:
                    while (await line.result("monitoring.connections"))["active_connections"] > 2:
                        await asyncio.sleep(0.05)
                held.append((resident(pid), descriptors(pid)))
                if number == rounds // 2:
                    traded.set()  # orders are kept: from here on only clients come and go
    warm = held[rounds // 2 + 5 :]
    grown = (warm[-1][0] - warm[0][0]) / MIB
    print(
        f"T10: {rounds} times {GUESTS} clients: memory {warm[0][0] / MIB:.1f} MiB, {grown:+.2f} MiB after "
        f"{len(warm) * GUESTS} more; {warm[0][1]} descriptors, then {warm[-1][1]}"
    )

    assert grown < GROWTH_MIB
    assert warm[-1][1] <= warm[0][1]


# --- a network that breaks ------------------------------------------------------------------------


async def mistreat(relay: Proxy, dice: random.Random) -> None:
    """A second of what networks do, then calm."""
    direction = dice.choice(("up", "down"))
    match dice.choice(("reset", "half", "freeze", "cut", "refuse", "slow")):
        case "reset":
            relay.reset()
        case "half":
            relay.half_close(direction)
        case "freeze":
            relay.freeze(direction)
            await asyncio.sleep(dice.uniform(0.1, 0.5))
            relay.reset()
        case "cut":
            relay.cut_after(direction, dice.randrange(1, 500 if direction == "up" else 6_000))
            if direction == "up":
                relay.reset()  # a client says little but when it connects
        case "refuse":
            relay.refusing = True
            relay.reset()
        case "slow":
            relay.delay_s = 0.05
            relay.met["slow"] += 1
    await asyncio.sleep(dice.uniform(0.1, 0.6))
    relay.calm()


async def led(relay: Proxy, seed: int, stack: AsyncExitStack) -> Client:
    """A client that went through a network's bad hour; it is connected and in step."""
    dice = random.Random(seed)
    url = f"ws://127.0.0.1:{relay.port}/ws"
    me = Client(url, client=f"w{seed}", bye=False, bound=1, chance=dice, heartbeat=1)
    await stack.enter_async_context(living(me))
    await me.subscribe(*ACCOUNT, *MARKET)
    for _ in range(dice.randint(2, 5)):
        await asyncio.sleep(dice.uniform(0.0, 0.3))
        await mistreat(relay, dice)
    while not in_step(me, 1):
        await asyncio.sleep(0.02)
    return me


@asynccontextmanager
async def living(me: Client) -> AsyncIterator[None]:
    """Let a client live in a task of its own, to be ended from any."""
    ended = asyncio.Event()

    async def live(ready: asyncio.Future[None]) -> None:
        async with me:
            ready.set_result(None)
            await ended.wait()

    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(live(ready))
    await ready
    try:
        yield
    finally:
        ended.set()
        await task


def held(me: Client) -> dict[str, Any]:
    """What a client holds of what stands still while nobody trades."""
    orders, fills = me.state("orders"), me.state("fills")
    positions, balances = me.state("positions"), me.state("balances")
    assert isinstance(orders, dict)
    assert isinstance(positions, dict)
    return {
        "orders": orders,
        "fills": [entry["id"] for entry in fills or ()],  # type: ignore[index, union-attr]  # a log's rows
        "positions": {key: (row["side"], row["amount"]) for key, row in positions.items()},
        "balances": balances,
    }


@pytest.mark.slow
@pytest.mark.promise("T9")
async def test_whatever_the_network_does_a_client_at_rest_holds_what_the_server_holds(
    tmp_path: Path,
) -> None:
    met: Counter[str] = Counter()
    connections = 0
    traded = asyncio.Event()
    async with asyncio.timeout(500), AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(proxy(("127.0.0.1", 0), random.Random(number)))
            for number in range(RELAYS)
        ]
        hosts = ",".join(f'"127.0.0.1:{relay.port}"' for relay in relays)
        server = await asyncio.to_thread(
            Process.serve,
            tmp_path / "j.db",
            REALTIME_SERVER__HOSTS=f"[{hosts}]",
            **ENV,
        )
        stack.enter_context(server)
        address = ("127.0.0.1", port(server.socket))
        for begin in range(0, SEEDS, RELAYS):
            async with asyncio.TaskGroup() as group, AsyncExitStack() as clients:
                traded.clear()
                group.create_task(trade(server.socket, traded))
                for relay in relays:
                    relay.address = address
                walks = [
                    group.create_task(led(relay, seed, clients))
                    for seed, relay in enumerate(relays, begin)
                ]
                crowd = await asyncio.gather(*walks)
                traded.set()
                reply = await last(server.socket)
                fresh = Client(server.socket, bye=False)
                await clients.enter_async_context(living(fresh))
                await fresh.subscribe(*ACCOUNT)
                await asyncio.gather(*(me.until(reply["at"]) for me in (*crowd, fresh)))
                truth = held(fresh)
                for seed, me in enumerate(crowd, begin):
                    mine = held(me)
                    fills = mine.pop("fills")

                    assert mine == {name: truth[name] for name in mine}, seed
                    # Who joined earlier has older ones, too.
                    common = min(len(fills), len(truth["fills"]))
                    assert fills[-common:] == truth["fills"][-common:], seed
                    assert len(set(fills)) == len(fills), seed
                    assert all(stream.gaps == 0 for stream in streams(me)), seed
                connections += sum(me.connections for me in crowd)
        for relay in relays:
            met.update(relay.met)
    print(
        f"T9: {SEEDS} clients, {connections} connections, 0 silent gaps, states equal; met {dict(met)}"
    )

    assert connections > 2 * SEEDS
    assert len(met) >= 9
