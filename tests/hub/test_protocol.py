"""The wire format: options of the address, frames in, messages out."""

import contextlib
import re

import orjson
import pytest
from hypothesis import given, settings, strategies as st

from realtime.hub import protocol
from realtime.hub.protocol import Close, Options, decode, options
from realtime.model.errors import Code, Refused


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", Options()),
        (b"client=bot-7", Options(client="bot-7")),
        (b"batch=1", Options(batch=True)),
        (b"batch=0", Options()),
        (b"every=50", Options(batch=True, every=50)),
        (b"every=1000&batch=1", Options(batch=True, every=1000)),
        (b"every=0", Options()),
        (b"heartbeat=30", Options(heartbeat=30)),
        (b"ticket=abc_DEF-1.2", Options(ticket="abc_DEF-1.2")),
        (b"client=a%2Eb", Options(client="a.b")),
    ],
)
def test_known_options_are_taken(query: bytes, expected: Options) -> None:
    assert options(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        b"depth=5",
        b"token=secret",
        b"client=",
        b"client=" + b"x" * 33,
        b"client=a/b",
        b"client=a%0Ab",
        b"client=bot%0A",
        b"batch=true",
        b"every=5",
        b"every=15",
        b"every=1010",
        b"every=-10",
        b"every=1e2",
        b"every=010",
        b"every=50&batch=0",
        b"heartbeat=0",
        b"heartbeat=31",
        b"heartbeat=x",
        b"ticket=",
        b"ticket=a b",
        b"batch=1&batch=1",
        b"batch",
        b"&&",
        b"\xff=1",
        b"&".join(b"client=%d" % n for n in range(40)),
    ],
)
def test_unknown_and_malformed_options_are_refused(query: bytes) -> None:
    with pytest.raises(Refused) as caught:
        options(query)

    assert caught.value.code is Code.BAD_REQUEST
    assert caught.value.code.http == 400


def test_the_default_heartbeat_is_a_setting() -> None:
    assert options(b"", heartbeat=7).heartbeat == 7


def test_a_clients_name_is_checked_for_http_too() -> None:
    assert protocol.client_name("bot-7") == "bot-7"
    with pytest.raises(Refused):
        protocol.client_name("bot 7")


# --- frames in ------------------------------------------------------------------------------------


def test_a_frame_is_an_op_an_id_and_flat_arguments() -> None:
    request = decode('{"op":"order.place","id":7,"amount":"0.1"}')

    assert (request.op, request.id, request.args) == ("order.place", 7, {"amount": "0.1"})
    assert request.problem is None


@pytest.mark.parametrize("mark", ["null", "0", "-5", '""', '"x"', str(2**53), '"' + "y" * 64 + '"'])
def test_ids_are_integers_or_short_strings(mark: str) -> None:
    assert decode(f'{{"op":"ping","id":{mark}}}').id == orjson.loads(mark)


@pytest.mark.parametrize(
    "mark", ["true", "1.5", "[]", "{}", str(2**53 + 1), '"' + "y" * 65 + '"', str(2**70)]
)
def test_other_ids_are_unreadable(mark: str) -> None:
    with pytest.raises(Refused, match="id must be"):
        decode(f'{{"op":"ping","id":{mark}}}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", 'not JSON at character 1; try {"op":"help"}'),
        ("", 'not JSON at character 1; try {"op":"help"}'),
        ('{"op":NaN}', 'not JSON at character 7; try {"op":"help"}'),
        ('{"op":"x","a":1e999}', 'not JSON at character 15; try {"op":"help"}'),
        ('{"op":"x","a":"\\ud800"}', 'not JSON at character 16; try {"op":"help"}'),
        ("[]", 'not an object; try {"op":"help"}'),
        ('"x"', 'not an object; try {"op":"help"}'),
        ("{}", 'no op; try {"op":"help"}'),
        ('{"op":5}', 'op must be a string; try {"op":"help"}'),
        ('{"op":"' + "x" * 65 + '"}', "op is longer than 64 characters"),
        ('{"op":"x","a":' + "[" * 16 + "]" * 16 + "}", "nested deeper than 16"),
        ('{"op":"x","a":' + "[" * 500 + "]" * 500 + "}", "nested deeper than 16"),
        ("[" * 2000, "nested deeper than 16"),
        ('{"op":"x","a":' * 17 + "1" + "}" * 17, "nested deeper than 16"),
    ],
)
def test_unreadable_frames_say_why(text: str, message: str) -> None:
    with pytest.raises(Refused, match=re.escape(message)) as caught:
        decode(text)

    assert caught.value.code is Code.BAD_REQUEST


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert decode('{"op":"x","a":[' + "[]," * 40 + "[]]}").args["a"] == [[]] * 41


@pytest.mark.parametrize(
    ("args", "field"),
    [
        ('"a":9007199254740993', "a"),
        ('"s":"90071992547409931","t":true,"a":9007199254740993', "a"),
        ('"a":{"b":[1,-9007199254740993]}', "a.b.1"),
        ('"a":123456789012345678901234567890', "a"),
        ('"a":1e300', "a"),
    ],
)
def test_numbers_that_json_does_not_carry_exactly_are_invalid(args: str, field: str) -> None:
    problem = decode(f'{{"op":"x","id":1,{args}}}').problem

    assert problem is not None
    assert problem.code is Code.INVALID
    assert problem.details == {
        "fields": [{"field": field, "message": problem.message[len(field) + 2 :]}]
    }


