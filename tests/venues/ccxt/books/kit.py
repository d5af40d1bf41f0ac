"""Books built from frames, and where recordings are."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from realtime.engine.orderbook import OrderBook
from realtime.model.market import BookDelta, BookSnapshot, Market
from realtime.venues.ccxt.books import BookEvent, Gap


LONG = Path(__file__).parents[5] / "shared" / "data"
SHORT = Path(__file__).parents[3] / "data"


def recorded(name: str) -> Path:
    """A recording; skips the test where it is not here."""
    if not (LONG / name).exists():
        pytest.skip(f"{name}: the recordings of ../shared/data are not here")
    return LONG / name


def market(symbol: str, name: str) -> Market:
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    return Market(
        symbol=symbol,
        id=name,
        base=base,
        quote=quote,
        settle=settle or None,
        type="swap" if settle else "spot",
        price_tick=Decimal("0.01"),
        amount_step=Decimal("0.001"),
    )


class Built:
    """A book that follows events, as the venue's does."""

    def __init__(self) -> None:
        self.book = OrderBook("S")
        self.gaps: list[Gap] = []
        self.snapshots: list[BookSnapshot] = []
        self.deltas: list[BookDelta] = []

    def take(self, events: Iterable[BookEvent]) -> None:
        for event in events:
            if isinstance(event, Gap):
                self.gaps.append(event)
            elif isinstance(event, BookSnapshot):
                self.snapshots.append(event)
                self.book.apply_snapshot(event)
            else:
                self.deltas.append(event)
                self.book.apply_delta(event)


def kinds(events: Sequence[BookEvent]) -> list[str]:
    """Words for events."""
    return [
        event.cause if isinstance(event, Gap) else type(event).__name__.removeprefix("Book").lower()
        for event in events
    ]
