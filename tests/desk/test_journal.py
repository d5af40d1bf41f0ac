"""A journal that cannot be written: entries stop, cancels go out, clients are told (trading 9.3, promise O12)."""

import asyncio
import logging
import threading
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, Self

import apsw
import orjson
import pytest

from realtime.app import Outside
from realtime.desk import codec
from realtime.desk.deadman import KIND as DEADMAN
from realtime.desk.recovery import EQUITY
from realtime.engine.bars import DAY
from realtime.engine.forgotten import Sizes
from realtime.hub.stream import Written
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Amend,
    AmendFailed,
    CancelAsked,
    CancelFailed,
    Place,
    Placed,
    Rejected,
    Who,
)
from realtime.model.orders import Asked, Order, OrderType, Side, Status, Trigger
from realtime.model.risk import TradingState
from realtime.store import State, Store
from tests.fakes import BUY, D, PromptVenue, WatchedStore, World, until
from tests.server.front import Socket
from tests.store.vfs import Disk, Renamed


class Faulty(WatchedStore):
    """A store on a disk that a test can break."""

    disk: Disk

    @classmethod
    async def open(cls, path: Path | None, **options: Any) -> Self:
        return await super().open(path, driver=Renamed(cls.disk), **options)


def frail(folder: Path, store: type[Faulty] = Faulty) -> World:
    """A world whose journal is on a disk of its own that a test can break."""
    Faulty.disk = Disk()
    world = World(folder / "j.db")
    world.store = store
    return world


def broken(disk: Disk) -> None:
    def before(kind: str) -> None:
        if kind == "write":
            raise apsw.IOError("the disk is gone")

    disk.before = before


def mended(disk: Disk) -> None:
    disk.before = lambda _kind: None


async def really(true: Callable[[], bool]) -> None:
    """Wait in real time: the writer's thread has a clock of its own."""
    for _ in range(3_000):
        if true():
            return
        await asyncio.to_thread(time.sleep, 0.02)
    raise AssertionError("it did not come true in time")


@pytest.mark.promise("O12")
async def test_entries_stop_and_cancels_go_out_while_the_disk_fails(tmp_path: Path) -> None:
    world = frail(tmp_path)
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        broken(Faulty.disk)
        lost = world.start("order.place", **BUY, client_order_id="g-2")
        await really(lambda: system.store.state is not State.OK)
        await asyncio.sleep(1)
        refused = await world.call("order.place", **BUY, client_order_id="g-3")
        canceled = await world.call("order.cancel", client_order_id="g-1")
        halted = await world.call("trading.halt", reason="again")

        assert system.desk.engine.state() is TradingState.HALTED
        assert refused.code in {Code.BUSY, Code.HALTED}
        assert world.venue.submitted == ["g-1"]
        assert world.venue.canceled[0] == "g-1"
        assert canceled.ok
        assert canceled.result is not None
        assert canceled.result["journaled"] is False
        assert halted.result is not None
        assert halted.result["journaled"] is False
        assert any("journal" in reason for reason in system.status.reasons())
        assert system.status.row()["status"] == "down"

        mended(Faulty.disk)
        await really(lambda: system.store.state is State.OK)
        reply = await lost

        assert reply.code is Code.HALTED
        assert world.venue.submitted == ["g-1"]

    async with world.life() as system:
        assert world.order("g-1").status is Status.CANCELED
        assert world.order("g-2").status is Status.REJECTED
        assert system.desk.engine.state() is TradingState.HALTED


