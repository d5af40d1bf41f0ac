"""Bybit's books out of its raw frames (trading:S7, trading:6.5)."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from realtime.model.market import MS, BookSnapshot
from realtime.venues.ccxt.books import NATIVE
from tests.venues.ccxt.books.kit import Built, kinds, market


SPOT = market("BTC/USDT", "BTCUSDT")
SWAP = market("BTC/USDT:USDT", "BTCUSDT")
LINEAR_URL = "wss://stream.bybit.com/v5/public/linear"
SPOT_URL = "wss://stream.bybit.com/v5/public/spot"


def frame(kind: str, update: int, *, depth: str = "50", name: str = "BTCUSDT", **said: Any) -> str:
    data = {"s": name, "b": [["1.50", f"{update}.0"]], "a": [["2.00", "1"]], "u": update, "seq": 1}
    return orjson.dumps(
        {"topic": f"orderbook.{depth}.{name}", "type": kind, "ts": 1_700_000_000_000, "data": data | said}
    ).decode()  # fmt: skip


def test_a_topic_begins_with_a_snapshot_and_counts_up_by_one() -> None:
    parser = NATIVE["bybit"]([SWAP])
    symbol = SWAP.symbol

    assert parser.feed(frame("delta", 4), 1, LINEAR_URL) == ()
    assert parser.waits(symbol)
    (snapshot,) = parser.feed(frame("snapshot", 5), 7, LINEAR_URL)
    assert isinstance(snapshot, BookSnapshot)
    assert (snapshot.bids, snapshot.ts, snapshot.recv_ts, snapshot.repaired) == (
        (("1.50", "5.0"),),
        1_700_000_000_000 * MS,
        7,
        False,
    )
    assert kinds(parser.feed(frame("delta", 6), 1, LINEAR_URL)) == ["delta"]
    assert kinds(parser.feed(frame("delta", 6), 1, LINEAR_URL)) == []  # heard before
    assert not parser.waits(symbol)


def test_a_lost_delta_is_noticed_and_only_a_snapshot_repairs_it() -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.feed(frame("snapshot", 5), 1)

    assert kinds(parser.feed(frame("delta", 7), 1)) == ["sequence"]
    assert kinds(parser.feed(frame("delta", 8), 1)) == []
    assert parser.waits(SWAP.symbol)
    (snapshot,) = parser.feed(frame("snapshot", 9), 1)
    assert isinstance(snapshot, BookSnapshot)
    assert snapshot.repaired


def test_a_restart_of_the_service_begins_again_at_one() -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.feed(frame("snapshot", 500), 1)

    assert kinds(parser.feed(frame("snapshot", 1), 1)) == ["snapshot"]
    assert kinds(parser.feed(frame("delta", 2), 1)) == ["delta"]


def test_spot_and_contracts_of_one_id_are_told_apart_by_their_socket() -> None:
    parser = NATIVE["bybit"]([SPOT, SWAP])
    heard = [
        event.symbol
        for url in (SPOT_URL, LINEAR_URL, "")
        for event in parser.feed(frame("snapshot", 5), 1, url)
    ]

    assert heard == ["BTC/USDT", "BTC/USDT:USDT", "BTC/USDT:USDT"]
    assert [e.symbol for e in NATIVE["bybit"]([SPOT]).feed(frame("snapshot", 5), 1)] == ["BTC/USDT"]


@pytest.mark.parametrize("depth", ["1", "rpi"])
def test_a_ticker_in_the_guise_of_a_book_is_no_book(depth: str) -> None:
    parser = NATIVE["bybit"]([SWAP])

    assert parser.feed(frame("snapshot", 5, depth=depth), 1) == ()


def test_the_topic_that_began_last_fills_the_book() -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.feed(frame("snapshot", 5, depth="50"), 1)
    parser.feed(frame("snapshot", 80, depth="200"), 1)

    assert kinds(parser.feed(frame("delta", 6, depth="50"), 1)) == []
    assert kinds(parser.feed(frame("delta", 81, depth="200"), 1)) == ["delta"]


def test_after_a_reconnection_a_snapshot_is_needed() -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.forget(SWAP.symbol)
    parser.feed(frame("snapshot", 5), 1)
    parser.forget(SWAP.symbol)

    assert parser.feed(frame("delta", 6), 1) == ()
    assert parser.waits(SWAP.symbol)
    assert parser.snapshot(SWAP.symbol, "{}", 1) == ()  # its subscriptions bring their own
    assert not parser.rest


@pytest.mark.parametrize(
    "said", [{"b": [["1"]]}, {"a": 5}, {"b": [["1", "x"]]}, {"u": "6"}, {"u": None}]
)
def test_a_book_frame_without_sense_is_a_gap(said: dict[str, Any]) -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.feed(frame("snapshot", 5), 1)

    assert kinds(parser.feed(frame("delta", 6, **said), 1)) == ["malformed"]
    assert parser.waits(SWAP.symbol)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"op":"pong"}',
        '{"topic":"publicTrade.BTCUSDT","data":[]}',
        '{"topic":"orderbook.50.BTCUSDT"',
        '{"topic":"orderbook.50"}',
        '["orderbook.50.BTCUSDT"]',
        frame("snapshot", 5, name="ETHUSDT"),
    ],
)
def test_other_frames_give_nothing(text: str) -> None:
    parser = NATIVE["bybit"]([SWAP])

    assert parser.feed(text, 1) == ()
    assert parser.feed(text.encode(), 1, SPOT_URL) == ()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 200), st.binary(max_size=6))
def test_nothing_that_can_be_sent_raises(at: int, bit: bytes) -> None:
    parser = NATIVE["bybit"]([SWAP])
    parser.feed(frame("snapshot", 5), 1)
    text = frame("delta", 6).encode()
    built = Built()
    for sent in (text[:at] + bit + text[at:], text[:at] + bit, frame("delta", 7)):
        built.take(parser.feed(sent, 1))
