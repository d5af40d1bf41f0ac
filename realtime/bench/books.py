"""Order books: native parsers beside ccxt's own handling of the same frames, in the same run, with equal books.

Binance's frames are recorded ones. Kraken's are recorded v1 messages in the words of v2, numbers and checksums
untouched. Bybit's are the changes of the Binance recording in Bybit's words, for want of a recording.

`parse` is from the text of a frame to checked events with the venue's strings; `book` applies them, too. ccxt's
figure always holds its book.
"""

import asyncio
import gc
import gzip
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson

from realtime.bench.fanout import Scale
from realtime.bench.figures import Figure, median
from realtime.bench.replay import PLACES, NoRecordingError
from realtime.engine.orderbook import OrderBook
from realtime.model.market import BookDelta, BookSnapshot, Market
from realtime.venues.ccxt.books import NATIVE, Gap, Native
from realtime.venues.ccxt.kin import kin


SPOT: Final = "binance-spot-btcusdt-20240808.jsonl.gz"
USDM: Final = "binance-usdm-ethusdt-20240808.jsonl.gz"
KRAKEN: Final = "kraken-spot-book-recording.txt.gz"
PEER: Final = "ccxt"
LEAST: Final = 3.0
"""How much faster than ccxt a parser has to be."""

Shown = Mapping[str, tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]]]
"""Bids and asks by symbol, as floats: all that ccxt has kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Frames of one socket.

    Attributes:
        name: For people.
        exchange: ccxt id.
        url: Of the socket.
        markets: All that occur.
        frames: What is measured, in order.
        opening: Frames before them: subscriptions and snapshots.
        rest: REST snapshots before them, by symbol.
        depth: What was subscribed, where the venue says nothing of levels that fall out.
    """

    name: str
    exchange: str
    url: str
    markets: Sequence[Market]
    frames: Sequence[str]
    rest: Mapping[str, str]
    opening: Sequence[str] = ()
    depth: int | None = None


# --- sessions ---------------------------------------------------------------------------------


def found(name: str) -> Path:
    """Find a recording.

    Raises:
        NoRecordingError: With where it was looked for.
    """
    for place in PLACES:
        if (place / name).is_file():
            return place / name
    raise NoRecordingError(f"no {name} in {', '.join(map(str, PLACES))}")


def binance(path: Path, market: Market, count: int | None = None) -> Session:
    """Depth messages of a recording in combined-stream lines, from its snapshot on."""
    snapshot, first = "", 0
    frames: list[str] = []
    with gzip.open(path, "rt") as file:
        for line in file:
            body = line.partition(" ")[2].strip()
            if '"lastUpdateId"' in body:
                snapshot, first = body, orjson.loads(body)["lastUpdateId"]
            elif '"depthUpdate"' in body:
                frames.append(body)
    behind = [frame for frame in frames if orjson.loads(frame)["data"]["u"] > first]
    contract = market.contract
    return Session(
        name="Binance USD-M" if contract else "Binance spot",
        exchange="binanceusdm" if contract else "binance",
        url="wss://fstream.binance.com/public/ws/0"
        if contract
        else "wss://stream.binance.com:9443/ws/0",
        markets=[market],
        frames=behind[:count],
        rest={market.symbol: snapshot},
    )


def bybit(recorded: Session) -> Session:
    """The changes of a Binance session in Bybit's words."""
    (market,) = recorded.markets
    topic = f"orderbook.1000.{market.id}"
    whole = orjson.loads(recorded.rest[market.symbol])
    rows = [("snapshot", whole["bids"], whole["asks"])]
    for frame in recorded.frames:
        data = orjson.loads(frame)["data"]
        rows.append(("delta", data["b"], data["a"]))
    told = [
        orjson.dumps(
            {
                "topic": topic, "type": kind, "ts": 1_700_000_000_000 + number,
                "data": {"s": market.id, "b": bids, "a": asks, "u": number, "seq": number},
                "cts": 1_700_000_000_000 + number,
            }
        ).decode()
        for number, (kind, bids, asks) in enumerate(rows, 1)
    ]  # fmt: skip
    return Session(
        name="Bybit",
        exchange="bybit",
        url="wss://stream.bybit.com/v5/public/spot",
        markets=[market],
        frames=told[1:],
        opening=told[:1],
        rest={},
    )


