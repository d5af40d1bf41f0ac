"""Order books: the vectors of the protocol document, groups, and that no crossed book is ever seen."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from realtime.hub.books import changes, checksum, crossed, grouped
from tests.hub.world import BTC, FakeBook, Rig, merge, sides


Level = tuple[str, str]
BIDS = {
    "64012.00": "0.51230",
    "64011.50": "1.00000",
    "64010.00": "0.25000",
    "64009.90": "2.00000",
    "64008.00": "0.10000",
}
ASKS = {
    "64012.10": "1.20410",
    "64013.00": "0.25000",
    "64013.50": "0.40000",
    "64014.00": "3.00000",
    "64015.20": "0.05000",
    "64016.00": "0.75000",
}
BOOK = f"orderbook:{BTC}"
NAME = f"{BOOK}?depth=5&rate=100"


def side(text: str) -> list[Level]:
    pairs = [level.partition(":") for level in text.split(",") if level]
    return [(price, amount) for price, _, amount in pairs]


VECTORS = [
    (
        (
            "64012.00:0.51230,64011.50:1.00000,64010.00:0.25000,64009.90:2.00000,64008.00:0.10000;"
            "64012.10:1.20410,64013.00:0.25000,64013.50:0.40000,64014.00:3.00000,64015.20:0.05000"
        ),
        1982769241,
    ),
    (
        (
            "64012.00:0.40000,64011.50:1.00000,64010.00:0.25000,64009.90:2.00000,64008.00:0.10000;"
            "64013.00:0.25000,64013.50:0.40000,64014.00:3.00000,64015.20:0.05000,64016.00:0.75000"
        ),
        3907327660,
    ),
    (
        (
            "64012.05:0.30000,64012.00:0.40000,64011.50:1.00000,64010.00:0.25000,64009.90:2.00000;"
            "64013.00:0.25000,64013.50:0.40000,64014.00:3.00000,64015.20:0.05000,64016.00:0.75000"
        ),
        1935010589,
    ),
    ("64012.00:0.51230,64011.50:1.00000;64012.10:1.20410,64013.00:0.25000", 4180431123),
    ("0.00001423:120000;", 3463151058),
    (";", 1661535913),
    (
        ",".join(f"{99.9 - i / 10:.1f}:{i + 1}" for i in range(12))
        + ";"
        + ",".join(f"{100.1 + i / 10:.1f}:{i + 1}" for i in range(12)),
        250733557,
    ),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS, ids=[f"V{n}" for n in range(1, 8)])
def test_the_checksum_vectors_are_reproduced(text: str, expected: int) -> None:
    bids, _, asks = text.partition(";")

    assert checksum(side(bids), side(asks)) == expected


def test_the_transcript_of_6_3_comes_out_as_printed() -> None:
    rig = Rig()
    book = FakeBook(dict(BIDS), dict(ASKS))
    rig.hub.book(BOOK, book, asof=1)
    wire, reader = rig.reader()
    rig.subscribe(reader, NAME)
    rig.flush()
    rig.clock.ms += 1000
    book.bids["64012.00"] = "0.40000"
    del book.asks["64012.10"]
    rig.hub.book(BOOK, book, asof=2)
    rig.tick(100)
    rig.clock.ms += 1000
    book.bids["64012.05"] = "0.30000"
    rig.hub.book(BOOK, book, asof=3)
    rig.tick(100)

    first, second, third = wire.take()

    assert first["data"] == {
        "bids": [list(level) for level in BIDS.items()],
        "asks": [list(level) for level in ASKS.items()][:5],
    }
    assert (first["checksum"], first["reason"]) == (1982769241, "subscribe")
    assert second["data"] == {
        "bids": [["64012.00", "0.40000"]],
        "asks": [["64012.10", "0"], ["64016.00", "0.75000"]],
    }
    assert (second["checksum"], second["seq"] - first["seq"]) == (3907327660, 1)
    assert third["data"] == {"bids": [["64012.05", "0.30000"], ["64008.00", "0"]], "asks": []}
    assert third["checksum"] == 1935010589
    assert list(third) == ["type", "channel", "seq", "ts", "asof", "checksum", "data"]
    assert list(first)[:8] == [
        "type", "channel", "epoch", "seq", "ts", "asof", "reason", "checksum",
    ]  # fmt: skip


def test_updates_carry_a_checksum_at_most_once_a_second_and_again_after_a_step_of_the_clock() -> (
    None
):
    rig = Rig()
    book = FakeBook(dict(BIDS), dict(ASKS))
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(f"{BOOK}?depth=5&rate=0")
    for amount, step in enumerate((0, 999, 1, -500)):
        rig.clock.ms += step
        book.bids["64012.00"] = str(amount + 1)
        rig.hub.book(BOOK, book, asof=2)
        rig.flush()

    assert ["checksum" in message for message in wire.take()] == [True, False, True, True]


def test_a_book_that_did_not_change_is_not_published() -> None:
    rig = Rig()
    book = FakeBook(dict(BIDS), dict(ASKS))
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(NAME)
    book.bids["60000"] = "1"
    rig.hub.book(BOOK, book, asof=2)
    rig.tick(100)

    assert wire.take() == []


@pytest.mark.parametrize(
    ("bid", "ask", "expected"),
    [
        ("99", "100", False),
        ("100", "100.0", True),
        ("101", "100", True),
        ("0.99999999999999999", "1.00000000000000000", False),
        ("1.00000000000000001", "1.00000000000000000", True),
    ],
)
def test_crossed_and_locked_books_are_told_exactly(bid: str, ask: str, *, expected: bool) -> None:
    assert crossed([(bid, "1")], [(ask, "1")]) is expected
    assert not crossed([], [(ask, "1")])
    assert not crossed([(bid, "1")], [])


def test_a_crossed_book_is_skipped_and_the_next_whole_one_is_a_snapshot_upstream() -> None:
    rig = Rig()
    book = FakeBook(dict(BIDS), dict(ASKS))
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(NAME)
    book.bids["64099.00"] = "1"
    rig.hub.book(BOOK, book, asof=2)
    rig.tick(100)
    assert wire.take() == []
    del book.bids["64099.00"]
    rig.hub.book(BOOK, book, asof=3)
    rig.tick(100)

    (message,) = wire.take()

    assert (message["type"], message["reason"], message["seq"]) == ("snapshot", "upstream", 2)


def test_a_repaired_book_is_published_at_once_under_every_rate() -> None:
    rig = Rig()
    book = FakeBook(dict(BIDS), dict(ASKS))
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(NAME, f"{BOOK}?depth=5&rate=1000")
    rig.hub.book(BOOK, book, asof=2)
    rig.hub.book(BOOK, book, asof=2, repaired=True)
    rig.flush()

    assert [(m["reason"], m["seq"]) for m in wire.take()] == [("upstream", 2)] * 2
    rig.tick(100, 1000)
    assert wire.take() == []


def test_a_book_that_nobody_tells_of_any_more_is_not_shown_to_the_next_reader() -> None:
    rig = Rig()
    rig.hub.forget_book(BOOK)
    rig.hub.book(BOOK, FakeBook(dict(BIDS), dict(ASKS)), asof=1)
    rig.hub.forget_book(BOOK)
    wire, _ = rig.reader(NAME)
    assert rig.hub.position(NAME) == {"epoch": "b1", "seq": 0}
    rig.hub.book(BOOK, FakeBook({"1": "1"}, {"2": "1"}), asof=2)
    rig.tick(100)
    (message,) = wire.take()
    assert message["data"]["bids"] == [["1", "1"]]
    rig.hub.forget_book(BOOK)  # somebody reads it
    rig.reader(NAME)
    assert rig.hub.position(NAME) == {"epoch": "b1", "seq": 1}


def test_a_book_that_is_crossed_from_the_start_comes_when_it_is_whole() -> None:
    rig = Rig()
    book = FakeBook({"2": "1"}, {"1": "1"})
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(NAME)
    assert rig.hub.position(NAME) == {"epoch": "b1", "seq": 0}
    book.asks = {"3": "1"}
    rig.hub.book(BOOK, book, asof=2)
    rig.tick(100)

    (message,) = wire.take()

    assert (message["reason"], message["seq"], message["data"]["bids"]) == (
        "subscribe",
        1,
        [["2", "1"]],
    )


def test_the_same_tuple_is_not_looked_through_again() -> None:
    class Cached:
        def __init__(self) -> None:
            self.bids: Sequence[Level] = (("1", "1"),)
            self.asks: Sequence[Level] = (("2", "1"),)

        def top(self, depth: int) -> tuple[Sequence[Level], Sequence[Level]]:
            return self.bids, self.asks

    rig = Rig()
    book = Cached()
    rig.hub.book(BOOK, book, asof=1)
    wire, _ = rig.reader(f"{BOOK}?depth=5&rate=0")
    book.asks = (("2", "7"),)
    rig.hub.book(BOOK, book, asof=2)
    rig.flush()
    book.bids = (("1", "7"),)
    rig.hub.book(BOOK, book, asof=3)
    rig.flush()

    assert [m["data"] for m in wire.take()] == [
        {"bids": [], "asks": [["2", "7"]]},
        {"bids": [["1", "7"]], "asks": []},
    ]


def test_groups_sum_the_whole_book_bids_down_asks_up() -> None:
    bids = [("64012.00", "0.5"), ("64010.00", "1.00"), ("64009.99", "2")]
    asks = [("64012.10", "1"), ("64020.00", "2"), ("64020.01", "3")]

    assert grouped(bids, Decimal(10), falling=True) == [("64010.00", "1.50"), ("64000.00", "2")]
    assert grouped(asks, Decimal(10), falling=False) == [("64020.00", "3"), ("64030.00", "3")]
    assert grouped([("1", "1")], Decimal("0.05"), falling=True) == [("1.00", "1")]
    assert grouped([], Decimal(1), falling=True) == []


def test_a_grouped_book_is_a_stream_of_its_own_over_all_levels() -> None:
    rig = Rig()
    rig.hub.table("markets", rows=[{"symbol": BTC, "groups": ["10"]}])
    book = FakeBook(
        {str(1000 - n): "1" for n in range(60)}, {str(1001 + n): "2" for n in range(60)}
    )
    rig.hub.book(BOOK, book, asof=1)
    wire, reader = rig.reader()
    rig.subscribe(reader, f"{BOOK}?depth=5&group=10&rate=0")
    rig.flush()
    book.bids["995"] = "3.5"
    rig.hub.book(BOOK, book, asof=2)
    rig.flush()

    snapshot, update = wire.take()

    assert snapshot["channel"] == f"{BOOK}?depth=5&group=10&rate=0"
    assert snapshot["data"]["bids"] == [
        ["1000", "1"],
        *[[str(p), "10"] for p in (990, 980, 970, 960)],
    ]
    assert snapshot["data"]["asks"][0] == ["1010", "20"]
    assert update["data"] == {"bids": [["990", "12.5"]], "asks": []}


PRICES = st.integers(1, 60).map(lambda n: f"{n / 4:.2f}")
SIDES = st.dictionaries(PRICES, st.integers(1, 9).map(str), max_size=20)


@given(old=SIDES, new=SIDES, falling=st.booleans())
@settings(max_examples=100, deadline=None)
def test_changes_turn_one_side_into_the_other_best_first(
    old: dict[str, str], new: dict[str, str], *, falling: bool
) -> None:
    found = changes(old, new, falling=falling)
    merged: dict[str, str] = {k: v for k, v in (old | dict(found)).items() if v != "0"}

    assert merged == new
    prices = [float(price) for price, _ in found]
    assert prices == sorted(set(prices), reverse=falling)


@given(st.lists(st.tuples(SIDES, SIDES), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_client_that_applies_updates_holds_exactly_the_depth(
    books: list[tuple[dict[str, str], dict[str, str]]],
) -> None:
    rig = Rig()
    book = FakeBook()
    wire, _ = rig.reader(f"{BOOK}?depth=5&rate=0")
    state: Any = None
    for bids, asks in books:
        top = max([float(p) for p in bids], default=0)
        book.bids, book.asks = bids, {p: a for p, a in asks.items() if float(p) > top}
        rig.hub.book(BOOK, book, asof=1)
        rig.flush()
        for message in wire.take():
            old = None if message["type"] == "snapshot" else state
            state = merge({"class": "table", "key": "price"}, old, message["data"])

        assert sides(state) == tuple([list(x) for x in half] for half in book.top(5))
