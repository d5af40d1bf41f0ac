"""A venue whose account is somewhere else: doubt and trust, orders without names, second words (trading 2.3, 2.6)."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from realtime.model.account import Balance, Position
from realtime.model.errors import Code, VenueUnknown
from realtime.model.events import Ack, Filled, OrderSeen
from realtime.model.orders import Approved, ApprovedAmend, Order, Status
from realtime.model.risk import TradingState
from realtime.venues.base import Remote
from realtime.venues.ccxt.way import Bucket, Lane, Way, lane
from tests.fakes import BTC, BUY, MARKETS, Held, ScriptedVenue, World, until


D = Decimal
EVERYTHING: dict[str, Any] = {"scope": "account", "include_protection": True}
"""What a venue's own timer does: it spares nothing."""
PERP = "BTC/USDT:USDT"
PERPETUAL = replace(
    MARKETS[BTC], symbol=PERP, settle="USDT", type="swap", max_leverage=D(10), amount_step=D("0.001")
)  # fmt: skip


class Away(ScriptedVenue):
    """A venue that says when it is in doubt, and may not know client ids.

    Attributes:
        nameless: Whether rows and fills carry no client id, and nothing is found by one.
        wrong: Added to the cash that the next answers tell, one each.
        derivatives: What `positions` tells.
        timer: Whether it has a dead man's switch of its own; `timers` is what that was told,
            `tried` how often somebody tried.
        way: Limits of its own that placements wait for.
    """

    def __init__(self) -> None:
        super().__init__(markets={**MARKETS, PERP: PERPETUAL})
        self.told: Callable[[bool, str], None] = lambda _trusted, _reason: None
        self.expected: list[str] = []
        self.nameless = False
        self.timer = True
        self.timers: list[float | None] = []
        self.tried = 0
        self.wrong: list[Decimal] = []
        self.derivatives: list[Position] = []
        self.way: Way | None = None

    async def submit(self, approved: Approved) -> Ack:
        if self.way is not None:
            with lane(Lane.ENTRY):
                await self.way.turn(1.0)
        self.leave(approved)
        return await super().submit(approved)

    async def dead_mans_switch(self, seconds: float | None) -> bool:
        self.tried += 1
        await self._answer("switch")
        self.timers.append(seconds)
        return self.timer

    def quote(self) -> None:
        """Quote what the others quote; nobody trades the derivative here."""
        markets, self.markets = self.markets, MARKETS
        super().quote()
        self.markets = markets

    def guard(self, leave: Callable[[Any], None]) -> None:
        self.leave = leave

    def attend(self, told: Callable[[bool, str], None]) -> None:
        self.told = told

    def expect(self, orders: Iterable[Order]) -> None:
        self.expected = [order.client_order_id for order in orders]

    def _row(self, held: Held, evidence: str) -> OrderSeen:
        row = super()._row(held, evidence)
        return replace(row, venue_client_id=None) if self.nameless else row

    async def find(self, order: Order) -> OrderSeen | None:
        if self.nameless:
            raise VenueUnknown("it has no look-up by client id")
        return await super().find(order)

    async def fills(self, since: int) -> Sequence[Filled]:
        rows = await super().fills(since)
        return [replace(row, venue_client_id=None) for row in rows] if self.nameless else rows

    async def balances(self) -> Sequence[Balance]:
        rows = await super().balances()
        wrong = self.wrong.pop(0) if self.wrong else D(0)
        return [
            replace(row, available=row.available + wrong) if row.currency == "USDT" else row
            for row in rows
        ]

    async def positions(self) -> Sequence[Position]:
        await super().positions()
        return self.derivatives


def away(**fields: Any) -> tuple[World, Away]:
    world, venue = World(), Away()
    world.venue = venue
    for name, value in fields.items():
        setattr(venue, name, value)
    return world, venue


async def codes(world: World) -> list[str]:
    reply = await world.call("alert.list", limit=500)
    assert reply.result is not None
    found = reply.result["alerts"]
    assert isinstance(found, list)
    return [alert["code"] for alert in found]


async def test_entries_wait_while_private_data_is_in_doubt_and_until_all_is_compared() -> None:
    """trading:G3, trading:S14."""
    world, venue = away()
    assert isinstance(venue, Remote)
    async with world.life() as system:
        venue.told(False, "private data is older than 30 s")
        refused = await world.call("order.place", **BUY)

        assert refused.code is Code.VENUE_UNAVAILABLE

        venue.broken.add("balances")
        venue.told(True, "")
        await asyncio.sleep(20)
        assert not system.reconciler.ready

        venue.broken.clear()
        await until(lambda: system.reconciler.ready, within=10)
        assert (await world.call("order.place", **BUY)).ok


