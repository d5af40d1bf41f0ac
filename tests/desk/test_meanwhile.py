"""What prices did while the process was down, as the desk asks for it (trading B7)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from realtime.desk.meanwhile import LEAD, MOST, PATIENCE_S
from realtime.desk.recovery import DOWN
from realtime.model.errors import Code, Failure, Refused, VenueRejected, VenueUnknown
from realtime.model.events import Ack
from realtime.model.market import SECOND, Bar
from realtime.model.orders import Approved, OrderType, TriggerBy
from realtime.store.store import Store
from tests.fakes import BTC, BUY, ScriptedVenue, World, until


MINUTE = 60 * SECOND
AWAY = 600
"""Seconds that pass between two lives."""


class Seer(ScriptedVenue):
    """A venue that takes no stops, and tells what prices did.

    Attributes:
        told: What it answers: bars (low, high) of each minute from the first whole one of the gap on, or no bars.
        lead: Whether bars of before the gap are told as well; `tail`: whether those up to now are.
        failures: What it answers first.
        silent: Whether it never answers.
        asked_for: Symbols, prices and times that it was asked about.
    """

    slept = False

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str]] | None = []
        self.lead = self.tail = True
        self.failures: list[Failure] = []
        self.silent = False
        self.asked_for: list[tuple[str, TriggerBy, int]] = []

    async def submit(self, approved: Approved) -> Ack:
        if approved.order.type is OrderType.STOP:
            self.submitted.append(approved.order.client_order_id)
            raise VenueRejected(Code.VENUE_REJECTED, "no stops here")
        return await super().submit(approved)

    async def past(self, symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        self.asked_for.append((symbol, by, since))
        if self.silent:
            await asyncio.sleep(3600)
        if self.failures:
            raise self.failures.pop(0)
        if self.told is None:
            return None
        first = since + LEAD
        rows = [("64000", "64000")] * 10 + self.told
        made = [
            Bar(first - LEAD + number * MINUTE, high, high, low, "64000", "1")
            for number, (low, high) in enumerate(rows)
        ]
        if self.tail:
            now = self._now() // MINUTE * MINUTE
            made += [
                Bar(ts, "64000", "64000", "64000", "64000", "0")
                for ts in range(made[-1].ts + MINUTE, now + 1, MINUTE)
            ]
        return made if self.lead else [bar for bar in made if bar.ts > first]


def world(path: Path) -> tuple[World, Seer]:
    made, venue = World(path / "j.db"), Seer()
    made.venue = venue
    return made, venue


async def protected(made: World, *, watched: bool = True) -> None:
    """Hold something whose stop we watch ourselves, because the venue takes none."""
    await made.call("order.place", **BUY, stop_loss="60000", client_order_id="g-1")
    made.venue.fill("g-1")
    if watched:
        await until(lambda: bool(made.system.desk.engine._applier.legs.watches))
    await made.system.desk.settled()


def later(made: World, seconds: float = AWAY) -> None:
    """Let time pass while nobody lives."""
    made.wall += int(seconds * SECOND)


async def away(path: Path, seconds: float = AWAY) -> tuple[World, Seer]:
    """A server that held something whose stop it watched itself, and is dead since."""
    made, venue = world(path)
    async with made.life():
        await protected(made)
    later(made, seconds)
    return made, venue


async def alerts(made: World) -> list[dict[str, Any]]:
    reply = await made.call("alert.list", limit=500)
    assert reply.result is not None
    found = reply.result["alerts"]
    assert isinstance(found, list)
    told = [
        alert for alert in found if alert["code"] in {"protection_missed", "protection_unknown"}
    ]
    return told[::-1]


async def rows(store: Store) -> list[bytes]:
    """The bodies of the journal's rows on since when nobody has watched."""
    return [row.body async for page in store.replay() for row in page if row.kind == DOWN]


async def test_a_stop_that_was_passed_in_the_gap_is_told_and_one_that_is_passed_now_fires(
    tmp_path: Path,
) -> None:
    """trading:B7."""
    made, venue = await away(tmp_path)
    venue.told = [("64000", "64000"), ("59000", "64000")]
    sent = len(venue.submitted)

    async with made.life() as system:
        (alert,) = await alerts(made)
        assert (alert["code"], alert["level"]) == ("protection_missed", "critical")
        assert "g-1" in alert["text"]
        await asyncio.sleep(5)
        assert len(venue.submitted) == sent
        assert system.desk.engine._applier.legs.watches
        ((symbol, by, since),) = venue.asked_for
        assert (symbol, by) == (BTC, TriggerBy.LAST)
        assert since % MINUTE == 0
        assert [body == b"null" for body in await rows(made.system.store)] == [False, True]
    async with made.life():
        assert len(await alerts(made)) == 1  # a new life has a gap of its own


