"""Numbers that rise: over restarts, clocks set back and refusals; and who signs next (V4)."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from realtime.model.errors import Code, Refused
from realtime.venues.ccxt.account import Secret
from realtime.venues.ccxt.nonces import BLOCK, Forgetful, Nonces, unit_of
from realtime.venues.ccxt.way import Lane, lane


KEY = Secret("a-long-enough-key-1234")
MINUTE = 60_000_000_000


class Wall:
    """A clock that anybody sets [ns]."""

    def __init__(self, now: int = 1_700_000_000_000_000_000) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class Slow(Forgetful):
    """A ledger that takes its time, or is full."""

    def __init__(self, takes_s: float = 0.0) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.full = False
        self.asked = 0

    async def reserve(self, key: str, upto: int) -> None:
        self.asked += 1
        await asyncio.sleep(self.takes_s)
        if self.full:
            raise Refused(Code.BUSY, "too many rows wait")
        await super().reserve(key, upto)


def nonces(
    wall: Callable[[], int],
    ledger: Forgetful | None = None,
    *,
    unit: int = 1_000,
    rising: bool = True,
    offset: float | None = None,
) -> Nonces:
    return Nonces(
        KEY,
        "f00d",
        unit=unit,
        rising=rising,
        now=wall,
        ledger=ledger or Forgetful(),
        loop=asyncio.get_running_loop(),
        offset_ms=lambda: offset,
    )


async def signed(keys: Nonces) -> int:
    await keys.enter()
    number = keys.next()
    keys.leave()
    assert number is not None
    return number


@pytest.mark.parametrize("unit", [1, 1_000, 1_000_000, 1_000_000_000])
async def test_a_number_is_the_clock_in_the_venues_unit_or_one_more_than_the_last(
    unit: int,
) -> None:
    wall = Wall()
    keys = nonces(wall, unit=unit)
    first, second = await signed(keys), await signed(keys)
    wall.now += MINUTE
    later = await signed(keys)

    assert first == 1_700_000_000 * unit
    assert second == first + 1
    assert later == first + 60 * unit


async def test_a_clock_set_back_repeats_nothing_not_even_after_a_restart() -> None:
    wall, ledger = Wall(), Forgetful()
    keys = nonces(wall, ledger)
    last = [await signed(keys) for _ in range(5)][-1]
    wall.now -= 60 * MINUTE
    behind = await signed(keys)
    again = nonces(wall, ledger)
    restarted = await signed(again)

    assert behind == last + 1
    assert restarted > behind
    assert restarted <= behind + 2 * BLOCK


@given(
    steps=st.lists(
        st.tuples(st.integers(-10_000_000_000, 10_000_000_000), st.booleans(), st.booleans()),
        max_size=40,
    )
)
@settings(max_examples=60, deadline=None)
def test_numbers_rise_whatever_the_clock_does_and_whenever_it_dies(
    steps: list[tuple[int, bool, bool]],
) -> None:
    async def life() -> list[int]:
        wall, ledger = Wall(), Forgetful()
        keys, numbers = nonces(wall, ledger), list[int]()
        for moved, dies, by_socket in steps:
            wall.now += moved
            if dies:
                keys = nonces(wall, ledger)
            if by_socket:
                number = keys.next()
                assert number is not None
                numbers.append(number)
                await asyncio.sleep(0)  # its row reaches the journal
            else:
                numbers.append(await signed(keys))
            assert numbers[-1] < (ledger.last("f00d") or 0)
        return numbers

    numbers = asyncio.run(life())

    assert numbers == sorted(set(numbers))


async def test_the_journal_is_written_once_a_block() -> None:
    ledger = Slow()
    keys = nonces(Wall(), ledger)
    for _ in range(BLOCK):
        await signed(keys)

    assert ledger.asked == 1
    await signed(keys)
    assert ledger.asked == 2


async def test_one_signs_at_a_time_and_the_most_urgent_next() -> None:
    keys, order = nonces(Wall()), list[str]()

    async def call(name: str, urgency: Lane) -> None:
        with lane(urgency):
            await keys.enter()
            order.append(f"{name} signs")
            keys.next()
            await asyncio.sleep(1)
            order.append(f"{name} is answered")
            keys.leave()

    async with asyncio.TaskGroup() as group:
        group.create_task(call("a poll", Lane.POLL))
        await asyncio.sleep(0.1)
        group.create_task(call("an entry", Lane.ENTRY))
        await asyncio.sleep(0)
        gone = group.create_task(call("one who leaves", Lane.CANCEL))
        group.create_task(call("a cancel", Lane.CANCEL))
        await asyncio.sleep(0)
        assert keys.row()["queue_depth"] == 3
        gone.cancel()

    assert order == [
        f"{who} {does}"
        for who in ("a poll", "a cancel", "an entry")
        for does in ("signs", "is answered")
    ]
    row = keys.row()
    assert row["key"] == "***1234"
    assert row["issued"] == 3
    assert row["queue_depth"] == 0
    assert row["callers"] == {"poll": 1, "entry": 1, "cancel": 2}
    assert row["wait_p50_ms"] == 900
    assert row["wait_p99_ms"] == 1900
    assert [entry["caller"] for entry in keys.recent] == ["poll", "cancel", "entry"]


async def test_one_who_leaves_as_his_turn_comes_hands_it_on() -> None:
    keys = nonces(Wall())
    await keys.enter()
    waiting = asyncio.create_task(keys.enter())
    after = asyncio.create_task(keys.enter())
    await asyncio.sleep(0)
    keys.leave()
    waiting.cancel()
    await asyncio.wait([waiting, after])

    assert waiting.cancelled()
    assert after.exception() is None


async def test_without_a_journal_nothing_is_signed() -> None:
    ledger = Slow()
    ledger.full = True
    keys = nonces(Wall(), ledger)
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            await keys.enter()

        assert refusal.value.code is Code.BUSY
    ledger.full = False
    assert await signed(keys)


class InvalidNonce(Exception):
    """What a venue says of a number that is too small."""


async def test_a_refused_read_is_repeated_with_a_number_beyond_what_the_venue_has_seen() -> None:
    wall = Wall()
    keys = nonces(wall, offset=30_000)
    seen = [wall.now // 1_000_000 + 35_000]

    async def ask() -> int:
        number = await signed(keys)
        if number <= seen[-1]:
            keys.refused()  # as the way of a request does
            raise InvalidNonce
        seen.append(number)
        return number

    number = await keys.reading(ask, InvalidNonce)

    assert number > seen[0]
    assert (keys.rejected, keys.retried) == (1, 1)
    assert keys.row()["clock_offset_ms"] == 30_000


async def test_a_venue_that_refuses_every_number_is_asked_three_times() -> None:
    keys, asked = nonces(Wall()), list[int]()

    async def ask() -> int:
        asked.append(await signed(keys))
        raise InvalidNonce

    with pytest.raises(InvalidNonce):
        await keys.reading(ask, InvalidNonce)

    assert len(asked) == 3
    assert asked == sorted(asked)


async def test_where_numbers_need_not_rise_requests_are_only_counted() -> None:
    ledger = Slow()
    keys = nonces(Wall(), ledger, rising=False)
    await keys.enter()
    await keys.enter()
    keys.leave()

    assert keys.next() is None
    assert ledger.asked == 0
    assert keys.row()["issued"] == 0
    assert keys.row()["last_nonce"] is None
    assert keys.row()["callers"] == {"poll": 2}


@pytest.mark.parametrize(
    ("nonce", "unit"),
    [
        (1_700_000_000, 1),
        (1_700_000_000_000, 1_000),
        (1_700_000_000_000_000, 1_000_000),
        (1_700_000_000_000_000_000, 1_000_000_000),
    ],
)
def test_the_unit_is_told_by_the_number_of_digits(nonce: int, unit: int) -> None:
    assert unit_of(nonce) == unit
