"""G29: what the gate asks of orders that are placed on a signal, at every limit and one unit beyond."""

from dataclasses import replace

import pytest

from realtime.model.errors import Code, Refused
from realtime.model.events import Place
from realtime.model.risk import Backing, Limits, Preview
from realtime.model.signals import Probabilities
from tests.engine.kit import BTC, OFF, PERP, WHO, D, Kit


SURE = Backing(probabilities=Probabilities(0.8, 0.1, 0.1), confidence=0.9)
LIMITS = replace(OFF, max_position_size=D("0.5"))
RULES = ["low_confidence", "low_action_probability", "high_risk_size"]
BOT_RULES = ["risk_score_threshold", "confidence_threshold"]


def judged(
    backing: Backing | None,
    *,
    symbol: str = BTC,
    side: str = "buy",
    amount: str = "0.1",
    bot_id: str | None = None,
    limits: Limits = LIMITS,
    **balances: str,
) -> tuple[list[str], Preview]:
    """What both the preview and the placement refuse; they must agree."""
    kit = Kit(limits).open(**balances)
    wish = Place(
        order=kit.draft(symbol, side, amount, bot_id=bot_id), who=WHO, ts=kit.ts, backing=backing
    )
    shown = kit.engine.preview(wish)
    if shown.valid:
        kit.post(wish)
        return [], shown
    with pytest.raises(Refused) as caught:
        kit.post(wish)
    assert caught.value.code is shown.code is Code.RISK_REJECTED
    assert caught.value.message == shown.message
    assert caught.value.details is not None
    assert caught.value.details["failed"] == list(shown.failed)
    return list(shown.failed), shown


def backing(buy: float, sell: float, confidence: float) -> Backing:
    return Backing(
        probabilities=Probabilities(buy, sell, round(1 - buy - sell, 9)), confidence=confidence
    )


def test_an_order_without_a_signal_is_asked_for_none() -> None:
    failed, shown = judged(None)

    assert failed == []
    assert not {rule.rule for rule in shown.rules} & {*RULES, *BOT_RULES}


def test_a_clear_signal_passes_and_every_rule_is_shown() -> None:
    failed, shown = judged(SURE, bot_id="main")

    assert failed == []
    assert [rule.rule for rule in shown.rules][-5:] == [*RULES, *BOT_RULES]
    figures = {rule.rule: (rule.limit, rule.value, rule.headroom) for rule in shown.rules}
    assert figures["low_confidence"] == (D("0.6"), D("0.9"), D("0.3"))
    assert figures["risk_score_threshold"] == (D("0.8"), D("0.28"), D("0.52"))


@pytest.mark.parametrize(("confidence", "failed"), [(0.6, []), (0.599, ["low_confidence"])])
def test_confidence_at_its_limit_and_below(confidence: float, failed: list[str]) -> None:
    assert judged(backing(0.8, 0.1, confidence))[0] == failed


@pytest.mark.parametrize(
    ("symbol", "side", "buy", "sell", "failed"),
    [
        (BTC, "buy", 0.4, 0.1, []),
        (BTC, "buy", 0.399, 0.1, ["low_action_probability"]),
        (PERP, "sell", 0.1, 0.4, []),
        (PERP, "sell", 0.5, 0.399, ["low_action_probability"]),
    ],
)
def test_the_probability_of_the_side_at_its_limit_and_below(
    symbol: str, side: str, buy: float, sell: float, failed: list[str]
) -> None:
    told = backing(buy, sell, 0.9)

    assert judged(told, symbol=symbol, side=side, amount="1", limits=OFF)[0] == failed


@pytest.mark.parametrize(
    ("confidence", "amount", "failed"),
    [
        # R = 1 - c * 0.4: 0.7 is not above its limit, 0.7004 is.
        (0.75, "0.6", []),
        (0.749, "0.5", []),
        (0.749, "0.6", ["high_risk_size"]),
    ],
    ids=["at the score", "above, but small", "above, and large"],
)
def test_a_risky_signal_gets_no_large_size(
    confidence: float, amount: str, failed: list[str]
) -> None:
    # Equity is 100,000: 0.7 of max_position_size is 35,000, and 0.6 BTC are 38,400.
    assert judged(backing(0.4, 0.3, confidence), amount=amount)[0] == failed


@pytest.mark.parametrize(
    ("p", "failed"), [(0.25, []), (0.249, ["risk_score_threshold"])], ids=["at", "beyond"]
)
def test_the_risk_score_of_a_bot_at_its_limit_and_beyond(p: float, failed: list[str]) -> None:
    limits = replace(LIMITS, low_action_probability=None)
    told = Backing(probabilities=Probabilities(p, p, 1 - 2 * p), confidence=0.8)

    assert judged(told, bot_id="main", limits=limits)[0] == failed
    assert judged(told, limits=limits)[0] == []


@pytest.mark.parametrize(("confidence", "failed"), [(0.7, []), (0.699, ["confidence_threshold"])])
def test_the_confidence_of_a_bot_at_its_limit_and_below(
    confidence: float, failed: list[str]
) -> None:
    told = backing(0.8, 0.1, confidence)

    assert judged(told, bot_id="main")[0] == failed
    assert judged(told)[0] == []


def test_every_failure_is_named_in_the_order_of_the_table() -> None:
    failed, shown = judged(backing(0.1, 0.1, 0.5), amount="0.7", bot_id="main")

    assert failed == [*RULES, *BOT_RULES]
    assert shown.message == "confidence 0.5 is below low_confidence 0.6"


def test_exits_are_exempt_from_all_of_them() -> None:
    told = backing(0.1, 0.1, 0.1)

    failed, _ = judged(told, side="sell", amount="0.7", bot_id="main", USDT="50000", BTC="1")

    assert failed == []


def test_rules_that_are_off_judge_nothing() -> None:
    limits = replace(
        OFF,
        min_signal_confidence=None,
        low_action_probability=None,
        high_risk_size=None,
        risk_score_threshold=None,
        confidence_threshold=None,
    )

    assert judged(backing(0.1, 0.1, 0.1), bot_id="main", limits=limits)[0] == []


def test_a_risky_size_without_equity_is_refused() -> None:
    limits = replace(LIMITS, max_position_size=D("0.5"), equity_age_s=60)
    kit = Kit(limits).open(USDT="100000", ETH="1")
    kit.ts += 61 * 1_000_000_000
    kit.price(BTC, "64000")

    told = backing(0.4, 0.3, 0.7)
    shown = kit.engine.preview(
        Place(order=kit.draft(BTC, "buy", "0.01"), who=WHO, ts=kit.ts, backing=told)
    )

    assert shown.failed == ("max_position_size", "high_risk_size")


def test_a_preview_recommends_by_the_signal() -> None:
    _, plain = judged(None)
    _, backed = judged(SURE)

    assert plain.recommended_stop_loss is not None
    assert backed.recommended_stop_loss is not None
    # The risk of 0.28 brings the stop nearer, the confidence of 0.9 takes the target farther.
    assert plain.recommended_stop_loss < backed.recommended_stop_loss < D(64000)
    assert plain.recommended_take_profit is not None
    assert backed.recommended_take_profit is not None
    assert plain.recommended_take_profit < backed.recommended_take_profit
