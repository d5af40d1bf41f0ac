"""Sockets of the emulated Bitfinex (v2): channels of array frames, and the private channel 0.

Rules of this file:
1 A book tells each change in a frame of its own, deletions first; whatever leaves the view is deleted.
2 The answer to an order's request goes before what it caused.
3 Sequence numbers and checksums come for those who asked (`conf`).
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

import orjson
from starlette.websockets import WebSocket

from realtime.emulate.faults import Kind
from realtime.emulate.sockets import Socket
from realtime.model.events import MarketEvent
from realtime.model.market import MONEY, MS, ZERO, Bar, BookDelta, BookSnapshot, Ticker, Trade
from realtime.model.orders import Side
from tests.emulated import bitfinex_rows as rows
from tests.emulated.bitfinex_desk import PRECISIONS, Desk
from tests.emulated.bitfinex_rows import Array, Refusal


SEQUENCE, CHECKSUM = 65_536, 131_072
"""Flags of a socket."""
LENGTHS = {"1", "25", "100", "250"}
CAPS = {
    "orders": {"read": 1, "write": 1},
    "account": {"read": 1, "write": 0},
    "funding": {"read": 1, "write": 0},
    "history": {"read": 1, "write": 0},
    "wallets": {"read": 1, "write": 0},
    "settings": {"read": 1, "write": 0},
    "withdraw": {"read": 0, "write": 0},
    "positions": {"read": 1, "write": 1},
    "ui_withdraw": {"read": 0, "write": 0},
}


@dataclass
class Channel:
    """A subscription; `last` is the book as it was last sent."""

    id: int
    name: str
    symbol: str
    precision: str = "P0"
    length: int = 25
    timeframe: str = ""
    key: str = ""
    last: dict[tuple[str, str], Array] = field(default_factory=dict)


@dataclass
class Client:
    """What one socket has asked for."""

    socket: Socket
    channels: dict[int, Channel] = field(default_factory=dict)
    flags: int = 0
    sequence: int = 0
    private_sequence: int = 0
    account: str | None = None


class Streams:
    """All open sockets.

    Args:
        desk: What they tell of.
        heartbeat_s: Between heartbeats of a channel.

    Attributes:
        tickers: The newest of each market.
    """

    def __init__(self, desk: Desk, *, heartbeat_s: float) -> None:
        self.desk = desk
        self.clients: list[Client] = []
        self.tickers: dict[str, Ticker] = {}
        self._heartbeat_s = heartbeat_s
        self._channels = 1_000
        self._barred: asyncio.Queue[str] = asyncio.Queue()
        desk.floor.on_public.append(self._on_public)
        desk.listeners.append(self._tell)

    async def run(self) -> None:
        """Tell candles that trades changed, until cancelled."""
        while True:
            symbol = await self._barred.get()
            for client in list(self.clients):
                for channel in list(client.channels.values()):
                    if channel.name == "candles" and channel.symbol == symbol:
                        await self._tell_candles(client, channel, 1)

    def announce(self, code: int, message: str = "") -> None:
        """Tell every socket: 20051 restart, 20060 maintenance begins, 20061 it ended."""
        self.desk.operative = code != 20_060
        for client in self.clients:
            client.socket.reply(dump({"event": "info", "code": code, "msg": message}))

    async def serve(self, websocket: WebSocket) -> None:
        socket = Socket(websocket, "public", self.desk.faults)
        client = Client(socket)
        self.clients.append(client)
        socket.reply(
            dump(
                {
                    "event": "info",
                    "version": 2,
                    "serverId": "00000000-0000-4000-8000-000000000000",
                    "platform": {"status": int(self.desk.operative)},
                }
            )
        )

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._heartbeat_s)
                for channel in client.channels.values():
                    self._send(client, channel.name, [channel.id, "hb"])
                if client.account is not None:
                    self._send(client, "hb", [0, "hb"])

        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(beat())
                await socket.run(lambda text: self._on_frame(client, text))
                beating.cancel()
        finally:
            self.clients.remove(client)

    async def _on_frame(self, client: Client, text: str) -> None:
        try:
            message = orjson.loads(text)
        except ValueError:
            client.socket.reply(dump({"event": "error", "msg": "unparseable", "code": 10_000}))
            return
        with localcontext(MONEY):
            if isinstance(message, list):
                self._input(client, message)
                return
            match message.get("event"):
                case "ping":
                    reply = {
                        "event": "pong",
                        "ts": self.desk.now() // MS,
                        "cid": message.get("cid"),
                    }
                    client.socket.pong(dump(reply))
                case "conf":
                    client.flags = int(message.get("flags") or 0)
                    client.socket.reply(
                        dump({"event": "conf", "status": "OK", "flags": client.flags})
                    )
                case "auth":
                    self._authenticate(client, message)
                case "subscribe":
                    await self._subscribe(client, message)
                case "unsubscribe":
                    self._unsubscribe(client, message)
                case event:
                    fault = {"event": "error", "msg": f"unknown event {event}", "code": 10_001}
                    client.socket.reply(dump(fault))

    def _send(self, client: Client, topic: str, message: Array, *, private: bool = False) -> None:
        """A frame of a channel, with its sequence numbers where the client wants them."""
        if client.flags & SEQUENCE:
            client.sequence += 1
            if self.desk.faults.take(f"{client.socket.name}:{topic}", Kind.GAP) is not None:
                client.sequence += 1
            message = [*message, client.sequence]
            if private:
                client.private_sequence += 1
                message.append(client.private_sequence)
        client.socket.data(topic, dump(message))

    async def _subscribe(self, client: Client, message: Mapping[str, Any]) -> None:
        name = message.get("channel")
        shown: dict[str, Any] = {"channel": name}
        try:
            channel, more = self._channel(name, message)
        except Refusal as refusal:
            shown["symbol"] = message.get("symbol")
            code = 10_300 if refusal.code == 10_020 else refusal.code
            client.socket.reply(
                dump({"event": "error", "msg": refusal.text, "code": code, **shown})
            )
            return
        wanted = (channel.name, channel.symbol, channel.precision, channel.key)
        for each in client.channels.values():
            if wanted == (each.name, each.symbol, each.precision, each.key):
                fault = {"event": "error", "msg": "subscribe: dup", "code": 10_301}
                client.socket.reply(dump({**fault, **shown, **more}))
                return
        self._channels += 1
        channel.id = self._channels
        client.channels[channel.id] = channel
        client.socket.reply(
            dump({"event": "subscribed", "channel": name, "chanId": channel.id, **more})
        )
        match channel.name:
            case "ticker":
                self._tell_ticker(client, channel)
            case "trades":
                recent = await self.desk.floor.trades(channel.symbol, 30)
                data = [rows.trade_row(each) for each in reversed(recent)]
                self._send(client, "trades", [channel.id, data])
            case "book":
                held = self.desk.floor.markets[channel.symbol]
                channel.last = self.desk.book_rows(held, channel.precision, channel.length)
                self._send(client, "book", [channel.id, list(channel.last.values())])
                self._tell_checksum(client, channel)
            case _:
                await self._tell_candles(client, channel, 240)

    def _channel(self, name: object, message: Mapping[str, Any]) -> tuple[Channel, dict[str, Any]]:
        if name == "candles":
            key = str(message.get("key"))
            held, timeframe = self.desk.candle_key(key)
            return Channel(0, "candles", held.symbol, timeframe=timeframe, key=key), {"key": key}
        if name not in {"ticker", "trades", "book"}:
            raise Refusal(10_302, "channel: unknown")
        held = self.desk.market(message.get("symbol"))
        more: dict[str, Any] = {"symbol": rows.symbol_id(held)}
        channel = Channel(0, str(name), held.symbol)
        if name == "book":
            channel.precision = str(message.get("prec") or "P0")
            length = str(message.get("len") or "25")
            if channel.precision not in {*PRECISIONS, "R0"} or length not in LENGTHS:
                raise Refusal(10_020, "len: invalid" if length not in LENGTHS else "prec: invalid")
            channel.length = int(length)
            more |= {"prec": channel.precision, "freq": message.get("freq") or "F0", "len": length}
        return channel, {**more, "pair": rows.pair_id(held)}

    def _unsubscribe(self, client: Client, message: Mapping[str, Any]) -> None:
        number = str(message.get("chanId"))
        if not number.isdecimal() or client.channels.pop(int(number), None) is None:
            fault = {"event": "error", "msg": "unsubscribe: invalid", "code": 10_400}
            client.socket.reply(dump({**fault, "chanId": message.get("chanId")}))
            return
        client.socket.reply(dump({"event": "unsubscribed", "status": "OK", "chanId": int(number)}))

    def _on_public(self, events: Sequence[MarketEvent]) -> None:
        traded: dict[str, list[Trade]] = {}
        moved: dict[str, None] = {}
        for event in events:
            match event:
                case Trade():
                    traded.setdefault(event.symbol, []).append(event)
                case BookDelta() | BookSnapshot():
                    moved[event.symbol] = None
                case Ticker():
                    self.tickers[event.symbol] = event
                case _:
                    pass  # marks have a channel of their own, which no one asks for here
        tickers = {event.symbol for event in events if isinstance(event, Ticker)}
        with localcontext(MONEY):
            for client in self.clients:
                for channel in client.channels.values():
                    symbol = channel.symbol
                    if channel.name == "trades" and symbol in traded:
                        for kind in ("te", "tu"):
                            for trade in traded[symbol]:
                                row = rows.trade_row(trade)
                                self._send(client, "trades", [channel.id, kind, row])
                    elif channel.name == "book" and symbol in moved:
                        self._tell_book(client, channel)
                    elif channel.name == "ticker" and symbol in tickers:
                        self._tell_ticker(client, channel)
        for symbol in traded:
            self._barred.put_nowait(symbol)

    def _tell_ticker(self, client: Client, channel: Channel) -> None:
        row = rows.ticker_row(self.tickers[channel.symbol])
        self._send(client, "ticker", [channel.id, row])

    def _tell_book(self, client: Client, channel: Channel) -> None:
        """One frame for each level that changed, deletions first."""
        held = self.desk.floor.markets[channel.symbol]
        before = channel.last
        now = channel.last = self.desk.book_rows(held, channel.precision, channel.length)
        changes: list[Array] = []
        for side, name in before.keys() - now.keys():
            if channel.precision == "R0":
                changes.append(rows.raw_row(int(name), ZERO, Decimal(1), Side(side)))
            else:
                changes.append(rows.book_row((name, "0"), 0, Side(side)))
        changes.extend(
            row
            for place, row in now.items()
            if place not in before or dump(before[place]) != dump(row)
        )
        for row in changes:
            self._send(client, "book", [channel.id, row])
        if changes:
            self._tell_checksum(client, channel)

    def _tell_checksum(self, client: Client, channel: Channel) -> None:
        if not client.flags & CHECKSUM:
            return
        sides: dict[str, list[tuple[str, str]]] = {"buy": [], "sell": []}
        raw = channel.precision == "R0"
        for (side, name), row in channel.last.items():
            sides[side].append((name, amount_text(row, raw=raw)))
        value = rows.crc(sides["buy"], sides["sell"])
        if self.desk.faults.take(f"{client.socket.name}:cs", Kind.GAP) is not None:
            value ^= 1
        self._send(client, "cs", [channel.id, "cs", value])

    async def _tell_candles(self, client: Client, channel: Channel, count: int) -> None:
        bars = await self.desk.floor.bars(channel.symbol, channel.timeframe, None, count)
        data: Array = [candle_row(each) for each in reversed(bars)]
        if data:
            self._send(client, "candles", [channel.id, data if count > 1 else data[0]])

    def _authenticate(self, client: Client, message: Mapping[str, Any]) -> None:
        try:
            account = self._signed(client, message)
        except Refusal as refusal:
            fault = {"event": "auth", "status": "FAILED", "chanId": 0, "code": refusal.code}
            client.socket.reply(dump({**fault, "msg": refusal.text}))
            return
        client.account = account
        client.socket.name = "private"
        client.socket.reply(
            dump(
                {
                    "event": "auth",
                    "status": "OK",
                    "chanId": 0,
                    "userId": 1,
                    "auth_id": "00000000-0000-4000-8000-000000000001",
                    "caps": CAPS,
                }
            )
        )
        snapshots = {
            "ps": self.desk.position_rows(account),
            "ws": self.desk.wallets(account),
            "os": self.desk.open_rows(account, {}, None),
        }
        for kind, data in snapshots.items():
            self._send(client, kind, [0, kind, data], private=True)
        self._send(client, "bu", [0, "bu", self.desk.worth(account)], private=True)

    def _signed(self, client: Client, message: Mapping[str, Any]) -> str:
        """Whose key signed this login."""
        nonce, payload = str(message.get("authNonce")), str(message.get("authPayload"))
        if client.account is not None:
            raise Refusal(10_100, "auth: dup")
        if payload != f"AUTH{nonce}":
            raise Refusal(10_100, "apikey: digest invalid")
        return self.desk.admit(
            str(message.get("apiKey")), nonce, payload, str(message.get("authSig"))
        )

    def _input(self, client: Client, message: Array) -> None:
        """`[0, "on", null, {…}]`: the answer is a notification, then come the events it caused."""
        if client.account is None:
            client.socket.reply(dump({"event": "error", "msg": "auth: required", "code": 10_100}))
            return
        account = client.account
        match message:
            case [0, "calc", *_]:
                self.desk.tell_worth(account)
                return
            case [0, "ox_multi", _, list(parts)]:
                for kind, values in parts:
                    self._input(client, [0, kind, None, values])
                return
            case [0, str(kind), _, dict(values)]:
                pass
            case _:
                client.socket.reply(dump({"event": "error", "msg": "invalid", "code": 10_000}))
                return
        with self.desk.holding() as held:
            try:
                note = self.desk.order(account, kind, values)
            except (Refusal, ValueError, TypeError) as error:
                text = error.text if isinstance(error, Refusal) else "parameters: invalid"
                info: Array = [None] * 32
                info[0], info[2], info[3] = (values.get(name) for name in ("id", "cid", "symbol"))
                note = self.desk.noted(f"{kind}-req", info, text, "ERROR")
        self._send(client, "n", [0, "n", note], private=True)
        for told in held:
            self._tell(*told)

    def _tell(self, owner: str, kind: str, data: Any) -> None:
        """Tell the sockets of an account."""
        for client in self.clients:
            if client.account == owner:
                self._send(client, kind, [0, kind, data], private=True)


def dump(message: object) -> str:
    """A frame's text."""
    return orjson.dumps(message).decode()


def amount_text(row: Array, *, raw: bool) -> str:
    """The amount of a book row, without its sign."""
    values = orjson.loads(orjson.dumps(row))
    return rows.plain(Decimal(repr(abs(values[2]))))


def candle_row(bar: Bar) -> Array:
    """A candle: time, open, close, high, low, volume."""
    return [
        bar.ts // MS, *map(rows.number, (bar.open, bar.close, bar.high, bar.low, bar.volume)),
    ]  # fmt: skip
