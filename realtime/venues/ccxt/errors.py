"""What an exception of ccxt means: not done, unknown, or the order is there already (trading document 6.6).

Rules of this file:
1 One table per question: `CLASSES` for every class of ccxt's errors, `VENUES` for the codes that outrank a class.
2 Whatever no table calls certain is unknown. A class alone proves a refusal only where the venue has answered with a
  code of its own; a status, an empty body or HTML proves nothing.
3 ccxt is not imported: classes are known by their names, so the tables can be read without loading it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from realtime.model.errors import Code, Failure, VenueRejected, VenueUnknown
from realtime.venues.ccxt.exchange import Sent
from realtime.venues.ccxt.kin import kin


class Kind(StrEnum):
    """What a class of errors proves once the venue has answered with a code."""

    REFUSED = "refused"
    """Nothing was done."""
    LIMITED = "limited"
    """Nothing was done, and asking later helps."""
    EXISTS = "exists"
    """An order with this client id is there."""
    UNKNOWN = "unknown"
    """Nothing at all."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a class of ccxt's errors proves, and the code a client sees when it proves something."""

    kind: Kind
    code: Code = Code.VENUE_REJECTED


_REFUSED = Meaning(Kind.REFUSED)
_INVALID = Meaning(Kind.REFUSED, Code.INVALID)
_LIMITED = Meaning(Kind.LIMITED, Code.RATE_LIMITED)
_AWAY = Meaning(Kind.LIMITED, Code.VENUE_UNAVAILABLE)
_UNKNOWN = Meaning(Kind.UNKNOWN, Code.OUTCOME_UNKNOWN)

CLASSES: Final[Mapping[str, Meaning]] = {
    "BaseError": _UNKNOWN,
    "ExchangeError": _UNKNOWN,  # a truncated answer raises it, and every code that ccxt does not know
    "AuthenticationError": _REFUSED,
    "PermissionDenied": _REFUSED,
    "AccountNotEnabled": _REFUSED,
    "AccountSuspended": _REFUSED,
    "ArgumentsRequired": _INVALID,
    "BadRequest": _INVALID,
    "BadSymbol": _INVALID,
    "OperationRejected": _REFUSED,
    "NoChange": _REFUSED,
    "MarginModeAlreadySet": _REFUSED,
    "MarketClosed": _REFUSED,
    "ManualInteractionNeeded": _REFUSED,
    "RestrictedLocation": _REFUSED,
    "InsufficientFunds": Meaning(Kind.REFUSED, Code.INSUFFICIENT_FUNDS),
    "InvalidAddress": _INVALID,
    "AddressPending": _REFUSED,
    "InvalidOrder": _REFUSED,
    "OrderNotFound": Meaning(Kind.REFUSED, Code.NOT_FOUND),
    "OrderNotCached": _UNKNOWN,  # of ccxt's own cache: the venue has said nothing
    "OrderImmediatelyFillable": _REFUSED,
    "OrderNotFillable": _REFUSED,
    "DuplicateOrderId": Meaning(Kind.EXISTS, Code.CONFLICT),
    "ContractUnavailable": _REFUSED,
    "NotSupported": Meaning(Kind.REFUSED, Code.NOT_SUPPORTED),
    "InvalidProxySettings": _UNKNOWN,
    "ExchangeClosedByUser": _UNKNOWN,
    "OperationFailed": _UNKNOWN,
    "NetworkError": _UNKNOWN,
    "DDoSProtection": _LIMITED,
    "RateLimitExceeded": _LIMITED,
    "ExchangeNotAvailable": _UNKNOWN,
    "OnMaintenance": _AWAY,
    "InvalidNonce": _AWAY,
    "ChecksumError": _UNKNOWN,  # of an order book
    "RequestTimeout": _UNKNOWN,
    "BadResponse": _UNKNOWN,
    "NullResponse": _UNKNOWN,
    "CancelPending": _UNKNOWN,
    "UnsubscribeError": _UNKNOWN,
}
"""Every class of ccxt 4.5.90 by its name. A refusal counts only with a code of the venue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Codes of one venue that say more, or something else, than the class ccxt gives them.

    Attributes:
        ambiguous: The venue itself does not know what came of it.
        exists: The client id is taken.
        gone: There is no such order, or it has ended.
        refused: Certain, although ccxt's class is not.
        family: Begins every code that is certain.
        limited: Certain, and later it may pass.
    """

    ambiguous: frozenset[str] = frozenset()
    exists: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    family: str | None = None

    def certain(self, code: str) -> bool:
        """Whether this code is a refusal, whatever ccxt's class of it says."""
        return code in self.refused or (self.family is not None and code.startswith(self.family))


