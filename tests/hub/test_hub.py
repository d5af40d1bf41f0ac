"""Cohorts and readers: who is written to, how often, in what pieces, and what a slow one costs."""

from collections.abc import Callable

import pytest

from realtime.hub.hub import Hub, Wanted
from tests.hub.world import BTC, ETH, FakeWire, Json, Rig, bodies


TICKER = f"ticker:{BTC}"
LIVE = f"{TICKER}?rate=0"


def put(rig: Rig, n: int, name: str = TICKER) -> None:
    rig.hub.value(name, {"n": n})


def numbers(messages: list[Json]) -> list[int]:
    return [message["data"]["n"] for message in messages]


# --- counts, the same on every machine ------------------------------------------------------------


def test_a_publish_to_a_thousand_readers_is_one_encoding_one_join_and_one_write_each() -> None:
    rig = Rig()
    put(rig, 0)
    wires = [rig.reader(LIVE)[0] for _ in range(1000)]
    counts = rig.hub.counts
    before = (counts.encodings, counts.messages, counts.joins, counts.writes)
    put(rig, 1)
    rig.flush()

    after = (counts.encodings, counts.messages, counts.joins, counts.writes)
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1, 1000]
    assert {len(wire.blobs) for wire in wires} == {1}
    assert len({id(wire.blobs[0]) for wire in wires}) == 1, "the very same bytes"


def test_twenty_channels_of_two_hundred_readers_are_one_join_and_one_write_each() -> None:
    rig = Rig()
    symbols = [f"S{n}/USDT" for n in range(20)]
    rig.hub.symbols = symbols
    names = [f"ticker:{symbol}" for symbol in symbols]
    for name in names:
        put(rig, 0, name)
    wires = [rig.reader(*names, batch=n % 2 == 1)[0] for n in range(200)]
    counts = rig.hub.counts
    before = (counts.encodings, counts.joins, counts.writes)
    for name in names:
        put(rig, 1, name)
    rig.tick(100)

    after = (counts.encodings, counts.joins, counts.writes)
    assert [b - a for a, b in zip(before, after, strict=True)] == [20, 2, 200]
    for n, wire in enumerate(wires):
        assert numbers(wire.take(batch=n % 2 == 1)) == [1] * 20


def test_a_thousand_joiners_cost_one_encoding_of_the_snapshot() -> None:
    rig = Rig()
    rig.hub.value("risk", {"n": 1})
    before = rig.hub.counts.encodings
    for _ in range(1000):
        rig.reader("risk")

    assert rig.hub.counts.encodings - before == 1


def test_the_pump_is_woken_once_until_it_flushes() -> None:
    rig = Rig()
    put(rig, 0)
    rig.reader(LIVE)
    woken = rig.woken
    for n in range(5):
        put(rig, n)
    assert rig.woken == woken + 1
    rig.flush()
    put(rig, 9)

    assert rig.woken == woken + 2


def test_updates_are_the_same_bytes_whatever_the_reader() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[{"id": "a"}])
    plain, _ = rig.reader("orders")
    batched, _ = rig.reader("orders", batch=True)
    paced, _ = rig.reader("orders", "fills", batch=True, every=50)
    rig.hub.table("orders", rows=[{"id": "b", "text": '"},{"type":"x'}])
    rig.flush()
    rig.hub.due(50)
    rig.flush()

    assert list(bodies(plain.blobs[0], batch=False)) == [batched.blobs[0][3:-1].removeprefix(b"[")]
    assert paced.blobs == batched.blobs


# --- subscribing ----------------------------------------------------------------------------------


def test_nothing_is_written_before_the_flush_behind_the_reply() -> None:
    rig = Rig()
    put(rig, 0)
    wire, reader = rig.reader("orders")
    entries = rig.subscribe(reader, LIVE, "fills")
    put(rig, 1)
    rig.hub.table("orders", rows=[{"id": "a"}])

    assert wire.blobs == []
    assert [entry["channel"] for entry in entries] == [LIVE, "fills"]
    rig.flush()
    assert [(m["channel"], m["type"]) for m in wire.take()] == [
        ("orders", "update"),
        (LIVE, "snapshot"),
        ("fills", "snapshot"),
    ]


