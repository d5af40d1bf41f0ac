"""`at` of a reply names each stream that its command has changed (protocol 8.1)."""

import asyncio
from typing import Any

from tests.fakes import BTC, BUY, World


MARKET: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
MAIN: dict[str, Any] = {"bot_id": "main"}
TREND: dict[str, Any] = {"bot_id": "trend"}
OUTSIDE: dict[str, Any] = {"bot_id": "outside"}
HELD = f"{BTC}|long"
LIKELY = {"probability_buy": 0.8, "probability_sell": 0.1, "probability_hold": 0.1}
SIGNAL = {"symbol": BTC, "signal_type": "buy", "confidence": 0.9, "source": "rsi"}
STREAMS = (
    "alerts",
    "balances",
    "bot:main",
    "bot:outside",
    "bots",
    "config",
    "fills",
    "orders",
    "positions",
    "risk",
    "signals",
    "status",
)
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("order.place", BUY | {"client_order_id": "g-1"}),
    ("order.amend", {"client_order_id": "g-1", "price": "63000"}),
    ("order.cancel", {"client_order_id": "g-1"}),
    ("order.place", MARKET | {"client_order_id": "g-2"}),
    ("order.batch", {"items": [{"do": "place", **BUY, "client_order_id": "g-3"}]}),
    ("order.cancel_all", {}),
    ("position.set_cost_basis", {"position_id": HELD, "entry_price": "60000"}),
    ("position.close", {"position_id": HELD, "fraction": 0.5}),
    ("position.close_all", {}),
    ("deadman", {"timeout": 60}),
    ("deadman", {"timeout": 0}),
    ("risk.params.set", {"patch": {"max_order_notional": "5000"}}),
    ("risk.params.set", {"patch": {"max_order_notional": "5000"}}),
    ("risk.reset_daily", {"reason": "looked at"}),
    ("portfolio.weights.set", {"weights": {"ema_crossover": 0.5, "rsi": 0.3, "fvg": 0.2}}),
    ("portfolio.weights.set", {"weights": {"ema_crossover": 0.4, "rsi": 0.4, "fvg": 0.2}}),
    ("portfolio.weights.auto", {}),
    ("portfolio.process_signals", {"signals": [{**SIGNAL, "indicators": LIKELY}]}),
    ("portfolio.rebalance", {"targets": [{"symbol": BTC, "weight": "0.05"}], "dry_run": False}),
    ("config.update", {"patch": {"strategy": {"timeframe": "15m"}}}),
    ("config.update", {"patch": {"risk": {"max_order_notional": "4000"}}}),
    ("config.probability.set", {"patch": {"combination_method": "majority_vote"}}),
    ("config.strategy.set", {"name": "rsi", "params": {"oversold": 25}}),
    ("config.strategy.set_weight", {"name": "rsi", "weight": 0.25}),
    ("config.rollback", {"version": 1}),
    ("trading_window.set", {"patch": {"start_hour": 8, "end_hour": 17}}),
    ("bot.configure", TREND | {"patch": {"symbols": [BTC], "dry_run": True}}),
    ("trading_window.set", TREND | {"patch": {"start_hour": 8, "end_hour": 17}}),
    ("bot.delete", TREND),
    ("bot.configure", OUTSIDE | {"patch": {"kind": "remote", "symbols": [BTC]}}),
    ("bot.attach", OUTSIDE),
    ("bot.attach", OUTSIDE),
    ("bot.detach", OUTSIDE),
    ("bot.configure", MAIN | {"patch": {"max_retries": 4}}),
    ("bot.start", MAIN),
    ("bot.pause", MAIN),
    ("bot.resume", MAIN),
    ("bot.run_once", MAIN),
    ("bot.reset_metrics", MAIN),
    ("bot.stop", MAIN),
    ("trading.halt", {"symbol": BTC}),
    ("trading.resume", {"symbol": BTC, "reason": "seen"}),
    ("trading.halt", {}),
    ("trading.halt", {}),
    ("trading.resume", {"reason": "seen"}),
    ("trading.resume", {"reason": "seen"}),
    ("bot.emergency_stop", MAIN),
    ("bot.emergency_stop", MAIN),
    ("bot.rearm", MAIN),
    ("bot.rearm", MAIN),
    ("bot.emergency_stop", {}),
    ("trading.resume", {"reason": "seen"}),
    ("strategy.reload", {}),
]
"""In this order: some need what the ones before have made."""
ELSEWHERE = {
    "alert.ack",
    "backtest.cancel",
    "backtest.delete",
    "backtest.optimize",
    "backtest.run",
    "config.reload",
    "order.adopt",
    "order.resolve",
    "system.fault",
    "system.token.create",
    "system.token.revoke",
}
"""What needs more than this desk has."""


async def test_every_stream_that_a_command_moves_is_named() -> None:
    """Found by an audit: changes of limits and weights left out `config`, halts left out `alerts`."""
    world = World()
    async with world.life() as system:
        hub = system.hub
        changing = {op.name for op in system.registry.ops.values() if op.command}
        assert changing == {op for op, _ in CALLS} | ELSEWHERE
        await world.call("bot.configure", **OUTSIDE, patch={"symbols": [BTC]})
        for name in STREAMS:
            hub.snapshot(hub.channel(name))  # a stream is there from its first reader on
        for op, args in CALLS:
            # Off the ticks of each quarter and second, whose rows are nobody's doing.
            await asyncio.sleep(2.137)
            before = {name: hub.position(name) for name in STREAMS}
            reply = await world.call(op, **args)
            assert reply.ok, (op, reply.error)
            after = {name: hub.position(name) for name in STREAMS}
            moved = {name for name in STREAMS if before[name] != after[name]}
            at = reply.at or {}
            assert {name: at.get(name) for name in moved} == {
                name: after[name] for name in moved
            }, op
