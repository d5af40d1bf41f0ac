"""The first start on an account of a real exchange that somebody has just traded with (trading 2.7)."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from realtime.model.orders import Side
from tests.conftest import virtual_loop
from tests.fakes import START_NS
from tests.flows.storm import SITES, LoopbackClock, Real, Storm, exchange_at, virtual_wall
from tests.venues.kit import wish


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.mark.parametrize("ago", [30, 7200])
@pytest.mark.parametrize("name", ["bybit", "kraken", "bitfinex"])
async def test_what_was_traded_before_it_is_in_what_it_finds_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ago: int
) -> None:
    """An order that has filled, and one that has filled in part and works on; an hour ago is read, two are not."""
    loop = virtual_loop()
    virtual_wall(monkeypatch, loop)
    site = SITES[name]
    async with exchange_at(name, Storm("", site)) as exchange:
        floor = exchange.floor.exchange
        best = floor.pits[site.spot].best(Side.SELL)
        for number, fields in enumerate(({}, {"price": str(best)})):
            asked = wish(
                f"s{number}", Side.BUY, "45" if fields else "0.02", symbol=site.spot, **fields
            )
            floor.place("main", asked, loop_ns(loop))
        exchange.floor.tell()
        loop.jump(ago)  # nobody looks meanwhile
        await asyncio.sleep(1)
        world = Real(exchange, tmp_path / "j.db")
        for _ in range(2):
            async with world.life() as system:
                await asyncio.sleep(60)
                books = system.desk.engine._state.account.books
                told = {
                    row.currency: row.available + row.reserved
                    for row in await world.account.balances()
                }
                assert {name: books[name] for name in told} == told
                kinds = {row["data"]["kind"] for row in await world.events("transfer")}
                assert kinds == {"opening"}
                reply = await world.call("alert.list", limit=50)
                rows: Any = (reply.result or {})["alerts"]
                assert {row["code"] for row in rows} == {"external_order"}


def loop_ns(loop: asyncio.AbstractEventLoop) -> int:
    return START_NS + int(loop.time() * 1e9)
