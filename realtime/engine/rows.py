"""Wire rows: every field of features F2 to F4, F8 and F16 to F18, made from the engine's own objects.

Rules of this file: (1) money, prices and amounts are strings, prices and amounts padded to the market's
precision; (2) ratios and statistics are JSON numbers; (3) times are integer ms; (4) what is not known is
None. Market data keeps the venue's strings (M6).
"""

from collections.abc import Mapping
from decimal import Decimal, localcontext
from typing import Final, Literal, overload

from realtime.engine.allocation import spread_of
from realtime.engine.market import PLACES, average_text, plain, shown, text
from realtime.model.account import Day, Marked, Portfolio, Valued
from realtime.model.market import MONEY, MS, ZERO, Market, Ticker, Trade
from realtime.model.orders import Fill, Order, TimeInForce, Trigger
from realtime.model.risk import Halt, Preview, RiskView, RuleResult
from realtime.model.rows import (
    BalanceRow,
    DayRow,
    FeeRow,
    FillRow,
    HaltRow,
    MarketRow,
    OrderRow,
    Placed,
    PositionRow,
    PreviewRow,
    RiskRow,
    RuleRow,
    TickerRow,
    TradeRow,
    TriggerRow,
)


Row = dict[str, object]
DIGITS = 26
"""Digits that a rounded number has beside its first one; a context of the standard library takes one more."""


def _plain(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)


def _text(value: Decimal | None, step: Decimal) -> str | None:
    return None if value is None else text(value, step)


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


@overload
def money(value: Decimal) -> str: ...
@overload
def money(value: None) -> None: ...
@overload
def money(value: Decimal | None) -> str | None: ...
def money(value: Decimal | None) -> str | None:
    """A figure that was computed: shown to 8 digits, without the noise of a division."""
    return None if value is None else plain(rounded(value, 8))


def price_figure(value: Decimal | None) -> str | None:
    """A price that was computed: shown to 8 digits behind the point, a small one to 8 figures."""
    return (
        None if value is None else plain(rounded(value, min(max(8, 7 - value.adjusted()), PLACES)))
    )


def rounded(value: Decimal, places: int) -> Decimal:
    """Round to so many digits behind the point; left as it is where they do not fit into a number beside those before it.

    By the context of money, whatever the one of the thread is: ccxt changes how that rounds (`decimal_to_precision`).
    An order of the largest amount at the largest price is refused by its cost, and that has 36 digits before the point.
    """
    return (
        value
        if value.adjusted() + places > DIGITS
        else MONEY.quantize(value, Decimal(1).scaleb(-places))
    )


# --- orders and fills -------------------------------------------------------------------------


def average(order: Order, market: Market) -> str | None:
    """Average price of what has filled [quote], None before the first fill."""
    if not order.filled:
        return None
    return average_text(market.average(order.cost, order.filled), market.price_tick)


def _trigger(trigger: Trigger | None, tick: Decimal) -> str | TriggerRow | None:
    if trigger is None:
        return None
    if trigger.limit is None:
        return text(trigger.price, tick)
    return {"price": text(trigger.price, tick), "limit": text(trigger.limit, tick)}


