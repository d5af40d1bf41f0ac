"""Every op whose result is described answers so at a real server; `tests/replies.py` looks at each reply."""

from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from websockets.asyncio.client import connect

from realtime.commands.registry import BOUND, HTTP_ONLY
from realtime.commands.results import RESULTS, result_of
from realtime.server.schema import REFERENCE, arguments_of
from tests.desk.test_reconcile import stranger
from tests.fakes import BUY, World, until
from tests.flows.process import Process, talk
from tests.prices import price
from tests.replies import check, closed, validator


BTC = "BTC/USDT"
OPEN = {"alert", "backtest", "bot", "config", "event", "help", "indicator", "log", "monitoring"} | {
    *("portfolio", "signal", "strategy", "trading_window")
}
"""Families whose results are not described yet: clients in other languages trade without them."""
DECIDED = {"order.resolve", "order.adopt"}
"""Need an exchange that loses an answer, and one where somebody else trades: the scripted one, in its own test."""
LOCKED = {"system.token.create", "system.token.list", "system.token.revoke"}
"""Called at a real server that asks for tokens, by `test_tokens.py`, which checks its replies alike."""


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    real = "server" in request.node.name
    return "asyncio" if real else request.getfixturevalue("anyio_backend")


async def test_every_described_op_answers_as_it_says_at_a_real_server() -> None:
    done: set[str] = set()
    with Process.serve("") as server:
        async with talk(server.socket) as me:

            async def do(op: str, **args: Any) -> Any:
                done.add(op)
                return await me.result(op, **args)

            for op in ("balance.list", "risk.params.get", "risk.assessment", "risk.daily_pnl"):
                await do(op)
            for op in ("market.list", "market.tickers", "market.status", "market.limits", "ping"):
                await do(op)
            for op in ("get", "ticker", "orderbook", "trades", "ohlcv", "context", "check"):
                await do(f"market.{op}", symbol=BTC)
            await do("market.limits", symbol=BTC)
            await do("auth", token="none is looked at")
            await do("subscribe", channels=["orders", "ticker:*", "fills", "nonsense"])
            rests = {"symbol": BTC, "side": "buy", "type": "limit", "amount": "0.001"}
            ticker = await do("market.ticker", symbol=BTC)
            rests["price"] = price(ticker)
            legs = {"stop_loss": price(ticker, "-0.2"), "take_profit": price(ticker, "0.2")}
            await do("order.preview", **rests, **legs)
            await do("order.place", **rests, dry_run=True)
            await do("order.place", **rests, **legs, client_order_id="r-1")
            await do("order.place", **rests, **legs, client_order_id="r-1")
            await do("order.amend", client_order_id="r-1", amount="0.002")
            await do("order.amend", client_order_id="r-1", amount="0.002", dry_run=True)
            await do("order.list")
            await do("order.cancel", client_order_id="r-1", dry_run=True)
            await do("order.cancel", client_order_id="r-1")
            await do("order.get", client_order_id="r-1")
            await do("order.place", **rests, client_order_id="r-2")
            items: list[dict[str, Any]] = [
                {"do": "place", **rests},
                {"do": "place", **rests, "dry_run": True},
                {"do": "amend", "client_order_id": "r-2", "amount": "0.003"},
                {"do": "cancel", "client_order_id": "r-1"},
                {"do": "cancel", "client_order_id": "nobody"},
            ]
            batch = await do("order.batch", items=items)
            assert [item["ok"] for item in batch["items"]] == [True, True, True, True, False]
            await do("order.cancel_all", dry_run=True)
            await do("order.place", symbol=BTC, side="buy", type="market", amount="0.002")
            assert (await do("order.history"))["orders"]
            assert (await do("fill.list"))["fills"]
            await do("balance.get", currency="BTC")
            (held,) = (await do("position.list"))["positions"]
            await do("position.get", position_id=held["id"])
            await do("position.value", symbol=BTC, amount="1")
            await do(
                "position.set_cost_basis", position_id=held["id"], entry_price=held["entry_price"]
            )
            await do("position.close", position_id=held["id"], fraction=0.5, dry_run=True)
            await do("position.close", position_id=held["id"], fraction=0.5)
            trade = {"symbol": BTC, "side": "buy"}
            likely = {"probability_buy": 0.7, "probability_sell": 0.2, "probability_hold": 0.1}
            await do("risk.score", symbol=BTC, **likely, confidence=0.8)
            await do("risk.stop_levels", **trade)
            await do("risk.position_size", **trade, confidence=0.8)
            await do("risk.probability", **trade)
            await do("risk.validate_order", **rests)
            await do("risk.params.set", patch={"max_open_orders": 100})
            await do("risk.reset_daily", reason="test", request_id="q-1")
            await do("risk.reset_daily", reason="test", request_id="q-1")
            await do("deadman", timeout=60, grace=5, dry_run=True)
            await do("deadman", timeout=60, grace=5)
            await do("deadman", timeout=0)
            await do("trading.halt", dry_run=True)
            await do("trading.halt", reason="test")
            await do("order.cancel_all")
            for op in ("system.status", "system.health"):
                await do(op)
            await do("trading.resume", reason="test")
            await do("position.close_all", dry_run=True)
            await do("position.close_all", request_id="q-2")
            await do("system.fault", faults=[{"kind": "lost_after", "probability": 0.0}])
            await do("unsubscribe", channels="*")
            await do("bye")
        async with connect(f"{server.socket}?batch=1", compression=None) as batched:
            await batched.recv()
            await batched.send('{"op":"pace","every":100}')
            (reply,) = orjson.loads(await batched.recv())
            check(reply)
            done.add(reply["op"])
        async with httpx.AsyncClient(base_url=server.http, timeout=60) as http:
            for op, args in (("login", {"token": "x"}), ("ticket", {}), ("logout", {})):
                page = await http.post(f"/api/auth.{op}", json=args)
                reply = page.raise_for_status().json()
                check(reply)
                done.add(reply["op"])
    assert done == set(RESULTS) - DECIDED - LOCKED


