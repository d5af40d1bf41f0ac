"""The last moment before an order leaves: turns that do not come, halts that do, requests that are lost."""

import asyncio

import pytest

from realtime.model.errors import Code, Refused
from realtime.venues.ccxt import calls
from realtime.venues.ccxt.way import Lane, lane
from tests.venues.ccxt.desk import approved, desk, order
from tests.venues.ccxt.test_calls import Kraken, connected


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_an_order_whose_turn_did_not_come_in_time_was_not_sent_and_that_is_certain() -> None:
    """It was unknown, and at a slow exchange most orders of a busy minute were."""
    async with desk() as world:
        await world.venue.open_orders()

        async def never(_cost: float | None = None) -> None:
            await asyncio.sleep(60)

        world.venue.exchange.throttle = never
        with pytest.raises(Refused) as raised:
            async with asyncio.timeout(0.05):
                await world.venue.submit(approved(order("late", price="60000")))

        assert raised.value.code is Code.BUSY
        assert world.server.floor.orders("main") == []


async def test_what_may_not_leave_any_more_is_asked_for_behind_the_limit() -> None:
    """A halt comes while an order waits for the exchange's own limit."""
    async with desk() as world:
        await world.venue.open_orders()

        def shut(_approved: object) -> None:
            raise Refused(Code.HALTED, "halted")

        world.venue.guard(shut)
        with pytest.raises(Refused) as raised:
            await world.venue.submit(approved(order("late", price="60000")))

        assert raised.value.code is Code.HALTED
        assert world.server.floor.orders("main") == []


async def test_a_request_without_an_answer_does_not_hold_up_a_cancel_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At Kraken and Bitfinex one lost request kept cancels from being signed until it timed out."""
    monkeypatch.setattr(calls, "PATIENCE_S", 0.05)
    server = Kraken(takes_s=0.4)
    async with connected(server) as (exchange, _, _):
        loop = asyncio.get_running_loop()
        lost = asyncio.ensure_future(exchange.private_post_balance())
        await asyncio.sleep(0.01)
        began = loop.time()
        with lane(Lane.CANCEL):
            await exchange.private_post_cancelorder()
        await lost

        assert loop.time() - began < 0.75
        assert server.most_flying == 2
        assert server.refused == 0
