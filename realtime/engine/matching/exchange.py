"""The paper exchange: orders in, trades out.

Rules of this file:
1 Pure: (inputs in order) decide everything; no clock, no chance. Every input carries its time [ns].
2 An input that is refused changes nothing.
3 Price first, then time. In an outside book our orders stand behind what was displayed when they came.
4 What one input sets off (triggers, then liquidations) happens inside that input, before anyone is told.
5 What has fallen due, an order's date or a funding, comes before what trades at that time or later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal, localcontext
from heapq import heappop, heappush
from typing import assert_never

from realtime.engine.forgotten import SIZES, Sizes
from realtime.engine.market import up
from realtime.engine.matching.acceptance import check_amend, check_order, closable
from realtime.engine.matching.account import Account, SelfTrade
from realtime.engine.matching.clearing import Clearing, Told, new_account
from realtime.engine.matching.cover import (
    Plan,
    afford,
    check_backing,
    check_passive,
    leave,
    lever,
    look,
    reserve,
    worst_price,
)
from realtime.engine.matching.orders import Rest, Working, working
from realtime.engine.matching.perpetuals import backing, crossed, healthy
from realtime.engine.matching.pit import Pit, Step
from realtime.engine.matching.rules import FREE, Tier, refusal
from realtime.engine.orderbook import OrderBook
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import Filled, MarketEvent, OrderSeen
from realtime.model.market import (
    MONEY,
    SECOND,
    ZERO,
    BookDelta,
    BookSnapshot,
    Funding,
    Mark,
    Market,
    Stale,
    Ticker,
    Trade,
)
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_BUY, _SELL, _MARKET, _LIMIT, _TRAILING_STOP, _FILLED, _FOK = (
    Side.BUY,
    Side.SELL,
    OrderType.MARKET,
    OrderType.LIMIT,
    OrderType.TRAILING_STOP,
    Status.FILLED,
    TimeInForce.FOK,
)

FUNDING_EVERY = 8 * 3600 * SECOND
"""Time between two fundings [ns]."""
LATE = 60 * SECOND
"""A funding that is so far behind is settled at the price and rate of its own time, not of now [ns]."""


class Exchange:
    """All markets and accounts of one paper exchange.

    Args:
        sizes: How many orders of an account that are over are kept, and how long.
    """

    def __init__(
        self,
        *,
        venue: str,
        markets: Mapping[str, Market],
        tiers: tuple[Tier, ...] = (),
        sizes: Sizes = SIZES,
    ) -> None:
        self.venue = venue
        self.pits = {symbol: Pit(market) for symbol, market in markets.items()}
        self.clearing = Clearing(venue=venue, pits=self.pits, tiers=tiers)
        self.sizes = sizes
        self.prints: list[Trade] = []
        # Ids are numbers that only rise; a restored exchange goes on behind the last one it gave.
        self.orders_made = 0
        self.trades_made = 0
        self.deadlines: list[tuple[int, str, str]] = []
        # Whether the source fills its books: nothing fires and nobody is liquidated before they are full.
        self.opening = False
        # Perpetuals of which fundings may have fallen due while nobody followed, and the last time that is so of [ns].
        self.missed: dict[str, int] = {}
        # Symbols of which triggers and positions are still to be looked at.
        self.moved: dict[str, None] = {}
        # By symbol, whose position fills have made smaller, and what it may lose: `realized` is not to go below.
        self._reduced: dict[str, dict[str, Decimal]] = {}

    # --- accounts -----------------------------------------------------------------------------

    def open_account(
        self,
        identity: str,
        balances: Mapping[str, Decimal],
        *,
        credit: bool = False,
        self_trade: SelfTrade = SelfTrade.CANCEL_NEWEST,
        ts: int = 0,
    ) -> None:
        """Open an account with starting balances; `credit` makes a liquidity account."""
        account = new_account(identity, credit=credit, self_trade=self_trade)
        self.clearing.add(account)
        for currency, amount in balances.items():
            self.transfer(identity, currency, amount, ts)
        for symbol, pit in self.pits.items():
            if pit.market.contract:
                account.holding(symbol)

    def transfer(self, account_id: str, currency: str, amount: Decimal, ts: int) -> None:
        """Deposit (above zero) or withdraw.

        Raises:
            VenueRejected: `insufficient_funds`, when more than is free would leave.
        """
        with localcontext(MONEY):
            account = self.clearing.accounts[account_id]
            free = account.wallet(currency).free
            if not account.credit and free + amount < 0:
                raise refusal(
                    "InsufficientFunds",
                    "insufficient_funds",
                    f"needs {-amount:f} {currency}, available {free:f} {currency}",
                )
            if amount < 0 and not account.credit:
                leave(self.clearing, account, currency, -amount)
            kind = "deposit" if amount >= 0 else "withdrawal"
            self.clearing.transfer(account, currency, amount, kind, None, ts)
            self._after(ts)

    def set_leverage(self, account_id: str, symbol: str, leverage: Decimal, ts: int) -> None:
        """Change the leverage of a position and its orders.

        Raises:
            VenueRejected: Outside the market's range, or the margin is not there.
        """
        with localcontext(MONEY):
            account, pit = self.clearing.accounts[account_id], self._pit(symbol)
            lever(self.clearing, account, pit.market, leverage)
            account.changed_holdings[symbol] = None
            self._after(ts)

    def set_isolated(self, account_id: str, symbol: str, *, isolated: bool, ts: int) -> None:
        """Choose the margin mode of a symbol; only while it is flat and without orders.

        Raises:
            VenueRejected: It is not.
        """
        with localcontext(MONEY):
            account, market = self.clearing.accounts[account_id], self._pit(symbol).market
            if not market.contract:
                raise refusal("InvalidOrder", "margin_mode", f"{symbol} is not a derivative")
            held = account.holding(symbol)
            if held.amount or any(order.symbol == symbol for order in account.orders.values()):
                raise refusal(
                    "InvalidOrder", "margin_mode", f"{symbol} has a position or working orders"
                )
            held.isolated = isolated
            account.changed_holdings[symbol] = None
            self._after(ts)

    # --- orders -------------------------------------------------------------------------------

    def place(
        self,
        account_id: str,
        order: Order,
        ts: int,
        *,
        live: bool = True,
        prompt: bool = False,
    ) -> Working:
        """Take an order in.

        Args:
            account_id: Whose.
            order: As approved; `venue_client_id` is what we know it by.
            ts: [ns]
            live: False only accepts it; `release` hands it to matching (latency).
            prompt: Tell an order that waits for no trigger once, as this call leaves it, and not at all where its fills
                say all of it; leave its balances and its position to `settle`.

        Raises:
            VenueRejected: With ccxt's class in `details`; nothing has changed then.
        """
        with localcontext(MONEY):
            clearing, client_id = self.clearing, order.venue_client_id
            account, pit = clearing.accounts[account_id], self._pit(order.symbol)
            self._catch_up(pit, ts)
            if client_id in account.client_ids:
                raise refusal(
                    "DuplicateOrderId",
                    "duplicate_client_id",
                    f"client id {client_id} was used",
                    order_id=account.client_ids[client_id],
                )
            if account.forgotten and account.forgot("client", client_id):
                raise refusal(
                    "DuplicateOrderId",
                    "duplicate_client_id",
                    f"client id {client_id} was used long ago",
                )
            work = working(order, f"x-{self.orders_made + 1}", account_id, ts)
            reference = pit.reference
            check_order(account, pit, work, order.leverage, reference)
            if work.type is _TRAILING_STOP and not pit.blind:
                pit.follow(work)
            limit = worst_price(pit.market, work, reference)
            plan = reserve(clearing, account, pit, work, order.leverage, limit, live=live)
            self.orders_made += 1
            account.client_ids[client_id] = work.id
            if work.good_till_ts is not None:
                heappush(self.deadlines, (work.good_till_ts, account_id, work.id))
            triggered = work.type.triggered
            if triggered or not prompt:
                clearing.tell(account, clearing.seen(work, ts))
            if triggered:
                pit.waiting[work.id] = work
                self.moved[order.symbol] = None
            elif live:
                self._go_live(pit, work, ts, limit, plan)
            else:
                work.dormant = True
            if prompt and not (triggered or work.status.ended):
                clearing.touch(work)
            self._after(ts, prompt=prompt)
            return work

    def settle(self, ts: int) -> None:
        """Tell the balances and positions that prompt orders have left."""
        with localcontext(MONEY):
            self.clearing.flush(ts)

    def release(self, account_id: str, order_id: str, ts: int) -> None:
        """Hand an accepted order to matching; nothing happens when it has been cancelled meanwhile."""
        with localcontext(MONEY):
            work = self.clearing.accounts[account_id].orders.get(order_id)
            if work is not None and work.dormant:
                pit = self.pits[work.symbol]
                self._catch_up(pit, ts)
                if work.status.ended:
                    return
                work.dormant = False
                self._go_live(pit, work, ts, worst_price(pit.market, work, pit.reference))
                self._after(ts)

    def cancel(self, account_id: str, order_id: str, ts: int) -> Working:
        """Cancel a working order.

        Raises:
            VenueRejected: `not_found`: it has ended, or never was.
        """
        with localcontext(MONEY):
            work = self._working(self.clearing.accounts[account_id], order_id)
            self._end(work, Status.CANCELED, None, ts)
            self._after(ts)
            return work

    def amend(
        self,
        account_id: str,
        order_id: str,
        *,
        amount: Decimal | None = None,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
        ts: int,
    ) -> Working:
        """Change a working order to absolute targets; None leaves a field.

        A new price or a larger amount loses priority, a smaller amount keeps it.

        Raises:
            VenueRejected: `not_found`, or a rule of `place`; the order is as it was then.
        """
        with localcontext(MONEY):
            account = self.clearing.accounts[account_id]
            work = self._working(account, order_id)
            pit = self.pits[work.symbol]
            self._catch_up(pit, ts)
            self._working(account, order_id)  # it may have expired just now
            before = (work.amount, work.price, work.stop_price)
            target = (
                work.amount if amount is None else amount,
                work.price if price is None else price,
                work.stop_price if stop_price is None else stop_price,
            )
            if target == before:
                return work
            check_amend(pit, work, *target)
            if work.post_only and work.live and target[1] is not None:
                check_passive(account, pit, work, target[1])
            smaller = target[1:] == before[1:] and target[0] < before[0]
            rest = pit.own(work.side)
            resting = work.resting
            if resting and smaller:
                rest.shrink(work, before[0] - target[0])
            work.amount, work.price, work.stop_price = target
            try:
                if not pit.market.contract:
                    check_backing(self.clearing, account, pit.market, work)
                account.hold(pit.market, work, check=True)
            except VenueRejected:
                work.amount, work.price, work.stop_price = before
                raise
            work.updated_ts = ts
            self.clearing.touch(work)
            if resting and not smaller:
                # The queue knows the order by its old amount.
                work.amount = before[0]
                rest.remove(work)
                work.amount = target[0]
            if pit.market.contract:
                self._cap(account, pit, ts)  # before it can trade
            if work.remaining == 0:
                self._end(work, Status.FILLED, None, ts)
            elif resting and not smaller:
                self._go_live(pit, work, ts, worst_price(pit.market, work, pit.reference))
            self.moved[work.symbol] = None
            self._after(ts)
            return work

    # --- liquidity accounts: no funds, no rules, no private events ------------------------------

    def quote(
        self,
        account_id: str,
        symbol: str,
        side: Side,
        price: Decimal | None,
        amount: Decimal,
        ts: int,
    ) -> Working | None:
        """A liquidity account's order: trade what crosses, rest the remainder.

        Args:
            account_id: A `credit` account.
            symbol: Of the market.
            side: Of the order.
            price: On the tick; None is a market order that never rests.
            amount: On the step.
            ts: [ns]

        Returns:
            The resting order, None when nothing rests.
        """
        with localcontext(MONEY):
            pit = self.pits[symbol]
            self.orders_made += 1
            work = Working(
                id=f"x-{self.orders_made}",
                account=account_id,
                client_id=None,
                symbol=symbol,
                side=side,
                type=_MARKET if price is None else _LIMIT,
                amount=amount,
                price=price,
                live=True,
                created_ts=ts,
                updated_ts=ts,
            )
            if price is None:
                self._take(pit, work, None, ts)
            else:
                rest, other = (pit.bids, pit.asks) if side is _BUY else (pit.asks, pit.bids)
                if other.reach(-rest.sign * float(price)):
                    self._take(pit, work, price, ts)
                if not work.status.ended:
                    rest.add(work, price)
            self.moved[symbol] = None
            self._after(ts)
            return work if work.resting else None

    def pull(self, work: Working) -> None:
        """Take a liquidity account's resting order back."""
        if work.resting:
            with localcontext(MONEY):
                self.pits[work.symbol].own(work.side).remove(work)
                work.status = Status.CANCELED

    # --- the outside world --------------------------------------------------------------------

    def relist(self, market: Market) -> None:
        """Take a market that is new, or whose grid, limits, fees or activity have changed; working orders stay."""
        pit = self.pits.get(market.symbol)
        if pit is None:
            self.pits[market.symbol] = Pit(market)
            if market.contract:
                for account in self.clearing.accounts.values():
                    account.holding(market.symbol)
        else:
            pit.market = market
            if market.contract:
                with localcontext(MONEY):
                    for account in self.clearing.owners:
                        account.remargin(market)  # it counts the fees of orders
        self.clearing.markets[market.symbol] = market

    def attach(self, symbol: str, book: OrderBook) -> None:
        """Let an outside book, kept by its source, be what orders of `symbol` trade against."""
        self.pits[symbol].outside = book

    def follow(self, event: MarketEvent) -> None:
        """Let our orders follow an event of an outside market."""
        match event:
            case Trade():
                self.on_trade(event)
            case BookDelta() | BookSnapshot():
                self.on_book(event)
            case Mark():
                self.on_mark(event)
            case Stale():
                self.on_stale(event.symbol, stale=event.stale)
            case Ticker():
                pass  # the book says more
            case _:
                assert_never(event)

    def on_book(self, change: BookSnapshot | BookDelta) -> None:
        """Follow the outside book after its source has applied `change`."""
        pit = self.pits[change.symbol]
        buys, sells = pit.consumed[Side.BUY], pit.consumed[Side.SELL]
        if buys or sells:
            if isinstance(change, BookSnapshot):
                buys.clear()
                sells.clear()
            else:
                for price, _ in change.asks:
                    buys.pop(float(price), None)
                for price, _ in change.bids:
                    sells.pop(-float(price), None)
        if not self._concerned(pit):
            return
        with localcontext(MONEY):
            self._catch_up(pit, min(change.ts, change.recv_ts))
            if not pit.blind:
                self._requeue(pit)
                self._through(pit, change.ts)
            self.moved[change.symbol] = None
            self._after(change.ts)

    def on_trade(self, trade: Trade) -> None:
        """Follow the outside tape: resting orders fill by what is printed, never by more."""
        pit = self.pits[trade.symbol]
        price = Decimal(trade.price)
        pit.last = price
        if not self._concerned(pit):
            return
        rest = pit.against(Side(trade.side))
        with localcontext(MONEY):
            self._catch_up(pit, min(trade.ts, trade.recv_ts))
            if not pit.blind:
                self._printed(pit, rest, price, Decimal(trade.amount), trade.ts)
            self.moved[trade.symbol] = None
            self._after(trade.ts)

    def on_mark(self, mark: Mark) -> None:
        """Take in mark, index and funding of a derivative."""
        with localcontext(MONEY):
            pit = self.pits[mark.symbol]
            # At what was told until then: this one may tell the next rate.
            self._fund(pit, mark.ts)
            pit.mark, pit.index = Decimal(mark.mark), Decimal(mark.index)
            pit.funding_rate = Decimal(mark.funding_rate)
            told, due = mark.next_funding_ts, pit.next_funding_ts
            if told and not due:
                # What fell due before anybody here saw the market is nobody's here to pay.
                pit.next_funding_ts = _later(told, mark.ts)
            elif max(mark.ts, due - FUNDING_EVERY) < told < due:
                # Many a market pays every hour, or every four; what has been paid is not told by a late mark again.
                pit.next_funding_ts = told
            self.moved[mark.symbol] = None
            self._after(mark.ts)

    def on_stale(self, symbol: str | None, *, stale: bool) -> None:
        """A source went silent or came back; nothing fills and nothing fires meanwhile."""
        for pit in self.pits.values() if symbol is None else (self.pits[symbol],):
            if pit.stale and not stale:
                # Those are of before; until the next ones come, the book says where the price is.
                pit.last = pit.mark = pit.index = None
            pit.stale = stale
            self.moved[pit.market.symbol] = None

    def end(self) -> None:
        """The outside market is over, as a recording is: its positions pay no funding any more."""
        for pit in self.pits.values():
            pit.next_funding_ts = 0
        self.missed.clear()

    def advance(self, ts: int) -> None:
        """Let time pass: orders good till a date expire, funding falls due."""
        with localcontext(MONEY):
            self._expire(ts)
            for pit in self.pits.values():
                self._fund(pit, ts)
            self.clearing.stand()
            self._after(ts)

    def _catch_up(self, pit: Pit, ts: int) -> None:
        """Let what has fallen due until now come first: time is told now and then, and what trades does not wait for it."""
        expired, funded = self._expire(ts), self._fund(pit, ts)
        if expired or funded:
            self._after(ts)

    def _expire(self, ts: int) -> bool:
        """End what was good until now; False when nothing was."""
        due = bool(self.deadlines) and self.deadlines[0][0] <= ts
        while self.deadlines and self.deadlines[0][0] <= ts:
            deadline, account_id, order_id = heappop(self.deadlines)
            work = self.clearing.accounts[account_id].orders.get(order_id)
            if work is not None:
                # Its own time, also where nobody was there then; what has filled since came after it.
                ended = max(deadline, work.updated_ts)
                self._end(work, Status.EXPIRED, "good_till_date", ended)
        return due

    def _fund(self, pit: Pit, ts: int) -> bool:
        """Settle a funding that has fallen due; False when none has."""
        symbol, due = pit.market.symbol, pit.next_funding_ts
        if not 0 < due <= ts:
            return False
        pit.next_funding_ts = _later(due, ts)
        mark, rate = pit.reference, pit.funding_rate
        if mark is None or rate is None or symbol in self.missed or ts - due > LATE:
            self._miss(symbol, due)
        else:
            self.clearing.fund(pit.market, mark, rate, due)
            self.moved[symbol] = None
        return True

    def resume(self, ts: int) -> None:
        """Go on after a time in which nobody followed: until the source tells them, fundings are not settled."""
        for symbol, pit in self.pits.items():
            if pit.market.contract:
                for account in self.clearing.owners:
                    held = account.holdings[symbol]
                    if held.amount and not held.funded_ts:
                        # Its log is of a time that did not write this: what it paid until now is not known.
                        held.funded_ts = ts
                        account.changed_holdings[symbol] = None
                self._miss(symbol, ts)

    def _miss(self, symbol: str, ts: int) -> None:
        held = [account.holdings[symbol] for account in self.clearing.owners]
        # One that was closed meanwhile may owe what fell due before.
        if any(each.amount or each.funded_ts for each in held):
            self.missed[symbol] = ts

    def unsettled(self, symbol: str, ts: int) -> int:
        """Since when a perpetual's fundings may not be settled [ns], `ts` where all are."""
        held = [account.holdings[symbol].funded_ts for account in self.clearing.owners]
        return min((known for known in held if known), default=ts)

    def make_up(self, symbol: str, told: Iterable[Funding], through: int, ts: int) -> None:
        """Settle the fundings that were missed.

        Args:
            symbol: Of the perpetual.
            told: What it paid, oldest first; what is settled already is passed over.
            through: Nothing until then is missing in it [ns].
            ts: [ns]
        """
        with localcontext(MONEY):
            market = self.pits[symbol].market
            for each in told:
                for account in self.clearing.owners:
                    self.clearing.make_up(account, market, each)
            if self.missed.get(symbol, ts) <= through:
                self.missed.pop(symbol, None)
                for account in self.clearing.owners:
                    account.square(symbol)
            self.moved[symbol] = None
            self._after(ts)

    # --- reading ------------------------------------------------------------------------------

    def take(self) -> tuple[Sequence[Told], Sequence[Trade]]:
        """Private events and prints since the last call."""
        prints, self.prints = self.prints, []
        return self.take_told(), prints

    def take_told(self) -> Sequence[Told]:
        """Private events since the last call; prints wait for `take`."""
        told, self.clearing.told = self.clearing.told, []
        return told

    def untake(self, told: Sequence[Told], prints: Sequence[Trade]) -> None:
        """Have given again what the last `take` gave."""
        self.clearing.told[:0] = told
        self.prints[:0] = prints

    def find(
        self, account_id: str, client_id: str | None, order_id: str | None, ts: int
    ) -> OrderSeen | None:
        """Look an order up, working or ended, by client id or else by our id.

        Raises:
            VenueUnknown: It ended so long ago that it is not kept; that is no proof of anything.
        """
        account = self.clearing.accounts[account_id]
        found = account.client_ids.get(client_id) if client_id is not None else None
        found = found or order_id or ""
        work = account.orders.get(found) or account.ended.get(found)
        if work is not None:
            return self.clearing.seen(work, ts, "found")
        if (client_id is not None and account.forgot("client", client_id)) or (
            account.forgot("venue", found)
        ):
            raise VenueUnknown(f"order {found or client_id} ended too long ago to be looked up")
        return None

    def open_orders(self, account_id: str, ts: int) -> list[OrderSeen]:
        """Working orders, oldest first."""
        orders = self.clearing.accounts[account_id].orders.values()
        return [self.clearing.seen(work, ts, "found") for work in orders]

    def fills(self, account_id: str, since: int) -> list[Filled]:
        """Fills from `since` [ns] on."""
        return [fill for fill in self.clearing.fills[account_id] if fill.ts >= since]

    def balances(self, account_id: str, ts: int) -> list[Balance]:
        """Every wallet."""
        with localcontext(MONEY):
            account = self.clearing.accounts[account_id]
            return [self.clearing.balance(account, currency, ts) for currency in account.wallets]

    def positions(self, account_id: str, ts: int, *, flat: bool = False) -> list[Position]:
        """Open derivative positions; with `flat` those, too, of which only a leverage or a margin mode was set."""
        with localcontext(MONEY):
            account = self.clearing.accounts[account_id]
            return [
                self.clearing.position(account, symbol, ts)
                for symbol, held in account.holdings.items()
                if held.amount or (flat and (held.isolated or held.leverage != 1))
            ]

    # --- acceptance ---------------------------------------------------------------------------

    def _pit(self, symbol: str) -> Pit:
        pit = self.pits.get(symbol)
        if pit is None:
            raise refusal("BadSymbol", "symbol", f"no market {symbol}")
        return pit

    def _working(self, account: Account, order_id: str) -> Working:
        work = account.orders.get(order_id)
        if work is None:
            ended = account.ended.get(order_id)
            raise refusal(
                "OrderNotFound",
                "not_found",
                f"order {order_id} is not working",
                status=None if ended is None else ended.status.value,
            )
        return work

    # --- matching -----------------------------------------------------------------------------

    def _go_live(
        self,
        pit: Pit,
        work: Working,
        ts: int,
        limit: Decimal | None,
        plan: Plan | None = None,
    ) -> None:
        """Let an order trade what crosses, then rest or end.

        Args:
            pit: Of its symbol.
            work: The order.
            ts: [ns]
            limit: The worst price it takes.
            plan: What it would trade, where that is known.
        """
        work.live = True
        if work.post_only and look(self.clearing.accounts[work.account], pit, work, limit):
            self._end(work, Status.REJECTED, "post_only", ts, Code.VENUE_REJECTED)
            return
        if work.time_in_force is _FOK and not self._whole(pit, work, limit):
            self._end(work, Status.CANCELED, "fill_or_kill", ts)
            return
        self._take(pit, work, limit, ts, plan)
        if work.status.ended:
            return
        if not work.type.priced:
            done = work.cost_limit is not None and work.filled > 0
            status = _FILLED if done else Status.CANCELED
            self._end(work, status, None if done else "no_liquidity", ts)
        elif work.time_in_force is TimeInForce.IOC:
            self._end(work, Status.CANCELED, "immediate_or_cancel", ts)
        else:
            pit.rest(work)
            work.seen = work.ahead = self._displayed(pit, work)
            work.traded = ZERO
            if pit.waiting:
                self.moved[work.symbol] = None  # the touch may have

    def _whole(self, pit: Pit, work: Working, bound: Decimal | None) -> bool:
        """Whether the book has all of an order; by cost that is as many steps as the cost pays for."""
        account = self.clearing.accounts[work.account]
        plan = look(account, pit, work, bound)
        there = sum((step.amount for step in plan), ZERO)
        if work.cost_limit is None:
            return there >= work.remaining
        if sum((step.price * step.amount for step in plan), ZERO) == work.cost_limit:
            return True
        # Unless one step more is there it is the book that ends, not the money.
        more = replace(work, cost_limit=None, amount=there + pit.market.amount_step)
        return sum((step.amount for step in look(account, pit, more, bound)), ZERO) > there

    def _take(
        self, pit: Pit, work: Working, bound: Decimal | None, ts: int, plan: Plan | None = None
    ) -> None:
        account = self.clearing.accounts[work.account]
        mode = account.self_trade
        looking = True
        while looking:
            looking = False
            steps, plan = plan or look(account, pit, work, bound), None
            for step in steps:
                if step.own:
                    if mode is not SelfTrade.CANCEL_NEWEST:
                        assert step.maker is not None
                        self._end(step.maker, Status.CANCELED, "self_trade", ts)
                    if mode is not SelfTrade.CANCEL_OLDEST:
                        self._end(work, Status.CANCELED, "self_trade", ts)
                        return
                    continue
                self._trade(pit, work, step, ts)
                if work.status.ended:
                    return
                if step.maker is not None and not self.clearing.accounts[step.maker.account].credit:
                    # Its owner's other orders may have changed with it: look again.
                    looking = True
                    break

    def _trade(self, pit: Pit, work: Working, step: Step, ts: int) -> None:
        price, amount, key, maker, _ = step
        trade_id = self._print(pit, work.side, price, amount, ts)
        if maker is None:
            taken = pit.consumed[work.side]
            taken[key] = taken.get(key, ZERO) + amount
            self.clearing.export(pit.market, work.side, price, amount)
        self._fill(pit, work, price, amount, trade_id, maker=False, ts=ts)
        if maker is not None:
            pit.own(maker.side).shrink(maker, amount)
            self._fill(pit, maker, price, amount, trade_id, maker=True, ts=ts)

    def _print(self, pit: Pit, taker: Side, price: Decimal, amount: Decimal, ts: int) -> str:
        self.trades_made += 1
        pit.last = price
        trade_id = f"t-{self.trades_made}"
        market = pit.market
        shown = format(price.quantize(market.price_tick), "f")
        volume = format(amount.quantize(market.amount_step), "f")
        self.prints.append(Trade(trade_id, market.symbol, str(taker), shown, volume, ts, ts))
        self.moved[market.symbol] = None
        return trade_id

    def _fill(
        self,
        pit: Pit,
        work: Working,
        price: Decimal,
        amount: Decimal,
        trade_id: str,
        *,
        maker: bool,
        ts: int,
    ) -> None:
        account, market = self.clearing.accounts[work.account], pit.market
        value = price * amount * market.contract_size
        work.filled += amount
        work.cost += value
        work.updated_ts = ts
        if account.credit:
            account.settle(market, work.side, price, amount, value, FREE, ts)
            if work.filled == work.amount:
                self._end(work, _FILLED, None, ts)
            return
        if work.cost_limit is not None:
            work.amount = work.filled
        if market.contract:
            held = account.holdings[work.symbol]
            if not held.amount and work.symbol not in self.missed:
                held.funded_ts = ts
            elif held.amount and (held.amount > 0) is (work.side is _SELL):
                reduced = self._reduced.setdefault(work.symbol, {})
                reduced.setdefault(account.id, held.realized - held.collateral)
        self.clearing.fill(pit, work, price, amount, value, trade_id, maker=maker, ts=ts)
        if market.contract and work.symbol not in self.missed:
            account.square(work.symbol)
        if work.cost_limit is None and work.filled == work.amount:
            self._end(work, _FILLED, None, ts)
        else:
            account.hold(market, work)
            self.clearing.touch(work)
        if work.oco_group is not None:
            self._share(account, work, amount, ts)
        if market.contract:
            self._cap(account, pit, ts)

    def _end(
        self, work: Working, status: Status, reason: str | None, ts: int, code: Code | None = None
    ) -> None:
        pit, account = self.pits[work.symbol], self.clearing.accounts[work.account]
        if work.resting:
            pit.own(work.side).remove(work)
            if pit.waiting:
                self.moved[work.symbol] = None  # the touch may have
        if pit.waiting.pop(work.id, None) is not None:
            pit.untold.discard(work.id)
        work.status, work.reason, work.code, work.updated_ts = status, reason, code, ts
        if account.credit:
            return
        account.orders.pop(work.id, None)
        account.ended[work.id] = work
        if work.held or work.oco_group is not None or pit.market.contract:
            account.hold(pit.market, work)
        self.clearing.touch(work)
        if len(account.ended) > self.sizes.ended:
            self.clearing.forget(account, self.sizes, ts)

    def _cut(self, account: Account, work: Working, amount: Decimal, reason: str, ts: int) -> None:
        """Make a working order smaller by `amount`, or end it when nothing is left."""
        if amount >= work.remaining:
            self._end(work, Status.CANCELED, reason, ts)
            return
        pit = self.pits[work.symbol]
        if work.resting:
            pit.own(work.side).shrink(work, amount)
        work.amount -= amount
        work.updated_ts = ts
        account.hold(pit.market, work)
        self.clearing.touch(work)

    def _share(self, account: Account, work: Working, amount: Decimal, ts: int) -> None:
        """One leg of a group filled: the others shrink by as much, or end with it."""
        for leg in list(account.orders.values()):
            if leg.oco_group == work.oco_group and leg is not work:
                ended = work.status is Status.FILLED
                self._cut(account, leg, leg.remaining if ended else amount, "oco", ts)

    def _cap(self, account: Account, pit: Pit, ts: int) -> None:
        """Keep reduce-only orders within the position."""
        for work in list(account.orders.values()):
            if work.reduce_only and work.symbol == pit.market.symbol:
                excess = work.remaining - closable(account, work)
                if excess > 0:
                    self._cut(account, work, excess, "reduce_only", ts)

    def _concerned(self, pit: Pit) -> bool:
        """Whether an outside event can matter to anyone here; most of a live tape does not."""
        if pit.bids.keys or pit.asks.keys or pit.waiting:
            return True
        symbol = pit.market.symbol
        return pit.market.contract and any(
            account.holdings[symbol].amount for account in self.clearing.owners
        )

    # --- resting in an outside book -------------------------------------------------------------

    def _displayed(self, pit: Pit, work: Working) -> Decimal:
        ladder = pit.ladder(work.side.opposite)
        level = None if ladder is None else ladder.levels.get(work.key)
        return ZERO if level is None else Decimal(level[1])

    def _requeue(self, pit: Pit) -> None:
        """Cancels before us move us up, in proportion to our place in the queue."""
        for rest in (pit.bids, pit.asks):
            for work in rest:
                shown = self._displayed(pit, work)
                expected = max(work.seen - work.traded, ZERO)
                if shown < expected:
                    # Rounded up to the step: a place in the queue is never better than it could be.
                    work.ahead = up(work.ahead * shown / expected, pit.market.amount_step)
                work.ahead = min(work.ahead, shown)
                work.seen, work.traded = shown, ZERO

    def _printed(self, pit: Pit, rest: Rest, price: Decimal, volume: Decimal, ts: int) -> None:
        left, passed = volume, ZERO
        edge = rest.sign * float(price)
        for work in list(rest):
            if work.key > edge:
                break
            if not work.resting:
                continue  # ended by a fill before it
            if work.key == edge:
                # The outside orders before us fill first; all of ours at this price share that queue.
                wait = max(work.ahead - passed, ZERO)
                eaten = min(wait, left)
                left -= eaten
                passed += eaten
                work.ahead = wait - eaten
                work.traded += volume
            else:
                work.ahead = ZERO
            amount = min(left, work.remaining)
            if amount > 0:
                left -= amount
                self._passive(pit, rest, work, amount, ts)

    def _through(self, pit: Pit, ts: int) -> None:
        """The outside book has come to or through our price: we were hit, at our price."""
        for side in (Side.BUY, Side.SELL):
            rest, ladder = pit.own(side), pit.ladder(side)
            if ladder is None or not rest.keys or not ladder.levels:
                continue
            taken = pit.consumed[side]
            for work in list(rest):
                for key in ladder.walk():
                    if key + work.key > 0 or not work.resting:
                        break
                    there = Decimal(ladder.levels[key][1]) - taken.get(key, ZERO)
                    amount = min(there, work.remaining)
                    if amount > 0:
                        taken[key] = taken.get(key, ZERO) + amount
                        assert work.price is not None
                        self._print(pit, side.opposite, work.price, amount, ts)
                        self._passive(pit, rest, work, amount, ts, printed=True)

    def _passive(
        self,
        pit: Pit,
        rest: Rest,
        work: Working,
        amount: Decimal,
        ts: int,
        *,
        printed: bool = False,
    ) -> None:
        assert work.price is not None
        if not printed:
            self.trades_made += 1
        self.clearing.export(pit.market, work.side, work.price, amount)
        rest.shrink(work, amount)
        trade_id = f"t-{self.trades_made}"
        self._fill(pit, work, work.price, amount, trade_id, maker=True, ts=ts)

    # --- what follows -------------------------------------------------------------------------

    def _after(self, ts: int, *, prompt: bool = False) -> None:
        """Fire triggers and liquidate until nothing moves any more, then tell."""
        while self.moved and not self.opening:
            symbol = next(iter(self.moved))
            del self.moved[symbol]
            pit = self.pits[symbol]
            if pit.waiting and not pit.blind:
                self._fire(pit, ts)
            if pit.market.contract:
                for account in self.clearing.owners:
                    if account.holdings[symbol].amount:
                        self._judge(account, pit, ts)
                for name, least in self._reduced.pop(symbol, {}).items():
                    self._cover(self.clearing.accounts[name], pit.market, least, ts)
        self.clearing.flush(ts, prompt=prompt)

    def _fire(self, pit: Pit, ts: int) -> None:
        for work in list(pit.waiting.values()):
            if work.id not in pit.waiting:
                continue  # ended by one that fired before it
            stop = work.stop_price
            fires = pit.fires(work)
            if not fires:
                # A trailing stop is told when it moved, at most once a second (B6): it may not move again for long.
                if work.stop_price != stop:
                    pit.untold.add(work.id)
                if work.id in pit.untold and ts - work.updated_ts >= SECOND:
                    pit.untold.discard(work.id)
                    self._follow(pit, work, ts)
                continue
            del pit.waiting[work.id]
            pit.untold.discard(work.id)
            work.live, work.updated_ts = True, ts
            self.clearing.touch(work)
            limit = worst_price(pit.market, work, pit.reference)
            try:
                self._reprice(pit, work, limit)
            except VenueRejected as error:
                self._end(work, Status.CANCELED, "insufficient_funds", ts, error.code)
                continue
            self._go_live(pit, work, ts, limit)

    def _follow(self, pit: Pit, work: Working, ts: int) -> None:
        """Tell where a trailing stop has come to, and hold what it needs there: a restart knows what was told."""
        account = self.clearing.accounts[work.account]
        if work.held or work.exposure:
            # Whether it can be paid for is asked again when it fires.
            account.follow(pit.market, work)
        else:  # its price was not known before
            try:
                account.hold(pit.market, work, check=True)
            except VenueRejected as error:
                self._end(work, Status.CANCELED, "insufficient_funds", ts, error.code)
                return
        work.updated_ts = ts
        self.clearing.touch(work)

    def _reprice(self, pit: Pit, work: Working, limit: Decimal | None) -> None:
        """Swap what was held at the trigger price for what the book asks now."""
        if work.type.priced:
            return
        account = self.clearing.accounts[work.account]
        account.hold(pit.market, work)
        afford(account, pit, work, limit)
        account.hold(pit.market, work, check=True)

    def _judge(self, account: Account, pit: Pit, ts: int) -> None:
        """Liquidate what is below maintenance: cancel its orders, close half, close all."""
        markets, marks, cash = self.clearing.markets, self.clearing.mark, pit.market.cash
        held = account.holdings[pit.market.symbol]
        isolated = held.isolated
        symbols = [pit.market.symbol] if isolated else crossed(account, markets, cash)
        if pit.blind or healthy(account, markets, marks, symbols):
            return
        for work in list(account.orders.values()):
            if work.symbol in symbols or (not isolated and self._shares(account, work, cash)):
                self._end(work, Status.CANCELED, "liquidation", ts)
        # What cannot be traded now keeps its last mark.
        open_now = [symbol for symbol in symbols if not self.pits[symbol].blind]
        largest = max(open_now, key=lambda symbol: abs(account.holdings[symbol].cost))
        self._force(account, self.pits[largest], ts, half=True)
        if not healthy(account, markets, marks, symbols):
            for symbol in open_now:
                self._force(account, self.pits[symbol], ts, half=False)

    def _cover(self, account: Account, market: Market, least: Decimal, ts: int) -> None:
        """Settle a loss: an isolated position had its collateral, all else pays with what there is; insure the rest."""
        markets, cash = self.clearing.markets, market.cash
        held = account.holdings[market.symbol]
        if held.isolated and not held.collateral:
            self._insure(account, market, least - held.realized, ts)
        for work in reversed(list(account.orders.values())):
            if backing(account, markets, cash) >= 0:
                return
            spot = not markets[work.symbol].contract
            holds = spot and (work.held or work.oco_group is not None)
            if holds and _paid_in(markets[work.symbol], work) == cash:
                code = Code.INSUFFICIENT_FUNDS
                self._end(work, Status.CANCELED, "insufficient_funds", ts, code)
        if not held.amount and not crossed(account, markets, cash):
            self._insure(account, market, -backing(account, markets, cash), ts)

    def _insure(self, account: Account, market: Market, lost: Decimal, ts: int) -> None:
        if lost > 0:
            self.clearing.transfer(account, market.cash, lost, "insurance", market.symbol, ts)

    def _shares(self, account: Account, work: Working, cash: str) -> bool:
        market = self.clearing.markets[work.symbol]
        return (
            market.contract and market.cash == cash and not account.holdings[work.symbol].isolated
        )

    def _force(self, account: Account, pit: Pit, ts: int, *, half: bool) -> None:
        """Close a position at the book; what the book does not take, the outside takes at the mark."""
        held = account.holdings[pit.market.symbol]
        self._fund(pit, ts)
        amount = abs(held.amount)
        if half:
            amount = up(amount / 2, pit.market.amount_step)
        if not amount:
            return
        self.orders_made += 1
        work = Working(
            id=f"x-{self.orders_made}",
            account=account.id,
            client_id=None,
            symbol=pit.market.symbol,
            side=Side.SELL if held.amount > 0 else Side.BUY,
            type=OrderType.MARKET,
            amount=amount,
            reduce_only=True,
            live=True,
            reason="liquidation",
            created_ts=ts,
            updated_ts=ts,
        )
        account.orders[work.id] = work
        self.clearing.tell(account, self.clearing.seen(work, ts))
        self._take(pit, work, None, ts)
        rest, mark = work.remaining, pit.reference
        if rest > 0 and mark is not None:
            trade_id = self._print(pit, work.side, mark, rest, ts)
            self.clearing.export(pit.market, work.side, mark, rest)
            self._fill(pit, work, mark, rest, trade_id, maker=False, ts=ts)


def _later(due: int, ts: int) -> int:
    """The first funding time behind `ts` [ns] in the rhythm of `due`."""
    return due if due > ts else due + ((ts - due) // FUNDING_EVERY + 1) * FUNDING_EVERY


def _paid_in(market: Market, work: Working) -> str:
    """The currency that a spot order holds."""
    return market.quote if work.side is _BUY else market.base
