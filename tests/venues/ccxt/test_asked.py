"""Fees and condition of an exchange, through the real client."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from realtime.emulate.bybit import emulated
from realtime.model.errors import VenueUnknown
from realtime.venues.ccxt.asked import condition, fees
from realtime.venues.ccxt.exchange import Hooks, make


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_fees_are_those_of_the_account() -> None:
    async with emulated(symbols=("BTC/USDT",)) as bybit:
        config = {"apiKey": bybit.key, "secret": bybit.secret}
        exchange = make("bybit", hooks=Hooks(), config=config, endpoint=bybit.endpoint)
        try:
            told = await fees(exchange, "BTC/USDT", "bybit")
            exchange.secret = "wrong"
            with pytest.raises(VenueUnknown, match="AuthenticationError"):
                await fees(exchange, "BTC/USDT", "bybit")
            with pytest.raises(VenueUnknown):
                await condition(exchange, "bybit")
        finally:
            await exchange.close()

    assert told is not None
    assert all(Decimal(0) < rate < Decimal("0.01") for rate in told)


class Answering:
    """As much of ccxt as is asked for, with given answers."""

    def __init__(self, has: Mapping[str, bool], answer: Any) -> None:
        self.has = has
        self.answer = answer

    async def fetch_trading_fees(self) -> Any:
        return self.answer

    async def fetch_status(self) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"A/B": {"maker": 0.001, "taker": 0.002}}, (Decimal("0.001"), Decimal("0.002"))),
        ({"A/B": {"maker": None, "taker": 0.002}}, None),
        ({}, None),
        ("<html>", None),
    ],
)
async def test_fees_in_another_shape_are_not_told(answer: Any, told: object) -> None:
    assert await fees(Answering({"fetchTradingFees": True}, answer), "A/B", "x") == told
    assert await fees(Answering({}, answer), "A/B", "x") is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {"status": "maintenance", "eta": 1_790_000_000_000, "url": "https://x"},
            {"status": "maintenance", "eta": 1_790_000_000_000, "url": "https://x"},
        ),
        ({"status": "shutdown"}, {"status": "down", "eta": None, "url": None}),
        ({"status": "?"}, None),
        ("<html>", None),
    ],
)
async def test_a_condition_in_words_of_ours(answer: Any, told: object) -> None:
    assert await condition(Answering({"fetchStatus": True}, answer), "x") == told