@pytest.mark.parametrize(
    ("op", "args", "code"),
    [
        ("order.place", {**BUY, "client_order_id": "g-3"}, Code.HALTED),
        ("order.amend", {"client_order_id": "g-2", "price": "63000"}, Code.HALTED),
        ("order.cancel", {"client_order_id": "g-2"}, None),
        ("position.close", {"position_id": "BTC/USDT|long"}, None),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
async def test_whoever_waits_for_a_row_as_the_disk_fails_is_answered_then(
    tmp_path: Path, op: str, args: dict[str, Any], code: Code | None
) -> None:
    """Symptom: no answer for as long as the disk was broken, to what had not left or had long been done."""
    world = frail(tmp_path)
    async with world.life() as system:
        market = BUY | {"type": "market", "price": None}
        await world.call("order.place", **market, client_order_id="g-1")
        await world.call("order.place", **BUY, client_order_id="g-2")
        broken(Faulty.disk)
        asked = world.start(op, **args)
        await really(lambda: system.store.state is State.FAILED)
        await until(asked.done)
        reply = await asked
        submitted = list(world.venue.submitted)

        assert reply.code is code
        assert world.venue.submitted == ["g-1", "g-2"]
        mended(Faulty.disk)
        await really(lambda: system.store.state is State.OK and not system.store.waiting)
        await asyncio.sleep(1)
        # An exit leaves once it is written down; nothing else does.
        assert len(world.venue.submitted) == len(submitted) + (op == "position.close")
        assert world.venue.of("g-2").price == D(63900)
        assert (await world.call("system.health")).ok


async def test_a_stop_that_is_moved_as_the_disk_fails_is_answered_then_and_stays_where_it_is(
    tmp_path: Path,
) -> None:
    """Symptom: a halt lets protection pass, so nobody answered; it moved whenever the disk was back."""
    world = frail(tmp_path)
    async with world.life() as system:
        market = BUY | {"type": "market", "price": None, "stop_loss": "60000"}
        await world.call("order.place", **market, client_order_id="g-1")
        working = system.desk.engine.orders.working
        await until(lambda: any(order.status is Status.OPEN for order in working()))
        (stop,) = working()
        told = list[str]()
        world.venue.point = told.append
        broken(Faulty.disk)
        moving = world.start("order.amend", order_id=stop.id, stop_price="61000")
        await really(lambda: system.store.state is State.FAILED)
        await until(moving.done)
        reply = await moving
        await roomy(system.store)
        await asyncio.sleep(1)

        assert reply.code is Code.BUSY
        assert not any(name.startswith("amend") for name in told)
        assert world.order(stop.client_order_id).stop_price == D(60000)
        assert world.order(stop.client_order_id).amend_state is Asked.NONE
        again = await world.call("order.amend", order_id=stop.id, stop_price="61000")
        # The halt of the journal is in force, and what narrows a loss passes it.
        assert again.ok, again.error


@pytest.mark.parametrize("before", [True, False])
async def test_what_flattens_and_cannot_be_written_has_ended_when_that_is_told(
    tmp_path: Path, *, before: bool
) -> None:
    """Symptom: `pending`, and hours later, once the disk was back, it sold what was held by then."""
    world = frail(tmp_path)
    async with world.life() as system:
        market = BUY | {"type": "market", "price": None}
        await world.call("order.place", **market, client_order_id="g-1")
        broken(Faulty.disk)
        if before:
            system.desk.alert("info", "first", "first", {})
            await really(lambda: system.store.state is State.FAILED)
        halting = world.start("trading.halt", reason="drill", flatten=True)
        await really(lambda: system.store.state is State.FAILED)
        await until(halting.done, within=60)
        halted: Any = (await halting).result
        await roomy(system.store)
        await asyncio.sleep(30)

        assert [row["status"] for row in halted["closed"]] == ["rejected"]
        assert halted["flat"] is False
        assert halted["journaled"] is False
        assert world.venue.submitted == ["g-1"]
        again: Any = (await world.call("trading.halt", reason="drill", flatten=True)).result
        assert again["flat"] is True


class Cramped(Faulty):
    """A store that takes few rows while its disk takes none."""

    @classmethod
    async def open(cls, path: Path | None, **options: Any) -> Self:
        options["sizes"] = replace(options["sizes"], queue=20)
        return await super().open(path, **options)


async def no_room(store: Store) -> None:
    """The disk takes nothing, and so many rows wait for it that no further one is taken."""
    failed, told = store.on_failure, list[str]()

    def on_failure(reason: str) -> None:
        failed(reason)
        told.append(reason)

    store.on_failure = on_failure
    broken(Faulty.disk)
    store.append("Test", "", b"{}", safety=True)
    await really(lambda: bool(told))
    filled(store)


@pytest.mark.parametrize("how", ["fires", "goodbye", "halt"])
async def test_a_journal_without_any_room_ends_no_server_that_stops_trading(
    tmp_path: Path, how: str
) -> None:
    """After hours on a broken disk each of them was an error that nobody had thought of, and the last one."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        await world.call("order.place", client="bot", **BUY, client_order_id="g-1")
        system.deadman.connected("local", "bot")
        await world.call("deadman", client="bot", timeout=60)
        if how == "halt":
            world.venue.broken.add("open_orders")
            await world.call("trading.halt", reason="drill")
        await no_room(system.store)
        refused = await world.call("order.place", **(BUY | {"symbol": "NO/PE"}))
        if how == "goodbye":
            system.deadman.disconnected("local", "bot", bye=True)
        await asyncio.sleep(90)

        assert refused.code is Code.NOT_FOUND

        assert world.venue.live() == (["g-1"] if how == "goodbye" else [])
        assert system.deadman.get("local", "bot") is None
        mended(Faulty.disk)
        await really(lambda: system.store.state is State.OK and not system.store.waiting)
        assert (await world.call("system.health")).ok


@pytest.mark.parametrize(
    ("fate", "code"),
    [("reject", Code.VENUE_REJECTED), ("lose", Code.OUTCOME_UNKNOWN), ("ok", None)],
)
async def test_a_cancel_without_room_in_the_journal_is_answered_by_what_came_of_it(
    tmp_path: Path, fate: str, code: Code | None
) -> None:
    """It leaves before its row, so that no refusal of the row undoes it; and nothing ends the server."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        await no_room(system.store)
        world.venue.cancels.append(fate)
        reply = await world.call("order.cancel", client_order_id="g-1")
        resumed = await world.call("trading.resume", reason="too early")
        await asyncio.sleep(30)

        assert reply.code is code
        assert world.venue.canceled[0] == "g-1"
        if reply.ok:
            assert reply.result is not None
            assert reply.result["journaled"] is False
        assert (
            resumed.code is Code.INTERNAL
        )  # done in memory, and nobody knows what a restart finds
        mended(Faulty.disk)
        await really(lambda: system.store.state is State.OK and not system.store.waiting)
        assert (await world.call("system.health")).ok


async def roomy(store: Store) -> None:
    """The disk takes everything again, and has it."""
    mended(Faulty.disk)
    await really(lambda: store.state is State.OK and not store.waiting)


async def test_what_found_no_room_is_shown_once_there_is_some(tmp_path: Path) -> None:
    """Symptom: for hours behind a full disk an order that had filled stood among the open ones."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system, Socket(system.front) as socket:
        await socket.call("subscribe", channels=["orders", "positions"])
        await world.call("order.place", **BUY, client_order_id="g-1")
        await no_room(system.store)
        world.venue.fill("g-1")
        await asyncio.sleep(1)
        await socket.call("ping")
        socket.waiting()
        held = len(socket.read)
        await roomy(system.store)
        await asyncio.sleep(1)
        await socket.call("ping")
        socket.waiting()

        def told(channel: str, messages: list[dict[str, Any]]) -> list[Any]:
            sets = [m["data"].get("set", []) for m in messages if m.get("channel") == channel]
            return [row for rows in sets for row in rows]

        assert not any(row["status"] == "filled" for row in told("orders", socket.read[:held]))
        assert told("orders", socket.read[held:])[-1]["status"] == "filled"
        assert told("positions", socket.read[held:])[-1]["amount"] == "0.01000"


async def test_an_entry_that_found_no_room_leaves_its_number_to_the_next(tmp_path: Path) -> None:
    """Symptom: no alert behind it could be acknowledged, and after a restart two had one id."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        system.desk.alert("info", "first", "first", {})
        await system.desk.settled()
        await no_room(system.store)
        system.desk.alert("info", "lost", "lost", {})
        busy = await world.call("alert.ack", alert_id="a-1")
        await roomy(system.store)
        system.desk.alert("info", "last", "last", {})
        await system.desk.settled()
        for alert_id in ("a-1", await named(world, "last")):
            acked = await world.call("alert.ack", alert_id=alert_id)
            assert acked.ok, acked.error
            assert acked.result is not None
            assert acked.result["changed"]
        assert busy.code is Code.BUSY
    async with world.life() as system:
        system.desk.alert("info", "later", "later", {})
        await system.desk.settled()
        alerts: Any = (await world.call("alert.list", limit=100)).result
        ids = [alert["id"] for alert in alerts["alerts"]]

        assert len(set(ids)) == len(ids)
        assert (await world.call("alert.ack", alert_id=await named(world, "later"))).ok


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("risk.params.set", {"patch": {"max_open_positions": 3}}),
        ("alert.ack", {"alert_id": "a-1"}),
        ("config.update", {"patch": {"trading_window": {"max_trades_per_day": 7}}}),
        ("trading_window.set", {"patch": {"max_trades_per_day": 7}}),
    ],
)
async def test_what_is_done_in_memory_alone_is_not_done_by_asking_again(
    tmp_path: Path, op: str, args: dict[str, Any]
) -> None:
    """Symptom: `internal`, and then "nothing to change" as if it were kept; a restart had forgotten it."""
    world = frail(tmp_path)
    async with world.life() as system:
        system.desk.alert("info", "first", "first", {})
        await system.desk.settled()
        broken(Faulty.disk)
        codes = [(await world.call(op, **args)).code for _ in range(2)]

        assert codes == [Code.INTERNAL] * 2


