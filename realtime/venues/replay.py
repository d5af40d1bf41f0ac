"""A recorded session as a source of prices: Binance combined-stream lines, each `<receive time, ns> <JSON>`.

The paper exchange matches against it as against a live book; our orders do not change what was recorded. A line that
cannot be read is passed over and told in the log: if it was one of the book, what follows it does not fit, and the book
is stale until the recording's next snapshot. A file that breaks off has ended there. At the end the book is stale.
"""

import gzip
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Final, assert_never

import orjson

from realtime.engine.orderbook import OrderBook, numbers_of
from realtime.model.errors import Code, Refused
from realtime.model.events import MarketEvent
from realtime.model.market import SECOND, Bar, BookDelta, BookSnapshot, Market, Stale, Trade
from realtime.venues.base import Floor, Now, Sleep
from realtime.venues.binance import Parser, Quote
from realtime.venues.listing import Fees
from realtime.venues.tape import Tape


QUOTES: Final = ("USDT", "USDC", "FDUSD", "BTC", "ETH")
HEAD: Final = 3000
"""Lines looked at to learn the market."""
TURN: Final = 200
"""Lines played before the event loop gets a turn."""

LEAP: Final = 86_400 * SECOND
"""A stamp so far from the one before it is damaged, or begins another session: nobody waits for it [ns]."""

Lines = Callable[[], Iterable[bytes]]

UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, AssertionError)
"""What a line that is none of a recording raises where it is read."""
BROKEN: Final = (OSError, EOFError, zlib.error)
"""What a damaged file raises."""

logger = logging.getLogger(__name__)


def recording(path: Path) -> Lines:
    """The lines of a file, compressed or not, afresh at each call."""

    def lines() -> Iterator[bytes]:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield from file

    return lines


VENUE: Final = "paper"
"""Named when the book has a gap."""


class ReplaySource:
    """Plays one recording.

    Args:
        lines: Gives the lines, afresh at each call.
        now: The time [ns].
        sleep: Waits between lines.
        speed: 1 is as recorded; None is as fast as possible.
        restamp: Give events the time they are played at; False keeps the recorded times.
        fees: Of its market.
    """

    def __init__(
        self,
        lines: Lines,
        *,
        now: Now,
        sleep: Sleep,
        speed: float | None = 1.0,
        restamp: bool = True,
        fees: Fees | None = None,
    ) -> None:
        self._lines = lines
        self._now = now
        self._sleep = sleep
        self._speed = speed
        self._restamp = restamp
        self._fees = fees or Fees()
        self._market: Market | None = None
        self._floor: Floor | None = None
        self.book = OrderBook()
        self.parser = Parser(venue=VENUE, symbol="")
        self.played = 0
        self.unreadable = 0
        self._quote: Quote | None = None
        # When time passes next at the exchange: orders expire, funding falls due [ns].
        self._beat = 0

    # --- a source -----------------------------------------------------------------------------

    @property
    def market(self) -> Market:
        """The one that was recorded."""
        assert self._market is not None, "load comes first"
        return self._market

    @property
    def markets(self) -> Mapping[str, Market]:
        """The one that was recorded."""
        return {self.market.symbol: self.market}

    async def load(self) -> None:
        """Learn symbol and grid from the beginning of the recording.

        Raises:
            Refused: `not_found`, when the file is none.
        """
        try:
            market = learn(self._lines(), self._fees)
        except ValueError as error:
            raise Refused(
                Code.NOT_FOUND, f"the file is not a recording: {error}", {"what": "recording"}
            ) from error
        self._market = market
        self.book = OrderBook(market.symbol)
        self.parser = Parser(venue=VENUE, symbol=market.symbol)
        self._tape = Tape(market)

    def bind(self, floor: Floor) -> None:
        """Meet the exchange."""
        self._floor = floor
        floor.exchange.attach(self.market.symbol, self.book)

    def start(self) -> None:
        """Nothing is known before the first line."""

    async def run(self) -> None:
        """Play to the end."""
        started, first, last, speed = self._now(), 0, 0, self._speed
        for number, (line, after) in enumerate(pairwise(chain(self._whole(), (b"",))), 1):
            try:
                stamp, _, body = line.partition(b" ")
                recorded, message = int(stamp), orjson.loads(body)
            except ValueError as error:
                self._pass_over(error)
                continue
            if speed is not None:
                if abs(recorded - last) > LEAP:
                    started, first = self._now(), recorded
                last = recorded
                # A stamp that the next one is before is damaged: nobody waits for it either.
                due = started + int((min(recorded, _stamp(after, recorded)) - first) / speed)
                ahead = (due - self._now()) / SECOND
                if ahead > 0.001:
                    await self._sleep(ahead)
            if number % TURN == 0:
                await self._sleep(0)
            self.play(message, recorded)
        if self.unreadable:
            logger.warning("%d lines of the recording could not be read", self.unreadable)
        # Nothing trades with prices that nobody will move again.
        now, symbol = self._now(), self.market.symbol
        self._bound().feed(
            Stale(venue=VENUE, symbol=symbol, stale=True, cause="disconnected", asof=now)
        )

    def _whole(self) -> Iterator[bytes]:
        """Give the lines up to where the file is damaged."""
        try:
            yield from self._lines()
        except BROKEN as error:
            logger.warning("the recording breaks off: %s: %s", type(error).__name__, error)

    def _pass_over(self, error: Exception) -> None:
        self.unreadable += 1
        if self.unreadable == 1:
            why = f"{type(error).__name__}: {error}"
            logger.warning("a line of the recording cannot be read, nor may others: %s", why)

    def play(self, message: Mapping[str, object], recorded: int) -> None:
        """Play one message that was received at `recorded` [ns]."""
        ts = self._now() if self._restamp else recorded
        floor = self._bound()
        if ts >= self._beat:
            self._beat = ts + SECOND
            floor.exchange.advance(ts)
            floor.tell()
        try:
            events = self.parser.parse(message, ts, ts)
        except UNREADABLE as error:
            self._pass_over(error)
            return
        self.played += 1
        for event in events:
            match event:
                case Quote():
                    self._quote = event
                    floor.publish((self._tape.ticker(event.bid, event.ask, ts, ts),))
                    continue
                case Trade():
                    self._tape.add(event)
                case BookDelta():
                    self.book.apply_delta(event)
                case BookSnapshot():
                    self.book.apply_snapshot(event)
                case Stale():
                    pass  # for our orders and all readers
                case _:
                    assert_never(event)
            floor.feed(event)

    def _bound(self) -> Floor:
        assert self._floor is not None, "bind comes first"
        return self._floor

    def public(self, prints: Sequence[Trade], ts: int) -> list[MarketEvent]:
        """Our own trades, and the ticker that they change."""
        for trade in prints:
            self._tape.add(trade)
        return [*prints, self._ticker(ts, ts)] if prints else []

    def _ticker(self, ts: int, recv_ts: int) -> MarketEvent:
        quote = self._quote
        if quote is None:
            return self._tape.ticker(self.book.best_bid, self.book.best_ask, ts, recv_ts)
        return self._tape.ticker(quote.bid, quote.ask, ts, recv_ts)

    def want(self, symbol: str, stream: str, wanted: bool) -> None:  # noqa: FBT001 - the port
        """A recording plays whole."""

    async def ohlcv(
        self, symbol: str, timeframe: str, since: int | None, limit: int
    ) -> Sequence[Bar]:
        """Bars of what was played so far."""
        return self._tape.bars(timeframe, since, limit) if symbol in self.markets else ()

    async def trades(self, symbol: str, limit: int) -> Sequence[Trade]:
        """The newest trades played."""
        return self._tape.recent(limit) if symbol in self.markets else ()