def _set(codes: str) -> frozenset[str]:
    return frozenset(codes.split())


_BINANCE = Codes(
    # -1004 is "server is busy" on spot and another thing elsewhere; -1008 does not say what it stopped.
    ambiguous=_set("-1000 -1001 -1004 -1006 -1007 -1008 -1010 -3000 -3044"),
    exists=_set("-4116 -20132"),
    gone=_set("-2011 -2013"),
    refused=_set("-2018 -2019 -2023 -2027 -2028"),
    limited=_set("-1003 -1015"),
)
_KRAKEN = Codes(
    ambiguous=frozenset(
        {
            "EService:Unavailable",
            "EService:Busy",
            "EService:Timeout",
            "EGeneral:Internal error",
            "EDatabase:Internal error",
        }
    ),
    gone=frozenset({"EOrder:Unknown order", "EOrder:Order already closed"}),
    # It was not taken to the book: the deadline that was set with it was over.
    refused=frozenset({"EService:Deadline elapsed"}),
    limited=frozenset(
        {
            "EAPI:Rate limit exceeded",
            "EOrder:Rate limit exceeded",
            "EOrder:Domain rate limit exceeded",
            "EGeneral:Temporary lockout",
            "EGeneral:Too many requests",
        }
    ),
    family="EOrder:",  # of the checks that an order does not pass
)

VENUES: Final[Mapping[str, Codes]] = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "binanceusdm": _BINANCE,
    "binancecoinm": _BINANCE,
    "bybit": Codes(
        # 170035 is "submitted to the system for processing", 10014 "request is duplicate".
        ambiguous=_set(
            "5004 10000 10014 10016 131201 170001 170007 170032 170035 170146 170147 170149 170150"
            " 170234"
        ),
        exists=_set("12141 110030 110072 140030 170141"),
        gone=_set(
            "-2013 20001 30034 110001 110008 110010 140001 140008 140010 170139 170142 170143 170213"
        ),
    ),
    "okx": Codes(
        ambiguous=_set("1 2 50004 50005 50013 50026 51054 51149 51410 63999 64008"),
        exists=_set("51011 51016"),
        gone=_set("51400 51401 51402 51405 51503 51509 51510 51603"),
        refused=_set("51023 51511"),
    ),
    "kraken": _KRAKEN,
    "krakenfutures": Codes(
        ambiguous=_set("unknownError unavailable Unavailable")
        | frozenset({"Server Error", "Json Parse Error"}),
        gone=_set("notFound"),
    ),
    # 10001 stands for every refusal; which one it was, its text says.
    "bitfinex": Codes(ambiguous=_set("10000"), refused=_set("10001"), limited=_set("11010 11000")),
}
"""By ccxt id. A venue that is not here is judged by the classes and texts alone."""

DOUBTFUL: Final = re.compile(
    r"time[- ]?out|timed out|status unknown|unknown status|internal (server )?error|system error"
    r"|deadline exceeded|submitted to the system",
    re.IGNORECASE,
)
"""Words with which a venue says that it does not know either, whatever its code."""

