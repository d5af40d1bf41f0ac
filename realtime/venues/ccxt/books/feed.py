"""What a native order-book parser is, and what the parsers share.

ccxt parses a book into floats, checks it not everywhere, and takes 79 us for a Binance depth message. A native parser
reads the same frames by hand: the venue's strings stay (M6), the venue's own check is made on every frame.

Each has a pattern of how its venue writes: a frame that fits is taken apart as text, at a third less than as JSON, and
its levels are read as floats on the way, which a book would do again. Every other frame is decoded.

Rules of this file:
1 A frame of anything but a book is recognised by its first characters and costs no parse.
2 A parser never raises for what a venue sends. A book frame that makes no sense is a gap like a lost one.
3 After a gap a symbol has no events until a snapshot; which is `repaired` when there was one before it.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Final, Protocol, TypeAlias

import orjson

from realtime.model.frozen import frozen
from realtime.model.market import MS, BookDelta, BookSnapshot, Level, Market, Numbers


SEQUENCE: Final = "sequence"
CHECKSUM: Final = "checksum"
MALFORMED: Final = "malformed"
_DIGITS: Final = b"0123456789"


@frozen
class Gap:
    """A book that is wrong from here on, until its next snapshot.

    Attributes:
        symbol: Of the book.
        cause: `sequence`, `checksum` or `malformed`.
        ts: Time of the frame that showed it [ns].
    """

    symbol: str
    cause: str
    ts: int


Rows: TypeAlias = Sequence[Iterable[str]]
BookEvent: TypeAlias = BookSnapshot | BookDelta | Gap


class Native(Protocol):
    """Order books of one exchange instance, out of its raw frames."""

    rest: bool
    """Whether books start from a REST snapshot; else a subscription begins with one."""

    def learn(self, markets: Iterable[Market]) -> None:
        """Read books of these markets, too."""

    def feed(self, text: str | bytes, recv_ts: int, url: str = "") -> Sequence[BookEvent]:
        """Take a frame of a socket.

        Args:
            text: As it came; frames that are not about a book give nothing.
            recv_ts: Time of receipt [ns].
            url: Of the socket, where spot and contracts share their ids (Bybit).

        Returns:
            Events in order. `ts` is the venue's own time where the frame tells it, else `recv_ts`.
        """

    def snapshot(self, symbol: str, text: str | bytes, recv_ts: int) -> Sequence[BookEvent]:
        """Take the raw answer to a REST snapshot; nothing where `rest` is False.

        Returns:
            The snapshot and what was heard behind it; a gap where the snapshot is too old for that or makes no
            sense; nothing where the book is beyond it.
        """

    def waits(self, symbol: str) -> bool:
        """Whether a symbol has no snapshot, or has lost it to a gap."""

    def forget(self, symbol: str) -> None:
        """Forget the chain of a symbol, as after a reconnection; the next snapshot is `repaired`."""


Maker: TypeAlias = Callable[[Iterable[Market]], Native]
"""Makes the parser of an exchange instance out of its markets: ids alone do not tell spot from contracts."""


def text_of(text: str | bytes) -> str:
    """A frame as text; bytes that are not UTF-8 are replaced, and refused by the parser behind it."""
    return text if isinstance(text, str) else bytes(text).decode("utf-8", "replace")


def sides(bids: Rows, asks: Rows) -> tuple[tuple[Level, ...], tuple[Level, ...]]:
    """Take levels as they came.

    Raises:
        TypeError, ValueError: They are not pairs of decimal strings without sign and exponent.
    """
    # Every number sorts behind the point: "" and "." do not.
    taken = (
        tuple([(price, amount) for price, amount in bids if price > "." < amount]),
        tuple([(price, amount) for price, amount in asks if price > "." < amount]),
    )
    # Looked at all at once, with bars between: `float` of every number would take longer than all the rest.
    pairs = chain(taken[0], taken[1])
    bare = "|".join(chain.from_iterable(pairs)).encode().translate(None, _DIGITS)
    count = len(taken[0]) + len(taken[1])
    if (
        count != len(bids) + len(asks)
        or b".." in bare  # two points in one number
        or bare.translate(None, b".|")  # something else than digits and points
        or (count and bare.count(b"|") != 2 * count - 1)  # a bar in a number
    ):
        raise ValueError("not decimals")
    return taken


def levels(text: str) -> tuple[tuple[Level, ...], Numbers]:
    """Take levels out of their own text: `[["1.50","2"],["1.40","0"]]`.

    Returns:
        The levels, and the same as floats.

    Raises:
        ValueError: It is written in any other way.
    """
    raw = text.encode()
    shape = raw.translate(None, _DIGITS + b".")
    if shape != b"[" + (b'["",""],' * (len(shape) // 8))[:-1] + b"]":
        raise ValueError("not pairs of strings")
    flat = raw.translate(None, b'"[]')
    numbers: list[float] = orjson.loads(b"[" + flat + b"]")
    parts = iter(flat.decode().split(","))
    return tuple(zip(parts, parts, strict=False)), numbers


def stamp(told: object, recv_ts: int) -> int:
    """The venue's milliseconds as [ns]; `recv_ts` where it told none."""
    return told * MS if type(told) is int and told > 0 else recv_ts
