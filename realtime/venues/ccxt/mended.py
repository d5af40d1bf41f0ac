"""Rows that ccxt reads wrongly, or in part: read again from the venue's own row, which stands beside ccxt's as `info`.

Rules of this file:
1 Pure. Only what was seen to be wrong is here, by exchange; a test with the real client holds each of it.
2 What the venue's row does not say is None, so that an earlier row of the same order can say it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from realtime.model.market import ZERO


Row = Mapping[str, Any]

KRAKEN_STATES: Final[Mapping[str, str]] = {
    "pending_new": "open",
    "new": "open",
    "partially_filled": "open",
    "filled": "closed",
    "canceled": "canceled",
    "expired": "expired",
}
BITFINEX_PLACES: Final = 20
"""Places of an order's row that are read."""
BITFINEX_FILL: Final = 11
"""Place of the client's id in the row of a fill."""


def order(exchange_id: str, row: Row) -> Row:
    """Give an order's unified row as it should be.

    Args:
        exchange_id: ccxt id.
        row: ccxt's; of a stream, or of an answer.
    """
    mend = ORDERS.get(exchange_id)
    return row if mend is None else mend(row, row.get("info"))


def told_elsewhere(exchange_id: str, kind: str, row: Row) -> str | None:
    """Name what a row is that ccxt has filed under something else.

    Kraken has one stream for orders and fills; ccxt files a whole frame under what its first row is.

    Args:
        exchange_id: ccxt id.
        kind: `order` or `fill`, as ccxt has filed it.
        row: ccxt's.

    Returns:
        `order` or `fill`; None where it is in its place.
    """
    info = row.get("info")
    if exchange_id != "kraken" or not isinstance(info, Mapping) or "exec_type" not in info:
        return None
    really = "fill" if info["exec_type"] == "trade" else "order"
    return None if really == kind else really


def fill_client_id(exchange_id: str, info: object) -> object | None:
    """Read the order's client id out of the venue's row of a fill, where that has no names."""
    if exchange_id != "bitfinex" or not isinstance(info, list) or len(info) <= BITFINEX_FILL:
        return None
    told: object = info[BITFINEX_FILL]
    return told


def refusal(exchange_id: str, text: str) -> str | None:
    """Read a refused subscription out of a frame; ccxt keeps it to itself, and whoever waits for rows waits for ever.

    Args:
        exchange_id: ccxt id.
        text: The frame as it came.

    Returns:
        The venue's words; None for every other frame.
    """
    if exchange_id != "kraken" or '"success":false' not in text or '"subscribe"' not in text:
        return None
    _, found, rest = text.partition('"error":"')
    return rest.partition('"')[0] if found else "the subscription was refused"


def balances(exchange_id: str, info: object) -> dict[str, tuple[Decimal, Decimal]] | None:
    """Read balances that ccxt works out wrongly.

    Bybit's unified account: ccxt leaves the margin of positions and orders out of what a stream's balance has in use,
    and takes equity, which moves with the mark, for what is there.

    Args:
        exchange_id: ccxt id.
        info: The venue's answer, or the rows of its stream.

    Returns:
        By currency, what is there and how much of it is in use; None where ccxt's is right.
    """
    if exchange_id != "bybit":
        return None
    found = {}
    for coin in _coins(info):
        total = _number(coin.get("walletBalance"))
        held = [_number(coin.get(name)) for name in ("locked", "totalPositionIM", "totalOrderIM")]
        if total is not None and coin.get("coin"):
            found[str(coin["coin"])] = (total, sum((each or ZERO for each in held), ZERO))
    return found or None


def _coins(info: object) -> Iterator[Row]:
    """Rows of a unified account: `result.list[].coin[]` of an answer, `[].coin[]` of a stream."""
    accounts: object = info
    if isinstance(info, Mapping):
        result = info.get("result")
        accounts = result.get("list") if isinstance(result, Mapping) else None
    for account in accounts if isinstance(accounts, list) else ():
        if isinstance(account, Mapping) and account.get("accountType") == "UNIFIED":
            coins = account.get("coin")
            yield from (coin for coin in coins or () if isinstance(coin, Mapping))


