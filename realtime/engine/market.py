"""The grid of a market: the only place where a number of ours is rounded (trading document 1.2).

Rules of this file: (1) a client's number is judged here, never changed; (2) one function per direction;
(3) all of it runs inside `localcontext(MONEY)`, but for what is only looked at: it brings the context along.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Final

from realtime.model.market import MONEY, ZERO, Market
from realtime.model.orders import Side


PLACES: Final = 18
"""Digits behind the point at most, on the wire (protocol document 2.3)."""
FINEST: Final = Decimal(1).scaleb(-PLACES)


def down(value: Decimal, step: Decimal) -> Decimal:
    """Round toward minus infinity to a multiple of `step`: free balance, rebates, funding received."""
    return (value / step).to_integral_value(ROUND_FLOOR) * step


def up(value: Decimal, step: Decimal) -> Decimal:
    """Round toward infinity to a multiple of `step`: fees charged, funding paid, margin required."""
    return (value / step).to_integral_value(ROUND_CEILING) * step


def shown(value: Decimal, step: Decimal) -> Decimal:
    """Round half to even, for fields that are only looked at."""
    steps = MONEY.divide(value, step).to_integral_value(ROUND_HALF_EVEN)
    return MONEY.multiply(steps, step)


def amount_down(amount: Decimal, market: Market) -> tuple[Decimal, str | None]:
    """Make an amount that we computed tradable.

    Returns:
        The amount [base, contracts] on the lot grid and None; zero with a reason when it falls below
        the market's minimum.
    """
    floored = down(amount, market.amount_step)
    least = market.min_amount or market.amount_step
    if floored < least:
        return ZERO, f"{plain(floored)} is below the minimum amount {plain(least)}"
    return floored, None


def limit_price(price: Decimal, side: Side, market: Market) -> Decimal:
    """Round a limit (or target) price of ours: buys down, sells up; never worse than asked."""
    return (down if side is Side.BUY else up)(price, market.price_tick)


def stop_price(price: Decimal, side: Side, market: Market) -> Decimal:
    """Round a stop trigger of ours: sell stops up, buy stops down, so that it fires no later."""
    return (up if side is Side.SELL else down)(price, market.price_tick)


def on_grid(value: Decimal, step: Decimal) -> bool:
    """Whether a number given by a client is a multiple of the step."""
    return not value % step


def nearest(value: Decimal, step: Decimal) -> tuple[str, ...]:
    """The valid values around one that is off the grid, for `details.nearest`; above zero only."""
    return tuple(text(near, step) for near in (down(value, step), up(value, step)) if near > 0)


@lru_cache(maxsize=1024)
def decimals(step: Decimal) -> int:
    """Digits after the point of a grid: 2 for 0.01, 1 for 0.5, 0 for 10."""
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)


def text(value: Decimal, step: Decimal) -> str:
    """Write a price or amount padded to the market's precision; a finer value keeps its digits."""
    if not value:
        return "0"
    # All digits, ten times an order: `str` takes a third of the time of a format, and a call as long as `str`.
    written, places = str(value), decimals(step)
    if "E" in written:
        written = f"{value:f}"
    if places and written[-places - 1 : -places] == ".":
        return written  # as the grid has it, like most
    whole, _, part = written.partition(".")
    # Averages and fees in base are finer than the grid: they are shown whole, not rounded away.
    part = part.rstrip("0").ljust(places, "0")
    return f"{whole}.{part}" if part else whole


def average_text(value: Decimal, tick: Decimal) -> str:
    """Write an average price: at most four digits finer than the tick, at least the tick's."""
    written, places = str(value), decimals(tick)
    if places and written[-places - 1 : -places] == "." and "E" not in written and value:
        return written  # as fine as the tick, like the price of a single fill
    return text(shown(value, tick.scaleb(-4)), tick)


def plain(value: Decimal) -> str:
    """Write any other number: no exponent, no trailing zeros, no minus zero."""
    written = str(value)
    if "E" in written:
        written = f"{value:f}"
    if "." in written:
        written = written.rstrip("0").rstrip(".")
    return "0" if written == "-0" else written


def figure(value: Decimal | None) -> str | None:
    """Write a number that was computed, such as a quotient: 18 digits behind the point at most, as the wire has them."""
    if value is None:
        return None
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return plain(value if exponent >= -PLACES else MONEY.quantize(value, FINEST))


def brief(value: Decimal, rounding: str = ROUND_CEILING) -> str:
    """Write a number of a message: what was typed stays, a quotient is cut to six figures.

    Args:
        value: Any.
        rounding: Away from the limit it is compared with, so that the message never shows it as kept.
    """
    if len(value.as_tuple().digits) <= 12:
        return plain(value)
    places = max(0, 5 - value.adjusted())
    return plain(value.quantize(Decimal(1).scaleb(-places), rounding))
