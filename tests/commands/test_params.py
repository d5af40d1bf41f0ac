"""Arguments: what is taken, what is refused, and what the refusal says."""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

import orjson
import pytest
from hypothesis import example, given, settings, strategies as st
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from realtime.commands.params import (
    ChangeParams,
    ClientOrderId,
    CommandParams,
    Instant,
    ListParams,
    Milliseconds,
    Money,
    Name,
    NotNegative,
    Params,
    Part,
    Positive,
    RequestId,
    Text,
    Why,
    Word,
    instant,
    invalid,
    read,
    short,
    suggest,
)
from realtime.model.errors import Code, Refused
from realtime.model.times import LAST_INSTANT


MONEY: TypeAdapter[Decimal] = TypeAdapter(Money)


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class Leg(Part):
    price: Positive
    limit: Positive | None = None


class Item(Part):
    do: Literal["place"]
    amount: Positive


class Other(Part):
    do: Literal["cancel"]
    order_id: str


class Everything(CommandParams):
    side: Word[Side]
    amount: Money
    count: int = 0
    rate: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    fee: NotNegative | None = None
    since: Instant | None = None
    until: Milliseconds | None = None
    stop_loss: Leg | None = None
    client_order_id: ClientOrderId | None = None
    names: Annotated[list[str], Field(min_length=1, max_length=2)] | None = None
    items: list[Annotated[Item | Other, Field(discriminator="do")]] | None = None
    bounded: Annotated[int, Field(ge=0, le=9)] = 0
    strict: Annotated[int, Field(gt=0, lt=9)] = 1
    reason: Text = ""
    maps: dict[str, int] | None = None
    flag: bool = False
    pair: tuple[int, int] | None = None

    @field_validator("reason")
    @classmethod
    def _no_swearing(cls, reason: str) -> str:
        if reason == "damn":
            raise ValueError("must be polite")
        return reason

    @model_validator(mode="after")
    def _one_of_two(self) -> "Everything":
        if self.since is not None and self.until is not None:
            raise ValueError("send since or until, not both")
        return self


GOOD = {"side": "buy", "amount": "1"}


def refused(**raw: object) -> Refused:
    with pytest.raises(Refused) as caught:
        read(Everything, GOOD | raw)
    assert caught.value.code is Code.INVALID
    return caught.value


# --- money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.010", "0.010"),
        ("-12.5", "-12.5"),
        ("999999999999999999.999999999999999999", "999999999999999999.999999999999999999"),
        (1, "1"),
        (0.1, "0.1"),
        (-0.0, "0"),
        (1e-7, "0.0000001"),
        (64012.1, "64012.1"),
        (123456789012345, "123456789012345"),
        (1e15, "1000000000000000"),
    ],
)
def test_money_is_a_decimal_string_or_a_short_number(given_: object, expected: str) -> None:
    taken = MONEY.validate_python(given_)

    assert format(taken, "f") == expected
    assert not (taken.is_signed() and taken.is_zero())


@pytest.mark.parametrize(
    "given_",
    [
        "",
        " 1",
        "1\n",
        "+1",
        "01",
        "1.",
        ".5",
        "1e3",
        "1_000",
        "\u0661",
        "NaN",
        "Infinity",
        "1" * 19,
        "0." + "1" * 19,
        True,
        None,
        [],
        {},
        1234567890123456,
        2**53 + 2,
        0.1234567890123456,
        1e300,
        1e-30,
        float("nan"),
        float("inf"),
    ],
)
def test_anything_else_is_not_money(given_: object) -> None:
    with pytest.raises(ValidationError):
        MONEY.validate_python(given_)


def test_a_decimal_is_money_already() -> None:
    assert MONEY.validate_python(Decimal("1.5")) == Decimal("1.5")


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=8, min_value=-(10**12), max_value=10**12
    )
)
@settings(max_examples=100, deadline=None)
def test_a_decimal_string_is_taken_exactly(value: Decimal) -> None:
    assert MONEY.validate_python(format(value, "f")) == value


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9))
@example(0.1 + 0.2)
@example(5e-324)
@settings(max_examples=100, deadline=None)
def test_a_number_is_its_shortest_text_or_refused(value: float) -> None:
    sent = orjson.loads(orjson.dumps(value))
    try:
        taken = MONEY.validate_python(sent)
    except ValidationError:
        return
    assert float(taken) == value
    assert len(taken.normalize().as_tuple().digits) <= 15


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Positive, "0", "must be above 0; was 0"),
        (Positive, "-1", "must be above 0; was -1"),
        (NotNegative, "-0.1", "must not be below 0; was -0.1"),
    ],
    ids=["zero", "negative", "below zero"],
)
def test_signs_are_checked(kind: type[Decimal], value: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize("kind", [Positive, NotNegative], ids=["positive", "not_negative"])
def test_amounts_are_taken(kind: type[Decimal]) -> None:
    assert TypeAdapter(kind).validate_python("1.50") == Decimal("1.50")


# --- time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (0, 0),
        (1790000000000, 1790000000000),
        ("2026-09-21T14:13:20Z", 1790000000000),
        ("2026-09-21T14:13:20.123+00:00", 1790000000123),
        ("2026-09-21T16:13:20+02:00", 1790000000000),
    ],
)
def test_a_time_is_ms_or_iso_8601_with_zone(given_: object, expected: int) -> None:
    assert TypeAdapter(Instant).validate_python(given_) == expected


