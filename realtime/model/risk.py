"""Limits of the pre-trade gate, trading states, and how a rule reports itself."""

from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum

from realtime.model.errors import Code
from realtime.model.signals import Probabilities


class TradingState(StrEnum):
    """What the account may do; the strictest of all scopes applies."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Parameters of the gate (trading document 3.3); None switches a rule off.

    Fractions are 0..1 of equity or price; notionals are in the valuation currency. What sizes and stops are made of
    stands here, too: they are shown, changed and audited together.

    Attributes:
        stop_method: `fraction`, `atr` or `swing`.
        atr_multiplier: Distance of an `atr` stop [average true ranges]; lookback: bars of a `swing` stop.
        sizing_method: `confidence`, `fixed_fractional`, `min`, `volatility_target` or `kelly`.
        probability_weight: Of clarity against confidence in the size, 0..1.
        risk_per_trade: Share of equity lost at the stop, for `fixed_fractional`.
        volatility_target: Yearly deviation of equity wanted of a position, for `volatility_target`.
        kelly_fraction: Share of the full Kelly bet that is taken, for `kelly`.
        min_signal_confidence: Rule `low_confidence`.
        high_risk_size: Risk score above which a size is held to 0.7 of `max_position_size`.
        risk_score_threshold, confidence_threshold: Of orders of bots.
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
    stop_loss_fraction: Decimal = Decimal("0.02")
    take_profit_fraction: Decimal = Decimal("0.04")
    stop_method: str = "fraction"
    atr_multiplier: Decimal = Decimal(2)
    lookback: int = 5
    sizing_method: str = "confidence"
    probability_weight: Decimal = Decimal("0.5")
    risk_per_trade: Decimal = Decimal("0.02")
    volatility_target: Decimal = Decimal("0.20")
    kelly_fraction: Decimal = Decimal("0.25")
    min_signal_confidence: Decimal | None = Decimal("0.6")
    low_action_probability: Decimal | None = Decimal("0.4")
    high_risk_size: Decimal | None = Decimal("0.7")
    risk_score_threshold: Decimal | None = Decimal("0.8")
    confidence_threshold: Decimal | None = Decimal("0.7")


def switched_off(limits: Limits) -> frozenset[str]:
    """Name the limits that limit nothing."""
    named = ((field.name, getattr(limits, field.name)) for field in fields(limits))
    off = {name for name, value in named if value is None or value is False}
    return frozenset(off if limits.cooldown_minutes else {*off, "cooldown_minutes"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Backing:
    """The signal that an order is placed on: what rules of group G29 judge.

    Attributes:
        confidence: 0..1; of a bot, of its combined signal.
    """

    probabilities: Probabilities
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule, evaluated: what it allows, what the order makes of it, what is left.

    Attributes:
        limit, value, headroom: In `unit`; None where the rule is off or has no figure.
        ok: Whether the order passes.
        warning: Said to an exit that a rule without data lets pass.
        field: The argument that a rule of code `invalid` speaks of.
    """

    rule: str
    limit: Decimal | None
    value: Decimal | None
    headroom: Decimal | None
    unit: str
    ok: bool
    message: str = ""
    warning: str | None = None
    field: str = ""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What the gate says about an order that is not sent (protocol 8.4).

    Attributes:
        code, message: Of the refusal an order.place would get; None when valid.
        failed: Rules that would refuse, in the gate's order; the first one names the refusal.
        average: Expected price of what would fill at once [quote]; None when nothing would.
        slippage: Of `average` against the best price [fraction].
        expected_fill: Amount that would fill at once [base, contracts].
        cost: [quote]; fee: [fee_currency]; margin: initial margin [cash currency].
        notional_after: Worst-case exposure of the symbol; exposure_after: of the account
            [valuation currency].
        max_allowed_amount: Largest amount that would pass, on the grid; zero when none would.
    """

    valid: bool
    code: Code | None
    message: str | None
    failed: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    warnings: tuple[str, ...]
    reference_price: Decimal | None
    average: Decimal | None
    slippage: Decimal | None
    expected_fill: Decimal
    cost: Decimal | None
    fee: Decimal | None
    fee_currency: str
    margin: Decimal | None
    notional_after: Decimal | None
    exposure_after: Decimal | None
    leverage_after: Decimal | None
    max_allowed_amount: Decimal
    recommended_stop_loss: Decimal | None = None
    recommended_take_profit: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A hint of the assessment: `severity` is `info`, `warning` or `critical`."""

    code: str
    text: str
    severity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolRisk:
    """One position in the assessment: notional [valuation currency], share of equity, score 0..1."""

    symbol: str
    notional: Decimal | None
    share: Decimal | None
    risk_score: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskView:
    """The account's risk now (features F16); money in the valuation currency, None is not known.

    Attributes:
        halts: Every scope that is not active, `all` first.
        halt: `canceling` while a halt's cancels are not confirmed, else None.
        breach: The protection that holds the account back, else None.
        var_95, var_99, es_95: What a bad day costs [fraction of equity]; `var_reason` says why there is none.
    """

    trading_state: TradingState
    halts: tuple[Halt, ...]
    halt: str | None
    breach: str | None
    ready: bool
    ready_reason: str
    equity: Decimal | None
    equity_reason: str | None
    gross_exposure: Decimal | None
    net_exposure: Decimal | None
    total_exposure: Decimal | None
    open_order_exposure: Decimal | None
    leverage: Decimal | None
    margin_used: Decimal | None
    position_count: int
    symbol_count: int
    positions_vs_max: Decimal | None
    concentration_risk: Decimal | None
    hhi: Decimal | None
    effective_positions: Decimal | None
    day: str
    equity_start: Decimal | None
    daily_pnl: Decimal | None
    daily_pnl_fraction: Decimal | None
    peak_equity: Decimal | None
    drawdown: Decimal | None
    positions_risk: Decimal | None
    orders_risk: Decimal | None
    exposure_risk: Decimal | None
    loss_risk: Decimal | None
    total_risk_score: Decimal | None
    risk_level: str
    positions: tuple[SymbolRisk, ...]
    headroom: tuple[RuleResult, ...]
    recommendations: tuple[Recommendation, ...]
    unknown_orders: int
    ts: int
    var_95: float | None = None
    var_99: float | None = None
    es_95: float | None = None
    var_reason: str | None = None
