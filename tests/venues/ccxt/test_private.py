"""ccxt's rows of an account as ours, and our orders in ccxt's words."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.engine.rows import balance_row
from realtime.model.account import Valued
from realtime.model.errors import Code, Refused
from realtime.model.events import BalanceSeen, Filled, Transferred
from realtime.model.market import MS, SECOND, Market
from realtime.model.orders import Order, OrderType, Side, Status, TimeInForce, TriggerBy
from realtime.venues.ccxt import private
from realtime.venues.ccxt.private import ClientIds, Rows, asked, number


D = Decimal
NOW = 1_790_000_000 * SECOND
OURS = "0123456789abcdef0123456789abcdef"
SPOT, SWAP = "BTC/USDT", "BTC/USDT:USDT"
MARKETS = {
    SPOT: Market(
        symbol=SPOT, id="BTCUSDT", base="BTC", quote="USDT", price_tick=D("0.01"), amount_step=D("0.00001")
    ),
    SWAP: Market(
        symbol=SWAP,
        id="BTCUSDT",
        base="BTC",
        quote="USDT",
        settle="USDT",
        type="swap",
        contract_size=D("0.01"),
        price_tick=D("0.1"),
        amount_step=D(1),
    ),
}  # fmt: skip


def rows(exchange: str = "bybit") -> Rows:
    return Rows(
        venue="v", exchange=exchange, markets=MARKETS, ids=ClientIds.of(exchange)
    )  # fmt: skip


ORDER: dict[str, Any] = {
    "id": "x-1",
    "clientOrderId": OURS,
    "symbol": SPOT,
    "side": "buy",
    "type": "limit",
    "status": "open",
    "amount": 0.5,
    "filled": 0.1,
    "price": 60000.5,
    "average": 60000.0,
    "cost": 6000.0,
    "reduceOnly": False,
    "timestamp": 1,
    "info": {},
}
TRADE: dict[str, Any] = {
    "id": "t-1",
    "order": "x-1",
    "symbol": SPOT,
    "side": "buy",
    "amount": 0.1,
    "price": 60000.0,
    "takerOrMaker": "maker",
    "timestamp": 1_790_000_000_123,
    "fee": {"cost": 0.0001, "currency": "BTC"},
    "info": {},
}


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "info", "exact"),
    [
        (0.1, None, "0.1"),
        (1e-8, {}, "1E-8"),
        ("0.10", None, "0.10"),
        (3, None, "3"),
        (123456789.12345679, {"q": "123456789.123456789012"}, "123456789.123456789012"),
        (0.1, {"q": "0.100000000000000001"}, "0.100000000000000001"),
        (0.1, ["0.100000000000000001", 7, "not a number 0000"], "0.100000000000000001"),
        (0.1, {"q": "0.200000000000000001"}, "0.1"),
        (0.1, {"q": "0.1000000000000000"}, "0.1"),
    ],
)
def test_a_number_has_the_digits_the_venue_gave_it(value: object, info: object, exact: str) -> None:
    """trading:M4, trading:S13."""
    assert number(value, info) == D(exact)


@pytest.mark.parametrize("value", [None, True, "", "abc", float("nan"), float("inf"), {}])
def test_what_is_no_number_is_none_and_never_zero(value: object) -> None:
    assert number(value) is None


# --- client ids -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exchange", "sent", "shown"),
    [
        ("bybit", OURS, OURS),
        ("kraken", OURS, "01234567-89ab-cdef-0123-456789abcdef"),
        ("okx", OURS, OURS.upper()),
        ("gate", OURS[:28], "t-" + OURS[:28]),
        ("hyperliquid", "0x" + OURS, "0x" + OURS),
        ("bitfinex", int(OURS, 16) & ((1 << 45) - 1), int(OURS, 16) & ((1 << 45) - 1)),
    ],
)
def test_a_client_id_is_recognised_as_the_venue_shows_it(
    exchange: str, sent: object, shown: object
) -> None:
    """trading:I3."""
    ids = ClientIds.of(exchange)

    assert ids.theirs(OURS) == sent
    assert ids.ours(shown) == OURS


def test_what_cannot_be_turned_back_is_known_only_once_it_was_sent() -> None:
    number_ = int(OURS, 16) & ((1 << 45) - 1)
    ids = ClientIds.of("bitfinex")

    assert not ids.reversible
    assert ids.ours(number_) == str(number_)
    ids.theirs(OURS)
    assert ids.ours(number_) == OURS
    assert ClientIds.of("bybit").reversible


def test_ids_of_others_pass_through() -> None:
    ids = ClientIds.of("bybit")

    assert ids.theirs("web-7") == "web-7"
    assert ids.ours("web-7") == "web-7"
    assert ids.ours(None) is None
    assert ids.ours("") is None


# --- orders -----------------------------------------------------------------------------------


def test_an_order_row_is_taken_as_it_is() -> None:
    seen = rows().order(ORDER, now=NOW)

    assert seen is not None
    assert (seen.exchange_order_id, seen.venue_client_id) == ("x-1", OURS)
    assert (seen.side, seen.type, seen.status) == (Side.BUY, "limit", Status.OPEN)
    assert (seen.amount, seen.filled, seen.price, seen.cost) == (
        D("0.5"),
        D("0.1"),
        D("60000.5"),
        D(6000),
    )
    assert seen.asof == NOW


@pytest.mark.parametrize(
    ("status", "amount", "filled", "meant"),
    [
        ("open", 1.0, 0.0, Status.OPEN),
        ("canceling", 1.0, 0.0, Status.OPEN),
        ("closed", 1.0, 1.0, Status.FILLED),
        ("closed", 1.0, 0.4, Status.CANCELED),
        ("canceled", 1.0, 0.4, Status.CANCELED),
        ("canceled", 1.0, 1.0, Status.FILLED),
        ("canceled", 1.0, None, Status.CANCELED),
        ("canceled", 0.0, 0.0, Status.CANCELED),
        ("expired", 1.0, 0.0, Status.EXPIRED),
        ("rejected", 1.0, 0.0, Status.REJECTED),
    ],
)
def test_a_status_is_read_with_the_amounts(
    status: str, amount: float, filled: float | None, meant: Status
) -> None:
    """trading:2.2."""
    seen = rows().order(ORDER | {"status": status, "amount": amount, "filled": filled}, now=NOW)

    assert seen is not None
    assert seen.status is meant


@pytest.mark.parametrize(
    "fields",
    [
        {"status": None},
        {"status": "weird"},
        {"id": None},
        {"symbol": "XYZ/USDT"},
        {"side": None},
        {"amount": None},
    ],
    ids=str,
)
def test_a_row_without_what_makes_it_one_is_none(fields: dict[str, Any]) -> None:
    """trading:S1, trading:S10."""
    reader = rows()

    assert reader.order(ORDER | fields, now=NOW) is None
    assert reader.refused == {"order": 1}


def test_a_buy_by_cost_that_ended_has_the_amount_it_got() -> None:
    seen = rows().order(
        ORDER | {"type": "market", "amount": None, "filled": 0.2, "status": "closed", "cost": None},
        now=NOW,
    )

    assert seen is not None
    assert (seen.amount, seen.cost, seen.price) == (D("0.2"), D(12000), None)


def test_a_row_that_tells_a_change_alone_is_completed_by_the_one_before() -> None:
    """Kraken's stream names symbol, side and amount once."""
    reader = rows("kraken")
    names = {"cl_ord_id": OURS}
    first = ORDER | {"clientOrderId": "0", "info": names, "filled": None}
    bare = {"id": "x-1", "clientOrderId": "0", "status": "closed", "filled": 0.5, "info": names}

    began, ended = reader.order(first, now=NOW), reader.order(bare, now=NOW + 1)

    assert began is not None
    assert ended is not None
    assert began.venue_client_id == ended.venue_client_id == OURS
    assert (ended.symbol, ended.side, ended.amount) == (SPOT, Side.BUY, D("0.5"))
    assert (ended.status, ended.filled) == (Status.FILLED, D("0.5"))
    assert reader.order({**bare, "id": "x-2"}, now=NOW) is None


