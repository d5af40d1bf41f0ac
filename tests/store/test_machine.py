"""H11: operations, power cuts and disk errors in any order; what was acknowledged is always found again."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import apsw
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from realtime.model.errors import Refused
from realtime.store import Sizes, State
from tests.store import proof
from tests.store.kit import Life, fact, facts, opened, project, settled, until
from tests.store.vfs import Disk, Image, Renamed


T = TypeVar("T")
SIZES = Sizes(ballast=0, retry_s=0.002, warn=0, reducing=0)


class JournalMachine(RuleBasedStateMachine):
    """A journal on a disk that is cut and fails."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp())
        self.disk = Disk()
        self.life = Life()
        self.source = facts(1_000_000)
        self.digest = ""
        self.start()

    def start(self) -> None:
        self.life.store = self.run(
            opened(self.folder / "real.db", driver=Renamed(self.disk), sizes=SIZES)
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @rule(count=st.integers(1, 40))
    def append(self, count: int) -> None:
        for _ in range(count):
            kind, key, body = next(self.source)
            try:
                self.life.add(kind, key, body)
            except Refused:
                assert self.life.store.state is not State.OK
                self.life.add("cancel", key, fact(0), safety=True)

    @rule()
    def wait(self) -> None:
        self.run(settled(self.life.store))

    @rule(times=st.integers(1, 3), full=st.booleans())
    def fault(self, times: int, full: bool) -> None:  # noqa: FBT001 - a rule's argument
        """The next writes fail that many times."""
        left = times

        def before(kind: str) -> None:
            nonlocal left
            if kind == "write" and left > 0:
                left -= 1
                raise apsw.FullError("full") if full else apsw.IOError("bad")

        self.disk.before = before

    @rule()
    def heal(self) -> None:
        """The disk is well and everything kept is written."""
        self.disk.before = lambda _: None

        async def until_written() -> None:
            await until(lambda: not self.life.store.waiting)
            await settled(self.life.store)

        self.run(until_written())
        assert self.life.acked == sorted(self.life.bodies)

    @rule()
    def restart(self) -> None:
        # A precondition would be drawn by, and when the writer notices the disk is not the same twice.
        if self.life.store.state is not State.OK:
            return
        self.disk.before = lambda _: None
        before = self.run(self.settled_digest())
        assert self.run(self.life.store.close()) == 0
        self.start()
        assert self.run(proof.digest(self.life.store)) == before

    async def settled_digest(self) -> str:
        await until(lambda: not self.life.store.waiting)
        await settled(self.life.store)
        assert await proof.difference(self.life.store, project) is None
        return await proof.digest(self.life.store)

    @rule()
    def cut(self) -> None:
        """The power goes in the middle of whatever the thread is doing."""
        images: dict[str, bytes] = {}
        count = 0

        def now(_: str) -> None:
            nonlocal count
            if not images:
                count = len(self.life.acked)
                for name, image in self.disk.files.items():
                    images[name] = image.after_cut(self.chance)

        self.disk.before = now
        kind, key, body = next(self.source)
        self.life.add(kind, key, body, safety=True)
        self.run(until(lambda: images))
        self.disk.before = lambda _: None
        self.run(self.life.store.close())
        acked = self.life.acked[:count]
        self.disk = Disk()
        for name, content in images.items():
            self.disk.files[name] = Image.holding(content)
        bodies = self.life.bodies
        self.life = Life()
        self.start()
        found = self.run(self.rows())
        assert acked == sorted(acked)
        for seq in acked:
            assert found.get(seq) == bodies[seq]
        assert found == {seq: bodies[seq] for seq in found}
        self.life.bodies = found
        self.life.acked = sorted(found)
        assert self.run(proof.difference(self.life.store, project)) is None

    async def rows(self) -> dict[int, bytes]:
        return {row.seq: row.body async for page in self.life.store.replay() for row in page}

    @invariant()
    def acknowledged_in_order(self) -> None:
        if hasattr(self, "life"):
            assert self.life.acked == list(range(1, len(self.life.acked) + 1))

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.disk.before = lambda _: None
            self.run(self.life.store.close())
            self.disk.unregister()
            self.loop.close()
            shutil.rmtree(self.folder)


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=25,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