def test_subscribing_again_restarts_one_channel_and_leaves_the_others() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders", "fills")
    rig.subscribe(reader, "orders")
    rig.flush()

    assert [(m["channel"], m["reason"]) for m in wire.take()] == [("orders", "subscribe")]
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.hub.append("fills", {"id": "1"})
    rig.flush()
    assert [m["seq"] for m in wire.take()] == [1, 1]


def test_after_an_unsubscribe_nothing_of_the_channel_follows() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders", "fills")
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.hub.append("fills", {"id": "1"})
    assert rig.hub.unsubscribe(reader, ["orders", "nope"]) == ["orders"]
    rig.flush()

    assert [m["channel"] for m in wire.take()] == ["fills"]
    assert rig.hub.unsubscribe(reader, []) == []
    assert rig.hub.unsubscribe(reader, None) == ["fills"]
    rig.hub.append("fills", {"id": "2"})
    rig.flush()
    assert wire.take() == []


def test_a_reader_that_is_gone_is_forgotten_and_asks_in_vain() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders")
    rig.hub.remove(reader)
    rig.hub.remove(reader)
    rig.hub.pace(reader, 50)
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.flush()

    assert rig.subscribe(reader, "orders") == []
    assert (wire.take(), list(rig.hub.readers)) == ([], [])
    rig.hub.paused(wire)
    rig.hub.resume(wire)


# --- pace -----------------------------------------------------------------------------------------


def test_a_paced_reader_gets_the_newest_value_and_all_rows_when_it_is_due() -> None:
    rig = Rig()
    put(rig, 0)
    wire, reader = rig.reader(LIVE, "orders", batch=True, every=50)
    for n in range(1, 4):
        put(rig, n)
        rig.hub.table("orders", rows=[{"id": str(n)}])
        rig.flush()
    assert wire.blobs == []
    rig.hub.due(100)
    rig.hub.due(50)
    rig.hub.due(50)
    rig.flush()

    assert len(wire.blobs) == 1
    got = wire.take(batch=True)
    assert [m["seq"] for m in got if m["channel"] == "orders"] == [1, 2, 3]
    assert numbers([m for m in got if m["channel"] == LIVE]) == [3]
    rig.subscribe(reader, "fills")
    rig.flush()
    assert wire.blobs == []
    rig.hub.due(50)
    rig.flush()
    assert [m["channel"] for m in wire.take(batch=True)] == ["fills"]


def test_changing_the_pace_and_back_loses_no_row() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders", batch=True, every=50)
    got = []
    for n, every in enumerate((1000, 0, 1000, 50, 0), start=1):
        rig.hub.table("orders", rows=[{"id": str(n)}])
        rig.hub.pace(reader, every)
        rig.flush()
        got += wire.take(batch=True)

    assert [m["seq"] for m in got] == [1, 2, 3, 4, 5]


def test_a_joiner_is_not_sent_what_a_waiting_cohort_still_owes_its_readers() -> None:
    rig = Rig()
    early, first = rig.reader("orders", batch=True, every=50)
    rig.hub.table("orders", rows=[{"id": "a"}])
    late = FakeWire()
    second = rig.hub.attach(late, batch=True, every=50)
    rig.subscribe(second, "orders", snapshot=False)
    assert first.cohort is not second.cohort
    rig.hub.table("orders", rows=[{"id": "b"}])
    rig.hub.due(50)
    rig.flush()

    assert [m["seq"] for m in early.take(batch=True)] == [1, 2]
    assert [m["seq"] for m in late.take(batch=True)] == [2]
    assert first.cohort is second.cohort, "at the same position again: one cohort"
    assert first.skipped == second.skipped == 0


def test_two_cohorts_of_one_kind_merge_only_when_both_are_at_the_head() -> None:
    rig = Rig()
    _, first = rig.reader("orders", batch=True, every=50)
    rig.hub.table("orders", rows=[{"id": "a"}])
    second = rig.hub.attach(FakeWire(), batch=True, every=50)
    rig.subscribe(second, "orders", snapshot=False)
    rig.hub.due(50)
    rig.flush()
    assert first.cohort is second.cohort
    rig.hub.table("orders", rows=[{"id": "b"}])
    third = rig.hub.attach(FakeWire(), batch=True, every=50)
    rig.subscribe(third, "orders", snapshot=False)
    rig.hub.remove(third)
    rig.hub.due(50)
    rig.flush()
    fourth = rig.hub.attach(FakeWire(), batch=True, every=50)
    rig.subscribe(fourth, "orders", snapshot=False)

    assert first.cohort is second.cohort is fourth.cohort


