"""The real server on a market that moves as often as it is told.

    python -m tests.web.busy DATA UPDATES_PER_S SYMBOLS PORT

Prints its address, then takes one order per line on stdin: `rate N` (0 stands still), `silent`, `alive`, `told`
(answers how many updates the market has made, and how many it was too late for). Everything behind the source is the product: exchange, desk, engine,
hub, transport, page.
"""

import asyncio
import os
import random
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import cycle
from pathlib import Path

from realtime.engine.orderbook import OrderBook
from realtime.makers import Making, paper_account
from realtime.model.events import MarketEvent
from realtime.model.market import SECOND, Bar, BookDelta, BookSnapshot, Level, Market, Trade
from realtime.outside import Outside
from realtime.server.transport import quiet
from realtime.serving import run
from realtime.settings import load
from realtime.venues.base import Floor, Now, Sleep, Venue
from realtime.venues.tape import Tape


STEP_S = 0.01
LEVELS = 30
REACH = 300
"""How many ticks the price may go from where it began, and levels beyond it."""
FAVOURITE = 5
"""One of so many updates is of the first symbol, the one the page shows."""
AMOUNTS = [f"{n / 1000 + 0.001:.5f}" for n in range(1, 997)]
NAMES = ("BTC", "ETH", "SOL", "BNB", "XRP", "ADA", "DOGE", "LTC", "AVAX", "LINK", "DOT")


class Busy:
    """One symbol: a book that walks, a tape, a ticker."""

    def __init__(self, base: str, number: int) -> None:
        tick = Decimal("0.01")
        self.market = Market(
            symbol=f"{base}/USDT",
            id=f"{base}USDT",
            base=base,
            quote="USDT",
            price_tick=tick,
            amount_step=Decimal("0.00001"),
            maker=Decimal("0.001"),
            taker=Decimal("0.001"),
            groups=("0.10", "1.00", "10.00"),
        )
        self.symbol = self.market.symbol
        self.book = OrderBook(self.symbol)
        self.tape = Tape(self.market)
        self.chance = random.Random(number)
        first = Decimal(60_000 if number == 0 else 100 + number)
        self.prices = [format(first + n * tick, "f") for n in range(2 * REACH)]
        self.middle = REACH
        self.turn = 0

    def snapshot(self, ts: int) -> BookSnapshot:
        """All levels; the one in the middle is empty."""
        places = range(1, LEVELS + 1)
        return BookSnapshot(
            symbol=self.symbol,
            bids=tuple(self.level(self.middle - n) for n in places),
            asks=tuple(self.level(self.middle + n) for n in places),
            ts=ts,
            recv_ts=ts,
        )

    def level(self, place: int) -> Level:
        """A level with an amount by chance."""
        return self.prices[place], self.chance.choice(AMOUNTS)

    def next(self, ts: int) -> MarketEvent:
        """A change of the book, a trade, or the ticker, in turn."""
        self.turn += 1
        if self.turn % 5 == 0:
            return self.trade(ts)
        if self.turn % 5 == 3:
            return self.tape.ticker(self.book.best_bid, self.book.best_ask, ts, ts)
        return self.move(ts) if self.turn % 20 == 1 else self.refill(ts)

    def refill(self, ts: int) -> BookDelta:
        """New amounts at two levels."""
        near = int(self.chance.expovariate(0.2)) % LEVELS + 1
        return BookDelta(
            symbol=self.symbol,
            bids=(self.level(self.middle - near),),
            asks=(self.level(self.middle + near),),
            ts=ts,
            recv_ts=ts,
        )

    def move(self, ts: int) -> BookDelta:
        """One tick up or down: a level is eaten, one comes behind it, the far ends follow."""
        low, high = LEVELS + 2, 2 * REACH - LEVELS - 2
        up = self.middle < high and (self.middle <= low or self.chance.random() < 0.5)
        at, gone, far, left = self.middle, "0", LEVELS, LEVELS + 1
        if up:
            self.middle += 1
            bids = (self.level(at), (self.prices[at - far], gone))
            asks = ((self.prices[at + 1], gone), self.level(at + left))
        else:
            self.middle -= 1
            bids = ((self.prices[at - 1], gone), self.level(at - left))
            asks = (self.level(at), (self.prices[at + far], gone))
        return BookDelta(symbol=self.symbol, bids=bids, asks=asks, ts=ts, recv_ts=ts)

    def trade(self, ts: int) -> Trade:
        """At one side of the spread."""
        buy = self.chance.random() < 0.5
        trade = Trade(
            id=f"{self.market.base}-{self.turn}",
            symbol=self.symbol,
            side="buy" if buy else "sell",
            price=self.prices[self.middle + (1 if buy else -1)],
            amount=self.chance.choice(AMOUNTS),
            ts=ts,
            recv_ts=ts,
        )
        self.tape.add(trade)
        return trade


