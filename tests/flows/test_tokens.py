"""Tokens that may do less, over real sockets, and their end; also over a `kill -9`."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from tests.flows.process import Process, Talk, talk
from tests.prices import price


LOCKED = {"REALTIME_AUTH__REQUIRED": "true"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def enter(line: Talk, token: str) -> dict[str, Any]:
    return await line.result("auth", token=token)


def code(reply: dict[str, Any]) -> str:
    found: str = reply["error"]["code"]
    return found


def holds(folder: Path, secret: str) -> bool:
    """Whether any file has it."""
    return any(secret.encode() in file.read_bytes() for file in folder.iterdir())


async def test_a_token_may_what_it_was_made_for_until_it_is_revoked_and_a_kill_changes_nothing(
    tmp_path: Path,
) -> None:
    data = tmp_path / "j.db"
    with Process.serve(data, **LOCKED) as server:
        root = server.facts["token"].split()[0]
        async with talk(server.socket) as admin, talk(server.socket) as screen:
            own = (await enter(admin, root))["role"]
            made = await admin.result("system.token.create", subject="screen", scopes=["read"])
            kept = await admin.result("system.token.create", subject="desk", scopes=["trade"])
            seen = await enter(screen, made["token"])
            looked = await screen.call("order.list")
            traded = await screen.call("order.cancel_all")
            more = await screen.call("system.token.create", subject="me", scopes=["admin"])
            bearer = {"Authorization": f"Bearer {made['token']}"}
            async with httpx.AsyncClient(headers=bearer) as web:
                twin = (await web.post(f"{server.http}/api/order.list", json={})).status_code

            ended = await admin.result("system.token.revoke", token_id=made["token_id"])
            closed = await screen.closed()
            again = await admin.call("system.token.revoke", token_id=made["token_id"])
            listed = (await admin.result("system.token.list"))["tokens"]
            audit = (await admin.result("event.list", limit=50))["events"]
            server.kill()

    assert own == "admin"
    assert (seen["subject"], seen["role"], seen["scopes"]) == ("screen", "viewer", ["read"])
    assert looked["ok"]
    assert code(traded) == code(more) == "forbidden"
    assert twin == 200
    assert (ended["subject"], closed, code(again)) == ("screen", 4401, "not_found")
    assert [(row["subject"], row["role"]) for row in listed] == [
        ("admin", "admin"),
        ("desk", "trader"),
    ]
    told = {row["type"]: row for row in audit if row["type"].startswith("token_")}
    assert told["token_created"]["subject"] == told["token_revoked"]["subject"] == "admin"
    assert told["token_revoked"]["data"]["token_id"] == made["token_id"]
    assert not any(holds(tmp_path, one["token"]) for one in (made, kept))

    with Process.serve(data, **LOCKED) as server:
        assert "token" not in server.facts
        async with talk(server.socket) as admin, talk(server.socket) as other:
            wrong = await other.call("auth", token=made["token"])
            right = await other.call("auth", token=kept["token"])
            await enter(admin, root)
            assert (await admin.result("system.token.list"))["tokens"] == listed

    assert code(wrong) == "unauthorized"
    assert right["result"]["role"] == "trader"


async def test_nobody_locks_himself_out_and_mistakes_are_named(tmp_path: Path) -> None:
    with Process.serve(tmp_path / "j.db", **LOCKED) as server:
        async with talk(server.socket) as admin:
            await enter(admin, server.facts["token"].split()[0])
            (row,) = (await admin.result("system.token.list"))["tokens"]
            last = await admin.call("system.token.revoke", token_id=row["token_id"])
            past = await admin.call(
                "system.token.create", subject="x", scopes=["read"], expires_ts=1
            )
            scope = await admin.call("system.token.create", subject="x", scopes=["all"])
            none = await admin.call("system.token.create", subject="x", scopes=[])
            nowhere = await admin.call("system.token.revoke", token_id="t-nowhere")
            assert len((await admin.result("system.token.list"))["tokens"]) == 1

            # Another one of an admin: then the first may go, and behind the reply this connection.
            await admin.result("system.token.create", subject="y", scopes=["admin"])
            own = await admin.result("system.token.revoke", token_id=row["token_id"])
            assert own["token_id"] == row["token_id"]
            with pytest.raises(ConnectionClosed, match="4401"):
                await admin.call("ping")

    assert code(last) == "conflict"
    assert past["error"]["details"]["fields"][0]["field"] == "expires_ts"
    assert code(scope) == code(none) == "invalid"
    assert code(nowhere) == "not_found"


async def test_where_nobody_is_asked_no_token_is_made(tmp_path: Path) -> None:
    with Process.serve(tmp_path / "j.db") as server:
        async with talk(server.socket) as line:
            made = await line.call("system.token.create", subject="x", scopes=["read"])
            listed = await line.result("system.token.list")

    assert code(made) == "not_supported"
    assert listed == {"tokens": [], "next_cursor": None}


# --- limits of orders -----------------------------------------------------------------------------


TWO_ACCOUNTS = """
[[venues]]
id = "paper"

