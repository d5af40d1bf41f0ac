"""The backtest: the strategies of bots over closed bars, on a lean ledger, without an event loop.

Rules of this file:
1 A decision on the close of a bar fills at the open of the next one (`next_open`), or at that close (`close`, a look
  ahead, for comparison). The strategy is told every closed bar once, in order, and nothing else.
2 Per bar only what that bar needs is done: a fill when one waits, stops when something is held, one mark, one call of
  the strategy. The bars do NOT pass `engine.process` and `engine.matching`: T1 of the trading document wants that, 8.4
  wants a million bars a second, and the engine takes some 50 us per event. The rules that both have (stop first, gaps,
  fees, slippage, grid, protections) are written here a second time, as floats; money of accounts never is.
3 The same bars, terms and parameters give the same bytes: no clock, no chance, no order of a set.
4 Equity is marked once per bar, at the close.

Prices are in the quote currency, amounts in the base currency, times ns.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

from realtime.bots import metrics
from realtime.bots.series import Gap, Row, Series
from realtime.bots.strategy import Strategy, probabilities, signal
from realtime.engine.bars import DAY, HOUR
from realtime.model.errors import Code, Refused
from realtime.model.market import MS
from realtime.model.signals import Ohlcv, Signal


CHUNK: Final = 8_192
"""Bars between two reports of progress."""
FUNDING: Final = 8 * HOUR
"""Time between payments of funding, at 00:00, 08:00 and 16:00 UTC [ns]."""
STREAK_WAIT: Final = HOUR
"""How long entries wait after too many losses in a row, as live [ns]."""


class Fill(StrEnum):
    """When a decision is carried out."""

    NEXT_OPEN = "next_open"
    CLOSE = "close"


class BarPath(StrEnum):
    """What is assumed of a bar that touches both stop and target."""

    STOP_FIRST = "stop_first"
    FOUR_TICKS = "four_ticks"


class Exit(StrEnum):
    """Why a trade ended."""

    SIGNAL = "signal"
    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"
    TRAILING_STOP = "trailing_stop"
    END_OF_DATA = "end_of_data"
    LIQUIDATION = "liquidation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """What a market allows; None = no bound.

    Attributes:
        amount_step, min_amount: [base].
        min_cost: [quote].
        step: `amount_step` as it is written; made from it.
    """

    amount_step: float | None = None
    min_amount: float | None = None
    min_cost: float | None = None
    step: Decimal | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = self.amount_step
        object.__setattr__(self, "step", None if given is None else Decimal(repr(given)))

    def fit(self, amount: float, price: float) -> float:
        """Round an amount down to the step; 0 below a minimum."""
        if self.step is not None:
            amount = float(Decimal(repr(amount)) // self.step * self.step)
        if self.min_amount is not None and amount < self.min_amount:
            return 0.0
        if self.min_cost is not None and amount * price < self.min_cost:
            return 0.0
        return amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Protections:
    """The live protections that forbid entries; None = off.

    Attributes:
        max_daily_loss: Of the equity at the day's beginning (UTC) [fraction].
        max_drawdown: From the highest equity [fraction]; forbids entries for the rest of the run.
        loss_streak: Losing trades in a row after which entries wait an hour.
    """

    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    loss_streak: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The conditions of a run.

    Attributes:
        initial_capital: [quote].
        commission: Fee rate where `maker` or `taker` is not given; targets are maker, all else is taker.
        slippage: Paid by everything but targets [fraction of price].
        max_position_size: Notional by equity at a confidence of 1.
        amount: A fixed amount per entry instead [base].
        stop_loss, take_profit, trailing_stop: Distance from the entry's fill, or from the best price since
            [fraction]; None = none.
        funding_rate: Paid by longs and received by shorts every 8 h [fraction of notional].
    """

    initial_capital: float = 10_000.0
    commission: float = 0.001
    maker: float | None = None
    taker: float | None = None
    slippage: float = 0.0005
    max_position_size: float = 0.1
    amount: float | None = None
    stop_loss: float | None = 0.02
    take_profit: float | None = 0.04
    trailing_stop: float | None = None
    allow_short: bool = True
    fill: Fill = Fill.NEXT_OPEN
    path: BarPath = BarPath.STOP_FIRST
    close_at_end: bool = True
    funding_rate: float | None = None
    protections: Protections | None = None


