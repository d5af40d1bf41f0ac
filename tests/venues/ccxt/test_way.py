"""The way out to an exchange: limits, lanes, pauses and the breaker (H15, V2, V3, V6, S12)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from realtime.model.errors import Code, Refused
from realtime.venues.ccxt.way import (
    FAILURES,
    LANE,
    PASSED,
    RESERVED,
    Breaker,
    Bucket,
    Lane,
    Limit,
    Turns,
    Way,
    Window,
    limit_of,
    retry_after,
)


PLAIN = (Lane.EXIT, Lane.ENTRY, Lane.RECONCILE, Lane.POLL)


@dataclass(frozen=True)
class Sent:
    """What went, and when it was asked for."""

    at: float
    lane: Lane
    cost: float
    asked: float
    number: int


def simulate(limit: Limit, arrivals: Sequence[tuple[float, Lane, float]]) -> list[Sent]:
    """Let calls arrive after pauses, each with lane and cost; everybody goes in the end."""
    turns = Turns(limit, chance=lambda: 0.5, backoff_max_s=30)
    sent: list[Sent] = []
    now = 0.0
    due: float | None = None

    def give() -> float | None:
        given, at = turns.give(now)
        sent.extend(Sent(now, t.lane, t.cost, t.asked, t.number) for t in given)
        return at

    for pause, lane, cost in arrivals:
        then = now + pause
        while due is not None and due <= then:
            assert due > now or turns.give(now) == ([], due)
            now = due
            due = give()
        now = then
        turns.ask(lane, cost, now)
        due = give()
    for _ in range(10_000):
        if due is None:
            break
        now = max(due, now + 1e-9)  # a timer never fires before its time
        due = give()
    assert due is None
    assert len(sent) == len(arrivals)
    return sent


ARRIVALS = st.lists(
    st.tuples(
        st.floats(0, 3).map(lambda pause: round(pause, 3)),
        st.sampled_from(Lane),
        st.sampled_from([0.0, 0.1, 1.0, 2.0, 5.0, 40.0]),
    ),
    max_size=60,
)


@given(arrivals=ARRIVALS)
@settings(max_examples=60, deadline=None)
def test_no_stretch_of_time_holds_more_than_a_window(
    arrivals: list[tuple[float, Lane, float]],
) -> None:
    seconds, most = 10.0, 20.0
    sent = simulate(Window(seconds, most), arrivals)

    for last in sent:
        inside = [s for s in sent if last.at - seconds + 1e-6 < s.at <= last.at]
        assert sum(min(s.cost, most) for s in inside) <= most + 1e-6
        # Plain lanes leave a fifth of it, but for a call that costs more than all they may use.
        plain = [s.cost for s in inside if s.lane >= Lane.EXIT]
        share = most * (1 - RESERVED)
        assert sum(plain) <= share + 1e-6 or sum(plain) - max(plain) <= 1e-6


@given(arrivals=ARRIVALS)
@settings(max_examples=60, deadline=None)
def test_no_stretch_of_time_holds_more_tokens_than_were_made(
    arrivals: list[tuple[float, Lane, float]],
) -> None:
    seconds = 0.5
    sent = simulate(Bucket(seconds), arrivals)
    # What can be there at once: the dearest call with the spare token, and an urgent call's debt.
    dearest = max((s.cost for s in sent), default=0.0)

    for first in range(len(sent)):
        total = 0.0
        for last in sent[first:]:
            total += last.cost
            made = (last.at - sent[first].at) / seconds
            assert total <= made + 2 * max(1.0, dearest) + 1 + 1e-6


@given(
    arrivals=ARRIVALS, cancels=st.lists(st.floats(0.5, 30).map(lambda at: round(at, 3)), max_size=4)
)
@settings(max_examples=60, deadline=None)
def test_a_cancel_never_waits_for_polls(
    arrivals: list[tuple[float, Lane, float]], cancels: list[float]
) -> None:
    # Cancels of at most a fifth of the window, among any number of plain calls.
    plain = [
        (p, lane if lane in PLAIN else Lane.POLL, min(cost, 16.0)) for p, lane, cost in arrivals
    ]
    now, mixed = 0.0, []
    waiting = sorted(cancels)
    for pause, lane, cost in plain:
        end = now + pause
        while waiting and waiting[0] <= end:
            mixed.append((waiting[0] - now, Lane.CANCEL, 1.0))
            now = waiting.pop(0)
        mixed.append((end - now, lane, cost))
        now = end
    sent = simulate(Window(10.0, 20.0), mixed)

    assert all(s.at - s.asked < 1e-9 for s in sent if s.lane is Lane.CANCEL)


@given(st.integers(1, 30), st.floats(0.01, 2))
@settings(max_examples=30, deadline=None)
def test_with_single_tokens_a_cancel_waits_for_no_poll(polls: int, after: float) -> None:
    arrivals = [(0.0, Lane.POLL, 1.0)] * polls + [(after, Lane.CANCEL, 1.0)]
    sent = simulate(Bucket(1.0), arrivals)
    cancel = next(s for s in sent if s.lane is Lane.CANCEL)

    assert cancel.at - cancel.asked < 1e-9


@given(lanes=st.lists(st.sampled_from(PLAIN), min_size=1, max_size=80))
@settings(max_examples=50, deadline=None)
def test_nobody_starves(lanes: list[Lane]) -> None:
    # All at once: of five who go one after the other, one is the one who waits longest.
    sent = simulate(Window(1.0, 2.0), [(0.0, lane, 1.0) for lane in lanes])
    oldest = [
        all(later.number > one.number for later in sent[place + 1 :])
        for place, one in enumerate(sent)
    ]

    for place in range(len(sent) - PASSED):
        assert any(oldest[place : place + PASSED + 1])


def test_lanes_go_by_urgency_then_by_arrival() -> None:
    turns = Turns(Window(1.0, 10.0), chance=lambda: 0.5, backoff_max_s=30)
    turns.refused(0.0, 5.0, banned=False)
    for lane in reversed(Lane):
        turns.ask(lane, 1.0, 0.0)
        turns.ask(lane, 1.0, 0.0)
    nothing, at = turns.give(0.0)
    given_, _ = turns.give(5.0)

    assert nothing == []
    assert at == 5.0
    assert [t.lane for t in given_[:8]] == [
        *[Lane.CANCEL] * 2,
        *[Lane.PROTECT] * 2,
        *[Lane.EXIT] * 2,
        *[Lane.ENTRY] * 2,
    ]


def test_what_ccxt_says_of_a_limit_becomes_a_window_or_tokens() -> None:
    window = limit_of(rate_limit_ms=50, window_ms=60_000)
    tokens = limit_of(rate_limit_ms=1000, window_ms=0)

    assert isinstance(window, Window)
    assert window.wait(1200, 0.0, urgent=True) == 0.0
    window.take(1200, 0.0)
    assert window.wait(1, 0.0, urgent=True) == 60.0
    assert isinstance(tokens, Bucket)
    tokens.take(1, 0.0)
    assert tokens.wait(1, 0.0, urgent=True) == 0.0
    assert tokens.wait(1, 0.0, urgent=False) == 1.0


def test_what_costs_nothing_waits_for_no_dear_read() -> None:
    """At Kraken reads cost and orders do not: entries waited for minutes behind the reads of a start."""
    reads = [(0.0, Lane.RECONCILE, 6.0)] * 6
    entries = [(0.1, Lane.ENTRY, 0.0)] * 8
    sent = simulate(limit_of(rate_limit_ms=1000, window_ms=0), [*reads, *entries])

    assert all(each.at == each.asked for each in sent if each.lane is Lane.ENTRY)


def test_a_dear_poll_pays_before_it_goes_so_that_a_cancel_finds_a_token() -> None:
    bucket = Bucket(1.0)

    assert bucket.wait(10, 0.0, urgent=False) == pytest.approx(9.0)
    assert bucket.wait(10, 9.0, urgent=False) == 0.0
    bucket.take(10, 9.0)
    assert bucket.wait(1, 9.0, urgent=True) == 0.0
    assert bucket.wait(1, 9.0, urgent=False) == pytest.approx(1.0)


def test_a_pause_the_exchange_names_holds_for_all_and_a_guess_for_plain_lanes() -> None:
    turns = Turns(Window(1.0, 100.0), chance=lambda: 1.0, backoff_max_s=30)
    guessed = turns.refused(0.0, None, banned=False)
    turns.ask(Lane.POLL, 1, 0.0)
    turns.ask(Lane.CANCEL, 1, 0.0)
    first, at = turns.give(0.0)
    told = turns.refused(0.0, 7.0, banned=False)
    turns.ask(Lane.CANCEL, 1, 0.0)
    second, later = turns.give(1.0)

    assert guessed == 1.0
    assert [t.lane for t in first] == [Lane.CANCEL]
    assert at == 1.0
    assert told == 7.0
    assert second == []
    assert later == 7.0
    assert turns.limited(6.9)
    assert not turns.limited(7.0)


def test_pauses_double_up_to_the_longest_and_begin_anew_after_an_answer() -> None:
    turns = Turns(Window(1.0, 100.0), chance=lambda: 1.0, backoff_max_s=5)
    pauses = [turns.refused(0.0, None, banned=True) for _ in range(5)]
    turns.taken()
    anew = turns.refused(0.0, None, banned=False)

    assert pauses == [1, 2, 4, 5, 5]
    assert anew == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_where_it_is_a_number(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


# -- the breaker -----------------------------------------------------------------------------------


def broken(now: float = 0.0) -> Breaker:
    breaker = Breaker("kraken", backoff_max_s=30)
    opened = [breaker.failed(now) for _ in range(FAILURES)]

    assert opened == [False] * (FAILURES - 1) + [True]
    return breaker


def test_five_failures_in_thirty_seconds_open_it_and_five_in_a_minute_do_not() -> None:
    slow = Breaker("kraken", backoff_max_s=30)
    for minute in range(10):
        assert not slow.failed(minute * 10.0)

    assert not slow.open
    assert broken().open


def test_open_it_refuses_entries_and_lets_exits_and_cancels_pass() -> None:
    breaker = broken()
    for lane in (Lane.CANCEL, Lane.PROTECT, Lane.EXIT):
        breaker.ask(lane, 0.0)
    for lane in (Lane.ENTRY, Lane.RECONCILE, Lane.POLL):
        with pytest.raises(Refused) as refusal:
            breaker.ask(lane, 0.0)

        assert refusal.value.code is Code.VENUE_UNAVAILABLE
        assert refusal.value.retry_after == 5.0


def test_one_read_at_a_time_probes_it() -> None:
    breaker = broken()
    breaker.ask(Lane.POLL, 5.0)
    with pytest.raises(Refused):
        breaker.ask(Lane.RECONCILE, 5.0)
    with pytest.raises(Refused):
        breaker.ask(Lane.ENTRY, 5.0)
    breaker.failed(6.0)
    with pytest.raises(Refused):
        breaker.ask(Lane.POLL, 15.0)
    breaker.ask(Lane.POLL, 16.0)
    breaker.ask(Lane.POLL, 46.0)  # the probe before was lost

    assert breaker.answered()
    breaker.ask(Lane.ENTRY, 46.0)
    assert not breaker.answered()


# -- the whole way ---------------------------------------------------------------------------------


class Told:
    """Takes alerts."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def __call__(self, _level: str, code: str, _text: str, _data: Any) -> None:
        self.codes.append(code)


