"""A small server that speaks `realtime.v1` to the page: a moving market, simple orders, faults on demand.

It is not the product: it answers at once, keeps everything in memory, and does exactly what a test tells it.
Everything runs in the thread of its event loop; a test talks to it through `do`.
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect


T = TypeVar("T")
Row = dict[str, Any]
STATIC = Path(__file__).resolve().parents[2] / "static"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types realtime"
)
ACCOUNT = ("orders", "fills", "positions", "balances", "risk", "portfolio")
KINDS = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}
SYMBOLS = {
    "BTC/USDT": ("64012.10", "0.10", "0.00001"),
    "ETH/USDT": ("3410.52", "0.01", "0.0001"),
    "PEPE/USDT": ("0.00001423", "0.00000001", "1"),
}
FRAMES = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14400, "1d": 86400}
START = 1_790_000_000_000


@dataclass
class Stream:
    """One channel: its position, what a snapshot holds, and the updates a resume may ask for."""

    name: str
    kind: str
    key: str | None = None
    epoch: str = "e1"
    seq: int = 0
    value: Any = None
    rows: dict[str, Row] = field(default_factory=dict)
    entries: list[Row] = field(default_factory=list)
    ring: list[Row] = field(default_factory=list)

    def snapshot(self) -> Any:
        """The data of a snapshot."""
        if self.kind == "value" or self.key == "price":
            return self.value
        return {"set": list(self.rows.values())} if self.kind == "table" else self.entries[-50:]


class Connection:
    """One socket: its subscriptions and what the next flush sends."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.names: set[str] = set()
        self.pending: list[Row] = []
        self.client = socket.query_params.get("client", "")

    async def send(self, *messages: Row) -> None:
        """One array frame."""
        try:
            await self.socket.send_text(orjson.dumps(list(messages)).decode())
        except (RuntimeError, WebSocketDisconnect, OSError):
            return


class Refusal(Exception):
    """An error reply."""

    def __init__(self, code: str, message: str, details: Row | None = None) -> None:
        super().__init__(message)
        self.body: Row = {"code": code, "message": message, "outcome": "not_done"}
        if details:
            self.body["details"] = details