async def named(world: World, code: str) -> str:
    """The id of the newest alert with a code."""
    alerts: Any = (await world.call("alert.list", limit=100)).result
    return next(str(alert["id"]) for alert in alerts["alerts"] if alert["code"] == code)


async def test_a_journal_that_lacks_the_first_row_of_an_order_reads_back(tmp_path: Path) -> None:
    """Symptom: the next start failed, and so did every later one."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        ours = world.venue.of("g-1")
        theirs = replace(
            ours,
            id="x-theirs",
            order=replace(ours.order, client_order_id="theirs", venue_client_id="theirs"),
        )
        await no_room(system.store)
        world.venue.held["theirs"] = theirs
        world.venue._tell(theirs)
        await asyncio.sleep(1)
        await roomy(system.store)
        cancel = await world.call("order.cancel", order_id="x-x-theirs")

        assert cancel.ok, cancel.error
    async with world.life() as system:
        assert [order.client_order_id for order in system.desk.engine.orders.working()] == ["g-1"]


def waited(slow: threading.Event) -> None:
    """The disk takes its time."""
    slow.wait(60)


async def test_a_halt_that_found_no_room_is_not_called_kept_and_is_written_later(
    tmp_path: Path,
) -> None:
    """Symptom: `journaled: true`, and a restart that traded; the disk was slow, not full, so nothing said so."""
    world = frail(tmp_path, Cramped)
    slow = threading.Event()
    async with world.life() as system:
        await world.call("deadman", client="bot", timeout=600)
        Faulty.disk.before = lambda _kind: waited(slow)
        filled(system.store)
        halting = world.start("trading.halt", reason="drill")
        off = world.start("deadman", client="bot", timeout=0)
        slow.set()
        halted, disarmed = await halting, await off
        await roomy(system.store)
        await asyncio.sleep(1)

        assert halted.result is not None
        assert halted.result["changed"] is True
        assert halted.result["journaled"] is False
        assert disarmed.code is Code.INTERNAL  # a restart may fire it again
        again = await world.call("trading.halt", reason="drill")
        assert again.result is not None
        assert again.result["journaled"] is True
    async with world.life() as system:
        assert system.desk.engine.halts["all"].reason == "drill"


def cramped(store: Store, monkeypatch: pytest.MonkeyPatch, *kinds: str) -> None:
    """The next row of each of these kinds finds no room; all others do."""
    append, left = store.append, set(kinds)

    def narrow(kind: str, *args: Any, **options: Any) -> int:
        if kind in left:
            left.remove(kind)
            raise Refused(Code.BUSY, "full")
        return append(kind, *args, **options)

    monkeypatch.setattr(store, "append", narrow)


class Forgetful(World):
    """A world whose system keeps one order that has ended."""

    def outside(self) -> Outside:
        return replace(super().outside(), sizes=Sizes(ended=1, age=0, most=1))


async def test_an_order_that_has_ended_and_is_forgotten_is_not_shown_as_it_was_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symptom: a row of it had found no room, so it stood among the open orders for ever, and nobody could cancel it."""
    world = Forgetful()
    async with world.life() as system, Socket(system.front) as socket:
        await socket.call("subscribe", channels=["orders"])
        names = [f"g-{number}" for number in range(1, 4)]
        for name in names:
            await world.call("order.place", **BUY, client_order_id=name)
        order = world.order("g-1")
        held = world.venue.of("g-1")
        # All of it in one step, as with a disk that is slow for as long as it takes.
        cramped(system.store, monkeypatch, "OrderSeen")
        held.price = D(63800)
        world.venue._stamp(held)
        world.venue._tell(held)
        for name in names:
            ended = world.venue.of(name)
            ended.status = Status.CANCELED
            world.venue._stamp(ended)
            world.venue._tell(ended)
        placing = world.start("order.place", **BUY, client_order_id="g-4")
        forgotten = system.desk.engine.orders.get(order.id) is None
        await placing
        await really(lambda: not system.store.waiting)
        await asyncio.sleep(1)
        await socket.call("ping")
        socket.waiting()
        sets = [m["data"].get("set", []) for m in socket.read if m.get("channel") == "orders"]
        shown = [row["status"] for rows in sets for row in rows if row["id"] == order.id]

        assert forgotten
        assert shown[-1] == "canceled"


