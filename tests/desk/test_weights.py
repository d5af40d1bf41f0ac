"""What closed trades of strategies earned, from memory and from the journal."""

import asyncio
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


def closed(number: int, name: str | None, pnl: str, *, now: int) -> list[Projection]:
    """Make the rows of a trade that was closed by one order with one fill."""
    order_id = f"o-{90_000 + number}"
    row = {"role": "exit", "strategy_id": name, "parent_id": None}
    cols: dict[str, Any] = {"symbol": BTC, "ended": 1}
    order = Projection("orders", order_id, now, cols, orjson.dumps(row))
    fill = {"id": f"f{number}", "order_id": order_id, "realized_pnl": pnl, "inferred": False}
    cols = {"symbol": BTC, "order_id": order_id}
    return [order, Projection("fills", f"f{number}", now, cols, orjson.dumps(fill))]


async def test_trades_of_others_do_not_make_a_strategy_forget_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symptom: after 540 orders by hand a strategy counted as if it had never traded."""
    world = World()
    async with world.life() as system:
        desk, asked = system.desk, 0
        fills = desk.store.fills

        async def counted(**given: Any) -> Any:
            nonlocal asked
            asked += 1
            return await fills(**given)

        monkeypatch.setattr(desk.store, "fills", counted)

        async def write(numbers: range, name: str | None) -> None:
            rows = [row for n in numbers for row in closed(n, name, f"{n}", now=desk.now())]
            desk.store.append("Test", "x", b"{}", None, rows, safety=True)
            assert await desk.durable(desk.store.seq, 30)

        await write(range(1, 31), "rsi")
        await write(range(31, 36), "fvg")
        await write(range(100, 1_200), None)
        # Two who ask at the same time are told the same.
        both = await asyncio.gather(
            closed_trades(desk, {"rsi"}), closed_trades(desk, {"rsi", "fvg"})
        )
        assert both[0]["rsi"][-20:] == both[1]["rsi"][-20:] == [float(n) for n in range(11, 31)]
        assert both[1]["fvg"] == [float(n) for n in range(31, 36)]
        # What was read is known, whoever asks: one page at most is looked at.
        asked = 0
        await write(range(1_200, 1_700), None)
        await write(range(2_000, 2_002), "rsi")
        again = await closed_trades(desk, {"rsi"})
        assert (asked, again["rsi"][-3:]) == (2, [30.0, 2000.0, 2001.0])
        await closed_trades(desk, {"fvg"})
        assert asked == 3
        # One that was not asked for is looked for further back; of many trades the newest are kept.
        await write(range(3_000, 3_150), "ema_crossover")
        earned = await closed_trades(desk, {"ema_crossover", "rsi"})
        assert earned["ema_crossover"][-20:] == [float(n) for n in range(3_130, 3_150)]
        assert len(earned["ema_crossover"]) == 100
        assert earned["rsi"][-1] == 2001.0
        await write(range(4_000, 4_003), "fvg")
        await write(range(5_000, 5_600), "rsi")
        await closed_trades(desk, {"rsi"})
        found = await closed_trades(desk, {"fvg"})
        assert found["fvg"][-4:] == [35.0, 4000.0, 4001.0, 4002.0]


async def test_after_a_start_no_more_fills_are_looked_through_than_there_may_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("realtime.desk.weights.PAGE", 10)
    monkeypatch.setattr("realtime.desk.weights.MOST_FILLS", 30)
    world = World()
    async with world.life() as system:
        rows = closed(1, "rsi", "5", now=system.desk.now())
        for number in range(2, 42):
            rows += closed(number, None, "1", now=system.desk.now())
        rows += closed(50, "rsi", "7", now=system.desk.now())
        system.store.append("Test", "x", b"{}", None, rows, safety=True)
        await system.desk.durable(system.store.seq, 30)

        assert await closed_trades(system.desk, {"rsi"}) == {"rsi": [7.0]}
