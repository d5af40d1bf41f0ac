"""Results of the ops of bots and of what they decide with: signals, strategies, indicators, portfolio, backtests."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from realtime.commands.results.shapes import (
    CLOSED,
    DRY,
    DRY_RUN,
    SCHEMA,
    Either,
    Error,
    More,
    free,
)
from realtime.engine.allocation import Method, Profile
from realtime.model.bot_rows import (
    Act,
    BacktestRow,
    BacktestTradeRow,
    BotRow,
    BotSpecRow,
    BotStatusRow,
    BrokenFileRow,
    BudgetRow,
    CombinedRow,
    DecisionRow,
    Parameters,
    ProbabilitiesRow,
    RiskLevel,
    StrategyRow,
    UsedStrategyRow,
    WindowRow,
    ZoneRow,
)
from realtime.model.bots import BotState
from realtime.model.rows import (
    ChangeRow,
    Figure,
    GapRow,
    HoldingRow,
    Placed,
    PortfolioFigures,
    PortfolioRow,
    RiskSummaryRow,
    SpreadRow,
)


# fmt: off
MOVED: Final = More((BotStatusRow, {"changed": bool}))
CANCELED: Final = {"canceled": [str], "failed": [str], "unknown": [str], "ended?": [str]}
HALTED: Final = {"state": str, **CANCELED, "journaled": bool}
WINDOW: Final = {
    "bot_id": str | None, "version": int, "state": WindowRow,
    "config": {
        "enabled": bool, "timezone": str | None, "start_hour": int, "end_hour": int,
        "windows": Either(([{"days": [str], "start": str, "end": str}], None)),
        "max_trades_per_day": int, "cooldown_minutes": int,
        "blackouts": [{"from_ts": int, "to_ts": int, "reason": str}],
    },
    # Of a bot.
    "own?": free("keys of `config` that are the bot's own"),
}
ORIGIN: Final = {"symbol": str | None, "timeframe": str | None, "bars": int, "gaps": [GapRow]}
STUDY: Final = free("parameters of the indicator, see `indicator.list`")
WEIGHTS: Final = {
    "version": int,
    "weights": [{
        "strategy_name": str, "weight": float, "effective_weight": float, "min_confidence": float, "enabled": bool,
    }],
}
ACTIVE: Final = {str: {"weight": float, "min_confidence": float}}

RESULTS: Final[Mapping[str, Any]] = {
    "bot.list": {"bots": [BotRow]},
    "bot.status": BotStatusRow,
    "bot.health": {
        "bot_id": str, "status": Literal["healthy", "warning", "error"], "warnings": [str], "errors": [str],
        "checks": [{"name": str, "value": BotState | float | bool | None, "ok": bool}],
    },
    "bot.validate": {
        "bot_id": str, "status": Literal["valid", "warning", "error"], "warnings": [str], "errors": [str],
        "checks": [{"name": str, "ok": bool, "message": str | None, "support?": str | None, "bars?": int}],
    },
    "bot.decisions": {"decisions": [DecisionRow], "next_cursor": str | None},
    "bot.configure": More((BotSpecRow, {"state": BotState, "created": bool})),
    "bot.delete": {"bot_id": str, "deleted": Literal[True]},
    "bot.start": MOVED,
    "bot.stop": Either((More((MOVED, {**CANCELED, "closed": [CLOSED]})), DRY_RUN)),
    "bot.pause": Either((MOVED, DRY_RUN)),
    "bot.resume": MOVED,
    "bot.run_once": {"bot_id": str, "decisions": [DecisionRow], "duplicate?": bool},
    "bot.emergency_stop": Either((
        {"bots": [str], "closed": [CLOSED], **HALTED},
        DRY_RUN,
    )),
    "bot.rearm": MOVED,
    "bot.reset_metrics": MOVED,
    "bot.attach": Either((
        {
            "bot_id": str, "state": BotState, "changed": bool, "attached": bool, "lease_s": float, "expires_ts": int,
            "budget": BudgetRow, "symbols": Either(([str], None)),
        },
        DRY_RUN,
    )),
    "bot.detach": Either((More((MOVED, CANCELED)), DRY_RUN)),
    "signal.list": {"signals": [DecisionRow], "next_cursor": str | None},
    "trading_window.get": WINDOW,
    "trading_window.set": {**WINDOW, "changed": bool, "changes": [ChangeRow]},

    "strategy.list": {"strategies": [UsedStrategyRow], "failed": [BrokenFileRow]},
    "strategy.get": More((UsedStrategyRow, {"effective": Parameters | None, "error": str | None})),
    "strategy.schema": {"schemas": {str: SCHEMA}},
    "strategy.reload": {
        "strategies": [UsedStrategyRow], "failed": [BrokenFileRow], "added": [str], "removed": [str],
    },
    "strategy.analyze": {
        "symbol": str, "timeframe": str | None, "bars": int, "gaps": [GapRow], "current_price": Figure | None, "ts": int,
        "individual_signals": {str: Either((
            {
                "action": Act, "confidence": float, "position_size": float,
                "metadata": {
                    "probability_buy": float, "probability_sell": float, "probability_hold": float, "conviction": float,
                    "indicators": free("numbers it looked at, null while there are too few bars"),
                    "reason": str | None,
                },
            },
            {"action": Act, "confidence": float, "error": str},
        ))},
        "combined_signal": {
            "action": Act, "combined_confidence": float, "probabilities": ProbabilitiesRow, "position_size": float,
            "risk_score": float, "risk_level": RiskLevel,
            "metadata": {
                "strategies_used": [str], "strategies_skipped": {str: str}, "total_weight": float,
                "combination_method": str, "reason": str | None,
            },
        },
        "portfolio_summary": PortfolioFigures, "strategies_analyzed": int, "valid_signals": int,
        "recommendations": [str],
    },
    "indicator.list": {
        "indicators": [{
            "name": str, "description": str, "parameters": SCHEMA, "outputs": [str], "warmup": int,
        }],
    },
    "indicator.compute": {
        **ORIGIN, "name": str, "params": STUDY, "outputs": [str],
        # When each bar opens, null without times, then its `outputs`.
        "values": [[float | None]],
        "zones?": [ZoneRow],
    },
    "indicator.fvg": {**ORIGIN, "params": STUDY, "zones": [ZoneRow]},

    "portfolio.snapshot": PortfolioRow,
    "portfolio.status": {
        "total_value": Figure | None, "valuation_currency": str, "reason": str | None, "cash": Figure,
        "positions": [HoldingRow], "position_count": int, "total_pnl": Figure | None, "total_pnl_pct": float | None,
        "risk_summary": RiskSummaryRow, "diversification": SpreadRow, "active_strategies": ACTIVE, "ts": int,
    },
    "portfolio.performance": {
        "timeframe": str,
        "performance": [{
            "name": str, "value": float | None, "unit": Literal["fraction", "ratio"], "ts": int | None, "reason?": str,
        }],
    },
    "portfolio.equity_history": {
        # Time, equity, drawdown.
        "equity": [(int, Figure, float | None)],
        "step": int | None,
    },
    "portfolio.diversification": More((SpreadRow, {
        "average_correlation": float | None,
        "correlation": {
            "symbols": [str], "matrix": Either(([[float]], None)), "samples": int, "reason": str | None,
        },
    })),
    "portfolio.validate_trade": {
        "is_valid": bool, "message": str, "available_balance": Figure, "required_balance": Figure | None,
        "currency": str, "max_trade_size": Figure, "reduce_only": bool, "ts": int,
    },
    "portfolio.process_signals": {
        "actions": [{
            "symbol": str, "action": Act, "confidence": float, "should_execute": bool, "reason": str | None,
            "position_size": Either(({"notional": Figure, "amount": Figure}, None)), "price": Figure | None, "ts": int,
            "metadata": {"risk_score": float},
            # Where it was executed.
            "order?": Either((Placed, {"client_order_id": str, "error": Error})),
        }],
        "combined": {str: More((CombinedRow, {
            "position_size": float, "reason": str | None,
            "metadata": {
                "symbol": str, "current_price": Figure | None, "strategies_used": [str],
                "skipped": [{"strategy": str, "reason": str}], "total_weight": float, "combination_method": str,
                "ts": int, "weight_warning?": str,
            },
        }))},
        "duplicate?": bool, **DRY,
    },
    "portfolio.allocate": {
        "method": Method, "convention": str, "risk_profile": Profile, "cash_weight": float,
        "allocations": [{
            "symbol": str, "share": float, "weight": float, "notional": Figure, "amount": Figure, "action": Act,
            "current_weight": float, "target_weight": float, "reason": str | None, "note": str | None,
        }],
        "left_out": [{"symbol": str, "reason": str}], "risk_summary": RiskSummaryRow,
    },
    "portfolio.rebalance": {
        "plan_id": str, "status": str, "portfolio_value": Figure, "valuation_currency": str, "order_type": str,
        "actions": [{
            "symbol": str, "current_weight": float, "target_weight": float, "difference": float, "action": Act,
            "amount": Figure, "price": Figure, "value": Figure, "fee": Figure, "reason": str | None,
            "client_order_id": str | None, "order_id": str | None, "status": str, "filled": Figure,
            "average": Figure | None, "code": str | None, "note": str | None,
        }],
        "progress": {"orders": int, "ended": int, "filled": int}, "reason": str | None, "ts": int,
        "ended_ts": int | None, "duplicate?": bool, **DRY,
    },
    "portfolio.weights.get": WEIGHTS,
    "portfolio.weights.set": {**WEIGHTS, "changed": bool},
    "portfolio.weights.auto": {**WEIGHTS, "dynamic": bool, "duplicate?": bool},

    "backtest.strategies": {"strategies": [StrategyRow], "failed": [BrokenFileRow]},
    "backtest.run": More((BacktestRow, {"duplicate?": bool})),
    "backtest.optimize": More((BacktestRow, {"duplicate?": bool})),
    "backtest.get": BacktestRow,
    "backtest.list": {"backtests": [BacktestRow], "next_cursor": str | None},
    "backtest.cancel": BacktestRow,
    "backtest.delete": More((BacktestRow, {"deleted": Literal[True]})),
    "backtest.trades": {"trades": [More((BacktestTradeRow, {"return": float}))], "next_cursor": str | None},
    "backtest.equity": {
        # Time, equity, drawdown.
        "equity": [(int, float, float)],
        "next_cursor": str | None,
    },
    "backtest.compare": {
        "backtests": [{
            "id": str, "strategy": str, "symbols": [str], "timeframe": str, "parameters": Parameters,
            "start_ts": int | None, "end_ts": int | None,
        }],
        # By metric and backtest.
        "metrics": {str: {str: float | None}},
    },
}
# fmt: on
