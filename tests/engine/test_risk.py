"""The gate: every rule at its limit and one unit beyond, and preview and placement of one mind."""

import re
from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.events import (
    Amend,
    Cancel,
    CancelAtVenue,
    CancelFailed,
    Duplicate,
    Place,
    Ready,
    Rejected,
    ReleaseAmend,
    SetState,
    Submit,
    SubmitAmend,
    Unknown,
)
from realtime.model.market import MS, SECOND, BookSnapshot, Stale, Ticker
from realtime.model.orders import (
    ApprovedAmend,
    Order,
    OrderType,
    Role,
    Status,
    TimeInForce,
    Trigger,
)
from realtime.model.risk import Limits, TradingState
from tests.engine.kit import ADMIN, BTC, ETH, MARKETS, OFF, PERP, WHO, D, Kit, of


def refused(kit: Kit, *args: str, **fields: object) -> Refused:
    """Place an order that must be refused; the state must not have changed."""
    before = kit.engine.digest()
    with pytest.raises(Refused) as caught:
        kit.place(*args, **fields)  # type: ignore[arg-type]
    assert kit.engine.digest() == before
    return caught.value


def rule_of(refusal: Refused) -> object:
    assert refusal.details is not None
    return refusal.details.get("rule")


def with_limits(**fields: object) -> Limits:
    return replace(OFF, **fields)  # type: ignore[arg-type]


def agree(kit: Kit, *args: str, **fields: object) -> bool:
    """Preview and placement say the same; whether it passed."""
    order = kit.draft(*args, **fields)  # type: ignore[arg-type]
    wish = Place(order=order, who=WHO, ts=kit.ts)
    shown = kit.engine.preview(wish)
    refusal = None
    try:
        kit.post(wish)
    except Refused as caught:
        refusal = caught
    if refusal is None:
        assert shown.valid
        return True
    assert not shown.valid
    assert (shown.code, shown.message) == (refusal.code, refusal.message)
    assert refusal.details is not None
    assert list(shown.failed) == refusal.details["failed"]
    return False


# --- G1, G2, G3 -------------------------------------------------------------------------------


def halt(
    kit: Kit, state: TradingState = TradingState.HALTED, scope: str = "all", **who: object
) -> None:
    kit.post(SetState(scope=scope, state=state, reason="drill", who=WHO, ts=kit.ts))


def test_a_halt_refuses_entries_and_names_who_and_why() -> None:
    """trading:G1."""
    kit = Kit().open()
    halt(kit)

    refusal = refused(kit, BTC, "buy", "0.01")

    assert refusal.code is Code.HALTED
    assert refusal.message == (
        "trading was halted by alice: drill; trading.resume needs scope admin"
    )


@pytest.mark.parametrize(
    ("state", "exits"), [(TradingState.HALTED, False), (TradingState.REDUCING, True)]
)
def test_exits_pass_reducing_and_not_a_halt(*, state: TradingState, exits: bool) -> None:
    """trading:G1 trading:G2."""
    kit = Kit().open(USDT="1000", BTC="1")
    halt(kit, state)

    entry = refused(kit, BTC, "buy", "0.01")

    assert rule_of(entry) == ("trading_reducing" if exits else "halted")
    assert entry.code is (Code.RISK_REJECTED if exits else Code.HALTED)
    if exits:
        assert kit.place(BTC, "sell", "0.01").role is Role.EXIT
    else:
        refused(kit, BTC, "sell", "0.01")


def test_only_flattening_and_an_admins_close_pass_a_halt() -> None:
    """trading:G1."""
    kit = Kit().open(USDT="1000", BTC="1")
    halt(kit)

    refused(kit, BTC, "sell", "0.01", closing=True)
    refused(kit, BTC, "sell", "0.01", who=ADMIN)
    closed = kit.place(BTC, "sell", "0.01", who=ADMIN, closing=True)
    kit.release(closed)
    flat = kit.place(BTC, "sell", "0.01", source="flatten", reduce_only=True)
    kit.release(flat)

    assert closed.status is flat.status is Status.PENDING


@pytest.mark.parametrize(
    ("scope", "symbol", "bot", "passes"),
    [
        ("venue:paper", BTC, None, False),
        ("symbol:BTC/USDT", BTC, None, False),
        ("symbol:BTC/USDT", ETH, None, True),
        ("bot:b1", BTC, "b1", False),
        ("bot:b1", BTC, None, True),
    ],
)
def test_halts_have_scopes(*, scope: str, symbol: str, bot: str | None, passes: bool) -> None:
    """trading:G1."""
    kit = Kit().open()
    halt(kit, scope=scope)

    if passes:
        kit.place(symbol, "buy", "0.01", bot_id=bot)
    else:
        assert refused(kit, symbol, "buy", "0.01", bot_id=bot).code is Code.HALTED


def test_the_strictest_scope_applies() -> None:
    """trading:G1."""
    kit = Kit().open()
    halt(kit, TradingState.REDUCING)
    halt(kit, TradingState.HALTED, scope=f"symbol:{BTC}")

    assert kit.engine.state(BTC) is TradingState.HALTED
    assert kit.engine.state(ETH) is TradingState.REDUCING
    assert kit.engine.state() is TradingState.REDUCING
    assert kit.engine.halted("all")
    assert not kit.engine.halted("bot:x")


def test_a_halt_never_loosens_what_is_in_force() -> None:
    """trading:3.4. Found in review (R6): `reducing` replaced `halted` without being a resume."""
    kit = Kit().open()
    halt(kit)

    for who in (WHO, ADMIN):
        wish = SetState(
            scope="all", state=TradingState.REDUCING, reason="softer", who=who, ts=kit.ts
        )
        assert kit.post(wish) == []
    assert kit.engine.state() is TradingState.HALTED


def approved(kit: Kit, order: Order, expires_at: int | None = None, **to: str) -> ApprovedAmend:
    """Amend an order; what the gate lets out."""
    full = {name: D(to[name]) if name in to else None for name in ("amount", "price", "stop_price")}
    effects = kit.post(
        Amend(
            order_id=order.id,
            stop_loss=None,
            take_profit=None,
            expires_at=expires_at,
            who=WHO,
            ts=kit.ts,
            **full,
        )
    )
    (found,) = [effect.approved for effect in effects if isinstance(effect, SubmitAmend)]
    return found


@pytest.mark.parametrize(
    ("state", "amount", "passes"),
    [
        (TradingState.HALTED, "0.02", False),
        (TradingState.REDUCING, "0.02", False),
        (TradingState.HALTED, "0.005", True),
    ],
)
def test_an_amend_that_waits_meets_a_halt_at_the_door_unless_it_gives_back(
    *, state: TradingState, amount: str, passes: bool
) -> None:
    """trading:K1. Found in review (R19): it went out after the halt's reply."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    leaving = ReleaseAmend(approved=approved(kit, order, amount=amount), ts=kit.ts)
    kit.post(leaving)
    halt(kit, state)

    if passes:
        assert kit.post(leaving) == []
        return
    with pytest.raises(Refused, match="nothing was sent") as caught:
        kit.post(leaving)
    assert caught.value.code is Code.HALTED


def test_an_amend_leaves_in_time_at_a_ready_venue_and_for_a_working_order_or_not_at_all() -> None:
    """protocol:8.1. Found in review (R19): amends knew no `expires_at`."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    soon = kit.ts + SECOND
    leaving = approved(kit, order, soon, price="63001")
    assert leaving.expires_at == soon

    def refusal_at(ts: int) -> Code:
        with pytest.raises(Refused) as caught:
            kit.post(ReleaseAmend(approved=leaving, ts=ts))
        return caught.value.code

    kit.post(ReleaseAmend(approved=leaving, ts=soon - 1))
    assert refusal_at(soon) is Code.EXPIRED
    kit.post(Ready(venue="paper", ready=False, reason="away", ts=kit.ts))
    assert refusal_at(kit.ts) is Code.VENUE_UNAVAILABLE
    kit.post(Ready(venue="paper", ready=True, reason="back", ts=kit.ts))
    kit.post(Cancel(order_id=order.id, who=WHO, ts=kit.ts))
    assert refusal_at(kit.ts) is Code.CONFLICT
    kit.seen(order, Status.CANCELED)
    assert refusal_at(kit.ts) is Code.CONFLICT


