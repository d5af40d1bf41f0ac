"""The floor, the quiet market, the faults and the command behind every emulation."""

import asyncio
import re
import signal
import subprocess
import sys
from decimal import Decimal
from typing import Any

import ccxt.pro
import orjson
import pytest

from realtime.emulate import command
from realtime.emulate.faults import OK, Fault, Faults, Kind
from realtime.emulate.floor import Customer, Floor, client_id_of
from realtime.emulate.quiet import QuietMarket
from realtime.model.errors import Refused
from realtime.model.events import Filled, OrderSeen, Transferred
from realtime.model.market import SECOND, Trade
from realtime.model.orders import OrderType, Side, Status, TimeInForce


SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


async def opened(clock: Clock) -> tuple[Floor, QuietMarket, list[Any]]:
    market = QuietMarket(now=clock)
    people = [Customer(balances={"USDT": Decimal(100_000)})]
    floor = Floor(venue="x", source=market, customers=people, now=clock)
    told: list[Any] = []
    floor.on_account.append(lambda _account, events: told.extend(events))
    floor.on_public.append(lambda events: told.extend(e for e in events if isinstance(e, Trade)))
    await floor.open()
    told.clear()
    return floor, market, told


async def test_a_listener_hears_of_a_fill_what_the_matching_told_in_its_order() -> None:
    floor, market, told = await opened(Clock())
    work = floor.place(
        "main",
        symbol=SPOT,
        side=Side.BUY,
        type=OrderType.LIMIT,
        amount=Decimal("0.01"),
        price=Decimal(63_000),
    )
    assert client_id_of(work) is None
    market.move(SPOT, 62_000)
    kinds = [type(event).__name__ for event in told]
    assert kinds[:2] == ["OrderSeen", "BalanceSeen"]
    assert kinds[2:6] == ["Filled", "OrderSeen", "BalanceSeen", "BalanceSeen"]
    assert floor.work("main", work.id) is work
    assert work.status is Status.FILLED
    assert [trade.price for trade in told if isinstance(trade, Trade)][-1] == "62000.00"


