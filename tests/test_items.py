"""Every item of the checklist names tests that exist, and the document says the same."""

from tests.items import AGAIN, DOCUMENT, ITEMS, LAST, document, missing


def test_every_item_is_there_with_a_test_or_the_reason_why_not() -> None:
    assert sorted(ITEMS) == list(range(1, LAST + 1))
    assert [number for number, item in ITEMS.items() if not item.tests and item.open is None] == []


def test_every_test_that_is_named_exists() -> None:
    assert missing(ITEMS.values()) == []


def test_the_document_is_what_is_written_here() -> None:
    assert DOCUMENT.read_text() == document(), AGAIN
