import gzip
import random
from decimal import Decimal
from itertools import islice
from pathlib import Path
from zlib import crc32

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.orderbook import Ladder, OrderBook
from realtime.model.market import BookDelta, BookSnapshot, Level


D = Decimal
DATA = Path(__file__).parents[3] / "shared" / "data"


def snapshot(bids: list[Level], asks: list[Level], *, repaired: bool = False) -> BookSnapshot:
    return BookSnapshot(
        symbol="S", bids=tuple(bids), asks=tuple(asks), ts=1, recv_ts=1, repaired=repaired
    )


def delta(bids: list[Level] | None = None, asks: list[Level] | None = None) -> BookDelta:
    return BookDelta(symbol="S", bids=tuple(bids or ()), asks=tuple(asks or ()), ts=2, recv_ts=2)


def book() -> OrderBook:
    made = OrderBook("S")
    made.apply_snapshot(
        snapshot(
            [("99.0", "2"), ("100.0", "1"), ("98.0", "3")],
            [("102.0", "2"), ("101.0", "1.50"), ("103.0", "0")],
        )
    )
    return made


def test_a_snapshot_is_sorted_best_first_and_keeps_its_strings() -> None:
    assert book().top(2) == (
        (("100.0", "1"), ("99.0", "2")),
        (("101.0", "1.50"), ("102.0", "2")),
    )


def test_a_delta_sets_inserts_and_deletes_levels() -> None:
    made = book()
    made.apply_delta(delta([("100.0", "0"), ("99.5", "7"), ("99.0", "5")], [("100.5", "1")]))

    assert made.top(10) == (
        (("99.5", "7"), ("99.0", "5"), ("98.0", "3")),
        (("100.5", "1"), ("101.0", "1.50"), ("102.0", "2")),
    )


def test_numbers_may_be_written_in_any_way_that_a_float_is() -> None:
    made = OrderBook("S")
    made.apply_snapshot(snapshot([(".5", "1."), ("007", "2"), ("8", "00.0")], []))
    made.apply_delta(delta([("00.50", "000"), ("6", ".1")]))
    made.apply_delta(delta([("5", "1e-1")]))

    assert made.top(4)[0] == (("007", "2"), ("6", ".1"), ("5", "1e-1"))


@pytest.mark.parametrize(
    "amount",
    ["nan", "inf", "-5", "-1e-7", "1e400", "1,5", "null", "[]", "{}", '"1"', "true", "false"],
)
def test_a_level_that_cannot_be_is_refused_and_changes_nothing(amount: str) -> None:
    made = book()
    before = made.top(9)
    with pytest.raises(ValueError, match="a level"):
        made.apply_delta(delta([("99.5", amount)]))

    assert made.top(9) == before


def test_deleting_an_unknown_level_changes_nothing() -> None:
    made = book()
    made.apply_delta(delta([("50.0", "0.000")]))

    assert made.top(3)[0] == (("100.0", "1"), ("99.0", "2"), ("98.0", "3"))


def test_a_top_is_the_same_object_until_a_change_reaches_its_depth() -> None:
    made = book()
    first = made.top(1)[0]
    made.apply_delta(delta([("98.0", "4")]))

    assert made.top(1)[0] is first
    made.apply_delta(delta([("100.0", "9")]))
    assert made.top(1)[0] == (("100.0", "9"),)


def test_a_top_deeper_than_the_book_sees_a_level_added_at_the_end() -> None:
    made = book()
    made.top(50)
    made.apply_delta(delta([("1.0", "1")], [("900.0", "1")]))

    assert made.top(50)[0][-1] == ("1.0", "1")
    assert made.top(50)[1][-1] == ("900.0", "1")


def test_best_prices_and_the_middle() -> None:
    made = book()

    assert (made.best_bid, made.best_ask, made.mid) == (
        ("100.0", "1"),
        ("101.0", "1.50"),
        D("100.5"),
    )


def test_an_empty_book_has_no_prices_and_is_not_crossed() -> None:
    made = book()
    made.clear()

    assert (made.best_bid, made.best_ask, made.mid, made.crossed) == (None, None, None, False)


@pytest.mark.parametrize(("bid", "crossed"), [("100.9", False), ("101.0", True), ("101.5", True)])
def test_a_book_is_crossed_when_the_bid_reaches_the_ask(*, bid: str, crossed: bool) -> None:
    made = book()
    made.apply_delta(delta([(bid, "1")]))

    assert made.crossed is crossed


def test_a_repaired_snapshot_says_so_until_the_next_change() -> None:
    made = book()
    made.apply_snapshot(snapshot([], [], repaired=True))

    assert made.repaired
    made.apply_delta(delta())
    assert (made.repaired, made.asof) == (False, 2)


prices = st.integers(1, 30).map(lambda n: f"{n / 10:.1f}")
amounts = st.integers(0, 3).map(str)
rows = st.lists(st.tuples(prices, amounts), max_size=6)


