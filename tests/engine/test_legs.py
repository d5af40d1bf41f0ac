"""Attached stops and targets (trading 4): what they protect, and that they always fit."""

from dataclasses import replace

import pytest

from realtime.engine.legs import Kind, working_leg
from realtime.engine.market import plain
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Alert,
    Amend,
    AmendDone,
    AmendFailed,
    AmendNext,
    Cancel,
    CancelAtVenue,
    CancelFailed,
    Duplicate,
    Effect,
    Place,
    PlaceNext,
    Ready,
    Rejected,
    Release,
    SetState,
    Submit,
    Transferred,
    Unknown,
    Withheld,
)
from realtime.model.market import SECOND, Stale, Trade
from realtime.model.orders import Asked, Order, OrderType, Role, Status, Trigger
from realtime.model.risk import TradingState
from tests.engine.kit import BTC, ETH, MARKETS, OFF, PERP, WHO, D, Kit, of


STOP, TARGET = Trigger(price=D(60000)), Trigger(price=D(70000))


class LegKit(Kit):
    """A kit that posts what the engine wishes for itself, like the desk, and accepts it."""

    def post(self, event: object) -> list[Effect]:
        effects = list(super().post(event))
        for effect in list(effects):
            if isinstance(effect, PlaceNext):
                try:
                    placed = self.post(effect.place)
                except Refused:
                    # Overtaken: what was wished before it has changed what there is room for.
                    assert self.tolerant
                    continue
                effects += placed
                if of(placed, Duplicate):
                    continue  # asked for again while it was on its way
                if self.leaving:
                    self.release(self.order(effect.place.order.id))
                if self.leaving and self.accepting:
                    self.accept(self.order(effect.place.order.id))
            elif isinstance(effect, AmendNext):
                try:
                    effects += self.post(effect.amend)
                except Refused:
                    assert self.tolerant
                    continue
                if self.accepting:
                    amend = effect.amend
                    effects += self.post(
                        AmendDone(
                            order_id=amend.order_id,
                            amount=amend.amount,
                            price=amend.price,
                            stop_price=amend.stop_price,
                            method="native",
                            ts=self.ts,
                        )
                    )
        self.effects = effects
        return effects

    leaving = True
    accepting = True
    tolerant = False


def kit(**balances: str) -> LegKit:
    made = LegKit()
    made.open(**(balances or {"USDT": "100000"}))
    return made


def bracket(
    k: Kit, symbol: str = PERP, side: str = "buy", amount: str = "10", **more: object
) -> Order:
    fields: dict[str, object] = {"price": "64000", "stop_loss": STOP, "take_profit": TARGET, **more}
    return k.opened(symbol, side, amount, **fields)


def legs(k: Kit, parent: Order) -> list[tuple[str, str]]:
    """Kind and remaining amount of working legs."""
    found = []
    for kind in Kind:
        leg = working_leg(k.engine._state, parent.id, kind)
        if leg is not None:
            rest = leg.amount - k.engine.orders.booked(leg.id)
            found.append((kind.value, plain(rest)))
    return found


def leg(k: Kit, parent: Order, kind: Kind) -> Order:
    found = working_leg(k.engine._state, parent.id, kind)
    assert found is not None
    return found


def test_legs_exist_only_for_what_has_filled() -> None:
    """trading:B1."""
    k = kit()
    parent = bracket(k)
    assert legs(k, parent) == []
    k.fill(parent, "4")
    assert legs(k, parent) == [("sl", "4"), ("tp", "4")]
    k.fill(parent, "3")
    assert legs(k, parent) == [("sl", "7"), ("tp", "7")]

    k.seen(parent, Status.CANCELED, "7")

    assert legs(k, parent) == [("sl", "7"), ("tp", "7")]


def test_a_leg_is_an_order_with_a_role_a_parent_and_a_group() -> None:
    k = kit()
    parent = bracket(k, stop_loss=Trigger(price=D(60000), limit=D(59900)), bot_id="b")
    k.fill(parent, "10")

    stop, target = leg(k, parent, Kind.STOP), leg(k, parent, Kind.TARGET)
    assert (stop.type, stop.stop_price, stop.price) == (OrderType.STOP_LIMIT, D(60000), D(59900))
    assert (target.type, target.price, target.stop_price) == (OrderType.LIMIT, D(70000), None)
    for one, role in ((stop, Role.STOP_LOSS), (target, Role.TAKE_PROFIT)):
        assert (one.role, one.parent_id, one.oco_group) == (role, parent.id, parent.id)
        assert one.reduce_only
        assert (one.source, one.bot_id, one.side) == ("bracket", "b", "sell")


def test_a_fill_of_one_leg_shrinks_the_other_and_a_flat_position_has_none() -> None:
    """trading:B2."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    k.fill(leg(k, parent, Kind.TARGET), "4", "70000")
    assert legs(k, parent) == [("sl", "6"), ("tp", "6")]

    k.fill(leg(k, parent, Kind.TARGET), "6", "70000")

    assert of(k.effects, CancelAtVenue)
    stop = leg(k, parent, Kind.STOP)
    assert stop.cancel_state is Asked.REQUESTED
    k.seen(stop, Status.CANCELED)
    assert legs(k, parent) == []
    assert k.engine._applier.legs.protected == {}
    assert k.engine.orders.loads[PERP].legs == {}


def test_leg_ids_are_derived_so_that_a_replay_asks_for_the_same_order() -> None:
    """trading:B3."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    mine = leg(k, parent, Kind.STOP)
    fresh = k.replayed()

    found = fresh.orders.by_client_id(mine.client_order_id)

    assert found == mine
    assert mine.id == f"{parent.id}-sl1"
    assert fresh.digest() == k.engine.digest()


def test_an_unknown_leg_is_waited_for_and_not_placed_again() -> None:
    """trading:B4."""
    k = kit()
    k.accepting = False
    parent = bracket(k)
    k.fill(parent, "4")
    stop = leg(k, parent, Kind.STOP)
    k.post(Unknown(order_id=stop.id, command="m", ts=k.ts))
    alerts = [effect.code for effect in k.effects if isinstance(effect, Alert)]
    assert alerts == ["protection_uncertain"]

    k.fill(parent, "6")

    assert [o.id for o in k.engine.orders.legs_of(parent.id) if o.role is Role.STOP_LOSS] == [
        stop.id
    ]
    # It turns out to live: now it is made to fit.
    k.accepting = True
    k.seen(stop, Status.OPEN)
    assert legs(k, parent)[0] == ("sl", "10")


def reject(k: Kit, order: Order, code: Code = Code.VENUE_REJECTED) -> None:
    k.post(Rejected(order_id=order.id, code=code, reason="no", ts=k.ts))


def degraded() -> tuple[LegKit, Order]:
    """A filled parent whose stop the venue has refused until we watch its price ourselves."""
    k = kit()
    k.accepting = False
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    for _ in range(3):
        reject(k, leg(k, parent, Kind.STOP))
        k.tick(1)
    return k, parent


