"""Attached stops and targets: what they protect, and what has to be done so that they fit (section 4).

Rules of this file:
1 A leg exists only for what has filled and is still held: `protected` grows with the parent's fills, and
  shrinks with the legs' own fills and with whatever else makes the position smaller, oldest parent first.
2 A leg's ids are derived from (parent, kind, generation): asked for twice, it is placed once.
3 There is never a second stop while one may be alive, so an unknown leg is waited for (B4).
4 Both legs of a parent are one OCO group at the venue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from realtime.engine.evolve import evolve_order as evolve
from realtime.engine.market import down, plain
from realtime.engine.shape import attached, attached_trailing
from realtime.engine.state import State
from realtime.model.errors import Code
from realtime.model.events import Alert, Amend, AmendNext, Place, PlaceNext, Trailed, Who
from realtime.model.market import SECOND, ZERO, Market
from realtime.model.orders import (
    Asked,
    Fill,
    Order,
    OrderType,
    Role,
    Side,
    Status,
    Trigger,
    venue_client_id,
)


class Kind(StrEnum):
    """Which leg."""

    STOP = "sl"
    TARGET = "tp"


ROLES = {Kind.STOP: Role.STOP_LOSS, Kind.TARGET: Role.TAKE_PROFIT}
KINDS = {role: kind for kind, role in ROLES.items()}

LOST_AFTER = SECOND
"""A leg that the venue ended is missed after this long [ns]: the fill that explains it may follow."""

UNFILLED_AFTER = 5 * SECOND
"""A stop-limit whose trigger price is passed, and that still is not filled, is told after this long [ns] (B8)."""

TRIES = 3
"""Generations lost to the venue before we watch the price ourselves."""

REFUSED_AFTER = 8 * SECOND
"""An exit that we fired and that did not even pass the gate is wished for again after this long [ns]."""

DOUBLINGS = 3
"""An exit that we fired and that the venue has refused waits this often twice as long for the next one."""

FOLLOWED_AFTER = SECOND
"""A watermark is journaled at most this often [ns] (B6)."""

Key = tuple[str, Kind]


@dataclass(frozen=True, slots=True)
class Drop:
    """Cancel this leg."""

    order: Order


@dataclass(frozen=True, slots=True)
class Follow:
    """Journal the watermark of a trailing stop."""

    fact: Trailed


Step = PlaceNext | AmendNext | Drop | Follow | Alert


@dataclass(frozen=True, slots=True)
class Watch:
    """A stop or target that only we hold, because the venue would not; one without a price trails."""

    parent_id: str
    kind: Kind
    price: Decimal | None
    below: bool


class Legs:
    """What is protected in which symbol, and which legs need no more care."""

    __slots__ = (
        "begun",
        "degraded",
        "dropped",
        "lost",
        "passed",
        "peaks",
        "protected",
        "refused",
        "watches",
        "watermarks",
    )

    def __init__(self) -> None:
        # Per symbol and parent, oldest first [base, contracts].
        self.protected: dict[str, dict[str, Decimal]] = {}
        # Legs a person cancelled, and legs that could not be amended.
        self.dropped: set[Key] = set()
        self.refused: set[str] = set()
        # Since when anything of a parent is protected without a break [ns], the venue's time of its fill.
        self.begun: dict[str, int] = {}
        # The best trigger price of trailing stops that we watch, by parent, and when it was journaled.
        self.watermarks: dict[str, tuple[Decimal, int]] = {}
        # Of this process: the same, as it is before it is journaled.
        self.peaks: dict[str, Decimal] = {}
        # Of this process: legs the venue ended or refused, since when and how often.
        self.lost: dict[Key, int] = {}
        self.degraded: set[Key] = set()
        self.watches: dict[str, dict[Key, Watch]] = {}
        # Stop-limits whose trigger price is passed, since when; None once that was told.
        self.passed: dict[str, int | None] = {}

    # -- facts ---------------------------------------------------------------------------------

    def on_fill(self, state: State, order: Order, fill: Fill, replaced: Decimal = ZERO) -> None:
        """Count a fill: of a parent it adds, of a leg or anything that closes it takes away.

        So much of it as is `replaced` has been counted when it was inferred.
        """
        symbol = order.symbol
        held = self.protected.get(symbol)
        if order.role is Role.ENTRY and attached(order):
            received = _received(fill, state.markets[symbol]) - replaced
            held = self.protected.setdefault(symbol, {})
            before = held.get(order.id, ZERO)
            if not before:
                # What is protected anew is the newest, whether or not its old entry was cleared.
                held.pop(order.id, None)
                self._unfollow(order.id)
                self.begun[order.id] = fill.ts
            held[order.id] = max(before + received, ZERO)
            # What more there is to protect the venue may hold; a target that we watch sells whatever there is.
            self.degraded.discard((order.id, Kind.STOP))
        elif held and order.parent_id in held and order.parent_id is not None:
            held[order.parent_id] = max(held[order.parent_id] - fill.amount + replaced, ZERO)
        self.trim(state, symbol)

    def trim(self, state: State, symbol: str) -> None:
        """Protect no more than is held; what else closed a position closed its oldest part.

        Nor more of a bot's than its share: what it has closed itself are its own coins, whoever else has some.
        """
        parents = self._parents(state, symbol)
        amount = state.account.amount(symbol)
        for side in Side:
            own = [parent for parent in parents.values() if parent.side is side]
            bots: dict[tuple[str, str], list[Order]] = {}
            for parent in own:
                if parent.bot_id is not None:
                    bots.setdefault((parent.bot_id, parent.symbol), []).append(parent)
            for (bot_id, traded), its in bots.items():
                self._cut(its, side, state.account.shares.of(bot_id, traded).amount)
            self._cut(own, side, amount)

    def _cut(self, parents: Sequence[Order], side: Side, amount: Decimal) -> None:
        """Protect of some parents of one side no more than a position; the oldest go first."""
        excess = -max(amount if side is Side.BUY else -amount, ZERO)
        excess += sum((self.protected[parent.symbol][parent.id] for parent in parents), ZERO)
        for parent in parents:
            if excess <= 0:
                break
            held = self.protected[parent.symbol]
            taken = min(held[parent.id], excess)
            held[parent.id] -= taken
            excess -= taken

    def _parents(self, state: State, symbol: str) -> dict[str, Order]:
        """Parents whose legs act on the holding of a symbol, oldest first."""
        groups = [self.protected[one] for one in state.siblings(symbol) if one in self.protected]
        found = {key: parent_of(state, key) for held in groups for key in held}
        if len(groups) < 2:
            return found
        age = {key: self.begun.get(key, parent.created_ts) for key, parent in found.items()}
        return {key: found[key] for key in sorted(found, key=age.__getitem__)}

    def on_trail(self, fact: Trailed) -> None:
        """Remember how far the price has gone in favour of a trailing stop."""
        self.watermarks[fact.order_id] = (fact.price, fact.ts)

    def on_cancel(self, order: Order, by: str) -> None:
        """A cancel of a leg by a person is respected: that leg does not come back."""
        if order.protective and order.parent_id is not None and by != "engine":
            self.dropped.add((order.parent_id, KINDS[order.role]))

    def on_bracket(self, state: State, parent: Order) -> None:
        """A new stop or target was asked for: what was dropped before counts no more.

        `parent` is as it was before. One that had neither has counted no fills yet: it protects what it
        brought in, as far as that is held and nothing else protects it.
        """
        self.dropped -= {(parent.id, kind) for kind in Kind}
        self._forget(parent.symbol, parent.id)
        if attached(parent):
            return
        side = parent.side
        others = (
            self.protected[other.symbol][key]
            for key, other in self._parents(state, parent.symbol).items()
            if other.side is side
        )
        free = state.holding(parent.symbol, side.opposite) - sum(others, ZERO)
        held = self.protected.setdefault(parent.symbol, {})
        market = state.markets[parent.symbol]
        received = sum((_received(f, market) for f in state.orders.fills_of(parent.id)), ZERO)
        held[parent.id] = max(min(received, free), ZERO)

    def on_end(self, order: Order, *, asked: bool, ts: int) -> None:
        """A leg ended. Unless we asked for it or it filled, somebody has to look why."""
        if order.parent_id is None or order.status is Status.FILLED or asked:
            return
        self.lost[order.parent_id, KINDS[order.role]] = ts

    def on_asked_end(self, order: Order) -> None:
        """A leg ended here before it had left, because somebody wanted it to: nobody has to look why."""
        if order.parent_id is not None and order.protective:
            self.lost.pop((order.parent_id, KINDS[order.role]), None)

    def protects(self, parent: Order) -> bool:
        """Whether anything of an order's fills is still to be protected."""
        return bool(self.protected.get(parent.symbol, {}).get(parent.id))

    def forget(self, parent: Order, legs: Sequence[Order]) -> None:
        """Let go of an order that nothing is protected of any more, and of its legs.

        A replay has kept what a process dropped as soon as it was zero: afterwards neither has it.
        """
        held = self.protected.get(parent.symbol)
        if held is not None:
            held.pop(parent.id, None)
            if not held:
                del self.protected[parent.symbol]
        if self.begun.pop(parent.id, None) is not None:
            self._unfollow(parent.id)
        if not legs:
            return  # nothing else can be known of an order that never had any
        self.dropped -= {(parent.id, kind) for kind in Kind}
        self.refused -= {leg.id for leg in legs}
        self._forget(parent.symbol, parent.id)

    # -- what to do ----------------------------------------------------------------------------

    def concerns(self, state: State, symbol: str) -> bool:
        """Whether anything of a symbol's holding is protected, or was."""
        protected = self.protected
        return bool(protected) and any(one in protected for one in state.siblings(symbol))

    def plan(self, state: State, symbol: str, ts: int) -> Iterator[Step]:
        """Say what makes the legs of a symbol's holding fit: newest parents are served first."""
        parents = self._parents(state, symbol)
        left: dict[Side, Decimal] = {}
        # Room that wishes of this very plan will have taken.
        promised = dict.fromkeys(Side, ZERO)
        for side in Side:
            left[side] = state.holding(symbol, side)
            for one in state.siblings(symbol):
                load = state.orders.loads.get(one)
                if load is not None and not state.markets[one].contract:
                    # Coins that another exit holds cannot be promised twice.
                    left[side] -= load.exits(side)
        for parent_id, parent in reversed(parents.items()):
            held, market = self.protected[parent.symbol], state.markets[parent.symbol]
            side = parent.side.opposite
            due = held[parent_id] - _unbooked(state, parent_id)
            amount = down(max(min(due, left[side]), ZERO), market.amount_step)
            left[side] -= amount
            alive = closing = False
            grown = ZERO
            for kind in Kind:
                if closing:
                    break
                leg = working_leg(state, parent_id, kind)
                alive = alive or leg is not None
                for wish in self._fit(state, parent, kind, leg, amount, promised[side], ts):
                    grown = max(grown, _growth(wish, leg))
                    closing = (
                        isinstance(wish, PlaceNext) and wish.place.order.type is OrderType.MARKET
                    )
                    yield wish
            promised[side] += grown
            if not held[parent_id] and not alive and parent.status.ended:
                del held[parent_id]
                self._forget(parent.symbol, parent_id)
                if not held:
                    del self.protected[parent.symbol]

    def _fit(
        self,
        state: State,
        parent: Order,
        kind: Kind,
        leg: Order | None,
        amount: Decimal,
        promised: Decimal,
        ts: int,
    ) -> Iterator[Step]:
        """One leg: keep, resize, cancel or place it."""
        key = (parent.id, kind)
        trigger = wanted(parent, kind)
        if leg is not None:
            self.lost.pop(key, None)
            if leg.cancel_state is not Asked.NONE:
                return
            if trigger is None or not amount:
                yield Drop(leg)
                return
            if leg.status is not Status.OPEN or leg.amend_state is not Asked.NONE:
                return
            rest = state.orders.worst_of(leg)
            if amount > rest:
                # It grows as far as other exits leave room; what they free is planned when they end.
                amount = max(rest, min(amount, _room(state, leg) - promised))
            change = self._change(state, leg, trigger, amount, ts)
            if change is not None and (leg.id in self.refused or _shrinks_away(state, leg, change)):
                yield Drop(leg)
            elif change is not None:
                yield AmendNext(change)
            return
        if trigger is None or not amount or key in self.dropped or key in self.degraded:
            return
        if key in self.lost or _closing(state, parent.id):
            return
        room = _room(state, make_leg(state, parent, kind, amount, ts).order) - promised
        amount = min(amount, room)
        if amount > 0:
            beyond = trails(parent, kind) and self._beyond(state, parent)
            place = make_leg(state, parent, kind, amount, ts, at_market=beyond)
            if not too_small(state, place.order):
                yield PlaceNext(place)

    def _beyond(self, state: State, parent: Order) -> bool:
        """Whether a trailing stop whose watermark is known would fire now."""
        known = self.watermarks.get(parent.id)
        return known is not None and holds(state, parent, trail(parent, known[0]))

    def _change(
        self, state: State, leg: Order, trigger: Trigger, amount: Decimal, ts: int
    ) -> Amend | None:
        """The amend that makes a leg fit, None when it does."""
        total = _executed(state, leg) + amount
        stop_price = price = None
        if leg.type in {OrderType.STOP, OrderType.STOP_LIMIT}:
            stop_price, price = trigger.price, trigger.limit
        elif leg.type is OrderType.LIMIT:
            price = trigger.price
        changed = (
            total != leg.amount
            or (stop_price is not None and stop_price != leg.stop_price)
            or (price is not None and price != leg.price)
        )
        if not changed:
            return None
        return Amend(
            order_id=leg.id,
            amount=total,
            price=price if leg.type.priced else None,
            stop_price=stop_price,
            stop_loss=None,
            take_profit=None,
            who=who_of(leg),
            ts=ts,
        )

    def tick(self, state: State, ts: int) -> Iterator[Step]:
        """Look after legs that the venue ended: again, at the market, or watched by us (B5)."""
        for key, since in list(self.lost.items()):
            parent_id, kind = key
            tried = [leg for leg in state.orders.legs_of(parent_id) if leg.role is ROLES[kind]]
            if ts - since < LOST_AFTER << _doublings(tried):
                continue
            del self.lost[key]
            if working_leg(state, parent_id, kind) is not None:
                continue
            parent = parent_of(state, parent_id)
            amount = self.protected.get(parent.symbol, {}).get(parent_id, ZERO)
            trigger = wanted(parent, kind)
            if not amount or trigger is None or key in self.dropped:
                continue
            mixed = _mixed(state, parent, tried)
            again = len(tried) < TRIES and not mixed
            if mixed and tried[-1].type is OrderType.LIMIT:
                yield _mix(parent)
            else:
                yield _degraded(parent, kind, again=again)
            if again:
                yield from self.plan(state, parent.symbol, ts)
            else:
                self._watch(parent, kind, trigger)
                if state.quotes.is_stale(parent.symbol):
                    yield suspended(parent.symbol)
                yield from self.fire(state, parent.symbol, ts)

    def resting(self, state: State, ts: int) -> Iterator[Alert]:
        """Tell of stop-limits that the price went through and nobody fills: they protect nothing (B8)."""
        passed: dict[str, int | None] = {}
        for symbol, held in self.protected.items():
            for parent_id in held if not state.quotes.is_stale(symbol) else ():
                leg = working_leg(state, parent_id, Kind.STOP)
                if leg is None or leg.type is not OrderType.STOP_LIMIT:
                    continue
                assert leg.stop_price is not None
                price = state.quotes.trigger_price(symbol, leg.trigger_by)
                if price is None or not reached(price, leg.stop_price, below=leg.side is Side.SELL):
                    continue
                since = passed[leg.id] = self.passed.get(leg.id, ts)
                if since is None or ts - since < UNFILLED_AFTER:
                    continue
                passed[leg.id] = None
                yield Alert(
                    "critical",
                    "protection_unfilled",
                    f"{symbol} went through the stop {plain(leg.stop_price)} of {leg.client_order_id}, and its "
                    "limit rests unfilled",
                    {"order_id": leg.id, "parent_id": parent_id, "symbol": symbol},
                )
        self.passed = passed

    def _watch(self, parent: Order, kind: Kind, trigger: Trigger) -> None:
        key = (parent.id, kind)
        self.degraded.add(key)
        below = (parent.side is Side.BUY) is (kind is Kind.STOP)
        price = None if trails(parent, kind) else trigger.price
        watch = Watch(parent.id, kind, price, below)
        self.watches.setdefault(parent.symbol, {})[key] = watch

    def fire(self, state: State, symbol: str, ts: int) -> Iterator[Step]:
        """Send what we watch ourselves, if its price is there; a silent feed fires nothing (B10)."""
        watches = self.watches.get(symbol)
        if not watches or state.quotes.is_stale(symbol):
            return
        closing: set[str] = set()
        for key, watch in list(watches.items()):
            parent = parent_of(state, watch.parent_id)
            if working_leg(state, parent.id, watch.kind) is not None:
                del watches[key]  # placed again, because there was more to protect
                continue
            price = state.quotes.trigger_price(symbol, parent.trigger_by)
            if price is None:
                continue
            stop = watch.price if watch.price is not None else self._trailed(parent, price)
            fires = reached(price, stop, below=watch.below)
            if watch.price is None:
                yield from self.followed(parent.id, ts, now=fires)
            if not fires or parent.id in closing or _closing(state, parent.id):
                continue  # while the other one is on its way out both would sell the same
            closing.add(parent.id)
            del watches[key]
            self.lost[key] = ts + REFUSED_AFTER
            amount = down(
                min(
                    self.protected.get(symbol, {}).get(parent.id, ZERO)
                    - _unbooked(state, parent.id),
                    state.holding(symbol, parent.side.opposite),
                ),
                state.markets[symbol].amount_step,
            )
            if amount > 0:
                yield PlaceNext(make_leg(state, parent, watch.kind, amount, ts, at_market=True))

    def _trailed(self, parent: Order, price: Decimal) -> Decimal:
        """Move a watermark with the price, in favour only; where the stop is now."""
        known = self.watermarks.get(parent.id)
        before = self.peaks.get(parent.id, price if known is None else known[0])
        best = self.peaks[parent.id] = better(parent, before, price)
        return trail(parent, best)

    def followed(self, parent_id: str, ts: int, *, now: bool) -> Iterator[Follow]:
        """Journal a watermark that has moved; `now` does not wait for a second to pass."""
        best, known = self.peaks[parent_id], self.watermarks.get(parent_id)
        if known is not None and (best == known[0] or not (now or ts - known[1] >= FOLLOWED_AFTER)):
            return
        yield Follow(Trailed(order_id=parent_id, price=best, ts=ts))

    def _unfollow(self, parent_id: str) -> None:
        self.watermarks.pop(parent_id, None)
        self.peaks.pop(parent_id, None)

    def _forget(self, symbol: str, parent_id: str) -> None:
        for kind in Kind:
            key = (parent_id, kind)
            self.lost.pop(key, None)
            self.degraded.discard(key)
            watches = self.watches.get(symbol)
            if watches is not None and watches.pop(key, None) is not None and not watches:
                del self.watches[symbol]

    def dump(self) -> Iterator[str]:
        """What facts have made, in a fixed order."""
        held = [
            (symbol, parent_id, amount)
            for symbol, parents in sorted(self.protected.items())
            for parent_id, amount in parents.items()
            if amount
        ]
        yield f"protected {held} dropped {sorted(self.dropped)} refused {sorted(self.refused)}"
        followed = {parent_id for _, parent_id, _ in held} & self.watermarks.keys()
        yield f"watermarks {[(parent_id, self.watermarks[parent_id]) for parent_id in sorted(followed)]}"