[[venues]]
id = "second"
exchange = "paper"
"""
BTC, ETH = "BTC/USDT", "ETH/USDT"
MOST = "300"
OTHERS = {"rule": "token_symbols", "symbol": ETH, "symbols": [BTC]}


def buy(symbol: str, cost: str, **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "side": "buy", "type": "market", "cost": cost, **more}


def details(reply: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = reply["error"]["details"]
    return found


def not_its_symbol(reply: dict[str, Any]) -> None:
    """Whether a reply refuses a symbol, and says which ones there are."""
    assert code(reply) == "forbidden"
    assert details(reply).items() >= OTHERS.items()


async def test_a_token_trades_its_symbols_up_to_its_notional_and_closes_and_stops_as_it_wants(
    tmp_path: Path,
) -> None:
    data, config = tmp_path / "j.db", tmp_path / "realtime.toml"
    config.write_text(TWO_ACCOUNTS)
    with Process.serve(data, "--config", str(config), **LOCKED) as server:
        root = server.facts["token"].split()[0]
        async with talk(server.socket) as admin:
            await enter(admin, root)
            made = await admin.result(
                "system.token.create",
                subject="carol",
                scopes=["trade"],
                symbols=["btcusdt", BTC],
                max_order_notional="300.00",
            )
            await admin.result("order.place", **buy(ETH, "200"))
            eth = price(await admin.result("market.ticker", symbol=ETH))
            nearer = price(await admin.result("market.ticker", symbol=ETH), "-0.07")
            rest = {"symbol": ETH, "side": "buy", "type": "limit", "price": eth, "amount": "0.1"}
            others = (await admin.result("order.place", **rest))["id"]

            limits = {"symbols": [BTC], "max_order_notional": MOST}
            listed = (await admin.result("system.token.list"))["tokens"]
            assert made.items() >= limits.items()
            assert [row.items() >= limits.items() for row in listed] == [False, True]
            assert not {"symbols", "max_order_notional"} & listed[0].keys()

            bearer = {"Authorization": f"Bearer {made['token']}"}
            async with talk(server.socket, **bearer) as carol:
                assert carol.welcome.items() >= limits.items()
                assert (await enter(carol, made["token"])).items() >= limits.items()
                await other_symbols(carol, others, nearer)
                await too_much(carol)
                # What is not hers to do at all.
                for op, args in (
                    (
                        "position.set_cost_basis",
                        {"position_id": f"{ETH}|long", "entry_price": "1"},
                    ),
                    ("system.token.create", {"subject": "me", "scopes": ["trade"]}),
                    ("order.adopt", {"order_id": others, "reason": "mine"}),
                ):
                    assert details(await carol.call(op, **args))["scope"] == "admin", op
            await by_http(server.http, made["token"])
            assert (await admin.result("order.get", order_id=others))["price"] == eth
            server.kill()

    with Process.serve(data, "--config", str(config), **LOCKED) as server:
        bearer = {"Authorization": f"Bearer {made['token']}"}
        async with talk(server.socket, **bearer) as carol:
            assert carol.welcome.items() >= limits.items()
            not_its_symbol(await carol.call("order.place", **buy(ETH, "10")))
            much = await carol.call("order.place", **buy(BTC, "301"))
            assert "token_notional" in details(much)["failed"]
            # What ends something is never limited: not a cancel, not a close of more than that, not a halt.
            await carol.result("order.cancel", order_id=others)
            held = {p["symbol"] for p in (await carol.result("position.list"))["positions"]}
            assert held == {BTC, ETH}
            not_all = await carol.result("position.close_all")
            (failed,) = not_all["failed"]
            assert failed["position_id"] == f"{ETH}|long"
            not_its_symbol(failed)
            (closed,) = not_all["closed"]
            assert Decimal(closed["filled"]) * Decimal(closed["average"]) > Decimal(MOST)
            await carol.result("deadman", timeout=600)
            stopped = await carol.result("trading.halt", flatten=True, reason="drill")
            assert stopped["flat"], stopped


async def other_symbols(carol: Talk, others: str, nearer: str) -> None:
    """Try to trade in another symbol, in every way there is."""
    small = buy(ETH, "10")
    trials: list[tuple[str, dict[str, Any]]] = [
        ("order.place", small),
        ("order.place", small | {"symbol": "ethusdt"}),
        ("order.place", small | {"venue": "second"}),
        ("order.amend", {"order_id": others, "price": nearer}),
        ("order.amend", {"order_id": others, "amount": "0.2"}),
        ("order.amend", {"order_id": others, "stop_loss": "1"}),
        ("order.amend", {"order_id": others, "price": nearer, "dry_run": True}),
        ("position.close", {"position_id": f"{ETH}|long"}),
    ]
    targets = [{"symbol": BTC, "weight": "0.005"}, {"symbol": ETH, "weight": "0.1"}]
    trials += [
        ("portfolio.rebalance", {"targets": targets, "dry_run": dry}) for dry in (True, False)
    ]
    for op, args in trials:
        not_its_symbol(await carol.call(op, **args))
    looks: list[tuple[str, dict[str, Any]]] = [
        ("order.preview", small),
        ("order.place", small | {"dry_run": True}),
        ("position.close", {"position_id": f"{ETH}|long", "dry_run": True}),
    ]
    for op, args in looks:
        shown = await carol.result(op, **args)
        assert (shown["valid"], shown["code"]) == (False, "forbidden"), op
        assert shown["failed"] == ["token_symbols"], op
    judged = await carol.result("risk.validate_order", **small)
    assert (judged["valid"], judged["failed"]) == (False, ["token_symbols"])

    far = price(await carol.result("market.ticker", symbol=BTC))
    mine = {"symbol": BTC, "side": "buy", "type": "limit", "amount": "0.001", "price": far}
    items = [
        {"do": "place", **small},
        {"do": "amend", "order_id": others, "price": nearer},
        {"do": "place", **mine, "client_order_id": "mine"},
        {"do": "amend", "client_order_id": "mine", "amount": "0.05"},
    ]
    done = (await carol.result("order.batch", items=items))["items"]
    not_its_symbol(done[0])
    not_its_symbol(done[1])
    assert done[2]["ok"], done[2]
    assert details(done[3])["rule"] == "token_notional"


async def too_much(carol: Talk) -> None:
    """Try to trade more at a time than the token may, and as much as it may twice."""
    much = buy(BTC, "300.01")
    refused = await carol.call("order.place", **much)
    there = await carol.call("order.place", **much, venue="second")
    for reply in (refused, there):
        assert code(reply) == "risk_rejected"
        shown = {name: details(reply)[name] for name in ("rule", "value", "limit", "unit")}
        assert shown == {
            "rule": "token_notional",
            "value": "300.01",
            "limit": MOST,
            "unit": "USDT",
        }
    looked = await carol.result("order.preview", **much)
    assert (looked["code"], looked["failed"]) == ("risk_rejected", ["token_notional"])
    for _ in range(2):
        assert (await carol.result("order.place", **buy(BTC, "250")))["status"] == "filled"
    # Its own resting order grows no further than a new one might be.
    grown = await carol.call("order.amend", client_order_id="mine", amount="0.05")
    assert details(grown)["rule"] == "token_notional"


async def by_http(address: str, token: str) -> None:
    """The same over the twin, by the token and by the cookie that it is exchanged for."""
    async with httpx.AsyncClient(headers={"Origin": address}, timeout=60) as web:
        login = await web.post(f"{address}/api/auth.login", json={"token": token})
        assert login.json()["result"]["symbols"] == [BTC]
        by_cookie = await web.post(f"{address}/api/order.place", json=buy(ETH, "10"))
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as web:
        by_token = await web.post(f"{address}/api/order.place", json=buy(ETH, "10"))
        ticket = (await web.post(f"{address}/api/auth.ticket", json={})).json()["result"]["ticket"]
    assert by_cookie.status_code == by_token.status_code == 403
    not_its_symbol(by_cookie.json())
    not_its_symbol(by_token.json())
    where = address.replace("http", "ws", 1)
    async with talk(f"{where}/ws?ticket={ticket}") as carol:
        not_its_symbol(await carol.call("order.place", **buy(ETH, "10")))


async def test_limits_stand_beside_no_scope_that_leads_round_them_and_mistakes_are_named(
    tmp_path: Path,
) -> None:
    with Process.serve(tmp_path / "j.db", **LOCKED) as server:
        async with talk(server.socket) as admin:
            await enter(admin, server.facts["token"].split()[0])

            async def refused(**args: Any) -> tuple[str, str, str]:
                given = {"subject": "x", "scopes": ["trade"], **args}
                reply = await admin.call("system.token.create", **given)
                told = details(reply)
                field = told.get("field") or told["fields"][0]["field"]
                return code(reply), field, reply["error"]["message"]

            for scope in ("bots", "admin"):
                for limit in ({"symbols": [BTC]}, {"max_order_notional": "5"}):
                    why, field, text = await refused(scopes=["trade", scope], **limit)
                    assert (why, field) == ("invalid", "scopes")
                    assert f"{scope} cannot stand beside symbols or max_order_notional" in text
            unknown = await refused(symbols=[BTC, "NO/NO"])
            mistakes: list[dict[str, Any]] = [
                {"symbols": []},
                {"symbols": BTC},
                {"max_order_notional": "0"},
                {"max_order_notional": "-1"},
                {"max_order_notional": "much"},
            ]
            wrong = [(await refused(**args))[:2] for args in mistakes]
            assert len((await admin.result("system.token.list"))["tokens"]) == 1
            nothing = await admin.result(
                "system.token.create",
                subject="free",
                scopes=["bots"],
                symbols=None,
                max_order_notional=None,
            )

    assert unknown[:2] == ("not_found", "symbols.1")
    assert wrong == [
        ("invalid", field) for field in ("symbols", "symbols", *["max_order_notional"] * 3)
    ]
    assert not {"symbols", "max_order_notional"} & nothing.keys()
