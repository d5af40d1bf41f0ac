"""Bybit's sockets: `public/{spot,linear}`, `private` and `trade`.

Rules of this file:
1 An operation is answered in the form of its socket; the first frame of a topic comes behind the answer.
2 Rows of one account go out in the order in which the matching told them; neighbours of one topic share a frame.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import orjson
from starlette.websockets import WebSocket

from realtime.emulate.bybit.board import Board
from realtime.emulate.bybit.codes import PARAMS, Refusal
from realtime.emulate.bybit.params import Params
from realtime.emulate.bybit.rest import Meter
from realtime.emulate.bybit.rows import CATEGORIES, Row
from realtime.emulate.bybit.signing import authenticate_socket, check_window
from realtime.emulate.bybit.trading import Trading
from realtime.emulate.faults import Kind
from realtime.emulate.floor import Floor
from realtime.emulate.sockets import Socket


TOPICS: Final = frozenset({"order", "execution", "execution.fast", "position", "wallet"})

Op = dict[str, object]


class Streams:
    """All open sockets.

    Args:
        floor: Customers and clock.
        board: The public side.
        meter: Counts operations of the trade socket.
        now_ms: The exchange's time.
    """

    def __init__(self, floor: Floor, board: Board, meter: Meter, now_ms: Callable[[], int]) -> None:
        self._floor = floor
        self._board = board
        self._meter = meter
        self._now_ms = now_ms
        self._made = 0
        self._readers: dict[str, list[Private]] = {}
        # Rows that wait for the end of what the matching tells now, by account.
        self._rows: dict[str, list[tuple[str, str, Row]]] = {}

    def named(self) -> str:
        """A fresh connection id."""
        self._made += 1
        return f"emulated-{self._made}"

    # --- sockets --------------------------------------------------------------------------------

    async def public(self, websocket: WebSocket) -> None:
        """Serve `public/spot` or `public/linear`."""
        category = websocket.path_params["category"]
        socket = Socket(websocket, f"public/{category}", self._floor.faults)
        connection = Public(socket, category, self.named(), self._board)
        try:
            await socket.run(connection.on_frame)
        finally:
            self._board.gone(socket)

    async def private(self, websocket: WebSocket) -> None:
        """Serve `private`."""
        socket = Socket(websocket, "private", self._floor.faults)
        connection = Private(socket, self.named(), self._floor, self._now_ms, self._joined)
        try:
            await socket.run(connection.on_frame)
        finally:
            for readers in self._readers.values():
                if connection in readers:
                    readers.remove(connection)

    async def trade(self, websocket: WebSocket, trading: Trading) -> None:
        """Serve `trade`."""
        socket = Socket(websocket, "trade", self._floor.faults)
        connection = Trade(socket, self.named(), self._floor, self._now_ms, self._meter, trading)
        await socket.run(connection.on_frame)

    def _joined(self, connection: "Private", account: str) -> None:
        readers = self._readers.setdefault(account, [])
        if connection not in readers:
            readers.append(connection)

    # --- private rows -----------------------------------------------------------------------------

    def on_row(self, account: str, topic: str, category: str, row: Row) -> None:
        """Take a row of an account; it goes out when the loop comes round."""
        if not self._readers.get(account):
            return
        waiting = self._rows.setdefault(account, [])
        if not waiting:
            asyncio.get_running_loop().call_soon(self._flush, account)
        waiting.append((topic, category, row))

    def _flush(self, account: str) -> None:
        waiting, self._rows[account] = self._rows[account], []
        now = self._now_ms()
        for connection in list(self._readers.get(account, ())):
            for topic, found in connection.wanted(waiting):
                self._made += 1
                frame = {
                    "topic": topic,
                    "id": f"{self._made:032x}",
                    "creationTime": now,
                    "data": found,
                }
                connection.socket.data(topic, frame)


class Public:
    """One socket of market data."""

    def __init__(self, socket: Socket, category: str, name: str, board: Board) -> None:
        self._socket = socket
        self._category = category
        self._name = name
        self._board = board

    def on_frame(self, text: str) -> None:
        """Carry out one operation."""
        op = read(text)
        match op.get("op"):
            case "ping":
                self._socket.pong(self._answer(op, "pong"))
            case "subscribe":
                self._subscribe(op)
            case "unsubscribe":
                for topic in topics_of(op):
                    self._board.unsubscribe(self._socket, self._category, topic)
                self._socket.reply(self._answer(op, ""))
            case _:
                self._socket.reply(self._answer(op, "error:invalid op", ok=False))

    def _subscribe(self, op: Op) -> None:
        firsts = []
        for topic in topics_of(op):
            try:
                first = self._board.subscribe(self._socket, self._category, topic)
            except Refusal:
                first = None
            if first is None:
                message = f"error:handler not found,topic:{topic}"
                self._socket.reply(self._answer(op, message, ok=False))
                return
            firsts.append(first)
        self._socket.reply(self._answer(op, "subscribe"))
        for first in firsts:
            first()

    def _answer(self, op: Op, message: str, *, ok: bool = True) -> Row:
        return {
            "success": ok,
            "ret_msg": message,
            "conn_id": self._name,
            "req_id": str(op.get("req_id", "")),
            "op": op.get("op", ""),
        }


class Private:
    """One socket of an account's rows."""

    def __init__(
        self,
        socket: Socket,
        name: str,
        floor: Floor,
        now_ms: Callable[[], int],
        joined: Callable[["Private", str], None],
    ) -> None:
        self.socket = socket
        self._name = name
        self._floor = floor
        self._now_ms = now_ms
        self._joined = joined
        self._account: str | None = None
        self._topics: dict[str, None] = {}

    def on_frame(self, text: str) -> None:
        """Carry out one operation."""
        op = read(text)
        match op.get("op"):
            case "ping":
                self.socket.pong(
                    {
                        "req_id": str(op.get("req_id", "")),
                        "op": "pong",
                        "args": [str(self._now_ms())],
                        "conn_id": self._name,
                    }
                )
            case "auth":
                self._auth(op)
            case "subscribe":
                self._subscribe(op)
            case "unsubscribe":
                for topic in topics_of(op):
                    self._topics.pop(topic, None)
                self.socket.reply(self._answer(op, ""))
            case _:
                self.socket.reply(self._answer(op, "error:invalid op", ok=False))

    def _auth(self, op: Op) -> None:
        fault = self._floor.faults.take("private:auth", Kind.HANG)
        if fault is not None:
            return
        try:
            customer = authenticate_socket(
                self._floor.customers, self._floor.faults, args_of(op), self._now_ms()
            )
        except Refusal as error:
            answer = self._answer(op, f"error:{error.message}", ok=False)
            answer["request"] = {"op": "auth", "args": args_of(op)}
            self.socket.reply(answer)
            return
        self._account = customer.account
        self._joined(self, customer.account)
        self.socket.reply(self._answer(op, ""))

    def _subscribe(self, op: Op) -> None:
        wanted = topics_of(op)
        for topic in wanted:
            name, _, category = topic.rpartition(".")
            known = topic in TOPICS or (name in TOPICS and category in CATEGORIES)
            message = "" if known else f"error:handler not found,topic:{topic}"
            if self._account is None:
                message = "Request not authorized"
            if message:
                self.socket.reply(self._answer(op, message, ok=False))
                return
        self._topics |= dict.fromkeys(wanted)
        self.socket.reply(self._answer(op, ""))

    def wanted(self, waiting: list[tuple[str, str, Row]]) -> list[tuple[str, list[Row]]]:
        """Put rows that are subscribed to into frames, neighbours of one topic together."""
        frames: list[tuple[str, list[Row]]] = []
        for topic, category, row in waiting:
            name = topic if topic in self._topics else f"{topic}.{category}"
            if name not in self._topics:
                continue
            if frames and frames[-1][0] == name:
                frames[-1][1].append(row)
            else:
                frames.append((name, [row]))
        return frames

    def _answer(self, op: Op, message: str, *, ok: bool = True) -> Row:
        answer: Row = {
            "success": ok,
            "ret_msg": message,
            "op": op.get("op", ""),
            "conn_id": self._name,
        }
        if op.get("req_id") is not None:
            answer["req_id"] = str(op["req_id"])
        return answer


