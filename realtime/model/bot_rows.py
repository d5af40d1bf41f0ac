"""Rows of bots, of what they decide and of backtests: `bots/` makes them, the documents for machines are made from them.

As in `rows.py`: an `int` in `*_ts` and `ts` is wire ms, None is not known or not there.
"""

from typing import Annotated, Literal, NotRequired, TypeAlias, TypedDict

from realtime.model.bots import BotState, Kind, OnError, Skip, Trigger
from realtime.model.errors import Code
from realtime.model.orders import Side
from realtime.model.rows import CheckRow, Figure, OrderRow


Act: TypeAlias = Literal["buy", "sell", "hold"]
"""What a strategy would do."""
RiskLevel: TypeAlias = Literal["very_low", "low", "moderate", "high", "very_high"]
"""Of a risk score; the account has levels of its own."""
Parameters: TypeAlias = Annotated[
    dict[str, object], ("description", "parameters of the strategy, see `strategy.schema`")
]


# --- decisions --------------------------------------------------------------------------------


class ProbabilitiesRow(TypedDict):
    """Of the three actions; together one."""

    buy: float
    sell: float
    hold: float


class OpinionRow(TypedDict):
    """What one strategy says."""

    action: Act
    confidence: float
    probabilities: ProbabilitiesRow
    position_size: float
    metadata: Annotated[
        dict[str, object],
        (
            "description",
            "`probability_buy`, `probability_sell`, `probability_hold`, `conviction`, `reason`, and the strategy's indicators",
        ),
    ]


class NamedOpinionRow(OpinionRow):
    """What one strategy says, and which."""

    strategy: str


class CombinedRow(TypedDict):
    """What strategies say together."""

    action: Act
    confidence: float
    probabilities: ProbabilitiesRow
    risk_score: float
    risk_level: RiskLevel


class CapRow(TypedDict):
    """What held a size down."""

    name: str
    notional: Figure


class SizeRow(TypedDict):
    """How much to trade; `reason` says why nothing."""

    notional: Figure
    amount: Figure
    factors: dict[str, float]
    caps: list[CapRow]
    reason: str | None


class IntentRow(TypedDict):
    """The order that was wished for; `exit` closes the bot's own position."""

    side: Side
    amount: Figure
    exit: bool
    stop_loss: Figure | None
    take_profit: Figure | None


class DecisionRow(TypedDict):
    """A decision of a bot: what strategies said, and the order, or `skipped_reason`."""

    id: str
    bot_id: str
    cycle: int
    symbol: str
    strategy: Annotated[str | None, ("description", "null where there are several")]
    timeframe: str
    ohlcv_ts: int | None
    market_ok: bool
    checks: list[CheckRow]
    individual: list[NamedOpinionRow]
    combined: CombinedRow
    size: SizeRow | None
    intent: IntentRow | None
    dry_run: bool
    order_id: str | None
    client_order_id: str | None
    skipped_reason: Skip | None
    detail: str | None
    code: str | None
    rule: str | None
    ts: int
    duration_ms: float


# --- bots -------------------------------------------------------------------------------------


class UseRow(TypedDict):
    """How a bot uses a strategy."""

    weight: float
    min_confidence: float
    params: Parameters


class BotSpecRow(TypedDict):
    """What a bot is told; null takes the configuration's."""

    id: str
    kind: Kind
    symbols: list[str] | None
    timeframe: str | None
    strategies: dict[str, UseRow] | None
    trigger: Trigger
    cycle_interval_s: float
    max_retries: int
    retry_delay_s: float
    dry_run: bool
    auto_resume: bool
    allow_short: bool
    pyramiding: bool
    on_error: OnError
    budget: Figure | None
    window: Annotated[
        dict[str, object], ("description", "keys of `trading_window` that are its own")
    ]
    lease_s: float
    version: int


class LastDecisionRow(TypedDict):
    """The last decision in short."""

    id: str
    symbol: str
    skipped_reason: Skip | None
    order_id: str | None
    ts: int
    action: Act


