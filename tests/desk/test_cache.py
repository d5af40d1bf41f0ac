"""Answers of venues that are kept for a while."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from realtime.desk import cache as cache_module
from realtime.desk.cache import Cache
from realtime.model.errors import Code, Refused


class Asked:
    """A venue that counts its questions."""

    def __init__(self, *, takes_s: float = 0.0, fails: int = 0) -> None:
        self.times = 0
        self.takes_s = takes_s
        self.fails = fails

    async def __call__(self) -> int:
        self.times += 1
        mine = self.times
        await asyncio.sleep(self.takes_s)
        if mine <= self.fails:
            raise Refused(Code.VENUE_UNAVAILABLE, "not now")
        return mine


def cache() -> Cache:
    return Cache(loop=asyncio.get_running_loop(), now=lambda: 5_000_000, ttl={"status": 10.0})


async def test_an_answer_is_kept_as_long_as_its_kind() -> None:
    kept, ask = cache(), Asked()
    first = await kept.get("status", "x", ask)
    second = await kept.get("status", "x", ask)
    other = await kept.get("status", "y", ask)
    await asyncio.sleep(10)
    late = await kept.get("status", "x", ask)
    unknown = await kept.get("nonsense", "x", ask)

    assert (first, second, other, late, unknown) == (1, 1, 2, 3, 4)


async def test_of_many_who_ask_at_a_time_one_asks_the_venue() -> None:
    kept, ask = cache(), Asked(takes_s=1)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(kept.get("order", "7", ask)) for _ in range(50)]

    assert {task.result() for task in tasks} == {1}
    assert ask.times == 1
    row = kept.row()
    assert (row["hits"], row["misses"], row["requests_saved"]) == (49, 1, 49)
    assert row["hit_rate"] == row["load_reduction"] == 0.98


async def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    kept, ask = cache(), Asked(takes_s=1, fails=1)
    told = await asyncio.gather(
        *(kept.get("order", "7", ask) for _ in range(3)), return_exceptions=True
    )
    again = await kept.get("order", "7", ask)

    assert [type(answer) for answer in told] == [Refused] * 3
    assert again == 2


async def test_who_asked_and_left_does_not_leave_the_others_without_an_answer() -> None:
    kept, ask = cache(), Asked(takes_s=1)
    first = asyncio.ensure_future(kept.get("order", "7", ask))
    second = asyncio.ensure_future(kept.get("order", "7", ask))
    await asyncio.sleep(0.5)
    first.cancel()

    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_orders_and_fills_make_old_what_they_change() -> None:
    kept, ask, slow = cache(), Asked(), Asked(takes_s=1)
    await kept.get("balance", "x", ask)
    await kept.get("markets", "x", ask)
    on_its_way = asyncio.ensure_future(kept.get("position", "x", slow))
    await asyncio.sleep(0.5)
    kept.invalidate()

    assert await on_its_way == 1
    assert await kept.get("position", "x", slow) == 2
    assert await kept.get("balance", "x", ask) == 3
    assert await kept.get("markets", "x", ask) == 2


async def test_ended_answers_are_dropped_and_counted() -> None:
    kept, ask = cache(), Asked()
    await kept.get("status", "x", ask)
    await kept.get("markets", "x", ask)
    await kept.get("balance", "x", ask)
    before = kept.row()
    await asyncio.sleep(11)
    kept.clean()
    row = kept.row()

    assert before["by_type"] == {"critical": 1, "standard": 1, "volatile": 1}
    assert before["cleanup"] == {"last_ts": None, "removed": 0}
    assert row["total_entries"] == 2
    assert row["cleanup"] == {"last_ts": 5, "removed": 1}
    assert {e["key"]: e["remaining_ttl_s"] for e in row["most_accessed"]} == {  # type: ignore[attr-defined]
        "markets:x": 7189.0,
        "balance:x": 79.0,
    }


async def test_the_cache_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MOST", 2)
    kept, ask = cache(), Asked()
    asks: Callable[[], Awaitable[int]] = ask
    for key in ("markets", "status", "other"):
        await kept.get(key, "x", asks)

    assert {e["key"] for e in kept.row()["most_accessed"]} == {"markets:x", "other:x"}  # type: ignore[attr-defined]


async def test_a_cache_that_nobody_asked_has_no_rate() -> None:
    assert cache().row()["hit_rate"] is None
