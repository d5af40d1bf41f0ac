"""Indicators by name: parameters with ranges and one canonical text, bars in, numbers out."""

import math
from collections.abc import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from realtime.engine.studies import (
    FVG,
    LONGEST,
    STUDIES,
    begin,
    canonical,
    check,
    ohlcv,
    study,
)
from realtime.model.errors import Code, Refused
from realtime.model.market import SECOND, Bar
from realtime.model.signals import Ohlcv


def field_of(refused: Refused) -> str:
    assert refused.code is Code.INVALID
    assert refused.details is not None
    fields = refused.details["fields"]
    assert isinstance(fields, list)
    return str(fields[0]["field"])


def bars(count: int) -> list[Ohlcv]:
    closes = [100 + 5 * math.sin(place / 3) + place / 10 for place in range(count)]
    return [
        Ohlcv(60 * SECOND * place, close, close + 1, close - 1, close, 1.0 + place % 3)
        for place, close in enumerate(closes)
    ]


@pytest.mark.parametrize("name", list(STUDIES))
def test_numbers_are_there_exactly_from_the_end_of_the_warmup_on(name: str) -> None:
    found = study(name)
    chosen = found.read({})
    course = begin(found, chosen)

    defined = [None not in course.update(bar) for bar in bars(60)]

    if name == FVG:
        assert found.outputs == ()
    else:
        assert defined.index(True) == found.warmup(chosen) - 1
        assert all(defined[found.warmup(chosen) - 1 :])


@pytest.mark.parametrize("name", list(STUDIES))
def test_a_look_at_a_forming_bar_changes_nothing(name: str) -> None:
    found = study(name)
    rows = bars(40)
    one, other = begin(found, found.read({})), begin(found, found.read({}))
    for bar in rows:
        one.update(bar)
        other.peek(rows[3])
        other.update(bar)

    assert one.shown() == other.shown()
    far = Ohlcv(0, 900.0, 901.0, 899.0, 900.0, 99.0)
    assert other.peek(far).shown() != one.shown()


def test_several_numbers_are_shown_by_name_and_one_alone() -> None:
    rsi, macd = (
        begin(study("rsi"), study("rsi").read({})),
        begin(study("macd"), study("macd").read({})),
    )
    macd.update(bars(1)[0])

    assert rsi.shown() == {"value": None}
    assert macd.shown() == {"value": {"macd": 0, "signal": 0, "histogram": 0}}
    assert rsi.zones() == []


def test_gaps_are_shown_as_rows_in_ms() -> None:
    course = begin(study(FVG), study(FVG).read({}), length=60 * SECOND, most=5)
    for place, (high, low) in enumerate([(2, 1), (5, 3), (7, 6), (7, 5), (7, 2)]):
        course.update(Ohlcv(60 * SECOND * place, low, high, low, high, 1))

    assert course.shown() == {
        "zones": [
            {
                "index": 1,
                "direction": "bullish",
                "gap_high": 6,
                "gap_low": 2,
                "size": 4,
                "start_ts": 60_000,
                "confirmed_ts": 180_000,
                "mid": 4,
                "size_fraction": 1,
                "filled_fraction": 1,
                "status": "filled",
                "filled_ts": 300_000,
                "age": 2,
            }
        ]
    }


def test_a_gap_that_is_not_filled_has_no_time_of_it() -> None:
    course = begin(study(FVG), study(FVG).read({}))
    for high, low in [(2, 1), (5, 3), (7, 6)]:
        course.update(Ohlcv(0, low, high, low, high, 1))

    assert course.zones()[0]["filled_ts"] is None


@pytest.mark.parametrize(
    ("name", "given", "field", "message"),
    [
        ("sma", {"length": 0}, "length", "must be from 1 to 1000; was 0"),
        ("stdev", {"length": 1}, "length", "must be from 2 to 1000"),
        ("sma", {"length": LONGEST + 1}, "length", "must be from 1"),
        ("sma", {"length": 2.5}, "length", "must be an integer"),
        ("sma", {"length": "x"}, "length", "must be an integer; was 'x'"),
        ("sma", {"length": True}, "length", "must be an integer"),
        ("sma", {"length": None}, "length", "must be an integer"),
        ("sma", {"lenght": 3}, "lenght", "did you mean 'length'"),
        ("sma", {"q": 3}, "q", "it has length"),
        ("macd", {"fast": 30}, "fast", "30 must be below slow 26"),
        (FVG, {"min_gap_size": "nan"}, "min_gap_size", "must be a finite number"),
        (FVG, {"min_gap_size": "a"}, "min_gap_size", "must be a number"),
        (FVG, {"min_gap_atr": -1}, "min_gap_atr", "must be from 0"),
        (FVG, {"direction": "up"}, "direction", "must be one of both, bullish, bearish"),
        (FVG, {"direction": []}, "direction", "must be one of"),
    ],
)
def test_a_wrong_parameter_is_named(
    name: str, given: Mapping[str, object], field: str, message: str
) -> None:
    with pytest.raises(Refused, match=message) as caught:
        study(name).read(given)

    assert field_of(caught.value) == field


