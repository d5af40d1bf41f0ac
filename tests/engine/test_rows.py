"""Wire rows have every field of the specification, and figures that are not known are null."""

from dataclasses import replace
from decimal import ROUND_HALF_UP, localcontext

import orjson
import pytest

from realtime.engine import rows
from realtime.model.account import Balance
from realtime.model.events import FillBooked, Place, Ready, SetState
from realtime.model.market import SECOND, Daily, Stale, Ticker, Trade
from realtime.model.orders import Status, TimeInForce, Trigger
from realtime.model.risk import Limits, TradingState
from tests.engine.kit import BTC, ETH, MARKETS, OFF, PERP, T0, WHO, D, Kit, of


ORDER = """id, client_order_id, exchange_order_id, venue, mode, symbol, type, side, amount, price,
stop_price, trailing_amount, trailing_rate, average, filled, remaining, cost, fee, status, cancel_state,
amend_state, code, reason, time_in_force, post_only, reduce_only, position_type, leverage, stop_loss,
take_profit, parent_id, role, emulated, external, client, bot_id, strategy_id, source, created_ts,
updated_ts, good_till_ts, version"""
FILL = """id, order_id, client_order_id, venue, mode, symbol, side, amount, price, cost, fee,
taker_or_maker, realized_pnl, bot_id, ts"""
POSITION = """id, venue, mode, symbol, side, amount, contracts, contract_size, entry_price, mark_price,
mark_source, notional, unrealized_pnl, unrealized_pnl_pct, realized_pnl, fees_paid, collateral,
margin_mode, maintenance_margin, leverage, liquidation_price, position_type, stop_loss, take_profit,
cost_basis, bot_ids, opened_ts, ts, source"""
BALANCE = """id, venue, mode, currency, wallet, available, reserved, total, price, value, allocation, ts,
source, stale"""
TICKER = """symbol, bid, bid_amount, ask, ask_amount, last, open, high, low, close, change, change_pct,
volume, quote_volume, vwap, mark, index, ts, recv_ts, source"""
TRADE = "id, ts, symbol, side, price, amount, cost, taker_or_maker"
MARKET = """symbol, id, base, quote, settle, active, type, spot, margin, swap, future, option, contract,
contract_size, price_tick, amount_step, min_amount, min_cost, maker, taker"""
RISK = """equity, gross_exposure, net_exposure, total_exposure, open_order_exposure, leverage, margin_used,
position_count, symbol_count, positions_vs_max, concentration_risk, hhi, effective_positions, daily_pnl,
daily_pnl_fraction, peak_equity, drawdown, positions_risk, orders_risk, exposure_risk, loss_risk,
total_risk_score, risk_level, positions, headroom, recommendations, var_95, var_99, es_95, trading_state,
ts"""
PREVIEW = """valid, rules, expected_fill, average, slippage, fee, cost, notional_after, leverage_after,
margin, exposure_after, recommended_stop_loss, recommended_take_profit, max_allowed_amount, failed"""
PORTFOLIO = """total_value, available_balance, positions, total_unrealized_pnl,
total_unrealized_pnl_pct, market_data_quality, ages, ts"""


def names(text: str) -> set[str]:
    return {name.strip() for name in text.replace("\n", " ").split(",")}


def risk(kit: Kit) -> dict[str, object]:
    return {**rows.risk_row(kit.engine.risk_view(kit.ts))}


def test_rows_have_every_field_of_the_specification() -> None:
    """features:F2 F3 F4 F8 F16 F18."""
    kit = Kit(Limits()).open()
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.01", fee="0.00001", fee_currency="BTC")
    [booked] = of(kit.effects, FillBooked)
    assert isinstance(booked, FillBooked)
    trade = Trade(id="t", symbol=BTC, side="buy", price="1", amount="2", ts=T0, recv_ts=T0)
    market = MARKETS[BTC]
    wish = Place(order=kit.draft(BTC, "buy", "0.001"), who=WHO, ts=kit.ts)
    made = {
        ORDER: rows.order_row(kit.order(order.id), market, "paper"),
        FILL: rows.fill_row(booked.fill, market, "paper"),
        POSITION: rows.position_row(
            kit.engine.mark_position(kit.engine.positions[BTC]), market, "paper"
        ),
        BALANCE: rows.balance_row(
            kit.engine.value_balance(kit.engine.balances["USDT|spot"]), "paper"
        ),
        TICKER: rows.ticker_row(kit.engine.tickers[BTC], market),
        TRADE: rows.trade_row(trade, market),
        MARKET: rows.market_row(market),
        RISK: risk(kit),
        PREVIEW: rows.preview_row(kit.engine.preview(wish), market),
        PORTFOLIO: rows.portfolio_row(kit.engine.value(kit.ts)),
        "day, tz, equity_start, realized, fees, transfers, peak_equity, trades, daily_pnl, updated_ts": (
            rows.day_row(kit.engine.day, "UTC", D(5))
        ),
    }

    for fields, row in made.items():
        assert names(fields) <= set(row), fields
        assert orjson.loads(orjson.dumps(row)) == row


