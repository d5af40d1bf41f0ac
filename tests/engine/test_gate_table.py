"""What mutation found untold about the rules of the gate: each figure of a preview, and each limit from both sides.

`python -m tests.mutate` changes one thing of `rules.py` or `risk.py` at a time; these tests notice (promise O9).
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from realtime.engine.account import STREAK_ENDS
from realtime.engine.legs import Kind
from realtime.engine.rules import spent, wait
from realtime.engine.watch import PEAK_EVERY
from realtime.model.errors import Code, Refused
from realtime.model.events import Amend, CancelAtVenue, Place, Ready, SetState, Submit, SubmitAmend
from realtime.model.market import MS, SECOND, BookSnapshot, Market, Stale
from realtime.model.orders import Order, Role, Status
from realtime.model.risk import Backing, Limits, Preview, RuleResult, TradingState
from realtime.model.signals import Probabilities
from tests.engine.kit import BTC, ETH, MARKETS, OFF, PERP, T0, WHO, D, Kit, of
from tests.engine.test_legs import LegKit, bracket, last, leaves, leg, mixed, waiting_exit
from tests.engine.test_signal_rules import SURE


pytestmark = pytest.mark.promise("O9")


def limits(**fields: object) -> Limits:
    return replace(OFF, **fields)  # type: ignore[arg-type]


def shown(kit: Kit, *args: str, **fields: object) -> Preview:
    return kit.engine.preview(Place(order=kit.draft(*args, **fields), who=WHO, ts=kit.ts))  # type: ignore[arg-type]


def row(kit: Kit, rule: str, *args: str, **fields: object) -> RuleResult:
    """What a preview says of one rule."""
    [found] = [one for one in shown(kit, *args, **fields).rules if one.rule == rule]
    return found


def refused(kit: Kit, *args: str, **fields: object) -> Refused:
    with pytest.raises(Refused) as caught:
        kit.place(*args, **fields)  # type: ignore[arg-type]
    return caught.value


def failed(kit: Kit, *args: str, **fields: object) -> list[str]:
    """The rules by which an order is refused, by preview and placement alike; empty when it passes."""
    said = list(shown(kit, *args, **fields).failed)
    if said:
        refusal = refused(kit, *args, **fields)
        assert refusal.details is not None
        assert refusal.details["failed"] == said
    else:
        assert kit.place(*args, **fields).status is Status.PENDING  # type: ignore[arg-type]
    return said


def amended(kit: Kit, order: Order, **fields: str) -> Amend:
    to = {"amount": None, "price": None, "stop_price": None, "stop_loss": None, "take_profit": None}
    given = {name: D(value) for name, value in fields.items()}
    return Amend(order_id=order.id, who=WHO, ts=kit.ts, **{**to, **given})  # type: ignore[arg-type]


def perp(**fields: object) -> Mapping[str, Market]:
    return MARKETS | {PERP: replace(MARKETS[PERP], **fields)}  # type: ignore[arg-type]


TABLE = """
halted - - - -
trading_reducing - - - -
not_ready - - - -
symbol_not_allowed - - - -
market_inactive - - - -
tick_size 0.01 - - USDT
lot_size 0.00001 0.1 - BTC
min_amount 0.0001 0.1 0.0999 BTC
max_amount 100 0.1 99.9 BTC
min_cost 5 6400 6395 USDT
not_supported - - - -
insufficient_funds 100000 6406.4 93593.6 USDT
reduce_only_violation - - - BTC
stale_market_data 5000 1500 3500 ms
price_band 0.05 0 0.05 fraction
max_slippage 0.02 - - fraction
max_order_amount 1 0.1 0.9 BTC
max_order_notional 10000 6400 3600 USDT
max_position_size 0.1 0.064 0.036 fraction
max_position_notional 9000 6400 2600 USDT
max_leverage 3 0.064 2.936 x
max_open_positions 5 1 4 positions
max_open_orders 50 1 49 orders in BTC/USDT
max_open_orders 200 1 199 orders
order_rate 10 - - orders/s
duplicate_order 1000 - - ms
self_trade - - - orders
max_unknown 1 0 1 orders
repeated_execution 100 0 100 fills in 10 min
max_daily_loss 0.02 0 0.02 fraction
max_drawdown 0.1 0 0.1 fraction
loss_streak 5 0 5 trades
cooldown 10 - - min
low_confidence 0.6 0.9 0.3 probability
low_action_probability 0.4 0.8 0.4 probability
high_risk_size - - - fraction
risk_score_threshold 0.8 0.28 0.52 score
confidence_threshold 0.5 0.9 0.4 probability
"""
"""Rule, limit, value, headroom and unit of a sound entry where every rule is on."""


def told(result: RuleResult) -> str:
    figures = (
        "-" if figure is None else format(figure.normalize(), "f")
        for figure in (result.limit, result.value, result.headroom)
    )
    return " ".join((result.rule, *figures, result.unit or "-"))


def test_a_preview_shows_every_rule_with_its_figures() -> None:
    """trading:3.1: nothing is left out, whether or not it could refuse."""
    every = Limits(
        allowed_symbols=(BTC,),
        max_order_amount=D(1),
        max_position_notional=D(9000),
        cooldown_minutes=10,
        confidence_threshold=D("0.5"),
    )
    kit = Kit(every).open(USDT="100000")
    kit.ts += 1500 * MS
    order = kit.draft(BTC, "buy", "0.1", price="64000", bot_id="b", strategy_id="s")
    preview = kit.engine.preview(Place(order=order, who=WHO, ts=kit.ts, backing=SURE))

    assert [told(one) for one in preview.rules] == TABLE.strip().splitlines()
    assert preview.valid
    assert all(one.ok for one in preview.rules)


def test_a_preview_shows_a_rule_that_is_off() -> None:
    """trading:3.1."""
    every = replace(OFF, min_signal_confidence=None, low_action_probability=None)
    kit = Kit(every).open()
    order = kit.draft(BTC, "buy", "0.01", price="60000", bot_id="b")
    preview = kit.engine.preview(Place(order=order, who=WHO, ts=kit.ts, backing=SURE))
    names = [one.rule for one in preview.rules]

    always = {
        "order_rate",
        "duplicate_order",
        "self_trade",
        "max_unknown",
        "price_band",
        "low_confidence",
    }
    assert always <= set(names)
    assert all(one.ok for one in preview.rules)


def test_a_grid_leaves_no_headroom_where_it_refuses() -> None:
    """trading:G5."""
    kit = Kit().open()
    tick = row(kit, "tick_size", BTC, "buy", "0.01", price="60000.005")
    lot = row(kit, "lot_size", BTC, "buy", "0.000101", price="60000")

    assert told(tick) == "tick_size 0.01 60000.005 - USDT"
    assert told(lot) == "lot_size 0.00001 0.000101 - BTC"
    assert not tick.ok
    assert not lot.ok


# --- sizes and support ----------------------------------------------------------------------------


@pytest.mark.parametrize(("price", "passes"), [("64000", True), ("63999.9", False)])
def test_the_minimum_cost_of_contracts_counts_their_size(*, price: str, passes: bool) -> None:
    """trading:G6."""
    kit = Kit(markets=dict(perp(min_cost=D(640)))).open()
    kit.price(PERP, "60000")

    assert failed(kit, PERP, "buy", "1", price=price) == ([] if passes else ["min_cost"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"amount": "0", "cost_limit": "4.99"}, "cost"),
        ({"amount": "0.00007", "price": "64000"}, "amount"),
    ],
)
def test_too_small_a_cost_names_the_field_that_was_sent(
    fields: dict[str, object], field: str
) -> None:
    """trading:G6."""
    kit = Kit(markets=MARKETS | {BTC: replace(MARKETS[BTC], min_amount=None)}).open()
    refusal = refused(kit, BTC, "buy", **fields)

    assert refusal.details is not None
    assert refusal.details["fields"][0]["field"] == field  # type: ignore[index]


def test_margin_is_refused_on_contracts_too() -> None:
    """trading:G7."""
    kit = Kit().open()

    assert failed(kit, PERP, "buy", "1", position_type="margin") == ["not_supported"]


# --- funds ----------------------------------------------------------------------------------------


def test_coins_of_a_fill_can_be_sold_before_the_venue_s_balance_knows_them() -> None:
    """trading:G8."""
    kit = Kit().open(USDT="100000", BTC="0")
    kit.bought(BTC, "buy", "0.02", "64000")

    assert failed(kit, BTC, "sell", "0.02", price="65000") == []


def test_a_contract_sold_short_needs_cash_whatever_is_held() -> None:
    """trading:G8."""
    kit = Kit().open(USDT="6403.52")
    kit.bought(PERP, "buy", "10", "64000")
    kit.balance("USDT", "6")

    assert failed(kit, PERP, "sell", "10", price="64000") == ["insufficient_funds"]


def test_an_amended_sell_needs_only_what_it_adds() -> None:
    """trading:G8 trading:R5."""
    kit = Kit().open(USDT="1000", BTC="0.02")
    order = kit.opened(BTC, "sell", "0.01", price="65000")
    kit.balance("BTC", "0.01", "0.01")
    kit.post(amended(kit, order, amount="0.02"))

    assert of(kit.effects, SubmitAmend)


def test_what_an_amend_adds_is_reserved_before_the_venue_knows() -> None:
    """trading:G8 trading:R2 trading:R5."""
    kit = Kit().open(USDT="1281.28")
    order = kit.opened(BTC, "buy", "0.01", price="64000")
    kit.balance("USDT", "640.64", "640.64")
    kit.post(amended(kit, order, amount="0.02"))

    assert failed(kit, BTC, "buy", "0.001", price="64000") == ["insufficient_funds"]


@pytest.mark.parametrize(("stop_price", "passes"), [("64000.01", True), ("64000", False)])
def test_an_amended_trigger_is_judged_as_a_new_one(*, stop_price: str, passes: bool) -> None:
    """trading:G11 trading:R5."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", type="stop", stop_price="65000")
    amend = amended(kit, order, stop_price=stop_price)

    if passes:
        kit.post(amend)
        assert of(kit.effects, SubmitAmend)
    else:
        with pytest.raises(Refused, match="must be above the market"):
            kit.post(amend)


