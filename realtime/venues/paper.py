"""The paper exchange behind the venue port.

Rules of this file:
1 An answer is given after the log entry of what it says is durable, or at once where the desk's own entry stands behind
  it in the same log: nobody is told of that one before it is durable, and then the first one is. Orders that are answered
  in the step in which they are placed share an entry, which keeps its place in the log and is made behind the step.
2 With latency 0 everything an order causes at once is posted before its call returns. Of orders that are answered in the
  step in which they are placed it is given with the answer; balances, positions and what the world sees follow at the end
  of the turn of the loop, for all of them together.
3 After a restart the log alone decides: orders, fills, sums and positions are as they were.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal, localcontext

import orjson

from realtime.engine.matching import Exchange, Tier, Working
from realtime.engine.matching.clearing import Told
from realtime.engine.matching.pit import trail
from realtime.engine.matching.state import Entry, adopt, entry_out
from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Refused, VenueRejected, VenueUnknown
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
from realtime.model.market import MONEY, Bar, Market, Stale, Trade
from realtime.model.orders import Approved, ApprovedAmend, Order, OrderType, Side, TriggerBy
from realtime.venues.base import (
    History,
    Listed,
    MarketSource,
    Now,
    Post,
    Relisting,
    Sleep,
    VenueLog,
)
from realtime.venues.chance import Chance


ACCOUNT = "main"
BEAT_S = 1.0
"""Time between two looks at the clock behind the end of a recording."""
SIGMA = 0.35
"""Spread of the latency's logarithm: a 99th percentile of 2.3 medians."""


