"""One bot at work: closed bars in, wishes out, a record of every decision.

Rules of this file: (1) whatever strategies do ends here, as a failed cycle with a reason: nothing of a bot reaches the
group of tasks that the server lives in; (2) cycles of one bot never overlap, and between looking and placing nothing is
awaited; (3) a bar is told once and in order, missed ones are fetched, and only the newest closed one is traded; (4) an
order on its way is awaited, never cut.

Strategies that come with us run in the loop, a few microseconds a bar. Those of the operator's files run on a thread and
must answer within `THINK_S`: the bot of one that does not goes to `error` at once. A thread cannot be ended from outside,
so a loop without end keeps its core busy until the server restarts; the others and the hub go on, slower.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from realtime.bots import holdings
from realtime.bots.cycle import Decision, Intent, Look, Thresholds, decide
from realtime.bots.history import Source
from realtime.bots.minds import Mind
from realtime.bots.strangers import STRANGERS
from realtime.desk.answers import Outcome
from realtime.desk.charts import Closed
from realtime.desk.desk import Desk
from realtime.desk.fit import Fitted, fit
from realtime.desk.trading import Trading
from realtime.engine import window
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.combine import Method, Weight
from realtime.engine.conditions import Bounds, Check, Seen, examine, volatility, yearly
from realtime.engine.indicators import ATR_LENGTH, Atr
from realtime.engine.market import down, plain
from realtime.engine.outcome import Drift, drift
from realtime.engine.rows import money
from realtime.engine.sizing import Account
from realtime.engine.studies import ohlcv
from realtime.engine.window import Schedule
from realtime.model.bots import BotSpec, Skip, Trigger
from realtime.model.errors import Code, Refused
from realtime.model.events import Place, Who
from realtime.model.market import MS, ZERO, Bar
from realtime.model.orders import Order, OrderType, Role, Status, Trigger as Attached
from realtime.model.risk import Backing
from realtime.model.signals import Ohlcv, Signal


logger = logging.getLogger(__name__)

Row = dict[str, object]

THINK_S: Final = 10.0
"""How long strategies of the operator's files may think about some bars [s]."""
KEPT: Final = 250
"""Bars a bot keeps to look at: volatility, ATR and swings."""
PAGE: Final = 1000
"""Bars asked for at a time."""
READY_S: Final = 0.5
PRICED_S: Final = 5.0
"""How long a single cycle waits for the first price of a symbol [s]."""
FEWEST: Final = 30
"""Returns without which there is no yearly deviation."""
FAILED: Final = (Status.REJECTED, Status.EXPIRED, Status.CANCELED)


class Broken(Exception):
    """A bot cannot go on; the text is the `error` of its row."""


