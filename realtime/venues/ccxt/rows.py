"""ccxt's unified rows of public data as events, with the venue's own digits.

Rules of this file:
1 A number is taken from the venue's own string where the row has it (`info`), else it is the shortest decimal of
  ccxt's float (M4). Which field of `info` holds it is learnt from the values, and proven anew at every row.
2 A row without its shape is no information (S1): it gives None or `Shapeless`, never zeros and never "nothing".
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, Final

from realtime.model.market import MS, Bar, BookSnapshot, Daily, Level, Ticker, Trade


PLAIN: Final = re.compile(r"(0|[1-9]\d*)(\.\d+)?")
"""A number as it goes on the wire."""
EARLIEST: Final = 1_000_000_000_000
"""Stamps before September 2001 [ms] are seconds, or mistakes."""


class Shapeless(ValueError):
    """An answer that is not what was asked for: HTML, an empty object, a list where a row was expected."""


def text(number: float | str | Decimal) -> str:
    """Write a number without an exponent, with the digits it has."""
    if isinstance(number, str) and PLAIN.fullmatch(number):
        return number
    short = number if isinstance(number, str) else repr(number)
    if isinstance(number, Decimal):
        return format(number, "f")
    if "e" not in short and "E" not in short and short[0] != "." and PLAIN.fullmatch(short):
        return short.removesuffix(".0")
    return format(Decimal(short), "f")


class Digits:
    """Where the strings behind the numbers of a kind of row stand.

    One per kind of row and venue: it remembers the path that gave each field last.
    """

    __slots__ = ("_paths",)

    def __init__(self) -> None:
        self._paths: dict[str, tuple[str | int, ...]] = {}

    def text(self, row: Mapping[str, Any], field: str) -> str | None:
        """Give a field's number as a string; None where the row has none.

        Args:
            row: A unified row with its `info`.
            field: Name in the row.
        """
        number = row.get(field)
        if not isinstance(number, float | int) or isinstance(number, bool):
            return None
        if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
            return None
        info = row.get("info")
        path = self._paths.get(field)
        found = None if path is None else _at(info, path)
        if found is None or not _is(found, number):
            for path, string in _strings(info, ()):
                if _is(string, number):
                    self._paths[field] = path
                    return text(string)
            return text(number)
        return text(found)


def _at(info: Any, path: tuple[str | int, ...]) -> str | None:
    for step in path:
        try:
            if not isinstance(info, list):
                info = info[step] if isinstance(info, Mapping) else None
            else:
                info = info[step] if isinstance(step, int) else None
        except LookupError:
            return None
    return info if isinstance(info, str) else None


def _is(string: str, number: float) -> bool:
    try:
        return float(string) == number
    except ValueError:
        return False


def _strings(info: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(info, str):
        yield path, info
        return
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(info, Mapping):
        inner = info.items()
    elif isinstance(info, list):
        inner = enumerate(info)
    if len(path) < 3:
        for step, value in inner:
            yield from _strings(value, (*path, step))


def stamp(row: Mapping[str, Any], recv_ts: int) -> int:
    """Give the venue's time of a row [ns], or that of its receipt where the row has none."""
    ms = row.get("timestamp")
    if isinstance(ms, int | float) and ms >= EARLIEST:
        return int(ms) * MS
    return recv_ts


def ticker(
    row: Any, symbol: str, recv_ts: int, digits: Digits, *, source: str = "ws"
) -> Ticker | None:
    """Make a ticker; None for a row that tells no price at all (S1).

    Args:
        row: Unified.
        symbol: Expected.
        recv_ts: Time of receipt [ns].
        digits: Of this venue's tickers.
        source: `ws`, `poll` or `fold`.
    """
    if not isinstance(row, Mapping) or not isinstance(row.get("info"), Mapping | list):
        return None

    def of(field: str) -> str | None:
        return digits.text(row, field)

    bid, ask, last = positive(of("bid")), positive(of("ask")), positive(of("last"))
    if bid is None and ask is None and last is None:
        return None
    return Ticker(
        symbol=symbol,
        bid=bid,
        bid_amount=None if bid is None else of("bidVolume"),
        ask=ask,
        ask_amount=None if ask is None else of("askVolume"),
        ts=stamp(row, recv_ts),
        recv_ts=recv_ts,
        daily=Daily(
            open=of("open"),
            high=of("high"),
            low=of("low"),
            last=last,
            volume=of("baseVolume"),
            quote_volume=of("quoteVolume"),
            vwap=of("vwap"),
        ),
        mark=positive(of("markPrice")),
        index=positive(of("indexPrice")),
        source=source,
    )


def positive(string: str | None) -> str | None:
    """Take a price or an amount; zero is none (M8)."""
    return string if string is not None and string.strip("0.") else None


