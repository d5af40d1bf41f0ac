"""Documents for people, made from the registry: the tables of `docs/protocol.md`, and the page `/docs`."""

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from realtime.commands.help import MEANINGS, channel_row, error_row
from realtime.commands.registry import BOUND, LANES, Op, Registry
from realtime.hub.channels import TOPICS
from realtime.hub.protocol import CLOSES, NOTICES, REASONS, SUBPROTOCOL
from realtime.server.limits import RATES
from realtime.server.schema import TITLE, ops_of


def tables(registry: Registry) -> dict[str, str]:
    """Make the tables of `docs/protocol.md`: `ops`, `channels`, `errors`, `notices`, `reasons`, `closes`, `lanes`."""
    return {name: _markdown(head, rows) for name, (head, rows) in _tables(registry).items()}


def _tables(registry: Registry) -> dict[str, tuple[Sequence[str], Sequence[Sequence[str]]]]:
    return {
        "ops": (
            ("op", "arguments", "scope", "lane", "repeating", "HTTP alias"),
            [_op_row(op) for op in ops_of(registry)],
        ),
        "channels": (
            ("channel", "class, key", "options and defaults", "snapshot", "pace", "scope"),
            [_channel_row(channel_row(topic)) for topic in TOPICS.values()],
        ),
        "errors": (
            ("code", "HTTP", "outcome", "meaning"),
            [
                (f"`{row['code']}`", str(row["http"]), str(row["outcome"]), str(row["meaning"]))
                for row in map(error_row, MEANINGS)
            ],
        ),
        "notices": (
            ("notice", "when"),
            [(f"`{name}`", about) for name, about in NOTICES.items()],
        ),
        "reasons": (
            ("reason", "why this snapshot"),
            [(f"`{name}`", about) for name, about in REASONS.items()],
        ),
        "closes": (
            ("code", "name", "when"),
            [(str(int(code)), code.reason, about) for code, about in CLOSES.items()],
        ),
        "lanes": (
            ("lane", "holds", "tokens/s, burst"),
            [_lane_row(registry, lane) for lane in LANES],
        ),
    }


COMMON: Final = frozenset({"mode", "expires_at", "confirm", "dry_run", "request_id"})
"""Arguments that many ops have, explained once (8.1)."""


def _op_row(op: Op) -> tuple[str, ...]:
    fields = " ".join(
        name if field.is_required() else f"{name}?"
        for name, field in op.params.model_fields.items()
        if name not in COMMON
    )
    name = f"`{op.name}`" + "".join(f", `{alias}`" for alias in op.aliases)
    scope = (op.scope or "none").replace("|", " or ")
    http = "-" if op.name in BOUND else ", ".join(f"`{alias}`" for alias in op.http) or "-"
    return name, f"`{fields}`" if fields else "-", scope, op.lane, op.idempotency, http


def _channel_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    name = row["topic"] + (":S" if row["key"] else "")
    kind = str(row["class"])
    kind += f", `{row['row_key']}`" if row["row_key"] else ""
    kind += ", journaled" if row["journaled"] else ""
    options = ", ".join(
        f"`{option['name']}`" + (f" {option['default']}" if option["default"] else "")
        for option in row["options"]
    )
    return f"`{name}`", kind, options or "-", row["snapshot"], row["pace"], row["scope"]


def _lane_row(registry: Registry, lane: str) -> tuple[str, ...]:
    rate = next(rate for name, rate in RATES.items() if name == lane)
    figures = f"{rate.per_s:g}, {rate.burst:g}"
    if lane == "query":
        return f"`{lane}`", "everything else", figures
    ops = " ".join(op.name for op in ops_of(registry) if op.lane == lane)
    return f"`{lane}`", f"`{ops}`" if ops else "-", figures


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def page(registry: Registry, version: str) -> str:
    """Make `/docs`: one page without script, style or anything from elsewhere."""
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{TITLE}: protocol</title><h1>{TITLE} {html.escape(version)}: {SUBPROTOCOL}</h1>",
        (
            "<p>One WebSocket at <code>/ws</code>; every op is also <code>POST /api/OP</code>. Machines "
            "read <a href=/asyncapi.json>asyncapi.json</a> and <a href=/openapi.json>openapi.json</a>."
        ),
    ]
    for name, (head, rows) in _tables(registry).items():
        parts.append(f"<h2 id={name}>{name.capitalize()}</h2><table><thead><tr>")
        parts += [f"<th scope=col>{html.escape(cell)}" for cell in head]
        parts.append("<tbody>")
        for row in rows:
            parts.append("<tr>" + "".join(f"<td>{_code(cell)}" for cell in row))
        parts.append("</table>")
    return "\n".join(parts) + "\n"


def _code(cell: str) -> str:
    """Put what stands between backticks into `code` elements."""
    pieces = html.escape(cell).split("`")
    return "".join(
        f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces)
    )