# --- slow readers ---------------------------------------------------------------------------------


def test_a_full_wire_is_not_written_to_and_the_others_do_not_notice() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[{"id": f"old-{n}"} for n in range(50)])
    slow, reader = rig.reader("orders", LIVE)
    quick, _ = rig.reader("orders", LIVE)
    slow.full = True
    for n in range(5):
        put(rig, n)
        rig.hub.table("orders", rows=[{"id": str(n)}])
        rig.flush()

    assert (len(slow.blobs), len(quick.blobs)) == (1, 5)
    assert (reader.stalled, reader.behind, reader.cohort) == (True, True, None)
    rig.hub.paused(slow)
    slow.take()
    slow.full = False
    rig.hub.resume(slow)
    rig.hub.resume(slow)
    got = slow.take()
    assert [m["seq"] for m in got if m["channel"] == "orders"] == [3, 4, 5, 6]
    assert numbers([m for m in got if m["channel"] == LIVE]) == [4]
    assert (reader.behind, reader.skipped) == (False, 3)
    assert reader.cohort is not None
    assert len(reader.cohort.readers) == 2


def test_a_slow_reader_of_a_table_gets_a_snapshot_if_that_is_smaller() -> None:
    rig = Rig()
    slow, _ = rig.reader("orders")
    slow.full = True
    for n in range(20):
        rig.hub.table("orders", rows=[{"id": "same", "n": n}])
        rig.flush()
    slow.take()
    slow.full = False
    rig.hub.resume(slow)

    (message,) = slow.take()

    assert (message["reason"], message["seq"]) == ("lag", 20)
    assert message["data"]["set"] == [{"id": "same", "n": 19}]


def test_a_slow_paced_reader_waits_for_its_pace_again() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders", batch=True, every=50)
    wire.full = True
    for n in range(2):
        rig.hub.table("orders", rows=[{"id": str(n)}])
        rig.hub.due(50)
        rig.flush()
    wire.full = False
    wire.take(batch=True)
    rig.hub.resume(wire)
    assert wire.blobs == []
    rig.hub.due(50)
    rig.flush()

    assert [m["seq"] for m in wire.take(batch=True)] == [2]
    assert not reader.behind


def test_a_catching_up_reader_is_written_to_in_pieces_until_it_has_had_enough() -> None:
    rig = Rig(piece=400)
    wire = FakeWire()
    reader = rig.hub.attach(wire, batch=False, every=0)
    for n in range(10):
        rig.hub.append("fills", {"id": str(n), "text": "x" * 50})
    rig.subscribe(reader, "fills", since=("j1", 0))
    wire.full = True
    seen = []
    rig.flush()
    for _ in range(5):
        (blob,) = wire.blobs
        assert len(blob) <= 400
        seen += [m["seq"] for m in wire.take()]
        rig.hub.resume(wire)

    assert seen == list(range(1, 11))
    assert (wire.blobs, reader.behind) == ([], False)
    assert reader.cohort is not None


def test_a_message_above_the_piece_goes_alone() -> None:
    rig = Rig(piece=100)
    rig.hub.table("orders", rows=[{"id": "a", "text": "x" * 500}])
    wire, reader = rig.reader()
    rig.subscribe(reader, "orders", "fills", "positions")
    rig.flush()

    assert [len(list(bodies(blob, batch=False))) for blob in wire.blobs] == [1, 1, 1]


def test_a_large_flush_is_cut_and_whoever_pauses_in_between_keeps_its_place() -> None:
    rig = Rig(piece=400)
    put(rig, 0)
    quick, first = rig.reader("fills", LIVE, batch=True)
    slow, second = rig.reader("fills", LIVE, batch=True)

    class Leaving(FakeWire):
        """Its peer's going away takes the next reader along."""

        def write(self, blob: bytes) -> bool:
            rig.hub.remove(third)
            return super().write(blob)

    leaving = rig.hub.attach(Leaving(), batch=True, every=0)
    rig.subscribe(leaving, "fills", LIVE, snapshot=False)
    gone, third = rig.reader("fills", LIVE, batch=True)
    assert first.cohort is second.cohort is leaving.cohort is third.cohort
    slow.full = True
    for n in range(1, 7):
        put(rig, n)
        rig.hub.append("fills", {"id": str(n), "text": "x" * 60})
    joins = rig.hub.counts.joins
    rig.flush()

    assert len(quick.blobs) == rig.hub.counts.joins - joins > 1
    assert all(len(blob) <= 400 for blob in quick.blobs)
    assert len(slow.blobs) == 1
    whole = quick.take(batch=True)
    part = slow.take(batch=True)
    slow.full = False
    rig.hub.resume(slow)
    part += slow.take(batch=True)
    assert [m["seq"] for m in whole if m["channel"] == "fills"] == [1, 2, 3, 4, 5, 6]
    for got in (whole, part):
        assert sorted(map(repr, got)) == sorted(map(repr, whole))
    assert first.skipped == second.skipped == 5
    assert gone.blobs == []


