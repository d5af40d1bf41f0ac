"""What ops answer: one table, from which `help`, OpenAPI, AsyncAPI and the page's types say it.

How a result is written: a dict is an object (`"name?"` may be missing; under `str` stands what every name has), a list
an array, a tuple an array of just these, `Either` one of several, `More` a row and more fields; else it is a type, and
a class is a schema by its name, which means one thing among arguments, too. Published schemas let pass what they do
not name, for clients ignore what they do not know; the tests (`tests/replies.py`) do not. A schema is made when
somebody asks for it.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from functools import cache
from inspect import getdoc
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    TypedDict,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from realtime.model.errors import Code, Outcome
from realtime.model.orders import OrderType, Side
from realtime.model.risk import Limits
from realtime.model.rows import (
    BalanceRow,
    DayRow,
    Figure,
    FillRow,
    HaltRow,
    MarketRow,
    OrderRow,
    Placed,
    PositionRow,
    PreviewRow,
    RiskRow,
    TickerRow,
    TradeRow,
)


Json = dict[str, Any]


class Either(tuple[Any, ...]):
    """One of these."""

    __slots__ = ()


class More(tuple[Any, Any]):
    """A row, and fields that it has besides."""

    __slots__ = ()


class Position(TypedDict):
    """Where a stream stands."""

    epoch: str
    seq: Annotated[int, ("minimum", 0)]


class Error(TypedDict):
    """Why it was not done."""

    code: Code
    message: str
    outcome: Outcome
    retry_after: NotRequired[Annotated[float, ("description", "s")]]
    details: NotRequired[dict[str, object]]


class Effect(TypedDict, total=False):
    """What a dry run would change."""

    symbol: str
    symbols: list[str]
    orders: int
    canceled: list[str]
    positions: int
    closes: list[str]
    amount: Figure
    notional: Figure | None
    state: str
    armed: bool
    fires_at: int | None
    grace: float | None


# fmt: off
DRY: Final = {"dry_run?": Literal[True], "effect?": Effect}
DRY_RUN: Final = {"dry_run": Literal[True], "effect": Effect}
PREVIEWED: Final = More((PreviewRow, {"basis": {str: Position}, "duplicate?": bool, **DRY}))
AMENDED: Final = {"changed": bool, "method": str, **DRY}
CANCELED: Final = {"changed?": bool, "journaled?": bool, **DRY}
DONE: Final = {"ok": Literal[True]}
LIMITS: Final = {
    # Of a token, where they are set.
    "symbols?": [str], "max_order_notional?": Figure,
}
LOGIN: Final = {"subject": str, "role": str, "scopes": [str], "expires_at": int | None, **LIMITS}
BAR: Final = (int, *[Figure] * 5)
"""Opening time, open, high, low, close, volume."""
VENUE: Final = {
    "id": str, "kind": str, "status": str, "source": str, "eta": int | None, "url": str | None,
    "last_msg_ts": int | None, "latency_ms": float | None, "reconnects": int,
    # Why it is not open.
    "code?": Code, "reason?": str, "retry_s?": float, "tried_ts?": int,
    # Where there are several.
    "trading_state?": str, "ready?": bool, "reasons?": [str],
}
TOKEN: Final = {
    "token_id": str, "subject": str, "role": str, "scopes": [str], "created_ts": int | None, "expires_ts": int | None,
    **LIMITS,
}
STOP: Final = {
    "price": Figure | None, "base": float | None, "adjusted": float | None, "method": str, "inputs": {str: float},
    "reason": str | None,
}

RESULTS: Final[Mapping[str, Any]] = {
    "auth": {**LOGIN, "trading_state": str, "venues": [{"id": str, "status": str}]},
    "auth.login": LOGIN,
    "auth.logout": {"changed": bool},
    "auth.ticket": {"ticket": str, "expires_at": int},
    "subscribe": {
        "channels": [{
            "channel": str, "class": str, "key?": str, "epoch?": str, "seq?": int, "resumed": bool, "stale": bool,
            "asof?": int,
        }],
        "failed": [{"channel": str, "code": Code, "message": str}],
    },
    "unsubscribe": {"channels": [str]},
    "pace": {"every": int},
    "ping": {"recv_ts": int, "buffered": int, "skipped": int},
    "bye": {},

    "market.list": {"markets": [MarketRow]},
    "market.get": MarketRow,
    "market.ticker": TickerRow,
    "market.tickers": {"tickers": [TickerRow]},
    "market.orderbook": {
        "symbol": str, "bids": [(Figure, Figure)], "asks": [(Figure, Figure)], "seq": int | None, "ts": int,
        "source": str | None,
    },
    "market.trades": {"symbol": str, "trades": [TradeRow]},
    "market.ohlcv": {
        "symbol": str, "timeframe": str, "ohlcv": [BAR], "gaps": [{"from_ts": int, "to_ts": int}],
        "closed_through_ts": int | None, "next_cursor": str | None,
    },
    "market.limits": {
        "mode": str, "venue": str, "margin_available": bool, "order_types": [{"type": OrderType, "support": str}],
        "time_in_force": [str], "limitations": [str], "capabilities": {"stream": {str: str}, "order": {str: str}},
        "sources": {str: str | None},
        # Of the market that was asked about.
        "symbol?": str, "price_tick?": Figure, "amount_step?": Figure, "min_cost?": Figure | None,
        "contract_size?": Figure, "max_leverage?": Figure, "maker?": Figure, "taker?": Figure,
        "min_amount?": Figure | None, "max_amount?": Figure | None, "max_market_amount?": Figure | None,
        "fees?": Literal["account", "listed"],
    },
    "market.status": {"venues": [VENUE]},
    "market.context": {
        "symbol": str, "ts": int, "timeframe": str, "ohlcv": [BAR], "price": Figure | None, "ticker": TickerRow | None,
        "best_bid": Figure | None, "best_ask": Figure | None, "spread": Figure | None, "spread_fraction": float | None,
        "volume_24h": Figure | None, "quote_volume_24h": Figure | None, "price_change_24h": Figure | None,
        "change_pct": float | None, "volatility": float | None, "volatility_annual": float | None, "market_cap": None,
        "quality": {
            "ohlcv_rows": int, "orderbook_levels": int, "ticker_complete": bool, "ohlcv_age_ms": int | None,
            "ticker_age_ms": int | None, "orderbook_age_ms": int | None,
        },
    },
    "market.check": {
        "symbol": str, "valid": bool, "reasons": [str], "ts": int,
        "checks": [{"name": str, "value": float | None, "threshold": float | None, "ok": bool}],
    },

    "order.place": Either((Placed, PREVIEWED)),
    "order.preview": PREVIEWED,
    "order.amend": More((OrderRow, AMENDED)),
    "order.cancel": More((OrderRow, CANCELED)),
    "order.cancel_all": Either(({"canceled": [str], "failed": [str], "unknown?": [str], "ended?": [str]}, DRY_RUN)),
    "order.batch": {"items": [Either((
        More((Placed, DONE)), More((PREVIEWED, DONE)), More((OrderRow, AMENDED | DONE)),
        More((OrderRow, CANCELED | DONE)), {"ok": Literal[False], "client_order_id?": str, "error": Error},
    ))]},
    "order.list": {"orders": [OrderRow], "next_cursor": str | None},
    "order.history": {"orders": [More((OrderRow, {"fills": [FillRow]}))], "next_cursor": str | None},
    "order.get": More((OrderRow, {"fills": [FillRow]})),
    "order.resolve": More((OrderRow, {"changed": bool})),
    "order.adopt": More((OrderRow, {"changed": bool})),

    "fill.list": {"fills": [FillRow], "next_cursor": str | None},
    "balance.list": {
        "balances": [BalanceRow], "total_value": Figure | None, "valuation_currency": str, "unpriced": [str],
    },
    "balance.get": BalanceRow,
    "position.list": {"positions": [PositionRow]},
    "position.get": PositionRow,
    "position.value": {
        "symbol": str, "amount": Figure, "value": Figure, "price": Figure, "mark_source": str, "ts": int,
    },
    "position.close": Either((Placed, PREVIEWED)),
    "position.close_all": Either((
        {
            "closed": [More((Placed, {"position_id": str}))], "failed": [{"position_id": str, "error": Error}],
            "duplicate?": bool,
        },
        DRY_RUN,
    )),
    "position.set_cost_basis": More((PositionRow, {"changed": bool})),

    "trading.halt": Either((
        {
            "state": str, "scope": str, "changed": bool, "canceled": [str], "failed": [str], "unknown": [str],
            "ended?": [str], "flat": bool, "positions": [PositionRow], "journaled": bool,
        },
        DRY_RUN,
    )),
    "trading.resume": {"state": str, "scope": str, "changed": bool},
    "deadman": {
        "armed": bool, "fires_at": int | None, "grace": float | None, "scope": str, "action": str,
        "include_protection": bool, "native": bool, **DRY,
    },

    "risk.assessment": RiskRow,
    "risk.validate_order": {
        "valid": bool, "errors": [str], "failed": [str],
        "risk_assessment": {"daily_pnl_status": str, "position_count": int, "risk_score": float | None},
        "order_risk": float | None, "probability_risk": float | None, "impact_on_portfolio": float | None,
        "recommended_stop_loss": Figure | None, "recommended_take_profit": Figure | None, "risk_reward": float | None,
        "max_allowed_amount": Figure, "confidence_level": str | None,
    },
    "risk.params.get": Limits,
    "risk.params.set": More((Limits, {"changed": bool})),
    "risk.daily_pnl": DayRow,
    "risk.reset_daily": More((DayRow, {"duplicate?": bool})),
    "risk.score": {
        "symbol": str, "risk_score": float, "risk_level": str,
        "probability_data": {
            "probability_buy": float, "probability_sell": float, "probability_hold": float, "confidence": float,
        },
    },
    "risk.stop_levels": {"symbol": str, "side": Side, "entry": Figure, "stop_loss": STOP, "take_profit": STOP},
    "risk.position_size": {
        "symbol": str, "notional": Figure | None, "amount": Figure | None, "price": Figure, "method": str,
        "factors": {str: float}, "caps": [{"name": str, "notional": Figure}], "reason": str | None,
        "gate": Either((
            {"valid": bool, "code": str | None, "message": str | None, "failed": [str], "max_allowed_amount": Figure},
            None,
        )),
    },
    "risk.probability": {
        "symbol": str, "timeframe": str, "side": Side, "entry": Figure, "stop_loss": Figure | None,
        "take_profit": Figure | None, "horizon": int, "target_before_stop": float | None, "p_up": float | None,
        "expected_value": float | None, "gain": float | None, "loss": float | None, "mu": float | None,
        "sigma": float | None, "samples": int, "reason": str | None,
        "calibration": [{"from": float, "to": float, "samples": int, "hit_rate": float | None}],
        # As bots wrote them down.
        "combined": Either(({str: object}, None)), "per_strategy": {str: {str: object}},
    },

    "system.health": {"status": str, "ready": bool},
    "system.status": {
        "status": str, "ready": bool, "reasons": [str], "version": str, "protocol": int, "environment": str,
        "mode": str, "trading_state": str, "halts": [More((HaltRow, {"venue?": str}))], "venues": [VENUE],
        "components": {str: {"status": str, "detail": str, "since_ts": int}}, "orders": {str: int}, "uptime_s": int,
        "started_ts": int,
    },
    "system.token.create": {"token": str, **TOKEN},
    "system.token.list": {"tokens": [TOKEN]},
    "system.token.revoke": TOKEN,
    "system.fault": {
        "kinds": [str], "changed": bool,
        "faults": [{
            "kind": str, "symbol": str | None, "probability": float, "duration_s": float | None, "times": int | None,
        }],
    },
}
"""By op. Of one that is not here the fields are not described yet: `OPEN`."""
# fmt: on
OPEN: Final[Json] = {
    "type": "object",
    "description": "its fields are not described yet; they may be others in the next version",
}
PLAIN: Final = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


@cache
def result_of(op: str, template: str) -> tuple[Json, Json]:
    """Make the schema of an op's result once, as `schema_of`: it takes up to 3 ms, and anybody may ask often."""
    return schema_of(RESULTS[op], template) if op in RESULTS else (OPEN, {})


