"""What happens by the clock: marks, values, the engine's second, samples of equity, free space, backups."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from realtime.desk.codec import dumps
from realtime.desk.days import Days
from realtime.desk.desk import Desk
from realtime.desk.feeds import Feeds
from realtime.desk.outlet import Outlet
from realtime.desk.reconcile import Reconciler
from realtime.desk.recovery import EQUITY
from realtime.desk.status import Status
from realtime.model.errors import Refused
from realtime.model.events import SetState, Tick, Who
from realtime.model.market import MS, SECOND
from realtime.model.risk import TradingState
from realtime.store.rows import Projection
from realtime.store.store import Store


logger = logging.getLogger(__name__)

QUARTER_S: Final = 0.25
SAMPLE_S: Final = 60
SPACE_S: Final = 60
SYSTEM: Final = Who(subject="system", source="routine", admin=True)


class Routine:
    """The beat of one desk."""

    def __init__(
        self,
        *,
        desk: Desk,
        outlet: Outlet,
        feeds: Feeds,
        reconciler: Reconciler,
        status: Status,
        days: Days,
        timezone: Callable[[], str],
    ) -> None:
        """Make it.

        Args:
            desk: Takes the time.
            outlet: Publishes at its paces.
            feeds: Judge their silence.
            reconciler: Fetches fills that are missing.
            status: Published when it changes.
            days: Read the daily bars of what is held.
            timezone: Tells whose dates are trading days.
        """
        self._desk = desk
        self._outlet = outlet
        self._feeds = feeds
        self._reconciler = reconciler
        self._status = status
        self._days = days
        self._timezone = timezone
        self._mark: tuple[object, ...] = ()
        self._level = "ok"
        self._sampled = desk.engine.last_fill_ts
        self._owed = False

    def day(self, ns: int) -> str:
        """Name the trading day of a time."""
        there = datetime.fromtimestamp(ns / SECOND, ZoneInfo(self._timezone()))
        return there.date().isoformat()

    def begin(self) -> None:
        """Begin the day with the account, and keep what it is worth before its first order."""
        now = self._desk.now()
        self.tick(now)
        # Without a price yet it is taken as soon as there is one.
        self._owed = True
        self.sample(now)

    async def run(self) -> None:
        """Beat without end."""
        loop = asyncio.get_running_loop()
        due, beat = loop.time(), 0
        # A disk that is full at the start is no news in a minute.
        self.space()
        while True:
            due = max(due + QUARTER_S, loop.time())
            beat += 1
            await asyncio.sleep(due - loop.time())
            self._outlet.quarter()
            if beat % 4 == 0:
                self.second(beat // 4)

    def second(self, count: int) -> None:
        """Do what is due once a second; `count` is the number of the second."""
        now = self._desk.now()
        self._feeds.look()
        self.tick(now)
        self._reconciler.fetch_missing()
        self._days.look()
        self._outlet.second()
        mark = self._status.mark()
        if mark != self._mark:
            self._mark = mark
            self._outlet.state()
        fills = self._desk.engine.last_fill_ts
        if count % SAMPLE_S == 0 or fills != self._sampled or self._owed:
            self._sampled = fills
            self.sample(now)
        if count % SPACE_S == 0:
            self.space()

    def tick(self, now: int) -> None:
        """Tell the engine the time [ns]; a journal without room is spared what can as well be told a second later."""
        if self._desk.store.crowded:
            return
        # Another zone may have an earlier date: a day that has begun is not begun again.
        day = max(self.day(now), self._desk.engine.day.day)
        self._desk.post(Tick(ts=now, day=day))

    def sample(self, now: int) -> None:
        """Keep a sample of equity and the day's row."""
        row = self._outlet.portfolio_row()
        value = row.get("total_value")
        if value is None:
            return
        self._owed = False
        view = self._desk.engine.risk_view(now)
        drawdown = None if view.drawdown is None else float(view.drawdown)
        ts = now // MS
        body = dumps({"sample": [ts, value, drawdown]})
        project = [Projection("equity", str(ts), now, body=body)]
        day = self._desk.day_row()
        if day["day"]:
            project.append(Projection("days", str(day["day"]), now, body=dumps(day)))
        # A journal that is far behind has no room for samples; the next one comes in a minute.
        with suppress(Refused):
            self._desk.store.append(EQUITY, str(ts), body, None, project)

    def space(self) -> None:
        """Look at the free space of the disk."""
        space = self._desk.store.space()
        if space is None or space.level == self._level:
            return
        self._level = space.level
        if space.level == "ok":
            return
        free = f"{space.free // 1_000_000} MB free"
        self._desk.alert("warning", "disk_space", f"the journal's disk has {free}", {})
        if space.level == "reducing" and self._desk.engine.state() is TradingState.ACTIVE:
            reason = f"the journal's disk has only {free}"
            self._desk.post(
                SetState(
                    scope="all",
                    state=TradingState.REDUCING,
                    reason=reason,
                    who=SYSTEM,
                    ts=self._desk.now(),
                )
            )


async def back_up(
    store: Store, directory: Path, hours: float, then: Callable[[Path], Awaitable[None]]
) -> None:
    """Copy the journal into `directory` every so many hours, without end; `then` gets each copy."""
    while True:
        await asyncio.sleep(hours * 3600)
        try:
            made = await store.backup_into(directory)
        except (OSError, Refused) as error:
            logger.error("no backup", extra={"why": str(error)})  # noqa: TRY400 - a full disk or a busy journal, no mystery
        else:
            logger.info("backup made", extra={"file": made.name})
            await then(made)
