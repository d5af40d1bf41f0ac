"""Commands that ask back on a server whose policy says so (conformance 49)."""

import asyncio
from typing import Any

import pytest

from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests.fakes import BTC, BUY, FREE, World


MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
OTHER = Principal(subject="bob", scopes=ROLES["admin"])


def asked(reply: Any) -> tuple[str, dict[str, Any]]:
    assert reply.code is Code.CONFIRM_REQUIRED, reply
    details = reply.error["details"]
    return details["confirm"], details["effect"]


def policies(*ops: str) -> World:
    confirm = [{"op": op} for op in ops]
    return World(confirm=confirm, risk={"limits": dict(FREE)})


async def test_resuming_asks_back_and_takes_its_own_token_once() -> None:
    world = policies("trading.resume")
    async with world.life():
        await world.call("trading.halt", reason="manual")
        resume: dict[str, Any] = {"reason": "checked"}
        confirm, effect = asked(await world.call("trading.resume", **resume))
        by_other = await world.call("trading.resume", who=OTHER, **resume, confirm=confirm)
        changed = await world.call("trading.resume", reason="other", confirm=confirm)
        await asyncio.sleep(61)
        late = await world.call("trading.resume", **resume, confirm=confirm)
        confirm, _ = asked(late)
        done = await world.call("trading.resume", **resume, confirm=confirm)
        again = await world.call("trading.resume", **resume, confirm=confirm)

        assert effect == {"state": "active", "orders": 0, "positions": 0, "notional": "0"}
        assert by_other.code is changed.code is Code.CONFIRM_REQUIRED
        assert done.result == {"state": "active", "scope": "all", "changed": True}
        # What would change nothing asks nothing.
        assert again.result is not None
        assert again.result["changed"] is False


async def test_closing_all_asks_back_and_again_when_there_is_more_to_close() -> None:
    world = policies("position.close_all", "position.close")
    async with world.life():
        nothing = await world.call("position.close_all")
        await world.call("order.place", **MARKET_BUY)
        confirm, effect = asked(await world.call("position.close_all"))
        await world.call("order.place", **MARKET_BUY)
        grown = await world.call("position.close_all", confirm=confirm)
        confirm, _ = asked(grown)
        done = await world.call("position.close_all", confirm=confirm)

        assert nothing.result == {"closed": [], "failed": []}
        assert effect["positions"] == 1
        assert effect["symbols"] == [BTC]
        assert done.ok

        await world.call("order.place", **MARKET_BUY)
        one = await world.call("position.close", position_id="BTC/USDT|long")
        assert asked(one)[1]["symbols"] == [BTC]


async def test_an_order_asks_back_above_a_notional_only() -> None:
    world = World(
        confirm=[{"op": "order.place", "above_notional": "500"}], risk={"limits": dict(FREE)}
    )
    async with world.life():
        small = await world.call("order.place", **(BUY | {"amount": "0.001"}))
        big = await world.call("order.place", **BUY, client_order_id="g-1")
        confirm, _ = asked(big)
        done = await world.call("order.place", **BUY, client_order_id="g-1", confirm=confirm)

        assert small.ok
        assert done.ok


async def test_limits_and_resolutions_ask_back() -> None:
    world = policies("risk.params.set", "order.resolve")
    async with world.life():
        same = await world.call("risk.params.set", patch={"max_open_positions": 5})
        looser = await world.call("risk.params.set", patch={"max_open_positions": 6})
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        wish = {"order_id": world.order("g-1").id, "status": "canceled", "reason": "seen"}
        resolve = await world.call("order.resolve", **dict[str, Any](wish))

        assert same.ok
        assert asked(looser)[1] == {
            "limits": ["max_open_positions"],
            "loosened": ["max_open_positions"],
        }
        assert asked(resolve)[1] == {"orders": 1, "symbols": [BTC], "status": "canceled"}


@pytest.mark.parametrize("op", ["order.cancel", "order.cancel_all", "trading.halt", "deadman"])
async def test_stopping_never_asks_back(op: str) -> None:
    """Conformance 50, seen from the table."""
    world = policies("trading.resume")
    async with world.life() as system:
        row = system.registry.ops[op]

        assert row.lane == "safety"
        assert not system.registry.asks_back(row, OTHER)
