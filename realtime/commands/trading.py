"""Ops of the trading state: halt, resume, deadman."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from realtime.commands import naming
from realtime.commands.order import Fields, canceled_row
from realtime.commands.params import (
    ChangeParams,
    CommandParams,
    Name,
    Params,
    Symbol,
    Text,
    Why,
    Word,
    invalid,
)
from realtime.commands.registry import Answer, Call, Op
from realtime.desk.crew import Crew
from realtime.desk.deadman import Action, Deadman, Scope, Switch
from realtime.desk.desk import Desk
from realtime.desk.sweep import Sweep, in_scope, stopped_at_the_door
from realtime.desk.trading import ALL, Stop, Stopped, Trading, scope_has
from realtime.engine.market import figure
from realtime.model.errors import Code, Failure, Refused
from realtime.model.market import MS, SECOND
from realtime.model.risk import TradingState


Given = Answer | Awaitable[Answer]

# Commands are answered within 10 s, so a timer below a second could fire before its own reply.
LEAST_S: Final = 1
MOST_S: Final = 86_400
STATES: Final = ("alerts", "risk", "status")


class ScopeParams(CommandParams):
    """What a trading state is for: at most one; everything without."""

    venue: Name | None = None
    symbol: Symbol | None = None
    bot_id: Name | None = None


class HaltParams(ScopeParams):
    """How to stop."""

    state: Literal["halted", "reducing"] = "halted"
    cancel: bool = True
    flatten: bool = False
    protection: Literal["keep", "cancel"] = "keep"
    reason: Text = ""


class ResumeParams(ChangeParams):
    """What may trade again."""

    venue: Name | None = None
    symbol: Symbol | None = None
    bot_id: Name | None = None
    reason: Why
    force: bool = False


def check_scope(params: Params, venue: str) -> None:
    """Refuse what names several things, or another account than `venue`.

    Raises:
        Refused: `invalid`, `not_found`.
    """
    given = {name: getattr(params, name, None) for name in ("venue", "symbol", "bot_id")}
    first, *more = [name for name, value in given.items() if value is not None] or [""]
    if more:
        raise invalid(more[0], f"and {first} exclude each other")
    if given["venue"] not in {None, venue}:
        raise Refused(Code.NOT_FOUND, f"no venue {given['venue']}", {"what": "venue"})


class DeadmanParams(CommandParams):
    """When to cancel this client's orders without being asked."""

    timeout: Annotated[float, Field(ge=0, le=MOST_S)] | None = None
    grace: Annotated[float, Field(ge=0, le=MOST_S)] | None = None
    scope: Word[Scope] = Scope.CLIENT
    action: Word[Action] = Action.CANCEL
    include_protection: bool = False


Native = Callable[[float | None], Awaitable[bool]]
"""Arms a venue's own timer [s], or (None) switches it off; says whether there is one."""

NATIVE_S: Final = 5.0
"""How long the venue may take to arm its timer [s]."""
LET_GO_S: Final = 1.0
"""After this long a venue that has not switched its timer off is asked again [s]."""


