"""Every fault of trading:X8, and that none of them hides the truth for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, VenueRejected, VenueUnknown
from realtime.model.events import BalanceSeen, Filled, OrderSeen
from realtime.model.market import BookDelta, BookSnapshot, Stale, Ticker
from realtime.model.orders import Side, Status
from realtime.venues.chaos import HANG_S, LATE_S, ChaosVenue, Fault, Kind
from realtime.venues.paper import PaperVenue
from realtime.venues.rhythm import Patience
from tests.venues.frozen import SYMBOL
from tests.venues.kit import START, Clock, Listener, Recorded, Shop, amended, approved, wish


D = Decimal
RECORDED = [
    b'1 {"stream":"s@depth","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"b":[["1.0","2.0"]],"a":[]}}',
    b'2 {"lastUpdateId":2,"bids":[["1.0","2.0"]],"asks":[["2.0","1.0"]]}',
]


class Rough(Shop):
    """A paper venue behind chaos."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.chaos = ChaosVenue(self.paper, seed=1, now=self.clock.now, sleep=self.clock.sleep)
        self.venue = self.chaos

    def turn_on(self, kind: Kind, **options: Any) -> None:
        self.chaos.set_faults([Fault(kind=kind, **options)])


async def opened(**options: Any) -> Rough:
    shop = Rough(**options)
    await shop.open()
    shop.heard.clear()
    return shop


async def truth(shop: Rough, client_id: str) -> OrderSeen | None:
    """What the exchange behind the chaos knows."""
    return await shop.paper.find(wish(client_id))


async def test_without_faults_batches_pass_through_as_they_are() -> None:
    plain = await Shop().open()
    shop = Rough()
    await shop.open()
    for each in (plain, shop):
        await each.place("a")
        each.source.step(1)

    assert shop.heard.events == plain.heard.events
    assert shop.heard.batches == plain.heard.batches
    assert (shop.chaos.id, shop.chaos.kind, shop.chaos.lookup_proven) == ("paper", "paper", True)
    assert shop.chaos.markets == plain.paper.markets
    shop.chaos.want(SYMBOL, "ticker", True)


async def test_refuse_never_reaches_the_venue() -> None:
    shop = await opened()
    shop.turn_on(Kind.REFUSE)
    with pytest.raises(VenueRejected) as refused:
        await shop.place("a")

    assert refused.value.code is Code.VENUE_REJECTED
    assert await truth(shop, "a") is None


async def test_lost_before_is_unknown_and_nothing_happened() -> None:
    shop = await opened()
    shop.turn_on(Kind.LOST_BEFORE)
    with pytest.raises(VenueUnknown):
        await shop.place("a")

    assert shop.clock.ns - START == HANG_S * 1e9
    assert await truth(shop, "a") is None
    assert await shop.venue.find(wish("a")) is None


async def test_lost_after_is_unknown_and_nothing_is_heard_until_it_is_looked_up() -> None:
    shop = await opened()
    shop.chaos.lose_next()
    with pytest.raises(VenueUnknown):
        await shop.place("a", price="64000.00")
    shop.source.trade(Side.SELL, D("63999.00"), D("0.004"))
    assert shop.heard.of(OrderSeen, Filled) == []

    found = await shop.venue.find(wish("a"))
    assert found is not None
    assert (found.status, found.filled) == (Status.OPEN, D("0.004"))
    shop.source.fill()

    assert [fill.amount for fill in shop.heard.of(Filled)] == [D("0.006")]
    assert len(await shop.venue.fills(0)) == 2
    assert (await shop.place("b")).exchange_order_id


async def test_a_lost_order_is_heard_again_once_open_orders_were_read() -> None:
    shop = await opened()
    shop.chaos.lose_next()
    with pytest.raises(VenueUnknown):
        await shop.place("a", price="64000.00")
    assert len(await shop.venue.open_orders()) == 1
    shop.source.fill()

    assert len(shop.heard.of(Filled)) == 1


async def test_a_caller_that_gives_up_waiting_leaves_the_order_at_the_venue() -> None:
    shop = await opened()
    shop.chaos.lose_next()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10):
            await shop.place("a", price="60000.00")

    assert await truth(shop, "a") is not None


async def test_visible_late_answers_but_cannot_be_found_at_first() -> None:
    shop = await opened()
    shop.turn_on(Kind.VISIBLE_LATE, times=1)
    order = await shop.place("a")
    assert await shop.venue.find(order) is None
    assert await shop.venue.open_orders() == []
    assert await shop.venue.fills(0) == []
    assert shop.heard.of(OrderSeen, Filled) == []
    assert shop.heard.of(BalanceSeen)

    shop.clock.advance(LATE_S)
    shop.chaos.look()

    assert [event.status for event in shop.heard.of(OrderSeen)] == [Status.OPEN, Status.FILLED]
    assert await shop.venue.find(order) is not None


