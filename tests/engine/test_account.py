"""Money: positions as folds, balances, transfers, what no fill explains (trading 2.5, H8)."""

from dataclasses import replace
from decimal import Decimal, localcontext

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.account import Account
from realtime.model.account import Balance, Position
from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Alert,
    BalanceChanged,
    BalanceSeen,
    CostBasisSet,
    FillBooked,
    Filled,
    Note,
    PositionChanged,
    Ready,
    SetCostBasis,
    Transferred,
)
from realtime.model.market import MONEY, SECOND, ZERO
from realtime.model.orders import Fill, Side, Status
from tests.engine.kit import ADMIN, BTC, ETH, MARKETS, OFF, ORDER, PERP, WHO, D, Kit, of


def pnl(kit: Kit) -> Decimal | None:
    [booked] = of(kit.effects, FillBooked)
    assert isinstance(booked, FillBooked)
    return booked.fill.realized_pnl


def position(kit: Kit, symbol: str = BTC) -> Position:
    return kit.engine.positions[symbol]


def changes(kit: Kit) -> list[PositionChanged]:
    return [effect for effect in kit.effects if isinstance(effect, PositionChanged)]


def transfer(kit: Kit, currency: str, amount: str, kind: str = "deposit", **fields: object) -> None:
    kit.post(
        Transferred(
            venue="paper",
            currency=currency,
            amount=D(amount),
            kind=kind,
            id=f"x-{kit.ts}-{currency}-{amount}",
            ts=kit.ts,
            **fields,  # type: ignore[arg-type]
        )
    )


# --- spot -------------------------------------------------------------------------------------


def test_spot_cost_is_a_weighted_average_with_quote_fees_in_it() -> None:
    """trading:2.5."""
    kit = Kit().open()
    kit.fill(kit.opened(BTC, "buy", "1", price="100"), "1", "100", fee="0.1")
    kit.fill(kit.opened(BTC, "buy", "1", price="110"), "1", "110", fee="0.11")

    assert position(kit).cost == D("210.21")
    kit.fill(kit.opened(BTC, "sell", "0.5", price="120"), "0.5", "120", fee="0.06")
    assert pnl(kit) == D(60) - D("210.21") / 4 - D("0.06")
    assert position(kit).entry_price == D("105.105")
    assert position(kit).fees_paid == D("0.27")


def test_a_fee_in_base_lowers_what_is_received_and_not_the_cost() -> None:
    """trading:2.5."""
    kit = Kit().open()
    kit.fill(kit.opened(BTC, "buy", "1", price="100"), "1", "100", fee="0.001", fee_currency="BTC")

    assert position(kit).amount == D("0.999")
    assert position(kit).cost == D(100)
    assert position(kit).fees_paid == D("0.1")


def test_a_fee_in_a_third_currency_moves_only_that_currency() -> None:
    kit = Kit().open(USDT="1000", ETH="1")
    kit.fill(kit.opened(BTC, "buy", "1", price="100"), "1", "100", fee="0.01", fee_currency="ETH")

    assert (position(kit).amount, position(kit).cost) == (D(1), D(100))
    assert kit.engine.day.fees == (("ETH", D("0.01")),)


@pytest.mark.parametrize("symbol", [BTC, PERP])
def test_a_fee_in_a_coin_that_is_held_makes_that_holding_smaller(symbol: str) -> None:
    """The row showed coins that were gone, and to close all of them was refused as more than there were."""
    kit = Kit(replace(OFF, cooldown_minutes=60)).open(USDT="100000", ETH="1")
    kit.post(SetCostBasis(position_id=f"{ETH}|long", entry_price=D(100), who=ADMIN, ts=kit.ts))
    kit.fill(
        kit.opened(symbol, "buy", "1", price="100"), "1", "100", fee="0.25", fee_currency="ETH"
    )

    assert [change.position.symbol for change in changes(kit)] == [symbol, ETH]
    assert (position(kit, ETH).amount, position(kit, ETH).cost) == (D("0.75"), D(75))
    assert kit.engine._state.account.books["ETH"] == D("0.75")
    # It was no exit, which entries would have to wait behind.
    assert kit.place(ETH, "buy", "0.01", price="3000").status is Status.PENDING


