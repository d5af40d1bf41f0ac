"""Orders, fills, the table of transitions, and permission as a type."""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Self

from realtime.model.errors import Code
from realtime.model.frozen import frozen
from realtime.model.market import ZERO


class Side(StrEnum):
    """Of an order."""

    BUY = "buy"
    SELL = "sell"

    @property
    def opposite(self) -> "Side":
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    """How an order becomes a trade.

    Attributes:
        triggered: Whether it waits for a trigger price.
        priced: Whether it carries a limit price.
    """

    triggered: bool
    priced: bool

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"

    def __new__(cls, value: str) -> Self:
        """Make a member; what the gate asks of every order is an attribute, not a computation."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.triggered = value not in {"market", "limit"}
        member.priced = value.endswith("limit")
        return member


class TimeInForce(StrEnum):
    """How long it rests. `PO` of the wire is GTC with `post_only`."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"


class TriggerBy(StrEnum):
    """Which price fires a trigger."""

    LAST = "last"
    MARK = "mark"
    BID_ASK = "bid_ask"


class Status(StrEnum):
    """A partly filled order is `open` with `filled` above zero.

    Attributes:
        ended: Whether it is over as far as we know; the venue's word may still overrule this.
    """

    ended: bool

    PENDING = "pending"
    OPEN = "open"
    UNKNOWN = "unknown"
    FILLED = "filled"
    CANCELED = "canceled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    def __new__(cls, value: str) -> Self:
        """Make a member; asked for so often that it is an attribute."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.ended = value not in {"pending", "open", "unknown"}
        return member


class Asked(StrEnum):
    """State of an amend or cancel whose answer matters."""

    NONE = "none"
    REQUESTED = "requested"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """What an order is for.

    Attributes:
        closes: Whether it makes a position smaller.
        protective: Whether it does so as an attached leg.
    """

    closes: bool
    protective: bool

    ENTRY = "entry"
    EXIT = "exit"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"

    def __new__(cls, value: str) -> Self:
        """Make a member; asked for so often that it is an attribute, and no look at a class."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.closes = value != "entry"
        member.protective = value in {"stop_loss", "take_profit"}
        return member


def venue_client_id(account: str, client_order_id: str) -> str:
    """What the venue knows as the client's id: 32 hex digits, known before the call (I3)."""
    return sha256(f"{account}\n{client_order_id}".encode()).hexdigest()[:32]


OURS, VENUE = "ours", "venue"

TRANSITIONS: dict[Status, dict[str, frozenset[Status]]] = {
    Status.PENDING: {
        OURS: frozenset(
            {Status.OPEN, Status.REJECTED, Status.EXPIRED, Status.CANCELED, Status.UNKNOWN}
        ),
        VENUE: frozenset(
            {Status.OPEN, Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED}
        ),
    },
    Status.OPEN: {
        OURS: frozenset({Status.OPEN}),
        VENUE: frozenset(
            {Status.OPEN, Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED}
        ),
    },
    Status.UNKNOWN: {
        # Absence proven, or an operator's decision; never a timer.
        OURS: frozenset(
            {Status.REJECTED, Status.OPEN, Status.FILLED, Status.CANCELED, Status.EXPIRED}
        ),
        VENUE: frozenset(
            {Status.OPEN, Status.FILLED, Status.CANCELED, Status.REJECTED, Status.EXPIRED}
        ),
    },
    # The venue's word outranks ours: a fill raced with the end, or the row shows it working.
    Status.CANCELED: {
        OURS: frozenset(),
        VENUE: frozenset({Status.CANCELED, Status.FILLED, Status.OPEN}),
    },
    Status.EXPIRED: {
        OURS: frozenset(),
        VENUE: frozenset({Status.EXPIRED, Status.FILLED, Status.OPEN}),
    },
    Status.REJECTED: {
        OURS: frozenset(),
        VENUE: frozenset({Status.REJECTED, Status.FILLED, Status.OPEN}),
    },
    Status.FILLED: {OURS: frozenset(), VENUE: frozenset({Status.FILLED})},
}
"""From, by whose word, to (trading document 2.2). Any other pair changes nothing and raises an alert."""


Fees = tuple[tuple[str, Decimal], ...]
"""Fees by currency [currency units]."""


@frozen(kw_only=True)
class Trigger:
    """An attached stop or target: a trigger price and, for a stop-limit, the limit."""

    price: Decimal
    limit: Decimal | None = None


