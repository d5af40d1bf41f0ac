"""Ops of bots: their lives, what they are told, what they decided, and leases of programs outside."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import Field

from realtime.bots.bot import Bot, spec_row
from realtime.bots.exits import STOP_S
from realtime.bots.supervisor import Supervisor
from realtime.commands import naming
from realtime.commands.order import Fields, canceled_row
from realtime.commands.params import (
    ChangeParams,
    CommandParams,
    Instant,
    ListParams,
    Name,
    Params,
    Part,
    Positive,
    RequestId,
    Symbol,
    Text,
    Word,
    invalid,
)
from realtime.commands.registry import Answer, Call, Op
from realtime.commands.trading import halt_effect
from realtime.desk.desk import Desk
from realtime.desk.trading import Canceled, Stop
from realtime.model.bots import (
    MAIN,
    BotSpec,
    BotState,
    Kind,
    Move,
    OnError,
    Trigger,
    Use,
    after,
)
from realtime.model.errors import Code, Refused
from realtime.model.market import MS
from realtime.model.orders import Asked


BotId = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$", examples=["main"])]
Fraction = Annotated[float, Field(ge=0, le=1)]
Timeframe = Literal["1m", "5m", "15m", "1h", "4h", "1d"]
STREAMS: Final = ("alerts", "bots", "config", "orders", "positions", "risk", "status")
SUCCESS: Final = 0.8
"""Share of good cycles below which a bot's health is a warning."""
SLOW_MS: Final = 300_000
MOST_BOTS: Final = 256


class ReadParams(Params):
    """Which bot."""

    bot_id: BotId = MAIN


class BotParams(ChangeParams):
    """Which bot."""

    bot_id: BotId = MAIN


class UseParams(Part):
    """How a bot uses a strategy; parameters not given are the configuration's."""

    weight: Fraction = 1.0
    min_confidence: Fraction = 0.0
    params: Annotated[dict[Name, Any], Field(max_length=64)] = Field(default_factory=dict)


class PatchParams(Part):
    """What is to change; null of an optional key takes the configuration's."""

    kind: Word[Kind] | None = None
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=64)] | None = None
    timeframe: Timeframe | None = None
    strategies: Annotated[dict[Name, UseParams], Field(min_length=1, max_length=32)] | None = None
    trigger: Word[Trigger] | None = None
    cycle_interval_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    max_retries: Annotated[int, Field(ge=1, le=100)] | None = None
    retry_delay_s: Annotated[float, Field(ge=0, le=3_600)] | None = None
    dry_run: bool | None = None
    auto_resume: bool | None = None
    allow_short: bool | None = None
    pyramiding: bool | None = None
    on_error: Word[OnError] | None = None
    budget: Positive | None = None
    window: Annotated[dict[Name, Any], Field(max_length=16)] | None = None
    lease_s: Annotated[float, Field(ge=1, le=3_600)] | None = None


OPTIONAL: Final = frozenset({"symbols", "timeframe", "strategies", "budget"})
"""Keys whose null means something."""


class ConfigureParams(BotParams):
    """What a bot is told."""

    patch: PatchParams
    version: Annotated[int, Field(ge=1)] | None = None


class StopParams(CommandParams):
    """How to stop."""

    bot_id: BotId = MAIN
    immediate: bool = False
    cancel_orders: bool = True
    close_positions: bool = False
    timeout_s: Annotated[float, Field(ge=0, le=120)] = STOP_S


class PauseParams(CommandParams):
    """Until when; without an end until `bot.resume`."""

    bot_id: BotId = MAIN
    until_ts: Instant | None = None


class OnceParams(CommandParams):
    """One cycle now."""

    bot_id: BotId = MAIN
    request_id: RequestId | None = None


class EmergencyParams(CommandParams):
    """Which bot; all, and all trading, without one."""

    bot_id: BotId | None = None
    flatten: bool = False
    reason: Text = ""


class RearmParams(BotParams):
    """Why it may trade again."""

    reason: Text = "rearmed"


class ValidateParams(Params):
    """A bot, and what would change; `config` alone is a new bot's."""

    bot_id: BotId = MAIN
    config: PatchParams | None = None