async def test_a_halt_asked_for_again_is_not_called_kept_by_the_rows_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symptom: `journaled: true` with rows that came after the one that was lost, before it was made up for."""
    world = World()
    async with world.life() as system:
        cramped(system.store, monkeypatch, "StateSet")
        halting = world.start("trading.halt", reason="drill", cancel=False)
        system.desk.alert("info", "next", "next", {})
        again: Any = (await world.call("trading.halt", reason="drill", cancel=False)).result
        halted: Any = (await halting).result
        await really(lambda: not system.store.waiting)
        await asyncio.sleep(1)
        later: Any = (await world.call("trading.halt", reason="drill", cancel=False)).result

        assert (halted["journaled"], again["journaled"], later["journaled"]) == (False, False, True)


async def test_a_switch_whose_end_found_no_room_is_not_called_off_by_the_rows_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symptom: `armed: false`, and a restart that fired it."""
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await world.call("deadman", client="bot", timeout=600)
        cramped(system.store, monkeypatch, DEADMAN)
        off = world.start("deadman", client="bot", timeout=0)
        system.desk.alert("info", "next", "next", {})
        lost, again = await off, await world.call("deadman", client="bot", timeout=0)

        assert lost.code is Code.INTERNAL
        assert again.ok
    async with world.life() as system:
        assert system.deadman.get("local", "bot") is None


