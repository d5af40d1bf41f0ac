"""Several accounts on one server: each with its own orders, money, halts and journal; one socket, one table of ops."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.process import Process, Talk, talk
from tests.prices import price
from tests.server.test_telemetry import parse


SETTINGS = """
[[venues]]
id = "paper"

[[venues]]
id = "second"
exchange = "paper"
"""
BUY: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "realtime.toml"
    path.write_text(SETTINGS)
    return path


def serve(tmp_path: Path, config: Path) -> Process:
    return Process.serve(tmp_path / "j.db", "--config", str(config))


async def working(client: Talk, **args: Any) -> list[str]:
    found = await client.result("order.list", **args)
    return [order["id"] for order in found["orders"]]


async def coins(client: Talk, **args: Any) -> str:
    found = await client.result("balance.get", currency="BTC", **args)
    total: str = found["total"]
    return total


async def test_two_accounts_trade_apart_and_come_back_apart(tmp_path: Path, config: Path) -> None:
    with serve(tmp_path, config) as server:
        async with talk(server.socket) as client:
            assert [v["id"] for v in client.welcome["venues"]] == ["paper", "second"]
            reply = await client.call(
                "subscribe",
                channels=["orders", "orders@second", "orders@paper", "fills@second", "bots@second"],
            )
            names = [c["channel"] for c in reply["result"]["channels"]]
            assert names == ["orders", "orders@second", "orders", "fills@second"]
            assert reply["result"]["failed"][0]["code"] == "unknown_channel"

            ticker = await client.result("market.ticker", symbol="BTC/USDT")
            far = BUY | {"type": "limit", "price": price(ticker)}
            # One client id in each: an account knows nothing of the other's.
            await client.result("order.place", **far, client_order_id="a")
            there = await client.call("order.place", **far, client_order_id="a", venue="second")
            bought = await client.call("order.place", **BUY, client_order_id="b", venue="second")
            again = await client.result("order.place", **far, client_order_id="a", venue="paper")
            nowhere = await client.call("order.place", **far, venue="third")

            assert again["duplicate"]
            assert nowhere["error"]["code"] == "not_found"
            assert "second" in nowhere["error"]["message"]
            assert (await working(client), await working(client, venue="second")) == (
                ["o-1"],
                ["o-second-1"],
            )
            assert there["result"]["id"] == "o-second-1"
            assert bought["ok"], bought["error"]
            assert bought["result"]["status"] == "filled"
            page = await asyncio.to_thread(httpx.get, f"{server.http}/metrics")
            told = parse(page.text)
            fills = {
                key: count for (_, (key,)), count in told["realtime_fills_total"].samples.items()
            }
            filled = await client.result("fill.list", venue="second")
            assert filled["fills"]  # one or, where the best level was small, more
            assert fills == {("venue", "paper"): 0, ("venue", "second"): len(filled["fills"])}
            delays = (await client.result("monitoring.latency"))["accounts"]
            acked = {row["id"]: row["order_to_ack"]["samples"] for row in delays}
            assert acked == {"paper": 1, "second": 2}
            assert set(bought["at"]) <= {
                f"{name}@second" for name in ("orders", "fills", "balances", "positions")
            }
            fill = await client.until("fills@second", bought["at"]["fills@second"]["seq"])
            assert fill["data"][0]["venue"] == "second"
            owned = await coins(client, venue="second")
            none = await client.call("balance.get", currency="BTC")
            assert none["error"]["code"] == "not_found"

            # An order is found by its id, without a word of its account.
            found = await client.result("order.get", order_id="o-second-1")
            assert found["venue"] == "second"

            await client.result("trading.halt", venue="second", cancel=False, reason="drill")
            refused = await client.call("order.place", **far, client_order_id="c", venue="second")
            other = far | {"price": price(ticker, "-0.09")}
            await client.result("order.place", **other, client_order_id="c")

            assert refused["error"]["code"] == "halted"
            status = await client.result("system.status")
            states = {v["id"]: v["trading_state"] for v in status["venues"]}
            assert states == {"paper": "active", "second": "halted"}
            assert status["trading_state"] == "halted"
            assert [(h["scope"], h["venue"]) for h in status["halts"]] == [
                ("venue:second", "second")
            ]
        server.kill()

    with serve(tmp_path, config) as server:
        async with talk(server.socket) as client:
            mine = await working(client)
            assert len(mine) == 2
            assert mine[0] == "o-1"
            assert await working(client, venue="second") == ["o-second-1"]
            assert await coins(client, venue="second") == owned
            refused = await client.call("order.place", **far, venue="second")
            assert refused["error"]["code"] == "halted"
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{server.http}/readyz")).status_code == 200
            history = await client.result("fill.list", venue="second")
            assert len(history["fills"]) == len(filled["fills"])
            assert (await client.result("fill.list"))["fills"] == []

            # A kill switch that names nobody means everybody.
            halted = await client.result("trading.halt", reason="all")
            assert sorted(halted["canceled"]) == ["a", "a", "c"]
            assert (await client.call("order.place", **far))["error"]["code"] == "halted"
            resumed = await client.result("trading.resume", reason="over")
            assert resumed["changed"]
            placed = await client.result("order.place", **far)
            assert placed["id"] not in mine
        assert server.terminate() == 0
