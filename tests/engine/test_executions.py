"""Executions that are told late, twice, or first as a guess: our books end as those of a venue that had them in order."""

from dataclasses import replace
from decimal import Decimal
from itertools import permutations

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.account import Account
from realtime.engine.executions import KEPT, Execution, Executions
from realtime.model.events import Filled, Transferred
from realtime.model.market import SECOND, ZERO
from realtime.model.orders import Side
from tests.engine.kit import BTC, MARKETS, ORDER, PERP, T0, D, Kit


def fill(number: int, change: Decimal, price: Decimal, fee: Decimal = ZERO) -> Filled:
    return Filled(
        venue="paper",
        symbol=PERP,
        trade_id=f"t-{number}",
        exchange_order_id="v-1",
        venue_client_id=None,
        side=Side.BUY if change > 0 else Side.SELL,
        amount=abs(change),
        price=price,
        fee=fee,
        fee_currency="USDT",
        maker=False,
        ts=T0 + number * SECOND,
    )


def together(fills: list[Filled]) -> list[Filled]:
    """The same, all in one moment."""
    return [replace(each, ts=T0) for each in fills]


def sums(account: Account, symbol: str = PERP) -> tuple[object, ...]:
    held = account.positions[symbol]
    return (
        dict(account.books),
        dict(account.day_realized),
        dict(account.day_fees),
        (held.amount, held.cost, held.realized_pnl, held.fees_paid),
    )


def booked(fills: list[Filled]) -> Account:
    account = Account("paper", MARKETS, "USDT")
    for each in fills:
        account.book(each, ORDER)
    return account


