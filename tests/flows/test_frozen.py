"""An exchange that stops without a word while its connections stay (promise O10, SIGSTOP of the emulation).

The real server, the unpatched client and `realtime emulate` in a process of its own; time is the machine's.
"""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.flows.process import Process, Talk, talk
from tests.prices import price


BTC = "BTC/USDT"
BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.002"}
EXIT: dict[str, Any] = BUY | {"side": "sell", "amount": "0.001"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def exits_at(ticker: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """At the market, by a stop below it, above it, and far below the band, which no price tells."""
    return (
        EXIT,
        EXIT | {"type": "stop", "stop_price": price(ticker, "-0.2")},
        EXIT | {"type": "limit", "price": price(ticker, "0.4")},
        EXIT | {"type": "limit", "price": price(ticker, "-0.85")},
    )


def account(tmp_path: Path, exchange: Process, mode: str) -> tuple[str, ...]:
    """The flags of a server at the exchange: on paper at its prices, or with its money."""
    config = tmp_path / "realtime.toml"
    lines = ["[[venues]]", 'id = "bybit"', f'symbols = ["{BTC}"]']
    lines.append(f'endpoint = "{exchange.facts["Bybit"].split()[-1]}"')
    if mode == "live":
        lines = [
            'mode = "live"',
            *lines,
            *(f'{n} = "{exchange.facts[n]}"' for n in ("key", "secret")),
        ]
    config.write_text("\n".join(lines) + "\n")
    config.chmod(0o600)
    return ("--config", str(config), *(("--venue", "bybit") if mode == "paper" else ()))


async def preview(line: Talk, order: dict[str, Any]) -> dict[str, Any]:
    return await line.result("order.preview", **order)


async def bought(line: Talk, name: str) -> None:
    """Buy as soon as that is possible, and wait until it can be sold."""
    while not (await line.call("order.place", **BUY, client_order_id=name))["ok"]:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    await filled(line, name)


async def filled(line: Talk, name: str) -> None:
    while True:
        reply = await line.call("order.get", client_order_id=name)
        if reply["ok"] and reply["result"]["status"] == "filled":
            return
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.promise("O10")
@pytest.mark.parametrize("mode", ["paper", "live"])
async def test_a_frozen_exchange_stops_entries_after_five_seconds_and_no_exit(
    mode: str, tmp_path: Path
) -> None:
    exchange = Process("emulate", "bybit", "--port", "0")
    with exchange:
        await asyncio.to_thread(exchange.read_banner)
        flags = account(tmp_path, exchange, mode)
        env = {"XDG_STATE_HOME": str(tmp_path)}
        server = await asyncio.to_thread(Process.serve, tmp_path / "j.db", *flags, **env)
        token = server.facts.get("token", "").split()
        who = {"Authorization": f"Bearer {token[0]}"} if token else {}
        with server:
            async with talk(server.socket, **who) as line, talk(server.socket, **who) as other:
                await line.subscribe(f"ticker:{BTC}")
                await bought(line, "first")
                while not (await preview(line, EXIT))["valid"]:  # noqa: ASYNC110 - its fill is on its way
                    await asyncio.sleep(0.05)
                ticker = await line.result("market.ticker", symbol=BTC)
                near, wild = (
                    {"type": "limit", "price": price(ticker, away)} for away in ("-0.06", "0.55")
                )
                exits = exits_at(ticker)
                assert (await preview(line, exits[-1]))["failed"] == ["price_band"]
                exchange.process.send_signal(signal.SIGSTOP)
                while "stale_market_data" not in (await preview(line, BUY))["failed"]:  # noqa: ASYNC110 - a clock says it
                    await asyncio.sleep(0.05)
                refused = [
                    (await line.call("order.place", **BUY | changed))["error"]["details"]
                    for changed in ({}, near, wild)
                ]
                shown = [await preview(line, exit_order) for exit_order in exits]
                late = asyncio.ensure_future(
                    line.call("order.place", **EXIT, client_order_id="exit")
                )
                while not (await other.call("order.get", client_order_id="exit"))["ok"]:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.05)
                exchange.process.send_signal(signal.SIGCONT)
                reply = await late
                await filled(other, "exit")
                await bought(other, "second")
                fills = (await other.result("fill.list", limit=500))["fills"]
                status = await other.result("system.status")
            server.kill()

    age_ms = int(refused[0]["value"])
    print(f"O10: {mode}: entries refused at a price {age_ms} ms old; the exit went out and filled")
    assert age_ms > int(refused[0]["limit"]) == 5_000
    assert [row["failed"] for row in refused] == [
        ["stale_market_data"],
        ["stale_market_data"],
        ["stale_market_data", "price_band"],
    ]
    for row in shown:
        assert row["valid"], row["failed"]
        assert any(told.startswith("stale_market_data") for told in row["warnings"])
    assert reply["ok"] or reply["error"]["code"] == "outcome_unknown"
    assert len({fill["id"] for fill in fills}) == len(fills)
    assert {fill["client_order_id"] for fill in fills} == {"first", "exit", "second"}
    assert status["ready"]
    assert status["trading_state"] == "active"
