"""A stop that only we hold, and what the price did while the server was dead (trading B7).

The whole server twice on one journal, the unpatched client, and an emulated exchange whose prices go on meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime.emulate.faults import Fault, Kind
from realtime.model.orders import OrderType, Status
from tests.conftest import virtual_loop
from tests.fakes import until
from tests.flows.storm import SITES, LoopbackClock, Real, Storm, exchange_at, virtual_wall


OK = Fault(Kind.OK)
NO = Fault(Kind.CODE, code=170130, message="no conditional orders today")
LEGS: dict[str, Any] = {"stop_loss": "60000"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@asynccontextmanager
async def unheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Real]:
    """A dead server that had bought at an exchange which takes no stops, and had watched the price itself."""
    virtual_wall(monkeypatch, virtual_loop())
    site = SITES["bybit"]
    async with exchange_at("bybit", Storm("", site)) as exchange:
        world = Real(exchange, tmp_path / "j.db")
        async with world.life() as system:
            world.system.venue.want(site.spot, "orderbook", True)
            await asyncio.sleep(2)
            exchange.faults.script("POST /v5/order/create", [OK, NO, NO, NO])
            bought = await world.call(
                "order.place",
                symbol=site.spot,
                side="buy",
                type="market",
                amount="0.02",
                client_order_id="c",
                **LEGS,
            )
            assert bought.ok, bought
            await until(lambda: bool(system.desk.engine._applier.legs.watches))
            await asyncio.sleep(60)  # a sample of equity is its last word
        yield world


@asynccontextmanager
async def on_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Real]:
    """A dead server whose paper account on an exchange's prices holds something with a stop and a target."""
    virtual_wall(monkeypatch, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange, tmp_path / "p.db", mode="paper")
        async with world.life():
            symbol = exchange.site.spot
            world.system.venue.want(symbol, "orderbook", True)
            await asyncio.sleep(2)
            exchange.market.move(symbol, 64_000)
            await asyncio.sleep(1)
            order: dict[str, Any] = {
                "symbol": symbol,
                "side": "buy",
                "type": "market",
                "amount": "0.002",
            }
            bought = await world.call("order.place", **order, **LEGS, client_order_id="c")
            assert bought.ok, bought
            await prices(world, 64_000)
        yield world


async def prices(world: Real, *minutes: int) -> None:
    """One price for each minute."""
    for price in minutes:
        world.exchange.market.move(world.exchange.site.spot, price)
        await asyncio.sleep(60)


async def alerts(world: Real) -> list[tuple[str, str]]:
    reply = await world.call("alert.list", limit=100)
    assert reply.result is not None
    found = reply.result["alerts"]
    assert isinstance(found, list)
    return [(one["code"], one["text"]) for one in found]


def exits(world: Real) -> list[tuple[OrderType, Status]]:
    """What was sold there."""
    works = [work for held in world.exchange.orders().values() for _, work in held]
    return [(work.type, work.status) for work in works if work.side == "sell"]


async def test_a_stop_passed_while_the_server_was_dead_is_told_or_fires_once_if_it_holds_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trading:B7."""
    async with unheld(tmp_path, monkeypatch) as world:
        await prices(world, 64_000, 64_000, 59_000, 64_100, 64_200)

        async with world.life() as system:
            told = [text for code, text in await alerts(world) if code == "protection_missed"]
            await prices(world, 64_000, 63_900)

            assert len(told) == 1
            assert "reached the stop_loss 60000 of c while the server was down" in told[0]
            assert exits(world) == []
            assert system.desk.engine._applier.legs.watches  # it goes on

        await prices(world, 64_000, 59_000, 58_900)
        async with world.life():
            await until(lambda: exits(world) == [(OrderType.MARKET, Status.FILLED)])
            await prices(world, 58_000, 64_000, 58_000)

            assert len(exits(world)) == 1
            missed = [code for code, _ in await alerts(world) if code == "protection_missed"]
            assert len(missed) == 1


async def test_a_stop_of_a_paper_account_that_nobody_matched_meanwhile_is_told_likewise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trading:B7. The paper exchange was down with us, and its prices were not."""
    async with on_paper(tmp_path, monkeypatch) as world:
        await prices(world, 64_000, 59_000, 64_100)

        async with world.life() as system:
            await prices(world, 64_000)
            told = dict(await alerts(world))
            (stop,) = system.desk.engine.orders.working()

            assert "reached the stop_loss 60000 of c" in told["protection_missed"]
            assert (stop.type, stop.status) == (OrderType.STOP, Status.OPEN)
            world.exchange.market.move(world.exchange.site.spot, 59_000)
            await until(
                lambda: system.desk.engine.orders.legs_of(stop.parent_id or "")[-1].filled > 0
            )


@pytest.mark.parametrize(
    "name",
    ["bybit", *(pytest.param(name, marks=pytest.mark.slow) for name in ("kraken", "bitfinex"))],
)
async def test_a_target_is_ours_to_watch_where_the_stop_has_the_coins_and_sells_them_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trading:4 mixed, and B7: also when the price got there while the server was dead."""
    virtual_wall(monkeypatch, virtual_loop())
    site = SITES[name]
    async with exchange_at(name, Storm("", site)) as exchange:
        world = Real(exchange, tmp_path / "j.db")

        async def bought(name: str) -> None:
            exchange.market.move(site.spot, site.middle)
            await asyncio.sleep(2)
            order: dict[str, Any] = {"symbol": site.spot, "type": "market", "client_order_id": name}
            legs: dict[str, Any] = {
                "stop_loss": str(site.middle * 9 / 10),
                "take_profit": str(site.middle * 11 / 10),
            }
            await world.call("order.place", **order, side="buy", amount="0.02", **legs)

        async def sold(name: str) -> None:
            """Wait until the target of an order has sold what it bought, and its stop is gone."""
            engine = world.system.desk.engine
            root = world.order(name).id

            def done() -> bool:
                legs = engine.orders.legs_of(root)
                return legs[-1].status is Status.FILLED and all(leg.status.ended for leg in legs)

            await until(done)
            last = engine.orders.legs_of(root)[-1]
            assert (last.type, last.role.value) == (OrderType.MARKET, "take_profit")

        async with world.life() as system:
            world.system.venue.want(site.spot, "orderbook", True)
            exchange.market.move(site.spot, site.middle)
            await asyncio.sleep(2)
            held: dict[str, Any] = {
                "symbol": site.spot,
                "type": "market",
                "side": "sell",
                "amount": "50",
            }
            await world.call("order.place", **held, client_order_id="out")
            await asyncio.sleep(2)
            for dies in (False, True):
                await bought(f"c-{dies}")
                await until(lambda: any(system.desk.engine._applier.legs.watches.values()))
                told = {code for code, _ in await alerts(world) if code.startswith("protection")}
                assert told == {"protection_mixed"}
                if dies:
                    break
                exchange.market.move(site.spot, site.middle * 12 / 10)
                await sold("c-False")
        await prices(world, int(site.middle) * 12 // 10)
        async with world.life():
            await sold("c-True")
            assert "protection_missed" not in dict(await alerts(world))
