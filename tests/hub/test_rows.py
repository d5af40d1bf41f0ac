"""Class table: rows that changed, keys that went, and parts of a table."""

from functools import partial

import orjson
import pytest

from realtime.hub.rows import Make
from realtime.hub.stream import Written
from realtime.model.errors import Code, Refused
from tests.hub.world import BTC, ETH, Json, Rig


def row(key: str, symbol: str = BTC, **more: object) -> Json:
    return {"id": key, "symbol": symbol, **more}


def test_an_update_has_the_rows_that_changed_and_the_keys_that_went() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[row("a"), row("b")], asof=7)
    wire, _ = rig.reader("orders")
    rig.hub.table("orders", rows=[row("c"), row("c", n=1)], gone=["a", "a", "unknown"])
    rig.hub.table("orders", rows=[row("d")], gone=["d"])
    rig.hub.table("orders")
    rig.flush()

    (message,) = wire.take()

    assert message["data"] == {"set": [row("c", n=1)], "del": ["a"]}
    assert (message["seq"], message["asof"]) == (2, 7)


def test_the_snapshot_has_all_rows_and_every_row_is_encoded_once() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[row("a"), row("b", ETH)], asof=1)
    rig.hub.table("orders", gone=["a"], asof=2)
    wire, reader = rig.reader()
    rig.subscribe(reader, "orders", f"orders?symbol={BTC}", f"orders?symbol={ETH}")
    rig.flush()

    assert [m["data"]["set"] for m in wire.take()] == [[row("b", ETH)], [], [row("b", ETH)]]
    assert rig.hub.counts.encodings == 2


def test_a_row_of_the_journal_goes_out_as_its_bytes_are() -> None:
    rig = Rig()
    wire, _ = rig.reader(f"orders?symbol={BTC}")
    rig.hub.table("orders", later={"a": Written(row("a"), b'{"id":"a","of":"the journal"}')})
    rig.hub.table("orders", later={"b": Written(row("b", ETH), b"{}")})
    rig.flush()

    (message,) = wire.take()

    assert message["data"] == {"set": [{"id": "a", "of": "the journal"}]}
    assert rig.hub.counts.encodings == 0


def test_what_ends_many_rows_at_once_is_told_in_updates_that_a_client_takes() -> None:
    """Found by an audit: a cancel of 1,500 orders was one update of 1.4 MB, and clients close with 1009 at 1 MiB."""
    rig = Rig()
    names = [f"o-{n:04}" for n in range(1_500)]
    long = "x" * 900
    rig.hub.table("orders", rows=[row(name, note=long) for name in names])
    first = 6
    assert rig.hub.position("orders") == {"epoch": "b1", "seq": first}
    wire, _ = rig.reader("orders")
    late, reader = rig.reader()
    rig.hub.table("orders", rows=[row(name, note=long, status="canceled") for name in names])
    rig.hub.table("orders", gone=names)
    at = rig.hub.position("orders")
    rig.flush()
    rig.subscribe(reader, "orders", since=("b1", first))
    rig.flush()

    assert max(map(len, wire.blobs + late.blobs)) < 1_048_576
    for told in (wire.take(), late.take()):
        seen = dict.fromkeys(names)
        for message in told:
            seen |= {changed["id"]: changed for changed in message["data"]["set"]}
            for key in message["data"].get("del", ()):
                del seen[key]
        assert {message["type"] for message in told} == {"update"}
        assert [message["seq"] - first for message in told] == list(range(1, len(told) + 1))
        assert at == {"epoch": "b1", "seq": told[-1]["seq"]}
        assert not seen


def test_a_slow_reader_gets_no_snapshot_that_is_longer_than_a_message_may_be() -> None:
    """Found by an audit: the kill switch over 2,500 orders was 20 updates, for which one snapshot of 2.2 MB stood."""
    rig = Rig()
    rows = [row(f"o-{n:04}", note="x" * 900) for n in range(1_500)]
    rig.hub.table("orders", rows=rows)
    wire, _ = rig.reader("orders")
    rig.hub.paused(wire)
    for n in range(2):
        rig.hub.table("orders", rows=[changed | {"n": n} for changed in rows])
    rig.hub.resume(wire)

    assert max(map(len, wire.blobs)) < 1_048_576
    assert {message["type"] for message in wire.take()} == {"update"}


def test_a_part_of_a_table_hears_only_of_its_rows_also_when_one_moves() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[row("a"), row("b", ETH, bot_id="x")])
    wire, _ = rig.reader(f"orders?symbol={BTC}")
    bots, _ = rig.reader("orders?bot_id=x")
    rig.hub.table("orders", rows=[row("b", ETH, n=2)])
    rig.hub.table("orders", rows=[row("a", ETH), row("c", BTC)])
    rig.hub.table("orders", gone=["b", "c"])
    rig.flush()

    assert [m["data"] for m in wire.take()] == [
        {"set": [row("c", BTC)], "del": ["a"]},
        {"set": [], "del": ["c"]},
    ]
    assert [m["data"] for m in bots.take()] == [{"set": [], "del": ["b"]}]