@pytest.mark.parametrize(
    ("fields", "why", "asked"),
    [
        ({"failures": [VenueUnknown("away")] * 3}, "away", 3),
        ({"failures": [Refused(Code.NOT_SUPPORTED, "none here")] * 3}, "none here", 1),
        ({"failures": [VenueRejected(Code.BUSY, "one"), VenueUnknown("two")]}, "", 3),
        ({"silent": True}, "no answer in time", 1),
        ({"lead": False}, "do not reach back", 1),
        ({"tail": False}, "end too early", 1),
        ({"told": None}, "", 1),
    ],
    ids=["no answer", "not supported", "the third time", "hangs", "too late", "too early", "still"],
)
async def test_what_cannot_be_had_is_told_and_holds_nothing_up_for_long(
    tmp_path: Path, fields: dict[str, Any], why: str, asked: int
) -> None:
    """trading:B7: nobody guesses, and nobody waits for ever."""
    made, venue = await away(tmp_path, 1200)
    for name, value in fields.items():
        setattr(venue, name, list(value) if isinstance(value, list) else value)
    began = asyncio.get_running_loop().time()

    async with made.life():
        assert asyncio.get_running_loop().time() - began < PATIENCE_S + 1
        assert len(venue.asked_for) == asked
        told = await alerts(made)

    assert [alert["code"] for alert in told] == (["protection_unknown"] if why else [])
    assert all(why in alert["text"] for alert in told)


async def test_no_bars_at_all_are_no_bars_in_which_nothing_happened(tmp_path: Path) -> None:
    made, venue = await away(tmp_path)

    async def nothing(_symbol: str, _by: TriggerBy, _since: int) -> Sequence[Bar]:
        return ()

    venue.past = nothing  # type: ignore[method-assign, assignment]
    async with made.life():
        (alert,) = await alerts(made)
        assert "tells no bars" in alert["text"]


async def test_nobody_is_asked_where_nothing_hangs_on_it_or_no_minute_has_passed(
    tmp_path: Path,
) -> None:
    made, venue = world(tmp_path)
    async with made.life():
        await made.system.desk.settled()
    later(made)
    async with made.life():
        assert venue.asked_for == []
        assert await rows(made.system.store) == []
        await protected(made)
    later(made, 1)
    async with made.life():
        assert venue.asked_for == []
        assert [body == b"null" for body in await rows(made.system.store)] == [False, True]


async def test_a_gap_longer_than_anybody_tells_is_asked_about_as_far_as_it_is_told(
    tmp_path: Path,
) -> None:
    made, venue = await away(tmp_path, 5 * 86_400)
    async with made.life() as system:
        ((_, _, since),) = venue.asked_for
        assert system.clock.now() - since < MOST + LEAD + MINUTE
        (alert,) = await alerts(made)
        assert "do not reach back" in alert["text"]


async def test_a_doubt_that_comes_while_it_is_asked_about_makes_the_gap_longer(
    tmp_path: Path,
) -> None:
    """Nobody watches until the account is ready, and that is asked about as well."""
    made, venue = await away(tmp_path)
    past, doubts = venue.past, [True]

    async def doubtful(symbol: str, by: TriggerBy, since: int) -> Sequence[Bar] | None:
        if doubts.pop():
            made.system.reconciler.trust(False, "the stream is away")
            doubts.append(False)
        return await past(symbol, by, since)

    venue.past = doubtful  # type: ignore[method-assign]
    async with made.life(ready=False) as system:
        await until(lambda: len(venue.asked_for) == 1)
        await asyncio.sleep(300)
        venue.told = [("59000", "64000")]
        system.reconciler.trust(True, "")
        await until(lambda: system.reconciler.ready)

        first, second = (since for _, _, since in venue.asked_for)
        assert second - first >= AWAY * SECOND - MINUTE
        (alert,) = await alerts(made)
        assert alert["code"] == "protection_missed"
        assert [body == b"null" for body in await rows(made.system.store)] == [False, True]


async def test_a_start_that_comes_to_nothing_forgets_nothing_of_the_gap(tmp_path: Path) -> None:
    """It is asked about since the last word of the process that was ready."""
    made, venue = world(tmp_path)
    async with made.life():
        await protected(made)
        word = made.system.clock.now()
    for _ in range(2):
        later(made)
        venue.reachable = False
        async with made.life(ready=False):
            await asyncio.sleep(90)
        venue.deaf()
    venue.reachable = True
    later(made)

    async with made.life():
        ((_, _, since),) = venue.asked_for
        assert since + LEAD <= word + MINUTE
        assert [body == b"null" for body in await rows(made.system.store)] == [False, True]
