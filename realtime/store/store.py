"""The durable store as the rest of the program sees it: appends, pages, backups. Loop only.

Rules of this file: (1) `append` returns at once, durability is told by `then`; (2) everything else is a question to
the writer's thread; (3) a full queue refuses with `busy`, never waits.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self, TypeVar
from weakref import WeakValueDictionary

import orjson

from realtime.model.errors import Code, Refused
from realtime.store import files, queries
from realtime.store.chain import Broken, hash_of
from realtime.store.driver import FULL, Driver, Sqlite
from realtime.store.journal import Journal, Opening
from realtime.store.rows import (
    Entry,
    Keyed,
    Log,
    Page,
    Pending,
    Projection,
    Row,
    Sizes,
    Space,
    StoreCorrupt,
    Then,
)
from realtime.store.schema import MIGRATIONS
from realtime.store.writer import Answer, Request, State, Writer


T = TypeVar("T")
_NS_PER_MS: Final = 1_000_000
# A member read off its enum costs ten times a name of the module, and rows come thousands a second.
_OK: Final = State.OK
MARGIN: Final = 100
"""Rows of one event, at most: so many must fit into the queue before an event is looked at."""
NO_FILTERS: Final[queries.Filters] = {}
_TURNS: Final[WeakValueDictionary[Path, asyncio.Lock]] = WeakValueDictionary()


def _turn(directory: Path) -> asyncio.Lock:
    """Give the lock of a folder of backups: all accounts at once would take room that each of them saw free."""
    return _TURNS.setdefault(directory.absolute(), asyncio.Lock())


class Store:
    """One open journal.

    Attributes:
        journal_id: Id of the journal, the epoch of its logs.
        opened: Entries in each log when it was opened.
    """

    def __init__(
        self,
        *,
        writer: Writer,
        journal: Journal,
        path: Path | None,
        now: Callable[[], int],
        driver: Driver,
        sizes: Sizes,
        lock: files.FileLock | None,
    ) -> None:
        """Use `Store.open`."""
        self._driver = driver
        self._writer = writer
        self._journal = journal
        self._path = path
        self._now = now
        self._sizes = sizes
        self._lock = lock
        self._seq = journal.seq
        self._ts = journal.ts
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self.journal_id = journal.id
        self.opened: Mapping[Log, int] = dict(journal.counts)
        self._ended = writer.ended()
        self._ended.add_done_callback(self._died)

    @classmethod
    async def open(
        cls,
        path: Path | None,
        *,
        now: Callable[[], int],
        new_id: Callable[[], str],
        driver: Driver | None = None,
        sizes: Sizes | None = None,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> Self:
        """Open, check and migrate a journal; the file is made when it is missing.

        Args:
            path: The file; None keeps everything in memory, behind the same thread.
            now: Wall clock [ns UTC].
            new_id: Makes the id of a new journal.
            driver: Another SQLite, for tests.
            sizes: Other bounds.
            migrations: Another schema, for tests.

        Raises:
            StoreLocked: Another process has it.
            StoreNewer: It was written by a newer program.
            StoreCorrupt: It fails its check.
            OSError: The disk is full, without the ballast, too, or fails.
        """
        driver, sizes = driver or Sqlite(), sizes or Sizes()
        with ExitStack() as undo:
            lock = files.FileLock(path) if path is not None else None
            if lock is not None:
                undo.callback(lock.release)
            ballast = None if path is None else files.Ballast(path, sizes.ballast)
            if ballast is not None:
                ballast.make()
            writer = Writer(
                loop=asyncio.get_running_loop(),
                sizes=sizes,
                driver=driver,
                ballast=ballast,
                roomy=lambda: path is None or files.space(path, sizes).level == "ok",
            )
            opening = Opening(path=path, driver=driver, new_id=new_id, migrations=migrations)

            def make() -> Journal:
                try:
                    return Journal(opening)
                except driver.errors as error:
                    if ballast is None or driver.code(error) != FULL or not ballast.drop():
                        raise
                # What has to be written to stop trading finds the room that was kept for it, also after a restart.
                return Journal(opening)

            try:
                journal = await writer.open(make)
            except driver.errors as error:
                name = path.name if path is not None else "in memory"
                raise OSError(f"journal {name} cannot be opened: {error}") from error
            undo.pop_all()
        return cls(
            writer=writer,
            journal=journal,
            path=path,
            now=now,
            driver=driver,
            sizes=sizes,
            lock=lock,
        )

    # -- writing -------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Whether rows become durable."""
        return self._writer.state

    @property
    def on_failure(self) -> Callable[[str], None]:
        """Called on the loop with a reason when the disk is full or fails, before any later `then`.

        Rows appended before are not lost: they are kept and tried again, and their `then` comes when they are durable.
        """
        return self._writer.on_failure

    @on_failure.setter
    def on_failure(self, call: Callable[[str], None]) -> None:
        self._writer.on_failure = call

    @property
    def on_told(self) -> Callable[[], None]:
        """Called on the loop behind the `then` of all rows of a commit, or of several, in the same step."""
        return self._writer.on_told

    @on_told.setter
    def on_told(self, call: Callable[[], None]) -> None:
        self._writer.on_told = call

    @property
    def path(self) -> Path | None:
        """The file; None for a journal in memory."""
        return self._path

    @property
    def seq(self) -> int:
        """The last row handed over; it may still wait."""
        return self._seq

    @property
    def committed(self) -> int:
        """The newest row that is durable."""
        return self._journal.seq

    @property
    def waiting(self) -> int:
        """Rows handed over and not yet durable."""
        return self._seq - self._journal.seq

    @property
    def crowded(self) -> bool:
        """Whether hardly anything more can be taken, not even what venues report."""
        return self.waiting >= 2 * self._sizes.queue - MARGIN

    @property
    def busy(self) -> bool:
        """Whether the writer's thread is at work on something that will call the loop; for virtual clocks."""
        return self._writer.busy or (self._closing and not self._ended.done())

    def append(
        self,
        kind: str,
        key: str,
        body: bytes | Callable[[], bytes],
        then: Then | None = None,
        project: Sequence[Projection] = (),
        *,
        safety: bool = False,
    ) -> int:
        """Add a row to the journal.

        Args:
            kind: What it records.
            key: What it is about.
            body: JSON, with all that its projections are made of. Or what makes it behind this step of the loop, or behind
                the commit under way: so a row can say what comes behind it.
            then: Called on the loop with the row's `seq` once it is durable, strictly in the order of appends; all
                rows of one commit in one step of the loop. Not called for a row that never became durable.
            project: Rows to write with it, in the same transaction.
            safety: Cancels, exits, halts and what venues report: taken also while the disk is full or failing,
                and with twice the queue.

        Returns:
            The `seq` the row has when it is durable.

        Raises:
            Refused: `busy`, when too many rows wait; without `safety` also while the journal cannot be written.
        """
        assert body, kind  # SQLite would make it NULL, and refuse the whole commit
        writer, seq, most = self._writer, self._seq, self._sizes.queue
        if self._closing or writer.state is not _OK:
            self._refuse_unwritable(safety=safety)
        # What stops trading must not be refused because trading is fast: twice the room.
        waiting = seq - self._journal.seq
        if waiting >= (2 * most if safety else most):
            raise Refused(
                Code.BUSY,
                f"the journal is {waiting} rows behind; the maximum is {most}",
                retry_after=1.0,
            )
        # The clock may step back; the journal's time does not.
        self._ts = max(self._ts, self._now())
        self._seq = seq = seq + 1
        if isinstance(body, bytes):
            writer.put(Pending(seq, self._ts, kind, key, body, then, project))
        else:
            writer.put(Pending(seq, self._ts, kind, key, b"", then, project), body)
        return seq

    def _refuse_unwritable(self, *, safety: bool) -> None:
        state = self._writer.state
        if self._closing or state is State.CLOSED:
            raise _closed()
        if not safety and state is not State.OK:
            reason = "the disk is full" if state is State.FULL else "the journal cannot be written"
            raise Refused(Code.BUSY, f"{reason}; only cancels and exits are taken", retry_after=5.0)

    # -- reading -------------------------------------------------------------------------------

    async def replay(self, after: int = 0) -> AsyncIterator[Sequence[Row]]:
        """Read the journal in order, in pages, proving its chain.

        Args:
            after: Row to begin behind, which is taken for proven (see `hash_of`); 0 reads everything.

        Raises:
            StoreCorrupt: A row was changed or is missing.
        """
        walk = await self._ask(lambda journal: self._proven(lambda: journal.walk(after)))
        while rows := await self._ask(lambda _: self._proven(lambda: walk.page(self._sizes.page))):
            yield rows

    def _proven(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except Broken as broken:
            raise StoreCorrupt(self._path, str(broken)) from broken

    async def hash_of(self, seq: int) -> bytes | None:
        """Read the hash of a row, which covers all rows up to it; None when there is no such row."""
        return await self._ask(lambda journal: hash_of(journal.connection, seq))

    async def logs(
        self, log: Log, first: int, last: int, filters: queries.Filters = NO_FILTERS
    ) -> list[tuple[int, int, dict[str, object]]]:
        """Read entries of a log by number, as the hub's streams count them.

        Args:
            log: Which log.
            first: Number of the first entry wanted, from 1.
            last: Number of the last one.
            filters: Column to value, for a filtered stream: then numbers count its own entries.

        Returns:
            (number, time [ms], entry), oldest first.
        """
        found = await self._ask(
            lambda journal: queries.entries(journal.connection, log, first, last, filters)
        )
        return [(entry.n, entry.ts // _NS_PER_MS, orjson.loads(entry.body)) for entry in found]

    async def count(self, log: Log, filters: queries.Filters = NO_FILTERS) -> int:
        """Count the durable entries of a log under a filter: the position of that stream."""
        return await self._ask(lambda journal: queries.count(journal.connection, log, filters))

    async def tail(
        self, log: Log, most: int, filters: queries.Filters = NO_FILTERS
    ) -> tuple[int, list[tuple[int, int, dict[str, object]]]]:
        """Read the newest entries of a log, to fill a stream's ring: its count, and the entries as `logs` does."""
        total = await self.count(log, filters)
        return total, await self.logs(log, max(1, total - most + 1), total, filters)

    async def orders(
        self,
        *,
        symbol: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Read ended orders, newest first; times in ns, `until` excluded.

        Raises:
            Refused: `invalid`, for a bad cursor or limit; `busy`, when too many questions wait.
        """
        return await self._ask(
            lambda journal: queries.ended_orders(
                journal.connection,
                symbol=symbol,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            )
        )

    async def order(
        self, *, key: str | None = None, client_order_id: str | None = None
    ) -> Entry | None:
        """Find one order, ended or not, by exactly one of its ids."""
        return await self._ask(
            lambda journal: queries.order(
                journal.connection, key=key, client_order_id=client_order_id
            )
        )

    async def fills(
        self,
        *,
        symbol: str | None = None,
        order_id: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Read fills, newest first; arguments and errors as for `orders`."""
        filters = {"symbol": symbol, "order_id": order_id}
        return await self._page("fills", filters, since, until, limit, cursor)

    async def fills_of(self, order_ids: Sequence[str]) -> list[Entry]:
        """Read the fills of some orders in one question, oldest first; at most the 20,000 newest."""
        return await self._ask(lambda journal: queries.fills_of(journal.connection, order_ids))

    async def events(
        self,
        *,
        event_type: str | None = None,
        bot_id: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Read the audit, newest first, each entry with the hash of its row; errors as for `orders`."""
        filters = {"type": event_type, "bot_id": bot_id}
        return await self._page("events", filters, since, until, limit, cursor)

    async def alerts(
        self,
        *,
        level: str | None = None,
        acked: bool | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Read alerts, newest first; `acked` None gives both kinds; errors as for `orders`."""
        return await self._page(
            "alerts", {"level": level}, since, until, limit, cursor, acked=acked
        )

    async def _page(
        self,
        log: Log,
        filters: queries.Filters,
        since: int | None,
        until: int | None,
        limit: int,
        cursor: str | None,
        *,
        acked: bool | None = None,
    ) -> Page:
        return await self._ask(
            lambda journal: queries.page_of_log(
                journal.connection,
                log,
                filters=filters,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
                acked=acked,
            )
        )

    async def rows(
        self,
        table: Keyed,
        *,
        since: int | None = None,
        until: int | None = None,
        limit: int = 10_000,
    ) -> list[Entry]:
        """Read a keyed table, oldest first; of more than `limit` rows the newest.

        In pages: a month of equity in one question would hold up the rows of orders for a third of a second. They are
        no picture of one moment: a row written meanwhile may be missing, or be there beside older ones.
        """
        found: list[Entry] = []
        most = self._sizes.page

        def read(journal: Journal) -> list[Entry]:
            return queries.rows(
                journal.connection,
                table,
                since=since,
                until=until,
                limit=min(limit - len(found), most),
                before=found[-1] if found else None,
            )

        while True:
            page = await self._ask(read)
            found += page
            if len(page) < most or len(found) >= limit:
                return found[::-1]

    async def signals(
        self,
        *,
        symbol: str | None = None,
        bot_id: str | None = None,
        strategy: str | None = None,
        since: int | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Read decisions of bots, newest first; errors as for `orders`."""
        filters = {"symbol": symbol, "bot_id": bot_id, "strategy": strategy}
        return await self._ask(
            lambda journal: queries.signals(
                journal.connection, filters=filters, since=since, limit=limit, cursor=cursor
            )
        )

    # -- keeping -------------------------------------------------------------------------------

    async def backup(self, target: Path) -> None:
        """Copy the journal while it is in use; the copy appears whole or not at all, its folder is made.

        Raises:
            OSError: The copy could not be written.
        """
        try:
            await self._ask(lambda journal: self._copy(journal, target))
        except self._driver.errors as error:
            raise OSError(f"{target.name}: {error}") from error

    def _copy(self, journal: Journal, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        journal.backup(target, lambda: self._between(journal))

    def _between(self, journal: Journal) -> None:
        if self._closing:
            raise OSError("no copy was made: the server is stopping")
        self._writer.between(journal)

    async def backup_into(self, directory: Path) -> Path:
        """Make a backup named by the time, and delete all but the newest `sizes.backups`.

        Args:
            directory: Where they are.

        Raises:
            OSError: The copy could not be written, or would take room that trading needs.
            Refused: `busy`, when too many questions wait.
        """
        name = self._path.stem if self._path is not None else "journal"
        # Not on the loop: to delete a file of gigabytes takes long.
        async with _turn(directory):
            target = files.next_backup(directory, name, self._now() // _NS_PER_MS)
            await asyncio.to_thread(files.discard_parts, directory, name)
            if self._path is not None:
                # The newest stays: it is the only one until the next is whole.
                old = files.backups(directory, name)[:-1]
                size = self._path.stat().st_size
                await asyncio.to_thread(files.make_room, target, size, self._sizes, old)
            await self.backup(target)
            await asyncio.to_thread(files.rotate, directory, name, self._sizes.backups)
        return target

    def space(self) -> Space | None:
        """Measure the free space at the journal; None for one in memory."""
        return files.space(self._path, self._sizes) if self._path is not None else None

    async def close(self) -> int:
        """Write what waits and close the file.

        Returns:
            Rows that could not be written and are lost with the process; 0 when all is well.
        """
        self._closing = True
        self._writer.stop()
        try:
            return await self._ended
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    # -- the way to the thread -----------------------------------------------------------------------

    async def _ask(self, run: Callable[[Journal], T]) -> T:
        if self._closing or self._writer.state is State.CLOSED:
            raise _closed()
        if self._writer.questions >= self._sizes.requests:
            raise Refused(Code.BUSY, "too many questions wait for the journal", retry_after=0.5)
        future: asyncio.Future[T] = self._loop.create_future()

        def answer(journal: Journal) -> Answer:
            result = run(journal)
            return lambda _: None if future.done() else future.set_result(result), 0

        def refuse(error: Exception) -> Answer:
            return lambda _: None if future.done() else future.set_exception(error), 0

        self._writer.ask(Request(answer, refuse))
        return await future

    def _died(self, ended: asyncio.Future[int]) -> None:
        """A fault of ours in the thread must not look like a slow disk."""
        if not ended.cancelled() and (error := ended.exception()) is not None:
            self._writer.state = State.CLOSED
            self.on_failure(f"the journal's writer died: {error!r}")


def _closed() -> Refused:
    return Refused(Code.BUSY, "the journal is closed: the server is stopping", retry_after=5.0)