@pytest.mark.parametrize(("cash", "passes"), [("640", True), ("639.99", False)])
def test_a_rebate_is_not_counted_on(*, cash: str, passes: bool) -> None:
    """trading:G8."""
    rebate = MARKETS | {BTC: replace(MARKETS[BTC], taker=D("-0.001"))}
    kit = Kit(markets=rebate).open(USDT=cash)

    assert failed(kit, BTC, "buy", "0.01", price="64000") == (
        [] if passes else ["insufficient_funds"]
    )


@pytest.mark.parametrize(("cash", "passes"), [("6403.52", True), ("6403.51", False)])
def test_without_leverage_a_contract_needs_its_whole_cost(*, cash: str, passes: bool) -> None:
    """trading:G8."""
    kit = Kit().open(USDT=cash)

    assert failed(kit, PERP, "buy", "10", price="64000") == (
        [] if passes else ["insufficient_funds"]
    )


@pytest.mark.parametrize(("cash", "passes"), [("643.52", True), ("643.51", False)])
def test_without_leverage_a_contract_is_margined_as_its_position_is(
    *, cash: str, passes: bool
) -> None:
    """trading:G8. The venue keeps a symbol's leverage: ten times the margin was asked for, and shown."""
    kit = Kit().open(USDT=cash)
    kit.position(PERP, "-1", cost=D(-640), leverage=D(10))
    wish = Place(order=kit.draft(PERP, "buy", "10", price="64000"), who=WHO, ts=kit.ts)

    assert failed(kit, PERP, "buy", "10", price="64000") == (
        [] if passes else ["insufficient_funds"]
    )
    assert kit.engine.preview(wish).margin == D(640)


def test_an_exit_is_shown_what_can_still_be_closed() -> None:
    """trading:G9."""
    kit = Kit().open(USDT="1000", BTC="1")

    assert told(row(kit, "reduce_only_violation", BTC, "sell", "0.1")) == (
        "reduce_only_violation 1 0.1 0.9 BTC"
    )


# --- prices ---------------------------------------------------------------------------------------


def test_the_age_of_a_price_is_told() -> None:
    """trading:G10."""
    kit = Kit().open()

    assert row(kit, "stale_market_data", BTC, "buy").value == 0
    kit.ts += 5001 * MS
    old = row(kit, "stale_market_data", BTC, "buy")
    assert [old.limit, old.value, old.headroom] == [5000, 5001, -1]
    assert "is 5001 ms old" in old.message