async def test_an_account_in_doubt_from_the_start_gets_ready_once_it_is_trusted() -> None:
    world, venue = away()
    async with world.life(ready=False) as system:
        venue.told(False, "the key is not accepted")
        await asyncio.sleep(30)
        assert not system.reconciler.ready

        venue.told(True, "")
        await until(lambda: system.reconciler.ready, within=10)


async def test_a_doubt_that_comes_while_all_is_compared_is_not_forgotten_over_it() -> None:
    world, venue = away()
    async with world.life() as system:
        venue.told(False, "private data is older than 30 s")
        system.reconciler.reconnected()
        await asyncio.sleep(20)

        assert not system.reconciler.ready
        assert (await world.call("order.place", **BUY)).code is Code.VENUE_UNAVAILABLE


async def test_orders_of_before_are_told_to_the_venue_first(tmp_path: Any) -> None:
    """trading:I3."""
    world, venue = away()
    world.path = tmp_path / "j.db"
    async with world.life():
        await world.call("order.place", **BUY, client_order_id="g-1")
    async with world.life():
        assert venue.expected == ["g-1"]


async def test_an_unknown_order_is_adopted_by_its_content_where_nothing_else_names_it() -> None:
    """trading:2.3."""
    world, venue = away(nameless=True, lookup_proven=False)
    async with world.life():
        venue.script.append("lose")
        reply = await world.call("order.place", **BUY, client_order_id="g-1")
        assert reply.code is Code.OUTCOME_UNKNOWN
        await until(lambda: world.order("g-1").status is Status.OPEN, within=30)
        resolved = await world.events("order_resolved")

        assert [event["data"]["evidence"] for event in resolved] == ["content"]
        assert "external_order" not in await codes(world)
        assert venue.submitted == ["g-1"]


async def test_a_market_order_without_a_name_is_adopted_by_its_fills() -> None:
    """trading:2.3."""
    world, venue = away(nameless=True, lookup_proven=False)
    market = {"symbol": BTC, "side": "buy", "type": "market", "amount": "0.01"}
    async with world.life() as system:
        venue.script.append("lose")
        started = world.start("order.place", **market, client_order_id="g-1")
        await until(lambda: bool(venue.held))
        venue.fill("g-1")
        await started
        await until(lambda: world.order("g-1").status is Status.FILLED, within=30)

        assert system.desk.engine.positions[BTC].amount == D("0.01")
        assert "external_order" not in await codes(world)


async def test_an_unknown_order_that_nothing_names_is_alarmed_once_and_stays() -> None:
    """trading:2.3."""
    world, venue = away(nameless=True, lookup_proven=False)
    async with world.life():
        venue.script.append("drop")
        await world.call("order.place", **BUY, client_order_id="g-1")
        await asyncio.sleep(300)

        assert world.order("g-1").status is Status.UNKNOWN
        assert (await codes(world)).count("order_undecided") == 1


async def test_a_balance_that_is_right_the_second_time_was_never_wrong() -> None:
    """trading:2.6."""
    world, venue = away()
    async with world.life() as system:
        await asyncio.sleep(2)
        venue.wrong = [D(-500)]
        await asyncio.sleep(120)

        assert venue.wrong == []
        assert "external_change" not in await codes(world)
        assert system.desk.engine.state() is TradingState.ACTIVE


async def test_a_balance_that_is_wrong_twice_is_booked_and_stops_entries() -> None:
    """trading:2.6."""
    world, venue = away()
    async with world.life() as system:
        await asyncio.sleep(2)
        venue.wrong = [D(-500)] * 50
        await until(lambda: system.desk.engine.state() is TradingState.REDUCING, within=90)

        assert "external_change" in await codes(world)
        assert world.venue.submitted == []


async def test_a_venue_that_does_not_say_it_again_is_no_information() -> None:
    world, venue = away()
    async with world.life() as system:
        await asyncio.sleep(2)
        venue.wrong = [D(-500)]
        await until(lambda: not venue.wrong, within=90)
        venue.reachable = False
        await asyncio.sleep(120)

        assert system.desk.engine.doubts == {"USDT"}
        assert system.desk.engine.state() is TradingState.ACTIVE