def suspended(symbol: str) -> Alert:
    """The alarm for what we watch ourselves: without prices it cannot fire (B10)."""
    text = f"no prices of {symbol}: stops that we watch ourselves cannot fire"
    return Alert("critical", "protection_suspended", text, {"symbol": symbol})


def _degraded(parent: Order, kind: Kind, *, again: bool) -> Alert:
    """The alarm for a leg that the venue has ended or refused."""
    text = f"the venue ended the {ROLES[kind]} of {parent.client_order_id}; " + (
        "it is placed again" if again else "we watch its price ourselves"
    )
    data = {"order_id": parent.id, "symbol": parent.symbol, "role": ROLES[kind].value}
    return Alert("critical", "protection_degraded", text, data)


def _mix(parent: Order) -> Alert:
    """The word on a target that is ours to watch, because the stop has its coins: nothing is wrong with that."""
    text = (
        f"the venue holds the stop_loss of {parent.client_order_id}, for which its coins are locked; "
        "we watch the price of its take_profit ourselves"
    )
    data = {"order_id": parent.id, "symbol": parent.symbol, "role": Role.TAKE_PROFIT.value}
    return Alert("info", "protection_mixed", text, data)


def _mixed(state: State, parent: Order, tried: Sequence[Order]) -> bool:
    """Whether a venue without OCO has refused a target because the coins are locked for the stop."""
    limits = [leg for leg in tried if leg.type is OrderType.LIMIT]
    return (
        bool(limits)
        and limits[-1].role is Role.TAKE_PROFIT
        and limits[-1].code is Code.INSUFFICIENT_FUNDS
        and not state.markets[parent.symbol].contract
        and working_leg(state, parent.id, Kind.STOP) is not None
    )