@pytest.mark.parametrize("symbol", [BTC, None])
def test_a_young_price_of_a_silent_source_is_not_called_old(symbol: str | None) -> None:
    """trading:G10. Found by a run: a price of 24 ms, "above max_price_age_ms 5000 ms"."""
    kit = Kit().open(USDT="100000", BTC="1")
    kit.post(Stale(venue="paper", symbol=symbol, stale=True, cause="silent", asof=kit.ts))

    kit.ts += 5000 * MS
    entry, leaving = (row(kit, "stale_market_data", BTC, side, "0.1") for side in ("buy", "sell"))
    why = f"stale_market_data cannot be judged: the source of {BTC} tells nothing new (silent)"
    assert [entry.ok, entry.limit, entry.value, entry.message] == [False, 5000, None, why]
    assert [leaving.ok, leaving.value, leaving.warning] == [True, None, why]
    kit.ts += MS
    entry, leaving = (row(kit, "stale_market_data", BTC, side, "0.1") for side in ("buy", "sell"))
    assert [entry.ok, entry.value] == [False, 5001]
    assert entry.message == f"price of {BTC} is 5001 ms old, above max_price_age_ms 5000 ms"
    assert leaving.warning == "stale_market_data cannot be judged: the price is 5001 ms old"


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("maintenance", "it is under maintenance"),
        ("disconnected", "its connection is lost"),
        ("silent", None),
    ],
)
def test_a_venue_that_says_it_is_away_is_not_ready_at_once(cause: str, why: str | None) -> None:
    """trading:G3. A silence means something after its time only."""
    kit = Kit().open(USDT="100000", BTC="1")
    kit.post(Stale(venue="paper", symbol=None, stale=True, cause=cause, asof=kit.ts))

    entry = row(kit, "not_ready", BTC, "buy")
    assert entry.ok is (why is None)
    assert why is None or entry.message == f"paper is not ready: {why}; nothing was sent"
    assert row(kit, "not_ready", BTC, "sell", "0.1").ok
    kit.post(Stale(venue="paper", symbol=None, stale=False, cause=None, asof=kit.ts))
    assert row(kit, "not_ready", BTC, "buy").ok


def test_one_symbol_that_is_disconnected_does_not_make_the_venue_unready() -> None:
    """trading:G3 trading:G10."""
    kit = Kit().open(USDT="100000")
    kit.post(Stale(venue="paper", symbol=BTC, stale=True, cause="disconnected", asof=kit.ts))

    assert row(kit, "not_ready", BTC, "buy").ok
    assert not row(kit, "stale_market_data", BTC, "buy").ok


def test_no_price_and_a_price_of_nothing_are_told_as_such() -> None:
    """trading:G10."""
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    assert "there is no price" in row(kit, "stale_market_data", BTC, "buy").message
    # A book of one side was heard of, and gives no middle.
    kit.post(BookSnapshot(symbol=BTC, bids=(("63999", "1"),), asks=(), ts=kit.ts, recv_ts=kit.ts))

    assert "there is no price" in row(kit, "stale_market_data", BTC, "buy").message


@pytest.mark.parametrize(
    ("symbol", "cost", "missing"),
    [
        (BTC, None, ["min_cost", "insufficient_funds"]),
        (BTC, D(100), ["min_amount", "min_cost", "insufficient_funds"]),
        (PERP, None, ["insufficient_funds"]),
    ],
)
def test_an_entry_without_a_price_is_refused_for_that_and_not_for_its_arguments(
    symbol: str, cost: Decimal | None, missing: list[str]
) -> None:
    """trading:G10. Found by a run: `invalid`, of a field without a name, by min_cost."""
    kit = Kit(OFF)
    kit.balance("USDT", "1000")
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    refusal = refused(kit, symbol, "buy", "1", cost_limit=cost)

    assert refusal.code is Code.RISK_REJECTED
    assert "there is no price" in refusal.message
    assert refusal.details is not None
    assert refusal.details["rule"] == "stale_market_data"
    assert refusal.details["failed"] == [*missing, "stale_market_data"]
    assert "fields" not in refusal.details
    # What is wrong all the same is named first.
    if symbol == BTC:
        small = refused(kit, symbol, "buy", "0.00001")
        assert (small.code, small.message) == (
            Code.INVALID,
            "amount 0.00001 BTC is below min_amount 0.0001 BTC",
        )


@pytest.mark.parametrize(
    ("side", "price", "limit", "word"),
    [
        ("buy", "64000", "0.05", None),
        ("buy", "67200.01", "0.05", "beyond"),
        ("buy", "31999.99", "0.5", "short of"),
        ("sell", "64000", "0.05", None),
        ("sell", "60799.99", "0.05", "beyond"),
        ("sell", "96000.01", "0.5", "short of"),
    ],
)
def test_the_band_says_which_side_of_it_was_left(
    side: str, price: str, limit: str, word: str | None
) -> None:
    """trading:G11."""
    kit = Kit(limits(price_band=D("0.05"), price_band_passive=D("0.5"))).open(USDT="100000")
    found = row(kit, "price_band", PERP if side == "sell" else BTC, side, "1", price=price)

    assert found.limit == D(limit)
    assert found.ok is (word is None)
    assert word is None or word in found.message


def test_an_exit_at_an_old_price_is_shown_to_pass_the_band() -> None:
    """trading:G11."""
    kit = Kit(limits(price_band=D("0.05"))).open(USDT="1000", BTC="1")
    kit.ts += 5001 * MS
    preview = shown(kit, BTC, "sell", "0.1", price="10000")

    assert preview.valid
    assert all(one.ok for one in preview.rules)
    assert len(preview.warnings) == 1


def thin(
    kit: Kit, symbol: str, *, bids: tuple[tuple[str, str], ...], asks: tuple[tuple[str, str], ...]
) -> None:
    kit.post(BookSnapshot(symbol=symbol, bids=bids, asks=asks, ts=kit.ts, recv_ts=kit.ts))


@pytest.mark.parametrize(("cost", "passes"), [("640.1", True), ("640.2", False)])
def test_the_book_must_hold_the_cost_of_contracts(*, cost: str, passes: bool) -> None:
    """trading:G12."""
    kit = Kit(limits(max_slippage=D("0.02"))).open(USDT="100000")
    thin(kit, PERP, bids=(("64000", "1"),), asks=(("64010", "1"),))
    found = row(kit, "max_slippage", PERP, "buy", "0", cost_limit=cost)

    assert found.ok is passes
    assert passes or "the book holds" in found.message