class DecisionsParams(ListParams):
    """Which decisions; newest first."""

    bot_id: BotId = MAIN
    since: Instant | None = None


class AttachParams(CommandParams):
    """How long this client may be silent; renewed by sending it again."""

    bot_id: BotId
    lease_s: Annotated[float, Field(ge=1, le=3_600)] | None = None


class DetachParams(CommandParams):
    """Give the lease back."""

    bot_id: BotId
    cancel_orders: bool = True


class Bots:
    """The handlers."""

    def __init__(self, desk: Desk, bots: Supervisor) -> None:
        self._desk = desk
        self._bots = bots

    # -- reading -----------------------------------------------------------------------------------

    def page(self, _call: Call[Params]) -> Answer:
        """List bots."""
        return Answer(result={"bots": [self._bots.rows.row(bot) for bot in self._bots.all()]})

    def status(self, call: Call[ReadParams]) -> Answer:
        """Give one bot whole."""
        return Answer(result=self._bots.rows.state_row(self._bots.get(call.params.bot_id)))

    def health(self, call: Call[ReadParams]) -> Answer:
        """Judge how a bot is doing."""
        bot = self._bots.get(call.params.bot_id)
        rate, mean = bot.counters.success_rate, bot.counters.average_ms
        alive = self._bots.rows.alive(bot)
        errors = [bot.error or "in state error"] if bot.state is BotState.ERROR else []
        if bot.state in {BotState.RUNNING, BotState.PAUSED} and not alive:
            errors.append("running without a live task")
        warnings: list[str] = []
        if rate is not None and rate < SUCCESS:
            warnings.append(f"only {rate:.0%} of {bot.counters.cycles} cycles succeeded")
        if mean is not None and mean > SLOW_MS:
            warnings.append(f"a cycle takes {mean / 1000:.0f} s on average")
        if bot.state is BotState.HALTED:
            warnings.append(f"halted: {bot.error}")
        checks: list[Fields] = [
            {"name": "state", "value": bot.state, "ok": bot.state is not BotState.ERROR},
            {"name": "task_alive", "value": alive, "ok": alive or not bot.state.alive},
            {"name": "success_rate", "value": rate, "ok": rate is None or rate >= SUCCESS},
            {"name": "average_cycle_ms", "value": mean, "ok": mean is None or mean <= SLOW_MS},
        ]
        status = "error" if errors else "warning" if warnings else "healthy"
        told: Fields = {"bot_id": bot.id, "status": status, "checks": checks}
        return Answer(result=told | {"warnings": warnings, "errors": errors})

    async def validate(self, call: Call[ValidateParams]) -> Answer:
        """Judge what a bot is told, without changing anything."""
        params = call.params
        if params.config is None:
            self._bots.get(params.bot_id)
        checks: list[Fields] = []
        errors: list[str] = []
        warnings: list[str] = []

        def add(name: str, message: str | None, *, grave: bool = True, **more: object) -> None:
            checks.append({"name": name, "ok": message is None, "message": message} | more)
            if message is not None:
                (errors if grave else warnings).append(message)

        try:
            spec = self._spec(params.bot_id, params.config)
            rules = self._bots.rules(spec)
            warmup = self._bots.made(rules).warmup
        except Refused as refused:
            add("configuration", refused.message)
            return Answer(result=_verdict(params.bot_id, checks, warnings, errors))
        add("configuration", None)
        engine = self._desk.engine
        unknown = [symbol for symbol in rules.symbols if symbol not in engine.markets]
        add("symbols", f"no market {', '.join(unknown)}" if unknown else None)
        remote = spec.kind is Kind.REMOTE
        add("strategies", None if rules.weights or remote else "no strategy is enabled")
        total = sum(weight.weight for weight in rules.weights.values())
        off = abs(total - 1) > 0.01 and not remote
        add("weights", f"weights sum to {total:g}, not to 1" if off else None, grave=False)
        add("window", None)
        inverse = [s for s in rules.symbols if s in engine.markets and engine.markets[s].inverse]
        why = f"orders in the inverse contracts {', '.join(inverse)} are not supported"
        add("bracket", why if inverse else None, support=None if inverse else "native")
        few = [] if unknown or remote else await self._bots.missing(rules, warmup)
        add("warmup", "; ".join(few) or None, grave=False, bars=warmup)
        quotes = {engine.markets[s].cash for s in rules.symbols if s in engine.markets}
        poor = [currency for currency in sorted(quotes) if not engine.free(currency)]
        add("balance", f"no {', '.join(poor)} is free" if poor else None, grave=False)
        if not engine.ready:
            add("account", "the account is not reconciled yet", grave=False)
        return Answer(result=_verdict(params.bot_id, checks, warnings, errors))

    async def decisions(self, call: Call[DecisionsParams]) -> Answer:
        """Give what a bot decided, newest first."""
        params = call.params
        self._bots.get(params.bot_id)
        page = await self._desk.store.signals(
            bot_id=params.bot_id,
            since=naming.ns(params.since),
            limit=params.limit,
            cursor=params.cursor,
        )
        rows = [orjson.loads(entry.body) for entry in page.rows]
        return Answer(result={"decisions": rows, "next_cursor": page.next_cursor})

    # -- what it is told ---------------------------------------------------------------------------

    def _spec(self, bot_id: str, patch: PatchParams | None) -> BotSpec:
        """Make what a bot would be told.

        Raises:
            Refused: `not_found` for a symbol; `invalid`.
        """
        old = self._bots.spec(bot_id) or BotSpec(id=bot_id, version=0)
        changes: Fields = {}
        for name in patch.model_fields_set if patch is not None else ():
            value = getattr(patch, name)
            if value is None and name not in OPTIONAL:
                raise invalid(f"patch.{name}", "must not be null")
            if name == "strategies" and value is not None:
                value = {one: Use(**use.model_dump()) for one, use in value.items()}
            if name == "symbols" and value is not None:
                markets = self._desk.engine.markets
                value = tuple(naming.market_of(markets, symbol).symbol for symbol in value)
                if len(set(value)) < len(value):
                    raise invalid("patch.symbols", "names a market twice")
            changes[name] = value
        return replace(old, **changes, version=old.version + 1)  # type: ignore[arg-type]  # read above

    def configure(self, call: Call[ConfigureParams]) -> Awaitable[Answer]:
        """Create or change a bot."""
        params = call.params
        old = self._bots.spec(params.bot_id)
        if params.version is not None and params.version != (old.version if old else None):
            now = "is new" if old is None else f"is at version {old.version}"
            raise Refused(
                Code.CONFLICT,
                f"bot {params.bot_id} {now}, not at {params.version}",
                {"version": None if old is None else old.version},
            )
        if old is None and len(self._bots.all()) >= MOST_BOTS:
            raise Refused(Code.CONFLICT, f"there can be at most {MOST_BOTS} bots")
        bot = self._bots.configure(self._spec(params.bot_id, params.patch), naming.who_of(call))
        result = spec_row(bot.spec) | {"state": bot.state, "created": old is None}
        return self._settled(bot.id, result)

    def delete(self, call: Call[BotParams]) -> Awaitable[Answer]:
        """Forget a bot."""
        self._bots.delete(call.params.bot_id, naming.who_of(call))
        bot_id = call.params.bot_id
        return self._settled(bot_id, {"bot_id": bot_id, "deleted": True})

    # -- its life ----------------------------------------------------------------------------------

    def start(self, call: Call[BotParams]) -> Awaitable[Answer]:
        """Start a bot."""
        changed = self._bots.start(call.params.bot_id, naming.who_of(call))
        return self._state(call.params.bot_id, changed=changed)

    def stop(self, call: Call[StopParams]) -> Any:
        """Stop a bot."""
        params = call.params
        if params.dry_run:
            bot = self._bots.get(params.bot_id)
            cancels, closes = params.cancel_orders, params.close_positions
            return _dry(self._effect(bot, stopped(bot), cancels=cancels, closes=closes))
        stopping = self._bots.stop(
            params.bot_id,
            naming.who_of(call),
            immediate=params.immediate,
            cancel_orders=params.cancel_orders,
            close_positions=params.close_positions,
            timeout_s=params.timeout_s,
        )
        return self._stopped(params.bot_id, stopping)

    async def _stopped(
        self, bot_id: str, stopping: Awaitable[tuple[bool, Canceled, list[Fields]]]
    ) -> Answer:
        changed, canceled, closed = await stopping
        told = {**canceled_row(canceled), "unknown": canceled.unknown, "closed": closed}
        return await self._state(bot_id, changed=changed, **told)

    def _effect(
        self, bot: Bot, state: BotState, *, cancels: bool = False, closes: bool = False
    ) -> Fields:
        """Say the state that a bot will be in, and how many of its orders and positions will be gone."""
        exits = self._bots.exits
        return {
            "state": state,
            "orders": len(exits.resting(bot.id)) if cancels else 0,
            "positions": sum(1 for _ in exits.owned(bot.id, withdrawn=cancels)) if closes else 0,
        }

    def pause(self, call: Call[PauseParams]) -> Any:
        """Hold entries back."""
        params = call.params
        if params.until_ts is not None and params.until_ts * MS <= self._desk.now():
            raise invalid("until_ts", "must be in the future")
        if params.dry_run:
            bot = self._bots.get(params.bot_id)
            return _dry(self._effect(bot, after(bot.id, bot.state, Move.PAUSE)))
        changed = self._bots.pause(params.bot_id, naming.who_of(call), naming.ns(params.until_ts))
        return self._state(params.bot_id, changed=changed)

    def resume(self, call: Call[BotParams]) -> Awaitable[Answer]:
        """Let entries through again."""
        changed = self._bots.unpause(call.params.bot_id, naming.who_of(call))
        return self._state(call.params.bot_id, changed=changed)

    def run_once(self, call: Call[OnceParams]) -> Awaitable[Answer]:
        """Make one cycle now."""
        bot_id = call.params.bot_id
        if call.params.dry_run:
            raise invalid("dry_run", "is set by bot.configure{patch:{dry_run}}")
        return self._decided(bot_id, self._bots.run_once(bot_id, naming.who_of(call)))

    async def _decided(self, bot_id: str, making: Awaitable[list[Fields]]) -> Answer:
        rows = await making
        await self._desk.settled()
        return Answer(
            result={"bot_id": bot_id, "decisions": rows}, at=self._at([bot_id], "signals")
        )

    def emergency_stop(self, call: Call[EmergencyParams]) -> Any:
        """Halt at once."""
        params = call.params
        bots = [self._bots.get(params.bot_id)] if params.bot_id else self._bots.all()
        who, reason = naming.who_of(call), params.reason or "emergency stop"
        if params.dry_run:
            effect: Fields = {
                "bots": {
                    bot.id: self._effect(bot, BotState.HALTED, cancels=True, closes=params.flatten)
                    for bot in bots
                }
            }
            if params.bot_id is None:
                stop = Stop(flatten=params.flatten, reason=reason, who=who)
                effect |= halt_effect(self._desk, stop)
            return _dry(effect)
        stopping = self._bots.emergency_stop(
            params.bot_id, who, flatten=params.flatten, reason=reason
        )
        return self._emergency([bot.id for bot in bots], stopping)

    async def _emergency(self, which: Sequence[str], stopping: Any) -> Answer:
        result = await stopping
        return Answer(result=result, at=self._at(which))

    def rearm(self, call: Call[RearmParams]) -> Awaitable[Answer]:
        """Let a halted bot start again."""
        bot_id = call.params.bot_id
        halted = self._desk.engine.halted(f"bot:{bot_id}")
        changed = self._bots.get(bot_id).state is BotState.HALTED or halted
        if changed:
            self._bots.rearm(bot_id, naming.who_of(call), call.params.reason)
        return self._state(bot_id, changed=changed)

    def rearm_effect(self, call: Call[RearmParams]) -> Fields | None:
        """What a rearmed bot would have; None for one that is not halted."""
        bot = self._bots.get(call.params.bot_id)
        if bot.state is not BotState.HALTED:
            return None
        row = self._bots.rows.state_row(bot)
        orders, held = row["open_orders"], row["positions"]
        assert isinstance(orders, list)
        assert isinstance(held, list)
        return {"state": BotState.STOPPED, "orders": len(orders), "positions": len(held)}

    def reset_metrics(self, call: Call[BotParams]) -> Awaitable[Answer]:
        """Set counters to zero."""
        self._bots.reset_metrics(call.params.bot_id, naming.who_of(call))
        return self._state(call.params.bot_id, changed=True)

    # -- leases ------------------------------------------------------------------------------------

    def attach(self, call: Call[AttachParams]) -> Any:
        """Take or renew a lease."""
        params = call.params
        if params.dry_run:
            fresh = self._bots.attaches(params.bot_id, naming.who_of(call))
            bot = self._bots.get(params.bot_id)
            return _dry(self._effect(bot, BotState.RUNNING if fresh else bot.state))
        lease, fresh = self._bots.attach(params.bot_id, naming.who_of(call), params.lease_s)
        bot = self._bots.get(params.bot_id)
        result: Fields = {
            "bot_id": bot.id,
            "state": bot.state,
            "changed": fresh,
            "attached": fresh,
            "lease_s": lease.seconds,
            "expires_ts": lease.expires_ts // MS,
            "budget": self._bots.rows.budget_row(bot.id),
            "symbols": None if bot.spec.symbols is None else list(bot.spec.symbols),
        }
        # A renewal is a heartbeat: it changes nothing that is kept, so it does not wait for the disk.
        return self._settled(bot.id, result) if fresh else Answer(result=result)

    def detach(self, call: Call[DetachParams]) -> Any:
        """Give a lease back."""
        params, who = call.params, naming.who_of(call)
        bot = self._bots.get(params.bot_id)
        free = bot.spec.kind is Kind.REMOTE and self._bots.leases.get(bot.id) is None
        resting = any(
            o.cancel_state is not Asked.REQUESTED for o in self._bots.exits.resting(bot.id)
        )
        # Said again, or after the lease had lapsed.
        done = free and not (params.cancel_orders and resting)
        if params.dry_run:
            if not done:
                self._bots.leases.check(bot.id, who.subject, who.client)
            state = bot.state if done else stopped(bot)
            return _dry(self._effect(bot, state, cancels=params.cancel_orders))
        if done:
            return self._detached(bot.id, None)
        detaching = self._bots.detach(bot.id, who, cancel_orders=params.cancel_orders)
        return self._detached(bot.id, detaching)

    async def _detached(self, bot_id: str, detaching: Awaitable[Canceled] | None) -> Answer:
        canceled = Canceled() if detaching is None else await detaching
        told = {**canceled_row(canceled), "unknown": canceled.unknown}
        return await self._state(bot_id, changed=detaching is not None, **told)

    # -- answers -----------------------------------------------------------------------------------

    async def _state(self, bot_id: str, *, changed: bool, **told: object) -> Answer:
        bot: Bot = self._bots.get(bot_id)
        result: Mapping[str, object] = self._bots.rows.state_row(bot) | {"changed": changed} | told
        return await self._settled(bot_id, result)

    async def _settled(self, bot_id: str, result: Mapping[str, object]) -> Answer:
        self._bots.make_up()
        await self._desk.settled()
        return Answer(result=result, at=self._at([bot_id]))

    def _at(self, bot_ids: Sequence[str], *more: str) -> Mapping[str, object]:
        names = (*STREAMS, *more, *(f"bot:{bot_id}" for bot_id in bot_ids))
        return self._desk.outlet.named(names)


