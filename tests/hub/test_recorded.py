"""A recorded session through the hub: what a client holds is the book, and every checksum fits (conformance item 22)."""

from pathlib import Path

import pytest

from realtime.client.book import Book
from tests.hub.world import BTC, Rig
from tests.venues.test_replay import SHORT_SPOT, SPOT, Rebuilt, messages


DEPTHS = (5, 25, 100)


@pytest.mark.parametrize(
    "path", [SHORT_SPOT, pytest.param(SPOT, marks=pytest.mark.slow)], ids=["synthetic", "recorded"]
)
def test_22_on_a_recording_every_checksum_fits_and_every_depth_is_held(path: Path) -> None:
    rig, source = Rig(), Rebuilt([])
    held = {depth: Book() for depth in DEPTHS}
    wires = {depth: rig.reader(f"orderbook:{BTC}?depth={depth}&rate=0")[0] for depth in DEPTHS}
    checked = dict.fromkeys(DEPTHS, 0)
    for ts, message in messages(path):
        before = len(source.tops)
        source.take(ts, message)
        if len(source.tops) == before:
            continue
        rig.clock.ms += 1000  # so that every update carries one
        rig.hub.book(f"orderbook:{BTC}", source.book, asof=rig.clock.ms)
        rig.flush()
        for depth, wire in wires.items():
            book = held[depth]
            for told in wire.take():
                book.apply(told["data"])
                checked[depth] += 1
                assert told["checksum"] == book.checksum()
            assert book.top() == tuple(list(side) for side in source.book.top(depth))

    assert source.parser.gaps == 0
    assert min(checked.values()) > len(source.tops) / 4
