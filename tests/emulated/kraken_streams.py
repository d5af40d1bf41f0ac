"""Sockets of the emulated Kraken (v2): subscriptions, their frames, and orders.

Rules of this file:
1 A frame of a book carries the CRC-32 of what a client has that followed all of them; levels that only leave its view are not told.
2 Only the first word about an order and its fills say what is traded; all other rows name the order and its state.
3 One socket takes public and private requests: addresses differ there, not protocols.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from typing import Any

import orjson
from starlette.websockets import WebSocket

from realtime.emulate.faults import Kind
from realtime.emulate.sockets import Socket
from realtime.model.errors import VenueRejected
from realtime.model.events import MarketEvent
from realtime.model.market import (
    MONEY,
    SECOND,
    ZERO,
    Bar,
    BookDelta,
    BookSnapshot,
    Level,
    Ticker,
    Trade,
)
from realtime.model.orders import OrderType, Side
from tests.emulated import kraken_rows as rows
from tests.emulated.kraken_desk import Desk, Draft, trade_of
from tests.emulated.kraken_rows import Pair, Refusal, Row


TIMEFRAMES = {
    1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w",
}  # fmt: skip
DEPTHS = {10, 25, 100, 500, 1000}
TOKEN_S = 900
PAGE = 50
"""Rows of a snapshot of trades."""


@dataclass
class Client:
    """What one socket has asked for.

    Attributes:
        books: By symbol: depth and the levels last sent.
        account: Of the token it showed; None before.
    """

    socket: Socket
    books: dict[str, tuple[int, list[Level], list[Level]]] = field(default_factory=dict)
    tickers: dict[str, str] = field(default_factory=dict)
    trades: set[str] = field(default_factory=set)
    bars: set[tuple[str, int]] = field(default_factory=set)
    account: str | None = None
    private: set[str] = field(default_factory=set)
    sequence: dict[str, int] = field(default_factory=dict)
    order_status: bool = True

    @property
    def subscribed(self) -> bool:
        """Whether it gets heartbeats."""
        return bool(self.books or self.tickers or self.trades or self.bars or self.private)


class Streams:
    """All open sockets.

    Args:
        desk: What they tell of.
        heartbeat_s: Between heartbeats.

    Attributes:
        tickers: The newest of each market.
    """

    def __init__(self, desk: Desk, *, heartbeat_s: float) -> None:
        self.desk = desk
        self.clients: list[Client] = []
        self.tickers: dict[str, Ticker] = {}
        self._heartbeat_s = heartbeat_s
        self._tokens: dict[str, tuple[str, int]] = {}
        self._barred: asyncio.Queue[str] = asyncio.Queue()
        desk.floor.on_public.append(self._on_public)
        desk.on_execution.append(self._tell_execution)
        desk.on_ledger.append(self._tell_ledger)

    async def run(self) -> None:
        """Tell bars that trades changed, until cancelled."""
        while True:
            symbol = await self._barred.get()
            for client in list(self.clients):
                for name, interval in list(client.bars):
                    if name == symbol:
                        await self._tell_bars(client, name, interval, 1, "update")

    def token(self, account: str) -> Row:
        """A token that opens an account's private streams."""
        now = self.desk.floor.now()
        name = rows.token("", account, str(len(self._tokens)), str(now))
        self._tokens[name] = (account, now + TOKEN_S * SECOND)
        return {"token": name, "expires": TOKEN_S}

    def forget_tokens(self) -> None:
        """Make every token that was given invalid."""
        self._tokens.clear()

    async def serve(self, websocket: WebSocket) -> None:
        socket = Socket(websocket, "public", self.desk.faults)
        client = Client(socket)
        self.clients.append(client)
        socket.reply(
            dump(
                {
                    "channel": "status",
                    "type": "update",
                    "data": [
                        {
                            "version": "2.0.10",
                            "system": "online",
                            "api_version": "v2",
                            "connection_id": 10**18 + len(self.clients),
                        }
                    ],
                }
            )
        )

        async def beat() -> None:
            while True:
                await asyncio.sleep(self._heartbeat_s)
                if client.subscribed:
                    socket.data("heartbeat", '{"channel":"heartbeat"}')

        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(beat())
                await socket.run(lambda text: self._on_frame(client, text))
                beating.cancel()
        finally:
            self.clients.remove(client)

    async def _on_frame(self, client: Client, text: str) -> None:
        came = self.desk.now()
        try:
            message = orjson.loads(text)
            method = str(message["method"])
            params = message.get("params") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            self._reply(client, {"method": None}, came, error="Malformed request")
            return
        base = {"method": method}
        if "req_id" in message:
            base["req_id"] = message["req_id"]
        if method == "ping":
            client.socket.pong(dump({**base, "method": "pong", **self._times(came)}))
            return
        try:
            with localcontext(MONEY):
                await self._do(client, method, params, base, came)
        except Refusal as refusal:
            self._reply(client, base, came, error=str(refusal))
        except VenueRejected as error:
            self._reply(client, base, came, error=refused(error))
        except (ValueError, TypeError, AttributeError, ArithmeticError):
            self._reply(client, base, came, error="EGeneral:Invalid arguments")

    def _times(self, came: int) -> Row:
        return {"time_in": rows.iso(came), "time_out": rows.iso(self.desk.now())}

    def _reply(
        self, client: Client, base: Row, came: int, *, error: str | None = None, **more: Any
    ) -> None:
        told = {"success": True} if error is None else {"error": error, "success": False}
        client.socket.reply(dump({**base, **more, **told, **self._times(came)}))

    async def _do(self, client: Client, method: str, params: Row, base: Row, came: int) -> None:
        match method:
            case "subscribe" if params.get("channel") in {"executions", "balances"}:
                self._subscribe_private(client, params, base, came)
            case "subscribe":
                await self._subscribe(client, params, base, came)
            case "unsubscribe":
                self._unsubscribe(client, params, base, came)
            case "add_order":
                ticket = self.desk.place(self._owner(client, params), self._socket_draft(params))
                result = {"order_id": ticket.txid}
                if ticket.cl_ord_id is not None:
                    result["cl_ord_id"] = ticket.cl_ord_id
                self._reply(client, base, came, result=result)
            case "amend_order":
                account = self._owner(client, params)
                txid = self.desk.named(account, params)[0].txid
                result = {**self.desk.amend(account, params), "order_id": txid}
                self._reply(client, base, came, result=result)
            case "edit_order":
                account = self._owner(client, params)
                asked = {"volume": params.get("order_qty"), "price": params.get("limit_price")}
                done = self.desk.edit(account, {"txid": params.get("order_id"), **asked})
                result = {"order_id": done["txid"], "original_order_id": done["originaltxid"]}
                self._reply(client, base, came, result=result)
            case "cancel_order":
                self._socket_cancel(client, params, base, came)
            case "cancel_all":
                account = self._owner(client, params)
                self._reply(client, base, came, result=self.desk.cancel_all(account, {}))
            case "cancel_all_orders_after":
                account = self._owner(client, params)
                self._reply(client, base, came, result=self.desk.cancel_after(account, params))
            case _:
                raise Refusal(f"Unsupported method: {method}")

    async def _subscribe(self, client: Client, params: Row, base: Row, came: int) -> None:
        channel, names = params.get("channel"), params.get("symbol")
        if channel not in {"book", "ticker", "trade", "ohlc"}:
            raise Refusal("Subscription name invalid")
        if not isinstance(names, list):
            raise Refusal("Pair field must be an array")
        for name in names:
            pair = self.desk.by_name.get(name)
            if pair is None or pair.name != name:
                self._reply(
                    client, base, came, error=f"Currency pair not supported {name}", symbol=name
                )
                continue
            await self._follow(client, channel, pair, params, base, came)

    async def _follow(
        self, client: Client, channel: str, pair: Pair, params: Row, base: Row, came: int
    ) -> None:
        name, snapshot = pair.name, params.get("snapshot", True)
        result: Row = {"channel": channel, "symbol": name, "snapshot": snapshot}
        match channel:
            case "book":
                depth = params.get("depth", 10)
                if depth not in DEPTHS:
                    raise Refusal("Subscription depth not supported")
                if name in client.books:
                    raise Refusal("Already subscribed")
                self._reply(client, base, came, result={**result, "depth": depth})
                self._tell_book(client, pair, depth, None)
            case "ticker":
                trigger = params.get("event_trigger", "trades")
                client.tickers[name] = trigger
                self._reply(client, base, came, result={**result, "event_trigger": trigger})
                self._tell_ticker(client, pair, "snapshot")
            case "trade":
                client.trades.add(name)
                self._reply(client, base, came, result=result)
                recent = await self.desk.floor.trades(name, PAGE)
                self._tell_trades(client, pair, recent, "snapshot")
            case _:
                interval = params.get("interval", 1)
                if interval not in TIMEFRAMES:
                    raise Refusal("Subscription ohlc interval not supported")
                client.bars.add((name, interval))
                self._reply(client, base, came, result={**result, "interval": interval})
                await self._tell_bars(client, name, interval, 720, "snapshot")

    def _unsubscribe(self, client: Client, params: Row, base: Row, came: int) -> None:
        channel = params.get("channel")
        if channel in {"executions", "balances"}:
            client.private.discard(str(channel))
            self._reply(client, base, came, result={"channel": channel})
            return
        for name in params.get("symbol") or []:
            match channel:
                case "book":
                    client.books.pop(name, None)
                case "ticker":
                    client.tickers.pop(name, None)
                case "trade":
                    client.trades.discard(name)
                case _:
                    client.bars = {each for each in client.bars if each[0] != name}
            self._reply(client, base, came, result={"channel": channel, "symbol": name})

    def _on_public(self, events: Sequence[MarketEvent]) -> None:
        traded: dict[str, list[Trade]] = {}
        moved: dict[str, None] = {}
        tickers: dict[str, None] = {}
        for event in events:
            match event:
                case Trade():
                    traded.setdefault(event.symbol, []).append(event)
                case BookDelta() | BookSnapshot():
                    moved[event.symbol] = None
                case Ticker():
                    self.tickers[event.symbol] = event
                    tickers[event.symbol] = None
                case _:
                    pass  # Kraken's spot markets have no marks
        for client in self.clients:
            for symbol, trades in traded.items():
                if symbol in client.trades:
                    self._tell_trades(client, self.desk.by_name[symbol], trades, "update")
            for symbol in moved:
                held = client.books.get(symbol)
                if held is not None:
                    self._tell_book(client, self.desk.by_name[symbol], held[0], held)
            for symbol in tickers:
                trigger = client.tickers.get(symbol)
                if trigger == "bbo" or (trigger is not None and symbol in traded):
                    self._tell_ticker(client, self.desk.by_name[symbol], "update")
        for symbol in traded:
            self._barred.put_nowait(symbol)

    def _tell_book(
        self,
        client: Client,
        pair: Pair,
        depth: int,
        before: tuple[int, list[Level], list[Level]] | None,
    ) -> None:
        bids, asks = (self.desk.levels(pair, side, depth) for side in (Side.BUY, Side.SELL))
        client.books[pair.name] = (depth, bids, asks)
        if before is None:
            row: Row = {"bids": bids, "asks": asks}
        else:
            row = {
                "bids": changed(before[1], bids, depth, best_is_high=True),
                "asks": changed(before[2], asks, depth, best_is_high=False),
            }
            if not (row["bids"] or row["asks"]):
                return
        crc = rows.checksum(bids, asks)
        if self.desk.faults.take(f"{client.socket.name}:book", Kind.GAP) is not None:
            crc ^= 1
        row = {
            "symbol": pair.name,
            "bids": rows.levels_rows(row["bids"], pair),
            "asks": rows.levels_rows(row["asks"], pair),
            "checksum": crc,
        }
        if before is not None:
            row["timestamp"] = rows.iso(self.desk.now())
        self._data(client, "book", "snapshot" if before is None else "update", [row])

    def _tell_ticker(self, client: Client, pair: Pair, kind: str) -> None:
        ticker = self.tickers[pair.name]
        daily = ticker.daily
        last, opened = Decimal(daily.last or 0), Decimal(daily.open or 0)
        change = last - opened

        def price(value: str | Decimal | None) -> orjson.Fragment:
            return rows.number(value or ZERO, pair.price_decimals)

        row = {
            "symbol": pair.name,
            "bid": price(ticker.bid),
            "bid_qty": rows.number(ticker.bid_amount or ZERO, rows.LOT_DECIMALS),
            "ask": price(ticker.ask),
            "ask_qty": rows.number(ticker.ask_amount or ZERO, rows.LOT_DECIMALS),
            "last": price(last),
            "volume": rows.number(daily.volume or ZERO, rows.LOT_DECIMALS),
            "vwap": price(daily.vwap or daily.last),
            "low": price(daily.low),
            "high": price(daily.high),
            "change": price(change),
            "change_pct": rows.number(change / opened * 100 if opened else ZERO, 2),
        }
        self._data(client, "ticker", kind, [row])

    def _tell_trades(self, client: Client, pair: Pair, trades: Sequence[Trade], kind: str) -> None:
        data = [
            {
                "symbol": pair.name,
                "side": each.side,
                "price": rows.number(each.price, pair.price_decimals),
                "qty": rows.number(each.amount, rows.LOT_DECIMALS),
                "ord_type": "limit",
                "trade_id": trade_number(each),
                "timestamp": rows.iso(each.ts),
            }
            for each in trades
        ]
        if data:
            self._data(client, "trade", kind, data)

    async def _tell_bars(
        self, client: Client, symbol: str, interval: int, count: int, kind: str
    ) -> None:
        pair, timeframe = self.desk.by_name[symbol], TIMEFRAMES[interval]
        bars = await self.desk.floor.bars(symbol, timeframe, None, count)
        if bars:
            self._data(
                client, "ohlc", kind, [bar_row(pair, each, interval) for each in bars],
                timestamp=rows.iso(self.desk.now()),
            )  # fmt: skip

    def _data(self, client: Client, channel: str, kind: str, data: list[Any], **more: Any) -> None:
        client.socket.data(channel, dump({"channel": channel, "type": kind, "data": data, **more}))

    def _owner(self, client: Client, params: Row) -> str:
        """Whose token this is."""
        account, expires = self._tokens.get(str(params.get("token")), ("", 0))
        key = next(
            (c.key for c in self.desk.floor.customers.values() if c.account == account), None
        )
        # A token outlives its 15 minutes on a socket that used it in time.
        late = expires < self.desk.floor.now() and client.account != account
        if not account or late or key in self.desk.faults.expired:
            raise Refusal("ESession:Invalid session")
        client.account = account
        client.socket.name = "private"
        return account

    def _subscribe_private(self, client: Client, params: Row, base: Row, came: int) -> None:
        account, channel = self._owner(client, params), params["channel"]
        if channel in client.private:
            raise Refusal("Already subscribed")
        client.private.add(channel)
        client.sequence[channel] = 0
        result: Row = {"channel": channel}
        if channel == "balances":
            self._reply(client, base, came, result={**result, "snapshot": True})
            wallets = self.desk.floor.exchange.clearing.accounts[account].wallets
            self._tell_private(
                client, channel, "snapshot",
                [rows.balance_row(name, held.total) for name, held in wallets.items()],
            )  # fmt: skip
            return
        orders, trades = params.get("snap_orders", True), params.get("snap_trades", False)
        client.order_status = params.get("order_status", True)
        self._reply(
            client, base, came,
            result={**result, "maxratecount": 180, "snap_orders": orders, "snap_trades": trades},
        )  # fmt: skip
        open_ones = [each for each in self.desk.visible(account) if not each.work.status.ended]
        if trades:
            newest = self.desk.executions_of(account)[-PAGE:]
            data = [trade_of(each) for each in newest]
            self._tell_private(client, channel, "snapshot", data)
        if orders:
            data = [rows.snapshot_row(each) for each in open_ones]
            self._tell_private(client, channel, "snapshot", data)

    def _tell_private(self, client: Client, channel: str, kind: str, data: list[Row]) -> None:
        client.sequence[channel] += 1
        self._data(client, channel, kind, data, sequence=client.sequence[channel])

    def _socket_draft(self, params: Row) -> Draft:
        """An order of a socket request."""
        word = str(params.get("order_type", ""))
        if word not in rows.TYPES:
            raise Refusal("EGeneral:Invalid arguments:order_type")
        pair = self.desk.by_name.get(str(params.get("symbol")))
        if pair is None:
            raise Refusal(f"Currency pair not supported {params.get('symbol')}")
        volume, cash = (
            rows.decimal_of(params, "order_qty"),
            rows.decimal_of(params, "cash_order_qty"),
        )
        if not (volume or cash):
            raise Refusal("EGeneral:Invalid arguments:order_qty")
        draft = Draft(
            pair=pair,
            side=rows.side_of(params.get("side")),
            word=word,
            volume=volume or cash or ZERO,
            price=rows.decimal_of(params, "limit_price"),
            viqc=volume is None,
            post_only=bool(params.get("post_only")),
            reduce_only=bool(params.get("reduce_only")),
            time_in_force=rows.time_in_force(str(params.get("time_in_force") or "")),
            validate=bool(params.get("validate")),
        )
        triggers = params.get("triggers") or {}
        if rows.TYPES[word] is OrderType.TRAILING_STOP:
            away = rows.decimal_of(triggers, "price") or ZERO
            if triggers.get("price_type") == "pct":
                draft.trailing_rate = away / 100
            else:
                draft.trailing_amount = away
        elif rows.TYPES[word].triggered:
            draft.stop_price = rows.decimal_of(triggers, "price")
        if params.get("expire_time"):
            draft.expire_ts = rows.from_iso(params["expire_time"])
        self.desk.name(draft, params)
        self.desk.check_deadline(params)
        return draft

    def _socket_cancel(self, client: Client, params: Row, base: Row, came: int) -> None:
        """One answer for each order that is named."""
        account = self._owner(client, params)
        asked = 0
        for name in ("order_id", "cl_ord_id", "order_userref"):
            for value in params.get(name) or []:
                asked += 1
                try:
                    found = self.desk.named(account, {name: value})
                except Refusal as refusal:
                    self._reply(client, base, came, error=str(refusal), **{name: value})
                    continue
                for each in found:
                    self.desk.floor.cancel(account, each.work.id)
                    result = {"order_id": each.txid}
                    if each.cl_ord_id is not None:
                        result["cl_ord_id"] = each.cl_ord_id
                    self._reply(client, base, came, result=result)
        if not asked:
            raise Refusal("EGeneral:Invalid arguments")

    def _tell_execution(self, account: str, row: Row) -> None:
        brief = {"pending_new", "trade", "amended"}
        for client in self.clients:
            if client.account != account or "executions" not in client.private:
                continue
            if client.order_status or row["exec_type"] not in brief - {"trade"}:
                self._tell_private(client, "executions", "update", [row])

    def _tell_ledger(self, account: str, row: Row) -> None:
        for client in self.clients:
            if client.account == account and "balances" in client.private:
                self._tell_private(client, "balances", "update", [row])


