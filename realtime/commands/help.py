"""`help`: the protocol explains itself, from the same table that carries it out."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Final

from pydantic import BaseModel, Field

from realtime.commands.params import Params, suggest
from realtime.commands.registry import Answer, Call, Op, Registry
from realtime.commands.results import result_of
from realtime.hub.channels import TOPICS, Topic
from realtime.model.errors import Code, Refused


MEANINGS: Final[Mapping[Code, str]] = {
    Code.BAD_REQUEST: "not JSON, not an object, no `op`, too deep",
    Code.INVALID: "an argument is wrong or unknown: `details.fields [{field, message}]`",
    Code.UNKNOWN_OP: "no such op; the message has a hint",
    Code.UNKNOWN_CHANNEL: "no such channel; the message has a hint",
    Code.NOT_FOUND: "no such thing; `details.what` says what",
    Code.UNAUTHORIZED: "no token, or expired",
    Code.FORBIDDEN: "the token lacks `details.scope`, or may trade `details.symbols` only",
    Code.CONFLICT: "id used with other content; stale `version`; wrong state",
    Code.MODE_MISMATCH: "asserted `mode` is not the server's",
    Code.EXPIRED: "`expires_at` passed before sending",
    Code.CONFIRM_REQUIRED: "repeat with `confirm` of `details` within 60 s; the notional may grow by 2 % until then",
    Code.RATE_LIMITED: "too fast: wait `retry_after`; `details.lane`",
    Code.BUSY: "too many in flight, journal queue full, or draining: wait `retry_after`",
    Code.HALTED: "the trading state forbids it; the gate refuses in `reducing` as `risk_rejected`",
    Code.RISK_REJECTED: "a rule refuses it: `details.rule, limit, value`; all in `details.failed`",
    Code.INSUFFICIENT_FUNDS: "not enough money",
    Code.VENUE_REJECTED: "the venue refused; its own text in `details.venue`",
    Code.NOT_SUPPORTED: "not by this venue, or not over this transport",
    Code.VENUE_UNAVAILABLE: "not connected or not ready, nothing was sent: wait `retry_after`",
    Code.OUTCOME_UNKNOWN: "handed to the venue, no proof either way; wait for `order_resolved`",
    Code.INTERNAL: "our fault; `details.trace` finds it in the log",
}
"""Codes of the wire. `absent` is not among them: it stands on order rows only."""

TRY: Final = (
    '{"op":"subscribe","channels":["ticker:BTC/USDT"]}',
    '{"op":"market.list"}',
    '{"op":"order.place","symbol":"BTC/USDT","side":"buy","type":"limit","amount":"0.01","price":"1000"}',
    '{"op":"order.cancel_all"}',
    '{"op":"help","about":"order.place"}',
)


class HelpParams(Params):
    """Of `help`."""

    about: Annotated[str, Field(min_length=1, max_length=100)] | None = None


def ops(registry: Registry) -> list[Op]:
    """Make the row; it reads the table it is added to."""

    def answer(call: Call[HelpParams]) -> Answer:
        return Answer(result=about(registry, call, call.params.about))

    return [
        Op(
            name="help",
            params=HelpParams,
            scope=None,
            lane="sub",
            handler=answer,
            http=("GET /api/help",),
            summary="Explain an op, a channel or an error code, or list `ops`, `channels` or `errors`",
            errors=(Code.NOT_FOUND,),
            example={"about": "order.place"},
        )
    ]


def about(registry: Registry, call: Call[HelpParams], word: str | None) -> dict[str, object]:
    """Explain a word.

    Raises:
        Refused: `not_found`, with a hint.
    """
    if word is None:
        return {
            "about": ["an op", "a channel's topic", "an error code", "ops", "channels", "errors"],
            "ops": sorted(registry.ops),
            "channels": [topic.example for topic in TOPICS.values()],
            "try": TRY,
        }
    match word:
        case "ops":
            return {"ops": [_row(op) for _, op in sorted(registry.ops.items())]}
        case "channels":
            return {"channels": [channel_row(topic) for topic in TOPICS.values()]}
        case "errors":
            return {"errors": [error_row(code) for code in MEANINGS]}
        case _ if word in registry.names:
            return _op(registry, call, registry.names[word])
        case _ if word.partition(":")[0].partition("?")[0] in TOPICS:
            return channel_row(TOPICS[word.partition(":")[0].partition("?")[0]])
        case _ if word in set(MEANINGS):
            return error_row(Code(word))
        case _:
            meant = suggest(
                word, [*registry.names, *TOPICS, *MEANINGS, "ops", "channels", "errors"]
            )
            hint = f"; did you mean {meant}?" if meant else '; try {"op":"help"}'
            raise Refused(Code.NOT_FOUND, f"nothing is called '{word}'{hint}", {"what": "help"})


def codes_of(op: Op) -> list[Code]:
    """Name the codes of an op: its own, and those of what stands before it.

    A policy may ask back wherever there is an effect to show. What is not of the safety lane is refused while the
    server stops, too many are in flight or the journal is full.
    """
    found = list(op.errors)
    if op.effect is not None:
        found.append(Code.CONFIRM_REQUIRED)
    if op.command and op.lane != "safety":
        found.append(Code.BUSY)
    return list(dict.fromkeys(found))


def _row(op: Op) -> dict[str, object]:
    return {"op": op.name, "summary": op.summary, "scope": op.scope, "lane": op.lane}


def _op(registry: Registry, call: Call[HelpParams], op: Op) -> dict[str, object]:
    return {
        **_row(op),
        "idempotency": op.idempotency,
        "confirm": registry.asks_back(op, call.principal),
        "changes_state": op.command,
        "aliases": op.aliases,
        "http": [f"POST /api/{op.name}", *op.http],
        "errors": codes_of(op),
        "schema": _schema(op.params),
        "result": _result(op.name),
        "example": {"op": op.name, **op.example},
    }


@cache
def _schema(params: type[BaseModel]) -> Mapping[str, object]:
    """Make the JSON Schema of an op's arguments, once: it takes up to 15 ms, and anybody may ask a hundred times."""
    return params.model_json_schema(ref_template="#/$defs/{model}")


def _result(name: str) -> Mapping[str, object]:
    """Give the JSON Schema of an op's result, as that of its arguments."""
    made, named = result_of(name, "#/$defs/{model}")
    return made | ({"$defs": named} if named else {})


def channel_row(topic: Topic) -> dict[str, object]:
    """Describe a topic."""
    return {
        "topic": topic.name,
        "about": topic.about,
        "key": topic.key,
        "class": topic.kind,
        "row_key": topic.row_key,
        "journaled": topic.journaled,
        "scope": topic.scope,
        "snapshot": topic.snapshot,
        "pace": topic.pace,
        "options": [
            {"name": option.name, "default": option.default, "about": option.about}
            for option in topic.options
        ],
        "example": {"op": "subscribe", "channels": [topic.example]},
    }


def error_row(code: Code) -> dict[str, object]:
    """Describe an error code."""
    return {
        "code": code,
        "http": code.http,
        "outcome": "unknown for commands, not_done for queries"
        if code is Code.INTERNAL
        else code.outcome,
        "meaning": MEANINGS[code],
    }
