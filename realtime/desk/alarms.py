"""The thresholds of section `alerts`: figures of an account, and what is told when one of them crosses (features F25).

Rules of this file: (1) a crossing is told once as a warning, and its end once; between them nothing is said; (2) it ends
where the figure is back by a tenth of the threshold, so that one which trembles there is no news; (3) of one figure there
is a warning every `cooldown_minutes` at most; a crossing within that time is told behind it, if it still lasts; (4) a
figure that is not known changes nothing; (5) what was told stands in the journal, and a restart tells it no second time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from realtime.desk.config.sections import Alerts
from realtime.desk.desk import Desk
from realtime.desk.feeds import Feeds
from realtime.desk.monitor import Monitor
from realtime.engine.market import plain
from realtime.model.durations import Durations
from realtime.model.errors import Refused
from realtime.model.market import MS, SECOND


logger = logging.getLogger("realtime.alarms")

EVERY_S: Final = 2.0
"""Time between two looks [s]."""
MINUTE: Final = 60 * SECOND
ENOUGH: Final = 5
"""Trades, orders or messages below which a rate or a mean says nothing."""
BACK: Final = 0.1
"""By which part of the threshold a figure must be back."""
YOUNG: Final = MINUTE
"""A stream that has just begun has been fresh for no time yet [ns]."""
PARTS: Final = 60
"""Into so many parts the window is cut."""
READ: Final = 500
"""Newest entries of a code that are looked through for what was told last."""
CODES: Final = (
    "drawdown",
    "win_rate",
    "pnl",
    "feed_failures",
    "latency",
    "error_rate",
    "reconnects",
    "feed_health",
)
Counts = Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure and its threshold.

    Attributes:
        code: Of the alert.
        threshold: Key of section `alerts`.
        value: None where nobody knows it.
        limit: The threshold.
        below: Whether it is crossed downwards.
        reached: Whether to be at it is to have crossed it.
        subject: Whose figure it is, where there are several; they cross one by one.
        partial: Whether it is of less time than it is said of: then it cannot be back.
        said: The figure in words.
        more: What else the entry says.
    """

    code: str
    threshold: str
    value: float | None
    limit: float
    below: bool = False
    reached: bool = False
    subject: str = ""
    partial: bool = False
    said: str
    more: Mapping[str, object]

    def beyond(self) -> bool:
        """Whether the threshold is crossed."""
        assert self.value is not None
        if self.reached and self.value == self.limit:
            return True
        return self.value < self.limit if self.below else self.value > self.limit

    def back(self) -> bool:
        """Whether it is back, and by enough to stay."""
        assert self.value is not None
        if self.partial:
            return False
        if self.reached:
            return not self.beyond()
        step = abs(self.limit) * BACK
        if self.below:
            edge = round(self.limit + step, 9)
            # A share is never more than 1, so one that must be above 0.95 is back there.
            return self.value >= (min(edge, 1.0) if self.limit <= 1 else edge)
        return self.value <= round(self.limit - step, 9)


@dataclass(slots=True)
class Told:
    """What was told of a figure last.

    Attributes:
        crossed: Whether that it is beyond; else that it is back, or nothing.
        at: When it was told to be beyond last [ns]; None never.
    """

    crossed: bool = False
    at: int | None = None


class Window:
    """Counts as they were, so that one can tell by how much they have grown."""

    def __init__(self, begun: int) -> None:
        """Begin at zero [ns]."""
        self._begun = begun
        self._kept: deque[tuple[int, Counts]] = deque([(begun, {})])

    def partial(self, now: int, length: int) -> bool:
        """Whether so long a time has not passed yet [ns]."""
        return now - self._begun < length

    def grown(self, counts: Counts, now: int, length: int) -> Counts:
        """Take counts as they are now; give by how much they grew within `length` [ns], or since there are any."""
        kept = self._kept
        while len(kept) > 1 and kept[1][0] <= now - length:
            kept.popleft()
        before = kept[0][1]
        if now - kept[-1][0] >= length // PARTS:
            kept.append((now, dict(counts)))
        return {name: max(count - before.get(name, 0), 0) for name, count in counts.items()}


