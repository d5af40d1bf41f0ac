"""Token buckets."""

import pytest
from hypothesis import given, settings, strategies as st

from realtime.commands.registry import LANES
from realtime.server.limits import OWNERS, RATES, Bucket, LaneBuckets, Rate


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_every_lane_has_the_figures_of_the_document() -> None:
    assert {lane: (RATES[lane].per_s, RATES[lane].burst) for lane in LANES} == {
        "sub": (20, 100),
        "query": (20, 100),
        "orders": (10, 20),
        "safety": (50, 200),
    }


def test_a_burst_then_a_rate() -> None:
    time = Time()
    buckets = LaneBuckets(time)
    taken = [buckets.take("a", "orders", 1) for _ in range(21)]

    assert taken[:20] == [0] * 20
    assert taken[20] == pytest.approx(0.1, abs=0.011)
    time.now += taken[20]
    assert buckets.take("a", "orders", 1) == 0


def test_lanes_and_owners_are_apart() -> None:
    buckets = LaneBuckets(Time())
    for _ in range(20):
        buckets.take("a", "orders", 1)

    assert buckets.take("a", "orders", 1) > 0
    assert buckets.take("a", "safety", 1) == 0
    assert buckets.take("b", "orders", 1) == 0


def test_what_costs_more_than_there_is_takes_nothing() -> None:
    buckets = LaneBuckets(Time())

    assert buckets.take("a", "orders", 15) == 0
    assert buckets.take("a", "orders", 15) > 0
    assert buckets.take("a", "orders", 5) == 0


def test_what_costs_more_than_a_bucket_holds_takes_a_full_one() -> None:
    time = Time()
    buckets = LaneBuckets(time, {**RATES, "orders": Rate(per_s=5, burst=10)})

    assert buckets.take("a", "orders", 20) == 0
    wait = buckets.take("a", "orders", 20)
    assert wait == pytest.approx(2, abs=0.011)
    time.now += wait
    assert buckets.take("a", "orders", 20) == 0


def test_full_buckets_are_forgotten() -> None:
    time = Time()
    buckets = LaneBuckets(time)
    for n in range(OWNERS):
        buckets.take(f"a{n}", "query", 1)
    time.now += 10
    buckets.take("b", "query", 1)

    assert len(buckets._buckets) == 1


def test_buckets_that_are_not_full_are_kept() -> None:
    time = Time()
    buckets = LaneBuckets(time)
    for n in range(OWNERS - 1):
        buckets.take(f"a{n}", "query", 1)
    time.now += 10
    buckets.take("busy", "orders", 20)
    buckets.take("b", "query", 1)

    assert buckets.take("busy", "orders", 1) > 0


@given(st.lists(st.tuples(st.floats(0, 2), st.integers(1, 20)), max_size=50))
@settings(max_examples=50, deadline=None)
def test_no_more_is_taken_than_burst_and_rate_allow(steps: list[tuple[float, int]]) -> None:
    now, taken = 0.0, 0
    bucket = Bucket(Rate(per_s=10, burst=20), now)
    for pause, cost in steps:
        now += pause
        wait = bucket.take(now, cost)
        if wait:
            assert bucket.take(now + wait, 0) == 0
            assert bucket.wait(now + wait, cost) == 0
            now += wait
            bucket.take(now, cost)
        taken += cost

    assert taken <= 20 + 10 * now + 1e-6
