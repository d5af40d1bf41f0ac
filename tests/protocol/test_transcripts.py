"""Every transcript of the protocol document, played against the whole system (conformance item 57)."""

from pathlib import Path

import pytest

from tests.protocol.transcripts import Block, Player, blocks
from tests.protocol.world import AppWorld


DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
BLOCKS = blocks(DOCUMENT.read_text())


def test_there_are_transcripts() -> None:
    assert len(BLOCKS) >= 13


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
async def test_57_the_transcript_is_true(block: Block, tmp_path: Path) -> None:
    async with AppWorld(tmp_path, locked=block.fixture == "locked") as world:
        await Player(world).play(block)
