"""Venues made from settings: the paper exchange on the embedded market, on a recording, on a venue's live prices.

Rules of this file: (1) what an account is on is chosen by the settings and never changes while the server runs;
(2) ccxt is imported by the one account that needs it, and by no server that has none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from realtime.desk.recovery import NUMBER, VENUE
from realtime.engine.matching import Tier
from realtime.model.market import Market
from realtime.settings import FeeSettings, Settings
from realtime.store import State, Store
from realtime.venues.base import MarketSource, Venue
from realtime.venues.ccxt.account import NONE, Account
from realtime.venues.ccxt.calls import Calls
from realtime.venues.ccxt.recorded import is_recording
from realtime.venues.chaos import ChaosVenue, Fault, Kind
from realtime.venues.listing import Fees
from realtime.venues.live import LiveSource
from realtime.venues.market import EmbeddedMarket
from realtime.venues.paper import PaperVenue
from realtime.venues.replay import ReplaySource, recording
from realtime.venues.rhythm import Patience


if TYPE_CHECKING:  # see rule 2
    from realtime.venues.ccxt.public import PublicData


def write_down(
    store: Store, loop: asyncio.AbstractEventLoop, kind: str, key: str, body: bytes
) -> Awaitable[None]:
    """Write a row that no wish waits for; what is given is done once it is on disk.

    Raises:
        Refused: `busy`, see `Store.append`.
    """
    done: asyncio.Future[None] = loop.create_future()

    def then(_seq: int) -> None:
        if not done.done():
            done.set_result(None)

    store.append(kind, key, body, then, safety=True)
    return done


class JournalLog:
    """The paper exchange's own books, kept in the journal of its account."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self.store = store
        self._loop = loop

    @property
    def leads(self) -> bool:
        """Whether what the desk says of an entry stands behind it in the same file, and is told once that is on disk.

        While the journal cannot be written clients are answered without it.
        """
        return self.store.state is State.OK

    def append(self, body: bytes) -> Awaitable[None]:
        """Queue one entry; the future is done once it is on disk."""
        return write_down(self.store, self._loop, VENUE, "", body)

    def lead(self, body: Callable[[], bytes]) -> None:
        """Queue one entry before all that the journal takes from now on; nobody waits for it."""
        self.store.append(VENUE, "", body, safety=True)


class JournalLedger:
    """The largest number that each key of an exchange has used, kept in the journal a block ahead.

    Args:
        store: The journal.
        loop: Of the futures.
        numbers: What the journal held at the start, by fingerprint of the key.
    """

    def __init__(
        self, store: Store, loop: asyncio.AbstractEventLoop, numbers: Mapping[str, int]
    ) -> None:
        self._store = store
        self._loop = loop
        self._numbers = dict(numbers)

    def last(self, key: str) -> int | None:
        """Give the largest number kept for a key; None for a new one."""
        return self._numbers.get(key)

    def reserve(self, key: str, upto: int) -> Awaitable[None]:
        """Keep a number; done when it is on disk."""
        self._numbers[key] = upto
        return write_down(self._store, self._loop, NUMBER, key, b"%d" % upto)


