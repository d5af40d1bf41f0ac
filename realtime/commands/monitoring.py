"""Ops that show how the server itself is doing: connections, latencies, counters, the cache."""

from collections.abc import Callable, Mapping, Sequence

from realtime.commands import pages
from realtime.commands.params import Params
from realtime.commands.registry import Answer, Call, Op


Shown = Callable[[], Mapping[str, object]]
Streams = Callable[[], tuple[Mapping[str, object], Sequence[Sequence[pages.Listed]]]]


def ops(
    *,
    connections: Shown,
    latency: Shown,
    metrics: Shown,
    cache: Shown,
    nonce: Shown,
    hybrid: Streams,
) -> list[Op]:
    """Make the rows; each argument makes the result of the op of its name, `hybrid` with the feeds by account beside it."""

    def streams(call: Call[pages.WholeParams]) -> Answer:
        # Streams come and go between two pages, so the place of one is its name, within its account.
        params = call.params
        figures, accounts = hybrid()
        ranked = {
            (number, str(feed["channel"])): feed
            for number, feeds in enumerate(accounts)
            for feed in feeds
        }
        last = (-1, "") if params.cursor is None else pages.rank(params.cursor)
        names = sorted(name for name in ranked if name > last)
        page = pages.page([ranked[name] for name in names], params.limit)
        more = len(page) < len(names)
        cursor = "{}.{}".format(*names[len(page) - 1]) if more else None
        return Answer(result={"feeds": page, "next_cursor": cursor, **figures})

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
        Op(
            name="monitoring.hybrid",
            params=pages.WholeParams,
            scope="admin",
            lane="query",
            handler=streams,
            http=("GET /api/monitoring/hybrid-setup",),
            summary="List the market and account streams with source, age, gaps, reconnects and health",
        ),
        row(
            "latency",
            latency,
            "Show the p50, p99 and maximum latency of every hop and the lag of the event loop",
        ),
        row("metrics", metrics, "Show all counters"),
    ]
