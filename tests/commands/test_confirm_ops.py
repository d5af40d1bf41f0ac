"""Commands that ask back on a server whose policy says so (conformance 49)."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from realtime.model.errors import Code
from realtime.model.principal import ROLES, Principal
from tests import fakes
from tests.fakes import BTC, BUY, ETH, FREE, World


MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
OTHER = Principal(subject="bob", scopes=ROLES["admin"])


def asked(reply: Any) -> tuple[str, dict[str, Any]]:
    assert reply.code is Code.CONFIRM_REQUIRED, reply
    details = reply.error["details"]
    return details["confirm"], details["effect"]


def items_of(reply: Any) -> list[dict[str, Any]]:
    assert reply.ok, reply
    found: list[dict[str, Any]] = reply.result["items"]
    return found


def details_of(reply: Any) -> dict[str, Any]:
    assert not reply.ok, reply
    found: dict[str, Any] = reply.error["details"]
    return found


def policies(*ops: str) -> World:
    confirm = [{"op": op} for op in ops]
    return World(confirm=confirm, risk={"limits": dict(FREE)})


async def test_resuming_asks_back_and_takes_its_own_token_once() -> None:
    world = policies("trading.resume")
    async with world.life():
        await world.call("trading.halt", reason="manual")
        resume: dict[str, Any] = {"reason": "checked"}
        confirm, effect = asked(await world.call("trading.resume", **resume))
        by_other = await world.call("trading.resume", who=OTHER, **resume, confirm=confirm)
        changed = await world.call("trading.resume", reason="other", confirm=confirm)
        await asyncio.sleep(61)
        late = await world.call("trading.resume", **resume, confirm=confirm)
        confirm, _ = asked(late)
        done = await world.call("trading.resume", **resume, confirm=confirm)
        again = await world.call("trading.resume", **resume, confirm=confirm)

        assert effect == {"state": "active", "orders": 0, "positions": 0, "notional": "0"}
        assert by_other.code is changed.code is Code.CONFIRM_REQUIRED
        assert done.result == {"state": "active", "scope": "all", "changed": True}
        # What would change nothing asks nothing.
        assert again.result is not None
        assert again.result["changed"] is False


Move = Callable[[str], None]


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> Move:
    """Let the price of BTC be so many times what it was; the exchange says so within a second."""

    def move(factor: str) -> None:
        price = Decimal(64000) * Decimal(factor)
        monkeypatch.setitem(fakes.PRICES, BTC, (price, price + Decimal("0.10")))

    return move


@pytest.mark.parametrize("op", ["order.place", "position.close", "position.close_all"])
async def test_a_market_that_moves_voids_no_confirmation_until_it_has_moved_much(
    op: str, moved: Move
) -> None:
    world = policies(op)
    async with world.life():
        if op != "order.place":
            await world.call("order.place", **MARKET_BUY)
        wish: dict[str, Any] = {
            "order.place": MARKET_BUY,
            "position.close": {"position_id": "BTC/USDT|long"},
        }.get(op, {})
        confirm, shown = asked(await world.call(op, **wish))
        moved("1.03")
        await asyncio.sleep(2)
        far = await world.call(op, **wish, confirm=confirm)
        moved("1.0002")
        await asyncio.sleep(2)
        near = await world.call(op, **wish, confirm=confirm)

        assert details_of(far)["reason"] == "effect_changed"
        assert asked(far)[1] == shown | {"notional": asked(far)[1]["notional"]}
        assert near.ok, near


async def test_resuming_is_confirmed_while_what_is_held_changes_its_worth(moved: Move) -> None:
    world = policies("trading.resume")
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        await world.call("trading.halt", reason="manual")
        confirm, effect = asked(await world.call("trading.resume", reason="checked"))
        moved("1.001")
        await asyncio.sleep(2)
        done = await world.call("trading.resume", reason="checked", confirm=confirm)

        assert effect["positions"] == 1
        assert done.ok, done


async def test_what_a_confirmed_closing_closes_is_bound_exactly() -> None:
    world = policies("position.close", "position.close_all")
    async with world.life():
        await world.call("order.place", **MARKET_BUY)
        half: dict[str, Any] = {"position_id": "BTC/USDT|long", "fraction": 0.5}
        one, part = asked(await world.call("position.close", **half))
        every, whole = asked(await world.call("position.close_all"))
        # Less than a hundredth more: as an estimate it would pass.
        await world.call("order.place", **MARKET_BUY | {"amount": "0.00004"})
        grown = await world.call("position.close", **half, confirm=one)
        all_grown = await world.call("position.close_all", confirm=every)

        assert part["amount"] == "0.00500"
        assert whole["closes"] == ["paper: 0.01000 of BTC/USDT|long"]
        assert details_of(grown)["reason"] == "effect_changed"
        assert details_of(all_grown)["reason"] == "effect_changed"


async def test_an_amend_is_confirmed_for_the_order_as_it_was_shown() -> None:
    world = policies("order.place")
    async with world.life():
        wish: dict[str, Any] = {**BUY, "client_order_id": "a-1"}
        confirm, _ = asked(await world.call("order.place", **wish))
        await world.call("order.place", **wish, confirm=confirm)
        grow: dict[str, Any] = {"client_order_id": "a-1", "amount": "0.02"}
        batch: dict[str, Any] = {"items": [{"do": "amend", **grow}]}
        alone, effect = asked(await world.call("order.amend", **grow))
        among, together = asked(await world.call("order.batch", **batch))
        # Somebody else moves the price meanwhile, which is worth less than what was shown.
        lower: dict[str, Any] = {"client_order_id": "a-1", "price": "63800"}
        confirm, _ = asked(await world.call("order.amend", **lower))
        assert (await world.call("order.amend", **lower, confirm=confirm)).ok
        changed = await world.call("order.amend", **grow, confirm=alone)
        in_batch = await world.call("order.batch", **batch, confirm=among)

        assert (effect["amount"], effect["price"]) == ("0.02000", "63900")
        assert together["amends"] == [f"{effect['order_id']}: 0.02000 at 63900"]
        assert details_of(changed)["reason"] == "effect_changed"
        assert details_of(in_batch)["reason"] == "effect_changed"


async def test_a_threshold_counts_in_the_valuation_currency() -> None:
    cross = replace(fakes.MARKETS[ETH], symbol="ETH/BTC", id="ETHBTC", quote="BTC")
    prices = (Decimal("0.05"), Decimal("0.0501"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(fakes.PRICES, cross.symbol, prices)
        world = World(confirm=PLACES, risk={"limits": dict(FREE)})
        world.venue.markets = {**fakes.MARKETS, cross.symbol: cross}
        world.venue.coins["BTC"] = Decimal(10)
        async with world.life():
            wish: dict[str, Any] = {
                "symbol": cross.symbol,
                "side": "buy",
                "type": "limit",
                "amount": "1",
                "price": "0.05",
            }
            reply = await world.call("order.place", **wish)

            # 0.05 BTC, which is no 500 of anything.
            assert Decimal(asked(reply)[1]["notional"]) == Decimal("3200.0025")


async def test_closing_all_asks_back_and_again_when_there_is_more_to_close() -> None:
    world = policies("position.close_all", "position.close")
    async with world.life():
        nothing = await world.call("position.close_all")
        await world.call("order.place", **MARKET_BUY)
        confirm, effect = asked(await world.call("position.close_all"))
        await world.call("order.place", **MARKET_BUY)
        grown = await world.call("position.close_all", confirm=confirm)
        confirm, _ = asked(grown)
        done = await world.call("position.close_all", confirm=confirm)

        assert nothing.result == {"closed": [], "failed": []}
        assert effect["positions"] == 1
        assert effect["symbols"] == [BTC]
        assert done.ok

        await world.call("order.place", **MARKET_BUY)
        one = await world.call("position.close", position_id="BTC/USDT|long")
        assert asked(one)[1]["symbols"] == [BTC]


async def test_an_order_asks_back_above_a_notional_only() -> None:
    world = World(
        confirm=[{"op": "order.place", "above_notional": "500"}], risk={"limits": dict(FREE)}
    )
    async with world.life():
        small = await world.call("order.place", **(BUY | {"amount": "0.001"}))
        big = await world.call("order.place", **BUY, client_order_id="g-1")
        confirm, _ = asked(big)
        done = await world.call("order.place", **BUY, client_order_id="g-1", confirm=confirm)

        assert small.ok
        assert done.ok


PLACES = [{"op": "order.place", "above_notional": "500"}]
SMALL = BUY | {"amount": "0.001"}


async def test_a_batch_asks_back_for_what_its_items_place_together() -> None:
    world = World(confirm=PLACES, risk={"limits": dict(FREE)})
    async with world.life() as system:
        big = {"do": "place", **BUY, "client_order_id": "b-1"}
        some = [{"do": "place", **SMALL, "client_order_id": f"s-{n}"} for n in range(20)]
        few = await world.call("order.batch", items=some[:2])
        confirm, effect = asked(await world.call("order.batch", items=[big]))
        many = await world.call("order.batch", items=some)
        done = await world.call("order.batch", items=[big], confirm=confirm)
        again = await world.call("order.batch", items=[big])
        cancels = [{"do": "cancel", "client_order_id": item["client_order_id"]} for item in some]
        stopped = await world.call("order.batch", items=cancels)

        assert few.ok
        assert (effect["orders"], effect["symbols"]) == (1, [BTC])
        assert float(effect["notional"]) > 500
        assert asked(many)[1]["orders"] == 18
        assert items_of(done)[0]["ok"]
        # What is placed already is neither placed nor asked about again.
        assert items_of(again)[0]["duplicate"]
        assert stopped.ok
        for op in ("order.place", "order.batch", "order.amend"):
            assert system.registry.asks_back(system.registry.ops[op], OTHER)


async def test_an_amend_asks_back_as_the_order_it_makes() -> None:
    world = World(confirm=PLACES, risk={"limits": dict(FREE)})
    async with world.life():
        await world.call("order.place", **SMALL, client_order_id="a-1")
        grow: dict[str, Any] = {"client_order_id": "a-1", "amount": "0.1"}
        little = await world.call("order.amend", client_order_id="a-1", amount="0.002")
        confirm, effect = asked(await world.call("order.amend", **grow))
        in_batch = await world.call("order.batch", items=[{"do": "amend", **grow}])
        more = await world.call("order.amend", client_order_id="a-1", amount="0.2", confirm=confirm)
        done = await world.call("order.amend", **grow, confirm=confirm)
        again = await world.call("order.amend", **grow)
        moved = await world.call(
            "order.amend", client_order_id="a-1", price=str(int(BUY["price"]) - 1)
        )
        less = await world.call("order.amend", client_order_id="a-1", amount="0.05")

        assert little.ok
        assert (effect["orders"], effect["symbol"]) == (1, BTC)
        assert asked(in_batch)[1]["symbols"] == [BTC]
        assert details_of(more)["reason"] == "mismatch"
        assert done.result is not None
        assert done.result["changed"]
        # A resend changes nothing, and less of the same is as good as a cancel.
        assert again.result is not None
        assert again.result["changed"] is False
        asked(moved)
        assert less.ok


async def test_a_batch_that_places_and_then_grows_an_order_asks_back() -> None:
    world = World(confirm=PLACES, risk={"limits": dict(FREE)})
    async with world.life():
        items = [
            {"do": "place", **SMALL, "client_order_id": "c-1"},
            {"do": "amend", "client_order_id": "c-1", "amount": "0.2"},
        ]
        grown = await world.call("order.batch", items=items)
        nobody = await world.call("order.batch", items=[items[1] | {"client_order_id": "c-2"}])

        assert asked(grown)[1] == {"orders": 2, "symbols": [BTC], "notional": None}
        assert items_of(nobody)[0]["error"]["code"] == "not_found"
        assert world.venue.submitted == []


async def test_an_amend_of_an_order_without_a_price_is_measured_at_the_mark() -> None:
    world = World(confirm=PLACES, risk={"limits": dict(FREE)})
    world.venue.coins["BTC"] = Decimal(1)
    async with world.life():
        trailing: dict[str, Any] = {"symbol": BTC, "side": "sell", "type": "trailing_stop"}
        trailing["trailing_rate"] = "0.05"
        placed = await world.call("order.place", **trailing, amount="0.001", client_order_id="t-1")
        assert placed.ok, placed
        small = await world.call("order.amend", client_order_id="t-1", amount="0.002")
        large = await world.call("order.amend", client_order_id="t-1", amount="0.1")

        assert small.code is not Code.CONFIRM_REQUIRED
        asked(large)


async def test_a_resend_of_what_was_confirmed_asks_nothing() -> None:
    world = policies("order.place", "position.close")
    async with world.life():
        wish: dict[str, Any] = {**BUY, "client_order_id": "r-1"}
        confirm, _ = asked(await world.call("order.place", **wish))
        done = await world.call("order.place", **wish, confirm=confirm)
        with_used = await world.call("order.place", **wish, confirm=confirm)
        without = await world.call("order.place", **wish)
        other = await world.call("order.place", **wish | {"amount": "0.02"})

        assert done.ok
        for again in (with_used, without):
            assert again.result is not None
            assert again.result["duplicate"]
        assert other.code is Code.CONFLICT
        assert world.venue.submitted == ["r-1"]

        buy: dict[str, Any] = {**MARKET_BUY, "client_order_id": "r-2"}
        confirm, _ = asked(await world.call("order.place", **buy))
        await world.call("order.place", **buy, confirm=confirm)
        leave: dict[str, Any] = {"position_id": "BTC/USDT|long", "client_order_id": "r-3"}
        confirm, _ = asked(await world.call("position.close", **leave))
        await world.call("position.close", **leave, confirm=confirm)
        gone = await world.call("position.close", **leave)
        assert gone.result is not None
        assert gone.result["duplicate"]


async def test_limits_and_resolutions_ask_back() -> None:
    world = policies("risk.params.set", "order.resolve")
    async with world.life():
        same = await world.call("risk.params.set", patch={"max_open_positions": 5})
        looser = await world.call("risk.params.set", patch={"max_open_positions": 6})
        world.venue.script.append("lose")
        world.venue.late_s = 1_000
        await world.call("order.place", **BUY, client_order_id="g-1")
        wish = {"order_id": world.order("g-1").id, "status": "canceled", "reason": "seen"}
        resolve = await world.call("order.resolve", **dict[str, Any](wish))

        assert same.ok
        assert asked(looser)[1] == {
            "limits": ["max_open_positions"],
            "loosened": ["max_open_positions"],
        }
        assert asked(resolve)[1] == {"orders": 1, "symbols": [BTC], "status": "canceled"}


@pytest.mark.parametrize("op", ["order.cancel", "order.cancel_all", "trading.halt", "deadman"])
async def test_stopping_never_asks_back(op: str) -> None:
    """Conformance 50, seen from the table."""
    world = policies("trading.resume")
    async with world.life() as system:
        row = system.registry.ops[op]

        assert row.lane == "safety"
        assert not system.registry.asks_back(row, OTHER)


@pytest.mark.parametrize(
    ("whom", "asked_back"),
    [
        ({"role": "operator"}, {"olga"}),
        ({"role": "admin"}, {"bob"}),
        ({"scope": "admin"}, {"bob"}),
        ({"scope": "trade"}, {"olga", "bob"}),
        ({"token_id": "t-olga"}, {"olga"}),
        ({"scope": "trade", "token_id": "t-bob"}, {"bob"}),
        ({"role": "viewer"}, set()),
        ({}, {"olga", "bob"}),
    ],
    ids=lambda told: str(sorted(told.items()) if isinstance(told, dict) else sorted(told)),
)
async def test_a_policy_asks_back_whom_it_is_about(
    whom: dict[str, str], asked_back: set[str]
) -> None:
    world = World(confirm=[{"op": "order.place", **whom}], risk={"limits": dict(FREE)})
    people = [
        Principal(subject="olga", scopes=ROLES["operator"], token_id="t-olga"),
        Principal(subject="bob", scopes=ROLES["admin"], token_id="t-bob"),
    ]
    async with world.life():
        replies = {who.subject: await world.call("order.place", who=who, **BUY) for who in people}
        helped = {
            who.subject: (await world.call("help", who=who, about="order.place")).result["confirm"]  # type: ignore[index]
            for who in people
        }

    assert {name for name, got in replies.items() if not got.ok} == asked_back
    assert {name for name, asks in helped.items() if asks} == asked_back


async def test_of_several_policies_for_an_op_each_asks_back_its_own() -> None:
    limits = {"limits": dict(FREE)}
    rules = [
        {"op": "order.place", "role": "operator", "above_notional": "100"},
        {"op": "order.place", "role": "admin", "above_notional": "1000"},
    ]
    world = World(confirm=rules, risk=limits)
    olga = Principal(subject="olga", scopes=ROLES["operator"])
    bob = Principal(subject="bob", scopes=ROLES["admin"])
    async with world.life():
        # 639 USDT
        small = [await world.call("order.place", who=who, **BUY) for who in (olga, bob)]
        large = await world.call("order.place", who=bob, **BUY | {"amount": "0.1"})

    assert [reply.ok for reply in small] == [False, True]
    assert large.code is Code.CONFIRM_REQUIRED