def kraken(path: Path, count: int | None = None) -> Session:
    """Recorded messages of v1 in the words of v2: the text of every number and every checksum as they came."""
    frames: list[str] = []
    opening: list[str] = []
    names: dict[str, Market] = {}
    with gzip.open(path, "rt") as file:
        for line in islice(file, count):
            body = line.partition(": ")[2]
            if not body.startswith("["):
                continue
            _, *parts, _, name = orjson.loads(body)
            said = {key: value for part in parts for key, value in part.items()}
            names.setdefault(name, spot(name, name))
            (opening if "as" in said or "bs" in said else frames).append(_v2(name, said))
    return Session(
        name="Kraken", exchange="kraken", url="wss://ws.kraken.com/v2",
        markets=list(names.values()), frames=frames, opening=opening, rest={}, depth=1000,
    )  # fmt: skip


def _v2(name: str, said: Mapping[str, Any]) -> str:
    whole = "as" in said or "bs" in said
    sides = [
        ",".join(
            f'{{"price":{row[0]},"qty":{row[1]}}}' for row in said.get(f"{key}s" * whole or key, ())
        )
        for key in "ba"
    ]
    check = f',"checksum":{said["c"]}' if "c" in said else ""
    when = "" if whole else ',"timestamp":"2021-04-17T16:48:53.626511Z"'
    return (
        f'{{"channel":"book","type":"{"snapshot" if whole else "update"}","data":[{{"symbol":"{name}",'
        f'"bids":[{sides[0]}],"asks":[{sides[1]}]{check}{when}}}]}}'
    )


def spot(symbol: str, name: str) -> Market:
    """A spot market of the bench."""
    base, _, quote = symbol.partition("/")
    return Market(
        symbol=symbol, id=name, base=base, quote=quote,
        price_tick=Decimal("0.01"), amount_step=Decimal("0.00001"),
    )  # fmt: skip


def perpetual(symbol: str, name: str) -> Market:
    """A perpetual of the bench."""
    pair, _, settle = symbol.partition(":")
    base, _, quote = pair.partition("/")
    return Market(
        symbol=symbol, id=name, base=base, quote=quote, settle=settle, type="swap",
        price_tick=Decimal("0.01"), amount_step=Decimal("0.001"),
    )  # fmt: skip


# --- contestants ------------------------------------------------------------------------------


def ready(session: Session) -> tuple[Native, dict[str, OrderBook]]:
    """Our parser and books, snapshots taken."""
    native = NATIVE[kin(session.exchange)](session.markets)
    books = {market.symbol: OrderBook(market.symbol) for market in session.markets}
    if session.depth is not None:
        for symbol in books:
            native.feed(
                '{"method":"subscribe","result":{"channel":"book","depth":'
                f'{session.depth},"symbol":"{symbol}"}},"success":true}}',
                0,
            )
    for symbol, text in session.rest.items():
        for event in native.snapshot(symbol, text, 1):
            apply(books, event)
    for frame in session.opening:
        for event in native.feed(frame, 1, session.url):
            apply(books, event)
    return native, books


def apply(books: Mapping[str, OrderBook], event: BookSnapshot | BookDelta | Gap) -> None:
    """Apply one event.

    Raises:
        RuntimeError: It is a gap: a session has none.
    """
    if isinstance(event, BookDelta):
        books[event.symbol].apply_delta(event)
    elif isinstance(event, BookSnapshot):
        books[event.symbol].apply_snapshot(event)
    else:
        raise RuntimeError(  # noqa: TRY004 - not a wrong type, a wrong session
            f"a gap in a session without one: {event}"
        )


def parsed(session: Session) -> float:
    """Seconds of our parser alone."""
    native, _ = ready(session)
    feed, url = native.feed, session.url
    began = time.perf_counter()
    for frame in session.frames:
        feed(frame, 1, url)
    return time.perf_counter() - began


