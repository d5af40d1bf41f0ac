"""The paper venue: answers and events, latency, and what a restart remembers."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from realtime.engine.orderbook import OrderBook
from realtime.makers import JournalLog
from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.model.events import BalanceSeen, Filled, OrderSeen, PositionSeen, Transferred
from realtime.model.market import SECOND, BookDelta, BookSnapshot, Mark, Stale, Ticker, Trade
from realtime.model.orders import OrderType, Side, Status, TimeInForce
from realtime.store import Store
from realtime.venues.paper import PaperVenue
from tests.engine.floor import PERP
from tests.venues.frozen import MARKET, SYMBOL, FrozenMarket
from tests.venues.kit import Clock, Listener, MemoryLog, Shop, amended, approved, wish


D = Decimal


async def opened(**options: object) -> Shop:
    return await Shop(**options).open()  # type: ignore[arg-type]


async def test_opening_tells_the_book_the_ticker_and_the_account() -> None:
    shop = await opened()
    snapshot = shop.heard.of(BookSnapshot)[0]
    balance = shop.heard.of(BalanceSeen)[-1].balance

    assert snapshot.bids[0] == ("64012.00", "0.51230")
    assert shop.heard.of(Ticker)[-1].ask == "64012.10"
    assert (balance.currency, balance.available) == ("USDT", D(100_000))
    assert shop.venue.markets == {SYMBOL: MARKET}
    assert (shop.venue.id, shop.venue.kind, shop.venue.lookup_proven) == ("paper", "paper", True)


async def test_without_latency_everything_is_told_before_the_call_returns() -> None:
    shop = await opened()
    shop.heard.clear()
    ack = await shop.venue.submit(approved(wish("a")))

    assert (ack.status, ack.filled, ack.cost) == (Status.FILLED, D("0.01"), D("640.1210"))
    assert [type(event).__name__ for event in shop.heard.events] == [
        "OrderSeen",
        "Filled",
        "OrderSeen",
        "BalanceSeen",
        "BalanceSeen",
        "Trade",
        "Ticker",
    ]
    fill = shop.heard.of(Filled)[0]
    assert (fill.price, fill.fee, fill.fee_currency) == (D("64012.10"), D("0.00001"), "BTC")
    assert shop.heard.of(Trade)[0].id == fill.trade_id
    assert shop.clock.slept == []


@pytest.mark.parametrize("how", ["submit", "amend", "cancel"])
async def test_what_is_done_and_finds_no_room_in_the_log_is_unknown_and_told_later(
    how: str,
) -> None:
    """A refusal would say that nothing was done."""

    class Narrow(MemoryLog):
        full = False

        def append(self, body: bytes) -> Awaitable[None]:
            if self.full:
                raise Refused(Code.BUSY, "the journal is far behind")
            return super().append(body)

    log = Narrow()
    shop = await opened(log=log)
    venue = shop.venue
    assert isinstance(venue, PaperVenue)
    await shop.place("a", price="64000.00")
    entries = len(log.entries)
    log.full = True
    shop.heard.clear()
    mine = wish("a", price="64000.00")
    asking = {
        "submit": shop.place("b", price="63000.00"),
        "amend": shop.venue.amend(amended(mine, price="63000.00")),
        "cancel": shop.venue.cancel(mine),
    }
    asked = asking.pop(how)
    for other in asking.values():
        other.close()
    with pytest.raises(VenueUnknown):
        await asked
    assert shop.heard.events == []

    log.full = False
    venue.tell()
    rows = shop.heard.of(OrderSeen)
    works = {row.exchange_order_id: row.price for row in await shop.venue.open_orders()}
    assert [row.status is Status.CANCELED for row in rows] == [how == "cancel"]
    assert len(log.entries) == entries + 1
    again = await opened(log=log, history=list(log.entries))
    assert works == {row.exchange_order_id: row.price for row in await again.venue.open_orders()}


async def test_the_steps_of_the_protocol_document_move_the_book() -> None:
    shop = await opened()
    shop.heard.clear()
    shop.source.step(1)
    shop.source.step(2)
    deltas, tickers = shop.heard.of(BookDelta), shop.heard.of(Ticker)

    assert [delta.bids for delta in deltas] == [
        (("64012.00", "0.40000"),),
        (("64012.05", "0.30000"),),
    ]
    assert [(row.bid, row.ask) for row in tickers] == [
        ("64012.00", "64013.00"),
        ("64012.05", "64013.00"),
    ]


async def test_a_trade_through_fills_all_resting_orders_at_their_prices() -> None:
    shop = await opened()
    await shop.place("g-21", price="64000.00")
    await shop.place("g-22", price="63999.00")
    shop.source.fill()
    fills = shop.heard.of(Filled)

    assert [(fill.price, fill.venue_client_id) for fill in fills] == [
        (D("64000.00"), "vg-21"),
        (D("63999.00"), "vg-22"),
    ]
    assert [trade.price for trade in await shop.venue.trades(SYMBOL, 5)] == ["63999.99", "63998.99"]
    bars = await shop.venue.ohlcv(SYMBOL, "1m", None, 5)
    assert [(bar.open, bar.close, bar.volume) for bar in bars] == [("63999.99", "63998.99", "0.02")]


async def test_resting_sells_are_traded_through_too() -> None:
    shop = await opened(balances={"BTC": "1"})
    await shop.place("s", Side.SELL, price="65000.00")
    shop.source.fill()

    assert [fill.price for fill in shop.heard.of(Filled)] == [D("65000.00")]


async def test_a_silent_feed_fills_nothing_and_comes_back_with_a_repaired_book() -> None:
    shop = await opened()
    await shop.place("a", price="64000.00")
    shop.source.silence(silent=True)
    shop.source.trade(Side.SELL, D("63000.00"), D(1))
    with pytest.raises(VenueRejected) as refused:
        await shop.place("b")
    assert refused.value.code is Code.VENUE_UNAVAILABLE
    assert shop.heard.of(Filled) == []

    shop.source.silence(silent=False)

    assert shop.heard.of(BookSnapshot)[-1].repaired
    await shop.place("c")
    assert len(shop.heard.of(Filled)) == 1


async def test_a_running_market_gives_proofs_of_life_unless_silenced() -> None:
    shop = await opened()
    shop.heard.batches = 0
    await running(shop, 5.1)
    assert shop.heard.batches == 10

    shop.source.silence(silent=True)
    await running(shop, 5.1)

    assert shop.heard.batches == 10


async def test_amends_and_cancels_answer_with_the_order_as_it_is() -> None:
    shop = await opened()
    order = await shop.place("a", price="60000.00")
    ack = await shop.venue.amend(amended(order, price="61000.00", amount="0.02"))
    assert (ack.exchange_order_id, ack.status, ack.method) == (
        order.exchange_order_id,
        Status.OPEN,
        "native",
    )
    rows = await shop.venue.open_orders()
    assert [(row.price, row.amount) for row in rows] == [(D("61000.00"), D("0.02"))]

    assert (await shop.venue.cancel(order)).status is Status.CANCELED
    with pytest.raises(VenueRejected) as refused:
        await shop.venue.cancel(order)
    assert refused.value.code is Code.NOT_FOUND


async def test_an_order_never_seen_is_not_found_anywhere() -> None:
    shop = await opened()

    assert await shop.venue.find(wish("nobody")) is None
    with pytest.raises(VenueRejected):
        await shop.venue.cancel(wish("nobody"))


# --- the log ----------------------------------------------------------------------------------


async def test_an_answer_waits_until_its_entry_is_on_disk() -> None:
    log = MemoryLog()
    shop = await opened(log=log)
    log.slow = True
    async with asyncio.TaskGroup() as group:
        task = group.create_task(shop.place("a"))
        await asyncio.sleep(0.01)
        assert (len(log.waiting), task.done()) == (1, False)
        assert (
            len(shop.heard.of(Filled)) == 1
        )  # events go through the desk's own journal, behind ours

        log.sync()
        await asyncio.sleep(0.01)

        assert task.done()


async def test_an_answer_waits_for_no_entry_that_the_desks_own_stands_behind() -> None:
    log = MemoryLog(leads=True)
    shop = await opened(log=log)
    log.slow = True
    async with asyncio.timeout(1):
        ack = await shop.place("a")

    assert ack.exchange_order_id in {fill.exchange_order_id for fill in shop.heard.of(Filled)}
    assert len(log.waiting) == 1


async def test_orders_of_one_turn_are_told_at_once_and_the_rest_of_it_together_at_its_end() -> None:
    log = MemoryLog(leads=True)
    shop = await opened(log=log)
    shop.heard.clear()
    answers = [shop.paper.submit_now(approved(wish(name))) for name in "ab"]
    told = [[type(event).__name__ for event in events] for events, _ in answers]
    silent = list(shop.heard.events)
    entries, batches = len(log.entries), shop.heard.batches
    await asyncio.sleep(0)
    killed = await shop.reopened()

    assert [ack.status for _, ack in answers] == [Status.FILLED] * 2
    assert told == [["Filled"]] * 2
    assert silent == []
    assert len(log.entries) == entries + 1
    assert shop.heard.batches == batches + 1
    assert [type(event).__name__ for event in shop.heard.events] == [
        *("BalanceSeen", "BalanceSeen", "Trade", "Trade", "Ticker"),
    ]
    assert await killed.venue.balances() == await shop.venue.balances()


async def test_entries_of_one_turn_are_adopted_as_if_each_order_had_its_own() -> None:
    log = MemoryLog(leads=True)
    shop = await opened(log=log)
    resting = await shop.place("r", price="60000.00", amount="0.05")
    entries = len(log.entries)
    orders = [wish("a"), wish("b", Side.SELL, "0.004"), wish("c", price="61000.00")]
    for order in orders[:2]:
        shop.paper.submit_now(approved(order))
    await shop.venue.cancel(resting)  # it is logged at once, and what was before it first
    shop.paper.submit_now(approved(orders[2]))
    await asyncio.sleep(0)
    killed = await shop.reopened()

    assert len(log.entries) == entries + 3
    for order in (resting, *orders):
        found, expected = await killed.venue.find(order), await shop.venue.find(order)
        assert found is not None
        assert expected is not None
        assert (found.status, found.filled) == (expected.status, expected.filled)
    assert await killed.venue.balances() == await shop.venue.balances()
    assert await killed.venue.fills(0) == await shop.venue.fills(0)


async def test_an_entry_that_is_asked_for_late_has_the_sums_that_were_told_meanwhile() -> None:
    class Late(MemoryLog):
        def lead(self, body: Callable[[], bytes]) -> None:
            asked.append(body)

    asked: list[Callable[[], bytes]] = []
    log = Late(leads=True)
    shop = await opened(log=log)
    shop.paper.submit_now(approved(wish("a")))
    await asyncio.sleep(0)
    told = len(shop.heard.of(BalanceSeen))
    log.entries += [body() for body in asked]
    killed = await shop.reopened()

    assert told >= 2
    assert await killed.venue.balances() == await shop.venue.balances()


async def test_what_waits_for_the_end_of_a_turn_is_told_with_what_comes_before_it() -> None:
    shop = await opened(log=MemoryLog(leads=True))
    shop.paper.submit_now(approved(wish("a")))
    shop.heard.clear()
    await shop.place("b")
    trades, balances = shop.heard.of(Trade), shop.heard.of(BalanceSeen)
    await asyncio.sleep(0)

    assert (len(trades), len(balances)) == (2, 2)
    assert (shop.heard.of(Trade), shop.heard.of(BalanceSeen)) == (trades, balances)


class Narrow(MemoryLog):
    """A log that can be without room."""

    full = False

    def append(self, body: bytes) -> Awaitable[None]:
        if self.full:
            raise Refused(Code.BUSY, "the journal is far behind")
        return super().append(body)

    def lead(self, body: Callable[[], bytes]) -> None:
        if self.full:
            raise Refused(Code.BUSY, "the journal is far behind")
        super().lead(body)


CONTRACT = replace(PERP, symbol="BTC/USDT:USDT")


async def with_position(log: MemoryLog) -> Shop:
    """A long position of ten contracts, that has to pay 10 USDT in a minute."""
    shop = await opened(log=log)
    symbol, ts = CONTRACT.symbol, shop.clock.now()
    shop.paper.exchange.relist(CONTRACT)
    book = OrderBook(symbol)
    shop.paper.exchange.attach(symbol, book)
    whole = BookSnapshot(
        symbol=symbol, bids=(("99.9", "50"),), asks=(("100.1", "50"),), ts=ts, recv_ts=ts
    )
    book.apply_snapshot(whole)
    shop.paper.feed(whole)
    shop.paper.feed(
        Mark(
            symbol=symbol,
            mark="100",
            index="100",
            funding_rate="0.01",
            next_funding_ts=ts + 60 * SECOND,
            ts=ts,
        )
    )
    future: dict[str, Any] = {"symbol": symbol, "position_type": "swap", "leverage": "1"}
    await shop.place("p", amount="10", **future)
    await shop.place("rest", amount="1", price="90.0", **future)
    shop.clock.advance(61)
    shop.heard.clear()
    return shop


async def test_a_leverage_that_was_set_is_told_after_a_restart_though_nothing_is_held() -> None:
    """The gate counts margin with it: before the restart an order passed, behind it ten times as much was asked for."""
    log, clock = MemoryLog(), Clock()
    shop = await opened(log=log, clock=clock)
    shop.paper.exchange.relist(CONTRACT)
    await shop.paper.set_leverage(CONTRACT.symbol, D(10))
    again = PaperVenue(
        source=FrozenMarket(now=clock.now, sleep=clock.sleep),
        balances={},
        seed=1,
        now=clock.now,
        sleep=clock.sleep,
        log=log,
        history=list(log.entries),
        known={CONTRACT.symbol: CONTRACT},
    )
    await again.open(Listener())
    [told] = await again.positions()

    assert (told.symbol, told.amount, told.leverage) == (CONTRACT.symbol, D(0), D(10))


def of_log(log: MemoryLog) -> tuple[str, int]:
    """Money and the time of the last funding, as the entries have them."""
    money, funded = "", 0
    for body in log.entries:
        entry = orjson.loads(body)
        money = entry["wallets"].get("USDT", money)
        held = entry["holdings"].get(CONTRACT.symbol)
        funded = funded if held is None else held["funded_ts"]
    return money, funded


@pytest.mark.parametrize("how", ["submit_now", "submit", "amend"])
@pytest.mark.parametrize("full", [False, True])
async def test_what_falls_due_before_a_refusal_is_logged_and_told_once(
    how: str,
    full: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Found in review: a funding was told and not logged, so that it was paid again after a restart."""
    log = Narrow(leads=True)
    shop = await with_position(log)
    symbol = CONTRACT.symbol
    shop.paper.submit_now(approved(wish("s1")))
    log.full = full
    bad = wish("bad", symbol=symbol, amount="1", price="0.01", position_type="swap")

    async def asked() -> None:
        if how == "submit_now":
            shop.paper.submit_now(approved(bad))
        elif how == "submit":
            await shop.venue.submit(approved(bad))
        else:
            await shop.venue.amend(amended(wish("rest", symbol=symbol), price="0.01"))

    with pytest.raises(VenueRejected):
        await asked()
    for _ in range(5):
        await asyncio.sleep(0)
    log.full = False
    shop.paper.tell()
    wallet = shop.paper.exchange.clearing.accounts["main"].wallet("USDT")
    held = shop.paper.exchange.clearing.accounts["main"].holdings[symbol]

    assert [(told.kind, told.amount) for told in shop.heard.of(Transferred)] == [
        ("funding", D(-10))
    ]
    assert of_log(log) == (str(wallet.total), held.funded_ts)
    assert shop.heard.of(BalanceSeen)[-1].balance.ts == shop.clock.now()