def test_an_amend_that_comes_too_late_is_refused_and_one_without_a_change_is_not() -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    late = Amend(
        order_id=order.id,
        amount=None,
        price=D(63000),
        stop_price=None,
        stop_loss=None,
        take_profit=None,
        expires_at=kit.ts,
        who=WHO,
        ts=kit.ts,
    )

    assert kit.post(late) == []
    assert not kit.engine.preview_amend(late)
    with pytest.raises(Refused) as caught:
        kit.post(replace(late, price=D(63001)))
    assert caught.value.code is Code.EXPIRED


def test_a_preview_of_an_amend_judges_the_replacement_and_changes_nothing() -> None:
    """protocol:8.1. Found in review (R15): a dry run of an amend checked nothing."""
    kit = Kit(replace(OFF, max_order_notional=D(1000))).open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    before = kit.engine.digest()

    def wish(**to: object) -> Amend:
        full: dict[str, object] = dict.fromkeys(("amount", "price", "stop_price")) | to
        legs = {name: full.pop(name, None) for name in ("stop_loss", "take_profit")}
        return Amend(order_id=order.id, who=WHO, ts=kit.ts, **full, **legs)  # type: ignore[arg-type]

    assert kit.engine.preview_amend(wish(price=D(63001)))
    assert kit.engine.preview_amend(wish(stop_loss=Trigger(price=D(60000))))
    for to, code in (
        ({"amount": D("0.1")}, Code.RISK_REJECTED),
        ({"price": D("0.001")}, Code.INVALID),
    ):
        with pytest.raises(Refused) as caught:
            kit.engine.preview_amend(wish(**to))
        assert caught.value.code is code
    assert kit.engine.digest() == before


def test_a_used_id_is_told_before_anything_is_judged() -> None:
    """protocol:8.4. Found in review (R17): a preview called valid what a placement calls a conflict."""
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", client_order_id="g-1")
    content = {"symbol": BTC, "side": "buy", "amount": "0.01"}
    again = Place(
        order=kit.draft(BTC, "buy", "0.01", client_order_id="g-1"),
        who=WHO,
        ts=kit.ts,
        content=content,
    )

    assert kit.engine.repeated(again) == order
    assert kit.engine.repeated(replace(again, order=kit.draft())) is None
    with pytest.raises(Refused) as caught:
        kit.engine.repeated(replace(again, content=content | {"amount": "0.02"}))
    assert caught.value.code is Code.CONFLICT


def test_nothing_enters_before_the_account_is_ready() -> None:
    """trading:G3."""
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.balance("BTC", "1")
    kit.prices()

    assert refused(kit, BTC, "buy", "0.01").code is Code.VENUE_UNAVAILABLE
    refusal = refused(kit, BTC, "sell", "0.01")
    assert rule_of(refusal) == "not_ready"
    assert refusal.retry_after == 1.0


def test_exits_pass_while_an_account_that_was_ready_is_in_doubt() -> None:
    """trading:G3."""
    kit = Kit().open(USDT="1000", BTC="1")
    kit.post(Ready(venue="paper", ready=False, reason="stream lost", ts=kit.ts))

    assert "stream lost" in refused(kit, BTC, "buy", "0.01").message
    assert kit.place(BTC, "sell", "0.01").status is Status.PENDING


@pytest.mark.parametrize(("age_ms", "passes"), [(30_000, True), (30_001, False)])
def test_private_data_may_be_thirty_seconds_old(*, age_ms: int, passes: bool) -> None:
    """trading:G3."""
    kit = Kit(with_limits(max_price_age_ms=10**9)).open()
    # A silent symbol does not matter here, only the account does.
    kit.post(Stale(venue="paper", symbol=None, stale=True, cause="silent", asof=kit.ts))
    kit.ts += age_ms * MS

    refusal = refused(kit, BTC, "buy", "0.01", price="64000")

    assert (rule_of(refusal) == "not_ready") is not passes


# --- G4, G5, G6, G7 ---------------------------------------------------------------------------


def test_only_allowed_symbols_that_trade_now_are_traded() -> None:
    """trading:G4."""
    closed = MARKETS | {ETH: replace(MARKETS[ETH], active=False)}
    kit = Kit(with_limits(allowed_symbols=(BTC, ETH)), markets=closed).open()

    assert rule_of(refused(kit, PERP, "buy", "1")) == "symbol_not_allowed"
    assert rule_of(refused(kit, ETH, "buy", "1")) == "market_inactive"
    assert kit.place(BTC, "buy", "0.01").status is Status.PENDING


@pytest.mark.parametrize(
    ("rule", "fields", "nearest"),
    [
        ("tick_size", {"price": "64000.001"}, ["64000.00", "64000.01"]),
        ("tick_size", {"price": "63000", "stop_loss": Trigger(price=D("1.001"))}, ["1.00", "1.01"]),
        (
            "tick_size",
            {"price": "63000", "stop_loss": Trigger(price=D(2), limit=D("1.001"))},
            ["1.00", "1.01"],
        ),
        (
            "tick_size",
            {"price": "63000", "take_profit": Trigger(price=D("70000.001"))},
            ["70000.00", "70000.01"],
        ),
        (
            "tick_size",
            {"type": "stop", "price": None, "stop_price": "65000.001"},
            ["65000.00", "65000.01"],
        ),
        (
            "tick_size",
            {"type": "trailing_stop", "price": None, "trailing_amount": "0.001"},
            ["0.01"],
        ),
        ("lot_size", {"amount": "0.010001"}, ["0.01000", "0.01001"]),
    ],
)
def test_what_is_off_the_grid_is_refused_with_the_nearest_values(
    rule: str, fields: dict[str, object], nearest: list[str]
) -> None:
    """trading:G5."""
    kit = Kit().open()
    amount = str(fields.pop("amount", "0.01"))

    refusal = refused(kit, BTC, "buy", amount, **{"price": "64000", **fields})

    assert refusal.code is Code.INVALID
    assert rule_of(refusal) == rule
    assert refusal.details is not None
    assert refusal.details["nearest"] == nearest
    fields_row = refusal.details["fields"]
    assert isinstance(fields_row, list)
    assert [row["reason"] for row in fields_row] == [rule]
    assert nearest[0] in refusal.message


@pytest.mark.parametrize(
    ("rule", "amount", "price", "passes"),
    [
        ("min_amount", "0.0001", "64000", True),
        ("min_amount", "0.00009", "64000", False),
        ("max_amount", "100", "64000", True),
        ("max_amount", "100.00001", "64000", False),
        ("max_market_amount", "50", None, True),
        ("max_market_amount", "50.00001", None, False),
        ("min_cost", "0.001", "5000", True),
        ("min_cost", "0.001", "4999.99", False),
    ],
)
@pytest.mark.promise("O9")
def test_amounts_and_costs_stay_within_the_market(
    *, rule: str, amount: str, price: str | None, passes: bool
) -> None:
    """trading:G6."""
    kit = Kit().open(USDT="1000000000")

    if passes:
        assert agree(kit, BTC, "buy", amount, price=price)
    else:
        refusal = refused(kit, BTC, "buy", amount, price=price)
        assert rule_of(refusal) == rule
        assert refusal.code is Code.INVALID
        assert not agree(kit, BTC, "buy", amount, price=price)


@pytest.mark.parametrize("cost", ["100", "33.33", "9999.99", "7"])
def test_a_buy_by_cost_passes_whether_or_not_the_price_divides_it(cost: str) -> None:
    """trading:G12."""
    kit = Kit(replace(OFF, max_slippage=D("0.02"))).open()
    kit.price(BTC, "64000.10")

    assert agree(kit, BTC, "buy", "0", cost_limit=cost)
    assert kit.place(BTC, "buy", "0", cost_limit=cost).cost_limit == D(cost)


def test_a_buy_by_cost_of_contracts_passes_where_their_size_does_not_divide_it() -> None:
    """trading:G12."""
    odd = MARKETS | {PERP: replace(MARKETS[PERP], contract_size=D("0.003"))}
    kit = Kit(replace(OFF, max_slippage=D("0.02")), markets=odd).open()

    assert agree(kit, PERP, "buy", "0", cost_limit="1000")