def _executed(state: State, leg: Order) -> Decimal:
    """What a leg has sold or bought back as its row or its fills show, whichever came first [base, contracts]."""
    return max(leg.filled, state.orders.booked(leg.id))


def _unbooked(state: State, parent_id: str) -> Decimal:
    """What the rows of a parent's legs show as sold or bought back, and no fill has told yet [base, contracts]."""
    if not state.orders.gaps:
        return ZERO
    return sum(
        (
            leg.filled - state.orders.booked(leg.id)
            for leg in state.orders.legs_of(parent_id)
            if leg.id in state.orders.gaps
        ),
        ZERO,
    )


def _doublings(tried: Sequence[Order]) -> int:
    """How often the wait for the next try is doubled, behind these legs of one kind."""
    fired = sum(leg.type is OrderType.MARKET for leg in tried)
    return min(fired - 1, DOUBLINGS) if tried[-1].type is OrderType.MARKET else 0


def _closing(state: State, parent_id: str) -> bool:
    """Whether a stop or target is on its way out at the market: until it has ended the other one is not sent."""
    return any(
        leg.type is OrderType.MARKET and not leg.status.ended
        for leg in state.orders.legs_of(parent_id)
    )


def reached(price: Decimal, trigger: Decimal, *, below: bool) -> bool:
    """Whether a trigger price is where a leg fires, below or above its own."""
    return price <= trigger if below else price >= trigger


