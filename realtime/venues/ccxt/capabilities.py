"""What can be had from which exchange: the matrix of `market.limits`, and the table of `docs/venues.md`.

`python -m realtime.venues.ccxt.capabilities` writes that table.

Rules of this file: (1) `native` is what the venue does, `derived` what we make of something else it does, `poll` what we
ask for again and again, `unsupported` what nobody does; (2) it says what ccxt says, not what was tried.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final


NATIVE: Final = "native"
DERIVED: Final = "derived"
POLL: Final = "poll"
UNSUPPORTED: Final = "unsupported"

STREAMS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    # name: a stream of its own; what it can be made from; what can be asked for
    "ticker": (("watchTicker",), ("watchOrderBook", "watchTrades"), ("fetchTicker",)),
    "orderbook": (("watchOrderBook",), (), ("fetchOrderBook",)),
    "trades": (("watchTrades",), (), ("fetchTrades",)),
    # Always folded from trades, so that a bar and its trades agree; never a venue's own stream of bars.
    "ohlcv": ((), ("watchTrades", "fetchTrades"), ("fetchOHLCV",)),
    "orders": (("watchOrders",), (), ("fetchOpenOrders",)),
    "fills": (("watchMyTrades",), ("watchOrders",), ("fetchMyTrades",)),
    "balances": (("watchBalance",), (), ("fetchBalance",)),
    "positions": (("watchPositions",), ("watchMyTrades", "fetchMyTrades"), ("fetchPositions",)),
}
"""How each stream is had, first choice first (trading document, 6.3)."""

ORDERS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    # name: what the venue does itself; what it can be made from
    "place": (("createOrder",), ()),
    "cancel": (("cancelOrder",), ()),
    "amend": (("editOrder",), ()),
    "cancel_all": (("cancelAllOrders",), ("cancelOrder",)),
    "lookup": (("fetchOrder",), ("fetchOpenOrders", "fetchClosedOrders")),
    "market": (("createMarketOrder",), ()),
    "limit": (("createLimitOrder",), ()),
    "stop": (("createStopOrder", "createTriggerOrder"), ("createMarketOrder",)),
    "stop_limit": (("createStopLimitOrder",), ("createLimitOrder",)),
    "take_profit": (("createTakeProfitOrder",), ("createMarketOrder",)),
    "trailing_stop": (
        ("createTrailingAmountOrder", "createTrailingPercentOrder"),
        ("createMarketOrder",),
    ),
    "post_only": (("createPostOnlyOrder",), ()),
    "reduce_only": (("createReduceOnlyOrder",), ()),
    "bracket": (("createOrderWithTakeProfitAndStopLoss",), ("createOrder",)),
    "leverage": (("setLeverage",), ()),
    "margin_mode": (("setMarginMode",), ()),
}
"""How each function of order entry is had, first choice first."""


def matrix(has: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Say what an exchange offers.

    Args:
        has: ccxt's table; `emulated` counts as had, because ccxt makes one call of ours into several of its own.

    Returns:
        `{"stream": {name: native|derived|poll|unsupported}, "order": {name: native|derived|unsupported}}`.
    """

    def some(names: tuple[str, ...]) -> bool:
        return any(has.get(name) in {True, "emulated"} for name in names)

    streams = {}
    for name, (own, made, asked) in STREAMS.items():
        if some(own):
            streams[name] = NATIVE
        elif name == "ticker":
            streams[name] = DERIVED if some(made[:1]) else POLL if some(asked) else UNSUPPORTED
        else:
            streams[name] = DERIVED if some(made) else POLL if some(asked) else UNSUPPORTED
    orders = {
        name: NATIVE if some(own) else DERIVED if some(made) else UNSUPPORTED
        for name, (own, made) in ORDERS.items()
    }
    if has.get("editOrder") is not True:
        # An amend that ccxt makes of its own is a cancel and a second order: the account refuses it.
        orders["amend"] = UNSUPPORTED
    return {"stream": streams, "order": orders}


# --- the document -----------------------------------------------------------------------------

DOCUMENT: Final = Path(__file__).parents[3] / "docs" / "venues.md"
TABLE: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
AGAIN: Final = "docs/venues.md differs; run: python -m realtime.venues.ccxt.capabilities"
MARKS: Final = {NATIVE: "yes", DERIVED: "made", POLL: "poll", UNSUPPORTED: "no"}


def exchanges() -> Iterator[tuple[Any, bool]]:
    """Give an instance of each exchange of ccxt, unconnected, and whether it has sockets."""
    import ccxt.async_support  # noqa: PLC0415 - 0.5 s and 108 MB, only for who asks
    import ccxt.pro  # noqa: PLC0415 - as above

    for name in ccxt.async_support.exchanges:
        sockets = name in ccxt.pro.exchanges
        yield getattr(ccxt.pro if sockets else ccxt.async_support, name)(), sockets


def table() -> str:
    """Make the table of all exchanges, in Markdown."""
    names = ["place", "amend", "cancel_all", "lookup", "stop", "trailing_stop", "reduce_only"]
    head = ["exchange", "ccxt id", "sandbox", *STREAMS, *(name.replace("_", " ") for name in names)]
    lines = [_row(head), _row(["---"] * len(head))]
    for exchange, _ in exchanges():
        found = matrix(exchange.has)
        lines.append(
            _row(
                [
                    exchange.name,
                    f"`{exchange.id}`",
                    "yes" if exchange.urls.get("test") else "no",
                    *(MARKS[kind] for kind in found["stream"].values()),
                    *(MARKS[found["order"][name]] for name in names),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def filled(document: str) -> str:
    """Put the table into its place in the document."""
    made = {"exchanges": table()}
    return TABLE.sub(lambda found: found[1] + made.get(found[2], "") + found[3], document)


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(filled(DOCUMENT.read_text()))


if __name__ == "__main__":
    main()
