"""Appends, group commit, order of answers, bounds; and pages read between commits."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from pathlib import Path

import orjson
import pytest

from realtime.model.errors import Code, Refused
from realtime.store import Page, Projection, Sizes, Sqlite, State, Store, verify
from realtime.store.driver import Connection, Rows, Value, one
from realtime.store.journal import Journal
from tests.store import proof
from tests.store.kit import Life, fact, facts, ids, opened, project, settled, ticking, until


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Gate(Sqlite):
    """A disk that takes its time: commits wait until the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.reached = threading.Event()
        self.commits = 0

    def connect(self, path: str) -> Connection:
        return Gated(super().connect(path), self)


class Gated:
    def __init__(self, connection: Connection, gate: Gate) -> None:
        self._connection = connection
        self._gate = gate

    def execute(self, sql: str, params: Sequence[Value] = (), /) -> Rows:
        if sql.startswith("INSERT INTO batch"):
            self._gate.reached.set()
            assert self._gate.open.wait(10)
            self._gate.commits += 1
        return self._connection.execute(sql, params)

    def close(self) -> None:
        self._connection.close()


async def life(store: Store, count: int = 0) -> Life:
    made = Life()
    made.store = store
    for kind, key, body in facts(count):
        made.add(kind, key, body)
    await settled(store)
    return made