@pytest.mark.parametrize(("cost", "passes"), [("6.41", True), ("6.4", False)])
def test_a_buy_by_cost_is_judged_by_what_it_would_buy(*, cost: str, passes: bool) -> None:
    """trading:G6."""
    kit = Kit().open()
    fields: dict[str, object] = {"amount": "0", "cost_limit": cost}

    if passes:
        order = kit.place(BTC, "buy", **fields)  # type: ignore[arg-type]
        assert order.amount == D("0.0001")
    else:
        refusal = refused(kit, BTC, "buy", **fields)
        assert rule_of(refusal) == "min_amount"


def test_closing_all_may_be_below_the_minimum_cost() -> None:
    """trading:G6."""
    kit = Kit().open(USDT="100", BTC="0.0005")
    kit.prices(btc="5000")

    assert rule_of(refused(kit, BTC, "sell", "0.0004")) == "min_cost"
    assert kit.place(BTC, "sell", "0.0005").role is Role.EXIT


def test_without_a_price_the_minimum_cost_refuses_an_entry() -> None:
    """trading:G6."""
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.balance("BTC", "1")
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    refusal = refused(kit, BTC, "buy", "0.01")
    assert refusal.details is not None
    assert refusal.details["failed"] == ["min_cost", "insufficient_funds", "stale_market_data"]
    assert (refusal.code, rule_of(refusal)) == (Code.RISK_REJECTED, "stale_market_data")
    assert kit.place(BTC, "sell", "0.01").role is Role.EXIT


def test_inverse_contracts_and_margin_are_not_supported() -> None:
    """trading:G7."""
    inverse = MARKETS | {PERP: replace(MARKETS[PERP], settle="BTC")}
    kit = Kit(markets=inverse).open(USDT="1000", BTC="1")

    assert refused(kit, PERP, "buy", "1").code is Code.NOT_SUPPORTED
    margin = refused(kit, ETH, "buy", "0.01", position_type="margin")
    assert margin.code in {Code.NOT_SUPPORTED, Code.INVALID}


# --- G8 ---------------------------------------------------------------------------------------


def funds_for(amount: str, price: str) -> Decimal:
    return D(amount) * D(price) * D("1.001")


@pytest.mark.parametrize(("short", "passes"), [("0", True), ("0.00000001", False)])
def test_a_buy_needs_its_cost_and_the_worst_fee(*, short: str, passes: bool) -> None:
    """trading:G8."""
    need = funds_for("0.01", "64000")
    kit = Kit().open(USDT=str(need - D(short)))

    if passes:
        assert agree(kit, BTC, "buy", "0.01", price="64000")
    else:
        refusal = refused(kit, BTC, "buy", "0.01", price="64000")
        assert refusal.code is Code.INSUFFICIENT_FUNDS
        assert refusal.message == "needs 640.64 USDT, available 640.63999999 USDT"


def test_a_sell_beyond_what_is_held_says_what_is_there() -> None:
    """trading:G8."""
    kit = Kit().open(USDT="1000", BTC="0.00999")

    refusal = refused(kit, BTC, "sell", "5", price="64500")

    assert refusal.code is Code.INSUFFICIENT_FUNDS
    assert refusal.message == "needs 5 BTC, available 0.00999 BTC"


def test_two_orders_cannot_spend_the_same_money_before_the_venue_has_seen_the_first() -> None:
    """trading:G8 trading:R2."""
    need = funds_for("0.01", "64000")
    kit = Kit().open(USDT=str(need))
    first = kit.place(BTC, "buy", "0.01", price="64000")

    assert refused(kit, BTC, "buy", "0.001", price="64000").code is Code.INSUFFICIENT_FUNDS
    # The venue's balance from before the order frees nothing.
    kit.balance("USDT", str(need))
    assert refused(kit, BTC, "buy", "0.001", price="64000").code is Code.INSUFFICIENT_FUNDS
    kit.accept(first)
    kit.balance("USDT", "0", str(need))
    assert refused(kit, BTC, "buy", "0.001", price="64000").code is Code.INSUFFICIENT_FUNDS
    # Money that comes in is free: the first order is in the venue's word now.
    kit.balance("USDT", str(need), str(need))
    assert kit.place(BTC, "buy", "0.001", price="64000").status is Status.PENDING


def test_a_fill_before_its_balance_does_not_free_the_money() -> None:
    """trading:G8."""
    need = funds_for("0.01", "64000")
    kit = Kit().open(USDT=str(need))
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.01")

    assert refused(kit, BTC, "buy", "0.001", price="64000").code is Code.INSUFFICIENT_FUNDS


def test_a_refused_order_gives_its_money_back() -> None:
    """trading:G8."""
    need = funds_for("0.01", "64000")
    kit = Kit().open(USDT=str(need))
    order = kit.place(BTC, "buy", "0.01", price="64000")
    kit.post(Rejected(order_id=order.id, code=Code.VENUE_REJECTED, reason="no", ts=kit.ts))

    assert kit.place(BTC, "buy", "0.01", price="64000").status is Status.PENDING


def test_margin_and_fee_are_what_a_contract_needs() -> None:
    """trading:G8."""
    # 10 contracts of 0.01 BTC at 64,000 are 6,400; a tenth of it and 0.00055 of it.
    kit = Kit().open(USDT="643.52")

    assert agree(kit, PERP, "buy", "10", price="64000", leverage="10")
    assert not agree(kit, PERP, "buy", "10", price="64000", leverage="10")


def test_an_unknown_balance_refuses_entries_and_warns_exits() -> None:
    """trading:G8 trading:R4."""
    kit = Kit()
    kit.prices()
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))

    refusal = refused(kit, BTC, "buy", "0.01")

    assert "balance of USDT is not known" in refusal.message


def test_closing_a_contract_needs_no_margin() -> None:
    """trading:G8."""
    kit = Kit().open(USDT="700")
    kit.bought(PERP, "buy", "10", "64000", leverage=D(10))
    kit.balance("USDT", "0", "640")

    assert kit.place(PERP, "sell", "10", reduce_only=True).role is Role.EXIT


# --- G9 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "passes"), [("7", True), ("8", False)])
def test_an_exit_asks_for_no_more_than_can_still_be_closed(*, amount: str, passes: bool) -> None:
    """trading:G9."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    kit.opened(PERP, "sell", "3", price="65000", reduce_only=True)

    if passes:
        assert agree(kit, PERP, "sell", amount, price="65000", reduce_only=True)
    else:
        refusal = refused(kit, PERP, "sell", amount, price="65000", reduce_only=True)
        assert rule_of(refusal) == "reduce_only_violation"


def test_reduce_only_on_the_wrong_side_is_refused() -> None:
    """trading:G9."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")

    assert rule_of(refused(kit, PERP, "buy", "1", reduce_only=True)) == "reduce_only_violation"


