"""Ops of positions, balances, risk, portfolio, events, alerts and logs."""

import asyncio
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.desk.codec import dumps
from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from realtime.model.risk import TradingState
from tests.fakes import BTC, BUY, World, until


MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
OPERATOR = Principal(subject="olga", scopes=ROLES["operator"])


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


# --- positions and balances -----------------------------------------------------------------------


async def test_positions_are_listed_found_and_valued() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        (row,) = result(await world.call("position.list"))["positions"]
        none = result(await world.call("position.list", symbols=["ETH/USDT"]))
        swaps = result(await world.call("position.list", position_type="swap"))
        one = result(await world.call("position.get", position_id="BTC/USDT|long"))
        nobody = await world.call("position.get", position_id="BTC/USDT|short")
        value = result(await world.call("position.value", symbol="btcusdt", amount="2"))

        assert row["id"] == one["id"] == "BTC/USDT|long"
        assert row["entry_price"] == "64000.10"
        assert none["positions"] == swaps["positions"] == []
        assert nobody.code is Code.NOT_FOUND
        assert (value["value"], value["mark_source"]) == ("128000.1", "mid")


@pytest.mark.parametrize(
    ("how", "left"),
    [
        ({}, "0"),
        ({"fraction": 0.5}, "0.005"),
        ({"amount": "0.004"}, "0.006"),
        ({"fraction": 0.3333}, "0.00667"),
    ],
    ids=str,
)
async def test_a_position_is_closed_in_part_or_whole(how: dict[str, Any], left: str) -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **MARKET_BUY)
        closing = {"position_id": "BTC/USDT|long", "client_order_id": "out", **how}
        reply = result(await world.call("position.close", **closing))
        again = result(await world.call("position.close", **closing))

        assert reply["status"] == "filled"
        assert again == reply | {"duplicate": True}
        amount = system.desk.engine.positions[BTC].amount
        assert format(amount.normalize(), "f") == left


async def test_closing_a_part_is_answered_again_when_its_part_is_below_the_minimum() -> None:
    """Found in review: a resend was told `invalid`, outcome `not_done`, of what had been sold."""
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        closing: dict[str, Any] = {"position_id": "BTC/USDT|long", "client_order_id": "out"}
        closing["fraction"] = 0.01
        first = result(await world.call("position.close", **closing, dry_run=True))
        reply = result(await world.call("position.close", **closing))
        again = result(await world.call("position.close", **closing))
        shown = result(await world.call("position.close", **closing, dry_run=True))
        other = await world.call("position.close", **closing | {"fraction": 0.02})

        assert first["effect"]["orders"] == 1
        assert first["effect"]["amount"] == reply["filled"] == "0.00010"
        assert again == reply | {"duplicate": True}
        assert shown["effect"]["orders"] == 0
        assert (shown["valid"], shown["duplicate"]) == (True, True)
        assert other.code is Code.CONFLICT
        assert len(world.venue.submitted) == 2


async def test_closing_a_fraction_of_one_is_closing_all() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        closing: dict[str, Any] = {"position_id": "BTC/USDT|long", "client_order_id": "out"}
        reply = result(await world.call("position.close", **closing))
        again = result(await world.call("position.close", **closing, fraction=1))
        other = await world.call("position.close", **closing, fraction=0.5)

        assert again == reply | {"duplicate": True}
        assert other.code is Code.CONFLICT


async def test_closing_all_leaves_what_is_less_than_a_lot() -> None:
    world = World()
    world.venue.coins["BTC"] = Decimal("0.000007")
    async with world.life():
        shown = result(await world.call("position.close_all", dry_run=True))["effect"]
        reply = result(await world.call("position.close_all"))

        assert shown["orders"] == 0
        assert reply == {"closed": [], "failed": []}


async def test_closing_what_is_not_there_or_wrongly_is_refused() -> None:
    world = World()
    async with world.life():
        nobody = await world.call("position.close", position_id="BTC/USDT|long")
        await world.call("order.place", **MARKET_BUY)
        wrong: list[dict[str, Any]] = [
            {"type": "limit"},
            {"price": "1"},
            {"amount": "0.01", "fraction": 1},
            {"fraction": 0.0000001},
        ]

        assert nobody.code is Code.NOT_FOUND
        for change in wrong:
            reply = await world.call("position.close", position_id="BTC/USDT|long", **change)
            assert reply.code is Code.INVALID, change
        too_much = await world.call("position.close", position_id="BTC/USDT|long", amount="1")
        assert too_much.code in {Code.RISK_REJECTED, Code.INSUFFICIENT_FUNDS}