def test_only_so_many_orders_are_remembered() -> None:
    reader = rows()
    for index in range(private.REMEMBERED + 5):
        reader.order(ORDER | {"id": f"x-{index}"}, now=NOW)

    assert len(reader.last) == private.REMEMBERED


@pytest.mark.parametrize(
    ("exchange", "fields", "evidence", "asof"),
    [
        ("binance", {"lastUpdateTimestamp": 5_000}, "stream", 5_000 * MS),
        ("binance", {"lastTradeTimestamp": 5_000}, "stream", NOW),
        ("binance", {}, "found", NOW - private.LAG),
        ("bybit", {"lastTradeTimestamp": 5_000}, "found", 5_000 * MS),
    ],
)
def test_a_row_is_as_old_as_its_change_and_an_answer_without_one_lags(
    exchange: str, fields: dict[str, Any], evidence: str, asof: int
) -> None:
    seen = rows(exchange).order(ORDER | fields, now=NOW, evidence=evidence)

    assert seen is not None
    assert seen.asof == asof


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"type": "market"}, "market"),
        ({"type": "limit"}, "limit"),
        ({"type": None}, "limit"),
        ({"type": "market", "triggerPrice": 5.0}, "stop"),
        ({"type": "limit", "triggerPrice": 5.0}, "stop_limit"),
        ({"type": "stop_loss_limit", "triggerPrice": 5.0}, "stop_limit"),
        ({"type": "STOP_MARKET"}, "stop"),
        ({"type": "take_profit_market", "triggerPrice": 5.0}, "take_profit"),
        ({"type": "limit", "triggerPrice": 5.0, "takeProfitPrice": 5.0}, "take_profit_limit"),
        ({"type": "limit", "takeProfitPrice": 5.0}, "limit"),
        ({"type": "trailing_stop_market", "triggerPrice": 5.0}, "trailing_stop"),
    ],
    ids=str,
)
def test_types_are_read_with_their_triggers(fields: dict[str, Any], kind: str) -> None:
    seen = rows().order(ORDER | fields, now=NOW)

    assert seen is not None
    assert seen.type == kind
    assert (seen.stop_price is not None) == (bool(fields.get("triggerPrice")))


