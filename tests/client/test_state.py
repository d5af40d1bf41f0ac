"""The client rule on one stream, and the checksum vectors of the protocol document."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from realtime.client import Book, Step, Stream
from realtime.client.commands import identified, plain, reads, repeatable


def stream(kind: str, **entry: object) -> Stream:
    made = Stream("c")
    made.subscribed({"channel": "c", "class": kind, "epoch": "k1", "seq": 10} | entry)
    return made


def snapshot(data: Any, seq: int = 10, **more: object) -> dict[str, object]:
    return {"type": "snapshot", "channel": "c", "epoch": "k1", "seq": seq, "data": data} | more


def update(data: Any, seq: int, **more: object) -> dict[str, object]:
    return {"type": "update", "channel": "c", "seq": seq, "data": data} | more


def test_a_value_takes_the_newest_and_counts_what_was_skipped() -> None:
    value = stream("value")

    assert value.apply(update({"x": 0}, 11)) is Step.IGNORED
    assert value.apply(snapshot({"x": 1})) is Step.APPLIED
    assert value.apply(update({"x": 2}, 15)) is Step.APPLIED
    assert value.apply(update({"x": 3}, 15)) is Step.IGNORED
    assert (value.state, value.skipped, value.seq) == ({"x": 2}, 4, 15)


def test_a_table_replaces_rows_and_forgets_deleted_ones() -> None:
    table = stream("table", key="id")
    table.apply(snapshot({"set": [{"id": 1, "a": 1, "b": 1}, {"id": 2}]}))
    table.apply(update({"set": [{"id": 1, "a": 2}, {"id": 3}], "del": [2, 9]}, 11))

    assert table.state == {"1": {"id": 1, "a": 2}, "3": {"id": 3}}
    assert table.since == {"epoch": "k1", "seq": 11}


def test_a_missing_update_is_a_gap_and_the_state_before_it_can_be_resumed() -> None:
    table = stream("table", key="id")
    table.apply(snapshot({"set": [{"id": 1}]}))

    assert table.apply(update({"set": [{"id": 2}]}, 12)) is Step.GAP
    assert table.apply(update({"set": [{"id": 3}]}, 13)) is Step.IGNORED
    assert table.since == {"epoch": "k1", "seq": 10}
    assert table.gaps == 1

    table.subscribed({"channel": "c", "class": "table", "epoch": "k1", "seq": 13, "resumed": True})

    assert table.apply(update({"set": [{"id": 9}]}, 11)) is Step.APPLIED
    assert table.state == {"1": {"id": 1}, "9": {"id": 9}}


def test_what_several_snapshots_say_was_lost_adds_up() -> None:
    log = stream("log")
    log.apply(snapshot([{"id": 8}], 40, lost=29, reason="lag"))
    log.apply(snapshot([{"id": 9}], 50, lost=9, reason="lag"))
    log.apply(snapshot([{"id": 9}], 50))

    assert log.lost == 38


def test_a_log_keeps_its_newest_entries_and_what_was_lost() -> None:
    log = stream("log")
    log.apply(snapshot([{"id": 1}]))
    log.apply(update([{"id": 2}, {"id": 3}], 11))
    log.apply(snapshot([{"id": 8}], 40, lost=29, reason="lag"))
    log.apply(update([{"id": n} for n in range(9, 1_209)], 41))
    entries = log.state

    assert log.lost == 29
    assert isinstance(entries, object)
    assert len(entries) == 1_000  # type: ignore[arg-type]  # a log's state is a sequence
    assert log.seq == 41


def test_a_logs_position_in_the_reply_is_a_resume_point_at_once() -> None:
    log = stream("log")
    value = stream("value")

    assert log.since == {"epoch": "k1", "seq": 10}
    assert value.since is None


def test_a_cut_keeps_the_position_and_believes_nothing_until_the_reply() -> None:
    table = stream("table", key="id")
    table.apply(snapshot({"set": []}))
    table.cut()

    assert table.apply(update({"set": [{"id": 1}]}, 11)) is Step.IGNORED
    assert table.since == {"epoch": "k1", "seq": 10}

    table.subscribed({"channel": "c", "class": "table", "epoch": "k2", "seq": 1, "resumed": False})

    assert table.since is None


def test_a_later_epoch_replaces_everything() -> None:
    table = stream("table", key="id")
    table.apply(snapshot({"set": [{"id": 1}]}))
    table.apply(snapshot({"set": [{"id": 2}]}, 3, epoch="k2"))

    assert table.state == {"2": {"id": 2}}
    assert table.since == {"epoch": "k2", "seq": 3}


BIDS = [
    ["64012.00", "0.51230"], ["64011.50", "1.00000"], ["64010.00", "0.25000"],
    ["64009.90", "2.00000"], ["64008.00", "0.10000"],
]  # fmt: skip
ASKS = [
    ["64012.10", "1.20410"], ["64013.00", "0.25000"], ["64013.50", "0.40000"],
    ["64014.00", "3.00000"], ["64015.20", "0.05000"],
]  # fmt: skip
V2 = {"bids": [["64012.00", "0.40000"]], "asks": [["64012.10", "0"], ["64016.00", "0.75000"]]}
V3 = {"bids": [["64012.05", "0.30000"], ["64008.00", "0"]], "asks": []}


def test_the_book_reproduces_the_checksums_of_the_document() -> None:
    book = Book()
    book.apply({"bids": BIDS, "asks": ASKS})
    sums = [book.checksum()]
    for change in (V2, V3):
        book.apply(change)
        sums.append(book.checksum())

    assert sums == [1982769241, 3907327660, 1935010589]


@pytest.mark.parametrize(
    ("bids", "asks", "checksum"),
    [
        (BIDS[:2], ASKS[:2], 4180431123),
        ([["0.00001423", "120000"]], [], 3463151058),
        ([], [], 1661535913),
        (
            [[f"{99.9 - 0.1 * i:.1f}", f"{i + 1}"] for i in range(12)],
            [[f"{100.1 + 0.1 * i:.1f}", f"{i + 1}"] for i in range(12)],
            250733557,
        ),
    ],
    ids=["shallow", "one side", "empty", "deep"],
)
def test_the_checksums_of_odd_books(
    bids: list[list[str]], asks: list[list[str]], checksum: int
) -> None:
    book = Book()
    book.apply({"bids": bids, "asks": asks})

    assert book.checksum() == checksum


def test_a_book_with_another_checksum_is_not_believed() -> None:
    book = stream("table", key="price")
    good = snapshot({"bids": BIDS, "asks": ASKS}, checksum=1982769241)

    assert book.apply(good) is Step.APPLIED
    assert book.apply(update(V2, 11, checksum=1)) is Step.GAP
    assert book.since is None

    book.subscribed({"channel": "c", "class": "table", "key": "price", "epoch": "k1", "seq": 12})

    assert book.apply(snapshot({"bids": BIDS, "asks": ASKS}, 12)) is Step.APPLIED
    assert book.apply(update(V2, 13, checksum=3907327660)) is Step.APPLIED
    state = book.state
    assert isinstance(state, Book)
    assert state.top(1) == ([("64012.00", "0.40000")], [("64013.00", "0.25000")])


def test_a_snapshot_of_a_book_with_another_checksum_is_not_believed() -> None:
    book = stream("table", key="price")

    assert book.apply(snapshot({"bids": BIDS, "asks": ASKS}, checksum=1)) is Step.GAP
    assert (book.since, book.synced, book.gaps) == (None, False, 1)


@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=4), max_size=20))
def test_snapshot_and_updates_give_the_servers_table(changes: list[list[tuple[int, bool]]]) -> None:
    rows: dict[str, dict[str, object]] = {}
    table = stream("table", key="id")
    table.apply(snapshot({"set": []}))
    for seq, change in enumerate(changes, 11):
        latest = dict(change)
        made = [{"id": str(key), "seq": seq} for key, present in latest.items() if present]
        gone = [str(key) for key, present in latest.items() if not present]
        for row in made:
            rows[str(row["id"])] = row
        for key in gone:
            rows.pop(key, None)
        table.apply(update({"set": made, "del": gone}, seq))

    assert table.state == rows


@pytest.mark.parametrize(
    ("op", "safe"),
    [
        ("order.place", True),
        ("order.list", True),
        ("market.ticker", True),
        ("fill.list", True),
        ("trading.halt", True),
        # Somebody may have halted since.
        ("trading.resume", False),
        ("risk.resume", False),
        ("bot.resume", False),
        ("system.status", True),
        ("position.close", True),
        ("position.close_all", False),
        ("system.token.create", False),
        ("alert.ack", False),
        ("bot.stop", True),
        ("bot.attach", True),
        ("bot.detach", True),
        ("bot.pause", True),
        # Done, it answers `not_found` the next time.
        ("bot.delete", False),
    ],
)
def test_only_what_is_safe_to_repeat_is_repeated(op: str, *, safe: bool) -> None:
    assert repeatable(op, {}) is safe
    assert repeatable(op, {"request_id": "r1"})


def test_every_query_is_repeated_and_nothing_that_could_be_done_twice() -> None:
    rows = re.findall(
        r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)?) \|[^|]*\| (\S+)[^|]* \| (\w+) \| (\w+) \|",
        Path("docs/protocol.md").read_text(),
        re.MULTILINE,
    )
    assert len(rows) > 100
    for names, scope, lane, repeating in rows:
        for op in re.findall("[a-z_.]+", names):
            if scope == "read" and lane == "query":
                assert repeatable(op, {}), op
                assert reads(op), op
            if lane in {"orders", "safety"}:
                assert not reads(op), op
            if repeating not in {"absolute", "client_order_id"}:
                assert not repeatable(op, {}), op


def test_placements_get_an_id_and_decimals_their_text() -> None:
    ids = iter(["a", "b", "c"]).__next__
    single = identified("order.place", {"amount": Decimal("1E+2"), "price": None}, ids)
    leave = identified("position.close", {"position_id": "S|long"}, iter(["z"]).__next__)
    kept = identified("order.place", {"client_order_id": "mine"}, ids)
    batch = identified(
        "order.batch",
        {"items": ({"do": "place"}, {"do": "cancel"}, {"do": "place", "client_order_id": "x"})},
        ids,
    )

    assert single == {"amount": "100", "client_order_id": "a"}
    assert leave == {"position_id": "S|long", "client_order_id": "z"}
    assert kept == {"client_order_id": "mine"}
    assert [item.get("client_order_id") for item in batch["items"]] == ["b", None, "x"]  # type: ignore[attr-defined]  # a list of mappings
    assert plain({"a": [Decimal("0.10"), {"b": None}]}) == {"a": ["0.10", {}]}
