"""ccxt's markets as ours.

Rules of this file:
1 A number is exact: the shortest decimal of ccxt's float, or the venue's own string behind it (M4).
2 What we cannot trade rightly is left out with a reason, never listed with a guess: options, prediction markets,
  combinations.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import floor, log10
from typing import Any, Final

from realtime.model.market import Market
from realtime.venues.ccxt.kin import kin
from realtime.venues.ccxt.rows import number


DECIMAL_PLACES: Final = 2
SIGNIFICANT_DIGITS: Final = 3
TICK_SIZE: Final = 4
"""ccxt's three meanings of a precision."""

FINEST: Final = Decimal("0.00000001")
"""The grid where the venue names none: what is too fine for it, it refuses itself."""
KINDS: Final = ("spot", "swap", "future")
"""The types of market that are offered."""


@dataclass(frozen=True, slots=True)
class Read:
    """The markets of a venue.

    Attributes:
        markets: By symbol.
        left_out: Why a symbol of the venue is not among them.
    """

    markets: dict[str, Market]
    left_out: dict[str, str] = field(default_factory=dict)


def read(
    rows: Mapping[str, Any],
    *,
    mode: int,
    types: Sequence[str] = KINDS,
    symbols: Sequence[str] = (),
    prices: Mapping[str, float] | None = None,
    step: Callable[[], None] = lambda: None,
) -> Read:
    """Turn ccxt's table of markets into ours.

    Args:
        rows: By symbol.
        mode: ccxt's `precisionMode`.
        types: Kinds of market wanted.
        symbols: Only these; empty: all.
        prices: Newest prices by symbol, for venues that count significant digits.
        step: Called between two markets.
    """
    found = Read({})
    for symbol in sorted(rows):
        step()
        if symbols and symbol not in symbols:
            continue
        row = rows[symbol]
        why = refusal(row, types)
        if why is not None:
            found.left_out[symbol] = why
            continue
        market = market_of(row, mode, None if prices is None else prices.get(symbol))
        if market is None:
            found.left_out[symbol] = "the venue's row is incomplete"
        else:
            found.markets[symbol] = market
    return found


def refusal(row: Mapping[str, Any], types: Sequence[str]) -> str | None:
    """Say why a market is not offered; None if it is."""
    kind = row.get("type")
    if kind == "option" or row.get("option") is True:
        return "options are not traded here"
    if kind not in KINDS:
        return f"markets of type {kind} are not traded here"
    if kind not in types:
        return f"type {kind} is not among the account's types"
    return None


def market_of(row: Mapping[str, Any], mode: int, price: float | None = None) -> Market | None:
    """Make a market of ccxt's row; None for a row without names.

    Args:
        row: ccxt's.
        mode: Its `precisionMode`.
        price: A recent price, needed where the price grid is a number of significant digits.
    """
    names = [row.get(name) for name in ("symbol", "id", "base", "quote")]
    if not all(isinstance(name, str) and name for name in names):
        return None
    symbol, identity, base, quote = map(str, names)
    precision = row.get("precision") or {}
    limits = row.get("limits") or {}
    info = row.get("info")
    contract = row.get("type") != "spot"

    def bound(kind: str, edge: str) -> Decimal | None:
        found = exact((limits.get(kind) or {}).get(edge), info)
        return found if found is not None and found > 0 else None

    leverage = bound("leverage", "max")
    return Market(
        symbol=symbol,
        id=identity,
        base=base,
        quote=quote,
        settle=row.get("settle") if contract else None,
        type=str(row["type"]),
        active=row.get("active") is not False,  # None: the venue does not say
        contract_size=(exact(row.get("contractSize"), info) or Decimal(1))
        if contract
        else Decimal(1),
        price_tick=_grid(precision.get("price"), mode, info, price),
        # Amounts are decimal places also where prices are significant digits.
        amount_step=_grid(
            precision.get("amount"), DECIMAL_PLACES if mode == SIGNIFICANT_DIGITS else mode, info
        ),
        min_amount=bound("amount", "min"),
        max_amount=bound("amount", "max"),
        max_market_amount=bound("market", "max"),
        min_cost=bound("cost", "min"),
        max_leverage=(leverage or Decimal(1)) if contract else Decimal(1),
        maker=_fee(row.get("maker")),
        taker=_fee(row.get("taker")),
    )