class Trade:
    """One socket on which orders are placed."""

    def __init__(
        self,
        socket: Socket,
        name: str,
        floor: Floor,
        now_ms: Callable[[], int],
        meter: Meter,
        trading: Trading,
    ) -> None:
        self._socket = socket
        self._name = name
        self._floor = floor
        self._now_ms = now_ms
        self._meter = meter
        self._account: str | None = None
        self._key = ""
        self._ops: Mapping[str, tuple[str, Callable[[str, Params], Row]]] = {
            "order.create": ("/v5/order/create", trading.create),
            "order.amend": ("/v5/order/amend", trading.amend),
            "order.cancel": ("/v5/order/cancel", trading.cancel),
        }

    async def on_frame(self, text: str) -> None:
        """Carry out one operation."""
        op = read(text)
        name = str(op.get("op", ""))
        if name == "ping":
            self._socket.pong(self._answer(op, 0, "OK", [str(self._now_ms())], op_name="pong"))
        elif name == "auth":
            self._auth(op)
        elif name in self._ops:
            await self._order(name, op)
        else:
            self._socket.reply(self._answer(op, 10404, "op type is not found", {}))

    def _auth(self, op: Op) -> None:
        try:
            customer = authenticate_socket(
                self._floor.customers, self._floor.faults, args_of(op), self._now_ms()
            )
        except Refusal as error:
            self._socket.reply(self._answer(op, error.code, error.message, {}))
            return
        self._account, self._key = customer.account, customer.key
        self._socket.reply({"retCode": 0, "retMsg": "OK", "op": "auth", "connId": self._name})

    async def _order(self, name: str, op: Op) -> None:
        path, act = self._ops[name]
        fault = self._floor.faults.take(f"trade:{name}")
        headers: dict[str, str] = {}
        if fault is not None and fault.kind is Kind.SLOW:
            await asyncio.sleep(fault.seconds)
            fault = None
        code, message, data = 0, "OK", Row()
        if fault is None or fault.executed:
            try:
                data = self._done(path, act, op, headers)
            except Refusal as error:
                code, message = error.code, error.message
        if fault is not None:
            if fault.kind in {Kind.HANG, Kind.SWALLOW}:
                return
            if fault.kind is not Kind.CODE:
                self._socket.strike(fault)
                return
            code, message = int(fault.code), fault.message or "scripted"
        self._socket.reply(self._answer(op, code, message, data, headers))

    def _done(
        self,
        path: str,
        act: Callable[[str, Params], Row],
        op: Op,
        headers: dict[str, str],
    ) -> Row:
        if self._account is None:
            raise Refusal(20003, "Request not authorized - check API key")
        given = op.get("header")
        fields = given if isinstance(given, dict) else {}
        check_window(
            str(fields.get("X-BAPI-TIMESTAMP", "")),
            str(fields.get("X-BAPI-RECV-WINDOW", "5000")),
            self._now_ms(),
        )
        headers |= self._meter.take(self._key, path, self._floor.now())
        args = args_of(op)
        if len(args) != 1 or not isinstance(args[0], dict):
            raise Refusal(PARAMS, "params error: args invalid")
        return act(self._account, args[0])

    def _answer(
        self,
        op: Op,
        code: int,
        message: str,
        data: object,
        headers: Mapping[str, str] | None = None,
        *,
        op_name: str = "",
    ) -> Row:
        answer: Row = {
            "retCode": code,
            "retMsg": message,
            "op": op_name or op.get("op", ""),
            "data": data,
            "retExtInfo": {},
            "header": {**(headers or {}), "Timenow": str(self._now_ms())},
            "connId": self._name,
        }
        if op.get("reqId") is not None:
            answer["reqId"] = str(op["reqId"])
        return answer


def read(text: str) -> Op:
    """One operation; what is none becomes one that nobody knows."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def args_of(op: Op) -> list[object]:
    """The arguments of an operation."""
    found = op.get("args")
    return found if isinstance(found, list) else []


def topics_of(op: Op) -> list[str]:
    """The topics of a subscription."""
    return [topic for topic in args_of(op) if isinstance(topic, str)]