@pytest.mark.parametrize(
    "given_", [True, -1, 2**54, 1.5, "yesterday", "2026-09-21T14:13:20", "1790000000000", None]
)
def test_other_times_are_refused(given_: object) -> None:
    with pytest.raises(ValidationError, match="integer ms since the epoch, or ISO 8601"):
        TypeAdapter(Instant).validate_python(given_)


def test_a_time_beyond_the_last_one_is_told_which_one_that_is() -> None:
    """Symptom: an integer was told to be one."""
    for kind in (Instant, Milliseconds):
        with pytest.raises(ValidationError, match=str(LAST_INSTANT)):
            TypeAdapter(kind).validate_python(LAST_INSTANT + 1)
        assert TypeAdapter(kind).validate_python(LAST_INSTANT) == LAST_INSTANT


# --- what a refusal says --------------------------------------------------------------------------


def test_good_arguments_are_read() -> None:
    taken = read(
        Everything, {**GOOD, "stop_loss": {"price": "1"}, "items": [{"do": "place", "amount": 1}]}
    )

    assert isinstance(taken, Everything)
    assert taken.side is Side.BUY


def test_an_unknown_field_is_named_with_a_hint() -> None:
    error = refused(reduce_onyl=True, frobnicate=1)

    assert error.message == "unknown field reduce_onyl; unknown field frobnicate"
    assert error.details == {
        "fields": [
            {"field": "reduce_onyl", "message": "unknown field"},
            {"field": "frobnicate", "message": "unknown field"},
        ]
    }
    assert refused(amuont="1").message == "unknown field amuont; did you mean amount?"
    assert (
        refused(stop_loss={"price": "1", "limti": "2"}).message
        == "unknown field stop_loss.limti; did you mean limit?"
    )


@pytest.mark.parametrize(
    ("raw", "field", "message"),
    [
        ({"side": "hold"}, "side", "must be one of 'buy' or 'sell'"),
        ({"amount": "1e5"}, "amount", "must be a decimal string such as \"0.01\"; was '1e5'"),
        ({"count": 1.5}, "count", "must be an integer"),
        ({"count": True}, "count", "must be an integer"),
        ({"count": "1"}, "count", "must be an integer"),
        ({"rate": "x"}, "rate", "must be a number"),
        ({"flag": 1}, "flag", "must be true or false"),
        ({"reason": 5}, "reason", "must be a string"),
        ({"reason": "x" * 501}, "reason", "must have at most 500 characters"),
        ({"reason": "damn"}, "reason", "must be polite"),
        ({"names": "x"}, "names", "must be a list"),
        ({"names": []}, "names", "must have at least 1 item"),
        ({"names": ["a", "b", "c"]}, "names", "must have at most 2 items"),
        ({"names": ["a", 5]}, "names.1", "must be a string"),
        ({"bounded": -1}, "bounded", "must be at least 0"),
        ({"bounded": 10}, "bounded", "must be at most 9"),
        ({"strict": 0}, "strict", "must be above 0"),
        ({"strict": 9}, "strict", "must be below 9"),
        ({"client_order_id": "a b"}, "client_order_id", "must match ^[A-Za-z0-9_-]{1,32}$"),
        ({"stop_loss": 5}, "stop_loss", "must be an object"),
        ({"stop_loss": {}}, "stop_loss.price", "is required"),
        ({"maps": []}, "maps", "must be an object"),
        ({"pair": "x"}, "pair", "must be a list"),
        ({"until": "x"}, "until", "must be an integer"),
        ({"items": [{"do": "place"}]}, "items.0.amount", "is required"),
        ({"items": [{"do": "plaec"}]}, "items.0", "'do' must be one of 'place', 'cancel'"),
        ({"items": [{}]}, "items.0", "needs 'do'"),
        ({"mode": "real"}, "mode", "must be one of 'paper' or 'live'"),
    ],
)
def test_every_kind_of_mistake_is_told_in_our_words(
    raw: dict[str, object], field: str, message: str
) -> None:
    error = refused(**raw)

    assert error.details == {"fields": [{"field": field, "message": message}]}
    assert error.message == f"{field} {message}"


def test_a_mistake_of_the_whole_is_told_without_a_field() -> None:
    error = refused(since=1, until=2)

    assert error.message == "send since or until, not both"


def test_a_mistake_pydantic_words_is_passed_on() -> None:
    class Odd(Params):
        n: Annotated[int, Field(multiple_of=10)]

    with pytest.raises(Refused, match=r"^n must be a multiple of 10$"):
        read(Odd, {"n": 5})


