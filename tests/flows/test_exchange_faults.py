"""Orders at real venues through every fault that exchanges produce (promises O3 to O5).

The whole server, its journal, the unpatched client and a server that speaks the exchange's own protocol; see `storm`.
"""

import asyncio
import gc
import os
import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.emulate.faults import Fault, Kind
from realtime.engine.account import NOISE, Account
from realtime.model.orders import Status
from realtime.model.risk import TradingState
from realtime.venues.ccxt import calls
from realtime.venues.ccxt.way import Window
from tests.conftest import virtual_loop
from tests.fakes import MortalStore, until
from tests.flows.storm import (
    SITES,
    LoopbackClock,
    Real,
    Storm,
    exchange_at,
    virtual_wall,
)


D = Decimal


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let go of what the dead have not closed, here, where nobody minds; what was logged of their ends holds it."""
    yield
    caplog.get_records("call").clear()
    gc.collect()


class Trader:
    """Clients that place, amend and cancel, and a market that moves."""

    def __init__(self, world: Real, seed: str, count: int) -> None:
        self.world = world
        self.exchange = world.exchange
        self.chance = random.Random(seed)
        self.left = count
        self.replies: Counter[str] = Counter()
        # What was acknowledged, by client.
        self.names: dict[int, list[str]] = {}
        self.trading = True
        self.placed = 0

    async def flow(self, number: int) -> None:
        """One client."""
        mine = self.names.setdefault(number, [])
        while self.left > 0:
            await asyncio.sleep(self.chance.uniform(0.05, 1.0))
            # Most of what is changed or cancelled works still, as far as its client knows.
            mine[:] = [name for name in mine if self.works(name) or self.chance.random() < 0.9]
            roll = self.chance.random()
            if mine and roll < 0.25:
                await self.call(
                    "order.cancel", client_order_id=mine.pop(self.chance.randrange(len(mine)))
                )
            elif mine and roll < 0.35:
                await self.amend(self.chance.choice(mine))
            else:
                self.left -= 1
                self.placed += 1
                name = f"f{number}-{self.placed}"
                reply = await self.call("order.place", **self.order(name))
                if reply.ok or reply.code == "outcome_unknown":
                    mine.append(name)
                else:
                    await self.back_off(reply)

    def works(self, name: str) -> bool:
        return not self.world.order(name).status.ended

    async def amend(self, name: str) -> None:
        """Change the price, the amount, or both."""
        side = self.world.order(name).side.value
        targets = {"price": str(self.price(far=True, side=side)), "amount": str(self.amount())}
        if self.chance.random() < 0.6:
            del targets[self.chance.choice(("price", "amount"))]
        await self.call("order.amend", client_order_id=name, **targets)

    def amount(self) -> Decimal:
        return D(self.chance.randrange(1, 40)) * D("0.001")

    async def back_off(self, reply: Any) -> None:
        """Do what a client and its operator do when nothing may enter."""
        if self.world.system.desk.engine.state() is not TradingState.ACTIVE:
            await self.call("trading.resume", reason="looked at")
        elif reply.code in {"venue_unavailable", "busy", "rate_limited"}:
            await asyncio.sleep(self.chance.uniform(2.0, 6.0))
        self.left += 1  # it never left, and another one takes its place

    def order(self, name: str) -> dict[str, Any]:
        site, chance = self.exchange.site, self.chance
        symbol = site.swap if site.swap and chance.random() < 0.4 else site.spot
        order: dict[str, Any] = {
            "symbol": symbol,
            "side": chance.choice(("buy", "sell")),
            "type": "limit",
            "amount": str(self.amount()),
            "client_order_id": name,
        }
        if chance.random() < 0.25:
            return order | {"type": "market"}
        price = self.price(far=chance.random() < 0.5, side=order["side"])
        return order | {"price": str(price)}

    def price(self, *, far: bool, side: str = "buy") -> Decimal:
        site, chance = self.exchange.site, self.chance
        away = chance.uniform(0.002, 0.03) if far else chance.uniform(-0.0006, 0.0012)
        raw = site.middle * D(str(round(1 - away if side == "buy" else 1 + away, 6)))
        return (raw // site.tick) * site.tick

    async def call(self, op: str, **args: Any) -> Any:
        reply = await self.world.call(op, **args)
        self.replies[f"{op} {'ok' if reply.ok else reply.code}"] += 1
        return reply

    async def market(self) -> None:
        """Move the prices about, so that orders that rest fill."""
        site = self.exchange.site
        while self.trading:
            await asyncio.sleep(self.chance.uniform(0.5, 2.0))
            for symbol in (site.spot, site.swap):
                if symbol is not None:
                    shift = D(str(round(self.chance.uniform(-0.004, 0.004), 6)))
                    price = site.middle * (1 + shift)
                    self.exchange.market.move(symbol, (price // site.tick) * site.tick)

    async def weather(self) -> None:
        """Break sockets; freeze some for a while."""
        storm = self.exchange.faults
        while self.trading:
            await asyncio.sleep(self.chance.uniform(3.0, 9.0))
            storm.blow()
            if self.chance.random() < 0.5:
                await asyncio.sleep(self.chance.uniform(1.0, 8.0))
                storm.strike("*", Fault(Kind.THAW))


def nothing_live_is_shown_dead(world: Real) -> None:
    """O4, at any moment: what the venue ends, it ends before we can know."""
    live = world.exchange.live()
    for order in world.system.desk.engine.orders.all():
        if order.status.ended:
            assert world.exchange.name_of(order) not in live, (
                order.client_order_id,
                order.status,
                order.reason,
            )


async def watch(world: Real) -> None:
    while True:
        await asyncio.sleep(0.5)
        nothing_live_is_shown_dead(world)


def settled(world: Real) -> bool:
    """Whether nothing is in doubt any more."""
    engine = world.system.desk.engine
    return (
        world.system.reconciler.ready
        and not engine.orders.unknown()
        and not engine.orders.owed
        and not engine.orders.gaps
        and not engine.doubts
        and all(order.status is Status.OPEN for order in engine.orders.working())
        and agrees(world) is None
    )


def agrees(world: Real, *, all_known: bool = True) -> str | None:
    """Compare every order, fill, position and balance with the venue's; give the first difference.

    Args:
        world: Ours and theirs.
        all_known: Whether an order that the venue does not have must be known not to be there.
    """
    exchange, engine = world.exchange, world.system.desk.engine
    theirs = exchange.orders()
    fills: dict[str, list[tuple[Decimal, Decimal]]] = {}
    for fill in exchange.floor.fills("main"):
        fills.setdefault(fill.exchange_order_id, []).append((fill.amount, fill.price))
    ours = {exchange.name_of(order): order for order in engine.orders.all()}
    for name, held in theirs.items():
        if len(held) != 1:
            return f"{len(held)} orders at the venue with the client id {name}"
        order_id, work = held[0]
        order = ours.get(name)
        if order is None:
            return f"nobody here knows {name}, {order_id}"
        mine = (order.exchange_order_id, order.status, order.filled, order.amount, order.price)
        real = (
            order_id,
            work.status,
            work.filled,
            work.amount,
            work.price if order.type.priced else None,
        )
        if mine != real:
            return f"{order.client_order_id}: {mine} here, {real} there"
        told = sorted((fill.amount, fill.price) for fill in engine.fills_of(order.id))
        if told != sorted(fills.get(work.id, [])):
            return f"fills of {order.client_order_id}: {told} here, {sorted(fills.get(work.id, []))} there"
    for name, order in ours.items():
        never = order.status in {Status.REJECTED, Status.EXPIRED, Status.CANCELED}
        if all_known and name not in theirs and not never:
            return f"{order.client_order_id} is {order.status} here, and the venue never had it"
    account = exchange.floor.exchange.clearing.accounts["main"]
    for currency, wallet in account.wallets.items():
        if not wallet.total and not wallet.held:
            continue
        balance = next((b for b in engine.balances.values() if b.currency == currency), None)
        if balance is None or balance.total != wallet.total or balance.available != wallet.free:
            return f"balance {balance} here, {wallet} there"
        # What the venue says is shown; what our fills and fees come to stands beside it, and is as much.
        if abs(difference := ours_of(world).difference(currency)) > NOISE:
            return f"our books of {currency} lack {difference}"
    # Everything that moves money here is an order of ours: nothing may have been called somebody else's.
    called = [name for name in ours_of(world).transferred if name.startswith("external-")]
    if called:
        return f"called unexplained: {called}"
    spot = exchange.site.spot
    base = spot.partition("/")[0]
    if spot in engine.positions and engine.positions[spot].amount != account.wallet(base).total:
        return f"position {engine.positions[spot].amount} here, {account.wallet(base).total} there"
    for symbol, holding in account.holdings.items():
        held_here = engine.positions[symbol].amount if symbol in engine.positions else D(0)
        if holding.amount != held_here:
            return f"position {symbol} {held_here} here, {holding.amount} there"
    return None


def ours_of(world: Real) -> Account:
    """Our own books of the account."""
    return world.system.desk.engine._state.account


async def storm_of(
    name: str, count: int, seed: str, monkeypatch: pytest.MonkeyPatch, *, stays_s: float = 0.0
) -> None:
    """Place orders through a storm, let it end, and compare; and again when it has stayed so for a while [s]."""
    loop = virtual_loop()
    virtual_wall(monkeypatch, loop)
    storm = Storm(seed, SITES[name])
    async with exchange_at(name, storm) as exchange:
        world = Real(exchange)
        async with world.life() as system, asyncio.TaskGroup() as group:
            await until(lambda: bool(system.desk.engine.positions), within=60)
            for symbol in (exchange.site.spot, exchange.site.swap):
                if symbol is not None:
                    system.venue.want(symbol, "orderbook", True)
            await asyncio.sleep(6)
            watching = group.create_task(watch(world))
            trader = Trader(world, seed, count)
            storm.blowing = True
            around = [group.create_task(trader.market()), group.create_task(trader.weather())]
            flows = [group.create_task(trader.flow(number)) for number in range(8)]
            await asyncio.wait(flows)
            trader.trading = False
            await asyncio.wait(around)
            storm.calm()
            began = loop.time()
            try:
                await true(lambda: settled(world), SETTLES_S)
                after = loop.time() - began
                # And so it stays while everything is compared once more.
                await asyncio.sleep(stays_s)
                await true(lambda: settled(world), 30)
            except AssertionError as error:
                raise AssertionError(await report(world, trader)) from error
            watching.cancel()
            print(
                f"O3: seed {seed!r}:",
                await report(world, trader),
                f"settled {after:.0f} s after the storm of {began:.0f} s",
            )


async def die_often(
    name: str, count: int, seed: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Place orders through a storm in which the process dies every few seconds, and lives on with its journal."""
    loop = virtual_loop()
    virtual_wall(monkeypatch, loop)
    storm, chance = Storm(seed, SITES[name]), random.Random(f"deaths {seed}")
    async with exchange_at(name, storm) as exchange:
        world = Real(exchange, path / "journal.db")
        world.store = MortalStore
        trader = Trader(world, seed, count)
        deaths = 0
        while trader.left > 0:
            async with world.life(ready=False) as system:
                storm.blowing = True
                for symbol in (exchange.site.spot, exchange.site.swap):
                    if symbol is not None:
                        system.venue.want(symbol, "orderbook", True)
                around = [trader.market(), trader.weather(), watch(world)]
                tasks = [asyncio.create_task(each) for each in around]
                await world.ready(within=300)
                flows = [asyncio.create_task(trader.flow(number)) for number in range(8)]
                await asyncio.wait(flows, timeout=chance.uniform(0.5, 6))
                # The lights go out: nothing reaches the disk any more.
                MortalStore.dead = True
                for task in (*tasks, *flows):
                    task.cancel()
                for result in await asyncio.gather(*tasks, *flows, return_exceptions=True):
                    if isinstance(result, Exception):
                        raise result
            deaths += 1
            storm.blowing = MortalStore.dead = False
        storm.calm()
        async with world.life() as system:
            try:
                await true(lambda: settled(world), SETTLES_S)
            except AssertionError as error:
                raise AssertionError(await report(world, trader)) from error
            assert not [o for o in system.desk.engine.orders.all() if o.external]
            print(f"O3: seed {seed!r}: {deaths} deaths;", await report(world, trader))


