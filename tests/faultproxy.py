"""A relay between a client and a server that does to bytes what bad networks do (reliability 8.3).

Rules of this file: (1) it knows nothing of what it carries; (2) chance comes from a seed; (3) a fault is a fact: what
happened is counted, so that a test that met nothing fails.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


BITE = 4_096
NOW = struct.pack("ii", 1, 0)  # SO_LINGER: reset instead of a farewell


class Proxy:
    """Relays every connection to one address. All faults are off until they are switched on.

    Attributes:
        address: Where the server is; may change between connections.
        port: Where this listens.
        delay_s: Longest delay of each bite [s]; drawn anew each time.
        refusing: Whether new connections are reset at once.
        met: How often each fault happened.
    """

    def __init__(self, address: tuple[str, int], chance: random.Random) -> None:
        self.address = address
        self.port = 0
        self.delay_s = 0.0
        self.refusing = False
        self.met: Counter[str] = Counter()
        self._chance = chance
        self._links: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}
        self._flows = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._budget: dict[str, int] = {}
        for flow in self._flows.values():
            flow.set()

    # --- faults -----------------------------------------------------------------------------------

    def reset(self) -> None:
        """Reset every connection, both ends."""
        for ends in self._links.values():
            for end in ends:
                self._reset(end, "reset")

    def half_close(self, direction: str) -> None:
        """Say to one end that the other will send nothing more: `up` to the server, `down` to the client."""
        for ends in self._links.values():
            with suppress(OSError, RuntimeError):
                ends[direction == "up"].write_eof()
                self.met[f"half-close {direction}"] += 1

    def freeze(self, direction: str) -> None:
        """Carry nothing in one direction until `thaw`; what comes is kept, by the kernels too."""
        self._flows[direction].clear()
        self.met[f"freeze {direction}"] += 1

    def thaw(self) -> None:
        for flow in self._flows.values():
            flow.set()

    def cut_after(self, direction: str, count: int) -> None:
        """Reset whatever connection carries the n-th byte from now: in the middle of a frame, likely."""
        self._budget[direction] = count

    def calm(self) -> None:
        """Let nothing go wrong any more."""
        self.delay_s = 0.0
        self.refusing = False
        self._budget.clear()
        self.thaw()

    # --- carrying ---------------------------------------------------------------------------------

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        if self.refusing:
            self._reset(back, "refused")
            return
        try:
            server, out = await asyncio.open_connection(*self.address)
        except OSError:
            self._reset(back, "unreachable")
            return
        task = asyncio.current_task()
        assert task is not None
        self._links[task] = [back, out]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry("up", client, out))
                group.create_task(self._carry("down", server, back))
        finally:
            del self._links[task]
            for end in (back, out):
                end.close()

    async def _carry(
        self, direction: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        with suppress(
            OSError, RuntimeError
        ):  # RuntimeError: this end has said that nothing more will come
            while data := await source.read(BITE):
                if self.delay_s:
                    await asyncio.sleep(self._chance.uniform(0, self.delay_s))
                await self._flows[direction].wait()
                left = self._budget.get(direction)
                if left is not None and left <= len(data):
                    del self._budget[direction]
                    sink.write(data[:left])
                    await sink.drain()
                    self.met[f"cut {direction}"] += 1
                    self.reset()
                    return
                if left is not None:
                    self._budget[direction] = left - len(data)
                sink.write(data)
                await sink.drain()
        sink.close()  # the end of one direction is the end of both: no WebSocket lives on half

    def _reset(self, end: asyncio.StreamWriter, what: str) -> None:
        sock = end.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
        end.transport.abort()
        self.met[what] += 1


@asynccontextmanager
async def proxy(address: tuple[str, int], chance: random.Random) -> AsyncIterator[Proxy]:
    """Listen on a free port of loopback."""
    made = Proxy(address, chance)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.calm()
        made.reset()
        await server.wait_closed()
