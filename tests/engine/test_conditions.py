"""Whether a market is fit to be traded: every check told, a missing part a failed one."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime.engine.conditions import Bounds, Seen, examine, priced, volatility
from realtime.engine.orderbook import OrderBook
from realtime.model.market import MS, BookSnapshot, Daily, Ticker
from realtime.model.signals import Ohlcv
from tests.engine.floor import PERP, SPOT


D = Decimal
NOW = 1_000_000 * MS
TICKER = Ticker(
    symbol="BTC/USDT",
    bid="99.9",
    bid_amount="1",
    ask="100",
    ask_amount="1",
    ts=NOW,
    recv_ts=NOW,
    daily=Daily(quote_volume="5000"),
)


def book(bids: Any = (("99.9", "3"),), asks: Any = (("100", "2"), ("120", "9"))) -> OrderBook:
    made = OrderBook("BTC/USDT")
    made.apply_snapshot(
        BookSnapshot(symbol="BTC/USDT", bids=tuple(bids), asks=tuple(asks), ts=NOW, recv_ts=NOW)
    )
    return made


def contracts(**fields: Any) -> Seen:
    return seen(market=replace(PERP, **fields))


def bars(*closes: float) -> list[Ohlcv]:
    return [Ohlcv(place, close, close, close, close, 1.0) for place, close in enumerate(closes)]


def seen(**changes: Any) -> Seen:
    made = Seen(
        market=SPOT,
        ticker=TICKER,
        book=book(),
        bars=bars(100, 101, 100),
        venue_ok=True,
        ts=NOW + 5 * MS,
    )
    return replace(made, **changes)


def failed(looked: Seen, bounds: Bounds | None = None) -> list[str]:
    return [check.name for check in examine(looked, bounds or Bounds()) if not check.ok]


ALL = Bounds(min_depth_quote=199, min_volume_24h_quote=5000)


@pytest.mark.parametrize(
    ("fields", "depth"),
    [({"contract_size": D("0.01")}, 2), ({"contract_size": D(10), "settle": "BTC"}, 20)],
    ids=["linear", "inverse"],
)
def test_depth_counts_contracts_with_their_size(fields: dict[str, Any], depth: float) -> None:
    """A hundred times too much passed for a market that is deep enough."""
    values = {check.name: check.value for check in examine(contracts(**fields), ALL)}

    assert values["min_depth_quote"] == depth


def test_a_fit_market_passes_every_check_with_its_value() -> None:
    checks = examine(seen(), ALL)

    assert all(check.ok for check in checks)
    assert [check.name for check in checks] == [
        "max_spread",
        "max_volatility",
        "min_depth_quote",
        "min_volume_24h_quote",
        "max_staleness_ms",
        "market_active",
        "exchange_status",
    ]
    values = {check.name: check.value for check in checks}
    assert values["max_spread"] == pytest.approx(0.001)
    assert values["min_depth_quote"] == 200
    assert values["max_staleness_ms"] == 5
    assert (values["market_active"], values["exchange_status"]) == (1, 1)


def test_a_missed_yes_or_no_has_a_value() -> None:
    """None is for what is not known."""
    checks = examine(seen(market=replace(SPOT, active=False), venue_ok=False), ALL)

    assert [(check.value, check.ok) for check in checks[-2:]] == [(0, False), (0, False)]


@pytest.mark.parametrize(
    ("changes", "bounds", "names"),
    [
        ({"ticker": replace(TICKER, bid="90")}, ALL, ["max_spread"]),
        ({"ticker": replace(TICKER, ask=None)}, ALL, ["max_spread"]),
        ({"ticker": replace(TICKER, bid=None)}, ALL, ["max_spread"]),
        ({"ticker": replace(TICKER, ask="0")}, ALL, ["max_spread"]),
        ({"bars": bars(100, 150, 100)}, ALL, ["max_volatility"]),
        ({"bars": bars(100)}, ALL, ["max_volatility"]),
        ({}, replace(ALL, min_depth_quote=201), ["min_depth_quote"]),
        ({"book": book(bids=())}, ALL, ["min_depth_quote"]),
        ({"book": book(bids=(("101", "9"),))}, ALL, ["min_depth_quote"]),
        ({}, replace(ALL, min_volume_24h_quote=5001), ["min_volume_24h_quote"]),
        ({"ticker": replace(TICKER, daily=Daily())}, ALL, ["min_volume_24h_quote"]),
        ({"ts": NOW + 10_001 * MS}, ALL, ["max_staleness_ms"]),
        ({"market": replace(SPOT, active=False)}, ALL, ["market_active"]),
        ({"venue_ok": False}, ALL, ["exchange_status"]),
        ({"ticker": None}, Bounds(), ["max_spread", "max_staleness_ms", "ticker_missing"]),
        (
            {"ticker": None},
            ALL,
            ["max_spread", "min_volume_24h_quote", "max_staleness_ms", "ticker_missing"],
        ),
        ({"book": None}, Bounds(), ["max_staleness_ms", "orderbook_missing"]),
        (
            {"book": None},
            ALL,
            ["min_depth_quote", "max_staleness_ms", "orderbook_missing"],
        ),
        ({"bars": []}, Bounds(), ["max_volatility", "ohlcv_missing"]),
    ],
)
def test_each_check_fails_alone(changes: Any, bounds: Bounds, names: list[str]) -> None:
    assert failed(seen(**changes), bounds) == names


def test_volatility_is_the_sample_deviation_of_returns() -> None:
    assert volatility(bars(100, 110, 99)) == pytest.approx(0.1414213562)
    assert volatility(bars(100, 110)) is None


def test_bars_without_a_price_fail_the_market_and_nothing_divides_by_them() -> None:
    """Symptom: a bar with close 0 failed the cycle of a bot with ZeroDivisionError."""
    odd = [*bars(100, 101), Ohlcv(2, 0.0, 0.0, 0.0, 0.0, 0.0), *bars(100)]

    assert volatility(odd) is None
    assert failed(seen(bars=odd)) == ["max_volatility", "ohlcv_invalid"]
    assert [priced(bar) for bar in odd] == [True, True, False, True]
