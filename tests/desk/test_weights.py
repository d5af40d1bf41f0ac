"""What closed trades of strategies earned, from memory and from the journal."""

from typing import Any

import orjson

from realtime.desk.weights import closed_trades
from realtime.store.rows import Projection
from tests.fakes import BTC, World


async def test_trades_are_counted_by_closing_order_and_a_stop_for_its_parents_strategy() -> None:
    world = World()
    async with world.life() as system:
        now = system.desk.now()

        def order(name: str, **fields: Any) -> Projection:
            row = {"role": "exit", "strategy_id": None, "parent_id": None} | fields
            body = orjson.dumps(row)
            return Projection("orders", name, now, {"symbol": BTC, "ended": 1}, body)

        def fill(name: str, order_id: str, pnl: str | None) -> Projection:
            body = orjson.dumps({"order_id": order_id, "realized_pnl": pnl})
            return Projection("fills", name, now, {"symbol": BTC, "order_id": order_id}, body)

        rows = [
            order("o-901", role="entry", strategy_id="rsi"),
            order("o-902", role="stop_loss", parent_id="o-901"),
            order("o-903", strategy_id="rsi"),
            order("o-904", strategy_id="nobody"),
            order("o-905"),
            fill("f1", "o-901", "-0.5"),
            fill("f2", "o-902", "-7"),
            fill("f3", "o-903", "3"),
            fill("f4", "o-903", "2.5"),
            fill("f5", "o-904", "9"),
            fill("f6", "o-905", "9"),
            fill("f7", "o-906", "9"),
            fill("f8", "o-903", None),
        ]
        system.store.append("Test", "x", b"{}", None, rows, safety=True)
        await system.desk.durable(system.store.seq, 1)

        assert await closed_trades(system.desk, {"rsi", "fvg"}) == {"rsi": [-7.0, 5.5]}
