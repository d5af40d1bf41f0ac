"""What an exchange tells only on request: the account's own fees, and how the exchange says it is.

Rules of this file: (1) whoever asks keeps the answer for a while (`desk.cache`), nothing is kept here; (2) what the
exchange does not tell is None, and what it tells in another shape as well.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from realtime.venues.ccxt.calls import reading
from realtime.venues.ccxt.rows import number


WORDS: Final[Mapping[str, str]] = {
    "ok": "ok",
    "maintenance": "maintenance",
    "shutdown": "down",
    "error": "degraded",
}
"""ccxt's words for how an exchange is, in ours."""


async def fees(exchange: Any, symbol: str, name: str) -> tuple[Decimal, Decimal] | None:
    """Ask what the account pays.

    Args:
        exchange: An instance of ccxt's with the key.
        symbol: The market.
        name: The account, for people.

    Returns:
        Maker and taker rate, 0..1; None when the exchange does not tell.

    Raises:
        VenueUnknown: The question failed.
    """
    if exchange.has.get("fetchTradingFee"):
        row = await reading(lambda: exchange.fetch_trading_fee(symbol), name)
    elif exchange.has.get("fetchTradingFees"):
        rows = await reading(exchange.fetch_trading_fees, name)
        row = rows.get(symbol) if isinstance(rows, Mapping) else None
    else:
        return None
    if not isinstance(row, Mapping):
        return None
    maker, taker = number(row.get("maker")), number(row.get("taker"))
    return None if maker is None or taker is None else (maker, taker)


async def condition(exchange: Any, name: str) -> Mapping[str, object] | None:
    """Ask how the exchange says it is.

    Args:
        exchange: An instance of ccxt's.
        name: The account, for people.

    Returns:
        `{status: ok|degraded|maintenance|down, eta: end of the maintenance [ms] or None, url}`; None when it does not tell.

    Raises:
        VenueUnknown: The question failed.
    """
    if not exchange.has.get("fetchStatus"):
        return None
    row = await reading(exchange.fetch_status, name)
    status = WORDS.get(str(row.get("status"))) if isinstance(row, Mapping) else None
    if status is None:
        return None
    eta, url = row.get("eta"), row.get("url")
    return {
        "status": status,
        "eta": int(eta) if isinstance(eta, int | float) else None,
        "url": url if isinstance(url, str) else None,
    }
