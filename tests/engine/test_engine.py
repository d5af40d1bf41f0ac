"""Time and prices: days, peaks, protections, trading states, limits, replay (trading 3.4, 3.5)."""

from dataclasses import replace
from typing import Any

import pytest

from realtime.engine.market import plain
from realtime.engine.orderbook import OrderBook
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Alert,
    BookChanged,
    Cancel,
    CancelAtVenue,
    Configure,
    DayRolled,
    Effect,
    Fact,
    Note,
    PeakSet,
    Place,
    PlaceNext,
    Ready,
    Record,
    Rejected,
    Release,
    ResetDaily,
    RiskChanged,
    SetState,
    StaleChanged,
    StateSet,
    Submit,
    TickerChanged,
    Traded,
    Transferred,
    Unknown,
    Withheld,
)
from realtime.model.market import SECOND, BookDelta, BookSnapshot, Daily, Mark, Stale, Ticker, Trade
from realtime.model.orders import Asked, Order, Status
from realtime.model.risk import Limits, TradingState
from tests.engine.kit import ADMIN, BTC, ETH, MARKETS, OFF, PERP, WHO, D, Kit, of


def limits(**fields: object) -> Limits:
    return replace(OFF, **fields)  # type: ignore[arg-type]


def facts(effects: list[Effect], kind: type) -> list[object]:
    return [e.fact for e in effects if isinstance(e, Record) and isinstance(e.fact, kind)]


def resume(
    kit: Kit, scope: str = "all", *, force: bool = False, who: object = ADMIN
) -> list[Effect]:
    return kit.post(
        SetState(
            scope=scope,
            state=TradingState.ACTIVE,
            reason="checked",
            force=force,
            who=who,  # type: ignore[arg-type]
            ts=kit.ts,
        )
    )


def halt(kit: Kit, scope: str = "all", state: TradingState = TradingState.HALTED) -> list[Effect]:
    return kit.post(SetState(scope=scope, state=state, reason="drill", who=WHO, ts=kit.ts))


# --- market data ------------------------------------------------------------------------------


def test_market_data_becomes_effects_and_nothing_is_recorded() -> None:
    kit = Kit()
    ticker = Ticker(symbol=BTC, bid="1", bid_amount="1", ask="2", ask_amount="1", ts=1, recv_ts=1)
    trade = Trade(id="t", symbol=BTC, side="buy", price="1", amount="1", ts=1, recv_ts=1)
    snapshot = BookSnapshot(symbol=BTC, bids=(("1", "1"),), asks=(("2", "1"),), ts=1, recv_ts=1)
    delta = BookDelta(symbol=BTC, bids=(("1.5", "1"),), asks=(), ts=2, recv_ts=2)
    stale = Stale(venue="paper", symbol=BTC, stale=True, cause="silent", asof=1)

    assert kit.post(delta) == []
    assert kit.post(ticker) == [TickerChanged(ticker)]
    assert kit.post(trade) == [Traded(trade)]
    assert kit.post(snapshot) == [BookChanged(BTC, 1)]
    assert kit.post(delta) == [BookChanged(BTC, 2)]
    assert kit.post(stale) == [StaleChanged(stale)]
    assert kit.mark(BTC, "5") == []
    assert kit.engine.mark(BTC) == (D(5), "mark")
    assert set(kit.engine.books) == set(kit.engine.tickers) == {BTC}


def test_a_shared_book_is_read_and_never_changed() -> None:
    kit, book = Kit(), OrderBook(BTC)
    kit.engine.share_book(BTC, book)
    delta = BookDelta(symbol=BTC, bids=(("1.5", "1"),), asks=(), ts=2, recv_ts=2)
    snapshot = BookSnapshot(symbol=BTC, bids=(("1", "1"),), asks=(("2", "1"),), ts=1, recv_ts=1)

    assert kit.post(delta) == []
    assert kit.post(snapshot) == [BookChanged(BTC, 1)]
    assert kit.post(delta) == [BookChanged(BTC, 2)]
    assert kit.engine.books[BTC] is book
    assert book.top(1) == ((), ())
    book.apply_snapshot(snapshot)
    kit.post(delta)
    assert kit.engine.mark(BTC) == (D("1.5"), "mid")