def order_row(order: Order, market: Market, mode: str) -> OrderRow:
    """A row of the channel `orders`."""
    tick, lot = market.price_tick, market.amount_step
    fees: list[FeeRow] = [
        {"cost": plain(cost), "currency": currency} for currency, cost in order.fees
    ]
    amount = text(order.amount, lot)
    if order.filled == order.amount:  # most that have ended
        filled, remaining = amount, "0"
    else:
        filled = text(order.filled, lot)
        # To enter a context takes as long as both numbers.
        remaining = text(max(MONEY.subtract(order.amount, order.filled), ZERO), lot)
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "exchange_order_id": order.exchange_order_id,
        "venue": order.venue,
        "mode": mode,
        "symbol": order.symbol,
        "type": order.type,
        "side": order.side,
        # Of fifty fields most are None, and a call takes longer than to see that here.
        "amount": amount,
        "cost_limit": None if order.cost_limit is None else plain(order.cost_limit),
        "price": None if order.price is None else text(order.price, tick),
        "stop_price": None if order.stop_price is None else text(order.stop_price, tick),
        "trailing_amount": _text(order.trailing_amount, tick),
        "trailing_rate": _plain(order.trailing_rate),
        "trigger_by": order.trigger_by,
        "average": average(order, market),
        "filled": filled,
        "remaining": remaining,
        "cost": plain(order.cost),
        # Most are in one currency; of more, the first is named.
        "fee": fees[0] if fees else None,
        "fees": fees,
        "status": order.status,
        "cancel_state": order.cancel_state,
        "amend_state": order.amend_state,
        "code": None if order.code is None else order.code.value,
        "reason": order.reason,
        "time_in_force": _time_in_force(order),
        "good_till_ts": None if order.good_till_ts is None else order.good_till_ts // MS,
        "post_only": order.post_only,
        "reduce_only": order.reduce_only,
        "position_type": order.position_type,
        "leverage": _number(order.leverage),
        "stop_loss": _trigger(order.stop_loss, tick),
        "take_profit": _trigger(order.take_profit, tick),
        "trailing_stop": _plain(order.trailing_stop),
        "parent_id": order.parent_id,
        "oco_group": order.oco_group,
        "role": order.role,
        "emulated": order.emulated,
        "external": order.external,
        "subject": order.subject,
        "client": order.client,
        "bot_id": order.bot_id,
        "strategy_id": order.strategy_id,
        "source": order.source,
        "created_ts": order.created_ts // MS,
        "updated_ts": order.updated_ts // MS,
        "version": order.version,
    }


def _time_in_force(order: Order) -> TimeInForce | Literal["PO"]:
    resting = order.post_only and order.time_in_force is TimeInForce.GTC
    return "PO" if resting else order.time_in_force


SUMMARY: Final = ("id", "client_order_id", "status", "filled", "average", "mode")
"""Fields of an order's row that answer a placement."""


def summary(order: Order, market: Market, mode: str) -> Placed:
    """The result of `order.place`."""
    return {
        "id": order.id,
        "client_order_id": order.client_order_id,
        "status": order.status,
        "filled": text(order.filled, market.amount_step),
        "average": average(order, market),
        "mode": mode,
    }


def fill_row(fill: Fill, market: Market, mode: str) -> FillRow:
    """An entry of the channel `fills`."""
    return {
        "id": fill.id,
        "order_id": fill.order_id,
        "client_order_id": fill.client_order_id,
        "venue": fill.venue,
        "mode": mode,
        "symbol": fill.symbol,
        "side": fill.side,
        "amount": text(fill.amount, market.amount_step),
        "price": text(fill.price, market.price_tick),
        "cost": plain(fill.cost),
        "fee": {"cost": plain(fill.fee), "currency": fill.fee_currency},
        "taker_or_maker": "maker" if fill.maker else "taker",
        "realized_pnl": money(fill.realized_pnl),
        "bot_id": fill.bot_id,
        "inferred": fill.inferred,
        "ts": fill.ts // MS,
    }


# --- account ----------------------------------------------------------------------------------


def position_row(marked: Marked, market: Market, mode: str) -> PositionRow:
    """A row of the channel `positions`."""
    position, tick, lot = marked.position, market.price_tick, market.amount_step
    with localcontext(MONEY):
        amount = abs(position.amount)
        entry = position.entry_price
        contracts = text(amount, lot) if market.contract else None
        return {
            "id": position.id,
            "venue": position.venue,
            "mode": mode,
            "symbol": position.symbol,
            "side": position.side,
            "amount": text(amount, lot),
            "contracts": contracts,
            "contract_size": plain(position.contract_size),
            "entry_price": None if entry is None else average_text(entry, tick),
            "mark_price": None
            if marked.mark_price is None
            else average_text(marked.mark_price, tick),
            "mark_source": marked.mark_source,
            "notional": money(marked.notional),
            "unrealized_pnl": money(marked.unrealized_pnl),
            "unrealized_pnl_pct": _number(marked.unrealized_pnl_pct),
            "realized_pnl": money(position.realized_pnl),
            "fees_paid": money(position.fees_paid),
            "collateral": money(position.collateral),
            "margin_mode": position.margin_mode,
            "maintenance_margin": money(position.maintenance_margin),
            "leverage": _number(position.leverage),
            "liquidation_price": None
            if position.liquidation_price is None
            else average_text(position.liquidation_price, tick),
            "position_type": position.position_type,
            "stop_loss": _text(marked.stop_loss, tick),
            "take_profit": _text(marked.take_profit, tick),
            "suspended": marked.suspended,
            "cost_basis": "unknown" if position.cost is None else "known",
            "bot_ids": list(marked.bot_ids),
            "opened_ts": position.opened_ts // MS,
            "ts": max(position.ts, marked.price_ts) // MS,
            "source": marked.price_source,
            "stale": marked.stale,
        }


