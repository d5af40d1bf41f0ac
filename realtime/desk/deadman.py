"""Dead man's switches: cancel a client's orders when it falls silent or its last connection is gone.

Rules of this file: (1) `timeout` is renewed by the op alone, never by pongs or other traffic; (2) `grace` runs from
the end of the last connection of a (subject, client), and ends when one returns; (3) a switch fires once and is then
off; (4) arming, renewing, firing and disarming are journaled, so a restart neither fires early nor forgets;
(5) `bye` of the last connection disarms: who says goodbye has decided what stays.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from realtime.model.market import SECOND


KIND: Final = "Deadman"
"""Kind of the journal's rows about switches."""

Key = tuple[str, str]


class Scope(StrEnum):
    """Whose orders it cancels."""

    CLIENT = "client"
    ACCOUNT = "account"


class Action(StrEnum):
    """What it does."""

    CANCEL = "cancel"
    CANCEL_AND_HALT = "cancel_and_halt"


class Cause(StrEnum):
    """Why it fired."""

    TIMEOUT = "timeout"
    GRACE = "grace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """One armed switch of a (subject, client); with neither time it is off.

    Attributes:
        timeout: [s] since the last renewal, or None.
        grace: [s] after the last connection, or None.
        fires_at: Wall time at which `timeout` ends [ns], None without one; only shown, and used at a restart.
        include_protection: Whether attached stops are cancelled too.
    """

    subject: str
    client: str
    timeout: float | None = None
    grace: float | None = None
    fires_at: int | None = None
    scope: Scope = Scope.CLIENT
    action: Action = Action.CANCEL
    include_protection: bool = False

    @property
    def key(self) -> Key:
        """Whose switch it is."""
        return (self.subject, self.client)

    @property
    def armed(self) -> bool:
        """Whether it can fire."""
        return self.timeout is not None or self.grace is not None


def _nobody(_switch: Switch) -> None:
    """Nobody has to know."""


class Deadman:
    """All switches, their timers, and how many connections each client has.

    Attributes:
        gone: Told, as it was armed, of each switch that goes off without its op: by `bye`, or because it fired. Set by
            who has armed more than it.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
        record: Callable[[Switch], None],
        fire: Callable[[Switch, Cause], None],
    ) -> None:
        """Make them.

        Args:
            loop: Its clock measures the times.
            now: Wall clock [ns].
            record: Journals a switch as it is now.
            fire: Does what a switch is for; must not await.
        """
        self._loop = loop
        self._now = now
        self._record = record
        self._fire = fire
        self._switches: dict[Key, Switch] = {}
        self._timers: dict[tuple[Key, Cause], asyncio.TimerHandle] = {}
        self._connections: dict[Key, int] = {}
        self._started = self._stopped = False
        self.gone: Callable[[Switch], None] = _nobody

    def get(self, subject: str, client: str) -> Switch | None:
        """Give the armed switch of a client."""
        return self._switches.get((subject, client))

    def armed(self) -> list[Switch]:
        """Give all armed switches."""
        return list(self._switches.values())

    def planned(self, switch: Switch) -> Switch:
        """Show the switch as `arm` would set it, without doing it."""
        due = None if switch.timeout is None else self._now() + int(switch.timeout * SECOND)
        return replace(switch, fires_at=due)

    def arm(self, switch: Switch) -> Switch:
        """Arm, renew, change or (without times) disarm a client's switch."""
        switch = self.planned(switch)
        self._record(switch)
        self._set(switch)
        if switch.timeout is not None:
            self._start(switch, Cause.TIMEOUT, switch.timeout)
        return switch

    @property
    def connections(self) -> Mapping[Key, int]:
        """How many connections each client has."""
        return self._connections

    def inherit(self, other: "Deadman") -> None:
        """Take over how many connections each client has."""
        self._connections = dict(other.connections)

    def restore(self, switch: Switch) -> None:
        """Take a journaled switch over; nothing runs before `start`."""
        self._set(switch)

    def start(self) -> None:
        """Begin after recovery: time-outs keep their deadline, grace runs from now."""
        self._started = True
        for switch in list(self._switches.values()):
            if switch.fires_at is not None:
                left = (switch.fires_at - self._now()) / SECOND
                self._start(switch, Cause.TIMEOUT, max(left, 0.0))
            if switch.grace is not None and not self._connections.get(switch.key):
                self._start(switch, Cause.GRACE, switch.grace)

    def stop(self) -> None:
        """Let no switch fire any more, nor one that is armed behind this; what is armed stays so in the journal."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._started, self._stopped = False, True

    def connected(self, subject: str, client: str) -> None:
        """Count a connection that is there now."""
        key = (subject, client)
        self._connections[key] = self._connections.get(key, 0) + 1
        self._cancel(key, Cause.GRACE)

    def disconnected(self, subject: str, client: str, *, bye: bool) -> None:
        """Count a connection that is gone; `bye` when it said so."""
        key = (subject, client)
        left = self._connections.get(key, 1) - 1
        if left:
            self._connections[key] = left
            return
        self._connections.pop(key, None)
        switch = self._switches.get(key)
        if switch is None:
            return
        if bye:
            self.arm(replace(switch, timeout=None, grace=None))
            self.gone(switch)
        elif switch.grace is not None and self._started:
            self._start(switch, Cause.GRACE, switch.grace)

    def _set(self, switch: Switch) -> None:
        self._cancel(switch.key, Cause.TIMEOUT)
        self._cancel(switch.key, Cause.GRACE)
        if switch.armed:
            self._switches[switch.key] = switch
        else:
            self._switches.pop(switch.key, None)

    def _start(self, switch: Switch, cause: Cause, seconds: float) -> None:
        self._cancel(switch.key, cause)
        if self._stopped:
            return
        timer = self._loop.call_later(seconds, self._fired, switch, cause)
        self._timers[switch.key, cause] = timer

    def _cancel(self, key: Key, cause: Cause) -> None:
        timer = self._timers.pop((key, cause), None)
        if timer is not None:
            timer.cancel()

    def _fired(self, switch: Switch, cause: Cause) -> None:
        off = replace(switch, timeout=None, grace=None, fires_at=None)
        self._set(off)
        self._fire(switch, cause)
        # Last: a crash between the two fires again, and cancelling twice is harmless.
        self._record(off)
        self.gone(switch)