def ours(session: Session) -> tuple[float, Shown]:
    """Seconds of our parser and book, and what is in the books."""
    native, books = ready(session)
    feed, url = native.feed, session.url
    began = time.perf_counter()
    for frame in session.frames:
        for event in feed(frame, 1, url):
            apply(books, event)
    seconds = time.perf_counter() - began
    return seconds, {
        symbol: (
            [(float(price), float(amount)) for price, amount in book.bids],
            [(float(price), float(amount)) for price, amount in book.asks],
        )
        for symbol, book in books.items()
    }


async def theirs(session: Session) -> tuple[float, Shown]:
    """Seconds of ccxt's own client from the text of a frame to its book, and what is in its books."""
    import ccxt.pro  # noqa: PLC0415 - half a second, wanted here only

    exchange = getattr(ccxt.pro, session.exchange)()
    try:
        exchange.set_markets(
            [
                exchange.safe_market_structure(
                    {
                        "id": market.id, "symbol": market.symbol, "base": market.base,
                        "quote": market.quote, "settle": market.settle, "type": market.type,
                        "spot": not market.contract, "swap": market.contract,
                        "contract": market.contract, "linear": market.contract or None,
                        "inverse": False, "active": True, "contractSize": 1.0,
                        "lowercaseId": market.id.lower(),
                    }
                )
                for market in session.markets
            ]
        )  # fmt: skip
        client = exchange.client(session.url)
        for symbol, text in session.rest.items():
            told = orjson.loads(text)
            exchange.orderbooks[symbol] = exchange.order_book({}, 1000)
            whole = exchange.parse_order_book(told, symbol)
            exchange.orderbooks[symbol].reset({**whole, "nonce": told["lastUpdateId"]})
        if session.depth is not None:
            for market in session.markets:
                name = exchange.get_message_hash("orderbook", None, market.symbol)
                client.subscriptions[name] = {"limit": session.depth}
        take = client.handle_text_or_binary_message
        for frame in session.opening:
            take(frame)
        began = time.perf_counter()
        for frame in session.frames:
            take(frame)
        seconds = time.perf_counter() - began
        return seconds, {
            symbol: (
                [(price, amount) for price, amount, *_ in book["bids"]],
                [(price, amount) for price, amount, *_ in book["asks"]],
            )
            for symbol, book in exchange.orderbooks.items()
        }
    finally:
        await exchange.close()


# --- the workload -----------------------------------------------------------------------------


def sessions(count: int | None = None) -> Iterator[Session]:
    """All of them, from the recordings.

    Raises:
        NoRecordingError: A recording is not on this machine.
    """
    recorded = binance(found(SPOT), spot("BTC/USDT", "BTCUSDT"), count)
    yield recorded
    yield binance(found(USDM), perpetual("ETH/USDT:USDT", "ETHUSDT"), count)
    yield bybit(recorded)
    yield kraken(found(KRAKEN), count)


@contextmanager
def frozen() -> Iterator[None]:
    """Keep what is there out of the collector's way, as the server does: ccxt alone is 108 MB of it."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def books(scale: Scale) -> Iterator[Figure]:
    """Frames per second of each venue, beside ccxt.

    Raises:
        RuntimeError: The books differ.
    """
    import ccxt.pro  # noqa: F401, PLC0415 - before anything is measured

    for session in sessions(None if scale.full else 300):
        rates: dict[str, list[float]] = {"parse": [], "book": [], PEER: []}
        for _ in range(scale.turns):
            with frozen():
                alone = parsed(session)
                native, shown = ours(session)
                peer, expected = asyncio.run(theirs(session))
            if shown != expected:
                raise RuntimeError(f"{session.name}: our book is not ccxt's")
            for name, seconds in ("parse", alone), ("book", native), (PEER, peer):
                rates[name].append(len(session.frames) / seconds)
        for name in ("parse", "book"):
            ratios = [mine / other for mine, other in zip(rates[name], rates[PEER], strict=True)]
            yield Figure(
                workload="books", name=f"{session.name}, {name}", ours=median(rates[name]), unit="/s",
                comparators=((PEER, median(rates[PEER])),), ratios=((PEER, median(ratios)),),
                least=LEAST if name == "parse" else None, of=PEER, full=scale.full,
            )  # fmt: skip
