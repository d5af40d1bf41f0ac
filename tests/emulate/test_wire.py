"""What the emulated Bybit writes, held against samples of the exchange's own messages.

ccxt's recorded fixtures are not in its wheel, but its parsers carry samples of what they read in their comments: names and
kinds of fields are taken from there, so that the emulation is not judged by itself alone. Samples are of several versions and
kinds of markets, so a name that only one side has is a question, not a fault: `ABSENT` answers it for the samples.
"""

import asyncio
import inspect
import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from ccxt.async_support import bybit as rest
from ccxt.pro import bybit as pro

from realtime.emulate.bybit import emulated
from realtime.venues.ccxt.exchange import Hooks, make


SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
FIELD = re.compile(r"""(?:"(\w+)"\s*:\s*|(?<=[{,] )(\w+): )(["']|[-0-9tf]|\[|\{|n)""")
KINDS = {'"': "text", "'": "text", "[": "list", "{": "table", "n": "nothing"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def sampled(*parsers: Any) -> dict[str, set[str]]:
    """Fields in the samples of parsers, and the kinds of their values."""
    found: dict[str, set[str]] = {}
    for parser in parsers:
        lines = [line.strip() for line in inspect.getsource(parser).splitlines()]
        told = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        for quoted, bare, first in FIELD.findall(told):
            found.setdefault(quoted or bare, set()).add(KINDS.get(first, "number"))
    return found


def fields(value: Any, found: dict[str, set[str]] | None = None) -> dict[str, set[str]]:
    """The same of a message."""
    found = {} if found is None else found
    if isinstance(value, Mapping):
        for name, inner in value.items():
            kind = {str: "text", list: "list", dict: "table", type(None): "nothing"}
            found.setdefault(name, set()).add(kind.get(type(inner), "number"))
            fields(inner, found)
    elif isinstance(value, list):
        for inner in value:
            fields(inner, found)
    return found


class Heard(Hooks):
    """Keeps what came, by topic of the socket and path of the request."""

    def __init__(self) -> None:
        self.told: dict[str, dict[str, set[str]]] = {}

    def frame(self, url: str, text: str) -> None:
        message = orjson.loads(text)
        topic = str(message.get("topic", message.get("op", ""))).partition(".")[0]
        fields(message, self.told.setdefault(topic, {}))

    def response(
        self, method: str, url: str, status: int, headers: Mapping[str, str], text: str
    ) -> None:
        path = url.partition("/v5/")[2].partition("?")[0]
        fields(orjson.loads(text), self.told.setdefault(path, {}))


SAMPLES: Mapping[str, tuple[Any, ...]] = {
    "orderbook": (pro.handle_order_book,),
    "publicTrade": (pro.handle_trades,),
    "tickers": (pro.handle_ticker,),
    "order": (pro.handle_order,),
    "execution": (pro.handle_my_trades,),
    "wallet": (pro.handle_balance,),
    "position": (pro.handle_positions,),
    "order/realtime": (rest.fetch_open_orders, rest.parse_order),
    "execution/list": (rest.fetch_my_trades, rest.parse_trade),
    "account/wallet-balance": (rest.fetch_balance, rest.parse_balance),
    "position/list": (rest.fetch_positions,),
    "market/orderbook": (rest.fetch_order_book,),
    "market/recent-trade": (rest.fetch_trades,),
}
"""Parsers by what they read."""

ABSENT: Mapping[str, str] = {
    "tickers of options and of leveraged tokens": """
        askIv askPrice askSize bidIv bidPrice bidSize change24h delta gamma id markPriceIv
        predictedDeliveryPrice theta totalTurnover totalVolume underlyingPrice usdIndexPrice
        vega
    """,
    "older versions": """
        acctBalanceSum activePrice balance basePrice cashFlow code createAt createdAt
        debtBalanceSum deleverageIndicator entryPrice free interest isBlockTrade iv
        lastLiquidityInd loan loanAccountList memberId msg occClosingFee orderIM orderMargin
        orderPnl price realisedPnl riskRate sessionRPL sessionUPL size status tokenId total
        tpSLMode tpSlMode tradeId tradeTime transferBalance ts type updatedAt updateTimeStamp
    """,
    "told on the socket alone": "createType execPnl feeCoin isLeverage marketUnit tpslMode",
    "no field, but a currency or prose": "default USDT",
}
"""Fields of the samples that the emulation leaves out, and why."""

DISPUTED = frozenset({"extraFees", "createdTime", "updatedTime"})
"""Written in two ways by the samples themselves: an empty text or list, a time as text or number."""


async def test_the_emulation_writes_its_fields_as_the_exchange_does() -> None:
    """trading:6.8, wire truth."""
    heard = Heard()
    async with emulated(balances={"USDT": 100_000, "BTC": 1}) as server:
        config = {"apiKey": server.key, "secret": server.secret}
        exchange = make("bybit", hooks=heard, config=config, endpoint=server.endpoint)
        tasks: list[asyncio.Future[Any]] = []
        try:
            async with asyncio.timeout(60):
                await exchange.load_markets()
                tasks += [
                    asyncio.ensure_future(watch)
                    for watch in (
                        exchange.watch_order_book(SPOT),
                        exchange.watch_ticker(SWAP),
                        exchange.watch_trades(SPOT),
                        exchange.watch_orders(),
                        exchange.watch_my_trades(),
                        exchange.watch_balance(),
                        exchange.watch_positions(),
                    )
                ]
                # The first answer is a snapshot that was asked for; the second waits for the socket.
                await tasks[-1]
                tasks.append(asyncio.ensure_future(exchange.watch_positions()))
                await asyncio.wait(tasks[:2])
                await exchange.create_order(SPOT, "limit", "buy", 0.01, 60_000)
                await exchange.create_order(SPOT, "market", "buy", 0.01)
                await exchange.fetch_open_orders(SPOT)
                await exchange.fetch_my_trades(SPOT)
                await exchange.fetch_balance()
                await exchange.fetch_order_book(SPOT)
                await exchange.fetch_trades(SPOT)
                while not heard.told.keys() >= SAMPLES.keys():
                    await exchange.create_order(SWAP, "market", "buy", 0.01)
                    await exchange.fetch_positions([SWAP])
                    await asyncio.sleep(0.05)
        finally:
            await exchange.close()
            await asyncio.gather(*tasks, return_exceptions=True)
    absent = set(" ".join(ABSENT.values()).split())
    for about, parsers in SAMPLES.items():
        samples, ours = sampled(*parsers), heard.told[about]
        shared = (ours.keys() & samples.keys()) - DISPUTED

        assert {
            name: ours[name] - samples[name] for name in shared if ours[name] - samples[name]
        } == {}
        # Names of one letter are those of the oldest sockets.
        left_out = {name for name in samples.keys() - ours.keys() if len(name) > 1} - absent
        assert (about, sorted(left_out)) == (about, [])
        assert (about, len(shared) >= 5) == (about, True)