def trails(parent: Order, kind: Kind) -> bool:
    """Whether a leg that is wanted follows the price."""
    return kind is Kind.STOP and parent.stop_loss is None


def trail(parent: Order, best: Decimal) -> Decimal:
    """Where the attached trailing stop of an order is, whose watermark is `best` [quote]."""
    trailing = attached_trailing(parent)
    assert trailing is not None
    distance, rate = trailing
    if distance is None:
        assert rate is not None
        distance = best * rate
    return best - distance if parent.side is Side.BUY else best + distance


def better(parent: Order, one: Decimal, other: Decimal) -> Decimal:
    """The price that is more in favour of an order's position."""
    return max(one, other) if parent.side is Side.BUY else min(one, other)


def parent_of(state: State, parent_id: str) -> Order:
    """The order that something is attached to; it must exist."""
    parent = state.orders.get(parent_id)
    assert parent is not None
    return parent


def working_leg(state: State, parent_id: str, kind: Kind) -> Order | None:
    """The leg of this kind that may be alive; there is one at most."""
    for leg in reversed(state.orders.legs_of(parent_id)):
        if leg.role is ROLES[kind] and not leg.status.ended:
            return leg
    return None


def wanted(parent: Order, kind: Kind) -> Trigger | None:
    """What a parent asks for; a trailing stop has the distance in the place of the price."""
    if kind is Kind.TARGET:
        return parent.take_profit
    if parent.stop_loss is not None:
        return parent.stop_loss
    trailing = attached_trailing(parent)
    if trailing is None:
        return None
    distance, rate = trailing
    return Trigger(price=distance or rate or ZERO)