def parts(told: list[Json]) -> dict[str, Json]:
    """Follow a snapshot and the updates behind it, as any client does."""
    rows: dict[str, Json] = {}
    last = 0
    for message in told:
        if message["type"] == "snapshot":
            rows = {}
        else:
            assert message["seq"] == last + 1
        last = message["seq"]
        rows |= {changed["id"]: changed for changed in message["data"]["set"]}
        for key in message["data"].get("del", ()):
            del rows[key]
    return rows


def test_a_table_too_long_for_a_message_comes_in_parts_that_any_client_puts_together() -> None:
    """Found by a drive: 1,500 open orders were one snapshot of 1.3 MB, and clients that take 1 MiB came back for ever."""
    rig = Rig()
    rows = {f"o-{n:04}": row(f"o-{n:04}", note="x" * 900) for n in range(1_500)}
    rig.hub.table("orders", rows=list(rows.values()), asof=7)
    at = rig.hub.position("orders")
    wire, reader = rig.reader()
    some, other = rig.reader()
    (entry,) = rig.subscribe(reader, "orders")
    rig.flush()
    rig.subscribe(other, f"orders?symbol={BTC}")  # a stream that has told nothing yet
    rig.flush()
    rig.hub.table("orders", rows=[row("o-0007", n=1)], gone=["o-0003"])
    rig.flush()

    sizes = [len(blob) for blob in wire.blobs + some.blobs]
    got, filtered = wire.take(), some.take()
    rows["o-0007"] = row("o-0007", n=1)
    del rows["o-0003"]

    assert max(sizes) < 1_048_576
    assert [(m["type"], m.get("parts"), m["asof"]) for m in got] == [
        ("snapshot", 6, 7), *[("update", None, 7)] * 6,
    ]  # fmt: skip
    assert at is not None
    assert (entry["seq"], got[5]["seq"]) == (at["seq"], at["seq"])
    assert parts(got) == parts(filtered) == rows
    assert min(m["seq"] for m in filtered) >= 0
    assert len(orjson.loads(rig.hub.snapshot(rig.hub.channel("orders")))["data"]["set"]) == 1_499


def test_whoever_is_cut_off_among_the_parts_begins_anew_and_whoever_had_them_resumes() -> None:
    rig = Rig(told=2, message=100, piece=150)
    rig.hub.table("orders", rows=[row(key) for key in "abcdef"])
    wire, reader = rig.reader()
    rig.subscribe(reader, "orders")
    wire.full = True
    rig.flush()
    (first,) = wire.take()  # and is cut off
    rig.hub.remove(reader)
    rig.hub.table("orders", rows=[row("g")])
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, "orders", since=("b1", first["seq"]))
    rig.flush()
    again = wire.take()
    rig.hub.remove(reader)
    rig.hub.table("orders", gone=["a"])
    wire, reader = rig.reader()
    (back,) = rig.subscribe(reader, "orders", since=("b1", again[-1]["seq"]))
    rig.flush()

    assert (entry["resumed"], again[0]["reason"], again[0]["parts"]) == (False, "resume_failed", 4)
    assert sorted(parts(again)) == list("abcdefg")
    assert back["resumed"] is True
    assert [m["data"] for m in wire.take()] == [{"set": [], "del": ["a"]}]


def test_a_slow_reader_gets_the_parts_of_one_moment_and_then_what_came_since() -> None:
    rig = Rig(told=2, message=100, piece=150)
    rig.hub.table("orders", rows=[row(key) for key in "abcdef"])
    wire, reader = rig.reader()
    rig.subscribe(reader, "orders")
    wire.full = True
    rig.flush()
    rig.hub.table("orders", rows=[row("a", n=1), row("f", n=1)], gone=["c"])
    rig.hub.resume(wire)
    wire.full = False
    rig.hub.resume(wire)
    rig.flush()

    got = wire.take()

    assert [m["data"] for m in got] == [
        {"set": [row("a"), row("b")]},
        {"set": [row("c"), row("d")]},
        {"set": [row("e"), row("f")]},
        {"set": [row("a", n=1), row("f", n=1)]},
        {"set": [], "del": ["c"]},
    ]
    assert reader.cohort is not None


@pytest.mark.parametrize("every", [0, 50])
def test_whoever_is_too_far_behind_gets_the_parts_as_well(every: int) -> None:
    rig = Rig(told=2, message=100, piece=150, table=2)
    rig.hub.table("orders", rows=[row(key) for key in "abcdef"])
    wire, _ = rig.reader("orders", batch=bool(every), every=every)
    if not every:
        rig.hub.paused(wire)
    for n in range(3):
        rig.hub.table("orders", rows=[row("a", n=n)])
    if every:
        rig.hub.due(every)
    else:
        rig.hub.resume(wire)
    rig.flush()

    got = wire.take(batch=bool(every))

    assert (got[0]["reason"], got[0]["parts"]) == ("lag", 3)
    assert parts(got) == {key: row(key) for key in "bcdef"} | {"a": row("a", n=2)}


