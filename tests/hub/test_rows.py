"""Class table: rows that changed, keys that went, and parts of a table."""

from functools import partial

from realtime.hub.rows import Make
from realtime.hub.stream import Written
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
    unread = rig.hub.position("orders")
    assert unread is not None
    wire, _ = rig.reader("orders")
    late, reader = rig.reader()
    rig.hub.table("orders", rows=[row(name, note=long, status="canceled") for name in names])
    rig.hub.table("orders", gone=names)
    at = rig.hub.position("orders")
    rig.flush()
    rig.subscribe(reader, "orders", since=("b1", 0))
    rig.flush()

    assert max(map(len, wire.blobs + late.blobs)) < 1_048_576
    for told, first in ((wire.take(), unread["seq"]), (late.take(), 0)):
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


def test_a_table_that_was_replaced_is_sent_whole_with_the_next_seq() -> None:
    rig = Rig()
    rig.hub.table("orders", rows=[row("a"), row("b", ETH)])
    wire, _ = rig.reader("orders", f"orders?symbol={BTC}")
    rig.hub.replace("orders", [row("c")], asof=9)
    rig.hub.replace("orders", [row("d")])
    rig.flush()

    got = wire.take()

    assert [(m["seq"], m["reason"], m["asof"]) for m in got if m["channel"] == "orders"] == [
        (2, "upstream", 9),
        (3, "upstream", 9),
    ]
    assert [m["data"] for m in got[-2:]] == [{"set": [row("c")]}, {"set": [row("d")]}]


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