TAKEN: Final = re.compile(
    r"duplicat\w*.*(client|clord|cl_ord|order ?link|\bcid\b|order sent)"
    r"|(client|clord|cl_ord|order ?link|\bcid\b).*(duplicat|not unique|already (exists|used))",
    re.IGNORECASE,
)
"""Words with which a venue says that a client id is taken, whatever its code."""

GONE: Final = re.compile(
    r"order.*(not found|does ?n.t exist|does not exist)|unknown order", re.IGNORECASE
)
"""Words with which a venue says that there is no such order, where it has no code for that."""

NO_CONNECTION: Final = frozenset({"ClientConnectorError", "gaierror"})
"""Causes that stood before the connection: refused, no such host, TLS."""

RETRY_S: Final = 5.0
"""When to come back where the venue does not say."""

LONGEST: Final = 300
"""Characters of a venue's text that are told."""


@dataclass(frozen=True, slots=True)
class Exists:
    """The venue has an order with this client id: look it up."""

    code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Said:
    """What a venue said: its own code and words; None where the answer has no code."""

    code: str | None = None
    message: str = ""


def said(exchange_id: str, text: str) -> Said:
    """Read code and message out of an answer; an answer that cannot be read says nothing.

    Args:
        exchange_id: ccxt id.
        text: The body as it came.
    """
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return Said()
    if isinstance(body, list):
        # Bitfinex: ["error", 10001, "Invalid order: ..."].
        if len(body) >= 3 and body[0] == "error":
            return Said(str(body[1]), str(body[2]))
        return said(exchange_id, orjson.dumps(body[0]).decode()) if len(body) == 1 else Said()
    if not isinstance(body, dict):
        return Said()
    errors = body.get("error")
    if isinstance(errors, list):  # Kraken
        return Said(str(errors[0]), str(errors[0])) if errors else Said()
    rows = body.get("data")
    if isinstance(rows, list):  # OKX: of a batch of one
        for row in rows:
            if isinstance(row, dict) and str(row.get("sCode", "0")) != "0":
                return Said(str(row["sCode"]), str(row.get("sMsg", "")))
    return _flat(body, errors)


_CODE_NAMES: Final = ("retCode", "ret_code", "code", "errorCode", "error_code", "err-code", "label")
_TEXT_NAMES: Final = ("retMsg", "ret_msg", "msg", "message", "errorMessage", "err-msg", "error")


def _flat(body: Mapping[str, object], error: object) -> Said:
    code = next((str(body[name]) for name in _CODE_NAMES if _word(body.get(name))), None)
    message = next((str(body[name]) for name in _TEXT_NAMES if _word(body.get(name))), "")
    if code is None and isinstance(error, str) and error:
        code = error
    return Said(code, message) if code not in {"0", "200", "OK"} else Said(None, message)