class BusyMarket:
    """Many symbols, so many updates a second over all of them.

    Args:
        now: The time [ns].
        sleep: Waits between steps.
        per_s: Updates a second at the start.
        symbols: How many.
    """

    def __init__(self, *, now: Now, sleep: Sleep, per_s: float, symbols: int) -> None:
        self._now = now
        self._sleep = sleep
        names = [*NAMES, *(f"S{n:02d}" for n in range(symbols))][:symbols]
        self._all = {f"{name}/USDT": Busy(name, n) for n, name in enumerate(names)}
        self._favourite, *others = self._all.values()
        self._others = cycle(others or [self._favourite])
        self._floor: Floor | None = None
        self.per_s = per_s
        self.silent = False
        self.made = 0
        self.late = 0

    @property
    def markets(self) -> Mapping[str, Market]:
        """By symbol."""
        return {name: busy.market for name, busy in self._all.items()}

    async def load(self) -> None:
        """Nothing to learn."""

    def bind(self, floor: Floor) -> None:
        """Meet the exchange."""
        self._floor = floor
        for name, busy in self._all.items():
            floor.exchange.attach(name, busy.book)

    def start(self) -> None:
        """Publish all books, a trade each, and tickers."""
        ts = self._now()
        for busy in self._all.values():
            self.take(busy, busy.snapshot(ts))
            self.take(busy, busy.trade(ts))
            self.take(busy, busy.tape.ticker(busy.book.best_bid, busy.book.best_ask, ts, ts))

    async def run(self) -> None:
        """Make what is due, a hundred times a second; what cannot be made in time is left out and counted."""
        owed, before, beat = 0.0, self._now(), 0
        while True:
            await self._sleep(STEP_S)
            ts = self._now()
            owed += self.per_s * (ts - before) / SECOND
            before = ts
            if owed > self.per_s:
                self.late += int(owed - self.per_s)
                owed = self.per_s
            if self.silent:
                continue
            for number in range(int(owed)):
                busy = next(self._others) if number % FAVOURITE else self._favourite
                self.take(busy, busy.next(ts))
                self.made += 1
            owed -= int(owed)
            if ts - beat > SECOND / 2:
                beat = ts
                self.bound().publish(())

    def take(self, busy: Busy, event: MarketEvent) -> None:
        """Apply and publish."""
        match event:
            case BookDelta():
                busy.book.apply_delta(event)
                self.bound().feed(event)
            case BookSnapshot():
                busy.book.apply_snapshot(event)
                self.bound().feed(event)
            case Trade():
                self.bound().feed(event)
            case _:
                self.bound().publish((event,))

    def bound(self) -> Floor:
        """The exchange."""
        assert self._floor is not None, "bind comes first"
        return self._floor

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """Our own trades, and the tickers that they change."""
        events: list[MarketEvent] = list(prints)
        for trade in prints:
            busy = self._all[trade.symbol]
            busy.tape.add(trade)
            events.append(busy.tape.ticker(busy.book.best_bid, busy.book.best_ask, ts, ts))
        return events

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """Everything is always made: that is the load."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars of what was traded."""
        return self._all[symbol].tape.bars(timeframe, since, limit)

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """What was traded."""
        return self._all[symbol].tape.recent(limit)


def main(data: str, per_s: float, symbols: int, port: int) -> int:
    """Serve until stdin ends."""
    quiet()
    markets: list[BusyMarket] = []

    def make(making: Making) -> Venue:
        market = BusyMarket(now=making.now, sleep=making.sleep, per_s=per_s, symbols=symbols)
        markets.append(market)
        return paper_account(making, market, 0.002)

    def order(line: str) -> None:
        market = markets[0]
        match line.split():
            case ["rate", rate]:
                market.per_s = float(rate)
            case ["silent"]:
                market.silent = True
            case ["alive"]:
                market.silent = False
            case ["told"]:
                print(f"{market.made} {market.late}", flush=True)
            case _:
                os._exit(0)

    def readable() -> None:
        said = os.read(0, 4096).decode()
        for line in said.splitlines() or [""]:
            order(line)

    def banner(facts: dict[str, str]) -> None:
        asyncio.get_running_loop().add_reader(0, readable)
        print(facts["page"], flush=True)

    settings = load(Path(data).with_suffix(".toml"), server={"port": port}, store={"path": data})
    code, reason = run(settings, Outside(venue=make, source=f"{per_s:g} updates/s"), banner)
    if code:
        print(reason, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
