"""Every command on an order leaves an entry of `events`: who, what, and what came of it."""

import ast
import asyncio
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import realtime
from realtime.desk.audit import BURST, SUBJECTS, Audit, shown
from realtime.desk.config.book import event_type
from realtime.desk.entries import TYPES
from realtime.engine.orders import Ledger
from realtime.model.errors import Code, Refused
from realtime.model.events import Who
from realtime.model.market import SECOND
from realtime.model.principal import ADMIN, READ, TRADE, Principal
from tests.fakes import BUY, World, until


ALICE = Principal(subject="alice", scopes=frozenset({READ, TRADE, ADMIN}), token_id="t-7")


async def heard(world: World) -> list[tuple[Any, ...]]:
    """Type, op, outcome and subject of all entries about commands, oldest first."""
    reply = await world.call("event.list", limit=500)
    assert reply.ok
    assert reply.result is not None
    entries = reply.result["events"]
    assert isinstance(entries, list)
    return [
        (e["type"], e["data"]["op"], e["data"]["outcome"], e["subject"])
        for e in reversed(entries)
        if "op" in e["data"]
    ]


async def test_place_amend_and_cancel_are_written_down_with_who_did_them() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", who=ALICE, **BUY, client_order_id="a-1")
        await world.call("order.amend", who=ALICE, client_order_id="a-1", amount="0.2")
        await world.call("order.cancel", client_order_id="a-1")

        assert await heard(world) == [
            ("order_created", "order.place", "accepted", "alice"),
            ("order_amended", "order.amend", "amended", "alice"),
            ("order_canceled", "order.cancel", "canceled", "local"),
        ]
        (entry,) = await world.events("order_created")
        assert (entry["token_id"], entry["client"]) == ("t-7", "desk")
        assert (entry["data"]["client_order_id"], entry["data"]["side"]) == ("a-1", "buy")
        assert Decimal(entry["data"]["amount"]) == Decimal(BUY["amount"])


async def test_the_venue_s_no_and_its_silence_are_written_down_as_what_they_are() -> None:
    world = World()
    async with world.life():
        world.venue.script.append("reject")
        await world.call("order.place", **BUY, client_order_id="a-1")
        world.venue.script.append("lose")
        world.venue.late_s = 30
        await world.call("order.place", **BUY, client_order_id="a-2")

        assert await heard(world) == [
            ("exchange_error", "order.place", "rejected", "local"),
            ("exchange_error", "order.place", "unknown_outcome", "local"),
        ]


async def test_our_own_no_is_written_down_once_and_a_dry_run_or_a_typing_error_is_not() -> None:
    world = World()
    async with world.life() as system:
        await world.call("trading.halt", reason="lunch")
        await world.call("order.place", **BUY, client_order_id="a-1")
        await world.call("order.place", **BUY, client_order_id="a-2", dry_run=True)
        await world.call("order.place", **BUY, client_order_id="a-3", typo=1)
        await system.desk.settled()
        (entry,) = await world.events("api_error")

        assert entry["data"]["code"] == Code.HALTED
        assert entry["data"]["args"]["client_order_id"] == "a-1"


async def test_an_item_of_a_batch_is_written_down_like_an_order_of_its_own() -> None:
    world = World()
    async with world.life() as system:
        await world.call("trading.halt", reason="lunch")
        items = [
            {"do": "place", **BUY, "client_order_id": "a-1"},
            {"do": "place", **BUY, "client_order_id": "a-2", "dry_run": True},
            {"do": "cancel", "client_order_id": "nobody"},
        ]
        await world.call("order.batch", who=ALICE, items=items)
        await system.desk.settled()
        entries = await world.events("api_error")

        assert [(e["subject"], e["data"]["op"], e["data"]["code"]) for e in entries] == [
            ("alice", "order.place", "halted"),
            ("alice", "order.cancel", "not_found"),
        ]
        assert entries[0]["data"]["args"]["client_order_id"] == "a-1"


async def test_entries_come_with_the_fact_and_are_there_after_a_restart(tmp_path: Path) -> None:
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="a-1")
        before = system.store.seq
        await heard(world)
        assert system.store.seq == before, "no row of its own"
    async with world.life():
        await world.call("order.cancel", client_order_id="a-1")
        assert [told[0] for told in await heard(world)] == ["order_created", "order_canceled"]


async def test_an_end_is_told_once() -> None:
    world = World()
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="a-1")
        await world.call("order.place", **BUY, client_order_id="a-2")
        await asyncio.gather(
            world.call("order.cancel_all"), world.call("order.cancel", client_order_id="a-1")
        )
        await until(lambda: world.order("a-2").status.ended)
        ended = [told for told in await heard(world) if told[0] == "order_canceled"]

        assert len(ended) == 2


