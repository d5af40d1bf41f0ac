"""What the parsers of books share: levels out of their own text."""

import orjson
from hypothesis import example, given, settings, strategies as st

from realtime.model.market import BookDelta
from realtime.venues.ccxt.books import NATIVE
from realtime.venues.ccxt.books.feed import levels, sides
from tests.venues.ccxt.books.kit import market


SPOT = market("BTC/USDT", "BTCUSDT")
plain = st.integers(0, 10**9).map(lambda number: f"{number / 1000:.3f}")
odd = st.sampled_from(
    [
        "",
        ".5",
        "1.",
        "007",
        "1..2",
        "1.2.3",
        "1e5",
        "-1",
        "NaN",
        "a",
        '"',
        "\\",
        "1,2",
        "[1]",
        "1|2",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(plain | odd, max_size=3), max_size=4))
@example([["1"], ["2", "3", "4"]])
@example([["1", "2"], ["3,4", ""]])
def test_levels_out_of_text_are_those_out_of_json_or_none_at_all(rows: list[list[str]]) -> None:
    try:
        taken, numbers = levels(orjson.dumps(rows).decode())
    except ValueError:
        return

    assert (taken, ()) == sides(rows, ())
    assert list(numbers) == [float(text) for row in rows for text in row]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(plain, plain)), st.lists(st.tuples(plain, plain)))
def test_a_message_says_the_same_however_it_is_written(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]]
) -> None:
    """The usual way of a venue is read faster, with numbers; spaces make it unusual."""
    rows = {"b": bids, "a": asks}
    said = [
        (
            "binance",
            {"e": "depthUpdate", "E": 1_700_000_000_000, "s": "BTCUSDT", "U": 6, "u": 9, **rows},
        ),
        (
            "bybit",
            {
                "topic": "orderbook.50.BTCUSDT",
                "type": "delta",
                "ts": 1_700_000_000_000,
                "data": {"s": "BTCUSDT", **rows, "u": 6, "seq": 1},
            },
        ),
    ]
    for exchange, message in said:
        made: list[BookDelta] = []
        for spaced in (False, True):
            parser = NATIVE[exchange]([SPOT])
            if exchange == "binance":
                parser.snapshot("BTC/USDT", '{"lastUpdateId":5,"bids":[],"asks":[]}', 1)
            else:
                whole = {**message, "type": "snapshot", "data": {"b": [], "a": [], "u": 5}}
                parser.feed(orjson.dumps(whole), 1)
            text = orjson.dumps(message).decode()
            (delta,) = parser.feed(text.replace(":", ": ") if spaced else text, 7)
            assert isinstance(delta, BookDelta)
            made.append(delta)

        assert made[0] == made[1]
        assert made[0].numbers == (
            [float(text) for row in bids for text in row],
            [float(text) for row in asks for text in row],
        )
        assert made[1].numbers is None
