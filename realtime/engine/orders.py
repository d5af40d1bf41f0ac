"""The order ledger: every order, its fills, and what the working ones could do at worst.

Rules of this file:
1 `step` owns the table of transitions. What it does not list changes nothing and is reported.
2 `replace` is the only way an order changes; it keeps every index and every sum in step with the order.
3 `filled` never falls, and a fill is booked once per (symbol, trade id).
4 What counts in risk is what may still be *booked*: a row that shows more filled than our fills do
  keeps its exposure until those fills are here.
5 What has ended is forgotten by its age and number, root and legs together; `forget` is the only way out.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from realtime.engine.evolve import alter_order, evolve_order
from realtime.engine.forgotten import SIZES, Keys, Sizes, content_key, key
from realtime.model.events import Filled, OrderSeen
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import (
    TRANSITIONS,
    Asked,
    Fill,
    Order,
    OrderType,
    Side,
    Status,
    venue_client_id,
)


STRANGE = "x-"
"""Begins what stands for the client's id of an order that came without one of ours."""

RECENT = 300 * SECOND
"""How long an ended order stays in `recent` [ns]."""

BUY: Final = Side.BUY
SELL: Final = Side.SELL
MARKET: Final = OrderType.MARKET
PENDING: Final = Status.PENDING
UNKNOWN: Final = Status.UNKNOWN
"""Asked for with every order: a name of a module is read in a tenth of the time that one of a class takes."""

evolve = evolve_order
"""Copy an order with other values. The version is not raised: what `Ledger.replace` takes is one later."""


def step(order: Order, word: str, to: Status) -> bool:
    """Whether an order may go to a status by our (`ours`) or the venue's (`venue`) word."""
    return to in TRANSITIONS[order.status][word]


@dataclass(slots=True)
class Load:
    """Sums over the working orders of one symbol [base, contracts].

    Attributes:
        buys, sells: What entries may still book, larger version of an amend.
        exit_buys, exit_sells: What exits that are not protective legs may still book.
        legs: The same of protective legs, by side and OCO group: one of a group fills or the other.
        orders: How many orders work.
    """

    buys: Decimal = ZERO
    sells: Decimal = ZERO
    exit_buys: Decimal = ZERO
    exit_sells: Decimal = ZERO
    legs: dict[tuple[Side, str], dict[str, Decimal]] = field(default_factory=dict)
    orders: int = 0

    def exits(self, side: Side) -> Decimal:
        """What exits of a side that are no legs may still book."""
        return self.exit_buys if side is BUY else self.exit_sells

    def add(self, order: Order, more: Decimal) -> None:
        """Let an order that is no leg count for so much more."""
        buy = order.side is BUY
        if order.reduce_only or order.role.closes:
            if buy:
                self.exit_buys += more
            else:
                self.exit_sells += more
        elif buy:
            self.buys += more
        else:
            self.sells += more

    def protective(self, side: Side, besides: str | None = None) -> Decimal:
        """What legs of a side may still book, one of each group; without the group `besides`."""
        if not self.legs:
            return ZERO
        return sum(
            (
                max(held.values())
                for (leg_side, group), held in self.legs.items()
                if leg_side is side and group != besides
            ),
            ZERO,
        )


def worst(order: Order, booked: Decimal) -> Decimal:
    """What an order may still book [base, contracts], the larger version of an amend under way."""
    amount, filled = order.amount, order.filled
    if not order.status.ended:
        if order.amend_amount is not None and order.amend_amount > amount:
            amount = order.amend_amount
        if amount > booked:
            return max(amount, filled) - booked
    rest = filled - booked
    return rest if rest >= 0 else ZERO