def test_a_book_that_is_told_no_more_is_forgotten_and_a_shared_one_is_not() -> None:
    kit, shared = Kit(), OrderBook(ETH)
    kit.engine.share_book(ETH, shared)
    for symbol in (BTC, ETH):
        kit.post(BookSnapshot(symbol, (("1", "1"),), (("2", "1"),), ts=1, recv_ts=1))
    kit.post(Ticker(symbol=BTC, bid="3", bid_amount="1", ask="5", ask_amount="1", ts=1, recv_ts=1))
    assert kit.engine.mark(BTC) == (D("1.5"), "mid")
    for symbol in (BTC, ETH, "NO/SUCH"):
        kit.engine.forget_book(symbol)

    assert set(kit.engine.books) == {ETH}
    assert kit.engine.mark(BTC) == (D(4), "mid")  # of the ticker
    assert kit.post(BookDelta(symbol=BTC, bids=(("9", "1"),), asks=(), ts=2, recv_ts=2)) == []


def test_a_market_that_is_listed_later_is_valued_and_its_holding_shown() -> None:
    markets = dict(MARKETS)
    kit = Kit(markets=markets)
    kit.engine.relist()
    new = replace(MARKETS[BTC], symbol="NEW/USDT", id="NEWUSDT", base="NEW")
    markets |= {"NEW/USDT": new, "NEW/BTC": replace(new, symbol="NEW/BTC", quote="BTC")}
    kit.engine.relist()
    kit.post(
        Ticker(
            symbol="NEW/USDT",
            bid="3",
            bid_amount="1",
            ask="5",
            ask_amount="1",
            ts=kit.ts,
            recv_ts=kit.ts,
        )
    )
    kit.open(USDT="100", NEW="2")

    assert kit.engine.value(kit.ts).total_value == D(108)
    assert kit.engine.positions["NEW/USDT"].amount == D(2)


def test_a_crossed_book_is_withheld_until_it_is_mended() -> None:
    kit = Kit()
    crossed = BookSnapshot(symbol=BTC, bids=(("3", "1"),), asks=(("2", "1"),), ts=1, recv_ts=1)

    assert kit.post(crossed) == []
    assert kit.post(BookDelta(symbol=BTC, bids=(), asks=(), ts=2, recv_ts=2)) == []
    mended = BookDelta(symbol=BTC, bids=(("3", "0"), ("1", "1")), asks=(), ts=3, recv_ts=3)
    assert kit.post(mended) == [BookChanged(BTC, 3)]


# --- days -------------------------------------------------------------------------------------


def test_a_day_begins_with_the_equity_of_its_first_tick() -> None:
    """trading:3.5."""
    kit = Kit().open(USDT="36000", BTC="1")
    kit.prices(btc="65000")

    [rolled] = facts(kit.tick(1, day="2026-09-22"), DayRolled)

    assert isinstance(rolled, DayRolled)
    assert (rolled.day, rolled.equity_start, rolled.reset) == ("2026-09-22", D(101000), None)
    assert kit.engine.day.day == "2026-09-22"


def test_no_day_begins_while_equity_is_unknown() -> None:
    kit = Kit()

    assert kit.tick() == []
    assert kit.engine.day.day == ""


def test_a_clock_set_back_begins_no_day() -> None:
    """trading:M12."""
    kit = Kit().open()

    assert facts(kit.tick(-3600, day="2026-09-20"), DayRolled) == []
    assert kit.engine.day.day == "2026-09-21"


def test_transfers_are_no_profit() -> None:
    """trading:3.5."""
    kit = Kit(limits(max_daily_loss=D("0.02"), max_drawdown=D("0.1"))).open(USDT="100000")
    kit.post(
        Transferred(
            venue="paper", currency="USDT", amount=D(-50000), kind="withdrawal", id="w", ts=kit.ts
        )
    )
    kit.post(
        Transferred(venue="paper", currency="XYZ", amount=D(5), kind="deposit", id="y", ts=kit.ts)
    )
    kit.tick(1)

    assert kit.engine.halts == {}
    view = kit.engine.risk_view(kit.ts)
    assert (view.daily_pnl, view.drawdown) == (D(0), D(0))
    # The next day the smaller account is the base, and the peak follows.
    [rolled] = facts(kit.tick(1, day="2026-09-22"), DayRolled)
    assert isinstance(rolled, DayRolled)
    assert (rolled.equity_start, rolled.peak_equity) == (D(50000), D(50000))