async def test_duplicated_events_come_twice() -> None:
    shop = await opened()
    shop.turn_on(Kind.DUPLICATE)
    await shop.place("a")
    fills = shop.heard.of(Filled)

    assert len(fills) == 2
    assert fills[0] == fills[1]


async def test_reordered_events_are_the_same_events() -> None:
    shop, plain = await opened(), await Shop().open()
    plain.heard.clear()
    shop.turn_on(Kind.REORDER)
    for each in (shop, plain):
        for number in range(5):
            await each.place(str(number))
    ours, theirs = (
        [repr(event) for event in each.heard.of(OrderSeen, Filled)] for each in (shop, plain)
    )

    assert ours != theirs
    assert sorted(ours) == sorted(theirs)


async def test_dropped_events_are_gone_but_reading_tells_them() -> None:
    shop = await opened()
    shop.turn_on(Kind.DROP_EVENT)
    await shop.place("a")

    assert shop.heard.of(OrderSeen, Filled, BalanceSeen) == []
    assert len(await shop.venue.fills(0)) == 1


@pytest.mark.parametrize(
    ("kind", "cause", "error"),
    [
        (Kind.DISCONNECT, "disconnected", VenueUnknown),
        (Kind.MAINTENANCE, "maintenance", VenueRejected),
    ],
)
async def test_a_broken_connection_is_told_and_so_is_its_return(
    kind: Kind, cause: str, error: type[Exception]
) -> None:
    shop = await opened()
    shop.turn_on(kind, duration_s=5)
    for call in calls(shop):
        with pytest.raises(error):
            await call()
    shop.source.step(1)
    assert [(event.stale, event.cause) for event in shop.heard.of(Stale)] == [(True, cause)]
    assert shop.heard.of(BookDelta) == []

    shop.clock.advance(5)
    shop.chaos.look()

    assert [event.stale for event in shop.heard.of(Stale)] == [True, False]
    assert (await shop.place("z")).exchange_order_id


def calls(shop: Rough) -> list[Callable[[], Awaitable[object]]]:
    """Every call of the port."""
    venue = shop.venue
    return [
        lambda: venue.submit(approved(wish("x"))),
        lambda: venue.amend(amended(wish("x"), price="1.00")),
        lambda: venue.cancel(wish("x")),
        lambda: venue.find(wish("x")),
        venue.open_orders,
        lambda: venue.fills(0),
        venue.balances,
        venue.positions,
        lambda: venue.ohlcv(SYMBOL, "1m", None, 1),
        lambda: venue.trades(SYMBOL, 1),
    ]


async def test_books_catch_up_after_an_interruption() -> None:
    shop = Rough()
    await shop.open()
    shop.turn_on(Kind.FROZEN_FEED, symbol=SYMBOL)
    shop.source.step(1)
    shop.source.step(2)
    assert shop.heard.of(BookDelta) == []
    shop.chaos.set_faults([])
    shop.source.step(2)
    # The venue's own book knew all along, so nobody may be given it.
    assert (list(shop.paper.books), dict(shop.venue.books)) == ([SYMBOL], {})
    ours = OrderBook()
    for event in shop.heard.events:
        if isinstance(event, BookSnapshot):
            ours.apply_snapshot(event)
        elif isinstance(event, BookDelta):
            ours.apply_delta(event)

    assert ours.top(20) == shop.source._book.top(20)


async def test_a_snapshot_that_was_missed_is_caught_up_with() -> None:
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED)
    shop.source.silence(silent=True)
    shop.source.silence(silent=False)
    shop.source.step(1)
    assert shop.heard.events == []
    shop.chaos.set_faults([])
    shop.source.step(2)

    assert [type(event).__name__ for event in shop.heard.events] == [
        "BookSnapshot",
        "BookDelta",
        "BookDelta",
        "Ticker",
    ]
    assert shop.heard.of(BookSnapshot)[0].repaired


async def test_a_frozen_feed_of_one_symbol_leaves_others_and_the_account() -> None:
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED, symbol="ETH/USDT")
    shop.source.step(1)
    await shop.place("a")

    assert shop.heard.of(Ticker)
    assert shop.heard.of(Filled)


