"""Every op answers at a real server as its result is described; `tests/replies.py` looks at each reply."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from websockets.asyncio.client import connect

from realtime.commands.registry import BOUND, HTTP_ONLY
from realtime.commands.results import RESULTS, result_of, schema_of
from realtime.commands.results.bots import ACTIVE
from realtime.commands.results.shapes import More
from realtime.model.bot_rows import BacktestRow, BotRow, BotStatusRow, DecisionRow
from realtime.model.rows import (
    AlertRow,
    EventRow,
    Figure,
    PortfolioRow,
    RiskSummaryRow,
    SpreadRow,
)
from realtime.server.schema import REFERENCE, arguments_of
from tests.desk.test_reconcile import stranger
from tests.fakes import BUY, World, until
from tests.flows.process import Process, Talk, talk
from tests.prices import price
from tests.replies import check, closed, validator


BTC = "BTC/USDT"
DECIDING = {
    "alert",
    "backtest",
    "bot",
    "config",
    "event",
    "help",
    "indicator",
    "log",
    "monitoring",
} | {*("portfolio", "signal", "strategy", "trading_window")}
"""Families of bots, of what they decide with, and of what tells of the server; all others trade."""
DECIDED = {"order.resolve", "order.adopt"}
"""Need an exchange that loses an answer, and one where somebody else trades: the scripted one, in its own test."""
LOCKED = {"system.token.create", "system.token.list", "system.token.revoke"}
"""Called at a real server that asks for tokens, by `test_tokens.py`, which checks its replies alike."""


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    real = "server" in request.node.name
    return "asyncio" if real else request.getfixturevalue("anyio_backend")


def ops(*, deciding: bool) -> set[str]:
    return {op for op in RESULTS if (op.partition(".")[0] in DECIDING) is deciding}


async def test_every_op_that_trades_answers_as_it_says_at_a_real_server() -> None:
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
    assert done == ops(deciding=False) - DECIDED - LOCKED


async def test_every_op_of_bots_and_of_what_tells_answers_as_it_says_at_a_real_server(
    tmp_path: Path,
) -> None:
    done: set[str] = set()
    file = tmp_path / "realtime.toml"
    file.write_text('timezone = "Europe/Berlin"\n')
    with Process.serve("", REALTIME_CONFIG__PATH=str(file)) as server:
        async with talk(server.socket) as me:

            async def do(op: str, **args: Any) -> Any:
                done.add(op)
                return await me.result(op, **args)

            await told(do)
            await configured(do)
            await thought(do)
            await lived(do)
            await spread(do)
            await tried(me, do)
            await shown(me)
    assert done - {"trading.resume"} == ops(deciding=True)


Do = Callable[..., Awaitable[Any]]


async def told(do: Do) -> None:
    """Events, alerts, lines, figures, help."""
    await do("help")
    for word in ("ops", "channels", "errors", "order.place", "bot.stop", "ticker:BTC/USDT", "busy"):
        await do("help", about=word)
    for name in ("connections", "nonce", "cache", "hybrid", "latency", "metrics"):
        await do(f"monitoring.{name}")
    await do("bot.emergency_stop", bot_id="main", dry_run=True)
    await do("bot.emergency_stop", dry_run=True)
    await do("bot.emergency_stop", reason="test")
    await do("bot.rearm", bot_id="main")
    assert (await do("event.list"))["events"]
    (alert, *_) = (await do("alert.list"))["alerts"]
    for _ in range(2):
        await do("alert.ack", alert_id=alert["id"])
    await do("alert.list")
    await do("log.tail", level="debug")


async def configured(do: Do) -> None:
    """The configuration and its versions."""
    for name in ("get", "summary", "strategies", "probability.get", "schema", "validate"):
        await do(f"config.{name}")
    await do("config.get", section="trading_window")
    await do("config.validate", candidate={"strategy": {"timeframe": "2h"}})
    await do("config.strategy.get", name="rsi")
    for _ in range(2):
        await do("config.update", patch={"strategy": {"rsi_period": 15}})
        await do("config.strategy.set", name="rsi", params={"oversold": 25})
        await do("config.strategy.set_weight", name="rsi", weight=0.4)
        await do("config.probability.set", patch={"min_signal_confidence": 0.5})
        await do("trading_window.set", patch={"start_hour": 1})
        await do("config.reload")
    await do("config.history")
    await do("config.rollback", version=1)
    await do("trading_window.get")


async def thought(do: Do) -> None:
    """Strategies and indicators."""
    for name in ("list", "schema", "reload"):
        await do(f"strategy.{name}")
    await do("strategy.get", name="rsi")
    await do("strategy.analyze", symbol=BTC)
    await do("strategy.analyze", symbol=BTC, strategies={"rsi": {}, "fvg": {}}, limit=3)
    await do("indicator.list")
    for name in ("rsi", "macd", "fvg"):
        await do("indicator.compute", name=name, symbol=BTC)
    bars = [{"high": n + 1, "low": n, "open": n, "close": n} for n in (1, 3, 6, 2)]
    await do("indicator.compute", name="rsi", data=bars)
    await do("indicator.fvg", symbol=BTC)
    assert (await do("indicator.fvg", data=bars))["zones"]


async def lived(do: Do) -> None:
    """A bot of this server, and one outside."""
    patch = {"timeframe": "1h", "symbols": [BTC], "window": {"end_hour": 23}}
    uses = {"sample": {"params": {"indicator_value": 1}}}
    await do("bot.configure", bot_id="b", patch={**patch, "strategies": uses, "budget": "1000"})
    for op in ("status", "health", "validate", "start"):
        await do(f"bot.{op}", bot_id="b")
    await do("bot.pause", bot_id="b", dry_run=True)
    await do("bot.run_once", bot_id="b", request_id="r-1")
    again = await do("bot.run_once", bot_id="b", request_id="r-1")
    assert again["duplicate"]
    await do("bot.pause", bot_id="b")
    await do("bot.resume", bot_id="b")
    for op in ("status", "decisions"):
        assert (await do(f"bot.{op}", bot_id="b")).get("last_decision", True)
    assert (await do("signal.list"))["signals"]
    await do("trading_window.get", bot_id="b")
    await do("trading_window.set", bot_id="b", patch={"end_hour": 22})
    await do("bot.stop", bot_id="b", dry_run=True)
    await do("bot.stop", bot_id="b", close_positions=True)
    await do("bot.reset_metrics", bot_id="b")
    await do("bot.emergency_stop", bot_id="b", flatten=True)
    await do("bot.health", bot_id="b")
    await do("bot.rearm", bot_id="b")
    await do("bot.list")
    await do("bot.delete", bot_id="b")
    await do("bot.configure", bot_id="r", patch={"kind": "remote", "lease_s": 3600})
    for dry in (True, False):
        await do("bot.attach", bot_id="r", dry_run=dry)
    await do("bot.status", bot_id="r")
    for dry in (True, False):
        await do("bot.detach", bot_id="r", dry_run=dry)


async def spread(do: Do) -> None:
    """The portfolio."""
    await do("trading.resume", reason="test")
    signal = {"symbol": BTC, "signal_type": "buy", "confidence": 0.9, "source": "rsi"}
    signal["indicators"] = {"probability_buy": 0.8, "probability_sell": 0.1} | {
        "probability_hold": 0.1
    }
    for _ in range(2):
        await do("portfolio.process_signals", signals=[signal], execute=True, request_id="p-1")
    await do("portfolio.allocate", signals=[signal])
    await do("portfolio.allocate", symbols=[BTC, "ETH/USDT"], method="equal")
    targets = {"targets": [{"symbol": BTC, "weight": "0.05"}], "plan_id": "plan-1"}
    for dry in (True, False, False):
        await do("portfolio.rebalance", **targets, dry_run=dry)
    for op in ("snapshot", "status", "equity_history", "weights.get"):
        await do(f"portfolio.{op}")
    assert (await do("portfolio.diversification", days=2))["correlation"]["matrix"]
    await do("portfolio.performance", timeframe="1h", benchmark=BTC)
    await do("portfolio.validate_trade", symbol=BTC, amount="0.01", trade_type="buy")
    weights = (await do("portfolio.weights.auto"))["weights"]
    same = {row["strategy_name"]: row["weight"] for row in weights}
    await do("portfolio.weights.set", weights=same)


async def tried(me: Talk, do: Do) -> None:
    """Backtests."""
    await do("backtest.strategies")
    closes = [100.0 + n % 7 for n in range(60)]
    bars: dict[str, list[Any]] = dict.fromkeys(("open", "high", "low", "close"), closes)
    bars["ts"] = [1_700_000_040_000 + n * 60_000 for n in range(60)]
    terms = {"strategy": "sample", "symbol": BTC, "timeframe": "1m", "data": bars}

    async def ended(op: str, **args: Any) -> str:
        job: str = (await do(op, **terms, **args))["id"]
        await me.subscribe(f"backtest:{job}")
        while (await do("backtest.get", backtest_id=job))["status"] not in {"done", "failed"}:
            await me.read()
        row = await do("backtest.get", backtest_id=job)
        assert row["status"] == "done", row
        return job

    ran = await ended("backtest.run", parameters={"indicator_value": 1}, request_id="b-1")
    await do("backtest.run", **terms, parameters={"indicator_value": 1}, request_id="b-1")
    grid = {"param_grid": {"indicator_value": [0.5, 1]}}
    await ended("backtest.optimize", **grid)
    await ended("backtest.optimize", **grid, folds=2)
    await do("backtest.list")
    assert (await do("backtest.trades", backtest_id=ran))["trades"]
    assert (await do("backtest.equity", backtest_id=ran))["equity"]
    await do("backtest.compare", ids=[ran])
    await do("backtest.cancel", backtest_id=ran)
    await do("backtest.delete", backtest_id=ran)


WHOLE = {
    "total_pnl": Figure | None,
    "total_pnl_pct": float | None,
    "risk_summary": RiskSummaryRow,
    "diversification": SpreadRow,
    "active_strategies": ACTIVE,
}
CHANNELS: dict[str, Any] = {
    "events": EventRow,
    "alerts": AlertRow,
    "signals": DecisionRow,
    "bots": BotRow,
    "bot:r": BotStatusRow,
    "portfolio": More((PortfolioRow, WHOLE)),
}
"""What they have of rows that ops answer; protocol document, 5.3."""


async def shown(me: Talk) -> None:
    """Channels whose rows are those of ops."""
    (search, *_) = (await me.result("backtest.list"))["backtests"]
    channels = {**CHANNELS, f"backtest:{search['id']}": BacktestRow}
    await me.subscribe(*channels)
    for name, row in channels.items():
        judge = jsonschema_rs.validator_for(closed(*schema_of(row, "{model}")))
        data = (await me.until(name, 0))["data"]
        found = data["set"] if name == "bots" else data if isinstance(data, list) else [data]
        assert found, name
        for one in found:
            judge.validate(one)


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


async def test_the_result_of_every_op_is_described() -> None:
    async with World().life() as system:
        known = system.registry.ops
    arguments: dict[str, Any] = {}
    results: dict[str, Any] = {}
    for op in known.values():
        arguments |= arguments_of(op)[1]
        results |= result_of(op.name, REFERENCE)[1]

    assert set(RESULTS) == set(known)
    assert set(known) >= BOUND | HTTP_ONLY
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
