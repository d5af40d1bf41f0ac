"""The workloads: small, asserting counts; and in full, asserting what the project promises.

The full ones print their table: `make bench`. They want a machine with nothing else to do.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from realtime.bench.backtest import backtest, installed
from realtime.bench.books import books
from realtime.bench.build import NoCompilerError, compiled
from realtime.bench.fanout import FULL, SMALL, Scale, w1, w2_jobs, w2_w3, w5
from realtime.bench.figures import Figure, table
from realtime.bench.host import machine, pace
from realtime.bench.orders import COSTS_US, w4, w5_whole
from realtime.bench.processes import Load, Server
from realtime.bench.replay import NoRecordingError, recorded, w6
from realtime.bench.start import start


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    try:
        compiled("load")
    except NoCompilerError as reason:
        pytest.skip(str(reason))


@pytest.fixture
def recording() -> None:
    try:
        recorded()
    except NoRecordingError as reason:
        pytest.skip(str(reason))


# Small: in the fast suite


def test_every_subscriber_gets_every_round() -> None:
    with Server("ours") as server:
        text = '{"op":"subscribe","id":1,"channels":["ticker:S00/USDT?rate=0","ticker:S01/USDT?rate=0"]}'
        with Load(server.port, clients=20, text=text) as load:
            before = load.measure(0.2).deliveries
            server.say("publish 2 50 200")
            time.sleep(0.5)
            server.say("stop")
            time.sleep(0.2)
            rounds = server.ask("stats")["rounds"]
            seen = load.count()

    # Each round is one message per channel and client, none lost and none twice.
    assert rounds >= 5
    assert seen.deliveries - before == rounds * 2 * 20
    assert (seen.open, seen.served, seen.closed) == (20, 20, 0)


def test_a_small_w1_serves_everybody_with_every_contestant() -> None:
    figures = list(w1(SMALL))

    assert {name for name, value in figures[0].comparators if value > 0} == {
        "C send loop",
        "Starlette",
        "Starlette, deflate",
    }
    assert figures[0].ours > 0


def test_a_small_replay_reaches_the_hub(recording: None) -> None:
    (figure,) = w6(SMALL)

    assert figure.ours > 0


def test_jobs_run_beside_a_small_w2_and_everybody_is_served() -> None:
    figures = {one.name.rpartition(" ")[2]: one for one in w2_jobs(SMALL)}

    assert figures["p99"].of == "W2"
    assert figures["p99"].ours > 0
    assert figures["deliveries"].ours > 0
    # Each job has ended something by then; what workers that stand back get in so short a window is the machine's.
    assert "jobs" in figures


@pytest.mark.slow
def test_a_small_w4_places_and_fills_every_order() -> None:
    figures = list(w4(SMALL))
    compared = [dict(one.comparators) for one in figures if one.comparators]

    assert [one.ours for one in figures if one.name == "orders filled"] == [100]
    assert [list(times) for times in compared] == [list(COSTS_US)] * 4
    assert all(0 < time < 10_000 for times in compared for time in times.values())


@pytest.mark.slow
def test_a_start_on_a_small_past_is_measured() -> None:
    first, _ = start(SMALL)

    assert dict(first.comparators)["whole journal"] > 0
    assert first.ours > 0


def test_an_engine_that_is_not_installed_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("REALTIME_PEER", raising=False)
    said: list[str] = []

    found = installed(said.append)

    missing = {"backtesting.py", "backtrader", "vectorbt"} - set(found)
    assert {line.split(" is not compared: ")[0] for line in said} == missing
    assert all("REALTIME_PEER names none" in line for line in said)


def test_the_pace_counts_the_time_at_less_than_half_of_the_usual() -> None:
    # Nine chunks of 60 us, and one that the host interrupts.
    instants = [0.0]
    for took in (*[60e-6] * 9, 1_140e-6):
        instants += [0.1, 0.1 + took]

    assert pace(1, clock=iter([*instants, 1.0]).__next__) == (
        "a million additions take 30 ms; "
        "67.9 % of the time at less than half of that pace, with nothing else to do"
    )


# Full: `make bench`


def judge(workload: Callable[[Scale], Iterator[Figure]]) -> None:
    print(f"\n{machine()}\n{pace()}")
    figures = list(workload(FULL))
    print(table(figures))
    missed = [f"{one.workload} {one.name}: {one.bound}" for one in figures if not one.holds]

    assert not missed


@pytest.mark.bench_full
def test_w1_a_thousand_subscribers_of_one_ticker() -> None:
    judge(w1)


@pytest.mark.bench_full
def test_w2_and_w3_twenty_channels_and_stalled_readers() -> None:
    judge(w2_w3)


@pytest.mark.bench_full
def test_w2_beside_backtests_and_an_optimisation() -> None:
    judge(w2_jobs)


@pytest.mark.bench_full
def test_backtests_beside_every_engine_that_is_installed() -> None:
    judge(backtest)


@pytest.mark.bench_full
def test_w4_orders() -> None:
    judge(w4)


@pytest.mark.bench_full
def test_w5_idle_connections() -> None:
    judge(w5)


@pytest.mark.bench_full
def test_w5_idle_connections_of_the_whole_server() -> None:
    judge(w5_whole)


@pytest.mark.bench_full
def test_w6_replay(recording: None) -> None:
    judge(w6)


@pytest.mark.bench_full
def test_order_books_beside_ccxt(recording: None) -> None:
    judge(books)


@pytest.mark.bench_full
def test_a_start_after_a_hundred_thousand_orders() -> None:
    judge(start)
