"""What time and prices do by themselves: days, peaks, protections, doubts, legs we watch (3.5).

Protections block entries, never exits. They are judged once a second and when the price of something held
moves; the trap of old was a daily figure that nobody fed.
"""

from decimal import Decimal

from realtime.engine.core import Core, Out
from realtime.engine.decide import flatten, lift, roll_day
from realtime.engine.market import plain
from realtime.engine.state import ALL, EQUITY_FOR, State
from realtime.model.events import (
    Alert,
    Ask,
    Effect,
    PeakSet,
    PlaceNext,
    StateSet,
    Tick,
    Transferred,
)
from realtime.model.market import SECOND
from realtime.model.orders import Asked
from realtime.model.risk import Halt, TradingState


GAP_ASK = 2 * SECOND
"""A row that shows more than our fills do is asked about after this long [ns] (2.5)."""

STANDS_IN = 300 * SECOND
"""An inferred fill has no fee: so long the real one may still come that has [ns]."""

PROTECTIONS = ("max_daily_loss", "max_drawdown")

PEAK_EVERY = 10 * SECOND
"""A rising peak is written down at most this often [ns]."""


def watch_price(state: State, applier: Core, symbol: str, ts: int, out: Out) -> None:
    """A price of something held has moved."""
    if symbol in applier.legs.watches:
        applier.carry(applier.legs.fire(state, symbol, ts), ts, out)
    if ts - applier.checked_ts >= EQUITY_FOR:
        applier.checked_ts = ts
        _protect(state, applier, ts, out)
        position = state.account.position(symbol)
        if (position is None or not position.amount) and symbol not in applier.legs.watches:
            applier.watched.discard(symbol)


def watch_time(state: State, applier: Core, tick: Tick) -> list[Effect]:
    """A second has passed."""
    out: Out = []
    ts = tick.ts
    _roll(state, applier, tick, out)
    _peak(state, applier, ts, out)
    applier.checked_ts = ts
    _protect(state, applier, ts, out)
    _doubts(state, applier, ts, out)
    for order_id, since in state.orders.gaps.items():
        waited = (ts - since) // SECOND
        if ts - since >= GAP_ASK and waited % 2 == 0:
            out.append(Ask(order_id))
    # Before the account is reconciled nobody knows what of it is at the venue (B7).
    if applier.legs.lost and state.ever_ready:
        applier.carry(applier.legs.tick(state, ts), ts, out)
        applier.watched.update(applier.legs.watches)
    out.extend(applier.legs.resting(state, ts))
    return out


def _roll(state: State, applier: Core, tick: Tick, out: Out) -> None:
    """Begin a new day. A clock set back names an earlier date, which begins nothing (M12)."""
    day = state.account.day_info.day
    if tick.day <= day:
        return
    equity = state.equity(tick.ts)
    if equity.value is None:
        return
    applier.apply(roll_day(state, tick.day, equity.value, tick.ts, None), out)
    if day and state.limits.daily_loss_reset == "next_day":
        lift(state, applier, "max_daily_loss", "a new day", tick.ts, out)


def _peak(state: State, applier: Core, ts: int, out: Out) -> None:
    info = state.account.day_info
    equity = state.equity(ts).value
    if equity is None or info.equity_start is None or ts - info.updated_ts < PEAK_EVERY:
        return
    pnl = state.daily_pnl(equity)
    assert pnl is not None
    reached = info.equity_start + pnl
    if info.peak_equity is None or reached > info.peak_equity:
        applier.apply(PeakSet(peak_equity=reached, ts=ts), out)


def _protect(state: State, applier: Core, ts: int, out: Out) -> None:
    """Judge the account's protections."""
    loss, fall = state.loss_and_fall(state.equity(ts).value)
    limits = state.limits
    for rule, limit, value in (
        ("max_daily_loss", limits.max_daily_loss, loss),
        ("max_drawdown", limits.max_drawdown, fall),
    ):
        if limit is None or value is None:
            continue
        if value > limit:
            _breach(state, applier, rule, limit, value, ts, out)
        elif value >= limit * limits.warn_at:
            if rule not in applier.warned:
                applier.warned.add(rule)
                text = f"{rule[4:]} {plain(round(value, 6))} is near {rule} {plain(limit)}"
                out.append(Alert("warning", f"near_{rule}", text, {"rule": rule}))
        else:
            applier.warned -= {rule, _told(rule)}


def _breach(
    state: State, applier: Core, rule: str, limit: Decimal, value: Decimal, ts: int, out: Out
) -> None:
    """A limit is passed: state, alert, entries cancelled, and flat if that is wished.

    Where somebody has stopped trading already, his state stays, and the rest is done all the same, once: an account
    that was set to reducing by hand is not flat, and its owner has not been told.
    """
    action = state.limits.on_breach
    to = TradingState.HALTED if action == "halted" else TradingState.REDUCING
    now = state.halts.get(ALL)
    held = now is not None and (now.state is TradingState.HALTED or now.state is to)
    if now is not None and (now.by == rule or (held and _told(rule) in applier.warned)):
        return
    applier.warned.add(_told(rule))
    text = f"{rule[4:]} {plain(round(value, 6))} exceeds {rule} {plain(limit)}"
    if not held:
        applier.apply(StateSet(halt=Halt(scope=ALL, state=to, reason=text, by=rule, ts=ts)), out)
    out.append(Alert("critical", rule, text, {"rule": rule, "limit": plain(limit)}))
    for order in state.orders.working():
        if not order.exit and order.cancel_state is Asked.NONE:
            applier.cancel(order, rule, ts, out)
    # The other protection has seen to it where it had come first.
    if action == "flatten" and not (now is not None and now.by in PROTECTIONS):
        out.extend(PlaceNext(place) for place in flatten(state, ALL, ts))


def _told(rule: str) -> str:
    """Under what name `Core.warned` remembers that a breach was told."""
    return f"breach of {rule}"


def _doubts(state: State, applier: Core, ts: int, out: Out) -> None:
    """Book what the venue holds and no fill explains, once it has lasted (2.7).

    Not while fills may still be on their way: an account that is not reconciled, or an order whose row
    shows more than its fills do, explains a difference by itself; so may one of which nobody knows what came of it,
    and the fee of a fill that was inferred.
    """
    if not state.ready or state.orders.gaps or any(state.orders.unknown()):
        return
    lasting = state.account.lasting(ts)
    if lasting and _stood_in(state, ts):
        return
    for key, difference in lasting:
        market = state.markets.get(key)
        position = market is not None
        cost = None
        if position:
            told, mine = state.account.told_positions[key], state.account.positions.get(key)
            if told.cost is not None and mine is not None and mine.cost is not None:
                cost = told.cost - mine.cost
        entry = Transferred(
            venue=state.venue,
            currency=market.cash if market is not None else key,
            amount=difference,
            kind="position" if position else "external",
            symbol=key if position else None,
            cost=cost,
            inferred=True,
            id=f"external-{key}-{ts}",
            ts=ts,
        )
        applier.apply(entry, out)


def _stood_in(state: State, ts: int) -> bool:
    """Whether an inferred fill still waits for the real one."""
    return any(
        fill.inferred and ts - fill.ts < STANDS_IN
        for order in state.orders.recent(ts)
        for fill in state.orders.fills_of(order.id)
    )
