"""What a market is and what happens in it.

Prices and amounts of market data stay the venue's own strings (trading document, M6): equality and
checksums use the strings, the engine makes a Decimal when it needs one. Times are integer
nanoseconds UTC inside the process and milliseconds on the wire.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    InvalidOperation,
    Overflow,
)

from realtime.model.frozen import frozen


Level = tuple[str, str]
"""One level of an order book: price and amount, the venue's strings."""

Numbers = Sequence[float]
"""Levels as floats: price, amount, price, amount ..."""

MONEY = Context(
    prec=40,
    rounding=ROUND_HALF_EVEN,
    traps=[InvalidOperation, DivisionByZero, Overflow, FloatOperation],
)
"""The one decimal context of money; entered with `localcontext(MONEY)`, never made global."""

ZERO = Decimal(0)
MS = 1_000_000
"""Nanoseconds in a millisecond."""
SECOND = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The rules of one market.

    Attributes:
        symbol: ccxt unified, e.g. `BTC/USDT` or `BTC/USDT:USDT`.
        price_tick, amount_step: The grid.
        min_amount, max_amount, max_market_amount: [base, contracts]; None = no bound.
        min_cost: [quote]; None = no bound.
        contract_size: Base units per contract; 1 on spot.
        maker, taker: Fee rates, 0..1; negative is a rebate.
        groups: Price steps offered to `orderbook?group=`, as strings.
        maintenance_margin: Share of notional, derivatives only.
        price_band: Venue's own band around its mark for limit and market prices, None = none.
        contract: Whether this is a derivative, counted in contracts and settled in `settle`.
        cash: The currency in which profit and fees of a derivative, or the cost of spot, are paid.
        inverse: Whether profit of this derivative is paid in another currency than its price is in.
    """

    symbol: str
    id: str
    base: str
    quote: str
    settle: str | None = None
    type: str = "spot"
    active: bool = True
    contract_size: Decimal = Decimal(1)
    price_tick: Decimal
    amount_step: Decimal
    min_amount: Decimal | None = None
    max_amount: Decimal | None = None
    max_market_amount: Decimal | None = None
    min_cost: Decimal | None = None
    max_leverage: Decimal = Decimal(1)
    maintenance_margin: Decimal = Decimal("0.005")
    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")
    price_band: Decimal | None = None
    groups: tuple[str, ...] = ()
    contract: bool = field(init=False, repr=False, compare=False)
    cash: str = field(init=False, repr=False, compare=False)
    inverse: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what follows from the rest, once: an order asks for it eighty times."""
        contract, cash = self.type != "spot", self.settle or self.quote
        object.__setattr__(self, "contract", contract)
        object.__setattr__(self, "cash", cash)
        object.__setattr__(self, "inverse", contract and cash != self.quote)

    def value(self, price: Decimal) -> Decimal:
        """What one unit or contract counts for at a price [cash]; a change of it is profit.

        An inverse contract stands for a fixed amount of the quote currency. It counts for as much of the cash currency
        as that buys, less than nothing: so its value rises with the price as that of any other contract does.
        """
        return -self.contract_size / price if self.inverse else price * self.contract_size

    def quoted(self, price: Decimal) -> Decimal:
        """What one unit comes to at a price [quote]: an inverse contract is that much at any."""
        return self.contract_size if self.inverse else MONEY.multiply(price, self.contract_size)

    def average(self, cost: Decimal, amount: Decimal) -> Decimal:
        """The price at which so much was traded for an (unsigned) cost [cash]."""
        whole = MONEY.multiply(amount, self.contract_size)
        return MONEY.divide(whole, cost) if self.inverse and cost else MONEY.divide(cost, whole)


@frozen
class Daily:
    """What was traded in the last 24 hours; every number is the venue's string, None where it tells none."""

    open: str | None = None
    high: str | None = None
    low: str | None = None
    last: str | None = None
    volume: str | None = None
    quote_volume: str | None = None
    vwap: str | None = None


UNTOLD = Daily()


@frozen
class Ticker:
    """Top of book and the last 24 hours of one symbol; every number is the venue's string.

    Attributes:
        source: `ws`, `poll` (asked for) or `fold` (made of other streams) of an exchange; `paper` of a market of our own,
            a recording included.
    """

    symbol: str
    bid: str | None
    bid_amount: str | None
    ask: str | None
    ask_amount: str | None
    ts: int
    recv_ts: int
    daily: Daily = UNTOLD
    mark: str | None = None
    index: str | None = None
    source: str = "paper"


@frozen
class BookSnapshot:
    """A whole order book, best first. `repaired` marks a fresh start after a gap upstream."""

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts: int
    recv_ts: int
    repaired: bool = False


@frozen
class BookDelta:
    """Changed levels of an order book; amount zero deletes the level.

    Attributes:
        numbers: Bids and asks as floats where its maker has read them; a book reads them otherwise.
    """

    symbol: str
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    ts: int
    recv_ts: int
    numbers: tuple[Numbers, Numbers] | None = field(default=None, compare=False, repr=False)


@frozen
class Trade:
    """A public trade; `side` is the taker's."""

    id: str
    symbol: str
    side: str
    price: str
    amount: str
    ts: int
    recv_ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Mark and index price of a derivative, and its next funding."""

    symbol: str
    mark: str
    index: str
    funding_rate: str
    next_funding_ts: int
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """What a perpetual's longs paid its shorts at one time: `rate` of the value at the price `mark`."""

    ts: int
    mark: str
    rate: str


@frozen
class Bar:
    """One OHLCV row; `ts` is its opening time [ns]; numbers are strings at the market's precision."""

    ts: int
    open: str
    high: str
    low: str
    close: str
    volume: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stale:
    """A source went silent or came back.

    Attributes:
        symbol: None means everything of the venue, its account included.
        cause: `silent`, `disconnected`, `desync`, `maintenance` or `delisted`; None when fresh again.
        asof: Time of the last proof of life [ns].
    """

    venue: str
    symbol: str | None
    stale: bool
    cause: str | None
    asof: int