def test_a_refused_leg_is_tried_again_then_we_watch_its_price_ourselves() -> None:
    """trading:B5."""
    k = kit()
    k.accepting = False
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    for generation in range(1, 4):
        stop = leg(k, parent, Kind.STOP)
        assert stop.id.endswith(str(generation))
        reject(k, stop)
        assert legs(k, parent) == []
        assert not of(k.tick(0.5), Alert)
        alerts = [effect.code for effect in k.tick(0.5) if isinstance(effect, Alert)]
        assert alerts == ["protection_degraded"]
    assert legs(k, parent) == []
    # A silent feed fires nothing, another price neither.
    k.mark(PERP, "60000.1")
    assert legs(k, parent) == []
    silent = Stale(venue="paper", symbol=PERP, stale=True, cause="silent", asof=k.ts)
    k.post(silent)
    k.mark(PERP, "60000")
    assert legs(k, parent) == []
    k.post(replace(silent, stale=False, cause=None))

    k.post(
        Trade(id="t", symbol=PERP, side="sell", price="60000", amount="1", ts=k.ts, recv_ts=k.ts)
    )

    fired = leg(k, parent, Kind.STOP)
    assert (fired.type, fired.amount) == (OrderType.MARKET, D(10))


def test_legs_that_we_watch_are_suspended_and_alarmed_while_there_are_no_prices() -> None:
    """trading:B10."""
    k, _ = degraded()

    def suspended() -> bool:
        return k.engine.mark_position(k.engine.positions[PERP]).suspended

    def alarms(**fields: object) -> list[str]:
        silent = Stale(venue="paper", symbol=PERP, stale=True, cause="silent", asof=k.ts)
        told = k.post(replace(silent, **fields))  # type: ignore[arg-type]
        return [effect.code for effect in told if isinstance(effect, Alert)]

    assert not suspended()
    assert alarms(symbol=BTC) == []
    assert not suspended()
    assert alarms() == ["protection_suspended"]
    assert suspended()
    assert alarms() == []  # told before
    assert alarms(stale=False, cause=None) == []
    assert not suspended()
    assert alarms(symbol=None) == ["protection_suspended"]
    assert suspended()
    assert alarms() == []  # the whole venue was silent already


def test_a_leg_that_we_begin_to_watch_without_prices_is_alarmed_as_suspended() -> None:
    """trading:B10."""
    k = kit()
    k.accepting = False
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    k.post(Stale(venue="paper", symbol=PERP, stale=True, cause="silent", asof=k.ts))
    told: list[Effect] = []
    for _ in range(3):
        reject(k, leg(k, parent, Kind.STOP))
        told += k.tick(1)

    codes = [effect.code for effect in told if isinstance(effect, Alert)]
    assert codes == ["protection_degraded"] * 3 + ["protection_suspended"]


@pytest.mark.parametrize(
    ("side", "stop", "limit", "before", "beyond"),
    [("buy", 60000, 59900, "61000", "59000"), ("sell", 68000, 68100, "67000", "69000")],
)
def test_a_stop_limit_that_the_price_went_through_is_told_once_after_five_seconds(
    side: str, stop: int, limit: int, before: str, beyond: str
) -> None:
    """trading:B8."""
    k = kit()
    trigger = Trigger(price=D(stop), limit=D(limit))
    parent = bracket(k, side=side, stop_loss=trigger, take_profit=None, trigger_by="last")

    def alarms(price: str | None, seconds: int) -> list[dict[str, object]]:
        if price is not None:
            k.post(
                Trade(
                    id=f"t-{k.ts}",
                    symbol=PERP,
                    side="sell",
                    price=price,
                    amount="1",
                    ts=k.ts,
                    recv_ts=k.ts,
                )
            )
        told = [effect for _ in range(seconds) for effect in k.tick(1)]
        alerts = [one for one in told if isinstance(one, Alert)]
        return [dict(one.data) for one in alerts if one.code == "protection_unfilled"]

    assert alarms(beyond, 6) == []  # there is no leg yet
    alarms(before, 0)
    k.fill(parent, "10")
    assert alarms(before, 6) == []
    assert alarms(beyond, 5) == []
    assert alarms(before, 1) == []
    assert alarms(beyond, 5) == []
    (data,) = alarms(None, 1)
    assert (data["order_id"], data["symbol"]) == (leg(k, parent, Kind.STOP).id, PERP)
    assert alarms(None, 10) == []

    k.post(Stale(venue="paper", symbol=PERP, stale=True, cause="silent", asof=k.ts))
    assert alarms(None, 1) == []
    k.post(Stale(venue="paper", symbol=PERP, stale=False, cause=None, asof=k.ts))
    assert len(alarms(None, 6)) == 1  # a new time, because what was before is not known


def test_a_watched_leg_of_a_flat_position_fires_nothing() -> None:
    """trading:B5."""
    k, parent = degraded()
    closing = k.place(PERP, "sell", "10", reduce_only=True)
    k.fill(closing, "10")

    k.post(
        Trade(id="t", symbol=PERP, side="sell", price="60000", amount="1", ts=k.ts, recv_ts=k.ts)
    )

    assert legs(k, parent) == []
    assert k.engine._applier.legs.watches in ({}, {PERP: {}})


def test_a_watch_on_what_is_not_held_any_more_places_nothing() -> None:
    k, parent = degraded()
    state = k.engine._state
    state.account.positions[PERP] = type(state.account.positions[PERP])(venue="paper", symbol=PERP)

    k.post(
        Trade(id="t", symbol=PERP, side="sell", price="60000", amount="1", ts=k.ts, recv_ts=k.ts)
    )

    assert legs(k, parent) == []


def test_a_stop_whose_trigger_holds_already_goes_out_at_the_market() -> None:
    """trading:B5 trading:B7 trading:B8."""
    k = kit()
    parent = bracket(k)
    k.prices(btc="59000")
    k.fill(parent, "10", "60100")

    stop = leg(k, parent, Kind.STOP)
    assert (stop.type, stop.role) == (OrderType.MARKET, Role.STOP_LOSS)


def test_without_a_price_no_trigger_holds() -> None:
    k = kit()
    short = bracket(k, side="sell", stop_loss=Trigger(price=D(70000)), take_profit=None)
    k.engine._state.quotes.books.clear()
    k.engine._state.quotes.tickers.clear()
    k.engine._state.quotes._marks_now.clear()
    k.fill(short, "10")

    assert leg(k, short, Kind.STOP).type is OrderType.STOP