def test_a_cohort_that_loses_all_its_readers_in_the_middle_is_forgotten() -> None:
    rig = Rig(piece=200)
    wire, reader = rig.reader("orders")
    wire.full = True
    for n in range(4):
        rig.hub.table("orders", rows=[{"id": str(n), "text": "x" * 60}])
    rig.flush()

    assert len(wire.blobs) == 1
    assert reader.stalled


@pytest.mark.parametrize("paced", [False, True])
def test_a_wire_that_closes_while_it_is_written_to_harms_nobody(*, paced: bool) -> None:
    rig = Rig()
    every = 50 if paced else 0

    class Closing(FakeWire):
        def write(self, blob: bytes) -> bool:
            super().write(blob)
            rig.hub.remove(reader)
            return False

    wire = Closing()
    reader = rig.hub.attach(wire, batch=True, every=every)
    other, _ = rig.reader("orders", batch=True, every=every)
    rig.subscribe(reader, "orders", "fills")
    rig.hub.due(50)
    rig.flush()
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.hub.due(50)
    rig.flush()

    assert (reader.closed, len(wire.blobs)) == (True, 1)
    assert [m["seq"] for m in other.take(batch=True)] == [1]


def test_a_flush_that_is_given_up_goes_on_later() -> None:
    rig = Rig()
    put(rig, 0)
    wires = [rig.reader(LIVE, *more)[0] for more in ((), ("orders",), ("fills",))]
    put(rig, 1)
    for _ in rig.hub.flush():
        break
    rig.flush()

    assert sum(len(wire.blobs) for wire in wires) == 2


# --- staleness ------------------------------------------------------------------------------------


def silence(rig: Rig, base: str = TICKER, *, stale: bool = True) -> None:
    cause = "silent" if stale else None
    rig.hub.set_stale(base, stale, cause=cause, venue="paper", asof=7)


def test_a_silent_source_is_told_to_its_readers_and_to_new_subscribers() -> None:
    rig = Rig()
    put(rig, 0)
    wire, reader = rig.reader(TICKER, LIVE, "orders")
    other, _ = rig.reader("orders")
    silence(rig)
    silence(rig)
    rig.flush()
    (entry,) = rig.subscribe(reader, TICKER)
    rig.flush()

    notice, snapshot = wire.take()

    assert notice == {
        "type": "notice", "event": "stale", "ts": rig.clock.ms, "channels": [TICKER, LIVE],
        "data": {"stale": True, "cause": "silent", "venue": "paper", "asof": 7},
    }  # fmt: skip
    assert (entry["stale"], entry["asof"], snapshot["reason"]) == (True, 7, "subscribe")
    assert other.take() == []
    silence(rig, stale=False)
    rig.flush()
    (back,) = wire.take()
    assert back["data"] == {"stale": False, "venue": "paper", "asof": 7}


def test_who_takes_all_symbols_hears_of_each_that_is_silent_behind_its_snapshot() -> None:
    rig = Rig()
    put(rig, 0)
    silence(rig)
    wire = FakeWire()
    reader = rig.hub.attach(wire, batch=False, every=0)
    for _ in range(2):  # what was told before does not count after a new subscription
        (entry,) = rig.subscribe(reader, "ticker:*")
        rig.flush()
        snapshot, notice = wire.take()
        assert entry == {"channel": "ticker:*", "class": "value", "resumed": False, "stale": False}
        assert (snapshot["channel"], snapshot["type"]) == (TICKER, "snapshot")
        assert (notice["channels"], notice["data"]["stale"]) == ([TICKER], True)
    rig.hub.value("ticker:NEW/USDT", {"bid": "1"})
    silence(rig, "ticker:NEW/USDT")
    rig.flush()
    snapshot, notice = wire.take()

    assert snapshot["channel"] == "ticker:NEW/USDT"
    assert notice["channels"] == ["ticker:NEW/USDT"]
    silence(rig, stale=False)
    rig.flush()
    (back,) = wire.take()
    assert (back["channels"], back["data"]["stale"]) == ([TICKER], False)


