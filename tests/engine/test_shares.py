"""What is a bot's of the account: averages, trades, entries, and inferred fills taken back."""

from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.shares import KEPT, Shares
from realtime.model.market import ZERO, Market
from realtime.model.orders import Fill, Side
from tests.engine.floor import SPOT


D = Decimal
SWAP = Market(
    symbol="BTC/USDT:USDT",
    id="BTCUSDT",
    base="BTC",
    quote="USDT",
    settle="USDT",
    type="swap",
    price_tick=D("0.01"),
    amount_step=D("0.001"),
)


def fill(
    side: Side,
    amount: str,
    price: str,
    fee: str = "0",
    *,
    market: Market = SPOT,
    currency: str = "USDT",
    ts: int = 1,
    order: str = "o-1",
    bot: str | None = "b",
    inferred: bool = False,
) -> Fill:
    return Fill(
        id=f"t-{side}-{amount}-{price}-{ts}",
        order_id=order,
        client_order_id=order,
        venue="paper",
        symbol=market.symbol,
        side=side,
        amount=D(amount),
        price=D(price),
        cost=D(amount) * D(price),
        fee=D(fee),
        fee_currency=currency,
        maker=False,
        bot_id=bot,
        inferred=inferred,
        ts=ts,
    )


def booked(*fills: Fill, market: Market = SPOT) -> Shares:
    shares = Shares()
    for one in fills:
        shares.book(one, market, keep=one.inferred)
    return shares


def test_golden_average_cost() -> None:
    """Golden vector G29."""
    shares = booked(
        fill(Side.BUY, "1", "100", "0.10"),
        fill(Side.BUY, "1", "110", "0.11"),
        fill(Side.SELL, "1", "120", "0.12", ts=9),
    )
    share = shares.of("b", SPOT.symbol)

    assert (share.amount, share.cost, share.realized) == (D(1), D("105.105"), D("14.775"))
    assert (share.trades, share.exit_ts, share.fees) == (0, 9, D("0.33"))


def test_a_fee_in_base_makes_less_arrive_and_dust_ends_the_trade() -> None:
    shares = booked(
        fill(Side.BUY, "1", "100", "0.001", currency="BTC"),
        fill(Side.SELL, "0.998", "110"),
        fill(Side.SELL, "0.0005", "110"),
    )
    share = shares.of("b", SPOT.symbol)

    assert share.amount == D("0.0005")
    assert (share.trades, share.wins) == (1, 1)
    assert share.profit == share.realized
    assert share.trade_pnl == 0


def test_a_losing_trade_counts_its_loss_above_zero() -> None:
    earned = booked(fill(Side.BUY, "1", "100"), fill(Side.SELL, "1", "90")).earned("b")

    assert (earned.trades, earned.wins, earned.loss, earned.realized) == (1, 0, D(10), D(-10))


def test_contracts_flip_and_pay_fees_at_once() -> None:
    shares = booked(
        fill(Side.SELL, "1", "100", "0.1", market=SWAP),
        fill(Side.BUY, "3", "90", "0.3", market=SWAP),
        market=SWAP,
    )
    share = shares.of("b", SWAP.symbol)

    assert (share.amount, share.cost) == (D(2), D(180))
    assert share.realized == D("9.6")
    assert (share.trades, share.wins) == (1, 1)


def test_a_fee_in_a_third_currency_is_in_no_sum() -> None:
    share = booked(fill(Side.BUY, "1", "100", "2", currency="BNB")).of("b", SPOT.symbol)

    assert (share.amount, share.cost, share.fees) == (D(1), D(100), D(0))


def test_what_nobodys_bot_did_is_left_out() -> None:
    shares = booked(fill(Side.BUY, "1", "100", bot=None))

    assert not shares.by_symbol("b")


@pytest.mark.parametrize("side", list(Side))
def test_an_inferred_fill_is_taken_back_exactly(side: Side) -> None:
    first = fill(Side.BUY, "2", "100")
    guess = fill(side, "1", "101", inferred=True, ts=5)
    shares = booked(first, guess)
    shares.unbook(guess)
    shares.unbook(replace(guess, id="never seen"))
    share, plain = shares.of("b", SPOT.symbol), booked(first).of("b", SPOT.symbol)

    assert replace(share, exit_ts=0) == plain


