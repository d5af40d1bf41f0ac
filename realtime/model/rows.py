"""Rows of the wire, field by field: the documents for machines are made from them.

`engine/rows.py` makes those of the market, the account and risk, `desk/entries.py` those of the logs; of bots and
backtests they are in `bot_rows.py`. Without a word beside it a text is a text, an `int` in `*_ts` and `ts` is wire ms,
None is not known.
"""

from typing import Annotated, Literal, NotRequired, TypeAlias, TypedDict

from realtime.model.orders import Asked, OrderType, Role, Side, Status, TimeInForce, TriggerBy


Figure: TypeAlias = Annotated[str, ("format", "decimal")]
"""Money, a price or an amount as text (protocol document, 2.3)."""


class FeeRow(TypedDict):
    """What was charged; below zero is a rebate."""

    cost: Figure
    currency: str


class TriggerRow(TypedDict):
    """An attached stop or target with a limit."""

    price: Figure
    limit: Figure


class OrderRow(TypedDict):
    """An order."""

    id: str
    client_order_id: str
    exchange_order_id: str | None
    venue: str
    mode: str
    symbol: str
    type: OrderType
    side: Side
    amount: Figure
    cost_limit: Figure | None
    price: Figure | None
    stop_price: Figure | None
    trailing_amount: Figure | None
    trailing_rate: Figure | None
    trigger_by: TriggerBy
    average: Figure | None
    filled: Figure
    remaining: Figure
    cost: Figure
    fee: FeeRow | None
    fees: list[FeeRow]
    status: Status
    cancel_state: Asked
    amend_state: Asked
    code: str | None
    reason: str | None
    time_in_force: TimeInForce | Literal["PO"]
    good_till_ts: int | None
    post_only: bool
    reduce_only: bool
    position_type: str
    leverage: float | None
    stop_loss: Figure | TriggerRow | None
    take_profit: Figure | TriggerRow | None
    trailing_stop: Figure | None
    parent_id: str | None
    oco_group: str | None
    role: Role
    emulated: bool
    external: bool
    subject: str
    client: str
    bot_id: str | None
    strategy_id: str | None
    source: str
    created_ts: int
    updated_ts: int
    version: int


class Placed(TypedDict):
    """What a placement came to."""

    id: str
    client_order_id: str
    status: Status
    filled: Figure
    average: Figure | None
    mode: str
    warnings: NotRequired[list[str]]
    duplicate: NotRequired[bool]
    journaled: NotRequired[bool]


class FillRow(TypedDict):
    """An execution."""

    id: str
    order_id: str
    client_order_id: str
    venue: str
    mode: str
    symbol: str
    side: Side
    amount: Figure
    price: Figure
    cost: Figure
    fee: FeeRow
    taker_or_maker: Literal["taker", "maker"]
    realized_pnl: Figure | None
    bot_id: str | None
    inferred: bool
    ts: int


class PositionRow(TypedDict):
    """A position at the price now."""

    id: str
    venue: str
    mode: str
    symbol: str
    side: str
    amount: Figure
    contracts: Figure | None
    contract_size: Figure
    entry_price: Figure | None
    mark_price: Figure | None
    mark_source: str | None
    notional: Figure | None
    unrealized_pnl: Figure | None
    unrealized_pnl_pct: float | None
    realized_pnl: Figure
    fees_paid: Figure
    collateral: Figure | None
    margin_mode: str
    maintenance_margin: Figure | None
    leverage: float | None
    liquidation_price: Figure | None
    position_type: str
    stop_loss: Figure | None
    take_profit: Figure | None
    suspended: bool
    cost_basis: Literal["known", "unknown"]
    bot_ids: list[str]
    opened_ts: int
    ts: int
    source: str | None
    stale: bool


class BalanceRow(TypedDict):
    """One currency of one wallet, at the price now."""

    id: str
    venue: str
    mode: str
    currency: str
    wallet: str
    available: Figure
    reserved: Figure
    total: Figure
    price: Figure | None
    value: Figure | None
    allocation: float | None
    ts: int
    source: str
    stale: bool


class RuleRow(TypedDict):
    """A rule of the gate, evaluated; figures in `unit`."""

    rule: str
    limit: Figure | None
    value: Figure | None
    used: Figure | None
    headroom: Figure | None
    unit: str
    ok: bool
    message: NotRequired[str]
    warning: NotRequired[str]


class HaltRow(TypedDict):
    """A trading state, and who set it."""

    scope: str
    state: str
    reason: str
    by: str
    ts: int


class SymbolRiskRow(TypedDict):
    """One position in the assessment."""

    symbol: str
    notional: Figure | None
    share: float | None
    risk_score: float


class HintRow(TypedDict):
    """What to do about it."""

    code: str
    text: str
    severity: str


class RiskRow(TypedDict):
    """The account's risk now [valuation currency]."""

    trading_state: str
    halts: list[HaltRow]
    halt: str | None
    breach: str | None
    ready: bool
    ready_reason: str
    equity: Figure | None
    equity_reason: str | None
    gross_exposure: Figure | None
    net_exposure: Figure | None
    total_exposure: Figure | None
    open_order_exposure: Figure | None
    leverage: float | None
    margin_used: Figure | None
    position_count: int
    symbol_count: int
    positions_vs_max: float | None
    concentration_risk: float | None
    hhi: float | None
    effective_positions: float | None
    day: str
    equity_start: Figure | None
    daily_pnl: Figure | None
    daily_pnl_fraction: float | None
    peak_equity: Figure | None
    drawdown: float | None
    positions_risk: float | None
    orders_risk: float | None
    exposure_risk: float | None
    loss_risk: float | None
    total_risk_score: float | None
    risk_level: str
    positions: list[SymbolRiskRow]
    rules: list[RuleRow]
    headroom: list[RuleRow]
    recommendations: list[HintRow]
    unknown_orders: int
    var_95: float | None
    var_99: float | None
    es_95: float | None
    var_reason: str | None
    ts: int


