"""Binance's public side on loopback, spot or USD-M, played from a recording: REST and WebSocket streams.

    async with binance.serve(path) as server:
        ...                              # server.endpoint, server.faults
        await server.play()              # to the end, as fast as sockets take it
        await server.play(until=lambda: server.sent["trade"] == 5_000)

Rules of this file:
1 Depth, best prices and trades go out as they were recorded, text for text; tickers and bars are computed of the trades.
2 Playing starts at the recorded REST snapshot: what it holds is left out, so that a snapshot can be given at any time
  from the book as it was played. `now` is the recorded time.
3 A socket is named `ws`; a frame of it `ws:btcusdt@depth@100ms`, in the words of its subscription.
"""

import asyncio
import gzip
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket

from realtime.emulate.faults import Answer, Fault, Faults, FaultyRequests, Kind
from realtime.emulate.serving import serving
from realtime.emulate.sockets import Socket
from realtime.engine.bars import TIMEFRAMES
from realtime.engine.orderbook import OrderBook
from realtime.model.market import MS, SECOND, Bar, BookDelta, BookSnapshot, Level, Trade
from realtime.venues.listing import Fees
from realtime.venues.replay import learn
from realtime.venues.tape import Tape
from tests.emulated.prompt import Prompt


TURN = 50
"""Frames played before the event loop gets a turn."""
AHEAD = 500
"""Frames that may wait in a socket while more are played."""
PAGE = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """One frame of the recording: its time [ns], `depth`, `bookTicker` or `trade`, and the text of its data."""

    ns: int
    kind: str
    text: str


@dataclass
class Client:
    """What one socket has asked for; frames of `/stream` say which stream they are of."""

    socket: Socket
    combined: bool
    streams: set[str] = field(default_factory=set)