CHANGES = st.integers(-30, 30).filter(bool).map(D)
PRICES = st.integers(6_374_400, 6_425_600).map(lambda ticks: D(ticks) / 100)
TRADES = st.lists(st.tuples(CHANGES, PRICES), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(trades=TRADES, data=st.data())
def test_late_executions_come_to_what_they_come_to_in_order(
    trades: list[tuple[Decimal, Decimal]], data: st.DataObject
) -> None:
    """trading:2.5."""
    fills = [fill(n, change, price, D("0.4")) for n, (change, price) in enumerate(trades)]
    told = data.draw(st.permutations(fills))

    assert sums(booked(told)) == sums(booked(fills))


@settings(max_examples=150, deadline=None)
@given(trades=TRADES, data=st.data())
def test_executions_of_one_moment_come_to_what_they_come_to_in_order(
    trades: list[tuple[Decimal, Decimal]], data: st.DataObject
) -> None:
    """trading:2.5: an order that walks the book has many, and its venue numbers them."""
    # From 8 on: a number is not compared as a text.
    fills = together([fill(n, change, price) for n, (change, price) in enumerate(trades, 8)])
    told = data.draw(st.permutations(fills))

    assert sums(booked(told)) == sums(booked(fills))


@settings(max_examples=150, deadline=None)
@given(trades=TRADES, data=st.data())
def test_guesses_that_are_taken_back_leave_nothing_behind(
    trades: list[tuple[Decimal, Decimal]], data: st.DataObject
) -> None:
    """trading:2.5."""
    fills = [fill(n, change, price, D("0.4")) for n, (change, price) in enumerate(trades)]
    told = data.draw(st.permutations(fills))
    guessed = data.draw(st.sets(st.sampled_from(range(len(fills)))))
    account = Account("paper", MARKETS, "USDT")
    later = []
    for at, each in enumerate(told):
        if at not in guessed:
            account.book(each, ORDER)
            continue
        off = data.draw(PRICES)
        guess = replace(
            each,
            trade_id=f"inferred:{each.trade_id}",
            price=off,
            fee=ZERO,
            inferred=True,
            ts=T0 + data.draw(st.integers(0, 20)) * SECOND,
        )
        later.append((account.book(guess, ORDER).fill, each))
    for taken, real in later:
        account.unbook(taken)
        account.book(real, ORDER)

    assert sums(account) == sums(booked(fills))


def test_a_late_execution_of_a_swap_leaves_no_cash_that_no_fill_explains() -> None:
    """Seen in a storm: the venue had realized what our books, told of a sale first, had as cost."""
    fills = [
        fill(0, D("0.012"), D("64000")),
        fill(1, D("0.012"), D("64030")),
        fill(2, D("-0.012"), D("64050")),
    ]

    for told in permutations(fills):
        assert sums(booked(list(told))) == sums(booked(fills))


def test_a_flip_through_two_levels_told_in_the_wrong_order_leaves_no_cash_that_no_fill_explains() -> (
    None
):
    """Seen at the paper exchange: an event of two was lost, and was read behind the other one."""
    flip = [fill(0, D(10), D(64000)), fill(1, D(-15), D(63999)), fill(2, D(-15), D("63998.5"))]

    for told in permutations(together(flip)):
        assert sums(booked(list(told))) == sums(booked(flip))


def test_of_one_moment_those_without_a_common_number_stay_as_they_were_told() -> None:
    kept = Executions(ZERO, ZERO)
    late = [
        kept.add(Execution(name, D(1), D(10), ts))
        for name, ts in (
            ("t-7", 0),
            ("t-9", 1),
            ("inferred:b", 1),
            ("a-1", 1),
            ("t-10", 1),
            ("t-8", 1),
            ("inferred:a", 1),
        )
    ]

    assert [row.id for row in kept.rows] == [
        "t-7",
        "t-8",
        "t-9",
        "inferred:b",
        "a-1",
        "t-10",
        "inferred:a",
    ]
    assert late == [False, False, False, False, False, True, False]


@pytest.mark.parametrize(
    ("symbol", "currency", "fee"),
    [(PERP, "USDT", "0.4"), (BTC, "BTC", "0.0001"), (BTC, "USDT", "0.4")],
)
@pytest.mark.parametrize(
    "story",
    [
        ["~12", "12"],
        ["~12", "5", "7"],
        ["5", "~7", "7"],
        ["~5", "~7", "12"],
        ["~5", "~7", "6", "6"],
        ["12", "again"],
        ["~12", "12", "again"],
    ],
    ids=" ".join,
)
def test_real_fills_replace_inferred_ones_wholly(
    story: list[str], symbol: str, currency: str, fee: str
) -> None:
    """trading:2.5: cash, fees and position are those of the real fills alone."""

    def told(steps: list[str]) -> Kit:
        kit = Kit().open()
        unit = D(1) if symbol == PERP else D("0.001")
        order = kit.opened(symbol, "buy", str(12 * unit), price="64000")
        name, lots = "", ZERO
        for number, step in enumerate(steps):
            guess = step.startswith("~")
            if step != "again":
                name = f"t-{number}" if guess else f"r-{number}"
                lots = D(step.removeprefix("~")) * unit
            kit.post(
                Filled(
                    venue="paper",
                    symbol=symbol,
                    trade_id=name,
                    exchange_order_id=f"v-{order.id}",
                    venue_client_id=order.venue_client_id,
                    side=order.side,
                    amount=lots,
                    price=D("64010") if guess else D("63990"),
                    fee=ZERO if guess else D(fee) * lots,
                    fee_currency="USDT" if guess else currency,
                    maker=False,
                    inferred=guess,
                    ts=kit.ts,
                )
            )
        return kit

    mixed, real = told(story), told([step for step in story if not step.startswith("~")])

    for kit in (mixed, real):
        assert kit.replayed().digest() == kit.engine.digest()
    one, other = mixed.engine, real.engine
    assert sums(one._state.account, symbol) == sums(other._state.account, symbol)
    assert one.day == other.day
    orders = [engine.orders.get("o-1") for engine in (one, other)]
    assert orders[0] is not None
    assert orders[1] is not None
    assert replace(orders[0], version=orders[1].version) == orders[1]


def test_old_executions_are_summed_up_and_an_older_one_comes_first() -> None:
    kept = Executions(ZERO, ZERO)
    for number in range(2 * KEPT + 1):
        assert not kept.add(Execution(str(number), D(1), D(10), number))
    assert len(kept.rows) == KEPT
    assert kept.amount == KEPT + 1
    assert kept.cost == 10 * (KEPT + 1)

    assert kept.add(Execution("old", D(1), D(20), 0))

    assert kept.rows[0].id == "old"
    assert kept.come_to() == 10 * (2 * KEPT + 1) + 20
    assert kept.remove("old")
    assert not kept.remove("old")


def test_what_is_late_to_an_unknown_cost_moves_nothing_else() -> None:
    account = Account("paper", MARKETS, "USDT")
    opening = Transferred(
        venue="paper", currency="USDT", amount=D(2), kind="position", symbol=PERP, id="p", ts=T0
    )
    account.transfer(opening)
    account.book(fill(2, D(-2), D(64000)), ORDER)
    account.book(fill(3, D(1), D(64000)), ORDER)

    account.book(fill(1, D(1), D(63000)), ORDER)

    assert account.positions[PERP].cost == 1270
    assert not account.books["USDT"]


def test_an_unknown_cost_stays_unknown_and_moves_nothing() -> None:
    account = Account("paper", MARKETS, "USDT")
    opening = Transferred(
        venue="paper",
        currency="USDT",
        amount=D("0.02"),
        kind="position",
        symbol=PERP,
        id="p",
        ts=T0,
    )
    account.transfer(opening)
    account.book(fill(2, D("0.01"), D(64000)), ORDER)
    guess = replace(fill(3, D("0.01"), D(64100)), inferred=True)
    taken = account.book(guess, ORDER).fill
    account.book(fill(1, D("0.01"), D(63000)), ORDER)

    account.unbook(taken)

    assert account.positions[PERP].cost is None
    assert not account.books["USDT"]
    assert [row.id for row in account._executions[PERP].rows] == ["t-1", "t-2"]


def test_a_guess_from_before_a_correction_is_taken_back_as_it_was_booked() -> None:
    account = booked([fill(1, D("0.01"), D(64000))])
    guess = replace(fill(2, D("0.01"), D(64100)), inferred=True)
    taken = account.book(guess, ORDER).fill
    account.set_cost_basis(PERP, D(60000), T0)

    account.unbook(taken)

    assert account.positions[PERP].amount == D("0.01")