async def test_a_journal_that_lacks_all_rows_of_what_a_stop_belongs_to_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Symptom: a stop that was moved behind them let the next start fail, and every later one."""
    world = World(tmp_path / "j.db")
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        ours = world.venue.of("g-1")
        theirs = replace(
            ours,
            id="x-theirs",
            fills=[],
            order=replace(ours.order, client_order_id="theirs", venue_client_id="theirs"),
        )
        world.venue.held["theirs"] = theirs
        cramped(system.store, monkeypatch, "OrderSeen", "Filled")
        world.venue._tell(theirs)
        world.venue.fill("theirs", D("0.005"))
        await asyncio.sleep(1)
        for op, args in (
            ("order.adopt", {"order_id": "x-x-theirs"}),
            ("order.amend", {"order_id": "x-x-theirs", "stop_loss": {"price": "60000"}}),
        ):
            reply = await world.call(op, **args)
            assert reply.ok, reply.error
        await asyncio.sleep(1)
        (stop,) = [order for order in system.desk.engine.orders.working() if order.protective]
        moved = await world.call("order.amend", order_id=stop.id, stop_price="61000")
        assert moved.ok, moved.error
    async with world.life() as system:
        names = {order.exchange_order_id for order in system.desk.engine.orders.working()}

        assert names == {held.id for held in world.venue.held.values()}
        assert system.desk.engine.orders.get(stop.id) is None  # it is what the venue says


def filled(store: Store) -> None:
    """So many rows wait that no further one is taken in this step."""
    with suppress(Refused):
        while True:
            store.append("Test", "", b"{}", safety=True)


@pytest.mark.parametrize("prompt", [True, False])
async def test_a_placement_whose_outcome_finds_no_room_is_answered(
    tmp_path: Path, *, prompt: bool
) -> None:
    world = frail(tmp_path, Cramped)
    if prompt:
        world.venue = PromptVenue()
    async with world.life() as system:
        if not prompt:
            world.venue.gate = asyncio.Event()
            world.venue.script.append("mute")
        placing = world.start("order.place", **BUY, client_order_id="g-1")
        # Its intent is on disk, and it leaves in the next step; or it has left and waits for its answer.
        for _ in range(100):
            if system.branch.gate.quiet:
                await asyncio.sleep(0)
        if not prompt:
            await asyncio.sleep(1)
        filled(system.store)
        if world.venue.gate is not None:
            world.venue.gate.set()
        reply = await placing
        await asyncio.sleep(60)  # its row is asked for where no stream told of it

        assert reply.ok
        assert reply.result is not None
        assert prompt or reply.result["journaled"] is False  # a prompt answer may have found room
        assert world.venue.submitted == ["g-1"]
        assert world.order("g-1").status is Status.OPEN


async def test_an_amend_whose_outcome_is_not_on_disk_says_so(tmp_path: Path) -> None:
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        kept = await world.call("order.amend", client_order_id="g-1", price="63800")
        world.venue.point = lambda name: filled(system.store) if name == "amend taken" else None
        reply = await world.call("order.amend", client_order_id="g-1", price="63700")

        assert kept.result is not None
        assert "journaled" not in kept.result
        assert reply.result is not None
        assert reply.result["journaled"] is False


async def test_what_waits_to_leave_never_does_where_its_row_finds_no_room(tmp_path: Path) -> None:
    """As many rows wait as one step may put: both are refused, and both are undone."""
    world = frail(tmp_path, Cramped)
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        trading = system.branch.trading
        order = world.order("g-1")
        who = Who(subject="local", admin=True)
        names = ("symbol", "side", "type", "amount", "price")
        fields = {name: getattr(order, name) for name in names}
        draft = trading.draft(who=who, client_order_id="g-2", fields=fields)
        placing = Place(order=draft, who=who, ts=system.desk.now())
        amend = Amend(
            order_id=order.id,
            amount=order.amount * 2,
            price=None,
            stop_price=None,
            stop_loss=None,
            take_profit=None,
            who=who,
            ts=system.desk.now(),
        )
        filled(system.store)
        with pytest.raises(Refused):
            trading.place_always(placing, lambda end: end.fact, lambda _: None)
        with pytest.raises(Refused):
            system.desk.post(amend)
        await really(lambda: not system.store.waiting)
        await asyncio.sleep(1)

        assert world.order("g-2").status is Status.REJECTED
        assert world.order("g-1").amend_state is Asked.NONE
        assert world.venue.submitted == ["g-1"]


@pytest.mark.parametrize("lost", [0, 2])
async def test_rows_that_are_lost_with_the_process_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    """trading:9.3. Who reads it knows that the next start asks the venue for what this one still knew."""
    world = frail(tmp_path)
    with caplog.at_level(logging.ERROR, "realtime"):
        async with world.life() as system:
            if lost:
                broken(Faulty.disk)
            for number in range(lost):
                system.store.append("Test", str(number), b"{}", safety=True)
        said = [record for record in caplog.records if record.message == "rows lost"]

    assert len(said) == (lost > 0)
    # Whatever the venue tells until the end waits as well.
    assert all(record.__dict__["rows"] >= lost for record in said)


class Small(Faulty):
    """A store on a disk that never has as much room as it wants."""

    @classmethod
    async def open(cls, path: Path | None, **options: Any) -> Self:
        options["sizes"] = replace(options["sizes"], warn=2**62)
        return await super().open(path, **options)


class Tight(WatchedStore):
    """A store on a disk that is nearly full."""

    @classmethod
    async def open(cls, path: Path | None, **options: Any) -> Self:
        options["sizes"] = replace(options["sizes"], reducing=2**62)
        return await super().open(path, **options)


async def test_a_disk_that_is_full_at_the_start_is_told_before_anything_is_placed(
    tmp_path: Path,
) -> None:
    """Found by an audit: a server said nothing for its first minute, and let positions grow."""
    world = World(tmp_path / "j.db")
    world.store = Tight
    for told in (1, 2):
        async with world.life() as system:
            reply = await world.call("order.place", **BUY, client_order_id=f"g-{told}")
            alerts: Any = (await world.call("alert.list", limit=100)).result

            assert system.desk.engine.state() is TradingState.REDUCING
            assert reply.code is Code.RISK_REJECTED
            assert [a["code"] for a in alerts["alerts"]].count("disk_space") == told


async def test_what_the_ballasts_room_takes_is_told_as_written(tmp_path: Path) -> None:
    """An admin who resumed on a disk that had been full was once told that the journal could not be written."""
    Small.disk = Disk()
    ballast = tmp_path / "j.db.ballast"
    world = World(tmp_path / "j.db")
    world.store = Small
    async with world.life() as system:

        def before(kind: str) -> None:
            if kind == "write" and ballast.exists():
                raise apsw.FullError("full")

        Small.disk.before = before
        lost = world.start("order.place", **BUY, client_order_id="g-1")
        await really(lambda: system.store.state is State.FULL)
        await asyncio.sleep(1)
        resumed = await world.call("trading.resume", reason="there will be room")
        refused = await world.call("order.place", **BUY, client_order_id="g-2")

        assert (await lost).code is Code.HALTED
        assert resumed.ok, resumed
        assert refused.code is Code.BUSY
        assert system.store.state is State.FULL


async def test_wishes_are_refused_while_the_journal_is_far_behind() -> None:
    world = World()
    async with world.life() as system:
        system.desk.room = 0
        reply = await world.call("order.place", **BUY)
        cancel = await world.call("order.cancel_all")

        assert reply.code is Code.BUSY
        assert reply.retry_after is not None
        assert cancel.ok


async def test_a_sample_that_finds_no_room_is_left_out_and_the_hub_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Found in review: the group of tasks ended with the sample."""
    world = World()
    async with world.life() as system:
        append, refused = system.store.append, 0

        def narrow(kind: str, *args: Any, **options: Any) -> int:
            nonlocal refused
            if kind == EQUITY:
                refused += 1
                raise Refused(Code.BUSY, "full")
            return append(kind, *args, **options)

        monkeypatch.setattr(system.store, "append", narrow)
        await asyncio.sleep(200)

        assert refused >= 2
        assert (await world.call("order.place", **BUY)).ok