def _stamp(line: bytes, otherwise: int) -> int:
    """When a line was received [ns]."""
    with suppress(ValueError):
        return int(line.partition(b" ")[0])
    return otherwise


# --- learning the market ----------------------------------------------------------------------


def learn(lines: Iterable[bytes], fees: Fees) -> Market:
    """Find symbol, kind and grid of a recording.

    Raises:
        ValueError: Its beginning is not of one symbol with a known quote currency; says in which line.
    """
    names: dict[str, list[int]] = {}
    wrong, contract = "", False
    number = price_places = amount_places = 0
    try:
        for number, line in enumerate(islice(lines, HEAD), 1):
            try:
                message = orjson.loads(line.partition(b" ")[2])
                data = message.get("data", message)
                rows = [*data.get("bids", ()), *data.get("asks", ())]
                if data.get("e") == "depthUpdate":
                    rows += [*data["b"], *data["a"]]
                numbers_of(rows)
                places = [(_places(price), _places(amount)) for price, amount in rows]
                name = data.get("s")
                if name is not None:
                    names.setdefault(name + "", []).append(number)
            except UNREADABLE:
                wrong = wrong or f"line {number} is not a time [ns] and a message of Binance"
                continue
            contract = contract or "pu" in data
            for price, amount in places:
                price_places = max(price_places, price)
                amount_places = max(amount_places, amount)
    except BROKEN as error:  # it is played up to there
        wrong = wrong or f"after line {number}: {error}"
    if not names:
        seen = f"none of its first {number} lines names a symbol" if number else "it is empty"
        raise ValueError(wrong or seen)
    name, *others = sorted(names, key=lambda each: -len(names[each]))
    for other in others:
        if len(names[other]) > 1:  # one is a damaged line
            raise ValueError(
                f"line {names[other][0]} is of {other}, most are of {name}; "
                "a recording is of one market"
            )
    quote = next((quote for quote in QUOTES if name.endswith(quote) and name != quote), None)
    if quote is None:
        raise ValueError(f"line {names[name][0]}: {name} is quoted in none of {', '.join(QUOTES)}")
    base = name.removesuffix(quote)
    return Market(
        symbol=f"{base}/{quote}:{quote}" if contract else f"{base}/{quote}",
        id=name,
        base=base,
        quote=quote,
        settle=quote if contract else None,
        type="swap" if contract else "spot",
        price_tick=Decimal(1).scaleb(-price_places),
        amount_step=Decimal(1).scaleb(-amount_places),
        max_leverage=Decimal(50) if contract else Decimal(1),
        maker=fees.perpetual_maker if contract else fees.spot_maker,
        taker=fees.perpetual_taker if contract else fees.spot_taker,
    )


def _places(text: str) -> int:
    return len(text.partition(".")[2].rstrip("0"))