@pytest.mark.parametrize(
    "args",
    ['"a":9007199254740992', '"a":"12345678901234567890"', '"a":1e3', '"a":true', '"a":null'],
)
def test_long_texts_and_exact_numbers_are_fine(args: str) -> None:
    assert decode(f'{{"op":"x",{args}}}').problem is None


def test_true_is_no_number_beyond_anything() -> None:
    assert protocol.beyond({"a": [True, 2**60]}) == "a.1"


def test_bytes_are_read_as_text_is() -> None:
    assert protocol.load(b'{"a":1}') == {"a": 1}
    with pytest.raises(Refused, match="nested deeper"):
        protocol.load(b'{"a":' + b"[" * 16 + b"]" * 16 + b"}")
    with pytest.raises(Refused, match="not JSON"):
        protocol.load(b"\xff")


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_request_or_a_refusal(text: str) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(decode(text).op, str)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(["op", "id", "a", "b"]), json_values, max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_object_is_a_request_or_a_refusal(frame: dict[str, object]) -> None:
    text = orjson.dumps(frame).decode()
    with contextlib.suppress(Refused):
        request = decode(text)
        assert (request.problem is None) == (protocol.beyond(request.args) is None)


# --- messages out ---------------------------------------------------------------------------------


def test_a_reply_echoes_id_and_op_and_says_ok() -> None:
    made = orjson.loads(
        protocol.reply(
            mark=1, op="ping", ts=5, result={"a": 1}, at={"orders": {"epoch": "k", "seq": 1}}
        )
    )

    assert made == {
        "type": "reply",
        "id": 1,
        "op": "ping",
        "ok": True,
        "ts": 5,
        "result": {"a": 1},
        "at": {"orders": {"epoch": "k", "seq": 1}},
    }


def test_a_reply_without_id_and_op_has_neither() -> None:
    made = orjson.loads(protocol.reply(mark=None, op=None, ts=5, error={"code": "bad_request"}))

    assert made == {"type": "reply", "ok": False, "ts": 5, "error": {"code": "bad_request"}}


def test_an_empty_result_is_an_object() -> None:
    assert orjson.loads(protocol.reply(mark=0, op="bye", ts=5))["result"] == {}


def test_welcome_comes_with_type_and_version() -> None:
    assert orjson.loads(protocol.welcome({"ts": 1})) == {"type": "welcome", "v": 1, "ts": 1}


def test_a_notice_names_channels_only_when_it_concerns_some() -> None:
    plain = orjson.loads(protocol.notice("shutdown", ts=1, data={"in": 0}))
    stale = orjson.loads(protocol.notice("stale", ts=1, data={}, channels=["ticker:A/B"]))

    assert plain == {"type": "notice", "event": "shutdown", "ts": 1, "data": {"in": 0}}
    assert stale["channels"] == ["ticker:A/B"]


def test_a_heartbeat_tells_the_age_of_every_venue() -> None:
    made = orjson.loads(protocol.heartbeat(ts=9, asof={"paper": 8, "other": None}))

    assert made == {"type": "heartbeat", "ts": 9, "asof": {"paper": 8, "other": None}}


def test_an_error_has_its_outcome_and_what_else_is_known() -> None:
    bare = protocol.refusal(Refused(Code.BUSY, "later"))
    full = protocol.refusal(Refused(Code.BUSY, "later", {"a": 1}, retry_after=2))

    assert bare == {"code": "busy", "message": "later", "outcome": "not_done"}
    assert full == bare | {"retry_after": 2, "details": {"a": 1}}


def test_an_error_does_not_repeat_a_frame_to_its_sender() -> None:
    fields = [{"field": "x" * 60_000, "message": "is no key of x" + "x" * 60_000}]
    long = Refused(Code.INVALID, "x" * 60_000, {"fields": fields, "nearest": ["1"]})
    short = Refused(
        Code.INVALID, "price is off", {"fields": [{"field": "price", "message": "off"}]}
    )
    made = protocol.refusal(long)

    assert len(orjson.dumps(made)) < 4_000
    assert made["details"]["nearest"] == ["1"]  # type: ignore[index]
    assert protocol.refusal(short)["details"] == short.details
    other = Refused(Code.CONFLICT, "other content", {"fields": ["price"]})
    assert protocol.refusal(other)["details"] == {"fields": ["price"]}


def test_close_codes_are_named_as_in_the_document() -> None:
    names = {int(code): code.reason for code in Close}

    assert names == {
        1000: "normal",
        1001: "going away",
        1009: "too big",
        4400: "protocol_error",
        4401: "unauthorized",
        4403: "forbidden",
        4429: "flooding",
        4500: "internal",
        4503: "shutdown",
        4508: "slow_consumer",
    }
    assert set(protocol.CLOSES) == set(Close)
    assert all(len(code.reason) <= 123 for code in Close)
