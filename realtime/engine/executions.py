"""What executions come to in the order in which they happened, whatever order they are told in (trading 2.5).

What a derivative has realized depends on the order of its executions. A venue realizes in the order in which they
happened; streams and lists tell some of them late, and an inferred one stands in for one that is told later still.

Rules of this file:
1 Cash less cost is a sum, and so does not depend on the order. What the right order moves is moved in both alike.
2 Only the newest executions are kept; an older one is taken as the first of them.
3 Those of one moment follow each other as the venue has numbered them, and as they were told where it numbers nothing.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from string import digits

from realtime.model.market import ZERO


QUANTUM = Decimal("1E-8")
"""A share of a cost is rounded to this when it is booked, once [currency units]; the rest stays behind."""

KEPT = 256
"""So many executions of a symbol are kept at least, and twice as many at most."""


@dataclass(frozen=True, slots=True)
class Execution:
    """One of a derivative.

    Attributes:
        id: The venue's, or ours of an inferred one.
        change: Signed amount [contracts].
        value: Of one contract [cash]: price times contract size.
        ts: When it happened [ns].
    """

    id: str
    change: Decimal
    value: Decimal
    ts: int


@dataclass(slots=True)
class Executions:
    """The newest executions of a symbol, by the time they happened.

    Attributes:
        amount, cost: The position before the first of them; cost None where unknown.
    """

    amount: Decimal
    cost: Decimal | None
    rows: list[Execution] = field(default_factory=list)

    def add(self, row: Execution) -> bool:
        """Take one; whether it has happened before another one that was told earlier."""
        rows = self.rows
        place = len(rows) if not rows or row.ts > rows[-1].ts else _place(rows, row)
        late = place < len(rows)
        rows.insert(place, row)
        if len(rows) > 2 * KEPT:
            for old in rows[:-KEPT]:
                self.amount, self.cost, _ = traded(self.amount, self.cost, old.change, old.value)
            del rows[:-KEPT]
        return late

    def remove(self, name: str) -> bool:
        """Take one out; whether it was kept."""
        left = [row for row in self.rows if row.id != name]
        found = len(left) < len(self.rows)
        self.rows = left
        return found

    def come_to(self) -> Decimal | None:
        """Work out the cost of the position after all of them; None where one on the way is unknown."""
        amount, cost = self.amount, self.cost
        for row in self.rows:
            if cost is None:
                return None
            amount, cost, _ = traded(amount, cost, row.change, row.value)
        return cost


def _place(rows: Sequence[Execution], row: Execution) -> int:
    """Where among those that were told earlier one belongs that has not happened behind the last of them."""
    place = bisect_right(rows, row.ts, key=lambda each: each.ts)
    name, number = _numbered(row.id)
    # An order that walks the book has many in one moment, each at a price of its own.
    for at in range(place - 1, -1, -1):
        if rows[at].ts < row.ts:
            break
        other_name, other_number = _numbered(rows[at].id)
        if other_name == name:
            if other_number < number:
                break
            place = at
    return place


def _numbered(name: str) -> tuple[str, int]:
    """Split a venue's id into what stands before its number, and that; -1 without one."""
    stem = name.rstrip(digits)
    number = name[len(stem) :]
    return (stem, int(number)) if 0 < len(number) < 20 else (name, -1)


def traded(
    amount: Decimal, cost: Decimal | None, change: Decimal, value: Decimal
) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """Trade a derivative: what closes takes its share of the cost, what opens brings its own.

    Args:
        amount: Of the position before, signed [contracts].
        cost: Of it, signed [cash]; None where unknown.
        change: Signed [contracts].
        value: Of one contract [cash].

    Returns:
        Amount and cost after it, and what it realized before fees; None where unknown.
    """
    realized: Decimal | None = ZERO
    opening = change
    if amount and (amount > 0) is not (change > 0):
        closing = min(abs(change), abs(amount))
        signed = closing if change > 0 else -closing
        removed = share(cost, closing, abs(amount))
        realized = None if removed is None else -signed * value - removed
        cost = None if cost is None or removed is None else cost - removed
        amount += signed
        opening = change - signed
        if not amount:
            cost = ZERO
    if opening:
        cost = None if cost is None else cost + opening * value
        amount += opening
    return amount, cost, realized


def share(cost: Decimal | None, part: Decimal, whole: Decimal) -> Decimal | None:
    """Cost of a part of a holding; all of it for the whole, None when unknown or more than there is."""
    if cost is None or part > whole:
        return None
    if part == whole:
        return cost
    # Towards zero, as the paper exchange does: else every partial close would drag a quotient's digits along.
    return (cost * part / whole).quantize(QUANTUM, ROUND_DOWN)
