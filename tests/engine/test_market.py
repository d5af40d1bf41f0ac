"""The grid: one rounding function per direction, and numbers as text (trading 1.1, 1.2, H14)."""

import re
from decimal import ROUND_FLOOR, Decimal, localcontext

import pytest
from hypothesis import given, strategies as st

from realtime.engine.market import (
    amount_down,
    average_text,
    brief,
    decimals,
    down,
    figure,
    limit_price,
    nearest,
    on_grid,
    plain,
    shown,
    stop_price,
    text,
    up,
)
from realtime.model.market import MONEY
from realtime.model.orders import Side
from tests.engine.kit import BTC, MARKETS, D


WIRE = re.compile(r"^-?(0|[1-9]\d{0,17})(\.\d{1,18})?$")
STEPS = st.sampled_from([D("0.00001"), D("0.01"), D("0.5"), D(1), D("2.5"), D(10)])
AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=9, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "floor", "ceiling", "even"),
    [
        ("1.004", "1.00", "1.01", "1.00"),
        ("1.005", "1.00", "1.01", "1.00"),
        ("1.015", "1.01", "1.02", "1.02"),
        ("1.01", "1.01", "1.01", "1.01"),
        ("-1.005", "-1.01", "-1.00", "-1.00"),
    ],
)
def test_each_direction_rounds_its_way(value: str, floor: str, ceiling: str, even: str) -> None:
    """trading:1.2."""
    step = D("0.01")
    assert down(D(value), step) == D(floor)
    assert up(D(value), step) == D(ceiling)
    assert shown(D(value), step) == D(even)


def test_amounts_are_floored_and_zero_with_a_reason_below_the_minimum() -> None:
    """trading:1.2."""
    assert amount_down(D("0.123456"), MARKETS[BTC]) == (D("0.12345"), None)
    amount, reason = amount_down(D("0.000099"), MARKETS[BTC])
    assert amount == 0
    assert reason == "0.00009 is below the minimum amount 0.0001"


def test_limits_are_never_worse_than_asked_and_stops_fire_no_later() -> None:
    """trading:1.2."""
    market, price = MARKETS[BTC], D("1.005")
    assert limit_price(price, Side.BUY, market) == D("1.00")
    assert limit_price(price, Side.SELL, market) == D("1.01")
    assert stop_price(price, Side.SELL, market) == D("1.01")
    assert stop_price(price, Side.BUY, market) == D("1.00")


def test_the_nearest_values_are_above_zero() -> None:
    assert nearest(D("0.013"), D("0.01")) == ("0.01", "0.02")
    assert nearest(D("0.003"), D("0.01")) == ("0.01",)


@pytest.mark.parametrize(
    ("value", "step", "written"),
    [
        ("64000", "0.01", "64000.00"),
        ("0", "0.01", "0"),
        ("1.239", "0.01", "1.239"),
        ("1E+3", "0.5", "1000.0"),
        ("1000", "10", "1000"),
    ],
)
def test_prices_are_padded_and_keep_finer_digits(value: str, step: str, written: str) -> None:
    """trading:M3."""
    assert text(D(value), D(step)) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("1.500", "1.5"),
        ("1E+3", "1000"),
        ("-0", "0"),
        ("-0.00", "0"),
        ("1E-9", "0.000000001"),
        ("10", "10"),
    ],
)
def test_other_numbers_have_no_exponent_no_zeros_and_no_minus_zero(
    value: str, written: str
) -> None:
    """trading:M3."""
    assert plain(D(value)) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (None, None),
        (D("0.000000000000000001"), "0.000000000000000001"),
        (MONEY.divide(D(1), D(3)), "0.333333333333333333"),
        (MONEY.divide(D(-2), D(3)), "-0.666666666666666667"),
        (D("1E-30"), "0"),
    ],
)
def test_a_figure_has_no_more_digits_than_the_wire(value: Decimal | None, written: str) -> None:
    """trading:M3."""
    assert figure(value) == written


def test_averages_are_shown_four_digits_finer_than_the_tick() -> None:
    assert average_text(D(2) / 3, D("0.01")) == "0.666667"
    assert average_text(D(5), D("0.01")) == "5.00"
    assert [decimals(D(step)) for step in ("0.01", "0.010", "0.5", "1", "10")] == [2, 2, 1, 0, 0]


@given(AMOUNTS, STEPS)
def test_rounding_never_goes_against_its_table(value: Decimal, step: Decimal) -> None:
    """trading:H14."""
    with localcontext(MONEY):
        floor, ceiling, even = down(value, step), up(value, step), shown(value, step)
        assert floor <= value <= ceiling
        assert ceiling - floor in {0, step}
        assert even in {floor, ceiling}
        assert on_grid(floor, step)
        assert on_grid(ceiling, step)
        assert (floor == ceiling) is on_grid(value, step)


@given(
    st.decimals(
        min_value=-(10**18) + 1,
        max_value=10**18 - 1,
        allow_nan=False,
        allow_infinity=False,
        places=18,
    ),
    STEPS,
)
def test_what_is_written_reads_back_exactly_and_fits_the_wire(
    value: Decimal, step: Decimal
) -> None:
    """trading:H14 trading:M3."""
    for written in (plain(value), text(value, step)):
        assert WIRE.match(written)
        assert Decimal(written) == value


def test_a_number_of_a_message_stays_as_it_was_typed_and_a_quotient_becomes_short() -> None:
    """A refusal never shows a figure that would have passed."""
    with localcontext(MONEY):
        third, over = D(1) / 3, D("0.1") + D(1) / D(10) ** 20

        assert brief(D("101.23456789")) == "101.23456789"
        assert brief(third) == "0.333334"
        assert brief(third, ROUND_FLOOR) == "0.333333"
        assert brief(over) == "0.100001"
        assert brief(D(200_000_000) / 3) == "66666667"
        assert brief(D(1) / 300_000) == "0.00000333334"
