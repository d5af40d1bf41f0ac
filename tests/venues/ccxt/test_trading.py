"""Orders through the unpatched ccxt client: one request each, and what its answer proves (trading 6.6, 6.7)."""

from dataclasses import replace
from typing import Any

import pytest

from realtime.emulate.bybit import emulated
from realtime.emulate.faults import LOST, Fault, Kind
from realtime.emulate.floor import client_id_of
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import PositionSeen
from realtime.model.orders import Order, OrderType, Status, TimeInForce
from realtime.venues.ccxt import trading
from realtime.venues.ccxt.trading import Trading
from tests.venues.ccxt.desk import SPOT, SWAP, D, Desk, amend, approved, desk, order, venue_at


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


BUY = {"price": "60000"}


def held(world: Desk, asked: Order) -> int:
    """How many orders the exchange has under this client id."""
    works = world.server.floor.orders("main") + world.server.floor.ended("main")
    return sum(client_id_of(work) == asked.venue_client_id for work in works)


async def test_an_order_goes_out_once_and_is_found_by_our_client_id() -> None:
    async with desk() as world:
        asked = order("a-1", **BUY)
        ack = await world.venue.submit(approved(asked))
        found = await world.venue.find(asked)

        assert ack.exchange_order_id
        assert ack.status is None
        assert found is not None
        assert found.status is Status.OPEN
        assert found.venue_client_id == asked.venue_client_id
        assert (found.amount, found.price) == (D("0.01"), D(60000))
        assert held(world, asked) == 1


async def test_an_answer_that_is_lost_is_unknown_and_the_look_up_finds_the_order() -> None:
    """trading:6.6 row 7."""
    async with desk() as world:
        world.server.faults.once("*order/create", LOST)
        asked = order("a-1", **BUY)

        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(asked))
        found = await world.venue.find(asked)

        assert held(world, asked) == 1
        assert found is not None
        assert found.status is Status.OPEN


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Kind.HTML),
        Fault(Kind.TRUNCATED),
        Fault(Kind.ERROR),
        Fault(Kind.UNAVAILABLE),
        Fault(Kind.CODE, code=10016, message="System error"),
        Fault(Kind.CODE, code=170146, message="Order creation timeout"),
        Fault(Kind.CODE, code=999999, message="who knows"),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code}",
)
async def test_an_answer_that_proves_nothing_is_unknown(fault: Fault) -> None:
    """trading:S3, trading:S4, trading:6.6 rows 3 and 7."""
    async with desk() as world:
        await world.venue.open_orders()
        world.server.faults.once("*order/create", fault)

        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(order("a-1", **BUY)))


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(Kind.RATE_LIMITED), Code.RATE_LIMITED),
        (Fault(Kind.CODE, code=10006, message="Too many visits"), Code.RATE_LIMITED),
        (Fault(Kind.CODE, code=110007, message="ab not enough"), Code.INSUFFICIENT_FUNDS),
        (Fault(Kind.CODE, code=10001, message="params error"), Code.INVALID),
    ],
    ids=lambda given: str(getattr(given, "kind", given)),
)
async def test_a_refusal_is_certain_and_nothing_is_at_the_venue(fault: Fault, code: Code) -> None:
    """trading:6.6 rows 5 and 6."""
    async with desk() as world:
        await world.venue.open_orders()
        world.server.faults.once("*order/create", fault)
        asked = order("a-1", **BUY)

        with pytest.raises(VenueRejected) as raised:
            await world.venue.submit(approved(asked))

        assert raised.value.code is code
        assert held(world, asked) == 0


async def test_an_order_that_is_too_dear_is_refused_by_the_exchange_itself() -> None:
    async with desk(balances={"USDT": 10}) as world:
        with pytest.raises(VenueRejected) as raised:
            await world.venue.submit(approved(order("a-1", **BUY)))

        assert raised.value.code is Code.INSUFFICIENT_FUNDS


async def test_a_client_id_that_is_taken_is_looked_up_and_never_refused() -> None:
    """trading:6.6 row 4."""
    async with desk() as world:
        asked = order("a-1", **BUY)
        first = await world.venue.submit(approved(asked))
        again = await world.venue.submit(approved(asked))

        assert again.exchange_order_id == first.exchange_order_id
        assert again.status is Status.OPEN
        assert held(world, asked) == 1


