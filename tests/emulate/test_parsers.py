"""Wire truth: every field that ccxt's parsers read is in our rows, and no request makes us stumble."""

import ast
import inspect
import random
import textwrap
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import ccxt.async_support
import ccxt.pro
import pytest

from realtime.emulate.bybit.codes import Refusal
from realtime.emulate.bybit.face import Bybit
from realtime.emulate.bybit.params import Params
from realtime.emulate.bybit.rest import read_json
from realtime.emulate.bybit.trading import Trading
from realtime.emulate.floor import Customer, Floor
from realtime.emulate.quiet import QuietMarket
from realtime.model.market import SECOND
from realtime.venues.base import Now


SWAP = "BTC/USDT:USDT"
REST, PRO = ccxt.async_support.bybit, ccxt.pro.bybit

OTHERS = {
    # batch orders, classic accounts, other products, histories
    "parse_order": {"code", "category"},
    "parse_trade": {"isBuyer", "lastLiquidityInd", "category", "feeCoin"},
    "parse_position": {"closedSize", "avgExitPrice", "occClosingFee", "updated_at"},
    "parse_ticker": {"time"},
    "parse_ws_trade": {"o", "m"},
    "parse_ws_balance": set(),
}
"""Fields that the exchange's own rows of this kind do not have."""


def read_by(parser: Callable[..., Any]) -> list[tuple[str, ...]]:
    """Names, of which a parser takes the first that is there, from its first argument after self."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(parser))).body
    assert isinstance(function, ast.FunctionDef)
    row = function.args.args[1].arg
    found = []
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        first = node.args[0] if node.args else None
        if not (isinstance(first, ast.Name) and first.id == row):
            continue
        if not node.func.attr.startswith("safe_"):
            continue
        names = [
            each.value
            for argument in node.args[1:]
            for each in ast.walk(argument)
            if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        if names:
            found.append(tuple(names))
    assert found
    return found


def missing(parser: Callable[..., Any], row: dict[str, Any]) -> list[tuple[str, ...]]:
    others = OTHERS[parser.__name__]
    return [names for names in read_by(parser) if not set(names) & (set(row) | others)]


async def opened(now: Now) -> tuple[Floor, Bybit]:
    people = [Customer(balances={"USDT": Decimal(100_000), "BTC": Decimal(1)})]
    floor = Floor(venue="bybit", source=QuietMarket(now=now), customers=people, now=now)
    face = Bybit(floor)
    await floor.open()
    return floor, face


def clock() -> int:
    return 1_800_000_000 * SECOND


async def test_every_field_that_ccxt_reads_is_there() -> None:
    floor, face = await opened(clock)
    told: dict[str, dict[str, Any]] = {}
    face.trading.on_row = lambda _account, topic, category, row: told.update(
        {f"{topic} {category}": row}
    )
    base = {"symbol": "BTCUSDT", "side": "Buy", "qty": "0.01"}
    trading = face.trading
    for category in ("spot", "linear"):
        order: dict[str, object] = {**base, "category": category, "orderType": "Market"}
        trading.create("main", {**order, "marketUnit": "baseCoin"})
        trading.create("main", {**order, "orderType": "Limit", "price": "60000"})
        query: Params = {"category": category, "symbol": "BTCUSDT"}
        market = trading.statements.market(category, "BTCUSDT")
        rows = {
            "order": rows_of(trading.statements.realtime("main", query)),
            "ended": rows_of(trading.statements.history("main", query)),
            "fill": rows_of(trading.statements.executions("main", query)),
        }
        for name in ("order", "ended"):
            assert missing(REST.parse_order, rows[name]) == []
        assert missing(REST.parse_order, told[f"order {category}"]) == []
        assert missing(REST.parse_trade, rows["fill"]) == []
        assert missing(REST.parse_trade, told[f"execution {category}"]) == []
        shown = face.board.ticker(market)
        assert shown is not None
        ticker = dict(shown)
        if category == "spot":
            ticker |= dict.fromkeys(("openInterestValue", "markPrice", "indexPrice"), "")
        assert missing(REST.parse_ticker, ticker) == []
    held = rows_of(
        trading.statements.positions("main", {"category": "linear", "symbol": "BTCUSDT"})
    )
    assert missing(REST.parse_position, held) == []
    assert missing(REST.parse_position, told["position linear"]) == []
    coin = told["wallet "]["coin"][0]
    assert missing(PRO.parse_ws_balance, coin) == []
    assert floor.positions("main")


def rows_of(answer: dict[str, Any]) -> dict[str, Any]:
    first = answer["list"][0]
    assert isinstance(first, dict)
    return first


def odd(chance: random.Random) -> object:
    return chance.choice(
        [
            None, "", "0", "1", "-1", "0.01", 0.01, 1, True, "1e9", "NaN", "BTCUSDT", "Buy", "Sell", "Limit",
            "Market", "64000", "63000", 64_000.5, "spot", "linear", "inverse", [], {}, ["x"], "x" * 40,
            "9" * 25, "1600001800000000001", "00000000-0000-0000-0000-000000000001", "PostOnly", "IOC", "Full",
            "Partial", "2", "StopOrder", "66000", "62000", "\u0000", "Order", "tpslOrder", "quoteCoin", "baseCoin",
        ]
    )  # fmt: skip


FIELDS = (
    "category", "symbol", "side", "orderType", "qty", "price", "timeInForce", "orderLinkId", "orderId",
    "positionIdx", "reduceOnly", "closeOnTrigger", "triggerPrice", "triggerDirection", "triggerBy",
    "orderFilter", "takeProfit", "stopLoss", "tpLimitPrice", "slLimitPrice", "tpslMode", "tpTriggerBy",
    "marketUnit", "limit", "cursor", "startTime", "endTime", "settleCoin", "baseCoin", "buyLeverage",
    "sellLeverage", "trailingStop", "activePrice", "execType", "setMarginMode", "mode",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_is_asked_is_done_or_refused_and_nothing_is_lost(seed: int) -> None:
    floor, face = await opened(clock)
    chance = random.Random(seed)
    trading: Trading = face.trading
    acts: list[Callable[[str, Params], object]] = [
        trading.create,
        trading.amend,
        trading.cancel,
        trading.cancel_all,
        trading.statements.realtime,
        trading.statements.history,
        trading.statements.executions,
        trading.statements.positions,
        trading.set_leverage,
        trading.trading_stop,
        trading.set_margin_mode,
    ]
    usual: dict[str, object] = {
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "qty": "0.01",
        "price": "63900",
    }
    worth = floor.exchange.clearing.worth()
    done = 0
    for _ in range(250):
        act = chance.choice([*acts, trading.create, trading.create])
        params = dict(usual)
        params["category"] = chance.choice(["spot", "linear"])
        params["side"] = chance.choice(["Buy", "Sell"])
        for name in chance.sample(FIELDS, chance.randrange(5)):
            params[name] = odd(chance)
        with suppress(Refusal):
            act("main", params)
            done += 1
        if chance.random() < 0.1:
            market = floor.source
            assert isinstance(market, QuietMarket)
            market.move(chance.choice(["BTC/USDT", SWAP]), chance.randrange(62_000, 66_000))
    assert done > 60
    assert floor.exchange.clearing.worth() == worth


def test_what_is_no_object_is_refused() -> None:
    for body in (b"[]", b"{", b"1", b"\xff"):
        with pytest.raises(Refusal):
            read_json(body)
    assert read_json(b"") == {}