def test_a_position_closed_by_other_means_cancels_its_legs() -> None:
    """trading:B9."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    closing = k.opened(PERP, "sell", "10", reduce_only=True)

    k.fill(closing, "10")

    assert len(of(k.effects, CancelAtVenue)) == 2
    for one in (leg(k, parent, Kind.STOP), leg(k, parent, Kind.TARGET)):
        k.seen(one, Status.CANCELED)
    # A new position of another order does not wake the old legs.
    k.bought(PERP, "buy", "10", "64000")
    assert legs(k, parent) == []


def test_what_else_closes_a_part_takes_it_from_the_oldest_parent() -> None:
    """trading:B9."""
    k = kit()
    old, new = bracket(k), bracket(k)
    k.fill(old, "10")
    k.fill(new, "10")

    k.fill(k.opened(PERP, "sell", "6", reduce_only=True), "6")

    assert legs(k, old) == [("sl", "4"), ("tp", "4")]
    assert legs(k, new) == [("sl", "10"), ("tp", "10")]
    k.fill(k.opened(PERP, "sell", "9", reduce_only=True), "9")
    assert legs(k, new) == [("sl", "5"), ("tp", "5")]


def test_a_shorts_legs_are_mirrored() -> None:
    k = kit()
    parent = bracket(
        k, side="sell", stop_loss=Trigger(price=D(70000)), take_profit=Trigger(price=D(60000))
    )
    k.fill(parent, "10")

    assert leg(k, parent, Kind.STOP).side == "buy"
    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_a_base_fee_leaves_less_to_protect() -> None:
    """trading:B1."""
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01", fee="0.00001", fee_currency="BTC")
    k.balance("BTC", "0.00999")

    assert legs(k, parent) == [("sl", "0.00999"), ("tp", "0.00999")]


def test_legs_too_small_for_the_market_wait_for_more() -> None:
    """trading:B1."""
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.00005")
    assert legs(k, parent) == []
    k.fill(parent, "0.00995")

    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]


def test_a_leg_below_the_minimum_cost_waits_unless_it_closes_all() -> None:
    dear = MARKETS | {BTC: replace(MARKETS[BTC], min_cost=D(100))}
    k = LegKit(markets=dear)
    k.open(USDT="100000", BTC="1")
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.001")
    assert legs(k, parent) == []
    trailing = k.opened(BTC, "buy", "0.01", price="64000", trailing_stop="0.01")
    k.fill(trailing, "0.001")
    assert legs(k, trailing) == []
    k.fill(parent, "0.009")
    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]
    alone = LegKit(markets=dear)
    alone.open()
    parent = bracket(alone, BTC, amount="0.01")
    alone.fill(parent, "0.001")
    assert legs(alone, parent) == [("sl", "0.001"), ("tp", "0.001")]


@pytest.mark.parametrize(
    "fields", [{"trailing_stop": "0.01"}, {"trailing_rate": "0.01"}, {"trailing_amount": "640"}]
)
def test_a_trailing_stop_may_be_attached(fields: dict[str, object]) -> None:
    """trading:B6."""
    k = kit()
    parent = k.opened(PERP, "buy", "10", price="64000", **fields)
    k.fill(parent, "10")

    stop = leg(k, parent, Kind.STOP)
    assert stop.type is OrderType.TRAILING_STOP
    rate = D("0.01") if "trailing_amount" not in fields else None
    assert (stop.trailing_rate, stop.trailing_amount) == (rate, None if rate else D(640))
    # The venue moves it, we do not move it back; resizing leaves its trigger alone.
    k.ts += SECOND
    k.seen(stop, Status.OPEN, stop_price=D(63900))
    k.fill(k.opened(PERP, "sell", "4", reduce_only=True), "4")
    assert legs(k, parent) == [("sl", "6")]
    assert leg(k, parent, Kind.STOP).stop_price == D(63900)


def test_coins_that_another_exit_holds_are_not_promised_twice() -> None:
    k = kit(USDT="100000", BTC="0.005")
    k.opened(BTC, "sell", "0.005", price="80000")
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0.01", "0.005")

    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]


def test_legs_give_way_to_a_market_exit_and_come_back_when_it_fails() -> None:
    """trading:B9 trading:G8."""
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.01")
    # A resting exit would have to wait for the coins: it is refused.
    with pytest.raises(Refused):
        k.place(BTC, "sell", "0.01", price="65000")
    closing = k.place(BTC, "sell", "0.01")
    names = [type(effect).__name__ for effect in k.effects]
    assert names.index("CancelAtVenue") < names.index("Submit")
    stop, target = leg(k, parent, Kind.STOP), leg(k, parent, Kind.TARGET)
    for one in (stop, target):
        k.seen(one, Status.CANCELED)
    k.balance("BTC", "0.01")
    assert legs(k, parent) == []

    reject(k, closing)

    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]
    assert leg(k, parent, Kind.STOP).id.endswith("sl2")


def mixed() -> tuple[LegKit, Order]:
    """A filled spot parent whose stop has the coins at the venue, which has refused the target for it."""
    k = kit()
    k.accepting = False
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.accept(leg(k, parent, Kind.STOP))
    k.balance("BTC", "0", "0.01")
    reject(k, leg(k, parent, Kind.TARGET), Code.INSUFFICIENT_FUNDS)
    return k, parent


def last(k: LegKit, price: str) -> list[Effect]:
    """A trade of the spot market at a price."""
    return k.post(
        Trade(
            id=f"t-{k.ts}", symbol=BTC, side="buy", price=price, amount="1", ts=k.ts, recv_ts=k.ts
        )
    )


def test_a_target_whose_coins_the_stop_has_at_the_venue_is_ours_to_watch_and_no_alarm() -> None:
    """trading:4 mixed."""
    k, parent = mixed()

    alerts = [(one.level, one.code) for one in k.tick(1) if isinstance(one, Alert)]

    assert alerts == [("info", "protection_mixed")]
    assert legs(k, parent) == [("sl", "0.01")]
    assert last(k, "69999")[1:] == []


def test_a_target_that_we_watch_takes_the_coins_from_the_stop_then_sells_them() -> None:
    """trading:4 mixed: cancel stop, evidence of the cancel, send target."""
    k, parent = mixed()
    k.tick(1)
    stop = leg(k, parent, Kind.STOP)

    fired = last(k, "70000")

    names = [type(effect).__name__ for effect in fired]
    assert names.index("CancelAtVenue") < names.index("Submit")
    (submit,) = of(fired, Submit)
    assert isinstance(submit, Submit)
    order = submit.approved.order
    assert (order.type, order.role, order.amount) == (OrderType.MARKET, Role.TAKE_PROFIT, D("0.01"))
    assert submit.approved.after == (stop.id,)
    # The stop does not come back and take the coins again.
    assert not of(k.seen(stop, Status.CANCELED), PlaceNext)
    k.balance("BTC", "0.01")
    assert not of(last(k, "70001"), PlaceNext)
    leaves(k, order)
    k.fill(order, "0.01", "70000")
    assert legs(k, parent) == []
    assert not of(k.tick(20), PlaceNext)


def test_a_stop_comes_back_when_the_target_is_refused_and_the_next_try_takes_its_time() -> None:
    k, parent = mixed()
    k.tick(1)
    waits: list[int] = []
    last(k, "70000")
    while len(waits) < 4:
        stop = leg(k, parent, Kind.STOP)
        k.seen(stop, Status.CANCELED)
        k.balance("BTC", "0.01")
        reject(k, leg(k, parent, Kind.TARGET))
        assert legs(k, parent) == [("sl", "0.01")]
        k.accept(leg(k, parent, Kind.STOP))
        k.balance("BTC", "0", "0.01")
        waited = 0
        while leg_of(k, parent, Kind.TARGET) is None:
            k.tick(1)
            waited += 1
            assert waited < 20
        waits.append(waited)

    assert waits == [1, 2, 4, 8]


def leg_of(k: LegKit, parent: Order, kind: Kind) -> Order | None:
    return working_leg(k.engine._state, parent.id, kind)


def test_a_target_that_finds_free_coins_leaves_the_stop_alone() -> None:
    k, parent = mixed()
    k.tick(1)
    k.balance("BTC", "1", "0.01")

    assert not of(last(k, "70000"), CancelAtVenue)
    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]


def test_a_fill_that_had_been_inferred_is_protected_once() -> None:
    """trading:B1, 2.5."""
    k = kit()
    k.bought(PERP, "buy", "5", "64000")  # what is held beside it is not its own to protect
    parent = bracket(k)
    k.fill(parent, "6", inferred=True)
    k.fill(parent, "4")
    k.fill(parent, "4")
    assert k.engine._state.account.amount(PERP) == 13
    assert legs(k, parent) == [("sl", "8"), ("tp", "8")]

    k.fill(leg(k, parent, Kind.STOP), "5", "60000", inferred=True)
    k.fill(leg(k, parent, Kind.STOP), "4", "60000")

    assert k.engine._state.account.amount(PERP) == 8
    assert legs(k, parent) == [("sl", "3"), ("tp", "3")]
    assert k.replayed().digest() == k.engine.digest()


def test_a_fee_that_comes_with_the_real_fill_is_not_protected() -> None:
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01", inferred=True)
    k.fill(k.opened(BTC, "sell", "0.01", reduce_only=True), "0.01")

    k.fill(parent, "0.01", fee="0.00001", fee_currency="BTC")

    assert not k.engine.protects


def test_a_target_sells_what_the_row_of_the_stop_has_left() -> None:
    """trading:B2. No fill has told of the rest yet, and other coins are there."""
    k, parent = mixed()
    k.tick(1)
    k.balance("BTC", "1", "0.01")
    k.seen(leg(k, parent, Kind.STOP), Status.OPEN, "0.004")

    (fired,) = of(last(k, "70000"), PlaceNext)

    assert isinstance(fired, PlaceNext)
    assert fired.place.order.amount == D("0.006")


def test_what_more_fills_is_sold_by_the_target_that_we_watch() -> None:
    k, parent = mixed()
    k.tick(1)
    more = k.order(parent.id)
    assert more.status is Status.FILLED
    state = k.engine._state
    k.engine._applier.legs.on_fill(state, more, replace(state.orders.fills_of(parent.id)[0]))

    assert not of(k.tick(2), PlaceNext)


def test_a_target_that_is_moved_is_not_watched_where_it_was() -> None:
    k, parent = mixed()
    k.tick(1)

    amend(k, parent, take_profit=Trigger(price=D(72000)))
    reject(k, leg(k, parent, Kind.TARGET), Code.INSUFFICIENT_FUNDS)

    assert not of(last(k, "71000"), PlaceNext)
    assert [one.code for one in k.tick(1) if isinstance(one, Alert)] == ["protection_mixed"]
    assert not of(last(k, "71000"), PlaceNext)
    assert of(last(k, "72000"), PlaceNext)


def test_a_watch_ends_when_the_venue_takes_the_leg_after_all() -> None:
    k, parent = degraded()
    k.accepting = True
    k.fill(k.opened(PERP, "buy", "1", price="64000"), "1")
    parent = k.order(parent.id)
    k.engine._applier.legs.degraded.clear()
    k.post(Ready(venue="paper", ready=True, reason="", ts=k.ts))
    amend(k, parent, take_profit=TARGET)
    k.engine._applier.legs._watch(parent, Kind.TARGET, TARGET)

    trade = Trade(id="t", symbol=PERP, side="buy", price="70000", amount="1", ts=k.ts, recv_ts=k.ts)
    assert not of(k.post(trade), PlaceNext)
    assert k.engine._applier.legs.watches == {PERP: {}}


def test_an_exit_that_we_fire_into_a_market_that_is_halted_is_wished_for_again() -> None:
    k = LegKit(markets=dict(MARKETS))
    k.open()
    k.tolerant, k.accepting = True, False
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    for _ in range(3):
        reject(k, leg(k, parent, Kind.STOP))
        k.tick(1)
    k.accepting = True
    open_market = k.markets[PERP]
    k.markets[PERP] = replace(open_market, active=False)

    def trade() -> list[Effect]:
        return k.post(
            Trade(
                id=f"t-{k.ts}",
                symbol=PERP,
                side="sell",
                price="60000",
                amount="1",
                ts=k.ts,
                recv_ts=k.ts,
            )
        )

    assert of(trade(), PlaceNext)
    assert not of(trade(), PlaceNext)
    assert legs(k, parent) == []
    k.markets[PERP] = open_market
    assert not of(k.tick(8), PlaceNext)
    assert of(k.tick(1), PlaceNext)
    assert legs(k, parent) == [("sl", "10")]
    assert not of(k.tick(20), PlaceNext)


def test_a_leg_whose_row_shows_it_filled_is_not_placed_again_before_its_fills_come() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    stop, target = (leg(k, parent, kind) for kind in Kind)

    told = k.seen(stop, Status.FILLED, "10")

    assert not of(told, PlaceNext)
    assert [one.order.id for one in told if isinstance(one, CancelAtVenue)] == [target.id]
    k.seen(target, Status.CANCELED)
    k.fill(stop, "10", "60000")
    assert not of(k.tick(2), PlaceNext)
    assert legs(k, parent) == []


def test_a_stop_that_goes_out_at_the_market_has_no_target_beside_it() -> None:
    k = kit()
    parent = bracket(k)
    k.prices(btc="59000")

    k.fill(parent, "10", "60100")

    assert legs(k, parent) == [("sl", "10")]


def waiting_exit(**fields: object) -> tuple[LegKit, Order, Order]:
    """A market exit of 0.01 that waits for the end of the legs that hold its coins; parent and exit."""
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.01")
    closing = k.place(BTC, "sell", "0.01", **fields)  # type: ignore[arg-type]
    (submit,) = of(k.effects, Submit)
    assert isinstance(submit, Submit)
    assert len(submit.approved.after) == 2
    return k, parent, closing


def leaves(k: LegKit, closing: Order) -> None:
    k.post(Release(order_id=closing.id, waited=True, ts=k.ts))


def withhold(k: LegKit, closing: Order, refused: Refused) -> list[Effect]:
    """What the gate does with a refusal at the door."""
    fact = Withheld(
        order_id=closing.id,
        status=Status.REJECTED,
        code=refused.code,
        reason=refused.message,
        ts=k.ts,
    )
    return k.post(fact)


def test_an_exit_whose_coins_a_leg_has_sold_while_it_waited_does_not_leave() -> None:
    k, parent, closing = waiting_exit()
    stop, target = (leg(k, parent, kind) for kind in Kind)
    k.fill(stop, "0.01", "60000")
    k.seen(target, Status.CANCELED)

    with pytest.raises(Refused) as caught:
        leaves(k, closing)

    assert caught.value.code is Code.RISK_REJECTED
    assert "nothing is left" in caught.value.message
    assert "nothing was sent" in caught.value.message
    assert caught.value.details == {
        "rule": "reduce_only_violation",
        "limit": "0",
        "value": "0.01",
        "unit": "BTC",
    }
    withhold(k, closing, caught.value)
    assert k.order(closing.id).status is Status.REJECTED
    assert k.engine.orders.loads[BTC].exit_sells == 0
    assert legs(k, parent) == []


def test_an_exit_of_which_a_leg_has_sold_a_part_is_not_made_smaller() -> None:
    """The part that is left is protected again, and the next close closes it."""
    k, parent, closing = waiting_exit()
    stop, target = (leg(k, parent, kind) for kind in Kind)
    k.fill(stop, "0.006", "60000")
    k.seen(stop, Status.CANCELED, "0.006")
    k.seen(target, Status.CANCELED)
    k.balance("BTC", "0.004")

    with pytest.raises(
        Refused, match=r"only 0\.004 BTC are left of them; nothing was sent"
    ) as caught:
        leaves(k, closing)

    withhold(k, closing, caught.value)
    assert legs(k, parent) == [("sl", "0.004"), ("tp", "0.004")]
    k.balance("BTC", "0", "0.004")
    again = k.place(BTC, "sell", "0.004")
    for kind in Kind:
        k.seen(leg(k, parent, kind), Status.CANCELED)
    leaves(k, again)
    assert again.id in k.engine._state.released


def test_a_flattening_that_waited_closes_what_a_leg_has_left() -> None:
    """trading:K7. Flat is flat, and nobody has to ask twice."""
    k, parent, closing = waiting_exit(source="flatten")
    stop, target = (leg(k, parent, kind) for kind in Kind)
    k.fill(stop, "0.006", "60000")
    k.seen(stop, Status.CANCELED, "0.006")
    k.seen(target, Status.CANCELED)
    k.balance("BTC", "0.004")
    with pytest.raises(Refused) as caught:
        leaves(k, closing)

    told = withhold(k, closing, caught.value)

    (rest,) = [one.place.order for one in told if isinstance(one, PlaceNext)]
    assert (rest.source, rest.amount, rest.reduce_only) == ("flatten", D("0.004"), True)
    k.fill(rest, "0.004")
    assert legs(k, parent) == []
    assert k.replayed().digest() == k.engine.digest()


@pytest.mark.parametrize("sold", ["0.00995", "0.0099"], ids=["min_amount", "min_cost"])
def test_a_leg_that_would_be_too_small_for_the_market_goes(sold: str) -> None:
    """trading:B2. Found in review: it kept its amount, which others had, and every plan raised an alarm."""
    market = replace(MARKETS[BTC], min_cost=D("6.5"))
    k = LegKit(markets={BTC: market})
    k.open(USDT="100000")
    parent, other = (bracket(k, BTC, amount="0.01") for _ in range(2))
    for one in (parent, other):
        k.fill(one, "0.01")
    stop = leg(k, parent, Kind.STOP)

    told = k.fill(leg(k, parent, Kind.TARGET), sold, "70000")

    assert [one.order.id for one in told if isinstance(one, CancelAtVenue)] == [stop.id]
    k.seen(stop, Status.CANCELED)
    assert not of(k.tick(2), Alert)
    assert legs(k, other) == [("sl", "0.01"), ("tp", "0.01")]
    assert "sl" not in dict(legs(k, parent))


EURO = "BTC/EUR"


def two_markets() -> LegKit:
    """A kit in which one coin is traded against two currencies, so that one holding has two symbols."""
    euro = replace(MARKETS[BTC], symbol=EURO, id="BTCEUR", quote="EUR")
    k = LegKit(markets={BTC: MARKETS[BTC], EURO: euro})
    k.open(USDT="100000", EUR="100000")
    k.price(EURO, "64000")
    return k


def test_legs_of_one_holding_in_two_markets_are_not_more_than_it() -> None:
    """trading:B2 trading:B9. Found in review: each market's legs were fitted to the whole, and by its own exits alone."""
    k = two_markets()
    older, newer = bracket(k, EURO, amount="0.01"), bracket(k, BTC, amount="0.01")
    for parent in (older, newer):
        k.ts += 1
        k.fill(parent, "0.01")

    k.fill(k.opened(BTC, "sell", "0.004", reduce_only=True), "0.004")
    assert legs(k, older) == [("sl", "0.006"), ("tp", "0.006")]
    assert legs(k, newer) == [("sl", "0.01"), ("tp", "0.01")]

    k.fill(leg(k, newer, Kind.STOP), "0.01", "60000")
    k.fill(k.opened(EURO, "sell", "0.006", reduce_only=True), "0.006")
    gone = [
        leg(k, parent, kind).cancel_state for parent in (older, newer) for kind in (Kind.TARGET,)
    ]
    assert gone == [Asked.REQUESTED] * 2
    assert k.replayed().digest() == k.engine.digest()


