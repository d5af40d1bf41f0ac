"""Kraken's books and their CRC-32 (trading:M6, trading:6.5, trading:7)."""

import copy
import gzip
from collections.abc import Iterator, Sequence
from functools import cache

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from realtime.bench import books as bench
from realtime.engine.orderbook import OrderBook
from realtime.model.market import BookDelta, BookSnapshot, Level
from realtime.venues.ccxt.books import NATIVE, Native
from realtime.venues.ccxt.books.kraken import DEPTHS, checksum
from tests.venues.ccxt.books.kit import Built, kinds, market, recorded


NAME = "kraken-spot-book-recording.txt.gz"
BTC = market("BTC/USD", "XXBTZUSD")
# The venue's own example, from "Book checksum (WebSocket v2)".
BIDS = (
    ("45283.5", "0.10000000"), ("45283.4", "1.54582015"), ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"), ("45280.3", "1.54592586"), ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"), ("45277.5", "0.30000000"), ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
)  # fmt: skip
ASKS = (
    ("45285.2", "0.00100000"), ("45286.4", "1.54571953"), ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"), ("45290.2", "0.15890660"), ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"), ("45296.1", "0.35380000"), ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
)  # fmt: skip
CRC = 3310070434
TIME = "2023-10-06T17:35:55.440295Z"
NS = 1_696_613_755_440_295_000


def side(rows: Sequence[Level], *, quoted: bool = False) -> str:
    mark = '"' if quoted else ""
    return ",".join(f'{{"price":{mark}{p}{mark},"qty":{mark}{a}{mark}}}' for p, a in rows)


def frame(
    kind: str,
    bids: Sequence[Level],
    asks: Sequence[Level],
    crc: int | None,
    *,
    name: str = "BTC/USD",
    quoted: bool = False,
) -> str:
    check = "" if crc is None else f',"checksum":{crc}'
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{name}","bids":[{side(bids, quoted=quoted)}],'
        f'"asks":[{side(asks, quoted=quoted)}]{check},"timestamp":"{TIME}"}}]}}'
    )


def subscribed(depth: int) -> str:
    return (
        '{"method":"subscribe","result":{"channel":"book","depth":'
        f'{depth},"snapshot":true,"symbol":"BTC/USD"}},"success":true,"req_id":1}}'
    )


def begun(depth: int = 10) -> Native:
    parser = NATIVE["kraken"]([BTC])
    parser.feed(subscribed(depth), 1)
    assert kinds(parser.feed(frame("snapshot", BIDS, ASKS, CRC), 1)) == ["snapshot"]
    return parser


# --- recorded ---------------------------------------------------------------------------------


@cache
def messages() -> list[tuple[str, dict[str, list[list[str]]], str | None]]:
    """Pair, changes and checksum of each book message of the recording (v1)."""
    found = []
    with gzip.open(recorded(NAME), "rt") as file:
        for line in file:
            body = line.partition(": ")[2]
            if body.startswith("["):
                _, *parts, _, pair = orjson.loads(body)
                said = {key: rows for part in parts for key, rows in part.items()}
                found.append((pair, said, said.pop("c", None)))
    return found


def rebuilt(number: type[str] | type[float]) -> Iterator[tuple[int, str]]:
    """Our checksum and the venue's, message by message, from books of depth 1,000."""
    books: dict[str, OrderBook] = {}
    for pair, said, told in messages():
        book = books.setdefault(pair, OrderBook(pair))
        for names, ladder in (("b", "bs"), book.bids), (("a", "as"), book.asks):
            for name in names:
                ladder.apply([(row[0], row[1]) for row in said.get(name, ())])
            for key in ladder.keys[1000:]:
                ladder.apply([(ladder.levels[key][0], "0")])
        if told is not None:
            best = [
                [(str(number(price)), str(number(amount))) for price, amount in levels]
                for levels in book.top(10)
            ]
            yield checksum(best[1], best[0]), told