Rows = Callable[[], Sequence[Mapping[str, object]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A client of an exchange, as monitoring sees it.

    Attributes:
        use: `public`: prices, without a key; `account`: what is signed.
        calls: Its way to the exchange.
        streams: Makes its rows of `monitoring.hybrid`.
        counted: Gives what its streams count.
        offered: Says what the exchange offers; see `capabilities.matrix`. None where another client says it.
    """

    use: Literal["public", "account"]
    calls: Calls
    streams: Rows
    counted: Callable[[], Mapping[str, int]]
    offered: Callable[[], Mapping[str, Mapping[str, str]]] | None = None

    def row(self) -> Mapping[str, object]:
        """Make its row of `exchanges` in `monitoring.metrics`; its client is made."""
        return {**self.calls.way.row(), "use": self.use, "streams": self.counted()}


def _unseen(_upstream: Upstream) -> None:
    """Show nobody."""


def _mute(_level: str, _code: str, _text: str, _data: Mapping[str, object]) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """What a maker of a venue may use.

    Attributes:
        log: Keeps the books of a paper exchange.
        history: What it kept so far, oldest first.
        id: Of the account.
        numbers: Largest number used by each key, by its fingerprint.
        known: Markets that the journal is about, by symbol.
        tell: Takes alerts: level, code, text, data.
        show: Takes a client of an exchange, to be shown.
    """

    settings: Settings
    now: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]]
    log: JournalLog
    history: Iterable[bytes]
    loop: asyncio.AbstractEventLoop
    id: str = "paper"
    numbers: Mapping[str, int] = field(default_factory=dict)
    known: Mapping[str, Market] = field(default_factory=dict)
    tell: Callable[[str, str, str, Mapping[str, object]], None] = _mute
    show: Callable[[Upstream], None] = _unseen


MakeVenue = Callable[[Making], Venue]


def paper(making: Making) -> Venue:
    """Make the paper exchange on the embedded market."""
    settings = making.settings.paper
    fees = rates_of(settings.fees)
    source = EmbeddedMarket(
        seed=settings.seed,
        now=making.now,
        sleep=making.sleep,
        symbols=settings.symbols,
        fees=fees,
        flow_per_s=settings.flow_per_s,
    )
    return paper_account(making, source, settings.latency_ms / 1000)


def rates_of(fees: FeeSettings) -> Fees:
    """Give the rates that markets of our own list, those of an account without a volume."""
    return Fees(**fees.model_dump(exclude={"tiers"}))


def on_prices_of(account: Account, making: Making) -> Venue:
    """Make the paper exchange on a venue's live prices; its keys, if there are any, are not used."""
    public = replace(account, id=making.id, key=NONE, secret=NONE, password=NONE)
    data = public_data(public, making)
    source = LiveSource(data, venue=making.id, now=making.now, sleep=making.sleep)
    return paper_account(making, source, making.settings.paper.latency_ms / 1000)


def public_data(account: Account, making: Making) -> "PublicData":
    """Make the public data of a venue; written down where `record.path` wants it.

    Raises:
        Refused: `invalid`, when the recording cannot be made.
    """
    from realtime.venues.ccxt.opening import calls_of  # noqa: PLC0415 - see rule 2
    from realtime.venues.ccxt.public import PublicData  # noqa: PLC0415 - see rule 2

    record, seed = making.settings.record, making.settings.paper.seed
    way = calls_of(account, now=making.now, loop=making.loop, tell=making.tell, seed=seed)
    make: Callable[..., PublicData] = PublicData
    if record.path:
        from realtime.venues.ccxt.recording import (  # noqa: PLC0415 - see rule 2
            Limits,
            RecordedData,
            fresh,
        )

        make = partial(
            RecordedData,
            fresh(Path(record.path), account.id, making.now(), record.keep),
            limits=Limits(
                part_bytes=record.part_mb * 1_000_000,
                part_s=record.part_hours * 3_600,
                keep=record.keep,
            ),
        )
    data = make(
        account=account,
        now=making.now,
        sleep=making.sleep,
        hooks=(way,),
        seed=seed,
        tell=making.tell,
        known=making.known,
        patience=patience(making.settings),
    )
    making.show(
        Upstream(
            use="public",
            calls=way,
            streams=data.feeds,
            counted=data.counted,
            offered=data.capabilities,
        )
    )
    return data


def on_recording(making: Making, file: Path, speed: float | None) -> Venue:
    """Make the paper exchange on a recorded session.

    Args:
        making: What it is made with.
        file: The recording.
        speed: Times the pace of the recording; None is as fast as possible.
    """
    settings = making.settings.paper
    latency_s = settings.latency_ms / 1000 / (speed or 1000)
    if is_recording(file):
        from realtime.venues.ccxt.playback import PlayedData, Player  # noqa: PLC0415 - see rule 2

        player = Player(file, now=making.now, sleep=making.sleep, speed=speed)
        data = PlayedData(player, now=making.now, sleep=making.sleep)
        played = LiveSource(data, venue=making.id, now=making.now, sleep=making.sleep)
        return paper_account(making, played, latency_s, "replay")
    source = ReplaySource(
        recording(file),
        now=making.now,
        sleep=making.sleep,
        speed=speed,
        fees=rates_of(settings.fees),
    )
    return paper_account(making, source, latency_s, "replay")


def paper_account(
    making: Making, source: MarketSource, latency_s: float, kind: str = "paper"
) -> Venue:
    """Make a paper account on a source of prices, with switches for faults."""
    settings = making.settings.paper
    exchange = PaperVenue(
        id=making.id,
        source=source,
        balances=settings.balances,
        seed=settings.seed,
        now=making.now,
        sleep=making.sleep,
        latency_s=latency_s,
        log=making.log,
        history=making.history,
        tiers=tuple(Tier(volume=t.volume, share=t.share) for t in settings.fees.tiers),
        kind=kind,
        known=making.known,
    )
    return ChaosVenue(
        exchange,
        seed=settings.seed,
        now=making.now,
        sleep=making.sleep,
        patience=patience(making.settings),
    )


def patience(settings: Settings) -> Patience:
    """Read when the silence of a stream means something."""
    told = settings.market_data
    return Patience(min_s=told.stale_min_s, factor=told.stale_factor, max_s=told.stale_max_s)


class Faults:
    """The switches of `system.fault`, on the venue that has them."""

    def __init__(self, venue: ChaosVenue) -> None:
        self._venue = venue

    @property
    def kinds(self) -> Sequence[str]:
        """What can go wrong on request."""
        return [kind.value for kind in Kind]

    @property
    def markets(self) -> Mapping[str, Market]:
        """Where it can go wrong."""
        return self._venue.markets

    def switched(self) -> Sequence[Mapping[str, object]]:
        """Give the faults that are on."""
        return [asdict(fault) for fault in self._venue.faults]

    def switch(self, faults: Sequence[Mapping[str, Any]]) -> None:
        """Switch these on and all others off."""
        self._venue.set_faults([Fault(**{**raw, "kind": Kind(raw["kind"])}) for raw in faults])


def faults_of(venue: Venue) -> Faults | None:
    """Give the switches of a venue that has some."""
    return Faults(venue) if isinstance(venue, ChaosVenue) else None


def trading_at(account: Account, making: Making) -> Venue:
    """Make an account that trades for real."""
    from realtime.venues.ccxt.opening import TradingVenue, calls_of  # noqa: PLC0415 - see rule 2

    own = replace(account, id=making.id)
    calls = calls_of(
        own,
        now=making.now,
        loop=making.loop,
        tell=making.tell,
        ledger=JournalLedger(making.log.store, making.loop, making.numbers),
        seed=making.settings.paper.seed,
    )
    venue = TradingVenue(
        account=own,
        public=public_data(replace(own, key=NONE, secret=NONE, password=NONE), making),
        calls=calls,
        now=making.now,
        sleep=making.sleep,
        loop=making.loop,
        tell=making.tell,
    )
    making.show(
        Upstream(use="account", calls=calls, streams=venue.private_rows, counted=venue.counted)
    )
    return venue
