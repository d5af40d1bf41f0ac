"""What an exception of ccxt means: every class and every code that ccxt maps has a meaning (trading 6.6)."""

from collections.abc import Iterator
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from realtime.model.errors import Code, Refused, VenueRejected, VenueUnknown
from realtime.venues.ccxt import errors
from realtime.venues.ccxt.errors import CLASSES, VENUES, Exists, classify, denied, said
from realtime.venues.ccxt.exchange import Sent


ccxt: Any = pytest.importorskip("ccxt")

REVIEWED = {
    "binance": "64b0a82629fac5cc",
    "binanceusdm": "3054c19ac24fbcba",
    "bitfinex": "5ace6468fa36e057",
    "bybit": "821b4e33ce5dfad9",
    "kraken": "24ac8fe46651080a",
    "krakenfutures": "7ceb754ed1c307c4",
    "okx": "bf6e22d725c1abff",
}
"""A sum over every code that ccxt maps for a venue, as of the last time somebody read them all."""


def classes(kind: Any) -> Iterator[Any]:
    yield kind
    for child in kind.__subclasses__():
        yield from classes(child)


def call(text: str = "", *, status: int = 200, sent: bool = True) -> Sent:
    return Sent(requests=1, status=status, text=text) if sent else Sent()


def test_every_class_of_ccxt_has_a_meaning_and_no_other_name_has_one() -> None:
    """trading:6.6."""
    theirs = {kind.__name__ for kind in classes(ccxt.BaseError)}

    assert theirs == set(CLASSES)


@pytest.mark.parametrize("venue", sorted(REVIEWED))
def test_a_code_that_nobody_has_looked_at_fails_this_test(venue: str) -> None:
    """Read the new codes of `errors.reviewed`, put the doubtful ones into `VENUES`, then change the sum."""
    mapped = errors.reviewed(getattr(ccxt, venue)().exceptions)

    assert sha256("\n".join(mapped).encode()).hexdigest()[:16] == REVIEWED[venue]


@pytest.mark.parametrize("venue", sorted(REVIEWED))
def test_no_mapped_code_is_certain_without_an_answer_and_each_has_one_verdict_with_it(
    venue: str,
) -> None:
    exchange = getattr(ccxt, venue)()
    codes = VENUES[venue]
    for line in errors.reviewed(exchange.exceptions):
        path, _, name = line.rpartition("=")
        code = path.split("/")[-1]
        raised = getattr(ccxt, name)("told")
        body = f'{{"retCode":"{code}","retMsg":"told"}}'
        with_it = classify(venue, raised, call(body))
        without = classify(venue, raised, call("<html>"))

        assert isinstance(without, VenueUnknown), line
        if code in codes.ambiguous:
            assert isinstance(with_it, VenueUnknown), line
        elif code in codes.exists:
            assert isinstance(with_it, Exists), line
        elif code in codes.gone:
            assert with_it.code is Code.NOT_FOUND, line
        elif code in codes.limited:
            assert with_it.code is Code.RATE_LIMITED, line
        else:
            assert isinstance(with_it, VenueUnknown | VenueRejected), line


def test_the_lists_of_a_venue_do_not_contradict_each_other() -> None:
    for venue, codes in VENUES.items():
        lists = (codes.ambiguous, codes.exists, codes.gone, codes.refused, codes.limited)

        assert sum(map(len, lists)) == len(frozenset().union(*lists)), venue


@pytest.mark.parametrize(
    ("venue", "name", "body"),
    [
        ("binance", "RequestTimeout", '{"code":-1007,"msg":"Timeout waiting for response"}'),
        ("binance", "ExchangeError", '{"code":-1006,"msg":"Execution status unknown."}'),
        ("binance", "BadRequest", '{"code":-1013,"msg":"execution status unknown"}'),
        ("bybit", "InvalidOrder", '{"retCode":170146,"retMsg":"Order creation timeout"}'),
        ("bybit", "ExchangeError", '{"retCode":10016,"retMsg":"System error."}'),
        ("bybit", "BadRequest", '{"retCode":170035,"retMsg":"Submitted"}'),
        (
            "okx",
            "ExchangeError",
            '{"code":"1","data":[{"sCode":"51149","sMsg":"Order timed out"}]}',
        ),
        ("okx", "RequestTimeout", '{"code":"50004","msg":"","data":[]}'),
        ("kraken", "ExchangeNotAvailable", '{"error":["EService:Unavailable"]}'),
        ("bitfinex", "ExchangeError", '["error",10000,"unknown error"]'),
        ("gate", "InvalidOrder", '{"label":"X","message":"request timeout"}'),
    ],
)
def test_what_the_venue_itself_does_not_know_is_unknown_whatever_its_class(
    venue: str, name: str, body: str
) -> None:
    """trading:6.6 row 3."""
    assert isinstance(classify(venue, getattr(ccxt, name)(body), call(body)), VenueUnknown)


