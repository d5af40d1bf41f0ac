"""Kraken's words for things: pairs and assets, numbers, ids, signatures, checksums, rows of REST and socket.

Rules of this file:
1 Pure. A number is the exact text that Kraken sends: fixed decimals of its pair or asset, never a float.
2 Fees are in the quote currency on both sides of a trade, as they are there.
"""

import hashlib
import hmac
import zlib
from base64 import b32encode, b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson

from realtime.engine.matching import Working
from realtime.model.events import Filled
from realtime.model.market import ZERO, Level, Market
from realtime.model.orders import OrderType, Side, Status, TimeInForce


Row = dict[str, Any]

LEGACY = {
    "BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "USD": "ZUSD", "EUR": "ZEUR",
}  # fmt: skip
"""Assets of the first years, whose ids have a class letter."""
ASSETS = {**LEGACY, "DOGE": "XXDG"}
ALTNAMES = {"BTC": "XBT", "DOGE": "XDG"}
"""Where the short name is not the usual one."""
LOT_DECIMALS = 8
COST_DECIMALS = 8

TYPES: dict[str, OrderType] = {
    "market": OrderType.MARKET,
    "limit": OrderType.LIMIT,
    "stop-loss": OrderType.STOP,
    "stop-loss-limit": OrderType.STOP_LIMIT,
    "take-profit": OrderType.TAKE_PROFIT,
    "take-profit-limit": OrderType.TAKE_PROFIT_LIMIT,
    "trailing-stop": OrderType.TRAILING_STOP,
}
WORDS = {kind: word for word, kind in TYPES.items()}

REFUSALS: dict[str, str] = {
    "symbol": "EQuery:Unknown asset pair",
    "insufficient_funds": "EOrder:Insufficient funds",
    "min_amount": "EOrder:Order minimum not met",
    "max_amount": "EOrder:Invalid order:volume",
    "max_market_amount": "EOrder:Invalid order:volume",
    "min_cost": "EOrder:Cost minimum not met",
    "lot_size": "EGeneral:Invalid arguments:volume",
    "tick_size": "EOrder:Invalid price:tick size check failed",
    "price_band": "EOrder:Invalid price",
    "price": "EGeneral:Invalid arguments:price",
    "post_only": "EOrder:Post only order",
    "reduce_only": "EOrder:Reduce only:No position exists",
    "good_till_ts": "EGeneral:Invalid arguments:expiretm",
    "market_inactive": "EService:Market in cancel_only mode",
    "stale": "EService:Unavailable",
    "not_found": "EOrder:Unknown order",
    "filled": "EOrder:Invalid order:volume is below the executed volume",
    "pending": "EOrder:Cancel pending",
    "stop_price": "EGeneral:Invalid arguments:trigger_price",
}
"""What the matching refuses, in Kraken's words."""

REASONS = {
    "immediate_or_cancel": "Immediate or cancel order",
    "fill_or_kill": "Fill or kill order",
    "no_liquidity": "Insufficient market liquidity",
    "good_till_date": "Order expired",
    "post_only": "Post only order",
    "self_trade": "Self trade prevention",
    "insufficient_funds": "Insufficient funds",
}


class Refusal(Exception):
    """An entry of an error array."""


# --- numbers, times, ids --------------------------------------------------------------------------


def fixed(value: Decimal | str | int, decimals: int) -> str:
    """A number with so many decimals."""
    return f"{Decimal(value):.{decimals}f}"


def number(value: Decimal | str | int, decimals: int | None = None) -> orjson.Fragment:
    """A JSON number with these exact digits, which a float could not carry."""
    return orjson.Fragment(
        format(Decimal(value), "f") if decimals is None else fixed(value, decimals)
    )


def seconds(ts: int) -> orjson.Fragment:
    """A REST time: seconds with a fraction, from [ns]."""
    return orjson.Fragment(f"{ts // 1_000_000_000}.{ts // 1_000 % 1_000_000:06d}")


def iso(ts: int) -> str:
    """A socket time, from [ns]."""
    moment = datetime.fromtimestamp(ts // 1_000_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ts // 1_000 % 1_000_000:06d}Z"


def from_iso(text: str) -> int:
    """The time [ns] of an RFC 3339 text."""
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000) * 1_000


def token(letter: str, *names: str) -> str:
    """An id of Kraken's looks, the same for the same names: OABCDE-FGHIJ-KLMNOP."""
    digits = b32encode(hashlib.sha256("\n".join(names).encode()).digest()).decode()
    return f"{letter}{digits[:5]}-{digits[5:10]}-{digits[10:16]}"


