"""What happened to stops and targets while nobody watched (trading B6, B7): told, never guessed."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.legs import Kind
from realtime.engine.matching.orders import Working, working
from realtime.engine.matching.pit import trail as venue_trail
from realtime.model.events import (
    Alert,
    BracketSet,
    Cancel,
    Effect,
    Gap,
    PlaceNext,
    Ready,
    Record,
    Trailed,
    Unknown,
)
from realtime.model.market import SECOND, Bar, Stale, Trade
from realtime.model.orders import Order, OrderType, Status, Trigger, TriggerBy
from tests.engine.kit import PERP, WHO, D, Kit
from tests.engine.test_legs import LegKit, bracket, kit, leg, legs, reject


MINUTE = 60 * SECOND
STOP, TARGET = Trigger(price=D(60000)), Trigger(price=D(70000))

# (kind, side): stop or target, a price through it, one that is not.
SIDES = {
    "long stop": (Kind.STOP, "buy", "59999", "64000"),
    "long target": (Kind.TARGET, "buy", "70001", "64000"),
    "short stop": (Kind.STOP, "sell", "70001", "64000"),
    "short target": (Kind.TARGET, "sell", "59999", "64000"),
}


def unheld(kind: Kind = Kind.STOP, side: str = "buy", **fields: object) -> tuple[LegKit, Order]:
    """A filled parent whose one leg the venue has refused until we watch its price ourselves."""
    k = kit()
    k.accepting = False
    low, high = STOP, TARGET
    stop, target = (low, high) if side == "buy" else (high, low)
    given: dict[str, object] = {
        "stop_loss": stop if kind is Kind.STOP else None,
        "take_profit": target if kind is Kind.TARGET else None,
    }
    parent = bracket(k, side=side, **(given | fields))  # type: ignore[arg-type]
    k.fill(parent, "10")
    for _ in range(3):
        reject(k, leg(k, parent, kind))
        k.tick(1)
    assert legs(k, parent) == []
    return k, parent


def down(k: LegKit, minutes: int = 10) -> int:
    """Let the process die, and begin another one later; its last word was now."""
    since = k.ts
    k.engine = k.replayed()
    k.ts += minutes * MINUTE
    return since


def up(k: LegKit, price: str | None = "64000") -> None:
    """Let it know prices and money again."""
    if price is not None:
        k.prices(btc=price)
    k.balance("USDT", "100000")


def bars(since: int, *rows: tuple[str, str]) -> tuple[Bar, ...]:
    """One bar for each minute from the first whole one on: low and high; each closes at its low."""
    first = -(-since // MINUTE) * MINUTE
    return tuple(
        Bar(first + number * MINUTE, high, high, low, low, "1")
        for number, (low, high) in enumerate(rows)
    )


def ready(k: LegKit) -> list[Effect]:
    told = list(k.post(Ready(venue="paper", ready=True, reason="", ts=k.ts)))
    return told + list(k.tick())


def gap(k: LegKit, since: int, told: Sequence[Bar], **fields: object) -> list[Effect]:
    """Tell of a gap; no order comes of it."""
    made = Gap(symbol=PERP, by=TriggerBy.LAST, since=since, bars=tuple(told), ts=k.ts)
    effects = k.post(replace(made, **fields))  # type: ignore[arg-type]
    assert all(isinstance(effect, Alert | Record) for effect in effects)
    assert all(isinstance(e.fact, Trailed) for e in effects if isinstance(e, Record))
    return effects


def codes(effects: Sequence[Effect]) -> list[str]:
    return [effect.code for effect in effects if isinstance(effect, Alert)]


def trade(k: Kit, price: str) -> list[Effect]:
    return k.post(
        Trade(
            id=f"t-{k.ts}", symbol=PERP, side="sell", price=price, amount="1", ts=k.ts, recv_ts=k.ts
        )
    )


def placed(effects: Sequence[Effect]) -> list[OrderType]:
    return [effect.place.order.type for effect in effects if isinstance(effect, PlaceNext)]


@pytest.mark.parametrize(("kind", "side", "through", "back"), SIDES.values(), ids=SIDES)
def test_what_was_met_in_the_gap_and_is_not_any_more_is_told_and_does_not_fire(
    kind: Kind, side: str, through: str, back: str
) -> None:
    """trading:B7."""
    k, parent = unheld(kind, side)
    since = down(k)
    up(k, back)

    told = gap(k, since, bars(since, (back, back), (through, through), (back, back)))

    assert codes(told) == ["protection_missed"]
    (alert,) = [effect for effect in told if isinstance(effect, Alert)]
    price = "60000" if through == "59999" else "70000"
    assert (alert.level, alert.data["order_id"], alert.data["price"]) == (
        "critical",
        parent.id,
        price,
    )
    assert alert.data["since"] == since // 1_000_000
    assert placed(ready(k)) == []
    assert placed(trade(k, back)) == []
    assert legs(k, parent) == []
    # It goes on: we watch it still.
    assert placed(trade(k, through)) == [OrderType.MARKET]


@pytest.mark.parametrize(("kind", "side", "through", "back"), SIDES.values(), ids=SIDES)
def test_what_holds_now_fires_at_once_and_once(
    kind: Kind, side: str, through: str, back: str
) -> None:
    """trading:B7."""
    k, parent = unheld(kind, side)
    since = down(k)
    up(k, through)

    told = gap(k, since, bars(since, (back, back), (through, through)))

    assert codes(told) == []
    fired = [one for one in ready(k) if isinstance(one, PlaceNext)]
    assert [(one.place.order.type, one.place.order.amount) for one in fired] == [
        (OrderType.MARKET, D(10))
    ]
    assert placed(trade(k, through)) == []
    assert [amount for _, amount in legs(k, parent)] == ["10"]


def test_a_gap_in_which_nothing_was_met_says_nothing() -> None:
    k, parent = unheld()
    since = down(k)
    up(k)

    assert gap(k, since, bars(since, ("60000.1", "64000"), ("63000", "69000"))) == []
    assert codes(ready(k)) == ["protection_degraded"]
    assert legs(k, parent) == []


@pytest.mark.parametrize(
    ("rows", "price", "expected"),
    [
        ([], "64000", ["protection_unknown"]),
        ([("61000", "62000")], "64000", ["protection_unknown"]),
        ([("59000", "62000")], "64000", ["protection_missed"]),
        ([], "59000", []),
        ([], None, ["protection_unknown"]),
    ],
    ids=["nothing told", "not met as far as told", "met all the same", "holds now", "no price"],
)
def test_a_gap_that_is_not_known_whole_is_told_unless_what_is_known_is_enough(
    rows: list[tuple[str, str]], price: str | None, expected: list[str]
) -> None:
    """trading:B7: nobody guesses."""
    k, parent = unheld()
    since = down(k)
    up(k, price)

    told = gap(k, since, bars(since, *rows), whole=False, why="the venue has no bars")

    assert codes(told) == expected
    for alert in told:
        assert isinstance(alert, Alert)
        if alert.code == "protection_unknown":
            assert alert.data["legs"] == [f"stop_loss of {parent.client_order_id}"]
            assert alert.data["reason"] == "the venue has no bars"


def test_a_bar_of_before_proves_nothing() -> None:
    """Neither one in which somebody watched still, nor one of before the order filled."""
    k, _ = unheld()
    k.ts += SECOND
    since = down(k)
    up(k)
    early = Bar(since // MINUTE * MINUTE, "64000", "64000", "59000", "64000", "1")

    assert codes(gap(k, since, [early, *bars(since, ("63000", "64000"))])) == []

    k = kit()
    parent = bracket(k, take_profit=None)
    since = down(k)
    up(k)
    k.fill(parent, "10")  # the venue tells of it while we get ready
    k.ts += 3 * MINUTE
    low, high = ("59000", "64000"), ("63000", "64000")
    assert codes(gap(k, since, bars(since, low, low, high, high))) == []
    assert codes(gap(k, since, bars(k.ts - 2 * MINUTE, low, high))) == ["protection_missed"]


def test_legs_that_the_venue_holds_are_its_own_to_watch_unless_it_slept_too() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    since = down(k)
    up(k)
    rows = bars(since, ("59000", "64000"), ("63000", "71000"))
    assert k.engine.unwatched(slept=False) == []
    assert k.engine.unwatched(slept=True) == [(PERP, TriggerBy.LAST)]

    assert gap(k, since, rows) == []
    assert codes(gap(k, since, rows, slept=True)) == ["protection_missed"] * 2
    assert placed(ready(k)) == []
    assert legs(k, parent) == [("sl", "10"), ("tp", "10")]


def test_a_leg_of_which_nobody_knows_and_one_that_a_person_cancelled_are_not_judged() -> None:
    k = kit()
    k.accepting = False
    parent = bracket(k)
    k.fill(parent, "10")
    k.post(Unknown(order_id=leg(k, parent, Kind.STOP).id, command="m", ts=k.ts))
    target = leg(k, parent, Kind.TARGET)
    k.post(Cancel(order_id=target.id, who=WHO, ts=k.ts))
    k.seen(target, Status.CANCELED)
    since = down(k)
    up(k)

    assert k.engine.unwatched(slept=True) == []
    assert gap(k, since, bars(since, ("59000", "71000")), slept=True) == []


def test_what_was_never_protected_and_prices_that_do_not_count_are_left_alone() -> None:
    def protects() -> bool:
        return k.engine.protects

    k = kit()
    assert not protects()
    resting = bracket(k)
    assert protects()  # when it fills
    k.seen(resting, Status.CANCELED)
    assert not protects()
    k, _ = unheld()
    since = down(k)
    up(k)
    assert protects()
    rows = bars(since, ("59000", "64000"))

    assert gap(k, since, rows, by=TriggerBy.MARK) == []
    assert gap(k, since, rows, symbol="BTC/USDT") == []


def test_what_was_closed_is_not_protected_any_more() -> None:
    k = kit()
    parent = bracket(k)
    k.fill(parent, "10")
    k.fill(k.opened(PERP, "sell", "10", reduce_only=True), "10")
    since = down(k)
    up(k)

    assert not k.engine.protects
    assert gap(k, since, bars(since, ("59000", "71000")), slept=True) == []


def test_dust_that_a_leg_has_left_is_nothing_that_could_have_been_sold() -> None:
    k = kit()
    parent = bracket(k, "BTC/USDT", amount="0.01")
    k.fill(parent, "0.01", fee="0.000012", fee_currency="BTC")
    k.fill(leg(k, parent, Kind.TARGET), "0.00998", "70000")
    k.seen(leg(k, parent, Kind.STOP), Status.CANCELED)
    assert k.engine._applier.legs.protected["BTC/USDT"] == {parent.id: D("0.000008")}
    since = down(k)
    up(k)

    assert k.engine.unwatched(slept=True) == []
    told = gap(k, since, bars(since, ("59000", "71000")), slept=True, symbol="BTC/USDT")
    assert codes(told) == []


def test_a_leg_that_the_venue_ended_in_the_gap_may_have_been_in_place() -> None:
    """It is not told as missed, because until its end the venue watched it."""
    k = kit()
    parent = bracket(k, take_profit=None)
    k.fill(parent, "10")
    since = down(k)
    up(k)
    k.seen(leg(k, parent, Kind.STOP), Status.CANCELED)

    (alert,) = gap(k, since, bars(since, ("59000", "64000")))

    assert isinstance(alert, Alert)
    assert alert.code == "protection_unknown"
    assert "the venue ended it" in alert.text
    ready(k)
    k.tick(1)
    assert legs(k, parent) == [("sl", "10")]


@pytest.mark.parametrize("silent", [False, True])
def test_before_any_price_is_told_what_the_newest_bar_closed_at_counts(*, silent: bool) -> None:
    k, _ = unheld()
    since = down(k)
    up(k, "59000" if silent else None)
    if silent:
        k.post(Stale(venue="paper", symbol=PERP, stale=True, cause="silent", asof=k.ts))

    back = bars(since, ("59000", "64000"), ("63000", "64000"))
    through = bars(since, ("63000", "64000"), ("59000", "64000"))

    assert codes(gap(k, since, back)) == ["protection_missed"]
    assert codes(gap(k, since, through)) == []


def test_a_bar_of_long_ago_does_not_tell_the_price_of_now() -> None:
    """Whether it holds still nobody knows: it is neither left to fire without a word, nor told as missed."""
    k, _ = unheld()
    since = down(k, 120)
    up(k, None)
    through = bars(since, ("63000", "64000"), ("59000", "64000"))

    told = gap(k, since, through, whole=False, why="the venue's bars end too early")

    assert codes(told) == ["protection_unknown"]


def test_nothing_is_watched_again_before_the_account_is_reconciled() -> None:
    """What would fire then would be refused, and gone."""
    k, _ = unheld()
    down(k)
    up(k, "59000")

    assert k.tick(5) == []
    assert placed(trade(k, "59000")) == []
    assert placed(ready(k)) == [OrderType.MARKET]


# --- trailing stops ----------------------------------------------------------------------------


TRAILING = {
    "long by distance": ("buy", {"trailing_amount": "1000"}, 1),
    "long by rate": ("buy", {"trailing_stop": "0.015625"}, 1),
    "short by distance": ("sell", {"trailing_amount": "1000"}, -1),
    "short by rate": ("sell", {"trailing_stop": "0.015625"}, -1),
}


def price(sign: int, above: int) -> str:
    """64000 and so much in favour."""
    return str(64000 + sign * above)


def trailing(side: str = "buy", **fields: object) -> tuple[LegKit, Order]:
    fields = fields or {"trailing_amount": "1000"}
    return unheld(side=side, stop_loss=None, take_profit=None, **fields)  # type: ignore[arg-type]


def marks(effects: Sequence[Effect]) -> list[str]:
    facts = [effect.fact for effect in effects if isinstance(effect, Record)]
    return [str(fact.price) for fact in facts if isinstance(fact, Trailed)]


@pytest.mark.parametrize(("side", "fields", "sign"), TRAILING.values(), ids=TRAILING)
def test_a_trailing_stop_that_we_watch_follows_the_price_in_favour_only(
    side: str, fields: dict[str, object], sign: int
) -> None:
    """trading:B6."""
    k, parent = trailing(side, **fields)
    trade(k, price(sign, 0))  # the first price that is seen
    k.ts += SECOND
    assert marks(trade(k, price(sign, 500))) == [price(sign, 500)]
    assert marks(trade(k, price(sign, 2000))) == []  # journaled at most once a second
    assert marks(trade(k, price(sign, 1500))) == []
    k.ts += SECOND
    assert marks(trade(k, price(sign, 1400))) == [price(sign, 2000)]
    k.ts += SECOND
    assert marks(trade(k, price(sign, 1300))) == []
    assert k.replayed().digest() == k.engine.digest()

    fired = trade(k, price(sign, 900))

    assert placed(fired) == [OrderType.MARKET]
    (one,) = legs(k, parent)
    assert one == ("sl", "10")
    stop = leg(k, parent, Kind.STOP)
    assert (stop.trailing_amount, stop.trailing_rate) == (None, None)


def test_a_watermark_is_journaled_when_its_stop_fires() -> None:
    """trading:B6."""
    k, _ = trailing()
    trade(k, "64000")
    assert marks(trade(k, "66000")) == []

    told = trade(k, "65000")

    assert marks(told) == ["66000"]
    assert placed(told) == [OrderType.MARKET]
    assert k.replayed().digest() == k.engine.digest()


@pytest.mark.parametrize(("side", "fields", "sign"), TRAILING.values(), ids=TRAILING)
def test_the_watermark_catches_up_with_the_gap(
    side: str, fields: dict[str, object], sign: int
) -> None:
    """trading:B7."""
    k, parent = trailing(side, **fields)
    trade(k, price(sign, 0))
    since = down(k)
    up(k, price(sign, 1500))
    row = tuple(sorted((price(sign, 1100), price(sign, 2000))))

    told = gap(k, since, bars(since, row))  # type: ignore[arg-type]

    # Whether 1,100 came before 2,000 nobody knows.
    assert (codes(told), marks(told)) == ([], [price(sign, 2000)])
    assert k.replayed().digest() == k.engine.digest()
    assert placed(ready(k)) == []
    assert placed(trade(k, price(sign, 1100))) == []
    assert placed(trade(k, price(sign, 950))) == [OrderType.MARKET]
    assert [amount for _, amount in legs(k, parent)] == ["10"]


def test_a_trailing_stop_that_was_met_for_certain_is_told_and_goes_on() -> None:
    """trading:B7."""
    k, parent = trailing()
    trade(k, "64000")
    since = down(k)
    up(k, "65500")

    told = gap(k, since, bars(since, ("65000", "66000"), ("64900", "65100"), ("65000", "65500")))

    assert (codes(told), marks(told)) == (["protection_missed"], ["66000"])
    assert placed(ready(k)) == []
    assert legs(k, parent) == []


def test_a_trailing_stop_whose_watermark_the_gap_has_raised_fires_if_it_holds_now() -> None:
    """trading:B7: whether or not it was watched before."""
    k, _ = trailing()
    trade(k, "64000")
    since = down(k)
    up(k, "64900")
    assert codes(gap(k, since, bars(since, ("65000", "66000"), ("64900", "65100")))) == []
    assert placed(ready(k)) == [OrderType.MARKET]

    k = kit()
    parent = bracket(k, stop_loss=None, take_profit=None, trailing_amount="1000")
    since = down(k)
    up(k, "64900")
    k.fill(parent, "10")  # while we were down, and nobody held its stop
    k.ts += 3 * MINUTE
    gap(k, since, bars(k.ts - 2 * MINUTE, ("65000", "66000"), ("64900", "65100")))
    assert placed(ready(k))[0] is OrderType.MARKET


def test_a_trailing_stop_that_nothing_is_known_of_begins_with_the_first_price() -> None:
    k = kit()
    k.accepting = False
    parent = bracket(k, stop_loss=None, take_profit=None, trailing_amount="1000")
    since = down(k)
    k.balance("USDT", "100000")
    k.fill(parent, "10")

    assert gap(k, since, ()) == []
    ready(k)
    for _ in range(3):
        reject(k, leg(k, parent, Kind.STOP))
        k.tick(1)
    assert k.engine._applier.legs.watermarks == {}
    assert marks(trade(k, "61000")) == ["61000"]
    assert placed(trade(k, "60000")) == [OrderType.MARKET]


def test_a_trailing_stop_without_bars_is_not_known_and_keeps_its_watermark() -> None:
    k, parent = trailing()
    since = down(k)
    up(k)
    assert gap(k, since, ()) == []
    assert codes(gap(k, since, (), whole=False, why="no")) == ["protection_unknown"]
    ready(k)
    trade(k, "65000")
    since = down(k)
    up(k, "64500")

    assert gap(k, since, ()) == []
    assert placed(ready(k)) == []
    assert placed(trade(k, "64000")) == [OrderType.MARKET]
    assert legs(k, parent) == [("sl", "10")]


def test_what_is_protected_anew_has_no_watermark_of_before() -> None:
    k, parent = trailing()
    trade(k, "66000")
    other = k.opened(PERP, "sell", "10", reduce_only=True)
    k.fill(other, "10")
    k.fill(parent, "2")  # late, and a position again
    trade(k, "64000")

    assert k.engine._applier.legs.watermarks.get(parent.id, (D(64000), 0))[0] == D(64000)
    assert k.replayed().digest() == k.engine.digest()


def test_a_bracket_that_is_moved_takes_the_place_of_what_was_watched() -> None:
    k, parent = unheld()
    k.post(
        BracketSet(order_id=parent.id, stop_loss=Trigger(price=D(61000)), take_profit=None, ts=k.ts)
    )
    reject(k, leg(k, parent, Kind.STOP))
    since = down(k)
    up(k)

    told = gap(k, since, bars(since, ("60500", "64000")))

    (alert,) = [one for one in told if isinstance(one, Alert)]
    assert alert.data["price"] == "61000"


prices = st.integers(60_000, 68_000).map(str)
rows = st.lists(st.tuples(prices, prices).map(lambda p: tuple(sorted(p))), max_size=6)


@settings(max_examples=25, deadline=None)
@given(rows=rows, now=prices, sign=st.sampled_from([1, -1]), before=prices)
def test_a_gap_never_places_anything_raises_in_favour_alone_and_replays_to_the_same(
    rows: list[tuple[str, str]], now: str, sign: int, before: str
) -> None:
    k, parent = trailing("buy" if sign > 0 else "sell")
    k.ts += SECOND
    trade(k, before)
    fired = bool(legs(k, parent))
    since = down(k)
    up(k, now)

    told = gap(k, since, bars(since, *rows))

    assert k.replayed().digest() == k.engine.digest()
    if fired:
        return
    best = k.engine._applier.legs.watermarks[parent.id][0]
    tops = [D(high if sign > 0 else low) for low, high in rows]
    assert best == (max if sign > 0 else min)([D(64000), D(before), *tops])
    holds = (best - D(now)) * sign >= 1000
    assert not (holds and codes(told))
    # What the order of the bars proves is what a venue would have done, seeing the worst price of each first.
    work = _venues(sign, "64000", before)  # the first is the book's middle
    met = False
    for low, high in rows:
        worst, top = (D(low), D(high)) if sign > 0 else (D(high), D(low))
        assert work.stop_price is not None
        met = met or (worst - work.stop_price) * sign <= 0
        venue_trail(work, top, D("0.1"))
    assert codes(told) == (["protection_missed"] if met and not holds else [])
    assert placed(ready(k)) == ([OrderType.MARKET] if holds else [])


def _venues(sign: int, *seen: str) -> Working:
    """The same stop as an order of the paper exchange, which has seen these prices."""
    k = kit()
    side = "sell" if sign > 0 else "buy"
    order = k.draft(PERP, side, "1", type=OrderType.TRAILING_STOP, trailing_amount="1000")
    work = working(order, "x", "main", k.ts)
    for one in seen:
        venue_trail(work, D(one), D("0.1"))
    return work
