"""The cancels of a halt by themselves: what they are about, and what proves that they worked (K5, K6)."""

import asyncio
from collections import deque
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from realtime.desk.sweep import Sweep, Sweeps
from realtime.model.errors import Code, Refused, VenueUnknown
from realtime.model.events import Cancel
from realtime.model.orders import Order, Role, Status
from tests.engine.kit import BTC, Kit


ORDER = Kit().draft(BTC, "buy", "1", price="60000", id="o-1", status=Status.OPEN)
SINCE = ORDER.created_ts


def sweep(scope: str = "all", *, legs: bool = False, since: int = SINCE) -> Sweep:
    return Sweep(scope=scope, legs=legs, subject="alice", since=since)


def order(**more: Any) -> Order:
    return Kit().draft(BTC, "buy", "1", **({"status": Status.OPEN} | more))


def test_it_covers_what_works_and_was_there_when_the_halt_began() -> None:
    assert sweep().covers(ORDER)
    assert not sweep(since=SINCE - 1).covers(ORDER)
    assert not sweep().covers(order(status=Status.CANCELED))
    assert not sweep().covers(order(external=True))


def test_protection_stays_unless_it_is_to_go_and_then_goes_whenever_it_was_placed() -> None:
    stop = order(role=Role.STOP_LOSS)

    assert not sweep().covers(stop)
    assert sweep(legs=True).covers(stop)
    assert sweep(legs=True, since=SINCE - 1).covers(stop)
    assert not sweep(legs=True, since=SINCE - 1).covers(order())


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (f"symbol:{BTC}", True),
        ("symbol:ETH/USDT", False),
        ("bot:b", True),
        ("bot:c", False),
        ("venue:paper", True),
        ("venue:kraken", False),
    ],
)
def test_it_covers_its_scope(scope: str, *, covered: bool) -> None:
    assert sweep(scope).covers(order(bot_id="b")) is covered


class Bench:
    """A sweep at a venue that shows what it is told: nothing, an order that works, or no answer."""

    def __init__(self, *shows: str) -> None:
        self.shows = deque(shows)
        self.takes = 0.0
        self.full = False
        self.lost: list[bool] = []
        self.works: list[Order] = []
        self.rows: list[dict[str, Any]] = []
        self.shown: list[bool] = []
        self.canceled: list[str] = []
        self.alarms: list[tuple[Any, ...]] = []
        self._tasks: list[asyncio.Future[None]] = []
        desk: Any = SimpleNamespace(
            store=SimpleNamespace(append=self._append),
            engine=SimpleNamespace(orders=SimpleNamespace(working=lambda: self.works)),
            alert=lambda *alarm: self.alarms.append(alarm),
            no_room=lambda: self.lost.append(True),
            gate=SimpleNamespace(handed=()),
            post=self._post,
            now=lambda: SINCE,
        )
        venue: Any = SimpleNamespace(open_orders=self._open_orders)
        crew: Any = SimpleNamespace(
            spawn=lambda work, _name: self._tasks.append(asyncio.ensure_future(work))
        )
        self.sweeps = Sweeps(
            desk=desk, venue=venue, crew=crew, show=self.shown.append, timeout_s=10
        )

    def _append(self, _kind: str, _key: str, body: bytes, *, safety: bool) -> None:
        assert safety
        if self.full:
            raise Refused(Code.BUSY, "too many rows wait")
        self.rows.append(orjson.loads(body))

    def _post(self, event: Cancel) -> None:
        self.canceled.append(event.order_id)

    async def _open_orders(self) -> Sequence[Any]:
        show = self.shows.popleft()
        if self.takes:
            await asyncio.sleep(self.takes)
        if show == "silence":
            raise VenueUnknown("no answer")
        self.works = [ORDER] if show == "order" else []
        if show == "again":
            self.sweeps.begin(sweep())
        return []

    async def end(self) -> None:
        await asyncio.gather(*self._tasks)


@pytest.mark.parametrize(
    ("shows", "asked"),
    [
        (("nothing", "nothing"), 2),
        (("order", "nothing", "nothing"), 3),
        (("nothing", "order", "nothing", "nothing"), 4),
        (("silence", "nothing", "silence", "nothing"), 4),
    ],
    ids=str,
)
async def test_two_valid_answers_in_a_row_end_it_and_nothing_less(
    shows: tuple[str, ...], asked: int
) -> None:
    bench = Bench(*shows, "nothing", "nothing")
    bench.sweeps.begin(sweep())
    await bench.end()

    assert len(shows) + 2 - len(bench.shows) == asked
    assert bench.canceled == ["o-1"] * shows.count("order")
    assert bench.shown == [True, False]
    assert [row["running"] for row in bench.rows] == [True, False]


async def test_one_that_begins_behind_the_last_question_is_proven_by_answers_of_its_own() -> None:
    """Found by a review: the old one ended then, and the new one was under way for ever and never looked."""
    bench = Bench("nothing", "again", "order", "nothing", "nothing")
    bench.sweeps.begin(sweep())
    await bench.end()

    assert not bench.shows
    assert bench.canceled == ["o-1"]
    assert bench.shown[-1] is False
    assert [row["running"] for row in bench.rows] == [True, True, False]


