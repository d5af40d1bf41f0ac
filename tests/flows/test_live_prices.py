"""A paper account on a real venue's prices: the real server, the real ccxt client, an emulated exchange (trading 5.3)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from realtime.emulate.bybit import Emulated, emulated
from tests.flows.process import Process, Talk, talk


BTC = "BTC/USDT"
BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.001"}
LIMIT = {"type": "limit"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def served(tmp_path: Path, bybit: Emulated, **env: str) -> AsyncIterator[Process]:
    """A server whose one account is paper on the emulated exchange's prices."""
    config = tmp_path / "realtime.toml"
    config.write_text(
        f'[[venues]]\nid = "bybit"\nendpoint = "{bybit.endpoint}"\nsymbols = ["{BTC}", "ETH/USDT"]\n'
    )
    args = ("--config", str(config), "--venue", "bybit")
    server = await asyncio.to_thread(Process.serve, tmp_path / "j.db", *args, **env)
    with server:
        yield server


async def priced(client: Talk, price: str) -> dict[str, Any]:
    """Read until the ticker shows a price."""
    while True:
        for message in client.messages:
            found: dict[str, Any] = message.get("data", {})
            # The first one of a busy machine is there before the book whose top it shows.
            whole = found.get("last") == price and found.get("ask") is not None
            if message.get("channel") == f"ticker:{BTC}" and whole:
                return found
        await client.read()


async def test_an_account_trades_at_the_exchange_s_prices_and_never_without_them(
    tmp_path: Path,
) -> None:
    async with AsyncExitStack() as exchange:
        bybit = await exchange.enter_async_context(emulated(prices={BTC: 64_000}))
        async with served(tmp_path, bybit) as server, talk(server.socket) as client:
            assert server.facts["mode"] == "paper (bybit)"
            assert client.welcome["mode"] == "paper"
            assert client.welcome["venues"] == [{"id": "bybit", "status": "ok"}]
            await client.subscribe(f"ticker:{BTC}", f"orderbook:{BTC}?rate=0")
            bybit.market.move(BTC, 65_000)
            bybit.market.print(BTC, 65_000, "0.5")
            ticker = await priced(client, "65000.00")
            async with talk(server.socket) as other:
                await other.subscribe(f"ticker:{BTC}", f"orderbook:{BTC}?depth=5", f"trades:{BTC}")
            feeds = (await client.result("monitoring.hybrid"))["feeds"]
            assert [feed["channel"] for feed in feeds] == [
                f"{stream}:{BTC}" for stream in ("orderbook", "ticker", "trades")
            ]

            bought = await client.result("order.place", **BUY)
            rests = await client.result("order.place", **BUY | LIMIT | {"price": "64500"})
            assert bought["status"] == "filled"
            assert bought["average"] == ticker["ask"]  # the exchange's, not ours
            assert rests["status"] == "open"

            # The exchange trades through the resting order: it fills here, and nobody there has heard of it.
            bybit.market.print(BTC, 64_400, "0.5")
            while rests["status"] != "filled":
                rests = await client.result("order.get", order_id=rests["id"])
            assert rests["average"] == "64500.00"
            assert not bybit.floor.exchange.open_orders("main", 0)

            await exchange.aclose()
            await client.notice("stale")
            refused = await client.call("order.place", **BUY)
            status = await client.result("system.status")

            assert refused["error"]["code"] in {"risk_rejected", "venue_rejected"}
            assert status["mode"] == "paper"
            assert status["venues"][0]["source"] == "bybit"  # still, and nothing in its place
            server.kill()


def live(tmp_path: Path, bybit: Emulated, secret: str) -> tuple[str, ...]:
    """The flags of a server that trades for real at the emulated exchange."""
    config = tmp_path / "live.toml"
    config.write_text(
        f'mode = "live"\n[[venues]]\nid = "bybit"\nendpoint = "{bybit.endpoint}"\n'
        f'symbols = ["{BTC}"]\nkey = "{bybit.key}"\nsecret = "{secret}"\n'
    )
    config.chmod(0o600)
    return ("--config", str(config))


@pytest.mark.slow
async def test_a_key_that_is_not_accepted_is_told_and_the_right_one_trades(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    async with emulated(prices={BTC: 64_000}) as bybit:
        wrong = live(tmp_path, bybit, "not-the-secret-at-all")
        with await asyncio.to_thread(Process.serve, tmp_path / "j.db", *wrong, **env) as server:
            token = server.facts["token"].split()[0]
            assert server.facts["mode"] == "live (bybit)"
            async with talk(server.socket, Authorization=f"Bearer {token}") as client:
                reasons = (await client.result("system.status"))["reasons"]
                refused = await client.call("order.place", **BUY)
                assert reasons[0] == "the account is not reconciled"
                assert "does not accept the key" in reasons[1] or "error sign" in reasons[1]
                assert refused["error"]["code"] == "venue_unavailable"
            server.kill()

        right = live(tmp_path, bybit, bybit.secret)
        with await asyncio.to_thread(Process.serve, tmp_path / "j.db", *right, **env) as server:
            async with talk(server.socket, Authorization=f"Bearer {token}") as client:
                assert client.welcome["mode"] == "live"
                args = BUY | LIMIT | {"price": "60000", "client_order_id": "c"}
                # Its price is on its way.
                while not (placed := await client.call("order.place", **args))["ok"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                assert placed["result"]["mode"] == "live"
                (theirs,) = bybit.floor.exchange.open_orders("main", 0)
                assert theirs.price == 60_000
                assert (await client.result("order.cancel", client_order_id="c"))["changed"]
                assert not bybit.floor.exchange.open_orders("main", 0)

            other = Process("serve", "--port", "0", "--data", str(tmp_path / "k.db"), *right, **env)
            with other:
                code, said = await asyncio.to_thread(other.end)
            assert code == 2
            assert "uses the key" in said
            server.kill()