class Reports(Protocol):
    """Told what a bot does."""

    def ready(self) -> None:
        """Its bars are there."""
        ...

    def cycled(self, row: Row, ms: float) -> None:
        """A cycle has come to its decision."""
        ...

    def failed(self, error: str, ms: float) -> None:
        """A cycle has failed and will be tried again."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the configuration says to one bot, now.

    Attributes:
        weights: Of its strategies.
        params: Of its strategies, whole.
    """

    symbols: tuple[str, ...]
    timeframe: str
    weights: Mapping[str, Weight]
    params: Mapping[str, Mapping[str, object]]
    method: Method
    thresholds: Thresholds
    bounds: Bounds
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What runners use of the server.

    Attributes:
        follow: Tells bars as they close, see `Feeds.follow`.
        hold: Keeps the prices of a symbol coming, see `Feeds.hold`.
        mind: Makes fresh strategies for one bot.
        foreign: Whether one of its strategies is not ours.
        rules: Reads the configuration for a bot.
        left: What the bot's budget leaves [valuation currency]; None without one.
        capital: Its equity of its own; None without a budget.
        venue_ok: Whether the venue answers.
        think_s: How long strategies of the operator's files may take [s].
    """

    desk: Desk
    trading: Trading
    history: Source
    follow: Callable[[str, str, Closed], Callable[[], None]]
    hold: Callable[[str], Callable[[], None]]
    mind: Callable[[Rules], Mind]
    foreign: Callable[[Rules], bool]
    rules: Callable[[BotSpec], Rules]
    left: Callable[[str], Decimal | None]
    capital: Callable[[str], Decimal | None]
    venue_ok: Callable[[], bool]
    think_s: float = THINK_S


class Runner:
    """One bot's cycles.

    Attributes:
        spec: What it is told; a change is taken before the next cycle (`renew`).
        paused: Whether entries are held back.
        stopping: Whether no further cycle begins.
        submitting: Whether an order is on its way.
        next_ts: When it looks next [ns]; None when that is a bar's close.
    """

    def __init__(self, spec: BotSpec, tools: Tools, reports: Reports, cycle: int) -> None:
        """Make it; `cycle` is the number of the last one."""
        self.spec = spec
        self.paused = False
        self.stopping = False
        self.submitting = False
        self.next_ts: int | None = None
        self._tools = tools
        self._reports = reports
        self._cycle = cycle
        self._minds: dict[str, Mind] = {}
        self._ends: list[Callable[[], None]] = []
        self._due: dict[str, Bar | None] = {}
        # Symbols whose cycle was due and has not come to a decision; it is made up for after what cut it.
        self._owed: set[str] = set()
        # Open of the newest bar that was decided about, or had closed before there was anybody to decide [ns].
        self._judged: dict[str, int] = {}
        self._asked: list[asyncio.Future[list[Row]]] = []
        self._wake = asyncio.Event()
        self._renew = False
        self._failures = 0
        # When what may fail now began: bars and strategies, or a cycle [s of the loop].
        self._began = 0.0
        self._rules: Rules

    # -- from outside ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin no further cycle."""
        self.stopping = True
        self._wake.set()

    def renew(self, spec: BotSpec) -> None:
        """Take what it is told now, before the next cycle."""
        self.spec = spec
        self._renew = True
        self._wake.set()

    def reset(self) -> None:
        """Count cycles from one again."""
        self._cycle = 0

    def once(self) -> "asyncio.Future[list[Row]]":
        """Ask for a cycle of all symbols now; gives the records."""
        asked: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self._asked.append(asked)
        self._wake.set()
        return asked

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            Broken: It cannot go on.
        """
        loop = asyncio.get_running_loop()
        try:
            while not self.stopping:
                self._began = loop.time()
                try:
                    await self._prepare()
                    self._reports.ready()
                    await self._work()
                except Broken:
                    raise
                except Exception as error:  # noqa: BLE001 - rule 1
                    self._minds.clear()
                    await self._after(error, (loop.time() - self._began) * 1000)
        finally:
            self._release()
            self._answer("the bot ended before")

    async def alone(self) -> list[Row]:
        """Make one cycle of all symbols and end: for a bot that does not run.

        Raises:
            Broken: It failed.
        """
        try:
            await self._prepare(follow=False)
            return [await self._still(symbol) for symbol in self._rules.symbols]
        except Broken:
            raise
        except Exception as error:
            logger.warning("bot failed", exc_info=error, extra={"bot": self.spec.id})
            raise Broken(str(error) or type(error).__name__) from error
        finally:
            self._release()

    async def _still(self, symbol: str) -> Row:
        """Make a cycle unless it was stopped meanwhile."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PRICED_S
        # An exchange tells prices only of what somebody reads, and that began a moment ago.
        while not self.stopping and loop.time() < end:
            if symbol in self._tools.desk.engine.tickers:
                break
            await self._rest(READY_S)
        if self.stopping:
            raise Broken("it was stopped")
        await asyncio.sleep(0)
        return await self._look(symbol, None)

    # -- the loop --------------------------------------------------------------------------------

    async def _after(self, error: Exception, ms: float) -> None:
        """Count a failure; wait and try again, or give up."""
        self._failures += 1
        told = str(error) or type(error).__name__
        logger.warning("bot failed", exc_info=error, extra={"bot": self.spec.id})
        self._reports.failed(told, ms)
        self._answer(f"the cycle failed: {told}")
        if self._failures >= self.spec.max_retries:
            times = "failure" if self._failures == 1 else "consecutive failures"
            raise Broken(f"stopped after {self._failures} {times}: {told}")
        await self._rest(self.spec.retry_delay_s)

    def _answer(self, why: str) -> None:
        """Tell those who asked for a cycle that there is none."""
        for asked in self._asked:
            if not asked.done():
                asked.set_exception(Refused(Code.CONFLICT, why, {"bot_id": self.spec.id}))
        self._asked.clear()

    async def _rest(self, seconds: float) -> None:
        """Wait, or until it is to stop."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self.stopping and (left := end - loop.time()) > 0:
            self._wake.clear()
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return

    async def _prepare(self, *, follow: bool = True) -> None:
        """Make fresh strategies and tell them what was before the next bar."""
        self._renew = False
        self._release()
        before = self._rules.timeframe if self._judged else None
        rules = self._rules = self._tools.rules(self.spec)
        self._begin(rules, anew=rules.timeframe != before)
        # Orders and positions are reconciled before the first cycle; nobody tells when.
        while not self._tools.desk.engine.ready and not self.stopping:
            await self._rest(READY_S)
        self._minds.clear()
        owed = self._owed = {*self._owed, *self._due} & {*rules.symbols}
        self._due.clear()
        for symbol in rules.symbols:
            self._ends.append(self._tools.hold(symbol))
            if follow:
                self._ends.append(
                    self._tools.follow(symbol, rules.timeframe, self._closing(symbol))
                )
            mind = self._tools.mind(rules)
            limit = min(mind.warmup + KEPT, PAGE * 5)
            bars = await self._fetch(symbol, None, limit)
            await self._think(mind, bars)
            self._minds[symbol] = mind
            passed = mind.last is not None and mind.last.ts > self._judged[symbol]
            if symbol in owed or (passed and self.spec.trigger is Trigger.BAR_CLOSE):
                # A bar that closed meanwhile is late, not lost.
                self._due.setdefault(symbol, None)
        if self.spec.trigger is Trigger.INTERVAL and follow:
            self._schedule()

    def _begin(self, rules: Rules, *, anew: bool) -> None:
        """Note from which bar on each symbol is decided about."""
        length, known = TIMEFRAMES[rules.timeframe], {} if anew else self._judged
        closed = self._tools.desk.now() // length * length - length
        self._judged = {symbol: known.get(symbol, closed) for symbol in rules.symbols}

    def _schedule(self) -> None:
        wait = int(self.spec.cycle_interval_s * 1_000_000_000)
        self.next_ts = self._tools.desk.now() + wait

    @property
    def looks_ts(self) -> int | None:
        """When it looks next [ns]: after its interval, or as the forming bar closes; None while it follows nothing."""
        if self.next_ts is not None or not self._ends:
            return self.next_ts
        length = TIMEFRAMES[self._rules.timeframe]
        return (self._tools.desk.now() // length + 1) * length

    def _closing(self, symbol: str) -> Closed:
        def closed(bar: Bar) -> None:
            mind, said = self._minds.get(symbol), ohlcv(bar)
            known = [] if mind is None else [one for one in mind.bars if one.ts == said.ts]
            if known and known[0] != said:
                # What was made up for after a silence of the venue: strategies begin anew, on the right bars.
                self._renew = True
                self._wake.set()
            if self.spec.trigger is Trigger.BAR_CLOSE and bar.ts > self._judged[symbol]:
                self._due[symbol] = bar
                self._wake.set()

        return closed

    def _release(self) -> None:
        for end in self._ends:
            end()
        self._ends.clear()
        self.next_ts = None

    async def _work(self) -> None:
        """Cycle until it is to stop, or to begin anew."""
        while not self.stopping:
            await self._wait()
            if self._renew:
                return
            self._began = asyncio.get_running_loop().time()
            asked, self._asked = self._asked, []
            due, self._due = self._due, {}
            self._owed |= due.keys()
            if asked:
                due = {symbol: due.get(symbol) for symbol in self._rules.symbols}
            rows: list[Row] = []
            try:
                await self._cycles(due, rows)
            except BaseException:
                self._asked = asked
                raise
            for one in asked:
                if not one.done():
                    one.set_result(rows)
            if rows:
                self._failures = 0

    async def _cycles(self, due: Mapping[str, Bar | None], rows: list[Row]) -> None:
        """Make one cycle of each symbol, until it is to stop."""
        for symbol, bar in due.items():
            if self.stopping:
                return
            rows.append(await self._look(symbol, bar))
            # A bot of many symbols is milliseconds of arithmetic: others have their turn.
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        """Wait for a bar, for the interval, or for somebody who asks."""
        if self._due or self._asked or self.stopping or self._renew:
            return
        self._wake.clear()
        left = None
        if self.next_ts is not None:
            left = max((self.next_ts - self._tools.desk.now()) / 1_000_000_000, 0)
        try:
            async with asyncio.timeout(left):
                await self._wake.wait()
        except TimeoutError:
            self._schedule()
            self._due = dict.fromkeys(self._rules.symbols)

    # -- bars ------------------------------------------------------------------------------------

    async def _fetch(self, symbol: str, since: int | None, limit: int) -> list[Ohlcv]:
        """Read closed bars, oldest first: the newest `limit`, or all from a time on [ns]."""
        length = TIMEFRAMES[self._rules.timeframe]
        if since is None and limit > PAGE:
            since = self._tools.desk.now() - limit * length
        found: list[Ohlcv] = []
        while True:
            page = await self._tools.history.ohlcv(
                symbol, self._rules.timeframe, since, min(limit, PAGE)
            )
            now = self._tools.desk.now()
            first = since or 0
            found += [ohlcv(bar) for bar in page if bar.ts >= first and bar.ts + length <= now]
            if since is None or len(page) < min(limit, PAGE):
                return found
            after = page[-1].ts + length
            if after <= since:
                return found  # a venue that does not look at `since` would be asked for ever
            since = after

    async def _missed(self, symbol: str, closed: Bar | None) -> list[Ohlcv]:
        """Give the bars that its strategies have not been told, oldest first."""
        length = TIMEFRAMES[self._rules.timeframe]
        last = self._minds[symbol].last
        newest = None if closed is None else ohlcv(closed)
        if newest is not None and last is not None and newest.ts == last.ts + length:
            return [newest]
        since = None if last is None else last.ts + length
        bars = await self._fetch(symbol, since, PAGE)
        if newest is not None and (not bars or bars[-1].ts < newest.ts):
            bars.append(newest)
        return bars

    async def _think(self, mind: Mind, bars: Sequence[Ohlcv]) -> dict[str, Signal]:
        """Tell bars and ask for signals.

        Raises:
            StrategyFailed: See `Mind`.
            Broken: A strategy of the operator's does not come back.
        """
        if not self._tools.foreign(self._rules):
            return _thought(mind, bars)
        work = asyncio.get_running_loop().run_in_executor(STRANGERS, _thought, mind, bars)
        done, _ = await asyncio.wait({work}, timeout=self._tools.think_s)
        if not done:
            names = ", ".join(self._rules.params)
            raise Broken(f"strategies {names} did not answer within {self._tools.think_s:g} s")
        return work.result()

    # -- one cycle -------------------------------------------------------------------------------

    async def _look(self, symbol: str, closed: Bar | None) -> Row:
        """Make one cycle of one symbol."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._cycle += 1
        mind = self._minds[symbol]
        signals = await self._think(mind, await self._missed(symbol, closed))
        # Where the file of a strategy is gone or broken since, what runs keeps its object and what it was told.
        with suppress(Refused):
            self._rules = self._tools.rules(self.spec)
        rules = self._rules
        look = self._looked(symbol, mind, signals, rules)
        made = decide(look)
        self._owed.discard(symbol)
        if mind.last is not None:
            self._judged[symbol] = mind.last.ts
        row = self._row(symbol, mind, look, made)
        if made.intent is not None and made.skip is None:
            await self._place(symbol, made, made.intent, row)
        ms = (loop.time() - began) * 1000
        row["duration_ms"] = round(ms, 3)
        self._tools.desk.engine.score(symbol, made.combined.risk_score)
        self._reports.cycled(row, ms)
        return row

    def _looked(self, symbol: str, mind: Mind, signals: Mapping[str, Signal], rules: Rules) -> Look:
        """Gather all that the decision depends on."""
        desk, bot_id = self._tools.desk, self.spec.id
        engine, now = desk.engine, desk.now()
        market = engine.markets[symbol]
        ticker = engine.tickers.get(symbol)
        view = engine.risk_view(now)
        used = holdings.claimed(engine, bot_id, rules.schedule, now)
        shut = window.shut(rules.schedule, used, symbol, now)
        seen = Seen(
            market=market,
            ticker=ticker,
            book=engine.books.get(symbol),
            bars=mind.bars[-KEPT:],
            venue_ok=self._tools.venue_ok(),
            ts=now,
        )
        mark = engine.mark(symbol)
        ask = None if ticker is None or ticker.ask is None else Decimal(ticker.ask)
        account = None
        if view.equity is not None and view.equity_start is not None and view.daily_pnl is not None:
            free, worth = engine.free(market.cash) or ZERO, engine.worth(market.cash) or ZERO
            available = free * worth / (1 + market.taker)
            left, capital = self._tools.left(bot_id), self._tools.capital(bot_id)
            account = Account(
                equity=view.equity if capital is None else min(view.equity, capital),
                equity_start=view.equity_start,
                daily_pnl=view.daily_pnl,
                positions=view.position_count,
                available=available if left is None else min(available, left),
            )
        return Look(
            spec=self.spec,
            market=market,
            signals=signals,
            weights=rules.weights,
            method=rules.method,
            thresholds=rules.thresholds,
            checks=examine(seen, rules.bounds),
            warm=mind.seen >= mind.warmup,
            closed=None if shut is None else f"{shut.rule}: {shut.text}",
            paused=self.paused,
            held=holdings.held(engine, bot_id, symbol),
            level=view.risk_level,
            limits=engine.limits,
            account=account,
            price=ask or (None if mark is None else mark[0]),
            worth=engine.worth(market.cash),
            atr=_atr(mind.bars),
            swing=_swing(mind.bars, engine.limits.lookback),
            volatility=_yearly(mind.bars, rules.timeframe),
            moves=_moves(mind.bars),
            leaving=holdings.leaving(engine, bot_id, symbol),
            entering=any(o.symbol == symbol for o in holdings.entering(engine, bot_id)),
        )

    async def _place(self, symbol: str, made: Decision, intent: Intent, row: Row) -> None:
        """Wish for an order, wait for what comes of it, and note it."""
        trading = self._tools.trading
        backing = Backing(
            probabilities=made.combined.probabilities, confidence=made.combined.confidence
        )
        who = Who(
            subject=f"bot:{self.spec.id}",
            client=self.spec.id,
            source="bot",
            bot_id=self.spec.id,
            strategy_id=self._strategy(),
        )
        try:
            placing = self._placing(symbol, intent, who, backing)
            if not intent.exit:
                desk = self._tools.desk
                cut = fit(desk.engine, placing, desk.now())
                placing = cut.placing
                if cut.rules and made.size is not None:
                    market = desk.engine.markets[symbol]
                    worth = desk.engine.worth(market.cash) or ZERO
                    _held_down(row, made.size.price * market.contract_size * worth, cut)
            given = trading.place(placing, _told, _again)
        except Refused as refused:
            details = refused.details or {}
            _skipped(row, Skip.ORDER_REFUSED, refused.message, refused.code, details.get("rule"))
            return
        self.submitting = True
        try:
            if isinstance(given, asyncio.Future):
                await asyncio.wait({given})
                order = given.result()
            else:
                order = given
        finally:
            self.submitting = False
        row |= {"order_id": order.id, "client_order_id": order.client_order_id}
        if order.status in FAILED and not order.filled:
            _skipped(row, Skip.ORDER_REFUSED, order.reason, order.code, None)

    def _placing(self, symbol: str, intent: Intent, who: Who, backing: Backing) -> Place:
        desk, trading = self._tools.desk, self._tools.trading
        market = desk.engine.markets[symbol]
        position_type = "spot" if not market.contract else "swap"
        fields: dict[str, object] = {
            "symbol": symbol,
            "side": intent.side,
            "type": OrderType.MARKET,
            "amount": intent.amount,
            "position_type": position_type,
        }
        if intent.exit:
            position = holdings.position_of(desk.engine, symbol)
            held = ZERO if position is None else down(abs(position.amount), market.amount_step)
            fields |= {
                "amount": min(intent.amount, held) or intent.amount,
                "reduce_only": True,
                "role": Role.EXIT,
            }
        else:
            fields |= {
                "stop_loss": None if intent.stop is None else Attached(price=intent.stop),
                "take_profit": None if intent.target is None else Attached(price=intent.target),
            }
        order = trading.draft(who=who, client_order_id=None, fields=fields)
        return Place(
            order=order,
            who=who,
            ts=order.created_ts,
            closing=intent.exit,
            allow_duplicate=True,
            backing=None if intent.exit else backing,
        )

    def _strategy(self) -> str | None:
        """Name the strategy where there is only one."""
        names = list(self._rules.params)
        return names[0] if len(names) == 1 else None

    def _row(self, symbol: str, mind: Mind, look: Look, made: Decision) -> Row:
        """Make the record of a decision (functional specification, F6)."""
        said, size, bar = made.combined, made.size, mind.last
        return {
            "bot_id": self.spec.id,
            "cycle": self._cycle,
            "symbol": symbol,
            "strategy": self._strategy(),
            "timeframe": self._rules.timeframe,
            "ohlcv_ts": None if bar is None else bar.ts // MS,
            "market_ok": all(check.ok for check in look.checks),
            "checks": [check_row(check) for check in look.checks],
            "individual": [_signal_row(name, told) for name, told in look.signals.items()],
            "combined": {
                "action": said.action,
                "confidence": said.confidence,
                "probabilities": said.probabilities._asdict(),
                "risk_score": said.risk_score,
                "risk_level": said.risk_level,
            },
            "size": None
            if size is None
            else {
                "notional": money(size.notional),
                "amount": plain(size.amount),
                "factors": {name: float(value) for name, value in size.factors.items()},
                "caps": [{"name": cap.name, "notional": money(cap.notional)} for cap in size.caps],
                "reason": size.reason,
            },
            "intent": None if made.intent is None else _intent_row(made.intent),
            "dry_run": self.spec.dry_run,
            "order_id": None,
            "client_order_id": None,
            "skipped_reason": made.skip,
            "detail": made.detail,
            "code": None,
            "rule": None,
            "ts": self._tools.desk.now() // MS,
        }


