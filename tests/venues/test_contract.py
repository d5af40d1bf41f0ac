"""trading:5.4, the numbered cards every venue has to pass.

Run on: the paper exchange (frozen market; C27 to C30 on the embedded one), chaos(paper) with faults off, and
replay (market data only). C35 to C50 need faults and run on chaos(paper). Not here: the ccxt client.
"""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from realtime.engine.bars import Bars
from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import SECOND, BookDelta, BookSnapshot, Stale, Ticker, Trade
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce
from realtime.venues.base import Venue
from realtime.venues.chaos import HANG_S, LATE_S, ChaosVenue, Fault, Kind
from realtime.venues.frozen import SYMBOL
from realtime.venues.market import EmbeddedMarket
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource, recording
from tests.venues.kit import START, Clock, Listener, MemoryLog, Shop, amended, approved, wish


D = Decimal
PERP = "BTC/USDT:USDT"
RECORDING = Path(__file__).parents[1] / "data" / "binance-spot-synthetic.jsonl.gz"


class Stage(Shop):
    """A paper venue on the frozen market, bare or behind chaos without faults."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(log=MemoryLog(), **options)
        self.kind = kind
        self.chaos = ChaosVenue(self.paper, seed=1, now=self.clock.now, sleep=self.clock.sleep)
        if kind == "chaos":
            self.venue = self.chaos


@pytest.fixture(params=["paper", "chaos"])
async def stage(request: pytest.FixtureRequest) -> Stage:
    made = Stage(request.param, balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    return made


@pytest.fixture
async def rough() -> Stage:
    made = Stage("chaos", balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    made.heard.clear()
    return made


class Data:
    """Market data of one venue: what was heard of it while it moved."""

    def __init__(self, venue: Venue, heard: Listener, symbol: str) -> None:
        self.venue = venue
        self.heard = heard
        self.symbol = symbol


async def _frozen(*, chaotic: bool) -> Data:
    made = Stage("chaos" if chaotic else "paper", balances={"USDT": "100000", "BTC": "2"})
    await made.open()
    made.source.step(1)
    await made.place("a")
    made.source.trade(Side.SELL, D("64010.00"), D("0.5"))
    made.source.step(2)
    return Data(made.venue, made.heard, SYMBOL)


async def _embedded() -> Data:
    clock, heard = Clock(), Listener()
    source = EmbeddedMarket(seed=1, now=clock.now, sleep=clock.sleep, symbols=(SYMBOL, PERP))
    venue = PaperVenue(source=source, balances={}, seed=1, now=clock.now, sleep=clock.sleep)
    await venue.open(heard)
    for _ in range(100):
        clock.advance(0.05)
        source.step()
    return Data(venue, heard, SYMBOL)


async def _replay() -> Data:
    clock, heard = Clock(), Listener()
    source = ReplaySource(recording(RECORDING), now=clock.now, sleep=clock.sleep, speed=None)
    venue = PaperVenue(
        source=source, balances={}, seed=1, now=clock.now, sleep=clock.sleep, kind="replay"
    )
    await venue.open(heard)
    await venue.run()
    return Data(venue, heard, "BTC/USDT")


MAKERS: dict[str, Callable[[], Awaitable[Data]]] = {
    "paper": lambda: _frozen(chaotic=False),
    "chaos(paper)": lambda: _frozen(chaotic=True),
    "embedded": _embedded,
    "replay": _replay,
}


@pytest.fixture(params=list(MAKERS))
async def data(request: pytest.FixtureRequest) -> Data:
    return await MAKERS[request.param]()


# --- C01 to C09, market data ------------------------------------------------------------------


async def test_c01_markets_tell_grid_and_fees(data: Data) -> None:
    market = data.venue.markets[data.symbol]

    assert (market.base, market.quote, market.type) == ("BTC", "USDT", "spot")
    assert market.price_tick > 0 < market.amount_step
    assert market.maker == market.taker == D("0.001")


async def test_c02_published_numbers_are_on_the_grid(data: Data) -> None:
    for event in data.heard.of(BookSnapshot, BookDelta):
        market = data.venue.markets[event.symbol]
        for price, amount in (*event.bids, *event.asks):
            assert D(price) % market.price_tick == 0
            assert D(amount) % market.amount_step == 0


async def test_c03_the_ticker_is_a_top_of_book(data: Data) -> None:
    for ticker in data.heard.of(Ticker):
        assert ticker.bid is not None
        assert ticker.ask is not None
        assert D(ticker.bid) < D(ticker.ask)


async def test_c04_a_book_begins_with_a_snapshot(data: Data) -> None:
    assert isinstance(data.heard.of(BookSnapshot, BookDelta)[0], BookSnapshot)


async def test_c05_snapshot_and_updates_are_never_crossed(data: Data) -> None:
    book = OrderBook(data.symbol)
    for event in data.heard.of(BookSnapshot, BookDelta):
        if event.symbol != data.symbol:
            continue
        if isinstance(event, BookSnapshot):
            book.apply_snapshot(event)
        else:
            book.apply_delta(event)
        assert not book.crossed
    assert book.best_bid is not None


async def test_c06_trades_have_ids_of_their_own_and_come_in_order(data: Data) -> None:
    trades = [trade for trade in data.heard.of(Trade) if trade.symbol == data.symbol]

    assert trades
    assert len({trade.id for trade in trades}) == len(trades)
    assert [trade.ts for trade in trades] == sorted(trade.ts for trade in trades)


async def test_c07_the_newest_trades_can_be_asked_for(data: Data) -> None:
    trades = [trade for trade in data.heard.of(Trade) if trade.symbol == data.symbol]

    assert list(await data.venue.trades(data.symbol, 3)) == trades[-3:]


async def test_c08_the_forming_bar_is_the_fold_of_the_newest_trades(data: Data) -> None:
    fold = Bars("1m")
    for trade in data.heard.of(Trade):
        if trade.symbol == data.symbol:
            fold.add(trade)
    bar, forming = (await data.venue.ohlcv(data.symbol, "1m", None, 1))[-1], fold.forming

    assert forming is not None
    assert (bar.ts, bar.close) == (forming.ts, forming.close)
    assert D(bar.volume) >= D(forming.volume)


async def test_c09_bars_ascend_and_keep_their_order(data: Data) -> None:
    bars = await data.venue.ohlcv(data.symbol, "5m", None, 20)

    assert 0 < len(bars) <= 20
    assert [bar.ts for bar in bars] == sorted({bar.ts for bar in bars})
    for bar in bars:
        prices = [D(bar.open), D(bar.close)]
        assert D(bar.low) <= min(prices) <= max(prices) <= D(bar.high)


# --- C10 to C24, orders -----------------------------------------------------------------------


async def status_of(stage: Stage, order: Order) -> Status:
    found = await stage.venue.find(order)
    assert found is not None
    return found.status


async def test_c10_a_market_order_fills(stage: Stage) -> None:
    assert await status_of(stage, await stage.place("a")) is Status.FILLED


async def test_c11_a_limit_order_rests(stage: Stage) -> None:
    assert await status_of(stage, await stage.place("a", price="60000.00")) is Status.OPEN


@pytest.mark.parametrize(
    ("card", "fields", "trigger"),
    [
        ("c12", {"type": OrderType.STOP, "stop_price": "63000.00"}, "63000.00"),
        ("c13", {"type": OrderType.STOP_LIMIT, "stop_price": "63000.00", "price": "62000.00"}, "62999.00"),
        ("c14", {"type": OrderType.TAKE_PROFIT, "stop_price": "65000.00"}, "65000.00"),
        ("c15", {"type": OrderType.TRAILING_STOP, "trailing_rate": "0.01"}, "63360.00"),
    ],
    ids=["c12 stop", "c13 stop limit", "c14 take profit", "c15 trailing stop"],
)  # fmt: skip
async def test_c12_to_c15_triggered_orders_wait_and_fire(
    stage: Stage, card: str, fields: dict[str, Any], trigger: str
) -> None:
    stage.source.trade(Side.SELL, D("64000.00"), D("0.00001"))
    order = await stage.place("a", Side.SELL, **fields)
    assert await status_of(stage, order) is Status.OPEN

    stage.source.trade(Side.SELL, D(trigger), D("0.00001"))

    assert await status_of(stage, order) is Status.FILLED


async def test_c16_immediate_or_cancel(stage: Stage) -> None:
    order = await stage.place("a", amount="1.3", price="64012.10", time_in_force=TimeInForce.IOC)
    found = await stage.venue.find(order)

    assert found is not None
    assert (found.status, found.filled) == (Status.CANCELED, D("1.20410"))


async def test_c17_fill_or_kill(stage: Stage) -> None:
    order = await stage.place("a", amount="1.3", price="64012.10", time_in_force=TimeInForce.FOK)
    found = await stage.venue.find(order)

    assert found is not None
    assert (found.status, found.filled) == (Status.CANCELED, D(0))


async def test_c18_good_till_a_date(stage: Stage) -> None:
    order = await stage.place(
        "a", price="60000.00", time_in_force=TimeInForce.GTD, good_till_ts=START + SECOND
    )
    stage.paper.exchange.advance(START + SECOND)
    stage.paper.tell()

    assert await status_of(stage, order) is Status.EXPIRED
    assert stage.heard.of(OrderSeen)[-1].status is Status.EXPIRED


async def test_c19_post_only_never_takes(stage: Stage) -> None:
    with pytest.raises(VenueRejected):
        await stage.place("a", price="64012.10", post_only=True)

    assert (
        await status_of(stage, await stage.place("b", price="64012.09", post_only=True))
        is Status.OPEN
    )


@pytest.mark.parametrize(
    ("fields", "code", "kind"),
    [
        ({"price": "1.001"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "0.000001"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "0"}, Code.VENUE_REJECTED, "InvalidOrder"),
        ({"amount": "9", "price": "64000.00"}, Code.INSUFFICIENT_FUNDS, "InsufficientFunds"),
        ({"symbol": "NO/USDT"}, Code.VENUE_REJECTED, "BadSymbol"),
    ],
    ids=["tick", "lot", "nothing", "funds", "symbol"],
)
async def test_c20_refusals_have_their_class_and_change_nothing(
    stage: Stage, fields: dict[str, Any], code: Code, kind: str
) -> None:
    before = await stage.venue.balances()
    with pytest.raises(VenueRejected) as refused:
        await stage.place("a", **fields)

    assert refused.value.details is not None
    assert (refused.value.code, refused.value.details["class"]) == (code, kind)
    assert await stage.venue.balances() == before
    assert await stage.venue.find(wish("a")) is None


async def test_c21_a_client_id_is_used_once(stage: Stage) -> None:
    await stage.place("a", price="60000.00")
    with pytest.raises(VenueRejected) as refused:
        await stage.place("a", price="60000.00")

    assert refused.value.code is Code.CONFLICT
    assert len(await stage.venue.open_orders()) == 1


async def test_c22_fills_sum_up_and_pay_their_fees(stage: Stage) -> None:
    order = await stage.place("a", amount="1.3", price="64013.00")
    fills = await stage.venue.fills(0)
    found = await stage.venue.find(order)

    assert found is not None
    assert [fill.amount for fill in fills] == [D("1.20410"), D("0.0959")]
    assert found.filled == sum(fill.amount for fill in fills)
    assert found.cost == sum(fill.amount * fill.price for fill in fills)
    assert [(fill.fee, fill.fee_currency) for fill in fills] == [
        (D("0.0012041"), "BTC"),
        (D("0.0000959"), "BTC"),
    ]


async def test_c23_an_amend_sets_its_targets(stage: Stage) -> None:
    order = await stage.place("a", price="60000.00")
    await stage.venue.amend(amended(order, price="61000.00", amount="0.02"))
    found = await stage.venue.find(order)

    assert found is not None
    assert (found.price, found.amount, found.exchange_order_id) == (
        D("61000.00"),
        D("0.02"),
        order.exchange_order_id,
    )


async def test_c24_a_cancel_ends_an_order_once(stage: Stage) -> None:
    orders = [await stage.place(str(n), price="60000.00") for n in range(3)]
    for order in orders:
        assert (await stage.venue.cancel(order)).status is Status.CANCELED
    with pytest.raises(VenueRejected) as refused:
        await stage.venue.cancel(orders[0])

    assert refused.value.code is Code.NOT_FOUND
    assert await stage.venue.open_orders() == []


# --- C25 to C34, the account ------------------------------------------------------------------


async def test_c25_balances_follow_each_step(stage: Stage) -> None:
    order = await stage.place("a", price="60000.00", amount="0.5")
    assert await stage.free("USDT") == D(70_000)
    await stage.venue.amend(amended(order, amount="0.25"))
    assert await stage.free("USDT") == D(85_000)
    stage.source.trade(Side.SELL, D("59999.00"), D("0.1"))
    assert await stage.free("USDT") == D(85_000)
    await stage.venue.cancel(order)

    assert await stage.free("USDT") == D(94_000)
    assert await stage.free("BTC") == D("2.0999")


async def test_c26_what_is_told_of_balances_is_what_can_be_read(stage: Stage) -> None:
    await stage.place("a", price="60000.00")
    await stage.place("b", Side.SELL, amount="0.5")
    told = {event.balance.currency: event.balance for event in stage.heard.of(BalanceSeen)}

    assert {
        row.currency: (row.available, row.reserved) for row in await stage.venue.balances()
    } == {currency: (row.available, row.reserved) for currency, row in told.items()}


class Leveraged:
    """An account with a position in a perpetual of the embedded market."""

    def __init__(self) -> None:
        self.clock, self.heard = Clock(), Listener()
        self.source = EmbeddedMarket(
            seed=1, now=self.clock.now, sleep=self.clock.sleep, symbols=(SYMBOL, PERP)
        )
        self.venue = PaperVenue(
            source=self.source,
            balances={"USDT": D(5000)},
            seed=1,
            now=self.clock.now,
            sleep=self.clock.sleep,
        )

    async def open(self) -> "Leveraged":
        await self.venue.open(self.heard)
        await self.venue.submit(approved(wish("p", amount="0.1", symbol=PERP, leverage="10")))
        return self


async def test_c27_a_position_is_told_and_read() -> None:
    held = await Leveraged().open()
    position = (await held.venue.positions())[0]

    assert (position.symbol, position.amount, position.side) == (PERP, D("0.1"), "long")
    assert position.entry_price == pytest.approx(
        D(held.heard.of(Ticker)[-1].ask or 0), rel=D("0.01")
    )
    assert held.heard.of(PositionSeen)[-1].position.amount == position.amount


async def test_c28_leverage_can_be_changed() -> None:
    held = await Leveraged().open()
    reserved = (await held.venue.balances())[0].reserved
    await held.venue.set_leverage(PERP, D(20))

    assert (await held.venue.positions())[0].leverage == D(20)
    assert (await held.venue.balances())[0].reserved == pytest.approx(reserved / 2, rel=D("1e-6"))


async def test_c29_funding_is_told_as_a_transfer() -> None:
    held = await Leveraged().open()
    held.clock.advance(8 * 3600)
    held.source.step()
    funding = [event for event in held.heard.of(Transferred) if event.kind == "funding"]

    assert [event.symbol for event in funding] == [PERP]
    assert abs(funding[0].amount) < D(100)


async def test_c30_the_liquidation_price_is_told_beforehand() -> None:
    held = await Leveraged().open()
    position = (await held.venue.positions())[0]

    assert position.liquidation_price is not None
    assert position.entry_price is not None
    assert 0 < position.liquidation_price < position.entry_price
    assert position.maintenance_margin is not None


async def test_c31_events_of_an_order_come_in_their_order(stage: Stage) -> None:
    stage.heard.clear()
    await stage.place("a")
    kinds = [
        type(event).__name__
        for event in stage.heard.of(OrderSeen, Filled, BalanceSeen, PositionSeen)
    ]

    assert kinds == ["OrderSeen", "Filled", "OrderSeen", "BalanceSeen", "BalanceSeen"]


async def test_c32_reduce_only_never_opens(stage: Stage) -> None:
    with pytest.raises(VenueRejected):
        await stage.place("a", reduce_only=True)

    assert (
        await status_of(stage, await stage.place("b", Side.SELL, reduce_only=True)) is Status.FILLED
    )


async def test_c33_of_a_group_one_leg_ends_the_other(stage: Stage) -> None:
    stage.source.trade(Side.SELL, D("64000.00"), D("0.00001"))
    stop = await stage.place(
        "s",
        Side.SELL,
        "2",
        type=OrderType.STOP,
        stop_price="60000.00",
        oco_group="g",
        reduce_only=True,
    )
    target = await stage.place(
        "t", Side.SELL, "2", price="66000.00", oco_group="g", reduce_only=True
    )
    assert await stage.free("BTC") == 0

    stage.source.trade(Side.BUY, D("66001.00"), D(5))

    assert await status_of(stage, target) is Status.FILLED
    assert await status_of(stage, stop) is Status.CANCELED


async def test_c34_connecting_again_tells_the_fold_of_all_events(stage: Stage) -> None:
    await stage.place("a", price="60000.00")
    await stage.place("b")
    again = await stage.reopened()
    told = {event.balance.currency: event.balance for event in again.heard.of(BalanceSeen)}
    last = {event.balance.currency: event.balance for event in stage.heard.of(BalanceSeen)}

    assert told == last
    assert [seen.venue_client_id for seen in again.heard.of(OrderSeen)] == ["va"]


# --- C35 to C44, faults -----------------------------------------------------------------------


FAULTS = [
    ("c35", Kind.REFUSE, VenueRejected, Code.VENUE_REJECTED, False),
    ("c36", Kind.LOST_BEFORE, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c37", Kind.LOST_AFTER, VenueUnknown, Code.OUTCOME_UNKNOWN, True),
    ("c39", Kind.DISCONNECT, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c40", Kind.HALF_OPEN, VenueUnknown, Code.OUTCOME_UNKNOWN, False),
    ("c41", Kind.RATE_LIMIT, VenueRejected, Code.RATE_LIMITED, False),
    ("c42", Kind.BAD_BODY, VenueUnknown, Code.OUTCOME_UNKNOWN, True),
    ("c44", Kind.MAINTENANCE, VenueRejected, Code.VENUE_UNAVAILABLE, False),
]


@pytest.mark.parametrize(
    ("kind", "error", "code", "there"),
    [row[1:] for row in FAULTS],
    ids=[f"{r[0]} {r[1]}" for r in FAULTS],
)
async def test_c35_to_c44_a_fault_has_its_class_and_the_truth_is_found_afterwards(
    *, rough: Stage, kind: Kind, error: type[Exception], code: Code, there: bool
) -> None:
    rough.chaos.set_faults([Fault(kind=kind)])
    with pytest.raises(error) as failed:
        await rough.place("a")
    assert failed.value.code is code  # type: ignore[attr-defined]

    rough.chaos.set_faults([])
    found = await rough.venue.find(wish("a"))

    assert (found is not None) is there
    assert len(await rough.venue.fills(0)) == (1 if there else 0)
    if found is not None:
        assert found.status is Status.FILLED


async def test_c38_an_order_that_is_visible_late_is_found_later(rough: Stage) -> None:
    rough.chaos.set_faults([Fault(kind=Kind.VISIBLE_LATE)])
    order = await rough.place("a")
    assert await rough.venue.find(order) is None

    rough.clock.advance(LATE_S)

    assert await rough.venue.find(order) is not None


@pytest.mark.parametrize("kind", [Kind.DUPLICATE, Kind.REORDER, Kind.DROP_EVENT, Kind.CLOCK_OFFSET])
async def test_c43_events_may_be_wrong_but_reading_is_right(rough: Stage, kind: Kind) -> None:
    rough.chaos.set_faults([Fault(kind=kind)])
    await rough.place("a")
    await rough.place("b", price="60000.00")

    assert [fill.venue_client_id for fill in await rough.venue.fills(0)] == ["va"]
    assert [seen.venue_client_id for seen in await rough.venue.open_orders()] == ["vb"]


# --- C45 to C50, in the middle of things ------------------------------------------------------


async def test_c45_a_connection_that_breaks_during_a_placement_leaves_it_unknown(
    rough: Stage,
) -> None:
    rough.chaos.lose_next()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HANG_S / 2):
            await rough.place("a")
    again = await rough.reopened()

    assert await again.venue.find(wish("a")) is not None


async def test_c46_a_connection_that_breaks_during_a_cancel_changes_nothing(rough: Stage) -> None:
    order = await rough.place("a", price="60000.00")
    rough.chaos.set_faults([Fault(kind=Kind.DISCONNECT)])
    with pytest.raises(VenueUnknown):
        await rough.venue.cancel(order)
    rough.chaos.set_faults([])

    assert await status_of(rough, order) is Status.OPEN


async def test_c47_a_stale_feed_is_told_and_fills_nothing(rough: Stage) -> None:
    order = await rough.place("a", price="64000.00")
    rough.chaos.set_faults([Fault(kind=Kind.DISCONNECT)])
    assert rough.heard.of(Stale)[-1].stale
    rough.chaos.set_faults([])
    rough.source.silence(silent=True)
    rough.source.fill()

    assert await status_of(rough, order) is Status.OPEN


async def test_c48_a_fill_that_races_a_cancel_is_not_lost(rough: Stage) -> None:
    order = await rough.place("a", price="64000.00", amount="0.02")
    rough.source.trade(Side.SELL, D("63999.00"), D("0.005"))
    await rough.venue.cancel(order)
    found = await rough.venue.find(order)

    assert found is not None
    assert (found.status, found.filled) == (Status.CANCELED, D("0.005"))
    assert [fill.amount for fill in await rough.venue.fills(0)] == [D("0.005")]


async def test_c49_the_look_up_finds_a_known_order_working_and_ended(stage: Stage) -> None:
    assert stage.venue.lookup_proven
    cases: list[tuple[str, dict[str, Any]]] = [("w", {"price": "60000.00"}), ("e", {})]
    for client_id, fields in cases:
        order = await stage.place(client_id, **fields)
        found = await stage.venue.find(wish(client_id))
        assert found is not None
        assert found.exchange_order_id == order.exchange_order_id


async def test_c50_a_kill_at_any_entry_leaves_a_consistent_account(stage: Stage) -> None:
    stage.source.trade(Side.SELL, D("64000.00"), D("0.00001"))
    await stage.place("a")
    resting = await stage.place("b", price="63000.00", amount="0.1")
    stage.source.trade(Side.SELL, D("62999.00"), D("0.04"))
    await stage.venue.amend(amended(resting, price="63100.00"))
    await stage.place("s", Side.SELL, type=OrderType.STOP, stop_price="60000.00", amount="0.01")
    await stage.venue.cancel(resting)
    assert stage.log is not None
    for kept in range(1, len(stage.log.entries) + 1):
        entries = stage.log.entries[:kept]
        again = Shop(stage.clock, log=MemoryLog(), history=entries)
        await again.open()
        newest: dict[str, Any] = {}
        for entry in map(orjson.loads, entries):
            newest.update({row["id"]: row for row in entry["orders"]})
        filled = sum(D(row["filled"]) for row in newest.values())

        fills = await again.venue.fills(0)
        assert sum(fill.amount for fill in fills) == filled
        for row in await again.venue.balances():
            assert row.available >= 0
            assert row.reserved >= 0