async def test_a_position_that_is_not_listed_any_more_is_flat_after_a_second_look() -> None:
    """trading:2.7."""
    held = Position(
        venue="paper", symbol=PERP, position_type="swap", amount=D(3), cost=D(180_000)
    )  # fmt: skip
    world, venue = away(derivatives=[held])
    async with world.life() as system:
        assert system.desk.engine.positions[PERP].amount == D(3)
        await asyncio.sleep(2)
        venue.derivatives = []
        await until(lambda: not system.desk.engine.positions[PERP].amount, within=90)

        assert "external_change" in await codes(world)
        assert system.desk.engine.state() is TradingState.REDUCING


async def test_what_the_venue_tells_of_a_position_besides_its_amount_comes_back_after_a_restart(
    tmp_path: Path,
) -> None:
    """trading:2.6. Found in review: each one stood at a leverage of 1, without collateral, until traded again."""
    held = Position(
        venue="paper",
        symbol=PERP,
        position_type="swap",
        amount=D(3),
        cost=D(180_000),
        leverage=D(3),
        margin_mode="isolated",
        collateral=D(60_000),
        liquidation_price=D(41_000),
    )
    world, venue = away(derivatives=[held])
    world.path = tmp_path / "journal.db"
    async with world.life():
        pass
    async with world.life() as system:
        mine = system.desk.engine.positions[PERP]
        assert (mine.amount, mine.cost) == (D(3), D(180_000))
        assert (mine.leverage, mine.margin_mode) == (D(3), "isolated")
        assert (mine.collateral, mine.liquidation_price) == (D(60_000), D(41_000))

        # Each alone, and what it does not say stays as it is.
        for told in (
            replace(held, leverage=D(5)),
            replace(held, leverage=D(5), margin_mode="cross"),
            replace(held, leverage=D(5), margin_mode="cross", collateral=D(36_000)),
            replace(
                held,
                leverage=D(5),
                margin_mode="cross",
                collateral=D(36_000),
                liquidation_price=D(50_000),
            ),
        ):
            venue.derivatives = [told]
            await asyncio.sleep(40)
            mine = system.desk.engine.positions[PERP]
            assert (mine.leverage, mine.margin_mode) == (told.leverage, told.margin_mode)
            assert (mine.collateral, mine.liquidation_price) == (
                told.collateral,
                told.liquidation_price,
            )
        venue.derivatives = [replace(told, collateral=None, liquidation_price=None)]
        await asyncio.sleep(40)
        mine = system.desk.engine.positions[PERP]
        assert (mine.collateral, mine.liquidation_price) == (D(36_000), D(50_000))
        assert "external_change" not in await codes(world)
        assert system.desk.engine.state() is TradingState.ACTIVE
        assert not system.desk.engine.doubts


async def test_an_order_that_took_the_place_of_another_is_known_by_its_new_id() -> None:
    """An amend that replaces (trading 2.2)."""

    class Replacing(Away):
        async def amend(self, approved: ApprovedAmend) -> Ack:
            ack = await super().amend(approved)
            held = self.held[approved.order.venue_client_id]
            held.id = f"{held.id}-new"
            return replace(ack, exchange_order_id=held.id, method="cancel_replace")

    world = World()
    world.venue = Replacing()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        before = world.order("g-1").exchange_order_id
        reply = await world.call("order.amend", client_order_id="g-1", price="63800")

        assert reply.result is not None
        assert reply.result["method"] == "cancel_replace"
        assert world.order("g-1").exchange_order_id == f"{before}-new"
        assert len(system.desk.engine.orders.working()) == 1


async def test_the_venues_own_timer_is_armed_when_all_of_what_it_does_is_meant() -> None:
    """features F20: it spares nothing."""
    world, venue = away()

    async def native(**args: Any) -> object:
        reply = await world.call("deadman", **args)
        assert reply.result is not None
        return reply.result["native"]

    async with world.life():
        assert await native(timeout=60) is False
        assert await native(timeout=60, scope="account") is False
        assert await native(grace=5, **EVERYTHING) is False
        assert venue.timers == []

        assert await native(timeout=60, **EVERYTHING) is True
        assert await native(timeout=30, **EVERYTHING) is True
        assert await native(timeout=0, **EVERYTHING) is False
        assert await native(timeout=0, **EVERYTHING) is False
        assert venue.timers == [60, 30, None]

        venue.timer = False
        assert await native(timeout=60, **EVERYTHING) is False
        venue.timer = True
        venue.broken.add("switch")
        assert await native(timeout=60, **EVERYTHING) is False


