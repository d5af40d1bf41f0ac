"""Who waits for the outcome of which order, and what they are told."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from realtime.model.errors import Failure
from realtime.model.events import Fact
from realtime.model.frozen import frozen
from realtime.model.orders import Order


T = TypeVar("T")
At = Mapping[str, object]
Make = Callable[["Outcome"], object]


class Asked(StrEnum):
    """What was asked of the order."""

    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"


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
    """Futures by order and question, one for each who waits: cancelling one leaves the others."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[tuple[str, Asked], list[tuple[asyncio.Future[Any], Make]]] = {}

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

    def settle(self, order_id: str, asked: Asked, outcome: Outcome) -> None:
        """Tell all who wait."""
        for future, make in self._waiting.pop((order_id, asked), ()):
            if future.done():
                continue
            try:
                future.set_result(make(outcome))
            except Failure as failure:
                future.set_exception(failure)
