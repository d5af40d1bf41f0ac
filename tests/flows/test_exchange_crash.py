"""The process dies at every boundary of journal and exchange while it trades at a real venue (promises O3, O5).

As `tests/desk/test_crash.py` does it on an exchange of its own: a dry run counts the boundaries of a small day, then the
day is lived once for each, killed there, and lived on by a second process on the same journal and the same exchange.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.commands.registry import Reply
from realtime.emulate.faults import Fault, Kind
from tests.conftest import virtual_loop
from tests.desk.test_crash import Reaper
from tests.fakes import MortalStore
from tests.flows.storm import SITES, LoopbackClock, Real, Site, Storm, exchange_at, virtual_wall
from tests.flows.test_exchange_faults import agrees, settled, true


Step = tuple[str, dict[str, Any]]
SHORT_OF = Decimal("0.94")
"""Of the price, where an order rests."""


def day_of(site: Site) -> tuple[Step, ...]:
    """A small day there: one order rests, is changed and cancelled, one fills."""
    resting = (site.middle * SHORT_OF).quantize(Decimal(1))
    buy = {"symbol": site.spot, "side": "buy"}
    rests = {"type": "limit", "amount": "0.01", "price": str(resting), "client_order_id": "rest"}
    return (
        ("order.place", buy | rests),
        ("order.place", buy | {"type": "market", "amount": "0.02", "client_order_id": "fill"}),
        ("order.amend", {"client_order_id": "rest", "price": str(resting + 100)}),
        ("order.cancel", {"client_order_id": "rest"}),
    )


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Witness(Storm):
    """An exchange at whose door one may die: what has arrived there is carried out."""

    def __init__(self, site: Site) -> None:
        super().__init__("", site)
        self.reaper: Reaper | None = None

    def take(self, target: str, *kinds: Kind) -> Fault | None:
        if self.reaper is not None and target in self._site.words:
            # A process that dies here has handed its bytes over; it is gone before the answer.
            self.reaper.point(f"commit at {target}")
        return super().take(target, *kinds)


@asynccontextmanager
async def living(world: Real) -> AsyncIterator[None]:
    """Let prices go on, or they would be too old to trade at."""

    async def move() -> None:
        market, site = world.exchange.market, world.exchange.site
        for number in itertools.count():
            market.move(site.spot, site.middle + number % 2)
            await asyncio.sleep(1)

    moving = asyncio.ensure_future(move())
    try:
        yield
    finally:
        moving.cancel()
        await asyncio.wait([moving])


async def live(world: Real, reaper: Reaper) -> dict[str, Reply]:
    """Live the day as far as the reaper lets it; give the answers that came."""
    answers: dict[str, Reply] = {}
    witness = world.exchange.faults
    assert isinstance(witness, Witness)
    MortalStore.point = staticmethod(reaper.point)
    MortalStore.dead = False
    witness.reaper = reaper
    try:
        async with world.life(), living(world):
            world.system.venue.want(world.exchange.site.spot, "orderbook", True)
            await asyncio.sleep(5)
            reaper.watching = True
            for op, args in day_of(world.exchange.site):
                call = world.start(op, **args)
                while not call.done() and not reaper.killed.is_set():  # noqa: ASYNC110  # either
                    await asyncio.sleep(0.01)
                if reaper.killed.is_set():
                    call.cancel()
                    break
                answers[f"{op} {args['client_order_id']}"] = call.result()
                await asyncio.sleep(1)
            reaper.watching = reaper.killed.is_set()
    finally:
        MortalStore.point = staticmethod(lambda _name: None)
        MortalStore.dead = False
        witness.reaper = None
    return answers


async def boundaries(name: str, path: Path) -> list[str]:
    async with exchange_at(name, Witness(SITES[name])) as exchange:
        world = Real(exchange, path / "dry.db")
        world.store = MortalStore
        reaper = Reaper(None)
        answers = await live(world, reaper)
        assert all(reply.ok for reply in answers.values()), [r.error for r in answers.values()]
        return reaper.passed


async def die_and_recover(name: str, path: Path, number: int) -> None:
    async with exchange_at(name, Witness(SITES[name])) as exchange:
        world = Real(exchange, path)
        world.store = MortalStore
        answers = await live(world, Reaper(number))
        async with world.life() as system:
            # Before `ready` orders, fills, positions and balances were brought to the venue's truth.
            assert agrees(world, all_known=False) is None, agrees(world, all_known=False)
            # An account on which nothing was ever found proves no absence (A2): trading goes on, and then it does.
            world.system.venue.want(world.exchange.site.spot, "orderbook", True)
            async with living(world):
                await asyncio.sleep(5)
                placed = await world.call(
                    "order.place", **day_of(exchange.site)[0][1] | {"client_order_id": "next"}
                )
                assert placed.ok, placed
                # Kraken lets a poll through every 20 s after a start, and a control that waited rests twice as long.
                await true(lambda: not world.account.trading.proof.wants("working"), 300)
                canceled = await world.call("order.cancel", client_order_id="next")
            assert canceled.ok, canceled
            try:
                await true(lambda: settled(world), 600)
            except AssertionError as error:
                raise AssertionError(doubts(world)) from error
            names = [name for name, held in exchange.orders().items() if len(held) > 1]
            assert names == []
            for key, reply in answers.items():
                assert reply.ok, (key, reply)
            assert not any(order.external for order in system.desk.engine.orders.all())


def doubts(world: Real) -> str:
    """What is not settled."""
    engine = world.system.desk.engine
    working = [(o.client_order_id, o.status.value) for o in engine.orders.working()]
    return (
        f"ready {world.system.reconciler.ready}, owed {engine.orders.owed}, gaps {engine.orders.gaps}, "
        f"doubts {engine.doubts}, working {working}, proven {world.account.lookup_proven}, {agrees(world)}"
    )


async def die_everywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> tuple[int, int]:
    virtual_wall(monkeypatch, virtual_loop())
    passed = await boundaries(name, tmp_path)
    kinds = {each for each in passed if not each.endswith(("BalanceSeen", "StateSet"))}
    assert len(kinds) >= 12, sorted(kinds)
    for number in range(0, len(passed), every):
        try:
            await die_and_recover(name, tmp_path / f"{number}.db", number)
        except (AssertionError, ExceptionGroup) as error:
            error.add_note(f"killed at boundary {number}: {passed[number]}")
            raise
    return len(passed), len(kinds)


async def test_killed_at_some_boundaries_journal_and_venue_agree_before_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await die_everywhere("bybit", tmp_path, monkeypatch, 9)


@pytest.mark.slow
@pytest.mark.promise("O5")
@pytest.mark.parametrize("name", list(SITES))
async def test_killed_at_every_boundary_journal_and_venue_agree_before_ready(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, kinds = await die_everywhere(name, tmp_path, monkeypatch, 1)
    print(f"O5: {name}: {count} deaths at {kinds} kinds of boundaries")