@settings(max_examples=60, deadline=None)
@given(rows, rows, st.lists(st.tuples(rows, rows, st.integers(1, 8)), max_size=12))
def test_any_sequence_of_changes_equals_a_plain_dictionary(
    bids: list[Level], asks: list[Level], changes: list[tuple[list[Level], list[Level], int]]
) -> None:
    made = OrderBook("S")
    made.apply_snapshot(snapshot(bids, asks))
    plain = (dict(row for row in bids if row[1] != "0"), dict(row for row in asks if row[1] != "0"))
    for more_bids, more_asks, depth in changes:
        made.apply_delta(delta(more_bids, more_asks))
        for side, more in zip(plain, (more_bids, more_asks), strict=True):
            for price, amount in more:
                side.pop(price, None)
                if amount != "0":
                    side[price] = amount
        expected = (
            tuple(sorted(plain[0].items(), key=lambda row: -float(row[0]))[:depth]),
            tuple(sorted(plain[1].items(), key=lambda row: float(row[0]))[:depth]),
        )

        assert made.top(depth) == expected


class Plain:
    """One side of a book, by brute force."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.rows: dict[str, str] = {}

    def apply(self, rows: list[Level]) -> None:
        for price, amount in rows:
            self.rows.pop(price, None)
            if amount.strip("0."):
                self.rows[price] = amount

    def levels(self) -> list[Level]:
        return sorted(self.rows.items(), key=lambda row: self.sign * float(row[0]))


def some_rows(chance: random.Random, count: int, *, share: float) -> list[Level]:
    """Rows about 500, a `share` of them deletes; a price may come twice."""
    return [
        (
            f"{min(max(int(chance.gauss(500, chance.choice((5, 60, 200)))), 1), 999)}.0",
            "0.000" if chance.random() < share else f"{chance.randrange(1, 10)}.5",
        )
        for _ in range(count)
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_large_book_equals_a_brute_force_book_at_every_depth(seed: int) -> None:
    chance = random.Random(seed)
    sides = [(Ladder(-1.0), Plain(-1)), (Ladder(1.0), Plain(1))]
    for _ in range(60):
        ladder, plain = chance.choice(sides)
        kind = chance.random()
        if kind < 0.1:
            rows = some_rows(chance, chance.choice((0, 5, 900)), share=0.2)
            plain.rows = {}
            # A snapshot names a price once.
            rows = list(dict(rows).items())
            plain.apply(rows)
            ladder.load(rows)
        elif kind < 0.2:
            gone = [(price, "0") for price, _ in plain.levels()[: chance.choice((1, 80, 990))]]
            plain.apply(gone)
            ladder.apply(gone)
        else:
            rows = some_rows(chance, chance.choice((1, 36, 300)), share=chance.random())
            plain.apply(rows)
            ladder.apply(rows)
        levels = plain.levels()
        keys = [ladder._sign * float(price) for price, _ in levels]

        assert bool(ladder.near) == bool(levels)
        assert ladder.near == keys[: len(ladder.near)]
        match chance.randrange(7):
            case 0 | 1 | 2:
                depth = chance.choice((1, 25, 100, 400, 2_000))
                assert ladder.top(depth) == tuple(levels[:depth])
                assert ladder.top(1) == tuple(levels[:1])
            case 3:
                count = chance.choice((1, 120, 2_000))
                assert list(islice(ladder, count)) == levels[:count]
            case 4:
                assert ladder.keys == keys
            case _:
                pass


def test_whoever_walks_a_ladder_reaches_its_end_whatever_is_read_meanwhile() -> None:
    ladder = Ladder(1.0)
    ladder.load([(f"{price}.0", "1") for price in range(1, 500)])
    walked = ladder.walk()
    next(walked)
    ladder.top(400)

    assert list(walked) == [float(price) for price in range(2, 500)]


def test_levels_that_nobody_reads_are_not_sorted_and_a_sorted_book_shrinks_again() -> None:
    ladder = Ladder(1.0)
    ladder.load([(f"{price}.0", "1") for price in range(1, 2_000)])
    at_first = len(ladder.near)
    ladder.top(300)
    wanted = len(ladder.near)
    ladder.apply([("0.5", "1")])

    assert (at_first, wanted, len(ladder.near)) == (50, 1_999, 600)


def kraken_sum(made: OrderBook) -> int:
    """Kraken's checksum: ten asks, ten bids, digits without dot and leading zeros."""
    bids, asks = made.top(10)
    text = "".join(part.replace(".", "").lstrip("0") for level in (*asks, *bids) for part in level)
    return crc32(text.encode())


def test_every_checksum_of_a_recording_is_reproduced_from_the_strings() -> None:
    path = DATA / "kraken-spot-book-recording.txt.gz"
    if not path.exists():
        pytest.skip("the recordings of ../shared/data are not here")
    books: dict[int, OrderBook] = {}
    checked = 0
    with gzip.open(path, "rb") as file:
        for line in file:
            head, _, body = line.partition(b": ")
            if b" <- " in head or not body.startswith(b"["):
                continue
            message = orjson.loads(body)
            channel, parts = message[0], message[1:-2]
            for part in parts:
                if "as" in part:
                    made = books[channel] = OrderBook()
                    made.apply_snapshot(
                        snapshot(
                            [(row[0], row[1]) for row in part["bs"]],
                            [(row[0], row[1]) for row in part["as"]],
                        )
                    )
                    continue
                books[channel].apply_delta(
                    delta(
                        [(row[0], row[1]) for row in part.get("b", ())],
                        [(row[0], row[1]) for row in part.get("a", ())],
                    )
                )
            for part in parts:
                if "c" in part:
                    checked += 1
                    assert kraken_sum(books[channel]) == int(part["c"])

    assert checked == 4269
