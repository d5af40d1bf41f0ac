"""RFC 6455 section 5.2: the header of an unmasked text frame, as a server sends it."""

from collections.abc import Sequence


_TEXT = 0x81  # FIN and opcode 1


def text_frame(payload: bytes) -> bytes:
    """Put one whole text message into one frame.

    Args:
        payload: UTF-8 text of any length.

    Returns:
        Header and payload.
    """
    size = len(payload)
    if size < 126:
        return b"\x81%c%b" % (size, payload)
    if size < 65536:
        return b"\x81\x7e%c%c%b" % (size >> 8, size & 0xFF, payload)
    return bytes((_TEXT, 127)) + size.to_bytes(8, "big") + payload


def array_frame(payloads: Sequence[bytes]) -> bytes:
    """Put several JSON messages into one frame as `[m1,m2,...]`.

    Args:
        payloads: JSON texts; none gives `[]`.
    """
    return text_frame(b"[%b]" % b",".join(payloads))