def _growth(wish: Step, leg: Order | None) -> Decimal:
    """By how much a wish enlarges what legs hold [base, contracts]."""
    if isinstance(wish, PlaceNext):
        return wish.place.order.amount
    if isinstance(wish, AmendNext) and leg is not None and wish.amend.amount is not None:
        return wish.amend.amount - leg.amount
    return ZERO


def _received(fill: Fill, market: Market) -> Decimal:
    """What a fill of an entry brought in: a fee in the bought currency is not there [base, contracts]."""
    if fill.side is Side.BUY and not market.contract and fill.fee_currency == market.base:
        return fill.amount - fill.fee
    return fill.amount


def _room(state: State, leg: Order) -> Decimal:
    """What the gate would let a leg have at most, on the grid (G9)."""
    return down(state.capacity(leg), state.markets[leg.symbol].amount_step)


def holds(state: State, parent: Order, price: Decimal) -> bool:
    """Whether a stop at this price would fire now."""
    now = state.quotes.trigger_price(parent.symbol, parent.trigger_by)
    if now is None:
        return False
    return now <= price if parent.side is Side.BUY else now >= price


def too_small(state: State, leg: Order) -> bool:
    """Whether the market would not take a leg of this amount (G6)."""
    market, amount = state.markets[leg.symbol], leg.amount
    if market.min_amount is not None and amount < market.min_amount:
        return True
    whole = amount >= down(state.holding(leg.symbol, leg.side), market.amount_step)
    if market.min_cost is None or whole:
        return False
    found = state.quotes.mark(leg.symbol)
    price = leg.price or leg.stop_price or (found[0] if found is not None else ZERO)
    return amount * price * market.contract_size < market.min_cost