@pytest.mark.parametrize(("moved", "left"), [("-90000", "5000"), ("95000", "190000")])
def test_a_fall_stays_what_it_is_when_a_day_with_transfers_ends(moved: str, left: str) -> None:
    """trading:3.5. Found in review: at midnight what was left after a withdrawal had fallen by a half, and was sold."""
    off = limits(max_drawdown=D("0.1"), on_breach="flatten")
    kit = Kit(off).open(USDT="50000", BTC="0.78125")
    for price in ("64000", "57600"):
        kit.ts += 10 * SECOND
        kit.price(BTC, price)
        kit.tick()
    before = kit.engine.risk_view(kit.ts).drawdown
    kit.post(
        Transferred(
            venue="paper", currency="USDT", amount=D(moved), kind="withdrawal", id="w", ts=kit.ts
        )
    )

    effects = kit.tick(1, day="2026-09-22")

    view = kit.engine.risk_view(kit.ts)
    assert (view.equity, before) == (D(left), D("0.05"))
    # Never more than it was: it may stand at its limit.
    assert view.drawdown is not None
    assert D("0.05") - D("1E-12") < view.drawdown <= D("0.05")
    assert kit.engine.halts == {}
    assert not of(effects, PlaceNext)


def test_a_peak_is_written_down_every_ten_seconds_at_most() -> None:
    kit = Kit().open(USDT="36000", BTC="1")
    written = []
    for second in range(1, 31):
        kit.ts += SECOND
        kit.prices(btc=str(64000 + second))
        written += facts(kit.tick(), PeakSet)

    assert [fact.peak_equity for fact in written if isinstance(fact, PeakSet)] == [
        D(100010),
        D(100020),
        D(100030),
    ]
    assert kit.replayed().digest() == kit.engine.digest()


# --- protections ------------------------------------------------------------------------------


def test_a_price_event_alone_crosses_the_daily_loss_between_two_ticks() -> None:
    """trading:3.5."""
    kit = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")
    kit.ts += SECOND

    effects = kit.price(BTC, "61000")

    assert kit.engine.halts["all"].by == "max_daily_loss"
    assert [effect.code for effect in effects if isinstance(effect, Alert)] == [
        "trading_state",
        "max_daily_loss",
    ]
    assert of(effects, RiskChanged)
    # Said once, however long it lasts.
    assert facts(kit.tick(1), StateSet) == []


def test_prices_are_judged_at_most_four_times_a_second() -> None:
    kit = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")

    assert of(kit.price(BTC, "61000"), Alert) == []
    kit.ts += SECOND // 4
    assert of(kit.price(BTC, "61000"), Alert) != []


def test_a_breach_cancels_entries_and_keeps_exits() -> None:
    """trading:3.5."""
    kit = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")
    entry = kit.opened(BTC, "buy", "0.01", price="50000")
    doomed = kit.opened(BTC, "buy", "0.01", price="50001")
    kit.post(Cancel(order_id=doomed.id, who=WHO, ts=kit.ts))
    exit_order = kit.opened(BTC, "sell", "0.01", price="70000")
    kit.ts += SECOND
    effects = kit.price(BTC, "61000")

    cancelled = [effect.order.id for effect in effects if isinstance(effect, CancelAtVenue)]
    assert cancelled == [entry.id]
    assert kit.order(exit_order.id).cancel_state is Asked.NONE


@pytest.mark.parametrize(
    ("action", "state", "places"),
    [
        ("reducing", TradingState.REDUCING, 0),
        ("halted", TradingState.HALTED, 0),
        ("flatten", TradingState.REDUCING, 1),
    ],
)
def test_on_a_breach_the_account_reduces_halts_or_flattens(
    action: str, state: TradingState, places: int
) -> None:
    """trading:3.5."""
    kit = Kit(limits(max_daily_loss=D("0.02"), on_breach=action)).open(USDT="36000", BTC="1")
    kit.ts += SECOND

    effects = kit.price(BTC, "61000")

    assert kit.engine.state() is state
    nexts = of(effects, PlaceNext)
    assert len(nexts) == places
    for step in nexts:
        assert isinstance(step, PlaceNext)
        kit.post(step.place)
        assert kit.order(step.place.order.id).status is Status.PENDING


@pytest.mark.parametrize("symbol", [BTC, PERP])
def test_exits_that_rest_give_way_to_a_flattening_on_a_breach(symbol: str) -> None:
    """trading:K7. Found in review: with an exit resting the account stayed as it was."""
    kit = Kit(limits(max_daily_loss=D("0.02"), on_breach="flatten")).open(USDT="64000")
    held, half = ("0.5", "0.2") if symbol == BTC else ("50", "20")
    kit.bought(symbol, "buy", held, "64000")
    resting = [
        kit.opened(symbol, "sell", half, price=price, reduce_only=True)
        for price in ("70000", "71000")
    ]
    kit.seen(resting[0], Status.OPEN, plain(D(half) / 2))  # nobody has told the fill yet
    if symbol == BTC:
        kit.balance("BTC", "0.1", "0.4")
    kit.ts += SECOND
    steps = of(kit.price(symbol, "59000"), PlaceNext)

    (step,) = steps
    assert isinstance(step, PlaceNext)
    effects = kit.post(step.place)
    (submit,) = of(effects, Submit)
    assert isinstance(submit, Submit)
    closing = submit.approved.order
    assert closing.amount == D(held) - D(half) / 2
    assert set(submit.approved.after) == {order.id for order in resting}
    gone = [effect.order.id for effect in effects if isinstance(effect, CancelAtVenue)]
    assert set(gone) == set(submit.approved.after)
    for order, filled in zip(resting, (plain(D(half) / 2), "0"), strict=True):
        kit.seen(order, Status.CANCELED, filled)
    kit.post(Release(order_id=closing.id, waited=True, ts=kit.ts))
    assert closing.id in kit.engine._state.released
    assert kit.replayed().digest() == kit.engine.digest()


