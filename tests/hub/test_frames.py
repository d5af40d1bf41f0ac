"""Frames, against the definition in RFC 6455 section 5.2."""

import pytest

from realtime.hub.frames import array_frame, text_frame
from tests.hub.world import frames


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (256, b"\x81\x7e\x01\x00"),
        (65535, b"\x81\x7e\xff\xff"),
        (65536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_a_text_frame_has_the_shortest_header_that_holds_its_size(size: int, header: bytes) -> None:
    payload = b"x" * size

    assert text_frame(payload) == header + payload
    assert list(frames(text_frame(payload))) == [payload]


def test_an_array_frame_joins_messages() -> None:
    assert array_frame([b"1", b"{}"]) == b"\x81\x06[1,{}]"
    assert array_frame([]) == b"\x81\x02[]"
