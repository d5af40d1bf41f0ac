"""Who waits for the outcome of which order, and what they are told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

from realtime.model.errors import Code, Failure
from realtime.model.events import (
    Accepted,
    AmendDone,
    AmendFailed,
    BracketSet,
    CancelFailed,
    Fact,
    Rejected,
    Unknown,
    Withheld,
)
from realtime.model.frozen import frozen
from realtime.model.orders import Asked as Progress, Order


T = TypeVar("T")
At = Mapping[str, object]
Make = Callable[["Outcome"], object]


class Asked(StrEnum):
    """What was asked of the order."""

    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"


_CANCEL: Final = Asked.CANCEL
"""Asked for several times an order: a name of the module is read in a tenth of the time that one of a class takes."""

ANSWERS: Final[Mapping[type, Asked]] = {
    Accepted: Asked.PLACE,
    Rejected: Asked.PLACE,
    Unknown: Asked.PLACE,
    Withheld: Asked.PLACE,
    AmendDone: Asked.AMEND,
    AmendFailed: Asked.AMEND,
    BracketSet: Asked.AMEND,
    CancelFailed: Asked.CANCEL,
}
"""What a fact is the answer to."""

Outcomes = Sequence[tuple[Fact, Order]]
"""Answers to what was asked, each with its order right behind it."""


@frozen(kw_only=True)
class Outcome:
    """What became of a command, durable unless `journaled` is false.

    Attributes:
        fact: What decided it.
        order: The order right after it.
        at: Positions of the streams that show it.
        warnings: What rules without data had to let pass (R4).
    """

    fact: Fact
    order: Order
    at: At
    journaled: bool = True
    warnings: Sequence[str] = ()


class Answers:
    """Futures by order and question, one for each who waits: cancelling one leaves the others.

    Attributes:
        due: Outcomes that are on disk, told once all that their commit has changed is shown.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[tuple[str, Asked], list[tuple[asyncio.Future[Any], Make]]] = {}
        self.due: list[tuple[Asked, Fact, Order]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(
        self, order_id: str, asked: Asked, make: Callable[[Outcome], T]
    ) -> "asyncio.Future[T]":
        """Give a future of what `make` makes of the outcome; a failure it raises is the future's."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.setdefault((order_id, asked), []).append((future, make))
        return future

    def pending(self, order_id: str, asked: Asked) -> bool:
        """Whether somebody waits for this."""
        return (order_id, asked) in self._waiting

    def settle(self, fact: Fact, order: Order, *, journaled: bool) -> None:
        """Answer those who wait for this outcome, which is one of `ANSWERS`."""
        if type(fact) is BracketSet and order.amend_state is Progress.REQUESTED:
            return  # the venue has a word in it; not where that is about an amend before
        asked = ANSWERS[type(fact)]
        if self.pending(order.id, asked):
            self.answer(asked, fact, order, journaled=journaled)

    def ended(self, order: Order, *, journaled: bool) -> None:
        """A cancel is answered by the end of its order, whoever ended it."""
        if not self.pending(order.id, _CANCEL):
            return
        fact = Withheld(
            order_id=order.id,
            status=order.status,
            code=order.code or Code.CONFLICT,
            reason=order.reason or "",
            ts=order.updated_ts,
        )
        self.answer(_CANCEL, fact, order, journaled=journaled)

    def answer(self, asked: Asked, fact: Fact, order: Order, *, journaled: bool) -> None:
        """Answer at once what is not on disk; all else by where the streams stand once it is shown."""
        if journaled:
            self.due.append((asked, fact, order))
        else:
            outcome = Outcome(fact=fact, order=order, at={}, journaled=False)
            self.tell(order.id, asked, outcome)

    def tell(self, order_id: str, asked: Asked, outcome: Outcome) -> None:
        """Tell all who wait."""
        for future, make in self._waiting.pop((order_id, asked), ()):
            if future.done():
                continue
            try:
                future.set_result(make(outcome))
            except Failure as failure:
                future.set_exception(failure)
