"""The venue's word on money, transfers, and trading states."""

from typing import Final

from realtime.engine.core import Core, Out
from realtime.engine.market import plain
from realtime.model.events import (
    Alert,
    BalanceChanged,
    BalanceSeen,
    CostBasisSet,
    Note,
    PositionChanged,
    PositionSeen,
    Record,
    RiskChanged,
    StateSet,
    Transferred,
    Who,
)
from realtime.model.market import ZERO
from realtime.model.orders import (
    Asked,
)
from realtime.model.risk import TradingState


NONE: Final = Asked.NONE


def balance(core: Core, fact: BalanceSeen, out: Out) -> None:
    """Take the venue's word on a balance; the first one opens our books."""
    state, balance = core.state, fact.balance
    account, currency = state.account, balance.currency
    old = account.see(balance)
    clear_reservations(core, currency, balance.ts)
    first = currency not in account.books
    if first and not state.ever_ready:
        core.opening.add(currency)
    if first or (old is None and currency in core.opening and not state.ever_ready):
        amount = account.told[currency] - account.books.get(currency, ZERO)
        if state.ever_ready:
            # A coin that comes later opens with nothing: what no fill explains in time is external.
            amount = ZERO
        opening = Transferred(
            venue=state.venue,
            currency=currency,
            amount=amount,
            kind="opening",
            inferred=True,
            id=f"opening-{balance.id}",
            ts=balance.ts,
        )
        core.apply(opening, out)
    account.word(currency, balance.ts, asked=fact.asked)
    if old is None or old.available != balance.available or old.reserved != balance.reserved:
        out.append(BalanceChanged(balance))


def clear_reservations(core: Core, currency: str, ts: int) -> None:
    """The venue tells a balance after it told the order: from now on its word includes it."""
    reservations = core.state.reservations
    shown = [
        order.id
        for order in map(core.order, reservations.known.get(currency, ()))
        if order.amend_state is NONE and (not ts or ts >= order.created_ts)
    ]
    if shown:
        reservations.leave(currency, shown)


def position(core: Core, fact: PositionSeen, out: Out) -> None:
    """Take the venue's word on a derivative."""
    state, seen = core.state, fact.position
    account = state.account
    if seen.symbol not in state.markets or not state.markets[seen.symbol].contract:
        return
    first = seen.symbol not in account.positions
    old, new = account.tell(seen)
    if first and seen.amount and not state.ever_ready:
        opening = Transferred(
            venue=state.venue,
            currency=state.markets[seen.symbol].cash,
            amount=seen.amount,
            kind="position",
            symbol=seen.symbol,
            cost=seen.cost,
            inferred=True,
            id=f"opening-{seen.symbol}",
            ts=seen.ts,
        )
        core.apply(opening, out)
        return
    account.word(seen.symbol, seen.ts, asked=fact.asked)
    if new != old and new.amount:
        out.append(PositionChanged(new))


def transferred(core: Core, fact: Transferred, out: Out) -> None:
    """Book money that no fill explains, once."""
    state = core.state
    if fact.id in state.account.transferred:
        return
    out.append(Record(fact))
    changed = state.account.transfer(fact)
    state.forget_equity()
    data = {
        "currency": fact.currency,
        "amount": plain(fact.amount),
        "kind": fact.kind,
        "symbol": fact.symbol,
        "inferred": fact.inferred,
    }
    for _, new in changed:
        out.append(PositionChanged(new))
        if new.amount:
            core.watched.add(new.symbol)
        core.legs.trim(state, new.symbol)
        core.plan(new.symbol, fact.ts, out)
    out.append(Note("transfer", data))
    if fact.inferred and fact.kind != "opening" and not fact.id.startswith("opening-"):
        text = f"{plain(fact.amount)} {fact.symbol or fact.currency} appeared that no fill explains"
        out.append(Alert("error", "external_change", text, data))


def cost_basis(core: Core, fact: CostBasisSet, out: Out) -> None:
    """A holding got its price of entry."""
    symbol = fact.position_id.partition("|")[0]
    if symbol not in core.state.account.positions:
        return  # what an older program showed as one: the currency everything is valued in, bought like a coin
    new = core.state.account.set_cost_basis(symbol, fact.entry_price, fact.ts)
    core.state.forget_equity()
    data = {"position_id": fact.position_id, "entry_price": plain(fact.entry_price)}
    note = Note("cost_basis_set", data, Who(subject=fact.by))
    out += [Record(fact), PositionChanged(new), note]


def state_set(core: Core, fact: StateSet, out: Out) -> None:
    """Trading was stopped, narrowed or let loose."""
    halt, halts = fact.halt, core.state.halts
    if halt.state is TradingState.ACTIVE:
        halts.pop(halt.scope, None)
    else:
        halts[halt.scope] = halt
    data = {
        "scope": halt.scope,
        "state": halt.state.value,
        "reason": halt.reason,
        "by": halt.by,
    }
    level = {
        TradingState.ACTIVE: "info",
        TradingState.REDUCING: "warning",
        TradingState.HALTED: "critical",
    }[halt.state]
    text = f"trading of {halt.scope} was set to {halt.state} by {halt.by}: {halt.reason}"
    kind = "resume" if halt.state is TradingState.ACTIVE else "halt"
    out += [Record(fact), RiskChanged(), Note(kind, data)]
    out.append(Alert(level, "trading_state", text, data))
