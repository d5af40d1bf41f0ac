"""The same venue on the emulated Kraken and Bitfinex: other ids, other look-ups, other rows."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from realtime.emulate.faults import LOST, Fault, Kind
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import Filled, OrderSeen
from realtime.model.orders import Status
from tests.emulated import bitfinex, kraken
from tests.venues.ccxt.desk import D, approved, order, until, venue_at


SYMBOL = "BTC/USD"
BOTH = pytest.mark.parametrize("name", ["kraken", "bitfinex"])


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def place(name: str) -> Any:
    return {"kraken": kraken, "bitfinex": bitfinex}[name]


def resting(number: str) -> Any:
    return order(number, symbol=SYMBOL, price="50000")


@BOTH
async def test_an_order_is_placed_found_by_our_client_id_and_canceled(name: str) -> None:
    module = place(name)
    async with (
        module.serve() as server,
        venue_at(name, server, module.KEY, module.SECRET) as world,
    ):
        asked = resting("a-1")
        ack = await world.venue.submit(approved(asked))
        found = await world.venue.find(asked)

        assert found is not None
        assert (found.exchange_order_id, found.status) == (ack.exchange_order_id, Status.OPEN)
        assert found.venue_client_id == asked.venue_client_id

        await world.venue.cancel(replace(asked, exchange_order_id=ack.exchange_order_id))
        gone = await world.venue.find(replace(asked, exchange_order_id=ack.exchange_order_id))

        assert gone is not None
        assert gone.status is Status.CANCELED
        assert await world.venue.open_orders() == []
        assert world.venue.lookup_proven


@BOTH
async def test_an_order_whose_answer_was_lost_is_found_and_canceled_by_our_id(name: str) -> None:
    """trading:S11."""
    module = place(name)
    async with (
        module.serve() as server,
        venue_at(name, server, module.KEY, module.SECRET) as world,
    ):
        await world.venue.open_orders()
        asked = resting("a-1")
        target = "*AddOrder" if name == "kraken" else "*order/submit"
        server.faults.once(target, LOST)
        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(asked))
        found = await world.venue.find(asked)

        assert found is not None
        assert found.status is Status.OPEN

        await world.venue.cancel(asked)

        assert await world.venue.open_orders() == []
        assert await world.venue.find(resting("never")) is None


@BOTH
async def test_fills_have_their_fees_and_are_told_once(name: str) -> None:
    """trading:2.5."""
    module = place(name)
    async with (
        module.serve() as server,
        venue_at(name, server, module.KEY, module.SECRET, running=True) as world,
    ):
        await asyncio.sleep(0.3)
        await world.venue.submit(approved(order("a-1", symbol=SYMBOL)))
        await until(lambda: sum(fill.amount for fill in world.of(Filled)) >= D("0.01"))
        fills = await world.venue.fills(0)

        told = {fill.trade_id: fill for fill in world.of(Filled)}
        assert set(told) == {fill.trade_id for fill in fills}
        assert len(world.of(Filled)) == len(told)
        assert all(fill.fee > 0 for fill in fills)
        assert {(fill.fee, fill.fee_currency) for fill in fills} == {
            (fill.fee, fill.fee_currency) for fill in told.values()
        }
        await until(lambda: any(row.status.ended for row in world.of(OrderSeen)))


@BOTH
async def test_refusals_are_certain_and_answers_without_shape_are_none(name: str) -> None:
    module = place(name)
    async with (
        module.serve() as server,
        venue_at(name, server, module.KEY, module.SECRET) as world,
    ):
        with pytest.raises(VenueRejected) as raised:
            await world.venue.submit(
                approved(order("a-1", symbol=SYMBOL, amount="90", price="50000"))
            )
        assert raised.value.code is Code.INSUFFICIENT_FUNDS

        for fault in (Fault(Kind.HTML), Fault(Kind.TRUNCATED)):
            server.faults.always("POST *", fault)
            for ask in (world.venue.open_orders, world.venue.balances):
                with pytest.raises(VenueUnknown):
                    await ask()
            with pytest.raises(VenueUnknown):
                await world.venue.submit(approved(resting("a-2")))
            server.faults.clear()


@BOTH
async def test_balances_are_read(name: str) -> None:
    module = place(name)
    async with (
        module.serve() as server,
        venue_at(name, server, module.KEY, module.SECRET) as world,
    ):
        await world.venue.submit(approved(resting("a-1")))
        held = {row.currency: row for row in await world.venue.balances()}

        assert held["BTC"].total == D(2)
        assert held["USD"].total == D(100_000)