def test_the_currency_of_valuation_is_cash_also_where_it_is_bought_and_sold_like_a_coin() -> None:
    """It was a position of what had been bought less what had been sold, a short one in the end."""
    dollars = replace(MARKETS[ETH], symbol="USDT/USD", base="USDT", quote="USD")
    kit = Kit(markets=MARKETS | {dollars.symbol: dollars}).open(USDT="1000", USD="1000")
    kit.price(dollars.symbol, "1")
    order = kit.opened(dollars.symbol, "sell", "300", price="1")
    kit.fill(order, "100", "1", trade_id="guess", inferred=True)
    kit.fill(order, "100", "1", fee="1", fee_currency="USD")
    books = kit.engine._state.account.books

    assert (books["USDT"], books["USD"]) == (D(900), D(1099))
    assert pnl(kit) is None
    assert not kit.engine.positions
    assert kit.engine.risk_view(kit.ts).position_count == 0


def test_a_price_told_of_a_position_that_there_is_no_more_is_passed_over() -> None:
    """An older program showed the currency of valuation as one: its journal could not be read any more."""
    kit = Kit().open(USDT="1000")
    kit.engine.replay(
        CostBasisSet(position_id="USDT/USD|short", entry_price=D(1), by="root", ts=kit.ts)
    )

    assert not kit.engine.positions


def test_flattening_takes_all_of_the_remaining_cost() -> None:
    """trading:M7."""
    kit = Kit().open()
    for number in range(3):
        kit.fill(kit.opened(BTC, "buy", "0.1", price="100"), "0.1", f"{101 + number}.37")
    kit.fill(kit.opened(BTC, "sell", "0.1", price="100"), "0.1", "100")
    kit.fill(kit.opened(BTC, "sell", "0.2", price="100"), "0.2", "100")

    assert (position(kit).amount, position(kit).cost) == (D(0), D(0))
    [changed] = of(kit.effects, PositionChanged)
    assert isinstance(changed, PositionChanged)
    assert changed.position.id == f"{BTC}|long"


def test_a_holding_older_than_the_journal_has_no_cost_until_it_is_told() -> None:
    """trading:2.5 trading:M8."""
    kit = Kit().open(USDT="1000", BTC="1")
    assert position(kit).cost is None
    kit.fill(kit.opened(BTC, "sell", "0.5", price="64000"), "0.5")
    assert pnl(kit) is None

    kit.post(SetCostBasis(position_id=f"{BTC}|long", entry_price=D(100), who=ADMIN, ts=kit.ts))

    assert position(kit).entry_price == 100
    kit.fill(kit.opened(BTC, "sell", "0.5", price="64000"), "0.5", "110")
    assert pnl(kit) == 5


@pytest.mark.parametrize(
    ("name", "price", "who", "code"),
    [
        (f"{BTC}|long", "100", WHO, Code.FORBIDDEN),
        (f"{BTC}|short", "100", ADMIN, Code.NOT_FOUND),
        (f"{BTC}|long", "0", ADMIN, Code.INVALID),
    ],
)
def test_a_cost_basis_is_told_by_an_admin_of_a_position_that_is(
    name: str, price: str, who: object, code: Code
) -> None:
    kit = Kit().open(USDT="1000", BTC="1")

    with pytest.raises(Refused) as caught:
        kit.post(
            SetCostBasis(position_id=name, entry_price=D(price), who=who, ts=kit.ts)  # type: ignore[arg-type]
        )
    assert caught.value.code is code


def test_telling_the_same_cost_basis_again_changes_nothing() -> None:
    kit = Kit().open(USDT="1000", BTC="1")
    wish = SetCostBasis(position_id=f"{BTC}|long", entry_price=D(100), who=ADMIN, ts=kit.ts)
    kit.post(wish)

    assert kit.post(wish) == []


def test_what_is_bought_against_another_currency_has_an_unknown_cost() -> None:
    markets = MARKETS | {
        "ETH/BTC": replace(MARKETS[ETH], symbol="ETH/BTC", quote="BTC", price_tick=D("0.00001"))
    }
    kit = Kit(markets=markets).open(USDT="1000")
    kit.bought(BTC, "buy", "0.01", "64000")
    kit.price("ETH/BTC", "0.05")
    kit.balance("BTC", "0.01")
    order = kit.draft("ETH/BTC", "buy", "0.1", price="0.05")
    kit.fill(kit.opened("ETH/BTC", "buy", "0.1", price="0.05"), "0.1", "0.05")

    assert order.symbol == "ETH/BTC"
    assert (position(kit, ETH).amount, position(kit, ETH).cost) == (D("0.1"), None)
    assert position(kit, BTC).amount == D("0.005")
    assert position(kit, BTC).cost == D(320)
    # Its own sales are no profit that could be counted.
    kit.fill(kit.opened("ETH/BTC", "sell", "0.1", price="0.05"), "0.1", "0.05")
    assert pnl(kit) is None


