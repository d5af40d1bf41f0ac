"""Balances and positions: what the account holds."""

from dataclasses import dataclass
from decimal import Decimal

from realtime.model.frozen import frozen
from realtime.model.market import ZERO


@frozen(kw_only=True)
class Balance:
    """One currency of one wallet [currency units]; total = available + reserved, always.

    Attributes:
        source: `ws` as the venue's stream told it, `poll` as it answered.
    """

    venue: str
    currency: str
    wallet: str = "spot"
    available: Decimal = ZERO
    reserved: Decimal = ZERO
    ts: int = 0
    source: str = "ws"

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.available + self.reserved

    @property
    def id(self) -> str:
        """Row key `currency|wallet`."""
        return f"{self.currency}|{self.wallet}"


@frozen(kw_only=True)
class Position:
    """The net holding of one symbol, a fold over fills.

    Attributes:
        amount: Signed [base, contracts]: above zero is long.
        cost: Signed entry cost of `amount`, sums only (M7): amount times `Market.value` [cash currency]; None when the
            basis is unknown.
        realized_pnl: [cash currency] since first opened, net of fees.
        fees_paid: [cash currency].
        leverage, margin_mode, liquidation_price: derivatives; the venue's word.
    """

    venue: str
    symbol: str
    position_type: str = "spot"
    amount: Decimal = ZERO
    cost: Decimal | None = ZERO
    contract_size: Decimal = Decimal(1)
    realized_pnl: Decimal = ZERO
    fees_paid: Decimal = ZERO
    leverage: Decimal = Decimal(1)
    margin_mode: str = "spot"
    collateral: Decimal | None = None
    maintenance_margin: Decimal | None = None
    liquidation_price: Decimal | None = None
    opened_ts: int = 0
    ts: int = 0

    @property
    def side(self) -> str:
        """`long` or `short`."""
        return "short" if self.amount < 0 else "long"

    @property
    def id(self) -> str:
        """Row key `symbol|side`."""
        return f"{self.symbol}|{self.side}"

    @property
    def entry_price(self) -> Decimal | None:
        """Weighted-average price; None when flat or when the cost basis is unknown."""
        if self.cost is None or not self.amount:
            return None
        each = self.cost / (self.amount * self.contract_size)
        return each if each >= 0 else -1 / each  # an inverse contract's, see `Market.value`


@frozen(kw_only=True)
class Marked:
    """A position at the market's price now.

    Attributes:
        mark_price: None when no price is known; then everything that follows from it is None.
        mark_source: `mark`, `mid` or `last`.
        notional: [quote], unsigned. unrealized_pnl: [cash currency]; None without a cost basis.
        unrealized_pnl_pct: (mark / entry - 1) x 100, signed by the side.
        stop_loss, take_profit: Prices of the working protective legs, None when unprotected.
        price_ts: When the price was received [ns]; price_source as in tickers.
    """

    position: Position
    mark_price: Decimal | None
    mark_source: str | None
    notional: Decimal | None
    unrealized_pnl: Decimal | None
    unrealized_pnl_pct: Decimal | None
    stop_loss: Decimal | None = None
    take_profit: Decimal | None = None
    suspended: bool = False
    bot_ids: tuple[str, ...] = ()
    price_ts: int = 0
    price_source: str | None = None
    stale: bool = False


@frozen(kw_only=True)
class Valued:
    """A balance in the valuation currency; price, value and allocation are None when unpriced."""

    balance: Balance
    price: Decimal | None
    value: Decimal | None
    allocation: Decimal | None
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Portfolio:
    """Everything the account holds, valued (features F2, F4, F18).

    Attributes:
        total_value: Cash + holdings + unrealised profit of derivatives [valuation currency];
            None when a holding that matters has no price (`reason`).
        available_balance: What could be spent now [valuation currency].
        total_pnl: What all positions have realized, those that are flat now included, and the unrealised profit of those
            that are not [valuation currency]; None where that is.
        total_pnl_pct: The same as a share of the value without it.
        unpriced: Currencies without a price.
        quality: `high`, `medium` or `low` market data behind the marks.
        ages: Age of each position's price [ns], by symbol.
    """

    total_value: Decimal | None
    reason: str | None
    currency: str
    cash: Decimal
    available_balance: Decimal | None
    balances: tuple[Valued, ...]
    positions: tuple[Marked, ...]
    total_unrealized_pnl: Decimal | None
    total_unrealized_pnl_pct: Decimal | None
    total_pnl: Decimal | None
    total_pnl_pct: Decimal | None
    unpriced: tuple[str, ...]
    quality: str
    ages: tuple[tuple[str, int], ...]
    ts: int


@frozen(kw_only=True)
class Day:
    """One trading day's counters (trading document 3.5); money by currency, sums only.

    Attributes:
        day: ISO date in the configured zone; empty before the first one.
        equity_start, peak_equity: [valuation currency].
        realized, fees, transfers: Sums since the day began, by currency.
        trades: Closed trades.
    """

    day: str = ""
    equity_start: Decimal | None = None
    peak_equity: Decimal | None = None
    realized: tuple[tuple[str, Decimal], ...] = ()
    fees: tuple[tuple[str, Decimal], ...] = ()
    transfers: tuple[tuple[str, Decimal], ...] = ()
    trades: int = 0
    updated_ts: int = 0