@pytest.mark.parametrize(
    ("resting", "closing"),
    [({"price": "70000", "external": True}, {}), ({}, {}), ({"price": "70000"}, {"bot_id": "b"})],
    ids=["others have placed it", "it is on its way", "a bot has its own share"],
)
def test_what_is_not_ours_to_touch_does_not_give_way_to_a_flattening(
    resting: dict[str, Any], closing: dict[str, Any]
) -> None:
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    other = kit.opened(PERP, "sell", "6", reduce_only=True, **resting)

    with pytest.raises(Refused, match="exceeds the 4 BTC that can still be closed"):
        kit.place(PERP, "sell", "10", source="flatten", reduce_only=True, **closing)

    assert kit.order(other.id).cancel_state is Asked.NONE
    # What it leaves is closed, and not nothing.
    (wish,) = kit.engine.flatten(kit.ts)
    assert wish.order.amount == (10 if closing else 4)


def test_where_others_close_all_of_it_a_flattening_is_refused_and_not_forgotten() -> None:
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    kit.opened(PERP, "sell", "10", reduce_only=True)
    (wish,) = kit.engine.flatten(kit.ts)

    with pytest.raises(Refused, match="exceeds the 0 BTC that can still be closed"):
        kit.post(wish)


@pytest.mark.parametrize("resting", [{"price": "70000", "external": True}, {}])
def test_less_than_a_lot_beside_others_does_not_hide_that_nothing_can_be_closed(
    resting: dict[str, Any],
) -> None:
    """trading:K7. Found in review: the dust that others leave made no order, and so nobody was told."""
    kit = Kit().open(USDT="100000", BTC="0.010007")
    kit.opened(BTC, "sell", "0.01", **resting)

    (wish,) = kit.engine.flatten(kit.ts)

    assert wish.order.amount == D("0.01")
    with pytest.raises(Refused, match=r"0\.000007 BTC"):
        kit.post(wish)


def flattened(kit: Kit) -> tuple[Order, list[PlaceNext], list[Alert]]:
    """Flatten, wait for what gives way in vain, and do what the gate does with a refusal: what is placed, and said."""
    (wish,) = kit.engine.flatten(kit.ts)
    kit.post(wish)
    kit.ts += 2 * SECOND
    with pytest.raises(Refused, match="other orders closed") as caught:
        kit.post(Release(order_id=wish.order.id, waited=True, ts=kit.ts))
    withheld = Withheld(
        order_id=wish.order.id,
        status=Status.REJECTED,
        code=caught.value.code,
        reason=caught.value.message,
        ts=kit.ts,
    )
    effects = kit.post(withheld)
    nexts = [effect for effect in effects if isinstance(effect, PlaceNext)]
    return wish.order, nexts, [effect for effect in effects if isinstance(effect, Alert)]


@pytest.mark.parametrize("unknown", [False, True], ids=["cancel unanswered", "unknown"])
def test_what_does_not_end_in_time_keeps_its_coins_and_the_rest_is_flattened(
    *, unknown: bool
) -> None:
    """trading:K7. Found in review: all of it left, which a spot exchange refuses, and nobody was told."""
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.5", "64000")
    resting = kit.place(BTC, "sell", "0.2", price="70000", reduce_only=True)
    kit.release(resting)
    if unknown:
        kit.post(Unknown(order_id=resting.id, command="x", ts=kit.ts))
    else:
        kit.accept(resting)

    whole, nexts, alerts = flattened(kit)

    assert whole.amount == D("0.5")
    assert [(alert.level, alert.code) for alert in alerts] == [("critical", "flatten_refused")]
    assert "other orders that still work hold 0.2 of it" in alerts[0].text
    (step,) = nexts
    assert (step.place.order.amount, step.place.order.source) == (D("0.3"), "flatten")
    kit.post(step.place)
    kit.ts += 2 * SECOND
    kit.post(Release(order_id=step.place.order.id, waited=True, ts=kit.ts))
    assert step.place.order.id in kit.engine._state.released
    assert kit.replayed().digest() == kit.engine.digest()


