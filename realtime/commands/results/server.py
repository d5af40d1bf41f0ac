"""Results of the ops of the connection and of the server: its state, its log, its figures, its configuration."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from realtime.commands.results.shapes import SCHEMA, Either, More, free
from realtime.model.errors import Code
from realtime.model.rows import AlertRow, ChangeRow, EventRow, Figure, HaltRow, LogRow


# fmt: off
LIMITS: Final = {
    # Of a token, where they are set.
    "symbols?": [str], "max_order_notional?": Figure,
}
LOGIN: Final = {"subject": str, "role": str, "scopes": [str], "expires_at": int | None, **LIMITS}
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
CHANGED: Final = {"version": int, "changed": bool, "changes": [ChangeRow]}
FAULT: Final = {"path": str, "message": str}
STRATEGY: Final = {
    "version": int, "strategy_name": str,
    "parameters": free("the strategy's, and `enabled`, `weight` and `min_confidence` where the configuration has it"),
}
PROBABILITY: Final = {
    "version": int,
    "probability_settings": {
        "confidence_threshold_buy": float, "confidence_threshold_sell": float, "confidence_threshold_hold": float,
        "risk_score_threshold": float, "combination_method": str, "enable_dynamic_weights": bool,
    },
    "risk_config": {"min_signal_confidence": float | None, "probability_weight": float | None},
}
DURATION: Final = {
    "p50_ms": float | None, "p99_ms": float | None, "max_ms": float | None, "sum_ms": float, "samples": int,
}
LEGS: Final = {"exchange_to_server": DURATION, "venue_to_hub": DURATION, "order_to_ack": DURATION}
SHARES: Final = {"ws_share": float | None, "poll_share": float | None, "rest_calls_saved": int}
COUNTED: Final = {
    "orders": {"intents": int, "calls": int, "answers": int, "fills": int}, "orders_working": int,
    "venue": {"batches": int, "events": int},
    # `in_flight`, and `waiting_` before the name of each lane.
    "calls": {str: int},
    "journal": {"state": str, "seq": int, "waiting": int, "events": int, "alerts": int},
    "cache": {"hits": int, "misses": int, "total_entries": int},
}
EXCHANGE: Final = {
    "venue": str, "use": Literal["public", "account"], "available": bool, "rate_limited": bool, "refused": int,
    "failed": int,
    "lanes": {str: {"sent": int, "waiting": int, "wait_p50_ms": float | None, "wait_p99_ms": float | None}},
    "streams": {str: int},
}
OP: Final = {"op": str, "summary": str, "scope": str | None, "lane": str}
CHANNEL: Final = {
    "topic": str, "about": str, "key": str | None, "class": str, "row_key": str | None, "journaled": bool, "scope": str,
    "snapshot": str, "pace": str, "options": [{"name": str, "default": str | None, "about": str}],
    "example": free("a request"),
}
MEANING: Final = {"code": Code, "http": int, "outcome": str, "meaning": str}

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
        "failed": [{"channel": str, "code": Code, "message": str, "retry_after?": float}],
    },
    "unsubscribe": {"channels": [str]},
    "pace": {"every": int},
    "ping": {"recv_ts": int, "buffered": int, "skipped": int},
    "bye": {},

    "system.health": {"status": str, "ready": bool},
    "system.status": {
        "status": str, "ready": bool, "reasons": [str], "version": str, "protocol": int, "environment": str,
        "mode": str, "trading_state": str, "halts": [More((HaltRow, {"venue?": str}))], "venues": [VENUE],
        "components": {str: {"status": str, "detail": str, "since_ts": int}}, "orders": {str: int}, "uptime_s": int,
        "started_ts": int,
    },
    "system.token.create": {"token": str, **TOKEN},
    "system.token.list": {"tokens": [TOKEN], "next_cursor": str | None},
    "system.token.revoke": TOKEN,
    "system.fault": {
        "kinds": [str], "changed": bool,
        "faults": [{
            "kind": str, "symbol": str | None, "probability": float, "duration_s": float | None, "times": int | None,
        }],
    },

    "event.list": {
        # What the command was, and what came of it, where there was one; `hash` of its row in the journal.
        "events": [More((EventRow, {"op": str | None, "outcome": str | None, "hash": str}))],
        "next_cursor": str | None,
    },
    "alert.list": {"alerts": [AlertRow], "next_cursor": str | None},
    "alert.ack": More((AlertRow, {"changed": bool})),
    "log.tail": {"lines": [LogRow]},

    "monitoring.connections": {
        "total_connections": int, "active_connections": int, "messages_sent": int, "messages_failed": int, "errors": int,
        "last_error": Either(({"code": int, "reason": str, "ts": int}, None)), "success_rate": float | None,
        "uptime_s": int,
        "clients": [{
            "session": str, "client": str, "address": str, "subject": str | None, "scopes": [str], "since_ts": int,
            "subscriptions": int, "buffered_bytes": int, "skipped": int, "behind": bool, "in_flight": int,
            "rtt_ms": float | None, "every": int,
        }],
    },
    "monitoring.nonce": {
        "uptime_s": int, "total_nonces_issued": int, "rate_limiting_active": bool,
        "keys": [{
            "key": str, "last_nonce": int | None, "issued": int, "rejected": int, "retried": int,
            "last_request_ts": int | None, "callers": {str: int}, "queue_depth": int, "wait_p50_ms": float | None,
            "wait_p99_ms": float | None, "clock_offset_ms": float | None,
        }],
        "recent": [{"ts": int, "key": str, "nonce": int, "caller": str, "wait_ms": float}],
    },
    "monitoring.cache": {
        "total_entries": int, "hit_rate": float | None, "total_requests": int, "hits": int, "misses": int,
        "by_type": {"critical": int, "standard": int, "volatile": int},
        # How long an answer is kept, by kind [s].
        "strategies": {str: float},
        "most_accessed": [{
            "key": str, "age_s": float, "remaining_ttl_s": float, "access_count": int, "cache_type": str,
        }],
        "cleanup": {"last_ts": int | None, "removed": int}, "requests_saved": int, "load_reduction": float | None,
    },
    "monitoring.hybrid": {
        "feeds": [{
            "venue": str, "channel": str, "symbol": str | None, "source": str, "since_ts": int,
            "last_msg_age_ms": int | None, "reconnects": int, "fallbacks": int, "rest_calls": int, "messages": int,
            "state": str, "health": float | None,
            # Of public streams.
            "messages_per_s?": float, "gaps?": int,
        }],
        "next_cursor": str | None, "summary": SHARES, "accounts": [{"id": str, "feeds": int, **SHARES}],
    },
    "monitoring.latency": {
        **LEGS, "hub_to_socket": DURATION, "loop_lag": DURATION, "accounts": [{"id": str, **LEGS}],
        "exchanges": [{"venue": str, "use": Literal["public", "account"], "request": DURATION}],
    },
    "monitoring.metrics": {
        **COUNTED, "uptime_s": int, "hub": {"encodings": int, "joins": int, "messages": int, "writes": int},
        "connections": {
            "total_connections": int, "active_connections": int, "messages_sent": int, "errors": int,
        },
        "process": {
            "cpu_user_s": float, "cpu_system_s": float, "rss_max_kb": int | None, "gc_collections": int,
        },
        "accounts": [{"id": str, **COUNTED}], "exchanges": [EXCHANGE],
    },

    "config.get": {
        "version": int,
        "config": free("sections by name; what can be set of them is in `config.schema`, `bots` are those of `bot.list`"),
    },
    "config.summary": {
        "version": int, "config_file": str | None, "config_valid": bool, "validation_errors": [FAULT],
        "enabled_strategies": [str], "total_strategy_count": int,
        "risk_management": {
            "max_position_size": float | None, "min_signal_confidence": float | None, "probability_weight": float | None,
        },
        "probability_framework": {
            "combination_method": str, "dynamic_weights_enabled": bool, "risk_threshold": float,
        },
    },
    "config.strategies": {
        "version": int, "total_strategies": int, "enabled_strategies": int,
        "strategy_weights": [{"strategy_name": str, "weight": float, "min_confidence": float, "enabled": bool}],
    },
    "config.strategy.get": STRATEGY,
    "config.probability.get": PROBABILITY,
    "config.schema": {"schema": SCHEMA},
    "config.validate": {"valid": bool, "errors": [FAULT], "error_count": int},
    "config.history": {
        "versions": [{
            "version": int, "ts": int, "by": str, "client": str, "source": str, "why": str, "changes": [ChangeRow],
        }],
        "next_cursor": str | None,
    },
    "config.update": CHANGED,
    "config.rollback": CHANGED,
    "config.strategy.set": {**CHANGED, **STRATEGY},
    "config.strategy.set_weight": {**CHANGED, "weights": {str: float}},
    "config.probability.set": {**CHANGED, **PROBABILITY},
    "config.reload": {**CHANGED, "message": str, "config_valid": bool, "validation_errors": [FAULT]},

    "help": Either((
        {"about": [str], "ops": [str], "channels": [str], "try": [str]},
        {"ops": [OP]}, {"channels": [CHANNEL]}, {"errors": [MEANING]}, CHANNEL, MEANING,
        {
            **OP, "idempotency": str, "confirm": bool, "changes_state": bool, "aliases": [str], "http": [str],
            "errors": [Code], "schema": SCHEMA, "result": SCHEMA, "example": free("a request"),
        },
    )),
}
# fmt: on