def test_selling_more_than_the_books_hold_leaves_nothing_known() -> None:
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.01", "64000")
    order = kit.draft(BTC, "sell", "0.02", exchange_order_id="ext")
    kit.fill(order, "0.02")

    assert (position(kit).amount, position(kit).cost) == (D("-0.01"), None)
    assert position(kit).entry_price is None


# --- contracts --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fills", "amount", "cost", "realized"),
    [
        ([("buy", "10", "100")], "10", "10", "0"),
        ([("buy", "10", "100"), ("sell", "4", "110")], "6", "6", "0.4"),
        ([("sell", "10", "100"), ("buy", "10", "90")], "0", "0", "1"),
        ([("buy", "10", "100"), ("sell", "15", "110")], "-5", "-5.5", "1"),
        ([("sell", "10", "100"), ("buy", "15", "110")], "5", "5.5", "-1"),
        ([("buy", "1", "100"), ("buy", "1", "101"), ("sell", "1", "100.5")], "1", "1.005", "0"),
    ],
)
def test_a_contract_position_nets_and_flips(
    fills: list[tuple[str, str, str]], amount: str, cost: str, realized: str
) -> None:
    """trading:2.5. Contracts of 0.01."""
    kit = Kit().open()
    for side, size, price in fills:
        kit.fill(kit.opened(PERP, side, size, price=price), size, price)

    held = position(kit, PERP)
    assert (held.amount, held.cost, held.realized_pnl) == (D(amount), D(cost), D(realized))


def test_a_flip_replaces_the_row_and_opens_anew() -> None:
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    kit.ts += SECOND

    kit.bought(PERP, "sell", "15", "64000")

    [changed] = of(kit.effects, PositionChanged)
    assert isinstance(changed, PositionChanged)
    assert changed.position.id == f"{PERP}|short"
    assert changed.position.opened_ts == kit.ts


def test_fees_of_a_contract_count_in_its_profit() -> None:
    kit = Kit().open()
    kit.fill(kit.opened(PERP, "buy", "10", price="100"), "10", "100", fee="0.01")
    assert pnl(kit) == D("-0.01")
    kit.fill(
        kit.opened(PERP, "sell", "10", price="110"), "10", "110", fee="0.02", fee_currency="BNB"
    )

    assert pnl(kit) == 1
    assert position(kit, PERP).fees_paid == D("0.01")
    assert kit.engine.day.realized == (("USDT", D("0.99")),)
    assert kit.engine.day.trades == 1


def test_funding_is_profit_of_its_position_and_no_transfer() -> None:
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    transfer(kit, "USDT", "-1.5", "funding", symbol=PERP)
    transfer(kit, "USDT", "-1.5", "funding", symbol=PERP)

    assert position(kit, PERP).realized_pnl == D("-1.5")
    assert kit.engine.day.transfers == ()
    transfer(kit, "USDT", "3", "insurance")
    transfer(kit, "USDT", "4", "funding", symbol="ETH/USDT:USDT")
    assert kit.engine.day.realized == (("USDT", D("5.5")),)


def test_a_position_the_venue_held_before_us_is_opened_with_its_cost() -> None:
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.position(PERP, "10", cost=D(6400), leverage=D(5), liquidation_price=D(50000))
    kit.prices()
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    held = position(kit, PERP)
    assert (held.amount, held.cost, held.leverage) == (D(10), D(6400), D(5))
    assert kit.position(PERP, "10", cost=D(6400), leverage=D(5), liquidation_price=D(50000)) == []
    kit.ts += 1
    assert of(kit.position(PERP, "10", leverage=D(6)), PositionChanged)
    assert kit.position(BTC, "1") == []
    assert kit.position("XYZ", "1") == []


def test_an_unknown_basis_of_a_contract_stays_unknown_through_a_close() -> None:
    kit = Kit()
    kit.balance("USDT", "100000")
    kit.position(PERP, "10", cost=None)
    kit.prices()
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    kit.fill(kit.opened(PERP, "sell", "4", reduce_only=True), "4")
    assert pnl(kit) is None
    kit.fill(kit.opened(PERP, "buy", "4", price="64000"), "4")
    assert position(kit, PERP).cost is None
    kit.fill(kit.opened(PERP, "sell", "10", reduce_only=True), "10")
    assert (position(kit, PERP).amount, position(kit, PERP).cost) == (D(0), D(0))