class BotFigures(TypedDict):
    """A bot in a few figures."""

    id: str
    kind: Kind
    state: BotState
    mode: str
    dry_run: bool
    symbols: list[str]
    timeframe: str | None
    uptime_s: int
    cycle_count: int
    realized_pnl: Figure
    error: str | None
    last_update_ts: int


class BotRow(BotFigures):
    """A bot."""

    last_decision: LastDecisionRow | None


class BotPerformanceRow(TypedDict):
    """What is counted of a bot since its metrics were reset."""

    total_cycles: int
    successful_cycles: int
    failed_cycles: int
    success_rate: float | None
    average_cycle_ms: float | None
    last_cycle_ms: float | None
    trades: int
    win_rate: float | None
    profit_factor: float | None
    realized_pnl: Figure
    fees: Figure


class BudgetRow(TypedDict):
    """What a bot may use and does; null without a bound."""

    currency: str
    limit: Figure | None
    capital: Figure | None
    used: Figure | None
    left: Figure | None


class LeaseRow(TypedDict):
    """Who acts as a remote bot."""

    subject: str
    client: str
    lease_s: float
    expires_ts: int


class WindowRow(TypedDict):
    """A trading window now; nobody counts the entries of all bots together."""

    within_window: bool
    can_trade: bool
    trades_today: int | None
    max_trades_per_day: int
    remaining_trades: int | None
    trading_hours: str
    last_trade_date: str | None
    next_open_ts: int | None
    next_close_ts: int | None
    cooldown_until: dict[str, int]
    blackout: str | None


class ShareRow(TypedDict):
    """What a bot holds of a symbol."""

    symbol: str
    side: Literal["long", "short"]
    amount: Figure
    entry_price: Figure
    mark_price: Figure | None
    unrealized_pnl: Figure | None
    realized_pnl: Figure


class BotStatusRow(BotFigures):
    """A bot whole."""

    last_decision: DecisionRow | None
    desired_state: BotState
    was_running: bool
    paused_until_ts: int | None
    strategy_weights: dict[str, float]
    started_ts: int | None
    task_alive: bool
    last_cycle_ts: int | None
    next_cycle_ts: int | None
    performance: BotPerformanceRow
    configuration: BotSpecRow
    budget: BudgetRow
    lease: LeaseRow | None
    last_signal: CombinedRow | None
    trading_window: WindowRow | None
    trading_state: str
    open_orders: list[OrderRow]
    positions: list[ShareRow]
    version: int


# --- strategies and indicators ----------------------------------------------------------------


class StrategyRow(TypedDict):
    """A strategy that can be made: `warmup` in bars."""

    id: str
    description: str
    source: str
    parameters: Annotated[dict[str, object], ("description", "a JSON Schema")]
    defaults: Parameters
    warmup: int


class UsedStrategyRow(StrategyRow):
    """A strategy, and how the configuration uses it."""

    enabled: bool
    weight: float
    min_confidence: float | None


class BrokenFileRow(TypedDict):
    """A file of the operator's that failed to load."""

    file: str
    error: str


class ZoneRow(TypedDict):
    """A fair value gap; bars without times have none."""

    index: int
    direction: Literal["bullish", "bearish"]
    gap_high: float
    gap_low: float
    size: float
    start_ts: int | None
    confirmed_ts: int | None
    mid: float
    size_fraction: float
    filled_fraction: float
    status: Literal["open", "partially_filled", "filled"]
    filled_ts: int | None
    age: int


# --- backtests --------------------------------------------------------------------------------


class MetricsRow(TypedDict):
    """What a run is worth; of several windows the means; null where a metric says nothing."""

    total_trades: float
    winning_trades: float
    losing_trades: float
    win_rate: float | None
    profit_factor: float | None
    expectancy: float | None
    avg_win: float | None
    avg_loss: float | None
    net_profit: float | None
    total_return: float | None
    cagr: float | None
    max_drawdown: float | None
    max_drawdown_bars: float
    sharpe: float | None
    sortino: float | None
    calmar: float | None
    volatility: float | None
    var_95: float | None
    es_95: float | None
    exposure: float | None
    turnover: float | None
    fees_paid: float | None
    buy_and_hold_return: float | None
    bars: float


