"""The rhythm of a stream."""

import pytest

from realtime.model.market import Trade
from realtime.venues.ccxt.rows import Side
from realtime.venues.ccxt.watch import (
    Feed,
    Socket,
    backoff,
    differences,
    unheard_of,
)
from realtime.venues.chance import Chance
from realtime.venues.rhythm import Freshness, Patience, Rhythm


def feed() -> Feed:
    return Feed(symbol="A/B", kind="trades", source="ws", since=0, heard=0.0)


def trade(name: str, ts: int = 5, price: str = "1.0") -> Trade:
    return Trade(name, "A/B", "buy", price, "1", ts * 1_000_000, 0)


@pytest.mark.parametrize(
    ("gap", "limit"), [(0.1, 5.0), (1.0, 20.0), (10.0, 60.0)], ids=["fast", "slow", "rare"]
)
def test_the_silence_that_counts_follows_the_rhythm(gap: float, limit: float) -> None:
    rhythm = Rhythm()
    assert rhythm.limit == 5.0
    for beat in range(20):
        rhythm.beat(beat * gap)
    rhythm.rest()
    rhythm.beat(10_000.0)  # the time without a connection is no gap

    assert rhythm.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("gap", "limit"), [(0.1, 2.0), (1.0, 3.0), (10.0, 8.0)], ids=["fast", "slow", "rare"]
)
def test_the_silence_that_counts_is_what_is_set(gap: float, limit: float) -> None:
    rhythm = Rhythm(Patience(min_s=2.0, factor=3.0, max_s=8.0))
    assert rhythm.limit == 2.0
    for beat in range(20):
        rhythm.beat(beat * gap)

    assert rhythm.limit == pytest.approx(limit)


def test_a_least_silence_above_the_most_is_the_limit() -> None:
    rhythm = Rhythm(Patience(min_s=90.0))
    rhythm.beat(0.0)
    rhythm.beat(1.0)

    assert rhythm.limit == 90.0


def test_attempts_grow_apart_up_to_their_bound_and_never_in_step() -> None:
    one, two = Chance(1, "a"), Chance(2, "a")
    waits = [backoff(tries, 30.0, one) for tries in range(1, 12)]

    assert all(
        min(2.0**n, 30.0) * 0.5 <= wait <= min(2.0**n, 30.0) * 1.5 for n, wait in enumerate(waits)
    )
    assert waits != [backoff(tries, 30.0, two) for tries in range(1, 12)]


def test_a_socket_is_mute_when_a_ping_waits_too_long() -> None:
    socket = Socket(heard=10.0, pinged=12.0)

    assert [socket.mute(now) for now in (14.0, 15.1)] == [False, True]
    assert not Socket(heard=10.0, pinged=9.0).mute(100.0)


def test_health_is_the_share_of_five_minutes_in_which_a_stream_was_fresh() -> None:
    """features F15."""
    freshness = Freshness()
    assert freshness.share(0.0) is None
    freshness.turn(0.0, fresh=False)
    freshness.turn(10.0, fresh=True)
    assert freshness.share(40.0) == 0.75
    for minute in range(1, 100):
        freshness.turn(minute * 60.0, fresh=bool(minute % 2))

    assert freshness.share(99 * 60.0) == pytest.approx(0.4)
    assert freshness.share(99 * 60.0 + 300.0) == 1.0
    assert len(freshness._turns) <= 7


def test_a_feed_is_fresh_from_its_first_message_or_when_it_has_none_to_tell() -> None:
    told, quiet = feed(), feed()
    told.beat(2.0, 5)

    assert (told.health(10.0), quiet.health(4.0), quiet.health(10.0)) == (0.8, 0.0, 0.5)


def test_a_trade_counts_once_and_memory_is_bounded() -> None:
    one = feed()
    told = [one.unheard(trade(str(number % 15_000))) for number in range(15_000)]

    assert all(told)
    assert not one.unheard(trade("14999"))
    assert len(one.seen) == 10_000


def test_missed_trades_are_told_by_their_ids() -> None:
    one = feed()
    for name in ("1", "2"):
        one.unheard(trade(name))
    one.held = [trade("5", 7)]
    answer = [trade("0", 1), trade("2"), trade("3"), trade("4", 6), trade("5", 7)]

    assert [missed.id for missed in unheard_of(one, answer)] == ["3", "4"]


def test_missed_trades_are_told_by_time_and_body_where_ids_differ() -> None:
    one = feed()
    one.unheard(trade("s1"))
    one.held = [trade("s9", 8, "3.0")]
    answer = [trade("r1"), trade("r2", 6, "2.0"), trade("r3", 8, "3.0")]

    assert [missed.id for missed in unheard_of(one, answer)] == ["r2"]


def test_books_are_compared_where_both_look() -> None:
    ours: tuple[Side, Side] = {3.0: 1.0, 2.0: 1.0, 1.0: 1.0}, {4.0: 1.0, 5.0: 1.0}
    theirs: tuple[Side, Side] = {3.0: 1.0, 2.5: 1.0, 2.0: 2.0}, {4.0: 1.0}

    assert differences(ours, theirs) == {("bids", 2.5, 0.0), ("bids", 2.0, 1.0)}
    assert differences(({1.0: 1.0}, {}), ({}, {})) == {("bids", 1.0, 1.0)}


def test_a_row_of_monitoring_counts_the_last_seconds() -> None:
    one = feed()
    assert one.row(0.0, 0)["last_msg_age_ms"] is None
    for beat in range(1, 21):
        one.beat(beat / 2, beat)
    row = one.row(10.0, 1_000_000)

    assert row["messages_per_s"] == 2.0
    assert (row["state"], row["source"]) == ("ok", "ws")
    one.cause = "silent"
    assert (one.row(30.0, 0)["state"], one.row(30.0, 0)["source"]) == ("silent", "poll")
    assert one.row(60.0, 0)["messages_per_s"] == 0.0