class Fake:
    """The server: `start`, `stop`, faults, and `seen`, every command received."""

    def __init__(self, *, scopes: tuple[str, ...] = ("read", "trade", "bots", "admin")) -> None:
        self.scopes = scopes
        self.boot = 1
        self.silent = self.moving = False
        self.closed = False
        self.locked = False
        """Whether a token is wanted; any one is taken."""
        self.refusals: list[Refusal] = []
        self.lose_next = self.skip_next = self.hold_next = self.mute_next = False
        self.held_up: list[Row] = []
        """Orders on their way: after `hold_next` while their socket is gone, after `mute_next` while it lives."""
        self.withheld: set[str] = set()
        """Ops that are not worked out and answered until `let_go`."""
        self.waiting: list[tuple[Connection, Row]] = []
        """They, in the order in which they are let go."""
        self.others: dict[str, Callable[[Row], Row]] = {}
        """Results of ops that are no matter of the market, by their arguments."""
        self.confirm_resume = True
        self.stale = False
        self.doubted: int | None = None
        """Since when the account is not what the venue has; 0 where nothing is known of it."""
        self.mode = "paper"
        self.vendor = True
        self.seen: list[Row] = []
        self.state = "active"
        self.now = START
        self.seed = 7
        self.serial = 0
        self.price = {symbol: Decimal(row[0]) for symbol, row in SYMBOLS.items()}
        self.streams: dict[str, Stream] = {}
        self.connections: set[Connection] = set()
        self.results: dict[str, Row] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self.port = 0
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None
        self._fill_streams()

    # --- the market ---

    def chance(self) -> Decimal:
        """From a small generator: -1 .. 1, the same in every run."""
        self.seed = (self.seed * 1103515245 + 12345) % 2**31
        return Decimal(self.seed) / Decimal(2**30) - 1

    def grid(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Price tick and amount step."""
        _, tick, step = SYMBOLS[symbol]
        return Decimal(tick), Decimal(step)

    def book(self, symbol: str) -> Row:
        """25 levels a side around the price."""
        tick, step = self.grid(symbol)
        mid = self.price[symbol].quantize(tick)

        def side(sign: int) -> list[list[str]]:
            levels = []
            for i in range(25):
                size = (Decimal(1 + (i * 7) % 5) + abs(self.chance())) * (step * 40000 + step)
                price = mid + sign * tick * (i * 4 + 1)
                levels.append([str(price.quantize(tick)), str(size.quantize(step))])
            return levels

        return {"bids": side(-1), "asks": side(1)}

    def bars(
        self, symbol: str, frame: str, count: int, until: int | None = None
    ) -> list[list[Any]]:
        """Invented history that ends at the price of now; a function of time alone."""
        size = FRAMES[frame] * 1000
        last = (until or self.now) // size * size
        tick, _ = self.grid(symbol)
        base, rows = self.price[symbol], []
        for i in range(count):
            ts = last - (count - 1 - i) * size
            k = ts // size
            wave = Decimal((k * 7919) % 1000 - 500) / Decimal(250000) + Decimal(
                (k // 9 * 104729) % 1000 - 500
            ) / Decimal(90000)
            after = Decimal(((k + 1) * 7919) % 1000 - 500) / Decimal(250000)
            after += Decimal(((k + 1) // 9 * 104729) % 1000 - 500) / Decimal(90000)
            op, cl = base * (1 + wave), base * (1 + after)
            if i == count - 1 and until is None:
                cl = base
            hi, lo = max(op, cl) * Decimal("1.0006"), min(op, cl) * Decimal("0.9994")
            prices = [str(x.quantize(tick)) for x in (op, hi, lo, cl)]
            rows.append([ts, *prices, str(40 + (k * 31) % 90)])
        return rows

    def step(self) -> None:
        """One move of every market, published."""
        self.now += 100
        for symbol in SYMBOLS:
            tick, step = self.grid(symbol)
            self.price[symbol] = max(tick * 200, self.price[symbol] + tick * int(self.chance() * 6))
            self.quote(symbol)
            amount = str((abs(self.chance()) * step * 30000 + step).quantize(step))
            self.serial += 1
            trade = {
                "id": f"x{self.serial}",
                "ts": self.now,
                "symbol": symbol,
                "side": "buy" if self.chance() > 0 else "sell",
                "price": str(self.price[symbol].quantize(tick)),
                "amount": amount,
            }
            self.append(f"trades:{symbol}", trade)
        self.publish_risk()

    def quote(self, symbol: str) -> None:
        """Ticker, book and bars of a symbol."""
        tick, _ = self.grid(symbol)
        last = self.price[symbol].quantize(tick)
        first = Decimal(SYMBOLS[symbol][0])
        book = self.book(symbol)
        ticker = {
            "symbol": symbol,
            "last": str(last),
            "bid": book["bids"][0][0],
            "ask": book["asks"][0][0],
            "high": str((first * Decimal("1.02")).quantize(tick)),
            "low": str((first * Decimal("0.97")).quantize(tick)),
            "change_pct": float((last / first - 1) * 100) + 1.2,
            "volume": "18234.5",
            "ts": self.now,
        }
        self.set_value(f"ticker:{symbol}", ticker)
        for name, stream in list(self.streams.items()):
            if name.startswith(f"orderbook:{symbol}?"):
                self.set_book(stream, book)
            elif name.startswith(f"ohlcv:{symbol}?"):
                self.set_value(name, self.bar_value(symbol, name.rpartition("=")[2]))

    def bar_value(self, symbol: str, frame: str) -> Row:
        """The last closed bar and the forming one."""
        rows = self.bars(symbol, frame, 2)
        return {
            "symbol": symbol,
            "timeframe": frame,
            "ohlcv": rows,
            "closed_through_ts": rows[1][0],
        }

    # --- streams ---

    def _fill_streams(self) -> None:
        for name in ("risk", "portfolio", "status"):
            self.streams[name] = Stream(name, "value")
        for name, key in (
            ("markets", "symbol"),
            ("orders", "id"),
            ("positions", "id"),
            ("balances", "id"),
        ):
            self.streams[name] = Stream(name, "table", key)
        for name in ("fills", "events", "alerts", "logs"):
            self.streams[name] = Stream(name, "log", epoch="j1")
        self.streams["markets"].rows = {
            symbol: {
                "symbol": symbol,
                "base": symbol.split("/")[0],
                "quote": "USDT",
                "settle": None,
                "type": "spot",
                "active": True,
                "price_tick": tick,
                "amount_step": step,
                "min_amount": step,
                "min_cost": "5",
                "groups": [
                    str((Decimal(tick) * 10).normalize())
                    if Decimal(tick) > 1
                    else str(Decimal(tick) * 10)
                ],
                "maker": 0.001,
                "taker": 0.001,
            }
            for symbol, (_, tick, step) in SYMBOLS.items()
        }
        self.balance("USDT", Decimal(100000))
        self.balance("BTC", Decimal(0))
        self.streams["status"].value = self.status()
        self.publish_risk()

    def status(self) -> Row:
        """The channel `status`."""
        halts = [
            {"scope": "all", "state": self.state, "reason": "manual", "by": "local", "ts": self.now}
        ]
        return {
            "status": "ok",
            "mode": "paper",
            "trading_state": self.state,
            "halts": [] if self.state == "active" else halts,
            "venues": [{"id": "paper", "status": "ok"}],
        }

    def stream(self, name: str) -> Stream | None:
        """The stream of a name, made when a market channel is asked for the first time."""
        if name in self.streams:
            return self.streams[name]
        topic, _, rest = name.partition(":")
        symbol = rest.partition("?")[0]
        if symbol not in SYMBOLS or topic not in {"ticker", "orderbook", "trades", "ohlcv"}:
            return None
        key = "price" if topic == "orderbook" else None
        kind = {"orderbook": "table", "trades": "log"}.get(topic, "value")
        made = self.streams[name] = Stream(name, kind, key, epoch=f"b{self.boot}")
        if topic == "orderbook":
            made.value = self.book(symbol)
        elif topic == "ohlcv":
            made.value = self.bar_value(symbol, name.rpartition("=")[2])
        elif topic == "ticker":
            self.quote(symbol)
        return made

    def publish(self, stream: Stream, data: Any) -> None:
        """One update to every reader."""
        stream.seq += 1
        message: Row = {
            "type": "update",
            "channel": stream.name,
            "seq": stream.seq,
            "ts": self.now,
            "asof": self.now,
            "data": data,
        }
        stream.ring = [*stream.ring, message][-256:]
        if self.skip_next and stream.key == "price":
            self.skip_next = False
            return
        for connection in self.connections:
            if stream.name in connection.names:
                connection.pending.append(message)

    def set_value(self, name: str, value: Row) -> None:
        """The newest of a value stream."""
        stream = self.streams.get(name)
        if stream is None and name.startswith("ticker:"):
            stream = self.streams[name] = Stream(name, "value", epoch=f"b{self.boot}")
        if stream:
            stream.value = value
            self.publish(stream, value)

    def set_book(self, stream: Stream, book: Row) -> None:
        """What changed between two books."""
        changed: Row = {}
        for side in ("bids", "asks"):
            old, new = dict(stream.value[side]), dict(book[side])
            gone = [[p, "0"] for p in old if p not in new]
            changed[side] = gone + [[p, a] for p, a in new.items() if old.get(p) != a]
        stream.value = book
        self.publish(stream, changed)

    def row(self, name: str, row: Row) -> None:
        """A row of a table."""
        stream = self.streams[name]
        stream.rows[row[stream.key or "id"]] = row
        self.publish(stream, {"set": [row]})

    def append(self, name: str, entry: Row) -> None:
        """An entry of a log."""
        stream = self.streams.get(name)
        if stream:
            stream.entries.append(entry)
            self.publish(stream, [entry])

    def at(self, *names: str) -> Row:
        """Positions, as a reply names them."""
        return {n: {"epoch": self.streams[n].epoch, "seq": self.streams[n].seq} for n in names}

    # --- the account ---

    def balance(self, currency: str, total: Decimal) -> None:
        """The row of a currency."""
        price = Decimal(1) if currency == "USDT" else self.price.get(f"{currency}/USDT", Decimal(1))
        self.row(
            "balances",
            {
                "id": f"{currency}|spot",
                "currency": currency,
                "wallet": "spot",
                "available": plain(total),
                "reserved": "0",
                "total": plain(total),
                "price": plain(price),
                "value": plain(total * price),
                "allocation": 0.5,
            },
        )

    def held(self, currency: str) -> Decimal:
        """How much there is."""
        row = self.streams["balances"].rows.get(f"{currency}|spot")
        return Decimal(row["total"]) if row else Decimal(0)

    def equity(self) -> Decimal:
        """Everything at the price of now."""
        return self.held("USDT") + sum(
            (self.held(s.split("/")[0]) * self.price[s] for s in SYMBOLS), start=Decimal(0)
        )

    def publish_risk(self) -> None:
        """Risk and portfolio."""
        equity = self.equity().quantize(Decimal("0.01"))
        day = equity - 100000
        exposure = (equity - self.held("USDT")).quantize(Decimal("0.01"))
        rules = [
            {
                "rule": "max_drawdown",
                "limit": "0.1",
                "value": "0.0245",
                "unit": "fraction",
                "ok": True,
            },
            {"rule": "max_leverage", "limit": "3", "value": "0.54", "unit": "x", "ok": True},
            {
                "rule": "max_daily_loss",
                "limit": "0.02",
                "value": "0.004",
                "unit": "fraction",
                "ok": True,
            },
            {"rule": "max_open_orders", "limit": "200", "value": "2", "unit": "orders", "ok": True},
        ]
        held = [p for p in self.streams["positions"].rows.values() if p["amount"] != "0"]
        self.set_value(
            "risk",
            {
                "equity": plain(equity),
                "peak_equity": "102500",
                "daily_pnl": plain(day),
                "daily_pnl_fraction": float(day / 100000),
                "drawdown": 0.0245,
                "leverage": float(exposure / equity),
                "total_exposure": plain(exposure),
                "position_count": len(held),
                "rules": rules,
                "trading_state": self.state,
            },
        )
        self.set_value(
            "portfolio", {"total_value": plain(equity), "total_unrealized_pnl": plain(day)}
        )

    # --- ops ---

    def place(self, p: Row, client: str) -> Row:
        """An order: a market order fills at once, a limit rests unless it crosses."""
        if self.refusals:
            raise self.refusals.pop(0)
        if self.state == "halted":
            raise Refusal("halted", "trading was halted by local: manual")
        tick, step = self.grid(p["symbol"])
        if p["client_order_id"] in self.results:
            return self.results[p["client_order_id"]] | {"duplicate": True}
        self.serial += 1
        order: Row = {
            "id": f"o-{self.serial}",
            "client_order_id": p["client_order_id"],
            "client": client,
            "symbol": p["symbol"],
            "side": p["side"],
            "type": p["type"],
            "amount": str(Decimal(p["amount"]).quantize(step)),
            "price": str(Decimal(p["price"]).quantize(tick)) if "price" in p else None,
            "stop_price": p.get("stop_price"),
            "trailing_amount": p.get("trailing_amount"),
            "filled": "0",
            "average": None,
            "status": "open",
            "cancel_state": "none",
            "amend_state": "none",
            "role": "entry",
            "time_in_force": p.get("time_in_force", "GTC"),
            "post_only": p.get("post_only", False),
            "reduce_only": p.get("reduce_only", False),
            "created_ts": self.now,
        }
        self.row("orders", order)
        if p["type"] == "market":
            self.fill(order)
        summary = {k: order[k] for k in ("id", "client_order_id", "status", "filled", "average")}
        self.results[p["client_order_id"]] = summary
        return summary

    def fill(self, order: Row) -> None:
        """The whole order, now."""
        tick, _ = self.grid(order["symbol"])
        price = (
            Decimal(order["price"])
            if order["price"]
            else self.price[order["symbol"]].quantize(tick)
        )
        amount, sign = Decimal(order["amount"]), 1 if order["side"] == "buy" else -1
        order |= {"status": "filled", "filled": order["amount"], "average": str(price)}
        base = order["symbol"].split("/")[0]
        self.balance("USDT", self.held("USDT") - sign * amount * price)
        self.balance(base, self.held(base) + sign * amount)
        total = self.held(base)
        self.row(
            "positions",
            {
                "id": f"{order['symbol']}|long",
                "symbol": order["symbol"],
                "side": "long",
                "amount": plain(total),
                "entry_price": str(price),
                "mark_price": str(price),
                "notional": plain(total * price),
                "unrealized_pnl": "12.345",
                "unrealized_pnl_pct": 0.5,
                "realized_pnl": "0",
                "position_type": "spot",
            },
        )
        self.serial += 1
        self.row("orders", order)
        self.append(
            "fills",
            {
                "id": f"t-{self.serial}",
                "order_id": order["id"],
                "client_order_id": order["client_order_id"],
                "symbol": order["symbol"],
                "side": order["side"],
                "amount": order["amount"],
                "price": str(price),
                "cost": plain(amount * price),
                "fee": {"cost": plain(amount * Decimal("0.001")), "currency": base},
                "taker_or_maker": "taker",
                "realized_pnl": None,
                "ts": self.now,
            },
        )

    def working(self) -> list[Row]:
        """Orders that rest."""
        return [o for o in self.streams["orders"].rows.values() if o["status"] == "open"]

    def find(self, p: Row) -> Row:
        """The order that the arguments name."""
        for order in self.streams["orders"].rows.values():
            if (
                p.get("order_id") == order["id"]
                or p.get("client_order_id") == order["client_order_id"]
            ):
                return order
        raise Refusal("not_found", "no such order", {"what": "order"})

    def cancel(self, orders: list[Row]) -> list[str]:
        """Cancels and tells their client ids."""
        for order in orders:
            self.row("orders", order | {"status": "canceled"})
        return [o["client_order_id"] for o in orders]

    def command(self, op: str, p: Row, client: str) -> Row:
        """One op; the reply's fields."""
        match op:
            case "ping":
                return {"result": {"recv_ts": self.now}}
            case "market.ohlcv":
                rows = self.bars(p["symbol"], p["timeframe"], min(p["limit"], 300), p.get("until"))
                return {"result": {"ohlcv": rows, "gaps": [], "closed_through_ts": rows[-1][0]}}
            case "order.preview":
                price = Decimal(p.get("price") or self.price[p["symbol"]])
                cost = (Decimal(p["amount"]) * price).quantize(Decimal("0.01"))
                high = cost > 10000
                rule = {
                    "rule": "max_order_notional",
                    "limit": "10000",
                    "value": plain(cost),
                    "unit": "USDT",
                }
                return {
                    "result": {
                        "valid": not high,
                        "failed": ["max_order_notional"] if high else [],
                        "rules": [rule | {"ok": not high}],
                        "average": p.get("price") or str(self.price[p["symbol"]]),
                        "slippage": 0.00012,
                        "expected_fill": p["amount"] if p["type"] == "market" else "0",
                        "cost": plain(cost),
                        "fee": {"cost": plain(cost * Decimal("0.001")), "currency": "USDT"},
                        "exposure_after": plain(cost + 1200),
                        "max_allowed_amount": "0.15",
                    }
                }
            case "order.place":
                return {"result": self.place(p, client), "at": self.at("orders", "fills")}
            case "order.get":
                return {"result": self.find(p)}
            case "order.cancel":
                order = self.find(p)
                self.cancel([order])
                return {"result": {"status": "canceled"}, "at": self.at("orders")}
            case "order.amend":
                order = self.find(p)
                tick, _ = self.grid(order["symbol"])
                if "price" in p and Decimal(p["price"]) % tick:
                    raise Refusal("invalid", f"price {p['price']} is off the grid of {tick}")
                changes = {k: v for k, v in p.items() if k in {"price", "amount", "stop_price"}}
                self.row("orders", order | changes)
                return {"result": {"method": "native"}, "at": self.at("orders")}
            case "order.cancel_all":
                if p.get("dry_run"):
                    return {"result": {"canceled": [], "effect": {"orders": len(self.working())}}}
                return {
                    "result": {"canceled": self.cancel(self.working()), "failed": []},
                    "at": self.at("orders"),
                }
            case "position.close":
                held = self.streams["positions"].rows[p["position_id"]]
                part = Decimal(held["amount"]) * Decimal(str(p["fraction"]))
                args = {
                    "symbol": held["symbol"],
                    "side": "sell",
                    "amount": plain(part),
                    "type": "market",
                }
                return {
                    "result": self.place(args | {"client_order_id": p["client_order_id"]}, client)
                }
            case "trading.halt":
                self.state = p.get("state", "halted")
                gone = self.cancel(self.working())
                self.set_value("status", self.status())
                result = {
                    "state": self.state,
                    "changed": True,
                    "canceled": gone,
                    "failed": [],
                    "unknown": [],
                }
                return {"result": result | {"journaled": True}, "at": self.at("orders")}
            case "trading.resume":
                if self.confirm_resume and "confirm" not in p:
                    effect = {"state": "active", "orders": 0, "notional": "0"}
                    raise Refusal(
                        "confirm_required",
                        "repeat with confirm",
                        {"confirm": "c-1", "effect": effect},
                    )
                self.state = "active"
                self.set_value("status", self.status())
                return {"result": {"state": "active", "changed": True}}
            case "alert.ack" | "pace":
                return {"result": {}}
            case "auth.login":
                self.locked = False
                return {"result": {}}
            case _ if op in self.others:
                return {"result": self.others[op](p)}
            case _:
                raise Refusal("unknown_op", f"no op {op}")

    def answer(self, op: str, p: Row, client: str) -> Row:
        """The whole reply."""
        try:
            return {"op": op, "ok": True, "ts": self.now} | self.command(op, p, client)
        except Refusal as refusal:
            return {"op": op, "ok": False, "ts": self.now, "error": refusal.body}

    # --- the socket ---

    def subscribe(self, connection: Connection, asked: list[Any]) -> tuple[Row, list[Row]]:
        """The reply's result, and what follows it."""
        done, failed, after = [], [], []
        for entry in asked:
            name = entry if isinstance(entry, str) else entry["channel"]
            since = None if isinstance(entry, str) else entry.get("since")
            stream = self.stream(name)
            if stream is None:
                failed.append(
                    {"channel": name, "code": "unknown_channel", "message": f"no channel {name}"}
                )
                continue
            connection.names.add(name)
            first = stream.ring[0]["seq"] if stream.ring else stream.seq + 1
            after_seq = since["seq"] if since and since["epoch"] == stream.epoch else -1
            held = after_seq + 1 >= first
            told = {"channel": name, "class": stream.kind, "epoch": stream.epoch, "seq": stream.seq}
            doubted = name in ACCOUNT and self.doubted is not None
            if doubted:
                told["asof"] = self.doubted
            done.append(
                told
                | ({"key": stream.key} if stream.key else {})
                | {"resumed": held, "stale": doubted or (self.stale and ":" in name)}
            )
            if held:
                after += [m for m in stream.ring if m["seq"] > after_seq]
            else:
                after.append(
                    {
                        "type": "snapshot",
                        "channel": name,
                        "epoch": stream.epoch,
                        "seq": stream.seq,
                        "ts": self.now,
                        "asof": self.now,
                        "reason": "resume_failed" if since else "subscribe",
                        "data": stream.snapshot(),
                    }
                )
        return {"channels": done, "failed": failed}, after

    async def socket(self, websocket: WebSocket) -> None:
        """The endpoint /ws."""
        if self.closed:
            await websocket.close(4503)
            return
        await websocket.accept()
        if self.locked:
            await websocket.close(4401, "a token is needed")
            return
        while self.silent:  # noqa: ASYNC110 - set in the test's thread, which tells nobody
            await asyncio.sleep(0.02)
        connection = Connection(websocket)
        await connection.send(
            {
                "type": "welcome",
                "v": 1,
                "server": "fake/1",
                "session": "s-1",
                "ts": self.now,
                "mode": self.mode,
                "trading_state": self.state,
                "venues": [{"id": "paper", "status": "ok"}],
                "auth": "ok",
                "subject": "local",
                "role": "admin",
                "scopes": list(self.scopes),
                "heartbeat": 2,
                "reconnect": {"first": 0.1, "max": 0.4},
            }
        )
        self.connections.add(connection)
        try:
            while True:
                await self.frame(connection, orjson.loads(await websocket.receive_text()))
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self.connections.discard(connection)

    async def frame(self, connection: Connection, p: Row) -> None:
        """One frame of the client."""
        op, number = p.pop("op"), p.pop("id", None)
        self.seen.append({"op": op, **p})
        if self.silent:
            return
        if op in self.withheld:
            self.waiting.append((connection, {"op": op, "id": number, **p}))
            return
        await self.reply(connection, op, number, p)

    async def reply(self, connection: Connection, op: str, number: Any, p: Row) -> None:
        """Works a command out and answers it."""
        if op == "subscribe":
            result, after = self.subscribe(connection, p["channels"])
            reply = {
                "type": "reply",
                "id": number,
                "op": op,
                "ok": True,
                "ts": self.now,
                "result": result,
            }
            await connection.send(reply, *after)
            return
        if op == "unsubscribe":
            connection.names -= set(p["channels"])
            connection.pending = [m for m in connection.pending if m["channel"] in connection.names]
        if op == "order.place" and self.lose_next:
            self.lose_next = False
            self.answer(op, p, connection.client)
            await connection.socket.close(4500)
            return
        if op == "order.place" and self.mute_next:
            self.mute_next = False
            self.held_up.append(p)
            return
        if op == "order.place" and self.hold_next:
            self.hold_next = False
            self.held_up.append(p)
            await connection.socket.close(4500)
            return
        answer = (
            {"ok": True, "result": {}}
            if op == "unsubscribe"
            else self.answer(op, p, connection.client)
        )
        await connection.send({"type": "reply", "id": number, "op": op, "ts": self.now} | answer)

    async def beat(self) -> None:
        """Moves the market, flushes, and sends heartbeats."""
        n = 0
        while True:
            await asyncio.sleep(0.05)
            n += 1
            if self.moving and n % 2 == 0:
                self.step()
            if self.silent:
                continue
            for connection in list(self.connections):
                messages, connection.pending = connection.pending, []
                if n % 20 == 0:
                    messages.append(
                        {"type": "heartbeat", "ts": self.now, "asof": {"paper": self.now}}
                    )
                if messages:
                    await connection.send(*messages)

    # --- faults, called from the test's thread ---

    def do(self, task: Callable[[], T]) -> T:
        """Runs `task` in the server's thread."""
        if self.loop is None:
            raise RuntimeError("not started")

        async def run() -> T:
            return task()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(5)

    def let_go(self) -> None:
        """What was withheld is answered, and nothing more is."""

        async def run() -> None:
            self.withheld.clear()
            waiting, self.waiting = self.waiting, []
            for connection, p in waiting:
                await self.reply(connection, p.pop("op"), p.pop("id"), p)

        if self.loop:
            asyncio.run_coroutine_threadsafe(run(), self.loop).result(30)

    def cut(self) -> None:
        """Every socket breaks."""

        async def run() -> None:
            for connection in list(self.connections):
                await connection.socket.close(4500)

        if self.loop:
            asyncio.run_coroutine_threadsafe(run(), self.loop).result(5)

    def restart(self) -> None:
        """As after kill -9: streams of this boot begin again, the journal's do not; sockets break."""

        def again() -> None:
            self.boot += 1
            for stream in self.streams.values():
                if stream.epoch != "j1":
                    stream.epoch, stream.seq, stream.ring = f"b{self.boot}", 5, []

        self.do(again)
        self.cut()

    def notice_stale(self, *, stale: bool) -> None:
        """The source of the market channels went silent, or came back."""

        def tell() -> None:
            self.stale = stale
            for connection in self.connections:
                names = [n for n in connection.names if ":" in n]
                data = {"stale": stale, "cause": "silent", "venue": "paper", "asof": self.now}
                connection.pending.append(
                    {
                        "type": "notice",
                        "event": "stale",
                        "ts": self.now,
                        "channels": names,
                        "data": data,
                    }
                )

        self.do(tell)

    def doubt(self, asof: int | None) -> None:
        """The account is not compared with the venue since `asof`; None: it is again."""

        def tell() -> None:
            self.doubted = asof
            data = {"stale": asof is not None, "venue": "paper", "asof": self.now}
            if asof is not None:
                data |= {"cause": "desync", "asof": asof}
            for connection in self.connections:
                names = [n for n in ACCOUNT if n in connection.names]
                notice = {"type": "notice", "event": "stale", "ts": self.now}
                connection.pending.append(notice | {"channels": names, "data": data})

        self.do(tell)

    def ops(self, name: str) -> list[Row]:
        """Commands of this name received so far."""
        return [p for p in self.seen if p["op"] == name]

    # --- HTTP and life ---

    async def page(self, request: Request) -> Response:
        """The files of `static/` under the product's policy."""
        name = request.path_params.get("path") or "index.html"
        path = (STATIC / name).resolve()
        inside = path.is_relative_to(STATIC) and path.is_file()
        if not inside or (name.startswith("vendor/") and not self.vendor):
            return Response(status_code=404)
        kind = KINDS.get(path.suffix, "text/plain")
        return FileResponse(path, media_type=kind, headers={"Content-Security-Policy": CSP})

    async def api(self, request: Request) -> Response:
        """The HTTP twin."""
        op, p = request.path_params["op"], orjson.loads(await request.body())
        self.seen.append({"op": op, "http": True, **p})
        return JSONResponse(self.answer(op, p, "http"))

    def start(self) -> str:
        """Serves on a free port; returns the page's address."""
        app = Starlette(
            routes=[
                WebSocketRoute("/ws", self.socket),
                Route("/api/{op}", self.api, methods=["POST"]),
                Route("/", self.page),
                Route("/{path:path}", self.page),
            ]
        )
        config = uvicorn.Config(
            app, port=0, log_level="error", ws="websockets-sansio", lifespan="off"
        )
        server = self._server = uvicorn.Server(config)
        started = threading.Event()

        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            async with asyncio.TaskGroup() as group:
                beat = group.create_task(self.beat())
                run = group.create_task(server.serve())
                while not server.started:  # noqa: ASYNC110 - uvicorn offers no event to wait for
                    await asyncio.sleep(0.005)
                self.port = server.servers[0].sockets[0].getsockname()[1]
                started.set()
                await run
                beat.cancel()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the fake server did not start")
        return f"http://127.0.0.1:{self.port}/"

    def stop(self) -> None:
        """Ends its thread."""
        if self._server and self._thread:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(10)


def plain(value: Decimal) -> str:
    """A decimal as the wire writes it."""
    text = format(value.normalize(), "f")
    return "0" if text in {"-0", ""} else text


if __name__ == "__main__":  # to look at the page while working on it: python -m tests.web.fake
    served = Fake()
    served.moving = True
    print(served.start(), flush=True)
    threading.Event().wait()
