"""What ccxt makes of Kraken, and what we make of it: the real client on the emulated Kraken."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from realtime.model.errors import VenueUnknown
from realtime.model.events import BalanceSeen, Filled, OrderSeen
from realtime.model.orders import Order, OrderType, Status
from realtime.venues.ccxt import mended
from tests.emulated import kraken
from tests.venues.ccxt.desk import D, Desk, amend, approved, order, until, venue_at


SYMBOL = "BTC/USD"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def world_of(*, running: bool = False, speed: float = 1.0) -> AsyncIterator[Desk]:
    async with (
        kraken.serve() as server,
        venue_at(
            "kraken", server, kraken.KEY, kraken.SECRET, running=running, speed=speed
        ) as world,
    ):
        if running:
            await subscribed(world)
        yield world


async def subscribed(world: Desk) -> None:
    def listening() -> bool:
        private = [client.private for client in world.server.streams.clients]
        return {"executions", "balances"} <= set().union(*private)

    await until(listening)


async def placed(world: Desk, name: str, side: str = "buy", **fields: Any) -> Order:
    asked = order(name, side, symbol=SYMBOL, **fields)
    ack = await world.venue.submit(approved(asked))
    return replace(asked, exchange_order_id=ack.exchange_order_id)


def seen(world: Desk, asked: Order) -> list[OrderSeen]:
    return [row for row in world.of(OrderSeen) if row.exchange_order_id == asked.exchange_order_id]


async def test_working_orders_are_listed_under_their_market() -> None:
    async with world_of() as world:
        asked = await placed(world, "a", price="50000")

        assert [(row.symbol, row.exchange_order_id) for row in await world.venue.open_orders()] == [
            (SYMBOL, asked.exchange_order_id)
        ]


async def test_a_working_order_of_a_market_that_nobody_knows_is_no_list() -> None:
    async with world_of() as world:
        await placed(world, "a", price="50000")
        for table in ("marketsByAltname", "delistedMarketsById"):
            world.venue.exchange.options[table] = {}

        with pytest.raises(VenueUnknown, match="unknown market"):
            await world.venue.open_orders()


async def test_an_amend_leaves_the_order_its_id() -> None:
    async with world_of() as world:
        asked = await placed(world, "a", price="50000")
        ack = await world.venue.amend(amend(asked, price="49000", amount="0.02"))
        found = await world.venue.find(asked)

        assert ack.exchange_order_id == asked.exchange_order_id
        assert found is not None
        assert (found.price, found.amount) == (D(49_000), D("0.02"))


async def test_the_stream_tells_the_whole_order_although_its_later_rows_do_not() -> None:
    async with world_of(running=True) as world:
        asked = await placed(world, "a", price="50000", amount="0.02")
        await until(lambda: seen(world, asked))
        world.server.floor.source.move(SYMBOL, 49_000)
        await until(lambda: world.of(Filled))
        other = await placed(world, "b", price="40000", amount="0.02")
        await until(lambda: seen(world, other))
        await world.venue.cancel(other)
        await until(lambda: seen(world, other)[-1].status is Status.CANCELED)
        await until(lambda: seen(world, asked)[-1].status is Status.FILLED)

        for row in (seen(world, asked)[-1], seen(world, other)[-1]):
            assert (row.symbol, row.side, row.amount) == (SYMBOL, "buy", D("0.02"))
        assert seen(world, asked)[-1].filled == D("0.02")
        assert seen(world, other)[-1].filled == 0
        assert {row.venue_client_id for row in seen(world, asked)} == {asked.venue_client_id}


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": OrderType.STOP, "stop_price": "50000"}, "stop"),
        ({"type": OrderType.STOP_LIMIT, "stop_price": "50000", "price": "49000"}, "stop_limit"),
        ({"type": OrderType.TAKE_PROFIT, "stop_price": "70000"}, "take_profit"),
    ],
    ids=["stop", "stop limit", "take profit"],
)
async def test_triggers_keep_their_kind_and_prices(fields: dict[str, Any], kind: str) -> None:
    async with world_of(running=True) as world:
        asked = await placed(world, "a", "sell", **fields)
        await until(lambda: seen(world, asked))
        found = await world.venue.find(asked)

        assert found is not None
        for row in (found, seen(world, asked)[-1]):
            assert (row.type, row.stop_price, row.price) == (kind, asked.stop_price, asked.price)


async def test_what_is_held_is_asked_for_because_the_stream_tells_totals_alone() -> None:
    async with world_of(running=True, speed=30) as world:
        await until(lambda: world.of(BalanceSeen))
        assert {
            row.balance.currency: row.balance.available for row in world.of(BalanceSeen)
        } == kraken.BALANCES
        await placed(world, "a", price="50000", amount="1")

        def told() -> bool:
            rows = [row.balance for row in world.of(BalanceSeen) if row.balance.currency == "USD"]
            return bool(rows) and rows[-1].reserved >= 50_000

        await until(told)


async def test_a_session_that_was_refused_is_not_waited_for() -> None:
    async with (
        kraken.serve() as server,
        venue_at("kraken", server, kraken.KEY, kraken.SECRET) as world,
    ):
        await world.venue.balances()
        exchange = world.venue.exchange
        await exchange.authenticate()
        server.streams._tokens.clear()
        task = asyncio.create_task(world.venue.run())
        try:
            await subscribed(world)
            asked = await placed(world, "a", price="50000")
            await until(lambda: seen(world, asked))
        finally:
            task.cancel()
            await asyncio.wait([task])

        assert ("critical", "key_denied") not in world.alerts


def test_rows_filed_under_another_kind_are_told() -> None:
    row = {"info": {"exec_type": "canceled", "order_id": "O"}}

    assert mended.told_elsewhere("kraken", "fill", row) == "order"
    assert mended.told_elsewhere("kraken", "order", {"info": {"exec_type": "trade"}}) == "fill"
    assert mended.told_elsewhere("kraken", "order", row) is None
    assert mended.told_elsewhere("bybit", "fill", row) is None


def test_a_row_is_as_old_as_what_it_tells_not_as_its_arrival() -> None:
    """Rows that come in another order than they were written in make no ended order work again."""
    told = {"timestamp": 1_700_000_000_123, "info": {"exec_type": "new", "order_status": "new"}}
    assert mended.order("kraken", told)["lastUpdateTimestamp"] == 1_700_000_000_123

    info = [7, None, 5, "tBTCUSD", 1, 1_700_000_000_456, *[0] * 7, "ACTIVE", *[0] * 6]
    assert mended.order("bitfinex", {"info": info})["lastUpdateTimestamp"] == 1_700_000_000_456


async def test_the_end_of_an_order_in_a_frame_that_begins_with_a_trade_is_not_lost() -> None:
    async with world_of(running=True) as world:
        asked = await placed(world, "a", price="50000", amount="0.02")
        await until(lambda: seen(world, asked))
        names = {"order_id": asked.exchange_order_id, "order_userref": 0}
        trade = {
            **names, "exec_id": "T-1", "exec_type": "trade", "trade_id": 1, "symbol": SYMBOL,
            "side": "buy", "last_qty": 0.005, "last_price": 50_000, "liquidity_ind": "t",
            "order_status": "partially_filled", "order_type": "limit", "cum_qty": 0.005,
            "cum_cost": 250, "fees": [{"asset": "USD", "qty": 0.65}],
            "timestamp": "2030-01-01T00:00:00.000000Z",
        }  # fmt: skip
        end = {
            **names, "exec_type": "canceled", "order_status": "canceled", "cum_qty": 0.005,
            "cum_cost": 250, "avg_price": 50_000, "timestamp": "2030-01-01T00:00:00.000000Z",
        }  # fmt: skip
        client = next(one for one in world.server.streams.clients if "executions" in one.private)
        world.server.streams._tell_private(client, "executions", "update", [trade, end])
        await until(lambda: seen(world, asked)[-1].status is Status.CANCELED)

        last = seen(world, asked)[-1]
        assert (last.amount, last.filled, last.cost) == (D("0.02"), D("0.005"), D(250))
        assert [fill.amount for fill in world.of(Filled)] == [D("0.005")]
