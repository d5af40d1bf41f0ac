"""What a real exchange refuses or changes under a running server: each a coded error or notice, never silence.

Issue "Real exchanges", bad input; the whole server on the emulated Bybit.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime.app import RefusedStart, open_system
from realtime.emulate.faults import Fault, Kind
from realtime.model.errors import Code
from tests.conftest import virtual_loop
from tests.flows.storm import SITES, Exchange, LoopbackClock, Real, Storm, exchange_at, virtual_wall


SYMBOL = "BTC/USDT"
BUY: dict[str, Any] = {"symbol": SYMBOL, "side": "buy", "type": "limit", "amount": "0.01"}
FAR = BUY | {"price": "60000"}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": LoopbackClock}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return monkeypatch


@asynccontextmanager
async def trading(
    site: pytest.MonkeyPatch, *, ready: bool = True
) -> AsyncIterator[tuple[Real, Exchange]]:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange)
        async with world.life(ready=ready):
            await asyncio.sleep(5)
            yield world, exchange


async def alerts(world: Real) -> dict[str, str]:
    """Texts of alerts by code."""
    reply = await world.call("alert.list", limit=500)
    assert reply.result is not None
    rows: Any = reply.result["alerts"]
    return {row["code"]: row["text"] for row in rows}


async def test_wrong_keys_are_told_once_and_nothing_trades(site: pytest.MonkeyPatch) -> None:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        exchange.secret = "not-the-secret-at-all"
        world = Real(exchange)
        async with world.life(ready=False) as system:
            await asyncio.sleep(30)
            told = await alerts(world)
            reply = await world.call("order.place", **FAR)

            assert "does not accept the key" in told["key_denied"]
            assert reply.code is Code.VENUE_UNAVAILABLE
            assert not system.reconciler.ready
            assert system.settings.mode == "live"
            assert exchange.orders() == {}


@pytest.mark.parametrize(
    ("change", "word"), [({"exchange": "bybitt"}, "bybit"), ({"symbols": ["NO/SUCH"]}, "NO/SUCH")]
)
async def test_an_unknown_exchange_or_symbol_refuses_the_start(
    site: pytest.MonkeyPatch, change: dict[str, Any], word: str
) -> None:
    virtual_wall(site, virtual_loop())
    async with exchange_at("bybit", Storm("", SITES["bybit"])) as exchange:
        world = Real(exchange)
        world.account_settings = change
        with pytest.raises(BaseExceptionGroup) as raised:
            async with open_system(world.settings(), world.outside()):
                pass
        found = raised.value.subgroup(RefusedStart)
        assert found is not None
        assert word in repr(found)


async def test_the_venue_s_refusals_have_codes(site: pytest.MonkeyPatch) -> None:
    """No permission, no money, too many requests, a symbol that is not there."""
    async with trading(site) as (world, exchange):
        create = "POST /v5/order/create"
        cases = (
            (Fault(Kind.CODE, code=10005, message="Permission denied"), Code.VENUE_REJECTED),
            (
                Fault(Kind.CODE, code=170131, message="Insufficient balance."),
                Code.INSUFFICIENT_FUNDS,
            ),
            (Fault(Kind.CODE, code=10006, message="Too many visits"), Code.RATE_LIMITED),
        )
        for number, (fault, code) in enumerate(cases):
            exchange.market.move(SYMBOL, 64_000)
            await asyncio.sleep(0.2)
            exchange.faults.once(create, fault)
            reply = await world.call("order.place", **FAR, client_order_id=f"c-{number}")
            assert reply.code is code, reply
            assert reply.error is not None
            assert str(fault.message) in str(reply.error["message"])
        missing = await world.call("order.place", **(FAR | {"symbol": "NO/SUCH"}))
        assert missing.code in {Code.NOT_FOUND, Code.INVALID}
        assert exchange.orders() == {}


async def test_answers_of_the_wrong_shape_are_no_information(site: pytest.MonkeyPatch) -> None:
    async with trading(site) as (world, exchange):
        exchange.market.move(SYMBOL, 64_000)
        await asyncio.sleep(0.2)
        placed = await world.call("order.place", **FAR, client_order_id="stays")
        assert placed.ok, placed
        for kind in (Kind.HTML, Kind.TRUNCATED):
            exchange.faults.always("GET /v5/order/*", Fault(kind))
            exchange.faults.always("GET /v5/account/*", Fault(kind))
        await asyncio.sleep(40)

        assert world.order("stays").status.value == "open"
        held = {b.currency: b.total for b in world.system.desk.engine.balances.values()}
        assert held["USDT"] == 5_000_000


async def test_a_wrong_clock_refuses_orders_and_says_what_to_do(site: pytest.MonkeyPatch) -> None:
    virtual_wall(site, virtual_loop())
    storm = Storm("", SITES["bybit"])
    async with exchange_at("bybit", storm) as exchange:
        world = Real(exchange)
        async with world.life():
            await asyncio.sleep(5)
            storm.clock_ms = -30_000
            await world.account.calls.offset.measure()  # type: ignore[union-attr]  # Bybit tells its time
            exchange.market.move(SYMBOL, 64_000)
            await asyncio.sleep(0.2)
            reply = await world.call("order.place", **FAR)

            assert reply.code is Code.VENUE_UNAVAILABLE
            assert reply.error is not None
            assert "set the clock of this machine" in str(reply.error["message"])
            assert "clock_offset" in await alerts(world)