class Binance:
    """One market.

    Args:
        lines: Of the recording.
        faults: What goes wrong.

    Attributes:
        sent: How many frames of each kind were played.
        quotes: Update id and best prices of each `bookTicker` played.
    """

    def __init__(self, lines: Sequence[bytes], faults: Faults | None = None) -> None:
        self.faults = faults or Faults()
        self.market = learn(lines, Fees())
        self.contract = self.market.contract
        self.name = self.market.id.lower()
        self.book = OrderBook(self.market.symbol)
        self.update = 0
        self.tape = Tape(self.market)
        self.now = 0
        self.sent: Counter[str] = Counter()
        self.quotes: list[tuple[int, Level, Level]] = []
        self.requests: Counter[str] = Counter()
        self.clients: list[Client] = []
        self.endpoint = ""
        self._frames: list[Recorded] = []
        self._at = 0
        self._told: dict[str, int] = {}
        self._load(lines)
        prefix = "/fapi/v1" if self.contract else "/api/v3"
        routes = {
            "ping": lambda _: {},
            "time": lambda _: {"serverTime": self.now // MS},
            "exchangeInfo": lambda _: self._listing(),
            "depth": self._depth,
            "ticker/24hr": lambda _: self._day(),
            "ticker/bookTicker": lambda _: self._best(),
            "klines": self._klines,
            "trades": self._trades,
            "aggTrades": self._agg_trades,
            "premiumIndex": lambda _: self._premium(),
        }
        app = Starlette(
            routes=[
                *[
                    Route(f"{prefix}/{path}", self._route(path, made))
                    for path, made in routes.items()
                ],
                Route("/{api:path}/exchangeInfo", self._route("elsewhere", lambda _: {"symbols": []})),
                *[
                    WebSocketRoute(path, self._serve)
                    for path in ("/ws", "/stream", "/ws/{rest:path}", "/{category}/ws/{rest:path}")
                ],
            ]
        )  # fmt: skip
        self.app = Prompt(FaultyRequests(app, self.faults, _in_code))

    def _load(self, lines: Sequence[bytes]) -> None:
        """Take the snapshot and what came behind it."""
        for line in lines:
            stamp, _, body = line.strip().partition(b" ")
            text = body.decode()
            if text.startswith('{"lastUpdateId"'):
                said = orjson.loads(body)
                bids, asks = _levels(said["bids"]), _levels(said["asks"])
                self.now = int(stamp)
                self.book.apply_snapshot(
                    BookSnapshot(self.market.symbol, bids, asks, self.now, self.now)
                )
                self.update = said["lastUpdateId"]
            else:
                head, _, rest = text.partition('","data":')
                kind = head.partition("@")[2].partition("@")[0]
                if self.update or kind == "depth":
                    self._frames.append(Recorded(int(stamp), kind, rest[:-1]))
        self._frames = [
            frame
            for frame in self._frames
            if frame.kind != "depth" or orjson.loads(frame.text)["u"] > self.update
        ]

    # --- playing --------------------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether everything was played."""
        return self._at == len(self._frames)

    async def play(
        self,
        *,
        until: Callable[[], bool] = lambda: False,
        speed: float | None = None,
        frames: int | None = None,
    ) -> None:
        """Play on, to the end of the recording at most.

        Args:
            until: Asked before each frame: stop here.
            speed: 1 is as recorded; None is as fast as sockets take it.
            frames: At most so many.
        """
        loop = asyncio.get_running_loop()
        started, first, end = loop.time(), 0, len(self._frames)
        if frames is not None:
            end = min(end, self._at + frames)
        while self._at < end and not until():
            frame = self._frames[self._at]
            if speed is not None:
                first = first or frame.ns
                await asyncio.sleep(
                    max(0.0, started + (frame.ns - first) / SECOND / speed - loop.time())
                )
            self._at += 1
            self.step(frame)
            if self._at % TURN == 0:
                await asyncio.sleep(0)
                while any(len(client.socket._waiting) > AHEAD for client in self.clients):  # noqa: ASYNC110 - sockets tell nobody
                    await asyncio.sleep(0.001)

    def step(self, frame: Recorded) -> None:
        """Play one frame."""
        self.now = frame.ns
        data = orjson.loads(frame.text)
        if frame.kind == "depth":
            self.book.apply_delta(
                BookDelta(
                    self.market.symbol, _levels(data["b"]), _levels(data["a"]), frame.ns, frame.ns
                )
            )
            self.update = data["u"]
        elif frame.kind == "bookTicker":
            self.quotes.append((data["u"], (data["b"], data["B"]), (data["a"], data["A"])))
        elif not float(data["p"]) > 0:
            return
        else:
            side = "sell" if data["m"] else "buy"
            at = data["T"] * MS
            trade = Trade(str(data["t"]), self.market.symbol, side, data["p"], data["q"], at, at)
            self.tape.add(trade)
        self.sent[frame.kind] += 1
        self.publish(frame.kind, frame.text)
        if frame.kind == "trade":
            self.publish("aggTrade", orjson.dumps(self._agg(data)).decode())
            self._computed()

    def publish(self, kind: str, text: str) -> None:
        """Send data to everyone who subscribed a stream of this kind, at any speed."""
        for client in self.clients:
            for stream in client.streams:
                symbol, _, words = stream.partition("@")
                if symbol == self.name and words.partition("@")[0] == kind:
                    client.socket.data(
                        stream,
                        f'{{"stream":"{stream}","data":{text}}}' if client.combined else text,
                    )

    def _computed(self) -> None:
        """Tickers and bars, once a second of the recorded time."""
        wanted = {stream.partition("@")[2] for client in self.clients for stream in client.streams}
        for words in sorted(wanted):
            kind, _, timeframe = words.partition("_")
            if kind not in {"ticker", "miniTicker", "kline"}:
                continue
            if self.now - self._told.get(words, 0) < SECOND:
                continue
            self._told[words] = self.now
            made = self._kline(timeframe) if kind == "kline" else self._ticker(kind)
            self.publish(words, orjson.dumps(made).decode())

    # --- sockets --------------------------------------------------------------------------------

    async def _serve(self, websocket: WebSocket) -> None:
        combined = websocket.url.path.startswith("/stream")
        client = Client(Socket(websocket, "ws", self.faults), combined)
        first = websocket.query_params.get("streams", "")
        client.streams |= {stream for stream in first.split("/") if stream}
        self.clients.append(client)

        def heard(text: str) -> None:
            self._heard(client, text)

        try:
            await client.socket.run(heard)
        finally:
            self.clients.remove(client)

    def _heard(self, client: Client, text: str) -> None:
        try:
            said = orjson.loads(text)
            method, number = said["method"], said.get("id")
        except (ValueError, TypeError, KeyError):
            client.socket.reply({"error": {"code": 2, "msg": "Invalid request"}})
            return
        named = set(said.get("params") or ())
        if method == "SUBSCRIBE":
            client.streams |= named
        elif method == "UNSUBSCRIBE":
            client.streams -= named
        elif method == "LIST_SUBSCRIPTIONS":
            client.socket.reply({"result": sorted(client.streams), "id": number})
            return
        else:
            client.socket.reply({"error": {"code": 2, "msg": "unknown method"}, "id": number})
            return
        client.socket.reply({"result": None, "id": number})

    # --- requests -------------------------------------------------------------------------------

    def _route(self, path: str, make: Callable[[Request], Any]) -> Callable[..., Any]:
        async def answer(request: Request) -> Response:
            self.requests[path] += 1
            symbol = request.query_params.get("symbol", self.market.id)
            if symbol != self.market.id:
                return _json({"code": -1121, "msg": "Invalid symbol."}, 400)
            return _json(make(request))

        return answer

    def _listing(self) -> Mapping[str, Any]:
        market = self.market
        tick, step = format(market.price_tick, "f"), format(market.amount_step, "f")
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "100", "stepSize": step},
        ]  # fmt: skip
        row: dict[str, Any] = {
            "symbol": market.id,
            "status": "TRADING",
            "baseAsset": market.base,
            "quoteAsset": market.quote,
            "orderTypes": ["LIMIT", "MARKET"],
        }
        if self.contract:
            row |= {
                "pair": market.id,
                "contractType": "PERPETUAL",
                "deliveryDate": 4133404800000,
                "onboardDate": 1569398400000,
                "marginAsset": market.settle,
                "pricePrecision": 2,
                "quantityPrecision": 3,
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "underlyingType": "COIN",
                "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
                "filters": [*filters, {"filterType": "MIN_NOTIONAL", "notional": "20"}],
            }
        else:
            row |= {
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "permissions": ["SPOT"],
                "permissionSets": [["SPOT"]],
                "filters": [
                    *filters,
                    {"filterType": "NOTIONAL", "minNotional": "5", "applyMinToMarket": True},
                ],
            }
        return {"timezone": "UTC", "serverTime": self.now // MS, "rateLimits": [], "symbols": [row]}

    def _depth(self, request: Request) -> Mapping[str, Any]:
        bids, asks = self.book.top(_limit(request, 100, 5_000))
        told: dict[str, Any] = {"lastUpdateId": self.update}
        if self.contract:
            told |= {"E": self.now // MS, "T": self.now // MS}
        return {**told, "bids": bids, "asks": asks}

    def _best(self) -> Mapping[str, Any]:
        bid, ask = self.book.best_bid, self.book.best_ask
        assert bid is not None
        assert ask is not None
        return {
            "symbol": self.market.id,
            "bidPrice": bid[0], "bidQty": bid[1], "askPrice": ask[0], "askQty": ask[1],
        }  # fmt: skip

    def _day(self) -> Mapping[str, Any]:
        day, best = self.tape.day.daily(), self._best()
        told = {
            "symbol": self.market.id,
            "priceChange": "0", "priceChangePercent": "0.000",
            "weightedAvgPrice": day.vwap or "0", "lastPrice": day.last or "0", "lastQty": "0",
            "openPrice": day.open or "0", "highPrice": day.high or "0", "lowPrice": day.low or "0",
            "volume": day.volume or "0", "quoteVolume": day.quote_volume or "0",
            "openTime": self.now // MS - 86_400_000, "closeTime": self.now // MS,
            "firstId": 0, "lastId": 0, "count": self.sent["trade"],
        }  # fmt: skip
        return told if self.contract else {**told, **best}

    def _premium(self) -> Mapping[str, Any]:
        last = self.tape.day.daily().last or self._best()["bidPrice"]
        eight = 8 * 3600 * SECOND
        return {
            "symbol": self.market.id,
            "markPrice": last, "indexPrice": last, "estimatedSettlePrice": last,
            "lastFundingRate": "0.00010000", "interestRate": "0.00010000",
            "nextFundingTime": (self.now // eight + 1) * eight // MS, "time": self.now // MS,
        }  # fmt: skip

    def _bars(self, timeframe: str, since: int | None, limit: int) -> list[Bar]:
        return self.tape.bars(timeframe, since, limit) if timeframe in TIMEFRAMES else []

    def _klines(self, request: Request) -> list[list[Any]]:
        timeframe = request.query_params.get("interval", "1m")
        since = request.query_params.get("startTime")
        bars = self._bars(
            timeframe, None if since is None else int(since) * MS, _limit(request, PAGE, 1_500)
        )
        return [
            [
                bar.ts // MS, bar.open, bar.high, bar.low, bar.close, bar.volume,
                (bar.ts + TIMEFRAMES[timeframe]) // MS - 1, "0", 0, "0", "0", "0",
            ]
            for bar in bars
        ]  # fmt: skip

    def _trades(self, request: Request) -> list[Mapping[str, Any]]:
        return [
            {
                "id": int(trade.id), "price": trade.price, "qty": trade.amount, "quoteQty": "0",
                "time": trade.ts // MS, "isBuyerMaker": trade.side == "sell", "isBestMatch": True,
            }
            for trade in self.tape.recent(_limit(request, PAGE, 1_000))
        ]  # fmt: skip

    def _agg_trades(self, request: Request) -> list[Mapping[str, Any]]:
        return [
            {
                "a": int(trade.id), "p": trade.price, "q": trade.amount, "f": int(trade.id),
                "l": int(trade.id), "T": trade.ts // MS, "m": trade.side == "sell", "M": True,
            }
            for trade in self.tape.recent(_limit(request, PAGE, 1_000))
        ]  # fmt: skip

    # --- computed streams -----------------------------------------------------------------------

    def _agg(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """A trade as an aggregate of one."""
        return {
            "e": "aggTrade", "E": data["E"], "s": data["s"], "a": data["t"], "p": data["p"],
            "q": data["q"], "f": data["t"], "l": data["t"], "T": data["T"], "m": data["m"],
        }  # fmt: skip

    def _ticker(self, kind: str) -> Mapping[str, Any]:
        day, best = self.tape.day.daily(), self._best()
        told = {
            "e": "24hrTicker" if kind == "ticker" else "24hrMiniTicker", "E": self.now // MS,
            "s": self.market.id, "c": day.last, "o": day.open, "h": day.high, "l": day.low,
            "v": day.volume, "q": day.quote_volume,
        }  # fmt: skip
        if kind == "miniTicker":
            return told
        told |= {
            "p": "0", "P": "0.000", "w": day.vwap, "Q": "0",
            "O": self.now // MS - 86_400_000, "C": self.now // MS, "F": 0, "L": 0,
            "n": self.sent["trade"],
        }  # fmt: skip
        if self.contract:
            return told
        return {
            **told, "x": day.open, "b": best["bidPrice"], "B": best["bidQty"],
            "a": best["askPrice"], "A": best["askQty"],
        }  # fmt: skip

    def _kline(self, timeframe: str) -> Mapping[str, Any]:
        (bar,) = self._bars(timeframe, None, 1)
        return {
            "e": "kline", "E": self.now // MS, "s": self.market.id,
            "k": {
                "t": bar.ts // MS, "T": (bar.ts + TIMEFRAMES[timeframe]) // MS - 1,
                "s": self.market.id, "i": timeframe, "f": 0, "L": 0, "o": bar.open, "c": bar.close,
                "h": bar.high, "l": bar.low, "v": bar.volume, "n": 0, "x": False, "q": "0",
                "V": "0", "Q": "0", "B": "0",
            },
        }  # fmt: skip


# --- words ------------------------------------------------------------------------------------


def _levels(rows: Sequence[Sequence[str]]) -> tuple[Level, ...]:
    return tuple((row[0], row[1]) for row in rows)


def _limit(request: Request, usual: int, most: int) -> int:
    return min(int(request.query_params.get("limit", usual)), most)


def _json(body: object, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _in_code(scope: Scope, fault: Fault) -> Answer:
    limited = fault.kind is Kind.RATE_LIMITED
    code = int(fault.code or -1003) if limited else int(fault.code)
    body = orjson.dumps({"code": code, "msg": fault.message or "Too many requests."})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    return (429 if limited else 400, headers, body)


def lines_of(path: Path) -> list[bytes]:
    """The lines of a recording."""
    with gzip.open(path) as file:
        return list(file)


@asynccontextmanager
async def serve(
    recording: Path | Sequence[bytes], *, faults: Faults | None = None
) -> AsyncIterator[Binance]:
    """Serve a recording on loopback while the block runs.

    Args:
        recording: A file, or its lines.
        faults: What goes wrong.
    """
    lines = lines_of(recording) if isinstance(recording, Path) else recording
    server = Binance(lines, faults)
    async with serving(server.app) as endpoint:
        server.endpoint = endpoint
        yield server