# --- the venue's word -------------------------------------------------------------------------


def test_the_first_balance_opens_our_books_and_is_no_transfer() -> None:
    kit = Kit()
    effects = kit.balance("USDT", "1000")

    assert of(effects, BalanceChanged)
    assert kit.engine.day.transfers == ()
    assert not of(effects, Alert)
    assert kit.balance("USDT", "1000") == []


def test_a_second_wallet_found_at_the_first_look_belongs_to_the_opening() -> None:
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.post(
        BalanceSeen(balance=Balance(venue="paper", currency="USDT", wallet="swap", available=D(5)))
    )

    assert kit.engine._state.account.books["USDT"] == 1005
    assert kit.engine.day.transfers == ()


def test_what_an_older_program_booked_as_appeared_opens_the_books_as_well() -> None:
    """Else the fills of strangers would be passed over for good."""
    kit = Kit()
    first, later = (
        Transferred(
            venue="paper", currency="USDT", amount=D(5), kind="external", id=name, ts=kit.ts + more
        )
        for name, more in (("a", 1), ("b", 2))
    )
    kit.post(first)
    kit.post(later)

    assert kit.engine._state.account.opened_ts == first.ts


@pytest.mark.parametrize("first", ["fill", "balance", "row", "zeros"])
def test_an_account_found_empty_is_then_funded_and_traded_with_by_hand(first: str) -> None:
    """trading:2.7: the money is what nobody explains, and the trade is a trade, whatever is told first."""
    kit = Kit()

    def traded(name: str, amount: str) -> Filled:
        return Filled(
            venue="paper",
            symbol=BTC,
            trade_id=name,
            exchange_order_id=f"hand-{name}",
            venue_client_id="by hand",
            side=Side.BUY,
            amount=D(amount),
            price=D(100),
            fee=ZERO,
            fee_currency="USDT",
            maker=False,
            ts=kit.ts,
        )

    before = traded("before", "3")
    kit.ts += SECOND
    kit.post(before)
    if first == "zeros":
        kit.balance("USDT", "0")  # some venues tell those of nothing, too
    kit.prices()
    kit.post(Ready(venue="paper", ready=True, reason="reconciled", ts=kit.ts))
    assert kit.post(before) == []

    kit.ts += 30 * SECOND
    fill = traded("hand", "2")
    if first == "row":
        order = replace(ORDER, symbol=BTC, exchange_order_id="hand-hand", venue_client_id="by hand")
        kit.seen(replace(order, amount=D(5), price=D(100)), Status.OPEN, "2")
    if first != "balance":
        kit.post(fill)
    kit.ts += SECOND
    told = [kit.balance("USDT", "800"), kit.balance("BTC", "2")]
    if first == "balance":
        kit.post(fill)
    assert kit.post(before) == kit.post(fill) == []
    for _ in range(3):
        told += [kit.tick(6), kit.balance("USDT", "800"), kit.balance("BTC", "2")]

    alerts = [one for effects in told for one in effects if isinstance(one, Alert)]
    assert [one.text for one in alerts if one.code == "external_change"] == [
        "1000 USDT appeared that no fill explains"
    ]
    assert (position(kit).amount, position(kit).cost) == (D(2), D(200))
    assert kit.engine.day.transfers == (("USDT", D(1000)),)
    assert kit.replayed().digest() == kit.engine.digest()
    assert kit.engine.doubts == frozenset()


def test_a_difference_that_lasts_becomes_an_entry_and_an_alarm() -> None:
    """trading:2.7."""
    kit = Kit().open(USDT="1000", BTC="1")
    kit.balance("USDT", "1500")
    assert not of(kit.tick(4.9), Alert)
    kit.balance("USDT", "1500")
    assert not of(kit.tick(0.1), Alert)
    assert kit.engine.doubts == {"USDT"}
    assert not of(kit.tick(60), Alert)
    kit.balance("USDT", "1500")
    assert kit.engine.doubts == frozenset()

    effects = kit.tick(1)

    assert [effect.code for effect in effects if isinstance(effect, Alert)] == ["external_change"]
    assert kit.engine.day.transfers == (("USDT", D(500)),)
    assert not of(kit.tick(10), Alert)
    assert kit.replayed().digest() == kit.engine.digest()


