"""Ops of orders as a client sees them: what is refused at the door, and lists."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.commands.order import count_items
from realtime.model.errors import Code
from realtime.model.events import Ack
from realtime.model.market import MS, Stale
from realtime.model.orders import ApprovedAmend
from tests.fakes import BTC, BUY, ETH, FREE, START_NS, ScriptedVenue, World, until


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


def fields_of(reply: Any) -> list[str]:
    return [field["field"] for field in reply.error["details"]["fields"]]


async def test_a_batch_takes_as_many_tokens_as_it_has_items() -> None:
    world = World(limits={"orders_per_s": 10})
    items = [{"do": "cancel", "client_order_id": f"g-{number}"} for number in range(20)]
    async with world.life():
        batch = await world.call("order.batch", items=items)
        more = await world.call("order.place", **BUY)

        assert batch.ok, batch.error
        assert more.code is Code.RATE_LIMITED


async def test_a_placement_that_expired_before_it_left_is_told_so_again() -> None:
    world = World()
    async with world.life() as system:
        lanes, given = system.gate._lanes, BUY | {"client_order_id": "g-1"}
        lanes._flying = 1_000
        given["expires_at"] = system.clock.ms() + 1_000
        placing = world.start("order.place", **given)
        await asyncio.sleep(3)
        lanes._flying = 0
        lanes._next()
        first, again = await placing, await world.call("order.place", **given)

        assert (first.code, again.code) == (Code.EXPIRED, Code.EXPIRED)
        assert world.venue.submitted == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"amount": None}, "amount"),
    ({"cost": "10"}, "amount"),
    ({"amount": None, "cost": "10"}, "cost"),
    ({"price": None}, "price"),
    ({"type": "market"}, "price"),
    ({"type": "stop"}, "price"),
    ({"type": "stop", "price": None}, "stop_price"),
    ({"stop_price": "1"}, "stop_price"),
    ({"type": "trailing_stop", "price": None}, "trailing_amount"),
    (
        {"type": "trailing_stop", "price": None, "trailing_amount": "1", "trailing_rate": "0.1"},
        "trailing_amount",
    ),
    ({"trailing_amount": "1", "trailing_rate": "0.1"}, "trailing_amount"),
    ({"trailing_rate": "0.1", "trailing_fraction": "0.1"}, "trailing_fraction"),
    ({"trailing_rate": "1.5"}, "trailing_rate"),
    ({"time_in_force": "GTD"}, "good_till_ts"),
    ({"good_till_ts": 1_790_000_100_000}, "good_till_ts"),
    ({"position_type": "swap"}, "position_type"),
    ({"amount": "0"}, "amount"),
    ({"amount": "-1"}, "amount"),
    ({"amount": "1e3"}, "amount"),
    ({"amount": 0.1234567890123456}, "amount"),
    ({"amount": "0.000001"}, "amount"),
    ({"price": "63900.001"}, "price"),
    ({"side": "long"}, "side"),
    ({"client_order_id": "with space"}, "client_order_id"),
    ({"stop_loss": "70000"}, "stop_loss"),
    ({"reduce_onyl": True}, "reduce_onyl"),
]


@pytest.mark.parametrize(("change", "field"), WRONG, ids=str)
async def test_what_is_no_order_is_refused_by_the_field(change: dict[str, Any], field: str) -> None:
    world = World()
    async with world.life() as system:
        before = system.store.seq
        args = {name: value for name, value in (BUY | change).items() if value is not None}
        reply = await world.call("order.place", **args)
        preview = await world.call("order.preview", **args)

        assert reply.error is not None
        assert reply.code is Code.INVALID, reply.error
        details = reply.error["details"]
        assert isinstance(details, dict)
        assert details["fields"][0]["field"] == field
        assert preview.code in {Code.INVALID, None}
        assert preview.result is None or preview.result["valid"] is False
        assert system.store.seq == before
        assert world.venue.submitted == []


async def test_every_type_and_time_in_force_reaches_the_venue() -> None:
    world = World()
    async with world.life():
        orders: list[dict[str, Any]] = [
            {"type": "market", "price": None, "amount": None, "cost": "640.001"},
            {"type": "stop", "price": None, "stop_price": "65000"},
            {"type": "stop_limit", "price": "65100", "stop_price": "65000"},
            {"type": "trailing_stop", "price": None, "trailing_fraction": "0.02"},
            {"time_in_force": "PO"},
            {"time_in_force": "GTD", "good_till_ts": "2027-01-01T00:00:00Z"},
            {"stop_loss": {"price": "60000", "limit": "59900"}, "take_profit": "70000"},
        ]
        for change in orders:
            args = {k: v for k, v in (BUY | change).items() if v is not None}
            reply = await world.call("order.place", **args)
            assert reply.ok, (change, reply.error)

        sent = [held.order for held in world.venue.held.values()]
        assert [order.type.value for order in sent[:4]] == [
            "market",
            "stop",
            "stop_limit",
            "trailing_stop",
        ]
        assert sent[0].cost_limit == Decimal("640.001")
        assert sent[4].post_only
        assert sent[5].good_till_ts == 1_798_761_600_000_000_000
        assert sent[6].stop_loss is not None
        assert sent[6].stop_loss.limit == 59900


async def test_an_unknown_symbol_is_not_found_and_every_spelling_of_a_known_one_is() -> None:
    world = World()
    async with world.life():
        for spelling in ("BTC/USDT", "BTCUSDT", "btc-usdt", "btc/usdt"):
            reply = await world.call("order.preview", **(BUY | {"symbol": spelling}))
            assert reply.ok
        nobody = await world.call("order.place", **(BUY | {"symbol": "NOPE"}))

        assert nobody.code is Code.NOT_FOUND
        assert nobody.error is not None
        assert nobody.error["details"] == {"what": "symbol"}


async def test_a_preview_and_a_placement_are_judged_alike() -> None:
    """Conformance 44, at one limit from both sides."""
    world = World(risk={"limits": {"max_order_notional": 640}})
    async with world.life():
        for amount, fine in (("0.00999", True), ("0.01000", False)):
            order = BUY | {"amount": amount}
            preview = result(await world.call("order.preview", **order))
            placed = await world.call("order.place", **order)

            assert preview["valid"] is fine is placed.ok
            assert ("max_order_notional" in preview["failed"]) is not fine
        refused = await world.call("order.place", **(BUY | {"amount": "0.02"}))
        assert refused.code is Code.RISK_REJECTED
        assert refused.error is not None
        details = refused.error["details"]
        assert isinstance(details, dict)
        assert details["rule"] == "max_order_notional"


async def test_an_exit_that_no_fresh_price_judges_is_answered_with_a_warning() -> None:
    """trading:R4."""
    world = World()
    async with world.life():
        world.venue.script.append("fill")
        bought = result(await world.call("order.place", **BUY))
        venue = world.venue.id
        silent = Stale(venue=venue, symbol=BTC, stale=True, cause="silent", asof=START_NS)
        world.system.desk.take((silent,))
        sell = BUY | {"side": "sell", "price": "65000"}
        entry = await world.call("order.place", **BUY)
        left = result(await world.call("order.place", **sell))

        assert "warnings" not in bought
        assert entry.error is not None
        details = entry.error["details"]
        assert isinstance(details, dict)
        assert details["rule"] == "stale_market_data"
        assert [told.partition(" ")[0] for told in left["warnings"]] == ["stale_market_data"]


async def test_a_preview_with_a_used_id_says_what_a_placement_would() -> None:
    """Protocol 8.4. Found in review (R17): valid, where the placement is a conflict."""
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
        other = BUY | {"client_order_id": "g-1", "amount": "0.02"}
        dry: dict[str, Any] = {"dry_run": True}
        for op, more in (("order.preview", {}), ("order.place", dry)):
            same = result(await world.call(op, **(BUY | more), client_order_id="g-1"))
            conflict = result(await world.call(op, **(other | more)))

            assert (same["valid"], same["duplicate"]) == (True, True)
            assert (conflict["valid"], conflict["code"]) == (False, "conflict")
            assert conflict["failed"] == ["conflict"]
        again = await world.call("order.place", **BUY, client_order_id="g-1", dry_run=True)
        fresh = await world.call("order.place", **BUY, client_order_id="g-2", dry_run=True)

        assert result(again)["effect"]["orders"] == 0
        assert result(fresh)["effect"] == {"symbol": BTC, "orders": 1, "notional": "639"}


async def test_a_dry_run_of_an_amend_is_judged_as_the_amend() -> None:
    """Protocol 8.1. Found in review (R15): it was ok for an ended order, and off the grid."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        before = system.store.seq

        async def dry(**to: Any) -> Any:
            return await world.call("order.amend", client_order_id="g-1", dry_run=True, **to)

        fine, same = result(await dry(price="63950")), result(await dry(price="63900"))
        assert (fine["changed"], fine["effect"]) == (True, {"orders": 1, "symbols": [BTC]})
        assert (same["changed"], same["effect"]["orders"]) == (False, 0)
        assert (await dry(price="63950.001")).code is Code.INVALID
        assert (await dry(amount="50")).code is Code.INSUFFICIENT_FUNDS
        batch = [{"do": "amend", "client_order_id": "g-1", "price": "63950.001"}]
        items = result(await world.call("order.batch", items=batch, dry_run=True))["items"]
        assert items[0]["error"]["code"] == "invalid"
        assert system.store.seq == before
        await world.call("order.cancel", client_order_id="g-1")
        assert (await dry(price="63950")).code is Code.CONFLICT


