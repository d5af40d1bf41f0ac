"""`/metrics`: the figures of `monitoring.metrics` and `monitoring.latency` as Prometheus text, version 0.0.4.

Rules of this file: (1) nothing is counted here: the same rows as those of the ops are written another way; (2) a figure
nobody knows is left out, never 0; (3) a label takes its values from a closed set of this server or from the ids of
accounts in its settings (`venue`), and nothing that a client, a token or a venue named is in the text; (4) what each
account has is told of every account, and not once more for the first.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal


KIND: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type by which a scraper knows the format."""
Row = Mapping[str, object]
Sample = tuple[str, Mapping[str, str], float]
"""Suffix of the name, labels, value."""
Labeled = tuple[Row, Mapping[str, str]]
LANES: Final = ("cancel", "protect", "exit", "entry", "reconcile", "poll")
MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of one figure or more of `monitoring.metrics`.

    Attributes:
        name: Without the common prefix; a counter ends with `_total`, everything else with its unit.
        help: For people.
        places: Where the values stand in a row, each with its labels.
        scale: Makes base units of those of the row (seconds of milliseconds, bytes of kB).
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    places: tuple[tuple[tuple[str, ...], Mapping[str, str]], ...]
    scale: float = 1.0


def _counter(name: str, text: str, *path: str) -> Figure:
    return Figure(f"{name}_total", "counter", text, ((path, {}),))


def _gauge(name: str, text: str, *path: str, scale: float = 1.0) -> Figure:
    return Figure(name, "gauge", text, ((path, {}),), scale)


ACCOUNTS: Final = (
    _counter("order_intents", "Orders handed to the journal.", "orders", "intents"),
    _counter("order_calls", "Placements handed to the venue.", "orders", "calls"),
    _counter("order_answers", "Placements the venue answered.", "orders", "answers"),
    _counter("fills", "Executions written down.", "orders", "fills"),
    _gauge("orders_working", "Orders that are not final.", "orders_working"),
    _counter("venue_batches", "Batches of events that came from venues.", "venue", "batches"),
    _counter("venue_events", "Events that came from venues.", "venue", "events"),
    _gauge("calls_in_flight", "Calls at the venue that it has not answered.", "calls", "in_flight"),
    Figure(
        "calls_waiting",
        "gauge",
        "Calls that wait for their turn at the venue.",
        tuple(
            (("calls", f"waiting_{lane}"), {"lane": lane})
            for lane in ("cancel", "protect", "exit", "entry")
        ),
    ),
    _gauge("journal_seq", "Number of the newest row of the journal.", "journal", "seq"),
    _gauge("journal_waiting", "Rows that are not durable yet.", "journal", "waiting"),
    _counter("events", "Entries of the log of events.", "journal", "events"),
    _counter("alerts", "Entries of the log of alerts.", "journal", "alerts"),
    _counter("cache_hits", "Answers of venues that were kept.", "cache", "hits"),
    _counter("cache_misses", "Answers of venues that were asked for.", "cache", "misses"),
    _gauge("cache_entries", "Answers of venues that are kept now.", "cache", "total_entries"),
)
"""Of a row of `accounts`; label `venue`."""
EXCHANGES: Final = (
    _gauge(
        "exchange_available",
        "Whether an exchange answers: 0 while entries are refused.",
        "available",
    ),
    _gauge(
        "exchange_rate_limited", 'Whether a pause after "too many requests" lasts.', "rate_limited"
    ),
    _counter("exchange_too_many", "Times an exchange said too many requests.", "refused"),
    _counter("exchange_unanswered", "Requests that got no answer.", "failed"),
    Figure(
        "exchange_requests_total",
        "counter",
        "Requests that were given their turn.",
        tuple((("lanes", lane, "sent"), {"lane": lane}) for lane in LANES),
    ),
    Figure(
        "exchange_requests_waiting",
        "gauge",
        "Requests that wait for their turn.",
        tuple((("lanes", lane, "waiting"), {"lane": lane}) for lane in LANES),
    ),
    Figure(
        "exchange_turn_wait_seconds",
        "gauge",
        "How long the newest requests waited for their turn.",
        tuple(
            (("lanes", lane, f"wait_{name}_ms"), {"lane": lane, "rank": name})
            for lane in LANES
            for name in ("p50", "p99")
        ),
        1 / MS_PER_S,
    ),
    _counter("exchange_messages", "Messages of streams with news.", "streams", "messages"),
    _counter(
        "exchange_reconnects",
        "Streams that were lost and subscribed anew.",
        "streams",
        "reconnects",
    ),
    _counter("exchange_fallbacks", "Times a stream was asked for instead.", "streams", "fallbacks"),
    _counter("exchange_rest_calls", "Requests made for streams.", "streams", "rest_calls"),
    _counter("exchange_gaps", "Holes found in streams.", "streams", "gaps"),
    Figure(
        "exchange_dropped_total",
        "counter",
        "What came and could not be used.",
        (
            (("streams", "unreadable"), {"what": "frame"}),
            (("streams", "refused_rows"), {"what": "row"}),
            (("streams", "unrecorded"), {"what": "recording"}),
        ),
    ),
)
"""Of a row of `exchanges`; labels `venue` and `use`."""
FIGURES: Final = (
    _gauge("uptime_seconds", "Time since the server started.", "uptime_s"),
    _counter("hub_encodings", "Data made into JSON, once for all readers.", "hub", "encodings"),
    _counter("hub_joins", "Blobs put together of messages.", "hub", "joins"),
    _counter("hub_messages", "Messages made.", "hub", "messages"),
    _counter("hub_writes", "Blobs handed to the socket of a reader.", "hub", "writes"),
    _counter("connections_opened", "Sockets that were opened.", "connections", "total_connections"),
    _gauge("connections", "Sockets that are open.", "connections", "active_connections"),
    _counter(
        "messages_sent",
        "Blobs of data, replies, notices and heartbeats.",
        "connections",
        "messages_sent",
    ),
    _counter("connection_errors", "Sockets closed for a fault.", "connections", "errors"),
    Figure(
        "process_cpu_seconds_total",
        "counter",
        "CPU time of the process.",
        (
            (("process", "cpu_user_s"), {"mode": "user"}),
            (("process", "cpu_system_s"), {"mode": "system"}),
        ),
    ),
    _gauge(
        "process_resident_memory_max_bytes",
        "Most memory the process has had.",
        "process",
        "rss_max_kb",
        scale=1024,
    ),
    _counter("gc_collections", "Runs of the garbage collector.", "process", "gc_collections"),
)
"""Of the whole server."""
PREFIX: Final = "realtime_"
STATES: Final = ("ok", "full", "failed", "closed")
"""Of the journal; one sample each, of which one is 1."""
LEGS: Final = ("hub_to_socket", "loop_lag")
ACCOUNT_LEGS: Final = ("exchange_to_server", "venue_to_hub", "order_to_ack")
QUANTILES: Final = (("0.5", "p50_ms"), ("0.99", "p99_ms"), ("1", "max_ms"))