class Trade(NamedTuple):
    """One round trip.

    Attributes:
        amount: [base].
        pnl: Net of fees and funding [quote].
        gain: `pnl` by the notional of the entry [fraction].
        commission, slippage: Paid on both sides [quote].
        bars_held: Closes at which it was held.
    """

    symbol: str
    entry_ts: int
    exit_ts: int
    side: str
    entry_price: float
    exit_price: float
    amount: float
    pnl: float
    gain: float
    commission: float
    slippage: float
    exit_reason: str
    bars_held: int


class Wish(NamedTuple):
    """What is to be done about a decision.

    Attributes:
        sign: 1 buys, -1 sells.
        size: Notional by equity.
    """

    sign: int
    size: float


class Hold:
    """What is held of one symbol.

    Attributes:
        amount: Above zero long, below short; 0 flat [base].
        floor, ceiling: Prices that end it when the low or the high reaches them.
        last: The last close.
        bar: Number of the bar it was entered at.
    """

    __slots__ = (
        "amount",
        "bar",
        "ceiling",
        "entry_price",
        "entry_ts",
        "fee",
        "floor",
        "funded",
        "funding",
        "grid",
        "last",
        "slippage",
        "symbol",
        "trailing",
    )

    def __init__(self, symbol: str, grid: Grid) -> None:
        self.symbol = symbol
        self.grid = grid
        self.amount = 0.0
        self.last = 0.0
        self.floor, self.ceiling = -math.inf, math.inf
        self.entry_price = self.fee = self.slippage = self.funding = 0.0
        self.entry_ts = self.bar = self.funded = 0
        self.trailing = False