async def test_fundings_that_a_long_sleep_passed_over_are_paid_each() -> None:
    clock = Clock()
    eight = 8 * 3600 * SECOND
    clock.now = clock.now // eight * eight + 3600 * SECOND
    floor, market, told = await opened(clock)
    kind, one = OrderType.MARKET, Decimal("0.1")
    floor.place("main", symbol=SWAP, side=Side.BUY, type=kind, amount=one, leverage=Decimal(5))
    clock.now += 20 * 3600 * SECOND
    market.step()
    market.step()

    paid = [event.ts for event in told if isinstance(event, Transferred)]
    assert paid == [(clock.now // eight - 1) * eight, clock.now // eight * eight]


async def test_a_listener_may_place_orders_and_they_are_told_after_what_is_told_now() -> None:
    floor, _, told = await opened(Clock())

    def answer(account: str, events: Any) -> None:
        for event in events:
            if isinstance(event, Filled) and event.side is Side.BUY:
                floor.place(
                    account,
                    symbol=SWAP,
                    side=Side.SELL,
                    type=OrderType.MARKET,
                    amount=event.amount,
                    reduce_only=True,
                )

    floor.on_account.append(answer)
    floor.place("main", symbol=SWAP, side=Side.BUY, type=OrderType.MARKET, amount=Decimal("0.01"))
    sides = [event.side for event in told if isinstance(event, Filled)]
    assert sides == [Side.BUY, Side.SELL]
    states = [(event.side, event.status) for event in told if isinstance(event, OrderSeen)]
    assert states == [
        (Side.BUY, Status.OPEN),
        (Side.BUY, Status.FILLED),
        (Side.SELL, Status.OPEN),
        (Side.SELL, Status.FILLED),
    ]
    assert floor.positions("main") == []


async def test_time_passes_when_the_clock_says_so() -> None:
    clock = Clock()
    floor, market, _ = await opened(clock)
    work = floor.place(
        "main",
        symbol=SPOT,
        side=Side.BUY,
        type=OrderType.LIMIT,
        amount=Decimal("0.01"),
        price=Decimal(63_000),
        time_in_force=TimeInForce.GTD,
        good_till_ts=clock.now + SECOND,
    )
    seen = []
    for _ in range(2):
        market.step()
        seen.append(work.status)
        clock.now += 2 * SECOND
    assert seen == [Status.OPEN, Status.EXPIRED]


async def test_bars_are_flat_before_the_start_and_folded_from_trades_after_it() -> None:
    clock = Clock()
    floor, market, _ = await opened(clock)
    market.move(SPOT, 65_000)
    clock.now += 60 * SECOND
    market.print(SPOT, 65_500, "0.5")
    bars = await floor.bars(SPOT, "1m", None, 4)
    assert [(bar.open, bar.close) for bar in bars] == [
        ("64000.00", "64000.00"),
        ("64000.00", "64000.00"),
        ("64000.00", "65000.00"),
        ("65500.00", "65500.00"),
    ]
    assert [trade.price for trade in await floor.trades(SPOT, 2)] == ["65000.00", "65500.00"]


def test_scripts_meet_what_they_match_oldest_first_and_once() -> None:
    faults = Faults()
    faults.script("POST *create", [OK, Fault(Kind.HTML)])
    faults.once("POST */amend", Fault(Kind.DROP), times=2)
    faults.always("GET *", Fault(Kind.SLOW))

    def kinds(target: str, count: int) -> list[str]:
        found = [faults.take(target) for _ in range(count)]
        return ["" if each is None else str(each.kind) for each in found]

    assert kinds("POST /v5/order/create", 3) == ["", "html", ""]
    assert kinds("POST /v5/order/amend", 3) == ["drop", "drop", ""]
    assert kinds("GET /x", 2) == ["slow", "slow"]
    assert faults.count(Kind.DROP) == 2
    faults.once("order", Fault(Kind.HTML))
    assert faults.take("order", Kind.LATE) is None
    faults.clock_ms = 5
    faults.clear("GET *")
    assert (faults.take("GET /x"), faults.clock_ms) == (None, 5)
    faults.clear()
    assert (faults.take("order"), faults.clock_ms) == (None, 0)


def test_the_command_refuses_what_it_should_not_start() -> None:
    assert command.read_balances([]) == {"USDT": Decimal(10_000)}
    assert command.read_balances(["usdt=5", "BTC=0.5"]) == {
        "USDT": Decimal(5),
        "BTC": Decimal("0.5"),
    }
    for bad in ("USDT", "USDT=0", "=5", "USDT=NaN", "U-T=5"):
        with pytest.raises(Refused):
            command.read_balances([bad])
    deposits = command.read_balances([])
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        command.check(command.Options(host=host, balances=deposits))
    command.check(command.Options(host="0.0.0.0", expose=True, balances=deposits))
    for host in ("0.0.0.0", "10.0.0.1", "example.org"):
        with pytest.raises(Refused, match="--expose"):
            command.check(command.Options(host=host, balances=deposits))
    with pytest.raises(Refused, match="there is bybit"):
        command.check(command.Options(exchange="mtgox", balances=deposits))


class TestCommand:
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_a_client_configured_as_it_says_trades_and_a_signal_ends_it(self) -> None:
        words = "emulate bybit --port 0 --balance USDT=5000 --key k --secret s --seed 3"
        with subprocess.Popen(  # noqa: ASYNC220 - a process to talk to; nothing else runs meanwhile
            [sys.executable, "-m", "realtime", *words.split()], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            said = ""
            while "CONFIG     " not in said:
                line = await asyncio.to_thread(process.stdout.readline)
                assert line, said
                said += line
            found = re.search(r"CONFIG     (\{.*\})", said)
            assert found is not None
            config = orjson.loads(found[1])
            quick = {
                "apiKey": "k",
                "secret": "s",
                "enableRateLimit": False,
                "timeout_on_exit": 0,
                "timeout": 5000,
            }
            client = ccxt.pro.bybit({**quick, **config})
            try:
                await client.load_markets()
                assert len(client.markets) == 13
                await client.create_order("ETH/USDT", "market", "buy", 0.1)
                balance = await client.fetch_balance()
                assert balance["ETH"]["total"] == 0.0999
                async with asyncio.timeout(30):
                    assert (await client.watch_trades("BTC/USDT"))[-1]["symbol"] == "BTC/USDT"
                    bars = await client.fetch_ohlcv("BTC/USDT", "1h", None, 30)
                assert len(bars) == 30
            finally:
                await client.close()
                process.send_signal(signal.SIGTERM)
            assert process.wait(5) == 0