def test_a_restart_fits_the_legs_of_one_holding_once() -> None:
    k = two_markets()
    parents = [bracket(k, symbol, amount="0.01") for symbol in (EURO, BTC)]
    k.engine._state.ever_ready = False
    for parent in parents:
        k.ts += 1
        k.fill(parent, "0.01")
    assert legs(k, parents[0]) == []

    effects = k.post(Ready(venue="paper", ready=True, reason="reconciled", ts=k.ts))

    assert len(of(effects, PlaceNext)) == 4
    assert [legs(k, parent) for parent in parents] == [[("sl", "0.01"), ("tp", "0.01")]] * 2


def test_a_bracket_that_comes_later_protects_what_the_other_market_leaves() -> None:
    k = two_markets()
    bare = k.opened(BTC, "buy", "0.01", price="64000")
    k.fill(bare, "0.01")
    parent = bracket(k, EURO, amount="0.01")
    k.fill(parent, "0.01")
    k.fill(k.opened(BTC, "sell", "0.004", reduce_only=True), "0.004")
    assert legs(k, parent) == [("sl", "0.01"), ("tp", "0.01")]

    amend(k, bare, stop_loss=STOP)

    assert legs(k, bare) == [("sl", "0.006")]


def test_what_is_left_of_a_bots_flattening_is_the_bots_own() -> None:
    """Found in review: the rest was closed to the last coin, and so were the coins of everybody else."""
    k = kit(USDT="100000", BTC="0.003")
    parent = bracket(k, BTC, amount="0.01", bot_id="b")
    k.fill(parent, "0.01")
    k.balance("BTC", "0.003", "0.01")
    closing = k.place(BTC, "sell", "0.01", source="flatten", bot_id="b", reduce_only=True)
    stop, target = (leg(k, parent, kind) for kind in Kind)
    k.fill(stop, "0.006", "60000")
    k.seen(stop, Status.CANCELED, "0.006")
    k.seen(target, Status.CANCELED)
    with pytest.raises(Refused) as caught:
        leaves(k, closing)

    told = withhold(k, closing, caught.value)

    (rest,) = [one.place.order for one in told if isinstance(one, PlaceNext)]
    assert (rest.source, rest.bot_id, rest.amount) == ("flatten", "b", D("0.004"))
    again = k.order(rest.id)
    k.fill(stop, "0.004", "60000", trade_id="late")
    refused = Refused(Code.RISK_REJECTED, "nothing is left of them")
    assert not of(withhold(k, again, refused), PlaceNext)


