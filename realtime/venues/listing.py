"""The markets of the embedded exchange: their rules, and the figures their prices are made from."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from realtime.model.errors import Code, Refused
from realtime.model.market import Market


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """Fee rates, 0..1."""

    spot_maker: Decimal = Decimal("0.001")
    spot_taker: Decimal = Decimal("0.001")
    perpetual_maker: Decimal = Decimal("0.0002")
    perpetual_taker: Decimal = Decimal("0.00055")


@dataclass(frozen=True, slots=True)
class Listing:
    """One base currency.

    Attributes:
        price: What its price wanders about [USDT].
        beta, sigma: How much of the common move it takes, and the deviation of its own move in a day.
    """

    price: float
    tick: str
    step: str
    beta: float
    sigma: float


LISTINGS: dict[str, Listing] = {
    "BTC": Listing(64_000.0, "0.01", "0.00001", 1.0, 0.010),
    "ETH": Listing(3_200.0, "0.01", "0.0001", 1.1, 0.014),
    "SOL": Listing(150.0, "0.01", "0.001", 1.3, 0.024),
    "BNB": Listing(580.0, "0.01", "0.001", 0.9, 0.014),
    "XRP": Listing(0.62, "0.0001", "0.1", 0.9, 0.022),
    "ADA": Listing(0.45, "0.0001", "0.1", 1.1, 0.022),
    "DOGE": Listing(0.13, "0.00001", "1", 1.2, 0.028),
    "LTC": Listing(72.0, "0.01", "0.001", 0.9, 0.018),
    "AVAX": Listing(28.0, "0.01", "0.01", 1.3, 0.026),
    "LINK": Listing(14.0, "0.001", "0.01", 1.2, 0.024),
    "DOT": Listing(6.2, "0.001", "0.01", 1.1, 0.022),
    "PEPE": Listing(0.00001423, "0.00000001", "100", 1.3, 0.030),
}
QUOTE = "USDT"
SYMBOLS: tuple[str, ...] = (
    *(f"{base}/{QUOTE}" for base in LISTINGS if base != "PEPE"),
    f"BTC/{QUOTE}:{QUOTE}",
    f"ETH/{QUOTE}:{QUOTE}",
)
"""Every symbol that is listed by default: all that can be, but for the one of a very small price."""


def listing_of(symbol: str) -> Listing:
    """The figures behind a symbol.

    Raises:
        Refused: `not_found`, when nothing like it can be listed.
    """
    base, _, rest = symbol.partition("/")
    if base not in LISTINGS or rest not in {QUOTE, f"{QUOTE}:{QUOTE}"}:
        raise Refused(
            Code.NOT_FOUND,
            f"{symbol} is not one of the embedded markets: {', '.join(SYMBOLS)}",
            {"what": "symbol"},
        )
    return LISTINGS[base]


def market_of(symbol: str, fees: Fees) -> Market:
    """The market row of a symbol."""
    listing = listing_of(symbol)
    tick, step = Decimal(listing.tick), Decimal(listing.step)
    base, contract = symbol.partition("/")[0], ":" in symbol
    return Market(
        symbol=symbol,
        id=f"{base}{QUOTE}-PERP" if contract else f"{base}{QUOTE}",
        base=base,
        quote=QUOTE,
        settle=QUOTE if contract else None,
        type="swap" if contract else "spot",
        price_tick=tick,
        amount_step=step,
        min_amount=step,
        max_amount=step * 100_000_000,
        max_market_amount=step * 10_000_000,
        min_cost=Decimal(5),
        max_leverage=Decimal(50) if contract else Decimal(1),
        maker=fees.perpetual_maker if contract else fees.spot_maker,
        taker=fees.perpetual_taker if contract else fees.spot_taker,
        price_band=Decimal("0.10") if contract else Decimal("0.50"),
        groups=tuple(format(tick * factor, "f") for factor in (10, 100, 1000)),
    )


def markets_of(symbols: Iterable[str], fees: Fees) -> dict[str, Market]:
    """Market rows by symbol."""
    return {symbol: market_of(symbol, fees) for symbol in symbols}