def _shrinks_away(state: State, leg: Order, change: Amend) -> bool:
    """Whether an amend would leave of a leg what the market does not take: then nothing of it stays."""
    amount = change.amount
    assert amount is not None
    return amount < leg.amount and too_small(
        state,
        evolve(
            leg,
            amount=amount,
            price=leg.price if change.price is None else change.price,
            stop_price=leg.stop_price if change.stop_price is None else change.stop_price,
        ),
    )


def who_of(order: Order) -> Who:
    """Legs act for the owner of their parent."""
    return Who(
        subject=order.subject,
        client=order.client,
        source="bracket",
        bot_id=order.bot_id,
        strategy_id=order.strategy_id,
    )


def make_leg(
    state: State, parent: Order, kind: Kind, amount: Decimal, ts: int, *, at_market: bool = False
) -> Place:
    """The wish for one leg. A stop whose trigger holds already goes out at the market (B5, B7)."""
    generation = 1 + sum(1 for leg in state.orders.legs_of(parent.id) if leg.role is ROLES[kind])
    secret = sha256(f"{parent.client_order_id}|{kind}|{generation}".encode()).hexdigest()
    client_order_id = f"leg-{secret[:24]}"
    price = stop_price = distance = rate = None
    if kind is Kind.TARGET:
        assert parent.take_profit is not None
        order_type, price = OrderType.LIMIT, parent.take_profit.price
    elif parent.stop_loss is not None:
        stop = parent.stop_loss
        stop_price, price = stop.price, stop.limit
        order_type = OrderType.STOP if price is None else OrderType.STOP_LIMIT
        at_market = at_market or holds(state, parent, stop.price)
    else:
        trailing = attached_trailing(parent)
        assert trailing is not None
        order_type = OrderType.TRAILING_STOP
        distance, rate = trailing
    if at_market:
        order_type, price, stop_price, distance, rate = OrderType.MARKET, None, None, None, None
    order = Order(
        id=f"{parent.id}-{kind}{generation}",
        client_order_id=client_order_id,
        venue_client_id=venue_client_id(parent.venue, client_order_id),
        venue=parent.venue,
        symbol=parent.symbol,
        type=order_type,
        side=parent.side.opposite,
        amount=amount,
        price=price,
        stop_price=stop_price,
        trailing_amount=distance,
        trailing_rate=rate,
        trigger_by=parent.trigger_by,
        reduce_only=True,
        position_type=parent.position_type,
        parent_id=parent.id,
        oco_group=parent.id,
        role=ROLES[kind],
        subject=parent.subject,
        client=parent.client,
        bot_id=parent.bot_id,
        strategy_id=parent.strategy_id,
        source="bracket",
        created_ts=ts,
        updated_ts=ts,
    )
    return Place(order=order, who=who_of(parent), ts=ts)