def test_what_a_bot_closes_itself_its_legs_protect_no_more() -> None:
    """Found in review: they stayed while the account had other coins, and would have sold those."""
    k = kit(USDT="100000", BTC="0.1")
    mine = bracket(k, BTC, amount="0.02", bot_id=None)
    k.fill(mine, "0.02")
    parent = bracket(k, BTC, amount="0.01", bot_id="b")
    k.fill(parent, "0.01")
    k.balance("BTC", "0.1", "0.03")

    part = k.opened(BTC, "sell", "0.004", bot_id="b")
    k.fill(part, "0.004")
    assert legs(k, parent) == [("sl", "0.006"), ("tp", "0.006")]
    rest = k.opened(BTC, "sell", "0.006", bot_id="b")
    k.fill(rest, "0.006")

    assert len(of(k.effects, CancelAtVenue)) == 2
    for kind in Kind:
        k.seen(leg(k, parent, kind), Status.CANCELED)
    assert legs(k, parent) == []
    assert legs(k, mine) == [("sl", "0.02"), ("tp", "0.02")]
    assert k.replayed().digest() == k.engine.digest()


def test_legs_that_had_not_left_make_way_and_come_back_at_once() -> None:
    """Found in review: an alarm said that the venue had ended them, and nothing protected for a second."""
    k = kit()
    k.leaving = False
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0", "0")
    before = [leg(k, parent, kind).id for kind in Kind]

    k.place(BTC, "sell", "0.004", reduce_only=True)

    assert [k.order(one).status for one in before] == [Status.CANCELED] * 2
    assert legs(k, parent) == [("sl", "0.006"), ("tp", "0.006")]
    assert not of(k.tick(2), Alert)
    assert k.replayed().digest() == k.engine.digest()