async def test_lists_filter_and_page() -> None:
    world = World()
    async with world.life():
        for number in range(5):
            await world.call("order.place", **BUY, client_order_id=f"b-{number}")
        eth = BUY | {"symbol": ETH, "price": "3100"}
        await world.call("order.place", **eth, client_order_id="eth", bot_id="main")
        first = result(await world.call("order.list", limit=4))
        second = result(await world.call("order.list", limit=4, cursor=first["next_cursor"]))
        of_eth = result(await world.call("order.list", symbol=ETH))
        of_bot = result(await world.call("order.list", bot_id="main"))

        names = [row["client_order_id"] for row in first["orders"] + second["orders"]]
        assert names == [f"b-{n}" for n in range(5)] + ["eth"]
        assert second["next_cursor"] is None
        assert [row["client_order_id"] for row in of_eth["orders"]] == ["eth"]
        assert [row["client_order_id"] for row in of_bot["orders"]] == ["eth"]

        await world.call("order.cancel_all", symbol=BTC)
        canceled = result(await world.call("order.list", status="canceled"))
        history = result(await world.call("order.history", limit=3))
        rest = result(await world.call("order.history", limit=3, cursor=history["next_cursor"]))
        everything = result(await world.call("order.list", status="all"))

        assert len(canceled["orders"]) == 5
        assert [len(history["orders"]), len(rest["orders"])] == [3, 2]
        assert len(everything["orders"]) == 6