async def true(holds: Any, within: float) -> None:
    """Wait until it holds [virtual s]."""
    end = asyncio.get_running_loop().time() + within
    while not holds():
        assert asyncio.get_running_loop().time() < end, "it did not come true in time"
        await asyncio.sleep(2)


async def report(world: Real, trader: Trader) -> str:
    told = await world.call("alert.list", limit=500)
    assert told.result is not None
    rows: Any = told.result["alerts"]
    alerts = Counter(f"{e['code']}: {e['text'][:110]}" for e in rows)
    engine = world.system.desk.engine
    theirs = world.exchange.orders()
    states = Counter(order.status.value for order in engine.orders.all())
    return (
        f"{world.exchange.site.name}: {trader.placed} placements, {len(theirs)} orders there, {dict(states)} here, "
        f"{len(world.exchange.floor.fills('main'))} fills; met {dict(world.exchange.faults.met)}; "
        f"replies {dict(trader.replies)}; ready {world.system.reconciler.ready} {world.system.reconciler.why}; "
        f"unknown {[o.client_order_id for o in engine.orders.unknown()][:5]}; owed {len(engine.orders.owed)}; "
        f"gaps {dict(list(engine.orders.gaps.items())[:5])}; doubts {sorted(engine.doubts)[:5]}; "
        f"state {engine.state()}; unproven {world.account.trading.proof._open}; alerts {alerts}; difference: {agrees(world)}"
    )