async def test_what_a_late_refusal_leaves_in_a_full_log_is_written_at_the_end_of_the_turn() -> None:
    """The entry of the turn is asked for before what fell due found no room."""
    log = Narrow(leads=True)
    shop = await with_position(log)
    shop.paper.submit_now(approved(wish("s1")))
    log._make()
    log.full = True
    bad = wish("bad", symbol=CONTRACT.symbol, amount="1", price="0.01", position_type="swap")
    with pytest.raises(VenueRejected):
        await shop.venue.submit(approved(bad))
    log.full = False
    await asyncio.sleep(0)
    wallet = shop.paper.exchange.clearing.accounts["main"].wallet("USDT")
    held = shop.paper.exchange.clearing.accounts["main"].holdings[CONTRACT.symbol]

    assert len(shop.heard.of(Transferred)) == 1
    assert of_log(log) == (str(wallet.total), held.funded_ts)


async def test_a_prompt_order_that_finds_no_room_in_the_log_is_not_placed() -> None:
    """Found in review: it was filled, and its client was told that nothing was sent."""
    log = Narrow(leads=True)
    shop = await opened(log=log)
    log.full = True
    with pytest.raises(Refused):
        shop.paper.submit_now(approved(wish("a")))

    assert await shop.venue.find(wish("a")) is None
    assert await shop.free("USDT") == D(100_000)
    log.full = False
    shop.paper.submit_now(approved(wish("a")))
    await asyncio.sleep(0)
    assert await (await shop.reopened()).free("USDT") == await shop.free("USDT") < D(100_000)