ORDER = Order(
    id="o-1",
    client_order_id="a",
    venue_client_id="b",
    venue="paper",
    symbol="BTC/USDT",
    type=OrderType.LIMIT,
    side=Side.BUY,
    amount=D("1.50"),
    price=D("100"),
    stop_loss=Trigger(price=D(90), limit=D("89.5")),
    fees=(("USDT", D("0.10")), ("BTC", D("1E-8"))),
    code=Code.VENUE_REJECTED,
    created_ts=1,
    updated_ts=2,
)


@pytest.mark.parametrize(
    "fact",
    [
        Placed(order=ORDER, content={"amount": "1.5"}, cost=D("150.15"), ts=3),
        CancelAsked(order_id="o-1", ts=4),
    ],
    ids=lambda fact: type(fact).__name__,
)
def test_a_fact_comes_back_as_it_was(fact: Any) -> None:
    events = [Written({}, b'{"id":"e-1"}')]
    body = codec.encode(fact, events, [Written({}, b'{"id":"a-1"}')])
    raw = orjson.loads(body)

    assert codec.decode(type(fact).__name__, raw["fact"]) == fact
    assert (raw["events"], raw["alerts"]) == ([{"id": "e-1"}], [{"id": "a-1"}])
    assert b"E-8" not in body


