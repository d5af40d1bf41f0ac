"""Monitoring: through the registry of a whole system, and its channel over a real socket."""

import asyncio
from dataclasses import replace
from typing import Any

from realtime.app import Outside
from realtime.desk.monitor import peak_kb
from realtime.model.durations import Durations
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from realtime.venues.chaos import ChaosVenue
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


class Faulty(World):
    """A world whose exchange is a paper exchange, to which things can happen."""

    def outside(self) -> Outside:
        def make(making: Any) -> ChaosVenue:
            self.venue.bind(making.now)
            return ChaosVenue(self.venue, seed=1, now=making.now, sleep=asyncio.sleep)

        return replace(super().outside(), venue=make)


async def test_the_streams_of_the_paper_exchange_are_shown_with_what_happened_to_them() -> None:
    """Found by a drive: `feeds` was empty on paper, and `reconnects` 0 after a fault `disconnect`. features F15."""
    world = Faulty()

    async def look() -> tuple[dict[str, Any], int]:
        (venue,) = result(await world.call("system.status"))["venues"]
        feeds = result(await world.call("monitoring.hybrid"))["feeds"]
        return {row["channel"]: row for row in feeds}, venue["reconnects"]

    async with world.life():
        await asyncio.sleep(10)
        feeds, reconnects = await look()
        ticker = feeds[f"ticker:{BTC}"]
        assert {row["source"] for row in feeds.values()} == {"paper"}
        assert (ticker["venue"], ticker["symbol"], ticker["state"]) == ("paper", BTC, "ok")
        assert ticker["last_msg_age_ms"] <= 1000
        assert ticker["messages"] >= 10
        assert 0.5 < ticker["messages_per_s"] < 1.5
        assert (ticker["health"], ticker["reconnects"], reconnects) == (1.0, 0, 0)

        lost = {"kind": "disconnect", "duration_s": 10}
        assert (await world.call("system.fault", faults=[lost])).ok
        await asyncio.sleep(5)
        away, _ = await look()
        await asyncio.sleep(10)
        feeds, reconnects = await look()
        assert away[f"ticker:{BTC}"]["state"] == "disconnected"
        assert away[f"ticker:{BTC}"]["messages"] <= ticker["messages"] + 1
        assert feeds[f"ticker:{BTC}"]["state"] == "ok"
        assert {row["reconnects"] for row in feeds.values()} == {reconnects} == {1}
        assert {row["gaps"] for row in feeds.values()} == {0}
        assert 0.2 < feeds[f"ticker:{BTC}"]["health"] < 0.8

        shares = result(await world.call("monitoring.hybrid"))
        assert shares["summary"] == {"ws_share": None, "poll_share": None, "rest_calls_saved": 0}
        assert shares["accounts"][0]["feeds"] == len(feeds)


async def test_a_frozen_symbol_is_a_gap_of_its_own_streams() -> None:
    world = Faulty()

    async def look() -> dict[str, Any]:
        feeds = result(await world.call("monitoring.hybrid"))["feeds"]
        return {row["channel"]: (row["state"], row["gaps"], row["reconnects"]) for row in feeds}

    async with world.life():
        frozen = {"kind": "frozen_feed", "symbol": BTC, "duration_s": 90}
        assert (await world.call("system.fault", faults=[frozen])).ok
        await asyncio.sleep(80)
        away = await look()
        await asyncio.sleep(20)
        back = await look()

        assert {row for name, row in away.items() if BTC in name} == {("silent", 0, 0)}
        assert {row for name, row in away.items() if BTC not in name} == {("ok", 0, 0)}
        assert {row for name, row in back.items() if BTC in name} == {("ok", 1, 0)}
        assert {row for name, row in back.items() if BTC not in name} == {("ok", 0, 0)}
