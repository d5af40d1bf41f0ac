"""Who asks: Bybit's keys, signatures and receive windows."""

import hmac
from collections.abc import Mapping
from hashlib import sha256

from realtime.emulate.bybit.codes import EXPIRED, KEY, PARAMS, SIGN, TIMESTAMP, Refusal
from realtime.emulate.bybit.params import whole
from realtime.emulate.faults import Faults
from realtime.emulate.floor import Customer


AHEAD_MS = 1000
"""How far in the future a request may say it is [ms]."""


def signature(secret: str, payload: str) -> str:
    """HMAC-SHA256 in lower-case hex."""
    return hmac.new(secret.encode(), payload.encode(), sha256).hexdigest()


def check_window(stamp: str, window: str, now_ms: int) -> None:
    """Check a request's time.

    Raises:
        Refusal: 10002, outside the receive window; 10001, not numbers.
    """
    asked, patience = whole(stamp), whole(window)
    if asked is None or patience is None:
        raise Refusal(PARAMS, "params error: timestamp or recv_window invalid")
    if not now_ms - patience <= asked < now_ms + AHEAD_MS:
        raise Refusal(
            TIMESTAMP,
            "invalid request, please check your server timestamp or recv_window param."
            f" req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window}]",
        )


def customer_of(customers: Mapping[str, Customer], faults: Faults, key: str) -> Customer:
    """Whose key this is.

    Raises:
        Refusal: 10003 unknown, 33004 expired.
    """
    customer = customers.get(key)
    if customer is None:
        raise Refusal(KEY, "API key is invalid.")
    if key in faults.expired:
        raise Refusal(EXPIRED, "Your api key has expired.")
    return customer


def authenticate(
    customers: Mapping[str, Customer],
    faults: Faults,
    headers: Mapping[str, str],
    payload: str,
    now_ms: int,
) -> Customer:
    """Check the headers of a REST request.

    Args:
        customers: By key.
        faults: Which keys have expired.
        headers: Lower-case names.
        payload: Query of a GET, body of a POST, as it was sent.
        now_ms: The exchange's time.

    Raises:
        Refusal: With the exchange's code.
    """
    key = headers.get("x-bapi-api-key", "")
    stamp = headers.get("x-bapi-timestamp", "")
    given = headers.get("x-bapi-sign", "")
    window = headers.get("x-bapi-recv-window", "5000")
    if not (key and stamp and given):
        raise Refusal(
            PARAMS,
            f"empty value: apiTimestamp[{stamp}] apiKey[{key}] apiSignature[{given}]: openapi sign params error!",
        )
    customer = customer_of(customers, faults, key)
    check_window(stamp, window, now_ms)
    _check(customer, stamp + key + window + payload, given)
    return customer


def authenticate_socket(
    customers: Mapping[str, Customer], faults: Faults, args: list[object], now_ms: int
) -> Customer:
    """Check the arguments of `auth`: key, expiry [ms], signature of `GET/realtime` and the expiry.

    Raises:
        Refusal: With the exchange's code.
    """
    if len(args) != 3:
        raise Refusal(PARAMS, "Params Error")
    key, expires, given = map(str, args)
    customer = customer_of(customers, faults, key)
    until = whole(expires)
    if until is None or until <= now_ms:
        raise Refusal(TIMESTAMP, "Params Error: expires is in the past")
    _check(customer, f"GET/realtime{expires}", given)
    return customer


def _check(customer: Customer, payload: str, given: str) -> None:
    expected = signature(customer.secret, payload)
    if not hmac.compare_digest(expected.encode(), given.lower().encode()):
        raise Refusal(SIGN, "error sign! Please check your signature generation algorithm.")