@pytest.mark.parametrize(
    "fault",
    [Fault(Kind.RATE_LIMITED), Fault(Kind.CODE, code=10005, message="Permission denied"), None],
    ids=lambda fault: "its turn" if fault is None else str(fault.kind),
)
async def test_an_order_that_is_there_is_not_refused_with_the_question_about_it(
    fault: Fault | None,
) -> None:
    """It was told as rejected, or as not sent, and worked on at the exchange."""
    async with desk() as world:
        asked = order("a-1", **BUY)
        await world.venue.submit(approved(asked))
        if fault is not None:
            world.server.faults.always("*order/realtime", fault)
        else:
            turns = iter((True,))

            async def once(_cost: float | None = None) -> None:
                if not next(turns, False):
                    raise Refused(Code.VENUE_UNAVAILABLE, "does not answer")

            world.venue.exchange.throttle = once

        with pytest.raises(VenueUnknown):
            await world.venue.submit(approved(asked))

        assert held(world, asked) == 1


async def test_an_exchange_that_is_not_there_was_not_told_anything() -> None:
    """trading:6.6 row 2."""
    async with desk() as world:
        await world.venue.open_orders()
        world.venue.exchange.urls = {"api": dict.fromkeys(("private",), "http://127.0.0.1:9")}

        with pytest.raises(VenueRejected) as raised:
            await world.venue.submit(approved(order("a-1", **BUY)))

        assert raised.value.code is Code.VENUE_UNAVAILABLE


async def test_a_number_that_ccxt_would_change_is_not_sent_and_alarmed() -> None:
    """trading:1.2."""
    async with desk() as world:
        asked = order("a-1", amount="0.0123456789", **BUY)

        with pytest.raises(Refused):
            await world.venue.submit(approved(asked))

        assert world.alerts == [("critical", "precision_changed")]
        assert held(world, asked) == 0


@pytest.mark.parametrize("what", ["no grid", "less than a step", "not there"])
async def test_a_number_that_ccxt_cannot_write_is_refused_and_ends_nothing(what: str) -> None:
    """R1: ccxt's own error came through the way out as no error of ours, and ended the process."""
    async with desk() as world:
        await world.venue.open_orders()
        market = world.venue.exchange.markets[SPOT]
        if what == "no grid":
            market["precision"]["amount"] = None
        if what == "not there":
            del world.venue.exchange.markets[SPOT]
        amount = "0.0000001" if what == "less than a step" else "0.01"
        with pytest.raises(Refused) as raised:
            await world.venue.submit(approved(order("a-1", price="60000", amount=amount)))

        assert raised.value.code is Code.INVALID
        assert "cannot be written" in raised.value.message


async def test_a_list_that_may_go_on_says_no_of_no_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """R1: at a venue whose pages we do not know, an order behind the first 20 rows was called absent while it rested."""
    monkeypatch.setattr(trading, "kin", str)  # a Bybit that nobody knows for one
    async with (
        emulated(balances={"USDT": 100_000}) as server,
        venue_at("bybiteu", server, server.key, server.secret) as world,
    ):
        resting = [order(f"p-{number}", price="50000", amount="0.001") for number in range(25)]
        for each in resting:
            await world.venue.submit(approved(each))
        with pytest.raises(VenueUnknown, match="more orders"):
            await world.venue.find(resting[0])

        assert await world.venue.find(resting[-1])


async def test_contracts_of_every_coin_are_asked_for() -> None:
    """R1: ccxt asks Bybit for what is settled in USDT alone; orders and positions in USDC were never listed."""
    async with desk(types=("swap",)) as world:
        linear = world.venue.markets[SWAP]
        markets: Any = world.venue.public.markets
        markets["BTC/USDC:USDC"] = replace(
            linear, symbol="BTC/USDC:USDC", quote="USDC", settle="USDC"
        )
        asked = world.heard.asked
        await world.venue.open_orders()
        await world.venue.positions()

        for path in ("order/realtime", "position/list"):
            coins = [url.partition("settleCoin=")[2][:4] for url in asked if path in url]
            assert coins == ["USDC", "USDT"]


async def test_the_side_that_is_held_counts_and_both_are_no_position() -> None:
    """R1: of a venue's two sides of one contract the later row counted, which may be the empty one."""
    async with desk(types=("swap",)) as world:
        trading = world.venue.trading
        row = {"symbol": SWAP, "info": {}, "side": "long", "contracts": 2.0, "entryPrice": 6e4}
        empty = row | {"side": None, "contracts": 0.0}
        short = row | {"side": "short"}
        for rows, amount in (([row, empty], D(2)), ([empty, row], D(2)), ([empty, empty], D(0))):
            assert one_way(trading, rows).position.amount == amount
        with pytest.raises(VenueUnknown, match="hedge"):
            one_way(trading, [row, short])


def one_way(trading: Trading, rows: list[dict[str, Any]]) -> PositionSeen:
    """Fold the rows of one contract."""
    seen: PositionSeen | None = None
    for row in rows:
        made = trading.rows.position(row, now=1)
        assert made is not None
        seen = trading._one_way(made, seen)
    assert seen is not None
    return seen