def test_no_word_of_pydantic_reaches_a_message() -> None:
    class Attached(Params):
        target: Positive | Leg | None = None
        when: Annotated[str, Field(strict=False)] | None = None
        host: UUID | None = None

    mistakes: list[dict[str, object]] = [
        {"target": {"price": "x"}},
        {"target": {}},
        {"target": -1},
        {"host": 5},
    ]
    for raw in mistakes:
        with pytest.raises(Refused) as refused_:
            read(Attached, raw)
        said = f"{refused_.value.message} {refused_.value.details}"
        assert "[" not in refused_.value.message, said
        assert "function" not in said
        assert "Leg" not in said
        assert "Input" not in said


def test_a_hint_names_what_the_wire_calls_it() -> None:
    class Between(Params):
        since: Instant | None = Field(None, alias="from")

    with pytest.raises(Refused) as refused_:
        read(Between, {"since": 1})
    assert refused_.value.message == "unknown field since"
    with pytest.raises(Refused, match=r"unknown field fron; did you mean from\?"):
        read(Between, {"fron": 1})


def test_missing_fields_are_named() -> None:
    with pytest.raises(Refused, match="side is required; amount is required"):
        read(Everything, {})


def test_a_hundred_mistakes_make_a_short_message() -> None:
    error = refused(**{f"x{n}": 1 for n in range(100)})

    assert len(error.message) < 200
    assert error.details is not None
    assert len(error.details["fields"]) == 20  # type: ignore[arg-type]  # a list, as above


def test_a_long_value_is_not_echoed() -> None:
    assert len(refused(amount="9" * 10_000).message) < 150
    assert short("x" * 100) == repr("x" * 32 + "…")
    assert short(5) == "'5'"


def test_one_field_can_be_refused_by_hand() -> None:
    error = invalid("price", "is off the tick 0.01", nearest=["1.00"])

    assert error.code is Code.INVALID
    assert error.message == "price is off the tick 0.01"
    assert error.details == {
        "fields": [{"field": "price", "message": "is off the tick 0.01"}],
        "nearest": ["1.00"],
    }


def test_a_hint_is_only_given_for_something_similar() -> None:
    assert suggest("ordr.place", ["order.place", "order.cancel"]) == "order.place"
    assert suggest("zzz", ["order.place"]) is None


@pytest.mark.parametrize("model", [Params, ChangeParams, CommandParams, ListParams])
def test_common_arguments_have_defaults(model: type[Params]) -> None:
    assert read(model, {}) == model()


@given(
    st.dictionaries(
        st.sampled_from([*Everything.model_fields, "junk"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=9)
        | st.lists(st.integers(), max_size=3)
        | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
        max_size=6,
    )
)
@settings(max_examples=150, deadline=None)
def test_any_arguments_are_taken_or_refused_with_fields(raw: dict[str, object]) -> None:
    try:
        read(Everything, raw)
    except Refused as error:
        fields = (error.details or {}).get("fields")
        if not isinstance(fields, list) or not fields:
            raise


def test_a_field_of_any_length_is_told_in_a_few_characters() -> None:
    """A frame of 64 KiB with one unknown field was answered with 120 KiB, and a guess that took 30 ms."""
    long = "amount" * 10_000

    for raw in ({long: 1}, {"nested": {long: 1}}):
        error = refused(**raw)
        assert "unknown field" in error.message
        assert len(error.message) + len(str(error.details)) < 500
    assert suggest(long, ["amount"]) is None


@pytest.mark.parametrize(
    "when",
    [9_223_372_036_855, -1, "9999-12-31T23:59:59+00:00", "0001-01-01T00:00:00+23:59", "2026-01-01"],
)
def test_a_time_that_cannot_be_told_in_nanoseconds_is_refused(when: object) -> None:
    with pytest.raises(PydanticCustomError):
        instant(when)


@pytest.mark.parametrize(
    ("when", "ms"),
    [("1970-01-01T00:00:01.0019+00:00", 1001), (9_223_372_036_854, 9_223_372_036_854)],
)
def test_a_time_is_read_to_the_millisecond(when: object, ms: int) -> None:
    assert instant(when) == ms


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (Name, ["main", "a b", "\u00e9\u4e2d"], ["a\0", "\0", "a\nb", "\x7f", "\u2028", "\x1b[2J"]),
        (RequestId, ["r-1"], ["\0"]),
        (Text, ["", "two\nlines"], ["a\0b"]),
        (Why, ["two\nlines"], ["\0"]),
    ],
)
def test_what_cannot_be_shown_is_no_name_and_nul_is_nowhere(
    kind: type[str], taken: list[str], refused: list[str]
) -> None:
    adapter = TypeAdapter(kind)
    assert [adapter.validate_python(text) for text in taken] == taken
    for text in refused:
        with pytest.raises(ValidationError, match="must have no"):
            adapter.validate_python(text)
