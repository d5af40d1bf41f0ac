"""What the gate asks of the orders of a token with limits, at the border and one unit beyond."""

from dataclasses import replace
from typing import Any

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.events import Amend, Cancel, Place, PlaceNext, Ready, Who
from realtime.model.orders import Asked, Order, Role, Trigger
from realtime.model.principal import TokenLimits
from realtime.model.risk import Preview
from tests.engine.kit import BTC, ETH, OFF, PERP, WHO, D, Kit


RICH = {"USDT": "1000000", "BTC": "1", "ETH": "5"}


def token(*symbols: str, most: str | None = None) -> Who:
    """Somebody whose token is limited."""
    limits = TokenLimits(
        symbols=symbols or None, max_order_notional=None if most is None else D(most)
    )
    return replace(WHO, subject="carol", limits=limits)


BTC_ONLY = token(BTC)
OURS = replace(OFF, max_order_notional=D(1000))


def judged(kit: Kit, who: Who, *args: str, **fields: Any) -> tuple[Refused | None, Preview]:
    """What the gate says to an order; preview, placement and the list of rules agree, and a refusal changes nothing."""
    wish = Place(order=kit.draft(*args, **fields), who=who, ts=kit.ts, allow_duplicate=True)
    shown = kit.engine.preview(wish)
    named = kit.engine.refusing(wish)
    before = kit.engine.digest()
    if shown.valid:
        kit.post(wish)
        assert named == ()
        return None, shown
    with pytest.raises(Refused) as caught:
        kit.post(wish)
    refused = caught.value
    assert kit.engine.digest() == before
    assert (shown.code, shown.message) == (refused.code, refused.message)
    assert refused.details is not None
    assert refused.details["failed"] == list(shown.failed) == list(named)
    return refused, shown


def details(refused: Refused | None, *names: str) -> tuple[object, ...]:
    assert refused is not None
    assert refused.details is not None
    return tuple(refused.details[name] for name in names)


def amended(kit: Kit, who: Who, order: Order, **targets: Any) -> Refused | None:
    """What is said to an amend; a preview says the same."""
    fields: dict[str, Any] = {
        "amount": None,
        "price": None,
        "stop_price": None,
        "stop_loss": None,
        "take_profit": None,
        **targets,
    }
    wish = Amend(order_id=order.id, who=who, ts=kit.ts, **fields)
    told: list[Refused | None] = []
    for ask in (kit.engine.preview_amend, kit.post):
        try:
            ask(wish)
        except Refused as refused:
            told.append(refused)
        else:
            told.append(None)
    looked, sent = told
    assert str(looked) == str(sent)
    return sent


# --- symbols --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "symbol", "passes"),
    [
        (WHO, ETH, True),
        (BTC_ONLY, BTC, True),
        (BTC_ONLY, ETH, False),
        (BTC_ONLY, PERP, False),  # another market, though of the same coin
        (token(ETH, PERP), PERP, True),
        (token(most="1000000"), ETH, True),
    ],
)
def test_a_token_trades_its_symbols(*, who: Who, symbol: str, passes: bool) -> None:
    kit = Kit().open(**RICH)

    refused, shown = judged(kit, who, symbol, "buy", "1")

    assert (refused is None) is passes
    if not passes:
        assert who.limits is not None
        assert refused is not None
        assert refused.code is Code.FORBIDDEN
        assert refused.message == f"this token may not trade {symbol}"
        said = details(refused, "rule", "symbol", "symbols")
        assert said == ("token_symbols", symbol, list(who.limits.symbols or ()))
        assert shown.max_allowed_amount == 0


def test_it_is_the_first_thing_said_and_all_others_stand_beside_it() -> None:
    kit = Kit().open(USDT="10")

    refused, _ = judged(kit, BTC_ONLY, ETH, "buy", "1.00001")

    assert details(refused, "rule", "failed") == (
        "token_symbols",
        ["token_symbols", "lot_size", "insufficient_funds"],
    )


def test_an_exit_is_of_its_symbol_too() -> None:
    kit = Kit().open(**RICH)

    refused, _ = judged(kit, BTC_ONLY, ETH, "sell", "5")

    assert details(refused, "failed") == (["token_symbols"],)
    assert judged(kit, BTC_ONLY, BTC, "sell", "1")[0] is None


def test_the_rules_are_shown_to_a_limited_token_alone() -> None:
    kit = Kit().open(**RICH)

    plain = {rule.rule for rule in judged(kit, WHO, BTC, "buy", "0.01")[1].rules}
    _, shown = judged(kit, token(BTC, most="1000"), BTC, "buy", "0.01")

    rules = {rule.rule: rule for rule in shown.rules}
    assert rules.keys() - plain == {"token_symbols", "token_notional"}
    assert rules["token_symbols"].ok
    figures = rules["token_notional"]
    assert (figures.limit, figures.value, figures.unit) == (D(1000), D("643.2001005"), "USDT")


def test_an_amend_of_anybodys_order_is_of_its_symbol() -> None:
    kit = Kit().open(**RICH)
    other = kit.opened(ETH, "buy", "1", price="2900")

    dearer = amended(kit, BTC_ONLY, other, price=D(2950))
    more = amended(kit, BTC_ONLY, other, amount=D(2))
    stop = amended(kit, BTC_ONLY, other, stop_loss=Trigger(price=D(2800)))
    # What only makes it smaller is as good as a cancel, and that is open to everybody who trades.
    smaller = amended(kit, BTC_ONLY, other, amount=D("0.5"))

    for refused in (dearer, more, stop):
        assert details(refused, "rule", "symbol", "symbols") == ("token_symbols", ETH, [BTC])
        assert refused is not None
        assert refused.code is Code.FORBIDDEN
    assert smaller is None
    assert kit.order(other.id).stop_loss is None
    assert amended(kit, token(ETH), other, stop_loss=Trigger(price=D(2800))) is None
    assert kit.order(other.id).stop_loss == Trigger(price=D(2800))