def test_a_table_resumes_exactly_while_its_messages_are_held() -> None:
    rig = Rig(table=3)
    wire, reader = rig.reader("orders")
    for n in range(5):
        rig.hub.table("orders", rows=[row("a", n=n)])
    rig.flush()
    wire.take()
    (held,) = rig.subscribe(reader, "orders", since=("b1", 2))
    rig.flush()
    tail = wire.take()
    (lost,) = rig.subscribe(reader, "orders", since=("b1", 1))
    rig.flush()
    (snapshot,) = wire.take()

    assert held["resumed"] is True
    assert [(m["type"], m["seq"]) for m in tail] == [("update", 3), ("update", 4), ("update", 5)]
    assert lost["resumed"] is False
    assert (snapshot["reason"], snapshot["seq"]) == ("resume_failed", 5)
    assert "lost" not in snapshot


def test_what_nobody_reads_is_counted_and_made_for_whoever_resumes() -> None:
    rig = Rig(table=3)
    made: list[int] = []

    def later(key: str, n: int) -> dict[str, Make]:
        def make() -> Json:
            made.append(n)
            return row(key, n=n)

        return {key: make}

    for n in range(4):
        rig.clock.ms += 10
        rig.hub.table("orders", later=later("a", n), asof=n)
    rig.hub.table("orders", rows=[row("b")], later=later("c", 4), gone=["a", "c"])

    assert (rig.hub.position("orders"), made) == ({"epoch": "b1", "seq": 5}, [])

    # The newest of what nobody read: two messages of the three that are held.
    wire, reader = rig.reader()
    (entry,) = rig.subscribe(reader, "orders", since=("b1", 3))
    rig.flush()
    then = rig.clock.ms
    rig.hub.table("orders", later=later("c", 6))
    rig.flush()
    updates = wire.take()
    rig.subscribe(reader, "orders", since=("b1", 1))
    rig.flush()
    (snapshot,) = wire.take()

    assert entry["resumed"] is True
    assert [(m["seq"], m["ts"], m.get("asof"), m["data"]) for m in updates] == [
        (4, then, 3, {"set": [row("a", n=3)]}),
        (5, then, 3, {"set": [row("b")], "del": ["a"]}),
        (6, then, 3, {"set": [row("c", n=6)]}),
    ]
    assert (snapshot["seq"], snapshot["data"]) == (6, {"set": [row("b"), row("c", n=6)]})
    assert made == [3, 6]


def test_a_part_that_nobody_reads_counts_only_its_own_messages() -> None:
    rig = Rig()
    name = f"orders?symbol={BTC}"
    wire, reader = rig.reader(name)
    rig.hub.unsubscribe(reader, None)
    for key, symbol in (("a", BTC), ("b", ETH), ("c", BTC)):
        rig.hub.table("orders", later={key: partial(row, key, symbol)})
    (entry,) = rig.subscribe(reader, name, since=("b1", 0))
    rig.flush()

    assert (entry["resumed"], entry["seq"]) == (True, 2)
    assert [m["data"]["set"] for m in wire.take()] == [[row("a")], [row("c")]]


def test_a_row_that_is_made_later_tells_what_channel_names_may_say() -> None:
    rig = Rig()
    rig.hub.table("markets", later={BTC: lambda: {"symbol": BTC, "groups": ["10"]}})

    assert rig.hub.channel(f"orderbook:{BTC}?group=10").options


def test_the_reply_names_key_class_and_position() -> None:
    rig = Rig()
    rig.hub.table("positions", rows=[row("a")], asof=3)
    _, reader = rig.reader()

    assert rig.subscribe(reader, "positions") == [
        {
            "channel": "positions",
            "class": "table",
            "key": "id",
            "epoch": "b1",
            "seq": 1,
            "resumed": False,
            "stale": False,
            "asof": 3,
        }
    ]


def test_over_http_an_empty_table_of_a_silent_source_is_not_taken_for_one_without_rows() -> None:
    rig = Rig()
    channel = rig.hub.channel("positions")
    assert orjson.loads(rig.hub.snapshot(channel))["data"] == {"set": []}
    rig.hub.set_stale("positions", True, cause="desync", venue="paper", asof=1)
    with pytest.raises(Refused) as caught:
        rig.hub.snapshot(channel)
    assert caught.value.code is Code.VENUE_UNAVAILABLE
    rig.hub.table("positions", rows=[row("a")])
    assert orjson.loads(rig.hub.snapshot(channel))["data"] == {"set": [row("a")]}