class States:
    """The handlers."""

    def __init__(
        self,
        desk: Desk,
        trading: Trading,
        deadman: Deadman,
        native: Native | None,
        crew: Crew,
    ) -> None:
        self._desk = desk
        self._trading = trading
        self._deadman = deadman
        self._native = native
        self._crew = crew
        # Whose switch is armed at the venue, too; it has one for all.
        self._at_venue: set[tuple[str, str]] = set()
        deadman.gone = self._gone

    def _scope(self, params: ScopeParams | ResumeParams) -> str:
        check_scope(params, self._trading.venue)
        if params.venue is not None:
            return f"venue:{params.venue}"
        if params.symbol is not None:
            return f"symbol:{naming.market_of(self._desk.engine.markets, params.symbol).symbol}"
        return ALL if params.bot_id is None else f"bot:{params.bot_id}"

    def halt(self, call: Call[HaltParams]) -> Given:
        """Stop; the state has changed when this returns."""
        params = call.params
        stop = Stop(
            scope=self._scope(params),
            state=TradingState(params.state),
            cancel=params.cancel,
            flatten=params.flatten,
            protection=params.protection == "cancel",
            reason=params.reason or "no reason given",
            who=naming.who_of(call),
        )
        if params.dry_run:
            return Answer(result={"dry_run": True, "effect": halt_effect(self._desk, stop)})
        before = self._desk.outlet.positions() | self._desk.outlet.named(STATES)
        return self._halted(stop, before, self._trading.halt(stop))

    async def _halted(
        self, stop: Stop, before: Mapping[str, object], waiting: Awaitable[Stopped]
    ) -> Answer:
        done = await waiting
        outlet = self._desk.outlet
        result: Fields = {
            "state": done.state,
            "scope": stop.scope,
            "changed": done.changed,
            **canceled_row(done.canceled),
            "unknown": done.canceled.unknown,
            "closed": [closed.row() for closed in done.closed],
            "flat": not done.positions,
            "positions": [dict(outlet.position_row(position)) for position in done.positions],
            "journaled": done.journaled,
        }
        at = naming.changed(before, outlet.positions() | outlet.named(STATES))
        return Answer(result=result, at=at)

    async def resume(self, call: Call[ResumeParams]) -> Answer:
        """Let a scope trade again."""
        params = call.params
        scope = self._scope(params)
        changed = self._trading.resume(
            scope, params.reason, naming.who_of(call), force=params.force
        )
        await self._desk.settled()
        return Answer(
            result={"state": TradingState.ACTIVE, "scope": scope, "changed": changed},
            at=self._desk.outlet.named(STATES) if changed else None,
        )

    def resume_effect(self, call: Call[ResumeParams]) -> Fields | None:
        """What trading again would mean now; None when it is allowed already."""
        scope = self._scope(call.params)
        engine = self._desk.engine
        if not engine.halted(scope):
            return None
        orders = [o for o in engine.orders.working() if in_scope(scope, o)]
        held = [p for p in engine.positions.values() if p.amount]
        view = engine.risk_view(self._desk.now())
        gross = view.gross_exposure
        return {
            "state": TradingState.ACTIVE,
            "orders": len(orders),
            "positions": len(held),
            "notional": figure(gross),
        }

    def deadman(self, call: Call[DeadmanParams]) -> Given:
        """Arm, renew or disarm the switch of this client."""
        params = call.params
        switch = self._switch(call)
        if params.dry_run:
            row = switch_row(self._deadman.planned(switch))
            effect = {name: row[name] for name in ("armed", "fires_at", "grace")}
            return Answer(result=row | {"dry_run": True, "effect": effect})
        before = self._deadman.get(*switch.key)
        armed = self._deadman.arm(switch)
        # Of this step: what it waits for may have found no room, and other rows some by the next one.
        return self._armed(armed, before, self._desk.last_row)

    def _switch(self, call: Call[DeadmanParams]) -> Switch:
        params = call.params
        if params.timeout is None and params.grace is None:
            raise invalid("timeout", "or grace is required; timeout 0 disarms")
        if params.timeout is not None and 0 < params.timeout < LEAST_S:
            raise invalid("timeout", f"must be 0 or at least {LEAST_S} s")
        if params.grace is not None and call.source == "http":
            raise Refused(
                Code.NOT_SUPPORTED, "grace needs a connection: over HTTP only timeout is possible"
            )
        return Switch(
            subject=call.principal.subject,
            client=call.client,
            timeout=params.timeout or None,
            grace=params.grace,
            scope=params.scope,
            action=params.action,
            include_protection=params.include_protection,
        )

    async def _armed(self, switch: Switch, before: Switch | None, seq: int | None) -> Answer:
        await self._desk.settled_with(seq)
        if before is not None and _is_for_venue(before):
            self._at_venue.add(switch.key)  # also before a restart
        native = await self._arm_there(switch)
        if before is not None and not _is_for_venue(switch) and switch.key in self._at_venue:
            self._gone(before)
        return Answer(result=switch_row(switch) | {"native": native})

    async def _arm_there(self, switch: Switch) -> bool:
        """Arm, renew or switch off the venue's own timer; it spares nothing, so all of it must be meant.

        It has one for all: it is set to whichever switch is due first, and off when there is none any more. A venue
        that does not do it, or does not answer, is no reason to refuse ours: the answer says so.
        """
        wanted = _is_for_venue(switch)
        if self._native is None or (not wanted and switch.key not in self._at_venue):
            return False
        try:
            async with asyncio.timeout(NATIVE_S):
                there = await self._native(self._earliest(switch))
        except (Failure, TimeoutError):
            return False
        if wanted and there:
            self._at_venue.add(switch.key)
        else:
            self._at_venue.discard(switch.key)
        return wanted and there

    def _gone(self, switch: Switch) -> None:
        """See to it that the venue's timer is no longer set for a switch that is off.

        Who has said `bye` has decided what stays, and what is placed after a switch has fired is not its own.
        """
        if self._native is not None and _is_for_venue(switch):
            self._at_venue.add(switch.key)
            self._crew.spawn(self._let_go(switch), "deadman off")

    async def _let_go(self, switch: Switch) -> None:
        """Ask the venue until it has done it, or its timer is over, or is set anew."""
        assert switch.fires_at is not None
        off = replace(switch, timeout=None, grace=None, fires_at=None)
        while True:
            await self._arm_there(off)
            if switch.key not in self._at_venue or self._desk.now() >= switch.fires_at:
                return
            await asyncio.sleep(LET_GO_S)
            now = self._deadman.get(*switch.key)
            if now is not None and _is_for_venue(now):
                return

    def _earliest(self, told: Switch) -> float | None:
        """What is left until the first switch that is for the venue, too, is due [s]; None when there is none."""
        now, left = self._desk.now(), []
        for switch in self._deadman.armed():
            if _is_for_venue(switch) and switch.fires_at is not None:
                said = switch.timeout if switch is told else None
                left.append(said or max((switch.fires_at - now) / SECOND, LEAST_S))
        return min(left, default=None)


