"""Leases: one holder, renewal by saying so, lapse in its own step."""

import asyncio
from dataclasses import replace

import pytest

from realtime.bots.leases import Lease, Leases
from realtime.model.errors import Code, Refused
from realtime.model.market import SECOND


def made() -> tuple[Leases, list[Lease]]:
    loop = asyncio.get_running_loop()
    lapsed: list[Lease] = []
    now = lambda: int(loop.time() * SECOND)  # noqa: E731 - one line of a clock
    return Leases(loop=loop, now=now, lapsed=lapsed.append), lapsed


async def test_it_lapses_when_it_is_not_renewed() -> None:
    leases, lapsed = made()
    leases.take("b", "alice", "prog", 30)
    await asyncio.sleep(29)
    leases.take("b", "alice", "prog", 30)
    await asyncio.sleep(29)

    assert lapsed == []
    await asyncio.sleep(2)
    assert [lease.bot_id for lease in lapsed] == ["b"]
    assert leases.get("b") is None


async def test_only_its_holder_may_act_or_renew() -> None:
    leases, _ = made()
    leases.take("b", "alice", "prog", 30)
    for other in (("alice", "other"), ("bob", "prog")):
        with pytest.raises(Refused) as refused:
            leases.take("b", *other, 30)
        assert refused.value.code is Code.CONFLICT
        assert refused.value.retry_after == 30
        with pytest.raises(Refused):
            leases.check("b", *other)

    assert leases.check("b", "alice", "prog").seconds == 30


async def test_released_or_stopped_it_lapses_no_more_and_restored_it_does() -> None:
    leases, lapsed = made()
    lease = leases.take("b", "alice", "prog", 30)
    leases.release("b")
    leases.release("b")
    leases.restore(replace(lease, expires_ts=0))
    leases.stop()
    await asyncio.sleep(60)

    assert lapsed == []
    assert leases.get("b") is not None
    leases.restore(lease)
    await asyncio.sleep(31)
    assert len(lapsed) == 1
