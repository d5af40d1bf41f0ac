"""Bitfinex's words for things: symbols, numbers, signatures, checksums, array rows.

Rules of this file:
1 Pure. Numbers are JSON numbers, printed as JavaScript prints them: no trailing zeros.
2 A row is an array, and a place means a field; a sell has a negative amount.
"""

import hashlib
import hmac
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from realtime.engine.matching import Working
from realtime.model.account import Position
from realtime.model.events import Filled
from realtime.model.market import MS, ZERO, Level, Market, Ticker, Trade
from realtime.model.orders import OrderType, Side, Status, TimeInForce


Array = list[Any]

CURRENCIES = {"USDT": "UST", "USDC": "UDC", "DOGE": "DOGE"}
"""Where Bitfinex has another word for a currency."""
POST_ONLY, REDUCE_ONLY = 4096, 1024
KNOWN_FLAGS = POST_ONLY | REDUCE_ONLY
MAX_CID = 2**45
DIGITS = 5
"""Significant digits of a price."""

TYPES: dict[str, tuple[OrderType, TimeInForce]] = {
    "LIMIT": (OrderType.LIMIT, TimeInForce.GTC),
    "MARKET": (OrderType.MARKET, TimeInForce.GTC),
    "STOP": (OrderType.STOP, TimeInForce.GTC),
    "STOP LIMIT": (OrderType.STOP_LIMIT, TimeInForce.GTC),
    "TRAILING STOP": (OrderType.TRAILING_STOP, TimeInForce.GTC),
    "FOK": (OrderType.LIMIT, TimeInForce.FOK),
    "IOC": (OrderType.LIMIT, TimeInForce.IOC),
}


class Refusal(Exception):
    """An error with Bitfinex's number."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


# --- numbers, signatures, checksums -----------------------------------------------------------------


def plain(value: Decimal | str | int) -> str:
    """A number without trailing zeros."""
    text = format(Decimal(value), "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def number(value: Decimal | str | int) -> orjson.Fragment:
    """A JSON number with these exact digits."""
    return orjson.Fragment(plain(value))


def signed(side: str, amount: Decimal | str) -> Decimal:
    """An amount, below zero for a sell."""
    value = Decimal(amount)
    return value if side == "buy" else ZERO - value


def cut(price: Decimal) -> Decimal:
    """A price cut to its five significant digits, at most eight of them behind the point."""
    if not price:
        return price
    places = min(DIGITS - 1 - price.adjusted(), 8)
    step = Decimal(1).scaleb(-places)
    return price // step * step


def sign(secret: str, text: str) -> str:
    """The header `bfx-signature`, and `authSig` of the socket."""
    return hmac.new(secret.encode(), text.encode(), hashlib.sha384).hexdigest()


def crc(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """Signed CRC-32 of 25 levels a side: price (or order id) and signed amount, bids and asks by turns."""
    parts: list[str] = []
    for place in range(25):
        if place < len(bids):
            parts += bids[place]
        if place < len(asks):
            parts += (asks[place][0], f"-{asks[place][1]}")
    value = zlib.crc32(":".join(parts).encode())
    return value - 2**32 if value >= 2**31 else value


# --- symbols --------------------------------------------------------------------------------------


def currency(code: str, *, derivative: bool = False) -> str:
    """Bitfinex's word for a currency; on the derivatives' side it ends in F0."""
    word = CURRENCIES.get(code, code)
    return f"{word}F0" if derivative else word


def pair_id(market: Market) -> str:
    """A pair without its letter: BTCUSD, BTCF0:USTF0, or with a colon where a word is long."""
    base = currency(market.base, derivative=market.contract)
    quote = currency(market.quote, derivative=market.contract)
    return base + quote if len(base) == len(quote) == 3 else f"{base}:{quote}"


def symbol_id(market: Market) -> str:
    """A pair's id in the API."""
    return f"t{pair_id(market)}"


def pair_info(market: Market) -> Array:
    """A row of `pub:info:pair`."""
    least = plain(market.min_amount or ZERO)
    most = plain(market.max_amount or Decimal(10_000))
    margins: Array = ["0.01", "0.005"] if market.contract else [None, None]
    return [
        pair_id(market), [None, None, None, least, most, None, None, None, *margins, None, None],
    ]  # fmt: skip


# --- public rows ------------------------------------------------------------------------------------


def ticker_row(ticker: Ticker) -> Array:
    """A ticker: bid, size, ask, size, change, relative change, last, volume, high, low."""
    daily = ticker.daily
    last, opened = Decimal(daily.last or 0), Decimal(daily.open or 0)
    change = last - opened
    relative = (change / opened).quantize(Decimal("0.00000001")) if opened else ZERO
    values = (
        ticker.bid, ticker.bid_amount, ticker.ask, ticker.ask_amount, change, relative, last,
        daily.volume, daily.high, daily.low,
    )  # fmt: skip
    return [number(value or ZERO) for value in values]


def trade_row(trade: Trade) -> Array:
    """A public trade: id, time, signed amount, price."""
    return [
        int(trade.id[2:]), trade.ts // MS, number(signed(trade.side, trade.amount)),
        number(trade.price),
    ]  # fmt: skip


def book_row(level: Level, count: int, side: Side) -> Array:
    """A level of a P0 book: price, count, signed amount; without orders the amount tells the side."""
    price, amount = level
    there = signed(side.value, amount) if count else signed(side.value, "1")
    return [number(price), count, number(there)]