class Ledger:
    """All orders of one account that are not forgotten, found by any of their ids.

    Args:
        sizes: How many ended orders are kept, and how long.
    """

    __slots__ = (
        "_asof",
        "_booked",
        "_by_client_id",
        "_by_exchange_id",
        "_by_venue_client_id",
        "_content",
        "_ended",
        "_fills",
        "_forgotten",
        "_former",
        "_legs",
        "_orders",
        "_rests",
        "_roots",
        "_seen",
        "_unbooked",
        "_unknown",
        "_working",
        "count",
        "gaps",
        "last_fill_ts",
        "loads",
        "owed",
        "sizes",
        "stale_rows",
        "unsized",
    )

    def __init__(self, sizes: Sizes = SIZES) -> None:
        self._orders: dict[str, Order] = {}
        self._by_client_id: dict[str, str] = {}
        self._by_venue_client_id: dict[str, str] = {}
        self._by_exchange_id: dict[tuple[str, str], str] = {}
        self._content: dict[str, Mapping[str, str]] = {}
        self._working: dict[str, dict[str, Order]] = {}
        self._unknown: dict[tuple[str, str], int] = {}
        self._legs: dict[str, list[str]] = {}
        self._booked: dict[str, Decimal] = {}
        # What each order that is no leg counts for in the sums of its symbol now; none that counts for nothing.
        self._rests: dict[str, Decimal] = {}
        self._fills: dict[str, tuple[Fill, ...]] = {}
        self._seen: set[tuple[str, str]] = set()
        self._asof: dict[str, int] = {}
        self._ended: deque[tuple[int, str]] = deque()
        # Ended orders that are nobody's legs, in the order of their ends: when each was put there [ns].
        self._roots: OrderedDict[str, int] = OrderedDict()
        # Names that an order had before: ids the venue has replaced, fills that were taken back.
        self._former: dict[str, list[str]] = {}
        self._unbooked: dict[str, list[str]] = {}
        self._forgotten = Keys()
        self.sizes = sizes
        self.loads: dict[str, Load] = {}
        # Working orders of the account.
        self.count = 0
        # Orders whose row shows more filled than our fills do, since when [ns].
        self.gaps: dict[str, int] = {}
        # Commands that were answered `outcome_unknown`: order id -> (command, op), told once resolved.
        self.owed: dict[str, list[tuple[str, str]]] = {}
        # Orders that are not ours of which no row has told the amount: theirs is what they are known to have filled.
        self.unsized: set[str] = set()
        # Rows older than what was known.
        self.stale_rows = 0
        # When the newest booked fill happened [ns].
        self.last_fill_ts = 0

    # -- look-ups ------------------------------------------------------------------------------

    def get(self, order_id: str) -> Order | None:
        """By our id."""
        return self._orders.get(order_id)

    def by_client_id(self, client_order_id: str) -> Order | None:
        """By the client's id."""
        found = self._by_client_id.get(client_order_id)
        return self._orders[found] if found is not None else None

    def by_venue_client_id(self, venue_client_id: str) -> Order | None:
        """By the id the venue knows as the client's."""
        found = self._by_venue_client_id.get(venue_client_id)
        return self._orders[found] if found is not None else None

    def is_new(self, client_order_id: str, venue_client_id: str) -> bool:
        """Whether no order ever had one of these ids, the client's or as it reads at the venue."""
        return (
            client_order_id not in self._by_client_id
            and venue_client_id not in self._by_venue_client_id
            and not self.forgot_client(venue_client_id)
        )

    def by_exchange_id(self, symbol: str, exchange_order_id: str) -> Order | None:
        """By the venue's own id."""
        found = self._by_exchange_id.get((symbol, exchange_order_id))
        return self._orders[found] if found is not None else None

    def find(self, seen: OrderSeen | Filled) -> Order | None:
        """The order a venue's row or fill speaks of."""
        found = self._by_exchange_id.get((seen.symbol, seen.exchange_order_id))
        if found is None and seen.venue_client_id is not None:
            found = self._by_venue_client_id.get(seen.venue_client_id)
        return None if found is None else self._orders[found]

    def content(self, order_id: str) -> Mapping[str, str]:
        """What the client had sent, for the comparison of resends."""
        return self._content.get(order_id, {})

    def working(self) -> list[Order]:
        """Pending, open and unknown orders, oldest first."""
        found = [order for held in self._working.values() for order in held.values()]
        found.sort(key=lambda order: (order.created_ts, order.id))
        return found

    def working_in(self, symbol: str) -> Iterable[Order]:
        """Working orders of one symbol."""
        held = self._working.get(symbol)
        return held.values() if held else ()

    def symbols(self) -> Iterator[str]:
        """Symbols with a working order."""
        return (symbol for symbol, held in self._working.items() if held)

    def recent(self, now: int) -> list[Order]:
        """Working orders, and those that ended less than five minutes ago."""
        found = self.working()
        for ended_ts, order_id in reversed(self._ended):
            if ended_ts < now - RECENT:
                break
            order = self._orders.get(order_id)
            if order is not None and order.status.ended and order.updated_ts == ended_ts:
                found.append(order)
        return found

    def all(self) -> Iterator[Order]:
        """Every order that is not forgotten."""
        return iter(self._orders.values())

    def unknown(self) -> list[Order]:
        """Orders whose outcome nobody knows."""
        return [order for order in self.working() if order.status is Status.UNKNOWN]

    def unknown_of(self, owner: str, symbol: str) -> int:
        """How many unknown orders an owner has in a symbol."""
        return self._unknown.get((owner, symbol), 0)

    def legs_of(self, order_id: str) -> list[Order]:
        """All attached legs an order ever had, oldest first."""
        return [self._orders[leg] for leg in self._legs.get(order_id, ())]

    def fills_of(self, order_id: str) -> tuple[Fill, ...]:
        """Fills of one order, as booked."""
        return self._fills.get(order_id, ())

    def booked(self, order_id: str) -> Decimal:
        """Sum of the booked fills of an order [base, contracts]."""
        return self._booked.get(order_id, ZERO)

    def worst_of(self, order: Order) -> Decimal:
        """What an order may still book at worst [base, contracts]."""
        return worst(order, self._booked.get(order.id, ZERO))

    def seen(self, symbol: str, trade_id: str) -> bool:
        """Whether this execution has been booked under an order that is not forgotten."""
        return (symbol, trade_id) in self._seen

    def load(self, symbol: str) -> Load:
        """Sums of one symbol; a fresh one is kept."""
        found = self.loads.get(symbol)
        if found is None:
            found = self.loads[symbol] = Load()
        return found

    def asof(self, order_id: str) -> int:
        """The venue's time of the newest row that counted [ns]."""
        return self._asof.get(order_id, 0)

    # -- what is forgotten ---------------------------------------------------------------------

    def forgot(self, symbol: str, exchange_order_id: str, at_venue: str | None) -> bool:
        """Whether a forgotten order had one of these ids: the venue's, or the client's at the venue."""
        if not self._forgotten:
            return False
        if key("venue", symbol, exchange_order_id) in self._forgotten:
            return True
        return at_venue is not None and self.forgot_client(at_venue)

    def forgot_client(self, at_venue: str) -> bool:
        """Whether a forgotten order had this client's id, as it reads at the venue."""
        return bool(self._forgotten) and key("client", at_venue) in self._forgotten

    def forgot_content(self, at_venue: str, content: Mapping[str, str]) -> bool:
        """Whether the forgotten order of this client's id was placed with this content."""
        return content_key(at_venue, content) in self._forgotten

    def forgot_fill(self, symbol: str, trade_id: str) -> bool:
        """Whether this execution has been booked under an order that is forgotten now."""
        return key("trade", symbol, trade_id) in self._forgotten

    def forget(
        self, ts: int, may_go: Callable[[Order, Sequence[Order]], bool]
    ) -> list[tuple[Order, list[Order]]]:
        """Let go what ended long ago, the oldest first, `sizes.a_call` of them at most.

        Args:
            ts: Now [ns].
            may_go: Whether a root and its legs may go; one that may not is looked at again later.

        Returns:
            What was let go: roots with their legs.
        """
        sizes, roots = self.sizes, self._roots
        gone: list[tuple[Order, list[Order]]] = []
        if len(roots) <= sizes.ended:
            return gone
        for _ in range(sizes.a_call):
            if len(roots) <= sizes.ended:
                break
            before = sizes.before(len(roots), ts)
            order_id = next(iter(roots))
            if roots[order_id] >= before:
                break
            root, legs = self._orders[order_id], self.legs_of(order_id)
            over = self._over(root, before) and all(self._over(leg, before) for leg in legs)
            if not over or not may_go(root, legs):
                roots.move_to_end(order_id)
                continue
            del roots[order_id]
            self._drop(root)
            for leg in legs:
                self._drop(leg)
            gone.append((root, legs))
        return gone

    def _over(self, order: Order, before: int) -> bool:
        """Whether nothing is left to come of an order."""
        return (
            order.status.ended
            and order.updated_ts < before
            and order.id not in self.owed
            and order.id not in self.gaps
            and not any(fill.inferred for fill in self._fills.get(order.id, ()))
        )

    def _drop(self, order: Order) -> None:
        """Forget one order but for the keys of its names."""
        order_id, keep = order.id, self._forgotten.add
        at_venue = ours = order.venue_client_id
        del self._orders[order_id]
        del self._by_client_id[order.client_order_id]
        del self._by_venue_client_id[at_venue]
        if order.client_order_id.startswith(STRANGE):
            # A stranger has a client's id here that it has not there: neither may name a second order.
            ours = venue_client_id(order.venue, order.client_order_id)
            keep(key("client", at_venue))
        keep(key("client", ours))
        keep(content_key(ours, self._content.pop(order_id, {})))
        for name in (order.exchange_order_id, *self._former.pop(order_id, ())):
            if name is not None:
                keep(key("venue", order.symbol, name))
                # A stranger may have turned out to be another order of ours.
                if self._by_exchange_id.get((order.symbol, name)) == order_id:
                    del self._by_exchange_id[order.symbol, name]
        for fill in self._fills.pop(order_id, ()):
            keep(key("trade", fill.symbol, fill.id))
            self._seen.discard((fill.symbol, fill.id))
        for trade_id in self._unbooked.pop(order_id, ()):
            self._seen.discard((order.symbol, trade_id))
        self._legs.pop(order_id, None)
        self._booked.pop(order_id, None)
        self._rests.pop(order_id, None)
        self._asof.pop(order_id, None)
        self.unsized.discard(order_id)

    # -- changes -------------------------------------------------------------------------------

    def add(self, order: Order, content: Mapping[str, str], booked: Decimal = ZERO) -> None:
        """Take in a new order.

        Args:
            order: As it is.
            content: What the client had sent.
            booked: What of its fills was booked under an order that is forgotten.
        """
        self._by_client_id[order.client_order_id] = order.id
        self._by_venue_client_id[order.venue_client_id] = order.id
        if content:
            self._content[order.id] = content
        if order.parent_id is not None:
            self._legs.setdefault(order.parent_id, []).append(order.id)
        if booked:
            self._booked[order.id] = booked
        self._enter(order, None, booked)

    def put(self, old: Order, booked: Decimal | None = None, /, **changes: object) -> Order:
        """Change an order; its version rises by one.

        Args:
            old: As it is.
            booked: The new sum of its fills, where that is what changes.
            changes: Fields of the order.
        """
        new = alter_order(old, {**changes, "version": old.version + 1})
        self.replace(old, new, booked)
        return new

    def replace(self, old: Order, new: Order, booked: Decimal | None = None) -> None:
        """Put the next version of an order in the place of the last one; `booked` as in `put`."""
        assert new.version == old.version + 1
        before = old.exchange_order_id
        if before is not None and before != new.exchange_order_id:
            self._former.setdefault(old.id, []).append(before)
        if booked is None:
            booked = self._booked.get(old.id, ZERO)
        else:
            self._booked[old.id] = booked
        self._enter(new, old, booked)

    def rename(self, order: Order, client_order_id: str, content: dict[str, str]) -> None:
        """Let an adopted order be found by the id its owner gave it; `put` must follow."""
        del self._by_client_id[order.client_order_id]
        self._by_client_id[client_order_id] = order.id
        self._content[order.id] = content

    def set_asof(self, order_id: str, asof: int) -> None:
        """Remember the time of the row that counted."""
        self._asof[order_id] = asof

    def book(self, fill: Fill) -> Decimal:
        """Note a fill under its order; `replace` must follow with the sum that is returned."""
        order_id = fill.order_id
        self._seen.add((fill.symbol, fill.id))
        self.last_fill_ts = max(self.last_fill_ts, fill.ts)
        self._fills[order_id] = (*self._fills.get(order_id, ()), fill)
        return self._booked.get(order_id, ZERO) + fill.amount

    def unbook(self, fill: Fill) -> Decimal:
        """Take an inferred fill back; `put` must follow with the sum. Its id stays seen."""
        kept = list(self._fills[fill.order_id])
        kept.remove(fill)
        self._fills[fill.order_id] = tuple(kept)
        self._unbooked.setdefault(fill.order_id, []).append(fill.id)
        return self.booked(fill.order_id) - fill.amount

    def _enter(self, new: Order, old: Order | None, booked: Decimal) -> None:
        """Keep indices and sums in step with an order that is new, or not what it was."""
        order_id, symbol, status, role = new.id, new.symbol, new.status, new.role
        self._orders[order_id] = new
        if new.exchange_order_id is not None:
            self._by_exchange_id[symbol, new.exchange_order_id] = order_id
        load = self.loads.get(symbol)
        if load is None:
            load = self.load(symbol)
        if old is not None and not old.status.ended:
            load.orders -= 1
            self.count -= 1
            del self._working[symbol][order_id]
            if old.status is UNKNOWN:
                self._unknown[old.owner, symbol] -= 1
        # What it may still book instead of what it counted for.
        rest, before = worst(new, booked), self._rests.get(order_id, ZERO)
        if role.protective:
            self._sum_leg(new, load, rest)
        elif rest != before:
            if rest:
                self._rests[order_id] = rest
            else:
                del self._rests[order_id]
            load.add(new, rest - before)
        if status.ended:
            self._end(new)
            return
        load.orders += 1
        self.count += 1
        self._working.setdefault(symbol, {})[order_id] = new
        if status is UNKNOWN:
            key = (new.owner, symbol)
            self._unknown[key] = self._unknown.get(key, 0) + 1

    def _end(self, order: Order) -> None:
        """Note when an order was put there that has ended."""
        ended, ts = self._ended, order.updated_ts
        end = (ts, order.id)
        if not ended or ended[-1] != end:
            ended.append(end)
            while ended[0][0] < ts - RECENT:
                ended.popleft()
        if order.parent_id is None:
            self._roots.setdefault(order.id, ts)

    @staticmethod
    def _sum_leg(order: Order, load: Load, rest: Decimal) -> None:
        group = order.side, order.oco_group or order.id
        held = load.legs.setdefault(group, {})
        if rest:
            held[order.id] = rest
        else:
            held.pop(order.id, None)
        if not held:
            del load.legs[group]

    # -- state ---------------------------------------------------------------------------------

    def dump(self) -> Iterator[str]:
        """Everything facts have made, in a fixed order, for the comparison of two replays."""
        for order_id in sorted(self._orders):
            order = self._orders[order_id]
            yield f"order {order!r} asof {self.asof(order_id)} booked {self.booked(order_id)}"
            for fill in self._fills.get(order_id, ()):
                yield f"fill {fill!r}"
            yield f"content {sorted(self.content(order_id).items())}"
        for booked in sorted(self._seen):
            yield f"seen {booked}"
        for symbol in sorted(self.loads):
            load = self.loads[symbol]
            if load == Load():
                continue  # asked for, never used
            legs = sorted((group, sorted(held.items())) for group, held in load.legs.items())
            exits = f"{load.exit_buys} {load.exit_sells}"
            yield f"load {symbol} {load.buys} {load.sells} {exits} {legs} {load.orders}"
        yield f"owed {sorted(self.owed.items())} gaps {sorted(self.gaps)} unsized {sorted(self.unsized)}"
        yield f"ended {list(self._roots.items())}"
        yield f"forgotten {len(self._forgotten)} {self._forgotten.digest()}"


def largest(order: Order) -> Decimal:
    """The amount of the larger version of an order; there are two while an amend is under way."""
    if order.amend_amount is None or order.amend_state is Asked.NONE:
        return order.amount
    return max(order.amount, order.amend_amount)


def is_entry(order: Order) -> bool:
    """Whether it may enlarge a position."""
    return not order.exit