def missed(shop: Rough, times: int, gap_s: float) -> None:
    """Let the market move so often, and the chaos look after each time."""
    for number in range(times):
        shop.source.step(number % 2 + 1)
        shop.chaos.look()
        shop.clock.advance(gap_s)
    shop.chaos.look()


async def test_a_frozen_symbol_is_stale_after_its_time_and_back_with_its_whole_book() -> None:
    """features F8, conformance 34. Found in an audit: nobody was told for 75 s."""
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED, symbol=SYMBOL, duration_s=20)
    since = shop.clock.ns
    missed(shop, 24, 0.2)
    assert shop.heard.events == []
    missed(shop, 2, 0.2)
    missed(shop, 4, 0.2)

    assert [(e.symbol, e.stale, e.cause, e.asof) for e in shop.heard.of(Stale)] == [
        (SYMBOL, True, "silent", since)
    ]
    shop.clock.advance(20)
    shop.chaos.look()
    assert len(shop.heard.events) == 1
    shop.source.step(2)

    kinds = [type(event).__name__ for event in shop.heard.events]
    assert kinds == ["Stale", "BookDelta", "Stale", "BookDelta", "Ticker"]
    assert [event.stale for event in shop.heard.of(Stale)] == [True, False]
    shop.source.step(1)
    assert len(shop.heard.of(Stale)) == 2


async def test_the_silence_of_a_slow_market_counts_later() -> None:
    """features F8: 20 of its median gaps, here of 2 s."""
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED, symbol=SYMBOL)
    missed(shop, 19, 2.0)
    assert shop.heard.events == []
    missed(shop, 1, 2.0)

    assert [event.stale for event in shop.heard.of(Stale)] == [True]


async def test_patience_is_what_is_set() -> None:
    shop = Rough()
    shop.chaos = ChaosVenue(
        shop.paper,
        seed=1,
        now=shop.clock.now,
        sleep=shop.clock.sleep,
        patience=Patience(min_s=1.0, factor=2.0, max_s=3.0),
    )
    await shop.chaos.open(shop.heard)
    shop.heard.clear()
    shop.turn_on(Kind.FROZEN_FEED)
    missed(shop, 1, 0.6)
    assert shop.heard.of(Stale) == []
    missed(shop, 2, 0.6)

    assert [event.stale for event in shop.heard.of(Stale)] == [True]


async def test_a_frozen_symbol_whose_market_is_quiet_is_not_stale() -> None:
    """Nothing was missed."""
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED, symbol=SYMBOL)
    shop.clock.advance(3600)
    shop.chaos.look()
    shop.paper.publish(())

    assert shop.heard.events == []


async def test_a_short_freeze_is_not_told() -> None:
    shop = await opened()
    shop.turn_on(Kind.FROZEN_FEED, symbol=SYMBOL, duration_s=3)
    missed(shop, 6, 0.5)
    shop.source.step(1)
    shop.clock.advance(3600)
    shop.chaos.look()

    assert shop.heard.of(Stale) == []


async def test_a_symbol_frozen_through_a_half_open_connection_is_told_after_it() -> None:
    shop = await opened()
    frozen = Fault(kind=Kind.FROZEN_FEED, symbol=SYMBOL)
    shop.chaos.set_faults([frozen, Fault(kind=Kind.HALF_OPEN, duration_s=30)])
    missed(shop, 20, 1.0)
    assert shop.heard.events == []
    missed(shop, 11, 1.0)

    assert [event.symbol for event in shop.heard.of(Stale)] == [SYMBOL]


@pytest.mark.parametrize("kind", [Kind.DISCONNECT, Kind.FROZEN_FEED, Kind.HALF_OPEN])
async def test_what_the_venue_says_of_a_source_is_told_late_and_not_lost(kind: Kind) -> None:
    shop = await opened()
    words = [
        Stale(venue="paper", symbol=SYMBOL, stale=stale, cause=None, asof=1)
        for stale in (True, False)
    ]
    shop.paper.publish(words[:1])
    shop.turn_on(kind, duration_s=2)
    shop.paper.publish(words[1:])
    shop.chaos.look()
    assert words[1] not in shop.heard.events
    shop.clock.advance(2)
    shop.chaos.look()

    assert [event for event in shop.heard.of(Stale) if event.symbol is not None] == words


async def test_a_book_is_whole_before_its_lost_connection_counts_as_back() -> None:
    """Protocol 7.2."""
    shop = await opened()
    shop.turn_on(Kind.DISCONNECT, duration_s=2)
    shop.source.step(1)
    shop.clock.advance(2)
    shop.chaos.look()

    kinds = [type(event).__name__ for event in shop.heard.events]
    assert kinds == ["Stale", "BookDelta", "Stale"]


