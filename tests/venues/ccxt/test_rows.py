"""Rows of ccxt as events: shapes and digits."""

from decimal import Decimal
from typing import Any

import pytest

from realtime.model.market import Bar, Trade
from realtime.venues.ccxt import rows


NOW = 1_700_000_000_500_000_000
MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1e-7, "0.0000001"),
        (1.5, "1.5"),
        (100.0, "100"),
        (12, "12"),
        (1e22, "10000000000000000000000"),
        ("64000.10", "64000.10"),
        ("1e-7", "0.0000001"),
        (".5", "0.5"),
        ("007", "7"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_a_number_is_written_without_an_exponent(number: Any, expected: str) -> None:
    assert rows.text(number) == expected


def test_digits_come_from_the_venues_own_string() -> None:
    """S13: 18 digits through a float are other digits."""
    digits = rows.Digits()
    row = {"price": float("123456.789012345678"), "info": {"d": [{"p": "123456.789012345678"}]}}

    assert digits.text(row, "price") == "123456.789012345678"
    assert digits.text(row, "price") == "123456.789012345678"  # by the path it has learnt


def test_a_path_that_fits_no_longer_is_learnt_anew() -> None:
    digits = rows.Digits()
    first = {"price": 2.0, "info": {"q": "2.00", "p": "2.000"}}  # which one is not certain
    second = {"price": 3.0, "info": {"q": "2.00", "p": "3.000"}}

    assert digits.text(first, "price") == "2.00"
    assert digits.text(second, "price") == "3.000"
    assert digits.text({"price": 4.0, "info": {}}, "price") == "4"
    assert digits.text({"price": 4.0, "info": ["a", "4.0"]}, "price") == "4.0"
    assert digits.text({"price": 5.0, "info": "5.00"}, "price") == "5.00"


@pytest.mark.parametrize("value", [None, True, "1", float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_none(value: Any) -> None:
    assert rows.Digits().text({"price": value, "info": {}}, "price") is None


def ticker(**more: Any) -> dict[str, Any]:
    return {"symbol": "A/B", "info": {"x": "1"}, "timestamp": MS, "last": 2.5} | more


def test_a_ticker_tells_what_there_is_and_none_for_the_rest() -> None:
    made = rows.ticker(
        ticker(bid=2.0, bidVolume=1.0, ask=0.0, baseVolume=7.0, markPrice=0.0, indexPrice=2.0),
        "A/B",
        NOW,
        rows.Digits(),
    )

    assert made is not None
    assert (made.mark, made.index) == (
        None,
        "2",
    )  # an inverse contract is worth one through the mark
    assert (made.bid, made.bid_amount, made.ask, made.ask_amount) == ("2", "1", None, None)
    assert (made.daily.last, made.daily.high, made.daily.volume) == ("2.5", None, "7")
    assert (made.ts, made.recv_ts, made.source) == (MS * 1_000_000, NOW, "ws")


@pytest.mark.parametrize(
    "row",
    [None, "<html>", [], ticker(last=None), ticker(info="<html>"), ticker(last=float("nan"))],
    ids=["none", "text", "list", "no price", "html", "nan"],
)
def test_a_ticker_without_its_shape_is_none(row: Any) -> None:
    assert rows.ticker(row, "A/B", NOW, rows.Digits()) is None


def trade(**more: Any) -> dict[str, Any]:
    row = {"symbol": "A/B", "id": "7", "side": "buy", "price": 2.0, "amount": 1.0}
    return {**row, "timestamp": MS, "info": {}, **more}


def test_a_trade_has_the_venues_id_and_time() -> None:
    made = rows.trade(trade(), NOW, rows.Digits())

    assert made == Trade("7", "A/B", "buy", "2", "1", MS * 1_000_000, NOW)


def test_a_trade_without_id_and_time_is_named_by_what_it_is() -> None:
    made = rows.trade(trade(id=None, timestamp=None), NOW, rows.Digits())

    assert made is not None
    assert (made.id, made.ts) == ("1700000000500-2-1-b", NOW)


@pytest.mark.parametrize(
    "row",
    [
        [],
        trade(price=None),
        trade(amount=0.0),
        trade(side=None),
        trade(symbol=None),
    ],
    ids=["list", "no price", "nothing", "no side", "nowhere"],
)
def test_a_trade_without_its_shape_is_none(row: Any) -> None:
    assert rows.trade(row, NOW, rows.Digits()) is None


def test_trades_are_told_in_order_of_time_and_within_it_as_they_came() -> None:
    answer = [trade(id="3", timestamp=MS + 1), trade(id="2"), trade(id="1"), trade(side=None)]

    assert [one.id for one in rows.trades(answer, NOW, rows.Digits())] == ["2", "1", "3"]
    assert rows.trades([], NOW, rows.Digits()) == []


@pytest.mark.parametrize("answer", [{}, None, "<html>", [{"a": 1}]])
def test_an_answer_without_trades_in_it_is_no_answer(answer: Any) -> None:
    with pytest.raises(rows.Shapeless):
        rows.trades(answer, NOW, rows.Digits())


def test_bars_are_told_once_and_in_order() -> None:
    answer = [[MS + 60_000, 1, 2, 0.5, 1.5, 3], [MS, 1, 2, 0.5, 1.5, 0.0], [MS, 1, 2, 0.5, 1.5, 4]]

    assert [(bar.ts // 1_000_000, bar.volume) for bar in rows.bars(answer)] == [
        (MS, "4"),
        (MS + 60_000, "3"),
    ]
    assert rows.bar([MS, 1.0, 2.0, 0.5, 1.5, 0.0]) == Bar(
        MS * 1_000_000, "1", "2", "0.5", "1.5", "0"
    )


@pytest.mark.parametrize(
    "row",
    [
        "text",
        {},
        [MS, 1, 2, 0.5, 1.5],
        [MS, 1, 2, 0.5, None, 1],
        [MS, 1, 2, 0.5, True, 1],
        [MS // 1000, 1, 2, 0.5, 1.5, 1],
        [MS, 1, 0.9, 0.5, 1.5, 1],
        [MS, 1, 2, 1.2, 1.5, 1],
        [MS, 1, 2, 0, 1.5, 1],
        [MS, 1, 2, 0.5, 1.5, -1],
        [MS, 1, 2, 0.5, 1.5, float("nan")],
        [MS, 1, float("inf"), 0.5, 1.5, 1],
    ],
)
def test_an_impossible_bar_is_none(row: Any) -> None:
    assert rows.bar(row) is None


@pytest.mark.parametrize("answer", [{}, "<html>", [[1, 2]]])
def test_an_answer_without_bars_in_it_is_no_answer(answer: Any) -> None:
    with pytest.raises(rows.Shapeless):
        rows.bars(answer)


def test_orders_at_one_price_are_one_level() -> None:
    assert rows.side([[2.0, 0.1, "a"], [2.0, 0.2, "b"], [1.0, 0.0], [None, 1.0]], 10) == {
        2.0: Decimal("0.3")
    }


def test_a_change_of_a_book_names_what_differs_and_deletes_what_left() -> None:
    old: rows.Side = {3.0: 1.0, 2.0: 1.0, 1.0: 1.0}
    new: rows.Side = {3.0: 1.0, 2.5: 4.0, 2.0: 2.0}

    assert rows.changed(old, new) == (("2.5", "4"), ("2", "2"), ("1", "0"))
    assert rows.changed(new, new) == ()
    assert rows.levels(new) == (("3", "1"), ("2.5", "4"), ("2", "2"))


@pytest.mark.parametrize(
    ("bids", "asks", "crossed"),
    [({1.0: 1.0}, {2.0: 1.0}, False), ({2.0: 1.0}, {2.0: 1.0}, True), ({}, {2.0: 1.0}, False)],
)
def test_a_book_whose_best_prices_meet_is_crossed(
    bids: rows.Side, asks: rows.Side, *, crossed: bool
) -> None:
    assert rows.crossed(bids, asks) is crossed


@pytest.mark.parametrize(
    "answer", [None, "<html>", {}, {"bids": [], "asks": None}, {"bids": [], "asks": []}]
)
def test_an_answer_that_is_no_book_is_no_answer(answer: Any) -> None:
    with pytest.raises(rows.Shapeless):
        rows.sides(answer, 10)


def test_a_book_of_one_side_is_a_book() -> None:
    assert rows.sides({"bids": [[1.0, 2.0]], "asks": []}, 10) == ({1.0: 2.0}, {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1e-8, Decimal("1E-8")),
        ("0.10", Decimal("0.10")),
        (True, None),
        (None, None),
        ("x", None),
        (float("inf"), None),
    ],
)
def test_a_number_of_a_table_is_exact_or_none(value: Any, expected: Decimal | None) -> None:
    assert rows.number(value) == expected