def way(limit: Limit | None = None, told: Told | None = None) -> Way:
    return Way(
        "kraken",
        limit or Window(1.0, 10.0),
        loop=asyncio.get_running_loop(),
        chance=lambda: 1.0,
        tell=told or Told(),
    )


async def sending(out: Way, lane: Lane, sent: list[tuple[Lane, float]], cost: float = 1) -> None:
    LANE.set(lane)
    await out.turn(cost)
    sent.append((lane, asyncio.get_running_loop().time()))


async def test_a_cancel_behind_a_hundred_polls_goes_at_once() -> None:
    out, sent = way(Bucket(1.0)), list[tuple[Lane, float]]()
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(sending(out, Lane.POLL, sent))
        await asyncio.sleep(2.5)
        group.create_task(sending(out, Lane.CANCEL, sent))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        row = out.row()

        assert (Lane.CANCEL, 2.5) in sent
        assert row["lanes"]["cancel"]["wait_p99_ms"] == 0.0  # type: ignore[index]
        assert row["lanes"]["poll"]["waiting"] == 97  # type: ignore[index]
    assert len(sent) == 101
    assert out.row()["lanes"]["poll"]["sent"] == 100  # type: ignore[index]


async def test_one_who_leaves_the_queue_is_not_waited_for() -> None:
    out, sent = way(Window(1.0, 2.0)), list[tuple[Lane, float]]()
    await sending(out, Lane.CANCEL, sent)
    async with asyncio.TaskGroup() as group:
        await sending(out, Lane.CANCEL, sent)
        gone = group.create_task(sending(out, Lane.CANCEL, sent))
        stays = group.create_task(sending(out, Lane.CANCEL, sent))
        await asyncio.sleep(0.5)
        gone.cancel()
        await stays

    assert sent[-1] == (Lane.CANCEL, 1.0)
    assert len(sent) == 3


