"""The trading window: hours on the wall clock, blackouts, entries a day, cooldowns."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.window import (
    ALL_WEEK,
    DAY,
    MINUTE,
    Blackout,
    Schedule,
    Span,
    Usage,
    minute_of,
    shut,
    state,
)
from realtime.model.market import SECOND


BERLIN = ZoneInfo("Europe/Berlin")
HAVANA = ZoneInfo("America/Havana")
NIGHT = Span(start=22 * 60, end=6 * 60)
WORKDAYS = frozenset(range(5))


def at(text: str) -> int:
    """A time from ISO 8601, UTC without an offset [ns]."""
    found = datetime.fromisoformat(text)
    return int(found.replace(tzinfo=found.tzinfo or UTC).timestamp()) * SECOND


def scan(schedule: Schedule, ts: int, *, opens: bool, minutes: int) -> int | None:
    """Find the next change by looking at every minute."""
    before = schedule.open(ts)
    for step in range(1, minutes):
        now = schedule.open(ts + step * MINUTE)
        if now is opens and before is not opens:
            return ts + step * MINUTE
        before = now
    return None


# --- hours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "inside"),
    [("23:30", True), ("05:59", True), ("06:00", False), ("21:59", False), ("22:00", True)],
)
def test_hours_wrap_over_midnight(time: str, inside: bool) -> None:  # noqa: FBT001
    assert Schedule(spans=(NIGHT,)).open(at(f"2026-11-25T{time}")) is inside  # G37


def test_the_last_nanosecond_before_the_end_is_inside() -> None:
    schedule = Schedule(spans=(Span(start=0, end=60),))

    assert schedule.open(at("2026-11-25T01:00") - 1)
    assert not schedule.open(at("2026-11-25T01:00"))


def test_a_night_belongs_to_the_day_on_which_it_begins() -> None:
    schedule = Schedule(spans=(Span(days=frozenset({6}), start=22 * 60, end=6 * 60),))

    assert not schedule.open(at("2026-11-29T05:00"))  # a Sunday
    assert schedule.open(at("2026-11-29T23:00"))
    assert schedule.open(at("2026-11-30T05:00"))
    assert not schedule.open(at("2026-11-30T23:00"))


def test_the_same_start_and_end_is_a_whole_day() -> None:
    schedule = Schedule(spans=(Span(days=frozenset({0}), start=540, end=540),))

    assert not schedule.open(at("2026-11-30T08:59"))
    assert schedule.open(at("2026-11-30T09:00"))
    assert schedule.open(at("2026-12-01T08:59"))
    assert not schedule.open(at("2026-12-01T09:00"))


def test_hours_are_those_of_the_zone_in_winter_and_in_summer() -> None:
    schedule = Schedule(zone=BERLIN, spans=(Span(start=9 * 60, end=17 * 60),))

    assert schedule.open(at("2026-01-15T08:00"))
    assert not schedule.open(at("2026-01-15T07:59"))
    assert schedule.open(at("2026-07-15T07:00"))
    assert not schedule.open(at("2026-07-15T15:00"))


def test_an_hour_that_the_clock_skips_is_skipped() -> None:
    skipped = Schedule(zone=BERLIN, spans=(Span(start=2 * 60, end=3 * 60),))
    night = at("2026-03-29T00:00")  # clocks go from 2 to 3 at 01:00 UTC

    assert skipped.next(night, opens=True) == at("2026-03-30T00:00")
    around = Schedule(zone=BERLIN, spans=(Span(start=150, end=4 * 60),))
    assert around.next(night, opens=True) == at("2026-03-29T01:00")
    assert around.next(night, opens=False) == at("2026-03-29T02:00")


def test_an_hour_that_the_clock_repeats_counts_twice() -> None:
    schedule = Schedule(zone=BERLIN, spans=(Span(start=60, end=150),))
    night = at("2026-10-24T22:30")  # clocks go from 3 back to 2 at 01:00 UTC

    assert schedule.next(night, opens=True) == at("2026-10-24T23:00")
    first = at("2026-10-25T00:30")
    assert schedule.next(night, opens=False) == first
    assert schedule.next(first, opens=True) == at("2026-10-25T01:00")
    assert schedule.next(at("2026-10-25T01:00"), opens=False) == at("2026-10-25T01:30")


def test_a_clock_that_changes_at_midnight_is_followed() -> None:
    schedule = Schedule(zone=HAVANA, spans=(Span(start=30, end=90),))

    # From 00:00 to 01:00 at 05:00 UTC: half past twelve does not exist that day.
    assert schedule.next(at("2026-03-08T04:00"), opens=True) == at("2026-03-08T05:00")
    assert schedule.next(at("2026-03-08T04:00"), opens=False) == at("2026-03-08T05:30")


def test_what_is_always_open_never_opens_or_closes() -> None:
    now = at("2026-11-25T12:00")
    for schedule in (
        Schedule(),
        Schedule(enabled=False, spans=(NIGHT,), blackouts=(Blackout(from_ts=0, to_ts=now * 2),)),
    ):
        assert schedule.open(now)
        assert schedule.next(now, opens=True) is None
        assert schedule.next(now, opens=False) is None


spans = st.builds(
    Span,
    days=st.sets(st.integers(0, 6), min_size=1).map(frozenset),
    start=st.integers(0, 1439),
    end=st.integers(0, 1440),
)


@settings(max_examples=25, deadline=None)
@given(
    spans=st.lists(spans, min_size=1, max_size=2).map(tuple),
    zone=st.sampled_from([UTC, BERLIN, HAVANA, ZoneInfo("Asia/Kathmandu")]),
    start=st.sampled_from(["2026-03-06T12:00", "2026-03-28T12:00", "2026-10-24T03:00"]),
    opens=st.booleans(),
)
def test_the_next_change_is_the_one_that_every_minute_shows(
    spans: tuple[Span, ...],
    zone: ZoneInfo,
    start: str,
    opens: bool,  # noqa: FBT001
) -> None:
    schedule = Schedule(zone=zone, spans=spans)
    found = schedule.next(at(start), opens=opens)
    seen = scan(schedule, at(start), opens=opens, minutes=3 * 24 * 60)

    if seen is None:
        assert found is None or found >= at(start) + 3 * DAY - MINUTE
    else:
        assert found == seen


# --- blackouts ------------------------------------------------------------------------------------


def test_a_blackout_closes_and_its_end_opens_however_far_away() -> None:
    blackout = Blackout(from_ts=at("2026-12-20T00:00"), to_ts=at("2027-03-01T12:00"), reason="rest")
    schedule = Schedule(blackouts=(blackout,))
    now = at("2026-11-25T12:00")

    assert schedule.next(now, opens=False) == blackout.from_ts
    assert schedule.next(now, opens=True) == blackout.to_ts
    assert schedule.open(blackout.from_ts - 1)
    assert not schedule.open(blackout.from_ts)
    assert schedule.open(blackout.to_ts)
    assert state(schedule, Usage(), blackout.from_ts).blackout == "rest"


def test_hours_open_after_a_blackout_that_ends_outside_them() -> None:
    blackout = Blackout(from_ts=at("2026-11-25T00:00"), to_ts=at("2026-12-24T12:00"))
    schedule = Schedule(spans=(NIGHT,), blackouts=(blackout,))

    assert schedule.next(at("2026-11-25T01:00"), opens=True) == at("2026-12-24T22:00")


# --- what holds an entry back ---------------------------------------------------------------------


def test_entries_of_a_day_are_counted_in_the_zone_and_forgotten_at_its_midnight() -> None:
    schedule = Schedule(zone=BERLIN, max_trades_per_day=2)
    evening = at("2026-07-15T21:30")  # half past eleven in Berlin
    usage = Usage().entered(schedule, evening).entered(schedule, evening)
    full = shut(schedule, usage, "BTC/USDT", evening)

    assert full is not None
    assert (full.rule, full.until) == ("max_trades_per_day", at("2026-07-15T22:00"))
    assert "2 entries" in full.text
    now = state(schedule, usage, evening)
    assert (now.trades_today, now.remaining_trades, now.can_trade) == (2, 0, False)
    assert now.within_window
    later = at("2026-07-15T22:00")
    assert shut(schedule, usage, "BTC/USDT", later) is None
    fresh = state(schedule, usage, later)
    assert (fresh.trades_today, fresh.remaining_trades) == (0, 2)
    assert fresh.last_trade_date == "2026-07-15"


def test_a_zone_that_moves_the_date_back_does_not_begin_the_count_anew() -> None:
    noon = at("2026-07-15T23:00")
    usage = Usage().entered(Schedule(zone=BERLIN), noon)  # the 16th there

    assert state(Schedule(), usage, noon).trades_today == 1


def test_a_symbol_cools_down_after_an_exit() -> None:
    schedule = Schedule(cooldown_minutes=30)
    left = at("2026-11-25T12:00")
    usage = Usage().exited("BTC/USDT", left).exited("ETH/USDT", left - DAY)
    usage = usage.exited("BTC/USDT", left - MINUTE)  # told late
    waits = shut(schedule, usage, "BTC/USDT", left + 29 * MINUTE)

    assert waits is not None
    assert (waits.rule, waits.until) == ("cooldown", left + 30 * MINUTE)
    assert "60 s" in waits.text
    assert shut(schedule, usage, "BTC/USDT", left + 30 * MINUTE) is None
    assert shut(schedule, usage, "ETH/USDT", left) is None
    assert state(schedule, usage, left).cooldown_until == {"BTC/USDT": left + 30 * MINUTE}
    assert state(schedule, usage, left).can_trade


def test_closed_hours_and_blackouts_name_what_they_are_and_when_they_end() -> None:
    night = at("2026-11-25T03:00")
    day = Schedule(spans=(Span(days=WORKDAYS, start=540, end=1020),))
    closed = shut(day, Usage(), "BTC/USDT", night)
    black = Schedule(blackouts=(Blackout(from_ts=night, to_ts=night + DAY),))
    dark = shut(black, Usage(), "BTC/USDT", night)

    assert closed is not None
    assert (closed.rule, closed.until) == ("trading_window", at("2026-11-25T09:00"))
    assert "9:00 - 17:00" in closed.text
    assert dark is not None
    assert (dark.rule, dark.until) == ("trading_window", night + DAY)


def test_a_window_that_is_off_holds_nothing_back_and_still_counts() -> None:
    night = at("2026-11-25T03:00")
    schedule = Schedule(
        enabled=False,
        spans=(Span(start=540, end=600),),
        blackouts=(Blackout(from_ts=0, to_ts=night * 2, reason="x"),),
        max_trades_per_day=1,
        cooldown_minutes=30,
    )
    usage = Usage().entered(schedule, night).exited("BTC/USDT", night)

    assert shut(schedule, usage, "BTC/USDT", night) is None
    now = state(schedule, usage, night)
    assert now.can_trade
    assert (now.trades_today, now.blackout, now.cooldown_until) == (1, None, {})


def test_the_row_of_the_wire_is_in_milliseconds() -> None:
    schedule = Schedule(
        spans=(Span(days=ALL_WEEK, start=480, end=1020), NIGHT, NIGHT), cooldown_minutes=1
    )
    now = at("2026-11-25T12:00")

    assert state(schedule, Usage().exited("BTC/USDT", now), now).row() == {
        "within_window": True,
        "can_trade": True,
        "trades_today": 0,
        "max_trades_per_day": 5,
        "remaining_trades": 5,
        "trading_hours": "8:00 - 17:00, 22:00 - 6:00",
        "last_trade_date": None,
        "next_open_ts": at("2026-11-25T22:00") // 1_000_000,
        "next_close_ts": at("2026-11-25T17:00") // 1_000_000,
        "cooldown_until": {"BTC/USDT": (now + MINUTE) // 1_000_000},
        "blackout": None,
    }
    always = state(Schedule(), Usage(), now).row()
    assert always["next_open_ts"] is None
    assert always["next_close_ts"] is None


# --- times of day ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "minute"), [("00:00", 0), ("09:30", 570), ("23:59", 1439), ("24:00", 1440)]
)
def test_times_of_day_are_read(text: str, minute: int) -> None:
    assert minute_of(text) == minute


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9:30",
        "24:01",
        "12:60",
        "-1:00",
        "12:0",
        "1200",
        "12:00:00",
        "\u0661\u0662:\u0660\u0660",
    ],
)
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time of day"):
        minute_of(text)
