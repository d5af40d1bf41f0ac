"""The end of a journal: what was handed over before it is written or answered, whichever thread is the quicker one."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from realtime.store import Store
from realtime.store.journal import Journal
from tests.store.kit import fact, opened


LONG_S = 60.0
"""More than any thread takes that is not held up."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def kinds_on_disk(path: Path) -> list[str]:
    store = await opened(path)
    found = [row.kind async for page in store.replay() for row in page]
    assert await store.close() == 0
    return found


@pytest.mark.parametrize("step", ["before the loop's next step", "behind it"])
async def test_what_is_put_right_before_the_end_is_written_though_the_thread_ends_as_soon_as_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = await opened(tmp_path / "j.db")
    writer = store._writer
    hand_over = writer._hand_over

    def late() -> None:
        if writer._stopping:
            # The thread knows of the end, so it may come now.
            writer._ring()
            writer._ended.result.result(timeout=LONG_S)
        hand_over()

    monkeypatch.setattr(writer, "_hand_over", late)
    store.append("intent", "o-1", fact(1))
    if step == "behind it":
        await asyncio.sleep(0)
    store.append("intent", "o-2", fact(2))

    assert await store.close() == 0
    assert await kinds_on_disk(tmp_path / "j.db") == ["intent", "intent"]


class Resting:
    """A thread that looks for work, finds none, and goes on once the loop has done something."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked, self.go_on = threading.Event(), threading.Event()
        self._work = store._writer._work
        monkeypatch.setattr(store._writer, "_work", self._rest)

    def _rest(self, journal: Journal) -> None:
        self._work(journal)
        if not self.looked.is_set():
            self.looked.set()
            assert self.go_on.wait(LONG_S)


@pytest.mark.parametrize("what", ["row", "question"])
async def test_what_comes_together_with_the_end_when_the_thread_has_just_looked_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store = await opened(tmp_path / "j.db")
    resting = Resting(store, monkeypatch)
    store._writer._ring()
    assert await asyncio.to_thread(resting.looked.wait, LONG_S)
    told: list[int] = []
    asked: asyncio.Future[Any] | None = None
    if what == "row":
        store.append("intent", "o-1", fact(1), told.append)
    else:
        asked = asyncio.ensure_future(store.hash_of(1))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    resting.go_on.set()

    async with asyncio.timeout(LONG_S):
        assert await closing == 0
        if asked is not None:
            assert await asked is None
    assert told == [1] * (what == "row")
    assert await kinds_on_disk(tmp_path / "j.db") == ["intent"] * (what == "row")
