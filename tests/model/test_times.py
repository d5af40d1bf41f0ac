"""Times as clients and files write them."""

import pytest

from realtime.model.times import LAST_INSTANT, instant


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (LAST_INSTANT, LAST_INSTANT),
        ("1970-01-01T00:00:01.001Z", 1001),
        ("1970-01-01T01:00:00+01:00", 0),
        (-1, None),
        (LAST_INSTANT + 1, None),
        (True, None),
        (1.0, None),
        (None, None),
        ("soon", None),
        ("1970-01-01T00:00:01", None),
        ("1969-12-31T23:59:59Z", None),
        ("9999-01-01T00:00:00Z", None),
    ],
    ids=str,
)
def test_a_time_is_read_or_is_none(value: object, ms: int | None) -> None:
    assert instant(value) == ms
