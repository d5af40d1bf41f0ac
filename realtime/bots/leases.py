"""Leases: a program outside acts as a bot as long as it says often enough that it is there.

Rules of this file: (1) one holder at a time, named by subject and client; (2) only `take` renews, not the connection: a
program that hangs while its library answers pings must not keep its orders; (3) a lease that lapses is told once, in the
step in which it does; after a restart the holder has its whole time to come back.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from realtime.model.errors import Code, Refused
from realtime.model.market import SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who acts as a bot.

    Attributes:
        subject, client: The holder.
        seconds: How long it may be silent [s].
        expires_ts: When it lapses [ns].
    """

    bot_id: str
    subject: str
    client: str
    seconds: float
    expires_ts: int

    def held_by(self, subject: str, client: str) -> bool:
        """Whether this is its holder."""
        return (self.subject, self.client) == (subject, client)


class Leases:
    """All leases and their timers.

    Args:
        loop: Its clock measures the silence.
        now: Wall clock [ns].
        lapsed: Told a lease that has lapsed; must not wait.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
        lapsed: Callable[[Lease], None],
    ) -> None:
        self._loop = loop
        self._now = now
        self._lapsed = lapsed
        self._leases: dict[str, Lease] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def get(self, bot_id: str) -> Lease | None:
        """Give the lease of a bot."""
        return self._leases.get(bot_id)

    def check(self, bot_id: str, subject: str, client: str) -> Lease:
        """Demand that somebody holds the lease of a bot.

        Raises:
            Refused: `conflict`.
        """
        lease = self._leases.get(bot_id)
        if lease is None or not lease.held_by(subject, client):
            raise Refused(
                Code.CONFLICT,
                f"client {client or subject} has no lease of bot {bot_id}; bot.attach comes first",
                {"what": "lease", "bot_id": bot_id},
            )
        return lease

    def check_free(self, bot_id: str, subject: str, client: str) -> None:
        """Demand that nobody else holds the lease of a bot.

        Raises:
            Refused: `conflict`, with `retry_after`.
        """
        held = self._leases.get(bot_id)
        if held is not None and not held.held_by(subject, client):
            left = max((held.expires_ts - self._now()) / SECOND, 0.0)
            raise Refused(
                Code.CONFLICT,
                f"bot {bot_id} is held by client {held.client or held.subject} for {left:.0f} s",
                {"what": "lease", "bot_id": bot_id, "client": held.client},
                retry_after=left,
            )

    def take(self, bot_id: str, subject: str, client: str, seconds: float) -> Lease:
        """Take or renew the lease of a bot.

        Raises:
            Refused: As `check_free`.
        """
        self.check_free(bot_id, subject, client)
        return self._set(
            Lease(
                bot_id=bot_id,
                subject=subject,
                client=client,
                seconds=seconds,
                expires_ts=self._now() + int(seconds * SECOND),
            )
        )

    def restore(self, lease: Lease) -> None:
        """Take a journaled lease over; its time runs anew, because it was us who were away."""
        self.take(lease.bot_id, lease.subject, lease.client, lease.seconds)

    def release(self, bot_id: str) -> None:
        """End a lease without telling anybody."""
        self._leases.pop(bot_id, None)
        timer = self._timers.pop(bot_id, None)
        if timer is not None:
            timer.cancel()

    def stop(self) -> None:
        """Let no lease lapse any more: the server stops, and what is held stays so in the journal."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _set(self, lease: Lease) -> Lease:
        self.release(lease.bot_id)
        self._leases[lease.bot_id] = lease
        timer = self._loop.call_later(lease.seconds, self._end, lease)
        self._timers[lease.bot_id] = timer
        return lease

    def _end(self, lease: Lease) -> None:
        self.release(lease.bot_id)
        self._lapsed(lease)