@frozen(kw_only=True)
class Order:
    """One order as the engine knows it; a value: every change makes a new one with `version` + 1.

    Attributes:
        id: Ours, e.g. `o-17`. `exchange_order_id` is the venue's.
        venue_client_id: What the venue knows as the client's id; known before the call (I3).
        amount: [base, contracts]; for a market buy by `cost` the amount is filled in by the venue's answer.
        cost_limit: [quote] a market buy may spend, instead of an amount.
        cost: Quote units traded so far; `average` is `cost / filled` (per contract size).
        owner: (subject, client) that placed it; `bot_id` where a bot did.
        source: socket, http, bot, bracket, rebalance or flatten.
        trailing_amount, trailing_rate: Distance [quote] or share 0..1 of a trailing stop; on an order
            of another type they attach one to it. `trailing_stop` is an attached rate, too.
        amend_amount, amend_price, amend_stop_price: Targets of an amend under way.
        expires_at, good_till_ts: [ns].
        created_ts, updated_ts: [ns].
    """

    id: str
    client_order_id: str
    venue_client_id: str
    exchange_order_id: str | None = None
    venue: str
    symbol: str
    type: OrderType
    side: Side
    amount: Decimal
    cost_limit: Decimal | None = None
    price: Decimal | None = None
    stop_price: Decimal | None = None
    trailing_amount: Decimal | None = None
    trailing_rate: Decimal | None = None
    trigger_by: TriggerBy = TriggerBy.LAST
    time_in_force: TimeInForce = TimeInForce.GTC
    good_till_ts: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    position_type: str = "spot"
    leverage: Decimal | None = None
    stop_loss: Trigger | None = None
    take_profit: Trigger | None = None
    trailing_stop: Decimal | None = None
    parent_id: str | None = None
    oco_group: str | None = None
    role: Role = Role.ENTRY
    status: Status = Status.PENDING
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    fees: Fees = ()
    cancel_state: Asked = Asked.NONE
    amend_state: Asked = Asked.NONE
    amend_amount: Decimal | None = None
    amend_price: Decimal | None = None
    amend_stop_price: Decimal | None = None
    code: Code | None = None
    reason: str | None = None
    emulated: bool = False
    external: bool = False
    subject: str = ""
    client: str = ""
    bot_id: str | None = None
    strategy_id: str | None = None
    source: str = "socket"
    expires_at: int | None = None
    created_ts: int
    updated_ts: int
    version: int = 1

    @property
    def remaining(self) -> Decimal:
        """What may still fill [base, contracts]."""
        return max(self.amount - self.filled, ZERO)

    @property
    def protective(self) -> bool:
        """Whether it is an attached leg: kept and let through by a halt."""
        return self.role.protective

    @property
    def guards(self) -> bool:
        """Whether it protects a position: an attached leg, or a stop or target of its own that can only close."""
        return self.role.protective or (self.exit and self.type.triggered)

    @property
    def owner(self) -> str:
        """Whose rates, streaks and unknown orders it counts among: the bot, else the subject."""
        return self.bot_id or self.subject

    @property
    def exit(self) -> bool:
        """Whether it can only make a position smaller (decided by the gate, rule G9)."""
        return self.reduce_only or self.role.closes


@frozen(kw_only=True)
class Fill:
    """One execution, booked once per (venue, symbol, id).

    Attributes:
        id: The venue's trade id.
        cost: [quote], price x amount x contract size.
        fee, fee_currency: Charged; negative is a rebate.
        realized_pnl: [cash currency] net of this fill's fee, None while the cost basis is unknown.
        inferred: Booked for a difference the venue's row showed; the real one replaces it.
    """

    id: str
    order_id: str
    client_order_id: str
    venue: str
    symbol: str
    side: Side
    amount: Decimal
    price: Decimal
    cost: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    realized_pnl: Decimal | None = None
    bot_id: str | None = None
    inferred: bool = False
    ts: int


@frozen(kw_only=True)
class Approved:
    """Permission to send one order; made only by `engine/risk.py`.

    Attributes:
        after: Ids of orders that are being cancelled for it: what it sells is theirs until they have ended.
    """

    order: Order
    warnings: tuple[str, ...] = field(default=())
    after: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedAmend:
    """Permission to change one order to absolute targets; made only by `engine/risk.py`.

    Attributes:
        expires_at: Nothing is sent later than this [ns].
    """

    order: Order
    amount: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    expires_at: int | None = None