async def test_a_page_of_working_orders_goes_on_where_it_ended_whatever_ends_meanwhile() -> None:
    world = World()
    async with world.life():
        for number in range(5):
            await world.call("order.place", **BUY, client_order_id=f"b-{number}")
        first = result(await world.call("order.list", limit=2))
        await world.call("order.cancel", client_order_id="b-0")
        await world.call("order.place", **BUY, client_order_id="b-5")
        second = result(await world.call("order.list", limit=3, cursor=first["next_cursor"]))
        third = result(await world.call("order.list", limit=3, cursor=second["next_cursor"]))

        names = [[row["client_order_id"] for row in page["orders"]] for page in (second, third)]
        assert names == [["b-2", "b-3", "b-4"], ["b-5"]]
        assert third["next_cursor"] is None


@pytest.mark.parametrize("cursor", ["", "2", "x.o-1", "1.", "\u0661.o-1", "-1.o-1"])
@pytest.mark.parametrize("args", [{}, {"status": "all"}])
async def test_a_cursor_that_no_page_gave_is_refused(cursor: str, args: dict[str, Any]) -> None:
    world = World()
    async with world.life():
        reply = await world.call("order.list", cursor=cursor, **args)

        assert reply.code is Code.INVALID
        assert fields_of(reply) == ["cursor"]


async def test_a_cursor_that_no_page_of_the_journal_gave_is_refused() -> None:
    world = World()
    async with world.life():
        asked: list[tuple[str, dict[str, Any]]] = [
            ("order.list", {"status": "canceled"}),
            ("order.history", {}),
            ("fill.list", {}),
            ("event.list", {}),
            ("alert.list", {}),
        ]
        for op, args in asked:
            reply = await world.call(op, cursor="nonsense", **args)

            assert reply.code is Code.INVALID, op
            assert fields_of(reply) == ["cursor"], op


async def test_cancel_all_can_be_narrowed() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="b-1", bot_id="main")
        await world.call("order.place", **BUY, client_order_id="b-2")
        by_bot = result(await world.call("order.cancel_all", bot_id="main"))
        by_side = result(await world.call("order.cancel_all", side="sell"))
        nowhere = await world.call("order.cancel_all", venue="other")
        rest = result(await world.call("order.cancel_all"))

        assert by_bot == {"canceled": ["b-1"], "failed": []}
        assert by_side == {"canceled": [], "failed": []}
        assert nowhere.code is Code.NOT_FOUND
        assert rest["canceled"] == ["b-2"]


