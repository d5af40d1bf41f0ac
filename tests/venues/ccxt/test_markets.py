"""Markets of ccxt as ours, and what becomes of them."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime.venues.ccxt import markets
from realtime.venues.ccxt.markets import DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE, Change


def row(**more: Any) -> dict[str, Any]:
    return {
        "symbol": "BTC/USDT",
        "id": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "type": "spot",
        "active": True,
        "precision": {"price": 0.01, "amount": 1e-05},
        "limits": {"amount": {"min": 1e-05, "max": 9000.0}, "cost": {"min": 5.0}},
        "maker": 0.001,
        "taker": 0.002,
        "info": {},
    } | more


@pytest.mark.parametrize(
    ("mode", "price", "amount", "last", "tick", "step"),
    [
        (TICK_SIZE, 0.01, 1e-05, None, "0.01", "0.00001"),
        (TICK_SIZE, 2.5, 10.0, None, "2.5", "10"),
        (DECIMAL_PLACES, 2, 0, None, "0.01", "1"),
        (DECIMAL_PLACES, -1, 8, None, "10", "0.00000001"),
        (SIGNIFICANT_DIGITS, 5, 8, 64_000.0, "1", "0.00000001"),
        (SIGNIFICANT_DIGITS, 5, 8, 0.5, "0.00001", "0.00000001"),
        (SIGNIFICANT_DIGITS, 5, 8, 1e-7, "0.00000001", "0.00000001"),
        (SIGNIFICANT_DIGITS, 5, 8, None, "0.00000001", "0.00000001"),
        (TICK_SIZE, None, 0.0, None, "0.00000001", "0.00000001"),
    ],
)
def test_a_grid_is_read_in_each_of_ccxts_modes(
    mode: int, price: Any, amount: Any, last: float | None, tick: str, step: str
) -> None:
    market = markets.market_of(row(precision={"price": price, "amount": amount}), mode, last)

    assert market is not None
    assert (market.price_tick, market.amount_step) == (Decimal(tick), Decimal(step))


def test_limits_and_fees_are_exact_and_missing_ones_are_none() -> None:
    market = markets.market_of(row(), TICK_SIZE)

    assert market is not None
    assert (market.min_amount, market.max_amount) == (Decimal("0.00001"), Decimal("9000.0"))
    assert (market.min_cost, market.max_market_amount) == (Decimal("5.0"), None)
    assert (market.maker, market.taker) == (Decimal("0.001"), Decimal("0.002"))
    assert (market.contract_size, market.max_leverage, market.settle) == (
        Decimal(1),
        Decimal(1),
        None,
    )


def test_a_limit_of_many_digits_is_read_from_the_venues_string() -> None:
    """M4."""
    text = "92233720368.547758070"
    limits = {"amount": {"max": float(text)}}
    market = markets.market_of(row(limits=limits, info={"filters": [{"max": text}]}), TICK_SIZE)

    assert market is not None
    assert market.max_amount == Decimal(text)
    assert markets.exact(float(text), {}) == Decimal(repr(float(text)))


def test_a_contract_has_its_size_its_settlement_and_its_leverage() -> None:
    market = markets.market_of(
        row(
            symbol="BTC/USD:BTC",
            quote="USD",
            settle="BTC",
            type="swap",
            contractSize=100.0,
            limits={"leverage": {"max": 125.0}},
            active=None,
            maker=None,
        ),
        TICK_SIZE,
    )

    assert market is not None
    assert (market.contract, market.inverse, market.active) == (True, True, True)
    assert (market.contract_size, market.max_leverage) == (Decimal("100.0"), Decimal("125.0"))
    assert market.maker == Decimal("0.001")


def test_what_is_not_offered_is_left_out_with_its_reason() -> None:
    table = {
        "BTC/USDT": row(),
        "BTC/USDT:USDT": row(symbol="BTC/USDT:USDT", type="swap", settle="USDT"),
        "BTC/USD:BTC-261225-100000-C": row(type="option"),
        "odd": row(type="prediction"),
        "HALF": row(symbol="HALF", base=None),
        "OTHER/USDT": row(symbol="OTHER/USDT"),
    }
    found = markets.read(table, mode=TICK_SIZE, types=("spot",))
    chosen = markets.read(table, mode=TICK_SIZE, symbols=("BTC/USDT:USDT",))

    assert set(found.markets) == {"BTC/USDT", "OTHER/USDT"}
    assert set(found.left_out) == set(table) - set(found.markets)
    assert "options" in found.left_out["BTC/USD:BTC-261225-100000-C"]
    assert list(chosen.markets) == ["BTC/USDT:USDT"]


def test_prices_make_the_grid_of_significant_digits() -> None:
    found = markets.read(
        {"BTC/USDT": row(precision={"price": 5, "amount": 8})},
        mode=SIGNIFICANT_DIGITS,
        prices={"BTC/USDT": 64_000.0},
    )

    assert found.markets["BTC/USDT"].price_tick == 1


@pytest.mark.parametrize("mode", [TICK_SIZE, DECIMAL_PLACES])
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"type": "swap", "settle": "USDT", "contractSize": 0.01},
        {"type": "future", "settle": "BTC", "contractSize": 100.0},
    ],
    ids=["spot", "linear", "inverse"],
)
def test_a_market_that_is_gone_has_a_row_that_says_what_it_was(
    mode: int, kind: dict[str, Any]
) -> None:
    places = {} if mode == TICK_SIZE else {"precision": {"price": 1, "amount": -1}}
    market = markets.market_of(row(limits={}, **kind, **places), mode)
    assert market is not None

    made = markets.row_of(market, mode)
    assert markets.market_of(made, mode) == replace(market, active=False)
    assert [name for name in ("spot", "swap", "future") if made[name]] == [market.type]
    assert (made["linear"], made["inverse"]) == (
        (not market.inverse, market.inverse) if market.contract else (None, None)
    )


def test_changes_are_named_symbol_by_symbol() -> None:
    one = markets.market_of(row(), TICK_SIZE)
    assert one is not None
    old = {name: replace(one, symbol=name) for name in ("A", "B", "C", "D", "E")}
    old["D"] = replace(old["D"], active=False)
    new = {
        "A": old["A"],
        "B": replace(old["B"], price_tick=Decimal("0.1"), taker=Decimal(0)),
        "C": replace(old["C"], active=False),
        "D": replace(old["D"], active=True),
        "F": one,
    }

    assert markets.changes(old, new) == [
        Change("B", "changed", ("price_tick", "taker")),
        Change("C", "halted"),
        Change("D", "resumed"),
        Change("E", "delisted"),
        Change("F", "listed"),
    ]


@pytest.mark.parametrize(
    ("exchange", "types", "expected"),
    [
        ("binance", ("spot",), ["spot"]),
        ("binance", ("spot", "swap"), ["spot", "linear", "inverse"]),
        ("bybit", ("future",), ["linear", "inverse"]),
        ("bybitid", ("spot",), ["spot"]),
        ("okx", ("spot", "swap", "margin"), ["spot", "swap"]),
        ("myokx", ("swap",), ["swap"]),
    ],
)
def test_only_the_wanted_kinds_are_asked_for(
    exchange: str, types: tuple[str, ...], expected: list[str]
) -> None:
    options = markets.load_options(exchange, types)

    assert options["fetchMarkets"] == {"types": expected}
    assert markets.load_options("kraken", types) == {}
    assert "fetchMarkets" not in markets.load_options("binanceusdm", types)


@pytest.mark.parametrize(
    ("exchange", "more", "method"),
    [
        ("binance", {}, "publicGetTrades"),
        ("binance", {"type": "swap", "settle": "USDT"}, "fapiPublicGetTrades"),
        ("binancecoinm", {"type": "swap", "settle": "BTC"}, "dapiPublicGetTrades"),
        ("kraken", {}, None),
    ],
)
def test_rest_numbers_trades_as_the_stream_does(
    exchange: str, more: dict[str, Any], method: str | None
) -> None:
    market = markets.market_of(row(**more), TICK_SIZE)
    assert market is not None

    assert markets.trade_params(exchange, market).get("fetchTradesMethod") == method