def halt_effect(desk: Desk, stop: Stop) -> Fields:
    """Say what a halt would do, by the rules that it goes by."""
    engine, now = desk.engine, desk.now()
    there = engine.halts.get(stop.scope)
    halted = there is not None and there.state is TradingState.HALTED
    sweep = Sweep(scope=stop.scope, legs=stop.protection, subject=stop.who.subject, since=now)
    doomed = [
        order
        for order in engine.orders.working()
        if stop.cancel
        and sweep.covers(order)
        and not stopped_at_the_door(order, desk.gate.handed)
        and not (stop.state is TradingState.REDUCING and order.exit)
    ]
    closed = [
        wish.order.symbol
        for wish in (engine.flatten(now, stop.scope) if stop.flatten else ())
        if scope_has(stop.scope, engine.positions[wish.order.symbol], engine.venue)
    ]
    return {
        # A halt that asks for less than there is changes nothing.
        "state": TradingState.HALTED if halted else stop.state,
        "orders": len(doomed),
        "canceled": [order.client_order_id for order in doomed],
        "positions": len(closed),
        "symbols": sorted({order.symbol for order in doomed} | {*closed}),
    }


def _is_for_venue(switch: Switch) -> bool:
    """Whether a switch means all that a venue's own timer does."""
    return (
        switch.timeout is not None and switch.scope is Scope.ACCOUNT and switch.include_protection
    )


def switch_row(switch: Switch) -> Fields:
    """Make the answer of `deadman`."""
    return {
        "armed": switch.armed,
        "fires_at": None if switch.fires_at is None else switch.fires_at // MS,
        "grace": None if switch.grace is None else _seconds(switch.grace),
        "scope": switch.scope,
        "action": switch.action,
        "include_protection": switch.include_protection,
        "native": False,
    }


def _seconds(value: float) -> float:
    return int(value) if value == int(value) else value


def ops(
    desk: Desk, trading: Trading, deadman: Deadman, native: Native | None, crew: Crew
) -> list[Op]:
    """Make the rows of the table.

    Args:
        desk: Of the account.
        trading: Of the account.
        deadman: Its switches.
        native: Arms the venue's own timer [s], or (None) switches it off; None where the venue has none.
        crew: Owner of what nobody waits for.
    """
    states = States(desk, trading, deadman, native, crew)
    return [
        Op(
            name="trading.halt",
            params=HaltParams,
            scope="trade|bots",
            lane="safety",
            handler=states.halt,
            aliases=("risk.halt",),
            summary="Halt trading at once and cancel resting orders; attached stops stay unless told otherwise",
            errors=(Code.INVALID, Code.NOT_FOUND),
            example={"reason": "something looks wrong"},
            command=True,
        ),
        Op(
            name="trading.resume",
            params=ResumeParams,
            scope="admin",
            lane="query",
            handler=states.resume,
            aliases=("risk.resume",),
            summary="Resume trading after a halt",
            errors=(Code.CONFLICT, Code.NOT_FOUND, Code.VENUE_UNAVAILABLE, Code.CONFIRM_REQUIRED),
            example={"reason": "checked"},
            command=True,
            effect=states.resume_effect,
        ),
        Op(
            name="deadman",
            params=DeadmanParams,
            scope="trade",
            lane="safety",
            handler=states.deadman,
            summary="Arm, renew or disarm the switch that cancels orders when this client falls silent or disconnects",
            errors=(Code.INVALID, Code.NOT_SUPPORTED),
            example={"timeout": 60, "grace": 5},
            command=True,
        ),
    ]