async def test_a_clock_that_is_wrong_signs_nothing() -> None:
    async with desk() as world:

        def wrong() -> None:
            raise Refused(Code.VENUE_UNAVAILABLE, "our clock is 3 s ahead")

        world.venue.trading._check_clock = wrong

        with pytest.raises(Refused):
            await world.venue.submit(approved(order("a-1", **BUY)))


async def test_orders_are_canceled_by_their_id_or_by_ours() -> None:
    async with desk() as world:
        first, second = order("a-1", **BUY), order("a-2", **BUY)
        ack = await world.venue.submit(approved(first))
        await world.venue.submit(approved(second))
        await world.venue.cancel(replace(first, exchange_order_id=ack.exchange_order_id))
        await world.venue.cancel(second)

        assert world.server.floor.orders("main") == []
        for asked in (first, second):
            found = await world.venue.find(asked)
            assert found is not None
            assert found.status is Status.CANCELED
        with pytest.raises(VenueRejected) as raised:
            await world.venue.cancel(order("a-3", **BUY))
        assert raised.value.code is Code.NOT_FOUND


async def test_an_amend_names_absolute_targets_and_keeps_the_order() -> None:
    async with desk() as world:
        asked = order("a-1", **BUY)
        ack = await world.venue.submit(approved(asked))
        working = replace(asked, exchange_order_id=ack.exchange_order_id)
        done = await world.venue.amend(amend(working, amount="0.02", price="59000"))
        found = await world.venue.find(asked)

        assert (done.method, done.exchange_order_id) == ("native", ack.exchange_order_id)
        assert found is not None
        assert (found.amount, found.price) == (D("0.02"), D(59000))
        with pytest.raises(Refused):
            await world.venue.amend(amend(asked, price="58000"))


async def test_no_order_is_the_venues_own_no_and_no_answer_is_none() -> None:
    """trading:S2."""
    async with desk() as world:
        assert await world.venue.find(order("never", **BUY)) is None
        await world.venue.submit(approved(order("a-1", **BUY)))
        for fault in (Fault(Kind.HTML), Fault(Kind.TRUNCATED), Fault(Kind.ERROR)):
            world.server.faults.always("GET /v5/*", fault)
            for ask in (
                world.venue.open_orders,
                world.venue.balances,
                lambda: world.venue.fills(0),
                lambda: world.venue.find(order("never", **BUY)),
            ):
                with pytest.raises(VenueUnknown):
                    await ask()
            world.server.faults.clear()

        assert len(await world.venue.open_orders()) == 1


async def test_the_look_up_is_proven_by_its_parts_and_not_before() -> None:
    """trading:A2."""
    async with desk() as world:
        working, done = order("a-1", **BUY), order("a-2")
        await world.venue.find(order("never", **BUY))
        assert not world.venue.lookup_proven

        await world.venue.submit(approved(working))
        await world.venue.submit(approved(done))
        await world.venue.find(working)
        assert not world.venue.trading.proof.wants("working")

        world.venue.trading.proof.found("ended")
        proven = [world.venue.lookup_proven]

        # What a key found before it was refused says nothing of what it may see afterwards.
        world.venue._deny("no permission")
        proven.append(world.venue.lookup_proven)
        world.venue._key_at = 0.0
        await world.venue.find(working)
        await world.venue.control()
        proven.append(world.venue.lookup_proven)
        assert proven == [True, False, True]


async def test_fills_are_read_once_with_the_fee_in_base_on_a_buy() -> None:
    """trading:2.5."""
    async with desk() as world:
        ack = await world.venue.submit(approved(order("a-1")))
        await world.venue.submit(approved(order("a-2", "sell", "0.02")))
        fills = await world.venue.fills(0)
        bought = [fill for fill in fills if fill.exchange_order_id == ack.exchange_order_id]

        assert sum(fill.amount for fill in bought) == D("0.01")
        assert {fill.fee_currency for fill in bought} == {"BTC"}
        assert sum(fill.fee for fill in bought) == D("0.00001")
        assert {fill.fee_currency for fill in fills} == {"BTC", "USDT"}
        assert bought[0].venue_client_id == order("a-1").venue_client_id
        assert len({fill.trade_id for fill in fills}) == len(fills)
        assert fills == sorted(fills, key=lambda fill: fill.ts)


async def test_more_fills_than_one_answer_holds_are_all_read() -> None:
    async with desk() as world:
        for index in range(60):
            await world.venue.submit(approved(order(f"a-{index}", amount="0.001")))
        fills = await world.venue.fills(0)

        assert sum(fill.amount for fill in fills) == D("0.060")