class PreviewRow(TypedDict):
    """What the gate says about an order that is not sent."""

    valid: bool
    code: str | None
    message: str | None
    failed: list[str]
    rules: list[RuleRow]
    warnings: list[str]
    reference_price: Figure | None
    average: Figure | None
    slippage: float | None
    expected_fill: Figure
    cost: Figure | None
    fee: FeeRow | None
    margin: Figure | None
    notional_after: Figure | None
    exposure_after: Figure | None
    leverage_after: float | None
    max_allowed_amount: Figure
    recommended_stop_loss: Figure | None
    recommended_take_profit: Figure | None


class DayRow(TypedDict):
    """One trading day: sums by currency, equity in the valuation currency."""

    day: str
    tz: str
    equity_start: Figure | None
    peak_equity: Figure | None
    realized: dict[str, Figure]
    fees: dict[str, Figure]
    transfers: dict[str, Figure]
    trades: int
    daily_pnl: Figure | None
    updated_ts: int


class TickerRow(TypedDict):
    """Top of book and the last 24 hours."""

    symbol: str
    bid: Figure | None
    bid_amount: Figure | None
    ask: Figure | None
    ask_amount: Figure | None
    last: Figure | None
    open: Figure | None
    high: Figure | None
    low: Figure | None
    close: Figure | None
    change: Figure | None
    change_pct: float | None
    volume: Figure | None
    quote_volume: Figure | None
    vwap: Figure | None
    mark: Figure | None
    index: Figure | None
    ts: int
    recv_ts: int
    source: str


class TradeRow(TypedDict):
    """A public trade; `side` is the taker's."""

    id: str
    ts: int
    symbol: str
    side: str
    price: Figure
    amount: Figure
    cost: Figure
    taker_or_maker: Literal["taker"]


class MarketRow(TypedDict):
    """A market and its rules."""

    symbol: str
    id: str
    base: str
    quote: str
    settle: str | None
    active: bool
    type: str
    spot: bool
    margin: bool
    swap: bool
    future: bool
    option: bool
    contract: bool
    contract_size: Figure
    price_tick: Figure
    amount_step: Figure
    min_amount: Figure | None
    max_amount: Figure | None
    max_market_amount: Figure | None
    min_cost: Figure | None
    max_leverage: Figure | None
    maintenance_margin: Figure | None
    price_band: Figure | None
    maker: Figure
    taker: Figure
    groups: list[Figure]


class GapRow(TypedDict):
    """A time between two bars in which there is none."""

    from_ts: int
    to_ts: int


class CheckRow(TypedDict):
    """A check of a market before it is traded."""

    name: str
    value: float | None
    threshold: float | None
    ok: bool


# --- portfolio --------------------------------------------------------------------------------


class HoldingRow(TypedDict):
    """A position in the portfolio."""

    symbol: str
    side: str
    amount: Figure
    entry_price: Figure | None
    current_price: Figure | None
    unrealized_pnl: Figure | None
    unrealized_pnl_pct: float | None
    market_value: Figure | None
    ts: int
    age_ms: int | None


class PortfolioFigures(TypedDict):
    """What the account is worth [valuation currency]."""

    total_value: Figure | None
    reason: str | None
    valuation_currency: str
    cash: Figure
    available_balance: Figure | None
    position_count: int
    total_unrealized_pnl: Figure | None
    total_unrealized_pnl_pct: float | None
    market_data_quality: Literal["high", "medium", "low"]
    ts: int


class PortfolioRow(PortfolioFigures):
    """What the account is worth and what it is made of; `ages` of the prices, by symbol [ms]."""

    positions: list[HoldingRow]
    unpriced: list[str]
    ages: dict[str, int]


class RiskSummaryRow(TypedDict):
    """What the account risks, in a few figures."""

    risk_level: str
    total_risk_score: float | None
    position_count: int
    leverage: float | None
    daily_pnl: Figure | None
    drawdown: float | None
    trading_state: str


class SpreadRow(TypedDict):
    """How the value of positions is spread; `reason` says why it is not known."""

    hhi: float | None
    effective_positions: float | None
    max_weight: float | None
    diversification: float | None
    reason: str | None


# --- logs -------------------------------------------------------------------------------------


class EventRow(TypedDict):
    """Who did what."""

    id: str
    ts: int
    type: str
    subject: str | None
    token_id: str | None
    client: str | None
    bot_id: str | None
    data: Annotated[dict[str, object], ("description", "what there is to say, by `type`")]


class AlertRow(TypedDict):
    """What a person should look at."""

    id: str
    ts: int
    level: Literal["info", "warning", "error", "critical"]
    code: str
    text: str
    data: Annotated[dict[str, object], ("description", "figures and names, by `code`")]
    acked_by: str | None


class LogRow(TypedDict):
    """A line of the server's log; `fields` beside the message, by name."""

    id: str
    ts: int
    level: Literal["debug", "info", "warning", "error", "critical"]
    component: str
    message: str
    fields: dict[str, str | float | bool | None]


class ChangeRow(TypedDict):
    """A key of the configuration that differs: its dotted path, and its values, null where it is not there."""

    path: str
    old: object
    new: object
