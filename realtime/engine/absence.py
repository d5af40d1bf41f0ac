"""What prices did while this process was down, and what of it is told of stops and targets (trading document, B7).

Rules of this file:
1 A bar is used for what it proves alone: it begins after our last word and after what is protected was bought, and in
  which order its high and its low were reached nobody knows.
2 What holds now is left to fire; what was met and does not hold any more is told, and does not fire.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal

from realtime.engine.legs import (
    ROLES,
    Kind,
    Legs,
    Step,
    better,
    parent_of,
    reached,
    trail,
    trails,
    wanted,
    working_leg,
)
from realtime.engine.market import plain
from realtime.engine.shape import attached
from realtime.engine.state import State
from realtime.model.events import Alert, Gap
from realtime.model.market import MS, SECOND, Bar
from realtime.model.orders import Order, Side, Status


RECENT = 600 * SECOND
"""A bar that began longer ago does not tell the price of now [ns]."""


def cares(legs: Legs, state: State) -> bool:
    """Whether anything is protected, or will be when it fills."""
    held = any(amount for parents in legs.protected.values() for amount in parents.values())
    return held or any(attached(order) for order in state.orders.working())


def unwatched(legs: Legs, state: State, *, slept: bool) -> Iterator[tuple[Order, Kind]]:
    """Give the legs that nobody watched while we were down: those that we hold, and all where the venue slept too.

    A leg of which nobody knows whether it is in place is the venue's to tell (B4), not the prices'. Dust has none.
    """
    for symbol, held in legs.protected.items():
        lot = state.markets[symbol].amount_step
        for parent_id, amount in held.items():
            parent = parent_of(state, parent_id)
            for kind in Kind:
                key = (parent_id, kind)
                if amount < lot or wanted(parent, kind) is None or key in legs.dropped:
                    continue
                leg = working_leg(state, parent_id, kind)
                if leg is None or (slept and leg.status is Status.OPEN):
                    yield parent, kind


def catch_up(legs: Legs, state: State, gap: Gap) -> Iterator[Step]:
    """Say what becomes of the legs that nobody watched in a gap, before any of them is placed or watched again.

    What holds now is left to fire; what was met and does not hold any more is told, and does not fire.
    """
    unsure: dict[str, list[str]] = {}
    for parent, kind in list(unwatched(legs, state, slept=gap.slept)):
        if (parent.symbol, parent.trigger_by) != (gap.symbol, gap.by):
            continue
        since = max(gap.since, legs.begun.get(parent.id, 0))
        bars = [bar for bar in gap.bars if bar.ts >= since]
        if trails(parent, kind):
            met, stop = _relived(legs, parent, bars)
            if parent.id in legs.peaks:
                yield from legs.followed(parent.id, gap.ts, now=True)
        else:
            met, stop = _met(parent, kind, bars)
        price = _price_now(state, gap)
        below = (parent.side is Side.BUY) is (kind is Kind.STOP)
        if price is not None and stop is not None and reached(price, stop, below=below):
            continue
        why = "" if gap.whole else gap.why
        if met and _ended_since(state, parent, kind, gap.since):
            why = "the venue ended it meanwhile, and does not say when"
        elif met and price is not None:
            why = ""
            yield _missed(gap, parent, kind, stop)
        if why:
            unsure.setdefault(why, []).append(f"{ROLES[kind]} of {parent.client_order_id}")
    for why, names in unsure.items():
        yield _untold(gap, names, why)


def _met(parent: Order, kind: Kind, bars: Sequence[Bar]) -> tuple[bool, Decimal]:
    """Whether a stop or target was reached, and its price."""
    trigger = wanted(parent, kind)
    assert trigger is not None
    below = (parent.side is Side.BUY) is (kind is Kind.STOP)
    prices = (Decimal(bar.low if below else bar.high) for bar in bars)
    return any(reached(p, trigger.price, below=below) for p in prices), trigger.price


def _relived(legs: Legs, parent: Order, bars: Sequence[Bar]) -> tuple[bool, Decimal | None]:
    """Let a trailing stop follow some bars: whether it was reached for certain, and where it is now, if known.

    A bar's worst price counts against the watermark of the bars before it.
    """
    long, met = parent.side is Side.BUY, False
    known = legs.watermarks.get(parent.id)
    best = None if known is None else known[0]
    for bar in bars:
        worst, top = Decimal(bar.low), Decimal(bar.high)
        if not long:
            worst, top = top, worst
        if best is not None:
            met = met or reached(worst, trail(parent, best), below=long)
        best = top if best is None else better(parent, best, top)
    if best is None:
        return False, None
    legs.peaks[parent.id] = best
    return met, trail(parent, best)


def _price_now(state: State, gap: Gap) -> Decimal | None:
    """The trigger price of now; before anything has told one, what the newest bar closed at, unless that is long ago."""
    price = None
    if not state.quotes.is_stale(gap.symbol):
        price = state.quotes.trigger_price(gap.symbol, gap.by)
    if price is None and gap.bars and gap.ts - gap.bars[-1].ts <= RECENT:
        return Decimal(gap.bars[-1].close)
    return price


def _missed(gap: Gap, parent: Order, kind: Kind, stop: Decimal | None) -> Alert:
    assert stop is not None, "what was met has a price"
    text = (
        f"{gap.symbol} reached the {ROLES[kind]} {plain(stop)} of {parent.client_order_id} while the server was down, "
        "and has come back: it did not fire, and goes on"
    )
    data: dict[str, object] = {
        "order_id": parent.id,
        "symbol": gap.symbol,
        "role": ROLES[kind].value,
        "trigger_by": gap.by.value,
        "price": plain(stop),
        "since": gap.since // MS,
    }
    return Alert("critical", "protection_missed", text, data)


def _ended_since(state: State, parent: Order, kind: Kind, ts: int) -> bool:
    """Whether a leg has ended since a time: until then it may have been in place."""
    return any(
        leg.role is ROLES[kind] and leg.status.ended and leg.updated_ts > ts
        for leg in state.orders.legs_of(parent.id)
    )


def _untold(gap: Gap, names: Sequence[str], why: str) -> Alert:
    """The alarm for legs of which nobody can tell what they missed."""
    text = (
        f"what {gap.symbol} did to the {', '.join(names)} while the server was down is not known: {why}; "
        "they may have been reached, did not fire, and go on"
    )
    data: dict[str, object] = {
        "legs": list(names),
        "reason": why,
        "symbol": gap.symbol,
        "trigger_by": gap.by.value,
        "since": gap.since // MS,
    }
    return Alert("error", "protection_unknown", text, data)
