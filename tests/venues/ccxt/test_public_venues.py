"""The same public data on the emulations of Bybit, Kraken and Bitfinex: each venue's own way to lose a book."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from realtime.emulate.bybit import emulated
from realtime.emulate.faults import Fault, Kind
from realtime.emulate.quiet import QuietMarket
from realtime.model.market import BookSnapshot, Stale, Ticker, Trade
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.public import PublicData
from tests.emulated import bitfinex, kraken
from tests.venues.ccxt.spot import until


SERVERS: dict[str, Any] = {
    "bybit": emulated,
    "kraken": kraken.serve,
    "bitfinex": bitfinex.serve,
}
SYMBOLS = {"bybit": "BTC/USDT", "kraken": "BTC/USD", "bitfinex": "BTC/USD"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Told:
    """An open venue, its data and what it has told."""

    def __init__(self, server: Any, data: PublicData, symbol: str) -> None:
        self.server = server
        self.data = data
        self.symbol = symbol
        self.events: list[Any] = []

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def quiet(self) -> QuietMarket:
        source = self.server.floor.source
        assert isinstance(source, QuietMarket)
        return source

    @property
    def faults(self) -> Any:
        return self.server.floor.faults

    def move(self, price: int) -> None:
        self.quiet.move(self.symbol, price)
        self.quiet.step()


@asynccontextmanager
async def opened(name: str) -> AsyncIterator[Told]:
    serve: AbstractAsyncContextManager[Any] = SERVERS[name]()
    async with serve as server:
        data = PublicData(
            account=Account(id=name, exchange=name, endpoint=server.endpoint),
            now=time.time_ns,
            sleep=lambda seconds: asyncio.sleep(seconds / 5),
            clock=lambda: time.monotonic() * 5,
        )
        await data.open()
        told = Told(server, data, SYMBOLS[name])
        for stream in ("ticker", "orderbook", "trades"):
            data.want(told.symbol, stream, True)
        task = asyncio.create_task(data.run(told.events.extend))
        try:
            await until(lambda: told.of(BookSnapshot) and told.of(Ticker))
            yield told
        finally:
            task.cancel()
            await asyncio.wait([task])


def mid(told: Told) -> float:
    found = told.data.books[told.symbol].mid
    return 0.0 if found is None else float(found)


@pytest.mark.parametrize("name", list(SERVERS))
async def test_a_moving_market_is_followed(name: str) -> None:
    async with opened(name) as told:
        price = round(mid(told)) + 1000
        told.move(price)
        await until(lambda: abs(mid(told) - price) < 5)
        told.quiet.print(told.symbol, price)
        told.quiet.step()
        await until(lambda: any(abs(float(trade.price) - price) < 5 for trade in told.of(Trade)))
        last = told.of(Ticker)[-1]

        assert last.bid is not None
        assert last.ask is not None
        assert told.of(Stale) == []
        assert told.data.faults == 0


@pytest.mark.parametrize(
    ("name", "target"),
    [("bybit", "public/spot:orderbook*"), ("kraken", "*:book")],
)
async def test_a_book_that_is_wrong_is_noticed_and_begun_anew(name: str, target: str) -> None:
    """S7: ccxt checks neither of them."""
    async with opened(name) as told:
        price = round(mid(told)) + 1000
        told.faults.once(target, Fault(Kind.GAP))
        told.move(price)
        await asyncio.sleep(0.05)
        told.move(price + 10)
        await until(lambda: any(stale.cause == "desync" for stale in told.of(Stale)))
        await until(lambda: not told.of(Stale)[-1].stale)
        told.move(price + 20)
        await until(lambda: abs(mid(told) - price - 20) < 5)

        assert told.of(BookSnapshot)[-1].repaired


@pytest.mark.parametrize("name", list(SERVERS))
async def test_a_socket_closed_by_the_venue_comes_back_with_a_fresh_book(name: str) -> None:
    """S9."""
    async with opened(name) as told:
        assert told.faults.strike("*", Fault(Kind.CLOSE, code=1012)) > 0
        await until(lambda: any(stale.cause == "disconnected" for stale in told.of(Stale)))
        price = round(mid(told)) + 1000
        told.move(price)
        await until(lambda: not told.of(Stale)[-1].stale)
        await until(lambda: abs(mid(told) - price) < 5)

        assert told.of(BookSnapshot)[-1].repaired
