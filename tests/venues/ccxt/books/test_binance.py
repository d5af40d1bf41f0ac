"""Binance's books out of its raw frames (trading:6.5, trading:7, M6, H9)."""

import gzip
from bisect import bisect_right
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from realtime.model.market import MS, BookDelta, BookSnapshot
from realtime.venues.binance import BUFFER
from realtime.venues.ccxt.books import NATIVE, BookEvent, Native
from tests.venues.ccxt.books.kit import SHORT, Built, kinds, market, recorded


SPOT = market("BTC/USDT", "BTCUSDT")
SWAP = market("BTC/USDT:USDT", "BTCUSDT")
FILES = [
    pytest.param("binance-spot-synthetic.jsonl.gz", 116, id="spot, synthetic"),
    pytest.param("binance-usdm-synthetic.jsonl.gz", 116, id="usd-m, synthetic"),
    pytest.param("binance-spot-btcusdt-20240808.jsonl.gz", 3449, id="spot, recorded"),
    pytest.param(
        "binance-usdm-ethusdt-20240808.jsonl.gz",
        6580,
        id="usd-m, recorded",
        marks=pytest.mark.slow,
    ),
]


@cache
def lines(name: str) -> list[str]:
    path: Path = SHORT / name if "synthetic" in name else recorded(name)
    with gzip.open(path, "rt") as file:
        return [line.partition(" ")[2].strip() for line in file]


def native(name: str) -> tuple[Native, str]:
    """The parser of a recording, and the symbol in it."""
    first = next(
        orjson.loads(line)["data"] for line in lines(name) if '"depthUpdate"' in line[:160]
    )
    base = first["s"].removesuffix("USDT")
    symbol = f"{base}/USDT:USDT" if "pu" in first else f"{base}/USDT"
    return NATIVE["binance"]([market(symbol, first["s"])]), symbol


def fed(parser: Native, symbol: str, line: str) -> list[BookEvent]:
    events = (
        parser.snapshot(symbol, line, 1)
        if line.startswith('{"lastUpdateId"')
        else parser.feed(line, 1)
    )
    return list(events)


@pytest.mark.parametrize(("name", "comparable"), FILES)
def test_the_book_equals_the_venue_s_best_prices_at_every_comparable_update(
    name: str, comparable: int
) -> None:
    parser, symbol = native(name)
    built = Built()
    tops: list[tuple[int, Any]] = []
    quotes: list[tuple[int, Any]] = []
    for line in lines(name):
        if "@bookTicker" in line[:60]:
            data = orjson.loads(line)["data"]
            quotes.append((data["u"], (((data["b"], data["B"]),), ((data["a"], data["A"]),))))
        events = fed(parser, symbol, line)
        built.take(events)
        if any(kind == "delta" for kind in kinds(events)):
            join = parser._joins[symbol]  # type: ignore[attr-defined]
            tops.append((join.last, built.book.top(1)))
    quotes.sort(key=lambda quote: quote[0])
    updates = [update for update, _ in quotes]
    compared = 0
    for update, top in tops:
        index = bisect_right(updates, update) - 1
        if index >= 0:
            compared += 1

            assert top == quotes[index][1]

    assert (compared, built.gaps) == (comparable, [])


