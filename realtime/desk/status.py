"""How the server is: `status`, readiness, and what `welcome` tells of the venues.

Everything is derived from the state of the parts and the age of their data, never from "it answers".
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from realtime.desk.desk import Desk
from realtime.desk.entries import Entry
from realtime.desk.feeds import Feeds
from realtime.desk.reconcile import Reconciler
from realtime.model.errors import Code
from realtime.model.market import MS
from realtime.model.risk import Halt, TradingState
from realtime.store.writer import State


Level = Literal["ok", "degraded", "down", "starting"]
WORDS: Final[Mapping[State, Level]] = {
    State.OK: "ok",
    State.FULL: "degraded",
    State.FAILED: "down",
    State.CLOSED: "down",
}
VITAL: Final = ("store", "journal", "engine")
LONGEST: Final = 300
"""Characters of a venue's own words."""
STRICTEST: Final = (TradingState.HALTED, TradingState.REDUCING, TradingState.ACTIVE)


def strictest(states: Iterable[TradingState]) -> TradingState:
    """Give the strictest of some states."""
    return min(states, key=STRICTEST.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What does not change while the server runs."""

    version: str
    environment: str
    mode: str
    started_ts: int
    max_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shut:
    """Why an account is not open.

    Attributes:
        code: What a client is told.
        reason: For people.
        maintenance: Whether the venue says that it is at work on itself.
        retry_s: Time to the next attempt [s].
        ts: Of the last attempt [wire ms].
    """

    code: Code
    reason: str
    maintenance: bool = False
    retry_s: float
    ts: int


@dataclass(slots=True, kw_only=True)
class Watched:
    """An account that is looked at.

    Attributes:
        venue: Its id.
        kind: `paper`, `replay` or `live`.
        source: Where its prices come from.
        shut: Why it is not open; None when it is. Until it is open, the other parts say nothing of it.
        told: What all of it was told to open as.
        notices: Judges the sending of its alerts to people.
        more: What its venue says of itself besides: `eta`, `url`, `latency_ms`, `reconnects`.
    """

    venue: str
    kind: str
    source: str
    desk: Desk
    feeds: Feeds
    reconciler: Reconciler
    shut: Shut | None = None
    told: Callable[[], TradingState] = lambda: TradingState.ACTIVE
    more: Callable[[], Mapping[str, object]] = dict
    notices: Callable[[], tuple[Level, str]] = lambda: ("ok", "")

    def reasons(self, max_age_s: float) -> list[str]:
        """Why it is not ready; empty when it is."""
        if self.shut is not None:
            return [f"{self.venue} cannot be opened: {self.shut.reason}"]
        found: list[str] = []
        if not self.desk.engine.markets:
            found.append("markets are not loaded")
        if not self.reconciler.ready:
            found.append("the account is not reconciled")
            if self.reconciler.why:
                found.append(f"{self.venue}: {self.reconciler.why}"[:LONGEST])
        age = self.feeds.age_s
        if age > max_age_s:
            found.append(f"nothing from {self.venue} for {age:.0f} s")
        if self.desk.store.state is not State.OK:
            found.append(f"the journal is {self.desk.store.state}")
        return found

    @property
    def state(self) -> TradingState:
        """What holds for the whole of it, or will when it is open: by what it was told since, and by its journal."""
        state = self.desk.engine.state()
        return state if self.shut is None else strictest((state, self.told()))

    @property
    def feeding(self) -> tuple[Level, str]:
        """How its streams are."""
        if self.shut is None and self.feeds.silent:
            return "degraded", self.feeds.cause or ""
        return "ok", ""

    @property
    def level(self) -> tuple[Level, str]:
        """How it is."""
        if self.shut is not None:
            return "down", self.shut.code
        if not self.reconciler.ready:
            return "starting", self.reconciler.why[:LONGEST] or "not reconciled"
        return self.feeding

    @property
    def word(self) -> str:
        """How its venue is, in one word."""
        if self.shut is not None:
            return "maintenance" if self.shut.maintenance else "down"
        said = self.more().get("status", "ok")
        if said == "ok" and self.feeds.cause == "maintenance":
            return "maintenance"
        if said == "ok" and (self.feeds.silent or not self.reconciler.ready):
            return "degraded"
        return str(said)

    def row(self) -> Entry:
        """Describe it."""
        told = self.more()
        row: Entry = {
            "id": self.venue,
            "kind": self.kind,
            "status": self.word,
            "source": self.source,
            "eta": told.get("eta"),
            "url": told.get("url"),
            "last_msg_ts": self.asof,
            "latency_ms": told.get("latency_ms"),
            "reconnects": told.get("reconnects", 0),
        }
        if self.shut is not None:
            row |= {
                "code": self.shut.code,
                "reason": self.shut.reason,
                "retry_s": self.shut.retry_s,
                "tried_ts": self.shut.ts,
            }
        return row

    @property
    def asof(self) -> int | None:
        """Last proof of life [wire ms]; None while it is not open."""
        return None if self.shut is not None else self.feeds.asof // MS


class Status:
    """Looks at the parts; keeps since when each is as it is.

    Attributes:
        accounts: All of them, the first one first.
        bots: Judges the bots, which are above the desk.
    """

    def __init__(
        self, *, about: About, accounts: Sequence[Watched], now: Callable[[], int]
    ) -> None:
        self._about = about
        self.accounts = list(accounts)
        self._now = now
        self._since: dict[str, tuple[Level, int]] = {}
        self.stopping = False
        self.bots: Callable[[], tuple[Level, str]] = lambda: ("ok", "")

    @property
    def source(self) -> str:
        """Where the prices come from."""
        return ", ".join(dict.fromkeys(account.source for account in self.accounts))

    @property
    def several(self) -> bool:
        """Whether there is more than one account."""
        return len(self.accounts) > 1

    # -- readiness ---------------------------------------------------------------------------------

    def reasons(self) -> list[str]:
        """Why the server is not ready; empty when it is."""
        found: list[str] = []
        if self.stopping:
            found.append("stopping")
        for account in self.accounts:
            front = f"{account.venue}: " if self.several else ""
            found += [f"{front}{why}" for why in account.reasons(self._about.max_age_s)]
        return found

    def health(self) -> Mapping[str, object]:
        """Make the answer of `system.health`."""
        return {"status": "ok", "ready": not self.reasons()}

    # -- status ------------------------------------------------------------------------------------

    def trading_state(self) -> TradingState:
        """Give the strictest state that holds for the whole of an account."""
        return strictest(account.state for account in self.accounts)

    def components(self) -> dict[str, tuple[Level, str]]:
        """Judge each part."""
        stores = [account.desk.store for account in self.accounts]
        # One that fails speaks for all: the worst word, and the rows that wait in all of them.
        state = max((store.state for store in stores), key=list(WORDS).index)
        waiting = sum(store.waiting for store in stores)
        silent = [account.feeding for account in self.accounts if account.feeding[0] != "ok"]
        # The worst word first, else what the first one has to say.
        sending = sorted((account.notices() for account in self.accounts), key=_is_ok)
        return {
            "store": (WORDS[state], state),
            "journal": (WORDS[state], f"{waiting} rows waiting"),
            "engine": ("ok", ""),
            "hub": ("ok", ""),
            "feeds": silent[0] if silent else ("ok", ""),
            "bots": self.bots(),
            "notifications": sending[0],
            **{f"venue:{account.venue}": account.level for account in self.accounts},
        }

    def level(self) -> str:
        """Judge the whole."""
        parts = self.components()
        if any(parts[name][0] == "down" for name in VITAL):
            return "down"
        if any(account.word == "maintenance" for account in self.accounts):
            return "maintenance"
        return "ok" if all(level == "ok" for level, _ in parts.values()) else "degraded"

    def venues(self) -> list[Entry]:
        """Describe the venues, at length."""
        rows = [account.row() for account in self.accounts]
        if self.several:
            for account, row in zip(self.accounts, rows, strict=True):
                reasons = account.reasons(self._about.max_age_s)
                row |= {
                    "trading_state": account.state,
                    "ready": not reasons,
                    "reasons": reasons,
                }
        return rows

    def facts(self) -> Mapping[str, object]:
        """Tell what a connection learns when it has authenticated."""
        return {
            "trading_state": self.trading_state(),
            "venues": [{"id": a.venue, "status": a.word} for a in self.accounts],
        }

    def asof(self) -> Mapping[str, int | None]:
        """Tell each venue's last proof of life [ms]."""
        return {account.venue: account.asof for account in self.accounts}

    def row(self) -> Mapping[str, object]:
        """Make the object of channel `status`."""
        about, now = self._about, self._now() // MS
        reasons = self.reasons()
        return {
            "status": self.level(),
            "ready": not reasons,
            "reasons": reasons,
            "version": about.version,
            "protocol": 1,
            "environment": about.environment,
            "mode": about.mode,
            "trading_state": self.trading_state(),
            "halts": [
                halt_row(halt) | ({"venue": account.venue} if self.several else {})
                for account in self.accounts
                for halt in account.desk.engine.halts.values()
            ],
            "venues": self.venues(),
            "components": {
                name: {"status": level, "detail": detail, "since_ts": self._changed(name, level)}
                for name, (level, detail) in self.components().items()
            },
            "orders": self._orders(),
            "uptime_s": (now - about.started_ts) // 1000,
            "started_ts": about.started_ts,
        }

    def _orders(self) -> dict[str, int]:
        """Add up what the accounts have counted."""
        made: dict[str, int] = {}
        for account in self.accounts:
            for name, count in account.desk.tally.row().items():
                made[name] = made.get(name, 0) + count
        return made

    def _changed(self, name: str, level: Level) -> int:
        known = self._since.get(name)
        if known is None or known[0] != level:
            known = self._since[name] = (level, self._now() // MS)
        return known[1]

    def mark(self) -> tuple[object, ...]:
        """Give what `status` is published for when it changes."""
        parts = self.components()
        for name, (level, _) in parts.items():
            self._changed(name, level)
        return (
            self.level(),
            not self.reasons(),
            self.trading_state(),
            *(level for level, _ in parts.values()),
            *(account.word for account in self.accounts),
            *(account.shut.reason for account in self.accounts if account.shut is not None),
        )


def _is_ok(told: tuple[Level, str]) -> bool:
    return told[0] == "ok"


def halt_row(halt: Halt) -> Entry:
    """Make the entry of a halt."""
    return {
        "scope": halt.scope,
        "state": halt.state,
        "reason": halt.reason,
        "by": halt.by,
        "ts": halt.ts // MS,
    }
