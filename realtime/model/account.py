"""Balances and positions: what the account holds."""

from dataclasses import dataclass
from decimal import Decimal

from realtime.model.market import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """One currency of one wallet [currency units]; total = available + reserved, always."""

    venue: str
    currency: str
    wallet: str = "spot"
    available: Decimal = ZERO
    reserved: Decimal = ZERO
    ts: int = 0

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.available + self.reserved

    @property
    def id(self) -> str:
        """Row key `currency|wallet`."""
        return f"{self.currency}|{self.wallet}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """The net holding of one symbol, a fold over fills.

    Attributes:
        amount: Signed [base, contracts]: above zero is long.
        cost: Signed entry cost [quote] of `amount`, sums only (M7); None when the basis is unknown.
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
        return self.cost / (self.amount * self.contract_size)
