"""The plainest client there is: one WebSocket, JSON out and in, no event loop."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from websockets.sync.client import ClientConnection, connect


class Plain:
    """A client that sends JSON and keeps what it reads.

    Attributes:
        welcome: The first message.
        messages: All others that were no reply, oldest first.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.welcome: dict[str, Any] = self._read()
        self.messages: list[dict[str, Any]] = []

    def _read(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(self._socket.recv(timeout=20))
        return message

    def call(self, op: str, **args: Any) -> dict[str, Any]:
        """Call an op; give the whole reply."""
        number = next(self._ids)
        self._socket.send(orjson.dumps({"op": op, "id": number, **args}).decode())
        while True:
            message = self._read()
            if message["type"] == "reply" and message.get("id") == number:
                return message
            self.messages.append(message)

    def ask(self, op: str, **args: Any) -> dict[str, Any]:
        """Call an op that must succeed; give its result."""
        reply = self.call(op, **args)
        assert reply["ok"], reply
        found: dict[str, Any] = reply["result"]
        return found

    def refused(self, op: str, **args: Any) -> str:
        """Call an op that must be refused; give code and message."""
        reply = self.call(op, **args)
        assert not reply["ok"], reply
        return f"{reply['error']['code']}: {reply['error']['message']}"

    def subscribe(self, *channels: str) -> None:
        assert self.ask("subscribe", channels=list(channels))["failed"] == []

    def until(self, channel: str, wanted: Callable[[Any], object]) -> Any:
        """Give the data of the first message of a channel that is as wanted."""
        # A worker of backtests starts in a second, or in twenty where others are at work.
        end = time.monotonic() + 60
        for place in itertools.count():
            if place == len(self.messages):
                assert time.monotonic() < end, f"{channel} did not become as wanted"
                self.messages.append(self._read())
            message = self.messages[place]
            if message.get("channel") == channel and wanted(message["data"]):
                return message["data"]
        raise AssertionError("unreachable")


@contextmanager
def plainly(address: str) -> Iterator[Plain]:
    """Connect, and read `welcome`."""
    with connect(address, compression=None) as socket:
        yield Plain(socket)