PLACED = Placed(order=ORDER, content={"amount": "1.5"}, ts=3)


def test_a_placement_is_written_without_what_is_at_its_default() -> None:
    raw = orjson.loads(codec.encode(PLACED))["fact"]

    assert raw.keys() == {"order", "content", "ts"}
    assert raw["order"].keys() == {
        *("id", "client_order_id", "venue_client_id", "venue", "symbol", "type", "side", "amount"),
        *("price", "stop_loss", "fees", "code", "created_ts", "updated_ts"),
    }


def test_a_zero_that_is_not_the_default_keeps_its_digits() -> None:
    placed = replace(PLACED, order=replace(ORDER, filled=D("0.00")))

    again: Any = codec.decode("Placed", orjson.loads(codec.encode(placed))["fact"])

    assert str(again.order.filled) == "0.00"


def test_a_placement_of_an_older_journal_in_which_everything_is_written_still_reads() -> None:
    old = orjson.loads(orjson.dumps({"fact": PLACED}, default=codec.text))["fact"]

    assert len(old["order"]) == len(fields(Order))
    assert codec.decode("Placed", old) == PLACED


REFUSALS = (
    Rejected(order_id="o-1", code=Code.RATE_LIMITED, reason="slow", retry_after=2.5, ts=3),
    *(
        kind(
            order_id="o-1",
            unknown=False,
            command=None,
            reason="slow",
            code=Code.RATE_LIMITED,
            retry_after=2.5,
            ts=3,
        )
        for kind in (AmendFailed, CancelFailed)
    ),
)