class Alarms:
    """Watches the figures of one account."""

    def __init__(
        self,
        *,
        desk: Desk,
        monitor: Monitor,
        feeds: Feeds,
        bounds: Callable[[], Alerts],
        streams: Callable[[], Sequence[Mapping[str, object]]],
        reconnects: Callable[[], int],
        answers: Callable[[], Mapping[str, Durations]],
        win_rates: Callable[[], Mapping[str, tuple[int, float]]],
    ) -> None:
        """Make them.

        Args:
            desk: Of the account.
            monitor: Counts and measures.
            feeds: Know what is stale.
            bounds: Gives section `alerts` as it is now.
            streams: Rows of `monitoring.hybrid`.
            reconnects: Of its streams since the start.
            answers: How long its exchange took to answer, by the name of what was asked.
            win_rates: Closed trades of each bot, and which part of them won.
        """
        self._desk = desk
        self._monitor = monitor
        self._feeds = feeds
        self._bounds = bounds
        self._streams = streams
        self._reconnects = reconnects
        self._answers = answers
        self._win_rates = win_rates
        self._window = Window(desk.now())
        self._told: dict[tuple[str, str], Told] = {}

    async def run(self) -> None:
        """Read what was told in earlier lives, then look without end."""
        known = False
        while True:
            await asyncio.sleep(EVERY_S)
            # What a crowded journal has no room for is told when it has.
            if self._desk.store.crowded:
                continue
            known = known or await self._open()
            if known:
                self._look(self._desk.now())

    async def _open(self) -> bool:
        """Read what was told; False where the journal is too busy to be asked, or cannot be read."""
        store, found = self._desk.store, self._told
        try:
            read = [await store.tail("alerts", READ, {"code": code}) for code in CODES]
        except Refused:
            return False
        except Exception:
            # Without it something may be told a second time; who only tells must not end trading.
            logger.exception("alerts not read")
            return False
        for code, (_, entries) in zip(CODES, read, strict=True):
            for _, _, entry in entries:
                data = entry["data"]
                # Behind its acknowledgement an alert stands there a second time.
                if entry["acked_by"] is None and isinstance(data, dict) and "crossed" in data:
                    told = found.setdefault((code, str(data["subject"])), Told())
                    told.crossed = bool(data["crossed"])
                    if told.crossed:
                        told.at = int(str(entry["ts"])) * MS
        return True

    def _look(self, now: int) -> None:
        """Judge every figure as it is now [ns]."""
        bounds = self._bounds()
        for figure in list(self._figures(bounds, now)):
            if figure.value is not None:
                self._judge(figure, bounds.cooldown_minutes * MINUTE, now)

    def _judge(self, figure: Figure, cooldown: int, now: int) -> None:
        told = self._told.setdefault((figure.code, figure.subject), Told())
        if figure.beyond():
            # A clock that was set back must not silence it for longer.
            waits = told.at is not None and 0 <= now - told.at < cooldown
            if not told.crossed and not waits:
                told.crossed, told.at = True, now
                self._tell(figure, "warning", "below" if figure.below else "above")
        elif told.crossed and figure.back():
            told.crossed = False
            self._tell(figure, "info", "back from")

    def _tell(self, figure: Figure, level: str, how: str) -> None:
        assert figure.value is not None
        if figure.reached and figure.value == figure.limit:
            how = "at"
        value, limit = (plain(Decimal(repr(n))) for n in (figure.value, figure.limit))
        text = f"{figure.said}: {value}, {how} {figure.threshold} {limit}"
        data = {
            "threshold": figure.threshold,
            "limit": figure.limit,
            "value": figure.value,
            "subject": figure.subject,
            "crossed": level == "warning",
        }
        self._desk.alert(level, figure.code, text, data | dict(figure.more))

    # -- figures -----------------------------------------------------------------------------------

    def _figures(self, bounds: Alerts, now: int) -> Iterator[Figure]:
        yield from self._money(bounds, now)
        yield from self._wins(bounds)
        legs = {**self._monitor.durations(), **self._answers()}
        counts = {
            "failures": self._feeds.failures,
            "reconnects": self._reconnects(),
            **self._monitor.placements(),
            **{f"{name} n": leg.count for name, leg in legs.items()},
            **{f"{name} s": leg.sum for name, leg in legs.items()},
        }
        length = bounds.window_minutes * MINUTE
        grown = self._window.grown(counts, now, length)
        partial = self._window.partial(now, length)
        within = f"in {bounds.window_minutes} min"
        yield Figure(
            code="feed_failures",
            threshold="feed_failures",
            # One that has failed for longer than the window has not come back.
            value=max(grown["failures"], self._feeds.failed),
            limit=bounds.feed_failures,
            reached=True,
            partial=partial,
            said=f"feed failures {within}",
            more={"stale": self._feeds.failed},
        )
        for made in (_latency(bounds, grown, legs, within), _errors(bounds, grown, within)):
            yield replace(made, partial=partial)
        yield Figure(
            code="reconnects",
            threshold="max_reconnects",
            value=grown["reconnects"],
            limit=bounds.max_reconnects,
            partial=partial,
            said=f"reconnects {within}",
            more={},
        )
        yield self._health(bounds, now)

    def _money(self, bounds: Alerts, now: int) -> Iterator[Figure]:
        engine = self._desk.engine
        if not engine.ready:
            return  # nobody knows what there is
        view = engine.risk_view(now)
        yield Figure(
            code="drawdown",
            threshold="max_drawdown",
            value=None if view.drawdown is None else round(float(view.drawdown), 6),
            limit=bounds.max_drawdown,
            said="drawdown",
            more={},
        )
        yield Figure(
            code="pnl",
            threshold="min_pnl",
            value=None if view.daily_pnl is None else round(float(view.daily_pnl), 2),
            limit=float(bounds.min_pnl),
            below=True,
            said="P&L of the day",
            more={"currency": engine.valuation_currency},
        )

    def _wins(self, bounds: Alerts) -> Iterator[Figure]:
        for bot_id, (trades, rate) in self._win_rates().items():
            yield Figure(
                code="win_rate",
                threshold="min_win_rate",
                value=round(rate, 4) if trades >= ENOUGH else None,
                limit=bounds.min_win_rate,
                below=True,
                subject=bot_id,
                said=f"win rate of bot {bot_id}",
                more={"bot_id": bot_id, "trades": trades},
            )

    def _health(self, bounds: Alerts, now: int) -> Figure:
        worst: tuple[float, str] | None = None
        for row in self._streams():
            health, since = row["health"], int(str(row["since_ts"])) * MS
            if isinstance(health, float) and now - since >= YOUNG:
                found = (health, str(row["channel"]))
                worst = found if worst is None else min(worst, found)
        value, channel = (None, None) if worst is None else worst
        return Figure(
            code="feed_health",
            threshold="min_feed_health",
            value=value,
            limit=bounds.min_feed_health,
            below=True,
            said=f"health of feed {channel}",
            more={"channel": channel},
        )


def _latency(bounds: Alerts, grown: Counts, legs: Mapping[str, Durations], within: str) -> Figure:
    """Give the slowest leg, as a mean within the window."""
    means = [
        (round(grown[f"{name} s"] / grown[f"{name} n"] * 1000, 1), name)
        for name in legs
        if grown[f"{name} n"] >= ENOUGH
    ]
    value, leg = max(means, default=(None, None))
    return Figure(
        code="latency",
        threshold="max_latency_ms",
        value=value,
        limit=bounds.max_latency_ms,
        said=f"mean of {leg} [ms] {within}",
        more={"leg": leg},
    )


def _errors(bounds: Alerts, grown: Counts, within: str) -> Figure:
    """Give the rate of orders that the venue did not take; a single one of a few is no rate."""
    failed, all_of_them = grown["failed"], grown["failed"] + grown["answered"]
    enough = all_of_them >= ENOUGH and failed != 1
    return Figure(
        code="error_rate",
        threshold="max_error_rate",
        value=round(failed / all_of_them, 4) if enough else None,
        limit=bounds.max_error_rate,
        said=f"part of orders that the venue refused or did not answer {within}",
        more={"failed": failed, "orders": all_of_them},
    )