def test_a_rejected_row_tells_the_venues_reason_unless_it_is_none() -> None:
    row = ORDER | {"status": "rejected", "info": {"rejectReason": "EC_NoEnoughQty"}}
    none = ORDER | {"status": "canceled", "info": {"rejectReason": "EC_NoError"}}
    rejected, canceled = rows().order(row, now=NOW), rows().order(none, now=NOW)

    assert rejected is not None
    assert canceled is not None
    assert (rejected.code, rejected.reason) == (Code.VENUE_REJECTED, "EC_NoEnoughQty")
    assert (canceled.code, canceled.reason) == (None, None)


# --- fills ------------------------------------------------------------------------------------


def test_a_fill_keeps_its_fee_in_base() -> None:
    """trading:2.5."""
    (fill,) = rows().fill(TRADE, now=NOW)

    assert isinstance(fill, Filled)
    assert (fill.fee, fill.fee_currency, fill.maker) == (D("0.0001"), "BTC", True)
    assert fill.ts == 1_790_000_000_123 * MS


@pytest.mark.parametrize(("exchange", "name"), [("bybit", "seq"), ("kraken", "trade_id")])
def test_of_fills_in_one_millisecond_the_venue_says_which_came_first(
    exchange: str, name: str
) -> None:
    """trading:2.5: told the other way round, a flip of a position left cash that no fill explained."""
    told = [TRADE | {"info": {name: number}} for number in (9_515_624_038, "9515624037", None)]
    second, first, unknown = (rows(exchange=exchange).fill(row, now=NOW)[0].ts for row in told)

    assert unknown <= first < second < unknown + MS


def test_a_second_fee_is_booked_beside_the_fill_under_the_same_trade() -> None:
    fees = [
        {"cost": 0.01, "currency": "BNB"},
        {"cost": 1.5, "currency": "USDT"},
        {"cost": 0.5, "currency": "USDT"},
        {"cost": None, "currency": "USDT"},
    ]
    fill, beside = rows().fill(TRADE | {"fees": fees}, now=NOW)

    assert isinstance(fill, Filled)
    assert (fill.fee, fill.fee_currency) == (D(2), "USDT")
    assert isinstance(beside, Transferred)
    assert (beside.kind, beside.amount, beside.currency) == ("fee", D("-0.01"), "BNB")
    assert beside.id == rows().fill(TRADE | {"fees": fees}, now=NOW + 1)[1].id  # type: ignore[union-attr]