def sign(secret: str, path: str, nonce: str, body: bytes) -> str:
    """The header `API-Sign`."""
    inner = hashlib.sha256(nonce.encode() + body).digest()
    mac = hmac.new(b64decode(secret), path.encode() + inner, hashlib.sha512)
    return b64encode(mac.digest()).decode()


def checksum(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """CRC-32 of the ten best levels of each side, from the texts as they were sent."""
    digits = (
        text.replace(".", "").lstrip("0")
        for side in (asks, bids)
        for level in list(side)[:10]
        for text in level
    )
    return zlib.crc32("".join(digits).encode())


# --- pairs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """One market in Kraken's words.

    Attributes:
        id: Key of REST answers, e.g. XXBTZUSD.
        altname: Short name, e.g. XBTUSD; `descr.pair` of orders.
        wsname: Name on the old socket, e.g. XBT/USD.
        name: Name on the new socket, e.g. BTC/USD: the unified symbol.
    """

    market: Market
    id: str
    altname: str
    wsname: str
    name: str
    price_decimals: int

    def price(self, value: Decimal | str | None) -> str:
        """A price with the pair's decimals; nothing is zero."""
        return fixed(value or ZERO, self.price_decimals)

    def row(self, maker: Decimal, taker: Decimal) -> Row:
        """An entry of `AssetPairs`; rates 0..1."""
        market = self.market
        return {
            "altname": self.altname,
            "wsname": self.wsname,
            "aclass_base": "currency",
            "base": asset(market.base),
            "aclass_quote": "currency",
            "quote": asset(market.quote),
            "lot": "unit",
            "cost_decimals": COST_DECIMALS,
            "pair_decimals": self.price_decimals,
            "lot_decimals": _decimals(market.amount_step),
            "lot_multiplier": 1,
            "leverage_buy": [],
            "leverage_sell": [],
            "fees": [[0, number(taker * 100)]],
            "fees_maker": [[0, number(maker * 100)]],
            "fee_volume_currency": "ZUSD",
            "margin_call": 80,
            "margin_stop": 40,
            "ordermin": format(market.min_amount or ZERO, "f"),
            "costmin": format(market.min_cost or ZERO, "f"),
            "tick_size": format(market.price_tick, "f"),
            "status": "online" if market.active else "cancel_only",
        }


def asset(currency: str) -> str:
    """Kraken's id of a currency."""
    return ASSETS.get(currency, currency)


def altname(currency: str) -> str:
    """Kraken's short name of a currency."""
    return ALTNAMES.get(currency, currency)


def pair_of(market: Market) -> Pair:
    """A market in Kraken's words: two old assets have the long id, all others the short name."""
    base, quote = altname(market.base), altname(market.quote)
    old = market.base in LEGACY and market.quote in LEGACY
    return Pair(
        market=market,
        id=LEGACY[market.base] + LEGACY[market.quote] if old else base + quote,
        altname=base + quote,
        wsname=f"{base}/{quote}",
        name=market.symbol,
        price_decimals=_decimals(market.price_tick),
    )


def _decimals(grid: Decimal) -> int:
    exponent = grid.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return max(-exponent, 0)


def asset_row(currency: str) -> Row:
    """An entry of `Assets`."""
    return {
        "aclass": "currency",
        "altname": altname(currency),
        "decimals": 4 if currency in {"USD", "EUR"} else 10,
        "display_decimals": 2 if currency in {"USD", "EUR"} else 5,
        "status": "enabled",
    }


def crossing(pairs: Iterable[Pair]) -> dict[str, Pair]:
    """Pairs by every name that requests may use."""
    return {
        name: pair for pair in pairs for name in (pair.id, pair.altname, pair.wsname, pair.name)
    }


# --- orders ---------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Ticket:
    """An order with what Kraken keeps about it and the matching does not.

    Attributes:
        work: As the matching has it, always current.
        told: Whether the private stream has spoken of it, and with which amount and prices.
        fee: Charged so far [quote].
        viqc: The amount was given in quote currency.
    """

    txid: str
    work: Working
    pair: Pair
    userref: int | None = None
    cl_ord_id: str | None = None
    word: str
    expire_ts: int | None = None
    fills: list["Execution"]
    fee: Decimal = ZERO
    viqc: Decimal | None = None
    told: tuple[object, ...] | None = None
    ended_told: bool = False
    closed_ts: int = 0

    @property
    def volume(self) -> Decimal:
        """As the client gave it: base, or quote with `viqc`."""
        return self.work.amount if self.viqc is None else self.viqc

    @property
    def average(self) -> Decimal:
        """Of its fills, zero without one."""
        return self.work.cost / self.work.filled if self.work.filled else ZERO

    @property
    def terms(self) -> tuple[object, ...]:
        """What an amend changes."""
        return self.work.amount, self.work.price, self.work.stop_price


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A fill with Kraken's ids and fee [quote]."""

    exec_id: str
    trade_id: int
    fill: Filled
    fee: Decimal
    ticket: Ticket

    @property
    def cost(self) -> Decimal:
        """[quote]"""
        return self.fill.price * self.fill.amount


def oflags(ticket: Ticket) -> str:
    """An order's flags."""
    flags = ["fciq"]
    if ticket.work.post_only:
        flags.append("post")
    if ticket.viqc is not None:
        flags.append("viqc")
    return ",".join(flags)


def prices(ticket: Ticket) -> tuple[str, str]:
    """`price` and `price2` of an order's description."""
    work, pair = ticket.work, ticket.pair
    if work.trailing_rate is not None:
        return f"+{fixed(work.trailing_rate * 100, 4)}%", "0"
    if work.trailing_amount is not None:
        return f"+{pair.price(work.trailing_amount)}", "0"
    if work.type.triggered:
        return pair.price(work.stop_price), pair.price(work.price) if work.price else "0"
    return pair.price(work.price) if work.price else "0", "0"


def sentence(ticket: Ticket) -> str:
    """An order in words, which ccxt takes apart."""
    price, price2 = prices(ticket)
    word = (
        ticket.word.removesuffix("-limit").replace("-", " ")
        if ticket.work.type.triggered
        else ticket.word
    )
    text = f"{ticket.work.side} {fixed(ticket.volume, LOT_DECIMALS)} {ticket.pair.altname} @ {word}"
    if price != "0":
        text += f" {price}"
    return text if price2 == "0" else f"{text} -> limit {price2}"


def status_word(ticket: Ticket) -> str:
    """An order's state on REST."""
    match ticket.work.status:
        case Status.OPEN:
            return "open"
        case Status.FILLED:
            return "closed"
        case Status.EXPIRED:
            return "expired"
        case _:
            return "canceled"


def order_row(ticket: Ticket, *, trades: bool = False) -> Row:
    """An order as `OpenOrders`, `ClosedOrders` and `QueryOrders` give it."""
    work, pair = ticket.work, ticket.pair
    price, price2 = prices(ticket)
    row: Row = {
        "refid": None,
        "userref": ticket.userref,
        "status": status_word(ticket),
        "opentm": seconds(work.created_ts),
        "starttm": 0,
        "expiretm": 0 if ticket.expire_ts is None else ticket.expire_ts // 1_000_000_000,
        "descr": {
            "pair": pair.altname,
            "type": work.side.value,
            "ordertype": ticket.word,
            "price": price,
            "price2": price2,
            "leverage": "none",
            "order": sentence(ticket),
            "close": "",
        },
        "vol": fixed(ticket.volume, LOT_DECIMALS),
        "vol_exec": fixed(work.filled, LOT_DECIMALS),
        "cost": fixed(work.cost, COST_DECIMALS),
        "fee": fixed(ticket.fee, COST_DECIMALS),
        "price": fixed(ticket.average, COST_DECIMALS) if work.filled else pair.price(ZERO),
        "stopprice": pair.price(work.stop_price),
        "limitprice": pair.price(work.price if work.type.triggered else None),
        "misc": "",
        "oflags": oflags(ticket),
    }
    if ticket.cl_ord_id is not None:
        row["cl_ord_id"] = ticket.cl_ord_id
    if work.type.triggered:
        row["trigger"] = "last"
    if work.status.ended:
        row["reason"] = reason(ticket)
        row["closetm"] = seconds(ticket.closed_ts or work.updated_ts)
    if trades:
        row["trades"] = [item.exec_id for item in ticket.fills]
    return row


def reason(ticket: Ticket) -> str | None:
    """Why an order ended; nothing for a filled one."""
    if ticket.work.status is Status.FILLED:
        return None
    return REASONS.get(ticket.work.reason or "", "User requested")


def fill_row(item: Execution) -> Row:
    """A fill as `TradesHistory` and `QueryTrades` give it."""
    fill, pair = item.fill, item.ticket.pair
    return {
        "ordertxid": item.ticket.txid,
        "postxid": token("T", "position", item.ticket.txid),
        "pair": pair.id,
        "time": seconds(fill.ts),
        "type": fill.side.value,
        "ordertype": item.ticket.word,
        "price": pair.price(fill.price),
        "cost": fixed(item.cost, COST_DECIMALS),
        "fee": fixed(item.fee, COST_DECIMALS),
        "vol": fixed(fill.amount, LOT_DECIMALS),
        "margin": fixed(ZERO, COST_DECIMALS),
        "leverage": "0",
        "misc": "",
        "trade_id": item.trade_id,
        "maker": fill.maker,
    }


# --- the private stream ---------------------------------------------------------------------------


def named(ticket: Ticket, row: Row) -> Row:
    """A row of `executions` with the ids that every one has."""
    row["order_id"] = ticket.txid
    row["order_userref"] = ticket.userref or 0
    if ticket.cl_ord_id is not None:
        row["cl_ord_id"] = ticket.cl_ord_id
    return row


def terms_row(ticket: Ticket) -> Row:
    """What an order is: the fields of `pending_new`, of `amended` and of the snapshot."""
    work, pair = ticket.work, ticket.pair
    row: Row = {
        "symbol": pair.name,
        "side": work.side.value,
        "order_type": ticket.word,
        "order_qty": number(work.amount, LOT_DECIMALS),
        "time_in_force": work.time_in_force.value,
        "post_only": work.post_only,
        "reduce_only": work.reduce_only,
        "cum_qty": number(work.filled, LOT_DECIMALS),
        "cum_cost": number(work.cost, COST_DECIMALS),
        "avg_price": number(ticket.average, COST_DECIMALS),
        "fee_usd_equiv": number(ticket.fee, COST_DECIMALS),
        "fee_ccy_pref": "fciq",
        "margin": False,
    }
    if ticket.viqc is not None:
        row["cash_order_qty"] = number(ticket.viqc, COST_DECIMALS)
    if work.price is not None:
        row["limit_price"] = number(work.price, pair.price_decimals)
        row["limit_price_type"] = "static"
    if ticket.expire_ts is not None:
        row["expire_time"] = iso(ticket.expire_ts)
    if work.type.triggered and work.stop_price is not None:
        row["stop_price"] = number(work.stop_price, pair.price_decimals)
        row["triggers"] = {
            "reference": "last",
            "price": number(work.stop_price, pair.price_decimals),
            "price_type": "static",
            "status": "triggered" if work.live else "untriggered",
        }
    return row


def live_word(ticket: Ticket) -> str:
    """`order_status` of a working order."""
    return "partially_filled" if ticket.work.filled else "new"


def snapshot_row(ticket: Ticket) -> Row:
    """An open order in the snapshot of `executions`."""
    work = ticket.work
    row = {
        **terms_row(ticket),
        "exec_type": "new",
        "order_status": live_word(ticket),
        "timestamp": iso(work.updated_ts),
    }
    return named(ticket, row)


def pending_row(ticket: Ticket) -> Row:
    """The first word about an order: everything it is, nothing filled."""
    zero = number(ZERO, COST_DECIMALS)
    row = {
        **terms_row(ticket),
        "cum_qty": zero,
        "cum_cost": zero,
        "avg_price": zero,
        "fee_usd_equiv": zero,
        "exec_type": "pending_new",
        "order_status": "pending_new",
        "timestamp": iso(ticket.work.created_ts),
    }
    return named(ticket, row)


def sparse_row(ticket: Ticket, exec_type: str, order_status: str, ts: int) -> Row:
    """A change of state, which names the order and little else: no symbol, no amount asked."""
    work = ticket.work
    row: Row = {"timestamp": iso(ts), "order_status": order_status, "exec_type": exec_type}
    if exec_type != "new":
        row["cum_qty"] = number(work.filled, LOT_DECIMALS)
        row["cum_cost"] = number(work.cost, COST_DECIMALS)
        row["fee_usd_equiv"] = number(ticket.fee, COST_DECIMALS)
        row["avg_price"] = number(ticket.average, COST_DECIMALS)
    why = reason(ticket) if exec_type in {"canceled", "expired"} else None
    if why is not None:
        row["reason"] = row["cancel_reason"] = why
    return named(ticket, row)


def amended_row(ticket: Ticket, ts: int) -> Row:
    """An order's new terms."""
    row = {
        **terms_row(ticket),
        "amended": True,
        "exec_type": "amended",
        "order_status": live_word(ticket),
        "timestamp": iso(ts),
    }
    return named(ticket, row)


def trade_row(item: Execution, *, cum_qty: Decimal, cum_cost: Decimal) -> Row:
    """A fill on the private stream, with the order's sums right after it."""
    fill, ticket = item.fill, item.ticket
    pair, work = ticket.pair, ticket.work
    full = cum_qty == work.amount and work.status is Status.FILLED
    row: Row = {
        "exec_id": item.exec_id,
        "exec_type": "trade",
        "trade_id": item.trade_id,
        "symbol": pair.name,
        "side": fill.side.value,
        "last_qty": number(fill.amount, LOT_DECIMALS),
        "last_price": number(fill.price, pair.price_decimals),
        "liquidity_ind": "m" if fill.maker else "t",
        "cost": number(item.cost, COST_DECIMALS),
        "order_status": "filled" if full else "partially_filled",
        "order_type": ticket.word,
        "cum_qty": number(cum_qty, LOT_DECIMALS),
        "cum_cost": number(cum_cost, COST_DECIMALS),
        "fee_usd_equiv": number(item.fee, COST_DECIMALS),
        "fees": [{"asset": pair.market.quote, "qty": number(item.fee, COST_DECIMALS)}],
        "timestamp": iso(fill.ts),
    }
    return named(ticket, row)


def balance_row(currency: str, total: Decimal) -> Row:
    """A currency in the snapshot of `balances`."""
    amount = number(total, 10)
    return {
        "asset": currency,
        "asset_class": "currency",
        "balance": amount,
        "wallets": [{"type": "spot", "id": "main", "balance": amount}],
    }


def ledger_row(currency: str, total: Decimal, change: Decimal, ledger: int, ts: int) -> Row:
    """A change of a balance."""
    return {
        "ledger_id": token("L", str(ledger)),
        "ref_id": token("T", "ledger", str(ledger)),
        "timestamp": iso(ts),
        "type": "trade",
        "asset": currency,
        "asset_class": "currency",
        "category": "trade",
        "wallet_type": "spot",
        "wallet_id": "main",
        "amount": number(change, 10),
        "fee": number(ZERO, 10),
        "balance": number(total, 10),
    }


# --- requests -------------------------------------------------------------------------------------


def decimal_of(values: Mapping[str, Any], name: str) -> Decimal | None:
    """A number of a request; an unreadable one is refused."""
    raw = values.get(name)
    if raw is None or raw == "":
        return None
    try:
        value = Decimal(str(raw))
    except ArithmeticError:
        raise Refusal(f"EGeneral:Invalid arguments:{name}") from None
    if not value.is_finite() or value < 0:
        raise Refusal(f"EGeneral:Invalid arguments:{name}")
    return value


def check_cl_ord_id(text: str) -> str:
    """A client id: free text of 18 lower-case letters and digits at most, a UUID, or 32 hex digits."""
    bare = text.replace("-", "").lower()
    free = len(text) <= 18 and text.isascii() and text.isalnum() and text == text.lower()
    hexadecimal = len(bare) == 32 and all(c in "0123456789abcdef" for c in bare)
    if not (free or (hexadecimal and len(text) in {32, 36})):
        raise Refusal("EGeneral:Invalid arguments:cl_ord_id")
    return text


def time_in_force(raw: str) -> TimeInForce:
    """`timeinforce` of a request."""
    try:
        return TimeInForce(raw.upper() or "GTC")
    except ValueError:
        raise Refusal("EGeneral:Invalid arguments:timeinforce") from None


def levels_rows(levels: Sequence[Level], pair: Pair) -> list[Row]:
    """Levels of a socket book: JSON numbers with all their digits."""
    return [
        {
            "price": number(price, pair.price_decimals),
            "qty": number(amount, LOT_DECIMALS),
        }
        for price, amount in levels
    ]


def texts(levels: Iterable[Level], pair: Pair) -> list[Level]:
    """Levels with the digits that are sent."""
    return [(pair.price(price), fixed(amount, LOT_DECIMALS)) for price, amount in levels]


def side_of(raw: object) -> Side:
    """`type` or `side` of a request."""
    if raw not in {"buy", "sell"}:
        raise Refusal("EGeneral:Invalid arguments:type")
    return Side(str(raw))