@pytest.mark.parametrize(
    ("name", "hint"), [("emaa", "did you mean 'ema'"), ("???", "there are sma")]
)
def test_an_unknown_indicator_is_not_found_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(Refused, match=hint) as caught:
        study(name)

    assert caught.value.code is Code.NOT_FOUND


def test_a_schema_has_ranges_defaults_and_choices() -> None:
    assert study("rsi").schema() == {
        "type": "object",
        "properties": {
            "length": {
                "type": "integer",
                "minimum": 1,
                "maximum": 1000,
                "default": 14,
                "description": "window, bars",
            }
        },
        "additionalProperties": False,
    }
    properties = study(FVG).schema()["properties"]
    assert isinstance(properties, dict)
    assert properties["direction"]["enum"] == ["both", "bullish", "bearish"]
    assert properties["min_gap_size"]["type"] == "number"


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("ema", {"length": "20"}, {}),
        ("ema", {"length": "050"}, {"length": "50"}),
        (FVG, {"min_gap_size": "1.50", "direction": "bullish"}, {"min_gap_size": "1.5", "direction": "bullish"}),
        (FVG, {"min_gap_size": "2.0"}, {"min_gap_size": "2"}),
        (FVG, {"min_gap_size": "0", "direction": "both"}, {}),
    ],
)  # fmt: skip
def test_parameters_have_one_text(
    name: str, given: Mapping[str, str], expected: Mapping[str, str]
) -> None:
    assert canonical(name, given) == expected


@given(st.floats(0, 1e12))
@settings(deadline=None)
def test_the_text_of_a_parameter_is_read_as_itself(size: float) -> None:
    once = canonical(FVG, {"min_gap_size": repr(size)})

    assert canonical(FVG, once) == once


def test_an_unknown_name_in_a_channel_is_an_invalid_option() -> None:
    with pytest.raises(Refused) as caught:
        canonical("rsii", {})

    assert field_of(caught.value) == "name"


# --- bars -----------------------------------------------------------------------------------------


def test_a_bar_of_a_venue_becomes_numbers() -> None:
    assert ohlcv(Bar(5, "1.5", "2", "1", "1.75", "10")) == Ohlcv(5, 1.5, 2, 1, 1.75, 10)


GOOD = Ohlcv(60 * SECOND, 2, 3, 1, 2, 5)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"open": 0.0}, "data.1.open", "must be above 0; was 0"),
        ({"low": -1.0}, "data.1.low", "must be above 0; was -1"),
        ({"close": math.nan}, "data.1.close", "must be above 0"),
        ({"high": math.inf}, "data.1.high", "must be above 0"),
        ({"high": 1.5}, "data.1.high", "must not be below open or close"),
        ({"low": 2.5}, "data.1.low", "must not be above open or close"),
        ({"volume": -1.0}, "data.1.volume", "must not be below 0"),
        ({"volume": math.nan}, "data.1.volume", "must not be below 0"),
        ({"ts": 0}, "data.1.ts", "must be after that of the bar before"),
        ({"ts": -1}, "data.1.ts", "must be after that of the bar before"),
        ({"ts": 180 * SECOND}, "data.1.ts", "2 bars are missing; a bar is 60 s"),
        ({"ts": 30 * SECOND}, "data.1.ts", "too early; a bar is 60 s"),
    ],
)
def test_bars_that_no_market_made_are_refused_by_index(
    change: Mapping[str, float], field: str, message: str
) -> None:
    bad = GOOD._replace(**change)  # type: ignore[arg-type]

    with pytest.raises(Refused, match=message) as caught:
        check([GOOD._replace(ts=0), bad], timed=True, length=60 * SECOND)

    assert field_of(caught.value) == field


def test_good_bars_pass_and_without_a_length_gaps_do_too() -> None:
    check([], timed=True)
    check([GOOD._replace(ts=0), GOOD], timed=True, length=60 * SECOND)
    check([GOOD._replace(ts=0), GOOD._replace(ts=7)], timed=True)
    check([GOOD, GOOD], timed=False)
