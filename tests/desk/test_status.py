"""The channel `status`: whoever reads it has what `system.status` would answer, without asking."""

import asyncio
import re
from functools import partial
from typing import Any

import pytest

from tests.fakes import World, until
from tests.server.front import Socket


async def venue_of(socket: Socket) -> dict[str, Any]:
    """The venue's row by the newest message, after what a second may bring."""
    await asyncio.sleep(2.5)
    await socket.call("ping")
    socket.waiting()
    told = [m for m in socket.read if m.get("channel") == "status"]
    row: dict[str, Any] = told[-1]["data"]["venues"][0]
    return row


@pytest.mark.parametrize("word", ["degraded", "down"])
async def test_what_a_venue_says_of_itself_is_told_to_who_reads_status(word: str) -> None:
    """Found by a drive: only `maintenance` was; a venue that calls itself down stayed `ok` on the channel."""
    world = World()
    async with world.life() as system, Socket(system.front) as socket:
        await socket.call("subscribe", channels=["status"])
        said: dict[str, object] = {}
        system.status.accounts[0].more = lambda: said
        assert (await venue_of(socket))["status"] == "ok"
        said["status"] = word
        assert (await venue_of(socket))["status"] == word
        said.clear()
        assert (await venue_of(socket))["status"] == "ok"


async def test_a_venue_that_does_not_answer_is_why_an_account_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a drive: the reason of a time-out was empty, so nothing said what was waited for."""
    world = World()
    monkeypatch.setattr(world.venue, "open_orders", partial(asyncio.sleep, 3600))
    async with world.life(ready=False) as system:
        await until(lambda: bool(system.reconciler.why), within=120)

        unready, why = system.status.reasons()
        assert unready == "the account is not reconciled"
        assert re.fullmatch(r"paper: no answer within \d+ s", why)