def row_of(market: Market, mode: int) -> dict[str, Any]:
    """Make ccxt's row of a market that is listed no more, so that it can tell what an order of it is.

    Args:
        market: Ours.
        mode: ccxt's `precisionMode`.
    """
    linear = market.contract and not market.inverse
    return {
        **{
            name: getattr(market, name)
            for name in ("symbol", "id", "base", "quote", "settle", "type")
        },
        **{f"{name}Id": getattr(market, name) for name in ("base", "quote", "settle")},
        "lowercaseId": market.id.lower(),
        **{kind: market.type == kind for kind in (*KINDS, "option")},
        "margin": False,
        "active": False,
        "contract": market.contract,
        "linear": linear if market.contract else None,
        "inverse": market.inverse if market.contract else None,
        "subType": ("linear" if linear else "inverse") if market.contract else None,
        "contractSize": float(market.contract_size) if market.contract else None,
        **dict.fromkeys(("expiry", "expiryDatetime", "strike", "optionType", "created")),
        "maker": float(market.maker),
        "taker": float(market.taker),
        "precision": {
            name: float(step) if mode == TICK_SIZE else -int(step.normalize().as_tuple().exponent)
            for name, step in (("price", market.price_tick), ("amount", market.amount_step))
        },
        "limits": {
            name: {"min": None, "max": None} for name in ("amount", "price", "cost", "leverage")
        },
        "info": {},
    }


def exact(value: Any, info: Any) -> Decimal | None:
    """Take a number exactly: from the venue's string where the float had to drop digits (M4)."""
    found = number(value)
    if found is None or not isinstance(value, float) or len(found.as_tuple().digits) <= 15:
        return found
    longer = {Decimal(string) for string in _numbers(info, 4) if float(string) == value}
    return longer.pop() if len(longer) == 1 else found


def _numbers(info: Any, depth: int) -> list[str]:
    if isinstance(info, str):
        return [info] if number(info) is not None else []
    if depth and isinstance(info, Mapping | list):
        inner = info.values() if isinstance(info, Mapping) else info
        return [string for value in inner for string in _numbers(value, depth - 1)]
    return []


def _fee(value: Any) -> Decimal:
    rate = number(value)
    # ccxt leaves it empty where the venue has no general rate: the dearer assumption of a paper account.
    return Decimal("0.001") if rate is None else rate


def _grid(value: Any, mode: int, info: Any, price: float | None = None) -> Decimal:
    given = exact(value, info)
    if given is None:
        return FINEST
    if mode == TICK_SIZE:
        return given if given > 0 else FINEST
    places = int(given)
    if mode == SIGNIFICANT_DIGITS:
        if price is None or price <= 0:
            return FINEST
        places = min(places - 1 - floor(log10(price)), 8)
    return Decimal(1).scaleb(-places)


# --- changes ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one market between two readings.

    Attributes:
        symbol: Whose.
        what: `changed`, `halted`, `resumed`, `delisted` or `listed`.
        fields: Names of the rules that changed.
    """

    symbol: str
    what: str
    fields: tuple[str, ...] = ()


RULES: Final = (
    "price_tick",
    "amount_step",
    "min_amount",
    "max_amount",
    "max_market_amount",
    "min_cost",
    "contract_size",
    "max_leverage",
    "maker",
    "taker",
)


def changes(old: Mapping[str, Market], new: Mapping[str, Market]) -> list[Change]:
    """Compare two readings, in order of symbol."""
    found: list[Change] = []
    for symbol in sorted({*old, *new}):
        before, after = old.get(symbol), new.get(symbol)
        if before is None:
            found.append(Change(symbol, "listed"))
        elif after is None:
            found.append(Change(symbol, "delisted"))
        else:
            fields = tuple(name for name in RULES if getattr(before, name) != getattr(after, name))
            if before.active and not after.active:
                found.append(Change(symbol, "halted", fields))
            elif after.active and not before.active:
                found.append(Change(symbol, "resumed", fields))
            elif fields:
                found.append(Change(symbol, "changed", fields))
    return found


# --- what ccxt has to be told -----------------------------------------------------------------


def load_options(exchange_id: str, types: Sequence[str]) -> dict[str, object]:
    """Options with which ccxt asks only for the markets that are wanted, and for whole tickers."""
    kinds = (["spot"] if "spot" in types else []) + (
        ["linear", "inverse"] if {"swap", "future"} & set(types) else []
    )
    if exchange_id.startswith("binance"):
        # Without a name ccxt takes the small ticker, which has no bid and ask.
        named: dict[str, object] = {"watchTickers": {"name": "ticker"}}
        return named | ({"fetchMarkets": {"types": kinds}} if exchange_id == "binance" else {})
    if kin(exchange_id) == "bybit":
        return {"fetchMarkets": {"types": kinds}}
    if kin(exchange_id) == "okx":
        return {"fetchMarkets": {"types": [kind for kind in types if kind in KINDS]}}
    return {}


def trade_params(exchange_id: str, market: Market) -> Mapping[str, str]:
    """Parameters with which REST numbers trades as the stream does.

    Binance's streams tell single trades, while ccxt asks for merged ones unless told otherwise.
    """
    if not exchange_id.startswith("binance"):
        return {}
    if not market.contract:
        return {"fetchTradesMethod": "publicGetTrades"}
    kind = "dapi" if market.inverse else "fapi"
    return {"fetchTradesMethod": f"{kind}PublicGetTrades"}