def test_a_rebate_is_negative_and_no_fee_is_nothing() -> None:
    (rebate,) = rows().fill(TRADE | {"fee": {"cost": -0.5, "currency": "USDT"}}, now=NOW)
    (free,) = rows().fill(TRADE | {"fee": None}, now=NOW)

    assert isinstance(rebate, Filled)
    assert isinstance(free, Filled)
    assert (rebate.fee, free.fee, free.fee_currency) == (D("-0.5"), D(0), "USDT")
    assert private.has_fee(TRADE)
    assert not private.has_fee(TRADE | {"fee": {"cost": None, "currency": None}})


def test_a_fee_of_a_stream_that_ccxt_does_not_turn_is_turned() -> None:
    negative = TRADE | {"fee": {"cost": -0.0001, "currency": "BTC"}}
    (streamed,) = rows("bitfinex").fill(negative, now=NOW, streamed=True)
    (answered,) = rows("bitfinex").fill(TRADE, now=NOW)

    assert isinstance(streamed, Filled)
    assert isinstance(answered, Filled)
    assert streamed.fee == answered.fee == D("0.0001")


@pytest.mark.parametrize(
    ("info", "known"),
    [({"orderLinkId": OURS}, OURS), ({"clOrdId": "web"}, "web"), ({}, None), ([], None)],
)
def test_the_client_id_of_a_fill_is_in_the_venues_own_row(info: object, known: object) -> None:
    (fill,) = rows().fill(TRADE | {"info": info}, now=NOW)

    assert isinstance(fill, Filled)
    assert fill.venue_client_id == known


@pytest.mark.parametrize(
    "fields",
    [
        {"id": None},
        {"order": None},
        {"amount": None},
        {"amount": 0.0},
        {"amount": -1.0},
        {"price": None},
        {"symbol": None},
        {"side": "both"},
    ],
    ids=str,
)
def test_a_trade_without_what_makes_it_one_is_no_fill(fields: dict[str, Any]) -> None:
    reader = rows()

    assert reader.fill(TRADE | fields, now=NOW) == []
    assert reader.refused == {"fill": 1}


# --- balances and positions ----------------------------------------------------------------------


def test_balances_are_what_the_venue_says_of_each_currency() -> None:
    seen = rows().balances(
        {
            "info": {"list": []},
            "timestamp": 1_790_000_000_000,
            "datetime": "x",
            "free": {"BTC": 1.0},
            "BTC": {"free": 1.0, "used": 0.5, "total": 1.5},
            "ETH": {"free": None, "used": 1.0, "total": 3.0},
            "XRP": {"free": 7.0, "used": None, "total": None},
            "NIL": {"free": None, "used": None, "total": None},
            "OWE": {"free": 5.0, "used": None, "total": 4.0},
        },
        now=NOW,
    )

    assert seen is not None
    assert all(isinstance(row, BalanceSeen) for row in seen)
    held = {row.balance.currency: row.balance for row in seen}
    assert (held["BTC"].available, held["BTC"].reserved) == (D(1), D("0.5"))
    assert (held["ETH"].available, held["ETH"].reserved) == (D(2), D(1))
    assert (held["XRP"].available, held["XRP"].reserved) == (D(7), D(0))
    assert held["OWE"].reserved == 0
    assert "NIL" not in held
    assert held["BTC"].ts == 1_790_000_000_000 * MS


@pytest.mark.parametrize(("streamed", "source"), [(True, "ws"), (False, "poll")])
def test_a_balance_says_whether_it_was_streamed_or_asked_for(
    *, streamed: bool, source: str
) -> None:
    """features:1.1. An account without a stream was shown as if it had one."""
    told = {"info": {"list": []}, "BTC": {"free": 1.0, "used": 0.5, "total": 1.5}}

    found = rows().balances(told, now=NOW, streamed=streamed)

    assert found is not None
    (seen,) = found
    valued = Valued(balance=seen.balance, price=None, value=None, allocation=None)
    assert balance_row(valued, "live")["source"] == source


