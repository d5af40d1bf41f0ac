"""How the server is: `status`, readiness, and what `welcome` tells of the venues.

Everything is derived from the state of the parts and the age of their data, never from "it answers".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from realtime.desk.desk import Desk
from realtime.desk.entries import Entry
from realtime.desk.feeds import Feeds
from realtime.desk.reconcile import Reconciler
from realtime.model.market import MS
from realtime.store.writer import State


Level = Literal["ok", "degraded", "down", "starting"]
WORDS: Final[Mapping[State, Level]] = {
    State.OK: "ok",
    State.FULL: "degraded",
    State.FAILED: "down",
    State.CLOSED: "down",
}
VITAL: Final = ("store", "journal", "engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What does not change while the server runs."""

    version: str
    environment: str
    mode: str
    venue: str
    kind: str
    source: str
    started_ts: int
    max_age_s: float


class Status:
    """Looks at the parts; keeps since when each is as it is.

    Attributes:
        bots: Judges the bots, which are above the desk.
    """

    def __init__(
        self,
        *,
        about: About,
        desk: Desk,
        feeds: Feeds,
        reconciler: Reconciler,
        now: Callable[[], int],
    ) -> None:
        self._about = about
        self._desk = desk
        self._feeds = feeds
        self._reconciler = reconciler
        self._now = now
        self._since: dict[str, tuple[Level, int]] = {}
        self.stopping = False
        self.bots: Callable[[], tuple[Level, str]] = lambda: ("ok", "")

    @property
    def source(self) -> str:
        """Where the prices come from."""
        return self._about.source

    # -- readiness ---------------------------------------------------------------------------------

    def reasons(self) -> list[str]:
        """Why the server is not ready; empty when it is."""
        found: list[str] = []
        if self.stopping:
            found.append("stopping")
        if not self._desk.engine.markets:
            found.append("markets are not loaded")
        if not self._reconciler.ready:
            found.append("the account is not reconciled")
        age = self._feeds.age_s
        if age > self._about.max_age_s:
            found.append(f"nothing from {self._about.venue} for {age:.0f} s")
        if self._desk.store.state is not State.OK:
            found.append(f"the journal is {self._desk.store.state}")
        return found

    def health(self) -> Mapping[str, object]:
        """Make the answer of `system.health`."""
        return {"status": "ok", "ready": not self.reasons()}

    # -- status ------------------------------------------------------------------------------------

    def components(self) -> dict[str, tuple[Level, str]]:
        """Judge each part."""
        store = self._desk.store
        feeds: tuple[Level, str] = ("ok", "")
        if self._feeds.silent:
            feeds = ("degraded", "silent")
        venue: tuple[Level, str] = feeds
        if not self._reconciler.ready:
            venue = ("starting", "not reconciled")
        return {
            "store": (WORDS[store.state], store.state),
            "journal": (WORDS[store.state], f"{store.waiting} rows waiting"),
            "engine": ("ok", ""),
            "hub": ("ok", ""),
            "feeds": feeds,
            "bots": self.bots(),
            f"venue:{self._about.venue}": venue,
        }

    def level(self) -> str:
        """Judge the whole."""
        parts = self.components()
        if any(parts[name][0] == "down" for name in VITAL):
            return "down"
        return "ok" if all(level == "ok" for level, _ in parts.values()) else "degraded"

    def venues(self) -> list[Entry]:
        """Describe the venues, at length."""
        status = "ok"
        if self._feeds.silent or not self._reconciler.ready:
            status = "degraded"
        return [
            {
                "id": self._about.venue,
                "kind": self._about.kind,
                "status": status,
                "source": self._about.source,
                "eta": None,
                "url": None,
                "last_msg_ts": self._feeds.asof // MS,
                "latency_ms": None,
                "reconnects": 0,
            }
        ]

    def facts(self) -> Mapping[str, object]:
        """Tell what a connection learns when it has authenticated."""
        return {
            "trading_state": self._desk.engine.state(),
            "venues": [{"id": v["id"], "status": v["status"]} for v in self.venues()],
        }

    def asof(self) -> Mapping[str, int | None]:
        """Tell each venue's last proof of life [ms]."""
        return {self._about.venue: self._feeds.asof // MS}

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
            "trading_state": self._desk.engine.state(),
            "halts": [
                {
                    "scope": halt.scope,
                    "state": halt.state,
                    "reason": halt.reason,
                    "by": halt.by,
                    "ts": halt.ts // MS,
                }
                for halt in self._desk.engine.halts.values()
            ],
            "venues": self.venues(),
            "components": {
                name: {"status": level, "detail": detail, "since_ts": self._changed(name, level)}
                for name, (level, detail) in self.components().items()
            },
            "orders": self._desk.tally.row(),
            "uptime_s": (now - about.started_ts) // 1000,
            "started_ts": about.started_ts,
        }

    def _changed(self, name: str, level: Level) -> int:
        known = self._since.get(name)
        if known is None or known[0] != level:
            known = self._since[name] = (level, self._now() // MS)
        return known[1]

    def mark(self) -> tuple[object, ...]:
        """Give what `status` is published for when it changes."""
        parts = self.components()
        return (
            self.level(),
            not self.reasons(),
            self._desk.engine.state(),
            *(level for level, _ in parts.values()),
        )
