"""Bots over real sockets: one of this server told to run, and a program outside that falls silent."""

from typing import Any

import httpx
import pytest

from tests.flows.process import Process, talk, within_one_hour
from tests.prices import price


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_bot_is_started_watched_and_stopped_and_a_silent_program_loses_its_orders() -> None:
    within_one_hour(15)
    with Process.serve("") as server:
        async with (
            talk(server.socket) as page,
            talk(f"{server.socket}?client=prog") as prog,
            httpx.AsyncClient(base_url=server.http) as http,
        ):
            uses = {"sample": {"params": {"indicator_value": 1}}}
            patch: dict[str, Any] = {"timeframe": "1h", "strategies": uses, "dry_run": True}
            await page.result("bot.configure", bot_id="b", patch=patch)
            await page.subscribe("bots", "signals", "bot:b")
            started = await page.result("bot.start", bot_id="b")
            decided = await page.result("bot.run_once", bot_id="b", request_id="r-1")
            stopped = await http.post("/api/bot/stop", json={"bot_id": "b"})
            shown = await http.get("/api/bot-status", params={"bot_id": "b"})

            assert started["state"] in {"starting", "running"}
            (row,) = decided["decisions"]
            assert row["skipped_reason"] in {"dry_run", "market_check", "warmup"}
            assert stopped.json()["result"]["state"] == "stopped"
            assert shown.json()["result"]["cycle_count"] == 1
            signal = await page.until("signals", 1)
            assert signal["data"][0]["id"] == row["id"]

            remote = {"kind": "remote", "budget": "500", "lease_s": 1}
            await page.result("bot.configure", bot_id="r", patch=remote)
            lease = await prog.result("bot.attach", bot_id="r")
            ticker = await prog.result("market.ticker", symbol="BTC/USDT")
            order = {
                "symbol": "BTC/USDT",
                "side": "buy",
                "type": "limit",
                "amount": "0.001",
                "price": price(ticker),
                "bot_id": "r",
            }
            placed = await prog.call("order.place", **order, client_order_id="g-1")
            beyond = await prog.call("order.place", **(order | {"amount": "0.1"}))
            told = await prog.notice("bot_lapsed")
            left = await page.result("order.list", bot_id="r")
            row = await page.result("bot.status", bot_id="r")

            assert lease["state"] == "running"
            assert placed["ok"], placed
            assert beyond["error"]["details"]["rule"] == "bot_budget"
            assert told["data"]["bot_id"] == "r"
            assert left["orders"] == []
            assert row["state"] == "error"
        assert server.terminate() == 0