async def test_what_an_operator_decides_is_answered_as_it_says() -> None:
    world = World()
    async with world.life() as system:
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        lost = world.order("g-1").id
        first = await world.call("order.resolve", order_id=lost, status="canceled", reason="seen")
        world.venue._take(stranger())
        await until(lambda: any(o.external for o in system.desk.engine.orders.working()))
        (found,) = (o for o in system.desk.engine.orders.working() if o.external)
        second = await world.call("order.adopt", order_id=found.id)

        assert first.ok
        assert second.ok


async def test_the_registry_shows_which_results_are_described() -> None:
    async with World().life() as system:
        ops = system.registry.ops
    arguments: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for op in ops.values():
        arguments |= arguments_of(op)[1]
        results |= result_of(op.name, REFERENCE)[1]

    assert set(RESULTS) <= set(ops)
    assert {name.partition(".")[0] for name in set(ops) - set(RESULTS)} == OPEN
    assert not OPEN & {name.partition(".")[0] for name in RESULTS}
    assert set(ops) >= BOUND | HTTP_ONLY
    for name in arguments.keys() & results.keys():
        assert arguments[name] == results[name], f"two schemas are called {name}"


def test_what_is_not_described_is_found() -> None:
    closed_row = closed({"$ref": "Row"}, {"Row": {"type": "object", "properties": {"a": {}}}})

    assert closed_row["additionalProperties"] is False
    for wrong in ({"every": 1, "more": 1}, {}, {"every": "1"}):
        assert not validator("pace").is_valid(wrong)
    assert validator("pace").is_valid({"every": 1})
    said = {"state": "active", "scope": "all", "changed": True}
    check({"ok": True, "op": "risk.resume", "result": said})
    with pytest.raises(jsonschema_rs.ValidationError):
        check({"ok": True, "op": "risk.resume", "result": {**said, "new": 1}})