async def test_the_venues_one_timer_is_for_all_clients_and_off_with_the_last_of_them() -> None:
    world, venue = away()
    async with world.life():
        await world.call("deadman", client="slow", timeout=600, **EVERYTHING)
        await world.call("deadman", client="quick", timeout=30, **EVERYTHING)
        await asyncio.sleep(10)
        await world.call("deadman", client="slow", timeout=600, **EVERYTHING)
        await world.call("deadman", client="quick", timeout=0)
        await world.call("deadman", client="slow", timeout=0)

    assert venue.timers[:2] == [600, 30]
    assert venue.timers[2:4] == [pytest.approx(20, abs=1), pytest.approx(600, abs=1)]
    assert venue.timers[4:] == [None]


async def test_the_venues_timer_is_switched_off_also_by_a_server_that_was_started_since(
    tmp_path: Path,
) -> None:
    """Else it cancelled everything, stops included, minutes after the answer had said `armed: false`."""
    world, venue = away()
    world.path = tmp_path / "journal.db"
    async with world.life():
        await world.call("deadman", timeout=600, **EVERYTHING)
    async with world.life():
        await world.call("deadman", timeout=0)
        await world.call("deadman", timeout=0)

    assert venue.timers == [600, None]


async def test_the_venues_timer_stays_set_for_those_who_armed_it_before_a_restart(
    tmp_path: Path,
) -> None:
    world, venue = away()
    world.path = tmp_path / "journal.db"
    async with world.life():
        await asyncio.gather(
            world.call("deadman", client="quick", timeout=100, **EVERYTHING),
            world.call("deadman", client="slow", timeout=600, **EVERYTHING),
        )
    async with world.life():
        await world.call("deadman", client="slow", timeout=600, **EVERYTHING)
        await world.call("deadman", client="slow", timeout=0)

    assert len(venue.timers) == 4
    assert venue.timers == [pytest.approx(100, abs=5)] * 4


def goodbye(system: Any, client: str = "desk") -> None:
    """Let the client's only connection end by its own word."""
    system.deadman.connected("local", client)
    system.deadman.disconnected("local", client, bye=True)


async def test_goodbye_switches_the_venues_timer_off_too() -> None:
    """The venue cancelled everything, stops included, a minute after a client had left as it should."""
    world, venue = away()
    async with world.life() as system:
        await world.call("deadman", timeout=60, **EVERYTHING)
        goodbye(system)
        await asyncio.sleep(600)

    assert venue.timers == [60, None]


async def test_goodbye_leaves_the_venues_timer_to_the_others() -> None:
    world, venue = away()
    async with world.life() as system:
        await world.call("deadman", client="slow", timeout=600, **EVERYTHING)
        await world.call("deadman", client="quick", timeout=30, **EVERYTHING)
        await world.call("deadman", client="other", timeout=10)
        goodbye(system, "other")
        await asyncio.sleep(20)
        goodbye(system, "quick")
        await asyncio.sleep(1)

    assert venue.timers == [600, 30, pytest.approx(580, abs=1)]


async def test_goodbye_is_said_to_a_venue_until_it_hears_or_its_timer_is_over() -> None:
    world, venue = away()
    async with world.life() as system:
        for deaf_s, heard in ((3, [None]), (600, [])):
            await world.call("deadman", timeout=60, **EVERYTHING)
            venue.timers.clear()
            venue.broken.add("switch")
            before = venue.tried
            goodbye(system)
            await asyncio.sleep(deaf_s)
            venue.broken.clear()
            await asyncio.sleep(5)

            assert venue.timers == heard
            assert venue.tried - before == pytest.approx(min(deaf_s, 60), abs=2)


async def test_who_comes_back_and_arms_anew_is_not_disarmed_by_the_goodbye_of_before() -> None:
    world, venue = away()
    async with world.life() as system:
        await world.call("deadman", timeout=60, **EVERYTHING)
        venue.broken.add("switch")
        goodbye(system)
        await asyncio.sleep(0.5)
        venue.broken.clear()
        await world.call("deadman", timeout=60, **EVERYTHING)
        await asyncio.sleep(30)

    assert venue.timers == [60, 60]