@pytest.mark.parametrize(("second", "passes"), [("61459.9", False), ("61460", True)])
def test_a_sell_slips_downwards(*, second: str, passes: bool) -> None:
    """trading:G12: half at 63,980 and half at the second level averages to mid less 2 % or more."""
    kit = Kit(limits(max_slippage=D("0.02"))).open(USDT="100000")
    thin(kit, PERP, bids=(("63980", "1"), (second, "1")), asks=(("64020", "1"),))

    assert failed(kit, PERP, "sell", "2") == ([] if passes else ["max_slippage"])


# --- equity and counts ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["max_position_size", "max_leverage"])
def test_what_is_divided_by_equity_wants_some(rule: str) -> None:
    """trading:G15 trading:G17 trading:R4."""
    wide = limits(max_position_size=D(9000), max_leverage=D(9000))

    def judged(cash: str) -> RuleResult:
        return row(Kit(wide).open(USDT=cash), rule, BTC, "buy", "0.01", price="64000")

    nothing = judged("0")
    assert (nothing.ok, nothing.value) == (False, None)
    assert "there is no price, or equity is not above 0" in nothing.message
    assert [judged(cash).value for cash in ("0.5", "1", "2")] == [1280, 640, 320]


@pytest.mark.parametrize("rule", ["max_position_size", "max_leverage", "high_risk_size"])
def test_why_equity_is_missing_is_told(rule: str) -> None:
    """trading:R4."""
    fields = {"max_position_size": D("0.5"), "max_leverage": D(3), "high_risk_size": D("0.1")}
    kit = Kit(limits(**fields)).open(USDT="1000", ETH="5")
    kit.ts += 61 * SECOND
    kit.price(BTC, "64000")
    order = kit.draft(BTC, "buy", "0.001", price="64000")
    preview = kit.engine.preview(Place(order=order, who=WHO, ts=kit.ts, backing=SURE))
    [found] = [one for one in preview.rules if one.rule == rule]

    assert not found.ok
    assert "ETH" in found.message


def test_symbols_that_are_held_count_once_and_may_grow_beyond_a_lowered_limit() -> None:
    """trading:G18."""
    kit = Kit(limits(max_open_positions=1)).open(USDT="100000", BTC="1", ETH="5")

    assert row(kit, "max_open_positions", BTC, "buy", "0.01", price="60000").value == 2
    assert row(kit, "max_open_positions", BTC, "sell", "0.01", price="65000").value == 2
    assert row(kit, "max_open_positions", PERP, "buy", "1", price="60000").value == 3
    assert failed(kit, BTC, "buy", "0.01", price="60000") == []
    assert failed(kit, BTC, "sell", "0.01", price="65000") == []
    assert failed(kit, PERP, "buy", "1", price="60000") == ["max_open_positions"]


@pytest.mark.parametrize("limit", ["max_open_orders_symbol", "max_open_orders"])
def test_the_first_order_is_the_first(limit: str) -> None:
    """trading:G19."""
    kit = Kit(limits(**{limit: 1})).open(USDT="100000")

    assert row(kit, "max_open_orders", BTC, "buy", "0.01", price="60000").value == 1
    assert failed(kit, BTC, "buy", "0.01", price="60000") == []
    assert failed(kit, BTC, "buy", "0.01", price="60001") == ["max_open_orders"]


# --- pace -----------------------------------------------------------------------------------------


def placed(kit: Kit, most: int, *args: str, **fields: object) -> int:
    """How many of the same orders pass before one comes too early."""
    for number in range(most):
        try:
            kit.place(*args, allow_duplicate=True, **fields)  # type: ignore[arg-type]
        except Refused as refusal:
            if refusal.code is not Code.RATE_LIMITED:
                raise
            return number
    return most


ENTRY = {"price": "60000"}


@pytest.mark.parametrize(("burst", "reserve"), [(20, 4), (10, 2), (5, 1), (4, 1), (1, 1)])
def test_exits_have_a_fifth_of_the_burst_and_at_least_one(burst: int, reserve: int) -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate=10, order_burst=burst)).open(USDT="100000", BTC="1")

    assert placed(kit, 30, BTC, "buy", "0.001", **ENTRY) == burst
    assert placed(kit, 30, BTC, "sell", "0.001") == reserve


@pytest.mark.parametrize(("per_minute", "reserve"), [(20, 4), (5, 1), (4, 1)])
def test_exits_have_a_fifth_of_a_minute_and_at_least_one(per_minute: int, reserve: int) -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate_minute=per_minute)).open(USDT="100000", BTC="1")

    assert placed(kit, 30, BTC, "buy", "0.001", **ENTRY) == per_minute
    assert placed(kit, 30, BTC, "sell", "0.001") == reserve


@pytest.mark.parametrize(
    ("rate", "between_ms"),
    [(10, 500), (5, 1000), (4, 1000)],  # a fifth a second: 2, 1, 1
)
def test_the_reserve_of_exits_fills_at_a_fifth_of_the_rate(rate: int, between_ms: int) -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate=rate, order_burst=1)).open(USDT="100000", BTC="1")
    began = kit.ts
    exits = 0
    # Entries keep the owner's bucket empty, so that exits live on the reserve alone.
    while kit.ts - began < 4 * SECOND:
        placed(kit, 9, BTC, "buy", "0.001", **ENTRY)
        exits += placed(kit, 9, BTC, "sell", "0.001")
        kit.ts += 50 * MS
        kit.prices()

    assert exits == 4000 // between_ms


def test_a_minute_has_sixty_seconds() -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate_minute=60)).open(USDT="100000")
    placed(kit, 99, BTC, "buy", "0.001", **ENTRY)
    kit.ts += SECOND - 1
    kit.prices()
    assert placed(kit, 9, BTC, "buy", "0.001", **ENTRY) == 0
    kit.ts += 1

    assert placed(kit, 9, BTC, "buy", "0.001", **ENTRY) == 1


def test_an_exit_that_is_too_early_waits_for_its_reserve() -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate=10, order_burst=1)).open(USDT="100000", BTC="1")
    kit.place(BTC, "buy", "0.001", price="60000")
    kit.place(BTC, "sell", "0.001")

    assert refused(kit, BTC, "sell", "0.002").retry_after == 0.5


