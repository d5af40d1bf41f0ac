"""When a bot may enter: hours of the week, blackouts, entries a day, cooldowns after exits. Exits are never asked.

Rules of this file: (1) time comes in as ns UTC and the zone as a value; nothing is read here; (2) hours are those of
the wall clock of the zone: inside means start <= local time < end, so that an hour which the clock skips is skipped,
and one that it repeats counts twice; (3) what is counted is a value of its own (`Usage`), kept by whoever owns the bot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from realtime.model.market import MS, SECOND
from realtime.model.times import EPOCH


DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
"""Names of the days as `date.weekday` numbers them."""
ALL_WEEK: Final = frozenset(range(7))
MIDNIGHT: Final = 24 * 60
"""The end of a day [min]."""
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * 60 * MINUTE
AHEAD_DAYS: Final = 15
"""How far a change of the hours is looked for: a weekly hour that one change of the clock skips comes in the week after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Hours of some days of the week.

    Attributes:
        days: Those on which it begins, 0 is Monday.
        start: Minute of the day, 0..1439.
        end: Minute of the day, 0..1440, not included; at or before `start` it is one of the next day.
    """

    days: frozenset[int] = ALL_WEEK
    start: int = 0
    end: int = MIDNIGHT

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether it is open at a minute of a day of the week."""
        if self.start < self.end:
            return weekday in self.days and self.start <= minute < self.end
        begun = weekday in self.days and minute >= self.start
        return begun or ((weekday - 1) % 7 in self.days and minute < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blackout:
    """A time without entries [ns]; `to_ts` is not included."""

    from_ts: int
    to_ts: int
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A trading window as it is configured.

    Attributes:
        enabled: Off, nothing here holds an entry back; entries are counted all the same.
        zone: Whose wall clock and whose dates.
        spans: Open in any of them.
        max_trades_per_day: Entries that may fill in a trading day.
        cooldown_minutes: Wait in a symbol after an exit [min].
    """

    enabled: bool = True
    zone: tzinfo = UTC
    spans: tuple[Span, ...] = (Span(),)
    blackouts: tuple[Blackout, ...] = ()
    max_trades_per_day: int = 5
    cooldown_minutes: int = 0

    def day(self, ts: int) -> str:
        """Name the trading day of a time [ns]: its date in the zone, `2026-11-29`."""
        return local(ts, self.zone).date().isoformat()

    def blackout(self, ts: int) -> Blackout | None:
        """Find the blackout of a time [ns]."""
        return next((b for b in self.blackouts if b.from_ts <= ts < b.to_ts), None)

    def open(self, ts: int) -> bool:
        """Whether a time [ns] is inside the hours and outside all blackouts."""
        if not self.enabled:
            return True
        if self.blackout(ts) is not None:
            return False
        there = local(ts, self.zone)
        minute = there.hour * 60 + there.minute
        return any(span.holds(there.weekday(), minute) for span in self.spans)

    def next(self, ts: int, *, opens: bool) -> int | None:
        """Find when it next opens, or closes, after a time [ns]; None when it never does."""
        if not self.enabled:
            return None
        before = self.open(ts)
        for edge in self._edges(ts):
            now = self.open(edge)
            if now is opens and before is not opens:
                return edge
            before = now
        return None

    @property
    def hours(self) -> str:
        """The hours for people: `8:00 - 17:00`."""
        told = (f"{clock(span.start)} - {clock(span.end)}" for span in self.spans)
        return ", ".join(dict.fromkeys(told))

    def _edges(self, ts: int) -> Iterator[int]:
        """Times after `ts` at which it may open or close, in order."""
        marks = sorted({m for b in self.blackouts for m in (b.from_ts, b.to_ts) if m > ts})
        while True:
            until = ts + AHEAD_DAYS * DAY
            near = {mark for mark in marks if mark <= until}
            near.update(edge for edge in self._hours(ts) if ts < edge <= until)
            yield from sorted(near)
            # Beyond, the weeks are alike until the next blackout begins or ends.
            marks = [mark for mark in marks if mark > until]
            if not marks:
                return
            ts = marks[0] - 1

    def _hours(self, ts: int) -> Iterator[int]:
        """Times around the days that follow `ts` at which the wall clock shows an edge, or is changed."""
        first = local(ts, self.zone).date() - timedelta(days=1)
        minutes = {minute for span in self.spans for minute in (span.start, span.end)}
        for number in range(AHEAD_DAYS + 3):
            day = first + timedelta(days=number)
            midnight = instant(day, 0, self.zone)
            changed = clock_change(midnight, instant(day, MIDNIGHT, self.zone), self.zone)
            if changed is not None:
                yield changed
            for minute in minutes:
                # An hour that the clock repeats has its edge twice.
                yield instant(day, minute, self.zone)
                yield instant(day, minute, self.zone, fold=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What has been used of a window.

    Attributes:
        day: Trading day of the count; empty before the first entry.
        trades: Entries that have begun to fill on it.
        exits: When each symbol was last left [ns].
        last_trade: Trading day of the last entry.
    """

    day: str = ""
    trades: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)
    last_trade: str | None = None

    def on(self, day: str) -> "Usage":
        """Begin the count of a later day; the count of the same day goes on, also when the zone moves it back."""
        return replace(self, day=day, trades=0) if day > self.day else self

    def entered(self, schedule: Schedule, ts: int) -> "Usage":
        """Count an entry whose first fill came at a time [ns]."""
        today = self.on(schedule.day(ts))
        return replace(today, trades=today.trades + 1, last_trade=today.day)

    def exited(self, symbol: str, ts: int) -> "Usage":
        """Note that a symbol was left at a time [ns]."""
        return replace(self, exits={**self.exits, symbol: max(ts, self.exits.get(symbol, 0))})


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowState:
    """A window now; times in ns.

    Attributes:
        can_trade: Whether an entry may be made in a symbol that does not cool down.
        next_open_ts, next_close_ts: None when that never comes.
        cooldown_until: Of the symbols that cool down.
    """

    within_window: bool
    can_trade: bool
    trades_today: int
    max_trades_per_day: int
    remaining_trades: int
    trading_hours: str
    last_trade_date: str | None
    next_open_ts: int | None
    next_close_ts: int | None
    cooldown_until: Mapping[str, int]
    blackout: str | None

    def row(self) -> dict[str, object]:
        """Make the row of the wire, times in ms."""
        return {
            "within_window": self.within_window,
            "can_trade": self.can_trade,
            "trades_today": self.trades_today,
            "max_trades_per_day": self.max_trades_per_day,
            "remaining_trades": self.remaining_trades,
            "trading_hours": self.trading_hours,
            "last_trade_date": self.last_trade_date,
            "next_open_ts": _ms(self.next_open_ts),
            "next_close_ts": _ms(self.next_close_ts),
            "cooldown_until": {symbol: _ms(ts) for symbol, ts in self.cooldown_until.items()},
            "blackout": self.blackout,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """Why no entry may be made.

    Attributes:
        rule: `trading_window`, `max_trades_per_day` or `cooldown` (functional specification, F16).
        text: For people.
        until: When it ends [ns]; None when that is not known.
    """

    rule: str
    text: str
    until: int | None


def state(schedule: Schedule, usage: Usage, ts: int) -> WindowState:
    """Tell how a window stands at a time [ns]."""
    used = usage.on(schedule.day(ts))
    remaining = max(0, schedule.max_trades_per_day - used.trades)
    within = schedule.open(ts)
    blackout = schedule.blackout(ts)
    return WindowState(
        within_window=within,
        can_trade=within and (remaining > 0 or not schedule.enabled),
        trades_today=used.trades,
        max_trades_per_day=schedule.max_trades_per_day,
        remaining_trades=remaining,
        trading_hours=schedule.hours,
        last_trade_date=used.last_trade,
        next_open_ts=schedule.next(ts, opens=True),
        next_close_ts=schedule.next(ts, opens=False),
        cooldown_until=cooling(schedule, usage, ts),
        blackout=None if blackout is None or not schedule.enabled else blackout.reason,
    )


def cooling(schedule: Schedule, usage: Usage, ts: int) -> dict[str, int]:
    """Give the symbols that cool down at a time, and until when [ns]."""
    if not schedule.enabled:
        return {}
    wait = schedule.cooldown_minutes * MINUTE
    return {symbol: left + wait for symbol, left in usage.exits.items() if left + wait > ts}


def shut(schedule: Schedule, usage: Usage, symbol: str, ts: int) -> Shut | None:
    """Judge an entry in a symbol at a time [ns]; None lets it pass."""
    if not schedule.enabled:
        return None
    blackout = schedule.blackout(ts)
    if blackout is not None:
        text = f"a blackout: {blackout.reason or 'no reason given'}"
        return Shut(rule="trading_window", text=text, until=blackout.to_ts)
    if not schedule.open(ts):
        text = f"outside the trading hours {schedule.hours}"
        return Shut(rule="trading_window", text=text, until=schedule.next(ts, opens=True))
    used = usage.on(schedule.day(ts))
    most = schedule.max_trades_per_day
    if used.trades >= most:
        tomorrow = date.fromisoformat(used.day) + timedelta(days=1)
        text = f"{used.trades} entries have filled today, max_trades_per_day is {most}"
        until = instant(tomorrow, 0, schedule.zone)
        return Shut(rule="max_trades_per_day", text=text, until=until)
    warm = cooling(schedule, usage, ts).get(symbol)
    if warm is not None:
        text = f"{symbol} cools down for another {(warm - ts) / SECOND:.0f} s"
        return Shut(rule="cooldown", text=text, until=warm)
    return None


# --- the wall clock -------------------------------------------------------------------------------


def local(ts: int, zone: tzinfo) -> datetime:
    """Show a time [ns] on the wall clock of a zone."""
    # In integers: as a float, the last nanosecond before midnight is midnight.
    return (EPOCH + timedelta(microseconds=ts // 1000)).astimezone(zone)


def instant(day: date, minute: int, zone: tzinfo, *, fold: int = 0) -> int:
    """Give the time at which a wall clock shows a minute of a day, 1440 being the next midnight [ns].

    Args:
        day: In the zone.
        minute: 0..1440.
        zone: Whose clock.
        fold: 1 for the second of two times that look alike.
    """
    whole = day + timedelta(days=minute // MIDNIGHT)
    shown = time(minute % MIDNIGHT // 60, minute % 60, tzinfo=zone, fold=fold)
    # Of two zones, because the same zone compares what the clocks show and not the times.
    return (datetime.combine(whole, shown) - EPOCH) // timedelta(microseconds=1) * 1000


def clock_change(since: int, until: int, zone: tzinfo) -> int | None:
    """Find when the clock was changed between two times at most a day apart, to the second [ns]; None if never."""
    low, high = since // SECOND, until // SECOND
    before = local(since, zone).utcoffset()
    if local(until, zone).utcoffset() == before:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if local(middle * SECOND, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high * SECOND


def minute_of(text: str) -> int:
    """Read `HH:MM`, `24:00` included [min].

    Raises:
        ValueError: It is no time of day.
    """
    hours, colon, minutes = text.partition(":")
    # ASCII digits only: `int` would read those of every script, and signs.
    good = len(hours) == 2 and len(minutes) == 2 and colon and (hours + minutes).isdecimal()
    if good and text.isascii():
        minute = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and minute <= MIDNIGHT:
            return minute
    raise ValueError("must be a time of day such as 09:30")


def clock(minute: int) -> str:
    """Show a minute of the day as a wall clock does."""
    return f"{minute // 60}:{minute % 60:02d}"


def _ms(ts: int | None) -> int | None:
    return None if ts is None else ts // MS