async def test_fills_are_listed_newest_first() -> None:
    world = World()
    async with world.life():
        market: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
        for number in range(3):
            await world.call("order.place", **market, client_order_id=f"m-{number}")
        page = result(await world.call("fill.list", limit=2))
        rest = result(await world.call("fill.list", limit=2, cursor=page["next_cursor"]))
        of_one = result(await world.call("fill.list", order_id=page["fills"][0]["order_id"]))

        assert [f["client_order_id"] for f in page["fills"]] == ["m-2", "m-1"]
        assert [f["client_order_id"] for f in rest["fills"]] == ["m-0"]
        assert len(of_one["fills"]) == 1


async def test_a_resend_after_its_expiry_is_told_what_the_order_has_come_to() -> None:
    world = World()
    async with world.life():
        soon: dict[str, Any] = {"expires_at": world.system.desk.now() // MS + 1000}
        wish: dict[str, Any] = {**BUY, "client_order_id": "e-1", **soon}
        target: dict[str, Any] = {
            "client_order_id": "e-1",
            "price": str(int(BUY["price"]) - 1),
            **soon,
        }
        first = result(await world.call("order.place", **wish))
        moved = result(await world.call("order.amend", **target))
        await asyncio.sleep(2)
        again = result(await world.call("order.place", **wish))
        still = result(await world.call("order.amend", **target))
        fresh = await world.call("order.place", **{**wish, "client_order_id": "e-2"})
        further = await world.call("order.amend", **target | {"price": "1000"})
        standing = await world.call("order.cancel", client_order_id="e-1", **soon)
        await world.call("order.cancel", client_order_id="e-1")
        ended = result(await world.call("order.cancel", client_order_id="e-1", **soon))

        assert (again["id"], again["status"], again["duplicate"]) == (first["id"], "open", True)
        assert (moved["changed"], still["changed"]) == (True, False)
        assert fresh.code is further.code is standing.code is Code.EXPIRED
        assert (ended["status"], ended["changed"]) == ("canceled", False)
        assert world.venue.submitted == ["e-1"]


class Slow(ScriptedVenue):
    """Changes an order when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def amend(self, approved: ApprovedAmend) -> Ack:
        await self.may.wait()
        return await super().amend(approved)


@pytest.mark.parametrize(
    "targets",
    [{"price": "63800"}, {"amount": "0.02"}, {"price": "63800", "amount": "0.02"}],
    ids=str,
)
async def test_a_resent_amend_after_its_expiry_waits_for_the_one_that_is_under_way(
    targets: dict[str, Any],
) -> None:
    """Another one comes too late, and one with other targets is no resend."""
    world, venue = World(), Slow()
    world.venue = venue
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        amend: dict[str, Any] = {"client_order_id": "g-1", **targets}
        amend["expires_at"] = system.clock.ms() + 1_000
        first = world.start("order.amend", **amend)
        await asyncio.sleep(2)
        again = world.start("order.amend", **amend)
        other = await world.call("order.amend", **amend | {"price": "63700"})
        batch = world.start("order.batch", items=[{"do": "amend", **amend}])
        await asyncio.sleep(1)
        assert not again.done()
        venue.may.set()
        done, resent, among = await asyncio.gather(first, again, batch)

        assert other.code is Code.EXPIRED
        assert result(done)["changed"] is True
        assert result(resent)["changed"] is False
        assert result(among)["items"][0]["changed"] is False


async def test_a_stop_price_under_way_is_a_target_of_a_resend_too() -> None:
    world, venue = World(), Slow()
    world.venue = venue
    async with world.life() as system:
        stop: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "stop", "amount": "0.01"}
        await world.call("order.place", **stop, stop_price="65000", client_order_id="s-1")
        amend: dict[str, Any] = {"client_order_id": "s-1", "stop_price": "66000"}
        amend["expires_at"] = system.clock.ms() + 1_000
        first = world.start("order.amend", **amend)
        await asyncio.sleep(2)
        again = world.start("order.amend", **amend)
        await asyncio.sleep(0)
        venue.may.set()

        assert (await first).ok
        assert (await again).code is not Code.EXPIRED


async def test_an_order_that_only_the_venue_remembers_is_neither_asked_about_nor_too_late(
    tmp_path: Path,
) -> None:
    """trading:I3. The journal came from a backup, and the client resends what it was never answered."""
    world = World(tmp_path / "j.db", confirm=[{"op": "order.place"}])
    wish: dict[str, Any] = {**BUY, "client_order_id": "g-1"}
    async with world.life():
        asked = await world.call("order.place", **wish)
        assert asked.code is Code.CONFIRM_REQUIRED
        token = asked.error["details"]["confirm"]  # type: ignore[index]
        assert (await world.call("order.place", **wish, confirm=token)).ok
    world.path = tmp_path / "older.db"
    async with world.life() as system:
        await until(lambda: bool(system.desk.engine.orders.working()))
        late = await world.call("order.place", **wish, expires_at=system.clock.ms() - 1)

        assert result(late)["duplicate"] is True
        assert not world.order("g-1").external
        assert world.venue.submitted == ["g-1"]


async def test_a_resent_batch_after_its_expiry_places_nothing_and_tells_what_there_is() -> None:
    world = World()
    async with world.life():
        soon: dict[str, Any] = {"expires_at": world.system.desk.now() // MS + 1000}
        items = [{"do": "place", **BUY, "client_order_id": f"f-{n}"} for n in range(2)]
        more = [
            {"do": "place", **BUY, "amount": "0.02", "client_order_id": "f-2"},
            {"do": "amend", "client_order_id": "f-0", "amount": "0.03"},
            {"do": "cancel", "client_order_id": "f-0"},
        ]
        done = result(await world.call("order.batch", items=items, **soon))
        await asyncio.sleep(2)
        new = await world.call("order.batch", items=more, **soon)
        lost = [{"do": "cancel", "client_order_id": "nobody"}]
        again = result(await world.call("order.batch", items=[*lost, *items, *more], **soon))

        assert [item["ok"] for item in done["items"]] == [True, True]
        assert new.code is Code.EXPIRED
        assert [item.get("duplicate") for item in again["items"][1:3]] == [True, True]
        codes = [item["error"]["code"] for item in again["items"] if not item["ok"]]
        assert codes == ["not_found", "expired", "expired", "expired"]
        assert sorted(world.venue.submitted) == ["f-0", "f-1"]


async def test_an_item_of_a_batch_may_assert_the_mode_and_expire_by_itself() -> None:
    world = World()
    async with world.life():
        now = world.system.desk.now() // MS
        items = [
            {"do": "place", **BUY, "client_order_id": "h-0", "mode": "live"},
            {
                "do": "place",
                **BUY,
                "client_order_id": "h-1",
                "mode": "paper",
                "expires_at": now - 1,
            },
            {"do": "place", **BUY, "client_order_id": "h-2", "expires_at": now + 60_000},
        ]
        told = result(await world.call("order.batch", items=items, expires_at=now + 5_000))

        assert [item["error"]["code"] for item in told["items"][:2]] == ["mode_mismatch", "expired"]
        assert told["items"][2]["ok"]
        assert world.venue.submitted == ["h-2"]
        assert world.order("h-2").expires_at == (now + 5_000) * MS


async def test_a_batch_costs_its_items_as_far_as_it_can_have_them() -> None:
    assert count_items({"items": [{}] * 7}) == 7
    assert count_items({"items": [{}] * 500}) == 20
    assert count_items({"items": "many"}) == count_items({}) == 1


async def test_a_close_sends_nothing_later_than_it_says() -> None:
    world = World(risk={"limits": dict(FREE)})
    async with world.life():
        until = world.system.desk.now() // MS + 60_000
        for name in ("k-1", "k-2"):
            await world.call(
                "order.place", symbol=BTC, side="buy", type="market", amount="0.01",
                client_order_id=name,
            )  # fmt: skip
        args: dict[str, Any] = {"position_id": f"{BTC}|long", "fraction": 0.5}
        await world.call("position.close", **args, client_order_id="k-3", expires_at=until)
        closed = result(await world.call("position.close_all", expires_at=until))

        assert world.order("k-3").expires_at == until * MS
        last = world.order(closed["closed"][0]["client_order_id"])
        assert last.expires_at == until * MS


async def test_a_list_of_one_end_is_filtered_before_it_is_cut_into_pages() -> None:
    """Symptom: pages of `canceled` were short or empty where other ends stood between."""
    world = World()
    async with world.life():
        market: dict[str, Any] = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.001"}
        for number in range(5):
            await world.call("order.place", **BUY, client_order_id=f"b-{number}")
            await world.call("order.cancel", client_order_id=f"b-{number}")
            await world.call("order.place", **market)
        first = result(await world.call("order.list", status="canceled", limit=3))
        second = result(
            await world.call("order.list", status="canceled", limit=3, cursor=first["next_cursor"])
        )
        exact = result(await world.call("order.list", status="canceled", limit=5))
        of_none = result(await world.call("order.list", status="canceled", bot_id="main"))

        names = [[row["client_order_id"] for row in page["orders"]] for page in (first, second)]
        assert names == [["b-4", "b-3", "b-2"], ["b-1", "b-0"]]
        assert second["next_cursor"] is None
        assert len(exact["orders"]) == 5
        assert of_none == {"orders": [], "next_cursor": None}