async def test_the_venues_timer_does_not_outlive_a_switch_that_has_fired() -> None:
    """A minute after a short silence it cancelled what the client that was back had placed since."""
    world, venue = away()
    async with world.life() as system:
        await world.call("deadman", timeout=60, grace=5, **EVERYTHING)
        system.deadman.connected("local", "desk")
        system.deadman.disconnected("local", "desk", bye=False)
        await asyncio.sleep(10)

    assert venue.timers == [60, None]


async def test_disarming_is_said_again_to_a_venue_that_did_not_hear_it() -> None:
    world, venue = away()
    async with world.life():
        await world.call("deadman", timeout=60, **EVERYTHING)
        venue.broken.add("switch")
        off = await world.call("deadman", timeout=0)
        venue.broken.clear()
        await asyncio.sleep(5)

    assert off.ok
    assert venue.timers == [60, None]


@asynccontextmanager
async def crowded() -> AsyncIterator[tuple[World, Away, Way, Any]]:
    """A venue whose own limit lets nobody through for an hour."""
    world, venue = away()
    loop = asyncio.get_running_loop()
    way = venue.way = Way("paper", Bucket(3600.0), loop=loop, chance=lambda: 0.0)
    await way.turn(1.0)
    async with world.life() as system:
        yield world, venue, way, system


async def test_entries_that_wait_for_an_exchanges_limit_end_in_the_step_of_a_halt() -> None:
    """trading:K2. They were answered when their turn came or ten seconds had passed."""
    async with crowded() as (world, venue, way, system):
        placing = [
            world.start("order.place", **BUY | {"price": f"6390{n}"}, client_order_id=f"g-{n}")
            for n in range(3)
        ]
        await until(lambda: way._turns.waiting(Lane.ENTRY) == 3)
        began = asyncio.get_running_loop().time()
        halted = await world.call("trading.halt", reason="drill")
        replies = await asyncio.gather(*placing)

        assert asyncio.get_running_loop().time() - began < 0.1
        assert {reply.code for reply in replies} == {Code.HALTED}
        assert {world.order(f"g-{n}").status for n in range(3)} == {Status.REJECTED}
        assert halted.result is not None
        assert halted.result["unknown"] == halted.result["failed"] == []
        assert way._turns.waiting(Lane.ENTRY) == 0
        assert system.gate.quiet
        assert (venue.submitted, venue.canceled) == ([], [])


async def test_a_cancel_of_an_order_that_waits_for_a_limit_asks_nobody() -> None:
    """trading:2.1. The venue was asked for an order it did not know, which proved nothing."""
    async with crowded() as (world, venue, way, system):
        placing = world.start("order.place", **BUY, client_order_id="g-1")
        await until(lambda: way._turns.waiting(Lane.ENTRY) == 1)
        began = asyncio.get_running_loop().time()
        canceled = await world.call("order.cancel", client_order_id="g-1")
        placed = await placing

        assert asyncio.get_running_loop().time() - began < 0.1
        for reply in (canceled, placed):
            assert reply.result is not None
            assert reply.result["status"] == "canceled"
        assert system.gate.quiet
        assert (venue.submitted, venue.canceled) == ([], [])


async def test_a_leg_that_waits_for_a_limit_is_let_go_in_the_step_that_fills_the_other() -> None:
    """What a venue tells is journaled together: a leg it ended waited on until its turn came."""
    world, venue = away()
    loop = asyncio.get_running_loop()
    async with world.life() as system:
        legs = {"stop_loss": "60000", "take_profit": "70000"}
        await world.call("order.place", **BUY | legs, client_order_id="g-1")
        way = venue.way = Way("paper", Bucket(3600.0), loop=loop, chance=lambda: 0.0)
        venue.fill("g-1")
        await until(lambda: len(venue.submitted) == 2 and way._turns.waiting(Lane.ENTRY) == 1)

        venue.fill(venue.submitted[-1])
        await asyncio.sleep(0)

        assert way._turns.waiting(Lane.ENTRY) == 0
        assert system.gate.quiet


async def protected(world: World, venue: Away) -> None:
    """Hold what was bought with a stop and a target, both at the venue."""
    legs = {"stop_loss": "60000", "take_profit": "70000"}
    await world.call("order.place", **BUY | legs, client_order_id="g-1")
    venue.fill("g-1")
    await until(lambda: len(venue.submitted) == 3)


