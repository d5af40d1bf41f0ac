"""A day with a real server: from market to fill on every socket, killed, restarted, stopped."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.process import Process, talk
from tests.prices import price


BUY: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "market", "amount": "0.001"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def below(ticker: dict[str, Any]) -> dict[str, Any]:
    """A buy that rests."""
    return BUY | {"type": "limit", "price": price(ticker)}


async def test_an_order_fills_on_every_socket_and_all_is_there_after_a_kill(
    tmp_path: Path,
) -> None:
    """Conformance 17, 36, 37, 54."""
    data = tmp_path / "j.db"
    with Process.serve(data) as server:
        async with talk(server.socket) as one, talk(f"{server.socket}?client=two") as two:
            (before,) = await two.subscribe("fills")
            await one.subscribe("orders", "fills", "positions", "balances")
            placed = await one.call("order.place", **BUY, client_order_id="g-1")

            assert placed["ok"], placed["error"]["message"]
            assert placed["result"]["status"] == "filled"
            for name, at in placed["at"].items():
                await one.until(name, at["seq"])
            fill = await two.until("fills", placed["at"]["fills"]["seq"])
            assert [entry["client_order_id"] for entry in fill["data"]] == ["g-1"] * len(
                fill["data"]
            )
            ticker = await one.result("market.ticker", symbol="BTC/USDT")
            rest = below(ticker)
            working = await one.result("order.place", **rest, client_order_id="g-2")
            position = (await one.result("position.list"))["positions"]
            balances = (await one.result("balance.list"))["balances"]
            last = await one.subscribe("fills")
        server.kill()

    with Process.serve(data) as server:
        async with talk(server.socket) as three, httpx.AsyncClient(base_url=server.http) as http:
            resumed = await three.subscribe(
                {"channel": "fills", "since": {"epoch": before["epoch"], "seq": before["seq"]}}
            )
            missed = await three.until("fills", last[0]["seq"])
            same = await three.call("order.place", **rest, client_order_id="g-2")
            other = await three.call("order.place", **BUY, client_order_id="g-2")
            found = await three.result("order.list")

            assert resumed[0]["resumed"] is True
            assert resumed[0]["epoch"] == before["epoch"]
            assert missed["data"][0]["client_order_id"] == "g-1"
            assert same["result"] == working | {"duplicate": True}
            assert other["error"]["code"] == "conflict"
            assert [row["client_order_id"] for row in found["orders"]] == ["g-2"]
            now = (await three.result("position.list"))["positions"]
            assert [(p["id"], p["amount"], p["entry_price"]) for p in now] == [
                (p["id"], p["amount"], p["entry_price"]) for p in position
            ]
            money = (await three.result("balance.list"))["balances"]
            assert [(b["id"], b["total"], b["reserved"]) for b in money] == [
                (b["id"], b["total"], b["reserved"]) for b in balances
            ]

            answer = (await http.get("/api/snapshot", params={"channel": "orders"})).json()
            (again,) = await three.subscribe(
                {"channel": "orders", "since": {"epoch": answer["epoch"], "seq": answer["seq"]}}
            )
            assert again["resumed"] is True

            canceled = await three.result("order.cancel", client_order_id="g-2")
            assert canceled["status"] == "canceled"


def test_the_twin_over_http_is_the_same_op(tmp_path: Path) -> None:
    with Process.serve(tmp_path / "j.db") as server, httpx.Client(base_url=server.http) as http:
        placed = http.post("/api/orders", json={**BUY, "client_order_id": "h-1"})
        again = http.post("/api/order.place", json={**BUY, "client_order_id": "h-1"})
        wrong = http.post("/api/order.place", json=BUY | {"amount": "100"})
        got = http.get("/api/orders", params={"status": "filled"})
        one = http.get("/api/orders/" + placed.json()["result"]["id"])
        history = http.get("/api/orders/history")

        assert placed.status_code == again.status_code == 200
        assert again.json()["result"]["duplicate"] is True
        assert wrong.status_code == 422
        assert [o["client_order_id"] for o in got.json()["result"]["orders"]] == ["h-1"]
        assert one.json()["result"]["fills"]
        assert history.json()["result"]["orders"][0]["client_order_id"] == "h-1"
        assert http.get("/healthz").status_code == 200
        assert http.get("/readyz").status_code == 200


@pytest.mark.promise("O7")
@pytest.mark.promise("O11")
async def test_a_halt_and_a_deadman_survive_a_kill(tmp_path: Path) -> None:
    """Conformance 47, 48, at a real server."""
    data = tmp_path / "j.db"
    with Process.serve(data) as server:
        async with talk(f"{server.socket}?client=bot") as one:
            rest = below(await one.result("market.ticker", symbol="BTC/USDT"))
            await one.result("order.place", **rest, client_order_id="g-1")
            await one.result("deadman", timeout=60, grace=1)
        server.kill()

    with Process.serve(data) as server:
        async with talk(server.socket) as other:
            await other.subscribe("events?type=deadman_fired")
            fired = await other.until("events?type=deadman_fired", 1)

            assert fired["data"][-1]["data"]["canceled"] == ["g-1"]
            assert fired["data"][-1]["data"]["cause"] == "grace"

            halted = await other.result("trading.halt", reason="drill")
            assert halted["journaled"] is True
        server.kill()

    with Process.serve(data) as server:
        async with talk(server.socket) as again:
            refused = await again.call("order.place", **BUY)

            assert again.welcome["trading_state"] == "halted"
            assert refused["error"]["code"] == "halted"


@pytest.mark.promise("T7")
async def test_sigterm_says_goodbye_and_ends_with_zero(tmp_path: Path) -> None:
    """Conformance 35, promise T7."""
    with Process.serve(tmp_path / "j.db") as server:
        async with talk(server.socket) as one:
            await one.subscribe("orders")
            placed = await one.result("order.place", **BUY, client_order_id="g-1")
            server.process.terminate()
            shutdown = await one.notice("shutdown")
            code = await one.closed()

        assert placed["status"] == "filled"
        assert shutdown["data"]["reconnect_after"] > 0
        assert code == 4503
        assert server.wait() == 0


@pytest.mark.promise("O14")
async def test_a_second_process_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    """Promise O14."""
    data = tmp_path / "j.db"
    with Process.serve(data) as server:
        with Process("serve", "--port", "0", "--data", str(data)) as second:
            code, said = second.end()

        assert code == 2
        assert str(server.process.pid) in said
        async with talk(server.socket) as one:
            assert (await one.result("order.place", **BUY))["status"] == "filled"


async def test_on_stop_cancel_takes_resting_orders_along(tmp_path: Path) -> None:
    data = tmp_path / "j.db"
    with Process.serve(data, REALTIME_ON_STOP="cancel") as server:
        async with talk(server.socket) as one:
            rest = below(await one.result("market.ticker", symbol="BTC/USDT"))
            await one.result("order.place", **rest, client_order_id="g-1")
        assert server.terminate() == 0

    with Process.serve(data) as server:
        async with talk(server.socket) as one:
            assert (await one.result("order.list"))["orders"] == []
            ended = await one.result("order.get", client_order_id="g-1")
            assert ended["status"] == "canceled"