FAST = {"bybit": 60, "kraken": 25, "bitfinex": 30}
WHOLE = int(os.environ.get("STORM_ORDERS", "1000"))
"""Orders of a whole storm."""
SEEDS = os.environ.get("STORM_SEEDS", "whole").split(",")
"""What its faults are drawn from, one storm each: `STORM_SEEDS=a,b`; printed with what came of it."""
SETTLES_S = 900.0
"""The longest that anything may be in doubt after the storm [virtual s]."""
STAYS_S = 100.0
"""So long everything stays as it is then: balances are compared once a minute [virtual s]."""


@pytest.mark.parametrize("name", list(SITES))
async def test_orders_through_a_storm_end_as_the_venue_has_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promises O3 and O4, a taste of them."""
    await storm_of(name, FAST[name], "1", monkeypatch)


@pytest.mark.slow
@pytest.mark.promise("O3")
@pytest.mark.promise("O4")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", list(SITES))
async def test_many_orders_through_a_storm_end_as_the_venue_has_them(
    name: str, seed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the limits of a large customer: else most of the time is waited for turns."""
    monkeypatch.setattr(calls, "limit_of", lambda **_: Window(1.0, 200.0))
    await storm_of(name, WHOLE, f"{seed} {name}", monkeypatch, stays_s=STAYS_S)


@pytest.mark.slow
@pytest.mark.promise("O3")
@pytest.mark.promise("O5")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", list(SITES))
async def test_orders_through_a_storm_and_deaths_end_as_the_venue_has_them(
    name: str, seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "limit_of", lambda **_: Window(1.0, 200.0))
    monkeypatch.setattr(MortalStore, "dead", False)
    await die_often(name, min(WHOLE, 300), f"{seed} {name}", tmp_path, monkeypatch)
    gc.collect()
