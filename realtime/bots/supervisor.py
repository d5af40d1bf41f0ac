"""All bots of a server: their states, their tasks, what is kept of them, and what they are shown as.

Rules of this file: (1) a state changes by `Supervisor.moved` and nowhere else, and is journaled in the same step;
(2) a task of a bot ends in a state of that bot, whatever ended it; (3) stopping asks nobody: it neither waits for the
journal nor for room in it; (4) a remote bot is a bot whose task is a lease.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import orjson
from pydantic import ValidationError

from realtime.bots.bot import Bot, bot_of, counters_of, kept, spec_row
from realtime.bots.budgets import Budgets
from realtime.bots.cycle import Thresholds
from realtime.bots.exits import STOP_S, Exits
from realtime.bots.guard import Guard
from realtime.bots.history import Source
from realtime.bots.leases import Lease, Leases
from realtime.bots.loading import OURS, Strategies, placed
from realtime.bots.minds import Mind, filters_of
from realtime.bots.rows import Rows
from realtime.bots.runner import KEPT, PAGE, Broken, Row, Rules, Runner, Tools
from realtime.bots.strategy import Strategy
from realtime.desk.codec import dumps
from realtime.desk.config.book import ConfigBook
from realtime.desk.config.changes import Fault, faults_of, refusal
from realtime.desk.config.sections import TradingWindow
from realtime.desk.crew import Crew
from realtime.desk.desk import Desk
from realtime.desk.feeds import Feeds
from realtime.desk.status import Level
from realtime.desk.trading import ALL, Canceled, Stop, Trading
from realtime.desk.weights import Earned
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.combine import Method, Weight
from realtime.engine.conditions import Bounds
from realtime.engine.window import Schedule
from realtime.hub.hub import Hub
from realtime.model.bots import (
    MAIN,
    BotSpec,
    BotState,
    Counters,
    Kind,
    Move,
    OnError,
    after,
)
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Who
from realtime.model.market import MS
from realtime.store.rows import Projection


logger = logging.getLogger(__name__)

BEAT_S: Final = 5.0
AT_WORK: Final = (BotState.RUNNING, BotState.PAUSED)
KIND: Final = "Bot"
"""Kind of a journal row that is a bot as it is now."""
SIGNAL: Final = "Signal"
"""Kind of a journal row that is a decision."""
SYSTEM: Final = Who(subject="system", source="bots", admin=True)


class _Reports:
    """Tells the supervisor what one runner does."""

    def __init__(self, supervisor: "Supervisor", bot: Bot) -> None:
        self._supervisor = supervisor
        self._bot = bot

    def ready(self) -> None:
        """Run, unless paused."""
        if self._bot.state is BotState.STARTING:
            self._supervisor.moved(self._bot, Move.READY)

    def cycled(self, row: Row, ms: float) -> None:
        """Count and keep a decision."""
        self._supervisor.cycled(self._bot, row, ms)

    def failed(self, error: str, ms: float) -> None:
        """Count a failure."""
        self._supervisor.cycle_failed(self._bot, error, ms)


class Supervisor:
    """All bots.

    Attributes:
        budgets, exits, leases, rows: To read.
        guard: Judges orders that name a bot.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        trading: Trading,
        history: Source,
        feeds: Feeds,
        hub: Hub,
        book: ConfigBook,
        strategies: Strategies,
        crew: Crew,
        loop: asyncio.AbstractEventLoop,
        venue_ok: Callable[[], bool],
    ) -> None:
        self._desk = desk
        self._trading = trading
        self._hub = hub
        self._book = book
        self._strategies = strategies
        self._crew = crew
        self._bots: dict[str, Bot] = {}
        # Bots whose newest row has found no room in the journal, deleted ones too.
        self._unkept: dict[str, Bot] = {}
        self._stopping = False
        self._earned = Earned(desk, book, crew)
        self.budgets = Budgets(desk.engine, self.spec)
        self.leases = Leases(loop=loop, now=desk.now, lapsed=self._lapsed)
        self.rows = Rows(
            desk=desk,
            trading=trading,
            budgets=self.budgets,
            leases=self.leases,
            rules=self.rules,
        )
        self.exits = Exits(desk=desk, trading=trading, crew=crew)
        self.guard = Guard(
            desk=desk,
            bots=self._bots,
            budgets=self.budgets,
            leases=self.leases,
            schedule_of=self._schedule,
        )
        self._tools = Tools(
            desk=desk,
            trading=trading,
            history=history,
            follow=feeds.follow,
            hold=feeds.hold,
            mind=self.made,
            # One whose file is gone may run on, see `Runner`.
            foreign=lambda rules: any(
                name not in strategies.names() or strategies.get(name).source != OURS
                for name in rules.params
            ),
            rules=self.rules,
            left=lambda bot_id: self.budgets.room(bot_id).left,
            capital=lambda bot_id: self.budgets.room(bot_id).capital,
            venue_ok=venue_ok,
        )

    # -- reading -----------------------------------------------------------------------------------

    @property
    def ids(self) -> Container[str]:
        """Names of all bots, for channels."""
        return self._bots

    def all(self) -> list[Bot]:
        """Give all bots, `main` first."""
        return sorted(self._bots.values(), key=lambda bot: (bot.id != MAIN, bot.id))

    def get(self, bot_id: str) -> Bot:
        """Give a bot.

        Raises:
            Refused: `not_found`.
        """
        bot = self._bots.get(bot_id)
        if bot is None:
            raise Refused(Code.NOT_FOUND, f"no bot {bot_id}; see bot.list", {"what": "bot"})
        return bot

    def spec(self, bot_id: str) -> BotSpec | None:
        """Give what a bot is told; None for a name that is no bot."""
        bot = self._bots.get(bot_id)
        return None if bot is None else bot.spec

    def rules(self, spec: BotSpec) -> Rules:
        """Read the configuration for a bot.

        Raises:
            Refused: A strategy is not there, or its parameters do not fit.
        """
        config = self._book.current
        if spec.strategies is None:
            shares = self._earned.now()
            weights = {
                name: Weight(weight=shares[name], min_confidence=use.min_confidence)
                for name, use in config.enabled.items()
            }
        else:
            weights = {
                name: Weight(weight=use.weight, min_confidence=use.min_confidence)
                for name, use in spec.strategies.items()
            }
        params: dict[str, Mapping[str, object]] = {}
        for name in weights:
            own = {} if spec.strategies is None else spec.strategies[name].params
            params[name] = self._book.parameters(name) | dict(own)
        told = config.probability
        return Rules(
            symbols=spec.symbols or (config.strategy.symbol,),
            timeframe=spec.timeframe or config.strategy.timeframe,
            weights=weights,
            params=params,
            method=Method(told.combination_method),
            thresholds=Thresholds(
                buy=told.confidence_threshold_buy,
                sell=told.confidence_threshold_sell,
                hold=told.confidence_threshold_hold,
                risk_score=told.risk_score_threshold,
            ),
            bounds=Bounds(**config.market_checks.model_dump()),
            schedule=self._schedule(spec),
        )

    def active_strategies(self) -> dict[str, object]:
        """Tell of the enabled strategies what they weigh now, and from which confidence on."""
        self._earned.look()
        shares = self._earned.now()
        return {
            name: {"weight": shares.get(name, 0.0), "min_confidence": use.min_confidence}
            for name, use in self._book.current.enabled.items()
        }

    def _weigh(self) -> None:
        """Keep the effective weights new while a bot uses them."""
        if any(bot.state.alive and bot.spec.strategies is None for bot in self._bots.values()):
            self._earned.look()

    def _schedule(self, spec: BotSpec) -> Schedule:
        config = self._book.current
        try:
            own = config.window(spec.window)
        except ValidationError as error:
            found = faults_of(TradingWindow, error)
            raise refusal([Fault(f"window.{one.path}", one.message) for one in found]) from None
        backwards = [
            Fault(f"window.blackouts.{place}.to_ts", "must be after from_ts")
            for place, blackout in enumerate(own.blackouts)
            if blackout.to_ts <= blackout.from_ts
        ]
        if backwards:
            raise refusal(backwards)
        return own.schedule(config.timezone)

    def made(self, rules: Rules) -> Mind:
        """Make fresh strategies for a bot.

        Raises:
            Refused: One is not there, or its parameters do not fit.
        """
        filters = filters_of(self._book.current)
        made: dict[str, Strategy] = {}
        for name, own in rules.params.items():
            try:
                made[name] = self._strategies.make(name, own, filters)
            except Refused as refused:
                where = "" if refused.code is Code.NOT_FOUND else ".params"
                raise placed(refused, f"strategies.{name}{where}") from None
        return Mind(made, keep=KEPT)

    async def missing(self, rules: Rules, warmup: int) -> list[str]:
        """Tell for which symbols the venue has fewer closed bars than strategies need before they decide."""
        found: list[str] = []
        length, need = TIMEFRAMES[rules.timeframe], min(warmup, PAGE - 1)
        for symbol in rules.symbols:
            try:
                async with asyncio.timeout(STOP_S):
                    # One more, because the newest may be forming.
                    bars = await self._tools.history.ohlcv(symbol, rules.timeframe, None, need + 1)
            except (VenueUnknown, VenueRejected, Refused, TimeoutError) as error:
                found.append(f"the bars of {symbol} cannot be read: {error}")
                continue
            closed = sum(bar.ts + length <= self._desk.now() for bar in bars)
            if closed < need:
                found.append(
                    f"{symbol} has {closed} closed bars, {need} are needed before the first decision"
                )
        return found

    # -- the start and the end -----------------------------------------------------------------------

    async def restore(self) -> None:
        """Read what is kept; nothing runs before `resume`."""
        for entry in await self._desk.store.rows("bots"):
            raw = orjson.loads(entry.body)
            if raw.get("deleted"):
                self._bots.pop(entry.key, None)
                continue
            bot = bot_of(raw)
            self._bots[bot.id] = bot
            if raw["lease"] is not None:
                self.leases.restore(Lease(**raw["lease"]))
        for entry in await self._desk.store.rows("bot_counters"):
            bot_kept = self._bots.get(entry.key)
            if bot_kept is not None:
                bot_kept.counters = counters_of(orjson.loads(entry.body))
        if MAIN not in self._bots:
            self._bots[MAIN] = Bot(BotSpec(id=MAIN))
        for row in await self._desk.store.rows("signals", limit=500):
            decided = orjson.loads(row.body)
            found = self._bots.get(str(decided.get("bot_id")))
            if found is not None:
                found.last = decided
            self._hub.append("signals", decided)
        self._book.on_change.append(self._configured)
        self._book.bots = lambda: [spec_row(bot.spec) for bot in self.all()]
        self._hub.ids["bot_id"] = self._bots

    def resume(self) -> None:
        """Go on after recovery: bots with `auto_resume` that ran, run again."""
        for bot in self.all():
            try:
                self._resume(bot)
            except Refused as refused:
                bot.error = f"not resumed: {refused.message}"
                self._alert("bot_error", bot, bot.error)
            self.publish(bot)

    def _resume(self, bot: Bot) -> None:
        lease, paused, until = self.leases.get(bot.id), bot.was_paused, bot.paused_until
        if bot.was_running and bot.spec.auto_resume and bot.spec.kind is Kind.STRATEGIES:
            self.start(bot.id, SYSTEM)
        elif lease is not None:
            bot.was_running, bot.was_paused = False, False
            self.moved(bot, Move.START)
            self.moved(bot, Move.READY)
        if paused and bot.state.alive:
            self.pause(bot.id, SYSTEM, until)

    def drain(self) -> None:
        """Begin no further cycle because the server stops; what ran is remembered as running."""
        self._stopping = True
        self.leases.stop()
        for bot in self._bots.values():
            if bot.runner is not None:
                bot.runner.stop()

    async def run(self) -> None:
        """Publish every five seconds, and let pauses end."""
        while True:
            await asyncio.sleep(BEAT_S)
            with contextlib.suppress(Refused):
                self._desk.check_room()
                self.make_up()
            self._weigh()
            for bot in self.all():
                until = bot.paused_until if bot.state is BotState.PAUSED else None
                if until is not None and until <= self._desk.now():
                    self.unpause(bot.id, SYSTEM)
                self.publish(bot)
                # Two hundred bots are ten milliseconds: nobody waits for all of them.
                await asyncio.sleep(0)

    # -- what people wish ------------------------------------------------------------------------------

    def configure(self, spec: BotSpec, who: Who) -> Bot:
        """Create a bot or change it; a running one takes the change before its next cycle.

        Raises:
            Refused: `conflict`, when its kind would change while it is alive; `invalid` or `not_found`, when the
                strategies do not fit.
        """
        self._desk.check_room()
        bot, new = self._bots.get(spec.id), list[Projection]()
        if spec.kind is Kind.STRATEGIES:
            rules = self.rules(spec)
            if spec.strategies is not None:
                self.made(rules)
        else:
            self._schedule(spec)
        if bot is None:
            # A deleted bot of this name leaves its fills behind, not what they earned.
            base = self._desk.engine.shares.earned(spec.id)
            bot = self._bots[spec.id] = Bot(spec, counters=Counters(base=base))
            new = [self._counted(bot)]
        else:
            if spec.kind is not bot.spec.kind and bot.state.alive:
                raise Refused(Code.CONFLICT, f"bot {spec.id} is {bot.state}; stop it first")
            bot.spec = spec
            if bot.runner is not None:
                bot.runner.renew(spec)
        self._note("parameter_changed", bot, who, {"version": spec.version})
        self._keep(bot, new)
        self.publish(bot)
        self._book.show()
        return bot

    def delete(self, bot_id: str, who: Who) -> None:
        """Forget a bot; its orders and decisions stay. The last that `bot:ID` says of it is `deleted: true`.

        Raises:
            Refused: `not_found`; `conflict` unless it is stopped, and for `main`.
        """
        bot = self.get(bot_id)
        if bot_id == MAIN:
            raise Refused(Code.CONFLICT, "bot main always exists")
        if bot.state is not BotState.STOPPED or bot.once:
            raise Refused(Code.CONFLICT, f"bot {bot_id} is {bot.state}; stop it first")
        last = self.rows.state_row(bot) | {"deleted": True}
        del self._bots[bot_id]
        self._keep(bot)
        self._note("bot_deleted", bot, who, {})
        self._hub.table("bots", gone=[bot_id])
        self._hub.value(f"bot:{bot_id}", last)
        self._book.show()

    def start(self, bot_id: str, who: Who) -> bool:
        """Start a bot; False when it runs already.

        Raises:
            Refused: `not_found`; `conflict` or `halted`, see `after`; `conflict` for a remote bot.
        """
        bot = self.get(bot_id)
        if bot.spec.kind is Kind.REMOTE:
            return self._unbar(bot, who)
        bot.check_free()
        if after(bot_id, bot.state, Move.START) is bot.state:
            return False
        self._desk.check_room()
        bot.desired, bot.was_running, bot.error = BotState.RUNNING, False, None
        bot.started_ts, bot.was_paused = self._desk.now(), False
        bot.runner = Runner(bot.spec, self._tools, _Reports(self, bot), bot.counters.cycles)
        self.moved(bot, Move.START)
        self._note("bot_started", bot, who, {})
        bot.task = self._crew.spawn(self._live(bot, bot.runner), f"bot {bot_id}")
        self._weigh()
        return True

    def _unbar(self, bot: Bot, who: Who) -> bool:
        """Let the program of a stopped remote bot attach again."""
        if not bot.barred:
            raise Refused(
                Code.CONFLICT, f"bot {bot.id} is remote: it runs while a client holds bot.attach"
            )
        after(bot.id, bot.state, Move.START)
        self._desk.check_room()
        bot.barred = False
        self._note("bot_started", bot, who, {})
        self._keep(bot)
        self.publish(bot)
        return True

    async def _live(self, bot: Bot, runner: Runner) -> None:
        """Be a bot until it ends."""
        try:
            await runner.run()
        except Broken as broken:
            # A bot that was halted, rearmed and started meanwhile has another runner by now.
            if bot.runner is runner:
                bot.runner = None
                await self._broke(bot, str(broken))
        else:
            if bot.runner is runner:
                bot.runner = None
            if not self._stopping and bot.state is not BotState.STOPPING:
                self.publish(bot)

    async def _broke(self, bot: Bot, error: str) -> None:
        """Put a bot into `error`, and its orders where `on_error` says."""
        bot.error = error
        self.moved(bot, Move.FAIL)
        self._note("bot_error", bot, None, {"error": error})
        self._alert("bot_error", bot, error)
        who = self._who(bot, "bots")
        if bot.spec.on_error is not OnError.LEAVE:
            await self.exits.withdraw(self.exits.resting(bot.id), who)
        if bot.spec.on_error is OnError.FLATTEN:
            await self.exits.close(bot.id, who)

    def stop(
        self,
        bot_id: str,
        who: Who,
        *,
        immediate: bool = False,
        cancel_orders: bool = True,
        close_positions: bool = False,
        timeout_s: float = STOP_S,
        detached: bool = False,
    ) -> Awaitable[tuple[bool, Canceled, list[Row]]]:
        """Stop a bot and do with its orders and positions as asked; no cycle begins once this has returned.

        The program of a remote bot may attach again after `start`, unless it has `detached` itself.

        Returns:
            Whether anything changed, what became of its orders, and of its positions.
        """
        bot = self.get(bot_id)
        before = bot.state
        changed = before is not after(bot_id, before, Move.STOP)
        # One that a restart has stopped may be about to be resumed by the next one.
        changed = changed or bot.was_running or bot.was_paused
        bot.desired, bot.was_running, bot.was_paused = BotState.STOPPED, False, False
        barred = bot.spec.kind is Kind.REMOTE and (bot.barred or not detached)
        changed = changed or barred is not bot.barred
        bot.barred = barred
        if changed:
            self.moved(bot, Move.STOP)
            self._note("bot_stopped", bot, who, {"immediate": immediate})
        self.leases.release(bot_id)
        if bot.runner is not None:
            bot.runner.stop()

        async def rest() -> tuple[bool, Canceled, list[Row]]:
            await self._end_task(bot, immediate=immediate, timeout_s=timeout_s)
            if bot.state is BotState.STOPPING:
                self.moved(bot, Move.ENDED)
            canceled, closed = Canceled(), []
            if cancel_orders:
                canceled = await self.exits.withdraw(self.exits.resting(bot_id), who)
            if close_positions:
                closed = await self.exits.close(bot_id, who)
            return changed or bool(canceled.canceled or closed), canceled, closed

        return rest()

    async def _end_task(self, bot: Bot, *, immediate: bool, timeout_s: float) -> None:
        """Wait for a cycle under way, within a bound; an order on its way is awaited in any case."""
        task, runner = bot.task, bot.runner
        if task is None or task.done() or runner is None:
            return
        runner.stop()
        if not immediate or runner.submitting:
            await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=timeout_s)
        if bot.task is task:
            bot.runner, bot.task = None, None

    def pause(self, bot_id: str, who: Who, until: int | None) -> bool:
        """Hold entries back; False when they were.

        Raises:
            Refused: `not_found`, `conflict`, `halted`.
        """
        bot = self.get(bot_id)
        changed = after(bot_id, bot.state, Move.PAUSE) is not bot.state
        changed = changed or until != bot.paused_until
        bot.paused_until = until
        if bot.runner is not None:
            bot.runner.paused = True
        if changed:
            self.moved(bot, Move.PAUSE)
            self._note("bot_paused", bot, who, {"until_ts": None if until is None else until // MS})
        return changed

    def unpause(self, bot_id: str, who: Who) -> bool:
        """Let entries through again; False when they were."""
        bot = self.get(bot_id)
        changed = after(bot_id, bot.state, Move.RESUME) is not bot.state
        bot.paused_until = None
        if bot.runner is not None:
            bot.runner.paused = False
        if changed:
            self.moved(bot, Move.RESUME)
            self._note("bot_resumed", bot, who, {})
        return changed

    def run_once(self, bot_id: str, who: Who) -> Awaitable[list[Row]]:
        """Make one cycle now and give its records; it is on its way when this returns.

        Raises:
            Refused: `not_found`; `conflict` for a remote bot, in a state without cycles, or when it failed;
                `halted`; `busy`, where a decision would not be kept.
        """
        bot = self.get(bot_id)
        if bot.spec.kind is Kind.REMOTE:
            raise Refused(Code.CONFLICT, f"bot {bot_id} is remote: it runs its own cycles")
        bot.check_free()
        self._desk.check_room()
        if bot.runner is not None and not bot.runner.stopping:
            return bot.runner.once()
        after(bot_id, bot.state, Move.START)
        if bot.state.alive:
            raise Refused(Code.CONFLICT, f"bot {bot_id} is {bot.state}; try again", retry_after=1.0)
        self._note("bot_run_once", bot, who, {})
        bot.once = True
        bot.runner = Runner(bot.spec, self._tools, _Reports(self, bot), bot.counters.cycles)
        rows: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        # A task of its own: a stop ends it, and a client that goes away does not.
        bot.task = self._crew.spawn(self._single(bot, bot.runner, rows), f"bot {bot_id} once")
        if bot.task is None:
            bot.once, bot.runner = False, None
            raise Refused(Code.BUSY, "the server is stopping", retry_after=1.0)
        return rows

    async def _single(self, bot: Bot, runner: Runner, told: "asyncio.Future[list[Row]]") -> None:
        """Make one cycle of a bot that does not run."""
        rows: list[Row] | None = None
        why = "was ended"
        try:
            await self._earned.read()
            rows = await runner.alone()
        except Broken as broken:
            why = f"failed: {broken}"
        finally:
            bot.once = False
            if bot.runner is runner:
                bot.runner = None
            if not told.done() and rows is not None:
                told.set_result(rows)
            elif not told.done():
                text = f"the cycle of bot {bot.id} {why}"
                told.set_exception(Refused(Code.CONFLICT, text, {"bot_id": bot.id}))

    def emergency_stop(
        self, bot_id: str | None, who: Who, *, flatten: bool, reason: str
    ) -> Awaitable[Row]:
        """Halt one bot and cancel its orders, or all bots and all trading; the state has changed when this returns."""
        bots = self.all() if bot_id is None else [self.get(bot_id)]
        for bot in bots:
            self._halt(bot, who, reason)
        scope = ALL if bot_id is None else f"bot:{bot_id}"
        stopping = self._trading.halt(
            Stop(scope=scope, flatten=flatten and bot_id is None, reason=reason, who=who)
        )

        async def rest() -> Row:
            for bot in bots:
                await self._end_task(bot, immediate=True, timeout_s=STOP_S)
            done = await stopping
            closed = [one.row() for one in done.closed]
            if flatten and bot_id:
                closed += await self.exits.close(bot_id, who, flat=True)
            told: Row = {
                "state": done.state,
                "bots": [bot.id for bot in bots],
                "canceled": done.canceled.canceled,
                "failed": done.canceled.failed,
                "unknown": done.canceled.unknown,
                "closed": closed,
                "journaled": done.journaled,
            }
            if done.canceled.ended:
                told["ended"] = done.canceled.ended
            return told

        return rest()

    def _halt(self, bot: Bot, who: Who, reason: str) -> None:
        bot.desired, bot.was_running, bot.was_paused = BotState.STOPPED, False, False
        bot.error = reason
        lease = self.leases.get(bot.id)
        self.leases.release(bot.id)
        if bot.runner is not None:
            bot.runner.stop()
        self.moved(bot, Move.HALT)
        self._note("bot_halted", bot, who, {"reason": reason})
        if lease is not None:
            told = {"bot_id": bot.id, "reason": reason}
            self._desk.notice(lease.subject, lease.client, "bot_halted", told)

    def rearm(self, bot_id: str, who: Who, reason: str) -> None:
        """Let a halted bot be started again.

        Raises:
            Refused: `conflict` unless it is halted; as `Trading.resume`.
        """
        bot = self.get(bot_id)
        after(bot_id, bot.state, Move.REARM)
        scope = f"bot:{bot_id}"
        if self._desk.engine.halted(scope):
            self._trading.resume(scope, reason, who, force=False)
        bot.error = None
        self.moved(bot, Move.REARM)
        self._note("bot_rearmed", bot, who, {"reason": reason})

    def reset_metrics(self, bot_id: str, who: Who) -> None:
        """Set the counters to zero; fills stay what they are."""
        bot = self.get(bot_id)
        bot.counters = Counters(base=self._desk.engine.shares.earned(bot_id))
        if bot.runner is not None:
            bot.runner.reset()
        self._keep(bot, [self._counted(bot)])
        self._note("bot_metrics_reset", bot, who, {})
        self.publish(bot)

    # -- remote bots -------------------------------------------------------------------------------

    def attaches(self, bot_id: str, who: Who) -> bool:
        """Whether `attach` would take a new lease, not renew the one that is there.

        Raises:
            Refused: `not_found`; `conflict` for a bot of another kind or one that somebody else holds; `halted`.
        """
        bot = self.get(bot_id)
        if bot.spec.kind is not Kind.REMOTE:
            raise Refused(Code.CONFLICT, f"bot {bot_id} runs strategies in this server")
        if bot.state is BotState.STOPPING:
            raise Refused(Code.CONFLICT, f"bot {bot_id} is stopping", retry_after=1.0)
        fresh = self.leases.get(bot_id) is None
        if fresh:
            after(bot_id, bot.state, Move.START)
            if bot.barred:
                raise Refused(
                    Code.CONFLICT, f"bot {bot_id} was stopped; bot.start lets it attach again"
                )
        self.leases.check_free(bot_id, who.subject, who.client)
        return fresh

    def attach(self, bot_id: str, who: Who, seconds: float | None) -> tuple[Lease, bool]:
        """Take or renew the lease of a remote bot; whether it is a new one.

        Raises:
            Refused: As `attaches`.
        """
        bot, fresh = self.get(bot_id), self.attaches(bot_id, who)
        lease = self.leases.take(bot_id, who.subject, who.client, seconds or bot.spec.lease_s)
        if fresh:
            bot.desired, bot.was_running, bot.error = BotState.RUNNING, False, None
            bot.started_ts, bot.was_paused = self._desk.now(), False
            self.moved(bot, Move.START)
            self.moved(bot, Move.READY)
            self._note("bot_attached", bot, who, {"lease_s": lease.seconds})
        bot.updated_ts = self._desk.now()
        return lease, fresh

    def detach(self, bot_id: str, who: Who, *, cancel_orders: bool) -> Awaitable[Canceled]:
        """Give a lease back; it is free when this returns.

        Raises:
            Refused: `not_found`; `conflict` for one who does not hold it.
        """
        self.get(bot_id)
        self.leases.check(bot_id, who.subject, who.client)
        stopping = self.stop(bot_id, who, cancel_orders=cancel_orders, detached=True)

        async def rest() -> Canceled:
            _, canceled, _ = await stopping
            return canceled

        return rest()

    def _lapsed(self, lease: Lease) -> None:
        """Do with what a silent program left as `on_error` says, and say so."""
        bot = self._bots[lease.bot_id]
        bot.desired = BotState.STOPPED
        bot.error = f"client {lease.client or lease.subject} was silent for {lease.seconds:g} s"
        who = Who(subject=lease.subject, client=lease.client, source="lease")
        withdrawing = None
        if bot.spec.on_error is not OnError.LEAVE:
            withdrawing = self.exits.withdraw(self.exits.resting(bot.id), who)
        self.moved(bot, Move.FAIL)
        self._note("bot_lapsed", bot, None, {"client": lease.client, "error": bot.error})
        self._alert("bot_lapsed", bot, bot.error)
        told = {"bot_id": bot.id, "reason": bot.error}
        self._desk.notice(lease.subject, lease.client, "bot_lapsed", told)
        if withdrawing is not None:
            self._crew.spawn(self._left(bot, withdrawing, who), f"lapse of {bot.id}")

    async def _left(self, bot: Bot, withdrawing: Awaitable[Canceled], who: Who) -> None:
        """See to the end that the orders of a silent program are gone, and what it held where that is wished."""
        await withdrawing
        if bot.spec.on_error is OnError.FLATTEN:
            await self.exits.close(bot.id, who)

    # -- what tasks report ---------------------------------------------------------------------------

    def moved(self, bot: Bot, move: Move) -> None:
        """Change a state, keep it and show it."""
        bot.state = after(bot.id, bot.state, move)
        if bot.state is not BotState.PAUSED:
            bot.paused_until = None
        bot.updated_ts = self._desk.now()
        self._keep(bot)
        self.publish(bot)

    def cycled(self, bot: Bot, row: Row, ms: float) -> None:
        """Count a cycle, journal its decision and show it; `signals` has only those that found room, as every list."""
        now = self._desk.now()
        bot.cycled(ms, now, ok=True)
        row["id"] = f"d-{self._desk.store.seq + 1}"
        bot.last, bot.updated_ts = row, now
        body = dumps(row)
        symbol, strategy = str(row["symbol"]), row["strategy"]
        cols = {
            "symbol": symbol,
            "bot_id": bot.id,
            "strategy": None if strategy is None else str(strategy),
        }
        project = [Projection("signals", str(row["id"]), now, cols, body), self._counted(bot)]
        room = self._append(SIGNAL, bot.id, body, project, safety=False)
        self._weigh()
        if room:
            self._hub.append("signals", orjson.loads(body))
        self.publish(bot)

    def cycle_failed(self, bot: Bot, error: str, ms: float) -> None:
        """Count a failed cycle."""
        bot.cycled(ms, self._desk.now(), ok=False)
        bot.error = error
        self._keep(bot, [self._counted(bot)])
        self.publish(bot)

    def _configured(self) -> None:
        """Let running bots take a changed configuration."""
        self._weigh()
        for bot in self._bots.values():
            if bot.runner is not None:
                bot.runner.renew(bot.spec)

    # -- orders ------------------------------------------------------------------------------------

    def _who(self, bot: Bot, source: str) -> Who:
        return Who(subject=f"bot:{bot.id}", client=bot.id, source=source, bot_id=bot.id)

    # -- keeping and showing -------------------------------------------------------------------------

    def _append(
        self,
        kind: str,
        key: str,
        body: bytes,
        project: Sequence[Projection],
        *,
        safety: bool = True,
    ) -> bool:
        """Hand a row to the journal, False where it has no room; decisions leave the room of stops and cancels alone."""
        try:
            self._desk.store.append(kind, key, body, None, project, safety=safety)
        except Refused as refused:
            _lost(key, refused)
            return False
        return True

    def _keep(self, bot: Bot, more: Sequence[Projection] = ()) -> None:
        """Journal the bot of a name as it is now, or that it is deleted."""
        bot = self._bots.get(bot.id, bot)
        if bot.id in self._bots:
            body = kept(bot, self.leases.get(bot.id))
        else:
            body = dumps({"spec": spec_row(bot.spec), "deleted": True})
        project = [Projection("bots", bot.id, self._desk.now(), body=body), *more]
        if self._append(KIND, bot.id, body, project):
            self._unkept.pop(bot.id, None)
        else:
            self._unkept[bot.id] = bot
            self._desk.no_room()

    def make_up(self) -> None:
        """Keep bots whose rows found no room before: a restart would start again what has been stopped meanwhile."""
        for bot in list(self._unkept.values()):
            self._keep(bot, [self._counted(bot)])

    def _counted(self, bot: Bot) -> Projection:
        body = dumps(asdict(bot.counters))
        return Projection("bot_counters", bot.id, self._desk.now(), body=body)

    def _note(self, kind: str, bot: Bot, who: Who | None, data: Mapping[str, object]) -> None:
        with _unhindered(bot.id):
            self._desk.note(kind, {"bot_id": bot.id, **data}, who)

    def _alert(self, kind: str, bot: Bot, error: str) -> None:
        with _unhindered(bot.id):
            self._desk.alert("error", kind, f"bot {bot.id}: {error}", {"bot_id": bot.id})

    def publish(self, bot: Bot) -> None:
        """Show a bot."""
        if bot.id in self._bots:
            self._hub.table("bots", rows=[self.rows.row(bot)])
            self._hub.value(f"bot:{bot.id}", lambda: self.rows.state_row(bot))

    def win_rates(self) -> dict[str, tuple[int, float]]:
        """Give the closed trades of each bot since its metrics were reset, and which part of them won; of those with any."""
        earned = {bot.id: self.rows.earned(bot) for bot in self.all()}
        return {
            name: (one.trades, one.win_rate)
            for name, one in earned.items()
            if one.win_rate is not None
        }

    def health(self) -> tuple[Level, str]:
        """Judge all bots for `status`: in `error`, or at work without what makes the decisions."""
        bad = [bot for bot in self.all() if bot.state is BotState.ERROR]
        bad += [b for b in self.all() if b.state in AT_WORK and not self.rows.alive(b)]
        if bad:
            return "degraded", "; ".join(f"{bot.id}: {bot.error or 'no live task'}" for bot in bad)
        running = sum(bot.state.alive for bot in self._bots.values())
        return "ok", f"{running} of {len(self._bots)} running"


@contextlib.contextmanager
def _unhindered(bot_id: str) -> Iterator[None]:
    """Go on where the journal has no room (rule 3)."""
    try:
        yield
    except Refused as refused:
        _lost(bot_id, refused)


def _lost(bot_id: str, refused: Refused) -> None:
    logger.warning("not journaled: %s", refused.message, extra={"bot": bot_id})
