"""What stands for a venue that could not be opened yet."""

from collections.abc import Mapping, Sequence

from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import Ack, Filled, OrderSeen
from realtime.model.market import Bar, Market, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order
from realtime.venues.base import Post


class Unopened:
    """A venue that could not be opened yet: it has no markets, says nothing and takes nothing."""

    lookup_proven = False

    def __init__(self, name: str, kind: str) -> None:
        self.id = name
        self.kind = kind
        self.markets: Mapping[str, Market] = {}
        self.books: Mapping[str, OrderBook] = {}

    async def open(self, post: Post) -> None:
        """Open nothing."""

    async def run(self) -> None:
        """Deliver nothing: nobody runs it."""

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Have no stream."""

    async def submit(self, approved: Approved) -> Ack:  # noqa: ARG002 - the port
        """Take nothing."""
        raise self._shut()

    async def amend(self, approved: ApprovedAmend) -> Ack:  # noqa: ARG002 - the port
        """Change nothing."""
        raise self._shut()

    async def cancel(self, order: Order) -> Ack:  # noqa: ARG002 - the port
        """Cancel nothing."""
        raise self._shut()

    async def find(self, order: Order) -> OrderSeen | None:
        """Know nothing."""
        raise VenueUnknown(f"{self.id} is not open; {order.client_order_id} was not looked up")

    async def open_orders(self) -> Sequence[OrderSeen]:
        """Know nothing."""
        raise self._unknown()

    async def fills(self, since: int) -> Sequence[Filled]:  # noqa: ARG002 - the port
        """Know nothing."""
        raise self._unknown()

    async def balances(self) -> Sequence[Balance]:
        """Know nothing."""
        raise self._unknown()

    async def positions(self) -> Sequence[Position]:
        """Know nothing."""
        raise self._unknown()

    async def ohlcv(
        self,
        symbol: str,
        timeframe: str,
        since: int | None,  # noqa: ARG002 - the port
        limit: int,  # noqa: ARG002 - the port
    ) -> Sequence[Bar]:
        """Know nothing."""
        raise VenueUnknown(f"{self.id} is not open; no {timeframe} bars of {symbol}")

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:  # noqa: ARG002 - the port
        """Know nothing."""
        raise self._unknown()

    def _shut(self) -> VenueRejected:
        return VenueRejected(Code.VENUE_UNAVAILABLE, f"{self.id} is not open")

    def _unknown(self) -> VenueUnknown:
        return VenueUnknown(f"{self.id} is not open")