# --- rows and figures -----------------------------------------------------------------------------


def check_row(check: Check) -> Row:
    """Make the row of a check of the market."""
    return {
        "name": check.name,
        "value": check.value,
        "threshold": check.threshold,
        "ok": check.ok,
    }


def _signal_row(name: str, told: Signal) -> Row:
    flat = {f"probability_{k}": v for k, v in told.probabilities._asdict().items()}
    return {
        "strategy": name,
        "action": told.action,
        "confidence": told.confidence,
        "probabilities": told.probabilities._asdict(),
        "position_size": told.position_size,
        "metadata": flat
        | {"conviction": told.conviction, "reason": told.reason}
        | dict(told.indicators),
    }


def _intent_row(intent: Intent) -> Row:
    return {
        "side": intent.side,
        "amount": plain(intent.amount),
        "exit": intent.exit,
        "stop_loss": None if intent.stop is None else plain(intent.stop),
        "take_profit": None if intent.target is None else plain(intent.target),
    }


def _held_down(row: Row, unit: Decimal, cut: Fitted) -> None:
    """Note what the gate held an entry down to, its rules among the caps; a `unit` is worth so much."""
    sized, intent = row["size"], row["intent"]
    assert isinstance(sized, dict)
    assert isinstance(intent, dict)
    amount = cut.placing.order.amount
    notional = money(amount * unit)
    sized["caps"] = [cap for cap in sized["caps"] if cap["name"] not in cut.rules]
    sized["caps"] += [{"name": name, "notional": notional} for name in cut.rules]
    sized |= {"notional": notional, "amount": plain(amount)}
    intent["amount"] = plain(amount)