@pytest.mark.parametrize(
    ("venue", "name", "body"),
    [
        ("bybit", "InvalidOrder", '{"retCode":110072,"retMsg":"OrderLinkedID is duplicate"}'),
        ("bybit", "InvalidOrder", '{"retCode":170141,"retMsg":"Duplicate clientOrderId"}'),
        ("binance", "InvalidOrder", '{"code":-2010,"msg":"Duplicate order sent."}'),
        ("binanceusdm", "InvalidOrder", '{"code":-4116,"msg":"ClientOrderId is duplicated."}'),
        ("okx", "InvalidOrder", '{"code":"1","data":[{"sCode":"51016","sMsg":"x"}]}'),
        ("gate", "DuplicateOrderId", '{"label":"DUP","message":"x"}'),
        ("kraken", "ExchangeError", '{"error":["EOrder:cl_ord_id already exists"]}'),
        ("kraken", "BadRequest", '{"error":["EGeneral:Invalid arguments:cl_ord_id not unique"]}'),
    ],
)
def test_a_client_id_that_is_taken_means_that_the_order_exists(
    venue: str, name: str, body: str
) -> None:
    """trading:6.6 row 4."""
    assert isinstance(classify(venue, getattr(ccxt, name)(body), call(body)), Exists)


@pytest.mark.parametrize(
    ("venue", "name", "body", "code"),
    [
        ("bybit", "InsufficientFunds", '{"retCode":110007,"retMsg":"x"}', Code.INSUFFICIENT_FUNDS),
        ("bybit", "BadRequest", '{"retCode":10001,"retMsg":"x"}', Code.INVALID),
        ("bybit", "InvalidOrder", '{"retCode":110003,"retMsg":"x"}', Code.VENUE_REJECTED),
        ("bybit", "OrderNotFound", '{"retCode":110001,"retMsg":"x"}', Code.NOT_FOUND),
        ("bybit", "AuthenticationError", '{"retCode":10003,"retMsg":"x"}', Code.VENUE_REJECTED),
        ("binance", "InvalidOrder", '{"code":-2010,"msg":"insufficient"}', Code.VENUE_REJECTED),
        ("kraken", "InsufficientFunds", '{"error":["EOrder:Insufficient funds"]}', Code.INSUFFICIENT_FUNDS),
        ("kraken", "InvalidOrder", '{"error":["EOrder:Unknown order"]}', Code.NOT_FOUND),
        ("kraken", "ExchangeError", '{"error":["EOrder:Post only order"]}', Code.VENUE_REJECTED),
        ("bitfinex", "InsufficientFunds", '["error",10001,"not enough exchange balance"]', Code.INSUFFICIENT_FUNDS),
        ("bitfinex", "PermissionDenied", '["error",10001,"Invalid price."]', Code.VENUE_REJECTED),
        ("okx", "InsufficientFunds", '{"code":"1","data":[{"sCode":"51008","sMsg":"x"}]}', Code.INSUFFICIENT_FUNDS),
        ("gate", "ExchangeError", '{"label":"X","message":"order does not exist"}', Code.NOT_FOUND),
        ("gate", "NotSupported", '{"label":"X","message":"y"}', Code.NOT_SUPPORTED),
    ],
)  # fmt: skip
def test_a_refusal_with_a_code_of_the_venue_is_not_done(
    venue: str, name: str, body: str, code: Code
) -> None:
    """trading:6.6 row 5."""
    found = classify(venue, getattr(ccxt, name)(body), call(body))

    assert isinstance(found, VenueRejected)
    assert found.code is code


@pytest.mark.parametrize(
    ("venue", "name", "status", "body", "code"),
    [
        ("binance", "DDoSProtection", 429, "", Code.RATE_LIMITED),
        ("bybit", "RateLimitExceeded", 429, "<html>", Code.RATE_LIMITED),
        ("bybit", "RateLimitExceeded", 200, '{"retCode":10006,"retMsg":"x"}', Code.RATE_LIMITED),
        ("kraken", "ExchangeError", 200, '{"error":["EOrder:Domain rate limit exceeded"]}', Code.RATE_LIMITED),
        ("kraken", "InvalidNonce", 200, '{"error":["EAPI:Invalid nonce"]}', Code.VENUE_UNAVAILABLE),
        ("kraken", "OnMaintenance", 200, '{"error":["EService:Market in cancel_only mode"]}', Code.VENUE_UNAVAILABLE),
    ],
)  # fmt: skip
def test_a_limit_was_not_done_and_says_when_to_come_back(
    venue: str, name: str, status: int, body: str, code: Code
) -> None:
    """trading:6.6 row 6."""
    found = classify(venue, getattr(ccxt, name)(body), call(body, status=status))

    assert isinstance(found, VenueRejected)
    assert found.code is code
    assert found.retry_after == errors.RETRY_S


def test_the_time_the_venue_asks_for_is_passed_on() -> None:
    held = call(status=429)
    held.headers = {"Retry-After": "7"}
    found = classify("okx", ccxt.ExchangeNotAvailable("x"), held)

    assert isinstance(found, VenueRejected)
    assert found.retry_after == 7.0


