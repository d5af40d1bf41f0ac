"""Monitoring: through the registry of a whole system, and its channel over a real socket."""

import asyncio
from typing import Any

from realtime.desk.monitor import peak_kb
from realtime.model.durations import Durations
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests.fakes import BTC, World


VIEWER = Principal(subject="vera", scopes=ROLES["viewer"])
OPS = ("connections", "cache", "latency", "metrics", "nonce")


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def test_percentiles_are_those_of_the_newest_samples() -> None:
    durations = Durations()
    empty = durations.row()
    for ms in range(2000):
        durations.add(ms / 1000)

    assert empty == {"p50_ms": None, "p99_ms": None, "max_ms": None, "sum_ms": 0, "samples": 0}
    assert durations.row() == {
        "p50_ms": 1487.0,
        "p99_ms": 1989.0,
        "max_ms": 1999.0,
        "sum_ms": 1_999_000.0,
        "samples": 2000,
    }


def test_memory_is_what_the_system_says() -> None:
    peak = peak_kb()

    assert peak is None or peak > 1000


async def test_only_an_admin_sees_how_the_server_is_doing() -> None:
    world = World()
    async with world.life():
        for op in OPS:
            assert (await world.call(f"monitoring.{op}", who=VIEWER)).code is Code.FORBIDDEN
            assert result(await world.call(f"monitoring.{op}"))


async def test_the_way_of_an_order_is_measured_and_counted() -> None:
    world = World()
    async with world.life():
        before = result(await world.call("monitoring.metrics"))
        buy: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
        assert (await world.call("order.place", **buy)).ok
        await asyncio.sleep(2)
        after = result(await world.call("monitoring.metrics"))
        latency = result(await world.call("monitoring.latency"))

        assert after["orders"]["fills"] == before["orders"]["fills"] + 1
        assert after["journal"]["seq"] > before["journal"]["seq"]
        assert after["venue"]["events"] > before["venue"]["events"]
        assert after["calls"]["in_flight"] == 0
        assert latency["order_to_ack"]["samples"] == 1
        assert latency["order_to_ack"]["max_ms"] >= 0
        assert latency["loop_lag"]["samples"] >= 3
        assert latency["hub_to_socket"]["samples"] > 0
        legs = {"exchange_to_server", "venue_to_hub", "order_to_ack"}
        assert set(latency) == {*legs, "hub_to_socket", "loop_lag", "accounts", "exchanges"}
        assert latency["accounts"] == [{"id": "paper", **{leg: latency[leg] for leg in legs}}]
        assert latency["exchanges"] == []
        # Prices that are made here have no clock of their own to be late by.
        assert latency["exchange_to_server"]["samples"] == 0


async def test_the_channel_is_published_every_five_seconds() -> None:
    world = World()
    async with world.life() as system:
        first = system.hub.position("monitoring")
        await asyncio.sleep(10.1)
        last = system.hub.position("monitoring")
        row = system.monitor.row()

        assert first is not None
        assert last is not None
        assert last["seq"] == first["seq"] + 2  # type: ignore[operator]
        assert list(row) == ["ts", "latency", "metrics", "cache", "connections"]
        assert row["metrics"]["uptime_s"] == 10  # type: ignore[index]


async def test_a_server_without_keys_shows_none() -> None:
    world = World()
    async with world.life():
        await asyncio.sleep(7)
        row = result(await world.call("monitoring.nonce"))

        assert row == {
            "uptime_s": 7,
            "total_nonces_issued": 0,
            "keys": [],
            "recent": [],
            "rate_limiting_active": False,
        }


async def test_the_cache_is_cleaned_every_five_minutes() -> None:
    world = World()
    async with world.life():
        await asyncio.sleep(301)
        row = result(await world.call("monitoring.cache"))

        assert row["cleanup"]["last_ts"] is not None
        assert row["total_requests"] == 0
