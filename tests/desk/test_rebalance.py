"""Plans that bring a portfolio to its targets: through the gate, once, and over restarts."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.app import System
from realtime.desk import rebalance
from realtime.desk.codec import dumps
from realtime.desk.rebalance import Plan, Row, State, came_to, holdings, kept, plan_of
from realtime.engine.allocation import Change
from realtime.model.account import Balance
from realtime.model.errors import Code, Refused
from realtime.model.events import BalanceSeen
from realtime.model.market import SECOND
from realtime.model.orders import Role
from realtime.model.principal import ROLES, Principal, TokenLimits
from realtime.store.rows import Projection
from tests import fakes
from tests.engine import kit
from tests.engine.kit import Kit
from tests.fakes import BTC, ETH, FREE, World, until


D = Decimal
LIMITED = Principal(
    subject="carol",
    scopes=ROLES["trader"],
    token_id="t-1",
    limits=TokenLimits(symbols=(BTC,), max_order_notional=D(1000)),
)
GO: dict[str, Any] = {"dry_run": False, "plan_id": "monday"}
HALF: list[dict[str, Any]] = [
    {"symbol": BTC, "weight": "0.3"},
    {"symbol": ETH, "weight": "0.2"},
]

HALF_SMALL: list[dict[str, Any]] = [
    {"symbol": BTC, "weight": "0.05"},
    {"symbol": ETH, "weight": "0.05"},
]


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def ended(world: World, plan_id: str = "monday") -> dict[str, Any]:
    """Wait for the end of a plan and give it."""
    plans = world.system.plans

    def over() -> bool:
        plan = plans.get(plan_id)
        return plan is not None and plan.ended_ts is not None

    await until(over)
    return result(await world.call("portfolio.rebalance", plan_id=plan_id))


async def hold(world: World, symbol: str, amount: str) -> None:
    result(await world.call("order.place", symbol=symbol, side="buy", type="market", amount=amount))


def weights(system: System) -> dict[str, float]:
    engine = system.desk.engine
    value = engine.value(system.desk.now())
    assert value.total_value is not None
    return {
        held.position.symbol: float((held.notional or D(0)) / value.total_value)
        for held in value.positions
    }


# --- looking --------------------------------------------------------------------------------------


async def test_a_dry_run_plans_and_sends_nothing() -> None:
    world = World()
    async with world.life() as system:
        await hold(world, BTC, "0.5")
        row = result(await world.call("portfolio.rebalance", targets=HALF))

        assert row["status"] == "planned"
        assert row["dry_run"] is True
        assert [(a["symbol"], a["action"], a["status"]) for a in row["actions"]] == [
            (BTC, "sell", "waiting"),
            (ETH, "buy", "waiting"),
        ]
        assert row["effect"]["orders"] == 2
        assert row["progress"] == {"orders": 2, "ended": 0, "filled": 0}
        assert len(world.venue.submitted) == 1
        assert system.plans.get(row["plan_id"]) is None


async def test_a_small_difference_is_held_and_what_is_unlisted_kept() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "0.5")
        targets = [{"symbol": ETH, "weight": "0.005"}]
        row = result(await world.call("portfolio.rebalance", targets=targets))
        closing = await world.call("portfolio.rebalance", targets=[], close_unlisted=True, **GO)
        done = await ended(world)

        assert [a["action"] for a in row["actions"]] == ["hold", "hold"]
        assert row["actions"][0]["reason"] == "the difference 0.005 is below the threshold 0.01"
        assert row["actions"][1]["reason"] == "is not listed"
        assert closing.ok
        assert done["actions"][0]["filled"] == "0.50000"
        assert weights(world.system) == {}


# --- one row --------------------------------------------------------------------------------------


def planned(**more: Any) -> Row:
    change = Change(
        symbol=BTC,
        current_weight=D(0),
        target_weight=D(0),
        difference=D(0),
        action=more.pop("action", "sell"),
        amount=D(10),
        price=D(64_000),
        value=D(640_000),
        fee=D(1),
        **more,
    )
    return Row(change=change, amount=D(10), client_order_id="monday-0", status="waiting")


def test_the_average_of_contracts_is_of_what_they_hold() -> None:
    order = Kit().draft(kit.PERP, "sell", "10", filled=D(10), cost=D(640))

    assert came_to(planned(contract_size=D("0.001")), order).average == 64_000
    assert came_to(planned(), order).average == 64
    assert came_to(planned(), replace(order, filled=D(0), cost=D(0))).average is None


async def test_what_only_reduces_is_sent_so_that_it_can_do_nothing_else() -> None:
    async with World().life() as system:
        rows = (planned(reduce=True), planned())
        plan = Plan(
            id="monday",
            state=State.RUNNING,
            value=D(1),
            order_type="market",
            content={},
            subject="alice",
            client="page",
            ts=system.desk.now(),
            rows=rows,
        )
        first, second = (system.plans._placing(plan, at, row).order for at, row in enumerate(rows))

    assert (first.reduce_only, first.role) == (True, Role.EXIT)
    assert (second.reduce_only, second.role) == (False, Role.ENTRY)


async def test_a_buy_cut_in_the_plan_tells_the_smaller_amount_and_its_fee() -> None:
    async with World().life() as system:
        cut = system.plans._cut(planned(action="buy"), D(4), ["cash"], planned=True)
        late = system.plans._cut(planned(action="buy"), D(4), ["cash"])

    assert (cut.amount, cut.change.amount, cut.change.fee) == (D(4), D(4), D("0.4"))
    assert (late.amount, late.change.amount, late.change.fee) == (D(4), D(10), D(1))


# --- carrying out ---------------------------------------------------------------------------------


async def test_sells_come_first_and_the_weights_are_reached() -> None:
    world = World()
    async with world.life() as system:
        await hold(world, BTC, "1")
        begun = result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        done = await ended(world)

        assert begun["status"] in {"running", "done"}
        assert done["status"] == "done"
        assert world.venue.submitted[1:] == ["monday-0", "monday-1"]
        assert [a["status"] for a in done["actions"]] == ["filled", "filled"]
        assert done["progress"] == {"orders": 2, "ended": 2, "filled": 2}
        assert weights(system)[BTC] == pytest.approx(0.3, abs=1e-3)
        assert weights(system)[ETH] == pytest.approx(0.2, abs=1e-3)
        order = world.order("monday-0")
        assert (order.source, order.subject) == ("rebalance", "local")
        states = [e["data"]["status"] for e in await world.events("rebalance")]
        assert states == ["running", "done"]


async def test_a_plan_repeated_is_the_same_plan() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "1")
        replies = [await world.call("portfolio.rebalance", targets=HALF, **GO) for _ in range(3)]
        first = await ended(world)
        again = result(await world.call("portfolio.rebalance", targets=list(reversed(HALF)), **GO))
        other = await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO)

        assert all(reply.ok for reply in replies)
        assert again == first | {"duplicate": True}
        assert other.code is Code.CONFLICT
        assert other.error is not None
        assert other.error["details"] == {"plan_id": "monday", "differing": ["order_type"]}
        assert len(world.venue.submitted) == 3


async def test_one_plan_runs_at_a_time() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "1")
        result(await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO))
        second = await world.call("portfolio.rebalance", targets=HALF, dry_run=False)
        looked = await world.call("portfolio.rebalance", targets=HALF)
        known = result(await world.call("portfolio.rebalance", plan_id="monday"))

        assert second.code is looked.code is Code.CONFLICT
        assert second.error is not None
        assert second.error["details"] == {"plan_id": "monday"}
        assert looked.error == second.error
        assert known["status"] == "running"


async def test_the_effect_is_worth_what_would_be_sent() -> None:
    """Found by a drive: of a target of 0.5 that the gate cut to 0.1 half of the account was to be traded."""
    world = World(risk={"limits": dict(FREE) | {"max_position_size": "0.1"}})
    async with world.life():
        row = result(await world.call("portfolio.rebalance", targets=HALF))

        assert {action["note"].partition(":")[2] for action in row["actions"]} == {
            " max_position_size"
        }
        sent = sum(D(action["amount"]) * D(action["price"]) for action in row["actions"])
        assert 19_000 < D(row["effect"]["notional"]) == sent <= 20_000


async def test_a_dry_run_says_what_the_gate_would_refuse() -> None:
    """Found by a drive: halted, a plan of two orders was `planned`, and not one of them was sent when it was begun."""
    world = World()
    async with world.life():
        await hold(world, BTC, "1")
        free = result(await world.call("portfolio.rebalance", targets=HALF))
        await world.call("trading.halt", symbol=BTC)
        half = result(await world.call("portfolio.rebalance", targets=HALF))
        begun = result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        done = await ended(world)
        await world.call("trading.halt")
        none = result(await world.call("portfolio.rebalance", targets=HALF))

        assert [row["status"] for row in free["actions"]] == ["waiting", "waiting"]
        assert free["effect"]["orders"] == 2
        assert [row["status"] for row in half["actions"]] == ["refused", "skipped"]
        assert (half["effect"]["orders"], half["effect"]["symbols"]) == (0, [])
        assert begun["status"] in {"running", "failed"}
        for told in ("status", "code", "note"):
            assert [row[told] for row in done["actions"]] == [row[told] for row in half["actions"]]
        assert [row["code"] for row in none["actions"]] == ["halted", "halted"]


async def test_limit_orders_rest_and_progress_shows_what_has_filled() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "1")
        begun = result(
            await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO)
        )
        await until(lambda: world.venue.live() == ["monday-0"])
        world.venue.fill("monday-0", D("0.1"))
        await asyncio.sleep(1)
        half = result(await world.call("portfolio.rebalance", plan_id="monday"))
        world.venue.fill("monday-0")
        await until(lambda: world.venue.live() == ["monday-1"])
        world.venue.fill("monday-1")
        done = await ended(world)

        assert begun["actions"][0]["price"] == "64000.05"
        assert (half["status"], half["actions"][0]["filled"]) == ("running", "0.10000")
        assert half["actions"][0]["average"] == "64000.05"
        assert half["actions"][1]["status"] == "waiting"
        assert done["status"] == "done"


async def test_nothing_is_bought_when_a_sale_was_canceled() -> None:
    world = World()
    async with world.life():
        await hold(world, BTC, "1")
        result(await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO))
        await until(lambda: world.venue.live() == ["monday-0"])
        world.venue.fill("monday-0", D("0.1"))
        result(await world.call("order.cancel", client_order_id="monday-0"))
        done = await ended(world)
        alerts = result(await world.call("alert.list"))["alerts"]

        assert done["status"] == "partial"
        assert [a["status"] for a in done["actions"]] == ["canceled", "skipped"]
        assert done["actions"][1]["note"] == done["reason"]
        assert done["reason"] == "not all was sold of BTC/USDT: nothing was bought"
        assert "rebalance" in {alert["code"] for alert in alerts}
        assert "monday-1" not in world.venue.submitted


async def test_the_gate_judges_every_row() -> None:
    world = World()
    async with world.life():
        result(await world.call("trading.halt", reason="drill", state="reducing"))
        result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        done = await ended(world)

        assert done["status"] == "failed"
        assert [a["status"] for a in done["actions"]] == ["refused", "refused"]
        assert done["actions"][0]["code"] == "risk_rejected"
        assert done["reason"] == "not all was traded of BTC/USDT, ETH/USDT"
        assert world.venue.submitted == []


async def test_an_order_the_venue_refuses_says_so() -> None:
    world = World()
    async with world.life():
        world.venue.script.append("reject")
        result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        done = await ended(world)

        assert done["status"] == "partial"
        assert [a["status"] for a in done["actions"]] == ["rejected", "filled"]
        assert done["actions"][0]["code"] == "venue_rejected"
        assert done["actions"][0]["note"] == "the exchange said no"


async def test_the_last_buy_is_cut_to_what_the_account_can_pay() -> None:
    world = World()
    async with world.life() as system:
        targets = [{"symbol": BTC, "weight": "1"}]
        result(await world.call("portfolio.rebalance", targets=targets, **GO))
        done = await ended(world)

        assert done["status"] == "done"
        assert done["actions"][0]["note"].startswith("cut from 1.5")
        assert D(done["actions"][0]["filled"]) < D(done["actions"][0]["amount"])
        assert weights(system)[BTC] > 0.98


async def test_a_target_at_the_largest_position_is_planned_as_the_gate_passes_it() -> None:
    limits = {**FREE, "max_position_size": "0.2", "max_order_notional": "15000"}
    world = World(risk={"limits": limits})
    async with world.life() as system:
        targets = [{"symbol": BTC, "weight": "0.2"}, {"symbol": ETH, "weight": "0.1"}]
        looked = result(await world.call("portfolio.rebalance", targets=targets))
        result(await world.call("portfolio.rebalance", targets=targets, **GO))
        done = await ended(world)

        note = "cut from 0.31218 to 0.23320: max_order_notional, max_position_size"
        assert looked["actions"][0]["amount"] == "0.23320"
        assert [action["note"] for action in looked["actions"]] == [note, None]
        assert done["status"] == "done"
        assert [action["note"] for action in done["actions"]] == [note, None]
        assert weights(system)[BTC] == pytest.approx(0.15, abs=1e-3)


async def test_a_rate_limit_only_delays() -> None:
    world = World(risk={"limits": {**FREE, "order_rate": 1, "order_burst": 1}})
    async with world.life():
        result(await world.call("portfolio.rebalance", targets=HALF_SMALL, **GO))
        done = await ended(world)

        assert done["status"] == "done"
        apart = world.order("monday-1").created_ts - world.order("monday-0").created_ts
        assert apart >= SECOND


async def test_an_id_of_somebody_elses_order_is_not_taken_for_its_own() -> None:
    world = World()
    async with world.life():
        result(
            await world.call(
                "order.place",
                symbol=BTC,
                side="buy",
                type="market",
                amount="0.1",
                client_order_id="monday-0",
            )
        )
        result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        done = await ended(world)

        assert done["actions"][0]["status"] == "refused"
        assert done["actions"][0]["code"] == "conflict"
        assert done["actions"][0]["filled"] == "0"


# --- tokens with limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(
    "args",
    [
        {"targets": HALF_SMALL},
        {"targets": [{"symbol": BTC, "weight": "0.05"}], "close_unlisted": True},
    ],
    ids=["buys", "sells"],
)
async def test_a_plan_in_what_the_token_may_not_trade_is_none(
    *, args: dict[str, Any], dry_run: bool
) -> None:
    world = World()
    async with world.life() as system:
        await hold(world, ETH, "1")
        refused = await world.call(
            "portfolio.rebalance", who=LIMITED, **args, **(GO | {"dry_run": dry_run})
        )

        assert refused.code is Code.FORBIDDEN
        assert refused.error is not None
        details = {"rule": "token_symbols", "symbol": ETH, "symbols": [BTC]}
        assert refused.error["details"] == details
        assert system.plans.get("monday") is None
        assert len(world.venue.submitted) == 1


async def test_a_plan_of_a_token_is_cut_to_what_one_order_of_it_may_be_worth() -> None:
    world = World()
    async with world.life():
        await hold(world, ETH, "1")  # stays as it is
        targets = [{"symbol": BTC, "weight": "0.05"}]
        looked = result(await world.call("portfolio.rebalance", who=LIMITED, targets=targets))
        result(await world.call("portfolio.rebalance", who=LIMITED, targets=targets, **GO))
        done = await ended(world)

        for plan in (looked, done):
            told = {action["symbol"]: action["note"] for action in plan["actions"]}
            assert told[BTC].endswith(": token_notional")
        (order,) = [a for a in done["actions"] if a["symbol"] == BTC]
        assert order["status"] == "filled"
        assert D("900") < D(order["filled"]) * D(order["average"]) <= D(1000)


async def test_a_restart_gives_the_rest_of_a_plan_no_more_than_its_token_had(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "j.db")
    targets = [{"symbol": BTC, "weight": "0.05"}]
    async with world.life() as system:
        result(await world.call("portfolio.rebalance", who=LIMITED, targets=targets, **GO))
        await ended(world)
        plan = system.plans.get("monday")
        assert plan is not None
        assert plan_of(orjson.loads(dumps(kept(plan)))) == plan
        # The same plan before its first order, as if somebody had written more into it.
        row = replace(
            plan.rows[0], status="waiting", order_id=None, filled=D(0), average=None, note=None
        )
        rows = (
            replace(row, client_order_id="friday-0", amount=D(1)),
            replace(
                row, client_order_id="friday-1", change=replace(row.change, symbol=ETH), amount=D(1)
            ),
        )
        early = replace(plan, id="friday", state=State.RUNNING, ended_ts=None, rows=rows)
        body = dumps(kept(early))
        project = [Projection("plans", "friday", plan.ts, body=body)]
        system.store.append(rebalance.KIND, "friday", body, None, project, safety=True)
        await system.desk.durable(system.store.seq, 1)

    async with world.life():
        done = await ended(world, "friday")

        btc, eth = done["actions"]
        assert (btc["status"], eth["status"], eth["code"]) == ("filled", "refused", "forbidden")
        assert D(btc["filled"]) * D(btc["average"]) <= D(1000)
        assert world.venue.submitted[-1] == "friday-0"


# --- restarts -------------------------------------------------------------------------------------


async def test_a_restart_goes_on_with_a_young_plan_and_sends_nothing_twice(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await hold(world, BTC, "1")
        result(await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO))
        await until(lambda: world.venue.live() == ["monday-0"])
        await world.system.desk.settled()

    async with world.life():
        now = result(await world.call("portfolio.rebalance", plan_id="monday"))
        world.venue.fill("monday-0")
        await until(lambda: world.venue.live() == ["monday-1"])
        world.venue.fill("monday-1")
        done = await ended(world)
        again = result(
            await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO)
        )

        assert now["status"] == "running"
        assert done["status"] == "done"
        assert again["duplicate"] is True
        assert world.venue.submitted[1:] == ["monday-0", "monday-1"]

    async with world.life():
        kept_ = result(await world.call("portfolio.rebalance", plan_id="monday"))

        assert kept_ == done


async def test_a_plan_that_was_written_down_but_not_sent_is_sent_by_the_next_life(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await hold(world, BTC, "1")
        looked = result(
            await world.call("portfolio.rebalance", targets=HALF, **(GO | {"dry_run": True}))
        )
        running = system.plans._running
        result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        await ended(world)
        plan = system.plans.get("monday")
        assert plan is not None
        # The same plan as the journal had it before its first order.
        rows = tuple(
            replace(
                row,
                status="waiting",
                client_order_id=f"friday-{n}",
                order_id=None,
                amount=D("0.1"),
                filled=D(0),
            )
            for n, row in enumerate(plan.rows)
        )
        early = replace(
            plan, id="friday", state=rebalance.State.RUNNING, ended_ts=None, rows=rows[:1]
        )
        body = dumps(kept(early))
        project = [Projection("plans", "friday", plan.ts, body=body)]
        system.store.append(rebalance.KIND, "friday", body, None, project, safety=True)
        await system.desk.durable(system.store.seq, 1)

        assert (looked["status"], running) == ("planned", None)

    async with world.life():
        done = await ended(world, "friday")

        assert done["status"] == "done"
        assert world.venue.submitted[-1] == "friday-0"


async def test_a_plan_for_a_market_that_is_gone_ends_and_harms_nobody(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        result(await world.call("portfolio.rebalance", targets=HALF_SMALL, **GO))
        await ended(world)
        plan = system.plans.get("monday")
        assert plan is not None
        change = replace(plan.rows[0].change, symbol="GONE/USDT")
        row = replace(
            plan.rows[0],
            change=change,
            status="waiting",
            client_order_id="gone-0",
            filled=D(0),
        )
        cut = replace(plan, id="gone", state=rebalance.State.RUNNING, ended_ts=None, rows=(row,))
        body = dumps(kept(cut))
        project = [Projection("plans", "gone", plan.ts, body=body)]
        system.store.append(rebalance.KIND, "gone", body, None, project, safety=True)
        await system.desk.durable(system.store.seq, 1)

    async with world.life():
        done = await ended(world, "gone")

        assert done["status"] == "failed"
        assert done["actions"][0]["code"] == "not_found"


async def test_a_plan_that_grew_old_ends_and_says_what_it_did_not_do(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life():
        await hold(world, BTC, "1")
        result(await world.call("portfolio.rebalance", targets=HALF, order_type="limit", **GO))
        await until(lambda: world.venue.live() == ["monday-0"])
        await world.system.desk.settled()

    world.wall += (rebalance.YOUNG_S + 60) * SECOND
    async with world.life():
        world.venue.fill("monday-0")
        done = await ended(world)

        assert done["status"] == "interrupted"
        assert [a["status"] for a in done["actions"]] == ["filled", "skipped"]
        assert done["actions"][1]["note"] == "the plan was more than 15 minutes old"
        assert "monday-1" not in world.venue.submitted


async def test_an_order_that_only_the_journal_knows_is_not_sent_again(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        result(await world.call("portfolio.rebalance", targets=HALF_SMALL, **GO))
        await ended(world)
        plan = system.plans.get("monday")
        assert plan is not None
        rows = tuple(replace(row, status="waiting", filled=D(0), average=None) for row in plan.rows)
        cut_off = replace(
            plan, state=rebalance.State.RUNNING, ended_ts=None, rows=rows, id="tuesday"
        )
        # As it would be read when the memory of its orders is gone: names that only the journal's table has.
        named = tuple(replace(row, client_order_id=f"old-{n}") for n, row in enumerate(rows))
        body = dumps(kept(replace(cut_off, rows=named)))
        project = [Projection("plans", "tuesday", plan.ts, body=body)]
        for number in range(2):
            entry = await system.store.order(client_order_id=f"monday-{number}")
            assert entry is not None
            cols: dict[str, str | int | None] = {
                "symbol": BTC,
                "client_order_id": f"old-{number}",
                "ended": 1,
            }
            project.append(Projection("orders", f"o-9{number}", entry.ts, cols, entry.body))
        system.store.append(rebalance.KIND, "tuesday", body, None, project, safety=True)
        await system.desk.durable(system.store.seq, 1)

    async with world.life():
        done = await ended(world, "tuesday")

        assert done["status"] == "done"
        assert [a["status"] for a in done["actions"]] == ["filled", "filled"]
        assert all(a["average"] is not None for a in done["actions"])
        assert world.venue.submitted == ["monday-0", "monday-1"]


async def test_a_plan_comes_back_from_the_journal_as_it_was() -> None:
    world = World()
    async with world.life() as system:
        await hold(world, BTC, "1")
        result(await world.call("portfolio.rebalance", targets=HALF, **GO))
        await ended(world)
        plan = system.plans.get("monday")
        assert plan is not None

        assert plan_of(orjson.loads(dumps(kept(plan)))) == plan


async def test_only_so_many_plans_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebalance, "KEPT", 1)
    world = World()
    async with world.life() as system:
        for plan_id in ("one", "two"):
            await world.call(
                "portfolio.rebalance",
                targets=[{"symbol": BTC, "weight": "0.005"}],
                dry_run=False,
                plan_id=plan_id,
            )
            await ended(world, plan_id)

        assert system.plans.get("one") is None
        assert system.plans.get("two") is not None


# --- what cannot be planned -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "field"),
    [
        ({}, Code.INVALID, "targets"),
        ({"targets": []}, Code.INVALID, "targets"),
        ({"plan_id": "nobody"}, Code.NOT_FOUND, None),
        ({"targets": [{"symbol": BTC, "weight": "1.1"}]}, Code.INVALID, "targets.0.weight"),
        ({"targets": [{"symbol": BTC, "weight": "-0.1"}]}, Code.INVALID, "targets.0.weight"),
        (
            {"targets": [{"symbol": BTC, "weight": 0.6}, {"symbol": ETH, "weight": 0.5}]},
            Code.INVALID,
            "targets",
        ),
        (
            {"targets": [{"symbol": BTC, "weight": 0.1}, {"symbol": "btcusdt", "weight": 0.1}]},
            Code.INVALID,
            "targets.1.symbol",
        ),
        ({"targets": [{"symbol": "NO/NO", "weight": "0.1"}]}, Code.NOT_FOUND, "targets.0.symbol"),
        ({"targets": HALF, "plan_id": "a b"}, Code.INVALID, "plan_id"),
        ({"targets": HALF, "threshold": "-1"}, Code.INVALID, "threshold"),
    ],
    ids=str,
)
async def test_what_makes_no_plan_is_refused_by_name(
    args: dict[str, Any], code: Code, field: str | None
) -> None:
    world = World()
    async with world.life():
        reply = await world.call("portfolio.rebalance", **args)

        assert reply.code is code
        assert reply.error is not None
        details: Any = reply.error["details"]
        named = details.get("field") or next(
            (fault["field"] for fault in details.get("fields", ())), None
        )
        assert named == field


async def test_a_coin_that_another_pair_holds_is_not_bought_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = replace(fakes.MARKETS[BTC], symbol="BTC/USDC", id="BTCUSDC", quote="USDC")
    dollars = replace(other, symbol="USDC/USDT", id="USDCUSDT", base="USDC", quote="USDT")
    monkeypatch.setitem(fakes.PRICES, "BTC/USDC", fakes.PRICES[BTC])
    monkeypatch.setitem(fakes.PRICES, "USDC/USDT", (D("0.9999"), D("1.0001")))
    world = World()
    world.venue.markets = {**fakes.MARKETS, "BTC/USDC": other, "USDC/USDT": dollars}
    async with world.life():
        await hold(world, BTC, "0.1")
        targets = [{"symbol": "BTC/USDC", "weight": "0.1"}]
        reply = await world.call("portfolio.rebalance", targets=targets)

        assert reply.code is Code.NOT_SUPPORTED
        assert reply.error is not None
        assert reply.error["message"] == "BTC is held as BTC/USDT; name that"
        assert reply.error["details"] == {"field": "targets.0.symbol"}


async def test_a_symbol_without_a_price_is_named() -> None:
    world = World()
    async with world.life() as system:
        engine = system.desk.engine
        gone = Balance(venue="paper", currency="ETH", available=D(1), ts=system.desk.now())
        system.desk.post(BalanceSeen(balance=gone))
        engine._state.quotes._marks_now[ETH] = None

        with pytest.raises(Refused) as caught:
            holdings(engine, [BTC, ETH])

        assert caught.value.code is Code.VENUE_UNAVAILABLE
        assert caught.value.details == {"symbol": ETH, "field": "targets.1.symbol"}
