"""What the values of the model say about themselves."""

import pytest

from realtime.model.account import Balance, Position
from realtime.model.errors import Code, Failure, Outcome, Refused, VenueRejected, VenueUnknown
from realtime.model.orders import OrderType, Role, Side, Status, venue_client_id
from realtime.model.principal import Principal, role_of
from tests.engine.kit import BTC, MARKETS, PERP, D, Kit


def test_a_balance_is_what_is_free_and_what_is_used() -> None:
    balance = Balance(venue="paper", currency="BTC", available=D(1), reserved=D(2))

    assert (balance.total, balance.id) == (D(3), "BTC|spot")


def test_a_position_has_a_side_and_an_entry_price() -> None:
    short = Position(venue="p", symbol="S", amount=D(-2), cost=D(-20), contract_size=D("0.1"))

    assert (short.side, short.id, short.entry_price) == ("short", "S|short", D(100))
    assert Position(venue="p", symbol="S").entry_price is None
    assert Position(venue="p", symbol="S", amount=D(1), cost=None).entry_price is None
    assert Position(venue="p", symbol="S", amount=D(1)).side == "long"


@pytest.mark.parametrize(
    ("kind", "triggered", "priced"),
    [
        (OrderType.MARKET, False, False),
        (OrderType.LIMIT, False, True),
        (OrderType.STOP, True, False),
        (OrderType.STOP_LIMIT, True, True),
        (OrderType.TAKE_PROFIT, True, False),
        (OrderType.TAKE_PROFIT_LIMIT, True, True),
        (OrderType.TRAILING_STOP, True, False),
    ],
)
def test_an_order_type_says_what_it_waits_for(
    *, kind: OrderType, triggered: bool, priced: bool
) -> None:
    assert (kind.triggered, kind.priced) == (triggered, priced)


def test_statuses_and_sides() -> None:
    assert [status.value for status in Status if not status.ended] == ["pending", "open", "unknown"]
    assert Side.BUY.opposite is Side.SELL
    assert Side.SELL.opposite is Side.BUY


def test_an_order_knows_what_it_is_for() -> None:
    order = Kit().draft(BTC, "buy", "1", role=Role.STOP_LOSS, bot_id="b")

    assert (order.exit, order.protective, order.owner, order.remaining) == (True, True, "b", D(1))
    plain = Kit().draft(BTC, "buy", "1", filled=D(2))
    assert (plain.exit, plain.protective, plain.owner, plain.remaining) == (
        False,
        False,
        "alice",
        D(0),
    )


def test_the_venues_client_id_is_known_before_the_call() -> None:
    """trading:I3."""
    made = venue_client_id("paper", "c-1")

    assert len(made) == 32
    assert made == venue_client_id("paper", "c-1") != venue_client_id("live", "c-1")
    assert set(made) <= set("0123456789abcdef")


def test_a_market_knows_its_cash() -> None:
    assert (MARKETS[BTC].cash, MARKETS[BTC].contract) == ("USDT", False)
    assert (MARKETS[PERP].cash, MARKETS[PERP].contract) == ("USDT", True)


def test_codes_have_a_status_and_an_outcome() -> None:
    assert {code: code.http for code in Code}
    assert Code.HALTED.http == 423
    unknown = {code for code in Code if code.outcome is Outcome.UNKNOWN}
    assert unknown == {Code.OUTCOME_UNKNOWN, Code.INTERNAL}


def test_the_three_families_of_errors_carry_code_and_details() -> None:
    refused = Refused(Code.BUSY, "wait", {"a": 1}, retry_after=2.0)
    assert (refused.code, refused.details, refused.retry_after, str(refused)) == (
        Code.BUSY,
        {"a": 1},
        2.0,
        "wait",
    )
    assert VenueUnknown("lost").code is Code.OUTCOME_UNKNOWN
    assert isinstance(VenueRejected(Code.VENUE_REJECTED, "no"), Failure)


def test_a_role_is_the_smallest_that_holds_the_scopes() -> None:
    assert role_of(frozenset({"read"})) == "viewer"
    assert role_of(frozenset({"trade"})) == "trader"
    assert Principal(subject="x", scopes=frozenset({"bots"})).role == "operator"
    assert Principal(subject="x", scopes=frozenset({"admin", "read"})).role == "admin"
