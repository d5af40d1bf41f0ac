"""What a venue tells only on request, kept for a while (functional specification, F21).

Rules of this file: (1) what a stream feeds is never here: its newest state is its own cache; (2) of many who ask for the
same at a time one asks the venue; (3) a failure is told to those who wait and not kept; (4) nothing decided about money
is read from here: that takes data of at most 10 s, which is the stream's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from realtime.model.errors import Failure
from realtime.model.market import MS


TTL_S: Final[Mapping[str, float]] = MappingProxyType(
    {
        "account_info": 600.0,
        "trading_fees": 3600.0,
        "order_history": 180.0,
        "open_orders": 15.0,
        "markets": 7200.0,
        "status": 30.0,
        "balance": 90.0,
        "position": 60.0,
        "order": 30.0,
        "account": 300.0,
        "other": 30.0,
    }
)
"""How long an answer is kept, by kind [s]."""
VOLATILE: Final = frozenset({"open_orders", "order_history", "balance", "position", "order"})
"""Kinds that an order or a fill makes old at once."""
CRITICAL: Final = frozenset({"account_info", "account", "status"})
TYPES: Final = ("critical", "standard", "volatile")
HIT: Final = 0
MISS: Final = 1
CLEAN_S: Final = 300.0
"""How often ended answers are dropped [s]."""
MOST: Final = 10_000
"""Answers kept; beyond it the one that ends first goes."""
SHOWN: Final = 10


@dataclass(slots=True)
class _Kept:
    """One answer; times are the loop's [s]."""

    kind: str
    value: Any
    since: float
    until: float
    used: int = 0


@dataclass(slots=True)
class _Asking:
    """A question under way: `done` once it has ended, and why it failed."""

    done: asyncio.Future[None]
    failure: Failure | None = None


class Cache:
    """Answers of venues, with what is counted of them.

    Args:
        loop: Its clock measures age.
        now: Wall clock [ns].
        ttl: Other times than `TTL_S` [s].
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
        ttl: Mapping[str, float] | None = None,
    ) -> None:
        self._loop = loop
        self._now = now
        self._ttl = {**TTL_S, **(ttl or {})}
        self._kept: dict[str, _Kept] = {}
        self._asking: dict[str, _Asking] = {}
        self._moved = 0
        self._counts: dict[str, list[int]] = {}
        self._cleaned_ts: int | None = None
        self._removed = 0

    async def get(self, kind: str, key: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Give an answer that is fresh, or ask for it.

        Args:
            kind: One of `TTL_S`; an unknown one is `other`.
            key: Names the question among those of its kind.
            ask: Asks the venue; what it raises is raised here.
        """
        kind = kind if kind in self._ttl else "other"
        name = f"{kind}:{key}"
        counts = self._counts.setdefault(kind, [0, 0])
        while True:
            kept = self._kept.get(name)
            if kept is not None and kept.until > self._loop.time():
                kept.used += 1
                counts[HIT] += 1
                return kept.value
            asking = self._asking.get(name)
            if asking is None:
                counts[MISS] += 1
                return await self._ask(kind, name, ask)
            await asyncio.wait([asking.done])
            if asking.failure is not None:
                counts[HIT] += 1
                raise asking.failure
            # It is kept now; or the one who asked has left without an answer, and the next one asks.

    async def _ask(self, kind: str, name: str, ask: Callable[[], Awaitable[Any]]) -> Any:
        asking = self._asking[name] = _Asking(self._loop.create_future())
        moved = self._moved
        try:
            value = await ask()
        except Failure as failure:
            asking.failure = failure
            raise
        else:
            # What an order or a fill has made old while it was on its way is given, but not kept.
            if kind not in VOLATILE or moved == self._moved:
                self._keep(kind, name, value)
            return value
        finally:
            del self._asking[name]
            asking.done.set_result(None)

    def _keep(self, kind: str, name: str, value: Any) -> None:
        since = self._loop.time()
        if len(self._kept) >= MOST:
            del self._kept[min(self._kept, key=lambda other: self._kept[other].until)]
        self._kept[name] = _Kept(kind, value, since, since + self._ttl[kind])

    def invalidate(self) -> None:
        """Forget what an order or a fill has made old."""
        self._moved += 1
        if self._kept:
            self._kept = {n: kept for n, kept in self._kept.items() if kept.kind not in VOLATILE}

    def clean(self) -> None:
        """Drop what has ended; called every `CLEAN_S`."""
        now, before = self._loop.time(), len(self._kept)
        self._kept = {name: kept for name, kept in self._kept.items() if kept.until > now}
        self._removed = before - len(self._kept)
        self._cleaned_ts = self._now() // MS

    def row(self) -> dict[str, object]:
        """Make the result of `monitoring.cache`."""
        now = self._loop.time()
        hits = sum(count[HIT] for count in self._counts.values())
        misses = sum(count[MISS] for count in self._counts.values())
        asked = hits + misses
        entries = dict.fromkeys(TYPES, 0)
        for kept in self._kept.values():
            entries[type_of(kept.kind)] += 1
        most = sorted(self._kept.items(), key=lambda item: -item[1].used)[:SHOWN]
        return {
            "total_entries": len(self._kept),
            "hit_rate": hits / asked if asked else None,
            "total_requests": asked,
            "hits": hits,
            "misses": misses,
            "by_type": entries,
            "strategies": dict(self._ttl),
            "most_accessed": [
                {
                    "key": name,
                    "age_s": round(now - kept.since, 3),
                    "remaining_ttl_s": round(max(0.0, kept.until - now), 3),
                    "access_count": kept.used,
                    "cache_type": type_of(kept.kind),
                }
                for name, kept in most
            ],
            "cleanup": {"last_ts": self._cleaned_ts, "removed": self._removed},
            "requests_saved": hits,
            "load_reduction": hits / asked if asked else None,
        }


def type_of(kind: str) -> str:
    """Name how soon a kind gets old."""
    if kind in VOLATILE:
        return "volatile"
    return "critical" if kind in CRITICAL else "standard"
