"""The writer's thread: takes what waits, commits it, answers.

Rules of this file: (1) the loop never waits for the disk and the thread never calls the program; (2) rows reach the
disk in the order of `put`, none is left out: a row that cannot be written is kept and tried again; (3) one
`call_soon_threadsafe` per commit; (4) shared between the threads are three deques, one state and a bell, each used in a
way that needs no lock (noted at the place); (5) one commit is under way at a time, and what is put meanwhile goes with
what it leads to: a loop at full load would else pay for twice as many commits, and each order wait for four of them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from enum import StrEnum
from socket import socketpair
from threading import Thread
from types import TracebackType
from typing import Generic, NamedTuple, TypeVar

from realtime.store.driver import FULL, Driver
from realtime.store.files import Ballast
from realtime.store.journal import Journal
from realtime.store.rows import Pending, Sizes


class State(StrEnum):
    """Whether rows become durable."""

    OK = "ok"
    FULL = "full"  # the disk is full; rows still go into the room of the ballast
    FAILED = "failed"  # nothing can be written; rows are kept in memory and tried again
    CLOSED = "closed"


# What the loop calls, with what: a row's `then` with its seq, anything else with a number it ignores.
Answer = tuple[Callable[[int], None], int]


class Request(NamedTuple):
    """A question to the file, and how its answer gets back to the loop."""

    run: Callable[[Journal], Answer]
    refuse: Callable[[Exception], Answer]


T = TypeVar("T")


class _Delivered(Generic[T]):
    """A block of the thread whose error belongs to whoever waits for its result."""

    def __init__(self) -> None:
        self.result: Future[T] = Future()
        # Whoever gives up waiting must not make the thread's answer an error.
        self.result.set_running_or_notify_cancel()

    def __enter__(self) -> Future[T]:
        return self.result

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is not None:
            self.result.set_exception(error)
        return True


def _ignore(_: str) -> None:
    """Stand in until somebody wants to hear of failures."""


def _unheard() -> None:
    """Stand in until somebody wants to hear that all is told."""


class Writer:
    """One thread that owns the open journal.

    Attributes:
        state: Written by the thread alone, read by the loop.
        on_failure: Called on the loop with a reason, once per fall into a worse state, before any later `then`.
        on_told: Called on the loop behind the last `then` of a commit, once for all of them.
    """

    on_failure: Callable[[str], None]
    on_told: Callable[[], None]

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        sizes: Sizes,
        driver: Driver,
        ballast: Ballast | None,
        roomy: Callable[[], bool],
    ) -> None:
        """Make the writer; nothing runs yet.

        Args:
            loop: Where answers and `then` are called.
            sizes: Bounds.
            driver: Says which exceptions are SQLite's.
            ballast: What to delete when the disk is full, or None.
            roomy: Whether the disk has so much free space again that the ballast can come back.
        """
        self._loop = loop
        self._sizes = sizes
        self._driver = driver
        self._ballast = ballast
        self.on_failure = _ignore
        self.on_told = _unheard
        self._roomy = roomy
        self._opened: _Delivered[Journal] = _Delivered()
        self._ended: _Delivered[int] = _Delivered()
        # The loop rings, the thread listens. A queue or an event would wake the thread while the loop holds the
        # interpreter, to go back to sleep at once: three times the switches between the two.
        self._ear, self._bell = socketpair()
        # Full of rings that the thread has not heard it wakes as well, and the loop must not wait for that.
        self._bell.setblocking(False)
        # The loop's: what it has put and not handed over, with what makes the body of a row then.
        self._new: list[tuple[Pending, Callable[[], bytes] | None]] = []
        self._making = False
        # The loop's: whether rows have been rung for and their commit is not answered.
        self._flying = False
        # Appended by the loop, taken by the thread; `extend` and `popleft` of a deque are atomic.
        self._rows: deque[Pending] = deque()
        self._requests: deque[Request] = deque()
        # Appended by the thread, taken by the loop.
        self._answers: deque[Answer] = deque()
        self._stopping = False
        self._asked = 0  # the loop's
        self._answered = 0  # the thread's
        self._held: list[Pending] = []  # the thread's: taken from the deque, not yet durable
        self._prune_at = 0  # the thread's: row of the journal at which tables are looked at again
        self.state = State.OK

    @property
    def waiting(self) -> int:
        """Rows not yet committed."""
        return len(self._new) + len(self._rows) + len(self._held)

    @property
    def questions(self) -> int:
        """Requests not yet answered."""
        return self._asked - self._answered

    @property
    def busy(self) -> bool:
        """Whether the thread is at work on something that will call the loop."""
        at_work = self.questions > 0 or bool(self._answers)
        return at_work or (self.waiting > 0 and self.state is not State.FAILED)

    async def open(self, make: Callable[[], Journal]) -> Journal:
        """Start the thread and let it open the journal, which it must own."""
        # A daemon: a process that dies with its store open must die, not wait for a thread that
        # waits for work. What was acknowledged is durable; that is the whole point.
        Thread(target=self._main, args=(make,), name="journal", daemon=True).start()
        with ExitStack() as undo:
            undo.callback(self.stop)
            journal = await self._loop.run_in_executor(None, self._opened.result.result)
            undo.pop_all()
        return journal

    def ended(self) -> asyncio.Future[int]:
        """Give the future of the thread's end: the number of rows that could not be written."""
        return asyncio.wrap_future(self._ended.result, loop=self._loop)

    def put(self, row: Pending, body: Callable[[], bytes] | None = None) -> None:
        """Hand over a row. Loop only.

        Args:
            row: The row.
            body: Makes its body when it is handed over: behind this step of the loop, and behind a commit under way.
        """
        if not self._new and not self._flying:
            self._loop.call_soon(self._hand_over)
        self._new.append((row, body))

    def _hand_over(self) -> None:
        """Give the thread what was put, and wake it behind the next step.

        What both put becomes one commit, whose pages cost as much as ten rows. A busy loop takes in by then what has come
        meanwhile; an idle one has its next step at once.
        """
        if self._new:
            # Stays so where a body cannot be made: behind a row that is missing the journal takes none.
            assert not self._making, "a row of the journal could not be made"
            self._making = True
            made = [row if body is None else row._replace(body=body()) for row, body in self._new]
            self._making = False
            self._new = []
            self._rows.extend(made)
            if not self._flying:
                self._flying = True
                self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        self._hand_over()
        self._ring()

    def _ring(self) -> None:
        """Wake the thread, which begins at once; the bell is closed when it has ended."""
        try:  # noqa: SIM105 - twice a lone order, and to enter a context takes as long as this
            self._bell.send(b"\0")
        except OSError:  # closed, or full
            pass

    def ask(self, request: Request) -> None:
        """Hand over a question; the answer knows the rows put before, unless more wait than a batch has. Loop only."""
        self._hand_over()
        self._requests.append(request)
        self._asked += 1
        self._ring()

    def stop(self) -> None:
        """Let the thread write and answer what waits and end. Loop only."""
        if not self._making:
            self._hand_over()
        self._stopping = True
        self._ring()

    # -- in the thread -----------------------------------------------------------------------------

    def _main(self, make: Callable[[], Journal]) -> None:
        with self._ear, self._bell, self._opened as opened:
            journal = make()
            opened.set_result(journal)
            with self._ended as ended:
                ended.set_result(self._run(journal))

    def _run(self, journal: Journal) -> int:
        while not self._stopping or self._rows or self._requests:
            if self._held:
                # Nobody may ring, but it is time to try the held rows again.
                self._ear.settimeout(self._sizes.retry_s)
                with suppress(TimeoutError):
                    self._ear.recv(64)
                self._ear.settimeout(None)
            else:
                self._ear.recv(64)
            self._work(journal)
            if self._stopping and self._held:
                break
        lost = self.waiting
        self.state = State.CLOSED
        self._close(journal, clean=not lost)
        return lost

    def _work(self, journal: Journal) -> None:
        """Commit and answer until nothing waits, or nothing can be written."""
        while self._rows or self._requests or self._held:
            # Looked at before the rows: the loop may hand over both in between, and the answer knows the rows.
            asked = bool(self._requests)
            if (self._rows or self._held) and not self.write(journal):
                while self._requests:
                    self._serve(journal)
                return
            if asked:
                # One between two commits: a row waits for at most one question.
                self._serve(journal)
            self._prune(journal)

    def _prune(self, journal: Journal) -> None:
        """Delete what is too old of tables that grow without end, a little at a time."""
        if journal.seq < self._prune_at or self.state is not State.OK:
            return
        more = False
        # Nothing depends on it: what cannot be deleted now is deleted later.
        with suppress(*self._driver.errors):
            for table, keep in self._sizes.keep.items():
                more = journal.prune(table, keep) or more
        if not more:
            self._prune_at = journal.seq + self._sizes.prune_every

    def write(self, journal: Journal) -> bool:
        """Commit the next batch; False when it has to be kept. Thread only."""
        held, rows = self._held, self._rows
        while rows and len(held) < self._sizes.batch:
            held.append(rows.popleft())
        if not held:
            return True
        done = self._commit(journal, held)
        if done:
            if self.state is not State.OK:
                whole = self._roomy() and (self._ballast is None or self._ballast.make())
                self.state = State.OK if whole else State.FULL
            self._answers.extend([(row.then, row.seq) for row in held if row.then is not None])
            held.clear()
        # Also when nothing came of it: who puts a row then has it tried again at once.
        self._answers.append((self._landed, 0))
        # Last: the loop that it wakes waits until this thread gives up the interpreter.
        self._call()
        return done

    def between(self, journal: Journal) -> None:
        """Do what waits while a question takes long: the next batch and one other question. Thread only."""
        asked = bool(self._requests)  # before the rows, as in `_work`
        self.write(journal)
        if asked:
            self._serve(journal)

    def _commit(self, journal: Journal, batch: list[Pending]) -> bool:
        try:
            journal.commit(batch)
        except self._driver.errors as error:
            full = self._driver.code(error) == FULL
            if full and self._ballast is not None and self._ballast.drop():
                self._fall(State.FULL, f"disk full: {error}")
                return self._commit(journal, batch)
            self._fall(State.FAILED, str(error))
            return False
        return True

    def _fall(self, state: State, reason: str) -> None:
        if self.state is not state:
            self.state = state
            self._tell(reason)

    def _serve(self, journal: Journal) -> None:
        request = self._requests.popleft()
        try:
            answer = request.run(journal)
        except Exception as error:  # noqa: BLE001 - it belongs to the one who asked, not to the thread
            answer = request.refuse(error)
        self._answers.append(answer)
        self._call()
        self._answered += 1

    def _close(self, journal: Journal, *, clean: bool) -> None:
        try:
            journal.close(clean=clean)
        except self._driver.errors as error:
            # The rows are durable; only the next start checks the file in full.
            self._tell(f"close: {error}")

    def _tell(self, reason: str) -> None:
        self._answers.append((lambda _: self.on_failure(reason), 0))
        self._call()

    def _call(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._drain)
        except RuntimeError:
            # The loop is closed: nobody is left who could be told.
            self._stopping = True

    # -- on the loop -------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Run the answers in order; one that raises reaches the loop's handler and the rest still come."""
        try:
            while self._answers:
                call, value = self._answers.popleft()
                call(value)
        finally:
            if self._answers:
                self._loop.call_soon(self._drain)
            self._told()

    def _landed(self, _: int) -> None:
        """Note, behind the answers of a commit, that none is under way.

        Where a question made the thread take rows meanwhile one still is: then there is a commit more.
        """
        self._flying = False

    def _told(self) -> None:
        """Say that all is told; what was put meanwhile is next."""
        try:
            self.on_told()
        finally:
            if self._new and not self._flying:
                # Not at once: the orders that this commit lets go come to something first, in the next two steps.
                self._loop.call_soon(self._hand_over)