async def test_what_finds_no_room_behind_a_prompt_order_is_told_later_all_the_same() -> None:
    log = Narrow(leads=True)
    shop = await opened(log=log)
    resting = await shop.place("b", price="64000.00")
    shop.heard.clear()
    shop.paper.submit_now(approved(wish("a")))
    log.full = True
    with pytest.raises(VenueUnknown):
        await shop.venue.cancel(resting)
    log.full = False
    shop.paper.tell()
    for _ in range(5):
        await asyncio.sleep(0)
    shop.paper.tell()
    again = await shop.reopened()

    assert [row.status for row in shop.heard.of(OrderSeen)] == [Status.CANCELED]
    assert await again.venue.fills(0) == await shop.venue.fills(0)
    assert await again.venue.balances() == await shop.venue.balances()
    assert await again.venue.open_orders() == []


async def test_a_transfer_behind_a_prompt_order_is_told_again_after_a_kill() -> None:
    shop = await opened(log=MemoryLog(leads=True))
    shop.paper.submit_now(approved(wish("a")))
    await shop.paper.transfer("USDT", D(-7))
    told = shop.heard.of(Transferred)[-1]
    again = await shop.reopened()

    assert again.heard.of(Transferred) == [told]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # the journal has a thread
async def test_the_journal_leads_while_it_can_be_written(anyio_backend: str) -> None:
    assert anyio_backend
    store = await Store.open(None, now=lambda: 1, new_id=lambda: "j")
    log = JournalLog(store, asyncio.get_running_loop())
    before = log.leads
    said = b"1"
    log.lead(lambda: said)
    store.append("Fact", "", b"2")
    said = b"3"
    rows = [row async for page in store.replay() for row in page]
    await store.close()

    assert (before, log.leads) == (True, False)
    assert [(row.kind, row.body) for row in rows[-2:]] == [("venue", b"3"), ("Fact", b"2")]


