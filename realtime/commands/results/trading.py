"""Results of the ops of the market, orders, the account, the trading state and risk."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from realtime.commands.results.server import VENUE
from realtime.commands.results.shapes import CLOSED, DRY, DRY_RUN, Either, Error, More, Position
from realtime.model.bot_rows import CombinedRow, OpinionRow
from realtime.model.orders import OrderType, Side
from realtime.model.risk import Limits
from realtime.model.rows import (
    BalanceRow,
    CheckRow,
    DayRow,
    Figure,
    FillRow,
    GapRow,
    MarketRow,
    OrderRow,
    Placed,
    PositionRow,
    PreviewRow,
    RiskRow,
    TickerRow,
    TradeRow,
)


# fmt: off
PREVIEWED: Final = More((PreviewRow, {"basis": {str: Position}, "duplicate?": bool, **DRY}))
AMENDED: Final = {"changed": bool, "method": str, "journaled?": bool, **DRY}
CANCELED: Final = {"changed?": bool, "journaled?": bool, **DRY}
DONE: Final = {"ok": Literal[True]}
BAR: Final = (int, *[Figure] * 5)
"""Opening time, open, high, low, close, volume."""
STOP: Final = {
    "price": Figure | None, "base": float | None, "adjusted": float | None, "method": str, "inputs": {str: float},
    "reason": str | None,
}

RESULTS: Final[Mapping[str, Any]] = {
    "market.list": {"markets": [MarketRow], "next_cursor": str | None},
    "market.get": MarketRow,
    "market.ticker": TickerRow,
    "market.tickers": {"tickers": [TickerRow], "next_cursor": str | None},
    "market.orderbook": {
        "symbol": str, "bids": [(Figure, Figure)], "asks": [(Figure, Figure)], "seq": int | None, "ts": int,
        "source": str | None,
    },
    "market.trades": {"symbol": str, "trades": [TradeRow]},
    "market.ohlcv": {
        "symbol": str, "timeframe": str, "ohlcv": [BAR], "gaps": [GapRow],
        "closed_through_ts": int | None, "next_cursor": str | None,
    },
    "market.limits": {
        "mode": str, "venue": str, "margin_available": bool, "order_types": [{"type": OrderType, "support": str}],
        "time_in_force": [str], "limitations": [str], "capabilities": {"stream": {str: str}, "order": {str: str}},
        "sources": {str: str | None},
        # Of the market that was asked about.
        "symbol?": str, "price_tick?": Figure, "amount_step?": Figure, "min_cost?": Figure | None,
        "contract_size?": Figure, "max_leverage?": Figure, "maker?": Figure, "taker?": Figure,
        "min_amount?": Figure | None, "max_amount?": Figure | None, "max_market_amount?": Figure | None,
        "fees?": Literal["account", "listed"],
    },
    "market.status": {"venues": [VENUE]},
    "market.context": {
        "symbol": str, "ts": int, "timeframe": str, "ohlcv": [BAR], "price": Figure | None, "ticker": TickerRow | None,
        "best_bid": Figure | None, "best_ask": Figure | None, "spread": Figure | None, "spread_fraction": float | None,
        "volume_24h": Figure | None, "quote_volume_24h": Figure | None, "price_change_24h": Figure | None,
        "change_pct": float | None, "volatility": float | None, "volatility_annual": float | None, "market_cap": None,
        "quality": {
            "ohlcv_rows": int, "orderbook_levels": int, "ticker_complete": bool, "ohlcv_age_ms": int | None,
            "ticker_age_ms": int | None, "orderbook_age_ms": int | None,
        },
    },
    "market.check": {
        "symbol": str, "valid": bool, "reasons": [str], "ts": int,
        "checks": [CheckRow],
    },

    "order.place": Either((Placed, PREVIEWED)),
    "order.preview": PREVIEWED,
    "order.amend": More((OrderRow, AMENDED)),
    "order.cancel": More((OrderRow, CANCELED)),
    "order.cancel_all": Either(({"canceled": [str], "failed": [str], "unknown?": [str], "ended?": [str]}, DRY_RUN)),
    "order.batch": {"items": [Either((
        More((Placed, DONE)), More((PREVIEWED, DONE)), More((OrderRow, AMENDED | DONE)),
        More((OrderRow, CANCELED | DONE)), {"ok": Literal[False], "client_order_id?": str, "error": Error},
    ))]},
    "order.list": {"orders": [OrderRow], "next_cursor": str | None},
    "order.history": {
        # For `order.get`, where the fills of an order do not fit into one message.
        "orders": [More((OrderRow, {"fills": [FillRow], "next_cursor?": str}))], "next_cursor": str | None,
    },
    "order.get": More((OrderRow, {"fills": [FillRow], "next_cursor": str | None})),
    "order.resolve": More((OrderRow, {"changed": bool})),
    "order.adopt": More((OrderRow, {"changed": bool})),

    "fill.list": {"fills": [FillRow], "next_cursor": str | None},
    "balance.list": {
        "balances": [BalanceRow], "total_value": Figure | None, "valuation_currency": str, "unpriced": [str],
    },
    "balance.get": BalanceRow,
    "position.list": {"positions": [PositionRow]},
    "position.get": PositionRow,
    "position.value": {
        "symbol": str, "amount": Figure, "value": Figure, "price": Figure, "mark_source": str, "ts": int,
    },
    "position.close": Either((Placed, PREVIEWED)),
    "position.close_all": Either((
        {
            "closed": [More((Placed, {"position_id": str}))], "failed": [{"position_id": str, "error": Error}],
            "duplicate?": bool,
        },
        DRY_RUN,
    )),
    "position.set_cost_basis": More((PositionRow, {"changed": bool})),

    "trading.halt": Either((
        {
            "state": str, "scope": str, "changed": bool, "canceled": [str], "failed": [str], "unknown": [str],
            "ended?": [str], "closed": [CLOSED], "flat": bool, "positions": [PositionRow], "journaled": bool,
        },
        DRY_RUN,
    )),
    "trading.resume": {"state": str, "scope": str, "changed": bool},
    "deadman": {
        "armed": bool, "fires_at": int | None, "grace": float | None, "scope": str, "action": str,
        "include_protection": bool, "native": bool, **DRY,
    },

    "risk.assessment": RiskRow,
    "risk.validate_order": {
        "valid": bool, "errors": [str], "failed": [str],
        "risk_assessment": {"daily_pnl_status": str, "position_count": int, "risk_score": float | None},
        "order_risk": float | None, "probability_risk": float | None, "impact_on_portfolio": float | None,
        "recommended_stop_loss": Figure | None, "recommended_take_profit": Figure | None, "risk_reward": float | None,
        "max_allowed_amount": Figure, "confidence_level": str | None,
    },
    "risk.params.get": Limits,
    "risk.params.set": More((Limits, {"changed": bool})),
    "risk.daily_pnl": DayRow,
    "risk.reset_daily": More((DayRow, {"duplicate?": bool})),
    "risk.score": {
        "symbol": str, "risk_score": float, "risk_level": str,
        "probability_data": {
            "probability_buy": float, "probability_sell": float, "probability_hold": float, "confidence": float,
        },
    },
    "risk.stop_levels": {"symbol": str, "side": Side, "entry": Figure, "stop_loss": STOP, "take_profit": STOP},
    "risk.position_size": {
        "symbol": str, "notional": Figure | None, "amount": Figure | None, "price": Figure, "method": str,
        "factors": {str: float}, "caps": [{"name": str, "notional": Figure}], "reason": str | None,
        "gate": Either((
            {"valid": bool, "code": str | None, "message": str | None, "failed": [str], "max_allowed_amount": Figure},
            None,
        )),
    },
    "risk.probability": {
        "symbol": str, "timeframe": str, "side": Side, "entry": Figure, "stop_loss": Figure | None,
        "take_profit": Figure | None, "horizon": int, "target_before_stop": float | None, "p_up": float | None,
        "expected_value": float | None, "gain": float | None, "loss": float | None, "mu": float | None,
        "sigma": float | None, "samples": int, "reason": str | None,
        "calibration": [{"from": float, "to": float, "samples": int, "hit_rate": float | None}],
        # As bots wrote them down.
        "combined": CombinedRow | None, "per_strategy": {str: OpinionRow},
    },
}
# fmt: on
