"""What would be refused is refused at once: nobody is asked to confirm it (protocol document, 8.7)."""

from typing import Any

import pytest

from realtime.model.errors import Code
from realtime.model.orders import Status
from tests.fakes import BTC, BUY, FREE, World, until


BIG: dict[str, Any] = BUY | {"amount": "0.1"}
"""For 6,390 USDT."""
SMALL: dict[str, Any] = BUY | {"amount": "0.001"}
MARKET_BUY: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}


def asking(*ops: str, above: str | None = None, **limits: Any) -> World:
    policy = {} if above is None else {"above_notional": above}
    return World(confirm=[{"op": op, **policy} for op in ops], risk={"limits": dict(FREE) | limits})


def token_of(reply: Any) -> str:
    assert reply.code is Code.CONFIRM_REQUIRED, reply
    token: str = reply.error["details"]["confirm"]
    return token


def told(reply: Any) -> tuple[Any, Any, Any]:
    """Code, message and first rule of a refusal."""
    assert not reply.ok, reply
    return reply.code, reply.error["message"], reply.error["details"].get("rule")


async def test_an_order_that_the_gate_would_refuse_is_refused_and_not_asked_about() -> None:
    world = asking("order.place", max_order_notional="5000")
    async with world.life() as system:
        before = system.desk.engine.digest()
        refused = await world.call("order.place", **BIG, client_order_id="g-1")

        assert told(refused)[::2] == (Code.RISK_REJECTED, "max_order_notional")
        assert system.desk.engine.digest() == before
        assert system.desk.engine.orders.by_client_id("g-1") is None
        # Its id is free, and what passes is asked about.
        token = token_of(await world.call("order.place", **SMALL, client_order_id="g-1"))
        done = await world.call("order.place", **SMALL, client_order_id="g-1", confirm=token)
        assert done.ok
        assert world.venue.submitted == ["g-1"]
        # The audit has each refusal once.
        refusals = await world.events("api_error")
        assert [entry["data"]["code"] for entry in refusals].count("risk_rejected") == 1


async def test_what_was_asked_about_is_judged_again_when_it_is_confirmed() -> None:
    world = asking("order.place")
    async with world.life():
        token = token_of(await world.call("order.place", **BUY, client_order_id="g-1"))
        await world.call("trading.halt", reason="drill")
        halted = await world.call("order.place", **BUY, client_order_id="g-1", confirm=token)
        await world.call("trading.resume", reason="over")
        done = await world.call("order.place", **BUY, client_order_id="g-1", confirm=token)

        assert halted.code is Code.HALTED
        assert world.venue.submitted == ["g-1"]
        # A token whose command was refused is not used up.
        assert done.ok


async def test_a_budget_and_a_full_journal_refuse_before_anybody_is_asked() -> None:
    world = asking("order.place")
    async with world.life() as system:
        system.desk.room = 0
        busy = await world.call("order.place", **BUY)
        system.desk.room = 10_000

        assert busy.code is Code.BUSY
        token_of(await world.call("order.place", **BUY))


Wish = dict[str, Any]


@pytest.mark.parametrize(
    ("op", "wish", "code"),
    [
        ("order.amend", {"client_order_id": "a-1", "price": "63900.001"}, Code.INVALID),
        ("order.amend", {"client_order_id": "a-1", "amount": "0.2"}, Code.RISK_REJECTED),
        (
            "position.close",
            {"position_id": f"{BTC}|long", "type": "limit", "price": "1"},
            Code.RISK_REJECTED,
        ),
    ],
    ids=str,
)
async def test_so_are_an_amend_and_a_closing(op: str, wish: Wish, code: Code) -> None:
    world = asking(op, max_order_notional="5000")
    async with world.life() as system:
        await world.call("order.place", **SMALL, client_order_id="a-1")
        await world.call("order.place", **MARKET_BUY)
        before = system.desk.engine.digest()
        refused = await world.call(op, **wish)

        assert refused.code is code
        assert system.desk.engine.digest() == before


async def test_an_amend_that_has_to_wait_for_its_turn_is_asked_about_as_nobody_can_judge_it() -> (
    None
):
    world = asking("order.place", above="500")
    async with world.life():
        await world.call("order.place", **SMALL, client_order_id="a-1")
        world.venue.amends.append("drop")
        first = world.start("order.amend", client_order_id="a-1", amount="0.002")
        grow: Wish = {"client_order_id": "a-1", "amount": "0.1"}
        token = token_of(await world.call("order.amend", **grow))
        second = world.start("order.amend", **grow, confirm=token)
        await until(lambda: first.done() and second.done(), within=60)

        assert first.result().code is Code.OUTCOME_UNKNOWN


def place(name: str, **fields: Any) -> Wish:
    return {"do": "place", **BIG, "client_order_id": name, **fields}


async def test_a_batch_is_refused_at_once_where_every_item_would_be() -> None:
    world = asking("order.place", above="500", max_order_notional="5000")
    async with world.life() as system:
        await world.call("order.place", **SMALL, client_order_id="a-1")
        none = [
            place("b-1"),
            {"do": "amend", "client_order_id": "a-1", "amount": "0.2"},
            {"do": "amend", "client_order_id": "b-1", "amount": "0.2"},
            place("b-2", price="63900.001"),
            place("b-3", expires_at=1),
        ]
        before = system.desk.engine.digest()
        refused = await world.call("order.batch", items=none)
        items = refused.error["details"]["items"]  # type: ignore[index]

        assert told(refused)[::2] == (Code.RISK_REJECTED, "max_order_notional")
        assert [item["error"]["code"] for item in items] == [
            "risk_rejected", "risk_rejected", "not_found", "invalid", "expired"
        ]  # fmt: skip
        assert [item["client_order_id"] for item in items] == ["b-1", "a-1", "b-1", "b-2", "b-3"]
        assert system.desk.engine.digest() == before
        assert world.order("a-1").status is Status.OPEN


@pytest.mark.parametrize(
    "item",
    [
        place("b-2", amount="0.01"),
        {"do": "cancel", "client_order_id": "a-1"},
        {"do": "amend", "client_order_id": "a-1", "amount": "0.002"},
        {**place("b-2"), "dry_run": True},
    ],
    ids=str,
)
async def test_a_batch_of_which_an_item_passes_is_asked_about_as_a_whole(item: Wish) -> None:
    """A cancel may free what the next item needs: who is asked about less would place it without having been asked."""
    world = asking("order.place", above="500", max_order_notional="5000")
    async with world.life():
        await world.call("order.place", **SMALL, client_order_id="a-1")
        batch: Wish = {"items": [place("b-1"), item]}
        reply = await world.call("order.batch", **batch)
        done = await world.call("order.batch", **batch, confirm=token_of(reply))

        assert done.result is not None
        answers: Any = done.result["items"]
        assert [answer["ok"] for answer in answers] == [False, True]


async def test_a_batch_that_only_shows_what_it_would_do_is_not_asked_about() -> None:
    world = asking("order.place")
    async with world.life():
        done = await world.call("order.batch", items=[{**place("b-1"), "dry_run": True}])

        assert done.result is not None
        shown: Any = done.result["items"]
        assert shown[0]["dry_run"]
        assert world.venue.submitted == []


async def test_what_costs_less_than_asks_back_is_answered_item_by_item() -> None:
    world = asking("order.place", above="500")
    async with world.life():
        await world.call("trading.halt", reason="drill")
        answer = await world.call("order.batch", items=[place("b-1", amount="0.001")])

        assert answer.result is not None
        shown: Any = answer.result["items"]
        assert shown[0]["error"]["code"] == "halted"