def schema_of(shape: object, template: str) -> tuple[Json, Json]:
    """Make the JSON Schema of a result, and those that it refers to by name.

    Args:
        shape: As this file writes it.
        template: Of a reference, with `{model}` for the name.
    """
    named: Json = {}
    return _schema(shape, template, named), named


def _schema(kind: Any, template: str, named: Json) -> Json:
    def of(part: Any) -> Json:
        return _schema(part, template, named)

    parts: tuple[Any, ...] = kind if isinstance(kind, tuple) else get_args(kind)
    origin = type(kind) if isinstance(kind, tuple) else get_origin(kind)
    if origin in {Annotated, NotRequired}:
        return of(parts[0]) | dict(parts[1:])
    if origin in {Either, Union, UnionType}:
        first, *others = made = [of(part) for part in parts]
        if (
            others == [{"type": "null"}]
            and isinstance(first.get("type"), str)
            and "enum" not in first
        ):
            return first | {"type": [first["type"], "null"]}
        return {"anyOf": made}
    if origin is More:
        return {"allOf": [of(part) for part in parts]}
    if origin is Literal:
        return {"enum": list(parts)} if len(parts) > 1 else {"const": parts[0]}
    if origin is list or isinstance(kind, list) or parts[1:] == (...,):
        return {"type": "array", "items": of((parts or kind)[0])}
    if origin is tuple:
        # Not `prefixItems`: schemathesis 4.32 puts it into draft 7 and then calls that wrong.
        made = [of(part) for part in parts]
        kinds = [kind for place, kind in enumerate(made) if kind not in made[:place]]
        items = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        return {"type": "array", "items": items, "minItems": len(made), "maxItems": len(made)}
    if origin is dict or (isinstance(kind, dict) and str in kind):
        return {"type": "object", "additionalProperties": of(parts[1] if parts else kind[str])}
    if isinstance(kind, dict):
        return _object({name.rstrip("?"): of(part) for name, part in kind.items()}, kind)
    if kind is object:
        return {}
    if kind is Decimal:
        return of(Figure)
    if kind is None or kind in PLAIN:
        return {"type": PLAIN[kind or NoneType]}
    name = kind.__name__
    if name not in named:
        named[name] = _words(kind) if issubclass(kind, Enum) else _named(kind, of)
    return {"$ref": template.format(model=name)}


def _words(kind: type[Enum]) -> Json:
    """As pydantic describes it among arguments; one code is a word of order rows alone, which show it as text."""
    words = [one.value for one in kind if one is not Code.ABSENT]
    return {"description": getdoc(kind), "enum": words, "title": kind.__name__, "type": "string"}


def _named(kind: Any, of: Callable[[Any], Json]) -> Json:
    hints = get_type_hints(kind, include_extras=True)
    needed = kind.__required_keys__ if is_typeddict(kind) else hints
    return _object({field: of(hint) for field, hint in hints.items()}, needed)


def _object(properties: Json, needed: Any) -> Json:
    made: Json = {"type": "object", "properties": properties}
    required = [name for name in properties if name in needed]
    return made | ({"required": required} if required else {})