def test_a_flattening_closes_what_rows_show_as_left_before_any_fill_does() -> None:
    """trading:K7."""
    k, parent, closing = waiting_exit(source="flatten")
    stop, target = (leg(k, parent, kind) for kind in Kind)
    entry = k.opened(BTC, "buy", "0.01", price="63000")
    k.seen(stop, Status.CANCELED, "0.006")
    k.seen(target, Status.CANCELED)
    k.seen(entry, Status.OPEN, "0.001")
    with pytest.raises(Refused) as caught:
        leaves(k, closing)

    told = withhold(k, closing, caught.value)

    (rest,) = [one.place.order for one in told if isinstance(one, PlaceNext)]
    assert rest.amount == D("0.004")

    k, parent, closing = waiting_exit(source="flatten")
    k.seen(leg(k, parent, Kind.STOP), Status.FILLED, "0.01")
    with pytest.raises(Refused) as caught:
        leaves(k, closing)
    assert not of(withhold(k, closing, caught.value), PlaceNext)


def test_what_another_exit_has_sold_counts_once_for_the_one_that_waits() -> None:
    k, parent = waiting_exit()[:2]
    k.post(Cancel(order_id="o-2", who=WHO, ts=k.ts))
    one, other = (k.place(BTC, "sell", "0.005") for _ in range(2))
    for kind in Kind:
        k.seen(leg(k, parent, kind), Status.CANCELED)
    leaves(k, one)
    k.seen(k.accept(one), Status.FILLED, "0.005")

    leaves(k, other)

    assert other.id in k.engine._state.released


def test_a_leg_that_goes_out_at_the_market_and_waited_counts_what_the_other_one_sold() -> None:
    k, parent = mixed()
    k.tick(1)
    (submit,) = of(last(k, "70000"), Submit)
    assert isinstance(submit, Submit)
    other = bracket(k, BTC, amount="0.01")
    k.fill(other, "0.01")
    k.accept(leg(k, other, Kind.STOP))
    k.seen(leg(k, other, Kind.STOP), Status.OPEN, "0.004")  # of the coins of its own parent
    leaves(k, submit.approved.order)
    k.engine._state.released.discard(submit.approved.order.id)
    k.seen(leg(k, parent, Kind.STOP), Status.CANCELED, "0.004")

    with pytest.raises(Refused, match=r"only 0\.006 BTC are left"):
        leaves(k, submit.approved.order)


def test_what_an_entry_has_sold_counts_for_an_exit_that_waits() -> None:
    k, _, closing = waiting_exit()
    k.balance("BTC", "0.02")
    entry = k.opened(BTC, "sell", "0.01", price="66000")
    assert entry.role is Role.ENTRY
    k.seen(entry, Status.OPEN, "0.004")

    with pytest.raises(Refused, match=r"only 0\.006 BTC are left"):
        leaves(k, closing)


def test_what_a_leg_has_sold_is_none_of_an_exit_that_left_its_coins_alone() -> None:
    k = LegKit(replace(OFF, self_trade=True))
    k.open(USDT="100000", BTC="0.01")
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.opened(BTC, "buy", "0.01", price="63900")
    selling = k.place(BTC, "sell", "0.01", price="63900")
    (submit,) = of(k.effects, Submit)
    assert isinstance(submit, Submit)
    assert submit.approved.after
    k.seen(leg(k, parent, Kind.STOP), Status.OPEN, "0.004")

    leaves(k, selling)

    assert selling.id in k.engine._state.released


@pytest.mark.parametrize("symbol", [PERP, BTC])
def test_stop_and_target_that_we_watch_are_not_both_on_their_way_out(symbol: str) -> None:
    """trading:B2, B4: each would close all of it, and the second one something else."""
    amount = "10" if symbol == PERP else "0.01"
    k = kit(USDT="100000", BTC="1")
    k.accepting = False
    parent = bracket(k, symbol, amount=amount)
    k.fill(parent, amount)
    for _ in range(3):
        for kind in Kind:
            reject(k, leg(k, parent, kind))
        k.tick(1)

    def trade(price: str) -> list[Effect]:
        return k.post(
            Trade(id="t", symbol=symbol, side="buy", price=price, amount="1", ts=k.ts, recv_ts=k.ts)
        )

    assert of(trade("70000"), PlaceNext)
    target = leg(k, parent, Kind.TARGET)
    assert not of(k.tick(20), PlaceNext)
    k.post(Unknown(order_id=target.id, command="m", ts=k.ts))

    assert not of(trade("60000"), PlaceNext)

    k.seen(target, Status.CANCELED)
    # Nor at one price, where both are reached.
    k.engine._applier.legs._watch(parent, Kind.TARGET, Trigger(price=D(59000)))
    assert len(of(trade("60000"), PlaceNext)) == 1
    assert legs(k, parent) == [("sl", amount)]