def dump(message: object) -> str:
    """A frame's text."""
    return orjson.dumps(message).decode()


def refused(error: VenueRejected) -> str:
    """A refusal of the matching in Kraken's words."""
    details = error.details or {}
    return rows.REFUSALS.get(str(details.get("rule")), "EOrder:Invalid order")


def trade_number(trade: Trade) -> int:
    """A public trade's number."""
    return int(trade.id[2:])


def bar_row(pair: Pair, bar: Bar, interval: int) -> Row:
    """A bar of the socket."""
    price = pair.price_decimals
    return {
        "symbol": pair.name,
        "open": rows.number(bar.open, price),
        "high": rows.number(bar.high, price),
        "low": rows.number(bar.low, price),
        "close": rows.number(bar.close, price),
        "trades": 1 if Decimal(bar.volume) else 0,
        "volume": rows.number(bar.volume, rows.LOT_DECIMALS),
        "vwap": rows.number(bar.close, price),
        "interval_begin": rows.iso(bar.ts).replace("Z", "000Z"),
        "interval": interval,
        "timestamp": rows.iso(bar.ts + interval * 60 * SECOND),
    }


def changed(
    before: Sequence[Level], now: Sequence[Level], depth: int, *, best_is_high: bool
) -> list[Level]:
    """What a client that follows must do: new amounts, and deletions; not those that only left its view."""
    old, new = dict(before), dict(now)
    rows_: list[Level] = [
        (price, amount) for price, amount in new.items() if old.get(price) != amount
    ]
    worst = Decimal(now[-1][0]) if len(now) == depth else None
    for price in old.keys() - new.keys():
        beyond = worst is not None and (
            Decimal(price) < worst if best_is_high else Decimal(price) > worst
        )
        if not beyond:
            rows_.append((price, "0"))
    rows_.sort(key=lambda level: Decimal(level[0]), reverse=best_is_high)
    return rows_
