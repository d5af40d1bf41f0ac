"""ccxt ids of one exchange: the same API under the name of another country or another kind of market.

Rules of this file:
1 What a table here says of an exchange by its ccxt id holds for its siblings: tables are asked by `kin(id)`.
2 What people read keeps the id of the account. Hosts, markets and what ccxt `has` are the sibling's own.
3 Every class of ccxt that is another exchange's subclass is in `SIBLINGS` or `APART`; a test compares with ccxt.
"""

from collections.abc import Mapping
from typing import Final


SIBLINGS: Final[Mapping[str, str]] = {
    "bybiteu": "bybit",
    "bybitid": "bybit",
    "okxus": "okx",
    "myokx": "okx",
    "gateeu": "gate",
    "kucoinfutures": "kucoin",
    "bequant": "hitbtc",
    "fmfwio": "hitbtc",
}
"""The exchange whose API this is, by ccxt id."""

APART: Final = frozenset({"binanceus", "binanceusdm", "binancecoinm"})
"""Subclasses in ccxt whose APIs differ from Binance's spot: they have rows of their own where a table knows them."""


def kin(exchange_id: str) -> str:
    """Give the ccxt id under which our tables know an exchange; its own where it is nobody's sibling."""
    return SIBLINGS.get(exchange_id, exchange_id)