def text(metrics: Row, latency: Row) -> bytes:
    """Write one scrape.

    Args:
        metrics: Result of `monitoring.metrics`.
        latency: Result of `monitoring.latency`: quantiles are those of the newest samples, sum and
            count those of all.
    """
    return "".join(_lines(metrics, latency)).encode()


def _lines(metrics: Row, latency: Row) -> Iterator[str]:
    accounts = [(row, {"venue": str(row["id"])}) for row in rows(metrics, "accounts")]
    exchanges = [(row, _of(row)) for row in rows(metrics, "exchanges")]
    for figures, found in (
        (FIGURES, [(metrics, {})]),
        (ACCOUNTS, accounts),
        (EXCHANGES, exchanges),
    ):
        for figure in figures:
            yield from _family(figure.name, figure.kind, figure.help, _samples(figure, found))
    yield from _family(
        "journal_state",
        "gauge",
        "Whether rows become durable: 1 for the state it is in.",
        [
            ("", {**labels, "state": name}, float(name == at(row, ("journal", "state"))))
            for row, labels in accounts
            for name in STATES
        ],
    )
    legs: list[tuple[object, Mapping[str, str]]] = [
        (latency.get(leg), {"leg": leg}) for leg in LEGS
    ]
    legs += [
        (row.get(leg), {"leg": leg, "venue": str(row["id"])})
        for row in rows(latency, "accounts")
        for leg in ACCOUNT_LEGS
    ]
    yield from _family(
        "latency_seconds",
        "summary",
        "How long each leg of the way takes; quantiles of the newest samples.",
        [sample for row, labels in legs for sample in _summary(row, labels)],
    )
    yield from _family(
        "exchange_request_seconds",
        "summary",
        "How long an exchange takes to answer a request; quantiles of the newest samples.",
        [
            sample
            for row in rows(latency, "exchanges")
            for sample in _summary(row["request"], _of(row))
        ],
    )


def _of(row: Row) -> Mapping[str, str]:
    return {"venue": str(row["venue"]), "use": str(row["use"])}


def _samples(figure: Figure, found: Iterable[Labeled]) -> list[Sample]:
    return [
        ("", {**labels, **more}, value * figure.scale)
        for row, labels in found
        for path, more in figure.places
        if (value := number(at(row, path))) is not None
    ]


def _summary(row: object, labels: Mapping[str, str]) -> Iterator[Sample]:
    if not isinstance(row, Mapping):
        return
    for quantile, name in QUANTILES:
        value = number(row.get(name))
        if value is not None:
            yield "", {**labels, "quantile": quantile}, value / MS_PER_S
    for suffix, name, scale in (("_sum", "sum_ms", MS_PER_S), ("_count", "samples", 1)):
        value = number(row.get(name))
        if value is not None:
            yield suffix, labels, value / scale


def rows(row: Row, name: str) -> list[Row]:
    """Give a list of rows; empty where there is none."""
    found = row.get(name)
    return list(found) if isinstance(found, list) else []


def _family(name: str, kind: str, text: str, samples: list[Sample]) -> Iterator[str]:
    """Write a family; nothing of it when it has no sample."""
    if not samples:
        return
    yield f"# HELP {PREFIX}{name} {text}\n# TYPE {PREFIX}{name} {kind}\n"
    for suffix, labels, value in samples:
        inside = ",".join(f'{key}="{word}"' for key, word in labels.items())
        yield f"{PREFIX}{name}{suffix}{f'{{{inside}}}' if inside else ''} {value:.17g}\n"


def at(row: Row, path: tuple[str, ...]) -> object:
    """Give what stands at a path; None where nothing does."""
    found: object = row
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found


def number(value: object) -> float | None:
    """Read a figure; None when it is none."""
    return float(value) if isinstance(value, int | float) else None