def _skipped(row: Row, skip: Skip, detail: str | None, code: Code | None, rule: Any) -> None:
    row |= {"skipped_reason": skip, "detail": detail, "code": code, "rule": rule}


def _thought(mind: Mind, bars: Sequence[Ohlcv]) -> dict[str, Signal]:
    for bar in bars:
        mind.feed(bar)
    return mind.signals()


def _told(outcome: Outcome) -> Order:
    return outcome.order


def _again(order: Order) -> Order:
    return order


def _atr(bars: Sequence[Ohlcv]) -> float | None:
    atr, value = Atr(ATR_LENGTH), None
    for bar in bars:
        value = atr.update(bar.high, bar.low, bar.close)
    return value


def _swing(bars: Sequence[Ohlcv], lookback: int) -> tuple[float, float] | None:
    """Lowest low and highest high of the last bars; None while there are fewer."""
    if len(bars) < lookback:
        return None
    last = bars[-lookback:]
    return min(bar.low for bar in last), max(bar.high for bar in last)


def _moves(bars: Sequence[Ohlcv]) -> Drift | None:
    """Drift and deviation per bar; None where a price is none."""
    try:
        return drift([bar.close for bar in bars])
    except Refused:
        return None


def _yearly(bars: Sequence[Ohlcv], timeframe: str) -> float | None:
    """Yearly deviation of returns [fraction]; None below 30 of them."""
    moved = volatility(bars) if len(bars) > FEWEST else None
    return None if moved is None else yearly(moved, TIMEFRAMES[timeframe])