async def test_a_limit_order_can_close_too() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        reply = await world.call(
            "position.close", position_id="BTC/USDT|long", type="limit", price="65000"
        )

        assert result(reply)["status"] == "open"


async def test_all_positions_are_closed_and_a_repeat_does_nothing_more() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **MARKET_BUY)
        eth = MARKET_BUY | {"symbol": "ETH/USDT", "amount": "0.1"}
        await world.call("order.place", **eth)
        shown = result(await world.call("position.close_all", dry_run=True))["effect"]
        reply = result(await world.call("position.close_all", request_id="r-1"))
        again = result(await world.call("position.close_all", request_id="r-1"))

        assert shown["positions"] == 2
        assert {row["position_id"] for row in reply["closed"]} == {
            "BTC/USDT|long",
            "ETH/USDT|long",
        }
        assert reply["failed"] == []
        assert again["duplicate"] is True
        assert all(not p.amount for p in system.desk.engine.positions.values())
        assert len(world.venue.submitted) == 4


async def test_a_cost_basis_is_told_by_an_admin() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        told: dict[str, Any] = {"position_id": "BTC/USDT|long", "entry_price": "50000"}
        by_operator = await world.call("position.set_cost_basis", who=OPERATOR, **told)
        reply = result(await world.call("position.set_cost_basis", **told))
        again = result(await world.call("position.set_cost_basis", **told))

        assert by_operator.code is Code.FORBIDDEN
        assert reply["entry_price"] == "50000.00"
        assert (reply["changed"], again["changed"]) == (True, False)


async def test_balances_have_their_value() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        listed = result(await world.call("balance.list"))
        one = result(await world.call("balance.get", currency="btc"))
        nobody = await world.call("balance.get", currency="DOGE")
        elsewhere = result(await world.call("balance.list", wallet="swap"))

        assert {row["id"] for row in listed["balances"]} == {"USDT|spot", "BTC|spot"}
        assert listed["valuation_currency"] == "USDT"
        assert one["total"] == "0.01"
        assert nobody.code is Code.NOT_FOUND
        assert elsewhere["balances"] == []


# --- risk -----------------------------------------------------------------------------------------