@pytest.mark.parametrize(
    ("full_in_ms", "per_second", "burst", "wait_ms"),
    [
        (100, 10.0, 1, 100),
        (100, 10.0, 2, 0),
        (150, 10.0, 2, 50),
        (0, 10.0, 1, 0),
        (100, None, 1, 0),  # the limit was lifted meanwhile
    ],
)
def test_a_bucket_tells_how_long_its_next_token_takes(
    full_in_ms: int, per_second: float | None, burst: int, wait_ms: int
) -> None:
    """trading:G20."""
    assert wait(T0 + full_in_ms * MS, per_second, burst, T0) == wait_ms * MS


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    """trading:G20 trading:G21: found at a restart two hours earlier, when every order was to wait that long."""
    rules = limits(order_rate=10, order_burst=1, duplicate_order_ms=2000)
    kit = Kit(rules).open(USDT="100000", BTC="1")
    kit.place(BTC, "buy", "0.001", price="60000")
    kit.place(BTC, "sell", "0.001")
    kit.ts -= 2 * 3600 * SECOND
    kit.prices()

    kit.place(BTC, "buy", "0.001", price="60000")

    # One bucket for all: what it held at the old time is no reserve for the new one.
    assert refused(kit, BTC, "buy", "0.002").retry_after == 0.1
    kit.place(BTC, "sell", "0.001")
    assert refused(kit, BTC, "sell", "0.002").retry_after == 0.5
    assert kit.replayed().digest() == kit.engine.digest()


def test_who_is_too_early_is_told_for_how_long() -> None:
    """trading:G20."""
    kit = Kit(limits(order_rate=10, order_burst=1)).open()
    kit.place(BTC, "buy", "0.001", price="60000")
    refusal = refused(kit, BTC, "buy", "0.001", **ENTRY)

    assert (refusal.code, refusal.retry_after) == (Code.RATE_LIMITED, 0.1)
    assert refusal.message == "too many orders: next one in 0.100 s"


@pytest.mark.parametrize(
    ("full_in_ms", "per_second", "lacking"),
    [(0, 10.0, 0), (-1000, 10.0, 0), (1, 10.0, 1), (100, 10.0, 1), (101, 10.0, 2), (500, None, 0)],
)
def test_a_bucket_tells_how_many_tokens_it_lacks(
    full_in_ms: int, per_second: float | None, lacking: int
) -> None:
    """trading:G20."""
    assert spent(T0 + full_in_ms * MS, per_second, T0) == lacking


@pytest.mark.parametrize("unknown", ["a price elsewhere", "the day"])
def test_an_exit_is_told_what_is_not_known_of_the_account(unknown: str) -> None:
    """trading:R4: placed as in a preview, although no rule of the account could refuse it."""
    rare = replace(MARKETS[ETH], symbol="XYZ/EUR", id="XYZEUR", base="XYZ", quote="EUR")
    kit = Kit(
        limits(max_leverage=D(3), max_daily_loss=D("0.02")), markets=MARKETS | {"XYZ/EUR": rare}
    )
    balances = {"USDT": "1000", "BTC": "1"}
    if unknown == "the day":
        for currency, total in balances.items():
            kit.balance(currency, total)
        kit.prices()
        kit.post(Ready(venue="paper", ready=True, reason="reconciled", ts=kit.ts))
    else:
        kit.open(**balances, XYZ="5")
    order = kit.draft(BTC, "sell", "0.1", reduce_only=True)
    wish = Place(order=order, who=WHO, ts=kit.ts)
    warned = kit.engine.preview(wish).warnings
    [submit] = of(kit.post(wish), Submit)

    assert isinstance(submit, Submit)
    assert submit.approved.warnings == warned
    [rule] = {text.split()[0] for text in warned}
    assert rule == ("max_daily_loss" if unknown == "the day" else "max_leverage")


# --- doubles and crossings ------------------------------------------------------------------------


def test_orders_of_another_size_or_cost_are_no_doubles() -> None:
    """trading:G21."""
    kit = Kit(limits(duplicate_order_ms=1000)).open(USDT="100000")

    assert failed(kit, BTC, "buy", "0.01", price="60000") == []
    assert failed(kit, BTC, "buy", "0.02", price="60000") == []
    assert failed(kit, BTC, "buy", "0.02", price="60000") == ["duplicate_order"]
    assert failed(kit, BTC, "buy", "0", cost_limit="100") == []
    assert failed(kit, BTC, "buy", "0", cost_limit="200") == []
    assert failed(kit, BTC, "buy", "0", cost_limit="200") == ["duplicate_order"]


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"price": "65000"}, False),
        ({"price": "65000", "post_only": True}, True),
        ({"price": "65000", "type": "stop_limit", "stop_price": "64500"}, True),
    ],
)
def test_who_waits_or_only_makes_meets_no_own_order(
    *, fields: dict[str, object], passes: bool
) -> None:
    """trading:G22."""
    kit = Kit(limits(self_trade=True)).open(USDT="100000")
    kit.opened(PERP, "sell", "1", price="65000")
    found = row(kit, "self_trade", PERP, "buy", "1", **fields)

    assert found.ok is passes
    assert found.value == (None if passes else 1)


@pytest.mark.parametrize(
    ("side", "own", "reach", "meets"),
    [
        ("buy", "65000", "65000", True),
        ("buy", "65000.1", "65000", False),
        ("sell", "63000", "63000", True),
        ("sell", "62999.9", "63000", False),
    ],
)
def test_own_orders_are_met_at_their_price_and_not_one_tick_before(
    *, side: str, own: str, reach: str, meets: bool
) -> None:
    """trading:G22."""
    kit = Kit(limits(self_trade=True)).open(USDT="100000")
    kit.opened(PERP, "sell" if side == "buy" else "buy", "1", price=own)
    kit.opened(PERP, side, "1", price="64000" if side == "sell" else "62000")  # no crossing

    assert failed(kit, PERP, side, "1", price=reach) == (["self_trade"] if meets else [])


# --- losses, streaks and executions ---------------------------------------------------------------


def test_a_loss_is_told_by_its_name() -> None:
    """trading:G25 trading:G26."""
    kit = Kit(limits(max_daily_loss=D("0.02"), max_drawdown=D("0.02"))).open(USDT="36000", BTC="1")
    kit.ts += SECOND
    kit.prices(btc="61000")
    said = {one.rule: one.message for one in shown(kit, BTC, "buy", "0.01").rules if not one.ok}

    assert said["max_daily_loss"].startswith("daily_loss 0.03 fraction exceeds")
    assert said["max_drawdown"].startswith("drawdown 0.03 fraction exceeds")