def test_numbers_are_padded_to_the_markets_precision() -> None:
    """features:1.1."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="64000")

    row = rows.order_row(order, MARKETS[BTC], "paper")
    assert (row["amount"], row["price"], row["filled"]) == ("0.01000", "64000.00", "0")
    assert (row["average"], row["fee"]) == (None, None)
    kit.fill(order, "0.003", "63999.99", fee="0.1")
    kit.fill(order, "0.006", "63999.98", fee="0.000001", fee_currency="BTC")
    row = rows.order_row(kit.order(order.id), MARKETS[BTC], "paper")
    assert (row["filled"], row["remaining"]) == ("0.00900", "0.00100")
    assert row["average"] == "63999.983333"
    assert row["fee"] == {"cost": "0.000001", "currency": "BTC"}
    assert row["fees"] == [
        {"cost": "0.000001", "currency": "BTC"},
        {"cost": "0.1", "currency": "USDT"},
    ]


def test_a_summary_is_the_answer_to_a_placement() -> None:
    kit = Kit().open()
    order = kit.bought(BTC, "buy", "0.01", "64000")

    assert rows.summary(order, MARKETS[BTC], "paper") == {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "status": "filled",
        "filled": "0.01000",
        "average": "64000.00",
        "mode": "paper",
    }


def test_special_fields_of_orders() -> None:
    kit = Kit().open()
    order = replace(
        kit.draft(BTC, "buy", "0.01", price="64000"),
        post_only=True,
        stop_loss=Trigger(price=D(60000), limit=D("59999.5")),
        take_profit=Trigger(price=D(70000)),
        trailing_rate=D("0.01"),
        leverage=D(3),
        good_till_ts=5_000_000,
    )

    row = rows.order_row(order, MARKETS[BTC], "paper")

    assert row["time_in_force"] == "PO"
    assert row["stop_loss"] == {"price": "60000.00", "limit": "59999.50"}
    assert (row["take_profit"], row["trailing_rate"], row["leverage"]) == ("70000.00", "0.01", 3.0)
    assert row["good_till_ts"] == 5
    ioc = replace(order, time_in_force=TimeInForce.IOC)
    assert rows.order_row(ioc, MARKETS[BTC], "paper")["time_in_force"] == "IOC"


def test_positions_are_valued_at_the_mark() -> None:
    """features:F4."""
    kit = Kit().open()
    kit.bought(PERP, "sell", "10", "64000", leverage=D(10), bot_id="b")
    kit.mark(PERP, "63000")
    kit.position(PERP, "-10", leverage=D(10), collateral=D(640), liquidation_price=D("70000.123"))

    row = rows.position_row(
        kit.engine.mark_position(kit.engine.positions[PERP]), MARKETS[PERP], "paper"
    )

    assert (row["id"], row["side"], row["amount"], row["contracts"]) == (
        f"{PERP}|short",
        "short",
        "10",
        "10",
    )
    assert (row["entry_price"], row["mark_price"], row["mark_source"]) == (
        "64000.0",
        "63000.0",
        "mark",
    )
    assert (row["notional"], row["unrealized_pnl"], row["unrealized_pnl_pct"]) == (
        "6300",
        "100",
        1.5625,
    )
    assert (row["collateral"], row["liquidation_price"]) == ("640", "70000.123")
    assert row["bot_ids"] == ["b"]
    kit.bought(PERP, "buy", "10", "64000", reduce_only=True)
    assert kit.engine.mark_position(kit.engine.positions[PERP]).bot_ids == ()


def test_what_is_not_known_is_null() -> None:
    """trading:M8."""
    kit = Kit(replace(OFF, max_leverage=D(3)))
    kit.balance("BTC", "1")
    marked = kit.engine.mark_position(kit.engine.positions[BTC])
    row: dict[str, object] = {**rows.position_row(marked, MARKETS[BTC], "paper")}
    unknown = ("entry_price", "mark_price", "mark_source", "notional", "unrealized_pnl", "source")
    assert [row[name] for name in unknown] == [None] * len(unknown)
    assert row["cost_basis"] == "unknown"
    balance = rows.balance_row(kit.engine.value_balance(kit.engine.balances["BTC|spot"]), "live")
    assert (balance["price"], balance["value"], balance["allocation"]) == (None, None, None)
    assert balance["source"] == "ws"
    portfolio = kit.engine.value(kit.ts)
    assert (portfolio.total_value, portfolio.unpriced) == (None, ("BTC",))
    assert portfolio.reason == "BTC has no price"
    assert (portfolio.total_unrealized_pnl, portfolio.quality) == (None, "low")
    view = kit.engine.risk_view(kit.ts)
    assert (view.equity, view.gross_exposure, view.leverage, view.total_risk_score) == (None,) * 4


def test_a_balance_is_a_share_of_everything() -> None:
    """features:F2."""
    kit = Kit().open(USDT="36000", BTC="1")

    value = kit.engine.value(kit.ts)

    assert value.total_value == 100000
    assert [(held.balance.currency, held.value, held.allocation) for held in value.balances] == [
        ("BTC", D(64000), D("0.64")),
        ("USDT", D(36000), D("0.36")),
    ]
    one = kit.engine.value_balance(
        Balance(venue="paper", currency="BTC", available=D(1), ts=kit.ts)
    )
    assert one.allocation == D("0.64")


@pytest.mark.parametrize(("mark", "total"), [("63000", 99000), ("65000", 101000)])
def test_the_profit_of_derivatives_is_no_share_of_the_balances(mark: str, total: int) -> None:
    """features:F2. A loss of them made the only currency more than all there is."""
    kit = Kit().open(USDT="36000", BTC="1")
    kit.bought(PERP, "buy", "100", "64000", leverage=D(10))
    kit.mark(PERP, mark)

    value = kit.engine.value(kit.ts)
    held = [kit.engine.value_balance(kit.engine.balances[f"{c}|spot"]) for c in ("BTC", "USDT")]

    assert value.total_value == total
    assert [one.allocation for one in value.balances] == [D("0.64"), D("0.36")]
    assert [one.allocation for one in held] == [D("0.64"), D("0.36")]


def test_figures_of_one_moment_fit_each_other() -> None:
    """Found in review (R5): right after a fill the total was that of a quarter of a second ago."""
    kit = Kit().open(USDT="36000", BTC="1")
    kit.engine.value(kit.ts)
    kit.prices(btc="65000")

    value = kit.engine.value(kit.ts)

    assert value.total_value == sum(held.value or 0 for held in value.balances) == 101000
    assert kit.engine.risk_view(kit.ts).equity == 101000
    kit.bought(BTC, "sell", "1", "64000")
    assert kit.engine.risk_view(kit.ts).equity == 100000


def test_a_spread_names_what_has_no_price() -> None:
    """features:F17."""
    nothing, unpriced = rows.spread_row({}), rows.spread_row({BTC: D(1), ETH: None})
    even = rows.spread_row({BTC: D(5), ETH: D(5)})

    assert (nothing["hhi"], nothing["reason"]) == (None, "nothing is held")
    assert (unpriced["max_weight"], unpriced["reason"]) == (None, "ETH/USDT has no price")
    assert even == {
        "hhi": 0.5,
        "effective_positions": 2,
        "max_weight": 0.5,
        "diversification": 1,
        "reason": None,
    }


def test_a_summary_of_risk_says_what_the_assessment_says() -> None:
    kit = Kit(Limits()).open(USDT="36000", BTC="1")
    view, whole = kit.engine.risk_view(kit.ts), risk(kit)

    summary = rows.risk_summary_row(view)

    assert summary == {name: whole[name] for name in summary}


def test_unrealised_profit_of_all_positions() -> None:
    """features:F18."""
    kit = Kit().open(USDT="100000")
    kit.bought(BTC, "buy", "0.01", "64000")
    kit.prices(btc="65000")
    kit.ts += SECOND

    value = kit.engine.value(kit.ts)

    assert value.total_unrealized_pnl == 10
    assert value.total_value == 100010
    assert value.total_unrealized_pnl_pct is not None
    assert round(value.total_unrealized_pnl_pct, 4) == D("0.01")
    assert value.ages == ((BTC, SECOND),)
    assert Kit().engine.value(T0).total_unrealized_pnl == 0


def test_the_price_of_a_coin_that_costs_next_to_nothing_keeps_its_figures() -> None:
    """Half a tick of 0.00000001 was rounded away, a hundredth of the price."""
    cheap = replace(MARKETS[ETH], price_tick=D("0.00000001"))
    kit = Kit(markets=MARKETS | {ETH: cheap}).open(USDT="1000", ETH="1000000")
    kit.price(ETH, "0.000000455")
    kit.ts += SECOND
    portfolio = kit.engine.value(kit.ts)
    shown = {
        row["currency"]: row for row in (rows.balance_row(b, "paper") for b in portfolio.balances)
    }
    holding = rows.portfolio_row(portfolio)["positions"]

    assert (shown["ETH"]["price"], shown["ETH"]["value"]) == ("0.000000455", "0.455")
    assert isinstance(holding, list)
    assert holding[0]["current_price"] == "0.000000455"
    assert rows.price_figure(D("64000.123456789")) == "64000.12345679"
    assert rows.price_figure(D("1.23456789123E-15")) == "0.000000000000001235"
    assert rows.price_figure(None) is None


def test_profit_in_all_is_what_was_realized_and_what_was_not() -> None:
    """features:F17. It was the unrealised profit once more, under the name of all of it."""
    kit = Kit().open(USDT="100000")
    kit.bought(BTC, "buy", "0.02", "64000")
    kit.bought(BTC, "sell", "0.01", "65000")
    kit.bought(PERP, "buy", "10", "64000")
    kit.fill(kit.opened(PERP, "sell", "10", price="63000"), "10", "63000", fee="1.5")
    kit.prices(btc="66000")

    value = kit.engine.value(kit.ts)

    # 10 of the coins that were sold, 20 of those that are held, 101.5 lost with contracts.
    assert value.total_pnl == 10 + 20 - D("101.5")
    assert (value.total_unrealized_pnl, value.total_value) == (D(20), 100_000 - D("71.5"))
    assert rows.profit_row(value) == {"total_pnl": "-71.5", "total_pnl_pct": -0.0715}
    # Neither is known while the one holding has no price of entry.
    unknown = Kit().open(USDT="1000", BTC="1")
    assert rows.profit_row(unknown.engine.value(T0)) == {"total_pnl": None, "total_pnl_pct": None}


def test_profit_in_a_currency_without_a_price_is_no_part_of_a_sum() -> None:
    cross = replace(MARKETS[ETH], symbol="ETH/XAU", quote="XAU")
    kit = Kit(markets=MARKETS | {cross.symbol: cross, PERP: replace(MARKETS[PERP], settle="XAU")})
    kit.open(USDT="1000")
    kit.fill(kit.draft(PERP, "buy", "10"), "10", "64000", fee="1", fee_currency="XAU")

    assert kit.engine.value(kit.ts).total_pnl is None


@pytest.mark.parametrize(
    ("age_s", "source", "stale", "quality"),
    [
        (5, "ws", False, "high"),
        (6, "ws", False, "medium"),
        (1, "poll", False, "medium"),
        (1, "ws", True, "medium"),
        (61, "ws", False, "low"),
    ],
)
def test_the_quality_of_market_data(*, age_s: int, source: str, stale: bool, quality: str) -> None:
    """features:F18."""
    kit = Kit().open(USDT="1000", BTC="1")
    kit.post(replace(kit.engine.tickers[BTC], source=source))
    kit.ts += age_s * SECOND
    if stale:
        kit.post(Stale(venue="paper", symbol=BTC, stale=True, cause="silent", asof=kit.ts))

    assert kit.engine.value(kit.ts).quality == quality


# --- risk -------------------------------------------------------------------------------------


def test_the_assessment_adds_positions_and_resting_entries() -> None:
    """features:F16."""
    kit = Kit(
        replace(OFF, max_position_size=D("0.5"), max_leverage=D(20), max_open_positions=4)
    ).open()
    kit.bought(BTC, "buy", "0.1", "64000")
    kit.bought(PERP, "sell", "10", "64000", leverage=D(10))
    kit.opened(ETH, "buy", "1", price="3000")
    kit.opened(BTC, "sell", "0.05", price="70000")

    view = kit.engine.risk_view(kit.ts)

    assert (view.gross_exposure, view.net_exposure) == (D(12800), D(0))
    assert (view.open_order_exposure, view.total_exposure) == (D(3000), D(15800))
    assert view.leverage == D("0.158")
    assert view.margin_used == 6400
    assert (view.position_count, view.symbol_count, view.positions_vs_max) == (2, 3, D("0.5"))
    assert (view.concentration_risk, view.hhi, view.effective_positions) == (
        D("0.064"),
        D("0.5"),
        D(2),
    )
    assert (view.positions_risk, view.orders_risk, view.exposure_risk) == (
        D("0.128"),
        D("0.06"),
        D("0.0079"),
    )
    assert view.loss_risk == 0
    assert view.total_risk_score == (D("0.128") + (D("0.128") + D("0.06") + D("0.0079")) / 4) / 2
    assert view.risk_level == "low"
    used = {result.rule: result.headroom for result in view.headroom}
    assert used == {
        "max_position_size": D("0.436"),
        "max_leverage": D("19.842"),
        "max_open_positions": D(1),
    }


def test_headroom_is_what_the_gate_leaves_with_all_that_rests_filled() -> None:
    """Found by a drive: with an order of 0.067 of equity at rest 0.1 was left, and the gate refused the same again."""
    limits = {"max_position_size": D(1), "max_position_notional": D(60000), "max_leverage": D(20)}
    kit = Kit(replace(OFF, **limits)).open()  # type: ignore[arg-type]
    kit.bought(BTC, "buy", "0.1", "64000")
    kit.bought(PERP, "sell", "10", "64000", leverage=D(10))
    alone = {rule.rule: rule.value for rule in kit.engine.risk_view(kit.ts).headroom}
    kit.opened(BTC, "buy", "0.2", price="60000")
    # What takes off no more than is held adds to no exposure.
    kit.opened(PERP, "buy", "10", price="60000", leverage=D(10))
    held = {rule.rule: rule.value for rule in kit.engine.risk_view(kit.ts).headroom}
    more = Place(order=kit.draft(BTC, "buy", "0.1", price="64000"), who=WHO, ts=kit.ts)
    gate = {rule.rule: rule.value for rule in kit.engine.preview(more).rules}

    assert alone == {
        "max_position_size": D("0.064"),
        "max_position_notional": D(6400),
        "max_leverage": D("0.128"),
    }
    assert held == {
        "max_position_size": D("0.192"),
        "max_position_notional": D(19200),
        "max_leverage": D("0.256"),
    }
    assert {name: gate[name] for name in held} == {
        "max_position_size": D("0.256"),
        "max_position_notional": D(25600),
        "max_leverage": D("0.32"),
    }


def test_headroom_tells_how_many_orders_of_the_minute_are_left() -> None:
    kit = Kit(replace(OFF, order_rate_minute=60)).open(USDT="100000")
    for _ in range(3):
        kit.opened(BTC, "buy", "0.001", price="60000")
    (rule,) = kit.engine.risk_view(kit.ts).headroom
    assert (rule.rule, rule.unit, rule.limit) == ("order_rate", "orders/min", D(60))
    assert (rule.value, rule.headroom) == (D(3), D(57))
    (rule,) = kit.engine.risk_view(kit.ts + 2 * SECOND).headroom
    assert rule.value == D(1)


@pytest.mark.parametrize(
    ("btc", "price", "limits", "level", "hints"),
    [
        ("0", "64000", {}, "low", []),
        ("1", "64000", {}, "moderate", ["concentrated"]),
        ("0.6", "64000", {}, "moderate", []),
        ("1", "64000", {"max_open_positions": 1}, "high", ["near_position_limit", "concentrated"]),
        ("0.6", "64000", {"max_open_positions": 1}, "high", ["near_position_limit"]),
        ("1", "63500", {"max_daily_loss": D("0.02")}, "high", ["concentrated"]),
        ("1", "63000", {"max_daily_loss": D("0.02")}, "high", ["concentrated"]),
        ("1", "62500", {"max_daily_loss": D("0.02")}, "critical", ["concentrated"]),
        (
            "1",
            "62400",
            {"max_daily_loss": D("0.02")},
            "critical",
            ["near_daily_loss", "concentrated"],
        ),
        (
            "1",
            "62000",
            {"max_daily_loss": D("0.02")},
            "critical",
            ["near_daily_loss", "concentrated"],
        ),
    ],
)
def test_points_make_a_level_and_hints(
    btc: str, price: str, limits: dict[str, object], level: str, hints: list[str]
) -> None:
    """features:F16."""
    kit = Kit(replace(OFF, **limits))  # type: ignore[arg-type]
    rest = str(100000 - D(64000) * D(btc))
    kit.open(USDT=rest, BTC=btc)
    kit.ts += SECOND
    kit.prices(btc=price)

    view = kit.engine.risk_view(kit.ts)

    assert view.risk_level == kit.engine.risk_level(kit.ts) == level
    assert [hint.code for hint in view.recommendations] == hints


def test_a_halt_is_critical_and_a_breach_is_named() -> None:
    kit = Kit(replace(OFF, max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.prices(btc="60000")
    view = kit.engine.risk_view(kit.ts)
    assert (view.trading_state, view.breach) == (TradingState.REDUCING, "max_daily_loss")
    kit.post(SetState(scope="all", state=TradingState.HALTED, reason="x", who=WHO, ts=kit.ts))

    row = risk(kit)

    assert (row["trading_state"], row["risk_level"], row["breach"]) == ("halted", "critical", None)
    assert row["halts"] == [
        {"scope": "all", "state": "halted", "reason": "x", "by": "alice", "ts": kit.ts // 1_000_000}
    ]


def test_a_price_that_is_missing_leaves_gaps_in_the_assessment() -> None:
    kit = Kit(replace(OFF, max_leverage=D(3))).open(USDT="100000")
    kit.bought(PERP, "buy", "10", "64000")
    kit.opened(BTC, "buy", "0.01", type="trailing_stop", trailing_rate="0.01")
    for held in (kit.engine._state.quotes.books, kit.engine._state.quotes.tickers):
        held.clear()
    kit.engine._state.quotes._marks_now.clear()
    kit.ts += SECOND

    view = kit.engine.risk_view(kit.ts)

    assert (view.gross_exposure, view.net_exposure, view.margin_used) == (None, None, None)
    assert (view.open_order_exposure, view.total_exposure, view.equity) == (None, None, None)
    assert view.equity_reason == f"{PERP} has no price or no cost basis"
    assert view.positions[0].notional is None
    assert view.total_risk_score is None


def test_the_venues_own_margin_counts() -> None:
    kit = Kit().open(USDT="100000")
    kit.bought(PERP, "buy", "10", "64000")
    kit.position(PERP, "10", collateral=D(123), leverage=D(10))

    assert kit.engine.risk_view(kit.ts).margin_used == 123


def test_limits_of_zero_are_full() -> None:
    kit = Kit(replace(OFF, max_leverage=D(0), max_daily_loss=D(0), max_open_positions=0)).open(
        USDT="36000", BTC="1"
    )

    view = kit.engine.risk_view(kit.ts)

    assert (view.exposure_risk, view.loss_risk) == (D(1), D(0))


def test_old_prices_make_equity_missing() -> None:
    """trading:3.2."""
    kit = Kit().open(USDT="36000", BTC="1")
    kit.ts += 61 * SECOND
    assert kit.engine.risk_view(kit.ts).equity_reason == "the price of BTC is too old"
    perp = Kit().open(USDT="36000")
    perp.bought(PERP, "buy", "1", "64000")
    perp.ts += 61 * SECOND
    assert perp.engine.risk_view(perp.ts).equity_reason == f"the price of {PERP} is too old"
    empty = Kit()
    empty.post(Ready(venue="paper", ready=True, reason="", ts=empty.ts))
    assert empty.engine.risk_view(empty.ts).equity_reason == "no balance is known yet"


def test_coins_no_market_prices_are_listed_and_left_out() -> None:
    """features:F2."""
    kit = Kit().open(USDT="36000", DOGE="5")

    value = kit.engine.value(kit.ts)

    assert (value.total_value, value.unpriced) == (D(36000), ("DOGE",))


# --- market data ------------------------------------------------------------------------------


def test_a_tickers_change_follows_from_its_own_strings() -> None:
    """features:F8."""
    ticker = Ticker(
        symbol=BTC,
        bid="1",
        bid_amount="1",
        ask="2",
        ask_amount="1",
        daily=Daily(last="63000.5", open="63000"),
        ts=T0,
        recv_ts=T0,
    )
    row = rows.ticker_row(ticker, MARKETS[BTC])
    assert (row["change"], row["change_pct"], row["close"]) == ("0.50", 0.0008, "63000.5")
    bare = rows.ticker_row(replace(ticker, daily=Daily(last="63000.5")), MARKETS[BTC])
    assert (bare["change"], bare["change_pct"]) == (None, None)
    zero = rows.ticker_row(replace(ticker, daily=Daily(last="63000.5", open="0")), MARKETS[BTC])
    assert zero["change_pct"] is None


@pytest.mark.parametrize(
    ("daily", "vwap"),
    [
        (Daily(volume="3", quote_volume="189000.1"), "63000.03"),
        (Daily(volume="3", quote_volume="189000.1", vwap="1.5"), "1.5"),
        (Daily(volume="0", quote_volume="0"), None),
        (Daily(volume="3"), None),
        (Daily(), None),
    ],
)
def test_a_tickers_average_price_is_the_venues_or_follows_from_its_volumes(
    daily: Daily, vwap: str | None
) -> None:
    ticker = Ticker(BTC, "1", "1", "2", "1", T0, T0, daily)

    assert rows.ticker_row(ticker, MARKETS[BTC])["vwap"] == vwap


@pytest.mark.parametrize(("settle", "cost"), [("USDT", "1260"), ("BTC", "0.02")])
def test_what_a_trade_comes_to_is_told_in_the_currency_of_its_price(settle: str, cost: str) -> None:
    trade = Trade("t-1", PERP, "buy", "63000.0", "2", T0, T0)

    assert rows.trade_row(trade, replace(MARKETS[PERP], settle=settle))["cost"] == cost


def test_the_average_price_of_contracts_is_that_of_one_coin() -> None:
    kit = Kit().open()
    daily = Daily(volume="300", quote_volume="189000")
    ticker = replace(kit.engine.tickers[PERP], daily=daily)
    inverse = replace(MARKETS[PERP], settle="BTC")

    assert rows.ticker_row(ticker, MARKETS[PERP])["vwap"] == "63000.0"
    # Of these a turnover in dollars does not say at which prices.
    assert rows.ticker_row(ticker, inverse)["vwap"] is None


def test_a_previews_row_says_why_not() -> None:
    kit = Kit(replace(OFF, max_order_notional=D(10))).open(USDT="100000", BTC="1")
    wish = Place(order=kit.draft(BTC, "buy", "0.01", price="64000"), who=WHO, ts=kit.ts)

    row = rows.preview_row(kit.engine.preview(wish), MARKETS[BTC])

    assert (row["valid"], row["failed"], row["code"]) == (
        False,
        ["max_order_notional"],
        "risk_rejected",
    )
    rules = row["rules"]
    assert isinstance(rules, list)
    [failing] = [rule for rule in rules if not rule["ok"]]
    assert failing["message"] == row["message"]
    kit.ts += 10 * SECOND
    late = Place(order=kit.draft(BTC, "sell", "0.01", price="64000"), who=WHO, ts=kit.ts)
    warned = rows.preview_row(kit.engine.preview(late), MARKETS[BTC])
    assert warned["valid"]
    assert any("warning" in rule for rule in warned["rules"])
    assert kit.order is not None
    assert Status.OPEN


def test_the_largest_order_at_the_largest_price_can_be_told() -> None:
    most = D("999999999999999999.999999999999999999")

    with localcontext() as context:
        context.rounding = ROUND_HALF_UP  # as ccxt leaves it
        assert rows.money(D("1.000000005")) == "1"
    assert rows.money(most) == "1000000000000000000"
    assert rows.money(most * most) == f"{most * most:f}"


@pytest.mark.parametrize("amount", ["0.01", "0.010", "1E-2", "0.01000", "0.0100000"])
@pytest.mark.parametrize("filled", ["0.01", "0.0100", "1E-2", "0.010000000"])
def test_what_has_filled_whole_reads_as_the_amount_however_it_is_written(
    amount: str, filled: str
) -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", amount, price="64000")
    kit.fill(order, filled, "64000")
    row = rows.order_row(kit.order(order.id), MARKETS[BTC], "paper")
    assert (row["amount"], row["filled"], row["remaining"]) == ("0.01000", "0.01000", "0")