def test_an_entry_counts_once_at_its_first_fill_and_for_two_days() -> None:
    shares = booked(
        fill(Side.BUY, "1", "100", ts=10),
        fill(Side.BUY, "1", "100", ts=20),
        fill(Side.BUY, "1", "100", ts=30, order="o-2"),
        fill(Side.SELL, "1", "100", ts=40, order="o-3"),
    )

    assert [shares.entries("b", since) for since in (0, 10, 11, 31)] == [2, 2, 1, 0]
    assert (shares.last_entry("b"), shares.last_entry("x")) == (30, None)
    shares.book(fill(Side.BUY, "1", "100", ts=30 + KEPT, order="o-4"), SPOT, keep=False)
    assert shares.entries("b", 0) == 1


def test_two_bots_do_not_share() -> None:
    shares = booked(fill(Side.BUY, "1", "100"), fill(Side.SELL, "1", "100", bot="c"))

    assert shares.of("b", SPOT.symbol).amount == 1
    assert shares.of("c", SPOT.symbol).amount == -1
    assert len(list(shares.dump())) == 3


def test_coins_that_are_gone_are_nobodys_when_others_come() -> None:
    shares = booked(
        fill(Side.BUY, "3", "100"), fill(Side.BUY, "1", "100", bot="c"), fill(Side.SELL, "1", "90")
    )
    before = shares.of("b", SPOT.symbol)

    shares.fit({SPOT.symbol}, D("3"), SPOT.amount_step, 9)
    assert shares.of("b", SPOT.symbol) == before  # there is enough
    shares.fit({"ETH/USDT"}, D(0), SPOT.amount_step, 9)
    assert shares.of("b", SPOT.symbol) == before

    shares.fit({SPOT.symbol}, D("1.5"), SPOT.amount_step, 9)
    half = shares.of("b", SPOT.symbol)
    assert (half.amount, half.cost, half.exit_ts) == (D(1), D(100), 9)
    assert (half.realized, half.trades) == (D(-10), 0)
    assert shares.of("c", SPOT.symbol).amount == D("0.5")

    shares.fit({SPOT.symbol}, D(0), SPOT.amount_step, 10)
    none = shares.of("b", SPOT.symbol)
    assert (none.amount, none.cost) == (ZERO, ZERO)
    assert (none.realized, none.trades, none.loss) == (D(-10), 1, D(10))


def test_what_bots_lose_together_is_in_lots_and_taken_once() -> None:
    """Thirds of it came to a little more than there was, and every later fill was an exit of all of them."""
    shares = booked(*(fill(Side.BUY, "0.1", "100", bot=bot) for bot in "abc"))
    shares.fit([SPOT.symbol], D("0.2"), SPOT.amount_step, 9)
    left = [shares.of(bot, SPOT.symbol) for bot in "abc"]

    assert {share.amount for share in left} == {D("0.066")}
    # A fee in coins, paid elsewhere, is no exit.
    shares.fit([SPOT.symbol], D("0.1975"), SPOT.amount_step, 99)
    assert [shares.of(bot, SPOT.symbol) for bot in "abc"] == left


def test_a_bot_that_sold_coins_that_were_gone_owes_none() -> None:
    """An older program let it sell those that came later: its next purchase was no position, so it bought twice."""
    shares = booked(fill(Side.BUY, "1", "100"))
    shares.fit([SPOT.symbol], D(0), SPOT.amount_step, 9)
    shares.book(fill(Side.SELL, "0.25", "120", ts=10), SPOT, keep=False)
    shares.book(fill(Side.SELL, "0.5", "120", ts=11, inferred=True), SPOT, keep=True)
    shares.unbook(fill(Side.SELL, "0.5", "120", ts=11, inferred=True))
    shares.book(fill(Side.SELL, "0.5", "120", ts=12), SPOT, keep=False)
    sold = shares.of("b", SPOT.symbol)
    shares.book(fill(Side.SELL, "1", "120", ts=13), SPOT, keep=False)

    assert (sold.amount, sold.cost, sold.realized) == (ZERO, ZERO, D(15))
    # A quarter was left of it; of the rest it never had anything.
    assert shares.of("b", SPOT.symbol).amount == D("-0.75")


def test_an_inferred_fill_is_taken_back_of_coins_that_are_gone() -> None:
    """What was left of its cost was a loss that nobody had made."""
    guess = fill(Side.BUY, "1", "100", inferred=True)
    shares = Shares()
    shares.book(guess, SPOT, keep=True)
    shares.fit([SPOT.symbol], D(0), SPOT.amount_step, 9)
    shares.unbook(guess)
    shares.book(fill(Side.BUY, "1", "101"), SPOT, keep=False)
    shares.fit([SPOT.symbol], D(0), SPOT.amount_step, 9)
    left = shares.of("b", SPOT.symbol)

    assert (left.amount, left.cost, left.realized) == (ZERO, ZERO, ZERO)
    assert left.loss == 0