def _kraken(row: Row, info: object) -> Row:
    """Its triggers lose their price and kind on REST; its stream tells changes only, under names ccxt does not look at."""
    if not isinstance(info, Mapping):
        return row
    described = info.get("descr")
    if isinstance(described, Mapping):
        word = str(described.get("ordertype"))
        row = {**row, "cost": info.get("cost")}  # ccxt's is a product with a rounded average
        if word in {"limit", "market"}:
            return row
        limit = described.get("price2") if word.endswith("-limit") else None
        trigger = _some(info.get("stopprice")) or _some(described.get("price"))
        return {**row, "type": word, "price": _some(limit), "triggerPrice": trigger}
    if "exec_type" not in info:
        return row
    triggers = info.get("triggers")
    waits_for = triggers.get("price") if isinstance(triggers, Mapping) else None
    return {
        **row,
        "id": info.get("order_id"),
        "clientOrderId": info.get("cl_ord_id"),
        "symbol": info.get("symbol"),
        "side": info.get("side"),
        "type": info.get("order_type"),
        "status": KRAKEN_STATES.get(str(info.get("order_status"))),
        "amount": info.get("order_qty"),
        "filled": info.get("cum_qty"),
        "cost": info.get("cum_cost"),
        "average": _some(info.get("avg_price")),
        "price": info.get("limit_price"),
        "triggerPrice": _some(info.get("stop_price")) or _some(waits_for),
        # When it happened, not when it came: rows may come in another order.
        "lastUpdateTimestamp": row.get("timestamp"),
    }


def _bybit(row: Row, info: object) -> Row:
    """Its targets and stops are one kind of order, which waits for a price to rise or to fall to."""
    if not isinstance(info, Mapping) or not _number(info.get("triggerPrice")):
        return row
    rises = {"1": True, "2": False}.get(str(info.get("triggerDirection")))
    if rises is None or rises is (row.get("side") == "buy"):
        return row
    limit = str(row.get("type")).lower() == "limit"
    return {**row, "type": "take_profit_limit" if limit else "take_profit"}


def _bitfinex(row: Row, info: object) -> Row:
    """Its states have more words than ccxt knows, its triggers stand at the price, the client's id at the third place."""
    if not isinstance(info, Sequence) or isinstance(info, str) or len(info) < BITFINEX_PLACES:
        return row
    word, state = str(info[8]), str(info[13])
    made = {
        **row,
        "clientOrderId": info[2],
        "status": _bitfinex_state(state),
        "reason": state.partition(" was")[0].strip(),
        "lastUpdateTimestamp": info[5],
    }
    if "STOP" in word:
        limit = info[19] if "LIMIT" in word else None
        made |= {"type": word, "price": _some(limit), "triggerPrice": _some(info[16])}
    elif word.endswith((" IOC", " FOK")) or word in {"IOC", "FOK"}:
        made["type"] = "limit"
    return made


def _bitfinex_state(words: str) -> str | None:
    if words.startswith("EXECUTED"):
        return "closed"
    if words.startswith(("ACTIVE", "PARTIALLY")):
        return "open"
    if words.startswith("RSN_"):
        return "rejected"
    return "canceled" if "CANCELED" in words or words.startswith("INSUFFICIENT") else None


def _some(value: object) -> object | None:
    """A number that is one; zero stands for none there."""
    return value if _number(value) else None


def _number(value: object) -> Decimal | None:
    if value is None or value == "":
        return None
    try:
        made = Decimal(str(value))
    except InvalidOperation:
        return None
    return made if made.is_finite() else None


ORDERS: Final[Mapping[str, Callable[[Row, object], Row]]] = {
    "bybit": _bybit,
    "kraken": _kraken,
    "bitfinex": _bitfinex,
}
"""By ccxt id."""