def test_where_all_of_it_stays_with_others_a_flattening_ends_with_an_alarm() -> None:
    """It does not begin anew every two seconds."""
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.5", "64000")
    kit.opened(BTC, "sell", "0.5", price="70000", reduce_only=True)

    _, nexts, alerts = flattened(kit)

    assert nexts == []
    assert [alert.code for alert in alerts] == ["flatten_refused"]


def test_what_a_person_sold_of_a_bot_is_not_the_bots_when_it_is_bought_again() -> None:
    kit = Kit().open(USDT="100000")
    kit.bought(BTC, "buy", "0.3", "64000", bot_id="b")
    seen = kit.opened(BTC, "buy", "0.1", price="64000")
    kit.seen(seen, Status.OPEN, "0.1")  # its fill is on its way

    kit.bought(BTC, "sell", "0.3", "64100")
    assert kit.engine.shares.of("b", BTC).amount == D("0.3")  # what is there is not known

    kit.fill(seen, "0.1")
    assert kit.engine.shares.of("b", BTC).amount == D("0.1")

    kit.bought(BTC, "sell", "0.1", "64200")
    kit.bought(BTC, "buy", "1", "64000")
    assert kit.engine.shares.of("b", BTC).amount == 0
    assert kit.replayed().shares.of("b", BTC) == kit.engine.shares.of("b", BTC)


def test_coins_that_have_come_and_gone_untold_are_not_those_of_a_bot() -> None:
    """A person brings two coins and sells them before a balance has told of them: the bot's are still there."""
    kit = Kit().open(USDT="1000000")
    kit.bought(BTC, "buy", "1", "64000", bot_id="b")
    stranger = {"exchange_order_id": "elsewhere", "venue_client_id": None}
    seen = replace(kit.draft(BTC, "sell", "2", price="64000"), **stranger)  # type: ignore[arg-type]
    kit.fill(seen, "2")
    assert kit.engine.positions[BTC].amount == -1

    deposit = {"currency": "BTC", "amount": D(2), "kind": "external", "id": "x", "ts": kit.ts}
    kit.post(Transferred(venue="paper", **deposit))  # type: ignore[arg-type]
    kit.bought(BTC, "buy", "0.5", "64000")

    assert kit.engine.positions[BTC].amount == D("1.5")
    assert kit.engine.shares.of("b", BTC).amount == 1


def test_what_is_left_of_a_bots_flattening_leaves_to_others_what_rests() -> None:
    """Found in review: to nobody's order it would have given way, to a bot's it does not, and so it was refused."""
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.2", "64000")
    bought = kit.opened(BTC, "buy", "0.3", price="64000", bot_id="b")
    kit.fill(bought, "0.3", "64000")
    closing = kit.place(BTC, "sell", "0.3", source="flatten", bot_id="b", reduce_only=True)
    others = kit.opened(BTC, "sell", "0.2", price="70000", reduce_only=True)
    kit.ts += SECOND
    stranger = kit.draft(BTC, "sell", "0.1", price="70000")
    kit.seen(stranger, Status.OPEN, venue_client_id=None, evidence="found")

    effects = kit.post(
        Withheld(
            order_id=closing.id,
            status=Status.REJECTED,
            code=Code.RISK_REJECTED,
            reason="only 0.2 BTC are left",
            ts=kit.ts,
        )
    )

    (step,) = of(effects, PlaceNext)
    assert isinstance(step, PlaceNext)
    assert (step.place.order.amount, step.place.order.bot_id) == (D("0.2"), "b")
    kit.post(step.place)
    assert kit.order(step.place.order.id).status is Status.PENDING
    assert kit.order(others.id).cancel_state is Asked.NONE


@pytest.mark.parametrize("source", ["flatten", "command"])
@pytest.mark.parametrize("at_the_venue", [True, False])
def test_a_flattening_that_does_not_get_through_is_told(source: str, *, at_the_venue: bool) -> None:
    """Found in review: the position stayed open, and nobody heard of it."""
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.5", "64000")
    order = kit.place(BTC, "sell", "0.5", source=source, reduce_only=True)
    fact: Fact
    if at_the_venue:
        kit.release(order)
        code = Code.INSUFFICIENT_FUNDS
        fact = Rejected(order_id=order.id, code=code, reason="why it is so", ts=kit.ts)
    else:
        fact = Withheld(
            order_id=order.id,
            status=Status.REJECTED,
            code=Code.BUSY,
            reason="why it is so",
            ts=kit.ts,
        )

    alerts = [effect for effect in kit.post(fact) if isinstance(effect, Alert)]

    told = [(alert.code, alert.text) for alert in alerts]
    stays = [("flatten_refused", f"{BTC} stays open: why it is so")]
    assert told == (stays if source == "flatten" else [])