@pytest.mark.parametrize("fact", REFUSALS, ids=lambda fact: type(fact).__name__)
def test_a_refusal_reads_back_and_so_does_one_of_a_journal_without_its_time_and_code(
    fact: Any,
) -> None:
    raw = orjson.loads(codec.encode(fact))["fact"]
    assert codec.decode(type(fact).__name__, raw) == fact

    del raw["retry_after"]
    older = replace(fact, retry_after=None)
    if type(fact) is CancelFailed:
        del raw["code"]
        older = replace(older, code=None)
    assert codec.decode(type(fact).__name__, raw) == older


def test_no_default_of_what_is_not_written_changes() -> None:
    kept = {
        field.name: field.default
        for kind in (Order, Placed)
        for field in fields(kind)
        if field.default is not MISSING
    }
    cost = kept.pop("cost")
    filled = kept.pop("filled")

    # Journals on disk say nothing of these: a field that is new may come in, none of them may change.
    assert (str(cost), str(filled)) == ("0", "0")
    assert kept == {
        **dict.fromkeys(("cost_limit", "price", "stop_price", "trailing_amount", "trailing_rate")),
        **dict.fromkeys(("exchange_order_id", "good_till_ts", "leverage", "stop_loss")),
        **dict.fromkeys(("take_profit", "trailing_stop", "parent_id", "oco_group", "code")),
        **dict.fromkeys(("amend_amount", "amend_price", "amend_stop_price", "reason")),
        **dict.fromkeys(("bot_id", "strategy_id", "expires_at")),
        **dict.fromkeys(("post_only", "reduce_only", "emulated", "external"), False),
        **dict.fromkeys(("subject", "client"), ""),
        "trigger_by": "last",
        "time_in_force": "GTC",
        "position_type": "spot",
        "role": "entry",
        "status": "pending",
        "cancel_state": "none",
        "amend_state": "none",
        "fees": (),
        "source": "socket",
        "version": 1,
    }


def test_what_cannot_be_journaled_is_an_error() -> None:
    with pytest.raises(TypeError):
        codec.dumps({"when": object()})


async def test_the_clock_cannot_end_a_hub_whose_journal_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Symptom: with 20,000 rows waiting, the tick that begins a day was refused and took the hub with it."""
    world = World()
    async with world.life() as system:
        day = system.desk.engine.day.day
        waiting = 2 * system.store._sizes.queue
        monkeypatch.setattr(system.store._journal, "seq", system.store.seq - waiting)
        tomorrow = system.clock.now() + DAY
        system.routine.tick(tomorrow)
        still = system.desk.engine.day.day
        monkeypatch.undo()
        system.routine.tick(tomorrow)

        assert still == day
        assert system.desk.engine.day.day > day


async def test_a_new_level_of_risk_is_told_with_the_fill_that_made_it() -> None:
    world = World()
    async with world.life() as system:
        await asyncio.sleep(2)
        told: list[tuple[float, str]] = []
        loop = asyncio.get_running_loop()
        risk = system.desk.outlet.risk

        def noted() -> None:
            told.append((loop.time(), system.desk.engine.risk_level(system.clock.now())))
            risk()

        system.desk.outlet.risk = noted  # type: ignore[method-assign]
        before = system.desk.engine.risk_level(system.clock.now())
        await asyncio.sleep(0.1)
        result = await world.call("risk.params.set", patch={"max_open_positions": 1})
        at = loop.time()
        buy: dict[str, Any] = {"symbol": "BTC/USDT", "side": "buy", "type": "market"}
        placed = await world.call("order.place", **buy, amount="0.01")
        await asyncio.sleep(0.01)

        assert placed.ok, placed.error
        assert result.ok, result.error
        assert told[-1][1] != before
        assert 0 <= told[-1][0] - at < 0.2


def test_a_kept_row_costs_its_length_and_not_the_room_it_was_written_in() -> None:
    """Found under load: orjson leaves each text 4 to 16 KiB, and the process grew by those with every order."""
    row = {f"field_{number}": "x" * 20 for number in range(30)}
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [codec.dumps(row) for _ in range(200)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 1.5 * sum(map(len, kept))


async def test_a_row_that_tells_nobody_is_on_disk_as_well() -> None:
    """Found in review: after a market's row whoever waited for the journal was told that it could not be written."""
    world = World()
    async with world.life() as system:
        began = asyncio.get_running_loop().time()
        system.store.append("Test", "x", b"{}", safety=True)

        await system.desk.settled()

        assert asyncio.get_running_loop().time() - began < 1
