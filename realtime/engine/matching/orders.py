"""Orders as the exchange keeps them, and the resting ones in price-time order."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from decimal import Decimal
from operator import attrgetter

from realtime.model.errors import Code
from realtime.model.market import ZERO, Level
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce, TriggerBy


@dataclass(slots=True, kw_only=True)
class Working:
    """One order of one account; mutable, only the exchange changes it.

    Attributes:
        amount: [base, contracts]; zero while a buy by `cost_limit` has not filled.
        live: Whether it takes part in matching: not while it waits for its trigger.
        dormant: Accepted, not yet handed to matching (latency).
        held: Funds held for it [its hold currency], spot only and outside an OCO group.
        exposure: What it adds to its position's worst case [cash currency], derivatives only.
        ahead, seen, traded: Queue in an outside book: displayed amount before it, displayed amount when last
            looked at, and what was printed at its price since.
        worst: What a market order in a derivative may pay, as far as the book told when it came.
        watermark: Best trigger price of a trailing stop since it was placed.
    """

    id: str
    account: str
    client_id: str | None
    symbol: str
    side: Side
    type: OrderType
    amount: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    cost_limit: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    good_till_ts: int | None = None
    post_only: bool = False
    reduce_only: bool = False
    trigger_by: TriggerBy = TriggerBy.LAST
    trailing_amount: Decimal | None = None
    trailing_rate: Decimal | None = None
    oco_group: str | None = None
    status: Status = Status.OPEN
    filled: Decimal = ZERO
    cost: Decimal = ZERO
    live: bool = False
    dormant: bool = False
    resting: bool = False
    held: Decimal = ZERO
    exposure: Decimal = ZERO
    ahead: Decimal = ZERO
    seen: Decimal = ZERO
    traded: Decimal = ZERO
    watermark: Decimal | None = None
    worst: Decimal | None = None
    code: Code | None = None
    reason: str | None = None
    key: float = 0.0
    created_ts: int = 0
    updated_ts: int = 0

    @property
    def remaining(self) -> Decimal:
        """What may still fill."""
        return self.amount - self.filled

    @property
    def dearest(self) -> Decimal:
        """The price to hold funds for; zero where nothing is known (a market buy is checked by the book)."""
        if self.price is not None:
            return self.price
        known = self.worst if self.live else self.stop_price
        return max(known or ZERO, ZERO)


def working(order: Order, identity: str, account: str, ts: int) -> Working:
    """Make the exchange's order from a client's."""
    return Working(
        id=identity,
        account=account,
        client_id=order.venue_client_id,
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        amount=ZERO if order.cost_limit is not None else order.amount,
        price=order.price if order.type.priced else None,
        stop_price=order.stop_price,
        cost_limit=order.cost_limit,
        time_in_force=order.time_in_force,
        good_till_ts=order.good_till_ts,
        post_only=order.post_only,
        reduce_only=order.reduce_only,
        trigger_by=order.trigger_by,
        trailing_amount=order.trailing_amount,
        trailing_rate=order.trailing_rate,
        oco_group=order.oco_group,
        created_ts=ts,
        updated_ts=ts,
    )


# --- as JSON ----------------------------------------------------------------------------------

_NUMBERS = frozenset(
    {
        "amount", "price", "stop_price", "cost_limit", "trailing_amount", "trailing_rate", "filled",
        "cost", "held", "exposure", "ahead", "seen", "traded", "watermark", "worst",
    }
)  # fmt: skip
_WORDS = {
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "trigger_by": TriggerBy,
    "status": Status,
    "code": Code,
}

Json = dict[str, object]


_RARE: Json = {
    spec.name: spec.default
    for spec in fields(Working)
    if spec.default is not MISSING
    and spec.name not in {"status", "filled", "cost", "live", "created_ts", "updated_ts"}
}
_RARELY = tuple(_RARE.values())
_rarely = attrgetter(*_RARE)


def order_out(order: Working) -> Json:
    """An order as JSON values, numbers of money as strings; of what few orders have only what this one has."""
    row: Json = {
        "id": order.id,
        "account": order.account,
        "client_id": order.client_id,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "amount": str(order.amount),
        "status": order.status,
        "filled": str(order.filled),
        "cost": str(order.cost),
        "live": order.live,
        "created_ts": order.created_ts,
        "updated_ts": order.updated_ts,
    }
    values = _rarely(order)
    # A market order has none of them.
    if values != _RARELY:
        for (name, preset), value in zip(_RARE.items(), values, strict=True):
            if value != preset:
                row[name] = str(value) if name in _NUMBERS else value
    return row


def order_in(raw: Json) -> Working:
    """The order that `order_out` wrote."""
    values: Json = dict(raw)
    for name, value in raw.items():
        if value is None:
            continue
        if name in _NUMBERS:
            values[name] = Decimal(str(value))
        elif name in _WORDS:
            values[name] = _WORDS[name](str(value))
    return Working(**values)  # type: ignore[arg-type]  # by name, types restored above


# --- resting orders ---------------------------------------------------------------------------


@dataclass(slots=True)
class Queue:
    """Orders at one price, first come first served; `text` is the price as the public book writes it."""

    price: Decimal
    text: str
    orders: dict[str, Working] = field(default_factory=dict)
    amount: Decimal = ZERO

    @property
    def level(self) -> Level:
        """Price and amount, as the public book writes them."""
        return self.text, format(self.amount, "f")


class Rest:
    """One side's resting orders. Keys grow away from the touch, as in `engine/orderbook.py`."""

    __slots__ = ("changed", "keys", "queues", "sign")

    def __init__(self, side: Side) -> None:
        self.sign = -1.0 if side is Side.BUY else 1.0
        self.keys: list[float] = []
        self.queues: dict[float, Queue] = {}
        # Levels changed since the public book was last read, and their prices as it writes them.
        self.changed: dict[float, str] = {}

    def add(self, order: Working, price: Decimal) -> None:
        """Queue an order behind those at its price."""
        key = self.sign * float(price)
        queue = self.queues.get(key)
        if queue is None:
            queue = self.queues[key] = Queue(price, format(price, "f"))
            insort(self.keys, key)
        queue.orders[order.id] = order
        queue.amount += order.amount - order.filled
        order.key = key
        order.resting = True
        self.changed[key] = queue.text

    def shrink(self, order: Working, amount: Decimal) -> None:
        """Account for `amount` of a resting order filled or given up."""
        queue = self.queues[order.key]
        queue.amount -= amount
        self.changed[order.key] = queue.text

    def remove(self, order: Working) -> None:
        """Take an order out, with what remains of it."""
        queue = self.queues[order.key]
        del queue.orders[order.id]
        queue.amount -= order.amount - order.filled
        self.changed[order.key] = queue.text
        order.resting = False
        if not queue.orders:
            del self.queues[order.key]
            del self.keys[bisect_left(self.keys, order.key)]

    def reach(self, edge: float) -> bool:
        """Whether anything rests up to `edge`, a key."""
        return bool(self.keys) and self.keys[0] <= edge

    @property
    def best(self) -> Level | None:
        """The level at the touch, as the public book writes it."""
        return self.queues[self.keys[0]].level if self.keys else None

    def __iter__(self) -> Iterator[Working]:
        """All resting orders in priority."""
        for key in self.keys:
            yield from self.queues[key].orders.values()