def trade(row: Any, recv_ts: int, digits: Digits) -> Trade | None:
    """Make a trade; None for a row without a price, an amount, a side or an id.

    A venue that numbers no trades has them named by time, price and amount.
    """
    if not isinstance(row, Mapping):
        return None
    price, amount = positive(digits.text(row, "price")), positive(digits.text(row, "amount"))
    symbol, side = row.get("symbol"), row.get("side")
    if price is None or amount is None or not isinstance(symbol, str):
        return None
    if side not in {"buy", "sell"}:
        return None
    ts = stamp(row, recv_ts)
    number = row.get("id")
    name = str(number) if number is not None else f"{ts // MS}-{price}-{amount}-{side[0]}"
    return Trade(name, symbol, side, price, amount, ts, recv_ts)


def bar(row: Any) -> Bar | None:
    """Make a bar of `[ms, open, high, low, close, volume]`; None for one that is incomplete or impossible."""
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) < 6:
        return None
    numbers = row[:6]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
        return None
    ms, open_, high, low, close, volume = numbers
    if not (ms >= EARLIEST and 0 < low <= min(open_, close) and max(open_, close) <= high):
        return None
    if not 0 <= volume < float("inf") or not high < float("inf"):
        return None
    return Bar(int(ms) * MS, text(open_), text(high), text(low), text(close), text(volume))


def bars(answer: Any) -> list[Bar]:
    """Make the bars of an answer, oldest first, each once.

    Raises:
        Shapeless: It is no list, or has rows but no bar among them.
    """
    if not isinstance(answer, list):
        raise Shapeless("the answer is not a list of bars")
    made = [found for row in answer if (found := bar(row)) is not None]
    if answer and not made:
        raise Shapeless("the answer has no bar in it")
    return sorted({one.ts: one for one in made}.values(), key=lambda one: one.ts)


def trades(answer: Any, recv_ts: int, digits: Digits) -> list[Trade]:
    """Make the trades of an answer, oldest first.

    Raises:
        Shapeless: It is no list, or has rows but no trade among them.
    """
    if not isinstance(answer, list):
        raise Shapeless("the answer is not a list of trades")
    made = [found for row in answer if (found := trade(row, recv_ts, digits)) is not None]
    if answer and not made:
        raise Shapeless("the answer has no trade in it")
    return sorted(
        made, key=lambda one: one.ts
    )  # stable: within a millisecond as the venue has them


def rates(answer: Any) -> dict[int, str]:
    """Make the funding rates of an answer, by their time [ns].

    Raises:
        Shapeless: It is no list, or has rows but no rate among them.
    """
    if not isinstance(answer, list):
        raise Shapeless("the answer is not a list of funding rates")
    made: dict[int, str] = {}
    for row in answer:
        if isinstance(row, Mapping):
            rate, ts = row.get("fundingRate"), row.get("timestamp")
            if isinstance(rate, float | int) and isinstance(ts, float | int) and isfinite(rate):
                made[int(ts) * MS] = text(rate)
    if answer and not made:
        raise Shapeless("the answer has no funding rate in it")
    return made


Side = dict[float, float | Decimal]
"""Price to amount, best first."""


def side(rows: Sequence[Any], depth: int) -> Side:
    """Slice one side of ccxt's order book; orders at one price are one level.

    Args:
        rows: `[price, amount, …]`, best first.
        depth: At most this many rows are looked at.
    """
    found: Side = {}
    for row in rows[:depth]:
        price, amount = row[0], row[1]
        if not price or not amount:
            continue
        if price in found:
            found[price] = Decimal(text(found[price])) + Decimal(repr(amount))
        else:
            found[price] = amount
    return found


def crossed(bids: Side, asks: Side) -> bool:
    """Whether the best bid is at or above the best ask."""
    return bool(bids and asks) and next(iter(bids)) >= next(iter(asks))


def changed(old: Side, new: Side) -> tuple[Level, ...]:
    """Give the levels that turn one slice into another; amount zero deletes."""
    levels = [
        (text(price), text(amount)) for price, amount in new.items() if old.get(price) != amount
    ]
    levels += [(text(price), "0") for price in old if price not in new]
    return tuple(levels)


def levels(of: Side) -> tuple[Level, ...]:
    """Write a slice as levels."""
    return tuple([(text(price), text(amount)) for price, amount in of.items()])


def sides(answer: Any, depth: int) -> tuple[Side, Side]:
    """Take both sides out of a REST order book.

    Raises:
        Shapeless: It is no order book, or one without any level: an empty answer proves nothing.
    """
    if not isinstance(answer, Mapping):
        raise Shapeless("the answer is not an order book")
    bids, asks = answer.get("bids"), answer.get("asks")
    if not isinstance(bids, list) or not isinstance(asks, list):
        raise Shapeless("the answer has no bids and asks")
    found = side(bids, depth), side(asks, depth)
    if not found[0] and not found[1]:
        raise Shapeless("the order book is empty")
    return found


def snapshot(
    symbol: str, bids: Side, asks: Side, ts: int, recv_ts: int, *, repaired: bool
) -> BookSnapshot:
    """Make a whole book of two slices."""
    return BookSnapshot(
        symbol=symbol,
        bids=levels(bids),
        asks=levels(asks),
        ts=ts,
        recv_ts=recv_ts,
        repaired=repaired,
    )


def number(value: Any) -> Decimal | None:
    """Take a number of ccxt's tables exactly; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() else None