def _word(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def classify(
    exchange_id: str,
    error: BaseException,
    sent: Sent,
    *,
    redact: Callable[[str], str] = str,
) -> VenueRejected | VenueUnknown | Exists:
    """Say what a failed placement, amend or cancel has come to.

    Args:
        exchange_id: ccxt id of the venue.
        error: What ccxt raised.
        sent: What the call has sent and heard.
        redact: Takes secrets out of a text.

    Returns:
        The error to raise, or that the order exists already.

    Source: trading document 6.6; the numbers are its rows.
    """
    names = [kind.__name__ for kind in type(error).__mro__]
    name = next((known for known in names if known in CLASSES), names[0])
    answer = said(exchange_id, sent.text or "")
    text = redact(answer.message or str(error))[:LONGEST]
    details: dict[str, object] = {"class": names[0], "venue_message": text}
    if answer.code is not None:
        details["venue_code"] = answer.code
    codes, code = VENUES.get(kin(exchange_id), Codes()), answer.code
    if denied(error) and not (code is not None and codes.certain(code)):
        details["denied"] = (
            True  # Bitfinex has one code for all refusals, and ccxt calls it a denial
        )
    if not sent.requests:  # 1
        return _before(error, name, text, details)
    if _cause(error) & NO_CONNECTION:  # 2
        return VenueRejected(
            Code.VENUE_UNAVAILABLE,
            f"no connection to the venue: {text}",
            details,
            retry_after=RETRY_S,
        )
    if code is not None and TAKEN.search(answer.message):  # 4, before 3: the order is there
        return Exists(code, text)
    if code is not None and (code in codes.ambiguous or DOUBTFUL.search(answer.message)):  # 3
        return VenueUnknown(f"the venue does not know: {text}", details)
    meaning = CLASSES.get(name, _UNKNOWN)
    if code is not None and (code in codes.exists or meaning.kind is Kind.EXISTS):  # 4
        return Exists(code, text)
    wait = retry_after(sent)
    if sent.status in {418, 429} or (code is not None and code in codes.limited):  # 6, before 5
        return VenueRejected(Code.RATE_LIMITED, text, details, retry_after=wait)
    if code is not None:  # 5
        vague = meaning.kind is Kind.UNKNOWN
        if code in codes.gone or (vague and GONE.search(answer.message)):
            return VenueRejected(Code.NOT_FOUND, text, details)
        if vague and codes.certain(code):
            return VenueRejected(Code.VENUE_REJECTED, text, details)
        if meaning.kind is Kind.REFUSED:
            return VenueRejected(meaning.code, text, details)
        if meaning.kind is Kind.LIMITED:  # 6
            return VenueRejected(meaning.code, text, details, retry_after=wait)
    return VenueUnknown(f"no answer that proves anything: {text}", details)  # 7


def retry_after(sent: Sent) -> float:
    """Say when to come back, as the venue asks or else soon [s]."""
    for name, value in sent.headers.items():
        if name.lower() == "retry-after" and value.isdecimal():
            return float(value)
    return RETRY_S


def _before(
    error: BaseException, name: str, text: str, details: Mapping[str, object]
) -> VenueRejected:
    """Nothing has left this process."""
    if isinstance(error, Failure):
        return VenueRejected(error.code, error.message, details, retry_after=error.retry_after)
    meaning = CLASSES.get(name, _UNKNOWN)
    code = Code.VENUE_UNAVAILABLE if meaning.kind is Kind.UNKNOWN else meaning.code
    if name == "ExchangeError" or name not in CLASSES:
        code = Code.VENUE_REJECTED
    return VenueRejected(code, f"not sent: {text}", details)


def _cause(error: BaseException) -> set[str]:
    cause = error.__cause__
    return set() if cause is None else {kind.__name__ for kind in type(cause).__mro__}


NUMBER: Final = re.compile(r"\bnonce\b", re.IGNORECASE)
"""Word with which a venue refuses a number that did not rise."""
AUTHENTICATION: Final = frozenset({"AuthenticationError", "PermissionDenied", "AccountSuspended"})
"""Classes with which a venue says that this key may not."""


def denied(error: BaseException) -> bool:
    """Whether the venue does not accept this key: asking again changes nothing.

    A number that came too late is no fault of the key, whatever class ccxt gives it: a socket signs when it is dialled,
    and a request that was signed after it may arrive before it.
    """
    if NUMBER.search(str(error)):
        return False
    return any(kind.__name__ in AUTHENTICATION for kind in type(error).__mro__)


def reviewed(exceptions: Mapping[str, object], path: Sequence[str] = ()) -> list[str]:
    """List every code that ccxt maps, as `section/code=Class`, sorted: what a review has to look at."""
    found: list[str] = []
    for key, value in exceptions.items():
        if isinstance(value, Mapping):
            found += reviewed(value, (*path, key))
        else:
            found.append(f"{'/'.join((*path, key))}={getattr(value, '__name__', value)}")
    return sorted(found)