def test_less_of_an_order_and_a_stop_for_it_in_one_amend_is_no_way_round() -> None:
    kit = Kit().open(**RICH)
    other = kit.opened(ETH, "buy", "1", price="2900")

    both = amended(kit, BTC_ONLY, other, amount=D("0.5"), stop_loss=Trigger(price=D(2899)))

    assert details(both, "rule") == ("token_symbols",)
    assert kit.order(other.id).amend_state is Asked.NONE


def test_a_leg_protects_for_its_parent_and_is_moved_by_who_may_trade_its_symbol() -> None:
    kit = Kit().open(**RICH)
    parent = kit.bought(ETH, "buy", "1", "3000", who=token(ETH), stop_loss=Trigger(price=D(2800)))
    (place,) = [effect.place for effect in kit.effects if isinstance(effect, PlaceNext)]
    kit.post(place)
    leg = kit.order(place.order.id)
    kit.release(leg)
    leg = kit.accept(leg)

    moved = amended(kit, BTC_ONLY, leg, stop_price=D(2999))

    assert (leg.role, leg.parent_id) == (Role.STOP_LOSS, parent.id)
    assert details(moved, "rule", "symbol") == ("token_symbols", ETH)
    kit.post(Cancel(order_id=leg.id, who=BTC_ONLY, ts=kit.ts))
    assert kit.order(leg.id).cancel_state is Asked.REQUESTED


# --- notional -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("most", "args", "fields", "passes"),
    [
        ("640", (BTC, "buy", "0.01"), {"price": "64000"}, True),
        ("639.99", (BTC, "buy", "0.01"), {"price": "64000"}, False),
        # Judged at the mark where its own limit is below, and half a percent above what the book asks.
        ("640", (BTC, "buy", "0.01001"), {"price": "50000"}, False),
        ("643.2001005", (BTC, "buy", "0.01"), {}, True),
        ("643.2001004", (BTC, "buy", "0.01"), {}, False),
        # By cost.
        ("500", (BTC, "buy", "0"), {"cost_limit": "500"}, True),
        ("499.99", (BTC, "buy", "0"), {"cost_limit": "500"}, False),
        # What waits for a trigger, and what opens a short.
        ("650", (BTC, "buy", "0.01"), {"type": "stop", "stop_price": "65000"}, True),
        ("649.99", (BTC, "buy", "0.01"), {"type": "stop", "stop_price": "65000"}, False),
        ("640", (PERP, "sell", "1"), {"price": "64000.0"}, True),
        ("639.99", (PERP, "sell", "1"), {"price": "64000.0"}, False),
    ],
)
def test_an_order_is_worth_no_more(
    *, most: str, args: tuple[str, ...], fields: dict[str, Any], passes: bool
) -> None:
    kit = Kit().open(**RICH)

    refused, _ = judged(kit, token(most=most), *args, **fields)

    assert (refused is None) is passes
    if not passes:
        assert refused is not None
        assert refused.code is Code.RISK_REJECTED
        assert details(refused, "rule", "limit", "unit") == ("token_notional", most, "USDT")


def test_the_refusal_says_what_it_was_worth() -> None:
    kit = Kit().open(**RICH)

    refused, shown = judged(kit, token(most="1000"), BTC, "buy", "1", price="64000")

    assert refused is not None
    assert refused.message == "notional 64000 USDT exceeds token_notional 1000 USDT"
    assert details(refused, "value", "failed") == ("64000", ["token_notional"])
    assert shown.max_allowed_amount == D("0.01562")


def test_nobody_is_kept_from_closing() -> None:
    kit = Kit().open(**RICH)

    assert judged(kit, token(most="1"), BTC, "sell", "1")[0] is None


def test_it_grows_in_no_steps_either() -> None:
    kit, who = Kit().open(**RICH), token(most="640")
    order = kit.opened(BTC, "buy", "0.005", price="64000", who=who)

    assert details(amended(kit, who, order, amount=D("0.01001")), "rule") == ("token_notional",)
    assert details(amended(kit, who, order, amount=D("0.01"), price=D(64001)), "value") == (
        "640.01",
    )
    assert amended(kit, who, order, amount=D("0.01")) is None


def test_without_a_price_it_cannot_be_judged_as_the_accounts_own() -> None:
    found: list[list[str]] = []
    for limits, who in ((OFF, token(most="1000")), (OURS, WHO)):
        kit = Kit(limits)
        kit.price(ETH, "3000")
        kit.balance("USDT", "100000")
        refused, shown = judged(kit, who, BTC, "buy", "0.01")
        assert refused is not None
        found.append([refused.code, refused.message, *shown.failed])

    assert found[1].count("max_order_notional") == 1
    assert found[0] == [
        "token_notional" if said == "max_order_notional" else said for said in found[1]
    ]


def test_an_exit_without_a_price_passes_with_a_warning() -> None:
    kit = Kit()
    for currency in ("USDT", "BTC"):
        kit.balance(currency, "1")
    kit.post(Ready(venue="paper", ready=True, reason="reconciled", ts=kit.ts))
    kit.tick()

    refused, shown = judged(kit, token(most="1"), BTC, "sell", "1")

    assert refused is None
    assert "token_notional cannot be judged: there is no price" in shown.warnings