def test_a_leg_that_has_sold_a_part_keeps_the_rest_before_the_fill_comes() -> None:
    """trading:B2. The other one shrinks as soon as the row shows it."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    stop, target = (leg(k, parent, kind) for kind in Kind)

    told = k.seen(stop, Status.OPEN, "4")

    amends = {(e.amend.order_id, e.amend.amount) for e in told if isinstance(e, AmendNext)}
    assert amends == {(target.id, D(6))}
    assert not of(k.fill(stop, "4", "60000"), AmendNext)
    assert legs(k, parent) == [("sl", "6"), ("tp", "6")]


def test_an_exit_does_not_leave_when_a_row_shows_its_coins_sold_before_any_fill_does() -> None:
    k, parent, closing = waiting_exit()
    entry = k.opened(BTC, "buy", "0.01", price="63000")
    other = k.opened(ETH, "buy", "1", price="2900")
    sold = k.bought(ETH, "buy", "1", "3000")
    selling = k.opened(ETH, "sell", "1", price="3100")
    for one, amount in ((entry, "0.001"), (other, "0.5"), (selling, "0.5")):
        k.seen(one, Status.OPEN, amount)  # what is bought or of other coins does not count
    assert sold.filled == 1
    leaves(k, closing)
    k.engine._state.released.discard(closing.id)
    k.seen(leg(k, parent, Kind.STOP), Status.FILLED, "0.01")

    with pytest.raises(Refused, match="nothing is left"):
        leaves(k, closing)


def test_an_exit_that_has_waited_in_vain_leaves_whole() -> None:
    """Nobody knows whether the legs have ended; what they hold has not been sold."""
    k, _, closing = waiting_exit()

    leaves(k, closing)

    assert closing.id in k.engine._state.released


def test_legs_stay_where_a_market_exit_finds_free_coins() -> None:
    k = kit(USDT="100000", BTC="1")
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "1", "0.01")

    k.place(BTC, "sell", "0.01")

    assert not of(k.effects, CancelAtVenue)


@pytest.mark.parametrize(
    ("sold", "freed", "after"),
    [("0.01", 1, []), ("0.015", 2, ["0.005", "0.005"]), ("0.03", 3, [])],
)
def test_a_market_exit_frees_only_as_many_coins_as_it_needs(
    sold: str, freed: int, after: list[str]
) -> None:
    """trading:B9 trading:G8. The oldest brackets give way, the others are not touched."""
    k = kit()
    parents = [bracket(k, BTC, amount="0.01") for _ in range(4)]
    for parent in parents:
        k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.04")
    before = [[leg(k, parent, kind) for kind in Kind] for parent in parents]

    closing = k.place(BTC, "sell", sold)

    canceled = [one.order.id for one in k.effects if isinstance(one, CancelAtVenue)]
    assert canceled == [one.id for legs_of in before[:freed] for one in legs_of]
    k.release(closing)
    k.accept(closing)
    for one in (one for legs_of in before[:freed] for one in legs_of):
        k.seen(one, Status.CANCELED)
    k.balance("BTC", sold, plain(D("0.04") - D(sold)))
    k.fill(closing, sold)

    assert [[leg(k, parent, kind) for kind in Kind] for parent in parents[freed:]] == before[freed:]
    left = [found for parent in parents[:freed] for found in legs(k, parent)]
    assert [amount for _, amount in left] == after


def test_a_second_market_exit_frees_what_the_first_has_not() -> None:
    """trading:G8 trading:R2."""
    k = kit()
    parents = [bracket(k, BTC, amount="0.01") for _ in range(3)]
    for parent in parents:
        k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.03")
    second_legs = [leg(k, parents[1], kind).id for kind in Kind]
    k.place(BTC, "sell", "0.01")
    k.place(BTC, "sell", "0.01")

    canceled = [one.order.id for one in k.effects if isinstance(one, CancelAtVenue)]
    assert canceled == second_legs


def test_a_leg_a_person_cancels_does_not_come_back_until_it_is_asked_for() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "4")
    stop = leg(k, parent, Kind.STOP)
    k.post(Cancel(order_id=stop.id, who=WHO, ts=k.ts))
    k.seen(stop, Status.CANCELED)

    k.fill(parent, "6")
    k.tick(5)
    assert legs(k, parent) == [("tp", "10")]

    amend(k, parent, stop_loss=Trigger(price=D(61000)))
    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]
    assert leg(k, parent, Kind.STOP).stop_price == D(61000)


def test_a_leg_a_person_cancels_before_it_has_left_does_not_come_back_either() -> None:
    k = kit()
    parent = bracket(k)
    Kit.fill(k, parent, "4")
    k2 = Kit().open()
    parent = bracket(k2)
    effects = k2.fill(parent, "4")
    for effect in of(effects, PlaceNext):
        assert isinstance(effect, PlaceNext)
        k2.post(effect.place)
    stop = leg(k2, parent, Kind.STOP)
    k2.post(Cancel(order_id=stop.id, who=WHO, ts=k2.ts))
    assert (k2.order(stop.id).status, of(k2.effects, PlaceNext)) == (Status.CANCELED, [])


def test_a_leg_withheld_at_the_door_is_missed_and_placed_again() -> None:
    k2 = Kit().open()
    parent = bracket(k2)
    [first, _] = of(k2.fill(parent, "4"), PlaceNext)
    assert isinstance(first, PlaceNext)
    k2.post(first.place)
    k2.post(
        Withheld(
            order_id=first.place.order.id,
            status=Status.REJECTED,
            code=Code.VENUE_UNAVAILABLE,
            reason="",
            ts=k2.ts,
        )
    )
    again = [effect.place.order.id for effect in k2.tick(1) if isinstance(effect, PlaceNext)]

    assert f"{parent.id}-sl2" in again


def amend(k: Kit, order: Order, **fields: object) -> None:
    full: dict[str, object] = {
        "amount": None,
        "price": None,
        "stop_price": None,
        "stop_loss": None,
        "take_profit": None,
        **fields,
    }
    k.post(Amend(order_id=order.id, who=WHO, ts=k.ts, **full))  # type: ignore[arg-type]


def test_moving_a_bracket_moves_its_legs_also_after_the_parent_has_filled() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")

    amend(k, parent, stop_loss=Trigger(price=D(62000)), take_profit=Trigger(price=D(71000)))

    assert leg(k, parent, Kind.STOP).stop_price == D(62000)
    assert leg(k, parent, Kind.TARGET).price == D(71000)
    assert k.order(parent.id).stop_loss == Trigger(price=D(62000))
    amend(k, parent, stop_loss=Trigger(price=D(62000)))
    assert k.effects == []


def test_a_bracket_for_an_order_that_has_filled_protects_what_it_brought_in() -> None:
    """It had neither stop nor target: until then nothing of it was counted."""
    k = kit()
    old = bracket(k)
    k.fill(old, "10")
    plain_entry = k.opened(PERP, "buy", "6", price="64000")
    k.fill(plain_entry, "6")
    k.fill(k.opened(PERP, "sell", "2", reduce_only=True), "2")
    assert legs(k, old) == [("sl", "10"), ("tp", "10")]

    amend(k, plain_entry, stop_loss=STOP, take_profit=TARGET)

    assert legs(k, plain_entry) == [("sl", "4"), ("tp", "4")]
    assert legs(k, old) == [("sl", "10"), ("tp", "10")]
    assert leg(k, plain_entry, Kind.STOP).oco_group == leg(k, plain_entry, Kind.TARGET).oco_group


def test_a_bracket_given_late_leaves_a_base_fee_out_and_asks_for_something_held() -> None:
    k = kit()
    parent = k.opened(BTC, "buy", "0.01", price="64000")
    amend(k, parent, stop_loss=STOP)
    assert legs(k, parent) == []
    k.fill(parent, "0.01", fee="0.00001", fee_currency="BTC")
    k.balance("BTC", "0.00999")
    assert legs(k, parent) == [("sl", "0.00999")]
    late = k.opened(BTC, "buy", "0.01", price="64000")
    k.fill(late, "0.01", fee="0.00001", fee_currency="BTC")
    k.balance("BTC", "0.01998")

    amend(k, late, take_profit=TARGET)

    assert legs(k, late) == [("tp", "0.00999")]
    sold = k.opened(BTC, "sell", "0.001", price="64000")
    k.fill(sold, "0.001")
    with pytest.raises(Refused) as caught:
        amend(k, sold, stop_loss=Trigger(price=D(70000)))
    assert caught.value.code is Code.CONFLICT


def test_amending_the_parents_price_leaves_its_legs_alone() -> None:
    """trading:B9."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "4")
    before = legs(k, parent)

    amend(k, parent, price=D(63000))

    assert legs(k, parent) == before


