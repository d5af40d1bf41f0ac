"""The dead man's switches joined with the journal and with what they do."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from realtime.desk.codec import dumps
from realtime.desk.crew import Crew
from realtime.desk.deadman import KIND, Action, Cause, Deadman, Scope, Switch
from realtime.desk.desk import Desk
from realtime.desk.sweep import ACCOUNT, CLIENT, Sweep
from realtime.desk.trading import Canceled, Stop, Stopped, Trading
from realtime.model.errors import Refused
from realtime.model.events import Who
from realtime.model.orders import Order


class Switches:
    """Does what a switch is for."""

    def __init__(self, *, desk: Desk, trading: Trading, crew: Crew) -> None:
        self._desk = desk
        self._trading = trading
        self._crew = crew

    def make(self, *, loop: asyncio.AbstractEventLoop, now: Callable[[], int]) -> Deadman:
        """Make the switches of this desk."""
        return Deadman(loop=loop, now=now, record=self.record, fire=self.fire)

    def record(self, switch: Switch) -> None:
        """Journal a switch as it is now.

        Raises:
            Refused: It is armed, and the journal has no room.
        """
        key = "\n".join(switch.key)
        try:
            self._desk.store.append(KIND, key, dumps(switch), safety=True)
        except Refused:
            # One that is off is off in this process; a restart would fire it again, and whoever waits is told.
            if switch.armed:
                raise
            self._desk.no_room()

    def fire(self, switch: Switch, cause: Cause) -> None:
        """Cancel, and halt where that was asked; the cancels are on their way when this returns."""
        who = Who(subject=switch.subject, client=switch.client, source="deadman", admin=True)
        if switch.action is Action.CANCEL_AND_HALT:
            stop = Stop(
                reason=f"dead man's switch of {switch.subject}/{switch.client}: {cause}",
                who=who,
                protection=switch.include_protection,
                cancel=False,
            )
            self._crew.spawn(_finish(self._trading.halt(stop)), "deadman halt")
        doomed = [order for order in self._trading.working() if covers(switch, order)]
        canceling = self._trading.cancel_many(doomed, who)
        # Nobody is there to ask again where a cancel is lost, nor to cancel what is placed at this very instant: that
        # is swept, whichever of the two came first, and also where nothing worked until then.
        account = switch.scope is Scope.ACCOUNT
        self._trading.sweep(
            Sweep(
                scope=ACCOUNT if account else f"{CLIENT}{switch.subject}/{switch.client}",
                legs=switch.include_protection,
                subject=switch.subject,
                since=self._desk.now(),
            )
        )
        self._crew.spawn(self._report(switch, cause, canceling), "deadman")

    async def _report(self, switch: Switch, cause: Cause, canceling: Awaitable[Canceled]) -> None:
        done = await canceling
        data: dict[str, object] = {
            "cause": cause,
            "client": switch.client,
            "scope": switch.scope,
            "action": switch.action,
            "canceled": done.canceled,
            "failed": done.failed,
            "unknown": done.unknown,
        }
        if done.ended:
            data["ended"] = done.ended
        who = Who(subject=switch.subject, client=switch.client, source="deadman")
        with suppress(Refused):  # a journal without room
            self._desk.note("deadman_fired", data, who)
        self._desk.notice(switch.subject, switch.client, "deadman_fired", data)


async def _finish(waiting: Awaitable[Stopped]) -> None:
    await waiting


def covers(switch: Switch, order: Order) -> bool:
    """Whether a switch cancels an order."""
    if order.guards and not switch.include_protection:
        return False
    mine = (order.subject, order.client) == switch.key
    return mine or switch.scope is Scope.ACCOUNT
