"""Bitfinex's recording through ccxt's own client, offline (trading:7): array frames, deleted levels, lost frames.

ccxt asks for checksums here and looks at them, so this venue has no parser of ours.
"""

import asyncio
import gzip
import itertools
from collections.abc import Sequence
from functools import cache

import ccxt.pro
import orjson

from tests.venues.ccxt.books.kit import recorded


Levels = dict[float, float]


@cache
def frames() -> list[str]:
    with gzip.open(recorded("bitfinex-recording.txt.gz"), "rt") as file:
        bodies = [line.strip().partition(": ")[2] for line in file if line.startswith("16")]
    return [body for body in bodies if body.startswith(("[", "{"))]


def books_of(texts: Sequence[str]) -> tuple[dict[str, tuple[Levels, Levels]], int]:
    """Bids and asks by the venue's symbol, folded by hand, and how many levels were deleted."""
    names: dict[int, str] = {}
    books: dict[str, tuple[Levels, Levels]] = {}
    deleted = 0
    for text in texts:
        said = orjson.loads(text)
        if isinstance(said, dict):
            if said.get("event") == "subscribed" and said["channel"] == "book":
                names[said["chanId"]] = said["symbol"]
            continue
        if said[0] not in names or said[1] == "hb":
            continue
        rows = said[1] if isinstance(said[1][0], list) else [said[1]]
        book = books.setdefault(names[said[0]], ({}, {}))
        for price, count, amount in rows:
            side = book[amount < 0]
            if count == 0:
                deleted += 1
                side.pop(price, None)
            else:
                side[price] = abs(amount)
    return books, deleted


async def followed(texts: Sequence[str]) -> dict[str, tuple[Levels, Levels]]:
    """The same of ccxt's client."""
    exchange = ccxt.pro.bitfinex()
    try:
        exchange.set_markets([])
        client = exchange.client("wss://api-pub.bitfinex.com/ws/2")
        for text in texts:
            client.handle_text_or_binary_message(text)
        return {
            symbol: (
                {price: amount for price, amount, *_ in book["bids"]},
                {price: amount for price, amount, *_ in book["asks"]},
            )
            for symbol, book in exchange.orderbooks.items()
        }
    finally:
        await exchange.close()


def test_ccxt_s_books_are_those_of_the_recording() -> None:
    expected, deleted = books_of(frames())
    shown = asyncio.run(followed(frames()))

    assert deleted > 100
    names = {name: "t" + name.removeprefix("t").replace("/", "") for name in shown}
    assert shown == {name: expected[names[name]] for name in shown}
    assert len(shown) == len(expected) == 7
    for bids, asks in expected.values():
        assert not (bids and asks) or max(bids) < min(asks)


def sequence(text: str) -> int | None:
    """Sequence number of a frame; with the flag it is its last element."""
    said = orjson.loads(text)
    return int(said[-1]) if isinstance(said, list) else None


def test_every_frame_of_the_recording_has_its_number_and_any_lost_one_shows() -> None:
    numbers = [number for text in frames() if (number := sequence(text)) is not None]

    assert numbers == list(range(1, len(numbers) + 1))
    for lost in range(1, len(numbers) - 1, 50):
        kept = numbers[:lost] + numbers[lost + 1 :]
        holes = [after for before, after in itertools.pairwise(kept) if after != before + 1]
        assert holes == [numbers[lost] + 1]  # fmt: skip