async def test_one_that_begins_between_two_answers_takes_two_of_its_own() -> None:
    bench = Bench(*["nothing"] * 4)
    bench.sweeps.begin(sweep())
    await asyncio.sleep(0.2)
    bench.sweeps.begin(sweep())
    await bench.end()

    assert len(bench.shows) == 1


async def test_one_that_is_resumed_and_begins_again_looks_once_at_a_time() -> None:
    bench = Bench(*["nothing"] * 3)
    bench.sweeps.begin(sweep())
    await asyncio.sleep(0)
    bench.sweeps.end("all")
    bench.sweeps.begin(sweep())
    await bench.end()

    assert [row["running"] for row in bench.rows] == [True, False, True, False]


async def test_what_a_restart_has_to_finish_narrows_no_halt_that_came_before_it() -> None:
    bench = Bench("nothing", "nothing")
    bench.sweeps.begin(sweep())
    bench.sweeps.begin(sweep(since=SINCE - 1))
    await bench.end()

    assert {row["since"] for row in bench.rows} == {SINCE}


async def test_resuming_everything_does_not_spare_the_orders_of_a_client_that_fell_silent() -> None:
    """Found by a review: a lost cancel of a dead man's switch was forgotten by the resume of some other halt."""
    bench = Bench("nothing", "nothing")
    bench.sweeps.begin(sweep(f"client:{ORDER.subject}/{ORDER.client}"))
    bench.sweeps.begin(sweep())
    bench.sweeps.end("all")
    bench.shows = deque(["order", "nothing", "nothing"])
    await bench.end()

    assert bench.canceled == ["o-1"]


async def test_a_second_switch_that_keeps_protection_does_not_lose_it_by_the_first() -> None:
    """Found by a review: the stop of a position of later was cancelled, as the first switch had asked."""
    bench = Bench(*["nothing"] * 4)
    bench.sweeps.begin(sweep("account", legs=True, since=SINCE - 1))
    bench.sweeps.begin(sweep("account"))
    await bench.end()
    later = order(role=Role.STOP_LOSS)
    first, second, *over = (Sweep(**row) for row in bench.rows)

    assert not first.covers(later)
    assert not second.covers(later)
    assert first.covers(order(role=Role.STOP_LOSS, created_ts=SINCE - 1))
    assert second.covers(order())
    assert [row.running for row in over] == [False, False]


@pytest.mark.parametrize("scope", ["account", "all"])
async def test_a_venue_that_refuses_for_hours_is_not_stormed(scope: str) -> None:
    """That of a halt was: two cancels a second for each order, and four rows of the journal, for as long as it stood."""
    bench = Bench(*["order"] * 10_000)
    bench.sweeps.begin(sweep(scope))
    await asyncio.sleep(600)

    assert 20 < len(bench.canceled) < 100
    assert 55 < len(bench.alarms) < 65
    bench.shows = deque(["nothing", "nothing"])
    await bench.end()
    assert bench.rows[-1]["running"] is False


async def test_a_second_halt_looks_at_once_where_the_first_one_looks_seldom() -> None:
    bench = Bench(*["order"] * 10_000)
    bench.sweeps.begin(sweep())
    await asyncio.sleep(605)
    bench.canceled.clear()
    bench.sweeps.begin(sweep(legs=True))
    await asyncio.sleep(5)

    assert 5 < len(bench.canceled) < 15
    bench.sweeps.end("all")
    await bench.end()


async def test_one_that_is_resumed_while_it_looks_seldom_is_begun_anew_at_once() -> None:
    bench = Bench(*["order"] * 10_000)
    bench.sweeps.begin(sweep())
    await asyncio.sleep(605)
    bench.sweeps.end("all")
    bench.canceled.clear()
    bench.sweeps.begin(sweep())
    bench.shows = deque(["order", "nothing", "nothing"])
    began = asyncio.get_running_loop().time()
    await bench.end()

    assert bench.canceled == ["o-1"]
    assert asyncio.get_running_loop().time() - began < 5


async def test_switches_of_many_clients_that_fire_at_once_share_what_they_ask() -> None:
    """Found by a review: each asked for itself, and a venue has few questions to give: most were never answered."""
    bench = Bench("silence", "silence", *["nothing"] * 100)
    bench.takes = 0.2
    for number in range(30):
        bench.sweeps.begin(sweep(f"client:alice/bot-{number}"))
    await bench.end()

    assert 102 - len(bench.shows) <= 8
    assert [row["running"] for row in bench.rows] == [True] * 30 + [False] * 30


async def test_a_journal_without_room_stops_no_cancel() -> None:
    """Found by a review: the sweep was noted and never looked, and the switch that had fired told nobody."""
    bench = Bench("order", "nothing", "nothing")
    bench.full = True
    bench.sweeps.begin(sweep("account"))
    await bench.end()

    assert bench.canceled == ["o-1"]
    assert bench.rows == []
    assert bench.lost == [True, True]  # its begin and its end: no halt is called kept by them