def test_a_fall_is_measured_from_the_peak_and_a_loss_from_the_start() -> None:
    """trading:G25 trading:G26."""
    kit = Kit(limits(max_daily_loss=D("0.5"), max_drawdown=D("0.5"))).open(USDT="36000", BTC="1")
    for price in ("89000", "62000"):
        kit.ts += PEAK_EVERY
        kit.prices(btc=price)
        kit.tick()

    assert row(kit, "max_daily_loss", BTC, "buy").value == D("0.02")
    assert row(kit, "max_drawdown", BTC, "buy").value == 1 - D(98000) / D(125000)


def test_a_day_that_has_not_begun_has_no_loss() -> None:
    """trading:G25 trading:R4."""
    kit = Kit(limits(max_daily_loss=D("0.02")))
    kit.balance("USDT", "1000")
    kit.prices()
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    found = row(kit, "max_daily_loss", BTC, "buy", "0.01", price="60000")

    assert not found.ok
    assert "the day has not begun" in found.message


def test_a_day_that_began_with_nothing_has_no_loss_either() -> None:
    """trading:G25 trading:R4."""
    kit = Kit(limits(max_daily_loss=D("0.02"), max_drawdown=D("0.1"))).open(USDT="0")

    for rule in ("max_daily_loss", "max_drawdown"):
        found = row(kit, rule, BTC, "buy", "0.01", price="60000")
        assert (found.ok, found.value) == (False, None)
    one = Kit(limits(max_daily_loss=D("0.02"))).open(USDT="1")
    assert row(one, "max_daily_loss", BTC, "buy", "0.01", price="60000").value == 0


def test_a_streak_is_shown_to_exits_and_stops_none() -> None:
    """trading:G27."""
    kit = Kit(limits(loss_streak=1)).open(USDT="100000")
    kit.bought(ETH, "buy", "0.1", "3000")
    kit.bought(BTC, "buy", "0.01", "64000")
    kit.bought(BTC, "sell", "0.01", "63000")

    assert failed(kit, BTC, "buy", "0.01", price="60000") == ["loss_streak"]
    streak = row(kit, "loss_streak", ETH, "sell", "0.1")
    assert (streak.ok, streak.limit, streak.value) == (True, D(1), D(1))
    assert failed(kit, ETH, "sell", "0.1") == []
    kit.ts += STREAK_ENDS
    kit.prices()
    assert row(kit, "loss_streak", BTC, "buy", "0.01", price="60000").value == 0
    # An owner without trades has none.
    assert row(kit, "loss_streak", BTC, "buy", bot_id="b").value == 0


def test_a_pause_is_shown_to_exits_and_stops_none() -> None:
    """trading:G27."""
    kit = Kit(limits(cooldown_minutes=10)).open(USDT="100000")
    kit.bought(BTC, "buy", "0.02", "64000")
    kit.bought(BTC, "sell", "0.01", "65000")

    assert "for another 600 s" in row(kit, "cooldown", BTC, "buy").message
    assert row(kit, "cooldown", BTC, "sell", "0.001").ok
    assert failed(kit, BTC, "sell", "0.001") == []
    # A symbol without exits has none.
    assert row(kit, "cooldown", ETH, "buy").ok


@pytest.mark.parametrize(("after", "passes"), [(600 * SECOND - 1, False), (600 * SECOND, True)])
def test_a_pause_ends_to_the_nanosecond(*, after: int, passes: bool) -> None:
    """trading:G27."""
    kit = Kit(limits(cooldown_minutes=10)).open(USDT="100000")
    kit.bought(BTC, "buy", "0.02", "64000")
    kit.bought(BTC, "sell", "0.01", "65000")
    kit.ts += after
    kit.prices()

    assert failed(kit, BTC, "buy", "0.01", price="60000") == ([] if passes else ["cooldown"])


@pytest.mark.parametrize(("after", "count"), [(600 * SECOND - 1, 2), (600 * SECOND, 0)])
def test_fills_of_a_strategy_count_for_ten_minutes(*, after: int, count: int) -> None:
    """trading:G24."""
    kit = Kit(limits(repeated_execution=2)).open(USDT="100000")
    for _ in range(2):
        kit.bought(BTC, "buy", "0.01", "64000", strategy_id="s", bot_id="b")
    kit.ts += after
    kit.prices()
    found = row(kit, "repeated_execution", BTC, "buy", "0.01", strategy_id="s", bot_id="b")

    assert found.ok
    assert found.value == count
    names = [one.rule for one in shown(kit, BTC, "buy", "0.01").rules]
    assert "repeated_execution" not in names


def test_private_data_may_be_thirty_seconds_old() -> None:
    """trading:G3."""
    kit = Kit().open(USDT="100000")
    kit.post(Stale(venue="paper", symbol=None, stale=True, cause="silent", asof=kit.ts))

    kit.ts += 30_000 * MS
    kit.prices()
    assert row(kit, "not_ready", BTC, "buy").ok
    kit.ts += MS
    kit.prices()
    old = row(kit, "not_ready", BTC, "buy")
    assert not old.ok
    assert "private data is 30001 ms old" in old.message


@pytest.mark.parametrize(("cash", "value"), [("0", None), ("0.5", 12800), ("1", 6400)])
def test_a_risky_size_wants_some_equity(*, cash: str, value: int | None) -> None:
    """trading:G29 trading:R4."""
    kit = Kit(limits(max_position_size=D("0.5"), high_risk_size=D("0.1"))).open(USDT=cash)
    order = kit.draft(BTC, "buy", "0.1", price="64000")
    preview = kit.engine.preview(Place(order=order, who=WHO, ts=kit.ts, backing=SURE))
    [found] = [one for one in preview.rules if one.rule == "high_risk_size"]

    assert (found.ok, found.value) == (False, value)
    assert value is not None or "equity is not above 0" in found.message


@pytest.mark.parametrize(
    ("held", "amount", "passes"), [("0.5", "0.54687", True), ("0.5", "0.54688", False)]
)
def test_seven_tenths_of_a_size_are_large(*, held: str, amount: str, passes: bool) -> None:
    """trading:G29: equity is 100,000, and 0.7 of 0.5 of it are 0.546875 BTC of 64,000."""
    kit = Kit(limits(max_position_size=D(held), high_risk_size=D("0.7"))).open(USDT="100000")
    risky = Backing(probabilities=Probabilities(0.4, 0.3, 0.3), confidence=0.7)
    order = kit.draft(BTC, "buy", amount, price="64000")
    preview = kit.engine.preview(Place(order=order, who=WHO, ts=kit.ts, backing=risky))

    assert ("high_risk_size" not in preview.failed) is passes