def test_every_recorded_checksum_comes_out_of_the_raw_strings() -> None:
    pairs = list(rebuilt(str))

    assert len(pairs) == 4269
    assert all(str(ours) == told for ours, told in pairs)


def test_no_recorded_checksum_comes_out_of_floats() -> None:
    assert not any(str(ours) == told for ours, told in rebuilt(float))


def test_the_parser_takes_the_whole_recording_in_the_words_of_v2() -> None:
    session = bench.kraken(recorded(NAME))
    parser, _ = bench.ready(session)
    heard = [event for text in session.frames for event in parser.feed(text, 1)]

    assert len(heard) == len(session.frames) == 4269
    assert all(isinstance(event, BookDelta) for event in heard)


def test_a_flipped_digit_in_the_recording_is_noticed() -> None:
    session = bench.kraken(recorded(NAME))
    parser, books = bench.ready(session)
    flipped = 0
    for at, text in enumerate(session.frames):
        name = text.partition('"symbol":"')[2].partition('"')[0]
        before = books[name].top(10)
        fork = copy.deepcopy(parser._books[name]) if at % 40 == 0 else None  # type: ignore[attr-defined]
        for event in parser.feed(text, 1):
            bench.apply(books, event)
        # A digit of a level beyond the ten best is under no checksum, until the level comes near.
        if fork is None or books[name].top(10) == before:
            continue
        place = text.rindex("}]", 0, text.index('"checksum"')) - 1
        digit = str((int(text[place]) + 1) % 10)
        kept = parser._books[name]  # type: ignore[attr-defined]
        parser._books[name] = fork  # type: ignore[attr-defined]
        flipped += 1

        assert kinds(parser.feed(text[:place] + digit + text[place + 1 :], 1)) == ["checksum"]
        parser._books[name] = kept  # type: ignore[attr-defined]
    assert flipped > 40


# --- the venue's example ----------------------------------------------------------------------


def test_the_venue_s_own_example_comes_out() -> None:
    assert checksum(ASKS, BIDS) == CRC

    (snapshot,) = NATIVE["kraken"]([BTC]).feed(frame("snapshot", BIDS, ASKS, CRC), 5)
    assert isinstance(snapshot, BookSnapshot)
    assert (snapshot.bids, snapshot.asks) == (BIDS, ASKS)
    assert (snapshot.ts, snapshot.recv_ts, snapshot.repaired) == (NS, 5, False)


@pytest.mark.parametrize("row", range(10))
@pytest.mark.parametrize("column", [0, 1])
def test_any_wrong_digit_of_the_best_levels_is_noticed(row: int, column: int) -> None:
    wrong = list(ASKS)
    level = list(wrong[row])
    level[column] = level[column][:-1] + str((int(level[column][-1]) + 1) % 10)
    wrong[row] = (level[0], level[1])
    parser = NATIVE["kraken"]([BTC])

    assert kinds(parser.feed(frame("snapshot", BIDS, wrong, CRC), 1)) == ["checksum"]
    assert parser.waits("BTC/USD")


def test_what_falls_out_of_the_depth_is_told_as_deleted() -> None:
    parser = begun()
    better = ("45285.0", "1.00000000")
    (delta,) = parser.feed(frame("update", [], [better], checksum((better, *ASKS[:9]), BIDS)), 1)

    assert isinstance(delta, BookDelta)
    assert delta.asks == (better, (ASKS[9][0], "0"))


def test_a_wrong_update_is_a_gap_and_the_next_snapshot_repairs_it() -> None:
    parser = begun()

    assert kinds(parser.feed(frame("update", [("45283.5", "0.2")], [], 1), 1)) == ["checksum"]
    assert kinds(parser.feed(frame("update", [], [], CRC), 1)) == []
    (snapshot,) = parser.feed(frame("snapshot", BIDS, ASKS, CRC), 1)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.repaired
    parser.forget("BTC/USD")
    assert parser.waits("BTC/USD")
    assert parser.snapshot("BTC/USD", "{}", 1) == ()
    assert not parser.rest