class PaperVenue:
    """One account at the paper exchange.

    Args:
        id: Name in rows.
        source: Of prices; it moves the market.
        balances: Deposited when the log is empty.
        seed: Of the latency.
        now: The time [ns].
        sleep: Waits for seconds.
        latency_s: Median of a whole round trip: half to the acceptance, half from there to matching; 0 for none.
        log: Keeps the account; None forgets it at the end.
        history: The log's entries so far, oldest first.
        tiers: Fee tiers by traded volume.
        kind: `replay` where the source is a recording.
        known: Markets of before: those that the source does not have are kept, inactive, because the log is about them.
    """

    lookup_proven = True  # the exchange is ours: its look-up finds every order it ever took

    def __init__(
        self,
        *,
        id: str = "paper",  # noqa: A002 - the port's word
        source: MarketSource,
        balances: Mapping[str, Decimal],
        seed: int,
        now: Now,
        sleep: Sleep,
        latency_s: float = 0.0,
        log: VenueLog | None = None,
        history: Iterable[bytes] = (),
        tiers: tuple[Tier, ...] = (),
        kind: str = "paper",
        known: Mapping[str, Market] | None = None,
    ) -> None:
        self.id = id
        self.kind = kind
        self._source = source
        self._deposits = dict(balances)
        self._chance = Chance(seed, id, "latency")
        self._now = now
        self._sleep = sleep
        self._latency_s = latency_s
        self._log = log
        self._history = history
        self._tiers = tiers
        self._known = dict(known or {})
        self._gone: dict[str, Market] = {}
        self._exchange: Exchange | None = None
        self._post: Post = _nowhere
        # What is not yet known to be on disk, and what has to happen later: both end in `run`.
        self._undurable: list[Awaitable[None]] = []
        self._later: asyncio.Queue[tuple[float, Callable[[], None]]] = asyncio.Queue()
        # Whether the log is to ask for an entry that is not made yet, what goes into it, and those made that it has still
        # to ask for.
        self._promised = False
        self._unlogged: list[Told] = []
        self._entries: deque[bytes] = deque()
        # What is in an entry and has still to be told.
        self._untold: list[VenueEvent] = []
        # While it opens: transfers of before that are told again, so whatever is written is not newer than they are.
        self._again: list[Told] = []
        # Whether this turn of the loop has an end at which something is told.
        self._ends = False

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol."""
        listed = self._source.markets
        return {**self._gone, **listed} if self._gone else listed

    @property
    def books(self) -> Mapping[str, OrderBook]:
        """The outside books that orders are matched against; the embedded market has none."""
        pits = self.exchange.pits.items()
        return {symbol: pit.outside for symbol, pit in pits if pit.outside is not None}

    @property
    def exchange(self) -> Exchange:
        """The matching, once `open` was called."""
        assert self._exchange is not None, "open comes first"
        return self._exchange

    # --- life ---------------------------------------------------------------------------------

    async def open(self, post: Post) -> None:
        """Restore the account, let the source publish its snapshots, then tell the account."""
        self._post = post
        await self._source.load()
        listed = self._source.markets
        self._gone = {
            symbol: replace(market, active=False)
            for symbol, market in self._known.items()
            if symbol not in listed
        }
        exchange = Exchange(venue=self.id, markets=self.markets, tiers=self._tiers)
        self._exchange = exchange
        entries: list[Entry] = [orjson.loads(body) for body in self._history]
        self._history = ()
        # Trade ids are public: a restart goes on above every id of before, by way of the clock.
        exchange.trades_made = self._now() // 1_000_000
        if entries:
            moved = adopt(exchange, ACCOUNT, entries)
            if moved:
                self._post(moved)  # who has heard of them knows their ids
                self._again = [Told(ACCOUNT, 0, event) for event in moved]
        else:
            exchange.open_account(ACCOUNT, self._deposits, ts=self._now())
        # An order whose date has passed while nobody matched must not meet the first quotes.
        exchange.advance(self._now())
        # Fundings of that time are for the source to tell: positions went on being held.
        exchange.resume(self._now())
        self._source.bind(self)
        self.tell()
        self._source.start()
        ts = self._now()
        self._post(
            [
                Stale(venue=self.id, symbol=symbol, stale=True, cause="delisted", asof=ts)
                for symbol in self._gone
            ]
        )
        for work in list(exchange.clearing.accounts[ACCOUNT].orders.values()):
            exchange.release(ACCOUNT, work.id, ts)
        self.tell()
        self._again = []
        self._post(self._account(ts))
        await self._durable()

    async def run(self) -> None:
        """Move the market until cancelled; behind the end of a recording only time passes."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._carry_out(group), name=f"{self.id} latency")
            await self._source.run()
            self.exchange.end()
            while True:
                # Orders are taken and expire although nobody moves the market any more.
                self.exchange.advance(self._now())
                self.tell()
                await self._durable()
                await self._sleep(BEAT_S)

    async def _carry_out(self, group: asyncio.TaskGroup) -> None:
        while True:
            seconds, action = await self._later.get()
            group.create_task(self._after(seconds, action), name=f"{self.id} to matching")

    async def _after(self, seconds: float, action: Callable[[], None]) -> None:
        await self._sleep(seconds)
        action()
        await self._durable()

    def on_listing(self, told: Listed) -> None:
        """Say who is told of markets that are new or not what they were, where the source's may change."""
        if isinstance(self._source, Relisting):
            self._source.on_listing(told)

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Tell the source."""
        self._source.want(symbol, stream, wanted)

    # --- orders -------------------------------------------------------------------------------

    @property
    def prompt(self) -> bool:
        """Whether an order is answered in the step in which it is placed."""
        return self._latency_s <= 0 and self._log is not None and self._log.leads

    def submit_now(self, approved: Approved) -> tuple[Sequence[VenueEvent], Ack]:
        """Place an order, while `prompt`."""
        exchange, log, ts = self.exchange, self._log, self._now()
        assert log is not None, "who is prompt has a log that leads"
        if not self._promised:
            log.lead(self._entry)  # first: an order that finds no room in the log is not placed
            self._promised = True
        try:
            work = exchange.place(ACCOUNT, approved.order, ts, prompt=True)
        except VenueRejected:
            self._tell_due()
            raise
        told = exchange.take_told()
        self._unlogged += told
        # An order moves two balances and the book and the ticker of its symbol, and orders come many in a turn of the loop:
        # everybody is told where those stand after all of them, as a venue tells it every few milliseconds.
        if not self._ends:
            self._ends = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        return [item.event for item in told], _ack(work, ts)

    async def submit(self, approved: Approved) -> Ack:
        """Place an order."""
        await self._travel()
        order = approved.order
        ts = self._now()
        delayed = self._latency_s > 0
        try:
            work = self.exchange.place(ACCOUNT, order, ts, live=not delayed)
        except VenueRejected:
            self._tell_due()
            raise
        if delayed:
            self._later.put_nowait((self._delay(), lambda: self._release(work.id)))
        return await self._answer(work)

    async def amend(self, approved: ApprovedAmend) -> Ack:
        """Change an order; our exchange amends natively."""
        await self._travel()
        try:
            work = self.exchange.amend(
                ACCOUNT,
                self._order_id(approved.order),
                amount=approved.amount,
                price=approved.price,
                stop_price=approved.stop_price,
                ts=self._now(),
            )
        except VenueRejected:
            self._tell_due()
            raise
        return await self._answer(work)

    async def cancel(self, order: Order) -> Ack:
        """Cancel an order."""
        await self._travel()
        work = self.exchange.cancel(ACCOUNT, self._order_id(order), self._now())
        return await self._answer(work)

    async def set_leverage(self, symbol: str, leverage: Decimal) -> None:
        """Change the leverage of a derivative."""
        self.exchange.set_leverage(ACCOUNT, symbol, leverage, self._now())
        self.tell()
        await self._durable()

    async def set_isolated(self, symbol: str, *, isolated: bool) -> None:
        """Choose the margin mode of a derivative."""
        self.exchange.set_isolated(ACCOUNT, symbol, isolated=isolated, ts=self._now())
        self.tell()
        await self._durable()

    async def transfer(self, currency: str, amount: Decimal) -> None:
        """Deposit (above zero) or withdraw."""
        self.exchange.transfer(ACCOUNT, currency, amount, self._now())
        self.tell()
        await self._durable()

    def _release(self, order_id: str) -> None:
        self.exchange.release(ACCOUNT, order_id, self._now())
        self.tell()

    def _order_id(self, order: Order) -> str:
        known = self.exchange.clearing.accounts[ACCOUNT].client_ids.get(order.venue_client_id)
        return known or order.exchange_order_id or ""

    async def _answer(self, work: Working) -> Ack:
        ack = _ack(work, self._now())
        try:
            self.tell(awaited=True)
        except Refused as refused:
            # It is done, so it is not refused: whoever has no room for it has to look it up.
            raise VenueUnknown(f"done, but not written down: {refused.message}") from refused
        if not self._leads:
            await self._durable()
        return ack

    async def _travel(self) -> None:
        if self._latency_s > 0:
            await self._sleep(self._delay())

    def _delay(self) -> float:
        return self._chance.lognormal(self._latency_s / 2, SIGMA)

    # --- reading ------------------------------------------------------------------------------

    async def find(self, order: Order) -> OrderSeen | None:
        """Look an order up, working or ended."""
        await self._travel()
        return self.exchange.find(
            ACCOUNT, order.venue_client_id, order.exchange_order_id, self._now()
        )

    async def open_orders(self) -> Sequence[OrderSeen]:
        """Working orders, oldest first."""
        await self._travel()
        return self.exchange.open_orders(ACCOUNT, self._now())

    async def fills(self, since: int) -> Sequence[Filled]:
        """Fills, oldest first."""
        await self._travel()
        return self.exchange.fills(ACCOUNT, since)

    async def balances(self) -> Sequence[Balance]:
        """All balances."""
        await self._travel()
        return self.exchange.balances(ACCOUNT, self._now())

    async def positions(self) -> Sequence[Position]:
        """Derivative positions: open ones, and what was set for those that are not."""
        await self._travel()
        return self.exchange.positions(ACCOUNT, self._now(), flat=True)

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """The source's bars."""
        return await self._source.ohlcv(symbol, timeframe, since, limit)

    @property
    def slept(self) -> bool:
        """Its orders are matched by this process alone."""
        return True

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        """The source's bars of the time when nobody matched; None where its market stood still as well.

        Trailing stops follow them; nothing fires or fills for what was then.
        """
        source = self._source
        bars = await source.past(symbol, by, since) if isinstance(source, History) else None
        self._follow(symbol, by, bars or ())
        return bars

    def _follow(self, symbol: str, by: TriggerBy, bars: Sequence[Bar]) -> None:
        clearing, ts = self.exchange.clearing, self._now()
        account = clearing.accounts[ACCOUNT]
        for work in account.orders.values():
            trails = work.type is OrderType.TRAILING_STOP and not work.live
            if not trails or (work.symbol, work.trigger_by) != (symbol, by):
                continue
            stop, buy = work.stop_price, work.side is Side.BUY
            market = self.exchange.pits[symbol].market
            with localcontext(MONEY):
                for bar in bars:
                    if bar.ts >= work.created_ts:
                        trail(work, Decimal(bar.low if buy else bar.high), market.price_tick)
                account.follow(market, work)
            if work.stop_price != stop:
                work.updated_ts = ts
                clearing.touch(work)
        clearing.flush(ts)
        self.tell()

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The source's tape."""
        return await self._source.trades(symbol, limit)

    # --- the floor, as the source sees it -------------------------------------------------------

    def publish(self, events: Sequence[MarketEvent]) -> None:
        """Publish market events; none at all is a proof of life."""
        self._post(events)

    def feed(self, event: MarketEvent) -> None:
        """Publish an outside event and let our orders follow it."""
        self._post((event,))
        exchange = self.exchange
        exchange.follow(event)
        if exchange.clearing.told or exchange.prints or self._untold:
            self.tell()

    def tell(self, *, awaited: bool = False) -> None:
        """Log and publish what the exchange did: the account's events, then the world's.

        Args:
            awaited: Whether the caller waits for the log; else `run` does.
        """
        own, prints = self._taken(awaited=awaited)
        events: list[MarketEvent | VenueEvent] = [*own, *self._source.public(prints, self._now())]
        if events:
            self._post(events)

    def _tell_due(self) -> None:
        """Tell what fell due before an order or an amend that is refused: it is not refused with it."""
        if self.exchange.clearing.told:
            with suppress(Refused):  # then it is logged and told with what comes next
                self.tell()

    def _end_turn(self) -> None:
        self._ends = False
        ts, waits = self._now(), bool(self.exchange.clearing.told)
        self.exchange.settle(ts)
        if waits and not self._promised:
            # The log had no room for it before, and the entry of this turn was made without it.
            self._tell_due()
            return
        own, prints = self.exchange.take()
        if self._promised:
            self._unlogged += own  # else the sums in it are in the entry already, see `entry_out`
        untold, self._untold = self._untold, []
        events = [*untold, *(item.event for item in own), *self._source.public(prints, ts)]
        if events:
            self._post(events)

    def _entry(self) -> bytes:
        """Give the log what it has been promised, in order."""
        if not self._entries:
            self._fix()
        return self._entries.popleft()

    def _fix(self) -> None:
        told, self._unlogged, self._promised = self._unlogged, [], False
        self._entries.append(orjson.dumps(entry_out(self.exchange, ACCOUNT, told)))

    def _taken(self, *, awaited: bool) -> tuple[list[VenueEvent], Sequence[Trade]]:
        """What the exchange did since it was last asked: logged events of the account, and trades."""
        # Nobody else is told anything: the market's accounts have credit.
        own, prints = self.exchange.take()
        if own and self._log is not None:
            fresh: Sequence[Told] = [*self._again, *own]
            promised = self._promised
            if promised:
                # The entry of this turn stands before this one, so it must not be newer; and a fill is in one of them.
                self._unlogged += own
                self._fix()
                # Only those of the newest entry are told again after a kill.
                fresh = [item for item in own if isinstance(item.event, Transferred)]
            try:
                written = self._log.append(orjson.dumps(entry_out(self.exchange, ACCOUNT, fresh)))
            except Refused:
                # It is told with what comes next, and logged with it where no entry was promised.
                if promised:
                    self._untold += (item.event for item in own)
                    own = ()
                self.exchange.untake(own, prints)
                raise
            if not (awaited and self._leads):
                self._undurable.append(written)
                if len(self._undurable) == 1 and not awaited:
                    # Fills that no call waits for are awaited by `run`: a log that fails ends the process.
                    self._later.put_nowait((0.0, _nothing))
        untold, self._untold = self._untold, []
        return [*untold, *(item.event for item in own)], prints

    @property
    def _leads(self) -> bool:
        return self._log is not None and self._log.leads

    async def _durable(self) -> None:
        waiting, self._undurable = self._undurable, []
        for entry in waiting:
            await entry

    def _account(self, ts: int) -> list[VenueEvent]:
        exchange = self.exchange
        return [
            *exchange.open_orders(ACCOUNT, ts),
            *(BalanceSeen(balance=row) for row in exchange.balances(ACCOUNT, ts)),
            *(PositionSeen(position=row) for row in exchange.positions(ACCOUNT, ts)),
        ]


def _ack(work: Working, ts: int) -> Ack:
    return Ack(
        exchange_order_id=work.id,
        status=work.status,
        filled=work.filled,
        cost=work.cost,
        ts=ts,
    )


def _nowhere(events: Sequence[MarketEvent | VenueEvent]) -> None:
    """Before `open` nobody listens."""


def _nothing() -> None:
    """An action whose only purpose is the wait behind it."""