def refusals(audit: Audit, subject: str, times: int, now: int) -> list[Any]:
    refused = Refused(Code.HALTED, "trading is halted")
    notes = (
        audit.refused("order.place", Who(subject=subject), refused, {}, now) for _ in range(times)
    )
    return [note for note in notes if note is not None]


def test_refusals_are_bounded_per_subject_and_the_rest_is_counted() -> None:
    audit = Audit(Ledger())
    assert len(refusals(audit, "alice", 100, 0)) == BURST
    assert len(refusals(audit, "bob", 1, 0)) == 1
    (late,) = refusals(audit, "alice", 1, SECOND)
    assert late.data["suppressed"] == 100 - BURST
    (next_one,) = refusals(audit, "alice", 1, 3 * SECOND)
    assert "suppressed" not in next_one.data


def test_subjects_are_bounded() -> None:
    audit = Audit(Ledger())
    refusals(audit, "first", BURST, 0)
    for number in range(SUBJECTS):
        refusals(audit, f"s-{number}", 1, 0)
    assert len(refusals(audit, "first", 1, 0)) == 1


def test_secrets_are_left_out_and_long_arguments_are_named_only() -> None:
    assert shown({"symbol": "BTC/USDT", "token": "x", "confirm": "c"}) == {"symbol": "BTC/USDT"}
    assert shown({"symbol": "B" * 3000}) == {"too_long": ["symbol"]}
    assert shown({"items": [{"do": "place", "confirm": "c"}], "patch": {"a": {"token": "x"}}}) == {
        "items": [{"do": "place"}],
        "patch": {"a": {}},
    }


async def test_a_refused_change_shows_nobody_the_address_of_a_webhook() -> None:
    hook = {"url": "https://hooks.example.com/T0/secret-key"}
    patch = {"notifications": {"webhooks": [hook]}}
    viewer = Principal(subject="vera", scopes=frozenset({READ}), token_id="t-8")
    world = World()
    async with world.life():
        stale = await world.call("config.update", patch=patch, version=7)
        forbidden = await world.call("config.update", who=viewer, patch=patch)
        told = await world.events("api_error")

    assert (stale.code, forbidden.code) == (Code.CONFLICT, Code.FORBIDDEN)
    assert len(told) == 2
    assert "secret-key" not in str(told)
    assert "https://hooks.example.com/***" in str(told)


def noted() -> set[str]:
    """Types that the code gives its entries: said at the call, or before it by a name."""
    found = set()
    for path in Path(realtime.__file__).parent.rglob("*.py"):
        if path.parent.name == "store":
            continue  # it notes in the journal's file
        text = path.read_text(encoding="utf-8")
        if not re.search(r"[Nn]ote\s*\(", text):
            continue  # reading the syntax of all files takes seconds
        tree = ast.parse(text)
        named = {
            node.targets[0].id: node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called not in {"Note", "note", "_note"}:
                continue
            for given in node.args[:2]:
                value = named.get(given.id, given) if isinstance(given, ast.Name) else given
                either = (value.body, value.orelse) if isinstance(value, ast.IfExp) else (value,)
                found |= {
                    one.value
                    for one in either
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
    return found


def test_every_type_that_is_written_can_be_asked_for() -> None:
    changes = {event_type(path) for path in ("risk.x", "strategies.a.b", "strategy.symbol")}
    older = {"trading_state"}

    assert noted() | changes | older == set(TYPES)


async def test_an_entry_says_at_its_top_what_was_asked_and_what_came_of_it() -> None:
    """Found by a run: `op` and `outcome` stood in `data` alone."""
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="a-1")
        await world.call("trading.halt", reason="lunch")
        await world.call("order.place", **BUY, client_order_id="a-2")
        await system.desk.settled()
        (made,) = await world.events("order_created")
        (refused,) = await world.events("api_error")
        (halted,) = await world.events("halt")

        assert (made["op"], made["outcome"]) == ("order.place", "accepted")
        assert (refused["op"], refused["outcome"]) == ("order.place", "refused")
        assert (halted["op"], halted["outcome"]) == (None, None)


async def test_a_halt_and_its_end_are_told_apart_by_their_types() -> None:
    """Found by a run: the example of `events` and of `event.list` found nothing."""
    world = World()
    async with world.life():
        await world.call("trading.halt", reason="lunch", state="reducing")
        await world.call("trading.resume", reason="back")

        assert [e["data"]["state"] for e in await world.events("halt")] == ["reducing"]
        assert [e["data"]["state"] for e in await world.events("resume")] == ["active"]


async def test_a_type_that_there_is_not_is_said_to_be_none() -> None:
    """Found by a run: it was answered by an empty list."""
    world = World()
    async with world.life():
        reply = await world.call("event.list", type="zzz")

        assert reply.code is Code.INVALID
        assert reply.error is not None
        assert "halt" in str(reply.error["message"])
