"""Limits of the pre-trade gate, trading states, and how a rule reports itself."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class TradingState(StrEnum):
    """What the account may do; the strictest of all scopes applies."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Parameters of the gate (trading document 3.3); None switches a rule off.

    Fractions are 0..1 of equity or price; notionals are in the valuation currency.
    """

    version: int = 1
    allowed_symbols: tuple[str, ...] | None = None
    max_price_age_ms: int = 5000
    price_band: Decimal | None = Decimal("0.05")
    price_band_passive: Decimal | None = Decimal("0.50")
    max_slippage: Decimal | None = Decimal("0.02")
    max_order_amount: Decimal | None = None
    max_order_notional: Decimal | None = Decimal(10000)
    max_position_size: Decimal | None = Decimal("0.1")
    max_position_notional: Decimal | None = None
    max_leverage: Decimal | None = Decimal("3.0")
    max_open_positions: int | None = 5
    max_open_orders_symbol: int | None = 50
    max_open_orders: int | None = 200
    order_rate: int | None = 10
    order_burst: int = 20
    order_rate_minute: int | None = 300
    duplicate_order_ms: int | None = 1000
    self_trade: bool = True
    max_unknown: int | None = 1
    repeated_execution: int | None = 100
    max_daily_loss: Decimal | None = Decimal("0.02")
    max_drawdown: Decimal | None = Decimal("0.10")
    loss_streak: int | None = 5
    cooldown_minutes: int = 0
    equity_age_s: int = 60
    warn_at: Decimal = Decimal("0.8")
    on_breach: str = "reducing"
    daily_loss_reset: str = "manual"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule, evaluated: what it allows, what the order makes of it, what is left.

    Attributes:
        limit, value, headroom: In `unit`; None where the rule is off or has no figure.
        ok: Whether the order passes.
        warning: Said to an exit that a rule without data lets pass.
    """

    rule: str
    limit: Decimal | None
    value: Decimal | None
    headroom: Decimal | None
    unit: str
    ok: bool
    message: str = ""
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A trading state set by somebody for some scope.

    Attributes:
        scope: `all`, `venue:ID`, `symbol:S` or `bot:ID`.
        by: Subject, or the rule that set it.
        ts: [ns].
    """

    scope: str
    state: TradingState
    reason: str
    by: str
    ts: int