async def test_limits_change_by_version_and_loosening_needs_an_admin(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        known = result(await world.call("risk.params.get"))
        tighter = {"max_order_notional": "500"}
        changed = result(
            await world.call("risk.params.set", who=OPERATOR, patch=tighter, version=1)
        )
        stale = await world.call("risk.params.set", patch=tighter, version=1)
        same = result(await world.call("risk.params.set", patch=tighter))
        looser = {"max_order_notional": None}
        forbidden = await world.call("risk.params.set", who=OPERATOR, patch=looser)
        refused = await world.call("order.place", **BUY)

        assert known["version"] == 1
        assert (changed["version"], changed["max_order_notional"]) == (2, "500")
        assert stale.code is Code.CONFLICT
        assert same["changed"] is False
        assert forbidden.code is Code.FORBIDDEN
        assert refused.code is Code.RISK_REJECTED

    async with world.life():
        kept = result(await world.call("risk.params.get"))
        loosened = result(await world.call("risk.params.set", patch=looser))

        assert kept["max_order_notional"] == "500"
        assert loosened["version"] == 3
        assert (await world.call("order.place", **BUY)).ok


@pytest.mark.parametrize(
    "patch",
    [
        {"nonsense": 1},
        {"version": 7},
        {"max_order_notional": "-1"},
        {"max_order_notional": "a lot"},
        {"max_order_notional": 0.12345678901234567},
        {"max_open_orders": "5"},
        {"max_open_orders": True},
        {"max_open_orders": -1},
        {"self_trade": 1},
        {"allowed_symbols": "BTC/USDT"},
        {"on_breach": "panic"},
        {"order_burst": None},
    ],
    ids=str,
)
async def test_a_limit_that_makes_no_sense_is_refused(patch: dict[str, Any]) -> None:
    world = World()
    async with world.life():
        reply = await world.call("risk.params.set", patch=patch)

        assert reply.code is Code.INVALID
        assert result(await world.call("risk.params.get"))["version"] == 1


@pytest.mark.parametrize(
    ("patch", "loosens"),
    [
        ({"max_open_orders": 100}, False),
        ({"allowed_symbols": ["BTC/USDT"]}, False),
        ({"self_trade": True}, False),
        ({"duplicate_order_ms": 500}, False),
        ({"on_breach": "halted"}, False),
        ({"warn_at": "0.9"}, False),
        ({"max_slippage": "0.5"}, True),
        ({"max_slippage": None}, True),
        ({"order_burst": 21}, True),
        # What else ends a day's loss, risk.reset_daily, is an admin's.
        ({"daily_loss_reset": "next_day"}, True),
    ],
    ids=str,
)
async def test_what_loosens_is_told_from_what_tightens(
    patch: dict[str, Any], *, loosens: bool
) -> None:
    world = World()
    async with world.life():
        reply = await world.call("risk.params.set", who=OPERATOR, patch=patch)

        assert (reply.code is Code.FORBIDDEN) is loosens


async def test_the_day_is_told_and_started_anew(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        await asyncio.sleep(65)
        today = result(await world.call("risk.daily_pnl"))
        other = await world.call("risk.daily_pnl", day="2001-01-01")
        wrong = await world.call("risk.daily_pnl", day="yesterday")
        by_operator = await world.call("risk.reset_daily", who=OPERATOR, reason="no")
        unsaid = await world.call("risk.reset_daily", reason="")
        anew = result(await world.call("risk.reset_daily", reason="reviewed", request_id="r"))

        assert today["day"] == "2026-09-21"
        assert today["equity_start"] == "100000"
        assert other.code is Code.NOT_FOUND
        assert wrong.code is Code.INVALID
        assert by_operator.code is Code.FORBIDDEN
        assert unsaid.code is Code.INVALID
        assert anew["daily_pnl"] == "0"

    world.wall += 24 * 3600 * 1_000_000_000
    async with world.life():
        await until(lambda: world.system.desk.day_row()["day"] == "2026-09-22")
        yesterday = result(await world.call("risk.daily_pnl", day="2026-09-21"))
        assert yesterday["equity_start"] == today["equity_start"]


async def test_an_order_is_judged_in_words_for_people() -> None:
    world = World()
    async with world.life():
        order = BUY | {"stop_loss": "63000", "take_profit": "66600"}
        good = result(await world.call("risk.validate_order", **order))
        bad = result(await world.call("risk.validate_order", **(BUY | {"amount": "1000"})))
        view = result(await world.call("risk.assessment"))

        assert good["valid"] is True
        assert good["risk_reward"] == pytest.approx(3.0)
        assert good["risk_assessment"]["daily_pnl_status"] == "ok"
        assert bad["valid"] is False
        assert bad["errors"]
        assert view["trading_state"] == "active"


async def test_an_order_that_no_rule_refuses_has_an_error_all_the_same() -> None:
    """Symptom: `valid` false, and `errors` empty; of a resend `errors`, and `valid` true."""
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="used")
        other = BUY | {"client_order_id": "used", "amount": "0.02"}
        clash = result(await world.call("risk.validate_order", **other))
        shown = result(await world.call("order.preview", **other))
        await world.call("trading.halt", cancel=False)
        again = result(await world.call("risk.validate_order", **BUY, client_order_id="used"))

        assert (clash["valid"], clash["errors"]) == (False, [shown["message"]])
        assert (again["valid"], again["errors"]) == (True, [])


# --- portfolio, events, alerts, logs --------------------------------------------------------------


async def test_the_portfolio_is_valued_and_its_past_is_kept() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        await asyncio.sleep(185)
        now = result(await world.call("portfolio.snapshot"))
        other = result(await world.call("portfolio.snapshot", symbols=["ETH/USDT"]))
        samples = result(await world.call("portfolio.equity_history"))["equity"]
        thin = result(await world.call("portfolio.equity_history", step=3600))["equity"]
        late = result(await world.call("portfolio.equity_history", **{"from": samples[-1][0]}))

        assert now["position_count"] == 1
        assert other["positions"] == []
        assert len(samples) >= 3
        assert [sample[0] for sample in samples] == sorted(sample[0] for sample in samples)
        assert len(thin) == 1
        assert len(late["equity"]) == 1


async def test_events_carry_who_did_it_and_the_hash_of_their_row() -> None:
    world = World()
    async with world.life():
        await world.call("trading.halt", client="desk-1", reason="drill")
        (event,) = await world.events("halt")
        page = result(await world.call("event.list", limit=1))

        assert event["data"]["by"] == "local"
        assert len(event["hash"]) == 64
        assert page["next_cursor"] is not None


@pytest.mark.parametrize("limit", [1, 2, 3, 70, 500])
async def test_alerts_are_listed_once_each_and_as_many_as_are_asked_for(limit: int) -> None:
    world = World()
    async with world.life() as system:
        for number in range(1, 131):
            system.desk.alert("warning", "code", str(number), {})
        for number in (1, 2, 60, 129, 130):
            await world.call("alert.ack", alert_id=f"a-{number}")
        # So many that no page of the journal has another alert.
        for number in range(3, 60):
            await world.call("alert.ack", alert_id=f"a-{number}")
        sizes: list[int] = []
        texts: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            page = result(await world.call("alert.list", limit=limit, **cursor))
            sizes.append(len(page["alerts"]))
            texts += [alert["text"] for alert in page["alerts"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        acked = result(await world.call("alert.list", limit=1, acked=True))["alerts"]

    assert texts == [str(number) for number in range(130, 0, -1)]
    assert set(sizes[:-1]) <= {limit}
    assert [alert["text"] for alert in acked] == ["130"]


async def test_the_greatest_limit_of_a_list_is_taken() -> None:
    """Found by a drive: `signal.list` and `bot.decisions` promise 1,000 rows and refused more than 500."""
    known: dict[str, Any] = {
        "symbol": "BTC/USDT",
        "backtest_id": "none",
        "order_id": "none",
        "step": 1,
    }
    world = World()
    async with world.life() as system:
        tried = set()
        for op in system.registry.ops.values():
            fields = op.params.model_json_schema()["properties"]
            if "cursor" in fields:
                args = {name: value for name, value in known.items() if name in fields}
                bound = next(iter(fields["limit"].get("anyOf", [fields["limit"]])))  # before null
                reply = await world.call(op.name, limit=bound["maximum"], **args)
                assert reply.ok or reply.code is Code.NOT_FOUND, (op.name, reply)
                tried.add(op.name)

    assert {"signal.list", "bot.decisions", "event.list", "order.history"} < tried


async def test_pages_of_long_alerts_fit_into_a_message_and_lose_none() -> None:
    world = World()
    async with world.life() as system:
        for number in range(1, 41):
            system.desk.alert("warning", "code", str(number), {"orders": ["x" * 32] * 1000})
        for number in range(1, 41):
            await world.call("alert.ack", alert_id=f"a-{number}")
        texts: list[str] = []
        cursor: dict[str, Any] = {}
        while True:
            page = result(await world.call("alert.list", limit=30, **cursor))
            assert len(dumps(page)) < 1_048_576
            texts += [alert["text"] for alert in page["alerts"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}

    assert texts == [str(number) for number in range(40, 0, -1)]


async def test_an_alert_is_acknowledged_once_and_told_to_its_channel(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await world.call("trading.halt", reason="drill")
        (alert,) = result(await world.call("alert.list", acked=False))["alerts"]
        before = system.hub.position("alerts")
        acked = await world.call("alert.ack", who=OPERATOR, alert_id=alert["id"])
        again = result(await world.call("alert.ack", alert_id=alert["id"]))
        nobody = await world.call("alert.ack", alert_id="a-99")
        nonsense = await world.call("alert.ack", alert_id="x")

        assert result(acked)["acked_by"] == "olga"
        assert acked.at == {"alerts": system.hub.position("alerts")}
        assert before != system.hub.position("alerts")
        assert (again["acked_by"], again["changed"]) == ("olga", False)
        assert nobody.code is nonsense.code is Code.NOT_FOUND

    async with world.life() as system:
        still = result(await world.call("alert.ack", alert_id=alert["id"]))
        listed = result(await world.call("alert.list"))["alerts"]

        assert still["changed"] is False
        assert system.desk.engine.state() is TradingState.HALTED
        assert [a["acked_by"] for a in listed if a["id"] == alert["id"]] == ["olga"]


async def test_a_system_leaves_the_level_of_the_log_as_it_found_it() -> None:
    ours = logging.getLogger("realtime")
    before = ours.level
    ours.setLevel(logging.ERROR)
    try:
        async with World().life():
            assert ours.level == logging.INFO
        assert ours.level == logging.ERROR
    finally:
        ours.setLevel(before)


async def test_log_lines_are_kept_by_level_and_component() -> None:
    world = World()
    async with world.life() as system:
        logger = logging.getLogger("realtime.desk.test")
        logger.info("quiet", extra={"path": Path("x"), "n": 1})
        logger.error("loud", exc_info=ZeroDivisionError("why"))
        await asyncio.to_thread(logger.warning, "from elsewhere")
        await asyncio.sleep(0.1)
        lines = result(await world.call("log.tail", component="desk"))["lines"]
        loud = result(await world.call("log.tail", level="error", component="desk"))["lines"]
        by_operator = await world.call("log.tail", who=OPERATOR)

        assert [line["message"] for line in lines] == ["quiet", "loud", "from elsewhere"]
        assert lines[0]["fields"] == {"path": "x", "n": 1}
        assert [line["fields"]["error"] for line in loud] == ["ZeroDivisionError('why')"]
        assert by_operator.code is Code.FORBIDDEN
        assert system.lines.tail(level="debug", component=None, limit=1)
