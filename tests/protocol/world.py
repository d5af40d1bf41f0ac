"""The whole system on a virtual clock, as the fixtures of the transcripts want it."""

import asyncio
import itertools
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from realtime.app import Making, Outside, System, open_system
from realtime.model.market import SECOND
from realtime.model.principal import ROLES
from realtime.server.auth import Token, digest
from realtime.settings import Settings
from realtime.venues.chaos import ChaosVenue
from realtime.venues.paper import PaperVenue
from tests.fakes import FREE, START_NS, WatchedStore, no_page, until
from tests.protocol.exchange import FrozenSource
from tests.protocol.transcripts import Json
from tests.server.front import Closed, Socket, request


RESTING = (("g-21", "64000.00"), ("g-22", "63999.00"))
ALICE = "rt_alice"
HOUR_MS = 3_600_000


class MemoryLink:
    """A connection in memory."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket

    async def receive(self, seconds: float) -> Json | None:
        try:
            return await self._socket.next(seconds)
        except (TimeoutError, Closed):
            return None

    def text(self, text: str) -> None:
        self._socket.text(text)

    async def closed(self, seconds: float) -> int | None:
        try:
            return (await self._socket.end(seconds))[0]
        except TimeoutError:
            return None

    async def cut(self) -> None:
        await self._socket.cut()


class AppWorld:
    """A server, its journal and its exchange; `async with` lets it live.

    Args:
        folder: Where the journal goes.
        locked: The fixture with authentication.
    """

    def __init__(self, folder: Path, *, locked: bool) -> None:
        self._path = folder / "journal.db"
        self._locked = locked
        self._secrets = itertools.count(1)
        self._life = AsyncExitStack()
        self._sockets: list[Socket] = []
        self.system: System
        self._source: FrozenSource
        self._chaos: ChaosVenue

    async def __aenter__(self) -> Self:
        await self._start()
        for name, price in RESTING:
            await self._place(name, price)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        settings = Settings(
            store={"path": str(self._path), "backup_hours": 0},
            auth={"required": self._locked},
            risk={"limits": {**FREE, "max_order_notional": "10000"}},
            confirm=[{"op": "trading.resume"}],
            # A poll of open orders would find a lost one before its time is up.
            reconcile={"orders_s": 60},
            paper={"balances": {"USDT": Decimal(100_000)}, "latency_ms": 0},
            log={"level": "critical"},
        )
        loop = asyncio.get_running_loop()
        wall = START_NS + int(loop.time() * SECOND)
        outside = Outside(
            wall=lambda: wall,
            monotonic=lambda: int(loop.time() * SECOND),
            secret=lambda: f"{next(self._secrets):016d}"[::-1] + "x" * 8,
            venue=self._make,
            store=WatchedStore,
            page=no_page,
        )
        self.system = await self._life.enter_async_context(open_system(settings, outside))
        if self._locked:
            self.system.auth.add(
                Token(
                    id="t-alice",
                    digest=digest(ALICE),
                    subject="alice",
                    scopes=ROLES["operator"],
                    expires_at=self.system.clock.ms() + HOUR_MS,
                )
            )
        await until(self.system.ready.is_set)

    async def _stop(self) -> None:
        for socket in self._sockets:
            await socket.cut()
        self._sockets.clear()
        await self._life.aclose()

    def _make(self, making: Making) -> ChaosVenue:
        self._source = FrozenSource(making.now)
        exchange = PaperVenue(
            source=self._source,
            balances=making.settings.paper.balances,
            seed=1,
            now=making.now,
            sleep=making.sleep,
            log=making.log,
            history=making.history,
        )
        self._chaos = ChaosVenue(exchange, seed=1, now=making.now, sleep=making.sleep)
        return self._chaos

    async def _place(self, name: str, price: str) -> None:
        args: dict[str, Any] = {
            "symbol": "BTC/USDT",
            "side": "buy",
            "type": "limit",
            "amount": "0.01",
            "price": price,
            "client_order_id": name,
        }
        headers = {"authorization": f"Bearer {ALICE}"} if self._locked else {}
        page = await request(
            self.system.front, "POST", "/api/order.place?client=desk", args, headers=headers
        )
        assert page.status == 200, page.body

    # --- steps ------------------------------------------------------------------------------------

    async def connect(self, path: str) -> MemoryLink:
        socket = Socket(self.system.front, path)
        await socket.__aenter__()
        self._sockets.append(socket)
        return MemoryLink(socket)

    async def restart(self) -> None:
        await self._stop()
        self._life = AsyncExitStack()
        await self._start()

    async def clock(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def market(self, step: int) -> None:
        self._source.step(step)
        await asyncio.sleep(1)

    async def fill(self) -> None:
        self._source.sweep()
        await asyncio.sleep(0.1)

    async def feed(self, state: str) -> None:
        self._source.silent = state == "silent"
        await asyncio.sleep(1)

    async def venue(self, what: str) -> None:
        assert what == "lose"
        self._chaos.lose_next()

    async def http(self, method: str, path: str, body: str) -> tuple[int, Json]:
        page = await request(self.system.front, method, path, body.encode() if body else None)
        return page.status, page.json()
