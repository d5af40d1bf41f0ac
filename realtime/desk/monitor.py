"""How the server is doing, in figures: latencies, counters, and the channel `monitoring`.

Rules of this file: (1) every value is counted or measured here and now, none is assumed; (2) measuring costs a reading of
the clock and one entry in a ring; (3) a figure without a sample is None.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from realtime.desk.cache import CLEAN_S, Cache
from realtime.desk.desk import Desk
from realtime.desk.lanes import Lane
from realtime.hub.hub import Hub
from realtime.model.durations import Durations
from realtime.model.events import (
    Accepted,
    AmendDone,
    AmendFailed,
    Event,
    Filled,
    OrderSeen,
    Rejected,
    Told,
    Unknown,
)
from realtime.model.market import MS


if sys.platform != "win32":
    import resource


BEAT_S: Final = 0.5
"""How often the lag of the loop is measured [s]."""
PUBLISH_S: Final = 5.0
STRIDE: Final = 16
"""Of so many batches of a venue one is timed."""
FAILED: Final = frozenset({Rejected, Unknown, AmendFailed})
"""What becomes of an order that the venue does not take."""
Row = dict[str, object]
Taken = Callable[[Sequence[Told]], None]


class Monitor:
    """Measures and publishes.

    Attributes:
        cache: Answers of venues.
        connections: Describes the connections; set by the composition root.
        lanes: Counts calls on the way to the venue; set by the composition root.
    """

    def __init__(
        self,
        *,
        desk: Desk,
        hub: Hub,
        cache: Cache,
        loop: asyncio.AbstractEventLoop,
        now: Callable[[], int],
        started_ts: int,
    ) -> None:
        """Make it.

        Args:
            desk: Whose counters are shown.
            hub: Carries the channel.
            cache: Answers of venues.
            loop: Its lag is measured.
            now: Wall clock [ns].
            started_ts: When the server started [wire ms].
        """
        self._desk = desk
        self._hub = hub
        self.cache = cache
        self._loop = loop
        self._now = now
        self._started_ts = started_ts
        self.connections: Callable[[], Mapping[str, object]] = dict
        self.lanes: Callable[[], Mapping[str, object]] = dict
        self._exchange_to_server = Durations()
        self._venue_to_hub = Durations()
        self._hub_to_socket = Durations()
        self._order_to_ack = Durations()
        self._loop_lag = Durations()
        self._batches = 0
        self._events = 0
        self._well = 0
        self._failed = 0

    # -- taps --------------------------------------------------------------------------------------

    def taking(self, take: Taken) -> Taken:
        """Measure how long what a venue tells takes from its receipt into the hub."""

        def measured(events: Sequence[Told]) -> None:
            if events and type(answer := events[-1]) is Accepted:
                self._answered(answer)
            take(events)
            self._batches += 1
            self._events += len(events)
            for event in events:
                if type(event) is Filled or type(event) is OrderSeen:
                    self.cache.invalidate()
                    break
            if self._batches % STRIDE == 0 and events:
                received, told = getattr(events[-1], "recv_ts", 0), getattr(events[-1], "ts", 0)
                if received:
                    self._venue_to_hub.add(max(0, self._now() - received) / 1e9)
                # Where a venue tells no time of its own, that of the receipt stands in its place.
                if received != told and received and told:
                    self._exchange_to_server.add((received - told) / 1e9)

        return measured

    def posting(self, post: Callable[[Event], object]) -> Callable[[Event], object]:
        """Measure how long an order takes from its arrival here to the venue's word that it has it, and count answers."""

        def measured(event: Event) -> object:
            if type(event) is Accepted:
                self._answered(event)
            elif type(event) is AmendDone:
                self._well += 1
            elif type(event) in FAILED and getattr(event, "sent", True):
                self._failed += 1
            return post(event)

        return measured

    def _answered(self, fact: Accepted) -> None:
        self._well += 1
        order = self._desk.engine.orders.get(fact.order_id)
        if order is not None:
            self._order_to_ack.add(max(0, fact.ts - order.created_ts) / 1e9)

    def flushed(self, seconds: float) -> None:
        """Take how long what was published waited until it was written to the sockets [s]."""
        self._hub_to_socket.add(seconds)

    # -- what alarms are made of -------------------------------------------------------------------

    def durations(self) -> Mapping[str, Durations]:
        """Give the legs of the way, by the names of `monitoring.latency`."""
        return {
            "exchange_to_server": self._exchange_to_server,
            "venue_to_hub": self._venue_to_hub,
            "order_to_ack": self._order_to_ack,
            "hub_to_socket": self._hub_to_socket,
            "loop_lag": self._loop_lag,
        }

    def placements(self) -> Mapping[str, int]:
        """Count placements and amends: what the venue took, and what it refused or did not answer."""
        return {"answered": self._well, "failed": self._failed}

    # -- rows --------------------------------------------------------------------------------------

    def latency(self) -> Row:
        """Make the result of `monitoring.latency`: the legs of this account, and those of the server."""
        return {
            **self.legs(),
            "hub_to_socket": self._hub_to_socket.row(),
            "loop_lag": self._loop_lag.row(),
        }

    def legs(self) -> Row:
        """Make the legs of the way to this account's venue and back.

        `exchange_to_server` is the age of a message at its receipt, by the exchange's clock and ours: what they differ by
        is in it.
        """
        return {
            "exchange_to_server": self._exchange_to_server.row(),
            "venue_to_hub": self._venue_to_hub.row(),
            "order_to_ack": self._order_to_ack.row(),
        }

    def account(self) -> Row:
        """Make the counters of this account."""
        store, desk = self._desk.store, self._desk
        cache = self.cache.row()
        return {
            "orders": desk.tally.row(),
            "orders_working": sum(1 for _ in desk.engine.orders.working()),
            "venue": {"batches": self._batches, "events": self._events},
            "calls": dict(self.lanes()),
            "journal": {
                "state": store.state,
                "seq": store.seq,
                "waiting": store.waiting,
                "events": desk.entries.events,
                "alerts": desk.entries.alerts,
            },
            "cache": {name: cache[name] for name in ("hits", "misses", "total_entries")},
        }

    def metrics(self) -> Row:
        """Make the result of `monitoring.metrics`: the counters of this account, and those of the server."""
        counts = self._hub.counts
        times = os.times()
        connections = self.connections()
        collected = gc.get_stats()
        return {
            "uptime_s": self._uptime_s(),
            **self.account(),
            "hub": {
                "encodings": counts.encodings,
                "joins": counts.joins,
                "messages": counts.messages,
                "writes": counts.writes,
            },
            "connections": {
                name: connections.get(name)
                for name in ("total_connections", "active_connections", "messages_sent", "errors")
            },
            "process": {
                "cpu_user_s": times.user,
                "cpu_system_s": times.system,
                "rss_max_kb": peak_kb(),
                "gc_collections": sum(stats["collections"] for stats in collected),
            },
        }

    def nonce(self, keys: Mapping[str, object]) -> Row:
        """Make the result of `monitoring.nonce` of what is known of the keys of exchanges."""
        return {"uptime_s": self._uptime_s(), **keys}

    def connected(self) -> Row:
        """Make the result of `monitoring.connections`."""
        return {**self.connections(), "uptime_s": self._uptime_s()}

    def row(self) -> Row:
        """Make the value of channel `monitoring`."""
        return {
            "ts": self._now() // MS,
            "latency": self.latency(),
            "metrics": self.metrics(),
            "cache": self.cache.row(),
            "connections": self.connected(),
        }

    def _uptime_s(self) -> int:
        return (self._now() // MS - self._started_ts) // 1000

    # -- beat --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Measure and publish without end."""
        loop = self._loop
        due = cleaned = published = loop.time()
        self._publish()
        while True:
            due = max(due + BEAT_S, loop.time())
            await asyncio.sleep(due - loop.time())
            now = loop.time()
            self._loop_lag.add(max(0.0, now - due))
            if now - published >= PUBLISH_S:
                published = now
                self._publish()
            if now - cleaned >= CLEAN_S:
                cleaned = now
                self.cache.clean()

    def _publish(self) -> None:
        self._hub.value("monitoring", self.row)


def lanes_row(flying: int, waiting: Callable[[Lane], int]) -> Row:
    """Make the counters of the way to the venue."""
    return {"in_flight": flying, **{f"waiting_{lane.name.lower()}": waiting(lane) for lane in Lane}}


def peak_kb() -> int | None:
    """Give the most memory this process has had [kB]; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
