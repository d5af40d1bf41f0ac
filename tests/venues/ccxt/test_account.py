"""The whole server on the emulated Bybit: what it believes is what the exchange has (trading 2.5 to 2.7)."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import pytest

from realtime.app import Making, Outside, open_system
from realtime.emulate.bybit import emulated
from realtime.emulate.faults import LOST
from realtime.model.errors import Code
from realtime.model.orders import Side, Status
from realtime.model.risk import TradingState
from realtime.venues.ccxt.account import Account, Secret
from realtime.venues.ccxt.exchange import Hooks
from realtime.venues.ccxt.public import PublicData
from realtime.venues.ccxt.venue import CcxtVenue
from tests.fakes import World, no_page
from tests.venues.ccxt.desk import SPOT, D, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Real(World):
    """A world whose exchange is on the other side of a socket."""

    server: Any

    def __post_init__(self) -> None:
        super().__init__()

    def order_of(self, side: Side, amount: Any) -> str:
        """The id of the order of this side and amount."""
        orders = self.system.desk.engine.orders.all()
        return next(order.id for order in orders if (order.side, order.amount) == (side, amount))

    def outside(self) -> Outside:
        server, loop = self.server, asyncio.get_running_loop()

        def make(making: Making) -> CcxtVenue:
            account = Account(
                id="bybit",
                exchange="bybit",
                key=Secret(server.key),
                secret=Secret(server.secret),
                endpoint=server.endpoint,
            )
            return CcxtVenue(
                account=account,
                public=PublicData(account=account, now=making.now, sleep=asyncio.sleep),
                calls=Hooks(),
                now=making.now,
                sleep=asyncio.sleep,
                loop=loop,
            )

        return Outside(
            wall=time.time_ns,
            secret=lambda: f"secret{next(self._secrets):010d}",
            venue=make,
            page=no_page,
        )


BUY: dict[str, Any] = {"symbol": SPOT, "side": "buy", "type": "limit", "amount": "0.01"}


async def test_orders_fills_and_money_agree_order_by_order_and_fill_by_fill() -> None:
    async with emulated(balances={"USDT": 100_000, "BTC": 1}) as server:
        world = Real(server)
        async with open_system(world.settings(), world.outside()) as system:
            world.system = system
            engine = system.desk.engine
            await until(lambda: system.reconciler.ready)
            system.venue.want(SPOT, "orderbook", True)
            await until(lambda: engine.mark(SPOT) is not None)

            placed = await world.call("order.place", **BUY, price="60000", client_order_id="a-1")
            taken = await world.call(
                "order.place", symbol=SPOT, side="buy", type="market", amount="0.02"
            )
            assert placed.ok, placed
            assert taken.ok, taken
            server.faults.once("*order/create", LOST)
            lost = await world.call("order.place", **BUY, price="59000", client_order_id="a-2")

            assert lost.code is Code.OUTCOME_UNKNOWN

            await until(lambda: world.order("a-2").status is Status.OPEN)
            await until(lambda: engine.books and not engine.orders.gaps)
            await until(lambda: len(engine.fills_of(world.order_of(Side.BUY, D("0.02")))) > 0)
            theirs = {fill.trade_id: fill for fill in server.floor.fills("main")}
            ours = {
                fill.id: fill for order in engine.orders.all() for fill in engine.fills_of(order.id)
            }

            assert {(f.amount, f.price, f.fee) for f in ours.values()} == {
                (f.amount, f.price, f.fee) for f in theirs.values()
            }
            assert len(server.floor.orders("main")) == len(engine.orders.working()) == 2
            assert engine.state() is TradingState.ACTIVE
            # Of the coins that were there before, nobody knows what they had cost.
            assert engine.positions[SPOT].amount == D("1.01998")
            assert engine.positions[SPOT].cost is None

            canceled = await world.call("order.cancel", client_order_id="a-2")

            assert canceled.ok, canceled
            await until(lambda: world.order("a-2").status is Status.CANCELED)
