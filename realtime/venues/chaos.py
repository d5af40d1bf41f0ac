"""Any venue, with the faults of real ones (trading document, X8); seeded.

Rules of this file:
1 Without faults every call and every event passes through unchanged, in the same step.
2 A fault is what a client of a bad venue would see; the venue behind it keeps the truth, and reading it later
  (look-ups, open orders, fills) tells that truth once the fault is over. What such a client would call stale is told
  as stale: a lost connection at once, a symbol of which nothing comes after its time (features F8).
3 `VenueRejected` is certain: the venue behind was not asked. Everything else that goes wrong is `VenueUnknown`.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import (
    Ack,
    BalanceSeen,
    Filled,
    MarketEvent,
    OrderSeen,
    PositionSeen,
    Transferred,
    VenueEvent,
)
from realtime.model.market import SECOND, Bar, BookDelta, BookSnapshot, Market, Stale, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order, TriggerBy
from realtime.venues.base import Listed, Now, Post, Prompt, Relisting, Sleep, Venue, Witness
from realtime.venues.chance import Chance
from realtime.venues.rhythm import USUAL, Patience, Rhythm
from realtime.venues.streams import Streams


Event = MarketEvent | VenueEvent

HANG_S = 3600.0
"""How long a call without an answer waits before it gives up; callers have their own time-out."""
LATE_S = 3.0
"""How long an order stays invisible under `visible_late`."""
CLOCK_OFFSET = 5 * SECOND
RETRY_S = 1.0
TOGETHER = SECOND // 20
"""What moves a market within this time [ns] is one message: its trade, its book and its ticker."""


class Kind(StrEnum):
    """The faults of `system.fault`."""

    REFUSE = "refuse"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    VISIBLE_LATE = "visible_late"
    DUPLICATE = "duplicate"
    REORDER = "reorder"
    DROP_EVENT = "drop_event"
    DISCONNECT = "disconnect"
    HALF_OPEN = "half_open"
    RATE_LIMIT = "rate_limit"
    BAD_BODY = "bad_body"
    FROZEN_FEED = "frozen_feed"
    CLOCK_OFFSET = "clock_offset"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One switch.

    Attributes:
        symbol: None means every symbol.
        probability: Of each occasion, 0..1.
        duration_s: None means until the list is replaced.
        times: At most this many occasions; None means any number.
    """

    kind: Kind
    symbol: str | None = None
    probability: float = 1.0
    duration_s: float | None = None
    times: int | None = None


@dataclass(slots=True)
class Switch:
    """A fault that is on: until when [ns], and how often still."""

    fault: Fault
    until: int | None
    left: int | None


@dataclass(slots=True)
class Missed:
    """What happened to one book while nobody was told: the newest snapshot, and levels since."""

    snapshot: BookSnapshot | None = None
    bids: dict[str, str] = field(default_factory=dict)
    asks: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Silence:
    """A symbol of which nothing comes although its market moves.

    Attributes:
        since: First moment of which nothing came [ns].
        rhythm: Of what did not come.
        newest: The last moment of its rhythm [ns].
        told: Whether it was called stale.
    """

    since: int
    rhythm: Rhythm
    newest: int = 0
    told: bool = False