# --- what is cancelled first ----------------------------------------------------------------------


def canceled(kit: Kit) -> list[str]:
    return [one.order.id for one in kit.effects if isinstance(one, CancelAtVenue)]


def test_an_exit_that_rests_cancels_no_stop() -> None:
    """trading:B9."""
    k = held_by_legs()
    k.bought(BTC, "buy", "0.01", "64000")
    k.balance("BTC", "0", "0.02")

    assert k.place(BTC, "sell", "0.008", price="65000").role is Role.EXIT
    assert canceled(k) == []


def test_an_exit_at_the_market_cancels_stops_and_no_other_exit() -> None:
    """trading:B9: though the other exit is older."""
    k = LegKit()
    k.open(USDT="100000")
    k.bought(BTC, "buy", "0.01", "64000")
    k.opened(BTC, "sell", "0.01", price="66000")
    parent = bracket(k, BTC, amount="0.01")
    k.fill(parent, "0.01")
    k.balance("BTC", "0", "0.02")
    k.place(BTC, "sell", "0.01")

    assert len(canceled(k)) == 2
    assert all(k.order(name).protective for name in canceled(k))


@pytest.mark.parametrize(("free", "gives_way"), [("0.01", 0), ("0.00999", 1)])
def test_a_stop_gives_its_coins_to_the_target_only_where_they_are_wanted(
    *, free: str, gives_way: int
) -> None:
    """trading:B9."""
    k, _ = mixed()
    k.tick(1)
    k.balance("BTC", free, "0.01")
    fired = last(k, "70000")

    assert of(fired, Submit)
    assert len(of(fired, CancelAtVenue)) == gives_way


def test_the_oldest_gives_way_whatever_its_number() -> None:
    """trading:B9."""
    k = LegKit()
    k.open(USDT="100000")
    parents = []
    for name in ("o-900", "o-800"):
        parents.append(bracket(k, BTC, amount="0.01", id=name))
        k.fill(parents[-1], "0.01")
        k.ts += SECOND
    k.balance("BTC", "0", "0.02")
    k.place(BTC, "sell", "0.01")

    assert [k.order(name).parent_id for name in canceled(k)] == ["o-900", "o-900"]


def test_what_rows_have_shown_and_fills_have_not_told_is_gone_once() -> None:
    """trading:B9."""
    k, parent, closing = waiting_exit()
    stop, target = (leg(k, parent, kind) for kind in Kind)
    k.fill(stop, "0.002", "60000")
    k.seen(stop, Status.CANCELED, "0.006")
    k.seen(target, Status.CANCELED)

    with pytest.raises(Refused, match=r"only 0\.004 BTC are left of them"):
        leaves(k, closing)


def held_by_legs() -> LegKit:
    """0.01 BTC, all of it in a stop and a target."""
    made = LegKit()
    made.open(USDT="100000")
    parent = bracket(made, BTC, amount="0.01")
    made.fill(parent, "0.01")
    return made


# --- the rest of a preview ------------------------------------------------------------------------

FIGURES = (
    "average",
    "slippage",
    "expected_fill",
    "cost",
    "fee",
    "fee_currency",
    "margin",
    "notional_after",
    "exposure_after",
    "leverage_after",
    "max_allowed_amount",
    "reference_price",
)
STOP = {"type": "stop", "stop_price": "65000"}
TEN = {"price": "64000", "leverage": "10"}
COINS = {"price": "64010"}


@pytest.mark.parametrize(
    ("symbol", "side", "amount", "fields", "expected"),
    [
        (BTC, "buy", "0.15", COINS, "64010 0 0.1 9601.5 0.00015 BTC 9601.5 73611.5 73611.5 0.44885 1.56069 64010"),
        (BTC, "buy", "0.15", COINS | {"post_only": True}, "- - 0 9601.5 0.000075 BTC 9601.5 73611.5 73611.5 0.44885 1.56069 64010"),
        (BTC, "buy", "0.2", {}, "64055 0.00070 0.2 12811 0.0002 BTC 12811 77250.33 77250.33 0.47104 1.55089 64375.275"),
        (BTC, "sell", "0.2", {}, "63945 0.00070 0.2 12789 12.789 USDT 0 64264.725 64264.725 0.39186 1 64264.725"),
        (BTC, "buy", "0.2", STOP, "- - 0 13000 0.0002 BTC 13000 78000 78000 0.47561 1.53692 65000"),
        (PERP, "buy", "1", TEN, "- - 0 640 0.352 USDT 64 640 64640 0.39415 2 64000"),
        (PERP, "buy", "1", {"price": "64000"}, "- - 0 640 0.352 USDT 640 640 64640 0.39415 2 64000"),
    ],
    ids=["limit", "maker", "market", "exit", "trigger", "leverage", "contract"],
)  # fmt: skip
def test_a_preview_tells_costs_and_what_would_be_held(
    symbol: str, side: str, amount: str, fields: dict[str, object], expected: str
) -> None:
    """protocol:8.4."""
    cheap = MARKETS | {BTC: replace(MARKETS[BTC], maker=D("0.0005"), taker=D("0.001"))}
    kit = Kit(limits(max_order_amount=D(2)), markets=cheap).open(USDT="100000", BTC="1")
    thin(
        kit,
        BTC,
        bids=(("63990", "0.1"), ("63900", "10")),
        asks=(("64010", "0.1"), ("64100", "10")),
    )
    preview = shown(kit, symbol, side, amount, **fields)

    assert " ".join(short(getattr(preview, name)) for name in FIGURES) == expected
    assert preview.valid


def short(value: object) -> str:
    if isinstance(value, Decimal) and len(str(value)) > 12:
        value = value.quantize(D("0.00001"))
        return str(value)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return "-" if value is None else str(value)


def test_a_preview_without_prices_or_equity_tells_what_it_can() -> None:
    """protocol:8.4."""
    kit = Kit()
    kit.balance("USDT", "1000")
    kit.post(Ready(venue="paper", ready=True, reason="", ts=kit.ts))
    blind = shown(kit, BTC, "buy", "0.1")

    assert " ".join(short(getattr(blind, name)) for name in FIGURES) == "- - 0 - - USDT - - - - 0 -"
    assert (blind.recommended_stop_loss, blind.recommended_take_profit) == (None, None)
    poor = shown(Kit().open(USDT="0"), BTC, "buy", "0.1")
    assert poor.leverage_after is None
    assert poor.max_allowed_amount == 0


