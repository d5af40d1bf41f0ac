"""Every item of the checklist names tests that exist, and the document says the same."""

from tests.conformance import EXCHANGE, PROTOCOL
from tests.items import AGAIN, DOCUMENT, ITEMS, LAST, document, missing


def test_every_item_is_there_with_a_test_or_the_reason_why_not() -> None:
    assert sorted(ITEMS) == list(range(1, LAST + 1))
    assert [number for number, item in ITEMS.items() if not item.tests and item.open is None] == []


def test_every_test_that_is_named_exists() -> None:
    assert missing([*ITEMS.values(), *PROTOCOL.values(), *EXCHANGE.values()]) == []


def test_every_conformance_item_and_every_behaviour_of_the_paper_exchange_is_shown() -> None:
    counts = {"X1": 7, "X2": 5, "X3": 9, "X4": 5, "X5": 3, "X6": 6, "X7": 5, "X8": 11, "X9": 5}
    assert list(PROTOCOL) == list(range(1, 58))
    assert list(EXCHANGE) == [
        f"{group}.{n}" for group, most in counts.items() for n in range(1, most + 1)
    ]
    assert [name for name, item in (PROTOCOL | EXCHANGE).items() if not item.tests] == []


def test_the_document_is_what_is_written_here() -> None:
    assert DOCUMENT.read_text() == document(), AGAIN