def test_all_symbols_from_now_on_take_no_snapshot_from_those_asked_for_by_name() -> None:
    rig = Rig()
    put(rig, 0)
    rig.hub.value(f"ticker:{ETH}", {"bid": "1"})
    wire = FakeWire()
    reader = rig.hub.attach(wire, batch=False, every=0)
    rig.subscribe(reader, TICKER)
    rig.subscribe(reader, "ticker:*", snapshot=False)
    rig.flush()

    assert [(m["type"], m["channel"]) for m in wire.take()] == [("snapshot", TICKER)]
    rig.hub.value(f"ticker:{ETH}", {"bid": "2"})
    rig.tick()
    assert [(m["type"], m["channel"]) for m in wire.take()] == [("update", f"ticker:{ETH}")]


def test_recovery_is_told_behind_the_data_and_silence_before_it() -> None:
    rig = Rig()
    wires = []
    for every in (0, 50):
        wire, _ = rig.reader("orders", batch=True, every=every)
        wires.append(wire)
    silence(rig, "orders")
    rig.hub.table("orders", rows=[{"id": "a"}])
    rig.hub.due(50)
    rig.flush()
    silent = [[m["type"] for m in wire.take(batch=True)] for wire in wires]
    rig.hub.table("orders", gone=["a"])
    silence(rig, "orders", stale=False)
    rig.flush()
    held = len(wires[1].blobs)
    rig.hub.due(50)
    rig.flush()
    back = [[m["type"] for m in wire.take(batch=True)] for wire in wires]

    assert silent == [["notice", "update"]] * 2
    assert held == 0
    assert back == [["update", "notice"]] * 2


def test_silence_that_is_over_before_the_flush_is_not_told() -> None:
    rig = Rig()
    wire, reader = rig.reader("orders")
    silence(rig, "orders")
    silence(rig, "orders", stale=False)
    rig.flush()

    assert wire.take() == []
    assert reader.cohort is not None
    assert reader.cohort.clean


def test_a_slow_reader_hears_of_silence_and_recovery_when_it_can_read_again() -> None:
    rig = Rig()
    put(rig, 0)
    wire, _ = rig.reader(LIVE, "orders")
    silence(rig, "orders")
    rig.flush()
    wire.take()
    wire.full = True
    put(rig, 1)
    rig.flush()
    wire.take()
    silence(rig)
    silence(rig, "orders", stale=False)
    rig.flush()
    assert wire.blobs == []
    rig.hub.resume(wire)
    (first,) = wire.take()
    rig.hub.resume(wire)
    (second,) = wire.take()
    wire.full = False
    rig.hub.resume(wire)

    assert (first["channels"], first["data"]["stale"]) == ([LIVE], True)
    assert (second["channels"], second["data"]["stale"]) == (["orders"], False)
    assert wire.take() == []


@pytest.mark.parametrize(
    "base",
    ["orderbook:ETH/USDT", "trades:ETH/USDT", "ticker:ETH/USDT", "ohlcv:ETH/USDT?timeframe=1m"],
)
def test_a_source_nobody_has_seen_yet_may_be_silent(base: str) -> None:
    rig = Rig()
    silence(rig, base)
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, base)

    assert entry["stale"] is True
    assert wire.take() == []
    assert ETH in rig.hub.symbols


def test_a_tick_of_what_never_waits_changes_nothing() -> None:
    rig = Rig()
    before = rig.hub.position("orders")
    stream: Callable[[], None] = rig.hub._streams["orders"].emit
    stream()

    assert rig.hub.position("orders") == before


def test_wanted_defaults_to_a_snapshot_from_nowhere() -> None:
    hub = Hub(boot="b", journal="j", now=lambda: 1)

    assert Wanted(channel=hub.channel("orders")) == Wanted(
        channel=hub.channel("orders"), since=None, snapshot=True
    )