def test_what_costs_less_than_one_has_a_stop_too() -> None:
    """features:F16."""
    kit = Kit().open()
    kit.prices(btc="0.50")
    preview = shown(kit, BTC, "buy", "100", price="0.50")

    assert (preview.recommended_stop_loss, preview.recommended_take_profit) == (
        D("0.49"),
        D("0.52"),
    )


@pytest.mark.parametrize(
    ("most", "allowed"),
    [
        ("0.00009", "0"),
        ("0.0001", "0.0001"),
        ("0.00011", "0.00011"),
        ("0.5", "0.5"),
        ("0.50001", "0.50001"),
    ],
)
def test_the_largest_amount_is_found_to_the_step(most: str, allowed: str) -> None:
    """protocol:8.4."""
    kit = Kit(limits(max_order_amount=D(most))).open(USDT="100000")

    assert shown(kit, BTC, "buy", "0.01", price="64000").max_allowed_amount == D(allowed)
    with_cost = shown(kit, BTC, "buy", "0", cost_limit="640")
    assert with_cost.max_allowed_amount == D(allowed)


def test_the_largest_amount_looks_past_the_least_cost_and_a_double() -> None:
    """protocol:8.4."""
    dear = MARKETS | {BTC: replace(MARKETS[BTC], min_cost=D(640), min_amount=None)}
    kit = Kit(limits(max_order_amount=D(1), duplicate_order_ms=1000), markets=dear)
    kit.open(USDT="100000")
    kit.place(BTC, "buy", "0.01", price="64000")

    assert shown(kit, BTC, "buy", "0.01", price="64000").max_allowed_amount == 1
    small = Kit(limits(max_order_amount=D("0.001")), markets=dear).open(USDT="100000")
    assert failed(small, BTC, "buy", "0.001", price="64000") == ["min_cost"]


# --- doors ----------------------------------------------------------------------------------------


def halt(kit: Kit, state: TradingState = TradingState.HALTED) -> None:
    kit.post(SetState(scope="all", state=state, reason="drill", who=WHO, ts=kit.ts))


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({"amount": "0.01"}, True),
        ({"amount": "0.005"}, True),
        ({"amount": "0.01001"}, False),
        ({"amount": "0.01", "price": "62999"}, False),
    ],
)
def test_in_a_halt_an_amend_may_only_give_back(*, fields: dict[str, str], passes: bool) -> None:
    """trading:K1 trading:R5."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    halt(kit)
    amend = amended(kit, order, **fields)

    if passes:
        kit.post(amend)
    else:
        with pytest.raises(Refused) as caught:
            kit.post(amend)
        assert caught.value.code is Code.HALTED


@pytest.mark.parametrize(("amount", "passes"), [("0.00401", True), ("0.004", False)])
def test_an_amend_leaves_more_than_has_filled(*, amount: str, passes: bool) -> None:
    """trading:R5."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    kit.fill(order, "0.004", "63000")
    amend = amended(kit, order, amount=amount)

    if passes:
        kit.post(amend)
        assert of(kit.effects, SubmitAmend)
    else:
        with pytest.raises(Refused, match="is not above what has filled"):
            kit.post(amend)


def test_a_smaller_amend_is_held_to_the_grid_and_the_minima_alone() -> None:
    """trading:R5."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")
    halt(kit)
    with pytest.raises(Refused) as caught:
        kit.post(amended(kit, order, amount="0.00005"))

    assert caught.value.code is Code.INVALID
    assert caught.value.details is not None
    assert caught.value.details["rule"] == "min_amount"
    assert caught.value.details["failed"] == ["min_amount", "min_cost"]


@pytest.mark.parametrize(("wait", "passes"), [(SECOND - 1, True), (SECOND, False)])
def test_an_order_leaves_before_it_expires_or_not_at_all(*, wait: int, passes: bool) -> None:
    """protocol:8.1."""
    kit = Kit().open()
    order = kit.place(BTC, "buy", "0.01", price="63000", expires_at=kit.ts + SECOND)
    kit.ts += wait

    if passes:
        kit.release(order)
    else:
        with pytest.raises(Refused) as caught:
            kit.release(order)
        assert caught.value.code is Code.EXPIRED


@pytest.mark.parametrize(
    ("state", "fields", "passes"),
    [
        (TradingState.REDUCING, {"side": "sell"}, True),
        (TradingState.REDUCING, {"side": "buy"}, False),
        (TradingState.HALTED, {"side": "sell"}, False),
        (TradingState.HALTED, {"side": "sell", "source": "flatten"}, True),
        (TradingState.HALTED, {"side": "buy", "source": "flatten"}, False),
    ],
)
def test_at_the_door_a_halt_asks_again(
    *, state: TradingState, fields: dict[str, str], passes: bool
) -> None:
    """trading:K1."""
    kit = Kit().open(USDT="1000", BTC="1")
    order = kit.place(BTC, fields["side"], "0.01", source=fields.get("source", "socket"))
    halt(kit, state)

    if passes:
        kit.release(order)
    else:
        with pytest.raises(Refused, match="nothing was sent") as caught:
            kit.release(order)
        assert caught.value.code is Code.HALTED


@pytest.mark.parametrize(("side", "passes"), [("sell", True), ("buy", False)])
def test_at_the_door_of_a_venue_that_is_away_only_exits_pass(*, side: str, passes: bool) -> None:
    """trading:G3."""
    kit = Kit().open(USDT="1000", BTC="1")
    order = kit.place(BTC, side, "0.01")
    kit.post(Ready(venue="paper", ready=False, reason="away", ts=kit.ts))

    if passes:
        kit.release(order)
    else:
        with pytest.raises(Refused) as caught:
            kit.release(order)
        assert caught.value.code is Code.VENUE_UNAVAILABLE
        assert caught.value.retry_after == 1


def test_nothing_is_sent_twice_through_the_door() -> None:
    """trading:2.1."""
    kit = Kit().open()
    order = kit.opened(BTC, "buy", "0.01", price="63000")

    with pytest.raises(Refused) as caught:
        kit.release(order)
    assert caught.value.code is Code.CONFLICT
