"""What a server tells of its exchanges, over a real socket against the emulated Bybit: every figure is one that was counted."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest

from realtime.app import open_system
from realtime.branch import RefusedStart
from realtime.emulate.bybit import Emulated, emulated
from realtime.emulate.faults import Fault, Kind
from realtime.emulate.floor import Customer
from realtime.settings import Settings
from tests.fakes import D
from tests.flows.process import Process, Talk, talk
from tests.server.test_telemetry import Family, parse


BTC = "BTC/USDT"
BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.001"}
PUBLIC = {"ticker", "orderbook", "trades"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def config(tmp_path: Path, bybit: Emulated, *lines: str) -> tuple[str, ...]:
    path = tmp_path / "realtime.toml"
    head = ["[[venues]]", 'id = "bybit"', f'endpoint = "{bybit.endpoint}"', f'symbols = ["{BTC}"]']
    path.write_text("\n".join([*head, *lines]) + "\n")
    path.chmod(0o600)
    return "--config", str(path)


async def until(client: Talk, holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until something holds; `talk` bounds the time."""
    while not await holds():  # noqa: ASYNC110 - a server in another process tells nobody
        await asyncio.sleep(0.05)


def of(found: dict[str, Family], name: str, **labels: str) -> float:
    """One sample of `/metrics`."""
    return found[f"realtime_{name}"].samples["", tuple(sorted(labels.items()))]


def by_channel(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["channel"].partition(":")[0]: row for row in rows}


@pytest.mark.slow
async def test_paper_on_live_prices_tells_what_comes_from_the_exchange(tmp_path: Path) -> None:
    async with emulated(prices={BTC: 64_000}) as bybit:
        flags = config(tmp_path, bybit)
        with await asyncio.to_thread(Process.serve, tmp_path / "j.db", *flags) as server:
            async with talk(server.socket) as client:
                before = await client.result("market.limits")
                await client.subscribe(f"ticker:{BTC}", f"orderbook:{BTC}", f"trades:{BTC}")

                async def priced() -> bool:
                    bybit.market.print(BTC, 64_000, "0.01")  # a price of five seconds ago is none
                    return bool((await client.call("order.place", **BUY))["ok"])

                await until(client, priced)
                for step in range(40):  # one batch in sixteen is timed
                    bybit.market.print(BTC, 64_000 + step, "0.01")
                limits = await client.result("market.limits", symbol=BTC)
                status = (await client.result("market.status"))["venues"]
                context = await client.result("market.context", symbol=BTC)
                check = await client.result("market.check", symbol=BTC)

                # What the exchange offers, and by what each stream comes: its prices, our orders.
                assert before["sources"]["positions"] == "paper"
                assert limits["capabilities"]["stream"] == {
                    **dict.fromkeys(PUBLIC, "ws"),
                    "ohlcv": "derived",
                    **dict.fromkeys(("orders", "fills", "balances", "positions"), "paper"),
                }
                assert limits["sources"] == {
                    **dict.fromkeys((*PUBLIC, "ohlcv"), "ws"),
                    **dict.fromkeys(("orders", "fills", "balances", "positions"), "paper"),
                }
                assert (limits["mode"], limits["venue"]) == ("paper", "bybit")
                assert limits["price_tick"] == "0.01"
                assert [(v["id"], v["kind"], v["source"]) for v in status] == [
                    ("bybit", "paper", "bybit")
                ]
                assert status[0]["status"] == "ok"
                assert status[0]["latency_ms"] >= 0
                assert context["symbol"] == BTC
                assert set(check) >= {"symbol", "allowed"} or "checks" in check

                feeds = by_channel((await client.result("monitoring.hybrid"))["feeds"])
                metrics = await client.result("monitoring.metrics")
                latency = await client.result("monitoring.latency")
                (way,) = metrics["exchanges"]
                assert set(feeds) == PUBLIC
                assert all(0 <= (row["last_msg_age_ms"] or 0) < 10_000 for row in feeds.values())
                assert all(row["venue"] == "bybit" for row in feeds.values())
                assert (way["venue"], way["use"]) == ("bybit", "public")
                assert way["streams"]["messages"] >= 40
                # The markets were asked for, and every request that was sent was answered and timed.
                sent = sum(lane["sent"] for lane in way["lanes"].values())
                (asked,) = latency["exchanges"]
                assert 0 < asked["request"]["samples"] <= sent
                assert 0 < asked["request"]["p50_ms"] < 10_000
                (account,) = latency["accounts"]
                assert account["id"] == "bybit"
                assert account["exchange_to_server"]["samples"] > 0
                assert -1_000 < account["exchange_to_server"]["p50_ms"] < 10_000

                # A socket that is cut: lost, asked for instead, subscribed anew, and nothing of it is forgotten.
                assert bybit.faults.strike("public*", Fault(Kind.ABORT)) > 0

                async def back() -> bool:
                    rows = (await client.result("monitoring.hybrid"))["feeds"]
                    bybit.market.move(BTC, 64_000 + len(client.messages) % 10)
                    lost = all(row["reconnects"] for row in rows)
                    return lost and all(row["state"] == "ok" for row in rows)

                await until(client, back)
                hybrid = await client.result("monitoring.hybrid")
                feeds = by_channel(hybrid["feeds"])
                assert all(row["fallbacks"] >= 1 for row in feeds.values())
                assert all(0 < row["health"] < 1 for row in feeds.values())
                assert sum(row["rest_calls"] for row in feeds.values()) >= 1
                assert hybrid["accounts"][0]["id"] == "bybit"
                assert hybrid["accounts"][0]["feeds"] == 3
                (venue,) = (await client.result("market.status"))["venues"]
                assert venue["reconnects"] >= 3

            async with httpx.AsyncClient(base_url=server.http) as http:
                page = (await http.get("/metrics")).text
            found = parse(page)
            one = {"venue": "bybit", "use": "public"}
            assert of(found, "exchange_reconnects_total", **one) >= 3
            assert of(found, "exchange_fallbacks_total", **one) >= 3
            assert of(found, "exchange_rest_calls_total", **one) >= 1
            assert of(found, "exchange_available", **one) == 1
            assert of(found, "exchange_dropped_total", what="frame", **one) == 0
            assert of(found, "fills_total", venue="bybit") == 1
            assert of(found, "exchange_requests_total", lane="poll", **one) >= 1
            assert BTC not in page  # an exchange's names are no labels
            server.kill()