def test_a_warning_comes_once_at_its_share_of_the_limit() -> None:
    """trading:3.5."""
    kit = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")

    def alerts(price: str) -> list[str]:
        kit.ts += SECOND
        effects = kit.price(BTC, price) + kit.tick(1)
        return [effect.code for effect in effects if isinstance(effect, Alert)]

    assert alerts("62400.01") == []
    assert alerts("62400") == ["near_max_daily_loss"]
    assert alerts("62300") == []
    assert alerts("64000") == []
    assert alerts("62400") == ["near_max_daily_loss"]


def test_a_breach_does_not_soften_a_halt() -> None:
    kit = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="36000", BTC="1")
    halt(kit)
    kit.ts += SECOND
    kit.price(BTC, "61000")

    assert kit.engine.halts["all"].by == "alice"


def alerted(effects: list[Effect]) -> list[str]:
    return [effect.code for effect in effects if isinstance(effect, Alert)]


@pytest.mark.parametrize("state", [TradingState.REDUCING, TradingState.HALTED])
def test_a_breach_is_told_and_flattens_once_where_somebody_has_stopped_already(
    state: TradingState,
) -> None:
    kit = Kit(limits(max_daily_loss=D("0.02"), on_breach="flatten")).open(USDT="36000", BTC="1")
    kit.post(SetState(scope="all", state=state, reason="lunch", who=WHO, ts=kit.ts))
    kit.ts += SECOND

    effects = kit.price(BTC, "61000")

    assert alerted(effects) == ["max_daily_loss"]
    assert len(of(effects, PlaceNext)) == 1
    assert kit.engine.halts["all"].by == "alice"
    # Said once; after a recovery it is news again.
    assert alerted(kit.tick(1)) == []
    kit.price(BTC, "64000")
    kit.tick(1)
    kit.price(BTC, "61000")
    assert alerted(kit.tick(1)) == ["max_daily_loss"]


def test_two_breaches_flatten_once_and_both_are_told() -> None:
    both = limits(max_daily_loss=D("0.02"), max_drawdown=D("0.02"), on_breach="flatten")
    kit = Kit(both).open(USDT="36000", BTC="1")
    kit.ts += SECOND

    effects = kit.price(BTC, "61000")

    assert alerted(effects) == ["trading_state", "max_daily_loss", "max_drawdown"]
    assert len(of(effects, PlaceNext)) == 1
    assert kit.engine.halts["all"].by == "max_daily_loss"


def broken(**more: object) -> Kit:
    """An account that has passed its daily loss."""
    kit = Kit(limits(max_daily_loss=D("0.02"), **more)).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.price(BTC, "61000")
    kit.price(PERP, "61000")
    assert kit.engine.halts["all"].by == "max_daily_loss"
    return kit


def test_a_daily_loss_ends_by_a_reset_of_an_admin() -> None:
    """trading:3.5."""
    kit = broken()
    with pytest.raises(Refused) as caught:
        resume(kit)
    assert caught.value.code is Code.CONFLICT
    with pytest.raises(Refused) as caught:
        kit.post(ResetDaily(reason="mine", who=WHO, ts=kit.ts))
    assert caught.value.code is Code.FORBIDDEN

    kit.post(ResetDaily(reason="mine", who=ADMIN, ts=kit.ts))

    assert kit.engine.state() is TradingState.ACTIVE
    assert kit.engine.day.equity_start == D(97000)
    assert kit.replayed().digest() == kit.engine.digest()
    kit.post(ResetDaily(reason="again", who=ADMIN, ts=kit.ts))
    assert kit.engine.state() is TradingState.ACTIVE


def test_a_reset_counts_from_the_prices_of_its_moment() -> None:
    """A valuation of a quarter of a second ago made a loss of what prices had moved since."""
    kit = broken()
    kit.prices(btc="60900")

    kit.post(ResetDaily(reason="mine", who=ADMIN, ts=kit.ts))

    assert kit.engine.day.equity_start == D(96900)
    assert kit.engine.risk_view(kit.ts).daily_pnl == 0


