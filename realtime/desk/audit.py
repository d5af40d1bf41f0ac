"""Who did what to which order, and what came of it: the entries of `events` that follow from commands.

Rules of this file: (1) an entry is made of the outcome, and is committed in the outcome's own row, so that no command
costs a commit more; (2) what is refused on the way in has no row, and gets one of its own, so many a second at most
that a client cannot fill the journal with refusals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from realtime.desk.codec import dumps, text
from realtime.desk.masking import masked
from realtime.engine.orders import MARKET, Ledger
from realtime.model.errors import Refused
from realtime.model.events import (
    Accepted,
    Amend,
    AmendDone,
    AmendFailed,
    BracketSet,
    Cancel,
    CancelFailed,
    Effect,
    Event,
    Fact,
    Note,
    OrderChanged,
    Place,
    Rejected,
    Unknown,
    Who,
    Withheld,
)
from realtime.model.market import SECOND
from realtime.model.orders import Order, Status


BURST: Final = 20
"""Refusals of one subject that are written down at once; then one a second."""
SUBJECTS: Final = 1000
"""Subjects whose refusals are counted apart."""

SECRET: Final = frozenset({"token", "secret", "password", "api_key", "ticket", "confirm"})
"""Arguments that no entry shows."""
LONGEST: Final = 2000
"""Bytes of arguments that an entry shows whole."""

_OPS: Final[Mapping[type, str]] = {
    Place: "order.place",
    Amend: "order.amend",
    Cancel: "order.cancel",
}
_OUTCOMES: Final = frozenset(
    {
        Accepted,
        Rejected,
        Unknown,
        Withheld,
        AmendDone,
        BracketSet,
        AmendFailed,
        CancelFailed,
    }
)
"""Facts that have something to say; most have not."""
_UNKNOWN: Final = "unknown_outcome"
CANCELED: Final = Status.CANCELED


class Audit:
    """Makes the entries.

    Args:
        orders: All orders, to read.
    """

    def __init__(self, orders: Ledger) -> None:
        self._orders = orders
        self._working = {order.id for order in orders.working()}
        # Who asked, by kind of wish and order; gone with the outcome, or with the order.
        self._asked: dict[str, dict[type, Who]] = {}
        self._buckets: dict[str, _Bucket] = {}

    def asked(self, wish: Event) -> None:
        """Remember who wished; for wishes that were not refused."""
        if type(wish) is Place:
            self._asked.setdefault(wish.order.id, {})[Place] = wish.who
        elif type(wish) is Amend or type(wish) is Cancel:
            self._asked.setdefault(wish.order_id, {})[type(wish)] = wish.who

    def notes(self, facts: Sequence[Fact], effects: Iterable[Effect]) -> list[Note]:
        """Give what some facts, and the rows they led to, have to say."""
        rows: dict[str, Order] = {}
        for effect in effects:
            if type(effect) is OrderChanged:
                rows[effect.order.id] = effect.order
        notes: list[Note] = []
        for fact in facts:
            if type(fact) in _OUTCOMES:
                order = self._orders.get(getattr(fact, "order_id", ""))
                if order is not None:
                    notes += self._outcome(fact, order)
        for order in rows.values():
            if not order.status.ended:
                self._working.add(order.id)
                continue
            if order.id in self._working:
                self._working.discard(order.id)
                if order.status is CANCELED:
                    why = (order.code, order.reason)
                    notes.append(self._note("order_canceled", Cancel, order, "canceled", *why))
            self._asked.pop(order.id, None)
        return notes

    def refused(
        self, op: str, who: Who, refusal: Refused, args: Mapping[str, object], now: int
    ) -> Note | None:
        """Give the entry of a command that was refused on its way in [now: ns]; None when there were too many."""
        bucket = self._buckets.pop(who.subject, None) or _Bucket(BURST, now)
        # The one that was silent for the longest stands first, and goes first.
        self._buckets[who.subject] = bucket
        if len(self._buckets) > SUBJECTS:
            del self._buckets[next(iter(self._buckets))]
        if not bucket.take(now):
            return None
        data: dict[str, object] = {
            "op": op,
            "outcome": "refused",
            "code": refusal.code,
            "message": refusal.message,
            "args": shown(args),
        }
        if bucket.suppressed:
            data["suppressed"] = bucket.suppressed
            bucket.suppressed = 0
        return Note("api_error", data, who)

    def _outcome(self, fact: Fact, order: Order) -> list[Note]:
        match fact:
            case Accepted():
                market = order.type is MARKET
                kind = "trade_placed" if market else "order_created"
                return [self._note(kind, Place, order, "accepted")]
            case Rejected(code=code, reason=reason):
                return [self._note("exchange_error", Place, order, "rejected", code, reason)]
            case Unknown():
                return [self._note("exchange_error", Place, order, _UNKNOWN)]
            case Withheld(code=code, reason=reason) if code is not None:
                return [self._note("api_error", Place, order, "refused", code, reason)]
            case AmendDone() | BracketSet():
                return [self._note("order_amended", Amend, order, "amended")]
            case AmendFailed(unknown=unknown, code=code, reason=reason, sent=sent):
                if not sent:
                    return [self._note("api_error", Amend, order, "refused", code, reason)]
                outcome = _UNKNOWN if unknown else "rejected"
                return [self._note("exchange_error", Amend, order, outcome, code, reason)]
            case CancelFailed(unknown=unknown, code=code, reason=reason):
                outcome = _UNKNOWN if unknown else "rejected"
                return [self._note("exchange_error", Cancel, order, outcome, code, reason)]
            case _:
                return []

    def _note(
        self,
        kind: str,
        wish: type,
        order: Order,
        outcome: str,
        code: object = None,
        reason: str | None = None,
    ) -> Note:
        who = self._asked.get(order.id, {}).pop(wish, None)
        if who is None and wish is Place:
            who = Who(subject=order.subject, client=order.client)
        data: dict[str, object] = {
            "op": _OPS[wish],
            "outcome": outcome,
            "order_id": order.id,
            "client_order_id": order.client_order_id,
            "bot_id": order.bot_id,
            "symbol": order.symbol,
            "side": order.side,
            "type": order.type,
            "amount": text(order.amount),
            "price": None if order.price is None else text(order.price),
            "stop_price": None if order.stop_price is None else text(order.stop_price),
            "source": order.source if who is None else who.source,
        }
        if code is not None:
            data["code"] = code
        if reason:
            data["reason"] = reason
        return Note(kind, data, who)


def shown(args: Mapping[str, object]) -> Mapping[str, object]:
    """Leave out secrets, wherever they stand, and of addresses all but the host; of very long ones only the names remain."""
    plain: Mapping[str, object] = masked(_without_secrets(args))
    if len(dumps(plain)) <= LONGEST:
        return plain
    return {"too_long": [name[:40] for name in list(plain)[:20]]}


def _without_secrets(value: object) -> object:
    match value:
        case Mapping():
            kept = {name: one for name, one in value.items() if name not in SECRET}
            return {name: _without_secrets(one) for name, one in kept.items()}
        case list() | tuple():
            return [_without_secrets(one) for one in value]
        case _:
            return value


@dataclass(slots=True)
class _Bucket:
    """Refusals of one subject: how many may be written now, and how many were not since the last one."""

    left: float
    at: int
    suppressed: int = 0

    def take(self, now: int) -> bool:
        self.left = min(BURST, self.left + max(0, now - self.at) / SECOND)
        self.at = now
        if self.left < 1:
            self.suppressed += 1
            return False
        self.left -= 1
        return True
