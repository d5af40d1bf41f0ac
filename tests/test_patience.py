"""When the silence of a stream means something: what is set is what counts."""

import asyncio

import pytest

from realtime.app import open_system
from realtime.hub.hub import Wanted
from realtime.makers import Making, paper_account, patience
from realtime.outside import Outside
from realtime.settings import Settings
from realtime.venues.base import Venue
from realtime.venues.chaos import ChaosVenue, Fault, Kind
from realtime.venues.rhythm import Patience
from tests.fakes import WatchedStore, no_page, until
from tests.hub.wires import HeldWire
from tests.venues.frozen import SYMBOL, FrozenMarket


SET = {"stale_min_s": 1.0, "stale_factor": 3.0, "stale_max_s": 2.0}


def test_patience_is_read_from_the_settings() -> None:
    assert patience(Settings()) == Patience()
    assert patience(Settings(market_data=SET)) == Patience(min_s=1.0, factor=3.0, max_s=2.0)


async def test_the_venue_of_an_account_has_the_patience_that_is_set() -> None:
    """Found in an audit: nobody read the keys."""
    made: list[tuple[FrozenMarket, Venue]] = []

    def make(making: Making) -> Venue:
        source = FrozenMarket(now=making.now, sleep=making.sleep)
        made.append((source, paper_account(making, source, 0.0)))
        return made[0][1]

    given = Settings(market_data=SET, store={"path": "", "backup_hours": 0})
    async with open_system(given, Outside(venue=make, store=WatchedStore, page=no_page)) as system:
        await until(lambda: system.reconciler.ready)
        ((source, chaos),) = made
        assert isinstance(chaos, ChaosVenue)
        chaos.set_faults([Fault(kind=Kind.FROZEN_FEED)])
        since = asyncio.get_running_loop().time()
        source.step(1)
        hub = system.hub

        def stale() -> bool:
            reader = hub.attach(HeldWire(), batch=False, every=0)
            (told,) = hub.subscribe(reader, [Wanted(channel=hub.channel(f"ticker:{SYMBOL}"))])
            hub.remove(reader)
            return told["stale"] is True

        await until(stale, within=30)

        assert asyncio.get_running_loop().time() - since == pytest.approx(1.0, abs=0.5)