class Ledger:
    """Cash, holdings and trades; told only what happens, never asked per bar.

    Attributes:
        cash: What is left when everything held is counted at its price [quote].
        marks: Equity at each close so far.
        skipped: Entries that were not made, by reason.
    """

    def __init__(self, terms: Terms, holds: Sequence[Hold], stamps: Sequence[int]) -> None:
        """Begin.

        Args:
            terms: The conditions.
            holds: One per symbol, flat.
            stamps: Time of each mark to come [ns].
        """
        self.terms = terms
        self.holds = holds
        self.cash = terms.initial_capital
        self.marks: list[float] = []
        self.trades: list[Trade] = []
        self.skipped: dict[str, int] = {}
        self.cost = self.fees = 0.0
        self.exposed = 0
        self._stamps = stamps
        self._maker = terms.commission if terms.maker is None else terms.maker
        self._taker = terms.commission if terms.taker is None else terms.taker
        distances = [d for d in (terms.stop_loss, terms.trailing_stop) if d is not None]
        self._near = min(distances, default=math.inf)
        self._far = math.inf if terms.take_profit is None else terms.take_profit
        self._trailing = terms.stop_loss is None or self._near < terms.stop_loss
        self._streak = 0
        self._streak_until = 0
        self._peak = terms.initial_capital
        self._peaked = 0

    # -- what happens ------------------------------------------------------------------------------

    def act(self, hold: Hold, wish: Wish, price: float, ts: int) -> None:
        """Carry out a wish at a price [quote] and time."""
        if hold.amount * wish.sign > 0:
            return
        if hold.amount:
            self.leave(hold, price, ts, Exit.SIGNAL)
        if wish.sign > 0 or self.terms.allow_short:
            self._enter(hold, wish, price, ts)

    def touch(self, hold: Hold, bar: Row) -> None:
        """End a hold whose floor or ceiling a bar reached: stop first unless the path says otherwise."""
        ts, open_, high, low, close, _ = bar
        long = hold.amount > 0
        stop, target = (hold.floor, hold.ceiling) if long else (hold.ceiling, hold.floor)
        stopped = low <= stop if long else high >= stop
        if stopped and (high >= target if long else low <= target):
            stopped = self._stop_first(open_, high, low, close, stop, target, long=long)
        level = stop if stopped else target
        # A gap through the level fills at the open.
        through = open_ <= level if long == stopped else open_ >= level
        reason = Exit.TAKE_PROFIT
        if stopped:
            reason = Exit.TRAILING_STOP if hold.trailing else Exit.STOP_LOSS
        self.leave(hold, open_ if through else level, ts, reason)

    def _stop_first(
        self,
        open_: float,
        high: float,
        low: float,
        close: float,
        stop: float,
        target: float,
        *,
        long: bool,
    ) -> bool:
        """Tell which of two touched levels came first; at the open a gap says so itself."""
        if open_ >= target if long else open_ <= target:
            return False
        if self.terms.path is BarPath.STOP_FIRST or (open_ <= stop if long else open_ >= stop):
            return True
        # The nearer extreme comes first; at the same distance the one that the close is farther from.
        up, down = high - open_, open_ - low
        low_first = down < up if down != up else close > open_
        return low_first if long else not low_first

    def leave(self, hold: Hold, price: float, ts: int, reason: Exit) -> None:
        """End a hold at a price before slippage."""
        terms = self.terms
        maker = reason is Exit.TAKE_PROFIT
        sign = 1 if hold.amount > 0 else -1
        size = abs(hold.amount)
        fill = price if maker else price * (1 - sign * terms.slippage)
        fee = size * fill * (self._maker if maker else self._taker)
        self.cash += hold.amount * fill - fee
        self.cost += size * fill
        self.fees += fee
        pnl = hold.amount * (fill - hold.entry_price) - hold.fee - fee - hold.funding
        held = len(self.marks) - hold.bar
        self.exposed += held
        self.trades.append(
            Trade(
                hold.symbol,
                hold.entry_ts,
                ts,
                "long" if sign > 0 else "short",
                hold.entry_price,
                fill,
                size,
                pnl,
                pnl / (hold.entry_price * size),
                hold.fee + fee,
                hold.slippage + size * abs(fill - price),
                reason.value,
                held,
            )
        )
        self._streak = self._streak + 1 if pnl < 0 else 0
        streak = terms.protections.loss_streak if terms.protections is not None else None
        if streak is not None and self._streak >= streak:
            self._streak_until = ts + STREAK_WAIT
        hold.amount = 0.0

    def _enter(self, hold: Hold, wish: Wish, price: float, ts: int) -> None:
        terms = self.terms
        if terms.protections is not None and (reason := self._forbidden(ts, terms.protections)):
            self._skip(reason)
            return
        fill = price * (1 + wish.sign * terms.slippage)
        gross, equity = 0.0, self.cash
        for other in self.holds:
            if other.amount:
                gross += abs(other.amount) * other.last
                equity += other.amount * other.last
        room = (equity - gross) / (1 + self._taker)
        if terms.amount is not None:
            amount = hold.grid.fit(terms.amount, fill)
            if amount * fill > room:
                self._skip("insufficient_funds")
                return
        else:
            # A size relative to equity shrinks to what is left; a fixed one was asked for as it is.
            amount = hold.grid.fit(min(equity * wish.size, room) / fill, fill)
        if amount <= 0:
            self._skip("below_minimum")
            return
        fee = amount * fill * self._taker
        self.cash -= wish.sign * amount * fill + fee
        self.cost += amount * fill
        self.fees += fee
        hold.amount = wish.sign * amount
        hold.entry_price, hold.entry_ts, hold.bar = fill, ts, len(self.marks)
        hold.fee, hold.slippage, hold.funding = fee, amount * abs(fill - price), 0.0
        hold.funded = (ts // FUNDING + 1) * FUNDING
        self._bound(hold, wish.sign)

    def _bound(self, hold: Hold, sign: int) -> None:
        """Set stop and target from the entry's fill."""
        entry = hold.entry_price
        near, far = entry * (1 - sign * self._near), entry * (1 + sign * self._far)
        hold.floor, hold.ceiling = (near, far) if sign > 0 else (far, near)
        hold.trailing = self._trailing

    def trail(self, hold: Hold, bar: Row) -> None:
        """Let the stop follow the best price of a bar that is over."""
        _, _, high, low, _, _ = bar
        share = self.terms.trailing_stop
        assert share is not None
        if hold.amount > 0 and high * (1 - share) > hold.floor:
            hold.floor, hold.trailing = high * (1 - share), True
        elif hold.amount < 0 and low * (1 + share) < hold.ceiling:
            hold.ceiling, hold.trailing = low * (1 + share), True

    def range(self, hold: Hold, bar: Ohlcv) -> None:
        """Let one bar pass over a hold: funding, stops, the trailing stop, its last price."""
        if hold.amount:
            if self.terms.funding_rate is not None:
                self.fund(hold, bar)
            if bar.low <= hold.floor or bar.high >= hold.ceiling:
                self.touch(hold, bar)
            elif self.terms.trailing_stop is not None:
                self.trail(hold, bar)
        hold.last = bar.close

    def value(self) -> float:
        """Equity at the last prices [quote]."""
        return self.cash + sum(hold.amount * hold.last for hold in self.holds)

    def fund(self, hold: Hold, bar: Row) -> None:
        """Pay or receive funding for the times up to a bar's opening."""
        ts, open_, _, _, _, _ = bar
        rate = self.terms.funding_rate
        assert rate is not None
        while hold.funded <= ts:
            paid = hold.amount * open_ * rate
            self.cash -= paid
            hold.funding += paid
            hold.funded += FUNDING

    # -- protections -------------------------------------------------------------------------------

    def _forbidden(self, ts: int, protections: Protections) -> str | None:
        """Give the protection that forbids an entry now; None when there is none."""
        marks, capital = self.marks, self.terms.initial_capital
        now = marks[-1] if marks else capital
        if self._peaked < len(marks):
            highest = max(marks[self._peaked :])
            self._peak = max(self._peak, highest)
            self._peaked = len(marks)
        if _reached(1 - now / self._peak, protections.max_drawdown):
            return "max_drawdown"
        first = bisect_left(self._stamps, ts // DAY * DAY, 0, len(marks))
        if _reached(1 - now / (marks[first - 1] if first else capital), protections.max_daily_loss):
            return "max_daily_loss"
        return "loss_streak" if ts < self._streak_until else None

    def _skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def _reached(share: float, limit: float | None) -> bool:
    return limit is not None and share >= limit


# --- decisions ------------------------------------------------------------------------------------


def _is_number(told: object) -> bool:
    """Authors write what they like, whatever the types say."""
    return told.__class__ is float or isinstance(
        told, (float, int)
    )  # a union is made anew each time


def judge(strategy: Strategy, told: float | Signal, terms: Terms) -> Wish | None:
    """Turn what a strategy said into a wish; None for a hold.

    Raises:
        Refused: `invalid`, where it is neither a number from -1 to 1 nor a signal.
    """
    if isinstance(told, Signal):
        chances, ceiling = told.probabilities, told.position_size
    elif _is_number(told) and -1 <= told <= 1:
        # What `signal` would make of it, without what is only shown.
        chances, ceiling = probabilities(told), strategy.params.position_size
    else:
        was = told if _is_number(told) else type(told).__name__
        raise Refused(
            Code.INVALID,
            f"it gave {was}, not a conviction from -1 to 1 or a signal",
            {"fields": [{"field": "conviction", "message": f"was {was}"}]},
        )
    buy, sell, hold = chances
    if buy > sell and buy > hold:
        return Wish(1, min(terms.max_position_size * buy, ceiling))
    if sell > buy and sell > hold:
        return Wish(-1, min(terms.max_position_size * sell, ceiling))
    return None


def broken(lane: "Lane", index: int, error: Exception) -> Refused:
    """Refuse what a strategy raised, or said though no strategy may say it, naming the bar."""
    ts = lane.series.ts[index] // MS
    text = f"{type(error).__name__}: {str(error)[:300]}"
    return Refused(
        Code.INVALID,
        f"strategy {lane.strategy.id} failed at bar {index} of {lane.symbol}: {text}",
        {
            "what": "strategy",
            "strategy": lane.strategy.id,
            "symbol": lane.symbol,
            "index": index,
            "ts": ts,
            "error": text,
        },
    )


# --- runs -----------------------------------------------------------------------------------------

Tell = Callable[[float, "Ledger"], None]
"""Told the share done and the ledger, every `CHUNK` bars; may raise to end the run."""


def silent(_share: float, _ledger: Ledger) -> None:
    """Tell nobody."""


class Said(NamedTuple):
    """What a strategy said after a bar, as a running bot shows it.

    Attributes:
        ts: Opening time of the bar [ns].
    """

    ts: int
    signal: Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One symbol of a run: its bars, its strategy, its grid.

    Attributes:
        record: Takes what the strategy says after every bar that counts, warm or not; None keeps nothing.
    """

    symbol: str
    series: Series
    strategy: Strategy
    grid: Grid = field(default_factory=Grid)
    record: list[Said] | None = None

    def listen(self) -> Callable[[Any], float | Signal]:
        """Give what tells the strategy a bar: the quicker way where it has one and nothing is recorded."""
        strategy, record = self.strategy, self.record
        if record is None:
            return strategy.teller() or strategy.on_ohlcv

        def recorded(bar: Ohlcv) -> float | Signal:
            told = strategy.on_ohlcv(bar)
            record.append(Said(bar.ts, signal(strategy, told)))
            return told

        return recorded

    def rows(self, first: int) -> Iterator[Row]:
        """Give the bars from `first` on as what `listen` gives takes them: with names unless it needs none."""
        plain = self.record is None and self.strategy.teller() is not None
        return self.series.rows(first) if plain else self.series.bars(first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came out.

    Attributes:
        ts: Opening time of each marked bar [ns].
        equity: At its close [quote].
        open: What is still held: `symbol, side, amount, entry_price, entry_ts, value`.
        gaps: Holes by symbol.
        skipped: Entries that were not made, by reason.
    """

    ts: Sequence[int]
    equity: Sequence[float]
    trades: Sequence[Trade]
    metrics: Mapping[str, metrics.Value]
    open: Sequence[Mapping[str, object]]
    gaps: Mapping[str, Sequence[Gap]]
    skipped: Mapping[str, int]


def run(terms: Terms, lanes: Sequence[Lane], *, first: int = 0, tell: Tell = silent) -> Result:
    """Run strategies over bars, all on one account.

    Args:
        terms: The conditions.
        lanes: One per symbol, with bars of the same length; each strategy is new.
        first: The first bar that counts, of a run with one lane; those before only warm the strategy up.
        tell: Progress.

    Raises:
        Refused: `invalid`, for no lanes, bars of different lengths, or a `first` that leaves fewer than two bars.
            Also where a strategy raised, or said what no strategy may say: then with `details.index`.
    """
    _check(lanes, first)
    if len(lanes) == 1:
        lane = lanes[0]
        stamps: Sequence[int] = lane.series.ts[first:] if first else lane.series.ts
        ledger = Ledger(terms, [Hold(lane.symbol, lane.grid)], stamps)
        run_one(ledger, lane, first, tell)
    else:
        if first:
            raise Refused(Code.INVALID, "a run of several symbols begins at its first bar")
        stamps = sorted({t for lane in lanes for t in lane.series.ts})
        ledger = Ledger(terms, [Hold(lane.symbol, lane.grid) for lane in lanes], stamps)
        _several(ledger, lanes, len(stamps), tell)
    return _result(ledger, lanes, stamps, first)


def _check(lanes: Sequence[Lane], first: int) -> None:
    if not lanes:
        raise Refused(Code.INVALID, "a backtest needs at least one symbol")
    if len({lane.symbol for lane in lanes}) < len(lanes):
        raise Refused(Code.INVALID, "each symbol may be given once")
    if len({lane.series.length for lane in lanes}) > 1:
        raise Refused(Code.INVALID, "all symbols need bars of the same length")
    shortest = min(len(lane.series) for lane in lanes)
    if shortest - first < 2:
        raise Refused(
            Code.INVALID, f"a backtest needs at least 2 bars; there are {shortest - first}"
        )


def run_one(ledger: Ledger, lane: Lane, first: int, tell: Tell) -> None:
    """Run one symbol: the loop that has to be quick."""
    series, strategy, terms = lane.series, lane.strategy, ledger.terms
    on_ohlcv, hold, marks = lane.listen(), ledger.holds[0], ledger.marks
    at_close, follows = terms.fill is Fill.CLOSE, terms.trailing_stop is not None
    funded = terms.funding_rate is not None
    warm = min(first, strategy.warmup)
    ready, bars = strategy.warmup - 1 - first, len(series) - first
    rows = lane.rows(first)
    _warm(lane, series.bars(first - warm, first), first - warm)
    wish: Wish | None = None
    while len(marks) < bars:
        amount, cash, floor, ceiling = hold.amount, ledger.cash, hold.floor, hold.ceiling
        for bar in islice(rows, CHUNK):
            if wish is not None:
                ledger.act(hold, wish, bar[1], bar[0])
                wish = None
                amount, cash, floor, ceiling = hold.amount, ledger.cash, hold.floor, hold.ceiling
            if amount:
                ts, _, high, low, close, _ = bar
                if funded and hold.funded <= ts:
                    ledger.fund(hold, bar)
                    cash = ledger.cash
                if low <= floor or high >= ceiling:
                    ledger.touch(hold, bar)
                    amount, cash = 0.0, ledger.cash
                elif follows:
                    ledger.trail(hold, bar)
                    floor, ceiling = hold.floor, hold.ceiling
                value = cash + amount * close
                if value <= 0.0 and amount:
                    ledger.leave(hold, close, ts, Exit.LIQUIDATION)
                    amount, value = 0.0, ledger.cash
                    cash = value
                marks.append(value)
            else:
                marks.append(cash)
            try:
                told = on_ohlcv(bar)
                # Most of what is left repeats what is held already, and changes nothing.
                if told == 0.0 or (
                    told.__class__ is float
                    and (0.0 < told <= 1.0 if amount > 0 else amount and -1.0 <= told < 0.0)
                ):
                    continue
                wish = judge(strategy, told, terms)
            except Exception as error:  # an author's code may raise anything
                raise broken(lane, first + len(marks) - 1, error) from error
            if not ready < len(marks) < bars:
                wish = None
            elif at_close and wish is not None:
                ledger.act(hold, wish, bar[4], bar[0])
                wish = None
                amount, cash, floor, ceiling = hold.amount, ledger.cash, hold.floor, hold.ceiling
        tell(len(marks) / bars, ledger)
    hold.last = series.close[-1]


def _warm(lane: Lane, rows: Iterable[Ohlcv], index: int) -> None:
    """Show a strategy bars that do not count."""
    for at, bar in enumerate(rows, index):
        try:
            lane.strategy.on_ohlcv(bar)
        except Exception as error:  # an author's code may raise anything
            raise broken(lane, at, error) from error


def _tagged(place: int, series: Series) -> Iterator[tuple[int, int, Ohlcv]]:
    return ((bar.ts, place, bar) for bar in series.bars())


def _several(ledger: Ledger, lanes: Sequence[Lane], bars: int, tell: Tell) -> None:
    """Run several symbols on one account: at each time all opens, then all ranges, one mark, all decisions."""
    terms, holds, marks = ledger.terms, ledger.holds, ledger.marks
    tellers = [lane.listen() for lane in lanes]
    seen = [0] * len(lanes)
    waiting: dict[int, Wish] = {}
    rows = merge(*(_tagged(place, lane.series) for place, lane in enumerate(lanes)))
    for ts, group in groupby(rows, itemgetter(0)):
        now = [(place, bar) for _, place, bar in group]
        for place, bar in now:
            wish = waiting.pop(place, None)
            if wish is not None:
                ledger.act(holds[place], wish, bar.open, ts)
        for place, bar in now:
            ledger.range(holds[place], bar)
        value = ledger.value()
        if value <= 0:
            for hold in holds:
                if hold.amount:
                    ledger.leave(hold, hold.last, ts, Exit.LIQUIDATION)
            value = ledger.cash
        marks.append(value)
        for place, bar in now:
            index, seen[place] = seen[place], seen[place] + 1
            wish = _decide(lanes[place], tellers[place], bar, index, terms)
            if wish is None or index == len(lanes[place].series) - 1:
                continue
            if terms.fill is Fill.CLOSE:
                ledger.act(holds[place], wish, bar.close, ts)
            else:
                waiting[place] = wish
        if len(marks) % CHUNK == 0:
            tell(len(marks) / bars, ledger)
    tell(1.0, ledger)


def _decide(
    lane: Lane, on_ohlcv: Callable[[Ohlcv], float | Signal], bar: Ohlcv, index: int, terms: Terms
) -> Wish | None:
    """Ask a strategy about a bar; before it is warm its answer is checked and not heard."""
    try:
        told = on_ohlcv(bar)
        wish = None if told == 0.0 else judge(lane.strategy, told, terms)
    except Exception as error:  # an author's code may raise anything
        raise broken(lane, index, error) from error
    return wish if index >= lane.strategy.warmup - 1 else None


def _end(ledger: Ledger, ts: int) -> list[dict[str, object]]:
    """End what is still held, or say what it is."""
    left: list[dict[str, object]] = []
    for hold in ledger.holds:
        if not hold.amount:
            continue
        if ledger.terms.close_at_end:
            ledger.leave(hold, hold.last, ts, Exit.END_OF_DATA)
        else:
            ledger.exposed += len(ledger.marks) - hold.bar
            left.append(
                {
                    "symbol": hold.symbol,
                    "side": "long" if hold.amount > 0 else "short",
                    "amount": abs(hold.amount),
                    "entry_price": hold.entry_price,
                    "entry_ts": hold.entry_ts // MS,
                    "value": hold.amount * hold.last,
                }
            )
    ledger.marks[-1] = ledger.value()
    return left


def _result(ledger: Ledger, lanes: Sequence[Lane], stamps: Sequence[int], first: int) -> Result:
    left = _end(ledger, stamps[-1])
    curve = [ledger.terms.initial_capital, *ledger.marks]
    grown = [lane.series.close[-1] / lane.series.close[first] - 1 for lane in lanes]
    found = metrics.measure(
        curve,
        metrics.periods_of(lanes[0].series.length),
        [trade.pnl for trade in ledger.trades],
        exposed=ledger.exposed / len(lanes),
        cost=ledger.cost,
        fees=ledger.fees,
        hold=metrics.mean(grown),
    )
    return Result(
        ts=stamps,
        equity=array("d", ledger.marks),
        trades=ledger.trades,
        metrics=found,
        open=left,
        gaps={lane.symbol: lane.series.gaps() for lane in lanes},
        skipped=dict(sorted(ledger.skipped.items())),
    )