def test_the_fee_of_an_inferred_fill_is_waited_for_and_not_called_external() -> None:
    """trading:2.5, 2.7."""
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.01", inferred=True)
    for _ in range(2):
        kit.balance("USDT", "359")
        assert not of(kit.tick(120), Alert)

    kit.fill(order, "0.01", fee="1")

    assert not of(kit.tick(120), Alert)
    assert kit.engine.day.transfers == ()
    assert kit.engine._state.account.books["USDT"] == 359


def test_the_fee_of_a_fill_that_stays_inferred_is_external_in_the_end() -> None:
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.01", inferred=True)
    for _ in range(2):
        kit.balance("USDT", "359")
        kit.tick(120)

    effects = kit.tick(120)

    assert [effect.code for effect in effects if isinstance(effect, Alert)] == ["external_change"]
    assert kit.engine.day.transfers == (("USDT", D(-1)),)


def test_a_difference_that_is_another_one_the_second_time_waits_again() -> None:
    """trading:2.6."""
    kit = Kit().open(USDT="1000")
    kit.balance("USDT", "1500")
    kit.tick(5)
    kit.balance("USDT", "1400")

    assert not of(kit.tick(4), Alert)

    kit.balance("USDT", "1000")

    assert kit.engine.doubts == frozenset()
    assert not of(kit.tick(60), Alert)


def test_a_fee_in_a_second_currency_is_paid_and_counted_as_a_fee() -> None:
    """trading:2.5."""
    kit = Kit().open(USDT="1000", BNB="1")
    kit.post(
        Transferred(
            venue="paper", currency="BNB", amount=D("-0.01"), kind="fee", id="fee-1", ts=kit.ts
        )
    )

    assert kit.engine._state.account.books["BNB"] == D("0.99")
    assert dict(kit.engine.day.fees) == {"BNB": D("0.01")}
    assert kit.engine.day.transfers == ()


def test_a_difference_that_a_fill_explains_is_forgotten() -> None:
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.balance("USDT", "360")
    kit.ts += SECOND
    kit.fill(order, "0.01")

    assert not of(kit.tick(10), Alert)
    assert kit.engine.day.transfers == ()


def test_a_coin_that_appears_later_is_external() -> None:
    kit = Kit().open(USDT="1000")

    assert not of(kit.balance("ETH", "2"), Alert)
    assert not of(kit.tick(5), Alert)
    kit.balance("ETH", "2")
    effects = kit.tick(1)

    assert [effect.code for effect in effects if isinstance(effect, Alert)] == ["external_change"]
    assert kit.engine.day.transfers == (("ETH", D(2)),)
    assert position(kit, ETH).cost is None
    assert of(effects, Note)
    assert kit.balance("DOGE", "0") != []
    assert kit.engine.day.transfers == (("ETH", D(2)),)


def test_a_coin_whose_balance_comes_before_its_fill_is_bought_once() -> None:
    kit = Kit().open(USDT="1000")
    order = kit.opened(ETH, "buy", "0.1", price="3000")
    kit.balance("ETH", "0.1")
    kit.ts += SECOND
    kit.fill(order, "0.1", "3000")
    kit.balance("USDT", "700")

    assert not of(kit.tick(10), Alert)
    assert position(kit, ETH).amount == D("0.1")
    assert position(kit, ETH).cost == 300


def test_rounding_is_not_money() -> None:
    kit = Kit().open(USDT="1000")
    kit.balance("USDT", "1000.00000001")

    assert not of(kit.tick(60), Alert)


def told_twice(kit: Kit, symbol: str, amount: str, cost: Decimal | None = None) -> None:
    """The venue says a position, and the same again once it has differed for long."""
    kit.position(symbol, amount, cost=cost)
    kit.tick(5)
    kit.position(symbol, amount, cost=cost)
    kit.tick(1)