def test_a_reset_without_equity_is_not_possible() -> None:
    kit = Kit()

    with pytest.raises(Refused) as caught:
        kit.post(ResetDaily(reason="mine", who=ADMIN, ts=kit.ts))
    assert caught.value.code is Code.VENUE_UNAVAILABLE


@pytest.mark.parametrize(("mode", "state"), [("next_day", "active"), ("manual", "reducing")])
def test_the_next_day_ends_a_daily_loss_where_that_is_configured(mode: str, state: str) -> None:
    """trading:3.5."""
    kit = broken(daily_loss_reset=mode)

    kit.tick(1, day="2026-09-22")

    assert kit.engine.state().value == state


def test_a_daily_loss_that_has_healed_may_be_resumed() -> None:
    kit = broken()
    kit.ts += SECOND
    kit.prices(btc="64000")

    resume(kit)

    assert kit.engine.state() is TradingState.ACTIVE


def test_after_a_drawdown_the_peak_restarts_where_an_admin_resumes() -> None:
    """trading:3.5."""
    kit = Kit(limits(max_drawdown=D("0.1"))).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.prices(btc="53000")
    assert kit.engine.halts["all"].by == "max_drawdown"
    kit.ts += SECOND

    effects = resume(kit)

    [peak] = facts(effects, PeakSet)
    assert isinstance(peak, PeakSet)
    assert (peak.peak_equity, peak.reset) == (D(89000), True)
    assert facts(kit.tick(1), StateSet) == []


def test_a_drawdown_may_be_resumed_while_equity_is_unknown() -> None:
    kit = Kit(limits(max_drawdown=D("0.1"))).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.prices(btc="53000")
    kit.ts += 61 * SECOND

    assert facts(resume(kit), PeakSet) == []
    assert kit.engine.state() is TradingState.ACTIVE


def test_a_venue_that_is_back_ends_all_silence() -> None:
    kit = Kit().open()
    for symbol in (None, BTC):
        kit.post(Stale(venue="paper", symbol=symbol, stale=True, cause="silent", asof=kit.ts))
    kit.post(Stale(venue="paper", symbol=None, stale=False, cause=None, asof=kit.ts))

    assert not kit.engine._state.quotes.is_stale(BTC)


def test_counters_survive_a_restart() -> None:
    """trading:3.5 features:1.6."""
    kit = broken(loss_streak=5)
    fresh = kit.replayed()

    assert fresh.halts == kit.engine.halts
    assert fresh.day == kit.engine.day
    assert fresh.digest() == kit.engine.digest()


def test_a_losing_streak_is_told_when_it_reaches_its_limit() -> None:
    kit = Kit(limits(loss_streak=1)).open(USDT="36000")
    kit.bought(BTC, "buy", "0.01", "64000")
    kit.bought(BTC, "sell", "0.01", "63000")

    assert [effect.code for effect in kit.effects if isinstance(effect, Alert)] == ["loss_streak"]


# --- trading states ---------------------------------------------------------------------------


def test_setting_the_state_it_has_changes_nothing() -> None:
    kit = Kit().open()
    assert resume(kit) == []
    assert facts(halt(kit), StateSet)
    assert halt(kit) == []
    [note] = of(halt(kit, "bot:b"), Note)
    assert isinstance(note, Note)
    assert note.data["scope"] == "bot:b"


@pytest.mark.parametrize("scope", ["", "venue:other", "symbol:XYZ", "bot:", "bot", "else:x"])
def test_a_scope_that_does_not_exist_is_not_found(scope: str) -> None:
    kit = Kit().open()

    with pytest.raises(Refused) as caught:
        halt(kit, scope)
    assert caught.value.code is Code.NOT_FOUND


def test_resuming_needs_an_admin_a_ready_account_and_no_unknown_order() -> None:
    """trading:3.4."""
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="60000")
    kit.post(Unknown(order_id=order.id, command="m", ts=kit.ts))
    halt(kit)
    with pytest.raises(Refused) as caught:
        resume(kit, who=WHO)
    assert caught.value.code is Code.FORBIDDEN
    with pytest.raises(Refused) as caught:
        resume(kit)
    assert caught.value.code is Code.CONFLICT
    kit.post(Ready(venue="paper", ready=False, reason="lost", ts=kit.ts))
    with pytest.raises(Refused) as caught:
        resume(kit, force=True)
    assert caught.value.code is Code.VENUE_UNAVAILABLE
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    resume(kit, force=True)

    assert kit.engine.state() is TradingState.ACTIVE


def test_a_trading_state_survives_a_restart() -> None:
    """trading:K6."""
    kit = Kit().open()
    halt(kit)
    halt(kit, f"symbol:{ETH}")

    assert kit.replayed().halts == kit.engine.halts