class Slow(Away):
    """A venue that takes cancels only when it may, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = asyncio.Semaphore(0)

    async def cancel(self, order: Order) -> Ack:
        await self.turns.acquire()
        return await super().cancel(order)


async def test_an_exit_leaves_when_the_legs_that_hold_its_coins_have_ended() -> None:
    """trading:4. What is sold is locked until then: sent beside the cancels, the venue would refuse it."""
    world = World()
    venue = world.venue = Slow()
    async with world.life():
        await protected(world, venue)

        closing = world.start("position.close_all")
        await asyncio.sleep(0.5)
        venue.turns.release()
        await asyncio.sleep(0.5)
        assert (len(venue.canceled), len(venue.submitted)) == (1, 3)
        venue.turns.release()
        closed = await closing

        assert closed.result is not None
        assert closed.result["failed"] == []
        assert (len(venue.canceled), len(venue.submitted), venue.live()) == (2, 4, [])


async def test_an_exit_whose_legs_end_at_once_leaves_at_once() -> None:
    """Their ends were told in the step of its commit, before it listened: it waited for the whole time."""
    world, venue = away()
    async with world.life():
        await protected(world, venue)

        began = asyncio.get_running_loop().time()
        closed = await world.call("position.close_all")

        assert asyncio.get_running_loop().time() - began < 0.1
        assert closed.result is not None
        assert closed.result["failed"] == []


async def test_an_exit_that_waits_for_its_legs_can_be_cancelled_and_they_come_back() -> None:
    world = World()
    venue = world.venue = Slow()
    async with world.life() as system:
        await protected(world, venue)
        first = venue.live()

        sell = {"symbol": BTC, "side": "sell", "type": "market", "amount": "0.01"}
        leaving = world.start("order.place", **sell, client_order_id="x-1")
        await asyncio.sleep(0.5)
        await world.call("order.cancel", client_order_id="x-1")
        left = await leaving
        for _ in first:
            venue.turns.release()
        await until(lambda: system.gate.quiet and len(venue.live()) == 2)

        assert left.result is not None
        assert left.result["status"] == "canceled"
        assert "x-1" not in venue.submitted
        assert not set(first) & set(venue.live())


@pytest.mark.parametrize(
    ("sold", "why", "after"),
    [("0.01", "nothing is left of them", 0), ("0.004", "only 0.006 BTC are left of them", 2)],
    ids=["all", "a part"],
)
async def test_an_exit_whose_coins_a_leg_sells_while_it_waits_is_not_sent(
    sold: str, why: str, after: int
) -> None:
    """trading:4. Whole it would be refused by the venue, and nobody has asked for a smaller one."""
    world = World()
    venue = world.venue = Slow()
    async with world.life() as system:
        await protected(world, venue)
        first = venue.live()
        closing = world.start("position.close_all")
        await asyncio.sleep(0.5)

        venue.fill(first[0], D(sold))
        for _ in first:
            venue.turns.release()
        closed = await closing
        await until(lambda: system.gate.quiet and len(venue.live()) == after)

        assert closed.result is not None
        said = closed.result["failed"]
        assert isinstance(said, list)
        (failed,) = said
        assert failed["error"]["code"] == "risk_rejected"
        assert why in failed["error"]["message"]
        assert len(venue.submitted) == 3 + after
        assert not system.gate.handed
        if after:
            # What is left is protected, and the next close closes it.
            for _ in range(after):
                venue.turns.release()
            again = await world.call("position.close_all")
            assert again.result is not None
            assert again.result["failed"] == []
        assert not any(one.amount for one in system.desk.engine.positions.values())


class Mum(Away):
    """A venue that answers no cancel."""

    async def cancel(self, order: Order) -> Ack:
        raise VenueUnknown("no answer")


async def test_an_exit_behind_a_cancel_that_nobody_answers_tries_its_luck() -> None:
    world = World()
    venue = world.venue = Mum()
    async with world.life() as system:
        await protected(world, venue)

        began = asyncio.get_running_loop().time()
        closing = world.start("position.close_all")
        await asyncio.sleep(1)
        assert not system.gate.quiet  # a server that stops would leave without it
        closed = await closing

        assert asyncio.get_running_loop().time() - began < 3
        assert closed.result is not None
        assert closed.result["failed"] == []
        assert len(venue.submitted) == 4
