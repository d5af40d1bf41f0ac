"""Ops that show how the server itself is doing: connections, latencies, counters, the cache."""

from collections.abc import Callable, Mapping

from realtime.commands.params import Params
from realtime.commands.registry import Answer, Op


Shown = Callable[[], Mapping[str, object]]


def ops(
    *,
    connections: Shown,
    latency: Shown,
    metrics: Shown,
    cache: Shown,
    nonce: Shown,
    hybrid: Shown,
) -> list[Op]:
    """Make the rows; each argument makes the result of the op of its name."""

    def row(name: str, show: Shown, summary: str, http: str | None = None) -> Op:
        return Op(
            name=f"monitoring.{name}",
            params=Params,
            scope="admin",
            lane="query",
            handler=lambda _call: Answer(result=show()),
            http=(http,) if http else (),
            summary=summary,
        )

    return [
        row(
            "connections",
            connections,
            "who is connected, and how far behind",
            "GET /ws/metrics",
        ),
        row(
            "nonce",
            nonce,
            "keys of exchanges: numbers they signed with, waits to sign, clock offset",
            "GET /api/monitoring/nonce",
        ),
        row(
            "cache",
            cache,
            "answers of venues that are kept, and requests they saved",
            "GET /api/monitoring/cache",
        ),
        row(
            "hybrid",
            hybrid,
            "streams of exchanges: by socket or by asking, age, gaps, repairs, health",
            "GET /api/monitoring/hybrid-setup",
        ),
        row("latency", latency, "p50, p99 and largest of every leg of the way, and the loop's lag"),
        row("metrics", metrics, "all counters as one object"),
    ]