def stopped(bot: Bot) -> BotState:
    """The state that stopping leads to, once what is under way has ended."""
    state = after(bot.id, bot.state, Move.STOP)
    return after(bot.id, state, Move.ENDED) if state is BotState.STOPPING else state


def _dry(effect: Fields) -> Answer:
    return Answer(result={"dry_run": True, "effect": effect})


def _verdict(bot_id: str, checks: list[Fields], warnings: list[str], errors: list[str]) -> Fields:
    status = "error" if errors else "warning" if warnings else "valid"
    return {
        "bot_id": bot_id,
        "status": status,
        "checks": checks,
        "warnings": warnings,
        "errors": errors,
    }


def ops(desk: Desk, supervisor: Supervisor) -> list[Op]:
    """Make the rows of the table."""
    bots = Bots(desk, supervisor)
    found = (Code.NOT_FOUND,)
    life = (Code.NOT_FOUND, Code.CONFLICT, Code.HALTED)

    def query(name: str, params: type[Params], handler: Any, summary: str, **more: Any) -> Op:
        given: dict[str, Any] = {"errors": found, "example": {"bot_id": MAIN}} | more
        return Op(
            name=f"bot.{name}",
            params=params,
            scope="read",
            lane="query",
            handler=handler,
            summary=summary,
            **given,
        )

    def command(name: str, params: type[Params], handler: Any, summary: str, **more: Any) -> Op:
        given: dict[str, Any] = {
            "scope": "bots",
            "lane": "query",
            "errors": life,
            "example": {"bot_id": MAIN},
        } | more
        return Op(
            name=f"bot.{name}",
            params=params,
            handler=handler,
            summary=summary,
            command=True,
            **given,
        )

    return [
        query("list", Params, bots.page, "List all bots", errors=(), example={}),
        query(
            "status",
            ReadParams,
            bots.status,
            "Show the full state of a bot: counters, budget, window, orders, positions, last decision",
            http=("GET /api/bot-status", "GET /api/bot/status"),
        ),
        query("health", ReadParams, bots.health, "Run the health checks of a bot"),
        query(
            "validate",
            ValidateParams,
            bots.validate,
            "Check whether a bot could run with its present or a proposed configuration",
        ),
        query(
            "decisions",
            DecisionsParams,
            bots.decisions,
            "List the decisions of a bot with their reasons, newest first",
        ),
        command(
            "configure",
            ConfigureParams,
            bots.configure,
            "Create a bot or change its configuration",
            errors=(Code.INVALID, Code.NOT_FOUND, Code.CONFLICT),
            idempotency="version",
            example={"bot_id": "trend", "patch": {"symbols": ["BTC/USDT"], "dry_run": True}},
        ),
        command("delete", BotParams, bots.delete, "Delete a stopped bot", example={"bot_id": "x"}),
        command("start", BotParams, bots.start, "Start a bot", http=("POST /api/bot/start",)),
        command(
            "stop",
            StopParams,
            bots.stop,
            "Stop a bot; a running cycle finishes first unless `immediate` is set",
            lane="safety",
            http=("POST /api/bot/stop",),
        ),
        command(
            "pause",
            PauseParams,
            bots.pause,
            "Pause the entries of a bot; its exits continue",
            lane="safety",
        ),
        command("resume", BotParams, bots.resume, "Resume the entries of a paused bot"),
        command(
            "run_once",
            OnceParams,
            bots.run_once,
            "Run one cycle of a bot now and return its decisions",
            lane="orders",
            idempotency="request_id",
        ),
        command(
            "emergency_stop",
            EmergencyParams,
            bots.emergency_stop,
            "Halt a bot and cancel its orders; without `bot_id`, halt all bots and all trading",
            lane="safety",
            errors=found,
            example={"bot_id": MAIN, "reason": "something looks wrong"},
        ),
        command(
            "rearm",
            RearmParams,
            bots.rearm,
            "Rearm a halted bot, so that it can be started again",
            scope="admin",
            effect=bots.rearm_effect,
        ),
        command(
            "reset_metrics", BotParams, bots.reset_metrics, "Reset the counters of a bot to zero"
        ),
        command(
            "attach",
            AttachParams,
            bots.attach,
            "Take or renew the lease of a remote bot; when the lease expires, the bot's orders are canceled",
            lane="safety",
            example={"bot_id": "outside", "lease_s": 30},
        ),
        command(
            "detach",
            DetachParams,
            bots.detach,
            "Release the lease of a remote bot and, unless told otherwise, cancel its orders",
            lane="safety",
            example={"bot_id": "outside"},
        ),
    ]
