"""Prices for orders at a market that lives, said by what the server tells of it.

Rules of this file: (1) the embedded market's price is a function of the date, half as high in one month as in another: a
test at a real server's own market names no price of its own (`test_rules.py` looks); (2) `FAR` lies inside the bands of
the gate and of every market, and the price is not there within an hour (`venues/test_market.py` walks through years).
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final


FAR: Final = "-0.08"
"""So far below the market that an order to buy rests, whatever becomes of the price within a test [share of it]."""


def price(ticker: Mapping[str, Any], away: str = FAR) -> str:
    """A price on the grid of prices, so far below the best bid, or above the best ask [share of it].

    Args:
        ticker: As `market.ticker` and the channel tell it; its prices have the digits of the grid.
        away: Below the bid where it is negative, above the ask otherwise.
    """
    share = Decimal(away)
    best = Decimal(ticker["bid" if share < 0 else "ask"])
    return f"{(best * (1 + share)).quantize(best):f}"
