"""What a venue is to the desk.

Rules of this file:
1 A venue pushes: it calls `post` with events, in the order of their happening, and never waits for anyone.
2 An answer is an `Ack`; a refusal `VenueRejected`; everything else, time-outs included, is `VenueUnknown`.
3 Reading never raises a refusal for emptiness: an empty answer is evidence only when the venue gave it.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from realtime.engine.matching import Exchange
from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.events import Ack, Filled, MarketEvent, OrderSeen, VenueEvent
from realtime.model.market import Bar, Funding, Market, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order, TriggerBy


Post = Callable[[Sequence[MarketEvent | VenueEvent]], None]
"""Where a venue's events go; synchronous, never raises, never awaits. An empty batch is a proof of life."""

Now = Callable[[], int]
"""The time [ns UTC]."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for seconds of the process's own clock; tests replace it."""


class Venue(Protocol):
    """An exchange account, or recorded market data, behind one port."""

    @property
    def id(self) -> str:
        """Name in rows and channels."""

    @property
    def kind(self) -> str:
        """`paper`, `replay` or `live`."""

    @property
    def lookup_proven(self) -> bool:
        """Whether `find` is known to find an order that exists here (A2)."""

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol; filled once `open` has returned."""

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """Books that it keeps itself, each changed right before the change is posted; once `open` has returned."""

    async def open(self, post: Post) -> None:
        """Load markets and account; may already post snapshots."""

    async def run(self) -> None:
        """Deliver events until cancelled; one that plays a recording may return at its end."""

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - a callback's shape
        """Say whether anybody reads a stream (`ticker`, `orderbook`, `trades`, `ohlcv:1m` …)."""

    async def submit(self, approved: Approved) -> Ack:
        """Place an order, at most once."""

    async def amend(self, approved: ApprovedAmend) -> Ack:
        """Change an order to absolute targets."""

    async def cancel(self, order: Order) -> Ack:
        """Cancel an order; `VenueRejected` with `not_found` when it has ended or never was."""

    async def find(self, order: Order) -> OrderSeen | None:
        """Look an order up by client id or venue id, open or ended; None is the venue's own "no"."""

    async def open_orders(self) -> Sequence[OrderSeen]:
        """All working orders of the account."""

    async def fills(self, since: int) -> Sequence[Filled]:
        """Fills from `since` [ns] on, oldest first."""

    async def balances(self) -> Sequence[Balance]:
        """All balances."""

    async def positions(self) -> Sequence[Position]:
        """All open derivative positions."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """At most `limit` bars, oldest first: from `since` [ns] on, else the newest; the last may be forming."""

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The newest public trades, oldest first."""


Told = Callable[[bool, str], None]
"""Takes whether the private data of an account can be trusted, and why not."""
Leave = Callable[[Approved | ApprovedAmend], None]
"""Raises `Refused` where an order may not leave any more: a halt, the end of its time."""


Listed = Callable[[Sequence[Market]], None]
"""Takes markets that are new or not what they were: another grid, halted, delisted (inactive then)."""


@runtime_checkable
class Relisting(Protocol):
    """What a venue offers beside the port when its markets change while it is open."""

    def on_listing(self, told: Listed) -> None:
        """Say who is told; `markets` has them by then. The last one said is told."""


@runtime_checkable
class Remote(Protocol):
    """What a venue offers beside the port when its account is somewhere else."""

    def attend(self, told: Told) -> None:
        """Say who is told when private data is in doubt, and when it is there again: compare everything then."""

    def guard(self, leave: Leave) -> None:
        """Say who is asked when the turn of a placement or an amend has come, right before it leaves."""

    def expect(self, orders: Iterable[Order]) -> None:
        """Take in orders of before this process: their rows may not tell our client id (I3)."""

    async def dead_mans_switch(self, seconds: float | None) -> bool:
        """Arm or renew the venue's own timer, which cancels everything; None switches it off. Whether there is one."""


@runtime_checkable
class Witness(Protocol):
    """What a venue offers beside the port when its prices go on while this process is down."""

    @property
    def slept(self) -> bool:
        """Whether its own orders stand still then, as those of the paper exchange do."""
        ...

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """Give the bars of a minute each of a trigger price from `since` [ns] on, oldest first; the last may be forming.

        None where time stands still with us: then there is nothing to tell.

        Raises:
            Refused: `not_supported`, it has none of this price.
            VenueRejected, VenueUnknown: No answer.
        """
        ...


@runtime_checkable
class Prompt(Protocol):
    """What a venue offers beside the port when it can answer in the very step in which it is called."""

    @property
    def prompt(self) -> bool:
        """Whether it does so now."""
        ...

    def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
        """Place an order, while it is `prompt`, and give what came of it at once, which is not posted, and the answer."""
        ...


class VenueLog(Protocol):
    """Where the paper exchange keeps its own books."""

    @property
    def leads(self) -> bool:
        """Whether nothing that the desk journals because of an entry can be on disk without the entry."""
        ...

    def append(self, body: bytes) -> Awaitable[None]:
        """Queue one entry, in order; the returned awaitable resolves once it is on disk."""
        ...

    def lead(self, body: Callable[[], bytes]) -> None:
        """Queue one entry, in order, that is asked for behind this step of the loop or a commit under way; only while the log `leads`."""
        ...


class Floor(Protocol):
    """What the paper exchange offers to the source of its prices."""

    @property
    def exchange(self) -> Exchange:
        """The matching."""

    def publish(self, events: Sequence[MarketEvent]) -> None:
        """Publish market events; none at all is a proof of life."""

    def feed(self, event: MarketEvent) -> None:
        """Publish an event of an outside market, which its source has applied, and let our orders follow it."""

    def tell(self) -> None:
        """Publish what the exchange has done since the last time."""


class MarketSource(Protocol):
    """Where the paper exchange's prices come from: the embedded market, a recording, a live venue."""

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol; filled once `load` has returned."""

    async def load(self) -> None:
        """Learn the markets."""

    def bind(self, floor: Floor) -> None:
        """Meet the exchange; called once, before `start`."""

    def start(self) -> None:
        """Publish the first snapshots."""

    async def run(self) -> None:
        """Make the market move until cancelled; return only when a recording has ended."""

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """What the world sees of trades and book changes that our exchange made."""

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - a callback's shape
        """As in `Venue`."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """As in `Venue`."""

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """As in `Venue`."""


@runtime_checkable
class History(Protocol):
    """What public data or a source of prices offers when its prices go on while this process is down."""

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """As in `Witness`."""
        ...


@runtime_checkable
class Fundings(Protocol):
    """What public data offers that tells what perpetuals have paid."""

    async def fundings(self, symbol: str, since: int) -> tuple[Sequence[Funding], int]:
        """Give what a perpetual has paid behind `since` [ns], oldest first, and the time until which nothing is missing.

        Raises:
            Refused: `not_supported`, it does not tell.
            VenueRejected: No answer, or one that does not say it.
        """
        ...


class PublicFeed(Protocol):
    """What is needed of the public data of a venue: the public half of `Venue`."""

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol; filled once `open` has returned."""

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """By symbol, each changed right before the change is posted."""

    async def open(self) -> None:
        """Learn the markets."""

    async def run(self, post: Post) -> None:
        """Deliver events until cancelled."""

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """As in `Venue`."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """As in `Venue`."""

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """As in `Venue`."""