class HeldRow(TypedDict):
    """What a run still holds at its end."""

    symbol: str
    side: Literal["long", "short"]
    amount: float
    entry_price: float
    entry_ts: int
    value: float


class HoleRow(TypedDict):
    """Bars that miss before the bar `index`."""

    symbol: str
    index: int
    from_ts: int
    to_ts: int
    bars: int


class HolesRow(TypedDict):
    """How many holes the bars had, and the first of them."""

    count: int
    missing_bars: int
    first: list[HoleRow]


class RunRow(TypedDict):
    """What came of a run; `skipped` counts entries that were not made, by reason."""

    metrics: MetricsRow
    open: list[HeldRow]
    skipped: dict[str, int]
    gaps: HolesRow


class TryRow(TypedDict):
    """One combination of parameters, before and behind the split."""

    parameters: Parameters
    in_sample: MetricsRow
    out_of_sample: MetricsRow
    in_sample_objective: float | None
    out_of_sample_objective: float | None
    overfit: bool


class FoldRow(TryRow):
    """The best of one window."""

    fold: int


class SplitRow(TypedDict):
    """In-sample from `first` up to `split`, out-of-sample up to `end` [bar numbers]."""

    first: int
    split: int
    end: int


class SearchRow(TypedDict):
    """What came of a search; `skipped` counts combinations that were not tried, by reason."""

    objective: str
    ranking: list[TryRow]
    folds: NotRequired[list[FoldRow]]
    tried: int
    skipped: dict[str, int]
    windows: list[SplitRow]
    bars: int


class RunningRow(TypedDict):
    """How far a run is."""

    equity: float
    total_return: float
    total_trades: int


class ProtectionsRow(TypedDict):
    """Limits that forbid entries of a run; null is off."""

    max_daily_loss: float | None
    max_drawdown: float | None
    loss_streak: int | None


class TermsRow(TypedDict):
    """The conditions of a run [fractions; capital in the quote currency, `amount` in the base]."""

    initial_capital: float
    commission: float
    maker: float | None
    taker: float | None
    slippage: float
    max_position_size: float
    amount: float | None
    stop_loss: float | None
    take_profit: float | None
    trailing_stop: float | None
    allow_short: bool
    fill: Literal["next_open", "close"]
    path: Literal["stop_first", "four_ticks"]
    close_at_end: bool
    funding_rate: float | None
    protections: ProtectionsRow | None


class FiltersRow(TypedDict):
    """Filters before the strategy."""

    trend: bool
    ema_length: int
    volume: bool
    volume_multiplier: float


class FailureRow(TypedDict):
    """Why a job failed, or was interrupted."""

    code: Code
    message: str
    details: dict[str, object] | None


class BacktestRow(TypedDict):
    """A backtest or a search."""

    id: str
    kind: Literal["run", "optimize"]
    strategy: str
    symbol: str
    symbols: list[str]
    timeframe: str
    start_ts: int | None
    end_ts: int | None
    parameters: Parameters
    filters: FiltersRow
    terms: TermsRow
    look_ahead: bool
    status: Literal["queued", "running", "done", "failed", "canceled", "interrupted"]
    progress: float
    partial: Annotated[
        RunningRow | dict[str, int] | None,
        ("description", "of a search how many combinations were tried, and skipped by reason"),
    ]
    error: FailureRow | None
    results: RunRow | SearchRow | None
    created_ts: int
    started_ts: int | None
    finished_ts: int | None
    version: str


class BacktestTradeRow(TypedDict):
    """A round trip of a run; figures are numbers, for nothing is paid."""

    id: int
    symbol: str
    entry_ts: int
    exit_ts: int
    side: Literal["long", "short"]
    entry_price: float
    exit_price: float
    amount: float
    pnl: float
    commission: float
    slippage: float
    exit_reason: Literal[
        "signal", "stop_loss", "take_profit", "trailing_stop", "end_of_data", "liquidation"
    ]
    bars_held: int