def test_an_unknown_exit_counts_as_filled_in_the_capacity() -> None:
    """trading:G9."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    lost = kit.place(PERP, "sell", "10", price="65000", reduce_only=True)
    kit.post(Unknown(order_id=lost.id, command="m-1", ts=kit.ts))

    assert rule_of(refused(kit, PERP, "sell", "1", reduce_only=True)) == "reduce_only_violation"


def test_a_plain_contract_order_is_an_entry_even_when_it_happens_to_reduce() -> None:
    """trading:R3."""
    kit = Kit().open()
    kit.bought(PERP, "buy", "10", "64000")
    halt(kit, TradingState.REDUCING)

    assert rule_of(refused(kit, PERP, "sell", "1")) == "trading_reducing"
    assert kit.place(PERP, "sell", "1", reduce_only=True).status is Status.PENDING


# --- G10, G11, G12 ----------------------------------------------------------------------------


@pytest.mark.parametrize(("age_ms", "passes"), [(5000, True), (5001, False)])
@pytest.mark.promise("O10")
def test_prices_may_be_five_seconds_old(*, age_ms: int, passes: bool) -> None:
    """trading:G10."""
    kit = Kit().open(USDT="1000", BTC="1")
    kit.ts += age_ms * MS

    assert agree(kit, BTC, "buy", "0.01", price="64000") is passes
    exit_order = kit.draft(BTC, "sell", "0.01", price="65000")
    effects = kit.post(Place(order=exit_order, who=WHO, ts=kit.ts))
    [submit] = of(effects, Submit)
    assert isinstance(submit, Submit)
    assert bool(submit.approved.warnings) is not passes


@pytest.mark.promise("O10")
def test_a_silent_source_refuses_entries_however_young_its_price() -> None:
    """trading:G10."""
    kit = Kit().open()
    kit.post(Stale(venue="paper", symbol=BTC, stale=True, cause="silent", asof=kit.ts))

    assert rule_of(refused(kit, BTC, "buy", "0.01")) == "stale_market_data"
    kit.post(Stale(venue="paper", symbol=BTC, stale=False, cause=None, asof=kit.ts))
    assert kit.place(BTC, "buy", "0.01").status is Status.PENDING


@pytest.mark.parametrize(
    ("side", "price", "passes"),
    [
        ("buy", "67200", True),
        ("buy", "67200.01", False),
        ("buy", "32000", True),
        ("buy", "31999.99", False),
        ("sell", "60800", True),
        ("sell", "60799.99", False),
        ("sell", "96000", True),
        ("sell", "96000.01", False),
    ],
)
@pytest.mark.promise("O9")
def test_limits_stay_within_the_band(*, side: str, price: str, passes: bool) -> None:
    """trading:G11."""
    kit = Kit(with_limits(price_band=D("0.05"), price_band_passive=D("0.5"))).open(
        USDT="1000000", BTC="1"
    )

    assert agree(kit, BTC, side, "0.01", price=price) is passes


def test_the_narrower_band_of_ours_and_the_markets_counts() -> None:
    """trading:G11."""
    narrow = MARKETS | {BTC: replace(MARKETS[BTC], price_band=D("0.01"))}
    kit = Kit(with_limits(price_band=D("0.05")), markets=narrow).open()

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="65000")) == "price_band"
    off = Kit(markets=narrow).open()
    assert rule_of(refused(off, BTC, "buy", "0.01", price="65000")) == "price_band"


@pytest.mark.parametrize(
    ("kind", "side", "stop_price", "passes"),
    [
        ("stop", "buy", "64000.01", True),
        ("stop", "buy", "64000", False),
        ("stop", "sell", "63999.99", True),
        ("stop", "sell", "64000", False),
        ("take_profit", "buy", "63999.99", True),
        ("take_profit", "buy", "64000", False),
        ("take_profit", "sell", "64000.01", True),
        ("take_profit", "sell", "64000", False),
    ],
)
def test_a_trigger_stands_on_its_side_of_the_market(
    *, kind: str, side: str, stop_price: str, passes: bool
) -> None:
    """trading:G11."""
    kit = Kit().open(USDT="100000", BTC="1")

    assert agree(kit, BTC, side, "0.01", type=kind, stop_price=stop_price) is passes


def test_a_stop_limit_is_measured_from_its_trigger() -> None:
    """trading:G11."""
    kit = Kit(with_limits(price_band=D("0.05"))).open(USDT="100000")

    fields: dict[str, object] = {"type": "stop_limit", "stop_price": "70000"}
    assert agree(kit, BTC, "buy", "0.01", price="73500", **fields)
    assert not agree(kit, BTC, "buy", "0.01", price="73500.01", **fields)


@pytest.mark.promise("O10")
def test_an_exit_is_held_to_the_band_only_by_a_fresh_price() -> None:
    """trading:G11."""
    kit = Kit(with_limits(price_band=D("0.05"))).open(USDT="1000", BTC="1")

    assert rule_of(refused(kit, BTC, "sell", "0.01", price="10000")) == "price_band"
    kit.ts += 10 * SECOND
    assert kit.place(BTC, "sell", "0.01", price="10000").role is Role.EXIT


def deep(kit: Kit, *asks: tuple[str, str]) -> None:
    kit.post(BookSnapshot(symbol=BTC, bids=(("63980", "1"),), asks=asks, ts=kit.ts, recv_ts=kit.ts))
    kit.post(
        Ticker(
            symbol=BTC,
            bid="63980",
            bid_amount="1",
            ask=asks[0][0],
            ask_amount=asks[0][1],
            ts=kit.ts,
            recv_ts=kit.ts,
        )
    )


@pytest.mark.parametrize(
    ("second", "passes"),
    # Mid 64,000; half at 64,020 and half at the second level averages to mid plus 2 % or more.
    [("66540", True), ("66540.01", False)],
)
def test_a_market_order_may_slip_two_percent(*, second: str, passes: bool) -> None:
    """trading:G12."""
    kit = Kit(with_limits(max_slippage=D("0.02"))).open(USDT="1000000")
    deep(kit, ("64020", "1"), (second, "1"))

    assert agree(kit, BTC, "buy", "2") is passes


def test_a_market_order_beyond_the_depth_is_refused_and_an_exit_warned() -> None:
    """trading:G12."""
    kit = Kit(with_limits(max_slippage=D("0.02"))).open(USDT="10000000", BTC="5")
    deep(kit, ("64020", "1"), ("64021", "1"))

    assert rule_of(refused(kit, BTC, "buy", "2.00001")) == "max_slippage"
    cost = refused(kit, BTC, "buy", "0", cost_limit="200000")
    assert rule_of(cost) == "max_slippage"
    assert agree(kit, BTC, "buy", "0", cost_limit="100000")
    kit.post(Place(order=kit.draft(BTC, "sell", "1.5"), who=WHO, ts=kit.ts))
    [submit] = of(kit.effects, Submit)
    assert isinstance(submit, Submit)
    assert "max_slippage cannot be judged" in submit.approved.warnings[0]


@pytest.mark.parametrize(("ask", "passes"), [("64020", True), ("60000", False)])
def test_slippage_on_a_book_of_one_side_is_judged_by_the_ticker(*, ask: str, passes: bool) -> None:
    """trading:G12."""
    kit = Kit(with_limits(max_slippage=D("0.02"))).open(USDT="1000000")
    asks = (("64020", "1"),)
    kit.post(BookSnapshot(symbol=BTC, bids=(), asks=asks, ts=kit.ts, recv_ts=kit.ts))
    bid = str(D(ask) - 1)
    kit.post(
        Ticker(
            symbol=BTC, bid=bid, bid_amount="1", ask=ask, ask_amount="1", ts=kit.ts, recv_ts=kit.ts
        )
    )

    assert agree(kit, BTC, "buy", "0.5") is passes


# --- G13 to G19 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "limits", "amount", "passes"),
    [
        ("max_order_amount", {"max_order_amount": D("0.5")}, "0.5", True),
        ("max_order_amount", {"max_order_amount": D("0.5")}, "0.50001", False),
        ("max_order_notional", {"max_order_notional": D(640)}, "0.01", True),
        ("max_order_notional", {"max_order_notional": D("639.99")}, "0.01", False),
        ("max_position_size", {"max_position_size": D("0.0064")}, "0.01", True),
        ("max_position_size", {"max_position_size": D("0.0063999")}, "0.01", False),
        ("max_position_notional", {"max_position_notional": D(640)}, "0.01", True),
        ("max_position_notional", {"max_position_notional": D("639.99")}, "0.01", False),
        ("max_leverage", {"max_leverage": D("0.0064")}, "0.01", True),
        ("max_leverage", {"max_leverage": D("0.0063999")}, "0.01", False),
    ],
)
@pytest.mark.promise("O9")
def test_sizes_at_the_limit_and_one_unit_beyond(
    *, rule: str, limits: dict[str, object], amount: str, passes: bool
) -> None:
    """trading:G13 trading:G14 trading:G15 trading:G16 trading:G17."""
    kit = Kit(with_limits(**limits)).open(USDT="100000")

    assert agree(kit, BTC, "buy", amount, price="64000") is passes
    if not passes:
        refusal = refused(kit, BTC, "buy", amount, price="64000")
        assert rule_of(refusal) == rule
        assert refusal.code is Code.RISK_REJECTED


def test_the_refusal_of_the_protocols_example() -> None:
    """trading:G14."""
    kit = Kit(with_limits(max_order_notional=D(10000))).open(USDT="100000")

    refusal = refused(kit, BTC, "buy", "1", price="64000")

    assert refusal.message == "notional 64000 USDT exceeds max_order_notional 10000 USDT"
    assert refusal.details is not None
    shown = {name: refusal.details[name] for name in ("rule", "limit", "value", "unit")}
    assert shown == {
        "rule": "max_order_notional",
        "limit": "10000",
        "value": "64000",
        "unit": "USDT",
    }


def test_exits_are_exempt_from_sizes() -> None:
    """trading:G13 trading:G14 trading:G15 trading:G16 trading:G17."""
    tight = with_limits(
        max_order_amount=D("0.001"),
        max_order_notional=D(1),
        max_position_size=D("0.0001"),
        max_position_notional=D(1),
        max_leverage=D("0.0001"),
    )
    kit = Kit(tight).open(USDT="1000", BTC="1")

    assert kit.place(BTC, "sell", "1").role is Role.EXIT


def test_working_orders_count_at_their_worst_case() -> None:
    """trading:G15 trading:3.2."""
    kit = Kit(with_limits(max_position_notional=D(1280))).open(USDT="100000")
    kit.opened(BTC, "buy", "0.01", price="64000")

    assert agree(kit, BTC, "buy", "0.01", price="64000")
    assert not agree(kit, BTC, "buy", "0.0001", price="64000")


def test_an_own_limit_below_the_mark_is_judged_at_the_mark() -> None:
    """trading:G14 trading:3.2."""
    kit = Kit(with_limits(max_order_notional=D(640))).open(USDT="100000")

    assert agree(kit, BTC, "buy", "0.01", price="50000")
    assert not agree(kit, BTC, "buy", "0.01001", price="50000")


def test_a_market_order_is_judged_half_a_percent_above_the_walked_price() -> None:
    """trading:G14 trading:3.2."""
    kit = Kit(with_limits(max_order_notional=D("643.20"))).open(USDT="100000")
    # 64,000.01 with 0.005 more is 64,320.01005, times 0.01.
    assert not agree(kit, BTC, "buy", "0.01")
    wider = Kit(with_limits(max_order_notional=D("643.2001005"))).open(USDT="100000")
    assert agree(wider, BTC, "buy", "0.01")


def test_without_equity_entries_are_refused_and_exits_pass() -> None:
    """trading:G15 trading:G17 trading:G25 trading:R4."""
    kit = Kit(Limits(order_rate=None)).open(USDT="1000", BTC="1", ETH="5")
    kit.ts += 61 * SECOND
    kit.price(BTC, "64000")

    refusal = refused(kit, BTC, "buy", "0.001")
    assert refusal.details is not None
    assert refusal.details["failed"] == [
        "max_position_size",
        "max_leverage",
        "max_daily_loss",
        "max_drawdown",
    ]
    assert "ETH" in refusal.message
    assert kit.place(BTC, "sell", "0.01").role is Role.EXIT


def test_the_orders_own_leverage_counts() -> None:
    """trading:G17."""
    kit = Kit(with_limits(max_leverage=D(3))).open(USDT="100000")

    assert agree(kit, PERP, "buy", "1", price="64000", leverage="3")
    assert not agree(kit, PERP, "buy", "1", price="64000", leverage="3.01")


def test_all_symbols_count_in_the_leverage() -> None:
    """trading:G17."""
    kit = Kit(with_limits(max_leverage=D("0.0128"))).open(USDT="100000")
    kit.opened(PERP, "buy", "1", price="64000")

    assert agree(kit, BTC, "buy", "0.01", price="64000")
    assert not agree(kit, BTC, "buy", "0.0001", price="64000")


def test_a_symbol_without_a_price_makes_the_total_unknown() -> None:
    """trading:G17 trading:R4."""
    kit = Kit(with_limits(max_leverage=D(3)))
    kit.balance("USDT", "100000")
    kit.price(BTC, "64000")
    kit.price(ETH, "3000")
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    kit.opened(ETH, "buy", "0.01", price="3000")
    kit.engine._state.quotes.books.clear()
    kit.engine._state.quotes.tickers.pop(ETH)
    kit.engine._state.quotes._marks_now.clear()

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="64000")) == "max_leverage"


@pytest.mark.parametrize(("limit", "passes"), [(2, True), (1, False)])
def test_new_symbols_are_counted_and_known_ones_pass(*, limit: int, passes: bool) -> None:
    """trading:G18."""
    kit = Kit(with_limits(max_open_positions=limit)).open(USDT="100000")
    kit.bought(BTC, "buy", "0.01", "64000")

    assert agree(kit, BTC, "buy", "0.01", price="63000")
    assert agree(kit, ETH, "buy", "0.01", price="3000") is passes


def test_an_entry_counts_under_the_symbol_that_shows_its_coin() -> None:
    """trading:G18."""
    sibling = replace(MARKETS[BTC], symbol="BTC/EUR", id="BTCEUR", quote="EUR")
    markets = MARKETS | {sibling.symbol: sibling}
    kit = Kit(with_limits(max_open_positions=1), markets=markets).open(USDT="100000", EUR="100000")
    kit.price(sibling.symbol, "58000")
    kit.opened(sibling.symbol, "buy", "0.01", price="58000")

    assert kit.engine._state.engaged() == {BTC: D(0)}
    assert agree(kit, BTC, "buy", "0.01", price="63000")
    assert not agree(kit, ETH, "buy", "0.01", price="3000")


def test_dust_is_no_position() -> None:
    """trading:G18."""
    kit = Kit(with_limits(max_open_positions=1)).open(USDT="100000", BTC="0.000001")

    assert agree(kit, ETH, "buy", "0.01", price="3000")


@pytest.mark.parametrize(
    ("limits", "symbol"),
    [({"max_open_orders_symbol": 2}, BTC), ({"max_open_orders": 2}, ETH)],
)
def test_open_orders_are_counted_per_symbol_and_account(
    limits: dict[str, object], symbol: str
) -> None:
    """trading:G19."""
    kit = Kit(with_limits(**limits)).open(USDT="100000", BTC="1")
    kit.opened(BTC, "buy", "0.01", price="60000")
    assert agree(kit, BTC, "buy", "0.01", price="60001")

    refusal = refused(kit, symbol, "buy", "0.01", price="2000" if symbol == ETH else "60002")

    assert rule_of(refusal) == "max_open_orders"
    assert kit.place(BTC, "sell", "0.01").role is Role.EXIT


# --- G20 to G24 -------------------------------------------------------------------------------


def placed_before_refusal(kit: Kit, most: int, *args: str, **fields: object) -> int:
    for number in range(most):
        try:
            kit.place(*args, allow_duplicate=True, **fields)  # type: ignore[arg-type]
        except Refused as refusal:
            if refusal.code is not Code.RATE_LIMITED or not refusal.retry_after:
                raise
            return number
    return most


def test_an_owner_has_a_burst_then_a_rate() -> None:
    """trading:G20."""
    kit = Kit(with_limits(order_rate=10, order_burst=20)).open(USDT="100000")

    assert placed_before_refusal(kit, 30, BTC, "buy", "0.001", price="60000") == 20
    kit.ts += SECOND // 10 - 1
    assert placed_before_refusal(kit, 5, BTC, "buy", "0.001", price="60000") == 0
    kit.ts += 1
    assert placed_before_refusal(kit, 5, BTC, "buy", "0.001", price="60000") == 1
    # Another owner has a bucket of its own.
    assert placed_before_refusal(kit, 5, BTC, "buy", "0.001", price="60000", bot_id="b") == 5


def test_the_account_has_so_many_orders_a_minute() -> None:
    """trading:G20."""
    kit = Kit(with_limits(order_rate_minute=30)).open(USDT="100000")

    assert placed_before_refusal(kit, 40, BTC, "buy", "0.001", price="60000") == 30
    kit.ts += 2 * SECOND
    kit.prices()
    assert placed_before_refusal(kit, 5, BTC, "buy", "0.001", price="60000") == 1


def test_exits_have_a_fifth_of_the_rate_for_themselves() -> None:
    """trading:G20."""
    kit = Kit(with_limits(order_rate=10, order_burst=20, order_rate_minute=20)).open(
        USDT="100000", BTC="1"
    )
    assert placed_before_refusal(kit, 30, BTC, "buy", "0.001", price="60000") == 20

    assert placed_before_refusal(kit, 9, BTC, "sell", "0.001") == 4
    # Flattening is not counted at all.
    assert (
        placed_before_refusal(kit, 9, BTC, "sell", "0.001", source="flatten", reduce_only=True) == 9
    )


@pytest.mark.parametrize(("age_ms", "passes"), [(999, False), (1000, True)])
def test_the_same_order_twice_within_a_second_is_a_mistake(*, age_ms: int, passes: bool) -> None:
    """trading:G21."""
    kit = Kit(with_limits(duplicate_order_ms=1000)).open(USDT="100000")
    kit.place(BTC, "buy", "0.01", price="60000")
    kit.ts += age_ms * MS

    assert agree(kit, BTC, "buy", "0.01", price="60000") is passes


def test_headroom_is_what_is_left_and_a_grid_leaves_none() -> None:
    kit = Kit(with_limits(duplicate_order_ms=1000)).open(USDT="100000")
    kit.place(BTC, "buy", "0.01", price="60000")
    kit.ts += 1500 * MS

    wish = Place(order=kit.draft(BTC, "buy", "0.01", price="60000"), who=WHO, ts=kit.ts)
    room = {rule.rule: rule.headroom for rule in kit.engine.preview(wish).rules if rule.ok}

    assert room["duplicate_order"] == 500
    assert (room["lot_size"], room["tick_size"]) == (None, None)
    assert room["min_amount"] == D("0.0099")


def test_the_figures_of_a_refusal_fit_the_wire() -> None:
    kit = Kit(with_limits(max_position_size=D("0.1"))).open(USDT="99999.99")
    refusal = refused(kit, BTC, "buy", "0.3", price="60000.07")

    assert refusal.details is not None
    assert re.fullmatch(r"0\.[0-9]{1,18}", str(refusal.details["value"]))
    for row in refusal.details["rules"]:  # type: ignore[attr-defined]
        for name in ("limit", "value", "headroom"):
            assert row[name] is None or len(row[name].partition(".")[2]) <= 18


def test_a_duplicate_may_be_meant() -> None:
    """trading:G21."""
    kit = Kit(with_limits(duplicate_order_ms=1000)).open(USDT="100000")
    kit.place(BTC, "buy", "0.01", price="60000")

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="60000")) == "duplicate_order"
    kit.place(BTC, "buy", "0.01", price="60000", allow_duplicate=True)
    kit.place(BTC, "buy", "0.01", price="60000.01")
    kit.place(BTC, "buy", "0.01", price="60000", bot_id="b")


def test_trailing_stops_at_different_distances_are_different_orders() -> None:
    """trading:G21. Found by a run: a second stop at another distance was "the same order"."""
    kit = Kit(with_limits(duplicate_order_ms=1000)).open(USDT="100000", BTC="1")
    stop = OrderType.TRAILING_STOP
    kit.place(BTC, "sell", "0.01", type=stop, trailing_amount=D("500"))
    kit.place(BTC, "sell", "0.01", type=stop, trailing_amount=D("700"))
    kit.place(BTC, "sell", "0.01", type=stop, trailing_rate=D("0.01"))
    kit.place(BTC, "sell", "0.01", type=stop, trailing_rate=D("0.02"))

    again = refused(kit, BTC, "sell", "0.01", type=stop, trailing_rate=D("0.02"))
    assert rule_of(again) == "duplicate_order"


def test_the_memory_for_duplicates_is_bounded() -> None:
    """trading:G21."""
    kit = Kit(with_limits(duplicate_order_ms=1000)).open(USDT="100000000")
    for number in range(1100):
        kit.ts += 10 * MS
        if number % 300 == 0:
            kit.prices()
        kit.place(BTC, "buy", "0.001", price=str(60000 + number))

    assert len(kit.engine._state.pace.recent) <= 1024


@pytest.mark.parametrize(("price", "passes"), [("64999.99", True), ("65000", False), (None, True)])
def test_an_entry_that_would_meet_an_own_order_is_refused(
    *, price: str | None, passes: bool
) -> None:
    """trading:G22."""
    kit = Kit(with_limits(self_trade=True)).open(USDT="100000")
    kit.opened(PERP, "sell", "1", price="65000")

    assert agree(kit, PERP, "buy", "1", price=price and price.replace(".99", ".9")) is passes


def test_a_market_order_that_walks_to_an_own_order_is_refused() -> None:
    """trading:G22."""
    kit = Kit(with_limits(self_trade=True)).open(USDT="100000000")
    kit.opened(PERP, "sell", "1", price="64000.1")

    assert rule_of(refused(kit, PERP, "buy", "1")) == "self_trade"
    assert agree(kit, PERP, "buy", "1", price="64000", post_only=True)


def test_an_exit_cancels_the_entry_it_would_meet() -> None:
    """trading:G22."""
    kit = Kit(with_limits(self_trade=True)).open(USDT="100000", BTC="1")
    entry = kit.opened(BTC, "buy", "0.01", price="63990")

    kit.post(Place(order=kit.draft(BTC, "sell", "0.02", price="63990"), who=WHO, ts=kit.ts))

    [cancel] = of(kit.effects, CancelAtVenue)
    assert isinstance(cancel, CancelAtVenue)
    assert cancel.order.id == entry.id
    assert isinstance(kit.effects[-1], Submit)
    # Once asked for, the cancel is not repeated.
    kit.post(Place(order=kit.draft(BTC, "sell", "0.02", price="63990"), who=WHO, ts=kit.ts))
    assert not of(kit.effects, CancelAtVenue)


MET = "self-trade prevention: out would trade with it"


def met(*, left: bool = True) -> tuple[Kit, Order]:
    """An entry that an exit of ours is about to meet."""
    kit = Kit(with_limits(self_trade=True)).open(USDT="100000", BTC="1")
    make = kit.opened if left else kit.place
    entry = make(BTC, "buy", "0.01", price="63990")
    leaving = kit.draft(BTC, "sell", "0.02", price="63990", client_order_id="out")
    kit.post(Place(order=leaving, who=WHO, ts=kit.ts))
    return kit, entry


def test_an_entry_that_makes_way_for_an_exit_says_why() -> None:
    """trading:G22. Found by a run: it ended without a word."""
    kit, entry = met()
    assert kit.order(entry.id).reason == MET
    kit.seen(kit.order(entry.id), Status.CANCELED, reason="CancelByUser")

    ended = kit.order(entry.id)
    assert (ended.status, ended.code, ended.reason) == (Status.CANCELED, None, MET)
    there = kit.replayed().orders.get(entry.id)
    assert there is not None
    assert there.reason == MET


def test_an_entry_that_had_not_left_says_why_it_makes_way() -> None:
    """trading:G22."""
    kit, entry = met(left=False)

    assert (kit.order(entry.id).status, kit.order(entry.id).reason) == (Status.CANCELED, MET)


def test_an_entry_that_fills_before_it_makes_way_has_nothing_to_say() -> None:
    """trading:G22."""
    kit, entry = met()
    kit.fill(kit.order(entry.id), "0.01")

    assert (kit.order(entry.id).status, kit.order(entry.id).reason) == (Status.FILLED, None)


@pytest.mark.parametrize("unknown", [True, False])
def test_an_entry_that_could_not_make_way_has_nothing_to_say(*, unknown: bool) -> None:
    """trading:G22."""
    kit, entry = met()
    kit.post(
        CancelFailed(order_id=entry.id, unknown=unknown, command="m-1", reason="no", ts=kit.ts)
    )
    assert kit.order(entry.id).reason == (MET if unknown else None)
    kit.ts += 60 * SECOND
    kit.seen(kit.order(entry.id), Status.OPEN, evidence="found")

    assert kit.order(entry.id).reason is None


def test_one_unknown_order_stops_its_owner_in_its_symbol() -> None:
    """trading:G23."""
    kit = Kit(with_limits(max_unknown=1)).open(USDT="100000", BTC="1")
    lost = kit.place(BTC, "buy", "0.01", price="60000")
    kit.post(Unknown(order_id=lost.id, command="m-1", ts=kit.ts))

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="60000")) == "max_unknown"
    assert agree(kit, ETH, "buy", "0.01", price="3000")
    assert kit.place(BTC, "buy", "0.01", bot_id="b", price="60000").status is Status.PENDING
    assert kit.place(BTC, "sell", "0.01").role is Role.EXIT


def test_a_strategy_that_enters_again_and_again_is_stopped() -> None:
    """trading:G24."""
    kit = Kit(with_limits(repeated_execution=2)).open(USDT="100000")
    tag: dict[str, object] = {"strategy_id": "s", "bot_id": "b"}
    for _ in range(2):
        kit.bought(BTC, "buy", "0.01", "64000", **tag)
    assert kit.engine.state(bot_id="b") is TradingState.ACTIVE

    kit.bought(BTC, "buy", "0.01", "64000", **tag)

    assert kit.engine.halts["bot:b"].by == "repeated_execution"
    assert kit.engine.halts["all"].by == "repeated_execution"
    failed = refused(kit, BTC, "buy", "0.01", **tag).details
    assert failed is not None
    assert failed["failed"] == ["trading_reducing", "repeated_execution"]
    # Without a bot there is nobody to pause but the account; a second breach says nothing new.
    kit.bought(BTC, "sell", "0.01", "64000")
    halts = dict(kit.engine.halts)
    order = kit.order("o-1")
    kit.fill(order, "0.01")
    assert kit.engine.halts.keys() >= halts.keys()


# --- G25 to G27 -------------------------------------------------------------------------------


def fallen(limits: Limits, price: str) -> Kit:
    """An account of 100,000 with 1 BTC of 64,000 in it, after a price move."""
    kit = Kit(limits).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.prices(btc=price)
    kit.ts += SECOND
    kit.prices(btc=price)
    return kit


@pytest.mark.parametrize(
    ("rule", "limits", "price", "passes"),
    [
        ("max_daily_loss", {"max_daily_loss": D("0.02")}, "62000", True),
        ("max_daily_loss", {"max_daily_loss": D("0.02")}, "61999.99", False),
        ("max_drawdown", {"max_drawdown": D("0.10")}, "54000", True),
        ("max_drawdown", {"max_drawdown": D("0.10")}, "53999.99", False),
    ],
)
@pytest.mark.promise("O9")
def test_losses_at_the_limit_and_one_unit_beyond(
    *, rule: str, limits: dict[str, object], price: str, passes: bool
) -> None:
    """trading:G25 trading:G26 trading:3.5: a price move alone crosses the limit."""
    kit = fallen(with_limits(**limits), price)

    halted = kit.engine.halts.get("all")
    assert (halted is None) is passes
    assert agree(kit, BTC, "buy", "0.001", price="50000") is passes
    assert kit.place(BTC, "sell", "0.001").role is Role.EXIT
    if halted is not None:
        assert halted.by == rule


def test_five_losing_trades_in_a_row_make_an_owner_wait_an_hour() -> None:
    """trading:G27."""
    kit = Kit(with_limits(loss_streak=2)).open(USDT="100000")
    for number in range(2):
        assert agree(kit, BTC, "buy", "0.001", price="60000"), number
        kit.bought(BTC, "buy", "0.01", "64000")
        kit.bought(BTC, "sell", "0.01", "63000")

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="60000")) == "loss_streak"
    assert kit.place(BTC, "buy", "0.01", price="60000", bot_id="other").status is Status.PENDING
    kit.ts += 3600 * SECOND - 1
    kit.prices()
    assert rule_of(refused(kit, BTC, "buy", "0.01", price="60000")) == "loss_streak"
    kit.ts += 1
    assert kit.place(BTC, "buy", "0.01", price="60000").status is Status.PENDING


def test_a_symbol_cools_down_after_an_exit() -> None:
    """trading:G27."""
    kit = Kit(with_limits(cooldown_minutes=10)).open(USDT="100000")
    kit.bought(BTC, "buy", "0.02", "64000")
    kit.bought(BTC, "sell", "0.01", "65000")

    assert rule_of(refused(kit, BTC, "buy", "0.01", price="60000")) == "cooldown"
    assert agree(kit, ETH, "buy", "0.01", price="3000")
    assert kit.place(BTC, "sell", "0.001").role is Role.EXIT
    kit.ts += 600 * SECOND
    kit.prices()
    assert kit.place(BTC, "buy", "0.01", price="60000").status is Status.PENDING


# --- working rules ----------------------------------------------------------------------------


def test_the_first_failing_rule_names_the_refusal_and_all_stand_in_the_details() -> None:
    """trading:R1."""
    kit = Kit(with_limits(max_order_notional=D(10), max_order_amount=D("0.001"))).open(USDT="100")

    refusal = refused(kit, BTC, "buy", "0.01", price="64000")

    assert refusal.code is Code.INSUFFICIENT_FUNDS
    assert refusal.details is not None
    assert refusal.details["failed"] == [
        "insufficient_funds",
        "max_order_amount",
        "max_order_notional",
    ]
    rows = refusal.details["rules"]
    assert isinstance(rows, list)
    assert [row["rule"] for row in rows] == refusal.details["failed"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": "0"}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "Infinity"}, "amount"),
        ({"cost_limit": "0"}, "cost"),
        ({"cost_limit": "10", "price": "64000"}, "cost"),
        ({"type": "limit"}, "price"),
        ({"type": "market", "price": "1"}, "price"),
        ({"price": "-1"}, "price"),
        ({"type": "stop"}, "stop_price"),
        ({"price": "64000", "stop_price": "1"}, "stop_price"),
        ({"type": "trailing_stop"}, "trailing_amount"),
        (
            {"type": "trailing_stop", "trailing_amount": "1", "trailing_rate": "0.1"},
            "trailing_amount",
        ),
        ({"type": "trailing_stop", "trailing_rate": "1"}, "trailing_rate"),
        ({"price": "64000", "trailing_stop": "0"}, "trailing_stop"),
        ({"time_in_force": TimeInForce.GTD}, "good_till_ts"),
        ({"good_till_ts": 5}, "good_till_ts"),
        ({"position_type": "swap"}, "position_type"),
        ({"leverage": "2"}, "leverage"),
        ({"post_only": True}, "post_only"),
        ({"price": "64000", "post_only": True, "time_in_force": TimeInForce.IOC}, "post_only"),
        ({"reduce_only": True, "stop_loss": Trigger(price=D(1))}, "stop_loss"),
        ({"price": "64000", "stop_loss": Trigger(price=D(64000))}, "stop_loss"),
        ({"price": "64000", "take_profit": Trigger(price=D(64000))}, "take_profit"),
        ({"stop_loss": Trigger(price=D(2)), "take_profit": Trigger(price=D(1))}, "take_profit"),
        ({"stop_loss": Trigger(price=D(2)), "trailing_stop": "0.1"}, "stop_loss"),
        ({"stop_loss": Trigger(price=D(-2))}, "stop_loss"),
        ({"take_profit": Trigger(price=D(2), limit=D(0))}, "take_profit.limit"),
    ],
)
def test_an_order_that_contradicts_itself_is_invalid(fields: dict[str, object], field: str) -> None:
    """trading:M8."""
    kit = Kit().open()

    refusal = refused(kit, BTC, "buy", **{"amount": "0.01", **fields})

    assert refusal.code is Code.INVALID
    assert refusal.details is not None
    faults = refusal.details["fields"]
    assert isinstance(faults, list)
    assert field in [fault["field"] for fault in faults]


def test_a_sells_bracket_is_mirrored() -> None:
    kit = Kit().open()

    stop, target = Trigger(price=D(70000)), Trigger(price=D(60000))
    kit.place(PERP, "sell", "1", price="64000", stop_loss=stop, take_profit=target)
    kit.place(PERP, "sell", "1", stop_loss=stop, take_profit=target)
    assert refused(kit, PERP, "sell", "1", stop_loss=target, take_profit=stop).code is Code.INVALID
    assert refused(kit, PERP, "sell", "1", price="64000", stop_loss=target).code is Code.INVALID


def test_a_refused_exit_hears_the_warnings_too() -> None:
    """trading:R4."""
    kit = Kit().open(USDT="1000", BTC="1")
    kit.ts += 10 * SECOND

    refusal = refused(kit, BTC, "sell", "0.010001")

    assert refusal.details is not None
    assert "stale_market_data" in str(refusal.details["warning"])


def test_an_unknown_symbol_is_not_found() -> None:
    kit = Kit().open()

    refusal = refused(kit, "XYZ/USDT", "buy", "1")

    assert refusal.code is Code.NOT_FOUND
    with pytest.raises(Refused):
        kit.engine.preview(Place(order=kit.draft("XYZ/USDT"), who=WHO, ts=kit.ts))


# --- preview ----------------------------------------------------------------------------------


def test_the_preview_shows_what_would_happen() -> None:
    kit = Kit(with_limits(max_order_notional=D(10000))).open(USDT="100000")

    shown = kit.engine.preview(Place(order=kit.draft(BTC, "buy", "0.1"), who=WHO, ts=kit.ts))

    assert shown.valid
    assert (shown.average, shown.slippage, shown.expected_fill) == (D("64000.01"), D(0), D("0.1"))
    assert shown.cost == D("6400.001")
    assert (shown.fee, shown.fee_currency) == (D("0.0001"), "BTC")
    assert shown.notional_after == D("6432.001005")
    assert shown.max_allowed_amount == D("0.15547")
    assert shown.recommended_stop_loss == D("62720.01")
    assert shown.recommended_take_profit == D("66560.02")


@pytest.mark.parametrize(
    ("limits", "usdt"),
    [
        ({}, "1000"),
        ({"max_order_notional": D(10000)}, "100000"),
        ({"max_position_size": D("0.1")}, "100000"),
        ({"max_leverage": D("0.2")}, "100000"),
        ({"max_order_amount": D("0.123")}, "100000"),
        ({"max_slippage": D("0.02")}, "100000000"),
    ],
)
def test_the_largest_amount_passes_and_one_lot_more_does_not(
    limits: dict[str, object], usdt: str
) -> None:
    """trading:R1: preview and placement agree at every limit."""
    for kind in ({"price": "64000"}, {}):
        kit = Kit(with_limits(**limits)).open(USDT=usdt)
        draft = kit.draft(BTC, "buy", "0.001", **kind)
        most = kit.engine.preview(Place(order=draft, who=WHO, ts=kit.ts)).max_allowed_amount
        assert most > 0
        assert not agree(kit, BTC, "buy", str(most + D("0.00001")), **kind)
        assert agree(kit, BTC, "buy", str(most), **kind)


def test_no_amount_is_allowed_when_trading_is_halted() -> None:
    kit = Kit().open()
    halt(kit)
    wish = Place(order=kit.draft(BTC, "buy", "0.01", price="64000"), who=WHO, ts=kit.ts)

    shown = kit.engine.preview(wish)

    assert (shown.valid, shown.code, shown.max_allowed_amount) == (False, Code.HALTED, D(0))
    assert shown.failed == ("halted",)


def test_nothing_but_the_markets_maximum_bounds_a_rich_account() -> None:
    free = MARKETS | {
        BTC: replace(
            MARKETS[BTC], max_amount=None, max_market_amount=None, min_amount=None, min_cost=None
        )
    }
    kit = Kit(OFF, markets=free).open(USDT="9" * 35)
    wish = Place(order=kit.draft(BTC, "buy", "0.01", price="0.01"), who=WHO, ts=kit.ts)

    assert kit.engine.preview(wish).max_allowed_amount >= D(1) * (1 << 80) * D("0.00001") / 2


def test_a_minimum_above_what_is_allowed_leaves_nothing() -> None:
    dear = MARKETS | {BTC: replace(MARKETS[BTC], min_cost=D(1000))}
    kit = Kit(with_limits(max_order_notional=D(500)), markets=dear).open(USDT="100000")
    wish = Place(order=kit.draft(BTC, "buy", "0.01", price="64000"), who=WHO, ts=kit.ts)

    assert kit.engine.preview(wish).max_allowed_amount == 0


@pytest.mark.parametrize(
    ("args", "fields", "margin", "fee", "currency", "fill"),
    [
        ((BTC, "sell", "0.1"), {}, "0", "6.399999", "USDT", "0.1"),
        ((BTC, "buy", "0.1"), {"price": "63000"}, "6300", "0.0001", "BTC", "0"),
        ((BTC, "buy", "0.1"), {"price": "63000", "post_only": True}, "6300", "0.0001", "BTC", "0"),
        (
            (BTC, "buy", "0.1"),
            {"type": "stop", "stop_price": "65000"},
            "6500",
            "0.0001",
            "BTC",
            "0",
        ),
        (
            (PERP, "buy", "10"),
            {"price": "64001", "leverage": "10"},
            "640.1",
            "3.520055",
            "USDT",
            "10",
        ),
        ((BTC, "buy", "0"), {"cost_limit": "640"}, "640", "0.00000999999843750", "BTC", "0.00999"),
    ],
)
def test_cost_margin_and_fee_of_a_preview(
    args: tuple[str, str, str],
    fields: dict[str, object],
    margin: str,
    fee: str,
    currency: str,
    fill: str,
) -> None:
    kit = Kit().open(USDT="100000", BTC="1")

    shown = kit.engine.preview(Place(order=kit.draft(*args, **fields), who=WHO, ts=kit.ts))  # type: ignore[arg-type]

    assert shown.margin is not None
    assert shown.margin - D(margin) < D("0.01")
    assert shown.fee_currency == currency
    assert shown.fee is not None
    assert abs(shown.fee - D(fee)) < D("0.0000001")
    assert shown.expected_fill == D(fill)


def test_without_any_price_a_preview_has_gaps_and_no_numbers() -> None:
    kit = Kit()
    kit.balance("USDT", "1000")
    wish = Place(order=kit.draft(BTC, "buy", "0.01"), who=WHO, ts=kit.ts)

    shown = kit.engine.preview(wish)

    assert not shown.valid
    assert (shown.cost, shown.fee, shown.margin, shown.average) == (None, None, None, None)
    assert (shown.notional_after, shown.leverage_after, shown.recommended_stop_loss) == (None,) * 3


# --- amend ------------------------------------------------------------------------------------


def amend(kit: Kit, order_id: str, **fields: str) -> None:
    changes = {name: D(value) for name, value in fields.items()}
    full: dict[str, Decimal | None] = {"amount": None, "price": None, "stop_price": None, **changes}
    wish = Amend(
        order_id=order_id,
        stop_loss=None,
        take_profit=None,
        expires_at=None,
        who=WHO,
        ts=kit.ts,
        **full,
    )
    kit.post(wish)


def test_an_amend_is_judged_as_the_order_it_makes() -> None:
    """trading:R5."""
    kit = Kit(with_limits(max_position_notional=D(640))).open(USDT="100000")
    order = kit.opened(BTC, "buy", "0.005", price="64000")

    with pytest.raises(Refused) as caught:
        amend(kit, order.id, amount="0.01001")
    assert rule_of(caught.value) == "max_position_notional"
    amend(kit, order.id, amount="0.01")

    # Both versions count, the larger one.
    assert not agree(kit, BTC, "buy", "0.0001", price="64000")


def test_an_amend_needs_only_the_money_it_adds() -> None:
    """trading:R5 trading:G8."""
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.balance("USDT", "359.36", "640.64")

    with pytest.raises(Refused) as caught:
        amend(kit, order.id, amount="0.01561")
    assert caught.value.code is Code.INSUFFICIENT_FUNDS
    amend(kit, order.id, amount="0.0156")


def test_an_amend_that_only_gives_back_is_as_good_as_a_cancel() -> None:
    """trading:R5."""
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.post(SetState(scope="all", state=TradingState.HALTED, reason="x", who=WHO, ts=kit.ts))

    with pytest.raises(Refused) as caught:
        amend(kit, order.id, price="63000")
    assert caught.value.code is Code.HALTED
    with pytest.raises(Refused) as caught:
        amend(kit, order.id, amount="0.009001")
    assert caught.value.code is Code.INVALID
    amend(kit, order.id, amount="0.009")


def test_an_amend_that_only_gives_back_needs_no_price() -> None:
    """After a restart there may be none yet."""
    kit = Kit().open(USDT="100000")
    stop = OrderType.TRAILING_STOP
    order = kit.opened(BTC, "buy", "0.1", type=stop, trailing_amount=D("500"))
    kit.engine = kit.replayed()
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    amend(kit, order.id, amount="0.05")


def test_an_amend_below_what_has_filled_is_invalid() -> None:
    """trading:R5."""
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.fill(order, "0.005")

    with pytest.raises(Refused) as caught:
        amend(kit, order.id, amount="0.005")
    assert caught.value.code is Code.INVALID


def test_a_resend_is_answered_from_the_order_as_it_is_now() -> None:
    """trading:I1."""
    kit = Kit().open(USDT="1000")
    order = kit.opened(BTC, "buy", "0.01", price="60000", client_order_id="same")
    draft = kit.draft(BTC, "buy", "0.01", price="60000", client_order_id="same")
    content = {"symbol": BTC, "side": "buy", "amount": "0.01"}

    effects = kit.post(Place(order=draft, who=WHO, ts=kit.ts, content=content))

    assert effects == [Duplicate(kit.order(order.id))]
    again = {**content, "expires_at": "7"}
    assert kit.post(Place(order=draft, who=WHO, ts=kit.ts, content=again)) == effects
    with pytest.raises(Refused) as caught:
        kit.post(Place(order=draft, who=WHO, ts=kit.ts, content=content | {"side": "sell"}))
    assert caught.value.code is Code.CONFLICT
    assert caught.value.details == {"client_order_id": "same", "fields": ["side"]}
