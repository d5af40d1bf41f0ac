"""Journaled logs beyond the ring: what a late reader gets, numbered as its channel counts."""

from pathlib import Path
from typing import Any

import pytest

from realtime.desk.history import older
from realtime.store import Store
from tests.fakes import BTC, ETH, World


async def test_old_entries_are_numbered_as_the_filtered_channel_counts_them(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "j.db", hub={"ring_private": 3})
    async with world.life():
        for number in range(8):
            symbol = BTC if number % 2 else ETH
            order: dict[str, Any] = {
                "symbol": symbol,
                "side": "buy",
                "type": "market",
                "amount": "0.001",
            }
            await world.call("order.place", **order, client_order_id=f"m-{number}")
        for state in ("halted", "reducing"):
            await world.call("trading.halt", state=state, reason=state, cancel=False)
            await world.call("trading.resume", reason="on")

    async with world.life() as system:
        hub, store = system.hub, system.store
        everything = await older(store, hub.channel("fills"), 1, 5)
        of_btc = await older(store, hub.channel(f"fills?symbol={BTC}"), 2, 3)
        severe = await older(store, hub.channel("alerts?level=critical"), 1, 10)
        position = hub.position("fills")

        assert [seq for seq, _, _ in everything] == [1, 2, 3, 4, 5]
        assert [entry["client_order_id"] for _, _, entry in of_btc] == ["m-3", "m-5"]
        assert [seq for seq, _, _ in of_btc] == [2, 3]
        assert [(seq, entry["code"]) for seq, _, entry in severe] == [(1, "trading_state")]
        assert position is not None
        assert position["seq"] == 8
        # A filtered stream counts its own entries, those before the ring included.
        hub.snapshot(hub.channel(f"fills?symbol={BTC}"))
        filtered = hub.position(f"fills?symbol={BTC}")
        assert filtered is not None
        assert filtered["seq"] == 4


async def test_alerts_of_a_level_are_found_by_its_index_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: each page of a resume read all alerts there ever were, from the first on."""
    read: list[int] = []
    logs = Store.logs

    async def counted(self: Store, *args: Any, **more: Any) -> Any:
        found = await logs(self, *args, **more)
        read.append(len(found))
        return found

    world = World(tmp_path / "j.db", hub={"ring_private": 3})
    levels = ("info", "warning", "error", "critical")
    async with world.life() as system:
        for number in range(400):
            system.desk.alert(levels[number % 4], "code", str(number), {})
        await system.desk.settled()
        monkeypatch.setattr(Store, "logs", counted)
        grave = await older(system.store, system.hub.channel("alerts?level=error"), 99, 102)

    assert [(seq, entry["text"]) for seq, _, entry in grave] == [
        (99, "198"), (100, "199"), (101, "202"), (102, "203"),
    ]  # fmt: skip
    assert read == [4]