@pytest.mark.parametrize("info", [None, "", "<html>", {}, []])
def test_a_balance_without_its_shape_is_no_information(info: object) -> None:
    """trading:S1."""
    assert rows().balances({"info": info, "BTC": {"free": 1.0}}, now=NOW) is None


POSITION: dict[str, Any] = {
    "symbol": SWAP,
    "side": "short",
    "contracts": 3.0,
    "entryPrice": 60000.0,
    "leverage": 5.0,
    "marginMode": "isolated",
    "liquidationPrice": 70000.0,
    "info": {},
}


def test_a_position_is_signed_and_costs_what_its_entry_says() -> None:
    seen = rows().position(POSITION, now=NOW)

    assert seen is not None
    held = seen.position
    assert (held.amount, held.cost) == (D(-3), D("-1800"))
    assert (held.leverage, held.margin_mode, held.liquidation_price) == (
        D(5),
        "isolated",
        D(70000),
    )


def test_a_position_of_nothing_is_flat_and_an_entry_that_is_not_told_is_unknown() -> None:
    flat = rows().position(POSITION | {"contracts": 0.0, "side": None}, now=NOW)
    blind = rows().position(POSITION | {"entryPrice": None}, now=NOW)

    assert flat is not None
    assert blind is not None
    assert (flat.position.amount, flat.position.cost) == (D(0), D(0))
    assert blind.position.cost is None


@pytest.mark.parametrize(
    "fields", [{"symbol": SPOT}, {"symbol": "X"}, {"contracts": None}, {"side": None}], ids=str
)
def test_a_position_without_what_makes_it_one_is_none(fields: dict[str, Any]) -> None:
    assert rows().position(POSITION | fields, now=NOW) is None


# --- our orders in ccxt's words --------------------------------------------------------------------


def order(symbol: str = SPOT, side: str = "sell", **fields: Any) -> Order:
    fields.setdefault("type", OrderType.LIMIT if "price" in fields else OrderType.MARKET)
    return Order(
        id="o-1",
        client_order_id="a",
        venue_client_id=OURS,
        venue="v",
        symbol=symbol,
        side=Side(side),
        amount=D(2),
        created_ts=NOW,
        updated_ts=NOW,
        **fields,
    )


def exchange(name: str, **has: bool) -> Any:
    known = {
        "createTriggerOrder": True,
        "createMarketBuyOrderWithCost": True,
        "createTrailingPercentOrder": True,
        "createTrailingAmountOrder": True,
    }
    return SimpleNamespace(id=name, has=known | has)


def words(name: str, made: Order, **has: bool) -> dict[str, Any]:
    found = asked(made, MARKETS[made.symbol], exchange(name, **has), ClientIds.of(name))
    params = dict(found.params)
    assert params.pop("clientOrderId") == ClientIds.of(name).theirs(OURS)
    return params


STOP: dict[str, Any] = {"type": OrderType.STOP, "stop_price": D(50000)}
TAKE: dict[str, Any] = {
    "type": OrderType.TAKE_PROFIT_LIMIT,
    "stop_price": D(70000),
    "price": D(69000),
}


