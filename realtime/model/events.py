"""What goes into the engine (market events, wishes, facts, time) and what comes out (effects).

A wish may be refused and then changes nothing. A fact is never refused, and only facts are journaled
and replayed. Ids and times are in the events: the engine makes neither.
"""

from collections.abc import Mapping
from dataclasses import field
from decimal import Decimal

from realtime.model.account import Balance, Position
from realtime.model.errors import Code
from realtime.model.frozen import frozen
from realtime.model.market import (
    ZERO,
    Bar,
    BookDelta,
    BookSnapshot,
    Mark,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import (
    Approved,
    ApprovedAmend,
    Fill,
    Order,
    Side,
    Status,
    Trigger,
    TriggerBy,
)
from realtime.model.principal import TokenLimits
from realtime.model.risk import Backing, Halt, Limits, TradingState


MarketEvent = Ticker | BookSnapshot | BookDelta | Trade | Mark | Stale


# --- wishes -----------------------------------------------------------------------------------


@frozen(kw_only=True)
class Who:
    """Who wishes: shown in audit rows and on orders.

    Attributes:
        limits: Of the token's orders, for the gate; None without any.
    """

    subject: str = "local"
    client: str = ""
    token_id: str | None = None
    source: str = "socket"
    bot_id: str | None = None
    strategy_id: str | None = None
    admin: bool = False
    limits: TokenLimits | None = None


@frozen(kw_only=True)
class Place:
    """Place `order`, a draft made by the desk with a fresh id and status `pending`.

    Attributes:
        content: What the client sent, normalised, for the comparison of resends (I1).
        allow_duplicate: Lifts rule `duplicate_order`.
        closing: It is `position.close`, which an admin may use while trading is halted.
        backing: The signal it is placed on; None without one, then no rule asks for it.
    """

    order: Order
    who: Who
    ts: int
    content: Mapping[str, str] = field(default_factory=dict)
    allow_duplicate: bool = False
    closing: bool = False
    backing: Backing | None = None


@frozen(kw_only=True)
class Amend:
    """Change an order to absolute targets; None leaves a field as it is.

    Attributes:
        expires_at: Nothing is sent to the venue later than this [ns].
    """

    order_id: str
    amount: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    stop_loss: Trigger | None
    take_profit: Trigger | None
    expires_at: int | None = None
    who: Who
    ts: int


@frozen(kw_only=True)
class Cancel:
    """Cancel one order."""

    order_id: str
    who: Who
    ts: int


@frozen(kw_only=True)
class Release:
    """The door check, behind every queue and disk write: may this order leave now?

    Attributes:
        leaves: Whether it leaves now if it may; False only looks, and it can still be canceled here.
        waited: Whether it has waited for the end of orders that held what it sells: they may have sold it.
    """

    order_id: str
    leaves: bool = True
    waited: bool = False
    ts: int


@frozen(kw_only=True)
class ReleaseAmend:
    """The same for an amend."""

    approved: ApprovedAmend
    ts: int


@frozen(kw_only=True)
class SetState:
    """Halt, reduce or resume trading for a scope (`all`, `venue:ID`, `symbol:S`, `bot:ID`)."""

    scope: str
    state: TradingState
    reason: str
    force: bool = False
    who: Who
    ts: int


@frozen(kw_only=True)
class Configure:
    """New limits; the version must be the current one plus one."""

    limits: Limits
    who: Who
    ts: int


@frozen(kw_only=True)
class Resolve:
    """An operator's decision about an order whose outcome nobody knows."""

    order_id: str
    status: Status
    filled: Decimal | None
    reason: str
    who: Who
    ts: int


@frozen(kw_only=True)
class Adopt:
    """Give an external order an owner."""

    order_id: str
    bot_id: str | None
    who: Who
    ts: int


@frozen(kw_only=True)
class SetCostBasis:
    """Tell what a holding older than the journal had cost [quote per base]."""

    position_id: str
    entry_price: Decimal
    who: Who
    ts: int


@frozen(kw_only=True)
class ResetDaily:
    """Start the day's loss count anew (admin)."""

    reason: str
    who: Who
    ts: int


Wish = (
    Place
    | Amend
    | Cancel
    | Release
    | ReleaseAmend
    | SetState
    | Configure
    | Resolve
    | Adopt
    | SetCostBasis
    | ResetDaily
)


# --- facts ------------------------------------------------------------------------------------


@frozen(kw_only=True)
class Placed:
    """An order passed the gate; its exposure is reserved.

    Attributes:
        cost: Reserved at most, of `reserve currency` (quote or settle; base for a spot sell).
    """

    order: Order
    content: Mapping[str, str] = field(default_factory=dict)
    cost: Decimal = ZERO
    ts: int


@frozen(kw_only=True)
class Withheld:
    """The door check, a cancel before release or a failed journal kept an order from leaving.

    Attributes:
        code: None for a cancel.
        by: Who cancelled it; `engine` where it was not needed any more, empty for all else.
    """

    order_id: str
    status: Status
    code: Code | None
    reason: str
    by: str = ""
    ts: int


@frozen(kw_only=True)
class Ack:
    """A venue's answer.

    Attributes:
        exchange_order_id: Never None in an answer that counts.
        status: None where the venue does not say; then its row decides.
        filled, cost: Cumulative, as far as told.
        method: Of an amend, `native` or `cancel_replace`.
    """

    exchange_order_id: str
    status: Status | None = None
    filled: Decimal | None = None
    cost: Decimal | None = None
    method: str = "native"
    ts: int = 0


@frozen(kw_only=True)
class Accepted:
    """The venue answered a placement."""

    order_id: str
    ack: Ack
    ts: int


@frozen(kw_only=True)
class Rejected:
    """The venue refused a placement.

    Attributes:
        retry_after: When the venue wants to be asked again [s]; None where it has not said.
    """

    order_id: str
    code: Code
    reason: str
    retry_after: float | None = None
    ts: int


@frozen(kw_only=True)
class Unknown:
    """No answer to a placement; `command` is the id told to the client."""

    order_id: str
    command: str
    ts: int


@frozen(kw_only=True)
class Absent:
    """Absence of an unknown order is proven (A1-A6)."""

    order_id: str
    ts: int


@frozen(kw_only=True)
class CancelAsked:
    """A cancel was handed to the venue; `by` is a subject, or `engine`, which may say why."""

    order_id: str
    by: str = ""
    reason: str | None = None
    ts: int


@frozen(kw_only=True)
class CancelFailed:
    """The venue refused a cancel (`unknown` false), or did not answer it (true).

    Attributes:
        code: Of the refusal; None in journals from before it was written.
        retry_after: As in `Rejected`.
    """

    order_id: str
    unknown: bool
    command: str | None
    reason: str
    code: Code | None = None
    retry_after: float | None = None
    ts: int


@frozen(kw_only=True)
class AmendAsked:
    """An amend was approved and is on its way; both versions count until answered."""

    order_id: str
    amount: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    cost: Decimal = ZERO
    ts: int


@frozen(kw_only=True)
class AmendDone:
    """The venue carried an amend out; a replacement has another `exchange_order_id`."""

    order_id: str
    amount: Decimal | None
    price: Decimal | None
    stop_price: Decimal | None
    method: str
    exchange_order_id: str | None = None
    ts: int


@frozen(kw_only=True)
class AmendFailed:
    """The venue refused an amend (`unknown` false), or did not answer it (true).

    Attributes:
        code: Of the refusal.
        sent: False where the door check kept it from leaving.
        retry_after: As in `Rejected`.
    """

    order_id: str
    unknown: bool
    command: str | None
    reason: str
    code: Code | None = None
    sent: bool = True
    retry_after: float | None = None
    ts: int


@frozen(kw_only=True)
class BracketSet:
    """The attached stop or target of an order was changed."""

    order_id: str
    stop_loss: Trigger | None
    take_profit: Trigger | None
    ts: int


@frozen(kw_only=True)
class Trailed:
    """A trailing stop that we watch ourselves has followed the price; journaled at most once a second (B6).

    Attributes:
        order_id: The order that it is attached to.
        price: The best trigger price since it protects anything, its watermark [quote].
    """

    order_id: str
    price: Decimal
    ts: int


@frozen(kw_only=True)
class OrderSeen:
    """A venue's row of an order: stream, answer or look-up. Evidence.

    Attributes:
        venue_client_id: None for orders placed elsewhere.
        asof: The venue's own time of the row [ns]; an older row changes nothing.
        evidence: `stream`, `found` (looked up), `answer` (a late answer), `content` (matched by content, 2.3).
    """

    venue: str
    symbol: str
    exchange_order_id: str
    venue_client_id: str | None
    side: Side
    type: str
    status: Status
    amount: Decimal
    price: Decimal | None
    stop_price: Decimal | None
    filled: Decimal
    cost: Decimal
    reduce_only: bool
    asof: int
    code: Code | None = None
    reason: str | None = None
    evidence: str = "stream"
    ts: int


@frozen(kw_only=True)
class Filled:
    """A venue's execution. Evidence. `exchange_order_id` and `venue_client_id` name the order."""

    venue: str
    symbol: str
    trade_id: str
    exchange_order_id: str
    venue_client_id: str | None
    side: Side
    amount: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    inferred: bool = False
    ts: int


@frozen(kw_only=True)
class BalanceSeen:
    """The venue's word on one balance; `asked` for by a comparison that had read all fills before."""

    balance: Balance
    asked: bool = False


@frozen(kw_only=True)
class PositionSeen:
    """The venue's word on one derivative position (spot positions are folds over fills); `asked` as of balances."""

    position: Position
    asked: bool = False


@frozen(kw_only=True)
class Transferred:
    """A deposit (amount above zero), withdrawal, funding or insurance entry.

    Attributes:
        kind: `deposit`, `withdrawal`, `funding`, `insurance`, `fee` (in a second currency, of the fill that `id`
            names); of the engine itself `opening` (found at
            the first look), `external` (a balance that no fill explains) and `position` (a derivative
            that no fill explains: `amount` contracts of `symbol`, `cost` as far as the venue tells).
        id: Booked once.
    """

    venue: str
    currency: str
    amount: Decimal
    kind: str
    symbol: str | None = None
    cost: Decimal | None = None
    inferred: bool = False
    id: str
    ts: int


@frozen(kw_only=True)
class StateSet:
    """A trading state for a scope."""

    halt: Halt


@frozen(kw_only=True)
class Configured:
    """New limits are in force."""

    limits: Limits
    by: str
    ts: int


@frozen(kw_only=True)
class Resolved:
    """An operator decided."""

    order_id: str
    status: Status
    filled: Decimal | None
    reason: str
    by: str
    ts: int


@frozen(kw_only=True)
class Adopted:
    """An external order has an owner now; `client_order_id` and `content` where its client resent it."""

    order_id: str
    bot_id: str | None
    subject: str
    client: str
    client_order_id: str | None = None
    content: Mapping[str, str] = field(default_factory=dict)
    ts: int


@frozen(kw_only=True)
class CostBasisSet:
    """A holding's entry price was told."""

    position_id: str
    entry_price: Decimal
    by: str
    ts: int


@frozen(kw_only=True)
class DayRolled:
    """A trading day began, or its count was reset.

    Attributes:
        day: ISO date in the configured zone.
        equity_start, peak_equity: [valuation currency].
        reset: Whether an admin asked for it; None for the calendar.
    """

    day: str
    equity_start: Decimal
    peak_equity: Decimal
    reset: str | None = None
    ts: int


@frozen(kw_only=True)
class PeakSet:
    """Equity reached a new peak, or an admin let the peak start anew; journaled at most every 10 s."""

    peak_equity: Decimal
    reset: bool = False
    ts: int


@frozen(kw_only=True)
class Ready:
    """The account is reconciled (true), or its private data is in doubt (false)."""

    venue: str
    ready: bool
    reason: str
    ts: int


Fact = (
    Placed
    | Withheld
    | Accepted
    | Rejected
    | Unknown
    | Absent
    | CancelAsked
    | CancelFailed
    | AmendAsked
    | AmendDone
    | AmendFailed
    | BracketSet
    | Trailed
    | OrderSeen
    | Filled
    | BalanceSeen
    | PositionSeen
    | Transferred
    | StateSet
    | Configured
    | Resolved
    | Adopted
    | CostBasisSet
    | DayRolled
    | PeakSet
    | Ready
)

VenueEvent = OrderSeen | Filled | BalanceSeen | PositionSeen | Transferred
"""What a venue tells about the account, in its order."""

Told = MarketEvent | VenueEvent | Accepted
"""What a venue tells at a time; at the end of it may stand its answer to the placement that all the rest came of."""


@frozen(kw_only=True)
class Tick:
    """Time passes; once a second. `day` is the date in the configured zone."""

    ts: int
    day: str


@frozen(kw_only=True)
class Gap:
    """What a trigger price did while this process was down, as the venue's bars tell; asked for before `Ready` (B7).

    Attributes:
        by: Which price.
        since: The last word of the process before [ns]: until then somebody watched.
        bars: Of one minute each, oldest first; the last one may be forming.
        whole: Whether they reach back to `since`; if not, `why` says what was in the way.
        slept: Whether the venue's own orders stood still as well, as those of the paper exchange.
    """

    symbol: str
    by: TriggerBy
    since: int
    bars: tuple[Bar, ...]
    whole: bool = True
    why: str = ""
    slept: bool = False
    ts: int


Event = MarketEvent | Wish | Fact | Tick | Gap


# --- effects ----------------------------------------------------------------------------------


@frozen
class Record:
    """Journal this fact; later effects of the same call wait for its commit."""

    fact: Fact


@frozen
class OrderChanged:
    """Publish this row of `orders`."""

    order: Order


@frozen
class FillBooked:
    """Publish this entry of `fills`."""

    fill: Fill


@frozen
class PositionChanged:
    """Publish this row of `positions`."""

    position: Position


@frozen
class BalanceChanged:
    """Publish this row of `balances`."""

    balance: Balance


@frozen
class RiskChanged:
    """Publish `risk` now (state, breach, level); otherwise it goes out once a second."""


@frozen
class BookChanged:
    """The order book of a symbol changed; `repaired` after a gap."""

    symbol: str
    asof: int
    repaired: bool = False


@frozen
class TickerChanged:
    """Publish this ticker."""

    ticker: Ticker


@frozen
class Traded:
    """Publish this public trade and fold it into bars."""

    trade: Trade


@frozen
class StaleChanged:
    """Publish the notice `stale`."""

    stale: Stale


@frozen
class Note:
    """An entry of `events`: type and data (audit)."""

    type: str
    data: Mapping[str, object]
    who: Who | None = None


@frozen
class Alert:
    """An entry of `alerts`."""

    level: str
    code: str
    text: str
    data: Mapping[str, object]


@frozen
class Submit:
    """Carry this order to the venue, at most once."""

    approved: Approved


@frozen
class SubmitAmend:
    """Carry this amend to the venue."""

    approved: ApprovedAmend


@frozen
class CancelAtVenue:
    """Cancel this order at the venue; never waits for the journal."""

    order: Order


@frozen
class PlaceNext:
    """A wish the engine makes itself: legs, flattening. The desk posts it in the same step."""

    place: Place


@frozen
class AmendNext:
    """A wish the engine makes itself: resize a leg."""

    amend: Amend


@frozen
class Ask:
    """Look this order up at the venue until there is evidence."""

    order_id: str


@frozen
class Duplicate:
    """The same content was placed before under this id: answer from the order as it is now."""

    order: Order


Effect = (
    Record
    | OrderChanged
    | FillBooked
    | PositionChanged
    | BalanceChanged
    | RiskChanged
    | BookChanged
    | TickerChanged
    | Traded
    | StaleChanged
    | Note
    | Alert
    | Submit
    | SubmitAmend
    | CancelAtVenue
    | PlaceNext
    | AmendNext
    | Ask
    | Duplicate
)
