"""What is made past the call of a class is what the call would have made."""

from dataclasses import field

import pytest

from realtime.engine import rows
from realtime.engine.evolve import draft_order, maker, new_fill, new_place, new_placed, new_who
from realtime.model.events import Place, Placed, Who
from realtime.model.frozen import frozen
from realtime.model.market import ZERO
from realtime.model.orders import Fill, Order, OrderType, Side
from realtime.model.principal import TokenLimits
from tests.engine.kit import BTC, MARKETS, T0, WHO, D, Kit


RULES = TokenLimits(symbols=(BTC,))
ORDER = Kit().draft(BTC, "buy", "0.01", price="64000")
CONTENT = {"symbol": BTC}


@pytest.mark.parametrize(
    ("made", "called"),
    [
        (
            new_who("ann", "desk", "t-1", "http", "b-1", "s-1", True, RULES),
            Who(
                subject="ann",
                client="desk",
                token_id="t-1",
                source="http",
                bot_id="b-1",
                strategy_id="s-1",
                admin=True,
                limits=RULES,
            ),
        ),
        (
            new_place(ORDER, WHO, T0, CONTENT, True, None),
            Place(order=ORDER, who=WHO, ts=T0, content=CONTENT, allow_duplicate=True),
        ),
        (
            new_placed(ORDER, CONTENT, D(641), T0),
            Placed(order=ORDER, content=CONTENT, cost=D(641), ts=T0),
        ),
        (
            new_fill(
                "t-1", "o-1", "c-1", "paper", BTC, Side.SELL, D("0.01"), D(64000), D(640), D("0.64"),
                "USDT", True, D(-1), "b-1", False, T0,
            ),
            Fill(
                id="t-1", order_id="o-1", client_order_id="c-1", venue="paper", symbol=BTC, side=Side.SELL,
                amount=D("0.01"), price=D(64000), cost=D(640), fee=D("0.64"), fee_currency="USDT", maker=True,
                realized_pnl=D(-1), bot_id="b-1", inferred=False, ts=T0,
            ),
        ),
    ],
    ids=["who", "place", "placed", "fill"],
)  # fmt: skip
def test_a_value_is_what_its_class_makes_of_the_same_fields(made: object, called: object) -> None:
    assert made == called
    assert repr(made) == repr(called)


FIELDS = {"symbol": BTC, "type": OrderType.MARKET, "side": Side.BUY, "amount": D("0.01")}


def test_a_draft_is_what_its_class_makes_of_the_same_fields() -> None:
    who = Who(subject="ann", client="desk", source="http", bot_id="b-1", strategy_id="s-1")
    called = Order(
        id="o-1",
        client_order_id="c-1",
        venue_client_id="v-1",
        venue="paper",
        symbol=BTC,
        type=OrderType.MARKET,
        side=Side.BUY,
        amount=D("0.01"),
        subject="ann",
        client="desk",
        bot_id="b-1",
        strategy_id="s-1",
        source="http",
        created_ts=T0,
        updated_ts=T0,
    )
    made = draft_order(("o-1", "c-1", "v-1", "paper"), who, T0, FIELDS)
    assert made == called
    assert repr(made) == repr(called)
    # What is said of the owner by name holds, as of an order that flattens.
    named = draft_order(("", "c-1", "v-1", "paper"), who, T0, FIELDS | {"source": "flatten"})
    assert (named.id, named.source, named.filled) == ("", "flatten", ZERO)


def test_a_draft_has_no_field_that_an_order_has_not() -> None:
    with pytest.raises(AttributeError):
        draft_order(("o-1", "c-1", "v-1", "paper"), WHO, T0, FIELDS | {"colour": "red"})


@pytest.mark.parametrize("amount", ["0.01", "0.010", "1E-2", "0.01000", "0.0100000"])
@pytest.mark.parametrize("filled", ["0.01", "0.0100", "1E-2", "0.010000000"])
def test_what_has_filled_whole_reads_as_the_amount_however_it_is_written(
    amount: str, filled: str
) -> None:
    kit = Kit().open()
    order = kit.opened(BTC, "buy", amount, price="64000")
    kit.fill(order, filled, "64000")
    row = rows.order_row(kit.order(order.id), MARKETS[BTC], "paper")
    assert (row["amount"], row["filled"], row["remaining"]) == ("0.01000", "0.01000", "0")


def test_a_maker_does_not_leave_a_field_out_that_a_factory_makes() -> None:
    @frozen
    class Basket:
        symbol: str
        held: list[str] = field(default_factory=list)

    with pytest.raises(TypeError, match="held"):
        maker(Basket, "symbol")

    assert callable(maker(Basket, "symbol", "held"))
