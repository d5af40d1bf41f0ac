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
            "List client connections and how far each lags behind",
            "GET /ws/metrics",
        ),
        row(
            "nonce",
            nonce,
            "Show the use of API keys: nonces, waiting times and clock offset",
            "GET /api/monitoring/nonce",
        ),
        row(
            "cache",
            cache,
            "Show the cached answers of venues and the requests they saved",
            "GET /api/monitoring/cache",
        ),
        row(
            "hybrid",
            hybrid,
            "List the market and account streams with source, age, gaps, reconnects and health",
            "GET /api/monitoring/hybrid-setup",
        ),
        row(
            "latency",
            latency,
            "Show the p50, p99 and maximum latency of every hop and the lag of the event loop",
        ),
        row("metrics", metrics, "Show all counters"),
    ]