def balance_row(valued: Valued, mode: str) -> BalanceRow:
    """A row of the channel `balances`."""
    balance = valued.balance
    with localcontext(MONEY):
        return {
            "id": balance.id,
            "venue": balance.venue,
            "mode": mode,
            "currency": balance.currency,
            "wallet": balance.wallet,
            "available": plain(balance.available),
            "reserved": plain(balance.reserved),
            "total": plain(balance.total),
            "price": price_figure(valued.price),
            "value": money(valued.value),
            "allocation": _number(valued.allocation),
            "ts": balance.ts // MS,
            "source": mode if mode == "paper" else balance.source,
            "stale": valued.stale,
        }


def portfolio_row(portfolio: Portfolio) -> Row:
    """The value of the channel `portfolio` (F18)."""
    with localcontext(MONEY):
        ages = {symbol: age // MS for symbol, age in portfolio.ages}
        return {
            "total_value": money(portfolio.total_value),
            "reason": portfolio.reason,
            "valuation_currency": portfolio.currency,
            "cash": money(portfolio.cash),
            "available_balance": money(portfolio.available_balance),
            "positions": [_holding(held, ages, portfolio.ts) for held in portfolio.positions],
            "position_count": len(portfolio.positions),
            "total_unrealized_pnl": money(portfolio.total_unrealized_pnl),
            "total_unrealized_pnl_pct": _number(portfolio.total_unrealized_pnl_pct),
            "unpriced": list(portfolio.unpriced),
            "market_data_quality": portfolio.quality,
            "ages": ages,
            "ts": portfolio.ts // MS,
        }


def profit_row(portfolio: Portfolio) -> Row:
    """What the account has won or lost in all (F17)."""
    return {
        "total_pnl": money(portfolio.total_pnl),
        "total_pnl_pct": _number(portfolio.total_pnl_pct),
    }


def _holding(held: Marked, ages: Mapping[str, int], ts: int) -> Row:
    position = held.position
    return {
        "symbol": position.symbol,
        "side": position.side,
        "amount": plain(abs(position.amount)),
        "entry_price": price_figure(position.entry_price),
        "current_price": price_figure(held.mark_price),
        "unrealized_pnl": money(held.unrealized_pnl),
        "unrealized_pnl_pct": _number(held.unrealized_pnl_pct),
        "market_value": money(held.notional),
        "ts": ts // MS,
        "age_ms": ages.get(position.symbol),
    }


# --- risk -------------------------------------------------------------------------------------


def rule_row(result: RuleResult) -> RuleRow:
    """A rule's result; `used` is another name of `value`."""
    row: RuleRow = {
        "rule": result.rule,
        "limit": money(result.limit),
        "value": money(result.value),
        "used": money(result.value),
        "headroom": money(result.headroom),
        "unit": result.unit,
        "ok": result.ok,
    }
    if result.message:
        row["message"] = result.message
    if result.warning is not None:
        row["warning"] = result.warning
    return row


def halt_row(halt: Halt) -> HaltRow:
    """A trading state and who set it."""
    return {
        "scope": halt.scope,
        "state": halt.state.value,
        "reason": halt.reason,
        "by": halt.by,
        "ts": halt.ts // MS,
    }


def risk_row(view: RiskView) -> RiskRow:
    """The value of the channel `risk`, and the result of `risk.assessment`."""
    with localcontext(MONEY):
        rules = [rule_row(result) for result in view.headroom]
        return {
            "trading_state": view.trading_state.value,
            "halts": [halt_row(halt) for halt in view.halts],
            "halt": view.halt,
            "breach": view.breach,
            "ready": view.ready,
            "ready_reason": view.ready_reason,
            "equity": money(view.equity),
            "equity_reason": view.equity_reason,
            "gross_exposure": money(view.gross_exposure),
            "net_exposure": money(view.net_exposure),
            "total_exposure": money(view.total_exposure),
            "open_order_exposure": money(view.open_order_exposure),
            "leverage": _number(view.leverage),
            "margin_used": money(view.margin_used),
            "position_count": view.position_count,
            "symbol_count": view.symbol_count,
            "positions_vs_max": _number(view.positions_vs_max),
            "concentration_risk": _number(view.concentration_risk),
            "hhi": _number(view.hhi),
            "effective_positions": _number(view.effective_positions),
            "day": view.day,
            "equity_start": money(view.equity_start),
            "daily_pnl": money(view.daily_pnl),
            "daily_pnl_fraction": _number(view.daily_pnl_fraction),
            "peak_equity": money(view.peak_equity),
            "drawdown": _number(view.drawdown),
            "positions_risk": _number(view.positions_risk),
            "orders_risk": _number(view.orders_risk),
            "exposure_risk": _number(view.exposure_risk),
            "loss_risk": _number(view.loss_risk),
            "total_risk_score": _number(view.total_risk_score),
            "risk_level": view.risk_level,
            "positions": [
                {
                    "symbol": held.symbol,
                    "notional": money(held.notional),
                    "share": _number(held.share),
                    "risk_score": float(held.risk_score),
                }
                for held in view.positions
            ],
            "rules": rules,
            "headroom": rules,
            "recommendations": [
                {"code": hint.code, "text": hint.text, "severity": hint.severity}
                for hint in view.recommendations
            ],
            "unknown_orders": view.unknown_orders,
            "var_95": view.var_95,
            "var_99": view.var_99,
            "es_95": view.es_95,
            "var_reason": view.var_reason,
            "ts": view.ts // MS,
        }


def risk_summary_row(view: RiskView) -> Row:
    """What the account risks, in a few figures (F17)."""
    return {
        "risk_level": view.risk_level,
        "total_risk_score": _number(view.total_risk_score),
        "position_count": view.position_count,
        "leverage": _number(view.leverage),
        "daily_pnl": money(view.daily_pnl),
        "drawdown": _number(view.drawdown),
        "trading_state": view.trading_state.value,
    }


def spread_row(worths: Mapping[str, Decimal | None]) -> Row:
    """How the value of positions is spread (F17); None is the worth of one without a price."""
    unpriced = next((symbol for symbol, worth in worths.items() if worth is None), None)
    values = [float(worth) for worth in worths.values() if worth is not None]
    found = None if unpriced is not None else spread_of(values)
    reason = "nothing is held" if unpriced is None else f"{unpriced} has no price"
    return {
        "hhi": None if found is None else found.hhi,
        "effective_positions": None if found is None else found.effective_positions,
        "max_weight": None if found is None else found.max_weight,
        "diversification": None if found is None else found.diversification,
        "reason": reason if found is None else None,
    }


def preview_row(preview: Preview, market: Market) -> PreviewRow:
    """The result of `order.preview`."""
    tick, lot = market.price_tick, market.amount_step
    with localcontext(MONEY):
        return {
            "valid": preview.valid,
            "code": None if preview.code is None else preview.code.value,
            "message": preview.message,
            "failed": list(preview.failed),
            "rules": [rule_row(result) for result in preview.rules],
            "warnings": list(preview.warnings),
            "reference_price": price_figure(preview.reference_price),
            "average": None if preview.average is None else average_text(preview.average, tick),
            "slippage": _number(preview.slippage),
            "expected_fill": text(preview.expected_fill, lot),
            "cost": money(preview.cost),
            "fee": None
            if preview.fee is None
            else {"cost": plain(rounded(preview.fee, 12)), "currency": preview.fee_currency},
            "margin": money(preview.margin),
            "notional_after": money(preview.notional_after),
            "exposure_after": money(preview.exposure_after),
            "leverage_after": _number(preview.leverage_after),
            "max_allowed_amount": text(preview.max_allowed_amount, lot),
            "recommended_stop_loss": _text(preview.recommended_stop_loss, tick),
            "recommended_take_profit": _text(preview.recommended_take_profit, tick),
        }


def day_row(day: Day, zone: str, pnl: Decimal | None) -> DayRow:
    """The result of `risk.daily_pnl`: sums by currency, equity in the valuation currency."""
    return {
        "day": day.day,
        "tz": zone,
        "equity_start": money(day.equity_start),
        "peak_equity": money(day.peak_equity),
        "realized": {currency: money(amount) for currency, amount in day.realized},
        "fees": {currency: plain(amount) for currency, amount in day.fees},
        "transfers": {currency: plain(amount) for currency, amount in day.transfers},
        "trades": day.trades,
        "daily_pnl": money(pnl),
        "updated_ts": day.updated_ts // MS,
    }


# --- market data ------------------------------------------------------------------------------


def ticker_row(ticker: Ticker, market: Market) -> TickerRow:
    """The value of a `ticker` channel; the venue's strings, and what follows from them."""
    daily = ticker.daily
    change = share = None
    vwap, turnover = daily.vwap, daily.quote_volume
    if daily.last is not None and daily.open is not None:
        with localcontext(MONEY):
            last, first = Decimal(daily.last), Decimal(daily.open)
            change = text(last - first, market.price_tick)
            share = float(round((last / first - 1) * 100, 4)) if first else None
    if vwap is None and daily.volume is not None and turnover is not None and not market.inverse:
        with localcontext(MONEY):
            volume = Decimal(daily.volume) * market.contract_size
            if volume:
                average = Decimal(turnover) / volume
                vwap = text(shown(average, market.price_tick), market.price_tick)
    return {
        "symbol": ticker.symbol,
        "bid": ticker.bid,
        "bid_amount": ticker.bid_amount,
        "ask": ticker.ask,
        "ask_amount": ticker.ask_amount,
        "last": daily.last,
        "open": daily.open,
        "high": daily.high,
        "low": daily.low,
        "close": daily.last,
        "change": change,
        "change_pct": share,
        "volume": daily.volume,
        "quote_volume": turnover,
        "vwap": vwap,
        "mark": ticker.mark,
        "index": ticker.index,
        "ts": ticker.ts // MS,
        "recv_ts": ticker.recv_ts // MS,
        "source": ticker.source,
    }


def trade_row(trade: Trade, market: Market) -> TradeRow:
    """An entry of a `trades` channel; `side` is the taker's."""
    worth = market.quoted(Decimal(trade.price))
    return {
        "id": trade.id,
        "ts": trade.ts // MS,
        "symbol": trade.symbol,
        "side": trade.side,
        "price": trade.price,
        "amount": trade.amount,
        "cost": plain(MONEY.multiply(worth, Decimal(trade.amount))),
        "taker_or_maker": "taker",
    }


def market_row(market: Market) -> MarketRow:
    """A row of the channel `markets`."""
    return {
        "symbol": market.symbol,
        "id": market.id,
        "base": market.base,
        "quote": market.quote,
        "settle": market.settle,
        "active": market.active,
        "type": market.type,
        "spot": market.type == "spot",
        "margin": market.type == "margin",
        "swap": market.type == "swap",
        "future": market.type == "future",
        "option": market.type == "option",
        "contract": market.contract,
        "contract_size": plain(market.contract_size),
        "price_tick": plain(market.price_tick),
        "amount_step": plain(market.amount_step),
        "min_amount": _plain(market.min_amount),
        "max_amount": _plain(market.max_amount),
        "max_market_amount": _plain(market.max_market_amount),
        "min_cost": _plain(market.min_cost),
        "max_leverage": _plain(market.max_leverage),
        "maintenance_margin": _plain(market.maintenance_margin),
        "price_band": _plain(market.price_band),
        "maker": plain(market.maker),
        "taker": plain(market.taker),
        "groups": list(market.groups),
    }
