"""The kill switch and cancels at a real venue: what waits at the exchange's own limits, too (promises O7, O8).

The whole server and the unpatched client on the emulated Bybit; time is the machine's.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime.emulate.faults import Fault, Kind
from realtime.model.errors import Code
from realtime.model.orders import Status
from realtime.model.risk import TradingState
from realtime.store import Store
from realtime.venues.ccxt.way import Lane, lane
from tests.fakes import until
from tests.flows.storm import SITES, Exchange, Real, Storm, exchange_at


CANCEL, CREATE = "POST /v5/order/cancel", "POST /v5/order/create"
REST: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "limit", "amount": "0.001"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Arrivals(Storm):
    """An exchange without faults that notes when what arrived."""

    def __init__(self) -> None:
        super().__init__("", SITES["bybit"])
        self.at: dict[str, list[float]] = {}

    def take(self, target: str, *kinds: Kind) -> Fault | None:
        self.at.setdefault(target, []).append(asyncio.get_running_loop().time())
        return super().take(target, *kinds)


@asynccontextmanager
async def trading(arrivals: Arrivals) -> AsyncIterator[tuple[Real, Exchange]]:
    async with exchange_at("bybit", arrivals) as exchange:
        world = Real(exchange)
        world.store = Store
        async with world.life():
            yield world, exchange


async def rest(world: Real, count: int) -> None:
    """Let orders rest there: placed by nobody's limit, which is not what is looked at."""
    calls = [
        world.call("order.place", **REST, price=str(60000 + n), client_order_id=f"r-{n}")
        for n in range(count)
    ]
    for reply in await asyncio.gather(*calls):
        assert reply.ok, reply


def limit_of_cancels(world: Real, count: int) -> float:
    """How long the exchange's own limit makes so many cancels take [s]."""
    exchange = world.account.exchange
    cost = exchange.api["private"]["post"]["v5/order/cancel"]["cost"]
    return float(count * cost * exchange.rateLimit / 1000)


def polls(world: Real, count: int) -> list["asyncio.Task[Any]"]:
    """Ask so many things at once in the lane of polls."""
    exchange = world.account.exchange

    async def ask() -> Any:
        with lane(Lane.POLL):
            return await exchange.fetch_open_orders("BTC/USDT")

    return [asyncio.ensure_future(ask()) for _ in range(count)]


def queued(world: Real, name: str) -> int:
    """How many wait in a lane of the way to the exchange."""
    lanes: Any = world.account.calls.way.row()["lanes"]
    return int(lanes[name]["waiting"])


async def halted(count: int) -> str:
    """Halt with so many open orders, a full order lane and a busy limiter; give what was measured."""
    arrivals = Arrivals()
    async with trading(arrivals) as (world, _):
        loop = asyncio.get_running_loop()
        await rest(world, count)
        asked = polls(world, 100)
        entries = [
            asyncio.ensure_future(
                world.call("order.place", **REST, price="59000", client_order_id=f"e-{n}")
            )
            for n in range(200)
        ]
        await until(lambda: min(queued(world, "entry"), queued(world, "poll")) > 40, within=5)
        arrivals.at.clear()
        # One that waits for its turn is cancelled here: nothing of it ever leaves.
        reply = await world.call("order.cancel", client_order_id="e-199")
        assert reply.ok, reply
        assert world.order("e-199").status is Status.CANCELED
        assert CANCEL not in arrivals.at
        began = loop.time()
        halt = asyncio.ensure_future(world.call("trading.halt", reason="drill"))
        await until(lambda: world.system.desk.engine.state() is TradingState.HALTED)
        decided, flying = loop.time(), len(world.system.desk.gate.handed)
        reply = await halt
        replied = loop.time()
        assert reply.result is not None
        canceled = reply.result["canceled"]
        assert isinstance(canceled, list)
        own = limit_of_cancels(world, len(canceled))
        took = arrivals.at[CANCEL][-1] - began
        await asyncio.wait(
            entries, timeout=1.0
        )  # the rest waits for its turn, which comes too late
        # What had left by then may still arrive, and nothing else.
        late = [at for at in arrivals.at.get(CREATE, []) if at > decided]
        for task in (*asked, *entries):
            task.cancel()
        await asyncio.wait((*asked, *entries))

        assert len(canceled) >= count
        assert took <= own + 0.25
        assert len(late) <= flying, "orders left after the halt"
        # As below: one that was on its way when its cancel passed it is found by the sweep.
        await until(lambda: not world.exchange.live(), within=20)
        return (
            f"{len(canceled)} cancels, the last left after {took * 1000:.0f} ms, of which the "
            f"venue's limit is {own * 1000:.0f} ms; replied after {(replied - began) * 1000:.0f} ms"
        )


async def test_a_halt_cancels_at_the_venue_s_pace_and_nothing_enters_behind_it() -> None:
    await halted(12)


@pytest.mark.slow
@pytest.mark.promise("O7")
async def test_a_halt_of_a_hundred_orders_takes_what_the_venue_s_limit_takes() -> None:
    print("O7:", await halted(100))


@pytest.mark.promise("O8")
async def test_a_cancel_behind_a_hundred_polls_leaves_at_once() -> None:
    arrivals = Arrivals()
    async with trading(arrivals) as (world, _):
        loop = asyncio.get_running_loop()
        await rest(world, 2)
        asked = polls(world, 100)
        await asyncio.sleep(0.1)
        assert queued(world, "poll") >= 60
        waits = []
        for name in ("r-0", "r-1"):
            began = loop.time()
            reply = await world.call("order.cancel", client_order_id=name)
            assert reply.ok, reply
            waits.append(arrivals.at[CANCEL][-1] - began)
        for task in asked:
            task.cancel()
        await asyncio.wait(asked)

        print("O8: a cancel behind 100 polls left after", [f"{w * 1000:.1f} ms" for w in waits])
        assert max(waits) < 0.1


async def race(count: int) -> str:
    """Let placements race a halt."""
    arrivals = Arrivals()
    async with trading(arrivals) as (world, exchange):
        loop = asyncio.get_running_loop()

        async def place(number: int) -> Any:
            for _ in range(number % 7):
                await asyncio.sleep(0)
            return await world.call(
                "order.place", **REST, price="60000", client_order_id=f"g-{number}"
            )

        racing = [asyncio.ensure_future(place(number)) for number in range(count)]
        await until(lambda: bool(arrivals.at.get(CREATE)), within=5)
        reply = await world.call("trading.halt", reason="drill")
        replied = loop.time()
        answered, waiting = await asyncio.wait(racing, timeout=1.5)
        for task in waiting:
            task.cancel()
        created = arrivals.at.get(CREATE, [])

        assert reply.ok, reply
        assert [at for at in created if at > replied] == []
        # One that was on its way when its cancel passed it is found by the sweep, which asks the venue (K5).
        await until(lambda: not exchange.live(), within=20)
        refused = [one.result().code for one in answered if not one.result().ok]
        assert set(refused) <= {Code.HALTED, Code.BUSY}  # nothing of either was sent
        return f"{count} placements: {len(created)} left before the halt's reply, none after it"


async def test_of_placements_that_race_a_halt_none_leaves_after_its_reply() -> None:
    await race(200)


@pytest.mark.slow
@pytest.mark.promise("O7")
async def test_of_a_thousand_placements_that_race_a_halt_none_leaves_after_its_reply() -> None:
    print("O7:", await race(1_000))
