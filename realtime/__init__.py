"""Nexus Realtime: the vocabulary of its values and errors. Importing it loads nothing heavy."""

from realtime.model.errors import Code, Failure, Refused, VenueRejected, VenueUnknown
from realtime.model.market import Bar, Market, Ticker, Trade
from realtime.model.orders import Fill, Order, OrderType, Side, Status, TimeInForce
from realtime.model.risk import TradingState


__version__ = "0.1.0"

__all__ = [
    "Bar",
    "Code",
    "Failure",
    "Fill",
    "Market",
    "Order",
    "OrderType",
    "Refused",
    "Side",
    "Status",
    "Ticker",
    "TimeInForce",
    "Trade",
    "TradingState",
    "VenueRejected",
    "VenueUnknown",
    "__version__",
]