def test_a_bracket_that_makes_no_sense_is_refused() -> None:
    k = kit()
    parent = bracket(k)
    with pytest.raises(Refused) as caught:
        amend(k, parent, stop_loss=Trigger(price=D(65000)))
    assert caught.value.code is Code.INVALID
    k.seen(parent, Status.CANCELED)
    with pytest.raises(Refused) as caught:
        amend(k, parent, stop_loss=Trigger(price=D(61000)))
    assert caught.value.code is Code.CONFLICT
    k.bought(PERP, "buy", "10", "64000")
    exit_order = k.opened(PERP, "sell", "1", price="65000", reduce_only=True)
    with pytest.raises(Refused) as caught:
        amend(k, exit_order, stop_loss=Trigger(price=D(61000)))
    assert caught.value.code is Code.CONFLICT


def test_a_leg_moved_by_itself_moves_what_its_parent_asks_for() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    stop, target = leg(k, parent, Kind.STOP), leg(k, parent, Kind.TARGET)
    amend(k, stop, stop_price=D(62000))
    k.post(
        AmendDone(
            order_id=stop.id, amount=None, price=None, stop_price=D(62000), method="native", ts=k.ts
        )
    )
    k.ts += 1
    k.seen(target, Status.OPEN, price=D(71000))

    now = k.order(parent.id)
    assert (now.stop_loss, now.take_profit) == (Trigger(price=D(62000)), Trigger(price=D(71000)))
    k.fill(k.opened(PERP, "sell", "5", reduce_only=True), "5")
    assert leg(k, parent, Kind.STOP).stop_price == D(62000)


def test_a_leg_that_cannot_be_amended_is_replaced() -> None:
    k = kit()
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    k.accepting = False
    closing = k.opened(PERP, "sell", "4", reduce_only=True)
    k.fill(closing, "4")
    stop = leg(k, parent, Kind.STOP)
    assert stop.amend_state is Asked.REQUESTED

    k.post(AmendFailed(order_id=stop.id, unknown=False, command=None, reason="no", ts=k.ts))
    assert leg(k, parent, Kind.STOP).cancel_state is Asked.REQUESTED
    k.accepting = True
    k.seen(stop, Status.CANCELED)

    assert legs(k, parent) == [("sl", "6")]
    assert leg(k, parent, Kind.STOP).id.endswith("sl2")


def test_a_leg_whose_amend_did_not_leave_is_amended_again() -> None:
    k = kit()
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    k.accepting = False
    k.fill(k.opened(PERP, "sell", "4", reduce_only=True), "4")
    stop = leg(k, parent, Kind.STOP)

    kept = AmendFailed(
        order_id=stop.id, unknown=False, command=None, reason="busy", sent=False, ts=k.ts
    )
    effects = k.post(kept)

    assert leg(k, parent, Kind.STOP).cancel_state is Asked.NONE
    assert [e.amend.amount for e in effects if isinstance(e, AmendNext)] == [6]


def test_a_leg_the_venue_ends_is_missed_after_a_second_and_placed_again() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    k.seen(leg(k, parent, Kind.STOP), Status.CANCELED)
    assert legs(k, parent) == [("tp", "10")]

    k.tick(1)

    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_a_leg_that_ended_because_its_position_did_is_not_missed() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    k.seen(leg(k, parent, Kind.STOP), Status.CANCELED)
    k.fill(leg(k, parent, Kind.TARGET), "10", "70000")

    assert not of(k.tick(2), Alert)
    assert legs(k, parent) == []


def test_a_leg_missed_but_dropped_or_alive_again_is_left_alone() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    stop = leg(k, parent, Kind.STOP)
    k.seen(stop, Status.CANCELED)
    k.ts += 1
    k.engine._applier.legs.lost[parent.id, Kind.TARGET] = k.ts
    k.seen(stop, Status.OPEN)

    assert "protection_degraded" not in [
        effect.code for effect in k.tick(2) if isinstance(effect, Alert)
    ]
    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_a_cancel_of_a_leg_that_fails_is_looked_into() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    closing = k.opened(PERP, "sell", "10", reduce_only=True)
    k.fill(closing, "10")
    stop = leg(k, parent, Kind.STOP)

    k.post(CancelFailed(order_id=stop.id, unknown=False, command=None, reason="?", ts=k.ts))

    assert k.order(stop.id).cancel_state is Asked.NONE


def test_coins_that_leave_take_their_protection_with_them() -> None:
    k = kit()
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.01")

    k.post(
        Transferred(
            venue="paper", currency="BTC", amount=D("-0.004"), kind="withdrawal", id="w", ts=k.ts
        )
    )

    assert legs(k, parent) == [("sl", "0.006"), ("tp", "0.006")]


def test_a_halt_keeps_legs_and_lets_new_ones_pass() -> None:
    """trading:3.4: a kill switch that disarms stop losses would raise risk."""
    k = kit()
    parent = bracket(k)
    k.post(SetState(scope="all", state=TradingState.HALTED, reason="drill", who=WHO, ts=k.ts))

    k.fill(parent, "10")

    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_the_row_of_a_position_tells_its_protection_truthfully() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    other = bracket(k, stop_loss=Trigger(price=D(61000)), take_profit=Trigger(price=D(69000)))
    k.fill(other, "5")

    marked = k.engine.mark_position(k.engine.positions[PERP])
    assert (marked.stop_loss, marked.take_profit) == (D(61000), D(69000))
    k.seen(leg(k, other, Kind.STOP), Status.CANCELED)
    assert k.engine.mark_position(k.engine.positions[PERP]).stop_loss == D(60000)


def test_a_shorts_protection_is_told_by_its_nearest_prices() -> None:
    k = kit()
    for stop, target in ((70000, 60000), (69000, 61000)):
        parent = bracket(
            k, side="sell", stop_loss=Trigger(price=D(stop)), take_profit=Trigger(price=D(target))
        )
        k.fill(parent, "5")

    marked = k.engine.mark_position(k.engine.positions[PERP])
    assert (marked.stop_loss, marked.take_profit) == (D(69000), D(61000))
    assert k.engine.value(k.ts).positions[0] == marked


def test_after_a_restart_legs_are_made_to_fit_once_the_account_is_ready() -> None:
    """trading:B7."""
    k = kit()
    parent = bracket(k)
    k.fill(parent, "4")
    k.engine = k.replayed()
    k.prices()
    k.balance("USDT", "100000")
    k.fill(parent, "6")
    assert legs(k, parent) == [("sl", "4"), ("tp", "4")]

    k.post(Ready(venue="paper", ready=True, reason="", ts=k.ts))

    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_a_parent_may_ask_for_a_target_alone() -> None:
    k = kit()
    parent = bracket(k, stop_loss=None)
    k.fill(parent, "10")

    assert legs(k, parent) == [("tp", "10")]


def test_placing_a_leg_twice_is_one_order() -> None:
    """trading:B3."""
    k = Kit().open()
    parent = bracket(k)
    [stop, _] = of(k.fill(parent, "10"), PlaceNext)
    assert isinstance(stop, PlaceNext)
    assert isinstance(stop.place, Place)
    k.post(stop.place)

    assert [type(effect).__name__ for effect in k.post(stop.place)] == ["Duplicate"]