async def test_half_open_says_nothing_at_all() -> None:
    shop = await opened()
    shop.turn_on(Kind.HALF_OPEN)
    shop.source.step(1)
    shop.paper.publish(())
    with pytest.raises(VenueUnknown):
        await shop.venue.cancel(wish("a"))

    assert (shop.heard.events, shop.heard.of(Stale)) == ([], [])
    assert shop.clock.slept == [HANG_S]


async def test_the_rate_limit_says_when_to_come_back() -> None:
    shop = await opened()
    shop.turn_on(Kind.RATE_LIMIT, times=1)
    with pytest.raises(VenueRejected) as refused:
        await shop.place("a")

    assert (refused.value.code, refused.value.retry_after) == (Code.RATE_LIMITED, 1.0)
    assert (await shop.place("a")).exchange_order_id


async def test_a_bad_body_to_an_order_is_unknown_and_the_order_is_there() -> None:
    shop = await opened()
    shop.turn_on(Kind.BAD_BODY)
    with pytest.raises(VenueUnknown):
        await shop.place("a", price="60000.00")
    with pytest.raises(VenueUnknown):
        await shop.venue.open_orders()
    shop.chaos.set_faults([])

    assert len(await shop.venue.open_orders()) == 1


async def test_a_clock_offset_shows_in_answers() -> None:
    shop = await opened()
    shop.turn_on(Kind.CLOCK_OFFSET)
    ack = await shop.venue.submit(approved(wish("a")))

    assert ack.ts - shop.clock.ns == 5_000_000_000


async def test_probability_decides_by_the_seed() -> None:
    outcomes = []
    for _ in range(2):
        shop = await opened()
        shop.turn_on(Kind.REFUSE, probability=0.5)
        row = ""
        for number in range(20):
            try:
                await shop.place(str(number), price="1.00")
                row += "+"
            except VenueRejected:
                row += "-"
        outcomes.append(row)

    assert outcomes[0] == outcomes[1]
    assert 4 < outcomes[0].count("-") < 16


async def test_a_fault_of_one_symbol_leaves_others() -> None:
    shop = await opened()
    shop.turn_on(Kind.REFUSE, symbol="ETH/USDT")

    assert (await shop.place("a")).exchange_order_id


async def test_faults_end_with_their_time_and_the_list_shows_what_is_on() -> None:
    shop = await opened()
    shop.turn_on(Kind.REFUSE, duration_s=2)
    assert [fault.kind for fault in shop.chaos.faults] == [Kind.REFUSE]
    shop.clock.advance(2)

    assert shop.chaos.faults == []
    assert (await shop.place("a")).exchange_order_id


async def test_what_is_hidden_stays_hidden_until_its_own_time() -> None:
    shop = await opened()
    shop.turn_on(Kind.VISIBLE_LATE, times=1)
    order = await shop.place("a")
    shop.clock.advance(LATE_S / 2)
    shop.chaos.look()

    assert await shop.venue.find(order) is None
    assert shop.heard.of(Filled) == []
    assert await shop.venue.positions() == []


async def test_chaos_plays_a_recording_to_its_end() -> None:
    clock = Clock()
    source = Recorded(lambda: RECORDED, now=clock.now, sleep=clock.sleep, speed=None)
    venue = PaperVenue(source=source, balances={}, seed=1, now=clock.now, sleep=clock.sleep)
    chaos = ChaosVenue(venue, seed=1, now=clock.now, sleep=clock.sleep)
    heard = Listener()
    await chaos.open(heard)
    await source.played_by(chaos)

    assert len(heard.of(BookSnapshot)) == 1


async def test_running_ends_faults_in_time() -> None:
    shop = await opened()
    shop.turn_on(Kind.DISCONNECT, duration_s=2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await shop.venue.run()

    assert [event.stale for event in shop.heard.of(Stale)] == [True, False]


async def test_what_was_hidden_is_held_through_a_half_open_connection() -> None:
    shop = await opened()
    shop.turn_on(Kind.VISIBLE_LATE, times=1)
    await shop.place("a")
    shop.turn_on(Kind.HALF_OPEN)
    shop.clock.advance(LATE_S)
    shop.chaos.look()
    assert shop.heard.of(OrderSeen) == []
    shop.chaos.set_faults([])
    shop.chaos.look()

    assert len(shop.heard.of(Filled)) == 1


async def test_before_opening_nobody_listens() -> None:
    shop = Rough()
    shop.turn_on(Kind.DISCONNECT)

    assert shop.heard.events == []