async def test_more_working_orders_than_one_answer_holds_are_all_listed() -> None:
    """promise O5, in small."""
    async with desk() as world:
        for index in range(60):
            await world.venue.submit(approved(order(f"a-{index}", amount="0.001", **BUY)))

        assert len(await world.venue.open_orders()) == 60


async def test_balances_tell_what_is_free_and_what_orders_hold() -> None:
    async with desk() as world:
        await world.venue.submit(approved(order("a-1", **BUY)))
        balances = {row.currency: row for row in await world.venue.balances()}

        assert balances["USDT"].reserved > 0
        assert balances["USDT"].total == D(100_000)
        assert balances["BTC"].available == D(1)


async def test_a_currency_that_is_not_told_any_more_has_nothing_left() -> None:
    async with desk(balances={"USDT": 1000, "BTC": "0.1"}) as world:
        await world.venue.balances()
        world.venue.trading._currencies.add("XYZ")
        balances = {row.currency: row for row in await world.venue.balances()}

        assert balances["XYZ"].total == 0


async def test_derivatives_have_positions_leverage_and_go_flat() -> None:
    async with desk(types=("swap",)) as world:
        entry = order("a-1", "sell", symbol=SWAP, leverage=D(5), position_type="swap")
        await world.venue.submit(approved(entry))
        (held_,) = [row for row in await world.venue.positions() if row.amount]

        assert (held_.symbol, held_.amount) == (SWAP, D("-0.01"))
        assert held_.leverage == 5
        assert held_.cost is not None
        assert held_.cost < 0

        out = order("a-2", "buy", symbol=SWAP, reduce_only=True, position_type="swap")
        await world.venue.submit(approved(out))
        (flat,) = await world.venue.positions()

        assert flat.amount == 0
        assert {fill.symbol for fill in await world.venue.fills(0)} == {SWAP}


async def test_a_stop_waits_at_the_venue_and_is_canceled_there() -> None:
    async with desk(types=("swap",)) as world:
        entry = order("a-1", symbol=SWAP, position_type="swap")
        await world.venue.submit(approved(entry))
        stop = order(
            "a-2",
            "sell",
            type=OrderType.STOP,
            symbol=SWAP,
            stop_price="50000",
            reduce_only=True,
            position_type="swap",
        )
        await world.venue.submit(approved(stop))
        (seen,) = await world.venue.open_orders()

        assert (seen.type, seen.stop_price) == ("stop", D(50000))
        assert seen.reduce_only
        assert seen.venue_client_id == stop.venue_client_id

        await world.venue.cancel(stop)

        assert await world.venue.open_orders() == []


async def test_a_spot_stop_is_found_and_canceled_too() -> None:
    async with desk() as world:
        stop = order("a-1", "sell", type=OrderType.STOP, stop_price="50000")
        await world.venue.submit(approved(stop))
        found = await world.venue.find(stop)

        assert found is not None
        assert found.stop_price == D(50000)

        await world.venue.cancel(stop)
        gone = await world.venue.find(stop)

        assert gone is not None
        assert gone.status is Status.CANCELED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"price": "60000", "time_in_force": TimeInForce.IOC}, {Status.CANCELED, Status.EXPIRED}),
        ({"price": "60000", "time_in_force": TimeInForce.FOK}, {Status.CANCELED, Status.EXPIRED}),
        ({"price": "60000", "post_only": True}, {Status.OPEN}),
        ({"price": "70000", "time_in_force": TimeInForce.IOC}, {Status.FILLED}),
    ],
    ids=["ioc", "fok", "post_only", "ioc_through"],
)
async def test_times_in_force_reach_the_exchange(
    fields: dict[str, Any], status: set[Status]
) -> None:
    async with desk() as world:
        asked = order("a-1", **fields)
        await world.venue.submit(approved(asked))
        found = await world.venue.find(asked)

        assert found is not None
        assert found.status in status


async def test_a_buy_by_cost_spends_no_more() -> None:
    async with desk() as world:
        asked = order("a-1", amount="0", cost_limit=D(1000))
        await world.venue.submit(approved(asked))
        fills = await world.venue.fills(0)

        assert D(990) < sum(fill.amount * fill.price for fill in fills) <= D(1000)


async def test_trailing_stops_that_the_exchange_has_no_id_for_are_not_sent() -> None:
    async with desk(types=("swap",)) as world:
        asked = order(
            "a-1", "sell", symbol=SWAP, type=OrderType.TRAILING_STOP, trailing_rate=D("0.01")
        )

        with pytest.raises(Refused) as raised:
            await world.venue.submit(approved(asked))

        assert raised.value.code is Code.NOT_SUPPORTED
