"""The parts of ccxt's side put together: public data with a way of its own, and an account that trades.

Rules of this file: (1) public data and account have an instance of ccxt each, and each its own way to the exchange;
(2) a key is used by one process: its lock is taken before anything is signed and given back at the end; (3) a key that can
withdraw does not trade unless it is named; an exchange that does not say so in time is asked again, and then it is an alert.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Final, Protocol, runtime_checkable

from realtime.model.errors import Failure
from realtime.venues.base import Now, Post, PublicFeed, Sleep
from realtime.venues.ccxt import asked
from realtime.venues.ccxt.account import Account
from realtime.venues.ccxt.calls import Calls
from realtime.venues.ccxt.capabilities import matrix
from realtime.venues.ccxt.keys import Lock
from realtime.venues.ccxt.nonces import Forgetful, Ledger
from realtime.venues.ccxt.permissions import Permissions, check, permissions, vet, warn
from realtime.venues.ccxt.venue import CcxtVenue
from realtime.venues.ccxt.way import Tell
from realtime.venues.chance import Chance


TOLD_S: Final = 5.0
"""How long a start waits to be told what its key may do [s]."""


@runtime_checkable
class Closing(Protocol):
    """What has to be closed."""

    async def close(self) -> None:
        """Close it."""


def calls_of(
    account: Account,
    *,
    now: Now,
    loop: asyncio.AbstractEventLoop,
    tell: Tell,
    ledger: Ledger | None = None,
    seed: int = 0,
) -> Calls:
    """Make the way of an account; without a ledger nothing of it outlives the process."""
    chance = Chance(seed, account.id, account.exchange, "way")
    return Calls(
        account,
        now=now,
        loop=loop,
        chance=chance.random,
        ledger=ledger or Forgetful(),
        tell=tell,
    )


class TradingVenue(CcxtVenue):
    """An account whose key is ours alone while it is open, and asked what it may do; the exchange's clock is watched."""

    def __init__(
        self,
        *,
        account: Account,
        public: PublicFeed,
        calls: Calls,
        now: Now,
        sleep: Sleep,
        loop: asyncio.AbstractEventLoop,
        tell: Tell,
    ) -> None:
        """Make it; arguments as of `CcxtVenue`."""
        super().__init__(
            account=account,
            public=public,
            calls=calls,
            now=now,
            sleep=sleep,
            loop=loop,
            tell=tell,
            check_clock=calls.check_clock,
            again=calls.read,
        )
        self.calls = calls
        self._lock: Lock | None = None
        # What the key may do; None while nobody has told.
        self._may: Permissions | None = None
        self._wait = sleep

    async def open(self, post: Post) -> None:
        """Take the key, open as `CcxtVenue` does, and ask what the key may do.

        Raises:
            Refused: `conflict`, when another process uses the key; `invalid`, when it can withdraw and is not named.
        """
        self._lock = Lock.take(self._account)
        async with AsyncExitStack() as undo:
            undo.callback(self._release)
            await super().open(post)
            undo.push_async_callback(self.close)
            if isinstance(self.public, Closing):
                undo.push_async_callback(self.public.close)
            self._may = await self._told_permissions()
            if self._may is not None:
                check(self._account, self._may)
            undo.pop_all()

    async def _told_permissions(self) -> Permissions | None:
        """Ask once; None without an answer in time: whether the exchange is there is not judged here."""
        try:
            async with asyncio.timeout(TOLD_S):
                return await permissions(self.exchange, self.id)
        except (Failure, TimeoutError):
            return None

    async def run(self) -> None:
        """Deliver events, and look at the exchange's clock now and then, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                offset = self.calls.offset
                if offset is not None:
                    group.create_task(offset.run(self._wait), name=f"{self.id} clock")
                if self._may is not None:
                    warn(self.id, self._account.key.masked, self._may, self._tell)
                else:
                    group.create_task(
                        vet(self.exchange, self._account, self._tell, self._wait),
                        name=f"{self.id} key",
                    )
                await super().run()
        finally:
            self._release()

    def capabilities(self) -> dict[str, dict[str, str]]:
        """Say what the exchange offers; see `capabilities.matrix`."""
        return matrix(self.exchange.has)

    async def fees(self, symbol: str) -> tuple[Decimal, Decimal] | None:
        """Ask what the account pays: maker and taker rate; None when the exchange does not tell.

        Raises:
            VenueUnknown: The question failed.
        """
        return await asked.fees(self.exchange, symbol, self.id)

    async def condition(self) -> Mapping[str, object] | None:
        """Ask how the exchange says it is: `{status, eta, url}`; None when it does not tell.

        Raises:
            VenueUnknown: The question failed.
        """
        return await asked.condition(self.exchange, self.id)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