def raw_row(order_id: int, price: Decimal, amount: Decimal, side: Side) -> Array:
    """An order of an R0 book: id, price, signed amount; price 0 deletes it."""
    return [order_id, number(price), number(signed(side.value, amount))]


# --- orders -----------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Ticket:
    """An order with what Bitfinex keeps about it and the matching does not.

    Attributes:
        id: Ours.
        work: As the matching has it, always current.
        word: Its type there, e.g. `EXCHANGE LIMIT`.
        told: What the private stream has said last: terms and filled amount.
    """

    id: int
    work: Working
    market: Market
    word: str
    cid: int
    gid: int | None = None
    flags: int = 0
    tif_ms: int | None = None
    told: tuple[object, ...] | None = None

    @property
    def terms(self) -> tuple[object, ...]:
        """What a change of which is told."""
        work = self.work
        return work.amount, work.price, work.stop_price, work.filled, work.status, work.live


def status_text(ticket: Ticket, fills: Sequence[Filled]) -> str:
    """An order's state in words, with what happened to it."""
    work = ticket.work
    done = ", ".join(
        f"{plain(fill.price)}({plain(signed(fill.side.value, fill.amount))})" for fill in fills
    )
    match work.status:
        case Status.FILLED:
            return f"EXECUTED @ {done}"
        case Status.OPEN:
            return f"PARTIALLY FILLED @ {done}" if done else "ACTIVE"
        case _:
            words = {
                "immediate_or_cancel": "IOC CANCELED",
                "fill_or_kill": "FILLORKILL CANCELED",
                "post_only": "POSTONLY CANCELED",
                "insufficient_funds": "INSUFFICIENT BALANCE (G1)",
            }
            word = words.get(work.reason or "", "CANCELED")
            return f"{word} was: PARTIALLY FILLED @ {done}" if done else word


def order_row(ticket: Ticket, fills: Sequence[Filled]) -> Array:
    """An order: 32 places."""
    work = ticket.work
    side = work.side.value
    trigger = work.type.triggered
    waits = trigger and not work.live
    price = work.stop_price if trigger and work.stop_price is not None else work.price
    average = (work.cost / work.filled).quantize(Decimal("1E-10")) if work.filled else ZERO
    meta = {"$F7": 1} if work.post_only else {}
    return [
        ticket.id,
        ticket.gid,
        ticket.cid,
        symbol_id(ticket.market),
        work.created_ts // MS,
        work.updated_ts // MS,
        number(signed(side, work.remaining)),
        number(signed(side, work.amount)),
        ticket.word,
        ticket.word if trigger and not waits else None,
        ticket.tif_ms,
        None,
        ticket.flags,
        status_text(ticket, fills),
        None,
        None,
        number(price or ZERO),
        number(average),
        number(work.trailing_amount or ZERO),
        number(work.price if trigger and work.price is not None else ZERO),
        None,
        None,
        None,
        0,
        0,
        None,
        None,
        None,
        "API>BFX",
        None,
        None,
        meta,
    ]


def submitted_row(ticket: Ticket) -> Array:
    """An order as it was taken in: the answer to its request comes before the matching."""
    row = order_row(ticket, ())
    if ticket.work.status is not Status.OPEN or ticket.work.filled:
        row[6], row[13], row[17] = row[7], "ACTIVE", number(ZERO)
    return row


def fill_row(fill: Filled, ticket: Ticket, *, whole: bool = True) -> Array:
    """A trade of ours; `te` comes first and does not know the fee yet."""
    price = ticket.work.price or fill.price
    row: Array = [
        int(fill.trade_id[2:]),
        symbol_id(ticket.market),
        fill.ts // MS,
        ticket.id,
        number(signed(fill.side.value, fill.amount)),
        number(fill.price),
        ticket.word,
        number(price),
        1 if fill.maker else -1,
        None,
        None,
        ticket.cid,
    ]
    if whole:
        row[9] = number(-fill.fee)
        row[10] = currency(fill.fee_currency, derivative=ticket.market.contract)
    return row


def wallet_row(
    kind: str, code: str, total: Decimal, free: Decimal | None, reason: str | None = None
) -> Array:
    """A wallet: kind, currency, balance, unsettled interest, available, last change, meta."""
    return [
        kind, code, number(total), 0, None if free is None else number(free), reason, None,
    ]  # fmt: skip


def position_row(position: Position, market: Market, ticket_id: int) -> Array:
    """A position in a derivative: 20 places."""
    entry = position.entry_price or ZERO
    liquidation = position.liquidation_price
    return [
        symbol_id(market),
        "ACTIVE" if position.amount else "CLOSED",
        number(position.amount),
        number(entry.quantize(Decimal("1E-8"))),
        0,
        0,
        None,
        None,
        None if liquidation is None else number(liquidation),
        number(position.leverage),
        None,
        ticket_id,
        position.opened_ts // MS,
        position.ts // MS,
        None,
        1,
        None,
        number(position.collateral or ZERO),
        number(position.maintenance_margin or ZERO),
        {"reason": "TRADE"},
    ]


def notification(kind: str, info: object, status: str, text: str, ts: int) -> Array:
    """What is answered to an order's request, and told on the private stream."""
    return [ts // MS, kind, None, None, info, None, status, text]
