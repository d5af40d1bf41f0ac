"""What Bybit says for "no": its codes for the refusals of the matching, per category.

Source: the exchange's v5 error codes; ccxt's table of them decides which exception a client sees.
"""

from typing import Final

from realtime.model.errors import VenueRejected


class Refusal(Exception):
    """An answer with a `retCode` other than 0; nothing was done.

    Args:
        code: `retCode`.
        message: `retMsg`.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


PARAMS: Final = 10001
TIMESTAMP: Final = 10002
KEY: Final = 10003
SIGN: Final = 10004
TOO_MANY: Final = 10006
PATH: Final = 10017
EXPIRED: Final = 33004

RULES: Final[dict[str, tuple[tuple[int, str], tuple[int, str]]]] = {
    "insufficient_funds": (
        (170131, "Insufficient balance."),
        (110007, "ab not enough for new order"),
    ),
    "tick_size": ((170134, "Order price has too many decimals."), (PARAMS, "Price invalid")),
    "lot_size": ((170137, "Order quantity has too many decimals."), (PARAMS, "Qty invalid")),
    "min_amount": (
        (170136, "Order quantity exceeded lower limit."),
        (PARAMS, "The number of contracts exceeds minimum limit allowed"),
    ),
    "max_amount": (
        (170135, "Order quantity exceeded upper limit."),
        (PARAMS, "The number of contracts exceeds maximum limit allowed"),
    ),
    "max_market_amount": (
        (170135, "Order quantity exceeded upper limit."),
        (PARAMS, "The number of contracts exceeds maximum limit allowed"),
    ),
    "min_cost": (
        (170140, "Order value exceeded lower limit."),
        (110094, "Order does not meet minimum order value 5USDT"),
    ),
    "cost": ((170130, "Data sent for parameter 'qty' is not valid."), (PARAMS, "Qty invalid")),
    "price_band": (
        (170193, "Buy order price cannot be higher, nor sell order price lower, than the limit."),
        (110003, "Order price exceeds the allowable range."),
    ),
    "price": ((170130, "Data sent for parameter 'price' is not valid."), (PARAMS, "Price invalid")),
    "post_only": (
        (170218, "The LIMIT-MAKER order is rejected due to invalid price."),
        (110032, "Illegal order"),
    ),
    "reduce_only": ((170210, "New order rejected."), (110017, "Reduce-only rule not satisfied")),
    "duplicate_client_id": (
        (170141, "Duplicate clientOrderId."),
        (110072, "OrderLinkedID is duplicate"),
    ),
    "not_found": (
        (170213, "Order does not exist."),
        (110001, "order not exists or too late to cancel"),
    ),
    "filled": (
        (170139, "Order has been filled."),
        (110064, "The number of contracts modified cannot be less than or equal to the filled"),
    ),
    "stop_price": (
        (170130, "Data sent for parameter 'triggerPrice' is not valid."),
        (110032, "Illegal order"),
    ),
    "symbol": ((170121, "Invalid symbol."), (PARAMS, "params error: symbol invalid")),
    "market_inactive": (
        (170151, "The trading pair is not open yet"),
        (110066, "Trading is currently not allowed"),
    ),
    "stale": (
        (170151, "The trading pair is not open yet"),
        (110066, "Trading is currently not allowed"),
    ),
    "max_leverage": ((10001, "leverage invalid"), (110013, "cannot set leverage by risk limit")),
    "margin_mode": ((3400045, "Set margin mode failed"), (3400045, "Set margin mode failed")),
}
"""By rule of the matching: what is said on spot, what on linear."""

OTHER: Final = ((170210, "New order rejected."), (110032, "Illegal order"))


def said(error: VenueRejected, category: str) -> Refusal:
    """What the exchange says for a refusal of the matching."""
    rule = str((error.details or {}).get("rule", ""))
    code, message = RULES.get(rule, OTHER)[0 if category == "spot" else 1]
    return Refusal(code, message)


def wrong(message: str) -> Refusal:
    """A request that cannot be understood."""
    return Refusal(PARAMS, message)