def test_a_position_that_no_fill_explains_becomes_an_entry() -> None:
    """trading:2.7."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    told_twice(kit, PERP, "12", D(7680))

    held = position(kit, PERP)
    assert (held.amount, held.cost) == (D(12), D(7680))
    told_twice(kit, PERP, "11")
    assert (position(kit, PERP).amount, position(kit, PERP).cost) == (D(11), None)
    told_twice(kit, PERP, "0")
    assert (position(kit, PERP).amount, position(kit, PERP).cost) == (D(0), D(0))
    told_twice(kit, "BTC/USDT:USDT", "3", D(1920))
    assert (position(kit, PERP).amount, position(kit, PERP).cost) == (D(3), D(1920))


def test_a_stream_s_balance_before_its_fill_is_no_second_word() -> None:
    """A storm at Bitfinex: the balance was told again and again, the fill not before it was asked for."""
    kit = Kit().open(USDT="1000")
    for _ in range(4):
        kit.balance("USDT", "900", asked=False)
        assert not of(kit.tick(5), Alert)
    assert "USDT" in kit.engine.doubts

    kit.balance("USDT", "900")  # asked for behind all fills, and none explains it

    effects = kit.tick(1)
    assert [effect.code for effect in effects if isinstance(effect, Alert)] == ["external_change"]


def test_a_derivative_seen_later_without_a_fill_waits_for_a_second_word() -> None:
    kit = Kit().open()

    kit.position(PERP, "3", cost=D(1920))
    kit.tick(5)
    assert position(kit, PERP).amount == 0
    kit.position(PERP, "3", cost=D(1920))
    kit.tick(1)

    assert position(kit, PERP).amount == 3


def test_a_transfer_is_booked_once() -> None:
    kit = Kit().open(USDT="1000")
    deposit = Transferred(
        venue="paper", currency="USDT", amount=D(5), kind="deposit", id="d-1", ts=kit.ts
    )
    kit.post(deposit)

    assert kit.post(deposit) == []
    assert kit.engine.day.transfers == (("USDT", D(5)),)


def test_withdrawn_coins_take_their_share_of_the_cost() -> None:
    kit = Kit().open()
    kit.bought(BTC, "buy", "0.02", "64000")
    transfer(kit, "BTC", "-0.01", "withdrawal")

    assert (position(kit).amount, position(kit).cost) == (D("0.01"), D(640))


def test_partial_closes_leave_no_digits_of_a_quotient_behind() -> None:
    """Found in review (R4): drift of 39 digits from price times a third of a cost."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "7", "64000.1")
    for _ in range(3):
        kit.bought(PERP, "sell", "2", "64000.7")
    kit.bought(BTC, "buy", "0.0007", "64000.01")
    kit.bought(BTC, "sell", "0.0003", "64000.03")

    realized = dict(kit.engine.day.realized)["USDT"]
    held = [position(kit, symbol) for symbol in (PERP, BTC)]

    for value in (realized, *(p.cost for p in held), *(p.realized_pnl for p in held)):
        assert value is not None
        exponent = value.as_tuple().exponent
        assert isinstance(exponent, int)
        assert exponent >= -8
    spent = D("0.0007") * D("64000.01") - D("0.0003") * D("64000.03")
    assert held[1].cost is not None
    assert held[1].cost - held[1].realized_pnl == spent


# --- streaks ----------------------------------------------------------------------------------


def trade(kit: Kit, at: str) -> None:
    kit.bought(BTC, "buy", "0.01", "64000")
    kit.bought(BTC, "sell", "0.01", at)


def test_a_win_ends_a_losing_streak_and_an_hour_does_too() -> None:
    """trading:G27."""
    kit = Kit().open()
    trade(kit, "63000")
    trade(kit, "63000")
    assert kit.engine._state.account.streaks["alice"][0] == 2
    trade(kit, "65000")
    assert kit.engine._state.account.streaks == {}
    trade(kit, "63000")
    kit.ts += 3600 * SECOND
    kit.prices()
    trade(kit, "63000")
    assert kit.engine._state.account.streaks["alice"][0] == 1


def test_dust_ends_a_trade_and_a_partial_exit_does_not() -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.02", price="64000")
    kit.fill(order, "0.02", fee="0.000001", fee_currency="BTC")
    kit.bought(BTC, "sell", "0.01", "64000")
    assert kit.engine.day.trades == 0
    kit.bought(BTC, "sell", "0.00999", "64000")

    assert position(kit).amount == D("0.000009")
    assert kit.engine.day.trades == 1


# --- H8 ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from([BTC, PERP]),
            st.booleans(),
            st.integers(1, 500),
            st.integers(1, 10**7),
            st.integers(-20, 2000),
        ),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