async def test_rows_are_acknowledged_in_order_and_found_again(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    made = await life(store, 700)
    await store.close()
    again = await opened(tmp_path / "j.db")
    found = [row async for page in again.replay() for row in page]
    await again.close()

    assert made.acked == list(range(1, 701))
    assert {row.seq: row.body for row in found} == made.bodies
    assert [row.seq for row in found] == made.acked
    assert again.journal_id == store.journal_id == "j1"


def stay(store: Store) -> None:
    """Stay in a step of the loop until the thread has committed all but one row."""
    for _ in range(10_000):
        if store.waiting == 1:
            return
        time.sleep(0.001)


async def test_what_two_steps_of_the_loop_append_is_one_commit() -> None:
    disk = Gate()
    disk.open.set()
    store = await opened(None, driver=disk)
    store.append("state", "", fact(0))
    await asyncio.sleep(0)
    await life(store, 20)
    await store.close()

    assert disk.commits == 1


async def test_what_a_step_appends_while_a_commit_ends_is_one_commit() -> None:
    disk = Gate()
    store = await opened(None, driver=disk)
    store.append("state", "", fact(0))
    await until(disk.reached.is_set)

    store.append("state", "", fact(1))
    disk.open.set()
    stay(store)
    await life(store, 20)
    await store.close()

    assert disk.commits == 2


async def test_what_comes_while_a_commit_is_under_way_goes_with_what_it_leads_to() -> None:
    disk = Gate()
    store = await opened(None, driver=disk)
    loop = asyncio.get_running_loop()
    rows = iter(range(1, 10))

    def append() -> None:
        store.append("state", "", fact(next(rows)))

    def then(_: int) -> None:
        loop.call_soon(lambda: loop.call_soon(append))

    store.append("state", "", fact(0), then)
    await until(disk.reached.is_set)
    append()
    for _ in range(5):
        await asyncio.sleep(0)
    disk.open.set()
    await settled(store)
    await store.close()

    assert next(rows) == 3
    assert disk.commits == 2


async def test_the_loop_never_waits_for_a_thread_at_work() -> None:
    """However often it rings: a thread that commits hears nothing."""
    disk = Gate()
    store = await opened(None, driver=disk, sizes=Sizes(ballast=4096, requests=2_000))
    store.append("state", "", fact(0))
    await until(disk.reached.is_set)
    asked = [asyncio.ensure_future(store.count("fills")) for _ in range(1_500)]
    await asyncio.sleep(0)
    disk.open.set()
    async with asyncio.timeout(20):
        told = await asyncio.gather(*asked)

    assert set(told) == {0}
    assert await store.close() == 0


async def test_a_store_in_memory_answers_like_a_file() -> None:
    store = await opened(None)
    made = await life(store, 30)

    assert made.acked == list(range(1, 31))
    assert await store.count("fills") == 6
    assert store.space() is None
    assert await store.close() == 0


async def test_what_waits_is_committed_together_and_told_in_one_step(tmp_path: Path) -> None:
    gate = Gate()
    store = await opened(tmp_path / "j.db", driver=gate)
    steps: list[list[int]] = [[]]
    told: list[int] = []

    def then(seq: int) -> None:
        told.append(seq)
        if len(steps[-1]) == 0:
            asyncio.get_running_loop().call_soon(steps.append, [])
        steps[-1].append(seq)

    for number in range(600):
        store.append("state", "", fact(number), then)
    gate.open.set()
    await until(lambda: len(told) == 600)
    await store.close()

    assert told == list(range(1, 601))
    assert gate.commits <= 4  # at most one row had left alone, then 256, 256 and the rest
    assert max(map(len, steps)) >= 256


async def test_the_end_of_a_commit_is_told_behind_all_its_rows(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    told: list[object] = []
    store.on_told = lambda: told.append("all")

    def fail(seq: int) -> None:
        told.append(seq)
        raise ValueError("a fault of ours")

    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    for number, then in enumerate((told.append, told.append, fail, told.append)):
        store.append("state", "", fact(number), then)
    await until(lambda: told.count("all") == 2)
    await store.close()

    # What one that fails has left over is told next, and the end of that, too.
    assert told == [1, 2, 3, "all", 4, "all"]


async def test_a_row_whose_body_comes_later_keeps_its_place(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    told: list[int] = []
    numbers = [1]
    for _ in range(2):
        store.append("late", "", lambda: b"%d" % len(numbers))
        store.append("state", "", fact(0), told.append)
        numbers.append(2)
    waiting = store.waiting
    await until(lambda: len(told) == 2)
    rows = [row async for page in store.replay() for row in page]
    store.append("late", "", lambda: b"9")
    await store.close()
    again = await opened(tmp_path / "j.db")
    last = [row async for page in again.replay(rows[-1].seq) for row in page]
    await again.close()

    assert waiting == 4
    assert told == [2, 4]
    assert [row.body for row in rows] == [b"3", fact(0)] * 2
    assert [row.body for row in last] == [b"9"]


@pytest.mark.parametrize("asked", [False, True])
async def test_behind_a_row_whose_body_cannot_be_made_the_journal_takes_none(
    tmp_path: Path, *, asked: bool
) -> None:
    """It would be damaged; so the loop hears of it, and the next start finds it as after a power cut."""
    store = await opened(tmp_path / "j.db")
    broken: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: broken.append(context["exception"])
    )
    store.append("state", "", fact(0))
    await settled(store)
    store.append("late", "", lambda: b"%d" % (1 // 0))
    store.append("state", "", fact(1))
    if asked:
        with pytest.raises(ZeroDivisionError):
            await store.rows("tokens")
    await until(lambda: bool(broken))
    store.append("state", "", fact(2))
    lost = await store.close()
    again = await opened(tmp_path / "j.db")
    rows = [row async for page in again.replay() for row in page]
    await again.close()

    assert [type(error) for error in broken] == [AssertionError if asked else ZeroDivisionError]
    assert lost == 3
    assert [row.body for row in rows] == [fact(0)]


async def test_a_full_queue_refuses_placements_and_keeps_room_for_what_stops_trading(
    tmp_path: Path,
) -> None:
    gate = Gate()
    store = await opened(tmp_path / "j.db", driver=gate, sizes=Sizes(queue=10, batch=4))
    for number in range(10):
        store.append("intent", "", fact(number))
    with pytest.raises(Refused) as refused:
        store.append("intent", "", fact(10))
    kept = [store.append("cancel", "", fact(number), safety=True) for number in range(10)]
    with pytest.raises(Refused) as last:
        store.append("cancel", "", fact(20), safety=True)
    gate.open.set()
    assert await store.close() == 0
    again = await opened(tmp_path / "j.db")
    await again.close()

    assert (refused.value.code, refused.value.retry_after) == (Code.BUSY, 1.0)
    assert kept == list(range(11, 21))
    assert last.value.code is Code.BUSY
    assert again.seq == 20


async def test_too_many_questions_are_refused(tmp_path: Path) -> None:
    gate = Gate()
    store = await opened(tmp_path / "j.db", driver=gate, sizes=Sizes(requests=2))
    store.append("state", "", b"{}")
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(store.count("fills")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await store.count("fills")
        assert store.busy
        gate.open.set()
    await store.close()

    assert refused.value.code is Code.BUSY
    assert [task.result() for task in asked] == [0, 0]
    assert not store.busy


async def test_a_callback_that_fails_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    caught: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: caught.append(context))
    told: list[int] = []

    def fails(_: int) -> None:
        raise ValueError("a fault of the program")

    store.append("state", "", b"{}", told.append)
    store.append("state", "", b"{}", fails)
    store.append("state", "", b"{}", told.append)
    await store.close()
    await asyncio.sleep(0)

    assert told == [1, 3]
    assert len(caught) == 1


async def test_a_question_given_up_disturbs_nobody(tmp_path: Path) -> None:
    gate = Gate()
    store = await opened(tmp_path / "j.db", driver=gate)
    store.append("state", "", b"{}")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await store.count("fills")
    gate.open.set()

    assert await store.count("fills") == 0
    assert await store.close() == 0


async def test_nothing_is_taken_after_close(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    await store.close()

    with pytest.raises(Refused, match="closed"):
        store.append("halt", "", b"{}", safety=True)
    with pytest.raises(Refused, match="closed"):
        await store.count("fills")
    assert store.state is State.CLOSED


async def test_a_fault_in_the_thread_is_told_and_not_taken_for_a_slow_disk(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    reasons: list[str] = []
    store.on_failure = reasons.append
    wrong: list[Projection] = [Projection("nonsense", "k", 1)]  # type: ignore[arg-type]  # the fault
    store.append("state", "", b"{}", None, wrong)
    await until(lambda: reasons)
    with pytest.raises(Refused):
        store.append("state", "", b"{}", safety=True)
    with pytest.raises(KeyError):
        await store.close()

    assert "KeyError" in reasons[0]


async def test_the_journals_time_never_falls(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db", now=iter([5, 9, 2, 11]).__next__)
    for _ in range(4):
        store.append("state", "", b"{}")
    await settled(store)
    times = [row.ts async for page in store.replay() for row in page]
    await store.close()
    again = await opened(tmp_path / "j.db", now=iter([3]).__next__)
    again.append("state", "", b"{}")
    await settled(again)
    later = [row.ts async for page in again.replay() for row in page]
    await again.close()

    assert times == [5, 9, 9, 11]
    assert later == [5, 9, 9, 11, 11]


async def test_the_connection_is_durable_and_ours_alone(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    names = ("journal_mode", "synchronous", "locking_mode")

    def read(journal: Journal) -> list[object]:
        return [one(journal.connection, f"PRAGMA {name}") for name in names]

    found = await store._ask(read)
    await store.close()

    assert found == [("wal",), (2,), ("exclusive",)]


# -- logs and pages --------------------------------------------------------------------------------


async def test_entries_of_a_log_are_numbered_from_one_and_survive(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    await life(store, 50)
    await store.close()
    again = await opened(tmp_path / "j.db")
    count, tail = await again.tail("fills", 4)
    middle = await again.logs("fills", 3, 5)
    beyond = await again.logs("fills", 11, 20)
    opened_with = dict(again.opened)
    await again.close()

    assert count == 10
    assert [number for number, _, _ in tail] == [7, 8, 9, 10]
    assert [(number, entry["number"]) for number, _, entry in middle] == [(3, 11), (4, 16), (5, 21)]
    assert beyond == []
    assert opened_with == {"fills": 10, "events": 10, "alerts": 10}


async def test_a_filtered_log_counts_its_own_entries(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    await life(store, 150)
    everything = [entry for _, _, entry in await store.logs("fills", 1, 30)]
    wanted = [entry for entry in everything if entry["symbol"] == "ETH/USDT"]
    only = {"symbol": "ETH/USDT"}
    found = await store.logs("fills", 1, 30, only)
    resumed = await store.logs("fills", 4, 6, only)
    count, tail = await store.tail("fills", 2, only)
    typed = await store.count("events", {"type": "trade_placed", "bot_id": None})
    with pytest.raises(Refused) as refused:
        await store.count("fills", {"colour": "red"})
    await store.close()

    assert [(number, entry) for number, _, entry in found] == list(enumerate(wanted, 1))
    assert [(number, entry) for number, _, entry in resumed] == [
        (number, wanted[number - 1]) for number in (4, 5, 6)
    ]
    assert (count, [number for number, _, _ in tail]) == (10, [9, 10])
    assert typed == 30
    assert refused.value.code is Code.INVALID


async def test_log_times_are_milliseconds_for_the_wire(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    at = 1_790_000_000_123_456_789
    store.append("fill", "o-1", b"{}", None, [Projection("fills", "t-1", at)])
    await settled(store)
    found = await store.logs("fills", 1, 1)
    page = await store.fills()
    await store.close()

    assert found == [(1, 1_790_000_000_123, {})]
    assert page.rows[0].ts == at


async def pages(read: Callable[..., Awaitable[Page]], **arguments: object) -> list[list[str]]:
    """Follow the cursors to the end."""
    cursor, found = None, []
    while True:
        page = await read(cursor=cursor, **arguments)
        found.append([row.key for row in page.rows])
        cursor = page.next_cursor
        if cursor is None:
            return found


async def test_pages_go_from_the_newest_to_the_oldest_and_end(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    await life(store, 55)
    orders = await pages(store.orders, limit=4)
    one_symbol = await pages(store.orders, limit=4, symbol="SOL/USDT")
    fills = await pages(store.fills, limit=5)
    of_order = await pages(store.fills, order_id="o-3")
    events = await store.events(event_type="trade_placed", limit=1)
    errors = await pages(store.alerts, level="error", limit=500)
    between = await pages(store.fills, since=6, until=26)
    ended_between = await pages(store.orders, since=7, until=17)
    await store.close()

    assert orders == [
        [f"o-{n}" for n in group] for group in ((10, 9, 8, 7), (6, 5, 4, 3), (2, 1, 0))
    ]
    assert list(chain(*one_symbol)) == ["o-9", "o-6", "o-3", "o-0"]
    assert [len(page) for page in fills] == [5, 5, 1]
    assert of_order == [["t-17"]]
    assert orjson.loads(events.rows[0].body) == {"type": "trade_placed", "order": "o-10"}
    assert len(events.rows[0].hash) == 64
    assert len(list(chain(*errors))) == 6
    assert between == [["t-22", "t-17", "t-12", "t-7"]]
    assert ended_between == [["o-2", "o-1"]]


async def test_new_rows_shift_no_page(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    made = await life(store, 50)
    first = await store.fills(limit=3)
    for kind, key, body in facts(10):
        made.add(kind, f"new-{key}", body)
    second = await store.fills(limit=3, cursor=first.next_cursor)
    await store.close()

    assert [row.n for row in (*first.rows, *second.rows)] == [10, 9, 8, 7, 6, 5]


async def test_an_acknowledged_alert_says_by_whom(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    for number in (1, 2):
        store.append("alert", f"a-{number}", b"{}", None, [Projection("alerts", f"a-{number}", 1)])
    store.append("ack", "a-1", b"{}", None, [Projection("acks", "a-1", 2, {"acked_by": "alice"})])
    await settled(store)
    both = await store.alerts()
    waiting = await store.alerts(acked=False)
    done = await store.alerts(acked=True)
    await store.close()

    assert [(row.key, row.acked_by) for row in both.rows] == [("a-2", None), ("a-1", "alice")]
    assert [row.key for row in waiting.rows] == ["a-2"]
    assert [row.key for row in done.rows] == ["a-1"]


async def test_an_order_is_found_by_either_id_and_is_as_it_was_last(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    made = await life(store, 10)
    by_key = await store.order(key="o-1")
    by_client = await store.order(client_order_id="c-o-1")
    nobody = await store.order(key="o-99")
    await store.close()

    assert by_key == by_client
    assert by_key is not None
    assert by_key.body == made.bodies[8]
    assert nobody is None


async def test_keyed_rows_come_oldest_first_and_the_newest_when_there_are_too_many(
    tmp_path: Path,
) -> None:
    store = await opened(tmp_path / "j.db")
    for day in range(5):
        project_day = [Projection("days", f"2026-01-0{day}", day)]
        store.append("state", "", fact(day), None, project_day)
    await settled(store)
    everything = await store.rows("days")
    newest = await store.rows("days", limit=2)
    window = await store.rows("days", since=1, until=3)
    await store.close()

    assert [row.ts for row in everything] == [0, 1, 2, 3, 4]
    assert [row.ts for row in newest] == [3, 4]
    assert [row.ts for row in window] == [1, 2]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1e3", "9" * 19, "9" * 40, "\u0661"])
async def test_a_cursor_that_no_page_gave_is_refused(tmp_path: Path, cursor: str) -> None:
    store = await opened(tmp_path / "j.db")
    for read in (store.fills, store.orders):
        with pytest.raises(Refused) as refused:
            await read(cursor=cursor)

        assert refused.value.code is Code.INVALID
    await store.close()


async def test_a_page_of_long_rows_fits_into_a_message_and_loses_none() -> None:
    """Found by a drive: 500 entries of the audit were 1.3 MB, and clients that take 1 MiB were closed."""
    store = await opened(None)
    long = orjson.dumps({"said": "x" * 99_000})
    for number, body in enumerate([long] * 20 + [b"{}"] * 20 + [orjson.dumps("x" * 900_000)]):
        key = f"{number:02d}"
        rows = [Projection("events", key, number), Projection("signals", key, number)]
        store.append("note", key, body, None, [row._replace(body=body) for row in rows])
    await settled(store)
    for read in (store.events, store.signals):
        found = await pages(read, limit=500)
        assert list(chain(*found)) == [f"{number:02d}" for number in reversed(range(41))]
        # What is too long alone comes all the same.
        assert [len(page) for page in found] == [1, 27, 7, 6]
    await store.close()


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_limit_out_of_range_is_refused(tmp_path: Path, limit: int) -> None:
    store = await opened(None)
    for read in (store.fills, store.orders):
        with pytest.raises(Refused, match="1 to 1000"):
            await read(limit=limit)
    await store.close()


async def test_projections_equal_those_computed_again(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    await life(store, 300)

    assert await proof.difference(store, project) is None
    assert "fills" in str(
        await proof.difference(store, lambda row: [] if row.kind == "fill" else project(row))
    )
    assert await proof.difference(store, lambda _: []) is not None
    await store.close()


async def test_two_replays_give_equal_bytes(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        store = await opened(tmp_path / name, now=ticking(), new_id=ids("j1"))
        await life(store, 200)
        digests.append(await proof.digest(store))
        await store.close()

    assert digests[0] == digests[1]


async def test_a_question_that_breaks_is_the_askers_and_the_thread_goes_on(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    with pytest.raises(KeyError, match="nonsense"):
        await store.logs("nonsense", 1, 1)  # type: ignore[arg-type]  # the fault
    written: list[int] = []
    seq = store.append("intent", "o-1", b"{}", written.append)
    await settled(store)
    found = await store.rows("tokens")
    lost = await store.close()

    assert (written, found, lost) == ([seq], [], 0)


async def test_a_nul_in_a_key_or_column_leaves_the_journal_whole(tmp_path: Path) -> None:
    store = await opened(tmp_path / "j.db")
    rows = [
        Projection("orders", "a\0b", 5, {"symbol": "S\0", "client_order_id": "c"}, b'"\\u0000"'),
        Projection("events", "e\0", 5, {"type": "t\0"}, b"{}"),
    ]
    store.append("fact", "bot:\0x", b'{"scope":"bot:\\u0000x"}', project=rows)
    store.append("fact", "plain", b"{}")
    await settled(store)
    order = await store.order(client_order_id="c")
    await store.close()

    assert order is not None
    assert (order.key, order.body) == ("a\N{REPLACEMENT CHARACTER}b", b'"\\u0000"')
    assert verify(tmp_path / "j.db").ok
    again = await opened(tmp_path / "j.db")
    found = [(row.key, row.body) async for page in again.replay() for row in page]
    await again.close()
    assert found[0] == ("bot:\N{REPLACEMENT CHARACTER}x", b'{"scope":"bot:\\u0000x"}')


async def test_a_long_table_is_read_in_pages_between_commits(tmp_path: Path) -> None:
    """Found with 50,000 samples of equity: one question held up the rows of orders for 370 ms."""
    store = await opened(tmp_path / "j.db", sizes=Sizes(ballast=4096, page=7))
    for number in range(30):
        # Three of each time: pages end between equal ones.
        made = Projection("equity", f"{number:02d}", number // 3)
        store.append("Equity", f"{number:02d}", b"{}", None, [made])
    await settled(store)
    asked = asyncio.create_task(store.rows("equity"))
    await asyncio.sleep(0)
    second = asyncio.create_task(store.count("fills"))
    second.add_done_callback(lambda _: order.append(asked.done()))
    order: list[bool] = []
    whole = await asked
    await second
    newest = await store.rows("equity", limit=10)
    window = await store.rows("equity", since=2, until=9, limit=20)
    await store.close()

    keys = [f"{number:02d}" for number in range(30)]
    assert order == [False]
    assert [entry.key for entry in whole] == keys
    assert [entry.key for entry in newest] == keys[-10:]
    assert [entry.key for entry in window] == keys[7:27]