@pytest.mark.slow
async def test_a_live_account_counts_its_own_streams_and_its_own_way(tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    customer = Customer(balances={"USDT": D(10_000)}, withdraws=True)
    async with emulated(prices={BTC: 64_000}, customers=(customer,)) as bybit:
        keys = (f'key = "{bybit.key}"', f'secret = "{bybit.secret}"')
        flags = config(tmp_path, bybit, *keys, f'allow_withdrawal_key = "{bybit.key[-4:]}"')
        flags = (*flags, "--mode", "live")
        with await asyncio.to_thread(Process.serve, tmp_path / "j.db", *flags, **env) as server:
            token = {"Authorization": f"Bearer {server.facts['token'].split()[0]}"}
            async with talk(server.socket, **token) as client:
                await client.subscribe(f"ticker:{BTC}", f"orderbook:{BTC}")

                async def bought() -> bool:
                    bybit.market.print(BTC, 64_000, "0.01")  # a price of five seconds ago is none
                    return bool((await client.call("order.place", **BUY))["ok"])

                await until(client, bought)
                rests = BUY | {"type": "limit", "price": "60000"}

                async def told() -> bool:
                    rows = by_channel((await client.result("monitoring.hybrid"))["feeds"])
                    if rows["fills"]["messages"] and rows["orders"]["messages"]:
                        return True
                    # Its streams may have been on their way up when it bought.
                    await client.call("order.place", **rests)
                    await bought()
                    return False

                await until(client, told)
                limits = await client.result("market.limits", symbol=BTC)
                ways = {
                    w["use"]: w for w in (await client.result("monitoring.metrics"))["exchanges"]
                }
                delays = (await client.result("monitoring.latency"))["exchanges"]
                alerts = (await client.result("alert.list"))["alerts"]

                assert limits["sources"]["orders"] == limits["sources"]["balances"] == "ws"
                assert limits["sources"]["positions"] is None  # on spot they are made of fills
                assert limits["fees"] == "account"
                assert set(ways) == {"public", "account"}
                assert ways["account"]["lanes"]["entry"]["sent"] >= 1
                assert ways["account"]["streams"]["messages"] >= 2
                assert ways["public"]["lanes"]["entry"]["sent"] == 0
                assert {row["use"]: row["request"]["samples"] > 0 for row in delays} == {
                    "public": True,
                    "account": True,
                }
                # It was named, so it trades; and everybody is told what it could do.
                assert "key_can_withdraw" in {alert["code"] for alert in alerts}

                assert bybit.faults.strike("private*", Fault(Kind.ABORT)) > 0

                async def back() -> bool:
                    rows = by_channel((await client.result("monitoring.hybrid"))["feeds"])
                    return bool(rows["orders"]["reconnects"])

                await until(client, back)
                ways = {
                    w["use"]: w for w in (await client.result("monitoring.metrics"))["exchanges"]
                }
                assert ways["account"]["streams"]["reconnects"] >= 1
                assert ways["account"]["streams"]["fallbacks"] >= 1
            server.kill()


async def test_a_key_that_can_withdraw_does_not_start_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    customer = Customer(balances={"USDT": D(10_000)}, withdraws=True)
    async with emulated(prices={BTC: 64_000}, customers=(customer,)) as bybit:
        account: dict[str, Any] = {
            "id": "bybit",
            "endpoint": bybit.endpoint,
            "key": bybit.key,
            "secret": bybit.secret,
            "symbols": [BTC],
        }
        settings = Settings(mode="live", store={"path": ""}, venues=[account])
        why = r"venues\.bybit: allow_withdrawal_key: the key \*\*\*.* can withdraw"
        with pytest.RaisesGroup(pytest.RaisesExc(RefusedStart, match=why)):
            async with open_system(settings):
                pass