async def test_after_a_kill_the_log_tells_orders_fills_and_balances() -> None:
    shop = await opened(log=MemoryLog())
    bought = await shop.place("a")
    resting = await shop.place("b", price="60000.00", amount="0.05")
    part = await shop.place("p", price="61000.00", amount="0.05")
    shop.source.trade(Side.SELL, D("60999.00"), D("0.02"))
    waiting = await shop.place(
        "s", Side.SELL, type=OrderType.STOP, stop_price="60000.00", amount="0.005"
    )
    await shop.venue.cancel(await shop.place("c", price="50000.00"))
    again = await shop.reopened()

    for order in (bought, resting, part, waiting):
        found, expected = await again.venue.find(order), await shop.venue.find(order)
        assert found is not None
        assert expected is not None
        assert (found.status, found.filled, found.exchange_order_id) == (
            expected.status,
            expected.filled,
            expected.exchange_order_id,
        )
    assert await again.venue.open_orders() == await shop.venue.open_orders()
    assert await again.venue.fills(0) == await shop.venue.fills(0)
    assert await again.venue.balances() == await shop.venue.balances()
    assert {event.exchange_order_id for event in again.heard.of(OrderSeen)} == {
        row.exchange_order_id for row in await shop.venue.open_orders()
    }


async def test_after_a_kill_ids_go_on_and_client_ids_stay_used() -> None:
    shop = await opened(log=MemoryLog())
    first = await shop.place("a")
    again = await shop.reopened()
    with pytest.raises(VenueRejected) as refused:
        await again.place("a")
    second = await again.place("b")

    assert refused.value.code is Code.CONFLICT
    assert second.exchange_order_id != first.exchange_order_id
    ids = [fill.trade_id for fill in await again.venue.fills(0)]
    assert len(set(ids)) == 2


