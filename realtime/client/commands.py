"""Which commands may be sent again when the connection took their answer, and how their arguments look. Pure."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Final


# Repeating these changes nothing more: queries, commands with absolute effect, and placements under a client's id. Not
# what lets trading or a bot go on: sent again after an outage it would take back a halt that came in between.
_SAFE: Final = frozenset(
    {
        "pace", "auth", "deadman",
        "order.place", "order.amend", "order.cancel", "order.cancel_all", "order.batch",
        "position.close", "trading.halt", "risk.halt",
        "bot.attach", "bot.detach", "bot.emergency_stop", "bot.pause", "bot.stop",
    }
)  # fmt: skip
_ASKING: Final = frozenset({"help", "ping", "order.preview", "order.validate"})
_READING: Final = frozenset(
    {
        "allocate", "analyze", "assessment", "compare", "daily_pnl", "decisions", "diversification", "equity",
        "equity_history", "get", "health", "history", "limits", "list", "performance", "position_size", "probability",
        "schema", "score", "snapshot", "status", "stop_levels", "strategies", "summary", "tail", "trades", "validate",
        "validate_order", "validate_trade", "value",
    }
)  # fmt: skip
_READERS: Final = frozenset({"market", "indicator", "monitoring", "system"})


def repeatable(op: str, args: Mapping[str, object]) -> bool:
    """Tell whether a command can be sent again without being done twice."""
    return op in _SAFE or reads(op) or "request_id" in args


def brief(op: str, args: Mapping[str, object]) -> bool:
    """Tell whether only its `request_id` makes a command repeatable, which a server remembers until it restarts."""
    return "request_id" in args and op not in _SAFE and not reads(op)


def reads(op: str) -> bool:
    """Tell whether an op is a query, as far as its name says."""
    family, _, verb = op.partition(".")
    return (
        op in _ASKING
        or verb.rpartition(".")[2] in _READING
        or (family in _READERS and "." not in verb)
    )


def identified(op: str, args: Mapping[str, object], new_id: Callable[[], str]) -> dict[str, object]:
    """Give whatever places one order and has no `client_order_id` one, and every number its text."""
    made = {name: plain(value) for name, value in args.items() if value is not None}
    if op in {"order.place", "position.close"}:
        return _named(made, new_id)
    if op == "order.batch" and isinstance(items := made.get("items"), list):
        made["items"] = [_named(item, new_id) if _places(item) else item for item in items]
    return made


def _named(order: dict[str, object], new_id: Callable[[], str]) -> dict[str, object]:
    return order if "client_order_id" in order else order | {"client_order_id": new_id()}


def _places(item: object) -> bool:
    return isinstance(item, Mapping) and item.get("do") == "place"


def plain(value: object) -> object:
    """Turn decimals into the wire's text, also inside lists and mappings."""
    match value:
        case Decimal():
            return format(value, "f")
        case Mapping():
            return {str(name): plain(item) for name, item in value.items() if item is not None}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value