@pytest.mark.parametrize(
    ("name", "made", "params"),
    [
        ("bybit", order(price=D(1)), {}),
        ("bybit", order(price=D(1), post_only=True), {"postOnly": True}),
        ("bybit", order(reduce_only=True), {}),
        ("bybit", order(SWAP, reduce_only=True), {"reduceOnly": True}),
        ("bybit", order(price=D(1), time_in_force=TimeInForce.IOC), {"timeInForce": "IOC"}),
        ("bybit", order(price=D(1), time_in_force=TimeInForce.FOK), {"timeInForce": "FOK"}),
        ("bybit", order(**STOP), {"triggerPrice": 50000.0}),
        ("bybit", order(**TAKE), {"triggerPrice": 70000.0}),
        (
            "bybit",
            order(SWAP, **STOP, trigger_by=TriggerBy.MARK),
            {"triggerPrice": 50000.0, "triggerDirection": "descending", "triggerBy": "MarkPrice"},
        ),
        (
            "bybit",
            order(SWAP, **TAKE),
            {"triggerPrice": 70000.0, "triggerDirection": "ascending", "triggerBy": "LastPrice"},
        ),
        (
            "bybit",
            order(SWAP, "buy", **STOP),
            {"triggerPrice": 50000.0, "triggerDirection": "ascending", "triggerBy": "LastPrice"},
        ),
        ("binance", order(**TAKE), {"takeProfitPrice": 70000.0}),
        ("binance", order(**STOP), {"triggerPrice": 50000.0}),
        ("kraken", order(**STOP), {"stopLossPrice": 50000.0}),
        ("kraken", order(**TAKE), {"takeProfitPrice": 70000.0}),
        (
            "kraken",
            order(price=D(1), time_in_force=TimeInForce.GTD, good_till_ts=7 * SECOND),
            {"timeInForce": "GTD", "expiretm": 7},
        ),
        (
            "binanceusdm",
            order(SWAP, price=D(1), time_in_force=TimeInForce.GTD, good_till_ts=7 * SECOND),
            {"timeInForce": "GTD", "goodTillDate": 7000},
        ),
        (
            "okx",
            order(SWAP, type=OrderType.TRAILING_STOP, trailing_rate=D("0.015")),
            {"trailingPercent": 1.5},
        ),
        (
            "kraken",
            order(type=OrderType.TRAILING_STOP, trailing_amount=D(25)),
            {"trailingAmount": 25.0},
        ),
        ("gate", order(SWAP, **STOP), {"triggerPrice": 50000.0}),
    ],
)
def test_an_order_in_the_words_of_its_venue(name: str, made: Order, params: dict[str, Any]) -> None:
    assert words(name, made) == params


def test_types_amounts_and_costs_go_where_ccxt_wants_them() -> None:
    limit = asked(order(price=D(5)), MARKETS[SPOT], exchange("bybit"), ClientIds.of("bybit"))
    stop = asked(order(**STOP), MARKETS[SPOT], exchange("bybit"), ClientIds.of("bybit"))
    cost = asked(
        order(side="buy", cost_limit=D(100)),
        MARKETS[SPOT],
        exchange("bybit"),
        ClientIds.of("bybit"),
    )

    assert (limit.type, limit.side, limit.amount, limit.price) == ("limit", "sell", D(2), D(5))
    assert (stop.type, stop.price) == ("market", None)
    assert (cost.amount, cost.cost) == (None, D(100))


@pytest.mark.parametrize(
    ("name", "made", "has"),
    [
        ("bitfinex", order(**TAKE), {}),
        ("bybit", order(SWAP, type=OrderType.TRAILING_STOP, trailing_rate=D("0.1")), {}),
        ("okx", order(SWAP, type=OrderType.TRAILING_STOP, trailing_rate=D("0.1")), {"createTrailingPercentOrder": False}),
        ("okx", order(price=D(1), time_in_force=TimeInForce.GTD, good_till_ts=1), {}),
        ("bybit", order(side="buy", cost_limit=D(1)), {"createMarketBuyOrderWithCost": False}),
        ("bybit", order(**STOP), {"createTriggerOrder": False}),
        ("gate", order(SWAP, **STOP, trigger_by=TriggerBy.MARK), {}),
    ],
)  # fmt: skip
def test_what_a_venue_has_no_word_for_is_refused_before_it_is_sent(
    name: str, made: Order, has: dict[str, bool]
) -> None:
    """trading:G7."""
    with pytest.raises(Refused) as raised:
        words(name, made, **has)

    assert raised.value.code is Code.NOT_SUPPORTED


def test_a_price_that_an_amend_may_have_changed_is_not_remembered() -> None:
    """A row without a price, behind an amend without an answer, brought the old price back."""
    book = rows("kraken")
    book.order(ORDER | {"status": "open"}, now=1)
    book.amending("x-1")
    later = {name: value for name, value in ORDER.items() if name != "price"}
    seen = book.order(later | {"status": "open"}, now=2)

    assert seen is not None
    assert seen.price is None