class ChaosVenue:
    """A venue behind faults.

    Args:
        venue: The one that tells the truth.
        seed: Of probabilities and order.
        now: The time [ns].
        sleep: Waits for seconds.
        patience: When the silence of a symbol means something.
    """

    def __init__(
        self, venue: Venue, *, seed: int, now: Now, sleep: Sleep, patience: Patience = USUAL
    ) -> None:
        self._venue = venue
        self._patience = patience
        self._prompt = venue if isinstance(venue, Prompt) else None
        self._chance = Chance(seed, venue.id, "chaos")
        self._now = now
        self._sleep = sleep
        self._switches: list[Switch] = []
        self._desk: Post = _nowhere
        self._counted = Streams()
        # Orders that look-ups and events do not show before a time [ns], by venue client id.
        self._hidden: dict[str, int] = {}
        self._held: list[VenueEvent] = []
        # Orders of which nothing is heard until they are looked up.
        self._lost: set[str] = set()
        # What books changed by while nobody was told.
        self._missed: dict[str, Missed] = {}
        self._silent: dict[str, Silence] = {}
        # The venue's own newest word on a source, which could not be told.
        self._words: dict[str | None, Stale] = {}
        self._down: str | None = None

    # --- switches -----------------------------------------------------------------------------

    def set_faults(self, faults: Iterable[Fault]) -> None:
        """Replace all switches; an empty list turns everything off and connects again."""
        ts = self._now()
        self._switches = [
            Switch(
                fault,
                None if fault.duration_s is None else ts + int(fault.duration_s * SECOND),
                fault.times,
            )
            for fault in faults
        ]
        self._connection()

    def lose_next(self) -> None:
        """The next order is accepted and its answer lost; nothing of it is heard until it is looked up."""
        self._switches.append(Switch(Fault(kind=Kind.LOST_AFTER), None, 1))

    @property
    def faults(self) -> Sequence[Fault]:
        """The switches that are on."""
        return [switch.fault for switch in self._switches if self._on(switch)]

    def _on(self, switch: Switch) -> bool:
        over = switch.until is not None and self._now() >= switch.until
        return not over and switch.left != 0

    def _strikes(self, kind: Kind, symbol: str | None) -> bool:
        for switch in self._switches:
            fault = switch.fault
            if fault.kind is not kind or not self._on(switch):
                continue
            if fault.symbol is not None and symbol is not None and fault.symbol != symbol:
                continue
            if fault.probability < 1.0 and self._chance.random() >= fault.probability:
                continue
            if switch.left is not None:
                switch.left -= 1
            return True
        return False

    def _active(self, kind: Kind) -> bool:
        return any(switch.fault.kind is kind and self._on(switch) for switch in self._switches)

    # --- the port -----------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The venue's."""
        return self._venue.id

    @property
    def kind(self) -> str:
        """The venue's."""
        return self._venue.kind

    @property
    def lookup_proven(self) -> bool:
        """The venue's."""
        return self._venue.lookup_proven

    @property
    def markets(self) -> Mapping[str, Market]:
        """The venue's."""
        return self._venue.markets

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """None: they know the changes that are withheld here."""
        return {}

    async def open(self, post: Post) -> None:
        """Stand between the venue and the desk."""
        self._desk = post
        await self._venue.open(self._receive)

    def _post(self, events: Sequence[Event]) -> None:
        self._counted.take(events, self._now())
        self._desk(events)

    @property
    def reconnects(self) -> int:
        """How often its connection was lost and came back."""
        return self._counted.reconnects

    def streams(self) -> Sequence[Mapping[str, object]]:
        """Make the rows of `monitoring.hybrid`, by channel."""
        return self._counted.rows(self._now())

    async def run(self) -> None:
        """Run the venue, and end faults in time."""
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(), name=f"{self.id} faults")
            await self._venue.run()
            watch.cancel()

    async def _watch(self) -> None:
        while True:
            await self._sleep(0.25)
            self.look()

    def look(self) -> None:
        """Let what is late appear, and connections come back."""
        self._connection()
        self._watch_symbols()
        ts = self._now()
        for client_id, until in list(self._hidden.items()):
            if ts >= until:
                del self._hidden[client_id]
        if self._held and not self._active(Kind.HALF_OPEN):
            held, self._held = self._held, []
            self._account(held)

    def on_listing(self, told: Listed) -> None:
        """Pass on."""
        if isinstance(self._venue, Relisting):
            self._venue.on_listing(told)

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Pass on."""
        self._venue.want(symbol, stream, wanted)

    @property
    def prompt(self) -> bool:
        """As the venue behind it, while nothing is to go wrong."""
        return self._prompt is not None and not self._switches and self._prompt.prompt

    def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
        """Pass on; only while `prompt`."""
        assert self._prompt is not None
        return self._prompt.submit_now(approved)

    async def submit(self, approved: Approved) -> Ack:
        """Place an order, or fail to."""
        symbol = approved.order.symbol
        await self._before(symbol)
        if self._strikes(Kind.REFUSE, symbol):
            raise VenueRejected(
                Code.VENUE_REJECTED,
                "refused (fault)",
                {"class": "OperationRejected", "rule": "fault"},
            )
        if self._strikes(Kind.LOST_BEFORE, symbol):
            await self._silence(approved.order)
        if self._strikes(Kind.VISIBLE_LATE, symbol):
            self._hidden[approved.order.venue_client_id] = self._now() + int(LATE_S * SECOND)
        if self._strikes(Kind.LOST_AFTER, symbol):
            self._lost.add(approved.order.venue_client_id)
            await self._venue.submit(approved)
            await self._silence(approved.order)
        return self._answer(await self._venue.submit(approved), symbol)

    async def amend(self, approved: ApprovedAmend) -> Ack:
        """Change an order, or fail to."""
        symbol = approved.order.symbol
        await self._before(symbol)
        return self._answer(await self._venue.amend(approved), symbol)

    async def cancel(self, order: Order) -> Ack:
        """Cancel an order, or fail to."""
        await self._before(order.symbol)
        return self._answer(await self._venue.cancel(order), order.symbol)

    async def find(self, order: Order) -> OrderSeen | None:
        """Look an order up; one that is visible late is not there yet."""
        await self._before(order.symbol, reading=True)
        found = await self._venue.find(order)
        if found is None or self._is_hidden(found):
            return None
        self._lost.discard(order.venue_client_id)
        return found

    async def open_orders(self) -> Sequence[OrderSeen]:
        """Working orders that are visible."""
        await self._before(None, reading=True)
        rows = [seen for seen in await self._venue.open_orders() if not self._is_hidden(seen)]
        self._lost -= {seen.venue_client_id for seen in rows if seen.venue_client_id is not None}
        return rows

    async def fills(self, since: int) -> Sequence[Filled]:
        """Fills of visible orders."""
        await self._before(None, reading=True)
        return [fill for fill in await self._venue.fills(since) if not self._is_hidden(fill)]

    async def balances(self) -> Sequence[Balance]:
        """All balances."""
        await self._before(None, reading=True)
        return await self._venue.balances()

    async def positions(self) -> Sequence[Position]:
        """Open derivative positions."""
        await self._before(None, reading=True)
        return await self._venue.positions()

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars."""
        await self._before(symbol, reading=True)
        return await self._venue.ohlcv(symbol, timeframe, since, limit)

    @property
    def slept(self) -> bool:
        """As the venue behind it."""
        return isinstance(self._venue, Witness) and self._venue.slept

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """Bars of the time when nobody watched."""
        if not isinstance(self._venue, Witness):
            return None
        await self._before(symbol, reading=True)
        return await self._venue.past(symbol, by, since)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """Public trades."""
        await self._before(symbol, reading=True)
        return await self._venue.trades(symbol, limit)

    # --- faults of calls ----------------------------------------------------------------------

    async def _before(self, symbol: str | None, *, reading: bool = False) -> None:
        """What goes wrong before the venue has heard anything."""
        if self._active(Kind.MAINTENANCE):
            raise VenueRejected(
                Code.VENUE_UNAVAILABLE,
                f"{self.id} is under maintenance",
                {"class": "OnMaintenance"},
                retry_after=RETRY_S,
            )
        if self._strikes(Kind.RATE_LIMIT, symbol):
            raise VenueRejected(
                Code.RATE_LIMITED,
                f"{self.id} asks to slow down",
                {"class": "RateLimitExceeded"},
                retry_after=RETRY_S,
            )
        if self._strikes(Kind.DISCONNECT, symbol):
            raise VenueUnknown(f"connection to {self.id} lost", {"class": "NetworkError"})
        if self._active(Kind.HALF_OPEN):
            await self._sleep(HANG_S)
            raise VenueUnknown(f"no answer from {self.id}", {"class": "RequestTimeout"})
        if reading and self._strikes(Kind.BAD_BODY, symbol):
            raise _unreadable(self.id)

    def _answer(self, ack: Ack, symbol: str) -> Ack:
        """What goes wrong after the venue has done it."""
        if self._strikes(Kind.BAD_BODY, symbol):
            raise _unreadable(self.id)
        if self._active(Kind.CLOCK_OFFSET):
            return replace(ack, ts=ack.ts + CLOCK_OFFSET)
        return ack

    async def _silence(self, order: Order) -> None:
        await self._sleep(HANG_S)
        raise VenueUnknown(f"no answer from {self.id} to {order.id}", {"class": "RequestTimeout"})

    # --- faults of streams --------------------------------------------------------------------

    def _connection(self) -> None:
        """Tell when the connection breaks and when it is back."""
        down = None
        if self._active(Kind.MAINTENANCE):
            down = "maintenance"
        elif self._active(Kind.DISCONNECT):
            down = "disconnected"
        if down != self._down:
            self._down = down
            events: list[Event] = []
            if down is None:  # whoever reads a book has it whole before it counts as fresh
                for symbol in [name for name in self._missed if not self._frozen(name)]:
                    events += self._caught_up(symbol)
            events.append(self._stale(None, down, self._now()))
            self._post(events)

    def _watch_symbols(self) -> None:
        """Call symbols stale of which nothing has come for too long, and pass on what the venue said of its sources."""
        if self._active(Kind.HALF_OPEN):
            return
        told: list[Stale] = []
        ts = self._now()
        for symbol, silence in self._silent.items():
            # Something was missed: a market that is only quiet is not here.
            if not silence.told and (ts - silence.since) / SECOND >= silence.rhythm.limit:
                silence.told = True
                told.append(self._stale(symbol, "silent", silence.since))
        if self._words and self._down is None:
            said = [symbol for symbol in self._words if not self._frozen(symbol)]
            told += [self._words.pop(symbol) for symbol in said]
        if told:
            self._post(told)

    def _stale(self, symbol: str | None, cause: str | None, asof: int) -> Stale:
        return Stale(venue=self.id, symbol=symbol, stale=cause is not None, cause=cause, asof=asof)

    def _receive(self, events: Sequence[Event]) -> None:
        """Let a batch through, or what the faults leave of it."""
        if not (
            self._switches
            or self._hidden
            or self._held
            or self._lost
            or self._missed
            or self._silent
            or self._words
        ):
            self._post(events)
            return
        self._connection()
        mute = self._down is not None or self._active(Kind.HALF_OPEN)
        market: list[Event] = []
        account: list[VenueEvent] = []
        withheld: dict[str, None] = {}
        for event in events:
            if isinstance(event, OrderSeen | Filled | BalanceSeen | PositionSeen | Transferred):
                account.append(event)
            elif isinstance(event, Stale):
                self._words.pop(event.symbol, None)
                if mute or self._frozen(event.symbol):
                    self._words[event.symbol] = event
                else:
                    market.append(event)
            elif self._frozen(event.symbol):
                withheld[event.symbol] = None
                self._miss(event)
            elif mute:
                self._miss(event)
            else:
                market += self._back(event.symbol)
                market.append(event)
        for symbol in withheld:
            self._withhold(symbol)
        if market or not (events or mute):
            self._post(market)
        if not mute:  # what is said to a broken connection is gone; reconciliation has to find it
            self._account(account)

    def _miss(self, event: MarketEvent) -> None:
        if isinstance(event, BookSnapshot):
            self._missed[event.symbol] = Missed(event)
        elif isinstance(event, BookDelta):
            missed = self._missed.setdefault(event.symbol, Missed())
            missed.bids.update(event.bids)
            missed.asks.update(event.asks)

    def _withhold(self, symbol: str) -> None:
        ts = self._now()
        silence = self._silent.get(symbol)
        if silence is None:
            silence = self._silent[symbol] = Silence(ts, Rhythm(self._patience))
        if ts - silence.newest >= TOGETHER:
            silence.newest = ts
            silence.rhythm.beat(ts / SECOND)

    def _back(self, symbol: str) -> list[MarketEvent]:
        """What comes before the first event of a symbol that is heard again."""
        events = self._caught_up(symbol)
        silence = self._silent.pop(symbol, None)
        if silence is not None and silence.told:
            events.append(self._stale(symbol, None, self._now()))
        return events

    def _caught_up(self, symbol: str) -> list[MarketEvent]:
        """The book changes that were missed."""
        missed = self._missed.pop(symbol, None)
        if missed is None:
            return []
        ts = self._now()
        delta = BookDelta(
            symbol=symbol,
            bids=tuple(missed.bids.items()),
            asks=tuple(missed.asks.items()),
            ts=ts,
            recv_ts=ts,
        )
        return [delta] if missed.snapshot is None else [missed.snapshot, delta]

    def _frozen(self, symbol: str | None) -> bool:
        return any(
            switch.fault.kind is Kind.FROZEN_FEED
            and self._on(switch)
            and switch.fault.symbol in {None, symbol}
            for switch in self._switches
        )

    def _account(self, events: Iterable[VenueEvent]) -> None:
        out: list[VenueEvent] = []
        for event in events:
            symbol = getattr(event, "symbol", None)
            if self._is_hidden(event):
                self._held.append(event)
                continue
            if isinstance(event, OrderSeen | Filled) and event.venue_client_id in self._lost:
                continue
            if self._strikes(Kind.DROP_EVENT, symbol):
                continue
            out.append(event)
            if self._strikes(Kind.DUPLICATE, symbol):
                out.append(event)
        if len(out) > 1 and self._strikes(Kind.REORDER, None):
            for index in range(len(out) - 1, 0, -1):
                other = self._chance.below(index + 1)
                out[index], out[other] = out[other], out[index]
        if out:
            self._post(out)

    def _is_hidden(self, event: VenueEvent) -> bool:
        if not self._hidden or not isinstance(event, OrderSeen | Filled):
            return False
        if event.venue_client_id is None:
            return False
        return self._now() < self._hidden.get(event.venue_client_id, 0)


def _unreadable(venue: str) -> VenueUnknown:
    return VenueUnknown(f"{venue} answered with something unreadable", {"class": "BadResponse"})


def _nowhere(events: Sequence[Event]) -> None:
    """Before `open` nobody listens."""
