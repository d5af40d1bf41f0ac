"""Native order books of the venues whose frames are checked here; `public.py` takes books from ccxt elsewhere."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from realtime.venues.ccxt.books.binance import Binance
from realtime.venues.ccxt.books.bybit import Bybit
from realtime.venues.ccxt.books.feed import BookEvent, Gap, Maker, Native
from realtime.venues.ccxt.books.kraken import Kraken


__all__ = ["NATIVE", "BookEvent", "Gap", "Maker", "Native"]

NATIVE: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "binance": Binance,
        "binanceusdm": Binance,
        "bybit": Bybit,
        "kraken": Kraken,
    }
)
"""By ccxt id: makes a parser out of the markets of an exchange instance."""