async def test_resting_orders_of_before_the_kill_fill_after_it() -> None:
    shop = await opened(log=MemoryLog())
    await shop.place("a", price="64000.00")
    again = await shop.reopened()
    again.source.fill()
    third = await again.reopened()

    assert [fill.price for fill in await third.venue.fills(0)] == [D("64000.00")]
    assert await third.venue.open_orders() == []


async def test_deposits_of_the_start_are_made_once() -> None:
    shop = await opened(log=MemoryLog())
    again = await shop.reopened()

    assert await again.free("USDT") == D(100_000)
    assert again.log is not None
    assert len(again.log.entries) == 1


async def test_public_trades_of_after_a_kill_have_ids_above_those_of_before() -> None:
    shop = await opened(log=MemoryLog())
    before = shop.paper.exchange.trades_made
    await shop.place("a")
    await shop.place("b")
    (first, last) = [trade.id for trade in shop.heard.of(Trade)]
    shop.clock.advance(1)
    again = await shop.reopened()
    await again.place("c")
    (fresh,) = [trade.id for trade in again.heard.of(Trade)]

    assert before == shop.clock.ns // 1_000_000 - 1_000
    assert len({first, last, fresh}) == 3
    assert again.paper.exchange.trades_made > shop.paper.exchange.trades_made


