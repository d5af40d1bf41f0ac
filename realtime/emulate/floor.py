"""The trading floor under an emulated exchange: one matching, several customers, and whoever listens.

Rules of this file:
1 A face (the protocol of a real exchange) asks here and listens here; it keeps no money and no orders of its own.
2 Listeners hear an account's events in their order (order, fills, order, balances, positions), then the public ones.
3 A listener may place orders; what they cause is told after what is being told now.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from realtime.emulate.faults import Faults, Kind
from realtime.engine.matching import Exchange, Tier, Working
from realtime.engine.matching.pit import Pit
from realtime.model.account import Position
from realtime.model.events import Filled, MarketEvent, OrderSeen, VenueEvent
from realtime.model.market import (
    Bar,
    Level,
    Market,
    Trade,
)
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce, TriggerBy
from realtime.venues.base import MarketSource, Now


ANONYMOUS: Final = "~"
"""Begins the client id of an order whose client gave none."""

OnAccount = Callable[[str, Sequence[VenueEvent]], None]
OnPublic = Callable[[Sequence[MarketEvent]], None]


@dataclass(slots=True, kw_only=True)
class Customer:
    """One account and the key that opens it.

    Attributes:
        account: Its name on the floor.
        balances: Deposited when the floor opens, by currency.
        withdraws: Whether the key is said to be one that may withdraw.
    """

    account: str = "main"
    key: str = "emulated-key"
    secret: str = "emulated-secret"  # noqa: S105 - opens nothing but this emulation
    balances: Mapping[str, Decimal] = field(default_factory=dict)
    withdraws: bool = False


class Floor:
    """One exchange with its customers and its source of prices.

    Args:
        venue: Name in rows.
        source: Moves the market; `EmbeddedMarket`, `QuietMarket`, or anything of that port.
        customers: Who trades here.
        now: The time [ns]; the process's own by default.
        faults: What goes wrong; only `Kind.LATE` on the target `order` is looked at here.
        tiers: Fee tiers by traded volume.

    Attributes:
        on_account: Told (account, events), X7 order.
        on_public: Told trades, book changes, tickers and marks as they happen.
    """

    def __init__(
        self,
        *,
        venue: str,
        source: MarketSource,
        customers: Sequence[Customer],
        now: Now = time.time_ns,
        faults: Faults | None = None,
        tiers: tuple[Tier, ...] = (),
    ) -> None:
        self.venue = venue
        self.source = source
        self.customers = {customer.key: customer for customer in customers}
        self.now = now
        self.faults = faults or Faults()
        self.on_account: list[OnAccount] = []
        self.on_public: list[OnPublic] = []
        self._tiers = tiers
        self._exchange: Exchange | None = None
        self._telling = False
        self._anonymous = 0
        # Events of orders that are accepted and not yet shown to anyone.
        self._hidden: dict[str, list[tuple[str, VenueEvent]]] = {}

    @property
    def exchange(self) -> Exchange:
        """The matching, once `open` was called."""
        assert self._exchange is not None, "open comes first"
        return self._exchange

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol, once `open` was called."""
        return self.source.markets

    # --- life ---------------------------------------------------------------------------------

    async def open(self) -> None:
        """Load the markets, open the accounts, fill the books."""
        await self.source.load()
        ts = self.now()
        exchange = self._exchange = Exchange(
            venue=self.venue, markets=self.source.markets, tiers=self._tiers
        )
        # Ids are public: a restart goes on above every id of before, by way of the clock.
        exchange.trades_made = exchange.orders_made = ts // 1_000_000
        for customer in self.customers.values():
            exchange.open_account(customer.account, customer.balances, ts=ts)
        self.source.bind(self)
        self.tell()
        self.source.start()
        self.tell()

    async def run(self) -> None:
        """Let the market live until cancelled."""
        await self.source.run()

    # --- orders -------------------------------------------------------------------------------

    def place(
        self,
        account: str,
        *,
        symbol: str,
        side: Side,
        type: OrderType,  # noqa: A002 - the model's word
        amount: Decimal,
        client_id: str | None = None,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
        trailing_amount: Decimal | None = None,
        trailing_rate: Decimal | None = None,
        cost: Decimal | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
        good_till_ts: int | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        trigger_by: TriggerBy = TriggerBy.LAST,
        leverage: Decimal | None = None,
        oco_group: str | None = None,
    ) -> Working:
        """Place an order and tell what it caused; arguments as in `model.orders.Order`.

        `client_id` is what its client calls it, unique for ever (None = nothing); `cost` [quote] is what a spot
        market buy may spend, instead of `amount`.

        Raises:
            VenueRejected: With ccxt's class in `details`; nothing has changed then.
        """
        ts = self.now()
        if client_id is None:
            self._anonymous += 1
            client_id = f"{ANONYMOUS}{self._anonymous}"
        order = Order(
            id=client_id,
            client_order_id=client_id,
            venue_client_id=client_id,
            venue=self.venue,
            symbol=symbol,
            type=type,
            side=side,
            amount=amount,
            cost_limit=cost,
            price=price,
            stop_price=stop_price,
            trailing_amount=trailing_amount,
            trailing_rate=trailing_rate,
            trigger_by=trigger_by,
            time_in_force=time_in_force,
            good_till_ts=good_till_ts,
            post_only=post_only,
            reduce_only=reduce_only,
            leverage=leverage,
            oco_group=oco_group,
            created_ts=ts,
            updated_ts=ts,
        )
        work = self.exchange.place(account, order, ts)
        fault = self.faults.take("order", Kind.LATE)
        if fault is not None:
            self._hidden[work.id] = []
            asyncio.get_running_loop().call_later(fault.seconds, self._show, work.id)
        self.tell()
        return work

    def stillborn(
        self,
        account: str,
        *,
        symbol: str,
        side: Side,
        amount: Decimal,
        price: Decimal,
        client_id: str,
        status: Status,
        reason: str,
    ) -> Working:
        """Keep an order that its exchange takes in and ends at once, where the matching refuses it.

        It is told and found like any other that is over; nothing was held for it.
        """
        exchange, ts = self.exchange, self.now()
        exchange.orders_made += 1
        work = Working(
            id=f"x-{exchange.orders_made}",
            account=account,
            client_id=client_id,
            symbol=symbol,
            side=side,
            type=OrderType.LIMIT,
            amount=amount,
            price=price,
            post_only=reason == "post_only",
            status=status,
            reason=reason,
            created_ts=ts,
            updated_ts=ts,
        )
        held = exchange.clearing.accounts[account]
        held.ended[work.id] = work
        held.client_ids[client_id] = work.id
        exchange.clearing.tell(held, exchange.clearing.seen(work, ts))
        self.tell()
        return work

    def cancel(self, account: str, order_id: str) -> Working:
        """Cancel an order.

        Raises:
            VenueRejected: `not_found`: it has ended, or never was.
        """
        work = self.exchange.cancel(account, order_id, self.now())
        self.tell()
        return work

    def amend(
        self,
        account: str,
        order_id: str,
        *,
        amount: Decimal | None = None,
        price: Decimal | None = None,
        stop_price: Decimal | None = None,
    ) -> Working:
        """Change an order to absolute targets; None leaves a field.

        Raises:
            VenueRejected: `not_found`, or a rule of `place`.
        """
        work = self.exchange.amend(
            account, order_id, amount=amount, price=price, stop_price=stop_price, ts=self.now()
        )
        self.tell()
        return work

    def set_leverage(self, account: str, symbol: str, leverage: Decimal) -> None:
        """Change the leverage of a derivative.

        Raises:
            VenueRejected: Out of range, or the margin is not there.
        """
        self.exchange.set_leverage(account, symbol, leverage, self.now())
        self.tell()

    # --- reading ------------------------------------------------------------------------------

    def work(self, account: str, order_id: str) -> Working | None:
        """An order, working or ended; None where there is none, or none that is shown yet."""
        if order_id in self._hidden:
            return None
        held = self.exchange.clearing.accounts[account]
        return held.orders.get(order_id) or held.ended.get(order_id)

    def named(self, account: str, client_id: str) -> Working | None:
        """An order by its client's id."""
        order_id = self.exchange.clearing.accounts[account].client_ids.get(client_id)
        return None if order_id is None else self.work(account, order_id)

    def orders(self, account: str) -> list[Working]:
        """Working orders that are shown, oldest first."""
        held = self.exchange.clearing.accounts[account]
        return [work for work in held.orders.values() if work.id not in self._hidden]

    def ended(self, account: str) -> list[Working]:
        """Orders that are over, in the order of their ends."""
        held = self.exchange.clearing.accounts[account]
        return [work for work in held.ended.values() if work.id not in self._hidden]

    def fills(self, account: str, since: int = 0) -> list[Filled]:
        """Fills from `since` [ns] on that are shown, oldest first."""
        fills = self.exchange.fills(account, since)
        return [fill for fill in fills if fill.exchange_order_id not in self._hidden]

    def positions(self, account: str) -> list[Position]:
        """Open derivative positions."""
        return self.exchange.positions(account, self.now())

    def pit(self, symbol: str) -> Pit:
        """A market's inside."""
        return self.exchange.pits[symbol]

    def levels(self, symbol: str, side: Side, limit: int) -> list[Level]:
        """The best levels of one side of the book, best first."""
        pit = self.pit(symbol)
        if pit.outside is not None:
            ladder = pit.outside.bids if side is Side.BUY else pit.outside.asks
            return [ladder.levels[key] for key in ladder.keys[:limit]]
        rest = pit.own(side)
        rows = []
        for key in rest.keys[:limit]:
            queue = rest.queues[key]
            rows.append((format(queue.price, "f"), format(queue.amount, "f")))
        return rows

    async def bars(self, symbol: str, timeframe: str, since: int | None, limit: int) -> list[Bar]:
        """At most `limit` bars, oldest first."""
        return list(await self.source.ohlcv(symbol, timeframe, since, limit))

    async def trades(self, symbol: str, limit: int) -> list[Trade]:
        """The newest public trades, oldest first."""
        return list(await self.source.trades(symbol, limit))

    # --- the floor, as the source sees it -------------------------------------------------------

    def publish(self, events: Sequence[MarketEvent]) -> None:
        """Tell the public."""
        if events:
            for listener in self.on_public:
                listener(events)

    def feed(self, event: MarketEvent) -> None:
        """Publish an event of an outside market and let the orders here follow it."""
        self.publish((event,))
        exchange = self.exchange
        exchange.follow(event)
        if exchange.clearing.told or exchange.prints:
            self.tell()

    def tell(self) -> None:
        """Tell accounts and public what the exchange has done since the last time."""
        if self._telling:
            return
        exchange = self.exchange
        self._telling = True
        try:
            more = True
            while more:
                told, prints = exchange.take()
                batches: dict[str, list[VenueEvent]] = {}
                for item in told:
                    held = self._hidden.get(_order_of(item.event))
                    if held is not None:
                        held.append((item.account, item.event))
                    else:
                        batches.setdefault(item.account, []).append(item.event)
                for account, events in batches.items():
                    for listener in self.on_account:
                        listener(account, events)
                self.publish(self.source.public(prints, self.now()))
                more = bool(exchange.clearing.told or exchange.prints)
        finally:
            self._telling = False

    def _show(self, order_id: str) -> None:
        """Show an order that was accepted a while ago."""
        for account, event in self._hidden.pop(order_id):
            for listener in self.on_account:
                listener(account, (event,))


def _order_of(event: VenueEvent) -> str:
    return event.exchange_order_id if isinstance(event, OrderSeen | Filled) else ""


def client_id_of(work: Working) -> str | None:
    """What the client calls an order; None where it gave no name."""
    name = work.client_id
    return None if name is None or name.startswith(ANONYMOUS) else name


def number_of(identity: str) -> int:
    """The number in one of the exchange's ids (`x-17`, `t-9`): unique and rising per kind."""
    return int(identity[2:])