def test_both_forms_of_a_message_are_taken() -> None:
    new = (("45283.4", "0.50000000"),)
    crc = checksum(ASKS, (BIDS[0], *new, *BIDS[2:]))
    forms = [
        frame("update", new, [], crc),
        frame("update", new, [], crc).replace(":", ": "),
        frame("update", new, [], crc, quoted=True),
    ]
    heard = [list(begun().feed(form.replace("17: 35: 55", "17:35:55"), 1)) for form in forms]

    assert heard[0] == heard[1] == heard[2]
    assert kinds(heard[0]) == ["delta"]


@pytest.mark.parametrize(
    "text",
    [
        frame("update", [("1.5", "x")], [], 1, quoted=True),
        frame("update", [], [], 1).replace('"bids":[]', '"bids":[{"price":1.5}]'),
        frame("update", [], [], 1).replace('"bids":[]', '"bids":7'),
        frame("update", [], [], 1).replace(TIME, "yesterday"),
        frame("update", [], [], 1).replace(TIME, TIME[:-1]),
        frame("update", [], [], 1).replace('"checksum":1', '"checksum":"x"'),
    ],
)
def test_a_book_frame_without_sense_is_a_gap(text: str) -> None:
    assert kinds(begun().feed(text, 1)) == ["malformed"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"channel":"heartbeat"}',
        '{"channel":"book"',
        '{"channel":"book"}',
        '{"channel":"book","type":"update","data":[5]}',
        '{"method":"subscribe","result":{"channel":"book","depth":NaN}}',
        '{"method":"subscribe","error":"book","success":false}',
        '{"method":"unsubscribe","result":{"channel":"book"}}',
        '["book"]',
        '{"channel":"book","data":' + "[" * 100_000,
        frame("snapshot", BIDS, ASKS, CRC, name="ETH/USD"),
        frame("update", [("1", "y")], [], 1, name="ETH/USD", quoted=True),
        frame("update", BIDS[:1], [], 1),
    ],
)
def test_other_frames_give_nothing(text: str) -> None:
    parser = NATIVE["kraken"]([BTC])

    assert list(parser.feed(text, 1)) == []
    assert list(parser.feed(text.encode(), 1)) == []


def test_without_the_answer_to_a_subscription_the_depth_is_the_least_that_fits() -> None:
    parser = NATIVE["kraken"]([BTC])
    deep = tuple((f"{200 - at}.0", "1.0") for at in range(12))
    parser.feed(frame("snapshot", deep, ASKS, checksum(ASKS, deep[:10])), 1)

    assert parser._books["BTC/USD"].depth == 25  # type: ignore[attr-defined]


changes = st.lists(
    st.tuples(st.booleans(), st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=4
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(DEPTHS[:2]), st.lists(changes, max_size=25), st.sampled_from([",", ", "]))
def test_the_checksum_is_that_of_the_cut_book_whatever_changes(
    depth: int, rounds: list[list[tuple[bool, int, int]]], comma: str
) -> None:
    parser = NATIVE["kraken"]([BTC])
    parser.feed(subscribed(depth), 1)
    parser.feed(frame("snapshot", [], [], None), 1)
    sides: tuple[dict[int, Level], dict[int, Level]] = ({}, {})
    built = Built()
    for round_ in rounds:
        told: tuple[list[Level], list[Level]] = ([], [])
        for sell, price, amount in round_:
            level = (f"{price}.0", f"{amount}.00")
            told[sell].append(level)
            if amount:
                sides[sell][price] = level
            else:
                sides[sell].pop(price, None)
        best = [
            [sides[which][price] for price in sorted(sides[which], reverse=not which)][:depth]
            for which in (0, 1)
        ]
        for which in (0, 1):
            for price in [p for p in sides[which] if sides[which][p] not in best[which]]:
                del sides[which][price]
        crc = checksum(best[1][:10], best[0][:10])
        text = frame("update", told[0], told[1], crc)
        built.take(parser.feed(text.replace(",", comma), 1))

        assert built.gaps == []
        assert built.book.top(depth + 5) == (tuple(best[0]), tuple(best[1]))