async def test_a_market_that_is_not_listed_any_more_is_stale_and_takes_nothing() -> None:
    clock, heard = Clock(), Listener()
    gone = replace(MARKET, symbol="OLD/USDT", id="OLDUSDT", base="OLD")
    venue = PaperVenue(
        source=FrozenMarket(now=clock.now, sleep=clock.sleep),
        balances={"USDT": D(100)},
        seed=1,
        now=clock.now,
        sleep=clock.sleep,
        known={SYMBOL: MARKET, "OLD/USDT": gone},
    )
    await venue.open(heard)

    assert (venue.markets["OLD/USDT"].active, venue.markets[SYMBOL].active) == (False, True)
    assert [(told.symbol, told.stale, told.cause) for told in heard.of(Stale)] == [
        ("OLD/USDT", True, "delisted")
    ]


async def test_transfers_survive_a_kill() -> None:
    shop = await opened(log=MemoryLog())
    await shop.paper.transfer("USDT", D(-99_000))
    again = await shop.reopened()

    assert await again.free("USDT") == D(1000)


async def test_a_transfer_that_may_not_have_been_told_before_the_kill_is_told_again() -> None:
    shop = await opened(log=MemoryLog())
    await shop.paper.transfer("USDT", D(-7))
    told = shop.heard.of(Transferred)[-1]
    again = await shop.reopened()
    await again.place("a", price="1000.00")
    later = await again.reopened()

    assert again.heard.events[0] == told  # by the same id, so it counts once
    assert again.heard.of(Transferred) == [told]
    assert later.heard.of(Transferred) == []


async def test_a_transfer_is_told_again_behind_a_second_kill_in_the_middle_of_the_start() -> None:
    shop = await opened(log=MemoryLog())
    till = shop.clock.now() + 60 * SECOND
    await shop.place("a", price="64000.00", time_in_force=TimeInForce.GTD, good_till_ts=till)
    await shop.paper.transfer("USDT", D(-7))
    told = shop.heard.of(Transferred)[-1]
    entries = len(shop.log.entries) if shop.log is not None else 0
    shop.clock.advance(61)
    again = await shop.reopened()
    later = await again.reopened()
    await later.place("b", price="1000.00")
    last = await later.reopened()

    # The order ended while it opened: nothing has been written behind the transfer that does not name it.
    assert shop.log is not None
    assert len(shop.log.entries) > entries + 1
    assert again.heard.of(Transferred) == later.heard.of(Transferred) == [told]
    assert last.heard.of(Transferred) == []


async def test_an_order_accepted_but_not_matched_before_the_kill_is_matched_after_it() -> None:
    shop = await opened(log=MemoryLog(), latency_s=0.02)
    order = await shop.place("a")
    limit = await shop.place("b", price="64012.10")
    assert shop.heard.of(Filled) == []
    again = await shop.reopened()

    for each in (order, limit):
        found = await again.venue.find(each)
        assert found is not None
        assert found.status is Status.FILLED


async def test_an_order_whose_date_passed_while_nobody_matched_does_not_fill() -> None:
    shop = await opened(log=MemoryLog())
    till = shop.clock.now() + SECOND
    order = await shop.place(
        "a", price="64000.00", time_in_force=TimeInForce.GTD, good_till_ts=till
    )
    shop.clock.advance(5)
    again = await shop.reopened()
    again.source.fill()

    found = await again.venue.find(order)
    assert found is not None
    assert (found.status, found.filled) == (Status.EXPIRED, D(0))
    assert again.heard.of(Filled) == []


async def test_an_immediate_order_on_its_way_does_not_rest_after_a_kill() -> None:
    shop = await opened(log=MemoryLog(), latency_s=0.02)
    order = await shop.place("a", price="63000.00", time_in_force=TimeInForce.IOC)
    again = await shop.reopened()

    found = await again.venue.find(order)
    assert found is not None
    assert (found.status, found.reason) == (Status.CANCELED, "immediate_or_cancel")