@pytest.mark.parametrize(
    "error",
    [
        ccxt.ExchangeError("bybit POST /v5/order/create"),
        ccxt.RateLimitExceeded("x"),
        ccxt.InvalidNonce("x"),
        ccxt.OnMaintenance("x"),
        ccxt.InvalidOrder("x"),
        ccxt.RequestTimeout("x"),
        ccxt.BadResponse("x"),
        KeyError("orderId"),
        TimeoutError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("body", ["", "<html>502</html>", '{"retCode"', "[]", "7", '{"error":[]}'])
def test_without_a_code_of_the_venue_nothing_is_certain_once_it_was_sent(
    error: Exception, body: str
) -> None:
    """trading:6.6 row 7, trading:S4."""
    assert isinstance(classify("bybit", error, call(body)), VenueUnknown)
    assert isinstance(classify("bybit", error, call(body, status=502)), VenueUnknown)


def test_nothing_was_done_before_anything_was_sent() -> None:
    """trading:6.6 row 1."""
    for error, code in (
        (ccxt.InvalidOrder("x"), Code.VENUE_REJECTED),
        (ccxt.ArgumentsRequired("x"), Code.INVALID),
        (ccxt.NotSupported("x"), Code.NOT_SUPPORTED),
        (ccxt.ExchangeError("x"), Code.VENUE_REJECTED),
        (ccxt.NetworkError("x"), Code.VENUE_UNAVAILABLE),
        (ValueError("x"), Code.VENUE_REJECTED),
        (Refused(Code.VENUE_UNAVAILABLE, "the circuit is open", retry_after=3), Code.VENUE_UNAVAILABLE),
    ):  # fmt: skip
        found = classify("bybit", error, call(sent=False))

        assert isinstance(found, VenueRejected)
        assert found.code is code


@pytest.mark.parametrize("cause", ["ClientConnectorError", "ClientConnectorDNSError", "gaierror"])
def test_no_connection_was_made_where_the_connector_says_so(cause: str) -> None:
    """trading:6.6 row 2."""
    bases = (
        ()
        if cause != "ClientConnectorDNSError"
        else (type("ClientConnectorError", (Exception,), {}),)
    )
    error = ccxt.ExchangeNotAvailable("bybit POST")
    error.__cause__ = type(cause, bases or (Exception,), {})()
    held = Sent(requests=1)

    found = classify("bybit", error, held)

    assert isinstance(found, VenueRejected)
    assert found.code is Code.VENUE_UNAVAILABLE


def test_an_answer_that_never_came_proves_nothing() -> None:
    held = Sent(requests=2)

    assert isinstance(classify("bybit", ccxt.BadRequest("x"), held), VenueUnknown)


def test_the_venues_words_are_told_without_secrets_and_not_at_any_length() -> None:
    body = '{"retCode":10003,"retMsg":"key SECRET is bad ' + "x" * 1000 + '"}'
    found = classify(
        "bybit",
        ccxt.AuthenticationError(body),
        call(body),
        redact=lambda text: text.replace("SECRET", "[redacted]"),
    )

    assert isinstance(found, VenueRejected)
    assert found.details is not None
    told = str(found.details["venue_message"])
    assert "SECRET" not in told + found.message
    assert len(told) == errors.LONGEST
    assert found.details["venue_code"] == "10003"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('["error",10114,"nonce: small"]', "10114"),
        ('[{"code":-2011,"msg":"Unknown order sent."}]', "-2011"),
        ("[1,2]", None),
        ('{"error":"invalidArgument"}', "invalidArgument"),
        ('{"code":"0","data":[{"sCode":"0"},{"sCode":"51000"}]}', "51000"),
        ('{"code":"0","data":[3]}', None),
        ('{"retCode":0,"retMsg":"OK"}', None),
        ('{"code":true}', None),
    ],
)
def test_codes_are_read_out_of_every_shape_of_answer(body: str, code: str | None) -> None:
    assert said("any", body).code == code


def test_a_key_that_is_not_accepted_is_told_from_everything_else() -> None:
    assert denied(ccxt.PermissionDenied("x"))
    assert denied(ccxt.AccountNotEnabled("x"))
    assert not denied(ccxt.NetworkError("x"))
    # A socket's number that a request has overtaken is no fault of the key (ccxt gives it this class).
    assert not denied(
        ccxt.AuthenticationError('{"event":"auth","code":10114,"msg":"nonce: small"}')
    )


def test_one_code_for_every_refusal_does_not_say_that_the_key_is_bad() -> None:
    body = '["error",10001,"Invalid order: minimum size"]'
    refused = classify("bitfinex", ccxt.PermissionDenied(body), call(body, status=500))
    body = '["error",10100,"apikey: invalid"]'
    bad = classify("bitfinex", ccxt.AuthenticationError(body), call(body, status=500))

    assert isinstance(refused, VenueRejected)
    assert isinstance(bad, VenueRejected)
    assert "denied" not in (refused.details or {})
    assert (bad.details or {})["denied"] is True


def test_codes_without_a_class_are_listed_as_they_are() -> None:
    assert errors.reviewed({"b": {"2": SimpleNamespace}, "1": "x"}) == [
        "1=x",
        "b/2=SimpleNamespace",
    ]
