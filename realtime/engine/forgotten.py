"""What is left of orders that memory lets go: one 64-bit key for every name they had.

Rules of this file: (1) a key says that a name was used, never by what: the journal knows that; (2) the keys are part
of the state that facts make, so they are the same in a process and in its replay; (3) no call costs more than one
small array, however many keys there are.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from realtime.model.market import SECOND


CHUNK: Final = 512
"""Keys of one array at most; a full one is halved."""

FOREVER: Final = 2**63
"""Later than any time [ns]."""

IGNORED: Final = frozenset({"id", "expires_at", "mode", "confirm", "dry_run"})
"""Arguments in which a resend may differ (I1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many ended orders are kept in memory, and for how long: whichever is more, up to `most`.

    Attributes:
        ended: The newest of them that are kept.
        age: How long one is kept at least, while there are not too many [ns].
        a_call: Orders that are let go at a time, so that none of the calls is long.
        most: Of more than these the oldest go, however young: an hour of 2,000 orders/s fits in no memory.
    """

    ended: int = 10_000
    age: int = 3600 * SECOND
    a_call: int = 4
    most: int = 50_000

    def before(self, count: int, ts: int) -> int:
        """Give the time before which one must have ended to be let go, where `count` are kept now [ns]."""
        return FOREVER if count > self.most else ts - self.age


SIZES: Final = Sizes()
"""What is kept unless somebody says otherwise."""


class Keys:
    """A set of 64-bit numbers in sorted arrays: about nine bytes each, and no object.

    Args:
        keys: Its first members.
    """

    __slots__ = ("_chunks", "_count", "_firsts")

    def __init__(self, keys: Iterable[int] = ()) -> None:
        self._chunks = [array("Q")]
        # The least key each array may hold.
        self._firsts = [0]
        self._count = 0
        for found in keys:
            self.add(found)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        """All keys, least first."""
        for chunk in self._chunks:
            yield from chunk

    def __contains__(self, wanted: int) -> bool:
        chunk = self._chunks[bisect_right(self._firsts, wanted) - 1]
        place = bisect_left(chunk, wanted)
        return place < len(chunk) and chunk[place] == wanted

    def add(self, new: int) -> None:
        """Take a key in; one that is there already changes nothing."""
        at = bisect_right(self._firsts, new) - 1
        chunk = self._chunks[at]
        place = bisect_left(chunk, new)
        if place < len(chunk) and chunk[place] == new:
            return
        chunk.insert(place, new)
        self._count += 1
        if len(chunk) > CHUNK:
            upper = chunk[CHUNK // 2 :]
            del chunk[CHUNK // 2 :]
            self._chunks.insert(at + 1, upper)
            self._firsts.insert(at + 1, upper[0])

    def digest(self) -> str:
        """A hash of all keys; the same for the same keys, in whatever order they came."""
        sums = blake2b(digest_size=16)
        for chunk in self._chunks:
            sums.update(chunk.tobytes())
        return sums.hexdigest()


def key(kind: str, *names: str) -> int:
    """Make the key of a name.

    Args:
        kind: Of the name: `client`, `content`, `venue` or `trade`.
        names: What is unique within the kind.
    """
    text = "\n".join((kind, *names))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def content_key(venue_client_id: str, content: Mapping[str, str]) -> int:
    """Make the key of a client's id together with what was sent under it, less what a resend may change."""
    sent = [f"{name}={content[name]}" for name in sorted(content) if name not in IGNORED]
    return key("content", venue_client_id, *sent)