async def test_log_entries_are_small_json() -> None:
    log = MemoryLog()
    shop = await opened(log=log)
    await shop.place("a")
    entry = orjson.loads(log.entries[-1])

    assert set(entry) >= {"orders", "fills", "wallets", "holdings", "seq"}
    assert len(log.entries[-1]) < 2000


# --- latency ----------------------------------------------------------------------------------


async def running(shop: Shop, seconds: float) -> None:
    """Let the venue run for so long."""
    try:
        async with asyncio.timeout(seconds):
            await shop.venue.run()
    except TimeoutError:
        pass


async def test_latency_delays_the_answer_and_then_the_match() -> None:
    shop = await opened(latency_s=0.02)
    start = shop.clock.ns
    ack = await shop.venue.submit(approved(wish("a")))
    answered = shop.clock.ns
    assert (ack.status, ack.filled) == (Status.OPEN, D(0))
    assert 3 < (answered - start) / 1e6 < 30

    await running(shop, 1)

    fill = shop.heard.of(Filled)[0]
    assert 3 < (fill.ts - answered) / 1e6 < 30


async def test_only_without_latency_an_order_is_answered_in_its_step() -> None:
    leading = MemoryLog(leads=True)

    assert (await opened(log=leading)).paper.prompt
    assert not (await opened(log=leading, latency_s=0.001)).paper.prompt
    assert not (await opened(log=MemoryLog())).paper.prompt
    assert not (await opened()).paper.prompt


async def test_the_same_seed_gives_the_same_delays() -> None:
    delays = []
    for _ in range(2):
        shop = await opened(latency_s=0.02)
        for number in range(20):
            await shop.place(str(number), price="1.00")
        delays.append(list(shop.clock.slept))

    assert delays[0] == delays[1]
    assert len(set(delays[0])) == 20
    assert sorted(delays[0])[10] == pytest.approx(0.01, rel=0.5)


async def test_a_cancel_that_loses_the_race_gets_the_real_error() -> None:
    shop = await opened(latency_s=0.02)
    order = await shop.place("a", price="64000.00")
    shop.paper.exchange.release("main", order.exchange_order_id or "", shop.clock.ns)
    async with asyncio.TaskGroup() as group:
        cancel = group.create_task(_refusal(shop, order))
        await asyncio.sleep(0)
        shop.source.fill()

    assert cancel.result() is Code.NOT_FOUND
    assert len(shop.heard.of(Filled)) == 1


async def _refusal(shop: Shop, order: object) -> Code | None:
    try:
        await shop.venue.cancel(order)  # type: ignore[arg-type]
    except VenueRejected as error:
        return error.code
    return None


async def test_market_data_does_not_wait_for_order_latency() -> None:
    shop = await opened(latency_s=5)
    shop.heard.clear()
    shop.source.step(1)

    assert len(shop.heard.of(BookDelta)) == 1
    assert shop.clock.slept == []


async def test_a_log_that_fails_ends_the_run() -> None:
    class Broken(MemoryLog):
        def append(self, body: bytes) -> asyncio.Future[None]:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self.entries:
                future.set_exception(OSError("disk"))
            else:
                self.entries.append(body)
                future.set_result(None)
            return future

    shop = await opened(log=Broken())
    with pytest.raises(OSError, match="disk"):
        await shop.place("a", price="64000.00")
    shop.source.fill()
    with pytest.raises(ExceptionGroup):
        await shop.venue.run()


async def test_leverage_and_margin_mode_are_for_derivatives() -> None:
    shop = await opened()
    with pytest.raises(VenueRejected):
        await shop.paper.set_leverage(SYMBOL, D(2))
    with pytest.raises(VenueRejected):
        await shop.paper.set_isolated(SYMBOL, isolated=False)

    assert await shop.venue.positions() == []
    assert shop.heard.of(PositionSeen) == []
    shop.venue.want(SYMBOL, "ticker", True)


async def test_an_unopened_venue_says_so() -> None:
    shop = Shop(Clock())
    with pytest.raises(AssertionError, match="open comes first"):
        await shop.venue.cancel(wish("a"))
    with pytest.raises(AssertionError, match="bind comes first"):
        shop.source.step(1)
    assert Listener().batches == 0