@pytest.mark.promise("O15")
def test_fills_positions_fees_and_cash_are_one_sum(
    fills: list[tuple[str, bool, int, int, int]],
) -> None:
    """trading:H8: sum of fills = position, fees exact, realised + unrealised = change of cash."""
    account = Account("paper", MARKETS, "USDT")
    with localcontext(MONEY):
        held = {BTC: ZERO, PERP: ZERO}
        paid = fees = ZERO
        for number, (symbol, buy, lots, cents, fee) in enumerate(fills):
            market = MARKETS[symbol]
            amount = lots * market.amount_step
            price = cents * market.price_tick
            if symbol == BTC and not buy:
                amount = min(amount, held[BTC])
                if not amount:
                    continue
            cost = price * amount * market.contract_size
            charged = Decimal(fee) / 10000
            fill = Filled(
                venue="paper",
                symbol=symbol,
                trade_id=str(number),
                exchange_order_id="v",
                venue_client_id=None,
                side=Side.BUY if buy else Side.SELL,
                amount=amount,
                price=price,
                fee=charged,
                fee_currency="USDT",
                maker=False,
                ts=number,
            )
            account.book(fill, ORDER)
            held[symbol] += amount if buy else -amount
            fees += charged
            paid -= charged
            paid += -cost if buy else cost
        realized = cost_of_all = ZERO
        for symbol, amount in held.items():
            found = account.positions.get(symbol)
            assert (found.amount if found else ZERO) == amount
            if found is not None:
                assert found.cost is not None
                realized += found.realized_pnl
                cost_of_all += found.cost
                if not amount:
                    assert found.cost == 0
        assert sum((paid_fee for _, paid_fee in account.day().fees), ZERO) == fees
        # Cash paid = profit made - what the open positions have cost.
        assert abs(realized - cost_of_all - paid) < Decimal("1e-20")
        assert account.books.get("BTC", ZERO) == held[BTC]


def test_an_inverse_contract_s_profit_is_paid_in_coins_by_the_quotient_of_prices() -> None:
    """Nobody may order them here, but what was traded elsewhere is booked and valued as what it is."""
    perp = replace(MARKETS[PERP], settle="BTC", contract_size=D(100), amount_step=D(1))
    kit = Kit(markets=MARKETS | {PERP: perp}).open(USDT="1000", BTC="1")
    account = kit.engine._state.account
    order = kit.draft(PERP, "buy", "40")

    kit.fill(order, "40", "50000")
    kit.mark(PERP, "64000")
    held = kit.engine.mark_position(kit.engine.positions[PERP])

    # 4,000 USD of it: 0.08 BTC at 50,000 and 0.0625 BTC at 64,000.
    assert held.position.entry_price == 50_000
    assert (held.notional, held.unrealized_pnl) == (D("0.0625"), D("0.0175"))
    assert kit.engine.value(kit.ts).total_value == 1000 + D("1.0175") * 64_000

    kit.fill(replace(order, side=Side.SELL, exchange_order_id="other"), "40", "40000")

    assert account.books["BTC"] == 1 - D("0.02")
    assert kit.engine.positions[PERP].amount == 0
    assert perp.average(D("0.08"), D(40)) == 50_000


def told(kit: Kit, price: str) -> None:
    """An admin says what the short position had cost."""
    wish = SetCostBasis(position_id=f"{PERP}|short", entry_price=D(price), who=ADMIN, ts=kit.ts)
    kit.post(wish)


def test_what_an_inverse_position_costs_can_be_said() -> None:
    perp = replace(MARKETS[PERP], settle="BTC", contract_size=D(100))
    kit = Kit(markets=MARKETS | {PERP: perp})
    kit.position(PERP, "-40", cost=None)
    kit.open(USDT="1000", BTC="1")
    assert kit.engine.positions[PERP].entry_price is None

    told(kit, "64000")

    assert kit.engine.positions[PERP].entry_price == 64_000


def test_what_a_contract_cost_cannot_be_said_where_its_fills_tell_it() -> None:
    """Its profit is money: another price of entry were a gain that nobody made."""
    kit = Kit().open(USDT="100000")
    kit.fill(kit.draft(PERP, "sell", "0.004"), "0.004", "64000")
    before = kit.engine.value(kit.ts)

    told(kit, "64000")
    with pytest.raises(Refused) as caught:
        told(kit, "60000")

    assert caught.value.code is Code.CONFLICT
    assert kit.engine.value(kit.ts) == before


