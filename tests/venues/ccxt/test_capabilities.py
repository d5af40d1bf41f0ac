"""The matrix of capabilities, and the document that shows it."""

import pytest

from realtime.venues.ccxt.capabilities import AGAIN, DOCUMENT, ORDERS, STREAMS, filled, matrix


def test_the_table_of_the_document_is_the_one_of_the_installed_ccxt() -> None:
    text = DOCUMENT.read_text()

    assert filled(text) == text, AGAIN


@pytest.mark.parametrize(
    ("has", "stream", "expected"),
    [
        ({"watchTicker": True}, "ticker", "native"),
        ({"watchOrderBook": True, "fetchTicker": True}, "ticker", "derived"),
        ({"watchTrades": True, "fetchTicker": True}, "ticker", "poll"),
        ({}, "ticker", "unsupported"),
        ({"fetchOrderBook": True}, "orderbook", "poll"),
        ({"watchTrades": True}, "ohlcv", "derived"),
        ({"fetchOHLCV": "emulated"}, "ohlcv", "poll"),
        ({"watchOrders": True}, "fills", "derived"),
        ({"watchPositions": None, "fetchPositions": True}, "positions", "poll"),
    ],
)
def test_a_stream_is_had_by_the_first_way_there_is(
    has: dict[str, object], stream: str, expected: str
) -> None:
    assert matrix(has)["stream"][stream] == expected


@pytest.mark.parametrize(
    ("has", "name", "expected"),
    [
        ({"editOrder": True}, "amend", "native"),
        # R1: it was said to be made from cancel and place, and every such amend is refused.
        ({"editOrder": "emulated"}, "amend", "unsupported"),
        ({"cancelOrder": True}, "amend", "unsupported"),
        ({"createTriggerOrder": True}, "stop", "native"),
        ({"createMarketOrder": True}, "stop", "derived"),
        ({}, "leverage", "unsupported"),
    ],
)
def test_a_function_of_order_entry_is_native_or_made(
    has: dict[str, object], name: str, expected: str
) -> None:
    assert matrix(has)["order"][name] == expected


def test_everything_is_named() -> None:
    found = matrix({})

    assert set(found["stream"]) == set(STREAMS)
    assert set(found["order"]) == set(ORDERS)