async def test_failures_refuse_waiting_entries_and_an_answer_lets_them_in_again() -> None:
    told = Told()
    out, sent = way(Window(10.0, 2.0), told), list[tuple[Lane, float]]()
    await sending(out, Lane.POLL, sent)
    waiting = asyncio.create_task(sending(out, Lane.ENTRY, sent))
    await asyncio.sleep(0)
    for _ in range(FAILURES):
        out.failed()
    with pytest.raises(Refused):
        await waiting
    with pytest.raises(Refused):
        await sending(out, Lane.ENTRY, sent)
    out.answered(503)

    assert out.unavailable
    await sending(out, Lane.EXIT, sent)
    out.answered(200)
    await sending(out, Lane.ENTRY, sent)
    assert told.codes == ["venue_unavailable", "venue_answers"]
    assert out.row()["failed"] == FAILURES + 1


@pytest.mark.parametrize("status", [200, 400, 403])
async def test_pauses_grow_while_bodies_say_too_many_and_a_cancel_passes_them(status: int) -> None:
    out, sent = way(), list[tuple[Lane, float]]()
    begun = asyncio.get_running_loop().time()
    for _ in range(4):
        out.answered(status)
        out.judged(status, too_many=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(sending(out, Lane.POLL, sent))
        group.create_task(sending(out, Lane.CANCEL, sent))
    out.judged(200, too_many=False)
    out.judged(status, too_many=True)
    await sending(out, Lane.POLL, sent)

    # 1, 2, 4 and 8 s; and behind an answer that was taken 1 s again.
    assert [(lane, round(at - begun, 3)) for lane, at in sent] == [
        (Lane.CANCEL, 0.0),
        (Lane.POLL, 8.0),
        (Lane.POLL, 9.0),
    ]
    assert out.row()["refused"] == 5


@pytest.mark.parametrize("status", [0, 418, 429, 503])
async def test_what_a_status_has_said_is_not_counted_again(status: int) -> None:
    out = way()
    out.judged(status, too_many=True)

    assert out.row()["refused"] == 0
    assert not out.limited


async def test_too_many_requests_pause_what_is_not_urgent_and_drop_no_cancel() -> None:
    told = Told()
    out, sent = way(told=told), list[tuple[Lane, float]]()
    out.answered(429, {"Retry-After": "4"})
    out.answered(429, {"Retry-After": "4"})
    async with asyncio.TaskGroup() as group:
        group.create_task(sending(out, Lane.POLL, sent))
        group.create_task(sending(out, Lane.CANCEL, sent))
        await asyncio.sleep(1)
        assert out.limited
        assert sent == []
    assert sent == [(Lane.CANCEL, 4.0), (Lane.POLL, 4.0)]
    out.judged(200, too_many=True)
    assert told.codes == ["venue_rate_limited", "venue_rate_limited"]
    assert out.row()["refused"] == 3
