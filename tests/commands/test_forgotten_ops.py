"""Orders that memory has let go, as a client sees them: nothing has changed but where the answer comes from (R14)."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.app import Outside
from realtime.desk.codec import dumps
from realtime.engine.forgotten import Sizes, content_key, key
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import MS, SECOND
from realtime.model.orders import Order, venue_client_id
from tests.fakes import BTC, BUY, FREE, World


KEPT = Sizes(ended=1, age=SECOND, a_call=4)


class Forgetful(World):
    """A world whose systems keep one ended order, and for a second."""

    def outside(self) -> Outside:
        return replace(super().outside(), sizes=KEPT)

    async def forget(self) -> None:
        """Let go of all that has ended but the newest."""
        for number in range(3):
            await asyncio.sleep(2)
            name = f"later-{self.wall}-{number}-{len(self.venue.submitted)}"
            placed = await self.call("order.place", **BUY, client_order_id=name)
            assert placed.ok
            await self.call("order.cancel", client_order_id=name)

    def known(self, client_order_id: str) -> bool:
        orders = self.system.desk.engine.orders
        return orders.by_client_id(client_order_id) is not None


def result(reply: Any) -> dict[str, Any]:
    assert reply.ok, reply.error
    assert isinstance(reply.result, dict)
    return reply.result


async def ended(world: Forgetful) -> dict[str, dict[str, Any]]:
    """Four orders of all fates, and what `order.get` says of them while they are in memory."""
    world.venue.script.extend(["rest", "fill", "reject", "half"])
    for name in ("gone", "full", "no", "part"):
        await world.call("order.place", **BUY, client_order_id=name)
        if name in {"gone", "part"}:
            await world.call("order.cancel", client_order_id=name)
    return {
        name: result(await world.call("order.get", client_order_id=name))
        for name in ("gone", "full", "no", "part")
    }


async def test_a_resend_of_a_forgotten_id_gives_the_first_answer_and_places_nothing() -> None:
    """trading:I1 trading:I2."""
    world = Forgetful()
    async with world.life() as system:
        await ended(world)
        first = {
            name: await world.call("order.place", **BUY, client_order_id=name)
            for name in ("gone", "full", "no", "part")
        }
        await world.forget()
        sent, seq = list(world.venue.submitted), system.store.seq
        assert not any(world.known(name) for name in first)

        again = {
            name: await world.call("order.place", **BUY, client_order_id=name) for name in first
        }
        other = await world.call("order.place", **BUY | {"amount": "0.02"}, client_order_id="gone")
        late = await world.call("order.place", **BUY, client_order_id="full", expires_at=1)
        now = system.clock.ms()
        fresh = await world.call("order.place", **BUY, client_order_id="x", expires_at=now - 1)
        preview = result(
            await world.call("order.place", **BUY, client_order_id="full", dry_run=True)
        )

        for name, reply in again.items():
            assert (reply.result, reply.error) == (first[name].result, first[name].error), name
        assert result(again["full"])["duplicate"] is True
        assert again["no"].code is Code.VENUE_REJECTED
        assert other.code is Code.CONFLICT
        assert late.result == again["full"].result
        assert fresh.code is Code.EXPIRED
        assert preview["duplicate"] is True
        assert preview["valid"] is True
        assert world.venue.submitted == sent
        assert system.store.seq == seq + 2, "the two refusals are written down"


async def test_a_resend_is_answered_whatever_guards_new_orders_by_now() -> None:
    world = Forgetful()
    async with world.life() as system:
        await ended(world)
        await world.forget()

        def closed(_order: Order, _who: Who) -> None:
            raise Refused(Code.RISK_REJECTED, "the budget is spent")

        system.trading.guard = closed
        again = result(await world.call("order.place", **BUY, client_order_id="full"))
        fresh = await world.call("order.place", **BUY, client_order_id="fresh")

        assert again["duplicate"] is True
        assert fresh.code is Code.RISK_REJECTED


async def test_a_page_of_the_history_fits_into_a_message_with_its_fills(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a count: 500 orders of five fills each were 1.5 MB."""
    world = Forgetful()
    async with world.life():
        await ended(world)
        whole = result(await world.call("order.history", limit=100))["orders"]
        monkeypatch.setattr("realtime.commands.pages.MOST_BYTES", len(dumps(whole)) // 2)
        found: list[Any] = []
        cursor: dict[str, Any] = {}
        while not found or cursor["cursor"] is not None:
            page = result(await world.call("order.history", limit=100, **cursor))
            assert 0 < len(page["orders"]) < len(whole)
            found += page["orders"]
            cursor = {"cursor": page["next_cursor"]}

    assert found == whole


async def test_the_fills_of_an_order_come_in_pages_that_fit_into_a_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found by a count: an order of 2,500 fills was 1.1 MB, and clients that take 1 MiB lost their connection."""
    world = Forgetful()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="many")
        for _ in range(10):
            world.venue.fill("many", Decimal("0.001"))
        whole = result(await world.call("order.get", client_order_id="many"))
        assert (len(whole["fills"]), whole["next_cursor"]) == (10, None)
        monkeypatch.setattr("realtime.commands.pages.MOST_BYTES", len(dumps(whole["fills"])) // 3)

        async def paged(**args: Any) -> list[Any]:
            found: list[Any] = []
            cursor: dict[str, Any] = {}
            while not found or cursor["cursor"] is not None:
                page = result(await world.call("order.get", **args, **cursor))
                assert 0 < len(page["fills"]) <= 4
                assert page | {"fills": [], "next_cursor": None} == whole | {"fills": []}
                found += page["fills"]
                cursor = {"cursor": page["next_cursor"]}
            return found

        async def listed() -> Any:
            (row,) = [
                row
                for row in result(await world.call("order.history"))["orders"]
                if row["client_order_id"] == "many"
            ]
            return row

        at_once, by_two, history = (
            await paged(client_order_id="many"),
            await paged(order_id=whole["id"], limit=2),
            await listed(),
        )
        await world.forget()
        assert not world.known("many")
        later = await paged(client_order_id="many")
        behind = result(await world.call("order.get", client_order_id="many", cursor="10"))
        wrong = await world.call("order.get", client_order_id="many", cursor="x")

    assert at_once == by_two == later == whole["fills"]
    assert history["fills"] == whole["fills"][: len(history["fills"])]
    assert history["next_cursor"] == str(len(history["fills"]))
    assert (behind["fills"], behind["next_cursor"]) == ([], None)
    assert wrong.code is Code.INVALID


async def test_forgotten_orders_are_found_with_their_fills_as_before() -> None:
    world = Forgetful()
    async with world.life():
        before = await ended(world)
        history = result(await world.call("order.history", limit=100))["orders"]
        await world.forget()

        for name, row in before.items():
            assert result(await world.call("order.get", client_order_id=name)) == row
            assert result(await world.call("order.get", order_id=row["id"])) == row
        now = result(await world.call("order.history", limit=100))["orders"]
        kept = [row for row in now if row["client_order_id"] in before]
        assert kept == history
        assert [len(row["fills"]) for row in kept] == [1, 0, 1, 0]
        page = result(await world.call("order.history", limit=2))
        assert all(row["fills"] == [] for row in page["orders"])
        listed = result(await world.call("order.list", status="filled"))["orders"]
        assert [row["client_order_id"] for row in listed] == ["full"]
        nobody = await world.call("order.get", client_order_id="nobody")
        assert nobody.code is Code.NOT_FOUND


async def test_a_cancel_of_a_forgotten_order_answers_its_final_state() -> None:
    """trading:I5."""
    world = Forgetful()
    async with world.life():
        row = (await ended(world))["part"]
        await world.forget()
        calls = list(world.venue.canceled)

        by_client = result(await world.call("order.cancel", client_order_id="part"))
        by_id = result(await world.call("order.cancel", order_id=row["id"]))
        late = result(await world.call("order.cancel", order_id=row["id"], expires_at=1))
        named = result(await world.call("order.cancel", client_order_id="part", expires_at=1))
        dry = result(await world.call("order.cancel", order_id=row["id"], dry_run=True))
        wrong = await world.call("order.cancel", order_id="o-999")
        nobody = await world.call("order.cancel", client_order_id="nobody")
        unnamed = await world.call("order.cancel")

        for answer in (by_client, by_id, late, named):
            assert answer["changed"] is False
            assert answer["status"] == "canceled"
            assert answer["filled"] == row["filled"]
        assert dry["effect"] == {"orders": 0}
        assert wrong.code is Code.NOT_FOUND
        assert nobody.code is Code.NOT_FOUND
        assert unnamed.code is Code.INVALID
        assert world.venue.canceled == calls


async def test_an_amend_of_a_forgotten_order_changes_nothing() -> None:
    """trading:I5."""
    world = Forgetful()
    async with world.life():
        world.venue.script.extend(["rest", "rest"])
        stops: dict[str, Any] = {
            "stop_loss": {"price": "60000", "limit": "59900"},
            "take_profit": "70000",
        }
        await world.call("order.place", **BUY | stops, client_order_id="a")
        await world.call("order.cancel", client_order_id="a")
        await world.call("order.place", **BUY, client_order_id="b")
        await world.call("order.cancel", client_order_id="b")
        row = result(await world.call("order.get", client_order_id="a"))
        await world.forget()

        same = result(
            await world.call(
                "order.amend", client_order_id="a", amount="0.01", price="63900.00", **stops
            )
        )
        late = result(
            await world.call("order.amend", order_id=row["id"], price="63900", expires_at=1)
        )
        dry = result(
            await world.call("order.amend", order_id=row["id"], price="63900", dry_run=True)
        )
        more = await world.call("order.amend", client_order_id="a", amount="0.02")
        stop = await world.call("order.amend", client_order_id="b", stop_loss="60000")
        nobody = await world.call("order.amend", order_id="o-999", amount="0.02")

        assert same["changed"] is False
        assert same["method"] == "native"
        assert same["status"] == "canceled"
        assert late["changed"] is False
        assert dry["effect"] == {"orders": 0, "symbols": [BTC]}
        assert more.code is Code.CONFLICT
        assert more.error is not None
        assert more.error["details"] == {"status": "canceled"}
        assert stop.code is Code.CONFLICT
        assert nobody.code is Code.NOT_FOUND


async def test_a_batch_of_forgotten_orders_is_answered_item_by_item() -> None:
    world = Forgetful()
    async with world.life():
        await ended(world)
        await world.forget()
        sent = list(world.venue.submitted)
        items: list[dict[str, Any]] = [
            {"do": "cancel", "client_order_id": "gone"},
            {"do": "place", **BUY, "client_order_id": "full"},
            {"do": "amend", "client_order_id": "part", "amount": "0.02"},
            {"do": "place", **BUY, "client_order_id": "no"},
        ]

        replies = result(await world.call("order.batch", items=items))["items"]
        late = result(await world.call("order.batch", items=items[:2], expires_at=1))["items"]

        assert [reply["ok"] for reply in replies] == [True, True, False, False]
        assert replies[0]["status"] == "canceled"
        assert replies[1]["duplicate"] is True
        assert replies[2]["error"]["code"] == Code.CONFLICT
        assert replies[3]["error"]["code"] == Code.VENUE_REJECTED
        assert [reply["ok"] for reply in late] == [True, True]
        assert world.venue.submitted == sent


async def test_a_client_that_leaves_its_batch_leaves_no_question_behind() -> None:
    world = Forgetful()
    async with world.life():
        await ended(world)
        await world.forget()
        world.venue.script.append("mute")
        world.venue.gate = asyncio.Event()
        items: list[dict[str, Any]] = [
            {"do": "place", **BUY, "client_order_id": "new"},
            {"do": "cancel", "client_order_id": "gone"},
        ]
        waiting = world.start("order.batch", items=items)
        await asyncio.sleep(0.1)

        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        world.venue.gate.set()


async def test_a_policy_asks_nothing_of_what_is_forgotten() -> None:
    names = ("order.place", "order.amend", "order.batch", "position.close")
    world = Forgetful(confirm=[{"op": name, "above_notional": "700"} for name in names])
    async with world.life():
        row = (await ended(world))["gone"]
        await world.forget()

        big = BUY | {"client_order_id": "gone"}
        placed = await world.call("order.place", **big)
        amended = await world.call("order.amend", order_id=row["id"], amount="0.01")
        batch = await world.call(
            "order.batch", items=[{"do": "amend", "client_order_id": "gone", "amount": "0.01"}]
        )

        assert placed.ok
        assert amended.ok
        assert batch.ok


async def test_a_close_is_answered_again_when_its_order_and_position_are_gone() -> None:
    world = Forgetful()
    async with world.life() as system:
        world.venue.script.append("fill")
        await world.call("order.place", **BUY, client_order_id="in")
        close: dict[str, Any] = {
            "position_id": f"{BTC}|long",
            "fraction": 1.0,
            "client_order_id": "out",
        }
        first = result(await world.call("position.close", **close))
        await world.forget()
        sent = list(world.venue.submitted)
        assert not world.known("out")
        assert not any(held.amount for held in system.desk.engine.positions.values())

        again = result(await world.call("position.close", **close))
        late = result(await world.call("position.close", **close, expires_at=1))
        dry = result(await world.call("position.close", **close, dry_run=True))
        other = await world.call("position.close", **close | {"fraction": 0.5})

        assert again == first | {"duplicate": True, "status": "filled", **_end(again)}
        assert late == dry == again
        assert other.code is Code.CONFLICT
        assert world.venue.submitted == sent


def _end(row: dict[str, Any]) -> dict[str, Any]:
    """What a fill may have told after the first answer."""
    return {name: row[name] for name in ("filled", "average")}


async def test_operators_are_told_that_it_is_too_late() -> None:
    world = Forgetful(confirm=[{"op": "order.resolve"}])
    async with world.life():
        row = (await ended(world))["gone"]
        await world.forget()

        resolved = await world.call(
            "order.resolve", order_id=row["id"], status="canceled", reason="seen"
        )
        adopted = await world.call("order.adopt", order_id=row["id"])
        nobody = await world.call("order.adopt", order_id="x-none")

        assert resolved.code is Code.CONFLICT
        assert adopted.code is Code.CONFLICT
        assert nobody.code is Code.NOT_FOUND


async def test_a_restart_has_forgotten_the_same_and_answers_the_same(tmp_path: Path) -> None:
    world = Forgetful(tmp_path / "journal.db")
    async with world.life() as system:
        await ended(world)
        first = await world.call("order.place", **BUY, client_order_id="full")
        await world.forget()
        await system.desk.settled()
        kept = {order.id for order in system.desk.engine.orders.all()}
        forgotten = len(system.desk.engine.orders._forgotten)
    sent = list(world.venue.submitted)

    async with world.life() as system:
        again = await world.call("order.place", **BUY, client_order_id="full")

        assert {order.id for order in system.desk.engine.orders.all()} == kept
        assert len(system.desk.engine.orders._forgotten) == forgotten > 0
        assert again.result == first.result
        assert world.venue.submitted == sent


async def test_a_journal_that_does_not_know_the_order_says_so_and_places_nothing() -> None:
    world = Forgetful()
    async with world.life() as system:
        await ended(world)
        await world.forget()
        at_venue = venue_client_id("paper", "lost")
        content = {name: str(value) for name, value in BUY.items()}
        for found in (key("client", at_venue), content_key(at_venue, content)):
            system.desk.engine.orders._forgotten.add(found)
        sent = list(world.venue.submitted)

        reply = await world.call("order.place", **BUY, client_order_id="lost")

        assert reply.code is Code.BUSY
        assert reply.retry_after == 1.0
        assert world.venue.submitted == sent


async def test_late_news_of_a_forgotten_order_is_booked_and_told() -> None:
    world = Forgetful(risk={"limits": dict(FREE)})
    async with world.life() as system:
        await ended(world)
        await world.forget()
        cash = world.venue.cash
        world.venue.fill("gone", world.venue.of("gone").amount / 2)
        await asyncio.sleep(15)

        alerts = result(await world.call("alert.list"))["alerts"]
        books = system.desk.engine._state.account.books
        assert [alert["code"] for alert in alerts] == ["late_fill"]
        assert books["USDT"] == world.venue.cash != cash
        assert system.desk.engine.state() == "active"
        fills = result(await world.call("fill.list"))["fills"]
        assert fills[0]["order_id"] == f"x-{world.venue.of('gone').id}-late"
        assert system.clock.ms() > fills[0]["ts"] // MS