def test_flattening_closes_every_position_of_a_scope_at_the_market() -> None:
    """trading:K7."""
    kit = Kit().open(USDT="100000", BTC="0.123456", ETH="0.00001")
    kit.bought(PERP, "sell", "10", "64000")

    wishes = kit.engine.flatten(kit.ts)

    shown = [(w.order.symbol, w.order.side, w.order.amount, w.order.reduce_only) for w in wishes]
    assert shown == [(BTC, "sell", D("0.12345"), True), (PERP, "buy", D(10), True)]
    assert [w.order.symbol for w in kit.engine.flatten(kit.ts, f"symbol:{PERP}")] == [PERP]
    assert len(kit.engine.flatten(kit.ts, "venue:paper")) == 2
    halt(kit)
    for wish in wishes:
        kit.post(wish)
        kit.release(kit.order(wish.order.id))


# --- limits -----------------------------------------------------------------------------------


def test_limits_change_version_by_version() -> None:
    kit = Kit().open()
    new = replace(kit.engine.limits, version=2, max_order_notional=D(5))

    kit.post(Configure(limits=new, who=ADMIN, ts=kit.ts))

    assert kit.engine.limits == new
    with pytest.raises(Refused) as caught:
        kit.post(Configure(limits=new, who=ADMIN, ts=kit.ts))
    assert caught.value.code is Code.CONFLICT
    assert kit.replayed().digest() == kit.engine.digest()


# --- valuation --------------------------------------------------------------------------------


def test_currencies_are_worth_a_pair_or_one_hop() -> None:
    base = MARKETS[ETH]
    markets = MARKETS | {
        "SOL/BTC": replace(base, symbol="SOL/BTC", base="SOL", quote="BTC"),
        "USDT/TRY": replace(base, symbol="USDT/TRY", base="USDT", quote="TRY"),
        "SOL/USDT": replace(base, symbol="SOL/USDT", base="SOL"),
        "X/Y": replace(base, symbol="X/Y", base="X", quote="Y"),
        "X/Z": replace(base, symbol="X/Z", base="X", quote="Z"),
    }
    kit = Kit(markets=markets)
    assert kit.engine.worth("SOL") is None
    kit.prices(btc="64000", eth="3000")
    kit.price("SOL/BTC", "0.5")
    kit.price("USDT/TRY", "40")

    assert kit.engine.worth("USDT") == 1
    assert kit.engine.worth("BTC") == 64000
    assert kit.engine.worth("SOL") == 32000
    assert kit.engine.worth("TRY") == D("0.025")
    assert kit.engine.worth("X") is None
    assert kit.engine.worth("NOPE") is None
    assert kit.engine._state.quotes.newest("SOL") == kit.ts
    assert kit.engine._state.quotes.newest("NOPE") == 0
    assert kit.engine._state.account.home("X") == "X/Y"


def test_a_mark_is_the_venues_else_the_mid_else_the_last() -> None:
    kit = Kit()
    assert kit.engine.mark(BTC) is None
    kit.post(Trade(id="t", symbol=BTC, side="buy", price="7", amount="1", ts=1, recv_ts=1))
    assert kit.engine.mark(BTC) == (D(7), "last")
    one = Ticker(ETH, None, None, None, None, ts=1, recv_ts=1, daily=Daily(last="9"))
    kit.post(one)
    assert kit.engine.mark(ETH) == (D(9), "last")
    kit.post(replace(one, bid="8", ask="12"))
    assert kit.engine.mark(ETH) == (D(10), "mid")
    kit.post(replace(one, mark="11"))
    assert kit.engine.mark(ETH) == (D(11), "mark")
    kit.post(BookSnapshot(symbol=BTC, bids=(("1", "1"),), asks=(), ts=1, recv_ts=1))
    assert kit.engine.mark(BTC) == (D(7), "last")
    kit.post(BookDelta(symbol=BTC, bids=(), asks=(("2", "1"),), ts=1, recv_ts=1))
    assert kit.engine.mark(BTC) == (D("1.5"), "mid")
    kit.post(Mark(symbol=BTC, mark="5", index="5", funding_rate="0", next_funding_ts=0, ts=2))
    assert kit.engine.mark(BTC) == (D(5), "mark")


def test_a_preview_changes_nothing() -> None:
    kit = Kit().open()
    before = kit.engine.digest()

    kit.engine.preview(Place(order=kit.draft(BTC, "buy", "0.01"), who=WHO, ts=kit.ts))
    kit.engine.risk_view(kit.ts)
    kit.engine.value(kit.ts)

    assert kit.engine.digest() == before
    assert kit.engine.ready
