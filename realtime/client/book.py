"""The order book as a client keeps it, and its checksum (protocol document, 6.2 and 6.3). Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Final
from zlib import crc32


Level = tuple[str, str]
_CHECKED: Final = 10  # levels of each side that the checksum covers


class Book:
    """One order book: price text to amount text, exactly as sent.

    Attributes:
        bids: Buyers, by price.
        asks: Sellers, by price.
    """

    __slots__ = ("asks", "bids")

    def __init__(self) -> None:
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}

    def apply(self, data: Mapping[str, object]) -> None:
        """Put changed levels in; amount `0` deletes. The server deletes what leaves the depth, we never cut."""
        for side, levels in ((self.bids, data.get("bids")), (self.asks, data.get("asks"))):
            if not isinstance(levels, Iterable):
                continue
            for price, amount in levels:
                if amount == "0":
                    side.pop(price, None)
                else:
                    side[price] = amount

    def top(self, depth: int | None = None) -> tuple[Sequence[Level], Sequence[Level]]:
        """Give the best levels, best first.

        Args:
            depth: Most levels of each side; None for all.

        Returns:
            Bids and asks as (price, amount).
        """
        bids = sorted(self.bids.items(), key=_price, reverse=True)[:depth]
        asks = sorted(self.asks.items(), key=_price)[:depth]
        return bids, asks

    def checksum(self) -> int:
        """Compute the checksum that the server sends with this book."""
        sides = self.top(_CHECKED)
        text = ";".join(
            ",".join(f"{price}:{amount}" for price, amount in levels) for levels in sides
        )
        return crc32(text.encode("ascii"))


def _price(level: Level) -> Decimal:
    return Decimal(level[0])
