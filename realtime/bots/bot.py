"""One bot: what it is told, where it stands, and the bytes that a restart finds it in."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from realtime.bots.leases import Lease
from realtime.bots.runner import Row, Runner
from realtime.desk.codec import dumps
from realtime.engine.market import plain
from realtime.model.bots import BotSpec, BotState, Counters, Earned, Kind, OnError, Trigger, Use
from realtime.model.errors import Code, Refused


@dataclass(slots=True)
class Bot:
    """One bot, changed by its supervisor alone.

    Attributes:
        desired: `running` or `stopped`, by people's last word; what a restart goes by.
        was_running: Whether it ran when the server ended; `was_paused` whether it was paused then.
        error: Why it is in state `error`, or what it recovered from last.
        paused_until: When a pause ends by itself [ns].
        started_ts: When it was started last [ns]; 0 never.
        once: Whether a single cycle of a stopped bot is under way.
        barred: Of a remote bot: whether somebody stopped it, so that its program may not just go on.
    """

    spec: BotSpec
    state: BotState = BotState.STOPPED
    desired: BotState = BotState.STOPPED
    was_running: bool = False
    was_paused: bool = False
    error: str | None = None
    paused_until: int | None = None
    started_ts: int = 0
    updated_ts: int = 0
    counters: Counters = field(default_factory=Counters)
    last: Row | None = None
    runner: Runner | None = None
    task: asyncio.Task[None] | None = None
    once: bool = False
    barred: bool = False

    @property
    def id(self) -> str:
        """Its name."""
        return self.spec.id

    def check_free(self) -> None:
        """Refuse to act beside a single cycle.

        Raises:
            Refused: `conflict`.
        """
        if self.once:
            raise Refused(Code.CONFLICT, f"bot {self.id} is making a single cycle; try again")

    def cycled(self, ms: float, now: int, *, ok: bool) -> None:
        """Count a cycle that took `ms` and ended at `now` [ns]."""
        old = self.counters
        self.counters = replace(
            old,
            cycles=old.cycles + 1,
            succeeded=old.succeeded + ok,
            failed=old.failed + (not ok),
            cycle_ms=old.cycle_ms + ms,
            last_cycle_ms=ms,
            last_cycle_ts=now,
        )


def spec_row(spec: BotSpec) -> Row:
    """Make the row of what a bot is told."""
    row = asdict(spec)
    row["symbols"] = None if spec.symbols is None else list(spec.symbols)
    row["budget"] = None if spec.budget is None else plain(spec.budget)
    row["window"] = dict(spec.window)
    return row


def spec_of(raw: Mapping[str, Any]) -> BotSpec:
    """Read a row of `spec_row`."""
    known = {one.name for one in fields(BotSpec)}
    read = {name: value for name, value in raw.items() if name in known}
    read["kind"] = Kind(read["kind"])
    read["trigger"] = Trigger(read["trigger"])
    read["on_error"] = OnError(read["on_error"])
    read["symbols"] = None if read["symbols"] is None else tuple(read["symbols"])
    read["budget"] = None if read["budget"] is None else Decimal(read["budget"])
    uses = read["strategies"]
    read["strategies"] = None if uses is None else {n: Use(**use) for n, use in uses.items()}
    return BotSpec(**read)


def kept(bot: Bot, lease: Lease | None = None) -> bytes:
    """Make the bytes that the journal keeps of a bot."""
    return dumps(
        {
            "spec": spec_row(bot.spec),
            "state": bot.state,
            "desired": bot.desired,
            "was_running": bot.was_running,
            "was_paused": bot.was_paused,
            "error": bot.error,
            "paused_until": bot.paused_until,
            "started_ts": bot.started_ts,
            "updated_ts": bot.updated_ts,
            "barred": bot.barred,
            "lease": None if lease is None else asdict(lease),
        }
    )


def bot_of(raw: Mapping[str, Any]) -> Bot:
    """Read a bot as a restart finds it: what was alive is stopped, and was running."""
    state = BotState(raw["state"])
    ran = (state.alive and state is not BotState.STOPPING) or raw["was_running"]
    return Bot(
        spec=spec_of(raw["spec"]),
        state=BotState.STOPPED if state.alive else state,
        desired=BotState(raw["desired"]),
        was_running=ran,
        was_paused=state is BotState.PAUSED or raw.get("was_paused", False),
        paused_until=raw["paused_until"],
        barred=raw.get("barred", False),
        error=raw["error"],
        started_ts=raw["started_ts"],
        updated_ts=raw["updated_ts"],
    )


def counters_of(raw: Mapping[str, Any]) -> Counters:
    """Read the row of `bot_counters`."""
    base = raw["base"]
    money = {name: Decimal(base[name]) for name in ("realized", "fees", "profit", "loss")}
    earned = Earned(trades=base["trades"], wins=base["wins"], **money)
    return Counters(**{**raw, "base": earned})
