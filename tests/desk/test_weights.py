"""What closed trades of strategies earned, from memory and from the journal."""

from typing import Any

import orjson
import pytest

from realtime.desk.weights import Earned, closed_trades
from realtime.model.errors import Code, Refused
from realtime.store.rows import Projection
from tests.fakes import BTC, World, until


async def test_trades_are_counted_by_closing_order_and_a_stop_for_its_parents_strategy() -> None:
    world = World()
    async with world.life() as system:
        now = system.desk.now()

        def order(name: str, **fields: Any) -> Projection:
            row = {"role": "exit", "strategy_id": None, "parent_id": None} | fields
            body = orjson.dumps(row)
            return Projection("orders", name, now, {"symbol": BTC, "ended": 1}, body)

        def fill(
            name: str, order_id: str, pnl: str | None, *, inferred: bool = False
        ) -> Projection:
            row = {"id": name, "order_id": order_id, "realized_pnl": pnl, "inferred": inferred}
            cols = {"symbol": BTC, "order_id": order_id}
            return Projection("fills", name, now, cols, orjson.dumps(row))

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
            # A real one has taken its place.
            fill("f9", "o-903", "2.5", inferred=True),
        ]
        system.store.append("Test", "x", b"{}", None, rows, safety=True)
        await system.desk.durable(system.store.seq, 1)

        assert await closed_trades(system.desk, {"rsi", "fvg"}) == {"rsi": [-7.0, 5.5]}


async def lose(world: World, times: int) -> None:
    """Buy at the ask and sell at the bid, by the strategy rsi."""
    for _ in range(times):
        for side in ("buy", "sell"):
            order: dict[str, Any] = {"symbol": BTC, "side": side, "type": "market"}
            order |= {"amount": "0.01", "strategy_id": "rsi", "reduce_only": side == "sell"}
            reply = await world.call("order.place", **order)
            assert reply.ok, reply.error


async def test_a_running_bot_takes_the_weights_that_its_strategies_earned() -> None:
    world = World()
    async with world.life() as system:

        def weight() -> float:
            return system.bots.rules(system.bots.get("main").spec).weights["rsi"].weight

        await world.call("bot.configure", patch={"dry_run": True})
        await world.call("bot.start")
        await lose(world, 4)
        few = weight()
        await lose(world, 1)
        await until(lambda: weight() != few, within=6)
        earned = weight()
        shares = system.book.current.weights()
        other = next(name for name in shares if name != "rsi")
        moved = {"rsi": {"weight": 0.25}, other: {"weight": shares[other] + 0.1}}
        reply = await world.call("config.update", patch={"strategies": moved})
        assert reply.ok, reply.error
        await until(lambda: weight() < earned, within=1)
        changed = weight()
        off = {"probability": {"enable_dynamic_weights": False}}
        reply = await world.call("config.update", patch=off)
        assert reply.ok, reply.error

        # Every trade lost, so rsi counts half, and all of them together one.
        assert few == pytest.approx(0.35)
        assert earned == pytest.approx(0.175 / 0.825)
        assert changed == pytest.approx(0.125 / 0.875)
        assert weight() == pytest.approx(0.25)


async def test_a_single_cycle_waits_for_the_weights() -> None:
    world = World()
    async with world.life() as system:
        await world.call("bot.configure", patch={"dry_run": True})
        await lose(world, 5)
        await world.call("bot.run_once")

        weights = system.bots.rules(system.bots.get("main").spec).weights
        assert weights["rsi"].weight == pytest.approx(0.175 / 0.825)


async def test_weights_stay_where_the_journal_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    async with world.life() as system:
        kept = Earned(system.desk, system.book, system.bots._crew)
        with monkeypatch.context() as patch:

            async def busy(**_: object) -> None:
                raise Refused(Code.BUSY, "too many questions")

            patch.setattr(system.desk.store, "fills", busy)
            await kept.read()
        with monkeypatch.context() as patch:

            async def never(*_: object) -> bool:
                return False

            patch.setattr(system.desk, "durable", never)
            await kept.read()

        assert kept.now() == system.book.current.weights()
        assert not kept._fresh()
        await kept.read()
        assert kept._fresh()