def test_what_was_said_of_a_contract_is_final() -> None:
    kit = Kit()
    kit.position(PERP, "-40", cost=None)
    kit.open(USDT="100000")
    told(kit, "6400")

    with pytest.raises(Refused) as caught:
        told(kit, "64000")

    assert str(caught.value) == f"the entry price of {PERP}|short is known"
    assert kit.engine.positions[PERP].entry_price == 6_400


# --- holdings beside the one that was traded --------------------------------------------------

CROSS = replace(MARKETS[ETH], symbol="ETH/BTC", quote="BTC", price_tick=D("0.00001"))
COINED = replace(MARKETS[PERP], settle="BTC", contract_size=D(100))


def test_what_an_inferred_fill_was_paid_with_is_given_back_when_the_real_one_comes() -> None:
    """It was paid twice."""
    kit = Kit(markets=MARKETS | {CROSS.symbol: CROSS}).open(USDT="1000", BTC="1")
    kit.price(CROSS.symbol, "0.05")
    kit.post(SetCostBasis(position_id=f"{BTC}|long", entry_price=D(100), who=ADMIN, ts=kit.ts))
    order = kit.opened(CROSS.symbol, "buy", "2", price="0.05")
    kit.fill(order, "2", "0.05", trade_id="guess", inferred=True)
    assert (position(kit).amount, position(kit).cost) == (D("0.9"), D(90))

    kit.fill(order, "1", "0.04", fee="0.001", fee_currency="BTC")

    # One at 0.04 and its fee; the other is still a guess.
    assert (position(kit).amount, position(kit).cost) == (D("0.909"), D("90.9"))
    assert kit.engine._state.account.books["BTC"] == D("0.909")
    assert {change.position.id: change.position.amount for change in changes(kit)} == {
        f"{ETH}|long": D(2),
        f"{BTC}|long": D("0.909"),
    }


def test_profit_and_funding_in_a_coin_are_in_the_holding_that_shows_it() -> None:
    kit = Kit(markets=MARKETS | {PERP: COINED}).open(USDT="1000", BTC="1")
    long = kit.draft(PERP, "buy", "40")
    kit.fill(long, "40", "50000")
    kit.fill(replace(long, side=Side.SELL, exchange_order_id="other"), "20", "40000")
    assert position(kit).amount == D("0.99")

    transfer(kit, "BTC", "-0.5", "funding", symbol=PERP)
    assert [change.position.symbol for change in changes(kit)] == [PERP, BTC]
    transfer(kit, "BTC", "0.25", "insurance")

    assert position(kit).amount == kit.engine._state.account.books["BTC"] == D("0.74")
    assert position(kit, PERP).realized_pnl == D("-0.51")


beside = st.tuples(
    st.sampled_from([BTC, ETH, CROSS.symbol, PERP]),
    st.booleans(),
    st.integers(1, 9),
    st.integers(90, 110),
    st.sampled_from(["USDT", "BTC", "ETH"]),
    st.integers(-9, 9),
    st.integers(0, 3),
)


@given(st.lists(beside, max_size=40))
@settings(max_examples=60, deadline=None)
def test_holdings_are_what_the_books_say_whatever_is_guessed_and_set_right(
    fills: list[tuple[str, bool, int, int, str, int, int]],
) -> None:
    """Fills, fees in any coin, and guesses that are taken back later, in any order."""
    account = Account("paper", MARKETS | {CROSS.symbol: CROSS, PERP: COINED}, "USDT")
    guesses: list[Fill] = []
    with localcontext(MONEY):
        for number, (symbol, buy, lots, cents, currency, fee, kind) in enumerate(fills):
            if kind == 3 and guesses:
                account.unbook(guesses.pop(number % len(guesses)))
            seen = Filled(
                venue="paper",
                symbol=symbol,
                trade_id=f"t-{number}",
                exchange_order_id="v",
                venue_client_id=None,
                side=Side.BUY if buy else Side.SELL,
                amount=D(lots),
                price=D(cents),
                fee=D(fee).scaleb(-4),
                fee_currency=currency,
                maker=False,
                inferred=kind == 1,
                ts=number // 2,
            )
            booked = account.book(seen, ORDER)
            assert booked.positions[0][1].symbol == (ETH if symbol == CROSS.symbol else symbol)
            if seen.inferred:
                guesses.append(booked.fill)

            for coin, home in (("BTC", BTC), ("ETH", ETH)):
                held = account.positions.get(home)
                assert (held.amount if held else ZERO) == account.books.get(coin, ZERO)
                assert held is None or held.amount > 0 or not held.cost