@pytest.mark.parametrize("name", [file.values[0] for file in FILES], ids=lambda name: name[:14])
def test_removing_any_depth_message_is_noticed_at_once(name: str) -> None:
    parser, symbol = native(name)
    rows = lines(name)
    start = next(at for at, row in enumerate(rows) if row.startswith('{"lastUpdateId"'))
    depths = [row for row in rows[start:] if '"depthUpdate"' in row[:160]]
    fed(parser, symbol, rows[start])
    join = parser._joins[symbol]  # type: ignore[attr-defined]
    step = max(1, len(depths) // 400)  # the recorded ones by sample, the synthetic ones all
    for at in range(0, len(depths) - 2, step):
        join.last = orjson.loads(depths[at])["data"]["u"]

        assert kinds(parser.feed(depths[at + 2], 1)) == ["sequence"]
        assert parser.waits(symbol)


def depth(first: int, last: int, previous: int | None = None, **said: Any) -> str:
    data = {
        "e": "depthUpdate",
        "E": 1_700_000_000_000 + last,
        "s": "BTCUSDT",
        "U": first,
        "u": last,
    }
    if previous is not None:
        data["pu"] = previous
    return orjson.dumps({**data, "b": [["1.50", f"{last}.0"]], "a": [], **said}).decode()


def whole(update: int, **said: Any) -> str:
    rows = {"bids": [["1.50", "1.0"], ["1.40", "2.0"]], "asks": [["2.00", "3.0"]]}
    return orjson.dumps({"lastUpdateId": update, **rows, **said}).decode()


def test_messages_are_joined_to_a_snapshot_and_keep_the_venue_s_time_and_strings() -> None:
    parser = NATIVE["binance"]([SPOT])

    assert parser.waits("BTC/USDT")
    assert parser.feed(depth(1, 5), 7) == ()
    assert parser.feed(depth(6, 9), 8) == ()
    snapshot, delta = parser.snapshot("BTC/USDT", whole(5), 9)
    assert isinstance(snapshot, BookSnapshot)
    assert isinstance(delta, BookDelta)
    assert (snapshot.bids, snapshot.ts, snapshot.recv_ts) == (
        (("1.50", "1.0"), ("1.40", "2.0")),
        9,
        9,
    )
    assert (delta.bids, delta.ts, delta.recv_ts) == (
        (("1.50", "9.0"),),
        1_700_000_000_009 * MS,
        8,
    )
    assert not parser.waits("BTC/USDT")


def test_spot_and_contracts_of_one_id_are_told_apart() -> None:
    parser = NATIVE["binance"]([SPOT, SWAP])
    parser.snapshot("BTC/USDT", whole(5), 1)
    parser.snapshot("BTC/USDT:USDT", whole(50), 1)

    assert [event.symbol for event in parser.feed(depth(6, 7), 1)] == ["BTC/USDT"]
    assert [event.symbol for event in parser.feed(depth(51, 60, 50), 1)] == ["BTC/USDT:USDT"]


def test_after_a_gap_comes_nothing_until_a_snapshot_which_is_repaired() -> None:
    parser = NATIVE["binanceusdm"]([SWAP])
    first = parser.snapshot("BTC/USDT:USDT", whole(5), 1)
    heard = [kinds(parser.feed(depth(*ids), 1)) for ids in [(6, 7, 5), (9, 9, 8), (10, 10, 9)]]
    again = parser.snapshot("BTC/USDT:USDT", whole(9), 1)

    assert heard == [["delta"], ["sequence"], []]
    assert kinds(again) == ["snapshot", "delta"]  # the one that waited
    heads = [row for row in (*first, *again) if isinstance(row, BookSnapshot)]
    assert [head.repaired for head in heads] == [False, True]


def test_a_snapshot_older_than_what_waits_is_a_gap() -> None:
    parser = NATIVE["binance"]([SPOT])
    parser.feed(depth(20, 21), 1)

    assert kinds(parser.snapshot("BTC/USDT", whole(5), 1)) == ["snapshot", "sequence"]


def test_a_snapshot_that_the_book_is_beyond_is_left_alone() -> None:
    parser = NATIVE["binance"]([SPOT])
    parser.snapshot("BTC/USDT", whole(5), 1)
    parser.feed(depth(6, 9), 1)

    assert parser.snapshot("BTC/USDT", whole(7), 1) == ()
    assert kinds(parser.feed(depth(10, 11), 1)) == ["delta"]
    assert kinds(parser.snapshot("BTC/USDT", whole(12), 1)) == ["snapshot"]
    assert kinds(parser.feed(depth(13, 14), 1)) == ["delta"]


def test_after_a_reconnection_a_snapshot_is_needed_and_is_repaired() -> None:
    parser = NATIVE["binance"]([SPOT])
    parser.snapshot("BTC/USDT", whole(5), 1)
    parser.forget("BTC/USDT")

    assert parser.waits("BTC/USDT")
    assert kinds(parser.feed(depth(90, 91), 1)) == []
    (snapshot,) = parser.snapshot("BTC/USDT", whole(91), 1)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.repaired


@pytest.mark.parametrize(
    "text",
    [
        depth(6, 7, b=[["1.5"]]),
        depth(6, 7, b=[["1.5", "1", "2"]]),
        depth(6, 7, b=[["1.5", 2.0]]),
        depth(6, 7, b=[["1.5", "nan"]]),
        depth(6, 7, b=[["1.5.0", "1"]]),
        depth(6, 7, b=[["1e5", "1"]]),
        depth(6, 7, b=[["-1", "1"]]),
        depth(6, 7, b=[["1", ""]]),
        depth(6, 7, b=[[".", "1"]]),
        depth(6, 7, b=[["1|1", "1"]]),
        depth(6, 7, a=None),
        depth(6, 7, u="7"),
    ],
)
def test_a_book_frame_without_sense_is_a_gap(text: str) -> None:
    parser = NATIVE["binance"]([SPOT])
    parser.snapshot("BTC/USDT", whole(5), 1)

    assert kinds(parser.feed(text, 1)) == ["malformed"]
    assert parser.waits("BTC/USDT")


@pytest.mark.parametrize("text", ["", "{}", "[]", "<html>", '{"lastUpdateId":null}', whole(1)[:40]])
def test_an_answer_without_a_book_is_no_snapshot(text: str) -> None:
    parser = NATIVE["binance"]([SPOT])

    assert kinds(parser.snapshot("BTC/USDT", text, 1)) == ["malformed"]
    assert parser.waits("BTC/USDT")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pong",
        '{"result":null,"id":1}',
        '{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}',
        '{"e":"depthUpdate"',
        '["depthUpdate"]',
        '{"e":"depthUpdate"}',
        '{"e":"depthUpdate","s":[]}',
        depth(6, 7, s="ETHUSDT"),
    ],
)
def test_other_frames_give_nothing(text: str) -> None:
    parser = NATIVE["binance"]([SPOT])

    assert parser.feed(text, 1) == ()
    assert parser.feed(text.encode(), 1) == ()


def test_waiting_for_a_snapshot_is_bounded() -> None:
    parser = NATIVE["binance"]([SPOT])
    for number in range(BUFFER + 5):
        parser.feed(depth(number, number), 1)

    assert len(parser._joins["BTC/USDT"]._waiting) == BUFFER  # type: ignore[attr-defined]


@settings(max_examples=60, deadline=None)
@given(st.text() | st.binary(), st.integers(0, 400), st.binary(max_size=6))
def test_nothing_that_can_be_sent_raises(noise: str | bytes, at: int, bit: bytes) -> None:
    parser = NATIVE["binance"]([SPOT])
    parser.snapshot("BTC/USDT", whole(5), 1)
    text = depth(6, 7).encode()
    built = Built()
    for sent in (noise, text[:at] + bit + text[at:], text[:at] + bit, depth(8, 9)):
        built.take(parser.feed(sent, 1))
