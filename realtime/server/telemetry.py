"""`/metrics`: the figures of `monitoring.metrics` and `monitoring.latency` as Prometheus text, version 0.0.4.

Rules of this file: (1) nothing is counted here: the same rows as those of the ops are written another way; (2) a figure
nobody knows is left out, never 0; (3) a label takes its values from a closed set of this server, and nothing that a
client, a token or a venue named is in the text.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text-based format).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal


KIND: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Content type by which a scraper knows the format."""
Row = Mapping[str, object]
Sample = tuple[str, Mapping[str, str], float]
"""Suffix of the name, labels, value."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of one figure or more of `monitoring.metrics`.

    Attributes:
        name: Without the common prefix; a counter ends with `_total`, everything else with its unit.
        help: For people.
        places: Where the values stand, each with its labels.
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


FIGURES: Final = (
    _gauge("uptime_seconds", "Time since the server started.", "uptime_s"),
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
    _counter("hub_encodings", "Data made into JSON, once for all readers.", "hub", "encodings"),
    _counter("hub_joins", "Blobs put together of messages.", "hub", "joins"),
    _counter("hub_messages", "Messages made.", "hub", "messages"),
    _counter("hub_writes", "Blobs handed to the socket of a reader.", "hub", "writes"),
    _gauge("journal_seq", "Number of the newest row of the journal.", "journal", "seq"),
    _gauge("journal_waiting", "Rows that are not durable yet.", "journal", "waiting"),
    _counter("events", "Entries of the log of events.", "journal", "events"),
    _counter("alerts", "Entries of the log of alerts.", "journal", "alerts"),
    _counter("connections_opened", "Sockets that were opened.", "connections", "total_connections"),
    _gauge("connections", "Sockets that are open.", "connections", "active_connections"),
    _counter("messages_sent", "Blobs handed to sockets.", "connections", "messages_sent"),
    _counter("connection_errors", "Sockets closed for a fault.", "connections", "errors"),
    _counter("cache_hits", "Answers of venues that were kept.", "cache", "hits"),
    _counter("cache_misses", "Answers of venues that were asked for.", "cache", "misses"),
    _gauge("cache_entries", "Answers of venues that are kept now.", "cache", "total_entries"),
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
PREFIX: Final = "realtime_"
STATES: Final = ("ok", "full", "failed", "closed")
"""Of the journal; one sample each, of which one is 1."""
LEGS: Final = ("venue_to_hub", "hub_to_socket", "order_to_ack", "loop_lag")
QUANTILES: Final = (("0.5", "p50_ms"), ("0.99", "p99_ms"), ("1", "max_ms"))
MS_PER_S: Final = 1000


def text(metrics: Row, latency: Row) -> bytes:
    """Write one scrape.

    Args:
        metrics: Result of `monitoring.metrics`.
        latency: Result of `monitoring.latency`: quantiles are those of the newest samples, sum and
            count those of all.
    """
    return "".join(_lines(metrics, latency)).encode()


def _lines(metrics: Row, latency: Row) -> Iterator[str]:
    for figure in FIGURES:
        samples: list[Sample] = []
        for path, labels in figure.places:
            value = number(at(metrics, path))
            if value is not None:
                samples.append(("", labels, value * figure.scale))
        yield from _family(figure.name, figure.kind, figure.help, samples)
    state = at(metrics, ("journal", "state"))
    yield from _family(
        "journal_state",
        "gauge",
        "Whether rows become durable: 1 for the state it is in.",
        [("", {"state": name}, float(name == state)) for name in STATES],
    )
    yield from _family(
        "latency_seconds",
        "summary",
        "How long each leg of the way takes; quantiles of the newest samples.",
        [sample for leg in LEGS for sample in _summary(leg, latency)],
    )


def _summary(leg: str, latency: Row) -> Iterator[Sample]:
    for quantile, name in QUANTILES:
        value = number(at(latency, (leg, name)))
        if value is not None:
            yield "", {"leg": leg, "quantile": quantile}, value / MS_PER_S
    for suffix, name, scale in (("_sum", "sum_ms", MS_PER_S), ("_count", "samples", 1)):
        value = number(at(latency, (leg, name)))
        if value is not None:
            yield suffix, {"leg": leg}, value / scale


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
