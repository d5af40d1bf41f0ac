"""The order flow of one symbol of the embedded market: simulated accounts around the efficient price.

Makers quote around the price and take back what has fallen behind; takers buy and sell at random, in sizes
with a heavy tail; and whoever sees a quote on the wrong side of the price takes it. All of it goes through
the exchange, so the book shows what rests and the tape what traded, and nothing else.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Final

from realtime.engine.matching import Exchange, Working
from realtime.engine.matching.orders import Rest
from realtime.model.market import SECOND, Market
from realtime.model.orders import Side
from realtime.venues.chance import Chance


# Read off its enum's class a member costs ten times as much, and an order reads twenty of them.
_BUY, _SELL = Side.BUY, Side.SELL

MAKERS: Final = ("maker-1", "maker-2", "maker-3", "maker-4")
TAKERS: Final = ("taker-1", "taker-2")
LEVELS: Final = 60
"""Quotes a side that the makers keep up."""
LEAST: Final = 8
"""Price levels a side that the makers restore at once, where the grid has room for them."""
SWEPT: Final = 20
"""Quotes they try for that."""
HALF_SPREAD: Final = 0.00008
"""Least distance of a quote from the price, as a fraction."""
REACH: Final = 0.0006
"""Typical distance of a quote beyond that."""
TAKER_SHARE: Final = 0.15
MAKER_SHARE: Final = 0.45
WILD_FACTOR: Final = 2.0
"""How much busier a nervous market is."""


class Flow:
    """Makes the orders of one symbol."""

    __slots__ = (
        "_chance", "_exchange", "_last", "_market", "_median", "_price", "_quotes", "_rate", "_step",
        "_tick", "_wild",
    )  # fmt: skip

    def __init__(
        self,
        exchange: Exchange,
        market: Market,
        chance: Chance,
        *,
        price: Callable[[int], float],
        wild: Callable[[int], bool],
        rate: float,
        notional: float,
    ) -> None:
        """Make the flow.

        Args:
            exchange: Where the orders go.
            market: What is traded.
            chance: Private to this symbol.
            price: The efficient price at a time [ns].
            wild: Whether the market is nervous then.
            rate: Events a second in calm times.
            notional: Median value of an order [quote].
        """
        self._exchange = exchange
        self._market = market
        self._chance = chance
        self._price = price
        self._wild = wild
        self._rate = rate
        self._tick = float(market.price_tick)
        self._step = float(market.amount_step)
        self._median = notional / price(0)
        self._quotes: list[Working] = []
        self._last = 0

    def start(self, ts: int) -> None:
        """Fill an empty book."""
        self._last = ts
        price = self._price(ts)
        for _ in range(LEVELS):
            self._quote(Side.BUY, price, ts)
            self._quote(Side.SELL, price, ts)

    def step(self, ts: int) -> None:
        """Let the accounts act until `ts` [ns]."""
        seconds = min((ts - self._last) / SECOND, 1.0)
        self._last = ts
        price = self._price(ts)
        self._correct(price, ts)
        rate = self._rate * (WILD_FACTOR if self._wild(ts) else 1.0)
        for _ in range(self._chance.poisson(rate * seconds)):
            self._act(price, ts)
        self._refill(price, ts)

    def _refill(self, price: float, ts: int) -> None:
        """Makers come back to a side that was swept: a market without one of its sides is none."""
        pit = self._exchange.pits[self._market.symbol]
        for side, rest in ((_BUY, pit.bids), (_SELL, pit.asks)):
            tries = SWEPT
            while len(rest.keys) < LEAST and tries:
                tries -= 1
                self._quote(side, price, ts)

    def _act(self, price: float, ts: int) -> None:
        chance = self._chance
        side = _BUY if chance.bits() & 1 else _SELL
        kind = chance.random()
        if kind < TAKER_SHARE:
            self._take(side, None, self._amount(), ts)
        elif kind < TAKER_SHARE + MAKER_SHARE or len(self._quotes) < LEVELS:
            self._quote(side, price, ts)
        else:
            self._withdraw(chance.below(len(self._quotes)))
        if len(self._quotes) > 4 * LEVELS:
            self._withdraw(chance.below(len(self._quotes)))

    def _correct(self, price: float, ts: int) -> None:
        """Quotes on the wrong side of the price are withdrawn by some makers and taken from the others."""
        pit = self._exchange.pits[self._market.symbol]
        for side, rest, wrong in (
            (_SELL, pit.bids, -price * (1 + HALF_SPREAD / 2)),
            (_BUY, pit.asks, price * (1 - HALF_SPREAD / 2)),
        ):
            budget = 8
            while rest.keys and rest.keys[0] < wrong and budget:
                budget -= 1
                self._pick(side, rest, ts)

    def _pick(self, side: Side, rest: Rest, ts: int) -> None:
        queue = rest.queues[rest.keys[0]]
        first = next(iter(queue.orders.values()))
        if first.account in MAKERS and self._chance.random() < 0.7:
            self._exchange.pull(first)
        else:
            # Takers of a stale quote are quick and small: it is gone after a few trades.
            self._take(side, queue.price, max(self._amount(), queue.amount), ts)

    def _take(self, side: Side, price: Decimal | None, amount: Decimal, ts: int) -> None:
        account = TAKERS[self._chance.below(len(TAKERS))]
        amount = min(amount, self._market.max_market_amount or amount)
        left = self._exchange.quote(account, self._market.symbol, side, price, amount, ts)
        if left is not None:
            self._exchange.pull(left)

    def _quote(self, side: Side, price: float, ts: int) -> None:
        chance = self._chance
        away = HALF_SPREAD * (1 + chance.random()) + REACH * chance.lognormal(0.35, 1.4)
        sign = -1 if side is _BUY else 1
        ticks = max(round(price * (1 + sign * away) / self._tick), 1)
        work = self._exchange.quote(
            MAKERS[chance.below(len(MAKERS))],
            self._market.symbol,
            side,
            ticks * self._market.price_tick,
            self._amount(),
            ts,
        )
        if work is not None:
            self._quotes.append(work)

    def _withdraw(self, index: int) -> None:
        work = self._quotes[index]
        self._quotes[index] = self._quotes[-1]
        self._quotes.pop()
        self._exchange.pull(work)

    def _amount(self) -> Decimal:
        steps = round(self._chance.lognormal(self._median, 1.1) / self._step)
        return min(max(steps, 1), 10_000_000) * self._market.amount_step
