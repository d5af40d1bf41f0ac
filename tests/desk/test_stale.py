"""What is shown of an account that nobody has compared with its venue: stale on every channel, until it is reconciled."""

import asyncio
from pathlib import Path
from typing import Any

from realtime.app import Making, Outside, open_system
from realtime.desk.outlet import ACCOUNT
from realtime.hub.hub import Wanted
from realtime.model.errors import Code, VenueRejected
from realtime.venues.chaos import ChaosVenue, Fault, Kind
from tests.commands.test_venue_away import Faulty
from tests.fakes import BTC, BUY, ScriptedVenue, replace, until
from tests.hub.world import FakeWire
from tests.server.front import Socket
from tests.test_accounts import KEYS, LIVE, Away, outside, settings


Rows = dict[str, dict[str, Any]]
TABLES = ("positions", "balances")
AWAY = Fault(kind=Kind.DISCONNECT)


class Returning(Faulty):
    """A world whose venue may be away from the start."""

    away: tuple[Fault, ...] = ()

    def outside(self) -> Outside:
        made = super().outside()

        def make(making: Making) -> ChaosVenue:
            assert made.venue is not None
            venue = made.venue(making)
            assert isinstance(venue, ChaosVenue)
            venue.set_faults(self.away)
            return venue

        return replace(made, venue=make)


class Watcher:
    """A client of the account's channels: what it was told of their sources, and the rows it holds.

    Attributes:
        stale: Channels that it believes stale.
        told: The notices `stale`, as they came.
        rows: Rows by table and key.
    """

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._seen = 0
        self.stale: set[str] = set()
        self.told: list[dict[str, Any]] = []
        self.rows: dict[str, Rows] = {name: {} for name in TABLES}

    async def subscribe(self) -> dict[str, dict[str, Any]]:
        """Subscribe, and read what comes at once."""
        reply = await self._socket.call("subscribe", channels=list(ACCOUNT))
        entries = {entry["channel"]: entry for entry in reply["result"]["channels"]}
        self.stale = {name for name, entry in entries.items() if entry["stale"]}
        await self.read()
        return entries

    async def read(self) -> None:
        """Read what has come."""
        await self._socket.call("ping")
        await asyncio.sleep(0)
        self._socket.waiting()
        for message in self._socket.read[self._seen :]:
            self._take(message)
        self._seen = len(self._socket.read)

    async def until(self, *stale: str) -> None:
        """Read on until these channels and no others are stale."""
        async with asyncio.timeout(60):
            while self.stale != set(stale):
                await asyncio.sleep(0.05)
                await self.read()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "notice" and message["event"] == "stale":
            names = message["channels"]
            (self.stale.update if message["data"]["stale"] else self.stale.difference_update)(names)
            self.told.append(message["data"])
        elif message["type"] in {"snapshot", "update"} and message["channel"] in TABLES:
            name = message["channel"]
            if message["type"] == "snapshot":
                self.rows[name] = {}
            self.rows[name] |= {row["id"]: row for row in message["data"]["set"]}

    def marks(self) -> set[bool]:
        """What its rows say of themselves."""
        return {row["stale"] for rows in self.rows.values() for row in rows.values()}


BOUGHT = BUY | {"type": "market", "price": None}


async def test_an_account_is_stale_from_the_start_until_the_venue_has_answered(
    tmp_path: Path,
) -> None:
    """Found by a drive: the position of the last life came as if it were held now, while the venue was away."""
    world = Returning(tmp_path / "j.db")
    async with world.life():
        bought = await world.call("order.place", **BOUGHT)
        assert bought.ok, bought.error
    await asyncio.sleep(60)
    world.away = (AWAY,)
    async with world.life(ready=False) as system, Socket(system.front) as socket:
        watcher = Watcher(socket)
        entries = await watcher.subscribe()
        listed = await world.call("position.list")
        whole = await world.call("balance.list")
        one = await world.call("balance.get", currency="USDT")
        assert whole.code is one.code is Code.VENUE_UNAVAILABLE
        assert watcher.stale == set(ACCOUNT)
        assert set(watcher.rows["positions"]) == {f"{BTC}|long"}
        assert watcher.marks() == {True}
        assert listed.result is not None
        held: Any = listed.result["positions"]
        assert [row["stale"] for row in held] == [True]
        then = entries["positions"]["asof"]
        assert then < system.clock.ms() - 50_000

        world.chaos.set_faults([])
        await watcher.until()
        await watcher.read()
        assert [told["stale"] for told in watcher.told] == [False]
        assert watcher.told[0]["asof"] > then
        assert watcher.marks() == {False}
        async with Socket(system.front) as late:
            entries = await Watcher(late).subscribe()
            assert {entry["stale"] for entry in entries.values()} == {False}


async def test_an_account_is_stale_while_its_private_data_is_in_doubt() -> None:
    world = Returning()
    async with world.life() as system, Socket(system.front) as socket:
        await world.call("order.place", **BOUGHT)
        watcher = Watcher(socket)
        await watcher.subscribe()
        assert (watcher.stale, watcher.marks()) == (set(), {False})

        system.reconciler.trust(False, "its stream is away")
        await watcher.until(*ACCOUNT)
        await watcher.read()
        assert watcher.marks() == {True}

        system.reconciler.trust(True, "")
        await watcher.until()
        await watcher.read()
        assert watcher.marks() == {False}
        assert [(told["stale"], told.get("cause"), told["venue"]) for told in watcher.told] == [
            (True, "desync", "paper"),
            (False, None, "paper"),
        ]


async def test_an_account_is_stale_with_the_whole_of_its_venue() -> None:
    world = Returning()
    async with world.life() as system, Socket(system.front) as socket:
        await world.call("order.place", **BOUGHT)
        watcher = Watcher(socket)
        await watcher.subscribe()

        world.chaos.set_faults([AWAY])
        await watcher.until(*ACCOUNT)
        await watcher.read()
        assert watcher.marks() == {True}
        # That its private data is trusted again meanwhile makes nothing fresh.
        system.reconciler.trust(False, "its stream is away")
        system.reconciler.trust(True, "")
        await asyncio.sleep(3)
        await watcher.read()
        assert watcher.stale == set(ACCOUNT)

        world.chaos.set_faults([])
        await watcher.until()
        await watcher.read()
        assert watcher.marks() == {False}
        assert [(told["stale"], told.get("cause")) for told in watcher.told] == [
            (True, "disconnected"),
            (False, None),
        ]


async def test_an_account_whose_venue_could_not_be_opened_is_stale_and_not_one_without_positions() -> (
    None
):
    away = Away(VenueRejected(Code.VENUE_UNAVAILABLE, "no answer"), 2)
    other = ScriptedVenue()
    other.id = "other"
    given = LIVE | {"venues": [{"id": name, **KEYS} for name in ("other", "kraken")]}
    async with open_system(settings(**given), outside(other=other, kraken=away)) as system:
        await until(lambda: system.places[0].branch.reconciler.ready)
        hub, wire = system.house.hub, FakeWire()
        reader = hub.attach(wire, batch=False, every=0)
        names = ("positions", "positions@kraken", "balances@kraken")
        entries = hub.subscribe(reader, [Wanted(channel=hub.channel(name)) for name in names])

        assert [entry["stale"] for entry in entries] == [False, True, True]

        await until(lambda: not system.places[1].shut and system.ready.is_set(), within=120)
        await asyncio.sleep(0.1)
        told = [message for message in wire.take() if message["type"] == "notice"]
        assert [(m["channels"], m["data"]["stale"], m["data"]["venue"]) for m in told] == [
            (list(names[1:]), False, "kraken")
        ]
