"""One symbol of the paper exchange: its resting orders, its prices, and the book of the outside world."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from math import inf
from typing import Final, NamedTuple

from realtime.engine.market import up
from realtime.engine.matching.orders import Rest, Working
from realtime.engine.matching.rules import steps
from realtime.engine.orderbook import Ladder, OrderBook
from realtime.model.market import ZERO, BookDelta, BookSnapshot, Level, Market, Numbers
from realtime.model.orders import OrderType, Side, TriggerBy


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_BUY = Side.BUY

NOWHERE: Final[Iterator[float]] = iter(())
"""Where a plan walks that looks at no outside book."""

OUTSIDE: Final = (None,)
"""Stands in a plan for everybody at a level of the outside book."""


class Step(NamedTuple):
    """One bite of a walk through what is offered.

    Attributes:
        amount: Zero where the maker is the taker's own account: self-trade prevention decides.
        maker: None means the outside book.
    """

    price: Decimal
    amount: Decimal
    key: float
    maker: Working | None
    own: bool = False


@dataclass(slots=True)
class Pit:
    """Where one symbol is traded; mutable, only the exchange changes it.

    Attributes:
        outside: A live or replayed book that our orders trade against but do not change; None inside the
            embedded market.
        consumed: By taker side and level key: what our orders took from the outside book since the level
            was last refreshed.
        waiting: Orders that wait for their trigger.
        untold: Trailing stops that have moved since their owner was told.
        stale: The source is silent: nothing fills and nothing fires.
    """

    market: Market
    bids: Rest = field(default_factory=lambda: Rest(Side.BUY))
    asks: Rest = field(default_factory=lambda: Rest(Side.SELL))
    outside: OrderBook | None = None
    consumed: dict[Side, dict[float, Decimal]] = field(
        default_factory=lambda: {Side.BUY: {}, Side.SELL: {}}
    )
    waiting: dict[str, Working] = field(default_factory=dict)
    untold: set[str] = field(default_factory=set)
    last: Decimal | None = None
    mark: Decimal | None = None
    index: Decimal | None = None
    funding_rate: Decimal | None = None
    next_funding_ts: int = 0
    stale: bool = False

    def own(self, side: Side) -> Rest:
        """Where orders of `side` rest."""
        return self.bids if side is _BUY else self.asks

    def rest(self, order: Working) -> None:
        """Queue an owner's limit order."""
        assert order.price is not None
        if self.outside is None:
            # The public book shows it among all others: with the market's decimals.
            order.price += self.market.price_tick * ZERO
            order.amount += self.market.amount_step * ZERO
        self.own(order.side).add(order, order.price)

    def against(self, side: Side) -> Rest:
        """What orders of `side` trade with."""
        return self.asks if side is _BUY else self.bids

    def ladder(self, side: Side) -> Ladder | None:
        """The outside levels that orders of `side` trade with."""
        if self.outside is None:
            return None
        return self.outside.asks if side is Side.BUY else self.outside.bids

    @property
    def blind(self) -> bool:
        """Whether what we see of the market cannot be trusted."""
        return self.stale or (self.outside is not None and self.outside.crossed)

    # --- prices -------------------------------------------------------------------------------

    def best(self, side: Side) -> Decimal | None:
        """Best price of the resting `side`; the outside book speaks where there is one."""
        if self.outside is not None:
            level = self.outside.best_bid if side is Side.BUY else self.outside.best_ask
            return None if level is None else Decimal(level[0])
        rest = self.bids if side is Side.BUY else self.asks
        return rest.queues[rest.keys[0]].price if rest.keys else None

    @property
    def reference(self) -> Decimal | None:
        """Mark price, else the middle of the book, else the last trade."""
        if self.mark is not None:
            return self.mark
        if self.outside is None:
            bids, asks = self.bids, self.asks
            if not (bids.keys and asks.keys):
                return self.last
            return (bids.queues[bids.keys[0]].price + asks.queues[asks.keys[0]].price) / 2
        bid, ask = self.best(Side.BUY), self.best(Side.SELL)
        return self.last if bid is None or ask is None else (bid + ask) / 2

    def trigger_price(self, order: Working) -> Decimal | None:
        """The price that this order watches."""
        if order.trigger_by is TriggerBy.BID_ASK:
            return self.best(order.side.opposite)
        return self.last if order.trigger_by is TriggerBy.LAST else self.reference

    def follow(self, order: Working) -> None:
        """Move a trailing stop along, where its price is known."""
        price = self.trigger_price(order)
        if price is not None:
            trail(order, price, self.market.price_tick)

    def fires(self, order: Working) -> bool:
        """Move a trailing stop along, then say whether the trigger holds."""
        price = self.trigger_price(order)
        if price is None:
            return False
        buy = order.side is Side.BUY
        if order.type is OrderType.TRAILING_STOP:
            trail(order, price, self.market.price_tick)
        stop = order.stop_price
        assert stop is not None
        if order.type in {OrderType.TAKE_PROFIT, OrderType.TAKE_PROFIT_LIMIT}:
            return price <= stop if buy else price >= stop
        return price >= stop if buy else price <= stop

    # --- walking ------------------------------------------------------------------------------

    def plan(
        self,
        order: Working,
        bound: Decimal | None,
        *,
        past_own: bool,
        credit: bool,
    ) -> list[Step]:
        """What `order` would trade now, best price first, then first come; changes nothing.

        Args:
            order: Its remaining amount, or what is left of its `cost_limit`.
            bound: Worst price; None for any.
            past_own: Whether the walk goes on behind an own order (it is going to be cancelled).
            credit: A liquidity account, whose orders do not look at the outside book.
        """
        if self.blind:
            return []
        rest = self.asks if order.side is _BUY else self.bids
        ladder = None if credit or self.outside is None else self.ladder(order.side)
        outer = NOWHERE if ladder is None else ladder.walk()
        consumed = self.consumed[order.side]
        limit = inf if bound is None else rest.sign * float(bound)
        left = money = None
        if order.cost_limit is None:
            left = order.amount - order.filled
        else:
            money = order.cost_limit - order.cost
        found: list[Step] = []
        groups: set[tuple[str, str]] = set()
        inner_at = 0
        keys = rest.keys
        outer_key = inf if ladder is None else next(outer, inf)
        while True:
            inner = keys[inner_at] if inner_at < len(keys) else inf
            key = min(inner, outer_key)
            if key > limit or key == inf:
                return found
            # At one price the outside was there before us.
            makers: Iterable[Working | None]
            there = ZERO
            if outer_key <= inner:
                assert ladder is not None
                level = ladder.levels[outer_key]
                price = Decimal(level[0])
                there = Decimal(level[1]) - consumed.get(outer_key, ZERO)
                makers = OUTSIDE
                outer_key = next(outer, inf)
            else:
                queue = rest.queues[inner]
                price = queue.price
                makers = queue.orders.values()
                inner_at += 1
            for maker in makers:
                if maker is not None:
                    if maker.account == order.account:
                        found.append(Step(price, ZERO, key, maker, own=True))
                        if not past_own:
                            return found
                        continue
                    if maker.oco_group is not None:
                        group = (maker.account, maker.oco_group)
                        if group in groups:
                            continue  # it ends as the other one trades
                        groups.add(group)
                    there = maker.amount - maker.filled
                take = there if left is None or there <= left else left
                if money is not None:
                    take = min(take, steps(money / price, self.market.amount_step))
                    money -= max(take, ZERO) * price
                if take > 0:
                    found.append(Step(price, take, key, maker))
                    if left is not None:
                        left -= take
                        if not left:
                            return found
                elif there > 0:
                    return found

    # --- the public book of the embedded market -----------------------------------------------

    def snapshot(self, ts: int) -> BookSnapshot:
        """Resting orders summed by price."""
        self.bids.changed.clear()
        self.asks.changed.clear()
        return BookSnapshot(
            symbol=self.market.symbol,
            bids=tuple(self.bids.queues[key].level for key in self.bids.keys),
            asks=tuple(self.asks.queues[key].level for key in self.asks.keys),
            ts=ts,
            recv_ts=ts,
        )

    def changes(self, ts: int) -> BookDelta | None:
        """Levels changed since the last `snapshot` or `changes`; None when there are none."""
        if not (self.bids.changed or self.asks.changed):
            return None
        bids, bid_numbers = _changed(self.bids)
        asks, ask_numbers = _changed(self.asks)
        numbers = bid_numbers, ask_numbers
        return BookDelta(self.market.symbol, bids, asks, ts, ts, numbers)


def _changed(rest: Rest) -> tuple[tuple[Level, ...], Numbers]:
    """Levels as they are now, and as floats: who takes the delta needs not read them."""
    changed = rest.changed
    if not changed:
        return (), ()
    rows: list[Level] = []
    numbers: list[float] = []
    for key, text in changed.items():
        queue = rest.queues.get(key)
        if queue is None:
            rows.append((text, "0"))
            numbers += (rest.sign * key, 0.0)
        else:
            amount = queue.amount
            rows.append((text, format(amount, "f")))
            numbers += (rest.sign * key, float(amount))
    changed.clear()
    return tuple(rows), numbers


def trail(order: Working, price: Decimal, tick: Decimal) -> None:
    """Move a trailing stop's watermark and stop, in favour only."""
    buy = order.side is Side.BUY
    mark = order.watermark
    if mark is None or (price < mark if buy else price > mark):
        order.watermark = price
        distance = order.trailing_amount
        if distance is None:
            assert order.trailing_rate is not None
            distance = price * order.trailing_rate
        # Rounded so that it fires no later than asked.
        if buy:
            order.stop_price = steps(price + distance, tick)
        else:
            order.stop_price = up(price - distance, tick)
